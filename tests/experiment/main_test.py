# SPDX-License-Identifier: Apache-2.0
"""The command: exit codes, messages, files, and runs that are killed."""

import contextlib
import csv
import errno
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from unittest import mock

import jax
import numpy as np
from absl import flags
from absl.testing import absltest, parameterized

from jaxdl.core import checks
from jaxdl.experiment import _main, _progress, _workdir, runner

sys.path.insert(0, os.path.dirname(__file__))
import quadratic_binary  # noqa: E402

BINARY = pathlib.Path(__file__).with_name('quadratic_binary.py')
ROOT = BINARY.parents[2]


def start(*args, devices=None):
  environment = dict(os.environ, PYTHONPATH=str(ROOT))
  environment.pop('XLA_FLAGS', None)
  if devices:
    args = (*args, f'--devices={devices}')
  return subprocess.Popen(
    [sys.executable, str(BINARY), *args],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=environment,
    cwd=tempfile.mkdtemp(),
  )


def finish(process):
  out, err = process.communicate(timeout=120)
  return process.returncode, out, err


def command(*args, run=quadratic_binary.run, out=None):
  """Parses and runs as `main` does, here; returns the code and the output."""
  out, err = out or io.StringIO(), io.StringIO()
  values = flags.FlagValues()
  with (
    mock.patch.object(_main.flags, 'FLAGS', values),
    contextlib.redirect_stdout(out),
    contextlib.redirect_stderr(err),
  ):
    try:
      _main._parse(quadratic_binary.Config, ['quadratic', *args], 'quadratic')
      code = _main._body(quadratic_binary.Config, run, 'quadratic')
    except SystemExit as error:
      code = error.code
  return code, getattr(out, 'getvalue', str)(), err.getvalue()


class CommandTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())
    self.workdir = self.folder / 'run'
    os.chdir(self.folder)

  def test_a_run_leaves_what_it_says(self):
    code, out, err = command(
      '--workdir=run',
      '--outputs=plots,csv,tensorboard',
      '--profile_rounds=2',
    )
    self.assertEqual(code, 0, err)
    self.assertRegex(out, r'mean +20 +0\.1092')
    for name in ('metrics.jsonl', 'config.json', 'metrics.csv', 'plots'):
      self.assertIn(f'run/{name}', out)
    self.assertEqual(
      (self.workdir / 'plots/loss.png').read_bytes()[:4], b'\x89PNG'
    )
    self.assertNotEmpty(list((self.workdir / 'tensorboard').iterdir()))
    self.assertLen(list((self.workdir / 'profile').rglob('*.xplane.pb')), 1)
    rows = runner.read_rows(self.workdir / 'metrics.jsonl')
    with open(self.workdir / 'metrics.csv') as f:
      table = list(csv.DictReader(f))
    self.assertLen(table, len(rows))
    self.assertEqual(float(table[-1]['loss']), rows[-1]['loss'])
    config = json.loads((self.workdir / 'config.json').read_text())
    self.assertEqual(config['config']['rules'], ['mean', 'median'])
    self.assertEqual(config['versions']['jax'], jax.__version__)
    self.assertEqual(config['device']['count'], 8)

  @parameterized.parameters((('--help',),), (('--num_rounds=1', '--outputs='),))
  def test_who_stops_reading_is_no_error(self, args):
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, 'w') as gone:
      code, _, err = command(*args, out=gone)
    self.assertEqual(code, 0, err)

  def test_non_finite_numbers_are_valid_json_and_come_back(self):
    command('--workdir=run', '--num_rounds=1', '--outputs=')
    path = self.workdir / 'metrics.jsonl'

    def refuse(name):
      raise AssertionError(name)

    for line in path.read_text().splitlines():
      json.loads(line, parse_constant=refuse)
    self.assertIn('"loss": "NaN"', path.read_text())
    self.assertTrue(np.isnan(runner.read_rows(path)[1]['loss']))
    self.assertFalse((self.workdir / 'plots').exists())

  def test_the_default_workdir_has_the_name_of_the_binary(self):
    code, _, _ = command('--num_rounds=1', '--outputs=')
    self.assertEqual(code, 0)
    self.assertTrue((self.folder / 'runs/quadratic/metrics.jsonl').exists())

  @parameterized.parameters(
    (('--num_clients=0',), 'num_clients must be at least 1; got 0.'),
    (('--num_clients=3',), '--num_clients=3 must be even.'),
    (
      ('--rule=krum',),
      "rule='krum' is unknown: choose one of 'mean', 'median'.",
    ),
    (('--data=gone.npz',), 'gone.npz does not exist.'),
    (('--process=2/2@host:80',), 'must be k/n@host:port with 0 <= k < n.'),
    (('--process=0/2',), "--process='0/2' must be k/n@host:port"),
    (('--devices=3',), '--devices=3 came too late'),
    (('--devices=100000',), '--devices=100000 is too many to emulate on '),
    (('--if_exists=delete',), "if_exists='delete' is unknown: choose one of"),
    (('--outputs=plot',), "outputs='plot' is unknown: choose one of 'plots'"),
    (('--reduction=gathered',), "Unknown command line flag 'reduction'"),
    (('--num_clinets=2',), 'Did you mean: num_clients'),
    (('--num_clients=x',), 'must be an integer'),
    (('--flagfile=gone.flags',), 'gone.flags'),
    (('stray',), "'stray' is no flag"),
    (('--rules', '--seeds=1'), '--rules has no value: write --rules=...'),
    (('--data', '--nonesterov'), '--data has no value: write --data=...'),
    (('--seeds=1', '--workdir'), '--workdir has no value: write --workdir='),
  )
  def test_a_mistake_is_said_in_one_line_and_writes_nothing(self, args, want):
    with mock.patch.dict(os.environ):
      code, out, err = command('--workdir=run', *args)
    self.assertEqual(code, 2)
    self.assertIn(want, err)
    err = err.replace('quadratic: preparing ...\n', '')
    self.assertStartsWith(err, 'quadratic: ')
    self.assertLen(err.splitlines(), 1)
    self.assertEmpty(out)
    self.assertFalse(self.workdir.exists())

  @parameterized.parameters(
    ('--seed=3', '--seeds=3'),
    ('--seed', '--seeds=...'),
    ('--overwrite', '--if_exists=overwrite'),
    ('--resume', '--if_exists=resume or refuse'),
    ('--noresume', '--if_exists=refuse'),
    ('--plots', '--outputs=plots'),
    ('--noplots', '--outputs='),
    ('--csv', '--outputs=plots,csv'),
    ('--tensorboard', '--outputs=plots,tensorboard'),
    ('--coordinator=localhost:80', '--process=k/n@host:port'),
    ('--num_processes=2', '--process=k/n@host:port'),
    ('--process_id=1', '--process=k/n@host:port'),
  )
  def test_a_flag_of_earlier_versions_names_the_new_one(self, flag, new):
    preset = self.folder / 'old.flags'
    preset.write_text(f'{flag}\n')
    for args in ((flag,), (f'--flagfile={preset}',)):
      code, out, err = command('--workdir=run', *args)
      name = flag[2:].partition('=')[0]
      self.assertEqual(
        (code, out, err),
        (
          2,
          '',
          f'quadratic: there is no flag --{name} any more: write {new}.\n',
        ),
      )
    self.assertFalse(self.workdir.exists())

  @parameterized.parameters(
    (errno.ENOSPC, False, 'Make room, then give the same command.'),
    (errno.EDQUOT, True, 'Make room, .* from the last checkpoint.'),
    (errno.ENOENT, False, 'Choose another --workdir.'),
    (errno.EROFS, False, 'Choose another --workdir.'),
    (errno.EACCES, True, 'Mend that, .* from the last checkpoint.'),
  )
  def test_what_the_disk_refuses_has_its_own_remedy(self, code, late, want):
    def run(config, *, sinks, store):
      store.running = late
      with _workdir.writing('here'):
        raise OSError(code, os.strerror(code))

    code_of_exit, _, err = command('--workdir=run', run=run)
    self.assertEqual(code_of_exit, 2)
    reason = f'here cannot be written: {os.strerror(code)}. '
    self.assertRegex(err, re.escape(reason) + want + '\n$')

  @parameterized.parameters(
    MemoryError('Unable to allocate 9.3 GiB'),
    jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: ' + 300 * 'x'),
  )
  def test_too_little_memory_is_said_in_one_line(self, error):
    def run(config, *, sinks, store):
      raise error

    code, _, err = command('--workdir=run', run=run)
    self.assertEqual(code, 2)
    line = err.splitlines()[-1]
    self.assertStartsWith(
      line, f'quadratic: memory is too small ({str(error)[:20]}'
    )
    self.assertEndsWith(line, 'take smaller sizes.')
    self.assertLess(len(line), 250)

  def test_a_slow_check_shows_that_it_goes_on(self):
    code, _, err = command('--workdir=run', '--num_clients=3')
    self.assertEqual((code, 'preparing' in err), (2, False))
    with (
      mock.patch.object(_main, '_PATIENCE_S', 0.01),
      mock.patch.object(
        quadratic_binary.Config, 'validate', side_effect=lambda: time.sleep(0.1)
      ),
    ):
      code, _, err = command('--workdir=run', '--data=gone')
    self.assertEqual(code, 2)
    self.assertEqual(err.count('preparing ...'), 1)

  def test_a_refusal_of_the_toolkit_while_tracing_is_a_mistake_too(self):
    def run(config, *, sinks, store):
      experiment = runner.Experiment(
        init=lambda: np.zeros(2),
        step=lambda x, number: (x[:1], {}),
        rows=lambda *args: [],
        num_rounds=1,
      )
      return runner.run(experiment, config, sinks=sinks, store=store)

    code, _, err = command('--workdir=run', run=run)
    self.assertEqual(code, 2)
    self.assertIn('step must return a state of the form', err)
    self.assertFalse(self.workdir.exists())

  @parameterized.parameters(False, True)
  def test_a_run_may_say_what_to_change_at_any_time(self, late):
    def run(config, *, sinks, store):
      store.running = late
      raise checks.Refusal('this was never asked.')

    code, _, err = command('--workdir=run', run=run)
    self.assertEqual(code, 2)
    self.assertEndsWith(err, 'quadratic: this was never asked.\n')

  def test_a_defect_keeps_its_traceback(self):
    with self.assertRaisesRegex(ValueError, 'at least one array'):
      command('--workdir=run', run=lambda *a, **k: np.stack([]))

    def broken_rows(*args):
      raise ValueError('after the start')

    def late(config, *, sinks, store):
      experiment = runner.Experiment(
        init=lambda: np.zeros(2),
        step=lambda x, number: (x, {}),
        rows=broken_rows,
        num_rounds=1,
      )
      return runner.run(experiment, config, sinks=sinks, store=store)

    with self.assertRaisesRegex(ValueError, 'after the start'):
      command('--workdir=run', run=late)

  def test_another_config_in_the_workdir_is_a_mistake(self):
    command('--workdir=run', '--num_rounds=1')
    before = (self.workdir / 'metrics.jsonl').read_bytes()
    code, _, err = command('--workdir=run', '--num_rounds=1', '--seeds=1')
    self.assertEqual(code, 2)
    self.assertIn('(seeds: [0] -> [1]): pass --if_exists=overwrite', err)
    self.assertEqual((self.workdir / 'metrics.jsonl').read_bytes(), before)
    code, _, _ = command(
      '--workdir=run', '--num_rounds=1', '--seeds=1', '--if_exists=overwrite'
    )
    self.assertEqual(code, 0)
    code, _, err = command(
      '--workdir=run', '--num_rounds=1', '--seeds=1', '--if_exists=refuse'
    )
    self.assertEqual(code, 2)
    self.assertIn('--workdir=run already holds a run: pass --if_exists=', err)

  @parameterized.parameters(('SIGINT', 130), ('SIGTERM', 143))
  def test_signals_have_their_exit_codes(self, name, want):
    code, _, err = command('--workdir=run', '--signal_at=5', f'--signal={name}')
    self.assertEqual(code, want)
    self.assertIn(f'stopped by {name} after round 5', err)
    code, out, _ = command('--workdir=run')
    self.assertEqual(code, 0)
    self.assertRegex(out, r'mean +20 +0\.1092')

  @parameterized.parameters(
    ('SIGINT', 130, False, 'nothing had run yet'),
    ('SIGTERM', 143, True, 'nothing was saved yet, the same command starts'),
  )
  def test_a_stop_at_once_is_said_in_order(self, name, want, late, state):
    def run(config, *, sinks, store):
      store.running = late
      try:
        signal.raise_signal(getattr(signal, name))
      except KeyboardInterrupt as error:
        # As compiled code makes of what its callbacks raise.
        raise RuntimeError('in a callback') from error

    code, out, err = command('--workdir=run', run=run)
    self.assertEqual((code, out), (want, ''))
    first, second, third = err.splitlines()
    self.assertEqual(first, 'quadratic: preparing ...')
    self.assertEqual(second, 'quadratic: stopping now ...')
    self.assertStartsWith(third, f'quadratic: stopped at once; {state}')

  def test_the_start_says_how_often_the_state_is_saved(self):
    for number, (given, said) in enumerate(
      [((), 'every 60 s'), (('--checkpoint_seconds=0',), 'after every round')]
    ):
      _, _, err = command(f'--workdir={number}', '--outputs=', *given)
      self.assertEqual(err.count('the state is saved'), 1)
      self.assertRegex(
        err, rf'compiling took .* s; the state is saved {said}\.'
      )

  def test_record_does_the_same_from_python(self):
    config = quadratic_binary.Config(num_rounds=2, workdir='run')
    recorded = runner.record(config, quadratic_binary.run, name='quadratic')
    self.assertLen(recorded.plots, 1)
    self.assertTrue(recorded.plots[0].exists())
    np.testing.assert_equal(
      runner.read_rows(self.workdir / 'metrics.jsonl'), recorded.result.rows
    )


