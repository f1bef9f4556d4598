# SPDX-License-Identifier: Apache-2.0
"""The loop: rows, resumption, placement, and what it refuses."""

import dataclasses
import os
import pathlib
import signal
import sys
import tempfile
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.experiment import _pack, _workdir, runner

sys.path.insert(0, os.path.dirname(__file__))
import quadratic_binary  # noqa: E402

Config = quadratic_binary.Config


class Stop(Exception):
  pass


def spread(x, *axes):
  mesh = jax.make_mesh(
    (8,), ('clients',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  return jax.device_put(x, jax.NamedSharding(mesh, jax.P(*axes)))


def stopping(experiment, at):
  """The experiment, raising in the evaluation of one round."""

  def rows(state, metrics, number):
    if number == at:
      raise Stop
    return experiment.rows(state, metrics, number)

  return dataclasses.replace(experiment, rows=rows)


def go(experiment, config, directory, seconds=1e6):
  """Runs into a directory as a command does, without its report."""
  directory = pathlib.Path(directory)
  workdir = _workdir.Workdir(directory, 'test', config)
  store = runner.Store(directory, seconds=seconds, workdir=workdir)
  sinks = [runner.Jsonl(directory / 'metrics.jsonl')]
  return runner.run(experiment, config, sinks=sinks, store=store)


def metrics(directory):
  return (pathlib.Path(directory) / 'metrics.jsonl').read_bytes()


def raw(state):
  return jax.tree.map(
    lambda x: np.asarray(jax.random.key_data(x) if _pack.is_key(x) else x),
    state,
  )


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, raw(a), raw(b))


class FolderCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = tempfile.mkdtemp()
    self.other = tempfile.mkdtemp()


class ResumeTest(FolderCase):
  @parameterized.parameters(False, True)
  def test_a_run_that_failed_ends_like_one_that_did_not(self, sharded):
    config = Config(sharded=sharded, num_rounds=8, eval_every=2)
    whole = go(quadratic_binary.build(config), config, self.folder)
    experiment = quadratic_binary.build(config)
    with self.assertRaises(Stop):
      go(stopping(experiment, 6), config, self.other, seconds=0)
    rest = go(experiment, config, self.other)
    assert_same(whole.state, rest.state)
    self.assertEqual(metrics(self.folder), metrics(self.other))
    np.testing.assert_equal(whole.rows, rest.rows)
    self.assertEqual(int(rest.state['count']), 8)
    steps = [row['step'] for row in rest.rows if row['split'] == 'test']
    self.assertEqual(steps, [0, 2, 4, 6, 8])

  def test_it_fails_before_the_first_checkpoint_too(self):
    config = Config()
    experiment = quadratic_binary.build(config)
    whole = runner.run(experiment, config)
    with self.assertRaises(Stop):
      go(stopping(experiment, 5), config, self.folder)
    self.assertFalse(os.listdir(os.path.join(self.folder, 'checkpoints')))
    self.assertNotEmpty(metrics(self.folder))
    assert_same(whole.state, go(experiment, config, self.folder).state)

  def test_a_layout_that_settles_late_does_not_change_the_numbers(self):
    # The state starts replicated, and every round returns it sharded.
    data = spread(np.random.default_rng(0).normal(size=(8, 3000)), 'clients')

    def step(x, number):
      return 0.9 * x + 0.1 * jnp.sin(data + x.mean(0, keepdims=True)), {}

    def rows(x, metrics, number):
      del metrics, number
      return [{'value': np.asarray(x).sum()}]

    experiment = runner.Experiment(
      init=lambda: spread(jnp.zeros((8, 3000))),
      step=step,
      rows=rows,
      num_rounds=9,
    )
    config = runner.BaseConfig(num_rounds=9, eval_every=3)
    whole = go(experiment, config, self.folder)
    with self.assertRaises(Stop):
      go(stopping(experiment, 6), config, self.other, seconds=0)
    rest = go(experiment, config, self.other)
    assert_same(whole.state, rest.state)
    self.assertEqual(metrics(self.folder), metrics(self.other))
    self.assertFalse(whole.state.sharding.is_fully_replicated)

  def test_damaged_ends_of_the_metrics_are_written_again(self):
    config = Config(num_rounds=4, eval_every=2)
    experiment = quadratic_binary.build(config)
    go(experiment, config, self.folder)
    for damage in (b'{"step": 15, "split": "te', b'\xff\x00', b'[]\n'):
      folder = tempfile.mkdtemp()
      with self.assertRaises(Stop):
        go(stopping(experiment, 4), config, folder, seconds=0)
      with open(os.path.join(folder, 'metrics.jsonl'), 'ab') as f:
        f.write(b'{"step": 99, "split": "test"}\n' + damage)
      go(experiment, config, folder)
      self.assertEqual(metrics(folder), metrics(self.folder))

  def test_missing_rows_are_noticed(self):
    config = Config()
    experiment = quadratic_binary.build(config)
    go(experiment, config, self.folder)
    path = pathlib.Path(self.folder, 'metrics.jsonl')
    path.write_bytes(b''.join(path.read_bytes().splitlines(True)[:-1]))
    with self.assertRaisesRegex(
      ValueError, '9 rows are left .* --if_exists=overwrite'
    ):
      go(experiment, config, self.folder)

  def test_a_damaged_checkpoint_gives_way_to_the_one_before(self):
    config = Config(num_rounds=4, eval_every=2)
    experiment = quadratic_binary.build(config)
    whole = go(experiment, config, self.folder, seconds=0)
    want = metrics(self.folder)
    checkpoints = pathlib.Path(self.folder, 'checkpoints')
    self.assertEqual({p.name for p in checkpoints.iterdir()}, {'3', '4'})
    for path in (checkpoints / '4' / 'state').rglob('*'):
      if path.is_file():
        path.write_bytes(b'rubbish')
    rest = go(experiment, config, self.folder)
    assert_same(whole.state, rest.state)
    self.assertEqual(metrics(self.folder), want)
    for path in checkpoints.rglob('metadata'):
      path.write_bytes(b'rubbish')
    with self.assertRaisesRegex(ValueError, 'no checkpoint that can be read'):
      go(experiment, config, self.folder)

  def test_a_finished_run_is_not_run_again(self):
    config = Config()
    experiment = quadratic_binary.build(config)
    whole = go(experiment, config, self.folder)
    want = metrics(self.folder)

    def never(*args):
      raise Stop

    experiment = dataclasses.replace(experiment, step=never, rows=never)
    again = go(experiment, config, self.folder)
    assert_same(whole.state, again.state)
    np.testing.assert_equal(whole.rows, again.rows)
    self.assertEqual(metrics(self.folder), want)

  def test_an_extended_run_is_the_longer_run(self):
    long, short = Config(num_rounds=20), Config(num_rounds=7)
    go(quadratic_binary.build(long), long, self.folder)
    go(quadratic_binary.build(short), short, self.other)
    self.assertIn(b'"step": 7,', metrics(self.other))
    go(quadratic_binary.build(long), long, self.other)
    self.assertEqual(metrics(self.other), metrics(self.folder))

  @parameterized.parameters(signal.SIGINT, signal.SIGTERM)
  def test_a_signal_ends_the_round_and_saves(self, signum):
    config = Config(signal_at=10, signal=signum.name)
    before = signal.getsignal(signum)
    with self.assertRaises(runner.Interrupted) as caught:
      go(quadratic_binary.build(config), config, self.other)
    self.assertEqual(
      (caught.exception.signum, caught.exception.round), (signum, 10)
    )
    self.assertIs(signal.getsignal(signum), before)
    config = Config()
    go(quadratic_binary.build(config), config, self.other)
    go(quadratic_binary.build(config), config, self.folder)
    self.assertEqual(metrics(self.other), metrics(self.folder))


class IdentityTest(FolderCase):
  def test_another_config_is_refused_by_name(self):
    config = Config(num_rounds=2)
    go(quadratic_binary.build(config), config, self.folder)
    other = Config(num_rounds=2, learning_rate=0.2, rule='median', devices=8)
    with self.assertRaisesRegex(
      ValueError,
      r"learning_rate: 0.1 -> 0.2; rule: 'mean' -> 'median'.*"
      '--if_exists=overwrite',
    ):
      go(quadratic_binary.build(other), other, self.folder)
    with self.assertRaisesRegex(ValueError, "experiment 'test', not 'else'"):
      _workdir.Workdir(self.folder, 'else', config)

  def test_it_is_refused_even_if_the_config_file_is_damaged(self):
    config = Config(num_rounds=2)
    experiment = quadratic_binary.build(config)
    go(experiment, config, self.folder)
    path = pathlib.Path(self.folder, 'config.json')
    whole = path.read_text()
    for damage in ('{"experiment": "te', '', '[]', '{"config": 3}'):
      path.write_text(damage)
      other = Config(num_rounds=2, seeds=(1,))
      with self.assertRaisesRegex(ValueError, r'seeds: \[0\] -> \[1\]'):
        go(quadratic_binary.build(other), other, self.folder)
      path.write_text(damage)
      go(experiment, config, self.folder)
      self.assertEqual(path.read_text(), whole)

  def test_overwrite_deletes_the_run_and_nothing_else(self):
    config = Config(num_rounds=2)
    go(quadratic_binary.build(config), config, self.folder)
    note = pathlib.Path(self.folder, 'note.txt')
    note.write_text('mine')
    other = Config(num_rounds=2, seeds=(1,), if_exists='overwrite')
    go(quadratic_binary.build(other), other, self.folder)
    fresh = Config(num_rounds=2, seeds=(1,))
    go(quadratic_binary.build(fresh), fresh, self.other)
    self.assertEqual(metrics(self.folder), metrics(self.other))
    self.assertEqual(note.read_text(), 'mine')

  def test_an_old_run_stops_it_if_it_may_not_go_on(self):
    config = Config(num_rounds=2, if_exists='refuse')
    go(quadratic_binary.build(config), config, self.folder)
    with self.assertRaisesRegex(ValueError, 'already holds a run'):
      go(quadratic_binary.build(config), config, self.folder)

  def test_a_state_of_another_form_is_refused(self):
    config = runner.BaseConfig(num_rounds=1)

    def experiment(size):
      return runner.Experiment(
        init=lambda: {'x': jnp.zeros(size)},
        step=lambda x, number: (x, {}),
        rows=lambda *args: [],
        num_rounds=1,
      )

    go(experiment(2), config, self.folder)
    with self.assertRaisesRegex(ValueError, 'a state of another form'):
      go(experiment(3), config, self.folder)


class LoopTest(FolderCase):
  def test_without_a_store_no_file_is_touched(self):
    os.chdir(self.folder)
    config = Config(profile_rounds=2, outputs=('plots', 'csv'))
    result = quadratic_binary.run(config)
    self.assertEqual(os.listdir(self.folder), [])
    self.assertLen(result.rows, 10)
    self.assertEqual(
      list(result.rows[0]), ['step', 'split', 'variant', 'seed', 'loss', 'mean']
    )

  def test_the_numbers_are_those_of_a_plain_loop(self):
    config = Config(num_rounds=6, eval_every=4)
    experiment = quadratic_binary.build(config)
    result = runner.run(experiment, config)
    state, step = experiment.init(), jax.jit(experiment.step)
    for number in range(1, 7):
      state, reported = step(state, jnp.int32(number))
      if number in (4, 6):
        row = [
          r
          for r in result.rows
          if r['step'] == number and r['split'] == 'train'
        ]
        self.assertEqual(row[0]['loss'], float(reported['loss']))
    assert_same(result.state, state)

  def test_no_round_at_all(self):
    config = Config(num_rounds=0)
    for _ in range(2):
      result = go(quadratic_binary.build(config), config, self.folder)
      self.assertEqual([row['step'] for row in result.rows], [0, 0])

  def test_arrays_of_the_caller_survive_donation(self):
    start = jnp.arange(3.0)
    experiment = runner.Experiment(
      init=lambda: {'x': start, 'anchor': start},
      step=lambda s, number: (s | {'x': s['x'] + start}, {}),
      rows=lambda s, metrics, number: [{'x': s['x'][2]}],
      num_rounds=2,
    )
    for _ in range(2):
      result = runner.run(experiment, runner.BaseConfig())
      self.assertEqual(result.rows[-1]['x'], 6.0)
    np.testing.assert_array_equal(start, [0.0, 1.0, 2.0])

  def test_sharded_arrays_that_step_closes_over_stay_sharded(self):
    data = spread(jnp.ones((16, 4)), 'clients')
    experiment = runner.Experiment(
      init=lambda: jnp.zeros((16, 4)),
      step=lambda x, number: (x + data, {}),
      rows=lambda *args: [],
      num_rounds=2,
    )
    state = runner.run(experiment, runner.BaseConfig()).state
    self.assertLen(state.sharding.device_set, 8)
    self.assertEqual(state.addressable_shards[0].data.shape, (2, 4))
    np.testing.assert_array_equal(state, np.full((16, 4), 2.0))

  def test_host_driven_states_may_grow_and_hold_anything(self):
    def init():
      return {
        'key': jax.random.key(3),
        'log': [],
        'total': np.zeros(2, np.int64),
        'x': jnp.zeros(2),
        'best': np.float32(0),
        'name': 'a',
        'pair': (1, 2.5, None, True),
      }

    def step(state, number):
      self.assertIs(type(number), int)
      draw = jax.random.normal(jax.random.fold_in(state['key'], number), (2,))
      return state | {
        'log': [*state['log'], f'round {number}'],
        'total': state['total'] + number,
        'x': state['x'] + draw,
        'name': state['name'] + 'b',
      }, {'n': number}

    def rows(state, metrics, number):
      return [{'said': ' '.join(state['log']), 'x': state['x'][0]}]

    experiment = runner.Experiment(
      init=init, step=step, rows=rows, num_rounds=6, jit=False
    )
    config = runner.BaseConfig(eval_every=2)
    whole = go(experiment, config, self.folder)
    with self.assertRaises(Stop):
      go(stopping(experiment, 4), config, self.other, seconds=0)
    rest = go(experiment, config, self.other)
    again = go(experiment, config, self.other)
    for result in (rest, again):
      self.assertEqual(
        jax.tree.structure(result.state), jax.tree.structure(whole.state)
      )
      assert_same(result.state, whole.state)
      self.assertEqual(
        [type(x) for x in jax.tree.leaves(result.state)],
        [type(x) for x in jax.tree.leaves(whole.state)],
      )
    self.assertEqual(rest.state['log'][-1], 'round 6')
    self.assertEqual(metrics(self.folder), metrics(self.other))

  def test_a_round_costs_little(self):
    experiment = runner.Experiment(
      init=lambda: jnp.zeros(4),
      step=lambda x, number: (x + number, {'sum': x.sum()}),
      rows=lambda *args: [],
      num_rounds=1000,
    )
    config = runner.BaseConfig(eval_every=1000)
    times = []
    for _ in range(3):
      store = runner.Store(tempfile.mkdtemp(), seconds=1e6)
      start = time.perf_counter()
      runner.run(experiment, config, store=store)
      times.append(time.perf_counter() - start)
    # With compilation and the last checkpoint; about 0.2 ms when quiet.
    self.assertLess(min(times) / 1000, 1.5e-3)


class BinaryTest(parameterized.TestCase):
  def test_it_runs_what_is_built(self):
    config = Config(num_rounds=2, eval_every=1)
    whole = quadratic_binary.run(config)
    want = runner.run(quadratic_binary.build(config), config)
    np.testing.assert_equal(whole.rows, want.rows)
    self.assertEqual(whole.experiment.num_rounds, 2)

  def test_sinks_and_the_store_are_handed_on(self):
    store, sinks = object(), [object()]
    run, _ = runner.binary(Config, lambda config: ('built', config))
    with mock.patch.object(runner, 'run') as inner:
      run(Config(), sinks=sinks, store=store)
    inner.assert_called_once_with(
      ('built', Config()), Config(), sinks=sinks, store=store
    )

  def test_main_is_the_command_of_its_own_config(self):
    run, main = runner.binary(Config, quadratic_binary.build)
    for argv in (None, ['name', '--smoke']):
      with mock.patch.object(runner, 'main') as inner:
        main() if argv is None else main(argv)
      inner.assert_called_once_with(Config, run, argv)

  def test_both_look_as_if_they_were_written_there(self):
    for function, name in zip(
      (quadratic_binary.run, quadratic_binary.main),
      ('run', 'main'),
      strict=True,
    ):
      self.assertEqual(function.__name__, name)
      self.assertEqual(function.__module__, Config.__module__)
      self.assertIn('Args:', function.__doc__)


class RefusalTest(parameterized.TestCase):
  def experiment(self, **parts):
    base = dict(
      init=lambda: {'x': jnp.zeros(2)},
      step=lambda s, number: (s, {}),
      rows=lambda *args: [],
      num_rounds=1,
    )
    return runner.Experiment(**(base | parts))

  @parameterized.parameters(
    (lambda s, n: ({'x': s['x'][:1]}, {}), r"state\['x'\] was float32\[2\]"),
    (lambda s, n: ({'x': s['x'] > 0}, {}), r'became bool\[2\]'),
    (lambda s, n: ({'y': s['x']}, {}), 'of the form that it was given'),
  )
  def test_a_step_that_changes_the_form_of_the_state(self, step, message):
    with self.assertRaisesRegex(ValueError, message):
      runner.run(self.experiment(step=step), runner.BaseConfig())

  @parameterized.parameters(
    ({'step': 3}, 'round 0 has step=3'),
    ({'x': np.zeros(2)}, r"metric 'x' must be a number or text"),
    ({'x': object()}, "metric 'x' must be a number or text"),
  )
  def test_rows_that_are_no_rows(self, row, message):
    with self.assertRaisesRegex(ValueError, message):
      runner.run(self.experiment(rows=lambda *a: [row]), runner.BaseConfig())

  def test_keys_that_draw_wrong_numbers_under_vmap(self):
    init = lambda: jax.random.key(0, impl='rbg')
    with self.assertRaisesRegex(ValueError, 'rbg keys'):
      runner.run(self.experiment(init=init), runner.BaseConfig())
    jax.config.update('jax_default_prng_impl', 'rbg')
    try:
      with self.assertRaisesRegex(ValueError, "set it to 'threefry2x32'"):
        runner.run(self.experiment(), runner.BaseConfig())
    finally:
      jax.config.update('jax_default_prng_impl', 'threefry2x32')

  def test_a_smoke_config_that_was_not_shrunk(self):
    with self.assertRaisesRegex(ValueError, r'config.smoked\(\)'):
      quadratic_binary.run(Config(smoke=True))
    rows = quadratic_binary.run(Config().smoked()).rows
    self.assertEqual(rows[-1]['step'], 3)


if __name__ == '__main__':
  absltest.main()
