# SPDX-License-Identifier: Apache-2.0
"""What the samplers and solvers share: value checks, interpolation, transforms.

Checks of values run eagerly on concrete arrays and raise `ValueError`; on
traced arrays they become `checkify.debug_check`, which costs nothing unless
the caller functionalises it.
"""

import functools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify


def is_traced(x: chex.ArrayTree) -> bool:
  """Returns whether any leaf is a tracer."""
  return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x))


def require(good: chex.Array, message: str) -> None:
  """Raises `ValueError(message)` unless `good` holds everywhere.

  Args:
    good: bool array, concrete (checked now) or traced (`debug_check`).
    message: the sentence to raise.
  """
  if is_traced(good):
    checkify.debug_check(jnp.all(good), message)
  elif not bool(np.all(np.asarray(good))):
    raise ValueError(message)


def floating(x: chex.Array, *, name: str, ndim: int) -> jax.Array:
  """Returns `x` as a floating-point array of the given rank.

  Args:
    x: array or nested sequence; integers are refused.
    name: the argument's name, for the message.
    ndim: required rank.

  Returns:
    The array, dtype kept.

  Raises:
    TypeError: if it is not real floating point.
    ValueError: if the rank differs.
  """
  x = jnp.asarray(x)
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise TypeError(
      f'{name} must be floating point; got {x.dtype}: cast it first.'
    )
  if x.ndim != ndim:
    raise ValueError(
      f'{name} must have rank {ndim}; got shape {x.shape}: '
      'solvers take one sample, use jax.vmap for a batch.'
    )
  return x


def points(x: chex.Array, *, name: str, low: int) -> None:
  """Checks that every axis of a grid function has at least `low` points."""
  if min(x.shape, default=0) < low:
    raise ValueError(
      f'{name} needs at least {low} points per axis; got shape {x.shape}.'
    )


def finite(x: chex.Array, *, name: str, hint: str = '') -> None:
  """Requires finite values, eagerly or as a debug check."""
  require(jnp.isfinite(x), f'{name} holds NaN or infinite values{hint}.')


def positive(x: chex.Array, *, name: str, why: str = '') -> None:
  """Requires values > 0, eagerly or as a debug check."""
  require(x > 0, f'{name} must be positive everywhere{why}.')


