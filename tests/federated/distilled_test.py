# SPDX-License-Identifier: Apache-2.0
"""Clients that send predictions: consensus, channel, and what travels."""

import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from scipy import special

from experiments import federated_training
from jaxdl import federated, local, networks, problems
from jaxdl.core import clients as clients_lib, types
from jaxdl.federated import distilled, server

N, P, K, D = 8, 6, 3, 2
RNG = np.random.default_rng(0)
PUBLIC = RNG.normal(size=(P, D)).astype(np.float32)
NETWORK = networks.mlp(4, K)
TASK = networks.classification(NETWORK, jnp.zeros((1, D)), num_classes=K)
WORK = local.LocalWork(optax.sgd(0.3), num_steps=2)
COHORT = types.Cohort(
  client_ids=jnp.arange(N),
  data={
    'inputs': RNG.normal(size=(N, 5, D)).astype(np.float32),
    'labels': RNG.integers(K, size=(N, 5)),
  },
  mask=jnp.ones(N, bool),
  weights=jnp.asarray(np.arange(1.0, N + 1) / 36, jnp.float32),
)
ABSENT = COHORT.replace(mask=jnp.zeros(N, bool))


@functools.cache
def _algorithm(spec, clients=N):
  first = spec.partition('@')[0]
  small = distilled.DISTILLED.changed(first, num_public=P)
  spec = spec.replace(first, small, 1)
  method, channel = distilled.make_variant(spec, TASK, WORK, PUBLIC)
  return federated.federate(method, clients, channel)


@functools.cache
def _step(spec):
  algorithm = _algorithm(spec)
  return jax.jit(lambda s, c: algorithm.step(s, c, key=jax.random.key(1)))


def _start(spec):
  return _algorithm(spec).init(jax.random.key(0))


def _logits(models):
  """Centered predictions on the public inputs, float64[N, P, K]."""
  z = np.asarray(jax.vmap(NETWORK.apply, (0, None))(models, PUBLIC), float)
  return z - z.mean(axis=-1, keepdims=True)


def _near(got, want, tol=1e-5):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), got, want
  )


class FedmdTest(parameterized.TestCase):
  def test_the_consensus_is_the_weighted_mean_of_logits(self):
    state = _start('fedmd')
    for _ in range(2):
      state, _ = _step('fedmd')(state, COHORT)
      models = _algorithm('fedmd').params(state)
      weights = np.asarray(COHORT.weights, float)
      want = np.tensordot(weights, _logits(models), axes=1)
      _near(state.memory['consensus'], want)

  def test_the_first_round_is_training_alone(self):
    state, _ = _step('fedmd')(_start('fedmd'), COHORT)
    alone = federated.make_algorithm('local_only', TASK, N, work=WORK)
    want, _ = alone.step(
      alone.init(jax.random.key(0)), COHORT, key=jax.random.key(1)
    )
    _near(_algorithm('fedmd').params(state), alone.params(want))

  def test_clients_come_together(self):
    spread = {}
    for spec in ('fedmd', 'fedmd(distill_steps=0)'):
      state = _start(spec)
      for _ in range(8):
        state, _ = _step(spec)(state, COHORT)
      found = _logits(_algorithm(spec).params(state))
      spread[spec] = np.mean((found - found.mean(axis=0)) ** 2)
    self.assertLess(spread['fedmd'], 0.5 * spread['fedmd(distill_steps=0)'])

  @parameterized.parameters('median', 'trimmed_mean(num_trimmed=2)')
  def test_a_rule_makes_the_consensus(self, rule):
    spec = f'fedmd@channel(aggregator={rule})'
    state, _ = _step(spec)(_start(spec), COHORT)
    found = np.sort(_logits(_algorithm(spec).params(state)), axis=0)
    half = slice(3, 5) if rule == 'median' else slice(2, 6)
    _near(state.memory['consensus'], found[half].mean(axis=0))

  def test_a_median_withstands_who_lies_about_predictions(self):
    error = {}
    for rule in ('mean', 'median'):
      spec = (
        f'fedmd@channel(aggregator={rule}, num_byzantine=2, '
        'attack=sign_flip(scale=50.0))'
      )
      state, _ = _step(spec)(_start(spec), COHORT)
      honest = _logits(_algorithm(spec).params(state))[: N - 2].mean(axis=0)
      error[rule] = np.abs(state.memory['consensus'] - honest).max()
    self.assertLess(10 * error['median'], error['mean'])

  def test_messages_are_clipped_and_compressed(self):
    spec = 'fedmd@channel(privacy=central(clip=0.01, noise_multiplier=0.0))'
    state, _ = _step(spec)(_start(spec), COHORT)
    self.assertLessEqual(np.linalg.norm(state.memory['consensus']), 0.01001)
    spec = 'fedmd@channel(compressor=top_k(keep=0.2))'
    state, metrics = _step(spec)(_start(spec), COHORT)
    full = _step('fedmd')(_start('fedmd'), COHORT)[1]['megabytes_up']
    self.assertLess(metrics['megabytes_up'], 0.6 * full)


