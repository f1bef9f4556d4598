# SPDX-License-Identifier: Apache-2.0
"""Problems whose numbers are known: quadratics and vectors, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import problems

N, D = 4, 3


class QuadraticsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.problem = problems.quadratics(num_clients=N, dimension=D, seeds=(0, 7))
    self.a = np.asarray(self.problem.data['a'], np.float64)
    self.b = np.asarray(self.problem.data['b'], np.float64)
    # Where the mean of the gradients vanishes.
    self.best = np.stack(
      [
        np.linalg.solve(np.diag(a.sum(axis=0)), (a * b).sum(axis=0))
        for a, b in zip(self.a, self.b, strict=True)
      ]
    )

  def test_constants(self):
    self.assertTrue(((self.a >= 0.5) & (self.a <= 2.0)).all())
    many = problems.quadratics(num_clients=500, spread=2.0).data['b']
    np.testing.assert_allclose(np.std(many), 2.0, rtol=0.05)

  def test_loss_and_gradient(self):
    x = np.random.default_rng(0).normal(size=D)
    batch = jax.tree.map(lambda v: v[0, 1], self.problem.data)
    loss, grad = jax.value_and_grad(self.problem.task.loss)(
      {'x': jnp.asarray(x, jnp.float32)}, batch
    )
    gap = x - self.b[0, 1]
    np.testing.assert_allclose(loss, gap @ (self.a[0, 1] * gap) / 2, rtol=1e-5)
    np.testing.assert_allclose(grad['x'], self.a[0, 1] * gap, rtol=1e-5)

  def test_errors(self):
    x = np.random.default_rng(1).normal(size=(2, N, D))
    found = self.problem.evaluate_clients({'x': jnp.asarray(x, jnp.float32)})
    far = np.linalg.norm(x - self.best[:, None], axis=-1)
    want = {
      'error': np.sqrt((far**2).mean(axis=1)),
      'mean_error': np.linalg.norm(x.mean(axis=1) - self.best, axis=-1),
      'worst_error': far.max(axis=1),
    }
    for name, value in want.items():
      np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    at = self.problem.evaluate({'x': jnp.asarray(self.best, jnp.float32)})
    np.testing.assert_allclose(at['error'], 0.0, atol=1e-5)

  def test_noise_of_gradients(self):
    noisy = problems.quadratics(num_clients=1, dimension=D, gradient_noise=0.5)
    batch = jax.tree.map(lambda v: v[0, 0], noisy.data)
    keys = jax.random.split(jax.random.key(0), 4000)
    params = {'x': batch['b']}
    grads = jax.vmap(
      lambda key: jax.grad(noisy.task.loss)(params, batch, key=key)['x']
    )(keys)
    np.testing.assert_allclose(np.mean(grads, axis=0), 0.0, atol=0.04)
    np.testing.assert_allclose(np.std(grads, axis=0), 0.5, rtol=0.05)

  @parameterized.parameters(
    ({'num_clients': 0}, 'num_clients'),
    ({'dimension': 0}, 'dimension'),
    ({'spread': -1.0}, 'spread'),
    ({'gradient_noise': -1.0}, 'gradient_noise'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      problems.quadratics(**options)


class VectorsTest(parameterized.TestCase):
  def test_distances_in_units_of_the_start(self):
    problem = problems.vectors(num_clients=N, dimension=D, seeds=(1, 4))
    start = np.asarray(problem.data, np.float64)
    held = np.random.default_rng(2).normal(size=start.shape)
    found = problem.evaluate_clients(jnp.asarray(held, jnp.float32))
    spread = lambda x, m: ((x - m) ** 2).sum(axis=-1).mean(axis=1)
    mean = lambda x: x.mean(axis=1, keepdims=True)
    scale = spread(start, mean(start))
    np.testing.assert_allclose(
      found['consensus'], spread(held, mean(held)) / scale, rtol=1e-5
    )
    np.testing.assert_allclose(
      found['error'], spread(held, mean(start)) / scale, rtol=1e-5
    )
    begun = problem.evaluate_clients(problem.data)
    np.testing.assert_allclose(begun['consensus'], 1.0, rtol=1e-5)

  def test_one_hot(self):
    start = problems.vectors(num_clients=N, dimension=D, start='one_hot').data
    np.testing.assert_array_equal(start[0], np.eye(N)[0][:, None] * np.ones(D))

  @parameterized.parameters(
    ({'start': 'zeros'}, 'start'),
    ({'num_clients': 0}, 'num_clients'),
    ({'dimension': 0}, 'dimension'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      problems.vectors(**options)


if __name__ == '__main__':
  absltest.main()
