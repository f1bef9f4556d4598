# SPDX-License-Identifier: Apache-2.0
"""Poisson and Darcy: exact solutions, orders of convergence, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from absl.testing import absltest, parameterized
from solvers import DoubleTest, darcy_matrix, jitted, largest, order, square

from jaxdl import pde


class PoissonTest(DoubleTest):
  @parameterized.parameters(
    (17, 0.0734458), (33, 0.0736147), (65, 0.0736572), (129, 0.0736678)
  )
  def test_center_of_the_torsion_problem(self, n, want):
    u = jitted.solve_poisson(jnp.ones((n, n)))
    self.assertAlmostEqual(float(u[n // 2, n // 2]), want, delta=6e-8)

  @parameterized.parameters('dirichlet', 'neumann', 'periodic')
  def test_finite_is_second_order_and_spectral_exact(self, boundary):
    wave = {'dirichlet': np.sin, 'neumann': np.cos, 'periodic': np.cos}
    errors, exact = [], []
    for n in (8, 16):
      x = (
        np.arange(n) / n if boundary == 'periodic' else np.linspace(0, 1, n + 1)
      )
      k = np.pi * np.array([2.0, 4.0])
      u = np.outer(wave[boundary](k[0] * x), wave[boundary](k[1] * x))
      f = jnp.asarray((k @ k + 3) * u)
      solve = lambda scheme, f=f: jitted.solve_poisson(
        f, boundary=boundary, scheme=scheme, screening=3.0
      )
      errors.append(largest(solve('finite') - u))
      exact.append(largest(solve('spectral') - u))
    self.assertAlmostEqual(order(errors), 2, delta=0.2)
    self.assertLess(exact[-1], 1e-13)

  def test_large_axes_take_the_fft(self):
    f = np.random.default_rng(0).normal(size=(170, 6))
    got = jitted.solve_poisson(jnp.asarray(f))
    h = np.array([1 / 169, 1 / 5])
    wide = np.asarray(got)
    lap = np.diff(wide, 2, axis=0)[:, 1:-1] / h[0] ** 2
    lap += np.diff(wide, 2, axis=1)[1:-1] / h[1] ** 2
    np.testing.assert_allclose(-lap, f[1:-1, 1:-1], atol=1e-9)

  def test_zero_mean_and_mistakes(self):
    x = np.arange(8) / 8
    u = pde.solve_poisson(jnp.cos(2 * np.pi * x), boundary='periodic')
    self.assertAlmostEqual(float(u.mean()), 0.0, places=14)
    for boundary in ('periodic', 'neumann'):
      with self.assertRaisesRegex(ValueError, 'zero mean'):
        pde.solve_poisson(jnp.ones((8, 8)), boundary=boundary)
    with self.assertRaisesRegex(ValueError, "boundary='robin' is unknown"):
      pde.solve_poisson(jnp.ones(8), boundary='robin')
    with self.assertRaisesRegex(ValueError, 'NaN'):
      pde.solve_poisson(jnp.full((4, 4), jnp.nan))


class DarcyTest(DoubleTest):
  def coefficient(self, n, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.normal(size=(n, n)) > 0, 12.0, 3.0)

  @parameterized.product(preconditioner=pde.PRECONDITIONERS, face=pde.FACES)
  def test_equals_a_sparse_direct_solve(self, preconditioner, face):
    a = self.coefficient(14)
    f = np.random.default_rng(1).normal(size=(14, 14))
    got = jitted.solve_darcy(
      jnp.asarray(a),
      jnp.asarray(f),
      face=face,
      preconditioner=preconditioner,
      tolerance=1e-12,
    )
    want = scipy.sparse.linalg.spsolve(
      darcy_matrix(a, face == 'harmonic'), f[1:-1, 1:-1].ravel()
    )
    np.testing.assert_allclose(got[1:-1, 1:-1].ravel(), want, atol=1e-11)
    np.testing.assert_array_equal(got[0], 0)
    back = pde.apply_darcy(jnp.asarray(a), got, face=face)
    np.testing.assert_allclose(back, f[1:-1, 1:-1], atol=1e-8)

  def test_second_order_for_a_smooth_coefficient(self):
    errors = []
    for n in (17, 33):
      x, y = square(n)
      u = np.sin(np.pi * x) * np.sin(np.pi * y)
      u_x = np.pi * np.cos(np.pi * x) * np.sin(np.pi * y)
      u_y = np.pi * np.sin(np.pi * x) * np.cos(np.pi * y)
      f = 2 * np.pi**2 * u * (1 + x * y) - y * u_x - x * u_y
      got = jitted.solve_darcy(jnp.asarray(1 + x * y), jnp.asarray(f))
      errors.append(largest(got - u))
    self.assertAlmostEqual(order(errors), 2, delta=0.1)

  def test_scaling_constant_and_symmetry(self):
    a = jnp.asarray(self.coefficient(16))
    u = jitted.solve_darcy(a)
    np.testing.assert_allclose(jitted.solve_darcy(2 * a), u / 2, atol=1e-11)
    center = jitted.solve_darcy(jnp.full((129, 129), 12.0))[64, 64]
    self.assertAlmostEqual(float(center), 0.00613928, delta=5e-7)
    rng = np.random.default_rng(0)
    v, w = (np.pad(rng.normal(size=(14, 14)), 1) for _ in range(2))
    inner = lambda p, q: float(jnp.sum(pde.apply_darcy(a, p) * q[1:-1, 1:-1]))
    self.assertAlmostEqual(inner(v, w), inner(w, v), delta=1e-8)
    self.assertGreater(inner(v, v), 0)

  def test_a_batch_equals_its_members_and_vmap(self):
    a = jnp.asarray(np.stack([self.coefficient(12, s) for s in range(3)]))
    together = jitted.solve_darcy(a, preconditioner='multigrid')
    apart = jax.jit(jax.vmap(pde.solve_darcy))(a)
    np.testing.assert_allclose(together, apart, atol=1e-10)

  @parameterized.parameters('poisson', 'multigrid')
  def test_gradient_equals_differences(self, preconditioner):
    a = jnp.asarray(self.coefficient(9))
    center = lambda a: jitted.solve_darcy(
      a, preconditioner=preconditioner, tolerance=1e-13
    )[4, 4]
    slope = jax.grad(center)(a)
    for place in ((4, 3), (0, 4), (2, 2)):
      step = 1e-4
      up, down = (center(a.at[place].add(s)) for s in (step, -step))
      self.assertAlmostEqual(
        float(slope[place]), float(up - down) / (2 * step), delta=1e-9
      )

  def test_multigrid_survives_contrast_that_slows_the_others(self):
    a = pde.multiscale_coefficient(40, key=jax.random.key(0))
    self.assertGreater(float(a.max() / a.min()), 100)
    options = dict(tolerance=1e-8, max_steps=30)
    u = jitted.solve_darcy(a, preconditioner='multigrid', **options)
    residual = pde.apply_darcy(a, u) - 1
    self.assertLess(largest(residual), 1e-5)
    with self.assertRaisesRegex(ValueError, "use preconditioner='multigrid'"):
      pde.solve_darcy(a, preconditioner='jacobi', **options)

  def test_mistakes(self):
    a = jnp.ones((8, 8))
    with self.assertRaisesRegex(ValueError, 'a > 0'):
      pde.solve_darcy(a.at[3, 3].set(0.0))
    with self.assertRaisesRegex(ValueError, 'NaN'):
      pde.solve_darcy(a.at[3, 3].set(jnp.nan))
    with self.assertRaisesRegex(ValueError, 'X, Y >= 3'):
      pde.solve_darcy(jnp.ones((2, 8)))
    with self.assertRaisesRegex(ValueError, 'source must be a scalar'):
      pde.solve_darcy(a, jnp.ones((7, 8)))
    with self.assertRaisesRegex(TypeError, 'floating'):
      pde.solve_darcy(jnp.ones((8, 8), int))
    with self.assertRaisesRegex(ValueError, "face='upwind' is unknown"):
      pde.solve_darcy(a, face='upwind')
    with self.assertRaisesRegex(ValueError, 'low must lie'):
      pde.threshold_coefficient(a, low=0.0)

  def test_float32(self):
    a = self.coefficient(20)
    got = jitted.solve_darcy(jnp.asarray(a, jnp.float32))
    self.assertEqual(got.dtype, jnp.float32)
    want = jitted.solve_darcy(jnp.asarray(a))
    self.assertLess(largest(got - want) / largest(want), 5e-6)


if __name__ == '__main__':
  absltest.main()
