# SPDX-License-Identifier: Apache-2.0
"""Signatures that are chosen without a search: greedily, or by a rule."""

from typing import Any, NamedTuple

import numpy as np

from jaxdl.parallel import _cost_model, _programs, _sbp, _signatures

Broadcast, Split = _sbp.Broadcast, _sbp.Split


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
  model: _cost_model.CostModel | None = None,
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
  found = _programs.choices(
    program, mesh_shape, model or _cost_model.CostModel()
  )
  return assignment(found, greedy_indices(program, found), False)


def greedy_indices(
  program: _programs.Program, found: _programs.Choices
) -> dict[str, int]:
  """Where the greedy choice stands among the signatures of each operator."""
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


def assign_data_parallel(
  program: _programs.Program,
  mesh_shape: Any,
  model: _cost_model.CostModel | None = None,
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
  found = _programs.choices(
    program, mesh_shape, model or _cost_model.CostModel()
  )
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
  return assignment(found, where, False)


def assign_replicated(
  program: _programs.Program,
  mesh_shape: Any,
  model: _cost_model.CostModel | None = None,
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
  found = _programs.choices(
    program, mesh_shape, model or _cost_model.CostModel()
  )
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
  return assignment(found, where, False)


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


def assignment(
  found: _programs.Choices, where: dict[str, int], exact: bool
) -> Assignment:
  """Signatures by their places, and what they cost."""
  signatures = {n: found.states[n][where[n]] for n in found.names}
  return Assignment(signatures, _programs.cost_of(found, where), exact)
