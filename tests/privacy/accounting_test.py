# SPDX-License-Identifier: Apache-2.0
"""What rounds cost: published figures, calibration, curves, errors."""

import math
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from scipy import optimize, special

from jaxdl import privacy

DELTA = 1e-5


def exact_gaussian(z):
  """ε of one Gaussian release (Balle and Wang 2018, theorem 8)."""
  tail = special.ndtr

  def delta(e):
    a = 1 / (2 * z)
    return tail(a - e * z) - math.exp(e) * tail(-a - e * z)

  return optimize.brentq(lambda e: delta(e) - DELTA, 0, 100)


class EpsilonTest(parameterized.TestCase):
  @parameterized.parameters(
    (1.0, 0.01, 1000, 2.1014, 1.8282),
    (1.0, 1.0, 1, 4.7285, 4.3772),
    (4.0, 1.0, 100, 14.132, 13.207),
    (0.8, 0.05, 200, 8.743, 7.702),
  )
  def test_figures_of_the_sheet(self, z, rate, rounds, rdp, pld):
    for accountant, want in (('rdp', rdp), ('pld', pld)):
      got = privacy.epsilon(
        noise_multiplier=z,
        rate=rate,
        num_rounds=rounds,
        delta=DELTA,
        accountant=accountant,
      )
      self.assertIsInstance(got, float)
      self.assertAlmostEqual(got, want, delta=6e-5 if want < 5 else 6e-4)

  def test_one_release_of_all_has_a_closed_form(self):
    for z in (0.7, 3.0):
      got = privacy.epsilon(
        noise_multiplier=z,
        rate=1.0,
        num_rounds=1,
        delta=DELTA,
        accountant='pld',
      )
      self.assertAlmostEqual(got, exact_gaussian(z), delta=2e-4)

  def test_the_ends(self):
    setting = {'rate': 0.1, 'delta': DELTA}
    cost = lambda z, t: privacy.epsilon(
      noise_multiplier=z, num_rounds=t, **setting
    )
    self.assertEqual(cost(1.0, 0), 0.0)
    self.assertEqual(cost(0.0, 0), 0.0)
    self.assertEqual(cost(0.0, 1), math.inf)

  def test_says_nothing_about_orders(self):
    with self.assertNoLogs('absl'):
      privacy.epsilon(
        noise_multiplier=0.8, rate=0.05, num_rounds=2, delta=DELTA
      )


class NoiseTest(parameterized.TestCase):
  @parameterized.parameters(
    (2.0, 0.01, 1000), (0.1, 0.001, 10), (30.0, 1.0, 50), (1e6, 1.0, 1)
  )
  def test_spends_what_it_may_and_no_more(self, budget, rate, rounds):
    setting = {'rate': rate, 'num_rounds': rounds, 'delta': DELTA}
    z = privacy.noise_for(budget, **setting)
    cost = lambda z: privacy.epsilon(noise_multiplier=z, **setting)
    self.assertLessEqual(cost(z), budget)
    if z > 0.05:
      self.assertGreater(cost(z - 3e-6), budget)

  def test_the_tighter_accountant_needs_less(self):
    z = privacy.noise_for(
      exact_gaussian(2.0),
      rate=1.0,
      num_rounds=1,
      delta=DELTA,
      accountant='pld',
    )
    self.assertAlmostEqual(z, 2.0, delta=2e-4)

  def test_out_of_reach(self):
    with self.assertRaisesRegex(ValueError, 'epsilon=0.0001 .* out of reach'):
      privacy.noise_for(1e-4, rate=1.0, num_rounds=10, delta=1e-40)


class CurveTest(absltest.TestCase):
  def test_equals_the_cost_of_each_number_of_rounds(self):
    rounds = [0, 1, 7, 7, 200]
    for accountant in privacy.ACCOUNTANTS:
      setting = {
        'noise_multiplier': 1.1,
        'rate': 0.05,
        'delta': DELTA,
        'accountant': accountant,
      }
      got = privacy.epsilon_curve(rounds, **setting)
      want = [privacy.epsilon(num_rounds=t, **setting) for t in rounds]
      np.testing.assert_allclose(got, want, rtol=1e-3)

  def test_without_noise(self):
    got = privacy.epsilon_curve(
      [0, 3], noise_multiplier=0.0, rate=0.5, delta=DELTA
    )
    np.testing.assert_array_equal(got, [0.0, math.inf])

  def test_rounds_do_not_go_back(self):
    with self.assertRaisesRegex(ValueError, r'rounds must not go back; got \['):
      privacy.epsilon_curve([3, 2], noise_multiplier=1.0, rate=0.5, delta=DELTA)


GOOD = {'noise_multiplier': 1.0, 'rate': 0.1, 'num_rounds': 3, 'delta': DELTA}


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'noise_multiplier': -1.0}, r'noise_multiplier must lie in \[0.0, inf\)'),
    ({'noise_multiplier': math.nan}, 'noise_multiplier must lie .* got nan'),
    ({'rate': 0.0}, r'rate must lie in \(0.0, 1.0\]; got 0.0'),
    ({'rate': 1.5}, 'rate must lie .* got 1.5'),
    ({'num_rounds': -1}, 'num_rounds must be at least 0; got -1'),
    ({'delta': 0.0}, r'delta must lie in \(0.0, 1.0\); got 0.0'),
    ({'delta': 1.0}, 'delta must lie .* got 1.0'),
    ({'accountant': 'rpd'}, "accountant='rpd' is unknown: .* mean 'rdp'"),
  )
  def test_says_what_to_change(self, change, message):
    with self.assertRaisesRegex(ValueError, message):
      privacy.epsilon(**(GOOD | change))

  def test_budget(self):
    setting = {'rate': 0.1, 'num_rounds': 3, 'delta': DELTA}
    with self.assertRaisesRegex(ValueError, 'epsilon must lie .* got 0.0'):
      privacy.noise_for(0.0, **setting)
    with self.assertRaisesRegex(ValueError, 'num_rounds must be at least 1'):
      privacy.noise_for(1.0, **(setting | {'num_rounds': 0}))

  def test_what_is_missing_is_named(self):
    with (
      mock.patch.dict(sys.modules, {'dp_accounting': None}),
      self.assertRaisesRegex(ImportError, r'pip install dp-accounting'),
    ):
      privacy.epsilon(**GOOD)


if __name__ == '__main__':
  absltest.main()
