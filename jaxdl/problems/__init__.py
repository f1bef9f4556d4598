# SPDX-License-Identifier: Apache-2.0
"""What is learned, by whom, and how it is measured.

One builder per kind of problem, callable with keywords; all make a
`core.types.Problem`, which any algorithm takes in `experiment.compare` or, in a
notebook, in `experiment.train`:

    problem = problems.classification('digits', num_clients=10)
    algorithm = federated.robust_sgd(problem.task, 'nnm+krum', 10, ...)
    state, history = experiment.train(algorithm, problem, num_rounds=100, ...)

- `classification`: labeled examples dealt to clients by any partition.
- `mixtures`: labeled examples that clients draw by mixtures of classes;
  `MergeTests` measures models that may be merged.
- `quadratics`: a quadratic per client, whose optimum is known.
- `text`: prompts for a small pretrained language model.
- `vectors`: a vector per client, to be averaged.
"""

from jaxdl.problems._classification import ClassificationConfig, classification
from jaxdl.problems._merging import (
  MERGE_MEASURES,
  MERGES,
  MergeTests,
  landscape_of,
  small_landscape,
)
from jaxdl.problems._mixtures import (
  SAMPLINGS,
  Mixture,
  MixtureConfig,
  mixtures,
)
from jaxdl.problems._quadratics import quadratics
from jaxdl.problems._robust import RULES, RobustConfig
from jaxdl.problems._text import PRETRAININGS, TEXTS, text
from jaxdl.problems._vectors import vectors

__all__ = [
  'MERGES',
  'MERGE_MEASURES',
  'PRETRAININGS',
  'RULES',
  'SAMPLINGS',
  'TEXTS',
  'ClassificationConfig',
  'MergeTests',
  'Mixture',
  'MixtureConfig',
  'RobustConfig',
  'classification',
  'landscape_of',
  'mixtures',
  'quadratics',
  'small_landscape',
  'text',
  'vectors',
]
