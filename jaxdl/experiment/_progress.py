# SPDX-License-Identifier: Apache-2.0
"""What a run shows on the terminal: progress while it runs, a table after."""

import collections
import contextlib
import math
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxdl.experiment import _sinks

Row = dict[str, Any]
Table = tuple[Sequence[str], Sequence[Sequence[Any]]]

_WIDTH = 100
# Metrics of which more is better; of all others less is.
_HIGHER = (
  *('accuracy', 'ap50', 'auc', 'hits', 'mrr', 'r2', 'return', 'reward'),
  'score',
)


class Clock:
  """How long each stage took, and how fast rounds are.

  Time counts as 'running' from the end of the first round on, so that neither
  speed nor the time that is left knows of compilation.
  """

  def __init__(self) -> None:
    self.seconds = collections.Counter()
    self.stage = ''
    self.total = 0
    self.step = 0
    self._ran_from = 0
    self._since = time.monotonic()

  def enter(self, stage: str) -> None:
    """Goes on to another stage."""
    self.seconds = self._now()
    self._since = time.monotonic()
    if stage == 'running' and not self.seconds['running']:
      self._ran_from = self.step
    self.stage = stage

  def _now(self) -> collections.Counter[str]:
    passed = time.monotonic() - self._since
    return self.seconds + collections.Counter({self.stage: passed})

  def spent(self) -> float:
    """Seconds since the stage was entered."""
    return time.monotonic() - self._since

  def speed(self) -> float | None:
    """Rounds per second, or None before there is anything to tell."""
    seconds, done = self._now()['running'], self.step - self._ran_from
    return done / seconds if seconds and done > 0 else None

  def left(self) -> str:
    """How long the other rounds take, e.g. ', 1:05 left'."""
    speed = self.speed()
    if speed is None or self.step >= self.total:
      return ''
    return f', {_duration((self.total - self.step) / speed)} left'

  def __str__(self) -> str:
    seconds, speed = self._now(), self.speed()
    rate = '' if speed is None else f' ({_per_second(speed)})'
    return ', '.join(
      f'{name} {_seconds(seconds[name])}{rate if name == "running" else ""}'
      for name in ('preparing', 'compiling', 'running')
      if seconds[name]
    )


class Progress(_sinks.Sink):
  """Shows what is being done, and one short line per evaluation.

  Args:
    title: the name of the experiment.

  Attributes:
    note: what is said besides when rounds begin to run.
  """

  def __init__(self, title: str) -> None:
    self.title = title
    self.clock = Clock()
    self.lines: list[str] = []
    self.note = ''

  def show(self, text: str) -> None:
    """Shows a line that stays."""
    say(f'{self.title}: {text}')

  def stage(self, name: str) -> None:
    """Starts another stage."""
    clock, before = self.clock, self.clock.stage
    if name == before:
      return
    passed = _seconds(clock.spent())
    clock.enter(name)
    if name == 'running':
      note, self.note = self.note, ''
      self.show(f'{before} took {passed}{note and "; "}{note}.')
    elif before and before != 'running':
      self.show(f'{before} took {passed}; {name} ...')
    else:
      self.show(f'{name} ...')

  def rewind(
    self, step: int, eval_every: int, num_rounds: int
  ) -> list[Row] | None:
    """Notes where the run goes on."""
    self.clock.total, self.clock.step = num_rounds, max(step, 0)
    if step == num_rounds:
      self.show(f'all {num_rounds} rounds are done already.')
    elif step >= 0:
      self.show(f'going on after round {step} of {num_rounds}.')
    return None

  def tick(self, step: int) -> None:
    """Counts the rounds."""
    self.clock.step = step

  def write(self, rows: list[Row]) -> None:
    """Shows the round, the time left, and the best and the worst variant."""
    if rows:
      step = rows[0]['step']
      self.clock.step = step
      head = f'round {step}/{self.clock.total}{self.clock.left()}: '
      self.news(head + in_brief(rows, width=_WIDTH - len(head)))

  def news(self, line: str) -> None:
    """Shows the line of an evaluation."""
    say(line)

  def close(self) -> None:
    """Stops counting; what follows is drawn from the rows."""
    self.clock.enter('')

  def leave(self) -> None:
    """Leaves the terminal as it was found."""


