# SPDX-License-Identifier: Apache-2.0
"""Fewer edges, more edges, and lists of them."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.graphs import _graph, _inside
from jaxdl.graphs._graph import Graph


def neighbors(
  graph: Graph, max_degree: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Lists who reaches every node, on the host.

  Args:
    graph: one graph, concrete.
    max_degree: D, >= the largest number of edges that reach a node; that number
      (at least one) if None.

  Returns:
    i32[N, D], ascending in each row, N - 1 where fewer; bool[N, D], which are
    there.

  Raises:
    ValueError: if a node has more, which is named.
    TypeError: if the graph is traced.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> ids, mask = neighbors(graph)
    >>> ids.tolist(), mask.tolist()
    ([[1, 2], [0, 2], [1, 2]], [[True, False], [True, True], [True, False]])
  """
  pairs, _ = _inside.on_host(graph)
  pairs = pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]
  count = np.bincount(pairs[:, 1], minlength=graph.num_nodes)
  most = int(count.max(initial=0))
  if max_degree is None:
    max_degree = max(most, 1)
  max_degree = checks.integer(max_degree, name='max_degree', low=1)
  if most > max_degree:
    raise ValueError(
      f'max_degree={max_degree} is too small: node {int(count.argmax())} has '
      f'{most} neighbors. Raise it, or draw some with '
      'graphs.sample_neighbors.'
    )
  place = np.arange(len(pairs)) - (np.cumsum(count) - count)[pairs[:, 1]]
  shape = (graph.num_nodes, max_degree)
  ids = np.full(shape, graph.num_nodes - 1, np.int32)
  mask = np.zeros(shape, bool)
  ids[pairs[:, 1], place] = pairs[:, 0]
  mask[pairs[:, 1], place] = True
  return ids, mask


def edge_pairs(graph: Graph, *, once: bool = False) -> np.ndarray:
  """Reads the edges that are there, on the host.

  Args:
    graph: one graph, concrete.
    once: of an undirected graph, each edge but once, smaller node first.

  Returns:
    i64[M, 2], senders and receivers.

  Raises:
    ValueError: if edges should come once and some lead one way only.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (2, 1)], 3)
    >>> edge_pairs(graph, once=True).tolist()
    [[0, 1], [1, 2]]
  """
  pairs, _ = _inside.on_host(graph)
  if not checks.flag(once, name='once'):
    return pairs
  codes = pairs @ np.array([graph.num_nodes, 1])
  back = pairs @ np.array([1, graph.num_nodes])
  lonely = np.flatnonzero(~np.isin(codes, back))
  if len(lonely):
    a, b = pairs[lonely[0]]
    raise ValueError(
      f'graph has the edge {a} -> {b} but none back, so that its edges cannot '
      'be told once: leave once=False, or make it undirected with '
      'graphs.undirected_pairs.'
    )
  return pairs[pairs[:, 0] <= pairs[:, 1]]


def undirected_pairs(edges: Any, *, loops: bool = False) -> np.ndarray:
  """Forgets directions: every pair of linked nodes once, on the host.

  Args:
    edges: i[M, 2], in any order, repeated or not.
    loops: whether edges from a node to itself stay.

  Returns:
    i64[M', 2], smaller node first, sorted.

  Raises:
    ValueError: if the shape is another.
    TypeError: if they are not integers.

  Example:
    >>> undirected_pairs([(1, 0), (0, 1), (2, 2)]).tolist()
    [[0, 1]]
  """
  loops = checks.flag(loops, name='loops')
  pairs = checks.host_array(edges, name='edges')
  if pairs.size == 0:
    return np.zeros((0, 2), np.int64)
  if pairs.ndim != 2 or pairs.shape[1] != 2:
    raise ValueError(
      f'edges must be pairs of nodes, shape [M, 2]; got {pairs.shape}.'
    )
  if not np.issubdtype(pairs.dtype, np.integer):
    raise TypeError(f'edges must be integers; got {pairs.dtype}.')
  pairs = np.unique(np.sort(pairs.astype(np.int64), axis=1), axis=0)
  return pairs if loops else pairs[pairs[:, 0] != pairs[:, 1]]


def add_self_loops(graph: Graph, *, weight: float = 1.0) -> Graph:
  """Lets every node reach itself, once, on the host.

  Args:
    graph: one graph, concrete; loops that it has are replaced.
    weight: of the loops, where the graph has weights.

  Returns:
    The graph, whose edges are padded anew if they were padded.

  Raises:
    TypeError: if the graph is traced; `propagate(self_loops=True)` adds loops
      to any graph without new edges.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1)], 3, pad_nodes=3)
    >>> add_self_loops(graph).senders.tolist()
    [0, 1, 0, 1, 2]
  """
  pairs, weights = _inside.on_host(graph)
  other = pairs[:, 0] != pairs[:, 1]
  nodes = np.flatnonzero(np.asarray(graph.node_mask))
  pairs = np.concatenate([pairs[other], np.stack([nodes, nodes], 1)])
  if weights is not None:
    checks.number(weight, name='weight')
    weights = np.concatenate([weights[other], np.full(len(nodes), weight)])
  return _rebuilt(graph, pairs, weights)


