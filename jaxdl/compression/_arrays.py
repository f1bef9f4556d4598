# SPDX-License-Identifier: Apache-2.0
"""What is lost of one array: fewer entries, or fewer bits per entry."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees


def top_k(x: chex.Array, *, num_kept: int) -> chex.Array:
  """Keeps the entries of largest magnitude and zeroes the others.

  The best of all compressors that keep k entries, and biased:
  |C(x) - x|² <= (1 - k / D)|x|² for every x. Of equal magnitudes the first are
  kept; NaN counts as largest.

  Args:
    x: f[...], D entries.
    num_kept: k in 1..D (static).

  Returns:
    Same shape and dtype.

  Raises:
    TypeError: if x is not floating point or k no integer.
    ValueError: if k is out of range.

  Cost: one selection of k among D.

  Example:
    >>> top_k(jnp.array([0.5, -3.0, 1.0]), num_kept=1)
    Array([ 0., -3.,  0.], dtype=float32)

  Source: Stich et al. 2018 (https://arxiv.org/abs/1809.07599), definition 2.2.
  """
  flat = floating(x).reshape(-1)
  k = _kept(num_kept, flat.size)
  return _only(flat, jnp.abs(flat), k).reshape(jnp.shape(x))


def random_k(
  x: chex.Array,
  *,
  num_kept: int,
  key: chex.PRNGKey,
  unbiased: bool = False,
) -> chex.Array:
  """Keeps entries drawn evenly without replacement and zeroes the others.

  E|C(x) - x|² = (1 - k / D)|x|². Times D / k it is unbiased instead, with
  E|C(x) - x|² = (D / k - 1)|x|². Receivers that share the key draw the same
  places, which then need not be sent.

  Args:
    x: f[...], D entries.
    num_kept: k in 1..D (static).
    key: consumed.
    unbiased: whether kept entries are scaled by D / k (static).

  Returns:
    Same shape and dtype.

  Raises:
    TypeError: if x is not floating point or k no integer.
    ValueError: if k is out of range.

  Example:
    >>> x = jnp.array([1.0, 2.0, 3.0, 4.0])
    >>> kept = random_k(x, num_kept=3, key=jax.random.key(0))
    >>> int((kept == x).sum()), int((kept == 0).sum())
    (3, 1)

  Source: Stich et al. 2018 (https://arxiv.org/abs/1809.07599), definition 2.2;
  unbiased: Koloskova et al. 2019 (https://arxiv.org/abs/1902.00340), section
  3.5.
  """
  flat = floating(x).reshape(-1)
  k = _kept(num_kept, flat.size)
  kept = _only(flat, jax.random.uniform(key, flat.shape), k)
  if unbiased:
    kept = (
      kept.astype(trees.accumulator(kept.dtype)) * (flat.size / k)
    ).astype(flat.dtype)
  return kept.reshape(jnp.shape(x))


def stochastic_quantize(
  x: chex.Array,
  *,
  num_levels: int,
  key: chex.PRNGKey,
  unbiased: bool = True,
) -> chex.Array:
  """Rounds entries at random to multiples of |x| / s.

  Each entry becomes |x| sign(x_i) l / s with l one of the two levels around
  s |x_i| / |x|, so that E C(x) = x and E|C(x) - x|² <= ω|x|² with
  ω = min(D / s², √D / s). Divided by 1 + ω it is a contraction with
  δ = 1 / (1 + ω). Zero stays zero; what is not finite spoils the message.

  Args:
    x: f[...], D entries.
    num_levels: s >= 1, positive levels (static).
    key: consumed.
    unbiased: False divides by 1 + ω (static).

  Returns:
    Same shape and dtype.

  Raises:
    TypeError: if x is not floating point or s no integer.
    ValueError: if s is out of range.

  Example:
    >>> x = jnp.array([3.0, 0.0, -4.0])
    >>> q = stochastic_quantize(x, num_levels=5, key=jax.random.key(0))
    >>> bool(jnp.allclose(q, x))  # Already multiples of 5 / 5.
    True

  Source: Alistarh et al. 2017 (https://arxiv.org/abs/1610.02132), section 3.1
  and lemma 3.1; scaled: Koloskova et al. 2019
  (https://arxiv.org/abs/1902.00340), section 3.5.
  """
  levels = checks.integer(num_levels, name='num_levels', low=1)
  x = floating(x)
  if not x.size:
    return x
  wide = x.astype(trees.accumulator(x.dtype))
  # Relative to the largest entry, squares neither overflow nor vanish.
  unit, largest, power = _relative(wide)
  length = jnp.maximum(jnp.sqrt(jnp.sum(unit * unit)), 1.0)
  draw = jax.random.uniform(key, x.shape, wide.dtype)
  exact = jnp.abs(unit) * (levels / length)
  below = jnp.floor(exact)
  # Not floor(exact + draw), which may round up from a level that is met.
  level = below + (draw >= 1 - (exact - below))
  scale = 1.0 if unbiased else 1.0 / (1.0 + omega(x.size, levels))
  step = length * (scale / levels)
  return (jnp.sign(unit) * level * step * largest * power).astype(x.dtype)


def ternary_quantize(x: chex.Array, *, key: chex.PRNGKey) -> chex.Array:
  """Sends a sign or nothing of each entry, at random.

  C(x)_i = m sign(x_i) with probability |x_i| / m, else 0, m = max |x_i|. E C(x)
  = x and E|C(x) - x|² = m |x|₁ - |x|² <= (√D - 1) / 2 |x|². Zero stays zero;
  what is not finite spoils the message.

  Args:
    x: f[...], D entries.
    key: consumed.

  Returns:
    Same shape and dtype.

  Raises:
    TypeError: if x is not floating point.

  Example:
    >>> ternary_quantize(jnp.array([0.0, 5.0, -5.0]), key=jax.random.key(0))
    Array([ 0.,  5., -5.], dtype=float32)

  Source: Wen et al. 2017 (https://arxiv.org/abs/1705.07878), equation 3.
  """
  x = floating(x)
  if not x.size:
    return x
  wide = x.astype(trees.accumulator(x.dtype))
  unit, largest, power = _relative(wide)
  draw = jax.random.uniform(key, x.shape, wide.dtype)
  kept = draw < jnp.abs(unit)  # Not at zero, and always at one.
  sent = jnp.where(kept, jnp.sign(unit) * largest * power, 0)
  return jnp.where(jnp.isfinite(largest), sent, jnp.nan).astype(x.dtype)


def uniform_quantize(
  x: chex.Array, *, num_levels: int, key: chex.PRNGKey
) -> chex.Array:
  """Rounds entries at random to evenly spaced levels from least to largest.

  Each entry becomes one of the two levels around it, so that E C(x) = x and
  E|C(x) - x|² <= (D - 2) / (2 (L - 1)²) |x|². The least and the largest entry,
  and a message of equal entries, are sent as they are; what is not finite
  spoils it.

  Args:
    x: f[...], D entries.
    num_levels: L >= 2 (static).
    key: consumed.

  Returns:
    Same shape and dtype.

  Raises:
    TypeError: if x is not floating point or L no integer.
    ValueError: if L is out of range.

  Example:
    >>> x = jnp.array([-1.0, 0.0, 1.0])
    >>> uniform_quantize(x, num_levels=3, key=jax.random.key(0))
    Array([-1.,  0.,  1.], dtype=float32)

  Source: Suresh et al. 2017 (https://arxiv.org/abs/1611.00429), section 2.2.
  """
  last = checks.integer(num_levels, name='num_levels', low=2) - 1
  x = floating(x)
  if not x.size:
    return x
  wide = x.astype(trees.accumulator(x.dtype))
  # Of its own size, the range is finite, and so is its inverse.
  unit = trees.power_of_two(jnp.max(jnp.abs(wide)))
  y = wide * (1 / unit)
  low, high = jnp.min(y), jnp.max(y)
  span = high - low
  exact = (y - low) / jnp.where(span > 0, span, 1) * last
  below = jnp.floor(exact)
  draw = jax.random.uniform(key, x.shape, wide.dtype)
  level = below + (draw >= 1 - (exact - below))
  value = jnp.where(level >= last, high, low + span * (level / last))
  return jnp.where(span > 0, value * unit, wide).astype(x.dtype)


def scaled_sign(x: chex.Array, *, keep_zeros: bool = False) -> chex.Array:
  """Sends signs and the mean magnitude: C(x) = (|x|₁ / D) sign(x).

  |C(x) - x|² <= |x|² - |x|₁² / D, so δ = |x|₁² / (D |x|²), which is at least
  1 / D and 2 / π for Gaussian entries. Biased. Zeros count as positive, so
  that a sign is one bit, unless they are kept; a zero message stays zero.

  Args:
    x: f[...], D entries.
    keep_zeros: whether sign(0) = 0, which takes a third value (static).

  Returns:
    Same shape and dtype.

  Raises:
    TypeError: if x is not floating point.

  Example:
    >>> scaled_sign(jnp.array([1.0, -3.0]))
    Array([ 2., -2.], dtype=float32)
    >>> scaled_sign(jnp.array([3.0, -1.0, 0.5, 0.0]), keep_zeros=True)
    Array([ 1.125, -1.125,  1.125,  0.   ], dtype=float32)

  Source: Karimireddy et al. 2019 (https://arxiv.org/abs/1901.09847), lemma 8.
  """
  x = floating(x)
  if not x.size:
    return x
  size = jnp.abs(x.astype(trees.accumulator(x.dtype)))
  unit = trees.power_of_two(jnp.max(size))  # Sums of units stay finite.
  mean = jnp.mean(size / unit) * unit
  sent = jnp.where(x < 0, -mean, mean)
  if keep_zeros:
    sent = jnp.where(x == 0, 0, sent)
  return sent.astype(x.dtype)


def floating(x: Any) -> chex.Array:
  """Returns an array, or raises TypeError unless it is floating point."""
  x = jnp.asarray(x)
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise TypeError(f'a message must be floating point; got {x.dtype}.')
  return x


def _kept(num_kept: int, size: int) -> int:
  k = checks.integer(num_kept, name='num_kept', low=1)
  if k > size:
    raise ValueError(f'num_kept={k} exceeds the {size} entries of x.')
  return k


def _only(flat: chex.Array, score: chex.Array, k: int) -> chex.Array:
  """The k entries of highest score, zeros elsewhere."""
  _, ids = jax.lax.top_k(score, k)
  return jnp.zeros_like(flat).at[ids].set(flat[ids])


def _relative(x: chex.Array) -> tuple[chex.Array, chex.Array, chex.Array]:
  """A message over its largest magnitude; that over a power of two; the power.

  By way of the power, because the inverse of a large number is none of the
  dtype.
  """
  power = trees.power_of_two(jnp.max(jnp.abs(x)))
  y = x * (1 / power)
  largest = jnp.max(jnp.abs(y))
  return y / jnp.where(largest > 0, largest, 1), largest, power


def omega(size: int, levels: int) -> float:
  """Relative variance of stochastic quantization at most."""
  return min(size / levels**2, math.sqrt(size) / levels)
