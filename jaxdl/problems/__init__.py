# SPDX-License-Identifier: Apache-2.0
"""What is learned, by whom, and how it is measured.

One builder per kind of problem, callable with keywords; all make a
`core.types.Problem`, which any algorithm takes in `experiment.compare` or, in a
notebook, in `experiment.train`:

    problem = problems.classification('digits', num_clients=10)
    algorithm = federated.robust_sgd(problem.task, 'nnm+krum', 10, ...)
    state, history = experiment.train(algorithm, problem, num_rounds=100, ...)

- `classification`: labeled examples dealt to clients by any partition.
- `quadratics`: a quadratic per client, whose optimum is known.
"""

from jaxdl.problems._classification import ClassificationConfig, classification
from jaxdl.problems._quadratics import quadratics
from jaxdl.problems._robust import RULES, RobustConfig

__all__ = [
  'RULES',
  'ClassificationConfig',
  'RobustConfig',
  'classification',
  'quadratics',
]
