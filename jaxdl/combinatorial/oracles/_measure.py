# SPDX-License-Identifier: Apache-2.0
"""Instances and solutions in float64 on the host, and what they cost."""

import functools
from typing import Any

import numpy as np

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import _registry, _routes
from jaxdl.core import checks, extras

MAXIMIZED = ('kp', 'op', 'mis')


def array(instance: _problem.Instance, field: str, problem: str) -> np.ndarray:
  """Reads an entry of an instance.

  Args:
    instance: of a problem.
    field: its name.
    problem: for the message.

  Returns:
    f64[...].

  Raises:
    ValueError: if there is none, or it is not finite.
  """
  if field not in instance:
    raise ValueError(
      f'instance has no {field}, which {problem} needs; it has '
      f'{", ".join(instance) or "nothing"}.'
    )
  found = np.asarray(instance[field], np.float64)
  checks.known(found, name=f'instance[{field!r}]')
  return found


def distances(instance: _problem.Instance, problem: str) -> np.ndarray:
  """Costs of all ways, f64[M, M].

  Args:
    instance: with `points` or `costs`.
    problem: for the message.

  Returns:
    The matrix, with a zero diagonal.

  Cost: O(M²) memory.
  """
  if 'costs' in instance:
    found = array(instance, 'costs', problem).copy()
    np.fill_diagonal(found, 0.0)
    return found
  points = array(instance, 'points', problem)
  spatial = extras.require('scipy.spatial.distance', 'distances')
  return spatial.cdist(points, points)


def _closed(instance, problem, order, *, back=True):
  """Length of a tour, without a matrix of all ways."""
  order = np.asarray(order)
  a, b = (order, np.roll(order, -1)) if back else (order[:-1], order[1:])
  if 'costs' in instance:
    legs = np.where(a == b, 0.0, array(instance, 'costs', problem)[a, b])
    return float(legs.sum())
  points = array(instance, 'points', problem)
  return float(np.sqrt(np.square(points[a] - points[b]).sum(-1)).sum())


def measured(problem: Any, instance: _problem.Instance, solution: Any) -> float:
  """Measures a solution in float64, by other code than the problem's own.

  Args:
    problem: a `CombinatorialProblem`, or its name.
    instance: of the problem.
    solution: of the problem, taken to be feasible.

  Returns:
    The objective: length, longest route (mtsp), prize (op), length and
    penalties (pctsp, spctsp), value (kp), number of vertices (mis).

  Example:
    >>> import numpy as np
    >>> from jaxdl.combinatorial import _problem
    >>> square = {'points': np.array([[0, 0], [1, 0], [1, 1], [0, 1]])}
    >>> measured('tsp', square, _problem.Tour(np.array([0, 1, 2, 3])))
    4.0
  """
  name = _registry.name_of(problem)
  if name == 'kp':
    chosen = np.asarray(solution.chosen, bool)
    return float(array(instance, 'values', name)[chosen].sum())
  if name == 'mis':
    return float(np.asarray(solution.chosen, bool).sum())
  order = np.asarray(solution.order)
  length = functools.partial(_closed, instance, name)
  if name in ('tsp', 'atsp'):
    return length(order)
  if name in ('cvrp', 'ovrp', 'mtsp'):
    lists = _routes.routes_of(solution)
    lengths = [length([0, *r], back=name != 'ovrp') for r in lists]
    return max(lengths) if name == 'mtsp' else sum(lengths)
  visited = order[np.asarray(solution.visited, bool)]
  if name == 'op':
    return float(array(instance, 'prizes', name)[visited].sum())
  penalties = array(instance, 'penalties', name)
  left = penalties.sum() - penalties[visited].sum()
  return length(visited) + float(left)


def tour(order: Any) -> _problem.Tour:
  """A tour on the host."""
  return _problem.Tour(np.asarray(order, np.int32))


def routes(lists: list[list[int]]) -> _problem.Routes:
  """Routes on the host, of customers in lists."""
  full = [np.asarray(r, np.int32) for r in lists if len(r)]
  last = [np.arange(len(r)) == len(r) - 1 for r in full]
  return _problem.Routes(np.concatenate(full), np.concatenate(last))


def visits(order: list[int], num_nodes: int) -> _problem.Visits:
  """Visits on the host, of the nodes of a tour from the depot on."""
  rest = np.setdiff1d(np.arange(num_nodes), order)
  whole = np.concatenate([np.asarray(order, int), rest]).astype(np.int32)
  return _problem.Visits(whole, np.arange(num_nodes) < len(order))


def solution_of_routes(
  problem: str, lists: list[list[int]], num_nodes: int
) -> Any:
  """Makes a solution of customers in lists, the depot 0 not among them.

  Args:
    problem: its name.
    lists: customers of each route; one list where there is one tour.
    num_nodes: with the depot.

  Returns:
    A tour, routes or visits, as the problem has them.
  """
  if problem in ('cvrp', 'ovrp', 'mtsp'):
    return routes(lists)
  whole = [0, *(node for route in lists for node in route)]
  if problem in ('tsp', 'atsp'):
    return tour(whole)
  return visits(whole, num_nodes)


def prizes(
  instance: _problem.Instance, problem: str
) -> tuple[np.ndarray, float]:
  """What is collected of each node, and how much must be.

  Of spctsp these are the real prizes, which no policy sees before it visits.
  """
  field = 'real_prizes' if problem == 'spctsp' else 'prizes'
  target = array(instance, 'target', problem)
  return array(instance, field, problem), float(target)


def graph(instance: _problem.Instance) -> tuple[np.ndarray, np.ndarray]:
  """Vertices that may be chosen, bool[N], and edges i64[E, 2], no padding."""
  for field in ('nodes', 'edges'):
    array(instance, field, 'mis')
  nodes = np.asarray(instance['nodes'], bool)
  edges = np.asarray(instance['edges'], np.int64).reshape(-1, 2)
  return nodes, edges[(edges < len(nodes)).all(axis=1)]
