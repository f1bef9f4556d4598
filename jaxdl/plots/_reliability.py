# SPDX-License-Identifier: Apache-2.0
"""Accuracy against confidence: whom may be believed."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.plots import _figures

Row = dict[str, Any]


def reliability(
  rows: Sequence[Row],
  path: str | os.PathLike[str],
  *,
  split: str = 'reliability',
  by: str = 'variant',
  title: str | None = None,
) -> pathlib.Path:
  """Draws a reliability diagram, and how often each confidence occurs.

  Below the diagonal predictions are too sure, above it not sure enough. Seeds
  are pooled; the area of a marker is the share of the predictions.

  Args:
    rows: rows of a run. Those of `split` have `bin`, `confidence`, `accuracy`
      and `share`, one for each bin, seed and label; only the last step is
      drawn.
    path: the picture.
    split: rows to take.
    by: the label that tells curves apart.
    title: caption of the picture.

  Returns:
    The path written.

  Raises:
    ValueError: if there are no such rows.
  """
  names = ('bin', 'confidence', 'accuracy', 'share')
  chosen = _figures.select(rows, split, *names)
  last = max(row['step'] for row in chosen)
  groups = _figures.groups([r for r in chosen if r['step'] == last], by)
  with _figures.style():
    fig = _figures.figure(6.4, 5.6)
    top, below = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot(
      [0, 1],
      [0, 1],
      color=_figures.MUTED,
      lw=1,
      ls=(0, (4, 3)),
      label='calibrated',
    )
    pooled = {name: _pooled(group) for name, group in groups.items()}
    looks = _figures.looks([(x[1], x[2]) for x in pooled.values()])
    for look, (name, found) in zip(looks, pooled.items(), strict=True):
      share, confidence, accuracy = found
      top.plot(confidence, accuracy, label=name, **look | {'marker': ''})
      top.scatter(
        confidence,
        accuracy,
        s=8 + 250 * share,
        color=look['color'],
        alpha=0.55,
        linewidths=0,
      )
      below.plot(confidence, share, **look)
    top.set_ylabel('Accuracy')
    top.set_xlim(0, 1)
    top.set_ylim(-0.02, 1.02)
    below.set_ylabel('Share of\npredictions')
    below.set_ylim(bottom=0)
    below.set_xlabel('Confidence: largest probability')
    _figures.title(top, title)
    _figures.legend(fig, top)
    return _figures.save(fig, path)


def _pooled(group):
  """Bins in order: share, mean confidence and accuracy over the seeds."""
  seeds = len({row['seed'] for row in group})
  found = []
  for number in sorted({row['bin'] for row in group}):
    inside = [row for row in group if row['bin'] == number]
    weights = np.array([row['share'] for row in inside], float)
    if weights.sum() > 0:
      mean = lambda name, rows=inside, w=weights: np.average(
        [row[name] for row in rows], weights=w
      )
      found.append(
        (weights.sum() / seeds, mean('confidence'), mean('accuracy'))
      )
  return np.array(found, float).T
