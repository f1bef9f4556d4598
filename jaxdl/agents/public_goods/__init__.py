# SPDX-License-Identifier: Apache-2.0
"""Sequential public goods: agents move one after the other, all share the pot.

A `Game` is a pytree of numbers, so that thousands are one vmapped program:

    game = Game(num_agents=3, rho=1.5, gamma=0.4, kappa=2.0)
    solve(game).contributions                   # (0.36, 0.372, 0.3964)
    many = jax.vmap(lambda g: solve(game.replace(gamma=g)))(gammas)

- `reward`, `score`, `welfare` say what contributions are worth; costs are parts
  of `COSTS`, or `convex(function)`. `GAMES` has games by name.
- Equilibria: `closed_form`, also of agents who see their predecessor alone;
  `solve` (continuous, compiled), `solve_exact` (pieces of lines, float64, on
  the host), `solve_grid` (thresholds, costs of any kind), `solve_tree` (every
  history); `nash` and `planner` for all at once. `find` picks one.
- `Policies` are what agents do at every history: `play` them, or ask for their
  `exploitability`.
- Learners: `ppo_learner` makes an algorithm of independent agents, `METHODS`
  has it and what it is compared with, for `experiment.compare` on
  `problems.games.public_goods`. Its parts (`ppo`, `ppo_loss`, `annealed`,
  `early_stopping`, `generation_settings`) know nothing of the game.

Example:
  >>> game = mac_spgg(gamma=0.4)
  >>> found = solve(game)
  >>> round(float(welfare(found.contributions, game)), 3)
  1.437
  >>> bool((exploitability(found.policies, game).anywhere < 1e-4).all())
  True
"""

from jaxdl.agents.public_goods._closed_form import (
  closed_form,
  total_contribution,
)
from jaxdl.agents.public_goods._continuous import solve
from jaxdl.agents.public_goods._exact import exact_path, solve_exact
from jaxdl.agents.public_goods._exploitability import (
  Exploitability,
  exploitability,
)
from jaxdl.agents.public_goods._game import (
  COSTS,
  GAMES,
  SCORES,
  SYNERGIES,
  Cost,
  Game,
  check_game,
  convex,
  is_reached,
  is_sufficient,
  mac_spgg,
  pgg,
  reward,
  score,
  spgg,
  synergies,
  welfare,
)
from jaxdl.agents.public_goods._grid import grid_gains, solve_grid, solve_tree
from jaxdl.agents.public_goods._learners import (
  METHODS,
  OBSERVATIONS,
  ORDERS,
  SOLVERS,
  LearnerState,
  check_solver,
  equilibrium,
  find,
  observe,
  pick_solver,
  ppo_learner,
)
from jaxdl.agents.public_goods._policies import (
  Policies,
  Solution,
  constant_policies,
  continued,
  play,
)
from jaxdl.agents.public_goods._ppo import (
  PPO,
  PPOState,
  Stopping,
  Transitions,
  annealed,
  early_stopping,
  log_prob,
  normalized,
  ppo,
  ppo_loss,
  start_stopping,
)
from jaxdl.agents.public_goods._rows import policy_rows
from jaxdl.agents.public_goods._settings import (
  GENERATION,
  LOCAL_GENERATION,
  Range,
  generation_settings,
  scaled_actions,
  settings_actions,
)
from jaxdl.agents.public_goods._simultaneous import Resting, nash, planner

__all__ = [
  'COSTS',
  'Cost',
  'Exploitability',
  'GAMES',
  'GENERATION',
  'Game',
  'LOCAL_GENERATION',
  'LearnerState',
  'METHODS',
  'OBSERVATIONS',
  'ORDERS',
  'PPO',
  'PPOState',
  'Policies',
  'Range',
  'Resting',
  'SCORES',
  'SOLVERS',
  'SYNERGIES',
  'Solution',
  'Stopping',
  'Transitions',
  'annealed',
  'check_game',
  'check_solver',
  'closed_form',
  'constant_policies',
  'continued',
  'convex',
  'early_stopping',
  'equilibrium',
  'exact_path',
  'exploitability',
  'find',
  'generation_settings',
  'grid_gains',
  'is_reached',
  'is_sufficient',
  'log_prob',
  'mac_spgg',
  'nash',
  'normalized',
  'observe',
  'pgg',
  'pick_solver',
  'planner',
  'play',
  'policy_rows',
  'ppo',
  'ppo_learner',
  'ppo_loss',
  'reward',
  'scaled_actions',
  'score',
  'settings_actions',
  'solve',
  'solve_exact',
  'solve_grid',
  'solve_tree',
  'spgg',
  'start_stopping',
  'synergies',
  'total_contribution',
  'welfare',
]
