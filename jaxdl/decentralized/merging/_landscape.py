# SPDX-License-Identifier: Apache-2.0
"""The loss between many models, as a picture in the plane.

The models sit on the corners of a regular polygon. A point inside stands for
the convex combination with its generalized barycentric coordinates, so corners
are the models and the center is their average.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees


def polygon(num_vertices: int) -> np.ndarray:
  """Corners of a regular polygon on the unit circle, the first one on top.

  Args:
    num_vertices: N >= 3.

  Returns:
    float64[N, 2], counter-clockwise.

  Raises:
    ValueError: for fewer than three.

  Example:
    >>> polygon(4).round(6).tolist()[0]
    [0.0, 1.0]
  """
  n = checks.integer(num_vertices, name='num_vertices', low=3)
  angle = np.pi / 2 + 2 * np.pi * np.arange(n) / n
  return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _edge_distances(points: np.ndarray, num_vertices: int) -> np.ndarray:
  """Signed distances [G, N] from points to edge k between corners k, k + 1."""
  corners = polygon(num_vertices)
  middles = (corners + np.roll(corners, -1, axis=0)) / 2
  apothem = np.linalg.norm(middles[0])
  return apothem - points @ (middles / apothem).T


def polygon_grid(num_vertices: int, resolution: int) -> np.ndarray:
  """Points of a square lattice inside a polygon, with its corners and center.

  Args:
    num_vertices: N >= 3.
    resolution: lattice points along the diameter, >= 2.

  Returns:
    float64[G, 2]; the N corners first, then the center, then the lattice.

  Raises:
    ValueError: if an argument is out of range.
  """
  corners = polygon(num_vertices)
  r = checks.integer(resolution, name='resolution', low=2)
  ticks = np.linspace(-1.0, 1.0, r)
  lattice = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
  inside = (_edge_distances(lattice, num_vertices) > 1e-9).all(axis=1)
  return np.concatenate([corners, np.zeros((1, 2)), lattice[inside]])


def wachspress_weights(points: np.ndarray, num_vertices: int) -> np.ndarray:
  """Barycentric coordinates with respect to a regular polygon.

  The weight of corner k is proportional to the product of the distances to all
  edges that do not touch it. Weights are not negative inside, sum to one,
  are one-hot at the corners, equal in the center, and reproduce the point.

  Args:
    points: [G, 2], inside the polygon or on its border; host.
    num_vertices: N >= 3.

  Returns:
    float64[G, N].

  Raises:
    ValueError: if a point lies outside.

  Example:
    >>> wachspress_weights(np.zeros((1, 2)), 4).tolist()
    [[0.25, 0.25, 0.25, 0.25]]

  Source: Zhu et al. 2025 (https://arxiv.org/abs/2507.06542), figure of the
  loss landscape; Wachspress 1975, regular case.
  """
  points = np.asarray(points, np.float64)
  if points.ndim != 2 or points.shape[1] != 2:
    raise ValueError(f'points must have shape [G, 2]; got {points.shape}.')
  distance = _edge_distances(points, num_vertices)
  outside = np.flatnonzero(~(distance >= -1e-9).all(axis=1))
  if outside.size:
    raise ValueError(
      f'points[{outside[0]}] = {points[outside[0]].tolist()} lies outside the '
      'polygon.'
    )
  # Rounding must not leave a corner between its two edges.
  distance = np.where(distance < 1e-12, 0.0, distance)
  n = distance.shape[1]
  weights = np.stack(
    [
      np.delete(distance, [(k - 1) % n, k], axis=1).prod(axis=1)
      for k in range(n)
    ],
    axis=1,
  )
  return weights / weights.sum(axis=1, keepdims=True)


def landscape(
  evaluate_fn: Callable[[chex.ArrayTree], Any],
  stacked: chex.ArrayTree,
  weights: chex.Array | np.ndarray,
) -> Any:
  """Evaluates combinations of models, one after the other.

  Args:
    evaluate_fn: maps one model to any tree of arrays.
    stacked: models, leaves [N, ...], floating point.
    weights: f32[G, N], e.g. `wachspress_weights(polygon_grid(N, 25), N)`.

  Returns:
    What `evaluate_fn` gives, with a leading axis [G].

  Raises:
    ValueError: if the weights do not fit the models.

  Example:
    >>> landscape(lambda x: x * x, jnp.array([-1.0, 1.0]), jnp.eye(2)).tolist()
    [1.0, 1.0]
  """
  n = checks.num_clients(stacked, name='stacked')
  weights = jnp.asarray(weights, jnp.float32)
  if weights.ndim != 2 or weights.shape[1] != n:
    raise ValueError(
      f'weights must have shape [G, N] with N = {n}; got {weights.shape}.'
    )
  return jax.lax.map(lambda w: evaluate_fn(trees.combine(w, stacked)), weights)
