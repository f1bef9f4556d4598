# SPDX-License-Identifier: Apache-2.0
"""Recipes of the periodic flows and the problems on a square."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.pde import (
  _darcy as _pde_darcy,
  _elliptic,
  _helmholtz,
  _spectral,
  _spectral_fields,
)
from jaxdl.pde.sets._recipes import Recipe


def burgers(
  resolution: int = 128,
  *,
  viscosity: float = 0.1,
  solve_resolution: int | None = None,
  num_steps: int = 200,
  end_time: float = 1.0,
  alpha: float = 2.0,
  tau: float = 5.0,
  scale: float = 25.0,
  num_modes: int | None = None,
) -> Recipe:
  """u(x, 0) ~ N(0, 625 (-Lap + 25)^-2), periodic, to u(x, end_time)."""
  checks.integer(resolution, name='resolution', low=4)
  if solve_resolution is None:
    solve_resolution = resolution * max(1, -(-256 // resolution))
  skip = _skip(solve_resolution, resolution)

  def one(key):
    start = _spectral_fields.grf_periodic(
      solve_resolution,
      key=key,
      alpha=alpha,
      tau=tau,
      scale=scale,
      num_modes=num_modes,
    )
    end = _spectral.solve_burgers(
      start, viscosity=viscosity, dt=end_time / num_steps, num_steps=num_steps
    )
    return start[::skip], end[0, ::skip]

  x = np.arange(resolution) / resolution
  return Recipe(jax.vmap(one), (x,), (x,))


def _skip(fine, coarse):
  if fine % coarse:
    raise ValueError(
      f'solve_resolution={fine} must be a multiple of resolution={coarse}.'
    )
  return fine // coarse


def poisson(
  resolution: int = 32,
  *,
  boundary: str = 'dirichlet',
  alpha: float = 2.0,
  tau: float = 3.0,
  scale: float = 30.0,
  screening: float = 0.0,
  num_modes: int | None = None,
) -> Recipe:
  """Random source with the boundary's own spectrum to -Lap(u) + c u = f."""
  checks.integer(resolution, name='resolution', low=4)
  checks.choice(boundary, _elliptic.BOUNDARIES, name='boundary')
  options = dict(ndim=2, alpha=alpha, tau=tau, scale=scale, num_modes=num_modes)

  def one(key):
    draw: Any = getattr(_spectral_fields, f'grf_{boundary}')
    extra = {} if boundary == 'dirichlet' else {'zero_mean': True}
    f = draw(resolution, key=key, **options, **extra)
    if boundary == 'neumann':  # The trapezoid mean is only nearly zero.
      w = jnp.ones(resolution, f.dtype).at[jnp.array([0, -1])].set(0.5)
      w = w / (resolution - 1)
      f = f - jnp.einsum('x,y,xy->', w, w, f)
    return f, _elliptic.solve_poisson(f, boundary=boundary, screening=screening)

  x = np.linspace(0, 1, resolution)
  if boundary == 'periodic':
    x = np.arange(resolution) / resolution
  return Recipe(jax.vmap(one), (x, x), (x, x))


def _darcy(
  draw: Callable[[int, chex.PRNGKey], jax.Array],
  resolution: int,
  *,
  source: float,
  solve_resolution: int | None,
  preconditioner: str,
  face: str,
  tolerance: float | None,
) -> Recipe:
  """Coefficient a = draw(points, key) to -div(a grad u) = source."""
  checks.integer(resolution, name='resolution', low=4)
  fine = resolution if solve_resolution is None else solve_resolution
  checks.integer(fine, name='solve_resolution', low=resolution)
  if (fine - 1) % (resolution - 1):
    raise ValueError(
      f'solve_resolution - 1 = {fine - 1} must be a multiple of '
      f'resolution - 1 = {resolution - 1}.'
    )
  skip = (fine - 1) // (resolution - 1)

  def sample(keys):
    a = jax.vmap(lambda key: draw(fine, key))(keys)
    u = _pde_darcy.solve_darcy(
      a,
      source,
      preconditioner=preconditioner,
      face=face,
      tolerance=tolerance,
    )
    return a[:, ::skip, ::skip], u[:, ::skip, ::skip]

  x = np.linspace(0, 1, resolution)
  return Recipe(sample, (x, x), (x, x))


def _threshold(
  resolution, *, alpha, tau, scale, low, high, num_modes, **solved
):
  """A coefficient of two values, by the sign of a Gaussian field."""

  def draw(fine, key):
    field = _spectral_fields.grf_neumann(
      fine, key=key, alpha=alpha, tau=tau, scale=scale, num_modes=num_modes
    )
    return _pde_darcy.threshold_coefficient(field, low=low, high=high)

  return _darcy(draw, resolution, **solved)


def darcy_smooth(
  resolution: int = 32,
  *,
  alpha: float = 2.0,
  tau: float = 3.0,
  scale: float | None = None,
  low: float = 3.0,
  high: float = 12.0,
  source: float = 1.0,
  solve_resolution: int | None = None,
  num_modes: int | None = None,
  preconditioner: str = 'poisson',
  face: str = 'arithmetic',
  tolerance: float | None = None,
) -> Recipe:
  """Coefficient 3 or 12, by the sign of a smooth field."""
  return _threshold(
    resolution,
    alpha=alpha,
    tau=tau,
    scale=scale,
    low=low,
    high=high,
    source=source,
    solve_resolution=solve_resolution,
    num_modes=num_modes,
    preconditioner=preconditioner,
    face=face,
    tolerance=tolerance,
  )


