# SPDX-License-Identifier: Apache-2.0
"""Signatures and costs against what devices compute and send."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from jax.sharding import Mesh

from jaxdl.core import checks, registry
from jaxdl.parallel import (
  _bridge,
  _collectives,
  _costs,
  _operators,
  _sbp,
  _shards,
  _signatures,
)

# Shapes of inputs whose sizes are 1 or n; 'i' before those of whole numbers.
_EXAMPLES = {
  'add': ('nn', 'nn'),
  'bias_add': ('nn', 'n'),
  'cross_entropy': ('nn', 'in'),
  'embedding': ('in', 'nn'),
  'layer_norm': ('nn', 'n', 'n'),
  'matmul': ('nn', 'nn'),
  'multiply': ('nn', 'nn'),
}


class BoxingCount(NamedTuple):
  """What a change of signature moves.

  Attributes:
    src: the signature that there was.
    dst: the signature that was wanted.
    predicted: bytes, of `boxing_cost_nd`.
    measured: bytes, of the compiled program.
    error: largest difference of the tensor before and after.
  """

  src: str
  dst: str
  predicted: float
  measured: int
  error: float


def kind_of_change(src: str, dst: str) -> str:
  """Names what changes, without dimensions.

  Args:
    src: the signature that there was.
    dst: the signature that was wanted; one component differs.

  Returns:
    Such as 'S -> B'.

  Raises:
    ValueError: if none or several differ.

  Example:
    >>> kind_of_change('B,S1', 'B,P')
    'S -> P'
  """
  before, after = _sbp.as_sbp(src, name='src'), _sbp.as_sbp(dst, name='dst')
  pairs = list(zip(before, after, strict=False))
  changed = [f'{str(a)[0]} -> {str(b)[0]}' for a, b in pairs if a != b]
  if len(changed) != 1 or len(before) != len(after):
    raise ValueError(
      f'src={_sbp.format_sbp(before)} and dst={_sbp.format_sbp(after)} must '
      'differ in one component.'
    )
  return changed[0]


def example_inputs(
  operator: str, rng: np.random.Generator, *, size: int = 8
) -> list[np.ndarray]:
  """Random inputs of an operator, of rank two where it takes any.

  Args:
    operator: a part of `OPERATORS`.
    rng: draws them.
    size: of all dimensions.

  Returns:
    f32 arrays, standard normal; i32 ids below `size`.

  Raises:
    ValueError: if there is no such operator.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> [x.shape for x in example_inputs('embedding', rng, size=4)]
    [(4,), (4, 4)]
  """
  size = checks.integer(size, name='size', low=1)
  _operators.OPERATORS.check(operator)
  kinds = _EXAMPLES.get(registry.parse(operator).name, ('nn',))
  return [
    rng.integers(size, size=(size,) * kind.count('n')).astype(np.int32)
    if kind.startswith('i')
    else rng.normal(size=(size,) * len(kind)).astype(np.float32)
    for kind in kinds
  ]


def signature_checks(
  operator: str, shapes: Any, mesh: Mesh
) -> dict[_signatures.Signature, Callable[..., float]]:
  """Runs every signature of an operator on devices.

  Args:
    operator: a part of `OPERATORS`.
    shapes: of its inputs.
    mesh: of devices.

  Returns:
    For each signature `check(arrays, rng) -> error`: inputs are scattered, with
    random terms of P, the operator runs on the shards, and what is recovered is
    compared with the operator on whole arrays. The error is the largest
    difference over the largest entry, or over 1 if that is less.

  Raises:
    ValueError: as `valid_signatures`.

  Example:
    >>> mesh, rng = device_mesh(1), np.random.default_rng(0)
    >>> found = signature_checks('add', [(2, 2), (2, 2)], mesh)
    >>> arrays = example_inputs('add', rng, size=2)
    >>> all(check(arrays, rng) < 1e-5 for check in found.values())
    True
  """
  sizes = tuple(mesh.axis_sizes)
  made = _operators.make_operator(operator, shapes)
  found = _signatures.valid_signatures(operator, shapes, sizes)
  whole = jax.jit(made.apply)
  return {s: _check(made, whole, s, mesh, sizes) for s in found}


def _check(made, whole, signature, mesh, sizes):
  run = jax.jit(_bridge.map_shards(made.apply, signature.ins, mesh))

  def check(arrays: Sequence[chex.Array], rng: np.random.Generator) -> float:
    stacks = [
      np.stack(
        _shards.scatter(
          x, s, sizes, rng=rng if np.issubdtype(x.dtype, np.floating) else None
        )
      )
      for x, s in zip(arrays, signature.ins, strict=True)
    ]
    got = _shards.recover(list(np.asarray(run(*stacks))), signature.out, sizes)
    want = np.asarray(whole(*arrays))
    return float(abs(got - want).max() / max(1.0, abs(want).max()))

  return check


def measure_boxing(
  mesh: Mesh, *, size: int = 8, rng: np.random.Generator | None = None
) -> list[BoxingCount]:
  """Changes a matrix from every signature to every other one, on devices.

  Args:
    mesh: of devices.
    size: of both dimensions.
    rng: draws the matrix and terms of P.

  Returns:
    One count per pair of different signatures; of several axes, the pairs that
    differ in one component, as groups of devices change them.

  Raises:
    ValueError: if the size does not divide evenly.

  Example:
    >>> found = measure_boxing(device_mesh(1))
    >>> len(found), sum(count.measured for count in found)
    (12, 0)
  """
  rng = rng or np.random.default_rng(0)
  names, sizes = tuple(mesh.axis_names), tuple(mesh.axis_sizes)
  x = rng.normal(size=(size, size)).astype(np.float32)
  parts = [_sbp.Split(0), _sbp.Split(1), _sbp.Broadcast(), _sbp.Partial()]
  out = []
  for src, dst in itertools.permutations(
    itertools.product(parts, repeat=len(sizes)), 2
  ):
    changed = [a for a in range(len(sizes)) if src[a] != dst[a]]
    if len(changed) > 1 or not _shards.aligned(src, dst, changed[0]):
      continue
    run = _bridge.map_shards(
      lambda y, src=src, dst=dst: _bridge.reshard(y, src, dst, names),
      [src],
      mesh,
    )
    stack = np.stack(_shards.scatter(x, src, sizes, rng=rng))
    program = jax.jit(run).lower(stack).compile()
    placed = jax.device_put(stack, program.input_shardings[0][0])
    got = _shards.recover(list(np.asarray(program(placed))), dst, sizes)
    measured = _collectives.collective_bytes(program)
    out.append(
      BoxingCount(
        _sbp.format_sbp(src),
        _sbp.format_sbp(dst),
        _costs.boxing_cost_nd(src, dst, math.prod(x.shape) * 4, sizes),
        sum(measured.values()),
        float(abs(got - x).max()),
      )
    )
  return out


class Checks:
  """Signatures of operators on devices, with new tensors every round.

  `init() -> state`, `step(state, round) -> (state, {})` and
  `rows(state, metrics, round)` are those of an experiment on the host. Rows of
  round 0 tell what changes of signatures move (`BoxingCount`, split 'boxing'),
  others the largest error of every operator until then, and of all changes how
  many move other bytes than predicted.
  """

  def __init__(
    self,
    operators: Sequence[str],
    mesh: Mesh,
    *,
    size: int = 8,
    seeds: Sequence[int] = (0,),
  ):
    """Says what is checked; compiles nothing.

    Args:
      operators: parts of `OPERATORS`.
      mesh: of devices.
      size: of every dimension of a tensor.
      seeds: of the tensors.
    """
    self.operators, self.seeds = tuple(operators), tuple(seeds)
    self.mesh, self.size = mesh, size
    self._checks: dict[str, Any] = {}
    self._counts: list[BoxingCount] | None = None

  def init(self) -> dict[str, np.ndarray]:
    """No errors so far."""
    return {'error': np.zeros((len(self.operators), len(self.seeds)))}

  def step(self, state: Any, round: int) -> tuple[Any, dict[str, Any]]:
    """Runs every signature once for every seed."""
    found = [
      [self._error(i, seed, round) for seed in self.seeds]
      for i in range(len(self.operators))
    ]
    return {'error': np.maximum(state['error'], found)}, {}

  def rows(self, state: Any, metrics: Any, round: int) -> list[dict[str, Any]]:
    """Says what was found."""
    if self._counts is None:
      self._counts = measure_boxing(self.mesh, size=self.size)
    counts = self._counts
    if not round:
      return [
        {'split': 'boxing', 'variant': f'{c.src} -> {c.dst}'}
        | {'predicted': c.predicted, 'measured': c.measured, 'error': c.error}
        for c in counts
      ]
    boxing = {
      'variant': 'boxing',
      'error': _largest([c.error for c in counts]),
      'signatures': len(counts),
      'wrong_bytes': sum(c.measured != c.predicted for c in counts),
    }
    return [boxing | {'seed': seed} for seed in self.seeds] + [
      {'variant': operator, 'seed': seed}
      | {'error': float(state['error'][i, j])}
      | {'signatures': len(self._made(operator))}
      for i, operator in enumerate(self.operators)
      for j, seed in enumerate(self.seeds)
    ]

  def _inputs(self, operator, rng):
    return example_inputs(operator, rng, size=self.size)

  def _made(self, operator):
    if operator not in self._checks:
      arrays = self._inputs(operator, np.random.default_rng(0))
      shapes = [x.shape for x in arrays]
      self._checks[operator] = signature_checks(operator, shapes, self.mesh)
    return self._checks[operator]

  def _error(self, i, seed, round):
    rng = np.random.default_rng([seed, round, i])
    arrays = self._inputs(self.operators[i], rng)
    every = self._made(self.operators[i]).values()
    return _largest([check(arrays, rng) for check in every])


def _largest(errors):
  """The largest error; NaN, which `max` may pass over, is larger than all."""
  return float(np.max(errors, initial=0.0))
