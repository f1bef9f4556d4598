# SPDX-License-Identifier: Apache-2.0
"""Links of a graph to be told from pairs that are none.

`load_links` splits the links of a graph, for each seed in another way; the
`Links` that it gives make problems:

    data = problems.links.load_links('geometric', seeds=(0, 1))
    problem = data.problem('ncn', 'mpnn(32)')
    algorithm = graphs.links.over_batches(
      federated.centralized_sgd(problem.task, optimizer=optax.adam(0.005))
    )
    state, history = experiment.train(
      algorithm, problem, num_rounds=40, key=jax.random.key(0)
    )

- `Links.problem` is one learner of all known links, `Links.clients` learners
  who are parts of the graph (`PARTS`): its `communities` or its `nodes`.
- `over_graph` lets these train by gossip over the links between them, or
  `alone` (`TRAININGS`).
"""

from jaxdl.problems.links._learners import (
  PARTS,
  TRAININGS,
  alone,
  communities,
  nodes,
  over_graph,
)
from jaxdl.problems.links._links import Links
from jaxdl.problems.links._load import load_links

__all__ = [
  'PARTS',
  'TRAININGS',
  'Links',
  'alone',
  'communities',
  'load_links',
  'nodes',
  'over_graph',
]
