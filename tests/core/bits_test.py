# SPDX-License-Identifier: Apache-2.0
"""Numbers as integers, against NumPy's order."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import bits

SPECIAL = np.array(
  [np.nan, 1.0, np.inf, -np.inf, -0.0, 0.0, -np.nan, 1e-37, -1e-37, 1.0]
)


class BitsTest(parameterized.TestCase):
  @parameterized.parameters('float32', 'float64')
  def test_order_of_numbers_and_back(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      x = np.array([-np.inf, -2.5, -1e-37, 0.0, 1e-37, 3.0, np.inf], dtype)
      keys = np.asarray(bits.ordered_bits(jnp.asarray(x)))
      self.assertTrue((np.diff(keys) > 0).all())
      back = bits.of_ordered_bits(jnp.asarray(keys), dtype)
      np.testing.assert_array_equal(back, x)
      tiny = np.finfo(dtype).tiny
      zeros = np.array([0.0, -0.0, tiny / 2, -tiny / 4, -np.nan], dtype)
      *zeros, nan = bits.ordered_bits(jnp.asarray(zeros)).tolist()
      self.assertEqual(zeros, [0] * 4)
      self.assertGreater(nan, keys.max())

  @parameterized.product(
    case=[
      *('normal', 'ties', 'special', 'counts', 'few', 'many'),
      *('outlier', 'tails', 'votes', 'tiny', 'equal'),
    ],
    vmapped=[False, True],
  )
  def test_argsort_is_numpys_stable_one(self, case, vmapped):
    rng = np.random.default_rng(0)
    x = {
      'normal': rng.normal(size=3000).astype(np.float32),
      'ties': rng.integers(-2, 3, size=1500).astype(np.float32),
      'special': rng.choice(SPECIAL, 1200).astype(np.float32),
      'counts': rng.integers(-(2**31), 2**31, size=1100).astype(np.int32),
      'few': rng.choice(SPECIAL, 30).astype(np.float32),
      # All but one share their leading bits.
      'outlier': np.append(1e30, rng.normal(size=2000)).astype(np.float32),
      'tails': rng.standard_cauchy(9001).astype(np.float32),
      'votes': rng.integers(5000, 90_000, size=5000).astype(np.int32),
      'tiny': (rng.integers(-9, 9, size=2000) * 1.2e-38).astype(np.float32),
      'equal': np.full(1500, 7, np.int32),
      # Three passes.
      'many': rng.integers(0, 9, size=70_000).astype(np.float32),
    }[case]
    want = np.argsort(x, kind='stable')
    run = jax.jit(jax.vmap(bits.argsort) if vmapped else bits.argsort)
    got = run(x[None])[0] if vmapped else run(x)
    self.assertEqual(got.dtype, jnp.int32)
    np.testing.assert_array_equal(got, want)

  def test_other_widths(self):
    x = np.array([3.0, -1.0, 3.0, 0.5])
    want = [1, 3, 0, 2]
    self.assertEqual(bits.argsort(jnp.asarray(x, jnp.bfloat16)).tolist(), want)
    self.assertEqual(bits.argsort(jnp.asarray(x * 2, jnp.int8)).tolist(), want)
    with jax.enable_x64(True):
      self.assertEqual(bits.argsort(jnp.asarray(x)).tolist(), want)

  def test_says_what_it_takes(self):
    with self.assertRaisesRegex(
      ValueError, r'vector \[n\]; got shape \(2, 2\)'
    ):
      bits.argsort(jnp.zeros((2, 2)))


if __name__ == '__main__':
  absltest.main()
