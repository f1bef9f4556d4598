# SPDX-License-Identifier: Apache-2.0
"""Codes of single numbers: worked values, algebra, errors, rounding."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import compression


def most(codec):
  return {'log_int8': 127, 'log9': 255, 'linear_int8': 127, 'sign': 1}[
    codec.name
  ]


def all_codes(codec):
  return np.arange(-most(codec), most(codec) + 1).astype(codec.dtype)


class ScalarTest(parameterized.TestCase):
  @parameterized.parameters(
    ('log_int8', 0.5, 0.4723666),
    ('log_int8', -2.0, -2.1170000),
    ('log_int8', 1e4, 2630.686),
    ('log_int8', 3.3, 3.4903430),
    ('log_int8', 0.0, 0.0),
    ('log_int8', 1e-9, np.exp(-63 / 8)),
    ('log9', 1.0, 1.0),
    ('log9', 0.5, 0.5028316),
    ('log9', -2.0, -1.9887375),
    ('log9', 1e-5, 3.570981e-4),
    ('log9', -1e-5, -3.570981e-4),
    ('log9', 1e4, 2800.351),
    ('log9', -0.0123, -0.01258814),
    ('linear_int8', 0.5, 64 / 127),  # 63.5 goes to the even neighbor.
    ('linear_int8', -7.0, -1.0),
    ('sign', -0.3, -1.0),
    ('float32', -0.3, np.float32(-0.3)),
  )
  def test_worked_values(self, name, x, want):
    codec = compression.make_codec(name)
    got = codec.decode(codec.encode(jnp.float32(x)))
    np.testing.assert_allclose(got, want, rtol=3e-7)

  @parameterized.parameters(
    'log_int8', 'log9', 'linear_int8(scale=3.0)', 'sign(scale=3.0)'
  )
  def test_algebra(self, spec):
    codec = compression.make_codec(spec)
    codes = all_codes(codec)
    values = np.asarray(codec.decode(codes))
    with self.subTest('decoding then encoding is the identity'):
      np.testing.assert_array_equal(codec.encode(values), codes)
    with self.subTest('odd'):
      np.testing.assert_array_equal(values, -values[::-1])
      xs = np.random.default_rng(0).normal(size=2000).astype(np.float32)
      np.testing.assert_array_equal(codec.encode(xs), -codec.encode(-xs))
    with self.subTest('monotone'):
      self.assertGreater(np.diff(values).min(), 0)
      grid = np.linspace(-5, 5, 4001, dtype=np.float32)
      steps = np.diff(np.asarray(codec.encode(grid)).astype(int))
      self.assertGreaterEqual(steps.min(), 0)
    with self.subTest('fits the bits'):
      self.assertLessEqual(len(np.unique(values)), 2**codec.bits)
      self.assertEqual(codec.encode(values).dtype, codec.dtype)

  def test_a_byte_is_a_byte(self):
    codec = compression.make_codec()
    self.assertEqual((codec.bits, codec.dtype.itemsize), (8, 1))

  @parameterized.parameters(
    ('log_int8', 8), ('log9', 16), ('log_int8(base=20)', 20)
  )
  def test_relative_error(self, spec, effective):
    codec = compression.make_codec(spec)
    reach = {'log_int8': 63, 'log9': 127}[codec.name] / effective
    xs = np.exp(np.random.default_rng(0).uniform(-reach, reach, 20000))
    xs = xs.astype(np.float32)
    error = np.abs(np.asarray(codec.decode(codec.encode(xs))) / xs - 1)
    bound = np.exp(1 / (2 * effective)) - 1
    self.assertLess(error.max(), bound * (1 + 1e-4))
    self.assertGreater(error.max(), 0.9 * bound)

  @parameterized.parameters('log_int8', 'log9', 'linear_int8')
  def test_random_rounding_is_unbiased(self, name):
    codec = compression.make_codec(name)
    xs = jnp.array([0.3, -0.7, 1e-5, 0.0, 0.9])
    draws = 20000
    keys = jax.random.split(jax.random.key(0), draws)
    code = jax.vmap(lambda k: codec.encode(xs, key=k))(keys)
    got = np.asarray(codec.decode(code), np.float64)
    self.assertLen(np.unique(got[:, 0]), 2)
    error = got.std(0) / np.sqrt(draws)
    np.testing.assert_array_less(np.abs(got.mean(0) - xs), 4 * error + 1e-7)
    # To the nearest code the same numbers are off by more.
    nearest = np.asarray(codec.decode(codec.encode(xs)))
    self.assertGreater(np.abs(nearest - xs)[0], 8 * error[0])

  @parameterized.parameters(
    ('byte', "codec='byte' is unknown"),
    ('log_int8(base=0.0)', 'base'),
    ('log_int8(base=0.5)', 'base=0.5'),
    ('sign(scale=-1.0)', 'scale'),
    ('sign(scale=inf)', 'scale'),
    ('sign(base=2)', "sign has no option 'base'"),
  )
  def test_bad_options(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      compression.make_codec(spec)

  def test_bad_types(self):
    codec = compression.make_codec()
    with self.assertRaisesRegex(TypeError, 'floating'):
      codec.encode(jnp.arange(3))
    with self.assertRaisesRegex(TypeError, 'integers'):
      codec.decode(jnp.zeros(3))


if __name__ == '__main__':
  absltest.main()
