# SPDX-License-Identifier: Apache-2.0
"""One padded graph, or several that lie beside each other.

Sizes are static, so a program that was compiled for a graph runs on every other
one of the same padded sizes; `bucket` rounds sizes up so that few of them
occur. Edges are sorted by who receives, which makes sums over neighbors one
pass. Padding comes last: padding edges lead from the first padding node to
itself, so nothing that is real ever sees them.
"""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks

_MOST_NODES = 2**31 - 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Plan:
  """In which order edges are summed, known before anything is compiled.

  Attributes:
    starts: i32[N + 1], where the edges that reach a node begin; padding edges
      lie beyond the last.
    order: i32[E], edges sorted by sender, then by receiver, padding last.
    back: i32[E], where an edge stands in that order.
    targets: i32[E], receivers in that order.
    out_starts: i32[N + 1], where the edges that leave a node begin there.
    is_full: whether all edges before the last start are there (static); false
      once some were taken out.
  """

  starts: chex.Array
  order: chex.Array
  back: chex.Array
  targets: chex.Array
  out_starts: chex.Array
  is_full: bool = dataclasses.field(default=True, metadata={'static': True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Graph:
  """A directed graph; an undirected one has every edge both ways.

  Attributes:
    senders: i32[E], where edges come from; ascending for each receiver.
    receivers: i32[E], where they lead to, ascending.
    node_mask: bool[N], false of padding, which comes last.
    edge_mask: bool[E], likewise; also false of edges that were taken out.
    weights: f[E] of edges, or None for ones.
    graph_ids: i32[N], which graph a node belongs to, ascending; None for one.
    num_graphs: how many there are room for (static).
    plan: makes sums over neighbors fast, or None; what `make_graph` and the
      like make has one.
    axis_name: of the mesh axis over which edges are split while a function of
      `shard_edges` runs (static), otherwise None.
  """

  senders: chex.Array
  receivers: chex.Array
  node_mask: chex.Array
  edge_mask: chex.Array
  weights: chex.Array | None = None
  graph_ids: chex.Array | None = None
  num_graphs: int = dataclasses.field(default=1, metadata={'static': True})
  plan: Plan | None = None
  axis_name: str | None = dataclasses.field(
    default=None, metadata={'static': True}
  )

  @property
  def num_nodes(self) -> int:
    """N, padding included (static)."""
    return self.node_mask.shape[-1]

  @property
  def num_edges(self) -> int:
    """E, padding included (static)."""
    return self.senders.shape[-1]

  def replace(self, **changes: Any) -> 'Graph':
    """The graph with other fields; a plan that no longer fits is dropped."""
    if 'plan' not in changes and self.plan is not None:
      if {'senders', 'receivers', 'node_mask'} & changes.keys():
        changes['plan'] = None
      elif 'edge_mask' in changes:
        changes['plan'] = dataclasses.replace(self.plan, is_full=False)
    return dataclasses.replace(self, **changes)


def bucket(size: int, *, least: int = 8) -> int:
  """Rounds a size up to a power of two or one and a half times one.

  Args:
    size: >= 0.
    least: the smallest bucket, >= 1.

  Returns:
    The size to pad to; beyond the smallest, less than a third is padding.

  Example:
    >>> [bucket(n) for n in (0, 9, 13, 100)]
    [8, 12, 16, 128]
  """
  least = checks.integer(least, name='least', low=1)
  size = max(checks.integer(size, name='size', low=0), least)
  power = 1 << (size - 1).bit_length()
  return 3 * power // 4 if size <= 3 * power // 4 else power


def make_graph(
  edges: Any,
  num_nodes: int,
  *,
  directed: bool = False,
  weights: Any = None,
  pad_nodes: int | None = None,
  pad_edges: int | None = None,
) -> Graph:
  """Makes a graph of a list of edges, on the host.

  Args:
    edges: i[M, 2], pairs (sender, receiver) in [0, num_nodes). Without
      `directed` each pair is given once, in either order, and stands for both
      directions; a pair and its reverse are duplicates.
    num_nodes: n >= 1.
    directed: whether edges lead one way.
    weights: f[M] of the edges; ones if None.
    pad_nodes: N >= n, with room for one padding node if edges are padded;
      None for `bucket(n + 1)`, n itself is no padding.
    pad_edges: E >= the directed edges; None for their `bucket`, or no padding
      if there are no padding nodes.

  Returns:
    The graph; its edges are sorted by receiver, then by sender.

  Raises:
    ValueError: if an edge names no node (it and its row are told), edges are
      given twice, lengths differ, weights are not finite, or padding does not
      fit.
    TypeError: if edges are not integers, weights no real numbers.

  Example:
    >>> graph = make_graph([(0, 1), (1, 2)], 3, pad_nodes=4, pad_edges=6)
    >>> graph.senders.tolist(), graph.receivers.tolist()
    ([1, 0, 2, 1, 3, 3], [0, 1, 1, 2, 3, 3])
    >>> graph.edge_mask.tolist()
    [True, True, True, True, False, False]
  """
  n = checks.integer(num_nodes, name='num_nodes', low=1, high=_MOST_NODES)
  directed = checks.flag(directed, name='directed')
  pairs = checked_pairs(edges, n)
  values = None
  if weights is not None:
    values = checks.host_array(weights, name='weights')
    if values.shape != (len(pairs),):
      raise ValueError(
        f'weights must be one for each of {len(pairs)} edges; got shape '
        f'{values.shape}.'
      )
  refuse_twice(pairs, n, directed)
  if not directed:
    other = np.flatnonzero(pairs[:, 0] != pairs[:, 1])
    pairs = np.concatenate([pairs, pairs[other, ::-1]])
    if values is not None:
      values = np.concatenate([values, values[other]])
  order = np.lexsort((pairs[:, 0], pairs[:, 1]))
  pairs = pairs[order]
  values = None if values is None else values[order]
  return padded(pairs, n, values, pad_nodes=pad_nodes, pad_edges=pad_edges)


def padded(
  pairs: np.ndarray,
  num_nodes: int,
  weights: np.ndarray | None = None,
  *,
  pad_nodes: int | None = None,
  pad_edges: int | None = None,
) -> Graph:
  """Pads directed edges that are sorted by receiver; see `make_graph`.

  Args:
    pairs: i[M, 2].
    num_nodes: n.
    weights: f[M], or None.
    pad_nodes: see `make_graph`.
    pad_edges: see `make_graph`.

  Returns:
    The graph.

  Raises:
    ValueError: if padding does not fit, or weights are not finite.
  """
  n, m = num_nodes, len(pairs)
  whole_n = bucket(n + 1) if pad_nodes is None else pad_nodes
  whole_n = checks.integer(
    whole_n, name='pad_nodes', low=max(n, 1), high=_MOST_NODES
  )
  whole_m = pad_edges
  if whole_m is None:
    whole_m = bucket(m) if whole_n > n else m
  whole_m = checks.integer(whole_m, name='pad_edges', low=m)
  if whole_m > m and whole_n == n:
    raise ValueError(
      f'pad_edges={whole_m} needs a padding node for edges beyond {m}: set '
      f'pad_nodes to {n + 1} or more, it is {whole_n}.'
    )
  fill = np.full((whole_m - m, 2), n, np.int32)
  ends = np.concatenate([np.asarray(pairs, np.int32).reshape(-1, 2), fill])
  if weights is not None:
    weights = finite(weights, 'weights')
    weights = np.concatenate([weights, np.zeros(whole_m - m, weights.dtype)])
  return Graph(
    senders=jnp.asarray(ends[:, 0]),
    receivers=jnp.asarray(ends[:, 1]),
    node_mask=jnp.asarray(np.arange(whole_n) < n),
    edge_mask=jnp.asarray(np.arange(whole_m) < m),
    weights=None if weights is None else jnp.asarray(weights),
    plan=_plan(ends, m, whole_n),
  )


def finite(values: Any, name: str) -> np.ndarray:
  """Numbers in the precision of jax, or an error that names what is not one."""
  given = np.asarray(values)
  with np.errstate(over='ignore', invalid='ignore'):
    out = given.astype(jnp.result_type(float))
  bad = np.argwhere(~np.isfinite(out))
  if len(bad):
    place = tuple(bad[0].tolist())
    raise ValueError(
      f'{name} must be finite in {out.dtype}; '
      f'{name}[{", ".join(map(str, place))}] is {given[place]}.'
    )
  return out


def _plan(ends, num_edges, num_nodes):
  """The plan of edges sorted by receiver, of which so many are no padding."""
  m, nodes = num_edges, np.arange(num_nodes + 1)
  real = ends[:m]
  padding = np.arange(m, len(ends))
  order = np.concatenate([np.lexsort((real[:, 1], real[:, 0])), padding])
  back = np.empty_like(order)
  back[order] = np.arange(len(order))
  turned = ends[order]
  integers = lambda x: jnp.asarray(x, jnp.int32)
  return Plan(
    starts=integers(np.searchsorted(real[:, 1], nodes)),
    order=integers(order),
    back=integers(back),
    targets=integers(turned[:, 1]),
    out_starts=integers(np.searchsorted(turned[:m, 0], nodes)),
  )


def checked_pairs(edges: Any, num_nodes: int) -> np.ndarray:
  """Pairs of nodes as i64[M, 2], or an error that names the row."""
  n = num_nodes
  pairs = checks.host_array(edges, name='edges')
  if pairs.size == 0:
    return np.zeros((0, 2), np.int64)
  if pairs.ndim != 2 or pairs.shape[1] != 2:
    raise ValueError(
      f'edges must be pairs of nodes, shape [M, 2]; got {pairs.shape}.'
    )
  if not np.issubdtype(pairs.dtype, np.integer):
    raise TypeError(f'edges must be integers; got {pairs.dtype}.')
  bad = np.flatnonzero(((pairs < 0) | (pairs >= n)).any(axis=1))
  if len(bad):
    a, b = pairs[bad[0]]
    raise ValueError(
      f'edges[{bad[0]}] = ({a}, {b}) names no node of num_nodes={n}.'
    )
  return pairs.astype(np.int64)


def refuse_twice(pairs: np.ndarray, n: int, directed: bool) -> None:
  """Raises ValueError if an edge is there twice, and names both rows."""
  ends = pairs if directed else np.sort(pairs, axis=1)
  codes = ends[:, 0] * n + ends[:, 1]
  order = np.argsort(codes, kind='stable')
  same = np.flatnonzero(np.diff(codes[order]) == 0)
  if len(same):
    first, again = order[same[0]], order[same[0] + 1]
    what = '' if directed else ', in either direction'
    raise ValueError(
      f'edges[{again}] = {tuple(pairs[again].tolist())} is edges[{first}] once '
      f'more{what}: give every edge once (numpy.unique(edges, axis=0)), or '
      'a weight for how often.'
    )
