# SPDX-License-Identifier: Apache-2.0
"""Runs of the protocol: R deliveries, then every agent answers alone."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import networkx
import numpy as np

from jaxdl.core import checks
from jaxdl.language import _client, _transcripts
from jaxdl.language.agentsnet import (
  _agents,
  _batch,
  _files,
  _graphs,
  _protocol,
  _scores,
  _tasks,
)

AUTO = 'auto'


class Message(NamedTuple):
  """What one agent has sent to another.

  Attributes:
    round: 1 to R, at whose end it arrives.
    source: number of the sender's node.
    target: number of the receiver's.
    text: untrusted.
  """

  round: int
  source: int
  target: int
  text: str


class Outcome(NamedTuple):
  """What a run has come to.

  Attributes:
    task: name of the task.
    graph: the network.
    rounds: R.
    seed: of the run.
    answers: texts; None where there is none that counts.
    score: in [0, 1]; None if the run was stopped.
    sent: messages that were delivered.
    ignored: messages to those who are no neighbors.
    records: what agents have taken.
    chats: of agents; empty for those without one.
    stopped: whether the budget was spent before the end.
  """

  task: str
  graph: networkx.Graph
  rounds: int
  seed: int
  answers: tuple[str | None, ...]
  score: float | None
  sent: tuple[Message, ...]
  ignored: int
  records: tuple[_agents.Record, ...]
  chats: tuple[tuple[dict[str, str], ...], ...]
  stopped: bool = False

  @property
  def solved(self) -> bool:
    """Whether the score is 1."""
    return self.score == 1.0

  @property
  def scripted(self) -> bool:
    """Whether a scripted model has answered anything."""
    return self.total('scripted') > 0

  def total(self, name: str) -> int:
    """Sums a number of all records.

    Args:
      name: of the number, e.g. 'calls'.

    Returns:
      The sum.
    """
    return sum(getattr(r, name) for r in self.records)


def places(
  graph: networkx.Graph, task: str, rounds: int | str = AUTO
) -> list[_protocol.Place]:
  """What the agents of a network know at first.

  Args:
    graph: see `make_graph`.
    task: an entry of `TASKS`.
    rounds: R >= 1, or 'auto' for `num_rounds`.

  Returns:
    One place for each node.

  Raises:
    ValueError: if there are no rounds, the task is unknown, or the graph is no
      network.

  Example:
    >>> graph = _graphs.named(networkx.path_graph(['Ann', 'Bob', 'Cem']))
    >>> place = places(graph, 'matching')[1]
    >>> place.name, place.neighbors, place.options, place.rounds
    ('Bob', ('Ann', 'Cem'), ('Ann', 'Cem', 'None'), 4)
  """
  _graphs.check_graph(graph)
  _tasks.TASKS.check(task, name='task')
  if rounds == AUTO:
    far = _batch.diameter(graph)
    rounds = _tasks.num_rounds(task, len(graph), far)
  most = _tasks.MOST_ROUNDS
  rounds = checks.integer(rounds, name='rounds', low=1, high=most)
  names = _graphs.names_of(graph)
  groups = _graphs.max_degree(graph) + 1 if task == 'coloring' else 0
  return [
    _protocol.Place(
      name=names[i],
      neighbors=tuple(names[j] for j in _graphs.neighbors_of(graph, i)),
      names=names,
      task=task,
      options=_tasks.options(task, graph, i),
      rounds=rounds,
      num_groups=groups,
    )
    for i in range(len(graph))
  ]


async def run_instance(
  agents: _agents.Maker | Sequence[_agents.Maker],
  graph: networkx.Graph,
  task: str,
  rounds: int | str = AUTO,
  *,
  seed: int = 0,
) -> Outcome:
  """Lets the agents of a network talk and answer.

  All agents of a round are asked side by side; what they send arrives when all
  have replied, in the order of nodes, so that it does not matter who is fast.
  If a budget is spent the run stops at the end of the round.

  Args:
    agents: maker of all agents, or one for each node.
    graph: see `make_graph`.
    task: an entry of `TASKS`.
    rounds: R >= 1, or 'auto' for `num_rounds`.
    seed: of the run, >= 0.

  Returns:
    Answers and score, with all that was said.

  Raises:
    ValueError: if something does not fit, before anybody is asked.
    MissingReply: if a run is replayed that was not recorded.

  Example:
    >>> from jaxdl.language import run
    >>> graph = _graphs.make_graph('ws', 8, 1825)
    >>> agents = _agents.algorithm_agents('flooding')
    >>> found = run(run_instance(agents, graph, 'leader_election'))
    >>> found.score, found.answers.count('Yes'), len(found.sent)
    (1.0, 1, 160)

  Source: Grötschla et al. 2025 (https://arxiv.org/abs/2507.08616), section 3.
  """
  where = places(graph, task, rounds)
  checks.integer(seed, name='seed', low=0, high=2**32 - 1)
  makers = [agents] * len(where) if callable(agents) else list(agents)
  if len(makers) != len(where):
    raise ValueError(
      f'agents must be one maker, or one for each of {len(where)} nodes; got '
      f'{len(makers)}.'
    )
  nodes = [make(place, seed) for make, place in zip(makers, where, strict=True)]
  numbers = {place.name: i for i, place in enumerate(where)}
  boxes: list[dict[str, str]] = [{} for _ in nodes]
  sent: list[Message] = []
  ignored, total = 0, where[0].rounds
  spent = lambda: any(node.record.spent for node in nodes)
  for number in range(total):
    replies = await _client.gather(
      [n.send(number, box) for n, box in zip(nodes, boxes, strict=True)]
    )
    if spent():
      break
    boxes = [{} for _ in nodes]
    for i, (place, messages) in enumerate(zip(where, replies, strict=True)):
      heard = [n for n in place.neighbors if n in messages]
      ignored += len(messages) - len(heard)
      for name in heard:
        j = numbers[name]
        boxes[j][place.name] = messages[name]
        sent.append(Message(number + 1, i, j, messages[name]))
  answers: Sequence[str | None] = [None] * len(nodes)
  if not spent():
    answers = await _client.gather(
      [n.answer(box) for n, box in zip(nodes, boxes, strict=True)]
    )
  return Outcome(
    task=task,
    graph=graph,
    rounds=total,
    seed=seed,
    answers=tuple(answers),
    score=None if spent() else score_answers(task, graph, answers),
    sent=tuple(sent),
    ignored=ignored,
    records=tuple(n.record for n in nodes),
    chats=tuple(tuple(n.chat) for n in nodes),
    stopped=spent(),
  )


def score_answers(
  task: str, graph: networkx.Graph, answers: Sequence[str | None]
) -> float:
  """Scores the answers of one network.

  Args:
    task: an entry of `TASKS`.
    graph: see `make_graph`.
    answers: of every node; None where there is none.

  Returns:
    A number in [0, 1].

  Raises:
    ValueError: if there is not one answer for each node.

  Example:
    >>> graph = _graphs.named(networkx.path_graph(['Ann', 'Bob', 'Cem']))
    >>> score_answers('vertex_cover', graph, ['No', 'Yes', 'No'])
    1.0
  """
  codes = _tasks.encode(task, graph, answers)
  # Of few sizes, so that few programs are compiled.
  n, d = (_power(x) for x in (len(graph), _graphs.max_degree(graph)))
  batch = _batch.batch_graphs([graph], pad_nodes=n, pad_degree=d)
  padded = np.full((1, n), _scores.INVALID, np.int32)
  padded[0, : len(graph)] = codes
  return float(_scorer(task)(batch, padded)[0])


@functools.cache
def _scorer(task):
  return jax.jit(functools.partial(_tasks.score, task))


def _power(x):
  return 1 << (x - 1).bit_length()


async def run_instances(
  agents: _agents.Maker,
  instances: Sequence[tuple[networkx.Graph, str, int | str, int]],
  *,
  done: Callable[[int, Outcome], Any] | None = None,
) -> list[Outcome]:
  """Runs many networks side by side.

  Args:
    agents: maker of all agents.
    instances: graph, task, rounds and seed of each.
    done: called with the place and the outcome of each one that has ended.

  Returns:
    Outcomes in the order of the instances.

  Raises:
    ValueError: as `run_instance`.
    MissingReply: likewise.
  """

  async def one(i, graph, task, rounds, seed):
    found = await run_instance(agents, graph, task, rounds, seed=seed)
    if done is not None:
      done(i, found)
    return found

  return await _client.gather(
    [one(i, *instance) for i, instance in enumerate(instances)]
  )


def transcript_of(
  outcome: Outcome, name: str, *, model: Any = ''
) -> _transcripts.Transcript:
  """Makes the transcript of a run, for files and the viewer.

  Args:
    outcome: of the run.
    name: of its file.
    model: who has answered.

  Returns:
    The transcript.
  """
  names = _graphs.names_of(outcome.graph)
  by_name = lambda values: dict(zip(names, values, strict=True))
  return _transcripts.Transcript(
    name=name,
    title=f'{outcome.task} on {len(names)} agents, {outcome.rounds} rounds',
    chats={k: list(chat) for k, chat in by_name(outcome.chats).items() if chat},
    sent=[
      {
        'round': m.round,
        'source': names[m.source],
        'target': names[m.target],
        'text': m.text,
      }
      for m in outcome.sent
    ],
    answers=by_name(outcome.answers),
    score=outcome.score,
    graph=_files.to_node_link(outcome.graph),
    model=model,
    scripted=outcome.scripted,
    usage=[
      {'label': k, **dataclasses.asdict(record)}
      for k, record in by_name(outcome.records).items()
    ],
    info={
      'task': outcome.task,
      'rounds': outcome.rounds,
      'seed': outcome.seed,
      'solved': outcome.solved,
      'stopped': outcome.stopped,
      'ignored_messages': outcome.ignored,
      **{
        k: outcome.total(k)
        for k in (
          *('calls', 'attempts', 'repairs', 'failures', 'lost'),
          *('prompt_tokens', 'completion_tokens', 'estimated'),
        )
      },
    },
  )


def conversation(
  transcript: _transcripts.Transcript, first: str, second: str
) -> str:
  """Prints what two agents have sent to each other.

  Args:
    transcript: see `transcript_of`.
    first: name of one.
    second: name of the other.

  Returns:
    A line for each message, by round.

  Raises:
    ValueError: if one of them is not there.
  """
  for name in (first, second):
    checks.choice(name, tuple(transcript.answers), name='agent')
  lines = [
    f'{m["round"]}  {m["source"]} to {m["target"]}: {_one_line(m["text"])}'
    for m in transcript.sent
    if {m['source'], m['target']} == {first, second}
  ]
  return '\n'.join(lines) if lines else 'They sent each other nothing.'


def _one_line(text):
  return ''.join(c if c.isprintable() else ' ' for c in text)
