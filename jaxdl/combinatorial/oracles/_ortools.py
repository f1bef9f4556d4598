# SPDX-License-Identifier: Apache-2.0
"""Routes, items and vertices by OR-tools."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import _choices, _routes
from jaxdl.combinatorial.oracles import _integers, _measure
from jaxdl.core import checks, extras

_NAME = 'oracle=ortools'


def ortools(
  problem: str,
  instance: _problem.Instance,
  *,
  time_limit: float = 5.0,
  num_solutions: int | None = None,
  scale: float | None = None,
  seed: int = 0,
) -> tuple[Any, bool]:
  """Solves any problem: guided local search, knapsack and CP-SAT.

  Args:
    problem: any of the ten.
    instance: of it.
    time_limit: seconds, all of which are used for routes without
      `num_solutions`, so that these depend on the machine.
    num_solutions: after how many steps of the local search routes are taken,
      of each start; equal on all machines that need less than `time_limit`,
      which ends a search that has no further step. None for no bound.
    scale: what lengths are multiplied by before they are rounded to integers;
      None for six digits of the longest.
    seed: of CP-SAT (mis).

  Returns:
    The solution, and whether it is proved to be best (kp, mis).

  Raises:
    ImportError: if OR-tools is not installed.
    ValueError: if nothing was found in time, or a scaled length exceeds 1e7.
  """
  checks.number(time_limit, name='time_limit', low=0.0, open_low=True)
  if num_solutions is not None:
    checks.integer(num_solutions, name='num_solutions', low=1)
  checks.integer(seed, name='seed', low=0, high=2**31 - 1)
  if problem == 'kp':
    return _knapsack(instance, time_limit)
  if problem == 'mis':
    return _independent_set(instance, time_limit, seed)
  return _routing(problem, instance, time_limit, num_solutions, scale)


def _knapsack(instance, time_limit):
  """Branch and bound; weights are rounded up, so that they fit."""
  knapsack = extras.require('ortools.algorithms.python.knapsack_solver', _NAME)
  weights = _measure.array(instance, 'weights', 'kp')
  values = _measure.array(instance, 'values', 'kp')
  capacity = float(_measure.array(instance, 'capacity', 'kp'))
  scale = 1e8 / max(weights.max(), capacity, 1e-30)
  worth = 1e8 / max(values.max(), 1e-30)
  solver = knapsack.KnapsackSolver(
    knapsack.SolverType.KNAPSACK_MULTIDIMENSION_BRANCH_AND_BOUND_SOLVER,
    'items',
  )
  solver.set_time_limit(time_limit)
  solver.init(
    np.round(worth * values).astype(int).tolist(),
    [np.ceil(scale * weights).astype(int).tolist()],
    [math.floor(scale * capacity)],
  )
  solver.solve()
  chosen = [solver.best_solution_contains(i) for i in range(len(weights))]
  return _problem.Subset(np.array(chosen)), solver.is_solution_optimal()


def _independent_set(instance, time_limit, seed):
  """One of the two ends of every edge at most."""
  cp = extras.require('ortools.sat.python.cp_model', _NAME)
  model = cp.CpModel()
  nodes, edges = _measure.graph(instance)
  chosen = [model.new_bool_var('') for _ in nodes]
  for a, b in edges.tolist():
    model.add_bool_or(~chosen[a], ~chosen[b])
  for node in np.flatnonzero(~nodes):
    model.add(chosen[int(node)] == 0)
  model.maximize(sum(chosen))
  solver = cp.CpSolver()
  solver.parameters.max_time_in_seconds = time_limit
  solver.parameters.random_seed = seed
  status = solver.solve(model)
  if status not in (cp.OPTIMAL, cp.FEASIBLE):
    raise ValueError(
      f'{_NAME} found no solution of mis with {len(nodes)} nodes in '
      f'{time_limit:g} s: raise time_limit.'
    )
  values = np.array([bool(solver.value(v)) for v in chosen])
  return _problem.Subset(values), status == cp.OPTIMAL


def _routing(problem, instance, time_limit, num_solutions, scale):
  """Guided local search from parallel cheapest insertion."""
  solver = extras.require('ortools.constraint_solver.pywrapcp', _NAME)
  matrix = _measure.distances(instance, problem)
  count = len(matrix)
  if count == 1:
    return _measure.solution_of_routes(problem, [[]], 1), True
  lengths, scale = _integers.lengths(matrix, scale)
  if problem == 'ovrp':
    lengths[:, 0] = 0
  vehicles = _num_vehicles(problem, instance, count)
  manager = solver.RoutingIndexManager(count, vehicles, 0)
  model = solver.RoutingModel(manager)
  ways = model.RegisterTransitMatrix(lengths.tolist())
  model.SetArcCostEvaluatorOfAllVehicles(ways)
  add = _PARTS.get(problem)
  if add is not None:
    nodes = [manager.NodeToIndex(i) for i in range(1, count)]
    add(model, instance, nodes, ways, scale, problem)
  # Of two starts neither is always the better one.
  begins = _begins(problem, instance)
  wanted = _parameters(solver, time_limit / len(begins), num_solutions)
  model.CloseModelWithParameters(wanted)
  best, lists = math.inf, None
  for begin in begins:
    first = begin and model.ReadAssignmentFromRoutes(begin, True)
    found = (
      model.SolveFromAssignmentWithParameters(first, wanted)
      if first
      else model.SolveWithParameters(wanted)
    )
    # What was found is gone with the next run.
    if found and found.ObjectiveValue() < best:
      best = found.ObjectiveValue()
      lists = [_route(manager, model, found, v) for v in range(vehicles)]
  if lists is None:
    raise ValueError(
      f'{_NAME} found no solution of {problem} with {count} nodes in '
      f'{time_limit:g} s: raise time_limit.'
    )
  if problem == 'mtsp':
    lists = _split_longest(lists)
  return _measure.solution_of_routes(problem, lists, count), False


def _parameters(solver, seconds, num_solutions):
  enums = extras.require('ortools.constraint_solver.routing_enums_pb2', _NAME)
  wanted = solver.DefaultRoutingSearchParameters()
  wanted.first_solution_strategy = (
    enums.FirstSolutionStrategy.PARALLEL_CHEAPEST_INSERTION
  )
  wanted.local_search_metaheuristic = (
    enums.LocalSearchMetaheuristic.GUIDED_LOCAL_SEARCH
  )
  if num_solutions is not None:
    wanted.solution_limit = num_solutions
  wanted.time_limit.FromMilliseconds(max(1, round(1000 * seconds)))
  return wanted


def _route(manager, model, found, vehicle):
  """Customers of a vehicle, in turn."""
  at, nodes = model.Start(vehicle), []
  while not model.IsEnd(at):
    nodes.append(manager.IndexToNode(at))
    at = found.Value(model.NextVar(at))
  return nodes[1:]


def _begins(problem, instance):
  """Customers in lists; None for what the solver begins with itself."""
  if problem == 'mtsp':
    rules = [_routes.sweep, _routes.shortest_route_next]
    found = [rule(instance) for rule in rules]
    lengths = [_measure.measured(problem, instance, s) for s in found]
    return [_routes.routes_of(found[int(np.argmin(lengths))])]
  if problem == 'op':
    tour = _choices.insert_prizes(instance)
    order, visited = np.asarray(tour.order), np.asarray(tour.visited)
    return [None, [order[visited][1:].tolist()]]
  return [None]


def _num_vehicles(problem, instance, count):
  if problem == 'mtsp':
    salesmen = int(_measure.array(instance, 'num_salesmen', problem))
    return checks.integer(salesmen, name='num_salesmen', low=1, high=count - 1)
  if problem in ('cvrp', 'ovrp'):
    demands = _measure.array(instance, 'demands', problem)
    # Where two routes fit into one, one of them is not needed.
    return min(count - 1, 2 * math.ceil(demands.sum()) + 5)
  return 1


def _split_longest(lists):
  """Routes of which none is empty; none gets longer where costs are metric."""
  lists = sorted(lists, key=len)
  while not lists[0]:
    lists[0] = [lists[-1].pop()]
    lists.sort(key=len)
  return lists


def _add_loads(model, instance, nodes, ways, scale, problem):
  demands = _measure.array(instance, 'demands', problem)
  load = model.RegisterUnaryTransitVector(_integers.loads(demands).tolist())
  most = _integers.LOAD + _integers.SLACK
  model.AddDimension(load, 0, most, True, 'load')


def _add_longest(model, instance, nodes, ways, scale, problem):
  model.AddDimension(ways, 0, 2**40, True, 'length')
  # The longest route first, then the sum of all.
  model.GetDimensionOrDie('length').SetGlobalSpanCostCoefficient(100)


def _add_limit(model, instance, nodes, ways, scale, problem):
  limit = float(_measure.array(instance, 'length', problem))
  model.AddDimension(ways, 0, math.floor(limit * scale), True, 'length')
  prizes = _measure.array(instance, 'prizes', problem)
  # Prize first, then length, which guides the search.
  worth = np.round(prizes * 1e10 / max(prizes.max(), 1e-30)).astype(int)
  for node, prize in zip(nodes, worth[1:].tolist(), strict=True):
    model.AddDisjunction([node], prize)


def _add_penalties(model, instance, nodes, ways, scale, problem):
  lost = np.round(scale * _measure.array(instance, 'penalties', problem))
  for node, penalty in zip(nodes, lost[1:].astype(int).tolist(), strict=True):
    model.AddDisjunction([node], penalty)
  prizes, goal = _integers.collected(*_measure.prizes(instance, problem))
  rows = zip(nodes, prizes[1:].tolist(), strict=True)
  inside = [model.ActiveVar(node) * prize for node, prize in rows]
  solver = model.solver()
  solver.Add(solver.Sum(inside) >= goal - int(prizes[0]))


_PARTS: dict[str, Callable[..., None]] = {
  'cvrp': _add_loads,
  'ovrp': _add_loads,
  'mtsp': _add_longest,
  'op': _add_limit,
  'pctsp': _add_penalties,
  'spctsp': _add_penalties,
}