def accumulate(
  total: jax.Array, lost: jax.Array, change: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Adds to a running sum and carries what rounding loses (Kahan's sum).

  A step far below the spacing of floating-point numbers at `total` would be
  rounded the same way each time; many such steps then drift or stand still.

  Args:
    total: [...], the sum so far, real or complex.
    lost: [...], what is still to be added; zeros at the start.
    change: [...], the next term.

  Returns:
    The new `total` and `lost`.
  """
  change = change + lost
  fresh = total + change
  return fresh, jax.lax.stop_gradient(change - (fresh - total))


def midpoints(u: chex.Array) -> jax.Array:
  """Interpolates cell midpoints of a uniform grid by cubics.

  Args:
    u: f[T], samples on a uniform grid, T >= 4.

  Returns:
    f[T-1], values half-way, error O(h^4).
  """
  inner = (9 * (u[1:-2] + u[2:-1]) - u[:-3] - u[3:]) / 16
  first = (5 * u[0] + 15 * u[1] - 5 * u[2] + u[3]) / 16
  last = (5 * u[-1] + 15 * u[-2] - 5 * u[-3] + u[-4]) / 16
  return jnp.concatenate([first[None], inner, last[None]])


def interpolate(
  u: chex.Array, x: chex.Array, *, low: float = 0.0, high: float = 1.0
) -> jax.Array:
  """Evaluates the local cubic through the four nearest uniform samples.

  Args:
    u: f[P], samples on `linspace(low, high, P)`, P >= 4.
    x: f[...], query points; outside [low, high] the end cubic extrapolates.
    low: first grid point.
    high: last grid point.

  Returns:
    f[...], error O(h^4).

  Raises:
    TypeError: if `u` is not floating point.
    ValueError: if `u` has fewer than four points.

  Example:
    >>> grid = jnp.linspace(0.0, 1.0, 5)
    >>> print(interpolate(grid**3, jnp.array([0.3])).round(3))
    [0.027]
  """
  u = floating(u, name='u', ndim=1)
  points(u, name='u', low=4)
  position = (jnp.asarray(x, u.dtype) - low) * ((u.shape[0] - 1) / (high - low))
  left = jnp.clip(jnp.floor(position).astype(int) - 1, 0, u.shape[0] - 4)
  s = position - left
  weights = (
    -(s - 1) * (s - 2) * (s - 3) / 6,
    s * (s - 2) * (s - 3) / 2,
    -s * (s - 1) * (s - 3) / 2,
    s * (s - 1) * (s - 2) / 6,
  )
  return sum(w * u[left + i] for i, w in enumerate(weights))  # pyrefly: ignore


def fourier_resample(
  u: chex.Array, num: int, *, axes: Sequence[int] = (-1,)
) -> jax.Array:
  """Changes the resolution of periodic samples by cutting or padding modes.

  Args:
    u: f[...], samples without the repeated end point along `axes`.
    num: new number of points along each of `axes` (static).
    axes: periodic axes.

  Returns:
    f[...], exact for functions whose modes fit both grids; modes at or above
    the smaller grid's Nyquist frequency are dropped when sizes differ.

  Example:
    >>> x = jnp.arange(8) / 8
    >>> fine = fourier_resample(jnp.sin(2 * jnp.pi * x), 16)
    >>> bool(jnp.allclose(fine[::2], jnp.sin(2 * jnp.pi * x), atol=1e-6))
    True
  """
  if num < 1:
    raise ValueError(f'num must be at least 1; got {num}.')
  for axis in axes:
    size = u.shape[axis]
    if size == num:
      continue
    spectrum = jnp.moveaxis(jnp.fft.rfft(u, axis=axis), axis, -1)
    kept = (min(size, num) - 1) // 2 + 1
    spectrum = spectrum[..., :kept]
    width = [(0, 0)] * (u.ndim - 1) + [(0, num // 2 + 1 - kept)]
    fine = jnp.fft.irfft(jnp.pad(spectrum, width), n=num) * (num / size)
    u = jnp.moveaxis(fine, -1, axis).astype(u.dtype)
  return u


@functools.cache
def _sine_matrix(num: int) -> np.ndarray:
  i = np.arange(1, num + 1)
  return np.sqrt(2 / (num + 1)) * np.sin(
    np.pi * (i[:, None] * i[None]) / (num + 1)
  )


def sine_transform(x: chex.Array, axis: int) -> jax.Array:
  """Applies the orthonormal, symmetric sine transform (DST-I) on one axis.

  Dense product up to 160 points, FFT of the odd extension beyond.
  """
  num = x.shape[axis]
  if num <= 160:
    matrix = jnp.asarray(_sine_matrix(num), x.dtype)
    y = jnp.tensordot(x, matrix, axes=([axis], [0]), precision='highest')
    return jnp.moveaxis(y, -1, axis)
  y = jnp.moveaxis(x, axis, -1)
  zero = jnp.zeros_like(y[..., :1])
  odd = jnp.concatenate([zero, y, zero, -jnp.flip(y, -1)], axis=-1)
  y = -jnp.fft.rfft(odd).imag[..., 1 : num + 1] / np.sqrt(2 * (num + 1))
  return jnp.moveaxis(y.astype(x.dtype), -1, axis)


@functools.cache
def _cosine_matrix(num: int) -> np.ndarray:
  i = np.arange(num)
  return np.cos(np.pi * (i[:, None] * i[None]) / (num - 1))


def cosine_transform(x: chex.Array, axis: int) -> jax.Array:
  """Applies the vertex cosine transform (DCT-I, ends halved) on one axis.

  Maps samples on `linspace(0, 1, n)` to the coefficients of cos(k pi x);
  `cosine_values` goes back.
  """
  num = x.shape[axis]
  weights = np.full(num, 2.0 / (num - 1))
  weights[[0, -1]] = 1.0 / (num - 1)
  matrix = weights[:, None] * _cosine_matrix(num)
  matrix[:, [0, -1]] *= 0.5
  y = jnp.tensordot(
    x, jnp.asarray(matrix, x.dtype), axes=([axis], [0]), precision='highest'
  )
  return jnp.moveaxis(y, -1, axis)


def cosine_values(c: chex.Array, axis: int) -> jax.Array:
  """Evaluates cosine coefficients on the vertices: the inverse."""
  matrix = jnp.asarray(_cosine_matrix(c.shape[axis]), c.dtype)
  y = jnp.tensordot(c, matrix, axes=([axis], [0]), precision='highest')
  return jnp.moveaxis(y, -1, axis)
