# SPDX-License-Identifier: Apache-2.0
"""Stochastic gradient push: learning over one-way links."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import mixing
from jaxdl.core import checks, clients as clients_lib, registry, trees, types
from jaxdl.decentralized import _facts
from jaxdl.decentralized.gossip import _common as common


class PushSumState(NamedTuple):
  """State of `push_sum`.

  Attributes:
    biased: stacked numerators [N, ...]; the models are `biased / mass`.
    mass: f32[N], positive, sums to N.
    opt_state: stacked optimizer states.
    round: i32[], rounds done.
  """

  biased: chex.ArrayTree
  mass: chex.Array
  opt_state: chex.ArrayTree
  round: chex.Array


@registry.known(_facts.Facts(weights='send'))
def push_sum(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  same_start: bool = True,
) -> types.Algorithm:
  """SGD over directed graphs, unbiased by mixing a scalar along (SGP).

  Z = X / w, X⁺ = P(X + U(Z)), w⁺ = Pw with column-stochastic P: everyone only
  has to know how many receivers it has. With doubly stochastic P the mass
  stays one and this is adapt-then-combine `gossip_sgd`.

  Args:
    task: parameters and loss.
    mixer: column-stochastic (`mixing.send_weights`) or doubly stochastic, with
      positive own weights.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client on the gradient at its de-biased model.
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm` whose `params` are the de-biased models Z. Metrics as
    `gossip_sgd`, and `smallest_mass`.

  Raises:
    ValueError: if the mixer is row-stochastic only.

  Source: Assran et al. 2019 (https://arxiv.org/abs/1811.10792), algorithm 1.
  """
  local = common.Gossip(
    task,
    mixer,
    clients,
    algorithm='push_sum',
    needs=('column', 'double'),
    optimizer=optimizer,
    same_start=same_start,
  )

  def models(state):
    return trees.scale_rows(1.0 / state.mass, state.biased)

  def init(key):
    params = local.start(key)
    return PushSumState(
      params,
      jnp.ones((local.num_clients,)),
      local.opt_states(params),
      jnp.zeros((), jnp.int32),
    )

  def step(state, cohort, *, key):
    train_key, mix_key = jax.random.split(key)
    params = models(state)
    losses, grads = local.gradients(params, cohort, train_key)
    updates, opt_state = local.updates(grads, state.opt_state, params, cohort)
    moved = optax.apply_updates(state.biased, updates)
    biased, mass = local.mix((moved, state.mass), state.round, mix_key)
    state = PushSumState(biased, mass, opt_state, state.round + 1)
    metrics = local.report(losses, models(state), cohort)
    return state, {**metrics, 'smallest_mass': jnp.min(mass)}

  return checks.algorithm(
    init, step, models, state=PushSumState, per_client=True
  )
