# SPDX-License-Identifier: Apache-2.0
"""Measures of success, disagreement and robustness.

- `evaluate`: a task's masked means over a padded test set.
- `drift`: mean squared distance of the clients' models from their mean.
- `aggregation_error`: how far an update is from the honest mean, in units of
  the honest spread.
"""

from jaxdl.metrics._consensus import aggregation_error, drift
from jaxdl.metrics._evaluation import evaluate

__all__ = ['aggregation_error', 'drift', 'evaluate']
