# SPDX-License-Identifier: Apache-2.0
"""Gossip learning with buffers: train, send, average when enough has come."""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import mixing
from jaxdl.core import (
  checks,
  clients as clients_lib,
  keys,
  layers,
  trees,
  types,
)
from jaxdl.decentralized.gossip import _common as common
from jaxdl.mixing import variance


class BufferedState(NamedTuple):
  """State of `buffered_gossip`.

  Attributes:
    params: stacked models [N, ...].
    opt_state: stacked optimizer states; never averaged.
    received: stacked running sums of the models in each client's buffer.
    received_variance: running sums f32[N] of their variances, per corrected
      tensor; None elsewhere.
    num_received: i32[N], models in each buffer.
    next_turn: i32[N], tick of each client's next training.
    num_trained: i32[N], batches that each client has trained on.
    num_messages: f32[], models sent so far.
    round: i32[], ticks done.
  """

  params: chex.ArrayTree
  opt_state: chex.ArrayTree
  received: chex.ArrayTree
  received_variance: chex.ArrayTree
  num_received: chex.Array
  next_turn: chex.Array
  num_trained: chex.Array
  num_messages: chex.Array
  round: chex.Array


def buffered_gossip(
  task: types.Task,
  graph: np.ndarray | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  self_weight: chex.Numeric = 0.5,
  target: str | chex.ArrayTree | None = 'others',
  correct_fn: variance.CorrectFn = layers.is_kernel,
  eps: chex.Numeric = 0.0,
  strength: chex.Numeric = 1.0,
  buffer_size: int | None = None,
  send_every: int = 1,
  turn_ticks: tuple[int, int] = (1, 1),
  same_start: bool = False,
) -> types.Algorithm:
  """The gossip protocol in which vanishing variance was found and mended.

  In a tick every client whose turn it is trains on one batch and sends its
  model to all neighbors (after every P-th training). Clients with B models or
  more in their buffer then take β own + (1 - β) mean(buffer), correct the
  variance, and clear the buffer. Buffers are running sums of models and of
  variances, so memory does not grow with B.

  With one turn per tick, P = 1 and B = degree this is `gossip_sgd` with the
  mixer β I + (1 - β) D⁻¹ A, corrected by `variance_corrected`.

  Args:
    task: parameters and loss.
    graph: anything `mixing.graphs.adjacency` takes; entry [i, j] lets i receive
      from j.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client.
    self_weight: β in [0, 1]; static or traced.
    target: variance to restore: 'others' (mean of the buffer's), 'self',
      'beta' (β own + (1 - β) buffer's), or a tree of fixed variances; None
      averages plainly.
    correct_fn: which tensors are corrected (static).
    eps: see `rescale_to_variance`.
    strength: see `rescale_to_variance`.
    buffer_size: B >= 1, the same for all; each client's number of neighbors
      if None (static).
    send_every: P >= 1, trainings between messages (static).
    turn_ticks: fewest and most ticks between a client's turns, drawn evenly
      after each (static).
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`. `step` wants a cohort of all N clients in fixed order with
    a batch each; masked clients do not train or send. Metrics: `loss` (mean of
    those who trained), `consensus`, `messages` (models sent), `averaged`
    (clients that emptied their buffer).

  Raises:
    ValueError: if an option is out of range or the graph has another size.

  Source: Tian et al. 2024 (https://arxiv.org/abs/2404.04616), algorithm 3, and
  the authors' simulators.
  """
  clients = clients_lib.as_clients(clients)
  n = clients.num_clients
  adjacency = mixing.as_graph(graph, n)
  checks.number(self_weight, name='self_weight', low=0.0, high=1.0)
  if isinstance(target, str):
    checks.choice(target, variance.TARGETS, name='target')
  if buffer_size is not None:
    checks.integer(buffer_size, name='buffer_size', low=1)
  period = checks.integer(send_every, name='send_every', low=1)
  low = checks.integer(turn_ticks[0], name='turn_ticks[0]', low=1)
  high = checks.integer(turn_ticks[1], name='turn_ticks[1]', low=low)
  degrees = adjacency.sum(axis=1)
  needed = jnp.asarray(
    np.maximum(degrees, 1) if buffer_size is None else np.full(n, buffer_size)
  )
  out_degrees = jnp.asarray(adjacency.sum(axis=0))
  # Sums over neighbors; the rule of `from_matrix` picks gather or contraction.
  deliver = mixing.from_matrix(adjacency.astype(float), stochastic='any')
  if clients.mesh is not None:
    deliver = mixing.shard(deliver, clients.mesh)
  local = common.Gossip(
    task,
    None,
    clients,
    algorithm='buffered_gossip',
    optimizer=optimizer,
    same_start=same_start,
  )
  corrects = target is not None
  pick = correct_fn if corrects else lambda path, leaf: False

  def turn(key, tick):
    draw = lambda k: jax.random.randint(k, (), low, high + 1)
    return tick + jax.vmap(draw)(keys.client_keys(key, jnp.arange(n)))

  def init(key):
    start_key, turn_key = jax.random.split(key)
    params = local.start(start_key)
    wide = jax.tree.map(
      lambda x: jnp.zeros(x.shape, trees.accumulator(x.dtype)), params
    )
    return BufferedState(
      params=params,
      opt_state=local.opt_states(params),
      received=wide,
      received_variance=common.zeros(variance.variances(params, pick)),
      num_received=jnp.zeros((n,), jnp.int32),
      next_turn=turn(turn_key, jnp.full((n,), -1)),
      num_trained=jnp.zeros((n,), jnp.int32),
      num_messages=jnp.zeros(()),
      round=jnp.zeros((), jnp.int32),
    )

  def step(state, cohort, *, key):
    train_key, turn_key = jax.random.split(key)
    tick = state.round
    active = cohort.mask & (tick >= state.next_turn)
    acting = cohort.replace(mask=active)
    losses, grads = local.gradients(state.params, acting, train_key)
    updates, opt_state = local.updates(
      grads, state.opt_state, state.params, acting
    )
    params = optax.apply_updates(state.params, updates)
    num_trained = state.num_trained + active
    sends = active & (num_trained % period == 0)

    # One exchange of everything that travels in this tick.
    own = variance.variances(params, pick)
    arrived = deliver.apply(
      {
        'models': trees.where_rows(sends, variance.wide(params), 0.0),
        'variances': trees.where_rows(sends, own, 0.0),
        'number': sends.astype(jnp.float32),
      },
      tick,
    )
    add = functools.partial(jax.tree.map, jnp.add)
    received = add(state.received, arrived['models'])
    received_variance = add(state.received_variance, arrived['variances'])
    number = jnp.round(arrived['number']).astype(jnp.int32)
    num_received = state.num_received + number
    full = num_received >= needed
    each = 1.0 / jnp.maximum(num_received, 1)

    averaged = jax.tree.map(
      lambda x, total: _blend(self_weight, x, each, total), params, received
    )
    if corrects:
      targets = own
      if target != 'self':
        targets = jax.tree.map(lambda total: each * total, received_variance)
      if target == 'beta':
        targets = jax.tree.map(
          lambda v, t: self_weight * v + (1.0 - self_weight) * t, own, targets
        )
      if not isinstance(target, str):
        targets = variance.fixed_targets(own, target)
      averaged = variance.rescale_rows(averaged, targets, eps, strength)
    averaged = trees.cast_like(averaged, params)
    params = trees.where_rows(full, averaged, params)
    keep = ~full
    sent = jnp.sum(jnp.where(sends, out_degrees, 0))
    fresh = turn(turn_key, jnp.broadcast_to(tick, (n,)))
    return (
      BufferedState(
        params=params,
        opt_state=opt_state,
        received=trees.where_rows(keep, received, 0.0),
        received_variance=trees.where_rows(keep, received_variance, 0.0),
        num_received=jnp.where(keep, num_received, 0),
        next_turn=jnp.where(active, fresh, state.next_turn),
        num_trained=num_trained,
        num_messages=state.num_messages + sent,
        round=tick + 1,
      ),
      {
        **local.report(losses, params, acting),
        'messages': sent,
        'averaged': jnp.sum(full),
      },
    )

  return checks.algorithm(
    init, step, lambda state: state.params, state=BufferedState, per_client=True
  )


def _blend(
  self_weight: Any, x: chex.Array, each: chex.Array, total: chex.Array
):
  """β x + (1 - β) total / count, in the accumulator's dtype."""
  mean = trees.expand(each.astype(total.dtype), total) * total
  own = x.astype(total.dtype)
  return self_weight * own + (1.0 - self_weight) * mean
