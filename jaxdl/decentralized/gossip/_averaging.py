# SPDX-License-Identifier: Apache-2.0
"""Pure averaging by gossip: nothing is learned."""

from typing import Any, NamedTuple

import chex
import jax.numpy as jnp

from jaxdl import mixing
from jaxdl.core import checks, clients as clients_lib, trees, types


class AveragingState(NamedTuple):
  """State of `averaging`.

  Attributes:
    values: stacked tree [N, ...], what clients hold, times their mass.
    mass: f32[N], one but for push-sum.
    round: i32[], rounds done.
  """

  values: chex.ArrayTree
  mass: chex.Array
  round: chex.Array


def averaging(
  start: chex.ArrayTree,
  mixer: Any,
  clients: clients_lib.Clients | int,
) -> types.Algorithm:
  """Mixes what clients hold, round by round: X <- W X.

  With column-stochastic (send) weights this is push-sum: mass is mixed along,
  and what a client holds is its share of values over its share of mass.

  Args:
    start: stacked tree [N, ...], floating point.
    mixer: any mixer, or what `mixing.as_mixer` makes one of.
    clients: N, or `core.clients.Clients`.

  Returns:
    An `Algorithm` whose `params` are what clients hold, leaves [N, ...]; it has
    no metrics and does not look at the data of a cohort.

  Raises:
    ValueError: if numbers of clients differ.

  Example:
    >>> import jax
    >>> algorithm = averaging(jnp.eye(4), 'complete', 4)
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(4), data=(), mask=jnp.ones(4, bool),
    ...   weights=jnp.ones(4),
    ... )
    >>> state, _ = algorithm.step(
    ...   algorithm.init(jax.random.key(0)), cohort, key=jax.random.key(1)
    ... )
    >>> algorithm.params(state)[0].tolist()
    [0.25, 0.25, 0.25, 0.25]

  Source: Kempe et al. 2003, push-sum; Xiao and Boyd 2004.
  """
  clients = clients_lib.as_clients(clients)
  n = clients.num_clients
  mixer = mixing.as_mixer(mixer, n, stochastic='row')
  if clients.mesh is not None:
    mixer = mixing.shard(mixer, clients.mesh)
  found = checks.num_clients(start, name='start')
  if found != n:
    raise ValueError(f'start has {found} clients but clients={n}.')

  def init(key):
    del key
    return AveragingState(start, jnp.ones((n,)), jnp.zeros((), jnp.int32))

  def step(state, cohort, *, key):
    clients.check(cohort)
    values, mass = mixer.apply((state.values, state.mass), state.round, key=key)
    return AveragingState(values, mass, state.round + 1), {}

  def params(state):
    return trees.scale_rows(1.0 / state.mass, state.values)

  return checks.algorithm(
    init, step, params, state=AveragingState, per_client=True
  )
