# SPDX-License-Identifier: Apache-2.0
"""Training of children against float64 NumPy, and the loop around it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from sklearn import metrics as oracle

from jaxdl import graphs, problems
from jaxdl.graphs import search

KEY = jax.random.key(0)
SPACE = search.make_space(
  'agnn(hidden=2, heads=(1, 2), attention=(gcn, gat), '
  'aggregate=(sum, mean, max), combine=identity, activation=linear)'
)
N, F, K = 12, 4, 3


def a_task(several=False, scale=1.0, **options):
  """A small task and its matrix."""
  rng = np.random.default_rng(0)
  matrix = np.triu(rng.random((N, N)) < 0.3, 1).astype(float)
  matrix = matrix + matrix.T
  labels = np.arange(N) % K
  x = scale * (rng.normal(size=(N, F)) + 2 * np.eye(F)[labels])
  graph = graphs.make_graph(np.argwhere(np.triu(matrix)), N)
  if several:
    labels = np.eye(K)[labels] + (rng.random((N, K)) < 0.3)
    labels = np.minimum(labels, 1).astype(np.int32)
  masks = {
    name: graphs.pad_rows(np.arange(N) // 4 == i, graph)
    for i, name in enumerate(('train', 'validation', 'test'))
  }
  given = {
    'labels': graphs.pad_rows(labels, graph),
    'num_classes': K,
    **masks,
    **options,
  }
  features = jnp.asarray(graphs.pad_rows(x, graph), jnp.float32)
  return search.node_task(graph, features, **given), matrix


TASK, MATRIX = a_task()
CHILDREN = search.Children(SPACE, 1, F, K)
PLAIN = SPACE.encode([search.Layer(2, 'gcn', 1, activation='linear')])


def softmax(x):
  e = np.exp(x - x.max(1, keepdims=True))
  return e / e.sum(1, keepdims=True)


def reference(kernel, epochs, rate=0.05, l2=0.1):
  """Adam with coupled decay on a convolution: losses, hits, kernels, biases."""
  full = MATRIX + np.eye(N)
  root = 1 / np.sqrt(full.sum(1))
  x = (root[:, None] * full * root) @ np.asarray(TASK.features, np.float64)[:N]
  y = np.asarray(TASK.labels)[:N]
  train, held, test = (
    np.asarray(m)[:N] for m in (TASK.train, TASK.validation, TASK.test)
  )
  params = [np.asarray(kernel, np.float64), np.zeros(K)]
  m, v, out = [0.0, 0.0], [0.0, 0.0], []
  for t in range(1, epochs + 1):
    p = softmax(x @ params[0] + params[1])
    gap = np.where(train[:, None], p - np.eye(K)[y], 0) / train.sum()
    slopes = [x.T @ gap + l2 * params[0], gap.sum(0) + l2 * params[1]]
    for i, g in enumerate(slopes):
      m[i] = 0.9 * m[i] + 0.1 * g
      v[i] = 0.999 * v[i] + 0.001 * g * g
      step = (m[i] / (1 - 0.9**t)) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
      params[i] = params[i] - rate * step
    logits = x @ params[0] + params[1]
    loss = -np.log(softmax(logits)[np.arange(N), y])[held].mean()
    hits = [(logits.argmax(1) == y)[part].mean() for part in (held, test)]
    out.append((loss, *hits, *[q.copy() for q in params]))
  return out


@functools.cache
def trainer(**options):
  """Two tables at once, two trainings each, unless said otherwise."""
  given = {'num_epochs': 3, 'dropout': 0.0, 'num_tables': 2, 'num_seeds': 2}
  return search.Trainer(
    CHILDREN, TASK, search.child_optimizer(0.05, 0.1), **{**given, **options}
  )


@jax.jit
def train(task, table, params, epochs):
  return search.train_child(
    CHILDREN,
    task,
    table,
    params,
    key=KEY,
    optimizer=search.child_optimizer(0.05, 0.1),
    num_epochs=epochs,
    dropout=0.0,
  )


class TrainChildTest(parameterized.TestCase):
  @parameterized.parameters(1, 4, 60)
  def test_equals_the_reference(self, epochs):
    params = CHILDREN.init(KEY, PLAIN)
    got = train(TASK, jnp.asarray(PLAIN), params, epochs)
    rows = reference(np.asarray(params[0]['kernel'])[:, 0], epochs)
    best = int(np.argmin([row[0] for row in rows]))
    loss, score, test, kernel, bias = rows[best]
    self.assertEqual(int(got.epoch), best + 1)
    np.testing.assert_allclose(got.loss, loss, rtol=1e-4)
    np.testing.assert_allclose(got.score, score, rtol=1e-6)
    np.testing.assert_allclose(got.test, test, rtol=1e-6)
    np.testing.assert_allclose(got.params[0]['kernel'][:, 0], kernel, atol=1e-4)
    np.testing.assert_allclose(got.params[0]['bias'], bias, atol=1e-4)
    self.assertTrue(bool(got.finite))

  def test_explosions_score_zero_and_leave_what_was(self):
    hot = TASK._replace(features=TASK.features * 1e30)
    table = SPACE.encode([search.Layer(2, 'gat', 2, activation='linear')])
    params = jax.tree.map(lambda x: x * 1e10, CHILDREN.init(KEY, table))
    got = train(hot, jnp.asarray(table), params, 3)
    self.assertEqual((float(got.score), float(got.test)), (0.0, 0.0))
    self.assertFalse(bool(got.finite))
    self.assertTrue(
      all(np.isfinite(x).all() for x in jax.tree.leaves(got.params))
    )

  def test_features_of_few_bits(self):
    low = TASK._replace(features=TASK.features.astype('bfloat16'))
    high = TASK._replace(features=low.features.astype('float32'))
    params = CHILDREN.init(KEY, PLAIN)
    got, want = (train(t, jnp.asarray(PLAIN), params, 4) for t in (low, high))
    self.assertEqual(got.loss.dtype, np.float32)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-5)
    self.assertEqual(int(got.epoch), int(want.epoch))

  @parameterized.product(
    features=['float16', 'float32', 'float64'], several=[False, True]
  )
  def test_parameters_of_64_bits(self, features, several):
    task, _ = a_task(several=several)
    with jax.enable_x64(True):
      x = np.asarray(task.features, features)
      own = task._replace(features=jnp.asarray(x))
      params = jax.eval_shape(CHILDREN.init, KEY, jnp.asarray(PLAIN))
      self.assertEqual(params[0]['kernel'].dtype, np.float64)
      found = jax.eval_shape(train, own, jnp.asarray(PLAIN), params, 4)
    self.assertEqual(found.loss.dtype, np.float64)
    self.assertEqual(found.score.dtype, np.float64)

  def test_several_labels(self):
    task, _ = a_task(several=True)
    outputs = jax.random.normal(KEY, (task.graph.num_nodes, K))
    mask = np.asarray(task.test)
    got = search.node_score(outputs, task.labels, task.test)
    want = oracle.f1_score(
      np.asarray(task.labels)[mask],
      np.asarray(outputs)[mask] > 0,
      average='micro',
    )
    self.assertAlmostEqual(float(got), want, places=6)
    loss = search.node_loss(outputs, task.labels, task.test)
    p = 1 / (1 + np.exp(-np.asarray(outputs, np.float64)[mask]))
    y = np.asarray(task.labels)[mask]
    want = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    self.assertAlmostEqual(float(loss), want, places=5)


class TrainerTest(parameterized.TestCase):
  def test_one_program_whoever_inherits(self):
    other = SPACE.encode([search.Layer(2, 'gat', 1, activation='linear')])
    both = np.stack([PLAIN, other])
    found, shared, epochs = trainer()(KEY, both)
    self.assertEqual(shared.tolist(), [[False], [False]])
    self.assertEqual(epochs.tolist(), [3, 3])
    picked = jax.tree.map(lambda x: x[0], found.params)
    ancestor = search.Ancestor(jnp.asarray(PLAIN), picked)
    size = trainer()._run._cache_size()
    more, shared, epochs = trainer()(
      jax.random.key(1),
      both,
      ancestor=ancestor,
      sharing=search.Sharing('constrained', 1),
    )
    self.assertEqual(shared.tolist(), [[True], [False]])
    self.assertEqual(epochs.tolist(), [1, 3])
    self.assertEqual(trainer()._run._cache_size(), size)
    *_, epochs = trainer()(
      KEY,
      both,
      ancestor=ancestor,
      sharing=search.Sharing('constrained', 100),
    )
    self.assertEqual(epochs.tolist(), [3, 3])
    # One further epoch from where the ancestor was, with a fresh memory.
    for r in range(2):
      own = jax.tree.map(lambda x, r=r: x[r], picked)
      want = train(TASK, jnp.asarray(PLAIN), own, 1)
      np.testing.assert_allclose(more.loss[0, r], want.loss, rtol=1e-5)

  def test_repeated_trainings(self):
    scores, tests = trainer().repeat(KEY, PLAIN, 5)
    self.assertEqual((scores.shape, tests.shape), ((5,), (5,)))
    first, *_ = trainer()(jax.random.fold_in(KEY, 0), np.stack([PLAIN] * 2))
    np.testing.assert_array_equal(scores[:4], np.ravel(first.score))


def walk(algorithm, rounds, state=None, start=0):
  state = algorithm.init(KEY) if state is None else state
  seen = []
  for n in range(start, rounds):
    state, metrics = algorithm.step(state, None, key=jax.random.fold_in(KEY, n))
    seen.append(metrics)
  return state, seen


class LoopTest(parameterized.TestCase):
  @parameterized.parameters(
    ('agnn(policy=tabular, classes_per_step=3)', 'constrained'),
    ('agnn(policy=recurrent(width=3), classes_per_step=3)', 'none'),
    ('evolution(population=4, tournament=2)', 'unconstrained'),
  )
  def test_nothing_is_trained_twice_and_the_best_is_kept(self, spec, rule):
    made = search.make_search(spec, SPACE, 1)
    algorithm = search.architecture_search(
      made, trainer(), sharing=search.Sharing(rule, 1)
    )
    state, seen = walk(algorithm, 4)
    rows = search.evaluated(SPACE, state)
    self.assertLen(rows, 8)
    self.assertLen({row['architecture'] for row in rows}, 8)
    scores = [row['score'] for row in rows]
    np.testing.assert_allclose(
      [m['score'] for m in seen],
      np.reshape(scores, (4, 2)).mean(1),
      rtol=1e-6,
    )
    best = int(np.argmax(scores))
    layers = SPACE.decode(search.best_table(state))
    self.assertEqual(
      search.write_architecture(layers), rows[best]['architecture']
    )
    params = algorithm.params(state)
    self.assertAlmostEqual(float(params['accuracy']), scores[best], places=6)
    self.assertAlmostEqual(
      float(params['test_accuracy']), rows[best]['test'], places=6
    )
    self.assertEqual(params['epochs'], 2 * sum(row['epochs'] for row in rows))
    # The weights that are kept are those of the best.
    weights = search.best_params(state, trainer())
    found = []
    for r in range(2):
      outputs = CHILDREN.network(search.best_table(state)).apply(
        CHILDREN.unpadded(
          jax.tree.map(lambda x, r=r: x[r], weights), search.best_table(state)
        ),
        TASK.graph,
        TASK.features,
      )
      found.append(search.node_score(outputs, TASK.labels, TASK.validation))
    self.assertAlmostEqual(float(np.mean(found)), scores[best], places=6)
    # From the middle it goes the same way.
    half, _ = walk(algorithm, 2)
    again, _ = walk(algorithm, 4, half, 2)
    jax.tree.map(np.testing.assert_array_equal, again, state)
    self.assertLen(search.evaluated(SPACE, state, after=3), 2)

  def test_what_is_exhausted_ends_quietly(self):
    # Three architectures in all.
    every = search.random_tables(jax.random.key(5), SPACE, 1, (3,))

    def propose(state, *, key):
      table = every[jax.random.randint(key, (), 0, 3)]
      chosen = jnp.ones(6, bool)
      return state + 1, search.Proposal(table, table, -jnp.inf, chosen)

    few = search.Search(
      lambda key: jnp.zeros(()), propose, lambda state, *_: state
    )
    algorithm = search.architecture_search(few, trainer(), max_repeats=20)
    state, _ = walk(algorithm, 3)
    self.assertLen(state['tables'], 3)
    self.assertLen(np.unique(state['tables'], axis=0), 3)
    self.assertGreaterEqual(state['repeats'], 20)
    fixed = search.architecture_search(
      search.fixed(SPACE, 1, 'layer(2, gcn, 1, sum, identity, linear)'),
      trainer(),
    )
    state, _ = walk(fixed, 3)
    self.assertLen(state['tables'], 1)
    self.assertEqual(state['repeats'], 0)

  def test_finalists(self):
    own = trainer()
    algorithm = search.architecture_search(search.random(SPACE, 1), own)
    state = algorithm.init(KEY)
    with self.assertRaisesRegex(ValueError, 'no evaluated table yet'):
      search.finalists(state, own, key=KEY)
    self.assertEqual(float(algorithm.params(state)['accuracy']), 0)
    state, _ = walk(algorithm, 2)
    found = search.finalists(
      state, own, num_finalists=3, num_trainings=4, num_tests=3, key=KEY
    )
    self.assertEqual(found['validation'].shape, (3, 4))
    self.assertEqual(found['test'].shape, (3,))
    order = np.argsort(-state['figures']['score'], kind='stable')[:3]
    winner = order[int(np.argmax(found['validation'].mean(1)))]
    np.testing.assert_array_equal(found['table'], state['tables'][winner])


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'labels': np.full(16, 3)}, ValueError, r'labels must be in \[0, 3\)'),
    ({'labels': np.zeros(5, int)}, ValueError, r'labels must have shape'),
    ({'labels': np.zeros(16)}, TypeError, 'labels must be integers'),
    ({'labels': np.full((16, 3), 2)}, ValueError, 'labels must be 0 or 1'),
    ({'train': np.zeros(16, bool)}, ValueError, 'train is empty'),
    ({'test': np.zeros(3, bool)}, ValueError, 'test must be bool of shape'),
    ({'test': np.arange(16) < 1}, ValueError, 'train and test overlap, in nod'),
    ({'test': np.arange(16) > 12}, ValueError, 'node 13, which is padding'),
    ({'num_classes': 0}, ValueError, 'num_classes must be at least 1'),
    ({'scale': np.nan}, ValueError, r'features\[0, 0\] is nan'),
    ({'scale': np.inf}, ValueError, r'features must be finite; features\[0, 0'),
  )
  def test_tasks(self, options, error, message):
    self.assertEqual(TASK.graph.num_nodes, 16)
    with self.assertRaisesRegex(error, message):
      a_task(**options)

  def test_warnings(self):
    with self.assertLogs(level='WARNING') as logs:
      a_task(num_classes=5)
    self.assertIn('class 3, 4 has no node to train on', logs.output[0])
    lonely = graphs.make_graph(np.zeros((0, 2), int), N)
    with self.assertLogs(level='WARNING') as logs:
      search.node_task(
        lonely,
        *TASK[1:3],
        num_classes=K,
        **{k: getattr(TASK, k) for k in ('train', 'validation', 'test')},
      )
    self.assertIn('no edges: every node hears itself alone', logs.output[0])

  @parameterized.parameters(
    ({'num_epochs': 0}, 'num_epochs must be at least 1'),
    ({'dropout': 1.0}, 'dropout must lie in'),
    ({'num_tables': 0}, 'num_tables must be at least 1'),
    ({'num_seeds': 0}, 'num_seeds must be at least 1'),
    ({'chunk': -1}, 'chunk must be at least 1'),
  )
  def test_trainers(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      trainer(**options)

  def test_other_numbers(self):
    with self.assertRaisesRegex(ValueError, 'tables must have shape'):
      trainer()(KEY, np.zeros((3, 1, 6), int))
    with self.assertRaisesRegex(ValueError, 'num_trainings must be at least'):
      trainer().repeat(KEY, PLAIN, 0)
    with self.assertRaisesRegex(ValueError, 'l2 must lie in'):
      search.child_optimizer(0.1, -1)
    with self.assertRaisesRegex(ValueError, 'warmup_epochs must be at least 1'):
      search.SHARING.make('constrained(warmup_epochs=0)')
    with self.assertRaisesRegex(TypeError, 'optimizer must be an optax'):
      search.Trainer(CHILDREN, TASK, 0.1)
    with self.assertRaisesRegex(ValueError, "no option 'warmup_epochs'"):
      search.SHARING.make('none(warmup_epochs=3)')

  def test_tables_of_another_space(self):
    good = np.stack([PLAIN, PLAIN])
    for wrong, error, message in (
      (good + 9, ValueError, r'tables\[0, 0, 0\]=9 is no hidden'),
      (good + 0.5, TypeError, 'tables must hold integers; got float64'),
    ):
      with self.assertRaisesRegex(error, message):
        trainer()(KEY, wrong)
    with self.assertRaisesRegex(ValueError, r'table\[0, 0\]=9 is no hidden'):
      trainer().repeat(KEY, PLAIN + 9, 2)
    with self.assertRaisesRegex(
      ValueError, r'\(2, 6\); the trainer takes \(1,'
    ):
      search.architecture_search(search.random(SPACE, 2), trainer())
    # Of one shape, but with more values.
    algorithm = search.architecture_search(
      search.fixed(search.SearchSpace(), 1, 'layer(256)'), trainer()
    )
    with self.assertRaisesRegex(ValueError, r'table\[0, 0\]=6 is no hidden'):
      walk(algorithm, 1)

  @parameterized.parameters(
    ('constrained', TypeError, "must be a Sharing; got the text 'constrained'"),
    (search.Sharing('always'), ValueError, "sharing.rule='always' is unknown"),
    (search.Sharing('none', 0), ValueError, 'warmup_epochs must be at least 1'),
  )
  def test_sharings(self, sharing, error, message):
    with self.assertRaisesRegex(error, message):
      search.architecture_search(
        search.random(SPACE, 1), trainer(), sharing=sharing
      )
    with self.assertRaisesRegex(error, message):
      trainer()(KEY, np.stack([PLAIN, PLAIN]), sharing=sharing)

  def test_who_does_not_fit(self):
    optimizer = search.child_optimizer()
    with self.assertRaisesRegex(ValueError, 'num_outputs=2 .* labels say 3'):
      search.Trainer(search.Children(SPACE, 1, F, 2), TASK, optimizer)
    with self.assertRaisesRegex(ValueError, r'num_inputs=5 .* \(16, 4\)'):
      search.Trainer(search.Children(SPACE, 1, 5, K), TASK, optimizer)
    with self.assertRaisesRegex(TypeError, 'children must be Children; got 3'):
      search.Trainer(3, TASK, optimizer)
    with self.assertRaisesRegex(ValueError, 'ancestor.params must make'):
      one = jax.tree.map(lambda x: x[:1], trainer().nobody.params)
      ancestor = search.Ancestor(jnp.asarray(PLAIN), one)
      trainer()(
        KEY,
        np.stack([PLAIN, PLAIN]),
        ancestor=ancestor,
        sharing=search.Sharing('constrained'),
      )
    with self.assertRaisesRegex(TypeError, 'trainer must be a Trainer'):
      search.architecture_search(search.random(SPACE, 1), None)

  @parameterized.parameters(
    (1.5, TypeError), (True, TypeError), (0, ValueError), ('3', TypeError)
  )
  def test_epochs(self, epochs, error):
    with self.assertRaisesRegex(error, 'num_epochs must be'):
      search.train_child(
        CHILDREN,
        TASK,
        PLAIN,
        trainer().nobody.params,
        key=KEY,
        optimizer=search.child_optimizer(),
        num_epochs=epochs,
      )

  @parameterized.parameters(
    ({'dataset': 'lesmis'}, 'dataset=lesmis has no labels'),
    ({'dataset': 'planetoid'}, 'pass data_dir'),
    ({'dataset': 'cora'}, "dataset='cora' is unknown"),
    ({'num_layers': 0}, 'num_layers must be at least 1'),
  )
  def test_problems(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      problems.graphs.architectures(**options)


if __name__ == '__main__':
  absltest.main()
