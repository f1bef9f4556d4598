# SPDX-License-Identifier: Apache-2.0
"""What of combinatorial problems is reported besides numbers per seed."""

from typing import Any

import jax
import numpy as np

from jaxdl import combinatorial as lib


def stage_rows(test: Any, params: Any, seeds: Any) -> list[dict[str, Any]]:
  """What stages made of held-out instances, and the first solution.

  Args:
    test: a `CombinatorialTest`.
    params: of its policies, leaves [S, ...].
    seeds: S seeds.

  Returns:
    Rows of the split 'stages', the mean objective of each seed before the first
    stage (0) and after each, and of 'solutions', for `plots.solutions`.
  """
  solutions, history = jax.device_get(test.solve(params))
  out = []
  for i, seed in enumerate(seeds):
    for k, value in enumerate(history[i].mean(axis=0)):
      row = {'split': 'stages', 'seed': seed, 'stage': k}
      out.append(row | {'objective': float(value)})
  first = lambda tree: jax.tree.map(lambda x: np.asarray(x)[0, 0], tree)
  found = lib.solution_rows(
    test.family, first(test.instances), first(solutions), size=test.size
  )
  label = {'split': 'solutions', 'seed': seeds[0]}
  return out + [label | row for row in found]


def file_rows(
  test: Any, params: Any, seeds: Any, source: Any, start: Any = None
) -> list[dict[str, Any]]:
  """Solves the instance of a file with the policies of every seed.

  Args:
    test: a `CombinatorialTest`.
    params: of its policies, leaves [S, ...].
    seeds: S seeds.
    source: of `combinatorial.files.read_instance`.
    start: a solution to begin with, or None.

  Returns:
    Rows of the split 'file': `cost` in units of the file, and `change`, the
    fraction by which stages changed what they began with.
  """
  instance = jax.tree.map(jax.numpy.asarray, dict(source.instance))

  @jax.jit
  def run(params):
    return lib.solve(
      test.family,
      test.episode.policies,
      params,
      instance,
      jax.random.key(0),
      size=test.size,
      num_starts=test.num_starts,
      num_stages=test.num_stages,
      start=start,
    )

  out = []
  for i, seed in enumerate(seeds):
    solution, history = jax.device_get(
      run(jax.tree.map(lambda x, i=i: x[i], params))
    )
    cost = lib.files.file_cost(source, solution)
    row = {'split': 'file', 'seed': seed, 'cost': cost, 'file': source.name}
    change = float(history[-1] - history[0]) / (float(history[0]) or 1.0)
    out.append(row | {'change': change})
  return out
