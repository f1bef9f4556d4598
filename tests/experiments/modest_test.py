# SPDX-License-Identifier: Apache-2.0
"""The MoDeST binary."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import modest

SMALL = {
  'methods': ('modest', 'fl'),
  'num_clients': 10,
  'sample_size': 3,
  'num_rounds': 6,
  'eval_every': 2,
  'examples_per_client': 20,
  'hidden_sizes': (8,),
}


def _config(**options):
  return modest.Config(**{**SMALL, **options})


class ModestTest(parameterized.TestCase):
  def test_smoke_is_small(self):
    config = modest.Config().smoked()
    self.assertEqual(config, config.smoked())

  def test_same_models_as_a_server_with_more_traffic(self):
    rows = modest.run(_config(seeds=(0, 3))).rows
    for seed in (0, 3):
      ours, served = (
        [
          r
          for r in rows
          if r['split'] == 'test' and r['variant'] == m and r['seed'] == seed
        ]
        for m in ('modest', 'fl')
      )
      self.assertEqual([r['loss'] for r in ours], [r['loss'] for r in served])
      self.assertGreater(ours[-1]['transfers'], served[-1]['transfers'])
      self.assertEqual(served[-1]['transfers'], 2 * 3 * 6 - 3)

  def test_trace_and_latency_files(self):
    with tempfile.TemporaryDirectory() as folder:
      trace = np.ones((4, 10), bool)
      trace[2:, :4] = False
      trace[3, 0] = True
      path = pathlib.Path(folder) / 'trace.npy'
      np.save(path, trace)
      pings = pathlib.Path(folder) / 'pings.txt'
      pings.write_text('0 30\n30 0\n')
      rows = modest.run(
        _config(
          methods=('modest',),
          churn='trace',
          trace_file=str(path),
          latency_file=str(pings),
        )
      ).rows
    last = [r for r in rows if r['split'] == 'test'][-1]
    self.assertEqual(last['num_online'], 7)
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'trace.npy'
      np.save(path, np.ones((4, 9)))
      with self.assertRaisesRegex(ValueError, r'trace must be bool\[T, 10\]'):
        modest.build(_config(churn='trace', trace_file=str(path)))

  @parameterized.parameters(
    ({'sample_size': 11}, 'sample_size=11 is more than the 10 nodes'),
    ({'num_aggregators': 4}, 'aggregators come from the sample'),
    ({'success_fraction': 0.0}, 'success_fraction must lie in'),
    ({'methods': ()}, 'methods is empty'),
    ({'methods': ('fl', 'fl')}, 'methods must differ'),
    ({'local_steps': 0}, 'both 0: give one'),
    ({'churn': 'trace'}, 'give --trace_file'),
    ({'churn': 'crash', 'churn_fraction': 1.0}, 'leaves nobody'),
    ({'min_models': 4}, 'min_models must be at most 3'),
    (
      {'methods': ('dsgd',), 'topology': 'hypercube'},
      'power of two|hypercube',
    ),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


if __name__ == '__main__':
  absltest.main()
