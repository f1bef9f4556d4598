# SPDX-License-Identifier: Apache-2.0
"""The binary of random-feature layers."""

import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from experiments import _snnk_data as snnk_data, _snnk_models as models, snnk
from jaxdl.experiment import runner, supervised

SMALL = {
  'num_rf': (4,),
  'hidden_sizes': (8,),
  'depth': 1,
  'num_rounds': 2,
  'pretrain_rounds': 30,
  'eval_every': 1,
}


def _config(**options):
  return snnk.Config(**{**SMALL, **options})


def _by_rule(rows, step=None):
  return {
    r['variant']: r
    for r in rows
    if 'num_trained' in r and (step is None or r['step'] == step)
  }


class _Stop(runner.Sink):
  """Kills a run after a round."""

  def __init__(self, at):
    self.at = at

  def write(self, rows):
    pass

  def tick(self, round):
    if round == self.at:
      raise KeyboardInterrupt


class KernelTest(parameterized.TestCase):
  def test_errors_are_as_derived_and_orthogonal_ones_smaller(self):
    config = snnk.Config(
      task='kernel', num_rf=(8, 32), dimension=8, num_draws=1500
    )
    rows = snnk.run(config).rows
    self.assertLen(rows, 2 * 8)
    at = {(r['variant'], r['num_rf']): r for r in rows}
    for m in (8, 32):
      for split in ('S1', 'S2', 'S3'):
        row = at[split, m]
        self.assertLess(abs(row['rmse'] / row['predicted'] - 1), 0.1)
      for rule in ('S1', 'S2', 'positive'):
        better = at[f'{rule}, orthogonal', m]
        self.assertLess(better['rmse'], 0.97 * at[rule, m]['rmse'])
    # Unbiased, with orthogonal projections too.
    for row in rows:
      self.assertLess(abs(row['bias_z']), 4.5)
    columns, cells = snnk.build(config).table(rows)
    self.assertEqual(columns[1:], ['m = 8', 'm = 32', 'slope'])
    for line in cells:
      self.assertLess(abs(line[-1] + 0.5), 0.1)

  def test_splits_without_variance_are_left_out(self):
    config = snnk.Config(task='kernel', kind='sech', num_rf=(4,), num_draws=50)
    rules = {r['variant'] for r in snnk.run(config).rows}
    self.assertEqual(
      rules, {'S3', 'S3, orthogonal', 'positive', 'positive, orthogonal'}
    )

  def test_resumed_equals_uninterrupted(self):
    config = snnk.Config(
      task='kernel', kind='relu', num_rf=(2, 3), num_draws=20
    )
    whole = snnk.run(config).rows
    self.assertEqual(_interrupted(config, 1).rows, whole)


def _interrupted(config, at):
  """Runs a configuration, killed after a round, to its end."""
  with tempfile.TemporaryDirectory() as folder:
    store = lambda: runner.Store(folder, seconds=0)
    log = lambda: runner.Jsonl(pathlib.Path(folder) / 'metrics.jsonl')
    try:
      snnk.run(config, sinks=[log(), _Stop(at)], store=store())
    except KeyboardInterrupt:
      return snnk.run(config, sinks=[log()], store=store())
  raise AssertionError('the run was not interrupted')


