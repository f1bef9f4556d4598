# SPDX-License-Identifier: Apache-2.0
"""The binary of link prediction."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import link_prediction

SMALL = {
  'variants': ('aa', 'ncn', 'ncn@alone'),
  'dataset': 'karate(features=degree)',
  'encoder': 'mpnn(4)',
  'num_rounds': 2,
  'eval_every': 1,
  'batch_size': 18,
  'hits': 5,
  'parts': 'communities(3)',
}


def _config(**options):
  return link_prediction.Config(**{**SMALL, **options})


class LinkPredictionTest(parameterized.TestCase):
  def test_seeds_are_apart_and_figures_are_told(self):
    config = _config(seeds=(0, 3))
    rows = link_prediction.run(config).rows
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 3 * 2 * 3)
    alone = link_prediction.run(_config(seeds=(3,), variants=('ncn',))).rows
    for row in alone:
      (twin,) = [
        r
        for r in rows
        if all(r[k] == row[k] for k in ('split', 'variant', 'seed', 'step'))
      ]
      for name, value in row.items():
        if isinstance(value, float):
          np.testing.assert_allclose(twin[name], value, atol=1e-4, err_msg=name)
    fixed = {(r['seed'], r['auc']) for r in test if r['variant'] == 'aa'}
    self.assertLen(fixed, 2)
    self.assertEqual({r['parameters'] for r in rows if r['variant'] == 'aa'},
                     {0})  # fmt: skip
    best = link_prediction.selected(rows, 'auc')
    self.assertLen(best, 3 * 2)
    for row in best:
      same = [
        r
        for r in test
        if (r['variant'], r['seed']) == (row['variant'], row['seed'])
      ]
      values = [r['validation_auc'] for r in same]
      self.assertEqual(row['step'], same[int(np.argmax(values))]['step'])
    heads, lines = link_prediction.table(config, rows)
    self.assertEqual(
      heads, ['variant', 'parameters', 'epoch', 'hits@5', 'auc', 'worst_auc']
    )
    self.assertLen(lines, 3)
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    names = {p.name for p in link_prediction.draw(config, rows, folder)}
    self.assertEqual(names, {'hits.png', 'auc.png'})

  def test_a_small_run_learns(self):
    small = link_prediction.Config().smoked()
    self.assertEqual(small.variants, ('cn', 'gae_cn', 'ncn'))
    self.assertEqual((small.dataset, small.hits), ('karate', 5))
    self.assertEqual(small.smoked(), small)

  def test_without_a_validation_the_last_epoch_is_told(self):
    row = {'split': 'test', 'variant': 'ncn', 'seed': 0, 'validation_hits': 0.0}
    rows = [row | {'step': t, 'validation_auc': np.nan} for t in range(3)]
    (best,) = link_prediction.selected(rows)
    self.assertEqual(best['step'], 2)
    rows[1] |= {'validation_auc': 0.7, 'validation_hits': 0.3}
    (best,) = link_prediction.selected(rows)  # What broke does not count.
    self.assertEqual(best['step'], 1)

  @parameterized.parameters(
    ({'variants': ()}, 'variants is empty'),
    ({'variants': ('ncn', 'ncn')}, 'variants must differ'),
    ({'variants': ('nnc',)}, "variants='nnc' is unknown"),
    ({'variants': ('ncnc(prior=0)',)}, r"^variants='ncnc\(prior=0\)': prior"),
    ({'variants': ('ncnc(prior=0)',)}, r'prior must lie in \(0, 1\]'),
    ({'variants': ('ncnc(scale=0)',)}, r'scale must lie in \(0, inf\)'),
    ({'variants': ('ncnc(-1)',)}, 'depth must be at least 0'),
    ({'variants': ('aa@gossip_sgd',)}, 'aa learns nothing'),
    ({'variants': ('ncn@gossip',)}, "'gossip' is unknown|has 'gossip'"),
    ({'encoder': 'mpnn(conv=cheb)'}, "conv='cheb' is unknown"),
    ({'encoder': 'gcn'}, "needs the option 'num_outputs'"),
    ({'dataset': 'planetoid'}, 'give --data_dir'),
    ({'data_dir': 'x'}, 'data_dir=x has no effect'),
    ({'keep_edges': 0.0}, r'keep_edges must lie in \(0'),
    ({'validation': 1.0}, r'validation must lie in \[0'),
    ({'metric': 'accuracy'}, 'metric'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  @parameterized.parameters(
    ({'batch_size': 60}, 'batch_size=60 is more than there are'),
    ({'variants': ('ncn@asynchronous_gossip',)}, 'use one with a mixer'),
    ({'metric': 'mrr'}, 'metric=mrr is not measured on karate'),
    ({'parts': 'communities(99)'}, 'num_parts must be at most 34'),
  )
  def test_what_the_graph_rules_out_is_refused_before_training(
    self, options, message
  ):
    with self.assertRaisesRegex(ValueError, message):
      link_prediction.build(_config(**options))


if __name__ == '__main__':
  absltest.main()
