# SPDX-License-Identifier: Apache-2.0
"""How well clusters match those that the data came from."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.core import checks, extras
from jaxdl.federated.clusters import _training

SCORES = ('ari', 'ami', 'completeness')


def clustering_scores(labels: Any, truth: Any) -> dict[str, float]:
  """Compares two partitions of the clients.

  Args:
    labels: i[N], what was found.
    truth: i[N], what is true.

  Returns:
    `ari`, adjusted Rand index, and `ami`, adjusted mutual information: 1 for
    equal partitions, 0 on average for random ones; `completeness`: 1 if no true
    cluster is cut, which one cluster of all is as well.

  Raises:
    ValueError: if lengths differ.

  Example:
    >>> clustering_scores([0, 0, 1], [5, 5, 2])['ari']
    1.0
  """
  labels, truth = np.asarray(labels), np.asarray(truth)
  if labels.shape != truth.shape or labels.ndim != 1:
    raise ValueError(
      f'labels and truth must have one entry per client; got shapes '
      f'{labels.shape} and {truth.shape}.'
    )
  metrics = extras.require('sklearn.metrics', 'clustering_scores')
  return {
    'ari': float(metrics.adjusted_rand_score(truth, labels)),
    'ami': float(metrics.adjusted_mutual_info_score(truth, labels)),
    'completeness': float(metrics.completeness_score(truth, labels)),
  }


def mean_scores(
  history: Sequence[tuple[int, np.ndarray]], truth: Any, num_rounds: int
) -> dict[str, float]:
  """Means of `clustering_scores` over rounds, as the paper reports them.

  Args:
    history: see `label_history`.
    truth: i[N].
    num_rounds: R, rounds done.

  Returns:
    The means; zeros before the first round.

  Example:
    >>> found = [(0, np.zeros(4, int)), (2, np.array([0, 0, 1, 1]))]
    >>> mean_scores(found, [3, 3, 7, 7], 50)['ari']
    0.96

  Source: Zuziak et al. 2025 (https://arxiv.org/abs/2509.01587).
  """
  checks.integer(num_rounds, name='num_rounds', low=0)
  total = dict.fromkeys(SCORES, 0.0)
  ends = [round for round, _ in history[1:]] + [num_rounds]
  for (begin, labels), end in zip(history, ends, strict=True):
    if end > begin:
      for name, value in clustering_scores(labels, truth).items():
        total[name] += (end - begin) * value
  return {name: x / max(num_rounds, 1) for name, x in total.items()}


def blueprint_rows(
  tests: dict[str, Any], seeds: Sequence[int]
) -> list[dict[str, Any]]:
  """Rows that say who holds what, a row per client and seed.

  Args:
    tests: `test` of a problem of `problems.clustered`.
    seeds: S seeds.

  Returns:
    Rows of split 'blueprint' with `client`, its true `group` and its training
    examples by class, `class_0`, ...
  """
  return [
    {
      'step': 0,
      'split': 'blueprint',
      'variant': '',
      'seed': seed,
      'client': client,
      'group': int(group),
      **{f'class_{c}': int(x) for c, x in enumerate(counts)},
    }
    for seed, table in zip(seeds, tests['blueprint'], strict=True)
    for client, (group, counts) in enumerate(
      zip(tests['groups'], table, strict=True)
    )
  ]


def history_rows(state: Any) -> list[dict[str, Any]]:
  """Rows that say who was in which cluster since when.

  Args:
    state: a `ClusteredState`.

  Returns:
    Rows of split 'labels' with `since`, a round t from 0, and a cluster for
    each client, `client_0`, ...
  """
  return [
    {
      'split': 'labels',
      'since': round,
      **{f'client_{i}': int(k) for i, k in enumerate(labels)},
    }
    for round, labels in _training.label_history(state)
  ]
