# SPDX-License-Identifier: Apache-2.0
"""Whole networks with random features beside what is trained."""

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


if __name__ == '__main__':
  absltest.main()
