# SPDX-License-Identifier: Apache-2.0
"""Flows as time steps: pairs of states to learn from, rollouts to test."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.operators import flows
from jaxdl.problems import _functions as lib


def time_steps(functions: lib.Functions) -> lib.Functions:
  """Cuts trajectories into pairs of a state and the next one.

  Args:
    functions: on grids, inputs [..., 1] at time 0, targets [..., T] at times 1
      to T.

  Returns:
    Pairs; every trajectory gives T of them.

  Raises:
    ValueError: if the functions are not on grids.

  Example:
    >>> drawn = lib.functions(
    ...   'navier_stokes(resolution=8, num_times=3, end_time=0.3)',
    ...   layout='grid', num_train=2, num_test=1,
    ... )  # fmt: skip
    >>> time_steps(drawn).train['inputs'].shape
    (1, 6, 8, 8, 1)
  """
  if not functions.on_grids:
    raise ValueError(
      f'time_steps needs functions on grids; got layout={functions.layout}.'
    )
  pairs = jax.vmap(lambda part: flows.one_step(part, part['targets'].shape[-1]))
  samples = functions.samples
  return functions.replace(
    train=pairs(functions.train),
    tests={label: pairs(test) for label, test in functions.tests.items()},
    samples=samples | {'targets': samples['targets'][..., :1]},
  )


def rollout_rows(
  functions: lib.Functions,
) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
  """Measures errors of flows that are stepped from the start.

  Args:
    functions: the trajectories, before `time_steps`.

  Returns:
    `rows(moments)` for `experiment.compare`: split 'rollout', relative L2 error
    at each `time`; variant 'no change' keeps the first state.
  """
  test = next(iter(functions.tests.values()))
  times = test['targets'].shape[-1]
  seeds = jnp.arange(len(functions.seeds))
  compiled: dict[str, Any] = {}

  def measure(problem):
    def one(args):
      params, batches, seed = args
      network = problem.network_at(seed)
      return flows.rollout_errors(network, params, batches, num_times=times)

    return jax.jit(lambda *args: jax.lax.map(one, args))

  still = lambda batches: flows.rollout_errors(
    None, None, batches, num_times=times
  )
  unmoved = np.asarray(jax.lax.map(still, test))

  def rows(moments):
    found = {}
    for m in moments:
      v = m.variant
      if v.name not in compiled:
        compiled[v.name] = measure(v.problem)
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
