# SPDX-License-Identifier: Apache-2.0
"""Generated operator-learning sets in the layouts that the models read."""

import functools
import re
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from jaxdl.core import checks, registry
from jaxdl.pde.sets import _recipes as recipes, _recipes_2d as fields

LAYOUTS = ('grid', 'aligned', 'unaligned')

PROBLEMS = registry.Registry(
  'problem',
  {
    'antiderivative': recipes.antiderivative,
    'nonlinear_ode': recipes.nonlinear_ode,
    'pendulum': recipes.pendulum,
    'legendre_transform': recipes.legendre_transform,
    'caputo_derivative': recipes.caputo_derivative,
    'stochastic_ode': recipes.stochastic_ode,
    'stochastic_elliptic': recipes.stochastic_elliptic,
    'advection': recipes.advection,
    'advection_diffusion': recipes.advection_diffusion,
    'diffusion_reaction': recipes.diffusion_reaction,
    'burgers': fields.burgers,
    'poisson': fields.poisson,
    'darcy': fields.darcy_smooth,
    'darcy_smooth': fields.darcy_smooth,
    'darcy_rough': fields.darcy_rough,
    'darcy_lognormal': fields.darcy_lognormal,
    'darcy_multiscale': fields.darcy_multiscale,
    'helmholtz': fields.helmholtz,
    'navier_stokes': fields.navier_stokes,
  },
  given=('num_train', 'num_test'),
)


class OperatorArrays(NamedTuple):
  """One split, float NumPy arrays.

  Attributes:
    inputs: grid [N, *grid, 1]; aligned [N, S]; unaligned [N P, S].
    queries: grid [*grid, d]; aligned [Q, d]; unaligned [N P, d].
    targets: grid [N, *grid, C]; aligned [N, Q]; unaligned [N P, 1].
  """

  inputs: np.ndarray
  queries: np.ndarray
  targets: np.ndarray


class OperatorDataset(NamedTuple):
  """A training and a test split and the sensors they share.

  Attributes:
    train: training split.
    test: test split.
    sensors: f[S, d], coordinates of the input grid, row-major.
  """

  train: OperatorArrays
  test: OperatorArrays
  sensors: np.ndarray


def _mesh(axes):
  return np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)


@functools.lru_cache(maxsize=32)
def _recipe(spec, dtype):
  """Returns a recipe, which may factor a covariance of a thousand points."""
  del dtype  # The default float type, on which a recipe may depend.
  return PROBLEMS.make(spec)


@functools.lru_cache(maxsize=16)
def _solver(spec, layout, queries_per_function, dtype):
  """Returns a recipe and its compiled form, shared by all seeds and splits."""
  recipe = _recipe(spec, dtype)
  num_fine = int(np.prod([len(axis) for axis in recipe.output_axes]))
  stride = (slice(None, None, recipe.stride),) * len(recipe.output_axes)

  def one_chunk(key, ids):
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
    inputs, outputs = recipe.sample(keys)
    if layout != 'unaligned':
      return inputs, outputs[(slice(None), *stride)]
    # A stream apart from the one that drew the function.
    draw = lambda k: jax.random.randint(
      jax.random.fold_in(k, 1), (queries_per_function,), 0, num_fine
    )
    places = jax.vmap(draw)(keys)
    flat = outputs.reshape(outputs.shape[0], num_fine)
    return inputs, jnp.take_along_axis(flat, places, axis=1), places

  run = jax.jit(checkify.checkify(one_chunk, errors=checkify.user_checks))
  return recipe, run


def _generate(run, key, num, chunk, known):
  """Runs a solver in chunks of one size; its checks become errors."""
  parts = []
  for start in range(0, num, chunk):
    ids = np.minimum(np.arange(start, start + chunk), num - 1)
    error, part = run(key, jnp.asarray(ids, jnp.uint32))
    if error.get() is not None:
      text = re.sub(r'\s*\(`?check`? failed.*', '', error.get(), flags=re.S)
      if 'reduce dt' in text and 'num_steps' in known:
        text = text.replace('reduce dt', 'raise num_steps, which reduces dt')
      raise ValueError(text)
    kept = min(chunk, num - start)
    parts.append([np.asarray(x)[:kept] for x in part])
  return [np.concatenate(x) for x in zip(*parts, strict=True)]


def _grid_arrays(problem, recipe, inputs, outputs, axes, dtype):
  rank = len(recipe.input_axes)
  if recipe.extra == 'back':
    queries = _mesh(axes[:rank])
    inputs, targets = inputs[..., None], outputs
  elif recipe.extra == 'front':
    shape = outputs.shape
    extra = (1,) * (len(axes) - rank)
    inputs = inputs.reshape(shape[0], *extra, *inputs.shape[1:])
    inputs = np.broadcast_to(inputs, shape)[..., None]
    queries, targets = _mesh(axes), outputs[..., None]
  elif inputs.shape == outputs.shape:
    queries = _mesh(axes)
    inputs, targets = inputs[..., None], outputs[..., None]
  else:
    raise ValueError(
      f'{problem} has no grid layout, its input and output grids differ: '
      "use layout='aligned' or 'unaligned'."
    )
  return OperatorArrays(inputs, queries.astype(dtype), targets)


