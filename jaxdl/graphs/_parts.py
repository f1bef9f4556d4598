# SPDX-License-Identifier: Apache-2.0
"""Parts of a graph, one or one for each client."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.graphs import _graph, _inside
from jaxdl.graphs._graph import Graph


class Subgraphs(NamedTuple):
  """Parts of a graph, padded alike.

  Attributes:
    graph: leaves [n, ...], a part for each client.
    node_ids: i32[n, M], which nodes of the whole these are; 0 of padding, so
      that `x[node_ids]` are their features and `graph.node_mask` says which
      count.
  """

  graph: Graph
  node_ids: chex.Array


def checked_nodes(graph: Graph, nodes: Any, name: str) -> np.ndarray:
  """Nodes of a graph as i64, each at most once, or an error."""
  ids = checks.host_array(nodes, name=name)
  if ids.ndim != 1:
    raise ValueError(f'{name} must be a list of nodes; got {ids.shape}.')
  if ids.size and not np.issubdtype(ids.dtype, np.integer):
    raise TypeError(f'{name} must hold integers; got {ids.dtype}.')
  ids = ids.astype(np.int64)
  n = _inside.num_real(graph)
  bad = np.flatnonzero((ids < 0) | (ids >= n))
  if len(bad):
    raise ValueError(
      f'{name}[{bad[0]}] = {ids[bad[0]]} is no node of the graph, which has '
      f'{n}.'
    )
  if len(np.unique(ids)) < len(ids):
    twice = np.flatnonzero(np.bincount(ids) > 1)[0]
    raise ValueError(f'{name} has node {twice} twice.')
  return ids


def induced(
  graph: Graph, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
  """Edges within some nodes, renumbered and sorted."""
  pairs, weights = _inside.on_host(graph)
  place = np.full(graph.num_nodes, -1)
  place[ids] = np.arange(len(ids))
  pairs = place[pairs]
  kept = (pairs >= 0).all(axis=1)
  pairs = pairs[kept]
  order = np.lexsort((pairs[:, 0], pairs[:, 1]))
  return pairs[order], None if weights is None else weights[kept][order]


def subgraph(
  graph: Graph,
  nodes: Any,
  *,
  pad_nodes: int | None = None,
  pad_edges: int | None = None,
) -> Graph:
  """Keeps some nodes and the edges among them, on the host.

  Args:
    graph: one graph, concrete.
    nodes: i[m], at least one, which become 0..m-1 in this order.
    pad_nodes: see `make_graph`.
    pad_edges: see `make_graph`.

  Returns:
    The graph; it is one graph, whatever the whole was.

  Raises:
    ValueError: if a node does not exist or stands twice, or there is none.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3)
    >>> graphs.edge_pairs(subgraph(graph, [2, 1]), once=True).tolist()
    [[0, 1]]
  """
  ids = checked_nodes(graph, nodes, 'nodes')
  if not len(ids):
    raise ValueError('nodes is empty: keep at least one.')
  pairs, weights = induced(graph, ids)
  return _graph.padded(
    pairs, len(ids), weights, pad_nodes=pad_nodes, pad_edges=pad_edges
  )


def induced_subgraphs(
  graph: Graph,
  parts: Sequence[Any],
  *,
  pad_nodes: int | None = None,
  pad_edges: int | None = None,
) -> Subgraphs:
  """Cuts a graph into parts, padded alike and stacked, on the host.

  Edges between parts are lost.

  Args:
    graph: one graph, concrete.
    parts: for each of n clients its nodes, in the order that they get; a node
      may be with several. A part may be empty.
    pad_nodes: M; `bucket` of the largest part and one if None.
    pad_edges: of a part; `bucket` of the most if None.

  Returns:
    `Subgraphs(graph, node_ids)`.

  Raises:
    ValueError: if there is no part, a node does not exist or stands twice in
      one part, or padding does not fit.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2), (2, 3)], 4)
    >>> found = induced_subgraphs(graph, [[0, 1, 2], [3]], pad_nodes=4)
    >>> found.graph.edge_mask.sum(axis=1).tolist(), found.node_ids.tolist()
    ([4, 0], [[0, 1, 2, 0], [3, 0, 0, 0]])
  """
  if not hasattr(parts, '__len__'):
    raise TypeError(
      'parts must be a list of nodes for each client; got '
      f'{checks.described(parts)}.'
    )
  if not len(parts):
    raise ValueError('parts is empty: give at least one client its nodes.')
  ids = [
    checked_nodes(graph, part, f'parts[{k}]') for k, part in enumerate(parts)
  ]
  pieces = [induced(graph, part) for part in ids]
  most = max(map(len, ids))
  if pad_nodes is None:
    pad_nodes = _graph.bucket(most + 1)
  if pad_edges is None:
    pad_edges = max(len(pairs) for pairs, _ in pieces)
    pad_edges = _graph.bucket(pad_edges) if pad_nodes > most else pad_edges
  made = [
    _graph.padded(
      pairs, len(part), weights, pad_nodes=pad_nodes, pad_edges=pad_edges
    )
    for part, (pairs, weights) in zip(ids, pieces, strict=True)
  ]
  node_ids = np.zeros((len(ids), pad_nodes), np.int32)
  for k, part in enumerate(ids):
    node_ids[k, : len(part)] = part
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
  return Subgraphs(stacked, jnp.asarray(node_ids))
