# SPDX-License-Identifier: Apache-2.0
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.core import clients, trees
from jaxdl.core.types import Network


class _Net(nn.Module):
  """A normalized linear map: small enough for closed forms."""

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    x = networks.BatchNorm()(nn.Dense(3)(x), mask=mask)
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return nn.Dense(2)(x)


class _Norm(nn.Module):
  @nn.compact
  def __call__(self, x, *, mask=None):
    return networks.BatchNorm()(x, mask=mask)


def _jit(network):
  return Network(
    jax.jit(network.init),
    jax.jit(network.apply, static_argnames=('train', 'mutable')),
  )


NETWORK = _jit(networks.from_linen(_Net()))
NORM = _jit(networks.from_linen(_Norm()))


def _data(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype('float32')


def _hidden(params, x):
  layer = params['params']['Dense_0']
  return np.asarray(x, np.float64) @ np.asarray(layer['kernel']) + np.asarray(
    layer['bias']
  )


def _running(params):
  return params['statistics']['BatchNorm_0']


class BatchNormTest(parameterized.TestCase):
  def test_train_and_evaluation_modes(self):
    x = 3.0 + 2.0 * _data(0, 5, 4, 2)
    params = NORM.init(jax.random.key(0), x)
    mean, var = x.mean((0, 1)), x.var((0, 1))
    trained, fresh = NORM.apply(params, x, train=True, mutable=True)
    np.testing.assert_allclose(
      trained, (x - mean) / np.sqrt(var + 1e-5), atol=2e-5
    )
    np.testing.assert_allclose(fresh['BatchNorm_0']['mean'], mean, rtol=1e-5)
    np.testing.assert_allclose(fresh['BatchNorm_0']['var'], var, rtol=1e-5)
    # Evaluation: the running ones, mean 0 and variance 1 at first.
    np.testing.assert_allclose(
      NORM.apply(params, x), x / np.sqrt(1 + 1e-5), rtol=1e-6
    )
    # Statistics of the batch without training mode.
    recorded, again = NORM.apply(params, x, mutable=True)
    np.testing.assert_array_equal(recorded, trained)
    jax.tree.map(np.testing.assert_array_equal, fresh, again)

  def test_variance_survives_a_large_mean(self):
    x = 1e4 + _data(1, 64, 1)
    params = NORM.init(jax.random.key(0), x)
    _, fresh = NORM.apply(params, x, mutable=True)
    want = np.asarray(x, np.float64).var()
    np.testing.assert_allclose(fresh['BatchNorm_0']['var'], want, rtol=1e-3)

  def test_masked_rows_do_not_enter(self):
    x = _data(2, 6, 3, 2)
    mask = np.array([True, False, True, True, False, True])
    params = NORM.init(jax.random.key(0), x)
    want, want_fresh = NORM.apply(params, x[mask], train=True, mutable=True)
    x[~mask] = 1e6
    got, fresh = NORM.apply(params, x, train=True, mask=mask, mutable=True)
    np.testing.assert_allclose(got[mask], want, atol=1e-5)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
      fresh,
      want_fresh,
    )

  def test_an_empty_batch_keeps_the_running_statistics(self):
    x = _data(3, 4, 2)
    params = networks.with_statistics(
      NORM.init(jax.random.key(0), x),
      {'BatchNorm_0': {'mean': jnp.full(2, 0.5), 'var': jnp.full(2, 4.0)}},
    )
    mask = np.zeros(4, bool)
    got, fresh = NORM.apply(params, x, train=True, mask=mask, mutable=True)
    np.testing.assert_allclose(got, (x - 0.5) / np.sqrt(4 + 1e-5), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, fresh, params['statistics'])

  def test_a_negative_running_variance_counts_as_zero(self):
    x = _data(4, 2, 2)
    params = networks.with_statistics(
      NORM.init(jax.random.key(0), x),
      {'BatchNorm_0': {'mean': jnp.zeros(2), 'var': jnp.full(2, -3.0)}},
    )
    np.testing.assert_allclose(
      NORM.apply(params, x), x / np.sqrt(1e-5), rtol=1e-5
    )

  def test_gradient_flows_through_the_statistics_of_the_batch(self):
    # sum of squares of a normalized column is constant: gradient zero.
    x = jnp.asarray(_data(5, 8, 2))
    params = NORM.init(jax.random.key(0), x)
    slope = jax.jit(
      jax.grad(lambda x: jnp.sum(jnp.square(NORM.apply(params, x, train=True))))
    )(x)
    np.testing.assert_allclose(slope, np.zeros((8, 2)), atol=1e-3)
    slope = jax.grad(lambda x: jnp.sum(jnp.square(NORM.apply(params, x))))(x)
    np.testing.assert_allclose(slope, 2 * x, rtol=1e-3)

  def test_only_known_collections(self):
    class Foreign(nn.Module):
      @nn.compact
      def __call__(self, x, *, train=False):
        return nn.BatchNorm(use_running_average=not train)(x)

    with self.assertRaisesRegex(ValueError, r"collections \['batch_stats'\]"):
      networks.from_linen(Foreign()).init(jax.random.key(0), jnp.zeros((2, 2)))

    class Maskless(nn.Module):
      @nn.compact
      def __call__(self, x):
        return networks.BatchNorm()(x)

    network = networks.from_linen(Maskless())
    x = jnp.ones((2, 2))
    params = network.init(jax.random.key(0), x)
    with self.assertRaisesRegex(ValueError, 'mask is given'):
      network.apply(params, x, mask=jnp.ones(2, bool))


class SurrogateTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.x = 2.0 + _data(6, 6, 4)
    self.mask = np.array([True, True, False, True, True, False])
    self.task = networks.classification(
      NETWORK, self.x[:1], num_classes=2, l2=0.3
    )
    self.params = self.task.init(jax.random.key(0))
    self.slope = jax.jit(jax.value_and_grad(self.task.loss))
    self.batch = {
      'inputs': self.x,
      'labels': np.array([0, 1, 9, 1, 0, -7]),
      'mask': self.mask,
    }

  def test_gradient_is_the_gap_to_the_masked_batch(self):
    _, grads = self.slope(self.params, self.batch, key=jax.random.key(1))
    hidden = _hidden(self.params, self.x)[self.mask]
    got = _running(grads)
    np.testing.assert_allclose(got['mean'], 0 - hidden.mean(0), rtol=1e-5)
    np.testing.assert_allclose(got['var'], 1 - hidden.var(0), rtol=1e-4)

  def test_value_and_other_gradients_do_not_change(self):
    def plain(params):
      logits = NETWORK.apply(
        params, self.x, train=True, key=jax.random.key(1), mask=self.mask
      )
      labels = np.where(self.mask, self.batch['labels'], 0)
      errors = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      penalty = sum(
        jnp.sum(jnp.square(p)) for p in jax.tree.leaves(params['params'])
      )
      return jnp.sum(jnp.where(self.mask, errors, 0.0)) / 4 + 0.3 * penalty

    want, want_grads = jax.jit(jax.value_and_grad(plain))(self.params)
    got, grads = self.slope(self.params, self.batch, key=jax.random.key(1))
    np.testing.assert_allclose(got, want, rtol=1e-6)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
      grads['params'],
      want_grads['params'],
    )
    # Penalty and cross-entropy alone leave the statistics as they are.
    for leaf in jax.tree.leaves(want_grads['statistics']):
      np.testing.assert_array_equal(leaf, 0.0)

  def test_an_empty_batch_moves_nothing(self):
    task = networks.classification(NETWORK, self.x[:1], num_classes=2)
    batch = {**self.batch, 'mask': np.zeros(6, bool)}
    value, grads = jax.jit(jax.value_and_grad(task.loss))(
      self.params, batch, key=jax.random.key(1)
    )
    self.assertEqual(float(value), 0.0)
    for leaf in jax.tree.leaves(grads):
      np.testing.assert_array_equal(leaf, 0.0)

  def test_gradient_descent_is_the_moving_average(self):
    rate, params = 0.25, self.params
    expected = {'mean': np.zeros(3), 'var': np.ones(3)}
    for i in range(3):
      batch = {**self.batch, 'inputs': self.x + i}
      hidden = _hidden(params, self.x + i)[self.mask]
      fresh = {'mean': hidden.mean(0), 'var': hidden.var(0)}
      expected = {k: 0.75 * v + 0.25 * fresh[k] for k, v in expected.items()}
      _, grads = self.slope(params, batch, key=jax.random.key(i))
      params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
    for name in ('mean', 'var'):
      np.testing.assert_allclose(
        _running(params)[name], expected[name], rtol=1e-4
      )

  def test_per_client_statistics(self):
    stacked = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), self.params)
    batch = jax.tree.map(lambda x: np.stack([x, x]), self.batch)
    keys = jax.random.split(jax.random.key(0), 2)
    grads = jax.jit(
      clients.map_clients(lambda p, b, k: jax.grad(self.task.loss)(p, b, key=k))
    )(stacked, batch, keys)
    for i in range(2):
      own = jax.tree.map(lambda p, i=i: p[i], stacked)
      hidden = _hidden(own, self.x)[self.mask]
      np.testing.assert_allclose(
        _running(grads)['mean'][i],
        _running(own)['mean'] - hidden.mean(0),
        rtol=1e-4,
      )

  def test_plain_networks_have_none(self):
    network = networks.mlp((), 2)
    params = network.init(jax.random.key(0), self.x)
    self.assertFalse(networks.has_statistics(params))
    self.assertEqual(networks.split_statistics(params), (params, None))
    outputs, surrogate = networks.training_outputs(network, params, self.x)
    np.testing.assert_array_equal(outputs, network.apply(params, self.x))
    self.assertEqual(float(surrogate), 0.0)
    self.assertIs(networks.recalibrate(network, params, {}), params)
    self.assertEqual(float(networks.statistics_surrogate(params, None)), 0.0)
    # Squares beyond float32 change neither the value nor the pull.
    far, near = ({'statistics': {'mean': jnp.full(2, x)}} for x in (1e30, 1.0))
    value, pull = jax.value_and_grad(networks.statistics_surrogate)(
      far, near['statistics']
    )
    self.assertEqual(float(value), 0.0)
    np.testing.assert_allclose(pull['statistics']['mean'], 1e30, rtol=1e-6)


class RecalibrateTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.x = 1.0 + _data(8, 3, 5, 4) * np.array([1, 2, 3])[:, None, None]
    self.x = self.x.astype('float32')
    self.mask = np.ones((3, 5), bool)
    self.mask[0, 3:] = False
    self.mask[2, 1:] = False
    params = NETWORK.init(jax.random.key(0), self.x[0])
    self.params = jax.tree.map(lambda p: p + 0.5, params)

  def test_pools_the_moments_of_all_unmasked_rows(self):
    got = jax.jit(
      lambda p: networks.recalibrate(
        NETWORK, p, {'inputs': self.x, 'mask': self.mask, 'labels': 0}
      )
    )(self.params)
    hidden = _hidden(self.params, self.x)[self.mask]
    np.testing.assert_allclose(_running(got)['mean'], hidden.mean(0), rtol=1e-5)
    np.testing.assert_allclose(_running(got)['var'], hidden.var(0), rtol=1e-5)
    jax.tree.map(
      np.testing.assert_array_equal, got['params'], self.params['params']
    )

  def test_evaluation_then_equals_training_on_one_batch(self):
    network = _jit(networks.monna_cifar_cnn(3, dropout=0.0))
    x = _data(9, 1, 6, 4, 4, 1)
    params = network.init(jax.random.key(0), x[0])
    params = networks.recalibrate(network, params, {'inputs': x})
    np.testing.assert_allclose(
      network.apply(params, x[0]),
      network.apply(params, x[0], train=True),
      atol=1e-5,
    )

  def test_repairs_merged_statistics(self):
    # Two models whose hidden units are opposite: the average of variances is
    # far from the variance of the average.
    flipped = dict(self.params['params'])
    flipped['Dense_0'] = jax.tree.map(lambda p: -0.9 * p, flipped['Dense_0'])
    both = [self.params, {**self.params, 'params': flipped}]
    data = {'inputs': self.x}
    both = [networks.recalibrate(NETWORK, p, data) for p in both]
    merged = trees.combine(
      jnp.array([0.5, 0.5]), jax.tree.map(lambda *p: jnp.stack(p), *both)
    )
    repaired = networks.recalibrate(NETWORK, merged, data)
    true = _hidden(merged, self.x.reshape(-1, 4)).var(0)
    np.testing.assert_allclose(_running(repaired)['var'], true, rtol=1e-4)
    self.assertGreater((_running(merged)['var'] / true).min(), 100)

  def test_keeps_statistics_without_data(self):
    got = networks.recalibrate(
      NETWORK, self.params, {'inputs': self.x, 'mask': 0 * self.mask}
    )
    jax.tree.map(np.testing.assert_array_equal, got, self.params)

  def test_says_what_is_missing(self):
    with self.assertRaisesRegex(ValueError, 'entry inputs'):
      networks.recalibrate(NETWORK, self.params, {'x': self.x})


if __name__ == '__main__':
  absltest.main()
