# SPDX-License-Identifier: Apache-2.0
"""Solutions as rows of places, for pictures."""

from typing import Any

import networkx as nx
import numpy as np

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.classical import _registry, _routes
from jaxdl.combinatorial.oracles import _measure
from jaxdl.core import checks

Row = dict[str, Any]

# Larger graphs are laid out on a circle, and their edges are not drawn.
_LAID_OUT, _MOST_EDGES = 300, 3000


def solution_rows(
  problem: Any,
  instance: _problem.Instance,
  solution: Any,
  *,
  size: int | None = None,
  shift: int = 0,
  pieces: Any = None,
) -> list[Row]:
  """Turns a solution into rows of places, for `plots.solutions`.

  Nodes of problems without places (atsp, mis) lie on a circle or where a spring
  layout puts them; items (kp) at their weight and value.

  Args:
    problem: a `CombinatorialProblem`, or its name.
    instance: of the problem.
    solution: of the problem.
    size: n, nodes of a piece; consecutive ones of a tour, or customers of
      routes, are a piece. None for no pieces.
    shift: where the first piece begins.
    pieces: i[M], number of the piece of each node, in place of `size`.

  Returns:
    A row per node with 'kind', 'node', 'x', 'y', 'place' in turn (-1 where it
    is on no tour), 'route', 'piece' (-1 for none), 'taken', 'closed' and the
    'objective' of the whole; rows of the kind 'edge' with 'to_x' and 'to_y'
    for mis.

  Raises:
    ValueError: if `size` or `shift` is out of range.

  Example:
    >>> square = {'points': np.array([[0, 0], [1, 0], [1, 1], [0, 1]])}
    >>> tour = _problem.Tour(np.array([0, 2, 1, 3]))
    >>> rows = solution_rows('tsp', square, tour, size=2)
    >>> [row['place'] for row in rows], [row['piece'] for row in rows]
    ([0, 2, 1, 3], [0, 1, 0, 1])
  """
  name = _registry.name_of(problem)
  points, edges = _places(name, instance, solution)
  count = len(points)
  place, route = np.full(count, -1), np.full(count, -1)
  taken = np.ones(count, bool)
  if name in ('kp', 'mis'):
    taken = np.asarray(solution.chosen, bool)
  else:
    order = np.asarray(solution.order)
    if name in ('op', 'pctsp', 'spctsp'):
      taken[order] = np.asarray(solution.visited, bool)
      order = order[np.asarray(solution.visited, bool)]
    if size is not None and pieces is None:
      pieces = _consecutive(order, count, size, shift)
    lists = [order.tolist()]
    if name in ('cvrp', 'ovrp', 'mtsp'):
      lists = _routes.routes_of(solution)
    order = np.concatenate(lists).astype(int)
    place[order] = np.arange(len(order))
    route[order] = np.repeat(np.arange(len(lists)), [len(r) for r in lists])
  pieces = np.full(count, -1) if pieces is None else np.asarray(pieces)
  objective = _measure.measured(name, instance, solution)
  kind = 'item' if name == 'kp' else 'node'
  rows = []
  for k in range(count):
    depot = k == 0 and name not in ('tsp', 'atsp', 'kp', 'mis')
    rows.append(
      {
        'kind': 'depot' if depot else kind,
        'node': k,
        'x': float(points[k, 0]),
        'y': float(points[k, 1]),
        'place': int(place[k]),
        'route': int(route[k]),
        'piece': int(pieces[k]),
        'taken': int(taken[k]),
        'closed': int(name != 'ovrp'),
        'objective': objective,
      }
    )
  for a, b in edges:
    ends = dict(zip(('x', 'y'), map(float, points[a]), strict=True))
    ends |= dict(zip(('to_x', 'to_y'), map(float, points[b]), strict=True))
    rows.append({'kind': 'edge', **ends})
  return rows


def _consecutive(order, count, size, shift):
  """Pieces of nodes that follow one another; what is left over is in none."""
  checks.integer(size, name='size', low=1)
  shift = checks.integer(shift, name='shift', low=0) % len(order)
  found = np.full(count, -1)
  found[np.roll(order, -shift)] = np.arange(len(order)) // size
  return np.where(found >= len(order) // size, -1, found)


def _places(name, instance, solution):
  """Where nodes are drawn, f64[M, 2], and the edges that are."""
  none = np.zeros((0, 2), int)
  if name == 'kp':
    columns = [_measure.array(instance, k, name) for k in ('weights', 'values')]
    return np.stack(columns, axis=1), none
  if name == 'mis':
    nodes, edges = _measure.graph(instance)
    return _laid_out(len(nodes), edges), edges if len(
      edges
    ) <= _MOST_EDGES else none
  if 'points' in instance:
    return _measure.array(instance, 'points', name), none
  return _circle(len(np.asarray(solution.order))), none


def _laid_out(count, edges):
  """Springs hold what has edges; the others stand below in a row."""
  if count > _LAID_OUT:
    return _circle(count)
  graph = nx.Graph(edges.tolist())
  points = np.zeros((count, 2))
  for node, place in nx.spring_layout(graph, seed=0).items():
    points[node] = place
  alone = np.setdiff1d(np.arange(count), edges)
  points[alone, 0] = np.linspace(-1, 1, len(alone) + 2)[1:-1]
  points[alone, 1] = points[:, 1].min() - 0.25
  return points


def _circle(count):
  angles = 2 * np.pi * np.arange(count) / count
  return np.stack([np.sin(angles), np.cos(angles)], axis=1)
