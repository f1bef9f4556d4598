# SPDX-License-Identifier: Apache-2.0
"""Baselines by name, and which problem each serves."""

from typing import Any

import chex
import jax

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import (
  _choices,
  _clusters,
  _routes,
  _tours,
)
from jaxdl.core import checks, registry

NAMES = (
  *('tsp', 'cvrp', 'ovrp', 'kp', 'op', 'pctsp', 'spctsp', 'mtsp', 'atsp'),
  'mis',
)
_TOURS, _ROUTES = ('tsp', 'atsp'), ('cvrp', 'ovrp', 'mtsp')
SERVED = {
  'greedy': NAMES,
  'nearest_neighbor': (*_TOURS, *_ROUTES),
  'random_insertion': _TOURS,
  'farthest_insertion': _TOURS,
  'two_opt': ('tsp',),
  'clusters': ('tsp',),
  'savings': ('cvrp', 'ovrp'),
  'sweep': _ROUTES,
}


def name_of(problem: Any) -> str:
  """Returns the name of a problem.

  Args:
    problem: a `CombinatorialProblem`, or its name.

  Returns:
    The name.

  Raises:
    ValueError: if it is none of the ten; the message lists them.
  """
  name = problem if isinstance(problem, str) else getattr(problem, 'name', None)
  if name is None:
    raise TypeError(
      'problem must be a CombinatorialProblem or a name; got '
      f'{checks.described(problem)}.'
    )
  checks.choice(name, NAMES, name='problem')
  return name


def check_served(kind: str, spec: str, name: str, problem: str, served) -> None:
  """Checks that a solver serves a problem.

  Args:
    kind: of the solver, for the message.
    spec: as it was written, for the message.
    name: of the solver.
    problem: its name.
    served: problems by solver.

  Raises:
    ValueError: if not; the message lists what serves.
  """
  if problem in served[name]:
    return
  others = ', '.join(k for k, v in served.items() if problem in v) or 'none'
  raise ValueError(
    f'{kind}={spec!r} does not serve the problem {problem!r}: {name} serves '
    f'{", ".join(served[name])}; for {problem!r} there is {others}.'
  )


def _greedy(problem, instance, key=None):
  """The default of the problem, the simplest rule that is not random."""
  del key
  rules = {
    'kp': _choices.greedy_ratio,
    'mis': _choices.minimum_degree,
    'op': _choices.insert_prizes,
    'pctsp': _choices.insert_penalties,
    'spctsp': _choices.insert_penalties,
  }
  return rules.get(problem, lambda x: _nearest(problem, x))(instance)


def _nearest(problem, instance, key=None, *, start=0):
  if problem == 'mtsp':
    return _routes.shortest_route_next(instance)
  if problem in _ROUTES:
    return _routes.nearest_customer(instance)
  return _tours.nearest_neighbor(instance, start=start, key=key)


def _random_insertion(problem, instance, key):
  return _tours.random_insertion(instance, key=key)


def _farthest_insertion(problem, instance, key=None, *, start=0):
  return _tours.farthest_insertion(instance, start=start, key=key)


def _two_opt(
  problem,
  instance,
  key=None,
  *,
  start='nearest_neighbor',
  max_moves=100_000,
):
  tour = baseline(start, problem, instance, key=key)
  return _tours.two_opt(instance, tour, max_moves=max_moves)


def _cluster_tour(problem, instance, key=None, *, size=100, by='cells'):
  return _clusters.clusters(instance, size=size, by=by, key=key)


def _savings(problem, instance, key=None, *, num_neighbors=100):
  back = problem != 'ovrp'
  return _routes.savings(instance, back=back, num_neighbors=num_neighbors)


def _sweep(problem, instance, key=None, *, start=0.0):
  return _routes.sweep(instance, start=start)


CLASSICAL = registry.Registry(
  'baseline',
  {
    'greedy': _greedy,
    'nearest_neighbor': _nearest,
    'random_insertion': _random_insertion,
    'farthest_insertion': _farthest_insertion,
    'two_opt': _two_opt,
    'clusters': _cluster_tour,
    'savings': _savings,
    'sweep': _sweep,
  },
  given=('problem', 'instance', 'key'),
)


def check_baseline(spec: str, problem: Any) -> None:
  """Checks that a rule exists and serves a problem.

  Args:
    spec: of `CLASSICAL`.
    problem: a `CombinatorialProblem`, or its name.

  Raises:
    ValueError: if not; the message lists what serves.
  """
  part = CLASSICAL.part(spec, name='baseline')
  check_served('baseline', spec, part.name, name_of(problem), SERVED)


def baseline(
  spec: str,
  problem: Any,
  instance: _problem.Instance,
  *,
  key: chex.PRNGKey | None = None,
) -> Any:
  """Solves an instance by a rule that needs no training.

  Args:
    spec: of `CLASSICAL`, for example 'two_opt(start=farthest_insertion)';
      'greedy' serves every problem.
    problem: a `CombinatorialProblem`, or its name.
    instance: of the problem, not checked.
    key: consumed by rules that draw; None for a fixed one.

  Returns:
    A solution of the problem, feasible.

  Raises:
    ValueError: if the rule is unknown or does not serve the problem.

  Example:
    >>> points = jax.random.uniform(jax.random.key(0), (20, 2))
    >>> tour = baseline('two_opt', 'tsp', {'points': points})
    >>> len(tour.order)
    20
  """
  name = name_of(problem)
  part = CLASSICAL.part(spec, name='baseline')
  check_served('baseline', spec, part.name, name, SERVED)
  key = jax.random.key(0) if key is None else key
  return CLASSICAL.make(spec, name, instance, key=key)
