# SPDX-License-Identifier: Apache-2.0
"""The DeepONet binary: layouts, sweeps, equations, files."""

import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from experiments import deeponet
from jaxdl import operators, pde, plots
from jaxdl.operators import physics

KEY = jax.random.key(0)
SMALL = {
  'models': ('deeponet((4, 3), (4, 3))',),
  'num_train': 12,
  'num_test': 7,
  # A coarse solver: its grid is factored.
  'problem': 'antiderivative(resolution=6, refinement=4)',
  'batch_size': 4,
  'num_rounds': 2,
  'steps_per_round': 2,
  'eval_every': 2,
  'eval_batch_size': 4,
  'num_samples': 1,
}
SMOOTH = {
  'models': ('deeponet((4, 3), (4, 3), activation=tanh)',),
  'loss': 'equation(num_points=5)',
  'layout': 'aligned',
}


def _config(**options):
  return deeponet.Config(**{**SMALL, **options})


class RunTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def test_networks_are_compared_and_drawn(self):
    models = (
      *SMALL['models'],
      'pod_deeponet((4,), num_modes=2)',
      'seq2seq(channels=4)',
    )
    result = deeponet.run(_config(models=models, layout='aligned'))
    last = plots.last_rows(result.rows)
    names = ['deeponet', 'pod_deeponet', 'seq2seq']
    self.assertEqual([r['variant'] for r in last], names)
    for row in last:
      self.assertTrue(np.isfinite(row['mse']))
      self.assertLessEqual(row['trimmed_mse'], row['mse'])
    columns, cells = result.experiment.table(result.rows)
    self.assertEqual(columns[1], 'parameters')
    # Branch [6, 4, 3], trunk [1, 4, 3], bias.
    self.assertEqual(cells[0][1], (6 * 4 + 4 + 15) + (8 + 15) + 1)
    (draw,) = result.experiment.plots
    paths = draw(result.rows, self.folder)
    self.assertEqual([p.name for p in paths], ['mse.png', 'functions.png'])

  def test_sweep_over_sensors(self):
    config = _config(models=('mlp((4,))',), sweep='num_sensors((4, 6))')
    result = deeponet.run(config)
    last = plots.last_rows(result.rows)
    self.assertEqual([r['num_sensors'] for r in last], [4, 6])
    self.assertEqual(
      [r['variant'] for r in last], ['mlp, 4 sensors', 'mlp, 6 sensors']
    )
    beside = [r['rmse'] for r in result.rows if r['split'] == 'interpolation']
    self.assertEqual(beside, [pde.interpolation_error(m, 0.2) for m in (4, 6)])
    (draw,) = result.experiment.plots
    paths = draw(result.rows, self.folder)
    self.assertEqual(paths[-1].name, 'sweep.png')

  def test_files_that_do_not_fit(self):
    arrays = {}
    for split, n, m in (('train', 9, 6), ('test', 5, 5)):
      arrays |= {
        f'X_{split}0': np.ones((n, m), 'float32'),
        f'X_{split}1': np.ones((n, 1), 'float32'),
        f'y_{split}': np.ones((n, 1), 'float32'),
      }
    path = str(self.folder / 'a.npz')
    np.savez(path, **arrays)
    problem = f'file({path!r}, format=deeponet_npz)'
    with self.assertRaisesRegex(
      ValueError, 'branch: .*expects 6 values per example, got 5.*resample'
    ):
      deeponet.run(_config(problem=problem))
    with self.assertRaisesRegex(ValueError, 'exceeds the 9 training functions'):
      deeponet.run(_config(problem=problem, sweep='num_train((4, 10))'))
    with self.assertRaisesRegex(ValueError, 'there is no file'):
      deeponet.run(_config(problem='file("none.npz", format=deeponet_npz)'))


class PhysicsTest(parameterized.TestCase):
  @parameterized.parameters(1, 2)
  def test_source_is_the_input_at_the_points(self, dim):
    x = jnp.linspace(0, 1, 9)
    batch = physics.draw_points(
      KEY,
      jnp.stack([x, x**2]),
      num_points=40,
      dim=dim,
      end_time=3.0,
      edges=True,
    )
    where = batch['points'][:, -1] / (3.0 if dim == 1 else 1.0)
    np.testing.assert_allclose(batch['source'][0], where, atol=1e-6)
    np.testing.assert_allclose(batch['source'][1], where**2, atol=1e-6)
    np.testing.assert_array_equal(batch['initial_points'][:, 0], 0.0)
    if dim == 2:
      sides = np.unique(np.asarray(batch['boundary_points'][:, 1]))
      np.testing.assert_array_equal(sides, [0.0, 1.0])

  @parameterized.parameters(*physics.DISTANCES)
  def test_hard_boundary_is_exact(self, problem):
    network = operators.hard_boundary(
      operators.make_model('deeponet((4, 3), (4, 3))'),
      physics.DISTANCES[problem],
    )
    two = problem == 'diffusion_reaction'
    edge = jnp.array([[0.0, 0.4], [0.7, 0.0], [0.7, 1.0]] if two else [[0.0]])
    params = network.init(KEY, jnp.ones((1, 6)), edge)
    out = network.apply(params, jnp.ones((2, 6)), edge, aligned=True)
    np.testing.assert_array_equal(out, 0.0)


