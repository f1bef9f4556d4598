# SPDX-License-Identifier: Apache-2.0
"""What an operator is, and checks of the shapes that it takes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex

from jaxdl.core import checks
from jaxdl.parallel import _sbp

Shapes = Sequence[Sequence[int]]


class Operator(NamedTuple):
  """An operator on tensors of some shapes.

  Attributes:
    shape: of its result.
    rows: signatures on one axis, a component per input and one of the result;
      the replicated one is not among them.
    flops: of the whole.
    apply: `apply(*tensors, first=None)`, on tensors or on shards of a signature
      that is valid; differentiable. `first` tells, for every input, which index
      of dimension 0 its shard begins with; only `embedding` needs it.
  """

  shape: tuple[int, ...]
  rows: tuple[tuple[_sbp.Sbp, ...], ...]
  flops: float
  apply: Callable[..., chex.Array]


def checked(shapes: Any, num: int, kind: str) -> list[tuple[int, ...]]:
  """Shapes of inputs, of which there must be so many."""
  shapes = as_shapes(shapes, name=f'shapes of {kind}')
  if len(shapes) != num:
    raise ValueError(
      f'{kind} takes {num} input{"s" * (num > 1)}; got {len(shapes)}.'
    )
  return shapes


def as_shapes(shapes: Any, *, name: str) -> list[tuple[int, ...]]:
  """Shapes as tuples of sizes >= 1."""
  listed = lambda x: isinstance(x, Sequence) and not isinstance(x, str)
  for shape in shapes if listed(shapes) else [None]:
    if not listed(shape):
      raise TypeError(
        f'{name} must be a list of shapes, such as [(8, 4)]; got '
        f'{checks.described(shapes)}.'
      )
  return [
    tuple(checks.integer(n, name=f'a size in {name}', low=1) for n in shape)
    for shape in shapes
  ]


def with_dimensions(shape: Sequence[int], kind: str) -> None:
  """Raises ValueError if there is no last dimension."""
  if not shape:
    raise ValueError(
      f'{kind} works along the last dimension, and its input has none: shape '
      '().'
    )


def axis_of(axis: Any, shape: Sequence[int], kind: str) -> int:
  """A dimension of a shape, counted from the front."""
  axis = checks.integer(axis, name=f'axis of {kind}')
  if not -len(shape) <= axis < len(shape):
    raise ValueError(
      f'axis={axis} of {kind} is no dimension of shape {shape}: need '
      f'{-len(shape)} <= axis < {len(shape)}.'
    )
  return axis % len(shape)


def splits(
  ndim: int, num_inputs: int = 1, *, skip: Sequence[int] = ()
) -> list[tuple[_sbp.Sbp, ...]]:
  """S(i) of all inputs and of the result, for each dimension."""
  return [
    (_sbp.Split(i),) * (num_inputs + 1) for i in range(ndim) if i not in skip
  ]
