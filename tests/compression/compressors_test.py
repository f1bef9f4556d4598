# SPDX-License-Identifier: Apache-2.0
"""Compressors: what they guarantee, what they cost, what they refuse."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import compression

D, DRAWS = 24, 4000
CONTRACTIONS = (
  ('identity', {}),
  ('top_k', {'keep': 0.25}),
  ('random_k', {'keep': 0.25}),
  ('qsgd', {'num_levels': 3}),
  ('sign', {}),
)
UNBIASED = (('random_k', {'keep': 0.25}), ('qsgd', {'num_levels': 3}))


def messages():
  """Dense, sparse, flat and heavy-tailed vectors."""
  rng = np.random.default_rng(0)
  spike = np.zeros(D)
  spike[7] = -2.0
  return {
    'normal': rng.normal(size=D),
    'spike': spike,
    'flat': np.ones(D),
    'heavy': rng.standard_cauchy(size=D),
  }


@functools.lru_cache
def sampler(name, options, unbiased):
  """A compiled function of a message: many draws of what is decoded."""
  compressor = compression.make_compressor(
    name, unbiased=unbiased, **dict(options)
  )
  keys = jax.random.split(jax.random.key(1), DRAWS)
  draw = jax.jit(jax.vmap(compressor.compress, (0, None)))
  return compressor, lambda x: np.asarray(
    draw(keys, jnp.asarray(x, jnp.float32)), np.float64
  )


def errors(sent, x):
  return ((sent - x) ** 2).sum(-1) / (x**2).sum()


class GuaranteesTest(parameterized.TestCase):
  @parameterized.parameters(*CONTRACTIONS)
  def test_contracts_as_much_as_it_says(self, name, options):
    compressor, draw = sampler(name, tuple(options.items()), False)
    delta = compressor.delta(jnp.zeros(D))
    self.assertBetween(delta, 1e-3, 1.0)
    for label, x in messages().items():
      error = errors(draw(x), x)
      noise = 4 * error.std() / DRAWS**0.5
      self.assertLessEqual(error.mean(), 1 - delta + noise + 1e-6, label)

  @parameterized.parameters(*UNBIASED)
  def test_unbiased_ones_are_right_on_average(self, name, options):
    compressor, draw = sampler(name, tuple(options.items()), True)
    self.assertTrue(compressor.unbiased)
    bound = 1 - compressor.delta(jnp.zeros(D))
    for label, x in messages().items():
      sent = draw(x)
      noise = 5 * sent.std(0) / DRAWS**0.5
      gap = np.abs(sent.mean(0) - x)
      self.assertTrue(np.all(gap <= noise + 1e-5 * np.abs(x).max()), label)
      error = errors(sent, x)
      noise = 4 * error.std() / DRAWS**0.5
      self.assertLessEqual(error.mean(), bound + noise, label)

  @parameterized.parameters(*CONTRACTIONS[1:])
  def test_contractions_are_biased(self, name, options):
    compressor, draw = sampler(name, tuple(options.items()), False)
    self.assertFalse(compressor.unbiased)
    x = messages()['normal']
    self.assertGreater(np.abs(draw(x).mean(0) - x).max(), 0.1)

  def test_the_bounds_that_are_exact(self):
    x = messages()['normal']
    for name, unbiased, want in (
      ('random_k', False, 0.75),
      ('random_k', True, 3),
    ):
      _, draw = sampler(name, (('keep', 0.25),), unbiased)
      error = errors(draw(x), x)
      np.testing.assert_allclose(
        error.mean(), want, atol=4 * error.std() / DRAWS**0.5
      )
    # Of equal entries top_k loses exactly its share, a spike it keeps whole.
    _, draw = sampler('top_k', (('keep', 0.25),), False)
    np.testing.assert_allclose(errors(draw(np.ones(D)), np.ones(D)), 0.75)
    spike = messages()['spike']
    np.testing.assert_array_equal(draw(spike)[0], spike)
    # And sign is worst on a spike, where it keeps 1 / D.
    _, draw = sampler('sign', (), False)
    np.testing.assert_allclose(errors(draw(spike), spike), 1 - 1 / D, rtol=1e-6)


class ValuesTest(parameterized.TestCase):
  def test_top_k_equals_sorting(self):
    x = np.random.default_rng(2).normal(size=(5, 8)).astype(np.float32)
    for k in (1, 7, 40):
      want = np.where(np.abs(x) >= np.sort(np.abs(x).ravel())[-k], x, 0.0)
      np.testing.assert_array_equal(compression.top_k(x, num_kept=k), want)

  def test_random_k_keeps_every_entry_equally_often(self):
    _, draw = sampler('random_k', (('keep', 0.25),), False)
    kept = draw(np.ones(D)) != 0
    np.testing.assert_array_equal(kept.sum(1), 6)
    np.testing.assert_allclose(kept.mean(0), 0.25, atol=0.035)

  def test_quantised_values_are_the_two_levels_around(self):
    x = messages()['normal']
    _, draw = sampler('qsgd', (('num_levels', 3),), True)
    unit = np.linalg.norm(x) / 3
    levels = draw(x) / unit
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-5)
    exact = x / unit
    self.assertTrue(np.all(np.abs(levels - exact) < 1.0 + 1e-5))
    up = np.abs(levels) > np.abs(exact)
    part = np.abs(exact) % 1
    np.testing.assert_allclose(up.mean(0), part, atol=0.035)

  def test_scaled_sign(self):
    got = compression.scaled_sign(jnp.array([0.0, 3.0, -6.0]))
    np.testing.assert_array_equal(got, [3.0, 3.0, -3.0])

  def test_scaled_sign_of_large_entries_is_finite(self):
    got = compression.scaled_sign(jnp.array([3e38, -3e38, 3e38]))
    np.testing.assert_array_equal(got, np.float32([3e38, -3e38, 3e38]))

  def test_a_level_that_is_met_is_never_left(self):
    # 127 and a draw just below one add up to 128 in float32.
    top = np.float32(1 - 2.0**-23)
    x = jnp.array([4.0, 0.0, -0.0])
    with mock.patch.object(
      jax.random, 'uniform', lambda key, shape, dtype: jnp.full(shape, top)
    ):
      got = compression.stochastic_quantize(
        x, num_levels=127, key=jax.random.key(0)
      )
    np.testing.assert_array_equal(got, x)

  @parameterized.parameters(1e-30, 1e30)
  def test_quantisation_neither_overflows_nor_vanishes(self, size):
    x = jnp.array([3.0, -4.0, 0.0]) * size
    got = compression.stochastic_quantize(
      x, num_levels=5, key=jax.random.key(0)
    )
    np.testing.assert_allclose(got, x, rtol=1e-6)


class FormTest(parameterized.TestCase):
  @parameterized.product(
    name=compression.COMPRESSORS, dtype=['float32', 'bfloat16', 'float16']
  )
  def test_keeps_form_and_zero(self, name, dtype):
    tree = {
      'w': jnp.zeros((3, 4), dtype),
      'b': jnp.zeros((), dtype),
      'none': jnp.zeros((0, 2), dtype),
    }
    compressor = compression.make_compressor(name)
    sent = compressor.compress(jax.random.key(0), tree)
    for a, b in zip(jax.tree.leaves(sent), jax.tree.leaves(tree), strict=True):
      self.assertEqual((a.shape, a.dtype), (b.shape, b.dtype))
      np.testing.assert_array_equal(a, b)
    self.assertEqual(compressor.compress(jax.random.key(0), {}), {})

  @parameterized.parameters(*compression.COMPRESSORS)
  def test_jit_and_vmap_change_nothing(self, name):
    compressor = compression.make_compressor(name, keep=0.3, num_levels=4)
    rng = np.random.default_rng(3)
    tree = {
      'w': jnp.asarray(rng.normal(size=(4, 3, 5)), jnp.float32),
      'b': jnp.asarray(rng.normal(size=(4, 7)), jnp.float32),
    }
    keys = jax.random.split(jax.random.key(0), 4)
    traces = []

    @jax.jit
    def together(keys, tree):
      traces.append(1)
      return jax.vmap(compressor.compress)(keys, tree)

    got = together(keys, tree)
    together(keys, tree)
    self.assertLen(traces, 1)
    one = lambda n: jax.tree.map(lambda x: x[n], tree)
    for n in range(4):
      want = compressor.compress(keys[n], one(n))
      for name in want:
        np.testing.assert_allclose(got[name][n], want[name], rtol=1e-6)

  def test_keeps_double_precision(self):
    with jax.enable_x64(True):
      x = jnp.asarray(np.array([3.0, -4.0]) * (1 + 1e-12))
      for name in ('identity', 'qsgd'):
        compressor = compression.make_compressor(name, num_levels=5 * 2**20)
        sent = compressor.compress(jax.random.key(0), x)
        self.assertEqual(sent.dtype, x.dtype)
        np.testing.assert_allclose(sent, x, rtol=1e-6)


class BitsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('identity', {}, 32 * 1000 + 32 * 5),
    # 100 values with 10 bits for the place; one of five with 3.
    ('top_k', {'keep': 0.1}, 100 * 42 + 35),
    # A bit per entry says shorter which half is kept.
    ('top_k', {'keep': 0.5}, (500 * 32 + 1000) + (2 * 32 + 5)),
    ('top_k', {'keep': 1.0}, 32 * 1005),
    ('random_k', {'keep': 0.1}, 100 * 32 + 32),
    ('qsgd', {}, 32 + 8 * 1000 + 32 + 8 * 5),
    ('qsgd', {'num_levels': 7}, 32 + 4 * 1000 + 32 + 4 * 5),
    ('qsgd', {'num_levels': 1}, 32 + 2 * 1000 + 32 + 2 * 5),
    ('sign', {}, 32 + 1000 + 32 + 5),
  )
  def test_size_on_the_wire(self, name, options, want):
    tree = {'w': jnp.zeros((10, 100)), 'b': jnp.zeros(5)}
    compressor = compression.make_compressor(name, **options)
    self.assertEqual(compressor.bits(tree), want)
    shapes = jax.eval_shape(lambda: tree)
    self.assertEqual(compressor.bits(shapes), want)

  def test_narrow_numbers_take_fewer_bits(self):
    tree = jnp.zeros(1000, jnp.bfloat16)
    self.assertEqual(compression.make_compressor('identity').bits(tree), 16000)
    self.assertEqual(compression.make_compressor('top_k').bits(tree), 100 * 26)

  def test_delta_of_a_tree_is_that_of_its_worst_leaf(self):
    tree = {'w': jnp.zeros((10, 100)), 'b': jnp.zeros(7)}
    self.assertEqual(compression.make_compressor('sign').delta(tree), 1e-3)
    self.assertEqual(compression.make_compressor('top_k').delta(tree), 0.1)
    self.assertAlmostEqual(
      compression.make_compressor('qsgd', num_levels=1).delta(tree),
      1 / (1 + 1000**0.5),
    )


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    (('gzip',), {}, "compressor='gzip' is unknown: choose one of 'identity'"),
    (('top_k',), {'keep': 0.0}, r'keep must lie in \(0.0, 1.0\]; got 0.0'),
    (('top_k',), {'keep': 1.5}, 'keep must lie in .*; got 1.5'),
    (('qsgd',), {'num_levels': 0}, 'num_levels must be at least 1; got 0'),
    (('sign',), {'unbiased': True}, 'sign is biased: unbiased=True needs'),
    (('top_k',), {'unbiased': True}, 'top_k is biased: unbiased=True needs'),
  )
  def test_factory_says_what_to_change(self, args, options, message):
    with self.assertRaisesRegex(ValueError, message):
      compression.make_compressor(*args, **options)

  @parameterized.parameters(
    (0, 'num_kept must be at least 1; got 0'),
    (4, 'num_kept=4 exceeds the 3 entries of x'),
  )
  def test_k_out_of_range(self, k, message):
    x = jnp.ones(3)
    with self.assertRaisesRegex(ValueError, message):
      compression.top_k(x, num_kept=k)
    with self.assertRaisesRegex(ValueError, message):
      compression.random_k(x, num_kept=k, key=jax.random.key(0))

  @parameterized.parameters(*compression.COMPRESSORS)
  def test_whole_numbers_are_refused(self, name):
    compressor = compression.make_compressor(name)
    with self.assertRaisesRegex(TypeError, 'must be floating point; got int32'):
      compressor.compress(jax.random.key(0), jnp.arange(3))


if __name__ == '__main__':
  absltest.main()
