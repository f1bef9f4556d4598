# SPDX-License-Identifier: Apache-2.0
"""The binary of iterated dilemmas."""

import functools
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import coplayer
from jaxdl.agents import coplayers

LEARNERS = ('lola(spread=0.5)', 'fixed(policy=wsls)')


def config_of(**options):
  small = {
    'learners': LEARNERS,
    'num_rounds': 4,
    'eval_every': 2,
    'length': 6,
    'num_games': 8,
    'opponents': ('all_d',),
    'seeds': (0, 1),
  }
  return coplayer.Config(**{**small, **options})


@functools.cache
def result():
  return coplayer.run(config_of())


def rows_of(variant, split):
  return [
    r for r in result().rows if (r['variant'], r['split']) == (variant, split)
  ]


class RunTest(parameterized.TestCase):
  def test_who_never_changes_does_what_it_does(self):
    rows = rows_of(LEARNERS[1], 'test')
    self.assertLen(rows, 6)
    for row in rows:  # Two who win and stay cooperate throughout.
      self.assertEqual(row['reward_learners'], 1.0)
      self.assertEqual(row['cooperation_learners'], 1.0)
      self.assertEqual(row['cooperation_all_d'], 0.5)
      self.assertEqual(row['reward_all_d'], -0.5)
    for row in rows_of(LEARNERS[1], 'contexts_tabular'):
      want = {'start': 1, 'CC': 1, 'CD': 0, 'DC': 0, 'DD': 1}
      self.assertEqual(row['cooperation'], want[row['context']])

  def test_contexts_and_rounds_tell_the_same(self):
    for kind in coplayer.KINDS:
      for i, seed in enumerate((0, 1)):
        rounds = [
          r['cooperation']
          for r in rows_of(LEARNERS[0], f'rounds_{kind}')
          if r['seed'] == seed
        ]
        self.assertLen(rounds, 6)
        (last,) = [
          r
          for r in rows_of(LEARNERS[0], 'test')
          if (r['seed'], r['step']) == (seed, 4)
        ]
        self.assertAlmostEqual(
          np.mean(rounds), last[f'cooperation_{kind}'], places=5
        )
        (start,) = [
          r['cooperation']
          for r in rows_of(LEARNERS[0], f'contexts_{kind}')
          if (r['seed'], r['step'], r['context']) == (seed, 4, 'start')
        ]
        self.assertAlmostEqual(start, rounds[0], places=5)
        self.assertEqual(result().state[LEARNERS[0]].logits[i].shape, (2, 5))

  def test_pictures(self):
    with tempfile.TemporaryDirectory() as folder:
      drawn = coplayer.draw(config_of(), result().rows, pathlib.Path(folder))
      self.assertLen(drawn, 8)
      self.assertIn('rounds_learners', {p.stem for p in drawn})


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'learners': ('a2c(pools=mixed)',)}, "no option 'pools'"),
    ({'learners': ('ppo',)}, 'unknown'),
    ({'learners': ('lola', 'lola')}, 'learners must differ'),
    ({'learners': ('ppi(beta=-1.0)',)}, r'ppi\(beta=-1.0\).*beta must lie in'),
    ({'learners': ('ppi(phases=2)',)}, 'phases=2 is less than the 4'),
    ({'learners': ('a2c(pool=none)',)}, 'unknown'),
    ({'opponents': ('zd(phi=0.9)',)}, 'phi must lie in'),
    (
      {'game': 'donation(3.0, 1.0)', 'opponents': ('zd(2.0, 0.2)',)},
      r'--game=donation\(3.0, 1.0\) --opponents=zd.* phi must lie in',
    ),
    (
      {
        'game': 'donation(3.0, 1.0)',
        'learners': ('a2c(pool=against(opponent=zd(phi=0.2)))',),
      },
      'learners=a2c.* phi must lie in',
    ),
    ({'prior': 'beta(-1.0)'}, 'a must lie in'),
    ({'game': 'chicken'}, 'unknown'),
    ({'length': 0}, 'length must be at least 1'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      config_of(**options)

  def test_games_that_are_no_dilemma_are_said(self):
    with self.assertLogs(level='WARNING') as logs:
      config_of(game='donation(1.0, 2.0)')
    self.assertIn('no dilemma', logs.output[0])

  @parameterized.parameters(
    *('a2c(hidden=128)', 'mechanism', 'lola(sampled=True)', 'naive'),
    'ppi(world_model="gru(hidden=64)")',
  )
  def test_smoke_is_small(self, spec):
    config = coplayer.Config(learners=(spec,), num_rounds=9).smoked()
    self.assertEqual(config, config.smoked())
    (small,) = config.learners
    value = lambda k: coplayers.LEARNERS.value(small, k)
    if value('hidden') is not None:
      self.assertLessEqual(value('hidden'), 8)
    if spec.startswith('ppi'):
      self.assertIn('hidden=8', value('world_model'))
      self.assertLessEqual(value('pretrain_trajectories'), 16)
    self.assertEqual((config.num_rounds, config.length), (3, 10))


if __name__ == '__main__':
  absltest.main()
