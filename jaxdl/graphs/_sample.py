# SPDX-License-Identifier: Apache-2.0
"""Some of the neighbors, drawn so that sums stay right on average."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys
from jaxdl.graphs import _inside
from jaxdl.graphs._graph import Graph


def sample_neighbors(
  graph: Graph,
  nodes: chex.Array,
  num_neighbors: int,
  *,
  key: chex.PRNGKey,
) -> tuple[chex.Array, chex.Array]:
  """Draws some of the nodes that reach each of a few.

  Who has no more than D neighbors gets them all, with weight one. Of others D
  are drawn uniformly with replacement, each with weight count / D, so that sums
  weighted so have the right mean.

  Args:
    graph: one graph.
    nodes: i32[B] (traced); what is no node of the graph has no neighbors.
    num_neighbors: D (static).
    key: consumed; what is drawn for a node depends on the key and the node
      alone.

  Returns:
    i32[B, D], neighbors, N - 1 where there are fewer; f[B, D] weights, zero
    there and of edges that were taken out.

  Raises:
    ValueError: if `num_neighbors` is below one, or nodes are not integers [B].

  Cost: O(B D), and O(N log E) of a graph without a plan.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (0, 2), (0, 3)], 4, pad_nodes=4)
    >>> ids, weights = sample_neighbors(
    ...   graph, jnp.array([0, 1]), 2, key=jax.random.key(0)
    ... )
    >>> weights.tolist()
    [[1.5, 1.5], [1.0, 0.0]]

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), appendix.
  """
  _inside.check_graph(graph, lone=True)
  most = checks.integer(num_neighbors, name='num_neighbors', low=1)
  keys.check_key(key)
  nodes = jnp.asarray(nodes)
  if nodes.ndim != 1 or not jnp.issubdtype(nodes.dtype, jnp.integer):
    raise ValueError(
      f'nodes must be integers [B]; got shape {nodes.shape} and dtype '
      f'{nodes.dtype}.'
    )
  last, dtype = graph.num_nodes - 1, jnp.result_type(float)
  if graph.num_edges == 0:
    shape = (len(nodes), most)
    return jnp.full(shape, last, jnp.int32), jnp.zeros(shape, dtype)
  starts = row_starts(graph)
  first = starts[nodes]
  count = starts[nodes + 1] - first
  own = keys.client_keys(key, nodes)
  draw = lambda k, c: jax.random.randint(k, (most,), 0, jnp.maximum(c, 1))
  drawn = jax.vmap(draw)(own, count)
  few = (count <= most)[:, None]
  place = jnp.arange(most)[None]
  offset = jnp.where(few, place, drawn)
  at = jnp.minimum(first[:, None] + offset, graph.num_edges - 1)
  weights = jnp.where(
    few,
    (place < count[:, None]).astype(dtype),
    count[:, None].astype(dtype) / most,
  )
  weights = jnp.where(graph.edge_mask[at], weights, 0)
  return jnp.where(weights > 0, graph.senders[at], last), weights


def row_starts(graph: Graph) -> chex.Array:
  """Where the edges that reach a node begin, i32[N + 1]."""
  if graph.plan is not None:
    return graph.plan.starts
  nodes = jnp.arange(graph.num_nodes + 1, dtype=graph.receivers.dtype)
  return jnp.searchsorted(graph.receivers, nodes).astype(jnp.int32)


def sample_rows(
  mask: chex.Array, num_samples: int, *, key: chex.PRNGKey
) -> tuple[chex.Array, chex.Array]:
  """Draws some of the entries of each row, as `sample_neighbors` does.

  Args:
    mask: bool[B, M], which entries there are.
    num_samples: D (static).
    key: consumed; rows are told apart by their number.

  Returns:
    i32[B, D] columns, f[B, D] weights, zero where there are fewer.

  Raises:
    ValueError: if `num_samples` is below one.

  Example:
    >>> columns, weights = sample_rows(
    ...   jnp.array([[True, False, True]]), 2, key=jax.random.key(0)
    ... )
    >>> columns.tolist(), weights.tolist()
    ([[0, 2]], [[1.0, 1.0]])
  """
  most = checks.integer(num_samples, name='num_samples', low=1)
  keys.check_key(key)
  if jnp.ndim(mask) != 2:
    raise ValueError(f'mask must have shape [B, M]; got {jnp.shape(mask)}.')
  mask, dtype = jnp.asarray(mask, bool), jnp.result_type(float)
  if mask.shape[1] == 0:
    shape = (mask.shape[0], most)
    return jnp.zeros(shape, jnp.int32), jnp.zeros(shape, dtype)
  count = mask.sum(1)
  own = keys.client_keys(key, jnp.arange(len(mask)))
  draw = lambda k, c: jax.random.randint(k, (most,), 0, jnp.maximum(c, 1))
  few, place = (count <= most)[:, None], jnp.arange(most)[None]
  rank = jnp.where(few, place, jax.vmap(draw)(own, count))
  # The column of an entry by how many come before it.
  ranks = jnp.cumsum(mask, axis=1)
  column = jax.vmap(lambda r, q: jnp.searchsorted(r, q + 1))(ranks, rank)
  weights = jnp.where(
    few,
    (place < count[:, None]).astype(dtype),
    count[:, None].astype(dtype) / most,
  )
  column = jnp.minimum(column, mask.shape[1] - 1).astype(jnp.int32)
  return jnp.where(weights > 0, column, 0), weights
