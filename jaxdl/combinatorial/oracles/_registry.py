# SPDX-License-Identifier: Apache-2.0
"""Strong solvers by name, and which problem each serves."""

from typing import Any, NamedTuple

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import _registry as _classical
from jaxdl.combinatorial.oracles import (
  _lkh,
  _measure,
  _milp,
  _ortools,
  _pyvrp,
)
from jaxdl.core import registry

SERVED = {
  'elkai': ('tsp', 'atsp'),
  'ortools': _classical.NAMES,
  'pyvrp': ('tsp', 'cvrp', 'ovrp', 'op', 'pctsp', 'spctsp'),
  'milp': ('tsp', 'atsp', 'op', 'pctsp', 'spctsp', 'kp', 'mis'),
}
ORACLES = registry.Registry(
  'oracle',
  {
    'elkai': _lkh.elkai,
    'ortools': _ortools.ortools,
    'pyvrp': _pyvrp.pyvrp,
    'milp': _milp.milp,
  },
  given=('problem', 'instance'),
)


class Answer(NamedTuple):
  """What a strong solver found.

  Attributes:
    solution: of the problem, leaves on the host.
    objective: in float64, of the instance as it is, not of scaled integers.
    proved: whether the solver proved that nothing is better.
  """

  solution: Any
  objective: float
  proved: bool


def check_oracle(spec: str, problem: Any) -> None:
  """Checks that a solver exists and serves a problem.

  Args:
    spec: of `ORACLES`.
    problem: a `CombinatorialProblem`, or its name.

  Raises:
    ValueError: if not; the message lists what serves.

  Example:
    >>> check_oracle('elkai', 'kp')
    Traceback (most recent call last):
    ...
    ValueError: oracle='elkai' does not serve the problem 'kp': elkai serves
    tsp, atsp; for 'kp' there is ortools, milp.
  """
  name = _classical.name_of(problem)
  part = ORACLES.part(spec, name='oracle')
  _classical.check_served('oracle', spec, part.name, name, SERVED)


def oracle(spec: str, problem: Any, instance: _problem.Instance) -> Answer:
  """Solves an instance by a solver that is made for that.

  On the host. Of spctsp the answer is that of someone who knows real prizes.

  Args:
    spec: of `ORACLES`: 'elkai', 'ortools', 'pyvrp' or 'milp', with options.
    problem: a `CombinatorialProblem`, or its name.
    instance: of the problem, concrete.

  Returns:
    The answer.

  Raises:
    ValueError: if the solver is unknown, does not serve the problem, or found
      nothing.
    ImportError: if the package of the solver is not installed.

  Example:
    >>> points = np.random.default_rng(0).random((10, 2))
    >>> round(oracle('milp', 'tsp', {'points': points}).objective, 7)
    3.2792105
  """
  check_oracle(spec, problem)
  name = _classical.name_of(problem)
  solution, proved = ORACLES.make(spec, name, instance)
  objective = _measure.measured(name, instance, solution)
  return Answer(solution, objective, bool(proved))
