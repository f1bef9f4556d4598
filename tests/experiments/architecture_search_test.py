# SPDX-License-Identifier: Apache-2.0
"""The binary of architecture search."""

import functools
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import architecture_search
from jaxdl.graphs import search

SMALL = {
  'dataset': 'block_model(num_nodes=24, p_in=0.4, p_out=0.1, '
  'features=one_hot, train=2, validation=8)',
  'space': 'agnn(hidden=(2, 4), heads=(1, 2))',
  'searches': ('agnn(policy=tabular)', 'gcn(width=4)'),
  'num_layers': 1,
  'num_rounds': 4,
  'eval_every': 2,
  'child_epochs': 3,
  'finalists': 2,
  'finalist_seeds': 2,
  'final_seeds': 3,
}


def config_of(**options):
  return architecture_search.Config(**{**SMALL, **options})


@functools.cache
def rows():
  return architecture_search.run(config_of(seeds=(0, 3))).rows


class ArchitectureSearchTest(parameterized.TestCase):
  def test_everything_that_was_evaluated_is_told(self):
    own = [r for r in rows() if r['split'] == 'evaluated']
    for seed in (0, 3):
      found = [
        r
        for r in own
        if (r['variant'], r['seed']) == ('agnn(policy=tabular)', seed)
      ]
      self.assertEqual([r['number'] for r in found], [1, 2, 3, 4])
      self.assertEqual([r['round'] for r in found], [1, 2, 3, 4])
      self.assertEqual([r['step'] for r in found], [2, 2, 4, 4])
      best = np.maximum.accumulate([r['score'] for r in found])
      test = [
        r['accuracy']
        for r in rows()
        if (r['split'], r['variant'], r['seed'])
        == ('test', 'agnn(policy=tabular)', seed)
      ]
      np.testing.assert_allclose(test, [0, best[1], best[3]], rtol=1e-6)
      for row in found:
        (layer,) = search.parse_architecture(row['architecture'])
        self.assertIn(layer.heads, (1, 2))
    by_hand = [r for r in own if r['variant'] == 'gcn(width=4)']
    self.assertLen(by_hand, 2)  # One for each seed.
    self.assertIn('gcn', by_hand[0]['architecture'])

  def test_a_given_architecture_is_scored_as_the_search_did(self):
    (row,) = [
      r
      for r in rows()
      if (r['split'], r.get('number'), r['seed']) == ('evaluated', 1, 3)
      and r['variant'] == 'gcn(width=4)'
    ]
    text = row['architecture']
    found = architecture_search.run(
      config_of(
        seeds=(3,),
        searches=(f'fixed({text})',),
        num_rounds=1,
        finalists=0,
      )
    ).rows
    (again,) = [r for r in found if r['split'] == 'evaluated']
    self.assertEqual(again['score'], row['score'])
    self.assertEqual(again['test'], row['test'])

  def test_finals_table_and_pictures(self):
    finals = [r for r in rows() if r['split'] == 'final']
    self.assertLen(finals, 4)
    for row in finals:
      self.assertBetween(row['test'], 0, 1)
      self.assertGreaterEqual(row['test_std'], 0)
    config = config_of(seeds=(0, 3))
    columns, cells = architecture_search.table(config, rows())
    self.assertIn('architecture', columns)
    self.assertLen(cells, 2)
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    names = {p.name for p in architecture_search.draw(config, rows(), folder)}
    self.assertEqual(
      names,
      {'accuracy.png', 'test_accuracy.png', 'epochs.png', 'final.png'},
    )

  def test_landscapes(self):
    config = config_of(
      dataset='landscape',
      space='graphnas',
      searches=('agnn(policy=tabular)', 'random'),
      seeds=(0, 1, 2),
      num_rounds=30,
      eval_every=10,
      num_layers=2,
    )
    found = architecture_search.run(config).rows
    last = [r for r in found if (r['split'], r['step']) == ('test', 30)]
    self.assertLen(last, 6)
    for row in last:
      self.assertEqual(row['evaluations'], 30)
      self.assertBetween(row['accuracy'], 0.57, 0.83)
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    self.assertLen(architecture_search.draw(config, found, folder), 1)

  @parameterized.parameters(
    ({'searches': ()}, 'searches is empty'),
    ({'searches': ('random', 'random')}, 'searches must differ'),
    ({'searches': ('agnn(classes_per_step=7)',)}, 'must be at most 6; got 7'),
    ({'searches': ('agnn@always',)}, "searches='always' is unknown"),
    (
      {'searches': ('gcn',), 'num_layers': 2},
      r'=16 is unknown: choose one of 2, 4',
    ),
    ({'searches': ('fixed(layer+layer)',)}, 'architecture has 2 layers'),
    (
      {'searches': ('agnn@constrained(warmup_epochs=0)',)},
      'warmup_epochs must be at least 1; got 0',
    ),
    ({'space': 'agnn(heads=())'}, 'heads is empty'),
    ({'space': 'agnn(attention=gta)'}, "attention='gta' is unknown"),
    ({'num_layers': 0}, 'num_layers must be at least 1'),
    ({'num_rounds': 0}, 'num_rounds must be at least 1'),
    ({'dropout': 1.0}, 'dropout must lie in'),
    ({'dataset': 'planetoid'}, 'give --data_dir'),
    ({'data_dir': 'x'}, 'data_dir=x has no effect'),
    (
      {'dataset': 'landscape', 'searches': ('agnn@constrained',)},
      'shares weights, which dataset=landscape has not',
    ),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      config_of(**options)


if __name__ == '__main__':
  absltest.main()
