# SPDX-License-Identifier: Apache-2.0
"""The small convolutional networks of the literature we compare with."""

import flax.linen as nn
import jax

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _linen
from jaxdl.networks._layers import Conv, Dense
from jaxdl.networks._taps import tap


def _build(module, name, num_outputs, smallest, kernel_init, activation='relu'):
  checks.integer(num_outputs, name='num_outputs', low=1)
  return _linen.from_linen(
    module,
    kernel_init=kernel_init,
    activation=activation,
    check=_linen.check_images(name, smallest),
  )


def _flat(x):
  return x.reshape(x.shape[0], -1)


class _MonnaMnist(nn.Module):
  num_outputs: int

  @nn.compact
  def __call__(self, x, *, train=False):
    for features in (20, 50):
      x = tap(jax.nn.relu(Conv(features, 5)(x, train=train)), 'conv')
      x = _linen.max_pool(x)
    x = tap(jax.nn.relu(Dense(500)(_flat(x))), 'dense')
    return Dense(self.num_outputs)(x)


def monna_mnist_cnn(
  num_outputs: int = 10, *, kernel_init: str = 'fan_in'
) -> Network:
  """Builds the network of the MoNNA experiments on MNIST.

  Unpadded 5x5 convolutions with 20 and 50 channels, each followed by a relu
  and 2x2 max pooling, then dense layers 500 and K. Inputs [B, 28, 28, 1] give
  431,080 parameters for ten classes.

  Args:
    num_outputs: number of classes K.
    kernel_init: a name in `functional.KERNEL_INITS`.

  Returns:
    `Network`; inputs f[B, H, W, C], H, W >= 16; outputs logits f[B, K].

  Example:
    >>> params = monna_mnist_cnn().init(
    ...   jax.random.key(0), jnp.zeros((1, 28, 28, 1))
    ... )
    >>> sum(x.size for x in jax.tree.leaves(params))
    431080

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931),
  experiments, and their code.
  """
  return _build(
    _MonnaMnist(num_outputs), 'monna_mnist_cnn', num_outputs, 16, kernel_init
  )


class _MonnaCifar(nn.Module):
  num_outputs: int
  dropout: float

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    drop = lambda x: nn.Dropout(self.dropout, deterministic=not train)(x)
    for features in (64, 128):
      for _ in range(2):
        x = tap(
          jax.nn.relu(Conv(features, 3, padding=1)(x, train=train)), 'conv'
        )
        x = _linen.BatchNorm()(x, mask=mask)
      x = drop(_linen.max_pool(x))
    x = drop(tap(jax.nn.relu(Dense(128)(_flat(x))), 'dense'))
    return Dense(self.num_outputs)(x)


def monna_cifar_cnn(
  num_outputs: int = 10,
  *,
  dropout: float = 0.25,
  kernel_init: str = 'fan_in',
) -> Network:
  """Builds the network of the MoNNA experiments on CIFAR-10.

  Padded 3x3 convolutions with 64, 64 | 128, 128 channels, each followed by a
  relu and then batch normalization; 2x2 max pooling and dropout after each
  pair; dense 128, relu, dropout, dense K. Inputs [B, 32, 32, 3] give 1,310,922
  trainable parameters for ten classes, and 768 running statistics.

  Args:
    num_outputs: number of classes K.
    dropout: probability of dropping an entry, in [0, 1).
    kernel_init: a name in `functional.KERNEL_INITS`.

  Returns:
    `Network` with statistics; inputs f[B, H, W, C], H, W >= 4; outputs
    logits f[B, K]; needs a key in training if `dropout > 0`.

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931),
  experiments, and their code.
  """
  checks.number(dropout, name='dropout', low=0.0, high=1.0, open_high=True)
  module = _MonnaCifar(num_outputs, dropout)
  return _build(module, 'monna_cifar_cnn', num_outputs, 4, kernel_init)


