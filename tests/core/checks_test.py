# SPDX-License-Identifier: Apache-2.0
"""Messages name the argument, the rule and the value."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import checks


class ChecksTest(parameterized.TestCase):
  def test_number_of_clients(self):
    self.assertEqual(checks.num_clients({'a': np.ones((3, 2))}), 3)
    with self.assertRaisesRegex(ValueError, 'votes has no leaves'):
      checks.num_clients([], name='votes')
    with self.assertRaisesRegex(ValueError, r"votes\['a'\]\[0\] is a scalar"):
      checks.num_clients({'a': [1.0]}, name='votes')
    with self.assertRaisesRegex(ValueError, r'shape \(0, 2\), need N >= 1'):
      checks.num_clients(np.ones((0, 2)))
    with self.assertRaisesRegex(
      ValueError, r"updates\['b'\] has 4 clients but updates\['a'\] has 3"
    ):
      checks.num_clients({'a': np.ones((3, 2)), 'b': np.ones(4)})

  @parameterized.parameters(3, np.int64(3), np.uint8(3))
  def test_integers(self, value):
    got = checks.integer(value, name='k', low=3, high=3)
    self.assertIs(type(got), int)

  @parameterized.parameters(True, np.bool_(True), 3.0, '3', None)
  def test_not_integers(self, value):
    with self.assertRaisesRegex(TypeError, 'k must be an integer; got'):
      checks.integer(value, name='k')

  def test_integer_ranges(self):
    with self.assertRaisesRegex(ValueError, 'k must be at least 1; got 0'):
      checks.integer(0, name='k', low=1)
    with self.assertRaisesRegex(ValueError, 'k must be at most 4; got 5'):
      checks.integer(5, name='k', high=4)

  @parameterized.parameters((0.5,), (np.float32(0.5),), (1,), (np.array(0.5),))
  def test_numbers(self, value):
    checks.number(value, name='x', low=0.0, high=1.0)

  @parameterized.parameters(
    (-0.1, {}, r'x must lie in \[0.0, 1.0\]; got -0.1'),
    (0.0, {'open_low': True}, r'x must lie in \(0.0, 1.0\]; got 0.0'),
    (1.0, {'open_high': True}, r'x must lie in \[0.0, 1.0\); got 1.0'),
    (float('nan'), {}, 'got nan'),
    (float('inf'), {}, 'got inf'),
  )
  def test_numbers_out_of_range(self, value, options, message):
    with self.assertRaisesRegex(ValueError, message):
      checks.number(value, name='x', low=0.0, high=1.0, **options)

  @parameterized.parameters(True, '1', None, 1j, (np.ones(2),))
  def test_not_numbers(self, value):
    with self.assertRaisesRegex(TypeError, 'x must be a number; got'):
      checks.number(value, name='x')

  def test_traced_numbers_pass(self):
    def run(x):
      checks.number(x, name='x', low=0.0)
      return x

    self.assertEqual(float(jax.jit(run)(-1.0)), -1.0)

  def test_choices(self):
    checks.choice('a', ('a', 'b'), name='kind')
    with self.assertRaisesRegex(
      ValueError, "kind='c' is unknown: choose one of 'a', 'b'"
    ):
      checks.choice('c', ('a', 'b'), name='kind')


if __name__ == '__main__':
  absltest.main()
