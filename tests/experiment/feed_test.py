# SPDX-License-Identifier: Apache-2.0
"""Rounds are fed what the host made ahead of them."""

import dataclasses
import os
import pathlib
import signal
import tempfile
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.experiment import _workdir, runner

NUM_ROUNDS = 7
SIZE = 5


def drawn(number):
  return np.random.default_rng(number).normal(size=SIZE).astype(np.float32)


def experiment(fetch=lambda n: {'x': drawn(n), 'n': np.int32(n)}, **options):
  """Adds up what it is fed."""

  def step(state, number, fed):
    same = (fed['n'] == number).astype(jnp.int32)
    total = state['total'] + fed['x'] ** 2
    return {'total': total, 'right': state['right'] + same}, {}

  def rows(state, metrics, number):
    return [{'total': float(state['total'].sum()), 'right': state['right']}]

  return runner.Experiment(
    **{
      'init': lambda: {'total': jnp.zeros(SIZE), 'right': jnp.int32(0)},
      'step': step,
      'rows': rows,
      'num_rounds': NUM_ROUNDS,
      'fetch': fetch,
    }
    | options
  )


CONFIG = runner.BaseConfig(num_rounds=NUM_ROUNDS, eval_every=2)


def in_folder(made, folder, seconds=1e6):
  folder = pathlib.Path(folder)
  workdir = _workdir.Workdir(folder, 'test', CONFIG)
  store = runner.Store(folder, seconds=seconds, workdir=workdir)
  sinks = [runner.Jsonl(folder / 'metrics.jsonl')]
  return runner.run(made, CONFIG, sinks=sinks, store=store)


def pipeline_threads():
  return [t for t in threading.enumerate() if t.name.startswith('pipeline-')]


class FeedTest(parameterized.TestCase):
  def tearDown(self):
    end = time.monotonic() + 5
    while pipeline_threads() and time.monotonic() < end:
      time.sleep(0.001)
    self.assertEqual(pipeline_threads(), [])
    super().tearDown()

  @parameterized.product(ahead=[0, 1, 2, 20], jit=[True, False])
  def test_every_round_gets_its_own_to_the_bit(self, ahead, jit):
    result = runner.run(experiment(ahead=ahead, jit=jit), CONFIG)
    total = np.zeros(SIZE, np.float32)
    for n in range(1, NUM_ROUNDS + 1):
      total = total + drawn(n) ** 2
    np.testing.assert_allclose(result.rows[-1]['total'], total.sum(), rtol=1e-6)
    self.assertEqual(result.rows[-1]['right'], NUM_ROUNDS)
    plain = runner.run(experiment(ahead=0, jit=jit), CONFIG)
    self.assertEqual(result.rows, plain.rows)
    self.assertIsNone(plain.feed)
    if ahead:
      self.assertEqual(result.feed.items, NUM_ROUNDS)

  def test_each_round_is_fetched_once_and_only_so_far_ahead(self):
    seen, furthest = [], []

    def fetch(n):
      seen.append(n)
      return {'x': drawn(n), 'n': np.int32(n)}

    def rows(state, metrics, number):
      time.sleep(0.05)
      furthest.append(max(seen) - number)
      return []

    config = runner.BaseConfig(num_rounds=NUM_ROUNDS, eval_every=1)
    runner.run(experiment(fetch, ahead=2, rows=rows), config)
    self.assertEqual(seen, list(range(1, NUM_ROUNDS + 1)))
    self.assertEqual(max(furthest[1:]), 2)

  def test_fetching_goes_on_while_rounds_run(self):
    def fetch(n):
      time.sleep(0.03)
      return {'x': drawn(n), 'n': np.int32(n)}

    def step(state, number, fed):
      time.sleep(0.03)
      return state, {}

    made = experiment(fetch, jit=False, step=step, rows=lambda *args: [])
    gain = max(runner.run(made, CONFIG).feed.gain for _ in range(3))
    # (tau1 + tau2) / max(tau1, tau2) = 2, but for the ends and what sleep
    # takes.
    self.assertBetween(gain, 1.4, 2.1)

  def test_several_experiments_are_fed_apart(self):
    fed = experiment()
    plain = experiment(
      fetch=None,
      step=lambda state, n: (state | {'right': state['right'] + 2}, {}),
    )
    both = runner.together({1.0: fed, 2.0: plain}, 'kind')
    last = runner.run(both, CONFIG).rows[-2:]
    self.assertEqual([r['right'] for r in last], [NUM_ROUNDS, 2 * NUM_ROUNDS])

  def test_goes_to_where_the_program_wants_it(self):
    mesh = jax.make_mesh(
      (8,), ('clients',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    by_client = jax.NamedSharding(mesh, jax.P('clients'))
    start = jnp.zeros(8)

    def step(state, number, fed):
      fed = jax.lax.with_sharding_constraint(fed, by_client)
      return state + fed, {}

    made = experiment(
      fetch=lambda n: np.full(8, n, np.float32),
      init=lambda: jax.device_put(start, by_client),
      step=step,
      rows=lambda *args: [],
    )
    np.testing.assert_array_equal(runner.run(made, CONFIG).state, 28.0)

  def test_a_stopped_run_goes_on_with_the_same_rounds(self):
    whole, parts = tempfile.mkdtemp(), tempfile.mkdtemp()
    in_folder(experiment(), whole)
    made = experiment()

    def rows(state, metrics, number):
      if number == 4:
        os.kill(os.getpid(), signal.SIGINT)
      return made.rows(state, metrics, number)

    with self.assertRaises(runner.Interrupted) as caught:
      in_folder(dataclasses.replace(made, rows=rows), parts)
    self.assertEqual(caught.exception.round, 4)
    self.assertEqual(pipeline_threads(), [])
    in_folder(made, parts)
    read = lambda f: (pathlib.Path(f) / 'metrics.jsonl').read_bytes()
    self.assertEqual(read(whole), read(parts))

  def test_an_error_of_the_reader_comes_out_as_itself(self):
    error = OSError('the disk is gone')

    def fetch(n):
      if n == 3:
        raise error
      return {'x': drawn(n), 'n': np.int32(n)}

    for ahead in (0, 2):
      with self.assertRaises(OSError) as caught:
        runner.run(experiment(fetch, ahead=ahead), CONFIG)
      self.assertIs(caught.exception, error)

  def test_says_that_forms_must_not_change(self):
    fetch = lambda n: {'x': np.zeros(SIZE + (n > 3), np.float32), 'n': n}
    with self.assertRaisesRegex(
      ValueError, r'fetch must return arrays of the same form .*\(6,\)'
    ):
      runner.run(experiment(fetch), CONFIG)

  def test_says_what_ahead_must_be(self):
    with self.assertRaisesRegex(ValueError, 'ahead must be at least 0; got -1'):
      runner.run(experiment(ahead=-1), CONFIG)


if __name__ == '__main__':
  absltest.main()
