# SPDX-License-Identifier: Apache-2.0
"""Readers of the files in which operator-learning sets are published.

Nothing is downloaded. Slices are taken before the data are read wherever the
format allows it (HDF5, .npy); dtypes are kept.
"""

import contextlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Generator, Sequence

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _files

Path = str | os.PathLike[str]
_HDF5 = b'\x89HDF\r\n\x1a\n'
_BROKEN = (
  OSError, EOFError, ValueError, KeyError, IndexError, TypeError,
  NotImplementedError, MemoryError, OverflowError, RuntimeError,
  AttributeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class FileError(ValueError):
  """A file that is missing, broken or not in the expected layout."""


def resolve(path: Path) -> pathlib.Path:
  """Returns the path of a file, or raises FileNotFoundError."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'{path} does not exist: check data_path.')
  return path


@contextlib.contextmanager
def reading(path, kind, *more) -> Generator[None]:
  """Turns what readers raise on broken files into one `FileError`."""
  try:
    yield
  except (FileError, ImportError):
    raise
  except (*_BROKEN, *more) as error:
    reason = ' '.join(str(error).split())[:120] or type(error).__name__
    raise FileError(
      f'{path} is not a readable {kind} file, perhaps truncated ({reason}): '
      'fetch it again.'
    ) from None


def require_h5py():
  """Imports h5py, or raises ImportError that names the extra."""
  return _files.require('h5py', purpose='reading this HDF5 file')


def stride(num, step, path, field):
  """Every `step`-th point of a grid with both, one or neither of its ends."""
  if step == 1:
    return slice(None)
  if all((num + ends) % step for ends in (-1, 0, 1)):
    raise FileError(
      f'subsample={step} divides neither n - 1 = {num - 1} (both ends kept), '
      f'n = {num} (periodic) nor n + 1 = {num + 1} (inner points) for '
      f'{field!r} of {path}.'
    )
  return slice(None, None, step)


def _samples(start, max_samples, num, path):
  checks.integer(start, name='start', low=0)
  if max_samples is not None:
    checks.integer(max_samples, name='max_samples', low=1)
  if start >= num:
    raise FileError(f'start={start} is past the {num} samples of {path}.')
  return slice(start, num if max_samples is None else start + max_samples)


def _selection(shape, path, field, start, max_samples, subsample, axes):
  checks.integer(subsample, name='subsample', low=1)
  if not shape:
    raise FileError(f'{field!r} of {path} is a scalar: need samples first.')
  chosen = [slice(None)] * len(shape)
  chosen[0] = _samples(start, max_samples, shape[0], path)
  axes = range(1, len(shape)) if axes is None else axes
  for axis in axes:
    if not 0 < axis < len(shape):
      raise FileError(
        f'{field!r} of {path} has shape {shape}: spatial axis {axis} does '
        'not exist (axis 0 holds the samples).'
      )
    chosen[axis] = stride(shape[axis], subsample, path, field)
  return tuple(chosen)


def pick(fields, available, path):
  """Returns the fields to read, all by default; missing ones are refused."""
  available = sorted(available)
  fields = available if fields is None else list(fields)
  for name in fields:
    if name not in available:
      raise FileError(
        f'{path} has no field {name!r}: it has {", ".join(available)}.'
      )
  return fields


def is_hdf5(path: Path) -> bool:
  """Returns whether a file is HDF5, as MATLAB files are from version 7.3.

  Args:
    path: an existing file; the signature may follow MATLAB's 512-byte header.

  Returns:
    A bool.

  Raises:
    FileNotFoundError: if there is no such file.
  """
  with resolve(path).open('rb') as file:
    head = file.read(520)
  return head[:8] == _HDF5 or head[512:520] == _HDF5


def load_mat(
  path: Path,
  fields: Sequence[str] | None = None,
  *,
  start: int = 0,
  max_samples: int | None = None,
  subsample: int = 1,
  spatial_axes: Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
  """Reads arrays of a MATLAB file, version 5 or 7.3, samples first.

  Version 7.3 is HDF5 with all axes reversed; they are put back, and only the
  chosen slice is read. Version 5 reads whole variables, then slices.

  Args:
    path: the file.
    fields: variable names; None for all numeric ones.
    start: first sample.
    max_samples: most samples, or None.
    subsample: keeps every r-th point of each spatial axis; r must divide n-1
      (both ends kept: 421 -> 85 with 5) or n (periodic: 8192 -> 1024 with 8).
    spatial_axes: axes to subsample, all but the first by default. One
      dimensional variables (times) and MATLAB scalars are returned whole.

  Returns:
    Field -> NumPy array, dtype kept.

  Raises:
    FileNotFoundError: if there is no such file.
    FileError: (a ValueError) if it is broken, a field is missing (the message
      lists those there are) or `subsample` does not fit.
    ImportError: if h5py is needed and missing.
  """
  path = resolve(path)
  options = (start, max_samples, subsample, spatial_axes)
  out = {}
  if is_hdf5(path):
    h5py = require_h5py()
    with reading(path, 'MATLAB v7.3'), h5py.File(path, 'r') as file:
      numeric = [
        k
        for k, v in file.items()
        if isinstance(v, h5py.Dataset) and v.dtype.kind in 'biufV'
      ]
      for name in pick(fields, numeric, path):
        data = file[name]
        shape = data.shape[::-1]
        chosen = _whole_or(shape, path, name, options)
        out[name] = _plain(data[chosen[::-1]]).transpose()
    return out
  import scipy.io  # pyrefly: ignore

  with reading(path, 'MATLAB v5', scipy.io.matlab.MatReadError):
    # Names come from the headers alone, so a typo costs no reading.
    names = [
      name
      for name, _, kind in scipy.io.whosmat(path)
      if kind not in ('cell', 'struct', 'object', 'char', 'function', 'unknown')
    ]
    fields = pick(fields, names, path)
    data = scipy.io.loadmat(path, variable_names=fields)
    for name in fields:
      value = np.asarray(data[name])
      out[name] = value[_whole_or(value.shape, path, name, options)]
  return out


def _whole_or(shape, path, name, options):
  if len(shape) < 2 or min(shape) == 1 and len(shape) == 2:
    return (slice(None),) * len(shape)  # A vector, such as the times.
  return _selection(shape, path, name, *options)


def _plain(value):
  """MATLAB stores complex numbers in HDF5 as a real/imag record."""
  if value.dtype.names == ('real', 'imag'):
    return value['real'] + 1j * value['imag']
  return value


def load_npy(
  path: Path,
  *,
  sample_axis: int = 0,
  start: int = 0,
  max_samples: int | None = None,
  subsample: int = 1,
  spatial_axes: Sequence[int] | None = None,
) -> np.ndarray:
  """Reads a slice of a .npy array and puts the samples first.

  Args:
    path: the file; it is memory-mapped, only the slice is read.
    sample_axis: axis of the samples in the file, -1 for the Helmholtz set.
    start: first sample.
    max_samples: most samples, or None.
    subsample: keeps every r-th point of each spatial axis, see `load_mat`.
    spatial_axes: axes to subsample, counted with the samples first; all but
      the first by default.

  Returns:
    NumPy array [N, ...], dtype kept.

  Raises:
    FileNotFoundError: if there is no such file.
    FileError: if it is broken, holds objects or `subsample` does not fit.
  """
  path = resolve(path)
  with reading(path, '.npy'):
    data = np.load(path, mmap_mode='r', allow_pickle=False)
    if not isinstance(data, np.ndarray):
      raise FileError(f'{path} is an archive: use load_npz.')
    if not -data.ndim <= sample_axis < data.ndim:
      raise FileError(
        f'sample_axis={sample_axis} does not exist in {path}, shape '
        f'{data.shape}.'
      )
    data = np.moveaxis(data, sample_axis, 0)
    chosen = _selection(
      data.shape, path, 'array', start, max_samples, subsample, spatial_axes
    )
    return np.array(data[chosen])


def load_npz(
  path: Path,
  fields: Sequence[str] | None = None,
  *,
  allow_pickle: bool = False,
) -> dict[str, np.ndarray]:
  """Reads whole arrays of a .npz archive.

  Args:
    path: the file.
    fields: names, or None for all.
    allow_pickle: whether object arrays may be read; they can run code, so
      only for files you trust.

  Returns:
    Field -> NumPy array.

  Raises:
    FileNotFoundError: if there is no such file.
    FileError: if it is broken, a field is missing or an object array is met
      without `allow_pickle`.
  """
  path = resolve(path)
  out = {}
  with (
    reading(path, '.npz'),
    open(path, 'rb') as stream,  # np.load leaves files open that it refuses.
    np.load(stream, allow_pickle=allow_pickle) as file,
  ):
    if isinstance(file, np.ndarray):
      raise FileError(f'{path} is a single array: use load_npy.')
    for name in pick(fields, file.files, path):
      try:
        out[name] = file[name]
      except ValueError as error:
        if 'allow_pickle' not in str(error):
          raise
        raise FileError(
          f'{name!r} of {path} is an object array: pass allow_pickle=True if '
          'you trust the file.'
        ) from None
  return out


def mat_shapes(path: Path) -> dict[str, tuple[int, ...]]:
  """Lists the variables of a MATLAB file with their shapes, reading no data.

  Args:
    path: the file, v5 or v7.3 (shapes in MATLAB's order).

  Returns:
    Name -> shape.

  Raises:
    FileNotFoundError: if there is no such file.
    FileError: if it is broken.
  """
  path = resolve(path)
  if is_hdf5(path):
    h5py = require_h5py()
    with reading(path, 'MATLAB v7.3'), h5py.File(path, 'r') as file:
      return {k: v.shape[::-1] for k, v in file.items() if hasattr(v, 'shape')}
  import scipy.io  # pyrefly: ignore

  with reading(path, 'MATLAB v5', scipy.io.matlab.MatReadError):
    return {name: tuple(shape) for name, shape, _ in scipy.io.whosmat(path)}
