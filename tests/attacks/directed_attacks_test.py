# SPDX-License-Identifier: Apache-2.0
"""Sign flips, inner-product manipulation, ALIE and the attack on CGE."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import attacks as reference

from jaxdl import attacks

SET_B = np.array([[1, 0], [0, 2], [2, 1], [1, 1], [0, 0]], np.float64)


def _random(num_clients, size=6, seed=0):
  return np.random.default_rng(seed).normal(0.3, 1.0, (num_clients, size))


class MeanAttacksTest(parameterized.TestCase):
  def test_sign_flip_negates_the_mean(self):
    sent = attacks.sign_flip(jnp.asarray(SET_B), num_byzantine=3)
    np.testing.assert_allclose(sent, np.full((3, 2), -0.8), rtol=1e-6)

  def test_ipm_scales_the_negative_mean(self):
    sent = attacks.ipm(jnp.asarray(SET_B), num_byzantine=2, scale=0.5)
    np.testing.assert_allclose(sent, np.full((2, 2), -0.4), rtol=1e-6)

  def test_default_ipm_scale_is_a_tenth(self):
    sent = attacks.ipm(jnp.asarray(SET_B), num_byzantine=1)
    np.testing.assert_allclose(sent, np.full((1, 2), -0.08), rtol=1e-6)

  @parameterized.parameters(1, 2, 5)
  def test_scaled_sign_flip_cancels_the_mean_of_everyone(self, num_byzantine):
    honest = jnp.asarray(_random(7), jnp.float32)
    sent = attacks.scaled_sign_flip(honest, num_byzantine=num_byzantine)
    everyone = np.concatenate([honest, sent])
    np.testing.assert_allclose(everyone.mean(axis=0), 0, atol=1e-6)

  def test_many_clients_take_the_other_reduction(self):
    honest = _random(70)
    sent = attacks.alie(jnp.asarray(honest), num_byzantine=1, scale=1.5)
    np.testing.assert_allclose(
      sent[0], reference.alie(honest, 1.5), rtol=1e-5, atol=1e-6
    )


class AlieTest(parameterized.TestCase):
  @parameterized.parameters(
    (25, 5, 0.253347),
    (50, 12, 0.336038),
    (50, 24, 1.426077),
    (15, 3, 0.210428),
    (10, 2, 0.0),
  )
  def test_quantile_equals_published_table(self, n, f, z):
    self.assertAlmostEqual(attacks.alie_z(n, f), z, delta=1e-6)

  def test_quantile_equals_scipy_everywhere(self):
    for n in range(3, 40):
      for f in range(1, n // 2 + 1):
        self.assertAlmostEqual(
          attacks.alie_z(n, f), reference.alie_z(n, f), delta=1e-12
        )

  @parameterized.parameters((2, 1), (5, 3), (10, 9))
  def test_infinite_quantile_says_what_to_change(self, n, f):
    with self.assertRaisesRegex(ValueError, f'num_byzantine={f}: give scale'):
      attacks.alie_z(n, f)

  @parameterized.parameters(('minus', -0.45499), ('plus', 2.05499))
  def test_equals_worked_example(self, sign, want):
    sent = attacks.alie(
      jnp.asarray(SET_B), num_byzantine=2, scale=1.5, sign=sign
    )
    np.testing.assert_allclose(sent, np.full((2, 2), want), atol=1e-5)

  @parameterized.product(sign=['minus', 'plus'], ddof=[0, 1])
  def test_equals_float64_reference(self, sign, ddof):
    honest = _random(9)
    with jax.enable_x64(True):
      sent = attacks.alie(
        jnp.asarray(honest), num_byzantine=3, sign=sign, ddof=ddof
      )
    want = reference.alie(honest, reference.alie_z(12, 3), sign=sign, ddof=ddof)
    np.testing.assert_allclose(sent, np.tile(want, (3, 1)), rtol=1e-12)

  def test_spread_survives_a_large_mean(self):
    honest = (1e4 + _random(9)).astype(np.float32)
    sent = attacks.alie(jnp.asarray(honest), num_byzantine=1, scale=1.0)
    want = reference.alie(honest.astype(np.float64), 1.0)
    np.testing.assert_allclose(sent[0], want, atol=5e-3)

  def test_one_honest_client_has_no_spread(self):
    honest = jnp.array([[1.0, -2.0]])
    for ddof in (0, 1):
      sent = attacks.alie(honest, num_byzantine=2, scale=3.0, ddof=ddof)
      np.testing.assert_array_equal(sent, np.tile(honest, (2, 1)))

  def test_scale_may_be_swept_in_one_program(self):
    honest = jnp.asarray(SET_B)
    sweep = jax.jit(
      jax.vmap(lambda z: attacks.alie(honest, num_byzantine=1, scale=z))
    )
    got = sweep(jnp.array([0.0, 1.5]))[:, 0, 0]
    np.testing.assert_allclose(got, [0.8, -0.45499], atol=1e-5)

  def test_refuses_bad_options(self):
    honest = jnp.asarray(SET_B)
    with self.assertRaisesRegex(ValueError, "sign='up'"):
      attacks.alie(honest, num_byzantine=1, sign='up')
    with self.assertRaisesRegex(ValueError, 'ddof=2'):
      attacks.alie(honest, num_byzantine=1, ddof=2)
    with self.assertRaisesRegex(ValueError, 'num_byzantine must be at least 1'):
      attacks.alie(honest, num_byzantine=0)
    with self.assertRaisesRegex(TypeError, 'num_byzantine must be an integer'):
      attacks.alie(honest, num_byzantine=1.0)
    with self.assertRaisesRegex(TypeError, 'honest.* must be floating point'):
      attacks.alie(jnp.ones((3, 2), jnp.int32), num_byzantine=1)
    with self.assertRaisesRegex(ValueError, 'leading axis'):
      attacks.alie((jnp.ones((3, 2)), jnp.ones((4, 2))), num_byzantine=1)


class AntiCgeTest(parameterized.TestCase):
  @parameterized.parameters(1, 3, 6, 7, 9)
  def test_equals_float64_reference(self, num_byzantine):
    honest = _random(7)
    sent = attacks.anti_cge(
      jnp.asarray(honest), num_byzantine=num_byzantine, margin=0.1
    )
    want = reference.anti_cge(honest, num_byzantine, 0.1)
    np.testing.assert_allclose(sent[0], want, rtol=1e-5, atol=1e-6)

  @parameterized.parameters(1, 2, 3)
  def test_smallest_norms_keep_every_attacker_and_no_longer_one(self, f):
    honest = jnp.asarray(_random(7), jnp.bfloat16)
    sent = attacks.anti_cge(honest, num_byzantine=f)

    def num_kept(stretch):
      rows = np.concatenate([honest, sent * stretch]).astype(np.float64)
      return np.sum(np.argsort(np.linalg.norm(rows, axis=1))[:7] >= 7)

    self.assertEqual(num_kept(1.0), f)
    self.assertLess(num_kept(1.05), f)

  def test_zero_updates_give_zero(self):
    sent = attacks.anti_cge(jnp.zeros((4, 3)), num_byzantine=2)
    np.testing.assert_array_equal(sent, np.zeros((2, 3)))

  def test_refuses_margins_outside_the_unit_interval(self):
    with self.assertRaisesRegex(ValueError, r'margin must lie in \(0'):
      attacks.anti_cge(jnp.ones((4, 3)), num_byzantine=2, margin=0.0)


if __name__ == '__main__':
  absltest.main()
