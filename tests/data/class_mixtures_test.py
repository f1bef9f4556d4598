# SPDX-License-Identifier: Apache-2.0
"""Clients with their own mixture of classes of one data set."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data


class MixtureTest(parameterized.TestCase):
  def test_missing_classes_have_no_weight(self):
    rng = np.random.default_rng(0)
    mixtures = data.class_mixtures(rng, 200, np.array([3, 0, 5, 0]), alpha=0.05)
    np.testing.assert_allclose(mixtures.sum(axis=1), 1.0)
    self.assertEqual(mixtures[:, [1, 3]].max(), 0.0)
    even = data.class_mixtures(rng, 2, np.array([1, 3]), alpha=float('inf'))
    np.testing.assert_allclose(even, [[0.25, 0.75]] * 2)
    # A symmetric Dirichlet has mean 1/K and variance (1 - 1/K) / (K (K a + 1)).
    many = data.class_mixtures(rng, 4000, np.ones(4), alpha=0.5)
    np.testing.assert_allclose(many.mean(axis=0), 0.25, atol=0.02)
    np.testing.assert_allclose(many.var(axis=0), 0.1875 / 3, atol=0.005)

  def test_samples_follow_the_mixture_and_cover_each_class(self):
    labels = np.array([2, 0, 2, 0, 2, 1, 0])
    table = data.index_classes(labels, 3)
    arrays = {'id': jnp.arange(7), 'labels': jnp.asarray(labels)}
    mixture = jnp.array([0.7, 0.0, 0.3])
    got = data.sample_by_class(
      jax.random.key(0), arrays, table, mixture, (100, 60)
    )
    self.assertEqual(got['labels'].shape, (100, 60))
    self.assertTrue(bool(got['mask'].all()))
    np.testing.assert_array_equal(labels[got['id']], got['labels'])
    share = np.bincount(np.ravel(got['id']), minlength=7) / 6000
    want = np.array([0.3, 0.7, 0.3, 0.7, 0.3, 0.0, 0.7]) / 3
    np.testing.assert_allclose(share, want, atol=4 * np.sqrt(0.25 / 6000))
    self.assertEqual(share[5], 0.0)

  def test_fixed_sets_have_no_repeats_and_a_limit(self):
    labels = np.repeat(np.arange(4), 10)
    mixtures = np.array([[1.0, 0, 0, 0], [0.25] * 4])
    parts = data.choose_weighted(np.random.default_rng(0), labels, mixtures, 12)
    for part in parts:
      self.assertLen(np.unique(part), 12)
    self.assertEqual((labels[parts[0]] == 0).sum(), 10)
    with self.assertRaisesRegex(ValueError, 'num_examples=41 .* 40 examples'):
      data.choose_weighted(np.random.default_rng(0), labels, mixtures, 41)
    with self.assertRaisesRegex(ValueError, 'alpha must lie in'):
      data.class_mixtures(np.random.default_rng(0), 2, np.ones(2), alpha=0.0)


if __name__ == '__main__':
  absltest.main()
