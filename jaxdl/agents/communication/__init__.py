# SPDX-License-Identifier: Apache-2.0
"""Channels between agents, each an `agents.Communication`.

By name in `COMMUNICATIONS`, for `agents.actor_critic(communication=...)`:

- `none`;
- `commnet`: the mean of the others; `ic3net`: of those who chose to speak;
- `tarmac`: attention to signed messages; `attention`: full or to oneself;
- `g2anet`: hard links by pairs, weighed softly; `graph`: one learned graph;
- `dial`: real messages in training, bits in execution.

All count `links` used and `bits` sent by step. What is drawn is kept with the
steps, so that training meets the noise of playing.
"""

from jaxdl.agents.communication._attention import (
  attention,
  g2anet,
  graph,
  links_of,
  most_likely_links,
  tarmac,
  tarmac_attention,
)
from jaxdl.agents.communication._dial import dial, dru
from jaxdl.agents.communication._means import commnet, ic3net, mean_of_others
from jaxdl.agents.communication._registry import (
  COMMUNICATIONS,
  make_communication,
)

__all__ = [
  'COMMUNICATIONS',
  'attention',
  'commnet',
  'dial',
  'dru',
  'g2anet',
  'graph',
  'ic3net',
  'links_of',
  'make_communication',
  'mean_of_others',
  'most_likely_links',
  'tarmac',
  'tarmac_attention',
]
