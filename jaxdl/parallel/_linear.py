# SPDX-License-Identifier: Apache-2.0
"""Operators that are linear: they also take terms of a sum.

Every function `operator(shapes, **options) -> Operator` gives the signatures of
a mesh with one axis; `_signatures` puts those of several axes together. All of
them also take everything replicated.
"""

import math

import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.parallel import _operator, _sbp

Split = _sbp.Split
B, P = _sbp.Broadcast(), _sbp.Partial()


def matmul(shapes: _operator.Shapes) -> _operator.Operator:
  """Y = X W, with W a matrix or as many leading dimensions as X.

  The table of the paper: (S0, B -> S0), (B, S1 -> S1), (S1, S0 -> P),
  (P, B -> P), (B, P -> P); leading dimensions of X, and those of both, may be
  split as well.

  Args:
    shapes: of X [..., m, k] and of W [k, n] or [..., k, n].

  Returns:
    The operator.

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Table 1.
  """
  x, w = _operator.checked(shapes, 2, 'matmul')
  batched = len(w) > 2
  if (
    len(x) < 2 or len(w) < 2 or x[-1] != w[-2] or (batched and x[:-2] != w[:-2])
  ):
    raise ValueError(
      f'matmul needs shapes [..., m, k] and [k, n] or [..., k, n]; got {x} and '
      f'{w}.'
    )
  last = len(x) - 1
  lead = _operator.splits(last - 1, 2) if batched else []
  if not batched:
    lead = [(Split(i), B, Split(i)) for i in range(last - 1)]
  rows = [
    *lead,
    (Split(last - 1), B, Split(last - 1)),
    (B, Split(len(w) - 1), Split(last)),
    (Split(last), Split(len(w) - 2), P),
    (P, B, P),
    (B, P, P),
  ]
  shape = (*x[:-1], w[-1])
  return _operator.Operator(
    shape,
    tuple(rows),
    2.0 * math.prod(shape) * x[-1],
    lambda x, w, first=None: jnp.matmul(x, w, precision='highest'),
  )


def scale(shapes: _operator.Shapes, factor: float = 2.0) -> _operator.Operator:
  """A multiple, which terms of a sum may be taken of.

  Args:
    shapes: of the input.
    factor: a number.

  Returns:
    The operator.
  """
  (x,) = _operator.checked(shapes, 1, 'scale')
  checks.number(factor, name='factor')
  rows = (*_operator.splits(len(x)), (P, P))
  return _operator.Operator(
    x,
    rows,
    math.prod(x),
    lambda x, first=None: x * jnp.asarray(factor, x.dtype),
  )


def identity(shapes: _operator.Shapes) -> _operator.Operator:
  """The same tensor, which may go elsewhere.

  Args:
    shapes: of the input.

  Returns:
    The operator.
  """
  (x,) = _operator.checked(shapes, 1, 'identity')
  rows = (*_operator.splits(len(x)), (P, P))
  return _operator.Operator(x, rows, 0.0, lambda x, first=None: x)


def transpose(
  shapes: _operator.Shapes, axes: tuple[int, ...] = ()
) -> _operator.Operator:
  """Permutes dimensions.

  Args:
    shapes: of the input.
    axes: of the input, in the order of the result; () reverses them.

  Returns:
    The operator.
  """
  (x,) = _operator.checked(shapes, 1, 'transpose')
  axes = tuple(axes) or tuple(reversed(range(len(x))))
  if sorted(axes) != list(range(len(x))):
    raise ValueError(
      f'axes={axes} of transpose must be a permutation of the {len(x)} '
      f'dimensions of shape {x}.'
    )
  rows = [(Split(axes[j]), Split(j)) for j in range(len(x))]
  return _operator.Operator(
    tuple(x[i] for i in axes),
    (*rows, (P, P)),
    math.prod(x),
    lambda x, first=None: jnp.transpose(x, axes),
  )


def reshape(
  shapes: _operator.Shapes, shape: tuple[int, ...] = (-1,)
) -> _operator.Operator:
  """Merges and splits dimensions; the first of what is merged may be split.

  Args:
    shapes: of the input.
    shape: of the result; one size may be -1.

  Returns:
    The operator.
  """
  (x,) = _operator.checked(shapes, 1, 'reshape')
  shape = (shape,) if isinstance(shape, int) else tuple(shape)
  rest = -math.prod(shape)
  if shape.count(-1) == 1 and rest > 0 and math.prod(x) % rest == 0:
    shape = tuple(math.prod(x) // rest if n == -1 else n for n in shape)
  if math.prod(x) != math.prod(shape) or min(shape, default=0) < 0:
    raise ValueError(f'reshape from {x} to {shape} has another size.')
  leaders = _leaders(x, shape)
  rows = [(Split(i), Split(j)) for i, j in leaders]

  def apply(y, first=None):
    target = list(shape)
    for i, j in leaders:
      target[j] = target[j] * y.shape[i] // x[i]
    return jnp.reshape(y, target)

  return _operator.Operator(shape, (*rows, (P, P)), 0.0, apply)


def _leaders(x, y):
  """Dimensions that lead a group which is reshaped on its own."""
  found, i, j = [], 0, 0
  while True:
    while i < len(x) and x[i] == 1:
      i += 1
    while j < len(y) and y[j] == 1:
      j += 1
    if i >= len(x) or j >= len(y):
      return found
    found.append((i, j))
    a, b = x[i], y[j]
    i, j = i + 1, j + 1
    while a != b:
      if a < b:
        a, i = a * x[i], i + 1
      else:
        b, j = b * y[j], j + 1


def add(shapes: _operator.Shapes) -> _operator.Operator:
  """The sum of two tensors; of terms of both, but never of terms of one.

  Args:
    shapes: of the inputs, equal.

  Returns:
    The operator.
  """
  x, y = _same(shapes, 'add')
  rows = (*_operator.splits(len(x), 2), (P, P, P))
  return _operator.Operator(
    x, rows, math.prod(x), lambda x, y, first=None: x + y
  )


def multiply(shapes: _operator.Shapes) -> _operator.Operator:
  """The product of every two entries; linear in each, so one may be terms.

  Args:
    shapes: of the inputs, equal.

  Returns:
    The operator.
  """
  x, y = _same(shapes, 'multiply')
  rows = (*_operator.splits(len(x), 2), (P, B, P), (B, P, P))
  return _operator.Operator(
    x, rows, math.prod(x), lambda x, y, first=None: x * y
  )


def _same(shapes, kind):
  x, y = _operator.checked(shapes, 2, kind)
  if x != y:
    raise ValueError(f'{kind} needs two equal shapes; got {x} and {y}.')
  return x, y


def bias_add(shapes: _operator.Shapes, axis: int = -1) -> _operator.Operator:
  """Adds a vector along a dimension.

  Args:
    shapes: of x, and of the vector.
    axis: the dimension of x.

  Returns:
    The operator.
  """
  x, b = _operator.checked(shapes, 2, 'bias_add')
  axis = _operator.axis_of(axis, x, 'bias_add')
  if b != (x[axis],):
    raise ValueError(f'bias_add needs a vector of {x[axis]}; got shape {b}.')
  rows = [(s, b, s) for s, b, _ in _operator.splits(len(x), 2, skip=(axis,))]
  rows = [(s, B, s) for s, _, _ in rows] + [
    (Split(axis), Split(0), Split(axis))
  ]

  def apply(x, b, first=None):
    return x + jnp.expand_dims(b, tuple(i for i in range(x.ndim) if i != axis))

  return _operator.Operator(x, tuple(rows), math.prod(x), apply)
