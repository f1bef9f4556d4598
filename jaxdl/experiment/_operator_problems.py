# SPDX-License-Identifier: Apache-2.0
"""Generated and stored sets of functions, as arrays with a seed axis."""

import ast
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, operators
from jaxdl.core import checks
from jaxdl.pde import sets as sets_lib

FORMATS = (*sets_lib.FILE_FORMATS, 'deeponet_npz', 'npz')
NORMALIZERS = ('none', 'scalar', 'channel', 'point', 'range')
# What a picture shows per axis at most.
_PICTURE = 64


class Problem(NamedTuple):
  """Functions to learn from and to be tested on, for S seeds.

  Attributes:
    train: 'inputs', 'targets' and, in the unaligned layout, 'points': leaves
      [S, n, ...].
    tests: test sets by label ('' or a resolution): leaves [S, T, B, ...] with
      'mask', as `data.eval_batches` cuts them.
    points: f[Q, d], query points that all functions share, or None.
    samples: some test functions for pictures: 'inputs' [n, *input grid],
      'targets' [n, *output grid] and what the network takes, 'arguments'.
    periodic: whether the grid lacks the right end of each axis.
  """

  train: dict[str, chex.Array]
  tests: dict[str, dict[str, chex.Array]]
  points: chex.Array | None
  samples: dict[str, Any]
  periodic: bool = False

  def example(self) -> dict[str, chex.Array]:
    """One seed's training data, for shapes."""
    return jax.tree.map(lambda x: x[0], self.train)


def parse_options(problem: str, options: Sequence[str]) -> dict[str, Any]:
  """Reads 'name=value' options of a problem.

  Args:
    problem: a name in `PROBLEMS`.
    options: e.g. ('viscosity=0.01', 'space=chebyshev').

  Returns:
    The options.

  Raises:
    ValueError: if one is malformed or the problem does not have it.
  """
  known = sets_lib.problem_options(problem)
  out = {}
  for option in options:
    name, sign, text = option.partition('=')
    if not sign or not text:
      raise ValueError(
        f'problem_options must be written name=value; got {option!r}.'
      )
    if name == 'resolution' or name not in known:
      offered = ', '.join(n for n in known if n != 'resolution')
      raise ValueError(
        f'problem_options={option}: {name!r} is no option of '
        f'problem={problem}: choose from {offered}.'
      )
    out[name] = literal(text)
  return out


def literal(text: str) -> Any:
  """Reads a Python literal; what is none stays text."""
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def generate(
  problem: str,
  *,
  seeds: Sequence[int],
  layout: str,
  num_train: int,
  num_test: int,
  resolution: int = 0,
  eval_resolutions: Sequence[int] = (),
  queries_per_function: int = 1,
  eval_batch_size: int = 64,
  num_samples: int = 3,
  options: Mapping[str, Any] | None = None,
) -> Problem:
  """Draws and solves a problem once per seed.

  With `eval_resolutions` everything is solved at the finest grid and
  subsampled, so that all resolutions show the same functions.

  Args:
    problem: a name in `PROBLEMS`.
    seeds: S seeds; each has functions of its own.
    layout: 'grid', 'aligned' or 'unaligned'.
    num_train: training functions.
    num_test: test functions.
    resolution: points per input axis; 0 is the problem's default.
    eval_resolutions: further grids to test on ('grid' only).
    queries_per_function: points per function, for 'unaligned'.
    eval_batch_size: functions per evaluation batch.
    num_samples: test functions kept for pictures.
    options: of the problem.

  Returns:
    A `Problem`.

  Raises:
    ValueError: if resolutions do not divide each other.
  """
  own = resolution or sets_lib.problem_options(problem)['resolution']
  finest = max((own, *eval_resolutions))
  if eval_resolutions and layout != 'grid':
    raise ValueError('eval_resolutions needs a network on grids.')
  make = lambda seed, **changed: sets_lib.make_operator_dataset(
    problem,
    key=jax.random.key(seed),
    **(
      {
        'num_train': num_train,
        'num_test': num_test,
        'resolution': finest,
        'layout': layout,
        'queries_per_function': queries_per_function,
      }
      | changed
    ),
    **(options or {}),
  )
  sets = [make(seed) for seed in seeds]
  end = sets[0].sensors[-1]
  periodic = bool(np.all(end < 1 - 1e-6))
  coarse = lambda x, r: _subsample(x, finest, r, periodic)
  train = {
    'inputs': np.stack([coarse(d.train.inputs, own) for d in sets]),
    'targets': np.stack([coarse(d.train.targets, own) for d in sets]),
  }
  tests = {}
  for r in dict.fromkeys((own, *eval_resolutions)):
    tests[str(r) if eval_resolutions else ''] = [
      {
        'inputs': coarse(d.test.inputs, r),
        'targets': coarse(d.test.targets, r),
      }
      for d in sets
    ]
  first, points = sets[0], None
  if layout == 'unaligned':
    train['points'] = np.stack([d.train.queries for d in sets])
    for test, d in zip(tests[''], sets, strict=True):
      test['points'] = d.test.queries
    first = make(seeds[0], num_train=1, num_test=num_samples, layout='aligned')
  if layout == 'aligned':
    points = jnp.asarray(first.train.queries)
  inputs = coarse(first.test.inputs[:num_samples], own)
  targets = coarse(first.test.targets[:num_samples], own)
  if layout == 'grid':
    samples = {'inputs': inputs, 'targets': targets, 'arguments': (inputs,)}
  else:
    queries = first.test.queries
    samples = {
      'inputs': inputs.reshape(len(inputs), *_axes(first.sensors)),
      'targets': targets.reshape(len(targets), *_axes(queries)),
      'arguments': (inputs, queries),
    }
  return Problem(
    train=jax.tree.map(jnp.asarray, train),
    tests=_batched(tests, eval_batch_size),
    points=points,
    samples=samples,
    periodic=periodic,
  )


