# SPDX-License-Identifier: Apache-2.0
"""Moments that stream, correlations, and partners for units."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import optimize

from jaxdl.core import clients
from jaxdl.theory import matching

PI = np.array([3, 0, 4, 1, 2])


def _draw(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape)


def _pair(samples=200, n1=4, n2=6, seed=0):
  """Two sets of units with some correlation."""
  x = _draw(seed, samples, n1)
  return x, x @ _draw(seed + 1, n1, n2) + _draw(seed + 2, samples, n2)


def _cross(x, y):
  """Correlations of all units, float64."""
  return np.corrcoef(x.T, y.T)[: x.shape[1], x.shape[1] :]


class MomentsTest(parameterized.TestCase):
  @parameterized.parameters(((200,),), ((50, 150),), ((1, 3, 96, 100),))
  def test_any_split_gives_the_correlations_of_numpy(self, splits):
    x, y = _pair()
    with jax.enable_x64(True):
      parts = np.split(np.arange(200), np.cumsum(splits)[:-1])
      moments = [matching.activation_moments(x[p], y[p]) for p in parts]
      whole = moments[0]
      for other in moments[1:]:
        whole = matching.merge_moments(whole, other)
      found = matching.correlation(whole)
      np.testing.assert_allclose(found.matrix, _cross(x, y), atol=1e-12)
      within = matching.correlation(whole, 1, 1).matrix
      np.testing.assert_allclose(within, np.corrcoef(y.T), atol=1e-12)
      back = matching.correlation(whole, 1, 0).matrix
      np.testing.assert_array_equal(back, found.matrix.T)
      np.testing.assert_allclose(whole.mean[0], x.mean(axis=0), atol=1e-13)
      np.testing.assert_allclose(
        whole.between(0, 1), np.cov(x.T, y.T, ddof=0)[:4, 4:], atol=1e-12
      )

  def test_large_means_keep_their_digits_in_float32(self):
    x, y = _pair()
    x, y = (np.asarray(v + 1e4, np.float32) for v in (x, y / y.std(axis=0)))
    want = _cross(x.astype(float), y.astype(float))
    batches = jnp.asarray(np.stack([x, np.pad(y, ((0, 0), (0, 0)))[:, :4]]))
    batches = batches.transpose(1, 0, 2).reshape(8, 25, 2, 4)
    run = jax.jit(
      lambda b: matching.stream_moments(lambda s: (s[:, 0], s[:, 1]), b)
    )
    found = matching.correlation(run(batches)).matrix
    np.testing.assert_allclose(found, want[:, :4], atol=1e-3)
    # As sums of squares they are gone.
    naive = (x.T @ x) / np.float32(200) - np.outer(x.mean(0), x.mean(0))
    self.assertGreater(np.abs(naive - np.cov(x.T, ddof=0)).max(), 1e-1)

  def test_devices_share_the_samples(self):
    x, y = _pair(samples=64)
    shift = 1e3
    x, y = (np.asarray(v + shift, np.float32) for v in (x, y))
    mesh = clients.clients_mesh(8)
    run = jax.shard_map(
      lambda x, y: matching.all_reduce_moments(
        matching.activation_moments(x, y), 'clients'
      ),
      mesh=mesh,
      in_specs=jax.P('clients'),
      out_specs=jax.P(),
    )
    found = jax.jit(run)(x, y)
    self.assertEqual(found.count, 64)
    want = np.cov(x.T.astype(float), y.T.astype(float), ddof=0)
    np.testing.assert_allclose(found.between(0, 1), want[:4, 4:], atol=2e-4)
    np.testing.assert_allclose(found.mean[1], y.mean(0), rtol=1e-6)
    with self.assertRaisesRegex(ValueError, "axis_name='rows' is not mapped"):
      matching.all_reduce_moments(found, 'rows')

  def test_padding_does_not_count_whatever_it_holds(self):
    x, y = (np.asarray(v, np.float32) for v in _pair(samples=20))
    mask = np.arange(20) < 15
    run = jax.jit(
      lambda x, y, mask: matching.activation_moments(x, y, mask=mask)
    )
    x[15:], y[15:] = np.nan, 9e9
    found = run(x, y, mask)
    want = np.cov(x[:15].T, y[:15].T, ddof=0)
    np.testing.assert_allclose(found.between(0, 1), want[:4, 4:], atol=1e-5)
    empty = run(x, y, np.zeros(20, bool))
    both = matching.merge_moments(empty, found)
    for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(found), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-6)

  def test_a_channel_is_a_unit_and_a_position_a_sample(self):
    x = _draw(0, 3, 4, 5, 2).astype(np.float32)
    found = matching.activation_moments(x)
    self.assertEqual(found.count, 60)
    want = np.cov(x.reshape(60, 2).T, ddof=0)
    np.testing.assert_allclose(found.between(0, 0), want, atol=1e-6)
    # A mask of images holds for all positions.
    masked = matching.activation_moments(x, mask=np.array([1, 0, 1]) > 0)
    want = np.cov(x[[0, 2]].reshape(40, 2).T, ddof=0)
    np.testing.assert_allclose(masked.between(0, 0), want, atol=1e-6)

  def test_positive_scales_and_shifts_change_nothing(self):
    x, y = (np.maximum(v, 0).astype(np.float32) for v in _pair())
    plain = matching.correlation(matching.activation_moments(x, y))
    moved = matching.correlation(
      matching.activation_moments(
        x * np.array([1e-3, 1, 50, 2], np.float32) + 3, 7 * y - 1
      )
    )
    np.testing.assert_allclose(plain.matrix, moved.matrix, atol=2e-5)
    np.testing.assert_array_equal(
      matching.max_match(plain.matrix).col, matching.max_match(moved.matrix).col
    )

  def test_dead_units_correlate_with_nobody(self):
    x, y = (np.asarray(v, np.float32) for v in _pair())
    x[:, 1], y[:, 2] = 0.0, 3.7
    # Merged, so that the constant is met with different roundings.
    parts = [
      matching.activation_moments(a, b)
      for a, b in zip(np.split(x, [37]), np.split(y, [37]), strict=True)
    ]
    moments = matching.merge_moments(*parts)
    found = matching.correlation(moments)
    self.assertEqual(found.alive_x.tolist(), [True, False, True, True])
    self.assertFalse(found.alive_y[2])
    self.assertEqual(int(found.alive_y.sum()), 5)
    self.assertEqual(np.abs(found.matrix[1]).max(), 0)
    self.assertEqual(np.abs(found.matrix[:, 2]).max(), 0)
    within = matching.correlation(moments, 0, 0).matrix
    self.assertEqual(np.diag(within).tolist(), [1, 0, 1, 1])

  def test_inside_jit_a_broken_unit_is_dead_and_harms_no_other(self):
    x, y = (np.asarray(v, np.float32) for v in _pair())
    want = _cross(x.astype(float), y.astype(float))
    x[3, 0] = np.nan
    run = jax.jit(
      lambda x, y: matching.correlation(matching.activation_moments(x, y))
    )
    found = run(x, y)
    self.assertFalse(found.alive_x[0])
    self.assertEqual(np.abs(found.matrix[0]).max(), 0)
    np.testing.assert_allclose(found.matrix[1:], want[1:], atol=1e-5)

  @parameterized.parameters(
    ('samples in the same order', (5, 2), (6, 2)),
    (r'conv1 must have samples and units.*\(5,\)', (5,), (5,)),
  )
  def test_shapes_that_do_not_fit(self, message, *shapes):
    with self.assertRaisesRegex(ValueError, message):
      matching.activation_moments(*map(np.ones, shapes), layer='conv1')

  def test_says_which_unit_of_which_layer_is_broken(self):
    x = _draw(0, 8, 3)
    x[2, 1] = np.inf
    with self.assertRaisesRegex(ValueError, 'conv1 must be finite; unit 1'):
      matching.activation_moments(_draw(0, 8, 3), x, layer='conv1')
    with self.assertRaisesRegex(
      ValueError, 'conv1: no unit has non-zero variance over 500 samples'
    ):
      moments = matching.activation_moments(np.ones((500, 3)), _draw(0, 500, 3))
      matching.correlation(moments, layer='conv1')
    with self.assertRaisesRegex(ValueError, 'at least 2 samples'):
      matching.correlation(matching.activation_moments(np.ones((1, 2))), 0, 0)
    with self.assertRaisesRegex(ValueError, 'tol must lie in'):
      matching.correlation(moments, tol=-1.0)
    with self.assertRaisesRegex(ValueError, 'mask must have the leading axes'):
      matching.activation_moments(np.ones((4, 2)), mask=np.ones(3, bool))

  def test_chance_correlates_as_theory_says(self):
    n, samples = 40, 400
    moments = matching.activation_moments(
      *_draw(0, 2, samples, n).astype(np.float32)
    )
    matrix = matching.correlation(moments).matrix
    np.testing.assert_allclose(
      np.abs(matrix).mean(), np.sqrt(2 / (np.pi * samples)), rtol=0.04
    )
    semi = float(matching.match_summary(matrix).semi)
    np.testing.assert_allclose(
      semi, np.sqrt(2 * np.log(n) / samples), rtol=0.25
    )


class MatchTest(parameterized.TestCase):
  def test_the_example_of_two_that_want_one(self):
    matrix = jnp.array([[0.9, 0.8], [0.85, 0.1]])
    semi, match = matching.semi_match(matrix), matching.max_match(matrix)
    self.assertEqual(semi.col.tolist(), [0, 0])
    self.assertEqual(match.col.tolist(), [1, 0])
    summary = matching.match_summary(matrix)
    np.testing.assert_allclose(summary, [0.875, 0.825, 0.5], rtol=1e-6)
    self.assertEqual(float(matching.overlap_ratio(matrix)), 0.5)

  @parameterized.parameters((40, 40), (30, 50), (50, 30))
  def test_is_the_best_assignment(self, n1, n2):
    matrix = _draw(n1, n1, n2).astype(np.float32)
    row, col = optimize.linear_sum_assignment(matrix, maximize=True)
    for solve in (matching.max_match, jax.jit(matching.max_match)):
      found = solve(matrix)
      np.testing.assert_allclose(
        found.value.sum(), matrix[row, col].sum(), rtol=1e-6
      )
      self.assertLen(set(found.col.tolist()), min(n1, n2))
      np.testing.assert_array_equal(found.row, np.unique(found.row))
      np.testing.assert_allclose(found.value, matrix[found.row, found.col])

  def test_permuted_units_are_found(self):
    x = _draw(0, 100, 5).astype(np.float32)
    moments = matching.activation_moments(x, x[:, PI])
    matrix = matching.correlation(moments).matrix
    found = matching.max_match(matrix)
    np.testing.assert_array_equal(found.col, np.argsort(PI))
    np.testing.assert_allclose(
      matching.match_summary(matrix), [1, 1, 1], rtol=1e-5
    )

  def test_signs_count_and_ties_go_to_the_first(self):
    matrix = np.array([[-0.9, 0.1, 0.1], [0.0, 0.0, -1.0]], np.float32)
    self.assertEqual(matching.semi_match(matrix).col.tolist(), [1, 0])

  def test_averages_leave_dead_units_out(self):
    matrix = np.array([[0.8, 0.0], [0.0, 0.0]], np.float32)
    alive = np.array([True, False])
    found = matching.match_summary(matrix, alive=alive)
    np.testing.assert_allclose(found, [0.8, 0.8, 1.0], rtol=1e-6)
    none = matching.match_summary(matrix, alive=~alive & alive)
    np.testing.assert_array_equal(none, [0, 0, 0])

  def test_a_match_never_beats_the_best_partners(self):
    run = jax.jit(jax.vmap(matching.match_summary))
    found = run(_draw(3, 20, 8, 11).astype(np.float32))
    self.assertGreaterEqual(float((found.semi - found.matched).min()), 0.0)
    self.assertGreater(float((found.semi - found.matched).mean()), 0.05)

  def test_chance_is_worse(self):
    matrix = _draw(0, 6, 8).astype(np.float32)
    found = matching.random_match(jax.random.key(3), matrix)
    self.assertLen(set(found.col.tolist()), 6)
    self.assertEqual(found.row.tolist(), list(range(6)))
    best = matching.max_match(matrix).value.mean()
    self.assertLess(float(found.value.mean()), float(best))

  def test_orders_along_cycles(self):
    self.assertEqual(matching.cycle_order(PI).tolist(), [0, 3, 1, 2, 4])
    for wrong in ([0, 0], [[0]], [0.5, 1.0], [1, 2]):
      with self.assertRaisesRegex(ValueError, 'each of 0 to n - 1 once'):
        matching.cycle_order(wrong)

  @parameterized.parameters(
    (np.ones(3), r'shape \[n1, n2\]'),
    (np.array([[np.nan]]), 'similarity must be finite'),
  )
  def test_bad_matrices(self, matrix, message):
    for solve in (matching.semi_match, matching.max_match):
      with self.assertRaisesRegex(ValueError, message):
        solve(matrix)
    with self.assertRaisesRegex(ValueError, 'alive must have shape'):
      matching.match_summary(np.eye(2), alive=np.ones(3))


if __name__ == '__main__':
  absltest.main()
