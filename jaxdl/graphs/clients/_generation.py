# SPDX-License-Identifier: Apache-2.0
"""Neighbors that clients lost to others and make up again."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, keys
from jaxdl.graphs import _inside, _propagate
from jaxdl.graphs._graph import Graph
from jaxdl.graphs.clients import _pieces
from jaxdl.networks import functional


class Generated(NamedTuple):
  """Neighbors that were made up.

  Attributes:
    counts: f[n, M], how many each node lacks, as predicted; 0 of padding.
    features: f[n, M, P, F], those of the first P.
    losses: f[n, T], of every step.
  """

  counts: chex.Array
  features: chex.Array
  losses: chex.Array


def _predict(params, graph, x, most):
  """How many neighbors every node lacks, and what they hold."""
  around = _propagate.propagate(graph, x, normalize='row', self_loops=False)
  z = functional.dense(params['own'], x)
  z = jax.nn.relu(z + functional.dense(params['neighbors'], around))
  counts = jax.nn.relu(functional.dense(params['count'], z)[:, 0])
  made = functional.dense(params['features'], z)
  return counts, made.reshape(len(x), most, x.shape[1])


def _nearest(made, x, allowed):
  """Squared distance of made features [M, P, F] to the nearest allowed row."""
  m, p, width = made.shape
  flat = made.reshape(m * p, width)
  square = jnp.sum(flat**2, 1)[:, None] + jnp.sum(x**2, 1)[None]
  apart = jnp.maximum(square - 2 * flat @ x.T, 0).reshape(m, p, -1)
  apart = jnp.where(allowed, apart, jnp.inf)
  nearest = jnp.min(apart, axis=-1)
  return jnp.where(jnp.isfinite(nearest), nearest, 0)


def generate_neighbors(
  graph: Graph,
  x: chex.Array,
  *,
  key: chex.PRNGKey,
  num_generated: int = 5,
  hidden_share: float = 0.5,
  hidden_dim: int = 16,
  num_steps: int = 100,
  learning_rate: float = 0.01,
  cross: float = 1.0,
) -> Generated:
  """Learns to make up the neighbors that nodes lack.

  Every client hides a share of its nodes and learns, from what is left around
  the others, how many neighbors were hidden (smooth absolute error) and what
  they hold (squared distance to the nearest hidden neighbor). Clients also tell
  each other how near made-up features come to their nodes; nobody sees those.

  Args:
    graph: of n clients, leaves [n, ...].
    x: f[n, M, F].
    key: consumed; client k draws from `fold_in(key, k)`.
    num_generated: P >= 1, most neighbors of a node.
    hidden_share: share of the nodes that is hidden, in (0, 1).
    hidden_dim: width of the encoder, one layer of `graphs.sage`.
    num_steps: T >= 1, of Adam.
    learning_rate: its step size.
    cross: weight of the distance to nodes of other clients; 0 asks nobody.

  Returns:
    `Generated`, of all nodes with nothing hidden.

  Raises:
    ValueError: if a number is out of range or shapes do not fit.
    TypeError: if features are no floating point.

  Cost: O(n² M² P F) a step with `cross`, O(n M² P F) without.

  Example:
    >>> from jaxdl import graphs
    >>> whole = graphs.make_graph([(0, 1), (1, 2), (3, 4)], 5)
    >>> parts = graphs.induced_subgraphs(whole, [[0, 1, 2], [3, 4]])
    >>> made = generate_neighbors(
    ...   parts.graph, jnp.ones((2, 8, 3)), key=jax.random.key(0), num_steps=2
    ... )
    >>> made.counts.shape, made.features.shape
    ((2, 8), (2, 8, 5, 3))

  Source: Zhang et al. 2021 (https://arxiv.org/abs/2106.13430), equations 4 to
    9. Here a node's P neighbors come from P outputs of one layer, without
    noise.
  """
  keys.check_key(key)
  _inside.check_graph(graph)
  shape = jnp.shape(x)
  fits = len(shape) == 3 and shape[:2] == graph.node_mask.shape
  if graph.senders.ndim != 2 or not fits or not shape[2]:
    raise ValueError(
      f'x must have shape [n, M, F] and graph leaves [n, ...]; got '
      f'{shape} and nodes {graph.node_mask.shape}.'
    )
  if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
    raise TypeError(f'x must be floating point; got {jnp.result_type(x)}.')
  most = checks.integer(num_generated, name='num_generated', low=1)
  ends = {'open_low': True, 'open_high': True}
  checks.number(hidden_share, name='hidden_share', low=0, high=1, **ends)
  width = checks.integer(hidden_dim, name='hidden_dim', low=1)
  steps = checks.integer(num_steps, name='num_steps', low=1)
  checks.number(learning_rate, name='learning_rate', low=0, open_low=True)
  checks.number(cross, name='cross', low=0)
  return _generate(
    graph,
    jnp.asarray(x),
    key,
    most=most,
    width=width,
    steps=steps,
    share=hidden_share,
    rate=learning_rate,
    cross=cross,
  )


@functools.partial(jax.jit, static_argnames=('most', 'width', 'steps', 'cross'))
def _generate(graph, x, key, *, most, width, steps, share, rate, cross):
  n, m, f = x.shape
  x = jnp.where(graph.node_mask[..., None], x, 0)
  optimizer = optax.adam(rate)
  dense = functional.layer_leaves
  leaves = {
    'own': dense((f, width)),
    'neighbors': dense((f, width), bias_init=None),
    'count': dense((width, 1)),
    'features': dense((width, most * f)),
  }

  def loss(params, left, own, counts, near, visible, k):
    guess, made = _predict(params, left, own, most)
    total = jnp.maximum(jnp.sum(visible), 1).astype(own.dtype)
    apart = optax.losses.huber_loss(guess, counts)
    value = jnp.sum(jnp.where(visible, apart, 0)) / total
    rank = jnp.arange(most)[None]
    asked = (rank < counts[:, None]) & visible[:, None]
    gap = _nearest(made, own, near[:, None])
    value += jnp.sum(jnp.where(asked, gap, 0)) / total
    if cross and n > 1:
      allowed = lambda mask: jnp.broadcast_to(mask[None, None], (m, most, m))
      gaps = jax.vmap(lambda y, mask: _nearest(made, y, allowed(mask)))(
        x, graph.node_mask
      )
      others = (jnp.arange(n) != k)[:, None, None]
      gap = jnp.sum(jnp.where(others, gaps, 0), axis=0) / (n - 1)
      value += cross * jnp.sum(jnp.where(asked, gap, 0)) / total
    return value

  def client(turn):
    k, graph, own = turn
    hide_key, start_key = jax.random.split(jax.random.fold_in(key, k))
    there = graph.node_mask
    hidden = (jax.random.uniform(hide_key, (m,)) < share) & there
    gone = hidden[graph.senders] | hidden[graph.receivers]
    left = graph.replace(edge_mask=graph.edge_mask & ~gone)
    link = graph.edge_mask & (graph.senders != graph.receivers)
    table = jnp.zeros((m, m), bool)
    table = table.at[graph.receivers, graph.senders].max(link)
    near = table & hidden[None]
    counts = jnp.sum(near, axis=1).astype(own.dtype)
    visible = there & ~hidden
    params = functional.draw(start_key, leaves, own.dtype)

    def step(carry, _):
      params, state = carry
      value, slope = jax.value_and_grad(loss)(
        params, left, own, counts, near, visible, k
      )
      move, state = optimizer.update(slope, state, params)
      return (optax.apply_updates(params, move), state), value

    start = (params, optimizer.init(params))
    (params, _), losses = jax.lax.scan(step, start, length=steps)
    guess, made = _predict(params, graph, own, most)
    return jnp.where(there, guess, 0), made, losses

  return Generated(*jax.lax.map(client, (jnp.arange(n), graph, x)))


def generated(
  graph: Graph,
  x: Any,
  parts: Sequence[Any],
  *,
  seed: int = 0,
  num_generated: int = 5,
  hidden_share: float = 0.5,
  hidden_dim: int = 16,
  num_steps: int = 100,
  learning_rate: float = 0.01,
  cross: float = 1.0,
) -> list[_pieces.Piece]:
  """Completes pieces by neighbors that `generate_neighbors` makes up.

  A node gets as many as it is predicted to lack, rounded, `num_generated` at
  most; they know nobody else.

  Args:
    graph: the whole, concrete.
    x: f[N, F].
    parts: nodes of every client.
    seed: of what is drawn.
    num_generated: see `generate_neighbors`.
    hidden_share: likewise.
    hidden_dim: likewise.
    num_steps: likewise.
    learning_rate: likewise.
    cross: likewise.

  Returns:
    A piece for each client, without weights.

  Raises:
    ValueError: as `generate_neighbors`, or if what is made up is not finite.

  Source: Zhang et al. 2021 (https://arxiv.org/abs/2106.13430), section 3.3.
  """
  seed = checks.integer(seed, name='seed', low=0)
  _inside.check_graph(graph, lone=True)
  pieces = _pieces.induced_pieces(graph.replace(weights=None), x, parts)
  stack = _pieces.pad_pieces(pieces)
  made = generate_neighbors(
    stack.graph,
    stack.features,
    key=jax.random.key(seed),
    num_generated=num_generated,
    hidden_share=hidden_share,
    hidden_dim=hidden_dim,
    num_steps=num_steps,
    learning_rate=learning_rate,
    cross=cross,
  )
  counts, rows = np.asarray(made.counts), np.asarray(made.features)
  if not (np.isfinite(counts).all() and np.isfinite(rows).all()):
    raise ValueError(
      f'learning_rate={learning_rate}: neighbors that were made up are not '
      'finite: lower it, or look for features x that are not.'
    )
  out = []
  for k, piece in enumerate(pieces):
    q = piece.num_own
    lacking = np.clip(np.rint(counts[k, :q]), 0, num_generated).astype(int)
    node = np.repeat(np.arange(q), lacking)
    rank = np.arange(len(node)) - np.repeat(
      np.cumsum(lacking) - lacking, lacking
    )
    fresh = q + np.arange(len(node))
    pairs = np.concatenate(
      [piece.pairs, np.stack([node, fresh], 1), np.stack([fresh, node], 1)]
    )
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    features = np.concatenate([piece.features, rows[k, node, rank]])
    out.append(_pieces.Piece(pairs[order], features, q))
  return out
