# SPDX-License-Identifier: Apache-2.0
"""The padded graph, what changes it, and converters."""

import itertools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import scipy.sparse
from absl.testing import absltest, parameterized

from jaxdl import graphs

KARATE = networkx.karate_club_graph()


def random_matrix(n=8, seed=0, weighted=True):
  rng = np.random.default_rng(seed)
  matrix = rng.normal(size=(n, n)) * (rng.random((n, n)) < 0.4)
  return matrix if weighted else (matrix != 0).astype(float)


class MakeGraphTest(parameterized.TestCase):
  def test_edges_are_sorted_and_padding_comes_last(self):
    graph = graphs.make_graph([(2, 0), (0, 1)], 3, pad_nodes=5, pad_edges=7)
    ends = list(zip(graph.receivers, graph.senders, strict=True))
    self.assertEqual(ends, sorted(ends))
    self.assertEqual(graph.edge_mask.tolist(), [True] * 4 + [False] * 3)
    self.assertEqual(graph.node_mask.tolist(), [True] * 3 + [False] * 2)
    self.assertEqual(graph.senders[4:].tolist(), [3] * 3)

  def test_buckets_waste_at_most_half(self):
    sizes = {graphs.bucket(n) for n in range(1, 1025)}
    self.assertLen(sizes, 15)
    for n in range(8, 1025):
      self.assertBetween(graphs.bucket(n), n, 1.5 * n)

  @parameterized.parameters(
    ([(0, 3)], {}, r'edges\[0\] = \(0, 3\) names no node of num_nodes=3'),
    ([(0, 1), (-1, 0)], {}, r'edges\[1\] = \(-1, 0\) names no node'),
    ([(0, 1), (1, 0)], {}, r'edges\[1\] = \(1, 0\) is edges\[0\] once more'),
    ([(0, 1)], {'weights': [np.nan]}, 'weights must be finite'),
    ([(0, 1)], {'weights': [1e300]}, r'in float32; weights\[0\] is 1e\+300'),
    ([(0, 1)], {'weights': [1, 2]}, 'one for each of 1 edges'),
    ([(0, 1)], {'pad_nodes': 2}, 'pad_nodes must be at least 3'),
    ([(0, 1)], {'pad_edges': 1}, 'pad_edges must be at least 2'),
    ([(0, 1)], {'pad_nodes': 3, 'pad_edges': 4}, 'needs a padding node'),
    ([0, 1], {}, r'shape \[M, 2\]'),
  )
  def test_says_what_is_wrong(self, edges, options, message):
    with self.assertRaisesRegex(ValueError, message):
      graphs.make_graph(edges, 3, **options)

  def test_one_program_for_graphs_of_one_size(self):
    traces = []

    @jax.jit
    def run(graph, x):
      traces.append(None)
      return graphs.propagate(graph, x)

    for edges in ([(0, 1)], [(0, 1), (1, 2)], []):
      run(graphs.make_graph(edges, 3), jnp.ones(8))
    self.assertLen(traces, 1)


