# SPDX-License-Identifier: Apache-2.0
"""Games by name."""

from jaxdl.agents import _environment
from jaxdl.agents.games import (
  _beam,
  _host,
  _peers,
  _prey,
  _reference,
  _riddles,
  _social,
  _spread,
  _traffic,
  _wrappers,
)
from jaxdl.core import registry

WRAPPERS = registry.Registry(
  'wrapper of a game',
  {
    'heterogeneous': _wrappers.heterogeneous,
    'observe_first': _wrappers.observe_first,
    'shared_reward': _wrappers.shared_reward,
  },
  given=('env',),
)
GAMES = registry.Registry(
  'game',
  {
    'beam_carry': _beam.beam_carry,
    'iterated_dilemma': _social.iterated_dilemma,
    'predator_capture': _prey.predator_capture,
    'predator_prey': _prey.predator_prey,
    'public_goods': _social.public_goods,
    'routing': _riddles.routing,
    'simple_reference': _reference.simple_reference,
    'simple_speaker_listener': _reference.simple_speaker_listener,
    'simple_spread': _spread.simple_spread,
    'sum_guess': _riddles.sum_guess,
    'switch_riddle': _riddles.switch_riddle,
    'traffic_junction': _traffic.traffic_junction,
  },
  before=WRAPPERS,
)

# With those of other libraries, which need not be installed.
ALL_GAMES = GAMES | _peers.PEERS

HOST_GAMES = registry.Registry(
  'game on the host', {'multiwalker': _host.multiwalker}
)


def make_game(spec: str) -> _environment.Environment:
  """Builds a game by name.

  Args:
    spec: an entry of `ALL_GAMES`, e.g. 'simple_spread(num_agents=5)' or
      'jaxmarl(MPE_simple_tag_v3)', and any of `WRAPPERS` before it, e.g.
      'shared_reward+simple_spread'; the one next to the game is the first to
      change it.

  Returns:
    The game.

  Raises:
    ValueError: if a name or an option is unknown or out of range.
    ImportError: if the library of a game is not installed.

  Example:
    >>> make_game('simple_spread(num_agents=2)').own_size
    12
    >>> make_game('observe_first(limit=4)+simple_spread').own_size
    4
  """
  *before, last = ALL_GAMES.parts(spec)
  env = ALL_GAMES.bound(last)
  for part in reversed(before):
    env = WRAPPERS.bound(part, env)
  return env


def needs_peer(spec: str) -> bool:
  """Whether a game is one of another library, which may not be installed.

  Args:
    spec: as `make_game` takes it.

  Returns:
    Whether it is.

  Raises:
    ValueError: if a name or an option is unknown.

  Example:
    >>> needs_peer('shared_reward+smax'), needs_peer('simple_spread')
    (True, False)
  """
  return ALL_GAMES.parts(spec)[-1].name in _peers.PEERS


def make_host_game(spec: str) -> _host.HostGame:
  """Builds a game that runs on the host, by name.

  Args:
    spec: an entry of `HOST_GAMES`, e.g. 'multiwalker(shared_reward=True)'.

  Returns:
    The game.

  Raises:
    ValueError: if the name or an option is unknown or out of range.
    ImportError: if the library that plays it is not installed.

  Example:
    >>> print(*HOST_GAMES)
    multiwalker
  """
  return HOST_GAMES.make(spec)
