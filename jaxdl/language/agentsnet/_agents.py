# SPDX-License-Identifier: Apache-2.0
"""Who stands on the nodes: language models and algorithms, behind one face.

An agent is asked R times for messages and once for an answer:

    sent = await agent.send(number, received)   # number = 0, ..., R - 1
    answer = await agent.answer(received)

`received` are the messages of the delivery before, by the neighbor who sent
them; there are none at first. A maker, `make(place, seed) -> agent`, puts one
on a node.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jaxdl.language import _client
from jaxdl.language.agentsnet import (
  _algorithms,
  _parsing,
  _protocol,
  _reading,
  _spoken,
)


@dataclasses.dataclass
class Record:
  """What an agent has taken.

  Attributes:
    calls: questions, those for repairs included.
    attempts: requests that were sent.
    repairs: replies that could not be read, so that another was asked for.
    failures: of which the other one could not be read either.
    lost: questions without a reply, as the endpoint has failed.
    prompt_tokens: of all replies, also those that were known already.
    completion_tokens: likewise.
    estimated: replies whose tokens are guessed.
    scripted: replies of scripted models.
    spent: whether the budget left no room for a question.
    error: of the last question without a reply, or None.
  """

  calls: int = 0
  attempts: int = 0
  repairs: int = 0
  failures: int = 0
  lost: int = 0
  prompt_tokens: int = 0
  completion_tokens: int = 0
  estimated: int = 0
  scripted: int = 0
  spent: bool = False
  error: str | None = None


class Agent(Protocol):
  """One node.

  Attributes:
    record: what it has taken so far.
    chat: its chat, messages of `role` and `content`; empty without one.
  """

  record: Record
  chat: list[dict[str, str]]

  async def send(
    self, number: int, received: Mapping[str, str]
  ) -> dict[str, str]:
    """Returns messages by receiver.

    Args:
      number: deliveries before.
      received: messages of the last one, by sender.
    """
    ...

  async def answer(self, received: Mapping[str, str]) -> str | None:
    """Returns the answer, None if there is none, after the last delivery."""
    ...


# Puts an agent on a node; the seed is that of the run.
Maker = Callable[[_protocol.Place, int], Agent]


class LLMAgent:
  """A language model on a node.

  Args:
    client: asks it.
    place: of the node.
    seed: of the run; also the number of its answers in the cache.
    role: of the client's endpoints.
    chain_of_thought: whether it is asked to think aloud.
    settings: of generation; the `seed` is added, unless one is given; None
      leaves it out, for endpoints that do not take any.
  """

  def __init__(
    self,
    client: _client.Client,
    place: _protocol.Place,
    seed: int = 0,
    *,
    role: str = 'worker',
    chain_of_thought: bool = True,
    settings: Mapping[str, Any] | None = None,
  ):
    self.place = place
    self.record = Record()
    self._client = client
    self._think = {'chain_of_thought': chain_of_thought}
    own = {'seed': seed} | dict(settings or {})
    self._options = {
      'role': role,
      'label': f'{place.task}/{place.name}',
      'settings': {k: v for k, v in own.items() if v is not None},
      'sample': seed,
    }
    system = _protocol.system_message(place, **self._think)
    self.chat = [{'role': 'system', 'content': system}]

  async def send(
    self, number: int, received: Mapping[str, str]
  ) -> dict[str, str]:
    """Asks for messages; none are sent if the replies cannot be read."""
    if number:
      text = _protocol.next_request(self.place, number, received, **self._think)
    else:
      text = _protocol.first_request(self.place, **self._think)
    parse = lambda reply: _parsing.parse_messages(reply, self.place.names)
    return await self._ask(text, parse) or {}

  async def answer(self, received: Mapping[str, str]) -> str | None:
    """Asks the question; None if the replies cannot be read."""
    place = self.place
    text = _protocol.next_request(place, place.rounds, received, **self._think)
    parse = lambda reply: _parsing.parse_answer(reply, place.options)
    return await self._ask(text, parse, answering=True)

  async def _ask(self, text, parse, answering=False):
    """Asks, has the reply repaired once, and keeps what was said."""
    chat, record = self.chat, self.record
    chat.append({'role': 'user', 'content': text})
    repairs = []

    def repair(error):
      made = _protocol.repair_request(error, self.place, answering=answering)
      repairs.append({'role': 'user', 'content': made})
      return made

    asked = list(chat)
    found = await self._client.ask_for(
      asked, parse, repair=repair, **self._options
    )
    for i, reply in enumerate(found.replies):
      record.calls += 1
      record.attempts += reply.attempts
      record.prompt_tokens += reply.prompt_tokens
      record.completion_tokens += reply.completion_tokens
      record.estimated += reply.estimated
      record.scripted += reply.scripted
      if reply.text is None:
        record.spent |= reply.kind == 'budget'
        record.lost += reply.kind != 'budget'
        record.error = reply.error
      # Who has said nothing has sent nothing.
      said = '{}' if reply.text is None else reply.text
      chat.extend(repairs[i - 1 : i] if i else ())
      chat.append({'role': 'assistant', 'content': said})
    record.repairs += len(repairs)
    last = found.replies[-1]
    record.failures += found.error is not None and last.text is not None
    return found.value


class AlgorithmAgent:
  """An algorithm on a node, which speaks as its script does, without a model.

  Args:
    place: of the node.
    seed: of the run.
    algorithm: an entry of `ALGORITHMS`; 'random' and 'constant' are baselines.
  """

  def __init__(
    self, place: _protocol.Place, seed: int = 0, *, algorithm: str = 'auto'
  ):
    _algorithms.ALGORITHMS.make(algorithm, task=place.task)
    self.record = Record()
    self.chat: list[dict[str, str]] = []
    self._algorithm, self._seed = algorithm, seed
    self._seen = _reading.Seen(
      name=place.name,
      neighbors=place.neighbors,
      num_agents=len(place.names),
      task=place.task,
      rounds=place.rounds,
      num_groups=place.num_groups,
      received=(),
      answering=False,
    )

  async def send(
    self, number: int, received: Mapping[str, str]
  ) -> dict[str, str]:
    """Tells all neighbors the same."""
    said = self._speak(received) if number else self._speak()
    return said.messages

  async def answer(self, received: Mapping[str, str]) -> str | None:
    """Answers from what it has heard."""
    return self._speak(received).answer

  def _speak(self, *received):
    heard = self._seen.received + tuple(dict(box) for box in received)
    self._seen = self._seen._replace(received=heard)
    return _spoken.speak(self._algorithm, self._seen, self._seed)


def algorithm_agents(algorithm: str = 'auto') -> Maker:
  """Makes a maker of algorithms.

  Args:
    algorithm: an entry of `ALGORITHMS`.

  Returns:
    `make(place, seed) -> agent`.
  """
  return lambda place, seed: AlgorithmAgent(place, seed, algorithm=algorithm)


def llm_agents(client: _client.Client, **options: Any) -> Maker:
  """Makes a maker of language models.

  Args:
    client: asks them.
    **options: of `LLMAgent`.

  Returns:
    `make(place, seed) -> agent`.
  """
  return lambda place, seed: LLMAgent(client, place, seed, **options)
