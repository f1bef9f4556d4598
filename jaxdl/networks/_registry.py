# SPDX-License-Identifier: Apache-2.0
"""Networks by name, with their options."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.core.types import Network
from jaxdl.networks import (
  _bias_free,
  _convolutional,
  _dense,
  _recurrent,
  _resnet,
)


def _mlp(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (64,),
  *,
  activation: str = 'relu',
  kernel_init: str = 'fan_in',
  bias: bool = True,
) -> Network:
  """A multilayer perceptron, see `mlp`."""
  return _dense.mlp(
    hidden_sizes,
    num_outputs,
    activation=activation,
    kernel_init=kernel_init,
    bias=bias,
  )


NETWORKS = registry.Registry(
  'network',
  {
    'char_lstm': _recurrent.char_lstm,
    'conv8': _bias_free.conv8,
    'fedfix_cifar_cnn': _convolutional.fedfix_cifar_cnn,
    'fedjax_emnist_cnn': _convolutional.fedjax_emnist_cnn,
    'frl_lenet': _bias_free.frl_lenet,
    'lenet': _convolutional.lenet,
    'logistic_regression': _dense.logistic_regression,
    'mip_mnist_cnn': _convolutional.mip_mnist_cnn,
    'mlp': _mlp,
    'monna_cifar_cnn': _convolutional.monna_cifar_cnn,
    'monna_mnist_cnn': _convolutional.monna_mnist_cnn,
    'ocfl_cnn': _convolutional.ocfl_cnn,
    'resnet18': _resnet.resnet18,
    'resnet34': _resnet.resnet34,
  },
  given=('num_outputs',),
)


def make_network(
  spec: str,
  input_shape: Sequence[int],
  num_outputs: int,
  *,
  dtype: Any = None,
) -> Network:
  """Builds a network by name and checks that it fits the data.

  Args:
    spec: an entry of `NETWORKS`, with options or without: 'lenet',
      'mlp((64, 64), activation=tanh)', 'resnet18(norm=batch)'.
    input_shape: shape of one example, without the batch axis.
    num_outputs: number of classes, or of regression targets.
    dtype: of the inputs, integers for text; the default floating point if None.

  Returns:
    The network.

  Raises:
    ValueError: if the name or an option is unknown, an option is out of range,
      or the network cannot take such inputs.
    TypeError: if the spec is no text, or an option of another type.

  Example:
    >>> network = make_network('mlp(32)', (8, 8), 10)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 8, 8)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    2410
  """
  network = NETWORKS.make(spec, num_outputs=num_outputs)
  shape = tuple(
    checks.integer(n, name='input_shape', low=1) for n in input_shape
  )
  kind = jnp.result_type(float if dtype is None else dtype)
  example = jax.ShapeDtypeStruct((1, *shape), kind)
  jax.eval_shape(lambda x: network.init(jax.random.key(0), x), example)
  return network
