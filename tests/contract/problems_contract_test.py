# SPDX-License-Identifier: Apache-2.0
"""What every builder of `jaxdl.problems` keeps.

A case is one line: what makes the problem of seeds and a number of clients. A
new builder needs no more.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import agents, experiment, operators, problems
from jaxdl.core import types
from jaxdl.experiment import config as config_lib, runner
from jaxdl.problems import detection

N, SEEDS = 3, (2, 5)
OPERATORS = 'antiderivative(resolution=6)'


def functions(seeds, num_clients):
  del num_clients  # Functions are one client's.
  drawn = problems.functions(
    OPERATORS, num_train=6, num_test=4, batch_size=3, seeds=seeds
  )
  return drawn.problem(operators.deeponet((4,), (4,)), loss='mse')


def texts(seeds, num_clients):
  return problems.text(
    'sentiment(num_texts=30, length=16, width=4, depth=1, num_heads=1)',
    pretraining='adam(steps=0, text_bytes=100)',
    num_clients=num_clients,
    batch_size=2,
    eval_batch_size=100,
    seeds=seeds,
  )


def families(seeds, num_clients):
  del num_clients  # Examples are one client's.
  return problems.amortized.problem(
    'bayes_digits(depth=0, gamma_dim=1)',
    'mip(hidden_sizes=2)',
    batch_size=3,
    per_example=True,
    num_gammas=2,
    seeds=seeds,
  )


def games(seeds, num_clients):
  del num_clients  # Learners play for themselves.
  return problems.games.games(*GAME, num_episodes=2, seeds=seeds)


def game():
  env = agents.make_game('simple_spread(num_agents=2, max_steps=3)')
  return env, agents.actor_critic(env, hidden_sizes=(3,))


GAME = game()


def drawn(builder, *args, **options):
  """A case: a builder with what makes it small."""
  return lambda seeds, num_clients: builder(
    *args, num_clients=num_clients, seeds=seeds, **options
  )


SMALL = {'network': 'mlp(3)'}
CASES = {
  'classification': drawn(problems.classification, 'wine', **SMALL),
  'classification_steps': drawn(
    problems.classification, 'wine', num_batches=2, batch_size=4, **SMALL
  ),
  'clustered': drawn(
    problems.clustered, 'wine', split=((0,), (1,), (2,)), **SMALL
  ),
  'combinatorial': drawn(
    problems.combinatorial,
    ('tsp', 'tsp(distribution=uniform)'),
    num_nodes=6,
    size=3,
    divider='none',
    conqueror='icam(width=4, depth=1, hidden=4)',
    training={
      'learn': 'conqueror',
      'num_samples': 1,
      'num_rollouts': 2,
      'num_stages': 1,
    },
    num_test=1,
    num_stages=0,
    baseline=None,
  ),
  'mixtures': drawn(problems.mixtures, 'wine', batch_shape=(2, 3), **SMALL),
  'mixtures_held': drawn(
    problems.mixtures, 'wine', sampling='fixed(examples_per_client=9)', **SMALL
  ),
  'graphs': drawn(
    problems.graphs.node_classification,
    'block_model(num_nodes=30, num_features=3)',
    'gcn(2, dropout=0.0)',
    partition='iid',
  ),
  'quadratics': drawn(problems.quadratics, gradient_noise=0.1),
  'parabolas': drawn(problems.parabolas, start=3.0),
  'vectors': drawn(problems.vectors, dimension=4),
  'operator_clients': drawn(
    problems.operator_clients,
    OPERATORS,
    'deeponet((4,), (4,))',
    functions_per_client=4,
    num_test=3,
    batch_size=2,
  ),
  'episodes': drawn(
    problems.episodes,
    'glyphs(num_classes=12, size=8)',
    embedding='mlp((), 3)',
    num_base=8,
    ways=2,
    shots=2,
    queries=2,
    test_episodes=2,
  ),
  'scenes': drawn(
    detection.scenes,
    'shapes(image_size=16)',
    network='grounding(width=8, num_queries=4, decoder_layers=1, num_heads=2, '
    'hidden=8, channels=4, strides=(4, 2))',
    batch_size=2,
    num_test=3,
  ),
  'amortized': families,
  'functions': functions,
  'games': games,
  'text': texts,
}
ALL = parameterized.named_parameters(*((name, name) for name in CASES))


@functools.cache
def made(name, seeds=SEEDS, num_clients=N):
  return CASES[name](seeds, num_clients)


def first(tree, place=0):
  return jax.tree.map(lambda x: x[place], tree)


def task_of(problem, data):
  task = problem.task
  return task if isinstance(task, types.Task) else task(data)


def descent(problem, name):
  """One model for all that follows the mean gradient."""
  if name == 'games':
    # There is no loss of a batch: agents play.
    env, policy = GAME
    small = {'num_envs': 2, 'num_steps': 2, 'num_minibatches': 1}
    return lambda data: agents.ppo(
      env.replace(params=data['params']),
      policy,
      optimizer=optax.sgd(0.1),
      **small,
    )

  def make(data):
    task = task_of(problem, data)
    optimizer = optax.sgd(0.1)

    def init(key):
      params = task.init(key)
      return params, optimizer.init(params)

    def step(state, cohort, *, key):
      params, opt_state = state
      batch = first(cohort.data)
      if has_several(problem, batch):
        batch = first(batch)
      loss, grads = jax.value_and_grad(lambda p: task.loss(p, batch, key=key))(
        params
      )
      change, opt_state = optimizer.update(grads, opt_state, params)
      return (optax.apply_updates(params, change), opt_state), {'loss': loss}

    return types.Algorithm(init, step, lambda state: state[0])

  return make


def has_several(problem, batch):
  """Whether a client's data are several batches."""
  return isinstance(batch, dict) and batch.get('mask', jnp.ones(1)).ndim == 2


