# SPDX-License-Identifier: Apache-2.0
"""Learning rates that optax does not have."""

import jax
import numpy as np
from absl.testing import absltest

from jaxdl import core
from jaxdl.core import schedules


class SteppedInverseDecayTest(absltest.TestCase):
  def test_published_settings(self):
    small = schedules.stepped_inverse_decay(0.75, decay=50, every=50)
    for step, want in ((0, 0.75), (49, 0.75), (50, 0.375), (149, 0.25)):
      self.assertAlmostEqual(float(small(step)), want, places=6)
    large = schedules.stepped_inverse_decay(0.5, decay=167, every=1500)
    self.assertAlmostEqual(float(large(1499)), 0.5)
    self.assertAlmostEqual(float(large(1500)), 0.5 / (1500 / 167 + 1), places=6)

  def test_traced_steps(self):
    schedule = schedules.stepped_inverse_decay(1.0, decay=10, every=4)
    steps = np.arange(20)
    want = 1 / (steps // 4 * 4 / 10 + 1)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(steps), want, 1e-6)

  def test_steps_are_counted_in_whole_numbers(self):
    # As float32, 2^24 + 1 is 2^24.
    schedule = schedules.stepped_inverse_decay(1.0, decay=1, every=2**24 + 1)
    self.assertEqual(float(schedule(2**24)), 1.0)
    self.assertLess(float(schedule(2**24 + 1)), 1e-6)

  def test_ranges(self):
    with self.assertRaisesRegex(ValueError, 'every must be at least 1'):
      schedules.stepped_inverse_decay(1.0, decay=1, every=0)
    with self.assertRaisesRegex(ValueError, r'decay must lie in \(0.0'):
      schedules.stepped_inverse_decay(1.0, decay=0, every=1)


class CoreTest(absltest.TestCase):
  def test_everything_listed_is_there(self):
    for name in core.__all__:
      self.assertTrue(hasattr(core, name), name)


if __name__ == '__main__':
  absltest.main()
