# SPDX-License-Identifier: Apache-2.0
"""With which variance kernels start."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.core import types


class StartTest(parameterized.TestCase):
  @parameterized.parameters(
    ('glorot', 2 / (400 + 200)), ('fan_in', 1 / 400), ('he', 2 / 400)
  )
  def test_kernels_start_with_the_variance_asked_for(self, rule, want):
    def init(key):
      kernel = jax.random.normal(key, (2, 2, 100, 50)) / 20.0
      return {'kernel': kernel, 'bias': jnp.ones(50)}

    task = types.Task(init, lambda *a, **k: 0.0, lambda *a: {})
    params = networks.with_kernel_init(task, rule).init(jax.random.key(0))
    np.testing.assert_allclose(
      np.asarray(params['kernel']).var(), want, rtol=0.05
    )
    np.testing.assert_array_equal(params['bias'], 1.0)
    found = networks.kernel_variances(params, rule)
    self.assertAlmostEqual(found['kernel'], want)
    self.assertEqual(found['bias'], 0.0)


if __name__ == '__main__':
  absltest.main()
