# SPDX-License-Identifier: Apache-2.0
"""Flax modules as networks, and what is said about other things."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx

from jaxdl import networks
from jaxdl.core import types

X = np.arange(6.0, dtype=np.float32).reshape(2, 3)
MODULE = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
TASK = networks.regression(networks.logistic_regression(2), X)


class AsNetworkTest(parameterized.TestCase):
  def test_an_nnx_module_in_a_task(self):
    task = networks.regression(MODULE, X)
    params = task.init(jax.random.key(3))
    outputs = X @ np.asarray(MODULE.kernel[...]) + np.asarray(MODULE.bias[...])
    batch = {'inputs': X, 'labels': jnp.ones((2, 2))}
    self.assertAlmostEqual(
      float(task.loss(params, batch)), np.mean((outputs - 1) ** 2), places=5
    )

  def test_modules_and_pairs(self):
    network = networks.logistic_regression(2)
    self.assertIs(networks.as_network(network), network)
    for value in (nn.Dense(2), tuple(network)):
      got = networks.as_network(value)
      self.assertIsInstance(got, types.Network)
      shapes = jax.eval_shape(got.init, jax.random.key(0), X)
      out = jax.eval_shape(got.apply, shapes, X)
      self.assertEqual(out.shape, (2, 2))

  @parameterized.parameters(
    ('mlp', r"call networks.make_network\('mlp', input_shape, num_outputs"),
    (nnx.Linear, r'call networks.from_nnx\(lambda rngs: Linear\('),
    (nn.Dense, r'the class Dense: make one, Dense\(...\)'),
    (TASK, 'got a Task: a task has its network inside'),
    (lambda rngs: MODULE, 'got the function <lambda>: .*from_nnx'),
    (X, r'got an array of shape \(2, 3\)'),
  )
  def test_says_what_to_pass(self, value, message):
    with self.assertRaisesRegex(TypeError, message):
      networks.classification(value, X, num_classes=2)


if __name__ == '__main__':
  absltest.main()
