# SPDX-License-Identifier: Apache-2.0
"""Helmholtz and Navier-Stokes: exact solutions, orders, mistakes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from absl.testing import absltest, parameterized
from solvers import DoubleTest, darcy_matrix, jitted, largest, order, square

from jaxdl import pde


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
    solve = jax.jit(pde.solve_helmholtz)
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
      got = jitted.solve_helmholtz(
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
      pde.solve_helmholtz(edge * k, 1.0)
    with self.assertRaisesRegex(ValueError, 'positive'):
      pde.solve_helmholtz(0 * k)
    with self.assertRaisesRegex(ValueError, "flux needs boundary='neumann'"):
      pde.solve_helmholtz(k, flux=jnp.ones(9))
    with self.assertRaisesRegex(ValueError, 'source must be'):
      pde.solve_helmholtz(k, jnp.ones((8, 9)))


class NavierStokesTest(DoubleTest):
  def test_taylor_green_decays_exactly(self):
    x = np.arange(16) / 16
    w = np.outer(np.sin(2 * np.pi * x), np.sin(2 * np.pi * x))
    want = w * math.exp(-8 * math.pi**2 * 1e-2 * 0.4)
    solve = lambda method, m: jitted.solve_navier_stokes(
      jnp.asarray(w), viscosity=1e-2, dt=0.4 / m, num_steps=m, method=method
    )[0]
    self.assertLess(largest(solve('etdrk4', 8) - want), 1e-13)
    errors = [largest(solve('crank_nicolson', m) - want) for m in (20, 40)]
    # Advection vanishes here, so the implicit part alone shows: order two.
    self.assertAlmostEqual(order(errors), 2, delta=0.05)

  def test_orders_mean_and_agreement_of_the_methods(self):
    w = jitted.grf_periodic(
      16, key=jax.random.key(0), ndim=2, alpha=2.5, tau=7.0, scale=100.0,
      zero_mean=True,
    )  # fmt: skip
    force = jnp.asarray(pde.navier_stokes_forcing(16))
    solve = lambda method, m: jitted.solve_navier_stokes(
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
    force = pde.navier_stokes_forcing(n)
    want = -dt * advection + dt * np.fft.fft2(force)
    want = (want + (1 - dt * nu * lap / 2) * np.fft.fft2(w)) / (
      1 + dt * nu * lap / 2
    )
    got = jitted.solve_navier_stokes(
      jnp.asarray(w),
      viscosity=nu,
      forcing=jnp.asarray(force),
      dt=dt,
      num_steps=1,
    )
    np.testing.assert_allclose(got[0], real(want), atol=1e-12)

  def test_enstrophy_never_grows_without_forcing(self):
    w = jitted.grf_periodic(
      16, key=jax.random.key(1), ndim=2, alpha=2.5, tau=7.0, scale=100.0,
      zero_mean=True,
    )  # fmt: skip
    rows = jitted.solve_navier_stokes(
      w, viscosity=1e-3, dt=0.02, num_steps=40, keep_every=4, method='etdrk4'
    )
    enstrophy = np.concatenate([[jnp.sum(w**2)], jnp.sum(rows**2, axis=(1, 2))])
    self.assertTrue((np.diff(enstrophy) <= 0).all())

  def test_forcings(self):
    x = np.arange(8) / 8
    got = pde.navier_stokes_forcing(8)
    phase = 2 * np.pi * (x[:, None] + x[None])
    np.testing.assert_allclose(got, 0.1 * (np.sin(phase) + np.cos(phase)))
    y = 2 * np.pi * x
    got = pde.navier_stokes_forcing(8, kind='kolmogorov')
    np.testing.assert_allclose(got[3], -4 * np.cos(4 * y))

  def test_mistakes(self):
    x = np.arange(8) / 8
    w = jnp.asarray(np.outer(np.sin(2 * np.pi * x), np.ones(8)))
    solve = lambda w, **o: pde.solve_navier_stokes(
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