class Bar(Progress):
  """A bar with rounds per second and the time that is left.

  Args:
    title: shown in front of the bar.
  """

  def __init__(self, title: str) -> None:
    super().__init__(title)
    self._bar = None
    self._task = None
    self._next = 0.0

  def stage(self, name: str) -> None:
    """Shows the stage in the bar, which is there from the first one on."""
    self.clock.enter(name)
    if self._bar is None:
      self._bar = _bar(self.clock)
      self._bar.start()
      self._task = self._bar.add_task(self.title, total=None)
    self._update()

  def rewind(
    self, step: int, eval_every: int, num_rounds: int
  ) -> list[Row] | None:
    """Moves the bar to the round where the run goes on."""
    super().rewind(step, eval_every, num_rounds)
    self._update()
    return None

  def tick(self, step: int) -> None:
    """Moves the bar, ten times a second at most."""
    self.clock.step = step
    now = time.monotonic()
    if now >= self._next:
      self._next = now + 0.1
      self._update()

  def news(self, line: str) -> None:
    """Shows the line below the bar."""
    if self._bar is not None:
      self._bar.news = line
      self._update()

  def _update(self) -> None:
    if self._bar is not None:
      self._bar.update(
        self._task, total=self.clock.total or None, completed=self.clock.step
      )

  def close(self) -> None:
    """Leaves the bar as it is on the screen."""
    self._update()
    super().close()
    self.leave()

  def leave(self) -> None:
    """Ends the bar, which hides the cursor."""
    bar, self._bar = self._bar, None
    if bar is not None:
      bar.stop()


class Silent(Progress):
  """Counts, and shows nothing."""

  def show(self, text: str) -> None:
    """Shows nothing."""

  def news(self, line: str) -> None:
    """Shows nothing."""


def progress_sink(title: str, *, show: bool = True) -> Progress:
  """Returns a bar on a terminal and lines elsewhere."""
  if not show:
    return Silent(title)
  return Bar(title) if sys.stderr.isatty() else Progress(title)


def say(text: str) -> None:
  """Writes a line to standard error; nobody may be there to read it."""
  # In one piece, as another thread may say something too.
  with contextlib.suppress(OSError, ValueError):
    sys.stderr.write(f'{text}\n')
    sys.stderr.flush()


def in_brief(rows: list[Row], *, width: int) -> str:
  """Says which variant does best and which worst, by the first metric.

  Args:
    rows: rows of one evaluation.
    width: characters at most.

  Returns:
    E.g. 'accuracy best 0.93 median, worst 0.41 mean'; of the first number of
    test rows (or of what there is), averaged over seeds. NaN is worst.

  Example:
    >>> rows = [
    ...   dict(step=9, split='test', variant=variant, seed=0, loss=loss)
    ...   for variant, loss in [('mean', 2.5), ('krum', 0.5), ('median', 1.0)]
    ... ]
    >>> in_brief(rows, width=80)
    'loss best 0.5 krum, worst 2.5 mean'
  """
  split = _main_split(rows)
  rows = [row for row in rows if row['split'] == split]
  metric = next(
    (
      name
      for row in rows
      for name, value in row.items()
      if name not in _sinks.LABELS and _is_number(value)
    ),
    None,
  )
  if metric is None:
    return f'{len(rows)} rows'[: max(width, 0)]
  values: dict[str, list[float]] = {}
  for row in rows:
    if _is_number(row.get(metric)):
      values.setdefault(row['variant'], []).append(float(row[metric]))
  with np.errstate(invalid='ignore'):  # Infinities of both signs.
    means = {
      variant: float(np.mean(found)) for variant, found in values.items()
    }
  sign = -1.0 if any(word in metric for word in _HIGHER) else 1.0
  worse = lambda variant: (math.isnan(means[variant]), sign * means[variant])
  order = sorted(means, key=worse)
  if len(order) == 1:
    return f'{metric} {means[order[0]]:.4g}'[:width]
  ends = ((order[0], 'best'), (order[-1], 'worst'))
  figures = [f'{word} {means[variant]:.4g}' for variant, word in ends]
  room = (width - len(f'{metric} {figures[0]} , {figures[1]} ')) // 2
  names = [_cut(variant, room) for variant, _ in ends]
  return f'{metric} {figures[0]} {names[0]}, {figures[1]} {names[1]}'[:width]


def _cut(text: str, room: int) -> str:
  return text if len(text) <= room else text[: max(room - 3, 0)] + '...'


def _main_split(rows: list[Row]) -> str:
  splits = list(dict.fromkeys(row['split'] for row in rows))
  return 'test' if 'test' in splits or not splits else splits[0]


def _seconds(seconds: float) -> str:
  return f'{seconds:.1f} s' if seconds < 100 else f'{_duration(seconds)} min'


