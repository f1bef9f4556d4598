# SPDX-License-Identifier: Apache-2.0
"""Damaged checkpoints and files, and disks that take no more."""

import errno
import json
import os
import pathlib
import random
import shutil
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from absl.testing import absltest, parameterized

from jaxdl.experiment import _checkpoint, _workdir, runner

STATE = {
  'a': np.arange(700, dtype=np.float32) ** 0.5,
  'b': np.ones((3, 4), jnp.bfloat16),
  'c': np.int32(7),
}


def state(shift=0):
  values = jax.tree.map(lambda x: jnp.asarray(x + x.dtype.type(shift)), STATE)
  return values | {'key': jax.random.key(3)}


def restored(folder):
  """Opens the store as a run does; returns the round and first leaf."""
  store = _checkpoint.Store(folder)
  try:
    latest = store.latest()
    store.begin()
    saved = store.restore(state(), fixed=True)
  finally:
    store.close()
  return latest, saved.round, np.asarray(saved.leaves[0].array)


class CheckpointTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.whole = pathlib.Path(tempfile.mkdtemp()) / 'whole'
    store = _checkpoint.Store(cls.whole)
    store.begin()
    store.save(3, state(), 5)
    store.save(6, state(1), 6)
    store.close()

  def damaged(self, change, name='*'):
    """Copies both, with one file of the newer one changed."""
    folder = pathlib.Path(tempfile.mkdtemp()) / 'run'
    shutil.copytree(self.whole, folder)
    path = next((folder / 'checkpoints/6').rglob(name))
    path.write_bytes(change(path.read_bytes()))
    return folder

  def check(self, folder):
    """Whatever is restored is what was saved."""
    latest, found, values = restored(folder)
    self.assertEqual(latest, 6)
    np.testing.assert_array_equal(values, STATE['a'] + (found == 6))
    return found

  @parameterized.parameters(
    b'null', b'[]', b'', b'{', b'\xff\xfe', b'{"meta": {}, "crc32": 0}'
  )
  def test_a_damaged_description_leads_to_the_older_one(self, data):
    folder = self.damaged(lambda _: data, 'meta/metadata')
    with self.assertLogs(level='WARNING') as logs:
      self.assertEqual(self.check(folder), 3)
    self.assertRegex(
      logs.output[0],
      r'checkpoint of round 6 is damaged, the one before is tried: \S+'
      r'/checkpoints/6 has (no|a) description [a-z ]+\.$',
    )
    self.assertFalse((folder / 'checkpoints/6').exists())

  @parameterized.parameters(b'null', b'[]', b'', b'\xff')
  def test_damaged_notes_of_the_library_do_no_harm(self, data):
    folder = self.damaged(lambda _: data, '_CHECKPOINT_METADATA')
    self.assertEqual(self.check(folder), 6)

  def test_a_flipped_digit_of_the_description_is_seen(self):
    folder = self.damaged(
      lambda x: x.replace(b'"num_rows": 6', b'"num_rows": 7'), 'meta/metadata'
    )
    self.assertEqual(self.check(folder), 3)

  def test_flipped_bits_of_the_values_are_seen(self):
    rng = random.Random(0)
    found = []
    for _ in range(6):

      def flip(data):
        data = bytearray(data)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)

      folder = self.damaged(flip, 'state/d/*')
      with self.assertLogs(level='WARNING') as logs:
        logging.warning('the first')
        found.append(self.check(folder))
      for line in logs.output[1:]:
        # None of what the library says, at length.
        self.assertRegex(line, r"/checkpoints/6 has [a-z ]+(\['.'\])?\.$")
    self.assertIn(3, found)

  def test_nothing_whole_says_what_to_do(self):
    folder = self.damaged(lambda _: b'null', 'meta/metadata')
    shutil.copy(
      folder / 'checkpoints/6/meta/metadata',
      folder / 'checkpoints/3/meta/metadata',
    )
    with self.assertRaisesRegex(
      ValueError, 'pass --if_exists=overwrite to start over'
    ):
      restored(folder)

  def test_a_full_disk_is_one_sentence(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    store = _checkpoint.Store(folder)
    store.begin()
    # As the array library says it, without a number.
    full = ValueError('RESOURCE_EXHAUSTED: write: No space left on device [x]')
    with (
      mock.patch.object(store._manager, 'save', side_effect=full),
      self.assertRaisesRegex(
        _workdir.WriteError, 'checkpoints cannot be written: No space left'
      ),
    ):
      store.save(1, state(), 0)
    store.close()


class FilesTest(parameterized.TestCase):
  def test_rows_count_up_to_the_damage(self):
    path = pathlib.Path(tempfile.mkdtemp()) / 'metrics.jsonl'
    row = {'step': 0, 'split': 'test', 'variant': '', 'seed': 0, 'loss': 1.0}
    good = json.dumps(row).encode()
    bad = (
      b'null',
      b'[]',
      b'"x"',
      b'\xff\xfe',
      b'[' * 100_000,
      b'{"step": 1}',
      good.replace(b'0', b'true'),
      good.replace(b'""', b'null'),
      good[:-5],
    )
    for line in bad:
      path.write_bytes(b'\n'.join((good, line, good)) + b'\n')
      self.assertEqual(runner.read_rows(path), [row], line[:20])

  @parameterized.parameters(b'null', b'[]', b'', b'\xff', b'{"config": 3}')
  def test_a_damaged_config_is_written_anew(self, data):
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / 'config.json').write_bytes(data)
    workdir = _workdir.Workdir(folder, 'x', runner.BaseConfig())
    workdir.begin()
    found = json.loads((folder / 'config.json').read_text())
    self.assertEqual(found['experiment'], 'x')

  def test_a_full_disk_leaves_the_old_file(self):
    path = pathlib.Path(tempfile.mkdtemp()) / 'config.json'
    path.write_text('old')
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
      mock.patch('os.fsync', side_effect=full),
      self.assertRaisesRegex(
        _workdir.WriteError, 'config.json cannot be written: No space left'
      ),
    ):
      _workdir.write_atomically(path, b'new')
    self.assertEqual(path.read_text(), 'old')
    self.assertLen(list(path.parent.iterdir()), 1)

  def test_a_workdir_below_a_file_is_refused_before_anything_runs(self):
    path = pathlib.Path(tempfile.mkdtemp()) / 'file'
    path.write_text('')
    with self.assertRaisesRegex(ValueError, 'file is a file: name a directory'):
      _workdir.Workdir(path / 'run', 'x', runner.BaseConfig())

  def test_a_place_that_takes_no_files_is_refused_before_anything_runs(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    for code, want in (
      (errno.ENOENT, 'Choose another --workdir'),
      (errno.EROFS, 'Choose another --workdir'),
      (errno.ENOSPC, 'Make room, or choose another --workdir'),
      (errno.EDQUOT, 'Make room, or choose another --workdir'),
    ):
      reason = os.strerror(code)
      with (
        mock.patch('tempfile.mkdtemp', side_effect=OSError(code, reason)),
        self.assertRaisesRegex(
          ValueError, rf'/run cannot be made: .* \({reason}\)\. {want}\.$'
        ),
      ):
        _workdir.Workdir(folder / 'run', 'x', runner.BaseConfig())
    _workdir.Workdir(folder / 'run', 'x', runner.BaseConfig())
    self.assertEmpty(list(folder.iterdir()))

  def test_a_read_only_workdir_is_refused_before_anything_runs(self):
    with (
      mock.patch('os.access', return_value=False),
      self.assertRaisesRegex(ValueError, 'is read-only here. Choose another'),
    ):
      _workdir.Workdir('/nowhere/run', 'x', runner.BaseConfig())


if __name__ == '__main__':
  absltest.main()
