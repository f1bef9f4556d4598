# SPDX-License-Identifier: Apache-2.0
"""Distances between clients in NumPy, over the whole range of float32."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from jaxdl import metrics


class ConsensusMetricsTest(absltest.TestCase):
  def test_error_in_units_of_the_spread_at_any_size(self):
    rng = np.random.default_rng(0)
    honest = {'a': rng.normal(size=(5, 3)), 'b': rng.normal(size=(5, 2))}
    update = {'a': rng.normal(size=3), 'b': rng.normal(size=2)}
    rows = np.concatenate([honest['a'], honest['b']], axis=1)
    gap = np.concatenate([update['a'], update['b']]) - rows.mean(0)
    want = np.square(gap).sum() / np.square(rows - rows.mean(0)).sum(1).mean()
    error = jax.jit(metrics.aggregation_error)
    for size in (1e-25, 1.0, 1e25):
      scaled = jax.tree.map(
        lambda x, size=size: jnp.asarray(size * x, 'float32'), (update, honest)
      )
      np.testing.assert_allclose(error(*scaled), want, rtol=1e-5)
    same = jax.tree.map(lambda x: jnp.ones((5, *x.shape)), update)
    self.assertEqual(float(error(update, same)), 0.0)
    for bad in (np.nan, np.inf):
      broken = jax.tree.map(lambda x, bad=bad: x.at[0, 0].set(bad), scaled[1])
      self.assertTrue(np.isnan(error(scaled[0], broken)))


if __name__ == '__main__':
  absltest.main()
