# SPDX-License-Identifier: Apache-2.0
"""Training in clusters: the rounds of every algorithm that makes some."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks, types
from jaxdl.federated import server
from jaxdl.federated.clusters import (
  _engine,
  _membership,
  _policies,
)


class ClusteredState(NamedTuple):
  """Everything that training in clusters needs to go on.

  Attributes:
    models: of the clusters; `params` and `memory` have a row for each, of
      leaves [N, ...] the first K are in use.
    directions: leaves [N, ...], mean updates of the clusters when they were
      made, for `assign`; () if they are not kept.
    labels: i32[N], the cluster of each client; -1 for who waits for one.
    rows: i32[N], the row of `models` that each client trains from.
    policy: dict of numbers.
    history: text, see `label_history`.
    round: t, rounds done.
  """

  models: server.FederatedState
  directions: chex.ArrayTree
  labels: np.ndarray
  rows: np.ndarray
  policy: dict[str, Any]
  history: str
  round: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """An algorithm but for its setting; `recipe(setting)` makes it.

  Attributes:
    policy: how clusters come about.
    gossip: None, or the topology over which the members of a cluster gossip
      once there are clusters, in place of the server: every client then has a
      model of its own, trains it, and mixes it with its neighbors'.
    allow_partial: whether decisions about all clients may be taken without
      some. Those wait: they keep the model from before the split until they
      take part again, and go where their update points then.
    keep_directions: whether the state keeps what `assign` needs for newcomers;
      with `allow_partial` it does.
    official_quirks: whether running statistics count in the distances.
    seed: of random topologies.
  """

  policy: _policies.Policy
  gossip: str | None = None
  allow_partial: bool = False
  keep_directions: bool = False
  official_quirks: bool = False
  seed: int = 0

  def __post_init__(self):
    if self.gossip is None:
      return
    _membership.check_gossip(self.gossip)
    if self.allow_partial:
      raise ValueError(
        f'gossip={self.gossip} needs everybody in every round: leave out '
        'allow_partial.'
      )

  def check(self, num_clients: int, *, everybody: bool = True) -> None:
    """Checks what depends on who takes part.

    Args:
      num_clients: N.
      everybody: whether all take part in every round.

    Raises:
      ValueError: if there are too few, or some may be absent when all are
        needed.
    """
    checks.integer(num_clients, name='num_clients', low=2)
    self.policy.check(num_clients)
    if everybody or self.allow_partial:
      return
    if self.gossip is not None or self.policy.needs_all is not None:
      raise ValueError(
        f'some of the {num_clients} clients may be absent, but '
        f'{_why(self.policy, self.gossip)}: {_remedy(self.gossip)}.'
      )

  def __call__(self, setting: _engine.Setting) -> types.Algorithm:
    """Makes the algorithm, see `clustered`."""
    return clustered(setting, self)


def clustered(setting: _engine.Setting, recipe: Recipe) -> types.Algorithm:
  """Makes an algorithm that trains in the clusters that a policy makes.

  In a round every client trains from the model of its cluster; the policy looks
  at the updates and may change clusters, new ones starting from the model that
  their members trained from; then each cluster sums up its own.

  Args:
    setting: task, clients, work, method, channel.
    recipe: policy and options.

  Returns:
    An `Algorithm` that runs on the host and is `per_client`; its programs are
    compiled once, whatever becomes of the clusters. Metrics: `loss`,
    `temperature`, `num_clusters`, `changed` (the last round t, from 0, that
    changed labels; -1 for none), and the traffic of the round.

  Raises:
    ValueError: if parts do not fit; from `step`, naming round and client, if an
      update is not finite, or somebody is absent whom the policy needs.

  Cost: a round of the method, and O(N² D) for distances and sums; memory of N
    models.
  """
  n = setting.num_clients
  recipe.check(n, everybody=setting.cohort_size == n)
  policy, gossip = recipe.policy, recipe.gossip
  if gossip is not None and setting.channel != server.Channel():
    raise ValueError(
      f'gossip={gossip} replaces the server, so the channel must be a plain '
      f'one; got {setting.channel}.'
    )
  programs = setting.programs(recipe.official_quirks)
  keeps = recipe.keep_directions or recipe.allow_partial

  def init(key):
    models = programs.init(key)
    directions = ()
    if keeps:
      form = jax.eval_shape(setting.method.message, models.params)
      directions = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), form)
    labels = policy.start(n)
    return ClusteredState(
      models,
      directions,
      labels,
      _rows(labels, n),
      policy.init(),
      entry(0, labels),
      0,
    )

  def step(state, cohort, *, key):
    checks.cohort(cohort, setting.cohort_size, label='cohort_size')
    t, mask = state.round, np.asarray(cohort.mask)
    ids = np.where(mask, np.asarray(cohort.client_ids), 0)
    _check_present(recipe, state, ids, mask, n)
    spare_key, work_key = jax.random.split(key)
    models, messages, facts, seen = programs.work(
      state.models, state.rows, cohort, work_key
    )
    seen = jax.device_get(seen)
    _check_updates(seen, ids, mask, t)
    labels, memory = policy.decide(
      _policies.Seen(
        seen['gamma'], seen['norms'], seen['temperature'], ids, mask, t
      ),
      state.labels,
      state.policy,
    )
    directions = state.directions
    if keeps and not np.array_equal(labels, state.labels):
      directions = programs.direct(messages, cohort, labels)
    late = mask & (state.labels[ids] == _policies.WAITING)
    if late.any():
      labels = labels.copy()
      found = np.asarray(programs.nearest(messages, directions))
      labels[ids[late]] = found[late]
    changed = not np.array_equal(labels, state.labels)
    history = state.history + (entry(t, labels) if changed else '')
    apart = gossip is not None and history.count('\n') > 1
    rows = np.arange(n, dtype=np.int32) if apart else _rows(labels, n)
    # Who waited has trained from another model than its cluster's.
    models = programs.settle(
      *(models, messages, facts, cohort, rows),
      *(_parents(rows, state.rows), ~late, spare_key),
    )
    count = int(mask.sum())
    up, down = (count * bits / 8e6 for bits in programs.bits)
    if apart:
      mixer = _mixer(labels.tobytes(), gossip, recipe.seed)
      matrix = mixer.matrix(t, key=spare_key)
      models = programs.mix(models, matrix)
      up = down = _num_links(matrix) * _model_bytes(models.params) / 1e6
    state = ClusteredState(
      models, directions, labels, rows, memory, history, t + 1
    )
    return state, {
      'loss': np.float32(seen['loss']),
      'temperature': np.float32(seen['temperature']),
      'num_clients': np.float32(count),
      'megabytes_up': np.float32(up),
      'megabytes_down': np.float32(down),
      **facts_of(state),
    }

  made = checks.algorithm(
    init,
    step,
    lambda state: programs.model(state.models, state.rows),
    state=ClusteredState,
    per_client=True,
  )
  return made._replace(on_host=True)


def of_choices(
  setting: _engine.Setting,
  algorithm: types.Algorithm,
  choices: Callable[[server.FederatedState], chex.Array],
) -> types.Algorithm:
  """Runs an algorithm whose clients choose their clusters, with their history.

  Args:
    setting: says how many clients there are.
    algorithm: of `server.federate`, with K models and a model per client.
    choices: `choices(state) -> i32[N]`.

  Returns:
    An `Algorithm` on the host with a `ClusteredState`.
  """
  n = setting.num_clients
  advance, read = jax.jit(algorithm.step), jax.jit(algorithm.params)
  start = jax.jit(algorithm.init)

  def init(key):
    labels = _policies.together(n)
    return ClusteredState(
      start(key), (), labels, labels.copy(), {}, entry(0, labels), 0
    )

  def step(state, cohort, *, key):
    models, metrics = advance(state.models, cohort, key=key)
    labels = np.asarray(choices(models), np.int32)
    changed = not np.array_equal(labels, state.labels)
    history = state.history + (entry(state.round, labels) if changed else '')
    state = ClusteredState(
      models, (), labels, labels.copy(), {}, history, state.round + 1
    )
    names = ('loss', 'num_clients', 'megabytes_up', 'megabytes_down')
    return state, {
      **{name: np.float32(metrics[name]) for name in names},
      **facts_of(state),
    }

  made = checks.algorithm(
    init,
    step,
    lambda state: read(state.models),
    state=ClusteredState,
    per_client=True,
  )
  return made._replace(on_host=True)


def entry(round: int, labels: np.ndarray) -> str:
  """A line of `ClusteredState.history`."""
  return f'{round}: {" ".join(map(str, labels.tolist()))}\n'


def label_history(state: ClusteredState) -> list[tuple[int, np.ndarray]]:
  """The clusters of a run, whenever they changed.

  Args:
    state: after any number of rounds.

  Returns:
    Pairs of a round t, from 0, and i32[N], the labels that its updates were
    summed up by, as were those of the rounds up to the next pair's. The first
    pair holds the labels before round 0, as long as that does not change them.
  """
  found = []
  for line in state.history.splitlines():
    round, labels = line.split(':')
    found.append((int(round), np.array(labels.split(), np.int32)))
  return found


def facts_of(state: ClusteredState) -> dict[str, Any]:
  """How many clusters there are, and since which round."""
  lines = state.history.splitlines()
  labels = state.labels[state.labels >= 0]
  return {
    'num_clusters': np.float32(len(np.unique(labels))),
    'changed': np.float32(lines[-1].split(':')[0] if len(lines) > 1 else -1),
  }


def _rows(labels, n):
  """Clusters have the first rows; who waits shares the last, which is free."""
  waits = labels == _policies.WAITING
  return np.where(waits, n - 1, labels).astype(np.int32)


def _parents(rows, old):
  """The row that each row starts from: that of its first client."""
  parents = np.arange(len(rows), dtype=np.int32)
  used, first = np.unique(rows, return_index=True)
  parents[used] = old[first]
  return parents


@functools.lru_cache(maxsize=16)
def _mixer(labels, gossip, seed):
  return _membership.cluster_mixer(
    np.frombuffer(labels, np.int32), gossip, seed=seed
  )


def _num_links(matrix):
  matrix = np.asarray(matrix)
  return np.count_nonzero(matrix) - np.count_nonzero(np.diagonal(matrix))


def _model_bytes(params):
  shapes = [(x.shape[1:], x.dtype) for x in jax.tree.leaves(params)]
  return sum(math.prod(s) * np.dtype(d).itemsize for s, d in shapes)


def _why(policy, gossip):
  if gossip is not None:
    return f'gossip={gossip} needs everybody in every round'
  if policy.name == 'ocfl':
    return "the temperature needs every client's update"
  return f'{policy.name} clusters everybody at once'


def _remedy(gossip):
  if gossip is not None:
    return 'take everybody'
  return 'say allow_partial=True to do without, or take everybody'


def _check_present(recipe, state, ids, mask, n):
  """Raises if somebody is absent whom the policy needs."""
  policy, gossip = recipe.policy, recipe.gossip
  if recipe.allow_partial:
    return
  needed = gossip is not None
  if policy.needs_all is not None:
    needed |= policy.needs_all(state.policy, state.round)
  absent = np.setdiff1d(np.arange(n), ids[mask])
  if needed and absent.size:
    raise ValueError(
      f'client {absent[0]} is absent in round {state.round}, but '
      f'{_why(policy, gossip)}: {_remedy(gossip)}.'
    )


def _check_updates(seen, ids, mask, t):
  """Raises for updates that are not finite; warns of those that are zero."""
  broken = np.flatnonzero(~seen['finite'])
  if broken.size:
    raise ValueError(
      f'client {ids[broken[0]]} returned a non-finite update in round {t}: '
      'nobody can say whom it belongs to. Lower the learning rate, or clip.'
    )
  still = np.flatnonzero(mask & (seen['norms'] == 0))
  if still.size:
    logging.log_first_n(
      logging.WARNING,
      'client %d returned an update of length zero in round %d: it counts as '
      'orthogonal to all others.',
      1,
      ids[still[0]],
      t,
    )
