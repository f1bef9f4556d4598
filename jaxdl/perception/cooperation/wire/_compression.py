# SPDX-License-Identifier: Apache-2.0
"""Fewer bits for what is sent: levels on the device, zlib on the host."""

import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry, trees

MODES = ('lossless', 'lossy')


class Codec(NamedTuple):
  """How maps are compressed.

  Attributes:
    transform: `transform(key, maps f[..., H, W]) -> maps`, what the receiver
      decodes; consumes the key. None where that is what was sent.
    bits: `bits(shape, width) -> float`, size of a message of so many entries of
      `width` bits; None where it hangs on the values.
    size: `size(array) -> bytes`, on the host; None where `bits` says it.
    per_channel: whether each channel is a message of its own; else all that one
      agent sends is one.
  """

  transform: Callable[[chex.PRNGKey, chex.Array], chex.Array] | None
  bits: Callable[[tuple[int, ...], int], float] | None
  size: Callable[[np.ndarray], int] | None
  per_channel: bool


def num_levels(factor: float) -> int:
  """Levels ℓ = max(2, ⌊256 / √factor⌋) of a compression factor.

  Args:
    factor: >= 1.

  Returns:
    ℓ.

  Raises:
    ValueError: if the factor is below 1.

  Example:
    >>> [num_levels(f) for f in (1, 4, 16, 32, 65536)]
    [256, 128, 64, 45, 2]
  """
  checks.number(factor, name='factor', low=1.0)
  return max(2, math.floor(256 / math.sqrt(factor)))


def quantize(x: chex.Array, factor: float) -> chex.Array:
  """Rounds to evenly spaced levels from the least to the largest entry.

  Twice is once. The error is at most (max - min) / (2 (ℓ - 1)).

  Args:
    x: f[...], all of it one message.
    factor: >= 1, see `num_levels` (static).

  Returns:
    Same shape and dtype; x itself if all entries are equal.

  Raises:
    ValueError: if the factor is below 1.

  Example:
    >>> quantize(jnp.array([0.0, 0.2, 0.9, 1.0]), 65536).tolist()
    [0.0, 0.0, 1.0, 1.0]

  Source: Mukhopadhyay et al. 2026 (https://arxiv.org/abs/2602.13287), official
  code.
  """
  last = num_levels(factor) - 1
  x = jnp.asarray(x)
  if not x.size:
    return x
  wide = x.astype(trees.accumulator(x.dtype))
  low, high = jnp.min(wide), jnp.max(wide)
  span = high - low
  level = jnp.round((wide - low) / jnp.where(span > 0, span, 1) * last)
  value = jnp.where(level >= last, high, low + span * (level / last))
  return jnp.where(span > 0, value, wide).astype(x.dtype)


def compress(x: Any, factor: float, mode: str) -> bytes:
  """Packs an array on the host.

  Args:
    x: f[...].
    factor: >= 1; of lossless, zlib's level is min(9, factor).
    mode: 'lossless', zlib on the array as it is; or 'lossy', a byte of level
      per entry, the ends, and zlib at level 9.

  Returns:
    The bytes; none of an empty array.

  Raises:
    ValueError: if the factor is below 1, the mode unknown, or an entry is not
      finite where levels are taken.
  """
  checks.number(factor, name='factor', low=1.0)
  checks.choice(mode, MODES, name='mode')
  array = np.asarray(x)
  if not array.size:
    return b''
  if mode == 'lossless':
    return zlib.compress(array.tobytes(), min(9, int(factor)))
  wide = array.astype(np.float64)
  checks.known(wide.ravel(), name='x')
  low, high = wide.min(), wide.max()
  ends = np.array([low, high], np.float32).tobytes()
  last = num_levels(factor) - 1
  level = np.rint((wide - low) / (high - low or 1.0) * last)
  return ends + zlib.compress(level.astype(np.uint8).tobytes(), 9)


def decompress(
  data: bytes, shape: tuple[int, ...], dtype: Any = np.float32
) -> np.ndarray:
  """Unpacks what `compress` packed without loss.

  Args:
    data: of mode 'lossless'.
    shape: of the array.
    dtype: likewise.

  Returns:
    The array.

  Raises:
    ValueError: if there are more or fewer bytes than the array takes, or they
      are damaged, or none of `compress`.

  Example:
    >>> x = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> decompress(compress(x, 4, 'lossless'), (2, 3)).tolist()
    [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
  """
  want = math.prod(shape) * np.dtype(dtype).itemsize
  machine = zlib.decompressobj()
  try:
    # No more than the array takes, whatever was sent.
    raw = machine.decompress(data, want + 1) if data else b''
  except zlib.error as error:
    raise ValueError(f'data is damaged: {error}.') from None
  whole = machine.eof and not machine.unused_data
  if len(raw) == want and data and not whole:
    raise ValueError('data is damaged: it ends too early, or too late.')
  if len(raw) != want:
    raise ValueError(
      f'data holds another number of bytes than the {want} of an array of '
      f'shape {tuple(shape)}.'
    )
  return np.frombuffer(raw, dtype).reshape(shape)


def compress_size(x: Any, factor: float, mode: str) -> int:
  """Bytes that an array takes on the wire.

  Args:
    x: f[...].
    factor: see `compress`.
    mode: likewise.

  Returns:
    Bytes; 0 of an empty array.

  Example:
    >>> compress_size(np.zeros((0, 4), np.float32), 4, 'lossy')
    0
  """
  return len(compress(x, factor, mode))


def _none() -> Codec:
  """Sends all entries as they are."""
  bits = lambda shape, width: float(math.prod(shape) * width)
  return Codec(None, bits, None, True)


def _lossless(*, factor: float = 1.0) -> Codec:
  """zlib, of level min(9, factor)."""
  checks.number(factor, name='factor', low=1.0)
  size = lambda x: compress_size(x, factor, 'lossless')
  return Codec(None, None, size, False)


def _lossy(*, factor: float = 4.0) -> Codec:
  """256 / √factor levels between the ends, then zlib."""
  num_levels(factor)
  size = lambda x: compress_size(x, factor, 'lossy')

  def transform(key, maps):
    del key
    # Gradients pass as if nothing were rounded.
    return maps + jax.lax.stop_gradient(quantize(maps, factor) - maps)

  return Codec(transform, None, size, False)


CODECS = registry.Registry(
  'compress',
  {'none': _none, 'lossless': _lossless, 'lossy': _lossy},
  tried={},
)
