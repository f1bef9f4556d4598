# SPDX-License-Identifier: Apache-2.0
"""Pictures of communication graphs."""

import math
import os
import pathlib
from collections.abc import Mapping

import networkx
import numpy as np

from jaxdl.plots import _figures

_LABELLED = 32


def draw_topologies(
  schedules: Mapping[str, np.ndarray],
  path: str | os.PathLike[str],
  *,
  max_rounds: int = 6,
  title: str | None = None,
) -> pathlib.Path:
  """Draws who receives from whom, one panel per topology.

  Links of different rounds have different colors; one-way links are arrows.
  Grids are drawn as such; a torus has stubs on both sides for the links that
  lead around.

  Args:
    schedules: name -> [T, N, N], matrices or graphs of T rounds.
    path: the picture.
    max_rounds: rounds drawn per panel; more are named in its title.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if there is nothing to draw.
  """
  if not schedules:
    raise ValueError('schedules is empty: name at least one topology.')
  columns = min(len(schedules), 4)
  lines = math.ceil(len(schedules) / columns)
  with _figures.style():
    fig = _figures.figure(2.7 * columns, 2.9 * lines + (0.4 if title else 0.0))
    panels = fig.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels:
      axes.set_axis_off()
    shown, arrows = 1, False
    for axes, (name, schedule) in zip(panels, schedules.items(), strict=False):
      schedule = np.asarray(schedule)
      _panel(axes, name, schedule, max_rounds)
      shown = max(shown, min(len(schedule), max_rounds))
      one_way = (schedule != 0) & (schedule.swapaxes(-1, -2) == 0)
      arrows |= bool(one_way.any())
    _legend(fig, shown, arrows)
    if title:
      fig.suptitle(title, fontsize=11, fontweight='bold')
    return _figures.save(fig, path)


def _legend(fig, rounds, arrows):
  """Says which color is which round, and what an arrow is."""
  from matplotlib import lines

  handles = [
    lines.Line2D([], [], color=_color(t), label=f'round {t + 1}')
    for t in range(rounds if rounds > 1 else 0)
  ]
  if handles:
    handles[0].set_label('round 1, or every round')
  if arrows:
    handles.append(
      lines.Line2D(
        [],
        [],
        color=_figures.MUTED,
        marker='>',
        label='one way: sender to reader',
      )
    )
  if handles:
    fig.legend(handles=handles, loc='outside lower center', ncols=4)


def _color(t):
  return _figures.COLOURS[t % (len(_figures.COLOURS) - 1)]


def _panel(axes, name, schedule, max_rounds):
  n = schedule.shape[-1]
  size = float(np.clip(1800 / max(n, 1), 6, 130))
  shape = _lattice(schedule != 0)
  where = (
    _layout(schedule[:max_rounds] != 0) if shape is None else _grid(*shape)
  )
  nodes = networkx.empty_graph(n)
  networkx.draw_networkx_nodes(
    nodes,
    where,
    ax=axes,
    node_size=size,
    node_color='#F4F4F4',
    edgecolors='#444444',
    linewidths=0.8,
  )
  width = float(np.clip(40 / max(n, 1), 0.3, 1.3))
  for t, matrix in enumerate(schedule[:max_rounds]):
    links = (matrix != 0) & ~np.eye(n, dtype=bool)
    one_way = links & ~links.T
    look = {'edge_color': _color(t), 'ax': axes, 'node_size': size}
    # A link that comes back is broad, so that its later rounds are seen on it.
    again = width * (1 + 1.2 * (schedule[t + 1 : max_rounds] != 0).sum(axis=0))
    both = networkx.from_numpy_array(links & links.T)
    if shape is not None:
      both = _open(axes, both, where, shape, color=_color(t), linewidth=width)
    widths = [float(again[edge]) for edge in both.edges]
    networkx.draw_networkx_edges(both, where, width=widths, **look)
    if one_way.any():
      # Entry [i, j] carries a message from j to i.
      arrows = networkx.from_numpy_array(
        one_way.T, create_using=networkx.DiGraph
      )
      networkx.draw_networkx_edges(
        arrows,
        where,
        arrowsize=6,
        connectionstyle='arc3,rad=0.08',
        width=[float(again[j, i]) for i, j in arrows.edges],
        **look,
      )
  if n <= _LABELLED:
    networkx.draw_networkx_labels(
      nodes, where, ax=axes, font_size=max(4.5, 8 - n / 8)
    )
  label = name
  if len(schedule) > 1:
    shown = min(len(schedule), max_rounds)
    of = '' if shown == len(schedule) else f' of {len(schedule)}'
    label = f'{name}\n{shown}{of} rounds'
  axes.set_title(label, fontsize=9, loc='center')
  axes.set_aspect('equal')
  axes.margins(0.1)


def _lattice(links: np.ndarray) -> tuple[int, int] | None:
  """Rows and columns if the links are a grid or torus, numbered by rows."""
  n = links.shape[-1]
  if len(links) != 1:
    return None
  given = links[0] & ~np.eye(n, dtype=bool)
  # The squarest first.
  for rows in range(math.isqrt(n), 1, -1):
    if n % rows:
      continue
    columns = n // rows
    i, j = np.divmod(np.arange(n), columns)
    grid, torus = np.zeros((2, n, n), bool)
    for row, column in ((i, j + 1), (i + 1, j)):
      near = row % rows * columns + column % columns
      torus[np.arange(n), near] = True
      inside = (row < rows) & (column < columns)
      grid[np.flatnonzero(inside), near[inside]] = True
    if any(np.array_equal(given, want | want.T) for want in (grid, torus)):
      return rows, columns
  return None


def _grid(rows: int, columns: int) -> dict[int, np.ndarray]:
  """Places of a grid, the first row on top."""
  scale = 2 / (max(rows, columns) - 1)
  return {
    n: scale * np.array([n % columns, rows - 1 - n // columns], float)
    for n in range(rows * columns)
  }


def _open(axes, graph, where, shape, **look):
  """Draws links around the edges as stubs; returns the graph of the others."""
  from matplotlib import collections

  step = 2 / (max(shape) - 1)
  around, stubs = [], []
  for a, b in graph.edges:
    way = where[b] - where[a]
    # With two rows the way around ends at the same neighbor.
    if np.abs(way).max() <= 1.5 * step:
      continue
    around.append((a, b))
    out = 0.45 * step * np.sign(way)
    stubs += [(where[a], where[a] - out), (where[b], where[b] + out)]
  axes.add_collection(
    collections.LineCollection(
      stubs,
      colors=look['color'],
      linewidths=look['linewidth'],
      linestyles='dashed',
      zorder=0.5,
    )
  )
  graph.remove_edges_from(around)
  return graph


def _layout(links: np.ndarray) -> dict[int, np.ndarray]:
  """A hub in the middle, long graphs by springs, all else on a circle."""
  n = links.shape[-1]
  circle = networkx.circular_layout(range(n))
  union = links.any(axis=0) & ~np.eye(n, dtype=bool)
  union |= union.T
  degrees = union.sum(axis=1)
  if n > 3 and degrees.max() == n - 1 and (degrees == 1).sum() == n - 1:
    hub = int(degrees.argmax())
    rest = [i for i in range(n) if i != hub]
    return {hub: np.zeros(2), **networkx.circular_layout(rest)}
  if len(links) == 1 and n <= 256 and len(set(degrees.tolist())) > 1:
    graph = networkx.from_numpy_array(union)
    if networkx.is_connected(graph):
      return networkx.kamada_kawai_layout(graph, pos=circle)
  return circle
