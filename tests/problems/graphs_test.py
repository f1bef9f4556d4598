# SPDX-License-Identifier: Apache-2.0
"""Nodes of a graph over clients: data, cohorts, every algorithm, measures."""

import functools
import logging as std_logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from absl.testing import absltest, parameterized

from jaxdl import decentralized, experiment, federated, graphs, local
from jaxdl.graphs import sets
from jaxdl.problems import graphs as graph_problems
from jaxdl.problems.graphs import _holdings, _nodes

SMALL = 'block_model(num_nodes=48, heterophilic=True, num_features=4)'
NETWORK = 'gcn(4, dropout=0.0)'
KEY = jax.random.key(0)


@functools.cache
def problem(network=NETWORK, **options):
  options = {'num_clients': 3, 'partition': 'iid', **options}
  return graph_problems.node_classification(SMALL, network, **options)


def custom(train, labels=None, n=12, num_classes=3):
  """A ring whose nodes to train on are given."""
  pairs = [(i, (i + 1) % n) for i in range(n)]
  graph = graphs.make_graph(pairs, n, pad_nodes=n)
  labels = np.arange(n) % num_classes if labels is None else labels
  mask = np.isin(np.arange(n), train)
  return sets.GraphDataset(
    graph,
    jnp.asarray(np.random.default_rng(0).normal(size=(n, 3)), jnp.float32),
    jnp.asarray(labels, jnp.int32),
    num_classes,
    jnp.asarray(mask),
    None,
    jnp.asarray(~mask),
  )


def one_round(made, work, *, weights=None, params=None, key=KEY):
  """One round of FedAvg by its definition, in a loop over clients."""
  arrays, _ = jax.tree.map(lambda x: x[0], made.data)
  train = jax.jit(work.trainer(made.task))
  total = None
  for k in range(made.num_clients):
    own = jax.tree.map(lambda x, k=k: x[k], arrays)
    after = train(params, own, key).params
    part = jax.tree.map(lambda a, k=k: a * weights[k], after)
    total = part if total is None else jax.tree.map(jnp.add, total, part)
  return total


