# SPDX-License-Identifier: Apache-2.0
"""The look of the pictures, and the numbers behind them.

Figures are made without pyplot, so drawing changes no global setting and works
in any thread.
"""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.core import extras

Row = dict[str, Any]

# Okabe and Ito's colours, told apart with any colour vision; yellow is last
# since it is faint on white.
COLOURS = (
  '#0072B2',
  '#D55E00',
  '#009E73',
  '#CC79A7',
  '#E69F00',
  '#56B4E9',
  '#000000',
  '#999999',
  '#F0E442',
)
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*', 'h')
DASHES = ('-', (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
ALERT = '#B2182B'
MUTED = '#555555'

_STYLE = {
  'figure.dpi': 150,
  'savefig.dpi': 150,
  'font.size': 10,
  'axes.titlesize': 11,
  'axes.titleweight': 'bold',
  'axes.titlelocation': 'left',
  'axes.labelsize': 10,
  'axes.edgecolor': '#444444',
  'axes.linewidth': 0.8,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.axisbelow': True,
  'axes.grid': True,
  'grid.color': '#DDDDDD',
  'grid.linewidth': 0.7,
  'xtick.color': '#444444',
  'ytick.color': '#444444',
  'legend.frameon': False,
  'legend.fontsize': 9,
  'lines.linewidth': 1.8,
  'lines.markersize': 4.5,
  'svg.hashsalt': 'jaxdl',
}


def style() -> Any:
  """Returns the context in which figures are made and saved."""
  matplotlib = extras.require('matplotlib', 'a picture')
  return matplotlib.rc_context(_STYLE)


def figure(width: float = 6.4, height: float = 4.0) -> Any:
  """Returns an empty figure that lays itself out."""
  from matplotlib import figure as mpl_figure

  return mpl_figure.Figure(figsize=(width, height), layout='constrained')


def save(fig: Any, path: str | os.PathLike[str]) -> pathlib.Path:
  """Writes a figure in the format of the suffix (png if there is none)."""
  path = pathlib.Path(path)
  if not path.suffix:
    path = path.with_suffix('.png')
  path.parent.mkdir(parents=True, exist_ok=True)
  # Without the version in it, a file changes only if the picture does.
  metadata = {'Software': None} if path.suffix == '.png' else None
  fig.savefig(path, metadata=metadata)
  return path


def nice(name: str) -> str:
  """Makes a label of a name: 'test_accuracy' -> 'Test accuracy'."""
  text = name.replace('_', ' ').strip()
  return text[:1].upper() + text[1:]


def select(rows: Sequence[Row], split: str | None, *names: str) -> list[Row]:
  """Returns the rows of a split that have a number under all names.

  Args:
    rows: all rows.
    split: the split; None takes all.
    *names: metrics or labels.

  Returns:
    The rows.

  Raises:
    ValueError: if there is none; the message lists what there is.
  """
  of_split = [r for r in rows if split is None or r['split'] == split]
  found = [
    r for r in of_split if all(r.get(name) is not None for name in names)
  ]
  if not found:
    splits = sorted({r['split'] for r in rows})
    have = sorted({name for r in of_split for name in r})
    raise ValueError(
      f'no row has split={split!r} and {", ".join(names)}: splits are '
      f'{splits}, this one has {have}.'
    )
  return found


def groups(rows: Sequence[Row], by: str) -> dict[str, list[Row]]:
  """Splits rows by a label, in the order in which its values occur."""
  found: dict[str, list[Row]] = {}
  for row in rows:
    found.setdefault(str(row.get(by, '')), []).append(row)
  return found


def series(
  rows: Sequence[Row], x: str, y: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Gathers one curve.

  Args:
    rows: rows of one group, several seeds.
    x: name of the abscissa.
    y: name of the metric.

  Returns:
    Sorted abscissae, then mean, standard deviation (N - 1; zero for one value)
    and number of values at each, all [points]; what is not finite is NaN.
  """
  at: dict[float, list[float]] = {}
  for row in rows:
    value = float(row[y])
    at.setdefault(float(row[x]), []).append(
      value if math.isfinite(value) else math.nan
    )
  xs = sorted(at)
  mean = [float(np.mean(at[v])) for v in xs]
  sd = [float(np.std(at[v], ddof=1)) if len(at[v]) > 1 else 0.0 for v in xs]
  return (
    np.array(xs),
    np.array(mean),
    np.array(sd),
    np.array([len(at[v]) for v in xs]),
  )


def look(index: int) -> dict[str, Any]:
  """Returns colour, dash and marker number `index`, all different up to 36."""
  n = len(COLOURS)
  return {
    'color': COLOURS[index % n],
    'linestyle': DASHES[(index // n) % len(DASHES)],
    'marker': MARKERS[index % n],
  }


def legend(fig: Any, axes: Any, title: str | None = None) -> None:
  """Adds a legend: none for one curve, beside the axes for more than six."""
  handles, labels = axes.get_legend_handles_labels()
  if len(labels) < 2:
    return
  if len(labels) > 6:
    fig.legend(handles, labels, loc='outside right upper', title=title)
  else:
    axes.legend(title=title)


def references(axes: Any, values: Mapping[str, float] | None) -> None:
  """Draws named horizontal lines, e.g. a theoretical value."""
  from matplotlib import transforms

  place = transforms.blended_transform_factory(axes.transAxes, axes.transData)
  for name, value in (values or {}).items():
    axes.axhline(value, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.text(
      0.99,
      value,
      name,
      transform=place,
      ha='right',
      va='bottom',
      fontsize=8.5,
      color=MUTED,
    )


def short(value: float) -> str:
  """Formats a number with three digits, trailing zeros included."""
  return f'{value:#.3g}'.rstrip('.')


def log_ticks(axis: Any) -> None:
  """Labels a logarithmic axis in plain numbers, 1-2-5 if it is short."""
  from matplotlib import ticker

  low, high = axis.get_view_interval()
  if math.log10(high / low) > 2.5:
    return
  axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
  axis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f'{v:g}'))
  axis.set_minor_formatter(ticker.NullFormatter())


def spaced(labels: Sequence[str], most: int) -> tuple[list[int], list[str]]:
  """Thins tick labels to `most` at even, round distances."""
  step = 1
  while -(-len(labels) // step) > most:
    digits = str(step)[0]
    step = step * 2 if digits in '15' else step // 2 * 5
  picked = list(range(0, len(labels), step))
  return picked, [str(labels[n]) for n in picked]
