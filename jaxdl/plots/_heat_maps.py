# SPDX-License-Identifier: Apache-2.0
"""Matrices as colors."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.plots import _figures

Row = dict[str, Any]


def heat_map(
  matrix: Any,
  row_labels: Sequence[Any],
  column_labels: Sequence[Any],
  path: str | os.PathLike[str],
  *,
  annotate: bool | None = None,
  diverging: bool = False,
  low: float | None = None,
  high: float | None = None,
  label: str | None = None,
  xlabel: str | None = None,
  ylabel: str | None = None,
  title: str | None = None,
) -> pathlib.Path:
  """Draws a matrix as colors.

  Args:
    matrix: f[rows, columns]; what is not finite is left gray.
    row_labels: one per row.
    column_labels: one per column.
    path: the picture.
    annotate: whether to write the numbers; by default up to 150 cells.
    diverging: whether zero is a middle that colors should show.
    low: value of the first color; the smallest if None.
    high: value of the last color; the largest if None.
    label: caption of the colors, with the unit.
    xlabel: caption of the columns.
    ylabel: caption of the rows.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if the labels do not fit the matrix.
  """
  matrix = np.asarray(matrix, np.float64)
  if matrix.shape != (len(row_labels), len(column_labels)):
    raise ValueError(
      f'matrix has shape {matrix.shape}: need (rows, columns) = '
      f'({len(row_labels)}, {len(column_labels)}), one per label.'
    )
  matrix = np.where(np.isfinite(matrix), matrix, np.nan)
  num_rows, num_columns = matrix.shape
  annotate = matrix.size <= 150 if annotate is None else annotate
  cell = 0.62 if annotate else 0.3
  with _figures.style():
    fig = _figures.figure(
      float(np.clip(2.4 + cell * num_columns, 4.0, 11.0)),
      float(np.clip(1.4 + 0.6 * cell * num_rows, 2.4, 9.0)),
    )
    axes = fig.add_subplot()
    image = _image(axes, matrix, diverging, low, high)
    _plain_frame(axes)
    where, text = _figures.spaced([str(c) for c in column_labels], 24)
    room = 0.6 * fig.get_size_inches()[0] / max(len(text), 1)
    slanted = max((len(t) for t in text), default=0) * 0.08 > room
    axes.set_xticks(
      where,
      text,
      rotation=35 if slanted else 0,
      ha='right' if slanted else 'center',
    )
    axes.set_yticks(*_figures.spaced([str(r) for r in row_labels], 32))
    if annotate:
      for (i, j), value in np.ndenumerate(matrix):
        if np.isfinite(value):
          dark = np.dot(image.cmap(image.norm(value))[:3], [0.3, 0.59, 0.11])
          axes.text(
            j,
            i,
            _figures.short(value),
            ha='center',
            va='center',
            fontsize=8,
            color='white' if dark < 0.5 else '#222222',
          )
    bar = fig.colorbar(image, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    if diverging and image.norm.vmin < 0 < image.norm.vmax:
      bar.ax.axhline(0.0, color='black', linewidth=1.2)
    if label:
      bar.set_label(label)
    if xlabel:
      axes.set_xlabel(xlabel)
    if ylabel:
      axes.set_ylabel(ylabel)
    _figures.title(axes, title)
    return _figures.save(fig, path)


def weights_heat_map(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  *,
  byzantine: Sequence[int] = (),
  split: str = 'weights',
  by: str = 'variant',
  prefix: str = 'worker_',
  title: str | None = None,
  label: str = 'Weight',
) -> pathlib.Path:
  """Draws who was listened to: worker by round, one panel per variant.

  Weights of both signs are red below zero, white at it and blue above. Below a
  panel's name stands which part of the weight (of all |weights|, over the
  rounds drawn) the adversaries get.

  Args:
    rows: rows of a run; those of `split` have metrics worker_0 ...
      worker_{N-1}, averaged over the seeds.
    path: the picture.
    byzantine: ids of adversarial workers; their rows have a black mark.
    split: rows to take.
    by: the label that tells panels apart.
    prefix: what the metrics' names start with.
    title: caption of the picture.
    label: caption of the colors.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows, or an id is out of range.
  """
  chosen = _figures.select(rows, split, f'{prefix}0')
  num_workers = 0
  while f'{prefix}{num_workers}' in chosen[0]:
    num_workers += 1
  wrong = [i for i in byzantine if not 0 <= i < num_workers]
  if wrong:
    raise ValueError(
      f'byzantine={wrong} are no workers: need 0 <= id < {num_workers}.'
    )
  maps = {}
  for name, group in _figures.groups(chosen, by).items():
    curves = [
      _figures.series(group, 'step', f'{prefix}{i}') for i in range(num_workers)
    ]
    maps[name] = curves[0][0], np.stack([c[1] for c in curves])
  finite = [m[np.isfinite(m)] for _, m in maps.values()]
  low = min([0.0, *(f.min() for f in finite if f.size)])
  high = max([1e-12, *(f.max() for f in finite if f.size)])
  least = low
  # Rounding of a weight of zero is no sign.
  signed = low < -1e-4 * high
  low = -max(-low, high) if signed else 0.0
  high = -low if signed else high
  columns = 2 if len(maps) == 4 else min(3, len(maps))
  lanes = -(-len(maps) // columns)
  with _figures.style():
    tall = float(np.clip(1.1 + 0.16 * num_workers, 2.4, 4.6))
    fig = _figures.figure(1.4 + 3.2 * columns, 0.5 + tall * lanes)
    grid = fig.subplots(lanes, columns, squeeze=False, sharey=True)
    image = None
    for n, axes in enumerate(grid.flat):
      if n >= len(maps):
        axes.set_visible(False)
        continue
      name, (steps, weights) = list(maps.items())[n]
      image = _image(axes, weights, signed, low, high, 'RdBu')
      _plain_frame(axes)
      axes.set_title(
        name or label, fontsize=10, pad=18 if len(byzantine) else None
      )
      if len(byzantine):
        _share(axes, weights, list(byzantine))
      axes.set_xticks(*_figures.spaced([f'{s:g}' for s in steps], 6))
      axes.set_yticks(
        *_figures.spaced([str(i) for i in range(num_workers)], 20)
      )
      _mark(axes, byzantine)
      if n + columns >= len(maps):
        axes.set_xlabel('Round')
      if n % columns == 0:
        axes.set_ylabel('Worker', labelpad=6)
    bar = fig.colorbar(image, ax=list(grid.flat), pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.set_label(
      f'{label} (white: none, red: subtracted)' if signed else label
    )
    bar.ax.axhline(0.0, color='black', linewidth=1.2)
    bar.ax.set_ylim(least, high)
    if title:
      fig.suptitle(title, x=0.01, ha='left', fontsize=11, weight='bold')
    if len(byzantine):
      from matplotlib import patches

      fig.legend(
        handles=[patches.Patch(color='black', label='adversarial worker')],
        loc='outside lower right',
        handlelength=0.8,
      )
    return _figures.save(fig, path)


def _share(axes, weights, byzantine):
  """Writes which part of the weight adversaries get, in red from 5 % on."""
  size = np.abs(np.where(np.isfinite(weights), weights, 0.0))
  total = size.sum()
  share = float(size[byzantine].sum() / total) if total else 0.0
  if share < 0.005:
    text, color = 'adversaries: nothing', _figures.MUTED
  else:
    text = f'adversaries: {share:.0%} of the weight'
    color = _figures.ALERT if share >= 0.05 else _figures.MUTED
  axes.text(
    0.0,
    1.02,
    text,
    transform=axes.transAxes,
    ha='left',
    va='bottom',
    fontsize=8.5,
    color=color,
  )


def _image(axes, matrix, diverging, low, high, colors='RdBu_r'):
  import matplotlib

  if diverging and low is None and high is None:
    finite = matrix[np.isfinite(matrix)]
    high = float(np.max(np.abs(finite))) if finite.size else 1.0
    low = -high
  cmap = matplotlib.colormaps[colors if diverging else 'cividis']
  return axes.imshow(
    matrix,
    aspect='auto',
    interpolation='nearest',
    cmap=cmap.with_extremes(bad='#CCCCCC'),
    vmin=low,
    vmax=high,
  )


def _plain_frame(axes):
  axes.grid(visible=False)
  axes.spines[:].set_visible(False)
  axes.tick_params(length=0)


def _mark(axes, byzantine):
  """Puts a bar left of each adversarial row."""
  from matplotlib import patches, transforms

  place = transforms.blended_transform_factory(axes.transAxes, axes.transData)
  for worker in byzantine:
    axes.add_patch(
      patches.Rectangle(
        (-0.028, worker - 0.45),
        0.02,
        0.9,
        transform=place,
        color='black',
        clip_on=False,
        linewidth=0,
      )
    )
  if len(byzantine):
    axes.tick_params(axis='y', pad=9)
