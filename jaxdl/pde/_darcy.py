# SPDX-License-Identifier: Apache-2.0
"""Darcy flow: random coefficients and preconditioned conjugate gradients."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees
from jaxdl.pde import _grid as grid, _multigrid as multigrid

PRECONDITIONERS = ('poisson', 'multigrid', 'jacobi')
FACES = ('arithmetic', 'harmonic')


def threshold_coefficient(
  field: chex.Array, *, low: float = 3.0, high: float = 12.0
) -> jax.Array:
  """Maps a random field to two phases: `high` where it is >= 0, else `low`.

  Args:
    field: f[...], for example from `grf_neumann`.
    low: value of the weak phase, > 0.
    high: value of the strong phase, > 0.

  Returns:
    f[...], same shape and dtype.

  Raises:
    ValueError: if a phase is not positive.

  Example:
    >>> print(threshold_coefficient(jnp.array([-1.0, 2.0])))
    [ 3. 12.]

  Source: Li et al. 2021 (https://arxiv.org/abs/2010.08895), section 5.2.
  """
  checks.number(low, name='low', low=0.0, open_low=True)
  checks.number(high, name='high', low=0.0, open_low=True)
  field = jnp.asarray(field)
  return jnp.where(field >= 0, high, low).astype(field.dtype)


def multiscale_coefficient(
  num_points: int, *, key: chex.PRNGKey, num_scales: int = 6
) -> jax.Array:
  """Draws the multiscale trigonometric coefficient on the unit square.

  The product over k = 1..K of (1 + cos(a_k pi (x+y)) / 2)
  (1 + sin(a_k pi (y - 3x)) / 2), a_k uniform in [2^(k-1), 1.5 2^(k-1)].

  Args:
    num_points: `n` vertices per axis (static).
    key: consumed.
    num_scales: `K` (static).

  Returns:
    f[n, n], positive.

  Example:
    >>> multiscale_coefficient(8, key=jax.random.key(0)).shape
    (8, 8)

  Source: Liu et al. 2022 (https://arxiv.org/abs/2210.10890), section 4.2, as
  recalled; the sheets give only the file name.
  """
  checks.integer(num_points, name='num_points', low=2)
  checks.integer(num_scales, name='num_scales', low=1)
  dtype = jnp.result_type(float)
  base = jnp.asarray(2.0 ** np.arange(num_scales), dtype)
  scales = base * jax.random.uniform(
    key, (num_scales,), dtype, minval=1.0, maxval=1.5
  )
  x = np.linspace(0, 1, num_points)
  plus = jnp.asarray(np.pi * (x[:, None] + x[None]), dtype)
  minus = jnp.asarray(np.pi * (x[None] - 3 * x[:, None]), dtype)
  out = jnp.ones((num_points, num_points), dtype)
  for k in range(num_scales):
    out = out * (1 + 0.5 * jnp.cos(scales[k] * plus))
    out = out * (1 + 0.5 * jnp.sin(scales[k] * minus))
  return out


def _operator(a, face):
  hx, hy = 1 / (a.shape[-2] - 1), 1 / (a.shape[-1] - 1)

  def mean(p, q):
    return (p + q) / 2 if face == 'arithmetic' else 2 * p * q / (p + q)

  along_x = mean(a[..., 1:, 1:-1], a[..., :-1, 1:-1]) / hx**2
  along_y = mean(a[..., 1:-1, 1:], a[..., 1:-1, :-1]) / hy**2
  return multigrid.FivePoint(along_x, along_y)


def _poisson_inverse(shape, dtype):
  waves = [
    (2 * np.sin(np.pi * np.arange(1, n + 1) / (2 * (n + 1))) * (n + 1)) ** 2
    for n in shape
  ]
  inverse = jnp.asarray(1 / (waves[0][:, None] + waves[1][None]), dtype)

  def apply(r):
    spread = inverse.reshape((1,) * (r.ndim - 2) + inverse.shape)
    r = spread * grid.sine_transform(grid.sine_transform(r, -2), -1)
    return grid.sine_transform(grid.sine_transform(r, -1), -2)

  return apply


def _conjugate_gradients(matvec, precondition, b, tolerance, max_steps):
  dot = lambda x, y: jnp.sum(x * y, axis=(-1, -2), keepdims=True)
  divide = lambda p, q: jnp.where(q > 0, p / jnp.where(q > 0, q, 1), 0)
  # In units of b, so that its square neither over- nor underflows.
  unit = trees.power_of_two(jnp.max(jnp.abs(b), axis=(-1, -2), keepdims=True))
  b = b / unit
  goal = tolerance**2 * dot(b, b)

  def unfinished(state):
    *_, rr, count = state
    return jnp.any(rr > goal) & (count < max_steps)

  def step(state):
    x, r, p, rz, _, count = state
    q = matvec(p)
    alpha = divide(rz, dot(p, q))
    x, r = x + alpha * p, r - alpha * q
    z = precondition(r)
    fresh = dot(r, z)
    return x, r, z + divide(fresh, rz) * p, fresh, dot(r, r), count + 1

  z = precondition(b)
  state = (jnp.zeros_like(b), b, z, dot(b, z), dot(b, b), 0)
  x, _, _, _, rr, _ = jax.lax.while_loop(unfinished, step, state)
  return x * unit, jnp.all(rr <= goal)


def apply_darcy(
  coefficient: chex.Array, solution: chex.Array, *, face: str = 'arithmetic'
) -> jax.Array:
  """Applies -div(a grad u) at the interior vertices.

  Args:
    coefficient: f[..., X, Y], `a` on the vertices of the unit square.
    solution: f[..., X, Y], `u`; its boundary values are taken as zero.
    face: 'arithmetic' or 'harmonic' mean of the two nodes (static).

  Returns:
    f[..., X-2, Y-2].

  Raises:
    ValueError: if the shapes differ.
  """
  checks.choice(face, FACES, name='face')
  if jnp.shape(coefficient) != jnp.shape(solution):
    raise ValueError(
      'coefficient and solution must have one shape; got '
      f'{jnp.shape(coefficient)} and {jnp.shape(solution)}.'
    )
  inner = solution[..., 1:-1, 1:-1]
  return multigrid.five_point_apply(_operator(coefficient, face), inner)


def solve_darcy(
  coefficient: chex.Array,
  source: chex.Numeric = 1.0,
  *,
  face: str = 'arithmetic',
  preconditioner: str = 'poisson',
  tolerance: float | None = None,
  max_steps: int = 2000,
) -> jax.Array:
  """Solves -div(a grad u) = f on the unit square, u = 0 on the boundary.

  Five-point finite volumes on the vertices, face coefficients averaged from
  the two nodes, preconditioned conjugate gradients. 'poisson' inverts the
  Laplacian by sine transforms: its step count grows with sqrt(max a / min a)
  only. 'multigrid' is an aggregation V-cycle, robust against contrast.
  'jacobi' scales by the diagonal: O(n) steps. Differentiable in `coefficient`
  and `source` by the implicit rule.

  Args:
    coefficient: f[..., X, Y], `a` > 0 on the vertices, boundary included;
      X, Y >= 3. Leading axes are a batch that iterates together, which is
      faster than `jax.vmap` of one solve.
    source: scalar, or f[..., X, Y] broadcast against the coefficient.
    face: 'arithmetic', as the public generator, or 'harmonic' (static).
    preconditioner: one of `PRECONDITIONERS` (static).
    tolerance: relative residual to reach; default 1e-6, 1e-10 in float64.
    max_steps: most iterations (static).

  Returns:
    f[..., X, Y], zero on the boundary, second order for smooth a.

  Raises:
    TypeError: if `coefficient` is not floating point.
    ValueError: if shapes disagree, `a` is not positive or finite, or the
      iteration does not converge.

  Cost: per step one stencil and one preconditioner; 16 'poisson' steps for
  phases 12 and 3 at any resolution.

  Example:
    >>> u = solve_darcy(jnp.full((33, 33), 12.0))
    >>> print((12 * u[16, 16]).round(4))
    0.0736

  Source: Li et al. 2021 (https://arxiv.org/abs/2010.08895), section 5.2.
  """
  coefficient = jnp.asarray(coefficient)
  if coefficient.ndim < 2 or min(coefficient.shape[-2:]) < 3:
    raise ValueError(
      'coefficient must be [..., X, Y] with X, Y >= 3; '
      f'got shape {coefficient.shape}.'
    )
  a = grid.floating(coefficient, name='coefficient', ndim=coefficient.ndim)
  checks.choice(face, FACES, name='face')
  checks.choice(preconditioner, PRECONDITIONERS, name='preconditioner')
  checks.integer(max_steps, name='max_steps', low=1)
  if tolerance is None:
    tolerance = 1e-10 if a.dtype == jnp.float64 else 1e-6
  checks.number(tolerance, name='tolerance', low=0.0, open_low=True)
  source = jnp.asarray(source, a.dtype)
  if source.ndim and source.shape[-2:] != a.shape[-2:]:
    raise ValueError(
      f'source must be a scalar or end in {a.shape[-2:]}; '
      f'got shape {source.shape}.'
    )
  grid.finite(a, name='coefficient')
  grid.positive(a, name='coefficient', why=': Darcy flow needs a > 0')
  grid.finite(source, name='source')
  missing = a.ndim - source.ndim
  if missing < 0:
    raise ValueError(
      f'source has more axes {source.shape} than coefficient {a.shape}.'
    )
  source = source.reshape((1,) * missing + source.shape)
  b = jnp.broadcast_to(source, a.shape)[..., 1:-1, 1:-1]
  operator = _operator(a, face)
  matvec = lambda u: multigrid.five_point_apply(operator, u)
  # The implicit rule differentiates `matvec`; the solver sees constants.
  fixed = jax.lax.stop_gradient(operator)
  if preconditioner == 'poisson':
    precondition = _poisson_inverse(b.shape[-2:], a.dtype)
  elif preconditioner == 'multigrid':
    levels = multigrid.hierarchy(fixed)
    precondition = lambda r: multigrid.v_cycle(levels, r, num_sweeps=3)
  else:
    inverse = 1 / multigrid.five_point_diagonal(fixed)
    precondition = lambda r: r * inverse

  def solve(apply, b):
    return _conjugate_gradients(apply, precondition, b, tolerance, max_steps)

  u, converged = jax.lax.custom_linear_solve(
    matvec, b, solve, symmetric=True, has_aux=True
  )
  grid.require(
    converged,
    f'conjugate gradients did not reach {tolerance=} in {max_steps=}: raise '
    "max_steps, loosen tolerance or use preconditioner='multigrid'.",
  )
  return jnp.pad(u, [(0, 0)] * (u.ndim - 2) + [(1, 1), (1, 1)])
