# SPDX-License-Identifier: Apache-2.0
"""The directory of one run: who made it, and what is in it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
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


def write_atomically(path: pathlib.Path, data: bytes) -> None:
  """Replaces a file so that a kill leaves the old or the new one, whole."""
  temporary = path.with_name(path.name + '.tmp')
  with open(temporary, 'wb') as f:
    f.write(data)
    f.flush()
    os.fsync(f.fileno())
  os.replace(temporary, path)


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
    if self.path.exists() and not self.path.is_dir():
      raise ValueError(f'workdir={directory} is a file: name a directory.')
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
    except (ValueError, KeyError, TypeError):
      pass
    logging.warning('%s is damaged and will be written anew.', path)
    return None


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
