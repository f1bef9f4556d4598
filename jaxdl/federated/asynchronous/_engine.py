# SPDX-License-Identifier: Apache-2.0
"""Runs a federated method on a schedule, one aggregation after the other."""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import privacy
from jaxdl.core import checks, clients as clients_lib, trees, types
from jaxdl.federated import server
from jaxdl.federated.asynchronous import _schedule
from jaxdl.federated.server import _store


class AsynchronousState(NamedTuple):
  """Everything that training needs to go on.

  Attributes:
    server: `FederatedState`: the current model, what server, clients and
      channel remember.
    sent: what each client was last sent, leaves [N, ...].
    turn: i32[], aggregations done.
  """

  server: server.FederatedState
  sent: chex.ArrayTree
  turn: chex.Array


class _Table(NamedTuple):
  """A schedule on the device; leaves [T, ...]."""

  times: chex.Array
  client_ids: chex.Array
  mask: chex.Array
  weights: chex.Array
  lag: chex.Array
  sends: chex.Array
  repeats: chex.Array


def asynchronous(
  method: server.Method,
  clients: clients_lib.Clients | int,
  schedule: _schedule.Schedule,
  channel: Any = None,
) -> types.Algorithm:
  """Makes an algorithm of a method and a schedule: a step is an aggregation.

  Every client keeps what it was last sent, s_i. In aggregation n the clients
  S_n that have arrived train from theirs, and the server moves its current
  model by the sum of what they changed,

      x ← x + Σ_{i in S_n} d_i Δ_i(s_i),    s_i ← x for i in S_n,

  or as the method absorbs it: a server's optimizer takes the sum for its
  direction. Only those who have arrived are trained, in P rows, P being the
  most that ever arrive at once: one where messages come one by one. The local
  optimizer begins afresh in every job. An aggregation without messages leaves
  all as it is, and so do steps after the last.

  The d_i of the schedule stand for weights of the method and of the cohort. A
  rule in place of the mean sees all that has arrived and listens to no weights:
  what it makes of them is multiplied by the sum of their d_i. Where a schedule
  `mixes`, the update is Σ d_i (s_i + Δ_i - x).

  Args:
    method: what clients and server do, of `server.METHODS` or your own. Its
      message should be a change that the server adds up; FedAvg, FedProx,
      FedNova, server optimizers, SCAFFOLD and personal models fit. Not those
      with an exchange before the work (Mime), with weights that the server
      learns (agnostic) or with groups (IFCA).
    clients: the N clients there are, or N (static). With a mesh the P rows are
      split over its devices.
    schedule: T aggregations of these N clients.
    channel: how messages travel, or a rule for `Channel(aggregator=rule)`. Its
      `num_byzantine` counts among all N: the F highest numbers are adversaries,
      whenever they arrive. Rules and attacks are told how many rows there are
      and how many adversaries arrive at once at most; among those who are
      there an adversary who is fast may have a majority.

  Returns:
    An `Algorithm`; `step` wants a cohort of all N clients in order, whose
    `data` a client trains on whenever its turn comes (weights are not read).
    Metrics: those of `federate`, and `time`, `turn`, `staleness` (mean of those
    who arrived).

  Raises:
    ValueError: if the method does not fit, the numbers of clients differ or the
      channel's parts do not fit the rows.
    TypeError: if a part is of another kind.

  Cost: P client works per step; N times the memory of what a server shares.

  Example:
    >>> from jaxdl import local, networks
    >>> from jaxdl.federated import server
    >>> from jaxdl.federated.asynchronous import make_schedule
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> work = local.LocalWork('sgd(0.1)', num_steps=2)
    >>> schedule = make_schedule('fedfix(0.5)', [1.0, 0.5, 0.4], horizon=3.0)
    >>> algorithm = asynchronous(server.fedavg(task, work), 3, schedule)
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(3),
    ...   data={
    ...     'inputs': jnp.ones((3, 4, 2)), 'labels': jnp.ones((3, 4, 1))
    ...   },
    ...   mask=jnp.ones(3, bool),
    ...   weights=jnp.full(3, 1 / 3),
    ... )
    >>> state, metrics = jax.jit(algorithm.step)(
    ...   state, cohort, key=jax.random.key(1)
    ... )
    >>> int(state.turn), float(metrics['time']), int(metrics['num_clients'])
    (1, 0.5, 2)

  Source: Fraboni et al. 2023 (https://arxiv.org/abs/2206.10189), equation 3.
  """
  clients = clients_lib.as_clients(clients)
  n = clients.num_clients
  if not isinstance(schedule, _schedule.Schedule):
    raise TypeError(
      'schedule must be a Schedule, as make_schedule makes; got '
      f'{checks.described(schedule)}.'
    )
  if schedule.num_clients != n:
    raise ValueError(
      f'schedule has {schedule.num_clients} clients but num_clients={n}.'
    )
  method = _check_method(method)
  channel = server.as_channel(channel)
  if channel.num_malicious is not None:
    raise ValueError(
      f'num_malicious={channel.num_malicious} is for rounds of cohorts: here '
      'the last num_byzantine of all clients are adversaries.'
    )
  schedule, num_byzantine = _arranged(schedule, channel, n)
  if channel.num_byzantine is not None:
    channel = dataclasses.replace(channel, num_byzantine=num_byzantine)
  width = schedule.participants.shape[1]
  exchange = server.make_exchange(method, clients, channel, cohort_size=width)
  if channel.privacy is not None:
    _check_privacy(channel, width)
  table = _table(schedule)
  repeated = schedule.repeats.max() > 0
  early = not schedule.waits

  def init(key):
    start = exchange.init(key)
    if repeated and jax.tree.leaves(start.own):
      raise ValueError(
        f'{schedule.name} brings two jobs of a client to one aggregation, but '
        f'clients of {method.name} or of the channel remember the job before: '
        'choose restart=flush or what needs no memory at the clients.'
      )
    shared = method.share(start.params, start.memory)
    if schedule.mixes:
      checks.same_shapes(
        (shared, method.message(start.params)),
        (start.params, start.params),
        name=method.name,
        what=f'models to share and to send, which {schedule.name} mixes',
      )
    return AsynchronousState(
      start, _store.fill(shared, n), jnp.zeros((), jnp.int32)
    )

  def step(state, cohort, *, key):
    clients.check(cohort, why='all clients in order, the schedule says who')
    own, turn = state.server, state.turn
    at = jnp.minimum(turn, len(schedule.times) - 1)
    slots = jax.tree.map(lambda x: jnp.asarray(x)[at], table)
    ids = slots.client_ids
    mask = slots.mask & (turn < len(schedule.times)) & cohort.mask[ids]
    arrived = types.Cohort(
      client_ids=ids + n * slots.repeats,
      data=jax.tree.map(lambda x: jnp.take(x, ids, axis=0), cohort.data),
      mask=mask,
      weights=slots.weights,
    )
    # What they train on, from where.
    starts = _store.gather(state.sent, ids, mask)
    before = method.share(own.params, own.memory) if early else None
    if early:
      # Who came back within one aggregation started from the current model.
      fresh = slots.lag == 0
      starts = jax.tree.map(
        lambda now, x: jnp.where(trees.expand(fresh, x), now[None], x),
        before,
        starts,
      )
    remembers = bool(jax.tree.leaves(own.own))
    rows = _store.gather(own.own, ids, mask) if remembers else own.own
    update, rows, wire, round, metrics = exchange.work(
      starts, rows, arrived, own.memory, own.wire, key, shared_axis=0
    )
    # What the server makes of it.
    weights = jnp.where(mask, slots.weights, 0.0)
    if not channel.is_plain:
      update = _scaled(jnp.sum(weights), update)
    if schedule.mixes:
      away = jax.tree.map(lambda s, x: s - x[None], starts, own.params)
      away = trees.combine(weights, trees.where_rows(mask, away, 0.0))
      update = jax.tree.map(jnp.add, update, away)
    round = round._replace(client_ids=ids)
    params, memory = method.absorb(own.params, own.memory, update, round)
    some = jnp.any(mask)
    keep = lambda new, old: jax.tree.map(
      lambda a, b: jnp.where(some, a, b), new, old
    )
    params, memory = keep(params, own.params), keep(memory, own.memory)
    # Who goes on from where.
    sent = _sent(
      state.sent,
      method.share(params, memory),
      before,
      jnp.where(mask & (slots.sends != _schedule.NOTHING), ids, n),
      slots.sends,
    )
    held = own.own
    if remembers:
      held = _store.scatter(held, jnp.where(mask, ids, n), rows)
    count = jnp.maximum(jnp.sum(mask), 1)
    traffic = server.traffic(exchange, own.params, mask)
    megabytes = own.megabytes + jnp.stack(
      [traffic['megabytes_up'], traffic['megabytes_down']]
    )
    metrics |= traffic | {
      'time': slots.times,
      'turn': (turn + 1).astype(jnp.float32),
      'staleness': jnp.sum(jnp.where(mask, slots.lag, 0)) / count,
    }
    moved = server.FederatedState(
      params, memory, held, keep(wire, own.wire), megabytes
    )
    after = jnp.minimum(turn + 1, len(schedule.times))
    return AsynchronousState(moved, sent, after), metrics

  def params(state):
    own = state.server
    if method.model is None:
      return own.params
    return jax.vmap(method.model, in_axes=(None, None, 0))(
      own.params, own.memory, own.own['method']
    )

  return checks.algorithm(
    init,
    step,
    params,
    state=AsynchronousState,
    per_client=method.model is not None,
  )


