# SPDX-License-Identifier: Apache-2.0
"""Periodic flows by Fourier pseudo-spectral methods."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.pde import _grid as grid


class ETDRK4(NamedTuple):
  """Coefficients of the fourth-order exponential Runge-Kutta method.

  Attributes:
    full: exp(dt L).
    half: exp(dt L / 2).
    half_weight: dt phi_1(dt L / 2) / 2.
    weights: the three weights of the final combination.
    change: exp(dt L) - 1, exact also where exp(dt L) rounds to one.
  """

  full: jax.Array
  half: jax.Array
  half_weight: jax.Array
  weights: tuple[jax.Array, jax.Array, jax.Array]
  change: jax.Array


def etdrk4_coefficients(
  linear: chex.Array, dt: chex.Numeric, *, num_contour: int = 32
) -> ETDRK4:
  """Computes the coefficients for a real diagonal linear part.

  Contour means over a unit circle avoid the cancellation of the closed forms.

  Args:
    linear: f[...], the eigenvalues `L`, real.
    dt: time step.
    num_contour: points on the upper half circle (static).

  Returns:
    Coefficients of the shape and dtype of `linear`.

  Source: Kassam and Trefethen 2005, SIAM J. Sci. Comput. 26, section 3.
  """
  dtype = jnp.result_type(linear)
  # On the host, in double precision, unless a number is traced: it costs as
  # much as some steps.
  traced = isinstance(linear, jax.core.Tracer) or isinstance(
    dt, jax.core.Tracer
  )
  xp, wide = (jnp, dtype) if traced else (np, np.float64)
  z = xp.asarray(dt, wide) * xp.asarray(linear, wide)
  roots = np.exp(1j * np.pi * (np.arange(num_contour) + 0.5) / num_contour)
  shape = (num_contour,) + (1,) * z.ndim
  ctype = np.result_type(wide, np.complex64)
  r = z[None] + xp.asarray(roots, ctype).reshape(shape)
  cast = lambda values: jnp.asarray(values, dtype)
  mean = lambda values: cast(dt * xp.mean(values.real, axis=0))
  e = xp.exp(r)
  return ETDRK4(
    full=cast(xp.exp(z)),
    half=cast(xp.exp(z / 2)),
    half_weight=mean((xp.exp(r / 2) - 1) / r),
    weights=(
      mean((-4 - r + e * (4 - 3 * r + r**2)) / r**3),
      mean((2 + r + e * (r - 2)) / r**3),
      mean((-4 - 3 * r - r**2 + e * (4 - r)) / r**3),
    ),
    change=cast(xp.expm1(z)),
  )


def _rates(viscosity, squares, dtype):
  """Multiplies, on the host unless the viscosity is traced."""
  if isinstance(viscosity, jax.core.Tracer):
    return viscosity * jnp.asarray(squares, dtype)
  return (np.asarray(viscosity, np.float64) * squares).astype(dtype)


def etdrk4_step(
  coefficients: ETDRK4,
  nonlinear: Callable[[jax.Array], jax.Array],
  spectrum: jax.Array,
) -> jax.Array:
  """Advances v' = L v + N(v) by one step: c[...] -> c[...]."""
  return spectrum + _etdrk4_change(coefficients, nonlinear, spectrum)


def _etdrk4_change(c, nonlinear, spectrum):
  """What one step adds: small, so that its rounding is too."""
  w1, w2, w3 = c.weights
  n0 = nonlinear(spectrum)
  a = c.half * spectrum + c.half_weight * n0
  na = nonlinear(a)
  b = c.half * spectrum + c.half_weight * na
  nb = nonlinear(b)
  last = c.half * a + c.half_weight * (2 * nb - n0)
  nc = nonlinear(last)
  return c.change * spectrum + w1 * n0 + 2 * w2 * (na + nb) + w3 * nc


