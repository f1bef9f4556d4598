# SPDX-License-Identifier: Apache-2.0
"""Slopes, their sums, one byte per gradient, replicas, logs and devices."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import compression, decentralized, local
from jaxdl.core import clients, types
from jaxdl.decentralized import one_byte as one_byte_lib

M, S, B, D = 4, 2, 8, 6
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(M, S, B, D)).astype(np.float32)
LABELS = (INPUTS @ RNG.normal(size=(D, 1)))[..., 0].astype(np.float32)
ROWS = np.full((M,), True)


def squares(params, batch, *, key=None):
  del key
  hidden = jnp.tanh(batch['x'] @ params['w'])
  return jnp.mean((hidden @ params['v'] - batch['y']) ** 2)


def start(key):
  del key
  rng = np.random.default_rng(1)
  return {
    'v': jnp.asarray(rng.normal(size=5), jnp.float32),
    'w': jnp.asarray(rng.normal(size=(D, 5)), jnp.float32),
  }


TASK = types.Task(start, squares, lambda params, batch: {})


def cohort(mask=ROWS, machines=M, data=None):
  data = {'x': INPUTS, 'y': LABELS} if data is None else data
  return types.Cohort(
    client_ids=jnp.arange(machines),
    data=jax.tree.map(jnp.asarray, data),
    mask=jnp.asarray(mask),
    weights=jnp.ones(machines),
  )


def make(rate=0.05, **options):
  options = {'clients': M, 'num_samples': S, **options}
  options.setdefault('optimizer', optax.sgd(rate))
  return decentralized.one_byte_sgd(options.pop('task', TASK), **options)


@functools.cache
def trained(distribution='normal', rounds=100, momentum=None, machines=M):
  """A run whose machines come and go, and its log."""
  samples = S if machines > 1 else 1
  algorithm = make(
    clients=machines,
    num_samples=samples,
    distribution=distribution,
    optimizer=optax.sgd(0.05, momentum=momentum),
  )
  data = {'x': INPUTS[:machines, :samples], 'y': LABELS[:machines, :samples]}
  step = jax.jit(algorithm.step)
  first = algorithm.init(jax.random.key(0))
  state, codes, received, losses = first, [], [], []
  for t in range(rounds):
    mask = (np.arange(machines) != 2) | (t > 30)
    mask &= (np.arange(machines) != 0) | (t < 70) | (machines == 1)
    state, metrics = step(
      state, cohort(mask, machines, data), key=jax.random.key(t)
    )
    codes.append(np.asarray(metrics['codes']))
    received.append(np.asarray(metrics['received']))
    losses.append(np.asarray(metrics['loss']).mean())
  log = one_byte_lib.MessageLog(np.stack(codes), np.stack(received))
  return algorithm, first, state, log, np.array(losses)


def assert_same(a, b):
  jax.tree.map(
    np.testing.assert_array_equal,
    *(jax.tree.map(lambda x: np.asarray(x), t) for t in (a, b)),
  )


class DirectionTest(parameterized.TestCase):
  def test_keys_are_the_fold_of_iteration_machine_and_sample(self):
    key = jax.random.key(3)
    got = local.direction_keys(key, 7, num_machines=3, num_samples=2)
    want = key
    for n in (7, 2, 1):
      want = jax.random.fold_in(want, n)
    self.assertTrue(bool(got[2, 1] == want))
    self.assertLen(np.unique(np.asarray(jax.random.key_data(got)), axis=0), 3)

  @parameterized.parameters(('normal', 3.0), ('rademacher', 1.0))
  def test_moments(self, distribution, fourth):
    keys = jax.random.split(jax.random.key(0), 5000)
    draw = functools.partial(local.perturbation, distribution=distribution)
    params = {'a': jnp.zeros((3, 2)), 'b': jnp.zeros(35)}
    z = jax.jit(jax.vmap(lambda k: draw(k, params)))(keys)
    self.assertEqual(z['a'].shape, (5000, 3, 2))
    flat = np.concatenate([z['a'].reshape(5000, 6), z['b']], 1)
    flat = flat.astype(np.float64)
    covariance = flat.T @ flat / 5000
    np.testing.assert_allclose(covariance, np.eye(41), atol=0.12)
    np.testing.assert_allclose(flat.mean(0), 0.0, atol=0.07)
    np.testing.assert_allclose((flat**4).mean(), fourth, rtol=0.03)

  def test_moving_keeps_dtypes(self):
    params = {'a': jnp.ones(3, jnp.bfloat16), 'b': jnp.ones(3)}
    key = jax.random.key(0)
    moved = local.add_scaled(params, key, 2.0, distribution='normal')
    z = local.perturbation(key, params)
    self.assertEqual(moved['a'].dtype, jnp.bfloat16)
    self.assertEqual(z['a'].dtype, jnp.float32)
    np.testing.assert_allclose(moved['b'], 1 + 2 * z['b'], rtol=1e-6)

  def test_small_steps_vanish_in_bfloat16_only(self):
    key = jax.random.key(0)
    for dtype, low, high in (('bfloat16', 0.99, 1.0), ('float32', 0.0, 0.01)):
      share = local.unmoved_share(jnp.ones(500, dtype), key, eps=1e-4)
      self.assertBetween(float(share), low, high)

  def test_bad_input(self):
    key = jax.random.key(0)
    draw = local.perturbation
    with self.assertRaisesRegex(ValueError, 'distribution'):
      draw(key, jnp.ones(2), distribution='uniform')
    with self.assertRaisesRegex(TypeError, r"params\['n'\] is int32"):
      draw(key, {'n': jnp.arange(2), 'x': jnp.ones(2)})
    with self.assertRaisesRegex(ValueError, 'no leaves'):
      draw(key, {})
    for eps in (0.0, -1.0, np.nan):
      with self.assertRaisesRegex(ValueError, 'eps'):
        local.projected_gradient(
          lambda w, b: jnp.sum(w), jnp.ones(2), None, key, eps=eps
        )
    with self.assertRaisesRegex(ValueError, 'one shape'):
      local.estimated_gradient(
        jax.random.split(key, 3), jnp.ones(2), jnp.ones(2)
      )
    with self.assertRaisesRegex(ValueError, 'aggregate'):
      local.estimated_gradient(
        jax.random.split(key, 2), jnp.ones(2), jnp.ones(2), aggregate='sum'
      )


class SlopeTest(parameterized.TestCase):
  @parameterized.product(eps=(1e-2, 0.5), distribution=('normal', 'rademacher'))
  def test_exact_for_quadratic_losses(self, eps, distribution):
    rng = np.random.default_rng(0)
    linear = rng.normal(size=20)
    root = rng.normal(size=(20, 20)) / 4
    theta = rng.normal(size=20)
    key = jax.random.key(1)
    with jax.enable_x64(True):
      z = np.asarray(
        local.perturbation(key, jnp.asarray(theta), distribution=distribution)
      )
      for curved in (0.0, 1.0):
        slope, loss = local.projected_gradient(
          lambda w, a, c=curved: w @ a + c * jnp.sum((root @ w) ** 2),
          jnp.asarray(theta),
          jnp.asarray(linear),
          key,
          eps=eps,
          distribution=distribution,
        )
        gradient = linear + curved * 2 * root.T @ root @ theta
        np.testing.assert_allclose(slope, gradient @ z, rtol=1e-9)
        want = theta @ linear + curved * (
          np.sum((root @ theta) ** 2) + eps**2 * np.sum((root @ z) ** 2)
        )
        np.testing.assert_allclose(loss, want, rtol=1e-9)

  def test_error_is_quadratic_in_eps(self):
    with jax.enable_x64(True):
      theta = jnp.asarray(np.random.default_rng(0).normal(size=10))
      fn = lambda w, _: jnp.sum(jnp.sin(w) * jnp.exp(w / 2))
      key = jax.random.key(0)
      exact = jax.grad(fn)(theta, None) @ local.perturbation(key, theta)
      epsilons = np.geomspace(1e-2, 1e-1, 5)
      errors = [
        abs(local.projected_gradient(fn, theta, None, key, eps=e)[0] - exact)
        for e in epsilons
      ]
    rate, _ = np.polyfit(np.log(epsilons), np.log(np.array(errors)), 1)
    self.assertBetween(rate, 1.8, 2.2)

  @parameterized.parameters(('normal', 2.0), ('rademacher', 0.0))
  def test_mean_and_length_of_the_estimate(self, distribution, extra):
    gradient = np.random.default_rng(0).normal(size=12)
    draws = 100_000

    def one(key):
      slope, _ = local.projected_gradient(
        lambda w, a: w @ a,
        jnp.zeros(12),
        jnp.asarray(gradient, jnp.float32),
        key,
        eps=1.0,
        distribution=distribution,
      )
      draw = local.perturbation(key, jnp.zeros(12), distribution=distribution)
      return slope * draw

    keys = jax.random.split(jax.random.key(0), draws)
    got = np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)
    error = got.std(0) / np.sqrt(draws)
    np.testing.assert_array_less(np.abs(got.mean(0) - gradient), 4 * error)
    ratio = (got**2).sum(1).mean() / (gradient @ gradient)
    np.testing.assert_allclose(ratio, 12 + extra, rtol=0.03)

  def test_estimate_equals_the_sum_in_numpy(self):
    keys = jax.random.split(jax.random.key(0), 5)
    slopes = np.array([1.0, -2.0, 0.0, 0.5, 3.0], np.float32)
    params = {'a': jnp.zeros((2, 2)), 'b': jnp.ones(3, jnp.bfloat16)}
    z = [local.perturbation(k, params) for k in keys]
    for aggregate, divisor in (('mean', 4.0), ('sqrt', 2.0)):
      got = local.estimated_gradient(
        keys, jnp.asarray(slopes), params, count=4, aggregate=aggregate
      )
      for name in params:
        want = sum(
          g * np.asarray(d[name], np.float64)
          for g, d in zip(slopes, z, strict=True)
        )
        np.testing.assert_allclose(got[name], want / divisor, atol=1e-6)
    moved = local.apply_projected(
      params, keys, jnp.asarray(slopes), 0.1, count=4
    )
    self.assertEqual(moved['b'].dtype, jnp.bfloat16)
    want = -0.1 * sum(
      g * np.asarray(d['a']) for g, d in zip(slopes, z, strict=True)
    )
    np.testing.assert_allclose(moved['a'], want / 4, atol=1e-6)


class OneByteTest(parameterized.TestCase):
  def test_it_learns(self):
    losses = trained()[-1]
    self.assertLess(losses[-10:].mean(), 0.5 * losses[:3].mean())

  @parameterized.parameters(('mean', M * S), ('sqrt', np.sqrt(M * S)))
  def test_divides_by_the_number_or_its_root(self, aggregate, divisor):
    # The slopes are given: measured ones hang on the last bit of the losses,
    # 1 / (2 ε) = 500 times enlarged, and so on the processor.
    codec = compression.make_codec('float32')
    algorithm = make(0.02, aggregate=aggregate, codec=codec)
    state = algorithm.init(jax.random.key(0))
    slopes = np.random.default_rng(2).normal(size=(3, M, S)).astype(np.float32)
    receive = jax.jit(algorithm.receive)
    draw = jax.jit(jax.vmap(lambda k: local.perturbation(k, state.params)))
    want, traveled = start(None), 0.0
    want = jax.tree.map(lambda x: np.asarray(x, np.float64), want)
    for t, slope in enumerate(slopes):
      keys = local.direction_keys(state.key, t, num_machines=M, num_samples=S)
      z = jax.tree.map(np.float64, draw(keys.reshape(-1)))
      step = jax.tree.map(
        lambda z, g=slope: 0.02 / divisor * np.tensordot(g.reshape(-1), z, 1), z
      )
      want = jax.tree.map(np.subtract, want, step)
      traveled += 0.02 / divisor * np.abs(slope).sum() * np.abs(z['w']).max()
      state = receive(state, slope, np.ones((M, S), bool))
    # A product and a sum per direction, three roundings per step, of numbers
    # no larger than the start and all that was added to it.
    largest = np.abs(start(None)['w']).max() + traveled
    bound = 3 * (2 * M * S + 3) * np.finfo(np.float32).eps / 2 * largest
    np.testing.assert_allclose(state.params['w'], want['w'], rtol=0, atol=bound)
    self.assertLess(bound, 5e-5)
    moved = np.abs(state.params['w'] - start(None)['w']).max()
    self.assertGreater(moved, 100 * bound)

  def test_who_measures_does_not_matter(self):
    # M machines with S samples each, or all M S by hand with the same keys.
    codec = compression.make_codec()
    algorithm = make()
    state = algorithm.init(jax.random.key(0))
    new, metrics = jax.jit(algorithm.step)(
      state, cohort(), key=jax.random.key(5)
    )
    keys = local.direction_keys(
      state.key, 0, num_machines=M, num_samples=S
    ).reshape(-1)
    batches = {'x': INPUTS.reshape(M * S, B, D), 'y': LABELS.reshape(M * S, B)}
    slopes, _ = jax.jit(
      jax.vmap(
        lambda k, b: local.projected_gradient(squares, state.params, b, k)
      )
    )(keys, batches)
    codes = codec.encode(slopes)
    np.testing.assert_array_equal(codes, metrics['codes'].reshape(-1))
    want = local.apply_projected(state.params, keys, codec.decode(codes), 0.05)
    np.testing.assert_allclose(new.params['w'], want['w'], atol=1e-6)

  def test_no_step_without_learning_rate(self):
    algorithm = make(0.0)
    state = algorithm.init(jax.random.key(0))
    new, metrics = jax.jit(algorithm.step)(
      state, cohort(), key=jax.random.key(0)
    )
    assert_same(new.params, state.params)
    self.assertTrue(np.all(np.asarray(metrics['codes']) != 0))

  def test_constant_loss_sends_zeros_and_moves_nothing(self):
    task = TASK._replace(loss=lambda params, batch, *, key=None: jnp.ones(()))
    algorithm = make(task=task)
    state = algorithm.init(jax.random.key(0))
    new, metrics = jax.jit(algorithm.step)(
      state, cohort(), key=jax.random.key(0)
    )
    np.testing.assert_array_equal(metrics['codes'], np.zeros((M, S), np.int8))
    assert_same(new.params, state.params)

  def test_a_slope_that_is_not_finite_is_dropped(self):
    data = {'x': INPUTS, 'y': LABELS.copy()}
    data['y'][1, 0, 0] = np.nan
    algorithm = make()
    state = algorithm.init(jax.random.key(0))
    new, metrics = jax.jit(algorithm.step)(
      state, cohort(data=data), key=jax.random.key(0)
    )
    want = np.zeros((M, S), bool)
    want[1, 0] = True
    np.testing.assert_array_equal(metrics['dropped'], want)
    self.assertEqual(int(metrics['codes'][1, 0]), 0)
    self.assertTrue(bool(jnp.all(jnp.isfinite(new.params['w']))))

  def test_absent_machines_are_like_fewer_machines(self):
    mask = np.array([True, False, True, True])
    algorithm = make()
    state = algorithm.init(jax.random.key(0))
    got, _ = jax.jit(algorithm.step)(state, cohort(mask), key=jax.random.key(0))
    keys = local.direction_keys(state.key, 0, num_machines=M, num_samples=S)[
      mask
    ].reshape(-1)
    batches = {
      'x': INPUTS[mask].reshape(-1, B, D),
      'y': LABELS[mask].reshape(-1, B),
    }
    slopes, _ = jax.vmap(
      lambda k, b: local.projected_gradient(squares, state.params, b, k)
    )(keys, batches)
    codec = algorithm.codec
    want = local.apply_projected(
      state.params, keys, codec.decode(codec.encode(slopes)), 0.05
    )
    np.testing.assert_allclose(got.params['w'], want['w'], atol=1e-6)

  def test_a_machine_that_died_half_way_gives_what_arrived(self):
    received = np.ones((M, S), bool)
    received[3, 1] = False
    algorithm = make()
    state = algorithm.init(jax.random.key(0))
    step = jax.jit(algorithm.step)
    new, metrics = step(
      state, cohort(), key=jax.random.key(0), received=received
    )
    np.testing.assert_array_equal(metrics['received'], received)
    codes = np.asarray(metrics['codes']).copy()
    codes[3, 1] = 99  # What did not arrive has no effect.
    got = jax.jit(algorithm.receive)(state, codes, received)
    assert_same(got.params, new.params)

  def test_nobody_changes_nothing(self):
    algorithm = make(optimizer=optax.sgd(0.1, momentum=0.9))
    state = algorithm.init(jax.random.key(0))
    step = jax.jit(algorithm.step)
    state, _ = step(state, cohort(), key=jax.random.key(0))
    new, _ = step(state, cohort(~ROWS), key=jax.random.key(1))
    assert_same(new.params, state.params)
    assert_same(new.opt_state, state.opt_state)
    self.assertEqual(int(new.iteration), 2)

  def test_random_rounding_and_dropout_are_private(self):
    noisy = TASK._replace(
      loss=lambda params, batch, *, key: (
        squares(params, batch) + jax.random.normal(key)
      )
    )
    algorithm = make(task=noisy, stochastic_rounding=True)
    state = algorithm.init(jax.random.key(0))
    step = jax.jit(algorithm.step)
    runs = [step(state, cohort(), key=jax.random.key(k))[1] for k in (0, 1)]
    # The noise of a loss is the same on both sides, so it leaves the slope.
    np.testing.assert_allclose(runs[0]['slopes'], runs[1]['slopes'], atol=0.02)
    self.assertTrue(np.any(runs[0]['codes'] != runs[1]['codes']))

  @parameterized.parameters(
    ({'clients': 0}, 'clients must be at least 1'),
    ({'num_samples': 0}, 'num_samples'),
    ({'eps': 0.0}, 'eps'),
    ({'aggregate': 'median'}, 'aggregate'),
    ({'distribution': 'uniform'}, 'distribution'),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      make(**options)

  def test_bad_cohorts(self):
    algorithm = make()
    state = algorithm.init(jax.random.key(0))
    data = {'x': INPUTS[:3], 'y': LABELS[:3]}
    with self.assertRaisesRegex(ValueError, 'num_machines=4'):
      algorithm.step(state, cohort(ROWS[:3], 3, data), key=jax.random.key(0))
    data = {'x': INPUTS, 'y': LABELS[:, :1]}
    with self.assertRaisesRegex(ValueError, r"\['y'\] must have .* \(4, 2\)"):
      algorithm.step(state, cohort(data=data), key=jax.random.key(0))
    counting = TASK._replace(init=lambda key: {'n': jnp.arange(3)})
    with self.assertRaisesRegex(TypeError, 'int32'):
      make(task=counting).init(jax.random.key(0))


class ReplayTest(parameterized.TestCase):
  @parameterized.parameters(
    ('normal', 100, None, M),
    ('rademacher', 20, 0.9, M),
    ('normal', 20, None, 1),
  )
  def test_replay_is_the_live_model(self, *run):
    algorithm, first, state, log, _ = trained(*run)
    got = one_byte_lib.replay(algorithm, first, log)
    assert_same(got.params, state.params)
    self.assertEqual(
      one_byte_lib.fingerprint(got), one_byte_lib.fingerprint(state)
    )
    half = run[1] // 2
    middle = one_byte_lib.replay(
      algorithm, first, jax.tree.map(lambda x: x[:half], log)
    )
    self.assertTrue(np.any(middle.params['w'] != state.params['w']))
    rest = one_byte_lib.replay(
      algorithm, middle, jax.tree.map(lambda x: x[half:], log)
    )
    assert_same(rest.params, state.params)

  def test_order_of_arrival_does_not_matter(self):
    algorithm, first, state, log, _ = trained()
    order = np.random.default_rng(0).permutation(int(log.received.sum()))
    messages = [x[order] for x in np.nonzero(log.received)]
    sorted_log = one_byte_lib.message_log(
      *messages,
      log.codes[log.received][order],
      num_machines=M,
      num_samples=S,
      num_iterations=len(log.codes),
    )
    np.testing.assert_array_equal(sorted_log.received, log.received)
    assert_same(
      one_byte_lib.replay(algorithm, first, sorted_log).params, state.params
    )

  def test_bad_logs(self):
    make_log = functools.partial(one_byte_lib.message_log, num_machines=2)
    with self.assertRaisesRegex(ValueError, 'iteration 5, machine 1, sample 0'):
      make_log([5, 5], [1, 1], [0, 0], [3, 4], first=4)
    with self.assertRaisesRegex(ValueError, r'machines\[1\]=2 .* < 2'):
      make_log([0, 0], [0, 2], [0, 0], [3, 4])
    with self.assertRaisesRegex(ValueError, r'iterations\[0\]=3 .* 4 <='):
      make_log([3], [0], [0], [3], first=4)
    with self.assertRaisesRegex(ValueError, 'one shape'):
      make_log([0, 1], [0], [0], [3])
    self.assertEqual(make_log([], [], [], []).codes.shape, (0, 2, 1))
    algorithm, first, _, log, _ = trained()
    for bad, message in (
      (log._replace(codes=log.codes[:, :2]), r'\(4, 2\)'),
      (log._replace(received=log.received[:2]), 'bool'),
      (log._replace(codes=log.codes.astype(np.int16)), 'int16 but log_int8'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        one_byte_lib.replay(algorithm, first, bad)


class DevicesTest(parameterized.TestCase):
  @parameterized.parameters((4, 4), (8, 3))
  def test_devices_change_nothing(self, devices, machines):
    mesh = clients.clients_mesh(devices)
    mask = np.arange(machines) != 1
    rows = cohort(
      mask, machines, {'x': INPUTS[:machines], 'y': LABELS[:machines]}
    )
    ends = []
    for where in (None, mesh):
      algorithm = make(clients=clients.Clients(machines, where))
      state, key = algorithm.init(jax.random.key(0)), jax.random.key(0)
      if where is not None:
        state, key, rows = clients.replicate((state, key, rows), mesh)
      if where is not None and machines == devices:
        rows = rows.replace(data=clients.shard_clients(rows.data, mesh))
      step = jax.jit(algorithm.step).lower(state, rows, key=key).compile()
      for _ in range(5):
        state, metrics = step(state, rows, key=key)
      ends.append((state, metrics))
    (alone, told), (spread, seen) = ends
    with self.subTest('bitwise like one device'):
      np.testing.assert_array_equal(told['codes'], seen['codes'])
      assert_same(alone.params, spread.params)
    with self.subTest('replicas are bitwise equal'):
      for leaf in jax.tree.leaves(spread.params):
        copies = [np.asarray(s.data) for s in leaf.addressable_shards]
        self.assertLen(copies, devices)
        for copy in copies[1:]:
          np.testing.assert_array_equal(copy, copies[0])
    if machines != devices:
      return
    with self.subTest('one gather of bytes'):
      moves = re.findall(
        r'= (\S+) (all-\w+|collective-\w+|reduce-scatter)(?:-start)?\(',
        step.as_text(),
      )
      self.assertLen(moves, 1, moves)
      self.assertEqual(moves[0][1], 'all-gather')
      self.assertStartsWith(moves[0][0], f's8[{machines},{S}]')


if __name__ == '__main__':
  absltest.main()
