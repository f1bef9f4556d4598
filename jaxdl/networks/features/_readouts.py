# SPDX-License-Identifier: Apache-2.0
"""Linear read-outs of given features, by one of several factorizations."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks, registry
from jaxdl.networks.features import _arrays as arrays, _bundling as bundling

# Below it, rounding of float32 features is larger than the penalty.
_SMALLEST = 1e-7


def _auto(h, y, ridge):
  """The smaller Gram matrix on the host, a QR factorization where traced."""
  if isinstance(h, np.ndarray):
    tall = h.shape[0] >= h.shape[1]
    gram, cross = (h.T @ h, h.T @ y) if tall else (h @ h.T, y)
    solution = bundling.solve_on_host(gram, cross, ridge, np.finfo(float).eps)
    return solution if tall else h.T @ solution
  ridge = jnp.asarray(ridge, h.dtype)
  positive = ridge > 0
  root = jnp.where(positive, jnp.sqrt(jnp.where(positive, ridge, 1)), 0)
  tall = h.shape[0] >= h.shape[1]
  a = h if tall else h.T
  q, r = jnp.linalg.qr(
    jnp.concatenate([a, root * jnp.eye(a.shape[1], dtype=h.dtype)])
  )
  q = q[: a.shape[0]]
  triangular = jax.scipy.linalg.solve_triangular
  dot = functools.partial(jnp.matmul, precision='highest')
  if tall:
    return triangular(r, dot(q.T, y))
  return dot(q, triangular(r, y, trans='T'))


def _svd(h, y, ridge):
  """V diag(s / (s^2 + ridge)) U^T y: accurate, and the shortest if ridge=0."""
  xp: Any = np if isinstance(h, np.ndarray) else jnp
  dot = (
    xp.matmul if xp is np else functools.partial(xp.matmul, precision='highest')
  )
  u, s, vt = xp.linalg.svd(h, full_matrices=False)
  # What is smaller is rounding, as NumPy's lstsq and pinv have it.
  cut = float(np.finfo(h.dtype).eps) * max(h.shape) * s[0]
  kept = (ridge > 0) | (s > cut)
  kept &= s > 0
  factor = xp.where(kept, s / xp.where(kept, s * s + ridge, 1), 0)
  return dot(vt.T, factor[:, None] * dot(u.T, y))


def _cholesky(h, y, ridge):
  """The smaller Gram matrix, factorized: fastest, half the digits."""
  tall = h.shape[0] >= h.shape[1]
  if isinstance(h, np.ndarray):
    a = h if tall else h.T
    gram = a.T @ a + ridge * np.eye(a.shape[1])
    try:
      lower = np.linalg.cholesky(gram)
      pivots = np.square(np.diagonal(lower))
    except np.linalg.LinAlgError:
      pivots = np.zeros(1)
    if pivots.min() <= np.finfo(float).eps * len(gram) * pivots.max():
      raise ValueError(
        f'ridge={ridge:g} with {a.shape[1]} nearly dependent features is '
        "singular for method='cholesky': use a larger ridge, or svd."
      )
    from scipy import linalg

    solve = lambda b: linalg.cho_solve((lower, True), b)
    return solve(h.T @ y) if tall else h.T @ solve(y)
  dot = functools.partial(jnp.matmul, precision='highest')
  a = h if tall else h.T
  gram = dot(a.T, a) + ridge * jnp.eye(a.shape[1], dtype=h.dtype)
  solve = lambda b: jax.scipy.linalg.solve(gram, b, assume_a='pos')
  return solve(dot(h.T, y)) if tall else dot(h.T, solve(y))


def _cg(h, y, ridge, *, max_iters: int = 1000, tol: float = 1e-10):
  """Conjugate gradients on the normal equations: no M x M matrix."""
  checks.integer(max_iters, name='max_iters', low=1)
  checks.number(tol, name='tol', low=0.0)
  if isinstance(h, np.ndarray):
    with jax.enable_x64(True):
      arrays = jnp.asarray(h), jnp.asarray(y), jnp.asarray(ridge, h.dtype)
      return np.asarray(_iterated(*arrays, max_iters=max_iters, tol=tol))
  return _iterated(h, y, ridge, max_iters=max_iters, tol=tol)


@functools.partial(jax.jit, static_argnames=('max_iters', 'tol'))
def _iterated(h, y, ridge, *, max_iters, tol):
  dot = functools.partial(jnp.matmul, precision='highest')
  normal = lambda w: dot(h.T, dot(h, w)) + jnp.asarray(ridge, h.dtype) * w
  solution, _ = jax.scipy.sparse.linalg.cg(
    normal, dot(h.T, y), tol=tol, maxiter=max_iters
  )
  return solution


# How a read-out is solved.
READOUTS = registry.Registry(
  'method',
  {'auto': _auto, 'cg': _cg, 'cholesky': _cholesky, 'svd': _svd},
  given=('h', 'y', 'ridge'),
)


def fit_readout(
  h: chex.Array,
  y: chex.Array,
  *,
  ridge: chex.Numeric,
  method: str = 'auto',
  weights: chex.Array | None = None,
) -> chex.Array:
  """Fits a linear read-out of features: min |H W^T - Y|^2 + ridge |W|^2.

  Concrete arrays are solved in float64 on the host, traced ones in their own
  precision. Methods (`READOUTS`):

  - 'auto': the smaller one of the M x M and the n x n system; a QR
    factorization of the features where traced. Refuses to choose among many
    solutions.
  - 'svd': sees singular values down to 1e-16 of the largest where a Gram
    matrix ends at 1e-8; without a ridge the shortest solution
    (pseudo-inverse).
  - 'cholesky': half the time of 'auto' for large systems.
  - 'cg(max_iters=1000, tol=1e-10)': needs no M x M matrix; takes about
    s_max / sqrt(ridge) iterations.

  Args:
    h: f[n, M]; integers are cast, here and below.
    y: f[n, o].
    ridge: mu >= 0. On float32 features less than 1e-7 is below their rounding;
      a warning says so.
    method: a part of `READOUTS` (static).
    weights: f[n] or bool[n] >= 0, importance of each example; false rows have
      no effect, whatever they contain.

  Returns:
    W f[o, M], of the common dtype; half precision is solved in float32.

  Raises:
    ValueError: if shapes disagree, there are no examples, n < M and ridge is
      zero (many matrices fit; 'svd' takes the shortest), or concrete features
      are not finite or dependent without a ridge.
    TypeError: if what is given holds no real numbers.

  Cost: O(n M min(n, M)); 'cg' O(n M) per iteration.

  Example:
    >>> h = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> fit_readout(h, h @ jnp.array([[2.0], [3.0]]), ridge=0.0).tolist()
    [[2.0, 3.0]]
    >>> y = jnp.array([[4.0]])
    >>> fit_readout(h[2:], y, ridge=0.0, method='svd').round(5).tolist()
    [[2.0, 2.0]]
  """
  checks.number(ridge, name='ridge', low=0.0)
  part = READOUTS.part(method, name='method')
  h, y = arrays.real(h, name='h'), arrays.real(y, name='y')
  if h.ndim != 2 or y.ndim != 2 or h.shape[0] != y.shape[0]:
    raise ValueError(
      f'h and y must be [n, M] and [n, o]; got {h.shape} and {y.shape}.'
    )
  n, m = h.shape
  if not n or not m:
    raise ValueError(f'h is empty, of shape {h.shape}: nothing can be fitted.')
  weights = arrays.example_weights(weights, n)
  known = not bundling.is_traced(ridge)
  if known and ridge == 0 and n < m and part.name != 'svd':
    raise ValueError(
      f'ridge=0 with n={n} examples of M={m} features is '
      'singular: use ridge > 0.'
    )
  dtype = jnp.result_type(h, y)
  if known and 0 < ridge < _SMALLEST and jnp.finfo(dtype).eps > _SMALLEST:
    logging.log_first_n(
      logging.WARNING,
      'ridge=%g is below the rounding of features in %s: compute them under '
      'jax.enable_x64(True), or use at least %g.',
      1,
      ridge,
      dtype.name,
      _SMALLEST,
    )
  solve = READOUTS.partial(part)
  if not known or bundling.is_traced(h, y, weights):
    wide = arrays.solvable(h, y)
    h, y = _weighted(h.astype(wide), y.astype(wide), weights, jnp)
    return solve(h, y, ridge).T.astype(dtype)
  h, y = np.asarray(h, np.float64), np.asarray(y, np.float64)
  if weights is not None:
    weights = np.asarray(weights, np.float64)
  h, y = _weighted(h, y, weights, np)
  bundling.check_finite(h=h, y=y)
  return jnp.asarray(solve(h, y, float(ridge)).T, dtype)


def _weighted(h, y, weights, xp):
  """Rows times the square root of their weight."""
  if weights is None:
    return h, y
  scale = xp.sqrt(weights.astype(h.dtype))[:, None]
  kept = lambda x: xp.where(
    xp.broadcast_to(scale > 0, x.shape), scale * x, xp.zeros_like(x)
  )
  with np.errstate(invalid='ignore'):
    return kept(h), kept(y)
