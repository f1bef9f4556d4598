# SPDX-License-Identifier: Apache-2.0
"""The binary of federated rank learning."""

import numpy as np
from absl.testing import absltest, parameterized

from experiments import frl

SMALL = {
  'methods': ('frl(sparse=0.5)', 'fedavg', 'fedavg@repeated_krum'),
  'num_clients': 12,
  'clients_per_round': 7,
  'num_rounds': 4,
  'eval_every': 2,
  'network': 'mlp(8, bias=False)',
  'local_epochs': 1,
  'batch_size': 16,
}


def _config(**options):
  return frl.Config(**{**SMALL, **options})


class FrlTest(parameterized.TestCase):
  def test_smoke_is_small(self):
    config = frl.Config(malicious_fraction=0.2).smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual((config.num_clients, config.clients_per_round), (12, 4))
    self.assertLen(config.methods, 2)

  def test_two_seeds_under_attack(self):
    config = _config(seeds=(0, 3), malicious_fraction=0.25, num_advisors=2)
    experiment = frl.build(config)
    rows = frl.run(config).rows
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 3 * 2 * 3)
    last = {(r['variant'], r['seed']): r for r in test if r['step'] == 4}
    # Averages blow up at once; a rule that knows of attacks does not.
    for seed in (0, 3):
      self.assertLess(last['fedavg', seed]['accuracy'], 0.2)
      self.assertGreater(last['fedavg@repeated_krum', seed]['accuracy'], 0.3)
      self.assertGreater(last['frl(sparse=0.5)', seed]['accuracy'], 0.3)
    train = [r for r in rows if r['split'] == 'train']
    counts = {(r['step'], r['seed'], r['num_malicious']) for r in train}
    self.assertLen(counts, 2 * 2)  # All methods see the same clients.
    self.assertLess(max(c for *_, c in counts), 3.5)
    # 64 x 8 edges of 9 bits, half of them sent, and 8 x 10 of 7; a model, and
    # with it how long steps are.
    sent = (256 * 9 + 40 * 7, 512 * 9 + 80 * 7, 32 * 592, 32 * 593)
    columns, cells = experiment.table(rows)
    self.assertLen(columns, len(cells[0]))
    mib = [f'{bits / 2**23:.4g}' for bits in sent]
    self.assertEqual(cells[0][2:], (mib[0], mib[1]))
    self.assertEqual(cells[1][2:], (mib[2], mib[3]))
    np.testing.assert_allclose(
      last['fedavg', 0]['upload_mib'], 4 * 32 * 592 / 2**23
    )

  def test_the_table_leaves_out_what_is_before_the_first_round(self):
    config = _config(methods=('fedavg',), seeds=(0,))
    table = frl.build(config).table
    row = lambda step, x: {
      'split': 'test', 'variant': 'fedavg', 'step': step, 'accuracy': x
    }  # fmt: skip
    found = lambda rows: table(rows)[1][0][1]
    self.assertEqual(found([row(0, 0.1), row(2, 0.5), row(4, 0.7)]), '0.6000')
    many = [row(0, 0.1), *(row(2 * t, t / 10) for t in range(1, 8))]
    self.assertEqual(found(many), '0.5000')
    self.assertEqual(found([row(0, 0.1)]), '0.1000')

  @parameterized.parameters(
    ({'methods': ()}, 'methods is empty'),
    ({'methods': ('frl', 'frl')}, 'methods must differ'),
    ({'methods': ('frl@mean',)}, "frl takes the rules borda.* got 'mean'"),
    ({'methods': ('fedavg@borda',)}, 'fedavg takes the rules mean'),
    ({'methods': ('fl',)}, "methods='fl' is unknown"),
    ({'attack': 'flip'}, "attack='flip' is unknown"),
    ({'malicious_fraction': 0.5}, 'malicious_fraction must lie|must be'),
    ({'malicious_fraction': 0.47}, 'num_malicious=6 of 12 clients are half'),
    ({'clients_per_round': 13}, 'clients_per_round=13 exceeds num_clients=12'),
    ({'local_epochs': 0}, 'local_epochs must be at least 1'),
    ({'l2': 0.1}, 'l2=0.1 has no effect'),
    ({'methods': ('frl(keep=0.0)',)}, r'keep must lie in \(0.0, 1.0\]'),
    ({'methods': ('frl(sparse=2.0)',)}, r'top_fraction must lie in \(0.0'),
    ({'methods': ('frl(mask_scores=sum)',)}, "mask_scores='sum'"),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      frl.build(_config(**options))


if __name__ == '__main__':
  absltest.main()
