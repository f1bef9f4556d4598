# SPDX-License-Identifier: Apache-2.0
"""Problems of links: what is drawn, what is tested, who learns."""

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import experiment, federated, graphs, problems
from jaxdl.graphs import links, sets

ADAM = links.two_rates(optax.adam(0.01), optax.adam(0.01))
KEY = jax.random.key(3)


def load(**options):
  known = {'batch_size': 9, 'hits': 5, 'seeds': (0, 4)}
  return problems.links.load_links('karate', **{**known, **options})


def linked(graph):
  return {tuple(sorted(p)) for p in graphs.edge_pairs(graph).tolist()}


class LinksTest(parameterized.TestCase):
  def test_an_epoch_sees_each_link_once_and_as_many_others(self):
    data = load()
    self.assertEqual(data.num_steps, 6)
    problem = data.problem('ncn', 'mpnn(4)')
    whole = linked(sets.karate().graph)
    own = jax.tree.map(lambda x: x[1], problem.data)
    cohort = jax.jit(problem.cohort)
    seen = []
    for round in (1, 2):
      batches = cohort(KEY, own, round).data['batches']
      positive = np.asarray(batches['positive']).reshape(-1, 2)
      known = {tuple(sorted(p)) for p in positive.tolist()}
      self.assertLen(known, 54)
      self.assertEqual(known, linked(data.of(1)[0].graph))
      negative = np.asarray(batches['negative']).reshape(-1, 2)
      self.assertFalse(known & {tuple(sorted(p)) for p in negative.tolist()})
      self.assertEqual(batches['negative'].shape, (1, 6, 9, 2))
      self.assertEqual(set(np.unique(batches['epoch'])), {round - 1})
      seen.append(positive)
    self.assertTrue(known < whole)
    self.assertFalse(np.array_equal(*seen))

  def test_figures_of_scores_are_those_of_networkx(self):
    data = load(num_negatives=40, validation_edges=True, seeds=(4,))
    found = data.problem('ra').evaluate({'encoder': {}, 'predictor': {}})
    test = {k: np.asarray(v[0]) for k, v in data.tested.items()}
    for part, graph in (
      ('validation', data.known.graph),
      ('test', data.known_later.graph),
    ):
      graph = jax.tree.map(lambda x: x[0], graph)
      whole = graphs.to_networkx(graph)
      score = lambda pairs, whole=whole: np.array(
        [s for *_, s in networkx.resource_allocation_index(whole, pairs)]
      )
      up = score(test[part].tolist())[:, None]
      down = score(test[f'{part}_negatives'].tolist())[None]
      self.assertEqual(down.shape, (1, 40))
      auc = np.mean((up > down + 1e-9) + (abs(up - down) < 1e-9) / 2)
      hits = np.mean(up > np.sort(down[0])[-5] + 1e-9)
      prefix = '' if part == 'test' else 'validation_'
      self.assertAlmostEqual(float(found[f'{prefix}auc'][0]), auc, places=5)
      self.assertAlmostEqual(float(found[f'{prefix}hits'][0]), hits, places=5)

  def test_links_with_negatives_of_their_own_have_ranks(self):
    graph = sets.karate().graph
    split = links.random_link_split(np.random.default_rng(0), graph)
    rng = np.random.default_rng(1)
    own = lambda part: links.random_non_links(rng, graph, 7 * len(part))
    split = split._replace(
      validation_negatives=own(split.validation).reshape(-1, 7, 2),
      test_negatives=own(split.test).reshape(-1, 7, 2),
    )
    data = sets.karate()._replace(links=split)
    found = problems.links.load_links(data, batch_size=9, hits=5)
    problem = found.problem('aa')
    self.assertEqual(problem.metric, 'mrr')
    got = problem.evaluate({'encoder': {}, 'predictor': {}})
    whole = networkx.Graph(split.train.tolist())
    whole.add_nodes_from(range(34))
    score = lambda p: next(networkx.adamic_adar_index(whole, [tuple(p)]))[2]
    ranks = []
    for link, others in zip(split.test, split.test_negatives, strict=True):
      value, rest = score(link), np.array([score(p) for p in others])
      above = (rest > value + 1e-9).sum() + (abs(rest - value) < 1e-9).sum() / 2
      ranks.append(1 / (1 + above))
    self.assertAlmostEqual(float(got['mrr'][0]), np.mean(ranks), places=5)

  def test_links_that_are_split_already_stay_so(self):
    split = links.random_link_split(
      np.random.default_rng(0), sets.karate().graph
    )
    data = sets.karate()._replace(links=split)
    read = lambda **options: problems.links.load_links(
      data, **{'batch_size': 9, 'hits': 5, **options}
    )
    for name, value in (
      ('validation', 0.3),
      ('test', 0.3),
      ('num_negatives', 8),
    ):
      with self.assertRaisesRegex(ValueError, f'{name}={value} has no effect'):
        read(**{name: value})
    half = read(keep_edges=0.5)
    self.assertEqual(half.num_train.tolist(), [27])
    kept, known = half.train[0].tolist(), linked(half.of(0)[0].graph)
    self.assertEqual({tuple(sorted(pair)) for pair in kept}, known)
    self.assertLen(known & {tuple(sorted(p)) for p in split.train.tolist()}, 27)
    with self.assertRaisesRegex(ValueError, r'keep_edges must lie in \(0, 1\]'):
      read(keep_edges=0.0)
    own = split.test_negatives.reshape(-1, 1, 2)[: len(split.test)]
    mixed = data._replace(links=split._replace(test_negatives=own))
    with self.assertRaisesRegex(ValueError, r'or be for all; got \[0, 1\]'):
      problems.links.load_links(mixed, batch_size=9, hits=5)

  def test_figures_that_are_not_measured_are_refused(self):
    load().check_metric('auc')
    with self.assertRaisesRegex(ValueError, 'metric=mrr is not measured'):
      load().check_metric('mrr')

  def test_what_tests_know_is_held_once(self):
    data = load()
    self.assertIs(data.known_later, data.known)
    more = load(validation_edges=True)
    count = lambda known: known.graph.edge_mask.sum(axis=-1).tolist()
    self.assertEqual(count(more.known), [108, 108])
    self.assertEqual(count(more.known_later), [124, 124])

  def test_training_lowers_the_loss(self):
    problem = load(seeds=(0,)).problem('ncn', 'mpnn(8)')
    algorithm = links.over_batches(
      federated.centralized_sgd(problem.task, optimizer=ADAM)
    )
    _, history = experiment.train(
      algorithm, problem, num_rounds=20, key=KEY, eval_every=10
    )
    loss = history['loss']
    self.assertLess(loss[-5:].mean(), loss[:3].mean() - 0.1)

  @parameterized.parameters(
    (lambda: load(batch_size=55), 'batch_size=55 is more than there are'),
    (lambda: load(hits=0), 'hits must be at least 1'),
    (lambda: load(validation=0.6, test=0.4), 'the training split is empty'),
    (lambda: problems.links.load_links(3), 'dataset must be a part of'),
    (lambda: load(seeds=()), 'seeds is empty'),
    (lambda: problems.links.load_links('planetoid'), 'pass data_dir'),
    (lambda: problems.links.load_links(
      sets.karate()._replace(features=jnp.full((48, 2), jnp.nan))),
     r'x\[0\] of node 0 is not finite'),
    (lambda: problems.links.load_links(sets.karate()._replace(
      graph=graphs.make_graph([(0, 1)], 34, directed=True, pad_nodes=48))),
     'none back'),
    (lambda: load().clients('ncn', 'mpnn(embed=nodes)'), 'use features'),
    (lambda: load().clients(parts='communities(35)'), 'at most 34'),
    (lambda: load().clients(parts='cliques'), "parts='cliques' is unknown"),
    (lambda: load().clients(hops=-1), 'hops must be at least 0'),
    (lambda: problems.links.over_graph(
      'asynchronous_gossip', None, optimizer=ADAM), 'use one with a mixer'),
  )  # fmt: skip
  def test_bad_input_is_refused(self, call, message):
    with self.assertRaisesRegex((ValueError, TypeError), message):
      call()

  def test_large_batches_are_warned_of(self):
    with self.assertLogs(level='WARNING') as told:
      load(batch_size=30)
    self.assertRegex(' '.join(told.output), 'is 56% of the training links')


