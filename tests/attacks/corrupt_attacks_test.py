# SPDX-License-Identifier: Apache-2.0
"""Blind corruptions, noise, the attack on order statistics, flipped labels."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import attacks as reference

from jaxdl import attacks

KEY = jax.random.key(3)


class OwnTest(parameterized.TestCase):
  def test_bit_flip_negates_each_attacker(self):
    own = {'a': jnp.array([[1.0, -2.0], [0.0, 4.0]]), 'b': jnp.array([3.0, 5])}
    sent = attacks.bit_flip(own)
    np.testing.assert_array_equal(sent['a'], [[-1, 2], [0, -4]])
    np.testing.assert_array_equal(sent['b'], [-3, -5])

  def test_reverse_enlarges_tenfold(self):
    own = jnp.array([[1.0, -2.0], [0.5, 4.0]])
    np.testing.assert_array_equal(attacks.reverse(own), -10 * own)

  def test_drops_the_stated_share_and_keeps_the_rest(self):
    own = jnp.asarray(
      np.random.default_rng(0).normal(size=(3, 20000)), jnp.float32
    )
    sent = attacks.drop_coordinates(own, key=KEY, fraction=0.1)
    lost = np.asarray(sent == 0)
    # Three standard deviations of a binomial share.
    np.testing.assert_allclose(lost.mean(axis=1), 0.1, atol=0.0064)
    np.testing.assert_array_equal(np.asarray(sent)[~lost], own[~lost])
    self.assertFalse(np.array_equal(lost[0], lost[1]))

  def test_drop_extremes(self):
    own = jnp.ones((2, 50))
    none = attacks.drop_coordinates(own, key=KEY, fraction=0.0)
    every = attacks.drop_coordinates(own, key=KEY, fraction=1.0)
    np.testing.assert_array_equal(none, own)
    np.testing.assert_array_equal(every, jnp.zeros_like(own))

  def test_dropping_forgets_non_finite_coordinates(self):
    own = jnp.full((1, 3), jnp.nan)
    sent = attacks.drop_coordinates(own, key=KEY, fraction=1.0)
    np.testing.assert_array_equal(sent, np.zeros((1, 3)))

  def test_refuses_bad_input(self):
    with self.assertRaisesRegex(ValueError, r'fraction must lie in \[0'):
      attacks.drop_coordinates(jnp.ones((2, 3)), key=KEY, fraction=1.5)
    with self.assertRaisesRegex(TypeError, 'own.* must be floating point'):
      attacks.bit_flip(jnp.ones((2, 3), jnp.int32))
    with self.assertRaisesRegex(TypeError, 'scale must be a number'):
      attacks.reverse(jnp.ones((2, 3)), scale='10')
    with self.assertRaisesRegex(TypeError, 'key is required'):
      attacks.drop_coordinates(jnp.ones((2, 3)), key=None)


class NoiseTest(parameterized.TestCase):
  def test_constant_fills_every_coordinate(self):
    honest = {'a': jnp.ones((3, 2)), 'b': jnp.ones((3,), jnp.bfloat16)}
    for value in (0.0, np.nan, np.inf, -np.inf):
      sent = attacks.constant(honest, num_byzantine=2, value=value)
      np.testing.assert_array_equal(sent['a'], np.full((2, 2), value))
      np.testing.assert_array_equal(
        sent['b'].astype(jnp.float32), np.full(2, value)
      )

  def test_gaussian_has_the_stated_moments(self):
    honest = jnp.ones((2, 40000))
    sent = attacks.gaussian(
      honest, num_byzantine=2, key=KEY, scale=3.0, mean=-1.0
    )
    np.testing.assert_allclose(jnp.mean(sent, axis=1), -1.0, atol=0.05)
    np.testing.assert_allclose(jnp.std(sent, axis=1), 3.0, atol=0.04)
    self.assertLess(abs(np.corrcoef(sent)[0, 1]), 0.02)

  def test_uniform_fills_its_interval_and_attackers_look_alike(self):
    honest = jnp.ones((2, 40000))
    sent = np.asarray(attacks.uniform(honest, num_byzantine=2, key=KEY))
    self.assertBetween(sent.min(), 0.0, 1e-3)
    self.assertBetween(sent.max(), 1 - 1e-3, 1.0)
    cosine = sent[0] @ sent[1] / np.prod(np.linalg.norm(sent, axis=1))
    self.assertAlmostEqual(cosine, 0.75, delta=0.01)
    wide = attacks.uniform(
      honest, num_byzantine=1, key=KEY, scale=4.0, low=-2.0
    )
    np.testing.assert_allclose(wide[0], 4 * sent[0] - 2, atol=1e-6)

  @parameterized.parameters(attacks.gaussian, attacks.uniform)
  def test_an_attackers_stream_is_its_own(self, attack):
    honest = {'a': jnp.ones((3, 4)), 'b': jnp.ones((3, 4))}
    few = attack(honest, num_byzantine=2, key=KEY)
    many = attack(honest, num_byzantine=5, key=KEY)
    np.testing.assert_array_equal(few['a'], many['a'][:2])
    self.assertFalse(np.array_equal(few['a'], few['b']))
    shared = attack(honest, num_byzantine=3, key=KEY, shared=True)
    np.testing.assert_array_equal(shared['a'], np.tile(few['a'][:1], (3, 1)))

  def test_refuses_bad_scales_and_legacy_keys(self):
    honest = jnp.ones((3, 4))
    with self.assertRaisesRegex(ValueError, r'scale must lie in \[0'):
      attacks.gaussian(honest, num_byzantine=1, key=KEY, scale=-1.0)
    with self.assertRaisesRegex(TypeError, 'must be a typed key'):
      attacks.uniform(honest, num_byzantine=1, key=np.zeros(2, np.uint32))


class FangTest(parameterized.TestCase):
  @parameterized.parameters(2.0, 4.0)
  def test_fills_the_published_intervals(self, scale):
    rng = np.random.default_rng(0)
    # All four cases: mean and opposite extreme of either sign.
    centers = np.array([3.0, 0.3, -0.3, -3.0, 0.5])
    honest = rng.normal(size=(6, 5)) * 0.5 + centers
    low, high = reference.fang_interval(honest, scale)
    sent = attacks.fang(
      jnp.asarray(honest), num_byzantine=400, key=KEY, scale=scale
    )
    share = (np.asarray(sent, np.float64) - low) / (high - low)
    self.assertGreater(share.min(), -1e-5)
    self.assertLess(share.max(), 1 + 1e-5)
    np.testing.assert_allclose(share.mean(axis=0), 0.5, atol=0.06)
    np.testing.assert_allclose(share.std(axis=0), 12**-0.5, atol=0.03)

  def test_lies_beyond_the_extremes_against_the_mean(self):
    honest = np.random.default_rng(1).normal(0.2, 1.0, (7, 50))
    honest = honest.astype(np.float32)
    sent = np.asarray(
      attacks.fang(jnp.asarray(honest), num_byzantine=3, key=KEY)
    )
    negative = honest.mean(axis=0) < 0
    self.assertTrue(np.all((sent >= honest.max(axis=0))[:, negative]))
    self.assertTrue(np.all((sent <= honest.min(axis=0))[:, ~negative]))

  def test_many_clients_take_the_other_reduction(self):
    honest = np.random.default_rng(2).normal(0.1, 1.0, (70, 4))
    low, high = reference.fang_interval(honest)
    sent = np.asarray(
      attacks.fang(jnp.asarray(honest), num_byzantine=5, key=KEY)
    )
    self.assertTrue(np.all((sent >= low - 1e-5) & (sent <= high + 1e-5)))

  def test_dead_coordinates_stay_zero(self):
    sent = attacks.fang(jnp.zeros((4, 3)), num_byzantine=2, key=KEY)
    np.testing.assert_array_equal(sent, np.zeros((2, 3)))

  def test_refuses_a_factor_of_one(self):
    with self.assertRaisesRegex(ValueError, r'scale must lie in \(1'):
      attacks.fang(jnp.ones((4, 3)), num_byzantine=2, key=KEY, scale=1.0)


class LabelTest(parameterized.TestCase):
  @parameterized.parameters('int32', 'uint8', 'int8')
  def test_flip_is_its_own_inverse_and_keeps_the_dtype(self, dtype):
    labels = jnp.arange(10, dtype=dtype).reshape(2, 5)
    flipped = attacks.flip_labels(labels, 10)
    np.testing.assert_array_equal(flipped.ravel(), np.arange(10)[::-1])
    self.assertEqual(flipped.dtype, dtype)
    np.testing.assert_array_equal(attacks.flip_labels(flipped, 10), labels)

  def test_flips_numpy_labels_under_jit(self):
    got = jax.jit(attacks.flip_labels, static_argnums=1)(np.array([0, 2]), 3)
    np.testing.assert_array_equal(got, [2, 0])

  def test_refuses_bad_input(self):
    with self.assertRaisesRegex(TypeError, 'labels must be integers'):
      attacks.flip_labels(jnp.ones((3, 2)), 2)
    with self.assertRaisesRegex(ValueError, 'num_classes must be at least 1'):
      attacks.flip_labels(jnp.array([0]), 0)


class NoisyLabelsTest(absltest.TestCase):
  def test_labels_are_a_vector(self):
    rng = np.random.default_rng(0)
    for labels in (np.zeros((3, 4), int), np.int64(1)):
      with self.assertRaisesRegex(ValueError, 'labels must be a vector'):
        attacks.noisy_labels(rng, labels, 2, share=1.0)


if __name__ == '__main__':
  absltest.main()
