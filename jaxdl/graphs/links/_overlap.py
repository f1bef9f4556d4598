# SPDX-License-Identifier: Apache-2.0
"""What two nodes share, and what only one of them has."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys
from jaxdl.graphs.links import _adjacency
from jaxdl.graphs.links._adjacency import Adjacency

# Numbers of neighbors that are gathered side by side; 256 MiB of float32.
_GATHERED = 2**26


class Overlap(NamedTuple):
  """Neighbors of both nodes of each pair (i, j).

  Attributes:
    left: i32[B, D], neighbors of i, ascending.
    right: i32[B, D], neighbors of j, ascending.
    common: bool[B, D], which of `left` are neighbors of both.
    left_only: bool[B, D], which of `left` are of i alone; never j.
    right_only: bool[B, D], which of `right` are of j alone; never i.
  """

  left: chex.Array
  right: chex.Array
  common: chex.Array
  left_only: chex.Array
  right_only: chex.Array


def overlap(adjacency: Adjacency, pairs: chex.Array) -> Overlap:
  """Compares the neighbors of the nodes of each pair.

  Args:
    adjacency: of N nodes, at most D neighbors each.
    pairs: i32[B, 2] (traced).

  Returns:
    An `Overlap`.

  Raises:
    ValueError: if the shape of pairs is another, or pairs that are concrete
      name no node or one twice.

  Cost: O(B D), with a factor log D without a matrix.

  Example:
    >>> from jaxdl import graphs
    >>> links = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (1, 4)]
    >>> found = adjacency(graphs.make_graph(links, 5, pad_nodes=5))
    >>> both = overlap(found, jnp.array([(0, 1)]))
    >>> both.left[both.common].tolist(), both.right[both.right_only].tolist()
    ([2, 3], [4])

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), section 4.
  """
  return between(adjacency, _adjacency.checked(adjacency, pairs))


def between(adjacency: Adjacency, pairs: chex.Array) -> Overlap:
  """As `overlap`, of pairs that were checked."""
  i, j = pairs[:, :1], pairs[:, 1:]
  left, in_left = _adjacency.rows(adjacency, pairs[:, 0])
  right, in_right = _adjacency.rows(adjacency, pairs[:, 1])
  of_both = _adjacency.are_linked(adjacency, j, left)
  common = in_left & of_both
  left_only = in_left & ~of_both & (left != j)
  right_only = in_right & (right != i)
  right_only &= ~_adjacency.are_linked(adjacency, i, right)
  return Overlap(left, right, common, left_only, right_only)


def pool_common(
  adjacency: Adjacency, pairs: chex.Array, h: chex.Array
) -> chex.Array:
  """Adds up the vectors of common neighbors.

  With a matrix it is one product, `(A[i] * A[j]) @ h`; without, a gather.

  Args:
    adjacency: of N nodes.
    pairs: i32[B, 2] (traced).
    h: f[N, F]. A node that is not finite touches the pairs that share it alone.

  Returns:
    f[B, F], zeros of pairs that share nobody.

  Raises:
    ValueError: as `overlap`, or if h has not a row for each node.

  Cost: O(B D F), or O(B N F) with a matrix.

  Example:
    >>> from jaxdl import graphs
    >>> links = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (1, 4)]
    >>> found = adjacency(graphs.make_graph(links, 5, pad_nodes=5))
    >>> pool_common(found, jnp.array([(0, 1)]), jnp.ones((5, 1))).tolist()
    [[2.0]]

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), equation
    of NCN.
  """
  pairs = _adjacency.checked(adjacency, pairs)
  check_vectors(adjacency, h)
  return pool(adjacency, pairs, h)


def pool(adjacency: Adjacency, pairs: chex.Array, h: chex.Array) -> chex.Array:
  """As `pool_common`, of pairs that were checked."""
  i, j = pairs[:, 0], pairs[:, 1]
  if adjacency.matrix is not None:
    both = (adjacency.matrix[i] & adjacency.matrix[j]).astype(h.dtype)
    bad = ~jnp.isfinite(h).all(axis=1)
    whole = jnp.where(bad[:, None], 0, h)
    # Counts must stay counts where products are rounded by default.
    pooled = jnp.matmul(both, whole, precision='highest')
    touched = (both @ bad.astype(h.dtype)[:, None]) > 0
    return jnp.where(touched, jnp.nan, pooled)
  left, there = _adjacency.rows(adjacency, i)
  there &= _adjacency.are_linked(adjacency, j[:, None], left)
  return gathered_sum(h, left, there)


def gathered_sum(
  h: chex.Array, ids: chex.Array, weights: chex.Array
) -> chex.Array:
  """Adds up weighted rows.

  Args:
    h: f[N, F].
    ids: i32[B, D].
    weights: bool or f[B, D]; rows of weight zero do not count, whatever they
      hold.

  Returns:
    f[B, F]; of many long rows some at a time, so that no more than
    `_GATHERED` numbers, or as many as h has, lie side by side.
  """
  (count, length), width = ids.shape, h.shape[1]
  size = max(1, max(_GATHERED, h.size) // max(length * width, 1))

  def part(some):
    ids, weights = some
    rows = jnp.where((weights != 0)[..., None], h[ids], 0)
    weights = weights.astype(h.dtype)
    return jnp.einsum('bd,bdf->bf', weights, rows, precision='highest')

  if size >= count:
    return part((ids, weights))
  num = -(-count // size)
  fill = lambda x: jnp.pad(x, ((0, num * size - count), (0, 0)))
  parts = jax.tree.map(
    lambda x: fill(x).reshape(num, size, length), (ids, weights)
  )
  found = jax.lax.map(jax.checkpoint(part), parts)
  return found.reshape(num * size, width)[:count]


def shared_with_each(
  adjacency: Adjacency, nodes: chex.Array, others: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Which neighbors of a node are neighbors of each of several others, too.

  Args:
    adjacency: of N nodes.
    nodes: i32[B].
    others: i32[B, R].

  Returns:
    i32[B, D], the neighbors of the nodes; bool[B, R, D], which are shared.
  """
  ids, there = _adjacency.rows(adjacency, nodes)
  linked = _adjacency.are_linked(adjacency, others[:, :, None], ids[:, None, :])
  return ids, there[:, None, :] & linked


