# SPDX-License-Identifier: Apache-2.0
"""The directory of one run: who made it, and what is in it."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
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


class WriteError(OSError):
  """The disk took no more; its message is a sentence."""


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
    raise WriteError(f'{path} cannot be written: {reason}.') from error


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
  `--overwrite`, and writes `config.json`.

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
    _check_place(self.path)
    if self.fresh:
      return
    old = self._read()
    if old is not None:
      self.check(old)
    used = [entry for entry in _OURS[:2] if (self.path / entry).exists()]
    if used and not config.resume:
      raise ValueError(
        f'workdir={directory} already holds a run: pass --overwrite to start '
        'over, --resume to go on, or another --workdir.'
      )

  @property
  def fresh(self) -> bool:
    """Whether an earlier run, if any, is to be forgotten."""
    return self.config.overwrite

  def identity(self) -> dict[str, Any]:
    """Returns what must agree for a run to go on: experiment and config."""
    return {
      'experiment': self.name,
      'config': config_lib.as_json(self.config),
    }

  def check(self, old: dict[str, Any]) -> None:
    """Raises ValueError unless a run with identity `old` may go on here."""
    remedy = 'pass --overwrite to start over, or another --workdir.'
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


def _check_place(path: pathlib.Path) -> None:
  """Raises ValueError where a directory can be neither used nor made."""
  there = next(p for p in (path, *path.absolute().parents) if p.exists())
  if not there.is_dir():
    raise ValueError(f'workdir={path}: {there} is a file: name a directory.')
  if not os.access(there, os.W_OK | os.X_OK):
    raise ValueError(
      f'workdir={path} cannot be written: {there} is read-only here. Choose '
      'another --workdir.'
    )


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
