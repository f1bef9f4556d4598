# SPDX-License-Identifier: Apache-2.0
"""The binary of the effective theory."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import effective_theory

SMALL = {
  'variants': ('relu@critical',),
  'widths': (6,),
  'depths': (3,),
  'num_rounds': 2,
  'eval_every': 1,
  'ensemble': 50,
}


def _config(**options):
  return effective_theory.Config(**{**SMALL, **options})


class EffectiveTheoryTest(parameterized.TestCase):
  def test_smoke_is_small(self):
    config = effective_theory.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual((config.ensemble, config.widths), (20, (8,)))

  def test_tangent_kernels_stand_beside_theory(self):
    config = _config(
      quantity='tangent', rates=(1.0, 0.5), seeds=(0, 3), ensemble=400
    )
    result = effective_theory.run(config)
    told = [r for r in result.rows if r['split'] == 'theory']
    self.assertEqual([r['layer'] for r in told], [1, 2, 3])
    # Known numbers of relu, in the third layer.
    want = {
      'tangent': 3.0,
      'vertex': 10.0,
      'tangent_square': 10.5,
      'tangent_product': 6.0,
      'tangent_diagonal': 15.25,
      'tangent_offdiagonal': 10.0,
      'kurtosis': 5.0,
    }
    for name, value in want.items():
      self.assertAlmostEqual(told[-1][name], value, places=6)
    ended = [r for r in result.rows if (r['split'], r['step']) == ('layers', 2)]
    self.assertLen(ended, 6)
    values = [r['tangent'] for r in ended if r['layer'] == 3]
    self.assertNotEqual(values[0], values[1])
    np.testing.assert_allclose(values, 3.0, rtol=0.15)
    columns, cells = result.experiment.table(result.rows)
    self.assertLen(cells, 1)
    self.assertLen(cells[0], len(columns))
    at = columns.index('tangent')
    self.assertAlmostEqual(cells[0][at], np.mean(values))
    self.assertAlmostEqual(cells[0][at + 1], 3.0)
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    drawn = result.experiment.plots[0](result.rows, folder)
    self.assertLen(drawn, 8)

  def test_rounds_add_up(self):
    rows = effective_theory.run(_config(ensemble=20)).rows
    once = effective_theory.run(_config(num_rounds=1, ensemble=20)).rows
    first = [r for r in rows if r['step'] == 1]
    self.assertEqual(first, [r for r in once if r['step'] == 1])

  def test_critical_networks_learn(self):
    config = _config(
      quantity='training',
      variants=('tanh@critical', 'tanh@critical(scale=0.1)'),
      widths=(32,),
      depths=(8,),
      num_rounds=60,
      eval_every=60,
      learning_rate=2.0,
    )
    result = effective_theory.run(config)
    last = {r['variant']: r for r in result.rows if r['split'] == 'test'}
    self.assertGreater(last['tanh@critical, L=8']['accuracy'], 0.6)
    self.assertLess(last['tanh@critical(scale=0.1), L=8']['accuracy'], 0.3)
    self.assertEqual(last['tanh@critical, L=8']['depth'], 8)

  @parameterized.parameters(
    ({'variants': ()}, 'variants is empty'),
    ({'variants': ('relu',)}, "variants='relu' is on nothing"),
    ({'variants': ('rellu@critical',)}, "variants='rellu' is unknown.*'relu'"),
    ({'variants': ('relu@kritical',)}, "variants='kritical' is unknown"),
    ({'widths': (4, 4)}, 'widths must differ'),
    ({'widths': (1,)}, 'widths must be at least 2; got 1'),
    ({'kernel': 0.0}, 'kernel must lie in'),
    ({'rates': (1.0,)}, 'rates must be two numbers'),
    (
      {'quantity': 'tangent', 'variants': ('relu@critical(residual=0.5)',)},
      'residual connections, for which quantity=tangent has no theory',
    ),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  @parameterized.parameters(
    ('softplus@critical', 'variants=softplus@critical: .*no critical point'),
    ('gelu@variances(2.0, 1.5)', 'kernel must exceed the variance 1.5'),
    ('relu@critical(scale=0.0)', 'scale must lie in'),
  )
  def test_impossible_starts_are_refused(self, variant, message):
    with self.assertRaisesRegex(ValueError, message):
      effective_theory.build(_config(variants=(variant,)))


if __name__ == '__main__':
  absltest.main()
