# SPDX-License-Identifier: Apache-2.0
"""The forward phase: a task goes through layers of agents."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxdl.core import checks
from jaxdl.language import _client
from jaxdl.language.teams import (
  _block,
  _items,
  _prompts,
  _votes,
  _workflow,
)

ROUTES = ('loss', 'model')
# Of models that decide; workers have settings of their own.
DECIDING = {'temperature': 0.0, 'max_tokens': 800}
WORKING = {'temperature': 0.0, 'max_tokens': 400}


class Step(NamedTuple):
  """What one agent did.

  Attributes:
    layer: from 0.
    agent: its id.
    input: what the layer got.
    output: its answer; None if there was none.
    confidence: in [0, 1].
    block_id: of its team.
    tokens: of questions and answers.
    repaired: whether only the second reply had the form.
    error: why there is no answer, or None.
    kind: of the last reply, see `language.Reply`.
  """

  layer: int
  agent: str
  input: Any
  output: Any
  confidence: float
  block_id: str
  tokens: int
  repaired: bool = False
  error: str | None = None
  kind: str = 'ok'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectory:
  """What happened to a task.

  Attributes:
    item: the task.
    steps: of agents, in order.
    blocks: ids of the blocks that were used, by layer.
    outputs: of layers.
    credits: how much each agent moved its layer's answer, by layer.
    score: in [0, 1].
    tokens: of all questions and answers.
    fallbacks: times that a router named no block.
    spent: whether the budget ended it.
  """

  item: _items.Item
  steps: tuple[Step, ...]
  blocks: tuple[str, ...]
  outputs: tuple[Any, ...]
  credits: tuple[dict[str, float], ...]
  score: float
  tokens: int
  fallbacks: int = 0
  spent: bool = False

  @property
  def output(self) -> Any:
    """Of the last layer."""
    return self.outputs[-1] if self.outputs else None

  @property
  def loss(self) -> float:
    """One less the score."""
    return 1.0 - self.score

  @property
  def unanswered(self) -> str:
    """Why no endpoint has answered anything; '' if one has."""
    if self.steps and all(step.kind == 'failed' for step in self.steps):
      return str(self.steps[0].error)
    return ''

  @property
  def failed_steps(self) -> float:
    """Share of steps without an answer: a loss of the trajectory."""
    wrong = sum(step.error is not None for step in self.steps)
    return wrong / len(self.steps) if self.steps else 0.0

  def shown(self, layer: int | None = None) -> dict[str, Any]:
    """Plain values for critics: all layers, or one."""
    steps = [
      {
        'layer': s.layer,
        'agent': s.agent,
        'input': _prompts.shortened(s.input, 200),
        'output': _prompts.shortened(s.output, 200),
      }
      | ({'error': _prompts.shortened(s.error, 200)} if s.error else {})
      for s in self.steps
      if layer is None or s.layer == layer
    ]
    return {
      'task': _prompts.shortened(self.item.question),
      'expected': _prompts.shortened(self.item.answer, 200),
      'outputs': [_prompts.shortened(o, 200) for o in self.outputs],
      'score': self.score,
      'steps': steps,
    }


async def forward(
  item: _items.Item,
  workflow: _workflow.Workflow,
  client: _client.Client,
  *,
  blocks: Mapping[int, _block.Block] | None = None,
  route: str = 'loss',
  settings: Mapping[str, Any] | None = None,
  samples: Mapping[str, int] | None = None,
) -> Trajectory:
  """Runs a task: layers in order, the agents of a layer side by side.

  Args:
    item: the task.
    workflow: pools of blocks.
    client: who answers; roles are 'worker', 'router' and 'critic'.
    blocks: blocks that are used whatever the pools say, by layer.
    route: who picks the others: 'loss' for the lowest running loss, 'model' to
      ask one.
    settings: of generation of workers.
    samples: number of the answer of agents, by id; 0 where not named.

  Returns:
    What happened. Agents without an answer are counted, not raised; if the
    budget ends, so does the task, with the score 0.

  Raises:
    MissingReply: if a replayed run has no answer.
    ValueError: if the route is unknown.
  """
  checks.choice(route, ROUTES, name='route')
  run = _Run(client, item, dict(WORKING | dict(settings or {})), samples or {})
  used, outputs, credits, before = [], [], [], None
  for layer in range(len(workflow.pools)):
    block = (blocks or {}).get(layer)
    if block is None:
      block = await run.route(layer, workflow, before, route)
    used.append(block.block_id)
    joined = await run.layer(layer, block, before)
    before = joined.answer
    outputs.append(joined.answer)
    credits.append(joined.credit)
    if run.spent or before is None:
      break
  score = 0.0
  whole = len(outputs) == len(workflow.pools)
  if whole and not run.spent:
    score = _items.grade(item, outputs[-1])
  return Trajectory(
    item=item,
    steps=tuple(run.steps),
    blocks=tuple(used),
    outputs=tuple(outputs) if whole else (*outputs, None),
    credits=tuple(credits),
    score=score,
    tokens=run.tokens,
    fallbacks=run.fallbacks,
    spent=run.spent,
  )


class _Run:
  """One task on its way."""

  def __init__(self, client, item, settings, samples):
    self.client, self.item = client, item
    self.settings, self.samples = settings, samples
    self.steps, self.tokens, self.fallbacks = [], 0, 0
    self.spent = False

  def _count(self, parsed):
    self.tokens += tokens_of(parsed)
    self.spent |= is_spent(parsed)

  async def route(self, layer, workflow, before, route):
    """Picks the block of a layer."""
    pool = [e.block for e in workflow.pools[layer]]
    best = _workflow.current(workflow, layer)
    if route == 'loss' or len(pool) == 1:
      return best
    parsed = await self.client.ask_for(
      _prompts.router_messages(layer, pool, self.item.question, before),
      _prompts.router_contract(),
      role='router',
      label='router',
      settings=DECIDING,
    )
    self._count(parsed)
    wanted = (parsed.value or {}).get('block_id')
    for block in pool:
      if block.block_id == wanted:
        return block
    self.fallbacks += 1
    return best

  async def layer(self, layer, block, before):
    """Runs a team and joins its answers."""
    how = _votes.TEXT_AGGREGATIONS.make(block.aggregation)
    ids = [node.id for node in block.nodes]
    groups = _block.topological_order(ids, block.edges)
    nodes = {node.id: node for node in block.nodes}
    said: dict[str, _votes.Said] = {}
    ended = False
    if how.order == 'chain':
      groups = [[name] for group in groups for name in group]
    for group in groups:
      if ended or self.spent:
        break
      asked = []
      for name in group:
        seen = [a for a, b in block.edges if b == name]
        if how.order == 'chain':
          seen = list(said)[-1:]
        asked.append(self._ask(layer, block, nodes[name], before, seen, said))
      for one, step in await _client.gather(asked):
        said[one.agent] = one
        self.steps.append(step)
      ended = block.aggregation.startswith('pipeline') and any(
        said[name].answer is None for name in group
      )
    sources = {a for a, _ in block.edges}
    last = ids if how.order == 'chain' else [i for i in ids if i not in sources]
    final = [said.get(i, _votes.Said(i, None)) for i in last]
    joined = how.join(final)
    given = [s for s in final if s.answer is not None]
    if how.asks and len(given) > 1 and not self.spent:
      joined = await self._join(how.asks, block.format, given, joined)
    return joined

  async def _ask(self, layer, block, node, before, seen, said):
    messages = _prompts.worker_messages(
      node,
      self.item.question,
      before,
      [(a, said[a].answer) for a in seen if said[a].answer is not None],
      block.format,
    )
    parsed = await self.client.ask_for(
      messages,
      _prompts.worker_contract(block.format),
      role='worker',
      label=f'{layer}/{node.id}',
      settings=self.settings,
      sample=self.samples.get(node.id, 0),
    )
    self._count(parsed)
    value = parsed.value or {}
    answer, confidence = value.get('answer'), value.get('confidence', 0.0)
    step = Step(
      layer,
      node.id,
      self.item.question if before is None else before,
      answer,
      confidence,
      block.block_id,
      tokens_of(parsed),
      parsed.repaired,
      parsed.error if parsed.value is None else None,
      parsed.reply.kind,
    )
    return _votes.Said(node.id, answer, confidence), step

  async def _join(self, part, format, given, otherwise):
    parsed = await self.client.ask_for(
      _prompts.join_messages(part, self.item.question, given),
      _prompts.join_contract(part, format),
      role='critic',
      label=part,
      settings=DECIDING,
    )
    self._count(parsed)
    if parsed.value is None:
      return otherwise
    if part == _prompts.WRITER:
      share = {s.agent: 1 / len(given) for s in given}
      return _votes.Joined(parsed.value['answer'], share)
    for one in given:
      if one.agent == parsed.value['agent']:
        return _votes.Joined(one.answer, {one.agent: 1.0})
    return otherwise


def tokens_of(parsed: Any) -> int:
  """Tokens of all replies to one question."""
  return sum(r.prompt_tokens + r.completion_tokens for r in parsed.replies)


def is_spent(parsed: Any) -> bool:
  """Whether the budget had no room for a question."""
  return any(r.kind == 'budget' for r in parsed.replies)


async def forward_all(
  items: Sequence[_items.Item],
  workflow: _workflow.Workflow,
  client: _client.Client,
  **options: Any,
) -> list[Trajectory]:
  """Runs several tasks side by side.

  Args:
    items: the tasks.
    workflow: pools of blocks.
    client: who answers.
    **options: as `forward`.

  Returns:
    What happened, in their order.
  """
  return await _client.gather(
    [forward(item, workflow, client, **options) for item in items]
  )
