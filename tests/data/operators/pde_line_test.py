# SPDX-License-Identifier: Apache-2.0
"""Solvers on an interval: exact solutions, orders of convergence, mistakes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
from absl.testing import absltest, parameterized
from jax.experimental import checkify

from jaxdl.data import operators


def order(errors):
  return math.log2(errors[-2] / errors[-1])


def largest(x):
  return float(np.abs(np.asarray(x)).max())


class DoubleTest(parameterized.TestCase):
  """Everything in float64."""

  def setUp(self):
    super().setUp()
    self.enter_context(jax.enable_x64(True))


class OdeTest(DoubleTest):
  def test_antiderivative(self):
    self.assertEqual(
      largest(operators.solve_antiderivative(jnp.full(5, 2.0), dt=0.25)), 2.0
    )
    errors = []
    for n in (20, 40):
      t = np.linspace(0, 1, n + 1)
      s = operators.solve_antiderivative(jnp.cos(5 * t), dt=1 / n)
      errors.append(largest(s - np.sin(5 * t) / 5))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)

  def test_nonlinear_ode_is_tanh(self):
    errors = []
    for n in (16, 32):
      t = np.linspace(0, 1, n + 1)
      s = operators.solve_nonlinear_ode(jnp.ones(n + 1), dt=1 / n)
      errors.append(largest(s - np.tanh(t)))
    self.assertAlmostEqual(order(errors), 4, delta=0.3)

  def test_order_four_with_a_varying_forcing(self):
    errors = []
    for n in (32, 64):
      t = np.linspace(0, 1, n + 1)
      s = operators.solve_ode(
        lambda s, u: u - s, jnp.cos(3 * t), jnp.zeros(1), dt=1 / n
      )
      want = (np.cos(3 * t) + 3 * np.sin(3 * t) - np.exp(-t)) / 10
      errors.append(largest(s[:, 0] - want))
    self.assertAlmostEqual(order(errors), 4, delta=0.3)

  def test_pendulum_conserves_energy_and_matches_scipy(self):
    t = np.linspace(0, 3, 301)
    s1, s2 = operators.solve_pendulum(
      jnp.full(301, 0.4), dt=0.01, stiffness=2.0
    ).T
    energy = s2**2 / 2 - 2 * jnp.cos(s1) - 0.4 * s1
    np.testing.assert_allclose(energy, -2.0, atol=1e-8)
    s = operators.solve_pendulum(jnp.sin(4 * t), dt=0.01)
    want = scipy.integrate.solve_ivp(
      lambda t, s: [s[1], np.sin(4 * t) - np.sin(s[0])],
      (0, 3), [0, 0], t_eval=t, rtol=1e-11, atol=1e-12,
    ).y.T  # fmt: skip
    np.testing.assert_allclose(s, want, atol=1e-7)

  def test_stochastic_ode(self):
    errors = []
    for n in (20, 40):
      t = np.linspace(0, 1, n + 1)
      y = operators.solve_stochastic_ode(jnp.cos(5 * t), dt=1 / n)
      errors.append(largest(y - np.exp(np.sin(5 * t) / 5)))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)

  def test_stochastic_moments_match_sampled_paths(self):
    t = np.linspace(0, 1, 101)
    kernel = operators.exponential_kernel(t, t, length_scale=0.5)
    factor = operators.covariance_factor(kernel)
    noise = np.random.default_rng(0).normal(size=(factor.shape[1], 20000))
    paths = jax.vmap(lambda k: operators.solve_stochastic_ode(k, dt=0.01)[-1])(
      jnp.asarray((factor @ noise).T)
    )
    for q in (1, 2):
      want = operators.stochastic_ode_moment(
        jnp.array(1.0), length_scale=0.5, order=q
      )
      sem = float(jnp.std(paths**q)) / 20000**0.5
      self.assertAlmostEqual(float(jnp.mean(paths**q)), want, delta=4 * sem)
    tiny = operators.stochastic_ode_moment(jnp.array(1e-6), length_scale=1.0)
    self.assertAlmostEqual(float(tiny - 1), 5e-13, delta=1e-15)

  def test_elliptic(self):
    errors = []
    for n in (20, 40):
      x = np.linspace(0, 1, n + 1)
      s = operators.solve_elliptic_1d(jnp.asarray(x))
      v1, v2 = 1 - np.exp(-x), 10 * (1 - (1 + x) * np.exp(-x))
      errors.append(largest(s - (v1 * v2[-1] / v1[-1] - v2)))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)


class TransformsTest(DoubleTest):
  def test_legendre_transform_of_a_legendre_polynomial(self):
    nodes, weights = operators.quadrature(12)
    f = operators.legendre_basis(nodes, num_terms=8)[:, 5]
    got = operators.legendre_transform(jnp.asarray(f), nodes, weights)
    want = np.zeros(20)
    want[5] = 2 / 11
    np.testing.assert_allclose(got[:19], want[:19], atol=1e-14)
    errors = []
    for n in (41, 81):
      nodes, weights = operators.quadrature(n, rule='trapezoid')
      got = operators.legendre_transform(
        jnp.exp(nodes), nodes, weights, num_coefficients=2
      )
      want = [np.e - 1 / np.e, 2 / np.e]
      errors.append(largest(got - np.array(want)))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)

  def test_caputo_basis_equals_the_power_expansion(self):
    y = np.linspace(-0.9, 1, 7)[:, None]
    order = np.array([[0.01, 0.4, 0.99]])
    got = operators.caputo_legendre_basis(y, order, num_terms=8)
    for n in range(8):
      want = np.zeros((7, 3))
      for j in range(1, n + 1):
        scale = math.comb(n, j) * math.comb(n + j, j) / 2**j
        scale *= (-1) ** (n + j)
        for i, a in enumerate(order[0]):
          want[:, i] += scale * np.asarray(
            operators.caputo_power(
              jnp.asarray(y[:, 0]), power=float(j), order=a
            )
          )
      np.testing.assert_allclose(got[..., n], want, atol=1e-9)

  def test_caputo_power_equals_the_gamma_quotient(self):
    got = operators.caputo_power(jnp.array([0.5]), power=3.0, order=0.3)
    want = math.gamma(4) / math.gamma(3.7) * 1.5**2.7
    self.assertAlmostEqual(float(got[0]), want, places=12)

  @parameterized.parameters(0.2, 0.8)
  def test_l1_scheme_has_order_two_minus_a(self, a):
    errors = []
    for n in (400, 800):
      y = np.linspace(-1, 1, n + 1)
      got = operators.solve_caputo(jnp.asarray((1 + y) ** 3), order=a, dx=2 / n)
      want = operators.caputo_power(jnp.asarray(y), power=3.0, order=a)
      errors.append(largest(got - want))
    self.assertAlmostEqual(order(errors), 2 - a, delta=0.1)
    line = operators.solve_caputo(jnp.asarray(1 + y), order=a, dx=2 / n)
    want = operators.caputo_power(jnp.asarray(y[1:]), power=1.0, order=a)
    np.testing.assert_allclose(line[1:], want, rtol=1e-11)  # Exact for lines.


class TransportTest(DoubleTest):
  def test_box_scheme_is_exact_on_the_diagonal_and_second_order(self):
    s = operators.solve_advection(
      jnp.array([3.0, 1.0, 4.0, 1.0]), speed=2.0, dx=0.5, dt=0.25, num_steps=4
    )
    np.testing.assert_allclose(s[1], [1, 3, 1, 4], atol=1e-14)
    np.testing.assert_allclose(s[-1], s[0], atol=1e-14)
    errors = []
    for n in (40, 80):
      x = np.arange(n) / n
      s = operators.solve_advection(
        jnp.sin(2 * np.pi * x), speed=1.0, dx=1 / n, dt=0.7 / n, num_steps=n
      )
      errors.append(largest(s[-1] - np.sin(2 * np.pi * (x - 0.7))))
    self.assertAlmostEqual(order(errors), 2, delta=0.1)

  def test_box_scheme_with_variable_speed_and_inflow(self):
    errors = []
    for n in (40, 80):
      x, t = np.linspace(0, 1, n + 1), np.linspace(0, 1, n // 2 + 1)
      exact = np.sin(3 * (t[:, None] - np.log(1 + x)[None]))
      s = operators.solve_advection(
        jnp.asarray(exact[0]),
        speed=jnp.asarray(1 + (x[1:] + x[:-1]) / 2),
        dx=1 / n,
        dt=2 / n,
        inflow=jnp.asarray(exact[:, 0]),
      )
      errors.append(largest(s - exact))
    self.assertAlmostEqual(order(errors), 2, delta=0.15)

  def test_cases_with_a_known_solution(self):
    v = np.linspace(0, 1, 101)
    x, t = np.linspace(0, 1, 21), np.linspace(0, 1, 11)[:, None]
    solve = lambda case, f, refinement=8: operators.solve_advection_case(
      jnp.asarray(f), case=case, num_x=21, num_times=11, refinement=refinement
    )
    one = solve('i', v**2)
    np.testing.assert_allclose(one, np.sin(np.pi * (x - t)) ** 4, atol=1e-12)
    np.testing.assert_allclose(one[-1], one[0], atol=1e-12)  # One period.
    # Data that join smoothly at the inflow corner show the second order.
    moved = np.maximum(x - t, 0) ** 4
    errors = [largest(solve('ii', v**3, r) - moved) for r in (4, 8)]
    self.assertAlmostEqual(order(errors), 2, delta=0.15)
    got = solve('iii', 10 * np.ones(101))  # a = 2
    late = np.sin(np.pi * (t - x / 2)) * (t > x / 2)
    want = np.where(x >= 2 * t, np.maximum(x - 2 * t, 0) ** 2, late)
    smooth = np.abs(x - 2 * t) > 0.11  # The case itself has a kink there.
    np.testing.assert_allclose(got[smooth], want[smooth], atol=1e-2)
    want = np.sin(2 * np.pi * (x - 1.5 * t))
    # a = 1 + 0.1 * 10 (x + 1 - x) / 2 = 1.5
    errors = [largest(solve('iv', 10 * v, r) - want) for r in (4, 8)]
    self.assertAlmostEqual(order(errors), 2, delta=0.1)

  def test_advection_diffusion(self):
    t = np.arange(100) / 99
    decay = np.exp(-0.4 * np.pi**2 * t)[:, None]
    errors = []
    for n in (32, 64):
      x = np.arange(n) / n
      want = decay * np.sin(2 * np.pi * (x - t[:, None]))
      got = operators.solve_advection_diffusion(jnp.sin(2 * np.pi * x))
      errors.append(largest(got - want))
    self.assertEqual(got.shape, (100, 64))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)
    spectral = [
      largest(
        operators.solve_advection_diffusion(
          jnp.sin(2 * np.pi * x),
          derivative='spectral',
          dt=1 / m,
          num_steps=m,
          keep_every=m,
        )[1]
        - np.exp(-0.4 * np.pi**2) * np.sin(2 * np.pi * x)
      )
      for m in (100, 200)
    ]
    self.assertAlmostEqual(order(spectral), 2, delta=0.05)

  def test_advection_diffusion_equals_marching(self):
    n, dt = 12, 0.02
    u = np.random.default_rng(0).normal(size=n)
    shift = np.roll(np.eye(n), 1, axis=0)  # (shift @ u)[i] = u[i-1]
    rate = 0.1 * n**2 * (shift + shift.T - 2 * np.eye(n))
    rate -= n / 2 * (shift.T - shift)
    step = np.linalg.solve(np.eye(n) - dt / 2 * rate, np.eye(n) + dt / 2 * rate)
    got = operators.solve_advection_diffusion(
      jnp.asarray(u), dt=dt, num_steps=6, keep_every=3
    )
    want = [np.linalg.matrix_power(step, k) @ u for k in (0, 3, 6)]
    np.testing.assert_allclose(got, want, atol=1e-12)


class ReactionTest(DoubleTest):
  def solve(self, n, steps):
    x, t = np.linspace(-1, 1, n + 1), np.linspace(0, 1, steps + 1)[:, None]
    want = np.exp(-t) * (1 - x**2)
    source = np.exp(-t) * (1 + x**2 - 2 * x) - want**3
    got = operators.solve_reaction_diffusion(
      jnp.asarray(source),
      jnp.asarray(1 - x**2),
      reaction=lambda s: s**3,
      diffusion=1.0,
      velocity=1.0,
      dx=2 / n,
      dt=1 / steps,
    )
    return largest(got - want)

  def test_second_order_in_time(self):
    # The exact solution is quadratic in x: space adds no error.
    self.assertAlmostEqual(
      order([self.solve(10, n) for n in (20, 40)]), 2, delta=0.1
    )

  def test_second_order_in_space(self):
    errors = []
    for n in (10, 20):  # Steady -s'' = pi^2 sin(pi x), reached in one step.
      x = np.linspace(0, 1, n + 1)
      source = jnp.broadcast_to(
        jnp.asarray(np.pi**2 * np.sin(np.pi * x))[None], (2, n + 1)
      )
      s = operators.solve_reaction_diffusion(
        source, jnp.zeros(n + 1), reaction=jnp.zeros_like,
        diffusion=1.0, dx=1 / n, dt=1e9,
      )  # fmt: skip
      errors.append(largest(s[1] / 2 - np.sin(np.pi * x)))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)

  def test_diffusion_reaction_matches_scipy(self):
    x = np.linspace(0, 1, 31)
    u = np.sin(3 * x) + 1

    def rhs(_, s):
      wide = np.pad(s, 1)
      lap = (wide[2:] - 2 * s + wide[:-2]) * 900
      return 0.01 * lap + 0.01 * s**2 + u[1:-1]

    want = scipy.integrate.solve_ivp(
      rhs, (0, 1), np.zeros(29), method='LSODA', rtol=1e-10, atol=1e-12
    ).y[:, -1]
    got = operators.solve_diffusion_reaction(jnp.asarray(u), num_times=201)
    np.testing.assert_allclose(got[-1, 1:-1], want, atol=2e-5)
    np.testing.assert_array_equal(got[:, [0, -1]], 0)


class BurgersTest(DoubleTest):
  def exact(self, x, t):
    decay = np.exp(-0.4 * np.pi**2 * t)
    wave = 2 * np.pi * x
    return 0.4 * np.pi * decay * np.sin(wave) / (2 + decay * np.cos(wave))

  def test_cole_hopf(self):
    self.assertAlmostEqual(self.exact(0.2, 0.5), 0.0812645, places=7)
    x = np.arange(60) / 60
    errors = [
      largest(
        operators.solve_burgers(
          jnp.asarray(self.exact(x, 0)), dt=0.5 / m, num_steps=m
        )[-1]
        - self.exact(x, 0.5)
      )
      for m in (10, 20)
    ]
    self.assertLess(errors[-1], 1e-7)
    self.assertAlmostEqual(order(errors), 4, delta=0.3)

  def test_mean_is_kept_and_rows_are_in_time(self):
    start = operators.grf_periodic(64, key=jax.random.key(0))
    rows = operators.solve_burgers(start, num_steps=200, keep_every=50)
    np.testing.assert_allclose(rows.mean(1), start.mean(), atol=1e-12)
    early = operators.solve_burgers(start, num_steps=50)
    np.testing.assert_allclose(rows[0], early[0], atol=1e-13)


class BehaviourTest(parameterized.TestCase):
  """What every solver on the line promises, in float32."""

  SOLVERS = (
    (lambda u: operators.solve_antiderivative(u, dt=0.1),),
    (lambda u: operators.solve_nonlinear_ode(u, dt=0.1),),
    (lambda u: operators.solve_pendulum(u, dt=0.1),),
    (lambda u: operators.solve_caputo(u, order=0.5, dx=0.1),),
    (
      lambda u: operators.solve_advection_case(
        u, case='iv', num_x=5, num_times=4, refinement=1
      ),
    ),
    (lambda u: operators.solve_advection_diffusion(u, num_steps=20),),
    (lambda u: operators.solve_diffusion_reaction(u, num_times=4),),
    (operators.solve_elliptic_1d,),
    (lambda u: operators.solve_burgers(u, num_steps=3),),
  )

  @parameterized.parameters(*SOLVERS)
  def test_jit_vmap_grad_dtype_and_nan(self, solve):
    u = jnp.asarray(
      np.random.default_rng(0).normal(size=(2, 12)) / 4, jnp.float32
    )
    batched = jax.jit(jax.vmap(solve))(u)
    self.assertEqual(batched.dtype, jnp.float32)
    np.testing.assert_allclose(batched[1], solve(u[1]), atol=2e-5, rtol=1e-4)
    slope = jax.grad(lambda v: jnp.sum(solve(v) ** 2))(u[0])
    self.assertTrue(np.isfinite(slope).all())
    self.assertGreater(largest(slope), 0)
    with self.assertRaisesRegex(ValueError, 'NaN or infinite'):
      solve(u[0].at[3].set(jnp.nan))
    error, _ = jax.jit(checkify.checkify(solve, errors=checkify.user_checks))(
      u[0].at[3].set(jnp.nan)
    )
    self.assertIn('NaN', error.get())
    with self.assertRaisesRegex(TypeError, 'floating point'):
      solve(jnp.arange(12))
    with self.assertRaisesRegex(ValueError, 'use jax.vmap'):
      solve(u)

  def test_values_and_sizes_are_checked(self):
    u = jnp.ones(8)
    for message, call in (
      ('at least 4', lambda: operators.solve_pendulum(u[:3], dt=0.1)),
      ('dt must lie in', lambda: operators.solve_antiderivative(u, dt=0.0)),
      ('blew up|NaN', lambda: operators.solve_nonlinear_ode(-1e3 * u, dt=1.0)),
      (
        'speed must be positive',
        lambda: operators.solve_advection_case(-20 * u, case='iii'),
      ),
      (
        "case='v' is unknown",
        lambda: operators.solve_advection_case(u, case='v'),
      ),
      (
        'num_steps is needed',
        lambda: operators.solve_advection(u, speed=1.0, dx=0.1, dt=0.1),
      ),
      (
        r'inflow must have num_steps \+ 1 = 4',
        lambda: operators.solve_advection(
          u, speed=1.0, dx=0.1, dt=0.1, num_steps=3, inflow=u
        ),
      ),
      (
        'keep_every=7 must divide',
        lambda: operators.solve_advection_diffusion(u, keep_every=7),
      ),
      (
        'order must lie in',
        lambda: operators.solve_caputo(u, order=1.0, dx=0.1),
      ),
      (
        'viscosity must lie in',
        lambda: operators.solve_burgers(u, viscosity=0.0),
      ),
      (
        'dt=0.1 violates the stability limit',
        lambda: operators.solve_burgers(
          100 * jnp.sin(2 * np.pi * jnp.arange(64) / 64), dt=0.1, num_steps=2
        ),
      ),
      (
        'blew up',
        lambda: operators.solve_diffusion_reaction(
          1e30 * u, num_times=4, rate=1e30
        ),
      ),
      (
        'must have one length',
        lambda: operators.legendre_transform(u, np.ones(3), np.ones(3)),
      ),
    ):
      with self.subTest(message), self.assertRaisesRegex(ValueError, message):
        call()


if __name__ == '__main__':
  absltest.main()
