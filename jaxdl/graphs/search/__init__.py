# SPDX-License-Identifier: Apache-2.0
"""Which network for this graph? A search over layers of six choices.

An architecture is a table i32[L, C] of places in a `SearchSpace` (`SPACES` of
`make_space`): per layer a width, attention, number of heads, aggregate,
combination and activation. `Layer`s are its values in words,
`parse_architecture` and `write_architecture` their text; `random_tables` draws
some, `canonical` makes those equal that are the same network.

- `SEARCHES` of `make_search`: `agnn` changes the best in the classes of choices
  that it is undecided about, `graphnas` says whole tables, `evolution` mutates,
  `random` draws; `fixed`, `gcn` and `gat` are networks made by hand. A `Search`
  proposes and is told scores (`Proposal`); pure functions.
- Policies (`POLICIES`, `SEQUENCES`): `decision_entropy`, `choose_classes`,
  `reinforce_update`, and `sub_architecture`, what a policy reads.
- `Children`: the networks of all tables in parameters of one shape, so that one
  compiled program trains any of them: `train_child`, and `Trainer` for several
  at once. Offspring may inherit weights (`Sharing`, `homogeneous`).
- `architecture_search` is the loop, whose state can be saved; `evaluated`,
  `best_table`, `best_params` and `finalists` say what came of it.
- `landscape`, `landscape_score`, `landscape_search`: scores without training.

In Python:

    problem = problems.graphs.architectures('block_model')
    trainer = problem.trainer(num_epochs=100)
    algorithm = search.architecture_search(
      search.agnn(problem.space, problem.num_layers), trainer
    )
    state, history = experiment.train(algorithm, problem, num_rounds=50, ...)
"""

from jaxdl.graphs.search._children import SHARINGS, Children, homogeneous
from jaxdl.graphs.search._conservative import (
  GUIDERS,
  REWARDS,
  Learner,
  agnn,
  reinforce_update,
  start_learner,
)
from jaxdl.graphs.search._landscapes import (
  Landscape,
  landscape,
  landscape_score,
  landscape_search,
)
from jaxdl.graphs.search._loop import (
  architecture_search,
  best_params,
  best_table,
  evaluated,
  finalists,
)
from jaxdl.graphs.search._policies import (
  POLICIES,
  SEQUENCES,
  Policy,
  SequencePolicy,
  choose_classes,
  decision_entropy,
  recurrent,
  recurrent_sequence,
  tabular,
  tabular_sequence,
)
from jaxdl.graphs.search._protocol import Proposal, Search
from jaxdl.graphs.search._searches import (
  SEARCHES,
  evolution,
  fixed,
  gat,
  gcn,
  graphnas,
  make_search,
  random,
)
from jaxdl.graphs.search._space import (
  Choices,
  Layer,
  SearchSpace,
  canonical,
  random_tables,
  sub_architecture,
)
from jaxdl.graphs.search._spaces import (
  SPACES,
  make_space,
  parse_architecture,
  write_architecture,
)
from jaxdl.graphs.search._tasks import (
  NodeTask,
  node_loss,
  node_score,
  node_task,
)
from jaxdl.graphs.search._trainer import SHARING, Ancestor, Sharing, Trainer
from jaxdl.graphs.search._training import Trained, child_optimizer, train_child

__all__ = [
  'GUIDERS',
  'POLICIES',
  'REWARDS',
  'SEARCHES',
  'SEQUENCES',
  'SHARING',
  'SHARINGS',
  'SPACES',
  'Ancestor',
  'Children',
  'Choices',
  'Landscape',
  'Layer',
  'Learner',
  'NodeTask',
  'Policy',
  'Proposal',
  'Search',
  'SearchSpace',
  'SequencePolicy',
  'Sharing',
  'Trained',
  'Trainer',
  'agnn',
  'architecture_search',
  'best_params',
  'best_table',
  'canonical',
  'child_optimizer',
  'choose_classes',
  'decision_entropy',
  'evaluated',
  'evolution',
  'finalists',
  'fixed',
  'gat',
  'gcn',
  'graphnas',
  'homogeneous',
  'landscape',
  'landscape_score',
  'landscape_search',
  'make_search',
  'make_space',
  'node_loss',
  'node_score',
  'node_task',
  'parse_architecture',
  'random',
  'random_tables',
  'recurrent',
  'recurrent_sequence',
  'reinforce_update',
  'start_learner',
  'sub_architecture',
  'tabular',
  'tabular_sequence',
  'train_child',
  'write_architecture',
]
