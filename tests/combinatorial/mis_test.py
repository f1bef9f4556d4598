# SPDX-License-Identifier: Apache-2.0
"""Independent sets against mixed-integer programs, networkx and by hand."""

import functools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
from absl import logging
from absl.testing import absltest, parameterized
from reference import stages
from scipy import optimize, sparse

from jaxdl import combinatorial as co

MIS = co.make_problem('mis')
GRAPHS = {
  'karate': (nx.karate_club_graph, 20),
  'miserables': (nx.les_miserables_graph, 35),
  'florentine': (nx.florentine_families_graph, 7),
  'davis': (nx.davis_southern_women_graph, 18),
  'petersen': (nx.petersen_graph, 4),
  'random30': (lambda: nx.erdos_renyi_graph(30, 0.15, seed=0), 13),
  'random60': (lambda: nx.erdos_renyi_graph(60, 0.15, seed=0), 19),
  'other60': (lambda: nx.erdos_renyi_graph(60, 0.15, seed=1), 21),
  'random100': (lambda: nx.erdos_renyi_graph(100, 0.15, seed=0), 24),
}


def links(graph):
  """Edges by number of node, i[E, 2]."""
  return np.array(nx.convert_node_labels_to_integers(graph).edges())


def optimum(graph):
  """A largest independent set, bool[N], by a program: one of each clique."""
  graph = nx.convert_node_labels_to_integers(graph)
  cliques = list(nx.find_cliques(graph))
  rows = np.repeat(np.arange(len(cliques)), [len(c) for c in cliques])
  ends = sparse.csr_array(
    (np.ones(rows.size), (rows, np.concatenate(cliques))),
    (len(cliques), len(graph)),
  )
  found = optimize.milp(
    -np.ones(len(graph)),
    constraints=optimize.LinearConstraint(ends, ub=1),
    bounds=optimize.Bounds(0, 1),
    integrality=np.ones(len(graph)),
  )
  return found.x > 0.5


def is_independent(chosen, pairs):
  """Whether no edge has both its ends in a choice bool[..., N]."""
  return not (chosen[..., pairs[:, 0]] & chosen[..., pairs[:, 1]]).any()


@functools.cache
def histories():
  instances = stages.generated(MIS, 30)
  chosen = stages.played(MIS, instances, jax.random.key(1), size=8).chosen
  return instances, np.asarray(chosen)


