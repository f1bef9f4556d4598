# SPDX-License-Identifier: Apache-2.0
"""Training on an equation instead of on solutions."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network, Task
from jaxdl.operators import _masks as masks
from jaxdl.operators.physics import _equations as equations


def physics_task(
  network: Network,
  example: dict[str, Any],
  residual: Callable[..., chex.Array],
  *,
  boundary_weight: chex.Numeric = 1.0,
  initial_weight: chex.Numeric = 1.0,
) -> Task:
  """Builds the task of satisfying an equation, without solutions as labels.

  loss = mean residual^2 + w_b mean (boundary error)^2 + w_i mean (initial
  error)^2, over functions and their own points. A batch is a dict with leaves
  [B, ...]: 'sensors' f[B, m]; 'points' f[B, Q, d]; optional 'source' f[B, Q],
  passed to the residual as its third argument; optional pairs
  'boundary_points' f[B, P, d], 'boundary_values' f[B, P] and 'initial_points',
  'initial_values'; optional 'mask' bool[B]; optional 'targets' f[B, Q] or
  f[B, Q, 1] for `evaluate` only.

  Args:
    network: a smooth branch-trunk network with one output (tanh, not relu).
    example: a batch of any size, for its shapes.
    residual: `residual(fn, points[, source]) -> f[B, Q]`, e.g.
      `diffusion_reaction_residual`.
    boundary_weight: w_b.
    initial_weight: w_i.

  Returns:
    A `Task`.

  Source: Wang, Wang and Perdikaris 2021 (https://arxiv.org/abs/2103.10974).
  """
  sensors = jax.tree.map(lambda x: x[:1], example['sensors'])
  points = example['points'][:1]

  def init(key):
    return network.init(key, sensors, points)

  def parts(params, batch, mask):
    def fn(y):
      return network.apply(params, batch['sensors'], y)

    extra = (batch['source'],) if 'source' in batch else ()
    out = {'residual': jnp.square(residual(fn, batch['points'], *extra))}
    for name in ('boundary', 'initial'):
      if f'{name}_points' in batch:
        error = fn(batch[f'{name}_points'])[..., 0] - batch[f'{name}_values']
        out[name] = jnp.square(error)
    return {
      name: masks.masked_mean(x.reshape(x.shape[0], -1).mean(-1), mask)
      for name, x in out.items()
    }

  def total(terms):
    weights = {
      'residual': 1.0,
      'boundary': boundary_weight,
      'initial': initial_weight,
    }
    return sum(weights[name] * x for name, x in terms.items())

  def loss(params, batch, *, key=None):
    del key
    return total(parts(params, *masks.unmask(batch)))

  def evaluate(params, batch):
    batch, mask = masks.unmask(batch)
    terms = parts(params, batch, mask)
    out = {'loss': total(terms), **terms}
    if 'targets' in batch:
      y = network.apply(params, batch['sensors'], batch['points'])
      error = y - batch['targets'].reshape(y.shape)
      per_row = jnp.square(error).reshape(y.shape[0], -1).mean(-1)
      out['mse'] = masks.masked_mean(per_row, mask)
    return out

  return Task(init, loss, evaluate)


def draw_points(
  key: chex.PRNGKey,
  inputs: chex.Array,
  *,
  num_points: int,
  dim: int,
  end_time: float = 1.0,
  edges: bool = True,
) -> dict[str, chex.Array]:
  """Draws points that all functions of a batch share.

  Places on the axis of the input are sensors, so that the source is exact.

  Args:
    key: consumed.
    inputs: f[B, m], sources on `linspace(0, end, m)`.
    num_points: Q (static).
    dim: 1 for points (t,), 2 for (t, x) with t in [0, 1] and x a sensor.
    end_time: end of the axis if dim is 1.
    edges: whether to add points of the initial and boundary data, zero there.

  Returns:
    A batch of `physics_task` with 'points' f[Q, d] and 'source' f[B, Q].

  Raises:
    ValueError: if a count is out of range.

  Example:
    >>> batch = draw_points(
    ...   jax.random.key(0), jnp.ones((2, 5)), num_points=3, dim=2
    ... )
    >>> batch['points'].shape, batch['source'].shape
    ((3, 2), (2, 3))

  Source: Wang, Wang and Perdikaris 2021 (https://arxiv.org/abs/2103.10974).
  """
  checks.integer(num_points, name='num_points', low=1)
  checks.integer(dim, name='dim', low=1, high=2)
  place_key, time_key, edge_key = jax.random.split(key, 3)
  num, m = inputs.shape
  place = jax.random.randint(place_key, (num_points,), 0, m)
  where = place.astype(inputs.dtype) / (m - 1)
  batch = {'sensors': inputs, 'source': inputs[:, place]}
  if dim == 1:
    batch['points'] = end_time * where[:, None]
    if edges:
      batch['initial_points'] = jnp.zeros((1, 1), inputs.dtype)
      batch['initial_values'] = jnp.zeros((num, 1), inputs.dtype)
    return batch
  times = jax.random.uniform(time_key, (2, num_points), inputs.dtype)
  batch['points'] = jnp.stack([times[0], where], -1)
  if edges:
    sides = jax.random.bernoulli(edge_key, shape=(num_points,))
    batch['boundary_points'] = jnp.stack(
      [times[1], sides.astype(inputs.dtype)], -1
    )
    batch['initial_points'] = jnp.stack([jnp.zeros_like(where), where], -1)
    zeros = jnp.zeros((num, num_points), inputs.dtype)
    batch['boundary_values'] = batch['initial_values'] = zeros
  return batch


def collocation_task(
  network: Network,
  example: dict[str, Any],
  equation: str | Callable[..., chex.Array],
  *,
  num_points: int = 100,
  end_time: float = 1.0,
  hard_boundary: bool = False,
) -> Task:
  """Builds the task of meeting an equation at fresh points in every step.

  `loss` draws from its key (`draw_points`) and uses of a batch nothing but
  'inputs' f[B, m], sources at the sensors. Solutions are for
  `operators.operator_task`.

  Args:
    network: a smooth network of sensors and points with one output, whose
      `apply` takes `aligned`.
    example: 'sensors' f[1, m] and 'points' f[1, d], for their shapes.
    equation: see `make_equation`.
    num_points: points per step.
    end_time: see `draw_points`.
    hard_boundary: whether the network meets initial and boundary data by
      itself (`operators.hard_boundary`), so that the loss leaves them out.

  Returns:
    A `Task`; `evaluate` is that of `physics_task`.

  Raises:
    ValueError: if the equation or an option is unknown; from `loss`, if there
      is no key.

  Source: Wang, Wang and Perdikaris 2021 (https://arxiv.org/abs/2103.10974).
  """
  checks.integer(num_points, name='num_points', low=1)
  residual = equations.make_equation(equation)
  shared = Network(
    network.init, lambda p, u, y: network.apply(p, u, y, aligned=True)
  )
  inner = physics_task(shared, example, residual)
  dim = example['points'].shape[-1]

  def loss(params, batch, *, key=None):
    if key is None:
      raise ValueError(
        'key is required: the loss draws its points; pass '
        'key=jax.random.key(seed).'
      )
    drawn = draw_points(
      key,
      batch['inputs'],
      num_points=num_points,
      dim=dim,
      end_time=end_time,
      edges=not hard_boundary,
    )
    return inner.loss(params, drawn)

  return Task(inner.init, loss, inner.evaluate)
