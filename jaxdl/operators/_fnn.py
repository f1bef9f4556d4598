# SPDX-License-Identifier: Apache-2.0
"""Fully connected networks: the parts and the baselines of DeepONet."""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.operators import _activations as activations, _conv as conv, _init

Activation = str | Callable[[chex.Array], chex.Array]


def dense(params: dict[str, chex.Array], x: chex.Array) -> chex.Array:
  """Applies x @ kernel + bias to the last axis, checking its size."""
  kernel = params['kernel']
  if x.shape[-1] != kernel.shape[0]:
    raise ValueError(
      f'the layer expects {kernel.shape[0]} values per example, got '
      f'{x.shape[-1]} (shape {x.shape}).'
    )
  y = conv.flat_matmul(x, kernel)
  if 'bias' in params:
    y = y + jnp.broadcast_to(params['bias'], y.shape)
  return y


def dense_leaves(
  c_in: int, c_out: int, *, bias: bool = True
) -> dict[str, _init.Leaf]:
  """Describes a Glorot-normal layer with zero bias."""
  leaves = {'kernel': _init.glorot_normal((c_in, c_out))}
  if bias:
    leaves['bias'] = _init.Leaf((c_out,))
  return leaves


def check_widths(
  layers: Sequence[int], name: str = 'layers'
) -> tuple[int, ...]:
  """Returns the widths as a tuple, after checking that all are positive."""
  layers = tuple(checks.integer(n, name=name, low=1) for n in layers)
  if not layers:
    raise ValueError(f'{name} is empty: need at least one width.')
  return layers


def _join(inputs: tuple[chex.Array, ...], aligned: bool) -> chex.Array:
  """Concatenates the inputs of an example along the last axis."""
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


