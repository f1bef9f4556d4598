# SPDX-License-Identifier: Apache-2.0
"""Streaming discriminants: equal to scikit-learn's, and exact when merged."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from sklearn import discriminant_analysis

from jaxdl.core import clients as clients_lib
from jaxdl.federated import prototypes

C, D = 4, 3
RNG = np.random.default_rng(0)
CENTERS = RNG.normal(size=(C, D))
# Correlated, so that a covariance is worth something.
MIXING = np.array([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [-0.5, 0.2, 2.0]])


def examples(counts, seed=0):
  rng = np.random.default_rng(seed)
  labels = np.repeat(np.arange(C), counts).astype(np.int32)
  x = CENTERS[labels] + 0.8 * rng.normal(size=(len(labels), D)) @ MIXING.T
  order = rng.permutation(len(labels))
  return x[order].astype(np.float32), labels[order]


UNEVEN, EVEN = (30, 12, 7, 3), (9,) * C
TEST, _ = examples((200,) * C, seed=1)


def scatter_of(x, labels):
  """Within-class scatter, float64."""
  x, total = x.astype(np.float64), np.zeros((D, D))
  for c in np.unique(labels):
    gaps = x[labels == c] - x[labels == c].mean(axis=0)
    total += gaps.T @ gaps
  return total


def parts(x, labels, num_clients):
  """The deltas of clients that share the examples, one of them without any."""
  own = [
    prototypes.discriminant_delta(x[i::num_clients], labels[i::num_clients], C)
    for i in range(num_clients)
  ]
  own.append(prototypes.empty_discriminant(C, D))
  return jax.tree.map(lambda *xs: jnp.stack(xs), *own)


class DiscriminantTest(parameterized.TestCase):
  @parameterized.product(shrinkage=[0.0, 0.1, 0.5, 1.0], counts=[UNEVEN, EVEN])
  def test_is_sklearns_analysis(self, shrinkage, counts):
    x, labels = examples(counts)
    # Priors are shares of the examples, by which it weighs covariances too.
    peer = discriminant_analysis.LinearDiscriminantAnalysis(
      solver='lsqr', shrinkage=shrinkage or None
    ).fit(x.astype(np.float64), labels)
    memory = prototypes.discriminant_delta(x, labels, C)
    got = prototypes.discriminant_scores(
      memory, TEST, shrinkage=shrinkage, priors='counts'
    )
    want = peer.decision_function(TEST.astype(np.float64))
    # Up to what all classes share.
    center = lambda s: s - s.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(center(got), center(want), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(got.argmax(axis=1), peer.predict(TEST))

  def test_uniform_priors_are_sklearns(self):
    # By its other solver, which pools the scatter whatever the priors are.
    x, labels = examples(UNEVEN)
    peer = discriminant_analysis.LinearDiscriminantAnalysis(
      priors=np.full(C, 1 / C)
    ).fit(x.astype(np.float64), labels)
    memory = prototypes.discriminant_delta(x, labels, C)
    got = prototypes.discriminant_scores(memory, TEST, shrinkage=0.0)
    np.testing.assert_array_equal(got.argmax(axis=1), peer.predict(TEST))

  def test_full_shrinkage_is_the_nearest_mean(self):
    x, labels = examples(UNEVEN)
    memory = prototypes.discriminant_delta(x, labels, C)
    scores = prototypes.discriminant_scores(memory, TEST, shrinkage=1.0)
    want = prototypes.classify(memory.classes, TEST)
    np.testing.assert_array_equal(scores.argmax(axis=1), want)

  def test_one_example_of_each_class_is_the_nearest_one(self):
    x, labels = examples((1,) * C)
    memory = prototypes.discriminant_delta(x, labels, C)
    self.assertEqual(float(jnp.abs(memory.scatter).max()), 0.0)
    for shrinkage in (0.0, 0.5):
      scores = prototypes.discriminant_scores(memory, TEST, shrinkage=shrinkage)
      want = prototypes.classify(memory.classes, TEST)
      np.testing.assert_array_equal(scores.argmax(axis=1), want)

  def test_clients_merge_to_their_pool(self):
    x, labels = examples(UNEVEN)
    merged = jax.jit(prototypes.merge_discriminants)(parts(x, labels, 5))
    pooled = prototypes.discriminant_delta(x, labels, C)
    for found in (merged, pooled):
      np.testing.assert_allclose(
        found.scatter, scatter_of(x, labels), rtol=1e-4, atol=1e-4
      )
      np.testing.assert_array_equal(found.classes.count, UNEVEN)
    # Without the gaps of means it would be less.
    alone = parts(x, labels, 5).scatter.sum(axis=0)
    self.assertLess(float(jnp.trace(alone)), 0.95 * np.trace(merged.scatter))

  def test_missions_after_one_another_are_their_pool(self):
    x, labels = examples(UNEVEN)
    memory = prototypes.empty_discriminant(C, D)
    for rows in (slice(0, 11), slice(11, 30), slice(30, None)):
      deltas = parts(x[rows], labels[rows], 2)
      memory = prototypes.update_discriminant(memory, deltas)
    np.testing.assert_allclose(
      memory.scatter, scatter_of(x, labels), rtol=1e-4, atol=1e-4
    )
    same = prototypes.update_discriminant(memory, parts(x[:0], labels[:0], 1))
    np.testing.assert_array_equal(same.classes.mean, memory.classes.mean)
    np.testing.assert_allclose(same.scatter, memory.scatter, rtol=1e-5)

  def test_psum_over_eight_devices_is_one_device(self):
    x, labels = examples(UNEVEN)
    deltas = parts(x, labels, 7)
    mesh = clients_lib.clients_mesh(8)
    run = jax.jit(
      jax.shard_map(
        functools.partial(prototypes.merge_discriminants, axis_name='clients'),
        mesh=mesh,
        in_specs=jax.P('clients'),
        out_specs=jax.P(),
      )
    )
    place = jax.NamedSharding(mesh, jax.P('clients'))
    merged = run(jax.device_put(deltas, place))
    np.testing.assert_allclose(
      merged.scatter, scatter_of(x, labels), rtol=1e-4, atol=1e-4
    )

  def test_masked_rows_and_clients_without_examples_do_not_matter(self):
    x, labels = examples(EVEN)
    mask = np.arange(len(x)) % 3 > 0
    spoiled = np.where(mask[:, None], x, np.nan)
    got = prototypes.discriminant_delta(spoiled, labels, C, mask=mask)
    np.testing.assert_allclose(
      got.scatter, scatter_of(x[mask], labels[mask]), rtol=1e-4, atol=1e-5
    )
    deltas = parts(x, labels, 2)
    nowhere = deltas._replace(scatter=deltas.scatter.at[2].set(jnp.nan))
    merged = prototypes.merge_discriminants(nowhere)
    np.testing.assert_allclose(
      merged.scatter, scatter_of(x, labels), rtol=1e-4, atol=1e-5
    )

  def test_a_scatter_that_is_not_finite_leaves_the_nearest_mean(self):
    x, labels = examples(EVEN)
    memory = prototypes.discriminant_delta(x, labels, C)
    spoiled = memory._replace(scatter=memory.scatter * jnp.nan)
    scores = jax.jit(prototypes.discriminant_scores)(spoiled, TEST)
    want = prototypes.classify(memory.classes, TEST)
    np.testing.assert_array_equal(scores.argmax(axis=1), want)

  def test_unknown_classes_have_no_score(self):
    x, labels = examples((5, 0, 5, 5))
    memory = prototypes.discriminant_delta(x, labels, C)
    scores = prototypes.discriminant_scores(memory, TEST, priors='counts')
    self.assertTrue(np.isneginf(scores[:, 1]).all())
    self.assertTrue(np.isfinite(np.delete(scores, 1, axis=1)).all())

  def test_many_dimensions_and_hardly_any_shrinkage(self):
    # Of more dimensions than examples: the covariance alone is singular.
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(C), 10).astype(np.int32)
    x = rng.normal(size=(40, 64)) * np.linspace(0.1, 3.0, 64)
    x = (x + 0.5 * rng.normal(size=(C, 64))[labels]).astype(np.float32)
    peer = discriminant_analysis.LinearDiscriminantAnalysis(
      solver='lsqr', shrinkage=0.01
    ).fit(x.astype(np.float64), labels)
    memory = prototypes.discriminant_delta(x, labels, C)
    test = rng.normal(size=(50, 64)).astype(np.float32)
    got = prototypes.discriminant_scores(memory, test, shrinkage=0.01)
    want = peer.decision_function(test.astype(np.float64))
    center = lambda s: s - s.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(center(got), center(want), rtol=1e-2, atol=0.02)

  def test_bad_input(self):
    x, labels = examples(EVEN)
    memory = prototypes.discriminant_delta(x, labels, C)
    scores = functools.partial(prototypes.discriminant_scores, memory)
    with self.assertRaisesRegex(ValueError, r'shrinkage must lie in \[0.*2'):
      scores(TEST, shrinkage=2.0)
    with self.assertRaisesRegex(ValueError, "priors='equal' is unknown"):
      scores(TEST, priors='equal')
    with self.assertRaisesRegex(ValueError, r'x must be \[B, 3\]'):
      scores(TEST[:, :2])
    with self.assertRaisesRegex(ValueError, r'scatters \[N, d, d\]'):
      deltas = parts(x, labels, 2)
      prototypes.merge_discriminants(deltas._replace(scatter=deltas.scatter[0]))
    with self.assertRaisesRegex(ValueError, 'must be finite; row 0 is not'):
      prototypes.discriminant_delta(x * np.nan, labels, C)


if __name__ == '__main__':
  absltest.main()
