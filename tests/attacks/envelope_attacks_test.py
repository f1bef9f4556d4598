# SPDX-License-Identifier: Apache-2.0
"""Min-max and min-sum against bisection and worked numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import attacks as reference

from jaxdl import attacks

SET_B = np.array([[1, 0], [0, 2], [2, 1], [1, 1], [0, 0]], np.float64)
DIRECTIONS = ('unit', 'sign', 'std', 'mean')

_min_max = jax.jit(
  functools.partial(attacks.min_max, num_byzantine=2),
  static_argnames=('direction', 'ddof'),
)
_min_sum = jax.jit(
  functools.partial(attacks.min_sum, num_byzantine=2),
  static_argnames=('direction', 'ddof', 'bound'),
)


def _random(num_clients=8, size=5, seed=0):
  return np.random.default_rng(seed).normal(0.5, 1.0, (num_clients, size))


class MinMaxTest(parameterized.TestCase):
  @parameterized.parameters('unit', 'sign', 'std')
  def test_worked_example_sends_the_origin(self, direction):
    sent = _min_max(jnp.asarray(SET_B), direction=direction)
    np.testing.assert_allclose(sent, np.zeros((2, 2)), atol=1e-6)

  @parameterized.parameters(
    ('unit', 1.13137085), ('sign', 0.8), ('std', 0.95618289)
  )
  def test_bisection_finds_the_worked_gammas(self, direction, gamma):
    self.assertAlmostEqual(
      reference.min_max_gamma(SET_B, direction), gamma, delta=1e-8
    )

  @parameterized.parameters(*DIRECTIONS)
  def test_equals_bisection(self, direction):
    with jax.enable_x64(True):
      for seed in range(5):
        honest = _random(seed=seed)
        sent = _min_max(jnp.asarray(honest), direction=direction)
        gamma = reference.min_max_gamma(honest, direction)
        want = honest.mean(axis=0) + gamma * reference.direction(
          honest, direction
        )
        np.testing.assert_allclose(sent, np.tile(want, (2, 1)), atol=1e-10)

  def test_touches_the_diameter_and_goes_no_farther(self):
    honest = _random(20, 40, seed=7).astype(np.float32)
    sent = np.asarray(_min_max(jnp.asarray(honest))[0], np.float64)
    reach = np.linalg.norm(honest - sent, axis=1).max()
    diameter = np.sqrt(reference.pairwise_sq(honest.astype(np.float64)).max())
    self.assertAlmostEqual(reach / diameter, 1.0, delta=1e-6)

  def test_survives_updates_that_nearly_agree(self):
    honest = (300.0 + 0.01 * _random(8, 50)).astype(np.float32)
    exact = honest.astype(np.float64)
    sent = np.asarray(_min_max(jnp.asarray(honest))[0], np.float64)
    gamma = reference.min_max_gamma(exact, 'std')
    want = gamma * reference.direction(exact, 'std')
    np.testing.assert_allclose(sent - exact.mean(axis=0), want, atol=2e-4)
    self.assertGreater(np.abs(want).max(), 0.01)

  @parameterized.parameters(*DIRECTIONS)
  def test_degenerate_sets_send_the_mean(self, direction):
    one = jnp.array([[1.0, -2.0]])
    np.testing.assert_array_equal(
      _min_max(one, direction=direction), np.tile(one, (2, 1))
    )
    same = jnp.zeros((3, 2))
    np.testing.assert_array_equal(
      _min_max(same, direction=direction), np.zeros((2, 2))
    )

  def test_balanced_set_has_no_unit_direction(self):
    honest = jnp.array([[1.0], [-1.0]])
    np.testing.assert_array_equal(
      _min_max(honest, direction='unit'), np.zeros((2, 1))
    )

  def test_refuses_unknown_direction(self):
    with self.assertRaisesRegex(ValueError, "direction='up' is unknown"):
      attacks.min_max(jnp.ones((3, 2)), num_byzantine=1, direction='up')


class MinSumTest(parameterized.TestCase):
  @parameterized.parameters('unit', 'sign', 'std')
  def test_equals_worked_example(self, direction):
    sent = _min_sum(jnp.asarray(SET_B), direction=direction)
    np.testing.assert_allclose(sent, np.full((2, 2), -0.2198039), atol=1e-6)

  @parameterized.parameters(
    ('unit', 'max', 1.44222051),
    ('sign', 'max', 1.01980390),
    ('std', 'max', 1.21889880),
    ('unit', 'min', 0.28284271),
    ('sign', 'min', 0.2),
    ('std', 'min', 0.23904572),
  )
  def test_equals_worked_gammas(self, direction, bound, gamma):
    self.assertAlmostEqual(
      reference.min_sum_gamma(SET_B, direction, bound), gamma, delta=1e-8
    )
    sent = _min_sum(jnp.asarray(SET_B), direction=direction, bound=bound)
    p = reference.direction(SET_B, direction)
    np.testing.assert_allclose((sent[0] - 0.8) / p, [gamma] * 2, rtol=1e-6)

  @parameterized.product(direction=DIRECTIONS, bound=['max', 'min'])
  def test_equals_bisection(self, direction, bound):
    with jax.enable_x64(True):
      for seed in range(3):
        honest = _random(seed=seed)
        sent = _min_sum(jnp.asarray(honest), direction=direction, bound=bound)
        gamma = reference.min_sum_gamma(honest, direction, bound)
        want = honest.mean(axis=0) + gamma * reference.direction(
          honest, direction
        )
        np.testing.assert_allclose(sent, np.tile(want, (2, 1)), atol=1e-10)

  def test_population_divisor_changes_nothing_but_gamma(self):
    # The direction is only rescaled, so what is sent stays.
    honest = jnp.asarray(_random(), jnp.float32)
    np.testing.assert_allclose(
      _min_sum(honest, ddof=0), _min_sum(honest, ddof=1), rtol=1e-5, atol=1e-6
    )

  def test_degenerate_sets_send_the_mean(self):
    one = jnp.array([[1.0, -2.0]])
    np.testing.assert_array_equal(_min_sum(one), np.tile(one, (2, 1)))

  def test_refuses_unknown_bound(self):
    with self.assertRaisesRegex(ValueError, "bound='mean' is unknown"):
      attacks.min_sum(jnp.ones((3, 2)), num_byzantine=1, bound='mean')


if __name__ == '__main__':
  absltest.main()
