# SPDX-License-Identifier: Apache-2.0
"""From the frame of a sender into that of a receiver.

A pose is (x, y, yaw): x to the right along columns, y up against rows, yaw
counterclockwise in radians. Maps are centered on their agent: cell (i, j) of
an H x W map lies at x = j - (W - 1) / 2 and y = (H - 1) / 2 - i, in cells.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import ndimage

from jaxdl.core import checks, registry, trees
from jaxdl.perception.cooperation import _values

# `warp(features f[C, H, W], sender f[3], receiver f[3]) -> (f[C, H, W],
# bool[H, W])`, what the receiver gets and where the sender sees anything.
Warp = Callable[..., tuple[chex.Array, chex.Array]]


def pose_matrix(pose: chex.Array) -> chex.Array:
  """The matrix that takes points of an agent's frame to the world's.

  Args:
    pose: f[3], x, y and yaw in radians.

  Returns:
    f[3, 3].

  Example:
    >>> pose_matrix(jnp.array([2.0, 3.0, 0.0])).tolist()
    [[1.0, -0.0, 2.0], [0.0, 1.0, 3.0], [0.0, 0.0, 1.0]]
  """
  x, y, yaw = jnp.asarray(pose)
  cos, sin = jnp.cos(yaw), jnp.sin(yaw)
  zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
  return jnp.stack(
    [
      jnp.stack([cos, -sin, x]),
      jnp.stack([sin, cos, y]),
      jnp.stack([zero, zero, one]),
    ]
  )


def relative_pose(sender: chex.Array, receiver: chex.Array) -> chex.Array:
  """The matrix that takes points of the sender's frame to the receiver's.

  Args:
    sender: f[3].
    receiver: f[3].

  Returns:
    f[3, 3].
  """
  yaw = sender[2] - receiver[2]
  cos, sin = jnp.cos(receiver[2]), jnp.sin(receiver[2])
  dx, dy = sender[0] - receiver[0], sender[1] - receiver[1]
  return pose_matrix(jnp.stack([cos * dx + sin * dy, cos * dy - sin * dx, yaw]))


def warp_bev(
  features: chex.Array, matrix: chex.Array, *, resolution: float = 1.0
) -> tuple[chex.Array, chex.Array]:
  """Moves maps by any pose, bilinearly.

  Args:
    features: f[C, H, W], in the sender's frame.
    matrix: f[3, 3], takes points of the sender to the receiver, see
      `relative_pose`; not singular.
    resolution: length of a cell, in the unit of the matrix's translation, > 0.

  Returns:
    f[C, H, W] in the receiver's frame, zero where the sender has no cell
    within half a cell, and bool[H, W], where it has. Points between the outer
    cell centers and the edge take the nearest cell.

  Raises:
    TypeError: if features are not floating point.
    ValueError: if the matrix has another shape or is known to be singular, or
      the resolution is not positive.

  Example:
    >>> maps = jnp.arange(4.0).reshape(1, 2, 2)
    >>> quarter = pose_matrix(jnp.array([0.0, 0.0, jnp.pi / 2]))
    >>> turned, seen = warp_bev(maps, quarter)
    >>> turned.round().tolist(), bool(seen.all())
    ([[[1.0, 3.0], [0.0, 2.0]]], True)
  """
  features = _values.maps(features, name='features')
  checks.number(resolution, name='resolution', low=0.0, open_low=True)
  if jnp.shape(matrix) != (3, 3):
    raise ValueError(
      f'matrix must have shape (3, 3); got {jnp.shape(matrix)}: see '
      'relative_pose.'
    )
  _check_regular(matrix)
  return _bilinear(features, jnp.asarray(matrix), resolution)


def _bilinear(features, matrix, resolution):
  h, w = features.shape[-2:]
  wide = trees.accumulator(features.dtype)
  matrix = matrix.astype(wide)
  (a, b, x), (c, d, y) = matrix[0], matrix[1]
  det = a * d - b * c
  columns, rows = _centers(h, w, wide)
  dx, dy = columns - x / resolution, rows - y / resolution
  j = (d * dx - b * dy) / det + (w - 1) / 2
  i = (h - 1) / 2 - (a * dy - c * dx) / det
  half = 0.5 + 1e-4
  seen = (i >= -half) & (i <= h - 1 + half) & (j >= -half) & (j <= w - 1 + half)
  take = lambda one: ndimage.map_coordinates(one, [i, j], 1, mode='nearest')
  moved = jax.vmap(take)(features.astype(wide))
  return jnp.where(seen[None], moved, 0).astype(features.dtype), seen


def _centers(h, w, dtype):
  """Places of cells: along columns and up, f[H, W] each."""
  x = jnp.arange(w, dtype=dtype) - (w - 1) / 2
  y = (h - 1) / 2 - jnp.arange(h, dtype=dtype)
  return jnp.broadcast_to(x, (h, w)), jnp.broadcast_to(y[:, None], (h, w))


def warp_quarter(
  features: chex.Array,
  turns: chex.Numeric,
  shift: chex.Array,
) -> tuple[chex.Array, chex.Array]:
  """Moves maps by quarter turns and whole cells, exactly.

  Args:
    features: [C, G, G], of any dtype.
    turns: i[], counterclockwise; first maps are turned, then shifted.
    shift: i[2], cells to the right and up.

  Returns:
    [C, G, G], zero where nothing comes from, and bool[G, G], where it does.

  Raises:
    ValueError: if maps are not square.

  Example:
    >>> maps = jnp.arange(4).reshape(1, 2, 2)
    >>> warp_quarter(maps, 1, jnp.array([0, 0]))[0].tolist()
    [[[1, 3], [0, 2]]]
  """
  h, w = jnp.shape(features)[-2:]
  if h != w:
    raise ValueError(
      f'features must be square for quarter turns; got maps of {h} x {w}.'
    )
  # Twice the coordinates, which are whole numbers.
  cells = jnp.arange(w, dtype=jnp.int32)
  x = jnp.broadcast_to(2 * cells - (w - 1), (h, w))
  y = jnp.broadcast_to(((h - 1) - 2 * cells)[:, None], (h, w))
  shift = jnp.asarray(shift, jnp.int32)
  dx, dy = x - 2 * shift[0], y - 2 * shift[1]
  # Back by so many quarter turns.
  turns = jnp.asarray(turns, jnp.int32) % 4
  back = [(dx, dy), (dy, -dx), (-dx, -dy), (-dy, dx)]
  sx = sum(jnp.where(turns == k, p[0], 0) for k, p in enumerate(back))
  sy = sum(jnp.where(turns == k, p[1], 0) for k, p in enumerate(back))
  j, i = (sx + (w - 1)) // 2, ((h - 1) - sy) // 2
  seen = (i >= 0) & (i < h) & (j >= 0) & (j < w)
  moved = features[:, jnp.clip(i, 0, h - 1), jnp.clip(j, 0, w - 1)]
  return jnp.where(seen[None], moved, jnp.zeros((), moved.dtype)), seen


def relative_quarter(
  sender: chex.Array, receiver: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Turns and shift between two poses on the grid.

  Args:
    sender: f[3], whole cells, and yaw a multiple of a quarter turn.
    receiver: f[3], likewise.

  Returns:
    i32[] and i32[2], for `warp_quarter`.
  """
  whole = lambda v: jnp.rint(v).astype(jnp.int32)
  s, r = jnp.asarray(sender), jnp.asarray(receiver)
  quarter = np.float32(np.pi / 2)
  own, other = whole(s[2] / quarter), whole(r[2] / quarter)
  dx, dy = whole(s[0]) - whole(r[0]), whole(s[1]) - whole(r[1])
  back = [(dx, dy), (dy, -dx), (-dx, -dy), (-dy, dx)]
  k = other % 4
  x = sum(jnp.where(k == t, p[0], 0) for t, p in enumerate(back))
  y = sum(jnp.where(k == t, p[1], 0) for t, p in enumerate(back))
  return (own - other) % 4, jnp.stack([x, y])


