# SPDX-License-Identifier: Apache-2.0
"""Measures, splits and draws of pairs that are no links."""

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.graphs import links


class HitsTest(parameterized.TestCase):
  @parameterized.parameters((1, 0.5), (2, 0.5), (3, 1.0))
  def test_ties_count_against(self, k, want):
    got = links.hits_at_k(jnp.array([3.0, 1.0]), jnp.array([2.0, 1.0, 0.0]), k)
    self.assertEqual(float(got), want)

  def test_fewer_negatives_than_k_give_one_and_a_warning(self):
    with self.assertLogs(level='WARNING') as told:
      got = links.hits_at_k(jnp.array([0.0]), jnp.array([1.0]), 50)
    self.assertEqual(float(got), 1)
    self.assertIn('Hits@50 is 1: there are 1 pairs', told.output[0])
    got = links.hits_at_k(
      jnp.array([0.0]),
      jnp.array([1.0, 2.0]),
      2,
      negative_mask=jnp.array([True, False]),
    )
    self.assertEqual(float(got), 1)

  @parameterized.parameters(1, 7, 40)
  def test_equals_the_definition_of_the_evaluator(self, k):
    rng = np.random.default_rng(k)
    positive, negative = rng.integers(0, 30, 25), rng.integers(0, 30, 40)
    kth = np.sort(negative)[-k]
    got = links.hits_at_k(
      jnp.asarray(positive, jnp.float32), jnp.asarray(negative, jnp.float32), k
    )
    self.assertAlmostEqual(float(got), np.mean(positive > kth), places=6)

  def test_what_is_masked_does_not_count(self):
    full = links.hits_at_k(jnp.array([3.0, 1.0]), jnp.array([2.0, 0.0]), 1)
    more = links.hits_at_k(
      jnp.array([3.0, 9.0, 1.0]),
      jnp.array([2.0, jnp.inf, 0.0]),
      1,
      positive_mask=jnp.array([True, False, True]),
      negative_mask=jnp.array([True, False, True]),
    )
    self.assertEqual(float(full), float(more))

  def test_scores_that_are_not_numbers_are_no_hits(self):
    nan = jnp.array([jnp.nan])
    self.assertEqual(float(links.hits_at_k(nan, jnp.zeros(3), 1)), 0)
    self.assertEqual(float(links.hits_at_k(jnp.ones(1), nan, 1)), 0)

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'k must be at least 1'):
      links.hits_at_k(jnp.zeros(2), jnp.zeros(2), 0)
    with self.assertRaisesRegex(ValueError, 'positive_mask must have shape'):
      links.hits_at_k(
        jnp.zeros(2), jnp.zeros(2), 1, positive_mask=jnp.ones(3, bool)
      )


