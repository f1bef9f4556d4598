# SPDX-License-Identifier: Apache-2.0
"""Rows about edges, filters, and the round that validation would choose."""

import functools
from collections.abc import Sequence
from typing import Any

import chex
import jax
import numpy as np

from jaxdl.core import checks, types
from jaxdl.graphs import clients as pieces_lib
from jaxdl.problems.graphs import _holdings

# Filters are told over so many intervals of eigenvalues in [0, 2].
BINS = 20

Row = dict[str, Any]


def edge_rows(problem: types.Problem, *, step: int = 0) -> list[Row]:
  """Tells which share of the edges lies between which clients.

  Args:
    problem: from `node_classification`.
    step: round to write into the rows.

  Returns:
    A row of split 'edges' for each seed and pair: `client`, `other`, `share`.

  Example:
    >>> from jaxdl import problems
    >>> problem = problems.graphs.node_classification(
    ...   'karate', 'gcn(4)', num_clients=2, partition='iid'
    ... )
    >>> round(sum(row['share'] for row in edge_rows(problem)), 4)
    1.0
  """
  _holdings.check_nodes(problem)
  return [
    {
      'step': step,
      'split': 'edges',
      'variant': 'partition',
      'seed': dealt.seed,
      'client': i,
      'other': j,
      'share': float(value),
    }
    for dealt in problem.test['dealt']
    for (i, j), value in np.ndenumerate(
      pieces_lib.edges_between(dealt.data.graph, dealt.parts)
    )
  ]


def filter_rows(
  problem: types.Problem,
  params: chex.ArrayTree,
  *,
  per_client: bool = False,
  num_bins: int = BINS,
  **label: Any,
) -> list[Row]:
  """Tells what a spectral network makes of eigenvalues, means over clients.

  Args:
    problem: from `node_classification`, of a network on spectra.
    params: leaves [S, ...], or [S, N, ...] of a model for each client.
    per_client: whether there is one for each client.
    num_bins: intervals of [0, 2] over which filters are averaged.
    **label: goes into every row.

  Returns:
    A row of split 'filter' for each seed, filter and interval with eigenvalues:
    `head`, `eigenvalue` (the middle) and `filter`; none of networks on graphs.

  Example:
    >>> from jaxdl import problems
    >>> problem = problems.graphs.node_classification(
    ...   'karate', 'gcn(4)', num_clients=2, partition='iid'
    ... )
    >>> filter_rows(problem, {})
    []
  """
  _holdings.check_nodes(problem)
  bins = checks.integer(num_bins, name='num_bins', low=1)
  if problem.test['structure'] != 'spectrum' or problem.network is None:
    return []
  apply = functools.partial(problem.network.apply, with_filters=True)
  axes = (0 if per_client else None, 0, 0)
  one = jax.vmap(apply, in_axes=axes)
  run = jax.jit(lambda *args: jax.lax.map(lambda x: one(*x), args))
  data = problem.data[0]
  _, gamma = run(params, data['spectrum'], data['inputs'])
  gamma = np.asarray(gamma)
  there = np.asarray(data['spectrum'].mask)
  values = np.asarray(data['spectrum'].eigenvalues)
  at = np.clip((values * bins / 2).astype(int), 0, bins - 1)
  return [
    {
      'split': 'filter',
      'seed': seed,
      'head': h,
      'eigenvalue': (b + 0.5) * 2 / bins,
      'filter': float(value),
      **label,
    }
    for s, seed in enumerate(problem.seeds)
    for b in np.unique(at[s][there[s]]).tolist()
    for h, value in enumerate(
      gamma[s][there[s] & (at[s] == b)].mean(axis=0).tolist()
    )
  ]


def at_best_validation(
  rows: Sequence[Row], metric: str = 'accuracy'
) -> list[Row]:
  """Picks the row of every variant and seed that validation would choose.

  Args:
    rows: of a run, in order.
    metric: what is tested.

  Returns:
    The test row with the highest `validation_accuracy`, the first of equal
    ones, with its `metric` as `chosen_<metric>` and its round as
    `chosen_step`; all else as in the last row, which is all there is where
    nothing was validated.

  Example:
    >>> row = {'split': 'test', 'variant': 'a', 'seed': 0}
    >>> rows = [
    ...   {**row, 'step': t, 'accuracy': a, 'validation_accuracy': v}
    ...   for t, a, v in ((0, 0.1, 0.2), (5, 0.7, 0.9), (9, 0.8, 0.6))
    ... ]
    >>> found = at_best_validation(rows)[0]
    >>> found['chosen_accuracy'], found['chosen_step'], found['accuracy']
    (0.7, 5, 0.8)
  """
  best: dict[tuple[str, int], Row] = {}
  last: dict[tuple[str, int], Row] = {}
  for row in rows:
    if row['split'] != 'test':
      continue
    key = (row['variant'], row['seed'])
    last[key] = row
    value = row.get('validation_accuracy', np.nan)
    if np.isnan(value):
      continue
    if key not in best or value > best[key]['validation_accuracy']:
      best[key] = row
  chosen = {
    key: {f'chosen_{metric}': row[metric], 'chosen_step': row['step']}
    for key, row in best.items()
  }
  return [row | chosen.get(key, {}) for key, row in last.items()]