class TableTest(parameterized.TestCase):
  def test_last_test_metrics_over_seeds(self):
    rows = [
      dict(step=step, split=split, variant=rule, seed=seed, acc=step + seed)
      for step in (0, 5)
      for split in ('train', 'test')
      for rule in ('mean', 'median')
      for seed in (0, 2)
    ]
    columns, cells = _progress.default_table(rows)
    self.assertEqual(columns, ['variant', 'round', 'acc'])
    self.assertEqual(cells[1], ('median', '5', '6 ± 1.414'))

  def test_a_broad_table_is_dealt_to_several(self):
    columns = ['variant', *(f'long metric number {n}' for n in range(9))]
    name = 'a rule with a long name'
    cells = [[name, *(f'{n}.5 ± 0.{k}707' for n in range(9))] for k in (0, 1)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
      _progress.print_table('title', [], lambda rows: (columns, cells))
    lines = out.getvalue().splitlines()
    self.assertLessEqual(max(map(len, lines)), 100)
    for value in (value for line in cells for value in line[1:]):
      self.assertLen([line for line in lines if value in line], 1)
    tables = sum(line.split()[:1] == ['variant'] for line in lines)
    self.assertBetween(tables, 2, 3)
    self.assertLen([line for line in lines if name in line], 2 * tables)

  def test_no_rows_and_no_test_split(self):
    self.assertEqual(_progress.default_table([]), (['variant', 'round'], []))
    rows = [dict(step=1, split='train', variant='', seed=0, note='x', loss=2.0)]
    self.assertEqual(
      _progress.default_table(rows),
      (['variant', 'round', 'loss'], [('', '1', '2')]),
    )


class ProcessTest(parameterized.TestCase):
  def test_import_is_lazy_and_starts_no_device(self):
    code = (
      'import sys; import jaxdl.experiment, jaxdl.plots\n'
      'from jax._src import xla_bridge\n'
      'assert not xla_bridge.backends_are_initialized()\n'
      'print(*sorted(sys.modules))'
    )
    out = subprocess.check_output(
      [sys.executable, '-c', code], text=True, cwd=ROOT
    )
    found = {name.split('.')[0] for name in out.split()}
    slow = {'matplotlib', 'orbax', 'tensorboardX', 'rich', 'flax', 'sklearn'}
    self.assertEmpty(found & slow)
    # The machine stands below everything that learns.
    rooms = {name.split('.')[1] for name in out.split() if name[:6] == 'jaxdl.'}
    self.assertContainsSubset(
      rooms,
      {'core', 'metrics', 'parallel', 'plots', 'experiment', '_versions'},
    )

  def test_killed_runs_go_on_also_on_other_devices(self):
    folder = tempfile.mkdtemp()
    common = ('--outputs=', '--checkpoint_seconds=0', '--sharded')
    killed = start(*common, f'--workdir={folder}', '--signal_at=15', devices=2)
    usage, typo = start('--help'), start('--num_clinets=3')
    code, _, err = finish(killed)
    self.assertEqual(code, -signal.SIGKILL, err)
    resumed = start(*common, f'--workdir={folder}', devices=4)
    code, out, err = finish(usage)
    self.assertEqual(code, 0, err)
    self.assertIn('A tiny experiment', out)
    self.assertIn('--learning_rate=0.1\n', out)
    code, _, err = finish(typo)
    self.assertEqual(code, 2)
    self.assertIn('Did you mean: num_clients', err)
    code, _, err = finish(resumed)
    self.assertEqual(code, 0, err)
    # The newest checkpoint may have been half written.
    self.assertRegex(err, 'going on after round 1[1-4] of 20')
    got = runner.read_rows(os.path.join(folder, 'metrics.jsonl'))
    want = quadratic_binary.run(quadratic_binary.Config()).rows
    self.assertLen(got, len(want))
    for a, b in zip(got, want, strict=True):
      self.assertEqual((a['step'], a['split']), (b['step'], b['split']))
      np.testing.assert_allclose(a['loss'], b['loss'], rtol=1e-6)


if __name__ == '__main__':
  absltest.main()