def darcy_rough(
  resolution: int = 32,
  *,
  alpha: float = 2.0,
  tau: float = 5.0,
  scale: float | None = None,
  low: float = 2.0,
  high: float = 12.0,
  source: float = 1.0,
  solve_resolution: int | None = None,
  num_modes: int | None = None,
  preconditioner: str = 'poisson',
  face: str = 'arithmetic',
  tolerance: float | None = None,
) -> Recipe:
  """Coefficient 2 or 12, by the sign of a rougher field."""
  return _threshold(
    resolution,
    alpha=alpha,
    tau=tau,
    scale=scale,
    low=low,
    high=high,
    source=source,
    solve_resolution=solve_resolution,
    num_modes=num_modes,
    preconditioner=preconditioner,
    face=face,
    tolerance=tolerance,
  )


def darcy_lognormal(
  resolution: int = 32,
  *,
  alpha: float = 2.0,
  tau: float = 3.0,
  scale: float | None = None,
  source: float = 1.0,
  solve_resolution: int | None = None,
  num_modes: int | None = None,
  preconditioner: str = 'poisson',
  face: str = 'arithmetic',
  tolerance: float | None = None,
) -> Recipe:
  """Coefficient exp(field), of the same field as `darcy_smooth`."""

  def draw(fine, key):
    return jnp.exp(
      _spectral_fields.grf_neumann(
        fine, key=key, alpha=alpha, tau=tau, scale=scale, num_modes=num_modes
      )
    )

  return _darcy(
    draw,
    resolution,
    source=source,
    solve_resolution=solve_resolution,
    preconditioner=preconditioner,
    face=face,
    tolerance=tolerance,
  )


def darcy_multiscale(
  resolution: int = 32,
  *,
  num_scales: int = 6,
  source: float = 1.0,
  solve_resolution: int | None = None,
  preconditioner: str = 'multigrid',
  face: str = 'arithmetic',
  tolerance: float | None = None,
) -> Recipe:
  """The trigonometric coefficient of several scales, randomly shifted."""
  return _darcy(
    lambda fine, key: _pde_darcy.multiscale_coefficient(
      fine, key=key, num_scales=num_scales
    ),
    resolution,
    source=source,
    solve_resolution=solve_resolution,
    preconditioner=preconditioner,
    face=face,
    tolerance=tolerance,
  )


def helmholtz(
  resolution: int = 51,
  *,
  frequency: float = 250.0,
  base_speed: float = 20.0,
  alpha: float = 2.0,
  tau: float = 3.0,
  scale: float = 9.0,
  num_modes: int | None = None,
) -> Recipe:
  """Wave speed 20 + tanh(field) to the wave field, Neumann, driven at y = 1."""
  checks.integer(resolution, name='resolution', low=4)
  checks.number(frequency, name='frequency', low=0.0, open_low=True)
  checks.number(base_speed, name='base_speed', low=1.0, open_low=True)
  x = np.linspace(0, 1, resolution)
  drive = (np.abs(x - 0.5) <= 0.15).astype(np.float64)

  def one(key):
    field = _spectral_fields.grf_neumann(
      resolution,
      key=key,
      alpha=alpha,
      tau=tau,
      scale=scale,
      num_modes=num_modes,
    )
    speed = base_speed + jnp.tanh(field)
    u = _helmholtz.solve_helmholtz(
      frequency / speed,
      boundary='neumann',
      flux=jnp.asarray(drive, field.dtype),
    )
    return speed, u

  return Recipe(jax.vmap(one), (x, x), (x, x))


def navier_stokes(
  resolution: int = 64,
  *,
  viscosity: float = 1e-3,
  end_time: float = 5.0,
  num_times: int = 5,
  dt: float | None = None,
  method: str = 'etdrk4',
  forcing: str = 'fno',
  solve_resolution: int | None = None,
  alpha: float = 2.5,
  tau: float = 7.0,
  scale: float | None = None,
  num_modes: int | None = None,
) -> Recipe:
  """Initial vorticity to the vorticity at `num_times` later times (last axis).

  `forcing='kolmogorov'` is the [0, 2 pi]^2 problem, `viscosity = 1/Re`.
  """
  checks.integer(resolution, name='resolution', low=4)
  checks.integer(num_times, name='num_times', low=1)
  checks.number(end_time, name='end_time', low=0.0, open_low=True)
  fine = resolution if solve_resolution is None else solve_resolution
  skip = _skip(fine, resolution)
  if dt is None:
    dt = 0.05 if method == 'etdrk4' else 1e-3
  checks.number(dt, name='dt', low=0.0, open_low=True)
  each = max(1, round(end_time / num_times / dt))
  length = 1.0 if forcing == 'fno' else 2 * np.pi
  force = _spectral.navier_stokes_forcing(fine, kind=forcing)
  if scale is None:
    scale = 2**0.5 * tau ** (alpha - 1)

  def one(key):
    start = _spectral_fields.grf_periodic(
      fine,
      key=key,
      ndim=2,
      alpha=alpha,
      tau=tau,
      scale=scale,
      zero_mean=True,
      num_modes=num_modes,
    )
    rows = _spectral.solve_navier_stokes(
      start,
      viscosity=viscosity,
      forcing=jnp.asarray(force, start.dtype),
      dt=end_time / num_times / each,
      num_steps=each * num_times,
      keep_every=each,
      length=length,
      method=method,
    )
    rows = jnp.moveaxis(rows[:, ::skip, ::skip], 0, -1)
    return start[::skip, ::skip], rows

  x = length * np.arange(resolution) / resolution
  times = end_time * np.arange(1, num_times + 1) / num_times
  return Recipe(jax.vmap(one), (x, x), (x, x, times), extra='back')
