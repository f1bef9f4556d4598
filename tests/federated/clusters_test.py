# SPDX-License-Identifier: Apache-2.0
"""Clusters of clients: distances, temperature, clusterers, sums, scores."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy.spatial import distance
from sklearn import metrics as peers

from jaxdl import mixing
from jaxdl.federated import clusters

TRUTH = np.repeat([0, 1, 2], 5)


def rng(seed=0):
  return np.random.default_rng(seed)


def stacked(n=6, seed=0):
  draw = rng(seed)
  return {
    'w': draw.normal(size=(n, 4, 3)).astype(np.float32),
    'b': draw.normal(size=(n, 3)).astype(np.float32),
  }


def flat(tree):
  leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
  return np.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1)


def blocks(across=1.3):
  same = TRUTH[:, None] == TRUTH[None]
  return np.where(same, 0.0, across).astype(np.float32)


def offdiagonal(n, value):
  return np.where(np.eye(n, dtype=bool), 0.0, value).astype(np.float32)


temperature = jax.jit(clusters.clustering_temperature, static_argnames='p')
distances = jax.jit(clusters.cosine_distance_matrix)


class DistanceTest(parameterized.TestCase):
  def test_equals_scipy_and_sklearn(self):
    tree = stacked()
    got = np.asarray(distances(tree))
    rows = flat(tree)
    want = distance.squareform(distance.pdist(rows, 'cosine'))
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(
      got, peers.pairwise.cosine_distances(rows), atol=1e-6
    )
    np.testing.assert_array_equal(got, got.T)
    np.testing.assert_array_equal(np.diagonal(got), 0)

  @parameterized.parameters(1e-25, 1e-3, 1e25)
  def test_lengths_do_not_matter(self, scale):
    tree = stacked()
    factors = (scale * rng(1).uniform(0.5, 2, 6)).astype(np.float32)
    grown = jax.tree.map(
      lambda x: x * factors.reshape(-1, *[1] * (x.ndim - 1)), tree
    )
    np.testing.assert_allclose(distances(grown), distances(tree), atol=2e-6)
    turned = jax.tree.map(lambda x: -x, tree)
    np.testing.assert_allclose(distances(turned), distances(tree), atol=1e-6)

  def test_near_agreement_is_no_rounding(self):
    common = rng(0).normal(size=300)
    rows = common + 1e-4 * rng(1).normal(size=(5, 300))
    rows = rows.astype(np.float32)
    wide = rows.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    want = ((unit[:, None] - unit[None]) ** 2).sum(axis=-1) / 2
    off = ~np.eye(5, dtype=bool)
    # They are 1e-8, below the rounding of a cosine in float32.
    self.assertLess(want.max(), 2e-8)
    np.testing.assert_allclose(distances(rows)[off], want[off], rtol=0.02)

  def test_equal_rows_are_at_zero_and_still_rows_at_one(self):
    rows = np.tile(rng(0).normal(size=(1, 300)), (5, 1)).astype(np.float32)
    np.testing.assert_array_equal(distances(rows), 0)
    rows[1], rows[2] = 0, 0
    want = offdiagonal(5, 1.0)
    want[np.ix_([0, 3, 4], [0, 3, 4])] = 0
    np.testing.assert_array_equal(distances(rows), want)

  def test_absent_rows_do_not_count_and_broken_ones_say_so(self):
    tree = jax.tree.map(np.copy, stacked())
    tree['w'][2] = np.nan
    mask = np.arange(6) != 2
    got = np.asarray(distances(tree, mask=mask))
    want = np.asarray(distances(jax.tree.map(lambda x: x[mask], tree)))
    np.testing.assert_allclose(got[np.ix_(mask, mask)], want, atol=1e-6)
    np.testing.assert_array_equal(got[2], 0)
    broken = np.asarray(distances(tree))
    self.assertTrue(np.isnan(broken[2, [0, 1, 3, 4, 5]]).all())
    np.testing.assert_allclose(broken[np.ix_(mask, mask)], want, atol=1e-6)


class TemperatureTest(parameterized.TestCase):
  def test_by_hand(self):
    gamma = np.array([[0, 0, 1], [0, 0, 2], [1, 2, 0]], np.float32)
    np.testing.assert_allclose(temperature(gamma), np.sqrt(10 / 24), rtol=1e-6)
    for n in (2, 3, 7):
      np.testing.assert_allclose(temperature(offdiagonal(n, 1.0)), 0.5)
      self.assertEqual(float(temperature(offdiagonal(n, 0.0))), 0.0)
    self.assertEqual(float(temperature(offdiagonal(2, 2.0))), 1.0)
    self.assertEqual(float(temperature(np.zeros((1, 1), np.float32))), 0.0)
    np.testing.assert_allclose(temperature(blocks()), 0.549350, atol=1e-6)

  @parameterized.product(p=[1.0, 1.5, 2.0, 3.0, 40.0, np.inf], n=[2, 5])
  def test_equal_distances_of_any_norm(self, p, n):
    np.testing.assert_allclose(
      clusters.clustering_temperature(offdiagonal(n, 1.3), p=p),
      0.65,
      rtol=1e-5,
    )

  @parameterized.parameters(1.0, 2.0, 3.0)
  def test_equals_the_definition(self, p):
    gamma = np.asarray(distances(stacked()), np.float64)
    scale = (6 * 5 * 2**p) ** (1 / p)
    want = np.linalg.norm(gamma.ravel(), p) / scale
    np.testing.assert_allclose(
      temperature(gamma.astype(np.float32), p=p), want, rtol=1e-5
    )

  def test_differentiable_also_at_zero(self):
    gamma = jnp.asarray(distances(stacked()))
    slope = jax.grad(clusters.clustering_temperature)(gamma)
    want = np.asarray(gamma, np.float64)
    want = want / (np.linalg.norm(want) * np.sqrt(120))
    np.testing.assert_allclose(slope, want, atol=1e-6)
    still = jax.grad(clusters.clustering_temperature)(jnp.zeros((3, 3)))
    self.assertTrue(np.isfinite(still).all())

  def test_who_is_absent_does_not_count(self):
    gamma = np.asarray(distances(stacked()))
    mask = np.array([1, 1, 0, 1, 0, 1], bool)
    np.testing.assert_allclose(
      clusters.clustering_temperature(gamma, mask=mask),
      clusters.clustering_temperature(gamma[np.ix_(mask, mask)]),
      rtol=1e-6,
    )

  @parameterized.parameters(
    ((0.43, 0.33, 0.39), 2),
    ((0.5, 0.4, 0.3), None),
    ((0.5, 0.5, 0.5), None),
    ((0.3, 0.4), 1),
    ((0.5, 0.3, 0.31, 0.1, 0.9), 2),
    ((0.5, np.nan, 0.6), None),
  )
  def test_fires_at_the_first_rise_alone(self, temperatures, want):
    fired, previous, at = False, np.inf, []
    for t, current in enumerate(temperatures):
      if clusters.temperature_trigger(previous, current, fired):
        at.append(t)
        fired = True
      previous = current
    self.assertEqual(at, [] if want is None else [want])

  @parameterized.parameters(
    (np.zeros((2, 3)), {}, r'gamma must be square, \[N, N\]; got .*\(2, 3\)'),
    (np.zeros((2, 2)), {'p': 0.5}, r'p must lie in \[1.0, inf\]; got 0.5'),
    (np.array([[0, 1], [2, 0]]), {}, r'symmetric; entries \[0, 1\] and'),
    (np.array([[0, -1], [-1, 0]]), {}, r'negative; entry \[0, 1\] is -1'),
    (np.array([[0, np.nan], [0, 0]]), {}, r'finite; entry \[0, 1\] is nan'),
  )
  def test_says_what_is_wrong(self, gamma, options, message):
    with self.assertRaisesRegex(ValueError, message):
      clusters.clustering_temperature(gamma.astype(np.float32), **options)


class ClusterersTest(parameterized.TestCase):
  @parameterized.parameters(
    'hdbscan(min_cluster_size=3)',
    'hdbscan',
    'kmeans(n_clusters=3)',
    'meanshift(bandwidth=1.0)',
    'affinity',
    'agglomerative(distance_threshold=0.5)',
    'agglomerative(n_clusters=3, linkage=complete)',
  )
  def test_blocks_are_found_in_any_order(self, spec):
    noise = np.abs(rng(0).normal(size=(15, 15))) * 0.02
    gamma = blocks() + (noise + noise.T) * ~np.eye(15, dtype=bool)
    order = rng(1).permutation(15)
    got = clusters.cluster_labels(
      gamma[np.ix_(order, order)].astype(np.float32), clusterer=spec
    )
    self.assertEqual(peers.adjusted_rand_score(TRUTH[order], got), 1.0)
    # Numbered by who comes first.
    _, first = np.unique(got, return_index=True)
    self.assertEqual(sorted(first.tolist()), first.tolist())
    exact = clusters.cluster_labels(blocks(), clusterer=spec)
    self.assertEqual(exact.tolist(), TRUTH.tolist())

  @parameterized.parameters('affinity', 'agglomerative')
  def test_what_the_official_code_gives_them_misleads(self, spec):
    noise = np.abs(rng(0).normal(size=(15, 15))) * 0.1
    gamma = blocks(0.8) + (noise + noise.T) * ~np.eye(15, dtype=bool)
    right, wrong = (
      peers.adjusted_rand_score(
        TRUTH,
        clusters.cluster_labels(gamma, clusterer=spec, official_quirks=q),
      )
      for q in (False, True)
    )
    self.assertEqual(right, 1.0)
    self.assertLess(wrong, 0.5)

  def test_noise_is_a_cluster_and_agreement_is_one(self):
    gamma = blocks()
    gamma[14] = gamma[:, 14] = 2.0
    gamma[14, 14] = 0
    got = clusters.cluster_labels(gamma, clusterer='hdbscan')
    want = np.where(np.arange(15) == 14, 3, TRUTH)
    self.assertEqual(got.tolist(), want.tolist())
    for spec in ('hdbscan', 'kmeans(n_clusters=3)', 'meanshift', 'affinity'):
      got = clusters.cluster_labels(np.zeros((15, 15)), clusterer=spec)
      self.assertEqual(got.tolist(), [0] * 15)

  def test_relabel(self):
    labels, count = clusters.relabel(np.array([5, 5, -1, 9, -1]))
    self.assertEqual((labels.tolist(), count), ([0, 0, 1, 2, 1], 3))

  def test_a_function_of_yours(self):
    got = clusters.cluster_labels(
      blocks(), clusterer=lambda gamma: gamma[0] > 0.5
    )
    self.assertEqual(got.tolist(), (TRUTH > 0).astype(int).tolist())
    with self.assertRaisesRegex(ValueError, r'per client, shape \(15,\)'):
      clusters.cluster_labels(blocks(), clusterer=lambda gamma: np.ones(3))

  @parameterized.parameters(
    ('hdbscan(min_cluster_size=16)', 'min_cluster_size=16 exceeds the 15 cli'),
    ('hdbscan(min_cluster_size=1)', 'min_cluster_size must be at least 2'),
    ('hdbscan(min_samples=99)', 'min_samples=99 exceeds the 15 clients'),
    ('kmeans', 'kmeans needs n_clusters, the number of clusters'),
    ('kmeans(n_clusters=20)', 'n_clusters=20 exceeds the 15 clients'),
    ('dbscan', "clusterer='dbscan' is unknown: choose one of 'hdbscan'"),
    ('affinity(damping=0.2)', r'damping must lie in \[0.5, 1.0\)'),
    (
      'agglomerative(n_clusters=2, distance_threshold=1.0)',
      'exclude each other',
    ),
    ('agglomerative(linkage=ward)', "linkage='ward' is unknown"),
    ('meanshift(bandwidth=0.0)', 'bandwidth must lie in'),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      clusters.cluster_labels(blocks(), clusterer=spec)

  def test_says_what_is_wrong_with_distances(self):
    with self.assertRaisesRegex(ValueError, 'at least 2 clients; got 1'):
      clusters.cluster_labels(np.zeros((1, 1)))
    with self.assertRaisesRegex(ValueError, 'must not be negative'):
      clusters.cluster_labels(-blocks())
    with self.assertRaisesRegex(TypeError, 'text or a function'):
      clusters.make_clusterer(3)


class MembershipTest(parameterized.TestCase):
  def test_one_cluster_is_averaging_and_one_each_is_local(self):
    deltas = stacked(5)
    params = jax.tree.map(lambda x: np.ones((1, *x.shape[1:])), deltas)
    one = clusters.membership_matrix(jnp.zeros(5, int), 1)
    got = clusters.clustered_aggregate(params, deltas, one, 0.5)
    jax.tree.map(
      lambda x, d: np.testing.assert_allclose(
        x[0], 1 + 0.5 * d.mean(axis=0), atol=1e-6
      ),
      got,
      deltas,
    )
    zeros = jax.tree.map(np.zeros_like, deltas)
    each = clusters.membership_matrix(jnp.arange(5), 5)
    got = clusters.clustered_aggregate(zeros, deltas, each)
    jax.tree.map(np.testing.assert_array_equal, got, deltas)

  def test_weights_and_empty_clusters(self):
    got = clusters.membership_matrix(
      jnp.array([0, 2, 0, -1]), 3, weights=jnp.array([1.0, 5.0, 3.0, 9.0])
    )
    want = [[0.25, 0, 0.75, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    np.testing.assert_allclose(got, want)

  def test_newcomers_go_where_their_updates_point(self):
    deltas = stacked(6)
    labels = jnp.array([0, 0, 1, 1, 2, 2])
    directions = clusters.cluster_directions(deltas, labels, 4)
    ways, new = flat(directions)[:3], stacked(8, seed=3)
    cosines = 1 - distance.cdist(flat(new), ways, 'cosine')
    got = jax.jit(clusters.assign)(new, directions)
    self.assertEqual(got.tolist(), cosines.argmax(axis=1).tolist())
    with self.assertRaisesRegex(ValueError, 'deltas must make updates like'):
      clusters.assign({'w': new['w']}, directions)

  @parameterized.parameters(
    'ring', 'complete', 'alone', 'exponential(weights=lazy_metropolis)'
  )
  def test_gossip_has_a_block_per_cluster(self, topology):
    labels = np.array([0, 1, 0, 2, 1, 0, 1, 0])
    mixer = clusters.cluster_mixer(labels, topology)
    want = np.zeros((8, 8))
    for k in range(3):
      own = np.flatnonzero(labels == k)
      one = mixing.make_mixer(topology, len(own)).matrix(0)
      want[np.ix_(own, own)] = one
    np.testing.assert_allclose(mixer.matrix(0), want, atol=1e-6)
    self.assertEqual(mixer.period, 1)

  def test_gossip_over_schedules_and_at_random(self):
    labels = np.repeat([0, 1], [4, 8])
    mixer = clusters.cluster_mixer(labels, 'one_peer_exponential')
    self.assertEqual(mixer.period, 6)  # Of 2 and of 3 rounds.
    for t in (0, 4, 5):
      w = np.asarray(mixer.matrix(t))
      for k, n in enumerate((4, 8)):
        own = np.flatnonzero(labels == k)
        np.testing.assert_allclose(
          w[np.ix_(own, own)],
          mixing.make_mixer('one_peer_exponential', n).matrix(t),
          atol=1e-6,
        )
      np.testing.assert_array_equal(w[:4, 4:], 0)
    drawn = clusters.cluster_mixer(labels, 'random_matching')
    a, b = (np.asarray(drawn.matrix(t, key=jax.random.key(0))) for t in (0, 1))
    np.testing.assert_allclose(a.sum(axis=1), 1)
    self.assertFalse(np.array_equal(a, b))
    np.testing.assert_array_equal(a[4:, :4], 0)

  @parameterized.parameters(
    ('hypercube', 'gossip=hypercube does not exist for cluster 0 of 3 clients'),
    ('ring(weights=send)', 'is for push-sum'),
  )
  def test_gossip_that_does_not_exist(self, topology, message):
    with self.assertRaisesRegex(ValueError, message):
      clusters.cluster_mixer(np.array([0, 0, 0, 1]), topology)


class ScoresTest(parameterized.TestCase):
  def test_equal_sklearn_and_a_late_shot_costs_its_rounds(self):
    labels = rng(0).integers(0, 3, 15)
    got = clusters.clustering_scores(labels, TRUTH)
    self.assertEqual(got['ari'], peers.adjusted_rand_score(TRUTH, labels))
    self.assertEqual(
      got['ami'], peers.adjusted_mutual_info_score(TRUTH, labels)
    )
    for r, total in ((2, 50), (0, 7), (7, 7)):
      history = [(0, np.zeros(15, int)), (r, TRUTH)]
      mean = clusters.mean_scores(history, TRUTH, total)
      self.assertAlmostEqual(mean['ari'], (total - r) / total)
      # One cluster of all cuts none.
      self.assertAlmostEqual(mean['completeness'], 1.0)
    self.assertEqual(clusters.mean_scores([(0, TRUTH)], TRUTH, 0)['ari'], 0.0)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, r'one entry per client; .*\(2,\)'):
      clusters.clustering_scores([0, 1], [0, 1, 2])


if __name__ == '__main__':
  absltest.main()
