# SPDX-License-Identifier: Apache-2.0
"""Accuracy at every stage, from one table of distances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from sklearn import neighbors

from jaxdl.federated import prototypes

C, D = 6, 4
RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(C, D)).astype(np.float32)
LABELS = np.repeat(np.arange(C), 7).astype(np.int32)
TEST = (MEANS[LABELS] + RNG.normal(size=(len(LABELS), D))).astype(np.float32)
MEMORY = prototypes.PrototypeMemory(jnp.asarray(MEANS), jnp.ones(C, jnp.int32))
measure = functools.partial(prototypes.class_incremental_accuracy, MEMORY)


def reference(order):
  """Stage by stage, by scikit-learn's nearest neighbor among the means."""
  found = []
  for t in range(1, len(order) + 1):
    known = np.sort(order[:t])
    peer = neighbors.KNeighborsClassifier(1).fit(MEANS[known], known)
    rows = np.isin(LABELS, known)
    found.append((peer.predict(TEST[rows]) == LABELS[rows]).mean())
  return found


class IncrementalTest(parameterized.TestCase):
  def test_is_what_stages_say_one_by_one(self):
    orders = np.stack([np.random.default_rng(s).permutation(C) for s in (0, 1)])
    got = jax.jit(jax.vmap(lambda order: measure(TEST, LABELS, order)))(orders)
    for row, order in zip(got, orders, strict=True):
      np.testing.assert_allclose(row, reference(order), rtol=1e-6)
    self.assertGreater(float(got.std()), 0.0)

  def test_last_stage_is_all_classes(self):
    got = measure(TEST, LABELS, jnp.arange(C))
    right = prototypes.classify(MEMORY, TEST) == LABELS
    np.testing.assert_allclose(got[-1], right.mean(), rtol=1e-6)

  def test_of_equal_distances_the_lowest_class_in_any_order(self):
    twins = MEMORY._replace(mean=jnp.ones((C, D)))
    labels = np.zeros(3, np.int32)
    for order in ([0, 1, 2], [2, 1, 0]):
      got = prototypes.class_incremental_accuracy(
        twins, jnp.ones((3, D)), labels, jnp.array(order)
      )
      self.assertEqual(float(got[-1]), 1.0)
    self.assertTrue(np.isnan(got[0]))

  def test_unknown_classes_are_never_answered(self):
    some = MEMORY._replace(count=MEMORY.count.at[0].set(0))
    got = prototypes.class_incremental_accuracy(
      some, TEST, LABELS, jnp.arange(2)
    )
    self.assertEqual(got.tolist(), [0.0, 0.5])

  def test_bad_input(self):
    for order, message in (
      ([0, 1, 0], 'order names class 0 twice'),
      ([0, 6], 'order has class 6: need 0 <= class < capacity 6'),
      ([-1], 'order has class -1'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        measure(TEST, LABELS, np.array(order))
    with self.assertRaisesRegex(TypeError, 'labels must be .* integers; got f'):
      measure(TEST, LABELS.astype(np.float32), np.arange(2))
    with self.assertRaisesRegex(ValueError, r'labels must be \[Q\] = \(42,\)'):
      measure(TEST, LABELS[:3], np.arange(2))
    with self.assertRaisesRegex(ValueError, "distance='cosine' is unknown"):
      measure(TEST, LABELS, np.arange(2), distance='cosine')


if __name__ == '__main__':
  absltest.main()
