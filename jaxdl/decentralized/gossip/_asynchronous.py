# SPDX-License-Identifier: Apache-2.0
"""Gossip without rounds: one pair of clients at a time.

A step of these algorithms plays a fixed number of events one after the other.
Every event uses the batch that the cohort holds for the client at hand.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import local as local_lib, mixing
from jaxdl.core import checks, clients as clients_lib, registry, trees, types
from jaxdl.decentralized import _facts
from jaxdl.decentralized.gossip import _common as common


def _neighbors(graph: np.ndarray, num_clients: int):
  """Padded lists [N, K] and degrees [N] of a connected undirected graph."""
  adj = mixing.as_graph(graph, num_clients)
  mixing.max_degree(adj)  # Validates symmetry and connection.
  degrees = adj.sum(axis=1)
  table = np.zeros((num_clients, max(int(degrees.max()), 1)), np.int32)
  for i in range(num_clients):
    table[i, : degrees[i]] = np.flatnonzero(adj[i])
  return table, degrees.astype(np.int32)


def _row(stacked, i):
  return jax.tree.map(lambda x: x[i], stacked)


def _set_row(stacked, i, row):
  return jax.tree.map(lambda x, y: x.at[i].set(y.astype(x.dtype)), stacked, row)


class AsynchronousState(NamedTuple):
  """State of `asynchronous_gossip`.

  Attributes:
    params: stacked models [N, ...].
    history: leaves [staleness + 1, N, ...], a ring of past stacked models.
    opt_state: stacked optimizer states.
    event: i32[], events played.
  """

  params: chex.ArrayTree
  history: chex.ArrayTree
  opt_state: chex.ArrayTree
  event: chex.Array


def _exchanges(graph, num_rounds, *, num_events=None):
  """One exchange per event; a single client has nobody to talk to."""
  del num_rounds
  n = len(graph)
  events = n if num_events is None else num_events
  return 2.0 * events / n if n > 1 else 0.0


@registry.known(_facts.Facts(over='graph', sent=_exchanges))
def asynchronous_gossip(
  task: types.Task,
  graph: np.ndarray | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  staleness: int = 0,
  num_events: int | None = None,
  same_start: bool = True,
) -> types.Algorithm:
  """Pairwise averaging with stale gradients (AD-PSGD).

  An event: a random client i averages with a random neighbor j, both get
  ½(x_i + x_j), and i alone adds its update, made of the gradient at the model
  it had τ events ago.

  Args:
    task: parameters and loss.
    graph: undirected and connected; a single client only trains.
    clients: N clients, or N; events run one after the other (static).
    optimizer: run by the client at hand.
    staleness: τ >= 0, events between reading a model and using its gradient
      (static); memory for τ + 1 stacked models.
    num_events: events per step (static); None for N.
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`; metrics as `gossip_sgd`, `loss` the mean over events.
    Masked clients are still averaged with, but do not update.

  Raises:
    ValueError: if the graph does not fit.

  Source: Lian et al. 2018 (https://arxiv.org/abs/1710.06952), algorithm 1.
  """
  checks.integer(staleness, name='staleness', low=0)
  local = common.Gossip(
    task,
    None,
    clients,
    algorithm='asynchronous_gossip',
    optimizer=optimizer,
    same_start=same_start,
  )
  n = local.num_clients
  events = n if num_events is None else num_events
  checks.integer(events, name='num_events', low=1)
  table, degrees = _neighbors(graph, n)
  slope = local_lib.loss_and_gradient(task)

  def init(key):
    params = local.start(key)
    history = jax.tree.map(
      lambda x: jnp.broadcast_to(x[None], (staleness + 1, *x.shape)), params
    )
    return AsynchronousState(
      params,
      history,
      local.opt_states(params),
      jnp.zeros((), jnp.int32),
    )

  def step(state, cohort, *, key):
    def play(state, key):
      who_key, partner_key, train_key = jax.random.split(key, 3)
      i = jax.random.randint(who_key, (), 0, n)
      j = i
      if n > 1:
        pick = jax.random.randint(partner_key, (), 0, jnp.asarray(degrees)[i])
        j = jnp.asarray(table)[i, pick]
      slot = state.event % (staleness + 1)
      # The slot about to be overwritten next is the oldest one.
      history = jax.tree.map(
        lambda h, x: h.at[slot].set(x), state.history, state.params
      )
      oldest = (state.event + 1) % (staleness + 1)
      stale = jax.tree.map(lambda h: h[oldest, i], history)
      loss, grad = slope(stale, _row(cohort.data, i), train_key)
      mine, theirs = _row(state.params, i), _row(state.params, j)
      mean = common.add((0.5, mine), (0.5, theirs))
      old = _row(state.opt_state, i)
      update, opt_state = optimizer.update(grad, old, mean)
      present = cohort.mask[i]
      moved = optax.apply_updates(
        mean, jax.tree.map(lambda u: jnp.where(present, u, 0.0), update)
      )
      opt_state = jax.tree.map(
        lambda a, b: jnp.where(present, a, b), opt_state, old
      )
      params = _set_row(_set_row(state.params, j, mean), i, moved)
      state = AsynchronousState(
        params,
        history,
        _set_row(state.opt_state, i, opt_state),
        state.event + 1,
      )
      return state, (loss, present)

    state, (losses, present) = jax.lax.scan(
      play, state, jax.random.split(key, events)
    )
    return state, common.report(losses, present, state.params)

  return checks.algorithm(
    init,
    step,
    lambda state: state.params,
    state=AsynchronousState,
    per_client=True,
  )


class SwarmState(NamedTuple):
  """State of `swarm_sgd`.

  Attributes:
    params: stacked models [N, ...].
    opt_state: stacked optimizer states.
    event: i32[], interactions so far.
  """

  params: chex.ArrayTree
  opt_state: chex.ArrayTree
  event: chex.Array


def _meetings(graph, num_rounds, *, num_events=None):
  del num_rounds
  n = len(graph)
  events = (n + 1) // 2 if num_events is None else num_events
  return 2 * events / n


@registry.known(_facts.Facts(over='graph', sent=_meetings))
def swarm_sgd(
  task: types.Task,
  graph: np.ndarray | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  mean_local_steps: float = 1.0,
  random_steps: bool = True,
  max_local_steps: int = 100,
  blocking: bool = True,
  num_events: int | None = None,
  same_start: bool = True,
) -> types.Algorithm:
  """Random links wake up, both ends train a little and average (SwarmSGD).

  An interaction: a random link (i, j); each end takes H local steps; blocking
  both get ½(x_i' + x_j'). Non-blocking each averages the models from before
  its own local steps and adds its progress, ½(x_i + x_j) + (x_i' - x_i), so
  nobody waits for the other's computation.

  Args:
    task: parameters and loss.
    graph: undirected and connected, at least two clients.
    clients: N clients, or N; events run one after the other (static).
    optimizer: run by both ends.
    mean_local_steps: mean of H, >= 1.
    random_steps: geometric H on 1, 2, ...; otherwise exactly the (whole) mean
      (static).
    max_local_steps: cut-off of H (static).
    blocking: which variant (static).
    num_events: interactions per step (static); None for N / 2, rounded up.
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`; metrics as `gossip_sgd`, `loss` the mean over first local
    steps, and `local_steps`. Masked clients are averaged with, but do not
    train.

  Raises:
    ValueError: if the graph has no link or an option is out of range.

  Source: Nadiradze et al. 2021 (https://arxiv.org/abs/1910.12308), algorithms
    1 and 2.
  """
  checks.integer(max_local_steps, name='max_local_steps', low=1)
  checks.number(mean_local_steps, name='mean_local_steps', low=1.0)
  if not random_steps and mean_local_steps != int(mean_local_steps):
    raise ValueError(
      f'mean_local_steps={mean_local_steps} must be whole if '
      'random_steps=False.'
    )
  local = common.Gossip(
    task,
    None,
    clients,
    algorithm='swarm_sgd',
    optimizer=optimizer,
    same_start=same_start,
  )
  n = local.num_clients
  graph = mixing.as_graph(graph, n)
  _neighbors(graph, n)  # Validates.
  links = np.argwhere(np.triu(graph)).astype(np.int32)
  if not len(links):
    raise ValueError('swarm_sgd needs a link: use at least two clients.')
  events = (n + 1) // 2 if num_events is None else num_events
  checks.integer(events, name='num_events', low=1)
  most = int(mean_local_steps)  # Exactly, unless they are drawn.
  if random_steps and mean_local_steps > 1.0:
    most = max_local_steps
  run = local_lib.train_steps(task, optimizer, num_steps=most)

  def init(key):
    params = local.start(key)
    return SwarmState(
      params, local.opt_states(params), jnp.zeros((), jnp.int32)
    )

  def draw_steps(key):
    if not random_steps:
      return jnp.full((2,), int(mean_local_steps), jnp.int32)
    if mean_local_steps == 1.0:
      return jnp.ones((2,), jnp.int32)
    count = jax.random.geometric(key, 1.0 / mean_local_steps, (2,))
    return jnp.minimum(count.astype(jnp.int32), max_local_steps)

  def step(state, cohort, *, key):
    def play(state, key):
      link_key, steps_key, train_key = jax.random.split(key, 3)
      pair = jnp.asarray(links)[jax.random.randint(link_key, (), 0, len(links))]
      present = cohort.mask[pair]
      counts = jnp.where(present, draw_steps(steps_key), 0)
      before = trees.take_rows(state.params, pair)
      batches = trees.take_rows(cohort.data, pair)

      def train(params, opt_state, batch, count, key):
        steps = run(
          params, opt_state, lambda t: (batch, True), key, limit=count
        )
        return steps.params, steps.opt_state, steps.losses[0]

      after, opt_state, losses = jax.vmap(train)(
        before,
        trees.take_rows(state.opt_state, pair),
        batches,
        counts,
        jax.random.split(train_key),
      )
      average = mixing.make_mixer('complete', 2).apply
      if blocking:
        new = average(after, 0)
      else:
        new = common.add(
          (1.0, average(before, 0)), (1.0, after), (-1.0, before)
        )
      put = lambda x, y: x.at[pair].set(y)
      state = SwarmState(
        jax.tree.map(put, state.params, new),
        jax.tree.map(put, state.opt_state, opt_state),
        state.event + 1,
      )
      return state, (losses, present, counts)

    state, (losses, present, counts) = jax.lax.scan(
      play, state, jax.random.split(key, events)
    )
    metrics = common.report(losses, present, state.params)
    metrics['local_steps'] = jnp.mean(counts.astype(jnp.float32))
    return state, metrics

  return checks.algorithm(
    init, step, lambda state: state.params, state=SwarmState, per_client=True
  )
