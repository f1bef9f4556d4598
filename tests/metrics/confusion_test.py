# SPDX-License-Identifier: Apache-2.0
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from sklearn import metrics as peers

from jaxdl import metrics


class ConfusionTest(parameterized.TestCase):
  @parameterized.parameters(3, 5)
  def test_equals_sklearn(self, num_classes):
    rng = np.random.default_rng(num_classes)
    labels = rng.integers(0, 3, 40)
    predicted = np.where(rng.random(40) < 0.6, labels, rng.integers(0, 3, 40))
    mask = rng.random(40) < 0.8
    got = metrics.confusion_matrix(
      jnp.asarray(labels.reshape(4, 10)),
      jnp.asarray(predicted.reshape(4, 10)),
      num_classes,
      mask=jnp.asarray(mask.reshape(4, 10)),
    )
    want = peers.confusion_matrix(
      labels[mask], predicted[mask], labels=range(num_classes)
    )
    np.testing.assert_array_equal(got, want)
    # Classes that nobody has or names do not count.
    np.testing.assert_allclose(
      metrics.macro_f1(got),
      peers.f1_score(labels[mask], predicted[mask], average='macro'),
      rtol=1e-6,
    )

  def test_classes_that_are_only_named_count(self):
    labels, predicted = np.array([0, 0, 1]), np.array([0, 2, 2])
    got = metrics.macro_f1(
      metrics.confusion_matrix(jnp.asarray(labels), jnp.asarray(predicted), 4)
    )
    want = peers.f1_score(labels, predicted, average='macro', zero_division=0)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    self.assertEqual(float(metrics.macro_f1(jnp.zeros((4, 4)))), 0.0)


if __name__ == '__main__':
  absltest.main()
