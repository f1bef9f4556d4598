# SPDX-License-Identifier: Apache-2.0
"""Where rows of metrics go.

A row is a flat dict: `step` (the round), `split`, `variant`, `seed`, then
metrics. `metrics.jsonl` is the truth: no time of day is in it, floats are
written by `repr`, and NaN and infinities, which JSON lacks, are the strings
"NaN", "Infinity" and "-Infinity", read back as floats.
"""

import csv
import io
import json
import math
import numbers
import os
import pathlib
from typing import Any

import numpy as np
from absl import logging

from jaxdl.experiment import _workdir

Row = dict[str, Any]
LABELS = ('step', 'split', 'variant', 'seed')
_LABEL_TYPES = {'step': int, 'split': str, 'variant': str, 'seed': int}
_NON_FINITE = {
  'NaN': math.nan,
  'Infinity': math.inf,
  '-Infinity': -math.inf,
}


class Sink:
  """Receives rows; every method may be left as it is.

  `rewind` is called once before rounds, `tick` after every one (cheap please),
  `write` at evaluations, `flush` before a checkpoint, `close` at the end, also
  after an error; `stage` says, at any time, what is being done: 'preparing',
  'compiling' or 'running'.
  """

  def stage(self, name: str) -> None:
    """Is told what is being done from now on."""

  def rewind(
    self, step: int, eval_every: int, num_rounds: int
  ) -> list[Row] | None:
    """Prepares to go on after round `step` (-1: from nothing).

    Args:
      step: the last round that counts.
      eval_every: rounds between evaluations.
      num_rounds: where this run will end.

    Returns:
      The rows that were kept, or None if the sink cannot read them back.
    """
    del step, eval_every, num_rounds
    return None

  def write(self, rows: list[Row]) -> None:
    """Takes the rows of one evaluation."""

  def tick(self, step: int) -> None:
    """Is told that a round was dispatched."""

  def flush(self) -> None:
    """Makes sure that what was written survives a kill."""

  def close(self) -> None:
    """Finishes."""


