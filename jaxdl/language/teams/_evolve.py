# SPDX-License-Identifier: Apache-2.0
"""The backward phase: critics, patches, validation, and what is remembered.

The state is a dict of plain values, so that it can be written as JSON between
any two iterations and read again.
"""

import copy
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.language import _client
from jaxdl.language.teams import (
  _block,
  _control,
  _forward,
  _items,
  _measured,
  _methods,
  _prompts,
  _starts,
  _votes,
  _workflow,
)

# Suggestions that an optimizer is shown again.
HISTORY = 5
_MOST_REFUSED = 512
_MOST_KNOWN = 32
_MOST_FAILURES = 4
VERDICTS = (
  *('accepted', 'none', 'malformed', 'connections', 'schema', 'structure'),
  *('repeated', 'worse', 'breaks'),
)
State = dict[str, Any]


def start_evolution(workflow: _workflow.Workflow) -> State:
  """Starts a state.

  Args:
    workflow: at the start; of each pool the newest of the best blocks is used.

  Returns:
    Plain values.
  """
  _workflow.check_workflow(workflow)
  num = len(workflow.pools)
  return {
    'workflow': _workflow.workflow_json(workflow),
    'chosen': [_workflow.current(workflow, k).block_id for k in range(num)],
    'iteration': 0,
    'next_block': 1,
    'history': [[] for _ in range(num)],
    'kind_scores': {},
    'refused': [],
    'replay': [],
    'known': {},
    'counts': dict.fromkeys(VERDICTS, 0) | {'fallbacks': 0, 'repaired': 0},
    'tokens': 0,
    'stopped': '',
    'log': [],
  }


def blocks_of(state: State) -> dict[int, _block.Block]:
  """The blocks that a state has come to, by layer."""
  workflow = _workflow.read_workflow_json(state['workflow'])
  found = {}
  for layer, name in enumerate(state['chosen']):
    pool = [e.block for e in workflow.pools[layer]]
    found[layer] = next(b for b in pool if b.block_id == name)
  return found


async def evolve_step(
  state: State,
  items: _items.Items,
  client: _client.Client,
  *,
  method: _methods.Method | str = 'ann',
  seed: int = 0,
  train_batch: int = 8,
  route: str = 'loss',
  target: float = 1.0,
) -> State:
  """One iteration: forward, critics, and for each layer a validated patch.

  Tasks that failed give a global gradient (a critic's words) and, layer by
  layer from the last, local ones (patches). A patch has to be well formed, to
  name what exists, to make a graph without cycles that the pool does not hold,
  and to run on the validation tasks without a higher loss and without failing
  where the replay set was solved.

  Args:
    state: so far; it is not changed.
    items: tasks.
    client: who answers, in the roles 'worker', 'critic', 'optimizer', 'router'.
    method: a part of `METHODS`, or what it makes.
    seed: of batches, and of random edits.
    train_batch: tasks that gradients come from.
    route: see `forward`; patches are of the blocks that were accepted last.
    target: score below which a task has failed, in (0, 1].

  Returns:
    The new state. `stopped` says why nothing more is to be done: 'solved',
    'budget', or that no endpoint answers; the workflow is whole then too.

  Raises:
    ValueError: if a number is out of range or a name unknown.
    MissingReply: if a replayed run has no answer.

  Source: Ma et al. 2025 (https://arxiv.org/abs/2506.09046), Method; prompts and
    forms of messages are of this package.
  """
  made = _methods.method(method) if isinstance(method, str) else method
  checks.integer(train_batch, name='train_batch', low=1)
  checks.number(target, name='target', low=0.0, open_low=True, high=1.0)
  if state['stopped'] or made.search == 'none':
    return state | {'iteration': state['iteration'] + 1}
  run = _Iteration(copy.deepcopy(state), items, client, made, seed)
  await run.go(train_batch, route, target)
  return run.finished()


