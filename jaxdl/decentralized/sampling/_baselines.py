# SPDX-License-Identifier: Apache-2.0
"""Learning without sampling on the same clock: every node, every round."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import local, mixing
from jaxdl.core import checks, clients as clients_lib, trees, types
from jaxdl.decentralized.sampling import (
  _training as training,
  _world as world_lib,
)


def clocked_gossip(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  world: world_lib.World,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  num_epochs: int | None = None,
  num_steps: int | None = None,
  model_bytes: int = 1_000_000,
  patience_s: float = 5.0,
  members: np.ndarray | None = None,
  churn: Sequence[world_lib.Churn] = (),
) -> types.Algorithm:
  """Decentralized SGD in rounds of local training, with real durations.

  In a round every node trains, sends its model to its neighbors and mixes
  what it has received. It begins the next round when the last model that it
  waits for has arrived; models leave a node one after the other. A node that
  is away neither trains nor sends: its neighbors wait for `patience_s`, then
  keep its weight themselves.

  Args:
    task: parameters and loss.
    mixer: rows sum to one; `matrix(round)` says who sends to whom.
    clients: the N nodes and how they are run, or N (static).
    world: delays and speeds of N nodes.
    optimizer: of a node, fresh in every round.
    batch_size: B (static).
    num_epochs: local passes per round (static).
    num_steps: local steps per round (static); at least one of the two.
    model_bytes: size of a message.
    patience_s: how long a node waits for one that is away.
    members: bool[N], nodes that are there at the start; all if None.
    churn: who comes and goes, by round.

  Returns:
    An `Algorithm` whose `step` runs on the host, with a cohort and metrics as
    `sampling_sgd` has them; `time_s` is that of the slowest node. `params`
    has a leading axis N. A node that joins goes on with the model it has.

  Raises:
    ValueError: if arguments do not fit.

  Source: Lian et al. 2017 (https://arxiv.org/abs/1705.09056), algorithm 1, with
    local epochs; the baseline of de Vos et al. 2023
    (https://arxiv.org/abs/2302.13837).
  """
  nodes = _Nodes(
    task,
    clients,
    world,
    optimizer=optimizer,
    batch_size=batch_size,
    num_epochs=num_epochs,
    num_steps=num_steps,
    members=members,
    churn=churn,
  )
  checks.number(patience_s, name='patience_s', low=0.0)
  size = checks.integer(model_bytes, name='model_bytes', low=0)
  world, n = nodes.world, nodes.num_nodes
  mixer = mixing.as_mixer(mixer, n)

  train_and_mix, train_and_combine, matrix_of = _gossip_programs(
    nodes.recipe, mixer
  )

  def step(state, cohort, *, key=None):
    del key
    training.check_node_cohort(cohort, n)
    round = state['round'] + 1
    online, next_churn = nodes.changed(state, round)
    number = np.int32(round)
    matrix = np.array(matrix_of(state['key'], number))
    if online.all():
      models = train_and_mix(state['models'], cohort.data, state['key'], number)
    else:
      away = matrix * ~online[None, :]
      matrix = np.where(online[None, :], matrix, 0.0)
      matrix[np.arange(n), np.arange(n)] += away.sum(axis=1)
      matrix[~online] = np.eye(n, dtype=matrix.dtype)[~online]
      models = train_and_combine(
        state['models'], cohort.data, state['key'], number, online, matrix
      )
    wanted = np.array(matrix_of(state['key'], number)) != 0
    np.fill_diagonal(wanted, False)
    ready, sent, received = _durations(
      world, state['ready'], online, wanted, size, patience_s
    )
    new = {
      **state,
      'models': models,
      'round': round,
      'ready': ready,
      'online': online,
      'next_churn': next_churn,
      'transfers': state['transfers'] + int(sent.sum()),
      'sent_bytes': state['sent_bytes'] + sent * size,
      'received_bytes': state['received_bytes'] + received * size,
    }
    time = float(ready[online].max()) if online.any() else 0.0
    return new, _report(new, max(time, 0.0))

  return types.Algorithm(
    nodes.init, step, nodes.params, per_client=True, on_host=True
  )


def gossip_learning(
  task: types.Task,
  clients: clients_lib.Clients | int,
  *,
  world: world_lib.World,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  num_epochs: int | None = None,
  num_steps: int | None = None,
  period_s: float = 60.0,
  model_bytes: int = 1_000_000,
  members: np.ndarray | None = None,
  churn: Sequence[world_lib.Churn] = (),
) -> types.Algorithm:
  """Gossip learning: models walk at random, average by age, and train.

  Every `period_s` each node sends its model to a random other node. Who
  receives one averages it with its own, weighted by their ages (trainings so
  far), and trains the result. All nodes send at the beginning of a period.

  Args:
    task: parameters and loss.
    clients: the N nodes and how they are run, or N (static).
    world: delays of N nodes, which order the messages of a period.
    optimizer: of a node, fresh in every training.
    batch_size: B (static).
    num_epochs: local passes per training (static).
    num_steps: local steps per training (static); at least one of the two.
    period_s: time between two sends.
    model_bytes: size of a message.
    members: bool[N], nodes that are there at the start; all if None.
    churn: who comes and goes, by period.

  Returns:
    An `Algorithm` as `clocked_gossip`; a step is a period.

  Raises:
    ValueError: if arguments do not fit.

  Source: Hegedűs et al. 2019 (https://doi.org/10.1007/978-3-030-22496-7_5),
    algorithm 1, with the merge of aged models.
  """
  nodes = _Nodes(
    task,
    clients,
    world,
    optimizer=optimizer,
    batch_size=batch_size,
    num_epochs=num_epochs,
    num_steps=num_steps,
    members=members,
    churn=churn,
  )
  checks.number(period_s, name='period_s', low=0.0, open_low=True)
  size = checks.integer(model_bytes, name='model_bytes', low=0)
  world, n = nodes.world, nodes.num_nodes

  receive = _receive_program(nodes.recipe)

  def init(key):
    state = nodes.init(key)
    return {**state, 'ages': jnp.zeros(n, jnp.int32), 'wave': 0}

  def step(state, cohort, *, key=None):
    del key
    training.check_node_cohort(cohort, n)
    round = state['round'] + 1
    online, next_churn = nodes.changed(state, round)
    draw = np.random.default_rng(
      [*np.asarray(jax.random.key_data(state['key'])).tolist(), round]
    )
    targets = (np.arange(n) + draw.integers(1, max(n, 2), n)) % n
    senders = np.flatnonzero(online & (targets != np.arange(n)))
    reached = senders[online[targets[senders]]]
    delay = world.latency_s[reached, targets[reached]]
    inbox: dict[int, list[int]] = {}
    for i in reached[np.argsort(delay, kind='stable')]:
      inbox.setdefault(int(targets[i]), []).append(int(i))
    models, ages, wave = state['models'], state['ages'], state['wave']
    before = models, ages
    for depth in range(max(map(len, inbox.values()), default=0)):
      row = np.full(n, -1, np.int32)
      for j, queue in inbox.items():
        if depth < len(queue):
          row[j] = queue[depth]
      wave += 1
      models, ages = receive(
        models, ages, *before, row, cohort.data, state['key'], np.int32(wave)
      )
    sent = np.bincount(senders, minlength=n)
    received = np.bincount(targets[reached], minlength=n)
    new = {
      **state,
      'models': models,
      'ages': ages,
      'wave': wave,
      'round': round,
      'online': online,
      'next_churn': next_churn,
      'transfers': state['transfers'] + int(sent.sum()),
      'sent_bytes': state['sent_bytes'] + sent * size,
      'received_bytes': state['received_bytes'] + received * size,
    }
    return new, _report(new, round * period_s)

  return types.Algorithm(
    init, step, nodes.params, per_client=True, on_host=True
  )


class _Recipe(NamedTuple):
  """What the programs depend on; hashable."""

  task: types.Task
  optimizer: optax.GradientTransformation
  batch_size: int
  num_epochs: int | None
  num_steps: int | None
  clients: clients_lib.Clients


def _trainer(recipe):
  """Trains the active ones of all nodes."""
  train_one = local.local_training(
    recipe.task,
    recipe.optimizer,
    batch_size=recipe.batch_size,
    num_epochs=recipe.num_epochs,
    num_steps=recipe.num_steps,
  )
  clients = recipe.clients
  n = clients.num_clients
  run = clients.map(training.flat_training(recipe.task, train_one))

  def train(models, data, key, round, active):
    data = dict(data)
    mask = data.pop('mask')
    rounds = jnp.full((n,), round, jnp.int32)
    each = training.node_keys(key, rounds, jnp.arange(n))
    out = jnp.where(active[:, None], run(models, data, mask, each), models)
    return clients.replicate(out)

  return train


# No round has this number, so that mixers and nodes draw apart.
_MIXING = 2**30


@functools.lru_cache(maxsize=4)
def _gossip_programs(recipe, mixer):
  train = _trainer(recipe)

  @jax.jit
  def train_and_mix(models, data, key, round):
    everybody = jnp.ones((recipe.clients.num_clients,), bool)
    trained = train(models, data, key, round, everybody)
    mix_key = jax.random.fold_in(key, _MIXING)
    return mixer.apply(trained, round - 1, key=mix_key)

  @jax.jit
  def train_and_combine(models, data, key, round, online, matrix):
    return trees.combine(matrix, train(models, data, key, round, online))

  @jax.jit
  def matrix_of(key, round):
    return mixer.matrix(round - 1, key=jax.random.fold_in(key, _MIXING))

  return train_and_mix, train_and_combine, matrix_of


@functools.lru_cache(maxsize=4)
def _receive_program(recipe):
  train = _trainer(recipe)

  @jax.jit
  def receive(models, ages, sent, sent_ages, senders, data, key, wave):
    """One message for every node that has a sender (>= 0)."""
    active = senders >= 0
    source = jnp.maximum(senders, 0)
    theirs = sent_ages[source].astype(jnp.float32)
    total = ages.astype(jnp.float32) + theirs
    share = jnp.where(total > 0, theirs / jnp.maximum(total, 1.0), 0.5)
    share = jnp.where(active, share, 0.0)[:, None]
    merged = (1.0 - share) * models + share * sent[source]
    age = jnp.where(active, jnp.maximum(ages, sent_ages[source]) + 1, ages)
    return train(merged.astype(models.dtype), data, key, wave, active), age

  return receive


class _Nodes:
  """What both baselines share: models of all nodes, and who is there."""

  def __init__(
    self,
    task,
    clients,
    world,
    *,
    optimizer,
    batch_size,
    num_epochs,
    num_steps,
    members,
    churn,
  ):
    checks.task(task)
    checks.optimizer(optimizer)
    self.world = world_lib.check_world(world)
    self.num_nodes = n = self.world.num_nodes
    clients = training.as_nodes(clients, n)
    self.members = np.ones(n, bool) if members is None else np.array(members)
    if self.members.shape != (n,):
      raise ValueError(
        f'members must be bool[{n}]; got shape {self.members.shape}.'
      )
    self.churn = world_lib.check_churn(churn, n)
    self.start, unravel = training.flat_model(task)
    self.unravel = jax.jit(jax.vmap(unravel))
    self.recipe = _Recipe(
      task, optimizer, batch_size, num_epochs, num_steps, clients
    )

  def init(self, key) -> dict[str, Any]:
    """All nodes start from the same model."""
    n = self.num_nodes
    init_key, train_key = jax.random.split(key)
    start = self.start(init_key)
    return {
      'models': jnp.broadcast_to(start, (n, start.size)),
      'key': train_key,
      'round': 0,
      'ready': np.zeros(n),
      'online': self.members.copy(),
      'next_churn': 0,
      'transfers': 0,
      'sent_bytes': np.zeros(n, np.int64),
      'received_bytes': np.zeros(n, np.int64),
    }

  def params(self, state):
    """Models of all nodes, leaves [N, ...]."""
    return self.unravel(state['models'])

  def changed(self, state, round):
    """Returns who is online in a round, and the next change."""
    online, place = state['online'].copy(), state['next_churn']
    while place < len(self.churn) and self.churn[place].round <= round:
      change = self.churn[place]
      online[list(change.nodes)] = change.kind == 'join'
      place += 1
    return online, place


def _durations(world, ready, online, wanted, size, patience_s):
  """Returns when nodes may begin the next round, and models per node.

  `wanted[i, j]`: i waits for j.
  """
  done = ready + world.compute_s
  arrival = np.where(online, done, ready)
  sent = np.zeros(len(ready), np.int64)
  received = np.zeros(len(ready), np.int64)
  free = done.copy()
  for j in np.flatnonzero(online):
    for i in np.flatnonzero(wanted[:, j]):
      rate = min(world.bytes_per_s[j], world.bytes_per_s[i])
      free[j] += size / rate
      sent[j] += 1
      if online[i]:
        received[i] += 1
        arrival[i] = max(arrival[i], free[j] + world.latency_s[j, i])
  waits = online & (wanted & ~online[None, :]).any(axis=1)
  arrival[waits] = np.maximum(arrival, done + patience_s)[waits]
  return arrival, sent, received


def _report(state, time_s):
  return {
    'time_s': float(time_s),
    'transfers': int(state['transfers']),
    'megabytes': float(state['sent_bytes'].sum() / 1e6),
    'view_megabytes': 0.0,
    'pings': 0,
    'num_averaged': 0,
    'num_online': int(state['online'].sum()),
    'stalled': 0,
  }
