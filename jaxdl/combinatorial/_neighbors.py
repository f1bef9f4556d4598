# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbors as rows of K, found block by block."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _problem
from jaxdl.core import checks

# Entries of the N x N matrix that exist at a time.
_BLOCK = 2**20


def smallest(
  rows: Callable[[chex.Array], chex.Array],
  num_nodes: int,
  num_neighbors: int,
) -> tuple[chex.Array, chex.Array]:
  """Finds the K smallest entries of each row of a matrix that is not kept.

  A node is always among its own neighbors, first. Ties go to the lower index.

  Args:
    rows: `rows(ids: i32[B]) -> f[B, N]`, rows of any matrix of distances or
      costs, finite or +inf; entries of a node with itself are not read.
    num_nodes: N (static).
    num_neighbors: K, >= 1; min(K, N) are kept (static).

  Returns:
    ids i32[N, K] and their entries f[N, K], those of a node itself being zero.

  Raises:
    TypeError, ValueError: if a number is no integer or below 1, or rows have
      another shape.

  Cost: O(N²) work, O(N K) memory and a block of a million entries.

  Example:
    >>> cost = jnp.array([[0.0, 3.0, 1.0], [2.0, 0.0, 4.0], [9.0, 8.0, 0.0]])
    >>> smallest(lambda ids: cost[ids], 3, 2)[0].tolist()
    [[0, 2], [1, 0], [2, 1]]
  """
  checks.integer(num_nodes, name='num_nodes', low=1)
  checks.integer(num_neighbors, name='num_neighbors', low=1)
  num_kept = min(num_neighbors, num_nodes)
  size = min(max(1, _BLOCK // num_nodes), num_nodes)

  def block(ids):
    found = rows(ids)
    if found.shape != (size, num_nodes):
      raise ValueError(
        f'rows must return [B, N] = {(size, num_nodes)}; got {found.shape}.'
      )
    own = ids[:, None] == jnp.arange(num_nodes)[None]
    best, where = jax.lax.top_k(jnp.where(own, jnp.inf, -found), num_kept)
    # The first is the node itself.
    first = jnp.arange(num_kept)[None] == 0
    return where, jnp.where(first, jnp.zeros((), best.dtype), -best)

  # The last block is filled up with the last node.
  count = -(-num_nodes // size)
  ids = jnp.minimum(jnp.arange(count * size), num_nodes - 1)
  if count == 1:
    where, values = block(ids)
  else:
    where, values = jax.lax.map(block, ids.reshape(count, size))
  where = where.reshape(-1, num_kept)[:num_nodes].astype(jnp.int32)
  return where, values.reshape(-1, num_kept)[:num_nodes]


def nearest(x: chex.Array, num_neighbors: int) -> tuple[chex.Array, chex.Array]:
  """Finds the K nearest of each of N points, itself first.

  Args:
    x: f[N, D], coordinates.
    num_neighbors: K, >= 1; min(K, N) are kept (static).

  Returns:
    ids i32[N, K], nearest first, and Euclidean distances f[N, K].

  Raises:
    TypeError, ValueError: if `x` is no matrix or `num_neighbors` no number of
      neighbors.

  Cost: O(N² D) work, O(N K) memory.

  Example:
    >>> nearest(jnp.array([[0.0], [1.0], [3.0]]), 2)[0].tolist()
    [[0, 1], [1, 0], [2, 1]]
  """
  checks.array(x, name='x')
  if x.ndim != 2:
    raise ValueError(f'x must be coordinates [N, D]; got shape {x.shape}.')

  def rows(ids):
    gaps = [x[ids, i][:, None] - x[None, :, i] for i in range(x.shape[1])]
    return sum(jnp.square(gap) for gap in gaps)

  ids, squares = smallest(rows, x.shape[0], num_neighbors)
  return ids, jnp.sqrt(squares)


def knn_graph(
  x: chex.Array, num_neighbors: int, *, nodes: chex.Array | None = None
) -> _problem.Neighbors:
  """Builds the sparse graph of points in the plane.

  Args:
    x: f[N, D], coordinates.
    num_neighbors: K, >= 1; min(K, N) are kept (static).
    nodes: f[N, F], features of nodes; the coordinates by default.

  Returns:
    `Neighbors` whose edges have two equal features, the negative distance.

  Raises:
    TypeError, ValueError: as `nearest`.

  Example:
    >>> knn_graph(jnp.array([[0.0], [1.0], [3.0]]), 2).edges[2].tolist()
    [[-0.0, -0.0], [-2.0, -2.0]]

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), section 4.1.
  """
  ids, distances = nearest(x, num_neighbors)
  edges = jnp.stack([-distances, -distances], axis=-1)
  return _problem.Neighbors(x if nodes is None else nodes, ids, edges)
