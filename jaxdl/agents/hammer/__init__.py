# SPDX-License-Identifier: Apache-2.0
"""Messages of a central agent to agents that see little.

N agents act on what they see; one central agent sees what all see and tells
each a few numbers, but commands nothing. `VARIANTS` has who talks how:

- `il`, `random`: nobody, and noise;
- `v1`: messages are actions of a central PPO;
- `v2`: messages are learned through the agents' own losses;
- `v3`: likewise, made near binary by noise (`dru`);
- `central`: one agent acts for all;
- `learner`: any of `agents.ALGORITHMS`, such as MADDPG and DIAL.

`told` makes a variant of any other `Messenger`.

`message_saliency` and `wiggle` say what messages do, `log_messages` keeps them,
`correlations`, `predicted_state` and `embedded_messages` look at what is in
them, `probe` makes rows of it for pictures.

    env = agents.make_game('simple_spread(num_agents=3, seen=partial)')
    told = hammer.make_variant('v2(message_length=1)', env)
    problem = problems.games.games(env, told.execution)
    state, history = experiment.train(
      told.algorithm, problem, num_rounds=100, key=jax.random.key(0)
    )
"""

from jaxdl.agents.hammer._analysis import (
  MessageLog,
  correlations,
  embedded_messages,
  log_messages,
  message_saliency,
  predicted_state,
  wiggle,
)
from jaxdl.agents.hammer._host import algorithm_on_host
from jaxdl.agents.hammer._local import (
  SHARINGS,
  Local,
  central_policy,
  local_agents,
  told_policy,
)
from jaxdl.agents.hammer._messages import (
  EXECUTIONS,
  KINDS,
  Messenger,
  Speaker,
  dru,
  encoded,
  message_encode,
  noise,
  silent,
  speaker,
)
from jaxdl.agents.hammer._probe import BINS, SHIFTS, probe
from jaxdl.agents.hammer._training import (
  Learning,
  Losses,
  Training,
  joint_learning,
  local_learning,
  losses,
  targets_of,
)
from jaxdl.agents.hammer._variants import (
  VARIANTS,
  Learner,
  Variant,
  algorithm_of,
  central,
  from_learner,
  il,
  learner,
  make_variant,
  random,
  told,
  v1,
  v2,
  v3,
)

__all__ = [
  'BINS',
  'EXECUTIONS',
  'KINDS',
  'SHARINGS',
  'SHIFTS',
  'VARIANTS',
  'Learner',
  'Learning',
  'Local',
  'Losses',
  'MessageLog',
  'Messenger',
  'Speaker',
  'Training',
  'Variant',
  'algorithm_of',
  'algorithm_on_host',
  'central',
  'central_policy',
  'correlations',
  'dru',
  'embedded_messages',
  'encoded',
  'from_learner',
  'il',
  'joint_learning',
  'learner',
  'local_agents',
  'local_learning',
  'log_messages',
  'losses',
  'make_variant',
  'message_encode',
  'message_saliency',
  'noise',
  'predicted_state',
  'probe',
  'random',
  'silent',
  'speaker',
  'targets_of',
  'told',
  'told_policy',
  'v1',
  'v2',
  'v3',
  'wiggle',
]
