# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks


def _size(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


def _layers(params):
  return list(params)


def _reference(params, x, activation):
  x = np.asarray(x, np.float64).reshape(len(x), -1)
  layers = _layers(params)
  for i, layer in enumerate(layers):
    x = x @ np.asarray(layer['kernel'], np.float64)
    x = x + np.asarray(layer['bias'], np.float64)
    if i + 1 < len(layers):
      x = activation(x)
  return x


class MlpTest(parameterized.TestCase):
  @parameterized.parameters(
    ('relu', lambda x: np.maximum(x, 0)),
    ('tanh', np.tanh),
    ('sigmoid', lambda x: 1 / (1 + np.exp(-x))),
    (jnp.sin, np.sin),
  )
  def test_equals_matrix_products(self, activation, reference):
    network = networks.mlp((5, 7), 3, activation=activation)
    x = np.random.default_rng(0).normal(size=(4, 2, 3)).astype('float32')
    params = network.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p + 0.1, params)
    np.testing.assert_allclose(
      network.apply(params, x), _reference(params, x, reference), rtol=2e-5
    )

  @parameterized.parameters('bfloat16', 'float32', 'float64')
  def test_keeps_the_dtype_of_the_inputs(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      network = networks.mlp((6,), 2)
      x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)), dtype)
      params = network.init(jax.random.key(0), x)
      outputs = network.apply(params, x)
      self.assertEqual({p.dtype for p in jax.tree.leaves(params)}, {x.dtype})
      self.assertEqual(outputs.dtype, x.dtype)
      tolerance = {'bfloat16': 0.03, 'float32': 1e-6, 'float64': 1e-14}[dtype]
      np.testing.assert_allclose(
        outputs.astype('float64' if dtype == 'float64' else 'float32'),
        _reference(params, x, lambda x: np.maximum(x, 0)),
        atol=tolerance,
      )

  def test_takes_integer_images(self):
    network = networks.mlp((6,), 2)
    x = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    params = network.init(jax.random.key(0), x)
    np.testing.assert_allclose(
      network.apply(params, x),
      _reference(params, x, lambda x: np.maximum(x, 0)),
      rtol=1e-5,
    )
    self.assertEqual(network.apply(params, x).dtype, jnp.float32)

  def test_counts_parameters(self):
    # 64-64-64-10, and softmax regression on digits.
    shapes = jax.eval_shape(
      lambda x: networks.mlp((64, 64), 10).init(jax.random.key(0), x),
      jnp.zeros((1, 8, 8)),
    )
    self.assertEqual(_size(shapes), 2 * 65 * 64 + 65 * 10)
    shapes = jax.eval_shape(
      lambda x: networks.logistic_regression(10).init(jax.random.key(0), x),
      jnp.zeros((1, 64)),
    )
    self.assertEqual(_size(shapes), 650)

  def test_initial_kernels_have_variance_one_over_fan_in(self):
    params = networks.mlp((300,), 200).init(
      jax.random.key(3), jnp.zeros((1, 400))
    )
    for layer, fan_in in zip(_layers(params), (400, 300), strict=True):
      kernel = np.asarray(layer['kernel'], np.float64)
      # Relative error of a variance of n uniforms: sqrt(0.8 / n) < 0.004.
      self.assertAlmostEqual(kernel.var() * fan_in, 1.0, delta=0.02)
      self.assertLessEqual(np.abs(kernel).max(), np.sqrt(3 / fan_in))
      self.assertLess(abs(kernel.mean()) * np.sqrt(fan_in), 0.02)
      np.testing.assert_array_equal(layer['bias'], 0.0)
    first, second = (np.asarray(a['kernel']).ravel() for a in _layers(params))
    self.assertLess(abs(np.corrcoef(first[:60000], second)[0, 1]), 0.02)

  def test_initializes_alike_under_jit_and_vmap(self):
    network = networks.mlp((4,), 2)
    keys = jax.random.split(jax.random.key(0), 3)
    x = jnp.zeros((1, 5))
    stacked = jax.jit(jax.vmap(network.init, in_axes=(0, None)))(keys, x)
    for i in range(3):
      row = jax.tree.map(lambda p, i=i: p[i], stacked)
      one = network.init(keys[i], x)
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), row, one
      )
    kernels = np.asarray(stacked[0]['kernel'])
    self.assertGreater(np.abs(kernels[0] - kernels[1]).max(), 0.1)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'flatten=False to concatenate'):
      networks.mlp(6, 3).init(jax.random.key(0), jnp.ones(2), jnp.ones(2))
    with self.assertRaisesRegex(ValueError, 'hidden_sizes must be at least 1'):
      networks.mlp((3, 0), 3)
    with self.assertRaisesRegex(ValueError, "activation='rilu' is unknown"):
      networks.mlp((3,), 3, activation='rilu')
    with self.assertRaisesRegex(ValueError, 'num_outputs must be at least 1'):
      networks.logistic_regression(0)
    with self.assertRaisesRegex(ValueError, r'shape \(5,\).*batch axis'):
      networks.mlp((3,), 3).init(jax.random.key(0), jnp.zeros(5))


class RegistryTest(parameterized.TestCase):
  def test_passes_options(self):
    network = networks.make_network('mlp(3, activation=identity)', (4,), 2)
    x = jnp.array([[1.0, -2.0, 3.0, -4.0]])
    params = network.init(jax.random.key(0), x)
    np.testing.assert_allclose(
      network.apply(params, x), _reference(params, x, lambda x: x), rtol=1e-5
    )
    self.assertEqual(params[0]['kernel'].shape, (4, 3))
    network = networks.make_network('resnet18(norm=batch)', (8, 8, 3), 2)
    shapes = jax.eval_shape(
      lambda x: network.init(jax.random.key(0), x), jnp.zeros((1, 8, 8, 3))
    )
    self.assertTrue(networks.has_statistics(shapes))

  def test_refuses_data_that_does_not_fit(self):
    with self.assertRaisesRegex(ValueError, r"network='vgg' is unknown"):
      networks.make_network('vgg', (8, 8, 1), 10)
    with self.assertRaisesRegex(ValueError, r'at least 16 x 16'):
      networks.make_network('monna_mnist_cnn', (8, 8, 1), 10)
    with self.assertRaisesRegex(ValueError, r'lenet takes inputs \[B, H, W'):
      networks.make_network('lenet', (784,), 10)
    with self.assertRaisesRegex(ValueError, "mlp has no option 'norm'"):
      networks.make_network('mlp(norm=batch)', (784,), 10)


if __name__ == '__main__':
  absltest.main()
