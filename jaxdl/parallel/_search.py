# SPDX-License-Identifier: Apache-2.0
"""Searches for signatures: greedily, exactly, and among all."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks, registry
from jaxdl.parallel import _programs, _sbp, _signatures

Broadcast, Split = _sbp.Broadcast, _sbp.Split
# Entries of a table of costs.
_MOST_ENTRIES = 4_000_000
_NEIGHBORHOOD = 4


class Assignment(NamedTuple):
  """Signatures for a program.

  Attributes:
    signatures: by operator.
    cost: of all, see `total_cost`.
    exact: whether no other choice costs less.
  """

  signatures: dict[str, _signatures.Signature]
  cost: float
  exact: bool


def assign_greedy(
  program: _programs.Program,
  mesh_shape: Any,
  model: _programs.CostModel | None = None,
) -> Assignment:
  """Goes through the program and takes what suits what is there.

  Every operator takes the signature whose inputs are as their producers give
  them, if there is one; otherwise the one whose inputs cost least to change,
  of equally cheap ones that with fewest changes, then the first in the table.
  Parameters are held by every device. Inputs without a fixed signature enter
  split by examples along the first axis of the mesh, and are held by all along
  the others.

  Args:
    program: from `make_program`.
    mesh_shape: devices along each axis; of several placements, a dict.
    model: what is counted; `CostModel()` if None.

  Returns:
    The signatures; `exact` is False.

  Raises:
    ValueError: as `total_cost`.

  Cost: O(E n m) for E edges between n and m signatures.

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 3.2, and
    the official code.
  """
  found = _programs.choices(program, mesh_shape, model or _programs.CostModel())
  return _made(found, _greedy(program, found), False)


def _greedy(program, found):
  into: dict[str, list] = {}
  for (u, v, _), ahead in zip(found.edges, found.ahead, strict=True):
    into.setdefault(v, []).append((u, ahead))
  where: dict[str, int] = {}
  for op in program.ops:
    states = found.states[op.name]
    if op.kind in _programs.SOURCES:
      where[op.name] = _entering(op, states)
      continue
    costs = np.zeros(len(states))
    misses = np.zeros(len(states))
    for k, (u, ahead) in enumerate(into[op.name]):
      given = found.states[u][where[u]].out
      costs += ahead[where[u]]
      misses += [s.ins[k] != given for s in states]
    same = np.flatnonzero(misses == 0)
    if len(same):
      where[op.name] = int(same[0])
    else:
      where[op.name] = int(np.lexsort((misses, costs))[0])
  return where


def _entering(op, states):
  """Index of the signature that an input or a parameter has."""
  plain = lambda s: all(isinstance(x, Broadcast) for x in s.out[1:])
  wanted = Broadcast() if op.kind == 'parameter' else Split(0)
  for i, s in enumerate(states):
    if s.out[0] == wanted and plain(s):
      return i
  return len(states) - 1


def assign_optimal(
  program: _programs.Program,
  mesh_shape: Any,
  model: _programs.CostModel | None = None,
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
  found = _programs.choices(program, mesh_shape, model or _programs.CostModel())
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
    start = _greedy(program, found)
    where = _local({n: start[n] for n in found.names if n in left}, tables)
  for name, scope, best in reversed(taken):
    where[name] = int(best[tuple(where[n] for n in scope if n != name)])
  return _made(found, where, not left)


def assign_all(
  program: _programs.Program,
  mesh_shape: Any,
  model: _programs.CostModel | None = None,
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
  found = _programs.choices(program, mesh_shape, model or _programs.CostModel())
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
    out.append(_made(found, where, False))
  return [out[0]._replace(exact=True), *out[1:]]


def assign_ranked(
  program: _programs.Program,
  mesh_shape: Any,
  model: _programs.CostModel | None = None,
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


def assign_data_parallel(
  program: _programs.Program,
  mesh_shape: Any,
  model: _programs.CostModel | None = None,
) -> Assignment:
  """Splits examples over all devices, which all hold the parameters.

  Args:
    program: from `make_program`.
    mesh_shape: devices along each axis; of several placements, a dict.
    model: what is counted; `CostModel()` if None.

  Returns:
    The signatures: S(0) along every axis of what is computed of inputs, B of
    parameters; results are what the table gives for that.

  Raises:
    ValueError: if an operator cannot be split by examples.
  """
  found = _programs.choices(program, mesh_shape, model or _programs.CostModel())
  where: dict[str, int] = {}
  meant: dict[str, _sbp.NdSbp] = {}
  for op in program.ops:
    states = found.states[op.name]
    axes = len(states[0].out)
    if op.kind in _programs.SOURCES:
      part = Broadcast() if op.kind == 'parameter' else Split(0)
      meant[op.name] = (part,) * axes
      match = [s.out == meant[op.name] for s in states]
    elif op.kind == 'output':
      match = [s.out == meant[op.inputs[0]] for s in states]
    else:
      given = tuple(meant[u] for u in op.inputs)
      match = [s.ins == given for s in states]
    if not any(match):
      # What is fixed is boxed.
      if op.kind not in _programs.ENDS:
        raise ValueError(
          f'op {op.name!r} cannot be split by examples: its signatures are '
          f'{_signatures.listed(states)}.'
        )
      match = [True]
    where[op.name] = match.index(True)
    meant.setdefault(op.name, states[where[op.name]].out)
  return _made(found, where, False)


def assign_replicated(
  program: _programs.Program,
  mesh_shape: Any,
  model: _programs.CostModel | None = None,
) -> Assignment:
  """Does everything on every device: no parallelism.

  Args:
    program: from `make_program`.
    mesh_shape: devices along each axis; of several placements, a dict.
    model: what is counted; `CostModel()` if None.

  Returns:
    The signatures, B but for fixed ones of inputs and outputs.

  Raises:
    ValueError: if `model` leaves such signatures out.
  """
  found = _programs.choices(program, mesh_shape, model or _programs.CostModel())
  where = {}
  for op in program.ops:
    states = found.states[op.name]
    plain = [all(s.replicated()) for s in states]
    if not any(plain) and op.sbp is None:
      raise ValueError(
        f'op {op.name!r} may not be replicated: pass '
        'CostModel(replicated=True).'
      )
    where[op.name] = plain.index(True) if any(plain) else 0
  return _made(found, where, False)


def describe(found: Assignment, most: int = 4) -> str:
  """Names the signatures of operators in a line.

  Args:
    found: what a search gave.
    most: how many operators are named.

  Returns:
    Operators, but for inputs, parameters and outputs as they are given.

  Example:
    >>> model = CostModel(itemsize=1, per_flop=0, training=True,
    ...                   replicated=False)
    >>> describe(assign_optimal(PROGRAMS.make('mlp', 8), 4, model))
    'y1 (B; S1 -> S1), y2 (S1; S0 -> P)'
  """
  inner = [
    f'{name} {s}'
    for name, s in found.signatures.items()
    if s.ins and s.ins != (s.out,)
  ]
  rest = len(inner) - most
  return ', '.join(inner[:most]) + (f' and {rest} more' if rest > 0 else '')


SEARCHES = registry.Registry(
  'search',
  {
    'data_parallel': assign_data_parallel,
    'greedy': assign_greedy,
    'optimal': assign_optimal,
    'ranked': assign_ranked,
    'replicated': assign_replicated,
  },
  given=('program', 'mesh_shape', 'model'),
)


def _made(found, where, exact):
  signatures = {n: found.states[n][where[n]] for n in found.names}
  return Assignment(signatures, _programs.cost_of(found, where), exact)


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
        fits = _entries([*group, other], sizes) <= _MOST_ENTRIES
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
      if joint.min() < old - 1e-9 * abs(old):
        best = np.unravel_index(joint.argmin(), joint.shape)
        where |= dict(zip(group, map(int, best), strict=True))
        improved = True
  return where
