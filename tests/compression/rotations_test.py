# SPDX-License-Identifier: Apache-2.0
"""Hadamard transforms against scipy, rotated signs and levels."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import linalg

from jaxdl import compression

KEY = jax.random.key(0)


def vector(size, seed=0):
  return np.random.default_rng(seed).normal(size=size).astype(np.float32)


class TransformTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 16, 128)
  def test_equals_the_matrix(self, size):
    x = vector((3, size))
    got = compression.hadamard_transform(jnp.asarray(x))
    want = x.astype(np.float64) @ linalg.hadamard(size) / size**0.5
    np.testing.assert_allclose(got, want, atol=1e-6)

  def test_no_matrix(self):
    size = 2**14
    x = vector(size)
    got = compression.hadamard_transform(jnp.asarray(x))
    # Entry 3 of the product, by the parity of common bits.
    sign = 1.0 - 2.0 * ((np.arange(size) & 1) ^ (np.arange(size) >> 1 & 1))
    np.testing.assert_allclose(got[3], (sign * x).sum() / size**0.5, atol=1e-5)
    np.testing.assert_allclose(
      np.linalg.norm(got), np.linalg.norm(x), rtol=1e-6
    )

  @parameterized.parameters(((3,),), ((2, 0),), ((),))
  def test_other_sizes(self, shape):
    with self.assertRaisesRegex(ValueError, 'power of two of entries'):
      compression.hadamard_transform(jnp.ones(shape))


class RotationTest(parameterized.TestCase):
  @parameterized.parameters(1, 5, 8)
  def test_turns_back(self, size):
    x = jnp.asarray(vector(size))
    y = compression.rotate(x, key=KEY)
    self.assertEqual(y.shape, ({1: 1, 5: 8, 8: 8}[size],))
    np.testing.assert_allclose(
      jnp.linalg.norm(y), jnp.linalg.norm(x), rtol=1e-6
    )
    back = compression.rotate_back(y, key=KEY, like=x)
    np.testing.assert_allclose(back, x, atol=1e-6)

  def test_spreads_a_spike_evenly(self):
    x = jnp.zeros(64).at[5].set(8.0)
    y = compression.rotate(x, key=KEY)
    np.testing.assert_allclose(jnp.abs(y), 1.0, rtol=1e-6)
    other = compression.rotate(x, key=jax.random.key(5))
    self.assertFalse(np.allclose(y, other))

  def test_narrow_numbers_are_turned_in_float32(self):
    x = jnp.asarray(vector(5), jnp.bfloat16)
    y = compression.rotate(x, key=KEY)
    self.assertEqual(y.dtype, jnp.float32)
    back = compression.rotate_back(y, key=KEY, like=x)
    self.assertEqual(back.dtype, jnp.bfloat16)
    np.testing.assert_array_equal(back, x)

  def test_nothing(self):
    with self.assertRaisesRegex(ValueError, 'no entries'):
      compression.rotate(jnp.zeros(0), key=KEY)


class DriveTest(parameterized.TestCase):
  @parameterized.parameters('projection', 'nearest')
  def test_equals_the_formula(self, scale):
    x = vector(6)
    got = compression.rotated_sign(jnp.asarray(x), key=KEY, scale=scale)
    signs = np.asarray(jax.random.rademacher(KEY, (8,), 'float32'), np.float64)
    turn = linalg.hadamard(8) @ np.diag(signs) / 8**0.5
    y = turn @ np.pad(x.astype(np.float64), (0, 2))
    total = np.abs(y).sum()
    length = y @ y / total if scale == 'projection' else total / 8
    want = turn.T @ (length * np.sign(y))
    np.testing.assert_allclose(got, want[:6], atol=1e-6)

  def test_projection_is_the_message(self):
    for size in (16, 64):
      x = jnp.asarray(vector(size))
      sent = compression.rotated_sign(x, key=KEY)
      np.testing.assert_allclose(sent @ x, x @ x, rtol=1e-5)

  def test_long_messages_are_nearly_right_on_average(self):
    size, draws = 1024, 400
    x = vector(size)
    keys = jax.random.split(KEY, draws)
    errors = {}
    for scale in ('projection', 'nearest'):
      one = lambda k, s=scale: compression.rotated_sign(
        jnp.asarray(x), key=k, scale=s
      )
      sent = np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)
      errors[scale] = (
        np.linalg.norm(sent.mean(0) - x) / np.linalg.norm(x),
        ((sent - x) ** 2).sum(1).mean() / (x @ x),
      )
    # Gaussian: π / 2 - 1 of variance, and 1 - 2 / π of error.
    mean, variance = errors['projection']
    np.testing.assert_allclose(variance, np.pi / 2 - 1, rtol=0.05)
    self.assertLess(mean, 2 * (variance / draws) ** 0.5)
    mean, variance = errors['nearest']
    np.testing.assert_allclose(variance, 1 - 2 / np.pi, rtol=0.05)
    np.testing.assert_allclose(mean, 1 - 2 / np.pi, rtol=0.1)

  def test_two_entries_show_the_bias(self):
    # R x = ±(1 ± a, 1 ∓ a) / √2 has the signs of its first entry, always.
    x = jnp.array([1.0, 0.4])
    keys = jax.random.split(KEY, 16)
    one = lambda k: compression.rotated_sign(x, key=k)
    sent = jax.jit(jax.vmap(one))(keys)
    np.testing.assert_allclose(sent[:, 1], 0.0, atol=1e-6)

  def test_a_padded_message_has_at_most_half_the_error_lost(self):
    x = vector(20)
    keys = jax.random.split(KEY, 2000)
    one = lambda k: compression.rotated_sign(x, key=k, scale='nearest')
    sent = np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)
    error = ((sent - x) ** 2).sum(1) / (x.astype(np.float64) ** 2).sum()
    self.assertLess(error.mean() + 4 * error.std() / 2000**0.5, 0.5)

  @parameterized.parameters(1e-30, 1e30)
  def test_any_size(self, size):
    x = vector(8)
    want = compression.rotated_sign(x, key=KEY)
    got = compression.rotated_sign(x * np.float32(size), key=KEY)
    np.testing.assert_allclose(got / np.float32(size), want, rtol=1e-5)

  def test_unknown_scale(self):
    with self.assertRaisesRegex(ValueError, "scale='best' is unknown"):
      compression.rotated_sign(jnp.ones(3), key=KEY, scale='best')
    with self.assertRaisesRegex(ValueError, "scale='best' is unknown"):
      compression.make_compressor('drive(scale=best)')


class UniformTest(parameterized.TestCase):
  def test_levels_around(self):
    x, draws = vector(16), 2000
    one = lambda k: compression.uniform_quantize(
      jnp.asarray(x), num_levels=5, key=k
    )
    sent = jax.jit(jax.vmap(one))(jax.random.split(KEY, draws))
    step = (x.max() - x.min()) / 4
    level = (np.asarray(sent, np.float64) - x.min()) / step
    np.testing.assert_allclose(level, np.round(level), atol=1e-5)
    exact = (x - x.min()) / step
    self.assertTrue(np.all(np.abs(level - exact) < 1 + 1e-5))
    up = (level > exact + 1e-5).mean(0)
    part = exact % 1
    inside = np.abs(part - np.round(part)) > 1e-5
    np.testing.assert_allclose(up[inside], part[inside], atol=0.045)

  def test_the_ends_are_kept_and_so_are_equal_entries(self):
    x = jnp.array([-0.3, 0.1, 0.7])
    for levels in (2, 3, 7, 256):
      sent = compression.uniform_quantize(x, num_levels=levels, key=KEY)
      np.testing.assert_array_equal(sent[jnp.array([0, 2])], x[::2])
    same = jnp.full(5, 0.1)
    np.testing.assert_array_equal(
      compression.uniform_quantize(same, num_levels=3, key=KEY), same
    )

  @parameterized.parameters(1e-30, 3e38)
  def test_any_size(self, size):
    x = np.array([-1.0, 0.0, 1.0]) * size
    got = compression.uniform_quantize(
      jnp.asarray(x, jnp.float32), num_levels=3, key=KEY
    )
    np.testing.assert_allclose(np.asarray(got, np.float64), x, rtol=1e-6)

  def test_the_bound_is_met(self):
    # Zeros half way between two levels.
    size, levels, draws = 10, 4, 3000
    x = jnp.zeros(size).at[0].set(-1.0).at[1].set(1.0)
    one = lambda k: compression.uniform_quantize(x, num_levels=levels, key=k)
    sent = jax.jit(jax.vmap(one))(jax.random.split(KEY, draws))
    error = ((np.asarray(sent, np.float64) - np.asarray(x)) ** 2).sum(1) / 2
    np.testing.assert_allclose(error, (size - 2) / (2 * 9), rtol=1e-5)

  def test_rotation_helps_a_spike_with_one_level_between(self):
    x = np.zeros(256, np.float32)
    x[:3] = [1.0, -0.7, 0.2]
    draw = lambda spec: np.asarray(
      jax.jit(jax.vmap(compression.make_compressor(spec).compress, (0, None)))(
        jax.random.split(KEY, 200), jnp.asarray(x)
      ),
      np.float64,
    )
    error = lambda sent: ((sent - x) ** 2).sum(1).mean()
    plain = error(draw('uniform(num_levels=4)'))
    turned = error(draw('uniform(num_levels=4, rotate=True)'))
    self.assertLess(5 * turned, plain)

  def test_too_few_levels(self):
    with self.assertRaisesRegex(ValueError, 'num_levels must be at least 2'):
      compression.uniform_quantize(jnp.ones(3), num_levels=1, key=KEY)
    with self.assertRaisesRegex(ValueError, 'rotate must be True or False'):
      compression.make_compressor('uniform(rotate=maybe)')


class TernaryTest(parameterized.TestCase):
  def test_variance_is_exact(self):
    x, draws = vector(30), 4000
    one = lambda k: compression.ternary_quantize(jnp.asarray(x), key=k)
    sent = jax.jit(jax.vmap(one))(jax.random.split(KEY, draws))
    sent, x = np.asarray(sent, np.float64), x.astype(np.float64)
    largest = np.abs(x).max()
    self.assertTrue(
      np.all(np.isin(np.round(sent / largest, 5), [-1.0, 0.0, 1.0]))
    )
    error = ((sent - x) ** 2).sum(1)
    want = largest * np.abs(x).sum() - x @ x
    self.assertLess(abs(error.mean() - want), 4 * error.std() / draws**0.5)

  def test_the_bound_is_met(self):
    # m |x|₁ / |x|² is largest where the others are 1 / (√D + 1).
    size = 25
    x = np.full(size, 1 / 6.0)
    x[0] = 1.0
    ratio = x.sum() / (x @ x)
    self.assertAlmostEqual(ratio - 1, (size**0.5 - 1) / 2)
    compressor = compression.make_compressor('terngrad')
    self.assertAlmostEqual(1 - compressor.delta(x), ratio - 1)

  @parameterized.parameters(1e-30, 3e38)
  def test_any_size(self, size):
    x = jnp.asarray(np.array([-1.0, 0.0, 1.0]) * size, jnp.float32)
    got = compression.ternary_quantize(x, key=KEY)
    np.testing.assert_allclose(got, x, rtol=1e-6)

  def test_not_finite_spoils_the_message(self):
    sent = compression.ternary_quantize(jnp.array([1.0, jnp.inf]), key=KEY)
    self.assertTrue(np.isnan(sent).all())


if __name__ == '__main__':
  absltest.main()
