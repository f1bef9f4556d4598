# SPDX-License-Identifier: Apache-2.0
"""The compiled halves of a round in clusters, of any number of clusters.

The first half trains every client from the model of its cluster and measures
how far apart the updates are; then the host decides who belongs together
(`_policies`); the second half sums up each cluster for itself. Models of
clusters lie in N rows, which no partition of N clients exceeds, so that a split
changes numbers and no shapes: nothing is compiled twice.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import aggregators, local, networks, privacy
from jaxdl.core import checks, clients as clients_lib, trees, types
from jaxdl.federated import server
from jaxdl.federated.clusters import _membership, _temperature
from jaxdl.federated.server import _store


class Programs(NamedTuple):
  """The compiled parts of a round.

  Attributes:
    exchange: of the method.
    bits: (up, down), what a client sends and gets in a round.
    init: `init(key) -> FederatedState` of N rows.
    work: `work(models, rows, cohort, key) -> (models, messages, facts, seen)`.
    settle: `settle(models, messages, facts, cohort, rows, parents, counts, key)
      -> models`.
    model: `model(models, rows) -> params` of every client.
    direct: `direct(messages, cohort, labels) -> directions`.
    nearest: `nearest(messages, directions) -> i32[M]`.
    mix: `mix(models, matrix) -> models`.
  """

  exchange: server.Exchange
  bits: tuple[int, int]
  init: Callable[..., Any]
  work: Callable[..., Any]
  settle: Callable[..., Any]
  model: Callable[..., Any]
  direct: Callable[..., Any]
  nearest: Callable[..., Any]
  mix: Callable[..., Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
  """What algorithms that cluster clients share; they then share programs too.

  Attributes:
    task: parameters and loss.
    clients: the N clients there are, or N.
    work: what a client does in a round.
    method: how clients and server work, text of `server.METHODS` or a `Method`;
      one that has a single model, needs no exchange before the work and does
      not weigh clients against each other. Messages count by the weights of the
      cohort, or equally, as the method says, within their cluster.
    channel: how messages travel. The clusters are made of what arrives, so sums
      alone (`secure`, central privacy) do not do. A rule is asked for each
      cluster by itself.
    cohort_size: M, rows of a cohort; N if None.

  Raises:
    ValueError: if parts do not fit, or there are fewer than two clients.

  Example:
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> Setting(task, 1, local.LocalWork())
    Traceback (most recent call last):
    ValueError: num_clients must be at least 2; got 1.
  """

  task: types.Task
  clients: clients_lib.Clients | int
  work: local.LocalWork
  method: Any = 'fedavg'
  channel: Any = None
  cohort_size: int | None = None

  def __post_init__(self):
    checks.task(self.task)
    clients = clients_lib.as_clients(self.clients)
    n = checks.integer(clients.num_clients, name='num_clients', low=2)
    m = n if self.cohort_size is None else self.cohort_size
    checks.integer(m, name='cohort_size', low=1)
    channel = server.as_channel(self.channel)
    method = self.method
    if isinstance(method, str):
      method = server.make_method(method, self.task, self.work)
    _check_method(method)
    _check_channel(channel, m)
    for name, value in (
      ('clients', clients),
      ('cohort_size', m),
      ('channel', channel),
      ('method', method),
      ('_made', {}),
    ):
      object.__setattr__(self, name, value)

  @property
  def num_clients(self) -> int:
    """N."""
    return self.clients.num_clients  # pyrefly: ignore

  def programs(self, all_state: bool = False) -> Programs:
    """The compiled parts of a round, the same for all that ask.

    Args:
      all_state: whether running statistics count in the distances, as in the
        paper's code.

    Returns:
      The programs.
    """
    made = self._made  # pyrefly: ignore
    if all_state not in made:
      made[all_state] = _build(self, all_state)
    return made[all_state]


def _check_method(method):
  if not isinstance(method, server.Method):
    raise TypeError(
      'method must be text or a federated.server.Method; got '
      f'{checks.described(method)}.'
    )
  why = None
  if method.num_groups is not None:
    why = f'has {method.num_groups} models already'
  elif method.prepare is not None:
    why = 'asks all clients before they work'
  elif method.weigh not in (None, server.equally):
    why = 'weighs all clients against each other'
  if why:
    raise ValueError(
      f'method={method.name} {why}, which does not go with clusters: choose '
      'another, such as fedavg.'
    )


def _check_channel(channel, m):
  if channel.num_malicious is not None:
    raise ValueError(
      f'num_malicious={channel.num_malicious} puts messages in another order, '
      'but clusters are made of them by their rows: say num_byzantine.'
    )
  central = False
  if channel.privacy is not None:
    mechanism = privacy.make_mechanism(channel.privacy, num_expected=m)
    central = mechanism.release is not None
  for name, there in (
    ('secure', channel.secure is not None),
    ('privacy', central),
  ):
    if there:
      raise ValueError(
        f'{name}={getattr(channel, name)!r} shows the server sums alone, but '
        'clusters are made of what each client sends: leave it out.'
      )


def _listening(channel, rule, m):
  """A channel whose rule keeps all messages as they arrive."""

  def init(message):
    kept = jax.tree.map(
      lambda x: jnp.zeros((m, *jnp.shape(x)), jnp.result_type(x)), message
    )
    return {'rule': rule.init(message), 'kept': kept}

  def apply(updates, state, *, key=None, **given):
    # The update is what an attack is aimed at; nobody else reads it.
    update, memory = rule.apply(updates, state['rule'], key=key, **given)
    return update, {'rule': memory, 'kept': updates}

  keeper = types.Aggregator(init, apply)
  return dataclasses.replace(channel, aggregator=keeper, explain=False)


def _build(setting, all_state) -> Programs:
  clients, base, channel = setting.clients, setting.method, setting.channel
  n, m = setting.num_clients, setting.cohort_size
  rule = aggregators.as_aggregator(
    channel.aggregator, num_clients=m, num_byzantine=channel.num_byzantine or 0
  )
  listening = _listening(channel, rule, m)
  wire = listening.wire(m)
  # What messages count is settled in the second half.
  exchange = server.make_exchange(
    base._replace(weigh=server.equally), clients, listening, cohort_size=m
  )

  def message(params):
    form = jax.eval_shape(base.message, params)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), form)

  def init(key):
    state = exchange.init(key)
    rows = lambda tree: jax.tree.map(
      lambda x: jnp.broadcast_to(x, (n, *jnp.shape(x))), tree
    )
    memory = rows(rule.init(message(state.params)))
    return server.FederatedState(
      rows(state.params),
      rows(state.memory),
      state.own,
      state.wire._replace(aggregator=memory),
    )

  def row_of(cohort, rows):
    return jnp.take(rows, jnp.where(cohort.mask, cohort.client_ids, 0))

  def work(models, rows, cohort, key):
    at = row_of(cohort, rows)
    params, memory = trees.take_rows((models.params, models.memory), at)
    shared = jax.vmap(base.share)(params, memory)
    own = _store.gather(models.own, cohort.client_ids, cohort.mask)
    one = jax.tree.map(lambda x: x[0], models.params)
    empty = wire.init(message(one)).aggregator
    _, own, after, round, metrics = exchange.work(
      shared,
      own,
      cohort,
      (),
      models.wire._replace(aggregator=empty),
      key,
      shared_axis=0,
    )
    messages = clients.gather(after.aggregator['kept'])
    place = _store.places(cohort.client_ids, cohort.mask, n)
    models = models._replace(
      own=_store.scatter(models.own, place, own),
      wire=after._replace(aggregator=models.wire.aggregator),
    )
    looked = messages if all_state else networks.split_statistics(messages)[0]
    gamma = _temperature.cosine_distance_matrix(looked, mask=cohort.mask)
    finite = [
      jnp.all(jnp.isfinite(x.reshape(m, -1)), axis=1)
      for x in jax.tree.leaves(messages)
    ]
    seen = {
      'gamma': gamma,
      'norms': trees.norms(looked),
      'temperature': _temperature.clustering_temperature(
        gamma, mask=cohort.mask
      ),
      'finite': functools.reduce(jnp.logical_and, finite) | ~cohort.mask,
      'loss': metrics['loss'],
    }
    return models, messages, round.facts, seen

  def settle(models, messages, facts, cohort, rows, parents, counts, key):
    old = trees.take_rows(
      (models.params, models.memory, models.wire.aggregator), parents
    )
    params, memory, rules = old
    at = row_of(cohort, rows)
    there = cohort.mask & counts
    members = (at[None] == jnp.arange(n)[:, None]) & there[None]
    weights = cohort.weights
    if base.weigh is not None:
      weights = base.weigh((), cohort)
    share = _membership.membership_matrix(
      jnp.where(there, at, -1), n, weights=jnp.where(there, weights, 0.0)
    )
    if channel.is_plain:
      update = trees.combine(
        share, trees.where_rows(cohort.mask, messages, 0.0)
      )
    else:

      def asked(turn):
        memory, mask, number = turn
        return rule.apply(
          messages, memory, key=jax.random.fold_in(key, number), mask=mask
        )

      update, rules = jax.lax.map(asked, (rules, members, jnp.arange(n)))

    def absorb(params, memory, update, weights, mask, size):
      own = {name: jnp.where(mask, x, 0) for name, x in facts.items()}
      shared = base.share(params, memory)
      round = server.Round(
        weights,
        mask,
        cohort.client_ids,
        own,
        size,
        jnp.sum(mask) / size,
        shared,
      )
      return base.absorb(params, memory, update, round)

    # To a method, the clients of a cluster are all there are.
    sizes = jnp.zeros(n, jnp.int32).at[rows].add(1)
    params, memory = jax.vmap(absorb)(
      params, memory, update, share, members, jnp.maximum(sizes, 1)
    )
    # A cluster of which nobody came stays as it is.
    some = jnp.any(members, axis=1)
    params, memory, rules = jax.tree.map(
      lambda x, y: jnp.where(trees.expand(some, x), x, y),
      (params, memory, rules),
      old,
    )
    return models._replace(
      params=params,
      memory=memory,
      wire=models.wire._replace(aggregator=rules),
    )

  def model(models, rows):
    params, memory = trees.take_rows((models.params, models.memory), rows)
    if base.model is None:
      return params
    return jax.vmap(base.model)(params, memory, models.own['method'])

  def direct(messages, cohort, labels):
    at = jnp.where(cohort.mask, row_of(cohort, labels), -1)
    return _membership.cluster_directions(messages, at, n)

  def mix(models, matrix):
    return models._replace(params=trees.combine(matrix, models.params))

  start = jax.eval_shape(exchange.init, jax.random.key(0))
  return Programs(
    exchange,
    exchange.bits(start.params),
    *map(jax.jit, (init, work, settle, model, direct, _membership.assign, mix)),
  )