class RankTest(absltest.TestCase):
  def test_reciprocal_ranks_average_ties(self):
    rng = np.random.default_rng(0)
    positive = rng.integers(0, 8, 30)
    negative = rng.integers(0, 8, (30, 20))
    want = []
    for p, row in zip(positive, negative, strict=True):
      best, worst = (row > p).sum(), (row >= p).sum()
      want.append(1 / (1 + (best + worst) / 2))
    got = links.mean_reciprocal_rank(
      jnp.asarray(positive, jnp.float32), jnp.asarray(negative, jnp.float32)
    )
    self.assertAlmostEqual(float(got), np.mean(want), places=6)
    with self.assertRaisesRegex(ValueError, 'a row for each of 2 links'):
      links.mean_reciprocal_rank(jnp.zeros(2), jnp.zeros((3, 4)))

  def test_a_link_that_is_not_a_number_is_last(self):
    others = jnp.array([[0.0, 1.0, 2.0], [0.0, jnp.nan, 2.0]])
    rank = lambda p, row: float(
      links.mean_reciprocal_rank(jnp.array([p]), others[row : row + 1])
    )
    self.assertAlmostEqual(rank(jnp.nan, 0), 1 / 4)
    self.assertAlmostEqual(rank(3.0, 0), 1.0)
    self.assertAlmostEqual(rank(3.0, 1), 1 / 2)
    with self.assertRaisesRegex(ValueError, r'^mask must have shape \(2,\)'):
      links.mean_reciprocal_rank(jnp.zeros(2), others, mask=jnp.ones(3, bool))

  def test_auc_equals_that_of_sklearn(self):
    from sklearn import metrics

    rng = np.random.default_rng(1)
    positive, negative = rng.integers(0, 9, 40) + 2, rng.integers(0, 9, 70)
    truth = np.repeat([1, 0], [40, 70])
    want = metrics.roc_auc_score(truth, np.concatenate([positive, negative]))
    pad = lambda x, n: jnp.asarray(np.append(x, [1e9] * n), jnp.float32)
    got = jax.jit(links.roc_auc)(
      pad(positive, 3),
      pad(negative, 5),
      positive_mask=jnp.arange(43) < 40,
      negative_mask=jnp.arange(75) < 70,
    )
    self.assertAlmostEqual(float(got), want, places=6)
    self.assertTrue(jnp.isnan(links.roc_auc(jnp.zeros(0), jnp.zeros(2))))
    self.assertTrue(
      jnp.isnan(links.roc_auc(jnp.array([jnp.nan]), jnp.zeros(2)))
    )

  def test_loss_is_the_cross_entropy_of_both_halves(self):
    up, down = np.array([0.3, -2.0]), np.array([1.0, 0.1, -4.0])
    want = np.log1p(np.exp(-up)).mean() + np.log1p(np.exp(down)).mean()
    got = links.link_loss(jnp.asarray(up), jnp.asarray(down))
    self.assertAlmostEqual(float(got), want, places=6)
    more = links.link_loss(
      jnp.array([0.3, jnp.nan]), jnp.array([1.0, jnp.nan]),
      mask=jnp.array([True, False]),
    )  # fmt: skip
    want = np.log1p(np.exp(-0.3)) + np.log1p(np.exp(1.0))
    self.assertAlmostEqual(float(more), want, places=6)
    none = links.link_loss(jnp.ones(2), jnp.ones(2), mask=jnp.zeros(2, bool))
    self.assertEqual(float(none), 0)


class NegativesTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_non_links_are_drawn_uniformly(self, dense):
    # A hub, a clique and a lonely node.
    edges = [(0, k) for k in range(1, 9)]
    edges += [(1, 2), (2, 3), (1, 3), (4, 8)]
    graph = graphs.make_graph(edges, 10)
    found = links.adjacency(graph, dense=dense)
    num = 22_000
    pairs = np.asarray(
      jax.jit(links.sample_negatives, static_argnums=2)(
        jax.random.key(0), found, num
      )
    )
    linked = {(a, b) for a, b in edges} | {(b, a) for a, b in edges}
    wanted = {
      (i, j)
      for i in range(10)
      for j in range(10)
      if i != j and (i, j) not in linked
    }
    seen, counts = np.unique(pairs, axis=0, return_counts=True)
    self.assertEqual({tuple(p) for p in seen.tolist()}, wanted)
    each = num / len(wanted)
    chi = ((counts - each) ** 2 / each).sum()
    # 65 degrees of freedom; one in a thousand is above.
    self.assertLess(chi, 107.3)

  def test_first_nodes_are_of_those_that_are_given(self):
    data = graphs.sets.karate()
    found = links.adjacency(data.graph)
    pairs = links.sample_negatives(
      jax.random.key(1),
      found,
      300,
      sources=jnp.array([5, 33, 0]),
      num_sources=2,
    )
    self.assertEqual(set(pairs[:, 0].tolist()), {5, 33})
    self.assertFalse(links.are_linked(found, pairs[:, 0], pairs[:, 1]).any())
    self.assertLess(int(pairs.max()), 34)

  def test_a_node_linked_with_all_repeats_itself(self):
    whole = links.adjacency(graphs.make_graph([(0, 1)], 2))
    pairs = links.sample_negatives(jax.random.key(0), whole, 3)
    self.assertEqual(pairs[:, 0].tolist(), pairs[:, 1].tolist())

  def test_their_number_is_looked_at(self):
    graph = graphs.sets.karate().graph
    rng = np.random.default_rng(0)
    with self.assertRaisesRegex(ValueError, 'num_pairs must be at least 0'):
      links.random_non_links(rng, graph, -1)
    with self.assertRaisesRegex(TypeError, 'num_pairs must be an integer'):
      links.random_non_links(rng, graph, 2.5)

  def test_on_the_host_they_are_uniform_as_well(self):
    graph = graphs.make_graph([(0, 1), (2, 4), (3, 4), (0, 3)], 5)
    rng = np.random.default_rng(0)
    pairs = links.random_non_links(rng, graph, 6000)
    seen, counts = np.unique(pairs, axis=0, return_counts=True)
    want = {(0, 2), (0, 4), (1, 2), (1, 3), (1, 4), (2, 3)}
    self.assertEqual({tuple(p) for p in seen.tolist()}, want)
    self.assertLess((((counts - 1000) ** 2) / 1000).sum(), 20.5)
    with self.assertRaisesRegex(ValueError, 'all 2 nodes are linked'):
      links.random_non_links(rng, graphs.make_graph([(0, 1)], 2), 1)


