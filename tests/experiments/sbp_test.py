# SPDX-License-Identifier: Apache-2.0
"""The binary of signatures and actors."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import sbp


def _rows(**options):
  config = sbp.Config(**options)
  result = sbp.run(config)
  return config, result


def _values(rows, variant, name, split='test'):
  return [
    r[name]
    for r in rows
    if (r['variant'], r['split']) == (variant, split) and name in r
  ]


class SbpTest(parameterized.TestCase):
  def test_searches_give_the_table(self):
    names = ('greedy', 'optimal', 'ranked(place=2)')
    _, result = _rows(searches=names)
    costs = [_values(result.rows, n, 'cost') for n in names]
    self.assertEqual(costs[0], [24576] * 5)
    self.assertEqual(costs[1], [3072, 24192, 24576, 24576, 24576])
    self.assertEqual(costs[2], [4992, 24576, 24576, 24960, 122880])
    self.assertEqual(_values(result.rows, 'greedy', 'over_optimal')[0], 8)
    self.assertEqual(
      _values(result.rows, 'optimal', 'signatures')[0],
      'y1 (B; S1 -> S1), y2 (S1; S0 -> P)',
    )
    # Lines of progress tell who is best by the first number.
    order = list(result.rows[0])
    self.assertLess(order.index('cost'), order.index('batch'))
    columns, cells = result.experiment.table(result.rows)
    self.assertLen(cells, 15)
    self.assertLen(cells[0], len(columns))
    # Whatever is measured how often, every batch size is.
    _, fewer = _rows(searches=names, eval_every=2)
    self.assertEqual(_values(fewer.rows, 'optimal', 'cost'), costs[1])

  def test_nothing_is_no_unit_of_cost(self):
    names = ('optimal', 'ranked(place=2)')
    _, result = _rows(
      searches=names, costs='numbers(training=False)', batches=(8,)
    )
    self.assertEqual(_values(result.rows, 'optimal', 'over_optimal'), [1.0])
    self.assertEqual(_values(result.rows, names[1], 'cost'), [768])
    self.assertEmpty(_values(result.rows, names[1], 'over_optimal'))
    columns, cells = result.experiment.table(result.rows)
    self.assertEqual(cells[1][columns.index('over_optimal')], '-')

  def test_pipelines_have_their_pace(self):
    names = ('barrier', 'chain(1)', 'chain(2)', 'chain((2, 1))', 'chain(inf)')
    _, result = _rows(task='actors', pipelines=names, seeds=(0, 1))
    found = {n: _values(result.rows, n, 'finish_s')[-1] for n in names}
    want = dict(zip(names, (60, 51, 33, 51, 33), strict=True))
    self.assertEqual(found, want)
    for name in names:
      period = _values(result.rows, name, 'period_s')
      self.assertEqual(period, _values(result.rows, name, 'predicted_s'))
    self.assertEqual(_values(result.rows, 'chain(2)', 'most_registers'), [5, 5])
    self.assertEmpty(_values(result.rows, 'chain(inf)', 'most_registers'))

  def test_jitter_differs_between_seeds_and_slows_down(self):
    _, result = _rows(
      task='actors',
      pipelines=('chain(2)',),
      taus=(1.0, 1.0),
      jitter=0.5,
      num_rounds=100,
      seeds=(0, 1),
    )
    periods = _values(result.rows, 'chain(2)', 'period_s')
    self.assertNotEqual(*periods)
    self.assertGreater(np.mean(periods), 1.05)

  def test_checks_find_no_difference(self):
    config, result = _rows(
      task='check',
      num_rounds=2,
      mesh='2x2',
      operators=('add',),
      size=4,
      seeds=(0, 1),
    )
    predicted, measured = (
      [r[n] for r in result.rows if r['split'] == 'boxing']
      for n in ('predicted', 'measured')
    )
    self.assertEqual(predicted, measured)
    self.assertGreater(sum(measured), 0)
    for variant in ('add', 'boxing'):
      self.assertLess(max(_values(result.rows, variant, 'error')), 1e-5)
    self.assertEqual(set(_values(result.rows, 'boxing', 'wrong_bytes')), {0})
    # The largest so far.
    own = _values(result.rows, 'add', 'error')
    self.assertGreaterEqual(own[-1], own[1])
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    for plot in result.experiment.plots:
      self.assertLen(plot(result.rows, folder), 2)

  @parameterized.parameters(
    ({'batches': ()}, 'batches is empty'),
    ({'searches': ('optimal', 'optimal')}, 'searches must differ'),
    ({'searches': ('best',)}, "searches='best' is unknown"),
    ({'mesh': '2y2'}, "mesh='2y2' is no mesh: write the devices"),
    ({'program': 'mlp((4,))'}, r'--program=mlp\(\(4,\)\).*has no layer'),
    (
      {'costs': 'numbers(even=True)'},
      "--batches=63: S0 splits dimension 0 of 'x', of size 63, over 4",
    ),
    ({'costs': 'numbers(wait=-1.0)'}, 'wait must lie in'),
    (
      {'searches': ('replicated',)},
      "--searches=replicated .*op 'y1' may not be replicated",
    ),
    (
      {'program': 'transformer', 'searches': ('ranked',), 'batches': (8,)},
      '--searches=ranked.*choices, more than',
    ),
    ({'task': 'check', 'size': 6}, 'size=6 must be a multiple of the 4 dev'),
    ({'task': 'check', 'operators': ('mul',)}, "operators='mul' is unknown"),
    ({'task': 'actors', 'taus': ()}, '--pipelines=barrier.*taus is empty'),
    ({'task': 'actors', 'taus': (-1.0,)}, 'taus must lie in'),
    ({'task': 'actors', 'jitter': 1e6}, 'jitter must lie in'),
    (
      {'program': 'transformer(heads=0)', 'batches': (8,)},
      'heads must be at least 1; got 0',
    ),
    (
      {'task': 'actors', 'pipelines': ('chain(0)',)},
      r"--pipelines=chain\(0\).*registers of 'a0' must be at least 1; got 0",
    ),
    (
      {'task': 'actors', 'pipelines': ('chain(2, (0, 9))',)},
      r'skip=\(0, 9\) must lead at least two actors on',
    ),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      sbp.Config(**options)

  def test_says_how_many_devices_it_needs(self):
    config = sbp.Config(task='check', mesh='4x4', size=16)
    with self.assertRaisesRegex(
      ValueError, '--mesh=4x4: .*4x4 needs 16 devices; there are 8'
    ):
      sbp.build(config)


if __name__ == '__main__':
  absltest.main()
