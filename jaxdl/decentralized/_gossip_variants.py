# SPDX-License-Identifier: Apache-2.0
"""Named methods that are gossip SGD with a particular way of mixing."""

import contextlib
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import mixing
from jaxdl.core import checks, clients, trees, types
from jaxdl.decentralized import _gossip, _gossip_common as common


def robust_mixer(
  graph: np.ndarray,
  rule: Callable[..., chex.ArrayTree],
  *,
  chunk: int | None = None,
) -> mixing.Mixer:
  """Replaces the weighted mean over neighbours by a robust rule.

  Client i gets `rule` of its own model and those it receives, in the order
  own, then neighbours by number.

  Args:
    graph: anything `mixing.adjacency` takes; entry [i, j] lets i receive
      from j.
    rule: `rule(updates) -> update` as in `jaxdl.aggregators`; where degrees
      differ it must also take `mask`.
    chunk: clients handled together (static).

  Returns:
    A mixer for `gossip_sgd` and `quasi_global_momentum`. It has no matrix, and
    does not keep the mean, so difference and tracking methods refuse it.

  Raises:
    ValueError: if the graph is not square, or a client receives too few models
      for the rule.
  """
  adj = common.adjacency(graph)
  checks.rule(rule, name='rule')
  n = len(adj)
  lists = [np.concatenate([[i], np.flatnonzero(adj[i])]) for i in range(n)]
  _check_fewest(rule, lists)
  most = max(len(l) for l in lists)
  table = np.array([np.pad(l, (0, most - len(l)), mode='edge') for l in lists])
  present = (
    np.arange(most)[None, :] < np.array([len(l) for l in lists])[:, None]
  )

  def one(ids, mask, stacked):
    received = trees.take_rows(stacked, ids)
    return rule(received) if present.all() else rule(received, mask=mask)

  def apply(stacked, round, *, key=None, axis_name=None):
    del round, key
    if axis_name is not None:
      raise ValueError(
        'robust_mixer sees whole neighbourhoods: apply it to global arrays '
        'under jit instead of inside a mapped function.'
      )
    if checks.num_clients(stacked, name='stacked') != n:
      raise ValueError(f'stacked must have N = {n} clients, as the graph.')
    return clients.map_clients(one, chunk=chunk, in_axes=(0, 0, None))(
      jnp.asarray(table), jnp.asarray(present), stacked
    )

  def matrix(round, *, key=None):
    del round, key
    raise ValueError('a robust rule is not linear: it has no mixing matrix.')

  return mixing.Mixer(apply, matrix, 1, common.ROBUST, 'any')


def _check_fewest(rule, lists):
  """Raises if a rule refuses as few models as some client receives."""
  client = min(range(len(lists)), key=lambda i: len(lists[i]))
  count = len(lists[client])
  received = jax.ShapeDtypeStruct((count, 2), jnp.float32)
  # What is wrong with other trees, or without a key, shows in `apply`.
  with contextlib.suppress(TypeError, AttributeError, LookupError):
    try:
      jax.eval_shape(rule, received)
    except ValueError as error:
      raise ValueError(
        f'client {client} has {count - 1} neighbors, so that the rule sees '
        f'{count} models there: {error}'
      ) from error


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
  return _gossip.gossip_sgd(
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
  return _gossip.gossip_sgd(
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
  return _gossip.gossip_sgd(
    task,
    mixing.matcha(common.adjacency(graph, num_clients), budget=budget),
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
  return _gossip.gossip_sgd(
    task,
    mixer,
    num_clients=num_clients,
    optimizer=optimizer,
    mesh=mesh,
    chunk=chunk,
  )