class _LeNet(nn.Module):
  num_outputs: int

  @nn.compact
  def __call__(self, x, *, train=False):
    for features, padding in ((6, 2), (16, 0)):
      x = Conv(features, 5, padding=padding)(x, train=train)
      x = _linen.max_pool(tap(jax.nn.relu(x), 'conv'))
    x = tap(jax.nn.relu(Dense(120)(_flat(x))), 'dense')
    x = tap(jax.nn.relu(Dense(84)(x)), 'dense')
    return Dense(self.num_outputs)(x)


def lenet(num_outputs: int = 10, *, kernel_init: str = 'fan_in') -> Network:
  """Builds LeNet-5 with relu activations and max pooling.

  A 5x5 convolution with 6 channels (padded by 2), one with 16 (unpadded), each
  followed by a relu and 2x2 max pooling, then dense layers 120, 84 and K.
  Inputs [B, 28, 28, 1] give 61,706 parameters for ten classes.

  Args:
    num_outputs: number of classes K.
    kernel_init: a name in `functional.KERNEL_INITS`.

  Returns:
    `Network`; inputs f[B, H, W, C], H, W >= 12; outputs logits f[B, K].

  Source: LeCun et al. 1998 (https://doi.org/10.1109/5.726791), section II.B,
  with full connections, relu and max pooling instead of the original's
  partial connections, tanh and trained averages.
  """
  return _build(_LeNet(num_outputs), 'lenet', num_outputs, 12, kernel_init)


class _Ocfl(nn.Module):
  num_outputs: int
  hidden_sizes: tuple[int, ...]
  dropout: float

  @nn.compact
  def __call__(self, x, *, train=False):
    for features in (16, 32, 32):
      x = tap(jax.nn.relu(Conv(features, 5, padding=2)(x, train=train)), 'conv')
    x = _flat(x)
    for features in self.hidden_sizes:
      x = tap(jax.nn.relu(Dense(features)(x)), 'dense')
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return Dense(self.num_outputs)(x)


def ocfl_cnn(
  num_outputs: int = 10,
  *,
  dropout: float = 0.2,
  hidden_sizes: tuple[int, ...] = (1000, 250, 100),
  kernel_init: str = 'fan_in',
) -> Network:
  """Builds the network of one-shot clustering on MNIST and Fashion-MNIST.

  Padded 5x5 convolutions with 16, 32 and 32 channels and relus, without any
  pooling; dense 1000, 250 and 100, each with a relu and dropout; dense K.
  Inputs [B, 28, 28, 1] give 25,404,240 parameters for ten classes, nearly all
  of them in the first dense layer.

  Args:
    num_outputs: number of classes K.
    dropout: probability of dropping an entry, in [0, 1).
    hidden_sizes: of the dense layers; fewer for small runs.
    kernel_init: a name in `functional.KERNEL_INITS`.

  Returns:
    `Network`; inputs f[B, H, W, C]; outputs logits f[B, K]; needs a key in
    training if `dropout > 0`.

  Source: Zuziak et al. 2025 (https://arxiv.org/abs/2509.01587), experiments,
  and their code.
  """
  checks.number(dropout, name='dropout', low=0.0, high=1.0, open_high=True)
  for size in hidden_sizes:
    checks.integer(size, name='hidden_sizes', low=1)
  module = _Ocfl(num_outputs, tuple(hidden_sizes), dropout)
  return _build(module, 'ocfl_cnn', num_outputs, 1, kernel_init)


class _FedfixCifar(nn.Module):
  num_outputs: int

  @nn.compact
  def __call__(self, x, *, train=False):
    for features in (32, 64):
      x = tap(jax.nn.relu(Conv(features, 3)(x, train=train)), 'conv')
      x = _linen.max_pool(x)
    x = tap(Conv(64, 3)(x, train=train), 'conv')
    x = tap(jax.nn.relu(Dense(64)(_flat(x))), 'dense')
    return Dense(self.num_outputs)(x)


