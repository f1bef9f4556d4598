# SPDX-License-Identifier: Apache-2.0
"""Operators that are not linear in all of their inputs, and sums of pieces."""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.parallel import _operator, _sbp

Partial, Split = _sbp.Partial, _sbp.Split
B, P = _sbp.Broadcast(), _sbp.Partial()
ACTIVATIONS: dict[str, Callable[[chex.Array], chex.Array]] = {
  'relu': jax.nn.relu,
  'gelu': jax.nn.gelu,
  'tanh': jnp.tanh,
  'exp': jnp.exp,
}


def activation(
  shapes: _operator.Shapes, fn: str = 'relu'
) -> _operator.Operator:
  """A function of every entry that is not linear: not of terms of a sum.

  Args:
    shapes: of the input.
    fn: 'relu', 'gelu', 'tanh' or 'exp'.

  Returns:
    The operator.
  """
  (x,) = _operator.checked(shapes, 1, 'activation')
  checks.choice(fn, ACTIVATIONS, name='fn')
  call = ACTIVATIONS[fn]
  rows = tuple(_operator.splits(len(x)))
  return _operator.Operator(
    x, rows, math.prod(x), lambda x, first=None: call(x)
  )


def softmax(shapes: _operator.Shapes) -> _operator.Operator:
  """Softmax over the last dimension, which stays in one piece.

  Args:
    shapes: of the input.

  Returns:
    The operator.
  """
  (x,) = _operator.checked(shapes, 1, 'softmax')
  _operator.with_dimensions(x, 'softmax')
  rows = tuple(_operator.splits(len(x) - 1))
  return _operator.Operator(
    x, rows, 5.0 * math.prod(x), lambda x, first=None: jax.nn.softmax(x, -1)
  )


def layer_norm(
  shapes: _operator.Shapes, eps: float = 1e-6
) -> _operator.Operator:
  """Normalizes the last dimension; gradients of scale and bias are terms.

  Args:
    shapes: of x, scale and bias, the latter vectors.
    eps: added to the variance.

  Returns:
    The operator.
  """
  x, scale, bias = _operator.checked(shapes, 3, 'layer_norm')
  _operator.with_dimensions(x, 'layer_norm')
  checks.number(eps, name='eps of layer_norm', low=0)
  if scale != x[-1:] or bias != x[-1:]:
    raise ValueError(
      f'layer_norm needs scale and bias of {x[-1:]}; got {scale} and {bias}.'
    )
  rows = tuple((s, B, B, s) for s, _ in _operator.splits(len(x) - 1))

  def apply(x, scale, bias, first=None):
    centered = x - x.mean(-1, keepdims=True)
    deviation = jnp.sqrt((centered**2).mean(-1, keepdims=True) + eps)
    lead = tuple(range(x.ndim - 1))
    scale, bias = (jnp.expand_dims(v, lead) for v in (scale, bias))
    return centered / deviation * scale + bias

  return _operator.Operator(x, rows, 8.0 * math.prod(x), apply)


def _reduced(shapes, axis, kind, op, call):
  (x,) = _operator.checked(shapes, 1, kind)
  axis = _operator.axis_of(axis, x, kind)
  rows = [(Split(i), Split(i - (i > axis))) for i in range(len(x)) if i != axis]
  rows.append((Split(axis), Partial(op)))
  if op == 'sum':
    rows.append((P, P))
  return _operator.Operator(
    (*x[:axis], *x[axis + 1 :]),
    tuple(rows),
    math.prod(x),
    lambda x, first=None: call(x, axis=axis),
  )


def reduce_sum(shapes: _operator.Shapes, axis: int = -1) -> _operator.Operator:
  """Adds up a dimension; if it is split, sums of pieces are terms.

  Args:
    shapes: of the input.
    axis: the dimension.

  Returns:
    The operator.
  """
  return _reduced(shapes, axis, 'reduce_sum', 'sum', jnp.sum)


def reduce_max(shapes: _operator.Shapes, axis: int = -1) -> _operator.Operator:
  """The largest of a dimension; if it is split, P(max).

  Args:
    shapes: of the input.
    axis: the dimension.

  Returns:
    The operator.
  """
  return _reduced(shapes, axis, 'reduce_max', 'max', jnp.max)


def embedding(shapes: _operator.Shapes) -> _operator.Operator:
  """Looks up rows of a table.

  Where rows are split, a device gives the rows that it has and zeros for the
  others: terms of the result. Ids of no row give zeros.

  Args:
    shapes: of ids i[...] and of the table [v, h].

  Returns:
    The operator; its result is [..., h].
  """
  ids, table = _operator.checked(shapes, 2, 'embedding')
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
  return _operator.Operator(shape, tuple(rows), math.prod(shape), apply)


def cross_entropy(shapes: _operator.Shapes) -> _operator.Operator:
  """The loss of every example, which stay in one piece.

  Args:
    shapes: of logits [..., c] and labels i[...].

  Returns:
    The operator; its result has the shape of the labels.
  """
  logits, labels = _operator.checked(shapes, 2, 'cross_entropy')
  _operator.with_dimensions(logits, 'cross_entropy')
  if labels != logits[:-1]:
    raise ValueError(
      f'cross_entropy needs labels of shape {logits[:-1]}; got {labels}.'
    )

  def apply(logits, labels, first=None):
    logs = jax.nn.log_softmax(logits, -1)
    return -jnp.take_along_axis(logs, labels[..., None], -1)[..., 0]

  rows = tuple(_operator.splits(len(labels), 2))
  return _operator.Operator(labels, rows, 5.0 * math.prod(logits), apply)