class FeddfTest(parameterized.TestCase):
  def test_the_server_follows_the_mean_of_predictions(self):
    spec = 'feddf(distill_steps=200, temperature=2)'
    state = _start(spec)
    start = _logits(jax.tree.map(lambda x: x[None], state.params))[0]
    after, _ = _step(spec)(state, COHORT)
    # What clients came to, without a server.
    alone = federated.make_algorithm('local_only', TASK, N, work=WORK)
    theirs, _ = alone.step(
      alone.init(jax.random.key(0)), COHORT, key=jax.random.key(1)
    )
    weights = np.asarray(COHORT.weights, float)
    target = np.tensordot(weights, _logits(alone.params(theirs)), axes=1)
    kl = lambda z: special.rel_entr(
      special.softmax(target / 2, axis=-1), special.softmax(z / 2, axis=-1)
    ).sum(axis=-1)
    end = _logits(jax.tree.map(lambda x: x[None], after.params))[0]
    self.assertLess(kl(end).mean(), 0.2 * kl(start).mean())

  def test_without_steps_nothing_moves(self):
    spec = 'feddf(distill_steps=0)'
    state, _ = _step(spec)(_start(spec), COHORT)
    _near(state.params, _start(spec).params, 0)


class BothTest(parameterized.TestCase):
  @parameterized.parameters('fedmd', 'feddf')
  def test_a_message_is_as_large_as_the_public_set(self, spec):
    _, metrics = _step(spec)(_start(spec), COHORT)
    self.assertAlmostEqual(
      float(metrics['megabytes_up']), N * P * K * 4 / 1e6, places=9
    )

  @parameterized.parameters('fedmd', 'feddf')
  def test_without_clients_nothing_moves(self, spec):
    state, _ = _step(spec)(_start(spec), COHORT)
    after, _ = _step(spec)(state, ABSENT)
    models = _algorithm(spec).params
    jax.tree.map(np.testing.assert_array_equal, models(after), models(state))
    first, _ = _step(spec)(_start(spec), ABSENT)
    jax.tree.map(
      np.testing.assert_array_equal, models(first), models(_start(spec))
    )

  @parameterized.parameters('fedmd', 'feddf')
  def test_eight_devices(self, spec):
    mesh = clients_lib.clients_mesh(8)
    algorithm = _algorithm(spec, clients_lib.Clients(N, mesh=mesh))
    state, want = algorithm.init(jax.random.key(0)), _start(spec)
    step = jax.jit(algorithm.step)
    for _ in range(2):
      state, _ = step(state, COHORT, key=jax.random.key(1))
      want, _ = _step(spec)(want, COHORT)
    _near((state.params, state.memory), (want.params, want.memory), 1e-4)

  @parameterized.parameters('fedmd', 'feddf')
  def test_says_what_is_wrong(self, name):
    make = distilled.make_variant
    with self.assertRaisesRegex(ValueError, f'{name} needs public inputs'):
      make(name, TASK, WORK)
    with self.assertRaisesRegex(ValueError, 'num_public=200 exceeds the 6'):
      make(f'{name}(num_public=200)', TASK, WORK, PUBLIC)
    for option, message in (
      ('num_public=0', 'num_public must be at least 1'),
      ('temperature=0', 'temperature must lie in'),
      ('weights=harsh', "'harsh' is unknown"),
      ('distill_steps=-1', 'distill_steps must be at least 0'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make(f'{name}({option})', TASK, WORK, np.zeros((200, D), np.float32))
    numbers = networks.regression(NETWORK, jnp.zeros((1, D)))
    with self.assertRaisesRegex(ValueError, 'the task has no logits'):
      make(name, numbers, WORK, PUBLIC)

  def test_other_variants_are_those_of_a_server(self):
    method, channel = distilled.make_variant('scaffold', TASK, WORK)
    self.assertEqual((method.name, channel), ('scaffold', server.Channel()))
    self.assertEqual(distilled.num_public(['fedavg', 'scaffold']), 0)


class PublicExamplesTest(parameterized.TestCase):
  def test_nobody_holds_them(self):
    make = functools.partial(
      problems.clients, 'wine', num_clients=3, sampling='full', local_test=0.0,
      partition='iid', network='logistic_regression',
    )  # fmt: skip
    problem, whole = make(num_public=20), make()
    public = np.asarray(problem.test['public'])
    held = lambda p: np.asarray(p.data[0]['inputs'])[np.asarray(p.data[1])]
    rows = {x.tobytes() for x in public}
    self.assertLen(rows, 20)
    self.assertEmpty(rows & {x.tobytes() for x in held(problem)})
    self.assertContainsSubset(rows, {x.tobytes() for x in held(whole)})
    self.assertEqual(int(problem.data[2].sum()), int(whole.data[2].sum()) - 20)
    self.assertIsNone(whole.test['public'])
    with self.assertRaisesRegex(ValueError, 'leaves 2 of the 133'):
      make(num_public=131)
    with self.assertRaisesRegex(ValueError, 'partition=natural deals none'):
      make(num_public=1, partition='natural')


class BinaryTest(parameterized.TestCase):
  def test_stands_beside_methods_that_send_weights(self):
    config = federated_training.Config(
      variants=('fedavg', 'fedmd(num_public=9)', 'feddf(num_public=20)'),
      dataset='wine',
      num_clients=4,
      partition='iid',
      sampling='full',
      network='mlp(4)',
      num_rounds=2,
      eval_every=1,
    )
    rows = federated_training.run(config).rows
    last = {
      r['variant']: r for r in rows if (r['split'], r['step']) == ('test', 2)
    }
    sent = {name: row['megabytes'] for name, row in last.items()}
    self.assertAlmostEqual(sent['fedmd(num_public=9)'], 2 * 4 * 9 * 3 * 4e-6, 7)
    self.assertAlmostEqual(sent['feddf(num_public=20)'], 2 * 4 * 60 * 4e-6, 7)
    for row in last.values():
      self.assertBetween(row['ece'], 0, 1)
      self.assertBetween(row['brier'], 0, 2)
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    self.assertNotEmpty(federated_training.draw(config, rows, folder))
    with self.assertRaisesRegex(ValueError, "fedmd has no option 'nu'"):
      federated_training.Config(variants=('fedmd(nu=2)',))


class BadArgumentsTest(absltest.TestCase):
  def test_public_inputs(self):
    make = lambda public: distilled.fedmd(TASK, WORK, public, num_public=P)
    with self.assertRaisesRegex(ValueError, 'exceeds the 0 public inputs'):
      make(3.0)
    with self.assertRaisesRegex(TypeError, 'public must hold real numbers'):
      make('inputs')
    with self.assertRaisesRegex(ValueError, 'public must be finite'):
      make(PUBLIC * np.nan)

  def test_names(self):
    with self.assertRaisesRegex(TypeError, 'work must be a local.LocalWork'):
      distilled.fedmd(TASK, 3, PUBLIC, num_public=P)
    for name in ('fedavg', 'scaffold', 'apfl', 'q_fedavg', 'pruning_game'):
      with self.assertRaisesRegex(TypeError, 'work must be a local.LocalWork'):
        server.METHODS.make(name, TASK, 3)
    with self.assertRaisesRegex(ValueError, "distill_optimizer='foo' is unkno"):
      distilled.feddf(TASK, WORK, PUBLIC, num_public=P, distill_optimizer='foo')
    with self.assertRaisesRegex(TypeError, 'specs must be a sequence'):
      distilled.num_public('fedmd')
    plain = networks.regression(NETWORK, jnp.zeros((1, D)))
    with self.assertRaisesRegex(ValueError, 'the task has no logits'):
      distilled.public_logits(plain, plain.init(jax.random.key(0)), PUBLIC)


if __name__ == '__main__':
  absltest.main()
