# SPDX-License-Identifier: Apache-2.0
"""Weighted sums of what neighbors hold."""

import chex
import jax.numpy as jnp

from jaxdl.graphs import _inside, _segments
from jaxdl.graphs._graph import Graph


def collect(
  graph: Graph,
  weights: chex.Array,
  x: chex.Array,
  *,
  kept: chex.Array | None = None,
) -> chex.Array:
  """Adds up weight times vector over the edges that reach a node.

  Args:
    graph: one graph.
    weights: f[E], or f[E, H] of heads, of the dtype of x.
    x: f[N, ...], or f[N, H, ...].
    kept: bool[E], edges that count; those of the graph if None.

  Returns:
    f[N, ...].
  """
  kept = graph.edge_mask if kept is None else kept
  rank = x.ndim - weights.ndim
  sent = weights.reshape(*weights.shape, *(1,) * rank) * x[graph.senders]
  return _segments.segment_sum(
    sent, graph.receivers, graph.num_nodes, mask=kept
  )


def largest(
  graph: Graph,
  weights: chex.Array,
  x: chex.Array,
  *,
  kept: chex.Array | None = None,
  empty: float = 0.0,
) -> chex.Array:
  """The largest of weight times vector, entry by entry; see `collect`."""
  kept = graph.edge_mask if kept is None else kept
  rank = x.ndim - weights.ndim
  sent = weights.reshape(*weights.shape, *(1,) * rank) * x[graph.senders]
  return _segments.segment_max(
    sent, graph.receivers, graph.num_nodes, mask=kept, empty=empty
  )


def no_loops(graph: Graph) -> chex.Array:
  """Edges that lead to another node, bool[E]."""
  return graph.edge_mask & (graph.senders != graph.receivers)


def clean(graph: Graph, x: chex.Array) -> chex.Array:
  """Zeros in the rows of padding, in at least single precision."""
  wide = jnp.promote_types(x.dtype, jnp.float32)
  return jnp.where(_inside.rows(graph.node_mask, x), x, 0).astype(wide)
