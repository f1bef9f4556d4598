# SPDX-License-Identifier: Apache-2.0
"""Problems by name."""

from typing import Any

from jaxdl.combinatorial import (
  _atsp,
  _cvrp,
  _kp,
  _mis,
  _mtsp,
  _op,
  _pctsp,
  _problem,
  _tsp,
)
from jaxdl.core import registry

PROBLEMS = registry.Registry(
  'problem',
  {
    'tsp': _tsp.tsp,
    'cvrp': _cvrp.cvrp,
    'ovrp': _cvrp.ovrp,
    'kp': _kp.kp,
    'op': _op.op,
    'pctsp': _pctsp.pctsp,
    'spctsp': _pctsp.spctsp,
    'mtsp': _mtsp.mtsp,
    'atsp': _atsp.atsp,
    'mis': _mis.mis,
  },
)


def make_problem(spec: str, **options: Any) -> _problem.CombinatorialProblem:
  """Makes a problem by name.

  Args:
    spec: a part of `PROBLEMS`.
    **options: of the problem, where the part does not set them.

  Returns:
    The problem.

  Raises:
    ValueError: if the name, an option or a value is wrong; it lists what
      exists.

  Example:
    >>> make_problem('tsp(distribution=ring)').name
    'tsp'
  """
  return PROBLEMS.make(spec, **options)