class ProblemsTest(parameterized.TestCase):
  def test_every_builder_is_here(self):
    builders = {
      'classification',
      'episodes',
      'clustered',
      'combinatorial',
      'functions',
      'games',
      'mixtures',
      'operator_clients',
      'quadratics',
      'text',
      'vectors',
    }
    self.assertContainsSubset(builders, CASES)

  @ALL
  def test_cohorts_are_functions_of_key_data_and_round(self, name):
    problem = made(name)
    data, key = first(problem.data), jax.random.key(7)
    draw = jax.jit(problem.cohort)
    one = draw(key, data, jnp.asarray(3))
    for other in (problem.cohort(key, data, 3), draw(key, data, 3)):
      jax.tree.map(np.testing.assert_array_equal, one, other)
    self.assertIsInstance(one, types.Cohort)
    n = len(one.client_ids)
    self.assertEqual(one.client_ids.dtype, jnp.int32)
    self.assertEqual((one.mask.shape, one.mask.dtype), ((n,), bool))
    self.assertEqual((one.weights.shape, one.weights.dtype), ((n,), 'float32'))
    for leaf in jax.tree.leaves(one.data):
      self.assertEqual(leaf.shape[0], n)
      self.assertNotEqual(leaf.dtype, np.float64)

  @ALL
  def test_seeds_side_by_side_are_those_alone(self, name):
    both, alone = made(name), made(name, seeds=SEEDS[1:])
    self.assertEqual((both.seeds, alone.seeds), (SEEDS, SEEDS[1:]))
    key = jax.random.key(1)
    draws = [
      p.cohort(key, first(p.data, k), 1) for p, k in ((both, 1), (alone, 0))
    ]
    for leaf in jax.tree.leaves(both.data):
      self.assertEqual(leaf.shape[0], len(SEEDS))
    a, b = (jax.tree.leaves(d.data) for d in draws)
    shapes = [x.shape for x in a]
    if shapes == [x.shape for x in b]:
      jax.tree.map(np.testing.assert_array_equal, *draws)

  @ALL
  def test_models_are_measured_for_each_seed(self, name):
    problem = made(name)
    n = problem.num_clients or 1
    keys = jax.random.split(jax.random.key(0), len(SEEDS))
    models = [
      task_of(problem, first(problem.data, k)).init(key)
      for k, key in enumerate(keys)
    ]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *models)
    found = problem.evaluate(stacked)
    self.assertNotEmpty(found)
    for metric, values in found.items():
      self.assertEqual(np.shape(values), (len(SEEDS),), metric)
    if problem.evaluate_clients is None:
      return
    # Equal models: every mean over them is the value of one.
    everywhere = jax.tree.map(
      lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], n, *x.shape[1:])),
      stacked,
    )
    each = problem.evaluate_clients(everywhere)
    for metric, values in each.items():
      self.assertEqual(np.shape(values), (len(SEEDS),), metric)
      if metric in found and metric != 'consensus':
        np.testing.assert_allclose(
          values, found[metric], rtol=1e-5, atol=1e-6, err_msg=metric
        )

  @ALL
  def test_one_client(self, name):
    problem = made(name, seeds=(4,), num_clients=1)
    cohort = problem.cohort(jax.random.key(0), first(problem.data), 1)
    self.assertLen(cohort.client_ids, 1)
    np.testing.assert_allclose(cohort.weights, 1.0)

  @ALL
  def test_train_is_compare_with_that_seed(self, name):
    problem = made(name, seeds=(4,))
    maker = descent(problem, name)
    config = config_lib.BaseConfig(seeds=(4,), num_rounds=3, eval_every=2)
    state = runner.run(
      experiment.compare(config, problem, {'a': maker}), config
    ).state['a']
    algorithm = maker(first(problem.data))
    alone, history = experiment.train(
      algorithm,
      problem,
      num_rounds=3,
      key=jax.random.key(4),
      eval_every=3,
    )
    jax.tree.map(
      lambda x, y: np.testing.assert_array_equal(x[0], y), state, alone
    )
    told = 'loss' if 'loss' in history else 'policy_loss'
    self.assertLen(history[told], 3)
    self.assertTrue(np.isfinite(history[told]).all())


if __name__ == '__main__':
  absltest.main()
