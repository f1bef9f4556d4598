# SPDX-License-Identifier: Apache-2.0
"""Dense layers, normalizations, activations and dropout, written in a row."""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys
from jaxdl.graphs import _attention
from jaxdl.networks import functional

_EPSILON = 1e-5


def block_leaves(
  steps: Sequence[str], width: int, hidden: int, *, outputs: int | None = None
) -> list[Any]:
  """Describes the layers of a row of steps.

  Args:
    steps: 'dense', 'norm', 'drop' and 'relu', one after another.
    width: what the first dense layer reads.
    hidden: what dense layers give.
    outputs: what the last one gives, if that is another number.

  Returns:
    Leaves of dense layers and normalizations, in order.
  """
  leaves, num_dense = [], list(steps).count('dense')
  for step in steps:
    if step == 'dense':
      num_dense -= 1
      size = outputs if outputs and not num_dense else hidden
      leaves.append(
        functional.layer_leaves(
          (width, size), kernel_init='pytorch', bias_init='pytorch'
        )
      )
      width = size
    elif step == 'norm':
      leaves.append(norm_leaves(width))
  return leaves


def norm_leaves(width: int) -> dict[str, functional.Leaf]:
  """Describes the scale and the bias of a normalization."""
  return {
    'scale': functional.Leaf((width,), 'constant', 1.0),
    'bias': functional.Leaf((width,)),
  }


def normalize(params: Any, x: chex.Array) -> chex.Array:
  """Brings each row to mean zero and variance one, then scales it.

  Args:
    params: 'scale' and 'bias', f[F].
    x: f[..., F].

  Returns:
    f[..., F]; rows whose entries are equal become the bias.
  """
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  wide = wide - wide.mean(axis=-1, keepdims=True)
  variance = jnp.mean(wide * wide, axis=-1, keepdims=True)
  wide = (wide * jax.lax.rsqrt(variance + _EPSILON)).astype(x.dtype)
  spread = lambda p: jnp.broadcast_to(p.astype(x.dtype), x.shape)
  return wide * spread(params['scale']) + spread(params['bias'])


def apply_block(
  steps: Sequence[str],
  params: Sequence[Any],
  x: chex.Array,
  draw: 'Draws',
  rate: float,
) -> chex.Array:
  """Applies steps one after another.

  Args:
    steps: as for `block_leaves`.
    params: of them.
    x: f[..., F].
    draw: keys of dropout.
    rate: of dropout.

  Returns:
    f[..., H].
  """
  left = iter(params)
  for step in steps:
    if step == 'dense':
      x = functional.dense(next(left), x)
    elif step == 'norm':
      x = normalize(next(left), x)
    elif step == 'relu':
      x = jax.nn.relu(x)
    else:
      x = draw.drop(x, rate)
  return x


class Draws:
  """Keys one after another; none if nothing is to be drawn."""

  def __init__(self, key: chex.PRNGKey | None, train: bool):
    self._key = key if train else None
    self._count = 0

  @property
  def live(self) -> bool:
    """Whether there is a key."""
    return self._key is not None

  def key(self) -> chex.PRNGKey:
    """The next key."""
    self._count += 1
    return jax.random.fold_in(self._key, self._count)

  def drop(self, x: chex.Array, rate: float) -> chex.Array:
    """Dropout, if there is a key and a rate."""
    if not self.live or not rate:
      return x
    return _attention.drop(self.key(), x, rate)


def check_rates(**rates: Any) -> None:
  """Raises ValueError unless dropout rates lie in [0, 1)."""
  for name, rate in rates.items():
    checks.number(rate, name=name, low=0, high=1, open_high=True)


def check_switches(**switches: Any) -> None:
  """Raises TypeError unless all are True or False."""
  for name, value in switches.items():
    if not isinstance(value, (bool, np.bool_)):
      raise TypeError(f'{name} must be True or False; got {value!r}.')


def check_train_key(key: Any, train: bool, **rates: float) -> None:
  """Raises ValueError if something is to be drawn without a key."""
  drawn = [f'{name}={rate}' for name, rate in rates.items() if rate]
  if not train or not drawn:
    return
  if key is None:
    raise ValueError(f'apply(train=True) needs a key: {drawn[0]} draws.')
  keys.check_key(key)
