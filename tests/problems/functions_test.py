# SPDX-License-Identifier: Apache-2.0
"""Functions as a problem: sets, batches, networks, errors, flows, sweeps."""

import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import scipy.io
from absl.testing import absltest, parameterized

from jaxdl import experiment, federated, local, operators, problems
from jaxdl.core import types
from jaxdl.problems import function_runs, function_runs as runs

KEY = jax.random.key(0)
# A coarse solver: its grid is factored.
LINE = 'antiderivative(resolution=6, refinement=4)'
SIZES = {'num_train': 12, 'num_test': 7, 'batch_size': 4, 'eval_batch_size': 4}


def drawn(problem=LINE, **options):
  return problems.functions(problem, **{**SIZES, **options})


def one(tree, seed=0):
  return jax.tree.map(lambda x: x[seed], tree)


def save(path, *, outputs=1, aligned=False):
  """An archive in the published layout, train and test."""
  rng = np.random.default_rng(0)
  arrays = {}
  for split, n in (('train', 9), ('test', 5)):
    u = rng.normal(size=(n, 6)).astype('float32')
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
  return f'file({str(path)!r}, format=deeponet_npz)'


class CohortTest(parameterized.TestCase):
  def test_epochs_are_partitions_and_steps_count_from_one(self):
    functions = drawn(seeds=(0, 3))
    data = one(functions.data, 1)
    batches = [
      np.asarray(functions.cohort(KEY, data, step).data['inputs'][0])
      for step in range(1, 4)
    ]
    want = np.asarray(functions.train['inputs'][1])
    rows = np.concatenate(batches)
    self.assertEqual(rows.shape, want.shape)
    np.testing.assert_array_equal(
      rows[np.lexsort(rows.T)], want[np.lexsort(want.T)]
    )
    again = functions.cohort(KEY, data, 4).data['inputs'][0]
    self.assertFalse(np.array_equal(again, batches[0]))

  def test_all_problems_share_data_and_batches(self):
    functions = drawn(layout='aligned')
    first = functions.problem('deeponet((3,), (3,))', inputs='scalar')
    other = functions.problem('mlp((3,))', loss='mse')
    self.assertIs(first.data, other.data)
    self.assertIs(first.cohort, other.cohort)

  def test_everything_is_one_batch_without_a_size(self):
    functions = drawn(batch_size=0)
    self.assertEqual(functions.steps_per_epoch, 1)
    cohort = functions.cohort(KEY, one(functions.data), 5)
    np.testing.assert_array_equal(
      cohort.data['inputs'][0], functions.train['inputs'][0]
    )


class SetsTest(parameterized.TestCase):
  def test_all_grids_show_the_same_functions(self):
    functions = drawn(
      'burgers(16, num_steps=40)', layout='grid', eval_resolutions=(8, 32)
    )
    self.assertEqual(list(functions.tests), ['16', '8', '32'])
    fine, own = (functions.tests[n]['inputs'] for n in ('32', '16'))
    np.testing.assert_array_equal(fine[:, :, :, ::2], own)
    coarse = functions.tests['8']['inputs']
    np.testing.assert_array_equal(fine[:, :, :, ::4], coarse)
    self.assertTrue(functions.periodic)
    with self.assertRaisesRegex(ValueError, 'resolution must divide 24'):
      drawn('burgers(16)', layout='grid', eval_resolutions=(24,))

  def test_fewer_functions_are_the_first_ones(self):
    many = drawn(layout='unaligned', queries_per_function=2)
    few = many.first(3)
    self.assertEqual(many.num_train, 24)
    for name, values in few.train.items():
      np.testing.assert_array_equal(values, many.train[name][:, :6])
    self.assertIs(few.tests, many.tests)
    with self.assertRaisesRegex(ValueError, 'num_train=13 exceeds the 12'):
      many.first(13)

  def test_archives_bring_their_layout(self):
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      rows = drawn(save(folder / 'a.npz'), layout='aligned')
      self.assertEqual(rows.layout, 'unaligned')
      self.assertEqual(rows.train['inputs'].shape, (1, 9, 6))
      several = drawn(
        save(folder / 'b.npz', outputs=3, aligned=True), num_train=7
      )
    self.assertEqual(several.num_outputs, 3)
    self.assertEqual(several.num_train, 7)
    problem = several.problem(
      'deeponet((4, 9), (4, 3), multi_output=split_branch)', targets='channel'
    )
    params = jax.vmap(problem.task(one(several.data)).init)(KEY[None])
    self.assertTrue(np.isfinite(problem.evaluate(params)['relative_l2'][0]))

  def test_a_stored_flow_is_periodic_and_starts_at_its_input(self):
    rng = np.random.default_rng(0)
    fields = {
      'a': rng.normal(size=(3, 8, 8)),
      'u': rng.normal(size=(3, 8, 8, 3)),
    }
    with tempfile.TemporaryDirectory() as folder:
      path = str(pathlib.Path(folder) / 'flow.mat')
      scipy.io.savemat(path, fields)
      loaded = drawn(
        f'file({path!r}, format=navier_stokes)', num_train=2, num_test=1
      )
    self.assertTrue(loaded.periodic)
    self.assertEqual(loaded.layout, 'grid')
    steps = problems.time_steps(loaded)
    self.assertEqual(steps.train['inputs'].shape, (1, 6, 8, 8, 1))
    np.testing.assert_allclose(
      steps.train['inputs'][0, :2, ..., 0], fields['a'][:2], rtol=1e-6
    )


