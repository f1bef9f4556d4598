# SPDX-License-Identifier: Apache-2.0
"""From and to networkx, scipy.sparse, dense matrices and jraph's tuples."""

from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.graphs import _graph, _inside
from jaxdl.graphs._graph import Graph


class GraphsTuple(NamedTuple):
  """Fields as in jraph, whose functions take it: `jraph.GraphsTuple(*t)`.

  Attributes:
    nodes: [N, ...] or None.
    edges: [E, ...] or None.
    receivers: i32[E].
    senders: i32[E].
    globals: [G, ...] or None.
    n_node: i32[G], nodes of each graph, padding graphs last.
    n_edge: i32[G].
  """

  nodes: Any
  edges: Any
  receivers: Any
  senders: Any
  globals: Any
  n_node: Any
  n_edge: Any


def _sorted(pairs, n, weights, pad_nodes, pad_edges):
  order = np.lexsort((pairs[:, 0], pairs[:, 1]))
  weights = None if weights is None else weights[order]
  return _graph.padded(
    pairs[order], n, weights, pad_nodes=pad_nodes, pad_edges=pad_edges
  )


def from_networkx(
  graph: Any,
  *,
  weight: str | None = None,
  pad_nodes: int | None = None,
  pad_edges: int | None = None,
) -> Graph:
  """Converts a networkx graph.

  Args:
    graph: a Graph or DiGraph; nodes are numbered in the order of
      `graph.nodes`.
    weight: attribute of edges that becomes their weight (1 where it is
      missing, though not everywhere); None for none.
    pad_nodes: see `make_graph`.
    pad_edges: see `make_graph`.

  Returns:
    The graph.

  Raises:
    TypeError: if it is no networkx graph, or weights are no real numbers.
    ValueError: if it has no nodes, parallel edges, or edges none of which has
      the attribute.

  Example:
    >>> import networkx
    >>> from_networkx(networkx.path_graph(3)).edge_mask.sum().item()
    4
  """
  if not hasattr(graph, 'is_directed') or not hasattr(graph, 'nodes'):
    raise TypeError(
      f'graph must be a networkx graph; got {checks.described(graph)}.'
    )
  place = {node: i for i, node in enumerate(graph.nodes)}
  if not place:
    raise ValueError('graph has no nodes: need at least one.')
  if isinstance(weight, bool):
    raise TypeError(
      f"weight must be the name of an attribute, as 'weight'; got {weight}."
    )
  pairs = [(place[a], place[b]) for a, b in graph.edges()]
  values = None
  if weight is not None:
    found = [attributes for *_, attributes in graph.edges(data=True)]
    if found and not any(weight in attributes for attributes in found):
      known = sorted({str(key) for some in found for key in some})
      raise ValueError(
        f'weight={weight!r} is an attribute of no edge: edges have '
        f'{", ".join(known) or "none"}.'
      )
    values = [attributes.get(weight, 1.0) for attributes in found]
    values = checks.host_array(values, name=f'weight={weight!r}')
  if graph.is_multigraph():
    ends = pairs if graph.is_directed() else map(tuple, map(sorted, pairs))
    if len(set(ends)) < len(pairs):
      raise ValueError(
        'graph has parallel edges: pass networkx.Graph(graph) or '
        'networkx.DiGraph(graph), which keep one of them.'
      )
  return _graph.make_graph(
    np.array(pairs, np.int64).reshape(-1, 2),
    len(place),
    directed=graph.is_directed(),
    weights=values,
    pad_nodes=pad_nodes,
    pad_edges=pad_edges,
  )


