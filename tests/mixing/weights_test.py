# SPDX-License-Identifier: Apache-2.0
import networkx
import numpy as np
import scipy.optimize
from absl.testing import absltest, parameterized

from jaxdl import metrics, mixing
from jaxdl.mixing import graphs, spectra

_KARATE = networkx.Graph(networkx.karate_club_graph().edges)


def _irregular():
  return graphs.erdos_renyi(11, 0.35, np.random.default_rng(3))


def _lower_bound(graph, nonnegative, num_cuts):
  """Cutting planes: v'Wv <= t and -v'Wv <= t are linear in the weights."""
  n = len(graph)
  rows, cols = np.nonzero(np.triu(graph))
  m = len(rows)
  bounds = [(0.0 if nonnegative else -1.0, 1.0)] * m + [(0.0, 1.0)]
  incidence = np.zeros((n, m + 1))
  incidence[rows, np.arange(m)] = incidence[cols, np.arange(m)] = 1.0
  cuts, limits = list(incidence), [1.0 if nonnegative else 9.0] * n
  links = mixing.metropolis(graph)[rows, cols]
  for _ in range(num_cuts):
    w = np.zeros((n, n))
    w[rows, cols] = links
    w = w + w.T
    w += np.diag(1 - w.sum(axis=1)) - 1 / n
    vectors = np.linalg.eigh(w)[1]
    for v in vectors.T:
      v = v - v.mean()
      if np.linalg.norm(v) < 1e-6:
        continue
      slope = (v[rows] - v[cols]) ** 2 / (v @ v)
      cuts += [np.r_[-slope, -1.0], np.r_[slope, -1.0]]
      limits += [-1.0, 1.0]
    solved = scipy.optimize.linprog(
      np.r_[np.zeros(m), 1.0], np.array(cuts), limits, bounds=bounds
    )
    links = solved.x[:m]
  return solved.fun


