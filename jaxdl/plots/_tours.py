# SPDX-License-Identifier: Apache-2.0
"""Pictures of tours, routes, choices, and of what stages improve."""

import math
import os
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.plots import _curves, _figures

Row = dict[str, Any]

# Yellow is too faint for lines.
_COLORS = _figures.COLOURS[:6]
_PALE = '#C8C8C8'


def solutions(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  *,
  split: str = 'solutions',
  by: str = 'variant',
  color: str = 'route',
  max_panels: int = 9,
  title: str | None = None,
) -> pathlib.Path:
  """Draws tours, routes and choices, one panel per label.

  Args:
    rows: rows of a run; those of `split` are of `combinatorial.solution_rows`.
      Only the first seed and the last step of each label are drawn.
    path: the picture.
    split: rows to take.
    by: the label that tells panels apart.
    color: 'route' or 'piece', what has a color of its own. Between pieces, and
      on ways to and from a depot, lines are pale.
    max_panels: panels at most, the first and the last among them.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows, or `color` is unknown.
  """
  if color not in ('route', 'piece'):
    raise ValueError(f"color={color!r} is unknown: choose 'route' or 'piece'.")
  panels = {}
  chosen = _figures.select(rows, split, 'x', 'y', 'kind')
  for name, group in _figures.groups(chosen, by).items():
    last = max(row.get('step', 0) for row in group)
    seed = group[0].get('seed', 0)
    panels[name] = [
      r for r in group if r.get('step', 0) == last and r.get('seed', 0) == seed
    ]
  names = list(panels)
  at = np.linspace(0, len(names) - 1, min(max_panels, len(names)))
  names = [names[i] for i in np.unique(at.round().astype(int))]
  columns = min(3, len(names))
  lanes = math.ceil(len(names) / columns)
  with _figures.style():
    fig = _figures.figure(3.0 * columns, 3.2 * lanes + (0.4 if title else 0.2))
    grid = fig.subplots(lanes, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
      axes.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
      _panel(axes, panels[name], color)
      axes.set_title(_caption(name, panels[name]), fontsize=9)
    _legend(fig, [r for name in names for r in panels[name]], color)
    if title:
      fig.suptitle(title, x=0.01, ha='left', fontsize=11, weight='bold')
    return _figures.save(fig, path)


def improvement(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  metric: str = 'objective',
  *,
  split: str = 'stages',
  stage: str = 'stage',
  by: str = 'variant',
  title: str | None = None,
) -> pathlib.Path:
  """Draws by how much stages changed what they began with, in percent.

  Args:
    rows: rows of a run; those of `split` have the metric after each stage.
    path: the picture.
    metric: what is improved.
    split: rows to take; of each label and seed, only those of the last step.
    stage: number of the stage; that of the first is what it began with.
    by: the label that tells curves apart.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows.
  """
  found = []
  chosen = _figures.select(rows, split, metric, stage)
  for group in _figures.groups(chosen, by).values():
    last = max(row.get('step', 0) for row in group)
    group = [row for row in group if row.get('step', 0) == last]
    for one in _figures.groups(group, 'seed').values():
      first = min(one, key=lambda row: row[stage])[metric]
      size = abs(first) or 1.0
      found += [
        row | {'change': 100 * (row[metric] - first) / size} for row in one
      ]
  return _curves.lines(
    found,
    path,
    'change',
    split=split,
    by=by,
    x=stage,
    xlabel='Conquering stage',
    ylabel=f'Change of {metric.replace("_", " ")} [%]',
    title=title,
  )


def _caption(name, rows):
  """The label, and what the solution is worth."""
  label = textwrap.shorten(name, 60, placeholder=' ...')
  worth = next((r['objective'] for r in rows if 'objective' in r), None)
  text = f'{label}: {worth:.4g}' if worth is not None else label
  return '\n'.join(textwrap.wrap(text, 34))


def _panel(axes, rows, color):
  """Edges, then ways, then nodes."""
  nodes = [r for r in rows if r['kind'] != 'edge']
  item = any(r['kind'] == 'item' for r in nodes)
  pieces = color == 'piece' and any(r['piece'] >= 0 for r in nodes)
  _edges(axes, [r for r in rows if r['kind'] == 'edge'])
  _ways(axes, nodes, pieces)
  points = np.array([[r['x'], r['y']] for r in nodes], float)
  taken = np.array([r['taken'] for r in nodes], bool)
  depot = np.array([r['kind'] == 'depot' for r in nodes])
  size = float(np.clip(300 / max(len(nodes), 1), 1.5, 14))
  on_tour = any(r['place'] >= 0 for r in nodes)
  # Whatever is chosen without a tour is what the picture is about.
  fill = '#333333' if on_tour else _COLORS[0]
  colors = [_color(r['piece']) if pieces else fill for r in nodes]
  out, inside = ~taken & ~depot, taken & ~depot
  axes.scatter(
    *points[out].T,
    s=1.4 * size,
    c='white',
    edgecolors='#888888',
    linewidths=0.7,
  )
  axes.scatter(
    *points[inside].T,
    s=size if on_tour else 2.2 * size,
    c=[c for c, keep in zip(colors, inside, strict=True) if keep],
    zorder=3,
  )
  axes.scatter(
    *points[depot].T, s=42, c='#000000', marker='s', zorder=4, linewidths=0
  )
  if item:
    axes.set_xlabel('Weight')
    axes.set_ylabel('Value')
    return
  axes.set_aspect('equal')
  axes.set_axis_off()
  axes.margins(0.04)


def _edges(axes, rows):
  from matplotlib import collections

  ends = [[(r['x'], r['y']), (r['to_x'], r['to_y'])] for r in rows]
  width = float(np.clip(60 / max(len(ends), 1), 0.15, 0.8))
  axes.add_collection(
    collections.LineCollection(ends, colors=_PALE, linewidths=width, zorder=1)
  )


def _ways(axes, nodes, pieces):
  """Lines along tours; pale between pieces and at depots."""
  from matplotlib import collections

  depot = [r for r in nodes if r['kind'] == 'depot' and r['place'] < 0]
  routes = {}
  for row in nodes:
    if row['place'] >= 0:
      routes.setdefault(row['route'], []).append(row)
  several = len(routes) > 1 or bool(depot)
  lines, colors, widths = [], [], []
  for number, route in sorted(routes.items()):
    route = sorted(route, key=lambda r: r['place'])
    closed = bool(route[0]['closed'])
    stops = depot + route
    pairs = list(zip(stops, stops[1:], strict=False))
    if closed and len(stops) > 1:
      pairs.append((stops[-1], stops[0]))
    for a, b in pairs:
      outer = depot and (a is depot[0] or b is depot[0])
      if pieces:
        inside = a['piece'] == b['piece'] >= 0
        color = _color(a['piece']) if inside else _PALE
      else:
        color = _color(number) if several else _COLORS[0]
      lines.append([(a['x'], a['y']), (b['x'], b['y'])])
      colors.append(color)
      widths.append(0.6 if outer else 1.2)
  axes.add_collection(
    collections.LineCollection(
      lines, colors=colors, linewidths=widths, zorder=2, capstyle='round'
    )
  )


def _color(number):
  return _PALE if number < 0 else _COLORS[number % len(_COLORS)]


def _legend(fig, rows, color):
  """Says what marks and colors are."""
  from matplotlib import lines

  mark = lambda label, **look: lines.Line2D(
    [], [], linestyle='', label=label, **look
  )
  handles = []
  if any(r['kind'] == 'depot' for r in rows):
    handles.append(mark('depot', marker='s', color='#000000', markersize=6))
  if any(r.get('taken') == 0 for r in rows):
    look = {'marker': 'o', 'color': '#888888', 'markerfacecolor': 'white'}
    handles.append(mark('left out', markersize=4, **look))
  if color == 'piece' and any(r.get('piece', -1) >= 0 for r in rows):
    handles.append(
      lines.Line2D([], [], color=_COLORS[0], label='a color per piece')
    )
  elif any(r.get('route', -1) > 0 for r in rows):
    handles.append(
      lines.Line2D([], [], color=_COLORS[0], label='a color per route')
    )
  if handles:
    fig.legend(
      handles=handles, loc='outside lower center', ncols=3, fontsize=8.5
    )
