# SPDX-License-Identifier: Apache-2.0
"""The DeepONet binary: layouts, sweeps, equations, files."""

import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from experiments import (
  _deeponet_physics as physics,
  _deeponet_pictures as pictures,
  deeponet,
)
from jaxdl.core import types
from jaxdl.experiment import operator_learning as learning

SMALL = {
  'models': ('deeponet',),
  'num_train': 12,
  'num_test': 7,
  'resolution': 6,
  'batch_size': 4,
  'branch_layers': (4, 3),
  'trunk_layers': (4, 3),
  'num_rounds': 2,
  'steps_per_round': 2,
  'eval_every': 2,
  'eval_batch_size': 4,
  'num_samples': 1,
  # A coarse solver: its grid is factored per seed and split.
  'problem_options': ('refinement=4',),
}


BURGERS = {'problem': 'burgers', 'problem_options': ()}


def _config(**options):
  return deeponet.Config(**{**SMALL, **options})


def _save(path, *, sensors=(6, 6), outputs=1, aligned=False):
  """An archive in the published layout, train and test."""
  rng = np.random.default_rng(0)
  arrays = {}
  for split, n, m in (('train', 9, sensors[0]), ('test', 5, sensors[1])):
    u = rng.normal(size=(n, m)).astype('float32')
    if aligned:
      y = np.linspace(0, 1, 8, dtype='float32')[:, None]
      s = u[:, :1, None] * np.stack([y] * outputs, -1)[None, :, 0]
      pair = np.empty(2, object)
      pair[:] = [u, y]
      arrays[f'X_{split}'] = pair
      arrays[f'y_{split}'] = s if outputs > 1 else s[..., 0]
    else:
      y = rng.uniform(size=(n, 1)).astype('float32')
      arrays |= {
        f'X_{split}0': u,
        f'X_{split}1': y,
        f'y_{split}': np.repeat(u[:, :1] * y, outputs, 1),
      }
  np.savez(path, **arrays)
  return str(path)


class RunTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def test_networks_share_functions_and_are_drawn(self):
    config = _config(
      models=('deeponet', 'pod_deeponet', 'seq2seq'),
      layout='aligned',
      pod_modes=2,
      width=4,
    )
    variants = deeponet.make_variants(config, deeponet.load(config))
    self.assertLen({id(v.problem) for v in variants.values()}, 1)
    result = deeponet.run(config)
    last = learning.last_rows(result.rows)
    self.assertEqual([r['variant'] for r in last], list(config.models))
    for row in last:
      self.assertTrue(np.isfinite(row['mse']))
      self.assertLessEqual(row['trimmed_mse'], row['mse'])
    columns, cells = result.experiment.table(result.rows)
    self.assertEqual(columns[1], 'parameters')
    # Branch [6, 4, 3], trunk [1, 4, 3], bias.
    self.assertEqual(cells[0][1], (6 * 4 + 4 + 15) + (8 + 15) + 1)
    paths = pictures.draw(config, result.rows, self.folder)
    self.assertEqual([p.name for p in paths], ['mse.png', 'functions.png'])

  def test_sweep_over_sensors(self):
    config = _config(
      models=('fnn',), sweep='num_sensors', sweep_values=(4.0, 6.0)
    )
    result = deeponet.run(config)
    last = learning.last_rows(result.rows)
    self.assertEqual([r['num_sensors'] for r in last], [4.0, 6.0])
    self.assertEqual(
      [r['variant'] for r in last], ['fnn, 4 sensors', 'fnn, 6 sensors']
    )
    beside = [r['rmse'] for r in result.rows if r['split'] == 'interpolation']
    self.assertEqual(
      beside, [pictures.interpolation_error(m, 0.2) for m in (4, 6)]
    )
    paths = pictures.draw(config, result.rows, self.folder)
    self.assertEqual(paths[-1].name, 'sweep.png')

  def test_trimmed_error_is_over_the_whole_test_set(self):
    config = _config(num_test=1203, eval_batch_size=100, queries_per_function=2)
    result = deeponet.run(config)
    row = learning.last_rows(result.rows)[0]
    test = jax.tree.map(
      lambda x: np.asarray(x[0]), deeponet.load(config)[None].tests['']
    )
    network = deeponet.make_network(config, 'deeponet')
    params = jax.tree.map(lambda x: x[0], result.state['deeponet'].params)
    flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in test.items()}
    out = network.apply(params, flat['inputs'], flat['points'])
    errors = np.float64(out - flat['targets'])[flat['mask']] ** 2
    self.assertEqual(errors.size, 2406)
    np.testing.assert_allclose(row['mse'], errors.mean(), rtol=1e-4)
    kept = np.sort(errors.ravel())[:-3]
    np.testing.assert_allclose(row['trimmed_mse'], kept.mean(), rtol=1e-4)

  def test_fewer_functions_are_the_first_ones(self):
    config = _config(
      sweep='num_train', sweep_values=(3.0, 12.0), queries_per_function=2
    )
    loaded = deeponet.load(config)
    few, many = (loaded[v].train for v in (3.0, 12.0))
    self.assertEqual(many['targets'].shape, (1, 24, 1))
    for name in few:
      np.testing.assert_array_equal(few[name], many[name][:, :6])
    self.assertIs(loaded[3.0].tests, loaded[12.0].tests)

  def test_files_in_both_layouts(self):
    unaligned = _config(data_path=_save(self.folder / 'a.npz'), num_train=7)
    problem = deeponet.load(unaligned)[None]
    self.assertEqual(problem.train['inputs'].shape, (1, 7, 6))
    row = learning.last_rows(deeponet.run(unaligned).rows)[0]
    self.assertTrue(np.isfinite(row['mse']))
    path = _save(self.folder / 'b.npz', outputs=3, aligned=True)
    config = _config(
      data_path=path,
      multi_output='split_branch',
      branch_layers=(4, 9),
      target_normalizer='channel',
    )
    problem = deeponet.load(config)[None]
    self.assertEqual(deeponet.num_outputs(problem), 3)
    row = learning.last_rows(deeponet.run(config).rows)[0]
    self.assertTrue(np.isfinite(row['relative_l2']))

  def test_files_that_do_not_fit(self):
    path = _save(self.folder / 'a.npz', sensors=(6, 5))
    with self.assertRaisesRegex(
      ValueError, 'branch: .*expects 6 values per example, got 5.*resample'
    ):
      deeponet.run(_config(data_path=path))
    path = _save(self.folder / 'b.npz', outputs=2, aligned=True)
    with self.assertRaisesRegex(ValueError, '3 features.*into 2 outputs'):
      deeponet.run(_config(data_path=path, multi_output='split_both'))
    with self.assertRaisesRegex(ValueError, 'exceed the 9 training rows'):
      deeponet.load(
        _config(data_path=path, sweep='num_train', sweep_values=(4.0, 10.0))
      )
    with self.assertRaisesRegex(ValueError, 'there is no file'):
      deeponet.run(_config(data_path=str(self.folder / 'c.npz')))


