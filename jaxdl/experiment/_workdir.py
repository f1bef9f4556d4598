# SPDX-License-Identifier: Apache-2.0
"""The directory of one run: who made it, and what is in it."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from absl import logging

from jaxdl.experiment import config as config_lib

_OURS = (
  'config.json',
  'metrics.jsonl',
  'metrics.csv',
  'checkpoints',
  'plots',
  'profile',
  'tensorboard',
)


# What ends where: room can be made, another place be named.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_PLACE = (
  *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EACCES),
  *(errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
)


class WriteError(OSError):
  """The disk refused what was written.

  Args:
    path: what was written.
    code: the error number; None if unknown.
    reason: what the disk says.

  Attributes:
    no_room: whether the disk is full.
    no_place: whether nothing can be written there.
  """

  def __init__(self, path: Any, code: int | None, reason: str) -> None:
    super().__init__(f'{path} cannot be written: {reason}.')
    self.no_room = code in _NO_ROOM
    self.no_place = code in _NO_PLACE


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
  """Turns what the disk refuses into a `WriteError`.

  Args:
    path: what is being written.

  Yields:
    Nothing.
  """
  try:
    yield
  except WriteError:
    raise
  except OSError as error:
    reason = error.strerror or str(error)
    raise WriteError(path, error.errno, reason) from error


def write_atomically(path: pathlib.Path, data: bytes) -> None:
  """Replaces a file so that a kill leaves the old or the new one, whole."""
  temporary = path.with_name(path.name + '.tmp')
  with writing(path):
    try:
      with open(temporary, 'wb') as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
      os.replace(temporary, path)
    except OSError:
      with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
      raise


class Workdir:
  """Knows which run a directory belongs to.

  Making one only reads, and raises if the directory belongs to another run.
  `begin` is what first writes: it creates the directory, clears it for
  `--if_exists=overwrite`, and writes `config.json`.

  Args:
    directory: the directory; need not exist.
    name: what the experiment is called.
    config: its configuration.

  Raises:
    ValueError: if another configuration made the directory, or this one did
      and must not go on; the message names the fields and the remedy.
  """

  def __init__(
    self, directory: str | pathlib.Path, name: str, config: Any
  ) -> None:
    self.path = pathlib.Path(directory)
    self.name = name
    self.config = config
    check_place(self.path)
    if self.fresh:
      return
    old = self._read()
    if old is not None:
      self.check(old)
    used = [entry for entry in _OURS[:2] if (self.path / entry).exists()]
    if used and config.if_exists == 'refuse':
      raise ValueError(
        f'workdir={directory} already holds a run: pass '
        '--if_exists=overwrite to start over, --if_exists=resume to go on, or '
        'another --workdir.'
      )

  @property
  def fresh(self) -> bool:
    """Whether an earlier run, if any, is to be forgotten."""
    return self.config.if_exists == 'overwrite'

  def identity(self) -> dict[str, Any]:
    """Returns what must agree for a run to go on: experiment and config."""
    return {
      'experiment': self.name,
      'config': config_lib.as_json(self.config),
    }

  def check(self, old: dict[str, Any]) -> None:
    """Raises ValueError unless a run with identity `old` may go on here."""
    remedy = 'pass --if_exists=overwrite to start over, or another --workdir.'
    if old['experiment'] != self.name:
      raise ValueError(
        f'workdir={self.path} belongs to the experiment '
        f'{old["experiment"]!r}, not {self.name!r}: {remedy}'
      )
    found = config_lib.differences(old['config'], self.config)
    if found:
      raise ValueError(
        f'workdir={self.path} belongs to a run with another config '
        f'({"; ".join(found)}): {remedy}'
      )

  def begin(self) -> None:
    """Creates the directory, clears it if asked to, writes `config.json`."""
    with writing(self.path):
      if self.fresh:
        for entry in _OURS:
          target = self.path / entry
          if target.is_dir():
            shutil.rmtree(target)
          else:
            target.unlink(missing_ok=True)
      self.path.mkdir(parents=True, exist_ok=True)
    text = json.dumps(self.identity() | _provenance(), indent=2) + '\n'
    write_atomically(self.path / 'config.json', text.encode())

  def _read(self) -> dict[str, Any] | None:
    path = self.path / 'config.json'
    if not path.exists():
      return None
    try:
      old = json.loads(path.read_text())
      if isinstance(old['experiment'], str) and isinstance(old['config'], dict):
        return old
    except (ValueError, KeyError, TypeError, RecursionError):
      pass
    logging.warning('%s is damaged and will be written anew.', path)
    return None


def check_place(path: pathlib.Path, *, name: str = 'workdir') -> None:
  """Checks that a directory can be used or made, before hours of work.

  Args:
    path: the directory; nothing is left of the attempt.
    name: the flag that names it, for the message.

  Raises:
    ValueError: if it can be neither; the message says what would help.
  """
  try:
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
  except OSError as error:
    raise ValueError(
      f'{name}={path} cannot be used: {error.strerror}. {remedy(error, name)}'
    ) from error
  if not there.is_dir():
    raise ValueError(f'{name}={path}: {there} is a file: name a directory.')
  if not os.access(there, os.W_OK | os.X_OK):
    raise ValueError(
      f'{name}={path} cannot be written: {there} is read-only here. Choose '
      f'another --{name}.'
    )
  try:
    # Not every place that has the permission takes files, /proc for one.
    os.rmdir(tempfile.mkdtemp(prefix='.', dir=there))
  except OSError as error:
    what = 'made' if there != path else 'written'
    raise ValueError(
      f'{name}={path} cannot be {what}: {there} takes no files '
      f'({error.strerror}). {remedy(error, name)}'
    ) from error


def remedy(error: OSError, name: str) -> str:
  """Says what would help against what the disk refused; '' if unknown."""
  if error.errno in _NO_ROOM or getattr(error, 'no_room', False):
    return f'Make room, or choose another --{name}.'
  if error.errno in _NO_PLACE or getattr(error, 'no_place', False):
    return f'Choose another --{name}.'
  return ''


def _provenance() -> dict[str, Any]:
  """Returns versions, device and revision; never a reason to refuse a run."""
  import flax
  import jax
  import numpy as np
  import optax

  import jaxdl

  device = jax.devices()[0]
  return {
    'versions': {
      'python': sys.version.split()[0],
      'jaxdl': jaxdl.__version__,
      'jax': jax.__version__,
      'flax': flax.__version__,
      'optax': optax.__version__,
      'numpy': np.__version__,
    },
    'device': {
      'platform': device.platform,
      'kind': device.device_kind,
      'count': jax.device_count(),
      'processes': jax.process_count(),
    },
    'git_revision': _git_revision(),
  }


def _git_revision() -> str | None:
  main = getattr(sys.modules.get('__main__'), '__file__', None)
  folder = pathlib.Path(main).resolve().parent if main else pathlib.Path.cwd()
  try:
    found = subprocess.run(
      ['git', '-C', str(folder), 'rev-parse', 'HEAD'],
      capture_output=True,
      text=True,
      timeout=5,
      check=False,
    )
  except (OSError, subprocess.TimeoutExpired):
    return None
  return found.stdout.strip() or None
