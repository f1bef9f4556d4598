# SPDX-License-Identifier: Apache-2.0
"""What is said of classes, against counting by hand."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.core import classes

NAN = np.nan


class IsRightTest(parameterized.TestCase):
  @parameterized.parameters('float32', 'bfloat16', 'float16')
  def test_counts_by_hand(self, dtype):
    logits = [
      [0, 1],
      [2, 2],
      [2, 2],
      [NAN, 0],
      [0, NAN],
      [NAN, NAN],
      [1, -np.inf],
    ]
    labels = [1, 0, 1, 0, 1, 0, 0]
    got = classes.is_right(jnp.array(logits, dtype), jnp.array(labels))
    want = [True, True, False, False, False, False, True]
    self.assertEqual(got.tolist(), want)

  def test_a_model_of_no_numbers_is_wrong(self):
    """It would be as good as a guess of the first class."""
    labels = jnp.array([0, 0, 1])
    task = networks.classification(
      networks.mlp((), 2), jnp.ones((1, 3)), num_classes=2
    )
    params = [{'kernel': jnp.full((3, 2), NAN), 'bias': jnp.zeros(2)}]
    batch = {'inputs': jnp.ones((3, 3)), 'labels': labels}
    self.assertEqual(float(task.evaluate(params, batch)['accuracy']), 0.0)
    self.assertTrue(np.isnan(task.evaluate(params, batch)['loss']))


if __name__ == '__main__':
  absltest.main()