def fnn(
  layers: Sequence[int],
  *,
  activation: Activation = 'relu',
  activate_last: bool = False,
) -> Network:
  """Builds a fully connected network.

  `apply(params, *inputs f[..., I_k]) -> f[..., layers[-1]]`; several inputs are
  concatenated. Of two, u f[N, m] and y, the second may also be own points f[N,
  Q, d] or, with `aligned=True`, common points f[Q, d]: outputs f[N, Q, ...],
  the operator interface of `deeponet`. `params` is a list of {'kernel': f[I,
  O], 'bias': f[O]}.

  Args:
    layers: widths after the input, the last one is the output's.
    activation: name or function, between layers.
    activate_last: whether the output is activated too (a DeepONet trunk).

  Returns:
    A `Network`; kernels start Glorot normal, biases zero.

  Raises:
    ValueError: if there is no layer or a width is not positive; in `apply`, if
      the input's last axis is not the one seen by `init`.

  Example:
    >>> net = fnn((100, 100, 1))
    >>> params = net.init(jax.random.key(0), jnp.zeros((1, 101)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    20401
  """
  layers = check_widths(layers)
  act = activations.activation(activation)

  def init(key, *inputs):
    sizes = (sum(x.shape[-1] for x in inputs), *layers)
    leaves = [
      dense_leaves(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    return _init.draw(key, leaves, *inputs)

  def apply(params, *inputs, aligned=False, train=False, key=None):
    del train, key
    x = _join(inputs, aligned)
    for i, layer in enumerate(params):
      x = dense(layer, x)
      if activate_last or i < len(params) - 1:
        x = act(x)
    return x

  return Network(init, apply)


def resnet(
  *,
  width: int = 128,
  num_blocks: int = 2,
  out_features: int = 1,
  activation: Activation = 'relu',
) -> Network:
  """Builds a fully connected residual network.

  A linear layer, `num_blocks` blocks `x + dense(act(dense(act(x))))` and a
  linear layer on the activated result. Inputs as in `fnn`.

  Args:
    width: width of the residual stream.
    num_blocks: number of blocks of two dense layers.
    out_features: number of outputs.
    activation: name or function.

  Returns:
    A `Network` from inputs f[..., I_k] to f[..., out_features].
  """
  checks.integer(width, name='width', low=1)
  checks.integer(num_blocks, name='num_blocks', low=0)
  checks.integer(out_features, name='out_features', low=1)
  act = activations.activation(activation)

  def init(key, *inputs):
    leaves = {
      'lift': dense_leaves(sum(x.shape[-1] for x in inputs), width),
      'blocks': [
        [dense_leaves(width, width) for _ in range(2)]
        for _ in range(num_blocks)
      ],
      'head': dense_leaves(width, out_features),
    }
    return _init.draw(key, leaves, *inputs)

  def apply(params, *inputs, aligned=False, train=False, key=None):
    del train, key
    x = dense(params['lift'], _join(inputs, aligned))
    for first, second in params['blocks']:
      x = x + dense(second, act(dense(first, act(x))))
    return dense(params['head'], act(x))

  return Network(init, apply)


def conv_branch(
  *,
  channels: Sequence[int] = (64, 128),
  layers: Sequence[int] = (128, 128),
  kernel_size: int = 5,
  activation: Activation = 'relu',
) -> Network:
  """Builds a branch for input functions on a grid.

  Unpadded stride-2 convolutions, then dense layers; the last one is linear.

  Args:
    channels: one entry per convolution.
    layers: widths of the dense layers, the last one is p.
    kernel_size: points per axis of every convolution.
    activation: name or function.

  Returns:
    A `Network` from f[B, *grid, I] to f[B, p], one to three grid axes.

  Source: Lu et al. 2022 (https://arxiv.org/abs/2111.05512).
  """
  channels = check_widths(channels, 'channels')
  layers = check_widths(layers)
  checks.integer(kernel_size, name='kernel_size', low=1)
  act = activations.activation(activation)

  def init(key, f):
    if jnp.ndim(f) not in (3, 4, 5):
      raise ValueError(
        'a grid branch needs [batch, one to three grid axes, channels]; got '
        f'shape {jnp.shape(f)}.'
      )
    grid, c_in = list(f.shape[1:-1]), f.shape[-1]
    leaves: dict[str, Any] = {'convs': [], 'layers': []}
    for c in channels:
      shape = (*(kernel_size,) * len(grid), c_in, c)
      leaves['convs'].append(
        {'kernel': _init.glorot_normal(shape), 'bias': _init.Leaf((c,))}
      )
      grid = [(n - kernel_size) // 2 + 1 for n in grid]
      if min(grid) < 1:
        raise ValueError(
          f'the grid {f.shape[1:-1]} is too small for {len(channels)} unpadded '
          f'convolutions of {kernel_size} points: use fewer channels.'
        )
      c_in = c
    for n in grid:
      c_in *= n
    for width in layers:
      leaves['layers'].append(dense_leaves(c_in, width))
      c_in = width
    return _init.draw(key, leaves, f)

  def apply(params, f, *, train=False, key=None):
    del train, key
    x = f
    for layer in params['convs']:
      x = act(conv.convolve(x, layer['kernel'], layer['bias'], stride=2))
    x = x.reshape(x.shape[0], -1)
    for i, layer in enumerate(params['layers']):
      x = dense(layer, x)
      if i < len(params['layers']) - 1:
        x = act(x)
    return x

  return Network(init, apply)


def stacked_branch(
  num_branches: int,
  layers: Sequence[int] = (20, 1),
  *,
  activation: Activation = 'relu',
) -> Network:
  """Builds p independent networks with one output each.

  Args:
    num_branches: p.
    layers: widths of each network after the input; the last must be 1.
    activation: name or function.

  Returns:
    A `Network` from f[..., m] to f[..., p]; every leaf of its parameters has a
    leading axis p.

  Raises:
    ValueError: if the last width is not 1.

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193).
  """
  checks.integer(num_branches, name='num_branches', low=1)
  layers = check_widths(layers)
  if layers[-1] != 1:
    raise ValueError(
      f'layers={layers} must end in 1: every branch gives one coefficient.'
    )
  one = fnn(layers, activation=activation)
  act = activations.activation(activation)

  def init(key, *inputs):
    keys = jax.random.split(key, num_branches)
    return jax.vmap(lambda k: one.init(k, *inputs))(keys)

  def apply(params, *inputs, train=False, key=None):
    del train, key
    x = _join(inputs, False)
    first, *rest = params
    count, c_in, c_out = first['kernel'].shape
    # All first layers read the same input: one product.
    wide = {
      'kernel': jnp.moveaxis(first['kernel'], 0, 1).reshape(c_in, -1),
      'bias': first['bias'].reshape(-1),
    }
    x = dense(wide, x)
    x = x.reshape(*x.shape[:-1], count, c_out)
    for layer in rest:
      x = jnp.einsum('...pi,pio->...po', act(x), layer['kernel'])
      x = x + jnp.broadcast_to(layer['bias'], x.shape)
    return x[..., 0]

  return Network(init, apply)


def product_branch(*branches: Network) -> Network:
  """Multiplies the coefficients of one branch per input function.

  Args:
    *branches: networks with equal output widths p.

  Returns:
    A `Network` of one input, a tuple with one array per branch, to f[..., p].

  Source: Jin, Meng and Lu 2022 (https://arxiv.org/abs/2202.06137).
  """
  if not branches:
    raise ValueError('product_branch needs at least one branch.')

  def check(inputs):
    if not isinstance(inputs, (tuple, list)) or len(inputs) != len(branches):
      raise ValueError(
        f'a product of {len(branches)} branches needs a tuple of as many '
        'arrays, one per input function.'
      )

  def init(key, inputs):
    check(inputs)
    keys = jax.random.split(key, len(branches))
    return [
      net.init(k, x) for net, k, x in zip(branches, keys, inputs, strict=True)
    ]

  def apply(params, inputs, *, train=False, key=None):
    del train, key
    check(inputs)
    out = None
    for net, p, x in zip(branches, params, inputs, strict=True):
      y = net.apply(p, x)
      out = y if out is None else out * y
    return out

  return Network(init, apply)