class DataTest(parameterized.TestCase):
  def test_every_node_is_with_one_client_with_its_features(self):
    made = problem(seeds=(0, 1))
    arrays, counts = made.data
    self.assertEqual(counts.shape, (2, 3))
    for s, dealt in enumerate(made.test['dealt']):
      self.assertEqual(sorted(np.concatenate(dealt.parts)), list(range(48)))
      for k, part in enumerate(dealt.parts):
        for name, of in (
          ('inputs', dealt.data.features),
          ('labels', dealt.data.labels),
          ('mask', dealt.data.train),
          ('validation', dealt.data.validation),
          ('test', dealt.data.test),
        ):
          rows = np.asarray(arrays[name])[s, k]
          np.testing.assert_array_equal(rows[: len(part)], of[part])
          self.assertFalse(rows[len(part) :].any())
      self.assertEqual(counts[s].sum(), dealt.data.train.sum())
    first, second = (d.data.features for d in made.test['dealt'])
    self.assertGreater(np.abs(first - second).max(), 0)  # Drawn anew.
    same = graph_problems.node_classification(
      SMALL, NETWORK, num_clients=3, partition='iid', seeds=(1,)
    )
    for a, b in zip(
      same.test['dealt'][0].parts, made.test['dealt'][1].parts, strict=True
    ):
      np.testing.assert_array_equal(a, b)

  @parameterized.parameters(0.01, 0.5, 1000.0)
  def test_labels_are_dealt_as_the_paper_does(self, alpha):
    dataset = 'block_model(num_nodes=240)'
    make = lambda: graph_problems.node_classification(
      dataset,
      NETWORK,
      num_clients=5,
      partition=f'label_dirichlet(alpha={alpha})',
    )
    (dealt,) = make().test['dealt']
    labels = np.asarray(dealt.data.labels)
    table = np.array([np.bincount(labels[p], minlength=4) for p in dealt.parts])
    self.assertEqual(table.sum(), 240)
    self.assertLen(np.unique(np.concatenate(dealt.parts)), 240)
    self.assertGreaterEqual(table.sum(1).min(), 20)
    # Who holds N / n nodes gets nothing of the classes that follow.
    held = np.zeros(5)
    for c in range(4):
      self.assertFalse(table[held >= 48, c].any() and (held < 48).any())
      held += table[:, c]
    if alpha > 100:
      np.testing.assert_allclose(table[:4] / 60, 0.2, atol=0.08)
    for a, b in zip(make().test['dealt'][0].parts, dealt.parts, strict=True):
      np.testing.assert_array_equal(a, b)

  def test_skew_keeps_more_edges_where_likes_are_linked(self):
    kept = {}
    for kind in (False, True):
      made = graph_problems.node_classification(
        f'block_model(heterophilic={kind})',
        NETWORK,
        num_clients=3,
        partition='label_dirichlet(alpha=1.0)',
        seeds=(0, 1, 2),
      )
      kept[kind] = np.mean([d.kept_edges for d in made.test['dealt']])
    self.assertGreater(kept[False], kept[True] + 0.05)

  def test_learners_share_data_and_completions(self):
    first = problem()
    other = graph_problems.for_learner(first, 'sage(4)')
    self.assertIs(other.data, first.data)
    self.assertIs(other.cohort, first.cohort)
    ours = graph_problems.for_learner(first, 'gnodeformer(num_layers=1)')
    self.assertIs(ours.data[0]['inputs'], first.data[0]['inputs'])
    self.assertNotIn('graph', ours.data[0])
    values = ours.data[0]['spectrum'].eigenvalues
    self.assertEqual(values.shape[:2], (1, 3))
    self.assertLessEqual(values.max(), 2 + 1e-5)
    sums = graph_problems.for_learner(first, 'fedgcn(4)')
    wider = sums.data[0]
    self.assertGreater(wider['mask'].shape[-1], first.data[0]['mask'].shape[-1])
    for name in ('mask', 'test', 'validation'):
      self.assertEqual(wider[name].sum(), first.data[0][name].sum())

  def test_truncated_spectra(self):
    made = problem('gnodeformer(num_layers=1)', num_eigs=6)
    pairs = made.data[0]['spectrum']
    self.assertEqual(pairs.eigenvectors.shape[-1], 6)
    whole = problem('gnodeformer(num_layers=1)').data[0]['spectrum']
    for k in range(3):
      values = whole.eigenvalues[0, k][whole.mask[0, k]]
      want = np.r_[values[:3], values[-3:]]
      np.testing.assert_allclose(pairs.eigenvalues[0, k], want, atol=1e-5)