class SplitTest(parameterized.TestCase):
  def test_parts_are_disjoint_and_whole(self):
    data = graphs.sets.lesmis()
    split = links.random_link_split(
      np.random.default_rng(0), data.graph, num_negatives=100
    )
    self.assertEqual([len(part) for part in split], [178, 25, 100, 51, 100])
    kept = np.concatenate([split.train, split.validation, split.test])
    whole = graphs.edge_pairs(data.graph, once=True)
    self.assertEqual(
      sorted(map(tuple, kept.tolist())), sorted(map(tuple, whole.tolist()))
    )
    known = networkx.Graph(whole.tolist())
    for part in (split.validation_negatives, split.test_negatives):
      self.assertFalse(any(known.has_edge(*p) for p in part.tolist()))
    half = links.random_link_split(
      np.random.default_rng(0), data.graph, keep_edges=0.5
    )
    np.testing.assert_array_equal(half.test, split.test)
    np.testing.assert_array_equal(half.train, split.train[:89])

  @parameterized.parameters(
    ({'validation': 1.0}, r'validation must lie in \[0, 1\)'),
    ({'validation': 0.5, 'test': 0.5}, 'the training split is empty'),
    ({'keep_edges': 0.0}, r'keep_edges must lie in \(0, 1\]'),
    ({'num_negatives': -1}, 'num_negatives must be at least 0'),
  )
  def test_impossible_shares_are_refused(self, options, message):
    graph = graphs.sets.karate().graph
    with self.assertRaisesRegex(ValueError, message):
      links.random_link_split(np.random.default_rng(0), graph, **options)

  def test_splits_of_others_are_looked_at(self):
    none = np.zeros((0, 2), np.int32)
    one = np.array([(0, 1)])
    splits = graphs.sets.LinkSplits(one, one, one, one, one)
    with self.assertLogs(level='WARNING') as told:
      links.check_splits(splits, 2, k=50)
    self.assertIn('Hits@50 of validation is 1', told.output[0])
    with self.assertRaisesRegex(ValueError, 'links.train has no pairs'):
      links.check_splits(splits._replace(train=none), 2)
    wrong = splits._replace(test=np.array([(0, 1), (0, 2)]))
    with self.assertRaisesRegex(ValueError, r'links.test\[1\] = \(0, 2\)'):
      links.check_splits(wrong, 2)
    own = splits._replace(test_negatives=np.tile(one, (3, 5, 1)))
    with self.assertRaisesRegex(ValueError, 'rows for 3 links, but .* has 1'):
      links.check_splits(own, 2)

  def test_negatives_of_each_link_count_together(self):
    one = np.array([(0, 1)])
    own = np.tile(one, (10, 6, 1))
    many = np.tile(one, (10, 1))
    splits = graphs.sets.LinkSplits(one, many, own, many, own)
    with self.assertNoLogs(level='WARNING'):
      links.check_splits(splits, 2, k=50)


if __name__ == '__main__':
  absltest.main()
