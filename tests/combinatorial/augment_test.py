# SPDX-License-Identifier: Apache-2.0
"""The eight symmetries of a square keep every distance."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from jaxdl import combinatorial
from tests.reference import combinatorial as reference


class AugmentTest(absltest.TestCase):
  def test_eight_different_isometries_of_the_unit_square(self):
    points = np.random.default_rng(0).random((7, 2))
    found = np.asarray(combinatorial.augment8(jnp.asarray(points)))
    self.assertEqual(found.shape, (8, 7, 2))
    np.testing.assert_allclose(found[0], points, rtol=1e-6)
    self.assertTrue((found >= 0).all() and (found <= 1).all())
    for a in range(8):
      np.testing.assert_allclose(
        reference.distances(found[a]), reference.distances(points), atol=1e-6
      )
      for b in range(a):
        self.assertGreater(np.abs(found[a] - found[b]).max(), 1e-3)

  def test_keeps_dtype_and_maps(self):
    points = jnp.ones((3, 5, 2), jnp.bfloat16)
    found = jax.jit(combinatorial.augment8)(points)
    self.assertEqual((found.shape, found.dtype), ((8, 3, 5, 2), points.dtype))

  def test_says_what_it_wants(self):
    with self.assertRaisesRegex(ValueError, r'shape \[..., 2\]; got \(5, 3\)'):
      combinatorial.augment8(jnp.ones((5, 3)))


if __name__ == '__main__':
  absltest.main()