class RoundTest(parameterized.TestCase):
  WORK = local.LocalWork('sgd(0.3, weight_decay=0.01)', num_steps=3)

  def run_round(self, made, method='fedavg', channel=None):
    algorithm = federated.make_algorithm(
      method,
      made.task,
      made.num_clients,
      work=self.WORK,
      channel=channel,
      everybody=True,
    )
    state = jax.jit(algorithm.init)(KEY)
    cohort = made.cohort(KEY, jax.tree.map(lambda x: x[0], made.data), 1)
    after, metrics = jax.jit(algorithm.step)(state, cohort, key=KEY)
    return algorithm.params(state), algorithm.params(after), metrics, cohort

  def assertClose(self, got, want, atol=1e-5):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=atol), got, want
    )

  def test_a_round_is_the_plain_mean(self):
    made = problem()
    before, got, _, cohort = self.run_round(made)
    np.testing.assert_allclose(cohort.weights, 1 / 3)
    want = one_round(made, self.WORK, weights=[1 / 3] * 3, params=before)
    self.assertClose(got, want)

  def test_clients_may_count_by_nodes_to_train_on(self):
    made = problem(sampling='full(weighting=ratio)')
    before, got, _, _ = self.run_round(made)
    shares = np.asarray(made.data[1][0]) / made.data[1][0].sum()
    want = one_round(made, self.WORK, weights=shares, params=before)
    self.assertClose(got, want)

  def test_one_client_is_gradient_descent(self):
    made = problem(num_clients=1)
    params, got, _, _ = self.run_round(made)
    batch = jax.tree.map(lambda x: x[0, 0], made.data[0])
    slope = jax.jit(jax.grad(made.task.loss))
    for _ in range(3):
      params = jax.tree.map(
        lambda w, g: w - 0.3 * (g + 0.01 * w), params, slope(params, batch)
      )
    self.assertClose(got, params)

  def test_equal_clients_are_as_one(self):
    ring = custom([0, 2, 5, 7])
    pair = graphs.make_graph(
      [(i + s, (i + 1) % 12 + s) for i in range(12) for s in (0, 12)],
      24,
      pad_nodes=24,
    )
    double = lambda x: None if x is None else jnp.concatenate([x, x])
    twice = ring._replace(
      graph=pair,
      **{
        k: double(getattr(ring, k))
        for k in ('features', 'labels', 'train', 'test')
      },
    )
    make = lambda dataset, n: graph_problems.node_classification(
      dataset, NETWORK, num_clients=n, partition='iid'
    )
    two, one = make(twice, 2), make(ring, 1)
    # Deal the halves by hand.
    holdings = two.test['holdings']
    (dealt,) = holdings.dealt
    holdings = _holdings.Holdings(
      [dealt._replace(parts=[np.arange(12), np.arange(12, 24)])],
      'full(weighting=uniform)',
      None,
    )
    two = _nodes._problem(holdings, NETWORK, (0,))
    _, a, _, _ = self.run_round(two)
    _, b, _, _ = self.run_round(one)
    self.assertClose(a, b)

  def test_one_step_is_a_step_on_the_mean_loss(self):
    made = problem()
    work = local.LocalWork('sgd(0.3)', num_steps=1)
    arrays, _ = jax.tree.map(lambda x: x[0], made.data)
    algorithm = federated.make_algorithm('fedavg', made.task, 3, work=work)
    state = jax.jit(algorithm.init)(KEY)
    cohort = made.cohort(KEY, jax.tree.map(lambda x: x[0], made.data), 1)
    got, _ = jax.jit(algorithm.step)(state, cohort, key=KEY)

    def mean_loss(params):
      one = lambda k: made.task.loss(
        params, jax.tree.map(lambda x: x[k], arrays)
      )
      return sum(one(k) for k in range(3)) / 3

    slope = jax.jit(jax.grad(mean_loss))(state.params)
    want = jax.tree.map(lambda w, g: w - 0.3 * g, state.params, slope)
    self.assertClose(got.params, want)

  def test_who_has_nothing_to_train_on_counts_for_nothing(self):
    dataset = custom([0, 1, 2])
    with self.assertLogs(
      logging.get_absl_logger(), std_logging.WARNING
    ) as logs:
      made = graph_problems.node_classification(
        dataset, NETWORK, num_clients=4, partition='iid'
      )
    counts = np.asarray(made.data[1][0])
    nobody = np.flatnonzero(counts == 0)
    self.assertGreaterEqual(len(nobody), 1)
    self.assertEqual(nobody.tolist(), [1, 2])
    told = 'clients 1, 2 have no training node; they will not contribute'
    self.assertIn(told, ' '.join(logs.output))
    before, got, metrics, cohort = self.run_round(made)
    np.testing.assert_array_equal(cohort.mask, counts > 0)
    weights = (counts > 0) / (counts > 0).sum()
    np.testing.assert_allclose(cohort.weights, weights, rtol=1e-6)
    want = one_round(made, self.WORK, weights=weights, params=before)
    self.assertClose(got, want)
    self.assertTrue(np.isfinite(metrics['loss']))

  def test_samples_of_clients(self):
    made = problem(sampling='uniform(num_sampled=2, weighting=uniform)')
    arrays = jax.tree.map(lambda x: x[0], made.data)
    self.assertEqual(made.test['cohort_size'], 2)
    cohort = jax.jit(made.cohort)(KEY, arrays, 3)
    for row, k in enumerate(cohort.client_ids):
      np.testing.assert_array_equal(
        cohort.data['inputs'][row], arrays[0]['inputs'][k]
      )
      np.testing.assert_array_equal(
        cohort.data['graph'].senders[row], arrays[0]['graph'].senders[k]
      )
    np.testing.assert_allclose(cohort.weights, 0.5)