class ChangeTest(parameterized.TestCase):
  def test_neighbors_are_those_of_networkx(self):
    graph = graphs.from_networkx(KARATE)
    ids, mask = graphs.neighbors(graph)
    self.assertEqual(ids.shape[1], 17)
    for node in KARATE:
      self.assertEqual(ids[node][mask[node]].tolist(), sorted(KARATE[node]))
    self.assertTrue((np.diff(ids, axis=1) >= 0).all())
    self.assertFalse(mask[34:].any())
    self.assertEqual(graphs.neighbors(graph, 20)[0].shape[1], 20)
    with self.assertRaisesRegex(
      ValueError, 'max_degree=16 is too small: node 33 has 17'
    ):
      graphs.neighbors(graph, 16)

  def test_finds_every_edge_and_no_other(self):
    graph = graphs.from_networkx(KARATE)
    pairs = np.array(list(itertools.product(range(34), range(34))))
    at = np.asarray(jax.jit(graphs.find_edges)(graph, jnp.asarray(pairs)))
    there = np.array([KARATE.has_edge(a, b) for a, b in pairs])
    np.testing.assert_array_equal(at < graph.num_edges, there)
    np.testing.assert_array_equal(graph.senders[at[there]], pairs[there, 0])
    np.testing.assert_array_equal(graph.receivers[at[there]], pairs[there, 1])
    outside = jnp.array([(-1, -1), (34, 34), (40, 2)])  # Padding is no edge.
    self.assertTrue((graphs.find_edges(graph, outside) == 156 + 36).all())

  def test_removed_edges_leave_the_graph_without_them(self):
    graph = graphs.from_networkx(KARATE)
    gone = np.array(list(KARATE.edges))[::7]
    gone[::2] = gone[::2, ::-1]
    cut = jax.jit(graphs.remove_edges)(graph, jnp.asarray(gone))
    other = networkx.Graph(KARATE)
    other.remove_edges_from(gone.tolist())
    rebuilt = graphs.from_networkx(other, pad_edges=graph.num_edges)
    np.testing.assert_array_equal(
      graphs.edge_pairs(cut), graphs.edge_pairs(rebuilt)
    )
    x = jax.random.normal(jax.random.key(0), (graph.num_nodes, 3))
    a, b = (graphs.propagate(g, x) for g in (cut, rebuilt))
    np.testing.assert_allclose(a, b, atol=1e-6)
    small = graphs.compact(cut)
    np.testing.assert_array_equal(
      graphs.edge_pairs(small), graphs.edge_pairs(cut)
    )
    one_way = graphs.remove_edges(graph, jnp.asarray(gone), both=False)
    self.assertEqual(int(one_way.edge_mask.sum()), 156 - len(gone))

  def test_loops_are_added_once(self):
    graph = graphs.make_graph(
      [(0, 0), (0, 1)], 3, weights=[5.0, 2.0], pad_nodes=4
    )
    looped = graphs.add_self_loops(graph, weight=3.0)
    np.testing.assert_array_equal(
      graphs.to_dense(looped)[:3, :3], [[3, 2, 0], [2, 3, 0], [0, 0, 3]]
    )
    x = jax.random.normal(jax.random.key(0), (4, 2))
    ones = graphs.add_self_loops(graph)
    np.testing.assert_allclose(
      graphs.propagate(ones, x, self_loops=False),
      graphs.propagate(graph, x, self_loops=True),
      rtol=1e-6,
    )

  def test_parts_are_induced(self):
    graph = graphs.from_networkx(KARATE)
    rng = np.random.default_rng(0)
    parts = np.split(rng.permutation(34), [9, 20])
    found = graphs.induced_subgraphs(graph, parts)
    x = jax.random.normal(jax.random.key(0), (graph.num_nodes, 3))
    got = jax.vmap(graphs.propagate)(found.graph, x[found.node_ids])
    for k, part in enumerate(parts):
      alone = networkx.Graph()
      alone.add_nodes_from(part.tolist())
      alone.add_edges_from(KARATE.subgraph(part.tolist()).edges)
      a = networkx.to_numpy_array(alone) + np.eye(len(part))
      d = a.sum(1) ** -0.5
      want = (d[:, None] * a * d) @ np.asarray(x[part], np.float64)
      np.testing.assert_allclose(got[k, : len(part)], want, atol=1e-5)
      np.testing.assert_array_equal(got[k, len(part) :], 0)
    one = graphs.subgraph(graph, parts[1])
    np.testing.assert_array_equal(
      graphs.edge_pairs(one),
      graphs.edge_pairs(jax.tree.map(lambda x: x[1], found.graph)),
    )

  @parameterized.parameters(
    ([[0, 1], [34]], r'parts\[1\]\[0\] = 34 is no node .* has 34'),
    ([[0, 0]], r'parts\[0\] has node 0 twice'),
    ([], 'parts is empty'),
  )
  def test_says_what_is_wrong_with_parts(self, parts, message):
    with self.assertRaisesRegex(ValueError, message):
      graphs.induced_subgraphs(graphs.from_networkx(KARATE), parts)

  def test_says_what_is_wrong_with_flags_and_lists(self):
    graph = graphs.make_graph([(0, 1)], 2)
    x = jnp.ones((8, 1))
    flagged = {
      'directed': lambda v: graphs.make_graph([(0, 1)], 2, directed=v),
      'once': lambda v: graphs.edge_pairs(graph, once=v),
      'loops': lambda v: graphs.undirected_pairs([(0, 1)], loops=v),
      'both': lambda v: graphs.remove_edges(graph, jnp.array([[0, 1]]), both=v),
      'weighted': lambda v: graphs.degrees(graph, weighted=v),
      'self_loops': lambda v: graphs.propagate(graph, x, self_loops=v),
      'weights': lambda v: graphs.from_dense(np.eye(2), weights=v),
      'bias': lambda v: graphs.gcn(3, bias=v),
    }
    for name, call in flagged.items():
      with self.assertRaisesRegex(TypeError, f"{name} must be .* text 'no'"):
        call('no')
    with self.assertRaisesRegex(TypeError, 'edges must be integers'):
      graphs.undirected_pairs([(0.5, 1.5)])
    with self.assertRaisesRegex(TypeError, 'parts must be a list'):
      graphs.induced_subgraphs(graph, 3)
    with self.assertRaisesRegex(ValueError, 'pad_nodes must be at least 1'):
      graphs.induced_subgraphs(graph, [[]], pad_nodes=0)
    with self.assertRaisesRegex(ValueError, 'least must be at least 1; got 0'):
      graphs.bucket(3, least=0)
    with self.assertRaisesRegex(ValueError, 'num_nodes must be at most 21474'):
      graphs.make_graph([(0, 1)], 2**40)

  def test_what_needs_the_host_says_so(self):
    graph = graphs.from_networkx(KARATE)
    for fn in (graphs.neighbors, graphs.compact, graphs.to_networkx):
      with self.assertRaisesRegex(TypeError, 'must be concrete'):
        jax.jit(lambda g, fn=fn: fn(g) and 0)(graph)

  def test_pairs_once_must_lead_both_ways(self):
    graph = graphs.make_graph([(0, 1)], 2, directed=True)
    with self.assertRaisesRegex(ValueError, '0 -> 1 but none back'):
      graphs.edge_pairs(graph, once=True)
    both = graphs.undirected_pairs([(1, 0), (0, 1), (1, 1)])
    self.assertEqual(both.tolist(), [[0, 1]])


class ConvertTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_dense_and_sparse_there_and_back(self, weighted):
    matrix = random_matrix(weighted=weighted)
    for graph in (
      graphs.from_dense(matrix),
      graphs.from_scipy(scipy.sparse.coo_matrix(matrix)),
    ):
      self.assertEqual(graph.weights is None, not weighted)
      np.testing.assert_allclose(graphs.to_dense(graph)[:8, :8], matrix, 1e-6)
      np.testing.assert_allclose(
        graphs.to_scipy(graph).toarray(), matrix, rtol=1e-6
      )
      x = np.random.default_rng(1).normal(size=(8, 2))
      got = graphs.propagate(
        graph,
        jnp.asarray(graphs.pad_rows(x, graph), jnp.float32),
        normalize='none',
        self_loops=False,
      )
      np.testing.assert_allclose(got[:8], matrix @ x, rtol=1e-5, atol=1e-5)

  def test_networkx_there_and_back(self):
    for given in (KARATE, networkx.DiGraph([(0, 1), (1, 2)])):
      plain = graphs.to_networkx(graphs.from_networkx(given))
      self.assertEqual(plain.is_directed(), given.is_directed())
      self.assertEqual(set(plain.edges), set(given.edges))
    back = graphs.to_networkx(graphs.from_networkx(KARATE, weight='weight'))
    for a, b, w in KARATE.edges(data='weight'):
      self.assertEqual(back[a][b]['weight'], w)

  def test_jraphs_fields_there_and_back(self):
    graph = graphs.from_networkx(KARATE, weight='weight')
    x = np.random.default_rng(0).normal(size=(graph.num_nodes, 2))
    given = graphs.to_graphs_tuple(graph, x)
    self.assertEqual(given.n_node.tolist(), [34, graph.num_nodes - 34])
    self.assertEqual(int(given.n_edge.sum()), graph.num_edges)
    path = graphs.make_graph([(0, 1), (1, 2)], 4)
    both, x = graphs.batch([graph, path], [x, x[: path.num_nodes]])
    given = graphs.to_graphs_tuple(both, x)
    lone = given._replace(
      senders=both.senders[:160],
      receivers=both.receivers[:160],
      edges=both.weights[:160],
      nodes=x[:38],
      n_node=given.n_node[:2],
      n_edge=given.n_edge[:2],
    )
    self.assertEqual(lone.n_edge.tolist(), [156, 4])
    back, nodes = graphs.from_graphs_tuple(lone)
    np.testing.assert_allclose(graphs.to_dense(back), graphs.to_dense(both))
    self.assertEqual(back.graph_ids[:38].tolist(), [0] * 34 + [1] * 4)
    np.testing.assert_array_equal(nodes[:38], x[:38])
    for changes, message in (
      ({'n_edge': [155, 4]}, '159 edges, 160 senders'),
      ({'n_edge': [150, 10]}, r'edge 150 = \(\d+, 33\) counted to graph 1'),
      ({'n_node': [-1, 39]}, 'n_node must not hold -1'),
      ({'senders': both.senders[:159]}, '159 senders and 160 receivers'),
      ({'nodes': x[:37]}, r'a row for each of 38 nodes; got shape \(37, 2\)'),
      ({'edges': lone.edges.at[3].set(jnp.nan)}, r'weights\[3\] is nan'),
      ({'n_node': [0, 0], 'n_edge': [0, 0]}, '0 edges, 160 senders'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        graphs.from_graphs_tuple(lone._replace(**changes))
    with self.assertRaisesRegex(TypeError, 'one array; got a dict'):
      graphs.from_graphs_tuple(lone._replace(nodes={'x': x}))
    with self.assertRaisesRegex(ValueError, 'nodes must have a row for each'):
      graphs.to_graphs_tuple(both, x[:3])
    # An edge that is there twice would be taken out once, or told once.
    ends = jnp.array([1, 1])
    twice = graphs.GraphsTuple(None, None, 0 * ends, ends, None, [2], [2])
    with self.assertRaisesRegex(ValueError, r'edges\[1\] = \(1, 0\) is edges'):
      graphs.from_graphs_tuple(twice)

  def test_masks_are_jraphs(self):
    try:
      import jraph
    except ImportError:
      self.skipTest('jraph is not installed')
    graph = graphs.from_networkx(KARATE)
    given = jraph.GraphsTuple(
      *graphs.to_graphs_tuple(graph, jnp.zeros((graph.num_nodes, 1)))
    )
    np.testing.assert_array_equal(
      jraph.get_node_padding_mask(given), graph.node_mask
    )
    np.testing.assert_array_equal(
      jraph.get_edge_padding_mask(given), graph.edge_mask
    )

  def test_weights_of_networkx_are_there_or_refused(self):
    given = networkx.Graph([(0, 1, {'w': 3.0}), (1, 2, {})])
    got = graphs.from_networkx(given, weight='w', pad_nodes=3)
    self.assertEqual(got.weights.tolist(), [3, 3, 1, 1])
    with self.assertRaisesRegex(ValueError, "weight='v' is .* edges have w"):
      graphs.from_networkx(given, weight='v')
    with self.assertRaisesRegex(TypeError, 'the name of an attribute'):
      graphs.from_networkx(given, weight=True)
    given[0][1]['w'] = 'far'
    with self.assertRaisesRegex(TypeError, "weight='w' must hold real"):
      graphs.from_networkx(given, weight='w')

  def test_says_what_is_wrong(self):
    matrix = scipy.sparse.csr_array(np.array([[0, 1j], [0, 0]]))
    with self.assertRaisesRegex(TypeError, 'got complex numbers'):
      graphs.from_scipy(matrix)
    with self.assertRaisesRegex(
      ValueError, r'square, \[n, n\]; got .*\(2, 3\)'
    ):
      graphs.from_dense(np.zeros((2, 3)))
    with self.assertRaisesRegex(ValueError, 'nan at row 0, column 1'):
      graphs.from_dense([[0, np.nan], [0, 0]])
    with self.assertRaisesRegex(ValueError, 'no nodes'):
      graphs.from_networkx(networkx.Graph())
    with self.assertRaisesRegex(ValueError, 'parallel edges'):
      graphs.from_networkx(networkx.MultiGraph([(0, 1), (1, 0)]))
    with self.assertRaisesRegex(TypeError, 'graphs.from_dense'):
      graphs.from_scipy(np.zeros((2, 2)))
    with self.assertRaisesRegex(TypeError, 'n_node'):
      graphs.from_graphs_tuple(KARATE)
    cut = graphs.remove_edges(graphs.from_networkx(KARATE), jnp.array([(0, 1)]))
    with self.assertRaisesRegex(ValueError, r'graphs.compact\(graph\)'):
      graphs.to_graphs_tuple(cut)


if __name__ == '__main__':
  absltest.main()
