# SPDX-License-Identifier: Apache-2.0
"""Learning without a server: every client keeps its own model.

Gossip optimisers, all `Algorithm(init, step, params)` pairs that take any mixer
of `jaxdl.mixing`, any optax optimiser and, where the maths allows, a compressor
or a robust rule:

- `gossip_sgd` (D-PSGD, both orders), `local_sgd`, `periodic_averaging`
  (Gossip-PGA), `matcha_sgd`, `epidemic_learning`, `quasi_global_momentum`,
  `choco_sgd`; `robust_mixer` puts a robust rule in the mixer's place.
- Exact under heterogeneous data: `d_squared`, `extra`, `gradient_tracking`.
- Against adversaries: `all_to_all_sgd` with a `receiver_rule` is MoNNA (nearest
  neighbour averaging), BRIDGE, LEARN, self-centred clipping and more.
- Directed graphs: `push_sum`. Without rounds: `asynchronous_gossip`,
  `swarm_sgd`.
"""

from jaxdl.decentralized._all_to_all import AllToAllState, all_to_all_sgd
from jaxdl.decentralized._asynchronous import (
  AsynchronousState,
  SwarmState,
  asynchronous_gossip,
  swarm_sgd,
)
from jaxdl.decentralized._gossip import (
  ChocoState,
  GossipState,
  QuasiGlobalState,
  choco_sgd,
  gossip_sgd,
  quasi_global_momentum,
)
from jaxdl.decentralized._gossip_variants import (
  epidemic_learning,
  local_sgd,
  matcha_sgd,
  periodic_averaging,
  robust_mixer,
)
from jaxdl.decentralized._push_sum import PushSumState, push_sum
from jaxdl.decentralized._receivers import (
  RECEIVER_RULES,
  receiver_rule,
  sample_received,
)
from jaxdl.decentralized._tracking import (
  DifferenceState,
  TrackingState,
  d_squared,
  extra,
  gradient_tracking,
)

__all__ = [
  # All to all.
  'RECEIVER_RULES',
  'AllToAllState',
  'all_to_all_sgd',
  'receiver_rule',
  'sample_received',
  # Gossip.
  'AsynchronousState',
  'ChocoState',
  'DifferenceState',
  'GossipState',
  'PushSumState',
  'QuasiGlobalState',
  'SwarmState',
  'TrackingState',
  'asynchronous_gossip',
  'choco_sgd',
  'd_squared',
  'epidemic_learning',
  'extra',
  'gossip_sgd',
  'gradient_tracking',
  'local_sgd',
  'matcha_sgd',
  'periodic_averaging',
  'push_sum',
  'quasi_global_momentum',
  'robust_mixer',
  'swarm_sgd',
]
