# SPDX-License-Identifier: Apache-2.0
"""Gram matrices against float64, also where float32 cancels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import aggregators as reference

from jaxdl.core import gram as gram_lib, trees


@functools.cache
def _program():
  return jax.jit(gram_lib.centered_gram)


def _frame(x, mask=None):
  """Inner products around the center in the units of the data."""
  frame = _program()(x, mask=mask)
  return np.asarray(frame.products, np.float64) * np.float64(frame.unit) ** 2


_sq = jax.jit(gram_lib.squared_distances)
_plain = jax.jit(lambda x: gram_lib.squared_distances(gram_lib.gram(x)))
_medoid = jax.jit(gram_lib.medoid)


def _distances(frame):
  n = frame.shape[0] - 1
  squares = np.diagonal(frame)[:n]
  out = squares[:, None] + squares[None, :] - 2 * frame[:n, :n]
  return np.maximum(out, 0) * (1 - np.eye(n))


def _draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


class GramTest(parameterized.TestCase):
  # Below one block, a whole number of blocks, blocks and a tail.
  @parameterized.parameters(7, 1 << 18, (1 << 18) + 1001)
  def test_against_float64(self, size):
    n = 3
    x = _draw(n, size).astype(np.float32)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(
      jax.jit(gram_lib.gram)(x), exact @ exact.T, rtol=1e-4, atol=1e-2
    )
    center = x[1] + 1
    rows = np.concatenate([exact - center, center[None]])
    got = jax.jit(lambda x, c: gram_lib.gram(x, center=c))(x, center)
    np.testing.assert_allclose(got, rows @ rows.T, rtol=1e-4, atol=1e-1)

  def test_sums_over_leaves(self):
    x = _draw(4, 7).astype(np.float32)
    tree = {'w': x[:, :6].reshape(4, 3, 2), 'b': x[:, 6]}
    run = jax.jit(gram_lib.gram)
    np.testing.assert_allclose(run(tree), run(x), rtol=1e-5, atol=1e-5)

  def test_distances(self):
    x = _draw(6, 4)
    got = _plain(x.astype(np.float32))
    np.testing.assert_allclose(got, reference.pairwise_sq(x), atol=1e-5)
    bad = jnp.array([[1.0, jnp.nan], [jnp.nan, jnp.nan]])
    np.testing.assert_array_equal(_sq(bad), [[0, np.inf], [np.inf, 0]])

  def test_distances_are_symmetric(self):
    products = jnp.asarray(_draw(5, 5), jnp.float32)
    got = np.asarray(_sq(products))
    np.testing.assert_array_equal(got, got.T)

  def test_medoid(self):
    x = np.array([[0.0], [1.0], [1.2], [5.0], [90.0]])
    distances = jnp.asarray(reference.pairwise_sq(x), jnp.float32)
    self.assertEqual(int(_medoid(distances)), 1)
    mask = jnp.array([True, False, False, True, True])
    self.assertEqual(int(_medoid(distances, mask=mask)), 0)


class CenteredGramTest(parameterized.TestCase):
  @parameterized.parameters(300, 5000)
  def test_nearly_equal_updates(self, size):
    """Common part 1e3, differences 1e-2: a plain Gram matrix sees nothing."""
    x = (1e3 * _draw(1, size) + 1e-2 * _draw(9, size, seed=1)).astype(
      np.float32
    )
    want = reference.pairwise_sq(x)
    got = _distances(_frame(x))
    np.testing.assert_allclose(got, want, rtol=1e-3)
    plain = np.asarray(_plain(x))
    self.assertGreater(np.abs(plain / np.where(want, want, 1) - 1).max(), 1)

  @parameterized.parameters(0, 4, 8)
  def test_rows_that_are_not_finite(self, place):
    x = _draw(9, 40).astype(np.float32)
    x[place, 3] = np.nan
    frame = _frame(x)
    rest = np.delete(np.arange(9), place)
    np.testing.assert_allclose(
      _distances(frame)[np.ix_(rest, rest)],
      reference.pairwise_sq(x[rest]),
      rtol=1e-4,
      atol=1e-4,
    )
    self.assertFalse(np.isfinite(frame[place, place]))
    self.assertTrue(np.isfinite(frame[9, 9]))

  @parameterized.parameters(1, 2, 3)
  def test_one_good_row_is_enough(self, num_broken):
    """With few rows a broken one is at distance zero from itself only."""
    x = np.full((num_broken + 1, 4), np.nan, np.float32)
    x[-1] = 2.0
    frame = _frame(x)
    self.assertEqual(frame[-1, -1], 16.0)

  def test_guess_is_corrected_when_the_sample_deceives(self):
    """The first coordinates recommend a row that is far off elsewhere."""
    x = _draw(7, 4000, seed=2).astype(np.float32)
    x[:, :1024] = 0.0
    x[1:, :1024] += 0.01 * _draw(6, 1024, seed=3)
    x[0, 1024:] = 1e6
    frame = _frame(x)
    # The center is an ordinary row after all.
    self.assertLess(frame[7, 7], 1e5)
    self.assertTrue(_rare_branch_taken(x))
    np.testing.assert_allclose(
      _distances(frame)[1:, 1:], reference.pairwise_sq(x[1:]), rtol=1e-4
    )

  def test_guess_is_kept_in_ordinary_cases(self):
    for seed in range(3):
      x = _draw(9, 4000, seed=seed).astype(np.float32)
      x[2] *= 1e5
      x[5] = np.nan
      self.assertFalse(_rare_branch_taken(x))

  def test_padding_keeps_the_guess(self):
    x = np.concatenate([1e3 + _draw(5, 40), np.zeros((20, 40))])
    mask = np.arange(25) < 5
    frame = _frame(x.astype(np.float32), mask)
    self.assertGreater(float(frame[25, 25]), 1e6)
    self.assertFalse(_rare_branch_taken(x.astype(np.float32), mask))
    np.testing.assert_allclose(
      _distances(frame)[:5, :5],
      reference.pairwise_sq(x[:5]),
      rtol=1e-3,
    )

  # Squares of these overflow or vanish in float32; 3e38 is its largest number.
  @parameterized.parameters(1e-30, 1e-22, 1e-12, 1e18, 1e25, 3e37)
  def test_any_magnitude(self, size):
    x = (_draw(9, 40) * size).astype(np.float32)
    exact = x.astype(np.float64)
    x[3] = np.nan
    rest = np.delete(np.arange(9), 3)
    got = _distances(_frame(x))[np.ix_(rest, rest)] / size**2
    want = reference.pairwise_sq(exact[rest] / size)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)

  def test_rows_that_dwarf_the_others_are_left_out(self):
    x = _draw(9, 40).astype(np.float32)
    x[2], x[6] = 1e14, 1e20
    frame = _frame(x)
    self.assertEqual(np.isnan(np.diagonal(frame)).nonzero()[0].tolist(), [6])
    rest = np.delete(np.arange(9), [2, 6])
    np.testing.assert_allclose(
      _distances(frame)[np.ix_(rest, rest)],
      reference.pairwise_sq(x[rest]),
      rtol=1e-4,
      atol=1e-4,
    )
    self.assertAlmostEqual(_distances(frame)[0, 2] / 40e28, 1, places=4)


class LengthsTest(parameterized.TestCase):
  def test_power_of_two(self):
    x = np.float32([5.0, 0.3, 1.0, 2**-100, 2**100, 0.0, np.nan, np.inf])
    got = np.asarray(jax.jit(trees.power_of_two)(x))
    want = [4.0, 0.25, 1.0, 2**-100, 2**100, 1.0, 1.0, 1.0]
    np.testing.assert_array_equal(got, np.float32(want))
    extreme = np.float32([1e-45, 3e38])
    got = np.asarray(jax.jit(trees.power_of_two)(extreme))
    self.assertTrue((np.isfinite(1 / got) & (got > 0)).all())

  def test_norms_and_cosines_of_rows_of_all_magnitudes(self):
    x = _draw(8, 20)
    sizes = [1e-30, 1e-18, 1e-3, 1.0, 1e6, 1e18, 1e30, 1e37]
    rows = (x * np.array(sizes)[:, None]).astype(np.float32)
    norms, units, finite = jax.jit(gram_lib.row_norms)(
      rows, mask=np.ones(8, bool)
    )
    got = np.float64(norms) * np.float64(units) / sizes
    np.testing.assert_allclose(got, np.linalg.norm(x, axis=1), rtol=1e-5)
    self.assertTrue(np.asarray(finite).all())
    cosines, norms, units, usable, _ = jax.jit(gram_lib.directions)(rows)
    got = np.float64(norms) * np.float64(units) / sizes
    np.testing.assert_allclose(got, np.linalg.norm(x, axis=1), rtol=1e-5)
    unit = reference.unit_rows(x)
    np.testing.assert_allclose(cosines, unit @ unit.T, atol=1e-6)
    self.assertTrue(np.asarray(usable).all())

  def test_zero_and_broken_rows(self):
    x = _draw(4, 5).astype(np.float32)
    x[1], x[2, 0] = 0.0, np.inf
    norms, _, finite = jax.jit(gram_lib.row_norms)(x, mask=np.ones(4, bool))
    np.testing.assert_array_equal(finite, [True, True, False, True])
    np.testing.assert_array_equal(np.asarray(norms)[1:3], 0.0)
    cosines, _, _, usable, finite = jax.jit(gram_lib.directions)(x)
    np.testing.assert_array_equal(usable, [True, False, False, True])
    np.testing.assert_array_equal(finite, [True, True, False, True])
    np.testing.assert_array_equal(np.asarray(cosines)[1:3], 0.0)


def _rare_branch_taken(x, mask=None):
  """Whether all coordinates were read again, seen from inside the branch."""
  taken = []
  plain = jax.lax.cond

  def spy(pred, true_fun, false_fun, *operands):
    taken.append(not bool(pred))
    return plain(pred, true_fun, false_fun, *operands)

  jax.lax.cond = spy
  try:
    gram_lib.centered_gram(jnp.asarray(x), mask=mask)
  finally:
    jax.lax.cond = plain
  return taken[0]


if __name__ == '__main__':
  absltest.main()
