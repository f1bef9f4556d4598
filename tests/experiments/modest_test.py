# SPDX-License-Identifier: Apache-2.0
"""The MoDeST binary."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import modest

SMALL = {
  'methods': ('modest(sample_size=3)', 'fl(sample_size=3)'),
  'num_clients': 10,
  'num_rounds': 6,
  'eval_every': 2,
  'partition': 'overlapping_dirichlet(alpha=0.3, samples_per_client=20)',
  'network': 'mlp(8)',
}


def _config(**options):
  return modest.Config(**{**SMALL, **options})


class ModestTest(parameterized.TestCase):
  def test_smoke_is_small(self):
    config = modest.Config(churn='crash').smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(config.num_clients, 12)
    self.assertIn('at=2', config.churn)
    self.assertEqual(config.methods[0], 'modest(sample_size=4)')

  def test_same_models_as_a_server_with_more_traffic(self):
    config = _config(seeds=(0, 3))
    rows = modest.run(config).rows
    for seed in (0, 3):
      ours, served = (
        [
          r
          for r in rows
          if r['split'] == 'test' and r['variant'] == m and r['seed'] == seed
        ]
        for m in config.methods
      )
      self.assertEqual([r['loss'] for r in ours], [r['loss'] for r in served])
      self.assertGreater(ours[-1]['transfers'], served[-1]['transfers'])
      self.assertEqual(served[-1]['transfers'], 2 * 3 * 6 - 3)
      # Nothing has been sent before the first round.
      self.assertEqual((ours[0]['transfers'], ours[0]['time_s']), (0, 0))
    # What is sent by all nodes is what every node sends, summed.
    sent = [r for r in rows if r['split'] == 'traffic']
    self.assertLen(sent, 2 * 2 * 21)
    _, cells = modest.table(config, rows)
    self.assertEqual([c[0] for c in cells], list(config.methods))

  def test_trace_and_latency_files(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    trace = np.ones((4, 10), bool)
    trace[2:, :4] = False
    trace[3, 0] = True
    path = folder / 'trace.npy'
    np.save(path, trace)
    pings = folder / 'pings.txt'
    pings.write_text('0 30\n30 0\n')
    rows = modest.run(
      _config(
        methods=SMALL['methods'][:1],
        churn=f'trace("{path}")',
        world=f'file("{pings}")',
      )
    ).rows
    last = [r for r in rows if r['split'] == 'test'][-1]
    self.assertEqual(last['num_online'], 7)
    np.save(path, np.ones((4, 9)))
    with self.assertRaisesRegex(ValueError, r'trace must be bool\[T, 10\]'):
      _config(churn=f'trace("{path}")')

  @parameterized.parameters(
    ('modest(sample_size=11)', 'sample_size=11 is more than the 10 nodes'),
    ('modest(num_aggregators=9)', 'aggregators come from the sample'),
    ('modest(success_fraction=0.0)', 'success_fraction must lie in'),
    ('modest(sample_size=3, min_models=4)', 'min_models must be at most 3'),
    ('dsgd(topology=hypercube)', 'power of two|hypercube'),
    (
      'dsgd(topology=ring(weights=send))',
      r'topology=ring\(weights=send\) is for push-sum',
    ),
    ('best', "methods='best' is unknown"),
  )
  def test_impossible_methods_are_refused_at_once(self, method, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(methods=(method,))

  @parameterized.parameters(
    ({'methods': ()}, 'methods is empty'),
    ({'methods': ('fl', 'fl')}, 'methods must differ'),
    ({'work': 'steps(0)'}, 'num must be at least 1'),
    ({'churn': 'trace'}, 'path'),
    ({'churn': 'crash(fraction=1.0)'}, 'leaves nobody'),
    ({'churn': 'crash(at=0)'}, 'at must be at least 1'),
    ({'world': 'drawn(megabits_per_s=0)'}, 'megabits_per_s must lie in'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


if __name__ == '__main__':
  absltest.main()