def read(
  path: str,
  test_path: str,
  file_format: str,
  *,
  num_seeds: int,
  num_train: int,
  num_test: int,
  subsample: int = 1,
  eval_batch_size: int = 64,
  num_samples: int = 3,
) -> Problem:
  """Reads a stored set; every seed sees the same functions.

  Args:
    path: the file.
    test_path: file of the test functions; empty takes those of `path` after
      the first `num_train`, or the test half of a DeepONet archive.
    file_format: a name in `FORMATS`.
    num_seeds: S.
    num_train: training functions at most.
    num_test: test functions at most.
    subsample: every how many grid points are kept.
    eval_batch_size: functions per evaluation batch.
    num_samples: test functions kept for pictures.

  Returns:
    A `Problem` in the layout of the file.

  Raises:
    ValueError: if the file is missing or does not hold what it should.
  """
  checks.choice(file_format, FORMATS, name='file_format')
  for name in filter(None, (path, test_path)):
    if not pathlib.Path(name).is_file():
      raise ValueError(f'data_path: there is no file {name}.')
  if file_format == 'deeponet_npz':
    train = sets_lib.load_deeponet_npz(path, allow_pickle=True)
    test = sets_lib.load_deeponet_npz(
      test_path or path, split='test', allow_pickle=True
    )
  elif file_format == 'npz':
    fields = sets_lib.load_npz(path)
    missing = {'inputs', 'targets'} - fields.keys()
    if missing:
      raise ValueError(
        f'{path} lacks {", ".join(sorted(missing))}: an .npz set holds '
        f'inputs and targets [n, *grid, C]; it has {", ".join(fields)}.'
      )
    other = sets_lib.load_npz(test_path) if test_path else fields
    start = 0 if test_path else num_train
    cut = lambda x, part: _strided(x[part], subsample)
    arrays = lambda f, part: sets_lib.OperatorArrays(
      cut(f['inputs'], part), np.zeros((0,)), cut(f['targets'], part)
    )
    train = arrays(fields, slice(0, num_train))
    test = arrays(other, slice(start, start + num_test))
  else:
    load = lambda name, start, count: sets_lib.load_operator_mat(
      name,
      file_format,
      start=start,
      max_samples=count,
      subsample=subsample,
    )
    train = load(path, 0, num_train)
    test = load(test_path or path, 0 if test_path else num_train, num_test)
  if not len(test.inputs) or not len(train.inputs):
    raise ValueError(
      f'{path} leaves {len(train.inputs)} training and {len(test.inputs)} test '
      'functions: reduce num_train or give test_path.'
    )
  form = sets_lib.FILE_FORMATS.get(file_format)
  grid = file_format != 'deeponet_npz'
  aligned = not grid and len(train.queries) != len(train.inputs)
  unaligned = not grid and not aligned
  limit = num_train if not unaligned else None
  arrays = {'inputs': train.inputs[:limit], 'targets': train.targets[:limit]}
  tested = {'inputs': test.inputs, 'targets': test.targets}
  if unaligned:
    arrays['points'], tested['points'] = train.queries, test.queries
  few = test.inputs[:num_samples]
  samples: dict[str, Any] = {}
  if grid:
    samples = {
      'inputs': few,
      'targets': test.targets[:num_samples],
      'arguments': (few,),
    }
  elif aligned:
    samples = {
      'inputs': few,
      'targets': _first_output(test.targets[:num_samples]).reshape(
        len(few), *_axes(test.queries)
      ),
      'arguments': (few, test.queries),
    }
  repeat = lambda x: jnp.broadcast_to(
    jnp.asarray(x, jnp.float32)[None], (num_seeds, *np.shape(x))
  )
  return Problem(
    train=jax.tree.map(repeat, arrays),
    tests=_batched({'': [tested] * num_seeds}, eval_batch_size),
    points=jnp.asarray(train.queries) if aligned else None,
    samples=samples,
    periodic=form is not None and form.periodic,
  )


