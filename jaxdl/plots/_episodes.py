# SPDX-License-Identifier: Apache-2.0
"""Episodes as strips of frames, and matrices over time."""

import math
import os
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.plots import _figures

Row = dict[str, Any]
_MARKS = 'osD^vPX*'


def _moments(rows, split, variant):
  """Rows of one variant, first seed and last step, by time."""
  chosen = _figures.select(rows, split, 'time', 'x', 'y')
  if variant is not None:
    chosen = [r for r in chosen if r['variant'] == variant]
  if not chosen:
    raise ValueError(f'no frames of variant={variant!r}.')
  first = chosen[0]
  own = [
    r
    for r in chosen
    if (r['variant'], r['seed']) == (first['variant'], first['seed'])
  ]
  last = max(r['step'] for r in own)
  own = [r for r in own if r['step'] == last]
  return first['variant'], _figures.groups(own, 'time')


def _spans(moments):
  every = [r for group in moments.values() for r in group]
  ends = []
  for axis in 'xy':
    found = [r[axis] for r in every]
    ends.append((min(found), max(found)))
  # A square, or frames of flat episodes were lines.
  half = 0.54 * max(high - low for low, high in ends) or 0.5
  spans = [((a + b) / 2 - half, (a + b) / 2 + half) for a, b in ends]
  return spans


def _frame(axes, group, spans, bodies):
  for k, body in enumerate(bodies):
    own = [r for r in group if r['body'] == body]
    axes.plot(
      [r['x'] for r in own],
      [r['y'] for r in own],
      _MARKS[k % len(_MARKS)],
      linestyle='none',
      color=_figures.look(k)['color'],
      alpha=0.85,
      label=_figures.nice(str(body)),
    )
  axes.set_xlim(*spans[0])
  axes.set_ylim(*spans[1])
  axes.set_aspect('equal')
  axes.set_xticks([])
  axes.set_yticks([])


def _bodies(moments):
  found = dict.fromkeys(r['body'] for g in moments.values() for r in g)
  return list(found)


def frames(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  *,
  split: str = 'frames',
  variant: str | None = None,
  num_frames: int = 6,
  title: str | None = None,
) -> pathlib.Path:
  """Draws an episode as a strip of moments.

  Args:
    rows: rows of a run; those of `split` have `time`, `body`, `x` and `y`, a
      row for each body, as `agents.frame_rows` makes them.
    path: the picture.
    split: rows to take; the first seed and the last step are drawn.
    variant: whose episode; the first if None.
    num_frames: moments at most, the first and the last among them.
    title: caption; the variant if None.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows.
  """
  name, moments = _moments(rows, split, variant)
  times = sorted(moments, key=float)
  count = min(num_frames, len(times))
  at = np.unique(np.linspace(0, len(times) - 1, count).round().astype(int))
  spans, bodies = _spans(moments), _bodies(moments)
  with _figures.style():
    fig = _figures.figure(1.9 * len(at) + 0.4, 2.6)
    panels = fig.subplots(1, len(at), squeeze=False)[0]
    for axes, i in zip(panels, at, strict=True):
      _frame(axes, moments[times[i]], spans, bodies)
      axes.set_title(f'step {float(times[i]):g}', fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc='outside lower center', ncols=len(labels))
    fig.suptitle(title or name, fontsize=10)
    return _figures.save(fig, path)


def animation(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  *,
  split: str = 'frames',
  variant: str | None = None,
  per_second: float = 6.0,
) -> pathlib.Path:
  """Draws an episode as a moving picture (GIF).

  Args:
    rows: as for `frames`.
    path: the picture, ending in '.gif'.
    split: rows to take.
    variant: whose episode; the first if None.
    per_second: moments a second.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows.
  """
  name, moments = _moments(rows, split, variant)
  times = sorted(moments, key=float)
  spans, bodies = _spans(moments), _bodies(moments)
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with _figures.style():
    from matplotlib import animation as mpl_animation
    from matplotlib.backends import backend_agg

    fig = _figures.figure(3.2, 3.4)
    backend_agg.FigureCanvasAgg(fig)
    axes = fig.add_subplot()

    def draw(i):
      axes.clear()
      _frame(axes, moments[times[i]], spans, bodies)
      axes.set_title(f'{name}, step {float(times[i]):g}', fontsize=8)
      return ()

    made = mpl_animation.FuncAnimation(fig, draw, frames=len(times))
    made.save(path, writer=mpl_animation.PillowWriter(fps=per_second), dpi=80)
  return path


def matrices(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  metric: str,
  *,
  split: str,
  by: str = 'step',
  row: str = 'receiver',
  column: str = 'sender',
  low: float | None = None,
  high: float | None = None,
  max_panels: int = 6,
  title: str | None = None,
) -> pathlib.Path:
  """Draws matrices as colors, a panel for each value of a label.

  Args:
    rows: rows of a run; those of `split` have the metric and the numbers of
      its row and column. Only the first seed is drawn.
    path: the picture.
    metric: what to draw.
    split: rows to take.
    by: the label that tells panels apart, e.g. 'step' or 'variant'.
    row: label of rows.
    column: label of columns.
    low: value of the first color; the smallest if None.
    high: value of the last color; the largest if None.
    max_panels: panels at most, the first and the last among them.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows.
  """
  chosen = _figures.select(rows, split, metric, row, column)
  seed = chosen[0]['seed']
  panels = _figures.groups([r for r in chosen if r['seed'] == seed], by)
  names = list(panels)
  at = np.linspace(0, len(names) - 1, min(max_panels, len(names)))
  names = [names[i] for i in np.unique(at.round().astype(int))]
  found = [r[metric] for r in chosen if math.isfinite(r[metric])] or [0.0]
  low = min(found) if low is None else low
  high = max(found) if high is None else high
  high = high if high > low else low + 1.0
  with _figures.style():
    fig = _figures.figure(1.9 * len(names) + 0.9, 2.7)
    axes_of = fig.subplots(1, len(names), squeeze=False)[0]
    image = None
    for axes, name in zip(axes_of, names, strict=True):
      group = panels[name]
      size = [1 + max(int(r[k]) for r in group) for k in (row, column)]
      table = np.full(size, np.nan)
      for r in group:
        table[int(r[row]), int(r[column])] = r[metric]
      image = axes.imshow(table, vmin=low, vmax=high, cmap='viridis')
      label = f'{by} {float(name):g}' if by == 'step' else str(name)
      label = textwrap.shorten(label.replace(',', ', '), 34, placeholder=' ...')
      axes.set_title('\n'.join(textwrap.wrap(label, 17)), fontsize=7)
      axes.grid(False)
      axes.set_xticks(range(size[1]))
      axes.set_yticks(range(size[0]))
      axes.set_xlabel(_figures.nice(column))
    axes_of[0].set_ylabel(_figures.nice(row))
    fig.colorbar(image, ax=list(axes_of), label=_figures.nice(metric))
    if title:
      fig.suptitle(title, fontsize=10)
    return _figures.save(fig, path)
