# SPDX-License-Identifier: Apache-2.0
"""Scores by hand, and against loops over networkx graphs."""

import jax
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.language import agentsnet

INVALID = agentsnet.INVALID


def named(graph):
  return agentsnet.named(graph)


PATH = named(networkx.path_graph(4))
STAR = named(networkx.star_graph(4))
CYCLE = named(networkx.cycle_graph(5))


def score(task, graph, answers, **padding):
  batch = agentsnet.batch_graphs([graph], **padding)
  padded = np.full((1, batch.node_mask.shape[1]), 1, np.int32)
  padded[0, : len(graph)] = answers
  return float(agentsnet.score(task, batch, padded)[0])


def by_hand(task, graph, answers):
  """The sheet's definitions, one node and one edge at a time."""
  a, nodes, edges = list(answers), list(graph), list(graph.edges)
  if task == 'consensus':
    return float(all(x in (0, 1) for x in a) and len(set(a)) == 1)
  if task == 'leader_election':
    return float(all(x in (0, 1) for x in a) and sum(a) == 1)
  if task == 'coloring':
    if not all(0 <= x <= agentsnet.max_degree(graph) for x in a):
      return 0.0
    return sum(a[u] != a[v] for u, v in edges) / len(edges)
  if task == 'matching':
    wrong = 0
    for v in nodes:
      if a[v] == -1:
        wrong += any(a[u] == -1 for u in graph[v])
      else:
        wrong += not (a[v] in graph[v] and a[a[v]] == v)
    return 1 - wrong / len(nodes)
  cover = {v for v in nodes if a[v] == 1}
  if not cover:
    return 0.0
  share = lambda some: (
    sum(u in some or v in some for u, v in edges) / len(edges)
  )
  minimal = [u for u in cover if share(cover - {u}) < 1]
  return share(cover) * len(minimal) / len(cover)


class ByHandTest(parameterized.TestCase):
  @parameterized.parameters(
    ((0, 1, 1, 0), 1.0),
    ((0, 1, 0, 1), 1.0),
    ((1, 1, 1, 1), 0.0),
    ((0, 1, 0, 0), 2 / 3),
    ((1, 1, 1, 0), 1 / 3),
    ((0, 0, 0, 0), 0.0),
    ((INVALID, 1, 1, INVALID), 1.0),
  )
  def test_covers_of_a_path(self, answers, want):
    self.assertAlmostEqual(score('vertex_cover', PATH, answers), want, places=6)

  @parameterized.parameters(
    ((1, 0, 3, 2), 1.0),
    ((-1, 2, 1, -1), 1.0),
    ((-1, -1, -1, -1), 0.0),
    ((1, 2, 1, -1), 0.75),
    # Nobody is told apart from who gave no valid answer.
    ((INVALID, 2, 1, -1), 0.75),
    ((INVALID, INVALID, -1, INVALID), 0.25),
    # 3 is no neighbor of 0.
    ((3, 2, 1, 0), 0.5),
  )
  def test_matchings_of_a_path(self, answers, want):
    self.assertAlmostEqual(score('matching', PATH, answers), want, places=6)

  @parameterized.parameters(
    ((1, 0, 0, 0, 0), 1.0), ((0, 1, 1, 1, 1), 1.0), ((1, 1, 0, 0, 0), 0.5)
  )
  def test_covers_of_a_star(self, answers, want):
    self.assertAlmostEqual(score('vertex_cover', STAR, answers), want)

  def test_colors_of_a_cycle(self):
    self.assertAlmostEqual(score('coloring', CYCLE, (0, 1, 0, 1, 0)), 0.8)
    self.assertEqual(score('coloring', CYCLE, (0, 1, 0, 1, 2)), 1.0)
    # Three groups, the fourth is none.
    self.assertEqual(score('coloring', CYCLE, (0, 1, 0, 1, 3)), 0.0)
    self.assertEqual(score('coloring', CYCLE, (0, 1, 0, 1, INVALID)), 0.0)

  @parameterized.parameters(
    ('consensus', (1, 1, 1, 1), 1.0),
    ('consensus', (0, 0, 0, 0), 1.0),
    ('consensus', (0, 0, 1, 0), 0.0),
    ('consensus', (INVALID, 1, 1, 1), 0.0),
    ('leader_election', (0, 1, 0, 0), 1.0),
    ('leader_election', (0, 0, 0, 0), 0.0),
    ('leader_election', (1, 1, 0, 0), 0.0),
    ('leader_election', (1, INVALID, 0, 0), 0.0),
  )
  def test_agreement(self, task, answers, want):
    self.assertEqual(score(task, PATH, answers), want)


