# SPDX-License-Identifier: Apache-2.0
"""Sequential public goods in text: models write one after the other.

Agents see what others before them wrote, an evaluator says what each text is
worth, and the game of `agents.public_goods` rewards. What is learned, by PPO,
is how a frozen model is to write: a small policy for each agent maps what it
sees to settings of generation.

    setup = goods.make_setup('mac_spgg(gamma=0.4)', evaluator='exact')
    team = goods.METHODS.make('ppo(hidden=64)', setup, num_updates=50)
    train, test = goods.split_tasks(goods.arithmetic_tasks(300), 50)
    experiment = goods.compare_texts(
      {'ppo': team}, train, test, lambda: client, num_rounds=50
    )

- `Task`s are made (`arithmetic_tasks`) or read (`read_tasks`: GSM8K, MMLU and
  the like as JSON lines); `TASKS` has both by name. Code is never run: of tasks
  such as HumanEval only what a judge says counts.
- `answer_of` finds a text's answer, `EVALUATORS` say what it is worth:
  `exact`, `numeric`, `judge` (a model), or any function of yours.
- `run_sequence` is the protocol, partial or full observation; a request that
  fails makes its `Episode` count for nothing.
- `METHODS`: `ppo`, `fixed` and `uniform` play a game; `single`,
  `chain_of_thought`, `majority` and `debate` are baselines. `vote` counts by
  weights or by any rule of `aggregators`.
- `team_rewards`, `make_learner`, `selection_score` are the numbers behind it.
- `compare_texts` is an experiment of rounds, `transcripts` are for readers of
  what was said; `SCRIPTS` are models for
  `language.loopback`, which are no language models.

Replies are untrusted: only their ends are read, nothing in them is evaluated.
"""

from jaxdl.language.goods._comparison import (
  compare_texts,
  draw_tasks,
  settings_rows,
  source_of,
)
from jaxdl.language.goods._encoding import (
  ENCODERS,
  Encoder,
  facts,
  hashing,
  text_encoder,
)
from jaxdl.language.goods._evaluators import (
  EVALUATORS,
  QUALITIES,
  Judge,
  Rating,
  exact,
  judge,
  judged_value,
  numeric,
  rate,
)
from jaxdl.language.goods._extraction import (
  answer_of,
  extract_choice,
  extract_number,
  plain_number,
)
from jaxdl.language.goods._learning import (
  Learner,
  TeamState,
  make_learner,
  reward_metrics,
  selection_score,
  team_rewards,
)
from jaxdl.language.goods._methods import METHODS, PLAYERS
from jaxdl.language.goods._protocol import (
  OBSERVATIONS,
  Agent,
  Episode,
  Turn,
  make_agents,
  request_settings,
  run_sequence,
)
from jaxdl.language.goods._reports import transcripts
from jaxdl.language.goods._scripted import SCRIPTS, marker, skill, solver
from jaxdl.language.goods._setups import (
  Method,
  Setup,
  episode_metrics,
  make_setup,
)
from jaxdl.language.goods._tasks import (
  TASKS,
  Task,
  arithmetic_tasks,
  check_task,
  read_tasks,
  solve_arithmetic,
  split_tasks,
)
from jaxdl.language.goods._votes import Vote, vote

__all__ = [
  'Agent',
  'ENCODERS',
  'EVALUATORS',
  'Encoder',
  'Episode',
  'Judge',
  'Learner',
  'METHODS',
  'Method',
  'OBSERVATIONS',
  'PLAYERS',
  'QUALITIES',
  'Rating',
  'SCRIPTS',
  'Setup',
  'TASKS',
  'Task',
  'TeamState',
  'Turn',
  'Vote',
  'answer_of',
  'arithmetic_tasks',
  'check_task',
  'compare_texts',
  'draw_tasks',
  'episode_metrics',
  'exact',
  'extract_choice',
  'extract_number',
  'facts',
  'hashing',
  'judge',
  'judged_value',
  'make_agents',
  'make_learner',
  'make_setup',
  'marker',
  'numeric',
  'plain_number',
  'rate',
  'read_tasks',
  'request_settings',
  'reward_metrics',
  'run_sequence',
  'selection_score',
  'settings_rows',
  'skill',
  'solve_arithmetic',
  'solver',
  'source_of',
  'split_tasks',
  'team_rewards',
  'text_encoder',
  'transcripts',
  'vote',
]
