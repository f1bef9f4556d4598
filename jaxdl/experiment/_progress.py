# SPDX-License-Identifier: Apache-2.0
"""What a run shows on the terminal: progress while it runs, a table after."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from jaxdl.experiment import _sinks

Row = dict[str, Any]
Table = tuple[Sequence[str], Sequence[Sequence[Any]]]


class Bar(_sinks.Sink):
  """A progress bar with rounds per second and the time that is left.

  Args:
    title: shown in front of the bar.
  """

  def __init__(self, title: str) -> None:
    self._title = title
    self._bar = None
    self._task = None
    self._next = 0.0
    self._step = 0

  def rewind(
    self, step: int, eval_every: int, num_rounds: int
  ) -> list[Row] | None:
    """Starts the bar at the round where the run goes on."""
    from rich import console, progress

    self._bar = progress.Progress(
      progress.TextColumn('[bold]{task.description}'),
      progress.BarColumn(bar_width=None),
      progress.MofNCompleteColumn(),
      _rate_column(progress),
      progress.TimeRemainingColumn(),
      console=console.Console(stderr=True),
    )
    self._bar.start()
    self._step = max(step, 0)
    self._task = self._bar.add_task(
      self._title, total=num_rounds, completed=self._step
    )
    return None

  def tick(self, step: int) -> None:
    """Moves the bar, ten times a second at most."""
    self._step = step
    now = time.monotonic()
    if now >= self._next and self._bar is not None:
      self._next = now + 0.1
      self._bar.update(self._task, completed=step)

  def close(self) -> None:
    """Leaves the bar as it is on the screen."""
    if self._bar is not None:
      self._bar.update(self._task, completed=self._step)
      self._bar.stop()
      self._bar = None


class Log(_sinks.Sink):
  """One log line per evaluation, for output that is no terminal."""

  def __init__(self) -> None:
    self._total = 0
    self._first = 0
    self._start = 0.0

  def rewind(
    self, step: int, eval_every: int, num_rounds: int
  ) -> list[Row] | None:
    """Notes where the run goes on."""
    self._total, self._first = num_rounds, max(step, 0)
    self._start = time.monotonic()
    if step == num_rounds:
      logging.info('all %d rounds are done already', num_rounds)
    elif step >= 0:
      logging.info('going on after round %d of %d', step, num_rounds)
    return None

  def write(self, rows: list[Row]) -> None:
    """Logs the round, the speed and the first metrics of the first rows."""
    if not rows:
      return
    step = rows[0]['step']
    passed = time.monotonic() - self._start
    done = step - self._first
    speed = f', {done / passed:.3g} rounds/s' if done and passed else ''
    shown = '; '.join(_brief(row) for row in rows[:4])
    more = '; ...' if len(rows) > 4 else ''
    logging.info('round %d/%d%s: %s%s', step, self._total, speed, shown, more)


def progress_sink(title: str) -> _sinks.Sink:
  """Returns a bar on a terminal and log lines elsewhere."""
  return Bar(title) if sys.stderr.isatty() else Log()


def default_table(rows: list[Row], by: Sequence[str] = ()) -> Table:
  """Returns the last test metrics per rule, over the seeds.

  Args:
    rows: all rows of a run.
    by: further columns whose values have lines of their own, e.g. the grid on
      which a rule was tested.

  Returns:
    Column names, and one tuple of cells per rule: 'mean +- sd' where there is
    more than one seed (sd with N - 1), the value elsewhere. The split is
    'test', or the first one that occurs if there is none of that name.

  Example:
    >>> rows = [
    ...   dict(step=9, split='test', rule='mean', seed=s, loss=s + 1.0)
    ...   for s in (0, 1)
    ... ]
    >>> default_table(rows)
    (['rule', 'round', 'loss'], [('mean', '9', '1.5 ± 0.7071')])
  """
  splits = list(dict.fromkeys(row['split'] for row in rows))
  split = 'test' if 'test' in splits or not splits else splits[0]
  rows = [row for row in rows if row['split'] == split]
  metrics = list(
    dict.fromkeys(
      name
      for row in rows
      for name, value in row.items()
      if name not in (*_sinks.LABELS, *by) and _is_number(value)
    )
  )
  by = [name for name in by if any(name in row for row in rows)]
  last: dict[tuple[str, ...], dict[str, dict[int, float]]] = {}
  steps: dict[tuple[str, ...], int] = {}
  for row in rows:
    place = (row['rule'], *(str(row.get(name, '-')) for name in by))
    steps[place] = row['step']
    of_rule = last.setdefault(place, {})
    for name in metrics:
      if _is_number(row.get(name)):
        of_rule.setdefault(name, {})[row['seed']] = float(row[name])
  cells = [
    (
      *place,
      str(steps[place]),
      *(spread(list(found.get(name, {}).values())) for name in metrics),
    )
    for place, found in last.items()
  ]
  return ['rule', *by, 'round', *metrics], cells


def spread(values: Sequence[float]) -> str:
  """Formats values as 'mean ± sd', one value alone, none as a dash."""
  if not values:
    return '-'
  if len(values) == 1:
    return f'{values[0]:.4g}'
  with np.errstate(invalid='ignore'):  # Infinities have no spread.
    return f'{np.mean(values):.4g} ± {np.std(values, ddof=1):.4g}'


def print_table(
  title: str,
  rows: list[Row],
  table: Callable[[list[Row]], Table] | None = None,
) -> None:
  """Prints the final table of a run on standard output.

  Args:
    title: its caption.
    rows: all rows.
    table: makes columns and cells of the rows; `default_table` if None.
  """
  from rich import box, console, table as rich_table, text

  columns, cells = (table or default_table)(rows)
  # Long tables are cut to a terminal's width, never to a pipe's.
  width = None if sys.stdout.isatty() else 160
  shown = rich_table.Table(title=title, box=box.SIMPLE_HEAD, title_style='bold')
  for n, column in enumerate(columns):
    numeric = n > 0 and all(_looks_numeric(line[n]) for line in cells)
    shown.add_column(str(column), justify='right' if numeric else 'left')
  for line in cells:
    shown.add_row(*(text.Text(_cell(value)) for value in line))
  console.Console(width=width, highlight=False).print(shown)


def _cell(value: Any) -> str:
  if isinstance(value, (float, np.floating)):
    return f'{value:.4g}'
  return '' if value is None else str(value)


def _looks_numeric(value: Any) -> bool:
  if isinstance(value, str):
    return value[:1].isdigit() or value[:1] in '-+.' or value == 'nan'
  return value is None or isinstance(value, (int, float, np.number))


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool)


def _brief(row: Row) -> str:
  metrics = [
    f'{name} {value:.4g}'
    for name, value in row.items()
    if name not in _sinks.LABELS and _is_number(value) and not math.isnan(value)
  ]
  label = f'{row["rule"]} ' if row['rule'] else ''
  if row['split'] != 'test':
    label = f'{row["split"]} {label}'
  return label + ' '.join(metrics[:4])


def _rate_column(progress: Any) -> Any:
  class Rate(progress.ProgressColumn):
    def render(self, task):
      from rich import text

      speed = task.speed or task.finished_speed
      return text.Text('' if speed is None else f'{speed:.4g} rounds/s')

  return Rate()
