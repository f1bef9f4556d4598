# SPDX-License-Identifier: Apache-2.0
"""Flax modules as networks, and what is said about other things."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx

from jaxdl import networks, operators
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

  def test_modules_as_branch_and_trunk(self):
    points = jnp.linspace(0.0, 1.0, 4)[:, None]
    net = operators.deeponet(nn.Dense(5), nnx.Linear(1, 5, rngs=nnx.Rngs(0)))
    batch = {'sensors': X, 'targets': jnp.zeros((2, 4))}
    task = operators.operator_task(net, batch, points=points)
    params = jax.eval_shape(task.init, jax.random.key(0))
    self.assertEqual(params['branch']['params']['kernel'].shape, (3, 5), params)
    with self.assertRaisesRegex(ValueError, 'reads y besides u: give points='):
      operators.operator_task(net, batch)
    with self.assertRaisesRegex(TypeError, 'must be a dict .* got a tuple of'):
      operators.operator_task(net, (X, X))
    with self.assertRaisesRegex(TypeError, 'branch must be a Network; got the'):
      operators.deeponet('mlp', (4, 5))

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
