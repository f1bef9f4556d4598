# SPDX-License-Identifier: Apache-2.0
"""Flows as time steps: pairs of states to learn from, rollouts to test."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import operators
from jaxdl.core import types
from jaxdl.operators import flows
from jaxdl.problems import _functions as lib


def time_steps(
  functions: lib.Functions, num_times: int | None = None
) -> lib.Functions:
  """Cuts trajectories into pairs of a state and the next one.

  Args:
    functions: on grids, inputs [..., 1] at time 0, targets [..., T] at times 1
      to T.
    num_times: steps that are used at most; all if None.

  Returns:
    Pairs; every trajectory gives as many as it has steps.

  Raises:
    ValueError: if the functions are not on grids.
  """
  if not functions.on_grids:
    raise ValueError(
      f'time_steps needs functions on grids; got layout={functions.layout}.'
    )

  def states(x):
    """[S, m, ..., T] to [S, T * m, ..., 1], batches of one time each."""
    x = jnp.moveaxis(x, -1, 1)[..., None]
    return x.reshape(x.shape[0], -1, *x.shape[3:])

  def pairs(part):
    later = part['targets'][..., :num_times]
    path = jnp.concatenate([part['inputs'], later], axis=-1)
    out = {'inputs': states(path[..., :-1]), 'targets': states(path[..., 1:])}
    if 'mask' in part:
      mask = part['mask'][..., None]
      mask = jnp.broadcast_to(mask, (*mask.shape[:-1], later.shape[-1]))
      out['mask'] = states(mask)[..., 0]
    return out

  samples = functions.samples
  return functions.replace(
    train=pairs(functions.train),
    tests={label: pairs(test) for label, test in functions.tests.items()},
    samples=samples | {'targets': samples['targets'][..., :1]},
  )


def stepper(network: types.Network) -> types.Network:
  """Adds the input to the output of a network.

  Args:
    network: from a state to its change.

  Returns:
    From a state to the next.
  """
  apply = lambda params, w, **options: w + network.apply(params, w, **options)
  return types.Network(network.init, apply)


def rollout_rows(
  functions: lib.Functions, num_times: int | None = None
) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
  """Measures errors of flows that are stepped from the start.

  Args:
    functions: the trajectories, before `time_steps`.
    num_times: steps at most; all if None.

  Returns:
    `rows(moments)` for `experiment.compare`: split 'rollout', relative L2 error
    at each `time`; variant 'no change' keeps the first state.
  """
  test = next(iter(functions.tests.values()))
  most = test['targets'].shape[-1]
  times = most if num_times is None else min(num_times, most)

  def errors(path, batch):
    later = jnp.moveaxis(batch['targets'][..., :times], -1, 0)[..., None]
    each = jax.vmap(operators.relative_l2)(path, later)
    return jnp.where(batch['mask'][None], each, 0.0).sum(1)

  def over(test, states):
    sums = jax.lax.map(lambda batch: errors(states(batch), batch), test)
    return sums.sum(0) / test['mask'].sum()

  def still(batch):
    start = batch['inputs']
    return jnp.broadcast_to(start[None], (times, *start.shape))

  unmoved = np.asarray(jax.lax.map(lambda t: over(t, still), test))
  compiled: dict[str, Any] = {}

  def measure(problem):
    def one(args):
      params, test, seed = args
      network = problem.network_at(seed)
      step = lambda b: flows.rollout(network, params, b['inputs'], times)
      return over(test, step)

    return jax.jit(lambda *args: jax.lax.map(one, args))

  def rows(moments):
    found = {}
    for m in moments:
      v = m.variant
      if v.name not in compiled:
        compiled[v.name] = measure(v.problem)
      seeds = jnp.arange(len(functions.seeds))
      found[v.name] = np.asarray(compiled[v.name](m.params, test, seeds))
    found['no change'] = unmoved
    return [
      {
        'step': moments[0].round,
        'split': 'rollout',
        'variant': name,
        'seed': int(seed),
        'time': t + 1,
        'relative_l2': float(values[i, t]),
      }
      for name, values in found.items()
      for i, seed in enumerate(functions.seeds)
      for t in range(times)
    ]

  return rows
