# SPDX-License-Identifier: Apache-2.0
"""Named methods that are gossip SGD with a particular way of mixing."""

from collections.abc import Callable

import chex
import numpy as np
import optax

from jaxdl import aggregators, mixing
from jaxdl.core import checks, clients as clients_lib, registry, types
from jaxdl.decentralized import _facts
from jaxdl.decentralized.gossip import _sgd


def _sometimes(mixer, num_rounds, *, period):
  sent = _facts.of_mixer(mixer, num_rounds)
  return np.where(_facts.meets(num_rounds, period), sent, 0.0)


@registry.known(_facts.Facts(sent=_sometimes))
def periodic_gossip(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  period: int = 5,
  same_start: bool = True,
) -> types.Algorithm:
  """Communicates in every H-th round only.

  Args:
    task: parameters and loss.
    mixer: used in rounds H - 1, 2H - 1, ...
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client.
    period: H >= 1; 1 communicates always (static).
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.
  """
  checks.integer(period, name='period', low=1)
  clients = clients_lib.as_clients(clients)
  mixer = mixing.as_mixer(mixer, clients.num_clients)
  return _sgd.gossip_sgd(
    task,
    mixing.every(mixer, period),
    clients,
    optimizer=optimizer,
    same_start=same_start,
  )


@registry.known(_facts.Facts(link='complete', sent=_sometimes))
def local_sgd(
  task: types.Task,
  mixer: mixing.Mixer | str | None,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  period: int = 5,
  same_start: bool = True,
) -> types.Algorithm:
  """Averages all clients in every H-th round (local SGD).

  Args:
    task: parameters and loss.
    mixer: used in rounds H - 1, 2H - 1, ...; None averages all clients.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client.
    period: H >= 1; 1 communicates always (static).
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.

  Source: Stich 2018 (https://arxiv.org/abs/1805.09767), algorithm 1.
  """
  return periodic_gossip(
    task,
    'complete' if mixer is None else mixer,
    clients,
    optimizer=optimizer,
    period=period,
    same_start=same_start,
  )


def _averaged(mixer, num_rounds, *, period):
  n = mixing.matrices(mixer, num_draws=1).shape[-1]
  sent = _facts.of_mixer(mixer, num_rounds)
  meets = _facts.meets(num_rounds, period)
  return np.where(meets, mixing.all_reduce(n), sent)


@registry.known(_facts.Facts(sent=_averaged))
def periodic_averaging(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  period: int = 5,
  same_start: bool = True,
) -> types.Algorithm:
  """Gossip with a global average in every H-th round (Gossip-PGA).

  Args:
    task: parameters and loss.
    mixer: used in all other rounds.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client.
    period: H >= 1 (static).
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.

  Source: Chen et al. 2021 (https://arxiv.org/abs/2105.09080), algorithm 1.
  """
  checks.integer(period, name='period', low=1)
  clients = clients_lib.as_clients(clients)
  mean = mixing.make_mixer('complete', clients.num_clients)
  mixer = mixing.as_mixer(mixer, clients.num_clients)
  return _sgd.gossip_sgd(
    task,
    mixing.every(mean, period, otherwise=mixer),
    clients,
    optimizer=optimizer,
    same_start=same_start,
  )


def _matched(graph, num_rounds, *, budget):
  return _facts.of_mixer(mixing.matcha(graph, budget=budget), num_rounds)


@registry.known(_facts.Facts(over='graph', sent=_matched))
def matcha_sgd(
  task: types.Task,
  graph: np.ndarray | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  budget: float = 0.5,
  same_start: bool = True,
) -> types.Algorithm:
  """Gossip over random matchings of a graph (MATCHA).

  Args:
    task: parameters and loss.
    graph: undirected and connected, N clients.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client.
    budget: expected share of the matchings used per round, in (0, 1].
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.

  Source: Wang et al. 2019 (https://arxiv.org/abs/1905.09435).
  """
  clients = clients_lib.as_clients(clients)
  graph = mixing.as_graph(graph, clients.num_clients)
  return _sgd.gossip_sgd(
    task,
    mixing.matcha(graph, budget=budget),
    clients,
    optimizer=optimizer,
    same_start=same_start,
  )


def _all_links(graph, num_rounds):
  del num_rounds
  return graph.sum() / len(graph)


@registry.known(_facts.Facts(over='graph', sent=_all_links))
def robust_gossip(
  task: types.Task,
  graph: np.ndarray | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  rule: Callable[..., chex.ArrayTree] | str = 'median',
  num_byzantine: int = 1,
  order: str = 'adapt_then_combine',
  same_start: bool = True,
) -> types.Algorithm:
  """Gossip in which a robust rule takes the place of the weighted mean.

  Args:
    task: parameters and loss.
    graph: who receives from whom, see `mixing.robust_mixer`.
    clients: N clients, or N; on one device (static).
    optimizer: run by every client.
    rule: `rule(updates) -> update` as in `jaxdl.aggregators`, or text such as
      'nnm+krum', parts of `aggregators.RULES` without memory.
    num_byzantine: f that rules of text are told (static).
    order: as for `gossip_sgd` (static).
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.

  Raises:
    ValueError: if a client receives too few models for the rule.
  """
  clients = clients_lib.as_clients(clients)
  graph = mixing.as_graph(graph, clients.num_clients)
  rule = aggregators.as_rule(rule, num_byzantine=num_byzantine)
  return _sgd.gossip_sgd(
    task,
    mixing.robust_mixer(graph, rule, chunk=clients.chunk),
    clients,
    optimizer=optimizer,
    order=order,
    same_start=same_start,
  )


def epidemic_learning(
  task: types.Task,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  num_sent: int,
  oracle: bool = False,
  seed: int = 0,
  same_start: bool = True,
) -> types.Algorithm:
  """Everyone sends its model to a few random others in every round.

  Args:
    task: parameters and loss.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client.
    num_sent: receivers per client and round (s).
    oracle: draws regular graphs (EL-Oracle) instead of independent receivers
      (EL-Local), so that the mean is kept (static).
    seed: of the host randomness of the oracle's graph.
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.

  Source: de Vos et al. 2023 (https://arxiv.org/abs/2310.01972), algorithm 1.
  """
  clients = clients_lib.as_clients(clients)
  n = clients.num_clients
  if oracle:
    mixer = mixing.epidemic_oracle(n, num_sent, np.random.default_rng(seed))
  else:
    mixer = mixing.epidemic_local(n, num_sent)
  return _sgd.gossip_sgd(
    task, mixer, clients, optimizer=optimizer, same_start=same_start
  )
