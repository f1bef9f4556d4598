# SPDX-License-Identifier: Apache-2.0
"""Tours by the heuristic of Lin, Kernighan and Helsgaun (elkai)."""

from typing import Any

import numpy as np

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.oracles import _integers, _measure
from jaxdl.core import checks, extras


def elkai(
  problem: str,
  instance: _problem.Instance,
  *,
  num_runs: int = 10,
  scale: float | None = None,
) -> tuple[Any, bool]:
  """Solves tours by the heuristic of Lin, Kernighan and Helsgaun.

  Args:
    problem: 'tsp' or 'atsp'.
    instance: of it.
    num_runs: tries, the best of which counts.
    scale: what lengths are multiplied by before they are rounded to integers;
      None for six digits of the longest.

  Returns:
    The solution, and whether it is proved, of three nodes at most.

  Raises:
    ImportError: if elkai is not installed.
    ValueError: if a scaled length exceeds 1e7.

  Source: Helsgaun 2000.
  """
  checks.integer(num_runs, name='num_runs', low=1)
  matrix = _measure.distances(instance, problem)
  if len(matrix) < 4:
    one = np.arange(len(matrix))
    cost = lambda order: float(matrix[order, np.roll(order, -1)].sum())
    return _measure.tour(min(one, one[::-1], key=cost)), True
  solver = extras.require('elkai', 'oracle=elkai')
  found, _ = _integers.lengths(matrix, scale)
  order = solver.DistanceMatrix(found.tolist()).solve_tsp(runs=num_runs)
  return _measure.tour(order[:-1]), False
