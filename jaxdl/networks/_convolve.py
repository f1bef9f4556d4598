# SPDX-License-Identifier: Apache-2.0
"""Convolutions whose gradients are fast on every platform."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from jaxdl.core import layers

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def _patches(x, kernel, stride, padding):
  """Gathers windows, columns before rows, and contracts them at once."""
  size = kernel.shape[0]
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  x = layers.gather_windows(x, 2, size, stride=stride)
  x = layers.gather_windows(x, 1, size, stride=stride)
  return x @ kernel.reshape(-1, kernel.shape[-1])


class Conv(nn.Module):
  """A square two-dimensional convolution of [B, H, W, C].

  In training mode on CPU it is a matrix product with gathered windows: the
  gradient of XLA's own convolution takes up to thirty times as long there
  inside a loop, which is where local training and `map_clients` run it.
  Windows hold `size**2` times the input, so evaluation, and every other
  platform, calls the convolution.

  Attributes:
    features: number of output channels.
    size: height and width of the kernel.
    stride: step between outputs.
    padding: zeros added at each end of both axes.
    use_bias: whether to add a bias.
  """

  features: int
  size: int
  stride: int = 1
  padding: int = 0
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Applies the layer.

    Args:
      x: f[B, H, W, C].
      train: whether gradients will be taken; the result is the same.

    Returns:
      f[B, H', W', features], H' = (H + 2 padding - size) // stride + 1.
    """
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    bias = None
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, (self.features,))
    x, kernel, bias = dtypes.promote_dtype(x, kernel, bias, dtype=None)
    if train and jax.default_backend() == 'cpu':
      y = _patches(x, kernel, self.stride, self.padding)
    else:
      y = jax.lax.conv_general_dilated(
        x,
        kernel,
        (self.stride, self.stride),
        [(self.padding, self.padding)] * 2,
        dimension_numbers=_DIMENSIONS,
      )
    return y if bias is None else y + bias.reshape(1, 1, 1, -1)
