# SPDX-License-Identifier: Apache-2.0
"""When clients merge their models, and what one merge recovers.

`local_then_gossip` trains under any mixer, `buffered_gossip` waits for models
of the neighbors. `merge_by_gossip` averages step by step (`mixing.merge` at
once), `align_models` brings the units of models that started apart into one
order first; `mergeability`,
`sharpness_alignment` and `landscape` (on `polygon_grid` with
`wachspress_weights`) look at what that does.
"""

from jaxdl.decentralized.merging._aligned import align_models
from jaxdl.decentralized.merging._buffered import BufferedState, buffered_gossip
from jaxdl.decentralized.merging._landscape import (
  landscape,
  polygon,
  polygon_grid,
  wachspress_weights,
)
from jaxdl.decentralized.merging._merge import (
  LocalGossipState,
  Mergeability,
  SharpnessAlignment,
  local_then_gossip,
  merge_by_gossip,
  mergeability,
  sharpness_alignment,
  stack_models,
)
from jaxdl.decentralized.merging._methods import (
  METHODS,
  TURNS,
  Fading,
  Turns,
  gossip_matrix,
)

__all__ = [
  'Fading',
  'METHODS',
  'TURNS',
  'Turns',
  'gossip_matrix',
  'BufferedState',
  'LocalGossipState',
  'Mergeability',
  'SharpnessAlignment',
  'align_models',
  'buffered_gossip',
  'landscape',
  'local_then_gossip',
  'merge_by_gossip',
  'mergeability',
  'polygon',
  'polygon_grid',
  'sharpness_alignment',
  'stack_models',
  'wachspress_weights',
]
