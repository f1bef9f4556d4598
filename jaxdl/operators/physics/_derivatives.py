# SPDX-License-Identifier: Apache-2.0
"""Derivatives of what an operator network gives at its query points.

They are taken with respect to one scalar shift of all query points per
coordinate, in forward mode: one pass gives them for all functions, points and
outputs, and the branch, which does not see the shift, is evaluated once.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks

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
