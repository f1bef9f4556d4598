# SPDX-License-Identifier: Apache-2.0
"""Runs a method over a channel: the rounds of every federated algorithm."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, clients as clients_lib, keys, trees, types
from jaxdl.federated.server import _channel, _method, _store


class FederatedState(NamedTuple):
  """Everything that training needs to go on.

  Attributes:
    params: the server's model; leaves [K, ...] of methods with K groups.
    memory: what else the server remembers.
    own: the clients' states, leaves [N, ...].
    wire: what the channel remembers.
    megabytes: f32[2], sent up and down in all rounds so far.
  """

  params: chex.ArrayTree
  memory: chex.ArrayTree
  own: chex.ArrayTree
  wire: _channel.WireState
  megabytes: chex.ArrayTree = ()


class Exchange(NamedTuple):
  """One exchange between a server and a cohort, as functions.

  `federate` calls it once per round; schedules and clusters call it their way.

  Attributes:
    init: `init(key) -> FederatedState`.
    new: `new(params) -> own`, state of a client that never took part.
    share: `share(params, memory, cohort, key) -> shared`, all that clients get.
    work: `work(shared, rows, cohort, memory, wire, key, shared_axis=None) ->
      (update, rows, wire, round, metrics)`; `rows` are the states of the M
      clients; with `shared_axis=0` each has got something of its own.
    bits: `bits(params) -> (up, down)`, of one client.
    num_clients: N.
    cohort_size: M.
    method: whose exchange it is.
  """

  init: Callable[..., FederatedState]
  new: Callable[..., chex.ArrayTree]
  share: Callable[..., chex.ArrayTree]
  work: Callable[..., Any]
  bits: Callable[[chex.ArrayTree], tuple[int, int]]
  num_clients: int
  cohort_size: int
  method: _method.Method


def sends(method: _method.Method) -> bool:
  """Whether clients send something, so that a channel matters.

  Args:
    method: what clients and server do.

  Returns:
    Whether messages have leaves.
  """
  form = jax.eval_shape(method.start, jax.eval_shape(lambda: jax.random.key(0)))
  return bool(jax.tree.leaves(jax.eval_shape(method.message, form)))


def make_exchange(
  method: _method.Method,
  clients: clients_lib.Clients | int,
  channel: _channel.Channel | Any = None,
  *,
  cohort_size: int | None = None,
  padded: bool = True,
) -> Exchange:
  """Builds the exchange of a method over a channel.

  Args:
    method: what clients and server do.
    clients: the N clients there are, or N (static).
    channel: how messages travel, or a rule for `Channel(aggregator=rule)`.
    cohort_size: M, rows of a cohort (static); N if None.
    padded: whether rows may be absent (static).

  Returns:
    The exchange.

  Raises:
    ValueError: if the channel's parts do not fit M or each other.
  """
  if not isinstance(method, _method.Method):
    raise TypeError(
      'method must be a federated.Method, such as fedavg(task, work); got '
      f'{checks.described(method)}.'
    )
  clients = clients_lib.as_clients(clients)
  n = clients.num_clients
  m = n if cohort_size is None else cohort_size
  m = checks.integer(m, name='cohort_size', low=1)
  channel = _channel.as_channel(channel)
  if not sends(method):
    channel = _channel.Channel()
  if channel.privacy is not None and method.told:
    raise ValueError(
      f'privacy={channel.privacy!r} covers messages alone, but {method.name} '
      f'also reads {", ".join(method.told)} of every client: choose another '
      'algorithm.'
    )
  wire = channel.wire(m, num_groups=method.num_groups)
  f = wire.num_byzantine

  if method.prepare is not None:
    for name, there in (
      ('privacy', channel.privacy is not None),
      ('secure', channel.secure is not None),
      ('aggregator', not channel.is_plain),
      ('attack', channel.attack is not None),
    ):
      if there:
        raise ValueError(
          f'{name} ({checks.described(getattr(channel, name))}) is of the way '
          f'of messages, but {method.name} also takes a plain mean before the '
          'work: choose another algorithm.'
        )

  def one_params(params):
    if method.num_groups is None:
      return params
    return jax.tree.map(lambda x: x[0], params)

  def message(params):
    """A message of zeros."""
    form = jax.eval_shape(method.message, one_params(params))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), form)

  def new(params):
    return {'method': method.own(params), 'wire': wire.own(message(params))}

  def init(key):
    params = method.start(key)
    return FederatedState(
      params=params,
      memory=method.init(params, n),
      own=_store.fill(new(params), n),
      wire=wire.init(message(params)),
      megabytes=jnp.zeros(2, jnp.float32),
    )

  def share(params, memory, cohort, key):
    shared = method.share(params, memory)
    if method.prepare is None:
      return shared
    counts = _counts(cohort, memory)
    client_keys = keys.client_keys(key, cohort.client_ids)
    fold = clients.fold(method.prepare, in_axes=(None, 0, 0))
    total = fold(counts, shared, cohort.data, client_keys)
    weight = jnp.sum(counts)
    mean = jax.tree.map(
      lambda x: x / jnp.where(weight > 0, weight, 1.0).astype(x.dtype), total
    )
    return method.share(params, memory, mean)

  def _counts(cohort, memory):
    weigh = method.weigh
    weights = cohort.weights if weigh is None else weigh(memory, cohort)
    mask = cohort.mask
    if wire.num_expected is not None:  # A client is bounded once.
      mask = _store.distinct(cohort.client_ids, mask)
    return wire.counts(weights, mask)

  def work(shared, rows, cohort, memory, state, key, shared_axis=None):
    train_key, wire_key = jax.random.split(key)
    client_keys = keys.client_keys(train_key, cohort.client_ids)
    data, malicious = cohort.data, None
    if wire.num_malicious is not None:
      malicious = cohort.mask & (cohort.client_ids < wire.num_malicious)
    if wire.poison is not None:
      data = _poisoned(wire.poison, data, m - f, malicious)
    counts = _counts(cohort, memory)

    def one(shared, own, data, key, state):
      work_key, send_key = jax.random.split(key)
      sent = method.train(shared, own['method'], data, work_key)
      message, remembered, aux = wire.send(
        sent.message, own['wire'], state, send_key
      )
      own = {'method': sent.own, 'wire': remembered}
      return message, (own, sent.facts, aux)

    axes = (shared_axis, 0, 0, 0, None)
    args = (shared, rows, data, client_keys, state)
    if wire.streams:
      fold = clients.fold(one, in_axes=axes, has_aux=True)
      update, (rows, facts, aux) = fold(counts, *args)
      found = {}
      update, state = wire.settle(
        update, jnp.sum(aux * (counts > 0)), state, wire_key
      )
    else:
      out = clients.map(one, in_axes=axes, spread=True)(*args)
      stacked, (rows, facts, aux) = clients.gather(out)
      update, state, found = wire.meet(
        stacked,
        aux,
        counts,
        cohort.mask if padded else None,
        state,
        wire_key,
        facts.get('group'),
        **({} if malicious is None else {'malicious': malicious}),
      )
    facts = {
      name: jnp.where(cohort.mask & jnp.isfinite(x), x, jnp.zeros_like(x))
      for name, x in facts.items()
    }
    present = _store.distinct(cohort.client_ids, cohort.mask)
    there = jnp.sum(present, dtype=jnp.float32)
    if wire.num_expected is not None:
      there = jnp.float32(wire.num_expected)
    round = _method.Round(
      counts,
      cohort.mask,
      cohort.client_ids,
      facts,
      n,
      there / n,
      shared if shared_axis is None else None,
    )
    if malicious is not None:
      honest = cohort.mask & ~malicious
    else:
      honest = cohort.mask.at[m - f :].set(False) if f else cohort.mask
    if 'num_steps' in facts:
      honest &= facts['num_steps'] > 0
    count = jnp.maximum(jnp.sum(honest), 1)
    metrics = {
      'loss': jnp.sum(jnp.where(honest, facts['loss'], 0.0)) / count,
      'update_norm': (
        trees.global_norm(update) if jax.tree.leaves(update) else jnp.zeros(())
      ),
      **found,
    }
    return update, rows, state, round, metrics

  def bits(params):
    form = jax.eval_shape(message, params)
    down = jax.eval_shape(lambda p: method.share(p, method.init(p, n)), params)
    up = wire.bits(form)
    if method.prepare is not None:  # A gradient, before the work.
      up += sum(map(_bits, jax.tree.leaves(one_params(params))))
    return up, sum(map(_bits, jax.tree.leaves(down)))

  return Exchange(init, new, share, work, bits, n, m, method)


def _bits(leaf):
  dtype = leaf.dtype
  if jnp.issubdtype(dtype, jax.dtypes.prng_key):
    return 64
  return 8 * jnp.dtype(dtype).itemsize * math.prod(leaf.shape)


def federate(
  method: _method.Method,
  clients: clients_lib.Clients | int,
  channel: _channel.Channel | Any = None,
  *,
  cohort_size: int | None = None,
  everybody: bool = False,
  shares: bool = False,
  shard_size: int | None = None,
) -> types.Algorithm:
  """Makes an algorithm of a method: rounds of a server with its clients.

  In a round the server shares its state with the M clients of the cohort, each
  works on its data and sends a message, the channel makes one update of them,
  the server absorbs it. What clients remember lies in one tree over all N; a
  round reads and writes the rows of its cohort by their numbers. Absent clients
  (mask False) neither move a result nor remember anything; a round without any
  leaves the model as it is wherever the method's update of zero does.

  Args:
    method: what clients and server do, of `METHODS` or your own.
    clients: the N clients there are, or N (static). With a mesh the cohort is
      split over its devices; with reduction 'gathered' runs are bitwise equal
      on any number of them.
    channel: how messages travel, or a rule for `Channel(aggregator=rule)`.
    cohort_size: M, rows of a cohort (static); N if None. With an attack the
      last F rows are the adversaries.
    everybody: whether all N clients take part in every round, row k being
      client k (static); spares the search for their states.
    shares: whether metrics tell `work_done`, f32[M]: which share of its work
      each client of the cohort did, all of it where the method does not say
      (static); for `asynchronous.timed`.
    shard_size: where the states of all clients do not fit the device: clients
      per shard in the host's memory, made when the first of them takes part.
      The algorithm then runs on the host (`Algorithm.on_host`), its rounds on
      the device; a state must not be used again after a step, which writes into
      the shards.

  Returns:
    An `Algorithm`; `step` wants a cohort of M clients whose `data` is each
    client's share, as `local.gather_cohort` or `local.batch_cohort` makes.
    Metrics: `loss` (mean over honest clients), `update_norm`, `num_clients`,
    `megabytes_up`, `megabytes_down` of the round; `error` under an attack. It
    is `per_client` if the method gives clients models of their own.

  Raises:
    ValueError: if the channel's parts do not fit M or each other; from `step`,
      if the cohort has another form.
    TypeError: if a part is of another kind.

  Cost: O(M) client works; memory of the weighted sum only, where the channel
    is plain, otherwise of M messages; the store's rows are moved in place if
    the state is donated.

  Example:
    >>> from jaxdl import local, networks
    >>> from jaxdl.federated import server
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> work = local.LocalWork('sgd(0.1)', num_steps=2)
    >>> algorithm = federate(server.scaffold(task, work), 5)
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(5),
    ...   data={
    ...     'inputs': jnp.ones((5, 4, 2)), 'labels': jnp.ones((5, 4, 1))
    ...   },
    ...   mask=jnp.ones(5, bool),
    ...   weights=jnp.full(5, 0.2),
    ... )
    >>> state, metrics = jax.jit(algorithm.step)(
    ...   state, cohort, key=jax.random.key(1)
    ... )
    >>> sorted(metrics)[:3]
    ['loss', 'megabytes_down', 'megabytes_up']
  """
  exchange = make_exchange(
    method, clients, channel, cohort_size=cohort_size, padded=not everybody
  )
  n, m = exchange.num_clients, exchange.cohort_size
  if everybody and n != m:
    raise ValueError(
      f'everybody=True needs cohort_size = num_clients = {n}; got {m}.'
    )
  label = 'num_clients' if cohort_size is None else 'cohort_size'

  def turn(state, rows, cohort, key):
    """One round, given the states of the cohort."""
    share_key, work_key = jax.random.split(key)
    shared = exchange.share(state.params, state.memory, cohort, share_key)
    update, rows, wire, round, metrics = exchange.work(
      shared, rows, cohort, state.memory, state.wire, work_key
    )
    params, memory = method.absorb(state.params, state.memory, update, round)
    moved = traffic(exchange, state.params, cohort.mask)
    if method.tell is not None:
      moved |= method.tell(params, memory)
    if shares:
      moved['work_done'] = round.facts.get('share', jnp.ones(m))
    megabytes = state.megabytes + jnp.stack(
      [moved['megabytes_up'], moved['megabytes_down']]
    )
    state = state._replace(
      params=params, memory=memory, wire=wire, megabytes=megabytes
    )
    return state, rows, metrics | moved

  if shard_size is not None:
    if everybody:
      raise ValueError(
        'everybody=True reads all states in every round: leave shard_size out.'
      )
    return _hosted(exchange, turn, shard_size, label)

  def step(state, cohort, *, key):
    checks.cohort(cohort, m, label=label)
    if everybody or not jax.tree.leaves(state.own):
      state, rows, metrics = turn(state, state.own, cohort, key)
      return state._replace(own=rows), metrics
    rows = _store.gather(state.own, cohort.client_ids, cohort.mask)
    state, rows, metrics = turn(state, rows, cohort, key)
    at = _store.places(cohort.client_ids, cohort.mask, n)
    return state._replace(own=_store.scatter(state.own, at, rows)), metrics

  def params(state):
    if method.model is None:
      return state.params
    return jax.vmap(method.model, in_axes=(None, None, 0))(
      state.params, state.memory, state.own['method']
    )

  return checks.algorithm(
    exchange.init,
    step,
    params,
    state=FederatedState,
    per_client=method.model is not None,
  )


class HostedState(NamedTuple):
  """State of an algorithm whose clients lie on the host.

  Attributes:
    server: all but the clients; its `own` is ().
    shards: leaves [shard_size, ...] by number of the shard, NumPy.
  """

  server: FederatedState
  shards: dict[str, Any]


def _hosted(exchange, turn, shard_size, label) -> types.Algorithm:
  """The same rounds with the states of clients in shards on the host."""
  checks.integer(shard_size, name='shard_size', low=1)
  method, m = exchange.method, exchange.cohort_size
  if method.model is not None:
    raise ValueError(
      f'{method.name} gives every client a model of its own, and all of them '
      'are evaluated: leave shard_size out.'
    )
  run = jax.jit(turn)
  fresh = jax.jit(exchange.new)

  def init(key):
    state = jax.jit(lambda key: exchange.init(key)._replace(own=()))(key)
    return HostedState(state, {})

  def step(state, cohort, *, key):
    checks.cohort(cohort, m, label=label)
    # States of clients that are new do not depend on what the model is.
    own = jax.device_get(fresh(state.server.params))
    mask = np.asarray(cohort.mask)
    ids = np.where(mask, np.asarray(cohort.client_ids), -1)
    rows = _store.host_gather(state.shards, own, ids, shard_size)
    server, rows, metrics = run(state.server, rows, cohort, key)
    at = np.asarray(
      _store.places(cohort.client_ids, cohort.mask, exchange.num_clients)
    )
    at = np.where(at < exchange.num_clients, at, -1)
    _store.host_scatter(state.shards, own, at, jax.device_get(rows), shard_size)
    return HostedState(server, state.shards), metrics

  made = checks.algorithm(
    init, step, lambda state: state.server.params, state=HostedState
  )
  return made._replace(on_host=True)


def traffic(
  exchange: Exchange, params: chex.ArrayTree, mask: chex.Array
) -> dict[str, chex.Array]:
  """What a round moved.

  Args:
    exchange: whose.
    params: the server's; shapes and dtypes count.
    mask: bool[M], who took part.

  Returns:
    `num_clients`, and `megabytes_up` and `megabytes_down` of all of them,
    f32[].
  """
  up, down = exchange.bits(params)
  count = jnp.sum(mask, dtype=jnp.float32)
  return {
    'num_clients': count,
    'megabytes_up': count * (up / 8e6),
    'megabytes_down': count * (down / 8e6),
  }


def _poisoned(poison, data, first, malicious):
  """The data with the adversaries' rows as `poison` makes them.

  They are those from `first` on, or those of a mask.
  """
  first = 0 if malicious is not None else first
  own = jax.tree.map(lambda x: x[first:], data)
  changed = poison(own)
  checks.same_shapes(
    changed, own, name='attack.poison', what='data like the data it was given'
  )
  if malicious is not None:
    return trees.where_rows(malicious, changed, data)
  return jax.tree.map(
    lambda x, old, new: x if new is old else jnp.concatenate([x[:first], new]),
    data,
    own,
    changed,
  )