class ProblemTest(parameterized.TestCase):
  def test_normalizers_are_those_of_each_seed(self):
    functions = drawn(layout='aligned', seeds=(0, 3))
    problem = functions.problem(
      'deeponet((3,), (3,))', inputs='scalar', targets='point'
    )
    for i in range(2):
      data = one(functions.data, i)
      u, s = (
        np.asarray(functions.train[name][i]) for name in ('inputs', 'targets')
      )
      network = problem.network_at(i)
      params = network.init(KEY, u[:1], functions.points)
      mean, std = np.mean(u), np.std(u, ddof=1) + 1e-5
      inner = operators.make_model('deeponet((3,), (3,))')
      want = inner.apply(
        params, (u - mean) / std, functions.points, aligned=True
      )
      want = np.asarray(want)[..., 0]
      want = want * (np.std(s, 0, ddof=1) + 1e-5) + np.mean(s, 0)
      got = network.apply(params, u, functions.points, aligned=True)[..., 0]
      np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
      loss = problem.task(data).loss(params, {'inputs': u, 'targets': s})
      each = np.linalg.norm(want - s, axis=1) / np.linalg.norm(s, axis=1)
      np.testing.assert_allclose(loss, each.mean(), rtol=1e-4)

  def test_principal_components_are_of_the_training_functions(self):
    functions = drawn(layout='aligned', num_train=6)
    basis = functions.basis(5)
    targets = np.asarray(functions.train['targets'][0], np.float64)
    np.testing.assert_allclose(basis.mean[0], targets.mean(0), atol=1e-5)
    # Five components of six functions are all there is.
    self.assertAlmostEqual(float(basis.energy[0].sum()), 1.0, places=5)
    problem = functions.problem('pod_deeponet((3,), num_modes=5)')
    self.assertEqual(problem.num_parameters, 6 * 3 + 3 + 3 * 5 + 5)
    with self.assertRaisesRegex(ValueError, 'num_modes=7 exceed the 6'):
      functions.problem('pod_deeponet(num_modes=7)')
    with self.assertRaisesRegex(ValueError, 'same points: use layout=aligned'):
      drawn(layout='unaligned').problem('pod_deeponet')

  def test_trimmed_error_is_over_the_whole_test_set(self):
    functions = drawn(
      layout='unaligned',
      num_test=1203,
      eval_batch_size=100,
      queries_per_function=2,
    )
    problem = functions.problem('deeponet((3,), (3,))', loss='mse', trim=0.001)
    params = jax.vmap(problem.task.init)(KEY[None])
    found = problem.evaluate(params)
    flat = {
      k: v[0].reshape(-1, *v.shape[3:]) for k, v in functions.tests[''].items()
    }
    out = problem.network.apply(
      one(params), flat['inputs'], flat['points'], aligned=False
    )
    errors = np.float64(out - flat['targets'])[flat['mask']] ** 2
    self.assertEqual(errors.size, 2406)
    np.testing.assert_allclose(found['mse'][0], errors.mean(), rtol=1e-4)
    kept = np.sort(errors.ravel())[:-3]
    np.testing.assert_allclose(found['trimmed_mse'][0], kept.mean(), rtol=1e-4)

  def test_periodic_grids_get_circular_convolutions(self):
    functions = drawn('burgers(8, num_steps=40)', layout='grid')
    network = functions.network('cnn(channels=2, num_layers=2)')
    inputs = functions.train['inputs'][0]
    params = network.init(KEY, inputs)
    shifted = network.apply(params, jnp.roll(inputs, 3, axis=1))
    np.testing.assert_allclose(
      shifted, jnp.roll(network.apply(params, inputs), 3, axis=1), atol=1e-5
    )

  def test_the_equation_is_that_of_the_problem(self):
    functions = drawn(
      'diffusion_reaction(resolution=9, diffusion=0.3, rate=0)',
      layout='aligned',
      num_train=2,
    )
    x = jnp.linspace(0, 1, 9)
    inputs = jnp.stack([jnp.sin(jnp.pi * x), -2 * jnp.sin(jnp.pi * x)])
    rate = 0.3 * np.pi**2

    def apply(params, u, y, *, aligned):
      # s_t = D s_xx + c sin(pi x), where c is u in the middle.
      shape = jnp.sin(jnp.pi * y[:, 1]) * (1 - jnp.exp(-rate * y[:, 0])) / rate
      return (params * u[:, 4:5] * shape[None])[..., None]

    exact = types.Network(lambda key, u, y: jnp.ones(()), apply)
    problem = functions.problem(exact, loss='equation(num_points=20)')
    loss = jax.jit(lambda p: problem.task.loss(p, {'inputs': inputs}, key=KEY))
    self.assertLess(float(loss(1.0)), 1e-9)
    self.assertGreater(float(loss(1.1)), 1e-3)
    with self.assertRaisesRegex(ValueError, 'needs layout=aligned'):
      drawn(layout='unaligned').problem('deeponet', loss='equation')
    with self.assertRaisesRegex(ValueError, "has 'legendre_transform'"):
      drawn('legendre_transform(resolution=6)').problem(
        'deeponet', loss='equation'
      )

  @parameterized.parameters(
    (LINE, 'fno', 'works on grids'),
    ('burgers(8)', 'deeponet', 'works at points'),
  )
  def test_models_need_their_layout(self, problem, model, message):
    layout = 'grid' if problem != LINE else 'aligned'
    with self.assertRaisesRegex(ValueError, message):
      drawn(problem, layout=layout).problem(model)

  def test_any_algorithm_takes_it(self):
    problem = drawn(layout='aligned').problem('deeponet((3,), (3,))')
    algorithm = federated.centralized_sgd(
      problem.task, optimizer=local.make_optimizer('adam(0.05)')
    )
    _, history = experiment.train(
      algorithm, problem, num_rounds=20, key=KEY, eval_every=20
    )
    first, last = history['test_relative_l2']
    self.assertLess(last, first)


