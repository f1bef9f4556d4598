# SPDX-License-Identifier: Apache-2.0
"""Several graphs beside each other in one, and what they are as wholes."""

from collections.abc import Sequence
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.graphs import _graph, _inside, _segments
from jaxdl.graphs._graph import Graph

POOLS = ('sum', 'mean', 'max')


def batch(
  graphs: Sequence[Graph],
  features: Sequence[Any] | None = None,
  *,
  pad_nodes: int | None = None,
  pad_edges: int | None = None,
  num_graphs: int | None = None,
) -> tuple[Graph, np.ndarray | None]:
  """Puts graphs beside each other, on the host; their padding is dropped.

  All padding of the result is one graph of its own, the last.

  Args:
    graphs: at least one, each one graph, concrete. Where some have weights the
      others count one.
    features: of each graph [N_k, ...], or None.
    pad_nodes: see `make_graph`.
    pad_edges: see `make_graph`.
    num_graphs: room for so many graphs besides that of padding; as many as
      there are if None.

  Returns:
    The graph with `graph_ids`, and features [N, ...], or None.

  Raises:
    ValueError: if there is no graph, or numbers do not fit.
    TypeError: if it is no sequence of graphs.

  Example:
    >>> one = _graph.make_graph([(0, 1)], 2)
    >>> both, x = batch([one, one], [np.ones((8, 1))] * 2, pad_nodes=5)
    >>> both.graph_ids.tolist(), both.num_graphs, x.shape
    ([0, 0, 1, 1, 2], 3, (5, 1))
  """
  if isinstance(graphs, Graph) or not hasattr(graphs, '__len__'):
    raise TypeError(f'graphs must be a list; got {checks.described(graphs)}.')
  if not len(graphs):
    raise ValueError('graphs is empty: give at least one.')
  room = len(graphs) if num_graphs is None else num_graphs
  room = checks.integer(room, name='num_graphs', low=len(graphs))
  if features is not None and len(features) != len(graphs):
    raise ValueError(
      f'features must be one array for each of {len(graphs)} graphs; got '
      f'{len(features)}.'
    )
  ends, values, sizes, shown = [], [], [], []
  for k, graph in enumerate(graphs):
    _inside.check_graph(graph, name=f'graphs[{k}]', lone=True)
    pairs, weights = _inside.on_host(graph)
    sizes.append(_inside.num_real(graph))
    ends.append(pairs + sum(sizes[:-1]))
    values.append(np.ones(len(pairs)) if weights is None else weights)
    if features is not None:
      x = np.asarray(features[k])
      if x.shape[:1] != (graph.num_nodes,):
        raise ValueError(
          f'features[{k}] must have a row for each of {graph.num_nodes} nodes; '
          f'got shape {x.shape}.'
        )
      shown.append(x[: sizes[-1]])
      if x.shape[1:] != shown[0].shape[1:]:
        raise ValueError(
          f'features must be as wide for every graph; features[{k}] has rows '
          f'of shape {x.shape[1:]}, features[0] of {shown[0].shape[1:]}.'
        )
  weighted = any(graph.weights is not None for graph in graphs)
  n = sum(sizes)
  made = _graph.padded(
    np.concatenate(ends),
    n,
    np.concatenate(values) if weighted else None,
    pad_nodes=pad_nodes,
    pad_edges=pad_edges,
  )
  ids = np.full(made.num_nodes, room, np.int32)
  ids[:n] = np.repeat(np.arange(len(sizes)), sizes)
  made = made.replace(graph_ids=jnp.asarray(ids), num_graphs=room + 1)
  if features is None:
    return made, None
  fill = np.zeros((made.num_nodes - n, *shown[0].shape[1:]), shown[0].dtype)
  return made, np.concatenate([*shown, fill])


def unbatch(
  graph: Graph, features: Any = None
) -> list[tuple[Graph, np.ndarray | None]]:
  """Takes a batch apart, on the host.

  Args:
    graph: of `batch`, concrete.
    features: [N, ...], or None.

  Returns:
    For each graph that is there the graph, without padding, and its features.

  Raises:
    ValueError: if there is not a row of features for each node.

  Example:
    >>> one = _graph.make_graph([(0, 1)], 2)
    >>> [g.num_nodes for g, _ in unbatch(batch([one, one])[0])]
    [2, 2]
  """
  pairs, weights = _inside.on_host(graph)
  n = _inside.num_real(graph)
  ids = np.zeros(n, np.int64)
  if graph.graph_ids is not None:
    ids = np.asarray(graph.graph_ids)[:n]
  x = None if features is None else np.asarray(features)
  if x is not None and x.shape[:1] != (graph.num_nodes,):
    raise ValueError(
      f'features must have a row for each of {graph.num_nodes} nodes; got '
      f'shape {x.shape}.'
    )
  out = []
  for k in range(int(ids.max(initial=-1)) + 1):
    nodes = np.flatnonzero(ids == k)
    if not len(nodes):
      continue
    mine = ids[pairs[:, 1]] == k
    part = _graph.padded(
      pairs[mine] - nodes[0],
      len(nodes),
      None if weights is None else weights[mine],
      pad_nodes=len(nodes),
    )
    out.append((part, None if x is None else x[nodes]))
  return out


def graph_mask(graph: Graph) -> chex.Array:
  """Says which graphs of a batch there are.

  Args:
    graph: a batch, or one graph.

  Returns:
    bool[G]; false of the graph of padding, and of room that nobody takes.

  Example:
    >>> graph_mask(batch([_graph.make_graph([(0, 1)], 2)])[0]).tolist()
    [True, False]
  """
  _inside.check_graph(graph, lone=True)
  ids = _ids(graph)
  count = _segments.segment_count(ids, graph.num_graphs, mask=graph.node_mask)
  return count > 0


def _ids(graph):
  if graph.graph_ids is None:
    return jnp.zeros(graph.num_nodes, jnp.int32)
  return graph.graph_ids


def pool(graph: Graph, x: chex.Array, *, reduce: str = 'sum') -> chex.Array:
  """Reduces the nodes of every graph of a batch.

  Args:
    graph: a batch, or one graph.
    x: f[N, ...].
    reduce: in `POOLS` (static).

  Returns:
    f[G, ...], zeros of graphs without nodes; padding does not count.

  Raises:
    ValueError: if the reduction is unknown or x has not a row for each node.

  Example:
    >>> one = _graph.make_graph([(0, 1)], 2)
    >>> both, x = batch([one, one], [np.ones((8, 1))] * 2)
    >>> pool(both, jnp.asarray(x))[:2, 0].tolist()
    [2.0, 2.0]
  """
  checks.choice(reduce, POOLS, name='reduce')
  x = _inside.check_features(graph, x)
  segment = {
    'sum': _segments.segment_sum,
    'mean': _segments.segment_mean,
    'max': _segments.segment_max,
  }[reduce]
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  out = segment(wide, _ids(graph), graph.num_graphs, mask=graph.node_mask)
  return out.astype(x.dtype)
