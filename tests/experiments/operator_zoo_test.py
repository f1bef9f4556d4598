# SPDX-License-Identifier: Apache-2.0
"""Any network on any problem."""

import functools

import numpy as np
from absl.testing import absltest, parameterized

from experiments import operator_zoo
from jaxdl import plots

FNO = 'fno(channels=4, num_layers=1, modes=4)'
DEEPONET = 'deeponet((4, 4), (4, 4), activation=gelu)'
SMALL = {
  'problem': 'burgers(resolution=16)',
  'models': (FNO, DEEPONET),
  'eval_resolutions': (8, 32),
  'num_train': 6,
  'num_test': 4,
  'batch_size': 3,
  'steps_per_round': 2,
  'num_rounds': 2,
  'eval_every': 2,
  'num_samples': 1,
}


@functools.cache
def _rows(seeds):
  return operator_zoo.run(operator_zoo.Config(**SMALL, seeds=seeds)).rows


class OperatorZooTest(parameterized.TestCase):
  def test_tests_networks_on_grids_on_every_grid(self):
    last = plots.last_rows(_rows((0, 1)))
    found = {(r['variant'], r.get('resolution')) for r in last}
    self.assertEqual(
      found, {('fno', 16), ('fno', 8), ('fno', 32), ('deeponet', None)}
    )
    for row in last:
      self.assertTrue(np.isfinite(row['relative_l2']))

  def test_seeds_side_by_side_are_seeds_alone(self):
    both, alone = _rows((0, 1)), _rows((1,))
    pick = lambda rows: [
      row
      for row in rows
      if row['seed'] == 1 and row['split'] in ('test', 'train', 'steps')
    ]
    self.assertLen(pick(both), len(pick(alone)))
    for got, want in zip(pick(both), pick(alone), strict=True):
      for name, value in want.items():
        if isinstance(value, float):
          np.testing.assert_allclose(got[name], value, rtol=2e-4, atol=1e-6)

  def test_energies_add_up_to_the_errors(self):
    rows = _rows((1,))
    energy = sum(r['energy'] for r in rows if r['variant'] == 'error of fno')
    error = next(
      r['mse']
      for r in plots.last_rows(rows)
      if r['variant'] == 'fno' and r['resolution'] == 16
    )
    np.testing.assert_allclose(energy, error, rtol=1e-4)

  def test_hard_boundaries_hold_on_every_grid(self):
    config = operator_zoo.Config(
      **{
        **SMALL,
        'problem': 'poisson(resolution=9)',
        'models': ('cnn(channels=4, num_layers=2)', DEEPONET),
        'eval_resolutions': (),
        'hard_boundary': True,
        'target_normalizer': 'none',
      }
    )
    lines = [
      r for r in operator_zoo.run(config).rows if r.get('kind') == 'predictions'
    ]
    for name in ('cnn', 'deeponet'):
      values = np.array(
        [[r[f'v_{j}'] for j in range(9)] for r in lines if r['variant'] == name]
      )
      self.assertEqual(values.shape, (9, 9))
      edges = [values[0], values[-1], values[:, 0], values[:, -1]]
      self.assertEqual(np.abs(edges).max(), 0.0)
      self.assertGreater(np.abs(values).max(), 0.0)

  @parameterized.parameters(
    ({'models': ('fno(channels=4, modes=6)',)}, 'modes'),
    ({'models': ()}, 'models is empty'),
    ({'models': (FNO, FNO)}, 'must differ'),
    ({'loss': 'relative_h1_spectral'}, 'needs outputs on grids'),
    ({'input_normalizer': 'point'}, 'tied to one grid'),
    ({'problem': 'burgers(speed=1)'}, "no option 'speed'"),
    (
      {'problem': 'file("x.mat")', 'models': (FNO,)},
      'needs functions that are solved',
    ),
    ({'problem': 'burgers(resolution=3)'}, 'resolution must be at least 4'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      operator_zoo.Config(**{**SMALL, **options})


if __name__ == '__main__':
  absltest.main()
