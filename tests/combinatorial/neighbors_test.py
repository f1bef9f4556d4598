# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbors against a tree of scipy and against sorting."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import spatial

from jaxdl.combinatorial import _neighbors


def points(num_nodes, seed=0):
  return np.random.default_rng(seed).random((num_nodes, 2)).astype('float32')


class NeighborsTest(parameterized.TestCase):
  @parameterized.parameters(2**20, 700)
  def test_equals_a_tree(self, block):
    x = points(150)
    want, ids = spatial.cKDTree(x.astype(float)).query(x.astype(float), 7)
    with mock.patch.object(_neighbors, '_BLOCK', block):
      got, distances = jax.jit(
        _neighbors.nearest, static_argnames='num_neighbors'
      )(jnp.asarray(x), num_neighbors=7)
    np.testing.assert_array_equal(got, ids)
    np.testing.assert_allclose(distances, want, atol=1e-6)

  def test_rows_of_any_matrix(self):
    cost = np.random.default_rng(1).random((40, 40)).astype('float32')
    ids, values = _neighbors.smallest(lambda i: jnp.asarray(cost)[i], 40, 5)
    for i in range(40):
      row = np.where(np.arange(40) == i, -1, cost[i])
      np.testing.assert_array_equal(ids[i], np.argsort(row)[:5])
      np.testing.assert_array_equal(values[i, 1:], cost[i, ids[i, 1:]])
      self.assertEqual(values[i, 0], 0.0)

  def test_a_node_is_first_among_duplicates_and_ties_go_to_low_indices(self):
    x = jnp.zeros((6, 2)).at[5].set(1.0)
    ids, distances = _neighbors.nearest(x, 3)
    want = [[0, 1, 2], [1, 0, 2], [2, 0, 1], [3, 0, 1], [4, 0, 1], [5, 0, 1]]
    self.assertEqual(ids.tolist(), want)
    np.testing.assert_allclose(distances[5], [0, 2**0.5, 2**0.5], atol=1e-6)

  def test_all_neighbors_where_there_are_fewer(self):
    graph = _neighbors.knn_graph(jnp.asarray(points(4)), 100)
    self.assertEqual(graph.ids.shape, (4, 4))
    self.assertEqual(graph.edges.shape, (4, 4, 2))
    np.testing.assert_array_equal(np.sort(graph.ids, 1), [[0, 1, 2, 3]] * 4)
    alone = _neighbors.knn_graph(jnp.ones((1, 2)), 3)
    self.assertEqual(alone.ids.tolist(), [[0]])

  def test_edges_are_negative_distances(self):
    x = points(9)
    graph = _neighbors.knn_graph(jnp.asarray(x), 3, nodes=jnp.ones((9, 5)))
    gaps = x[:, None] - x[np.asarray(graph.ids)]
    want = -np.sqrt((gaps.astype(float) ** 2).sum(-1))
    np.testing.assert_allclose(graph.edges[..., 0], want, atol=1e-6)
    np.testing.assert_array_equal(graph.edges[..., 0], graph.edges[..., 1])
    self.assertEqual(graph.nodes.shape, (9, 5))

  def test_translated_points_have_the_same_neighbors(self):
    # Differences first: squares of sums would cancel.
    x = np.round(points(50) * 2**10) / 2**10
    near = _neighbors.nearest(jnp.asarray(x), 8)
    far = _neighbors.nearest(jnp.asarray(x + 512), 8)
    np.testing.assert_array_equal(near[0], far[0])
    np.testing.assert_array_equal(near[1], far[1])

  @parameterized.parameters('bfloat16', 'float64')
  def test_keeps_dtype(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      ids, distances = _neighbors.nearest(jnp.asarray(points(5), dtype), 2)
    self.assertEqual(distances.dtype, dtype)
    self.assertEqual(ids.dtype, 'int32')

  def test_memory_grows_with_neighbors_not_with_pairs(self):
    def temporary(num_nodes):
      x = jax.ShapeDtypeStruct((num_nodes, 2), jnp.float32)
      program = jax.jit(lambda x: _neighbors.nearest(x, 4)).lower(x).compile()
      return program.memory_analysis().temp_size_in_bytes

    # A row of all pairs more, and never 4 N² bytes.
    self.assertLess(temporary(8192), 4 * 8192**2 // 8)

  def test_says_what_is_wrong(self):
    x = jnp.zeros((3, 2))
    with self.assertRaisesRegex(ValueError, r'num_neighbors must be at least'):
      _neighbors.nearest(x, 0)
    with self.assertRaisesRegex(TypeError, r'num_neighbors must be an integer'):
      _neighbors.nearest(x, 2.0)
    with self.assertRaisesRegex(ValueError, r'coordinates \[N, D\].*\(3,\)'):
      _neighbors.nearest(x[:, 0], 2)
    with self.assertRaisesRegex(TypeError, r'x must be an array'):
      _neighbors.nearest([[0.0, 1.0]], 2)
    with self.assertRaisesRegex(ValueError, r'\[B, N\] = \(3, 3\).*\(3, 2\)'):
      _neighbors.smallest(lambda ids: x[ids], 3, 2)


if __name__ == '__main__':
  absltest.main()
