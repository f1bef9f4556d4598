# SPDX-License-Identifier: Apache-2.0
"""Agentic neural networks: teams of agents in layers, and how they change.

A workflow is read as a network: a node is an agent, a layer is a team for one
step, an aggregation joins its answers. What went wrong comes back as gradients,
global (which layer) and local (what in it); edits follow them, smoothed by
momentum, and stay only if samples that nobody learned from say so. There are
two forms, and one set of rules that decide: `combined`, `momentum`, `accept`,
what was refused before, what must stay solved, what a pool keeps. `METHODS` has
all ways to find a team.

In numbers, agents are frozen classifiers (`Agents`), a `Team` is who counts and
how (`AGGREGATIONS`: votes, means, any rule of `jaxdl.aggregators`), and critics
count: `leave_one_out`, `edit_scores`, `layer_credit`. All is jittable; `search`
is one program:

    task = digits(seed=0)
    state, log = search(
      *task[:3], key=jax.random.key(0), num_proposals=12, method='ann'
    )

In text, agents are language models: a `Block` of `Node`s, changed by a `Patch`
of `Edit`s (`apply_patch`, `validate_block`), in the pools of a `Workflow`,
which `dump_workflow` writes as YAML for people. `forward` runs a task,
`evolve_step` one iteration of critics and validated patches; its state is
JSON. Answers are joined by `TEXT_AGGREGATIONS`, robust rules with weights and
credit among them. Models answer JSON; what else they say is counted and
dropped, and nothing that they write is run, programs of benchmarks included.

`numeric_teams` and `text_teams` compare methods, for `experiment.runner`.

Source: Ma et al. 2025 (https://arxiv.org/abs/2506.09046). The numeric form is
of this package; prompts and forms of messages too.
"""

from jaxdl.language.teams._aggregations import (
  AGGREGATIONS,
  DEFAULT as DEFAULT_AGGREGATIONS,
  aggregate,
  credit,
)
from jaxdl.language.teams._block import (
  EDIT_KINDS,
  Block,
  Edit,
  Node,
  Patch,
  apply_patch,
  topological_order,
  validate_block,
)
from jaxdl.language.teams._classifiers import (
  TASKS,
  NumericTask,
  digits,
  digits_shapes,
)
from jaxdl.language.teams._comparison import (
  check_numeric,
  check_text,
  numeric_teams,
  text_teams,
)
from jaxdl.language.teams._control import (
  ACCEPTANCES,
  accept,
  combined,
  momentum,
)
from jaxdl.language.teams._draw import draw
from jaxdl.language.teams._evolve import (
  blocks_of,
  evolve_step,
  start_evolution,
)
from jaxdl.language.teams._forward import Trajectory, forward
from jaxdl.language.teams._items import (
  GRADERS,
  TEXT_TASKS,
  Item,
  Items,
  grade,
)
from jaxdl.language.teams._methods import METHODS
from jaxdl.language.teams._numeric import (
  Agents,
  Team,
  answers,
  apply_edit,
  edit_scores,
  everybody,
  layer_credit,
  leave_one_out,
  propose_edit,
  team_loss,
)
from jaxdl.language.teams._scripted import arithmetic_workflow
from jaxdl.language.teams._search import (
  Samples,
  search,
  search_step,
  start_search,
)
from jaxdl.language.teams._votes import TEXT_AGGREGATIONS, Said, join_answers
from jaxdl.language.teams._workflow import (
  Workflow,
  dump_workflow,
  load_workflow,
  make_workflow,
  read_workflow,
  write_workflow,
)

__all__ = [
  'ACCEPTANCES',
  'AGGREGATIONS',
  'Agents',
  'Block',
  'DEFAULT_AGGREGATIONS',
  'EDIT_KINDS',
  'Edit',
  'GRADERS',
  'Item',
  'Items',
  'METHODS',
  'Node',
  'NumericTask',
  'Patch',
  'Said',
  'Samples',
  'TASKS',
  'TEXT_AGGREGATIONS',
  'TEXT_TASKS',
  'Team',
  'Trajectory',
  'Workflow',
  'accept',
  'aggregate',
  'answers',
  'apply_edit',
  'apply_patch',
  'arithmetic_workflow',
  'blocks_of',
  'check_numeric',
  'check_text',
  'combined',
  'credit',
  'digits',
  'digits_shapes',
  'draw',
  'dump_workflow',
  'edit_scores',
  'everybody',
  'evolve_step',
  'forward',
  'grade',
  'join_answers',
  'layer_credit',
  'leave_one_out',
  'load_workflow',
  'make_workflow',
  'momentum',
  'numeric_teams',
  'propose_edit',
  'read_workflow',
  'search',
  'search_step',
  'start_evolution',
  'start_search',
  'team_loss',
  'text_teams',
  'topological_order',
  'validate_block',
  'write_workflow',
]
