# SPDX-License-Identifier: Apache-2.0
"""Saves the state of a run so that a kill at any instant loses little.

A checkpoint holds the leaves of the state as host arrays, whatever devices they
were on, and a small JSON part: the round, the number of rows that
`metrics.jsonl` had, what each leaf is, and the identity of the run. Leaves and
JSON part have checksums, so that a damaged checkpoint is told from a whole one
and the one before it is taken.
"""

import contextlib
import errno
import gc
import json
import logging as std_logging
import os
import pathlib
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any

import chex
import jax
import numpy as np
from absl import logging

from jaxdl.experiment import _launch, _pack, _workdir

# What a full or read-only disk says, also where a library hides the number.
_DISK = {
  os.strerror(code): code
  for code in (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EFBIG,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
  )
}


class Store:
  """Checkpoints in a directory, written by orbax in the background.

  Args:
    directory: holds `checkpoints/`, and `profile/` if rounds are traced.
    seconds: time between checkpoints; 0 saves after every round.
    keep: how many checkpoints stay on disk.
    workdir: the run's directory with its identity; None skips those checks.
  """

  def __init__(
    self,
    directory: str | os.PathLike[str],
    *,
    seconds: float = 60.0,
    keep: int = 2,
    workdir: _workdir.Workdir | None = None,
  ) -> None:
    self.directory = pathlib.Path(directory)
    self.running = False
    self._seconds = seconds
    self._keep = keep
    self._workdir = workdir
    self._manager = None
    self._last = -1
    self._next = 0.0

  @property
  def _path(self) -> pathlib.Path:
    return self.directory / 'checkpoints'

  @property
  def saved(self) -> bool:
    """Whether there is a checkpoint that a run can go on from."""
    return self._last >= 0

  def latest(self) -> int:
    """Returns the round of the newest finished checkpoint; -1 for none."""
    found = -1
    fresh = self._workdir is not None and self._workdir.fresh
    if jax.process_index() == 0 and not fresh and self._path.is_dir():
      # Unfinished ones have longer names.
      names = [p.name for p in self._path.iterdir() if p.is_dir()]
      found = max((int(n) for n in names if n.isdigit()), default=-1)
    return int(_launch.from_first(np.int32(found)))

  def begin(self) -> None:
    """Creates what is missing on disk; nothing is written before."""
    if jax.process_index() == 0:
      if self._workdir is not None:
        self._workdir.begin()
      with self._writing():
        self._path.mkdir(parents=True, exist_ok=True)
        self._manager = _manager(self._path, self._keep)
    self.rest()

  def restore(self, template: chex.ArrayTree, *, fixed: bool) -> _pack.Saved:
    """Reads the newest checkpoint that is whole.

    Args:
      template: a fresh state.
      fixed: whether the saved leaves must have its shapes and dtypes; False
        lets a state of builtin containers have changed its structure.

    Returns:
      The checkpoint, the same on every process.

    Raises:
      ValueError: if none can be read, or the newest belongs to another state
        or another configuration.
    """
    saved = self._read() if self._manager is not None else None
    if saved is not None and (fixed or saved.skeleton is None):
      saved = saved._replace(skeleton=None)
      _pack.check_like(saved.leaves, template)
    if jax.process_count() > 1:
      saved = _share(saved, template)
    assert saved is not None
    self._last = saved.round
    return saved

  def due(self) -> bool:
    """Whether it is time for a checkpoint."""
    return time.monotonic() >= self._next

  def rest(self) -> None:
    """Starts waiting for the next checkpoint."""
    self._next = time.monotonic() + self._seconds

  def save(self, round: int, state: chex.ArrayTree, num_rows: int) -> None:
    """Copies the state to the host and writes it in the background.

    Args:
      round: the last round that the state has seen.
      state: any pytree of arrays, typed keys and JSON values.
      num_rows: see `Saved`.
    """
    if round == self._last:
      return
    arrays, leaves, skeleton = _pack.pack(state)
    self._last = round
    if self._manager is not None:
      import orbax.checkpoint as ocp

      for n, leaf in enumerate(leaves):
        if leaf['stored']:
          leaf['crc32'] = _crc32(arrays[_pack.name(n)])
      meta = {
        'round': round,
        'num_rows': num_rows,
        'leaves': leaves,
        'skeleton': skeleton,
        'identity': self._workdir.identity() if self._workdir else None,
      }
      checked = {'meta': meta, 'crc32': _crc32_of_json(meta)}
      parts: dict[str, Any] = {'meta': ocp.args.JsonSave(checked)}
      if arrays:
        parts['state'] = ocp.args.PyTreeSave(arrays)
      with self._writing():
        self._manager.save(round, args=ocp.args.Composite(**parts), force=True)
    self.rest()

  def close(self) -> None:
    """Waits until what was saved is on disk."""
    manager, self._manager = self._manager, None
    if manager is not None:
      with self._writing():
        try:
          manager.wait_until_finished()
        finally:
          manager.close()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Turns what the disk refuses into a `WriteError`."""
    try:
      yield
    except _workdir.WriteError:
      raise
    except Exception as error:
      text = str(error)
      found = [reason for reason in _DISK if reason in text]
      code = _DISK[found[0]] if found else None
      if isinstance(error, OSError) and not found:
        found, code = [error.strerror or text], error.errno
      if not found:
        raise
      raise _workdir.WriteError(self._path, code, found[0]) from error

  def _read(self) -> _pack.Saved:
    manager = self._manager
    assert manager is not None
    damaged = []
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        with _no_late_words():
          meta, arrays = _verified(manager, step)
      # A damaged file may make the library underneath raise anything.
      except Exception as error:
        logging.debug('%s', error)
        known = isinstance(error, _Damaged)
        logging.warning(
          'The checkpoint of round %d is damaged, the one before is tried: %s '
          '%s.',
          step,
          self._path / str(step),
          error if known else 'cannot be read',
        )
        damaged.append(step)
        continue
      if self._workdir is not None and meta['identity'] is not None:
        self._workdir.check(meta['identity'])
      with self._writing():
        for old in damaged:
          shutil.rmtree(self._path / str(old))
        manager.reload()
      leaves = [
        _pack.Leaf(leaf, arrays[_pack.name(n)] if leaf['stored'] else None)
        for n, leaf in enumerate(meta['leaves'])
      ]
      return _pack.Saved(
        meta['round'], meta['num_rows'], leaves, meta['skeleton']
      )
    raise ValueError(
      f'{self._path} holds no checkpoint that can be read: pass '
      '--if_exists=overwrite to start over, or another --workdir.'
    )


def read_state(directory: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Reads the newest checkpoint of a run that is whole, and changes nothing.

  Args:
    directory: of the run, its `workdir`.

  Returns:
    The arrays of its state by their paths, such as "['mean'].params['w']".

  Raises:
    ValueError: if there is none that can be read.
  """
  import orbax.checkpoint as ocp

  store = Store(directory)
  if store.latest() < 0:
    raise ValueError(
      f'{directory} holds no checkpoint: name the workdir of a run.'
    )
  options = ocp.CheckpointManagerOptions(read_only=True)
  with ocp.CheckpointManager(store._path.resolve(), options=options) as manager:
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        with _no_late_words():
          meta, arrays = _verified(manager, step)
      # As in `Store.restore`.
      except Exception as error:
        logging.debug('%s', error)
        continue
      return {
        leaf['path']: arrays[_pack.name(n)]
        for n, leaf in enumerate(meta['leaves'])
        if leaf['stored']
      }
  raise ValueError(f'{directory} holds no checkpoint that can be read.')


