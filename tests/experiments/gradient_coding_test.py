# SPDX-License-Identifier: Apache-2.0
"""The binary of sequential gradient coding."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import gradient_coding

SMALL = {
  'schemes': ('uncoded', 'gc(1)', 'm_sgc'),
  'num_workers': 6,
  'num_rounds': 6,
  'eval_every': 3,
  'select': 'switch(2)',
  'batch_size': 40,
}


def _config(**options):
  return gradient_coding.Config(**{**SMALL, **options})


class GradientCodingTest(parameterized.TestCase):
  def test_smoke_is_small(self):
    config = gradient_coding.Config(schemes=('gc(15)', 'm_sgc')).smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual(config.num_workers, 8)
    self.assertEqual(config.schemes, ('gc(num_stragglers=3)', 'm_sgc'))
    self.assertEqual(config.select, 'probe(num_rounds=10)')

  def test_schemes_train_the_same_models_at_other_times(self):
    config = _config(seeds=(0, 3))
    rows = gradient_coding.run(config).rows
    by = lambda split, scheme, seed: [
      r
      for r in rows
      if (r['split'], r['variant'], r['seed']) == (split, scheme, seed)
    ]
    for seed in config.seeds:
      plain = by('test', 'uncoded', seed)
      self.assertEqual([r['jobs'] for r in plain], [0, 3, 6])
      for scheme in config.schemes:
        tested, (run,) = by('test', scheme, seed), by('run', scheme, seed)
        np.testing.assert_allclose(
          [r['loss'] for r in tested], [r['loss'] for r in plain], rtol=1e-6
        )
        self.assertLess(run['weights_gap'], 1e-10)
        plan = config.plan(scheme, seed)
        self.assertEqual(run['total_s'], plan.total_s)
        self.assertEqual(tested[-1]['time_s'], plan.job_done_s.max())
        self.assertEqual(tested[0]['time_s'], 0.0)
      self.assertNotEqual(
        by('run', 'm_sgc', seed)[0]['total_s'],
        by('run', 'uncoded', seed)[0]['total_s'],
      )
    columns, cells = gradient_coding.table(config, rows)
    self.assertEqual([c[0] for c in cells], list(config.schemes))
    self.assertLen(cells[0], len(columns))

  def test_trace(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    path = folder / 'trace.csv'
    times = np.ones((6, 4))
    times[2, 1] = 5.0
    np.savetxt(path, times, delimiter=',')
    with self.assertRaisesRegex(ValueError, r'--delays=file.*R >= 9'):
      _config(delays=f'file({str(path)!r})')
    config = _config(
      delays=f'file({str(path)!r}, repeat=True)',
      schemes=('uncoded', 'gc(1)'),
      load_slope=0.0,
      select='hindsight',
    )
    # Rounds 1 and 5 have a late worker.
    self.assertEqual(config.plan('uncoded', 0).total_s, 4 + 2 * 5)
    self.assertEqual(config.plan('gc(1)', 0).total_s, 4 + 2 * 2)

  @parameterized.parameters(
    ({'schemes': ()}, 'schemes is empty'),
    ({'schemes': ('gc', 'gc')}, 'schemes must differ'),
    (
      {'schemes': ('m_sgc(2, 3, 2)',), 'num_models': 3},
      r'--schemes=m_sgc\(2, 3, 2\) --num_workers=6 --num_models=3: .*T=3',
    ),
    ({'schemes': ('gc(6)',)}, 'num_stragglers must be at most 5'),
    ({'schemes': ('gc_rep(3)',)}, 'groups of 4 workers'),
    ({'schemes': ('best',)}, "schemes='best' is unknown"),
    ({'select': 'probe(0)'}, 'num_rounds must be at least 1'),
    ({'delays': 'lognormal(sigma=-1.0)'}, 'sigma must lie in'),
    ({'mu': 0.0}, 'mu must lie in'),
    ({'wait_policy': 'some'}, "wait_policy='some' is unknown"),
    ({'dataset': 'mnist'}, 'give --data_dir'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)


if __name__ == '__main__':
  absltest.main()
