# SPDX-License-Identifier: Apache-2.0
"""Affine normalizers of functions, as pytrees."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees
from jaxdl.core.types import Network

KINDS = ('scalar', 'channel', 'point', 'range')


class Normalizer(NamedTuple):
  """An affine map and its inverse.

  Attributes:
    shift: f[*grid, C] or anything that broadcasts to it, rank of one sample.
    scale: likewise, positive.
  """

  shift: chex.Array
  scale: chex.Array

  def encode(self, x: chex.Array) -> chex.Array:
    """Returns (x - shift) / scale for x f[B, *grid, C]."""
    shift, scale = self._fit(x)
    return (x - shift) / scale

  def decode(self, x: chex.Array) -> chex.Array:
    """Returns x * scale + shift for x f[B, *grid, C]."""
    shift, scale = self._fit(x)
    return x * scale + shift

  def _fit(self, x):
    if x.shape[1:] != self.shift.shape and any(
      n not in (1, m)
      for n, m in zip(self.shift.shape[::-1], x.shape[:0:-1], strict=False)
    ):
      raise ValueError(
        f'the normalizer was fitted to samples {self.shift.shape}; got '
        f'{x.shape[1:]}: fit it at this resolution or use kind="scalar".'
      )
    shape = (1,) * (x.ndim - self.shift.ndim) + self.shift.shape
    return tuple(
      jnp.broadcast_to(v.reshape(shape).astype(x.dtype), x.shape)
      for v in (self.shift, self.scale)
    )


def fit_normalizer(
  x: chex.Array, *, kind: str = 'scalar', epsilon: float = 1e-5
) -> Normalizer:
  """Fits a normalizer; use training data only.

  Args:
    x: f[B, *grid, C].
    kind: 'scalar' (one mean and deviation), 'channel' (per channel), 'point'
      (per grid point and channel) or 'range' (to [0, 1], scalar).
    epsilon: added to the deviation, so that constants stay finite.

  Returns:
    A `Normalizer`; deviations are unbiased (divisor count - 1).

  Raises:
    ValueError: if the kind is unknown or there are too few values.

  Example:
    >>> n = fit_normalizer(jnp.array([[[1.0]], [[3.0]]]), epsilon=0.0)
    >>> round(float(n.scale[0, 0]), 4)
    1.4142
  """
  checks.choice(kind, KINDS, name='kind')
  ones = (1,) * (x.ndim - 1)
  if kind == 'range':
    low, high = x.min(), x.max()
    return Normalizer(low.reshape(ones), (high - low + epsilon).reshape(ones))
  axes = {
    'scalar': tuple(range(x.ndim)),
    'channel': tuple(range(x.ndim - 1)),
    'point': (0,),
  }[kind]
  count = 1
  for axis in axes:
    count *= x.shape[axis]
  if count < 2:
    raise ValueError(f'kind={kind!r} has {count} values per statistic: need 2.')
  # Squared in units of their size, so that no value over- or underflows.
  unit = trees.power_of_two(jnp.max(jnp.abs(x)))
  mean = (x / unit).mean(axes, keepdims=True)
  gaps = x / unit - mean
  inner = trees.power_of_two(jnp.max(jnp.abs(gaps), axes, keepdims=True))
  square = jnp.square(gaps / inner).sum(axes, keepdims=True) / (count - 1)
  positive = square > 0
  std = jnp.sqrt(jnp.where(positive, square, 1))
  std = jnp.where(positive, std, jax.lax.stop_gradient(square))  # NaN stays.
  return Normalizer(mean[0] * unit, std[0] * inner[0] * unit + epsilon)


def normalized(
  network: Network,
  *,
  inputs: Normalizer | None = None,
  outputs: Normalizer | None = None,
) -> Network:
  """Encodes the first input of a network and decodes its output.

  The loss then sees physical units, and callers no normalization.

  Args:
    network: any network.
    inputs: applied to the first input, or None.
    outputs: undone at the output, or None.

  Returns:
    A `Network` with the parameters of the given one.
  """

  def apply(params, first, *others, **kwargs):
    if inputs is not None:
      first = inputs.encode(first)
    out = network.apply(params, first, *others, **kwargs)
    return out if outputs is None else outputs.decode(out)

  return Network(network.init, apply)