def _identity() -> Warp:
  """All agents draw into one common frame."""

  def warp(features, sender, receiver):
    del sender, receiver
    return features, jnp.ones(features.shape[-2:], bool)

  return warp


def _quarter() -> Warp:
  """Poses on quarter turns and whole cells: exact."""

  def warp(features, sender, receiver):
    return warp_quarter(features, *relative_quarter(sender, receiver))

  return warp


def _continuous(*, resolution: float = 1.0) -> Warp:
  """Any pose, bilinearly; `resolution` is the length of a cell."""
  checks.number(resolution, name='resolution', low=0.0, open_low=True)

  def warp(features, sender, receiver):
    matrix = relative_pose(sender, receiver)
    return _bilinear(features, matrix, resolution)

  return warp


WARPS = registry.Registry(
  'poses',
  {'identity': _identity, 'quarter': _quarter, 'continuous': _continuous},
  tried={},
)


def _check_regular(matrix: Any) -> None:
  """Raises ValueError if a known matrix cannot be undone."""
  if isinstance(matrix, jax.core.Tracer):
    return
  found = np.asarray(matrix, np.float64)
  checks.known(found, name='matrix')
  size = max(np.abs(found[:2, :2]).max(), 1e-300)
  det = np.linalg.det(found[:2, :2] / size)
  if abs(det) < 1e-6 or abs(found[2, 2]) < 1e-6:
    raise ValueError(
      f'matrix is singular (determinant {det * size**2:g}): a pose turns and '
      'shifts, so that it can be undone.'
    )
