# SPDX-License-Identifier: Apache-2.0
"""Signatures of operators: which of their inputs give which result."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxdl.core import checks
from jaxdl.parallel import _operators, _sbp

Broadcast, Partial, Split = _sbp.Broadcast, _sbp.Partial, _sbp.Split


class Signature(NamedTuple):
  """What an operator takes and gives, a component per axis of the mesh.

  Attributes:
    ins: signatures of the inputs.
    out: signature of the result.
  """

  ins: tuple[_sbp.NdSbp, ...]
  out: _sbp.NdSbp

  def __str__(self):
    ins = '; '.join(map(_sbp.format_sbp, self.ins))
    return f'({ins} -> {_sbp.format_sbp(self.out)})'

  def replicated(self) -> tuple[bool, ...]:
    """Along which axes of the mesh all devices compute the same."""
    every = zip(*self.ins, self.out, strict=True)
    return tuple(
      all(isinstance(x, Broadcast) for x in parts) for parts in every
    )

  def dual(self) -> 'Signature':
    """Signatures of the gradients: of what comes in from the result, and goes.

    Returns:
      `ins` are those of the gradients of the inputs, `out` is that of the
      gradient of the result. B becomes P and P becomes B; along an axis on
      which everything is replicated, so are the gradients.

    Example:
      >>> str(valid_signatures('matmul', [(4, 4), (4, 4)], 2)[0].dual())
      '(S0; P -> S0)'
    """
    same = self.replicated()
    turn = lambda sbp: tuple(
      x if plain else y
      for x, y, plain in zip(sbp, _sbp.dual(sbp), same, strict=True)
    )
    return Signature(tuple(map(turn, self.ins)), turn(self.out))

  def speedup(self, mesh_shape: Sequence[int]) -> int:
    """By how much splits of inputs divide the work.

    Args:
      mesh_shape: devices along each axis.

    Returns:
      The product of the axes along which some input is split.
    """
    found = 1
    for parts, size in zip(
      zip(*self.ins, strict=True), mesh_shape, strict=True
    ):
      if any(isinstance(x, Split) for x in parts):
        found *= size
    return found


def compose_nd(
  signatures: Sequence[Signature], num_axes: int
) -> list[Signature]:
  """Puts signatures of one axis together to those of several.

  Args:
    signatures: of a mesh with one axis.
    num_axes: of the mesh.

  Returns:
    Every choice of one for each axis; the first axis varies slowest.

  Example:
    >>> one = valid_signatures('matmul', [(8, 8), (8, 8)], 2)
    >>> two = compose_nd(one, 2)
    >>> len(one), len(two), str(two[1])
    (6, 36, '(S0,B; B,S1 -> S0,S1)')

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Table 3.
  """
  num_axes = checks.integer(num_axes, name='num_axes', low=1)
  found = []
  for parts in itertools.product(signatures, repeat=num_axes):
    ins = zip(*(s.ins for s in parts), strict=True)
    join = lambda pieces: tuple(itertools.chain.from_iterable(pieces))
    found.append(Signature(tuple(map(join, ins)), join(s.out for s in parts)))
  return found


def valid_signatures(
  operator: str,
  shapes: Any,
  mesh_shape: Any = 1,
  *,
  replicated: bool = True,
  even: bool = True,
) -> list[Signature]:
  """The signatures that an operator takes on a mesh.

  Args:
    operator: a part of `OPERATORS`.
    shapes: of its inputs.
    mesh_shape: devices along each axis.
    replicated: whether one along which all devices compute the same is among
      them.
    even: whether splits must be even, as those of JAX are.

  Returns:
    Those that fit the shapes, in the order of the table, for one axis, with
    everything replicated last.

  Raises:
    ValueError: if the operator is unknown or does not take such inputs, or no
      split is even; the message says what stands in the way.

  Example:
    >>> for s in valid_signatures('matmul', [(8, 4), (4, 6)], 2): print(s)
    (S0; B -> S0)
    (B; S1 -> S1)
    (S1; S0 -> P)
    (P; B -> P)
    (B; P -> P)
    (B; B -> B)

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Table 1.
  """
  mesh = _sbp.as_mesh_shape(mesh_shape)
  made = _operators.make_operator(operator, shapes)
  return fitting(made, operator, shapes, mesh, replicated=replicated, even=even)


def fitting(
  made: _operators.Operator,
  operator: str,
  shapes: Any,
  mesh: Sequence[int],
  *,
  replicated: bool = True,
  even: bool = True,
) -> list[Signature]:
  """As `valid_signatures`, of an operator that has been made."""
  rows = [Signature(tuple((x,) for x in r[:-1]), (r[-1],)) for r in made.rows]
  if replicated:
    rows.append(Signature(((Broadcast(),),) * len(shapes), (Broadcast(),)))
  found, why = [], ''
  for signature in compose_nd(rows, len(mesh)):
    try:
      for i, (sbp, shape) in enumerate(zip(signature.ins, shapes, strict=True)):
        _sbp.check_shape(sbp, shape, mesh, even=even, name=f'input {i}')
      _sbp.check_shape(
        signature.out, made.shape, mesh, even=even, name='the result'
      )
    except ValueError as error:
      why = why or f' {signature}: {error}'
      continue
    found.append(signature)
  if not found:
    size = 'x'.join(map(str, mesh))
    raise ValueError(
      f'no signature of {operator} fits a mesh of {size} devices.{why}'
    )
  return found


def match_signature(
  operator: str, shapes: Any, ins: Sequence[_sbp.SbpLike], mesh_shape: Any
) -> Signature:
  """The signature that an operator has on inputs as they are.

  Args:
    operator: a part of `OPERATORS`.
    shapes: of its inputs.
    ins: signatures of the inputs.
    mesh_shape: devices along each axis.

  Returns:
    The one that takes them.

  Raises:
    ValueError: if none does; the message lists the candidates.

  Example:
    >>> match_signature('matmul', [(8, 4), (4, 6)], ['S0', 'S0'], 2)
    Traceback (most recent call last):
    ValueError: matmul takes no inputs (S0; S0): its signatures are \
(S0; B -> S0), (B; S1 -> S1), (S1; S0 -> P), (P; B -> P), (B; P -> P), \
(B; B -> B). Box an input first.
  """
  mesh = _sbp.as_mesh_shape(mesh_shape)
  given = tuple(
    _sbp.as_sbp(s, len(mesh), name=f'ins[{i}]') for i, s in enumerate(ins)
  )
  found = valid_signatures(operator, shapes, mesh)
  for signature in found:
    if signature.ins == given:
      return signature
  told = '; '.join(map(_sbp.format_sbp, given))
  raise ValueError(
    f'{operator} takes no inputs ({told}): its signatures are '
    f'{listed(found)}. Box an input first.'
  )


def listed(signatures: Sequence[Signature], most: int = 40) -> str:
  """Names signatures in a message.

  Args:
    signatures: of an operator.
    most: how many are shown.

  Returns:
    Text.
  """
  shown = ', '.join(map(str, signatures[:most]))
  more = len(signatures) - most
  return f'{shown} and {more} more' if more > 0 else shown
