# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks without biases, as masks of edges are learned for."""

import flax.linen as nn
import jax

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _linen
from jaxdl.networks._layers import Conv, Dense
from jaxdl.networks._taps import tap


class _Plain(nn.Module):
  """3x3 convolutions in blocks, each block pooled; then dense layers."""

  blocks: tuple[tuple[int, ...], ...]
  hidden: tuple[int, ...]
  num_outputs: int

  @nn.compact
  def __call__(self, x, *, train=False):
    for block in self.blocks:
      for features in block:
        conv = Conv(features, 3, padding=1, use_bias=False)
        x = tap(jax.nn.relu(conv(x, train=train)), 'conv')
      x = _linen.max_pool(x)
    x = x.reshape(x.shape[0], -1)
    for features in self.hidden:
      x = tap(jax.nn.relu(Dense(features, use_bias=False)(x)), 'dense')
    return Dense(self.num_outputs, use_bias=False)(x)


def _build(name, blocks, hidden, num_outputs, kernel_init):
  checks.integer(num_outputs, name='num_outputs', low=1)
  return _linen.from_linen(
    _Plain(blocks, hidden, num_outputs),
    kernel_init=kernel_init,
    activation='relu',
    check=_linen.check_images(name, 2 ** len(blocks)),
  )


def frl_lenet(
  num_outputs: int = 10, *, width: int = 32, kernel_init: str = 'fan_in'
) -> Network:
  """Builds the network that federated rank learning uses on MNIST.

  Padded 3x3 convolutions with 32 and 64 channels and relus, 2x2 max pooling,
  dense 128, relu, dense K, all without biases. Inputs [B, 28, 28, 1] give
  1,625,632 parameters for ten classes.

  Args:
    num_outputs: number of classes K.
    width: channels of the first convolution; all hidden sizes are multiples.
    kernel_init: a name in `functional.KERNEL_INITS`.

  Returns:
    `Network`; inputs f[B, H, W, C], H, W >= 2; outputs logits f[B, K].

  Raises:
    ValueError: if a size is below one.

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), experiments.
  """
  w = checks.integer(width, name='width', low=1)
  return _build('frl_lenet', ((w, 2 * w),), (4 * w,), num_outputs, kernel_init)


def conv8(
  num_outputs: int = 10, *, width: int = 64, kernel_init: str = 'fan_in'
) -> Network:
  """Builds the network Conv8 of the studies of masks on CIFAR-10.

  Padded 3x3 convolutions with relus, 64, 64 | 128, 128 | 256, 256 | 512, 512
  channels, 2x2 max pooling after each pair, then dense 256, 256 and K, all
  without biases. Inputs [B, 32, 32, 3] give 5,275,840 parameters for ten
  classes.

  Args:
    num_outputs: number of classes K.
    width: channels of the first convolution; all hidden sizes are multiples.
    kernel_init: a name in `functional.KERNEL_INITS`.

  Returns:
    `Network`; inputs f[B, H, W, C], H, W >= 16; outputs logits f[B, K].

  Raises:
    ValueError: if a size is below one.

  Source: Ramanujan et al. 2020 (https://arxiv.org/abs/1911.13299), figure 2.
  """
  w = checks.integer(width, name='width', low=1)
  blocks = tuple((w << i, w << i) for i in range(4))
  return _build('conv8', blocks, (4 * w, 4 * w), num_outputs, kernel_init)
