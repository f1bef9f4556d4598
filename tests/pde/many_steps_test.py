# SPDX-License-Identifier: Apache-2.0
"""Many short steps in float32 against closed forms of the same schemes."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import pde

POINTS = np.arange(8) / 8


def wave(num=8):
  x = np.arange(num) / num
  return jnp.asarray(np.sin(2 * np.pi * x), 'float32')


class ManyStepsTest(parameterized.TestCase):
  @parameterized.parameters(
    (1e-3, 50_000, 'crank_nicolson', 0.673825),
    (1e-5, 50_000, 'crank_nicolson', 0.996060),
    (1e-5, 10_000, 'etdrk4', 0.999211),
  )
  def test_vortices_decay_at_their_rate(self, viscosity, steps, method, known):
    w = jnp.outer(wave(), wave())
    got = jax.jit(
      lambda w: pde.solve_navier_stokes(
        w, viscosity=viscosity, num_steps=steps, method=method
      )
    )(w)
    loss = 4 * np.pi**2 * viscosity * 1e-4  # Half a step's, -nu k^2 dt / 2.
    factor = (1 - loss) / (1 + loss)
    factor = np.exp(-2 * loss) if method == 'etdrk4' else factor
    want = float(np.max(w)) * factor**steps
    self.assertAlmostEqual(want, known, delta=1e-6)
    lost = 1 - float(jnp.max(got))
    np.testing.assert_allclose(lost, 1 - want, rtol=3e-4)

  def test_runge_kutta_neither_drifts_nor_stands_still(self):
    solve = lambda rhs: jax.jit(
      lambda u: pde.solve_ode(rhs, u, jnp.ones(1), dt=1e-5)
    )(jnp.ones(40_001))[-1, 0]
    np.testing.assert_allclose(solve(lambda s, u: u + 0 * s), 1.4, rtol=3e-7)
    slow = solve(lambda s, u: -0.001 * s)
    np.testing.assert_allclose(1 - slow, -np.expm1(-4e-4), rtol=1e-3)

  def test_diffusion_by_short_steps(self):
    x = jnp.asarray(np.sin(np.pi * np.linspace(0, 1, 9)), 'float32')
    rows = jax.jit(
      lambda x: pde.solve_reaction_diffusion(
        jnp.zeros((20_001, 9)),
        x,
        reaction=jnp.zeros_like,
        diffusion=1e-4,
        dx=1 / 8,
        dt=1e-3,
      )
    )(x)
    z = 1e-4 * (2 * np.sin(np.pi / 16) * 8) ** 2 * 1e-3 / 2
    want = 1 - ((1 - z) / (1 + z)) ** 20_000
    np.testing.assert_allclose(1 - rows[-1, 4], want, rtol=1e-3)

  @parameterized.parameters(True, False)
  def test_box_scheme_by_short_steps(self, traced):
    steps, courant = 3200, 0.005
    solve = lambda u, speed: pde.solve_advection(
      u, speed=speed, dx=1 / 32, dt=1 / 64, num_steps=steps
    )
    speed = 2 * courant
    if traced:
      rows = jax.jit(solve)(wave(32), speed)
    else:
      rows = jax.jit(lambda u: solve(u, speed))(wave(32))
    ratio = (1 - courant) / (1 + courant)
    turn = np.exp(2j * np.pi / 32)
    factor = (1 + ratio * turn) / (turn + ratio)
    want = (factor**steps * turn ** np.arange(32)).imag
    np.testing.assert_allclose(rows[-1], want, atol=2e-5 if traced else 2e-6)

  @parameterized.parameters((1e-4, 50_000), (0.01, 990), (3.0, 2))
  def test_powers_of_the_factor_of_a_step(self, dt, steps):
    solve = lambda u, speed, diffusion: pde.solve_advection_diffusion(
      u,
      speed=speed,
      diffusion=diffusion,
      dt=dt,
      num_steps=steps,
      keep_every=steps,
    )
    host = jax.jit(lambda u: solve(u, 0.1, 0.002))(wave())
    traced = jax.jit(solve)(wave(), 0.1, 0.002)
    rate = 0.002 * (2 * np.sin(np.pi / 8) * 8) ** 2
    z = -dt / 2 * (rate + 0.1j * np.sin(np.pi / 4) * 8)
    want = ((1 + z) / (1 - z)) ** steps * np.exp(2j * np.pi * POINTS)
    np.testing.assert_allclose(host[-1], want.imag, atol=1e-6)
    np.testing.assert_allclose(traced[-1], want.imag, atol=2e-5)


class RangeTest(parameterized.TestCase):
  def test_solvers_are_linear_in_a_source_of_any_size(self):
    solve = jax.jit(pde.solve_darcy)
    unit = jnp.ones((5, 5))
    want = solve(unit, 1.0)
    self.assertGreater(float(jnp.max(want)), 0.05)
    for size in (1e-25, 1e25):
      np.testing.assert_allclose(solve(unit, size) / size, want, rtol=1e-6)

  @parameterized.parameters(1e-25, 1e25)
  def test_no_resonance_is_taken_for_found(self, size):
    # One unknown: (4 / h^2 - k^2) u = f.
    u = pde.solve_helmholtz(jnp.ones((3, 3)), size)
    np.testing.assert_allclose(u[1, 1], size / 15, rtol=1e-6)


if __name__ == '__main__':
  absltest.main()
