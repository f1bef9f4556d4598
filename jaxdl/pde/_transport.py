# SPDX-License-Identifier: Apache-2.0
"""Advection and advection-diffusion in one dimension."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.pde import _grid as grid

ADVECTION_CASES = ('i', 'ii', 'iii', 'iv')


def solve_advection(
  initial: chex.Array,
  *,
  speed: chex.Numeric,
  dx: chex.Numeric,
  dt: chex.Numeric,
  num_steps: int | None = None,
  inflow: chex.Array | None = None,
) -> jax.Array:
  """Solves s_t + a(x) s_x = 0, a > 0, by Wendroff's box scheme.

  Per cell, with lam = dt/dx and r = (1 - a lam)/(1 + a lam):
  s[n+1, i+1] = s[n, i] + r (s[n, i+1] - s[n+1, i]). Unconditionally stable for
  a > 0, second order in dx and dt, exact where a lam = 1. What a step changes
  is computed instead of its result, so many short steps keep their digits.

  Args:
    initial: f[X], s(x, 0). Periodic if `inflow` is None: then the end point is
      not repeated and the period is X dx.
    speed: scalar, or `a` at cell midpoints: f[X-1] with inflow, f[X] if
      periodic (the last one joins the last point to the first); > 0.
    dx: grid spacing, > 0.
    dt: time step, > 0.
    num_steps: number of steps (static); may be left out with `inflow`.
    inflow: f[T], s(0, t) at all T = num_steps + 1 times, or None.

  Returns:
    f[T, X], the initial row first.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if sizes disagree or the speed is not positive.

  Cost: O(T X) sequential updates, each vectorized over a vmapped batch.

  Example:
    >>> s = solve_advection(
    ...   jnp.array([1.0, 0.0, 0.0]), speed=1.0, dx=0.5, dt=0.5, num_steps=1
    ... )
    >>> print(s[1])
    [0. 1. 0.]

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.3;
  Wendroff 1960.
  """
  initial = grid.floating(initial, name='initial', ndim=1)
  grid.points(initial, name='initial', low=2)
  checks.number(dx, name='dx', low=0.0, open_low=True)
  checks.number(dt, name='dt', low=0.0, open_low=True)
  dtype = initial.dtype
  num = initial.shape[0]
  periodic = inflow is None
  if inflow is not None:
    inflow = grid.floating(inflow, name='inflow', ndim=1).astype(dtype)
    if num_steps is None:
      num_steps = inflow.shape[0] - 1
  if num_steps is None:
    raise ValueError('num_steps is needed when there is no inflow.')
  num_steps = checks.integer(num_steps, name='num_steps', low=1)
  if inflow is not None and inflow.shape[0] != num_steps + 1:
    raise ValueError(
      f'inflow must have num_steps + 1 = {num_steps + 1} values; '
      f'got {inflow.shape[0]}.'
    )
  cells = num if periodic else num - 1
  traced = grid.is_traced((speed, dx, dt))
  rate = speed
  speed = jnp.asarray(speed, dtype)
  if speed.shape not in ((), (cells,)):
    raise ValueError(
      f'speed must be a scalar or one value per cell [{cells}]; '
      f'got shape {speed.shape}.'
    )
  grid.positive(
    speed, name='speed', why=': the box scheme marches along the flow'
  )
  grid.finite(initial, name='initial')
  # On the host, in double precision, unless a number is traced.
  xp, wide = (jnp, dtype) if traced else (np, np.float64)
  courant = xp.asarray(rate, wide) * xp.asarray(dt / dx, wide)
  courant = xp.broadcast_to(courant, (cells,))
  # How the first value reaches each later one.
  decay = xp.cumprod((courant - 1) / (1 + courant))
  closing = jnp.asarray(1 - decay[-1], dtype)
  decay = jnp.asarray(decay, dtype)
  ratio = jnp.asarray((1 - courant) / (1 + courant), dtype)
  gap = jnp.asarray(2 * courant / (1 + courant), dtype)  # 1 - ratio

  def march(first, row):
    right = jnp.roll(row, -1) if periodic else row[1:]
    known = gap * (row[:cells] - right)

    def cell(left, x):
      left = x[0] - x[1] * left
      return left, left

    _, new = jax.lax.scan(cell, first, (known, ratio), unroll=16)
    return new

  def step(carry, first):
    row, lost = carry
    if periodic:
      # March from zero, then fix the first value so that the ends meet.
      new = march(jnp.zeros((), dtype), row)
      first = new[-1] / closing
      new = new + decay * first
      change = jnp.concatenate([first[None], new[:-1]])
    else:
      first = first - row[0] - lost[0]
      change = jnp.concatenate([first[None], march(first, row)])
    row, lost = grid.accumulate(row, lost, change)
    return (row, lost), row

  xs = jnp.zeros(num_steps, dtype) if inflow is None else inflow[1:]
  _, rows = jax.lax.scan(step, (initial, jnp.zeros_like(initial)), xs)
  return jnp.concatenate([initial[None], rows])


def solve_advection_case(
  function: chex.Array,
  *,
  case: str,
  num_x: int = 40,
  num_times: int = 40,
  refinement: int = 4,
) -> jax.Array:
  """Solves one of the four advection problems on [0, 1] x [0, 1].

  Case 'i': a = 1, periodic, s(x, 0) = V(sin^2(pi x)), by exact shift. 'ii':
  a = 1, s(x, 0) = x V(x), s(0, t) = 0. 'iii': a = 1 + 0.1 V(x), s(x, 0) = x^2,
  s(0, t) = sin(pi t). 'iv': a = 1 + 0.1 (V(x) + V(1-x)) / 2, s(x, 0) =
  sin(2 pi x), periodic. Cases ii-iv use `solve_advection`.

  Args:
    function: f[P], V on `linspace(0, 1, P)`, P >= 4; read by local cubics.
    case: one of `ADVECTION_CASES` (static).
    num_x: points of the output grid, both ends included (static), >= 3.
    num_times: times of the output grid, both ends included (static), >= 2.
    refinement: grid refinement of the box scheme (static), >= 1.

  Returns:
    f[T, X], time first.

  Raises:
    TypeError: if `function` is not floating point.
    ValueError: if an option is out of range or the speed is not positive.

  Example:
    >>> v = jnp.linspace(0.0, 1.0, 11)
    >>> solve_advection_case(v, case='i', num_x=5, num_times=3).shape
    (3, 5)

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.3.
  """
  function = grid.floating(function, name='function', ndim=1)
  grid.points(function, name='function', low=4)
  checks.choice(case, ADVECTION_CASES, name='case')
  checks.integer(num_x, name='num_x', low=3)
  checks.integer(num_times, name='num_times', low=2)
  checks.integer(refinement, name='refinement', low=1)
  grid.finite(function, name='function')
  dtype = function.dtype
  if case == 'i':
    x, t = np.linspace(0, 1, num_x), np.linspace(0, 1, num_times)
    phase = np.sin(np.pi * (x[None] - t[:, None])) ** 2
    return grid.interpolate(function, jnp.asarray(phase, dtype))
  nx, nt = (num_x - 1) * refinement, (num_times - 1) * refinement
  x, t = np.linspace(0, 1, nx + 1), np.linspace(0, 1, nt + 1)
  middle = jnp.asarray((x[1:] + x[:-1]) / 2, dtype)
  options: dict[str, Any] = dict(dx=1 / nx, dt=1 / nt, num_steps=nt)
  if case == 'ii':
    x = jnp.asarray(x, dtype)
    initial = x * grid.interpolate(function, x)
    rows = solve_advection(
      initial, speed=1.0, inflow=jnp.zeros(nt + 1, dtype), **options
    )
  elif case == 'iii':
    rows = solve_advection(
      jnp.asarray(x**2, dtype),
      speed=1 + 0.1 * grid.interpolate(function, middle),
      inflow=jnp.asarray(np.sin(np.pi * t), dtype),
      **options,
    )
  else:
    even = grid.interpolate(function, middle)
    rows = solve_advection(
      jnp.asarray(np.sin(2 * np.pi * x[:-1]), dtype),
      speed=1 + 0.05 * (even + jnp.flip(even)),
      **options,
    )
    rows = jnp.concatenate([rows, rows[:, :1]], axis=1)
  return rows[::refinement, ::refinement]


def solve_advection_diffusion(
  initial: chex.Array,
  *,
  speed: chex.Numeric = 1.0,
  diffusion: chex.Numeric = 0.1,
  length: float = 1.0,
  dt: float = 1 / 990,
  num_steps: int = 990,
  keep_every: int = 10,
  derivative: str = 'central',
) -> jax.Array:
  """Solves s_t + a s_x - D s_xx = 0, periodic, by Crank-Nicolson.

  The scheme multiplies each Fourier mode by a fixed factor per step, so the
  kept steps are powers of it: the same numbers as marching, without a loop.
  The defaults are 991 times on [0, 1] of which every tenth is kept (100).

  Args:
    initial: f[X], s(x, 0) at j length / X (end point not repeated), X >= 3.
    speed: `a`; may be traced.
    diffusion: `D` >= 0; may be traced.
    length: period, > 0.
    dt: time step, > 0.
    num_steps: number of steps (static).
    keep_every: steps between kept rows (static), divides `num_steps`.
    derivative: 'central' differences (second order) or 'spectral' (static).

  Returns:
    f[1 + num_steps / keep_every, X], the initial row first.

  Raises:
    TypeError: if `initial` is not floating point.
    ValueError: if an option is out of range.

  Cost: one FFT per kept row.

  Example:
    >>> solve_advection_diffusion(jnp.ones(8)).shape
    (100, 8)

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.3.
  """
  initial = grid.floating(initial, name='initial', ndim=1)
  grid.points(initial, name='initial', low=3)
  checks.number(diffusion, name='diffusion', low=0.0)
  checks.number(length, name='length', low=0.0, open_low=True)
  checks.number(dt, name='dt', low=0.0, open_low=True)
  checks.integer(num_steps, name='num_steps', low=1)
  checks.integer(keep_every, name='keep_every', low=1, high=num_steps)
  checks.choice(derivative, ('central', 'spectral'), name='derivative')
  if num_steps % keep_every:
    raise ValueError(
      f'keep_every={keep_every} must divide num_steps={num_steps}.'
    )
  grid.finite(initial, name='initial')
  dtype = initial.dtype
  num = initial.shape[0]
  wave = 2 * np.pi * np.arange(num // 2 + 1) / length
  h = length / num
  if derivative == 'spectral':
    first, second = np.array(wave), wave**2
    if num % 2 == 0:
      first[-1] = 0.0  # The Nyquist mode has no real derivative.
  else:
    first, second = np.sin(wave * h) / h, (2 * np.sin(wave * h / 2) / h) ** 2
  steps = np.arange(0, num_steps + 1, keep_every)[:, None]
  ctype = jnp.result_type(dtype, jnp.complex64)
  if grid.is_traced((speed, diffusion)):
    real = jnp.asarray(second * (-dt / 2), dtype) * diffusion
    imag = jnp.asarray(first * (-dt / 2), dtype) * speed
    # log((1+z)/(1-z)), not the rounded factor: a power multiplies its error.
    apart = (1 - real) ** 2 + imag**2
    square = ((1 + real) ** 2 + imag**2) / apart  # Of the factor.
    size = 0.5 * jnp.where(
      square > 0.5,
      jnp.log1p(jnp.maximum(4 * real / apart, -0.9)),
      jnp.log(jnp.maximum(square, jnp.finfo(dtype).tiny)),
    )
    phase = jnp.arctan2(2 * imag, 1 - real**2 - imag**2)
    size, phase = size[None], phase[None]
    exponent = jnp.asarray(steps, dtype)
    powers = jax.lax.complex(
      jnp.cos(phase * exponent), jnp.sin(phase * exponent)
    )
    powers = powers * jnp.where(exponent > 0, jnp.exp(size * exponent), 1.0)
  else:
    fade, drift = (np.asarray(v, np.float64) for v in (diffusion, speed))
    half = (-fade * second - 1j * drift * first) * (dt / 2)
    powers = jnp.asarray(((1 + half) / (1 - half)) ** steps, ctype)
  spectrum = jnp.fft.rfft(initial)[None] * powers
  rows = jnp.fft.irfft(spectrum, n=num).astype(dtype)
  return rows.at[0].set(initial)
