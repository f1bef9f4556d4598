# SPDX-License-Identifier: Apache-2.0
"""Gossip optimizers: every client trains, then mixes with its neighbors."""

from jaxdl.decentralized.gossip._asynchronous import (
  AsynchronousState,
  SwarmState,
  asynchronous_gossip,
  swarm_sgd,
)
from jaxdl.decentralized.gossip._averaging import AveragingState, averaging
from jaxdl.decentralized.gossip._push_sum import PushSumState, push_sum
from jaxdl.decentralized.gossip._sgd import (
  ChocoState,
  GossipState,
  QuasiGlobalState,
  choco_sgd,
  gossip_sgd,
  quasi_global_momentum,
)
from jaxdl.decentralized.gossip._tracking import (
  DifferenceState,
  TrackingState,
  d_squared,
  extra,
  gradient_tracking,
)
from jaxdl.decentralized.gossip._variants import (
  epidemic_learning,
  local_sgd,
  matcha_sgd,
  periodic_averaging,
  periodic_gossip,
  robust_gossip,
)

__all__ = [
  'AsynchronousState',
  'AveragingState',
  'ChocoState',
  'DifferenceState',
  'GossipState',
  'PushSumState',
  'QuasiGlobalState',
  'SwarmState',
  'TrackingState',
  'asynchronous_gossip',
  'averaging',
  'choco_sgd',
  'd_squared',
  'epidemic_learning',
  'extra',
  'gossip_sgd',
  'gradient_tracking',
  'local_sgd',
  'matcha_sgd',
  'periodic_averaging',
  'periodic_gossip',
  'push_sum',
  'quasi_global_momentum',
  'robust_gossip',
  'swarm_sgd',
]
