# SPDX-License-Identifier: Apache-2.0
"""Players of iterated dilemmas, who infer each other while they play.

    arena = coplayers.arena('prisoner', 'corners(0.05)', num_rounds=50)
    learner = coplayers.LEARNERS.make('a2c(pool=tabular, hidden=32)', arena)
    problem = problems.games.coplayers(arena)
    state, history = experiment.train(
      learner, problem, num_rounds=1000, key=jax.random.key(0)
    )

- Games: `GAMES` (`prisoner`, `donation`), whose payoffs may be traced, so that
  populations of games are a vmap. `play` plays one between any two `Policy`s.
- A memory of one round, in closed form: `memory_one_returns`,
  `discounted_returns`, `long_run_returns`, `outcomes`, and `best_response`.
  `STRATEGIES` has the well-known ones, `zero_determinant` extorts; `PRIORS` are
  distributions of them.
- `bayes_icl` infers a strategy exactly and answers it: an in-context learner
  without weights. `POLICIES` are `STRATEGIES` and it.
- Learners (`LEARNERS`), all `core.types.Algorithm`: `ppi` models games
  (`WORLD_MODELS`: `sequence_model`, `count_model`) and plays `improved_policy`;
  `a2c` are recurrent actors with critics, `mechanism` the steps that lead them
  to cooperation; `naive` and `lola` are strategies with exact or sampled
  gradients; `fixed` never changes.
- Whom learners meet is a part of `POOLS`; `meet` plays, `report` measures, by
  context and by round.
"""

from jaxdl.agents.coplayers._a2c import (
  SETTINGS,
  Agent,
  Setting,
  a2c,
  a2c_loss,
  agent_policy,
  mechanism,
  recurrent_agent,
)
from jaxdl.agents.coplayers._arena import (
  POOLS,
  Arena,
  Players,
  Pool,
  arena,
  make_pool,
  meet,
  report,
)
from jaxdl.agents.coplayers._game import (
  GAMES,
  OBSERVATIONS,
  Dilemma,
  donation,
  prisoner,
  reward_of,
  step,
  swap,
)
from jaxdl.agents.coplayers._lola import (
  dice_objective,
  logits_policy,
  lola,
  lola_gradients,
  naive,
  naive_gradients,
  sampled_gradients,
  strategy_values,
)
from jaxdl.agents.coplayers._memory_one import (
  best_response,
  best_response_value,
  discounted_returns,
  long_run,
  long_run_returns,
  memory_one_returns,
  outcomes,
  transitions,
)
from jaxdl.agents.coplayers._planning import (
  improved_policy,
  mc_q_values,
  mc_returns,
  planning_policy,
)
from jaxdl.agents.coplayers._play import (
  POLICIES,
  Games,
  Policy,
  bayes_icl,
  cooperation,
  make_policy,
  memory_one_policy,
  play,
)
from jaxdl.agents.coplayers._ppi import fixed, ppi
from jaxdl.agents.coplayers._registry import LEARNERS
from jaxdl.agents.coplayers._strategies import (
  PRIORS,
  STRATEGIES,
  Prior,
  zero_determinant,
)
from jaxdl.agents.coplayers._worlds import (
  WORLD_MODELS,
  GameData,
  WorldModel,
  count_model,
  sequence_model,
)

__all__ = [
  'GAMES',
  'LEARNERS',
  'OBSERVATIONS',
  'POLICIES',
  'POOLS',
  'PRIORS',
  'SETTINGS',
  'STRATEGIES',
  'WORLD_MODELS',
  'Agent',
  'Arena',
  'Dilemma',
  'GameData',
  'Games',
  'Players',
  'Policy',
  'Pool',
  'Prior',
  'Setting',
  'WorldModel',
  'a2c',
  'a2c_loss',
  'agent_policy',
  'arena',
  'bayes_icl',
  'best_response',
  'best_response_value',
  'cooperation',
  'count_model',
  'dice_objective',
  'discounted_returns',
  'donation',
  'fixed',
  'improved_policy',
  'logits_policy',
  'lola',
  'lola_gradients',
  'long_run',
  'long_run_returns',
  'make_policy',
  'make_pool',
  'mc_q_values',
  'mc_returns',
  'mechanism',
  'meet',
  'memory_one_policy',
  'memory_one_returns',
  'naive',
  'naive_gradients',
  'outcomes',
  'planning_policy',
  'play',
  'ppi',
  'prisoner',
  'recurrent_agent',
  'report',
  'reward_of',
  'sampled_gradients',
  'sequence_model',
  'step',
  'strategy_values',
  'swap',
  'transitions',
  'zero_determinant',
]
