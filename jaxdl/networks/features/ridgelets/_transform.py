# SPDX-License-Identifier: Apache-2.0
"""Ridgelet transforms by quadrature, and functions cut at a frequency."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.networks.features import _bundling as bundling

_MOST = 2e10


class Grid(NamedTuple):
  """Hidden parameters to integrate over.

  Attributes:
    a: f[A, d], weights.
    b: f[A, B], biases that go with each.
    shares: f[A, B], what each point stands for, da db.
  """

  a: chex.Array
  b: chex.Array
  shares: chex.Array


def line_grid(
  scale: float,
  num_weights: int,
  num_biases: int,
  *,
  width: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Grid:
  """Lays midpoints over weights and biases of one-dimensional inputs.

  Args:
    scale: |a| <= lambda.
    num_weights: A.
    num_biases: B, for every weight.
    width: |b| <= width(a); by default 8 sqrt(1 + a^2) + 5, enough for targets
      of size one.

  Returns:
    A `Grid` of float64 on the host.

  Raises:
    ValueError: if a number is out of range, or a width.

  Example:
    >>> grid = line_grid(2.0, 4, 3, width=lambda a: np.ones_like(a))
    >>> grid.a[:, 0].tolist(), round(float(grid.shares.sum()), 6)
    ([-1.5, -0.5, 0.5, 1.5], 8.0)
  """
  checks.number(scale, name='scale', low=0.0, open_low=True)
  checks.integer(num_weights, name='num_weights', low=1)
  checks.integer(num_biases, name='num_biases', low=1)
  middle = lambda n: (2 * np.arange(n) + 1) / n - 1
  a = scale * middle(num_weights)
  half = 8 * np.sqrt(1 + a**2) + 5
  if width is not None:
    half = checks.host_array(width(a), name='width(a)').astype(np.float64)
    if half.shape not in ((), a.shape):
      raise ValueError(
        f'width(a) must be a number or have the shape of a, {a.shape}; got '
        f'{half.shape}.'
      )
    half = np.broadcast_to(half, a.shape)
    if not (np.isfinite(half) & (half > 0)).all():
      raise ValueError('width(a) must be positive and finite everywhere.')
  b = half[:, None] * middle(num_biases)[None]
  shares = (2 * scale / num_weights) * (2 * half / num_biases)
  return Grid(a[:, None], b, np.broadcast_to(shares[:, None], b.shape).copy())


def _check_numbers(**values):
  """Refuses NaN and infinite numbers where they are known."""
  for name, value in values.items():
    if not bundling.is_traced(value) and not np.isfinite(value).all():
      raise ValueError(f'{name} holds NaN or infinite values.')


def _check(x, grid):
  if x.ndim != 2 or grid.a.ndim != 2 or x.shape[1] != grid.a.shape[1]:
    raise ValueError(
      f'x and grid.a must be [N, d] and [A, d]; got {x.shape} and '
      f'{grid.a.shape}.'
    )
  if not x.shape[0]:
    raise ValueError('x is empty: need N >= 1 points.')
  if grid.b.ndim != 2 or grid.b.shape[0] != grid.a.shape[0]:
    raise ValueError(
      f'grid.b must be [A, B] with A={grid.a.shape[0]}; got {grid.b.shape}.'
    )
  needed = float(np.prod(grid.b.shape, dtype=float)) * x.shape[0]
  if needed > _MOST:
    raise ValueError(
      f'the grid is too large: {grid.b.shape[0]} weights x {grid.b.shape[1]} '
      f'biases x {x.shape[0]} points take {needed:.1e} evaluations in '
      f'd={x.shape[1]}, at most {_MOST:.0e} are made. Quadrature is for few '
      'dimensions.'
    )


def ridgelet_transform(
  values: chex.Array,
  x: chex.Array,
  weights: chex.Array,
  grid: Grid,
  ridgelet: Callable[[chex.Array], chex.Array],
) -> chex.Array:
  """Computes R(a, b) = int f(x) conj(rho(a . x - b)) dx by quadrature.

  Of f(k x) it is R(a / k, b) / k^d: all depends on lambda / k.

  Args:
    values: f or c[N], f at the points.
    x: f[N, d].
    weights: f[N], what each point stands for, dx.
    grid: where; from `line_grid`, or your own.
    ridgelet: rho, elementwise.

  Returns:
    [A, B], of the precision of the input.

  Raises:
    ValueError: if shapes disagree, the grid is too large, or concrete values
      are not finite.

  Cost: O(A B N) work, O(B N) memory.

  Example:
    >>> from jaxdl.networks.features import ridgelets
    >>> x = jnp.linspace(-8.0, 8.0, 400)[:, None]
    >>> f, dx = jnp.exp(-x[:, 0] ** 2 / 2), jnp.full(400, 16 / 399)
    >>> grid = Grid(jnp.array([[0.0]]), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> rho = ridgelets.gaussian_pair().ridgelet
    >>> round(float(ridgelet_transform(f, x, dx, grid, rho)[0, 0]), 4)
    2.5066

  Source: Sonoda & Murata 2017 (https://arxiv.org/abs/1505.03654).
  """
  x = jnp.asarray(x)
  _check(x, grid)
  if values.shape != x.shape[:1] or weights.shape != x.shape[:1]:
    raise ValueError(
      f'values and weights must have shape [{x.shape[0]}]; got {values.shape} '
      f'and {weights.shape}.'
    )
  _check_numbers(values=values, x=x, weights=weights)
  f = jnp.asarray(values) * jnp.asarray(weights)

  def one(point):
    a, b = point
    z = jnp.matmul(x, a, precision='highest')
    waves = jnp.conj(ridgelet(z[None] - b[:, None]))
    return jnp.matmul(waves, f, precision='highest')

  return jax.lax.map(one, (jnp.asarray(grid.a), jnp.asarray(grid.b)))


def ridgelet_synthesis(
  coefficients: chex.Array,
  x: chex.Array,
  grid: Grid,
  activation: Callable[[chex.Array], chex.Array],
) -> chex.Array:
  """Computes S(x) = int int g(a, b) s(a . x - b) da db by quadrature.

  Of a transform it is ((s, rho)) f as the grid grows (`admissibility`); on |a|
  <= lambda what `truncated` leaves of it.

  Args:
    coefficients: g, [A, B].
    x: f[N, d].
    grid: where g is given.
    activation: s, elementwise.

  Returns:
    [N].

  Raises:
    ValueError: if shapes disagree, the grid is too large, or concrete
      coefficients are not finite.

  Cost: O(A B N) work, O(B N) memory.
  """
  x = jnp.asarray(x)
  _check(x, grid)
  if coefficients.shape != grid.b.shape:
    raise ValueError(
      f'coefficients must have the shape of grid.b, {grid.b.shape}; got '
      f'{coefficients.shape}.'
    )
  _check_numbers(coefficients=coefficients, x=x)
  g = jnp.asarray(coefficients) * jnp.asarray(grid.shares)

  def add(total, point):
    a, b, own = point
    z = jnp.matmul(x, a, precision='highest')
    waves = activation(z[:, None] - b[None])
    return total + jnp.matmul(waves, own, precision='highest'), None

  start = jnp.zeros(x.shape[0], jnp.result_type(g, x))
  points = (jnp.asarray(grid.a), jnp.asarray(grid.b), g)
  total, _ = jax.lax.scan(add, start, points)
  return total


def exterior_energy(
  coefficients: chex.Array,
  grid: Grid,
  *,
  scale: chex.Numeric,
  bias_range: chex.Numeric | None = None,
) -> chex.Array:
  """Computes which part of |R|^2 lies outside of the sampled set.

  Where it is positive, nets with |a_j| <= lambda and |b| <= bias_range may have
  a floor. It is a diagnostic, no bound: the spectrum of a net leaks out of the
  set, see `budgeted_floor`.

  Args:
    coefficients: R, [A, B], from `ridgelet_transform`.
    grid: where; what it does not reach is not counted.
    scale: lambda > 0.
    bias_range: by default lambda; inf for all biases.

  Returns:
    A number in [0, 1]; NaN if R is zero.

  Raises:
    ValueError: if a number is not positive, shapes disagree, or concrete
      coefficients are not finite.

  Source: the diagnostic of Li et al. 2023 (https://arxiv.org/abs/2008.08427).
  """
  checks.number(scale, name='scale', low=0.0, open_low=True)
  bias_range = scale if bias_range is None else bias_range
  checks.number(
    bias_range, name='bias_range', low=0.0, open_low=True, finite=False
  )
  if jnp.shape(coefficients) != grid.b.shape:
    raise ValueError(
      f'coefficients must have the shape of grid.b, {grid.b.shape}; got '
      f'{jnp.shape(coefficients)}.'
    )
  _check_numbers(coefficients=coefficients)
  energy = jnp.abs(coefficients) ** 2 * jnp.asarray(grid.shares)
  far = jnp.abs(jnp.asarray(grid.a)).max(axis=1, keepdims=True) > scale
  b = jnp.asarray(grid.b)
  outside = jnp.broadcast_to(far, b.shape) | (jnp.abs(b) > bias_range)
  return jnp.where(outside, energy, 0).sum() / energy.sum()


def _of_kind(values):
  """Concrete values in float64 on the host, traced ones as they are."""
  if bundling.is_traced(values):
    return values, jnp
  return checks.host_array(values, name='values').astype(np.float64), np


def _frequencies(values, spacing):
  """|w| of every entry of the transform of a grid, on the host."""
  if not values.size:
    raise ValueError(f'values are empty, of shape {values.shape}.')
  _check_numbers(values=values)
  steps = spacing if isinstance(spacing, (tuple, list)) else [spacing]
  for step in steps:
    checks.number(step, name='spacing', low=0.0, open_low=True)
  if len(steps) not in (1, values.ndim):
    raise ValueError(
      f'spacing={spacing} must be a number, or one for each of the '
      f'{values.ndim} axes of values.'
    )
  spacing = np.broadcast_to(np.asarray(steps, np.float64), (values.ndim,))
  axes = [
    2 * np.pi * np.fft.fftfreq(n, d)
    for n, d in zip(values.shape, spacing, strict=True)
  ]
  mesh = np.meshgrid(*axes, indexing='ij')
  return np.sqrt(sum(np.square(axis) for axis in mesh)), float(spacing.prod())


def truncated(
  values: chex.Array,
  spacing: float | tuple[float, ...],
  multiplier: Callable[[np.ndarray], Any],
) -> chex.Array:
  """Computes what weights of bounded size can synthesize of a function.

  Args:
    values: f[...], the function on a regular grid, taken as periodic: it must
      be so, or vanish at the ends.
    spacing: distance of neighbors along every axis.
    multiplier: M of |w|, see `lowpass_multiplier`; of the Gaussian pair
      exp(-|w|^2 / lambda^2).

  Returns:
    f_lambda[...] in float64 on the host; traced values in their precision.

  Raises:
    ValueError: if the spacing is not positive, or concrete values are empty or
      not finite.

  Example:
    >>> x = np.arange(64) * 2 * np.pi / 64
    >>> low = truncated(np.sin(3 * x), 2 * np.pi / 64, lambda w: np.exp(-w * w))
    >>> round(float(low[5] / np.sin(3 * x[5]) / np.exp(-9)), 6)
    1.0

  Source: derived here.
  """
  values, xp = _of_kind(values)
  w, _ = _frequencies(values, spacing)
  return xp.fft.ifftn(xp.fft.fftn(values) * multiplier(w)).real


def truncation_error(
  values: chex.Array,
  spacing: float | tuple[float, ...],
  multiplier: Callable[[np.ndarray], Any],
) -> chex.Array:
  """Computes |f - f_lambda| / |f| in L2, see `truncated`.

  Args:
    values: see `truncated`.
    spacing: see `truncated`.
    multiplier: see `truncated`.

  Returns:
    A number; NaN if f is zero.
  """
  values, xp = _of_kind(values)
  w, _ = _frequencies(values, spacing)
  energy = xp.abs(xp.fft.fftn(values)) ** 2
  lost = (energy * (1 - multiplier(w)) ** 2).sum()
  with np.errstate(invalid='ignore'):
    return xp.sqrt(lost / energy.sum())


def strict_floor(
  values: chex.Array, spacing: float, *, cutoff: float
) -> chex.Array:
  """Computes a floor of |f - f_n| for every net of a bandlimited activation.

  Where the spectrum of s vanishes beyond W and |a| <= lambda, that of a net
  does beyond lambda W, whatever its size and output weights. So the L2 norm of
  what f has beyond stays, on the whole line.

  Args:
    values: f[N], f on a regular grid outside of which it is zero.
    spacing: distance of neighbors.
    cutoff: lambda W > 0, in radians per unit; W = 1 of activation='sinc'.

  Returns:
    The norm, (1 / (2 pi) int_{|w| > cutoff} |f_hat|^2 dw)^(1/2).

  Raises:
    ValueError: if values have more than one axis, are empty or not finite, or a
      number is not positive.

  Example:
    >>> x = np.linspace(-30, 30, 2001)
    >>> f = np.exp(-x * x / 2) * np.cos(6 * x)
    >>> norm = np.sqrt((f * f).sum() * 0.03)
    >>> round(float(strict_floor(f, 0.03, cutoff=2.0) / norm), 4)
    1.0

  Source: derived here; not the theorem of Li et al. 2023.
  """
  checks.number(cutoff, name='cutoff', low=0.0, open_low=True)
  values, xp = _of_kind(values)
  if values.ndim != 1:
    raise ValueError(f'values must have shape [N]; got {values.shape}.')
  w, cell = _frequencies(values, spacing)
  energy = xp.abs(xp.fft.fft(values)) ** 2
  return xp.sqrt(energy[w > cutoff].sum() * cell / values.size)