def _scan_kept(change, state, num_steps, keep_every):
  """Adds `change(state)` `num_steps` times, keeping every `keep_every`-th."""

  def step(_, carry):
    state, lost = carry
    return grid.accumulate(state, lost, change(state))

  def outer(carry, _):
    carry = jax.lax.fori_loop(0, keep_every, step, carry)
    return carry, carry[0]

  start = (state, jnp.zeros_like(state))
  return jax.lax.scan(outer, start, None, length=num_steps // keep_every)[1]


def _check_steps(num_steps, keep_every):
  checks.integer(num_steps, name='num_steps', low=1)
  keep_every = num_steps if keep_every is None else keep_every
  checks.integer(keep_every, name='keep_every', low=1, high=num_steps)
  if num_steps % keep_every:
    raise ValueError(
      f'keep_every={keep_every} must divide num_steps={num_steps}.'
    )
  return keep_every


def solve_burgers(
  initial: chex.Array,
  *,
  viscosity: chex.Numeric = 0.1,
  dt: float = 5e-3,
  num_steps: int = 200,
  keep_every: int | None = None,
  length: float = 1.0,
) -> jax.Array:
  """Solves u_t + (u^2/2)_x = nu u_xx on a periodic interval.

  Fourier pseudo-spectral in flux form, the 2/3 rule against aliasing, ETDRK4
  in time. The defaults end at time 1.

  Args:
    initial: f[X], u(x, 0) at j length / X (end point not repeated), X >= 4.
    viscosity: `nu` > 0; may be traced.
    dt: time step, > 0 (static).
    num_steps: number of steps (static).
    keep_every: steps between kept rows (static), divides `num_steps`; default
      keeps the last row only.
    length: period, > 0 (static).

  Returns:
    f[num_steps / keep_every, X]; row j is time (j + 1) keep_every dt.

  Raises:
    TypeError: if `initial` is not floating point.
    ValueError: if an option is out of range, a concrete `initial` makes the
      step unstable, or the solution is not finite.

  Cost: 8 real FFTs per step.

  Example:
    >>> x = jnp.arange(32) / 32
    >>> u = solve_burgers(jnp.sin(2 * jnp.pi * x), num_steps=20)
    >>> u.shape
    (1, 32)

  Source: Li et al. 2021 (https://arxiv.org/abs/2010.08895), section 5.1.
  """
  initial = grid.floating(initial, name='initial', ndim=1)
  grid.points(initial, name='initial', low=4)
  checks.number(viscosity, name='viscosity', low=0.0, open_low=True)
  checks.number(dt, name='dt', low=0.0, open_low=True)
  checks.number(length, name='length', low=0.0, open_low=True)
  keep_every = _check_steps(num_steps, keep_every)
  grid.finite(initial, name='initial')
  num = initial.shape[0]
  dtype = initial.dtype
  wave = 2 * np.pi * np.arange(num // 2 + 1) / length
  kept = np.arange(num // 2 + 1) < num / 3
  # A mode is damped within 1/(nu k^2), so only that long can it be amplified.
  reach = jnp.asarray(wave * kept, dtype) * jnp.minimum(
    dt, 1 / jnp.maximum(viscosity * jnp.asarray(wave**2, dtype), 1e-30)
  )
  grid.require(
    jnp.max(jnp.abs(initial)) * jnp.max(reach) <= 2.8,
    f'dt={dt} violates the stability limit max|u| k min(dt, 1/(nu k^2)) <= '
    '2.8: reduce dt or raise viscosity.',
  )
  coefficients = etdrk4_coefficients(-_rates(viscosity, wave**2, dtype), dt)
  flux = jnp.asarray(-0.5j * wave * kept, jnp.result_type(dtype, jnp.complex64))

  def nonlinear(v):
    u = jnp.fft.irfft(v, n=num)
    return flux * jnp.fft.rfft(u * u)

  rows = _scan_kept(
    lambda v: _etdrk4_change(coefficients, nonlinear, v),
    jnp.fft.rfft(initial),
    num_steps,
    keep_every,
  )
  rows = jnp.fft.irfft(rows, n=num).astype(dtype)
  grid.finite(rows, name='the Burgers solution', hint=': reduce dt')
  return rows


def solve_navier_stokes(
  vorticity: chex.Array,
  *,
  viscosity: chex.Numeric,
  forcing: chex.Array | None = None,
  dt: float = 1e-4,
  num_steps: int,
  keep_every: int | None = None,
  length: float = 1.0,
  method: str = 'crank_nicolson',
) -> jax.Array:
  """Solves the 2-D vorticity equation on a periodic square.

  w_t + u . grad(w) = nu Lap(w) + f with -Lap(psi) = w, u = (psi_y, -psi_x).
  'crank_nicolson' is the public generator's scheme: implicit midpoint
  diffusion, explicit Euler advection dealiased by the 2/3 rule, first order in
  dt. 'etdrk4' is fourth order and takes far larger steps.

  Args:
    vorticity: f[X, Y], w(x, y, 0) at j length / n, mean zero, X = Y >= 4.
    viscosity: `nu` > 0; may be traced.
    forcing: f[X, Y], `f`, constant in time, or None for zero.
    dt: time step, > 0 (static).
    num_steps: number of steps (static).
    keep_every: steps between kept fields (static), divides `num_steps`;
      default keeps the last field only.
    length: period of both axes, > 0 (static).
    method: 'crank_nicolson' or 'etdrk4' (static).

  Returns:
    f[num_steps / keep_every, X, Y]; entry j is time (j + 1) keep_every dt.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if an option is out of range, the mean vorticity of concrete
      data is not zero, dt breaks the CFL limit, or the result is not finite.

  Cost: 5 real 2-D FFTs per step, 20 with 'etdrk4'.

  Example:
    >>> x = jnp.arange(16) / 16
    >>> w = jnp.outer(jnp.sin(2 * jnp.pi * x), jnp.sin(2 * jnp.pi * x))
    >>> solve_navier_stokes(w, viscosity=1e-3, dt=0.01, num_steps=2).shape
    (1, 16, 16)

  Source: Li et al. 2021 (https://arxiv.org/abs/2010.08895), section 5.3.
  """
  vorticity = grid.floating(vorticity, name='vorticity', ndim=2)
  grid.points(vorticity, name='vorticity', low=4)
  if vorticity.shape[0] != vorticity.shape[1]:
    raise ValueError(f'vorticity must be square; got {vorticity.shape}.')
  checks.number(viscosity, name='viscosity', low=0.0, open_low=True)
  checks.number(dt, name='dt', low=0.0, open_low=True)
  checks.number(length, name='length', low=0.0, open_low=True)
  checks.choice(method, ('crank_nicolson', 'etdrk4'), name='method')
  keep_every = _check_steps(num_steps, keep_every)
  grid.finite(vorticity, name='vorticity')
  dtype = vorticity.dtype
  ctype = jnp.result_type(dtype, jnp.complex64)
  num = vorticity.shape[0]
  if forcing is not None:
    forcing = grid.floating(forcing, name='forcing', ndim=2).astype(dtype)
    if forcing.shape != vorticity.shape:
      raise ValueError(
        f'forcing must have the shape of vorticity {vorticity.shape}; '
        f'got {forcing.shape}.'
      )
    grid.finite(forcing, name='forcing')
  spread = jnp.max(jnp.abs(vorticity))
  slack = 1e-3 if dtype == jnp.float32 else 1e-6
  grid.require(
    jnp.abs(jnp.mean(vorticity)) <= slack * spread,
    'vorticity must have zero mean on a torus: subtract it.',
  )
  kx, ky, laplacian, kept = _wave_numbers(num, length)
  inverse = np.where(laplacian > 0, 1 / np.maximum(laplacian, 1e-30), 0.0)
  # w -> (u, v, w_x, w_y), all in one stack so that one FFT call serves them.
  symbols = np.stack([1j * ky * inverse, -1j * kx * inverse, 1j * kx, 1j * ky])
  symbols = jnp.asarray(symbols, ctype)
  spectral = lambda w: jnp.fft.rfft2(w)
  physical = lambda w: jnp.fft.irfft2(w, s=(num, num))
  force = jnp.zeros((), ctype) if forcing is None else spectral(forcing)
  mask = jnp.asarray(kept, dtype)

  def advection(v):
    u_x, u_y, w_x, w_y = physical(symbols * v[None])
    return mask * spectral(u_x * w_x + u_y * w_y)

  start = spectral(vorticity)
  velocity = physical(symbols[:2] * start[None])
  limit = 1.0 if method == 'crank_nicolson' else 1.3
  grid.require(
    jnp.max(jnp.abs(velocity)) * (dt * num / length) <= limit,
    f'dt={dt} violates the CFL limit max|u| dt/dx <= {limit}: reduce dt to '
    f'below {limit} dx/max|u|.',
  )
  rate = _rates(viscosity, laplacian, dtype)
  if method == 'crank_nicolson':
    # The usual factor (1 - z) / (1 + z) rounds to about one: what it takes
    # away in a step, 2 z / (1 + z), would lose nearly all digits.
    weight = dt / (1 + dt / 2 * rate)
    change = lambda v: weight * (force - advection(v)) - (weight * rate) * v
  else:
    coefficients = etdrk4_coefficients(-rate, dt)
    nonlinear = lambda v: force - advection(v)
    change = lambda v: _etdrk4_change(coefficients, nonlinear, v)
  rows = _scan_kept(change, start, num_steps, keep_every)
  rows = physical(rows).astype(dtype)
  grid.finite(rows, name='the vorticity', hint=': reduce dt')
  return rows


def _wave_numbers(num, length):
  full = np.fft.fftfreq(num, 1 / num)
  half = np.arange(num // 2 + 1)
  kept = (np.abs(full)[:, None] < num / 3) & (half[None] < num / 3)
  scale = 2 * np.pi / length
  kx, ky = np.meshgrid(scale * full, scale * half, indexing='ij')
  laplacian = kx**2 + ky**2
  if num % 2 == 0:  # Nyquist modes have no real first derivative.
    kx[num // 2] = 0.0
    ky[:, -1] = 0.0
  return kx, ky, laplacian, kept


def navier_stokes_forcing(num_points: int, *, kind: str = 'fno') -> np.ndarray:
  """Returns a standard forcing of the vorticity equation.

  Args:
    num_points: `n` per axis, at j L / n.
    kind: 'fno', 0.1 (sin 2 pi(x+y) + cos 2 pi(x+y)) on the unit square, or
      'kolmogorov', -4 cos 4y on [0, 2 pi]^2.

  Returns:
    float64 NumPy [n, n].

  Example:
    >>> navier_stokes_forcing(8).shape
    (8, 8)
  """
  checks.choice(kind, ('fno', 'kolmogorov'), name='kind')
  checks.integer(num_points, name='num_points', low=2)
  j = 2 * np.pi * np.arange(num_points) / num_points
  if kind == 'fno':
    phase = j[:, None] + j[None]
    return 0.1 * (np.sin(phase) + np.cos(phase))
  return np.broadcast_to(-4 * np.cos(4 * j)[None], (num_points,) * 2).copy()
