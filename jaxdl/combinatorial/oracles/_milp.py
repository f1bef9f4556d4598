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

  Cost: exponential at worst; kp and mis of hundreds and tours of about 50 nodes
    take seconds, but op only of about 10.
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
  if num == 1 or _too_far(problem, instance, matrix):
    return _measure.solution_of_routes(problem, [[]], num), True
  arcs, costs, rows = _arcs(problem, instance, matrix)
  while True:
    left = time_limit - (time.monotonic() - begin)
    x, proved = _solve(costs, rows, left)
    taken = arcs[x[: len(arcs)]]
    parts = nx.weakly_connected_components(nx.DiGraph(taken.tolist()))
    outside = [sorted(part) for part in parts if 0 not in part]
    if not outside:
      break
    if not proved:
      raise ValueError(
        f'{_NAME} found no tour of {num} nodes in {time_limit:g} s: raise '
        'time_limit.'
      )
    for part in outside:
      inside = np.isin(np.arange(num), part)
      out = (inside[arcs[:, 0]] & ~inside[arcs[:, 1]]).astype(float)
      each = np.eye(num)[part]
      rows.append((np.hstack([np.tile(out, (len(part), 1)), -each]), 0, np.inf))
  following = dict(taken.tolist())
  order, node = [], following[0]
  while node:
    order.append(node)
    node = following[node]
  return _against_staying(problem, instance, order, num), proved


def _too_far(problem, instance, matrix):
  """Whether the depot alone is all that a limit allows."""
  if problem != 'op':
    return False
  limit = float(_measure.array(instance, 'length', problem))
  return bool((matrix[0] + matrix[:, 0])[1:].min() > limit)


def _arcs(problem, instance, matrix):
  """Arcs i64[A, 2], costs of arcs and of visits f64[A + N], and rows.

  The depot has one arc out and one in: staying there is weighed afterwards.
  """
  num = len(matrix)
  arcs = np.argwhere(~np.eye(num, dtype=bool))
  lengths = matrix[arcs[:, 0], arcs[:, 1]]
  node = np.arange(num)[:, None]
  leaving, reaching = (arcs[:, side] == node for side in (0, 1))
  row = lambda of_arcs, of_nodes: np.concatenate([of_arcs, of_nodes])[None]
  none, no_arcs = np.zeros(num), np.zeros(len(arcs))
  rows = [
    (np.hstack([leaving, -np.eye(num)]), 0.0, 0.0),
    (np.hstack([reaching, -np.eye(num)]), 0.0, 0.0),
    (row(no_arcs, np.eye(num)[0]), 1.0, 1.0),
  ]
  if problem in ('tsp', 'atsp'):
    rows.append((row(no_arcs, none + 1), num, num))
    return arcs, row(lengths, none)[0], rows
  if problem == 'op':
    limit = float(_measure.array(instance, 'length', problem))
    rows.append((row(lengths, none), -np.inf, limit + 1e-9))
    prizes = _measure.array(instance, 'prizes', problem)
    return arcs, row(no_arcs, -prizes)[0], rows
  prizes, target = _measure.prizes(instance, problem)
  target = min(target, float(prizes.sum())) - 1e-9
  rows.append((row(no_arcs, prizes), target, np.inf))
  penalties = _measure.array(instance, 'penalties', problem)
  return arcs, row(lengths, -penalties)[0], rows


def _against_staying(problem, instance, order, num):
  """The tour, or the depot alone where that is allowed and better."""
  found = _measure.solution_of_routes(problem, [order], num)
  if problem not in ('pctsp', 'spctsp'):
    return found
  prizes, target = _measure.prizes(instance, problem)
  alone = _measure.visits([0], num)
  values = [_measure.measured(problem, instance, s) for s in (alone, found)]
  return alone if prizes[0] >= target and values[0] < values[1] else found
