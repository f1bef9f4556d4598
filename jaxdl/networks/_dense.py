# SPDX-License-Identifier: Apache-2.0
"""Fully connected networks."""

from collections.abc import Callable, Sequence

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _init, _linen

ACTIVATIONS: dict[str, Callable[[chex.Array], chex.Array]] = {
  'elu': jax.nn.elu,
  'gelu': jax.nn.gelu,
  'identity': lambda x: x,
  'relu': jax.nn.relu,
  'sigmoid': jax.nn.sigmoid,
  'silu': jax.nn.silu,
  'sin': jnp.sin,
  'tanh': jnp.tanh,
}


class _Mlp(nn.Module):
  """Dense layers with an activation between them."""

  sizes: tuple[int, ...]
  activation: Callable[[chex.Array], chex.Array]

  @nn.compact
  def __call__(self, x):
    x = x.reshape(x.shape[0], -1)
    for size in self.sizes[:-1]:
      x = self.activation(nn.Dense(size)(x))
    return nn.Dense(self.sizes[-1])(x)


def mlp(
  hidden_sizes: Sequence[int],
  num_outputs: int,
  *,
  activation: str | Callable[[chex.Array], chex.Array] = 'relu',
) -> Network:
  """Builds a multilayer perceptron.

  Inputs [B, ...] are flattened to [B, I]. Kernels start uniform with variance
  one over their number of inputs, biases at zero; parameters take the dtype of
  the example inputs. It has the sum of `(I + 1) O` over its layers parameters.

  Args:
    hidden_sizes: widths of the hidden layers, each >= 1; empty for a linear
      map.
    num_outputs: width of the output, >= 1.
    activation: a name in `ACTIVATIONS` or an elementwise function.

  Returns:
    `Network`; outputs f[B, num_outputs].

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below one, or the activation unknown.

  Example:
    >>> network = mlp((8,), 3)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 5)))
    >>> network.apply(params, jnp.zeros((4, 5))).shape
    (4, 3)
  """
  if isinstance(hidden_sizes, int):
    raise TypeError(
      f'hidden_sizes must be a sequence; got {hidden_sizes}: write '
      f'({hidden_sizes},).'
    )
  sizes = tuple(
    checks.integer(size, name='hidden_sizes', low=1) for size in hidden_sizes
  )
  checks.integer(num_outputs, name='num_outputs', low=1)
  if not callable(activation):
    checks.choice(activation, tuple(ACTIVATIONS), name='activation')
    activation = ACTIVATIONS[activation]
  return _linen.from_linen(
    _Mlp((*sizes, num_outputs), activation),
    initializer=_init.draw,
    check=_linen.check_rows('mlp'),
  )


def logistic_regression(num_classes: int) -> Network:
  """Builds a linear map from flattened inputs to logits.

  Args:
    num_classes: number of classes K, >= 1.

  Returns:
    `Network`; outputs f[B, K]. It has `(I + 1) K` parameters.

  Raises:
    TypeError, ValueError: if `num_classes` is not an integer >= 1.

  Example:
    >>> network = logistic_regression(10)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 8, 8)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    650
  """
  checks.integer(num_classes, name='num_classes', low=1)
  return mlp((), num_classes)