class ReferenceTest(parameterized.TestCase):
  @parameterized.parameters(*agentsnet.TASKS)
  def test_random_answers_score_as_by_hand(self, task):
    rng = np.random.default_rng(0)
    graphs = [
      agentsnet.make_graph(family, n, 5)
      for family in ('ws', 'ba', 'dt')
      for n in (4, 9)
    ]
    for pad in ({}, {'pad_nodes': 13, 'pad_degree': 12}):
      batch = agentsnet.batch_graphs(graphs, **pad)
      low = INVALID if task != 'coloring' else -1
      high = {'matching': 9, 'coloring': 5}.get(task, 2)
      answers = rng.integers(low, high, (40, *batch.node_mask.shape))
      # Most answers are valid, or hardly anything would score.
      answers = np.where(
        rng.random(answers.shape) < 0.9,
        np.maximum(answers, -1 if task == 'matching' else 0),
        answers,
      ).astype(np.int32)
      found = np.asarray(agentsnet.score(task, batch, answers))
      want = [
        [
          by_hand(task, g, answers[s, b, : len(g)].tolist())
          for b, g in enumerate(graphs)
        ]
        for s in range(len(answers))
      ]
      np.testing.assert_allclose(found, want, atol=1e-6)
      self.assertGreater(np.ptp(found), 0)

  @parameterized.parameters(*agentsnet.TASKS)
  def test_relabeled_graphs_score_alike(self, task):
    rng = np.random.default_rng(1)
    graph = agentsnet.make_graph('ba', 7, 410)
    order = rng.permutation(7)  # Node v becomes order[v].
    names = agentsnet.names_of(graph)
    other = networkx.Graph()
    other.add_nodes_from(
      (int(order[v]), {'name': names[v]}) for v in np.argsort(order)
    )
    other.add_edges_from((int(order[u]), int(order[v])) for u, v in graph.edges)
    for _ in range(20):
      texts = [
        str(rng.choice(agentsnet.options(task, graph, v))) for v in graph
      ]
      moved = [texts[v] for v in np.argsort(order)]
      self.assertEqual(
        score(task, graph, agentsnet.encode(task, graph, texts)),
        score(task, other, agentsnet.encode(task, other, moved)),
      )


class SolvedTest(parameterized.TestCase):
  def test_what_is_solved_scores_one_exactly(self):
    # Compiled, many quotients by one number are products with its inverse.
    paths = [named(networkx.path_graph(n)) for n in range(2, 120, 3)]
    batch = agentsnet.batch_graphs(paths)
    odd = np.arange(batch.node_mask.shape[1]) % 2
    answers = np.broadcast_to(odd, (3, *batch.node_mask.shape))
    for task in ('coloring', 'vertex_cover'):
      found = np.asarray(agentsnet.score(task, batch, answers))
      np.testing.assert_array_equal(found, 1.0)


