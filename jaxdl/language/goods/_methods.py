# SPDX-License-Identifier: Apache-2.0
"""Who answers, by name.

Every entry of `METHODS` makes a `Method` of a `Setup`, from specs such as
'ppo(observation=full)' or 'majority(num_votes=5, rule=geometric_median)'.
"""

from jaxdl.core import registry
from jaxdl.language.goods import _baselines, _players

# Who answers, for specs such as 'ppo(observation=full)'.
METHODS = registry.Registry(
  'method',
  {
    'ppo': _players.ppo,
    'fixed': _players.fixed,
    'uniform': _players.uniform,
    'single': _baselines.single,
    'chain_of_thought': _baselines.chain_of_thought,
    'majority': _baselines.majority,
    'debate': _baselines.debate,
  },
  given=('setup',),
  told=('num_updates',),
)
# Those who play a game.
PLAYERS = ('ppo', 'fixed', 'uniform')
