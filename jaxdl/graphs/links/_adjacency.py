# SPDX-License-Identifier: Apache-2.0
"""Sorted rows of neighbors, who is linked with whom, and links taken out."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks
from jaxdl.graphs import _change, _graph, _inside
from jaxdl.graphs._graph import Graph

# Up to so many nodes, padding included, links are also held as a matrix.
DENSE_NODES = 2048


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Adjacency:
  """An undirected graph whose rows of neighbors can be looked up.

  Row i is `graph.senders[starts[i]:starts[i + 1]]`, ascending, without those
  that `graph.edge_mask` takes out: nothing is stored for every pair of a node
  and a possible neighbor.

  Attributes:
    graph: the graph, every edge both ways, no node linked with itself.
    starts: i32[N + 1], where the rows of nodes begin.
    matrix: bool[N, N], who is linked with whom, or None for a large graph.
    max_degree: D, the length of the longest row, at least one (static).
  """

  graph: Graph
  starts: chex.Array
  matrix: chex.Array | None
  max_degree: int = dataclasses.field(default=1, metadata={'static': True})

  @property
  def num_nodes(self) -> int:
    """N, padding included (static)."""
    return self.graph.num_nodes

  def replace(self, **changes: Any) -> 'Adjacency':
    """The adjacency with other fields."""
    return dataclasses.replace(self, **changes)


def adjacency(
  graph: Graph, *, max_degree: int | None = None, dense: bool | None = None
) -> Adjacency:
  """Prepares a graph for questions about neighbors, on the host.

  Args:
    graph: one graph, undirected, concrete. Weights do not matter here.
    max_degree: D, at least that of every node; the largest if None.
    dense: whether links are held as a matrix bool[N, N] as well, which makes
      looking them up one gather, and pooling over common neighbors a product of
      matrices; None for graphs of at most `DENSE_NODES` nodes.

  Returns:
    The adjacency.

  Raises:
    ValueError: if an edge lacks its reverse, a node is linked with itself, or
      a node has more neighbors than `max_degree`; it is named.
    TypeError: if it is no graph, or traced.

  Example:
    >>> from jaxdl import graphs
    >>> adjacency(graphs.make_graph([(0, 1), (1, 2)], 3)).max_degree
    2
  """
  pairs, _ = _inside.on_host(graph)
  own = np.flatnonzero(pairs[:, 0] == pairs[:, 1])
  if len(own):
    node = pairs[own[0], 0]
    raise ValueError(
      f'graph links node {node} to itself: common neighbors are of graphs '
      'without such edges, leave them out with graphs.undirected_pairs.'
    )
  _change.edge_pairs(graph, once=True)  # Raises where one way is missing.
  count = np.bincount(pairs[:, 1], minlength=graph.num_nodes)
  most = int(count.max(initial=0))
  if max_degree is None:
    max_degree = max(most, 1)
  max_degree = checks.integer(max_degree, name='max_degree', low=1)
  if most > max_degree:
    raise ValueError(
      f'max_degree={max_degree} is too small: node {int(count.argmax())} has '
      f'{most} neighbors. Leave it out, and let predictors draw some of the '
      "neighbors instead, as in 'ncnc(sample_train=16)'."
    )
  if dense is None:
    dense = graph.num_nodes <= DENSE_NODES
  receivers = np.asarray(graph.receivers)
  starts = np.searchsorted(receivers, np.arange(graph.num_nodes + 1))
  matrix = None
  if dense:
    matrix = np.zeros((graph.num_nodes, graph.num_nodes), bool)
    matrix[pairs[:, 1], pairs[:, 0]] = True
    matrix = jnp.asarray(matrix)
  starts = jnp.asarray(starts, jnp.int32)
  return Adjacency(graph, starts, matrix, max_degree)


def rows(
  adjacency: Adjacency, nodes: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Lists the neighbors of nodes.

  Args:
    adjacency: of N nodes, at most D neighbors each.
    nodes: i32[...] (traced).

  Returns:
    i32[..., D], ascending where they are there; bool[..., D], which are.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> ids, mask = rows(found, jnp.array(1))
    >>> ids.tolist(), mask.tolist()
    ([0, 2], [True, True])
  """
  nodes = jnp.asarray(nodes)
  graph, width = adjacency.graph, adjacency.max_degree
  shape = (*nodes.shape, width)
  if graph.num_edges == 0:
    return jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)
  step = jnp.arange(width, dtype=jnp.int32).reshape(*(1,) * nodes.ndim, width)
  place = adjacency.starts[nodes][..., None] + step
  inside = place < adjacency.starts[nodes + 1][..., None]
  place = jnp.minimum(place, graph.num_edges - 1)
  return graph.senders[place], inside & graph.edge_mask[place]


