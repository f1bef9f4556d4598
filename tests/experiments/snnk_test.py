# SPDX-License-Identifier: Apache-2.0
"""The binary of random-feature layers."""

import pathlib
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from experiments import snnk
from jaxdl import networks, problems
from jaxdl.networks import features

SMALL = {
  'num_rf': (4,),
  'network': 'mlp(8, kernel_init=glorot)',
  'task': 'bundled(depth=1)',
  'num_rounds': 2,
  'eval_every': 1,
}


def _config(**options):
  return snnk.Config(**{**SMALL, **options})


def _by_variant(rows, step=None):
  return {
    r['variant']: r
    for r in rows
    if r['split'] not in ('train', 'reliability')
    and (step is None or r['step'] == step)
  }


class KernelTest(parameterized.TestCase):
  def test_errors_are_as_derived_and_orthogonal_ones_smaller(self):
    config = snnk.Config(
      task='kernel(dimension=8, num_draws=1500)', num_rf=(8, 32)
    )
    result = snnk.run(config)
    self.assertLen(result.rows, 2 * 8)
    at = {(r['variant'], r['num_rf']): r for r in result.rows}
    for m in (8, 32):
      for split in ('S1', 'S2', 'S3'):
        row = at[split, m]
        self.assertLess(abs(row['rmse'] / row['predicted'] - 1), 0.1)
      for rule in ('S1', 'S2', 'positive'):
        better = at[f'{rule}, orthogonal', m]
        self.assertLess(better['rmse'], 0.97 * at[rule, m]['rmse'])
    # Unbiased, with orthogonal projections too; of half an order.
    for (name, _), row in at.items():
      self.assertLess(abs(row['bias_z']), 4.5)
      slope = np.log(at[name, 32]['rmse'] / at[name, 8]['rmse']) / np.log(4)
      self.assertLess(abs(slope + 0.5), 0.1)
    columns, cells = result.experiment.table(result.rows)
    self.assertEqual(columns[:2], ['variant', 'num_rf'])
    self.assertLen(cells, 16)
    with tempfile.TemporaryDirectory() as folder:
      (drawn,) = result.experiment.plots[0](result.rows, pathlib.Path(folder))
      self.assertEqual(drawn.stem, 'kernel')

  @parameterized.parameters(
    ('kernel(kind=tanh)', 'kind='),
    ('kernel(a=-0.25)', r'a must lie in \(-0.25'),
    ('kernel(num_draws=1)', 'num_draws must'),
  )
  def test_impossible_estimates_are_refused(self, task, message):
    with self.assertRaisesRegex(ValueError, message):
      snnk.build(snnk.Config(task=task))

  def test_data_and_rounds_have_no_effect(self):
    said = snnk.Config(task='kernel').ineffective()
    self.assertContainsSubset(('dataset', 'num_rounds', 'features'), said)
    self.assertNoCommonElements(('task', 'num_rf', 'seeds'), said)
    self.assertEqual(list(snnk.Config().ineffective()), ['pretraining'])