class MeasureTest(parameterized.TestCase):
  def test_means_are_weighted_by_test_nodes(self):
    made = problem(seeds=(0, 1))
    draw = lambda n: jax.vmap(made.task.init)(jax.random.split(KEY, n))
    params = jax.jit(draw, static_argnums=0)(2)
    found = made.evaluate(params)
    for s in range(2):
      right, total, each = 0.0, 0, []
      for k in range(3):
        batch = jax.tree.map(lambda x, s=s, k=k: x[s, k], made.data[0])
        own = jax.tree.map(lambda x, s=s: x[s], params)
        logits = made.network.apply(own, batch['graph'], batch['inputs'])
        hit = np.asarray(logits.argmax(1) == batch['labels'])
        hit = hit[np.asarray(batch['test'])]
        right, total = right + hit.sum(), total + len(hit)
        each.append(hit.mean() if len(hit) else 1.0)
      self.assertAlmostEqual(found['accuracy'][s], right / total, places=5)
      self.assertAlmostEqual(found['worst_accuracy'][s], min(each), places=5)
      kept = made.test['dealt'][s].kept_edges
      self.assertAlmostEqual(found['kept_edges'][s], kept, places=5)
    # The same model for every client is a shared one.
    copies = jax.tree.map(
      lambda x: jnp.broadcast_to(x[:, None], (2, 3, *x.shape[1:])), params
    )
    for name, value in made.evaluate_clients(copies).items():
      np.testing.assert_allclose(value, found[name], atol=1e-6, err_msg=name)

  def test_a_client_without_tests_weighs_nothing(self):
    dataset = custom(range(6))
    made = graph_problems.node_classification(
      dataset._replace(test=jnp.arange(12) == 7),
      NETWORK,
      num_clients=2,
      partition='iid',
    )
    params = jax.tree.map(lambda x: x[None], jax.jit(made.task.init)(KEY))
    found = made.evaluate(params)
    self.assertIn(float(found['accuracy'][0]), (0.0, 1.0))
    self.assertEqual(found['accuracy'], found['worst_accuracy'])


def _task_of(made, spec, **channel):
  work = local.LocalWork('sgd(0.05)', num_steps=2)
  method, wire = federated.make_variant(spec, made.task, work, **channel)
  return federated.federate(method, 3, wire)


class CompositionTest(parameterized.TestCase):
  def check(self, algorithm, made):
    state, history = experiment.train(
      algorithm, made, num_rounds=2, key=KEY, eval_every=2
    )
    for leaf in jax.tree.leaves(algorithm.params(state)):
      self.assertTrue(np.isfinite(leaf).all())
    self.assertTrue(np.isfinite(history['test_loss']).all())
    self.assertTrue(np.isfinite(history['loss']).all())

  @parameterized.parameters(
    {'aggregator': 'median'},
    {'aggregator': 'nnm+median', 'attack': 'alie', 'num_byzantine': 1},
    {'attack': 'label_flip', 'num_byzantine': 1, 'num_classes': 4},
    {'compressor': 'ef+top_k(keep=0.1)'},
    {'privacy': 'central(clip=1.0, noise_multiplier=0.1)'},
  )
  def test_every_kind_of_channel(self, **channel):
    made = problem('mlp(2, dropout=0.0)')
    self.check(_task_of(made, 'fedavg', **channel), made)

  @parameterized.parameters('gossip_sgd@ring', 'gradient_tracking@star')
  def test_without_a_server(self, spec):
    made = problem('gnodeformer(num_layers=1, hidden_dim=4)')
    algorithm = decentralized.make_algorithm(
      spec, made.task, 3, optimizer=optax.sgd(0.05)
    )
    self.check(algorithm, made)

  def test_norms_may_stay_with_clients(self):
    made = problem('gnodeformer(num_layers=1, hidden_dim=4)')
    self.check(_task_of(made, 'fedbn'), made)


