# SPDX-License-Identifier: Apache-2.0
"""What decides about edits, in numbers and in text alike."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.language import teams
from jaxdl.language.teams import _control


class ControlTest(parameterized.TestCase):
  def test_momentum_of_one_is_the_gradient(self):
    g, before = np.array([0.3, -0.2]), np.array([5.0, 7.0])
    np.testing.assert_array_equal(teams.momentum(g, before, 1.0), g)

  @parameterized.parameters(0.0, 0.3, 0.7, 1.0)
  def test_momentum_of_a_constant_is_that(self, alpha):
    g, before = np.array([0.3, -0.2]), None
    for _ in range(3):
      found = teams.momentum(g, before, alpha)
      np.testing.assert_allclose(found, g, rtol=1e-12)
      before = g

  def test_momentum_by_hand(self):
    # .7 of this gradient and .3 of the one before, not of what was smoothed.
    self.assertAlmostEqual(teams.momentum(1.0, 2.0, 0.7), 1.3)

  def test_beta_of_one_is_global_and_of_zero_local(self):
    local = np.array([0.1, 0.4])
    np.testing.assert_array_equal(teams.combined(0.5, local, 1.0), [0.5, 0.5])
    np.testing.assert_array_equal(teams.combined(0.5, local, 0.0), local)
    np.testing.assert_allclose(teams.combined(0.5, local, 0.5), [0.3, 0.45])

  @parameterized.parameters(
    (0.1, 0.2, 9, 1, 'non_worse', True),
    (0.2, 0.2, 1, 1, 'non_worse', True),
    (0.2, 0.2, 2, 1, 'non_worse', False),
    (0.2, 0.2, 2, 1, 'non_worse(cost=False)', True),
    (0.3, 0.2, 0, 1, 'non_worse', False),
    (0.2, 0.2, 0, 1, 'strict', False),
    (0.1, 0.2, 9, 1, 'strict', True),
    (float('nan'), 0.2, 0, 1, 'non_worse', False),
  )
  def test_acceptance(self, new, old, new_cost, old_cost, rule, want):
    costs = {'new_cost': new_cost, 'old_cost': old_cost}
    self.assertEqual(bool(teams.accept(new, old, rule, **costs)), want)
    arrays = {k: jnp.asarray(v) for k, v in costs.items()}
    found = teams.accept(jnp.asarray(new), jnp.asarray(old), rule, **arrays)
    self.assertEqual(bool(found), want)

  def test_the_oldest_refusal_is_forgotten(self):
    memory = _control.nothing_refused(2, 2)
    for edit in range(3):
      memory = _control.refuse(memory, np.array([edit, 7], np.int32))
    memory = _control.refuse(memory, np.array([9, 9], np.int32), False)
    keys = np.array([[0, 7], [1, 7], [2, 7], [2, 8], [9, 9]])
    self.assertEqual(
      _control.is_refused(memory, keys).tolist(),
      [False, True, True, False, False],
    )

  def test_a_pool_gives_the_best_and_loses_the_worst(self):
    losses, ages = np.array([0.1, 0.4, 0.1, 0.4]), np.array([0, 3, 2, 1])
    self.assertEqual(int(_control.select(losses, ages)), 2)
    self.assertEqual(int(_control.slot(losses, ages)), 3)

  def test_replay(self):
    solved = np.array([True, False, True])
    self.assertTrue(
      bool(_control.breaks(solved, np.array([True, True, False])))
    )
    self.assertFalse(bool(_control.breaks(solved, np.ones(3, bool))))

  @parameterized.parameters(
    ('ann(alpha=1.5)', r'alpha must lie in \[0.0, 1.0\]; got 1.5'),
    ('ann(beta=-0.1)', r'beta must lie in \[0.0, 1.0\]; got -0.1'),
    ('ann(accept=better)', "accept='better' is unknown"),
    ('ann(pool_size=0)', 'pool_size must be at least 1; got 0'),
    ('ann(replay=-1)', 'replay must be at least 0; got -1'),
    ('ann(temperature=-1.0)', 'temperature must lie in'),
    ('ann(gamma=1)', "no option 'gamma'"),
    ('sgd', "is unknown: choose one of 'ann'"),
  )
  def test_bad_methods(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      teams.METHODS.check(spec)

  def test_bad_numbers(self):
    with self.assertRaisesRegex(ValueError, 'alpha must lie in'):
      teams.momentum(1.0, 2.0, 1.2)
    with self.assertRaisesRegex(ValueError, 'beta must lie in'):
      teams.combined(1.0, 2.0, -0.2)
    with self.assertRaisesRegex(ValueError, 'decay must lie in'):
      _control.running(1.0, 0.0, 2.0)


if __name__ == '__main__':
  absltest.main()