class Jsonl(Sink):
  """Appends one JSON object per row to a file.

  Args:
    path: the file; its folder must exist when `rewind` is called.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self._path = pathlib.Path(path)
    self._file = None

  def rewind(
    self, step: int, eval_every: int, num_rounds: int
  ) -> list[Row] | None:
    """Drops, through a temporary file, what a resumed run will write again."""
    kept, rows = [], []
    for line, row in _read(self._path):
      at = row['step']
      # A run that was extended has a row at its former end.
      planned = at % eval_every == 0 or at == num_rounds
      if at <= step and planned:
        kept.append(line)
        rows.append(row)
    _workdir.write_atomically(self._path, b''.join(kept))
    with _workdir.writing(self._path):
      self._file = open(self._path, 'ab')  # noqa: SIM115
    return rows

  def write(self, rows: list[Row]) -> None:
    """Appends whole lines."""
    assert self._file is not None
    with _workdir.writing(self._path):
      self._file.write(b''.join(_line(row) for row in rows))
      self._file.flush()

  def flush(self) -> None:
    """Forces the file to the disk."""
    if self._file is not None:
      with _workdir.writing(self._path):
        self._file.flush()
        os.fsync(self._file.fileno())

  def close(self) -> None:
    """Closes the file."""
    file, self._file = self._file, None
    if file is not None:
      # Closing gives the descriptor back also where the disk is full.
      with _workdir.writing(self._path), file:
        file.flush()
        os.fsync(file.fileno())


class TensorBoard(Sink):
  """Writes finite scalars named split/metric/variant, with the seed if not 0.

  Args:
    directory: where the event files go.
  """

  def __init__(self, directory: str | os.PathLike[str]) -> None:
    self._directory = str(directory)
    self._writer = None

  def rewind(
    self, step: int, eval_every: int, num_rounds: int
  ) -> list[Row] | None:
    """Opens a new event file that voids what came after `step`."""
    import tensorboardX

    with _workdir.writing(self._directory):
      self._writer = tensorboardX.SummaryWriter(
        self._directory, purge_step=step + 1
      )
    return None

  def write(self, rows: list[Row]) -> None:
    """Adds one scalar per number."""
    assert self._writer is not None
    for row in rows:
      for name, value in row.items():
        if name in LABELS or not isinstance(value, (int, float)):
          continue
        if not math.isfinite(value):
          continue
        tag = f'{row["split"]}/{name}/{row["variant"]}'
        if row['seed']:
          tag += f'/seed_{row["seed"]}'
        self._writer.add_scalar(tag, value, row['step'])

  def flush(self) -> None:
    """Forces pending events out."""
    if self._writer is not None:
      self._writer.flush()

  def close(self) -> None:
    """Closes the event file."""
    if self._writer is not None:
      self._writer.close()
      self._writer = None


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
  """Reads a `metrics.jsonl`; a last line cut short by a kill is skipped.

  Args:
    path: the file.

  Returns:
    One dict per row, non-finite numbers as floats.

  Example:
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / 'metrics.jsonl'
    >>> _ = path.write_text(
    ...   '{"step": 0, "split": "test", "variant": "", "seed": 0, '
    ...   '"loss": "Infinity"}'
    ... )
    >>> read_rows(path)[0]['loss']
    inf
  """
  return [row for _, row in _read(pathlib.Path(path))]


def write_csv(rows: list[Row], path: str | os.PathLike[str]) -> None:
  """Writes rows as one table; a metric that a row lacks is an empty cell.

  Args:
    rows: the rows.
    path: the file, replaced atomically.
  """
  columns = list(dict.fromkeys([*LABELS, *(k for row in rows for k in row)]))
  text = io.StringIO()
  writer = csv.DictWriter(text, columns, lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  _workdir.write_atomically(pathlib.Path(path), text.getvalue().encode())


def normalized(row: Row, *, step: int, seed: int) -> Row:
  """Returns a row of plain Python values, labels first.

  Args:
    row: what an experiment reported; NumPy and JAX scalars are welcome.
    step: the round it was asked about.
    seed: the seed of a row that names none.

  Returns:
    The row with all four labels; the split defaults to 'test', the variant to
    ''.

  Raises:
    ValueError: if the row is about another round or holds something that is
      neither a number nor text.
  """
  row = dict(row)
  labels = {
    'step': int(row.pop('step', step)),
    'split': str(row.pop('split', 'test')),
    'variant': str(row.pop('variant', '')),
    'seed': int(row.pop('seed', seed)),
  }
  if labels['step'] != step:
    raise ValueError(
      f'a row of round {step} has step={labels["step"]}: step is the round; '
      'report other clocks as metrics.'
    )
  return labels | {str(k): _plain(str(k), v) for k, v in row.items()}


def _plain(name: str, value: Any) -> Any:
  if value is None or isinstance(value, (str, bool, np.bool_)):
    return bool(value) if isinstance(value, np.bool_) else value
  if isinstance(value, numbers.Integral):
    return int(value)
  if isinstance(value, numbers.Real):
    return float(value)
  array = np.asarray(value)
  if array.size != 1 or array.dtype.kind in 'OUSMm':
    raise ValueError(
      f'metric {name!r} must be a number or text; got '
      f'{array.dtype.name}{list(array.shape)}: reduce it, or use one metric '
      'per entry.'
    )
  if array.dtype.kind == 'b':
    return bool(array.reshape(())[()])
  if array.dtype.kind in 'iu':
    return int(array.reshape(())[()])
  return float(array.reshape(())[()])


def _line(row: Row) -> bytes:
  safe = {
    k: _text(v) if isinstance(v, float) and not math.isfinite(v) else v
    for k, v in row.items()
  }
  return (json.dumps(safe, allow_nan=False) + '\n').encode()


def _text(value: float) -> str:
  if math.isnan(value):
    return 'NaN'
  return 'Infinity' if value > 0 else '-Infinity'


def _read(path: pathlib.Path) -> list[tuple[bytes, Row]]:
  """Returns the whole lines with their rows, up to the first damaged one."""
  if not path.exists():
    return []
  found = []
  for number, line in enumerate(path.read_bytes().splitlines(True), 1):
    try:
      row = json.loads(line)
      if not all(type(row[k]) is kind for k, kind in _LABEL_TYPES.items()):
        raise ValueError('no labels')
    except (ValueError, KeyError, TypeError, RecursionError):
      logging.warning(
        '%s is damaged in line %d: it counts up to there.', path, number
      )
      break
    found.append(
      (
        line if line.endswith(b'\n') else line + b'\n',
        {
          k: v
          if k in LABELS
          else _NON_FINITE.get(v, v)
          if isinstance(v, str)
          else v
          for k, v in row.items()
        },
      )
    )
  return found
