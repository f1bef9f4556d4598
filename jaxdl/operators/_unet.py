# SPDX-License-Identifier: Apache-2.0
"""Encoder-decoder networks with skip connections."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional
from jaxdl.operators import _cnn as cnn


def _group_norm(params, x, num_groups=1, epsilon=1e-5):
  shape = x.shape
  x = x.reshape(shape[0], math.prod(shape[1:-1]), num_groups, -1)
  mean = x.mean((1, 3), keepdims=True)
  var = jnp.square(x - mean).mean((1, 3), keepdims=True)
  x = ((x - mean) * jax.lax.rsqrt(var + epsilon)).reshape(shape)
  scale = jnp.broadcast_to(params['scale'], shape)
  return x * scale + jnp.broadcast_to(params['bias'], shape)


def unet(
  *,
  channels: int = 16,
  num_levels: int = 4,
  out_channels: int = 1,
  padding: str = 'zeros',
  norm: bool = True,
  num_groups: int = 1,
  activation: functional.Activation = 'relu',
  method: str = 'conv',
) -> Network:
  """Builds a U-Net with strided convolutions instead of pooling.

  Every level halves the grid and doubles the channels. Blocks are two 3-point
  convolutions, each followed by group normalization and an activation; up- and
  downsampling are 3-point too. Odd sizes are rounded up and cropped back.

  Args:
    channels: width at the finest level.
    num_levels: number of times the grid is halved.
    out_channels: number of output functions.
    padding: boundary condition, see `v_cycle`.
    norm: whether blocks normalize.
    num_groups: groups of the normalization; must divide `channels`.
    activation: name or function.
    method: see `v_cycle`.

  Returns:
    A `Network` from f[B, *grid, I] to f[B, *grid, out_channels].

  Raises:
    ValueError: if the grid has fewer than 2**num_levels points along an axis.

  Example:
    >>> net = unet()
    >>> params = net.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    >>> sum(x.size for x in jax.tree.leaves(params))
    2357441

  Source: Ronneberger et al. 2015 (https://arxiv.org/abs/1505.04597).
  """
  checks.integer(channels, name='channels', low=1)
  checks.integer(num_levels, name='num_levels', low=1)
  checks.integer(num_groups, name='num_groups', low=1)
  checks.choice(padding, functional.PADDINGS, name='padding')
  if channels % num_groups:
    raise ValueError(f'{num_groups=} must divide {channels=}.')
  act = functional.activation(activation)

  def check(f):
    rank = cnn.grid_rank(f)
    if min(f.shape[1:-1]) < 2**num_levels:
      raise ValueError(
        f'the grid {f.shape[1:-1]} cannot be halved num_levels={num_levels} '
        'times: use fewer levels or a finer grid.'
      )
    return rank

  def block_leaves(rank, c_in, c_out):
    out = []
    for a, b in ((c_in, c_out), (c_out, c_out)):
      layer: dict[str, Any] = {'conv': cnn.conv_leaves(rank, a, b)}
      if norm:
        layer['norm'] = functional.scale_leaves((b,))
      out.append(layer)
    return out

  def init(key, f):
    rank = check(f)
    leaves: dict[str, Any] = {
      'lift': block_leaves(rank, f.shape[-1], channels),
      'levels': [],
    }
    c = channels
    for _ in range(num_levels):
      leaves['levels'].append(
        {
          'down': cnn.conv_leaves(rank, c, c),
          'left': block_leaves(rank, c, 2 * c),
          'up': cnn.conv_leaves(rank, 2 * c, c),
          'right': block_leaves(rank, 2 * c, c),
        }
      )
      c *= 2
    leaves['head'] = cnn.conv_leaves(rank, channels, out_channels, size=1)
    return functional.draw(key, leaves, functional.parameter_dtype(f))

  def convolve(params, x, **options):
    return functional.convolve(
      x,
      params['kernel'],
      params['bias'],
      padding=padding,
      method=method,
      **options,
    )

  def block(params, x):
    for layer in params:
      x = convolve(layer['conv'], x, width=1)
      if 'norm' in layer:
        x = _group_norm(layer['norm'], x, num_groups)
      x = act(x)
    return x

  def apply(params, f, *, train=False, key=None):
    del train, key
    check(f)
    x = block(params['lift'], f)
    arcs = []
    for level in params['levels']:
      arcs.append(x)
      x = block(level['left'], convolve(level['down'], x, stride=2, width=1))
    for level, arc in zip(params['levels'][::-1], arcs[::-1], strict=True):
      up = functional.upsample(
        x,
        level['up']['kernel'],
        level['up']['bias'],
        grid=arc.shape[1:-1],
        periodic=padding == 'circular',
        method=method,
      )
      x = block(level['right'], jnp.concatenate([arc, up], -1))
    return convolve(params['head'], x)

  return Network(init, apply)
