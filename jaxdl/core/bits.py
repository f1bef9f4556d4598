# SPDX-License-Identifier: Apache-2.0
"""Numbers as integers of the same order, and a sort of a vector by them."""

import chex
import jax
import jax.numpy as jnp

# Sorted as pairs, whose program is smaller.
_FEW = 1024
# Exchanges of neighbors before all bits are sorted by.
_TURNS = 12


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

  On CPU, more than 1024 entries of 32 bits at most are packed into integers,
  their place beside as many bits as fit of where they lie between the extremes.
  XLA sorts such integers four times as fast as pairs; the few that share those
  bits are put right by exchanges of neighbors, or many by passes over all bits
  (12 800 entries: 3.0 ms as pairs, 1.4 in passes, 0.85 with exchanges, 2.8
  where they do not suffice).

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
  order, own = _packed(keys, x)
  order, own = _exchanged(order, own)
  return jax.lax.cond(
    jnp.any(own[:-1] > own[1:]), _in_passes, lambda keys: order, keys
  )


def _place_bits(n):
  return (n - 1).bit_length()


def _packed(keys, x):
  """An order by leading bits of the entries, equal ones by place."""
  n = keys.shape[0]
  width = _place_bits(n)
  most = (1 << (32 - width)) - 1
  low, high = jnp.min(keys), jnp.max(keys)
  if jnp.issubdtype(x.dtype, jnp.floating):
    value = lambda k: of_ordered_bits(k, jnp.float32)
    scale = most / (value(high) - value(low))
    # Rounding keeps the order. Where nothing fits, all bits are equal.
    part = jnp.where(
      jnp.isfinite(scale) & jnp.isfinite(value(low)),
      (value(keys) - value(low)) * scale,
      0.0,
    )
    digit = jnp.clip(part, 0, most).astype(jnp.uint32)
  else:
    apart = lambda k: k.astype(jnp.uint32) - low.astype(jnp.uint32)
    length = 32 - jax.lax.clz(apart(high)).astype(jnp.int32)
    shift = jnp.maximum(length - (32 - width), 0).astype(jnp.uint32)
    digit = apart(keys) >> shift
  places = jnp.arange(n, dtype=jnp.uint32)
  packed = jax.lax.sort((digit << width) | places, is_stable=False)
  order = (packed & jnp.uint32((1 << width) - 1)).astype(jnp.int32)
  return order, keys[order]


def _exchanged(order, own):
  """Exchanges neighbors that are out of order, for so many turns at most."""
  n = order.shape[0]
  if n % 2:  # The largest number stays last.
    order = jnp.append(order, n)
    own = jnp.append(own, jnp.iinfo(own.dtype).max)

  def exchange(pair):
    """Pairs of entries 0 and 1, 2 and 3, ..."""
    order, own = (x.reshape(-1, 2) for x in pair)
    wrong = own[:, 0] > own[:, 1]
    turned = lambda x: jnp.stack(
      [
        jnp.where(wrong, x[:, 1], x[:, 0]),
        jnp.where(wrong, x[:, 0], x[:, 1]),
      ],
      axis=1,
    ).reshape(-1)
    return turned(order), turned(own)

  def turn(carry):
    pair, left = carry
    pair = exchange(pair)
    inner = exchange([x[1:-1] for x in pair])
    pair = tuple(
      jnp.concatenate([x[:1], y, x[-1:]])
      for x, y in zip(pair, inner, strict=True)
    )
    return pair, left - 1

  def unsettled(carry):
    (_, own), left = carry
    return (left > 0) & jnp.any(own[:-1] > own[1:])

  order, own = jax.lax.while_loop(unsettled, turn, ((order, own), _TURNS))[0]
  return order[:n], own[:n]


def _in_passes(keys):
  """Least significant bits first, as many as fit beside a place."""
  n = keys.shape[0]
  width = _place_bits(n)
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