def compact(graph: Graph) -> Graph:
  """Rebuilds a graph without the edges that were taken out, on the host.

  Args:
    graph: one graph, concrete.

  Returns:
    The graph, whose edges are padded anew if they were padded.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> graph = graphs.remove_edges(graph, jnp.array([(0, 1)]))
    >>> compact(graph).num_edges
    2
  """
  return _rebuilt(graph, *_inside.on_host(graph))


def _rebuilt(graph, pairs, weights):
  """A graph of the same nodes with other edges, which it sorts."""
  order = np.lexsort((pairs[:, 0], pairs[:, 1]))
  made = _graph.padded(
    pairs[order],
    _inside.num_real(graph),
    None if weights is None else weights[order],
    pad_nodes=graph.num_nodes,
  )
  return made.replace(graph_ids=graph.graph_ids, num_graphs=graph.num_graphs)


def find_edges(graph: Graph, pairs: chex.Array) -> chex.Array:
  """Finds where edges stand.

  Args:
    graph: one graph.
    pairs: i[B, 2], senders and receivers (traced); negative ones are nowhere.

  Returns:
    i32[B], indices of edges, E where there is none, or it was taken out.

  Raises:
    ValueError: if the shape of pairs is another.

  Cost: O(B log E).

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> find_edges(graph, jnp.array([(1, 0), (2, 0), (-1, -1)])).tolist()
    [0, 4, 4]
  """
  _inside.check_graph(graph, lone=True)
  shape = jnp.shape(pairs)
  if len(shape) != 2 or shape[1] != 2:
    raise ValueError(f'pairs must have shape [B, 2]; got {shape}.')
  if not jnp.issubdtype(jnp.result_type(pairs), jnp.integer):
    raise TypeError(f'pairs must be integers; got {jnp.result_type(pairs)}.')
  ends = jnp.asarray(pairs)
  senders, receivers = ends[:, 0], ends[:, 1]
  num = graph.num_edges
  if num == 0:
    return jnp.zeros(shape[0], jnp.int32)
  low = jnp.zeros(shape[0], jnp.int32)
  high = jnp.full(shape[0], num, jnp.int32)

  def halve(_, span):
    low, high = span
    middle = jnp.minimum((low + high) // 2, num - 1)
    to, out = graph.receivers[middle], graph.senders[middle]
    before = (to < receivers) | ((to == receivers) & (out < senders))
    open_ = low < high
    return (
      jnp.where(open_ & before, middle + 1, low),
      jnp.where(open_ & ~before, middle, high),
    )

  steps = num.bit_length()
  low, _ = jax.lax.fori_loop(0, steps, halve, (low, high))
  at = jnp.minimum(low, num - 1)
  same = (graph.senders[at] == senders) & (graph.receivers[at] == receivers)
  same = same & graph.edge_mask[at] & (low < num)
  return jnp.where(same, at, num)


def remove_edges(
  graph: Graph, pairs: chex.Array, *, both: bool = True
) -> Graph:
  """Takes edges out by their mask; shapes stay.

  Args:
    graph: one graph.
    pairs: i[B, 2], senders and receivers (traced). Pairs that are no edge, and
      negative ones (padding), do nothing.
    both: whether the edge back goes, too.

  Returns:
    The graph without them.

  Raises:
    ValueError: if the shape of pairs is another.

  Cost: O(B log E).

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> remove_edges(graph, jnp.array([(0, 1)])).edge_mask.tolist()
    [False, False, True, True]
  """
  at = find_edges(graph, pairs)
  if checks.flag(both, name='both'):
    back = find_edges(graph, jnp.asarray(pairs)[:, ::-1])
    at = jnp.concatenate([at, back])
  mask = graph.edge_mask.at[at].set(False, mode='drop')
  return graph.replace(edge_mask=mask)


def pad_rows(x: Any, graph: Graph) -> np.ndarray:
  """Gives padding nodes rows of zeros, on the host.

  Args:
    x: [n, ...] of the nodes of a graph that are no padding.
    graph: one graph, concrete.

  Returns:
    [N, ...].

  Raises:
    ValueError: if there is not a row for each.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1)], 2, pad_nodes=3)
    >>> pad_rows([5, 6], graph).tolist()
    [5, 6, 0]
  """
  x, n = np.asarray(x), _inside.num_real(graph)
  if x.shape[:1] != (n,):
    raise ValueError(
      f'x must have a row for each of {n} nodes; got shape {x.shape}.'
    )
  fill = np.zeros((graph.num_nodes - n, *x.shape[1:]), x.dtype)
  return np.concatenate([x, fill])
