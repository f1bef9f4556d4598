# SPDX-License-Identifier: Apache-2.0
"""Poisson's equation by fast transforms and a 1-D elliptic problem."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.pde import _grid as grid

BOUNDARIES = ('dirichlet', 'periodic', 'neumann')


def _symbol(num, boundary, scheme, length):
  """Eigenvalues of the 1-D operator -d^2/dx^2 on one axis."""
  if boundary == 'periodic':
    wave = 2 * np.pi * np.fft.fftfreq(num, 1 / num) / length
    h = length / num
  else:
    first = 1 if boundary == 'dirichlet' else 0
    count = num - 2 if boundary == 'dirichlet' else num
    wave = np.pi * (first + np.arange(count)) / length
    h = length / (num - 1)
  if scheme == 'spectral':
    return wave**2
  return (2 * np.sin(wave * h / 2) / h) ** 2


def _eigenvalues(shape, boundary, scheme, length):
  total = np.zeros(())
  for axis, num in enumerate(shape):
    symbol = _symbol(num, boundary, scheme, length)
    spread = [1] * len(shape)
    spread[axis] = symbol.size
    total = total + symbol.reshape(spread)
  return total


def solve_poisson(
  source: chex.Array,
  *,
  boundary: str = 'dirichlet',
  scheme: str = 'finite',
  screening: chex.Numeric = 0.0,
  length: float = 1.0,
) -> jax.Array:
  """Solves -Lap(u) + c u = f on a box by a fast sine, cosine or Fourier solve.

  Args:
    source: f[X], f[X, Y] or f[X, Y, Z]. Dirichlet and Neumann grids are
      `linspace(0, length, n)` per axis, ends included; a periodic grid is
      j length / n. Sizes may differ per axis.
    boundary: 'dirichlet' (u = 0), 'periodic' or 'neumann' (du/dn = 0), static.
    scheme: 'finite', the (2d+1)-point stencil, second order, or 'spectral'
      (static).
    screening: `c` >= 0; may be traced.
    length: side of the box, > 0 (static).

  Returns:
    Array of the same shape. Without screening, periodic and Neumann problems
    return the solution of mean zero.

  Raises:
    TypeError: if `source` is not floating point.
    ValueError: if an option is out of range, or f has a mean although the
      problem needs none.

  Cost: dense transforms up to 160 points per axis, FFTs beyond.

  Example:
    >>> u = solve_poisson(jnp.ones((33, 33)))
    >>> print(u[16, 16].round(5))
    0.07361
  """
  source = jnp.asarray(source)
  if not 1 <= source.ndim <= 3:
    raise ValueError(f'source must have 1 to 3 axes; got {source.shape}.')
  source = grid.floating(source, name='source', ndim=source.ndim)
  grid.points(source, name='source', low=3)
  checks.choice(boundary, BOUNDARIES, name='boundary')
  checks.choice(scheme, ('finite', 'spectral'), name='scheme')
  checks.number(screening, name='screening', low=0.0)
  checks.number(length, name='length', low=0.0, open_low=True)
  grid.finite(source, name='source')
  dtype, axes = source.dtype, range(source.ndim)
  values = _eigenvalues(source.shape, boundary, scheme, length)
  values = jnp.asarray(values, dtype) + jnp.asarray(screening, dtype)
  # Only the constant mode can be zero; its share of u is defined as zero.
  inverse = jnp.where(values > 0, 1 / jnp.where(values > 0, values, 1), 0)
  if boundary == 'dirichlet':
    u = source[(slice(1, -1),) * source.ndim]
    for axis in axes:
      u = grid.sine_transform(u, axis)
    u = u * inverse
    for axis in axes:
      u = grid.sine_transform(u, axis)
    return jnp.pad(u, 1)
  if boundary == 'periodic':
    modes = jnp.fft.fftn(source) * inverse
    mean = jnp.mean(source)
    u = jnp.fft.ifftn(modes).real.astype(dtype)
  else:
    modes = source
    for axis in axes:
      modes = grid.cosine_transform(modes, axis)
    mean = modes[(0,) * source.ndim]
    u = modes * inverse
    for axis in axes:
      u = grid.cosine_values(u, axis)
  slack = 1e-4 if dtype == jnp.float32 else 1e-9
  solvable = jnp.abs(mean) <= slack * jnp.max(jnp.abs(source))
  grid.require(
    solvable | (jnp.asarray(screening) > 0),
    f'source must have zero mean for boundary={boundary!r} without '
    'screening: subtract it.',
  )
  return u


def solve_elliptic_1d(
  log_coefficient: chex.Array,
  *,
  source: chex.Numeric = 10.0,
  length: float = 1.0,
) -> jax.Array:
  """Solves -(exp(b(x)) s')' = f on (0, L), s(0) = s(L) = 0, f constant.

  With v1 the integral of exp(-b) and v2 that of f x exp(-b) from 0 to x:
  s = v1 v2(L) / v1(L) - v2, integrals by the trapezoid rule.

  Args:
    log_coefficient: f[X], `b` on `linspace(0, length, X)`, X >= 3.
    source: `f`; may be traced.
    length: `L` > 0.

  Returns:
    f[X], zero at both ends; error O(dx^2).

  Raises:
    TypeError: if `log_coefficient` is not floating point.
    ValueError: if sizes or values are out of range.

  Example:
    >>> print(solve_elliptic_1d(jnp.zeros(5)).round(4))  # 5 x (1 - x)
    [0.     0.9375 1.25   0.9375 0.    ]

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.5.
  """
  b = grid.floating(log_coefficient, name='log_coefficient', ndim=1)
  grid.points(b, name='log_coefficient', low=3)
  checks.number(length, name='length', low=0.0, open_low=True)
  grid.finite(b, name='log_coefficient')
  x = jnp.asarray(np.linspace(0, length, b.shape[0]), b.dtype)
  dx = length / (b.shape[0] - 1)
  weight = jnp.exp(-b)

  def primitive(y):
    return jnp.pad(jnp.cumsum((y[1:] + y[:-1]) * (dx / 2)), (1, 0))

  v1, v2 = primitive(weight), primitive(x * weight)
  return (source * (v1 * (v2[-1] / v1[-1]) - v2)).at[-1].set(0.0)