class NetworkTest(parameterized.TestCase):
  def test_equals_deepxde_with_its_weights(self):
    # DeepONetCartesianProd([6, 5, 4], [1, 5, 4], 'relu', 'Glorot normal') of
    # DeepXDE 1.15 (PyTorch) with the weights below, drawn in its order.
    rng = np.random.default_rng(7)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), 'float32')
    layers = lambda *sizes: [
      {'kernel': draw(n, m).T, 'bias': draw(n)}
      for m, n in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    params = {
      'branch': layers(6, 5, 4),
      'trunk': layers(1, 5, 4),
      'bias': draw()[None],
    }
    u = draw(3, 6)
    y = jnp.asarray(rng.uniform(size=(4, 1)), 'float32')
    network = operators.make_model('deeponet((5, 4), (5, 4))')
    out = network.apply(params, u, y, aligned=True)
    want = [
      [5.7710214, 4.9351444, 5.608534, 5.660357],
      [1.4095808, 1.3462635, 1.3972725, 1.401198],
      [5.561133, 4.762434, 5.4058723, 5.4553905],
    ]
    np.testing.assert_allclose(out[..., 0], want, rtol=2e-6)

  def test_output_is_linear_in_the_branch(self):
    u, y = jnp.ones((2, 6)), jnp.linspace(0, 1, 5)[:, None]
    network = operators.make_model('deeponet((4, 3), (4, 3), activation=tanh)')
    params = network.init(KEY, u, y)
    double = params | {
      'branch': [
        params['branch'][0],
        jax.tree.map(lambda x: 2 * x, params['branch'][1]),
      ]
    }
    np.testing.assert_allclose(
      network.apply(double, u, y, aligned=True),
      2 * network.apply(params, u, y, aligned=True),
      rtol=1e-5,
    )


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'models': ('pod_deeponet',)}, 'same points: use layout=aligned'),
    ({'models': ('seq2seq',)}, 'same points: use layout=aligned'),
    ({'models': ('fno',)}, 'works on grids'),
    ({'models': ()}, 'models is empty'),
    ({'models': ('deeponet((4, 5), (4, 3))',)}, '5.*3'),
    ({'models': ('stacked_deeponet((3,), (4, 3))',)}, 'models=stacked'),
    ({'sweep': 'num_train'}, 'needs the option'),
    ({'sweep': 'num_train((4, 4))'}, 'values that differ'),
    ({'sweep': 'num_sensors((3,))'}, 'at least 4'),
    (
      {
        'sweep': 'length_scale((0.1,))',
        'problem': 'caputo_derivative(resolution=6)',
      },
      'has no length_scale',
    ),
    (
      {'sweep': 'num_sensors((5,))', 'problem': 'file("a.npz")'},
      'has no num_sensors',
    ),
    ({'loss': 'equation', 'layout': 'aligned'}, 'with relu vanish.*tanh'),
    ({**SMOOTH, 'layout': 'unaligned'}, 'needs layout=aligned'),
    ({**SMOOTH, 'problem': 'burgers(8)'}, 'knows those of'),
    (
      {**SMOOTH, 'problem': 'pendulum(6, refinement=4)'},
      'needs hard_boundary',
    ),
    ({**SMOOTH, 'target_normalizer': 'scalar'}, 'no statistics'),
    ({'hard_boundary': True, 'problem': 'burgers(8)'}, 'zero data'),
    ({'problem': 'antiderivative(length_scale=0)'}, 'length_scale must lie'),
  )
  def test_says_what_to_change(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_smoke_is_small_and_stable(self):
    config = _config(sweep='num_train((9, 5, 4))', models=('deeponet', 'mlp'))
    small = config.smoked()
    self.assertEqual(small, small.smoked())
    self.assertEqual(small.sweep, 'num_train(values=(9, 5))')


if __name__ == '__main__':
  absltest.main()
