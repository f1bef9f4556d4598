# SPDX-License-Identifier: Apache-2.0
"""Pictures of communication graphs."""

import math
import os
import pathlib
from collections.abc import Mapping

import networkx
import numpy as np

from jaxdl.experiment import _plots

_LABELLED = 32


def draw_topologies(
  schedules: Mapping[str, np.ndarray],
  path: str | os.PathLike[str],
  *,
  max_rounds: int = 6,
  title: str | None = None,
) -> pathlib.Path:
  """Draws who receives from whom, one panel per topology.

  Links of different rounds have different colours; one-way links are arrows.

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
  with _plots.style():
    fig = _plots.figure(2.7 * columns, 2.9 * lines + (0.4 if title else 0.0))
    panels = fig.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels:
      axes.set_axis_off()
    for axes, (name, schedule) in zip(panels, schedules.items(), strict=False):
      _panel(axes, name, np.asarray(schedule), max_rounds)
    if title:
      fig.suptitle(title, fontsize=11, fontweight='bold')
    return _plots.save(fig, path)


def _panel(axes, name, schedule, max_rounds):
  n = schedule.shape[-1]
  size = float(np.clip(1800 / max(n, 1), 6, 130))
  where = _layout(schedule[:max_rounds] != 0)
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
    look = {
      'edge_color': _plots.COLOURS[t % (len(_plots.COLOURS) - 1)],
      'width': width,
      'ax': axes,
      'node_size': size,
    }
    both = networkx.from_numpy_array(links & links.T)
    networkx.draw_networkx_edges(both, where, **look)
    if one_way.any():
      # Entry [i, j] carries a message from j to i.
      arrows = networkx.from_numpy_array(
        one_way.T, create_using=networkx.DiGraph
      )
      networkx.draw_networkx_edges(
        arrows, where, arrowsize=6, connectionstyle='arc3,rad=0.08', **look
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
