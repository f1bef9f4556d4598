# SPDX-License-Identifier: Apache-2.0
"""Operators: which signatures they take, and what they compute.

Every function `operator(shapes, **options) -> Operator` gives the signatures of
a mesh with one axis; `_signatures` puts those of several axes together. All of
them also take everything replicated.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.parallel import _sbp

Broadcast, Partial, Split = _sbp.Broadcast, _sbp.Partial, _sbp.Split
B, P = Broadcast(), Partial()
Shapes = Sequence[Sequence[int]]
ACTIVATIONS: dict[str, Callable[[chex.Array], chex.Array]] = {
  'relu': jax.nn.relu,
  'gelu': jax.nn.gelu,
  'tanh': jnp.tanh,
  'exp': jnp.exp,
}


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


def _shapes(shapes, num, kind):
  shapes = [tuple(s) for s in shapes]
  if len(shapes) != num:
    raise ValueError(
      f'{kind} takes {num} input{"s" * (num > 1)}; got {len(shapes)}.'
    )
  return shapes


def _axis(axis, shape, kind):
  axis = checks.integer(axis, name=f'axis of {kind}')
  if not -len(shape) <= axis < len(shape):
    raise ValueError(
      f'axis={axis} of {kind} is no dimension of shape {shape}: need '
      f'{-len(shape)} <= axis < {len(shape)}.'
    )
  return axis % len(shape)


def _splits(ndim, num_inputs=1, *, skip=()):
  """S(i) of everything, for each dimension."""
  return [(Split(i),) * (num_inputs + 1) for i in range(ndim) if i not in skip]


def matmul(shapes: Shapes) -> Operator:
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
  x, w = _shapes(shapes, 2, 'matmul')
  batched = len(w) > 2
  if (
    len(x) < 2 or len(w) < 2 or x[-1] != w[-2] or (batched and x[:-2] != w[:-2])
  ):
    raise ValueError(
      f'matmul needs shapes [..., m, k] and [k, n] or [..., k, n]; got {x} and '
      f'{w}.'
    )
  last = len(x) - 1
  lead = _splits(last - 1, 2) if batched else []
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
  return Operator(
    shape,
    tuple(rows),
    2.0 * math.prod(shape) * x[-1],
    lambda x, w, first=None: jnp.matmul(x, w, precision='highest'),
  )


def activation(shapes: Shapes, fn: str = 'relu') -> Operator:
  """A function of every entry that is not linear: not of terms of a sum.

  Args:
    shapes: of the input.
    fn: 'relu', 'gelu', 'tanh' or 'exp'.

  Returns:
    The operator.
  """
  (x,) = _shapes(shapes, 1, 'activation')
  checks.choice(fn, ACTIVATIONS, name='fn')
  call = ACTIVATIONS[fn]
  rows = tuple(_splits(len(x)))
  return Operator(x, rows, math.prod(x), lambda x, first=None: call(x))


def scale(shapes: Shapes, factor: float = 2.0) -> Operator:
  """A multiple, which terms of a sum may be taken of.

  Args:
    shapes: of the input.
    factor: a number.

  Returns:
    The operator.
  """
  (x,) = _shapes(shapes, 1, 'scale')
  checks.number(factor, name='factor')
  rows = (*_splits(len(x)), (P, P))
  return Operator(
    x,
    rows,
    math.prod(x),
    lambda x, first=None: x * jnp.asarray(factor, x.dtype),
  )


def identity(shapes: Shapes) -> Operator:
  """The same tensor, which may go elsewhere.

  Args:
    shapes: of the input.

  Returns:
    The operator.
  """
  (x,) = _shapes(shapes, 1, 'identity')
  rows = (*_splits(len(x)), (P, P))
  return Operator(x, rows, 0.0, lambda x, first=None: x)


def transpose(shapes: Shapes, axes: tuple[int, ...] = ()) -> Operator:
  """Permutes dimensions.

  Args:
    shapes: of the input.
    axes: of the input, in the order of the result; () reverses them.

  Returns:
    The operator.
  """
  (x,) = _shapes(shapes, 1, 'transpose')
  axes = tuple(axes) or tuple(reversed(range(len(x))))
  if sorted(axes) != list(range(len(x))):
    raise ValueError(
      f'axes={axes} of transpose must be a permutation of the {len(x)} '
      f'dimensions of shape {x}.'
    )
  rows = [(Split(axes[j]), Split(j)) for j in range(len(x))]
  return Operator(
    tuple(x[i] for i in axes),
    (*rows, (P, P)),
    math.prod(x),
    lambda x, first=None: jnp.transpose(x, axes),
  )


def reshape(shapes: Shapes, shape: tuple[int, ...] = (-1,)) -> Operator:
  """Merges and splits dimensions; the first of what is merged may be split.

  Args:
    shapes: of the input.
    shape: of the result; one size may be -1.

  Returns:
    The operator.
  """
  (x,) = _shapes(shapes, 1, 'reshape')
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

  return Operator(shape, (*rows, (P, P)), 0.0, apply)


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


def add(shapes: Shapes) -> Operator:
  """The sum of two tensors; of terms of both, but never of terms of one.

  Args:
    shapes: of the inputs, equal.

  Returns:
    The operator.
  """
  x, y = _same(shapes, 'add')
  rows = (*_splits(len(x), 2), (P, P, P))
  return Operator(x, rows, math.prod(x), lambda x, y, first=None: x + y)


def multiply(shapes: Shapes) -> Operator:
  """The product of every two entries; linear in each, so one may be terms.

  Args:
    shapes: of the inputs, equal.

  Returns:
    The operator.
  """
  x, y = _same(shapes, 'multiply')
  rows = (*_splits(len(x), 2), (P, B, P), (B, P, P))
  return Operator(x, rows, math.prod(x), lambda x, y, first=None: x * y)


def _same(shapes, kind):
  x, y = _shapes(shapes, 2, kind)
  if x != y:
    raise ValueError(f'{kind} needs two equal shapes; got {x} and {y}.')
  return x, y


def bias_add(shapes: Shapes, axis: int = -1) -> Operator:
  """Adds a vector along a dimension.

  Args:
    shapes: of x, and of the vector.
    axis: the dimension of x.

  Returns:
    The operator.
  """
  x, b = _shapes(shapes, 2, 'bias_add')
  axis = _axis(axis, x, 'bias_add')
  if b != (x[axis],):
    raise ValueError(f'bias_add needs a vector of {x[axis]}; got shape {b}.')
  rows = [(s, b, s) for s, b, _ in _splits(len(x), 2, skip=(axis,))]
  rows = [(s, B, s) for s, _, _ in rows] + [
    (Split(axis), Split(0), Split(axis))
  ]

  def apply(x, b, first=None):
    return x + jnp.expand_dims(b, tuple(i for i in range(x.ndim) if i != axis))

  return Operator(x, tuple(rows), math.prod(x), apply)


def softmax(shapes: Shapes) -> Operator:
  """Softmax over the last dimension, which stays in one piece.

  Args:
    shapes: of the input.

  Returns:
    The operator.
  """
  (x,) = _shapes(shapes, 1, 'softmax')
  rows = tuple(_splits(len(x) - 1))
  return Operator(
    x, rows, 5.0 * math.prod(x), lambda x, first=None: jax.nn.softmax(x, -1)
  )


def layer_norm(shapes: Shapes, eps: float = 1e-6) -> Operator:
  """Normalizes the last dimension; gradients of scale and bias are terms.

  Args:
    shapes: of x, scale and bias, the latter vectors.
    eps: added to the variance.

  Returns:
    The operator.
  """
  x, scale, bias = _shapes(shapes, 3, 'layer_norm')
  if scale != x[-1:] or bias != x[-1:]:
    raise ValueError(
      f'layer_norm needs scale and bias of {x[-1:]}; got {scale} and {bias}.'
    )
  rows = tuple((s, B, B, s) for s, _ in _splits(len(x) - 1))

  def apply(x, scale, bias, first=None):
    centered = x - x.mean(-1, keepdims=True)
    deviation = jnp.sqrt((centered**2).mean(-1, keepdims=True) + eps)
    lead = tuple(range(x.ndim - 1))
    scale, bias = (jnp.expand_dims(v, lead) for v in (scale, bias))
    return centered / deviation * scale + bias

  return Operator(x, rows, 8.0 * math.prod(x), apply)


def _reduced(shapes, axis, kind, op, call):
  (x,) = _shapes(shapes, 1, kind)
  axis = _axis(axis, x, kind)
  rows = [(Split(i), Split(i - (i > axis))) for i in range(len(x)) if i != axis]
  rows.append((Split(axis), Partial(op)))
  if op == 'sum':
    rows.append((P, P))
  return Operator(
    (*x[:axis], *x[axis + 1 :]),
    tuple(rows),
    math.prod(x),
    lambda x, first=None: call(x, axis=axis),
  )


def reduce_sum(shapes: Shapes, axis: int = -1) -> Operator:
  """Adds up a dimension; if it is split, sums of pieces are terms.

  Args:
    shapes: of the input.
    axis: the dimension.

  Returns:
    The operator.
  """
  return _reduced(shapes, axis, 'reduce_sum', 'sum', jnp.sum)


def reduce_max(shapes: Shapes, axis: int = -1) -> Operator:
  """The largest of a dimension; if it is split, P(max).

  Args:
    shapes: of the input.
    axis: the dimension.

  Returns:
    The operator.
  """
  return _reduced(shapes, axis, 'reduce_max', 'max', jnp.max)


def embedding(shapes: Shapes) -> Operator:
  """Looks up rows of a table.

  Where rows are split, a device gives the rows that it has and zeros for the
  others: terms of the result. Ids of no row give zeros.

  Args:
    shapes: of ids i[...] and of the table [v, h].

  Returns:
    The operator; its result is [..., h].
  """
  ids, table = _shapes(shapes, 2, 'embedding')
  if len(table) != 2:
    raise ValueError(f'embedding needs a table [v, h]; got shape {table}.')
  rows = [(Split(i), B, Split(i)) for i in range(len(ids))]
  rows += [(B, Split(1), Split(len(ids))), (B, Split(0), P)]

  def apply(ids, rows, first=None):
    own = ids - (0 if first is None else first[1])
    here = (own >= 0) & (own < rows.shape[0])
    found = rows[jnp.where(here, own, 0)]
    return jnp.where(here[..., None], found, jnp.zeros((), rows.dtype))

  shape = (*ids, table[1])
  return Operator(shape, tuple(rows), math.prod(shape), apply)


def cross_entropy(shapes: Shapes) -> Operator:
  """The loss of every example, which stay in one piece.

  Args:
    shapes: of logits [..., c] and labels i[...].

  Returns:
    The operator; its result has the shape of the labels.
  """
  logits, labels = _shapes(shapes, 2, 'cross_entropy')
  if labels != logits[:-1]:
    raise ValueError(
      f'cross_entropy needs labels of shape {logits[:-1]}; got {labels}.'
    )

  def apply(logits, labels, first=None):
    logs = jax.nn.log_softmax(logits, -1)
    return -jnp.take_along_axis(logs, labels[..., None], -1)[..., 0]

  rows = tuple(_splits(len(labels), 2))
  return Operator(labels, rows, 5.0 * math.prod(logits), apply)


OPERATORS = registry.Registry(
  'operator',
  {
    'activation': activation,
    'add': add,
    'bias_add': bias_add,
    'cross_entropy': cross_entropy,
    'embedding': embedding,
    'identity': identity,
    'layer_norm': layer_norm,
    'matmul': matmul,
    'multiply': multiply,
    'reduce_max': reduce_max,
    'reduce_sum': reduce_sum,
    'reshape': reshape,
    'scale': scale,
    'softmax': softmax,
    'transpose': transpose,
  },
  given=('shapes',),
)


def make_operator(spec: str, shapes: Any) -> Operator:
  """Makes an operator for inputs of some shapes.

  Args:
    spec: a part of `OPERATORS`, such as 'reduce_sum(axis=0)'.
    shapes: of its inputs.

  Returns:
    The operator.

  Raises:
    ValueError: if it is unknown, or does not take such inputs.

  Example:
    >>> make_operator('matmul', [(8, 4), (4, 6)]).shape
    (8, 6)
  """
  return OPERATORS.make(spec, shapes)
