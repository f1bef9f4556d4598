# SPDX-License-Identifier: Apache-2.0
"""Steps of networks side by side, against independent training and NumPy."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import distillation, networks
from jaxdl.core import types

RNG = np.random.default_rng(0)
BATCH = {
  'inputs': RNG.normal(size=(16, 3)).astype(np.float32),
  'labels': RNG.integers(4, size=16),
}
PEERS = (networks.mlp(5, 4), networks.mlp(9, 4))
EXAMPLE = jnp.zeros((1, 3))
OPTIMIZER = optax.adam(0.1)
THREE = (
  networks.logistic_regression(4),
  networks.mlp(5, 4),
  networks.mlp(9, 4),
)


def _algorithm(method, peers=PEERS, **options):
  options = {'optimizer': OPTIMIZER} | options
  return distillation.online_distillation(peers, EXAMPLE, method, **options)


@functools.cache
def _step(method, peers=PEERS, num_students=1):
  return jax.jit(
    distillation.mutual_step(
      peers, method, optimizer=OPTIMIZER, num_students=num_students
    )
  )


@functools.cache
def _start(peers=PEERS):
  return _algorithm('dml', peers).init(jax.random.key(0))


def _run(method, steps=3, peers=PEERS, **options):
  state = _start(peers)
  for _ in range(steps):
    state, metrics = _step(method, peers, **options)(state, BATCH)
  return state, metrics


def _cohort(batch):
  return types.Cohort(
    client_ids=jnp.arange(1),
    data=jax.tree.map(lambda x: x[None], batch),
    mask=jnp.ones(1, bool),
    weights=jnp.ones(1),
  )


class _Normed(nn.Module):
  width: int

  @nn.compact
  def __call__(self, x, *, train=False, mask=None):
    x = networks.Dense(self.width)(x.reshape(x.shape[0], -1))
    x = networks.BatchNorm()(x, mask=mask)
    return networks.Dense(4)(x)


class StepTest(parameterized.TestCase):
  @parameterized.parameters(
    'bd_kd(strength=0, teacher_strength=0)', 'independent'
  )
  def test_without_divergence_training_is_independent_to_the_bit(self, method):
    state, _ = _run(method)
    for i, network in enumerate(PEERS):
      task = networks.classification(network, EXAMPLE, num_classes=4)

      @jax.jit
      def step(params, memory, task=task):
        grads = jax.grad(task.loss)(params, BATCH)
        change, memory = OPTIMIZER.update(grads, memory, params)
        return optax.apply_updates(params, change), memory

      params, memory = _start().params[i], _start().opt_states[i]
      for _ in range(3):
        params, memory = step(params, memory)
      jax.tree.map(np.testing.assert_array_equal, state.params[i], params)

  @parameterized.parameters('dml', 'bd_kd', 'kdcl', 'switokd')
  def test_the_loss_of_one_does_not_move_the_other(self, method):
    made = distillation.make_method(method)
    outputs = lambda params: [
      n.apply(p, BATCH['inputs']) for n, p in zip(PEERS, params, strict=True)
    ]
    for i in range(2):
      loss = lambda params, i=i: made.losses(
        outputs(params), jnp.asarray(BATCH['labels']), None, 1
      )[0][i]
      grads = jax.grad(loss)(_start().params)
      sizes = [float(optax.tree.norm(g)) for g in grads]
      self.assertEqual(sizes[1 - i], 0)
      self.assertGreater(sizes[i], 0)

  def test_three_networks_average_over_their_peers(self):
    made = distillation.make_method('bd_kd(temperature=3)')
    z = [RNG.normal(size=(6, 4)).astype(np.float32) for _ in range(3)]
    labels = RNG.integers(4, size=6)
    losses, _ = made.losses(z, labels, None, 2)
    pair = functools.partial(
      distillation.peer_divergence, temperature=3.0, weights='hard'
    )
    forward = functools.partial(pair, weights='forward')
    hard = distillation.cross_entropy
    want = [
      hard(z[0], labels) + (pair(z[0], z[1]) + pair(z[0], z[2])) / 2,
      hard(z[1], labels) + (pair(z[1], z[0]) + pair(z[1], z[2])) / 2,
      hard(z[2], labels) + (forward(z[2], z[0]) + forward(z[2], z[1])) / 2,
    ]
    np.testing.assert_allclose(losses, [w.mean() for w in want], rtol=1e-5)

  def test_offline_teachers_stay_and_students_learn_from_them(self):
    state, _ = _run('offline_kd', peers=THREE)
    for i in (1, 2):
      jax.tree.map(
        np.testing.assert_array_equal, state.params[i], _start(THREE).params[i]
      )
    moved = optax.tree.norm(
      optax.tree.sub(state.params[0], _start(THREE).params[0])
    )
    self.assertGreater(float(moved), 0.1)

  def test_offline_teachers_are_trained_while_the_state_is_made(self):
    algorithm = _algorithm(
      'offline_kd', teacher_batches=lambda t: BATCH, teacher_steps=3
    )
    state = jax.jit(algorithm.init)(jax.random.key(0))
    alone, _ = _run('independent')
    near = lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6)
    jax.tree.map(near, state.params[1], alone.params[1])
    jax.tree.map(
      np.testing.assert_array_equal, state.params[0], _start().params[0]
    )

  def test_a_teacher_that_is_too_far_ahead_waits(self):
    made = distillation.make_method('switokd')
    labels = np.zeros(2, int)
    truth = np.array([1.0, 0.0, 0.0])
    student = np.array([0.2, 0.7, 0.1])
    for teacher, waits in (
      ([0.5, 0.05, 0.45], True),
      ([0.3, 0.6, 0.1], False),
      ([0.1, 0.1, 0.8], False),
    ):
      # By hand, in float64.
      apart = lambda a, b: np.abs(np.subtract(a, b)).sum()
      d_t, d_s = apart(teacher, truth), apart(student, truth)
      limit = d_s - np.exp(-d_t / (d_t + d_s)) * d_t
      self.assertEqual(apart(teacher, student) > limit and d_t < d_s, waits)
      z = [np.log(np.tile(p, (2, 1))).astype('f') for p in (student, teacher)]
      moves = made.active(z, labels, None, 1)
      self.assertEqual([bool(m) for m in moves], [True, not waits])
      _, parts = made.losses(z, labels, None, 1)
      self.assertEqual(float(parts['paused']), float(waits))

  def test_masked_rows_have_no_effect(self):
    padded = {
      'inputs': np.concatenate([BATCH['inputs'], np.full((3, 3), np.nan, 'f')]),
      'labels': np.concatenate([BATCH['labels'], np.full(3, -1)]),
      'mask': np.arange(19) < 16,
    }
    got, seen = _step('bd_kd')(_start(), padded)
    want, known = _step('bd_kd')(_start(), BATCH)
    near = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    jax.tree.map(near, (got.params, seen), (want.params, known))

  def test_a_batch_over_eight_devices(self):
    mesh = jax.make_mesh(
      (8,), ('batch',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    batch = jax.device_put(BATCH, jax.NamedSharding(mesh, jax.P('batch')))
    got, _ = _step('bd_kd')(_start(), batch)
    want, _ = _step('bd_kd')(_start(), BATCH)
    near = lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5)
    jax.tree.map(near, got.params, want.params)

  def test_each_network_has_batch_statistics_of_its_own(self):
    images = RNG.normal(size=(4, 6, 6, 1)).astype(np.float32)
    peers = [_Normed(width) for width in (2, 3)]
    algorithm = distillation.online_distillation(
      peers, images[:1], 'bd_kd', optimizer=optax.sgd(1.0)
    )
    state = algorithm.init(jax.random.key(0))
    cohort = _cohort({'inputs': images, 'labels': np.arange(4)})
    after, _ = algorithm.step(state, cohort, key=jax.random.key(1))
    means = [jax.tree.leaves(p['statistics'])[0].shape for p in after.params]
    self.assertEqual(means, [(2,), (3,)])
    for before, later in zip(state.params, after.params, strict=True):
      gap = optax.tree.norm(
        optax.tree.sub(later['statistics'], before['statistics'])
      )
      self.assertGreater(float(gap), 0)

  def test_learns_alike_under_jit_vmap_and_from_a_cohort(self):
    algorithm = _algorithm('bd_kd')
    cohort = _cohort(BATCH)
    keys = jax.random.split(jax.random.key(3), 2)
    states = jax.vmap(algorithm.init)(keys)
    run = lambda s, k: algorithm.step(s, cohort, key=k)
    got, _ = jax.jit(jax.vmap(run))(states, keys)
    one = jax.tree.map(lambda x: x[1], states)
    want, _ = _step('bd_kd')(one, BATCH)
    near = lambda x, y: np.testing.assert_allclose(x[1], y, atol=1e-5)
    jax.tree.map(near, got.params, want.params)

  @parameterized.parameters(*distillation.METHODS)
  def test_every_method_lowers_the_loss(self, method):
    _, first = _run(method, steps=1)
    _, last = _run(method, steps=25)
    self.assertLess(last['loss'], first['loss'])
    self.assertTrue(np.isfinite(jax.tree.leaves(last)).all())


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ('dml(temperature=0)', 'temperature must lie in'),
    ('bd_kd(weights=hard(nu=-1))', 'nu must lie in'),
    ('bd_kd(weights=harsh)', "'harsh' is unknown"),
    ('kdcl(ensemble=median)', "ensemble='median' is unknown"),
    ('label_smoothing(smoothing=2)', 'smoothing must lie in'),
    ('bd_kd(nu=2)', "has no option 'nu'"),
  )
  def test_methods(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      distillation.METHODS.check(spec)

  def test_networks_that_do_not_fit(self):
    build = distillation.mutual_step
    with self.assertRaisesRegex(ValueError, 'networks is empty'):
      build([], 'dml', optimizer=OPTIMIZER)
    with self.assertRaisesRegex(TypeError, 'networks must be a sequence'):
      build(PEERS[0], 'dml', optimizer=OPTIMIZER)
    with self.assertRaisesRegex(ValueError, 'each of the 2 networks; got 3'):
      build(PEERS, 'dml', optimizer=[OPTIMIZER] * 3)
    with self.assertRaisesRegex(ValueError, 'num_students must be at most 2'):
      build(PEERS, 'dml', optimizer=OPTIMIZER, num_students=3)
    with self.assertRaisesRegex(ValueError, 'offline_kd has no teacher'):
      _algorithm('offline_kd', num_students=2)
    with self.assertRaisesRegex(ValueError, 'say teacher_batches'):
      _algorithm('offline_kd', teacher_steps=2)
    peers = (networks.mlp(5, 10), networks.mlp(5, 100))
    algorithm = _algorithm('dml', peers)
    state = algorithm.init(jax.random.key(0))
    with self.assertRaisesRegex(
      ValueError, 'student has 10 classes, teacher 100'
    ):
      algorithm.step(state, _cohort(BATCH), key=jax.random.key(0))

  def test_batches_that_do_not_fit(self):
    step = distillation.mutual_step(PEERS, 'dml', optimizer=OPTIMIZER)
    with self.assertRaisesRegex(ValueError, "batch has no entry 'labels'"):
      step(_start(), {'inputs': BATCH['inputs']})
    empty = jax.tree.map(lambda x: x[:0], BATCH)
    with self.assertRaisesRegex(ValueError, 'batch has no examples'):
      step(_start(), empty)


if __name__ == '__main__':
  absltest.main()
