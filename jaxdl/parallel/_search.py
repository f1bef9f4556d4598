# SPDX-License-Identifier: Apache-2.0
"""Searches for the cheapest signatures."""

import itertools
import math
from typing import Any

import numpy as np

from jaxdl.core import checks, registry
from jaxdl.parallel import _cost_model, _programs, _rules

Assignment = _rules.Assignment
# Entries of a table of costs.
_MOST_ENTRIES = 4_000_000
# Operators that are chosen together by the local search, and their table.
_NEIGHBORHOOD = 4
_MOST_TOGETHER = 1_000_000


def assign_optimal(
  program: _programs.Program,
  mesh_shape: Any,
  model: _cost_model.CostModel | None = None,
) -> Assignment:
  """The cheapest signatures, found by eliminating operators one by one.

  An operator that has few neighbors left is taken out: for every choice of the
  neighbors its best signature and the cost are noted, which become a cost among
  the neighbors. On chains, trees and residual networks this is dynamic
  programming and exact. Where a table would be too large, the rest is searched
  locally from the greedy choice: up to four operators next to each other are
  chosen anew together, until nothing improves.

  Args:
    program: from `make_program`.
    mesh_shape: devices along each axis; of several placements, a dict.
    model: what is counted; `CostModel()` if None.

  Returns:
    The signatures, and whether they are known to be the cheapest.

  Raises:
    ValueError: as `total_cost`.

  Cost: O(V n^(w+1)) for V operators of n signatures, w the largest number of
    neighbors that an operator has when it is taken out; 2 or 3 in most
    programs.

  Example:
    >>> model = CostModel(itemsize=1, per_flop=0, training=True,
    ...                   replicated=False)
    >>> found = assign_optimal(PROGRAMS.make('mlp', 8), 4, model)
    >>> found.cost, str(found.signatures['y1'])
    (3072.0, '(B; S1 -> S1)')

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 3.3, and
    the official code (eliminations).
  """
  found = _programs.choices(
    program, mesh_shape, model or _cost_model.CostModel()
  )
  tables = _tables(found)
  sizes = {n: len(s) for n, s in found.states.items()}
  taken = []
  left = set(found.names)
  while left:
    name, scope = min(
      ((n, _scope(tables, n)) for n in sorted(left)),
      key=lambda pair: _entries(pair[1], sizes),
    )
    if _entries(scope, sizes) > _MOST_ENTRIES:
      break
    joint = _join([t for t in tables if name in t[0]], scope)
    axis = scope.index(name)
    taken.append((name, scope, joint.argmin(axis)))
    tables = [t for t in tables if name not in t[0]]
    tables.append((tuple(n for n in scope if n != name), joint.min(axis)))
    left.remove(name)
  where = {}
  if left:
    start = _rules.greedy_indices(program, found)
    where = _local({n: start[n] for n in found.names if n in left}, tables)
  for name, scope, best in reversed(taken):
    where[name] = int(best[tuple(where[n] for n in scope if n != name)])
  return _rules.assignment(found, where, not left)


def assign_all(
  program: _programs.Program,
  mesh_shape: Any,
  model: _cost_model.CostModel | None = None,
  *,
  num: int | None = None,
) -> list[Assignment]:
  """Every choice of signatures of a small program, cheapest first.

  Choices that differ in inputs, parameters and outputs only count as one, the
  cheapest of them.

  Args:
    program: from `make_program`.
    mesh_shape: devices along each axis; of several placements, a dict.
    model: what is counted; `CostModel()` if None.
    num: how many are wanted; None for all.

  Returns:
    The choices.

  Raises:
    ValueError: if there are too many, or as `total_cost`.

  Cost: the product of the numbers of signatures, in time and memory.

  Example:
    >>> model = CostModel(itemsize=1, per_flop=0, training=True,
    ...                   replicated=False)
    >>> program = PROGRAMS.make('mlp', 8)
    >>> [a.cost for a in assign_all(program, 4, model, num=2)]
    [3072.0, 4992.0]
  """
  if num is not None:
    checks.integer(num, name='num', low=1)
  found = _programs.choices(
    program, mesh_shape, model or _cost_model.CostModel()
  )
  sizes = {n: len(s) for n, s in found.states.items()}
  if math.prod(sizes.values()) > _MOST_ENTRIES:
    raise ValueError(
      f'program has {math.prod(sizes.values())} choices, more than '
      f'{_MOST_ENTRIES}: call assign_optimal.'
    )
  joint = _join(_tables(found), found.names)
  ends = [i for i, op in enumerate(program.ops) if op.kind in _programs.ENDS]
  inner = [i for i in range(len(found.names)) if i not in ends]
  flat = np.moveaxis(joint, ends, range(-len(ends), 0))
  flat = flat.reshape(*(joint.shape[i] for i in inner), -1)
  best, costs = flat.argmin(-1), flat.min(-1)
  end_sizes = [joint.shape[i] for i in ends]
  out = []
  for place in np.argsort(costs, axis=None, kind='stable')[:num]:
    mine = np.unravel_index(place, costs.shape)
    others = np.unravel_index(best[mine], end_sizes)
    where = dict(
      zip([found.names[i] for i in inner], map(int, mine), strict=True)
    )
    where |= dict(
      zip([found.names[i] for i in ends], map(int, others), strict=True)
    )
    out.append(_rules.assignment(found, where, False))
  return [out[0]._replace(exact=True), *out[1:]]


