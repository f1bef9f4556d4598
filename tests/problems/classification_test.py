# SPDX-License-Identifier: Apache-2.0
"""Labeled examples and texts that are dealt to clients."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data, problems

LABELS = np.arange(40) % 4
INPUTS = np.stack([np.arange(40.0), np.ones(40)], axis=1)


def _make(dataset=(INPUTS, LABELS), **options):
  options = {'network': 'mlp(2)', 'num_clients': 3, **options}
  return problems.classification(dataset, **options)


class ArraysTest(parameterized.TestCase):
  def test_a_part_of_them_is_kept_for_tests(self):
    problem = _make()
    held, mask = problem.data
    train = np.asarray(held['inputs'][..., 0])[np.asarray(mask)]
    test = np.asarray(problem.test['inputs'][..., 0])[
      np.asarray(problem.test['mask'])
    ]
    self.assertLen(test, 10)
    np.testing.assert_array_equal(
      np.sort(np.concatenate([train, test])), np.arange(40)
    )
    labels = np.asarray(held['labels'])[np.asarray(mask)]
    np.testing.assert_array_equal(labels, train % 4)
    self.assertEqual(problem.num_classes, 4)

  def test_partitions_are_those_of_the_library(self):
    loaded = data.load_dataset('wine')
    problem = _make('wine', partition='shards(2)', seeds=(3, 8))
    for k, seed in enumerate(problem.seeds):
      parts = data.make_partition(
        'shards(2)', np.random.default_rng(seed), loaded.train_labels, 3
      )
      for i, part in enumerate(parts):
        real = np.asarray(problem.data[1][k, i])
        self.assertEqual(real.sum(), len(part))
        np.testing.assert_array_equal(
          np.asarray(problem.data[0]['inputs'][k, i])[real],
          loaded.train_inputs[part],
        )

  @parameterized.parameters((None, (3, 5)), (2, (3, 2, 5)))
  def test_batches(self, num_batches, shape):
    problem = _make(batch_size=5, num_batches=num_batches)
    own = jax.tree.map(lambda x: x[0], problem.data)
    cohort = problem.cohort(jax.random.key(0), own, 1)
    self.assertEqual(cohort.data['labels'].shape, shape)
    inputs = np.asarray(cohort.data['inputs'][..., 0])
    np.testing.assert_array_equal(cohort.data['labels'], inputs % 4)

  @parameterized.parameters(
    ((INPUTS, LABELS[:-1]), ValueError, r'shape \(40,\)'),
    ((INPUTS, LABELS - 1), ValueError, 'integers from 0'),
    ((INPUTS, LABELS / 2), ValueError, 'integers from 0'),
    (
      (INPUTS, LABELS * 10**6),
      ValueError,
      'labels go up to 3000000, but there',
    ),
    ((INPUTS[:, 0], LABELS), ValueError, r'inputs.:, None. for one feature'),
    ((INPUTS[:, :0], LABELS), ValueError, 'inputs must have examples and feat'),
    ((INPUTS * 1e300, LABELS), ValueError, 'inputs must be finite in float32'),
    (
      (INPUTS[:3], LABELS[:3]),
      ValueError,
      '=3 exceeds the 2 training examples',
    ),
    (3, TypeError, 'dataset must be a spec'),
    ('diabetes', ValueError, 'has no classes'),
  )
  def test_says_what_is_wrong(self, dataset, error, message):
    with self.assertRaisesRegex(error, message):
      _make(dataset)

  @parameterized.parameters(
    ({'batch_size': 0}, ValueError, '^batch_size must be at least 1; got 0'),
    ({'batch_size': 2.5}, TypeError, '^batch_size must be an integer'),
    ({'num_batches': 0}, ValueError, '^num_batches must be at least 1'),
    ({'seeds': ()}, ValueError, '^seeds is empty'),
    ({'seeds': 3}, TypeError, '^seeds must be a sequence of integers'),
    ({'seeds': (-1,)}, ValueError, '^seeds must be at least 0; got -1'),
    ({'seeds': (1, 1)}, ValueError, r'^seeds=\(1, 1\) has one twice'),
    ({'client_metrics': 'worst'}, TypeError, '^client_metrics must be a seq'),
    ({'data_dir': '/x'}, ValueError, "^data_dir='/x' has no effect"),
    (
      {'network': 'mlp(0.5)'},
      ValueError,
      r"^network='mlp\(0.5\)': mlp: hidden_sizes must be an integer or a tuple",
    ),
    (
      {'network': 'fedjax_emnist_cnn(dropout=0.5)'},
      ValueError,
      ': dropout must be a tuple of 2 numbers; got 0.5',
    ),
  )
  def test_arguments_are_checked_at_once(self, options, error, message):
    with self.assertRaisesRegex(error, message):
      _make(**options)

  def test_metrics_of_clients_are_known(self):
    with self.assertRaisesRegex(ValueError, 'client_metrics'):
      _make(client_metrics=('best',))


class TextTest(parameterized.TestCase):
  def test_prompts_are_dealt_and_the_model_is_the_same_for_all(self):
    problem = problems.text(
      'sentiment(num_texts=30, length=16, width=4, depth=1, num_heads=1)',
      pretraining='adam(steps=0, text_bytes=100)',
      num_clients=3,
      batch_size=2,
    )
    held, mask = problem.data
    self.assertEqual(int(mask.sum()), 30)
    self.assertEqual(held['inputs'].shape[-1], 16)
    self.assertEqual(int(problem.test['mask'].sum()), 400)
    one, other = (problem.task.init(jax.random.key(k)) for k in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, other)

  @parameterized.parameters(
    ('sentiment(num_texts=1)', 'adam(steps=0)', 'num_texts'),
    ('sentiment(length=3)', 'adam(steps=0)', 'length'),
    ('sentiment', 'adam(steps=-1)', 'steps'),
    ('sentiment', 'sgd', "pretraining='sgd' is unknown"),
    ('novels', 'adam', "dataset='novels' is unknown"),
  )
  def test_says_what_is_wrong(self, dataset, pretraining, message):
    with self.assertRaisesRegex(ValueError, message):
      problems.text(dataset, pretraining=pretraining)


class ReliabilityTest(absltest.TestCase):
  def test_it_is_of_the_models_of_all_clients(self):
    problem = problems.classification('wine', num_clients=3, seeds=(0, 4))
    keys = jax.random.split(jax.random.key(0), 6).reshape(2, 3)
    models = jax.vmap(jax.vmap(problem.task.init))(keys)
    rows = problem.reliability(models, per_client=True)
    shares = {
      s: sum(r['share'] for r in rows if r['seed'] == s) for s in (0, 4)
    }
    np.testing.assert_allclose(list(shares.values()), 1, atol=1e-6)
    # The share of right answers over all bins is the mean accuracy.
    want = problem.evaluate_clients(models)['accuracy']
    got = [
      sum(r['share'] * r['accuracy'] for r in rows if r['seed'] == s)
      for s in (0, 4)
    ]
    np.testing.assert_allclose(got, want, atol=1e-6)
    alone = jax.tree.map(lambda x: x[:, 0], models)
    # A client that diverged has no say, a model that did has no rows.
    broken = jax.tree.map(lambda x: x.at[:, 1:].set(jnp.nan), models)
    self.assertEqual(
      problem.reliability(broken, per_client=True), problem.reliability(alone)
    )
    lost = jax.tree.map(lambda x: x * jnp.nan, alone)
    self.assertEqual(problem.reliability(lost), [])

  def test_another_evaluation_may_read_other_params(self):
    problem = problems.classification('wine', num_clients=2)
    self.assertIsNone(problem.replace(evaluate=lambda p: {}).reliability)
    self.assertIsNotNone(problem.replace(seeds=(1,)).reliability)
    self.assertIsNone(problems.quadratics(num_clients=2).reliability)

  def test_models_of_clients_of_another_network(self):
    first = problems.classification('wine', network='mlp(3)', num_clients=2)
    second = problems.for_network(first, 'logistic_regression')
    params = jax.tree.map(
      lambda x: jnp.stack([x, x])[None], second.task.init(jax.random.key(0))
    )
    one = jax.tree.map(lambda x: x[:, 0], params)
    np.testing.assert_allclose(
      second.evaluate_clients(params)['accuracy'],
      second.evaluate(one)['accuracy'],
    )


if __name__ == '__main__':
  absltest.main()