def to_networkx(graph: Graph, *, directed: bool | None = None) -> Any:
  """Converts to networkx.

  Args:
    graph: one graph, concrete.
    directed: whether to make a DiGraph; None where an edge lacks its reverse.

  Returns:
    A graph of nodes 0..n-1, padding left out; weights are the attribute
    'weight'.

  Raises:
    ValueError: if it should be undirected and is not.

  Example:
    >>> to_networkx(_graph.make_graph([(0, 1)], 3)).number_of_nodes()
    3
  """
  import networkx

  if directed is not None:
    directed = checks.flag(directed, name='directed')
  pairs, weights = _inside.on_host(graph)
  values = np.ones(len(pairs)) if weights is None else weights
  table = {
    (int(a), int(b)): float(w) for (a, b), w in zip(pairs, values, strict=True)
  }
  one_way = [p for p, w in table.items() if table.get(p[::-1]) != w]
  if directed is False and one_way:
    a, b = one_way[0]
    raise ValueError(
      f'graph has the edge {a} -> {b} but none back of the same weight: leave '
      'directed=None for a DiGraph.'
    )
  directed = bool(one_way) if directed is None else directed
  out = networkx.DiGraph() if directed else networkx.Graph()
  out.add_nodes_from(range(_inside.num_real(graph)))
  if weights is None:
    out.add_edges_from(table)
  else:
    out.add_weighted_edges_from((a, b, w) for (a, b), w in table.items())
  return out


def from_scipy(
  matrix: Any,
  *,
  weights: bool | None = None,
  pad_nodes: int | None = None,
  pad_edges: int | None = None,
) -> Graph:
  """Converts a sparse adjacency matrix.

  Args:
    matrix: of scipy.sparse, [n, n]; entry [i, j] lets i receive from j, so
      that `propagate(normalize='none', self_loops=False)` is `matrix @ x`.
      Entries that are zero are no edges, repeated ones add up.
    weights: whether entries become weights; None where one is not 1.
    pad_nodes: see `make_graph`.
    pad_edges: see `make_graph`.

  Returns:
    The graph.

  Raises:
    TypeError: if it is no sparse matrix, or not of real numbers.
    ValueError: if it is not square, or holds what is not finite.

  Example:
    >>> import scipy.sparse
    >>> graph = from_scipy(scipy.sparse.eye(3))
    >>> graph.senders[:3].tolist(), graph.weights is None
    ([0, 1, 2], True)
  """
  if not hasattr(matrix, 'tocoo'):
    raise TypeError(
      f'matrix must be of scipy.sparse; got {checks.described(matrix)}: see '
      'graphs.from_dense.'
    )
  n = _square(matrix.shape)
  found = matrix.tocsr().tocoo()
  found.sum_duplicates()
  return _of_entries(
    found.row, found.col, found.data, n, weights, pad_nodes, pad_edges
  )


def _square(shape):
  if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
    raise ValueError(f'matrix must be square, [n, n]; got shape {shape}.')
  return shape[0]


def _of_entries(rows, columns, values, n, weights, pad_nodes, pad_edges):
  values = checks.host_array(values, name='matrix').astype(np.float64)
  bad = np.flatnonzero(~np.isfinite(values))
  if len(bad):
    i = bad[0]
    raise ValueError(
      f'matrix holds {values[i]} at row {rows[i]}, column {columns[i]}: need '
      'finite numbers.'
    )
  there = values != 0
  pairs = np.stack([columns[there], rows[there]], axis=1)
  values = values[there]
  if weights is None:
    weights = bool((values != 1).any())
  weights = checks.flag(weights, name='weights')
  kept = values if weights else None
  return _sorted(pairs, n, kept, pad_nodes, pad_edges)


def to_scipy(graph: Graph) -> Any:
  """Converts to a sparse adjacency matrix.

  Args:
    graph: one graph, concrete.

  Returns:
    A `scipy.sparse.csr_array` f64[n, n], padding left out; entry [i, j] is the
    weight of the edge from j to i.

  Example:
    >>> to_scipy(_graph.make_graph([(0, 1)], 2)).toarray().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
  """
  from scipy import sparse

  pairs, weights = _inside.on_host(graph)
  n = _inside.num_real(graph)
  values = np.ones(len(pairs)) if weights is None else weights
  values = np.asarray(values, np.float64)
  return sparse.csr_array((values, (pairs[:, 1], pairs[:, 0])), shape=(n, n))


