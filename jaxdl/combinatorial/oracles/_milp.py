# SPDX-License-Identifier: Apache-2.0
"""Exact answers by mixed-integer linear programs (HiGHS, in scipy)."""

import time
from typing import Any

import networkx as nx
import numpy as np

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.oracles import _measure
from jaxdl.core import checks, extras

_NAME = 'oracle=milp'


def milp(
  problem: str,
  instance: _problem.Instance,
  *,
  time_limit: float = 60.0,
) -> tuple[Any, bool]:
  """Solves to the optimum: items, vertices, and tours of some tens of nodes.

  Tours that do not reach the depot are cut off as they appear.

  Args:
    problem: 'kp', 'mis', 'tsp', 'atsp', 'op', 'pctsp' or 'spctsp'.
    instance: of it.
    time_limit: seconds.

  Returns:
    The solution, and whether it is proved to be best.

  Raises:
    ValueError: if nothing was found in time.

  Cost: exponential at worst; kp and mis of hundreds, tours of about 50 nodes
    take seconds.
  """
  checks.number(time_limit, name='time_limit', low=0.0, open_low=True)
  if problem == 'kp':
    weights = _measure.array(instance, 'weights', problem)
    capacity = _measure.array(instance, 'capacity', problem)
    values = _measure.array(instance, 'values', problem)
    x, proved = _solve(
      -values, [(weights[None], -np.inf, capacity)], time_limit
    )
    return _problem.Subset(x), proved
  if problem == 'mis':
    return _independent_set(instance, time_limit)
  return _tour(problem, instance, time_limit)


def _solve(costs, rows, time_limit, allowed=None):
  """Which variables are one; `rows` are (matrix, low, high)."""
  optimize = extras.require('scipy.optimize', _NAME)
  high = np.ones(len(costs)) if allowed is None else allowed.astype(float)
  found = optimize.milp(
    costs,
    constraints=[optimize.LinearConstraint(*row) for row in rows],
    integrality=np.ones(len(costs)),
    bounds=optimize.Bounds(np.zeros(len(costs)), high),
    options={'time_limit': float(max(time_limit, 0.01)), 'mip_rel_gap': 0.0},
  )
  if found.x is None:
    raise ValueError(
      f'{_NAME} found no solution: {found.message} Raise time_limit where that '
      'is what ended it.'
    )
  return found.x > 0.5, found.status == 0


def _independent_set(instance, time_limit):
  """Cliques, found greedily, make stronger rows than their edges."""
  sparse = extras.require('scipy.sparse', _NAME)
  nodes, edges = _measure.graph(instance)
  near = np.zeros((len(nodes), len(nodes)), bool)
  near[edges[:, 0], edges[:, 1]] = near[edges[:, 1], edges[:, 0]] = True
  covered = ~near
  places = []
  for a, b in edges.tolist():
    if covered[a, b]:
      continue
    clique, common = [a, b], near[a] & near[b]
    while common.any():
      node = int(np.argmax(common))
      clique.append(node)
      common = common & near[node]
    covered[np.ix_(clique, clique)] = True
    places.append(clique)
  rows = []
  if places:
    where = np.repeat(np.arange(len(places)), [len(p) for p in places])
    columns = np.concatenate(places)
    shape = (len(places), len(nodes))
    ones = np.ones(len(columns))
    rows = [(sparse.csr_array((ones, (where, columns)), shape), -np.inf, 1.0)]
  x, proved = _solve(-np.ones(len(nodes)), rows, time_limit, allowed=nodes)
  return _problem.Subset(x), proved


def _tour(problem, instance, time_limit):
  """Arcs and visits; what does not reach the depot is cut off."""
  begin = time.monotonic()
  matrix = _measure.distances(instance, problem)
  num = len(matrix)
  if num == 1:
    return _measure.solution_of_routes(problem, [[]], 1), True
  arcs = np.argwhere(~np.eye(num, dtype=bool))
  lengths = matrix[arcs[:, 0], arcs[:, 1]]
  leaving = (arcs[:, 0] == np.arange(num)[:, None]).astype(float)
  reaching = (arcs[:, 1] == np.arange(num)[:, None]).astype(float)
  # Variables: arcs, then whether each node is visited.
  visits = -np.eye(num)
  rows = [
    (np.hstack([leaving, visits]), 0.0, 0.0),
    (np.hstack([reaching, visits]), 0.0, 0.0),
  ]
  costs = np.concatenate([lengths, np.zeros(num)])
  wide = lambda arcs_part, nodes_part: np.concatenate([arcs_part, nodes_part])
  if problem in ('tsp', 'atsp'):
    rows.append((wide(0 * lengths, np.ones(num))[None], num, num))
  elif problem == 'op':
    limit = _measure.array(instance, 'length', problem)
    rows.append((wide(lengths, np.zeros(num))[None], -np.inf, limit))
    costs = wide(0 * lengths, -_measure.array(instance, 'prizes', problem))
  else:
    prizes, target = _measure.prizes(instance, problem)
    target = min(target, float(prizes.sum())) - 1e-9
    rows.append((wide(0 * lengths, prizes)[None], target, np.inf))
    costs[len(arcs) :] = -_measure.array(instance, 'penalties', problem)
  # Staying at the depot is no tour of arcs: weigh it afterwards.
  depot = wide(0 * lengths, np.eye(num)[0])[None]
  rows.append((depot, 1.0, 1.0))
  while True:
    left = time_limit - (time.monotonic() - begin)
    try:
      x, proved = _solve(costs, rows, left)
    except ValueError:
      if problem != 'op':
        raise
      return _measure.visits([0], num), True
    taken = arcs[x[: len(arcs)]]
    parts = nx.weakly_connected_components(nx.DiGraph(taken.tolist()))
    outside = [sorted(part) for part in parts if 0 not in part]
    if not outside:
      break
    for part in outside:
      inside = np.isin(np.arange(num), part)
      out = (inside[arcs[:, 0]] & ~inside[arcs[:, 1]]).astype(float)
      each = np.eye(num)[part]
      rows.append((np.hstack([np.tile(out, (len(part), 1)), -each]), 0, np.inf))
  following = dict(taken.tolist())
  order, node = [0], following[0]
  while node:
    order.append(node)
    node = following[node]
  return _against_staying(problem, instance, order, num), proved


def _against_staying(problem, instance, order, num):
  """The tour, or the depot alone where that is allowed and better."""
  found = _measure.solution_of_routes(problem, [order[1:]], num)
  if problem not in ('pctsp', 'spctsp'):
    return found
  prizes, target = _measure.prizes(instance, problem)
  alone = _measure.visits([0], num)
  values = [_measure.measured(problem, instance, s) for s in (alone, found)]
  return alone if prizes[0] >= target and values[0] < values[1] else found