def _per_second(speed: float) -> str:
  return f'{speed:,.0f} rounds/s' if speed >= 100 else f'{speed:.3g} rounds/s'


def _duration(seconds: float) -> str:
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'


def _bar(clock: Clock) -> Any:
  """Makes the bar; rich is not imported before."""
  from rich import console, progress, text

  class Rest(progress.ProgressColumn):
    def render(self, task):
      del task
      if clock.stage not in ('', 'running'):
        return text.Text(f'{clock.stage} ... {_duration(clock.spent())}')
      speed = clock.speed()
      rate = '' if speed is None else _per_second(speed)
      return text.Text(rate + clock.left())

  class WithNews(progress.Progress):
    news = ''

    def get_renderables(self):
      yield self.make_tasks_table(self.tasks)
      if self.news:
        yield text.Text(self.news, no_wrap=True, overflow='ellipsis')

  return WithNews(
    progress.TextColumn('[bold]{task.description}'),
    progress.BarColumn(bar_width=None),
    progress.MofNCompleteColumn(),
    Rest(),
    console=console.Console(stderr=True),
  )


def default_table(rows: list[Row], by: Sequence[str] = ()) -> Table:
  """Returns the last test metrics per variant, over the seeds.

  Args:
    rows: all rows of a run.
    by: further columns whose values have lines of their own, e.g. the grid on
      which a variant was tested.

  Returns:
    Column names, and one tuple of cells per variant: 'mean +- sd' where there
    is more than one seed (sd with N - 1), the value elsewhere. The split is
    'test', or the first one that occurs if there is none of that name.

  Example:
    >>> rows = [
    ...   dict(step=9, split='test', variant='mean', seed=s, loss=s + 1.0)
    ...   for s in (0, 1)
    ... ]
    >>> default_table(rows)
    (['variant', 'round', 'loss'], [('mean', '9', '1.5 ± 0.7071')])
  """
  split = _main_split(rows)
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
    place = (row['variant'], *(str(row.get(name, '-')) for name in by))
    steps[place] = row['step']
    of_variant = last.setdefault(place, {})
    for name in metrics:
      if _is_number(row.get(name)):
        of_variant.setdefault(name, {})[row['seed']] = float(row[name])
  cells = [
    (
      *place,
      str(steps[place]),
      *(spread(list(found.get(name, {}).values())) for name in metrics),
    )
    for place, found in last.items()
  ]
  return ['variant', *by, 'round', *metrics], cells


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
  out = console.Console(
    width=None if sys.stdout.isatty() else _WIDTH, highlight=False
  )
  texts = [[_cell(value) for value in line] for line in cells]
  heads, blocks = _blocks([str(c) for c in columns], texts, out.width)
  with out.capture() as printed:
    for number, block in enumerate(blocks):
      shown = rich_table.Table(
        title=None if number else title, box=box.SIMPLE_HEAD, title_style='bold'
      )
      for n in block:
        numeric = n > 0 and all(_looks_numeric(line[n]) for line in cells)
        shown.add_column(heads[n], justify='right' if numeric else 'left')
      for line in texts:
        shown.add_row(*(text.Text(line[n]) for n in block))
      out.print(shown)
  # Console would end the process where nobody reads.
  print(printed.get(), end='')


def _blocks(
  heads: list[str], texts: list[list[str]], width: int
) -> tuple[list[str], list[list[int]]]:
  """Deals the columns of a table to as many tables as a width asks for.

  Args:
    heads: of the columns.
    texts: cells of every line.
    width: characters at most.

  Returns:
    The heads, broken between words where the table would be too broad, and the
    numbers of the columns of each table, the first column in all.
  """
  cells = [
    max((len(line[n]) for line in texts), default=0) for n in range(len(heads))
  ]
  gap = 3  # Of every column; one more at the edge.

  def total(names):
    lines = [max(map(len, name.split('\n'))) for name in names]
    return [gap + max(pair) for pair in zip(cells, lines, strict=True)]

  if sum(total(heads)) + 1 > width:
    heads = [
      '\n'.join(textwrap.wrap(name, max(size, *map(len, name.split()), 1)))
      for name, size in zip(heads, cells, strict=True)
    ]
  needs = total(heads)
  # A label that is longer than this is folded.
  start = width - 1 - min(needs[0], width // 2)
  blocks, room = [[0]], start
  for n, need in enumerate(needs[1:], 1):
    if need > room and len(blocks[-1]) > 1:
      blocks.append([0])
      room = start
    blocks[-1].append(n)
    room -= need
  return heads, blocks


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
