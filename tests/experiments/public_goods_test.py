# SPDX-License-Identifier: Apache-2.0
"""The binary of public goods games."""

import functools
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import public_goods as binary

GAME = 'mac_spgg(num_agents=2, gamma=0.5, rho=1.0, kappa=1.0)'
LEARNER = f'ppo(num_games=32, hidden=4)@{GAME}'
SPNE = f'spne(num_levels=41)@{GAME}'
AT_ONCE = 'spne@pgg(num_agents=2, rho=1.0, kappa=1.0)'


def config_of(**options):
  small = {
    'variants': (SPNE, LEARNER, AT_ONCE),
    'num_rounds': 4,
    'steps': 3,
    'eval_every': 2,
    'num_states': 5,
    'num_levels': 21,
    'seeds': (0, 1),
  }
  return binary.Config(**{**small, **options})


@functools.cache
def result():
  return binary.run(config_of())


def rows_of(variant, split='test'):
  return [
    r for r in result().rows if (r['variant'], r['split']) == (variant, split)
  ]


class RunTest(parameterized.TestCase):
  def test_the_equilibrium_is_that_of_the_closed_form(self):
    for row in rows_of(SPNE):
      self.assertAlmostEqual(row['given_1'], 0.75, places=3)
      self.assertAlmostEqual(row['given_2'], 0.875, places=3)
      self.assertLess(row['error'], 1e-3)
      self.assertLess(row['exploitability'], 1e-4)
    for row in rows_of(AT_ONCE):
      self.assertAlmostEqual(row['total'], 1.0, places=5)

  def test_learners_move_and_others_do_not(self):
    first, last = (
      [r for r in rows_of(LEARNER) if r['step'] == t] for t in (0, 4)
    )
    for a, b in zip(first, last, strict=True):
      self.assertEqual((a['update'], b['update']), (0.0, 12.0))
      self.assertGreater(b['welfare'], a['welfare'])
    still = {r['welfare'] for r in rows_of(SPNE)}
    self.assertLess(max(still) - min(still), 1e-6)
    trained = rows_of(LEARNER, 'train')
    np.testing.assert_allclose(
      [r['sigma'] for r in trained if r['step'] == 4], 0.036, atol=4e-3
    )

  def test_agents_and_answers_are_reported_at_the_end(self):
    own = rows_of(SPNE, 'agents')
    self.assertEqual({r['step'] for r in own}, {4})
    self.assertLen(own, 4)
    welfare = sum(r['reward'] for r in own if r['seed'] == 0)
    self.assertAlmostEqual(welfare, rows_of(SPNE)[-1]['welfare'], places=5)
    # c_2 = S / 2 + 1 / 2 up to the bound.
    for row in rows_of(SPNE, 'answers'):
      want = min(row['sum'] / 2 + 0.5, 1.0)
      self.assertAlmostEqual(row['given'], want, places=3)
    self.assertEmpty(rows_of(AT_ONCE, 'answers'))

  def test_pictures(self):
    with tempfile.TemporaryDirectory() as folder:
      drawn = binary.draw(config_of(), result().rows, pathlib.Path(folder))
      self.assertEqual(
        {p.stem for p in drawn},
        {'welfare', 'total', 'exploitability', 'contributions', 'answers'},
      )

  def test_smoke_is_small(self):
    config = binary.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertLen(config.variants, 2)
    self.assertEqual((config.num_rounds, config.steps), (3, 2))


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ('ppo', 'is on nothing: write ppo@'),
    ('ppo@spg', "'spg' is unknown"),
    ('a2c@spgg', "'a2c'.* is unknown"),
    ('ppo@spgg(kappa=0)', r'kappa must lie in \(0.0, inf\)'),
    ('ppo@spgg(c_min=0.5, c_max=0.2)', 'c_min must be at most c_max'),
    ('ppo@mac_spgg(gamma=-1)', 'gamma must lie in'),
    ('spne(solver=grid)@mac_spgg(synergy=previous)', "must be 'tree'"),
    (
      'spne(solver=continuous)@mac_spgg(penalty=0.4, threshold=1.5)',
      'solver=continuous takes no penalty; got 0.4',
    ),
    ('spne(solver=nash)@mac_spgg', 'solver=nash does not fit'),
    ('spne(solver=grid)@pgg', 'solver=grid does not fit'),
    (
      'spne(solver=closed)@mac_spgg(cost=linear)',
      '--variants=spne.solver=closed.@.*cost=linear has no closed form',
    ),
    (
      'spne(solver=tree, num_levels=1000)@mac_spgg',
      '--variants=spne.*: num_levels=1000 .* or solve_grid',
    ),
    (
      'ppo@mac_spgg(num_agents=7, synergy=previous)',
      '--variants=ppo.*: num_levels=11 .* take fewer[.]',
    ),
    (
      'spne(solver=closed, num_levels=7)@spgg',
      'num_levels=7 has no effect on solver=closed',
    ),
    ('spne(num_levels=7)@pgg', 'num_levels=7 has no effect on solver=nash'),
    (
      'spne@mac_spgg(cost="power(2.5)", c_min=-1)',
      'c_min must be at least 0 where cost=power',
    ),
    ('ppo(window=0)@spgg', 'window must be at least 1'),
    ('ppo(observation=all)@spgg', "observation='all' is unknown"),
    ('fixed((0.1, 0.2))@spgg', 'one number or 3'),
  )
  def test_impossible_variants_are_refused(self, variant, message):
    with self.assertRaisesRegex(ValueError, message):
      binary.build(config_of(variants=(variant,)))

  def test_twice(self):
    with self.assertRaisesRegex(ValueError, 'variants must differ'):
      config_of(variants=(SPNE, SPNE))


if __name__ == '__main__':
  absltest.main()
