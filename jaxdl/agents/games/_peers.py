# SPDX-License-Identifier: Apache-2.0
"""Games of other libraries by name; they must be installed."""

from jaxdl.agents import _environment
from jaxdl.agents.games import _adapters, _smax
from jaxdl.core import checks, extras, registry


def jaxmarl(
  name: str, *, max_steps: int | None = None
) -> _environment.Environment:
  """A game of JaxMARL by its name.

  Args:
    name: e.g. 'MPE_simple_tag_v3', in quotes inside of a spec only if it is no
      identifier.
    max_steps: of an episode; that of the game if None.

  Returns:
    The game, see `from_jaxmarl`.

  Raises:
    ImportError: if jaxmarl is not installed.
    ValueError: if the name is unknown, or the game tells no limit of time.
  """
  peer = extras.require('jaxmarl', 'the game jaxmarl')
  checks.choice(name, tuple(peer.registered_envs), name='name')
  return _adapters.from_jaxmarl(peer.make(name), max_steps=max_steps)


def gymnax(
  name: str, *, max_steps: int | None = None
) -> _environment.Environment:
  """A game of gymnax by its name, for one agent.

  Args:
    name: e.g. 'CartPole-v1', in quotes inside of a spec.
    max_steps: of an episode; that of the game if None.

  Returns:
    The game, see `from_gymnax`.

  Raises:
    ImportError: if gymnax is not installed.
    ValueError: if the name is unknown.
  """
  peer = extras.require('gymnax', 'the game gymnax')
  checks.choice(name, tuple(peer.registered_envs), name='name')
  env, params = peer.make(name)
  return _adapters.from_gymnax(env, params, max_steps=max_steps)


PEERS = registry.Registry(
  'game of another library',
  {'gymnax': gymnax, 'jaxmarl': jaxmarl, 'smax': _smax.smax},
)