def _check_method(method):
  if not isinstance(method, server.Method):
    raise TypeError(
      'method must be a server.Method, such as fedavg(task, work); got '
      f'{checks.described(method)}.'
    )
  reason = None
  if method.prepare is not None:
    reason = 'asks all clients before the work, who are not there at once'
  elif method.num_groups is not None:
    reason = 'averages within groups instead of adding changes up'
  elif method.weigh not in (None, server.equally):
    reason = 'learns its own weights, which the schedule sets'
  if reason is not None:
    raise ValueError(
      f'{method.name} {reason}: it cannot run on a schedule; choose fedavg, '
      'for instance.'
    )
  return method._replace(weigh=None)


def _check_privacy(channel, width):
  mechanism = privacy.make_mechanism(channel.privacy, num_expected=width)
  if mechanism.release is not None:
    raise ValueError(
      f'privacy={channel.privacy!r} rests on cohorts that are drawn at random '
      'and count equally; a schedule says who arrives: use a mechanism at the '
      "client, 'local(...)'."
    )


def _arranged(schedule, channel, num_clients):
  """Puts adversaries into the last slots; says how many there are of those."""
  f = checks.integer(
    channel.num_byzantine or 0,
    name='num_byzantine',
    low=0,
    high=num_clients - 1,
  )
  if not f:
    return schedule, 0
  theirs = schedule.mask & (schedule.participants >= num_clients - f)
  ours = schedule.mask & ~theirs
  columns = []
  for group, least in ((ours, 1), (theirs, 0)):
    width = max(int(group.sum(1).max()), least)
    columns.append(np.argsort(~group, axis=1, kind='stable')[:, :width])
  order = np.concatenate(columns, axis=1)
  take = lambda x: np.take_along_axis(x, order, axis=1)
  # A column may show up in either group; it is real in its own only.
  mask = np.concatenate(
    [
      np.take_along_axis(group, chosen, axis=1)
      for group, chosen in zip((ours, theirs), columns, strict=True)
    ],
    axis=1,
  )
  names = ('participants', 'version', 'weights', 'sends')
  made = {name: take(getattr(schedule, name)) for name in names}
  return (
    dataclasses.replace(schedule, mask=mask, **made),
    columns[1].shape[1],
  )


def _table(schedule):
  ids = np.where(schedule.mask, schedule.participants, 0)
  return _Table(
    times=schedule.times.astype(np.float32),
    client_ids=ids.astype(np.int32),
    mask=schedule.mask,
    weights=np.where(schedule.mask, schedule.weights, 0.0).astype(np.float32),
    lag=_schedule.staleness(schedule),
    sends=schedule.sends,
    repeats=schedule.repeats,
  )


def _scaled(factor, tree):
  return jax.tree.map(lambda x: x * factor.astype(x.dtype), tree)


def _sent(store, after, before, at, sends):
  """Writes to the clients at some places what they go on with."""
  if before is None:
    return jax.tree.map(
      lambda x, now: x.at[at].set(now[None], mode='drop'), store, after
    )
  late = sends == _schedule.AFTER

  def leaf(x, new, old):
    chosen = late.reshape(late.shape + (1,) * jnp.ndim(new))
    value = jnp.where(chosen, new[None], old[None])
    return x.at[at].set(value, mode='drop')

  return jax.tree.map(leaf, store, after, before)
