# SPDX-License-Identifier: Apache-2.0
"""Our dense and convolutional layers for modules of flax.linen."""

import flax.linen as nn
import jax

from jaxdl.networks import functional

_START = nn.initializers.lecun_normal()


class Dense(nn.Module):
  """A linear map of the last axis, and a bias.

  Attributes:
    features: number of outputs.
    use_bias: whether to add a bias.
  """

  features: int
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the layer.

    Args:
      x: f[..., I].

    Returns:
      f[..., features].
    """
    kernel = self.param('kernel', _START, (x.shape[-1], self.features))
    params = {'kernel': kernel}
    if self.use_bias:
      zeros = nn.initializers.zeros
      params['bias'] = self.param('bias', zeros, (self.features,))
    return functional.dense(params, x, flat=False)


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
    kernel = self.param('kernel', _START, shape)
    bias = None
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, (self.features,))
    return functional.convolve(
      x,
      kernel,
      bias,
      stride=self.stride,
      width=self.padding,
      method='windows' if train and _on_cpu() else 'native',
    )


def _on_cpu():
  return jax.default_backend() == 'cpu'
