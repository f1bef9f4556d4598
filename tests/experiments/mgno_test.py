# SPDX-License-Identifier: Apache-2.0
"""The binary of multigrid neural operators."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from experiments import mgno
from experiments.papers import mgno as claims
from jaxdl import plots

MODEL = 'mgno(channels=2, num_layers=1, iterations="10,20")'
TINY = {
  'problem': 'poisson(resolution=8)',
  'models': (MODEL,),
  'num_train': 8,
  'num_test': 4,
  'batch_size': 4,
  'num_rounds': 2,
  'num_samples': 1,
}


class RunTest(parameterized.TestCase):
  def test_levels_are_added_one_by_one_and_drawn(self):
    linear = MODEL[:-1] + ', activation=identity)'
    config = mgno.Config(**TINY | {'models': (linear,)}, sweep='levels')
    result = mgno.run(config)
    last = plots.last_rows(result.rows)
    self.assertEqual([r['variant'] for r in last], ['1 level', '2 levels'])
    self.assertEqual([r['levels'] for r in last], [1, 2])
    # 9 c cf (N_S + N_A) + (J - 1) (9 c c + 9 cf cf + 16 c c) and, for 1x1
    # maps with c = 2, cf = 1: skip with bias, head.
    for row, steps, transfers in zip(last, (2, 3), (0, 1), strict=True):
      want = 18 * (2 * steps - 1) + transfers * (36 + 9 + 64) + 2 + 2 + 2
      self.assertEqual(row['parameters'], want)
    for row in last:
      for name in ('relative_l2', mgno.H1, 'loss'):
        self.assertTrue(np.isfinite(row[name]))
    with tempfile.TemporaryDirectory() as folder:
      (draw,) = result.experiment.plots
      paths = draw(result.rows, pathlib.Path(folder))
      self.assertEqual(
        {p.stem for p in paths},
        {'relative_l2', mgno.H1, 'functions', 'levels', 'spectrum'},
      )

  def test_an_epoch_passes_over_the_functions_once(self):
    experiment = mgno.build(mgno.Config(**TINY))
    # Two steps per round.
    (draw,) = experiment.plots
    self.assertEqual(draw.args[0].steps_per_round, 2)

  def test_a_flow_is_rolled_out(self):
    config = mgno.Config(
      **TINY
      | {
        'problem': 'navier_stokes(8, num_times=2, end_time=0.2)',
        'models': (
          'mgno_navier_stokes(channels=2, num_layers=1, iterations="11,11")',
          'cnn(channels=2, num_layers=2)',
        ),
        'num_train': 2,
        'num_test': 1,
        'num_rounds': 1,
      }
    )
    rows = mgno.run(config).rows
    found = {(r['variant'], r['time']) for r in rows if r['split'] == 'rollout'}
    names = ('mgno_navier_stokes', 'cnn', 'no change')
    self.assertEqual(found, {(name, t) for name in names for t in (1, 2)})

  def test_the_same_network_and_loss_is_trained_once(self):
    config = mgno.Config(loss='relative_l2')
    self.assertEqual(list(config.plan()), ['mgno', 'fno'])

  def test_published_size_is_a_claim(self):
    held, figure = claims.parameter_count(())
    self.assertTrue(held, figure)

  def test_smoke(self):
    config = mgno.Config().smoked()
    self.assertEqual(config, config.smoked())

  @parameterized.parameters(
    ({'models': ()}, 'models is empty'),
    ({'models': (MODEL, MODEL)}, 'models must differ'),
    ({'models': ('gno',)}, "has 'gno'|'gno' is unknown"),
    ({'models': ('mgno@l3',)}, "'l3'"),
    ({'models': ('mgno(iterations="")',)}, 'iterations is empty'),
    ({'models': ('mgno(size=3)',)}, "no option 'size'"),
    ({'models': ('deeponet',)}, 'at points'),
    ({'models': ('mgno(iterations="10,101")',)}, 'two digits per level'),
    ({'models': ('mgno(iterations="01,20")',)}, 'no pre-smoothing'),
    (
      {
        'problem': 'poisson(resolution=4)',
        'models': ('mgno(iterations="10,10,10,10,20")',),
      },
      '4x4 cannot be coarsened 4 times',
    ),
    ({'eval_resolutions': (9,)}, 'odd and even sizes differ'),
    (
      {
        'problem': 'poisson(resolution=4)',
        'models': ('mgno(iterations="10,10,10", padding=reflect)',),
      },
      'reflect padding by 1 needs at least 2 cells',
    ),
    (
      {
        'models': ('mgno_navier_stokes(iterations="11,11")',),
        'eval_resolutions': (16,),
      },
      'tied to one resolution',
    ),
    (
      {'input_normalizer': 'point', 'eval_resolutions': (16,)},
      'tied to one grid',
    ),
    (
      {'problem': 'file("a.mat")', 'eval_resolutions': (16,)},
      'needs functions that are solved',
    ),
  )
  def test_says_what_to_change(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      mgno.Config(**{**TINY, **options})


if __name__ == '__main__':
  absltest.main()
