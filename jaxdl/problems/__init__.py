# SPDX-License-Identifier: Apache-2.0
"""What is learned, by whom, and how it is measured.

One builder per kind of problem, callable with keywords; all make a
`core.types.Problem`, which any algorithm takes in `experiment.compare` or, in a
notebook, in `experiment.train`:

    problem = problems.classification('digits', num_clients=10)
    algorithm = federated.robust_sgd(problem.task, 'nnm+krum', 10, ...)
    state, history = experiment.train(algorithm, problem, num_rounds=100, ...)

- `amortized`: families of problems with a parameter that a hypernetwork sees.
- `classification`: labeled examples dealt to clients by any partition;
  `for_network` gives them to another network, `reliability_rows` tells how
  far their confidences are to be trusted.
- `clients`: labeled examples that clients hold, some of whom are drawn for a
  round; natural clients, tests of their own.
- `episodes`: an embedding learned from few-shot episodes of clients' classes;
  `reconnaissance` sends clients on missions among new ones, with it.
- `clustered`: groups of clients with like data, each client with its own tests.
- `combinatorial`: instances of a combinatorial problem, clients may hold other
  distributions than others.
- `detection`, a module to be imported by itself: images, and the boxes of what
  phrases name, `detection.scenes`.
- `cooperation` (a module to import): agents who see a place in bits and tell
  each other.
- `detection`: images, and the boxes of what phrases name, `detection.scenes`;
  detectors that are pre-trained and tuned.
- `distillation`: labeled examples, some labels wrong, for networks that learn
  from each other (`Peers`).
- `expert_layers`: digits by rows for a small transformer whose layers become
  experts, and experts for the clients of other problems.
- `functions`: maps between functions, solved or read; `Functions.problem` gives
  them to a network. Flows are learned as `time_steps`. `function_runs` and
  `sweeps` have what binaries of them share.
- `games`: games that agents learn, and play with each other.
- `graphs`: nodes of a graph that clients split, `node_classification`, and
  `architectures` that are searched for one.
- `links`: links of a graph, told from pairs that are none by one learner or by
  the nodes themselves, `links.load_links`.
- `mixtures`: labeled examples that clients draw by mixtures of classes;
  `merging.MergeTests` measures models that may be merged, `units` compares what
  is inside of them.
- `operator_clients`: clients that hold functions of spaces of their own.
- `scaled_examples`: examples as vectors of a chosen length, of classes or
  numbers; `with_network` gives them to one network after another,
  `bundled_readout` fits read-outs of random features. `LAYER_TASKS` are
  comparisons of such layers with others.
- `parabolas`: a parabola per client, in one dimension.
- `random_nets`: nets with one random hidden layer and their rivals, over scales
  and widths.
- `quadratics`: a quadratic per client, whose optimum is known.
- `text`: prompts for a small pretrained language model.
- `vectors`: a vector per client, to be averaged.
"""

from jaxdl.problems import (
  amortized,
  detection,
  expert_layers,
  function_runs,
  games,
  graphs,
  links,
  merging,
  random_nets,
  sweeps,
  units,
)
from jaxdl.problems._classification import (
  ClassificationConfig,
  check_files,
  classification,
  for_network,
  reliability_rows,
)
from jaxdl.problems._clustered import ClusteredConfig, clustered
from jaxdl.problems._combinatorial import combinatorial
from jaxdl.problems._distillation import Peers, distillation
from jaxdl.problems._episodes import episodes, reconnaissance
from jaxdl.problems._feature_layers import (
  LAYER_TASKS,
  LayerComparison,
  LayerFacts,
  pretrained,
)
from jaxdl.problems._federated import FederatedConfig, clients, everybody
from jaxdl.problems._flows import time_steps
from jaxdl.problems._functions import (
  LOSSES,
  NORMALIZERS,
  FunctionProblem,
  Functions,
  for_task,
  functions,
)
from jaxdl.problems._mixtures import SAMPLINGS, Mixture, MixtureConfig, mixtures
from jaxdl.problems._operator_clients import (
  RandomFeatures,
  closed_form,
  make_spread,
  operator_clients,
  spread_over,
)
from jaxdl.problems._parabolas import parabolas
from jaxdl.problems._quadratics import quadratics
from jaxdl.problems._robust import RULES, RobustConfig
from jaxdl.problems._scaled_examples import (
  TRANSFERS,
  Readout,
  bundled_readout,
  scaled,
  scaled_examples,
  vector_sizes,
  with_network,
)
from jaxdl.problems._text import (
  PRETRAININGS,
  TEXTS,
  TextConfig,
  text,
  with_reader,
)
from jaxdl.problems._vectors import vectors

__all__ = [
  'LAYER_TASKS',
  'LOSSES',
  'NORMALIZERS',
  'PRETRAININGS',
  'RULES',
  'SAMPLINGS',
  'TEXTS',
  'TRANSFERS',
  'ClassificationConfig',
  'ClusteredConfig',
  'FederatedConfig',
  'FunctionProblem',
  'Functions',
  'LayerComparison',
  'LayerFacts',
  'Mixture',
  'MixtureConfig',
  'Peers',
  'RandomFeatures',
  'Readout',
  'RobustConfig',
  'TextConfig',
  'amortized',
  'bundled_readout',
  'check_files',
  'classification',
  'clients',
  'closed_form',
  'detection',
  'clustered',
  'combinatorial',
  'distillation',
  'episodes',
  'everybody',
  'expert_layers',
  'for_network',
  'for_task',
  'function_runs',
  'functions',
  'games',
  'graphs',
  'links',
  'make_spread',
  'merging',
  'mixtures',
  'operator_clients',
  'parabolas',
  'pretrained',
  'quadratics',
  'random_nets',
  'reconnaissance',
  'reliability_rows',
  'scaled',
  'scaled_examples',
  'spread_over',
  'sweeps',
  'text',
  'time_steps',
  'units',
  'vector_sizes',
  'vectors',
  'with_network',
  'with_reader',
]
