# SPDX-License-Identifier: Apache-2.0
"""Transport and reaction on an interval: exact solutions and orders."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
from absl.testing import absltest
from solvers import DoubleTest, jitted, largest, order


class TransportTest(DoubleTest):
  def test_box_scheme_is_exact_on_the_diagonal_and_second_order(self):
    s = jitted.solve_advection(
      jnp.array([3.0, 1.0, 4.0, 1.0]), speed=2.0, dx=0.5, dt=0.25, num_steps=4
    )
    np.testing.assert_allclose(s[1], [1, 3, 1, 4], atol=1e-14)
    np.testing.assert_allclose(s[-1], s[0], atol=1e-14)
    errors = []
    for n in (40, 80):
      x = np.arange(n) / n
      s = jitted.solve_advection(
        jnp.sin(2 * np.pi * x), speed=1.0, dx=1 / n, dt=0.7 / n, num_steps=n
      )
      errors.append(largest(s[-1] - np.sin(2 * np.pi * (x - 0.7))))
    self.assertAlmostEqual(order(errors), 2, delta=0.1)

  def test_box_scheme_with_variable_speed_and_inflow(self):
    errors = []
    for n in (40, 80):
      x, t = np.linspace(0, 1, n + 1), np.linspace(0, 1, n // 2 + 1)
      exact = np.sin(3 * (t[:, None] - np.log(1 + x)[None]))
      s = jitted.solve_advection(
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
    solve = lambda case, f, refinement=8: jitted.solve_advection_case(
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
      got = jitted.solve_advection_diffusion(jnp.sin(2 * np.pi * x))
      errors.append(largest(got - want))
    self.assertEqual(got.shape, (100, 64))
    self.assertAlmostEqual(order(errors), 2, delta=0.05)
    spectral = [
      largest(
        jitted.solve_advection_diffusion(
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
    got = jitted.solve_advection_diffusion(
      jnp.asarray(u), dt=dt, num_steps=6, keep_every=3
    )
    want = [np.linalg.matrix_power(step, k) @ u for k in (0, 3, 6)]
    np.testing.assert_allclose(got, want, atol=1e-12)


class ReactionTest(DoubleTest):
  def solve(self, n, steps):
    x, t = np.linspace(-1, 1, n + 1), np.linspace(0, 1, steps + 1)[:, None]
    want = np.exp(-t) * (1 - x**2)
    source = np.exp(-t) * (1 + x**2 - 2 * x) - want**3
    got = jitted.solve_reaction_diffusion(
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
      s = jitted.solve_reaction_diffusion(
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
    got = jitted.solve_diffusion_reaction(jnp.asarray(u), num_times=201)
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
        jitted.solve_burgers(
          jnp.asarray(self.exact(x, 0)), dt=0.5 / m, num_steps=m
        )[-1]
        - self.exact(x, 0.5)
      )
      for m in (10, 20)
    ]
    self.assertLess(errors[-1], 1e-7)
    self.assertAlmostEqual(order(errors), 4, delta=0.3)

  def test_mean_is_kept_and_rows_are_in_time(self):
    start = jitted.grf_periodic(64, key=jax.random.key(0))
    rows = jitted.solve_burgers(start, num_steps=200, keep_every=50)
    np.testing.assert_allclose(rows.mean(1), start.mean(), atol=1e-12)
    early = jitted.solve_burgers(start, num_steps=50)
    np.testing.assert_allclose(rows[0], early[0], atol=1e-13)


if __name__ == '__main__':
  absltest.main()
