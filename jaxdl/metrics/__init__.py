# SPDX-License-Identifier: Apache-2.0
"""Measures of success, disagreement and robustness.

- `evaluate`: a task's masked means over a padded test set.
- `consensus_distance`: mean squared distance of the clients' models from
  their mean.
- `aggregation_error`: how far an update is from the honest mean, in units of
  the honest spread.
- `confusion_matrix`, and `macro_f1` of it.
"""

from jaxdl.metrics._confusion import confusion_matrix, macro_f1
from jaxdl.metrics._consensus import aggregation_error, consensus_distance
from jaxdl.metrics._evaluation import evaluate

__all__ = [
  'aggregation_error',
  'confusion_matrix',
  'consensus_distance',
  'evaluate',
  'macro_f1',
]
