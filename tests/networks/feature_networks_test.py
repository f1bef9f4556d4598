# SPDX-License-Identifier: Apache-2.0
"""Whole networks with random features beside what is trained."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.networks import features

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(5, 4)).astype('float32')
BASE = networks.mlp(3, 2, kernel_init='glorot').init(jax.random.key(1), X)


def base_outputs():
  first, second = jax.tree.map(np.asarray, BASE)
  hidden = np.maximum(X @ first['kernel'] + first['bias'], 0)
  return hidden @ second['kernel'] + second['bias']


class NetworkTest(parameterized.TestCase):
  @parameterized.parameters(
    ('bitfit', 3 + 3 * 2 + 2),
    ('full', 4 * 3 + 3 + 3 * 2 + 2),
    ('lora(rank=2)', 2 * (4 + 3) + 3 * 2 + 2),
  )
  def test_fine_tuning_starts_at_the_base(self, method, count):
    net = features.fine_tuned(BASE, method=method)
    params = net.init(KEY, X)
    np.testing.assert_allclose(net.apply(params, X), base_outputs(), atol=1e-6)
    self.assertEqual(features.num_trained(net, 4), count)

  def test_adapters_start_at_the_base(self):
    net = features.adapted(BASE, lambda _: [features.bottleneck_adapter(3, 2)])
    np.testing.assert_allclose(
      net.apply(net.init(KEY, X), X), base_outputs(), atol=1e-6
    )

  def test_full_rank_keeps_a_trained_network(self):
    net = features.low_rank_network((3, 2), 5, start=BASE)
    np.testing.assert_allclose(
      net.apply(net.init(KEY, X), X), base_outputs(), atol=1e-5
    )

  def test_the_nearest_size_is_found(self):
    make = lambda rank: features.low_rank_network((3, 2), rank)
    size, net = features.matched(make, 7 * 4 + 3 + 8, 4)
    self.assertEqual(size, 4)
    self.assertEqual(features.num_trained(net, 4), 7 * 4 + 3 + 8)

  def test_what_is_drawn_stays(self):
    how = features.FEATURES.make('gaussian(orthogonal=True)')
    net = features.snnk_network(how, 4, (3, 2), 6, activation='gaussian')
    params = net.init(KEY, X)
    loss = lambda p: jnp.square(net.apply(p, X)).sum()
    optimizer = features.trained_only(optax.sgd(1e-6))
    gradient = jax.grad(loss)(params)
    updates, _ = optimizer.update(gradient, optimizer.init(params))
    new = optax.apply_updates(params, updates)
    jax.tree.map(np.testing.assert_array_equal, new['frozen'], params['frozen'])
    self.assertLess(float(loss(new)), float(loss(params)))

  def test_random_fourier_features_estimate_the_gaussian_kernel(self):
    net = features.random_fourier(4, 1, 20_000, bandwidth=2.0)
    frozen = net.init(KEY, X)['frozen']
    g, phase = (np.asarray(a, np.float64) for a in frozen)
    lift = np.cos(X @ g.T + phase) * (2 / 20_000) ** 0.5
    gaps = np.square(X[:, None] - X[None]).sum(-1)
    np.testing.assert_allclose(
      lift @ lift.T, np.exp(-gaps / (2 * 2.0**2)), atol=0.03
    )


class Pair(nn.Module):
  """Two dense layers with names."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(2, name='last')(nn.tanh(nn.Dense(3, name='first')(x)))


class PlacesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.network = networks.as_network(Pair())
    self.base = self.network.init(KEY, X)
    own = jax.tree.map(np.asarray, self.base['params'])
    self.layers = [own[k] for k in ('first', 'last')]

  def outputs(self, change=lambda h: h):
    first, last = self.layers
    hidden = np.tanh(change(X @ first['kernel'] + first['bias']))
    return hidden @ last['kernel'] + last['bias']

  def test_an_adapter_changes_the_output_of_its_module(self):
    part = features.bottleneck_adapter(3, 2)
    net = features.adapted_at(
      self.network, self.base, lambda _: {'first': part}
    )
    params = net.init(jax.random.key(1), X)
    np.testing.assert_allclose(net.apply(params, X), self.outputs(), atol=1e-6)
    down, up = np.ones((3, 2)), np.array([[1.0, 0, 2], [0, -1, 0]])
    own = {
      'down': {'kernel': down, 'bias': np.zeros(2)},
      'up': {'kernel': up, 'bias': np.array([0.5, 0, 0])},
    }
    params['trained']['first'] = jax.tree.map(jnp.float32, own)
    want = self.outputs(
      lambda h: h + np.maximum(h @ down, 0) @ up + np.array([0.5, 0, 0])
    )
    np.testing.assert_allclose(net.apply(params, X), want, atol=1e-5)
    self.assertEqual(features.num_trained(net, 4), 3 * 2 + 2 + 2 * 3 + 3)
    gradient = jax.grad(lambda p: jnp.sum(net.apply(p, X)))(params)
    self.assertGreater(
      np.abs(gradient['trained']['first']['up']['bias']).min(), 0
    )

  def test_paths_that_are_none_are_refused(self):
    part = features.bottleneck_adapter(3, 2)
    net = features.adapted_at(
      self.network, self.base, lambda _: {'block/first': part}
    )
    with self.assertRaisesRegex(
      ValueError, "adapters='block/first' is unknown"
    ):
      net.init(KEY, X)

  def test_modules_are_found_by_name(self):
    found = features.module_widths(
      self.network, self.base, X, ['last', 'first']
    )
    self.assertEqual(list(found.items()), [('first', 3), ('last', 2)])
    with self.assertRaisesRegex(
      ValueError, "places='fist' is unknown: choose one of 'first', 'last'"
    ):
      features.module_widths(self.network, self.base, X, ['fist'])

  @parameterized.parameters(
    ('bitfit', 3 + 2), ('full', 15 + 8), ('lora(rank=2)', 2 * (7 + 5))
  )
  def test_what_is_trained_on_starts_at_the_base(self, method, count):
    net = features.tuned_at(self.network, self.base, method=method)
    params = net.init(jax.random.key(1), X)
    np.testing.assert_allclose(net.apply(params, X), self.outputs(), atol=1e-6)
    self.assertEqual(features.num_trained(net, 4), count)
    moved = jax.tree.map(lambda p: p + 0.25, params['trained'])
    for layer, name in zip(self.layers, ('first', 'last'), strict=True):
      own = {k: np.asarray(v) for k, v in moved[f'params/{name}'].items()}
      for k in ('kernel', 'bias'):
        layer[k] = own.get(k, layer[k])
      if 'down' in own:
        layer['kernel'] = layer['kernel'] + own['down'] @ own['up']
    got = net.apply({'frozen': (), 'trained': moved}, X)
    np.testing.assert_allclose(got, self.outputs(), atol=1e-5)

  @parameterized.parameters('lora', 'bitfit')
  def test_nothing_to_train_is_refused(self, method):
    base = {'params': {'first': {'kernel': jnp.ones((3, 4))}}}
    with self.assertRaisesRegex(ValueError, 'finds nothing to train in base'):
      features.tuned_at(self.network, base, method=method)


if __name__ == '__main__':
  absltest.main()
