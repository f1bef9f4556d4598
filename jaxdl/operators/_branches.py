# SPDX-License-Identifier: Apache-2.0
"""Branches of DeepONet beside the plain one."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import networks
from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional


def dense_layers(
  layers: Sequence[int],
  *,
  activation: functional.Activation = 'relu',
  activate_last: bool = False,
) -> Network:
  """Builds what widths stand for: Glorot normal kernels, inputs as they are."""
  *hidden, last = functional.check_sizes(layers, 'layers')
  return networks.mlp(
    hidden,
    last,
    activation=activation,
    activate_last=activate_last,
    kernel_init='glorot',
    flatten=False,
  )


def conv_branch(
  *,
  channels: Sequence[int] = (64, 128),
  layers: Sequence[int] = (128, 128),
  kernel_size: int = 5,
  activation: functional.Activation = 'relu',
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
  channels = functional.check_sizes(channels, 'channels')
  layers = functional.check_sizes(layers, 'layers')
  checks.integer(kernel_size, name='kernel_size', low=1)
  act = functional.activation(activation)

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
      leaves['convs'].append(functional.layer_leaves(shape))
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
      leaves['layers'].append(functional.layer_leaves((c_in, width)))
      c_in = width
    return functional.draw(key, leaves, functional.parameter_dtype(f))

  def apply(params, f, *, train=False, key=None):
    del train, key
    x = f
    for layer in params['convs']:
      x = act(functional.convolve(x, layer['kernel'], layer['bias'], stride=2))
    x = x.reshape(x.shape[0], -1)
    for i, layer in enumerate(params['layers']):
      x = functional.dense(layer, x)
      if i < len(params['layers']) - 1:
        x = act(x)
    return x

  return Network(init, apply)


def stacked_branch(
  num_branches: int,
  layers: Sequence[int] = (20, 1),
  *,
  activation: functional.Activation = 'relu',
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
  layers = functional.check_sizes(layers, 'layers')
  if layers[-1] != 1:
    raise ValueError(
      f'layers={layers} must end in 1: every branch gives one coefficient.'
    )
  one = dense_layers(layers, activation=activation)
  act = functional.activation(activation)

  def init(key, x):
    keys = jax.random.split(key, num_branches)
    return jax.vmap(lambda k: one.init(k, x))(keys)

  def apply(params, x, *, train=False, key=None):
    del train, key
    first, *rest = params
    count, c_in, c_out = first['kernel'].shape
    # All first layers read the same input: one product.
    wide = {
      'kernel': jnp.moveaxis(first['kernel'], 0, 1).reshape(c_in, -1),
      'bias': first['bias'].reshape(-1),
    }
    x = functional.dense(wide, x)
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