class AnswersTest(parameterized.TestCase):
  @parameterized.parameters(*agentsnet.TASKS)
  def test_answers_and_integers_go_both_ways(self, task):
    graph = agentsnet.make_graph('dt', 8, 410)
    rng = np.random.default_rng(2)
    texts = tuple(
      str(rng.choice(agentsnet.options(task, graph, v))) for v in graph
    )
    codes = agentsnet.encode(task, graph, texts)
    self.assertEqual(agentsnet.decode(task, graph, codes), texts)

  def test_what_is_admissible(self):
    self.assertEqual(
      agentsnet.options('coloring', PATH, 0), ('Group 1', 'Group 2', 'Group 3')
    )
    names = agentsnet.names_of(PATH)
    self.assertEqual(
      agentsnet.options('matching', PATH, 1), (names[0], names[2], 'None')
    )
    self.assertEqual(agentsnet.options('consensus', PATH, 0), ('0', '1'))
    for task in ('leader_election', 'vertex_cover'):
      self.assertEqual(agentsnet.options(task, PATH, 0), ('Yes', 'No'))

  def test_what_is_not_admissible_is_invalid(self):
    names = agentsnet.names_of(PATH)
    texts = [names[0], names[2], 'Nobody', None]
    codes = agentsnet.encode('matching', PATH, texts)
    self.assertEqual(codes.tolist(), [INVALID, 2, INVALID, INVALID])
    self.assertEqual(
      agentsnet.decode('matching', PATH, codes), (None, names[2], None, None)
    )

  def test_says_what_does_not_fit(self):
    with self.assertRaisesRegex(ValueError, 'one for each of 4 nodes; got 3'):
      agentsnet.encode('matching', PATH, ['None'] * 3)
    batch = agentsnet.batch_graphs([PATH])
    with self.assertRaisesRegex(ValueError, r'\[..., B, N\] with \(1, 4\)'):
      agentsnet.score('matching', batch, np.zeros((4,), np.int32))
    with self.assertRaisesRegex(
      TypeError, 'answers must be integers; got float'
    ):
      agentsnet.score('matching', batch, np.zeros((1, 4), np.float32))
    with self.assertRaisesRegex(ValueError, "'colorin' is unknown.*'coloring'"):
      agentsnet.score('colorin', batch, np.zeros((1, 4), np.int32))
    with self.assertRaisesRegex(ValueError, 'pad_nodes must be at least 4'):
      agentsnet.batch_graphs([PATH], pad_nodes=3)
    with self.assertRaisesRegex(ValueError, 'pad_degree must be at least 2'):
      agentsnet.batch_graphs([PATH], pad_degree=1)
    with self.assertRaisesRegex(ValueError, 'graphs is empty'):
      agentsnet.batch_graphs([])
    with self.assertRaisesRegex(ValueError, 'rounds must be at least 1; got 0'):
      agentsnet.rounds_of('matching', batch, 0)
    for rounds in (2**40, np.array([2**40])):
      with self.assertRaisesRegex(ValueError, 'rounds must be at most 1000000'):
        agentsnet.run_sync(
          'auto', 'matching', batch, key=jax.random.key(0), rounds=rounds
        )
    with self.assertRaisesRegex(ValueError, 'node must be at most 3; got 4'):
      agentsnet.options('matching', PATH, 4)
    with self.assertRaisesRegex(
      TypeError, r'answers\[1\] must be text or None'
    ):
      agentsnet.score_answers('vertex_cover', PATH, ['Yes', 0, 'No', None])

  def test_one_graph_is_no_batch(self):
    answers = np.zeros((1, 4), np.int32)
    with self.assertRaisesRegex(TypeError, 'batch must be a GraphBatch'):
      agentsnet.score('matching', PATH, answers)
    with self.assertRaisesRegex(TypeError, 'batch must be a GraphBatch'):
      agentsnet.run_sync('auto', 'matching', PATH, key=jax.random.key(0))

  def test_the_score_of_the_benchmark_counts_tasks_once(self):
    found = agentsnet.means({'a': np.ones(10), 'b': np.zeros(2)})
    self.assertEqual(found, {'a': 1.0, 'b': 0.0, 'all': 0.5})
    with self.assertRaisesRegex(ValueError, 'a task or more'):
      agentsnet.means({'a': np.ones(0)})


if __name__ == '__main__':
  absltest.main()
