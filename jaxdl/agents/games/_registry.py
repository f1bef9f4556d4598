# SPDX-License-Identifier: Apache-2.0
"""Games by name."""

from jaxdl.agents import _environment
from jaxdl.agents.games import _prey, _spread
from jaxdl.core import registry

GAMES = registry.Registry(
  'game',
  {
    'predator_capture': _prey.predator_capture,
    'predator_prey': _prey.predator_prey,
    'simple_spread': _spread.simple_spread,
  },
)


def make_game(spec: str) -> _environment.Environment:
  """Builds a game by name.

  Args:
    spec: an entry of `GAMES`, e.g. 'simple_spread(num_agents=5)'.

  Returns:
    The game.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> make_game('simple_spread(num_agents=2)').own_size
    12
  """
  return GAMES.make(spec)