class ClientsTest(parameterized.TestCase):
  def test_clients_draw_of_what_they_know(self):
    data = load(seeds=(0,))
    problem = data.clients(
      'ncn', 'mpnn(4)', parts='communities(num_clients=5)', batch_size=6
    )
    own = jax.tree.map(lambda x: x[0], problem.data)
    views = own['views']
    cohort = jax.jit(problem.cohort)(KEY, own, 1)
    batches = jax.tree.map(np.asarray, cohort.data['batches'])
    self.assertEqual(batches['positive'].shape, (5, 6, 6, 2))
    known = linked(data.of(0)[0].graph)
    for k in range(5):
      ids = np.asarray(views.node_ids[k])
      mine = set(ids[: int(views.num_own[k])].tolist())
      if not views.num_links[k]:
        self.assertFalse(batches['mask'][k].any())
        continue
      self.assertTrue(batches['mask'][k].all())
      for kind, there in (('positive', True), ('negative', False)):
        pairs = ids[batches[kind][k]].reshape(-1, 2).tolist()
        for pair in pairs:
          self.assertEqual(tuple(sorted(pair)) in known, there)
          self.assertIn(pair[0], mine)

  def test_one_part_that_knows_all_learns_as_one_learner(self):
    # The same links, drawn in another way: losses are alike, not equal; with
    # one client there is nobody to mix with.
    data = load(seeds=(0,))
    problem = data.clients('ncn', 'mpnn(4)', parts='communities(1)')
    np.testing.assert_allclose(problem.data['mixing'], [[[1.0]]])
    views = problem.data['views']
    self.assertEqual(int(views.num_links[0, 0]), 54)
    whole, _ = data.of(0)
    np.testing.assert_array_equal(
      views.adjacency.graph.senders[0, 0], whole.graph.senders
    )

  def test_every_model_is_measured_on_all_tests(self):
    data = load(seeds=(0,))
    problem = data.clients('ncn', 'mpnn(4)', parts='communities(3)')
    one = data.problem('ncn', 'mpnn(4)')
    models = jax.vmap(problem.task.init)(jax.random.split(KEY, 3))
    got = problem.evaluate_clients(jax.tree.map(lambda x: x[None], models))
    each = [
      one.evaluate(jax.tree.map(lambda x, k=k: x[k][None], models))
      for k in range(3)
    ]
    for name in ('auc', 'hits', 'validation_auc'):
      want = np.mean([float(e[name][0]) for e in each])
      self.assertAlmostEqual(float(got[name][0]), want, places=5)
    worst = min(float(e['auc'][0]) for e in each)
    self.assertAlmostEqual(float(got['worst_auc'][0]), worst, places=6)

  def test_nodes_gossip_over_their_own_friendships(self):
    data = load(seeds=(0,), batch_size=54)
    problem = data.clients('ncn', 'mpnn(4)', parts='nodes')
    self.assertEqual(problem.num_clients, 34)
    weights = np.asarray(problem.data['mixing'][0])
    whole = graphs.to_networkx(data.of(0)[0].graph)
    degree = np.array([whole.degree(i) for i in range(34)])
    for i in range(34):
      for j in range(34):
        if i != j:
          want = 1 / (1 + max(degree[i], degree[j])) * whole.has_edge(i, j)
          self.assertAlmostEqual(weights[i, j], want, places=6)
    make = problems.links.over_graph('gossip_sgd', problem, optimizer=ADAM)
    state, history = experiment.train(
      make, problem, num_rounds=2, key=KEY, eval_every=2
    )
    del state
    self.assertTrue(np.isfinite(history['test_auc']).all())
    self.assertGreater(history['consensus'][-1], 0)


if __name__ == '__main__':
  absltest.main()
