# SPDX-License-Identifier: Apache-2.0
"""Agents on a network: independent learners who tell each other.

Every agent has parameters of its own and learns from its own rewards.
`networked` lets them gossip over any topology of `jaxdl.mixing`, by weighted
means or by a robust rule of `jaxdl.aggregators`, while the last F send what an
entry of `jaxdl.attacks` says; `exchanged_gradients` does so with gradients.
`agents.make_learner('ippo@ring')` puts it together.
"""

from jaxdl.agents.networked._learners import (
  PARTS,
  ExchangeState,
  NetworkedState,
  check_rows,
  exchanged_gradients,
  networked,
  per_agent,
)
from jaxdl.agents.networked._links import Link, LinkState, make_link

__all__ = [
  'PARTS',
  'ExchangeState',
  'Link',
  'LinkState',
  'NetworkedState',
  'check_rows',
  'exchanged_gradients',
  'make_link',
  'networked',
  'per_agent',
]
