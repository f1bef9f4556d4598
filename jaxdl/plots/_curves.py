# SPDX-License-Identifier: Apache-2.0
"""Pictures drawn from the rows of `metrics.jsonl`.

Each function draws one PNG and returns its path, so an experiment lists them as

    plots=(
      lambda rows, out: plots.lines(rows, out / 'accuracy.png', 'accuracy'),
    )

Seeds are averaged; bands and bars are one standard deviation (N - 1). Colors
are told apart with any color vision.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.plots import _figures, _functions, _heat_maps, _polygons

__all__ = [
  'bars',
  'functions',
  'heat_map',
  'lines',
  'log_log',
  'polygon',
  'rounding',
  'weights_heat_map',
]

Row = dict[str, Any]

functions = _functions.functions
heat_map = _heat_maps.heat_map
polygon = _polygons.polygon
rounding = _figures.rounding
weights_heat_map = _heat_maps.weights_heat_map


def lines(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  metric: str,
  *,
  split: str | None = 'test',
  by: str = 'variant',
  x: str = 'step',
  xlabel: str | None = None,
  ylabel: str | None = None,
  title: str | None = None,
  log_x: bool = False,
  log_y: bool = False,
  ylim: tuple[float | None, float | None] | None = None,
  reference: Mapping[str, float] | None = None,
  floor: float = 0.0,
) -> pathlib.Path:
  """Draws a metric over the rounds, one curve per value of a label.

  Curves that coincide are drawn broad to thin, so that all are seen.

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
    floor: on a logarithmic ordinate, values up to here are rounding and share
      one line at the bottom, with a note; 0 for zeros alone.

  Returns:
    The path written.

  Raises:
    ValueError: if no row has the metric.
  """
  found = _figures.groups(_figures.select(rows, split, metric, x), by)
  curves = [_figures.series(group, x, metric) for group in found.values()]
  means, line = [mean for _, mean, *_ in curves], None
  if log_y:
    means, line = _figures.raise_to_floor(means, floor)
  looks = _figures.looks(
    [(c[0], mean) for c, mean in zip(curves, means, strict=True)],
    log_y=log_y,
    ylim=ylim,
  )
  with _figures.style():
    fig = _figures.figure(6.4 if len(found) <= 6 else 7.6)
    axes = fig.add_subplot()
    for name, (xs, _, sd, count), mean, look in zip(
      found, curves, means, looks, strict=True
    ):
      few = len(xs) <= 12
      axes.plot(xs, mean, label=name, **look | ({} if few else {'marker': ''}))
      if np.any(count > 1):
        low = mean - sd
        if log_y:  # A band that reaches zero has no lower end on this axis.
          low = np.maximum(low, np.minimum(mean, line or 1e-3 * mean))
        axes.fill_between(
          xs, low, mean + sd, color=look['color'], alpha=0.18, lw=0
        )
    every = np.concatenate([xs for xs, *_ in curves])
    if log_x:
      axes.set_xscale('log')
      _figures.log_ticks(axes.xaxis)
    else:
      _figures.round_ticks(axes.xaxis, every)
    if log_y:
      axes.set_yscale('log')
    if ylim is not None:
      axes.set_ylim(*ylim)
    axes.margins(x=0.02)
    _figures.references(axes, reference)
    if line is not None:
      _figures.note_floor(axes, line, floor)
    elif log_y:
      _figures.log_ticks(axes.yaxis)
    axes.set_xlabel(xlabel or ('Round' if x == 'step' else _figures.nice(x)))
    axes.set_ylabel(ylabel or _figures.nice(metric))
    _figures.title(axes, title)
    _figures.legend(fig, axes)
    return _figures.save(fig, path)


def bars(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  metric: str,
  *,
  split: str | None = 'test',
  by: str = 'variant',
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
  rows = _figures.select(rows, split, *names)
  kinds = list(_figures.groups(rows, by))
  crowds = [''] if group is None else list(_figures.groups(rows, group))
  mean = np.full((len(kinds), len(crowds)), np.nan)
  sd = np.zeros_like(mean)
  several = False
  for i, of_kind in enumerate(_figures.groups(rows, by).values()):
    split_up = (
      {'': of_kind} if group is None else _figures.groups(of_kind, group)
    )
    for j, crowd in enumerate(crowds):
      if crowd in split_up:
        _, values, spread, count = _figures.series(
          split_up[crowd], 'step', metric
        )
        mean[i, j], sd[i, j] = values[-1], spread[-1]
        several |= bool(count[-1] > 1)
  ticks = kinds if group is None else crowds
  # Counts are whole.
  counts = bool(np.all(np.isnan(mean) | (mean == np.round(mean))))
  counts &= np.nanmax(np.abs(mean), initial=0) > 1
  with _figures.style():
    fig = _figures.figure(max(4.8, min(11.0, 1.6 + 0.42 * mean.size)))
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
        color=_figures.COLOURS[
          0 if group is None else i % len(_figures.COLOURS)
        ],
        label=kind,
      )
      if mean.size <= 16:
        axes.bar_label(
          drawn,
          fmt=_figures.plain if counts else _figures.short,
          fontsize=8,
          padding=3,
          color='#333333',
          bbox={'facecolor': 'white', 'linewidth': 0, 'pad': 0.6},
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
      axes.set_xlabel(_figures.nice(group))
      # Bars leave no room.
      _figures.legend(fig, axes, _figures.nice(by), most=1)
    if np.nanmin(np.append(mean, 0.0)) < 0:
      axes.axhline(0.0, color='#444444', linewidth=0.8)
    if ylim is not None:
      axes.set_ylim(*ylim)
    _figures.references(axes, reference)
    axes.set_ylabel(ylabel or _figures.nice(metric))
    _figures.title(axes, title)
    return _figures.save(fig, path)


def log_log(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  metric: str,
  *,
  x: str,
  split: str | None = 'test',
  by: str = 'variant',
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
  rows = _figures.select(rows, split, metric, x)
  last = {(str(r.get(by, '')), r[x], r['seed']): r for r in rows}
  with _figures.style():
    found = _figures.groups(list(last.values()), by)
    fig = _figures.figure(6.4 if len(found) <= 6 else 7.6)
    axes = fig.add_subplot()
    axes.set_xscale('log')
    axes.set_yscale('log')
    curves = {}
    for name, group in found.items():
      xs, mean, sd, count = _figures.series(group, x, metric)
      good = (xs > 0) & (mean > 0) & np.isfinite(mean)
      curves[name] = xs[good], mean[good], sd[good], count[good]
    looks = _figures.looks([c[:2] for c in curves.values()], log_y=True)
    for look, (name, (xs, mean, sd, count)) in zip(
      looks, curves.items(), strict=True
    ):
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
    xs = sorted({float(r[x]) for r in rows if r[x] > 0})
    if len(xs) <= 8 and _figures.apart(xs):
      axes.set_xticks(xs, [_figures.plain(v) for v in xs])
      axes.set_xticks([], minor=True)
    else:
      _figures.log_ticks(axes.xaxis)
    _figures.log_ticks(axes.yaxis)
    axes.set_xlabel(xlabel or _figures.nice(x))
    axes.set_ylabel(ylabel or _figures.nice(metric))
    _figures.title(axes, title)
    _figures.legend(fig, axes)
    if len(found) == 1 and fit:
      axes.legend()
    return _figures.save(fig, path)


def aligned(rows: Sequence[Row], name: str) -> list[Row]:
  """Gives test rows of one round and variant a common abscissa.

  Args:
    rows: rows of a run.
    name: the abscissa, which differs between seeds, e.g. a simulated time.

  Returns:
    Test rows that have it, positive, each with the mean over the seeds.

  Example:
    >>> rows = [
    ...   dict(step=1, split='test', variant='a', seed=s, time=2.0 + s)
    ...   for s in (0, 1)
    ... ]
    >>> [row['time'] for row in aligned(rows, 'time')]
    [2.5, 2.5]
  """
  found: dict[Any, list[float]] = {}
  tested = [r for r in rows if r['split'] == 'test' and name in r]
  for row in tested:
    found.setdefault((row['variant'], row['step']), []).append(row[name])
  return [
    {**row, name: float(np.mean(found[row['variant'], row['step']]))}
    for row in tested
    if row[name] > 0
  ]


def paces(rows: Sequence[Row], name: str) -> list[Row]:
  """Says how much of something a round took since the last evaluation.

  Args:
    rows: rows of a run, in order.
    name: what is counted up in test rows, e.g. a simulated time.

  Returns:
    Test rows after the first of each variant and seed, with `pace`.

  Example:
    >>> rows = [
    ...   dict(step=t, split='test', variant='a', seed=0, time=2.0 * t)
    ...   for t in (0, 5)
    ... ]
    >>> [row['pace'] for row in paces(rows, 'time')]
    [2.0]
  """
  before: dict[Any, Row] = {}
  out = []
  for row in rows:
    if row['split'] != 'test' or name not in row:
      continue
    key = row['variant'], row['seed']
    old = before.get(key)
    if old is not None and row['step'] > old['step']:
      pace = (row[name] - old[name]) / (row['step'] - old['step'])
      out.append({**row, 'pace': pace})
    before[key] = row
  return out
