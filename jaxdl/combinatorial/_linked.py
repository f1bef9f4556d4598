# SPDX-License-Identifier: Apache-2.0
"""Undirected graphs as instances: edges, and who is next to whom in rows."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl import graphs
from jaxdl.combinatorial import _problem
from jaxdl.core import checks

# Standard deviations that sizes of random graphs have room for.
_ROOM = 6.0


def graph_instance(
  graph: Any, num_nodes: int | None = None
) -> _problem.Instance:
  """Makes an instance of `mis` of a graph, on the host.

  Args:
    graph: a networkx graph, whose nodes are numbered as they come, or edges
      i[M, 2]; directions do not matter.
    num_nodes: N, where edges are given.

  Returns:
    The instance. A vertex with an edge to itself can never be chosen: it is
    dropped, with a warning.

  Raises:
    ValueError: if there are no nodes, or an edge has an end that is none.
    TypeError: if edges are no integers, or their number of nodes is missing.

  Example:
    >>> import networkx as nx
    >>> graph_instance(nx.path_graph(3))['edges'].tolist()
    [[0, 1], [1, 2]]
  """
  if hasattr(graph, 'adjacency'):
    place = {node: i for i, node in enumerate(graph)}
    num_nodes = len(place)
    graph = [(place[a], place[b]) for a, b in graph.edges()]
  elif num_nodes is None:
    raise TypeError('num_nodes is missing: edges alone do not say how many.')
  num_nodes = checks.integer(num_nodes, name='num_nodes', low=1)
  pairs = graphs.undirected_pairs(graph, loops=True)
  outside = (pairs < 0) | (pairs >= num_nodes)
  if outside.any():
    edge = tuple(pairs[outside.any(axis=1)][0].tolist())
    raise ValueError(
      f'edges have {edge}, but nodes are 0, ..., {num_nodes - 1}.'
    )
  loops = pairs[:, 0] == pairs[:, 1]
  nodes = np.ones(num_nodes, bool)
  nodes[pairs[loops, 0]] = False
  _warn(nodes)
  pairs = pairs[~loops]
  if not len(pairs):
    pairs = np.full((1, 2), num_nodes)
  links = np.concatenate([pairs, pairs[:, ::-1]])
  links = links[np.lexsort((links[:, 1], links[:, 0]))]
  offsets = np.searchsorted(links[:, 0], np.arange(num_nodes + 1))
  most = max(1, int(np.diff(offsets).max()))
  whole = {
    'edges': pairs,
    'targets': links[:, 1],
    'offsets': offsets,
    'window': np.arange(most),
  }
  arrays = {k: jnp.asarray(v, jnp.int32) for k, v in whole.items()}
  return {**arrays, 'nodes': jnp.asarray(nodes)}


def _warn(nodes):
  """Tells of vertices that are never chosen."""
  dropped = np.flatnonzero(~nodes)
  if len(dropped):
    shown = ', '.join(map(str, dropped[:10]))
    logging.warning(
      'vertices with an edge to themselves can never be chosen and are '
      'dropped: %s%s.',
      shown,
      ', ...' if len(dropped) > 10 else '',
    )


def check(instance: _problem.Instance) -> None:
  """Checks an instance on the host.

  Args:
    instance: of `mis`.

  Raises:
    ValueError: if `edges` or `nodes` are missing, have another shape or type,
      an edge has an end that is no node or is a self loop.
  """
  for name in ('edges', 'nodes'):
    if name not in instance:
      raise ValueError(f'instance has no {name!r}; it has {sorted(instance)}.')
  edges = checks.host_array(instance['edges'], name='edges')
  nodes = checks.host_array(instance['nodes'], name='nodes')
  if nodes.ndim != 1 or not len(nodes) or nodes.dtype != bool:
    raise ValueError(
      'nodes must be bool[N], which vertices may be chosen, N >= 1; got '
      f'{nodes.dtype}{list(nodes.shape)}.'
    )
  if edges.ndim != 2 or edges.shape[1] != 2:
    raise ValueError(f'edges must be i32[E, 2]; got shape {edges.shape}.')
  if not np.issubdtype(edges.dtype, np.integer):
    raise ValueError(f'edges must be integers; got {edges.dtype}.')
  pads = (edges == len(nodes)).all(axis=1)
  wrong = ((edges < 0) | (edges >= len(nodes))).any(axis=1) & ~pads
  if wrong.any():
    raise ValueError(
      f'edges have {tuple(edges[wrong][0].tolist())}, but nodes are 0, ..., '
      f'{len(nodes) - 1}, and rows ({len(nodes)}, {len(nodes)}) are padding.'
    )
  loops = (edges[:, 0] == edges[:, 1]) & ~pads
  if loops.any():
    vertex = edges[loops][0, 0]
    raise ValueError(
      f'edges have ({vertex}, {vertex}), a self loop: leave it out and set '
      f'nodes[{vertex}] to false, as graph_instance does.'
    )
  _warn(nodes)


def random_graph(
  key: chex.PRNGKey, num_nodes: int, probability: float
) -> _problem.Instance:
  """Links pairs independently; arrays have room for six deviations more.

  Gaps between linked pairs in the order of the upper triangle are geometric,
  so that work and memory are linear in edges. What has no room is left out:
  an edge of less than one graph in a million.

  Args:
    key: consumed.
    num_nodes: N.
    probability: of each pair.

  Returns:
    An instance of `mis`.

  Raises:
    ValueError: if there are too many pairs to count.
  """
  last = num_nodes - 1
  count = num_nodes * last // 2
  room = lambda n: min(
    n,
    math.ceil(
      n * probability
      + _ROOM * math.sqrt(n * probability * (1 - probability))
      + _ROOM
    ),
  )
  num_edges, most = (
    max(1, room(n) if probability > 0 else 1) for n in (count, last)
  )
  starts = np.arange(num_nodes, dtype=np.int64)
  starts = starts * (2 * num_nodes - starts - 1) // 2
  if count >= 2**31 - 2**24:
    raise ValueError(
      f'num_nodes={num_nodes} has {count} pairs, more than fit int32: need at '
      'most 65000 nodes.'
    )
  drawn = jax.random.uniform(
    key, (num_edges,), minval=jnp.finfo(jnp.float32).tiny
  )
  if probability <= 0:
    gaps = jnp.full((num_edges,), count + 1)
  elif probability >= 1:
    gaps = jnp.ones((num_edges,), jnp.int32)
  else:
    gaps = 1 + jnp.floor(jnp.log(drawn) / math.log1p(-probability))
    gaps = jnp.minimum(gaps, count + 1.0).astype(jnp.int32)
  pair = jnp.cumsum(gaps) - 1
  # Once past the end, sums may wrap round.
  there = jnp.cumsum((pair < 0) | (pair >= count)) == 0
  first = jnp.searchsorted(jnp.asarray(starts, jnp.int32), pair, side='right')
  first = first.astype(jnp.int32) - 1
  second = pair - jnp.asarray(starts, jnp.int32)[first] + first + 1
  edges = jnp.stack([first, second], axis=1).astype(jnp.int32)
  edges = jnp.where(there[:, None], edges, num_nodes)
  return _with_rows(edges, num_nodes, most)


def _with_rows(edges, num_nodes, most):
  """Adds who is next to whom; edges beyond `most` of a vertex are left out."""
  order, targets, offsets = _rows(edges, num_nodes)
  sources = jnp.concatenate([edges[:, 0], edges[:, 1]])[order]
  late = jnp.arange(len(order)) - offsets[sources] >= most
  late = jnp.zeros((len(order),), bool).at[order].set(late)
  late = late[: len(edges)] | late[len(edges) :]
  dropped = jnp.concatenate([late, late])[order]
  return {
    'edges': jnp.where(late[:, None], num_nodes, edges),
    'nodes': jnp.ones((num_nodes,), bool),
    'targets': jnp.where(dropped, num_nodes, targets),
    'offsets': offsets,
    'window': jnp.arange(most, dtype=jnp.int32),
  }


def _rows(edges, num_nodes):
  """Order of both ways of all edges by source, their targets, and offsets."""
  sources = jnp.concatenate([edges[:, 0], edges[:, 1]])
  targets = jnp.concatenate([edges[:, 1], edges[:, 0]])
  order = jnp.lexsort((targets, sources))
  at = jnp.arange(num_nodes + 1, dtype=jnp.int32)
  offsets = jnp.searchsorted(sources[order], at).astype(jnp.int32)
  return order, targets[order].astype(jnp.int32), offsets


def ways(instance: _problem.Instance) -> tuple[chex.Array, chex.Array]:
  """Sources and targets of edges in both directions, i32[2 E]; N is nobody."""
  edges = instance['edges']
  flat = jnp.concatenate([edges, edges[:, ::-1]])
  return flat[:, 0], flat[:, 1]


def of(values: chex.Array, nodes: chex.Array) -> chex.Array:
  """Values of nodes, false of nobody."""
  return values.at[nodes].get(mode='fill', fill_value=False)


def next_to(instance: _problem.Instance, vertex: chex.Array) -> chex.Array:
  """Neighbors of one vertex, bool[N]."""
  none = jnp.zeros(instance['nodes'].shape, bool)
  if 'window' not in instance:
    sources, targets = ways(instance)
    hit = jnp.where(sources == vertex, targets, none.shape[0])
    return none.at[hit].set(True, mode='drop')
  place = instance['offsets'][vertex] + instance['window']
  inside = place < instance['offsets'][vertex + 1]
  targets = instance['targets'].at[place].get(mode='clip')
  targets = jnp.where(inside, targets, none.shape[0])
  return none.at[targets].set(True, mode='drop')


def degrees(instance: _problem.Instance) -> chex.Array:
  """How many neighbors, f[N]."""
  sources, _ = ways(instance)
  none = jnp.zeros(instance['nodes'].shape, jnp.float32)
  return none.at[sources].add(1.0, mode='drop')


def neighbors(
  instance: _problem.Instance, num_neighbors: int
) -> _problem.Neighbors:
  """Neighbors by index, as far as there is room; -1 is nobody.

  Nodes have two features: 1 where a vertex may be chosen, and its degree in
  units of the largest one. Those of edges are both 1.

  Args:
    instance: of `mis`.
    num_neighbors: the most of each.

  Returns:
    Rows of min(num_neighbors, largest degree).
  """
  num_nodes = instance['nodes'].shape[0]
  if 'window' in instance:
    targets, offsets = instance['targets'], instance['offsets']
    most = instance['window'].shape[0]
  else:
    _, targets, offsets = _rows(instance['edges'], num_nodes)
    most = max(1, num_nodes - 1)
  window = jnp.arange(min(num_neighbors, most), dtype=jnp.int32)
  place = offsets[:-1, None] + window[None]
  inside = place < offsets[1:, None]
  ids = targets.at[place].get(mode='clip')
  ids = jnp.where(inside & (ids < num_nodes), ids, -1)
  share = degrees(instance)
  share = share / jnp.maximum(jnp.max(share), 1)
  nodes = jnp.stack([instance['nodes'].astype(jnp.float32), share], axis=1)
  there = (ids >= 0).astype(jnp.float32)
  return _problem.Neighbors(nodes, ids, jnp.stack([there, there], axis=-1))
