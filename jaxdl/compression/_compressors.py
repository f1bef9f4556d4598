# SPDX-License-Identifier: Apache-2.0
"""Compressors of whole messages, by name."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.compression import _arrays, _rotations, _scalar
from jaxdl.core import checks, registry, trees

_NORM_BITS = 32
# Relative error of codes of single numbers: half a step.
_CODE_ERRORS = {
  'log_int8': math.expm1(1 / 16),
  'log9': math.expm1(1 / 32),
  'float32': 0.0,
}


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


def _leafwise(
  name: str,
  send: Callable[[chex.PRNGKey, chex.Array], chex.Array],
  *,
  bits: Callable[[int, int], int],
  delta: Callable[[int], float],
  unbiased: bool,
) -> Compressor:
  """Compresses every leaf on its own.

  Args:
    name: of the compressor.
    send: `send(key, x) -> x` of an array that is not empty.
    bits: `bits(size, width)` of such an array, its entries of `width` bits.
    delta: `delta(size)` of such an array.
    unbiased: whether E C(x) = x.

  Returns:
    The compressor.
  """

  def compress(key, tree):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves)) if leaves else ()
    arrays = [_arrays.floating(x) for x in leaves]
    sent = [
      send(k, x) if x.size else x for k, x in zip(keys, arrays, strict=True)
    ]
    return jax.tree.unflatten(structure, sent)

  def all_bits(tree):
    forms = map(form, jax.tree.leaves(tree))
    return sum(bits(size, width) for size, width in forms if size)

  def worst_delta(tree):
    forms = map(form, jax.tree.leaves(tree))
    return min((delta(size) for size, _ in forms if size), default=1.0)

  return Compressor(compress, all_bits, worst_delta, unbiased, name)


def _kept(keep: float) -> Callable[[int], int]:
  """Entries kept of so many."""
  checks.number(keep, name='keep', low=0.0, high=1.0, open_low=True)
  return lambda size: max(1, round(keep * size))


def _identity() -> Compressor:
  """Sends all: D b bits; δ = 1."""
  return _leafwise(
    'identity',
    lambda key, x: x,
    bits=lambda size, width: size * width,
    delta=lambda size: 1.0,
    unbiased=True,
  )


def _top_k(*, keep: float = 0.1) -> Compressor:
  """Sends the largest entries and their places.

  k b bits and the places, which are the shorter of k indices and one bit per
  entry; δ = k / D.
  """
  kept = _kept(keep)

  def bits(size, width):
    k = kept(size)
    places = k * math.ceil(math.log2(size)) if k < size else 0
    return k * width + min(places, size)

  return _leafwise(
    'top_k',
    lambda key, x: _arrays.top_k(x, num_kept=kept(x.size)),
    bits=bits,
    delta=lambda size: kept(size) / size,
    unbiased=False,
  )


def _random_k(*, keep: float = 0.1, unbiased: bool = False) -> Compressor:
  """Sends entries at random places, which follow from the key that all share.

  k b bits; δ = k / D, unbiased 2 - D / k.
  """
  kept = _kept(keep)
  unbiased = _switch(unbiased)
  return _leafwise(
    'random_k',
    lambda key, x: _arrays.random_k(
      x, num_kept=kept(x.size), key=key, unbiased=unbiased
    ),
    bits=lambda size, width: kept(size) * width,
    delta=lambda size: (
      2.0 - size / kept(size) if unbiased else kept(size) / size
    ),
    unbiased=unbiased,
  )


def _qsgd(*, num_levels: int = 127, unbiased: bool = False) -> Compressor:
  """Rounds entries at random to levels.

  32 bits for the norm and D ⌈log₂(2 s + 1)⌉; δ = 1 / (1 + ω), unbiased 1 - ω,
  see `stochastic_quantize`.
  """
  levels = checks.integer(num_levels, name='num_levels', low=1)
  unbiased = _switch(unbiased)

  def delta(size):
    omega = _arrays.omega(size, levels)
    return 1.0 - omega if unbiased else 1.0 / (1.0 + omega)

  each = math.ceil(math.log2(2 * levels + 1))
  return _leafwise(
    'qsgd',
    lambda key, x: _arrays.stochastic_quantize(
      x, num_levels=levels, key=key, unbiased=unbiased
    ),
    bits=lambda size, width: _NORM_BITS + size * each,
    delta=delta,
    unbiased=unbiased,
  )


def _sign(*, keep_zeros: bool = False) -> Compressor:
  """Sends signs and one scale: 32 + D bits; δ = 1 / D at worst.

  Zeros count as positive unless they are kept, at 2 D bits.
  """
  keep_zeros = _switch(keep_zeros, 'keep_zeros')
  return _leafwise(
    'sign',
    lambda key, x: _arrays.scaled_sign(x, keep_zeros=keep_zeros),
    bits=lambda size, width: _NORM_BITS + size * (2 if keep_zeros else 1),
    delta=lambda size: 1.0 / size,
    unbiased=False,
  )


def _terngrad() -> Compressor:
  """Sends a sign or nothing at random: 32 + 2 D bits; δ = (3 - √D) / 2."""
  return _leafwise(
    'terngrad',
    lambda key, x: _arrays.ternary_quantize(x, key=key),
    bits=lambda size, width: _NORM_BITS + 2 * size,
    delta=lambda size: (3.0 - math.sqrt(size)) / 2,
    unbiased=True,
  )


def _uniform(*, num_levels: int = 256, rotate: bool = False) -> Compressor:
  """Rounds entries at random to L levels from the least to the largest.

  ⌈D log₂ L⌉ + 64 bits; δ = 1 - (D - 2) / (2 (L - 1)²). After a random rotation
  of P >= D entries, a power of two, δ = 1 - (2 + 2 ln P) / (L - 1)² if that is
  more.
  """
  levels = checks.integer(num_levels, name='num_levels', low=2)
  rotate = _switch(rotate, 'rotate')
  sent_size = _rotations.padded_size if rotate else lambda size: size

  def send(key, x):
    if not rotate:
      return _arrays.uniform_quantize(x, num_levels=levels, key=key)
    turn, draw = jax.random.split(key)
    y = _rotations.rotate(x, key=turn)
    y = _arrays.uniform_quantize(y, num_levels=levels, key=draw)
    return _rotations.rotate_back(y, key=turn, like=x)

  def delta(size):
    entries = sent_size(size)
    worst = max(entries - 2, 0) / 2
    if rotate:
      worst = min(worst, 2 + 2 * math.log(entries))
    return 1.0 - worst / (levels - 1) ** 2

  return _leafwise(
    'uniform',
    send,
    bits=lambda size, width: (
      2 * _NORM_BITS + _digits_bits(sent_size(size), levels)
    ),
    delta=delta,
    unbiased=True,
  )


def _drive(*, scale: str = 'projection') -> Compressor:
  """Sends the signs of a rotated message and one scale: 32 + P bits.

  P >= D is a power of two. δ = 1 / 2 with scale=nearest and 2 - P at worst with
  scale=projection, which nearly is unbiased, see `rotated_sign`.
  """
  checks.choice(scale, _rotations.SCALES, name='scale')

  def delta(size):
    entries = _rotations.padded_size(size)
    if entries == 1:
      return 1.0
    return 0.5 if scale == 'nearest' else 2.0 - entries

  return _leafwise(
    'drive',
    lambda key, x: _rotations.rotated_sign(x, key=key, scale=scale),
    bits=lambda size, width: _NORM_BITS + _rotations.padded_size(size),
    delta=delta,
    unbiased=False,
  )


def _slopes(*, num_directions: int = 16, codec: str = 'log_int8') -> Compressor:
  """Sends slopes along random directions, a byte each.

  The norm and S codes of the unit vector's slopes; the directions follow from
  the key, which all share. 32 + 8 S bits; δ = (1 - 4 r - r²) S / (S + D + 1), r
  being the relative error of a code. What one-byte training sends of a
  gradient, of any message.
  """
  count = checks.integer(num_directions, name='num_directions', low=1)
  checks.choice(codec, tuple(_CODE_ERRORS), name='codec')
  code, error = _scalar.make_codec(codec), _CODE_ERRORS[codec]

  def send(key, x):
    y = x.astype(trees.accumulator(x.dtype))
    norm = trees.global_norm(y)
    unit = y / jnp.where(norm > 0, norm, 1.0)

    def add(total, key):
      z = jax.random.normal(key, y.shape, y.dtype)
      back = code.decode(code.encode(jnp.sum(unit * z)))
      return total + back.astype(y.dtype) * z, None

    keys = jax.random.split(key, count)
    total, _ = jax.lax.scan(add, jnp.zeros_like(y), keys)
    return (total * (norm / (count + x.size + 1))).astype(x.dtype)

  def delta(size):
    return (1 - 4 * error - error**2) * count / (count + size + 1)

  return _leafwise(
    'slopes',
    send,
    bits=lambda size, width: _NORM_BITS + count * code.bits,
    delta=delta,
    unbiased=False,
  )


def _digits_bits(size: int, levels: int) -> int:
  """Bits of so many digits of base `levels`, written as one number."""
  exact = size * (levels - 1).bit_length()
  return (
    exact if levels & (levels - 1) == 0 else math.ceil(size * math.log2(levels))
  )


def _switch(value: Any, name: str = 'unbiased') -> bool:
  if not isinstance(value, (bool, np.bool_)):
    raise TypeError(
      f'{name} must be True or False; got {checks.described(value)}.'
    )
  return bool(value)


COMPRESSORS = registry.Registry(
  'compressor',
  {
    'identity': _identity,
    'top_k': _top_k,
    'random_k': _random_k,
    'qsgd': _qsgd,
    'sign': _sign,
    'terngrad': _terngrad,
    'uniform': _uniform,
    'drive': _drive,
    'slopes': _slopes,
  },
)


def make_compressor(spec: str) -> Compressor:
  """Builds a compressor of message trees.

  Every leaf is compressed on its own, D being its size. Bits per leaf of b-bit
  numbers, without headers:

  - `identity`: D b; δ = 1.
  - `top_k(keep)`: k b and the places, which are the shorter of k indices and
    one bit per entry; δ = k / D.
  - `random_k(keep, unbiased)`: k b, the places follow from the key that all
    share; δ = k / D, unbiased 2 - D / k.
  - `qsgd(num_levels, unbiased)`: 32 for the norm and D ⌈log₂(2 s + 1)⌉;
    δ = 1 / (1 + ω), unbiased 1 - ω, see `stochastic_quantize`. 127 levels take
    a byte per entry.
  - `sign(keep_zeros)`: 32 for the scale and D; δ = 1 / D at worst, see
    `scaled_sign`. 2 D if zeros are kept.
  - `terngrad`: 32 for the scale and 2 D; unbiased, δ = (3 - √D) / 2, see
    `ternary_quantize`.
  - `uniform(num_levels, rotate)`: 64 for the ends and ⌈D log₂ L⌉; unbiased,
    δ = 1 - (D - 2) / (2 (L - 1)²), see `uniform_quantize`. After a random
    rotation, see `rotate`, with P, the least power of two from D, in place of
    D, and δ at least 1 - (2 + 2 ln P) / (L - 1)².
  - `drive(scale)`: 32 for the scale and P; δ = 1 / 2 with scale=nearest, see
    `rotated_sign`, 2 - P at worst with scale=projection.

  k is `keep` times D, rounded, and at least one. The δ of a tree is that of its
  worst leaf. `unbiased` is right on average instead of a contraction.

  Args:
    spec: a part of `COMPRESSORS` with its options (static).

  Returns:
    The compressor.

  Raises:
    ValueError: if the name or an option is unknown, or a number out of range.

  Example:
    >>> import jax.numpy as jnp
    >>> model = {'w': jnp.ones((64, 32)), 'b': jnp.zeros(32)}
    >>> small = make_compressor('top_k(keep=0.01)')
    >>> small.bits(model), make_compressor('identity').bits(model)
    (897, 66560)
    >>> sent = small.compress(jax.random.key(0), model)
    >>> int((sent['w'] != 0).sum())
    20
  """
  return COMPRESSORS.make(spec)


def form(x: Any) -> tuple[int, int]:
  """Number of entries and bits of each.

  Args:
    x: an array, or its shape and dtype.

  Returns:
    Both as ints.
  """
  dtype = np.dtype(getattr(x, 'dtype', np.float32))
  return math.prod(np.shape(x)), 8 * dtype.itemsize
