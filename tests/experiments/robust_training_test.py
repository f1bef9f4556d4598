# SPDX-License-Identifier: Apache-2.0
"""The robust training binary, run as a user would."""

import dataclasses
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
from unittest import mock

import jax
import numpy as np
import processes
from absl.testing import absltest, parameterized

from experiments import robust_training
from jaxdl.experiment import config as config_lib

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {
  'rules': ('mean', 'nnm+krum'),
  'num_clients': 7,
  'num_byzantine': 1,
  'network': 'mlp(8)',
  'num_rounds': 6,
  'eval_every': 2,
}


def _config(**options):
  return robust_training.Config(**{**SMALL, **options})


@functools.cache
def _two_seeds():
  return robust_training.run(_config(seeds=(0, 3))).rows


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
    rows = _two_seeds()
    for row in rows:
      self.assertContainsSubset(('step', 'split', 'variant', 'seed'), row)
    test = [r for r in rows if r['split'] == 'test']
    self.assertLen(test, 4 * 2 * 2)  # Rounds 0, 2, 4, 6; rules; seeds.
    for row in test:
      self.assertBetween(row['accuracy'], 0, 1)
      self.assertTrue(np.isfinite(row['loss']))
    weights = [r for r in rows if r['split'] == 'weights']
    for row in weights:
      total = sum(row[f'worker_{i}'] for i in range(7))
      self.assertAlmostEqual(total, 1.0, places=5)

  def test_seeds_side_by_side_equal_single_runs(self):
    together = _two_seeds()
    alone = robust_training.run(_config(seeds=(3,))).rows
    pick = lambda rows: {
      (r['step'], r['variant']): r['loss']
      for r in rows
      if r['split'] == 'test' and r['seed'] == 3
    }
    got, want = pick(together), pick(alone)
    self.assertEqual(set(got), set(want))
    for key, value in want.items():
      np.testing.assert_allclose(got[key], value, rtol=2e-4)

  def test_layouts_of_eight_devices_learn_the_same(self):
    options = {'rules': ('median',), 'num_rounds': 2, 'eval_every': 2}
    rows = {}
    for layout in ('clients', 'mixed'):
      with (
        mock.patch.object(jax, 'device_count', return_value=8),
        self.assertLogs('absl', 'INFO') as logs,
      ):
        rows[layout] = robust_training.run(
          _config(layout=layout, **options)
        ).rows
      (told,) = (m for m in logs.output if ': layout ' in m)
      self.assertRegex(told, f'median: layout {layout}.* moves .* MB')
    want = robust_training.run(_config(**options)).rows
    for layout, got in rows.items():
      for a, b in zip(got, want, strict=True):
        self.assertEqual(a.keys(), b.keys())
        for name, value in b.items():
          if isinstance(value, float):
            np.testing.assert_allclose(
              a[name], value, rtol=2e-4, atol=1e-6, err_msg=f'{layout} {name}'
            )

  def test_a_layout_without_effect_is_refused(self):
    idle = config_lib.idle
    whole = _config(rules=('centered_clipping', 'foolsgold'), layout='mixed')
    self.assertIn('memory or read whole rows', idle(whole, 'layout'))
    some = _config(rules=('centered_clipping', 'median'), layout='mixed')
    self.assertIsNone(idle(some, 'layout'))
    gathered = _config(layout='mixed', reduction='gathered')
    self.assertIn('reduction=gathered', idle(gathered, 'layout'))

  def test_smoke_is_small(self):
    config = robust_training.Config().smoked()
    self.assertEqual(config, config.smoked())
    # The bound, what breaks, and what holds.
    self.assertEqual(config.rules, ('oracle', 'mean', 'nnm+trimmed_mean'))

  @parameterized.parameters(
    ({'rules': ('krumm',)}, "rules='krumm' is unknown: .*mean 'krum'"),
    ({'rules': ('bulyan',), 'num_byzantine': 2}, r'bulyan needs n >= 4f\+3'),
    ({'num_byzantine': 7}, 'leaves no honest client'),
    ({'attack': 'zero(scale=2.0)'}, "zero has no option 'scale'"),
    ({'rules': ('krum(num_neighbours=2)',)}, "mean 'num_neighbors'"),
    ({'dataset': 'mnist'}, 'give --data_dir'),
    ({'rules': ('mean', 'mean')}, 'rules must differ'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _config(**options)

  @parameterized.parameters(
    ({'partition': 'label_dirichlet(alpha=0)'}, 'alpha must lie in'),
    ({'partition': 'label_dirichlet'}, r'write label_dirichlet\(alpha=...\)'),
    ({'network': 'lenet'}, 'takes inputs'),
    ({'optimizer': 'sgd(-1)'}, 'learning_rate must lie in'),
    ({'optimizer': 'sgd(schedule=step)'}, "mean 'steps'"),
  )
  def test_parts_that_do_not_fit_are_refused_when_built(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      robust_training.build(_config(**options))

  def test_default_attack_tells_rules_apart(self):
    config = robust_training.Config()
    rng = np.random.default_rng(0)
    honest = (1 + 0.3 * rng.normal(size=(12, 20))).astype('float32')
    mean = honest.astype('float64').mean(axis=0)

    def step(rule, **options):
      own = dataclasses.replace(config, **options)
      rule = own.make_rule(rule)
      attack = own.make_attack(rule, num_classes=10)
      sent, _ = attack.apply(
        honest, attack.init(honest[0]), own=honest[:3], key=jax.random.key(0)
      )
      stacked = np.concatenate([honest, sent])
      state = rule.init(honest[0])
      return np.asarray(rule.apply(stacked, state, key=jax.random.key(0))[0])

    # (12 - 3 * 8) / 15 of the honest mean: up the hill.
    np.testing.assert_allclose(step('mean'), -0.8 * mean, rtol=1e-5)
    np.testing.assert_allclose(step('nnm+trimmed_mean'), mean, rtol=1e-5)
    self.assertGreater(np.abs(step('median') - mean).max(), 0.1)
    # An attack that is named has the scale of the library.
    np.testing.assert_allclose(
      step('mean', attack='sign_flip'), 0.6 * mean, rtol=1e-5
    )
    np.testing.assert_allclose(
      step('mean', attack='ipm'), (12 - 0.3) / 15 * mean, rtol=1e-5
    )

  def test_flag_divides_by_its_dimension_by_default(self):
    # As the official code does: n / m = 15 / 8 times the longer step.
    config = robust_training.Config()
    rule = next(r for r in config.rules if r.startswith('flag'))
    updates = np.random.default_rng(0).normal(size=(15, 20)).astype('float32')

    def apply(spec):
      made = config.make_rule(spec)
      return made.apply(updates, made.init(updates[0]))[0]

    np.testing.assert_allclose(apply(rule), apply('flag') * 15 / 8, rtol=1e-5)

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
      self.assertIn('leaves no honest client', bad.stderr)
      self.assertNotIn('Traceback', bad.stderr)
      self.assertFalse(os.path.exists(f'{folder}/run'))


class KillTest(absltest.TestCase):
  """SIGKILL at a random moment; `experiments.reproduce` does it 20 times."""

  def test_killed_and_resumed_writes_the_same_rows(self):
    flags = [
      *('--rules=median', '--num_clients=4', '--num_byzantine=1'),
      *('--network=mlp(4)', '--batch_size=4', '--num_rounds=1500'),
      *('--eval_every=100', '--checkpoint_seconds=0.1', '--outputs='),
    ]
    with tempfile.TemporaryDirectory() as folder:
      killed, whole = processes.rows_after_a_kill(
        lambda workdir: _command(workdir, *flags), folder
      )
      self.assertEqual(killed, whole)
      saved = (pathlib.Path(folder) / 'whole' / 'config.json').read_text()
      self.assertIn('median', saved)


if __name__ == '__main__':
  absltest.main()
