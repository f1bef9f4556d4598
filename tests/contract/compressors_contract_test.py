# SPDX-License-Identifier: Apache-2.0
"""What holds for every registered compressor and code of single numbers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import compression

D, DRAWS = 24, 4000
# With options that make them lose something; every name stands here.
SPECS = {
  'identity': ('identity',),
  'top_k': ('top_k(keep=0.25)',),
  'random_k': ('random_k(keep=0.25)', 'random_k(keep=0.25, unbiased=True)'),
  'qsgd': ('qsgd(num_levels=3)', 'qsgd(num_levels=3, unbiased=True)'),
  'sign': ('sign', 'sign(keep_zeros=True)'),
  'terngrad': ('terngrad',),
  'uniform': (
    'uniform(num_levels=4)',
    'uniform(num_levels=4, rotate=True)',
  ),
  'drive': ('drive(scale=nearest)', 'drive(scale=projection)'),
  'slopes': ('slopes(num_directions=8)',),
}
ALL = tuple(spec for specs in SPECS.values() for spec in specs)
# Decoded by sums, which a program may take in any order.
SUMS = SPECS['uniform'] + SPECS['drive'] + SPECS['slopes']
# Bits of a leaf of D = 24 entries of 32 bits, and of 7 of 16, counted by hand.
BITS = {
  'identity': (24 * 32, 7 * 16),
  # 6 entries with 5 bits for the place are longer than a bit per entry.
  'top_k(keep=0.25)': (6 * 32 + 24, 2 * 16 + 2 * 3),
  'random_k(keep=0.25)': (6 * 32, 2 * 16),
  'random_k(keep=0.25, unbiased=True)': (6 * 32, 2 * 16),
  # Seven numbers from -3 to 3 take three bits.
  'qsgd(num_levels=3)': (32 + 24 * 3, 32 + 7 * 3),
  'qsgd(num_levels=3, unbiased=True)': (32 + 24 * 3, 32 + 7 * 3),
  'sign': (32 + 24, 32 + 7),
  'sign(keep_zeros=True)': (32 + 24 * 2, 32 + 7 * 2),
  'terngrad': (32 + 24 * 2, 32 + 7 * 2),
  'uniform(num_levels=4)': (64 + 24 * 2, 64 + 7 * 2),
  # Rotated as 32 entries and 8.
  'uniform(num_levels=4, rotate=True)': (64 + 32 * 2, 64 + 8 * 2),
  'drive(scale=nearest)': (32 + 32, 32 + 8),
  'drive(scale=projection)': (32 + 32, 32 + 8),
  'slopes(num_directions=8)': (32 + 8 * 8, 32 + 8 * 8),
}
# Half a step of exp(1 / 8).
_CODE = math.exp(1 / 16) - 1
_OMEGA = min(D / 9, math.sqrt(D) / 3)
DELTAS = {
  'identity': 1.0,
  'top_k(keep=0.25)': 0.25,
  'random_k(keep=0.25)': 0.25,
  'random_k(keep=0.25, unbiased=True)': 2 - 4,
  'qsgd(num_levels=3)': 1 / (1 + _OMEGA),
  'qsgd(num_levels=3, unbiased=True)': 1 - _OMEGA,
  'sign': 1 / D,
  'sign(keep_zeros=True)': 1 / D,
  'terngrad': 1 - (math.sqrt(D) - 1) / 2,
  'uniform(num_levels=4)': 1 - 22 / (2 * 9),
  'uniform(num_levels=4, rotate=True)': 1 - (2 + 2 * math.log(32)) / 9,
  'drive(scale=nearest)': 0.5,
  'drive(scale=projection)': 2 - 32,
  'slopes(num_directions=8)': (1 - 4 * _CODE - _CODE**2) * 8 / (8 + D + 1),
}


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
  """A compressor, and many draws of what is decoded of a message."""
  compressor = compression.make_compressor(spec)
  keys = jax.random.split(jax.random.key(1), DRAWS)
  draw = jax.jit(jax.vmap(compressor.compress, (0, None)))
  return compressor, lambda x: np.asarray(
    draw(keys, jnp.asarray(x, jnp.float32)), np.float64
  )


class CompressorsTest(parameterized.TestCase):
  def test_every_one_is_here(self):
    self.assertEqual(set(SPECS), set(compression.COMPRESSORS))

  @parameterized.parameters(*ALL)
  def test_loses_as_much_as_it_says(self, spec):
    compressor, draw = sampler(spec)
    delta = compressor.delta(jnp.zeros(D))
    self.assertAlmostEqual(delta, DELTAS[spec])
    for label, x in messages().items():
      error = ((draw(x) - x) ** 2).sum(-1) / (x**2).sum()
      noise = 4 * error.std() / DRAWS**0.5
      self.assertLessEqual(error.mean(), 1 - delta + noise + 1e-6, label)

  @parameterized.parameters(*ALL)
  def test_right_on_average_where_it_says_so(self, spec):
    compressor, draw = sampler(spec)
    if not compressor.unbiased:
      x = messages()['normal']
      self.assertGreater(np.abs(draw(x).mean(0) - x).max(), 0.1)
      return
    for label, x in messages().items():
      sent = draw(x)
      noise = 5 * sent.std(0) / DRAWS**0.5
      gap = np.abs(sent.mean(0) - x)
      self.assertTrue(np.all(gap <= noise + 1e-5 * np.abs(x).max()), label)

  @parameterized.parameters(*ALL)
  def test_bits(self, spec):
    bits = compression.make_compressor(spec).bits
    wide, narrow = BITS[spec]
    tree = {
      'w': jnp.zeros((4, 6)),
      'b': jnp.zeros(7, jnp.bfloat16),
      'none': jnp.zeros((0, 3)),
    }
    self.assertEqual(bits(tree), wide + narrow)
    self.assertEqual(bits(jax.eval_shape(lambda: tree)), wide + narrow)
    self.assertEqual(bits({}), 0)

  @parameterized.product(spec=ALL, dtype=['float32', 'bfloat16', 'float16'])
  def test_keeps_form_and_zero(self, spec, dtype):
    tree = {
      'w': jnp.zeros((3, 4), dtype),
      'b': jnp.zeros((), dtype),
      'none': jnp.zeros((0, 2), dtype),
    }
    compressor = compression.make_compressor(spec)
    sent = compressor.compress(jax.random.key(0), tree)
    for a, b in zip(jax.tree.leaves(sent), jax.tree.leaves(tree), strict=True):
      self.assertEqual((a.shape, a.dtype), (b.shape, b.dtype))
      np.testing.assert_array_equal(a, b)
    self.assertEqual(compressor.compress(jax.random.key(0), {}), {})

  @parameterized.parameters(*ALL)
  def test_jit_and_vmap_change_nothing(self, spec):
    compressor = compression.make_compressor(spec)
    rng = np.random.default_rng(3)
    tree = {
      'w': jnp.asarray(rng.normal(size=(4, 3, 5)), jnp.float32),
      'b': jnp.asarray(rng.normal(size=(4, 7)), jnp.float32),
    }
    keys = jax.random.split(jax.random.key(0), 4)
    together = jax.jit(jax.vmap(compressor.compress))
    got = together(keys, tree)
    together(keys, tree)
    self.assertEqual(together._cache_size(), 1)
    one = lambda n: jax.tree.map(lambda x: x[n], tree)
    for n in range(4):
      want = compressor.compress(keys[n], one(n))
      for name in want:
        # Sums of numbers as large as the largest entry.
        step = np.spacing(np.abs(want[name]).max()) if spec in SUMS else 0
        np.testing.assert_allclose(
          got[name][n], want[name], rtol=1e-6, atol=step
        )

  @parameterized.parameters(*ALL)
  def test_whole_numbers_are_refused(self, spec):
    compressor = compression.make_compressor(spec)
    with self.assertRaisesRegex(TypeError, 'must be floating point; got int32'):
      compressor.compress(jax.random.key(0), jnp.arange(3))


class CodecsTest(parameterized.TestCase):
  @parameterized.parameters(*compression.SCALAR_CODECS)
  def test_code_of_a_value_is_the_value(self, name):
    codec = compression.make_codec(name)
    x = jnp.linspace(-3.0, 3.0, 41)
    code = codec.encode(x)
    self.assertEqual(code.dtype, codec.dtype)
    self.assertLessEqual(codec.bits, 8 * codec.dtype.itemsize)
    value = codec.decode(code)
    self.assertEqual(value.dtype, jnp.float32)
    np.testing.assert_array_equal(codec.encode(value), code)
    np.testing.assert_array_equal(codec.encode(-x), -code)

  @parameterized.parameters(*compression.SCALAR_CODECS)
  def test_what_is_not_finite_is_zero(self, name):
    codec = compression.make_codec(name)
    code = codec.encode(jnp.array([jnp.nan, jnp.inf, -jnp.inf, 0.0]))
    np.testing.assert_array_equal(codec.decode(code), np.zeros(4))


if __name__ == '__main__':
  absltest.main()
