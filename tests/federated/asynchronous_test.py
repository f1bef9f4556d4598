# SPDX-License-Identifier: Apache-2.0
"""Training on a schedule: against hand traces and a float64 reference."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import local
from jaxdl.core import clients as clients_lib, types
from jaxdl.federated import asynchronous as lib, server

RATE, STEPS = 0.1, 3
TAU = [1.0, 0.7, 0.5, 0.4, 0.2]
CENTERS = np.array(
  [[0.0, 1.0], [1.0, 0.0], [2.0, -1.0], [3.0, 0.5], [4.0, 2.0]]
)
CURVES = np.array([1.0, 0.5, 2.0, 1.5, 1.0])


def _task(start=0.0, dimension=2):
  """½ a |x - c|²."""

  def loss(params, batch, *, key=None):
    del key
    gap = params['x'] - batch['c']
    return 0.5 * batch['a'] * jnp.vdot(gap, gap)

  init = lambda key: {'x': jnp.full((dimension,), start, jnp.float32)}
  return types.Task(init, loss, lambda params, batch: {})


def _cohort(centers=CENTERS, curves=CURVES):
  n = len(centers)
  return types.Cohort(
    client_ids=jnp.arange(n),
    data={
      'c': jnp.asarray(centers, jnp.float32),
      'a': jnp.asarray(curves, jnp.float32),
    },
    mask=jnp.ones(n, bool),
    weights=jnp.full(n, 1 / n),
  )


def _work(rate=RATE, steps=STEPS, momentum=None):
  return local.LocalWork(optax.sgd(rate, momentum=momentum), num_steps=steps)


def _run(algorithm, cohort, num_steps, *, key=None):
  """Models after 0, 1, ... steps, and the metrics of each."""
  key = jax.random.key(0) if key is None else key
  state = algorithm.init(key)
  step = jax.jit(algorithm.step)
  models, metrics = [algorithm.params(state)], []
  for t in range(num_steps):
    state, found = step(state, cohort, key=jax.random.fold_in(key, t))
    models.append(algorithm.params(state))
    metrics.append(found)
  return models, metrics


def _change(x, i, *, rate=RATE, steps=STEPS, momentum=0.0):
  """What client i changes of x, in float64; momentum begins afresh."""
  y, v = np.array(x, np.float64), np.zeros_like(x)
  for _ in range(steps):
    v = momentum * v + CURVES[i] * (y - CENTERS[i])
    y = y - rate * v
  return y - x


def _reference(schedule, change=_change, mixes=False):
  """The recursion of the paper, models looked up by their version."""
  x = [np.zeros(2)]
  for n in range(schedule.num_aggregations):
    update = np.zeros(2)
    for p in np.flatnonzero(schedule.mask[n]):
      i, start = schedule.participants[n, p], x[schedule.version[n, p]]
      message = change(start, i) + (start - x[n] if mixes else 0.0)
      update = update + schedule.weights[n, p] * message
    x.append(x[n] + update)
  return np.array(x)


def _xs(models):
  return np.array([m['x'] for m in models])


class AsynchronousTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      'fedfix(0.5)',
      [1.75, 0.5625, 0.671875, 0.472656, 0.604492, 0.467041],
    ),
    ('async', [1.625, 0.125, -0.109375, 0.306641, 0.212891, 0.4729]),
    ('fedavg', [1.25, 0.875, 0.6875]),
  )
  def test_hand_traces(self, spec, want):
    schedule = lib.make_schedule(spec, [1.0, 0.5], horizon=3.0)
    method = server.fedavg(_task(2.0, 1), _work(0.5, 1))
    algorithm = lib.asynchronous(method, 2, schedule)
    cohort = _cohort(np.array([[0.0], [1.0]]), np.ones(2))
    models, _ = _run(algorithm, cohort, len(want))
    np.testing.assert_allclose(_xs(models)[1:, 0], want, atol=5e-7)

  @parameterized.parameters(
    'fedavg',
    'async',
    'async(weights=identical, max_staleness=5)',
    'fedfix(0.2)',
    'fedbuff(2)',
    'fedbuff(3, restart=immediate, weights=identical, discount=sqrt)',
    'fedbuff(5, restart=immediate)',
    'fedasync(alpha=0.5)',
  )
  def test_equals_the_recursion(self, spec):
    p = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
    schedule = lib.make_schedule(spec, TAU, horizon=4.0, importance=p)
    method = server.fedavg(_task(), _work(momentum=0.9))
    algorithm = lib.asynchronous(method, 5, schedule)
    models, metrics = _run(algorithm, _cohort(), schedule.num_aggregations)
    change = functools.partial(_change, momentum=0.9)
    want = _reference(schedule, change, spec.startswith('fedasync'))
    np.testing.assert_allclose(_xs(models), want, atol=2e-5)
    np.testing.assert_allclose(
      [m['time'] for m in metrics], schedule.times, rtol=1e-6
    )
    lag = np.where(schedule.mask, lib.staleness(schedule), 0)
    count = np.maximum(schedule.mask.sum(1), 1)
    np.testing.assert_allclose(
      [m['staleness'] for m in metrics], lag.sum(1) / count, rtol=1e-6
    )

  def test_special_cases_are_bitwise_equal(self):
    method = server.fedavg(_task(), _work())
    for one, other, times in (
      ('fedfix(1.0)', 'fedavg', TAU),
      ('fedbuff(1, weights=identical)', 'async(weights=identical)', TAU),
    ):
      found = []
      for spec in (one, other):
        schedule = lib.make_schedule(spec, times, horizon=5.0)
        algorithm = lib.asynchronous(method, 5, schedule)
        found.append(_xs(_run(algorithm, _cohort(), 5)[0]))
      np.testing.assert_array_equal(*found, err_msg=one)

  @parameterized.parameters('scaffold', 'fedopt', 'apfl')
  def test_waiting_for_all_is_the_method(self, name):
    method = server.make_method(name, _task(), _work())
    schedule = lib.make_schedule('fedavg', TAU, horizon=5.0)
    models, _ = _run(lib.asynchronous(method, 5, schedule), _cohort(), 5)
    want, _ = _run(server.federate(method, 5), _cohort(), 5)
    np.testing.assert_allclose(_xs(models), _xs(want), atol=1e-6)

  @parameterized.parameters(
    ('async(weights=identical)', 2 / 3),
    ('fedfix(0.5, weights=identical)', 2 / 3),
    ('async', 1 / 2),
    ('fedfix(0.5)', 1 / 2),
  )
  def test_bias(self, spec, want):
    horizon, rate = 1000.0, 0.005
    schedule = lib.make_schedule(spec, [1.0, 0.5], horizon=horizon)
    method = server.fedavg(_task(2.0, 1), _work(rate, 2))
    algorithm = lib.in_windows(
      lib.asynchronous(method, 2, schedule), schedule, 1
    )
    cohort = _cohort(np.array([[0.0], [1.0]]), np.ones(2))
    models, _ = _run(algorithm, cohort, 1)
    # Of order of the step: the change that one aggregation makes.
    self.assertAlmostEqual(float(models[-1]['x'][0]), want, delta=2 * rate)

  @parameterized.parameters(
    'fedavg', 'async', 'fedfix(0.2)', 'fedbuff(2)', 'fedasync',
    'fedbuff(3, restart=immediate)',
  )  # fmt: skip
  def test_optimum_of_identical_clients_is_fixed(self, spec):
    schedule = lib.make_schedule(spec, TAU, horizon=200.0)
    method = server.fedavg(_task(3.0), _work(0.03))
    algorithm = lib.asynchronous(method, 5, schedule)
    algorithm = lib.in_windows(algorithm, schedule, 1)
    step, start = jax.jit(algorithm.step), algorithm.init(jax.random.key(0))
    for best in (3.0, 1.0):
      cohort = _cohort(np.full((5, 2), best))
      state, _ = step(start, cohort, key=jax.random.key(1))
      # There it stays, from elsewhere it gets there.
      np.testing.assert_allclose(
        algorithm.params(state)['x'], best, atol=1e-4 if best < 3 else 0.0
      )

  @parameterized.parameters('async', 'fedfix(0.2)', 'fedbuff(2)')
  def test_first_step_is_linear_in_the_servers_rate(self, spec):
    schedule = lib.make_schedule(spec, TAU, horizon=2.0)
    first = []
    for rate in (1.0, 2.0):
      method = server.fedavg(_task(), _work(), server_optimizer=optax.sgd(rate))
      models, _ = _run(lib.asynchronous(method, 5, schedule), _cohort(), 1)
      first.append(_xs(models)[1])
    np.testing.assert_array_equal(2 * first[0], first[1])

  def test_one_message_trains_one_client(self):
    def flops(n):
      def loss(params, batch, *, key=None):
        del key
        return jnp.mean((batch['x'] @ params['w']) ** 2)

      task = types.Task(lambda key: {'w': jnp.ones((64, 8))}, loss, None)
      schedule = lib.make_schedule('async', [1.0] * n, horizon=3.0)
      method = server.fedavg(task, _work())
      algorithm = lib.asynchronous(method, n, schedule)
      data = {'x': jax.ShapeDtypeStruct((n, 32, 64), jnp.float32)}
      cohort = types.Cohort(
        client_ids=jnp.arange(n), data=data, mask=jnp.ones(n, bool),
        weights=jnp.ones(n),
      )  # fmt: skip
      key = jax.eval_shape(lambda: jax.random.key(0))
      state = jax.eval_shape(algorithm.init, key)
      lowered = jax.jit(algorithm.step).lower(state, cohort, key=key)
      return lowered.cost_analysis()['flops']

    self.assertLess(flops(40), 1.5 * flops(4))

  def test_steps_after_the_last_change_nothing(self):
    schedule = lib.make_schedule('fedbuff(2)', TAU, horizon=1.0)
    method = server.fedavgm(_task(), _work())
    last = schedule.num_aggregations
    models, _ = _run(lib.asynchronous(method, 5, schedule), _cohort(), last + 2)
    x = _xs(models)
    self.assertTrue((x[last] != x[last - 1]).any())
    np.testing.assert_array_equal(x[last:], np.tile(x[last], (3, 1)))

  def test_empty_aggregations_leave_the_servers_memory(self):
    # Momentum would carry the model on.
    empty = lib.make_schedule('fedfix(0.1)', TAU, horizon=1.0)
    full = lib.make_schedule('fedfix(0.1, min_arrivals=1)', TAU, horizon=1.0)
    method = server.fedavgm(_task(), _work())
    last = [
      _xs(
        _run(lib.asynchronous(method, 5, s), _cohort(), s.num_aggregations)[0]
      )[-1]
      for s in (empty, full)
    ]
    self.assertLess(full.num_aggregations, empty.num_aggregations)
    np.testing.assert_array_equal(*last)

  def test_absent_clients_do_not_count(self):
    schedule = lib.make_schedule('fedfix(0.2)', TAU, horizon=4.0)
    algorithm = lib.asynchronous(server.fedavg(_task(), _work()), 5, schedule)
    cohort = _cohort()
    gone = dataclasses.replace(
      cohort,
      mask=cohort.mask.at[3].set(False),
      data=jax.tree.map(lambda x: x.at[3].set(jnp.nan), cohort.data),
    )
    there = schedule.mask & (schedule.participants != 3)
    models, _ = _run(algorithm, gone, 20)
    want = _reference(dataclasses.replace(schedule, mask=there))
    np.testing.assert_allclose(_xs(models), want, atol=1e-5)

  def test_windows_bring_all_to_the_same_time(self):
    schedule = lib.make_schedule('async', TAU, horizon=4.0)
    algorithm = lib.asynchronous(server.fedavg(_task(), _work()), 5, schedule)
    models, metrics = _run(lib.in_windows(algorithm, schedule, 8), _cohort(), 8)
    ends = [0, *lib.window_ends(schedule, 8)]
    want = _reference(schedule)[ends]
    np.testing.assert_allclose(_xs(models), want, atol=1e-5)
    np.testing.assert_array_equal(
      [m['aggregations'] for m in metrics], np.diff(ends)
    )
    np.testing.assert_allclose(
      [m['time'] for m in metrics], 0.5 * np.arange(1, 9)
    )

  def test_jit_vmap_and_no_second_trace(self):
    schedule = lib.make_schedule('fedbuff(2)', TAU, horizon=3.0)
    algorithm = lib.asynchronous(server.fedavg(_task(), _work()), 5, schedule)
    want = _reference(schedule)
    state = algorithm.init(jax.random.key(0))
    traces = []

    @jax.jit
    @jax.vmap
    def step(state, key):
      traces.append(1)
      return algorithm.step(state, _cohort(), key=key)[0]

    states = jax.tree.map(lambda x: jnp.stack([x, x]), state)
    eager, _ = algorithm.step(state, _cohort(), key=jax.random.key(0))
    np.testing.assert_allclose(algorithm.params(eager)['x'], want[1], atol=1e-6)
    for t in range(3):
      states = step(states, jax.random.split(jax.random.key(t)))
    self.assertLen(traces, 1)
    for row in states.server.params['x']:
      np.testing.assert_allclose(row, want[3], atol=1e-6)

  def test_eight_devices(self):
    schedule = lib.make_schedule('fedfix(0.5)', TAU, horizon=4.0)
    method = server.fedavg(_task(), _work())
    mesh = clients_lib.clients_mesh()
    models, _ = _run(
      lib.asynchronous(method, clients_lib.Clients(5, mesh), schedule),
      _cohort(),
      3,
    )
    np.testing.assert_allclose(_xs(models), _reference(schedule)[:4], atol=1e-5)


class ChannelTest(parameterized.TestCase):
  def _centers(self, schedule, channel, num_steps, start=0.0):
    algorithm = lib.asynchronous(
      server.fedavg(_task(start), _work()), 5, schedule, channel
    )
    return _run(algorithm, _cohort(), num_steps)

  def test_rule_is_scaled_by_the_weights(self):
    schedule = lib.make_schedule('fedfix(0.5)', TAU, horizon=4.0)
    models, _ = self._centers(schedule, 'median', 8)
    x = [np.zeros(2)]
    for n in range(8):
      there = np.flatnonzero(schedule.mask[n])
      rows = [
        _change(x[schedule.version[n, p]], schedule.participants[n, p])
        for p in there
      ]
      x.append(x[n] + schedule.weights[n, there].sum() * np.median(rows, 0))
    np.testing.assert_allclose(_xs(models), x, atol=1e-5)

  @parameterized.parameters('fedfix(0.2)', 'async', 'fedbuff(2)')
  def test_highest_numbers_are_the_adversaries(self, spec):
    # An attack is one of the honest mean of those who are there.
    schedule = lib.make_schedule(spec, TAU, horizon=3.0)
    channel = server.Channel(attack='sign_flip(scale=2.0)', num_byzantine=2)
    models, metrics = self._centers(schedule, channel, 12)
    x = [np.zeros(2)]
    for n in range(12):
      update = np.zeros(2)
      real = np.flatnonzero(schedule.mask[n])
      ids = schedule.participants[n]
      honest = [p for p in real if ids[p] < 3]
      change = lambda p, n=n, ids=ids: _change(
        x[schedule.version[n, p]], ids[p]
      )
      mean = np.mean([change(p) for p in honest], 0) if honest else np.zeros(2)
      for p in real:
        sent = change(p) if p in honest else -2.0 * mean
        update += schedule.weights[n, p] * sent
      x.append(x[n] + update)
    np.testing.assert_allclose(_xs(models), x, atol=1e-5)
    self.assertIn('error', metrics[0])

  def test_a_robust_rule_keeps_learning(self):
    # All want the same; the fastest of seven sends nonsense.
    tau = lib.compute_times(7, 80)
    schedule = lib.make_schedule('fedfix(0.5)', tau, horizon=30.0)
    cohort = _cohort(np.full((7, 2), 1.0), np.linspace(0.5, 1.0, 7))
    gaps = {}
    for rule in ('mean', 'median', 'multi_krum'):
      channel = server.Channel(
        aggregator=rule, attack='gaussian(scale=100.0)', num_byzantine=1
      )
      algorithm = lib.asynchronous(
        server.fedavg(_task(), _work()), 7, schedule, channel
      )
      algorithm = lib.in_windows(algorithm, schedule, 1)
      gaps[rule] = np.abs(_xs(_run(algorithm, cohort, 1)[0])[-1] - 1.0).max()
    self.assertGreater(gaps['mean'], 1.0)
    self.assertLess(gaps['median'], 0.01)
    self.assertLess(gaps['multi_krum'], 0.01)

  def test_clients_remember_what_compression_took(self):
    schedule = lib.make_schedule('fedfix(0.2)', TAU, horizon=3.0)
    channel = server.Channel(compressor='top_k(keep=0.5)', error_feedback=True)
    models, _ = self._centers(schedule, channel, 15)
    x, held = [np.zeros(2)], np.zeros((5, 2))
    for n in range(15):
      update = np.zeros(2)
      for p in np.flatnonzero(schedule.mask[n]):
        i = schedule.participants[n, p]
        whole = _change(x[schedule.version[n, p]], i) + held[i]
        sent = np.zeros(2)
        k = np.argmax(np.abs(whole))
        sent[k] = whole[k]
        held[i] = whole - sent
        update += schedule.weights[n, p] * sent
      x.append(x[n] + update)
    np.testing.assert_allclose(_xs(models), x, atol=1e-4)

  def test_two_jobs_of_a_client_draw_apart(self):
    # The loss pulls along a normal drawn from the job's key.
    def loss(params, batch, *, key=None):
      del batch
      return jnp.vdot(params['x'], jax.random.normal(key, (2,)))

    task = types.Task(lambda key: {'x': jnp.zeros(2)}, loss, None)
    schedule = lib.make_schedule(
      'fedbuff(2, restart=immediate, weights=identical)',
      [1.0, 0.25],
      horizon=0.5,
    )
    self.assertEqual(schedule.participants.tolist(), [[1, 1]])
    method = server.fedavg(task, _work(1.0, 1))
    both, once = (
      _xs(
        _run(
          lib.asynchronous(method, 2, s),
          _cohort(CENTERS[:2], CURVES[:2]),
          1,
        )[0]
      )[1]
      for s in (
        schedule,
        dataclasses.replace(
          schedule,
          weights=np.array([[1.0, 0.0]]),
        ),
      )
    )
    self.assertGreater(np.abs(both - once).max(), 1e-3)

  @parameterized.parameters(
    ('mime', {}, 'mime asks all clients before the work'),
    ('ifca', {}, 'ifca averages within groups'),
    ('agnostic', {}, 'agnostic learns its own weights'),
    (
      'fedavg',
      {'privacy': 'central(clip=1.0, noise_multiplier=1.0)'},
      'rests on cohorts that are drawn at random',
    ),
    (
      'fedavg',
      {'attack': 'sign_flip', 'num_byzantine': 5},
      'num_byzantine must be at most 4; got 5',
    ),
    ('fedavg', {'attack': 'sign_flip'}, 'num_byzantine is not'),
    (
      'fedavg',
      {'attack': 'sign_flip', 'num_malicious': 2},
      'num_malicious=2 is for rounds of cohorts',
    ),
  )
  def test_what_does_not_fit_is_refused(self, name, channel, message):
    schedule = lib.make_schedule('fedfix(0.2)', TAU, horizon=3.0)
    method = server.make_method(name, _task(), _work())
    with self.assertRaisesRegex(ValueError, message):
      lib.asynchronous(method, 5, schedule, server.Channel(**channel))

  def test_memory_and_two_jobs_do_not_go_together(self):
    schedule = lib.make_schedule(
      'fedbuff(5, restart=immediate)', TAU, horizon=3.0
    )
    method = server.scaffold(_task(), _work())
    algorithm = lib.asynchronous(method, 5, schedule)
    with self.assertRaisesRegex(ValueError, 'two jobs of a client'):
      algorithm.init(jax.random.key(0))

  def test_mixing_needs_models(self):
    schedule = lib.make_schedule('fedasync', TAU, horizon=3.0)
    algorithm = lib.asynchronous(server.scaffold(_task(), _work()), 5, schedule)
    with self.assertRaisesRegex(ValueError, 'scaffold must make models'):
      algorithm.init(jax.random.key(0))

  def test_parts_of_another_kind_are_refused(self):
    schedule = lib.make_schedule('async', TAU, horizon=3.0)
    method = server.fedavg(_task(), _work())
    with self.assertRaisesRegex(TypeError, 'schedule must be a Schedule'):
      lib.asynchronous(method, 5, 'async')
    with self.assertRaisesRegex(TypeError, 'method must be a server.Method'):
      lib.asynchronous(_task(), 5, schedule)
    with self.assertRaisesRegex(ValueError, 'has 5 clients but num_clients=4'):
      lib.asynchronous(method, 4, schedule)
    algorithm = lib.asynchronous(method, 5, schedule)
    state = algorithm.init(jax.random.key(0))
    with self.assertRaisesRegex(ValueError, 'cohort has 4 clients'):
      algorithm.step(state, _cohort(CENTERS[:4]), key=jax.random.key(0))


if __name__ == '__main__':
  absltest.main()
