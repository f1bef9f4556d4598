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
def sampler(spec):
  """A function of a message: many draws of what is decoded."""
  compressor = compression.make_compressor(spec)
  keys = jax.random.split(jax.random.key(1), DRAWS)
  draw = jax.jit(jax.vmap(compressor.compress, (0, None)))
  return lambda x: np.asarray(
    draw(keys, jnp.asarray(x, jnp.float32)), np.float64
  )


def errors(sent, x):
  return ((sent - x) ** 2).sum(-1) / (x**2).sum()


class GuaranteesTest(parameterized.TestCase):
  def test_the_bounds_that_are_exact(self):
    x = messages()['normal']
    for spec, want in (
      ('random_k(keep=0.25)', 0.75),
      ('random_k(keep=0.25, unbiased=True)', 3),
    ):
      draw = sampler(spec)
      error = errors(draw(x), x)
      np.testing.assert_allclose(
        error.mean(), want, atol=4 * error.std() / DRAWS**0.5
      )
    # Of equal entries top_k loses exactly its share, a spike it keeps whole.
    draw = sampler('top_k(keep=0.25)')
    np.testing.assert_allclose(errors(draw(np.ones(D)), np.ones(D)), 0.75)
    spike = messages()['spike']
    np.testing.assert_array_equal(draw(spike)[0], spike)
    # And sign is worst on a spike, where it keeps 1 / D.
    draw = sampler('sign')
    np.testing.assert_allclose(errors(draw(spike), spike), 1 - 1 / D, rtol=1e-6)


class ValuesTest(parameterized.TestCase):
  def test_top_k_equals_sorting(self):
    x = np.random.default_rng(2).normal(size=(5, 8)).astype(np.float32)
    for k in (1, 7, 40):
      want = np.where(np.abs(x) >= np.sort(np.abs(x).ravel())[-k], x, 0.0)
      np.testing.assert_array_equal(compression.top_k(x, num_kept=k), want)

  def test_random_k_keeps_every_entry_equally_often(self):
    draw = sampler('random_k(keep=0.25)')
    kept = draw(np.ones(D)) != 0
    np.testing.assert_array_equal(kept.sum(1), 6)
    np.testing.assert_allclose(kept.mean(0), 0.25, atol=0.035)

  def test_quantized_values_are_the_two_levels_around(self):
    x = messages()['normal']
    draw = sampler('qsgd(num_levels=3, unbiased=True)')
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

  def test_scaled_sign_that_keeps_zeros(self):
    x = jnp.array([3.0, -1.0, 0.5, 0.0])
    got = compression.scaled_sign(x, keep_zeros=True)
    np.testing.assert_array_equal(got, 1.125 * np.array([1, -1, 1, 0]))

  def test_variance_of_quantization(self):
    x = np.random.default_rng(0).normal(size=100)
    compressor = compression.make_compressor(
      'qsgd(num_levels=4, unbiased=True)'
    )
    keys = jax.random.split(jax.random.key(2), 2000)
    send = jax.jit(jax.vmap(compressor.compress, (0, None)))
    error = errors(np.asarray(send(keys, jnp.asarray(x, 'float32'))), x)
    # Exactly, per entry p (1 - p) of the step |x| / 4.
    part = 4 * np.abs(x) / np.linalg.norm(x) % 1
    want = (part * (1 - part)).sum() / 16
    self.assertLess(abs(error.mean() - want), 4 * error.std() / 2000**0.5)
    self.assertAlmostEqual(want, 1.06, delta=0.1)
    self.assertEqual(1 - compressor.delta(x), 2.5)

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

  @parameterized.parameters(1e-30, 1e30, 8e37)
  def test_quantization_neither_overflows_nor_vanishes(self, size):
    x = jnp.array([3.0, -4.0, 0.0]) * size
    got = compression.stochastic_quantize(
      x, num_levels=5, key=jax.random.key(0)
    )
    np.testing.assert_allclose(got, x, rtol=1e-6)


class FormTest(absltest.TestCase):
  def test_keeps_double_precision(self):
    with jax.enable_x64(True):
      x = jnp.asarray(np.array([3.0, -4.0]) * (1 + 1e-12))
      for spec in ('identity', f'qsgd(num_levels={5 * 2**20})'):
        compressor = compression.make_compressor(spec)
        sent = compressor.compress(jax.random.key(0), x)
        self.assertEqual(sent.dtype, x.dtype)
        np.testing.assert_allclose(sent, x, rtol=1e-6)


class BitsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('identity', 32 * 1000 + 32 * 5),
    # 100 values with 10 bits for the place; one of five with 3.
    ('top_k(keep=0.1)', 100 * 42 + 35),
    # A bit per entry says shorter which half is kept.
    ('top_k(keep=0.5)', (500 * 32 + 1000) + (2 * 32 + 5)),
    ('top_k(keep=1.0)', 32 * 1005),
    ('random_k(keep=0.1)', 100 * 32 + 32),
    ('qsgd', 32 + 8 * 1000 + 32 + 8 * 5),
    ('qsgd(num_levels=7)', 32 + 4 * 1000 + 32 + 4 * 5),
    ('qsgd(num_levels=1)', 32 + 2 * 1000 + 32 + 2 * 5),
    ('sign', 32 + 1000 + 32 + 5),
    ('uniform', 64 + 8 * 1000 + 64 + 8 * 5),
    # 5^1000 < 2^2322 and 5^5 < 2^12.
    ('uniform(num_levels=5)', 64 + 2322 + 64 + 12),
    ('drive', 32 + 1024 + 32 + 8),
  )
  def test_size_on_the_wire(self, spec, want):
    tree = {'w': jnp.zeros((10, 100)), 'b': jnp.zeros(5)}
    compressor = compression.make_compressor(spec)
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
      compression.make_compressor('qsgd(num_levels=1)').delta(tree),
      1 / (1 + 1000**0.5),
    )


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('gzip', "compressor='gzip' is unknown: choose one of 'identity'"),
    ('top_k(keep=0.0)', r'keep must lie in \(0.0, 1.0\]; got 0.0'),
    ('random_k(keep=1.5)', 'keep must lie in .*; got 1.5'),
    ('qsgd(num_levels=0)', 'num_levels must be at least 1; got 0'),
    ('sign(unbiased=True)', "sign has no option 'unbiased'"),
    ('top_k(keeep=0.1)', "no option 'keeep': .* Did you mean 'keep'"),
  )
  def test_factory_says_what_to_change(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      compression.make_compressor(spec)

  def test_switches_are_switches(self):
    with self.assertRaisesRegex(
      ValueError, "unbiased must be True or False; got 'yes'"
    ):
      compression.make_compressor('qsgd(unbiased=yes)')

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


if __name__ == '__main__':
  absltest.main()
