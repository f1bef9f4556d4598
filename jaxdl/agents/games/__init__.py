# SPDX-License-Identifier: Apache-2.0
"""Games for agents, each an `agents.Environment`; by name in `GAMES`.

- `simple_spread`: agents cover landmarks on a plane.
"""

from jaxdl.agents.games._registry import GAMES, make_game
from jaxdl.agents.games._spread import ParticleState, simple_spread

__all__ = ['GAMES', 'ParticleState', 'make_game', 'simple_spread']
