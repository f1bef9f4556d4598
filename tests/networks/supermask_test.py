# SPDX-License-Identifier: Apache-2.0
"""Masks of the largest scores, and networks that run with them."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.core import types

MASK = jax.jit(networks.topk_mask, static_argnums=1)
NETWORK = networks.supermask(networks.mlp((6,), 3, bias=False))
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)


def by_sorting(scores, keep):
  """The lowest n - kept by (score, index) are left out."""
  flat = scores.reshape(-1)
  dropped = flat.size - networks.num_kept(flat.size, keep)
  mask = np.ones(flat.size, bool)
  mask[np.argsort(flat, kind='stable')[:dropped]] = False
  return mask.reshape(scores.shape)


class TopkMaskTest(parameterized.TestCase):
  @parameterized.product(
    case=['normal', 'ties', 'equal', 'special', 'far', 'wide', 'few'],
    keep=[0.01, 0.3, 0.5, 0.9, 1.0],
  )
  def test_equals_a_stable_sort(self, case, keep):
    rng = np.random.default_rng(1)
    x = {
      'normal': rng.normal(size=(23, 29)),
      'ties': rng.integers(-1, 2, size=(23, 29)),
      'equal': np.zeros((23, 29)),
      'special': rng.choice(
        [np.nan, np.inf, -np.inf, -0.0, 0.0, 2.0], (23, 29)
      ),
      'far': rng.normal(size=(23, 29)) ** 21,
      'few': rng.choice([np.nan, 1.0, 0.0, -0.0, 3.0], (5, 7)),
      # More than the bytes of one block can count.
      'wide': rng.normal(size=40_000),
    }[case].astype(np.float32)
    np.testing.assert_array_equal(MASK(x, keep), by_sorting(x, keep))

  @parameterized.parameters('bfloat16', 'float16', 'float64')
  def test_other_dtypes(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      x = jnp.asarray(np.random.default_rng(2).normal(size=300), dtype)
      want = by_sorting(np.asarray(x).astype(float), 0.25)
      np.testing.assert_array_equal(networks.topk_mask(x, 0.25), want)

  def test_of_several_at_once(self):
    x = np.random.default_rng(3).normal(size=(3, 64)).astype(np.float32)
    got = jax.jit(jax.vmap(lambda s: networks.topk_mask(s, 0.4)))(x)
    np.testing.assert_array_equal(got, [by_sorting(s, 0.4) for s in x])

  def test_counts(self):
    # The sheet's: of five edges int(2.5) = 2 go.
    self.assertEqual(networks.num_kept(5, 0.5), 3)
    self.assertEqual([networks.num_kept(n, 1.0) for n in (1, 7)], [1, 7])
    # As decimals, not as binary fractions: (1 - 0.9) * 10 < 1.
    self.assertEqual(networks.num_kept(10, 0.9), 9)
    self.assertEqual(networks.num_kept(3, 0.01), 1)

  @parameterized.parameters(
    (
      lambda: networks.topk_mask(jnp.ones(3), 0.0),
      r'keep must lie in \(0.0, 1',
    ),
    (lambda: networks.topk_mask(jnp.ones(3), 1.5), 'keep must lie in'),
    (lambda: networks.topk_mask(jnp.ones(0), 0.5), r'shape \(0,\) has no edge'),
    (
      lambda: networks.supermask(networks.mlp(4, 2), keep=0),
      'keep must lie in',
    ),
    (
      lambda: networks.supermask(networks.mlp(4, 2), mask_scores='sum'),
      "mask_scores='sum'",
    ),
    (
      lambda: networks.masked_weights(jnp.ones(3), jnp.ones(2), 0.5),
      r'equal shapes; got \(3,\) and \(2,\)',
    ),
  )
  def test_says_what_is_wrong(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()

  def test_scores_are_numbers(self):
    with self.assertRaisesRegex(TypeError, 'floating-point numbers; got int32'):
      networks.topk_mask(jnp.arange(3), 0.5)


class SupermaskTest(parameterized.TestCase):
  def test_start(self):
    network = networks.supermask(networks.mlp((300,), 40, bias=False))
    params = network.init(jax.random.key(0), jnp.zeros((1, 50)))
    self.assertEqual(list(params['trained']), ['0/kernel', '1/kernel'])
    for i, fan_in in enumerate((50, 300)):
      weights = np.asarray(params['frozen'][i]['kernel'])
      # Signed Kaiming constants: two values, each half of the time.
      np.testing.assert_allclose(np.abs(weights), np.sqrt(2 / fan_in), 1e-6)
      self.assertLess(abs(np.mean(weights > 0) - 0.5), 0.02)
      scores = np.asarray(params['trained'][f'{i}/kernel'])
      bound = fan_in**-0.5
      self.assertLessEqual(np.abs(scores).max(), bound)
      # Uniform: a kurtosis of 9 / 5 beside the variance.
      self.assertAlmostEqual(np.var(scores) * 3 / bound**2, 1.0, delta=0.04)
      self.assertAlmostEqual(
        np.mean(scores**4) / np.var(scores) ** 2, 1.8, delta=0.05
      )

  def test_runs_the_network_with_half_of_each_kernel(self):
    params = NETWORK.init(jax.random.key(1), INPUTS)
    first, last = (
      np.asarray(layer['kernel']) * by_sorting(np.asarray(scores), 0.5)
      for layer, scores in zip(
        params['frozen'], params['trained'].values(), strict=True
      )
    )
    want = np.maximum(np.asarray(INPUTS) @ first, 0) @ last
    got = NETWORK.apply(params, INPUTS)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)

  def test_slope_goes_straight_through_on_all_edges(self):
    rng = np.random.default_rng(4)
    w, s, x = (jnp.asarray(rng.normal(size=(4, 3)), jnp.float32) for _ in '123')
    total = lambda s, **kw: jnp.sum(
      networks.masked_weights(w, s, 0.5, **kw) * x
    )
    np.testing.assert_array_equal(jax.grad(total)(s), w * x)
    slope = jax.grad(lambda s: total(s, mask_scores='abs'))(s)
    np.testing.assert_array_equal(slope, w * x * jnp.sign(s))

  def test_whole_network_slope_is_that_of_the_weights(self):
    params = NETWORK.init(jax.random.key(2), INPUTS)
    loss = lambda p: jnp.sum(jnp.square(NETWORK.apply(p, INPUTS)))
    grads = jax.grad(loss)(params)
    plain = networks.mlp((6,), 3, bias=False)
    masked = [
      {'kernel': networks.masked_weights(layer['kernel'], s, 0.5)}
      for layer, s in zip(
        params['frozen'], params['trained'].values(), strict=True
      )
    ]
    of_weights = jax.grad(
      lambda p: jnp.sum(jnp.square(plain.apply(p, INPUTS)))
    )(masked)
    for i, layer in enumerate(of_weights):
      np.testing.assert_allclose(
        grads['trained'][f'{i}/kernel'],
        layer['kernel'] * params['frozen'][i]['kernel'],
        rtol=1e-5,
        atol=1e-6,
      )
    self.assertFalse(any(np.any(g) for g in jax.tree.leaves(grads['frozen'])))

  def test_abs_keeps_the_largest_in_size(self):
    w, s = jnp.ones(4), jnp.array([-3.0, 1.0, 0.5, -0.1])
    keep = lambda kind: networks.masked_weights(w, s, 0.5, mask_scores=kind)
    self.assertEqual(keep('raw').tolist(), [0.0, 1.0, 1.0, 0.0])
    self.assertEqual(keep('abs').tolist(), [1.0, 1.0, 0.0, 0.0])

  def test_other_tensors_stay_as_they_start(self):
    network = networks.supermask(networks.mlp(4, 2))
    params = network.init(jax.random.key(0), INPUTS)
    self.assertEqual(list(params['trained']), ['0/kernel', '1/kernel'])
    self.assertFalse(np.any(params['frozen'][0]['bias']))

  @parameterized.parameters(
    (networks.resnet18(3, width=4, norm='batch'), 'without running statistics'),
    (
      types.Network(lambda key, x: {'fc': jnp.zeros((0, 3))}, lambda p, x: x),
      r'layer fc has no edge: its shape is \(0, 3\)',
    ),
    (
      types.Network(lambda key, x: {'scale': jnp.zeros(3)}, lambda p, x: x),
      'supermask found no kernel',
    ),
  )
  def test_says_what_it_cannot_take(self, network, message):
    network, x = networks.supermask(network), jnp.zeros((1, 32, 32, 3))
    with self.assertRaisesRegex(ValueError, message):
      jax.eval_shape(network.init, jax.random.key(0), x)

  @parameterized.parameters(
    ('frl_lenet', (28, 28, 1), [288, 18_432, 1_605_632, 1_280], 1_625_632),
    (
      'conv8',
      (32, 32, 3),
      [1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 1_179_648, 2_359_296]
      + [524_288, 65_536, 2_560],
      5_275_840,
    ),
  )
  def test_networks_without_biases(self, name, shape, sizes, total):
    network = networks.make_network(name, shape, 10)
    params = jax.eval_shape(
      network.init, jax.random.key(0), jnp.zeros((1, *shape))
    )
    found = [x.size for x in jax.tree.leaves(params)]
    self.assertEqual(sum(found), total)
    self.assertCountEqual(found, sizes)


if __name__ == '__main__':
  absltest.main()
