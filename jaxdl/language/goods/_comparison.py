# SPDX-License-Identifier: Apache-2.0
"""Methods side by side on the same tasks, as an experiment of rounds."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from jaxdl.core import checks
from jaxdl.experiment import runner
from jaxdl.language import _client, _loop, _replies
from jaxdl.language.goods import _learning, _protocol, _setups, _tasks

SOURCES = ('endpoint', 'scripted')


def compare_texts(
  methods: Mapping[str, _setups.Method],
  train: Sequence[_tasks.Task],
  test: Sequence[_tasks.Task],
  open_client: Callable[[], Any],
  *,
  num_rounds: int,
  seeds: Sequence[int] = (0,),
  steps: int = 1,
  batch_tasks: int = 16,
  columns: Mapping[str, Mapping[str, Any]] | None = None,
  scripted: bool = False,
  report: Callable[[str, int, Sequence[_protocol.Episode]], None] | None = None,
  close: Callable[[Any], None] | None = None,
  plots: Sequence[Callable[..., Any]] = (),
  table: Callable[..., Any] | None = None,
) -> runner.Experiment:
  """Lets methods learn from tasks, and measures them on others.

  A step is a batch of tasks, the same for all methods. Rows have the split
  'train' with what a method's last batch was worth and all `tokens` so far;
  'test' with `accuracy`, `value`, `total_reward` and so on of the tasks held
  back; and 'settings' with the mean settings of every agent there. `source`
  says whether a scripted model or an endpoint has answered. State is on the
  host, and results do not depend on the order in which answers come: with a
  cache a run that was killed goes on without asking anything twice.

  Args:
    methods: what is compared, by name.
    train: tasks to learn from.
    test: tasks to measure on.
    open_client: makes a `language.Client`, when the run starts.
    num_rounds: of the run.
    seeds: of the run; they go side by side.
    steps: batches in a round.
    batch_tasks: tasks of a batch.
    columns: further labels for the rows of a method.
    scripted: whether models are known to be scripted, also where none answers.
    report: is handed name, seed and episodes of the tasks held back when the
      run is over.
    close: is handed the client then.
    plots: functions `(rows, directory) -> paths`.
    table: see `runner.Experiment`; says the source by default.

  Returns:
    The experiment, for `runner.run`.

  Raises:
    ValueError: if there is nothing to compare, or too few tasks.
    NobodyAnswers: while it runs, if every question of a test fails.

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076), experiments.
  """
  if not methods:
    raise ValueError('methods is empty: name at least one.')
  checks.integer(steps, name='steps', low=1)
  checks.integer(batch_tasks, name='batch_tasks', low=2)
  if batch_tasks > len(train):
    raise ValueError(
      f'batch_tasks={batch_tasks} is more than the {len(train)} tasks to learn '
      'from.'
    )
  if not test:
    raise ValueError('test has no task to measure on.')
  labels = columns or {}
  client_of = functools.lru_cache(maxsize=1)(open_client)
  # Who does not learn is measured once.
  known: dict[tuple[str, int], Any] = {}

  def init():
    client_of()  # What it lacks is told before anything is compiled.
    return {
      name: [
        {
          'method': method.init(jax.random.key(seed)),
          'tokens': np.zeros(()),
          'cost': np.zeros(()),
        }
        for seed in seeds
      ]
      for name, method in methods.items()
    }

  async def advance(method, state, seed, number, client):
    metrics = {}
    for t in range((number - 1) * steps, number * steps):
      key = jax.random.fold_in(jax.random.key(seed), t + 1)
      tasks = draw_tasks(train, batch_tasks, seed, t)
      inner, metrics = await method.step(
        state['method'], tasks, client, key=key
      )
      state = {
        'method': inner,
        'tokens': np.asarray(state['tokens'] + metrics.get('tokens', 0.0)),
        'cost': np.asarray(state['cost'] + metrics.get('cost', 0.0)),
      }
    return state, metrics

  def step(states, number):
    client = client_of()
    learning = [
      (name, i)
      for name, method in methods.items()
      if method.step is not None
      for i in range(len(seeds))
    ]

    async def work():
      return await _client.gather(
        [
          advance(methods[name], states[name][i], seeds[i], number, client)
          for name, i in learning
        ]
      )

    states = {name: list(own) for name, own in states.items()}
    seen = {}
    for (name, i), (state, metrics) in zip(
      learning, _loop.run(work()), strict=True
    ):
      states[name][i] = state
      seen[f'{name} {i}'] = metrics
    return states, seen

  async def tested(name, i, state, client):
    method = methods[name]
    place = (name, i)
    if place not in known or method.step is not None:
      known[place] = await _client.gather(
        [
          method.answer(state['method'], task, client, sample=seeds[i])
          for task in test
        ]
      )
    return known[place]

  def rows(states, metrics, number):
    client = client_of()
    places = [(name, i) for name in methods for i in range(len(seeds))]

    async def work():
      return await _client.gather(
        [tested(name, i, states[name][i], client) for name, i in places]
      )

    asked = _loop.run(work())
    _check_answered(episode for episodes in asked for episode in episodes)
    out = []
    for (name, i), episodes in zip(places, asked, strict=True):
      state = states[name][i]
      common = {'step': number, 'variant': name, 'seed': seeds[i]}
      common |= labels.get(name, {}) | {'source': source_of(episodes, scripted)}
      spent = {
        'update': float(number * steps),
        'train_tokens': float(state['tokens']),
        'train_cost': float(state['cost']),
      }
      found = _setups.episode_metrics(episodes, client)
      found |= methods[name].measure(episodes)
      if 'total_reward' in found:
        found['selection'] = _learning.selection_score(
          found['total_reward'], found['accuracy'], found['contribution']
        )
      out.append(common | {'split': 'test'} | _finite(found) | spent)
      own = (metrics or {}).get(f'{name} {i}')
      if own:
        out.append(common | {'split': 'train'} | _finite(own) | spent)
      out += [
        common | {'split': 'settings', 'update': spent['update']} | row
        for row in settings_rows(episodes)
      ]
      if number == num_rounds and report is not None:
        report(name, seeds[i], episodes)
    if number == num_rounds:
      _report(client)
      _loop.run(client.aclose())
      if close is not None:
        close(client)
      client_of.cache_clear()
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=num_rounds,
    plots=tuple(plots),
    table=table or runner.table_by('source'),
    jit=False,
  )


def draw_tasks(
  tasks: Sequence[_tasks.Task], count: int, seed: int, number: int
) -> list[_tasks.Task]:
  """Draws the batch of a step, without putting back.

  Args:
    tasks: all.
    count: of the batch.
    seed: of the run.
    number: of the step.

  Returns:
    The batch.
  """
  rng = np.random.default_rng([seed, number])
  return [tasks[k] for k in rng.choice(len(tasks), count, replace=False)]


def source_of(
  episodes: Sequence[_protocol.Episode], scripted: bool = False
) -> str:
  """Says whether a scripted model has answered anything.

  Args:
    episodes: any.
    scripted: whether that is known without an answer.

  Returns:
    'scripted' or 'endpoint'.
  """
  found = any(r.scripted for e in episodes for _, r in e.replies)
  return SOURCES[scripted or found]


def settings_rows(
  episodes: Sequence[_protocol.Episode],
) -> list[dict[str, Any]]:
  """The mean settings of every agent that was asked.

  Args:
    episodes: of one method.

  Returns:
    A row for each agent, from 1, with the means and the mean `given` value.
  """
  groups: dict[int, list[_protocol.Turn]] = {}
  for episode in episodes:
    for turn in episode.turns:
      groups.setdefault(turn.agent, []).append(turn)
  out = []
  for agent, turns in sorted(groups.items()):
    row: dict[str, Any] = {'agent': agent + 1}
    for name in turns[0].settings:
      row[name] = float(np.mean([turn.settings[name] for turn in turns]))
    row['given'] = float(np.mean([turn.value for turn in turns]))
    out.append(row)
  return out


def _check_answered(episodes):
  """A table of failures alone says nothing, so that it is refused."""
  replies = [reply for e in episodes for _, reply in e.replies]
  if replies and all(reply.kind == 'failed' for reply in replies):
    raise _replies.NobodyAnswers(f'nobody answers: {replies[0].error}')


def _finite(values):
  """Numbers that are known; rows have no place for others."""
  return {k: v for k, v in values.items() if math.isfinite(v)}


def _report(client):
  """Says what was spent, once."""
  total = client.ledger.total
  logging.info(
    '%s: %d questions, %d of them answered before, %d failed, %d requests; %d '
    'tokens now and %d before, cost %.4f.',
    *(SOURCES[client.scripted], total.calls, total.cached, total.failed),
    *(total.attempts, total.tokens, total.saved_tokens, total.cost),
  )
  if client.ledger.spent or total.failed:
    logging.warning(
      '%d questions have no answer, and count for nothing: see `failed` and '
      '`budget` in the rows.',
      total.failed,
    )
