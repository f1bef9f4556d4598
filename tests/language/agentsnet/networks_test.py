# SPDX-License-Identifier: Apache-2.0
"""Networks of agents against networkx, and files of them."""

import itertools
import json
import pathlib
import random
import tempfile

import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import mixing
from jaxdl.language import agentsnet
from jaxdl.language.agentsnet import _names


def edges(graph):
  return {frozenset(edge) for edge in graph.edges}


def delaunay(n, seed):
  """Sides of all triangles whose circle around holds no other point."""
  np.random.seed(seed)  # noqa: NPY002
  points = np.random.rand(n, 2)  # noqa: NPY002
  lifted = np.column_stack([points, (points**2).sum(1)])
  triples = np.array(list(itertools.combinations(range(n), 3)))
  a, b, c = np.moveaxis(lifted[triples], 1, 0)
  # Points in the circle lie below the plane through the lifted corners.
  normal = np.cross(b - a, c - a)
  normal *= np.sign(normal[:, 2:])
  below = np.einsum('td,tnd->tn', normal, lifted[None] - a[:, None]) < 0
  below[np.arange(len(triples))[:, None], triples] = False
  graph = networkx.empty_graph(n)
  for triple in triples[~below.any(axis=1)].tolist():
    graph.add_edges_from(itertools.combinations(triple, 2))
  return graph


class MakeGraphTest(parameterized.TestCase):
  def test_seeds_are_those_of_the_benchmark(self):
    random.seed(42)
    want = tuple(random.randint(1, 10_000) for _ in range(5))
    self.assertEqual(want[:3], (1825, 410, 4507))
    self.assertEqual(agentsnet.graph_seeds(5), want)

  @parameterized.parameters(*agentsnet.graph_seeds())
  def test_small_worlds_of_four_are_complete(self, seed):
    graph = agentsnet.make_graph('ws', 4, seed)
    self.assertEqual(graph.number_of_edges(), 6)
    self.assertEqual(networkx.diameter(graph), 1)

  @parameterized.product(
    n=(4, 8, 16, 40), seed=agentsnet.graph_seeds(), family=('ws', 'ba', 'dt')
  )
  def test_edges_are_those_of_the_generators(self, n, seed, family):
    graph = agentsnet.make_graph(family, n, seed)
    if family == 'ws':
      want = networkx.connected_watts_strogatz_graph(n, 4, 0.4, seed=seed)
      self.assertEqual(graph.number_of_edges(), 6 if n == 4 else 2 * n)
    elif family == 'ba':
      want = networkx.barabasi_albert_graph(n, 2, seed=seed)
      self.assertEqual(graph.number_of_edges(), 2 * (n - 2))
    else:
      want = delaunay(n, seed)
    self.assertEqual(edges(graph), edges(want))
    self.assertEqual(agentsnet.diameter(graph), networkx.diameter(graph))

  def test_diameters_and_rounds_of_the_sheet(self):
    found = []
    for family in ('ws', 'ba', 'dt'):
      graph = agentsnet.make_graph(family, 16, 1825)
      far = agentsnet.diameter(graph)
      found.append((far, agentsnet.num_rounds('consensus', 16, far)))
    self.assertEqual(found, [(4, 9), (4, 9), (5, 11)])

  @parameterized.parameters(
    ('matching', 4, 9, 4),
    ('coloring', 5, 9, 5),
    ('vertex_cover', 16, 9, 6),
    ('vertex_cover', 17, 3, 7),
    ('leader_election', 4, 1, 3),
    ('consensus', 100, 6, 13),
  )
  def test_rounds(self, task, n, far, want):
    self.assertEqual(agentsnet.num_rounds(task, n, far), want)

  @parameterized.parameters(
    'ring',
    'star',
    'torus(rows=2)',
    'random_regular(degree=3)',
    'erdos_renyi(probability=0.5)',
    'hypercube',
  )
  def test_topologies_are_those_of_mixing(self, spec):
    graph = agentsnet.make_graph(spec, 8, 3)
    want = mixing.make_graph(spec, 8, seed=3)
    np.testing.assert_array_equal(networkx.to_numpy_array(graph) != 0, want)

  def test_links_of_one_way_and_of_schedules_are_taken_both_ways(self):
    one_way = agentsnet.make_graph('directed_ring', 5, 0)
    self.assertEqual(edges(one_way), edges(networkx.cycle_graph(5)))
    hops = agentsnet.make_graph('one_peer_exponential', 8, 0)
    want = networkx.circulant_graph(8, [1, 2, 4])
    self.assertEqual(edges(hops), edges(want))

  def test_names_are_distinct_and_drawn_from_the_list(self):
    graph = agentsnet.make_graph('ring', 50, 7)
    names = agentsnet.names_of(graph)
    self.assertLen(set(names), 50)
    self.assertLessEqual(set(names), set(_names.NAMES))
    more = _names.draw_names(400, random.Random(0))
    self.assertLen(set(more), 400)
    self.assertTrue(
      all(name.rstrip('0123456789') in _names.NAMES for name in more)
    )
    self.assertLen({_names.node_number(name) for name in more}, 400)

  def test_the_benchmark_has_three_of_each(self):
    graphs = agentsnet.benchmark_graphs((4, 8))
    self.assertLen(graphs, 18)
    self.assertEqual([len(g) for g in graphs], [4] * 9 + [8] * 9)
    # One stream of names: graphs of one family and size have others.
    self.assertNotEqual(*map(agentsnet.names_of, graphs[:2]))
    again = agentsnet.benchmark_graphs((4, 8))
    self.assertEqual(
      *[list(map(agentsnet.names_of, x)) for x in (graphs, again)]
    )

  @parameterized.parameters(
    (('ws', 3, 0), 'num_nodes=3 is too small for ws of degree=4'),
    (('ba', 2, 0), 'num_nodes=2 is too small for ba of links=2: need 3'),
    (('dt', 2, 0), 'num_nodes=2 is too small for dt'),
    (('ring', 1, 0), 'num_nodes must be at least 2; got 1'),
    (('ring', 4, -1), 'seed must be at least 0; got -1'),
    (('rinq', 4, 0), "family='rinq' is unknown.*Did you mean 'ring'"),
    (('ws(k=2)', 4, 0), "no option 'k': its options are degree, probability"),
    (('alone', 4, 0), "family='alone' of 4 nodes must be connected; it has 4"),
    (('random_shift', 4, 0), 'draws links anew every round'),
  )
  def test_says_what_is_wrong(self, args, message):
    with self.assertRaisesRegex(ValueError, message):
      agentsnet.make_graph(*args)


