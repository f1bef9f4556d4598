# SPDX-License-Identifier: Apache-2.0
"""Rows of runs: what networks show, and theory beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.theory.associative import _protocols, _runs

Row = dict[str, Any]

# Lines that the table at the end can hold.
_MOST_LINES = 40


def report(
  run: _runs.Retrieval,
  state: Any,
  *,
  protocol: str,
  seeds: Sequence[int],
  step: int,
  last: bool = False,
) -> list[Row]:
  """Says what networks show after a sweep.

  Args:
    run: the networks; its keys are those of the seeds, samples of each in a
      row.
    state: theirs.
    protocol: a part of `PROTOCOLS`, the `variant` of the rows.
    seeds: S.
    step: sweeps done.
    last: whether to add what theory says.

  Returns:
    Rows of split 'test', one for each setting and seed, with the numbers of the
    setting, overlaps `m_1`, ..., `m_K` averaged over time and `now_1`, ... of
    this moment, `num_retrieved` (the number of patterns that share the squares
    of overlaps, without those of a random state), `energy` and `loss`, all
    means over samples; and of split 'theory', one for each setting, with `m_1`,
    ..., and `num_retrieved`.

  Example:
    >>> import jax
    >>> run = _runs.retrieval(
    ...   'storing', [_protocols.Setting(1, 0.0, 0.1)],
    ...   jax.random.split(jax.random.key(0), 2), num_neurons=100,
    ... )
    >>> row, = report(run, run.init(), protocol='storing', seeds=(0,), step=0)
    >>> row['split'], row['m_1'], row['energy']
    ('test', 1.0, -0.5)
  """
  out = []
  seen = run.observe(state)
  for place, (setting, values) in enumerate(
    zip(run.settings, seen, strict=True)
  ):
    label = {'step': step, 'variant': protocol, 'point': str(place)}
    for i, seed in enumerate(seeds):
      row = label | {'split': 'test', 'seed': seed}
      for name, x in values.items():
        row |= _columns(name, x.reshape(len(seeds), -1, *x.shape[1:])[i])
      out.append(row | setting._asdict())
    known = _protocols.theory(protocol, setting) if last else None
    if known is not None:
      row = label | {'split': 'theory', 'seed': seeds[0]}
      row |= _columns('mean', known[None])
      # What is left of zero are rounding and the last iteration.
      found = known[known > 1e-6]
      squares = float(np.sum(found**2)) or 1.0
      row['num_retrieved'] = float(np.sum(found)) ** 2 / squares
      out.append(row | setting._asdict())
  return out


def _columns(name, values):
  """Means over samples under a name, one for each pattern under m_1, ...."""
  mean = np.asarray(values, np.float64).mean(axis=0)
  short = {'overlaps': 'now', 'mean': 'm'}.get(name)
  if short is None:
    return {name: float(mean)}
  return {f'{short}_{k + 1}': float(v) for k, v in enumerate(mean)}


def levels(rows: Sequence[Row], *, now: bool = False) -> list[Row]:
  """Turns rows with a column for each pattern into a row for each pattern.

  Args:
    rows: rows of a run.
    now: whether to take overlaps of the moment, not those averaged.

  Returns:
    Rows of split 'level' with `level`, counted from 1, `name` ('m_1' or
    'm_1, theory') and `overlap`, and what they had; the variant of theory is
    'storing, theory'.

  Example:
    >>> row = {'split': 'theory', 'variant': 'storing', 'num_patterns': 2}
    >>> [
    ...   (r['variant'], r['name'], r['overlap'])
    ...   for r in levels([row | {'m_1': 0.5, 'm_2': 0.25}])
    ... ]
    [('storing, theory', 'm_1, theory', 0.5),
     ('storing, theory', 'm_2, theory', 0.25)]
  """
  out = []
  for row in rows:
    told = ', theory' if row['split'] == 'theory' else ''
    for k in range(1, row['num_patterns'] + 1):
      value = row.get(f'{"now" if now else "m"}_{k}')
      if value is None:
        continue
      own = {'split': 'level', 'level': k, 'overlap': value}
      own |= {'name': f'm_{k}{told}', 'variant': f'{row["variant"]}{told}'}
      out.append(row | own)
  return out


def portrait(
  rows: Sequence[Row], metric: str, columns: Sequence[str], split: str
) -> tuple[np.ndarray, list[Any], list[Any]]:
  """Arranges what two sweeps found as a matrix.

  Args:
    rows: rows of a run at one moment, of one variant.
    metric: a name in them.
    columns: two names in them, of rows and columns of the matrix.
    split: which rows.

  Returns:
    Means over seeds, f[A, B] with NaN where nothing is known, and the values of
    both.

  Example:
    >>> rows = [{'split': 'test', 'd': d, 't': 1, 'x': d} for d in (0.1, 0.2)]
    >>> portrait(rows, 'x', ('d', 't'), 'test')
    (array([[0.1],
           [0.2]]), [0.1, 0.2], [1])
  """
  values = [list(dict.fromkeys(r[c] for r in rows)) for c in columns]
  found = np.full([len(v) for v in values], np.nan)
  for place in np.ndindex(*found.shape):
    where = [v[i] for v, i in zip(values, place, strict=True)]
    own = [
      r[metric]
      for r in rows
      if r['split'] == split and [r[c] for c in columns] == where
    ]
    if own:
      found[place] = np.mean(own)
  return found, values[0], values[1]


def table(rows: Sequence[Row]) -> tuple[list[str], list[tuple[str, ...]]]:
  """Overlaps at the end beside the theory, for the terminal.

  Args:
    rows: rows of a run.

  Returns:
    Columns, and cells of up to 40 settings; means over the seeds.

  Example:
    >>> row = {'step': 3, 'split': 'test', 'variant': 'storing', 'point': 0}
    >>> row |= {'num_patterns': 1, 'dilution': 0.5, 'temperature': 0.1}
    >>> row |= {'quality': 1.0, 'num_examples': 1}
    >>> table([row | {'m_1': 0.5, 'energy': -0.25}])[1]
    [('storing', '0.5', '0.1', '-', '0.500', '-', '-0.2500')]
  """
  last = max(r['step'] for r in rows)
  ended: dict[Any, list[Row]] = {}
  for r in rows:
    if r['step'] == last:
      ended.setdefault((r['variant'], r['point']), []).append(r)
  cells = []
  for (variant, _), group in list(ended.items())[:_MOST_LINES]:
    first = group[0]

    def said(split, group=group, first=first):
      own = [r for r in group if r['split'] == split]
      means = [
        f'{np.mean([r[f"m_{k + 1}"] for r in own]):.3f}'
        for k in range(first['num_patterns'])
        if own
      ]
      return ' '.join(means) or '-'

    data = f'{first["quality"]:g}, {first["num_examples"]}'
    energy = np.mean([r['energy'] for r in group if r['split'] == 'test'])
    cells.append(
      (
        *(variant, f'{first["dilution"]:g}', f'{first["temperature"]:g}'),
        data if first['quality'] < 1 else '-',
        *(said('test'), said('theory'), f'{energy:.4f}'),
      )
    )
  columns = ['protocol', 'd', 'T', 'r, M', f'overlaps after {last}', 'theory']
  return [*columns, 'energy / N'], cells
