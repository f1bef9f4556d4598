# SPDX-License-Identifier: Apache-2.0
"""Input functions, targets and predictions as curves or colors."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.plots import _figures

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
  the colors of their target and errors in colors of their own.

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
    place = (row['kind'], row['variant'], row['sample'])
    fields.setdefault(place, []).append(row)
  arrays = {place: _array(lines) for place, lines in fields.items()}
  samples = sorted({sample for *_, sample in arrays})[:max_samples]
  variants = list(dict.fromkeys(r for kind, r, _ in arrays if kind[0] == 'p'))
  flat = all(
    array.shape[0] == 1
    for (kind, *_), array in arrays.items()
    if kind != 'inputs'
  )
  draw = _curves if flat else _fields
  with _figures.style():
    fig = draw(arrays, samples, variants)
    if title:
      fig.suptitle(title, x=0.01, ha='left', fontweight='bold', fontsize=11)
    return _figures.save(fig, path)


def _array(lines: list[Row]) -> np.ndarray:
  lines = sorted(lines, key=lambda row: row['line'])
  width = sum(name.startswith('v_') for name in lines[0])
  return np.array(
    [[float(row[f'v_{j}']) for j in range(width)] for row in lines]
  )


def _only(arrays, kind, variant, sample):
  """The variant's own array, or the one that it shares with those before."""
  if (kind, variant, sample) in arrays:
    return arrays[kind, variant, sample]
  shared = [a for (k, _, s), a in arrays.items() if (k, s) == (kind, sample)]
  return shared[0]


def _curves(arrays, samples, variants):
  fig = _figures.figure(2.2 + 2.9 * len(samples), 4.6)
  panels = fig.subplots(2, len(samples), squeeze=False)
  looks = _figures.looks(
    [_joined(arrays, samples, variant) for variant in variants]
  )
  for column, sample in enumerate(samples):
    top, bottom = panels[:, column]
    inputs = _only(arrays, 'inputs', variants[0], sample)
    for line in inputs[:4]:
      top.plot(np.linspace(0, 1, len(line)), line, color='#444444')
    target = _only(arrays, 'targets', variants[0], sample)[0]
    where = np.linspace(0, 1, len(target))
    bottom.plot(where, target, color='#BBBBBB', linewidth=4, label='target')
    for look, variant in zip(looks, variants, strict=True):
      values = _only(arrays, 'predictions', variant, sample)[0]
      look = look | {'marker': ''}
      bottom.plot(np.linspace(0, 1, len(values)), values, label=variant, **look)
    top.set_title(f'test function {sample + 1}')
    bottom.set_xlabel('Place on the axis, from end to end')
  panels[0, 0].set_ylabel('Input')
  panels[1, 0].set_ylabel('Output')
  handles, labels = panels[1, 0].get_legend_handles_labels()
  fig.legend(
    handles, labels, loc='outside lower center', ncols=min(4, len(labels))
  )
  return fig


def _joined(arrays, samples, variant):
  """All predictions of a variant side by side, in units of their targets."""
  xs, ys = [], []
  for place, sample in enumerate(samples):
    values = _only(arrays, 'predictions', variant, sample)[0]
    target = _only(arrays, 'targets', variant, sample)[0]
    xs.append(2 * place + np.linspace(0, 1, len(values)))
    ys.append((values - target.min()) / (np.ptp(target) or 1.0))
  return np.concatenate(xs), np.concatenate(ys)


def _fields(arrays, samples, variants):
  """Two lines per sample: predictions, and below them their errors."""
  samples = samples[: 2 if len(variants) > 2 else 3]
  shape = (2 * len(samples), 1 + len(variants))
  fig = _figures.figure(1.5 + 1.7 * shape[1], 0.5 + 1.65 * shape[0])
  panels = fig.subplots(*shape, squeeze=False)
  for number, sample in enumerate(samples):
    top, bottom = panels[2 * number], panels[2 * number + 1]
    target = _only(arrays, 'targets', variants[0], sample)
    seen = target[np.isfinite(target)]
    ends = (seen.min(), seen.max()) if seen.size else (0.0, 1.0)
    scale = dict(zip(('vmin', 'vmax'), ends, strict=True))
    _panel(top[0], _only(arrays, 'inputs', variants[0], sample), cmap='cividis')
    image = _panel(bottom[0], target, cmap='viridis', **scale)
    errors = []
    for axes, variant in zip(top[1:], variants, strict=True):
      values = _only(arrays, 'predictions', variant, sample)
      _panel(axes, values, cmap='viridis', **scale)
      errors.append(values - _only(arrays, 'targets', variant, sample))
    # The second largest, so that one bad model does not hide the others; one
    # that diverged has none.
    sizes = [np.abs(e[np.isfinite(e)]) for e in errors]
    worst = sorted(float(size.max()) for size in sizes if size.size)
    most = worst[max(len(worst) - 2, 0)] if worst else 0.0
    most = most or 1.0
    shade = None
    for axes, error in zip(bottom[1:], errors, strict=True):
      shade = _panel(axes, error, cmap='RdBu_r', vmin=-most, vmax=most)
    for axes, drawn in ((top[-1], image), (bottom[-1], shade)):
      if drawn is not None:
        bar = fig.colorbar(drawn, ax=axes, shrink=0.9, pad=0.04)
        bar.ax.tick_params(labelsize=7)
    top[0].set_ylabel(f'{sample + 1}: input', fontsize=9)
    bottom[0].set_ylabel('target', fontsize=9)
    if variants:
      top[1].set_ylabel('prediction', fontsize=9)
      bottom[1].set_ylabel('error', fontsize=9)
  for axes, variant in zip(panels[0, 1:], variants, strict=True):
    axes.set_title(variant, fontsize=9)
  return fig


def _panel(axes, values, **look):
  axes.grid(visible=False)
  axes.set_xticks([])
  axes.set_yticks([])
  axes.set_box_aspect(1)
  if values.shape[0] == 1:
    axes.plot(np.linspace(0, 1, values.shape[1]), values[0], color='#444444')
    return None
  return axes.imshow(values, origin='lower', aspect='auto', **look)
