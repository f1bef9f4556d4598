# SPDX-License-Identifier: Apache-2.0
"""From flax.linen modules to pairs of pure functions, and our own layers.

Layers find out by themselves what is asked of them: a batch normalization uses
the batch's statistics exactly if their collection is mutable, and records them.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import chex
import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.core import trees
from jaxdl.core.types import Network
from jaxdl.networks import _taps, functional

STATISTICS = 'statistics'
INTERMEDIATES = 'intermediates'
NEEDS_KEY = (
  'key is required with train=True: the network draws random numbers '
  '(dropout); pass key=jax.random.key(seed).'
)


class BatchNorm(nn.Module):
  """Normalizes each channel over the batch, without its masked rows.

  The variance is the biased one, about the mean, in float32 (float64 for
  float64 inputs). Running statistics live in the collection 'statistics';
  when it is mutable, the statistics of the batch are used for normalizing and
  written there, not averaged with the old ones. A batch without any unmasked
  row uses and keeps the running ones. A negative running variance (possible
  after a momentum step, or under attack) counts as zero.

  Attributes:
    epsilon: added to the variance.

  Source: Ioffe & Szegedy 2015 (https://arxiv.org/abs/1502.03167),
  Algorithm 1.
  """

  epsilon: float = 1e-5

  @nn.compact
  def __call__(
    self, x: chex.Array, *, mask: chex.Array | None = None
  ) -> chex.Array:
    """Applies the layer.

    Args:
      x: f[B, ..., C].
      mask: bool[B] or None; false rows do not enter the statistics.

    Returns:
      f[B, ..., C], common dtype of `x` and the parameters.
    """
    channels = x.shape[-1]
    wide = trees.accumulator(x.dtype)
    scale = self.param('scale', nn.initializers.ones, (channels,), wide)
    bias = self.param('bias', nn.initializers.zeros, (channels,), wide)
    old_mean = self.variable(STATISTICS, 'mean', jnp.zeros, (channels,), wide)
    old_var = self.variable(STATISTICS, 'var', jnp.ones, (channels,), wide)
    dtype = jnp.result_type(x, scale, bias)
    x = x.astype(wide)
    row = lambda v: v.astype(wide).reshape((1,) * (x.ndim - 1) + (channels,))
    mean = old_mean.value.astype(wide)
    var = jnp.maximum(old_var.value.astype(wide), 0.0)
    if self.is_mutable_collection(STATISTICS):
      axes = tuple(range(x.ndim - 1))
      where = None if mask is None else trees.expand(mask.astype(bool), x)
      count = x.size // channels
      if where is not None:
        count = jnp.sum(where, dtype=wide) * (count // x.shape[0])
      average = lambda v: jnp.sum(v, axes, where=where) / jnp.maximum(count, 1)
      new_mean = average(x)
      new_var = average(jnp.square(x - row(new_mean)))
      if where is not None:
        new_mean = jnp.where(count > 0, new_mean, mean)
        new_var = jnp.where(count > 0, new_var, var)
      mean, var = new_mean, new_var
      if not self.is_initializing():
        old_mean.value = mean.astype(old_mean.value.dtype)
        old_var.value = var.astype(old_var.value.dtype)
    gain = jax.lax.rsqrt(var + self.epsilon) * scale.astype(wide)
    return ((x - row(mean)) * row(gain) + row(bias)).astype(dtype)


def max_pool(x: chex.Array) -> chex.Array:
  """Takes the maximum over 2x2 windows with stride 2; odd edges are dropped.

  Written as elementwise maxima of shifted slices: on CPU the gradient of a
  reduction over windows takes ten times as long. Tied entries share the
  gradient.

  Args:
    x: f[B, H, W, C].

  Returns:
    f[B, H // 2, W // 2, C].
  """
  height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
  x = x[:, :height, :width]
  x = jnp.maximum(x[:, 0::2], x[:, 1::2])
  return jnp.maximum(x[:, :, 0::2], x[:, :, 1::2])


def check_images(name: str, smallest: int) -> Callable[..., None]:
  """Builds the check of a network that takes images.

  Args:
    name: the network's name, for the message.
    smallest: least height and width.

  Returns:
    `check(inputs)`, raising ValueError for anything but [B, H, W, C].
  """

  def check(inputs, *_):
    shape = tuple(inputs.shape)
    if len(shape) != 4:
      raise ValueError(
        f'{name} takes inputs [B, H, W, C]; got shape {shape}: reshape them '
        '(inputs[..., None] adds a channel axis).'
      )
    if min(shape[1:3]) < smallest:
      raise ValueError(
        f'{name} needs images of at least {smallest} x {smallest}; got inputs '
        f'of shape {shape}.'
      )

  return check


def check_rows(name: str) -> Callable[..., None]:
  """Builds the check of a network that takes one vector per example.

  Args:
    name: the network's name, for the message.

  Returns:
    `check(inputs)`, raising ValueError for anything but [B, ...].
  """

  def check(inputs, *_):
    if len(inputs.shape) < 2:
      raise ValueError(
        f'{name} takes inputs [B, ...] with at least one feature axis; got '
        f'shape {tuple(inputs.shape)}: add the batch axis (inputs[None]).'
      )

  return check


def from_linen(
  module: nn.Module,
  *,
  kernel_init: str | None = None,
  activation: functional.Activation | None = None,
  check: Callable[..., None] | None = None,
) -> Network:
  """Turns a flax.linen module into a `Network`.

  `params` is the whole dict of variables: 'params' and, where the module has
  `BatchNorm` layers of this folder, 'statistics'. The module's `__call__` is
  given `train: bool` and `mask: bool[B] | None` if it has such keywords, and
  a 'dropout' stream when training with a key.

  Args:
    module: the module.
    kernel_init: a name in `functional.KERNEL_INITS`, for variables called
      kernel; all variables then come from one draw, and are called kernel,
      bias, scale, mean or var. None lets the module initialize itself.
    activation: between its layers, for kernels that are made for one.
    check: `check(*inputs)`, run before anything else; raises on bad ones.

  Returns:
    `Network(init, apply)`; `apply` takes besides the common keywords
    `mask: bool[B]` (rows that batch statistics leave out) and
    `mutable=True` (use the batch's statistics, even if `train` is false, and
    return `(outputs, statistics)`; None where there are none).

  Raises:
    ValueError: from `init`, if the module keeps any other collection (flax's
      own `BatchNorm` does: use `jaxdl.networks.BatchNorm`); from `apply`, if
      a key is missing, or a mask is given to a module that has statistics
      but no such keyword.

  Example:
    >>> network = from_linen(nn.Dense(2))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> network.apply(params, jnp.zeros((4, 3))).shape
    (4, 2)
  """
  accepted = inspect.signature(type(module).__call__).parameters
  if kernel_init is not None:
    functional.KERNEL_INITS.check(kernel_init)

  def init(key, *inputs):
    inputs = jax.tree.map(_as_array, inputs)
    if check is not None:
      check(*inputs)
    shapes = jax.eval_shape(
      lambda *xs: module.init(jax.random.key(0), *xs), *inputs
    )
    unknown = sorted(set(shapes) - {'params', STATISTICS})
    if unknown:
      raise ValueError(
        f'the module keeps collections {unknown}: only params and {STATISTICS} '
        'are supported (normalize with jaxdl.networks.BatchNorm).'
      )
    if kernel_init is not None:
      leaves = functional.leaves_of(
        shapes, kernel_init=kernel_init, activation=activation
      )
      # Uniform kernels alone come from the key as it is.
      split = any(x.kind == 'normal' for x in jax.tree.leaves(leaves))
      dtype = functional.parameter_dtype(*inputs)
      return functional.draw(key, leaves, dtype, split=split)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), inputs)
    return module.init(key, *zeros)

  def apply(params, *inputs, train=False, key=None, mask=None, mutable=False):
    inputs = jax.tree.map(_as_array, inputs)
    if check is not None:
      check(*inputs)
    running = STATISTICS in params
    keywords: dict[str, Any] = {}
    if 'train' in accepted:
      keywords['train'] = train
    if mask is not None and running:
      if 'mask' not in accepted:
        raise ValueError(
          'mask is given but the module has no such keyword: padding would '
          'enter its batch statistics.'
        )
      keywords['mask'] = mask
    record = running and (train or mutable)
    seen = _taps.current()
    wanted = [STATISTICS] if record else []
    if seen is not None:
      wanted.append(INTERMEDIATES)
      keywords['capture_intermediates'] = True
    try:
      outputs = module.apply(
        params,
        *inputs,
        rngs={'dropout': key} if train and key is not None else {},
        mutable=wanted or False,
        **keywords,
      )
    except flax.errors.InvalidRngError as error:
      raise ValueError(NEEDS_KEY) from error
    fresh = None
    if wanted:
      outputs, updated = outputs
      fresh = updated.get(STATISTICS) if record else None
      if seen is not None:
        seen.modules.update(_by_path(updated.get(INTERMEDIATES, {})))
    return (outputs, fresh) if mutable else outputs

  return Network(init, apply)


def _by_path(tree, path=()):
  """What modules returned or sowed, without the output of the outermost."""
  found = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      found |= _by_path(value, (*path, name))
      continue
    place = path if name == '__call__' else (*path, name)
    values = value if isinstance(value, tuple) else (value,)
    for i, x in enumerate(values):
      if place and hasattr(x, 'shape'):
        label = '/'.join(place)
        found[label if len(values) == 1 else f'{label}:{i}'] = x
  return found


def _as_array(x):
  return x if isinstance(x, jax.ShapeDtypeStruct) else jnp.asarray(x)