class ChoicesTest(parameterized.TestCase):
  @parameterized.parameters(*GRAPHS)
  def test_the_optimum_is_independent_and_nothing_can_be_added(self, name):
    make, size = GRAPHS[name]
    graph = make()
    count, best = len(graph), optimum(graph)
    self.assertEqual(best.sum(), size)
    instance = co.graph_instance(graph)
    feasible = jax.jit(jax.vmap(functools.partial(MIS.feasible, instance)))
    self.assertEqual(
      MIS.objective(instance, co.Subset(jnp.asarray(best))), size
    )
    more = best[None] | np.eye(count, dtype=bool)
    fine = feasible(co.Subset(jnp.asarray(more)))
    np.testing.assert_array_equal(fine, best)

  @parameterized.parameters('karate', 'petersen')
  def test_stages_reach_the_optimum_and_never_exceed_it(self, name):
    make, size = GRAPHS[name]
    graph = make()
    many = jax.tree.map(lambda x: jnp.stack([x] * 10), co.graph_instance(graph))
    chosen = stages.played(
      MIS, many, jax.random.key(0), size=len(graph) // 2, count=20
    ).chosen
    self.assertTrue(is_independent(np.asarray(chosen), links(graph)))
    self.assertEqual(int(chosen.sum(axis=-1).max()), size)

  @parameterized.parameters(True, False)
  def test_constructions_are_maximal(self, rows):
    graph = GRAPHS['random60'][0]()
    instance = co.graph_instance(graph)
    if not rows:
      instance = {k: instance[k] for k in ('edges', 'nodes')}
    found = np.asarray(
      stages.constructed(MIS, instance, jax.random.key(0), count=20).chosen
    )
    pairs = links(graph)
    self.assertTrue(is_independent(found, pairs))
    near = np.asarray(found, int) @ nx.to_numpy_array(graph)
    self.assertTrue((found | (near > 0)).all())
    self.assertGreater(len(np.unique(found, axis=0)), 10)

  def test_rows_are_only_for_speed(self):
    instance = co.graph_instance(GRAPHS['karate'][0]())
    plain = {k: instance[k] for k in ('edges', 'nodes')}
    for num_neighbors in (4, 100):
      graph = jax.jit(MIS.divide.neighbors, static_argnums=1)
      a, b = (graph(x, num_neighbors) for x in (instance, plain))
      width = a.ids.shape[1]
      self.assertEqual(width, min(num_neighbors, 17))
      np.testing.assert_array_equal(a.ids, b.ids[:, :width])
      np.testing.assert_array_equal(a.nodes, b.nodes)
    found = [
      stages.constructed(MIS, x, jax.random.key(1), count=3).chosen
      for x in (instance, plain)
    ]
    np.testing.assert_array_equal(*found)

  def test_neighbors_are_those_of_the_graph(self):
    plain = GRAPHS['florentine'][0]()
    graph = jax.jit(MIS.divide.neighbors, static_argnums=1)(
      co.graph_instance(plain), 100
    )
    matrix = nx.to_numpy_array(plain, weight=None)
    degrees = matrix.sum(axis=1)
    self.assertEqual(graph.ids.shape, (15, 6))
    np.testing.assert_allclose(graph.nodes[:, 1], degrees / 6)
    for i, row in enumerate(np.asarray(graph.ids)):
      near = row[row >= 0]
      np.testing.assert_array_equal(near, np.flatnonzero(matrix[i]))
    np.testing.assert_array_equal(graph.edges[..., 0], graph.ids >= 0)

  def test_vertices_with_self_loops_are_dropped_with_a_warning(self):
    graph = nx.star_graph(3)
    graph.add_edge(1, 1)
    with self.assertLogs(logging.get_absl_logger(), 'WARNING') as log:
      instance = co.graph_instance(graph)
    self.assertRegex(log.output[0], 'edge to themselves can never be .*: 1\\.')
    with self.assertLogs(logging.get_absl_logger(), 'WARNING'):
      MIS.check(instance)
    found = stages.constructed(MIS, instance, jax.random.key(0), count=8).chosen
    self.assertFalse(found[:, 1].any())
    self.assertEqual(int(found.sum(axis=1).max()), 2)
    with_1 = co.Subset(jnp.array([False, True, True, False]))
    self.assertFalse(MIS.feasible(instance, with_1))

  def test_graphs_without_edges_or_vertices_to_choose(self):
    instance = co.graph_instance([], 4)
    MIS.check(instance)
    found = stages.constructed(MIS, instance, jax.random.key(0), count=1)
    self.assertTrue(found.chosen.all())
    with self.assertLogs(logging.get_absl_logger(), 'WARNING'):
      instance = co.graph_instance([(0, 0), (1, 1), (2, 2), (3, 3)], 4)
    found = stages.constructed(MIS, instance, jax.random.key(0), count=1)
    self.assertFalse(found.chosen.any())

  def test_sharp_heat_stays_among_what_is_allowed(self):
    divider = co.make_divider('agnn(width=4, depth=1)', MIS)
    instance = MIS.generate(jax.random.key(0), 12)
    neighbors = MIS.divide.neighbors(instance, divider.num_neighbors)
    params = divider.init(jax.random.key(1), neighbors)
    # Scores so far apart that most of the softmax is exactly zero.
    params = jax.tree.map(lambda x: 300 * x, params)

    @jax.jit
    @jax.grad
    def slope(params):
      sets, logp = co.construct(
        MIS, divider, params, instance, jax.random.key(2), num_samples=4
      )
      fine = jax.vmap(lambda s: MIS.feasible(instance, s))(sets)
      return jnp.where(jnp.all(fine), jnp.sum(logp), jnp.nan)

    for leaf in jax.tree.leaves(slope(params)):
      self.assertTrue(np.isfinite(leaf).all())

  def test_first_vertices_may_be_chosen(self):
    with self.assertLogs('absl', 'WARNING'):
      instance = co.graph_instance([(0, 0), (1, 1), (2, 3), (4, 4)], 6)
    divider = co.make_divider('uniform', MIS)
    sets, _ = co.construct(
      MIS, divider, {}, instance, jax.random.key(0), num_samples=3, greedy=True
    )
    # Of equal heat the lowest index is first: 2, 3 and 5.
    np.testing.assert_array_equal(
      np.asarray(sets.chosen)[:2].argmax(axis=1), [2, 3]
    )
    self.assertTrue(np.asarray(sets.chosen)[:, 5].all())


