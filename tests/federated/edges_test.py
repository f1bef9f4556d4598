# SPDX-License-Identifier: Apache-2.0
"""Rounds at the edge: nobody there, padding, two models, what is no channel."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from experiments import federated_training
from jaxdl import federated, local, problems
from jaxdl.core import types
from jaxdl.federated import ranks, server

# A parabola per client, around what it holds.
TASK = types.Task(
  init=lambda key: jnp.array([1.0, -2.0]),
  loss=lambda w, batch, key=None: jnp.mean((w[None] - batch['x']) ** 2),
  evaluate=lambda w, batch: {},
)


def cohort(mask=(True, True, True), scale=1.0):
  m = len(mask)
  x = jnp.arange(2.0 * m).reshape(m, 1, 2) * scale
  return types.Cohort(
    client_ids=jnp.arange(m),
    data={'x': x},
    mask=jnp.array(mask),
    weights=jnp.array([0.5, 0.3, 0.2])[:m],
  )


class PrivateRoundsTest(parameterized.TestCase):
  @parameterized.parameters('fedavg', 'scaffold', 'feddyn', 'mime_lite')
  def test_noise_alone_moves_an_empty_round(self, name):
    channel = server.Channel(
      privacy='central(clip=1e-6, noise_multiplier=1e6)', num_expected=2.0
    )
    work = local.LocalWork('sgd(0.1, momentum=0.9)')
    algorithm = server.make_algorithm(name, TASK, 3, work=work, channel=channel)
    start = algorithm.init(jax.random.key(0))
    step = jax.jit(algorithm.step)
    key = jax.random.key(1)
    empty, _ = step(start, cohort((False, False, False)), key=key)
    some, _ = step(start, cohort((True, False, False)), key=key)
    for a, b, c in zip(
      *(jax.tree.leaves((s.params, s.memory)) for s in (empty, some, start)),
      strict=True,
    ):
      # Whether anybody came moves it by the bound, 1e-6; the noise by one.
      np.testing.assert_allclose(a, b, atol=1e-4)
      self.assertGreater(np.abs(np.asarray(a) - c).max(), 1e-2)

  def test_samples_that_epsilon_does_not_know(self):
    server.check_private('central(clip=1.0)', 'poisson(0.1)')
    server.check_private('central(clip=1.0)', 'uniform(3)')
    server.check_private('local(clip=1.0)', 'uniform(3, weighting=ratio)')
    for sampling, message in (
      ('uniform(3, weighting=ratio)', "weighting='ratio' is not private"),
      ('poisson(0.1, size=4)', 'size 4 may drop clients'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        server.check_private('adaptive(initial_clip=1.0)', sampling)


class PaddingTest(parameterized.TestCase):
  @parameterized.parameters(
    ('uniform(num_sampled=3, size=6)', 3, 0),
    ('full(size=12)', 6, 0),
    ('multinomial(num_sampled=3, size=5)', 3, 0),
    ('poisson(rate=0.5)', 3, 0),
    ('uniform(num_sampled=3, size=6)', 3, 2),
    ('uniform(num_sampled=2, size=6)', 2, 3),
    ('full(size=12)', 6, 2),
  )
  def test_rows_that_are_nobody_do_not_count(self, sampling, expected, bad):
    problem = problems.clients(
      'wine',
      partition='iid',
      network='logistic_regression',
      num_clients=6,
      sampling=sampling,
      num_byzantine=bad,
    )
    self.assertEqual(problem.test['num_expected'], expected)
    f = problem.test['num_byzantine']
    self.assertEqual(f, max(1, round(expected * bad / 6)) if bad else 0)
    data = jax.tree.map(lambda x: x[0], problem.data)
    drawn = problem.cohort(jax.random.key(0), data, 0)
    self.assertLen(drawn.mask, problem.test['cohort_size'])
    if not sampling.startswith('poisson'):
      self.assertEqual(int(drawn.mask.sum()), expected)
    if bad:
      ids = np.asarray(drawn.client_ids)[np.asarray(drawn.mask)]
      self.assertEqual(int((ids >= 6 - bad).sum()), f)


class MethodsTest(parameterized.TestCase):
  @parameterized.parameters('apfl', 'ditto(pull=0.3)')
  def test_the_shared_model_is_that_of_fedavg(self, name):
    # An optimizer that looks at all numbers at once.
    optimizer = optax.chain(optax.clip_by_global_norm(0.3), optax.sgd(0.1))
    work = local.LocalWork(optimizer, num_steps=3)
    found = []
    for spec in (name, 'fedavg'):
      algorithm = server.make_algorithm(spec, TASK, 3, work=work)
      state = algorithm.init(jax.random.key(0))
      state, _ = jax.jit(algorithm.step)(state, cohort(), key=jax.random.key(1))
      found.append(state.params)
    np.testing.assert_allclose(*found, rtol=1e-6)

  def test_memory_keeps_its_type_in_double_precision(self):
    with jax.enable_x64(True):
      algorithm = server.make_algorithm(
        'agnostic', TASK, 3, work=local.LocalWork()
      )
      state = algorithm.init(jax.random.key(0))
      step = jax.jit(algorithm.step)
      for _ in range(2):
        after, _ = step(state, cohort(), key=jax.random.key(1))
        self.assertEqual(after.memory.dtype, state.memory.dtype)
        state = after
      self.assertEqual(step._cache_size(), 1)

  def test_a_mean_in_brackets_is_the_mean(self):
    for text in ('mean', ' mean ', 'mean()', 'mean( ) '):
      self.assertTrue(server.Channel(aggregator=text).is_plain)
    for text in ('median', 'nnm+mean()', 'mean(x)'):
      self.assertFalse(server.Channel(aggregator=text).is_plain)

  def test_schedules_of_servers_know_the_run(self):
    spec = 'fedavg(server_optimizer=sgd(1.0, schedule=steps(at=0.5)))'
    work = local.LocalWork()
    with self.assertRaisesRegex(ValueError, 'needs num_steps'):
      server.make_method(spec, TASK, work)
    method = server.make_method(spec, TASK, work, num_rounds=4)
    self.assertEqual(method.name, 'fedavg')

  def test_optimizers_that_a_method_has_no_use_for(self):
    federated.check_optimizer('adam(0.1)', ('fedavg', 'scaffold@channel'))
    for optimizer, spec, message in (
      ('adam(0.1)', 'fednova', 'choose sgd'),
      ('adagrad(0.1)', 'q_fedavg(q=1.0)', 'choose sgd'),
      ('sgd(0.1, schedule=cosine)', 'fedavg@channel', 'see'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        federated.check_optimizer(optimizer, ('fedsgd', spec))

  def test_ranks_are_of_whole_passes(self):
    for work, name in (
      (local.LocalWork(batch_size=2, num_steps=1), 'num_steps=1'),
      (local.LocalWork(batch_size=2, stragglers=0.5), 'stragglers=0.5'),
    ):
      with self.assertRaisesRegex(ValueError, f'{name}.*whole passes'):
        ranks.make_ranked('frl', None, None, 3, work)


class BinaryTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'variants': ('fedavg@channel(attack = zero)',)}, 'num_byzantine=0: say'),
    (
      {'variants': ('fedavg@channel(num_byzantine=3)',), 'num_byzantine': 2},
      'told by the flag num_byzantine=2',
    ),
    (
      {'channel': 'channel(attack=zero, num_byzantine=2)', 'num_byzantine': 2},
      'told by the flag num_byzantine=2',
    ),
    ({'variants': ('fedavg', 'fedavg()')}, 'variants must differ'),
    ({'variants': ('fednova',), 'optimizer': 'adam(0.1)'}, 'choose sgd'),
    (
      {
        'channel': 'channel(privacy=central(clip=1.0))',
        'sampling': 'poisson(0.1, size=3)',
      },
      'may drop clients',
    ),
  )
  def test_what_would_not_be_heeded_is_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      federated_training.Config(**options)
    federated_training.Config(variants=('fedavg@channel(attack=None)',))


if __name__ == '__main__':
  absltest.main()
