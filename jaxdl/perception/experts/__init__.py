# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts cut from a dense feed-forward network.

A dense layer pair (in, elementwise activation, out) is copied N times, each
copy is cut along the hidden width into k slices, and a router sends every token
to k of the N k slices. As router rows start equal within a copy, the mixture
starts as the very network that was cut; tuning then lets slices of different
copies work together. Active parameters stay those of one layer.

`dense_to_moe` does that to any trained `Network` or flax module, whose program
it looks at: no layer has to know of experts.

    moe = experts.dense_to_moe(
      network, params, x, key=key, experts='moe(16, top_k=2)', layers='block_*'
    )
    task = networks.classification(moe.network, x, num_classes=10)
    task = experts.balanced_task(task, coefficient=0.01)
    task = experts.trainable_task(task, moe.params, 'experts')

and `task` is one like any other. With a server, `federated.make_algorithm`
trains it over clients who send experts and routers alone.

- Layers: `split_ffn`, `merge_slices`, `init_router`; `feed_forward` and
  `moe_apply` compute; `route` with `GATES`, `load_balance`, `usage`;
  `grouped_dot`, products with the matrix of a group; `sharded_moe_apply` and
  `shard_experts` over devices.
- Networks: `dense_to_moe`, `with_experts` with a `Mixture` of `MIXTURES`,
  `feed_forward_layers`; `observe` shows where tokens went in any function.
- Training: `balanced_task`, `trainable_mask`, `trainable_task`,
  `put_trainable`.
- Statistics: `coactivation`, `collaboration`, `same_replica_share`,
  `combination_table` with its `combinations`, `num_subnetworks`,
  `expert_usage`.

Layouts: kernels f[E, d, h / k] and f[E, h / k, d'], router rows f[E, d]; expert
r k + j is slice j of copy r.
"""

from jaxdl.perception.experts._apply import (
  IMPLEMENTATIONS,
  choose,
  moe_apply,
)
from jaxdl.perception.experts._convert import (
  Experts,
  dense_to_moe,
  feed_forward_layers,
  with_experts,
)
from jaxdl.perception.experts._grouped import grouped_dot
from jaxdl.perception.experts._mixture import MIXTURES, Mixture, as_mixture
from jaxdl.perception.experts._observe import observe
from jaxdl.perception.experts._route import (
  GATES,
  Routed,
  load_balance,
  route,
  usage,
)
from jaxdl.perception.experts._shard import shard_experts, sharded_moe_apply
from jaxdl.perception.experts._split import (
  EXPERT_INITS,
  ROUTER_INITS,
  feed_forward,
  init_router,
  merge_slices,
  split_ffn,
)
from jaxdl.perception.experts._statistics import (
  Collaboration,
  coactivation,
  collaboration,
  combination_table,
  combinations,
  num_subnetworks,
  same_replica_share,
)
from jaxdl.perception.experts._trainable import (
  balanced_task,
  expert_usage,
  put_trainable,
  take_trainable,
  trainable_mask,
  trainable_task,
)

__all__ = [
  'Collaboration',
  'EXPERT_INITS',
  'Experts',
  'GATES',
  'IMPLEMENTATIONS',
  'MIXTURES',
  'Mixture',
  'ROUTER_INITS',
  'Routed',
  'as_mixture',
  'balanced_task',
  'choose',
  'coactivation',
  'collaboration',
  'combination_table',
  'combinations',
  'dense_to_moe',
  'expert_usage',
  'feed_forward',
  'feed_forward_layers',
  'grouped_dot',
  'init_router',
  'load_balance',
  'merge_slices',
  'moe_apply',
  'num_subnetworks',
  'observe',
  'put_trainable',
  'route',
  'same_replica_share',
  'shard_experts',
  'sharded_moe_apply',
  'split_ffn',
  'take_trainable',
  'trainable_mask',
  'trainable_task',
  'usage',
  'with_experts',
]