class GeneratedTest(parameterized.TestCase):
  def test_pairs_are_linked_with_their_probability(self):
    drawn = stages.generated(co.mis(edge_probability=0.3), 12, count=2000)
    edges = np.asarray(drawn['edges'])
    there = edges[..., 0] < 12
    self.assertTrue((edges[there][:, 0] < edges[there][:, 1]).all())
    codes = edges[..., 0] * 12 + edges[..., 1]
    often = np.bincount(codes[there], minlength=144).reshape(12, 12) / 2000
    upper = np.triu_indices(12, 1)
    # Five standard deviations of a share among 2000.
    self.assertLess(np.abs(often[upper] - 0.3).max(), 0.052)
    self.assertAlmostEqual(often[upper].mean(), 0.3, delta=0.007)
    for seed in range(20):
      self.assertEqual(len(set(codes[seed][there[seed]])), there[seed].sum())

  def test_rows_list_both_ends_of_each_edge(self):
    instance = jax.tree.map(np.asarray, stages.at(stages.generated(MIS, 40), 3))
    MIS.check(instance)
    want = [set() for _ in range(40)]
    for a, b in instance['edges']:
      if a < 40:
        want[a].add(b)
        want[b].add(a)
    offsets = instance['offsets']
    for i in range(40):
      row = instance['targets'][offsets[i] : offsets[i + 1]].tolist()
      self.assertEqual(sorted(row), sorted(want[i]))
      self.assertLessEqual(len(row), len(instance['window']))

  @parameterized.parameters((0.0, 0), (1.0, 21))
  def test_extremes(self, probability, count):
    generate = jax.jit(
      co.mis(edge_probability=probability).generate, static_argnums=1
    )
    drawn = generate(jax.random.key(0), 7)
    self.assertEqual(int((drawn['edges'][:, 0] < 7).sum()), count)
    MIS.check(drawn)
    alone = generate(jax.random.key(0), 1)
    MIS.check(alone)
    self.assertTrue(MIS.divide.start(alone, 0).done)

  def test_memory_is_linear_in_edges(self):
    shapes = jax.eval_shape(
      functools.partial(
        co.mis(edge_probability=1e-3).generate, num_nodes=10_000
      ),
      jax.random.key(0),
    )
    size = sum(x.size for x in jax.tree.leaves(shapes))
    # Of 50,000 edges, each four numbers, and vertices.
    self.assertLess(size, 300_000)


