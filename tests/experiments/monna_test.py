# SPDX-License-Identifier: Apache-2.0
"""The MoNNA binary."""

import functools

import numpy as np
from absl.testing import absltest, parameterized

from experiments import monna

SMALL = {
  'methods': ('monna', 'dsgd'),
  'num_clients': 7,
  'num_byzantine': 1,
  'num_rounds': 4,
  'eval_every': 2,
  'partition': 'overlapping_dirichlet(alpha=1.0, samples_per_client=20)',
}


@functools.cache
def _rows():
  return monna.run(monna.Config(**SMALL)).rows


class MonnaTest(parameterized.TestCase):
  def test_rows_report_mean_and_worst_node(self):
    rows = _rows()
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 3 * 2)
    for row in test:
      self.assertLessEqual(row['worst_accuracy'], row['accuracy'] + 1e-6)
    train = [r for r in rows if r['split'] == 'train']
    for row in train:
      self.assertContainsSubset(('drift', 'alpha', 'lambda', 'loss'), row)

  def test_dsgd_is_not_attacked(self):
    options = {**SMALL, 'methods': ('dsgd',)}
    alone = monna.run(monna.Config(attack='none', **options)).rows
    attacked, alone = (
      [r['loss'] for r in rows if r['variant'] == 'dsgd' and 'loss' in r]
      for rows in (_rows(), alone)
    )
    self.assertLen(alone, 3 * 2 - 1)
    np.testing.assert_allclose(attacked, alone, rtol=1e-5)

  @parameterized.parameters('label_flip', 'nan')
  def test_other_attacks_run(self, attack):
    rows = monna.run(
      monna.Config(attack=attack, **{**SMALL, 'methods': ('monna',)})
    ).rows
    self.assertTrue(np.isfinite(rows[-1]['loss']))

  @parameterized.parameters(
    (
      {'num_byzantine': 3},
      'num_byzantine=3 is too many: a node waits for 4 vectors',
    ),
    ({'num_byzantine': 7}, 'leaves no honest client'),
    ({'attack': 'unknown'}, 'unknown'),
    ({'methods': ()}, 'methods is empty'),
    ({'methods': ('nna(momentum=0.9)',)}, "nna has no option 'momentum'"),
    ({'attack': 'nan(search=grid)'}, "nan has no option 'search'"),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      monna.Config(**{**SMALL, **options})

  def test_smoke(self):
    config = monna.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(config.methods, ('dsgd', 'monna'))


if __name__ == '__main__':
  absltest.main()
