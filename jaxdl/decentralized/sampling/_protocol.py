# SPDX-License-Identifier: Apache-2.0
"""Decentralized sampling: who trains, who averages, and who is told.

The protocol never looks at a model. It runs on the host, event by event, and
writes down what is to be computed; `_modest_training` computes it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxdl.decentralized.sampling import (
  _events as events,
  _options as options_lib,
  _samples as sampling,
  _transport as transport,
  _views as views,
  _world as world_lib,
)

ModestOptions = options_lib.ModestOptions
State = transport.State


class SamplingProtocol(NamedTuple):
  """A simulation of the protocol, on the host.

  Attributes:
    init: `init() -> state` at time zero; members of the first sample train.
    advance: `advance(state, round) -> state` handles events until a model of
      that round has been averaged, or no event is left (`state['stalled']`).
      The state given is not changed.
    num_nodes: N.
    options: the numbers of the protocol.

  A state is a dict of NumPy arrays, numbers and text. With M = N, or N + 1 with
  a server, some of its entries are `clock` (s), `round` (the last one
  averaged), `latest` (its average), `num_averaged` (models in it), `online`
  bool[M], `sent_bytes`, `received_bytes` int64[4, M] and `messages` int64[4]
  (rows as `TRAFFIC`), and `recipes`: how each model is made, by its number:
  `('train', base, node, round)` or `('average', models)`. Model 0 is the
  common start.
  """

  init: Callable[[], State]
  advance: Callable[[State, int], State]
  num_nodes: int
  options: ModestOptions


def sampling_protocol(
  world: world_lib.World,
  options: ModestOptions,
  *,
  members: np.ndarray | None = None,
  churn: Sequence[world_lib.Churn] = (),
  server: bool = False,
  seed: int = 0,
) -> SamplingProtocol:
  """Simulates decentralized sampling (MoDeST), event by event.

  In round k the nodes of the sample S_k train what they were sent, find the
  live aggregators of round k + 1 by pings and send them their models. An
  aggregator averages s sf of them, finds the live nodes of S_(k+1) and sends
  them the average. Samples and aggregators are the first to answer among the
  candidates of a node's own view, sorted by the hash of (node, round); views
  travel with the models.

  Args:
    world: delays and speeds of N nodes.
    options: numbers of the protocol.
    members: bool[N], nodes that are there at the start; all if None.
    churn: who comes and goes, by the round that the first node begins.
    server: whether one extra actor, at the place of the node with the lowest
      median latency and with an infinitely fast link, averages all rounds
      instead: federated averaging with the same samples on the same clock.
    seed: of the receivers of JOIN and LEAVE.

  Returns:
    A `SamplingProtocol`; the server is actor N.

  Raises:
    ValueError: if arguments are out of range or too few nodes are members.

  Cost: O(N) host work per message.

  Example:
    >>> world = make_world(6, np.random.default_rng(0))
    >>> protocol = sampling_protocol(world, ModestOptions(sample_size=2))
    >>> state = protocol.advance(protocol.init(), 1)
    >>> state['round'], state['recipes'][str(state['latest'])][0]
    (1, 'average')

  Source: de Vos et al. 2023 (https://arxiv.org/abs/2302.13837), section 3;
    the time-out of aggregators is from later versions, `retry_s` is ours.
  """
  world = world_lib.check_world(world)
  n = world.num_nodes
  options_lib.check_options(options, n)
  churn = world_lib.check_churn(churn, n)
  start = views.initial_view(n, members)
  if not start.membership.any():
    raise ValueError('members must name at least one node.')
  num_actors = n
  if server:
    world, start = _with_server(world, start)
    num_actors = n + 1
  ids = [str(i) for i in range(n)]

  @functools.lru_cache(maxsize=64)
  def order(round):
    return np.array([int(i) for i in sampling.sample_order(ids, round)])

  rules = events.Rules(
    options=options,
    world=world,
    order=order,
    churn=churn,
    server=n if server else None,
    required=sampling.required_models(
      options.sample_size, options.success_fraction, rule=options.threshold
    ),
    num_nodes=n,
    seed=seed,
  )

  def init():
    state = transport.new_state(num_actors, start)
    state['online'][n:] = True
    whole = lambda value: np.full(num_actors, value, np.int32)
    state |= {
      'round': 0,
      'latest': 0,
      'num_averaged': 0,
      'stalled': 0,
      'top': 0,
      'next_churn': 0,
      'next_model': 1,
      'next_search': 0,
      'recipes': {},
      'searches': {},
      'stores': {},
      'pending': {},
      'train_round': whole(0),
      'training': whole(0),
      'base': whole(-1),
      'own': whole(-1),
      'agg_round': whole(0),
      'agg_phase': whole(events.DONE),
      'agg_model': whole(-1),
    }
    simulation = events.Simulation(state, rules)
    first = order(1)[views.candidates(start, 1, 1)[order(1)]]
    for node in first[: options.sample_size]:
      simulation.begin_training(int(node), 1, 0)
    return state

  def advance(state, round):
    state = transport.copy_state(state)
    simulation = events.Simulation(state, rules)
    while state['round'] < round:
      if not simulation.run_next():
        state['stalled'] = 1
        break
    return state

  return SamplingProtocol(init, advance, n, options)


def diagnose(state: State) -> str:
  """Says who is waiting for whom.

  Args:
    state: of a `SamplingProtocol`.

  Returns:
    One line of text.
  """
  parts = [
    f'round {state["round"]} of {state["clock"]:.1f} s',
    f'{int(state["online"].sum())} actors online',
  ]
  for node, store in state['stores'].items():
    if state['agg_phase'][int(node)] <= events.OVERDUE:
      parts.append(
        f'aggregator {node} has {len(store)} models of round '
        f'{int(state["agg_round"][int(node)]) - 1}, from {sorted(store)}'
      )
  busy = np.flatnonzero(state['training'])
  parts.append(f'training: {busy.tolist()}')
  return '; '.join(parts) + '.'


def _with_server(world, start):
  latency = world.latency_s
  off_diagonal = np.where(np.eye(len(latency), dtype=bool), np.nan, latency)
  place = 0
  if len(latency) > 1:
    place = int(np.argmin(np.nanmedian(off_diagonal, axis=1)))
  out = np.append(latency[place], 0.0)
  wide = np.vstack([np.column_stack([latency, latency[:, place]]), out])
  world = world_lib.World(
    wide,
    np.append(world.compute_s, 0.0),
    np.append(world.bytes_per_s, np.inf),
  )
  # A server is no member, so nobody samples it.
  start = views.MembershipView(*(np.append(x, 0) for x in start))
  return world, start
