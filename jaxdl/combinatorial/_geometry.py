# SPDX-License-Identifier: Apache-2.0
"""Points in the plane: lengths, the frame of a piece, ways to draw them."""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry


def distance(a: chex.Array, b: chex.Array) -> chex.Array:
  """Euclidean distances of points.

  Args:
    a: f[..., 2].
    b: f[..., 2], broadcast with `a`.

  Returns:
    f[...], float32 at least. The gradient at equal points is zero.

  Example:
    >>> distance(jnp.array([0.0, 0.0]), jnp.array([3.0, 4.0]))
    Array(5., dtype=float32)
  """
  dtype = jnp.promote_types(jnp.result_type(a, b), jnp.float32)
  square = jnp.sum((a.astype(dtype) - b.astype(dtype)) ** 2, axis=-1)
  some = square > 0
  return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), 0)


def distances(coords: chex.Array) -> chex.Array:
  """Distances of every two points, f[m, 2] -> f[m, m]."""
  return distance(coords[:, None], coords[None, :])


def path_length(coords: chex.Array) -> chex.Array:
  """Length of the open path through points in their order.

  Args:
    coords: f[m, 2].

  Returns:
    f[], float32 at least.
  """
  return jnp.sum(distance(coords[1:], coords[:-1]))


def tour_length(coords: chex.Array) -> chex.Array:
  """Length of the closed path through points in their order.

  Args:
    coords: f[m, 2].

  Returns:
    f[], float32 at least.

  Example:
    >>> tour_length(jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
    Array(4., dtype=float32)
  """
  return jnp.sum(distance(coords, jnp.roll(coords, -1, axis=0)))


def normalized(coords: chex.Array) -> chex.Array:
  """Puts points into the frame that networks see.

  The least coordinates become zero, x is the wider axis, and its extent one.
  Moved, scaled or transposed points come out the same (up to rounding).

  Args:
    coords: f[m, 2].

  Returns:
    f[m, 2].

  Example:
    >>> normalized(jnp.array([[1.0, 2.0], [1.0, 6.0], [3.0, 2.0]])).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 0.5]]

  Source: Zheng et al. 2024, the pieces of a conquering stage.
  """
  coords = coords - jnp.min(coords, axis=0, keepdims=True)
  extent = jnp.max(coords, axis=0)
  coords = jnp.where(extent[1] > extent[0], coords[:, ::-1], coords)
  return coords / (jnp.max(extent) + 1e-10)


def check_coords(coords: chex.Array, *, name: str = 'points') -> int:
  """Checks points on the host.

  Args:
    coords: f[N, 2].
    name: of the argument, for messages.

  Returns:
    N.

  Raises:
    ValueError: unless they are N >= 1 finite points of the plane.
  """
  found = checks.host_array(coords, name=name)
  if found.ndim != 2 or found.shape[1] != 2 or not len(found):
    raise ValueError(
      f'{name} must be f[N, 2], points of the plane; got shape {found.shape}.'
    )
  bad = ~np.isfinite(found).all(axis=1)
  if bad.any():
    i = int(bad.argmax())
    raise ValueError(
      f'{name} must be finite; got {name}[{i}] = {found[i].tolist()}.'
    )
  return len(found)


Sampler = Callable[[chex.PRNGKey, int], chex.Array]


def uniform() -> Sampler:
  """Points anywhere in the unit square."""
  return lambda key, num_nodes: jax.random.uniform(key, (num_nodes, 2))


def clustered(*, num_clusters: int = 5, spread: float = 0.05) -> Sampler:
  """Points around centers, normal with a standard deviation."""
  checks.integer(num_clusters, name='num_clusters', low=1)
  checks.number(spread, name='spread', low=0.0)

  def draw(key, num_nodes):
    centers_key, which_key, noise_key = jax.random.split(key, 3)
    centers = jax.random.uniform(
      centers_key, (num_clusters, 2), minval=0.1, maxval=0.9
    )
    which = jax.random.randint(which_key, (num_nodes,), 0, num_clusters)
    noise = jax.random.normal(noise_key, (num_nodes, 2))
    return jnp.clip(centers[which] + spread * noise, 0.0, 1.0)

  return draw


def ring(*, width: float = 0.1) -> Sampler:
  """Points in a ring of some width around the middle of the square."""
  checks.number(width, name='width', low=0.0, high=0.5)

  def draw(key, num_nodes):
    angle_key, radius_key = jax.random.split(key)
    angle = 2 * math.pi * jax.random.uniform(angle_key, (num_nodes,))
    radius = 0.5 - width * jax.random.uniform(radius_key, (num_nodes,))
    both = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return 0.5 + radius[:, None] * both

  return draw


def grid(*, jitter: float = 0.2) -> Sampler:
  """Points near those of a square grid, in random order.

  `jitter` is in units of the distance of neighbors.
  """
  checks.number(jitter, name='jitter', low=0.0)

  def draw(key, num_nodes):
    order_key, noise_key = jax.random.split(key)
    side = math.isqrt(num_nodes - 1) + 1 if num_nodes > 1 else 1
    place = jax.random.permutation(order_key, side * side)[:num_nodes]
    noise = jax.random.uniform(
      noise_key, (num_nodes, 2), minval=-0.5, maxval=0.5
    )
    places = jnp.stack([place % side, place // side], axis=1)
    return jnp.clip((places + 0.5 + jitter * noise) / side, 0.0, 1.0)

  return draw


def stripe(*, width: float = 0.1) -> Sampler:
  """Points near the diagonal of the square."""
  checks.number(width, name='width', low=0.0, high=1.0)

  def draw(key, num_nodes):
    along_key, across_key = jax.random.split(key)
    along = jax.random.uniform(along_key, (num_nodes, 1))
    across = jax.random.uniform(
      across_key, (num_nodes, 1), minval=-0.5, maxval=0.5
    )
    both = jnp.concatenate([along + width * across, along - width * across], 1)
    return jnp.clip(both, 0.0, 1.0)

  return draw


DISTRIBUTIONS = registry.Registry(
  'distribution',
  {
    'uniform': uniform,
    'clustered': clustered,
    'ring': ring,
    'grid': grid,
    'stripe': stripe,
  },
)


def points(spec: str, key: chex.PRNGKey, num_nodes: int) -> chex.Array:
  """Draws points of the unit square.

  Args:
    spec: a part of `DISTRIBUTIONS`.
    key: consumed.
    num_nodes: N (static).

  Returns:
    f32[N, 2].

  Raises:
    ValueError: if the spec or the number is wrong.

  Example:
    >>> points('ring(width=0.05)', jax.random.key(0), 4).shape
    (4, 2)
  """
  checks.integer(num_nodes, name='num_nodes', low=1)
  return DISTRIBUTIONS.make(spec)(key, num_nodes)