class WeightsTest(parameterized.TestCase):
  def test_metropolis_on_a_path(self):
    t = 1 / 3
    want = [[2 * t, t, 0, 0], [t, t, t, 0], [0, t, t, t], [0, 0, t, 2 * t]]
    np.testing.assert_allclose(
      mixing.metropolis(graphs.path(4)), want, atol=1e-15
    )

  @parameterized.named_parameters(
    ('ring3', graphs.ring(3), abs(1 + 2 * np.cos(2 * np.pi / 3)) / 3),
    *(
      (f'ring{n}', graphs.ring(n), (1 + 2 * np.cos(2 * np.pi / n)) / 3)
      for n in (4, 5, 16, 33)
    ),
    *(
      (f'path{n}', graphs.path(n), (1 + 2 * np.cos(np.pi / n)) / 3)
      for n in (3, 10)
    ),
    ('torus3', graphs.torus(9), 2 / 5),
    *(
      (f'torus{m}', graphs.torus(m * m), (3 + 2 * np.cos(2 * np.pi / m)) / 5)
      for m in (4, 5)
    ),
    *((f'cube{t}', graphs.hypercube(2**t), (t - 1) / (t + 1)) for t in (1, 5)),
    *((f'star{n}', graphs.star(n), 1 - 1 / n) for n in (3, 9)),
    *((f'complete{n}', graphs.complete(n), 0.0) for n in (1, 2, 7)),
    *(
      (f'exp{n}', graphs.exponential(n), (t - 1) / (t + 1))
      for n, t in ((2, 1), (6, 3), (16, 4), (20, 5))
    ),
    ('petersen', networkx.petersen_graph(), 0.5),
    ('karate', _KARATE, 0.9687635820530439),
  )
  def test_consensus_factor_of_metropolis(self, graph, want):
    w = mixing.metropolis(graph)
    self.assertTrue(spectra.is_doubly_stochastic(w, atol=1e-12))
    self.assertAlmostEqual(spectra.consensus_factor(w), want, delta=1e-12)
    self.assertAlmostEqual(spectra.spectral_gap(w), 1 - want, delta=1e-12)

  @parameterized.parameters((7, 0.353553), (33, 0.607800))
  def test_exponential_graph_with_odd_size(self, n, want):
    w = mixing.metropolis(graphs.exponential(n))
    self.assertAlmostEqual(spectra.consensus_factor(w), want, delta=1e-6)

  def test_refuses_weights_of_links_instead_of_ignoring_them(self):
    weighted = networkx.path_graph(3)
    weighted.add_weighted_edges_from([(0, 1, 2.0), (1, 2, 1.0)])
    matrix = np.array([[0.5, 0.5, 0], [0.5, 0.25, 0.25], [0, 0.25, 0.75]])
    for rule in mixing.WEIGHT_RULES.values():
      with self.assertRaisesRegex(ValueError, r'weight 2.0 on the link 0-1'):
        rule(weighted)
      with self.assertRaisesRegex(ValueError, '0.5 at row 0, column 0'):
        rule(matrix)
    with self.assertRaisesRegex(ValueError, 'nan at row 0, column 1'):
      mixing.metropolis(np.array([[0, np.nan], [1, 0]]))
    # What the messages advise.
    want = mixing.metropolis(graphs.path(3))
    links = networkx.to_numpy_array(weighted, weight=None)
    np.testing.assert_array_equal(mixing.metropolis(links), want)
    np.testing.assert_array_equal(mixing.metropolis(matrix != 0), want)

  def test_karate_spectrum(self):
    w = mixing.metropolis(_KARATE)
    self.assertAlmostEqual(
      spectra.smallest_eigenvalue(w), -0.079893, delta=1e-6
    )
    best = mixing.best_constant(_KARATE)
    i, j = next(iter(_KARATE.edges))
    self.assertAlmostEqual(best[i, j], 0.1074967, delta=1e-7)
    self.assertAlmostEqual(
      spectra.consensus_factor(best), 0.9496350812847311, delta=1e-12
    )

  @parameterized.parameters(
    (graphs.ring, 0.4361302, 0.7445208), (graphs.star, 2 / 9, 7 / 9)
  )
  def test_best_constant_on_eight_clients(self, graph, alpha, want):
    w = mixing.best_constant(graph(8))
    self.assertAlmostEqual(w[0, 1], alpha, delta=1e-7)
    self.assertAlmostEqual(spectra.consensus_factor(w), want, delta=1e-7)

  @parameterized.parameters(4, 6, 9)
  def test_fastest_chain_on_a_path_is_one_half(self, n):
    # Boyd et al. 2009: weight 1/2 on every link, factor cos(pi / n).
    w = mixing.fastest(graphs.path(n), num_steps=2000)
    self.assertTrue(spectra.is_doubly_stochastic(w))
    self.assertAlmostEqual(
      spectra.consensus_factor(w), np.cos(np.pi / n), delta=1e-3
    )

  def test_fastest_on_an_edge_transitive_graph_is_the_best_constant(self):
    w = mixing.fastest(graphs.ring(8), num_steps=50)
    self.assertAlmostEqual(spectra.consensus_factor(w), 0.7445208, delta=1e-7)

  @parameterized.parameters(True, False)
  def test_fastest_is_near_the_certified_optimum(self, nonnegative):
    graph = _irregular()
    w = mixing.fastest(graph, num_steps=1500, nonnegative=nonnegative)
    np.testing.assert_allclose(w, w.T, atol=1e-14)
    np.testing.assert_allclose(w.sum(axis=1), 1.0, atol=1e-12)
    self.assertFalse(w[~graph & ~np.eye(11, dtype=bool)].any())
    if nonnegative:
      self.assertGreaterEqual(w.min(), -1e-12)
    bound = _lower_bound(graph, nonnegative, 60 if nonnegative else 130)
    factor = spectra.consensus_factor(w)
    self.assertGreaterEqual(factor, bound - 1e-9)
    self.assertLess(factor, bound + 5e-3)
    self.assertLess(
      factor, spectra.consensus_factor(mixing.metropolis(graph)) - 0.02
    )

  def test_uniform_converges_to_the_degree_weighted_mean(self):
    graph = _irregular()
    w = mixing.uniform(graph)
    degrees = graph.sum(axis=1) + 1
    np.testing.assert_allclose(
      spectra.stationary_distribution(w), degrees / degrees.sum(), atol=1e-12
    )
    self.assertFalse(spectra.is_doubly_stochastic(w))
    limit = np.linalg.matrix_power(w, 400)
    np.testing.assert_allclose(
      limit, np.tile(degrees / degrees.sum(), (11, 1)), atol=1e-9
    )

  def test_uniform_equals_metropolis_on_regular_graphs(self):
    graph = graphs.random_regular(12, 3, np.random.default_rng(0))
    np.testing.assert_allclose(
      mixing.uniform(graph), mixing.metropolis(graph), atol=1e-15
    )

  def test_send_weights_split_what_a_client_has(self):
    graph = graphs.random_digraph(8, 2, np.random.default_rng(1))
    p = mixing.send_weights(graph)
    np.testing.assert_allclose(p.sum(axis=0), 1.0, atol=1e-15)
    np.testing.assert_allclose(p[graph], 1 / 3)
    self.assertGreater(np.abs(p.sum(axis=1) - 1).max(), 0.1)

  def test_max_degree_and_lazy(self):
    graph = _irregular()
    w = mixing.max_degree(graph)
    np.testing.assert_allclose(w[graph], 1 / (1 + graph.sum(1).max()))
    self.assertTrue(spectra.is_doubly_stochastic(w))
    half = mixing.lazy(w)
    self.assertGreaterEqual(spectra.smallest_eigenvalue(half), 0)
    np.testing.assert_allclose(half, (np.eye(11) + w) / 2)
    ring = mixing.metropolis(graphs.ring(8))
    self.assertAlmostEqual(
      spectra.smallest_eigenvalue(ring), -1 / 3, delta=1e-12
    )
    np.testing.assert_allclose(
      mixing.lazy_metropolis(graphs.ring(8)), mixing.lazy(ring)
    )

  @parameterized.parameters(sorted(set(mixing.WEIGHT_RULES)))
  def test_one_and_two_clients(self, rule):
    fn = mixing.WEIGHT_RULES[rule]
    np.testing.assert_array_equal(fn(graphs.ring(1)), [[1.0]])
    w = fn(graphs.ring(2))
    np.testing.assert_allclose(w.sum(axis=0), 1.0)
    self.assertLess(spectra.consensus_factor(w), 1.0)

  @parameterized.parameters(sorted(set(mixing.WEIGHT_RULES)))
  def test_refuses_disconnected_graphs(self, rule):
    graph = np.kron(np.eye(3), np.ones((2, 2)))
    with self.assertRaisesRegex(ValueError, '3 components among 6 clients'):
      mixing.WEIGHT_RULES[rule](graph)
    w = mixing.WEIGHT_RULES[rule](graph, allow_disconnected=True)
    np.testing.assert_allclose(w.sum(axis=0), 1.0, atol=1e-12)

  def test_refuses_directed_graphs_where_they_make_no_sense(self):
    graph = graphs.random_digraph(6, 2, np.random.default_rng(0))
    for rule in ('metropolis', 'max_degree', 'best_constant', 'fastest'):
      with self.assertRaisesRegex(ValueError, f'{rule} needs an undirected'):
        mixing.WEIGHT_RULES[rule](graph)


class SpectralTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('row', [[0.5, 0.5], [0.5, 0.4]], 'row', 'row 1 sums to 0.9, off by -0.1'),
    ('col', [[0.5, 0.5], [0.4, 0.6]], 'double', 'column 0 sums to 0.9'),
    ('send', [[0.5, 0.5], [0.4, 0.6]], 'column', 'column 0 sums to 0.9'),
    ('neg', [[1.5, -0.5], [0.0, 1.0]], 'row', 'negative weight -0.5 at row 0'),
    ('nan', [[np.nan, 0.5], [0, 1]], 'any', 'nan at row 0, column 0'),
    ('shape', np.ones((2, 3)), 'row', r'\[N, N\].*\(2, 3\)'),
    (
      'round',
      [np.eye(2), [[0.5, 0.5], [0.5, 0.4]]],
      'row',
      'round 1, row 1 sums to 0.9',
    ),
  )
  def test_names_the_offending_row(self, matrix, kind, message):
    with self.assertRaisesRegex(ValueError, message):
      spectra.check_stochastic(matrix, stochastic=kind)

  @parameterized.parameters(
    'consensus_factor',
    'spectral_gap',
    'second_eigenvalue',
    'smallest_eigenvalue',
    'mean_square_factor',
    'mixing_time',
    'stationary_distribution',
    'lazy',
    'from_matrix',
  )
  def test_refuses_what_is_not_finite(self, name):
    for bad in (np.nan, np.inf):
      with self.assertRaisesRegex(ValueError, f'{bad} at row 0, column 1'):
        home = mixing if hasattr(mixing, name) else spectra
        getattr(home, name)([[1.0, bad], [0.0, 1.0]])

  def test_refuses_schedules_where_one_matrix_is_meant(self):
    with self.assertRaisesRegex(ValueError, r'\[N, N\].*\(2, 3, 3\)'):
      spectra.consensus_factor(np.stack([np.eye(3)] * 2))
    with self.assertRaisesRegex(ValueError, 'lazy_metropolis'):
      mixing.lazy(networkx.path_graph(3))
    with self.assertRaisesRegex(ValueError, 'no consensus'):
      spectra.mixing_time(1e120 * np.eye(2))

  def test_second_eigenvalue_bounds(self):
    w = mixing.metropolis(_KARATE)
    self.assertAlmostEqual(
      spectra.second_eigenvalue(w), spectra.consensus_factor(w), delta=1e-12
    )
    roll = (np.eye(6) + np.roll(np.eye(6), 1, axis=1)) / 2
    self.assertAlmostEqual(
      spectra.second_eigenvalue(roll), np.cos(np.pi / 6), delta=1e-12
    )
    self.assertEqual(spectra.second_eigenvalue([[1.0]]), 0.0)

  def test_mixing_time(self):
    w = mixing.metropolis(graphs.ring(16))
    rho = (1 + 2 * np.cos(np.pi / 8)) / 3
    want = int(np.ceil(np.log(1e-6) / np.log(rho)))
    self.assertEqual(spectra.mixing_time(w), want)
    self.assertEqual(spectra.mixing_time(mixing.one_peer_hypercube(16)), 4)
    with self.assertRaisesRegex(ValueError, 'disconnected'):
      spectra.mixing_time(np.eye(3), max_rounds=10)

  def test_ring_of_sixteen_from_a_unit_vector(self):
    w = mixing.metropolis(graphs.ring(16))
    x = np.eye(16)[0]
    start = np.linalg.norm(x - 1 / 16)
    rounds = 0
    while np.linalg.norm(x - 1 / 16) > 1e-6 * start:
      x, rounds = w @ x, rounds + 1
    self.assertEqual(rounds, 246)

  def test_mean_square_factor_of_all_shifts(self):
    # W = I/2 + P^s/2, s uniform: (n - 2) / (2 (n - 1)).
    n = 7
    draws = [
      (np.eye(n) + np.roll(np.eye(n), s, axis=1)) / 2 for s in range(1, n)
    ]
    self.assertAlmostEqual(
      spectra.mean_square_factor(draws), (n - 2) / (2 * (n - 1)), delta=1e-12
    )

  def test_consensus_distance_of_a_unit_vector(self):
    import jax.numpy as jnp

    for n in (2, 5):
      got = metrics.consensus_distance(jnp.eye(n)[:, :1])
      self.assertAlmostEqual(float(got), (1 - 1 / n) / n, delta=1e-7)


if __name__ == '__main__':
  absltest.main()
