# SPDX-License-Identifier: Apache-2.0
import numpy as np
from absl.testing import absltest

from jaxdl.language import _rules, goods, teams


class TieTest(absltest.TestCase):
  def test_rounding_decides_nothing(self):
    for low in (1 / 3, np.nextafter(np.float32(1 / 3), 0)):
      self.assertEqual(_rules.first_best(np.array([low, 1 / 3])), 0)
    self.assertEqual(_rules.first_best(np.array([0.3, 0.31])), 1)
    # Of equally many the first mention wins, however shares are summed.
    self.assertEqual(goods.vote(list('abbaabbaba')).answer, 'a')

  def test_losses_that_round_differently_are_equal(self):
    one, other = 0.1 + 0.2, 0.3
    for new, old in ((one, other), (other, one)):
      self.assertTrue(teams.accept(new, old))
      self.assertFalse(teams.accept(new, old, 'strict'))
      self.assertFalse(teams.accept(new, old, new_cost=2, old_cost=1))
    self.assertFalse(teams.accept(float('nan'), 0.3))
    self.assertTrue(teams.accept(0.299, 0.3, 'strict'))


if __name__ == '__main__':
  absltest.main()
