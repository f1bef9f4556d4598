# SPDX-License-Identifier: Apache-2.0
"""Gossip optimizers that reach the exact optimum on heterogeneous data."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from absl import logging

from jaxdl import mixing
from jaxdl.core import checks, clients as clients_lib, registry, trees, types
from jaxdl.decentralized import _facts
from jaxdl.decentralized.gossip import _common as common
from jaxdl.mixing import spectra


class DifferenceState(NamedTuple):
  """State of `d_squared` and `extra`.

  Attributes:
    params: stacked models [N, ...].
    previous: stacked models of the round before, in the form the method adds.
    last_updates: stacked optimizer updates of the round before.
    opt_state: stacked optimizer states.
    round: i32[], rounds done.
  """

  params: chex.ArrayTree
  previous: chex.ArrayTree
  last_updates: chex.ArrayTree
  opt_state: chex.ArrayTree
  round: chex.Array


_D2_BOUND = -1 / 3


def _smallest(mixer: mixing.Mixer, algorithm: str) -> float:
  """Smallest eigenvalue of a mixer; refuses what breaks the proofs."""
  if mixer.period != 1:
    raise ValueError(
      f'{algorithm} needs one fixed mixing matrix, this mixer changes it '
      'between rounds: use gradient_tracking, which allows that.'
    )
  w = jax.device_get(mixer.matrix(0))
  if abs(w - w.T).max() > 1e-5:
    raise ValueError(
      f'{algorithm} needs a symmetric mixing matrix: use metropolis weights on '
      'an undirected graph.'
    )
  return spectra.smallest_eigenvalue(w)


def _warn_unstable(algorithm: str, smallest: float, low: float) -> None:
  logging.warning(
    '%s may diverge: the smallest eigenvalue of the mixing matrix is %.4f, '
    'needed is more than %.4f; use mixing.lazy (weights=lazy_metropolis).',
    algorithm,
    smallest,
    low,
  )


@registry.known(_facts.Facts())
def d_squared(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  allow_unstable: bool = False,
  same_start: bool = True,
) -> types.Algorithm:
  """Removes the bias of gossip SGD by differences of two rounds (D²).

  X⁺ = W(2X - X₋ + U - U₋) with the updates U of the clients' optimizers
  (-ηG), after a first plain round. Each stored update keeps the step size it
  was made with.

  Args:
    task: parameters and loss.
    mixer: one symmetric matrix with smallest eigenvalue above -1/3 (Metropolis
      weights on an even ring sit exactly at -1/3).
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client; the theory is for SGD.
    allow_unstable: runs a smaller eigenvalue too, with a warning (static).
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`; metrics as `gossip_sgd`.

  Raises:
    ValueError: if the mixer varies, is not symmetric, or may diverge; the
      message names the eigenvalue and the remedy.

  Source: Tang et al. 2018 (https://arxiv.org/abs/1803.07068), algorithm 1.
  """
  clients = clients_lib.as_clients(clients)
  mixer = mixing.as_mixer(mixer, clients.num_clients)
  smallest = _smallest(mixer, 'd_squared')
  if smallest <= _D2_BOUND + 1e-6:
    if not allow_unstable:
      raise ValueError(
        'd_squared may diverge: the smallest eigenvalue of its mixing matrix '
        f'is {smallest:.4f}, D² needs more than -1/3. Use weights='
        'lazy_metropolis, move=0.5, or d_squared(allow_unstable=True).'
      )
    _warn_unstable('d_squared', smallest, _D2_BOUND)
  local = common.Gossip(
    task,
    mixer,
    clients,
    algorithm='d_squared',
    needs=('double',),
    optimizer=optimizer,
    same_start=same_start,
  )

  def init(key):
    params = local.start(key)
    return DifferenceState(
      params,
      params,
      common.zeros(params),
      local.opt_states(params),
      jnp.zeros((), jnp.int32),
    )

  def step(state, cohort, *, key):
    train_key, mix_key = jax.random.split(key)
    losses, grads = local.gradients(state.params, cohort, train_key)
    updates, opt_state = local.updates(
      grads, state.opt_state, state.params, cohort
    )
    moved = common.add(
      (2.0, state.params),
      (-1.0, state.previous),
      (1.0, updates),
      (-1.0, state.last_updates),
    )
    params = local.mix(moved, state.round, mix_key)
    return (
      DifferenceState(
        params, state.params, updates, opt_state, state.round + 1
      ),
      local.report(losses, params, cohort),
    )

  return checks.algorithm(
    init,
    step,
    lambda state: state.params,
    state=DifferenceState,
    per_client=True,
  )


@registry.known(_facts.Facts())
def extra(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  same_start: bool = True,
) -> types.Algorithm:
  """Exact first-order gossip with a fixed step (EXTRA).

  X⁺ = (I + W)X - ½(I + W)X₋ + U - U₋, after a first round WX + U; one gossip
  step per round.

  Args:
    task: parameters and loss.
    mixer: one symmetric matrix with smallest eigenvalue above -1.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client; the theory is for SGD.
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`; metrics as `gossip_sgd`.

  Raises:
    ValueError: if the mixer varies or is not symmetric.

  Source: Shi et al. 2015 (https://arxiv.org/abs/1404.6264), algorithm 1.
  """
  clients = clients_lib.as_clients(clients)
  mixer = mixing.as_mixer(mixer, clients.num_clients)
  smallest = _smallest(mixer, 'extra')
  if smallest <= -1.0 + 1e-6:
    _warn_unstable('extra', smallest, -1.0)
  local = common.Gossip(
    task,
    mixer,
    clients,
    algorithm='extra',
    needs=('double',),
    optimizer=optimizer,
    same_start=same_start,
  )

  def init(key):
    params = local.start(key)
    # `previous` holds ½(I + W)X₋; X itself makes the first round WX + U.
    return DifferenceState(
      params,
      params,
      common.zeros(params),
      local.opt_states(params),
      jnp.zeros((), jnp.int32),
    )

  def step(state, cohort, *, key):
    train_key, mix_key = jax.random.split(key)
    losses, grads = local.gradients(state.params, cohort, train_key)
    updates, opt_state = local.updates(
      grads, state.opt_state, state.params, cohort
    )
    mixed = local.mix(state.params, state.round, mix_key)
    params = common.add(
      (1.0, state.params),
      (1.0, mixed),
      (-1.0, state.previous),
      (1.0, updates),
      (-1.0, state.last_updates),
    )
    previous = common.add((0.5, state.params), (0.5, mixed))
    return (
      DifferenceState(params, previous, updates, opt_state, state.round + 1),
      local.report(losses, params, cohort),
    )

  return checks.algorithm(
    init,
    step,
    lambda state: state.params,
    state=DifferenceState,
    per_client=True,
  )


class TrackingState(NamedTuple):
  """State of `gradient_tracking`.

  Attributes:
    params: stacked models [N, ...].
    tracker: stacked estimates of the mean gradient; their mean is that of
      `grads`.
    grads: stacked gradients of the round before.
    opt_state: stacked optimizer states.
    round: i32[], rounds done.
  """

  params: chex.ArrayTree
  tracker: chex.ArrayTree
  grads: chex.ArrayTree
  opt_state: chex.ArrayTree
  round: chex.Array


def _both(mixer, num_rounds):
  return 2 * _facts.of_mixer(mixer, num_rounds)


@registry.known(_facts.Facts(sent=_both))
def gradient_tracking(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  order: str = 'adapt_then_combine',
  same_start: bool = True,
) -> types.Algorithm:
  """Gossips an estimate of the mean gradient along with the models (DSGT).

  Adapt-then-combine: Y⁺ = W(Y + G - G₋), X⁺ = W(X - ηY⁺), two gossip steps one
  after the other. Combine-then-adapt: Y⁺ = WY + G - G₋, X⁺ = WX - ηY⁺. The
  first tracker is the first gradient. Exact for any doubly stochastic mixer,
  also time-varying ones.

  Args:
    task: parameters and loss.
    mixer: doubly stochastic.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client on its tracker.
    order: 'adapt_then_combine' or 'combine_then_adapt' (static).
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`; metrics as `gossip_sgd`. Masked clients count with a zero
    gradient.

  Raises:
    ValueError: if the mixer or an option does not fit.

  Source: Pu & Nedić 2018 (https://arxiv.org/abs/1805.11454), equation 4.
  """
  checks.choice(order, common.ORDERS, name='order')
  local = common.Gossip(
    task,
    mixer,
    clients,
    algorithm='gradient_tracking',
    needs=('double',),
    optimizer=optimizer,
    same_start=same_start,
  )

  def init(key):
    params = local.start(key)
    return TrackingState(
      params,
      common.zeros(params),
      common.zeros(params),
      local.opt_states(params),
      jnp.zeros((), jnp.int32),
    )

  def step(state, cohort, *, key):
    train_key, mix_key = jax.random.split(key)

    def mix(x):
      return local.mix(x, state.round, mix_key)

    losses, grads = local.gradients(state.params, cohort, train_key)
    change = common.add((1.0, grads), (-1.0, state.grads))
    if order == 'adapt_then_combine':
      tracker = mix(common.add((1.0, state.tracker), (1.0, change)))
    else:
      tracker = common.add((1.0, mix(state.tracker)), (1.0, change))
    first = jnp.broadcast_to(state.round == 0, (local.num_clients,))
    tracker = trees.where_rows(first, grads, tracker)
    updates, opt_state = local.updates(
      tracker, state.opt_state, state.params, cohort
    )
    if order == 'adapt_then_combine':
      params = mix(optax.apply_updates(state.params, updates))
    else:
      params = optax.apply_updates(mix(state.params), updates)
    return (
      TrackingState(params, tracker, grads, opt_state, state.round + 1),
      local.report(losses, params, cohort),
    )

  return checks.algorithm(
    init, step, lambda state: state.params, state=TrackingState, per_client=True
  )