def fedfix_cifar_cnn(
  num_outputs: int = 10, *, kernel_init: str = 'fan_in'
) -> Network:
  """Builds the network of the FedFix experiments on CIFAR-10.

  Unpadded 3x3 convolutions with 32 and 64 channels, each followed by a relu and
  2x2 max pooling, and one with 64 followed by neither; dense 64, relu, dense K.
  Inputs [B, 32, 32, 3] give 122,570 parameters for ten classes.

  Args:
    num_outputs: number of classes K.
    kernel_init: a name in `functional.KERNEL_INITS`.

  Returns:
    `Network`; inputs f[B, H, W, C], H, W >= 18; outputs logits f[B, K].

  Source: Fraboni et al. 2023 (https://arxiv.org/abs/2206.10189), experiments,
  and their code.
  """
  module = _FedfixCifar(num_outputs)
  return _build(module, 'fedfix_cifar_cnn', num_outputs, 18, kernel_init)


class _FedjaxEmnist(nn.Module):
  num_outputs: int
  dropout: tuple[float, float]

  @nn.compact
  def __call__(self, x, *, train=False):
    drop = lambda x, i: nn.Dropout(self.dropout[i], deterministic=not train)(x)
    for features in (32, 64):
      x = tap(jax.nn.relu(Conv(features, 3)(x, train=train)), 'conv')
    x = drop(_linen.max_pool(x), 0)
    x = drop(tap(jax.nn.relu(Dense(128)(_flat(x))), 'dense'), 1)
    return Dense(self.num_outputs)(x)


def fedjax_emnist_cnn(
  num_outputs: int = 62,
  *,
  dropout: tuple[float, float] = (0.25, 0.5),
  kernel_init: str = 'fan_in',
) -> Network:
  """Builds the convolutional network that federated EMNIST is trained with.

  Unpadded 3x3 convolutions with 32 and 64 channels and relus, 2x2 max pooling,
  dropout, dense 128, relu, dropout, dense K. Inputs [B, 28, 28, 1] give
  1,206,590 parameters for 62 classes.

  Args:
    num_outputs: number of classes K.
    dropout: the two probabilities of dropping an entry, each in [0, 1).
    kernel_init: a name in `functional.KERNEL_INITS`.

  Returns:
    `Network`; inputs f[B, H, W, C], H, W >= 6; outputs logits f[B, K];
    needs a key in training unless both probabilities are zero.

  Source: Ro et al. 2021 (https://arxiv.org/abs/2108.02117), experiments.
  """
  if not isinstance(dropout, (tuple, list)) or len(dropout) != 2:
    raise ValueError(
      f'dropout must be two numbers, as (0.25, 0.5); got {dropout!r}.'
    )
  for rate in dropout:
    checks.number(rate, name='dropout', low=0.0, high=1.0, open_high=True)
  module = _FedjaxEmnist(num_outputs, tuple(dropout))
  return _build(module, 'fedjax_emnist_cnn', num_outputs, 6, kernel_init)


class _MipMnist(nn.Module):
  num_outputs: int

  @nn.compact
  def __call__(self, x, *, train=False):
    for k, (features, size) in enumerate(((16, 5), (32, 3), (64, 3), (64, 3))):
      x = Conv(features, size, padding=size // 2)(x, train=train)
      x = jax.nn.leaky_relu(x, 0.01)
      if k < 2:
        x = _linen.max_pool(x)
    return Dense(self.num_outputs)(x.mean(axis=(1, 2)))


def mip_mnist_cnn(
  num_outputs: int = 10, *, kernel_init: str = 'fan_in'
) -> Network:
  """Builds the network whose convolutions a hypernetwork makes, on MNIST.

  Padded convolutions with 16, 32, 64 and 64 channels of 5x5 and 3x3 windows,
  leaky relus, 2x2 max pooling after the first two, the mean over the image,
  dense K. Inputs [B, 28, 28, 1] give 61,130 parameters for ten classes.

  Args:
    num_outputs: number of classes K.
    kernel_init: a name in `functional.KERNEL_INITS`.

  Returns:
    `Network`; inputs f[B, H, W, C], H, W >= 4; outputs logits f[B, K].

  Source: Gonzalez Ortiz, Guttag & Dalca 2024
    (https://arxiv.org/abs/2304.07645), their code.
  """
  return _build(
    _MipMnist(num_outputs),
    'mip_mnist_cnn',
    num_outputs,
    4,
    kernel_init,
    'leaky_relu',
  )