def operator_shapes(problem: str, *, layout: str = 'aligned') -> OperatorArrays:
  """Tells the shapes of a set without solving anything.

  Args:
    problem: a part of `PROBLEMS`.
    layout: one of `LAYOUTS`.

  Returns:
    What `make_operator_dataset` makes of one function (and one point, if
    unaligned), as `jax.ShapeDtypeStruct`s.

  Raises:
    ValueError: if names or options are wrong, or there is no such layout.

  Example:
    >>> shapes = operator_shapes('burgers(resolution=32)', layout='grid')
    >>> shapes.inputs.shape, shapes.targets.shape
    ((1, 32, 1), (1, 32, 1))
  """
  checks.choice(layout, LAYOUTS, name='layout')
  part = PROBLEMS.part(problem)
  dtype = np.dtype(jnp.result_type(float))
  spec = registry.write(part.name, **part.options)
  recipe = _recipe(spec, dtype)
  axes = tuple(axis[:: recipe.stride] for axis in recipe.output_axes)
  grid = tuple(map(len, recipe.input_axes))
  out = tuple(map(len, axes))
  if layout == 'grid':
    empty = (np.empty((1, *grid)), np.empty((1, *out)))
    arrays = _grid_arrays(part.name, recipe, *empty, axes, dtype)
    shapes = [x.shape for x in arrays]
  else:
    points = 1 if layout == 'unaligned' else int(np.prod(out))
    shapes = [(1, int(np.prod(grid))), (points, len(out)), (1, points)]
  return OperatorArrays(*(jax.ShapeDtypeStruct(x, dtype) for x in shapes))


def make_operator_dataset(
  problem: str,
  *,
  key: chex.PRNGKey,
  num_train: int,
  num_test: int,
  layout: str = 'aligned',
  queries_per_function: int = 1,
  chunk: int = 64,
) -> OperatorDataset:
  """Draws input functions, solves for the outputs and arranges both.

  Sample i of a split depends on the key, the split and i only: growing
  `num_train` keeps the earlier samples. 'aligned' reads every output at the
  same points (one trunk evaluation for all functions). 'unaligned' draws
  `queries_per_function` random points of the output grid per function, with
  replacement, and repeats the input. 'grid' is channels-last: a time axis that
  the input lacks is broadcast in front (advection) or becomes channels behind
  (Navier-Stokes).

  Args:
    problem: a part of `PROBLEMS`, as 'burgers(resolution=64)'; `resolution`
      counts the points per input axis.
    key: consumed.
    num_train: training functions, >= 1.
    num_test: test functions, >= 1.
    layout: one of `LAYOUTS`.
    queries_per_function: `P`, for 'unaligned'.
    chunk: functions solved at a time; bounds the memory.

  Returns:
    NumPy arrays of the default float dtype (float64 only under x64).

  Raises:
    ValueError: if an option does not exist or is out of range, a solver's
      check fails (CFL, convergence, resonance, blow-up) or the layout does not
      exist.

  Cost: one compilation per problem, options, layout and chunk size, kept for
    further keys; then 500 functions take well under a second (ODEs, Burgers)
    to seconds on two cores.

  Example:
    >>> data = make_operator_dataset(
    ...   'antiderivative(resolution=20)',
    ...   key=jax.random.key(0),
    ...   num_train=4,
    ...   num_test=2,
    ... )
    >>> data.train.inputs.shape, data.train.queries.shape
    ((4, 20), (20, 1))
    >>> data.test.targets.shape
    (2, 20)

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4; Li et
  al. 2021 (https://arxiv.org/abs/2010.08895), section 5.
  """
  part = PROBLEMS.part(problem)
  checks.integer(num_train, name='num_train', low=1)
  checks.integer(num_test, name='num_test', low=1)
  checks.integer(chunk, name='chunk', low=1)
  checks.choice(layout, LAYOUTS, name='layout')
  checks.integer(queries_per_function, name='queries_per_function', low=1)
  dtype = np.dtype(jnp.result_type(float))
  spec = registry.write(part.name, **part.options)
  recipe, run = _solver(spec, layout, queries_per_function, dtype)
  known = PROBLEMS.options(part.name)
  axes = tuple(axis[:: recipe.stride] for axis in recipe.output_axes)
  chunk = min(chunk, max(num_train, num_test))

  def split(split_key, num):
    arrays = _generate(run, split_key, num, chunk, known)
    if not all(np.isfinite(a).all() for a in arrays):
      raise ValueError(
        f'{problem} produced NaN or infinite values: reduce the time step or '
        'the amplitude of the inputs.'
      )
    inputs, outputs, *places = arrays
    if layout == 'grid':
      return _grid_arrays(part.name, recipe, inputs, outputs, axes, dtype)
    flat = inputs.reshape(num, -1)
    if layout == 'aligned':
      queries = _mesh(axes).reshape(-1, len(axes)).astype(dtype)
      return OperatorArrays(flat, queries, outputs.reshape(num, -1))
    points = _mesh(recipe.output_axes).reshape(-1, len(axes)).astype(dtype)
    return OperatorArrays(
      np.repeat(flat, queries_per_function, axis=0),
      points[places[0].ravel()],
      outputs.reshape(-1, 1),
    )

  train_key, test_key = jax.random.split(key)
  sensors = _mesh(recipe.input_axes).reshape(-1, len(recipe.input_axes))
  return OperatorDataset(
    split(train_key, num_train),
    split(test_key, num_test),
    sensors.astype(dtype),
  )
