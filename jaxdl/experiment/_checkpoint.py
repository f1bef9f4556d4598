# SPDX-License-Identifier: Apache-2.0
"""Saves the state of a run so that a kill at any instant loses little.

A checkpoint holds the leaves of the state as host arrays, whatever devices they
were on, and a small JSON part: the round, the number of rows that
`metrics.jsonl` had, what each leaf is, and the identity of the run.
"""

import os
import pathlib
import time
from typing import Any

import chex
import jax
import numpy as np
from absl import logging

from jaxdl.experiment import _launch, _pack, _workdir


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
    self.begun = False
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

  def latest(self) -> int:
    """Returns the round of the newest finished checkpoint; -1 for none."""
    found = -1
    fresh = self._workdir is not None and self._workdir.fresh
    if jax.process_index() == 0 and not fresh and self._path.is_dir():
      manager = _manager(self._path, self._keep, peek=True)
      found = max(manager.all_steps(), default=-1)
      manager.close()
    return int(_launch.from_first(np.int32(found)))

  def begin(self) -> None:
    """Creates what is missing on disk; nothing is written before."""
    self.begun = True
    if jax.process_index() == 0:
      if self._workdir is not None:
        self._workdir.begin()
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

      meta = {
        'round': round,
        'num_rows': num_rows,
        'leaves': leaves,
        'skeleton': skeleton,
        'identity': self._workdir.identity() if self._workdir else None,
      }
      parts: dict[str, Any] = {'meta': ocp.args.JsonSave(meta)}
      if arrays:
        parts['state'] = ocp.args.PyTreeSave(arrays)
      self._manager.save(round, args=ocp.args.Composite(**parts), force=True)
    self.rest()

  def close(self) -> None:
    """Waits until what was saved is on disk."""
    if self._manager is not None:
      self._manager.wait_until_finished()
      self._manager.close()
      self._manager = None

  def _read(self) -> _pack.Saved:
    import orbax.checkpoint as ocp

    manager = self._manager
    assert manager is not None
    damaged = []
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        meta = manager.restore(
          step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
        )['meta']
        names = [n for n, leaf in enumerate(meta['leaves']) if leaf['stored']]
        arrays = {}
        if names:
          wanted = {
            _pack.name(n): ocp.RestoreArgs(restore_type=np.ndarray)
            for n in names
          }
          arrays = manager.restore(
            step,
            args=ocp.args.Composite(
              state=ocp.args.PyTreeRestore(restore_args=wanted)
            ),
          )['state']
      except (OSError, KeyError, ValueError) as error:
        logging.warning('Checkpoint %d is damaged: %s', step, error)
        damaged.append(step)
        continue
      for old in damaged:
        manager.delete(old)
      if self._workdir is not None and meta['identity'] is not None:
        self._workdir.check(meta['identity'])
      leaves = [
        _pack.Leaf(leaf, arrays[_pack.name(n)] if leaf['stored'] else None)
        for n, leaf in enumerate(meta['leaves'])
      ]
      return _pack.Saved(
        meta['round'], meta['num_rows'], leaves, meta['skeleton']
      )
    raise ValueError(
      f'{self._path} holds no checkpoint that can be read: pass --overwrite '
      'to start over.'
    )


def _manager(path: pathlib.Path, keep: int, peek: bool = False) -> Any:
  """Opens the checkpoints; to peek changes nothing on disk."""
  import orbax.checkpoint as ocp

  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    cleanup_tmp_directories=not peek,
    create=False,
    save_root_metadata=False,
    enable_async_checkpointing=not peek,
    multiprocessing_options=ocp.options.MultiprocessingOptions(
      primary_host=0, active_processes={0}, barrier_sync_key_prefix='jaxdl'
    ),
  )
  return ocp.CheckpointManager(path.resolve(), options=options)


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
