# SPDX-License-Identifier: Apache-2.0
"""Pictures drawn from the rows of `metrics.jsonl`.

Each function draws one PNG and returns its path, so an experiment lists them as

    plots=(
      lambda rows, out: plots.lines(rows, out / 'accuracy.png', 'accuracy'),
    )

Seeds are averaged; bands and bars are one standard deviation (N - 1). Colours
are told apart with any colour vision.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.experiment import _plots

__all__ = ['bars', 'heat_map', 'lines', 'log_log', 'weights_heat_map']

Row = dict[str, Any]


def lines(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  metric: str,
  *,
  split: str | None = 'test',
  by: str = 'rule',
  x: str = 'step',
  xlabel: str | None = None,
  ylabel: str | None = None,
  title: str | None = None,
  log_x: bool = False,
  log_y: bool = False,
  ylim: tuple[float | None, float | None] | None = None,
  reference: Mapping[str, float] | None = None,
) -> pathlib.Path:
  """Draws a metric over the rounds, one curve per value of a label.

  Args:
    rows: rows of a run.
    path: the picture.
    metric: what to draw.
    split: rows to take; None for all.
    by: the label that tells curves apart.
    x: label or metric on the abscissa.
    xlabel: its caption, with the unit; 'Round' for step.
    ylabel: caption of the ordinate, with the unit; made of `metric` if None.
    title: caption of the picture.
    log_x: whether the abscissa is logarithmic.
    log_y: whether the ordinate is logarithmic.
    ylim: ends of the ordinate, None for an automatic one.
    reference: named horizontal lines.

  Returns:
    The path written.

  Raises:
    ValueError: if no row has the metric.
  """
  found = _plots.groups(_plots.select(rows, split, metric, x), by)
  with _plots.style():
    fig = _plots.figure(6.4 if len(found) <= 6 else 7.6)
    axes = fig.add_subplot()
    for n, (name, group) in enumerate(found.items()):
      xs, mean, sd, count = _plots.series(group, x, metric)
      look = _plots.look(n)
      few = len(xs) <= 12
      axes.plot(xs, mean, label=name, **look | ({} if few else {'marker': ''}))
      if np.any(count > 1):
        axes.fill_between(
          xs, mean - sd, mean + sd, color=look['color'], alpha=0.18, lw=0
        )
    if log_x:
      axes.set_xscale('log')
    if log_y:
      axes.set_yscale('log')
    if ylim is not None:
      axes.set_ylim(*ylim)
    axes.margins(x=0.02)
    _plots.references(axes, reference)
    axes.set_xlabel(xlabel or ('Round' if x == 'step' else _plots.nice(x)))
    axes.set_ylabel(ylabel or _plots.nice(metric))
    if title:
      axes.set_title(title)
    _plots.legend(fig, axes)
    return _plots.save(fig, path)


def bars(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  metric: str,
  *,
  split: str | None = 'test',
  by: str = 'rule',
  group: str | None = None,
  ylabel: str | None = None,
  title: str | None = None,
  ylim: tuple[float | None, float | None] | None = None,
  reference: Mapping[str, float] | None = None,
) -> pathlib.Path:
  """Draws the last value of a metric, one bar per value of a label.

  Args:
    rows: rows of a run.
    path: the picture.
    metric: what to draw.
    split: rows to take; None for all.
    by: the label that tells bars apart.
    group: a second label that gathers bars side by side.
    ylabel: caption of the ordinate, with the unit; made of `metric` if None.
    title: caption of the picture.
    ylim: ends of the ordinate, None for an automatic one.
    reference: named horizontal lines.

  Returns:
    The path written.

  Raises:
    ValueError: if no row has the metric.
  """
  names = (metric, by) if group is None else (metric, by, group)
  rows = _plots.select(rows, split, *names)
  kinds = list(_plots.groups(rows, by))
  crowds = [''] if group is None else list(_plots.groups(rows, group))
  mean = np.full((len(kinds), len(crowds)), np.nan)
  sd = np.zeros_like(mean)
  several = False
  for i, of_kind in enumerate(_plots.groups(rows, by).values()):
    split_up = {'': of_kind} if group is None else _plots.groups(of_kind, group)
    for j, crowd in enumerate(crowds):
      if crowd in split_up:
        _, values, spread, count = _plots.series(
          split_up[crowd], 'step', metric
        )
        mean[i, j], sd[i, j] = values[-1], spread[-1]
        several |= bool(count[-1] > 1)
  ticks = kinds if group is None else crowds
  with _plots.style():
    fig = _plots.figure(max(4.8, min(11.0, 1.6 + 0.42 * mean.size)))
    axes = fig.add_subplot()
    axes.grid(visible=False, axis='x')
    width = 0.66 if group is None else 0.8 / len(kinds)
    for i, kind in enumerate(kinds):
      middle = (len(kinds) - 1) / 2
      at = (
        np.array([float(i)])
        if group is None
        else np.arange(len(crowds)) + (i - middle) * width
      )
      drawn = axes.bar(
        at,
        mean[i],
        width * 0.94,
        yerr=sd[i] if several else None,
        error_kw={'elinewidth': 1.0, 'capsize': 2.5, 'ecolor': '#333333'},
        color=_plots.COLOURS[0 if group is None else i % len(_plots.COLOURS)],
        label=kind,
      )
      if mean.size <= 16:
        axes.bar_label(
          drawn, fmt='{:.3g}', fontsize=8, padding=2, color='#333333'
        )
    slanted = sum(len(tick) for tick in ticks) > 56
    axes.set_xticks(
      range(len(ticks)),
      ticks,
      rotation=30 if slanted else 0,
      ha='right' if slanted else 'center',
    )
    axes.tick_params(axis='x', length=0)
    if group is not None:
      axes.set_xlabel(_plots.nice(group))
      _plots.legend(fig, axes, _plots.nice(by))
    if np.nanmin(np.append(mean, 0.0)) < 0:
      axes.axhline(0.0, color='#444444', linewidth=0.8)
    if ylim is not None:
      axes.set_ylim(*ylim)
    _plots.references(axes, reference)
    axes.set_ylabel(ylabel or _plots.nice(metric))
    if title:
      axes.set_title(title)
    return _plots.save(fig, path)


def log_log(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  metric: str,
  *,
  x: str,
  split: str | None = 'test',
  by: str = 'rule',
  fit: bool = True,
  xlabel: str | None = None,
  ylabel: str | None = None,
  title: str | None = None,
) -> pathlib.Path:
  """Draws how a metric scales, on two logarithmic axes, with fitted slopes.

  Args:
    rows: rows of a run; of each abscissa, seed and label the last counts.
    path: the picture.
    metric: what to draw; values that are not positive are left out.
    x: label or metric on the abscissa.
    split: rows to take; None for all.
    by: the label that tells curves apart.
    fit: whether to draw the least-squares line and put its slope in the
      legend.
    xlabel: caption of the abscissa, with the unit; made of `x` if None.
    ylabel: caption of the ordinate, with the unit; made of `metric` if None.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if no row has both.
  """
  rows = _plots.select(rows, split, metric, x)
  last = {(str(r.get(by, '')), r[x], r['seed']): r for r in rows}
  with _plots.style():
    found = _plots.groups(list(last.values()), by)
    fig = _plots.figure(6.4 if len(found) <= 6 else 7.6)
    axes = fig.add_subplot()
    axes.set_xscale('log')
    axes.set_yscale('log')
    for n, (name, group) in enumerate(found.items()):
      xs, mean, sd, count = _plots.series(group, x, metric)
      good = (xs > 0) & (mean > 0) & np.isfinite(mean)
      xs, mean, sd = xs[good], mean[good], sd[good]
      look = _plots.look(n)
      fitted = fit and len(xs) > 1
      label = name
      if fitted:
        slope, level = np.polyfit(np.log(xs), np.log(mean), 1)
        label = f'{name} (slope {slope:.2f})'.strip()
        axes.plot(
          xs,
          np.exp(level) * xs**slope,
          color=look['color'],
          linewidth=1.0,
          alpha=0.7,
        )
      axes.errorbar(
        xs,
        mean,
        # A bar that reaches zero has no lower end on this axis.
        np.stack([np.minimum(sd, 0.999 * mean), sd])
        if np.any(count > 1)
        else None,
        label=label,
        elinewidth=1.0,
        capsize=2,
        **look | ({'linestyle': ''} if fitted else {}),
      )
    axes.grid(visible=True, which='minor', color='#EEEEEE', linewidth=0.5)
    axes.set_xlabel(xlabel or _plots.nice(x))
    axes.set_ylabel(ylabel or _plots.nice(metric))
    if title:
      axes.set_title(title)
    _plots.legend(fig, axes)
    if len(found) == 1 and fit:
      axes.legend()
    return _plots.save(fig, path)


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
  """Draws a matrix as colours.

  Args:
    matrix: f[rows, columns]; what is not finite is left grey.
    row_labels: one per row.
    column_labels: one per column.
    path: the picture.
    annotate: whether to write the numbers; by default up to 150 cells.
    diverging: whether zero is a middle that colours should show.
    low: value of the first colour; the smallest if None.
    high: value of the last colour; the largest if None.
    label: caption of the colours, with the unit.
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
  with _plots.style():
    fig = _plots.figure(
      float(np.clip(2.4 + cell * num_columns, 4.0, 11.0)),
      float(np.clip(1.4 + 0.6 * cell * num_rows, 2.4, 9.0)),
    )
    axes = fig.add_subplot()
    image = _image(axes, matrix, diverging, low, high)
    _plain_frame(axes)
    where, text = _plots.spaced([str(c) for c in column_labels], 24)
    slanted = sum(len(t) for t in text) > 10 * fig.get_size_inches()[0]
    axes.set_xticks(
      where,
      text,
      rotation=35 if slanted else 0,
      ha='right' if slanted else 'center',
    )
    axes.set_yticks(*_plots.spaced([str(r) for r in row_labels], 32))
    if annotate:
      for (i, j), value in np.ndenumerate(matrix):
        if np.isfinite(value):
          dark = np.dot(image.cmap(image.norm(value))[:3], [0.3, 0.59, 0.11])
          axes.text(
            j,
            i,
            f'{value:.3g}',
            ha='center',
            va='center',
            fontsize=8,
            color='white' if dark < 0.5 else '#222222',
          )
    bar = fig.colorbar(image, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    if label:
      bar.set_label(label)
    if xlabel:
      axes.set_xlabel(xlabel)
    if ylabel:
      axes.set_ylabel(ylabel)
    if title:
      axes.set_title(title)
    return _plots.save(fig, path)


def weights_heat_map(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  *,
  byzantine: Sequence[int] = (),
  split: str = 'weights',
  by: str = 'rule',
  prefix: str = 'worker_',
  title: str | None = None,
  label: str = 'Weight',
) -> pathlib.Path:
  """Draws who was listened to: worker by round, one panel per rule.

  Args:
    rows: rows of a run; those of `split` have metrics worker_0 ...
      worker_{N-1}, averaged over the seeds.
    path: the picture.
    byzantine: ids of adversarial workers; their rows are marked.
    split: rows to take.
    by: the label that tells panels apart.
    prefix: what the metrics' names start with.
    title: caption of the picture.
    label: caption of the colours.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows, or an id is out of range.
  """
  chosen = _plots.select(rows, split, f'{prefix}0')
  num_workers = 0
  while f'{prefix}{num_workers}' in chosen[0]:
    num_workers += 1
  wrong = [i for i in byzantine if not 0 <= i < num_workers]
  if wrong:
    raise ValueError(
      f'byzantine={wrong} are no workers: need 0 <= id < {num_workers}.'
    )
  maps = {}
  for name, group in _plots.groups(chosen, by).items():
    curves = [
      _plots.series(group, 'step', f'{prefix}{i}') for i in range(num_workers)
    ]
    maps[name] = curves[0][0], np.stack([c[1] for c in curves])
  finite = [m[np.isfinite(m)] for _, m in maps.values()]
  low = min([0.0, *(f.min() for f in finite if f.size)])
  high = max([1e-12, *(f.max() for f in finite if f.size)])
  columns = min(3, len(maps))
  lanes = -(-len(maps) // columns)
  with _plots.style():
    tall = float(np.clip(0.9 + 0.16 * num_workers, 2.2, 4.4))
    fig = _plots.figure(1.4 + 3.2 * columns, 0.5 + tall * lanes)
    grid = fig.subplots(lanes, columns, squeeze=False, sharey=True)
    image = None
    for n, axes in enumerate(grid.flat):
      if n >= len(maps):
        axes.set_visible(False)
        continue
      name, (steps, weights) = list(maps.items())[n]
      image = _image(axes, weights, False, low, high)
      _plain_frame(axes)
      axes.set_title(name or label, fontsize=10)
      axes.set_xticks(*_plots.spaced([f'{s:g}' for s in steps], 6))
      axes.set_yticks(*_plots.spaced([str(i) for i in range(num_workers)], 20))
      _mark(axes, byzantine)
      if n + columns >= len(maps):
        axes.set_xlabel('Round')
      if n % columns == 0:
        axes.set_ylabel('Worker', labelpad=6)
    bar = fig.colorbar(image, ax=list(grid.flat), pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.set_label(label)
    if title:
      fig.suptitle(title, fontsize=11, weight='semibold')
    if len(byzantine):
      from matplotlib import patches

      fig.legend(
        handles=[patches.Patch(color=_plots.ALERT, label='adversarial')],
        loc='outside lower right',
        handlelength=0.8,
      )
    return _plots.save(fig, path)


def _image(axes, matrix, diverging, low, high):
  import matplotlib

  if diverging and low is None and high is None:
    finite = matrix[np.isfinite(matrix)]
    high = float(np.max(np.abs(finite))) if finite.size else 1.0
    low = -high
  cmap = matplotlib.colormaps['RdBu_r' if diverging else 'cividis']
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
        color=_plots.ALERT,
        clip_on=False,
        linewidth=0,
      )
    )
  if len(byzantine):
    axes.tick_params(axis='y', pad=7)
