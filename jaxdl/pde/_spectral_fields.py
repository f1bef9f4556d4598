# SPDX-License-Identifier: Apache-2.0
"""Gaussian random fields with covariance s^2 (-Laplacian + tau^2)^(-alpha).

One sampler per boundary condition; each draws the coefficients of the
Laplacian's eigenfunctions, so a field has a meaning beyond its grid.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.pde import _grid as grid


def _check(num_points, num_modes, ndim, alpha, tau, scale):
  checks.integer(num_points, name='num_points', low=2)
  checks.integer(num_modes, name='num_modes', low=1)
  checks.integer(ndim, name='ndim', low=1, high=3)
  checks.number(alpha, name='alpha', low=0.0, open_low=True)
  checks.number(tau, name='tau', low=0.0, open_low=True)
  checks.number(scale, name='scale', low=0.0)


def _radius_sq(waves, ndim):
  total = 0.0
  for axis in range(ndim):
    shape = [1] * ndim
    shape[axis] = waves.size
    total = total + waves.reshape(shape) ** 2
  return np.asarray(total)


def _roots(radius_sq, alpha, tau, scale, dtype):
  """Square roots of the eigenvalues, whatever is traced among the numbers."""
  base = jnp.asarray(radius_sq, dtype) + jnp.asarray(tau, dtype) ** 2
  return scale * base ** (-alpha / 2)


def grf_periodic(
  num_points: int,
  *,
  key: chex.PRNGKey,
  ndim: int = 1,
  alpha: chex.Numeric = 2.0,
  tau: chex.Numeric = 5.0,
  scale: chex.Numeric = 25.0,
  length: float = 1.0,
  zero_mean: bool = False,
  num_modes: int | None = None,
) -> jax.Array:
  """Samples a periodic field by FFT.

  Coefficients of exp(2 pi i k.x / L) are complex normal with variance
  s^2 (|2 pi k / L|^2 + tau^2)^(-alpha) and Hermitian, so their sum over k is
  the variance at a point. The defaults are the prior of the Burgers data.

  Args:
    num_points: `n` per axis (static), at j L / n (no repeated end).
    key: consumed.
    ndim: 1, 2 or 3 (static).
    alpha: smoothness, > 0 (> ndim/2 for a bounded variance).
    tau: inverse length, > 0.
    scale: `s`, >= 0. The Navier-Stokes generator uses
      sqrt(2) tau^(alpha - ndim/2).
    length: period `L`, > 0 (static).
    zero_mean: whether to drop the constant mode (static).
    num_modes: size of the grid on which modes are drawn (static), default n;
      an odd fixed number gives the same field at every resolution.

  Returns:
    f[n, ...] with `ndim` axes, default float dtype.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> grf_periodic(64, key=jax.random.key(0)).shape
    (64,)

  Source: Li et al. 2021 (https://arxiv.org/abs/2010.08895), section 5.
  """
  modes = num_points if num_modes is None else num_modes
  _check(num_points, modes, ndim, alpha, tau, scale)
  checks.number(length, name='length', low=0.0, open_low=True)
  dtype = jnp.result_type(float)
  waves = 2 * np.pi * np.fft.fftfreq(modes, 1 / modes) / length
  radius_sq = _radius_sq(waves, ndim)[..., : modes // 2 + 1]
  roots = _roots(radius_sq, alpha, tau, scale, dtype)
  if zero_mean:
    roots = roots.at[(0,) * ndim].set(0.0)
  noise = jax.random.normal(key, (modes,) * ndim, dtype)
  # White noise has E|rfftn|^2 = n^d; Hermitian symmetry comes for free.
  spectrum = jnp.fft.rfftn(noise) * (roots * modes ** (ndim / 2))
  field = jnp.fft.irfftn(
    spectrum, s=(modes,) * ndim, axes=tuple(range(ndim))
  ).astype(dtype)
  return grid.fourier_resample(field, num_points, axes=range(ndim))


def _separable(noise, roots, basis, ndim):
  field = noise * roots
  basis = jnp.asarray(basis, field.dtype)
  for _ in range(ndim):
    field = jnp.tensordot(field, basis, axes=([0], [0]), precision='highest')
  return field


def _points(num_points, placement):
  checks.choice(placement, ('vertices', 'cells'), name='placement')
  if placement == 'vertices':
    return np.linspace(0, 1, num_points)
  return (np.arange(num_points) + 0.5) / num_points


def grf_neumann(
  num_points: int,
  *,
  key: chex.PRNGKey,
  ndim: int = 2,
  alpha: chex.Numeric = 2.0,
  tau: chex.Numeric = 3.0,
  scale: chex.Numeric | None = None,
  zero_mean: bool = True,
  num_modes: int | None = None,
  placement: str = 'vertices',
) -> jax.Array:
  """Samples a field on the unit cube with zero normal derivative.

  Coefficients of the L2-orthonormal products of cos(pi k x) are normal with
  variance s^2 (pi^2 |k|^2 + tau^2)^(-alpha). With `placement='cells'` and the
  defaults it equals the orthonormal inverse DCT of the public Darcy script.

  Args:
    num_points: `n` per axis (static).
    key: consumed.
    ndim: 1, 2 or 3 (static).
    alpha: smoothness, > 0.
    tau: inverse length, > 0.
    scale: `s`; None is the script's tau^(alpha - 1).
    zero_mean: whether to drop the constant mode, as the script does (static).
    num_modes: modes per axis (static), default n; a fixed number gives the
      same field at every resolution.
    placement: 'vertices', linspace(0, 1, n), or 'cells', (j + 1/2)/n (static).

  Returns:
    f[n, ...] with `ndim` axes, default float dtype.

  Raises:
    ValueError: if a number is out of range.

  Cost: O(n^ndim m) per axis by dense products.

  Example:
    >>> a = grf_neumann(32, key=jax.random.key(0))
    >>> coefficient = jnp.where(a >= 0, 12.0, 3.0)  # the Darcy data

  Source: Li et al. 2021 (https://arxiv.org/abs/2010.08895), section 5.2.
  """
  modes = num_points if num_modes is None else num_modes
  if scale is None:
    scale = tau ** (alpha - 1)
  _check(num_points, modes, ndim, alpha, tau, scale)
  dtype = jnp.result_type(float)
  waves = np.pi * np.arange(modes)
  x = _points(num_points, placement)
  basis = np.sqrt(2) * np.cos(waves[:, None] * x[None])
  basis[0] = 1.0
  roots = _roots(_radius_sq(waves, ndim), alpha, tau, scale, dtype)
  if zero_mean:
    roots = roots.at[(0,) * ndim].set(0.0)
  noise = jax.random.normal(key, (modes,) * ndim, dtype)
  return _separable(noise, roots, basis, ndim)


def grf_dirichlet(
  num_points: int,
  *,
  key: chex.PRNGKey,
  ndim: int = 1,
  alpha: chex.Numeric = 2.0,
  tau: chex.Numeric = 3.0,
  scale: chex.Numeric = 1.0,
  num_modes: int | None = None,
  placement: str = 'vertices',
) -> jax.Array:
  """Samples a field on the unit cube that vanishes on the boundary.

  Coefficients of the L2-orthonormal products of sin(pi k x), k >= 1, are
  normal with variance s^2 (pi^2 |k|^2 + tau^2)^(-alpha).

  Args:
    num_points: `n` per axis (static).
    key: consumed.
    ndim: 1, 2 or 3 (static).
    alpha: smoothness, > 0.
    tau: inverse length, > 0.
    scale: `s`, >= 0.
    num_modes: modes per axis (static), default n.
    placement: 'vertices' or 'cells' (static).

  Returns:
    f[n, ...] with `ndim` axes, default float dtype.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> bool(abs(grf_dirichlet(9, key=jax.random.key(0))[0]) < 1e-6)
    True
  """
  modes = num_points if num_modes is None else num_modes
  _check(num_points, modes, ndim, alpha, tau, scale)
  dtype = jnp.result_type(float)
  waves = np.pi * np.arange(1, modes + 1)
  x = _points(num_points, placement)
  basis = np.sqrt(2) * np.sin(waves[:, None] * x[None])
  if placement == 'vertices':
    basis[:, [0, -1]] = 0.0  # Not merely rounded to zero.
  roots = _roots(_radius_sq(waves, ndim), alpha, tau, scale, dtype)
  noise = jax.random.normal(key, (modes,) * ndim, dtype)
  return _separable(noise, roots, basis, ndim)
