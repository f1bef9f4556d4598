# SPDX-License-Identifier: Apache-2.0
"""The FedFix binary."""

import pathlib
import sys
import tempfile

import numpy as np
import processes
from absl.testing import absltest, parameterized

from experiments import fedfix
from jaxdl.federated import asynchronous

PARABOLAS = {
  'task': 'parabolas(curvatures=(1.0, 1.0), centers=(0.0, 1.0))',
  'num_clients': 2,
  'times': 'F-50',
  'num_steps': 1,
  'optimizer': 'sgd(0.5)',
}


def _test(rows, scheme, name):
  return [
    r[name] for r in rows if (r['split'], r['variant']) == ('test', scheme)
  ]


class FedFixTest(parameterized.TestCase):
  def test_hand_traces_on_one_clock(self):
    schemes = ('fedfix(0.5)', 'async', 'fedavg')
    config = fedfix.Config(
      schemes=schemes,
      horizon=2.0,
      num_rounds=4,
      outputs=(),
      **PARABOLAS | {'task': 'parabolas(centers=(0.0, 1.0), start=2.0)'},
    )
    rows = fedfix.run(config).rows
    want = {
      'fedfix(0.5)': [2, 1.75, 0.5625, 0.671875, 0.472656],
      'async': [2, 1.625, -0.109375, 0.306641, 0.4729],
      'fedavg': [2, 2, 1.25, 1.25, 0.875],
    }
    jobs = {
      'fedfix(0.5)': [0, 1, 3, 4, 6],
      'async': [0, 1, 3, 4, 6],
      'fedavg': [0, 0, 2, 2, 4],
    }
    for scheme in schemes:
      x = _test(rows, scheme, 'x')
      np.testing.assert_allclose(x, want[scheme], atol=1e-6, err_msg=scheme)
      self.assertEqual(_test(rows, scheme, 'jobs'), jobs[scheme])
      self.assertEqual(_test(rows, scheme, 'time'), [0, 0.5, 1, 1.5, 2])
    # FedAvg did nothing in the first window, and nothing is said of it.
    trained = [
      r['step']
      for r in rows
      if r['split'] == 'train' and r['variant'] == 'fedavg'
    ]
    self.assertEqual(trained, [2, 4])
    shares = [r['share'] for r in rows if r['split'] == 'clients']
    np.testing.assert_allclose(shares, 0.5)

  def test_trace_of_a_file_and_pictures(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    path = folder / 'speeds.csv'
    path.write_text('compute_time,leave\n1.0,\n0.5,1.2\n')
    config = fedfix.Config(
      schemes=('async(weights=identical)',),
      horizon=3.0,
      num_rounds=3,
      **PARABOLAS | {'times': f'trace("{path}")'},
    )
    rows = fedfix.run(config).rows
    jobs = _test(rows, config.schemes[0], 'jobs')
    # Client 1 comes at .5 and 1 and never again.
    self.assertEqual(jobs, [0, 3, 4, 5])
    columns, cells = fedfix.table(config, rows)
    self.assertEqual(len(columns), len(cells[0]))
    self.assertEqual(cells[0][:3], (config.schemes[0], '5', '5'))

  def test_models_of_the_clients(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    config = fedfix.Config(
      schemes=('fedfix(0.5)',),
      method='ditto',
      horizon=1.0,
      num_rounds=2,
      **PARABOLAS,
    )
    rows = fedfix.run(config).rows
    self.assertLen(_test(rows, 'fedfix(0.5)', 'mean_error'), 3)
    _, cells = fedfix.table(config, rows)
    self.assertLen(cells, 1)
    names = [p.name for p in fedfix.draw(config, 0.5, rows, folder)]
    self.assertEqual(names, ['error.png', 'error_over_jobs.png', 'shares.png'])

  @parameterized.parameters(
    ({'schemes': ('fedfix(0)',)}, 'fedfix needs delta_t > 0, got 0'),
    ({'schemes': ('async', 'async')}, 'schemes must differ'),
    ({'times': 'F-100'}, r'--times=F-100: .*pct_faster must lie in'),
    (
      {'horizon': 0.1},
      '--schemes=fedavg --times=F-80: horizon 0.1 ends before the first client',
    ),
    ({'num_clients': 4}, 'fedbuff needs buffer_size from 1 to num_clients = 4'),
  )
  def test_says_what_is_wrong(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      fedfix.Config(**changes)

  def test_smoke_is_small(self):
    config = fedfix.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertLessEqual(config.horizon, 4)

  def test_tail(self):
    rows = [
      {'split': 'test', 'variant': 'a', 'seed': s, 'step': t, 'x': 10 * s + t}
      for t in range(5)
      for s in (0, 1)
    ]
    got = asynchronous.tail(rows, 'a', 'x', share=0.4)
    np.testing.assert_array_equal(got, [[3, 4], [13, 14]])
    self.assertEqual(asynchronous.tail(rows, 'b', 'x').size, 0)


class KillTest(absltest.TestCase):
  def test_killed_and_resumed_writes_the_same_rows(self):
    flags = [
      *('--task=parabolas', '--num_clients=4', '--horizon=300'),
      '--schemes=fedfix(0.5),fedbuff(2, restart=immediate),async',
      *('--num_rounds=3000', '--eval_every=100', '--outputs='),
      '--checkpoint_seconds=0.1',
    ]
    with tempfile.TemporaryDirectory() as folder:
      killed, whole = processes.rows_after_a_kill(
        lambda workdir: [
          *(sys.executable, '-m', 'experiments.fedfix', *flags),
          f'--workdir={workdir}',
        ],
        folder,
      )
    self.assertEqual(killed, whole)
    self.assertGreater(whole.count(b'\n'), 3 * 31)


if __name__ == '__main__':
  absltest.main()
