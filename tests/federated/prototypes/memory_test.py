# SPDX-License-Identifier: Apache-2.0
"""Memories of class means: the monoid, and what nearest means say."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from sklearn import neighbors

from jaxdl.federated import prototypes

C, D = 5, 3


def memory(mean, count):
  mean = jnp.asarray(mean, jnp.float32)
  return prototypes.PrototypeMemory(
    mean.reshape(len(count), -1), jnp.asarray(count, jnp.int32)
  )


def examples(seed=0, size=40, capacity=C, dimension=D):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, capacity, size)
  x = rng.normal(size=(size, dimension)) + 3.0 * labels[:, None]
  return x.astype(np.float32), labels.astype(np.int32)


def reference(x, labels, capacity=C):
  """Means and numbers by class, float64."""
  mean, count = np.zeros((capacity, x.shape[1])), np.zeros(capacity, int)
  for c in range(capacity):
    rows = x[labels == c].astype(np.float64)
    count[c] = len(rows)
    if len(rows):
      mean[c] = rows.mean(axis=0)
  return mean, count


class MonoidTest(parameterized.TestCase):
  def test_the_numbers_of_the_sheet(self):
    merged = prototypes.merge_prototypes(memory([1.0], [2]), memory([4.0], [1]))
    self.assertEqual(
      (merged.mean.tolist(), merged.count.tolist()), ([[2]], [3])
    )
    nothing = prototypes.empty_memory(1, 1)
    for a, b in ((merged, nothing), (nothing, merged)):
      same = prototypes.merge_prototypes(a, b)
      jax.tree.map(np.testing.assert_array_equal, same, merged)

  def test_commutes_associates_and_pools(self):
    x, labels = examples()
    parts = [slice(0, 7), slice(7, 8), slice(8, 40)]
    a, b, c = (prototypes.prototype_delta(x[p], labels[p], C) for p in parts)
    merge = prototypes.merge_prototypes
    left, right = merge(merge(a, b), c), merge(a, merge(b, c))
    other = merge(c, merge(b, a))
    mean, count = reference(x, labels)
    for found in (left, right, other):
      np.testing.assert_allclose(found.mean, mean, rtol=1e-6, atol=1e-6)
      np.testing.assert_array_equal(found.count, count)

  @parameterized.parameters(0, 1)
  def test_one_by_one_is_all_at_once_in_any_order(self, seed):
    x, labels = examples()
    order = np.random.default_rng(seed).permutation(len(x))

    def add(found, row):
      e, y = row
      return prototypes.update_memory(found, e[None], y[None]), None

    start = prototypes.empty_memory(C, D)
    found, _ = jax.jit(lambda *rows: jax.lax.scan(add, start, rows))(
      x[order], labels[order]
    )
    mean, count = reference(x, labels)
    np.testing.assert_allclose(found.mean, mean, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(found.count, count)

  def test_means_of_many_keep_their_digits(self):
    # A plain float32 sum of so many is off by some 1e-5.
    x = np.random.default_rng(0).normal(size=(50_000, 2)).astype(np.float32)
    x += 100
    found = prototypes.prototype_delta(x, np.zeros(len(x), np.int32), 1)
    np.testing.assert_allclose(
      found.mean[0], x.astype(np.float64).mean(axis=0), rtol=1e-7
    )

  def test_recovers_what_was_added(self):
    got = prototypes.subtract_prototypes(memory([0.5], [2]), memory([0.0], [1]))
    self.assertEqual((got.mean.tolist(), got.count.tolist()), ([[1]], [1]))
    x, labels = examples()
    before = prototypes.prototype_delta(x[:25], labels[:25], C)
    delta = prototypes.prototype_delta(x[25:], labels[25:], C)
    after = prototypes.merge_prototypes(before, delta)
    got = prototypes.subtract_prototypes(after, before)
    np.testing.assert_allclose(got.mean, delta.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(got.count, delta.count)

  def test_old_classes_keep_their_bits(self):
    x, labels = examples()
    before = prototypes.prototype_delta(x, labels % 2, C)
    after = jax.jit(prototypes.update_memory)(before, x, 2 + labels % 3)
    for old, new in zip(before, after, strict=True):
      np.testing.assert_array_equal(old[:2], new[:2])
    self.assertTrue((after.count[2:] > 0).all())

  def test_masked_rows_and_strangers_have_no_effect(self):
    x, labels = examples()
    mask = np.arange(len(x)) % 3 > 0
    broken = np.where(mask[:, None], x, np.nan)
    wrong = np.where(mask, labels, 99)
    mean, count = reference(x[mask], labels[mask])
    for fn in (
      prototypes.prototype_delta,
      jax.jit(prototypes.prototype_delta, static_argnums=2),
    ):
      found = fn(broken, wrong, C, mask=mask)
      np.testing.assert_allclose(found.mean, mean, rtol=1e-6, atol=1e-6)
      np.testing.assert_array_equal(found.count, count)
    # Under jit a label that is no class is as good as masked.
    found = jax.jit(prototypes.prototype_delta, static_argnums=2)(x, wrong, C)
    np.testing.assert_array_equal(found.count, count)

  def test_under_jit_what_is_not_finite_spoils_its_class_only(self):
    x, labels = examples()
    x[labels == 1] = np.nan
    found = jax.jit(prototypes.prototype_delta, static_argnums=2)(x, labels, C)
    finite = np.isfinite(found.mean).all(axis=1)
    self.assertEqual(finite.tolist(), [True, False, True, True, True])

  def test_under_jit_a_mean_that_is_not_finite_spoils_its_class_only(self):
    x, labels = examples()
    good = prototypes.prototype_delta(x, labels, C)
    bad = good._replace(mean=good.mean.at[1, 0].set(jnp.nan))
    merged = jax.jit(prototypes.merge_prototypes)(good, bad)
    finite = np.isfinite(merged.mean).all(axis=1)
    self.assertEqual(finite.tolist(), [True, False, True, True, True])
    # It is never the nearest, and the others answer as if it were not there.
    without = good._replace(count=good.count.at[1].set(0))
    got = jax.jit(prototypes.classify)(bad, x)
    np.testing.assert_array_equal(got, prototypes.classify(without, x))
    self.assertNotIn(1, got.tolist())
    self.assertGreater(len(set(got.tolist())), 2)

  def test_memories_may_be_constants_of_a_program(self):
    x, labels = examples()
    found = prototypes.prototype_delta(x, labels, C)
    got = jax.jit(lambda x: prototypes.classify(found, x))(x)
    np.testing.assert_array_equal(got, prototypes.classify(found, x))

  def test_half_precision_is_summed_wide(self):
    x = jnp.full((3000, 1), 1.0 + 1 / 128, jnp.bfloat16)
    found = prototypes.prototype_delta(x, jnp.zeros(3000, jnp.int32), 1)
    self.assertEqual(found.mean.dtype, jnp.float32)
    np.testing.assert_allclose(found.mean, 1.0 + 1 / 128, rtol=1e-7)

  def test_adding_classes_compiles_once(self):
    traces = []

    @jax.jit
    def update(found, x, labels):
      traces.append(None)
      return prototypes.update_memory(found, x, labels)

    found = prototypes.empty_memory(C, D)
    for c in range(C):
      x, _ = examples(c, 4)
      found = update(found, x, np.full(4, c, np.int32))
    self.assertLen(traces, 1)
    self.assertEqual(found.count.tolist(), [4] * C)


class NearestTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.x, self.labels = examples(size=60)
    self.test, _ = examples(seed=1, size=200)
    self.memory = prototypes.prototype_delta(self.x, self.labels, C)

  def test_is_sklearns_nearest_centroid(self):
    peer = neighbors.NearestCentroid(metric='euclidean')
    want = peer.fit(self.x, self.labels).predict(self.test)
    got = prototypes.classify(self.memory, self.test)
    np.testing.assert_array_equal(got, want)

  def test_is_a_linear_model(self):
    mean = np.asarray(self.memory.mean, np.float64)
    scores = 2 * self.test @ mean.T - (mean**2).sum(axis=1)
    got = prototypes.classify(self.memory, self.test)
    np.testing.assert_array_equal(got, scores.argmax(axis=1))

  def test_one_shot_is_the_nearest_neighbor(self):
    x, labels = self.x[:20], np.arange(20)
    peer = neighbors.KNeighborsClassifier(1).fit(x, labels)
    one = prototypes.prototype_delta(x, labels, 20)
    np.testing.assert_array_equal(
      prototypes.classify(one, self.test), peer.predict(self.test)
    )

  def test_distances_far_from_the_origin(self):
    shift = np.float32(3e4)
    x, labels = self.x + shift, self.labels
    far = prototypes.prototype_delta(x, labels, C)
    test = (self.test + shift).astype(np.float32)
    mean = np.asarray(far.mean, np.float64)
    want = ((test[:, None].astype(np.float64) - mean) ** 2).sum(axis=-1)
    got = prototypes.class_distances(far, test)
    np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-2)
    # Uncentered, the squares alone are rounded by hundreds.
    naive = (
      (test**2).sum(axis=1)[:, None]
      - 2 * test @ mean.T.astype(np.float32)
      + (mean**2).sum(axis=1).astype(np.float32)
    )
    self.assertGreater(np.abs(naive - want).max(), 10.0)

  def test_unknown_classes_are_never_near(self):
    some = self.memory._replace(count=self.memory.count.at[2].set(0))
    spoiled = some._replace(mean=some.mean.at[2].set(jnp.nan))
    got = prototypes.classify(spoiled, self.test)
    self.assertNotIn(2, got.tolist())
    known = prototypes.class_distances(spoiled, self.test)[:, np.array([0, 1])]
    want = prototypes.class_distances(self.memory, self.test)[:, :2]
    np.testing.assert_allclose(known, want, rtol=1e-4)

  def test_of_equal_distances_the_lowest_class(self):
    twins = memory([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], [1, 9, 1])
    got = prototypes.classify(twins, jnp.array([[2.0, 0.0], [0.0, 0.0]]))
    self.assertEqual(got.tolist(), [0, 0])

  def test_no_class_is_minus_one(self):
    empty = prototypes.empty_memory(C, D)
    got = jax.jit(prototypes.classify)(empty, self.test)
    self.assertEqual(set(got.tolist()), {-1})
    got = prototypes.classify(self.memory, jnp.full((1, D), jnp.nan))
    self.assertEqual(got.tolist(), [-1])

  def test_more_classes_never_help_the_old_ones(self):
    x, labels = examples(seed=2, size=300)
    right = []
    for known in range(1, C + 1):
      kept = labels < known
      part = prototypes.prototype_delta(x, labels, C, mask=kept)
      right.append(prototypes.classify(part, x[labels == 0]) == 0)
    for before, after in zip(right, right[1:], strict=False):
      self.assertFalse((~before & after).any())


class MahalanobisTest(parameterized.TestCase):
  def test_nearest_by_the_scale_of_each_class(self):
    # The second class reaches far.
    points = memory([[0.0, 0.0], [6.0, 2 * np.log(100.0)]], [1, 1])
    x = jnp.array([[1.0, 9.0], [2.0, -9.0]])
    distances = prototypes.class_distances(points, x, distance='mahalanobis')
    np.testing.assert_allclose(distances, [[1, 0.25], [4, 0.16]], rtol=1e-5)
    far = prototypes.classify(points, x, distance='mahalanobis')
    self.assertEqual(far.tolist(), [1, 1])
    self.assertEqual(prototypes.classify(points, x).tolist(), [1, 0])

  def test_unknown_classes_are_never_near(self):
    points = memory([[0.0, 0.0], [np.nan, 0.0]], [3, 0])
    got = prototypes.classify(
      points, jnp.array([[9.0, 1.0]]), distance='mahalanobis'
    )
    self.assertEqual(got.tolist(), [0])


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    (131, 'class 131 exceeds capacity 100'),
    (-1, 'class -1 is negative'),
  )
  def test_labels(self, label, message):
    with self.assertRaisesRegex(ValueError, message):
      prototypes.prototype_delta(jnp.ones((1, 2)), jnp.array([label]), 100)

  def test_labels_of_another_type(self):
    with self.assertRaisesRegex(
      TypeError, 'labels must be integers; got float'
    ):
      prototypes.prototype_delta(jnp.ones((1, 2)), jnp.ones(1), 3)

  def test_embeddings(self):
    bad = jnp.ones((3, 2)).at[1, 0].set(jnp.nan)
    with self.assertRaisesRegex(ValueError, 'must be finite; row 1 is not'):
      prototypes.prototype_delta(bad, jnp.zeros(3, jnp.int32), 1)
    with self.assertRaisesRegex(ValueError, r'\[B, d\] with one label each'):
      prototypes.prototype_delta(bad, jnp.zeros(2, jnp.int32), 1)

  def test_memories(self):
    one, two = memory([1.0], [1]), memory([1.0, 2.0], [1, 1])
    with self.assertRaisesRegex(ValueError, r'equal shapes \[C, d\]'):
      prototypes.merge_prototypes(one, two)
    with self.assertRaisesRegex(ValueError, 'a has -2 examples of class 0'):
      prototypes.merge_prototypes(memory([1.0], [-2]), one)
    with self.assertRaisesRegex(
      ValueError, 'after has 1 examples of class 0 but before has 3'
    ):
      prototypes.subtract_prototypes(one, memory([1.0], [3]))
    with self.assertRaisesRegex(ValueError, 'memory is empty'):
      prototypes.classify(prototypes.empty_memory(2, 1), jnp.ones((1, 1)))
    with self.assertRaisesRegex(ValueError, r'x must be \[..., d\]'):
      prototypes.classify(one, jnp.ones((1, 2)))
    with self.assertRaisesRegex(ValueError, "distance='cosine' is unknown"):
      prototypes.classify(one, jnp.ones((1, 1)), distance='cosine')
    with self.assertRaisesRegex(ValueError, 'of even dimension, .*; got 1'):
      prototypes.classify(one, jnp.ones((1, 1)), distance='mahalanobis')

  def test_values_of_memories(self):
    good, bad = memory([1.0, 2.0], [1, 1]), memory([1.0, np.nan], [1, 1])
    message = 'has a mean of class 1 that is not finite'
    for call in (
      lambda: prototypes.merge_prototypes(good, bad),
      lambda: prototypes.subtract_prototypes(bad, good),
      lambda: prototypes.class_distances(bad, jnp.ones((1, 1))),
      lambda: prototypes.classify(bad, jnp.ones((1, 1))),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()
    # What no example stands behind is not looked at.
    prototypes.merge_prototypes(good, memory([1.0, np.nan], [1, 0]))
    counted = good._replace(count=jnp.array([1.0, np.nan]))
    for call in (
      lambda: prototypes.merge_prototypes(counted, good),
      lambda: jax.jit(prototypes.classify)(counted, jnp.ones((1, 1))),
    ):
      with self.assertRaisesRegex(TypeError, 'integer counts; got float32'):
        call()


if __name__ == '__main__':
  absltest.main()
