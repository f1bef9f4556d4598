# SPDX-License-Identifier: Apache-2.0
"""The vanishing-variance binary."""

import numpy as np
from absl.testing import absltest, parameterized

from experiments import vanishing_variance

SMALL = {
  'num_clients': 8,
  'topology': 'random_regular(degree=3)',
  'network': 'mlp((16, 16))',
  'num_rounds': 4,
  'eval_every': 2,
}


CORRECTED = 'corrected(target=self, biases=True)'


def _config(**options):
  return vanishing_variance.Config(**{**SMALL, **options})


class VanishingVarianceTest(parameterized.TestCase):
  def test_smoke_is_small(self):
    config = vanishing_variance.Config().smoked()
    self.assertEqual(config, config.smoked())

  def test_variance_is_that_of_theory_or_kept(self):
    config = _config(
      methods=('plain', 'corrected', 'initial'),
      network='mlp((128, 128))',
      num_rounds=2,
      eval_every=1,
      optimizer='sgd(0.001, momentum=0.9)',
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
    layers = [n for n in rows[0] if n.endswith('/kernel')]
    self.assertLen(layers, 3)

  def test_starts_and_seeds(self):
    config = _config(
      methods=('federated', 'common_start', 'alone', CORRECTED),
      seeds=(0, 2),
      partition='resample(alpha=0.5)',
      num_rounds=1,
      kernel_init='fan_in',
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
    ({'self_weight': 1.5}, 'self_weight must lie in'),
    ({'methods': ('corrected(eps=-1.0)',)}, 'eps must lie in'),
    ({'methods': ('initial(strength=1.5)',)}, 'strength must lie in'),
    ({'methods': ('corrected(target=best)',)}, 'target'),
    ({'methods': ('sampled(rate=1.5)',)}, 'rate'),
    ({'num_clients': 9}, 'their product must be even'),
    ({'turns': 'turns(low=3, high=2)'}, 'high=2 must be at least'),
    ({'topology': 'hypercube', 'num_clients': 6}, 'hypercube'),
    ({'topology': 'random_matching'}, 'is no fixed graph'),
    (
      {'topology': 'barabasi_albert(degree=8)', 'num_clients': 4},
      'degree=8 is too large',
    ),
    ({'kernel_init': 'zeros'}, 'kernel_init=zeros starts without a variance'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      vanishing_variance.build(_config(**options))

  def test_graphs_that_grow(self):
    config = _config(
      methods=('plain',), topology='barabasi_albert(degree=3)', num_rounds=1
    )
    rows = vanishing_variance.run(config).rows
    # One link for each newcomer.
    sent = [r['messages'] for r in rows if 'messages' in r]
    self.assertEqual(sent[-1], 2 * 7)


if __name__ == '__main__':
  absltest.main()
