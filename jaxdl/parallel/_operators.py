# SPDX-License-Identifier: Apache-2.0
"""Operators by name."""

from typing import Any

from jaxdl.core import registry
from jaxdl.parallel import (
  _client_operators,
  _linear,
  _nonlinear,
  _operator,
)

Operator = _operator.Operator

OPERATORS = registry.Registry(
  'operator',
  {
    'activation': _nonlinear.activation,
    'add': _linear.add,
    'bias_add': _linear.bias_add,
    'cross_entropy': _nonlinear.cross_entropy,
    'embedding': _nonlinear.embedding,
    'identity': _linear.identity,
    'layer_norm': _nonlinear.layer_norm,
    'local_training': _client_operators.local_training,
    'matmul': _linear.matmul,
    'multiply': _linear.multiply,
    'order_statistic': _client_operators.order_statistic,
    'pairwise_weights': _client_operators.pairwise_weights,
    'reduce_max': _nonlinear.reduce_max,
    'reduce_sum': _nonlinear.reduce_sum,
    'reshape': _linear.reshape,
    'scale': _linear.scale,
    'softmax': _nonlinear.softmax,
    'transpose': _linear.transpose,
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