class FlowTest(parameterized.TestCase):
  def trajectories(self, inputs, targets):
    """Trajectories of one seed, two batches of test functions."""
    cut = lambda x: jnp.asarray(x)[None].reshape(1, 2, -1, *x.shape[1:])
    mask = jnp.ones((1, 2, len(inputs) // 2), bool).at[0, 1, -1].set(False)
    return problems.Functions(
      spec='flow',
      layout='grid',
      train={'inputs': jnp.asarray(inputs)[None], 'targets': targets[None]},
      tests={
        '': {'inputs': cut(inputs), 'targets': cut(targets), 'mask': mask}
      },
      points=None,
      samples={'inputs': inputs, 'targets': targets, 'arguments': (inputs,)},
      periodic=True,
    )

  def test_pairs_are_successive_states(self):
    path = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype('float32')
    cut = problems.time_steps(self.trajectories(path[..., :1], path[..., 1:]))
    want = [
      (path[i, ..., t], path[i, ..., t + 1]) for t in range(2) for i in range(4)
    ]
    for name, place in (('inputs', 0), ('targets', 1)):
      np.testing.assert_array_equal(
        cut.train[name][0, ..., 0], np.stack([pair[place] for pair in want])
      )
      # The same pairs, in batches of two; the last trajectory is padding.
      np.testing.assert_array_equal(
        cut.tests[''][name].reshape(1, 8, 3, 3), cut.train[name][..., 0]
      )
    np.testing.assert_array_equal(
      cut.tests['']['mask'].reshape(2, 4), [[True, True, True, False]] * 2
    )

  def test_rollout_of_the_exact_step_has_no_error(self):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(4, 3, 3, 1)).astype('float32')
    targets = start * np.array([2.0, 4.0, 8.0], 'float32')
    given = self.trajectories(start, targets)
    double = types.Network(
      lambda key, w: jnp.zeros(()), lambda params, w: params * w
    )
    problem = problems.time_steps(given).problem(double)
    moment = experiment.Moment(
      experiment.Variant('exact', problem, None),
      None,
      jnp.full((1,), 2.0),
      7,
      True,
    )
    rows = problems.function_runs.rollout_rows(given)([moment])
    found = {(r['variant'], r['time']): r['relative_l2'] for r in rows}
    for t in (1, 2, 3):
      self.assertEqual(found['exact', t], 0.0)
      self.assertAlmostEqual(found['no change', t], 1 - 0.5**t, places=6)
    self.assertEqual({(r['step'], r['seed']) for r in rows}, {(7, 0)})


class NamesTest(parameterized.TestCase):
  def test_labels_are_as_short_as_they_can_be(self):
    models = ('fno(modes=4)', 'mgno', 'mgno@mse', 'cnn', 'cnn(channels=2)')
    self.assertEqual(
      list(function_runs.labeled(models)),
      ['fno', 'mgno', 'mgno@mse', 'cnn', 'cnn(channels=2)'],
    )
    # What comes to the same is trained once.
    self.assertLen(function_runs.labeled(('mgno', 'mgno@mse'), 'mse'), 1)

  def test_small_models_keep_what_is_small(self):
    shrink = function_runs.small_models(2, channels=4, iterations='10,20')
    models = ('mgno(channels=2)', 'fno@mse', 'cnn')
    self.assertEqual(
      shrink(models),
      ("mgno(channels=2, iterations='10,20')", 'fno(channels=4)@mse'),
    )
    self.assertEqual(shrink(shrink(models)), shrink(models))

  def test_traced_sizes_are_those_of_the_comparison(self):
    found = {
      model: runs.trace(model, 'darcy_smooth', 'grid')
      for model in (
        'mgno(channels=8, num_layers=3, iterations="10,10,10,20")',
        'mgno(channels=16, num_layers=3, iterations="40")',
        'fno(channels=12, modes=8, domain_padding=4)',
        'cnn',
      )
    }
    self.assertEqual([*found.values()], [29_067, 33_856, 149_921, 21_289])

  @parameterized.parameters(
    ('num_train', 'needs the option'),
    ('num_train(5)', 'values must be a tuple of integers; got 5'),
    ('num_train((2.5,))', 'values must be a tuple of integers'),
    ('num_train((4, 4))', 'values that differ'),
    ('num_sensors((3,))', 'at least 4'),
    ('length_scale((0.1,))', 'has no length_scale'),
  )
  def test_sweeps_that_are_none(self, sweep, message):
    with self.assertRaisesRegex((ValueError, TypeError), message):
      problems.sweeps.make_sweep(sweep, 'caputo_derivative')

  def test_sweeps_shrink(self):
    small = problems.sweeps.small_sweep('num_sensors((5, 10, 20))')
    self.assertEqual(small, 'num_sensors(values=(5, 10))')
    self.assertEqual(problems.sweeps.small_sweep(small), small)
    self.assertEqual(problems.sweeps.small_sweep('none'), 'none')


class ClientsTest(parameterized.TestCase):
  def test_clients_differ_as_asked(self):
    spread = problems.make_spread('length_scale(0.1, 0.5)', 'pendulum')
    self.assertLen(set(problems.spread_over(spread, 4, 0.0)), 1)
    np.testing.assert_allclose(
      problems.spread_over(spread, 4)[[0, -1]], [0.1, 0.5], rtol=1e-6
    )
    alone = problems.spread_over(spread, 1)
    np.testing.assert_allclose(alone, [0.05**0.5])

  @parameterized.parameters(
    ('viscosity(0.1, 0.2)', "has 'viscosity'"),
    ('length_scale(0.1)', 'two numbers'),
    ('length_scale(0.0, 0.1)', 'must lie'),
  )
  def test_spreads_that_are_none(self, spread, message):
    with self.assertRaisesRegex(ValueError, message):
      problems.make_spread(spread, 'antiderivative')

  def test_models_of_clients_are_averaged_before_they_are_tested(self):
    problem = problems.operator_clients(
      LINE,
      'deeponet((3,), (3,))',
      num_clients=2,
      functions_per_client=3,
      num_test=4,
      seeds=(0, 1),
    )
    keys = jax.random.split(KEY, 4).reshape(2, 2)
    models = jax.vmap(jax.vmap(problem.task.init))(keys)
    mean = jax.tree.map(lambda x: x.mean(1), models)
    got, want = problem.evaluate_clients(models), problem.evaluate(mean)
    np.testing.assert_allclose(
      got['relative_l2'], want['relative_l2'], rtol=1e-5
    )
    # Everybody has functions of its own.
    inputs = np.asarray(problem.data[0]['inputs']).reshape(12, -1)
    self.assertLen(np.unique(inputs, axis=0), 12)


if __name__ == '__main__':
  absltest.main()
