# SPDX-License-Identifier: Apache-2.0
"""Clients that hold examples: who is dealt what, who is drawn and tested."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data, problems


def _problem(**options):
  options = {
    'num_clients': 8,
    'network': 'logistic_regression',
    'sampling': 'uniform(num_sampled=4)',
    'partition': 'iid',
  } | options
  return problems.clients(options.pop('dataset', 'wine'), **options)


def _side(names, sizes, seed):
  rng = np.random.default_rng(seed)
  return data.ClientExamples(
    tuple(names),
    tuple(rng.normal(size=(n, 3)).astype(np.float32) for n in sizes),
    tuple(rng.integers(0, 2, n).astype(np.int32) for n in sizes),
  )


class ClientsTest(parameterized.TestCase):
  def test_tests_are_kept_apart(self):
    problem = _problem(local_test=0.25, seeds=(0, 3))
    arrays, mask, counts = problem.data
    self.assertEqual(arrays['inputs'].shape[:2], (2, 8))
    np.testing.assert_array_equal(mask.sum(axis=2), counts)
    # 178 wines, three quarters to learn from, a quarter of those kept.
    kept = problem.evaluate(
      jax.vmap(problem.task.init)(jax.random.split(jax.random.key(0), 2))
    )
    total = len(data.load_dataset('wine').train_labels)
    self.assertLess(int(counts[0].sum()), 0.8 * total)
    self.assertGreater(int(counts[0].sum()), 0.7 * total)
    self.assertIn('worst_tenth_accuracy', kept)
    self.assertEqual(kept['client_accuracy'].shape, (2,))

  def test_cohorts_bring_whole_clients(self):
    problem = _problem()
    first = jax.tree.map(lambda x: x[0], problem.data)
    cohort = jax.jit(problem.cohort)(jax.random.key(1), first, 5)
    self.assertEqual(cohort.client_ids.shape, (4,))
    ids = np.asarray(cohort.client_ids)
    np.testing.assert_array_equal(
      cohort.data['inputs'], first[0]['inputs'][ids]
    )
    np.testing.assert_array_equal(cohort.data['mask'], first[1][ids])
    share = first[2][ids] / first[2][ids].sum()
    np.testing.assert_allclose(cohort.weights, share, rtol=1e-5)

  def test_adversaries_come_last_and_in_proportion(self):
    problem = _problem(num_clients=10, num_byzantine=3)
    self.assertEqual(problem.test['cohort_size'], 4)
    self.assertEqual(problem.test['num_byzantine'], 1)
    first = jax.tree.map(lambda x: x[0], problem.data)
    for t in range(6):
      cohort = problem.cohort(jax.random.key(1), first, t)
      ids = np.asarray(cohort.client_ids)
      self.assertTrue((ids[:3] < 7).all())
      self.assertGreaterEqual(ids[3], 7)
      self.assertLen(set(ids.tolist()), 4)
      np.testing.assert_allclose(cohort.weights.sum(), 1.0, rtol=1e-5)

  def test_models_of_their_own_are_tested_on_their_own_examples(self):
    problem = _problem()
    keys = jax.random.split(jax.random.key(0), 8)
    models = jax.vmap(problem.task.init)(keys)
    models = jax.tree.map(lambda x: x[None], models)
    found = problem.evaluate_clients(models)
    same = jax.tree.map(lambda x: x[:, :1].repeat(8, axis=1), models)
    shared = problem.evaluate(jax.tree.map(lambda x: x[:, 0], models))
    alike = problem.evaluate_clients(same)
    for name in ('accuracy', 'client_accuracy', 'p10_accuracy'):
      np.testing.assert_allclose(alike[name], shared[name], atol=1e-6)
    self.assertNotAlmostEqual(
      float(found['client_accuracy'][0]), float(shared['client_accuracy'][0])
    )

  def test_natural_clients_keep_their_own_tests(self):
    names, sizes = ('a', 'b', 'c'), (4, 2, 3)
    whole = data.FederatedDataset(
      _side(names, sizes, 0), _side(names, (1, 0, 2), 1), 2, 'toy'
    )
    problem = problems.clients(
      whole,
      partition='natural',
      num_clients=3,
      sampling='full',
      network='logistic_regression',
    )
    np.testing.assert_array_equal(problem.data[2], [sizes])
    params = problem.task.init(jax.random.key(0))
    found = problem.evaluate(jax.tree.map(lambda x: x[None], params))
    self.assertEqual(float(found['clients_without_examples'][0]), 1)

  @parameterized.parameters(
    (dict(partition='natural'), 'needs a data set with natural clients'),
    (dict(num_byzantine=8), 'num_byzantine'),
    (dict(local_test=1.0), 'local_test'),
    (
      dict(sampling='poisson(num_sampled=3)', num_byzantine=2),
      'poisson.* cannot keep a fixed share of num_byzantine=2',
    ),
    (dict(sampling='uniform(num_sampled=9)'), 'num_sampled=9 exceeds'),
    (
      dict(sampling='uniform(num_sampled=1)', num_byzantine=2),
      'draws 1 clients, of whom 1 attack',
    ),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _problem(**options)


if __name__ == '__main__':
  absltest.main()
