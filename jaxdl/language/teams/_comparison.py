# SPDX-License-Identifier: Apache-2.0
"""Ways to find a team side by side, as experiments of rounds."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.experiment import runner
from jaxdl.language import _client, _loop, _replies
from jaxdl.language.teams import (
  _aggregations,
  _block,
  _classifiers,
  _evolve,
  _items,
  _measured,
  _methods,
  _numeric,
  _search,
  _starts,
  _votes,
  _workflow,
)

Row = dict[str, Any]
SOURCES = ('endpoint', 'scripted')


def aggregations_of(spec: str, aggregations: Sequence[str]) -> tuple[str, ...]:
  """The aggregations that a method may choose among.

  Args:
    spec: a part of `METHODS`.
    aggregations: of all.

  Returns:
    These, after the method's own; the latter alone where nothing is searched.
  """
  made = _methods.method(spec)
  first = made.aggregation or aggregations[0]
  if made.team == 'majority':
    first = 'majority'
  if made.search == 'none':
    return (first,)
  return tuple(dict.fromkeys((first, *aggregations)))


def numeric_teams(
  methods: Sequence[str],
  tasks: Sequence[_classifiers.NumericTask],
  *,
  num_rounds: int,
  seeds: Sequence[int] = (0,),
  steps: int = 1,
  aggregations: Sequence[str] = _aggregations.DEFAULT,
  plots: Sequence[Callable[..., Any]] = (),
) -> runner.Experiment:
  """Searches teams of classifiers; a step is a proposal.

  Rows have the split 'test' with `accuracy` on the test, `validation_loss`,
  `proposals`, `accepted`, `evaluations` and `members`, and at the end 'agents'
  with who is a member and what of the loss leaving it out would add (`credit`).

  Args:
    methods: parts of `METHODS`.
    tasks: one for each seed, of equal shapes.
    num_rounds: of the run.
    seeds: of the run; they go side by side.
    steps: proposals of a round.
    aggregations: that edits choose among; the first is that of the start.
    plots: functions `(rows, directory) -> paths`.

  Returns:
    The experiment.

  Raises:
    ValueError: if something is unknown or does not fit.
  """
  checks.integer(steps, name='steps', low=1)
  data = jax.tree.map(lambda *x: np.stack(x), *[task[:4] for task in tasks])
  chosen = {spec: aggregations_of(spec, aggregations) for spec in methods}
  capacity = max(num_rounds * steps, 1)

  def each(function, *trees):
    return jax.vmap(function)(*trees)

  def init():
    def one(spec, task):
      return _search.start_search(
        *task[:3],
        method=spec,
        aggregations=chosen[spec],
        capacity=capacity,
      )

    return {
      spec: jax.jit(functools.partial(each, functools.partial(one, spec)))(data)
      for spec in methods
    }

  def step(states, number):
    def one(spec, state, task, seed):
      def body(state, t):
        key = jax.random.fold_in(jax.random.key(seed), t)
        return _search.search_step(
          state,
          *task[:3],
          key=key,
          method=spec,
          aggregations=chosen[spec],
        )

      first = (number - 1) * steps
      return jax.lax.scan(body, state, first + jnp.arange(steps))[0]

    ids = jnp.asarray(seeds, jnp.int32)
    return {
      spec: states[spec]
      if _methods.method(spec).search == 'none'
      else each(functools.partial(one, spec), states[spec], data, ids)
      for spec in methods
    }, {}

  @functools.cache
  def measured(spec):
    def one(state, task):
      told = {'aggregations': chosen[spec]}
      loss = _numeric.team_loss(task[0], state.team, *task[3], **told)
      changes = _numeric.leave_one_out(task[0], state.team, *task[1], **told)
      return 1 - loss, -changes

    return jax.jit(functools.partial(each, one))

  def rows(states, metrics, number):
    del metrics
    out = []
    for spec in methods:
      accuracy, credit = jax.device_get(measured(spec)(states[spec], data))
      state = jax.device_get(states[spec]._replace(pool=()))
      for i, seed in enumerate(seeds):
        label = {'variant': spec, 'seed': seed}
        out.append(
          label
          | {
            'split': 'test',
            'accuracy': float(accuracy[i]),
            'validation_loss': float(state.loss[i]),
            'proposals': int(state.proposals[i]),
            'accepted': int(state.accepted[i]),
            'evaluations': int(state.evaluations[i]),
            'members': int(state.team.mask[i].sum()),
          }
        )
        if number < num_rounds:
          continue
        for layer, roles in enumerate(tasks[i].roles):
          how = chosen[spec][int(state.team.aggregation[i, layer])]
          for agent, role in enumerate(roles):
            member = bool(state.team.mask[i, layer, agent])
            out.append(
              label
              | {
                'split': 'agents',
                'layer': layer,
                'agent': agent,
                'role': role,
                'aggregation': how,
                'member': int(member),
                'credit': float(credit[i, layer, agent]) if member else 0.0,
              }
            )
    return out

  return runner.Experiment(
    init=init, step=step, rows=rows, num_rounds=num_rounds, plots=tuple(plots)
  )


def check_numeric(
  spec: str,
  shapes: Sequence[tuple[int, int, int]],
  aggregations: Sequence[str],
) -> None:
  """Traces a search on shapes alone, so that what does not fit is told.

  Args:
    spec: a part of `METHODS`.
    shapes: (C, D, K) of every layer.
    aggregations: parts of `AGGREGATIONS`.

  Raises:
    ValueError: if an aggregation cannot be applied to such teams.
  """
  layers = [
    _numeric.Agents(jnp.zeros(shape), jnp.zeros((shape[0], shape[2])))
    for shape in shapes
  ]
  samples = _search.Samples(
    jnp.zeros((2, shapes[0][1])), jnp.zeros(2, jnp.int32)
  )
  jax.eval_shape(
    lambda: _search.start_search(
      layers,
      samples,
      samples,
      method=spec,
      aggregations=aggregations_of(spec, aggregations),
    )
  )


def check_text(spec: str) -> None:
  """Checks that a method fits workflows of language models.

  Args:
    spec: a part of `METHODS`.

  Raises:
    ValueError: if it or its aggregation is unknown.
  """
  made = _methods.method(spec)
  if made.aggregation is not None:
    _votes.TEXT_AGGREGATIONS.check(made.aggregation)


def text_teams(
  methods: Sequence[str],
  workflow: _workflow.Workflow,
  items: Sequence[_items.Items],
  open_client: Callable[[], _client.Client],
  *,
  num_rounds: int,
  seeds: Sequence[int] = (0,),
  train_batch: int = 8,
  route: str = 'loss',
  close: Callable[[], None] | None = None,
  plots: Sequence[Callable[..., Any]] = (),
) -> runner.Experiment:
  """Evolves workflows of language models; a round is an iteration.

  Rows have the split 'test' with `accuracy` on the test, `validation_loss`
  (where a method looks at it), `proposals`, `accepted`, `rejected` by stage,
  `tokens` and `source`: whether a scripted model or an endpoint has answered.
  At the end come 'agents' with the `credit` of agents in their layer's answer,
  'patches' with every suggestion and its verdict, and 'workflow' with the
  evolved workflow as YAML.

  Args:
    methods: parts of `METHODS`.
    workflow: at the start.
    items: tasks, for each seed.
    open_client: makes the client, when the run starts.
    num_rounds: of the run.
    seeds: of the run.
    train_batch: tasks that an iteration learns from.
    route: see `forward`.
    close: is called when the run is over.
    plots: functions `(rows, directory) -> paths`.

  Returns:
    The experiment; its state is JSON, so that a run that was killed goes on.

  Raises:
    ValueError: if a name is unknown, or no endpoint answers.

  Source: Ma et al. 2025 (https://arxiv.org/abs/2506.09046).
  """
  for spec in methods:
    check_text(spec)
  places = [(spec, i) for spec in methods for i in range(len(seeds))]
  client_of = functools.lru_cache(maxsize=1)(open_client)
  fresh: dict[tuple[str, int], str] = {}

  async def tested(state, i, client):
    """Adds to a state what its blocks are worth on the test."""
    blocks = _evolve.blocks_of(state)
    name = _block.digest(*blocks.values())
    state['scripted'] = state.get('scripted', False) or client.scripted
    if state.get('tested', {}).get('name') == name:
      return state
    found = await _measured.measure(
      items[i].test,
      _workflow.read_workflow_json(state['workflow']),
      client,
      blocks,
    )
    state['tokens'] += found.tokens
    if found.dead:
      raise _replies.NobodyAnswers(f'nobody answers: {found.dead}')
    if found.spent:
      state['stopped'] = state['stopped'] or 'budget'
      return state
    state['scripted'] = state['scripted'] or client.scripted
    state['tested'] = {
      'name': name,
      'accuracy': len(found.solved) / len(items[i].test),
      'credits': found.credits,
    }
    return state

  async def started(place, client):
    spec, i = place
    made = _methods.method(spec)
    own = await _starts.prepared(workflow, items[i], client, made)
    state = _evolve.start_evolution(own)
    return json.dumps(await tested(state, i, client))

  async def start_all():
    client = client_of()
    found = await _client.gather([started(p, client) for p in places])
    fresh.update(zip(places, found, strict=True))

  def resolved(states):
    """States; those that have not begun do so."""
    if all(states[spec][i] for spec, i in places):
      return {(spec, i): states[spec][i] for spec, i in places}
    if not fresh:
      _loop.run(start_all())
    return fresh

  def init():
    client_of()  # What it lacks, such as a key, is told at once.
    return {spec: ['' for _ in seeds] for spec in methods}

  async def advance(place, text, client):
    spec, i = place
    state = await _evolve.evolve_step(
      json.loads(text),
      items[i],
      client,
      method=spec,
      seed=seeds[i],
      train_batch=train_batch,
      route=route,
    )
    if state['stopped'] not in ('', 'solved', 'budget'):
      raise _replies.NobodyAnswers(f'nobody answers: {state["stopped"]}')
    return json.dumps(await tested(state, i, client))

  def step(states, number):
    del number
    known, client = resolved(states), client_of()

    async def all_of_them():
      return await _client.gather(
        [advance(place, known[place], client) for place in places]
      )

    done = dict(zip(places, _loop.run(all_of_them()), strict=True))
    return {
      spec: [done[spec, i] for i in range(len(seeds))] for spec in methods
    }, {}

  def rows(states, metrics, number):
    del metrics
    known, out = resolved(states), []
    for spec, i in places:
      state = json.loads(known[spec, i])
      label = {'variant': spec, 'seed': seeds[i]}
      label['source'] = SOURCES[bool(state['scripted'])]
      out += _text_rows(state, label, last=number == num_rounds)
    if number == num_rounds and close is not None:
      client = client_of()
      _loop.run(client.aclose())
      client_of.cache_clear()
      close()
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=num_rounds,
    plots=tuple(plots),
    table=runner.table_by('source'),
    jit=False,
  )


def _text_rows(
  state: Mapping[str, Any], label: Row, *, last: bool
) -> list[Row]:
  """Rows of one run."""
  counts = state['counts']
  made = [counts[v] for v in _evolve.VERDICTS if v != 'none']
  row = label | {
    'split': 'test',
    'iteration': state['iteration'],
    'proposals': sum(made),
    'accepted': counts['accepted'],
    'malformed': counts['malformed'],
    'invalid': sum(counts[v] for v in ('connections', 'schema', 'structure')),
    'worse': counts['worse'] + counts['breaks'],
    'tokens': state['tokens'],
    'stopped': state['stopped'],
  }
  if 'tested' in state:
    row['accuracy'] = state['tested']['accuracy']
  name = _block.digest(*_evolve.blocks_of(state).values())
  if name in state['known']:
    row['validation_loss'] = state['known'][name][0]
  out = [row]
  if not last:
    return out
  for agent, credit in state.get('tested', {}).get('credits', {}).items():
    layer, name = agent.split('/', 1)
    out.append(
      label
      | {
        'split': 'agents',
        'layer': int(layer),
        'agent': name,
        'credit': credit,
      }
    )
  for entry in state['log']:
    own = {k: v for k, v in entry.items() if v is not None and k != 'edits'}
    own['edits'] = json.dumps(entry['edits'])
    out.append(label | {'split': 'patches'} | own)
  evolved = _workflow.make_workflow(
    [block for _, block in sorted(_evolve.blocks_of(state).items())]
  )
  text = _workflow.dump_workflow(evolved)
  return [*out, label | {'split': 'workflow', 'yaml': text}]
