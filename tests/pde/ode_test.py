# SPDX-License-Identifier: Apache-2.0
"""ODEs and integral transforms: exact solutions and orders."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
from absl.testing import absltest, parameterized
from solvers import DoubleTest, jitted, largest, order

from jaxdl import pde


class OdeTest(DoubleTest):
  def test_antiderivative(self):
    self.assertEqual(
      largest(jitted.solve_antiderivative(jnp.full(5, 2.0), dt=0.25)), 2.0
    )
    errors = []
    for n in (20, 40):
      t = np.linspace(0, 1, n + 1)
      s = jitted.solve_antiderivative(jnp.cos(5 * t), dt=1 / n)
      errors.append(largest(s - np.sin(5 * t) / 5))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)

  def test_nonlinear_ode_is_tanh(self):
    errors = []
    for n in (16, 32):
      t = np.linspace(0, 1, n + 1)
      s = jitted.solve_nonlinear_ode(jnp.ones(n + 1), dt=1 / n)
      errors.append(largest(s - np.tanh(t)))
    self.assertAlmostEqual(order(errors), 4, delta=0.3)

  def test_order_four_with_a_varying_forcing(self):
    solve = jax.jit(
      lambda u, dt: pde.solve_ode(lambda s, u: u - s, u, jnp.zeros(1), dt=dt)
    )
    errors = []
    for n in (32, 64):
      t = np.linspace(0, 1, n + 1)
      s = solve(jnp.cos(3 * t), 1 / n)
      want = (np.cos(3 * t) + 3 * np.sin(3 * t) - np.exp(-t)) / 10
      errors.append(largest(s[:, 0] - want))
    self.assertAlmostEqual(order(errors), 4, delta=0.3)

  def test_pendulum_conserves_energy_and_matches_scipy(self):
    t = np.linspace(0, 3, 301)
    s1, s2 = jitted.solve_pendulum(jnp.full(301, 0.4), dt=0.01, stiffness=2.0).T
    energy = s2**2 / 2 - 2 * jnp.cos(s1) - 0.4 * s1
    np.testing.assert_allclose(energy, -2.0, atol=1e-8)
    s = jitted.solve_pendulum(jnp.sin(4 * t), dt=0.01)
    want = scipy.integrate.solve_ivp(
      lambda t, s: [s[1], np.sin(4 * t) - np.sin(s[0])],
      (0, 3), [0, 0], t_eval=t, rtol=1e-11, atol=1e-12,
    ).y.T  # fmt: skip
    np.testing.assert_allclose(s, want, atol=1e-7)

  def test_stochastic_ode(self):
    errors = []
    for n in (20, 40):
      t = np.linspace(0, 1, n + 1)
      y = jitted.solve_stochastic_ode(jnp.cos(5 * t), dt=1 / n)
      errors.append(largest(y - np.exp(np.sin(5 * t) / 5)))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)

  def test_stochastic_moments_match_sampled_paths(self):
    t = np.linspace(0, 1, 101)
    kernel = pde.exponential_kernel(t, t, length_scale=0.5)
    factor = pde.covariance_factor(kernel)
    noise = np.random.default_rng(0).normal(size=(factor.shape[1], 20000))
    paths = jax.vmap(lambda k: jitted.solve_stochastic_ode(k, dt=0.01)[-1])(
      jnp.asarray((factor @ noise).T)
    )
    for q in (1, 2):
      want = pde.stochastic_ode_moment(
        jnp.array(1.0), length_scale=0.5, order=q
      )
      sem = float(jnp.std(paths**q)) / 20000**0.5
      self.assertAlmostEqual(float(jnp.mean(paths**q)), want, delta=4 * sem)
    tiny = pde.stochastic_ode_moment(jnp.array(1e-6), length_scale=1.0)
    self.assertAlmostEqual(float(tiny - 1), 5e-13, delta=1e-15)

  def test_elliptic(self):
    errors = []
    for n in (20, 40):
      x = np.linspace(0, 1, n + 1)
      s = jitted.solve_elliptic_1d(jnp.asarray(x))
      v1, v2 = 1 - np.exp(-x), 10 * (1 - (1 + x) * np.exp(-x))
      errors.append(largest(s - (v1 * v2[-1] / v1[-1] - v2)))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)


class TransformsTest(DoubleTest):
  def test_legendre_transform_of_a_legendre_polynomial(self):
    nodes, weights = pde.quadrature(12)
    f = pde.legendre_basis(nodes, num_terms=8)[:, 5]
    got = pde.legendre_transform(jnp.asarray(f), nodes, weights)
    want = np.zeros(20)
    want[5] = 2 / 11
    np.testing.assert_allclose(got[:19], want[:19], atol=1e-14)
    errors = []
    for n in (41, 81):
      nodes, weights = pde.quadrature(n, rule='trapezoid')
      got = pde.legendre_transform(
        jnp.exp(nodes), nodes, weights, num_coefficients=2
      )
      want = [np.e - 1 / np.e, 2 / np.e]
      errors.append(largest(got - np.array(want)))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)

  def test_caputo_basis_equals_the_power_expansion(self):
    y = np.linspace(-0.9, 1, 7)[:, None]
    order = np.array([[0.01, 0.4, 0.99]])
    got = pde.caputo_legendre_basis(y, order, num_terms=8)
    for n in range(8):
      want = np.zeros((7, 3))
      for j in range(1, n + 1):
        scale = math.comb(n, j) * math.comb(n + j, j) / 2**j
        scale *= (-1) ** (n + j)
        for i, a in enumerate(order[0]):
          want[:, i] += scale * np.asarray(
            pde.caputo_power(jnp.asarray(y[:, 0]), power=float(j), order=a)
          )
      np.testing.assert_allclose(got[..., n], want, atol=1e-9)

  def test_caputo_power_equals_the_gamma_quotient(self):
    got = pde.caputo_power(jnp.array([0.5]), power=3.0, order=0.3)
    want = math.gamma(4) / math.gamma(3.7) * 1.5**2.7
    self.assertAlmostEqual(float(got[0]), want, places=12)

  @parameterized.parameters(0.2, 0.8)
  def test_l1_scheme_has_order_two_minus_a(self, a):
    errors = []
    for n in (400, 800):
      y = np.linspace(-1, 1, n + 1)
      got = jitted.solve_caputo(jnp.asarray((1 + y) ** 3), order=a, dx=2 / n)
      want = pde.caputo_power(jnp.asarray(y), power=3.0, order=a)
      errors.append(largest(got - want))
    self.assertAlmostEqual(order(errors), 2 - a, delta=0.1)
    line = jitted.solve_caputo(jnp.asarray(1 + y), order=a, dx=2 / n)
    want = pde.caputo_power(jnp.asarray(y[1:]), power=1.0, order=a)
    np.testing.assert_allclose(line[1:], want, rtol=1e-11)  # Exact for lines.


if __name__ == '__main__':
  absltest.main()
