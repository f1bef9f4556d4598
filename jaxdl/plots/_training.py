# SPDX-License-Identifier: Apache-2.0
"""Errors of function learning: over steps, by wavenumber, by grid."""

import pathlib
from collections.abc import Sequence
from typing import Any

from jaxdl.plots import _curves, _figures, _functions

Row = dict[str, Any]


def last_rows(rows: Sequence[Row], *, split: str = 'test') -> list[Row]:
  """Returns the rows of the last round.

  Args:
    rows: rows of a run.
    split: which.

  Returns:
    Those rows.

  Example:
    >>> last_rows([{'step': n, 'split': 'test'} for n in (0, 5)])
    [{'step': 5, 'split': 'test'}]
  """
  last = max(row['step'] for row in rows)
  return [r for r in rows if r['split'] == split and r['step'] == last]


def training(
  rows: Sequence[Row],
  directory: pathlib.Path,
  metric: str,
  *,
  title: str,
  steps_per_round: int = 1,
  **options: Any,
) -> list[pathlib.Path]:
  """Draws a test metric over the steps, and the functions if there are any.

  Args:
    rows: rows of a run.
    directory: where `<metric>.png` and `functions.png` go.
    metric: what the curve shows.
    title: caption.
    steps_per_round: scales the abscissa.
    **options: of `lines`.

  Returns:
    The paths written.
  """
  scaled = [row | {'step': row['step'] * steps_per_round} for row in rows]
  paths = [
    _curves.lines(
      scaled,
      directory / f'{metric}.png',
      metric,
      title=title,
      xlabel='Optimizer step',
      log_y=True,
      **options,
    )
  ]
  if any(row['split'] == 'function' for row in rows):
    paths.append(
      _functions.functions(rows, directory / 'functions.png', title=title)
    )
  return paths


def spectrum(
  rows: Sequence[Row], directory: pathlib.Path, *, title: str
) -> list[pathlib.Path]:
  """Draws energies by wavenumber, if there are any.

  Args:
    rows: rows of a run; those of split 'spectrum' have `wavenumber`, `energy`.
    directory: where `spectrum.png` goes.
    title: caption.

  Returns:
    The paths written.
  """
  energies = [r for r in rows if r['split'] == 'spectrum' and r['wavenumber']]
  if not energies:
    return []
  # What is left of a smooth target at high wavenumbers is rounding.
  floor = _figures.rounding(2) * max(row['energy'] for row in energies)
  path = _curves.lines(
    energies,
    directory / 'spectrum.png',
    'energy',
    split='spectrum',
    x='wavenumber',
    xlabel='Wavenumber',
    ylabel='Energy (mean square) per wavenumber',
    title=title,
    log_x=True,
    log_y=True,
    floor=floor,
  )
  return [path]


def resolutions(
  rows: Sequence[Row], directory: pathlib.Path, *, title: str
) -> list[pathlib.Path]:
  """Draws errors against the grid they are measured on, if there are several.

  Args:
    rows: rows of a run; test rows may have `resolution`.
    directory: where `resolutions.png` goes.
    title: caption.

  Returns:
    The paths written.
  """
  last = [row for row in last_rows(rows) if 'resolution' in row]
  if not last:
    return []
  path = _curves.log_log(
    last,
    directory / 'resolutions.png',
    'relative_l2',
    x='resolution',
    fit=False,
    xlabel='Grid points per axis (test)',
    ylabel='Relative L2 error on test functions',
    title=title,
  )
  return [path]


def side_by_side(rows: Sequence[Row], splits: Sequence[str]) -> list[Row]:
  """Turns splits into variants of one, for `training`.

  Args:
    rows: rows of a run.
    splits: which; the others stay as they are.

  Returns:
    Rows of which those of the splits are test rows of 'variant, split', in the
    order of the variants.

  Example:
    >>> rows = [{'step': 0, 'split': s, 'variant': 'fno'} for s in 'ab']
    >>> [row['variant'] for row in side_by_side(rows, 'ab')]
    ['fno, a', 'fno, b']
  """
  order = {
    v: n for n, v in enumerate(dict.fromkeys(r['variant'] for r in rows))
  }
  return [
    row | {'variant': f'{row["variant"]}, {row["split"]}', 'split': 'test'}
    if row['split'] in splits
    else row
    for row in sorted(rows, key=lambda r: (r['step'], order[r['variant']]))
  ]


def last_functions(rows: Sequence[Row], column: str) -> list[Row]:
  """Keeps of functions those at the last value of a sweep.

  Args:
    rows: rows of a run.
    column: what was varied.

  Returns:
    All other rows but those of split 'train', and the functions. Values that
    share theirs note inputs and targets once, at the first of them.
  """
  kept = [row for row in rows if row['split'] not in ('function', 'train')]
  functions = [row for row in rows if row['split'] == 'function']
  values = list(dict.fromkeys(row[column] for row in functions))
  last = [row for row in functions if row[column] == values[-1]]
  noted = {row['kind'] for row in last}
  return [*kept, *last, *(r for r in functions if r['kind'] not in noted)]


def sweep(
  rows: Sequence[Row],
  directory: pathlib.Path,
  column: str,
  *,
  title: str,
  xlabel: str,
) -> list[pathlib.Path]:
  """Draws errors along a sweep, beside those of the inputs where they matter.

  Args:
    rows: rows of a run with `model`; those of split 'interpolation' have
      `rmse`.
    directory: where `sweep.png` goes.
    column: what was varied; 'num_train' gets slopes.
    title: caption.
    xlabel: what the abscissa shows.

  Returns:
    The paths written.
  """
  rooted = [row | {'rmse': row['mse'] ** 0.5} for row in last_rows(rows)]
  beside = [row for row in rows if row['split'] == 'interpolation']
  count = column == 'num_train'
  root = 'Mean squared' if count else 'Root-mean-square'
  path = _curves.log_log(
    [*rooted, *beside],
    directory / 'sweep.png',
    'mse' if count else 'rmse',
    x=column,
    split='test' if count else None,
    by='model',
    fit=count,
    xlabel=xlabel,
    ylabel=f'{root} error on test functions',
    title=title,
  )
  return [path]