class BundledTest(parameterized.TestCase):
  def test_clients_fit_the_pooled_optimum(self):
    options = {
      'dataset': 'wine',
      'num_rounds': 0,
      'task': 'bundled(depth=1, ridge=0.1)',
    }
    rule = 'closed form, depth 1, m=4'
    alone = _by_variant(snnk.run(_config(**options)).rows)[rule]
    apart = _by_variant(
      snnk.run(
        _config(
          num_clients=5, partition='label_dirichlet(alpha=0.2)', **options
        )
      ).rows
    )[rule]
    self.assertEqual(alone['accuracy'], apart['accuracy'])
    np.testing.assert_allclose(alone['mse'], apart['mse'], rtol=1e-5)

  def test_regression_explains_what_least_squares_does(self):
    config = _config(
      dataset='diabetes', task='bundled(depth=1, ridge=0.001)', seeds=(2,)
    )
    result = snnk.run(config)
    row = _by_variant(result.rows)['linear']
    problem = config.problem()
    add = lambda x: np.concatenate([x, np.ones((*x.shape[:-1], 1))], -1)
    x = add(np.float64(problem.data[0]['inputs'][0, 0]))
    y = np.float64(problem.data[0]['labels'][0, 0])
    w = np.linalg.solve(x.T @ x + 1e-3 * np.eye(11), x.T @ y)
    real = np.asarray(problem.test['mask'])
    labels = np.float64(problem.test['labels'])[real]
    errors = labels - (add(np.float64(problem.test['inputs'])) @ w)[real]
    want = 1 - np.square(errors).mean() / labels.var()
    self.assertGreater(want, 0.3)
    self.assertAlmostEqual(row['r2'], want, places=4)
    self.assertIn('r2', _by_variant(result.rows)['MLP'])
    self.assertEqual(row['num_trained'], 11)
    with tempfile.TemporaryDirectory() as folder:
      drawn = snnk.draw(config, result.rows, pathlib.Path(folder))
      self.assertEqual({p.stem for p in drawn}, {'r2', 'loss', 'rounds'})
    columns, cells = result.experiment.table(result.rows)
    self.assertEqual(columns[:3], ['variant', 'num_trained', 'round'])
    self.assertEqual({line[0] for line in cells}, set(_by_variant(result.rows)))

  def test_training_leaves_features_alone(self):
    config = _config(
      dataset='wine', task='bundled(depth=2, bundle_depth=1)', eval_every=2
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
      _by_variant(whole.rows)[label]['num_trained'], 4 * 8 + 9 * 8 + 27
    )


