# SPDX-License-Identifier: Apache-2.0
"""Programs of operators, and what a choice of signatures for one costs."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.parallel import _cost_model, _costs, _operators, _sbp, _signatures

Broadcast, Partial, Split = _sbp.Broadcast, _sbp.Partial, _sbp.Split
Signature = _signatures.Signature
SOURCES = ('input', 'parameter')
ENDS = (*SOURCES, 'output')


@dataclasses.dataclass(frozen=True)
class Op:
  """One step of a program.

  Attributes:
    name: of its result.
    kind: 'input', 'parameter', 'output' or a part of `OPERATORS`.
    inputs: names of what it takes.
    shape: of an input or a parameter; others find theirs.
    sbp: the signature of an input, a parameter or an output where it is fixed,
      for the first axes of the mesh, with B along the others. None leaves
      inputs and parameters as the operators like them, and gives an output as
      it is.
    placement: the devices that do it, by any name; '' takes those of its
      inputs. Only an `identity` may have its input elsewhere, and so moves it.
    gradient: whether an input has one, for training.
  """

  name: str
  kind: str
  inputs: tuple[str, ...] = ()
  shape: tuple[int, ...] = ()
  sbp: _sbp.SbpLike | None = None
  placement: str = ''
  gradient: bool = True


@dataclasses.dataclass(frozen=True)
class Program:
  """Operators in an order in which they can run; `make_program` makes it.

  Attributes:
    ops: with all shapes and placements.
    made: the operators by name, but for inputs, parameters and outputs.
    differentiable: names whose results have gradients.
  """

  ops: tuple[Op, ...]
  made: Mapping[str, _operators.Operator]
  differentiable: frozenset[str]

  def __getitem__(self, name: str) -> Op:
    return self.by_name[name]

  @functools.cached_property
  def by_name(self) -> dict[str, Op]:
    """Its operators by name."""
    return {op.name: op for op in self.ops}

  @property
  def edges(self) -> list[tuple[str, str, int]]:
    """Producer, consumer, and which input of the consumer it is."""
    return [(u, op.name, k) for op in self.ops for k, u in enumerate(op.inputs)]


def make_program(ops: Iterable[Op]) -> Program:
  """Puts operators in order, finds shapes and checks that all fits.

  Args:
    ops: in any order.

  Returns:
    The program.

  Raises:
    ValueError: if a name occurs twice, is not known, needs itself, shapes do
      not fit, or the inputs of an operator are on different devices; the
      message names the operator.
    TypeError: if something is no `Op`, or inputs or a shape are no tuple.

  Example:
    >>> program = make_program([
    ...   Op('x', 'input', shape=(8, 4)),
    ...   Op('w', 'parameter', shape=(4, 6)),
    ...   Op('y', 'matmul', ('x', 'w')),
    ... ])
    >>> program['y'].shape
    (8, 6)
  """
  ops = list(ops)
  for op in ops:
    _check_op(op)
  names = [op.name for op in ops]
  for op in ops:
    if names.count(op.name) > 1:
      raise ValueError(f'ops has {op.name!r} twice: give each its own name.')
    for name in op.inputs:
      if name not in names:
        raise ValueError(
          f'op {op.name!r} takes {name!r}, which is no op: there are '
          f'{", ".join(names)}.'
        )
  done: dict[str, Op] = {}
  made: dict[str, _operators.Operator] = {}
  gradients: set[str] = set()
  while len(done) < len(ops):
    ready = [
      op
      for op in ops
      if op.name not in done and all(name in done for name in op.inputs)
    ]
    if not ready:
      left = [op.name for op in ops if op.name not in done]
      raise ValueError(f'ops {", ".join(left)} wait for each other: a cycle.')
    for op in ready:
      done[op.name] = _completed(op, done, made)
      ours = op.kind == 'parameter' or (op.kind == 'input' and op.gradient)
      if ours or gradients & set(op.inputs):
        gradients.add(op.name)
  return Program(tuple(done.values()), made, frozenset(gradients))


def _check_op(op):
  if not isinstance(op, Op):
    raise TypeError(f'ops must hold Op(...); got {checks.described(op)}.')
  for name in ('inputs', 'shape'):
    value = getattr(op, name)
    if not isinstance(value, tuple | list):
      raise TypeError(
        f'{name} of op {op.name!r} must be a tuple; got '
        f'{checks.described(value)}: write ({value!r},).'
      )


def _completed(op, done, made):
  before = [done[name] for name in op.inputs]
  if op.kind in SOURCES:
    if op.inputs:
      raise ValueError(f'op {op.name!r} is an {op.kind} and takes nothing.')
    shape = tuple(
      checks.integer(n, name=f'shape of {op.name!r}', low=1) for n in op.shape
    )
    return dataclasses.replace(op, shape=shape, placement=op.placement or '0')
  if op.kind == 'output':
    if len(before) != 1:
      raise ValueError(f'op {op.name!r} is an output and takes one input.')
    shape = before[0].shape
  else:
    try:
      made[op.name] = _operators.make_operator(
        op.kind, tuple(b.shape for b in before)
      )
    except (TypeError, ValueError) as error:
      raise type(error)(f'op {op.name!r}: {error}') from None
    shape = made[op.name].shape
  places = dict.fromkeys(b.placement for b in before)
  moves = op.kind.partition('(')[0] == 'identity'
  apart = len(places) > 1 or (op.placement and op.placement not in places)
  if apart and not (moves and op.placement):
    told = ', '.join(f'{b.name!r} on {b.placement!r}' for b in before)
    ours = f' and itself on {op.placement!r}' if op.placement else ''
    raise ValueError(
      f'op {op.name!r} has its inputs on other devices: {told}{ours}. Move one '
      "first: Op(..., 'identity', placement=...)."
    )
  return dataclasses.replace(
    op, shape=shape, placement=op.placement or next(iter(places))
  )


class Choices(NamedTuple):
  """A program as a problem of choice; see `choices`.

  Attributes:
    names: of the operators.
    states: the signatures of each.
    own: cost of each signature, f64[n].
    edges: producer, consumer, costs f64[n, m] of their signatures, those of
      values and gradients together.
    ahead: the part of values in `edges`, without waits.
  """

  names: tuple[str, ...]
  states: dict[str, list[Signature]]
  own: dict[str, np.ndarray]
  edges: list[tuple[str, str, np.ndarray]]
  ahead: list[np.ndarray]


def choices(
  program: Program, mesh_shape: Any, model: _cost_model.CostModel
) -> Choices:
  """Lists the signatures of every operator and what they cost.

  Args:
    program: from `make_program`.
    mesh_shape: devices along each axis; of several placements, a dict.
    model: what is counted.

  Returns:
    The choices.

  Raises:
    ValueError: if an operator has no signature, or a mesh is missing.
  """
  meshes = _meshes(program, mesh_shape)
  # Operators of a kind share their list of signatures.
  lists: dict[Any, list[Signature]] = {}
  states, own = {}, {}
  for op in program.ops:
    mesh = meshes[op.placement]
    shapes = tuple(program[name].shape for name in op.inputs)
    sbp = None if op.sbp is None else _sbp.as_sbp(op.sbp)
    key = (op.kind, shapes, op.shape, sbp, mesh)
    if key not in lists:
      lists[key] = _states(program, op, mesh, model)
    states[op.name] = lists[key]
    own[op.name] = np.zeros(len(states[op.name]))
    if op.kind == 'parameter':
      held = model.itemsize * math.prod(op.shape)
      own[op.name] += model.per_byte_held * np.array(
        [held / _pieces(s.out, mesh) for s in states[op.name]]
      )
    elif op.kind not in ENDS:
      work = program.made[op.name].flops * (3 if model.training else 1)
      own[op.name] += model.per_flop * np.array(
        [work / s.speedup(mesh) for s in states[op.name]]
      )
  edges, ahead = [], []
  units: dict[Any, tuple[np.ndarray, np.ndarray]] = {}
  for u, v, k in program.edges:
    source, sink = program[u], program[v]
    places = source.placement, sink.placement
    key = (id(states[u]), id(states[v]), k, *places)
    if key not in units:
      units[key] = _transfers(
        states[u],
        states[v],
        k,
        tuple(meshes[p] for p in places),
        places[0] == places[1],
        len(source.shape),
      )
    size = model.itemsize * math.prod(source.shape)
    forward, back = (size * unit for unit in units[key])
    total = model.per_byte * forward + model.wait * (forward > 0)
    goes_back = model.value_gradients or source.kind == 'parameter'
    if model.training and goes_back and u in program.differentiable:
      total = total + model.per_byte * back + model.wait * (back > 0)
    edges.append((u, v, total))
    ahead.append(model.per_byte * forward)
  return Choices(tuple(states), states, own, edges, ahead)


def _pieces(sbp, mesh):
  return math.prod(
    m for x, m in zip(sbp, mesh, strict=True) if isinstance(x, Split)
  )


def _transfers(sources, sinks, k, meshes, same, ndim):
  """Costs of T = 1 of values, and of gradients on their way back."""
  forward = _boxing_matrix(
    [s.out for s in sources], [s.ins[k] for s in sinks], meshes, same, ndim
  )
  back = _boxing_matrix(
    [s.dual().ins[k] for s in sinks],
    [s.dual().out for s in sources],
    meshes[::-1],
    same,
    ndim,
  )
  return forward, back.T


def _meshes(program, mesh_shape):
  places = list(dict.fromkeys(op.placement for op in program.ops))
  if not isinstance(mesh_shape, Mapping):
    mesh_shape = dict.fromkeys(places, mesh_shape)
  for place in places:
    if place not in mesh_shape:
      raise ValueError(
        f'mesh_shape has no mesh of placement {place!r}, only of '
        f'{", ".join(map(repr, mesh_shape))}.'
      )
  return {p: _sbp.as_mesh_shape(mesh_shape[p]) for p in places}


def _states(program, op, mesh, model):
  if op.sbp is not None:
    label = f'sbp of {op.name!r}'
    sbp = _sbp.as_sbp(op.sbp, name=label)
    sbp += (Broadcast(),) * (len(mesh) - len(sbp))
    sbp = _sbp.as_sbp(sbp, len(mesh), name=label)
    _sbp.check_shape(sbp, op.shape, mesh, even=model.even, name=repr(op.name))
    return [Signature((sbp,) if op.inputs else (), sbp)]
  if op.kind in SOURCES or op.kind == 'output':
    # What is stored is split or held by all, never terms of a sum.
    made = _operators.make_operator('identity', (op.shape,))
    made = made._replace(rows=made.rows[:-1])
    found = _signatures.fitting(
      made, op.kind, (op.shape,), mesh, even=model.even
    )
    if op.kind == 'output':
      return found
    return [Signature((), s.out) for s in found]
  shapes = [program[name].shape for name in op.inputs]
  try:
    return _signatures.fitting(
      program.made[op.name],
      op.kind,
      shapes,
      mesh,
      replicated=model.replicated,
      even=model.even,
    )
  except ValueError as error:
    raise ValueError(f'op {op.name!r}: {error}') from None


def _boxing_matrix(sources, sinks, meshes, same, ndim):
  """Costs of T = 1 between signatures."""
  if not same:
    return np.array(
      [[_costs.disjoint(a, b, *meshes) for b in sinks] for a in sources]
    )
  _, costs, where = _costs.all_pairs(ndim, meshes[0])
  plain = lambda sbp: tuple(
    Partial() if isinstance(x, Partial) else x for x in sbp
  )
  found = costs[
    np.array([where[plain(s)] for s in sources])[:, None],
    np.array([where[plain(s)] for s in sinks]),
  ]
  # Nobody takes the maximum of terms for their sum.
  odd = [
    any(isinstance(x, Partial) and x.op != 'sum' for x in s) for s in sources
  ]
  for i in np.flatnonzero(odd):
    for j, sink in enumerate(sinks):
      if any(
        isinstance(a, Partial) and isinstance(b, Partial) and a != b
        for a, b in zip(sources[i], sink, strict=True)
      ):
        found[i, j] = np.inf
  return found


def total_cost(
  program: Program,
  signatures: Mapping[str, Signature],
  mesh_shape: Any,
  model: _cost_model.CostModel | None = None,
) -> float:
  """What a choice of signatures costs: work and transfers.

  Args:
    program: from `make_program`.
    signatures: of every operator, by name.
    mesh_shape: devices along each axis; of several placements, a dict.
    model: what is counted; `CostModel()` if None.

  Returns:
    The cost.

  Raises:
    ValueError: if an operator has no signature here, or one that it does not
      take; the message lists those that it does.

  Example:
    >>> program = PROGRAMS.make('mlp(sizes=(4, 4))', 8)
    >>> data = {
    ...   'x': Signature((), (Split(0),)),
    ...   'w1': Signature((), (Broadcast(),)),
    ...   'y1': Signature(((Split(0),), (Broadcast(),)), (Split(0),)),
    ...   'out': Signature(((Split(0),),), (Split(0),)),
    ... }
    >>> total_cost(program, data, 2, CostModel(per_flop=0.0, training=True))
    128.0

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 3.3.
  """
  found = choices(program, mesh_shape, model or _cost_model.CostModel())
  return cost_of(found, indices(found, signatures))


def indices(
  found: Choices, signatures: Mapping[str, Signature]
) -> dict[str, int]:
  """Where signatures stand among the choices; errors as `total_cost`."""
  where = {}
  for name, states in found.states.items():
    if name not in signatures:
      raise ValueError(f'signatures has none of op {name!r}.')
    if signatures[name] not in states:
      raise ValueError(
        f'op {name!r} does not take {signatures[name]}: its signatures are '
        f'{_signatures.listed(states)}.'
      )
    where[name] = states.index(signatures[name])
  return where


def cost_of(found: Choices, where: Mapping[str, int]) -> float:
  """Cost of one signature of every operator.

  Args:
    found: from `choices`.
    where: index of a signature by operator.

  Returns:
    The sum.
  """
  total = sum(found.own[n][where[n]] for n in found.names)
  return float(total + sum(c[where[u], where[v]] for u, v, c in found.edges))
