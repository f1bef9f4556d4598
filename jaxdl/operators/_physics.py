# SPDX-License-Identifier: Apache-2.0
"""Residuals of differential equations at the outputs of an operator network.

Derivatives are taken with respect to one scalar shift of all query points per
coordinate, in forward mode: one pass gives them for all functions, points and
outputs, and the branch, which does not see the shift, is evaluated once.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees
from jaxdl.core.types import Network, Task

PointFn = Callable[[chex.Array], chex.Array]


def derivatives(
  fn: PointFn, points: chex.Array, *, axis: int, order: int
) -> tuple[chex.Array, ...]:
  """Differentiates a pointwise function along one coordinate.

  Args:
    fn: f[..., Q, d] -> f[...], where output entries depend on their own point.
    points: f[..., Q, d].
    axis: the coordinate (static).
    order: highest derivative n >= 0 (static).

  Returns:
    `order + 1` arrays shaped like `fn(points)`: value, first, ..., n-th.

  Raises:
    ValueError: if axis or order is out of range.

  Cost: n nested forward derivatives, about 2**n evaluations of what depends on
    the points.

  Example:
    >>> y = jnp.array([[2.0], [3.0]])
    >>> f, f1, f2 = derivatives(lambda y: y[:, 0] ** 3, y, axis=0, order=2)
    >>> f1.tolist(), f2.tolist()
    ([12.0, 27.0], [12.0, 18.0])

  Source: Leng et al. 2023 (https://arxiv.org/abs/2311.00860), the shift of
    coordinates.
  """
  checks.integer(axis, name='axis', low=0, high=points.shape[-1] - 1)
  checks.integer(order, name='order', low=0)
  direction = jnp.zeros((points.shape[-1],), points.dtype).at[axis].set(1)

  def shifted(z):
    return (fn(points + jnp.broadcast_to(z * direction, points.shape)),)

  def lift(inner):
    def outer(z):
      values, slopes = jax.jvp(inner, (z,), (jnp.ones_like(z),))
      return (*values, slopes[-1])

    return outer

  run = shifted
  for _ in range(order):
    run = lift(run)
  return run(jnp.zeros((), points.dtype))


def mixed_derivative(
  fn: PointFn, points: chex.Array, *, axes: tuple[int, ...]
) -> chex.Array:
  """Differentiates once along each of `axes`, in any combination.

  Args:
    fn: see `derivatives`.
    points: f[..., Q, d].
    axes: coordinates (static), repetitions allowed.

  Returns:
    An array shaped like `fn(points)`.
  """
  for axis in axes:
    fn = _along(fn, axis)
  return fn(points)


def _along(fn, axis):
  return lambda y: derivatives(fn, y, axis=axis, order=1)[1]


def _first_output(fn: PointFn) -> PointFn:
  return lambda y: fn(y)[..., 0]


def antiderivative_residual(
  fn: PointFn, points: chex.Array, source: chex.Array
) -> chex.Array:
  """Returns s' - u for points (t,) and outputs [..., 1].

  Args:
    fn: f[Q, 1] -> f[..., Q, 1], the network at fixed inputs.
    points: f[Q, 1] (or own points f[N, Q, 1]).
    source: u at the points, shaped like the residual.

  Returns:
    f[..., Q].
  """
  slope = derivatives(_first_output(fn), points, axis=0, order=1)[1]
  return slope - source


def pendulum_residual(
  fn: PointFn, points: chex.Array, source: chex.Array, *, gravity: float = 1.0
) -> chex.Array:
  """Returns s'' + k sin(s) - u for points (t,) and outputs [..., 1].

  Args:
    fn: see `antiderivative_residual`.
    points: times.
    source: the torque u at the points.
    gravity: k.

  Returns:
    f[..., Q].
  """
  s, _, s_tt = derivatives(_first_output(fn), points, axis=0, order=2)
  return s_tt + gravity * jnp.sin(s) - source


def diffusion_reaction_residual(
  fn: PointFn,
  points: chex.Array,
  source: chex.Array,
  *,
  diffusion: chex.Numeric = 0.01,
  reaction: chex.Numeric = 0.01,
) -> chex.Array:
  """Returns s_t - D s_xx - k s^2 - u for points (x, t) and outputs [..., 1].

  Args:
    fn: f[Q, 2] -> f[..., Q, 1].
    points: f[Q, 2] (or f[N, Q, 2]), x then t.
    source: u(x) at the points, shaped like the residual.
    diffusion: D.
    reaction: k; the sign is the one of s_t = D s_xx + k s^2 + u.

  Returns:
    f[..., Q].
  """
  fn = _first_output(fn)
  s, _, s_xx = derivatives(fn, points, axis=0, order=2)
  s_t = derivatives(fn, points, axis=1, order=1)[1]
  return s_t - diffusion * s_xx - reaction * jnp.square(s) - source


def advection_residual(
  fn: PointFn, points: chex.Array, speed: chex.Numeric
) -> chex.Array:
  """Returns s_t + a s_x for points (x, t) and outputs [..., 1].

  Args:
    fn: f[Q, 2] -> f[..., Q, 1].
    points: f[Q, 2] (or f[N, Q, 2]), x then t.
    speed: a, a number or shaped like the residual.

  Returns:
    f[..., Q].
  """
  fn = _first_output(fn)
  s_x = derivatives(fn, points, axis=0, order=1)[1]
  s_t = derivatives(fn, points, axis=1, order=1)[1]
  return s_t + speed * s_x


def burgers_residual(
  fn: PointFn, points: chex.Array, *, viscosity: chex.Numeric
) -> chex.Array:
  """Returns s_t + s s_x - nu s_xx for points (x, t) and outputs [..., 1].

  Args:
    fn: f[Q, 2] -> f[..., Q, 1].
    points: f[Q, 2] (or f[N, Q, 2]), x then t.
    viscosity: nu.

  Returns:
    f[..., Q].
  """
  fn = _first_output(fn)
  s, s_x, s_xx = derivatives(fn, points, axis=0, order=2)
  s_t = derivatives(fn, points, axis=1, order=1)[1]
  return s_t + s * s_x - viscosity * s_xx


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
      name: masked_mean(x.reshape(x.shape[0], -1).mean(-1), mask)
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
    return total(parts(params, *unmask(batch)))

  def evaluate(params, batch):
    batch, mask = unmask(batch)
    terms = parts(params, batch, mask)
    out = {'loss': total(terms), **terms}
    if 'targets' in batch:
      y = network.apply(params, batch['sensors'], batch['points'])
      error = y - batch['targets'].reshape(y.shape)
      per_row = jnp.square(error).reshape(y.shape[0], -1).mean(-1)
      out['mse'] = masked_mean(per_row, mask)
    return out

  return Task(init, loss, evaluate)


def masked_mean(x: chex.Array, mask: chex.Array | None) -> chex.Array:
  """Averages f[B] over rows whose mask is true; zero if there is none."""
  if mask is None:
    return x.mean()
  kept = jnp.where(mask, x, 0)
  return kept.sum() / jnp.maximum(mask.sum(), 1).astype(x.dtype)


def unmask(
  batch: dict[str, Any],
) -> tuple[dict[str, Any], chex.Array | None]:
  """Zeroes rows that do not count: they may hold anything, even NaN."""
  mask = batch.get('mask')
  if mask is None:
    return batch, None
  for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
    if jnp.shape(mask) != jnp.shape(leaf)[:1]:
      raise ValueError(
        f"batch['mask'] must have one entry per sample; got shape "
        f'{jnp.shape(mask)} beside batch{jax.tree_util.keystr(path)} of shape '
        f'{jnp.shape(leaf)}.'
      )
  rest = {name: x for name, x in batch.items() if name != 'mask'}
  return trees.where_rows(mask, rest, 0), mask
