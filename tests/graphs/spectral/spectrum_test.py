# SPDX-License-Identifier: Apache-2.0
"""Laplacians and their eigenpairs, against closed forms and dense NumPy."""

from unittest import mock

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized
from scipy import sparse

from jaxdl import graphs
from jaxdl.graphs import spectral
from jaxdl.graphs.spectral import _spectrum


def dense_laplacian(matrix):
  """The sheet's definition, entry by entry."""
  n = len(matrix)
  linked = np.array(
    [
      [float(matrix[i][j] + matrix[j][i] > 0) for j in range(n)]
      for i in range(n)
    ]
  )
  degree = np.maximum(linked.sum(1), 0)
  degree[degree == 0] = 1
  return np.array(
    [
      [
        (i == j) - linked[i, j] / np.sqrt(degree[i] * degree[j])
        for j in range(n)
      ]
      for i in range(n)
    ]
  )


class LaplacianTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('pair', networkx.complete_graph(2), [0, 2]),
    ('complete', networkx.complete_graph(5), [0, 1.25, 1.25, 1.25, 1.25]),
    ('star', networkx.star_graph(4), [0, 1, 1, 1, 2]),
    ('path', networkx.path_graph(3), [0, 1, 2]),
    ('lonely', networkx.empty_graph(1), [1]),
    ('two_lonely', networkx.empty_graph(2), [1, 1]),
  )
  def test_known_spectra(self, graph, want):
    values, vectors = spectral.spectral_decomposition(
      spectral.normalized_laplacian(networkx.to_numpy_array(graph))
    )
    np.testing.assert_allclose(values, want, atol=1e-12)
    np.testing.assert_allclose(
      vectors @ vectors.T, np.eye(len(want)), atol=1e-12
    )
    self.assertEqual(vectors.dtype, np.float64)

  def test_equals_networkx_and_the_definition(self):
    graph = networkx.karate_club_graph()
    matrix = networkx.to_numpy_array(graph, weight=None)
    got = spectral.normalized_laplacian(matrix)
    want = networkx.normalized_laplacian_matrix(graph, weight=None).toarray()
    np.testing.assert_allclose(got, want, atol=1e-12)
    rng = np.random.default_rng(0)
    directed = np.triu(rng.random((9, 9)) < 0.3) * 1.0  # Loops, one way.
    directed[:, 4] = directed[4] = 0
    got = spectral.normalized_laplacian(directed)
    np.testing.assert_allclose(got, dense_laplacian(directed), atol=1e-12)

  def test_all_kinds_of_graphs_agree(self):
    matrix = networkx.to_numpy_array(networkx.path_graph(5))
    want = spectral.normalized_laplacian(matrix)
    of_scipy = spectral.normalized_laplacian(sparse.csr_array(matrix))
    of_graph = spectral.normalized_laplacian(graphs.from_dense(matrix))
    np.testing.assert_allclose(of_scipy.toarray(), want)
    np.testing.assert_allclose(of_graph.toarray(), want)

  def test_zeros_count_components_with_an_edge(self):
    graph = networkx.disjoint_union_all(
      [networkx.path_graph(3), networkx.cycle_graph(5), networkx.empty_graph(2)]
    )
    values, _ = spectral.spectral_decomposition(
      spectral.normalized_laplacian(networkx.to_numpy_array(graph))
    )
    self.assertEqual(int((values < 1e-10).sum()), 2)
    self.assertLessEqual(values.max(), 2 + 1e-12)

  @parameterized.parameters(1, 2, 5, 12, 40)
  def test_both_ends_of_a_spectrum(self, num):
    self.enter_context(mock.patch.object(_spectrum, '_FEW', 100))
    for n, chance in ((60, 0.1), (700, 0.01)):  # Whole, and by Lanczos.
      graph = networkx.gnp_random_graph(n, chance, seed=3)
      matrix = networkx.to_scipy_sparse_array(graph)
      laplacian = spectral.normalized_laplacian(matrix)
      got, vectors = spectral.spectral_decomposition(laplacian, num_eigs=num)
      whole = np.linalg.eigvalsh(laplacian.toarray())
      low = -(-num // 2)
      want = np.concatenate([whole[:low], whole[n - (num - low) :]])
      np.testing.assert_allclose(got, want, atol=1e-9)
      np.testing.assert_allclose(laplacian @ vectors, vectors * got, atol=1e-8)
      gram = vectors.T @ vectors
      np.testing.assert_allclose(gram, np.eye(num), atol=1e-8)

  def test_a_ring_has_pairs_of_eigenvalues_by_lanczos_too(self):
    self.enter_context(mock.patch.object(_spectrum, '_FEW', 100))
    matrix = networkx.to_scipy_sparse_array(networkx.cycle_graph(601))
    laplacian = spectral.normalized_laplacian(matrix)
    got, _ = spectral.spectral_decomposition(laplacian, num_eigs=10)
    turns = 2 * np.pi * np.arange(601) / 601
    want = np.sort(1 - np.cos(turns))
    np.testing.assert_allclose(got, np.r_[want[:5], want[-5:]], atol=1e-8)

  @parameterized.parameters(1, 6, 25, 60)
  def test_eigenvalues_count_as_often_as_they_occur(self, num):
    # Lanczos alone finds two of a hundred zeros, and one vector of each.
    self.enter_context(mock.patch.object(_spectrum, '_FEW', 50))
    parts = [networkx.star_graph(79), networkx.cycle_graph(120)]
    parts += [networkx.path_graph(2)] * 30 + [networkx.complete_graph(4)] * 20
    graph = networkx.disjoint_union_all([*parts, networkx.empty_graph(9)])
    matrix = networkx.to_scipy_sparse_array(graph)
    laplacian = spectral.normalized_laplacian(matrix)
    got, vectors = spectral.spectral_decomposition(laplacian, num_eigs=num)
    whole = np.linalg.eigvalsh(laplacian.toarray())
    low = -(-num // 2)
    want = np.concatenate([whole[:low], whole[len(whole) - (num - low) :]])
    np.testing.assert_allclose(got, want, atol=1e-9)
    np.testing.assert_allclose(laplacian @ vectors, vectors * got, atol=1e-8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(num), atol=1e-8)

  @parameterized.parameters('star', 'complete', 'bipartite')
  def test_ends_that_meet_in_one_eigenvalue_share_no_vector(self, name):
    self.enter_context(mock.patch.object(_spectrum, '_FEW', 50))
    graph = {
      'star': lambda: networkx.star_graph(99),
      'complete': lambda: networkx.complete_graph(90),
      'bipartite': lambda: networkx.complete_bipartite_graph(70, 50),
    }[name]()
    matrix = networkx.to_scipy_sparse_array(graph, dtype=float)
    laplacian = spectral.normalized_laplacian(matrix)
    got, vectors = spectral.spectral_decomposition(laplacian, num_eigs=20)
    whole = np.linalg.eigvalsh(laplacian.toarray())
    np.testing.assert_allclose(got, np.r_[whole[:10], whole[-10:]], atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(20), atol=1e-8)
    np.testing.assert_allclose(laplacian @ vectors, vectors * got, atol=1e-8)

  def test_matrices_stay_as_they_are(self):
    self.enter_context(mock.patch.object(_spectrum, '_FEW', 10))
    matrix = sparse.csr_array(np.ones((20, 20)))
    matrix.data[:] = np.eye(20).ravel()  # Zeros are stored.
    spectral.spectral_decomposition(matrix, num_eigs=2)
    self.assertEqual(matrix.nnz, 400)


class SpectrumTest(parameterized.TestCase):
  def test_padding_is_zero_and_comes_last(self):
    graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=5)
    found = spectral.graph_spectrum(graph)
    self.assertEqual(found.eigenvectors.shape, (5, 5))
    np.testing.assert_allclose(found.eigenvalues, [0, 1, 2, 0, 0], atol=1e-6)
    self.assertEqual(found.mask.tolist(), [True] * 3 + [False] * 2)
    outside = np.array(found.eigenvectors)
    outside[:3, :3] = 0
    np.testing.assert_array_equal(outside, 0)
    u, lam = (np.asarray(x) for x in (found.eigenvectors, found.eigenvalues))
    want = dense_laplacian(networkx.to_numpy_array(networkx.path_graph(3)))
    np.testing.assert_allclose((u * lam) @ u.T, np.pad(want, (0, 2)), atol=1e-6)

  def test_a_stack_is_one_after_the_other_and_may_be_empty(self):
    whole = graphs.make_graph([(0, 1), (1, 2), (2, 3)], 4)
    parts = graphs.induced_subgraphs(whole, [[0, 1, 2], [3], []], pad_nodes=4)
    found = spectral.graph_spectrum(parts.graph)
    self.assertEqual(found.mask.sum(axis=1).tolist(), [3, 1, 0])
    np.testing.assert_allclose(found.eigenvalues[1], [1, 0, 0, 0])
    one = spectral.graph_spectrum(jax.tree.map(lambda x: x[0], parts.graph))
    np.testing.assert_array_equal(found.eigenvectors[0], one.eigenvectors)
    few = spectral.graph_spectrum(parts.graph, num_eigs=2)
    self.assertEqual(few.eigenvectors.shape, (3, 4, 2))
    np.testing.assert_allclose(few.eigenvalues[0], [0, 2], atol=1e-6)
    self.assertEqual(few.mask.sum(axis=1).tolist(), [2, 1, 0])


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    (np.ones((2, 3)), r'adjacency must be square, \[N, N\].*got \(2, 3\)'),
    (np.ones(3), r'adjacency must be square, \[N, N\]; got \(3,\)'),
    (np.zeros((0, 0)), 'N >= 1'),
    (np.array([[0, np.nan], [0, 0]]), r'must be finite; \[0, 1\] is nan'),
    (np.array([[0, 0], [np.inf, 0]]), r'must be finite; \[1, 0\] is inf'),
  )
  def test_matrices(self, matrix, message):
    with self.assertRaisesRegex(ValueError, message):
      spectral.normalized_laplacian(matrix)

  def test_decompositions(self):
    run = spectral.spectral_decomposition
    with self.assertRaisesRegex(ValueError, 'laplacian must be square'):
      run(np.ones((2, 3)))
    with self.assertRaisesRegex(ValueError, 'laplacian must be symmetric'):
      run(np.array([[0.0, 1], [0, 0]]))
    with self.assertRaisesRegex(ValueError, 'laplacian must be finite'):
      run(np.full((2, 2), np.nan))
    with self.assertRaisesRegex(ValueError, 'num_eigs must be at least 1'):
      run(np.eye(2), num_eigs=0)
    large = sparse.eye_array(10_001, format='csr')
    with self.assertRaisesRegex(
      ValueError, 'full eigendecomposition of 10001 nodes needs N² memory'
    ):
      run(large)
    graph = graphs.make_graph([(0, 1)], 3, pad_nodes=4)
    with self.assertRaisesRegex(ValueError, 'pad_eigs=2 is too small for 3'):
      spectral.graph_spectrum(graph, pad_eigs=2)
    with self.assertRaisesRegex(TypeError, 'graph must be a graphs.Graph'):
      spectral.graph_spectrum(jnp.ones((3, 3)))


if __name__ == '__main__':
  absltest.main()
