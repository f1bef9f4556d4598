# SPDX-License-Identifier: Apache-2.0
"""Numbers as integers of the same order, and a sort of a vector by them."""

import chex
import jax
import jax.numpy as jnp

# Sorted as pairs, whose program is smaller.
_FEW = 1024


def ordered_bits(values: chex.Array) -> chex.Array:
  """Maps numbers to signed integers in the same order.

  Args:
    values: f32 or f64[...].

  Returns:
    i32 or i64[...]: numbers below the smallest normal one, and zeros of both
    signs, are equal, NaN is the largest.

  Example:
    >>> ordered_bits(jnp.array([-1.0, 0.0])).tolist()
    [-1065353217, 0]
  """
  bits = jnp.finfo(values.dtype).bits
  whole = jnp.int32 if bits == 32 else jnp.int64
  of = lambda x: jax.lax.bitcast_convert_type(jnp.asarray(x, dtype), whole)
  dtype, most = values.dtype, jnp.iinfo(whole).max
  raw = of(values)
  size = raw & most
  # Told by their bits, so that every device agrees on them.
  raw = jnp.where(size < of(jnp.finfo(dtype).tiny), 0, raw)
  raw = jnp.where(size > of(jnp.inf), of(jnp.nan), raw)
  return jnp.where(raw < 0, raw ^ most, raw)


def of_ordered_bits(
  keys: chex.Array, dtype: jax.typing.DTypeLike
) -> chex.Array:
  """Maps what `ordered_bits` gave back to numbers.

  Args:
    keys: i32 or i64[...].
    dtype: f32 or f64, as wide.

  Returns:
    [...] of that dtype.
  """
  raw = jnp.where(keys < 0, keys ^ jnp.iinfo(keys.dtype).max, keys)
  return jax.lax.bitcast_convert_type(raw, dtype)


def argsort(x: chex.Array) -> chex.Array:
  """Sorts a vector, ascending; equal entries keep their order, NaN is last.

  On CPU, more than 1024 entries of 32 bits at most are sorted in passes: each
  packs as many bits of an entry as fit beside its place into one integer. XLA
  sorts such integers four times as fast as pairs (12 800 entries, two passes:
  1.5 against 3.0 ms).

  Args:
    x: f[n] or an integer dtype of 32 bits at most.

  Returns:
    i32[n].

  Raises:
    ValueError: if it is no vector.

  Example:
    >>> argsort(jnp.array([2.0, -1.0, 2.0, 0.0])).tolist()
    [1, 3, 0, 2]
  """
  if jnp.ndim(x) != 1:
    raise ValueError(f'x must be a vector [n]; got shape {jnp.shape(x)}.')
  x = jnp.asarray(x)
  if jnp.issubdtype(x.dtype, jnp.floating):
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    keys = ordered_bits(x)
  else:
    keys = x.astype(jnp.int32) if x.dtype.itemsize < 4 else x
  n = x.shape[0]
  small = keys.dtype == jnp.int32 and _FEW < n <= 1 << 24
  if jax.default_backend() != 'cpu' or not small:
    return jnp.argsort(keys, stable=True).astype(jnp.int32)
  width = (n - 1).bit_length()
  digits = 32 - width
  unsigned = keys.astype(jnp.uint32) ^ jnp.uint32(1 << 31)
  places = jnp.arange(n, dtype=jnp.uint32)
  order = places
  for start in range(0, 32, digits):
    own = unsigned if start == 0 else unsigned[order]
    digit = (own >> start) & jnp.uint32((1 << digits) - 1)
    packed = jax.lax.sort((digit << width) | places, is_stable=False)
    found = packed & jnp.uint32((1 << width) - 1)
    order = found if start == 0 else order[found]
  return order.astype(jnp.int32)
