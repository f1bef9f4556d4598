# SPDX-License-Identifier: Apache-2.0
"""Signatures: what each device of a mesh holds of a tensor."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

from jaxdl.core import checks

REDUCTIONS = ('sum', 'max')


@dataclasses.dataclass(frozen=True)
class Split:
  """S(i): devices hold equal pieces of a dimension, in order.

  Attributes:
    axis: i >= 0, the dimension.
  """

  axis: int

  def __post_init__(self):
    checks.integer(self.axis, name='axis', low=0)

  def __str__(self):
    return f'S{self.axis}'


@dataclasses.dataclass(frozen=True)
class Broadcast:
  """B: every device holds the whole."""

  def __str__(self):
    return 'B'


@dataclasses.dataclass(frozen=True)
class Partial:
  """P: every device holds a tensor of the whole shape, which add up to it.

  Attributes:
    op: 'sum', or 'max' if the largest entries are the tensor's.
  """

  op: str = 'sum'

  def __post_init__(self):
    checks.choice(self.op, REDUCTIONS, name='op')

  def __str__(self):
    return 'P' if self.op == 'sum' else f'P({self.op})'


Sbp = Split | Broadcast | Partial
NdSbp = tuple[Sbp, ...]
# What is read as a signature: 'S0,B', one component, or several.
SbpLike = str | Sbp | Sequence[Sbp | str]

_TEXT = re.compile(r'S\(?(\d+)\)?|(B)|P(?:\((\w+)\))?')


def parse_sbp(text: str, *, name: str = 'sbp') -> NdSbp:
  """Reads a signature.

  Args:
    text: a component for each axis of the mesh, outermost first, with commas
      between: 'S0' or 'S(0)', 'B', 'P' or 'P(max)'.
    name: of the argument, for messages.

  Returns:
    The signature.

  Raises:
    ValueError: if a component is something else.
    TypeError: if it is no text.

  Example:
    >>> parse_sbp('S0,B')
    (Split(axis=0), Broadcast())
  """
  if not isinstance(text, str):
    raise TypeError(
      f'{name} must be text, such as "S0,B"; got {checks.described(text)}.'
    )
  found = []
  for piece in text.split(','):
    match = _TEXT.fullmatch(piece.strip())
    if match is None:
      raise ValueError(
        f'{name}={text!r} has {piece.strip()!r}: write S0 (split dimension 0), '
        'B (all of it), P (terms of a sum) or P(max) for each axis of the '
        'mesh, with commas between.'
      )
    axis, broadcast, op = match.groups()
    if axis is not None:
      found.append(Split(int(axis)))
    elif broadcast:
      found.append(Broadcast())
    else:
      checks.choice(op or 'sum', REDUCTIONS, name=name, spec=text)
      found.append(Partial(op or 'sum'))
  return tuple(found)


def format_sbp(sbp: SbpLike) -> str:
  """Writes a signature; `parse_sbp` reads it back.

  Args:
    sbp: a component, or several.

  Returns:
    Its text.

  Example:
    >>> format_sbp((Split(1), Partial('max')))
    'S1,P(max)'
  """
  return ','.join(map(str, as_sbp(sbp)))


def as_sbp(
  sbp: SbpLike, num_axes: int | None = None, *, name: str = 'sbp'
) -> NdSbp:
  """Makes a signature of whatever says one.

  Args:
    sbp: text, a component, or a sequence of them.
    num_axes: axes that the mesh has, if known.
    name: of the argument, for messages.

  Returns:
    A component per axis of the mesh.

  Raises:
    ValueError: if it cannot be read, or is one of a mesh with another number of
      axes.
    TypeError: if it is no signature.

  Example:
    >>> as_sbp(Split(0)) == as_sbp('S0') == as_sbp(['S0'])
    True
  """
  if isinstance(sbp, str):
    found = parse_sbp(sbp, name=name)
  elif isinstance(sbp, Sbp):
    found = (sbp,)
  elif isinstance(sbp, Sequence) and sbp:
    found = ()
    for x in sbp:
      found += parse_sbp(x, name=name) if isinstance(x, str) else (x,)
  else:
    found = (sbp,)
  for x in found:
    if not isinstance(x, Sbp):
      raise TypeError(
        f'{name} must be a signature, such as "S0,B"; got '
        f'{checks.described(x)}.'
      )
  if num_axes is not None and len(found) != num_axes:
    raise ValueError(
      f'{name}={format_sbp(found)!r} has {len(found)} components, the mesh '
      f'{num_axes} axes: give one for each.'
    )
  return found


def as_mesh_shape(mesh_shape: Any, *, name: str = 'mesh_shape') -> tuple:
  """Checks the sizes of a mesh.

  Args:
    mesh_shape: devices along each axis; a number for one axis, text such as
      '2x4', or a `jax.sharding.Mesh`.
    name: of the argument, for messages.

  Returns:
    A tuple of sizes, each at least 1.

  Raises:
    ValueError: if there is none, or a size is below 1.

  Example:
    >>> as_mesh_shape('2x4'), as_mesh_shape(4)
    ((2, 4), (4,))
  """
  if isinstance(mesh_shape, str):
    pieces = mesh_shape.split('x')
    if not all(piece.strip().isdecimal() for piece in pieces):
      raise ValueError(
        f'{name}={mesh_shape!r} is no mesh: write the devices along each axis, '
        'such as 4 or 2x4.'
      )
    mesh_shape = tuple(map(int, pieces))
  elif hasattr(mesh_shape, 'axis_sizes'):
    mesh_shape = mesh_shape.axis_sizes
  elif not isinstance(mesh_shape, Sequence):
    mesh_shape = (mesh_shape,)
  if not mesh_shape:
    raise ValueError(f'{name} is empty: a mesh has at least one axis.')
  return tuple(
    checks.integer(m, name=f'{name}[{i}]' if i else name, low=1)
    for i, m in enumerate(mesh_shape)
  )


def dual(sbp: SbpLike) -> NdSbp:
  """What the gradient of a tensor is, given what the tensor is.

  Args:
    sbp: of the tensor.

  Returns:
    P for B, B for P, S(i) for S(i). A tensor that only replicated computations
    read has a gradient that is replicated too; see `Signature.dual`.

  Example:
    >>> format_sbp(dual('S0,B,P'))
    'S0,P,B'
  """
  swap = {Broadcast: Partial(), Partial: Broadcast()}
  return tuple(swap.get(type(x), x) for x in as_sbp(sbp))


def check_shape(
  sbp: NdSbp,
  shape: Sequence[int],
  mesh_shape: Sequence[int],
  *,
  even: bool = True,
  name: str = 'x',
) -> None:
  """Checks that a tensor can be split as its signature says.

  Args:
    sbp: a component per axis of the mesh.
    shape: of the tensor.
    mesh_shape: sizes of the mesh.
    even: whether pieces must be equally large.
    name: what the tensor is called.

  Raises:
    ValueError: if a dimension that is split does not exist, or is not divided
      evenly.
  """
  pieces: dict[int, int] = {}
  for x, size in zip(sbp, mesh_shape, strict=True):
    if not isinstance(x, Split):
      continue
    if x.axis >= len(shape):
      raise ValueError(
        f'{x} splits dimension {x.axis} of {name}, which has '
        f'{len(shape)}: shape {tuple(shape)}.'
      )
    pieces[x.axis] = pieces.get(x.axis, 1) * size
  for axis, count in pieces.items():
    if even and shape[axis] % count:
      raise ValueError(
        f'{format_sbp(sbp)} splits dimension {axis} of {name}, of size '
        f'{shape[axis]}, over {count} devices: pad it to '
        f'{math.ceil(shape[axis] / count) * count}.'
      )
