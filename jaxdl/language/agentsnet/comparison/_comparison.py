# SPDX-License-Identifier: Apache-2.0
"""Solvers side by side on the same networks, sample by sample.

A round is one sample of every kind of network: classical algorithms answer all
samples in one program, agents play them when their round comes.
"""

import dataclasses
import functools
import pathlib
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import networkx
import numpy as np

from jaxdl.core import clients
from jaxdl.language import _client, _loop, _transcripts, _viewer
from jaxdl.language.agentsnet import _agents, _batch, _graphs, _run, _tasks
from jaxdl.language.agentsnet.comparison import _methods

Row = dict[str, Any]
# Gives a client of some models, with what is left of the budget.
Connect = Callable[
  [tuple[str, ...], int | None], AbstractContextManager[_client.Client]
]
# Of the transcripts on the page.
_MOST_BYTES = 1 << 24
_COUNTS = (
  *('calls', 'prompt_tokens', 'completion_tokens', 'repairs', 'failures'),
  *('lost', 'estimated'),
)


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Solvers on tasks on networks; `init`, `step` and `rows` of an experiment.

  Attributes:
    solvers: by what they are called.
    tasks: names.
    samples: of each round, the networks by kind, (family, n).
    seeds: of runs on each network.
    rounds: R, or 'auto'.
    eval_every: rounds between rows.
    connect: opens a client; None if nobody asks models.
    budget_tokens: of the whole run, or None.
    directory: where transcripts go; None keeps none.
  """

  solvers: Mapping[str, _methods.Method]
  tasks: Sequence[str]
  samples: Sequence[Sequence[networkx.Graph]]
  seeds: Sequence[int] = (0,)
  rounds: int | str = _run.AUTO
  eval_every: int = 1
  connect: Connect | None = None
  budget_tokens: int | None = None
  directory: pathlib.Path | None = None

  def init(self) -> dict[str, Any]:
    """The state before the first round: no rows, nothing spent."""
    return {'rows': [], 'tokens': 0}

  def step(
    self, state: dict[str, Any], number: int
  ) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plays one sample.

    Args:
      state: rows since the last evaluation, and tokens spent.
      number: of the round, from 1.

    Returns:
      The state after it, and nothing else.
    """
    last = (number - 1) // self.eval_every * self.eval_every
    rows = [row for row in state['rows'] if row['sample'] > last]
    spent = state['tokens']
    for place, (name, solver) in enumerate(self.solvers.items()):
      tasks = [task for task in self.tasks if task in solver.tasks]
      if solver.codes is not None:
        rows += self._computed(name, tasks, number)
      elif solver.models:
        found, used = self._asked(name, place, solver, tasks, number, spent)
        rows, spent = rows + found, spent + used
      else:
        maker = _maker(solver, None)
        rows += self._played(name, place, maker, tasks, number)
    if number == len(self.samples):
      self._write_page()
    return {'rows': rows, 'tokens': spent}, {}

  def _write_page(self):
    """Puts the first transcripts into one page."""
    if self.directory is None:
      return
    found, size = [], 0
    for path in sorted(self.directory.glob('round*_solver*.json')):
      size += path.stat().st_size
      if found and size > _MOST_BYTES:
        break
      found.append(_transcripts.read_transcript(path))
    if found:
      page = _viewer.viewer(found, title='Networks of agents')
      _transcripts.write_text(self.directory.parent / 'viewer.html', page)

  def rows(self, state: dict[str, Any], metrics: Any, number: int) -> list[Row]:
    """Rows of all rounds since the last evaluation.

    Args:
      state: after the round.
      metrics: nothing.
      number: of the round.

    Returns:
      The rows.
    """
    del metrics, number
    return [dict(row) for row in state['rows']]

  @functools.cached_property
  def _all(self) -> _batch.GraphBatch:
    """All networks of all rounds, in order."""
    return _batch.batch_graphs([g for sample in self.samples for g in sample])

  @functools.cached_property
  def _known(self) -> dict[tuple[str, str], np.ndarray]:
    return {}

  def _scores(self, name: str, task: str) -> np.ndarray:
    """f32[S, rounds, kinds] of a solver that answers in one program."""
    if (name, task) not in self._known:
      mesh = clients.clients_mesh() if jax.device_count() > 1 else None
      number = None if self.rounds == _run.AUTO else self.rounds
      rounds = _tasks.rounds_of(task, self._all, number)
      keys = jax.numpy.stack([jax.random.key(seed) for seed in self.seeds])
      answer = self.solvers[name].codes
      assert answer is not None
      codes = answer(task, self._all, rounds, keys, mesh)
      score = jax.jit(functools.partial(_tasks.score, task))
      found = np.asarray(score(self._all, codes))
      shape = (len(self.seeds), len(self.samples), -1)
      self._known[name, task] = found.reshape(shape)
    return self._known[name, task]

  def _computed(self, name, tasks, number):
    return [
      self._row(name, task, graph, seed, number, score)
      for task in tasks
      for i, seed in enumerate(self.seeds)
      for graph, score in zip(
        self.samples[number - 1],
        self._scores(name, task)[i, number - 1].tolist(),
        strict=True,
      )
    ]

  def _asked(self, name, place, solver, tasks, number, spent):
    """Rows of a solver that asks models, and what that took of the budget."""
    left = None
    if self.budget_tokens is not None:
      left = self.budget_tokens - spent
      if left < 1:
        return [
          self._row(name, task, graph, seed, number, None) | {'stopped': 1}
          for graph, task, _, seed in self._instances(tasks, number)
        ], 0
    if self.connect is None:
      raise ValueError(f'solver={name!r} asks models: connect must be given.')
    with self.connect(solver.models, left) as client:
      maker = _maker(solver, client)
      rows = self._played(name, place, maker, tasks, number)
      # Those of known replies count too, so that a replay stops where the run
      # did.
      return rows, sum(row['tokens'] for row in rows)

  def _instances(self, tasks, number):
    return [
      (graph, task, self.rounds, seed)
      for task in tasks
      for seed in self.seeds
      for graph in self.samples[number - 1]
    ]

  def _played(
    self, name: str, place: int, maker: _agents.Maker, tasks, number
  ) -> list[Row]:
    instances = self._instances(tasks, number)
    models = ', '.join(self.solvers[name].models)
    model = f'{models} as {name}' if models else name

    def done(i, outcome):
      if self.directory is not None and any(outcome.chats):
        label = f'round{number}_solver{place + 1}_{outcome.task}_{i + 1}'
        _transcripts.write_transcript(
          self.directory, _run.transcript_of(outcome, label, model=model)
        )

    outcomes = _loop.run(_run.run_instances(maker, instances, done=done))
    return [
      self._row(name, o.task, o.graph, o.seed, number, o.score, o)
      for o in outcomes
    ]

  def _row(self, name, task, graph, seed, number, score, outcome=None) -> Row:
    row = {'variant': name, 'seed': seed, 'task': task}
    if score is not None:
      row |= {'score': float(score), 'solved': float(score == 1.0)}
    row |= {
      'family': str(graph.graph.get('family', 'file')),
      'num_nodes': len(graph),
      'sample': number,
    }
    if outcome is None:
      return row
    row['rounds'] = outcome.rounds
    row['messages'] = len(outcome.sent)
    if any(outcome.chats):
      row |= {k: outcome.total(k) for k in _COUNTS}
      row['tokens'] = row['prompt_tokens'] + row['completion_tokens']
      row['scripted'] = int(outcome.scripted)
      row['stopped'] = int(outcome.stopped)
    return row


def _maker(method, client) -> _agents.Maker:
  """The agents of a method that is no program of all networks."""
  assert method.maker is not None
  return method.maker(client)


def sample_graphs(
  families: Sequence[str], sizes: Sequence[int], num_samples: int
) -> list[list[networkx.Graph]]:
  """Networks of every kind, with the seeds of the benchmark.

  Args:
    families: see `make_graph`.
    sizes: numbers of nodes.
    num_samples: networks of each kind.

  Returns:
    For each sample, networks by size and family.

  Raises:
    ValueError: if there is no such network.

  Example:
    >>> [[len(g) for g in some] for some in sample_graphs(['ws'], [4, 8], 2)]
    [[4, 8], [4, 8]]
  """
  return [
    [_made(family, n, seed) for n in sizes for family in families]
    for seed in _graphs.graph_seeds(num_samples)
  ]


@functools.lru_cache(maxsize=4096)
def _made(family, num_nodes, seed):
  # Names of its own, or equal networks would ask equal questions.
  rng = random.Random(f'{family} {num_nodes} {seed}')
  made = _graphs.make_graph(family, num_nodes, seed, rng=rng)
  return networkx.freeze(made)
