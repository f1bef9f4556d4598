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
