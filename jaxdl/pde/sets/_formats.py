# SPDX-License-Identifier: Apache-2.0
"""Readers of particular published sets, arranged for the models."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.data.files import _bounded, _hdf5, _limits
from jaxdl.pde.sets import _files as files, _make as sets
from jaxdl.pde.sets._files import (
  MAX_BYTES,
  FileError,
  Path,
  load_mat,
  load_npz,
  mat_shapes,
)


def load_deeponet_npz(
  path: Path,
  *,
  split: str = 'train',
  allow_pickle: bool = False,
  max_bytes: int = MAX_BYTES,
) -> sets.OperatorArrays:
  """Reads one split of a DeepONet archive, aligned or unaligned.

  Aligned files hold X = object array [U, Y] and y (with or without a split
  suffix) and need `allow_pickle`; unaligned files hold X_train0 (functions),
  X_train1 (locations) and y_train, row by row. Advection files with x, t, u
  are plain arrays: use `load_npz`.

  Args:
    path: the file.
    split: 'train' or 'test', the suffix of the names.
    allow_pickle: see `load_npz`.
    max_bytes: see `load_npz`.

  Returns:
    Aligned: inputs [N, S], queries [Q, d], targets [N, Q]. Unaligned: inputs
    [N, S], queries [N, d], targets [N, 1].

  Raises:
    FileNotFoundError: if there is no such file.
    FileError: if it is broken, the names are not there or shapes disagree.
  """
  checks.choice(split, ('train', 'test'), name='split')
  path = files.resolve(path)
  with _bounded.archive(path, max_bytes) as archive:
    names = set(archive.names)
  options = dict(allow_pickle=allow_pickle, max_bytes=max_bytes)
  if f'X_{split}0' in names:
    wanted = [f'X_{split}0', f'X_{split}1', f'y_{split}']
    data = load_npz(path, wanted, **options)
    inputs, queries, targets = (
      _number(data[name], path, name) for name in wanted
    )
    _ranks(path, wanted, (inputs, queries), (2, 2))
    if targets.ndim and targets.size:
      targets = targets.reshape(len(targets), -1)
    _ranks(path, wanted[2:], (targets,), (2,))
    if not inputs.shape[0] == queries.shape[0] == targets.shape[0]:
      raise FileError(
        f'{path} is unaligned but its rows disagree: functions '
        f'{inputs.shape}, locations {queries.shape}, values {targets.shape}.'
      )
    return sets.OperatorArrays(inputs, queries, targets)
  suffix = f'_{split}' if f'X_{split}' in names else ''
  wanted = [f'X{suffix}', f'y{suffix}']
  data = load_npz(path, wanted, **options)
  pair, targets = data[wanted[0]], data[wanted[1]]
  if pair.shape[:1] != (2,):
    raise FileError(
      f'{wanted[0]!r} of {path} must be the pair [U, Y]; got shape '
      f'{pair.shape}.'
    )
  with _bounded.reading(path, '.npz'):
    inputs, queries = np.stack(list(pair[0])), np.stack(list(pair[1]))
  inputs = _number(inputs, path, wanted[0])
  queries = _number(queries, path, wanted[0])
  targets = _number(targets, path, wanted[1])
  _ranks(
    path,
    (f'{wanted[0]}[0]', f'{wanted[0]}[1]', wanted[1]),
    (inputs, queries, targets),
    (2, 2, targets.ndim if targets.ndim > 1 else 2),
  )
  if targets.shape[:2] != (inputs.shape[0], queries.shape[0]):
    raise FileError(
      f'{wanted[1]!r} of {path} must be [N, Q] = '
      f'[{inputs.shape[0]}, {queries.shape[0]}]; got {targets.shape}.'
    )
  return sets.OperatorArrays(inputs, queries, targets)


def _number(x, path, name):
  """Turns an array of Python numbers into one of float64."""
  if x.dtype != object:
    return x
  with _bounded.reading(path, '.npz'):
    plain = np.asarray(x.tolist())
  if plain.dtype.kind not in 'biuf':
    raise FileError(f'{name!r} of {path} holds no numbers of one shape.')
  return plain.astype(np.float64)


def _ranks(path, names, arrays, ranks):
  for name, x, rank in zip(names, arrays, ranks, strict=False):
    if x.ndim != rank:
      raise FileError(
        f'{name!r} of {path} must have {rank} axes; got shape {x.shape}.'
      )


class PDEBenchArrays(NamedTuple):
  """One split of a PDEBench file.

  Attributes:
    values: [N, T, *space, C], the fields in the order of `names`.
    coordinates: axis name ('t', 'x', ...) -> [points], what the file has.
    names: field names of the channels.
    parameters: [N, *space] input of the Darcy set, else None.
  """

  values: np.ndarray
  coordinates: Mapping[str, np.ndarray]
  names: tuple[str, ...]
  parameters: np.ndarray | None


_FLUID = ('density', 'pressure', 'Vx', 'Vy', 'Vz')


def load_pdebench(
  path: Path,
  *,
  split: str = 'train',
  max_samples: int | None = None,
  subsample: int = 1,
  time_subsample: int = 1,
  test_fraction: float = 0.1,
  max_bytes: int = MAX_BYTES,
) -> PDEBenchArrays:
  """Reads one split of a PDEBench HDF5 file, slicing on disk.

  Understands the single-array files (`tensor`, with `nu` for Darcy), the
  compressible ones (density, pressure, velocities) and the files with one
  group per sample.

  Args:
    path: the file.
    split: 'test' is what the benchmark's own loaders hold out: the first
      `test_fraction` of the samples of an array, the last of the files with
      one group per sample; 'train' the rest, 'all' everything.
    max_samples: most samples of the split, or None.
    subsample: keeps every r-th point of each spatial axis, see `load_mat`.
    time_subsample: keeps every r-th time.
    test_fraction: in [0, 1].
    max_bytes: most bytes that compressed content or fill values may unpack to,
      unless the file itself is larger.

  Returns:
    The arrays, dtypes kept.

  Raises:
    FileNotFoundError: if there is no such file.
    FileError: if it is broken or too large, in no known layout, its arrays
      disagree, the split is empty or `subsample` does not fit.
    ImportError: if h5py is missing.

  Source: Takamoto et al. 2022 (https://arxiv.org/abs/2210.07182); the splits
  of `FNODatasetSingle` and `FNODatasetMult` in the official code.
  """
  checks.choice(split, ('train', 'test', 'all'), name='split')
  files.check_slice(0, max_samples, subsample)
  checks.integer(time_subsample, name='time_subsample', low=1)
  checks.number(test_fraction, name='test_fraction', low=0.0, high=1.0)
  path = files.resolve(path)
  budget = _limits.Budget(path, max_bytes)

  def span(num, last=False):
    if last:
      cut = int(num * (1 - test_fraction))
      ends = {'test': (cut, num), 'train': (0, cut), 'all': (0, num)}
    else:
      cut = int(num * test_fraction)
      ends = {'test': (0, cut), 'train': (cut, num), 'all': (0, num)}
    low, high = ends[split]
    if max_samples is not None:
      high = min(high, low + max_samples)
    if low >= high:
      raise FileError(f'{split!r} of {path} is empty: it has {num} samples.')
    return low, high

  def space(shape, field):
    return tuple(files.stride(n, subsample, path, field) for n in shape)

  def open_array(group, name, like=None, rank=2):
    data = _hdf5.array(group, name, path)
    if len(data.shape) < rank:
      raise FileError(
        f'{name!r} of {path} must have at least {rank} axes; got shape '
        f'{data.shape}.'
      )
    if like is not None and data.shape != like:
      raise FileError(
        f'{name!r} of {path} must have shape {like}, as the other arrays say; '
        f'got {data.shape}.'
      )
    return data

  times = slice(None, None, time_subsample)
  with _hdf5.opened(path, 'HDF5', 'reading this HDF5 file') as file:
    keys = sorted(file)
    parameters = None
    holder = file
    if 'tensor' in keys:
      data, names = open_array(file, 'tensor'), ('tensor',)
      shape = data.shape
      low, high = span(shape[0])
      where = (slice(low, high), times, *space(shape[2:], 'tensor'))
      values = _hdf5.read(data, where, budget)[..., None]
      if 'nu' in keys:
        like = (shape[0], *shape[2:])
        data = open_array(file, 'nu', like)
        parameters = _hdf5.read(data, (where[0], *where[2:]), budget)
    elif 'density' in keys:
      names = tuple(k for k in _FLUID if k in keys)
      shape = open_array(file, 'density').shape
      low, high = span(shape[0])
      where = (slice(low, high), times, *space(shape[2:], 'density'))
      arrays = [open_array(file, k, shape) for k in names]
      values = [_hdf5.read(data, where, budget) for data in arrays]
      values = np.stack(values, axis=-1)
    elif keys and all(k.isascii() and k.isdigit() for k in keys):
      low, high = span(len(keys), last=True)
      holder = _group(file, keys[low], path)
      shape = open_array(holder, 'data').shape
      names = tuple(f'channel_{c}' for c in range(shape[-1]))
      where = (times, *space(shape[1:-1], 'data'))
      groups = [_group(file, k, path) for k in keys[low:high]]
      arrays = [open_array(group, 'data', shape) for group in groups]
      values = np.stack([_hdf5.read(data, where, budget) for data in arrays])
      grid = 'grid' in set(holder)
      holder = _group(holder, 'grid', path) if grid else {}
    else:
      raise FileError(
        f'{path} is in no known PDEBench layout: it has {_limits.listed(keys)}.'
      )
    inside = set(holder)  # Asking the file would follow links.
    coordinates = {}
    for axis in ('t', 'x', 'y', 'z'):
      for name in (f'{axis}-coordinate', axis):
        if name in inside:
          step = time_subsample if axis == 't' else subsample
          data = open_array(holder, name, rank=1)
          if len(data.shape) != 1:
            raise FileError(
              f'{name!r} of {path} must have one axis; got {data.shape}.'
            )
          chosen = (slice(None, None, step),)
          coordinates[axis] = _hdf5.read(data, chosen, budget)
          break
  return PDEBenchArrays(values, coordinates, names, parameters)


def _group(file, name, path):
  group = _hdf5.member(file, name, path)
  if not hasattr(group, 'keys'):
    raise FileError(f'{_limits.short(name)!r} of {path} must be a group.')
  return group


class FileFormat(NamedTuple):
  """Where a published .mat file keeps inputs and outputs.

  Attributes:
    inputs: variable of the inputs.
    targets: variable of the outputs.
    ndim: spatial axes, which follow the samples.
    periodic: whether the end point is left out of the grid.
    time: 'back' (after space), 'front' (before space) or ''.
  """

  inputs: str
  targets: str
  ndim: int
  periodic: bool
  time: str = ''


FILE_FORMATS: Mapping[str, FileFormat] = {
  'burgers': FileFormat('a', 'u', 1, True),
  'burgers_pino': FileFormat('input', 'output', 1, True, 'front'),
  'darcy': FileFormat('coeff', 'sol', 2, False),
  'navier_stokes': FileFormat('a', 'u', 2, True, 'back'),
}


def load_operator_mat(
  path: Path,
  file_format: str,
  *,
  start: int = 0,
  max_samples: int | None = None,
  subsample: int = 1,
  max_bytes: int = MAX_BYTES,
) -> sets.OperatorArrays:
  """Reads a published .mat set in the grid layout of `make_operator_dataset`.

  Args:
    path: the file, v5 or v7.3.
    file_format: a name in `FILE_FORMATS`: 'burgers' (a, u [N, s]),
      'burgers_pino' (input [N, s], output [N, T, s]), 'darcy' (coeff, sol
      [N, n, n]) or 'navier_stokes' (a [N, n, n], u [N, n, n, T]).
    start: first sample.
    max_samples: most samples, or None.
    subsample: keeps every r-th point of each spatial axis, see `load_mat`.
    max_bytes: see `load_mat`.

  Returns:
    Inputs [N, *grid, 1], coordinates [*grid, d] and targets [N, *grid, C];
    times are channels.

  Raises:
    FileNotFoundError: if there is no such file.
    FileError: if it is broken, or shapes do not fit the format (the message
      says so when the axes look reversed).
  """
  checks.choice(file_format, FILE_FORMATS, name='file_format')
  form = FILE_FORMATS[file_format]
  options: dict[str, Any] = dict(
    start=start, max_samples=max_samples, max_bytes=max_bytes
  )
  space = range(1, 1 + form.ndim)
  later = [axis + (form.time == 'front') for axis in space]
  _check_axes(path, form)
  inputs = load_mat(
    path, [form.inputs], subsample=subsample, spatial_axes=space, **options
  )[form.inputs]
  targets = load_mat(
    path, [form.targets], subsample=subsample, spatial_axes=later, **options
  )[form.targets]
  if form.time == 'front':
    targets = np.moveaxis(targets, 1, -1)
  elif not form.time:
    targets = targets[..., None]
  axis = np.arange(inputs.shape[1]) / inputs.shape[1]
  if not form.periodic:
    axis = np.linspace(0, 1, inputs.shape[1])
  mesh = np.meshgrid(*[axis] * form.ndim, indexing='ij')
  # Coefficients may be whole numbers; coordinates are not.
  real = inputs.dtype if inputs.dtype.kind == 'f' else np.float64
  queries = np.stack(mesh, axis=-1).astype(real)
  return sets.OperatorArrays(inputs[..., None], queries, targets)


def _check_axes(path, form):
  shapes = mat_shapes(path)
  files.pick((form.inputs, form.targets), shapes, path)
  shape, out = shapes[form.inputs], shapes[form.targets]
  offset = 1 + (form.time == 'front')
  want = 1 + form.ndim
  good = (
    len(shape) == want
    and len(out) == want + bool(form.time)
    and len(set(shape[1:])) == 1
    and min(shape) > 0
    and out[0] == shape[0]
    and out[offset : offset + form.ndim] == shape[1:]
  )
  if good:
    return
  letters = ['N'] + ['n'] * form.ndim
  timed = {'': letters, 'back': [*letters, 'T'], 'front': ['N', 'T', 'n']}
  flipped = shape[::-1]
  hint = ''
  if (
    len(shape) == want
    and len(set(flipped[1:])) == 1
    and out[-1:] == flipped[:1]
  ):
    hint = ': v7.3 axes, were they already reversed when written?'
  raise FileError(
    f'{path} should hold {form.inputs} [{", ".join(letters)}] and '
    f'{form.targets} [{", ".join(timed[form.time])}]; got {list(shape)} and '
    f'{list(out)}{hint or "."}'
  )


class StoredFunctions(NamedTuple):
  """Functions of a file.

  Attributes:
    train: training split.
    test: test split.
    layout: 'grid', 'aligned' or 'unaligned', see `make_operator_dataset`.
    periodic: whether the grid lacks the right end of each axis.
  """

  train: sets.OperatorArrays
  test: sets.OperatorArrays
  layout: str
  periodic: bool = False


def file(
  path: str,
  *,
  format: str = 'darcy',
  test_path: str = '',
  subsample: int = 1,
  num_train: int,
  num_test: int,
) -> StoredFunctions:
  """Reads stored functions; `SOURCES` has it beside what is solved.

  Args:
    path: the file.
    format: 'npz' holds `inputs` and `targets` [N, *grid, C]; 'deeponet_npz' is
      that of `load_deeponet_npz`, objects included; others are the names in
      `FILE_FORMATS`.
    test_path: file of the test functions; empty takes those of `path` after the
      first `num_train`, or the test half of a DeepONet archive.
    subsample: every how many grid points are kept.
    num_train: training functions at most (all rows of unaligned files).
    num_test: test functions at most.

  Returns:
    Both splits.

  Raises:
    ValueError: if a file is missing, does not hold what it should, or has too
      few functions.
  """
  checks.choice(format, FORMATS, name='format')
  checks.integer(num_train, name='num_train', low=1)
  checks.integer(num_test, name='num_test', low=1)
  checks.integer(subsample, name='subsample', low=1)
  for name in filter(None, (path, test_path)):
    if not files.exists(name):
      raise ValueError(f'problem={path!r}: there is no file {name}.')
  found = FORMATS[format](path, test_path, num_train, num_test, subsample)
  if not len(found.test.inputs) or not len(found.train.inputs):
    raise ValueError(
      f'{path} leaves {len(found.train.inputs)} training and '
      f'{len(found.test.inputs)} test functions: reduce num_train or give '
      'test_path.'
    )
  return found


def _read_deeponet(path, test_path, num_train, num_test, subsample):
  if subsample > 1:
    raise ValueError(
      f'subsample={subsample} has no meaning for the sensor values of {path}: '
      'leave it out.'
    )
  train = load_deeponet_npz(path, allow_pickle=True)
  test = load_deeponet_npz(test_path or path, split='test', allow_pickle=True)
  if len(train.queries) == len(train.inputs):
    return StoredFunctions(train, test, 'unaligned')
  cut = sets.OperatorArrays(
    train.inputs[:num_train], train.queries, train.targets[:num_train]
  )
  return StoredFunctions(cut, test, 'aligned')


def _read_npz(path, test_path, num_train, num_test, subsample):
  fields = load_npz(path)
  missing = {'inputs', 'targets'} - fields.keys()
  if missing:
    raise ValueError(
      f'{path} lacks {", ".join(sorted(missing))}: an .npz set holds inputs '
      f'and targets [n, *grid, C]; it has {", ".join(fields)}.'
    )
  other = load_npz(test_path) if test_path else fields
  start = 0 if test_path else num_train

  def arrays(held, part):
    cut = lambda x: thinned(x[part], subsample)
    return sets.OperatorArrays(
      cut(held['inputs']), np.zeros((0,)), cut(held['targets'])
    )

  return StoredFunctions(
    arrays(fields, slice(0, num_train)),
    arrays(other, slice(start, start + num_test)),
    'grid',
  )


def _mat_reader(name):
  def read(path, test_path, num_train, num_test, subsample):
    load = lambda where, start, count: load_operator_mat(
      where, name, start=start, max_samples=count, subsample=subsample
    )
    return StoredFunctions(
      load(path, 0, num_train),
      load(test_path or path, 0 if test_path else num_train, num_test),
      'grid',
      FILE_FORMATS[name].periodic,
    )

  return read


def thinned(values: np.ndarray, step: int) -> np.ndarray:
  """Keeps every `step`-th point of each grid axis of [n, *grid, C]."""
  inner = (slice(None, None, step),) * (values.ndim - 2)
  return values[(slice(None), *inner)]


FORMATS = {name: _mat_reader(name) for name in FILE_FORMATS} | {
  'deeponet_npz': _read_deeponet,
  'npz': _read_npz,
}
SOURCES = sets.PROBLEMS | {'file': file}