class BundledTest(parameterized.TestCase):
  def test_closed_form_equals_refits_in_float64(self):
    config = _config(
      dataset='wine', num_rf=(6,), ridge=0.05, num_rounds=0, seeds=(3,)
    )
    row = _by_rule(snnk.run(config).rows)['closed form, depth 1, m=6']
    self.assertEqual(row['num_trained'], 3 * 6)
    simulation = snnk_data.simulate(config)
    key = jax.random.fold_in(
      jax.random.fold_in(supervised.seed_keys((3,))[0], 1), 6
    )
    g = np.float64(config.features.draw_layers(key, 13, 6, 1)[0])

    def lift(x):
      x = np.float64(x).reshape(-1, 13)
      x = np.concatenate([x, np.ones_like(x[:, :1])], 1)
      return np.maximum(x @ g.T, 0) / 6**0.5

    def fit(h, y):
      return np.linalg.solve(h.T @ h + 0.05 * np.eye(6), h.T @ y)

    def loss(outputs, labels):
      shifted = outputs - outputs.max(1, keepdims=True)
      log = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
      return -log[np.arange(len(labels)), labels].mean()

    train = {k: v[0, 0] for k, v in simulation.client_data.items()}
    h, labels = lift(train['inputs']), np.asarray(train['labels'])
    y = np.eye(3)[labels]
    real = np.asarray(simulation.test['mask']).reshape(-1)
    tested = lift(simulation.test['inputs'])[real] @ fit(h, y)
    wanted = np.asarray(simulation.test['labels']).reshape(-1)[real]
    self.assertAlmostEqual(
      row['accuracy'], (tested.argmax(1) == wanted).mean(), places=6
    )
    mse = np.square(tested - np.eye(3)[wanted]).mean()
    self.assertAlmostEqual(row['mse'], mse, places=5)
    # The factor of the outputs is the best for examples that are left out.
    n = len(labels)
    out = np.stack(
      [h[i] @ fit(np.delete(h, i, 0), np.delete(y, i, 0)) for i in range(n)]
    )
    scales = np.geomspace(0.5, 200.0, 48)
    best = scales[np.argmin([loss(s * out, labels) for s in scales])]
    self.assertAlmostEqual(row['loss'], loss(best * tested, wanted), places=4)

  def test_clients_fit_the_pooled_optimum(self):
    options = {'dataset': 'wine', 'num_rounds': 0, 'ridge': 0.1}
    rule = 'closed form, depth 1, m=4'
    alone = _by_rule(snnk.run(_config(**options)).rows)[rule]
    apart = _by_rule(
      snnk.run(
        _config(
          num_clients=5, partition='label_dirichlet', alpha=0.2, **options
        )
      ).rows
    )[rule]
    self.assertEqual(alone['accuracy'], apart['accuracy'])
    np.testing.assert_allclose(alone['mse'], apart['mse'], rtol=1e-5)

  def test_regression_explains_what_least_squares_does(self):
    config = _config(dataset='diabetes', ridge=1e-3)
    rows = snnk.run(config).rows
    row = _by_rule(rows)['linear']
    simulation = snnk_data.simulate(config)
    add = lambda x: np.concatenate([x, np.ones((*x.shape[:-1], 1))], -1)
    x = add(np.float64(simulation.client_data['inputs'][0, 0]))
    y = np.float64(simulation.client_data['labels'][0, 0])
    w = np.linalg.solve(x.T @ x + 1e-3 * np.eye(11), x.T @ y)
    real = np.asarray(simulation.test['mask'])
    labels = np.float64(simulation.test['labels'])[real]
    errors = labels - (add(np.float64(simulation.test['inputs'])) @ w)[real]
    want = 1 - np.square(errors).mean() / labels.var()
    self.assertGreater(want, 0.3)
    self.assertAlmostEqual(row['r2'], want, places=4)
    self.assertIn('r2', _by_rule(rows)['MLP'])
    with tempfile.TemporaryDirectory() as folder:
      drawn = snnk.draw(config, rows, pathlib.Path(folder))
      self.assertEqual({p.stem for p in drawn}, {'r2', 'loss', 'rounds'})

  def test_training_leaves_features_alone(self):
    config = _config(
      dataset='wine', depth=2, bundle_depth=1, num_rounds=2, eval_every=2
    )
    whole = snnk.run(config)
    label = '1 of 2 layers bundled, m=4'
    start = snnk.build(config).init()[label].params
    end = whole.state[label].params
    jax.tree.map(np.testing.assert_array_equal, start['frozen'], end['frozen'])
    moved = jax.tree.map(
      lambda a, b: float(jnp.abs(a - b).max()), start['trained'], end['trained']
    )
    self.assertGreater(min(jax.tree.leaves(moved)), 1e-4)
    self.assertEqual(
      _by_rule(whole.rows)[label]['num_trained'], 4 * 8 + 9 * 8 + 27
    )

  def test_overflow_is_said(self):
    config = _config(
      dataset='wine', kind='cos', split='s1', input_length=60.0, num_rounds=0
    )
    with self.assertRaisesRegex(ValueError, 'lower --input_length'):
      snnk.run(config)


