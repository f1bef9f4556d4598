# SPDX-License-Identifier: Apache-2.0
"""Every binary: what its command writes on two devices, and after a stop.

One process runs `--smoke --devices=2`, as a user would, and its rows must be
those of one device in this process. That run, interrupted after a round that
was evaluated and before its checkpoint, as a kill may, goes on in an
experiment built anew and must write the same bytes. Real kills are in
`robust_training_test` and in the runner's tests. A binary that is not listed
below runs its smoke configuration; list it with something smaller.
"""

import functools
import importlib
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import processes
from absl import flags
from absl.testing import absltest, parameterized

from jaxdl.experiment import _flags, config as config_lib, runner

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / 'experiments'
CONFIGS = {
  'consensus': {
    'topologies': ('random_matching', 'random_digraph:send'),
    'num_clients': 8,
    'dimension': 3,
  },
  'decentralized_training': {
    'num_clients': 8,
    'hidden_sizes': (4,),
    'batch_size': 8,
    'momentum': 0.5,
    'compressor': 'random_k',
    'variants': (
      'choco_sgd@ring',
      'gossip_sgd@random_matching',
      'gradient_tracking@base',
    ),
  },
  'deeponet': {
    'models': ('deeponet',),
    'problem': 'diffusion_reaction',
    'problem_options': ('num_times=5',),
    'physics': True,
    'activation': 'tanh',
    'layout': 'aligned',
    'num_collocation': 5,
    'num_train': 12,
    'num_test': 7,
    'resolution': 6,
    'batch_size': 4,
    'branch_layers': (4, 3),
    'trunk_layers': (4, 3),
    'steps_per_round': 2,
    'eval_batch_size': 4,
  },
  'federated_operators': {
    'rules': ('median',),
    'num_clients': 4,
    'num_byzantine': 1,
    'functions_per_client': 6,
    'num_test_functions': 8,
    'batch_size': 4,
    'hidden_size': 8,
    'resolution': 8,
    'eval_batch_size': 8,
  },
  'just_one_byte': {
    'methods': ('one_byte', 'sgd'),
    'num_clients': 8,
    'hidden_sizes': (4,),
    'batch_size': 8,
    'momentum': 0.5,
    'join_at': (3,),
    'leave_at': (4,),
  },
  'mgno': {
    'models': ('mgno',),
    'resolution': 8,
    'channels': 2,
    'num_layers': 1,
    'iterations': '10,10',
    'num_train': 8,
    'num_test': 4,
    'batch_size': 4,
  },
  'modest': {
    'methods': ('modest', 'dsgd', 'gossip'),
    'num_clients': 10,
    'sample_size': 3,
    'num_aggregators': 2,
    'churn': 'crash',
    'churn_round': 3,
    'churn_fraction': 0.6,
    'examples_per_client': 12,
    'batch_size': 4,
    'local_steps': 1,
    'hidden_sizes': (4,),
    'eval_nodes': 2,
  },
  'monna': {
    'methods': ('monna',),
    'num_clients': 7,
    'num_byzantine': 1,
    'examples_per_client': 20,
  },
  'operator_zoo': {
    'problem': 'antiderivative',
    'models': ('deeponet',),
    'resolution': 8,
    'hidden_size': 8,
    'num_train': 8,
    'num_test': 8,
    'batch_size': 4,
    'steps_per_round': 2,
  },
  'robust_training': {
    'rules': ('bucketing+median',),
    'num_clients': 7,
    'num_byzantine': 1,
    'worker_momentum': 0.5,
    'hidden_sizes': (8,),
  },
  'single_merging': {
    'variants': ('gossip', 'late'),
    'window_size': 0.4,
    'num_clients': 8,
    'hidden_sizes': (4,),
    'local_steps': 1,
    'sharpness': False,
    'landscape': ('gossip',),
    'landscape_resolution': 3,
  },
  'snnk': {
    'dataset': 'wine',
    'num_rf': (4,),
    'hidden_sizes': (8,),
    'depth': 1,
  },
  'vanishing_variance': {
    'methods': ('corrected', 'sampled'),
    'num_clients': 8,
    'degree': 3,
    'hidden_sizes': (4, 4),
    'turn_high': 3,
  },
}
# What is drawn, where that is a promise.
PICTURES = {
  'consensus': {
    *('topologies', 'consensus', 'consensus_messages', 'error'),
  },
  'decentralized_training': {
    *('topologies', 'accuracy', 'accuracy_messages', 'accuracy_bytes'),
    'consensus',
  },
}
NUM_PICTURES = {'just_one_byte': 4, 'vanishing_variance': 4}
# Whether two programs agree to the bit hangs on how they are compiled; asked of
# full compilation in just_one_byte_test.
BITWISE = ('replay_equal',)
# One of a kind is compiled in full here, and every one with
# `JAXDL_TEST_OPTIMIZE=1`.
IN_FULL = ('decentralized_training', 'deeponet', 'robust_training')
BINARIES = sorted(
  p.stem for p in FOLDER.glob('*.py') if 'runner.main(Config' in p.read_text()
)


def arguments(name):
  """The command line of a binary, smoked."""
  options = CONFIGS.get(name, {})
  if options:
    options = {**options, 'num_rounds': 6, 'eval_every': 2, 'seed': 3}
  more = [f'--{k}={config_lib.text_of(v)}' for k, v in options.items()]
  return ['--smoke', *more]


def configuration(name):
  """What the command makes of its arguments."""
  binary = importlib.import_module(f'experiments.{name}')
  values, args = flags.FlagValues(), arguments(name)
  _flags.define_flags(binary.Config, values)
  values([name, *args])
  given = _flags.on_command_line(binary.Config, args)
  return _flags.from_flags(binary.Config, values, given=given)


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


def go(name, folder, *more):
  """Runs a binary here, on one device; returns the result and the rows."""
  binary = importlib.import_module(f'experiments.{name}')
  config = configuration(name)
  path = pathlib.Path(folder) / 'metrics.jsonl'
  result = runner.run(
    binary.build(config),
    config,
    sinks=[runner.Jsonl(path), *more],
    store=runner.Store(folder, seconds=0),
  )
  return result, path.read_bytes()


@functools.cache
def whole(name):
  with tempfile.TemporaryDirectory() as folder:
    return go(name, folder)


class BinariesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory())
    )

  def test_listed_binaries_exist(self):
    self.assertContainsSubset(CONFIGS, BINARIES)

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
