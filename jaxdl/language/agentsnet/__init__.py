# SPDX-License-Identifier: Apache-2.0
"""Networks of agents who talk to neighbors only, and five tasks for them.

- `make_graph` makes a network by family ('ws', 'ba', 'dt') or by any topology
  of `mixing`; `benchmark_graphs` those of the benchmark; `named` takes a graph
  of one's own; `read_graphs` and `write_graphs` keep them as JSON.
- `TASKS`: what nodes may answer (`options`), as integers (`encode`, `decode`),
  for how many rounds they talk (`num_rounds`), and `score`.
- `ALGORITHMS`: classical algorithms as functions of one node; `run_sync` runs
  one on a `GraphBatch` of many graphs and keys, as one program. A `Speaker`
  runs one node of it, for conversations (`start_speaker`, `say`, `hear`,
  `final`).

Example:
  >>> graphs = [make_graph('ws', 8, seed) for seed in graph_seeds()]
  >>> batch = batch_graphs(graphs)
  >>> answers = run_sync('flooding', 'consensus', batch, key=jax.random.key(0))
  >>> score('consensus', batch, answers).tolist()
  [1.0, 1.0, 1.0]
"""

from jaxdl.language.agentsnet._algorithms import ALGORITHMS, algorithms_for
from jaxdl.language.agentsnet._batch import GraphBatch, batch_graphs, diameter
from jaxdl.language.agentsnet._files import (
  from_node_link,
  read_graphs,
  to_node_link,
  write_graphs,
)
from jaxdl.language.agentsnet._graphs import (
  FAMILIES,
  OFFICIAL_FAMILIES,
  SIZES,
  benchmark_graphs,
  check_family,
  check_graph,
  graph_seeds,
  make_graph,
  max_degree,
  named,
  names_of,
  neighbors_of,
)
from jaxdl.language.agentsnet._names import NAMES, draw_names, node_number
from jaxdl.language.agentsnet._node import Facts, NodeAlgorithm
from jaxdl.language.agentsnet._run_sync import run_sync
from jaxdl.language.agentsnet._scores import (
  INVALID,
  score_coloring,
  score_consensus,
  score_leader,
  score_matching,
  score_vertex_cover,
)
from jaxdl.language.agentsnet._speaker import (
  Speaker,
  final,
  hear,
  say,
  start_speaker,
)
from jaxdl.language.agentsnet._tasks import (
  TASKS,
  Task,
  decode,
  encode,
  means,
  num_rounds,
  options,
  rounds_of,
  score,
)

__all__ = [
  'ALGORITHMS',
  'FAMILIES',
  'Facts',
  'GraphBatch',
  'INVALID',
  'NAMES',
  'NodeAlgorithm',
  'OFFICIAL_FAMILIES',
  'SIZES',
  'Speaker',
  'TASKS',
  'Task',
  'algorithms_for',
  'batch_graphs',
  'benchmark_graphs',
  'check_family',
  'check_graph',
  'decode',
  'diameter',
  'draw_names',
  'encode',
  'final',
  'from_node_link',
  'graph_seeds',
  'hear',
  'make_graph',
  'max_degree',
  'means',
  'named',
  'names_of',
  'neighbors_of',
  'node_number',
  'num_rounds',
  'options',
  'read_graphs',
  'rounds_of',
  'run_sync',
  'say',
  'score',
  'score_coloring',
  'score_consensus',
  'score_leader',
  'score_matching',
  'score_vertex_cover',
  'start_speaker',
  'to_node_link',
  'write_graphs',
]
