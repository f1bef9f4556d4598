# SPDX-License-Identifier: Apache-2.0
"""Clients that draw by mixtures of classes, or hold what is dealt."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data, problems

N, KEY = 3, jax.random.key(0)


def _first(problem):
  return jax.tree.map(lambda x: x[0], problem.data)


def _make(**options):
  return problems.mixtures('wine', network='mlp(2)', num_clients=N, **options)


class MixturesTest(parameterized.TestCase):
  def test_pixels_of_digits_lie_in_the_unit_interval(self):
    unit = data.load_dataset('digits(pixels=unit)').train_inputs
    standard = data.load_dataset('digits').train_inputs
    np.testing.assert_allclose(unit, 0.38 * standard + 0.3, atol=1e-6)

  def test_resampled_batches_follow_the_shares(self):
    problem = _make(sampling='resample(alpha=0.3)', batch_shape=(200, 10))
    cohort = problem.cohort(KEY, _first(problem), 1)
    labels = np.asarray(cohort.data['labels']).reshape(N, -1)
    for k in range(N):
      got = np.bincount(labels[k], minlength=3) / 2000
      np.testing.assert_allclose(got, problem.shares[0, k], atol=0.05)
    # What is drawn are examples of the set, with their own labels.
    loaded = data.load_dataset('wine')
    known = {
      (bytes(x), int(y))
      for x, y in zip(loaded.train_inputs, loaded.train_labels, strict=True)
    }
    inputs = np.asarray(cohort.data['inputs']).reshape(N, 2000, -1)
    for k in range(N):
      for i in range(0, 2000, 97):
        self.assertIn((bytes(inputs[k, i]), int(labels[k, i])), known)

  def test_equal_mixtures_are_those_of_the_set(self):
    problem = _make(sampling='resample(alpha=inf)')
    labels = data.load_dataset('wine').train_labels
    want = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(problem.shares, [[want] * N], rtol=1e-12)

  @parameterized.parameters(
    'fixed(alpha=0.5, examples_per_client=20)',
    'overlapping_dirichlet(alpha=0.5, samples_per_client=20)',
    'shards(2)',
  )
  def test_held_sets_stay(self, sampling):
    problem = _make(sampling=sampling, batch_shape=(4, 50), seeds=(0, 1))
    held, mask = problem.data
    self.assertEqual(mask.shape[:2], (2, N))
    own = _first(problem)
    cohort = problem.cohort(KEY, own, 1)
    self.assertEqual(cohort.data['labels'].shape, (N, 4, 50))
    for k in range(N):
      real = np.asarray(held['inputs'][0, k])[np.asarray(mask[0, k])]
      drawn = np.asarray(cohort.data['inputs'][k]).reshape(200, -1)
      self.assertContainsSubset({bytes(x) for x in drawn}, {*map(bytes, real)})
    if 'shards' in sampling or 'overlapping' in sampling:
      labels, real = np.asarray(held['labels']), np.asarray(mask)
      for s in range(2):
        for k in range(N):
          counts = np.bincount(labels[s, k][real[s, k]], minlength=3)
          want = counts / counts.sum()
          np.testing.assert_allclose(problem.shares[s, k], want, rtol=1e-12)

  def test_starts_have_the_variance_that_was_asked_for(self):
    wide = {'network': 'mlp((400, 400))', 'num_clients': 1}
    for name, variance in (('glorot', 2 / 800), ('fan_in', 1 / 400)):
      task = problems.mixtures('wine', kernel_init=name, **wide).task
      kernels = [
        x for x in jax.tree.leaves(task.init(KEY)) if np.shape(x) == (400, 400)
      ]
      self.assertLen(kernels, 1)
      np.testing.assert_allclose(np.var(kernels[0]), variance, rtol=0.03)

  def test_kernels_are_not_scaled_twice(self):
    with self.assertRaisesRegex(
      ValueError, 'by critical already, and kernel_init=glorot would scale'
    ):
      problems.mixtures('wine', network='mlp(4, kernel_init=critical)')
    task = problems.mixtures(
      'wine', network='mlp(400, kernel_init=critical)', kernel_init='fan_in'
    ).task
    kernel = task.init(KEY)[0]['kernel']
    np.testing.assert_allclose(np.var(kernel) * len(kernel), 2, rtol=0.1)

  @parameterized.parameters(
    ('resample(alpha=0.0)', 'alpha must lie in'),
    ('fixed(examples_per_client=5000)', 'num_examples=5000 .* examples'),
    ('mixed', "sampling='mixed' is unknown"),
  )
  def test_says_what_is_wrong(self, sampling, message):
    with self.assertRaisesRegex(ValueError, message):
      _make(sampling=sampling)


class MergeTestsTest(parameterized.TestCase):
  def test_means_of_models_and_their_average(self):
    problem = _make(batch_shape=(2, 4))
    tests = problems.merging.MergeTests(
      problem=problem, batch_size=4, num_batches=2
    )
    models = jax.vmap(problem.task.init)(jax.random.split(KEY, N))
    stacked = jax.tree.map(lambda x: x[None], models)
    found = tests.measure(stacked)
    each = [
      problem.evaluate(jax.tree.map(lambda x, k=k: x[k : k + 1], models))
      for k in range(N)
    ]
    average = problem.evaluate(
      jax.tree.map(lambda x: x.mean(axis=0, keepdims=True), models)
    )
    for name in ('accuracy', 'loss'):
      want = np.mean([e[name][0] for e in each])
      np.testing.assert_allclose(found[name][0], want, rtol=1e-5)
      np.testing.assert_allclose(
        found[f'merged_{name}'], average[name], rtol=1e-5
      )
    np.testing.assert_allclose(
      found['gap'], found['merged_accuracy'] - found['accuracy'], atol=1e-6
    )

  def test_small_landscapes(self):
    measures = ('sharpness', 'landscape(of=("a", "b"), resolution=25)')
    small = problems.merging.small_landscape(measures, ['b'], 7)
    self.assertEqual(small[0], 'sharpness')
    self.assertEqual(problems.merging.landscape_of(small), (('b',), 7))
    self.assertEqual(problems.merging.landscape_of(('sharpness',)), ((), 0))


if __name__ == '__main__':
  absltest.main()
