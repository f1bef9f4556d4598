# SPDX-License-Identifier: Apache-2.0
"""Aggregation multigrid for five-point operators with face coefficients.

Blocks of 2 x 2 unknowns become one; the Galerkin product is again a
five-point operator whose face coefficients are sums of fine ones, so any
grid size coarsens and jumps in the coefficient stay where they are.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class FivePoint(NamedTuple):
  """The operator u -> sum over faces of coefficient times difference.

  Unknowns outside the grid are zero (Dirichlet). Leading axes are a batch.

  Attributes:
    along_x: f[..., X+1, Y], faces between rows, boundary faces included.
    along_y: f[..., X, Y+1], faces between columns.
  """

  along_x: chex.Array
  along_y: chex.Array


def five_point_apply(operator: FivePoint, u: jax.Array) -> jax.Array:
  """Applies the operator: f[..., X, Y] -> f[..., X, Y]."""
  batch = [(0, 0)] * (u.ndim - 2)
  wide_x = jnp.pad(u, [*batch, (1, 1), (0, 0)])
  wide_y = jnp.pad(u, [*batch, (0, 0), (1, 1)])
  flux_x = operator.along_x * (wide_x[..., 1:, :] - wide_x[..., :-1, :])
  flux_y = operator.along_y * (wide_y[..., 1:] - wide_y[..., :-1])
  return (
    flux_x[..., :-1, :]
    - flux_x[..., 1:, :]
    + flux_y[..., :-1]
    - flux_y[..., 1:]
  )


def five_point_diagonal(operator: FivePoint) -> jax.Array:
  """Returns the diagonal: f[..., X, Y]."""
  x, y = operator
  return x[..., 1:, :] + x[..., :-1, :] + y[..., 1:] + y[..., :-1]


def _pair_sum(x, axis):
  x = jnp.moveaxis(x, axis, -1)
  if x.shape[-1] % 2:
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)])
  # A reduction, not a sum of slices: it keeps levels from fusing together.
  x = x.reshape(*x.shape[:-1], x.shape[-1] // 2, 2).sum(-1)
  return jnp.moveaxis(x, -1, axis)


def _every_other_face(faces, axis):
  faces = jnp.moveaxis(faces, axis, -1)
  coarse = faces[..., ::2]
  if faces.shape[-1] % 2 == 0:  # Odd number of unknowns: keep the last face.
    coarse = jnp.concatenate([coarse, faces[..., -1:]], axis=-1)
  return jnp.moveaxis(coarse, -1, axis)


def coarsen(operator: FivePoint) -> FivePoint:
  """Merges 2 x 2 blocks, halved: constants overstate the energy twofold."""
  x = _pair_sum(_every_other_face(operator.along_x, -2), -1) / 2
  y = _pair_sum(_every_other_face(operator.along_y, -1), -2) / 2
  return FivePoint(x, y)


def _restrict(r):
  return _pair_sum(_pair_sum(r, -1), -2)


def _prolong(u, shape):
  u = jnp.repeat(jnp.repeat(u, 2, axis=-2), 2, axis=-1)
  return u[..., : shape[-2], : shape[-1]]


def _jacobi(operator, scale, x, r, sweeps):
  # A loop, since fused sweeps would recompute their stencils per point.
  step = lambda _, x: x + scale * (r - five_point_apply(operator, x))
  return jax.lax.fori_loop(0, sweeps, step, x)


def hierarchy(operator: FivePoint) -> list[FivePoint]:
  """Coarsens until at most four unknowns are left per axis."""
  levels = [operator]
  while max(levels[-1].along_y.shape[-2], levels[-1].along_x.shape[-1]) > 4:
    levels.append(coarsen(levels[-1]))
  return levels


def v_cycle(
  levels: list[FivePoint],
  residual: jax.Array,
  *,
  num_sweeps: int = 2,
  damping: float = 0.8,
) -> jax.Array:
  """Applies one V-cycle to a residual, from zero: symmetric and positive.

  Args:
    levels: from `hierarchy`, finest first.
    residual: f[..., X, Y].
    num_sweeps: damped Jacobi sweeps before and after (static).
    damping: of Jacobi, in (0, 1).

  Returns:
    f[..., X, Y], an approximate inverse applied to the residual.

  Cost: O(X Y) operations.
  """
  operator = levels[0]
  scale = damping / five_point_diagonal(operator)
  x = jnp.zeros_like(residual)
  if len(levels) == 1:
    return _jacobi(operator, scale, x, residual, 16)
  x = _jacobi(operator, scale, x, residual, num_sweeps)
  coarse = _restrict(residual - five_point_apply(operator, x))
  correction = v_cycle(
    levels[1:], coarse, num_sweeps=num_sweeps, damping=damping
  )
  x = x + _prolong(correction, x.shape)
  return _jacobi(operator, scale, x, residual, num_sweeps)