def are_linked(
  adjacency: Adjacency, left: chex.Array, right: chex.Array
) -> chex.Array:
  """Whether nodes are neighbors.

  One gather of the matrix where there is one, else a binary search in the row
  of the left node.

  Args:
    adjacency: of N nodes.
    left: i32[...] (traced).
    right: i32[...], of a shape that fits.

  Returns:
    bool[...].

  Cost: O(log D) for each.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> are_linked(found, jnp.array([0, 0, 1]), jnp.array([1, 2, 2])).tolist()
    [True, False, True]
  """
  left, right = jnp.broadcast_arrays(left, right)
  if adjacency.matrix is not None:
    return adjacency.matrix[left, right]
  graph = adjacency.graph
  if graph.num_edges == 0:
    return jnp.zeros(left.shape, bool)
  low, end = adjacency.starts[left], adjacency.starts[left + 1]
  high, last = end, graph.num_edges - 1
  for _ in range(adjacency.max_degree.bit_length()):
    middle = (low + high) // 2
    before = (middle < end) & (graph.senders[jnp.minimum(middle, last)] < right)
    open_ = low < high
    low = jnp.where(open_ & before, middle + 1, low)
    high = jnp.where(open_ & ~before, middle, high)
  at = jnp.minimum(low, last)
  same = (low < end) & (graph.senders[at] == right)
  return same & graph.edge_mask[at]


def remove_targets(adjacency: Adjacency, pairs: chex.Array) -> Adjacency:
  """Takes links out, both ways, by masks; shapes stay.

  Args:
    adjacency: of N nodes.
    pairs: i32[B, 2] (traced). Pairs that are no link, and negative ones
      (padding), do nothing.

  Returns:
    The adjacency without them.

  Raises:
    ValueError: if the shape of pairs is another.

  Cost: O(B log E).

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> fewer = remove_targets(found, jnp.array([(1, 0)]))
    >>> are_linked(fewer, jnp.array([0, 1]), jnp.array([1, 2])).tolist()
    [False, True]

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), target
    link removal.
  """
  graph = _change.remove_edges(adjacency.graph, pairs)
  matrix = adjacency.matrix
  if matrix is not None:
    ends = jnp.where(pairs < 0, adjacency.num_nodes, pairs)
    a = jnp.concatenate([ends[:, 0], ends[:, 1]])
    b = jnp.concatenate([ends[:, 1], ends[:, 0]])
    matrix = matrix.at[a, b].set(False, mode='drop')
  return adjacency.replace(graph=graph, matrix=matrix)


def keep_edges(adjacency: Adjacency, kept: chex.Array) -> Adjacency:
  """Takes out the edges that a mask does not name.

  Args:
    adjacency: of E edges, each both ways.
    kept: bool[E] (traced); a link may be kept one way only, then the row of one
      of its nodes lacks it.

  Returns:
    The adjacency of those that are left.

  Raises:
    ValueError: if the mask has another shape.
  """
  graph = adjacency.graph
  if jnp.shape(kept) != graph.edge_mask.shape:
    raise ValueError(
      f'kept must have shape {graph.edge_mask.shape}, one for each edge and '
      f'way; got {jnp.shape(kept)}.'
    )
  mask = graph.edge_mask & kept
  matrix = adjacency.matrix
  if matrix is not None:
    matrix = jnp.zeros_like(matrix)
    matrix = matrix.at[graph.receivers, graph.senders].max(mask)
  return adjacency.replace(graph=graph.replace(edge_mask=mask), matrix=matrix)


