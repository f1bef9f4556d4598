# SPDX-License-Identifier: Apache-2.0
"""Learning without a server: every client keeps its own model.

By name, for flags and notebooks: `make_algorithm` puts a part of `ALGORITHMS`
on one of `mixing.TOPOLOGIES`, such as
`gossip_sgd@ring(weights=uniform)`, and `messages` counts what it sends.

Gossip optimizers, all `Algorithm(init, step, params)` pairs that take any mixer
of `jaxdl.mixing`, any optax optimizer and, where the maths allows, a compressor
or a robust rule:

- `gossip_sgd` (D-PSGD, both orders), `local_sgd`, `periodic_averaging`
  (Gossip-PGA), `matcha_sgd`, `epidemic_learning`, `quasi_global_momentum`,
  `choco_sgd`; `mixing.robust_mixer` puts a robust rule in the mixer's place. A
  networkx graph or a matrix will do as the mixer, and a run looks as in
  `jaxdl.federated`.
- Exact under heterogeneous data: `d_squared`, `extra`, `gradient_tracking`.
- Against adversaries: `all_to_all_sgd` with a `receiver_rule` is MoNNA (nearest
  neighbor averaging), BRIDGE, LEARN, self-centered clipping and more.
- One merge at the end: `local_then_gossip` trains while the clients talk as
  much as a mixer of `mixing.scheduled` says; `decentralized.merging` averages
  and looks at what that does.
- From unrelated starts: `buffered_gossip` waits for models of the neighbors
  and keeps layers from fading (`mixing.variance`).
- A sample per round without a server: `sampling_sgd` trains under a protocol of
  `decentralized.sampling` (MoDeST), simulated event by event in a world of
  delays and speeds. `clocked_gossip` and `gossip_learning` run on the same
  clock.
- Directed graphs: `push_sum`. Without rounds: `asynchronous_gossip`,
  `swarm_sgd`.
- One byte per gradient: `one_byte_sgd` trains on slopes along seeded directions
  (`jaxdl.local`); `decentralized.one_byte` has the log that rebuilds the model.
"""

from jaxdl.decentralized import gossip, merging, one_byte, robust, sampling
from jaxdl.decentralized._registry import (
  ALGORITHMS,
  VARIANTS,
  Messages,
  make_algorithm,
  make_link,
  messages,
)
from jaxdl.decentralized.gossip import (
  AsynchronousState,
  AveragingState,
  ChocoState,
  DifferenceState,
  GossipState,
  PushSumState,
  QuasiGlobalState,
  SwarmState,
  TrackingState,
  asynchronous_gossip,
  averaging,
  choco_sgd,
  d_squared,
  epidemic_learning,
  extra,
  gossip_sgd,
  gradient_tracking,
  local_sgd,
  matcha_sgd,
  periodic_averaging,
  periodic_gossip,
  push_sum,
  quasi_global_momentum,
  robust_gossip,
  swarm_sgd,
)
from jaxdl.decentralized.merging import buffered_gossip, local_then_gossip
from jaxdl.decentralized.one_byte import one_byte_sgd
from jaxdl.decentralized.robust import (
  RECEIVER_RULES,
  AllToAllState,
  all_to_all_sgd,
  receiver_rule,
  sample_received,
)
from jaxdl.decentralized.sampling import (
  clocked_gossip,
  gossip_learning,
  sampling_sgd,
)

__all__ = [
  'ALGORITHMS',
  'AllToAllState',
  'AsynchronousState',
  'AveragingState',
  'ChocoState',
  'DifferenceState',
  'GossipState',
  'Messages',
  'PushSumState',
  'QuasiGlobalState',
  'RECEIVER_RULES',
  'SwarmState',
  'TrackingState',
  'VARIANTS',
  'all_to_all_sgd',
  'asynchronous_gossip',
  'averaging',
  'buffered_gossip',
  'choco_sgd',
  'clocked_gossip',
  'd_squared',
  'epidemic_learning',
  'extra',
  'gossip',
  'gossip_learning',
  'gossip_sgd',
  'gradient_tracking',
  'local_sgd',
  'local_then_gossip',
  'matcha_sgd',
  'make_algorithm',
  'make_link',
  'merging',
  'messages',
  'one_byte',
  'one_byte_sgd',
  'periodic_averaging',
  'periodic_gossip',
  'push_sum',
  'quasi_global_momentum',
  'receiver_rule',
  'robust',
  'robust_gossip',
  'sample_received',
  'sampling',
  'sampling_sgd',
  'swarm_sgd',
]
