# SPDX-License-Identifier: Apache-2.0
"""Residual networks of dilated convolutions."""

from collections.abc import Sequence

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional
from jaxdl.operators import _cnn as cnn


def dilated_resnet(
  *,
  channels: int = 48,
  num_layers: int = 4,
  dilations: Sequence[int] = (1, 2, 4, 8, 4, 2, 1),
  out_channels: int = 1,
  padding: str = 'zeros',
  activation: functional.Activation = 'relu',
  method: str = 'conv',
) -> Network:
  """Builds encoder, residual blocks and decoder.

  Encoder and decoder are 3-point convolutions; a block applies one activated
  dilated convolution per entry of `dilations` and adds its input.

  Args:
    channels: width.
    num_layers: number of residual blocks.
    dilations: steps between the taps; 'circular' and 'reflect' padding need a
      grid that is longer than the largest.
    out_channels: number of output functions.
    padding: boundary condition, see `v_cycle`.
    activation: name or function.
    method: see `v_cycle`.

  Returns:
    A `Network` from f[B, *grid, I] to f[B, *grid, out_channels].

  Source: Stachenfeld et al. 2022 (https://arxiv.org/abs/2112.15275).
  """
  checks.integer(channels, name='channels', low=1)
  checks.num_layers(num_layers, low=0)
  checks.choice(padding, functional.PADDINGS, name='padding')
  dilations = functional.check_sizes(dilations, 'dilations')
  act = functional.activation(activation)

  def layer(params, x, dilation=1):
    return functional.convolve(
      x,
      params['kernel'],
      params['bias'],
      width=dilation,
      dilation=dilation,
      padding=padding,
      method=method,
    )

  def init(key, f):
    rank = cnn.grid_rank(f)
    inner = cnn.conv_leaves(rank, channels, channels)
    leaves = {
      'encoder': cnn.conv_leaves(rank, f.shape[-1], channels),
      'blocks': [[inner for _ in dilations] for _ in range(num_layers)],
      'decoder': cnn.conv_leaves(rank, channels, out_channels),
    }
    return functional.draw(key, leaves, functional.parameter_dtype(f))

  def apply(params, f, *, train=False, key=None):
    del train, key
    x = layer(params['encoder'], f)
    for block in params['blocks']:
      y = x
      for p, dilation in zip(block, dilations, strict=True):
        y = act(layer(p, y, dilation))
      x = x + y
    return layer(params['decoder'], x)

  return Network(init, apply)
