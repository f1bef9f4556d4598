# SPDX-License-Identifier: Apache-2.0
"""Named methods that are gossip SGD with a particular way of mixing."""

import jax
import numpy as np
import optax

from jaxdl import mixing
from jaxdl.core import types
from jaxdl.decentralized.gossip import _sgd


def local_sgd(
  task: types.Task,
  *,
  num_clients: int,
  optimizer: optax.GradientTransformation,
  period: int,
  mixer: mixing.Mixer | None = None,
  mesh: jax.sharding.Mesh | None = None,
  chunk: int | None = None,
) -> types.Algorithm:
  """Communicates in every H-th round only.

  Args:
    task: parameters and loss.
    num_clients: N (static).
    optimizer: run by every client.
    period: H >= 1; 1 communicates always (static).
    mixer: used in rounds H - 1, 2H - 1, ...; None averages all clients.
    mesh: devices to split the clients over (static).
    chunk: clients run together on a device (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.

  Source: Stich 2018 (https://arxiv.org/abs/1805.09767), algorithm 1.
  """
  if mixer is None:
    mixer = mixing.make_mixer('complete', num_clients)
  return _sgd.gossip_sgd(
    task,
    mixing.every(mixing.as_mixer(mixer), period),
    num_clients=num_clients,
    optimizer=optimizer,
    mesh=mesh,
    chunk=chunk,
  )


def periodic_averaging(
  task: types.Task,
  mixer: mixing.Mixer,
  *,
  num_clients: int,
  optimizer: optax.GradientTransformation,
  period: int,
  mesh: jax.sharding.Mesh | None = None,
  chunk: int | None = None,
) -> types.Algorithm:
  """Gossip with a global average in every H-th round (Gossip-PGA).

  Args:
    task: parameters and loss.
    mixer: used in all other rounds.
    num_clients: N (static).
    optimizer: run by every client.
    period: H >= 1 (static).
    mesh: devices to split the clients over (static).
    chunk: clients run together on a device (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.

  Source: Chen et al. 2021 (https://arxiv.org/abs/2105.09080), algorithm 1.
  """
  mean = mixing.make_mixer('complete', num_clients)
  return _sgd.gossip_sgd(
    task,
    mixing.every(mean, period, otherwise=mixing.as_mixer(mixer)),
    num_clients=num_clients,
    optimizer=optimizer,
    mesh=mesh,
    chunk=chunk,
  )


def matcha_sgd(
  task: types.Task,
  graph: np.ndarray,
  *,
  num_clients: int,
  optimizer: optax.GradientTransformation,
  budget: float = 0.5,
  mesh: jax.sharding.Mesh | None = None,
  chunk: int | None = None,
) -> types.Algorithm:
  """Gossip over random matchings of a graph (MATCHA).

  Args:
    task: parameters and loss.
    graph: undirected and connected, N clients.
    num_clients: N (static).
    optimizer: run by every client.
    budget: expected share of the matchings used per round, in (0, 1].
    mesh: devices to split the clients over (static).
    chunk: clients run together on a device (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.

  Source: Wang et al. 2019 (https://arxiv.org/abs/1905.09435).
  """
  return _sgd.gossip_sgd(
    task,
    mixing.matcha(mixing.as_graph(graph, num_clients), budget=budget),
    num_clients=num_clients,
    optimizer=optimizer,
    mesh=mesh,
    chunk=chunk,
  )


def epidemic_learning(
  task: types.Task,
  *,
  num_clients: int,
  optimizer: optax.GradientTransformation,
  num_sent: int,
  oracle: bool = False,
  seed: int = 0,
  mesh: jax.sharding.Mesh | None = None,
  chunk: int | None = None,
) -> types.Algorithm:
  """Everyone sends its model to a few random others in every round.

  Args:
    task: parameters and loss.
    num_clients: N (static).
    optimizer: run by every client.
    num_sent: receivers per client and round (s).
    oracle: draws regular graphs (EL-Oracle) instead of independent receivers
      (EL-Local), so that the mean is kept (static).
    seed: of the host randomness of the oracle's graph.
    mesh: devices to split the clients over (static).
    chunk: clients run together on a device (static).

  Returns:
    An `Algorithm`, see `gossip_sgd`.

  Source: de Vos et al. 2023 (https://arxiv.org/abs/2310.01972), algorithm 1.
  """
  if oracle:
    rng = np.random.default_rng(seed)
    mixer = mixing.epidemic_oracle(num_clients, num_sent, rng)
  else:
    mixer = mixing.epidemic_local(num_clients, num_sent)
  return _sgd.gossip_sgd(
    task,
    mixer,
    num_clients=num_clients,
    optimizer=optimizer,
    mesh=mesh,
    chunk=chunk,
  )
