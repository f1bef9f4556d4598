# SPDX-License-Identifier: Apache-2.0
"""Networks by name, for flags."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _convolutional, _dense, _resnet

_BUILDERS: dict[str, Callable[[int, dict[str, Any]], Network]] = {
  'fedjax_emnist_cnn': lambda k, _: _convolutional.fedjax_emnist_cnn(k),
  'lenet': lambda k, _: _convolutional.lenet(k),
  'logistic_regression': lambda k, _: _dense.logistic_regression(k),
  'mlp': lambda k, o: _dense.mlp(
    o['hidden_sizes'], k, activation=o['activation']
  ),
  'monna_cifar_cnn': lambda k, _: _convolutional.monna_cifar_cnn(k),
  'monna_mnist_cnn': lambda k, _: _convolutional.monna_mnist_cnn(k),
  'resnet18': lambda k, o: _resnet.resnet18(
    k, norm=o['norm'], width=o['width']
  ),
}

NETWORKS: tuple[str, ...] = tuple(_BUILDERS)


def make_network(
  name: str,
  input_shape: Sequence[int],
  num_outputs: int,
  *,
  hidden_sizes: Sequence[int] = (64,),
  activation: str = 'relu',
  norm: str = 'group',
  width: int = 64,
) -> Network:
  """Builds a network by name and checks that it fits the data.

  Args:
    name: one of `NETWORKS`.
    input_shape: shape of one example, without the batch axis.
    num_outputs: number of classes, or of regression targets.
    hidden_sizes: widths of the hidden layers ('mlp').
    activation: name in `ACTIVATIONS` ('mlp').
    norm: 'group' or 'batch' ('resnet18').
    width: channels of the first stage ('resnet18').

  Returns:
    The network; options of other networks are ignored.

  Raises:
    ValueError: if the name is unknown, an option is out of range, or the
      network cannot take such inputs.

  Example:
    >>> network = make_network('mlp', (8, 8), 10, hidden_sizes=(32,))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 8, 8)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    2410
  """
  checks.choice(name, NETWORKS, name='network')
  options: dict[str, Any] = {
    'hidden_sizes': hidden_sizes,
    'activation': activation,
    'norm': norm,
    'width': width,
  }
  network = _BUILDERS[name](num_outputs, options)
  shape = tuple(
    checks.integer(n, name='input_shape', low=1) for n in input_shape
  )
  example = jax.ShapeDtypeStruct((1, *shape), jnp.result_type(float))
  jax.eval_shape(lambda x: network.init(jax.random.key(0), x), example)
  return network
