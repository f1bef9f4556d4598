# SPDX-License-Identifier: Apache-2.0
"""All-to-all learning against the definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from reference import aggregators as reference

from jaxdl import aggregators, decentralized, local
from jaxdl.core import clients, types

H, F, D = 5, 1, 4


def _task():
  def loss(params, batch, *, key=None):
    del key
    return 0.5 * jnp.sum((params - batch['target']) ** 2)

  return types.Task(lambda key: jnp.zeros(D), loss, lambda p, b: {})


def _cohort(h=H):
  rng = np.random.default_rng(1)
  return types.Cohort(
    client_ids=jnp.arange(h),
    data={
      'target': jnp.asarray(rng.normal(size=(h, D)), jnp.float32),
      'labels': jnp.zeros((h, 1), jnp.int32),
    },
    mask=jnp.ones(h, bool),
    weights=jnp.full(h, 1 / h),
  )


def _run(rule, steps=4, f=F, held=H, h=H, **options):
  algorithm = decentralized.all_to_all_sgd(
    _task(),
    rule,
    options.pop('clients', h + f),
    num_byzantine=f,
    num_held=held,
    learning_rate=options.pop('learning_rate', 0.3),
    **options,
  )
  state = algorithm.init(jax.random.key(0))
  step = jax.jit(algorithm.step)
  for t in range(steps):
    state, metrics = step(state, _cohort(h), key=jax.random.key(t))
  return np.asarray(state.models), metrics


def _nna(pivot, received, f):
  order = np.argsort(np.linalg.norm(received - pivot, axis=1), kind='stable')
  return received[order[: len(received) - f]].mean(0)


def _scc(own, received, radius, steps):
  v = own
  for _ in range(steps):
    diff = received - v
    norm = np.maximum(np.linalg.norm(diff, axis=1, keepdims=True), 1e-30)
    v = v + (diff * np.minimum(1, radius / norm)).mean(0)
  return v


class ReceiverRuleTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.models = rng.normal(size=(H, D))
    self.sent = rng.normal(size=(F, D)) * 20
    self.received = decentralized.sample_received(
      jax.random.key(0), num_correct=H, num_byzantine=F, num_held=4
    )

  def _mix(self, spec):
    mix = decentralized.receiver_rule(spec, num_byzantine=1)
    return jax.jit(mix)(
      jnp.asarray(self.models, jnp.float32),
      jnp.asarray(self.sent, jnp.float32),
      self.received,
    )

  def _held(self, i):
    everyone = np.concatenate([self.models, self.sent])
    return everyone[np.asarray(self.received[i])]

  def test_nearest_neighbors(self):
    got = self._mix('nearest_neighbor_averaging')
    want = [_nna(self.models[i], self._held(i), 1) for i in range(H)]
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_self_centered_clipping(self):
    got = self._mix('centered_clipping(clip_radius=0.7)')
    want = [_scc(self.models[i], self._held(i), 0.7, 3) for i in range(H)]
    np.testing.assert_allclose(got, want, atol=1e-5)

  @parameterized.parameters('trimmed_mean', 'median', 'mean')
  def test_coordinate_rules(self, name):
    got = self._mix(name)
    held = [np.sort(self._held(i), axis=0) for i in range(H)]
    fn = {
      'trimmed_mean': lambda x: x[1:-1].mean(0),
      'median': lambda x: np.median(x, axis=0),
      'mean': lambda x: x.mean(0),
    }[name]
    np.testing.assert_allclose(got, [fn(x) for x in held], atol=1e-5)

  def test_geometric_median_is_that_of_the_held_vectors(self):
    got = self._mix('geometric_median')
    for i in range(H):
      want = aggregators.geometric_median(
        jnp.asarray(self._held(i), jnp.float32),
        nu=0.1,
        num_iters=3,
        start='zero',
      )
      np.testing.assert_allclose(got[i], want, atol=1e-5)

  def test_equal_models_stay_whatever_is_sent(self):
    self.models = np.broadcast_to(self.models[:1], (H, D))
    for value in (np.nan, np.inf, 1e30, -3.0):
      self.sent = np.full((F, D), value)
      got = self._mix('nearest_neighbor_averaging')
      np.testing.assert_allclose(got, self.models, atol=1e-6)

  def test_close_models_keep_float32_order(self):
    # Models agree to 1e-3 at distance 1e3 from the origin.
    rng = np.random.default_rng(3)
    self.models = (1e3 + 1e-3 * rng.normal(size=(H, D))).astype(np.float32)
    self.sent = np.full((F, D), 1e3 + 0.5, np.float32)
    got = self._mix('nearest_neighbor_averaging')
    exact = self.models.astype(np.float64)
    everyone = np.concatenate([exact, self.sent.astype(np.float64)])
    want = [
      _nna(exact[i], everyone[np.asarray(self.received[i])], 1)
      for i in range(H)
    ]
    np.testing.assert_allclose(got, want, atol=2e-4)

  def test_impossible_options_fail_at_once(self):
    for spec, message in (
      ('centered_clipping(clip_radius=0.0)', 'clip_radius must lie in'),
      ('geometric_median(start=middle)', "start='middle' is unknown"),
      ('median(kind=lower)', "median has no option 'kind'"),
      ('krum', "rule='krum' is unknown"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        decentralized.receiver_rule(spec, num_byzantine=1)

  def test_too_few_vectors(self):
    mix = decentralized.receiver_rule('trimmed_mean', num_byzantine=2)
    with self.assertRaisesRegex(ValueError, 'f=2 with 4 received vectors'):
      mix(jnp.zeros((4, 1)), jnp.zeros((0, 1)), jnp.zeros((4, 4), jnp.int32))


class MagnitudesTest(parameterized.TestCase):
  """Finite adversaries of every size do what the definition says."""

  SENT = [
    [s * a, t * b]
    for a, b in [
      (1e-18, 1e18),
      (1e9, 1e4),
      (1e18, 1e18),
      (1e-9, 1e-18),
      (1, 1e3),
    ]
    for s, t in [(1, 1), (1, -1)]
  ]
  MODELS = np.random.default_rng(5).normal(size=(6, D))
  DIRECTIONS = np.random.default_rng(6).normal(size=(2, D))

  @parameterized.named_parameters(
    ('nearest', 'nearest_neighbor_averaging', lambda own, x: _nna(own, x, 2)),
    ('trimmed', 'trimmed_mean', lambda own, x: np.sort(x, 0)[2:-2].mean(0)),
    ('median', 'median', lambda own, x: np.median(x, axis=0)),
    (
      'clipping',
      'centered_clipping',
      lambda own, x: reference.centered_clipping(x, own, 1.0, 3),
    ),
    (
      'geometric',
      'geometric_median',
      lambda own, x: reference.weiszfeld(x, 0.1, 3, np.zeros(D)),
    ),
  )
  def test_against_float64(self, name, rule):
    mix = jax.jit(decentralized.receiver_rule(name, num_byzantine=2))
    received = np.stack([np.roll(np.arange(8), -i) for i in range(6)])
    for scales in self.SENT:
      sent = self.DIRECTIONS * np.array(scales)[:, None]
      got = mix(
        jnp.asarray(self.MODELS, jnp.float32),
        jnp.asarray(sent, jnp.float32),
        jnp.asarray(received, jnp.int32),
      )
      everyone = np.concatenate([self.MODELS, sent])
      want = [rule(own, everyone) for own in self.MODELS]
      np.testing.assert_allclose(got, want, atol=2e-5, err_msg=f'{scales}')


class SampleReceivedTest(absltest.TestCase):
  def test_own_first_all_adversaries_and_no_repetition(self):
    draw = functools.partial(
      decentralized.sample_received,
      num_correct=6,
      num_byzantine=2,
      num_held=5,
    )
    seen = np.zeros((6, 6), int)
    for t in range(50):
      got = np.asarray(draw(jax.random.key(t)))
      np.testing.assert_array_equal(got[:, 0], np.arange(6))
      for i, row in enumerate(got):
        self.assertLen(set(row), 5)
        self.assertTrue({6, 7} <= set(row))
        seen[i, row[row < 6]] += 1
    others = seen[~np.eye(6, dtype=bool)]  # 2 of 5 others, 50 draws: mean 20.
    self.assertBetween(others.min(), 5, 20)
    self.assertBetween(others.max(), 20, 35)


class AllToAllTest(parameterized.TestCase):
  def test_without_adversaries_all_models_are_ema_sgd(self):
    mix = decentralized.receiver_rule(
      'nearest_neighbor_averaging', num_byzantine=0
    )
    models, metrics = _run(mix, f=0, momentum=0.9)
    optimizer = optax.chain(
      optax.ema(0.9, debias=False), optax.scale_by_learning_rate(0.3)
    )
    target = np.asarray(_cohort().data['target'])
    w, state = jnp.zeros(D), optimizer.init(jnp.zeros(D))
    for _ in range(4):
      change, state = optimizer.update(w - target.mean(0), state)
      w = optax.apply_updates(w, change)
    np.testing.assert_allclose(models, np.broadcast_to(w, (H, D)), atol=1e-6)
    self.assertLess(float(metrics['drift']), 1e-10)

  def test_one_node_is_plain_sgd(self):
    mix = decentralized.receiver_rule('mean', num_byzantine=0)
    models, _ = _run(mix, h=1, f=0, held=1, momentum=0.0)
    target = np.asarray(_cohort(1).data['target'])
    w = np.zeros((1, D))
    for _ in range(4):
      w = w - 0.3 * (w - target)
    np.testing.assert_allclose(models, w, atol=1e-6)

  def test_far_adversaries_are_dropped_exactly(self):
    attack = 'gaussian(mean=1e4, scale=0.0)'
    mix = 'nearest_neighbor_averaging'
    got, _ = _run(mix, held=H + F, attack=attack, momentum=0.5)
    clean, _ = _run('mean', f=0, momentum=0.5)
    np.testing.assert_allclose(got, clean, atol=1e-5)

  def test_search_attack_sees_this_rounds_mixing(self):
    attack = 'optimized_ipm(search=grid, grid=(0.5, 8.0, 2.0))'
    _, metrics = _run('mean', steps=1, held=H + F, attack=attack, momentum=0.0)
    # The mean follows blindly, so the largest factor hurts most: models move
    # by (b - mu) / 6 with b = (1 - 8) mu.
    mu = 0.3 * np.asarray(_cohort().data['target']).mean(0)
    x = 0.3 * np.asarray(_cohort().data['target'])
    drift = ((x - x.mean(0)) ** 2).sum(1).mean()
    want = ((8 * mu / 6) ** 2).sum() / drift
    np.testing.assert_allclose(metrics['lambda'], want, rtol=1e-4)

  def test_flipped_labels_send_a_step_from_the_mean_model(self):
    def loss(params, batch, *, key=None):
      del key
      return jnp.sum(params * batch['labels'][0])

    task = types.Task(lambda key: jnp.ones(D), loss, lambda p, b: {})
    algorithm = decentralized.all_to_all_sgd(
      task,
      lambda models, sent, received: jnp.broadcast_to(sent, models.shape),
      H + F,
      num_byzantine=F,
      num_held=H,
      learning_rate=0.5,
      attack='label_flip(num_classes=4)',
    )
    state = algorithm.init(jax.random.key(0))
    state, _ = algorithm.step(state, _cohort(), key=jax.random.key(0))
    # Labels 0 become 3: gradient 3, models 1 - 0.5 * 3.
    np.testing.assert_allclose(state.models, np.full((H, D), -0.5))

  def test_exchanged_gradients_equalize_momenta(self):
    mix = decentralized.receiver_rule('mean', num_byzantine=0)
    models, _ = _run(mix, f=0, momentum=0.0, exchange_gradients=True)
    target = np.asarray(_cohort().data['target'])
    w = np.zeros(D)
    for _ in range(4):
      w = w - 0.3 * (w - target.mean(0))
    np.testing.assert_allclose(models, np.broadcast_to(w, (H, D)), atol=1e-6)

  def test_gathered_is_bitwise_equal_on_any_number_of_devices(self):
    mix = decentralized.receiver_rule(
      'nearest_neighbor_averaging', num_byzantine=1
    )
    run = lambda k: _run(
      mix,
      attack='alie(scale=1.5)',
      clients=clients.Clients(
        H + F, mesh=clients.clients_mesh(k), reduction='gathered'
      ),
    )[0]
    first = run(1)
    for devices in (2, 8):
      np.testing.assert_array_equal(first, run(devices))

  @parameterized.parameters(
    ((0.75, 50, 50), {0: 0.75, 49: 0.75, 50: 0.375, 99: 0.375, 100: 0.25}),
    ((0.5, 167, 1500), {0: 0.5, 1499: 0.5, 1500: 0.5 / (1500 / 167 + 1)}),
  )
  def test_schedule(self, arguments, want):
    value, decay, every = arguments
    schedule = local.stepped_inverse(value, decay=decay, every=every)
    for t, rate in want.items():
      np.testing.assert_allclose(float(schedule(t)), rate, rtol=1e-6)

  def test_views_of_receivers_share_one_gram(self):
    # The same frame serves all receivers: no receiver reads the models again.
    mix = decentralized.receiver_rule(
      'nearest_neighbor_averaging', num_byzantine=1
    )
    big = 100_000
    jaxpr = jax.make_jaxpr(mix)(
      jnp.zeros((H, big)), jnp.zeros((F, big)), jnp.zeros((H, H), jnp.int32)
    )
    wide = str(jaxpr).count(f'f32[{H},{H + F},{big}]')
    self.assertEqual(wide, 0)


if __name__ == '__main__':
  absltest.main()