class PhysicsTest(parameterized.TestCase):
  def test_loss_vanishes_on_exact_solutions_only(self):
    config = _config(
      problem='diffusion_reaction',
      problem_options=('diffusion=0.3', 'rate=0'),
      physics=True,
      activation='tanh',
      layout='aligned',
      resolution=9,
    )
    x = jnp.linspace(0, 1, 9)
    inputs = jnp.stack([jnp.sin(jnp.pi * x), -2 * jnp.sin(jnp.pi * x)])
    rate = 0.3 * np.pi**2

    def apply(params, u, y, *, aligned):
      # s_t = D s_xx + c sin(pi x), where c is u in the middle.
      self.assertTrue(aligned)
      shape = jnp.sin(jnp.pi * y[:, 1]) * (1 - jnp.exp(-rate * y[:, 0])) / rate
      return (params * u[:, 4:5] * shape[None])[..., None]

    problem = learning.Problem(
      {'inputs': inputs[None]}, {}, jnp.zeros((1, 2)), {}
    )
    task = physics.task(config, problem, types.Network(lambda *_: 1.0, apply))
    loss = jax.jit(lambda p: task.loss(p, {'inputs': inputs}, key=_KEY))
    self.assertLess(float(loss(1.0)), 1e-9)
    self.assertGreater(float(loss(1.1)), 1e-3)

  @parameterized.parameters(1, 2)
  def test_source_is_the_input_at_the_points(self, dim):
    x = jnp.linspace(0, 1, 9)
    batch = physics.draw_points(
      _KEY,
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
    config = _config(
      problem=problem, problem_options=(), hard_boundary=True, layout='aligned'
    )
    network = deeponet.make_network(config, 'deeponet')
    two = problem == 'diffusion_reaction'
    edge = jnp.array([[0.0, 0.4], [0.7, 0.0], [0.7, 1.0]] if two else [[0.0]])
    params = network.init(_KEY, jnp.ones((1, 6)), edge)
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
    config = _config(branch_layers=(5, 4), trunk_layers=(5, 4))
    out = deeponet.make_network(config, 'deeponet').apply(
      params, u, y, aligned=True
    )
    want = [
      [5.7710214, 4.9351444, 5.608534, 5.660357],
      [1.4095808, 1.3462635, 1.3972725, 1.401198],
      [5.561133, 4.762434, 5.4058723, 5.4553905],
    ]
    np.testing.assert_allclose(out[..., 0], want, rtol=2e-6)

  def test_output_is_linear_in_the_branch(self):
    u, y = jnp.ones((2, 6)), jnp.linspace(0, 1, 5)[:, None]
    network = deeponet.make_network(_config(activation='tanh'), 'deeponet')
    params = network.init(_KEY, u, y)
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


class InterpolationTest(parameterized.TestCase):
  def test_closed_form(self):
    error = pictures.interpolation_error
    self.assertAlmostEqual(error(11, 0.2), 0.052745, places=6)
    self.assertAlmostEqual(error(101, 0.2), 5.4112e-4, places=8)
    self.assertAlmostEqual(error(101, 0.2) / error(201, 0.2), 4.0, places=2)
    # On [0, 3] with three times the spacing and scale nothing changes.
    self.assertAlmostEqual(error(11, 0.6, length=3.0), error(11, 0.2))


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'models': ('pod_deeponet',)}, 'pod_deeponet need.* use layout=aligned'),
    ({'models': ('seq2seq',)}, 'seq2seq need.* use layout=aligned'),
    ({'models': ()}, 'must name at least one'),
    ({'branch_layers': (4, 5)}, 'end in 5 but trunk_layers in 3'),
    ({'models': ('stacked_deeponet',), 'stacked_layers': (3,)}, 'end in 1'),
    ({'sweep': 'num_train'}, 'needs sweep_values that differ'),
    ({'sweep_values': (1.0,)}, 'needs sweep:'),
    ({'sweep': 'num_train', 'sweep_values': (2.5,)}, 'whole sweep_values'),
    ({'sweep': 'num_sensors', 'sweep_values': (3.0,)}, 'at least 4'),
    (
      {
        'sweep': 'length_scale',
        'sweep_values': (0.1,),
        'problem': 'caputo_derivative',
        'problem_options': (),
      },
      'has no length_scale',
    ),
    (
      {'sweep': 'num_sensors', 'sweep_values': (5.0,), 'data_path': 'a.npz'},
      'needs generated functions',
    ),
    ({'physics': True, 'layout': 'aligned'}, 'with relu vanish.*tanh'),
    ({'physics': True, 'activation': 'tanh'}, 'needs layout=aligned'),
    (
      {'physics': True, 'activation': 'tanh', **BURGERS},
      'knows the equations of',
    ),
    (
      {
        'physics': True,
        'activation': 'tanh',
        'layout': 'aligned',
        'problem': 'pendulum',
      },
      'needs hard_boundary',
    ),
    (
      {
        'physics': True,
        'activation': 'tanh',
        'layout': 'aligned',
        'target_normalizer': 'scalar',
      },
      'no statistics',
    ),
    ({'hard_boundary': True, **BURGERS}, 'zero data'),
    ({'problem_options': ('length_scale=0',)}, None),
  )
  def test_says_what_to_change(self, options, message):
    if message is None:
      with self.assertRaisesRegex(ValueError, 'length_scale must lie in'):
        deeponet.load(_config(**options))
      return
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_too_many_components(self):
    config = _config(models=('pod_deeponet',), layout='aligned', pod_modes=7)
    with self.assertRaisesRegex(ValueError, 'pod_modes=7 exceed the 6'):
      deeponet.build(config)

  def test_smoke_is_small_and_stable(self):
    config = deeponet.Config(sweep='num_train', sweep_values=(9.0, 5.0, 4.0))
    small = config.smoked()
    self.assertEqual(small, small.smoked())
    self.assertLen(small.models, 2)
    self.assertLen(small.sweep_values, 2)


_KEY = jax.random.key(0)


if __name__ == '__main__':
  absltest.main()
