# SPDX-License-Identifier: Apache-2.0
"""Sums, means, maxima and softmaxes of segments, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs

IDS = np.array([0, 0, 2, 2, 2, 3, 9, -1])
MASK = np.array([1, 1, 1, 0, 1, 0, 1, 1], bool)
OPERATIONS = {
  'sum': graphs.segment_sum,
  'mean': graphs.segment_mean,
  'max': graphs.segment_max,
  'softmax': graphs.segment_softmax,
}


def reference(name, x, ids, num, mask):
  out = np.zeros_like(x) if name == 'softmax' else np.zeros((num, x.shape[1]))
  for s in range(num):
    rows = np.flatnonzero((ids == s) & mask)
    if len(rows) and name == 'softmax':
      parts = np.exp(x[rows] - x[rows].max(0))
      out[rows] = parts / parts.sum(0)
    elif len(rows):
      out[s] = getattr(np, name)(x[rows], axis=0)
  return out


class SegmentsTest(parameterized.TestCase):
  @parameterized.parameters(*OPERATIONS)
  def test_values_and_gradients(self, name):
    """Segments without rows, rows without segments, and rows that are NaN."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 2))
    shown = np.where(MASK[:, None], x, np.nan).astype(np.float32)
    run = lambda x: OPERATIONS[name](
      x, IDS, 5, mask=jnp.asarray(MASK), is_sorted=False
    )
    want = reference(name, x, IDS, 5, MASK)
    c = rng.normal(size=want.shape)
    loss = lambda x: ((run(x) * c.astype(np.float32)).sum(), run(x))
    run_both = jax.jit(jax.grad(loss, has_aux=True))
    gradient, got = run_both(jnp.asarray(shown))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    for i in range(8):
      for j in range(2):
        step = np.zeros_like(x)
        step[i, j] = 1e-6
        ends = [
          (reference(name, x + s * step, IDS, 5, MASK) * c).sum()
          for s in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient[i, j], slope, atol=1e-4)

  @parameterized.parameters('bfloat16', 'float16')
  def test_half_precision_adds_up(self, dtype):
    # One by one ones in bfloat16 end at 256.
    ones, ids = jnp.ones(1000, dtype), jnp.zeros(1000, jnp.int32)
    total = graphs.segment_sum(ones, ids, 1)
    self.assertEqual(total.dtype, dtype)
    self.assertEqual(float(total[0]), 1000)
    mean = graphs.segment_mean(ones, ids, 1)
    self.assertEqual((mean.dtype, float(mean[0])), (dtype, 1))
    parts = graphs.segment_softmax(ones, ids, 1)
    self.assertEqual(parts.dtype, dtype)
    self.assertAlmostEqual(float(parts.astype('float32').sum()), 1, delta=5e-3)

  def test_integers(self):
    x, ids = [-3, -1, -4], [0, 0, 1]
    top = graphs.segment_max(x, ids, 3, mask=jnp.array([True, True, False]))
    self.assertEqual((top.dtype, top.tolist()), (jnp.int32, [-1, 0, 0]))
    self.assertEqual(graphs.segment_mean(x, ids, 2).tolist(), [-2, -4])
    self.assertEqual(graphs.segment_sum(x, ids, 2).tolist(), [-4, -4])
    self.assertEqual(graphs.segment_count([], 2).tolist(), [0, 0])
    with self.assertRaisesRegex(ValueError, 'empty must be a whole number'):
      graphs.segment_max(x, ids, 3, empty=-np.inf)

  def test_nothing(self):
    for name, run in OPERATIONS.items():
      for num in (0, 3):
        got = run(jnp.zeros((0, 2)), [], num)
        self.assertEqual(got.shape, (0 if name == 'softmax' else num, 2))

  def test_says_what_is_wrong(self):
    x, ids = jnp.ones(3), jnp.zeros(3, jnp.int32)
    for name, run in OPERATIONS.items():
      called = 'logits' if name == 'softmax' else 'data'
      for arguments, options, message in (
        ((x, jnp.zeros(3), 1), {}, 'segment_ids must be integers; got float32'),
        ((x, ids, 1), {'mask': x}, 'mask must be bool; got float32'),
        ((x > 0, ids, 1), {}, f'{called} must be numbers; got bool'),
        ((x, ids, 1.0), {}, 'num_segments must be an integer'),
      ):
        with self.assertRaisesRegex(TypeError, message):
          run(*arguments, **options)
      with self.assertRaisesRegex(ValueError, f'{called} and segment_ids'):
        run(x, ids[:2], 1)
    with self.assertRaisesRegex(TypeError, 'logits must be floating point'):
      graphs.segment_softmax(ids, ids, 1)


if __name__ == '__main__':
  absltest.main()
