# SPDX-License-Identifier: Apache-2.0
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import mixing
from jaxdl.mixing import graphs


def _rng():
  return np.random.default_rng(0)


class TopologiesTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('ring', lambda: graphs.ring(7), networkx.cycle_graph(7)),
    ('path', lambda: graphs.path(5), networkx.path_graph(5)),
    ('star', lambda: graphs.star(6), networkx.star_graph(5)),
    ('grid', lambda: graphs.grid(12), networkx.grid_2d_graph(3, 4)),
    (
      'torus',
      lambda: graphs.torus(12),
      networkx.grid_2d_graph(3, 4, periodic=True),
    ),
    ('hypercube', lambda: graphs.hypercube(16), networkx.hypercube_graph(4)),
    ('complete', lambda: graphs.complete(5), networkx.complete_graph(5)),
  )
  def test_is_the_named_graph(self, build, want):
    got = build()
    self.assertEqual(got.dtype, bool)
    self.assertFalse(got.diagonal().any())
    self.assertTrue(
      networkx.is_isomorphic(networkx.from_numpy_array(got), want)
    )

  def test_small_cases_have_no_double_links_or_loops(self):
    np.testing.assert_array_equal(graphs.ring(2), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(
      graphs.torus(4), graphs.ring(4)[np.ix_([0, 1, 3, 2], [0, 1, 3, 2])]
    )
    np.testing.assert_array_equal(graphs.torus(5), graphs.ring(5))
    for build in (
      graphs.ring,
      graphs.path,
      graphs.star,
      graphs.grid,
      graphs.torus,
      graphs.hypercube,
      graphs.complete,
      graphs.exponential,
      graphs.directed_ring,
    ):
      np.testing.assert_array_equal(build(1), [[False]])

  def test_random_families(self):
    graph = graphs.random_regular(10, 3, _rng())
    np.testing.assert_array_equal(graph.sum(axis=1), 3)
    for undirected in (
      graph,
      graphs.erdos_renyi(12, 0.3, _rng()),
      graphs.small_world(12, 4, 0.3, _rng()),
      graphs.barabasi_albert(12, 2, _rng()),
    ):
      self.assertTrue(graphs.is_undirected(undirected))
      self.assertEqual(graphs.num_components(undirected), 1)
    digraph = graphs.random_digraph(9, 2, _rng())
    np.testing.assert_array_equal(digraph.sum(axis=0), 2)  # Sent by each.
    self.assertEqual(graphs.num_components(digraph), 1)
    np.testing.assert_array_equal(digraph, graphs.random_digraph(9, 2, _rng()))

  @parameterized.parameters((1, 0), (2, 1), (9, 1), (20, 2), (20, 4))
  def test_grown_graphs_have_hubs(self, n, links):
    degree = max(2 * links, 1)
    spec = 'barabasi_albert' + f'(degree={degree})' * (degree < n)
    graph = mixing.make_graph(spec, n, seed=3)
    # Newcomers from the links-th on make as many links as they are told.
    self.assertEqual(graph.sum(), 2 * links * (n - links))
    np.testing.assert_array_equal(graph, mixing.make_graph(spec, n, seed=3))
    if n == 20:
      drawn = networkx.barabasi_albert_graph(
        n, links, seed=np.random.default_rng(3)
      )
      np.testing.assert_array_equal(graph, networkx.to_numpy_array(drawn) > 0)
      degrees = graph.sum(axis=1)
      self.assertGreater(degrees.max(), 1.5 * degrees.mean())

  def test_entry_i_j_lets_i_receive_from_j(self):
    graph = graphs.directed_ring(4)
    self.assertTrue(graph[0, 1])
    self.assertFalse(graph[1, 0])
    arrow = networkx.DiGraph([(0, 1)])  # 0 sends to 1.
    np.testing.assert_array_equal(graphs.adjacency(arrow), [[0, 0], [1, 0]])
    np.testing.assert_array_equal(
      np.nonzero(graphs.exponential(6)[1])[0], [2, 3, 5]
    )

  def test_nodes_are_the_clients_of_these_numbers(self):
    # Added as 2, 0, 1: the order of the nodes is not that of their numbers.
    graph = networkx.Graph([(2, 0), (0, 1), (1, 1)])
    want = [[0, 1, 1], [1, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(graphs.adjacency(graph), want)
    named = networkx.Graph([('c', 'a'), ('a', 'b')])
    np.testing.assert_array_equal(graphs.adjacency(named), graphs.path(3))
    parallel = networkx.MultiGraph([(0, 1), (1, 2)])
    np.testing.assert_array_equal(graphs.adjacency(parallel), graphs.path(3))
    both = networkx.MultiDiGraph([(0, 1), (1, 0)])
    np.testing.assert_array_equal(graphs.adjacency(both), graphs.path(2))

  @parameterized.named_parameters(
    (
      'gap',
      lambda: graphs.adjacency(networkx.Graph([(1, 2), (2, 3)])),
      r'3 integer nodes that are not 0\.\.2 but 1\.\.3.*convert_node_labels',
    ),
    (
      'parallel',
      lambda: graphs.adjacency(networkx.MultiGraph([(0, 1), (1, 0)])),
      'parallel links 0-1',
    ),
    (
      'parallel_directed',
      lambda: graphs.adjacency(networkx.MultiDiGraph([(0, 1), (0, 1)])),
      'parallel links 0-1',
    ),
    ('n', lambda: graphs.ring(0), 'num_clients must be at least 1'),
    ('hypercube', lambda: graphs.hypercube(6), 'power of two.*use 4 or 8'),
    ('rows', lambda: graphs.torus(6, rows=4), 'rows=4 does not divide'),
    ('odd', lambda: graphs.random_regular(5, 3, _rng()), 'must be even'),
    ('degree', lambda: graphs.random_regular(4, 4, _rng()), 'degree <= .* 3'),
    ('pairs', lambda: graphs.random_regular(6, 1, _rng()), 'degree >= 2'),
    ('rare', lambda: graphs.erdos_renyi(30, 1e-6, _rng()), 'raise probab'),
    ('world', lambda: graphs.small_world(8, 3, 0.1, _rng()), 'even degree'),
    (
      'links',
      lambda: graphs.barabasi_albert(4, 4, _rng()),
      'num_links <= .* 3',
    ),
    (
      'hubs',
      lambda: mixing.make_graph('barabasi_albert(degree=8)', 4),
      'degree=8 is too large for num_clients=4',
    ),
    ('shape', lambda: graphs.adjacency(np.ones((2, 3))), r'square.*\(2, 3\)'),
  )
  def test_says_what_does_not_exist(self, build, message):
    with self.assertRaisesRegex(ValueError, message):
      build()


if __name__ == '__main__':
  absltest.main()
