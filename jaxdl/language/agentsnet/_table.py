# SPDX-License-Identifier: Apache-2.0
"""Who solves what: algorithms, trained networks and baselines in one table."""

from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import networkx
import numpy as np

from jaxdl.core import checks
from jaxdl.language.agentsnet import _batch, _run_sync, _tasks


def score_rows(
  solvers: Mapping[str, Sequence[Any]],
  graphs: Sequence[networkx.Graph],
  *,
  key: chex.PRNGKey,
  num_keys: int = 60,
  rounds: int | None = None,
) -> list[dict[str, Any]]:
  """Scores solvers on networks, grouped by their number of nodes.

  Args:
    solvers: by task: parts of `ALGORITHMS`, or networks of `train_solver`.
    graphs: see `make_graph`.
    key: consumed.
    num_keys: with how many keys (ranks, coins) each graph is run.
    rounds: R of all graphs, None for `num_rounds`.

  Returns:
    A row for every task, solver and number of nodes: `score` with `error`, the
    standard error over graphs, and the share `solved` with that of its own.

  Raises:
    ValueError: if a solver does not fit its task, or there are no graphs.

  Example:
    >>> from jaxdl.language import agentsnet
    >>> graphs = [agentsnet.make_graph('ring', 5, k) for k in range(2)]
    >>> solvers = {'leader_election': ['flooding']}
    >>> row, *_ = score_rows(
    ...   solvers, graphs, key=jax.random.key(0), num_keys=3
    ... )
    >>> row['solver'], row['num_nodes'], row['score'], row['solved']
    ('flooding', 5, 1.0, 1.0)
  """
  checks.integer(num_keys, name='num_keys', low=1)
  if not graphs:
    raise ValueError('graphs is empty: need one graph or more.')
  keys = jax.random.split(key, num_keys)
  rows = []
  for n in sorted({len(graph) for graph in graphs}):
    batch = _batch.batch_graphs([g for g in graphs if len(g) == n])
    for task, some in solvers.items():
      for solver in some:
        answers = _run_sync.run_sync(
          solver, task, batch, key=keys, rounds=rounds
        )
        scores = np.asarray(_tasks.score(task, batch, answers), np.float64)
        rows.append(
          {
            'task': task,
            'solver': solver if isinstance(solver, str) else 'learned',
            'num_nodes': n,
            'rounds': _told(_tasks.rounds_of(task, batch, rounds)),
            **_moments('score', 'error', scores),
            **_moments('solved', 'solved_error', scores == 1),
          }
        )
  return rows


def _told(rounds):
  low, high = int(rounds.min()), int(rounds.max())
  return str(low) if low == high else f'{low}-{high}'


def _moments(name, error, values):
  """The mean, and its standard error over graphs."""
  per_graph = values.mean(axis=0)
  spread = per_graph.std(ddof=1) if len(per_graph) > 1 else np.nan
  return {
    name: float(per_graph.mean()),
    error: float(spread / np.sqrt(len(per_graph))),
  }
