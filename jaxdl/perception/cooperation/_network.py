# SPDX-License-Identifier: Apache-2.0
"""What makes maps of what an agent sees, and classes of maps."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry, types
from jaxdl.networks import functional


def conv_encoder(
  *,
  channels: int = 16,
  num_layers: int = 2,
  kernel: int = 3,
  stride: int = 1,
  residual: bool = False,
  method: str = 'auto',
) -> types.Network:
  """Convolutions with ReLU after each; maps are not negative.

  Args:
    channels: C.
    num_layers: layers.
    kernel: cells of a side, odd.
    stride: cells per cell of a map, a power of two: so many first layers halve
      the grid.
    residual: whether layers that keep the grid add to what they get.
    method: how convolutions are computed, see `networks.functional.convolve`.

  Returns:
    `init(key, x)` and `apply(params, x f[..., G, G, I]) -> f[..., C, H, W]`,
    H = W = G / stride.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> encoder = conv_encoder(channels=4)
    >>> x = jnp.ones((2, 8, 8, 3))
    >>> encoder.apply(encoder.init(jax.random.key(0), x), x).shape
    (2, 4, 8, 8)
  """
  c = checks.integer(channels, name='channels', low=1)
  count = checks.num_layers(num_layers)
  k = checks.integer(kernel, name='kernel', low=1)
  s = checks.integer(stride, name='stride', low=1)
  checks.flag(residual, name='residual')
  halves = s.bit_length() - 1
  if k % 2 == 0:
    raise ValueError(f'kernel must be odd; got {k}.')
  if s != 1 << halves or halves > count:
    raise ValueError(
      f'stride={s} must be a power of two, with a layer for each halving; '
      f'num_layers={count}.'
    )

  def init(key, x):
    sizes = [jnp.shape(x)[-1]] + [c] * count
    leaves = [
      functional.layer_leaves((k, k, i, o), kernel_init='he')
      for i, o in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    return functional.draw(key, leaves, jnp.result_type(x))

  def apply(params, x, *, train=False, key=None):
    del train, key
    lead = x.shape[:-3]
    y = x.reshape(-1, *x.shape[-3:])
    if y.shape[1] % s or y.shape[2] % s:
      raise ValueError(
        f'stride={s} does not divide the grid of {y.shape[1]} x {y.shape[2]}.'
      )
    for i, layer in enumerate(params):
      step = 2 if i < halves else 1
      z = functional.convolve(
        y,
        layer['kernel'],
        layer['bias'],
        stride=step,
        width=k // 2,
        method=method,
      )
      z = jax.nn.relu(z)
      y = y + z if residual and z.shape == y.shape else z
    y = jnp.moveaxis(y, -1, -3)
    return y.reshape(*lead, *y.shape[1:])

  return types.Network(init, apply)


ENCODERS = registry.Registry('network', {'conv': conv_encoder}, tried={})


def seg_head(
  channels: int, classes: int, *, kernel: int = 3, stride: int = 1
) -> types.Network:
  """Classes of every cell: a convolution with ReLU, and a dense layer.

  Args:
    channels: C of the maps.
    classes: K.
    kernel: cells of a side, odd.
    stride: cells of the target per cell of a map; each takes its cell's.

  Returns:
    `init(key, maps)` and `apply(params, maps f[..., C, H, W]) -> f[..., K, G,
    G]`.

  Raises:
    ValueError: if a number is out of range.
  """
  c = checks.integer(channels, name='channels', low=1)
  k = checks.integer(kernel, name='kernel', low=1)
  leaves = {
    'conv': functional.layer_leaves((k, k, c, c), kernel_init='he'),
    'out': functional.layer_leaves((c, classes)),
  }

  def init(key, maps):
    return functional.draw(key, leaves, jnp.result_type(maps))

  def apply(params, maps, *, train=False, key=None):
    del train, key
    lead = maps.shape[:-3]
    y = jnp.moveaxis(maps.reshape(-1, *maps.shape[-3:]), 1, -1)
    layer = params['conv']
    y = functional.convolve(
      y, layer['kernel'], layer['bias'], width=k // 2, method='auto'
    )
    y = functional.dense(params['out'], jax.nn.relu(y))
    y = jnp.moveaxis(y, -1, 1)
    y = _repeated(y, stride)
    return y.reshape(*lead, *y.shape[1:])

  return types.Network(init, apply)


def _repeated(maps: chex.Array, stride: int) -> chex.Array:
  if stride == 1:
    return maps
  return jnp.repeat(jnp.repeat(maps, stride, axis=-2), stride, axis=-1)
