# SPDX-License-Identifier: Apache-2.0
"""Input functions, targets and predictions as curves or colours."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.experiment import _plots

Row = dict[str, Any]


def functions(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  *,
  title: str | None = None,
  max_samples: int = 3,
) -> pathlib.Path:
  """Draws sampled functions: input, target, predictions and errors.

  Curves share a panel; fields on a plane have one panel each, predictions in
  the colours of their target and errors in colours of their own.

  Args:
    rows: rows of a run; those of split 'function' have the labels kind
      ('inputs', 'targets' or 'predictions'), sample and line, and the values
      `v_0`, `v_1`, ...
    path: the picture.
    title: caption of the picture.
    max_samples: functions drawn at most.

  Returns:
    The path written.

  Raises:
    ValueError: if no row holds functions.
  """
  found = [row for row in rows if row['split'] == 'function']
  if not found:
    raise ValueError("no row has split 'function': there is nothing to draw.")
  last = max(row['step'] for row in found)
  found = [row for row in found if row['step'] == last]
  fields: dict[tuple[str, str, int], list[Row]] = {}
  for row in found:
    place = (row['kind'], row['rule'], row['sample'])
    fields.setdefault(place, []).append(row)
  arrays = {place: _array(lines) for place, lines in fields.items()}
  samples = sorted({sample for *_, sample in arrays})[:max_samples]
  rules = list(dict.fromkeys(r for kind, r, _ in arrays if kind[0] == 'p'))
  flat = all(
    array.shape[0] == 1
    for (kind, *_), array in arrays.items()
    if kind != 'inputs'
  )
  draw = _curves if flat else _fields
  with _plots.style():
    fig = draw(arrays, samples, rules)
    if title:
      fig.suptitle(title)
    return _plots.save(fig, path)


def _array(lines: list[Row]) -> np.ndarray:
  lines = sorted(lines, key=lambda row: row['line'])
  width = sum(name.startswith('v_') for name in lines[0])
  return np.array(
    [[float(row[f'v_{j}']) for j in range(width)] for row in lines]
  )


def _only(arrays, kind, rule, sample):
  """The rule's own array, or the one that it shares with those before."""
  if (kind, rule, sample) in arrays:
    return arrays[kind, rule, sample]
  shared = [a for (k, _, s), a in arrays.items() if (k, s) == (kind, sample)]
  return shared[0]


def _curves(arrays, samples, rules):
  fig = _plots.figure(2.2 + 2.9 * len(samples), 4.6)
  panels = fig.subplots(2, len(samples), squeeze=False)
  for column, sample in enumerate(samples):
    top, bottom = panels[:, column]
    inputs = _only(arrays, 'inputs', rules[0], sample)
    for line in inputs[:4]:
      top.plot(np.linspace(0, 1, len(line)), line, color='#444444')
    target = _only(arrays, 'targets', rules[0], sample)[0]
    where = np.linspace(0, 1, len(target))
    bottom.plot(where, target, color='#BBBBBB', linewidth=4, label='target')
    for n, rule in enumerate(rules):
      values = _only(arrays, 'predictions', rule, sample)[0]
      look = _plots.look(n) | {'marker': ''}
      bottom.plot(np.linspace(0, 1, len(values)), values, label=rule, **look)
    top.set_title(f'test function {sample + 1}')
    bottom.set_xlabel('Place on the axis, from end to end')
  panels[0, 0].set_ylabel('Input')
  panels[1, 0].set_ylabel('Output')
  _plots.legend(fig, panels[1, 0])
  return fig


def _fields(arrays, samples, rules):
  names = ['input', 'target']
  for rule in rules:
    names += [rule, f'error of {rule}']
  height = 1.9 * len(samples)
  fig = _plots.figure(min(2.15 * len(names), 16.0), 0.6 + height)
  panels = fig.subplots(len(samples), len(names), squeeze=False)
  for line, sample in enumerate(samples):
    target = _only(arrays, 'targets', rules[0], sample)
    low, high = float(np.nanmin(target)), float(np.nanmax(target))
    shown = [
      (_only(arrays, 'inputs', rules[0], sample), None, None),
      (target, low, high),
    ]
    errors = []
    for rule in rules:
      values = _only(arrays, 'predictions', rule, sample)
      own = _only(arrays, 'targets', rule, sample)
      errors.append(values - own if values.shape == own.shape else values)
      shown += [(values, low, high), (errors[-1], None, None)]
    for column, (values, least, most) in enumerate(shown):
      axes = panels[line, column]
      error = column > 2 and column % 2
      if values.shape[0] == 1:
        axes.plot(np.linspace(0, 1, values.shape[1]), values[0], color='#444')
        axes.set_box_aspect(1)
      else:
        if error:
          most = max(float(np.nanmax(np.abs(e))) for e in errors) or 1.0
          least = -most
        image = axes.imshow(
          values,
          cmap='RdBu_r' if error else 'viridis',
          vmin=least,
          vmax=most,
          origin='lower',
          aspect='auto',
        )
        axes.set_box_aspect(1)
        bar = fig.colorbar(image, ax=axes, shrink=0.8, pad=0.03)
        bar.ax.tick_params(labelsize=6)
      axes.grid(visible=False)
      axes.set_xticks([])
      axes.set_yticks([])
      if not line:
        axes.set_title(names[column], fontsize=9)
  return fig
