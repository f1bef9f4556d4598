# SPDX-License-Identifier: Apache-2.0
"""The vanishing-variance binary."""

import numpy as np
from absl.testing import absltest, parameterized

from experiments import vanishing_variance

SMALL = {
  'num_clients': 8,
  'degree': 3,
  'hidden_sizes': (16, 16),
  'num_rounds': 4,
  'eval_every': 2,
}


def _config(**options):
  return vanishing_variance.Config(**{**SMALL, **options})


class VanishingVarianceTest(parameterized.TestCase):
  def test_smoke_is_small(self):
    config = vanishing_variance.Config().smoked()
    self.assertEqual(config, config.smoked())

  def test_variance_is_that_of_theory_or_kept(self):
    config = _config(
      methods=('plain', 'corrected', 'initial'),
      hidden_sizes=(128, 128),
      num_rounds=2,
      eval_every=1,
      learning_rate=0.001,
    )
    rows = [
      r for r in vanishing_variance.run(config).rows if r['split'] == 'variance'
    ]
    ratio = {(r['variant'], r['step']): r['ratio'] for r in rows}
    # One tick of degree 3 and beta 1/2: 1/4 + 1/12.
    self.assertAlmostEqual(ratio['theory', 1], 1 / 3, places=6)
    for t in (0, 1, 2):
      np.testing.assert_allclose(
        ratio['plain', t], ratio['theory', t], rtol=0.03
      )
      np.testing.assert_allclose(ratio['corrected', t], 1.0, rtol=0.03)
      if t:
        np.testing.assert_allclose(ratio['initial', t], 1.0, rtol=1e-4)
    layers = [n for n in rows[0] if n.startswith('params/')]
    self.assertLen(layers, 3)

  def test_starts_and_seeds(self):
    config = _config(
      methods=('federated', 'common_start', 'alone', 'corrected_self'),
      seeds=(0, 2),
      alpha=0.5,
      num_rounds=1,
      correct_biases=True,
      kernel_start='fan_in',
    )
    rows = vanishing_variance.run(config).rows
    first = {
      (r['variant'], r['seed']): r['consensus']
      for r in rows
      if r['split'] == 'test' and r['step'] == 0
    }
    for seed in (0, 2):
      self.assertLess(first['federated', seed], 1e-9)
      self.assertLess(first['common_start', seed], 1e-9)
      self.assertGreater(first['alone', seed], 1.0)
    last = {
      r['variant']: r['consensus']
      for r in rows
      if r['split'] == 'test' and r['step'] == 1
    }
    self.assertLess(last['federated'], 1e-9)

  @parameterized.parameters(
    ({'methods': ()}, 'methods is empty'),
    ({'methods': ('plain', 'plain')}, 'methods must differ'),
    ({'methods': ('best',)}, "methods='best' is unknown"),
    ({'beta': 1.5}, 'beta must lie in'),
    ({'vc_eps': -1.0}, 'vc_eps must lie in'),
    ({'num_clients': 9, 'degree': 3}, 'their product must be even'),
    ({'turn_low': 3, 'turn_high': 2}, 'turn_high=2 must be at least'),
    ({'topology': 'hypercube', 'num_clients': 6}, 'hypercube'),
    (
      {'topology': 'barabasi_albert', 'num_clients': 4, 'degree': 8},
      'degree=8 is too large',
    ),
    (
      {'data_sampling': 'partition', 'partition': 'label_dirichlet'},
      'alpha=inf has no meaning',
    ),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


if __name__ == '__main__':
  absltest.main()
