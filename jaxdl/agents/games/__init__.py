# SPDX-License-Identifier: Apache-2.0
"""Games for agents, each an `agents.Environment`; by name in `GAMES`.

- `simple_spread`: agents cover landmarks on a plane;
- `predator_prey`, `predator_capture`: agents look for a prey on a grid.
"""

from jaxdl.agents.games._prey import (
  PreyState,
  predator_capture,
  predator_prey,
)
from jaxdl.agents.games._registry import GAMES, make_game
from jaxdl.agents.games._spread import ParticleState, simple_spread

__all__ = [
  'GAMES',
  'ParticleState',
  'PreyState',
  'make_game',
  'predator_capture',
  'predator_prey',
  'simple_spread',
]
