# SPDX-License-Identifier: Apache-2.0
"""The binary of multitasking associative networks."""

import functools
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import multitasking

SMALL = {
  'num_neurons': 1000,
  'num_blocks': 20,
  'num_patterns': 2,
  'num_rounds': 12,
  'burn_in': 4,
  'eval_every': 6,
  'samples': 2,
  'quality': 0.8,
  'num_examples': 9,
  'seeds': (0, 3),
}


def _config(**options):
  return multitasking.Config(**{**SMALL, **options})


@functools.cache
def _run():
  config = _config(sweeps=('dilution((0.3, 0.6))',))
  return config, multitasking.run(config).rows


class MultitaskingTest(parameterized.TestCase):
  def test_smoke_is_small(self):
    sweep = 'temperature((0.1, 0.2, 0.3))'
    config = multitasking.Config(sweeps=(sweep,)).smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(config.num_neurons, 400)
    self.assertEqual(config.sweeps, ('temperature(values=(0.1, 0.2))',))

  def test_networks_are_near_the_theory(self):
    config, rows = _run()
    for protocol in config.protocols:
      for d in (0.3, 0.6):
        seen, told = (
          [
            [r['m_1'], r['m_2']]
            for r in rows
            if (r['split'], r['variant']) == (split, protocol)
            and (r['dilution'], r['step']) == (d, 12)
          ]
          for split in ('test', 'theory')
        )
        self.assertLen(seen, 2)
        self.assertLen(told, 1)
        # Four samples of 1000 neurons: overlaps of patterns at random are .03.
        # Where levels are learned and nearly alike, they wander.
        mean = np.mean(seen, 0)
        np.testing.assert_allclose(mean.sum(), sum(told[0]), atol=0.04)
        if protocol == 'storing' or d == 0.3:
          np.testing.assert_allclose(mean, told[0], atol=0.06)

  def test_losses_are_the_energy(self):
    # -(1 / (2 (1 - d))) sum (((2 - d') / 2)² - L+ L-), d' the share of blanks.
    _, rows = _run()
    for r in rows:
      if r['split'] == 'test' and r['variant'] == 'storing':
        d = r['dilution']
        want = -((1 - d / 2) ** 2 * 2 - r['loss']) / (2 * (1 - d))
        self.assertAlmostEqual(r['energy'], want, delta=0.05)

  def test_protocols_share_their_patterns(self):
    _, rows = _run()
    first = [
      [r['now_1'], r['now_2']]
      for r in rows
      if (r['step'], r['dilution'], r['seed']) == (0, 0.3, 3)
    ]
    self.assertLen(first, 3)
    self.assertEqual(first[0], first[1])
    self.assertEqual(first[0], first[2])

  def test_counts_what_is_retrieved(self):
    config = _config(
      protocols=('storing',),
      sweeps=('temperature((0.05, 2.0))',),
      seeds=(0,),
      num_neurons=4000,
    )
    rows = multitasking.run(config).rows
    for split in ('test', 'theory'):
      cold, hot = (
        r['num_retrieved']
        for r in rows
        if (r['split'], r['step']) == (split, 12)
      )
      # Of m = (.6, .24): (.84)² / (.36 + .0576).
      self.assertAlmostEqual(cold, 1.69, delta=0.1)
      self.assertLess(hot, 0.5)

  def test_what_a_protocol_sets_holds(self):
    config = _config(
      protocols=('supervised(num_examples=3)',), num_rounds=0, seeds=(0,)
    )
    row = multitasking.run(config).rows[0]
    self.assertEqual((row['quality'], row['num_examples']), (0.8, 3))

  @parameterized.parameters(
    ((), {'overlaps', 'levels', 'loss_energy'}),
    (
      ('dilution((0.3, 0.6))',),
      {'overlaps', 'levels', 'loss_energy', 'dilution_storing'},
    ),
    (
      ('temperature((0.1, 0.2))', 'dilution((0.3, 0.6))'),
      {
        *('overlaps', 'levels', 'loss_energy'),
        *('portrait_storing_test', 'portrait_storing_theory'),
      },
    ),
  )
  def test_pictures(self, sweeps, want):
    config = _config(sweeps=sweeps, protocols=('storing',), num_neurons=100)
    result = multitasking.run(config)
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    drawn = multitasking.draw(config, result.rows, folder)
    self.assertEqual({path.stem for path in drawn}, want)
    columns, cells = result.experiment.table(result.rows)
    self.assertLen(cells, 2 ** len(sweeps))
    self.assertLen(cells[0], len(columns))

  @parameterized.parameters(
    ({'protocols': ()}, 'protocols is empty'),
    ({'protocols': ('learned',)}, "protocols='learned' is unknown"),
    (
      {'protocols': ('supervised(quality=0.0)',)},
      r'^--protocols=supervised\(quality=0.0\): quality must lie in \(0.0, 1',
    ),
    (
      {'protocols': ('unsupervised(num_examples=0)',)},
      'num_examples must be at least 1; got 0',
    ),
    ({'dilution': 1.0}, r'dilution must lie in \[0.0, 1.0\)'),
    ({'quality': 0.0}, r'quality must lie in \(0.0, 1.0\]'),
    ({'temperature': -0.1}, 'temperature must lie in'),
    ({'num_examples': 0}, 'num_examples must be at least 1'),
    ({'num_blocks': 7}, 'num_blocks=7 must divide num_neurons=1000'),
    (
      {'sweeps': ('dilution((0.5, 1.0))',)},
      r'^--sweeps=dilution\(\(0.5, 1.0\)\): .* hold no information',
    ),
    ({'sweeps': ('dilution(())',)}, 'sweep=dilution needs values'),
    (
      {'sweeps': ('dilution((0.1, 0.2))', 'dilution((0.3, 0.4))')},
      'each must vary another number',
    ),
    ({'start': 'cold'}, "start='cold' is unknown"),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


if __name__ == '__main__':
  absltest.main()
