# SPDX-License-Identifier: Apache-2.0
"""Readers of the files in which operator-learning sets are published.

Nothing is downloaded. Slices are taken before the data are read wherever the
format allows it (HDF5, .npy); dtypes are kept.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxdl.core import checks
from jaxdl.data.files import _bounded, _hdf5, _limits, _mat5

Path = str | os.PathLike[str]
FileError = _limits.FileError
MAX_BYTES = _limits.MAX_BYTES
_HDF5 = b'\x89HDF\r\n\x1a\n'


def exists(path: Path) -> bool:
  """Whether there is such a file."""
  return pathlib.Path(path).is_file()


def resolve(path: Path) -> pathlib.Path:
  """Returns the path of a file, or raises FileNotFoundError."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'{path} does not exist: check the path.')
  return path


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


def check_slice(start, max_samples, subsample, axes=None):
  """Checks what all readers of slices take, before any file is opened."""
  checks.integer(start, name='start', low=0)
  checks.integer(subsample, name='subsample', low=1)
  if max_samples is not None:
    checks.integer(max_samples, name='max_samples', low=1)
  for axis in axes or ():
    checks.integer(axis, name='spatial_axes')


def _samples(start, max_samples, num, path):
  if start >= num:
    raise FileError(f'start={start} is past the {num} samples of {path}.')
  return slice(start, num if max_samples is None else start + max_samples)


def _selection(shape, path, field, start, max_samples, subsample, axes):
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
        f'{path} has no field {_limits.short(name)!r}: it has '
        f'{_limits.listed(available)}.'
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
  path = resolve(path)
  with _bounded.reading(path, 'plain'), path.open('rb') as file:
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
  max_bytes: int = MAX_BYTES,
) -> dict[str, np.ndarray]:
  """Reads arrays of a MATLAB file, version 5 or 7.3, samples first.

  Version 7.3 is HDF5 with all axes reversed; they are put back, and only the
  chosen slice is read. Version 5 reads compressed variables whole, then slices.

  Args:
    path: the file.
    fields: variable names; None for all numeric ones.
    start: first sample.
    max_samples: most samples, or None.
    subsample: keeps every r-th point of each spatial axis; r must divide n-1
      (both ends kept: 421 -> 85 with 5) or n (periodic: 8192 -> 1024 with 8).
    spatial_axes: axes to subsample. By default all but the first, and
      variables of one dimension (times) and MATLAB scalars are returned whole;
      pass the axes to slice a matrix of one row like any other.
    max_bytes: most bytes that compressed content may unpack to, unless the
      file itself is larger.

  Returns:
    Field -> NumPy array of the type that the variable has in MATLAB (version
    5 may store doubles as whole numbers, to save space).

  Raises:
    FileNotFoundError: if there is no such file.
    FileError: (a ValueError) if it is broken, a field is missing (the message
      lists those there are) or `subsample` does not fit.
    ImportError: if h5py is needed and missing.
  """
  check_slice(start, max_samples, subsample, spatial_axes)
  path = resolve(path)
  budget = _limits.Budget(path, max_bytes)
  options = (start, max_samples, subsample, spatial_axes)
  out = {}
  if is_hdf5(path):
    with _hdf5.opened(path, 'MATLAB v7.3', 'reading this HDF5 file') as file:
      numeric = [k for k in _hdf5.names(file) if _hdf5.is_numeric(file[k])]
      asked = [k for k in file if k in (fields or ())]
      for name in pick(fields, {*numeric, *asked}, path):
        data = _hdf5.array(file, name, path)
        chosen = _whole_or(data.shape[::-1], path, name, options)
        value = _hdf5.read(data, chosen[::-1], budget)
        out[name] = _plain(value).transpose()
    return out
  with _bounded.reading(path, 'MATLAB v5'):
    # Names come from the headers alone, so a typo costs no reading.
    order, found = _mat5.variables(path)
    numeric = [name for name, entry in found.items() if entry.numeric]
    for name in pick(fields, numeric, path):
      value = _mat5.read(path, order, found[name], budget)
      out[name] = np.array(value[_whole_or(value.shape, path, name, options)])
  return out


def _whole_or(shape, path, name, options):
  vector = len(shape) < 2 or (len(shape) == 2 and min(shape) == 1)
  if vector and options[-1] is None:
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
  check_slice(start, max_samples, subsample, spatial_axes)
  checks.integer(sample_axis, name='sample_axis')
  path = resolve(path)
  with _bounded.reading(path, '.npy'):
    with open(path, 'rb') as stream:
      if stream.read(2) == b'PK':
        raise FileError(f'{path} is an archive: use load_npz.')
    shape, fortran, dtype, offset = _bounded.npy_shape(path)
    if dtype.kind not in 'biufc':
      raise ValueError(f'dtype {dtype} is not plain numbers')
    if not -len(shape) <= sample_axis < len(shape):
      raise FileError(
        f'sample_axis={sample_axis} does not exist in {path}, shape {shape}.'
      )
    if 0 in shape:
      data = np.empty(shape, dtype)
    else:
      order = 'F' if fortran else 'C'
      data = np.memmap(path, dtype, 'r', offset, shape, order)
    data = np.moveaxis(data, sample_axis, 0)
    chosen = _selection(
      data.shape, path, 'array', start, max_samples, subsample, spatial_axes
    )
    return np.array(data[chosen], dtype.newbyteorder('='))


def load_npz(
  path: Path,
  fields: Sequence[str] | None = None,
  *,
  allow_pickle: bool = False,
  max_bytes: int = MAX_BYTES,
) -> dict[str, np.ndarray]:
  """Reads whole arrays of a .npz archive.

  Args:
    path: the file.
    fields: names, or None for all.
    allow_pickle: whether object arrays are read, as long as they hold nothing
      but numbers and arrays; no code in the file is run.
    max_bytes: most bytes that the arrays may unpack to, unless the file itself
      is larger.

  Returns:
    Field -> NumPy array, dtype kept.

  Raises:
    FileNotFoundError: if there is no such file.
    FileError: if it is broken or too large, a field is missing or an object
      array is met without `allow_pickle`.
  """
  path = resolve(path)
  out = {}
  with _bounded.archive(path, max_bytes) as archive:
    for name in pick(fields, archive.names, path):
      try:
        out[name] = archive.read(name, objects=allow_pickle)
      except FileError as error:
        if 'pickled object' not in str(error):
          raise
        raise FileError(
          f'{name!r} of {path} is an object array: pass allow_pickle=True to '
          'read it, which runs nothing.'
        ) from None
  return out


def mat_shapes(path: Path) -> dict[str, tuple[int, ...]]:
  """Lists the numeric arrays of a MATLAB file and their shapes, reading none.

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
    with _hdf5.opened(path, 'MATLAB v7.3', 'reading this HDF5 file') as file:
      return {
        name: file[name].shape[::-1]
        for name in _hdf5.names(file)
        if _hdf5.is_numeric(file[name])
      }
  with _bounded.reading(path, 'MATLAB v5'):
    _, found = _mat5.variables(path)
    return {name: entry.shape for name, entry in found.items() if entry.numeric}
