# SPDX-License-Identifier: Apache-2.0
"""Loss between many models, drawn on a regular polygon."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.plots import _figures

Row = dict[str, Any]


def polygon(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  metric: str,
  *,
  split: str = 'landscape',
  by: str = 'variant',
  label: str | None = None,
  title: str | None = None,
) -> pathlib.Path:
  """Draws a metric over convex combinations of models, one panel per label.

  Args:
    rows: rows of a run. Those of `split` have `x`, `y`, the metric, and
      `corner`: the number of the model at a corner, -1 elsewhere. Only the
      first seed and the last step of each label are drawn.
    path: the picture.
    metric: what to draw.
    split: rows to take.
    by: the label that tells panels apart.
    label: caption of the colors, with the unit; made of `metric` if None.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows.
  """
  chosen = _figures.select(rows, split, metric, 'x', 'y', 'corner')
  panels = {}
  for name, group in _figures.groups(chosen, by).items():
    last = max(row['step'] for row in group)
    seed = group[0]['seed']
    panels[name] = [r for r in group if r['step'] == last and r['seed'] == seed]
  finite = [
    float(r[metric])
    for group in panels.values()
    for r in group
    if np.isfinite(r[metric])
  ]
  low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
  high = high if high > low else low + 1.0
  # Losses at the corners may dwarf what happens in the middle.
  wide = low > 0 and high / low > 20
  levels = (np.geomspace if wide else np.linspace)(low, high, 25)
  columns = min(3, len(panels))
  lanes = -(-len(panels) // columns)
  with _figures.style():
    fig = _figures.figure(1.2 + 3.1 * columns, 0.5 + 3.2 * lanes)
    grid = fig.subplots(lanes, columns, squeeze=False)
    drawn = None
    for axes in grid.flat[len(panels) :]:
      axes.set_visible(False)
    for axes, (name, group) in zip(grid.flat, panels.items(), strict=False):
      drawn = _panel(axes, group, metric, levels, wide)
      axes.set_title(name, fontsize=10)
    bar = fig.colorbar(drawn, ax=list(grid.flat), pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.minorticks_off()
    ticks = _round_ticks(levels, wide)
    bar.set_ticks(ticks, labels=[f'{v:g}' for v in ticks])
    handles, labels = grid.flat[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc='outside lower left', ncols=2)
    bar.set_label(label or _figures.nice(metric))
    if title:
      fig.suptitle(title, x=0.01, ha='left', fontsize=11, weight='bold')
    return _figures.save(fig, path)


def _round_ticks(levels, wide):
  """Round numbers from the first to the last level."""
  from matplotlib import ticker

  steps = (1.0, 2.0, 5.0) if levels[-1] / levels[0] < 1e3 else (1.0,)
  locator = (
    ticker.LogLocator(subs=steps)
    if wide
    else ticker.MaxNLocator(7, steps=[1, 2, 5, 10])
  )
  found = [
    float(v)
    for v in locator.tick_values(levels[0], levels[-1])
    if levels[0] <= v <= levels[-1]
  ]
  # Nothing round lies between levels that are all but equal.
  return found or [float(levels[0]), float(levels[-1])]


def _panel(axes, group, metric, levels, wide):
  """Filled contours, the outline, and the models at the corners."""
  from matplotlib import colors

  at = np.array([[r['x'], r['y']] for r in group], float)
  values = np.array([r[metric] for r in group], float)
  values = np.where(np.isfinite(values), values, levels[-1])
  scale = colors.LogNorm if wide else colors.Normalize
  drawn = axes.tricontourf(
    at[:, 0],
    at[:, 1],
    np.clip(values, levels[0], levels[-1]),
    levels=levels,
    cmap='cividis',
    norm=scale(levels[0], levels[-1]),
  )
  corners = sorted((r for r in group if r['corner'] >= 0), key=_corner)
  outline = np.array([[r['x'], r['y']] for r in corners], float)
  closed = np.concatenate([outline, outline[:1]])
  axes.plot(*closed.T, color='#444444', linewidth=0.8)
  axes.plot(
    *outline.T,
    'o',
    color=_figures.COLOURS[1],
    markersize=3.5,
    label='model, with its number',
  )
  for row in corners:
    axes.annotate(
      str(int(row['corner'])),
      (1.11 * row['x'], 1.11 * row['y']),
      ha='center',
      va='center',
      fontsize=7.5,
      color=_figures.MUTED,
    )
  axes.plot(
    0.0,
    0.0,
    '*',
    color='white',
    markersize=9,
    markeredgecolor='black',
    label='average of all',
  )
  axes.set_aspect('equal')
  axes.set_xlim(-1.2, 1.2)
  axes.set_ylim(-1.2, 1.2)
  axes.set_axis_off()
  return drawn


def _corner(row):
  return row['corner']
