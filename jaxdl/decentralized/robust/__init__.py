# SPDX-License-Identifier: Apache-2.0
"""Learning between all pairs of nodes, some of them adversarial."""

from jaxdl.decentralized.robust._all_to_all import AllToAllState, all_to_all_sgd
from jaxdl.decentralized.robust._methods import METHODS
from jaxdl.decentralized.robust._receivers import (
  RECEIVER_RULES,
  receiver_rule,
  sample_received,
)

__all__ = [
  'METHODS',
  'AllToAllState',
  'RECEIVER_RULES',
  'all_to_all_sgd',
  'receiver_rule',
  'sample_received',
]
