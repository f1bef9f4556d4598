# SPDX-License-Identifier: Apache-2.0
"""Fully connected networks."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _linen, _taps, functional


def join(inputs: tuple[chex.Array, ...], *, aligned: bool) -> chex.Array:
  """Concatenates the inputs of an example along the last axis.

  Args:
    inputs: f[..., I_k]. Of two, u f[N, m] and y, the second may also be own
      points f[N, Q, d], or common points f[Q, d].
    aligned: whether points f[Q, d] are common to all u.

  Returns:
    f[..., sum of I_k].

  Raises:
    ValueError: if leading axes differ.
  """
  if len(inputs) == 1:
    return inputs[0]
  if len(inputs) == 2:
    u, y = inputs
    if aligned and y.ndim == 2:
      y = jnp.broadcast_to(y[None], (u.shape[0], *y.shape))
    if u.ndim == 2 and y.ndim == 3:
      u = jnp.broadcast_to(u[:, None], (*y.shape[:2], u.shape[1]))
    inputs = (u, y)
  if len({x.shape[:-1] for x in inputs}) > 1:
    shapes = ', '.join(str(x.shape) for x in inputs)
    raise ValueError(
      f'inputs to be concatenated need equal leading axes; got {shapes}: '
      'give one query point per input function, or pass aligned=True.'
    )
  return jnp.concatenate(inputs, -1)


def mlp(
  hidden_sizes: int | Sequence[int],
  num_outputs: int,
  *,
  activation: functional.Activation = 'relu',
  activate_last: bool = False,
  kernel_init: str = 'fan_in',
  bias: bool = True,
  flatten: bool = True,
) -> Network:
  """Builds a multilayer perceptron.

  Inputs [B, ...] are flattened to [B, I]. Biases start at zero (but for
  `kernel_init='critical'`, which may want them random); parameters, a
  list of {'kernel': f[I, O], 'bias': f[O]}, take the dtype of the example
  inputs. It has the sum of `(I + 1) O` over its layers parameters.

  With `flatten=False` the last axis is mapped, whatever stands before it, and
  several inputs are concatenated: `apply(params, *inputs f[..., I_k])`. Of two,
  u f[N, m] and y, the second may also be own points f[N, Q, d] or, with
  `aligned=True`, common points f[Q, d]: outputs f[N, Q, ...], the interface of
  `operators.deeponet`.

  Args:
    hidden_sizes: widths of the hidden layers, each >= 1, or that of a single
      one; empty for a linear map.
    num_outputs: width of the output, >= 1.
    activation: a name in `functional.ACTIVATIONS` or an elementwise function,
      between layers.
    activate_last: whether the output is activated too.
    kernel_init: a name in `functional.KERNEL_INITS`.
    bias: whether layers have one.
    flatten: see above.

  Returns:
    `Network`; outputs f[B, num_outputs], or f[..., num_outputs].

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below one, or a name unknown; from `init` and
      `apply`, if inputs do not fit.

  Example:
    >>> network = mlp((8,), 3)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 5)))
    >>> network.apply(params, jnp.zeros((4, 5))).shape
    (4, 3)
  """
  sizes = functional.check_sizes(hidden_sizes, 'hidden_sizes', empty=True)
  sizes = (*sizes, checks.integer(num_outputs, name='num_outputs', low=1))
  functional.KERNEL_INITS.check(kernel_init)
  act = functional.activation(activation)

  def joined(inputs, aligned):
    if not flatten:
      return join(inputs, aligned=aligned)
    if len(inputs) != 1:
      raise ValueError(
        f'mlp flattens one input; got {len(inputs)}: pass flatten=False to '
        'concatenate them.'
      )
    x = jnp.asarray(inputs[0])
    _check_rows(x)
    return x.reshape(x.shape[0], -1)

  def init(key, *inputs):
    if flatten:
      total = jax.eval_shape(lambda *x: joined(x, False), *inputs).shape[-1]
    else:
      total = sum(x.shape[-1] for x in inputs)
    widths = (total, *sizes)
    leaves = [
      functional.layer_leaves(
        pair,
        kernel_init=kernel_init,
        bias_init='zeros' if bias else None,
        activation=activation,
      )
      for pair in zip(widths[:-1], sizes, strict=True)
    ]
    # Uniform kernels alone come from the key as it is.
    split = any(layer['kernel'].kind == 'normal' for layer in leaves)
    dtype = functional.parameter_dtype(*inputs)
    return functional.draw(key, leaves, dtype, split=split)

  def apply(params, *inputs, aligned=False, train=False, key=None):
    del train, key
    x = joined(inputs, aligned)
    for i, layer in enumerate(params):
      x = functional.dense(layer, x)
      hidden = i < len(params) - 1
      if activate_last or hidden:
        x = act(x)
      if hidden:
        x = _taps.tap(x, 'dense')
    return x

  return Network(init, apply)


_check_rows = _linen.check_rows('mlp')


def residual_mlp(
  num_outputs: int,
  *,
  channels: int = 128,
  num_layers: int = 2,
  activation: functional.Activation = 'relu',
  kernel_init: str = 'glorot',
) -> Network:
  """Builds a fully connected residual network.

  A linear layer, `num_layers` blocks `x + dense(act(dense(act(x))))` and a
  linear layer on the activated result. Inputs as in `mlp` without flattening.
  It has `(I + 1) w + 2 n w (w + 1) + (w + 1) O` parameters.

  Args:
    num_outputs: width of the output O.
    channels: width w of the residual stream.
    num_layers: number n of blocks of two dense layers.
    activation: name or function.
    kernel_init: a name in `functional.KERNEL_INITS`; of 'critical', the second
      layers of blocks share one variance among them, so that their sum keeps
      its size.

  Returns:
    A `Network` from inputs f[..., I_k] to f[..., O].

  Raises:
    ValueError: if a size is out of range or a name unknown.

  Example:
    >>> network = residual_mlp(3, channels=8, num_layers=1)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 5)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    219

  Source: He et al. 2016 (https://arxiv.org/abs/1603.05027), activations before
    the layers.
  """
  checks.integer(num_outputs, name='num_outputs', low=1)
  checks.integer(channels, name='channels', low=1)
  checks.num_layers(num_layers, low=0)
  act = functional.activation(activation)

  def leaves(c_in, c_out, branches=1):
    return functional.layer_leaves(
      (c_in, c_out),
      kernel_init=kernel_init,
      activation=activation,
      branches=branches,
    )

  def init(key, *inputs):
    tree = {
      'lift': leaves(sum(x.shape[-1] for x in inputs), channels),
      'blocks': [
        [leaves(channels, channels, n) for n in (1, max(1, num_layers))]
        for _ in range(num_layers)
      ],
      'head': leaves(channels, num_outputs),
    }
    return functional.draw(key, tree, functional.parameter_dtype(*inputs))

  def apply(params, *inputs, aligned=False, train=False, key=None):
    del train, key
    dense = functional.dense
    x = dense(params['lift'], join(inputs, aligned=aligned))
    for first, second in params['blocks']:
      inner = _taps.tap(act(dense(first, act(x))), 'dense')
      x = _taps.tap(x + dense(second, inner), 'block')
    return dense(params['head'], act(x))

  return Network(init, apply)


def logistic_regression(
  num_outputs: int, *, kernel_init: str = 'fan_in'
) -> Network:
  """Builds a linear map from flattened inputs to logits.

  Args:
    num_outputs: number of classes K, >= 1.
    kernel_init: a name in `functional.KERNEL_INITS`; there is no activation, so
      'critical' is 1 / fan_in.

  Returns:
    `Network`; outputs f[B, K]. It has `(I + 1) K` parameters.

  Raises:
    TypeError, ValueError: if `num_outputs` is not an integer >= 1.

  Example:
    >>> network = logistic_regression(10)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 8, 8)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    650
  """
  return mlp((), num_outputs, activation='identity', kernel_init=kernel_init)
