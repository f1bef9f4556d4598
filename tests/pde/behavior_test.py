# SPDX-License-Identifier: Apache-2.0
"""What every solver on an interval promises, and how it refuses bad input."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.experimental import checkify

from jaxdl import pde


class BehaviorTest(parameterized.TestCase):
  """What every solver on the line promises, in float32."""

  SOLVERS = (
    (lambda u: pde.solve_antiderivative(u, dt=0.1),),
    (lambda u: pde.solve_nonlinear_ode(u, dt=0.1),),
    (lambda u: pde.solve_pendulum(u, dt=0.1),),
    (lambda u: pde.solve_caputo(u, order=0.5, dx=0.1),),
    (
      lambda u: pde.solve_advection_case(
        u, case='iv', num_x=5, num_times=4, refinement=1
      ),
    ),
    (lambda u: pde.solve_advection_diffusion(u, num_steps=20),),
    (lambda u: pde.solve_diffusion_reaction(u, num_times=4),),
    (pde.solve_elliptic_1d,),
    (lambda u: pde.solve_burgers(u, num_steps=3),),
  )

  @parameterized.parameters(*SOLVERS)
  def test_jit_vmap_grad_dtype_and_nan(self, solve):
    u = jnp.asarray(
      np.random.default_rng(0).normal(size=(2, 12)) / 4, jnp.float32
    )
    batched = jax.jit(jax.vmap(solve))(u)
    self.assertEqual(batched.dtype, jnp.float32)
    loss = lambda v: (jnp.sum(solve(v) ** 2), solve(v))
    slope, alone = jax.jit(jax.grad(loss, has_aux=True))(u[1])
    np.testing.assert_allclose(batched[1], alone, atol=2e-5, rtol=1e-4)
    self.assertTrue(np.isfinite(slope).all())
    self.assertGreater(np.abs(slope).max(), 0)
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
      ('at least 4', lambda: pde.solve_pendulum(u[:3], dt=0.1)),
      ('dt must lie in', lambda: pde.solve_antiderivative(u, dt=0.0)),
      ('blew up|NaN', lambda: pde.solve_nonlinear_ode(-1e3 * u, dt=1.0)),
      (
        'speed must be positive',
        lambda: pde.solve_advection_case(-20 * u, case='iii'),
      ),
      (
        "case='v' is unknown",
        lambda: pde.solve_advection_case(u, case='v'),
      ),
      (
        'num_steps is needed',
        lambda: pde.solve_advection(u, speed=1.0, dx=0.1, dt=0.1),
      ),
      (
        r'inflow must have num_steps \+ 1 = 4',
        lambda: pde.solve_advection(
          u, speed=1.0, dx=0.1, dt=0.1, num_steps=3, inflow=u
        ),
      ),
      (
        'keep_every=7 must divide',
        lambda: pde.solve_advection_diffusion(u, keep_every=7),
      ),
      (
        'order must lie in',
        lambda: pde.solve_caputo(u, order=1.0, dx=0.1),
      ),
      (
        'viscosity must lie in',
        lambda: pde.solve_burgers(u, viscosity=0.0),
      ),
      (
        'dt=0.1 violates the stability limit',
        lambda: pde.solve_burgers(
          100 * jnp.sin(2 * np.pi * jnp.arange(64) / 64), dt=0.1, num_steps=2
        ),
      ),
      (
        'blew up',
        lambda: pde.solve_diffusion_reaction(1e30 * u, num_times=4, rate=1e30),
      ),
      (
        'must have one length',
        lambda: pde.legendre_transform(u, np.ones(3), np.ones(3)),
      ),
    ):
      with self.subTest(message), self.assertRaisesRegex(ValueError, message):
        call()


if __name__ == '__main__':
  absltest.main()
