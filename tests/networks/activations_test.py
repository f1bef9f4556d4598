# SPDX-License-Identifier: Apache-2.0
"""What layers make, by name."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx

from jaxdl import networks


class _Module(nn.Module):
  """A module that names nothing itself."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Dense(4)(x))
    self.sow('intermediates', 'hidden', x)
    return nn.Dense(2, name='head')(x)


class _Nnx(nnx.Module):
  def __init__(self, rngs):
    self.first = nnx.Linear(3, 4, rngs=rngs)
    self.last = nnx.Linear(4, 2, rngs=rngs)

  def __call__(self, x):
    return self.last(networks.tap(jnp.tanh(self.first(x)), 'dense'))


class ActivationsTest(parameterized.TestCase):
  def test_an_mlp_shows_what_comes_out_of_its_nonlinearities(self):
    network = networks.mlp((5, 4), 3)
    x = np.random.default_rng(0).normal(size=(6, 2)).astype('float32')
    params = network.init(jax.random.key(0), x)
    run = jax.jit(lambda p, x: networks.activations(network, p, x))
    found = run(params, x)
    h = x.astype(float)
    for k in (0, 1):
      kernel, bias = (
        np.asarray(params[k][n], float) for n in ('kernel', 'bias')
      )
      h = np.maximum(h @ kernel + bias, 0)
      np.testing.assert_allclose(found[f'dense_{k + 1}'], h, rtol=1e-5)
    self.assertLen(found, 2)
    self.assertEqual(
      list(networks.activations(network, params, x, layers='*_2')), ['dense_2']
    )

  def test_nothing_is_left_in_the_program(self):
    network = networks.mlp((5,), 3)
    x = jnp.ones((2, 2))
    params = network.init(jax.random.key(0), x)
    before = str(jax.make_jaxpr(network.apply)(params, x))
    networks.activations(network, params, x)
    self.assertEqual(str(jax.make_jaxpr(network.apply)(params, x)), before)

  @parameterized.parameters(
    ('lenet', (12, 12, 1), {'conv_1': (12, 12, 6), 'dense_2': (84,)}, 4),
    ('conv8(width=2)', (16, 16, 1), {'conv_8': (2, 2, 16)}, 10),
    ('monna_cifar_cnn', (4, 4, 1), {'conv_4': (2, 2, 128)}, 5),
    ('fedfix_cifar_cnn', (18, 18, 1), {'conv_3': (1, 1, 64)}, 4),
    ('resnet18(width=2)', (4, 4, 1), {'block_8': (1, 1, 16)}, 17),
    ('char_lstm(width=3)', (5,), {'lstm_2': (5, 3)}, 2),
  )
  def test_networks_of_the_registry_name_their_layers(
    self, spec, shape, some, count
  ):
    dtype = jnp.int32 if spec.startswith('char') else jnp.float32
    network = networks.make_network(spec, shape, 10, dtype=dtype)
    x = jax.ShapeDtypeStruct((2, *shape), dtype)
    found = jax.eval_shape(
      lambda x: networks.activations(
        network, network.init(jax.random.key(0), x), x
      ),
      x,
    )
    self.assertLen(found, count)
    for name, want in some.items():
      self.assertEqual(found[name].shape, (2, *want))

  def test_flax_modules_show_their_submodules(self):
    x = jnp.ones((3, 2))
    module = _Module()
    params = networks.as_network(module).init(jax.random.key(0), x)
    found = networks.activations(module, params, x)
    self.assertEqual(list(found), ['Dense_0', 'hidden', 'head'])
    np.testing.assert_array_equal(found['head'], module.apply(params, x))
    np.testing.assert_array_equal(
      found['hidden'], np.maximum(found['Dense_0'], 0)
    )

  def test_modules_of_our_own_show_both(self):
    network = networks.lenet()
    x = jnp.ones((1, 12, 12, 1))
    params = network.init(jax.random.key(0), x)
    found = networks.activations(
      network, params, x, layers=['Conv_*', 'conv_1']
    )
    self.assertCountEqual(found, ['conv_1', 'Conv_0', 'Conv_1'])
    np.testing.assert_array_equal(
      found['conv_1'], np.maximum(found['Conv_0'], 0)
    )

  def test_modules_of_nnx_name_values_by_hand(self):
    network = networks.from_nnx(lambda rngs: _Nnx(rngs))
    x = jnp.ones((3, 3))
    params = network.init(jax.random.key(0), x)
    found = networks.activations(network, params, x)
    self.assertEqual(
      {k: v.shape for k, v in found.items()}, {'dense_1': (3, 4)}
    )

  def test_says_which_names_there_are(self):
    network = networks.mlp((5, 4), 3)
    x = jnp.ones((2, 2))
    params = network.init(jax.random.key(0), x)
    with self.assertRaisesRegex(
      ValueError, "layers='dense_3' is unknown.*'dense_1', 'dense_2'"
    ):
      networks.activations(network, params, x, layers='dense_3')
    with self.assertRaisesRegex(ValueError, "layers='conv_.' is unknown"):
      networks.activations(network, params, x, layers=('dense_1', 'conv_*'))
    with self.assertRaisesRegex(ValueError, 'layers is empty'):
      networks.activations(network, params, x, layers=())
    with self.assertRaisesRegex(TypeError, 'layers must be names; got 1'):
      networks.activations(network, params, x, layers=(1,))
    linear = networks.logistic_regression(3)
    with self.assertRaisesRegex(ValueError, 'names none of its layers'):
      networks.activations(linear, linear.init(jax.random.key(0), x), x)


if __name__ == '__main__':
  absltest.main()
