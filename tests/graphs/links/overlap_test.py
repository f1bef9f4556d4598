# SPDX-License-Identifier: Apache-2.0
"""Common neighbors, against networkx, sets and matrices in NumPy."""

import functools
import re
from unittest import mock

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.graphs import links
from jaxdl.graphs.links import _overlap

PAIR = jnp.array([(0, 1)])
TOY = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (1, 4)]
KARATE = networkx.Graph()
KARATE.add_nodes_from(range(34))
KARATE.add_edges_from(networkx.karate_club_graph().edges)
# Compiled once per shape, instead of operation by operation.
overlap = jax.jit(links.overlap)
remove = jax.jit(links.remove_targets)
rows = jax.jit(links.rows)
score_of = {
  f: jax.jit(f)
  for f in (
    links.common_neighbors,
    links.adamic_adar,
    links.resource_allocation,
  )
}
BOTH = parameterized.parameters(True, False)


@functools.cache
def karate(dense=True, pad_nodes=48):
  graph = graphs.make_graph(list(KARATE.edges), 34, pad_nodes=pad_nodes)
  return links.adjacency(graph, dense=dense)


def drawn(seed=0, n=30, p=0.2):
  graph = networkx.gnp_random_graph(n, p, seed=seed)
  return graph, graphs.from_networkx(graph)


def all_pairs(n):
  i, j = np.triu_indices(n, 1)
  return jnp.asarray(np.stack([i, j], axis=1))


class AdjacencyTest(parameterized.TestCase):
  @BOTH
  def test_rows_are_neighbors_and_lookups_agree(self, dense):
    whole, graph = drawn()
    found = links.adjacency(graph, dense=dense)
    self.assertEqual(found.max_degree, max(d for _, d in whole.degree))
    ids, mask = rows(found, jnp.arange(30))
    for i in range(30):
      self.assertEqual(ids[i][mask[i]].tolist(), sorted(whole[i]))
    i, j = jnp.meshgrid(jnp.arange(30), jnp.arange(30), indexing='ij')
    linked = jax.jit(links.are_linked)(found, i, j)
    np.testing.assert_array_equal(linked, networkx.to_numpy_array(whole))

  def test_large_graphs_hold_no_matrix(self):
    few = graphs.make_graph([(0, 1)], 2, pad_nodes=links.DENSE_NODES)
    many = graphs.make_graph([(0, 1)], 2, pad_nodes=links.DENSE_NODES + 1)
    self.assertIsNotNone(links.adjacency(few).matrix)
    self.assertIsNone(links.adjacency(many).matrix)

  @BOTH
  def test_a_graph_without_edges_has_empty_rows(self, dense):
    for graph in (
      graphs.make_graph([], 3, pad_nodes=3),
      graphs.make_graph([], 3),
    ):
      found = links.adjacency(graph, dense=dense)
      pairs = jnp.array([(0, 1)])
      counts = score_of[links.common_neighbors](found, pairs)
      self.assertEqual(counts.tolist(), [0.0])
      less = remove(found, pairs)
      self.assertFalse(overlap(less, pairs).common.any())

  @BOTH
  def test_targets_are_removed_as_if_never_there(self, dense):
    whole, graph = drawn(seed=1)
    edges = np.array(whole.edges)
    batch = np.concatenate([edges[:7, ::-1], [[-1, -1], [0, 29]]])
    self.assertFalse(whole.has_edge(0, 29))
    less = remove(links.adjacency(graph, dense=dense), jnp.asarray(batch))
    rebuilt = whole.copy()
    rebuilt.remove_edges_from(edges[:7].tolist())
    ids, mask = rows(less, jnp.arange(30))
    for i in range(30):
      self.assertEqual(ids[i][mask[i]].tolist(), sorted(rebuilt[i]))
    want = links.adjacency(graphs.from_networkx(rebuilt), dense=dense)
    pairs = all_pairs(30)
    np.testing.assert_array_equal(
      score_of[links.adamic_adar](less, pairs),
      score_of[links.adamic_adar](want, pairs),
    )

  @parameterized.parameters(
    (lambda: links.adjacency(graphs.make_graph([(0, 1)], 2, directed=True)),
     ValueError, 'graph has the edge 0 -> 1 but none back.*undirected_pairs'),
    (lambda: links.adjacency(graphs.make_graph([(0, 1), (2, 2)], 3)),
     ValueError, 'links node 2 to itself'),
    (lambda: links.adjacency(graphs.make_graph(TOY, 5), max_degree=2),
     ValueError, 'max_degree=2 is too small: node 1 has 3 neighbors.*ncnc'),
    (lambda: links.adjacency(KARATE), TypeError, 'from_networkx'),
    (lambda: links.overlap(KARATE, [(0, 1)]), TypeError, 'links.Adjacency'),
    (lambda: links.overlap(karate(), [(0, 1), (3, 3)]),
     ValueError, 'target pair 1 links a node to itself'),
    (lambda: links.overlap(karate(), [(0, 48)]),
     ValueError, r'pairs\[0\] = \(0, 48\) names no node'),
    (lambda: links.overlap(karate(), [(0, 1), (-1, 2)]),
     ValueError, r'pairs\[1\] = \(-1, 2\) names no node'),
    (lambda: links.overlap(karate(), [(0.5, 1)]), TypeError, 'integers'),
    (lambda: links.overlap(karate(), [(0, 1, 2)]), ValueError, r'\[B, 2\]'),
    (lambda: links.pool_common(karate(), [(0, 1)], jnp.ones((34, 2))),
     ValueError, r'N=48 nodes; got \(34, 2\)'),
    (lambda: links.undirected_graph([(1, 1)], 3), ValueError, 'itself'),
  )  # fmt: skip
  def test_bad_input_is_refused_with_a_sentence(self, call, kind, message):
    with self.assertRaisesRegex(kind, message):
      call()

  def test_links_told_twice_count_once_with_a_warning(self):
    with self.assertLogs(level='WARNING') as told:
      graph = links.undirected_graph([(0, 1), (1, 0), (1, 2)], 3)
    self.assertIn('1 of 3 links more than once', told.output[0])
    found = links.adjacency(graph)
    pairs = jnp.array([(0, 2)])
    self.assertEqual(links.common_neighbors(found, pairs).tolist(), [1.0])


