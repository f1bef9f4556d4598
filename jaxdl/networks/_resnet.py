# SPDX-License-Identifier: Apache-2.0
"""Residual networks for small images."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _linen
from jaxdl.networks._layers import Conv, Dense
from jaxdl.networks._taps import tap

NORMS = ('group', 'batch')


class _Norm(nn.Module):
  """The chosen normalization, called in one way."""

  kind: str
  num_groups: int

  @nn.compact
  def __call__(self, x, mask):
    if self.kind == 'batch':
      return _linen.BatchNorm()(x, mask=mask)
    return nn.GroupNorm(
      min(self.num_groups, x.shape[-1]), epsilon=1e-5, use_fast_variance=False
    )(x)


class ResNet(nn.Module):
  """The layers of `resnet18`; `num_outputs=None` gives the last grid."""

  num_outputs: int | None
  blocks: tuple[int, ...]
  norm: str
  width: int
  num_groups: int

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    norm = lambda x: _Norm(self.norm, self.num_groups)(x, mask)

    def conv(x, features, size, stride=1):
      layer = Conv(features, size, stride, size // 2, use_bias=False)
      return layer(x, train=train)

    x = tap(jax.nn.relu(norm(conv(x, self.width, 3))), 'conv')
    for stage, count in enumerate(self.blocks):
      features = self.width * 2**stage
      for block in range(count):
        stride = 2 if stage > 0 and block == 0 else 1
        y = tap(jax.nn.relu(norm(conv(x, features, 3, stride))), 'conv')
        y = norm(conv(y, features, 3))
        if x.shape != y.shape:
          x = norm(conv(x, features, 1, stride))
        x = tap(jax.nn.relu(x + y), 'block')
    if self.num_outputs is None:
      return x
    return Dense(self.num_outputs)(jnp.mean(x, axis=(1, 2)))


def check_options(
  norm: str, width: int, num_groups: int, *, num_stages: int = 4
) -> None:
  """Checks the options of the layers.

  Args:
    norm: 'group' or 'batch'.
    width: channels of the first stage.
    num_groups: groups per normalization.
    num_stages: stages, each twice as wide as the one before.

  Raises:
    ValueError: if an option is unknown or groups do not divide channels.
  """
  checks.choice(norm, NORMS, name='norm')
  checks.integer(width, name='width', low=1)
  checks.integer(num_groups, name='num_groups', low=1)
  for channels in [width * 2**stage for stage in range(num_stages)]:
    if norm == 'group' and channels % min(num_groups, channels):
      raise ValueError(
        f'num_groups={num_groups} does not divide {channels} channels: '
        f'choose a divisor of width={width}.'
      )


def resnet18(
  num_outputs: int = 10,
  *,
  norm: str = 'group',
  width: int = 64,
  num_groups: int = 32,
  kernel_init: str = 'fan_in',
) -> Network:
  """Builds ResNet-18 with a 3x3 stem and no pooling after it.

  Four stages of two basic blocks with `width * (1, 2, 4, 8)` channels and
  strides 1, 2, 2, 2; 1x1 projections where shapes change; global average
  pooling. RGB inputs give 11,173,962 trainable parameters for ten classes.
  Group normalization has no statistics and treats examples apart: prefer it
  where clients have different data.

  Args:
    num_outputs: number of classes K.
    norm: 'group' or 'batch'.
    width: channels of the first stage, >= 1.
    num_groups: groups per normalization, at most one per channel; must divide
      the channels ('group' only).
    kernel_init: a name in `functional.KERNEL_INITS`; every convolution is
      normalized, so it sets the size of the logits alone.

  Returns:
    `Network`; inputs f[B, H, W, C]; outputs logits f[B, K].

  Raises:
    ValueError: if an option is unknown or groups do not divide channels.

  Source: He et al. 2016 (https://arxiv.org/abs/1512.03385), Table 1, with the
  stem of section 4.2; Wu & He 2018 (https://arxiv.org/abs/1803.08494).
  """
  blocks = (2, 2, 2, 2)
  return _build(
    'resnet18', num_outputs, blocks, norm, width, num_groups, kernel_init
  )


def resnet34(
  num_outputs: int = 10,
  *,
  norm: str = 'group',
  width: int = 64,
  num_groups: int = 32,
  blocks: tuple[int, ...] = (3, 4, 6, 3),
  kernel_init: str = 'fan_in',
) -> Network:
  """Builds ResNet-34 for small images: `resnet18` with more blocks.

  Stages of 3, 4, 6 and 3 basic blocks, each twice as wide as the one before;
  the rest as in `resnet18`. RGB inputs give 21,282,122 trainable parameters for
  ten classes.

  Args:
    num_outputs: number of classes K.
    norm: 'group' or 'batch'.
    width: channels of the first stage, >= 1.
    num_groups: see `resnet18`.
    blocks: of every stage, >= 1; others than those make other networks.
    kernel_init: see `resnet18`.

  Returns:
    `Network`; inputs f[B, H, W, C]; outputs logits f[B, K].

  Raises:
    ValueError: if an option is unknown or groups do not divide channels.

  Source: He et al. 2016 (https://arxiv.org/abs/1512.03385), Table 1, with the
  stem of section 4.2.
  """
  for count in blocks:
    checks.integer(count, name='blocks', low=1)
  blocks = tuple(blocks)
  return _build(
    'resnet34', num_outputs, blocks, norm, width, num_groups, kernel_init
  )


def _build(name, num_outputs, blocks, norm, width, num_groups, kernel_init):
  checks.integer(num_outputs, name='num_outputs', low=1)
  check_options(norm, width, num_groups, num_stages=len(blocks))
  return _linen.from_linen(
    ResNet(num_outputs, blocks, norm, width, num_groups),
    kernel_init=kernel_init,
    activation='relu',
    check=_linen.check_images(name, 1),
  )