class NamedTest(parameterized.TestCase):
  def test_takes_graphs_of_ones_own(self):
    graph = agentsnet.named(np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]))
    self.assertEqual(sorted(graph.edges), [(0, 1), (1, 2)])
    given = networkx.path_graph(['c', 'a', 'b'])
    self.assertEqual(agentsnet.names_of(agentsnet.named(given)), tuple('cab'))
    self.assertEqual(agentsnet.neighbors_of(agentsnet.named(given), 1), (0, 2))

  @parameterized.parameters(
    (['Ann', 'Ann', 'Bob'], "must be distinct; 'Ann' and 'Ann'"),
    (['ann', 'Ann', 'Bob'], "must be distinct; 'Ann' and 'ann'"),
    (['A\u0301da', '\u00c1da', 'Bob'], 'must be distinct'),
    (['none', 'Ann', 'Bob'], "must not be 'None', which is an answer"),
    (['', 'Ann', 'Bob'], "1 to 40 printable characters; got '' of 0"),
    (['A\n', 'Ann', 'Bob'], 'printable characters'),
    (['A' * 41, 'Ann', 'Bob'], 'printable characters; got .* of 41'),
    (['Ann', 'Bob'], 'names must be one for each of 3 nodes; got 2'),
  )
  def test_names_must_be_told_apart(self, names, message):
    with self.assertRaisesRegex(ValueError, message):
      agentsnet.named(networkx.path_graph(3), names)

  @parameterized.parameters(
    (networkx.Graph([(0, 1), (2, 3)]), 'must be connected; it has 2 parts'),
    (networkx.DiGraph([(0, 1)]), 'must be undirected'),
    (networkx.MultiGraph([(0, 1), (0, 1)]), 'without parallel links'),
    (networkx.Graph([(0, 1), (1, 1)]), 'links node 1 to itself'),
    (networkx.empty_graph(1), 'must have two nodes or more; got 1'),
    (networkx.Graph(), 'must have two nodes or more; got 0'),
  )
  def test_refuses_what_agents_cannot_stand_on(self, graph, message):
    with self.assertRaisesRegex(ValueError, message):
      agentsnet.named(graph)

  def test_refuses_other_things(self):
    with self.assertRaisesRegex(
      TypeError, 'must be a networkx graph; got None'
    ):
      agentsnet.check_graph(None)
    with self.assertRaisesRegex(ValueError, 'has no name of node 0'):
      agentsnet.check_graph(networkx.path_graph(2))
    shifted = networkx.relabel_nodes(networkx.path_graph(2), {0: 5})
    with self.assertRaisesRegex(ValueError, r'the nodes 0..1'):
      agentsnet.check_graph(shifted)


