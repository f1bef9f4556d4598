# SPDX-License-Identifier: Apache-2.0
"""Integral transforms learned as operators: Legendre and Caputo."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.pde import _grid as grid, _random_fields


def quadrature(
  num_points: int, *, rule: str = 'gauss'
) -> tuple[np.ndarray, np.ndarray]:
  """Returns nodes and weights of a rule on [-1, 1].

  Args:
    num_points: number of nodes, >= 2.
    rule: 'gauss' (Gauss-Legendre, exact to degree 2n-1) or 'trapezoid' (on a
      uniform grid, second order).

  Returns:
    Two float64 NumPy arrays [P].

  Raises:
    ValueError: if an option is out of range.

  Example:
    >>> nodes, weights = quadrature(5)
    >>> print(round(float(weights @ nodes**2), 6))
    0.666667
  """
  checks.integer(num_points, name='num_points', low=2)
  checks.choice(rule, ('gauss', 'trapezoid'), name='rule')
  if rule == 'gauss':
    nodes, weights = np.polynomial.legendre.leggauss(num_points)
    return nodes, weights
  weights = np.full(num_points, 2.0 / (num_points - 1))
  weights[[0, -1]] /= 2
  return np.linspace(-1, 1, num_points), weights


def legendre_transform(
  values: chex.Array, nodes: Any, weights: Any, *, num_coefficients: int = 20
) -> jax.Array:
  """Computes J_n, the integral of P_n f over [-1, 1], n = 0..K-1.

  Args:
    values: f[P], f at the nodes.
    nodes: concrete [P], from `quadrature`.
    weights: concrete [P].
    num_coefficients: `K` (static).

  Returns:
    f[K].

  Raises:
    TypeError: if `values` is not floating point.
    ValueError: if the lengths differ.

  Example:
    >>> nodes, weights = quadrature(8)
    >>> f = jnp.asarray(nodes**2, jnp.float32)
    >>> moments = legendre_transform(f, nodes, weights, num_coefficients=3)
    >>> print(abs(moments).round(4))
    [0.6667 0.     0.2667]

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.1.
  """
  values = grid.floating(values, name='values', ndim=1)
  checks.integer(num_coefficients, name='num_coefficients', low=1)
  nodes, weights = np.asarray(nodes), np.asarray(weights)
  if not nodes.shape == weights.shape == values.shape:
    raise ValueError(
      'values, nodes and weights must have one length; got '
      f'{values.shape}, {nodes.shape}, {weights.shape}.'
    )
  grid.finite(values, name='values')
  grid.finite(nodes, name='nodes')
  grid.finite(weights, name='weights')
  basis = _random_fields.legendre_basis(nodes, num_terms=num_coefficients)
  matrix = jnp.asarray(basis * weights[:, None], values.dtype)
  # The row times the matrix: under vmap one plain product of matrices.
  return jnp.dot(values, matrix, precision='highest')


def caputo_power(
  y: chex.Array, *, power: chex.Numeric, order: chex.Numeric
) -> jax.Array:
  """Evaluates the Caputo derivative of (1+y)^k from y = -1 in closed form.

  Args:
    y: f[...], points >= -1.
    power: `k` > 0.
    order: derivative order `a` in (0, 1).

  Returns:
    f[...], Gamma(k+1) / Gamma(k+1-a) (1+y)^(k-a).

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> print(caputo_power(jnp.array([0.0]), power=1.0, order=0.5).round(4))
    [1.1284]
  """
  checks.number(
    order, name='order', low=0, high=1, open_low=True, open_high=True
  )
  checks.number(power, name='power', low=0.0, open_low=True)
  y = jnp.asarray(y)
  grid.require(y >= -1, 'y must be at least -1, where the derivative starts.')
  gammaln = jax.scipy.special.gammaln
  factor = jnp.exp(gammaln(power + 1.0) - gammaln(power + 1.0 - order))
  return factor.astype(y.dtype) * (1 + y) ** (power - order)


def caputo_legendre_basis(y: Any, order: Any, *, num_terms: int) -> np.ndarray:
  """Evaluates the Caputo derivatives of P_0..P_{K-1} from y = -1.

  Uses D^a P_n = (1+y)^(-a) [ n!/Gamma(n+1-a) P_n^(a,-a)(y)
  - (-1)^n / Gamma(1-a) ] with Jacobi polynomials, which does not lose the
  digits that the expansion in powers of 1+y loses.

  Args:
    y: concrete [...], points of [-1, 1].
    order: concrete, broadcastable with `y`, `a` in (0, 1).
    num_terms: `K` (static).

  Returns:
    float64 NumPy [..., K]; zero at y = -1. Times Legendre coefficients it is
    the derivative of the series.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> basis = caputo_legendre_basis(0.0, 0.5, num_terms=2)
    >>> print(basis.round(4))
    [0.     1.1284]

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193), section 4.1.
  """
  checks.integer(num_terms, name='num_terms', low=1)
  y, a = np.broadcast_arrays(
    np.asarray(y, np.float64), np.asarray(order, np.float64)
  )
  if not ((a > 0) & (a < 1)).all():
    raise ValueError(f'order must lie in (0, 1); got {order!r}.')
  if not ((y >= -1) & (y <= 1)).all():
    raise ValueError('y must lie in [-1, 1].')
  gamma = np.vectorize(math.gamma, otypes=[float])
  jacobi = [np.ones_like(y), a + y]
  # Three-term recurrence at parameters (a, -a), whose sum vanishes.
  for n in range(2, num_terms):
    c0 = 2 * n * n * (2 * n - 2)
    c1 = (2 * n - 1) * (2 * n) * (2 * n - 2) * y
    c2 = 2 * (n - 1 + a) * (n - 1 - a) * (2 * n)
    jacobi.append((c1 * jacobi[-1] - c2 * jacobi[-2]) / c0)
  start = np.where(y > -1, 1 + y, 1.0)
  out = []
  factor = 1 / gamma(1 - a)  # n! / Gamma(n + 1 - a) at n = 0.
  base = factor
  for n in range(num_terms):
    if n:
      factor = factor * n / (n - a)
    value = start ** (-a) * (factor * jacobi[n] - (-1) ** n * base)
    out.append(np.where(y > -1, value, 0.0) if n else np.zeros_like(y))
  return np.stack(out, axis=-1)


def solve_caputo(
  values: chex.Array, *, order: chex.Numeric, dx: chex.Numeric
) -> jax.Array:
  """Computes the Caputo derivative of order a in (0, 1) from the left end.

  The L1 scheme: u is replaced by its piecewise-linear interpolant.

  Args:
    values: f[P], u on a uniform grid, P >= 2.
    order: `a` in (0, 1); may be traced.
    dx: grid spacing, > 0.

  Returns:
    f[P], zero at the left end; error O(dx^(2-a)) for smooth u.

  Raises:
    TypeError: if `values` is not floating point.
    ValueError: if a number is out of range.

  Cost: one P x P triangular product, shared by a vmapped batch.

  Example:
    >>> y = jnp.linspace(0.0, 1.0, 5)
    >>> print(solve_caputo(y, order=0.5, dx=0.25)[-1].round(4))
    1.1284
  """
  values = grid.floating(values, name='values', ndim=1)
  grid.points(values, name='values', low=2)
  checks.number(
    order, name='order', low=0, high=1, open_low=True, open_high=True
  )
  checks.number(dx, name='dx', low=0.0, open_low=True)
  grid.finite(values, name='values')
  dtype = values.dtype
  a = jnp.asarray(order, dtype)
  lag = np.arange(values.shape[0] - 1)
  k = jnp.asarray(lag, dtype)
  # (k+1)^(1-a) - k^(1-a), without cancellation for large k.
  weights = jnp.where(
    k > 0,
    jnp.maximum(k, 1) ** (1 - a)
    * jnp.expm1((1 - a) * jnp.log1p(1 / jnp.maximum(k, 1))),
    1.0,
  )
  delay = lag[None] - lag[:, None]
  matrix = jnp.where(delay >= 0, weights[np.abs(delay)], 0.0)
  scale = jnp.exp(-a * jnp.log(jnp.asarray(dx, dtype)))
  scale = scale / jnp.exp(jax.scipy.special.gammaln(2 - a))
  # The row times the matrix: under vmap one plain product of matrices.
  out = scale * jnp.dot(jnp.diff(values), matrix, precision='highest')
  return jnp.concatenate([jnp.zeros_like(values[:1]), out])
