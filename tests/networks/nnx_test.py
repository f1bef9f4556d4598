# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx

from jaxdl import networks


class _Module(nnx.Module):
  def __init__(self, rngs):
    self.layers = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(2)])
    self.norm = nnx.BatchNorm(3, rngs=rngs)
    self.drop = nnx.Dropout(0.5, rngs=rngs)

  def __call__(self, x, *, mask=None):
    if mask is not None:
      mask = jnp.broadcast_to(mask[:, None], x.shape)
    x = self.norm(self.layers[0](x), mask=mask)
    return self.layers[1](self.drop(x))


def _data(seed=0, size=5):
  rng = np.random.default_rng(seed)
  return (2.0 + rng.normal(size=(size, 3))).astype('float32')


def _hidden(params, x):
  layer = params['params']['layers']['0']
  return np.asarray(x, np.float64) @ np.asarray(layer['kernel']) + np.asarray(
    layer['bias']
  )


class FromNnxTest(parameterized.TestCase):
  def test_params_are_a_plain_tree(self):
    network = networks.from_nnx(_Module)
    params = network.init(jax.random.key(0), _data())
    shapes = jax.tree.map(jnp.shape, params)
    linear = {'kernel': (3, 3), 'bias': (3,)}
    self.assertEqual(
      shapes,
      {
        'params': {
          'layers': {'0': linear, '1': linear},
          'norm': {'scale': (3,), 'bias': (3,)},
        },
        'statistics': {'norm': {'mean': (3,), 'var': (3,)}},
      },
    )
    self.assertTrue(networks.has_statistics(params))
    other = network.init(jax.random.key(1), _data())
    gap = _hidden(params, np.eye(3)) - _hidden(other, np.eye(3))
    self.assertGreater(np.abs(gap).max(), 0.1)

  def test_an_instance_keeps_its_values_and_is_never_changed(self):
    module = _Module(nnx.Rngs(3))
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module.norm)))
    network = networks.from_nnx(module)
    x = _data()
    params = network.init(jax.random.key(0), x)
    module.eval()
    np.testing.assert_allclose(network.apply(params, x), module(x), rtol=1e-6)
    jax.jit(lambda p: network.apply(p, x, train=True, key=jax.random.key(0)))(
      params
    )
    after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module.norm)))
    jax.tree.map(np.testing.assert_array_equal, before, after)

  def test_statistics_are_those_of_the_unmasked_rows(self):
    network = networks.from_nnx(_Module)
    x = _data()
    mask = np.array([True, False, True, True, True])
    params = network.init(jax.random.key(0), x)
    _, fresh = network.apply(params, x, mask=jnp.asarray(mask), mutable=True)
    hidden = _hidden(params, x)[mask]
    np.testing.assert_allclose(fresh['norm']['mean'], hidden.mean(0), rtol=1e-5)
    np.testing.assert_allclose(fresh['norm']['var'], hidden.var(0), rtol=1e-4)

  def test_trains_like_any_other_network(self):
    network = networks.from_nnx(_Module)
    x = _data()
    task = networks.classification(network, x, num_classes=3)
    params = task.init(jax.random.key(0))
    batch = {
      'inputs': x,
      'labels': np.zeros(5, int),
      'mask': np.array([True, False, True, True, True]),
    }
    slope = jax.jit(jax.vmap(jax.grad(task.loss), in_axes=(None, 0)))
    stacked = jax.tree.map(lambda v: np.stack([v, v]), batch)
    stacked['mask'][1] = False
    with self.assertRaisesRegex(ValueError, 'key is required'):
      slope(params, stacked)
    grads = jax.jit(
      jax.vmap(lambda b, k: jax.grad(task.loss)(params, b, key=k))
    )(stacked, jax.random.split(jax.random.key(0), 2))
    hidden = _hidden(params, x)[batch['mask']]
    np.testing.assert_allclose(
      grads['statistics']['norm']['mean'][0], -hidden.mean(0), rtol=1e-5
    )
    # The second client has no examples.
    for leaf in jax.tree.leaves(grads):
      np.testing.assert_array_equal(leaf[1], 0.0)

  def test_recalibration(self):
    network = networks.from_nnx(_Module)
    x = np.stack([_data(0), 3 * _data(1)])
    params = network.init(jax.random.key(0), x[0])
    params = networks.recalibrate(network, params, {'inputs': x})
    hidden = _hidden(params, x.reshape(-1, 3))
    got = params['statistics']['norm']
    np.testing.assert_allclose(got['mean'], hidden.mean(0), rtol=1e-5)
    np.testing.assert_allclose(got['var'], hidden.var(0), rtol=1e-4)

  def test_dropout_follows_the_key(self):
    network = networks.from_nnx(_Module)
    x = _data()
    params = network.init(jax.random.key(0), x)
    train = lambda seed: np.asarray(
      network.apply(params, x, train=True, key=jax.random.key(seed))
    )
    np.testing.assert_array_equal(train(1), train(1))
    self.assertGreater(np.abs(train(1) - train(2)).max(), 1e-3)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(TypeError, 'module must be a flax.nnx module'):
      networks.from_nnx(3)

    class Counter(nnx.Variable):
      pass

    class Odd(nnx.Module):
      def __init__(self):
        self.calls = Counter(jnp.zeros(()))

      def __call__(self, x):
        return x

    with self.assertRaisesRegex(ValueError, r"other than.*\['calls'\]"):
      networks.from_nnx(Odd())
    network = networks.from_nnx(lambda rngs: nnx.BatchNorm(2, rngs=rngs))
    params = network.init(jax.random.key(0), jnp.ones((2, 2)))
    self.assertTrue(networks.has_statistics(params))

    class Maskless(nnx.Module):
      def __init__(self, rngs):
        self.norm = nnx.BatchNorm(2, rngs=rngs)

      def __call__(self, x):
        return self.norm(x)

    network = networks.from_nnx(Maskless)
    params = network.init(jax.random.key(0), jnp.ones((2, 2)))
    with self.assertRaisesRegex(ValueError, 'mask is given'):
      network.apply(params, jnp.ones((2, 2)), mask=jnp.ones(2, bool))


if __name__ == '__main__':
  absltest.main()