def check_pairs(
  pairs: Any, num_nodes: int | None = None, *, name: str = 'pairs'
) -> np.ndarray:
  """Checks target pairs on the host.

  Args:
    pairs: i[B, 2], concrete.
    num_nodes: n; indices are not compared if None.
    name: the argument's name, for messages.

  Returns:
    i64[B, 2].

  Raises:
    ValueError: if the shape is another, a pair links a node to itself or names
      no node; its row is told.
    TypeError: if they are no integers, or traced.

  Example:
    >>> check_pairs([(0, 1), (2, 2)], 3)
    Traceback (most recent call last):
    ValueError: target pair 1 links a node to itself: pairs[1] = (2, 2).
  """
  found = checks.host_array(pairs, name=name)
  if found.size == 0 and found.ndim in (1, 2):
    return np.zeros((0, 2), np.int64)
  if found.ndim != 2 or found.shape[1] != 2:
    raise ValueError(f'{name} must have shape [B, 2]; got {found.shape}.')
  if not np.issubdtype(found.dtype, np.integer):
    raise TypeError(f'{name} must be integers; got {found.dtype}.')
  high = np.inf if num_nodes is None else num_nodes
  bad = np.flatnonzero(((found < 0) | (found >= high)).any(axis=1))
  if len(bad):
    a, b = found[bad[0]]
    raise ValueError(
      f'{name}[{bad[0]}] = ({a}, {b}) names no node: need 0 <= node'
      + ('.' if num_nodes is None else f' < {num_nodes}.')
    )
  own = np.flatnonzero(found[:, 0] == found[:, 1])
  if len(own):
    a, b = found[own[0]]
    raise ValueError(
      f'target pair {own[0]} links a node to itself: {name}[{own[0]}] = '
      f'({a}, {b}).'
    )
  return found.astype(np.int64)


def checked(adjacency: Any, pairs: Any) -> chex.Array:
  """Returns pairs as an array, checked as far as they are known."""
  if not isinstance(adjacency, Adjacency):
    hint = 'make one with links.adjacency(graph)'
    raise TypeError(
      f'adjacency must be a links.Adjacency; got '
      f'{checks.described(adjacency)}: {hint}.'
    )
  if not isinstance(pairs, jax.core.Tracer):
    there = adjacency.graph.node_mask
    known = not isinstance(there, jax.core.Tracer) and there.ndim == 1
    # Padding is no node, where it can be told.
    count = int(np.asarray(there).sum()) if known else adjacency.num_nodes
    check_pairs(pairs, count)
    return jnp.asarray(pairs, jnp.int32).reshape(-1, 2)
  if pairs.ndim != 2 or pairs.shape[1] != 2:
    raise ValueError(f'pairs must have shape [B, 2]; got {pairs.shape}.')
  if not jnp.issubdtype(pairs.dtype, jnp.integer):
    raise TypeError(f'pairs must be integers; got {pairs.dtype}.')
  return pairs


def undirected_graph(edges: Any, num_nodes: int, **padding: Any) -> Graph:
  """Makes a graph of links that may be told twice, on the host.

  Args:
    edges: i[M, 2]; a pair that stands there again, in either direction, counts
      once, with a warning.
    num_nodes: n.
    **padding: see `graphs.make_graph`.

  Returns:
    The graph.

  Raises:
    ValueError: as `graphs.make_graph`, or if a node is linked with itself.

  Example:
    >>> undirected_graph([(0, 1), (1, 2)], 3).edge_mask.sum().item()
    4
  """
  pairs = check_pairs(edges, num_nodes, name='edges')
  once = _change.undirected_pairs(pairs)
  if len(once) < len(pairs):
    logging.warning(
      'edges tells %d of %d links more than once: they count once.',
      len(pairs) - len(once),
      len(pairs),
    )
  return _graph.make_graph(once, num_nodes, **padding)
