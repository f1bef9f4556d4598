# SPDX-License-Identifier: Apache-2.0
"""Derivatives and residuals on functions whose equations are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import operators
from jaxdl.core import types
from jaxdl.operators import physics

KEY = jax.random.key(0)


def points(n=6, d=2):
  return jnp.asarray(np.random.default_rng(0).uniform(size=(n, d)), 'float32')


def as_network(fn):
  """A pointwise function y -> f[3, Q, 1], three scaled copies."""
  return lambda y: jnp.stack([fn(y), 2 * fn(y), 0 * fn(y)])[..., None]


class DerivativesTest(parameterized.TestCase):
  def test_all_orders_of_an_exponential(self):
    y = points()
    fn = lambda y: jnp.exp(2 * y[..., 0]) * jnp.sin(y[..., 1])
    out = physics.derivatives(fn, y, axis=0, order=3)
    for n, value in enumerate(out):
      np.testing.assert_allclose(value, 2.0**n * fn(y), rtol=1e-5)

  def test_mixed(self):
    y = points()
    fn = lambda y: y[..., 0] ** 2 * y[..., 1] ** 3
    got = physics.mixed_derivative(fn, y, axes=(0, 1, 1))
    np.testing.assert_allclose(got, 12 * y[:, 0] * y[:, 1], rtol=1e-5)

  def test_of_a_network_equals_reverse_mode_per_point(self):
    u = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)), 'float32')
    y = points()
    net = operators.deeponet((5, 4), (5, 4), activation='tanh')
    params = net.init(KEY, u, y)
    fn = lambda y: net.apply(params, u, y, aligned=True)
    second = jax.jit(
      lambda y: physics.derivatives(fn, y, axis=1, order=2)[2][..., 0]
    )(y)

    def one(u, y):
      value = lambda y: net.apply(params, u[None], y[None])[0, 0]
      return jax.hessian(value)(y)[1, 1]

    want = jax.jit(jax.vmap(lambda u: jax.vmap(lambda y: one(u, y))(y)))(u)
    np.testing.assert_allclose(second, want, atol=1e-5)

  def test_relu_trunk_has_no_second_derivative(self):
    u, y = jnp.ones((2, 3)), points()
    net = operators.deeponet((4,), (4, 4))
    params = net.init(KEY, u, y)
    fn = lambda y: net.apply(params, u, y, aligned=True)
    _, first, second = physics.derivatives(fn, y, axis=0, order=2)
    self.assertGreater(float(jnp.abs(first).max()), 1e-3)
    np.testing.assert_array_equal(second, 0.0)

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, 'axis must be at most 1'):
      physics.derivatives(lambda y: y[:, 0], points(), axis=2, order=1)


class ResidualTest(parameterized.TestCase):
  def test_vanish_on_exact_solutions(self):
    y = points()
    x, t = y[:, 0], y[:, 1]
    zero = lambda r: np.testing.assert_allclose(r, 0.0, atol=3e-5)

    one = lambda fn: lambda y: fn(y)[None, :, None]
    sin = one(lambda y: jnp.sin(3 * y[..., 0]) / 3)
    zero(physics.antiderivative_residual(sin, y[:, :1], jnp.cos(3 * x)[None]))

    s = one(lambda y: y[..., 0] ** 2)
    torque = (2 + 1.5 * jnp.sin(x**2))[None]
    zero(physics.pendulum_residual(s, y[:, :1], torque, gravity=1.5))

    decay = one(lambda y: jnp.exp(-y[..., 1]) * jnp.sin(y[..., 0]))
    value = decay(y)[..., 0]
    source = -value + 0.3 * value - 0.2 * value**2
    zero(
      physics.diffusion_reaction_residual(
        decay, y, source, diffusion=0.3, reaction=0.2
      )
    )

    wave = one(lambda y: jnp.sin(y[..., 0] - 2 * y[..., 1]))
    zero(physics.advection_residual(wave, y, 2.0))
    self.assertGreater(
      float(jnp.abs(physics.advection_residual(wave, y, 1.0)).max()), 0.1
    )

    nu, c = 0.1, 2.0

    def cole_hopf(y):
      e = jnp.exp(-4 * jnp.pi**2 * nu * y[..., 1])
      angle = 2 * jnp.pi * y[..., 0]
      return 4 * jnp.pi * nu * e * jnp.sin(angle) / (c + e * jnp.cos(angle))

    r = physics.burgers_residual(one(cole_hopf), y, viscosity=nu)
    np.testing.assert_allclose(r, 0.0, atol=1e-3)
    del t


class PhysicsTaskTest(parameterized.TestCase):
  def batch(self, num=8):
    rng = np.random.default_rng(0)
    c = rng.normal(size=(num, 1))
    grid = np.linspace(0, 1, 5)
    at = rng.uniform(size=(num, 7, 1))
    batch = {
      # u = c cos(2 t), so that s = c sin(2 t) / 2.
      'sensors': c * np.cos(2 * grid),
      'points': at,
      'source': c * np.cos(2 * at[..., 0]),
      'initial_points': np.zeros((num, 1, 1)),
      'initial_values': np.zeros((num, 1)),
      'targets': c * np.sin(2 * at[..., 0]) / 2,
    }
    return {k: jnp.asarray(v, 'float32') for k, v in batch.items()}

  def test_learns_an_antiderivative_without_labels(self):
    batch = self.batch()
    net = operators.deeponet((8, 8), (8, 8), activation='tanh')
    task = physics.physics_task(net, batch, physics.antiderivative_residual)
    params = task.init(KEY)
    optimizer = optax.adam(0.01)

    @jax.jit
    def train(params):
      def step(carry, _):
        params, state = carry
        grads = jax.grad(task.loss)(params, batch)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), None

      carry = (params, optimizer.init(params))
      return jax.lax.scan(step, carry, None, length=600)[0][0]

    evaluate = jax.jit(task.evaluate)
    before = evaluate(params, batch)
    after = evaluate(train(params), batch)
    self.assertLess(float(after['mse']), 0.01 * float(before['mse']))
    self.assertEqual(set(after), {'loss', 'residual', 'initial', 'mse'})

  def test_weights_terms_and_ignores_masked_rows(self):
    batch = self.batch(4)
    net = operators.deeponet((4,), (4,), activation='tanh')
    task = physics.physics_task(
      net, batch, physics.antiderivative_residual, initial_weight=3.0
    )
    params = task.init(KEY)
    terms = jax.jit(task.evaluate)(params, batch)
    self.assertAlmostEqual(
      float(terms['loss']),
      float(terms['residual'] + 3 * terms['initial']),
      places=5,
    )
    mask = jnp.array([True, True, False, True])
    broken = {k: v.at[2].set(jnp.nan) for k, v in batch.items()}
    kept = {k: v[jnp.array([0, 1, 3])] for k, v in batch.items()}
    grads = jax.jit(jax.grad(task.loss))(params, broken | {'mask': mask})
    want = jax.jit(jax.grad(task.loss))(params, kept)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, want
    )


class CollocationTest(parameterized.TestCase):
  def test_points_are_sensors_and_equations_of_data_see_time_first(self):
    u = jnp.asarray(np.random.default_rng(2).normal(size=(3, 6)), 'float32')
    batch = physics.draw_points(KEY, u, num_points=50, dim=2)
    at = np.round(np.asarray(batch['points'][:, 1]) * 5).astype(int)
    np.testing.assert_array_equal(batch['source'], np.asarray(u)[:, at])
    residual = physics.make_equation('diffusion_reaction(diffusion=0, rate=0)')
    y = jnp.array([[0.5, 0.2], [0.1, 0.7]])
    got = residual(lambda y: 3 * y[..., :1], y, jnp.ones(2))
    np.testing.assert_allclose(got, [2.0, 2.0], atol=1e-6)

  def test_the_exact_solution_has_no_loss(self):
    u = jnp.ones((2, 5))
    exact = types.Network(
      lambda *_: 1.0, lambda p, u, y, aligned: p * jnp.stack([y, y])
    )
    task = physics.collocation_task(
      exact,
      {'sensors': u[:1], 'points': jnp.zeros((1, 1))},
      'antiderivative',
      num_points=4,
    )
    batch = {'inputs': u}
    self.assertAlmostEqual(float(task.loss(1.0, batch, key=KEY)), 0.0, places=6)
    self.assertAlmostEqual(float(task.loss(2.0, batch, key=KEY)), 1.0, places=5)
    with self.assertRaisesRegex(ValueError, 'key is required'):
      task.loss(1.0, batch)

  @parameterized.parameters(*physics.DISTANCES)
  def test_distances_vanish_where_solutions_do(self, name):
    y = jnp.array([[0.0, 0.5]])
    y = y[:, :1] if name == 'stochastic_elliptic' else y
    self.assertEqual(float(physics.DISTANCES[name](y)[0]), 0.0)


if __name__ == '__main__':
  absltest.main()
