# SPDX-License-Identifier: Apache-2.0
"""Flows as time steps: pairs of states to learn from, rollouts to test."""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.operators import _losses as losses


def _states(x):
  """[m, ..., T] to [T m, ..., 1], one time after the other."""
  x = jnp.moveaxis(x, -1, 0)[..., None]
  return x.reshape(-1, *x.shape[2:])


def one_step(
  trajectories: Mapping[str, chex.Array], num_times: int
) -> dict[str, chex.Array]:
  """Cuts trajectories into pairs of a state and the next one.

  Args:
    trajectories: 'inputs' f[m, ..., 1] at time 0, 'targets' f[m, ..., T] at
      times 1 to T, and optionally 'mask' bool[m, ...] of as many leading axes
      as there are batches.
    num_times: at most so many steps t are used (static).

  Returns:
    The same entries, of pairs: f[t m, ..., 1], those of one time together.

  Raises:
    ValueError: if an entry is missing or the number is below 1.

  Example:
    >>> path = jnp.arange(6.0).reshape(1, 2, 3)
    >>> pairs = one_step({'inputs': path[..., :1], 'targets': path[..., 1:]}, 2)
    >>> pairs['inputs'][..., 0].tolist(), pairs['targets'][..., 0].tolist()
    ([[0.0, 3.0], [1.0, 4.0]], [[1.0, 4.0], [2.0, 5.0]])
  """
  checks.integer(num_times, name='num_times', low=1)
  missing = {'inputs', 'targets'} - trajectories.keys()
  if missing:
    raise ValueError(
      f'trajectories has no entry {sorted(missing)}; got '
      f'{sorted(trajectories)}.'
    )
  later = trajectories['targets'][..., :num_times]
  path = jnp.concatenate([trajectories['inputs'], later], axis=-1)
  out = {'inputs': _states(path[..., :-1]), 'targets': _states(path[..., 1:])}
  if 'mask' in trajectories:
    mask = trajectories['mask'][..., None]
    mask = jnp.broadcast_to(mask, (*mask.shape[:-1], later.shape[-1]))
    out['mask'] = _states(mask)[..., 0]
  return out


def residual(network: Network) -> Network:
  """Adds the input to the output, as a multigrid stepper does itself.

  Args:
    network: from one state to the change.

  Returns:
    A `Network` from one state to the next, with the same parameters.
  """
  apply = lambda params, w, **options: w + network.apply(params, w, **options)
  return Network(network.init, apply)


def rollout(
  network: Network, params: chex.ArrayTree, start: chex.Array, num_steps: int
) -> chex.Array:
  """Applies a one-step network to its own output again and again.

  Args:
    network: `apply(params, w[B, *grid, C]) -> w` of the same shape.
    params: its parameters.
    start: f[B, *grid, C], the state at time 0.
    num_steps: number T of steps (static).

  Returns:
    f[T, B, *grid, C], the states after 1..T steps.

  Cost: T applications, one compiled.
  """
  checks.integer(num_steps, name='num_steps', low=1)

  def step(w, _):
    w = network.apply(params, w)
    return w, w

  return jax.lax.scan(step, start, None, length=num_steps)[1]


def rollout_errors(
  network: Network | None,
  params: chex.ArrayTree,
  batches: Mapping[str, chex.Array],
  *,
  num_times: int,
) -> chex.Array:
  """Measures errors of a flow that is stepped from the start.

  Args:
    network: a one-step network; None keeps the first state, which is what any
      should beat.
    params: its parameters; None without a network.
    batches: 'inputs' f[b, B, *grid, 1] at time 0, 'targets' f[b, B, *grid, T]
      at times 1 to T, 'mask' bool[b, B], whose false rows have no effect.
    num_times: steps t <= T (static).

  Returns:
    f[t], the mean relative L2 error after 1..t steps.

  Raises:
    ValueError: if there are fewer times.

  Cost: b rollouts, one after the other.

  Example:
    >>> batches = {
    ...   'inputs': jnp.ones((1, 2, 4, 1)),
    ...   'targets': 2 * jnp.ones((1, 2, 4, 3)),
    ...   'mask': jnp.ones((1, 2), bool),
    ... }
    >>> rollout_errors(None, None, batches, num_times=2).tolist()
    [0.5, 0.5]
  """
  times = batches['targets'].shape[-1]
  checks.integer(num_times, name='num_times', low=1, high=times)

  def states(start):
    if network is None:
      return jnp.broadcast_to(start[None], (num_times, *start.shape))
    return rollout(network, params, start, num_times)

  def errors(batch):
    later = jnp.moveaxis(batch['targets'][..., :num_times], -1, 0)[..., None]
    each = jax.vmap(losses.relative_l2)(states(batch['inputs']), later)
    return jnp.where(batch['mask'][None], each, 0.0).sum(1)

  return jax.lax.map(errors, dict(batches)).sum(0) / batches['mask'].sum()
