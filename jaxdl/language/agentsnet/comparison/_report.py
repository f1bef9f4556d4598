# SPDX-License-Identifier: Apache-2.0
"""What a comparison of solvers is reported as: a table and pictures."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl import plots

Row = dict[str, Any]


def table(
  rows: Sequence[Row],
) -> tuple[list[str], list[tuple[str, ...]]]:
  """Scores of solvers by task: mean, standard error over networks, solved.

  Args:
    rows: of a `Comparison`; seeds of a network are averaged first.

  Returns:
    Columns, and a line for each solver and number of agents.

  Example:
    >>> row = {'variant': 'random', 'num_nodes': 4, 'task': 'matching'}
    >>> row |= {'split': 'test', 'family': 'ws', 'sample': 1, 'seed': 0}
    >>> table([row | {'score': 0.5, 'solved': 0.0}])[1]
    [('random', '4', '0.500, 0% solved', '0.500', '-')]
  """
  rows = [row for row in rows if row.get('split', 'test') == 'test']
  tasks = list(dict.fromkeys(row['task'] for row in rows))
  kinds = list(dict.fromkeys((r['variant'], r['num_nodes']) for r in rows))
  lines = []
  for name, n in kinds:
    own = [r for r in rows if (r['variant'], r['num_nodes']) == (name, n)]
    found = {task: _cell(own, task) for task in tasks}
    means = [mean for mean, _ in found.values() if mean is not None]
    whole = f'{np.mean(means):.3f}' if len(means) == len(tasks) else '-'
    lines.append(
      (
        *(name, str(n), *(text for _, text in found.values()), whole),
        _spent(own),
      )
    )
  return ['solver', 'agents', *tasks, 'all tasks', 'tokens'], lines


def _cell(rows, task):
  """The mean over networks, and what is written."""
  by_graph: dict[Any, list[tuple[float, float]]] = {}
  own = [row for row in rows if row['task'] == task]
  for row in own:
    if 'score' in row:
      place = (row['family'], row['sample'])
      by_graph.setdefault(place, []).append((row['score'], row['solved']))
  stopped = sum(row.get('stopped', 0) for row in own)
  tail = f', {stopped} stopped' if stopped else ''
  lost = sum(row.get('lost', 0) for row in own)
  tail += f', {lost} questions lost' if lost else ''
  if not by_graph:
    return None, '-' + tail
  values = np.array([np.mean(pairs, axis=0) for pairs in by_graph.values()])
  mean, solved = values.mean(axis=0)
  error = ''
  if len(values) > 1:
    error = f' ± {values[:, 0].std(ddof=1) / np.sqrt(len(values)):.3f}'
  return mean, f'{mean:.3f}{error}, {100 * solved:.0f}% solved{tail}'


def _spent(rows):
  if not any('tokens' in row for row in rows):
    return '-'
  total = sum(row.get('tokens', 0) for row in rows)
  scripted = any(row.get('scripted') for row in rows)
  return f'{total}{" (scripted)" if scripted else ""}'


def draw(rows: Sequence[Row], directory: pathlib.Path) -> list[pathlib.Path]:
  """Draws scores and solved shares by task and by size, and tokens.

  Args:
    rows: of a `Comparison`.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  scripted = {r['variant'] for r in rows if r.get('scripted')}
  rows = [
    r | {'variant': f'{r["variant"]} (scripted)'}
    if r['variant'] in scripted
    else r
    for r in rows
  ]
  sizes = {r['num_nodes'] for r in rows}
  names = {'score': 'Score', 'solved': 'Share of networks solved'}
  paths = []
  for metric, label in names.items():
    look = {'ylabel': label, 'ylim': (0.0, 1.02)}
    if any(metric in r for r in rows):
      path = directory / f'{metric}_by_task.png'
      means = _means(rows, metric, 'task')
      paths.append(plots.bars(means, path, metric, group='task', **look))
      if len(sizes) > 1:
        path, size = directory / f'{metric}.png', 'num_nodes'
        means = _means(rows, metric, size)
        look |= {'x': size, 'xlabel': 'Agents', 'log_x': True}
        paths.append(plots.lines(means, path, metric, **look))
  if any('tokens' in r for r in rows):
    path = directory / 'tokens.png'
    means = _means(rows, 'tokens', 'num_nodes')
    look = {'ylabel': 'Tokens of a network', 'group': 'num_nodes'}
    paths.append(plots.bars(means, path, 'tokens', **look))
  return paths


def _means(rows, metric, label):
  """Means over networks, one row for each variant, seed and label."""
  found = {}
  for r in rows:
    if metric in r:
      place = tuple(r[k] for k in ('variant', 'seed', label))
      found.setdefault(place, []).append(r[metric])
  names = ('variant', 'seed', label)
  last = {'split': 'test', 'step': 0}
  return [
    last | dict(zip(names, place, strict=True)) | {metric: np.mean(values)}
    for place, values in found.items()
  ]