class OverlapTest(parameterized.TestCase):
  @BOTH
  def test_toy(self, dense):
    graph = graphs.make_graph(TOY, 5, pad_nodes=6)
    found = overlap(links.adjacency(graph, dense=dense), jnp.array([(0, 1)]))
    self.assertEqual(found.left[found.common].tolist(), [2, 3])
    self.assertEqual(found.left[found.left_only].tolist(), [])
    self.assertEqual(found.right[found.right_only].tolist(), [4])

  @BOTH
  def test_sizes_of_the_karate_club(self, dense):
    found = overlap(karate(dense), jnp.array([(0, 33)]))
    self.assertEqual(found.left[found.common].tolist(), [8, 13, 19, 31])
    self.assertEqual(int(found.left_only.sum()), 12)
    self.assertEqual(int(found.right_only.sum()), 13)

  @BOTH
  def test_linked_nodes_are_in_no_part(self, dense):
    pairs = jnp.asarray(np.array(KARATE.edges))
    found = overlap(karate(dense), pairs)
    for k, (i, j) in enumerate(KARATE.edges):
      near, far = set(KARATE[i]), set(KARATE[j])
      take = lambda ids, mask, k=k: set(ids[k][mask[k]].tolist())
      self.assertEqual(take(found.left, found.common), near & far)
      self.assertEqual(take(found.left, found.left_only), near - far - {j})
      self.assertEqual(take(found.right, found.right_only), far - near - {i})

  @BOTH
  def test_scores_equal_networkx_on_all_non_links(self, dense):
    missing = list(networkx.non_edges(KARATE))
    self.assertLen(missing, 483)
    pairs = jnp.asarray(missing)
    found = karate(dense)
    counts = [len(list(networkx.common_neighbors(KARATE, *p))) for p in missing]
    third = lambda fn: [p for *_, p in fn(KARATE, missing)]
    for score, want in (
      (links.common_neighbors, counts),
      (links.adamic_adar, third(networkx.adamic_adar_index)),
      (links.resource_allocation, third(networkx.resource_allocation_index)),
    ):
      got = np.asarray(score_of[score](found, pairs))
      np.testing.assert_allclose(got, want, rtol=2e-6)
      self.assertEqual(missing[int(got.argmax())], (2, 33))

  @BOTH
  def test_scores_of_the_sheet(self, dense):
    pairs, found = jnp.array([(0, 33), (2, 33)]), karate(dense)
    for score, want in (
      (links.common_neighbors, [4, 6]),
      (links.adamic_adar, [2.7110197223, 4.7193812615]),
      (links.resource_allocation, [0.9, 1.5666666667]),
    ):
      np.testing.assert_allclose(score_of[score](found, pairs), want, rtol=1e-6)

  @parameterized.product(
    dense=[True, False], case=[('karate', 1212, 156), ('lesmis', 6124, 508)]
  )
  def test_counts_add_up_to_the_square_of_the_matrix(self, dense, case):
    name, total, trace = case
    data = graphs.sets.load_graph_set(name)
    found = links.adjacency(data.graph, dense=dense)
    n = int(data.graph.node_mask.sum())
    others = jnp.broadcast_to(jnp.arange(n)[None], (n, n))
    count = jax.jit(links.count_shared)(found, jnp.arange(n), others)
    self.assertEqual(int(count.sum()), total)
    self.assertEqual(int(jnp.trace(count)), trace)
    square = graphs.to_scipy(data.graph)
    np.testing.assert_array_equal(count, (square @ square).toarray())

  @BOTH
  def test_pooling_is_that_of_matrices(self, dense):
    whole, graph = drawn(seed=2)
    h = np.random.default_rng(0).normal(size=(graph.num_nodes, 3))
    h[30:] = np.nan
    a = networkx.to_numpy_array(whole)
    pairs = all_pairs(30)
    got = jax.jit(links.pool_common)(
      links.adjacency(graph, dense=dense), pairs, jnp.asarray(h, jnp.float32)
    )
    want = (a[pairs[:, 0]] * a[pairs[:, 1]]) @ h[:30]
    np.testing.assert_allclose(got, want, atol=1e-5)

  @BOTH
  def test_a_broken_node_touches_those_that_share_it(self, dense):
    h = jnp.ones((48, 2)).at[8, 1].set(jnp.nan)
    pairs = all_pairs(34)
    got = jax.jit(links.pool_common)(karate(dense), pairs, h)
    a = networkx.to_numpy_array(KARATE)
    touched = (a[pairs[:, 0], 8] * a[pairs[:, 1], 8]).astype(bool)
    np.testing.assert_array_equal(jnp.isnan(got).any(axis=1), touched)

  def test_padding_and_other_numbers_of_nodes_change_nothing(self):
    pairs = all_pairs(34)
    order = np.random.default_rng(0).permutation(34)
    moved = [(order[a], order[b]) for a, b in KARATE.edges]
    other = links.adjacency(graphs.make_graph(moved, 34, pad_nodes=64))
    for score in (links.adamic_adar, links.common_neighbors):
      np.testing.assert_allclose(
        score(karate(), pairs), score(other, jnp.asarray(order)[pairs]),
        rtol=1e-6,
      )  # fmt: skip

  def test_gradients_of_both_ways_agree(self):
    pairs, h = all_pairs(34)[:40], jnp.ones((48, 2))
    weight = jnp.asarray(np.random.default_rng(0).normal(size=(40, 2)))
    loss = lambda h, found: (weight * links.pool_common(found, pairs, h)).sum()
    slope = jax.jit(jax.grad(loss))
    one, two = (slope(h, karate(dense)) for dense in (True, False))
    np.testing.assert_allclose(one, two, atol=1e-5)
    self.assertGreater(float(jnp.abs(one).sum()), 1)


