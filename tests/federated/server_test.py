# SPDX-License-Identifier: Apache-2.0
"""Federated methods on two quadratics whose rounds are known by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import local
from jaxdl.core import clients as clients_lib, types
from jaxdl.federated import server

CURVATURES = (1.0, 4.0)
CENTERS = (0.0, 1.0)


def _loss(params, batch, *, key=None):
  del key
  return jnp.mean(batch['a'] * (params - batch['c']) ** 2) / 2


TASK = types.Task(lambda key: jnp.zeros(()), _loss, lambda params, batch: {})


def _cohort(a=CURVATURES, c=CENTERS, **changes):
  n = len(a)
  cohort = types.Cohort(
    client_ids=jnp.arange(n),
    data={'a': jnp.array(a)[:, None], 'c': jnp.array(c)[:, None]},
    mask=jnp.ones(n, bool),
    weights=jnp.full(n, 1 / n),
  )
  return cohort.replace(**changes)


def _work(steps, rate=0.1, **options):
  return local.LocalWork(optax.sgd(rate), num_steps=steps, **options)


def _rounds(method, count, cohort=None, **options):
  """The model after each round."""
  cohort = _cohort() if cohort is None else cohort
  algorithm = server.federate(method, len(cohort.mask), **options)
  state = algorithm.init(jax.random.key(0))

  @jax.jit
  def run(state):
    def one(state, t):
      state, metrics = algorithm.step(
        state, cohort, key=jax.random.fold_in(jax.random.key(1), t)
      )
      return state, (state.params, metrics)

    return jax.lax.scan(one, state, jnp.arange(count))

  state, (params, metrics) = run(state)
  return np.asarray(params), state, metrics


class OracleTest(parameterized.TestCase):
  """Numbers of the sheet; the optimum of both clients is 0.8."""

  def test_fedavg_has_a_biased_fixed_point(self):
    found, *_ = _rounds(server.fedavg(TASK, _work(10)), 100)
    np.testing.assert_allclose(
      found[:3], [0.4969766912, 0.5851217339, 0.6007553616], atol=1e-6
    )
    np.testing.assert_allclose(found[-1], 0.6041260076, atol=1e-6)
    found, *_ = _rounds(server.fedavg(TASK, _work(2)), 200)
    np.testing.assert_allclose(found[:3], [0.32, 0.5072, 0.616712], atol=1e-6)
    np.testing.assert_allclose(found[-1], 0.7710843373, atol=1e-6)

  def test_fedprox_comes_closer(self):
    found, *_ = _rounds(server.fedprox(TASK, _work(10), mu=1.0), 100)
    np.testing.assert_allclose(
      found[:2], [0.399609375, 0.5503556861], atol=1e-6
    )
    np.testing.assert_allclose(found[-1], 0.6416687560, atol=1e-6)
    plain, *_ = _rounds(server.fedavg(TASK, _work(10)), 3)
    found, *_ = _rounds(server.fedprox(TASK, _work(10), mu=0.0), 3)
    np.testing.assert_array_equal(found, plain)

  def test_scaffold_reaches_the_optimum(self):
    found, *_ = _rounds(server.scaffold(TASK, _work(2)), 200)
    np.testing.assert_allclose(
      found[:5], [0.32, 0.5312, 0.652352, 0.71936192, 0.7560352832], atol=1e-6
    )
    np.testing.assert_allclose(found[-1], 0.8, atol=1e-6)
    _, state, _ = _rounds(server.scaffold(TASK, _work(2)), 1)
    own = state.own['method']
    np.testing.assert_allclose(own, [0.0, -3.2], atol=1e-6)
    np.testing.assert_allclose(state.memory['control'], -1.6, atol=1e-6)

  @parameterized.parameters(1, 2)
  def test_the_server_control_is_the_mean_of_the_clients(self, option):
    method = server.scaffold(TASK, _work(3), option=option)
    found, state, _ = _rounds(method, 7)
    np.testing.assert_allclose(
      state.memory['control'], state.own['method'].mean(), atol=1e-6
    )
    if option == 1:
      # c_k is the gradient at the model that the round began with.
      want = np.array(CURVATURES) * (found[-2] - np.array(CENTERS))
      np.testing.assert_allclose(state.own['method'], want, atol=1e-5)

  def test_feddyn_finds_the_optimum(self):
    # Enough steps for an exact minimum.
    work = _work(400, 0.15)
    found, *_ = _rounds(server.feddyn(TASK, work, alpha=1.0), 4)
    np.testing.assert_allclose(found, np.full(4, 0.8), atol=1e-5)
    found, *_ = _rounds(server.feddyn(TASK, work, alpha=0.1), 300)
    np.testing.assert_allclose(
      found[:3], [0.9756097561, 0.5764966740, 0.5667622086], atol=1e-5
    )
    np.testing.assert_allclose(found[-1], 0.8, atol=1e-3)

  def test_fednova_is_fair_to_clients_of_few_steps(self):
    # Two and ten steps: a client of few examples does few.
    cohort = _cohort((1.0, 1.0), (0.0, 1.0))
    rows = jnp.arange(10)[None]
    data = jax.tree.map(lambda x: jnp.repeat(x, 10, axis=1), cohort.data)
    data['mask'] = rows < jnp.array([[2], [10]])
    cohort = cohort.replace(data=data)

    def work(rate):
      return local.LocalWork(optax.sgd(rate), batch_size=1, num_epochs=1)

    first, *_ = _rounds(server.fedavg(TASK, work(0.1)), 1, cohort)
    np.testing.assert_allclose(first, [0.3256607800], atol=1e-6)
    found, *_ = _rounds(server.fednova(TASK, work(0.1)), 100, cohort)
    np.testing.assert_allclose(found[0], 0.1953964680, atol=1e-6)
    np.testing.assert_allclose(found[-1], 0.4067400179, atol=1e-5)
    plain, *_ = _rounds(server.fedavg(TASK, work(0.1)), 100, cohort)
    np.testing.assert_allclose(plain[-1], 0.7741648270, atol=1e-5)
    equal, *_ = _rounds(server.fednova(TASK, _work(4)), 3)
    want, *_ = _rounds(server.fedavg(TASK, _work(4)), 3)
    np.testing.assert_allclose(equal, want, atol=1e-6)

  @parameterized.parameters((0.0, 0.0), (0.9, 0.0), (0.0, 0.5))
  def test_effective_steps_of_fednova(self, momentum, mu):
    rate, k = 0.1, 7
    optimizer = optax.sgd(rate, momentum=momentum or None)
    got = server.effective_steps(optimizer, k, mu=mu)
    want = float(k)
    if momentum:
      geometric = momentum * (1 - momentum**k) / (1 - momentum)
      want = (k - geometric) / (1 - momentum)
    if mu:
      want = (1 - (1 - rate * mu) ** k) / (rate * mu)
    np.testing.assert_allclose(got, want, rtol=1e-6)

  @parameterized.parameters(
    ('adagrad', 0.9, (0.090001, 0.160001), (0.00996672, -0.00997503)),
    ('yogi', 0.9, (0.000901, 0.001601), (0.09672221, -0.09753125)),
    ('adam', 0.9, (0.00090099, 0.00160099), (0.09672273, -0.09753154)),
  )
  def test_first_step_of_adaptive_servers(self, kind, b1, square, step):
    optimizer = server.adaptive(0.1, kind=kind, b1=b1)
    change, state = optimizer.update(
      -jnp.array([0.3, -0.4]), optimizer.init(jnp.zeros(2))
    )
    np.testing.assert_allclose(-state.mean, [0.03, -0.04], atol=1e-7)
    np.testing.assert_allclose(state.square, square, atol=1e-9, rtol=1e-6)
    np.testing.assert_allclose(change, step, atol=1e-7)

  def test_mime_is_a_central_step_and_mime_lite_fedavg(self):
    # One step on everything: a gradient step of the whole cohort.
    found, *_ = _rounds(server.mime(TASK, _work(1)), 4)
    x, want = 0.0, []
    for _ in range(4):
      x -= 0.1 * (0.5 * x + 2.0 * (x - 1.0))
      want.append(x)
    np.testing.assert_allclose(found, want, atol=1e-6)
    lite, *_ = _rounds(server.mime_lite(TASK, _work(3)), 4)
    plain, *_ = _rounds(server.fedavg(TASK, _work(3)), 4)
    np.testing.assert_allclose(lite, plain, atol=1e-6)
    for method in (
      server.fedavg(TASK, _work(1)),
      server.fedprox(TASK, _work(1)),
      server.fedsgd(TASK, _work(1)),
      server.centralized(TASK, _work(1)),
      server.fednova(TASK, _work(1)),
      server.scaffold(TASK, _work(1)),
    ):
      first, *_ = _rounds(method, 1)
      np.testing.assert_allclose(first, want[:1], atol=1e-6)

  def test_mime_reads_a_momentum_that_only_the_server_moves(self):
    beta, rate = 0.9, 0.1
    work = local.LocalWork(optax.sgd(rate, momentum=beta), num_steps=2)
    found, state, _ = _rounds(server.mime_lite(TASK, work), 3)
    a, c = np.array(CURVATURES), np.array(CENTERS)
    x, m, want = 0.0, 0.0, []
    for _ in range(3):
      y = np.full(2, x)
      for _ in range(2):
        y = y - rate * (a * (y - c) + beta * m)
      m, x = (a * (x - c)).mean() + beta * m, x + (y - x).mean()
      want.append(x)
    np.testing.assert_allclose(found, want, atol=1e-6)
    np.testing.assert_allclose(jax.tree.leaves(state.memory)[0], m, atol=1e-5)

  def test_momentum_at_the_server(self):
    method = server.fedavgm(TASK, _work(2), learning_rate=0.5, momentum=0.9)
    found, *_ = _rounds(method, 3)
    a, c = np.array(CURVATURES), np.array(CENTERS)
    x, v, want = 0.0, 0.0, []
    for _ in range(3):
      delta = ((1 - 0.1 * a) ** 2 - 1) * (x - c)
      v = 0.9 * v - delta.mean()
      x -= 0.5 * v
      want.append(x)
    np.testing.assert_allclose(found, want, atol=1e-6)


class FairnessTest(parameterized.TestCase):
  def test_q_fedavg_against_its_formula(self):
    q, bound = 2.0, 10.0
    method = server.q_fedavg(TASK, _work(2), q=q, lipschitz=bound)
    found, *_ = _rounds(method, 3)
    a, c = np.array(CURVATURES), np.array(CENTERS)
    x, want = 0.0, []
    for _ in range(3):
      loss = np.maximum(a * (x - c) ** 2 / 2, 1e-10)
      y = c + (1 - 0.1 * a) ** 2 * (x - c)
      move = bound * (x - y)
      h = q * loss ** (q - 1) * move**2 + bound * loss**q
      x -= (loss**q * move).sum() / h.sum()
      want.append(x)
    np.testing.assert_allclose(found, want, atol=1e-5)

  @parameterized.parameters('projection', 'exponentiated')
  def test_agnostic_learning_evens_the_losses_out(self, step):
    method = server.agnostic(TASK, _work(2), learning_rate=0.1, step=step)
    found, state, _ = _rounds(method, 400)
    np.testing.assert_allclose(state.memory.sum(), 1.0, atol=1e-5)
    # x² / 2 = 2 (x - 1)² at 2 / 3, the smallest largest loss.
    np.testing.assert_allclose(found[-1], 2 / 3, atol=2e-3)


class PersonalTest(parameterized.TestCase):
  def test_apfl_against_a_loop(self):
    alpha, rate = 0.3, 0.1
    method = server.apfl(TASK, _work(2), alpha=alpha)
    algorithm = server.federate(method, 2)
    _, state, _ = _rounds(method, 3)
    a, c = np.array(CURVATURES), np.array(CENTERS)
    x, v = 0.0, np.zeros(2)
    for _ in range(3):
      w = np.full(2, x)
      for _ in range(2):
        mixed = alpha * v + (1 - alpha) * w
        w, v = w - rate * a * (w - c), v - rate * a * (mixed - c)
      x = w.mean()
    np.testing.assert_allclose(state.params, x, atol=1e-6)
    want = alpha * v + (1 - alpha) * x
    np.testing.assert_allclose(algorithm.params(state), want, atol=1e-6)
    self.assertTrue(algorithm.per_client)

  def test_ditto_is_drawn_to_the_shared_model(self):
    pull = 0.5
    method = server.ditto(TASK, _work(2), pull=pull)
    _, state, _ = _rounds(method, 3)
    plain, *_ = _rounds(server.fedavg(TASK, _work(2)), 3)
    np.testing.assert_allclose(state.params, plain[-1], atol=1e-6)
    a, c = np.array(CURVATURES), np.array(CENTERS)
    v = np.zeros(2)
    for x in (0.0, *plain[:2]):
      for _ in range(2):
        v = v - 0.1 * (a * (v - c) + pull * (v - x))
    np.testing.assert_allclose(state.own['method'], v, atol=1e-6)

  def test_local_training_never_talks(self):
    method = server.local_only(TASK, _work(2))
    _, state, metrics = _rounds(method, 200)
    np.testing.assert_allclose(state.own['method'], CENTERS, atol=1e-5)
    np.testing.assert_array_equal(metrics['megabytes_up'], np.zeros(200))

  def test_ifca_finds_the_two_kinds(self):
    cohort = _cohort((1.0, 2.0, 1.0, 3.0), (-5.0, -5.0, 5.0, 5.0))
    task = TASK._replace(init=jax.random.normal)
    method = server.ifca(task, _work(5), num_models=2)
    models, state, _ = _rounds(method, 60, cohort)
    chosen = np.asarray(state.own['method'])
    self.assertEqual(chosen[0], chosen[1])
    self.assertEqual(chosen[2], chosen[3])
    self.assertNotEqual(chosen[0], chosen[2])
    np.testing.assert_allclose(
      models[-1][chosen], [-5.0, -5.0, 5.0, 5.0], atol=1e-3
    )

  def test_a_model_that_nobody_takes_stays(self):
    task = TASK._replace(init=lambda key: jnp.zeros(()))
    # All alike: everybody takes the first.
    models, *_ = _rounds(server.ifca(task, _work(2), num_models=3), 1)
    plain, *_ = _rounds(server.fedavg(TASK, _work(2)), 1)
    np.testing.assert_allclose(models, [[plain[0], 0.0, 0.0]], atol=1e-6)


class ParticipationTest(parameterized.TestCase):
  """Clients that are away, drawn twice, or late."""

  @parameterized.parameters(*server.METHODS)
  def test_absent_clients_do_not_move_anything(self, name):
    if name in ('fedbn', 'pruning_game', 'expert_fedavg'):
      self.skipTest('the task has no normalization and no layer')
    method = server.make_method(name, TASK, _work(2))
    there = _cohort((1.0, 4.0, 2.0), (0.0, 1.0, 7.0))
    cohort = there.replace(
      mask=jnp.array([True, True, False]), weights=jnp.array([0.5, 0.5, 9.0])
    )
    broken = cohort.replace(
      data=cohort.data | {'c': cohort.data['c'].at[2].set(jnp.nan)}
    )
    got = [
      jax.tree.map(np.asarray, _rounds(method, 2, c)[1])
      for c in (cohort, broken)
    ]
    jax.tree.map(np.testing.assert_array_equal, *got)
    for leaf in jax.tree.leaves(got):
      self.assertTrue(np.isfinite(leaf).all())

  @parameterized.parameters('fedavg', 'scaffold', 'feddyn', 'fednova')
  def test_nobody_there_changes_nothing(self, name):
    method = server.make_method(name, TASK, _work(2))
    cohort = _cohort(mask=jnp.zeros(2, bool))
    algorithm = server.federate(method, 2)
    state = algorithm.init(jax.random.key(0))
    state = state._replace(params=jnp.float32(3.0))
    after, metrics = algorithm.step(state, cohort, key=jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, after, state)
    self.assertEqual(float(metrics['num_clients']), 0.0)

  def test_a_cohort_reads_and_writes_its_rows(self):
    method = server.scaffold(TASK, _work(2))
    algorithm = server.federate(method, 6, cohort_size=3)
    state = algorithm.init(jax.random.key(0))
    cohort = _cohort((1.0, 4.0, 1.0), (0.0, 1.0, 0.0))
    cohort = cohort.replace(client_ids=jnp.array([4, 1, 4]))
    state, _ = algorithm.step(state, cohort, key=jax.random.key(1))
    own = np.asarray(state.own['method'])
    np.testing.assert_array_equal(own[[0, 2, 3, 5]], np.zeros(4))
    np.testing.assert_allclose(own[[4, 1]], [0.0, -3.2], atol=1e-6)
    # Whoever was drawn twice counts once.
    np.testing.assert_allclose(state.params, 0.64 / 2, atol=1e-6)
    np.testing.assert_allclose(state.memory['control'], -3.2 / 6, atol=1e-6)

  def test_stragglers_do_a_part(self):
    work = _work(20, stragglers=1.0)
    train = work.trainer(TASK)
    batch = jax.tree.map(lambda x: x[1], _cohort().data)
    keys = jax.random.split(jax.random.key(0), 200)
    out = jax.jit(jax.vmap(lambda k: train(jnp.zeros(()), batch, k)))(keys)
    steps = np.asarray(out.num_steps)
    self.assertEqual((steps.min(), steps.max()), (1, 20))
    np.testing.assert_allclose(steps.mean(), 10.5, atol=1.3)
    np.testing.assert_allclose(out.params, 1 - 0.6**steps, atol=1e-5)

  def test_weights_that_do_not_sum_to_one_are_a_sum(self):
    cohort = _cohort(weights=jnp.array([0.5, 1.5]))
    found, *_ = _rounds(server.fedavg(TASK, _work(2)), 1, cohort)
    np.testing.assert_allclose(found, [1.5 * 0.64], atol=1e-6)


class HostTest(absltest.TestCase):
  def test_shards_on_the_host_are_the_store_on_the_device(self):
    method = server.scaffold(TASK, _work(2))
    ours = server.federate(method, 10, cohort_size=3, shard_size=4)
    theirs = server.federate(method, 10, cohort_size=3)
    self.assertTrue(ours.on_host)
    a, b = (x.init(jax.random.key(0)) for x in (ours, theirs))
    step = jax.jit(theirs.step)
    for t, ids in enumerate(([1, 9, 1], [8, 9, 0], [1, 2, 9])):
      cohort = _cohort((1.0, 4.0, 1.0), (0.0, 1.0, 0.0))
      cohort = cohort.replace(
        client_ids=jnp.array(ids), mask=jnp.array([True, True, t > 0])
      )
      a, seen = ours.step(a, cohort, key=jax.random.key(t))
      b, want = step(b, cohort, key=jax.random.key(t))
      jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6), seen, want
      )
    np.testing.assert_allclose(a.server.params, b.params, rtol=1e-6)
    held = np.asarray(b.own['method'])
    self.assertEqual(set(a.shards), {'0', '2'})
    np.testing.assert_allclose(a.shards['0'][0], held[:4], rtol=1e-6)
    np.testing.assert_allclose(a.shards['2'][0][:2], held[8:], rtol=1e-6)
    np.testing.assert_array_equal(held[4:8], np.zeros(4))

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'ditto gives every client a model'):
      server.federate(server.ditto(TASK, _work(1)), 3, shard_size=2)
    with self.assertRaisesRegex(ValueError, 'leave shard_size out'):
      server.federate(
        server.fedavg(TASK, _work(1)), 3, shard_size=2, everybody=True
      )


class DevicesTest(parameterized.TestCase):
  @parameterized.parameters('fedavg', 'scaffold', 'mime', 'ifca', 'ditto')
  def test_eight_devices(self, name):
    rng = np.random.default_rng(0)
    cohort = _cohort(rng.uniform(0.5, 2, 8), rng.normal(size=8))
    method = server.make_method(name, TASK, _work(2))
    want = _rounds(method, 2, cohort)[1]
    mesh = clients_lib.clients_mesh(8)
    algorithm = server.federate(method, clients_lib.Clients(8, mesh=mesh))
    state, step = algorithm.init(jax.random.key(0)), jax.jit(algorithm.step)
    for t in range(2):
      key = jax.random.fold_in(jax.random.key(1), t)
      state, _ = step(state, cohort, key=key)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-5), state, want
    )


if __name__ == '__main__':
  absltest.main()
