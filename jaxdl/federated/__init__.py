# SPDX-License-Identifier: Apache-2.0
"""Learning with a server.

- `robust_sgd`: distributed SGD with worker momentum, any robust rule and any
  adversary.
- `centralized_sgd`: one model on the pooled examples, the yardstick.
- `batch_cohort`: one batch for every client, bound to client identities.
- `clip_by_norm`: shortens one client's gradient.
"""

from jaxdl.federated._centralized import CentralizedState, centralized_sgd
from jaxdl.federated._cohorts import batch_cohort
from jaxdl.federated._robust_sgd import (
  RobustSgdState,
  clip_by_norm,
  robust_sgd,
)

__all__ = [
  'CentralizedState',
  'RobustSgdState',
  'batch_cohort',
  'centralized_sgd',
  'clip_by_norm',
  'robust_sgd',
]