class _Iteration:
  """One iteration on its way."""

  def __init__(self, state, items, client, method, seed):
    self.state, self.items, self.client = state, items, client
    self.method, self.seed = method, seed
    self.workflow = _workflow.read_workflow_json(state['workflow'])
    self.blocks = blocks_of(state)
    state['iteration'] += 1

  def finished(self):
    """The state, with all that has changed."""
    self.state['workflow'] = _workflow.workflow_json(self.workflow)
    self.state['chosen'] = [
      self.blocks[k].block_id for k in range(len(self.blocks))
    ]
    return self.state

  def _stops(self, why):
    self.state['stopped'] = self.state['stopped'] or why
    return why

  async def go(self, train_batch, route, target):
    """Forward, critics, patches."""
    state = self.state
    if self.method.validate:
      before = await self._known(self.items.validation)
      if before is None or not before.loss:
        self._stops('' if before is None else 'solved')
        return
    drawn = _measured.batch(
      self.items.train,
      train_batch,
      seed=self.seed,
      iteration=state['iteration'],
    )
    routed = {} if route == 'model' else {'blocks': self.blocks}
    done = await _forward.forward_all(
      drawn, self.workflow, self.client, route=route, **routed
    )
    if not self._noted(done):
      return
    failed = [t for t in done if t.score < target]
    if not failed:
      return
    shown = failed[:_MOST_FAILURES]
    global_ = None
    if self.method.search == 'gradient' and self.method.beta > 0:
      global_ = await self._criticized(shown)
    for layer in reversed(range(len(self.workflow.pools))):
      if state['stopped']:
        return
      await self._improved(layer, global_, shown)

  def _noted(self, done):
    """Running losses, solved tasks, tokens; False if nothing can go on."""
    state = self.state
    for trajectory in done:
      state['tokens'] += trajectory.tokens
      state['counts']['fallbacks'] += trajectory.fallbacks
      state['counts']['repaired'] += sum(s.repaired for s in trajectory.steps)
    found = _measured.summarized(done, self.blocks)
    if found.spent or found.dead:
      self._stops('budget' if found.spent else found.dead)
      return False
    for trajectory in done:
      for layer, name in enumerate(trajectory.blocks):
        self.workflow = _workflow.used(
          self.workflow, layer, name, trajectory.loss
        )
    if self.method.replay:
      kept = [n for n in state['replay'] if n not in found.solved]
      state['replay'] = [*kept, *found.solved][-self.method.replay :]
    return True

  async def _known(self, tasks, blocks=None):
    """What blocks are worth on the validation tasks; asked for once."""
    blocks = blocks or self.blocks
    name = _block.digest(*blocks.values())
    known = self.state['known']
    if name not in known:
      found = await _measured.measure(tasks, self.workflow, self.client, blocks)
      self.state['tokens'] += found.tokens
      if found.spent or found.dead:
        self._stops('budget' if found.spent else found.dead)
        return None
      known[name] = [found.loss, found.cost, found.solved]
      for old in list(known)[:-_MOST_KNOWN]:
        del known[old]
    loss, cost, solved = known[name]
    return _measured.Measured(loss, cost, solved, {})

  async def _criticized(self, failed):
    parsed = await self.client.ask_for(
      _prompts.critic_messages(
        [t.shown() for t in failed], len(self.workflow.pools)
      ),
      _prompts.critic_contract(len(self.workflow.pools)),
      role='critic',
      label='critic',
      settings=_forward.DECIDING,
    )
    self._spent(parsed)
    return parsed.value

  def _spent(self, parsed):
    self.state['tokens'] += _forward.tokens_of(parsed)
    if _forward.is_spent(parsed):
      self._stops('budget')

  async def _improved(self, layer, global_, failed):
    """Asks for a patch of a layer, and takes it or leaves it."""
    block, state = self.blocks[layer], self.state
    patch, raw, verdict = await self._proposed(layer, global_, failed)
    if state['stopped']:
      return
    old = new = None
    if not verdict:
      verdict, old, new, candidate = await self._tried(layer, block, patch)
      if state['stopped']:
        return
      if verdict == 'accepted':
        self._took(layer, candidate, new)
    state['counts'][verdict] += 1
    edits = [] if patch is None else [e._asdict() for e in patch.edits]
    entry = {
      'iteration': state['iteration'],
      'layer': layer,
      'verdict': verdict,
      'edits': edits,
      'old': old,
      'new': new,
    }
    # What is no patch is kept as it came, for whoever reads the log.
    state['log'].append(entry | ({'raw': raw} if patch is None else {}))
    if edits:
      own = state['history'][layer]
      own.append({'edits': edits, 'verdict': verdict})
      del own[:-HISTORY]
    if old is not None and new is not None:
      for kind in sorted({e['kind'] for e in edits}):
        scores = state['kind_scores']
        scores[kind] = _control.momentum(
          old - new, scores.get(kind), self.method.alpha
        )

  async def _proposed(self, layer, global_, failed):
    """A patch, the reply as it came, and a verdict if there is none."""
    block, made = self.blocks[layer], self.method
    if made.search == 'random':
      rng = np.random.default_rng([self.seed, self.state['iteration'], layer])
      return _starts.random_patch(block, layer, rng), '', ''
    smooth = made.alpha < 1
    parsed = await self.client.ask_for(
      _prompts.optimizer_messages(
        layer,
        block,
        global_=global_,
        failures=[t.shown(layer) for t in failed] if made.beta < 1 else (),
        history=self.state['history'][layer] if smooth else (),
        kind_scores=self.state['kind_scores'] if smooth else {},
        beta=made.beta,
      ),
      _prompts.optimizer_contract(layer),
      role='optimizer',
      label=f'optimizer/{layer}',
      settings=_forward.DECIDING
      | ({'temperature': made.temperature} if made.temperature else {}),
      sample=self.state['iteration'] if made.temperature else 0,
    )
    self._spent(parsed)
    raw = _prompts.shortened(parsed.reply.text or '', 4000)
    if parsed.value is None:
      return None, raw, 'malformed'
    return parsed.value, raw, '' if parsed.value.edits else 'none'

  async def _tried(self, layer, block, patch):
    """The stages of validation."""
    state, made = self.state, self.method
    name = f'b{state["next_block"]}'
    pool = [e.block for e in self.workflow.pools[layer]]
    ids = [b.block_id for b in pool]
    while name in ids:
      state['next_block'] += 1
      name = f'b{state["next_block"]}'
    key = _block.digest(layer, block, [list(e) for e in patch.edits])
    if made.remember and key in state['refused']:
      return 'repeated', None, None, None
    verdict = ''
    candidate = None
    try:
      candidate = _block.apply_patch(block, patch, name)
    except ValueError:
      verdict = 'connections'
    if candidate is not None:
      faults = _block.validate_block(candidate, pool)
      verdict = faults[0].split(':')[0] if faults else ''
      offered = (*_votes.OFFERED, *(b.aggregation for b in pool))
      if candidate.aggregation not in offered:
        verdict = 'schema'
    old = new = None
    if not verdict and not made.validate:
      verdict = 'accepted'
    if not verdict:
      verdict, old, new = await self._compared(layer, candidate)
    if verdict not in ('', 'accepted'):
      state['refused'] = [*state['refused'], key][-_MOST_REFUSED:]
    return verdict, old, new, candidate

  async def _compared(self, layer, candidate):
    """Runs a candidate on the validation tasks and on the replay set."""
    changed = self.blocks | {layer: candidate}
    before = await self._known(self.items.validation)
    after = before and await self._known(self.items.validation, changed)
    if before is None or after is None:
      return '', None, None
    fine = _control.accept(
      after.loss,
      before.loss,
      self.method.accept,
      new_cost=after.cost,
      old_cost=before.cost,
    )
    if not fine:
      return 'worse', before.loss, after.loss
    names = self.state['replay']
    replayed = [i for i in self.items.train if i.id in names]
    if replayed and self.method.replay:
      found = await _measured.measure(
        replayed, self.workflow, self.client, changed
      )
      self.state['tokens'] += found.tokens
      if found.spent:
        self._stops('budget')
        return '', None, None
      now = np.array([i.id in found.solved for i in replayed])
      if _control.breaks(np.ones(len(replayed), bool), now):
        return 'breaks', before.loss, after.loss
    return 'accepted', before.loss, after.loss

  def _took(self, layer, candidate, loss):
    """Puts an accepted block into its pool."""
    pools = list(self.workflow.pools)
    entry = _workflow.Entry(candidate, None, 0)
    if loss is None:  # Nobody has looked: there is nothing to go back to.
      pools[layer] = (entry,)
      self.workflow = _workflow.Workflow(tuple(pools))
    else:
      self.workflow = _workflow.added(
        self.workflow,
        layer,
        candidate,
        loss,
        pool_size=self.method.pool_size,
      )
      if not loss:
        self._stops('solved')
    self.blocks[layer] = candidate
    self.state['next_block'] += 1
    self.state['chosen'][layer] = candidate.block_id
