# SPDX-License-Identifier: Apache-2.0
"""Sums, counts and maxima over the edges that reach a node.

All layers reduce over edges here, so that one place knows how: which program is
fastest (see `collect`), and that edges may be split over devices, whose parts
are added up.
"""

import math

import chex
import jax
import jax.numpy as jnp

from jaxdl.graphs import _inside, _segments, _sparse
from jaxdl.graphs._graph import Graph

# The kernel of sparse products takes eight numbers at a time; narrower than
# three it loses to a sum over segments (experiments/benchmarks/graphs.py).
_PACKET = 8
_NARROW = 2


def edge_sum(
  graph: Graph,
  values: chex.Array,
  *,
  kept: chex.Array | None = None,
  at: str = 'receivers',
  start: chex.Array | None = None,
) -> chex.Array:
  """Adds up values f[E, ...] of edges at their receivers (or senders).

  The sum begins at start f[N, ...]. It is not added afterwards, because what
  reads single rows of the result would then add it again for every row.
  """
  kept = graph.edge_mask if kept is None else kept
  is_sorted = at == 'receivers'
  ids = graph.receivers if is_sorted else graph.senders
  values = jnp.where(_inside.rows(kept, values), values, 0)
  if graph.axis_name is not None or start is None:
    out = _segments.segment_sum(
      values, ids, graph.num_nodes, is_sorted=is_sorted
    )
    if graph.axis_name is not None:
      out = jax.lax.psum(out, graph.axis_name)
    return out if start is None else out + start
  return start.at[ids].add(values, indices_are_sorted=is_sorted)


def edge_count(
  graph: Graph, *, kept: chex.Array | None = None, at: str = 'receivers'
) -> chex.Array:
  """Counts edges, i32[N]."""
  ones = jnp.ones_like(graph.senders)
  return edge_sum(graph, ones, kept=kept, at=at)


def edge_max(
  graph: Graph,
  values: chex.Array,
  *,
  kept: chex.Array | None = None,
  start: chex.Array | None = None,
  empty: float = 0.0,
) -> chex.Array:
  """The largest values of edges at their receivers and start, entry by entry.

  Without start nodes that no edge reaches have what is called empty.
  """
  kept = graph.edge_mask if kept is None else kept
  ids, n, axis = graph.receivers, graph.num_nodes, graph.axis_name
  if axis is None and start is None:
    return _segments.segment_max(values, ids, n, mask=kept, empty=empty)
  if axis is None:
    values = jnp.where(_inside.rows(kept, values), values, -jnp.inf)
    return start.at[ids].max(values, indices_are_sorted=True)
  mine = _segments.segment_max(values, ids, n, mask=kept, empty=-jnp.inf)
  # Who has the largest gives it to all.
  every = jax.lax.all_gather(jax.lax.stop_gradient(mine), axis)
  won = every.argmax(axis=0) == jax.lax.axis_index(axis)
  found = jax.lax.psum(jnp.where(won, mine, 0), axis)
  if start is not None:
    return jnp.maximum(found, start)
  there = _inside.rows(edge_count(graph, kept=kept) > 0, found)
  return jnp.where(jnp.broadcast_to(there, found.shape), found, empty)


def collect(
  graph: Graph,
  weights: chex.Array,
  x: chex.Array,
  *,
  kept: chex.Array | None = None,
) -> chex.Array:
  """Adds up weight times vector over the edges that reach a node.

  With a plan, and more than two numbers per node, it is a product of a sparse
  matrix in rows, whose width is padded to a multiple of eight; a matrix for
  each head. Otherwise the vectors of senders are gathered and summed over
  sorted segments.

  Args:
    graph: one graph.
    weights: f[E], or f[E, H] of heads, of the dtype of x.
    x: f[N, ...], or f[N, H, ...].
    kept: bool[E], edges that count; those of the graph if None. Of those that
      do not, but are in the graph, the node itself must not be finite if its
      sender is not (loops, where a node hears itself anyway).

  Returns:
    f[N, ...].
  """
  mask = graph.edge_mask if kept is None else kept
  heads = weights.ndim - 1
  width = math.prod(x.shape[1 + heads :])
  if (
    graph.plan is None
    or graph.axis_name is not None
    or width <= _NARROW
    or graph.num_edges == 0
    or x.size == 0
    or not _sparse.is_plain(weights, x, graph.senders)
  ):
    rank = x.ndim - weights.ndim
    sent = weights.reshape(*weights.shape, *(1,) * rank) * x[graph.senders]
    return edge_sum(graph, sent, kept=mask)
  weights = jnp.where(_inside.rows(mask, weights), weights, 0)
  heads = x.shape[1] if heads else 1
  flat = x.reshape(graph.num_nodes, heads, -1)
  more = 0 if graph.plan.is_full else 1
  flat = jnp.pad(flat, ((0, more), (0, 0), (0, -width % _PACKET)))
  out = _sparse.product(weights.reshape(-1, heads), flat, *_matrices(graph))
  return out[: graph.num_nodes, :, :width].reshape(x.shape)


def _matrices(graph):
  """The adjacency matrix and its transpose as `_sparse.product` takes them.

  Where edges were taken out they lead from and to a node more, of zeros.
  """
  plan = graph.plan
  forward = (graph.senders, graph.receivers, plan.starts, plan.order)
  senders = graph.senders[plan.order]
  backward = (plan.targets, senders, plan.out_starts, plan.back)
  if plan.is_full:
    return forward, backward
  nobody = jnp.full((), graph.num_nodes, graph.senders.dtype)

  def emptied(columns, rows, starts, order, mask):
    columns = jnp.where(mask, columns, nobody)
    starts = jnp.concatenate([starts, starts[-1:]])
    return columns, rows, starts, order

  mask = graph.edge_mask
  return emptied(*forward, mask), emptied(*backward, mask[plan.order])


def largest(
  graph: Graph,
  weights: chex.Array,
  x: chex.Array,
  *,
  kept: chex.Array | None = None,
  empty: float = 0.0,
) -> chex.Array:
  """The largest of weight times vector, entry by entry; see `collect`."""
  rank = x.ndim - weights.ndim
  sent = weights.reshape(*weights.shape, *(1,) * rank) * x[graph.senders]
  return edge_max(graph, sent, kept=kept, empty=empty)


def no_loops(graph: Graph) -> chex.Array:
  """Edges that lead to another node, bool[E]."""
  return graph.edge_mask & (graph.senders != graph.receivers)