def normalizers(
  problem: Problem, *, inputs: str = 'none', targets: str = 'none'
) -> dict[str, operators.Normalizer]:
  """Fits normalisers to the training functions of each seed.

  Args:
    problem: the data.
    inputs: a name in `NORMALIZERS`, for the input functions.
    targets: likewise, for what the network gives.

  Returns:
    'inputs' and 'outputs' where asked for, leaves [S, ...].

  Raises:
    ValueError: if one kind does not fit the data.
  """
  out = {}
  for name, kind, values in (
    ('inputs', inputs, problem.train['inputs']),
    ('outputs', targets, problem.train['targets']),
  ):
    checks.choice(kind, NORMALIZERS, name='normalizer')
    if kind == 'none':
      continue
    if name == 'outputs' and problem.points is not None and values.ndim == 3:
      values = values[..., None]
    out[name] = jax.vmap(
      lambda x, kind=kind: operators.fit_normalizer(x, kind=kind)
    )(values)
  return out


def pod_bases(problem: Problem, num_modes: int) -> operators.PODBasis:
  """Computes the principal components of each seed's training outputs.

  Args:
    problem: aligned data.
    num_modes: components kept.

  Returns:
    A basis with leaves [S, ...].

  Raises:
    ValueError: if the data are not aligned or there are too few functions.
  """
  if problem.points is None:
    raise ValueError(
      'model=pod_deeponet needs outputs at common points: use layout=aligned.'
    )
  bases = [
    operators.pod_basis(targets, num_modes)
    for targets in problem.train['targets']
  ]
  return jax.tree.map(lambda *xs: jnp.stack(xs), *bases)


def pictured(values: np.ndarray, *, channels: bool) -> np.ndarray:
  """Reduces functions to what a picture shows: [n, rows, columns].

  Args:
    values: [n, *grid] or, with channels, [n, *grid, C], whose last is taken.
    channels: whether the last axis holds channels.

  Returns:
    float64[n, rows, columns], at most 64 each; one row for a curve, the middle
    slice of a volume.
  """
  values = np.asarray(values, np.float64)
  if channels:
    values = values[..., -1]
  while values.ndim > 3:
    values = values[:, values.shape[1] // 2]
  if values.ndim == 2:
    return values[:, None, :: max(1, -(-values.shape[1] // 256))]
  rows = max(1, -(-values.shape[1] // _PICTURE))
  columns = max(1, -(-values.shape[2] // _PICTURE))
  return values[:, ::rows, ::columns]


def _first_output(targets):
  return targets if targets.ndim == 2 else targets[..., 0]


def _batched(tests, batch_size):
  out = {}
  for label, seeds in tests.items():
    size = min(batch_size, len(seeds[0]['inputs']))
    cut = [data_lib.eval_batches(test, size) for test in seeds]
    out[label] = jax.tree.map(lambda *xs: jnp.asarray(np.stack(xs)), *cut)
  return out


def _axes(points: np.ndarray) -> tuple[int, ...]:
  """Shape of the row-major grid that points [n, d] lie on."""
  points = np.asarray(points)
  shape = tuple(len(np.unique(points[:, i])) for i in range(points.shape[1]))
  return shape if int(np.prod(shape)) == len(points) else (len(points),)


def _strided(values, step):
  inner = (slice(None, None, step),) * (values.ndim - 2)
  return values[(slice(None), *inner)]


def _subsample(values, finest, resolution, periodic):
  if resolution == finest:
    return values
  whole, part = finest, resolution
  if not periodic:
    whole, part = finest - 1, resolution - 1
  if whole % part:
    less = '' if periodic else ' - 1'
    raise ValueError(
      f'resolution={resolution} cannot be cut from the finest grid {finest}: '
      f'resolution{less} must divide {finest}{less}.'
    )
  return _strided(values, whole // part)
