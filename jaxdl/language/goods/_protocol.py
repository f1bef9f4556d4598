# SPDX-License-Identifier: Apache-2.0
"""One task, one agent after the other: who is asked what, and what comes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from jaxdl.core import checks
from jaxdl.language.goods import _evaluators, _extraction, _prompts, _tasks

OBSERVATIONS = ('partial', 'full', 'none')
# What servers of OpenAI's interface need not know.
EXTRA = ('top_k', 'repetition_penalty', 'min_p')
_DIGITS = 4


class Agent(NamedTuple):
  """Who is asked.

  Attributes:
    name: one word, as others see it.
    role: whom the client asks, see `language.Client`.
  """

  name: str
  role: str


class Turn(NamedTuple):
  """What one agent did about a task.

  Attributes:
    agent: which, from 0.
    position: where it sat, from 0.
    name: of the agent.
    settings: of generation, as they were meant.
    text: what it wrote; '' if it wrote nothing.
    answer: found in the text, or None.
    value: of the text by the evaluator, in [0, 1]; zero if it is empty.
    tokens: completion tokens.
    record: what `decide` wants to have kept.
    messages: what it was asked.
    seen: names of those whose texts it saw.
  """

  agent: int
  position: int
  name: str
  settings: Mapping[str, Any]
  text: str
  answer: str | None
  value: float
  tokens: int
  record: Any = None
  messages: Sequence[Mapping[str, str]] = ()
  seen: tuple[str, ...] = ()


class Episode(NamedTuple):
  """A task, and what agents did about it.

  Attributes:
    task: the question.
    turns: in order; those before the failure if there was one.
    answer: of the team, or None.
    correct: whether that is right; False where nothing is known to be.
    value: of the text that carries the answer, in [0, 1].
    error: why the task does not count, or None.
    kind: of the failure: 'ok' of none, 'failed', 'budget'.
    replies: pairs of a role and its `Reply`, those of judges too.
  """

  task: _tasks.Task
  turns: tuple[Turn, ...]
  answer: str | None
  correct: bool
  value: float
  error: str | None
  kind: str
  replies: tuple[tuple[str, Any], ...]


# decide(agent, position, seen) -> (settings, record).
Decide = Callable[[int, int, Sequence[Turn]], tuple[Mapping[str, Any], Any]]


def make_agents(num_agents: int, *, role: str = 'agent') -> tuple[Agent, ...]:
  """Names agents, Agent-1 with the role agent_1 and so on.

  Args:
    num_agents: n.
    role: what roles begin with.

  Returns:
    The agents.

  Example:
    >>> make_agents(2)[1]
    Agent(name='Agent-2', role='agent_2')
  """
  checks.integer(num_agents, name='num_agents', low=1)
  return tuple(
    Agent(f'Agent-{i}', f'{role}_{i}') for i in range(1, num_agents + 1)
  )


def request_settings(
  settings: Mapping[str, Any], *, allow_extra_params: bool = False
) -> dict[str, Any]:
  """Settings as a request may carry them.

  Args:
    settings: by name.
    allow_extra_params: whether those that are not of OpenAI's interface are
      sent too; they are left out otherwise, since servers may refuse them.

  Returns:
    The settings, fractions cut to four digits.

  Example:
    >>> request_settings({'temperature': 1 / 3, 'top_k': 40})
    {'temperature': 0.3333}
    >>> request_settings({'top_k': 40}, allow_extra_params=True)
    {'top_k': 40}
  """
  checks.flag(allow_extra_params, name='allow_extra_params')
  return {
    k: round(v, _DIGITS) if isinstance(v, float) else v
    for k, v in settings.items()
    if allow_extra_params or k not in EXTRA
  }


def visible(turns: Sequence[Turn], observation: str) -> tuple[Turn, ...]:
  """What an agent sees of those before it.

  Args:
    turns: earlier ones.
    observation: 'partial' for the last, 'full' for all, 'none'.

  Returns:
    The turns.

  Raises:
    ValueError: if the observation is unknown.
  """
  checks.choice(observation, OBSERVATIONS, name='observation')
  if observation == 'none':
    return ()
  return tuple(turns[-1:] if observation == 'partial' else turns)


async def ask_turn(
  task: _tasks.Task,
  agent: Agent,
  messages: Sequence[Mapping[str, str]],
  client: Any,
  evaluator: _evaluators.Evaluator | _evaluators.Judge | None,
  *,
  number: int = 0,
  position: int = 0,
  settings: Mapping[str, Any] | None = None,
  allow_extra_params: bool = False,
  record: Any = None,
  seen: Sequence[str] = (),
  sample: int = 0,
) -> tuple[Turn | None, tuple[tuple[str, Any], ...], str | None, str]:
  """Asks one agent once, and rates what it writes.

  Args:
    task: the question.
    agent: who is asked.
    messages: what it is asked.
    client: a `language.Client`.
    evaluator: rates the text; None rates nothing, as zero.
    number: of the agent.
    position: where it sits.
    settings: of generation.
    allow_extra_params: see `request_settings`.
    record: kept in the turn.
    seen: likewise.
    sample: of the request; it is sent as `seed` too.

  Returns:
    The turn, or None after a failure; pairs of a role and its reply; the error;
    its kind.
  """
  settings = dict(settings or {})
  sent = request_settings(settings, allow_extra_params=allow_extra_params)
  reply = await client.ask(
    list(messages),
    role=agent.role,
    label=agent.name,
    settings=sent | {'seed': sample},
    sample=sample,
  )
  replies = ((agent.role, reply),)
  if reply.text is None:
    return None, replies, reply.error or 'no reply.', reply.kind
  text, answer, value = reply.text, None, 0.0
  if not text.strip():
    logging.warning(
      '%s wrote nothing: its contribution is the least.', agent.name
    )
  else:
    answer = _extraction.answer_of(task, text)
  if text.strip() and evaluator is not None:
    rating = await _evaluators.rate(
      evaluator, task, text, client, label=f'judge/{agent.name}', sample=sample
    )
    replies += tuple((evaluator_role(evaluator), r) for r in rating.replies)
    if rating.value is None:
      return None, replies, rating.error or 'no rating.', rating.kind
    value = rating.value
  turn = Turn(
    number,
    position,
    agent.name,
    settings,
    text,
    answer,
    value,
    reply.completion_tokens,
    record,
    messages,
    tuple(seen),
  )
  return turn, replies, None, 'ok'


async def run_sequence(
  task: _tasks.Task,
  agents: Sequence[Agent],
  client: Any,
  *,
  decide: Decide,
  evaluator: _evaluators.Evaluator | _evaluators.Judge,
  observation: str = 'partial',
  order: Sequence[int] | None = None,
  allow_extra_params: bool = False,
  sample: int = 0,
) -> Episode:
  """Lets agents work on a task, one after the other.

  The last answer is that of the team. A request that fails ends the episode,
  which then has an error and must not count.

  Args:
    task: the question.
    agents: n.
    client: a `language.Client`, or what has its `ask` and `ask_for`.
    decide: `decide(agent, position, seen) -> (settings, record)`.
    evaluator: `(task, text) -> [0, 1]`, or a `Judge`.
    observation: whom agents see, one of `OBSERVATIONS`.
    order: who sits at a position; agent i at position i if None.
    allow_extra_params: see `request_settings`.
    sample: of the requests.

  Returns:
    The episode.

  Raises:
    ValueError: if there is no agent, the order is no permutation, the
      observation is unknown, or an evaluator gives what is not in [0, 1].

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076), protocol.
  """
  n = len(agents)
  checks.integer(n, name='num_agents', low=1)
  seats = list(range(n)) if order is None else list(order)
  if sorted(seats) != list(range(n)):
    raise ValueError(
      f'order must be a permutation of 0 to {n - 1}; got {seats}.'
    )
  checks.choice(observation, OBSERVATIONS, name='observation')
  turns: list[Turn] = []
  replies: list[tuple[str, Any]] = []
  for position, i in enumerate(seats):
    seen = visible(turns, observation)
    settings, record = decide(i, position, seen)
    turn, more, error, kind = await ask_turn(
      task,
      agents[i],
      _prompts.sequence_messages(
        task, agents[i].name, position, n, seen, observation
      ),
      client,
      evaluator,
      number=i,
      position=position,
      settings=settings,
      allow_extra_params=allow_extra_params,
      record=record,
      seen=[other.name for other in seen],
      sample=sample,
    )
    replies += more
    if turn is None:
      return failed(task, turns, replies, error, kind)
    turns.append(turn)
  last = turns[-1]
  return finished(task, turns, last.answer, last.value, replies)


def evaluator_role(evaluator: Any) -> str:
  """Who rates: the role of a judge, or ''."""
  return evaluator.role if isinstance(evaluator, _evaluators.Judge) else ''


def failed(
  task: _tasks.Task,
  turns: Sequence[Turn],
  replies: Sequence[tuple[str, Any]],
  error: str | None,
  kind: str,
) -> Episode:
  """An episode that must not count.

  Args:
    task: the question.
    turns: what was done before.
    replies: all of them.
    error: why.
    kind: 'failed' or 'budget'.

  Returns:
    The episode.
  """
  error = error or 'no reason is known.'
  return Episode(
    task, tuple(turns), None, False, 0.0, error, kind, tuple(replies)
  )


def finished(
  task: _tasks.Task,
  turns: Sequence[Turn],
  answer: str | None,
  value: float,
  replies: Sequence[tuple[str, Any]],
) -> Episode:
  """An episode that came to its end.

  Args:
    task: the question.
    turns: what was done.
    answer: of the team.
    value: of the text that carries it.
    replies: all of them.

  Returns:
    The episode.
  """
  right = bool(task.answer) and answer is not None
  if right and task.kind == 'text':
    right = _evaluators.exact()(task, f'The answer is {answer}') == 1.0
  elif right:
    right = answer == task.answer
  return Episode(
    task, tuple(turns), answer, right, value, None, 'ok', tuple(replies)
  )