class FilesTest(parameterized.TestCase):
  def path(self, text):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    path = pathlib.Path(folder.name) / 'graphs.json'
    path.write_text(text)
    return path

  def test_graphs_come_back(self):
    graphs = agentsnet.benchmark_graphs((8,), num_samples=1)
    path = self.path('')
    agentsnet.write_graphs(path, graphs)
    back = agentsnet.read_graphs(path)
    self.assertLen(back, 3)
    for a, b in zip(graphs, back, strict=True):
      self.assertEqual(edges(a), edges(b))
      self.assertEqual(agentsnet.names_of(a), agentsnet.names_of(b))
      self.assertEqual(a.graph, b.graph)
    self.assertEqual([p.name for p in path.parent.glob('*.part')], [])

  @parameterized.parameters('edges', 'links')
  def test_networkx_writes_and_reads_the_same(self, word):
    graph = agentsnet.make_graph('dt', 8, 410)
    value = networkx.node_link_data(graph, edges=word)
    back = agentsnet.read_graphs(self.path(json.dumps(value)))[0]
    self.assertEqual(edges(back), edges(graph))
    theirs = networkx.node_link_graph(
      agentsnet.to_node_link(graph), edges='edges'
    )
    self.assertTrue(networkx.utils.graphs_equal(theirs, graph))

  def test_nodes_may_be_names(self):
    graph = networkx.path_graph(['Ann', 'Bob', 'Cem'])
    value = networkx.node_link_data(graph, edges='links')
    back = agentsnet.read_graphs(self.path(json.dumps([value, value])))
    self.assertLen(back, 2)
    self.assertEqual(agentsnet.names_of(back[1]), ('Ann', 'Bob', 'Cem'))

  @parameterized.parameters(
    ('{', 'expected graphs as JSON in node-link form'),
    ('[' * 100_000, 'nested too deeply|expected graphs as JSON'),
    ('[]', 'expected one graph or a list of graphs'),
    ('3', 'expected one graph or a list of graphs'),
    ('[3]', 'graph 0 must be an object with nodes and edges; got 3'),
    ('{"nodes": []}', "lists of nodes and of edges .*it has 'nodes'"),
    ('{"directed": true}', 'must be undirected'),
    ('{"nodes": [{}], "edges": []}', r'nodes\[0\] has no id'),
    ('{"nodes": [{"id": 1}, {"id": 1}], "edges": []}', r'nodes\[1\] is there'),
    (
      '{"nodes": [{"id": 0}, {"id": 1}], "edges": [{"source": 0}]}',
      r'edges\[0\] does not lead from a source to a target',
    ),
    (
      '{"nodes": [{"id": 0}, {"id": 1}], "edges": []}',
      'must be connected; it has 2 parts',
    ),
    (
      '{"nodes": [{"id": 0, "name": "../x\\u0000"}, {"id": 1, "name": "y"}],'
      '"edges": [{"source": 0, "target": 1}]}',
      'printable characters',
    ),
  )
  def test_says_what_is_wrong_with_a_file(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      agentsnet.read_graphs(self.path(text))

  def test_the_graph_that_is_wrong_is_named(self):
    one = {'nodes': [{'id': 1}, {'id': 2}], 'edges': []}
    with self.assertRaisesRegex(ValueError, '^g: graph 3 must be connected'):
      agentsnet.from_node_link(one, label='g: graph 3')

  def test_what_is_no_json_is_left_out(self):
    graph = agentsnet.named(networkx.path_graph(2))
    graph.graph.update(seed=float('inf'), family='x')
    value = agentsnet.to_node_link(graph)
    self.assertEqual(value['graph'], {'family': 'x'})
    value['graph']['seed'] = float('nan')
    self.assertEqual(agentsnet.from_node_link(value).graph, {'family': 'x'})

  def test_a_missing_file_is_named(self):
    with self.assertRaisesRegex(ValueError, 'nowhere.json: expected graphs'):
      agentsnet.read_graphs('nowhere.json')


if __name__ == '__main__':
  absltest.main()
