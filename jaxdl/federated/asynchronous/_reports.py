# SPDX-License-Identifier: Apache-2.0
"""What is reported of runs on schedules."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.federated.asynchronous import _schedule

Rows = Sequence[Mapping[str, Any]]


def scheme_table(
  rows: Rows, schedules: Mapping[str, _schedule.Schedule], name: str
) -> tuple[list[str], list[tuple[str, ...]]]:
  """Compares schemes at the end of a run.

  Args:
    rows: rows of a run.
    schedules: by scheme.
    name: of the metric.

  Returns:
    Columns and cells; means over the seeds, and over the last fifth of the run
    with the standard deviation there. Where clients never take part, or leave
    for good, a column has their numbers.
  """
  cells = []
  told = any(own.missing or own.gone for own in schedules.values())
  for scheme, own in schedules.items():
    found = tail(rows, scheme, name)
    if len(found):
      numbers = found.mean(), found.std(axis=1).mean()
      late = _schedule.staleness(own)[own.mask].mean()
      cells.append(
        (
          scheme,
          str(own.num_aggregations),
          str(own.num_jobs),
          f'{late:.2f}',
          *(f'{x:.4g}' for x in numbers),
          *([_listed(own)] if told else []),
        )
      )
  columns = ['scheme', 'aggregations', 'jobs', 'staleness']
  columns += [f'{name} (end)', 'std over time']
  return columns + ['clients lost'] * told, cells


def _listed(schedule) -> str:
  ids = sorted({*schedule.missing, *schedule.gone})
  return ', '.join(map(str, ids)) or '-'


def tail(
  rows: Rows, scheme: str, name: str, *, share: float = 0.2
) -> np.ndarray:
  """A metric in the last part of a run.

  Args:
    rows: rows of a run.
    scheme: whose.
    name: of the metric.
    share: how large the part is.

  Returns:
    f[S, E], by seed and evaluation.
  """
  found: dict[Any, list[Any]] = {}
  for r in rows:
    if (r['split'], r['variant']) == ('test', scheme) and name in r:
      found.setdefault(r['seed'], []).append(r[name])
  values = np.array(list(found.values()))
  if not values.size:
    return values
  return values[:, -max(1, round(share * values.shape[1])) :]


def share_rows(
  schedules: Mapping[str, _schedule.Schedule], step: int
) -> list[dict[str, Any]]:
  """The shares of clients in the loss that is minimized, as rows.

  Args:
    schedules: by scheme.
    step: of the rows.

  Returns:
    Rows of split 'clients'.
  """
  return [
    {
      'step': step,
      'split': 'clients',
      'variant': scheme,
      'client': client,
      'share': float(share),
    }
    for scheme, own in schedules.items()
    for client, share in enumerate(_schedule.surrogate_importance(own))
  ]
