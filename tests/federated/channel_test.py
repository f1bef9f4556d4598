# SPDX-License-Identifier: Apache-2.0
"""What happens to messages on their way: rules, attacks, privacy, sums."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import aggregators, local
from jaxdl.core import types
from jaxdl.federated import server

N, D = 6, 3


def _loss(params, batch, *, key=None):
  del key
  square = jnp.sum((params['w'][None] - batch['inputs']) ** 2, axis=-1)
  return jnp.sum(batch['mask'] * square) / jnp.sum(batch['mask']) / 2


TASK = types.Task(lambda key: {'w': jnp.zeros(D)}, _loss, lambda p, b: {})
WORK = local.LocalWork(optax.sgd(0.5), num_steps=1)
# One step of 0.5 towards the client's own point.
POINTS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
DELTAS = POINTS / 2


def _cohort(mask=None, weights=None):
  mask = np.ones(N, bool) if mask is None else np.asarray(mask)
  return types.Cohort(
    client_ids=jnp.arange(N),
    data={'inputs': jnp.asarray(POINTS)[:, None], 'mask': jnp.ones((N, 1))},
    mask=jnp.asarray(mask),
    weights=jnp.full(N, 1 / N) if weights is None else jnp.asarray(weights),
  )


def _round(channel, cohort=None, method=None):
  method = method or server.fedavg(TASK, WORK)
  algorithm = server.federate(method, N, channel)
  state = algorithm.init(jax.random.key(0))
  cohort = _cohort() if cohort is None else cohort
  return jax.jit(algorithm.step)(state, cohort, key=jax.random.key(1))


class ChannelTest(parameterized.TestCase):
  @parameterized.parameters('median', 'trimmed_mean(num_trimmed=1)', 'krum')
  def test_any_rule(self, spec):
    state, _ = _round(server.Channel(aggregator=spec, num_byzantine=1))
    rule = aggregators.make_aggregator(spec, num_clients=N, num_byzantine=1)
    x = {'w': jnp.asarray(DELTAS)}
    want, _ = rule.apply(x, rule.init({'w': x['w'][0]}), key=jax.random.key(0))
    np.testing.assert_allclose(state.params['w'], want['w'], atol=1e-6)

  def test_rules_do_not_see_who_is_away(self):
    mask = np.arange(N) != 2
    state, metrics = _round('median', _cohort(mask))
    np.testing.assert_allclose(
      state.params['w'], np.median(DELTAS[mask], axis=0), atol=1e-6
    )
    self.assertEqual(float(metrics['num_clients']), N - 1)

  def test_the_last_rows_attack(self):
    channel = server.Channel(attack='sign_flip', num_byzantine=2)
    state, metrics = _round(channel)
    mean = DELTAS[:4].mean(0)
    np.testing.assert_allclose(
      state.params['w'], (4 * mean - 2 * mean) / N, atol=1e-6
    )
    honest = np.square(DELTAS[:4] - mean).sum(1).mean()
    gap = np.square(np.asarray(state.params['w']) - mean).sum()
    np.testing.assert_allclose(metrics['error'], gap / honest, rtol=1e-4)

  @parameterized.parameters(
    ('median', 'sign_flip'), ('mean', 'ipm'), ('trimmed_mean', 'alie(scale=1)')
  )
  def test_adversaries_by_id_are_those_of_the_last_rows(self, rule, attack):
    parts = {'aggregator': rule, 'attack': attack}
    told = server.Channel(num_malicious=2, explain=True, **parts)
    algorithm = server.federate(server.fedavg(TASK, WORK), N, told)
    step = jax.jit(algorithm.step)
    run = lambda cohort: step(
      algorithm.init(jax.random.key(0)), cohort, key=jax.random.key(1)
    )
    whole = _cohort()
    take = lambda rows: jax.tree.map(lambda x: x[jnp.asarray(rows)], whole)
    for ids in ([3, 0, 5, 4, 1, 2], [3, 4, 5, 2, 3, 0], [5, 4, 3, 2, 3, 4]):
      bad = sum(i < 2 for i in ids)
      last = [i for i in ids if i > 1] + [i for i in ids if i < 2]
      fixed = server.Channel(num_byzantine=bad, explain=True, **parts)
      state, metrics = run(take(ids))
      want, seen = _round(fixed, take(last))
      np.testing.assert_allclose(state.params['w'], want.params['w'], atol=1e-6)
      np.testing.assert_allclose(metrics['error'], seen['error'], rtol=1e-5)
      np.testing.assert_allclose(metrics['loss'], seen['loss'], rtol=1e-5)
      self.assertEqual(int(metrics['num_malicious']), bad)
      order = np.argsort(np.array(ids) < 2, kind='stable')
      np.testing.assert_allclose(
        metrics['weights'][order], seen['weights'], atol=1e-6
      )
    self.assertEqual(step._cache_size(), 1)
    # Who is away does not attack; of more than F the first are honest.
    mask = np.array([True, False, True, True, True, True])
    _, metrics = run(take([3, 0, 5, 4, 1, 2]).replace(mask=jnp.asarray(mask)))
    self.assertEqual(int(metrics['num_malicious']), 1)
    few = server.Channel(num_malicious=2, num_byzantine=1, **parts)
    state, _ = _round(few, take([0, 3, 1, 5, 4, 2]))
    want, _ = _round(
      server.Channel(num_byzantine=1, **parts), take([3, 5, 4, 2, 0, 1])
    )
    np.testing.assert_allclose(state.params['w'], want.params['w'], atol=1e-6)

  def test_data_of_adversaries_by_id(self):
    def loss(params, batch, *, key=None):
      del key
      return jnp.mean((params['w'][:1] - batch['labels']) ** 2)

    task = types.Task(lambda key: {'w': jnp.zeros(1)}, loss, lambda p, b: {})
    channel = server.Channel(
      attack='label_flip(num_classes=5)', num_malicious=1
    )
    algorithm = server.federate(server.fedavg(task, WORK), 3, channel)
    cohort = types.Cohort(
      client_ids=jnp.array([1, 0, 2]),
      data={'labels': jnp.array([[0], [1], [2]])},
      mask=jnp.ones(3, bool),
      weights=jnp.full(3, 1 / 3),
    )
    state, _ = algorithm.step(
      algorithm.init(jax.random.key(0)), cohort, key=jax.random.key(1)
    )
    # Of five classes 1 becomes 3; others stay.
    np.testing.assert_allclose(state.params['w'], (0 + 3 + 2) / 3, rtol=1e-6)

  def test_leaves_of_several_kinds_by_id(self):
    start = {'w': jnp.zeros(D), 'half': jnp.zeros(2, jnp.bfloat16)}

    def loss(params, batch, *, key=None):
      gap = params['half'].astype(jnp.float32) - batch['inputs'][0, :2]
      return _loss(params, batch) + jnp.sum(gap**2) / 2

    task = types.Task(lambda key: start, loss, lambda p, b: {})
    channel = server.Channel(
      aggregator='median', attack='sign_flip', num_malicious=1
    )
    state, _ = _round(channel, method=server.fedavg(task, WORK))
    sent = np.concatenate([-DELTAS[1:].mean(0)[None], DELTAS[1:]])
    want = np.median(sent, axis=0)
    np.testing.assert_allclose(state.params['w'], want, atol=1e-6)
    half = state.params['half'].astype(np.float32)
    np.testing.assert_allclose(half, want[:2], atol=0.02)

  def test_adversaries_see_no_padding(self):
    mask = np.array([True, False, True, True, True, True])
    channel = server.Channel(attack='sign_flip', num_byzantine=1)
    weights = mask / mask.sum()
    state, _ = _round(channel, _cohort(mask, weights.astype(np.float32)))
    honest = DELTAS[[0, 2, 3, 4]]
    want = (honest.sum(0) - honest.mean(0)) / 5
    np.testing.assert_allclose(state.params['w'], want, atol=1e-6)

  def test_central_privacy_divides_by_what_is_expected(self):
    spec = 'central(clip=0.3, noise_multiplier=0.0)'
    norms = np.linalg.norm(DELTAS, axis=1, keepdims=True)
    clipped = DELTAS * np.minimum(1, 0.3 / norms)
    mask = np.arange(N) != 2
    # Weights of the sampler do not count, nor how many came.
    cohort = _cohort(mask, np.arange(N).astype(np.float32))
    state, _ = _round(server.Channel(privacy=spec), cohort)
    np.testing.assert_allclose(
      state.params['w'], clipped[mask].sum(0) / N, atol=1e-6
    )

  def test_noise_of_the_server(self):
    spec = 'central(clip=1.0, noise_multiplier=2.0)'
    algorithm = server.federate(
      server.fedavg(TASK, WORK), N, server.Channel(privacy=spec)
    )
    state, cohort = algorithm.init(jax.random.key(0)), _cohort()
    run = lambda key: algorithm.step(state, cohort, key=key)[0].params['w']
    found = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(2), 400))
    norms = np.linalg.norm(DELTAS, axis=1, keepdims=True)
    clipped = DELTAS * np.minimum(1, 1.0 / norms)
    # 400 x 3 draws: the standard deviation is known to 2 %.
    np.testing.assert_allclose(found.std(), 2.0 / N, rtol=0.1)
    np.testing.assert_allclose(
      found.mean(0), clipped.mean(0), atol=4 * 2.0 / N / 20
    )

  def test_local_privacy_goes_with_any_rule(self):
    channel = server.Channel(
      aggregator='median', privacy='local(clip=9.0, noise_multiplier=0.0)'
    )
    state, _ = _round(channel)
    np.testing.assert_allclose(
      state.params['w'], np.median(DELTAS, axis=0), atol=1e-6
    )

  def test_secure_sums_are_sums(self):
    channel = server.Channel(secure='pairwise(num_bits=20, clip=2.0)')
    mask = np.arange(N) != 1
    weights = np.where(mask, 0.3, 0.0).astype(np.float32)
    state, _ = _round(channel, _cohort(mask, weights))
    want = 0.3 * DELTAS[mask].sum(0)
    np.testing.assert_allclose(state.params['w'], want, atol=3e-5)

  def test_traffic(self):
    _, metrics = _round(None)
    np.testing.assert_allclose(metrics['megabytes_up'], N * D * 4 / 1e6)
    _, metrics = _round(None, method=server.scaffold(TASK, WORK))
    np.testing.assert_allclose(metrics['megabytes_up'], N * 2 * D * 4 / 1e6)
    np.testing.assert_allclose(metrics['megabytes_down'], N * 2 * D * 4 / 1e6)

  @parameterized.parameters(
    (
      dict(aggregator='median', privacy='central'),
      "privacy='central' releases a noisy mean: aggregator must be 'mean'",
    ),
    (dict(aggregator='krum', secure='pairwise'), 'shows sums only'),
    (dict(attack='alie'), 'attack is given but num_byzantine is not'),
    (dict(error_feedback=True), 'error_feedback=True needs a compressor'),
    (dict(num_byzantine=N), 'num_byzantine must be'),
    (dict(num_malicious=-1), 'num_malicious must be at least 0'),
    (
      dict(num_malicious=5, aggregator='krum'),
      r'krum needs n >= 2f\+3 \(n=6, f=2\)',
    ),
  )
  def test_parts_that_do_not_fit(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      server.Channel(**options).wire(N)

  @parameterized.parameters('fednova', 'q_fedavg', 'agnostic', 'ifca')
  def test_private_methods_read_messages_alone(self, name):
    method = server.make_method(name, TASK, WORK)
    with self.assertRaisesRegex(ValueError, 'privacy=.* covers messages alone'):
      server.federate(method, N, server.Channel(privacy='central'))

  @parameterized.parameters('privacy', 'aggregator', 'attack')
  def test_an_exchange_before_the_work_is_plain(self, name):
    value = {'privacy': 'local', 'aggregator': 'median', 'attack': 'alie'}[name]
    channel = server.Channel(num_byzantine=1, **{name: value})
    with self.assertRaisesRegex(ValueError, f'{name} .* a plain mean before'):
      server.federate(server.mime(TASK, WORK), N, channel)

  def test_compressed_messages_stay_in_the_ball(self):
    for compressor in ('terngrad', 'random_k(keep=0.34, unbiased=True)'):
      channel = server.Channel(
        privacy='central(clip=0.1, noise_multiplier=0.0)',
        compressor=compressor,
      )
      for seed in range(3):
        algorithm = server.federate(server.fedavg(TASK, WORK), N, channel)
        alone = _cohort(np.arange(N) == seed)
        state = algorithm.init(jax.random.key(0))
        state, _ = algorithm.step(state, alone, key=jax.random.key(seed))
        moved = np.linalg.norm(state.params['w']) * N
        self.assertLessEqual(moved, 0.1 * (1 + 1e-5))
    with self.assertRaisesRegex(ValueError, 'sends later what it kept'):
      server.Channel(privacy='central', compressor='ef+top_k(keep=0.5)').wire(N)

  def test_a_private_client_counts_once_and_the_number_is_fixed(self):
    spec = 'central(clip=0.1, noise_multiplier=0.0)'
    channel = server.Channel(privacy=spec, num_expected=2.0)
    cohort = _cohort().replace(client_ids=jnp.full(N, 3))
    state, _ = _round(channel, cohort)
    moved = np.linalg.norm(state.params['w']) * 2
    np.testing.assert_allclose(moved, 0.1, rtol=1e-5)
    # What SCAFFOLD adds up says nothing of how many came.
    method = server.scaffold(TASK, WORK)
    for mask in (np.ones(N, bool), np.arange(N) < 1):
      state, _ = _round(channel, _cohort(mask), method)
      found = np.abs(state.memory['control']['w']).max()
      self.assertLessEqual(found, 0.1 * mask.sum() / N)

  def test_masked_sums_are_dense(self):
    channel = server.Channel(secure='pairwise', compressor='top_k(keep=0.34)')
    _, metrics = _round(channel)
    np.testing.assert_allclose(metrics['megabytes_up'], N * D * 4 / 1e6)

  def test_nothing_sent_needs_no_channel(self):
    method = server.local_only(TASK, WORK)
    _, metrics = _round(server.Channel(aggregator='median'), method=method)
    self.assertEqual(float(metrics['megabytes_up']), 0.0)

  def test_groups_without_padding(self):
    method = server.ifca(TASK, WORK, num_models=2)
    algorithm = server.federate(method, N, everybody=True)
    state = algorithm.init(jax.random.key(0))
    state, _ = algorithm.step(state, _cohort(), key=jax.random.key(1))
    self.assertEqual(state.params['w'].shape, (2, D))

  def test_a_broken_client_stays_in_its_group(self):
    cohort = _cohort()
    broken = cohort.data['inputs'].at[0].set(jnp.nan)
    cohort = cohort.replace(data=cohort.data | {'inputs': broken})
    channel = server.Channel().wire(N, num_groups=2)
    x = {'w': jnp.asarray(DELTAS).at[0].set(jnp.nan)}
    groups = jnp.array([0, 0, 0, 1, 1, 1])
    update, *_ = channel.meet(
      x, jnp.zeros(N), jnp.full(N, 1 / N), jnp.ones(N, bool),
      channel.init({'w': jnp.zeros(D)}), jax.random.key(0), groups,
    )  # fmt: skip
    np.testing.assert_allclose(update['w'][1], DELTAS[3:].mean(0), atol=1e-6)
    self.assertTrue(np.isnan(update['w'][0]).all())

  def test_text_of_a_variant(self):
    method, channel = server.make_variant(
      'scaffold(option=1)@channel(aggregator=nnm+median, explain=True)',
      TASK,
      WORK,
      num_byzantine=1,
      aggregator='mean',
    )
    self.assertEqual(method.name, 'scaffold')
    self.assertEqual(channel.aggregator, 'nnm+median')
    self.assertEqual(channel.num_byzantine, 1)
    _, metrics = _round(channel, method=method)
    self.assertEqual(metrics['weights'].shape, (N,))


if __name__ == '__main__':
  absltest.main()
