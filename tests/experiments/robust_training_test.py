# SPDX-License-Identifier: Apache-2.0
"""The robust training binary, run as a user would."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl.testing import absltest, parameterized

from experiments import robust_training

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {
  'rules': ('mean', 'nnm+krum'),
  'num_clients': 7,
  'num_byzantine': 1,
  'hidden_sizes': (8,),
  'num_rounds': 6,
  'eval_every': 2,
}


def _config(**options):
  return robust_training.Config(**{**SMALL, **options})


def _command(workdir, *flags):
  return [
    sys.executable,
    '-m',
    'experiments.robust_training',
    f'--workdir={workdir}',
    *flags,
  ]


class RobustTrainingTest(parameterized.TestCase):
  def test_rows_have_the_documented_form(self):
    result = robust_training.run(_config(seeds=(0, 3)))
    for row in result.rows:
      self.assertContainsSubset(('step', 'split', 'rule', 'seed'), row)
    test = [r for r in result.rows if r['split'] == 'test']
    self.assertLen(test, 4 * 2 * 2)  # Rounds 0, 2, 4, 6; rules; seeds.
    for row in test:
      self.assertBetween(row['accuracy'], 0, 1)
      self.assertTrue(np.isfinite(row['loss']))
    weights = [r for r in result.rows if r['split'] == 'weights']
    for row in weights:
      total = sum(row[f'worker_{i}'] for i in range(7))
      self.assertAlmostEqual(total, 1.0, places=5)

  def test_seeds_side_by_side_equal_single_runs(self):
    together = robust_training.run(_config(seeds=(0, 3))).rows
    alone = robust_training.run(_config(seed=3)).rows
    pick = lambda rows: {
      (r['step'], r['rule']): r['loss']
      for r in rows
      if r['split'] == 'test' and r['seed'] == 3
    }
    got, want = pick(together), pick(alone)
    self.assertEqual(set(got), set(want))
    for key, value in want.items():
      np.testing.assert_allclose(got[key], value, rtol=2e-4)

  def test_smoke_runs_and_learns_nothing_new_twice(self):
    config = robust_training.Config().smoked()
    self.assertEqual(config, config.smoked())
    rows = robust_training.run(config).rows
    self.assertEqual({r['rule'] for r in rows}, {'oracle', 'mean'})

  @parameterized.parameters(
    ({'rules': ('krumm',)}, "aggregator='krumm' is unknown"),
    ({'rules': ('bulyan',), 'num_byzantine': 2}, r'bulyan needs n >= 4f\+3'),
    ({'num_byzantine': 7}, 'leaves no honest worker'),
    ({'attack': 'zero', 'attack_scale': 2.0}, 'has no scale'),
    ({'dataset': 'mnist'}, 'give --data_dir'),
    ({'alpha': 0.0}, 'alpha must be positive'),
    ({'rules': ('mean', 'mean')}, 'rules must differ'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  def test_declared_number_reaches_the_rules(self):
    with self.assertRaisesRegex(ValueError, r'needs n >= 2f\+3 \(n=7, f=3\)'):
      _config(declared_byzantine=3)

  def test_missing_files_are_named(self):
    with tempfile.TemporaryDirectory() as folder:
      config = _config(dataset='mnist', data_dir=folder)
      with self.assertRaisesRegex((ValueError, FileNotFoundError), folder):
        robust_training.build(config)

  def test_flags_of_the_command(self):
    with tempfile.TemporaryDirectory() as folder:
      bad = subprocess.run(
        _command(f'{folder}/run', '--num_byzantine=9', '--num_clients=7'),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
      )
      self.assertEqual(bad.returncode, 2, bad.stderr)
      self.assertIn('leaves no honest worker', bad.stderr)
      self.assertNotIn('Traceback', bad.stderr)
      self.assertFalse(os.path.exists(f'{folder}/run'))


class KillTest(absltest.TestCase):
  """SIGKILL at random moments; `experiments.reproduce` does it 20 times."""

  def test_killed_and_resumed_writes_the_same_rows(self):
    flags = [
      '--rules=median,nnm+krum',
      '--num_clients=7',
      '--num_byzantine=1',
      '--hidden_sizes=8',
      '--num_rounds=400',
      '--eval_every=20',
      '--checkpoint_seconds=0.2',
      '--noplots',
    ]
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
      work = pathlib.Path(folder) / 'killed'
      environment = {
        **os.environ,
        'XLA_FLAGS': '',
        'JAX_COMPILATION_CACHE_DIR': os.path.join(folder, 'cache'),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
      }
      kills = 0
      for _ in range(2):
        process = subprocess.Popen(
          _command(work, *flags),
          cwd=ROOT,
          env=environment,
          stdout=subprocess.DEVNULL,
          stderr=subprocess.DEVNULL,
        )
        metrics = work / 'metrics.jsonl'
        before = metrics.stat().st_size if metrics.exists() else 0
        while process.poll() is None:
          size = metrics.stat().st_size if metrics.exists() else 0
          if size > before:
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            break
          time.sleep(0.02)
        process.wait()
        kills += process.returncode == -signal.SIGKILL
      self.assertGreaterEqual(kills, 1)
      done = subprocess.run(
        _command(work, *flags),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
      )
      self.assertEqual(done.returncode, 0, done.stderr[-2000:])
      whole = pathlib.Path(folder) / 'whole'
      subprocess.run(
        _command(whole, *flags),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=True,
      )
      self.assertEqual(
        (work / 'metrics.jsonl').read_bytes(),
        (whole / 'metrics.jsonl').read_bytes(),
      )
      saved = json.loads((whole / 'config.json').read_text())
      self.assertIn('median', str(saved))


if __name__ == '__main__':
  absltest.main()