def assign_ranked(
  program: _programs.Program,
  mesh_shape: Any,
  model: _cost_model.CostModel | None = None,
  place: int = 2,
) -> Assignment:
  """The signatures of some place among all, see `assign_all`.

  Args:
    program: from `make_program`.
    mesh_shape: devices along each axis; of several placements, a dict.
    model: what is counted; `CostModel()` if None.
    place: 1 is the cheapest.

  Returns:
    The signatures.

  Raises:
    ValueError: as `assign_all`, or if there are not so many.
  """
  place = checks.integer(place, name='place', low=1)
  found = assign_all(program, mesh_shape, model, num=place)
  if len(found) < place:
    raise ValueError(
      f'place={place} is beyond the {len(found)} choices that there are.'
    )
  return found[-1]


SEARCHES = registry.Registry(
  'search',
  {
    'data_parallel': _rules.assign_data_parallel,
    'greedy': _rules.assign_greedy,
    'optimal': assign_optimal,
    'ranked': assign_ranked,
    'replicated': _rules.assign_replicated,
  },
  given=('program', 'mesh_shape', 'model'),
)


def _tables(found):
  """Costs as tables over operators; parallel edges come together."""
  tables = {(n,): found.own[n] for n in found.names}
  for u, v, cost in found.edges:
    scope, table = ((u, v), cost) if u <= v else ((v, u), cost.T)
    tables[scope] = tables[scope] + table if scope in tables else table
  return list(tables.items())


def _scope(tables, name):
  return tuple(
    sorted({n for scope, _ in tables if name in scope for n in scope})
  )


def _entries(scope, sizes):
  return math.prod(sizes[n] for n in scope)


def _join(tables, scope):
  """The sum of tables over the operators of `scope`."""
  total = np.zeros((1,) * len(scope))
  for names, table in tables:
    order = sorted(range(len(names)), key=lambda i: scope.index(names[i]))
    spread = np.transpose(table, order)
    shape = [1] * len(scope)
    for i in order:
      shape[scope.index(names[i])] = table.shape[i]
    total = total + spread.reshape(shape)
  return total


def _local(where, tables):
  """Chooses neighborhoods anew until nothing improves."""
  near: dict[str, set[str]] = {n: set() for n in where}
  for scope, _ in tables:
    for a, b in itertools.permutations(scope, 2):
      near[a].add(b)
  sizes = {}
  for scope, table in tables:
    sizes |= dict(zip(scope, table.shape, strict=True))
  improved = True
  while improved:
    improved = False
    for name in where:
      group = [name]
      for other in sorted(near[name]):
        fits = _entries([*group, other], sizes) <= _MOST_TOGETHER
        if len(group) < _NEIGHBORHOOD and fits:
          group.append(other)
      touched = [t for t in tables if set(t[0]) & set(group)]
      cut = []
      for scope, table in touched:
        index = tuple(slice(None) if n in group else where[n] for n in scope)
        cut.append((tuple(n for n in scope if n in group), table[index]))
      joint = _join(cut, group)
      old = joint[tuple(where[n] for n in group)]
      # Better by more than rounding, or it would never end.
      if joint.min() < old and not np.isclose(joint.min(), old, 1e-9, 0.0):
        best = np.unravel_index(joint.argmin(), joint.shape)
        where |= dict(zip(group, map(int, best), strict=True))
        improved = True
  return where
