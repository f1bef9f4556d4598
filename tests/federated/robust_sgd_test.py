# SPDX-License-Identifier: Apache-2.0
"""Server training against hand-written references."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import aggregators, attacks, federated, local, networks
from jaxdl.core import clients, keys, types

N, D, B = 5, 3, 4


def _quadratic_task():
  """Loss 0.5 |theta - mean(x)|^2; labels add their mean to the target."""

  def loss(params, batch, *, key=None):
    del key
    target = jnp.mean(batch['inputs'], axis=0) + jnp.mean(batch['labels'])
    return 0.5 * jnp.sum((params['w'] - target) ** 2)

  init = lambda key: {'w': jnp.zeros(D)}
  return types.Task(init, loss, lambda params, batch: {})


def _cohort(n=N, seed=0):
  rng = np.random.default_rng(seed)
  data = {
    'inputs': jnp.asarray(rng.normal(size=(n, B, D)), jnp.float32),
    'labels': jnp.asarray(rng.integers(0, 3, size=(n, B)), jnp.int32),
  }
  return types.Cohort(
    client_ids=jnp.arange(n),
    data=data,
    mask=jnp.ones(n, bool),
    weights=jnp.full(n, 1 / n),
  )


def _gradients(cohort, w, flipped=()):
  x = np.asarray(cohort.data['inputs'], np.float64).mean(1)
  y = np.asarray(cohort.data['labels'], np.float64)
  for i in flipped:
    y[i] = 2 - y[i]
  return w - x - y.mean(1)[:, None]


def _make(name='mean', f=0, n=N, **options):
  return federated.robust_sgd(
    _quadratic_task(),
    name,
    n,
    num_byzantine=f,
    optimizer=options.pop('optimizer', optax.sgd(0.1)),
    **options,
  )


class RobustSgdTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 0.9)
  def test_mean_is_momentum_sgd(self, beta):
    algorithm, cohort = _make(worker_momentum=beta), _cohort()
    state = algorithm.init(jax.random.key(0))
    step = jax.jit(algorithm.step)
    w, m = np.zeros(D), np.zeros((N, D))
    for t in range(4):
      state, _ = step(state, cohort, key=jax.random.key(t))
      m = beta * m + (1 - beta) * _gradients(cohort, w)
      w = w - 0.1 * m.mean(0)
      np.testing.assert_allclose(algorithm.params(state)['w'], w, atol=1e-6)

  def test_constant_gradient_momentum_is_geometric(self):
    algorithm = _make(worker_momentum=0.8, optimizer=optax.sgd(0.0))
    cohort, state = _cohort(), None
    state = algorithm.init(jax.random.key(0))
    for _ in range(3):
      state, _ = algorithm.step(state, cohort, key=jax.random.key(0))
    want = (1 - 0.8**3) * _gradients(cohort, np.zeros(D))
    np.testing.assert_allclose(state.own['method']['w'], want, atol=1e-6)

  def test_clips_each_worker_before_momentum(self):
    algorithm = _make(clip_norm=0.5, worker_momentum=0.5)
    cohort = _cohort()
    state = algorithm.init(jax.random.key(0))
    state, _ = algorithm.step(state, cohort, key=jax.random.key(0))
    g = _gradients(cohort, np.zeros(D))
    norm = np.linalg.norm(g, axis=1, keepdims=True)
    want = 0.5 * g * np.minimum(1, 0.5 / norm)
    np.testing.assert_allclose(state.own['method']['w'], want, atol=1e-6)

  def test_clip_by_norm_oracle(self):
    clip = local.clip_by_norm
    np.testing.assert_allclose(clip(jnp.array([3.0, 4.0]), 1.0), [0.6, 0.8])
    inside = jnp.array([0.3, 0.4])
    np.testing.assert_array_equal(clip(inside, 1.0), inside)
    np.testing.assert_array_equal(clip(jnp.zeros(2), 1.0), [0.0, 0.0])

  def test_adversaries_train_on_flipped_labels(self):
    algorithm = _make(f=2, attack='label_flip(num_classes=3)')
    cohort = _cohort()
    state = algorithm.init(jax.random.key(0))
    state, metrics = algorithm.step(state, cohort, key=jax.random.key(0))
    g = _gradients(cohort, np.zeros(D), flipped=(3, 4))
    np.testing.assert_allclose(state.params['w'], -0.1 * g.mean(0), atol=1e-6)
    honest = g[:3]
    spread = ((honest - honest.mean(0)) ** 2).sum(1).mean()
    error = ((g.mean(0) - honest.mean(0)) ** 2).sum() / spread
    np.testing.assert_allclose(metrics['error'], error, rtol=1e-4)

  def test_attack_replaces_the_last_workers(self):
    algorithm, cohort = _make(f=1, attack='sign_flip'), _cohort()
    state = algorithm.init(jax.random.key(0))
    state, metrics = algorithm.step(state, cohort, key=jax.random.key(0))
    mean = _gradients(cohort, np.zeros(D))[:4].mean(0)
    np.testing.assert_allclose(
      state.params['w'], -0.1 * (4 * mean - mean) / 5, atol=1e-6
    )
    np.testing.assert_allclose(metrics['weights'], np.full(N, 0.2), atol=1e-6)

  @parameterized.parameters('nan', 'inf')
  def test_non_finite_adversaries_cannot_hurt_a_robust_rule(self, name):
    algorithm = _make('multi_krum', f=1, attack=name)
    state = algorithm.init(jax.random.key(0))
    cohort = _cohort()
    state, metrics = jax.jit(algorithm.step)(
      state, cohort, key=jax.random.key(0)
    )
    want = -0.1 * _gradients(cohort, np.zeros(D))[:4].mean(0)
    np.testing.assert_allclose(state.params['w'], want, atol=1e-6)
    np.testing.assert_allclose(
      metrics['weights'], [0.25, 0.25, 0.25, 0.25, 0.0], atol=1e-6
    )

  def test_declared_and_actual_adversaries_differ(self):
    # Two adversaries against a rule that was told of one: the median of five
    # still holds, the trimmed mean with b = 1 does not.
    moved = {}
    for name in ('median', 'trimmed_mean'):
      rule = aggregators.make_aggregator(name, num_clients=N, num_byzantine=1)
      algorithm = federated.robust_sgd(
        _quadratic_task(),
        rule,
        N,
        num_byzantine=2,
        attack='gaussian(mean=1e4, scale=0.0)',
        optimizer=optax.sgd(1.0),
      )
      state = algorithm.init(jax.random.key(0))
      state, _ = algorithm.step(state, _cohort(), key=jax.random.key(0))
      moved[name] = float(jnp.max(jnp.abs(state.params['w'])))
    self.assertLess(moved['median'], 10.0)
    self.assertGreater(moved['trimmed_mean'], 1e3)

  def test_gathered_is_bitwise_equal_on_any_number_of_devices(self):
    n = 6  # Not a multiple of 4 or 8: the last device is filled up.
    cohort, results = _cohort(n), []
    for devices in (1, 2, 4, 8):
      mesh = clients.clients_mesh(devices)
      some = clients.Clients(n, mesh=mesh, reduction='gathered')
      algorithm = _make('trimmed_mean', 1, some, explain=False)
      state = algorithm.init(jax.random.key(0))
      step = jax.jit(algorithm.step)
      for t in range(3):
        state, _ = step(state, cohort, key=jax.random.key(t))
      results.append(np.asarray(state.params['w']))
    for other in results[1:]:
      np.testing.assert_array_equal(results[0], other)

  def test_gathered_training_of_a_network_is_bitwise_equal(self):
    n = 6
    rng = np.random.default_rng(0)
    data = {
      'inputs': jnp.asarray(rng.normal(size=(n, 5, 12)), jnp.float32),
      'labels': jnp.asarray(rng.integers(0, 3, size=(n, 5)), jnp.int32),
    }
    cohort = types.Cohort(
      client_ids=jnp.arange(n),
      data=data,
      mask=jnp.ones(n, bool),
      weights=jnp.full(n, 1 / n),
    )
    task = networks.classification(
      networks.mlp((16,), 3), jnp.zeros((1, 12)), num_classes=3
    )
    rule = aggregators.make_aggregator(
      'nnm+krum', num_clients=n, num_byzantine=1
    )
    results = []
    for mesh in (None, clients.clients_mesh(2), clients.clients_mesh(8)):
      algorithm = federated.robust_sgd(
        task,
        rule,
        clients.Clients(n, mesh=mesh, reduction='gathered'),
        optimizer=optax.sgd(0.1),
        worker_momentum=0.9,
      )
      state = algorithm.init(jax.random.key(0))
      step = jax.jit(algorithm.step)
      for t in range(3):
        state, metrics = step(state, cohort, key=jax.random.key(t))
      results.append(jax.device_get((state.params, metrics)))
    for other in results[1:]:
      jax.tree.map(np.testing.assert_array_equal, results[0], other)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, r'num_byzantine .* most 4; got 5'):
      federated.robust_sgd(
        _quadratic_task(),
        aggregators.stateless(aggregators.mean),
        N,
        num_byzantine=5,
        optimizer=optax.sgd(0.1),
      )
    with self.assertRaisesRegex(
      ValueError, 'attack is given but num_byzantine'
    ):
      federated.robust_sgd(
        _quadratic_task(),
        aggregators.mean,
        N,
        attack=attacks.sign_flip,
        optimizer=optax.sgd(0.1),
      )
    with self.assertRaisesRegex(ValueError, r'worker_momentum .* \[0.0, 1.0\)'):
      _make(worker_momentum=1.0)
    algorithm = _make()
    state = algorithm.init(jax.random.key(0))
    with self.assertRaisesRegex(ValueError, '6 clients but num_clients=5'):
      algorithm.step(state, _cohort(6), key=jax.random.key(0))

  def test_plain_functions_in_place_of_pairs(self):
    cohort, outcomes = _cohort(), []
    mine = lambda updates: {'w': jnp.median(updates['w'], axis=0)}
    named = dict(num_clients=N, num_byzantine=1)
    for rule, attack in [
      (
        aggregators.make_aggregator('median', **named),
        attacks.make_attack('sign_flip', **named),
      ),
      (aggregators.median, attacks.sign_flip),
      ('median', 'sign_flip'),
      (mine, lambda honest: {'w': -jnp.mean(honest['w'], axis=0)[None]}),
    ]:
      algorithm = federated.robust_sgd(
        _quadratic_task(),
        rule,
        N,
        num_byzantine=1,
        attack=attack,
        optimizer=optax.sgd(0.1),
      )
      state = algorithm.init(jax.random.key(0))
      state, _ = jax.jit(algorithm.step)(state, cohort, key=jax.random.key(1))
      outcomes.append(state.params['w'])
    grads = _gradients(cohort, np.zeros(D))
    grads[-1] = -grads[:-1].mean(axis=0)
    for got in outcomes:
      np.testing.assert_allclose(
        got, -0.1 * np.median(grads, axis=0), atol=1e-6
      )

  @parameterized.parameters(
    (lambda updates: updates, attacks.sign_flip, r'aggregator .*\(5, 3\)'),
    (aggregators.median, lambda honest: honest, r'attack .*\(1, 3\).*\(4, 3'),
    (aggregators.median, lambda own: own['w'], 'in another structure'),
  )
  def test_names_the_shapes_that_a_function_made(self, rule, attack, message):
    algorithm = federated.robust_sgd(
      _quadratic_task(),
      rule,
      N,
      num_byzantine=1,
      attack=attack,
      optimizer=optax.sgd(0.1),
    )
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    with self.assertRaisesRegex(ValueError, message):
      jax.eval_shape(algorithm.step, state, _cohort(), key=jax.random.key(1))

  def test_arguments_of_another_kind(self):
    task, rule = _quadratic_task(), aggregators.median
    make = functools.partial(
      federated.robust_sgd, clients=N, optimizer=optax.sgd(0.1)
    )
    server = aggregators.as_aggregator(rule)
    for call, message in [
      (lambda: make(server, task), 'task must be a Task; got an Aggregator'),
      (lambda: make(task, 3), 'aggregator must be a function .*; got 3'),
      (lambda: make(task, rule, clients='4'), 'clients must be a number of cl'),
      (lambda: make(task, rule, optimizer=0.1), r'optimizer=optax.sgd\(0.1\)'),
      (lambda: make(task, rule, attack=3), 'attack must be an Attack or a f'),
      (
        lambda: federated.centralized_sgd(task, optimizer=optax.sgd),
        'got the function sgd: call it',
      ),
    ]:
      with self.assertRaisesRegex(TypeError, message):
        call()


class BatchCohortTest(absltest.TestCase):
  def test_draws_depend_on_the_identity_only(self):
    data = {'y': jnp.arange(40).reshape(4, 10)}
    mask = jnp.ones((4, 10), bool)
    draw = functools.partial(local.batch_cohort, jax.random.key(3))
    all_four = draw(data, mask, batch_size=3)
    order = jnp.array([2, 0])
    two = draw(
      {'y': data['y'][order]}, mask[order], batch_size=3, client_ids=order
    )
    np.testing.assert_array_equal(two.data['y'], all_four.data['y'][order])
    ids = keys.client_keys(jax.random.key(3), jnp.arange(4))
    self.assertEqual(ids.shape, (4,))
    everything = draw(data, batch_size=3)
    np.testing.assert_array_equal(everything.data['y'], all_four.data['y'])
    with self.assertRaisesRegex(TypeError, 'client_data must be a dict'):
      draw((data['y'],), batch_size=3)
    with self.assertRaisesRegex(ValueError, r'\[N, S, ...\].* shape \(4,\)'):
      draw({'y': jnp.arange(4)}, batch_size=3)
    with self.assertRaisesRegex(
      ValueError, r"mask .*\['y'\], \(4, 10\); got \(4, 9"
    ):
      draw(data, mask[:, :9], batch_size=3)
    with self.assertRaisesRegex(
      TypeError, r"\['y'\] must hold numbers; .* of text"
    ):
      draw({'y': np.full((4, 10), 'cat')}, batch_size=3)


if __name__ == '__main__':
  absltest.main()