class _Damaged(ValueError):
  """What is wrong with a checkpoint; follows its path in a sentence."""


@contextlib.contextmanager
def _decoding(what: str) -> Iterator[None]:
  """Puts a word in place of what the library underneath says, at length."""
  try:
    yield
  except Exception as error:
    raise _Damaged(f'has {what} that cannot be decoded') from error


def _verified(
  manager: Any, step: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Reads one checkpoint and compares it with its checksums."""
  import orbax.checkpoint as ocp

  with _decoding('a description'):
    checked = manager.restore(
      step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
    )['meta']
  if not isinstance(checked, dict) or checked.keys() != {'meta', 'crc32'}:
    raise _Damaged('has no description of this version')
  meta = checked['meta']
  if checked['crc32'] != _crc32_of_json(meta):
    raise _Damaged('has a description with another checksum')
  if meta['round'] != step:
    raise _Damaged(f'says that it is of round {meta["round"]}')
  wanted = {
    _pack.name(n): leaf
    for n, leaf in enumerate(meta['leaves'])
    if leaf['stored']
  }
  arrays = {}
  if wanted:
    # What is expected is said, for what the files say may be damaged.
    like = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in wanted}
    args = ocp.args.PyTreeRestore(restore_args=like)
    with _decoding('values'):
      arrays = manager.restore(step, args=ocp.args.Composite(state=args))
      arrays = arrays['state']
  for name, leaf in wanted.items():
    array = arrays[name]
    if list(array.shape) != leaf['shape'] or array.dtype != leaf['dtype']:
      raise _Damaged(f'has another shape or dtype of state{leaf["path"]}')
    if _crc32(array) != leaf['crc32']:
      raise _Damaged(f'has another checksum of state{leaf["path"]}')
  return meta, arrays


@contextlib.contextmanager
def _no_late_words() -> Iterator[None]:
  """Drops what readers of other leaves print after the first has failed."""
  hook, log = sys.unraisablehook, std_logging.getLogger('asyncio')
  level = log.level

  def quiet(unraisable):
    if str(unraisable.exc_value) != 'Event loop is closed':
      hook(unraisable)

  sys.unraisablehook = quiet
  log.setLevel(std_logging.CRITICAL)
  try:
    yield
  except Exception:
    time.sleep(0.05)  # They come from other threads.
    gc.collect()
    raise
  finally:
    sys.unraisablehook = hook
    log.setLevel(level)


def _crc32(array: np.ndarray) -> int:
  """Returns the checksum of an array's values."""
  data = np.ascontiguousarray(array)
  return zlib.crc32(data.reshape(-1).view(np.uint8).data)


def _crc32_of_json(value: Any) -> int:
  """Returns the checksum of a JSON value, however it is written."""
  return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def _manager(path: pathlib.Path, keep: int) -> Any:
  """Opens the checkpoints."""
  import orbax.checkpoint as ocp

  for notes in path.glob('*/_CHECKPOINT_METADATA'):
    # Times of writing, which nobody needs; the library trips over damage.
    if not _is_json_object(notes):
      notes.unlink()
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    cleanup_tmp_directories=True,
    create=False,
    save_root_metadata=False,
    multiprocessing_options=ocp.options.MultiprocessingOptions(
      primary_host=0, active_processes={0}, barrier_sync_key_prefix='jaxdl'
    ),
  )
  return ocp.CheckpointManager(path.resolve(), options=options)


def _is_json_object(path: pathlib.Path) -> bool:
  try:
    return isinstance(json.loads(path.read_bytes()), dict)
  except (ValueError, RecursionError):
    return False


def _share(saved: _pack.Saved | None, template: chex.ArrayTree) -> _pack.Saved:
  """Sends the first process's checkpoint to all, byte for byte."""
  head = np.zeros(2, np.int32)
  if saved is not None:
    head = np.array([saved.round, saved.num_rows], np.int32)
  head = _launch.from_first(head)
  metas = _pack.describe(template)
  leaves = []
  for n, meta in enumerate(metas):
    kind = np.dtype(meta['dtype'])
    count = int(np.prod(meta['shape'], dtype=np.int64)) * kind.itemsize
    raw = np.zeros(count, np.uint8)
    if saved is not None and count:
      raw = np.frombuffer(np.asarray(saved.leaves[n].array).tobytes(), np.uint8)
    raw = _launch.from_first(raw) if count else raw
    leaves.append(_pack.Leaf(meta, raw.view(kind).reshape(meta['shape'])))
  return _pack.Saved(int(head[0]), int(head[1]), leaves, None)
