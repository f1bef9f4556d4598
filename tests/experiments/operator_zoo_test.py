# SPDX-License-Identifier: Apache-2.0
"""Any network on any problem."""

import functools

import numpy as np
from absl.testing import absltest, parameterized

from experiments import operator_zoo
from jaxdl import operators
from jaxdl.experiment import operator_learning as learning

SMALL = {
  'problem': 'burgers',
  'models': ('fno', 'deeponet'),
  'resolution': 16,
  'eval_resolutions': (8, 32),
  'channels': 4,
  'num_layers': 1,
  'modes': 4,
  'hidden_size': 4,
  'num_train': 6,
  'num_test': 4,
  'batch_size': 3,
  'steps_per_round': 2,
  'num_rounds': 2,
  'eval_every': 2,
  'num_samples': 1,
}


@functools.cache
def _rows(**seeds):
  return operator_zoo.run(operator_zoo.Config(**SMALL, **seeds)).rows


class OperatorZooTest(parameterized.TestCase):
  def test_tests_networks_on_grids_on_every_grid(self):
    last = learning.last_rows(_rows(seeds=(0, 1)))
    found = {(r['variant'], r.get('resolution')) for r in last}
    self.assertEqual(
      found, {('fno', 16), ('fno', 8), ('fno', 32), ('deeponet', None)}
    )
    for row in last:
      self.assertTrue(np.isfinite(row['relative_l2']))

  def test_seeds_side_by_side_are_seeds_alone(self):
    both, alone = _rows(seeds=(0, 1)), _rows(seed=1)
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

  def test_all_grids_and_layouts_show_the_same_functions(self):
    loaded = operator_zoo.load(operator_zoo.Config(**SMALL))
    tests = loaded['grid'].tests
    fine, own = tests['32']['inputs'], tests['16']['inputs']
    np.testing.assert_array_equal(fine[:, :, :, ::2], own)
    np.testing.assert_array_equal(fine[:, :, :, ::4], tests['8']['inputs'])
    # Solved on another grid, so equal up to the solver's error.
    aligned = loaded['aligned'].tests['']
    self.assertEqual(aligned['inputs'].shape, own.shape[:-1])

  def test_energies_add_up_to_the_errors(self):
    rows = _rows(seed=1)
    energy = sum(r['energy'] for r in rows if r['variant'] == 'error of fno')
    error = next(
      r['mse']
      for r in learning.last_rows(rows)
      if r['variant'] == 'fno' and r['resolution'] == 16
    )
    np.testing.assert_allclose(energy, error, rtol=1e-4)

  def test_hard_boundaries_hold_on_every_grid(self):
    config = operator_zoo.Config(
      **{
        **SMALL,
        'problem': 'poisson',
        'models': ('cnn', 'deeponet'),
        'num_layers': 2,
        'resolution': 9,
        'eval_resolutions': (),
        'hard_boundary': True,
        'target_normalizer': 'none',
      }
    )
    lines = [
      r for r in operator_zoo.run(config).rows if r.get('kind') == 'predictions'
    ]
    field = {
      rule: np.array(
        [[r[f'v_{j}'] for j in range(9)] for r in lines if r['variant'] == rule]
      )
      for rule in config.models
    }
    for values in field.values():
      self.assertEqual(values.shape, (9, 9))
      edges = [values[0], values[-1], values[:, 0], values[:, -1]]
      self.assertEqual(np.abs(edges).max(), 0.0)
      self.assertGreater(np.abs(values).max(), 0.0)

  def test_principal_components_are_of_the_training_functions(self):
    config = operator_zoo.Config(
      **{**SMALL, 'models': ('pod_deeponet',), 'pod_modes': 5}
    )
    problem = operator_zoo.load(config)['aligned']
    basis = learning.pod_bases(problem, 5)
    targets = np.asarray(problem.train['targets'][0], np.float64)
    np.testing.assert_allclose(basis.mean[0], targets.mean(0), atol=1e-5)
    # Five components of six functions are all there is.
    self.assertAlmostEqual(float(basis.energy[0].sum()), 1.0, places=5)

  @parameterized.parameters(
    ({'modes': 6}, 'modes=6 exceed the 5 wavenumbers of a grid of 8'),
    ({'models': ()}, 'models is empty'),
    ({'models': ('fno', 'fno')}, 'must differ'),
    ({'loss': 'relative_h1_spectral'}, 'needs outputs on grids'),
    ({'input_normalizer': 'point'}, 'tied to one grid'),
    ({'problem_options': ('viscosity',)}, 'name=value'),
    ({'problem_options': ('speed=1',)}, "'speed' is no option of"),
    ({'data_path': 'x.mat'}, 'need query points'),
    ({'iterations': '1'}, 'digits|pairs|two'),
    ({'resolution': 3}, 'resolution must be at least 4'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      operator_zoo.Config(**{**SMALL, **options})

  def test_grids_that_do_not_nest_are_refused(self):
    config = operator_zoo.Config(
      **{**SMALL, 'resolution': 16, 'eval_resolutions': (24,)}
    )
    with self.assertRaisesRegex(ValueError, 'resolution must divide 24'):
      operator_zoo.load(config)

  def test_models_of_the_registry_are_offered(self):
    self.assertLessEqual(set(operator_zoo.MODELS), set(operators.MODELS))


if __name__ == '__main__':
  absltest.main()
