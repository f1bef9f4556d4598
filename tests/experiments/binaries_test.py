# SPDX-License-Identifier: Apache-2.0
"""Every binary: what its command writes on two devices, and after a stop.

One process runs `--smoke --devices=2`, as a user would, and its rows must be
those of one device in this process. That run, interrupted after a round that
was evaluated and before its checkpoint, as a kill may, goes on in an
experiment built anew and must write the same bytes. Real kills are in
`robust_training_test` and in the runner's tests. Binaries are found by what
they are; one that has `presets/<name>/tiny.flags` runs that, in small.
"""

import dataclasses
import functools
import importlib
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import binaries
import processes
from absl import flags
from absl.testing import absltest, parameterized

from jaxdl.experiment import _flags, config as config_lib, runner

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / 'experiments'
# What is drawn, where that is a promise.
PICTURES = {
  'consensus': {
    *('topologies', 'consensus', 'consensus_messages', 'error'),
  },
  'decentralized_training': {
    *('topologies', 'accuracy', 'accuracy_messages', 'accuracy_bytes'),
    *('consensus', 'reliability'),
  },
}
NUM_PICTURES = {'just_one_byte': 5, 'vanishing_variance': 5}
# Whether two programs agree to the bit hangs on how they are compiled; asked of
# full compilation in just_one_byte_test.
BITWISE = ('replay_equal',)
# One of a kind is compiled in full here, and every one with
# `JAXDL_TEST_OPTIMIZE=1`.
IN_FULL = ('decentralized_training', 'deeponet', 'robust_training')
BINARIES = binaries.NAMES


def arguments(name):
  """The command line of a binary, smoked."""
  tiny = FOLDER / 'presets' / name / 'tiny.flags'
  lines = tiny.read_text().splitlines() if tiny.exists() else []
  return ['--smoke', *(x for x in lines if x and not x.startswith('#'))]


def configuration(name):
  """What the command makes of its arguments."""
  binary = importlib.import_module(f'experiments.{name}')
  values, args = flags.FlagValues(), arguments(name)
  _flags.define_flags(binary.Config, values)
  values([name, *args])
  given = _flags.on_command_line(binary.Config, args)
  return _flags.from_flags(binary.Config, values, given=given)


def recording(config, read):
  """A copy of a configuration that adds to a set what is read of it."""
  names = {f.name for f, _ in config_lib.fields(config)}
  busy = []

  class Recorded(type(config)):
    def __getattribute__(self, name):
      if name in names and not busy:
        read.add(name)
      return super().__getattribute__(name)

    def __post_init__(self):
      # Checking a value is no effect of it.
      busy.append(True)
      super().__post_init__()
      busy.pop()

  copy = object.__new__(Recorded)
  kept = {f.name for f in dataclasses.fields(config)}  # Nothing cached.
  copy.__dict__.update({k: v for k, v in vars(config).items() if k in kept})
  return copy


class Stop(Exception):
  pass


class Stopper(runner.Sink):
  """Ends a run after a round."""

  def __init__(self, at):
    self.at = at

  def write(self, rows):
    pass

  def tick(self, round):
    if round == self.at:
      raise Stop


def go(name, folder, *more, read=None):
  """Runs a binary here, on one device; returns the result and the rows."""
  binary = importlib.import_module(f'experiments.{name}')
  config = configuration(name)
  noted = config if read is None else recording(config, read)
  path = pathlib.Path(folder) / 'metrics.jsonl'
  result = runner.run(
    binary.build(noted),
    config,
    sinks=[runner.Jsonl(path), *more],
    store=runner.Store(folder, seconds=0),
  )
  return result, path.read_bytes()


READ: dict[str, set[str]] = {}


@functools.cache
def whole(name):
  read = READ.setdefault(name, set())
  with tempfile.TemporaryDirectory() as folder:
    return go(name, folder, read=read)


class BinariesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory())
    )

  def test_there_are_binaries(self):
    self.assertContainsSubset(IN_FULL, BINARIES)

  @parameterized.named_parameters(*zip(BINARIES, BINARIES, strict=True))
  def test_resumed_equals_uninterrupted(self, name):
    result, want = whole(name)
    stop = 2 * result.rows[-1]['step'] // 3
    self.assertIn(stop, [row['step'] for row in result.rows])
    with self.assertRaises(Stop):
      go(name, self.folder, Stopper(stop))
    self.assertEqual(runner.Store(self.folder).latest(), stop - 1)
    self.assertEqual(go(name, self.folder)[1], want)

  @parameterized.named_parameters(*zip(BINARIES, BINARIES, strict=True))
  def test_every_flag_is_read_or_says_that_it_does_not_matter(self, name):
    # A knob that nothing reads is a flag without effect. What is not read while
    # the experiment is built, run and drawn must say itself that it has none
    # beside the others (`knob(needs=...)`), so that who gives it is told.
    result, _ = whole(name)
    for plot in result.experiment.plots:
      plot(result.rows, self.folder)
    if result.experiment.table is not None:
      result.experiment.table(result.rows)
    config = configuration(name)
    common = {f.name for f in dataclasses.fields(config_lib.BaseConfig)}
    silent = [
      field.name
      for field, _ in _flags._shown(type(config))
      if field.name not in READ[name] | common
      and config_lib.idle(config, field.name) is None
    ]
    self.assertEqual(silent, [])

  def test_a_flag_that_nothing_reads_is_found(self):
    read = set()
    config = recording(config_lib.BaseConfig(), read)
    self.assertEqual(config.num_rounds, 100)
    self.assertEqual(dataclasses.replace(config, seeds=(2,)).eval_every, 10)
    self.assertEqual(read - {'seeds'}, set(vars(config)) & read - {'seeds'})
    self.assertIn('num_rounds', read)
    self.assertNotIn('profile_rounds', read - {'profile_rounds'})

  @parameterized.named_parameters(*zip(BINARIES, BINARIES, strict=True))
  def test_command_on_two_devices(self, name):
    work = self.folder / 'run'
    done = subprocess.run(
      [
        *(sys.executable, '-m', f'experiments.{name}', *arguments(name)),
        *('--devices=2', f'--workdir={work}'),
      ],
      cwd=ROOT,
      env=processes.environment(keep_programs=False, quick=name not in IN_FULL),
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(done.returncode, 0, done.stderr[-3000:])
    saved = json.loads((work / 'config.json').read_text())
    self.assertEqual(saved['device']['count'], 2)
    self.assertIn('metrics:', done.stdout)
    if whole(name)[0].experiment.plots:
      pictures = list((work / 'plots').glob('*.png'))
      self.assertNotEmpty(pictures)
      for path in pictures:
        self.assertGreater(path.stat().st_size, 5000, path.name)
      names = {path.stem for path in pictures}
      self.assertEqual(names, PICTURES.get(name, names))
      self.assertLen(names, NUM_PICTURES.get(name, len(names)))
    got = runner.read_rows(work / 'metrics.jsonl')
    want = whole(name)[0].rows
    self.assertLen(got, len(want))
    for mine, yours in zip(got, want, strict=True):
      self.assertEqual(mine.keys(), yours.keys())
      for key, value in yours.items():
        if key in BITWISE:
          continue
        self.assertTrue(same(mine[key], value), (key, mine, yours))


def same(a, b):
  """Whether two metrics are equal but for rounding."""
  if isinstance(a, str) or isinstance(b, str):
    return a == b
  both = math.isnan(a) and math.isnan(b)
  return both or a == b or math.isclose(a, b, rel_tol=2e-3, abs_tol=2e-5)


if __name__ == '__main__':
  absltest.main()