class RefusedTest(parameterized.TestCase):
  @parameterized.parameters(
    (lambda a: links.overlap(a, jnp.array([(0, 6)])), r'need 0 <= node < 5'),
    (lambda a: links.pool_common(a, PAIR, jnp.ones((8, 1), int)),
     'h must be floating point; got int32'),
    (lambda a: links.keep_edges(a, jnp.ones(3, bool)), 'kept must have shape'),
    (lambda a: links.sample_neighbors(
      None, jnp.zeros((1, 3), int), jnp.ones((1, 3), bool), 2),
     'key is required'),
    (lambda a: links.ncn(layer_norm='no'), 'layer_norm must be True or False'),
    (lambda a: links.ncnc(learn_prior=1), 'learn_prior must be True or False'),
    (lambda a: links.mpnn(residual='x'), 'residual must be True or False'),
    (lambda a: links.link_task('mpnn', 'ncn', a, jnp.ones((8, 1)),
                               remove_targets='no'),
     'remove_targets must be True or False'),
    (lambda a: links.clamp_probability(jnp.ones(2), -1.0), 'alpha must lie in'),
    (lambda a: links.hits_at_k(jnp.ones((2, 2)), jnp.ones(3), 1),
     'positive must have one axis'),
    (lambda a: links.roc_auc(jnp.ones(2), jnp.ones((3, 2))),
     'negative must have one axis'),
    (lambda a: links.random_non_links(0, a.graph, 1), 'rng must be a numpy'),
    (lambda a: links.random_link_split(0, a.graph), 'rng must be a numpy'),
    (lambda a: links.local_views([(a.graph, np.ones((2, 1)), [range(5)])]),
     'x must have a row for each of 5 nodes'),
  )  # fmt: skip
  def test_what_would_be_a_wrong_number_is_refused(self, call, message):
    known = links.adjacency(graphs.make_graph(TOY, 5, pad_nodes=8))
    with self.assertRaisesRegex((TypeError, ValueError), message):
      call(known)

  def test_logits_may_be_whole_numbers(self):
    got = links.clamp_probability(jnp.arange(3), 1.0, 0.5)
    p = 1 / (1 + np.exp(-np.arange(3.0)))
    np.testing.assert_allclose(got, 0.5 * p / (0.5 * p + 1 - p), rtol=1e-6)


class MemoryTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.ids = jnp.asarray(rng.integers(0, 24, (50, 7)), jnp.int32)
    self.weights = jnp.asarray(rng.random((50, 7)) > 0.4)
    self.h = jnp.asarray(rng.normal(size=(24, 4)), jnp.float32)

  def _sum(self, h, ids, weights):
    return jnp.sin(_overlap.gathered_sum(h, ids, weights)).sum()

  def test_long_rows_are_summed_some_at_a_time(self):
    both = np.asarray(self.weights)[..., None] * np.asarray(self.h)[self.ids]
    want = np.sin(both.sum(axis=1)).sum()
    slope = jax.grad(self._sum)(self.h, self.ids, self.weights)
    with mock.patch.object(_overlap, '_GATHERED', 100):
      got, own = jax.jit(jax.value_and_grad(self._sum))(
        self.h, self.ids, self.weights
      )
    self.assertAlmostEqual(float(got), want, places=4)
    np.testing.assert_allclose(own, slope, atol=1e-5)

  def test_no_more_lies_side_by_side_than_is_said(self):
    pairs, degree, width = 2048, 300, 64
    shapes = [
      jax.ShapeDtypeStruct(*s)
      for s in (
        ((4096, width), jnp.float32),
        ((pairs, degree), jnp.int32),
        ((pairs, degree), bool),
      )
    ]
    with mock.patch.object(_overlap, '_GATHERED', 2**20):
      run = jax.jit(jax.grad(self._sum)).lower(*shapes).compile()
    used = run.memory_analysis().temp_size_in_bytes
    self.assertLess(used, pairs * degree * width * 4 / 4)

  def test_sums_are_exact_where_products_are_rounded_by_default(self):
    x = jnp.ones((8, 2))
    for dense in (True, False):
      known = links.adjacency(
        graphs.make_graph(TOY, 5, pad_nodes=8), dense=dense
      )
      text = str(jax.make_jaxpr(links.pool_common)(known, PAIR, x))
      products = re.findall(r'dot_general\[.*?\]\s', text, re.DOTALL)
      self.assertIn('HIGHEST', ''.join(products))


class SampleTest(absltest.TestCase):
  def test_sums_are_right_on_average_and_short_rows_stay(self):
    values = jnp.array([1.0, 10.0, 100.0, 1000.0, 5.0])
    ids = jnp.broadcast_to(jnp.arange(5)[None], (2, 5))
    mask = jnp.array([[True] * 5, [False, True, False, True, False]])

    def total(key):
      some, weights = links.sample_neighbors(key, ids, mask, 2)
      return (weights * values[some]).sum(axis=1)

    many = jax.random.split(jax.random.key(0), 4000)
    got = jax.jit(jax.vmap(total))(many)
    np.testing.assert_array_equal(got[:, 1], 1010)
    # Draws are independent: the variance is that of one, times 25 / 2.
    error = np.sqrt(12.5 * np.var(values) / 4000)
    self.assertLess(abs(float(got[:, 0].mean()) - 1116), 4 * error)
    self.assertGreater(float(got[:, 0].std()), 500)

  def test_rows_that_fit_are_not_drawn(self):
    ids = jnp.array([[3, 4]])
    mask = jnp.array([[True, False]])
    same, weights = links.sample_neighbors(None, ids, mask, 2)
    self.assertEqual(same.tolist(), ids.tolist())
    self.assertEqual(weights.tolist(), [[1.0, 0.0]])
    with self.assertRaisesRegex(ValueError, 'num_drawn must be at least 1'):
      links.sample_neighbors(None, ids, mask, 0)


if __name__ == '__main__':
  absltest.main()