def from_dense(
  matrix: Any,
  *,
  weights: bool | None = None,
  pad_nodes: int | None = None,
  pad_edges: int | None = None,
) -> Graph:
  """Converts an adjacency matrix, as `from_scipy`.

  Args:
    matrix: real numbers or bool [n, n].
    weights: see `from_scipy`.
    pad_nodes: see `make_graph`.
    pad_edges: see `make_graph`.

  Returns:
    The graph.

  Raises:
    ValueError: if it is not square, or holds what is not finite.

  Example:
    >>> from_dense([[0, 2], [0, 0]]).weights[:1].tolist()
    [2.0]
  """
  matrix = checks.host_array(matrix, name='matrix')
  n = _square(matrix.shape)
  rows, columns = np.nonzero(matrix)
  values = matrix[rows, columns]
  return _of_entries(rows, columns, values, n, weights, pad_nodes, pad_edges)


def to_dense(graph: Graph) -> chex.Array:
  """Writes the adjacency matrix, traceable.

  Args:
    graph: one graph.

  Returns:
    f[N, N], padding included; entry [i, j] is the weight of the edge from j to
    i.

  Example:
    >>> to_dense(_graph.make_graph([(0, 1)], 2, pad_nodes=2)).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
  """
  _inside.check_graph(graph, lone=True)
  ones = graph.edge_mask.astype(jnp.result_type(float))
  values = ones
  if graph.weights is not None:
    values = jnp.where(graph.edge_mask, graph.weights, 0)
  n = graph.num_nodes
  out = jnp.zeros((n, n), values.dtype)
  return out.at[graph.receivers, graph.senders].add(values)


def from_graphs_tuple(
  graphs: Any, *, pad_nodes: int | None = None, pad_edges: int | None = None
) -> tuple[Graph, np.ndarray | None]:
  """Converts jraph's tuple, or what has its fields, on the host.

  Args:
    graphs: with senders, receivers, n_node and n_edge; concrete. Of what
      `jraph.pad_with_graphs` padded, take `jraph.unpad_with_graphs` first.
    pad_nodes: see `make_graph`.
    pad_edges: see `make_graph`.

  Returns:
    The graph, with `graph_ids` if there are several, and the nodes, padded with
    rows of zeros, or None. Edges f[E] or f[E, 1] become weights.

  Raises:
    TypeError: if fields are missing, or nodes no array.
    ValueError: if edges name no node, lead from one graph to another or are
      there twice, are no finite numbers one by one, or lengths do not fit.

  Example:
    >>> given = GraphsTuple([1.0, 2.0], None, [1], [0], None, [2], [1])
    >>> graph, nodes = from_graphs_tuple(given, pad_nodes=3)
    >>> graph.senders[:1].tolist(), nodes.tolist()
    ([0], [1.0, 2.0, 0.0])
  """
  fields = ('senders', 'receivers', 'n_node', 'n_edge')
  if not all(hasattr(graphs, field) for field in fields):
    raise TypeError(
      'graphs must have senders, receivers, n_node and n_edge, as '
      f'jraph.GraphsTuple has; got {checks.described(graphs)}.'
    )
  counts, pairs = _counted(graphs)
  n = int(counts.sum())
  weights = None
  if graphs.edges is not None:
    weights = checks.host_array(graphs.edges, name='graphs.edges')
    if weights.size != len(pairs):
      raise ValueError(
        f'graphs.edges must hold one number for each of {len(pairs)} edges to '
        f'be weights; got shape {weights.shape}: pass edges=None and keep '
        'features of edges beside the graph.'
      )
    weights = weights.reshape(-1)
  graph = _sorted(pairs, n, weights, pad_nodes, pad_edges)
  if len(counts) > 1:
    ids = np.full(graph.num_nodes, len(counts), np.int32)
    ids[:n] = np.repeat(np.arange(len(counts)), counts)
    graph = graph.replace(
      graph_ids=jnp.asarray(ids), num_graphs=len(counts) + 1
    )
  nodes = graphs.nodes
  if nodes is not None:
    if isinstance(nodes, dict):
      raise TypeError(
        'graphs.nodes must be one array; got a dict: pass nodes=None and pad '
        'each array with graphs.pad_rows.'
      )
    nodes = np.asarray(nodes)
    if nodes.shape[:1] != (n,):
      raise ValueError(
        f'graphs.nodes must have a row for each of {n} nodes; got shape '
        f'{nodes.shape}.'
      )
    fill = np.zeros((graph.num_nodes - n, *nodes.shape[1:]), nodes.dtype)
    nodes = np.concatenate([nodes, fill])
  return graph, nodes


