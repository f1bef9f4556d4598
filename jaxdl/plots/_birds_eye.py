# SPDX-License-Identifier: Apache-2.0
"""A place seen from above: what is there, and who tells where."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.plots import _figures, _heat_maps

Row = dict[str, Any]
_KINDS = ('alone', 'full', 'trimmed')
# Nothing, road, seen road, missed, found, wrong.
_COLORS = ('#FFFFFF', '#E4E4E4', '#C4C4C4', '#E69F00', '#009E73', '#CC79A7')
_LABELS = ('', 'road', 'road in view', 'missed', 'found', 'wrong')


def birds_eye(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  *,
  title: str | None = None,
) -> pathlib.Path:
  """Draws what is told of a place against what is there.

  Args:
    rows: rows of a run; those of split 'map' have the labels kind ('truth',
      'seen', 'road', and what is told: 'alone', 'full', 'trimmed'), line, and
      the values `v_0`, `v_1`, ...
    path: the picture.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if no row holds a map.
  """
  found = [row for row in rows if row['split'] == 'map']
  if not found:
    raise ValueError("no row has split 'map': there is nothing to draw.")
  last = max(row['step'] for row in found)
  found = [row for row in found if row['step'] == last]
  places = _figures.groups(found, 'variant')
  with _figures.style():
    from matplotlib import colors, patches

    fig = _figures.figure(8.4, 0.6 + 2.2 * len(places))
    panels = fig.subplots(len(places), 1 + len(_KINDS), squeeze=False)
    palette = colors.ListedColormap(_COLORS)
    for lane, (name, own) in enumerate(places.items()):
      axes = panels[lane]
      maps = {
        kind: _map(lines)
        for kind, lines in _figures.groups(own, 'kind').items()
      }
      _panel(axes[0], _told(maps, maps['truth']), palette, 'what is there')
      axes[0].set_ylabel(name, fontsize=8)
      for panel, kind in zip(axes[1:], _KINDS, strict=True):
        told = _told(maps, maps[kind])
        _panel(panel, told, palette, kind if not lane else '')
    handles = [
      patches.Patch(facecolor=color, label=label)
      for color, label in zip(_COLORS[1:], _LABELS[1:], strict=True)
    ]
    fig.legend(handles=handles, loc='outside lower center', ncols=5)
    if title:
      fig.suptitle(title, x=0.01, ha='left', fontweight='bold', fontsize=11)
    return _figures.save(fig, path)


def masks(
  rows: Sequence[Row], directory: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Draws which channels were asked for, frame by frame.

  Args:
    rows: rows of a run; those of split 'mask' have variant, channel, frame, and
      the share `asked` in [0, 1].
    directory: of the pictures `mask_0.png`, `mask_1.png`, ..., one for each
      variant.

  Returns:
    The paths written; none if no row holds a mask.
  """
  found = [row for row in rows if row['split'] == 'mask']
  paths = []
  for k, (name, own) in enumerate(_figures.groups(found, 'variant').items()):
    channels, frames = (
      range(1 + max(row[key] for row in own)) for key in ('channel', 'frame')
    )
    asked = np.zeros((len(channels), len(frames)))
    for row in own:
      asked[row['channel'], row['frame']] = row['asked']
    path = pathlib.Path(directory) / f'mask_{k}.png'
    paths.append(
      _heat_maps.heat_map(
        asked,
        channels,
        frames,
        path,
        low=0.0,
        high=1.0,
        annotate=False,
        label='Share sent',
        xlabel='Frames, scene after scene',
        ylabel='Channel',
        title=name,
      )
    )
  return paths


def _map(lines):
  lines = sorted(lines, key=lambda row: row['line'])
  width = sum(name.startswith('v_') for name in lines[0])
  return np.array([[row[f'v_{j}'] for j in range(width)] for row in lines]) > 0


def _told(maps, told):
  """Colors of cells."""
  ground = maps['road'] * (1 + maps['seen'])
  truth = maps['truth']
  return np.where(
    truth & told, 4, np.where(truth, 3, np.where(told, 5, ground))
  )


def _panel(axes, cells, palette, title):
  axes.imshow(cells, cmap=palette, vmin=-0.5, vmax=len(_COLORS) - 0.5)
  axes.grid(visible=False)
  axes.set_xticks([])
  axes.set_yticks([])
  axes.set_title(title, fontsize=9)