class StagesTest(parameterized.TestCase):
  def test_independent_and_never_smaller_after_each_stage(self):
    instances, chosen = histories()
    for seed in range(20):
      pairs = np.asarray(instances['edges'][seed])
      pairs = pairs[pairs[:, 0] < 30]
      self.assertTrue(is_independent(chosen[seed], pairs))
    sizes = chosen.sum(axis=-1)
    self.assertGreaterEqual(np.diff(sizes, axis=1).min(), 0)
    self.assertGreater(sizes[:, -1].mean(), sizes[:, 0].mean() + 1)

  def test_pieces_put_back_are_the_same_choice(self):
    instances, chosen = histories()
    instance = stages.at(instances, 0)
    pairs = np.asarray(instance['edges'])
    pairs = pairs[pairs[:, 0] < 30]
    matrix = np.zeros((30, 30), bool)
    matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = True
    now = chosen[0, 0]

    @jax.jit
    def there_and_back(subset):
      pieces, rolled = MIS.split(instance, subset, 8, 3, jax.random.key(0))
      current = jax.vmap(MIS.solve.current)(pieces)
      merged = MIS.merge(instance, rolled, pieces, current)
      return pieces, merged, jax.vmap(MIS.solve.inputs)(pieces)

    pieces, merged, (features, linked) = there_and_back(
      co.Subset(jnp.asarray(now))
    )
    np.testing.assert_array_equal(merged.chosen, now)
    for i in range(3):
      nodes = np.asarray(pieces['nodes'][i])
      np.testing.assert_array_equal(
        pieces['linked'][i], matrix[np.ix_(nodes, nodes)]
      )
      outside = now.copy()
      outside[nodes] = False
      free = ~(matrix & outside).any(axis=1)[nodes]
      np.testing.assert_array_equal(pieces['free'][i], free)
      np.testing.assert_array_equal(features[i, :, 0], free)
      near = matrix[np.ix_(nodes, nodes[free])].sum(axis=1) / 8
      np.testing.assert_allclose(features[i, :, 1], near)
      np.testing.assert_array_equal(linked[i], pieces['linked'][i])

  def test_another_choice_of_equal_size_is_taken_and_no_smaller_one(self):
    piece = {'chosen': jnp.array([True, True, False, False])}
    value = lambda chosen: float(MIS.solve.value(piece, jnp.array(chosen)))
    now = value([True, True, False, False])
    self.assertLess(value([False, True, True, False]), now)
    self.assertGreater(value([True, False, False, False]), now)
    self.assertLess(
      value([True, True, True, False]), value([False, True, True, False])
    )

  def test_linked_pieces_are_not_both_changed(self):
    # A path 0 - 1 - 2 - 3 - 4 - 5 and two pieces, even and odd.
    instance = co.graph_instance(nx.path_graph(6))
    rolled = co.Subset(jnp.zeros(6, bool))
    pieces = {
      'nodes': jnp.array([[0, 2, 4], [1, 3, 5]]),
      'chosen': jnp.zeros((2, 3), bool),
    }
    merge = jax.jit(functools.partial(MIS.merge, instance, rolled, pieces))
    cases = (
      # The larger gain, else the first piece; both where nothing is between.
      ([[1, 0, 0], [1, 0, 1]], [0, 1, 0, 0, 0, 1]),
      ([[1, 1, 0], [1, 0, 1]], [1, 0, 1, 0, 0, 0]),
      ([[1, 0, 0], [0, 1, 1]], [1, 0, 0, 1, 0, 1]),
    )
    for candidates, want in cases:
      got = merge(jnp.array(candidates, bool)).chosen
      np.testing.assert_array_equal(got, np.array(want, bool))

  def test_a_piece_without_free_vertices_is_left_as_it_is(self):
    piece = {
      'free': jnp.zeros(3, bool),
      'linked': jnp.zeros((3, 3), bool),
      'chosen': jnp.zeros(3, bool),
    }
    self.assertFalse(MIS.solve.active(piece))
    state = MIS.solve.start(piece, False)
    asked = MIS.solve.context(piece, state)
    self.assertEqual(asked.allowed.tolist(), [True, False, False])
    state = MIS.solve.move(piece, state, 0)
    self.assertFalse(MIS.solve.finish(piece, state, jnp.zeros(3)).any())


class BadInputTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('none', {'nodes': None}, r"instance has no 'nodes'; it has"),
    (
      'loop',
      {'edges': np.array([[1, 1]])},
      r'\(1, 1\), a self loop: .*nodes\[1',
    ),
    (
      'outside',
      {'edges': np.array([[0, 4]])},
      r'\(0, 4\), but nodes are 0, .*2',
    ),
    ('negative', {'edges': np.array([[-1, 0]])}, r'\(-1, 0\), but nodes are'),
    ('floats', {'edges': np.array([[0, 1.0]])}, r'edges must be integers; got'),
    ('shape', {'edges': np.array([0, 1])}, r'edges must be i32\[E, 2\]; got'),
    ('nodes', {'nodes': np.ones(3)}, r'nodes must be bool\[N\].*float64\[3\]'),
  )
  def test_instances(self, changes, message):
    instance = {'edges': np.array([[0, 1], [3, 3]]), 'nodes': np.ones(3, bool)}
    MIS.check(instance)
    instance |= changes
    instance = {k: v for k, v in instance.items() if v is not None}
    with self.assertRaisesRegex(ValueError, message):
      MIS.check(instance)

  def test_graphs(self):
    with self.assertRaisesRegex(ValueError, r'edges have \(0, 3\), but nodes'):
      co.graph_instance([(0, 1), (3, 0)], 3)
    with self.assertRaisesRegex(TypeError, 'num_nodes is missing'):
      co.graph_instance([(0, 1)])
    with self.assertRaisesRegex(ValueError, 'num_nodes must be at least 1'):
      co.graph_instance(nx.empty_graph(0))
    with self.assertRaisesRegex(ValueError, 'more than fit int32'):
      jax.eval_shape(
        functools.partial(MIS.generate, num_nodes=70_000), jax.random.key(0)
      )

  def test_options_and_sizes(self):
    with self.assertRaisesRegex(ValueError, r'edge_probability must .*got 1.5'):
      co.make_problem('mis(edge_probability=1.5)')
    MIS.sizes(750, 200)
    with self.assertRaisesRegex(ValueError, 'size=200 leaves no piece'):
      MIS.sizes(100, 200)


if __name__ == '__main__':
  absltest.main()
