# SPDX-License-Identifier: Apache-2.0
"""Spread of a figure over clients, against NumPy."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import metrics


class SpreadTest(parameterized.TestCase):
  @parameterized.parameters((1, 0), (7, 0), (25, 4), (100, 30))
  def test_against_numpy(self, there, missing):
    rng = np.random.default_rng(there)
    values = rng.random(there + missing).astype(np.float32)
    counts = rng.integers(1, 9, there + missing)
    gone = rng.choice(there + missing, missing, replace=False)
    counts[gone] = 0
    values[gone] = np.nan
    got = jax.jit(metrics.spread_over_clients)(values, counts)
    x, n = values[counts > 0].astype(np.float64), counts[counts > 0]
    worst = max(1, int(np.floor(0.1 * there + 0.5)))
    want = {
      'client_accuracy': x.mean(),
      'weighted_accuracy': (x * n).sum() / n.sum(),
      'std_accuracy': x.std(),
      'min_accuracy': x.min(),
      'max_accuracy': x.max(),
      'worst_tenth_accuracy': np.sort(x)[:worst].mean(),
      'clients_without_examples': missing,
    } | {f'p{p}_accuracy': np.percentile(x, p) for p in (5, 10, 25, 50, 75, 90)}
    self.assertEqual(set(got), set(want))
    for name, value in want.items():
      np.testing.assert_allclose(got[name], value, atol=1e-5, err_msg=name)

  def test_nobody_has_a_figure(self):
    got = metrics.spread_over_clients(np.ones(3), np.zeros(3), name='loss')
    self.assertTrue(np.isnan(got['client_loss']))
    self.assertEqual(float(got['clients_without_examples']), 3)


if __name__ == '__main__':
  absltest.main()
