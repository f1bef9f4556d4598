# SPDX-License-Identifier: Apache-2.0
"""Images with boxes and what they are said to hold."""

import os
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.plots import _figures

Row = dict[str, Any]


def boxes(
  rows: Sequence[Row],
  images: Any,
  path: str | os.PathLike[str],
  *,
  split: str = 'boxes',
  by: str = 'variant',
  title: str | None = None,
) -> pathlib.Path:
  """Draws images with true and found boxes, a lane for each variant.

  True boxes are dashed and white; found ones are colored by their phrase, which
  stands beside them with the score. The key under the picture has the phrases.

  Args:
    rows: rows of a run; those of `split` have `image`, `kind` ('true' or
      'found'), `phrase`, `score` and, in shares of the image, `x`, `y`,
      `width`, `height` of the upper left corner and the sides. Of each variant
      the first seed and the last step are drawn.
    images: f[n, H, W, 3] in [0, 1]; image i is the one of rows that say so.
    path: the picture.
    split: rows to take.
    by: the label that tells lanes apart.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows.
  """
  from matplotlib import lines, patches

  chosen = _figures.select(rows, split, 'x', 'y', 'width', 'height', 'image')
  lanes = _figures.groups(chosen, by)
  images = np.asarray(images)
  phrases = list(dict.fromkeys(r['phrase'] for r in chosen))
  colors = {
    p: _figures.COLOURS[i % len(_figures.COLOURS)]
    for i, p in enumerate(sorted(phrases))
  }
  with _figures.style():
    fig = _figures.figure(1.9 * len(images) + 0.5, 2.1 * len(lanes) + 0.8)
    grid = fig.subplots(len(lanes), len(images), squeeze=False)
    for lane, (name, group) in zip(grid, lanes.items(), strict=True):
      last = max(r['step'] for r in group)
      seed = group[0]['seed']
      own = [r for r in group if (r['step'], r['seed']) == (last, seed)]
      for i, axes in enumerate(lane):
        axes.imshow(images[i], extent=(0, 1, 1, 0), interpolation='nearest')
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.set_yticks([])
        for r in own:
          if r['image'] == i:
            _box(axes, patches, r, colors[r['phrase']])
      lane[0].set_ylabel('\n'.join(textwrap.wrap(name, 24)), fontsize=8)
    handles = [
      lines.Line2D([], [], color='#444444', linestyle=(0, (3, 2)), label='true')
    ]
    handles += [
      lines.Line2D([], [], color=color, label=phrase)
      for phrase, color in colors.items()
      if any(r['phrase'] == phrase and r['kind'] == 'found' for r in chosen)
    ]
    fig.legend(
      handles=handles[:24],
      loc='outside lower center',
      ncols=min(6, len(handles)),
      fontsize=7,
    )
    _figures.title(grid[0, 0], title)
    return _figures.save(fig, path)


def _box(axes, patches, row, color):
  """One box, with its score if it was found."""
  true = row['kind'] == 'true'
  axes.add_patch(
    patches.Rectangle(
      (row['x'], row['y']),
      row['width'],
      row['height'],
      fill=False,
      linewidth=1.0 if true else 1.5,
      linestyle=(0, (3, 2)) if true else '-',
      edgecolor='white' if true else color,
      zorder=3 if true else 2,
    )
  )
  if not true:
    axes.text(
      row['x'],
      row['y'],
      f'{row["phrase"]} {row["score"]:.2f}',
      fontsize=5,
      color='white',
      va='bottom' if row['y'] > 0.08 else 'top',
      bbox={'facecolor': color, 'edgecolor': 'none', 'pad': 0.6},
      clip_on=True,
    )