class ComparisonTest(parameterized.TestCase):
  def test_sizes_are_equal_from_scratch(self):
    config = _config(task='scratch', num_rf=(4, 30), hidden_sizes=(16,))
    simulation = snnk_data.simulate(config)
    variants = snnk.variants_lib.scratch(config, simulation)
    count = {
      name: models.num_trained(v.network, 64) for name, v in variants.items()
    }
    self.assertEqual(count['dense'], 65 * 16 + 170)
    for m, rank, width in ((4, 1, 22), (30, 6, 64)):
      self.assertEqual(count[f'SNNK, m={m}'], 16 * m + 170)
      self.assertEqual(count[f'low rank {rank}'], 80 * rank + 16 + 170)
      fourier = f'{width} random Fourier features'
      self.assertEqual(count[fourier], 10 * (width + 1))
      target = count[f'SNNK, m={m}']
      self.assertLessEqual(abs(count[f'low rank {rank}'] - target), 40)
      self.assertLessEqual(abs(count[fourier] - target), 5)

  def test_adapters_start_as_the_network_they_adapt(self):
    config = _config(task='adapter', transfer='both', num_rounds=1)
    rows = snnk.run(config).rows
    first, last = (_by_rule(rows, step) for step in (0, 1))
    self.assertLen(first, 6)
    losses = [r['loss'] for r in first.values()]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    for rule in first:
      self.assertNotEqual(first[rule]['loss'], last[rule]['loss'])

  def test_moved_images(self):
    x = np.arange(4.0)[None]
    moved = lambda how: snnk_data._moved(x, how, (0.0, 16.0)).tolist()
    self.assertEqual(moved('rotate'), [[1.0, 3.0, 0.0, 2.0]])
    self.assertEqual(moved('invert'), [[16.0, 15.0, 14.0, 13.0]])
    self.assertEqual(moved('both'), [[15.0, 13.0, 16.0, 14.0]])
    with self.assertRaisesRegex(ValueError, 'choose transfer=invert'):
      snnk_data._moved(np.ones((1, 13)), 'rotate', (0.0, 1.0))

  def test_converted_layers_estimate_the_trained_ones(self):
    # Shorter inputs, so that the estimate has a small variance.
    config = _config(
      task='uptrain',
      kind='sin',
      input_length=1.0,
      num_rf=(4000,),
      num_rounds=0,
      learning_rate=0.01,
    )
    found = _by_rule(snnk.run(config).rows)
    whole = found['unchanged']['loss']
    self.assertLess(whole, 1.5)
    self.assertLess(abs(found['SNNK, m=4000']['loss'] - whole), 0.1)
    self.assertGreater(found['SNNK, drawn afresh, m=4000']['loss'], whole + 0.3)
    # A rank above that of the matrix changes nothing.
    (low,) = (r for r in found.values() if r['family'] == 'low rank')
    self.assertGreater(low['size'], 8)
    self.assertAlmostEqual(low['loss'], whole, places=4)


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'num_rf': (0,)}, 'num_rf must be at least 1'),
    ({'num_rf': (4, 4)}, 'num_rf must differ'),
    ({'gerf_a': -0.25}, r'gerf_a must lie in \(-0.25'),
    ({'kind': 'tanh'}, 'kind='),
    ({'kind': 'sech'}, "use split='s3'"),
    ({'kind': 'sech', 'split': 's2'}, "use split='s3'"),
    ({'ridge': -1.0}, 'ridge must'),
    ({'depth': 2, 'bundle_depth': 3}, 'bundle_depth=3 must be at most depth=2'),
    ({'uptrain_layers': (1,)}, 'uptrain_layers'),
    ({'dataset': 'diabetes', 'partition': 'shards'}, 'use partition=iid'),
    ({'dataset': 'mnist'}, '--data_dir'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_singular_systems_are_refused_before_compilation(self):
    config = _config(dataset='wine', num_rf=(200,), ridge=0.0)
    with self.assertRaisesRegex(ValueError, 'n=133 examples of 200 features'):
      snnk.build(config)

  @parameterized.parameters(*snnk.SIZES)
  def test_smoke_is_small(self, task):
    config = snnk.Config(task=task).smoked()
    self.assertEqual(config, config.smoked())
    self.assertLen(config.sizes, 2)


if __name__ == '__main__':
  absltest.main()
