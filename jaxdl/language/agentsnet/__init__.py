# SPDX-License-Identifier: Apache-2.0
"""Networks of agents who talk to neighbors only, and five tasks for them.

- `make_graph` makes a network by family ('ws', 'ba', 'dt') or by any topology
  of `mixing`; `benchmark_graphs` those of the benchmark; `named` takes a graph
  of one's own; `read_graphs` and `write_graphs` keep them as JSON.
- `TASKS`: what nodes may answer (`options`), as integers (`encode`, `decode`),
  for how many rounds they talk (`num_rounds`), and `score`.
- `run_instance` lets agents talk and answer: a maker puts one on each node,
  `llm_agents` language models (over a `language.Client`), `algorithm_agents`
  algorithms. It leaves an `Outcome`, `transcript_of` makes a file of it, and
  `conversation` prints what two have sent each other. `parse_messages` and
  `parse_answer` read replies.
- `comparison`, a sub-package: solvers side by side.
- `ALGORITHMS`: classical algorithms as functions of one node; `run_sync` runs
  one on a `GraphBatch` of many graphs and keys, as one program. A `Speaker`
  runs one node of it, for conversations (`start_speaker`, `say`, `hear`,
  `final`).
- `train_solver` trains a network that agents run together, on
  `training_graphs`; `run_sync` takes it as well. `score_rows` puts algorithms,
  networks and baselines beside each other.

Example:
  >>> import jax
  >>> graphs = [make_graph('ws', 8, seed) for seed in graph_seeds()]
  >>> batch = batch_graphs(graphs)
  >>> answers = run_sync('flooding', 'consensus', batch, key=jax.random.key(0))
  >>> score('consensus', batch, answers).tolist()
  [1.0, 1.0, 1.0]
"""

from jaxdl.language.agentsnet._agents import algorithm_agents, llm_agents
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
from jaxdl.language.agentsnet._learned import (
  Solver,
  run_solver,
  train_solver,
  training_graphs,
)
from jaxdl.language.agentsnet._names import NAMES, draw_names, node_number
from jaxdl.language.agentsnet._node import Facts, NodeAlgorithm
from jaxdl.language.agentsnet._parsing import parse_answer, parse_messages
from jaxdl.language.agentsnet._run import (
  Outcome,
  conversation,
  run_instance,
  run_instances,
  score_answers,
  transcript_of,
)
from jaxdl.language.agentsnet._run_sync import run_sync
from jaxdl.language.agentsnet._scores import INVALID
from jaxdl.language.agentsnet._speaker import (
  Speaker,
  final,
  hear,
  say,
  start_speaker,
)
from jaxdl.language.agentsnet._table import score_rows
from jaxdl.language.agentsnet._tasks import (
  MOST_ROUNDS,
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
  'MOST_ROUNDS',
  'NAMES',
  'NodeAlgorithm',
  'Outcome',
  'OFFICIAL_FAMILIES',
  'SIZES',
  'Solver',
  'Speaker',
  'TASKS',
  'Task',
  'algorithm_agents',
  'algorithms_for',
  'batch_graphs',
  'benchmark_graphs',
  'check_family',
  'check_graph',
  'conversation',
  'decode',
  'diameter',
  'draw_names',
  'encode',
  'final',
  'from_node_link',
  'graph_seeds',
  'hear',
  'llm_agents',
  'make_graph',
  'max_degree',
  'means',
  'named',
  'names_of',
  'neighbors_of',
  'node_number',
  'num_rounds',
  'options',
  'parse_answer',
  'parse_messages',
  'read_graphs',
  'rounds_of',
  'run_instance',
  'run_instances',
  'run_solver',
  'run_sync',
  'say',
  'score',
  'score_answers',
  'score_rows',
  'start_speaker',
  'to_node_link',
  'transcript_of',
  'train_solver',
  'training_graphs',
  'write_graphs',
]
