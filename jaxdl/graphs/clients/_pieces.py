# SPDX-License-Identifier: Apache-2.0
"""What every client holds of a graph: its nodes, and edges among them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.graphs import _graph, _inside, _parts
from jaxdl.graphs._graph import Graph


class Piece(NamedTuple):
  """The graph of one client, on the host.

  Attributes:
    pairs: i64[m, 2], senders and receivers, sorted by receiver, then sender.
    features: f[p, F] of its nodes: its own first, then those that it does not
      hold but was told of, or made up.
    num_own: q <= p of its own.
    weights: f64[m] of edges, or None for ones.
  """

  pairs: np.ndarray
  features: np.ndarray
  num_own: int
  weights: np.ndarray | None = None


class PaddedPieces(NamedTuple):
  """Graphs of clients, padded alike.

  Attributes:
    graph: leaves [n, ...].
    features: f[n, M, F], zeros of padding.
    own: bool[n, M], a client's own nodes, which come first.
  """

  graph: Graph
  features: chex.Array
  own: chex.Array


def checked_parts(graph: Graph, parts: Sequence[Any]) -> list[np.ndarray]:
  """Nodes of every client as i64 arrays, or an error that names one."""
  _inside.check_graph(graph, lone=True)
  if not isinstance(parts, Sequence) and not hasattr(parts, '__array__'):
    raise TypeError(
      'parts must be a list of nodes for each client; got '
      f'{checks.described(parts)}.'
    )
  if not len(parts):
    raise ValueError('parts is empty: give at least one client its nodes.')
  return [
    _parts.checked_nodes(graph, part, f'parts[{k}]')
    for k, part in enumerate(parts)
  ]


def checked_features(graph: Graph, x: Any) -> np.ndarray:
  """Features [N, F] on the host."""
  _inside.check_graph(graph, lone=True)
  x = checks.host_array(x, name='x')
  if x.ndim != 2 or x.shape[0] != graph.num_nodes:
    raise ValueError(
      f'x must have shape [N, F] with a row for each of {graph.num_nodes} '
      f'nodes; got {x.shape}.'
    )
  return x


def induced_pieces(graph: Graph, x: Any, parts: Sequence[Any]) -> list[Piece]:
  """Leaves every client its nodes and the edges among them, on the host.

  Args:
    graph: the whole, concrete.
    x: f[N, F].
    parts: i[q] of every client, nodes; one may be with several clients.

  Returns:
    A piece for each client; edges between clients are lost.

  Raises:
    ValueError: if a node does not exist, or stands twice with one client.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3)
    >>> pieces = induced_pieces(graph, np.ones((8, 1)), [[0, 1], [2]])
    >>> [len(piece.pairs) for piece in pieces]
    [2, 0]
  """
  x, out = checked_features(graph, x), []
  for ids in checked_parts(graph, parts):
    pairs, weights = _parts.induced(graph, ids)
    out.append(Piece(pairs, x[ids], len(ids), weights))
  return out


def pad_pieces(
  pieces: Sequence[Piece],
  *,
  pad_nodes: int | None = None,
  pad_edges: int | None = None,
) -> PaddedPieces:
  """Pads graphs of clients alike and stacks them.

  Args:
    pieces: of every client.
    pad_nodes: M; `bucket` of the largest and one if None.
    pad_edges: of a piece; `bucket` of the most if None.

  Returns:
    The stack, in the default floating point.

  Raises:
    ValueError: if there is none, or padding does not fit.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3)
    >>> pieces = induced_pieces(graph, np.ones((8, 1)), [[0, 1], [2]])
    >>> pad_pieces(pieces, pad_nodes=3).own.tolist()
    [[True, True, False], [True, False, False]]
  """
  if not pieces:
    raise ValueError('pieces is empty: give at least one client.')
  widths = {np.shape(piece.features)[1] for piece in pieces}
  if len(widths) > 1:
    raise ValueError(
      'pieces must have equally many features; got '
      f'{", ".join(map(str, sorted(widths)))}.'
    )
  nodes, edges = sizes(pieces)
  nodes = nodes if pad_nodes is None else pad_nodes
  edges = edges if pad_edges is None else pad_edges
  stack = lambda trees: jax.tree.map(lambda *xs: jnp.stack(xs), *trees)
  weighted = any(piece.weights is not None for piece in pieces)
  made, rows, own = [], [], []
  for piece in pieces:
    count = len(piece.features)
    weights = piece.weights
    if weighted and weights is None:
      weights = np.ones(len(piece.pairs))
    made.append(
      _graph.padded(
        piece.pairs, count, weights, pad_nodes=nodes, pad_edges=edges
      )
    )
    rows.append(np.pad(piece.features, ((0, nodes - count), (0, 0))))
    own.append(np.arange(nodes) < piece.num_own)
  features = jnp.asarray(np.stack(rows), jnp.result_type(float))
  return PaddedPieces(stack(made), features, jnp.asarray(np.stack(own)))


def sizes(pieces: Sequence[Piece]) -> tuple[int, int]:
  """Buckets that hold all pieces: nodes and edges."""
  most = max(len(piece.features) for piece in pieces)
  edges = max(len(piece.pairs) for piece in pieces)
  return _graph.bucket(most + 1), _graph.bucket(edges)


def kept_edges(graph: Graph, parts: Sequence[Any]) -> float:
  """Tells which share of the edges both of whose ends one client holds.

  Args:
    graph: the whole, concrete.
    parts: disjoint nodes of every client.

  Returns:
    The share, in [0, 1]; 1 of a graph without edges.

  Raises:
    ValueError: if parts are not disjoint.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3)
    >>> kept_edges(graph, [[0, 1], [2]])
    0.5
  """
  shares = edges_between(graph, parts)
  if not len(_inside.on_host(graph)[0]):
    return 1.0
  return float(np.trace(shares))


def edges_between(graph: Graph, parts: Sequence[Any]) -> np.ndarray:
  """Tells which share of the edges lies between which clients.

  Args:
    graph: the whole, concrete.
    parts: disjoint nodes of every client.

  Returns:
    f64[n, n], from client to client: what the clients keep stands on the
    diagonal. Adds up to one where every node is with somebody.

  Raises:
    ValueError: if parts are not disjoint.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3)
    >>> edges_between(graph, [[0, 1], [2]]).tolist()
    [[0.5, 0.25], [0.25, 0.0]]
  """
  owner = owners(graph, parts)
  pairs, _ = _inside.on_host(graph)
  ends = owner[pairs]
  shares = np.zeros((len(parts), len(parts)))
  np.add.at(shares, tuple(ends[(ends >= 0).all(axis=1)].T), 1)
  return shares / max(len(pairs), 1)


def owners(graph: Graph, parts: Sequence[Any]) -> np.ndarray:
  """Who holds a node, i64[N], -1 for nobody; parts must be disjoint."""
  _inside.check_graph(graph, lone=True)
  owner = np.full(graph.num_nodes, -1)
  for k, ids in enumerate(checked_parts(graph, parts)):
    taken = ids[owner[ids] >= 0]
    if len(taken):
      raise ValueError(
        f'parts must be disjoint: node {taken[0]} is with clients '
        f'{owner[taken[0]]} and {k}; deal every node once.'
      )
    owner[ids] = k
  return owner
