# SPDX-License-Identifier: Apache-2.0
"""Learning without a server: every client keeps its own model.

Gossip optimisers, all `Algorithm(init, step, params)` pairs that take any mixer
of `jaxdl.mixing`, any optax optimiser and, where the maths allows, a compressor
or a robust rule:

- `gossip_sgd` (D-PSGD, both orders), `local_sgd`, `periodic_averaging`
  (Gossip-PGA), `matcha_sgd`, `epidemic_learning`, `quasi_global_momentum`,
  `choco_sgd`; `robust_mixer` puts a robust rule in the mixer's place. A
  networkx graph or a matrix will do as the mixer, and a run looks as in
  `jaxdl.federated`.
- Exact under heterogeneous data: `d_squared`, `extra`, `gradient_tracking`.
- Against adversaries: `all_to_all_sgd` with a `receiver_rule` is MoNNA (nearest
  neighbour averaging), BRIDGE, LEARN, self-centred clipping and more.
- One merge at the end: `communication_schedule` says how much to talk when,
  `scheduled` makes a mixer of it with `random_peers` or `random_pairs`,
  `local_then_gossip` trains; `merge` and `merge_by_gossip` average,
  `mergeability`, `sharpness_alignment` and `landscape` (on `polygon_grid` with
  `wachspress_weights`) look at what that does.
- From unrelated starts: `variance_corrected_average` and the mixer
  `variance_corrected` keep layers from fading; `buffered_gossip` is the
  protocol around them, `variance_factors` the theory.
- A sample per round without a server: `sampling_sgd` trains under a
  `sampling_protocol` (MoDeST), simulated event by event in a `World` of delays
  and speeds; its parts are `sample_order`, `select_sample`, `merge_views`,
  `candidates`. `clocked_gossip` and `gossip_learning` run on the same clock.
- Directed graphs: `push_sum`. Without rounds: `asynchronous_gossip`,
  `swarm_sgd`.
- One byte per gradient: `one_byte` trains on slopes along seeded directions
  (`projected_gradient`, `estimated_gradient`, `apply_projected`); `replay`
  rebuilds the model from a `message_log`.
"""

from jaxdl.decentralized._all_to_all import AllToAllState, all_to_all_sgd
from jaxdl.decentralized._asynchronous import (
  AsynchronousState,
  SwarmState,
  asynchronous_gossip,
  swarm_sgd,
)
from jaxdl.decentralized._buffered import BufferedState, buffered_gossip
from jaxdl.decentralized._communication import (
  SCHEDULES,
  communication_schedule,
  mean_above,
  num_messages,
  random_pairs,
  random_peers,
  scheduled,
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
from jaxdl.decentralized._landscape import (
  landscape,
  polygon,
  polygon_grid,
  wachspress_weights,
)
from jaxdl.decentralized._merging import (
  LocalGossipState,
  Mergeability,
  SharpnessAlignment,
  local_then_gossip,
  merge,
  merge_by_gossip,
  mergeability,
  sharpness_alignment,
  stack_models,
)
from jaxdl.decentralized._message_log import (
  MessageLog,
  fingerprint,
  message_log,
  replay,
)
from jaxdl.decentralized._modest import (
  SamplingProtocol,
  diagnose,
  sampling_protocol,
)
from jaxdl.decentralized._modest_baselines import (
  clocked_gossip,
  gossip_learning,
)
from jaxdl.decentralized._modest_options import ModestOptions, check_options
from jaxdl.decentralized._modest_sampling import (
  Sample,
  required_models,
  sample_order,
  sample_scores,
  select_sample,
)
from jaxdl.decentralized._modest_training import (
  local_training,
  model_bytes,
  sampling_sgd,
)
from jaxdl.decentralized._modest_transport import TRAFFIC
from jaxdl.decentralized._modest_views import (
  MembershipView,
  candidates,
  initial_view,
  membership_event,
  merge_views,
)
from jaxdl.decentralized._modest_world import (
  Churn,
  World,
  churn_from_trace,
  load_latency,
  make_world,
)
from jaxdl.decentralized._one_byte import OneByte, OneByteState, one_byte
from jaxdl.decentralized._projected import (
  DIRECTIONS,
  DIVISORS,
  add_scaled,
  apply_projected,
  direction_keys,
  estimated_gradient,
  perturbation,
  projected_gradient,
  unmoved_share,
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
from jaxdl.decentralized._variance import (
  TARGETS,
  corrected_rule,
  is_tensor,
  layer_variances,
  rescale_to_variance,
  subsampled,
  tensor_moments,
  variance_corrected,
  variance_corrected_average,
  variance_factors,
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
  # Merging.
  'SCHEDULES',
  'LocalGossipState',
  'Mergeability',
  'SharpnessAlignment',
  'communication_schedule',
  'landscape',
  'local_then_gossip',
  'mean_above',
  'merge',
  'merge_by_gossip',
  'mergeability',
  'num_messages',
  'polygon',
  'polygon_grid',
  'random_pairs',
  'random_peers',
  'scheduled',
  'sharpness_alignment',
  'stack_models',
  'wachspress_weights',
  # Variance.
  'TARGETS',
  'BufferedState',
  'buffered_gossip',
  'corrected_rule',
  'is_tensor',
  'layer_variances',
  'rescale_to_variance',
  'subsampled',
  'tensor_moments',
  'variance_corrected',
  'variance_corrected_average',
  'variance_factors',
  # One byte per gradient.
  'DIRECTIONS',
  'DIVISORS',
  'MessageLog',
  'OneByte',
  'OneByteState',
  'add_scaled',
  'apply_projected',
  'direction_keys',
  'estimated_gradient',
  'fingerprint',
  'message_log',
  'one_byte',
  'perturbation',
  'projected_gradient',
  'replay',
  'unmoved_share',
  # Decentralised sampling.
  'Churn',
  'MembershipView',
  'ModestOptions',
  'Sample',
  'SamplingProtocol',
  'TRAFFIC',
  'World',
  'candidates',
  'check_options',
  'churn_from_trace',
  'clocked_gossip',
  'diagnose',
  'gossip_learning',
  'initial_view',
  'load_latency',
  'local_training',
  'make_world',
  'membership_event',
  'merge_views',
  'model_bytes',
  'required_models',
  'sample_order',
  'sample_scores',
  'sampling_protocol',
  'sampling_sgd',
  'select_sample',
]
