# SPDX-License-Identifier: Apache-2.0
"""Compressors of whole messages: fewer entries, or fewer bits per entry."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees

COMPRESSORS = ('identity', 'top_k', 'random_k', 'qsgd', 'sign')

_NORM_BITS = 32


class Compressor(NamedTuple):
  """What a client does to a message before it sends it, leaf by leaf.

  Attributes:
    compress: `compress(key, tree) -> tree`, what the receivers decode: same
      structure, shapes and dtypes. Consumes the key; this is the `compress`
      that `decentralized.choco_sgd` and `decentralized.gossip_sgd` take.
    bits: `bits(tree) -> int`, size of a message of this form on the wire; only
      shapes and dtypes count, so abstract leaves do.
    delta: `delta(tree) -> float`, guaranteed δ in E|C(x) - x|² <= (1 - δ)|x|²
      for messages of this form. In (0, 1] for contractions; an unbiased
      compressor is none where it is not positive.
    unbiased: whether E C(x) = x.
    name: which of `COMPRESSORS` it is.
  """

  compress: Callable[[chex.PRNGKey, chex.ArrayTree], chex.ArrayTree]
  bits: Callable[[chex.ArrayTree], int]
  delta: Callable[[chex.ArrayTree], float]
  unbiased: bool
  name: str


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
  flat = _floating(x).reshape(-1)
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
  flat = _floating(x).reshape(-1)
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
  x = _floating(x)
  if not x.size:
    return x
  wide = x.astype(trees.accumulator(x.dtype))
  # Relative to the largest entry, squares neither overflow nor vanish.
  largest = jnp.max(jnp.abs(wide))
  unit = wide / jnp.where(largest > 0, largest, 1.0)
  length = jnp.maximum(jnp.sqrt(jnp.sum(unit * unit)), 1.0)
  draw = jax.random.uniform(key, x.shape, wide.dtype)
  exact = jnp.abs(unit) * (levels / length)
  below = jnp.floor(exact)
  # Not floor(exact + draw), which may round up from a level that is met.
  level = below + (draw >= 1 - (exact - below))
  scale = 1.0 if unbiased else 1.0 / (1.0 + _omega(x.size, levels))
  step = length * (scale / levels)
  return (jnp.sign(unit) * level * step * largest).astype(x.dtype)


def scaled_sign(x: chex.Array) -> chex.Array:
  """Sends signs and the mean magnitude: C(x) = (|x|₁ / D) sign(x).

  |C(x) - x|² = |x|² - |x|₁² / D, so δ = |x|₁² / (D |x|²), which is at least
  1 / D and 2 / π for Gaussian entries. Biased. Zeros count as positive, so
  that a sign is one bit; a zero message stays zero.

  Args:
    x: f[...], D entries.

  Returns:
    Same shape and dtype.

  Raises:
    TypeError: if x is not floating point.

  Example:
    >>> scaled_sign(jnp.array([1.0, -3.0]))
    Array([ 2., -2.], dtype=float32)

  Source: Karimireddy et al. 2019 (https://arxiv.org/abs/1901.09847), lemma 8.
  """
  x = _floating(x)
  if not x.size:
    return x
  size = jnp.abs(x.astype(trees.accumulator(x.dtype)))
  unit = trees.power_of_two(jnp.max(size))  # Sums of units stay finite.
  mean = jnp.mean(size / unit) * unit
  return jnp.where(x < 0, -mean, mean).astype(x.dtype)


def make_compressor(
  name: str,
  *,
  keep: float = 0.1,
  num_levels: int = 127,
  unbiased: bool = False,
) -> Compressor:
  """Builds a compressor of message trees.

  Every leaf is compressed on its own, D being its size. Bits per leaf of b-bit
  numbers, without headers:

  - `identity`: D b; δ = 1.
  - `top_k`: k b and the places, which are the shorter of k indices and one bit
    per entry; δ = k / D.
  - `random_k`: k b, the places follow from the key that all share; δ = k / D,
    unbiased 2 - D / k.
  - `qsgd`: 32 for the norm and D ⌈log₂(2 s + 1)⌉; δ = 1 / (1 + ω), unbiased
    1 - ω, see `stochastic_quantize`.
  - `sign`: 32 for the scale and D; δ = 1 / D at worst, see `scaled_sign`.

  k is `keep` times D, rounded, and at least one. The δ of a tree is that of its
  worst leaf.

  Args:
    name: one of `COMPRESSORS` (static).
    keep: share of the entries that `top_k` and `random_k` keep, in (0, 1]
      (static).
    num_levels: s >= 1 of `qsgd`; 127 takes a byte per entry (static).
    unbiased: whether `random_k` and `qsgd` are right on average instead of
      contractions (static).

  Returns:
    The compressor.

  Raises:
    ValueError: if the name is unknown, a number out of range, or `unbiased` is
      asked of a compressor that is biased.

  Example:
    >>> model = {'w': jnp.ones((64, 32)), 'b': jnp.zeros(32)}
    >>> small = make_compressor('top_k', keep=0.01)
    >>> small.bits(model), make_compressor('identity').bits(model)
    (897, 66560)
    >>> sent = small.compress(jax.random.key(0), model)
    >>> int((sent['w'] != 0).sum())
    20
  """
  checks.choice(name, COMPRESSORS, name='compressor')
  checks.number(keep, name='keep', low=0.0, high=1.0, open_low=True)
  levels = checks.integer(num_levels, name='num_levels', low=1)
  if unbiased and name in ('top_k', 'sign'):
    raise ValueError(
      f'{name} is biased: unbiased=True needs random_k, qsgd or identity.'
    )
  kept = lambda size: max(1, round(keep * size))

  def leaf(key, x):
    if not x.size or name == 'identity':
      return x
    if name == 'top_k':
      return top_k(x, num_kept=kept(x.size))
    if name == 'random_k':
      return random_k(x, num_kept=kept(x.size), key=key, unbiased=unbiased)
    if name == 'qsgd':
      return stochastic_quantize(
        x, num_levels=levels, key=key, unbiased=unbiased
      )
    return scaled_sign(x)

  def leaf_bits(x):
    size, width = _form(x)
    if not size:
      return 0
    if name == 'identity':
      return size * width
    if name == 'sign':
      return _NORM_BITS + size
    if name == 'qsgd':
      return _NORM_BITS + size * math.ceil(math.log2(2 * levels + 1))
    k = kept(size)
    places = 0
    if name == 'top_k' and k < size:
      places = min(k * math.ceil(math.log2(size)), size)
    return k * width + places

  def leaf_delta(x):
    size, _ = _form(x)
    if not size or name == 'identity':
      return 1.0
    if name == 'sign':
      return 1.0 / size
    if name == 'qsgd':
      omega = _omega(size, levels)
      return 1.0 - omega if unbiased else 1.0 / (1.0 + omega)
    k = kept(size)
    return 2.0 - size / k if unbiased else k / size

  def compress(key, tree):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves)) if leaves else ()
    sent = [leaf(k, _floating(x)) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, sent)

  return Compressor(
    compress,
    lambda tree: sum(map(leaf_bits, jax.tree.leaves(tree))),
    lambda tree: min(map(leaf_delta, jax.tree.leaves(tree)), default=1.0),
    unbiased or name == 'identity',
    name,
  )


def _floating(x: Any) -> chex.Array:
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


def _omega(size: int, levels: int) -> float:
  """Relative variance of stochastic quantisation at most."""
  return min(size / levels**2, math.sqrt(size) / levels)


def _form(x: Any) -> tuple[int, int]:
  """Number of entries and bits of each."""
  dtype = np.dtype(getattr(x, 'dtype', np.float32))
  return math.prod(np.shape(x)), 8 * dtype.itemsize
