# SPDX-License-Identifier: Apache-2.0
"""Cooperative perception: vehicles share what the others are uncertain of.

Agents make bird's-eye maps of what they see, f[C, H, W] of C channels. A
receiver compares its own with what it fused in the last frame, asks for the
channels that are uncertain and relevant, fuses what it gets with its own, and
tells where vehicles are. It takes maps of any encoder:

    scores, widths = temporal_scores(own, previous)
    found = conformal_uncertainty(scores, widths, 50.0)
    relevance, tau = selector.apply(params, found.values, own)
    mask = straight_through_mask(relevance, tau)
    got = trim_exchange(maps, mask, agent_mask=there)
    fused = fuse_max(got.maps, got.seen)

- Uncertainty: `temporal_scores` by one of `SCORES`, `conformal_uncertainty`,
  `windowed_uncertainty` against scores of earlier frames (`score_window`).
- Selection: `channel_selector`, `straight_through_mask`; rivals behind one
  interface, `SELECTORS`.
- Exchange: `trim_exchange`, `stack_agents`; `warp_bev` and `warp_quarter` bring
  maps into the receiver's frame; `FUSIONS`.
- `wire`: bits and their price, compression, and who hears whom over any
  topology of `jaxdl.mixing`, with links that fail.
- What goes wrong besides: `noisy_poses`, `delayed`, `lose` (`NOISES`).
- `worlds`: a generated crossing, and folders like those of OPV2V.
- Together: `make_model`, `coopertrim_step` for a frame, `cooperate` for a
  scene, `cooperative_training`, `see` and `scores`.
"""

from jaxdl.perception.cooperation import wire, worlds
from jaxdl.perception.cooperation._evaluation import (
  LINK,
  Link,
  Seen,
  evaluator,
  make_link,
  scores,
  see,
  with_selector,
)
from jaxdl.perception.cooperation._exchange import stack_agents, trim_exchange
from jaxdl.perception.cooperation._fusion import (
  FUSIONS,
  fuse_attention,
  fuse_max,
  fuse_mean,
  make_fusion,
)
from jaxdl.perception.cooperation._measures import (
  adaptivity,
  iou,
  seg_loss,
)
from jaxdl.perception.cooperation._model import Model, make_model
from jaxdl.perception.cooperation._network import (
  ENCODERS,
  conv_encoder,
  seg_head,
)
from jaxdl.perception.cooperation._rivals import SELECTORS, make_selector
from jaxdl.perception.cooperation._robustness import (
  NOISES,
  delayed,
  lose,
  make_conditions,
  noisy_poses,
)
from jaxdl.perception.cooperation._selection import (
  Evidence,
  Selector,
  top_share,
)
from jaxdl.perception.cooperation._selector import (
  channel_selector,
  learned_q,
  straight_through_mask,
)
from jaxdl.perception.cooperation._step import (
  Carry,
  Frame,
  cooperate,
  coopertrim_step,
  init_carry,
)
from jaxdl.perception.cooperation._training import (
  LOSSES,
  SCHEDULE,
  Loss,
  Schedule,
  cooperative_task,
  cooperative_training,
  make_schedule,
)
from jaxdl.perception.cooperation._uncertainty import (
  SCORES,
  conformal_uncertainty,
  push_scores,
  score_window,
  temporal_scores,
  windowed_uncertainty,
)
from jaxdl.perception.cooperation._warp import (
  WARPS,
  pose_matrix,
  relative_pose,
  warp_bev,
  warp_quarter,
)

__all__ = [
  'Carry',
  'ENCODERS',
  'Evidence',
  'FUSIONS',
  'Frame',
  'LINK',
  'LOSSES',
  'Link',
  'Loss',
  'Model',
  'NOISES',
  'SCHEDULE',
  'SCORES',
  'SELECTORS',
  'Schedule',
  'Seen',
  'Selector',
  'WARPS',
  'adaptivity',
  'channel_selector',
  'conformal_uncertainty',
  'conv_encoder',
  'cooperate',
  'cooperative_task',
  'cooperative_training',
  'coopertrim_step',
  'delayed',
  'fuse_attention',
  'fuse_max',
  'fuse_mean',
  'init_carry',
  'iou',
  'learned_q',
  'lose',
  'make_conditions',
  'make_fusion',
  'make_link',
  'make_model',
  'make_schedule',
  'make_selector',
  'noisy_poses',
  'pose_matrix',
  'push_scores',
  'relative_pose',
  'score_window',
  'scores',
  'see',
  'seg_head',
  'seg_loss',
  'stack_agents',
  'straight_through_mask',
  'temporal_scores',
  'evaluator',
  'top_share',
  'trim_exchange',
  'warp_bev',
  'warp_quarter',
  'windowed_uncertainty',
  'wire',
  'with_selector',
  'worlds',
]
