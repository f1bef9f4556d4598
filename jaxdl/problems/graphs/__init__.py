# SPDX-License-Identifier: Apache-2.0
"""Nodes of a graph, split over clients that learn to tell their classes.

`node_classification` deals nodes: a client holds the graph among its nodes, its
whole graph is one batch, and its eigenpairs are found once. Any algorithm of
`federated` or `decentralized` learns on it:

    problem = problems.graphs.node_classification(
      'block_model(heterophilic=True)', 'gnodeformer', num_clients=3
    )
    algorithm = federated.make_algorithm(
      'fedavg', problem.task, 3, work=local.LocalWork('sgd(0.03)', num_steps=3)
    )
    state, history = experiment.train(
      algorithm, problem, num_rounds=100, key=jax.random.key(0)
    )

- `for_learner` gives the same nodes to another network, on pieces that are
  completed in another way or not at all (`graphs.clients`).
- `GraphsConfig`, `GraphRunsConfig`: knobs of data, and of algorithms with a
  server or without one (`VARIANTS`), which make `Learning`.
- `architectures`: networks of a graph to be searched, or made-up scores.
- `edge_rows`, `filter_rows`, `at_best_validation`: rows for pictures and
  tables.
"""

from jaxdl.problems.graphs._architectures import (
  ARCHITECTURES,
  Architectures,
  architectures,
)
from jaxdl.problems.graphs._holdings import PARTITION, Dealt
from jaxdl.problems.graphs._nodes import (
  GraphsConfig,
  for_learner,
  node_classification,
)
from jaxdl.problems.graphs._rows import (
  at_best_validation,
  edge_rows,
  filter_rows,
)
from jaxdl.problems.graphs._runs import VARIANTS, GraphRunsConfig, Learning

__all__ = [
  'ARCHITECTURES',
  'PARTITION',
  'VARIANTS',
  'Architectures',
  'Dealt',
  'GraphRunsConfig',
  'GraphsConfig',
  'Learning',
  'architectures',
  'at_best_validation',
  'edge_rows',
  'filter_rows',
  'for_learner',
  'node_classification',
]