def count_shared(
  adjacency: Adjacency, nodes: chex.Array, others: chex.Array
) -> chex.Array:
  """Counts common neighbors of a node and each of several others.

  Args:
    adjacency: of N nodes.
    nodes: i32[B].
    others: i32[B, R].

  Returns:
    i32[B, R], entries of the square of the matrix of links.

  Cost: O(B R D).

  Example:
    >>> from jaxdl import graphs
    >>> links = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (1, 4)]
    >>> found = adjacency(graphs.make_graph(links, 5, pad_nodes=5))
    >>> count_shared(found, jnp.array([0]), jnp.array([[1, 4, 0]])).tolist()
    [[2, 0, 2]]
  """
  _, shared = shared_with_each(adjacency, nodes, others)
  return shared.sum(axis=-1)


def sample_neighbors(
  key: chex.PRNGKey | None,
  ids: chex.Array,
  mask: chex.Array,
  num_drawn: int,
) -> tuple[chex.Array, chex.Array]:
  """Draws some of each row with replacement, weighted so that sums stay right.

  Args:
    key: consumed; None if rows are no longer than `num_drawn`.
    ids: i32[B, D].
    mask: bool[B, D], which are there.
    num_drawn: K >= 1 (static).

  Returns:
    i32[B, K] and f[B, K]: of rows with at most K entries these themselves with
    weight one; of others K draws of weight count / K, whose weighted sum is
    that of the row on average.

  Raises:
    ValueError: if the number is out of range.
    TypeError: if something is to be drawn without a key.

  Example:
    >>> ids, weights = sample_neighbors(
    ...   jax.random.key(0), jnp.array([[4, 5, 6]]), jnp.ones((1, 3), bool), 2
    ... )
    >>> weights.tolist()
    [[1.5, 1.5]]

  Source: Wang, Yang & Zhang 2024, official code.
  """
  num_drawn = checks.integer(num_drawn, name='num_drawn', low=1)
  if num_drawn >= ids.shape[1]:
    return ids, mask.astype(jnp.result_type(float))
  ranks = jnp.cumsum(mask, axis=1)
  count = ranks[:, -1:]
  keys.check_key(key)
  step = jnp.broadcast_to(jnp.arange(num_drawn)[None], (len(ids), num_drawn))
  drawn = jax.random.randint(
    key, step.shape, 0, jnp.broadcast_to(jnp.maximum(count, 1), step.shape)
  )
  many = jnp.broadcast_to(count > num_drawn, step.shape)
  rank = jnp.where(many, drawn, step)
  find = jax.vmap(lambda row, r: jnp.searchsorted(row, r, side='left'))
  place = jnp.minimum(find(ranks, rank + 1), ids.shape[1] - 1)
  share = jnp.broadcast_to(count, step.shape) / num_drawn
  weights = jnp.where(many, share, step < count)
  return jnp.take_along_axis(ids, place, axis=1), weights


def check_vectors(adjacency: Adjacency, h: chex.Array) -> None:
  """Raises unless there is a vector for each node, of floating point."""
  shape = jnp.shape(h)
  if len(shape) != 2 or shape[0] != adjacency.num_nodes:
    raise ValueError(
      f'h must have shape [N, F] with N={adjacency.num_nodes} nodes; got '
      f'{shape}.'
    )
  if not jnp.issubdtype(jnp.result_type(h), jnp.floating):
    raise TypeError(f'h must be floating point; got {jnp.result_type(h)}.')
