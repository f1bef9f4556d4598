# SPDX-License-Identifier: Apache-2.0
"""Pairs that are no links, and splits of links."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks, keys
from jaxdl.graphs import _change
from jaxdl.graphs._graph import Graph
from jaxdl.graphs.links import _adjacency
from jaxdl.graphs.links._adjacency import Adjacency
from jaxdl.graphs.sets import LinkSplits

# Nodes that are tried before one is taken that has many neighbors.
_TRIES = 16


def _ranked_stranger(adjacency, nodes, rank):
  """The rank-th node, from zero, that is neither a node nor its neighbor."""
  graph = adjacency.graph
  start = adjacency.starts[nodes]
  degree = adjacency.starts[nodes + 1] - start
  last = max(graph.num_edges - 1, 0)

  def count(fits):
    """How many entries of the row come first for which a rule holds."""
    low, high = jnp.zeros_like(degree), degree
    if graph.num_edges == 0:
      return low
    for _ in range(adjacency.max_degree.bit_length()):
      middle = (low + high) // 2
      at = jnp.minimum(start + middle, last)
      first = fits(graph.senders[at], middle)
      open_ = low < high
      low = jnp.where(open_ & first, middle + 1, low)
      high = jnp.where(open_ & ~first, middle, high)
    return low

  own = nodes - count(lambda node, _: node < nodes)
  rank = rank + (rank >= own)
  return rank + count(lambda node, place: node - place <= rank)


def sample_negatives(
  key: chex.PRNGKey,
  adjacency: Adjacency,
  num_pairs: int,
  *,
  sources: chex.Array | None = None,
  num_sources: chex.Numeric | None = None,
) -> chex.Array:
  """Draws ordered pairs of different nodes that are not linked, uniformly.

  A node is drawn with chances that fall with its neighbors, then one of those
  that are no neighbors of it by its rank, so that no draw is lost.

  Args:
    key: consumed.
    adjacency: of n nodes beside padding. Edges that its graph masks out still
      count as links here.
    num_pairs: M >= 0 (static).
    sources: i32[K], nodes that the first node is drawn from; all if None.
    num_sources: how many of these count, in front; all if None (traced).

  Returns:
    i32[M, 2]. A node that is linked with all others is avoided, unless 16 draws
    in a row give such a one, then a pair may repeat its node.

  Raises:
    ValueError: if M is negative.

  Cost: O(M log D).

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> drawn = sample_negatives(jax.random.key(0), found, 50)
    >>> sorted({tuple(sorted(pair)) for pair in drawn.tolist()})
    [(0, 2)]

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), official
    code: uniform pairs that are no training links.
  """
  keys.check_key(key)
  num = checks.integer(num_pairs, name='num_pairs', low=0)
  n = adjacency.graph.node_mask.sum().astype(jnp.int32)
  degree = adjacency.starts[1:] - adjacency.starts[:-1]
  who, where = jax.random.split(key)
  shape = (num, _TRIES)
  if sources is None:
    nodes = jax.random.randint(who, shape, 0, n)
  else:
    count = len(sources) if num_sources is None else num_sources
    place = jax.random.randint(who, shape, 0, jnp.maximum(count, 1))
    nodes = jnp.asarray(sources)[place]
  rank = jax.random.randint(where, shape, 0, jnp.maximum(n - 1, 1))
  free = rank < n - 1 - degree[nodes]
  first = jnp.argmax(free, axis=1)[:, None]
  # Where no try fits, the last is asked for whoever is left.
  first = jnp.where(free.any(axis=1)[:, None], first, _TRIES - 1)
  nodes = jnp.take_along_axis(nodes, first, axis=1)[:, 0]
  rank = jnp.take_along_axis(rank, first, axis=1)[:, 0]
  left = n - 1 - degree[nodes]
  rank = rank % jnp.maximum(left, 1)
  others = _ranked_stranger(adjacency, nodes, rank)
  others = jnp.where(left > 0, others, nodes)
  return jnp.stack([nodes, others], axis=1).astype(jnp.int32)


def random_link_split(
  rng: np.random.Generator,
  graph: Graph,
  *,
  validation: float = 0.1,
  test: float = 0.2,
  num_negatives: int | None = None,
  keep_edges: float = 1.0,
) -> LinkSplits:
  """Splits the links of a graph by chance, on the host.

  Args:
    rng: draws.
    graph: one graph, undirected, concrete.
    validation: share of the links to select by, in [0, 1).
    test: share of the links to test on, likewise; both leave some to train on.
    num_negatives: pairs that are no link of the whole graph, drawn uniformly
      with replacement, for validation and for test each; as many as there are
      links if None.
    keep_edges: share of the training links that are known; the others are in no
      part.

  Returns:
    `graphs.sets.LinkSplits`, i32[M, 2].

  Raises:
    ValueError: if a share is out of range, nothing is left to train on, or all
      nodes are linked.

  Example:
    >>> from jaxdl import graphs
    >>> data = graphs.sets.karate()
    >>> split = random_link_split(np.random.default_rng(0), data.graph)
    >>> [len(part) for part in split]
    [54, 8, 8, 16, 16]

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), section 6.
  """
  for name, share in (('validation', validation), ('test', test)):
    checks.number(share, name=name, low=0, high=1, open_high=True)
  checks.number(keep_edges, name='keep_edges', low=0, high=1, open_low=True)
  _check_generator(rng)
  pairs = _change.edge_pairs(graph, once=True)
  m = len(pairs)
  parts = [round(share * m) for share in (validation, test)]
  known = round(keep_edges * (m - sum(parts)))
  if known < 1:
    raise ValueError(
      f'the training split is empty: validation={validation}, test={test} and '
      f'keep_edges={keep_edges} leave none of {m} links.'
    )
  pairs = pairs[rng.permutation(m)].astype(np.int32)
  held, tested, rest = np.split(pairs, np.cumsum(parts))
  drawn = []
  for part in (held, tested):
    count = len(part) if num_negatives is None else num_negatives
    count = checks.integer(count, name='num_negatives', low=0)
    drawn.append(random_non_links(rng, graph, count))
  return LinkSplits(rest[:known], held, drawn[0], tested, drawn[1])


def _check_generator(rng):
  if not isinstance(rng, np.random.Generator):
    raise TypeError(
      f'rng must be a numpy Generator; got {checks.described(rng)}: pass '
      'np.random.default_rng(seed).'
    )


def random_non_links(
  rng: np.random.Generator, graph: Graph, num_pairs: int
) -> np.ndarray:
  """Draws pairs that are not linked, on the host.

  Args:
    rng: draws.
    graph: one graph, undirected, concrete.
    num_pairs: M.

  Returns:
    i32[M, 2], uniform with replacement.

  Raises:
    ValueError: if all nodes are linked with each other, or M is negative.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3)
    >>> drawn = random_non_links(np.random.default_rng(0), graph, 2)
    >>> np.sort(drawn, axis=1).tolist()
    [[0, 2], [0, 2]]
  """
  num_pairs = checks.integer(num_pairs, name='num_pairs', low=0)
  _check_generator(rng)
  pairs = _change.edge_pairs(graph, once=True)
  n = int(np.asarray(graph.node_mask).sum())
  codes = pairs[:, 0] * n + pairs[:, 1]
  # Codes of pairs (i, j), i < j, in order: the r-th that is no link.
  ends = n * (n - 1) // 2
  if num_pairs and len(codes) == ends:
    raise ValueError(
      f'all {n} nodes are linked with each other: there is no pair that is no '
      'link to compare with.'
    )
  first = pairs[:, 0]
  ranks = first * n - first * (first + 1) // 2 + pairs[:, 1] - first - 1
  ranks = np.sort(ranks)
  wanted = rng.integers(0, max(ends - len(codes), 1), num_pairs)
  taken = np.searchsorted(ranks - np.arange(len(ranks)), wanted, side='right')
  wanted = wanted + taken
  begin = np.arange(n) * n - np.arange(n) * (np.arange(n) + 1) // 2
  i = np.searchsorted(begin, wanted, side='right') - 1
  # Nodes without a later one begin where the next does.
  j = wanted - begin[i] + i + 1
  return np.stack([i, j], axis=1).astype(np.int32)


def check_splits(splits: Any, num_nodes: int, *, k: int | None = None) -> Any:
  """Checks links of files or of a caller, on the host.

  Args:
    splits: `graphs.sets.LinkSplits`.
    num_nodes: n.
    k: of Hits@K; warns if there are fewer negatives.

  Returns:
    The splits.

  Raises:
    ValueError: if there are no training links, a pair is none (it is named), or
      negatives of each link are not there for each.
  """
  if not len(splits.train):
    raise ValueError(
      'the training split is empty: links.train has no pairs to learn from.'
    )
  for name, part in zip(splits._fields, splits, strict=True):
    flat = np.asarray(part)
    flat = flat.reshape(-1, 2) if flat.ndim == 3 else flat
    _adjacency.check_pairs(flat, num_nodes, name=f'links.{name}')
  for name in ('validation', 'test'):
    negatives = np.asarray(getattr(splits, f'{name}_negatives'))
    links = len(getattr(splits, name))
    if negatives.ndim == 3 and len(negatives) != links:
      raise ValueError(
        f'links.{name}_negatives has rows for {len(negatives)} links, but '
        f'links.{name} has {links}: give each link its own.'
      )
    # Where links have negatives of their own, Hits@K is told of all together.
    count = negatives.size // 2
    if k is not None and count < k:
      logging.warning(
        'Hits@%d of %s is 1 whatever is learned: it has %d negatives.',
        k,
        name,
        count,
      )
  return splits
