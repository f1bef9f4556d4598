# SPDX-License-Identifier: Apache-2.0
"""Order statistics over clients against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings, strategies as st

from jaxdl.core import order

SIZES = (1, 2, 3, 20, 64, 65, 200)


def _rows(n, size=5, seed=0):
  return np.random.default_rng(seed).normal(size=(n, size)).astype(np.float32)


class NetworkTest(parameterized.TestCase):
  @parameterized.parameters(*range(1, 17))
  def test_sorts_every_word_of_bits(self, n):
    """A network that sorts all words of zeros and ones sorts everything."""
    words = (np.arange(2**n)[None, :] >> np.arange(n)[:, None]) & 1
    rows = list(words.astype(np.int8))
    for i, j in order.comparators(n):
      self.assertLess(i, j)
      rows[i], rows[j] = (
        np.minimum(rows[i], rows[j]),
        np.maximum(rows[i], rows[j]),
      )
    np.testing.assert_array_equal(np.stack(rows), np.sort(words, axis=0))

  @given(st.integers(17, 64), st.integers(0, 2**32 - 1))
  @settings(max_examples=40, deadline=None)
  def test_sorts_larger_words(self, n, seed):
    draw = np.random.default_rng(seed)
    words = (draw.random((n, 64)) < draw.random(64)).astype(np.int8)
    rows = list(words)
    for i, j in order.comparators(n):
      rows[i], rows[j] = (
        np.minimum(rows[i], rows[j]),
        np.maximum(rows[i], rows[j]),
      )
    np.testing.assert_array_equal(np.stack(rows), np.sort(words, axis=0))

  def test_number_of_comparators(self):
    self.assertLen(order.comparators(16), 63)
    self.assertLen(order.comparators(20), 103)
    self.assertLen(order.comparators(64), 543)


class SortTest(parameterized.TestCase):
  @parameterized.parameters(*SIZES)
  def test_values_ties_and_extremes(self, n):
    x = _rows(n)
    x[:, 1] = np.round(x[:, 1])
    x[: n // 2, 2] = np.nan
    x[: n // 3, 3] = np.inf
    x[n // 2 :, 3] = -np.inf
    want = np.sort(np.where(np.isnan(x), np.inf, x), axis=0)
    np.testing.assert_array_equal(jax.jit(order.sort)(x), want)

  @parameterized.product(n=[7, 70], dtype=['bfloat16', 'float64'])
  def test_keeps_dtype(self, n, dtype):
    with jax.enable_x64(True):
      x = jnp.asarray(_rows(n), dtype)
      got = jax.jit(order.sort)(x)
      self.assertEqual(got.dtype, x.dtype)
      want = np.sort(np.asarray(x.astype('float64')), axis=0)
      np.testing.assert_array_equal(got.astype('float64'), want)


class StatisticsTest(parameterized.TestCase):
  @parameterized.product(n=SIZES)
  def test_medians_and_windows(self, n):
    x = _rows(n)
    b = (n - 1) // 4

    @jax.jit
    def run(x, count):
      rows = order.sorted_rows(x)
      return {
        'median': order.median_of(rows),
        'lower': order.median_of(rows, kind='lower'),
        'window': order.window_mean(rows, b, n - b),
        'traced_median': order.median_of(rows, count=count),
        'traced_window': order.window_mean(rows, b, count - b),
        'bounds': order.window_of(rows, b, n - b),
      }

    out = run(x, n)
    ordered = np.sort(x, axis=0).astype(np.float64)
    np.testing.assert_allclose(
      out['median'], np.median(x.astype(np.float64), axis=0), atol=1e-6
    )
    np.testing.assert_array_equal(out['lower'], ordered[(n - 1) // 2])
    np.testing.assert_allclose(
      out['window'], ordered[b : n - b].mean(axis=0), atol=1e-6
    )
    np.testing.assert_allclose(out['traced_median'], out['median'])
    np.testing.assert_allclose(out['traced_window'], out['window'], atol=1e-6)
    np.testing.assert_array_equal(out['bounds'][0], ordered[b])
    np.testing.assert_array_equal(out['bounds'][1], ordered[n - b - 1])
    # A count below N leaves padding at +inf out.
    if n > 2:
      padded = np.concatenate([x[:-2], np.full((2, 5), np.inf)])
      np.testing.assert_allclose(
        run(padded.astype(np.float32), n - 2)['traced_median'],
        np.median(x[:-2], axis=0),
        atol=1e-6,
      )

  def test_middles_of_large_values_are_compiled_without_overflow(self):
    # A compiler makes a sum of halves half of a sum.
    x = np.array([[-2e38, 3e38], [-3.2e38, 3.4e38]], np.float32)
    want = (x.astype(np.float64).sum(axis=0) / 2).astype(np.float32)
    median = lambda x: order.median_of(order.sorted_rows(x))
    for run in (median, jax.jit(median)):
      np.testing.assert_allclose(run(jnp.asarray(x)), want, rtol=1e-6)
    # The nearest two of a center, whatever is far away.
    rows = np.array([[-3.4e38], [-1e38], [3.1e38], [3.2e38]], np.float32)
    near = lambda x: order.nearest_mean(
      order.sorted_rows(x), jnp.full(1, 3e38, jnp.float32), 2
    )
    for run in (near, jax.jit(near)):
      np.testing.assert_allclose(run(jnp.asarray(rows)), [3.15e38], rtol=1e-6)

  def test_median_of_large_values_does_not_overflow(self):
    x = np.array([[-3e38], [3e38], [3e38], [-3e38]], np.float32)
    got = order.median_of(order.sorted_rows(jnp.asarray(x)))
    np.testing.assert_array_equal(got, [0.0])

  def test_median_next_to_infinity(self):
    rows = lambda *v: order.sorted_rows(jnp.array(v)[:, None])
    inf = jnp.inf
    self.assertEqual(order.median_of(rows(-inf, 1.0, 2.0))[0], 1.0)
    self.assertEqual(order.median_of(rows(inf, inf, 1.0, 1.0))[0], inf)
    self.assertEqual(order.median_of(rows(-inf, -inf, -inf, 1.0))[0], -inf)
    self.assertFalse(bool(jnp.isnan(order.median_of(rows(-inf, inf))[0])))

  @parameterized.product(n=[1, 2, 3, 20, 65])
  def test_nearest_mean(self, n):
    x = _rows(n, seed=n)
    x[:, 4] = np.round(x[:, 4])
    center = np.array([0.0, 0.3, -5.0, 5.0, 0.0], np.float32)
    middle = (n + 1) // 2

    @jax.jit
    def run(x, kept):
      rows = order.sorted_rows(x)
      return (
        order.nearest_mean(rows, center, kept),
        order.nearest_window(rows, center, kept),
      )

    for kept in sorted({1, middle, n}):
      out = [run(x, kept)]
      if kept == middle or n == 3:  # A program each.
        out.append(jax.jit(functools.partial(run.__wrapped__, kept=kept))(x))
      want = np.zeros((3, 5))
      for d in range(5):
        near = np.lexsort((x[:, d], np.abs(x[:, d] - center[d])))[:kept]
        values = x[near, d].astype(np.float64)
        want[:, d] = values.mean(), values.min(), values.max()
      order_of = np.sort(x.astype(np.float64), axis=0)
      for mean, (low, high, start) in out:
        np.testing.assert_allclose(mean, want[0], atol=1e-5)
        np.testing.assert_array_equal(low, want[1])
        np.testing.assert_array_equal(high, want[2])
        for d in range(5):
          self.assertEqual(order_of[start[d], d], want[1, d])
          self.assertEqual(order_of[start[d] + kept - 1, d], want[2, d])

  def test_traced_positions_stay_in_one_loop(self):
    """A stack of all sorted rows compiles and runs tens of times slower."""

    def run(x, count):
      rows = order.sorted_rows(x)
      center = order.median_of(rows, count=count)
      return order.nearest_mean(rows, center, count - 2, max_moves=2)

    jaxpr = str(jax.make_jaxpr(run)(jnp.ones((20, 4)), 20))
    self.assertIn(' min ', jaxpr)
    self.assertNotIn('concatenate', jaxpr)

  def test_widened_rows(self):
    for n in (3, 70):
      x = jnp.asarray(_rows(n), jnp.bfloat16)
      run = jax.jit(lambda x: order.widen(order.sorted_rows(x))[len(x) - 1])
      got = run(x)
      self.assertEqual(got.dtype, jnp.float32)
      np.testing.assert_array_equal(got, np.asarray(x).max(axis=0))

  # One block, blocks and a tail that overlaps, exactly two blocks.
  @parameterized.parameters(100, order.BLOCK + 9, 2 * order.BLOCK)
  def test_block_by_block(self, size):
    x = _rows(65, size)
    kernel = lambda block: order.median_of(order.sorted_rows(block))
    got = jax.jit(lambda x: order.by_blocks(kernel, x))(x.reshape(65, size, 1))
    self.assertEqual(got.shape, (size, 1))
    np.testing.assert_array_equal(got[:, 0], np.median(x, axis=0))

  def test_absent_rows_sort_last(self):
    x = jnp.array([[1.0], [jnp.nan], [3.0]])
    mask = jnp.array([True, False, True])
    np.testing.assert_array_equal(
      order.absent_last(x, mask), [[1.0], [jnp.inf], [3.0]]
    )
    self.assertIs(order.absent_last(x, None), x)


if __name__ == '__main__':
  absltest.main()
