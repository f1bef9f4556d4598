# SPDX-License-Identifier: Apache-2.0
"""Solvers on a square: exact solutions, orders of convergence, mistakes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from absl.testing import absltest, parameterized

from jaxdl.data import operators


def order(errors):
  return math.log2(errors[-2] / errors[-1])


def largest(x):
  return float(np.abs(np.asarray(x)).max())


def square(n):
  x = np.linspace(0, 1, n)
  return np.meshgrid(x, x, indexing='ij')


def darcy_matrix(a, harmonic=False):
  """The five-point matrix, entry by entry, in float64."""
  n = a.shape[0]
  index = -np.ones((n, n), int)
  index[1:-1, 1:-1] = np.arange((n - 2) ** 2).reshape(n - 2, n - 2)
  matrix = scipy.sparse.lil_matrix(((n - 2) ** 2,) * 2)
  for i in range(1, n - 1):
    for j in range(1, n - 1):
      for p, q in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
        c = (a[i, j] + a[p, q]) / 2
        if harmonic:
          c = a[i, j] * a[p, q] / c
        c *= (n - 1) ** 2
        matrix[index[i, j], index[i, j]] += c
        if index[p, q] >= 0:
          matrix[index[i, j], index[p, q]] -= c
  return matrix.tocsc()


class DoubleTest(parameterized.TestCase):
  """Everything in float64."""

  def setUp(self):
    super().setUp()
    self.enter_context(jax.enable_x64(True))


class PoissonTest(DoubleTest):
  @parameterized.parameters(
    (17, 0.0734458), (33, 0.0736147), (65, 0.0736572), (129, 0.0736678)
  )
  def test_centre_of_the_torsion_problem(self, n, want):
    u = operators.solve_poisson(jnp.ones((n, n)))
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
      solve = lambda scheme, f=f: operators.solve_poisson(
        f, boundary=boundary, scheme=scheme, screening=3.0
      )
      errors.append(largest(solve('finite') - u))
      exact.append(largest(solve('spectral') - u))
    self.assertAlmostEqual(order(errors), 2, delta=0.2)
    self.assertLess(exact[-1], 1e-13)

  def test_large_axes_take_the_fft(self):
    f = np.random.default_rng(0).normal(size=(170, 6))
    got = operators.solve_poisson(jnp.asarray(f))
    h = np.array([1 / 169, 1 / 5])
    wide = np.asarray(got)
    lap = np.diff(wide, 2, axis=0)[:, 1:-1] / h[0] ** 2
    lap += np.diff(wide, 2, axis=1)[1:-1] / h[1] ** 2
    np.testing.assert_allclose(-lap, f[1:-1, 1:-1], atol=1e-9)

  def test_zero_mean_and_mistakes(self):
    x = np.arange(8) / 8
    u = operators.solve_poisson(jnp.cos(2 * np.pi * x), boundary='periodic')
    self.assertAlmostEqual(float(u.mean()), 0.0, places=14)
    for boundary in ('periodic', 'neumann'):
      with self.assertRaisesRegex(ValueError, 'zero mean'):
        operators.solve_poisson(jnp.ones((8, 8)), boundary=boundary)
    with self.assertRaisesRegex(ValueError, "boundary='robin' is unknown"):
      operators.solve_poisson(jnp.ones(8), boundary='robin')
    with self.assertRaisesRegex(ValueError, 'NaN'):
      operators.solve_poisson(jnp.full((4, 4), jnp.nan))


class DarcyTest(DoubleTest):
  def coefficient(self, n, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.normal(size=(n, n)) > 0, 12.0, 3.0)

  @parameterized.product(
    preconditioner=operators.PRECONDITIONERS, face=operators.FACES
  )
  def test_equals_a_sparse_direct_solve(self, preconditioner, face):
    a = self.coefficient(14)
    f = np.random.default_rng(1).normal(size=(14, 14))
    got = operators.solve_darcy(
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
    back = operators.apply_darcy(jnp.asarray(a), got, face=face)
    np.testing.assert_allclose(back, f[1:-1, 1:-1], atol=1e-8)

  def test_second_order_for_a_smooth_coefficient(self):
    errors = []
    for n in (17, 33):
      x, y = square(n)
      u = np.sin(np.pi * x) * np.sin(np.pi * y)
      u_x = np.pi * np.cos(np.pi * x) * np.sin(np.pi * y)
      u_y = np.pi * np.sin(np.pi * x) * np.cos(np.pi * y)
      f = 2 * np.pi**2 * u * (1 + x * y) - y * u_x - x * u_y
      got = operators.solve_darcy(jnp.asarray(1 + x * y), jnp.asarray(f))
      errors.append(largest(got - u))
    self.assertAlmostEqual(order(errors), 2, delta=0.1)

  def test_scaling_constant_and_symmetry(self):
    a = jnp.asarray(self.coefficient(16))
    u = operators.solve_darcy(a)
    np.testing.assert_allclose(operators.solve_darcy(2 * a), u / 2, atol=1e-11)
    centre = operators.solve_darcy(jnp.full((129, 129), 12.0))[64, 64]
    self.assertAlmostEqual(float(centre), 0.00613928, delta=5e-7)
    rng = np.random.default_rng(0)
    v, w = (np.pad(rng.normal(size=(14, 14)), 1) for _ in range(2))
    inner = lambda p, q: float(
      jnp.sum(operators.apply_darcy(a, p) * q[1:-1, 1:-1])
    )
    self.assertAlmostEqual(inner(v, w), inner(w, v), delta=1e-8)
    self.assertGreater(inner(v, v), 0)

  def test_a_batch_equals_its_members_and_vmap(self):
    a = jnp.asarray(np.stack([self.coefficient(12, s) for s in range(3)]))
    together = operators.solve_darcy(a, preconditioner='multigrid')
    apart = jax.jit(jax.vmap(operators.solve_darcy))(a)
    np.testing.assert_allclose(together, apart, atol=1e-10)

  @parameterized.parameters('poisson', 'multigrid')
  def test_gradient_equals_differences(self, preconditioner):
    a = jnp.asarray(self.coefficient(9))
    centre = lambda a: operators.solve_darcy(
      a, preconditioner=preconditioner, tolerance=1e-13
    )[4, 4]
    slope = jax.grad(centre)(a)
    for place in ((4, 3), (0, 4), (2, 2)):
      step = 1e-4
      up, down = (centre(a.at[place].add(s)) for s in (step, -step))
      self.assertAlmostEqual(
        float(slope[place]), float(up - down) / (2 * step), delta=1e-9
      )

  def test_multigrid_survives_contrast_that_slows_the_others(self):
    a = operators.multiscale_coefficient(40, key=jax.random.key(0))
    self.assertGreater(float(a.max() / a.min()), 100)
    options = dict(tolerance=1e-8, max_steps=30)
    u = operators.solve_darcy(a, preconditioner='multigrid', **options)
    residual = operators.apply_darcy(a, u) - 1
    self.assertLess(largest(residual), 1e-5)
    with self.assertRaisesRegex(ValueError, "use preconditioner='multigrid'"):
      operators.solve_darcy(a, preconditioner='jacobi', **options)

  def test_mistakes(self):
    a = jnp.ones((8, 8))
    with self.assertRaisesRegex(ValueError, 'a > 0'):
      operators.solve_darcy(a.at[3, 3].set(0.0))
    with self.assertRaisesRegex(ValueError, 'NaN'):
      operators.solve_darcy(a.at[3, 3].set(jnp.nan))
    with self.assertRaisesRegex(ValueError, 'X, Y >= 3'):
      operators.solve_darcy(jnp.ones((2, 8)))
    with self.assertRaisesRegex(ValueError, 'source must be a scalar'):
      operators.solve_darcy(a, jnp.ones((7, 8)))
    with self.assertRaisesRegex(TypeError, 'floating'):
      operators.solve_darcy(jnp.ones((8, 8), int))
    with self.assertRaisesRegex(ValueError, "face='upwind' is unknown"):
      operators.solve_darcy(a, face='upwind')
    with self.assertRaisesRegex(ValueError, 'low must lie'):
      operators.threshold_coefficient(a, low=0.0)

  def test_float32(self):
    a = self.coefficient(20)
    got = operators.solve_darcy(jnp.asarray(a, jnp.float32))
    self.assertEqual(got.dtype, jnp.float32)
    want = operators.solve_darcy(jnp.asarray(a))
    self.assertLess(largest(got - want) / largest(want), 5e-6)


class HelmholtzTest(DoubleTest):
  def test_dirichlet_equals_a_sparse_solve_of_an_indefinite_system(self):
    n = 16
    x, y = square(n)
    k = 12 + x + y**2
    f = np.random.default_rng(0).normal(size=(n, n))
    matrix = darcy_matrix(np.ones((n, n))) - scipy.sparse.diags(
      (k[1:-1, 1:-1] ** 2).ravel()
    )
    values = np.linalg.eigvalsh(matrix.toarray())
    self.assertLess(values[0], 0)
    self.assertGreater(values[-1], 0)
    want = scipy.sparse.linalg.spsolve(matrix.tocsc(), f[1:-1, 1:-1].ravel())
    solve = jax.jit(operators.solve_helmholtz)
    got = solve(jnp.asarray(k), jnp.asarray(f))
    np.testing.assert_allclose(
      got[1:-1, 1:-1].ravel(), want, atol=1e-11 * largest(want)
    )
    both = jax.vmap(solve)(jnp.asarray([k, k + 1]), jnp.asarray([f, f]))
    np.testing.assert_allclose(both[0], got, atol=1e-11)
    rough = solve(jnp.asarray(k, jnp.float32), jnp.asarray(f, jnp.float32))
    self.assertEqual(rough.dtype, jnp.float32)
    self.assertLess(largest(rough - got) / largest(got), 1e-4)

  @parameterized.parameters('dirichlet', 'neumann')
  def test_second_order(self, boundary):
    errors = []
    for n in (17, 33):
      x, y = square(n)
      k = 3 + x + y**2
      if boundary == 'dirichlet':
        u = np.sin(np.pi * x) * np.sin(np.pi * y)
        lap, flux = -2 * np.pi**2 * u, None
      else:
        u = np.cos(np.pi * x) * y**2
        lap = -(np.pi**2) * u + 2 * np.cos(np.pi * x)
        flux = jnp.asarray(2 * np.cos(np.pi * x[:, 0]))
      got = operators.solve_helmholtz(
        jnp.asarray(k),
        jnp.asarray(-lap - k**2 * u),
        boundary=boundary,
        flux=flux,
      )
      errors.append(largest(got - u))
    self.assertAlmostEqual(order(errors), 2, delta=0.1)

  def test_mistakes(self):
    k = jnp.ones((9, 9))
    # The smallest eigenvalue of the five-point Laplacian itself.
    edge = math.sqrt(2) * 2 * math.sin(math.pi / 16) * 8
    with self.assertRaisesRegex(ValueError, 'resonance'):
      operators.solve_helmholtz(edge * k, 1.0)
    with self.assertRaisesRegex(ValueError, 'positive'):
      operators.solve_helmholtz(0 * k)
    with self.assertRaisesRegex(ValueError, "flux needs boundary='neumann'"):
      operators.solve_helmholtz(k, flux=jnp.ones(9))
    with self.assertRaisesRegex(ValueError, 'source must be'):
      operators.solve_helmholtz(k, jnp.ones((8, 9)))


class NavierStokesTest(DoubleTest):
  def test_taylor_green_decays_exactly(self):
    x = np.arange(16) / 16
    w = np.outer(np.sin(2 * np.pi * x), np.sin(2 * np.pi * x))
    want = w * math.exp(-8 * math.pi**2 * 1e-2 * 0.4)
    solve = lambda method, m: operators.solve_navier_stokes(
      jnp.asarray(w), viscosity=1e-2, dt=0.4 / m, num_steps=m, method=method
    )[0]
    self.assertLess(largest(solve('etdrk4', 8) - want), 1e-13)
    errors = [largest(solve('crank_nicolson', m) - want) for m in (20, 40)]
    # Advection vanishes here, so the implicit part alone shows: order two.
    self.assertAlmostEqual(order(errors), 2, delta=0.05)

  def test_orders_mean_and_agreement_of_the_methods(self):
    w = operators.grf_periodic(
      16, key=jax.random.key(0), ndim=2, alpha=2.5, tau=7.0, scale=100.0,
      zero_mean=True,
    )  # fmt: skip
    force = jnp.asarray(operators.navier_stokes_forcing(16))
    solve = lambda method, m: operators.solve_navier_stokes(
      w, viscosity=1e-2, forcing=force, dt=1 / m, num_steps=m, method=method
    )[0]
    want = solve('etdrk4', 320)
    self.assertGreater(largest(want - solve('etdrk4', 20)), 1e-12)
    fine = [largest(solve('etdrk4', m) - want) for m in (20, 40)]
    self.assertAlmostEqual(order(fine), 4, delta=0.4)
    coarse = [largest(solve('crank_nicolson', m) - want) for m in (40, 80)]
    self.assertAlmostEqual(order(coarse), 1, delta=0.1)
    self.assertLess(coarse[-1], 0.02 * largest(want))
    self.assertAlmostEqual(float(want.mean()), 0.0, places=12)

  def test_public_scheme_step_by_step(self):
    n, dt, nu = 12, 0.01, 1e-3
    w = np.random.default_rng(0).normal(size=(n, n))
    w -= w.mean()
    k = np.fft.fftfreq(n, 1 / n)
    kx, ky = np.meshgrid(k, k, indexing='ij')
    lap = 4 * np.pi**2 * (kx**2 + ky**2)
    odd = lambda k: np.where(np.abs(k) == n // 2, 0, k)  # No real derivative.
    psi = np.fft.fft2(w) / np.where(lap == 0, 1, lap)
    real = lambda z: np.fft.ifft2(z).real
    u = real(2j * np.pi * odd(ky) * psi)
    v = real(-2j * np.pi * odd(kx) * psi)
    w_x = real(2j * np.pi * odd(kx) * np.fft.fft2(w))
    w_y = real(2j * np.pi * odd(ky) * np.fft.fft2(w))
    mask = (np.abs(kx) < n / 3) & (np.abs(ky) < n / 3)
    advection = mask * np.fft.fft2(u * w_x + v * w_y)
    force = operators.navier_stokes_forcing(n)
    want = -dt * advection + dt * np.fft.fft2(force)
    want = (want + (1 - dt * nu * lap / 2) * np.fft.fft2(w)) / (
      1 + dt * nu * lap / 2
    )
    got = operators.solve_navier_stokes(
      jnp.asarray(w),
      viscosity=nu,
      forcing=jnp.asarray(force),
      dt=dt,
      num_steps=1,
    )
    np.testing.assert_allclose(got[0], real(want), atol=1e-12)

  def test_enstrophy_never_grows_without_forcing(self):
    w = operators.grf_periodic(
      16, key=jax.random.key(1), ndim=2, alpha=2.5, tau=7.0, scale=100.0,
      zero_mean=True,
    )  # fmt: skip
    rows = operators.solve_navier_stokes(
      w, viscosity=1e-3, dt=0.02, num_steps=40, keep_every=4, method='etdrk4'
    )
    enstrophy = np.concatenate([[jnp.sum(w**2)], jnp.sum(rows**2, axis=(1, 2))])
    self.assertTrue((np.diff(enstrophy) <= 0).all())

  def test_forcings(self):
    x = np.arange(8) / 8
    got = operators.navier_stokes_forcing(8)
    phase = 2 * np.pi * (x[:, None] + x[None])
    np.testing.assert_allclose(got, 0.1 * (np.sin(phase) + np.cos(phase)))
    y = 2 * np.pi * x
    got = operators.navier_stokes_forcing(8, kind='kolmogorov')
    np.testing.assert_allclose(got[3], -4 * np.cos(4 * y))

  def test_mistakes(self):
    x = np.arange(8) / 8
    w = jnp.asarray(np.outer(np.sin(2 * np.pi * x), np.ones(8)))
    solve = lambda w, **o: operators.solve_navier_stokes(
      w, **{'viscosity': 1e-3, 'num_steps': 2, **o}
    )
    for message, call in (
      ('zero mean on a torus', lambda: solve(w + 1)),
      ('CFL limit', lambda: solve(1e4 * w, dt=0.1)),
      ('square', lambda: solve(w[:4])),
      ('NaN', lambda: solve(w.at[0, 0].set(jnp.nan))),
      ("method='rk4' is unknown", lambda: solve(w, method='rk4')),
      ('forcing must have the shape', lambda: solve(w, forcing=w[:4])),
      ('viscosity must lie in', lambda: solve(w, viscosity=-1.0)),
    ):
      with self.subTest(message), self.assertRaisesRegex(ValueError, message):
        call()


if __name__ == '__main__':
  absltest.main()