class ComparisonTest(parameterized.TestCase):
  def test_adapters_start_as_the_network_they_adapt(self):
    config = _config(
      task='adapter(transfer=invert+rotate, pretrain_rounds=30)', num_rounds=1
    )
    rows = snnk.run(config).rows
    first, last = (_by_variant(rows, step) for step in (0, 1))
    self.assertLen(first, 6)
    losses = [r['loss'] for r in first.values()]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    for rule in first:
      self.assertNotEqual(first[rule]['loss'], last[rule]['loss'])

  def test_converted_layers_estimate_the_trained_ones(self):
    # Shorter inputs, so that the estimate has a small variance.
    config = _config(
      task='uptrain(pretrain_rounds=30)',
      features='sin(split=s1)',
      network='mlp(8, activation=sin, kernel_init=glorot)',
      input_length=1.0,
      num_rf=(4000,),
      num_rounds=0,
      optimizer='adam(0.01)',
    )
    found = _by_variant(snnk.run(config).rows)
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
    ({'features': 'cos(a=-0.25)'}, r'a must lie in \(-0.25'),
    ({'features': 'tanh'}, 'features='),
    ({'features': 'relu(split=s1)'}, "no option 'split'"),
    ({'features': 'sech(split=s2)'}, "use split='s3'"),
    ({'task': 'scratch(ridge=1.0)'}, "no option 'ridge'"),
    ({'network': 'lenet'}, 'network='),
    ({'network': 'mlp(())'}, 'hidden_sizes is empty'),
    ({'dataset': 'mnist'}, '--data_dir'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  @parameterized.parameters(
    ({'task': 'bundled(ridge=-1.0)'}, 'ridge must'),
    ({'task': 'bundled(depth=2, bundle_depth=3)'}, 'bundle_depth must'),
    ({'task': 'uptrain(layers=(1,))'}, 'layers must'),
    ({'task': 'uptrain(layers=())'}, 'layers is empty'),
    ({'task': 'adapter(transfer=shear)'}, 'transfer='),
    ({'task': 'adapter(kind=down)'}, 'kind='),
    ({'dataset': 'diabetes', 'partition': 'shards'}, 'use partition=iid'),
    (
      {'dataset': 'wine', 'task': 'bundled(ridge=0.0)', 'num_rf': (200,)},
      'n=133 examples of 200 features',
    ),
    ({'dataset': 'wine', 'task': 'adapter'}, 'choose transfer=invert'),
    ({'task': 'language'}, 'dataset=digits does not fit task=language'),
    ({'dataset': 'sentiment'}, 'which is about examples'),
  )
  def test_options_are_checked_before_anything_is_compiled(
    self, options, message
  ):
    with self.assertRaisesRegex(ValueError, message):
      snnk.build(_config(**options))

  @parameterized.parameters(*snnk.TASKS)
  def test_smoke_is_small(self, task):
    dataset = 'sentiment' if task == 'language' else 'digits'
    config = snnk.Config(task=task, dataset=dataset).smoked()
    self.assertEqual(config, config.smoked())
    self.assertLen(config.sizes, 1 if task == 'language' else 2)

  def test_smoke_trains_few_transformers(self):
    made = []

    def look(task, **options):
      del options
      made.append(task)
      raise KeyboardInterrupt

    with mock.patch.object(snnk.TASKS, 'make', look):
      for task, smoke in (
        ('language', True),
        ('language(rivals=(lora,))', True),
        ('language', False),
      ):
        config = snnk.Config(task=task, dataset='sentiment', smoke=smoke)
        with self.assertRaises(KeyboardInterrupt):
          snnk.build(config)
    self.assertEqual(
      made,
      ['language(rivals=(bitfit,))', 'language(rivals=(lora,))', 'language'],
    )
    with self.assertRaisesRegex(ValueError, "rivals='loar' .*mean 'lora'"):
      snnk.TASKS.make(
        'language(rivals=(loar,))',
        make_problem=None,
        features=None,
        sizes=(2,),
      )

  def test_networks_that_read_no_prompts_are_refused(self):
    problem = problems.text(
      'sentiment(num_texts=64, width=8, depth=1, num_heads=2)',
      pretraining='adam(steps=0, text_bytes=2000)',
      num_clients=1,
    )
    with self.assertRaisesRegex(ValueError, r'of shape \(1, 64, 256\) .*, 3\)'):
      problems.with_reader(problem, networks.mlp(4, 3))
    short = networks.transformer_lm(width=8, depth=1, max_length=8)
    with self.assertRaisesRegex(ValueError, r'must read .*\(1, 64\): .* = 8'):
      problems.with_reader(problem, short)
    other = problems.classification('wine', num_clients=2)
    with self.assertRaisesRegex(ValueError, 'problem must be one of prompts'):
      problems.with_reader(other, problem.network)

  def test_a_transformer_learns_a_verdict_by_adapters(self):
    made = snnk.TASKS.make(
      'language(larger=3.0)',
      make_problem=lambda: problems.text(
        'sentiment(num_texts=64, width=8, depth=1, num_heads=2)',
        pretraining='adam(steps=0, text_bytes=2000)',
        num_clients=1,
      ),
      features=features.FEATURES.make('relu'),
      sizes=(2,),
    )
    counts = {k: c['num_trained'] for k, c in made.columns.items()}
    # Two places of 8 channels: Psi and the gate; D, U and both biases.
    self.assertEqual(counts['SNNK adapter, m=2'], 2 * (2 * 8 + 8))
    self.assertEqual(counts['bottleneck 1'], 2 * (2 * 8 + 1 + 8))
    self.assertEqual(counts['bottleneck 4'], 2 * (4 * (2 * 8 + 1) + 8))
    self.assertEqual(counts['everything'], 256 * 8 + 64 * 8 + 2 * 8 + 8 * 109)
    network = made.candidates['SNNK adapter, m=2'].network
    own = made.fit(made.problem, network, l2=0.0)
    params = own.task.init(jax.random.key(1))
    first, start = (
      p.evaluate(jax.tree.map(lambda x: x[None], at))['loss'][0]
      for p, at in (
        (made.problem, made.problem.task.init(jax.random.key(0))),
        (own, params),
      )
    )
    self.assertAlmostEqual(float(start), float(first), places=5)
    batch = jax.tree.map(lambda x: x[0], own.test)
    slope = jax.grad(own.task.loss)(params, batch)['trained']
    self.assertGreater(
      float(jnp.abs(slope['block_0/attention_out']['v']).max()), 0
    )

  def test_smoke_lowers_options_and_keeps_low_ones(self):
    self.assertEqual(
      snnk.small('bundled(depth=1, ridge=0.5)'),
      'bundled(depth=1, ridge=0.5, bundle_depth=0)',
    )
    self.assertEqual(snnk.small('uptrain'), 'uptrain(pretrain_rounds=20)')
    self.assertEqual(snnk.small('scratch'), 'scratch')


if __name__ == '__main__':
  absltest.main()
