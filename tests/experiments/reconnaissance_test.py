# SPDX-License-Identifier: Apache-2.0
"""The reconnaissance binary."""

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from unittest import mock

import numpy as np
import processes
from absl.testing import absltest, parameterized
from PIL import Image

from experiments import reconnaissance
from jaxdl.federated import prototypes

SMALL = {
  'dataset': 'glyphs(num_classes=10, train_per_class=6, test_per_class=2, '
  'size=8)',
  'num_base': 4,
  'protocol': 'missions(num_clients=2, classes=2, shots=2)',
  'embedding': 'mlp((), 4)',
  'training': 'episodic(episodes=3, ways=3, shots=2, queries=2)',
  'methods': ('protonet', 'protonet(merge=reference)', 'pixels'),
  'num_rounds': 7,
}


def config_of(**options):
  return reconnaissance.Config(**{**SMALL, **options})


class ReconnaissanceTest(parameterized.TestCase):
  def test_smoke_has_few_shots_however_they_are_drawn(self):
    config = config_of(training='episodic(fewest_shots=5, shots=50)').smoked()
    self.assertIn('shots=2', config.training)
    self.assertIn('fewest_shots=2', config.training)

  def test_smoke_is_small(self):
    config = reconnaissance.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertLen(config.methods, 3)
    self.assertEqual(config.embedding, 'mlp(32, 16)')
    self.assertIn('episodes=10', config.training)

  def test_rows_table_and_pictures(self):
    config = config_of(seeds=(0, 3), base_memory=True)
    result = reconnaissance.run(config)
    test = [r for r in result.rows if r['split'] == 'test']
    self.assertLen(test, 8 * 3 * 2)
    exact, reference = (
      [r for r in test if r['variant'] == m and r['step'] == 7]
      for m in config.methods[:2]
    )
    for row in exact:
      self.assertLess(row['prototype_error'], 1e-6)
      self.assertEqual(row['num_known'], 10)
    for row in reference:
      self.assertGreater(row['prototype_error'], 1e-3)
    columns, cells = result.experiment.table(result.rows)
    self.assertEqual([c[0] for c in cells], list(config.methods))
    self.assertEqual(cells[0][columns.index('classes')], '10')
    with tempfile.TemporaryDirectory() as folder:
      paths = result.experiment.plots[0](result.rows, pathlib.Path(folder))
      names = [path.stem for path in paths]
      self.assertContainsSubset(
        ['accuracy', 'base_accuracy', 'bytes_up', 'client_new'], names
      )

  def test_folders_of_images(self):
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
      for part, count in (('background', 4), ('evaluation', 3)):
        for c in range(count):
          place = pathlib.Path(folder, f'images_{part}', 'A', f'character{c}')
          place.mkdir(parents=True)
          for i in range(5):
            pixels = 255 * rng.integers(0, 2, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(place / f'{i}.png')
      config = config_of(
        dataset='omniglot(size=8, test_per_class=1)',
        data_dir=folder,
        protocol='cil(classes=1, shots=4)',
        methods=('protonet',),
        num_rounds=3,
      )
      rows = reconnaissance.run(config).rows
    self.assertEqual(rows[-1]['num_known'], 3)

  @parameterized.parameters(
    ({'dataset': 'omniglot'}, 'dataset=omniglot is read from local files'),
    ({'data_dir': '/tmp'}, 'data_dir=/tmp has no effect on dataset=glyphs'),
    ({'methods': ()}, 'methods is empty'),
    ({'methods': ('pixels', 'pixels')}, 'methods must differ'),
    ({'methods': ('prototype',)}, "methods='prototype' is unknown"),
    ({'protocol': 'missions(k=3)'}, "no option 'k'"),
    ({'num_base': 0}, 'num_base must be at least 1'),
    ({'methods': ('lower(train=body)',)}, "train='body' is unknown"),
    ({'methods': ('lda(shrinkage=3.0)',)}, 'shrinkage must lie in'),
    ({'methods': ('icarl(optimizer="sgd(-1)")',)}, 'learning_rate must lie in'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      config_of(**options)

  def test_overlapping_classes_are_refused_before_anything_is_trained(self):
    with self.assertRaisesRegex(ValueError, 'num_base=4 and num_field=9 over'):
      reconnaissance.build(config_of(num_field=9))

  def test_methods_that_do_not_fit_are_refused_before_anything_is_trained(self):
    config = config_of(methods=('icarl(budget=5)',))
    with mock.patch.object(prototypes, 'train_encoder') as train:
      with self.assertRaisesRegex(ValueError, 'budget must be at least 6; got'):
        reconnaissance.build(config)
      train.assert_not_called()


class KillTest(absltest.TestCase):
  """SIGKILL in the middle of a run of several seeds on eight devices."""

  def test_killed_and_resumed_writes_the_same_rows(self):
    methods = 'protonet(merge=reference),lda'
    config = {
      **SMALL,
      # Five clients fill up eight devices; examples never end.
      'protocol': 'missions(num_clients=5, classes=2, shots=2, '
      'replacement=True)',
      'methods': methods,
      'num_rounds': 40,
      'eval_every': 10,
      'seeds': '0,1,2',
      'devices': 8,
      'checkpoint_seconds': 0,
      'outputs': '',
    }
    command = [sys.executable, '-m', 'experiments.reconnaissance']
    command += [f'--{name}={value}' for name, value in config.items()]
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def start(name):
      return subprocess.Popen(
        [*command, f'--workdir={folder / name}'],
        cwd=pathlib.Path(__file__).parents[2],
        env=processes.environment(keep_programs=False, quick=True),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
      )

    whole, killed = start('whole'), start('killed')
    saved = lambda: [
      int(path.name)
      for path in (folder / 'killed').glob('checkpoints/*')
      if path.name.isdigit()
    ]
    while killed.poll() is None:
      if max(saved(), default=0) >= 5:
        killed.send_signal(signal.SIGKILL)
        break
      time.sleep(0.01)
    self.assertEqual(killed.wait(), -signal.SIGKILL)
    self.assertLess(max(saved()), 40)
    self.assertEqual(start('killed').wait(), 0)
    self.assertEqual(whole.wait(), 0)
    rows, want = (
      (folder / name / 'metrics.jsonl').read_bytes()
      for name in ('killed', 'whole')
    )
    self.assertEqual(rows, want)
    last = [json.loads(line) for line in rows.splitlines()][-1]
    self.assertEqual((last['step'], last['seed']), (40, 2))


if __name__ == '__main__':
  absltest.main()
