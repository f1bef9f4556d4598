# SPDX-License-Identifier: Apache-2.0
"""Battles of JaxMARL, a stand-in for StarCraft."""

from jaxdl.agents import _environment
from jaxdl.agents.games import _adapters
from jaxdl.core import checks, extras


def smax(
  *, scenario: str = '3m', max_steps: int | None = None
) -> _environment.Environment:
  """Allies fight units that act by rules.

  Args:
    scenario: of JaxMARL's SMAX, e.g. '3m', '2s3z', '8m', '10m_vs_11m'.
    max_steps: of an episode; that of SMAX if None.

  Returns:
    The game, see `from_jaxmarl`; agents that have fallen are not alive.

  Raises:
    ImportError: if jaxmarl is not installed.
    ValueError: if the scenario is unknown.

  Source: Rutherford et al. 2024, JaxMARL (https://arxiv.org/abs/2311.10090).
  """
  peer = extras.require('jaxmarl', 'agents.games.smax')
  known = extras.require('jaxmarl.environments.smax', 'agents.games.smax')
  scenarios = known.smax_env.MAP_NAME_TO_SCENARIO
  checks.choice(scenario, scenarios, name='scenario')
  made = peer.make(
    'HeuristicEnemySMAX', scenario=known.map_name_to_scenario(scenario)
  )
  return _adapters.from_jaxmarl(made, max_steps=max_steps)
