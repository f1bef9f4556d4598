# SPDX-License-Identifier: Apache-2.0
"""Networks that give a vector per example, to be compared by distance."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.core.types import Network
from jaxdl.networks import _dense, _linen, _resnet, _taps
from jaxdl.networks._layers import Conv

POOLINGS = ('flatten', 'average', 'gem')


class _Embedded(nn.Module):
  """What becomes of the last grid: dropout, pooling, length one."""

  pooling: str
  normalize: bool
  dropout: float

  @nn.compact
  def __call__(self, x, train):
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    if self.pooling == 'average':
      x = jnp.mean(x, axis=(1, 2))
    elif self.pooling == 'gem':
      # Of relus, so that the roots are real; zero would have no slope.
      x = jnp.cbrt(jnp.mean((x + 1e-6) ** 3, axis=(1, 2)))
    x = x.reshape(x.shape[0], -1)
    if self.normalize:
      sq = jnp.sum(jnp.square(x), axis=1, keepdims=True)
      x = x * jax.lax.rsqrt(jnp.maximum(sq, 1e-12))
    return x


def _check_embedded(pooling, dropout):
  checks.choice(pooling, POOLINGS, name='pooling')
  checks.number(dropout, name='dropout', low=0.0, high=1.0, open_high=True)


class _ConvEmbedding(nn.Module):
  channels: int
  num_outputs: int
  num_blocks: int
  pooling: str
  normalize: bool
  dropout: float

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    for block in range(self.num_blocks):
      last = block == self.num_blocks - 1
      features = self.num_outputs if last else self.channels
      x = Conv(features, 3, padding=1)(x, train=train)
      x = jax.nn.relu(_linen.BatchNorm()(x, mask=mask))
      x = _linen.max_pool(_taps.tap(x, 'conv'))
    return _Embedded(self.pooling, self.normalize, self.dropout)(x, train)


def conv_embedding(
  num_outputs: int = 64,
  *,
  channels: int = 64,
  num_blocks: int = 4,
  pooling: str = 'flatten',
  normalize: bool = False,
  dropout: float = 0.0,
  kernel_init: str = 'he',
) -> Network:
  """Builds the four-block convolutional encoder of few-shot learning.

  Each block is a 3x3 convolution (padded by 1), batch normalization, a relu
  and 2x2 max pooling, which halves the grid and drops odd edges; the last grid
  is flattened. Inputs 28 x 28 x 1 give 64 numbers, 84 x 84 x 3 give 1600.

  Args:
    num_outputs: channels of the last block; times the cells of the last grid
      with pooling 'flatten' it is the dimension d.
    channels: of the other blocks.
    num_blocks: blocks, >= 1.
    pooling: what becomes of the last grid: 'flatten', 'average', or 'gem' (the
      generalized mean of power 3).
    normalize: whether embeddings are scaled to length one; those that are zero
      stay so.
    dropout: probability of dropping an entry of the last grid while training,
      in [0, 1); then training needs a key.
    kernel_init: a name in `functional.KERNEL_INITS`; every convolution is
      normalized.

  Returns:
    `Network` with statistics; inputs f[B, H, W, C], H, W >= 2^num_blocks;
    outputs f[B, d].

  Raises:
    ValueError: if an option is out of range; from `init` and `apply`, if images
      are too small.

  Example:
    >>> network = conv_embedding()
    >>> embed = lambda *shape: jax.eval_shape(
    ...   lambda x: network.apply(network.init(jax.random.key(0), x), x),
    ...   jax.ShapeDtypeStruct((2, *shape), 'float32'),
    ... ).shape
    >>> embed(28, 28, 1), embed(84, 84, 3)
    ((2, 64), (2, 1600))

  Source: Snell et al. 2017 (https://arxiv.org/abs/1703.05175), section 3, as
  used by Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150).
  """
  checks.integer(num_outputs, name='num_outputs', low=1)
  checks.integer(channels, name='channels', low=1)
  checks.integer(num_blocks, name='num_blocks', low=1, high=16)
  _check_embedded(pooling, dropout)
  return _linen.from_linen(
    _ConvEmbedding(
      channels, num_outputs, num_blocks, pooling, normalize, dropout
    ),
    kernel_init=kernel_init,
    activation='relu',
    check=_linen.check_images('conv_embedding', 2**num_blocks),
  )


class _ResnetEmbedding(nn.Module):
  norm: str
  width: int
  num_groups: int
  pooling: str
  normalize: bool
  dropout: float

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    trunk = _resnet.ResNet(
      None, (2, 2, 2, 2), self.norm, self.width, self.num_groups
    )
    x = trunk(x, train=train, mask=mask)
    return _Embedded(self.pooling, self.normalize, self.dropout)(x, train)


def resnet18_embedding(
  width: int = 64,
  *,
  norm: str = 'batch',
  num_groups: int = 32,
  pooling: str = 'average',
  normalize: bool = False,
  dropout: float = 0.0,
  kernel_init: str = 'fan_in',
) -> Network:
  """Builds ResNet-18 without its head as an encoder of few-shot learning.

  The layers are those of `resnet18`: a 3x3 stem without pooling, for small
  images.

  Args:
    width: channels of the first stage; a pooled embedding has d = 8 width.
    norm: 'batch' or 'group'.
    num_groups: groups per normalization ('group' only).
    pooling: as of `conv_embedding`.
    normalize: as of `conv_embedding`.
    dropout: as of `conv_embedding`.
    kernel_init: as of `conv_embedding`.

  Returns:
    `Network`; inputs f[B, H, W, C]; outputs f[B, d].

  Raises:
    ValueError: if an option is out of range.

  Example:
    >>> network = resnet18_embedding(4)
    >>> embed = lambda x: network.apply(network.init(jax.random.key(0), x), x)
    >>> jax.eval_shape(embed, jnp.zeros((2, 16, 16, 1))).shape
    (2, 32)

  Source: He et al. 2016 (https://arxiv.org/abs/1512.03385), as offered by
  Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), whose code has the
  7x7 stem for large images instead.
  """
  _resnet.check_options(norm, width, num_groups)
  _check_embedded(pooling, dropout)
  return _linen.from_linen(
    _ResnetEmbedding(norm, width, num_groups, pooling, normalize, dropout),
    kernel_init=kernel_init,
    activation='relu',
    check=_linen.check_images('resnet18_embedding', 1),
  )


def pixels() -> Network:
  """Builds the embedding that flattens its inputs; it has no parameters.

  Returns:
    `Network`; inputs [B, ...]; outputs [B, I].

  Example:
    >>> pixels().apply({}, jnp.ones((2, 3, 4))).shape
    (2, 12)
  """

  def init(key, *inputs):
    del key, inputs
    return {}

  def apply(params, x, *, train=False, key=None):
    del params, train, key
    x = jnp.asarray(x)
    return x.reshape(x.shape[0], -1)

  return Network(init, apply)


def _mlp(
  hidden_sizes: int | Sequence[int] = (64,),
  num_outputs: int = 64,
  *,
  activation: str = 'relu',
  kernel_init: str = 'fan_in',
) -> Network:
  """A multilayer perceptron of flattened inputs, see `mlp`."""
  return _dense.mlp(
    hidden_sizes, num_outputs, activation=activation, kernel_init=kernel_init
  )


# Networks that give a vector per example, by name.
EMBEDDINGS = registry.Registry(
  'embedding',
  {
    'conv_embedding': conv_embedding,
    'mlp': _mlp,
    'pixels': pixels,
    'resnet18': resnet18_embedding,
  },
)


def make_embedding(spec: str, input_shape: Sequence[int]) -> Network:
  """Builds an embedding by name and checks that it fits the data.

  Args:
    spec: an entry of `EMBEDDINGS`: 'conv_embedding(32)', 'mlp((64, 64), 16)',
      'pixels'.
    input_shape: shape of one example, without the batch axis.

  Returns:
    The network, outputs f[B, d].

  Raises:
    ValueError: if the name or an option is unknown, an option is out of range,
      or the network cannot take such inputs.

  Example:
    >>> network = make_embedding('mlp(8, 3)', (5, 5))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 5, 5)))
    >>> network.apply(params, jnp.zeros((4, 5, 5))).shape
    (4, 3)
  """
  network = EMBEDDINGS.make(spec)
  shape = tuple(
    checks.integer(n, name='input_shape', low=1) for n in input_shape
  )
  example = jax.ShapeDtypeStruct((1, *shape), jnp.result_type(float))
  jax.eval_shape(lambda x: network.init(jax.random.key(0), x), example)
  return network
