# SPDX-License-Identifier: Apache-2.0
"""Gaussian random functions from a covariance kernel, and series spaces.

Everything that depends only on concrete points is factorized on the host in
float64; what is left inside `jit` is one matrix-vector product per sample.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.pde import _grid as grid

Kernel = Callable[[Any, Any], Any]


def _sq_distances(x, y):
  x = x[:, None] if x.ndim == 1 else x
  y = y[:, None] if y.ndim == 1 else y
  if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
    raise ValueError(
      'kernel points must be [P] or [P, d] with equal d; '
      f'got {x.shape} and {y.shape}.'
    )
  return ((x[:, None, :] - y[None, :, :]) ** 2).sum(-1)


def _namespace(*arrays):
  return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


def rbf_kernel(x: Any, y: Any, *, length_scale: chex.Numeric = 0.2) -> Any:
  """Evaluates exp(-|x-y|^2 / (2 l^2)).

  Args:
    x: f[P] or f[P, d] points; NumPy in, NumPy (float64) out.
    y: f[Q] or f[Q, d] points.
    length_scale: `l` > 0, in the units of the points; may be traced.

  Returns:
    f[P, Q], ones where points coincide.

  Raises:
    ValueError: if `length_scale <= 0` or the shapes disagree.

  Example:
    >>> x = np.array([0.0, 0.2])
    >>> print(rbf_kernel(x, x, length_scale=0.2).round(4))
    [[1.     0.6065]
     [0.6065 1.    ]]
  """
  checks.number(length_scale, name='length_scale', low=0.0, open_low=True)
  xp = _namespace(x, y, length_scale)
  return xp.exp(-_sq_distances(x, y) / (2 * length_scale**2))


def matern_kernel(
  x: Any,
  y: Any,
  *,
  length_scale: chex.Numeric = 0.2,
  smoothness: float = 1.5,
) -> Any:
  """Evaluates the Matern kernel with half-integer smoothness.

  `smoothness=0.5` is exp(-r/l), the covariance of the Ornstein-Uhlenbeck
  process.

  Args:
    x: f[P] or f[P, d] points; NumPy in, NumPy (float64) out.
    y: f[Q] or f[Q, d] points.
    length_scale: `l` > 0; may be traced.
    smoothness: 0.5, 1.5 or 2.5 (static).

  Returns:
    f[P, Q].

  Raises:
    ValueError: if `length_scale <= 0`, the smoothness is another number or
      the shapes disagree.

  Example:
    >>> x = np.array([0.0, 0.2])
    >>> print(matern_kernel(x, x[:1], smoothness=0.5).round(4).ravel())
    [1.     0.3679]
  """
  checks.number(length_scale, name='length_scale', low=0.0, open_low=True)
  checks.choice(smoothness, (0.5, 1.5, 2.5), name='smoothness')
  xp = _namespace(x, y, length_scale)
  squares = _sq_distances(x, y)
  safe = xp.where(squares > 0, squares, 1)  # Keeps sqrt differentiable at 0.
  r = xp.where(squares > 0, xp.sqrt(safe), 0) / length_scale
  if smoothness == 0.5:
    return xp.exp(-r)
  r = r * (2 * smoothness) ** 0.5
  factor = 1 + r if smoothness == 1.5 else 1 + r + r**2 / 3
  return factor * xp.exp(-r)


def exponential_kernel(
  x: Any, y: Any, *, length_scale: chex.Numeric = 0.2
) -> Any:
  """Evaluates exp(-|x-y| / l): Ornstein-Uhlenbeck, `matern_kernel` at 0.5.

  Args:
    x: f[P] or f[P, d] points; NumPy in, NumPy (float64) out.
    y: f[Q] or f[Q, d] points.
    length_scale: `l` > 0; may be traced.

  Returns:
    f[P, Q].
  """
  return matern_kernel(x, y, length_scale=length_scale, smoothness=0.5)


def covariance_factor(
  covariance: Any,
  *,
  method: str = 'eigen',
  jitter: float | None = None,
  tolerance: float = 1e-14,
) -> np.ndarray | jax.Array:
  """Factors a covariance as `F @ F.T`, so that `F @ normal` has it.

  A concrete matrix is factored on the host in float64. `eigen` drops modes
  below `tolerance` of the largest: smooth kernels keep a few dozen columns,
  need no jitter and stay smooth in float32. `cholesky` keeps P columns. A
  traced matrix (say, with a traced length scale) always takes Cholesky.

  Args:
    covariance: f[P, P], symmetric positive semi-definite.
    method: 'eigen' or 'cholesky' (static).
    jitter: added to the diagonal, in units of its mean, for Cholesky; default
      1e-13 on the host, 1e-5 for traced float32, 1e-10 for traced float64.
    tolerance: relative cut of `eigen`, in [0, 1).

  Returns:
    float64 NumPy [P, R], R <= P, for a concrete matrix; f[P, P] if traced.

  Raises:
    ValueError: if the matrix is not square, not finite or not positive
      definite; the message says what to raise.

  Cost: O(P^3) once; P <= 2000 is comfortable.

  Example:
    >>> x = np.linspace(0, 1, 1000)
    >>> covariance_factor(rbf_kernel(x, x)).shape[1] < 30
    True
  """
  checks.choice(method, ('eigen', 'cholesky'), name='method')
  checks.number(tolerance, name='tolerance', low=0.0, high=1.0, open_high=True)
  shape = jnp.shape(covariance)
  if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
    raise ValueError(f'covariance must be square [P, P]; got shape {shape}.')
  if grid.is_traced(covariance):
    covariance = jnp.asarray(covariance)
    if jitter is None:
      jitter = 1e-10 if covariance.dtype == jnp.float64 else 1e-5
    ridge = jitter * jnp.mean(jnp.diagonal(covariance))
    eye = jnp.eye(shape[0], dtype=covariance.dtype)
    lower = jnp.linalg.cholesky(covariance + ridge * eye)
    grid.finite(
      lower,
      name='the Cholesky factor',
      hint=f': covariance not positive definite in {covariance.dtype}, '
      'raise jitter or enable x64',
    )
    return lower
  matrix = np.asarray(covariance, np.float64)
  if not np.isfinite(matrix).all():
    raise ValueError('covariance holds NaN or infinite values.')
  if method == 'cholesky':
    jitter = 1e-13 if jitter is None else jitter
    ridge = jitter * np.mean(np.diag(matrix))
    try:
      return np.linalg.cholesky(matrix + ridge * np.eye(shape[0]))
    except np.linalg.LinAlgError:
      raise ValueError(
        'covariance not positive definite in float64: raise '
        f"jitter={jitter:g} or use method='eigen'."
      ) from None
  values, vectors = np.linalg.eigh(matrix)
  if values[0] < -1e-4 * abs(values[-1]):
    raise ValueError(
      'covariance not positive semi-definite: smallest eigenvalue '
      f'{values[0]:.3g}, largest {values[-1]:.3g}.'
    )
  kept = values > tolerance * values[-1]
  return (vectors[:, kept] * np.sqrt(values[kept]))[:, ::-1]


def grf_dense(
  x: Any,
  kernel: Kernel = rbf_kernel,
  *,
  key: chex.PRNGKey,
  method: str = 'eigen',
  jitter: float | None = None,
) -> jax.Array:
  """Samples one mean-zero Gaussian random function at given points.

  Map it over keys with `jax.vmap`: the factorization happens once per trace.

  Args:
    x: f[P] or f[P, d] points.
    kernel: `(x, y) -> f[P, Q]`, for example `rbf_kernel` or a partial of it.
    key: consumed.
    method: see `covariance_factor`.
    jitter: see `covariance_factor`.

  Returns:
    f[P], dtype of the points (default float for NumPy points).

  Raises:
    ValueError: as `covariance_factor`.

  Cost: O(P^3) on the host per trace, then O(P R) per sample.

  Example:
    >>> x = jnp.linspace(0.0, 1.0, 50)
    >>> grf_dense(x, key=jax.random.key(0)).shape
    (50,)

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 3.
  """
  dtype = x.dtype if isinstance(x, jax.Array) else jnp.result_type(float)
  if not grid.is_traced(x):
    x = np.asarray(x, np.float64)
  factor = covariance_factor(kernel(x, x), method=method, jitter=jitter)
  factor = jnp.asarray(factor, dtype)
  noise = jax.random.normal(key, (factor.shape[1],), dtype)
  # The row times the matrix: under vmap one plain product of matrices.
  return jnp.dot(noise, factor.T, precision='highest')


def kl_basis(
  kernel: Kernel, x: Any, *, num_modes: int
) -> tuple[np.ndarray, np.ndarray]:
  """Computes the leading Karhunen-Loeve pairs of a kernel on an interval.

  Nystroem's method with trapezoid weights, in float64 on the host.

  Args:
    kernel: `(x, y) -> f[P, Q]`.
    x: f[P], increasing points, concrete.
    num_modes: `K`, at most P.

  Returns:
    Eigenvalues [K], decreasing, and eigenfunctions [P, K], orthonormal in L2
    under the trapezoid rule; `functions * sqrt(values) @ normal` is a sample.

  Raises:
    ValueError: if the points do not increase or `num_modes` is out of range.

  Example:
    >>> values, _ = kl_basis(rbf_kernel, np.linspace(0, 1, 400), num_modes=3)
    >>> print(values.round(3))
    [0.44 0.3  0.16]
  """
  x = np.asarray(x, np.float64)
  if (
    x.ndim != 1
    or x.size < 2
    or not (np.isfinite(x).all() and (np.diff(x) > 0).all())
  ):
    raise ValueError(
      f'x must be increasing points [P], P >= 2; got shape {x.shape}.'
    )
  num_modes = checks.integer(num_modes, name='num_modes', low=1, high=x.size)
  weights = np.zeros_like(x)
  weights[1:] += np.diff(x) / 2
  weights[:-1] += np.diff(x) / 2
  root = np.sqrt(weights)
  matrix = np.asarray(kernel(x, x), np.float64)
  if not np.isfinite(matrix).all():
    raise ValueError('kernel gives NaN or infinite values at these points.')
  values, vectors = np.linalg.eigh(root[:, None] * matrix * root[None])
  values = np.maximum(values[::-1][:num_modes], 0)
  return values, vectors[:, ::-1][:, :num_modes] / root[:, None]


class FunctionSpace(NamedTuple):
  """Random functions `basis @ c`; made by `function_space`.

  Attributes:
    basis: f[P, K], the span at the points.
    bound: f[], coefficients are uniform in [-bound, bound], or standard
      normal if it is zero.
  """

  basis: chex.Array
  bound: chex.Array


def _recurrence(x, num_terms, step):
  terms = [np.ones_like(x), x]
  for k in range(1, num_terms - 1):
    terms.append(step(k, terms[-1], terms[-2]))
  return np.stack(terms[:num_terms], axis=-1)


def chebyshev_basis(x: Any, *, num_terms: int) -> np.ndarray:
  """Evaluates T_0..T_{K-1} at points of [-1, 1]: float64 [..., K], host."""
  x = np.asarray(x, np.float64)
  return _recurrence(x, num_terms, lambda k, p, q: 2 * x * p - q)


def legendre_basis(x: Any, *, num_terms: int) -> np.ndarray:
  """Evaluates P_0..P_{K-1} at points of [-1, 1]: float64 [..., K], host."""
  x = np.asarray(x, np.float64)
  return _recurrence(
    x, num_terms, lambda k, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)
  )


def _series(name, x, num_terms):
  if name == 'power':
    return x[:, None] ** np.arange(num_terms)[None]
  return {'chebyshev': chebyshev_basis, 'legendre': legendre_basis}[name](
    2 * x - 1, num_terms=num_terms
  )


_KERNELS = {
  'rbf': rbf_kernel,
  'exponential': exponential_kernel,
  'matern32': functools.partial(matern_kernel, smoothness=1.5),
  'matern52': functools.partial(matern_kernel, smoothness=2.5),
}
SPACES = (*_KERNELS, 'kl', 'chebyshev', 'legendre', 'power')


def function_space(
  space: str,
  x: Any,
  *,
  length_scale: float = 0.2,
  std: float = 1.0,
  num_terms: int = 20,
  bound: float = 1.0,
) -> FunctionSpace:
  """Builds a space of random input functions on [0, 1] at given points.

  Kernel spaces ('rbf', 'exponential', 'matern32', 'matern52') are exact
  Gaussian fields; 'kl' keeps `num_terms` modes of the RBF field; 'chebyshev',
  'legendre' (in 2x-1) and 'power' (in x) are series with uniform coefficients.
  Sampling at the union of sensors and solver points replaces interpolation.

  Args:
    space: one of `SPACES`.
    x: f[P], concrete points of [0, 1].
    length_scale: kernel length scale, > 0.
    std: standard deviation of the Gaussian spaces, > 0.
    num_terms: series length `N` (static).
    bound: uniform coefficients lie in [-bound, bound], `M` in the paper, > 0.

  Returns:
    A `FunctionSpace` of float64 NumPy arrays (cast when sampled).

  Raises:
    ValueError: if an option is out of range or a point leaves [0, 1].

  Example:
    >>> space = function_space('chebyshev', np.linspace(0, 1, 5), num_terms=3)
    >>> sample_space(space, key=jax.random.key(0)).shape
    (5,)

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 3.
  """
  checks.choice(space, SPACES, name='space')
  checks.number(length_scale, name='length_scale', low=0.0, open_low=True)
  checks.number(std, name='std', low=0.0, open_low=True)
  checks.number(bound, name='bound', low=0.0, open_low=True)
  num_terms = checks.integer(num_terms, name='num_terms', low=1)
  x = np.asarray(x, np.float64)
  if x.ndim != 1 or not x.size or not ((x >= -1e-9) & (x <= 1 + 1e-9)).all():
    raise ValueError(
      f'x must be points [P] of [0, 1]; got shape {x.shape}: rescale them.'
    )
  if space in _KERNELS:
    matrix = _KERNELS[space](x, x, length_scale=length_scale)
    basis = std * covariance_factor(matrix)
  elif space == 'kl':
    fine = np.linspace(0, 1, 513)
    kernel = functools.partial(rbf_kernel, length_scale=length_scale)
    values, functions = kl_basis(kernel, fine, num_modes=min(num_terms, 64))
    values, functions = values[values > 1e-12], functions[:, values > 1e-12]
    weights = np.full(fine.size, fine[1])
    weights[[0, -1]] /= 2
    # Nystroem extension: exact eigenfunctions of the discrete operator.
    extended = kernel(x, fine) @ (weights[:, None] * functions) / values
    basis = std * extended * np.sqrt(values)
  else:
    return FunctionSpace(_series(space, x, num_terms), np.float64(bound))
  return FunctionSpace(np.asarray(basis), np.float64(0.0))


def sample_space(
  space: FunctionSpace, *, key: chex.PRNGKey, dtype: Any = None
) -> jax.Array:
  """Draws one function of a space; map over keys with `jax.vmap`.

  Args:
    space: made by `function_space`.
    key: consumed.
    dtype: of the result; default float if None.

  Returns:
    f[P].
  """
  dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
  basis = jnp.asarray(space.basis, dtype)
  bound = jnp.asarray(space.bound, dtype)
  normal_key, uniform_key = jax.random.split(key)
  shape = (basis.shape[1],)
  normal = jax.random.normal(normal_key, shape, dtype)
  uniform = bound * jax.random.uniform(uniform_key, shape, dtype, -1.0, 1.0)
  coefficients = jnp.where(bound > 0, uniform, normal)
  # The row times the matrix: under vmap one plain product of matrices.
  return jnp.dot(coefficients, basis.T, precision='highest')


def chebyshev_space(
  x: Any, *, key: chex.PRNGKey, num_terms: int = 20, bound: float = 1.0
) -> jax.Array:
  """Draws sum_i a_i T_i(2x-1), a_i uniform in [-bound, bound]: f[P]."""
  space = function_space('chebyshev', x, num_terms=num_terms, bound=bound)
  return sample_space(space, key=key)


def power_series_space(
  x: Any, *, key: chex.PRNGKey, num_terms: int = 20, bound: float = 1.0
) -> jax.Array:
  """Draws sum_i a_i x^i, a_i uniform in [-bound, bound]: f[P]."""
  space = function_space('power', x, num_terms=num_terms, bound=bound)
  return sample_space(space, key=key)


def interpolation_error(
  num_sensors: float, length_scale: float, *, length: float = 1.0
) -> float:
  """Root mean square of u minus its linear interpolant, between sensors.

  Of a Gaussian process with kernel exp(-r^2 / (2 l^2)) half way between two
  sensors; tends to sqrt(3) h^2 / (8 l^2) for small spacings h.

  Args:
    num_sensors: m > 1, evenly spaced, ends included.
    length_scale: l > 0.
    length: of the axis.

  Returns:
    The error, for functions of standard deviation 1.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> round(interpolation_error(11, 0.2), 6)
    0.052745
  """
  checks.number(num_sensors, name='num_sensors', low=1.0, open_low=True)
  checks.number(length_scale, name='length_scale', low=0.0, open_low=True)
  ratio = (length / (num_sensors - 1) / length_scale) ** 2
  # 1.5 + 0.5 rho(h) - 2 rho(h / 2), where the leading digits cancel.
  square = 0.5 * np.expm1(-ratio / 2) - 2 * np.expm1(-ratio / 8)
  return float(np.sqrt(max(0.0, square)))
