# SPDX-License-Identifier: Apache-2.0
"""Codes for single numbers: what is sent when a gradient is one scalar."""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry


class ScalarCodec(NamedTuple):
  """A code for real numbers, elementwise.

  Attributes:
    encode: `encode(x: f[...], *, key=None) -> code[...]`. What is not finite
      becomes 0.0; with a key (consumed) codes that can round at random do, so
      that the decoded value is right on average.
    decode: `decode(code[...]) -> f32[...]`, the same bits on every platform.
    bits: size of one code on the wire.
    dtype: of the codes in memory.
    name: which of `SCALAR_CODECS` it is.
  """

  encode: Callable[..., chex.Array]
  decode: Callable[[chex.Array], chex.Array]
  bits: int
  dtype: np.dtype
  name: str


def _float32() -> ScalarCodec:
  """The number itself, 32 bits."""

  def encode(x, *, key=None):
    del key
    return _finite(x).astype(jnp.float32)

  return ScalarCodec(
    encode, lambda code: code, 32, np.dtype(np.float32), 'float32'
  )


def _log_int8(*, base: float = 8.0) -> ScalarCodec:
  """A sign and k in 1..127 stand for ±exp((k - 64) / base), 8 bits."""
  return _logarithmic('log_int8', base, low=-63, high=63, bits=8, dtype=np.int8)


def _log9(*, base: float = 16.0) -> ScalarCodec:
  """±exp(p / base) with p in -127..127, nine bits held in int16."""
  return _logarithmic('log9', base, low=-127, high=127, bits=9, dtype=np.int16)


def _logarithmic(name, base, *, low, high, bits, dtype):
  checks.number(base, name='base', low=0.0, open_low=True)
  with np.errstate(over='ignore'):
    sizes = np.exp(np.arange(low, high + 1) / float(base))
    values = np.concatenate([-sizes[::-1], [0.0], sizes]).astype(np.float32)
  most, middle = len(sizes), 1 - low

  def nearest(x):
    size = jnp.round(base * jnp.log(jnp.abs(x))) + middle
    return jnp.where(x == 0, 0.0, jnp.sign(x) * jnp.clip(size, 1, most))

  if not np.all(np.isfinite(values)) or not np.all(np.diff(values) > 0):
    raise ValueError(
      f'base={base} gives codes that float32 cannot tell apart or hold: use '
      'one between 1 and 1e5.'
    )
  return _tabulated(name, values, nearest, bits=bits, dtype=dtype)


def _linear_int8(*, scale: float = 1.0) -> ScalarCodec:
  """`scale` q / 127 with q in -127..127, 8 bits."""
  _check_scale(scale)
  values = (scale * np.arange(-127, 128) / 127).astype(np.float32)
  nearest = lambda x: jnp.clip(jnp.round(x / scale * 127), -127, 127)
  return _tabulated('linear_int8', values, nearest, bits=8, dtype=np.int8)


def _sign(*, scale: float = 1.0) -> ScalarCodec:
  """-scale, 0 or scale, two bits held in int8."""
  _check_scale(scale)
  values = np.array([-scale, 0.0, scale], np.float32)
  return _tabulated(
    'sign', values, jnp.sign, bits=2, dtype=np.int8, rounds=False
  )


def _check_scale(scale):
  checks.number(scale, name='scale', low=0.0, open_low=True)
  if not math.isfinite(scale):
    raise ValueError(f'scale must be finite; got {scale}.')


def _tabulated(
  name: str,
  values: np.ndarray,
  nearest: Callable[[chex.Array], chex.Array],
  *,
  bits: int,
  dtype: type,
  rounds: bool = True,
) -> ScalarCodec:
  """A code that a table decodes.

  A table decodes to the same bits wherever it is used; `exp` would not.

  Args:
    name: of the code.
    values: all in increasing order, f32[2 most + 1], rounded on the host.
    nearest: code of a finite number, not yet of its dtype.
    bits: of one code.
    dtype: of the codes.
    rounds: whether a key makes it round at random.

  Returns:
    The code.
  """
  most = len(values) // 2

  def encode(x, *, key=None):
    x = _finite(x)
    if key is None or not rounds:
      return nearest(x).astype(dtype)
    return _between(key, x, jnp.asarray(values)).astype(dtype)

  def decode(code):
    code = jnp.asarray(code)
    if not jnp.issubdtype(code.dtype, jnp.integer):
      raise TypeError(f'codes of {name} are integers; got {code.dtype}.')
    # No such code as -128 is ever sent; it would mean nothing.
    index = jnp.clip(code.astype(jnp.int32), -most, most) + most
    return jnp.asarray(values)[index]

  return ScalarCodec(encode, decode, bits, np.dtype(dtype), name)


SCALAR_CODECS = registry.Registry(
  'codec',
  {
    'float32': _float32,
    'log_int8': _log_int8,
    'log9': _log9,
    'linear_int8': _linear_int8,
    'sign': _sign,
  },
)


def make_codec(spec: str = 'log_int8') -> ScalarCodec:
  """Builds a code for single numbers.

  Zero is coded exactly, codes are odd (`encode(-x) = -encode(x)`) and monotone,
  and `encode(decode(q)) = q`. Magnitudes outside the range become its nearest
  end; numbers half way between two codes go to the even one.

  - `float32`: the number itself, 32 bits.
  - `log_int8(base)`: a sign and k in 1..127 stand for `±exp((k - 64) / base)`,
    8 bits; with base 8 that is 3.8e-4 to 2.6e3 within 6.5 %. In general a
    magnitude inside the range is off by at most `exp(1 / (2 base)) - 1`.
  - `log9(base)`: `±exp(p / base)` with p in -127..127, base 16 unless given;
    nine bits, held in int16, and within 3.2 % from 3.6e-4 to 2.8e3.
  - `linear_int8(scale)`: `scale q / 127` with q in -127..127, 8 bits; all
    senders share the scale.
  - `sign(scale)`: -scale, 0 or scale, two bits held in int8.

  Args:
    spec: a part of `SCALAR_CODECS` with its options (static).

  Returns:
    The code.

  Raises:
    ValueError: if the name or an option is unknown, or a number out of range.

  Example:
    >>> codec = make_codec('log_int8(base=8)')
    >>> code = codec.encode(jnp.array([0.0, 0.5, -2.0, jnp.nan]))
    >>> code
    Array([  0,  58, -70,   0], dtype=int8)
    >>> [f'{x:.3f}' for x in codec.decode(code)]
    ['0.000', '0.472', '-2.117', '0.000']

  Source: Zelikman et al. 2023 (https://arxiv.org/abs/2306.10015), code. Theirs
    is `log9` without a code for zero, and is decoded by the sender only.
  """
  return SCALAR_CODECS.make(spec)


def _finite(x: chex.Array) -> chex.Array:
  x = jnp.asarray(x)
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise TypeError(f'numbers to encode must be floating point; got {x.dtype}.')
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return jnp.where(jnp.isfinite(x), x, 0.0)


def _between(
  key: chex.PRNGKey, x: chex.Array, values: chex.Array
) -> chex.Array:
  """One of the two codes around x at random, right on average."""
  most = len(values) // 2
  # On magnitudes, which keeps the code odd for a given draw.
  sizes = values[most:]
  size = jnp.minimum(jnp.abs(x).astype(jnp.float32), sizes[-1])
  below = jnp.clip(jnp.searchsorted(sizes, size, side='right') - 1, 0, most - 1)
  low, high = sizes[below], sizes[below + 1]
  up = jax.random.uniform(key, jnp.shape(x)) * (high - low) < size - low
  return jnp.sign(x) * (below + up)
