# SPDX-License-Identifier: Apache-2.0
"""Measures of success, disagreement and robustness.

- `evaluate`: a task's masked means over a padded test set; of a classifier also
  how calibrated it is.
- `expected_calibration_error`, `adaptive_calibration_error`,
  `maximum_calibration_error`, `brier_score`, `negative_log_likelihood` and
  `mean_entropy` of predictions. `reliability_bins` adds up over batches,
  `reliability_table` is what a reliability diagram shows, `fit_temperature`
  recalibrates.
- `spread_over_clients`: how evenly a figure is spread over clients: mean, worst
  tenth, percentiles.
- `consensus_distance`: mean squared distance of the clients' models from
  their mean.
- `aggregation_error`: how far an update is from the honest mean, in units of
  the honest spread.
- `confusion_matrix`, and `macro_f1` of it.
"""

from jaxdl.metrics._calibration import (
  NUM_BINS,
  ReliabilityBins,
  adaptive_calibration_error,
  brier_score,
  calibration_of,
  calibration_sums,
  expected_calibration_error,
  fit_temperature,
  maximum_calibration_error,
  mean_entropy,
  negative_log_likelihood,
  reliability_bins,
  reliability_table,
)
from jaxdl.metrics._confusion import confusion_matrix, macro_f1
from jaxdl.metrics._consensus import aggregation_error, consensus_distance
from jaxdl.metrics._evaluation import evaluate
from jaxdl.metrics._fairness import spread_over_clients

__all__ = [
  'NUM_BINS',
  'ReliabilityBins',
  'adaptive_calibration_error',
  'aggregation_error',
  'brier_score',
  'calibration_of',
  'calibration_sums',
  'consensus_distance',
  'expected_calibration_error',
  'fit_temperature',
  'maximum_calibration_error',
  'mean_entropy',
  'negative_log_likelihood',
  'reliability_bins',
  'reliability_table',
  'evaluate',
  'spread_over_clients',
  'confusion_matrix',
  'macro_f1',
]
