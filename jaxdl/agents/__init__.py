# SPDX-License-Identifier: Apache-2.0
"""Agents that learn together in games, as pure functions.

A game is an `Environment`: `start`, `move` and `observe` of arrays with an axis
of N agents. `reset`, `step` and `step_many` add exact limits of time, told
apart from the game's own end, logs, and fresh starts. Agents are a `Policy`,
which `actor_critic` makes with or without memory and messages. A learner such
as `ppo` is a `core.types.Algorithm` whose step plays and learns in one program:

    env = agents.make_game('simple_spread(num_agents=3)')
    policy = agents.actor_critic(env, critic='world')
    learner = agents.ppo(env, policy, optimizer=optax.adam(2e-3))
    problem = problems.games.games(env, policy)
    state, history = experiment.train(
      learner, problem, num_rounds=100, key=jax.random.key(0)
    )

Numbers of a game are leaves of `Environment.params`: `vmap` over them plays a
population of games, over keys a learner's seeds.

- games: `GAMES`, `make_game` and `agents.games`;
- playing: `rollout`, `play_episodes`, `record_episode`;
- learning: `ppo` (IPPO, MAPPO); `gae`, `lambda_returns`,
  `monte_carlo_returns`, `clipped_surrogate`;
- by name: `make_learner('mappo', env, num_updates=100)`, see `ALGORITHMS`, also
  on a network, 'ippo@ring'; `reinforce`, `agents.values` (IQL, VDN, QMIX,
  MADDPG), `agents.networked`;
- messages: `agents.communication`, by name in `COMMUNICATIONS`; `agents.hammer`
  has those of a central agent, `agents.commformer` Transformers on a learned
  graph of who listens to whom;
- `agents.public_goods`: sequential public goods games and their equilibria;
- `agents.coplayers`: iterated dilemmas and players who infer each other.
"""

from jaxdl.agents import (
  commformer,
  communication,
  coplayers,
  games,
  hammer,
  networked,
  public_goods,
  values,
)
from jaxdl.agents._actions import Categories, Gaussian, entropy_of, masked
from jaxdl.agents._environment import (
  Environment,
  Log,
  Outcome,
  Running,
  Seen,
  Step,
  check_environment,
  flat_actions,
  random_actions,
  world_of,
)
from jaxdl.agents._learners import ALGORITHMS, Learner
from jaxdl.agents._measures import frame_rows, rates_by_context, saliency
from jaxdl.agents._policy import (
  CRITICS,
  Acted,
  Communication,
  Judged,
  Policy,
  Talk,
  actor_critic,
  random_policy,
)
from jaxdl.agents._ppo import (
  Batch,
  LearnerState,
  advantages_of,
  check_loop,
  clipped_surrogate,
  masked_mean,
  normalized,
  played,
  ppo,
)
from jaxdl.agents._registry import (
  LEARNERS,
  check_finite,
  make_learner,
  repeated,
)
from jaxdl.agents._reinforce import mixed_returns, reinforce
from jaxdl.agents._returns import gae, lambda_returns, monte_carlo_returns
from jaxdl.agents._rollout import (
  Playing,
  Trajectory,
  begin,
  play_episodes,
  record_episode,
  rollout,
)
from jaxdl.agents.communication import COMMUNICATIONS, make_communication
from jaxdl.agents.games import GAMES, make_game

__all__ = [
  'ALGORITHMS',
  'COMMUNICATIONS',
  'CRITICS',
  'GAMES',
  'LEARNERS',
  'Acted',
  'Batch',
  'Categories',
  'Communication',
  'Environment',
  'Gaussian',
  'Judged',
  'Learner',
  'LearnerState',
  'Log',
  'Outcome',
  'Playing',
  'Policy',
  'Running',
  'Seen',
  'Step',
  'Talk',
  'Trajectory',
  'actor_critic',
  'advantages_of',
  'begin',
  'check_environment',
  'check_finite',
  'check_loop',
  'clipped_surrogate',
  'commformer',
  'communication',
  'coplayers',
  'entropy_of',
  'flat_actions',
  'frame_rows',
  'gae',
  'games',
  'hammer',
  'lambda_returns',
  'make_communication',
  'make_game',
  'make_learner',
  'masked',
  'masked_mean',
  'mixed_returns',
  'monte_carlo_returns',
  'networked',
  'normalized',
  'play_episodes',
  'played',
  'ppo',
  'public_goods',
  'random_actions',
  'random_policy',
  'rates_by_context',
  'record_episode',
  'reinforce',
  'repeated',
  'rollout',
  'saliency',
  'values',
  'world_of',
]
