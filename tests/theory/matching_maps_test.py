# SPDX-License-Identifier: Apache-2.0
"""Mutual information, sparse maps, groups, and likeness as a whole."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import linalg, spatial
from scipy.sparse import csgraph
from sklearn import cross_decomposition, linear_model, metrics

from jaxdl.theory import matching


def _draw(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape)


def _rotated(samples=300, n=6):
  x = np.maximum(_draw(0, samples, n), 0)
  turn, _ = np.linalg.qr(_draw(1, n, n))
  return x, x @ turn


class InformationTest(parameterized.TestCase):
  @parameterized.parameters(
    (10, 'quantile', 1000), (4, 'quantile', 400), (5, 'rectified', 400)
  )
  def test_of_a_unit_with_itself_is_the_log_of_its_bins(self, b, binning, n):
    x = _draw(0, n)
    if binning == 'rectified':
      # A fifth is zero, the others are different.
      x = np.where(np.arange(n) < n // b, 0.0, np.abs(x) + 0.1)
    x = jnp.asarray(x, jnp.float32)
    found = matching.mutual_information(x, x, num_bins=b, binning=binning)
    np.testing.assert_allclose(found, math.log(b), rtol=1e-5)

  def test_agrees_with_scikit_learn_on_the_same_bins(self):
    x, y = _draw(0, 2, 500)
    y = np.maximum(y + x, 0)
    for binning in ('width', 'quantile', 'rectified'):
      bins = [
        np.asarray(matching.bin_units(v[:, None], 7, binning=binning))[:, 0]
        for v in (x, y)
      ]
      want = metrics.mutual_info_score(*bins)
      found = matching.information_matrix(
        x[:, None], y[:, None], num_bins=7, binning=binning, chunk=128
      )
      np.testing.assert_allclose(found, [[want]], atol=1e-5)

  def test_equal_widths_are_those_of_numpy(self):
    x = _draw(2, 300).astype(np.float32)
    want, _ = np.histogram(x, bins=8)
    got = np.bincount(matching.bin_units(x[:, None], 8, binning='width')[:, 0])
    np.testing.assert_array_equal(got, want)

  def test_bins_of_a_rectified_unit(self):
    x = np.concatenate([np.zeros(30), np.linspace(1, 2, 60)])
    bins = matching.bin_units(x[:, None].astype(np.float32), 4)[:, 0]
    self.assertEqual(np.bincount(bins).tolist(), [30, 20, 20, 20])

  def test_independent_units_have_the_known_bias(self):
    b, samples = 8, 2000
    x = _draw(0, samples, 12).astype(np.float32)
    y = _draw(1, samples, 12).astype(np.float32)
    options = {'num_bins': b, 'binning': 'quantile'}
    raw = matching.information_matrix(x, y, **options).mean()
    bias = (b - 1) ** 2 / (2 * samples)
    np.testing.assert_allclose(raw, bias, rtol=0.05)
    mended = matching.information_matrix(x, y, bias='miller_madow', **options)
    self.assertLess(abs(float(mended.mean())), 0.05 * bias)
    other = matching.information_matrix(x, y, bias='official', **options)
    np.testing.assert_allclose(
      raw - other.mean(), b**2 / (2 * samples * math.log(2)), rtol=1e-3
    )

  def test_gaussian_pairs_come_near_from_below(self):
    r, want = 0.8, -0.5 * math.log(1 - 0.8**2)
    x, z = _draw(0, 2, 40_000)
    y = r * x + math.sqrt(1 - r**2) * z
    run = lambda b: float(
      matching.mutual_information(
        x, y, num_bins=b, binning='quantile', bias='miller_madow'
      )
    )
    coarse, fine, finest = run(4), run(10), run(30)
    self.assertLess(coarse, fine)
    self.assertLess(fine, finest)
    self.assertBetween(finest, 0.95 * want, want + 0.005)

  def test_positive_scales_and_shifts_change_nothing(self):
    x, y = (v.astype(np.float32) for v in _rotated())
    options = {'num_bins': 5, 'binning': 'quantile'}
    plain = matching.information_matrix(x, y, **options)
    moved = matching.information_matrix(4 * x + 1, 0.5 * y, **options)
    np.testing.assert_allclose(plain, moved, atol=1e-6)

  def test_bad_input(self):
    x = np.ones((5, 2), np.float32)
    for options, message in (
      ({'num_bins': 1}, 'num_bins must be at least 2'),
      ({'binning': 'quantiles'}, "binning='quantiles' is unknown"),
      ({'bias': 'jackknife'}, "bias='jackknife' is unknown"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        matching.information_matrix(x, x, **options)
    with self.assertRaisesRegex(ValueError, 'same samples in the same order'):
      matching.information_matrix(x, x[:3])
    with self.assertRaisesRegex(ValueError, 'x must be finite; unit 0'):
      matching.information_matrix(x * np.nan, x)
    with self.assertRaisesRegex(ValueError, 'at least 2 samples; got 1'):
      matching.information_matrix(x[:1], x[:1])
    with self.assertRaisesRegex(ValueError, r'one unit, shape \[N\]'):
      matching.mutual_information(x, x)


class SparseTest(parameterized.TestCase):
  def test_a_path_is_that_of_scikit_learn(self):
    # Inputs on scales and with means of their own, some alike.
    x = _draw(0, 300, 12) * np.geomspace(0.3, 3, 12) + 2
    x[:, 3] = x[:, 2] + 0.1 * x[:, 3]
    y = x @ (_draw(1, 12, 4) * (_draw(2, 12, 4) > 0.5)) + 0.3 * _draw(3, 300, 4)
    moments = jax.jit(matching.activation_moments)(
      x.astype(np.float32), y.astype(np.float32)
    )
    penalties = np.array([0.003, 0.03, 0.3, 3.0], np.float32)
    found = jax.jit(jax.vmap(lambda p: matching.fit_sparse_map(moments, p)))(
      penalties
    )
    for k, penalty in enumerate(penalties):
      peer = linear_model.Lasso(alpha=float(penalty), tol=1e-10, max_iter=10**5)
      peer.fit(x, y)
      np.testing.assert_allclose(found.weights[k], peer.coef_.T, atol=1e-4)
      np.testing.assert_allclose(found.bias[k], peer.intercept_, atol=1e-3)
      error = 0.5 * ((y - peer.predict(x)) ** 2).mean(axis=0)
      np.testing.assert_allclose(found.half_mse[k], error, rtol=2e-3)
      np.testing.assert_array_equal(
        found.num_used[k], (np.abs(peer.coef_) > 1e-6).sum(axis=1)
      )

  def test_orthonormal_inputs_are_thresholded(self):
    x = np.linalg.qr(_draw(0, 64, 6) - _draw(0, 64, 6).mean(axis=0))[0]
    x = (x - x.mean(axis=0)) * 8
    y = x @ _draw(1, 6, 3)
    z = x.T @ (y - y.mean(axis=0)) / 64
    found = matching.sparse_map(x, y, 0.4)
    want = np.sign(z) * np.maximum(np.abs(z) - 0.4, 0)
    np.testing.assert_allclose(found.weights, want, atol=2e-5)
    zero = matching.sparse_map(x, y, float(np.abs(z).max()) * 1.0001)
    self.assertEqual(int(zero.num_used.sum()), 0)
    np.testing.assert_allclose(zero.half_mse, 0.5 * y.var(axis=0), rtol=1e-5)

  def test_least_squares_where_units_are_copies_or_dead(self):
    x = _draw(0, 50, 4)
    x[:, 1], x[:, 3] = x[:, 0], 2.0
    y = _draw(1, 50, 2)
    found = matching.dense_map(matching.activation_moments(x, y))
    center = x - x.mean(axis=0)
    want = np.linalg.lstsq(center, y - y.mean(axis=0), rcond=None)[0]
    np.testing.assert_allclose(found.weights, want, atol=1e-5)
    predicted = matching.predict_map(found, x.astype(np.float32))
    error = 0.5 * ((y - predicted) ** 2).mean(axis=0)
    np.testing.assert_allclose(found.half_mse, error, rtol=1e-4)

  def test_held_out_errors_are_those_of_the_samples(self):
    x, y = _draw(0, 200, 5), None
    y = x @ _draw(1, 5, 3) + _draw(2, 200, 3)
    fit, test = slice(0, 120), slice(120, 200)
    moments = matching.activation_moments(x[fit], y[fit])
    held_out = matching.activation_moments(x[test], y[test])
    found = matching.fit_sparse_map(moments, 0.05)
    predicted = matching.predict_map(found, x[test].astype(np.float32))
    np.testing.assert_allclose(
      matching.map_error(found, held_out),
      0.5 * ((y[test] - predicted) ** 2).mean(axis=0),
      rtol=1e-4,
    )
    # Scaled as the samples that were fitted, dead targets left out.
    y[:, 1] = 4.0
    path = matching.sparse_path(
      matching.activation_moments(x[fit], y[fit]),
      (0.0, 0.1, 5.0),
      held_out=matching.activation_moments(x[test], y[test]),
    )
    scale = lambda v: (v - v[fit].mean(0)) / np.maximum(v[fit].std(0), 1e-9)
    a, b = scale(x), scale(y)[:, [0, 2]]
    for k, peer in (
      (0, linear_model.LinearRegression()),
      (1, linear_model.Lasso(alpha=0.1, tol=1e-9)),
    ):
      peer.fit(a[fit], b[fit])
      want = 0.5 * ((b[test] - peer.predict(a[test])) ** 2).mean()
      np.testing.assert_allclose(path.half_mse[k], want, rtol=2e-3)
    self.assertEqual(path.num_used.tolist()[::2], [5.0, 0.0])
    np.testing.assert_allclose(
      path.half_mse[2], 0.5 * (b[test] ** 2).mean(), rtol=1e-3
    )

  def test_bad_input(self):
    moments = matching.activation_moments(_draw(0, 9, 2), _draw(1, 9, 2))
    with self.assertRaisesRegex(ValueError, 'penalty must lie in'):
      matching.fit_sparse_map(moments, -0.1)
    with self.assertRaisesRegex(ValueError, 'penalties is empty'):
      matching.sparse_path(moments, ())
    with self.assertRaisesRegex(ValueError, 'moments must be of two networks'):
      matching.dense_map(matching.activation_moments(_draw(0, 9, 2)))


class ClusterTest(parameterized.TestCase):
  def test_two_blocks_are_two_groups(self):
    block = np.array([0, 1, 0, 0, 1, 1, 0, 1])
    graph = (block[:, None] == block) - np.eye(8)
    found = matching.spectral_embedding(jnp.asarray(graph), 2)
    self.assertLess(np.abs(found.values[:2]).max(), 1e-6)
    self.assertGreater(float(found.values[2]), 1.0)
    for method in ('kmeans', 'agglomerative', 'recursive'):
      got = matching.cluster_units(graph, 2, method=method)
      np.testing.assert_array_equal(got, block)

  def test_eigenvalues_are_those_of_scipy(self):
    graph = np.abs(np.corrcoef(_draw(0, 7, 20)))
    np.fill_diagonal(graph, 0)
    want = linalg.eigvalsh(csgraph.laplacian(graph, normed=True))
    found = matching.spectral_embedding(graph, 3)
    np.testing.assert_allclose(found.values, want, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.points, axis=1), 1.0, 1e-5)

  def test_groups_are_described(self):
    a, b = _draw(0, 400, 2), _draw(1, 400, 3)
    # Two units, and their mixtures; three that only the second network has.
    x = np.concatenate([a, _draw(2, 400, 1) * 0], axis=1)
    y = np.concatenate(
      [a @ np.array([[1.0, 1], [1, -1]]), b + b[:, :1]], axis=1
    )
    moments = matching.activation_moments(x, y)
    blocks = [
      matching.correlation(moments, i, j).matrix
      for i, j in ((0, 0), (0, 1), (1, 1))
    ]
    graph = np.array(matching.joint_similarity(*blocks))
    graph[graph < 0.2] = 0
    labels = matching.cluster_units(graph, 2)
    self.assertEqual(labels.tolist(), [0, 0, -1, 0, 0, 1, 1, 1])
    shared, own = matching.describe_clusters(labels, graph, moments)
    self.assertEqual((shared.size_x, shared.size_y), (2, 2))
    np.testing.assert_allclose(shared.overlap, 1.0, atol=1e-5)
    self.assertLess(shared.angle, 2e-3)
    self.assertEqual((own.size_x, own.size_y), (0, 3))
    self.assertTrue(math.isnan(own.overlap))
    inner = graph[5:, 5:]
    np.testing.assert_allclose(own.within, inner.sum() / 6, rtol=1e-6)
    between = matching.joint_similarity(*blocks, within=False)
    self.assertEqual(np.abs(between[:3, :3]).max(), 0)

  def test_bad_input(self):
    graph = np.ones((3, 3)) - np.eye(3)
    graph[2] = graph[:, 2] = 0
    with self.assertRaisesRegex(ValueError, 'num_clusters=3 exceeds the 2'):
      matching.cluster_units(graph, 3)
    with self.assertRaisesRegex(ValueError, "method='ward' is unknown"):
      matching.cluster_units(graph, 2, method='ward')
    with self.assertRaisesRegex(ValueError, 'finite and not negative'):
      matching.cluster_units(-graph, 2)
    with self.assertRaisesRegex(ValueError, 'num_dims must be at most 3'):
      matching.spectral_embedding(graph, 4)
    with self.assertRaisesRegex(ValueError, 'square'):
      matching.spectral_embedding(graph[:2], 1)
    with self.assertRaisesRegex(ValueError, 'within_x and within_y'):
      matching.joint_similarity(graph, np.ones((2, 3)), graph)


class SimilarityTest(parameterized.TestCase):
  def test_a_rotation_hides_units_and_not_what_they_span(self):
    x, y = _rotated()
    moments = matching.activation_moments(x, y)
    matrix = matching.correlation(moments).matrix
    self.assertLess(float(matching.match_summary(matrix).matched), 0.8)
    scale = np.diag(np.cov(y.T, ddof=0))
    error = matching.dense_map(moments).half_mse / scale
    self.assertLess(float(error.max()), 1e-5)
    np.testing.assert_allclose(matching.linear_cka(moments), 1.0, atol=1e-5)
    np.testing.assert_allclose(
      matching.canonical_correlations(moments), np.ones(6), atol=1e-5
    )
    self.assertLess(matching.procrustes(moments), 1e-5)
    self.assertLess(matching.principal_angles(x, y).max(), 1e-5)
    self.assertAlmostEqual(matching.subspace_similarity(x, y), 1.0, places=6)

  def test_numbers_are_those_of_other_libraries(self):
    x = _draw(0, 80, 4)
    y = x[:, :3] + 0.7 * _draw(1, 80, 3)
    moments = matching.activation_moments(x, y)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    norm = np.linalg.norm
    cka = norm(b.T @ a) ** 2 / (norm(a.T @ a) * norm(b.T @ b))
    np.testing.assert_allclose(matching.linear_cka(moments), cka, rtol=1e-5)
    u, v = cross_decomposition.CCA(3, max_iter=10**4).fit_transform(x, y)
    pairs = zip(u.T, v.T, strict=True)
    want = sorted(np.corrcoef(s, t)[0, 1] for s, t in pairs)[::-1]
    found = matching.canonical_correlations(moments)
    np.testing.assert_allclose(found, want, atol=1e-4)
    angles = matching.principal_angles(x, y)
    np.testing.assert_allclose(
      angles, linalg.subspace_angles(a, b)[::-1], atol=1e-6
    )
    np.testing.assert_allclose(np.cos(angles), found, atol=1e-5)
    wide = np.pad(y, ((0, 0), (0, 1)))
    _, _, disparity = spatial.procrustes(x, wide)
    np.testing.assert_allclose(
      matching.procrustes(moments), disparity, rtol=1e-5
    )

  def test_scales_and_dead_units_do_no_harm(self):
    x, y = _rotated()
    want = matching.canonical_correlations(matching.activation_moments(x, y))
    x = np.concatenate([x * np.geomspace(1e-6, 1e6, 6), np.ones((300, 1))], 1)
    moments = matching.activation_moments(x, y)
    found = matching.canonical_correlations(moments)
    np.testing.assert_allclose(found, want, atol=1e-4)
    dead = matching.activation_moments(np.ones((9, 2)), _draw(0, 9, 2))
    self.assertEqual(float(matching.linear_cka(dead)), 0.0)
    self.assertEqual(matching.procrustes(dead), 1.0)
    self.assertLen(matching.canonical_correlations(dead), 0)
    small = jax.tree.map(lambda v: v * np.float32(1e-18), moments)
    np.testing.assert_allclose(
      matching.linear_cka(small), matching.linear_cka(moments), rtol=1e-5
    )

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'same samples in the same order'):
      matching.principal_angles(np.ones((3, 2)), np.ones((4, 2)))
    with self.assertRaisesRegex(ValueError, 'x must have samples and units'):
      matching.principal_angles(np.ones(3), np.ones((3, 2)))
    with self.assertRaisesRegex(ValueError, "similarity='cca2' is unknown"):
      matching.SIMILARITIES.check('cca2')


if __name__ == '__main__':
  absltest.main()
