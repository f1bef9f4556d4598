# SPDX-License-Identifier: Apache-2.0
"""Measures of success, disagreement and robustness.

- `evaluate`: a task's masked means over a padded test set.
- `spread_over_clients`: how evenly a figure is spread over clients: mean, worst
  tenth, percentiles.
- `consensus_distance`: mean squared distance of the clients' models from
  their mean.
- `aggregation_error`: how far an update is from the honest mean, in units of
  the honest spread.
- `confusion_matrix`, and `macro_f1` of it.
"""

from jaxdl.metrics._confusion import confusion_matrix, macro_f1
from jaxdl.metrics._consensus import aggregation_error, consensus_distance
from jaxdl.metrics._evaluation import evaluate
from jaxdl.metrics._fairness import spread_over_clients

__all__ = [
  'aggregation_error',
  'consensus_distance',
  'evaluate',
  'spread_over_clients',
  'confusion_matrix',
  'macro_f1',
]
