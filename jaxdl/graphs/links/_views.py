# SPDX-License-Identifier: Apache-2.0
"""A graph whose nodes are clients: who knows what of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.graphs import _change, _graph, _inside
from jaxdl.graphs._graph import Graph
from jaxdl.graphs.links import _adjacency
from jaxdl.graphs.links._adjacency import Adjacency


class Views(NamedTuple):
  """What each of C clients knows of a graph, padded alike, for each of S seeds.

  Attributes:
    adjacency: leaves [S, C, ...], of the M nodes that a client knows.
    x: [S, C, M, ...], their features.
    node_ids: i32[S, C, M], which nodes of the whole these are.
    links: i32[S, C, L, 2], the client's own links, its own node first.
    num_links: i32[S, C], how many there are.
    own: i32[S, C, K], the client's own nodes.
    num_own: i32[S, C].
  """

  adjacency: Adjacency
  x: chex.Array
  node_ids: chex.Array
  links: chex.Array
  num_links: chex.Array
  own: chex.Array
  num_own: chex.Array


def communities(graph: Graph, num_parts: int) -> list[np.ndarray]:
  """Cuts a graph into parts that have many links inside, on the host.

  Args:
    graph: one graph, undirected, concrete.
    num_parts: how many parts, at most as many as nodes.

  Returns:
    The nodes of each part, ascending; every node is in one part. The largest
    piece that hangs together is cut, so that its parts reach each other; the
    other pieces fill up the smallest parts. Where it has too few nodes the next
    largest are cut as well.

  Raises:
    ValueError: if the number is out of range.

  Example:
    >>> from jaxdl import graphs
    >>> edges = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (3, 5)]
    >>> [p.tolist() for p in communities(graphs.make_graph(edges, 6), 2)]
    [[0, 1, 2], [3, 4, 5]]

  Source: Clauset, Newman & Moore 2004, as in networkx.
  """
  import networkx

  n = _inside.num_real(graph)
  count = checks.integer(num_parts, name='num_parts', low=1, high=n)
  if count == n:
    return [np.array([i]) for i in range(n)]
  whole = networkx.Graph()
  whole.add_nodes_from(range(n))
  whole.add_edges_from(_change.edge_pairs(graph, once=True).tolist())
  pieces = sorted(
    (sorted(piece) for piece in networkx.connected_components(whole)),
    key=lambda piece: (-len(piece), piece),
  )
  # As many of the largest pieces as are cut, so that parts reach each other.
  num_cut = 1
  while sum(map(len, pieces[:num_cut])) < count:
    num_cut += 1
  found = networkx.community.greedy_modularity_communities(
    whole.subgraph(sum(pieces[:num_cut], [])),
    cutoff=count,
    best_n=max(count, num_cut),
  )
  parts = sorted(sorted(part) for part in found)
  for piece in pieces[num_cut:]:
    smallest = min(range(count), key=lambda k: (len(parts[k]), k))
    parts[smallest] = parts[smallest] + piece
  return [np.array(sorted(part)) for part in sorted(map(sorted, parts))]


def quotient(graph: Graph, parts: Sequence[Any]) -> np.ndarray:
  """Which parts of a graph have a link between them, on the host.

  Args:
    graph: one graph, undirected, concrete.
    parts: nodes of each of C parts, see `communities`.

  Returns:
    bool[C, C], symmetric, false on the diagonal: a graph for `mixing`.

  Raises:
    ValueError: if a node is in no part or in two.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 4)
    >>> quotient(graph, [[0, 1], [2], [3]]).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
  """
  part_of = _part_of(graph, parts)
  ends = part_of[_change.edge_pairs(graph)]
  out = np.zeros((len(parts), len(parts)), bool)
  out[ends[:, 0], ends[:, 1]] = True
  np.fill_diagonal(out, False)
  return out


def _part_of(graph, parts):
  n = _inside.num_real(graph)
  times = np.bincount(np.concatenate(list(parts)).astype(int), minlength=n)
  if len(times) > n or (times != 1).any():
    node = int(np.flatnonzero(times != 1)[0])
    raise ValueError(
      f'parts must have every node once: node {node} is in {times[node]} of '
      f'{len(parts)} parts, the graph has nodes 0 to {n - 1}.'
    )
  out = np.zeros(n, np.int64)
  for k, part in enumerate(parts):
    out[np.asarray(part, int)] = k
  return out


class _Piece(NamedTuple):
  nodes: np.ndarray
  pairs: np.ndarray
  links: np.ndarray
  num_own: int


def _pieces(graph, parts, hops):
  """What clients know: their own nodes come first in `nodes`."""
  part_of = _part_of(graph, parts)
  pairs = _change.edge_pairs(graph, once=True)
  out = []
  for k, part in enumerate(parts):
    own = np.asarray(part, int)
    far = np.full(len(part_of), hops + 2)
    far[own] = 0
    for step in range(1, hops + 2):
      for a, b in ((0, 1), (1, 0)):
        reached = pairs[far[pairs[:, a]] == step - 1, b]
        far[reached] = np.minimum(far[reached], step)
    seen = pairs[far[pairs].min(axis=1) <= hops]
    others = np.flatnonzero((far > 0) & (far <= hops + 1))
    nodes = np.concatenate([own, others])
    place = np.full(len(part_of), -1)
    place[nodes] = np.arange(len(nodes))
    links = seen[(part_of[seen] == k).any(axis=1)]
    first = part_of[links[:, 0]] == k
    links = np.where(first[:, None], links, links[:, ::-1])
    out.append(_Piece(nodes, place[seen], place[links], len(own)))
  return out


def local_views(
  worlds: Sequence[tuple[Graph, Any, Sequence[Any]]], *, hops: int = 1
) -> Views:
  """What clients know who hold some nodes of a graph each, on the host.

  A client knows the links of its own nodes and of all nodes within `hops`
  steps, and the features of everybody that these lead to; links among those
  that are farther away are hidden. Its links to learn from are those of its own
  nodes, so that one between two clients is with both.

  Args:
    worlds: for each of S seeds the graph of known links, undirected and
      concrete, features [N, ...], and the nodes of each of C parts.
    hops: >= 0; with none a client knows its own links alone, so that it sees
      no common neighbor of its node and another's.

  Returns:
    The views, of the smallest sizes that hold all.

  Raises:
    ValueError: if there is no seed, numbers of parts differ, a node is not in
      one part, or features lack a row.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2), (2, 3), (3, 0)], 4)
    >>> x = np.ones((graph.num_nodes, 1))
    >>> views = local_views([(graph, x, [[0, 1], [2], [3]])], hops=0)
    >>> views.num_links.tolist(), views.links[0, 1, :2].tolist()
    ([[3, 2, 2]], [[0, 1], [0, 2]])
  """
  hops = checks.integer(hops, name='hops', low=0)
  if not len(worlds):
    raise ValueError('worlds is empty: give the graph of one seed at least.')
  counts = {len(parts) for *_, parts in worlds}
  if len(counts) > 1:
    raise ValueError(
      f'worlds must have as many parts each; got {sorted(counts)}.'
    )
  for graph, x, _ in worlds:
    n = _inside.num_real(graph)
    if len(np.shape(x)) < 1 or np.shape(x)[0] < n:
      raise ValueError(
        f'x must have a row for each of {n} nodes; got shape {np.shape(x)}.'
      )
  found = [_pieces(graph, parts, hops) for graph, _, parts in worlds]
  every = [piece for pieces in found for piece in pieces]
  num_nodes = 1 + max(len(p.nodes) for p in every)
  num_edges = max(1, *(2 * len(p.pairs) for p in every))
  num_links = max(1, *(len(p.links) for p in every))
  num_own = max(1, *(p.num_own for p in every))
  most = max(
    int(np.bincount(p.pairs.reshape(-1), minlength=1).max()) for p in every
  )
  rows = []
  for pieces, (_, x, _) in zip(found, worlds, strict=True):
    x = np.asarray(x)
    for p in pieces:
      graph = _graph.make_graph(
        p.pairs, len(p.nodes), pad_nodes=num_nodes, pad_edges=num_edges
      )
      adjacency = _adjacency.adjacency(
        graph,
        max_degree=max(most, 1),
        dense=num_nodes <= _adjacency.DENSE_NODES,
      )
      ids = np.zeros(num_nodes, np.int32)
      ids[: len(p.nodes)] = p.nodes
      own_links = np.zeros((num_links, 2), np.int32)
      own_links[: len(p.links)] = p.links
      own = np.minimum(np.arange(num_own), max(p.num_own - 1, 0))
      features = x[ids]
      features[len(p.nodes) :] = 0
      rows.append(
        (adjacency, features, ids, own_links, len(p.links), own, p.num_own)
      )
  shape = (len(worlds), counts.pop())

  def stack(*leaves):
    whole = jnp.stack([jnp.asarray(leaf) for leaf in leaves])
    return whole.reshape(*shape, *whole.shape[1:])

  return Views(*jax.tree.map(stack, *rows))
