# SPDX-License-Identifier: Apache-2.0
"""Learning with a server that averages, corrects or chooses.

A `Method` says what clients and server do and nothing else; a `Channel` says
how messages travel: any rule of `aggregators` against any attack, any
compressor with error feedback, differential privacy, secure sums. `federate`
makes an `Algorithm` of the two:

    work = local.LocalWork('sgd(0.1)', batch_size=10, num_epochs=1)
    algorithm = federated.make_algorithm(
      'scaffold',
      task,
      100,
      work=work,
      channel=federated.Channel(compressor='top_k(keep=0.1)',
                                error_feedback=True),
      cohort_size=10,
    )

Methods (`METHODS`): `centralized`, `fedsgd`, `fedavg`, `fedavgm`, `fedprox`,
`fednova`, `fedopt` (FedAdagrad, FedYogi, FedAdam); `scaffold`, `feddyn`,
`mime`, `mime_lite`; `q_fedavg`, `agnostic`; `apfl`, `ditto`, `fedbn`, `ifca`,
`pfedhn`, `local_only`, which leave clients models of their own; `pruning_game`,
whose clients vote on which neurons take part;
`expert_fedavg` of experts (`perception.experts`), each averaged over those who
used it.
"""

from jaxdl.federated.server._adaptive import (
  SERVER_OPTIMIZERS,
  AdaptiveState,
  adaptive,
  make_server_optimizer,
)
from jaxdl.federated.server._averaging import (
  centralized,
  effective_steps,
  fedavg,
  fedavgm,
  fednova,
  fedopt,
  fedprox,
  fedsgd,
)
from jaxdl.federated.server._channel import Channel, Wire, WireState, as_channel
from jaxdl.federated.server._control import feddyn, mime, mime_lite, scaffold
from jaxdl.federated.server._engine import (
  Exchange,
  FederatedState,
  HostedState,
  federate,
  make_exchange,
  sends,
  traffic,
)
from jaxdl.federated.server._experts import expert_fedavg
from jaxdl.federated.server._fair import agnostic, q_fedavg
from jaxdl.federated.server._hyper import pfedhn
from jaxdl.federated.server._method import (
  Method,
  Round,
  Sent,
  equally,
  no_state,
)
from jaxdl.federated.server._mixtures import ifca
from jaxdl.federated.server._personal import (
  apfl,
  ditto,
  fedbn,
  is_norm,
  local_only,
)
from jaxdl.federated.server._pruning import pruning_game
from jaxdl.federated.server._registry import (
  CHANNELS,
  LOCAL_METHODS,
  METHODS,
  VARIANTS,
  check_adversaries,
  check_optimizer,
  check_private,
  check_variant,
  make_algorithm,
  make_method,
  make_variant,
  spent,
)

__all__ = [
  'CHANNELS',
  'VARIANTS',
  'make_variant',
  'AdaptiveState',
  'Channel',
  'Exchange',
  'FederatedState',
  'HostedState',
  'LOCAL_METHODS',
  'METHODS',
  'Method',
  'Round',
  'SERVER_OPTIMIZERS',
  'Sent',
  'Wire',
  'WireState',
  'adaptive',
  'agnostic',
  'apfl',
  'as_channel',
  'centralized',
  'ditto',
  'effective_steps',
  'expert_fedavg',
  'equally',
  'fedavg',
  'fedavgm',
  'fedbn',
  'feddyn',
  'federate',
  'fednova',
  'fedopt',
  'fedprox',
  'fedsgd',
  'ifca',
  'is_norm',
  'local_only',
  'make_algorithm',
  'make_exchange',
  'check_optimizer',
  'check_adversaries',
  'check_private',
  'check_variant',
  'make_method',
  'make_server_optimizer',
  'mime',
  'mime_lite',
  'no_state',
  'pfedhn',
  'pruning_game',
  'q_fedavg',
  'scaffold',
  'sends',
  'spent',
  'traffic',
]
