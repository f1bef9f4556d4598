# SPDX-License-Identifier: Apache-2.0
"""Synchronous rounds on the clock: against schedules and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import local
from jaxdl.core import types
from jaxdl.federated import asynchronous as lib, server

KEY = jax.random.key(0)
IDLE = types.Algorithm(
  init=lambda key: jnp.zeros(()),
  step=lambda state, cohort, *, key: (state, {}),
  params=lambda state: state,
)


def cohort_of(ids, mask=None, data=None):
  ids = jnp.asarray(ids, jnp.int32)
  mask = jnp.ones(len(ids), bool) if mask is None else jnp.asarray(mask)
  data = {'x': jnp.zeros((len(ids), 1))} if data is None else data
  return types.Cohort(
    client_ids=ids, data=data, mask=mask, weights=jnp.full(len(ids), 0.5)
  )


def rounds(algorithm, cohorts):
  """When the rounds of some cohorts end, leaves [T, ...]."""

  def one(state, turn):
    t, cohort = turn
    state, found = algorithm.step(state, cohort, key=jax.random.fold_in(KEY, t))
    return state, found['time']

  length = len(cohorts.mask)
  run = jax.jit(
    lambda state: jax.lax.scan(one, state, (jnp.arange(length), cohorts))
  )
  return np.asarray(run(algorithm.init(KEY))[1])


def always(cohort, length):
  return jax.tree.map(lambda x: jnp.broadcast_to(x, (length, *x.shape)), cohort)


class TimedTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('scenario', lib.make_times('F-80', 5)),
    ('jobs', lib.make_times('uniform(num_jobs=3)', 5, seed=2)),
    (
      'away',
      lib.timing(
        [1.0, 0.5, 0.25],
        # 0 begins its fifth job as it leaves, 1 loses a job, 2 is long back.
        leave=[4.0, 9.25, 0.125],
        rejoin=[6.5, 9.75, 0.5],
      ),
    ),
    (
      'away_with_jobs',
      lib.timing(
        [[1.0, 0.5], [0.25, 2.0]], leave=[2.75, 8.0], rejoin=[5.0, 8.5]
      ),
    ),
  )
  def test_all_clients_in_every_round_make_the_schedule_of_fedavg(self, times):
    want = lib.make_schedule('fedavg', times, horizon=40.0).times
    self.assertGreater(len(want), 15)
    n = times.num_clients
    got = rounds(
      lib.timed(IDLE, times, n), always(cohort_of(range(n)), len(want))
    )
    np.testing.assert_allclose(got, want, rtol=1e-6)

  def test_cohorts_by_hand(self):
    nobody = np.iinfo(np.int32).max
    cohorts = [
      cohort_of([0, 2, 2]),  # 4; a client that is drawn twice works once.
      cohort_of([2, 1, 1]),  # The second job of 2: 5.
      cohort_of([1, 0, nobody], [True, False, False]),  # 2, who is there.
      cohort_of([nobody] * 3, [False] * 3),  # Nobody.
      cohort_of([2, nobody, 1], [True, False, True]),  # Its first job again.
    ]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *cohorts)
    times = [[4.0, 4.0], [2.0, 2.0], [1.0, 5.0]]
    got = rounds(lib.timed(IDLE, times, 3), stacked)
    np.testing.assert_allclose(got, [4, 9, 11, 11, 13])

  def test_lost_jobs_are_done_again(self):
    times = lib.timing([1.0, 0.01], drop_rate=[0.5, 0.0], seed=1)
    algorithm = lib.timed(IDLE, times, 2)
    got = rounds(algorithm, always(cohort_of([0, 1]), 4000))
    took = np.diff(got, prepend=0.0)
    np.testing.assert_allclose(took, np.round(took), atol=1e-3)
    # Geometric of mean 2 and variance 2; six deviations of the mean.
    self.assertAlmostEqual(took.mean(), 2.0, delta=6 * np.sqrt(2 / 4000))
    self.assertAlmostEqual((took.round() == 1).mean(), 0.5, delta=0.05)

  def test_short_rounds_add_up(self):
    length = 50_000
    got = rounds(lib.timed(IDLE, [0.1], 1), always(cohort_of([0]), length))
    plain = np.cumsum(np.full(length, np.float32(0.1)))[-1]
    self.assertGreater(abs(plain - length / 10), 1.0)
    self.assertAlmostEqual(float(got[-1]), length / 10, delta=1e-3)

  @parameterized.parameters(None, 4)
  def test_partial_work_takes_a_part_of_the_time(self, batch_size):
    # Every step moves x by one, so that the model tells how many were done.
    task = types.Task(
      lambda key: jnp.zeros(()),
      lambda x, batch, *, key=None: -x * jnp.mean(batch['a']),
      lambda x, batch: {},
    )
    work = local.LocalWork(
      'sgd(1.0)', num_steps=8, stragglers=0.7, batch_size=batch_size
    )
    talk = 0.5
    algorithm = lib.timed(
      server.federate(server.fedavg(task, work), 3, cohort_size=1, shares=True),
      lib.timing([2.5, 1.5, 4.5], communication=talk),
      3,
    )
    step = jax.jit(algorithm.step)
    state, x, time, seen = algorithm.init(KEY), 0.0, 0.0, set()
    for t in range(24):
      cohort = cohort_of([t % 3], data={'a': jnp.ones((1, 32))})
      cohort = cohort.replace(weights=jnp.ones(1))
      state, found = step(state, cohort, key=jax.random.fold_in(KEY, t))
      steps = float(algorithm.params(state)) - x
      want = talk + steps / 8 * [2.0, 1.0, 4.0][t % 3]
      self.assertAlmostEqual(float(found['time']) - time, want, places=4)
      x, time = float(algorithm.params(state)), float(found['time'])
      seen.add(round(steps))
      self.assertNotIn('work_done', found)
    self.assertIn(8, seen)
    self.assertGreater(len(seen), 3)

  def test_who_has_no_examples_only_talks(self):
    task = types.Task(
      lambda key: jnp.zeros(()),
      lambda x, batch, *, key=None: -x * jnp.mean(batch['a']),
      lambda x, batch: {},
    )
    work = local.LocalWork('sgd(1.0)', batch_size=4)
    algorithm = lib.timed(
      server.federate(server.fedavg(task, work), 2, shares=True),
      lib.timing([1.0, 9.0], communication=[0.25, 0.5]),
      2,
    )
    real = jnp.array([[True] * 4, [False] * 4])
    cohort = cohort_of([0, 1], data={'a': jnp.ones((2, 4)), 'mask': real})
    _, found = jax.jit(algorithm.step)(algorithm.init(KEY), cohort, key=KEY)
    self.assertEqual(float(found['time']), 1.0)

  def test_says_who_would_never_come(self):
    times = lib.timing([1.0, 1.0], leave=[np.inf, 3.0])
    with self.assertRaisesRegex(
      ValueError, 'client 1 leaves at 3 and never comes back: a round'
    ):
      lib.timed(IDLE, times, 2)
    with self.assertRaisesRegex(ValueError, 'has 2 clients but num_clients=3'):
      lib.timed(IDLE, [1.0, 1.0], 3)


if __name__ == '__main__':
  absltest.main()
