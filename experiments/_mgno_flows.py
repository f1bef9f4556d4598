# SPDX-License-Identifier: Apache-2.0
"""Flows as time steps: pairs of states to learn from, rollouts to test."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import operators
from jaxdl.core import types
from jaxdl.experiment import operator_learning as learning
from jaxdl.operators import flows


def one_step(problem: learning.Problem, num_times: int) -> learning.Problem:
  """Cuts trajectories into pairs of a state and the next one.

  Args:
    problem: inputs [..., 1] at time 0, targets [..., T] at times 1 to T.
    num_times: at most so many steps are used.

  Returns:
    Pairs; every trajectory gives `num_times` of them.
  """

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

  samples = problem.samples | {'targets': problem.samples['targets'][..., :1]}
  return problem._replace(
    train=pairs(problem.train),
    tests={label: pairs(test) for label, test in problem.tests.items()},
    samples=samples,
  )


def residual(network: types.Network) -> types.Network:
  """Adds the input to the output, as the multigrid stepper does itself.

  Args:
    network: from one state to the change.

  Returns:
    From one state to the next.
  """
  apply = lambda params, w, **options: w + network.apply(params, w, **options)
  return types.Network(network.init, apply)


def rollouts(
  variants: dict[str, learning.Variant],
  problem: learning.Problem,
  *,
  seeds: tuple[int, ...],
  num_times: int,
) -> Callable[..., list[dict]]:
  """Measures errors of flows that are stepped from the start.

  Args:
    variants: the steppers.
    problem: trajectories.
    seeds: S seeds.
    num_times: steps at most.

  Returns:
    `rows(params, number)`: split 'rollout', relative L2 error at each `time`;
    rule 'no change' keeps the first state.
  """
  test = next(iter(problem.tests.values()))
  times = min(num_times, test['targets'].shape[-1])

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

  def measure(v):
    def one(args):
      params, test, constants = args
      network = v.network(constants)
      step = lambda b: flows.rollout(network, params, b['inputs'], times)
      return over(test, step)

    return jax.jit(lambda *args: jax.lax.map(one, args))

  measures = {name: measure(v) for name, v in variants.items()}
  unmoved = np.asarray(jax.lax.map(lambda t: over(t, still), test))

  def rows(params, number):
    found = {
      name: np.asarray(measures[name](params[name], test, v.constants))
      for name, v in variants.items()
    }
    return [
      {
        'step': number,
        'split': 'rollout',
        'variant': name,
        'seed': int(seed),
        'time': t + 1,
        'relative_l2': float(values[i, t]),
      }
      for name, values in (found | {'no change': unmoved}).items()
      for i, seed in enumerate(seeds)
      for t in range(times)
    ]

  return rows
