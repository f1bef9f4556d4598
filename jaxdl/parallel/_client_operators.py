# SPDX-License-Identifier: Apache-2.0
"""Operators of a round: what clients do, and what a server makes of it."""

import jax.numpy as jnp

from jaxdl.core import checks, order
from jaxdl.parallel import _operator, _sbp

Split = _sbp.Split


def local_training(
  shapes: _operator.Shapes, size: int = 1, flops: float = 0.0
) -> _operator.Operator:
  """What every client makes of its own row; rows never meet.

  As an example of such work it repeats the first entry of a row.

  Args:
    shapes: of what clients start from, [N, k].
    size: D, numbers that a client sends.
    flops: of one client.

  Returns:
    The operator; its result is [N, D].
  """
  (x,) = _operator.checked(shapes, 1, 'local_training')
  if len(x) != 2:
    raise ValueError(f'local_training takes rows [N, k]; got shape {x}.')
  size = checks.integer(size, name='size of local_training', low=1)
  checks.number(flops, name='flops of local_training', low=0)
  return _operator.Operator(
    (x[0], size),
    ((Split(0), Split(0)),),
    float(x[0] * flops),
    lambda x, first=None: jnp.repeat(x[:, :1], size, axis=1),
  )


def order_statistic(shapes: _operator.Shapes) -> _operator.Operator:
  """The median of every column, which must be in one piece.

  Args:
    shapes: of the input, [N, D].

  Returns:
    The operator; its result is [1, D]. Its work is that of a sorting network.
  """
  (x,) = _operator.checked(shapes, 1, 'order_statistic')
  if len(x) != 2:
    raise ValueError(f'order_statistic takes rows [N, D]; got shape {x}.')
  return _operator.Operator(
    (1, x[1]),
    ((Split(1), Split(1)),),
    2.0 * len(order.comparators(x[0])) * x[1],
    lambda x, first=None: jnp.median(x, axis=0, keepdims=True),
  )


def pairwise_weights(
  shapes: _operator.Shapes, num_sums: int = 1
) -> _operator.Operator:
  """Weights of rows in sums, from all inner products; every device does it.

  As an example, row k has the weights of the k-th row's products.

  Args:
    shapes: of the input, [N, N].
    num_sums: M <= N.

  Returns:
    The operator; its result is [M, N].
  """
  (x,) = _operator.checked(shapes, 1, 'pairwise_weights')
  if len(x) != 2 or x[0] != x[1]:
    raise ValueError(f'pairwise_weights takes products [N, N]; got shape {x}.')
  checks.integer(num_sums, name='num_sums', low=1, high=x[0])
  return _operator.Operator(
    (num_sums, x[1]),
    (),
    float(x[0] * x[1]),
    lambda x, first=None: x[:num_sums],
  )