class ValidationTest(parameterized.TestCase):
  def test_nothing_is_chosen_where_nothing_is_validated(self):
    made = graph_problems.node_classification(
      custom([0, 1]), NETWORK, num_clients=1, partition='iid'
    )
    params = jax.tree.map(lambda x: x[None], made.task.init(KEY))
    self.assertNotIn('validation_accuracy', made.evaluate(params))
    rows = [
      {'split': 'test', 'variant': 'a', 'seed': 0, 'step': t, 'accuracy': t / 9}
      for t in (0, 5)
    ]
    self.assertEqual(graph_problems.at_best_validation(rows), rows[1:])
    rows[0]['validation_accuracy'] = np.nan
    rows[1]['validation_accuracy'] = 0.2
    found = graph_problems.at_best_validation(rows)
    self.assertEqual(found[0]['chosen_step'], 5)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'num_clients': 49}, 'num_clients=49 exceeds the 48 nodes'),
    (
      {'partition': 'label_dirichlet(alpha=0.1)', 'num_clients': 5},
      'cannot give 5 clients 20 nodes each out of 48',
    ),
    ({'partition': 'label_dirichlet(alpha=0.0, min_size=9)'}, 'alpha must'),
    ({'partition': 'label_dirichlet(alpha=-1, min_size=9)'}, 'alpha must'),
    (
      {
        'partition': 'label_dirichlet(alpha=0.001, min_size=15, '
        'self_balancing=False, max_redraws=3)'
      },
      r'partition=label_dirichlet.*was not reached in 4 draws',
    ),
    ({'network': 'gcn(hidden=3)'}, "has no option 'hidden'"),
    ({'network': 'gnodeformer(rk=7)'}, 'rk must be one of'),
    ({'sampling': 'uniform(num_sampled=9)'}, 'num_sampled'),
    ({'num_eigs': 0}, 'num_eigs must be at least 1'),
    ({'dataset': 'lesmis'}, 'has no labels or no nodes to train and test on'),
    ({'dataset': 'planetoid'}, 'is read from local files: pass data_dir'),
  )
  def test_says_what_is_wrong(self, options, message):
    options = {'dataset': SMALL, 'network': NETWORK, **options}
    options = {'num_clients': 3, 'partition': 'iid', **options}
    with self.assertRaisesRegex(ValueError, message):
      graph_problems.node_classification(**options)

  def test_says_what_is_wrong_with_data(self):
    make = functools.partial(
      graph_problems.node_classification, num_clients=2, partition='iid'
    )
    with self.assertRaisesRegex(ValueError, 'no client has a node to train on'):
      make(custom([]), NETWORK)
    with self.assertRaisesRegex(ValueError, 'no client has a node to test on'):
      make(custom(range(12)), NETWORK)
    with self.assertRaisesRegex(TypeError, 'network must be a Network'):
      make(custom([0]), 3)
    with self.assertRaisesRegex(
      TypeError, 'must be from .*node_classification'
    ):
      graph_problems.for_learner(3, NETWORK)
    with self.assertRaisesRegex(ValueError, 'labels 0 to 2; got 0 to 5'):
      make(custom([0], labels=np.full(12, 5) * (np.arange(12) > 3)), NETWORK)
    with self.assertRaisesRegex(ValueError, 'labels 0 to 2; got -1 to 1'):
      make(custom([0], labels=np.where(np.arange(12) > 3, 1, -1)), NETWORK)
    with self.assertRaisesRegex(TypeError, 'must be a spec such as "karate"'):
      make(np.ones(3), NETWORK)
    with self.assertRaisesRegex(ValueError, "data_dir='x' has no effect"):
      make(custom([0]), NETWORK, data_dir='x')


if __name__ == '__main__':
  absltest.main()