def _counted(graphs):
  """How many nodes each graph has, and the edges, which must fit."""
  found = {}
  for field in ('n_node', 'n_edge', 'senders', 'receivers'):
    values = checks.host_array(getattr(graphs, field), name=f'graphs.{field}')
    if values.ndim != 1 or (values.size and values.dtype.kind not in 'iu'):
      raise ValueError(
        f'graphs.{field} must be integers, [G] or [E]; got shape '
        f'{values.shape} of {values.dtype}.'
      )
    if values.min(initial=0) < 0:
      raise ValueError(f'graphs.{field} must not hold {values.min()}.')
    found[field] = values.astype(np.int64)
  nodes, edges, senders, receivers = found.values()
  sums = {'senders': len(senders), 'receivers': len(receivers)}
  if len(nodes) != len(edges) or {edges.sum()} != set(sums.values()):
    raise ValueError(
      f'graphs has n_node of {len(nodes)} graphs, n_edge of {len(edges)} with '
      f'{edges.sum()} edges, {sums["senders"]} senders and '
      f'{sums["receivers"]} receivers: these must fit together.'
    )
  n = int(nodes.sum())
  if n < 1:
    raise ValueError('graphs.n_node is zero in all: need at least one node.')
  pairs = _graph.checked_pairs(np.stack([senders, receivers], axis=1), n)
  _graph.refuse_twice(pairs, n, True)
  owner = np.repeat(np.arange(len(nodes)), nodes)[pairs]
  mine = np.repeat(np.arange(len(edges)), edges)
  bad = np.flatnonzero((owner != mine[:, None]).any(axis=1))
  if len(bad):
    a, b = pairs[bad[0]]
    raise ValueError(
      f'graphs has edge {bad[0]} = ({a}, {b}) counted to graph '
      f'{mine[bad[0]]}, whose nodes are others.'
    )
  return nodes, pairs


def to_graphs_tuple(graph: Graph, nodes: Any = None) -> GraphsTuple:
  """Converts to the fields of jraph, on the host.

  Args:
    graph: one graph or a batch, concrete, without edges taken out.
    nodes: [N, ...], features, padding included, or None.

  Returns:
    The fields; padding is one graph of its own, the last.

  Raises:
    ValueError: if edges were taken out of the middle, or nodes have not a row
      for each.

  Example:
    >>> t = to_graphs_tuple(_graph.make_graph([(0, 1)], 2, pad_nodes=3))
    >>> t.n_node.tolist(), t.n_edge.tolist()
    ([2, 1], [2, 6])
  """
  pairs, _ = _inside.on_host(graph)
  n, m = _inside.num_real(graph), len(pairs)
  if not np.asarray(graph.edge_mask)[:m].all():
    raise ValueError(
      'graph has edges that were taken out among others: make one without them '
      'with graphs.compact(graph).'
    )
  if nodes is not None and jnp.shape(nodes)[:1] != (graph.num_nodes,):
    raise ValueError(
      f'nodes must have a row for each of {graph.num_nodes} nodes; got shape '
      f'{jnp.shape(nodes)}: see graphs.pad_rows.'
    )
  ids = np.zeros(graph.num_nodes, np.int64)
  if graph.graph_ids is not None:
    ids = np.asarray(graph.graph_ids)
  num = int(ids[:n].max(initial=-1)) + 1
  n_node = np.bincount(ids[:n], minlength=num)
  n_edge = np.bincount(ids[pairs[:, 1]], minlength=num)
  if graph.num_nodes > n:
    n_node = np.append(n_node, graph.num_nodes - n)
    n_edge = np.append(n_edge, graph.num_edges - m)
  return GraphsTuple(
    nodes=nodes,
    edges=graph.weights,
    receivers=graph.receivers,
    senders=graph.senders,
    globals=None,
    n_node=jnp.asarray(n_node, jnp.int32),
    n_edge=jnp.asarray(n_edge, jnp.int32),
  )
