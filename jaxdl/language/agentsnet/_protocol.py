# SPDX-License-Identifier: Apache-2.0
"""What an agent of the network is told and asked, round by round.

Every agent has one growing chat: a system message with its place in the
network, a request for the first messages, then after each of R deliveries a
request for the next ones, and after the last delivery the question. So there
are R deliveries, information travels R hops, and an agent is asked R + 1 times
unless a reply must be repaired.

What others sent is shown as one JSON object, so that no text of theirs can pass
for a word of the protocol.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from jaxdl.language.agentsnet import _parsing

# Begins what is asked where a reply could not be read.
REPAIR = 'Your last reply could not be used: '
# Stands above what others sent, and before the question.
GOT = 'Messages that you got, by sender:'
OVER = 'All rounds are over.'
# Of the sentence about what was wrong, which may quote the reply.
_MOST_SAID = 400

_THINK = 'Think step by step before you reply.'
_MESSAGES = (
  'Reply with a JSON object that maps names of neighbors to the messages that '
  'you send them, such as {"NAME": "TEXT"}. Neighbors that you leave out get '
  'nothing from you in this round.'
)


class Wording(NamedTuple):
  """What is said about a task.

  Attributes:
    line: the task in one line.
    text: the task at the end of the system message; `{last}` is the number of
      groups.
    question: what is asked at the end.
  """

  line: str
  text: str
  question: str


WORDINGS = {
  'coloring': Wording(
    'All agents together must divide themselves into groups so that no two '
    'neighbors are in one group.',
    'Every agent must choose one of {last} groups, from Group 1 to Group '
    '{last}. Neighbors must never choose the same group. You succeed only if '
    'this holds for all pairs of neighbors in the network.',
    'Which group do you choose?',
  ),
  'vertex_cover': Wording(
    'All agents together must choose a minimal set of coordinators such that '
    'every connection of the network has a coordinator at one of its ends.',
    'Every agent must decide whether it is a coordinator. Of any two neighbors '
    'at least one must be a coordinator, and no coordinator may be '
    'superfluous: the rule must break if a single one of them stepped down.',
    'Are you a coordinator?',
  ),
  'matching': Wording(
    'All agents together must form as many pairs of neighbors as they can, '
    'such that nobody is in two pairs.',
    'Every agent must name at most one neighbor as its partner. A pair counts '
    'only if both name each other. Two neighbors must not both stay alone: who '
    'names nobody must have only neighbors that are in a pair.',
    'Which neighbor is your partner? Answer None if you stay alone.',
  ),
  'leader_election': Wording(
    'All agents together must choose exactly one of them as their leader.',
    'At the end exactly one agent of the whole network must say that it is the '
    'leader, and all others that they are not.',
    'Are you the leader?',
  ),
  'consensus': Wording(
    'All agents together must agree on one value, 0 or 1.',
    'At the end every agent names a value, 0 or 1. You succeed only if all '
    'agents of the whole network name the same one.',
    'Which value have all agents agreed on?',
  ),
}


class Place(NamedTuple):
  """What an agent knows before the first round.

  Attributes:
    name: its own.
    neighbors: names of its neighbors, in their order.
    names: of all agents; only to tell names from other words, never told.
    task: name of the task.
    options: what it may answer.
    rounds: R, deliveries.
    num_groups: colors, for coloring.
  """

  name: str
  neighbors: tuple[str, ...]
  names: tuple[str, ...]
  task: str
  options: tuple[str, ...]
  rounds: int
  num_groups: int = 0


def system_message(place: Place, *, chain_of_thought: bool = True) -> str:
  """Says where an agent is, what is to be done, and by which rules.

  Args:
    place: of the agent.
    chain_of_thought: whether it is asked to think aloud.

  Returns:
    The text.
  """
  wording = WORDINGS[place.task]
  rounds = place.rounds
  rules = [
    f'There are {len(place.names)} agents in the network. Every one has a name '
    'of its own.',
    f'Your name is {_quoted(place.name)}.',
    f'Your neighbors are: {_listed(place.neighbors)}. The connections go both '
    'ways.',
    'You can send messages to your neighbors alone, and only from them do you '
    'get any. What others should know must be passed on.',
    'Messages are exchanged in rounds, by all agents at the same time: what is '
    'sent in a round arrives at its end.',
    f'There {"is" if rounds == 1 else "are"} {rounds} round'
    f'{"" if rounds == 1 else "s"} of messages. Then every agent must answer a '
    'question on its own.',
    _MESSAGES,
  ]
  if chain_of_thought:
    rules.insert(-1, _THINK)
  return '\n'.join(
    (
      'You are an agent in a network, connected to some other agents, its '
      'neighbors. ' + wording.line,
      '',
      'Rules:',
      *(f'- {rule}' for rule in rules),
      '',
      'Task: ' + wording.text.format(last=place.num_groups),
    )
  )


def first_request(place: Place, *, chain_of_thought: bool = True) -> str:
  """Asks for the messages of the first round.

  Args:
    place: of the agent.
    chain_of_thought: whether it is asked to think aloud.

  Returns:
    The text.
  """
  return ' '.join(
    (
      f'Round 1 of {place.rounds} begins.',
      _left(place.rounds),
      *((_THINK,) if chain_of_thought else ()),
      'Which messages do you send to your neighbors?',
      _MESSAGES,
    )
  )


def next_request(
  place: Place,
  number: int,
  received: Mapping[str, str],
  *,
  chain_of_thought: bool = True,
) -> str:
  """Delivers messages and asks for the next ones, or the question at the end.

  Args:
    place: of the agent.
    number: deliveries including this one, 1 to R.
    received: messages by the neighbor who sent them.
    chain_of_thought: whether it is asked to think aloud.

  Returns:
    The text.
  """
  left = place.rounds - number
  think = (_THINK,) if chain_of_thought else ()
  if left:
    asked = (
      f'Round {number + 1} of {place.rounds} begins.',
      _left(left),
      *think,
      'Which messages do you send next?',
      _MESSAGES,
    )
  else:
    asked = (
      OVER,
      *think,
      WORDINGS[place.task].question,
      _answer_form(place.options),
    )
  return '\n'.join((*_delivery(place, number, received), ' '.join(asked)))


def repair_request(error: str, place: Place, *, answering: bool = False) -> str:
  """Asks once more where a reply could not be read.

  Args:
    error: what was wrong with it.
    place: of the agent.
    answering: whether the answer was asked for, not messages.

  Returns:
    The text.
  """
  form = _answer_form(place.options) if answering else _MESSAGES
  names = '' if answering else f' Neighbors: {_listed(place.neighbors)}.'
  said = error[:_MOST_SAID].rstrip('.')
  return f'{REPAIR}{said}. {form}{names}'


def _delivery(place, number, received):
  silent = [n for n in place.neighbors if n not in received]
  lines = [f'Round {number} of {place.rounds} is over.']
  if received:
    shown = json.dumps(dict(received), ensure_ascii=False)
    lines += [GOT, shown]
  else:
    lines.append('You got no messages.')
  if silent:
    lines.append(f'Neighbors who sent you nothing: {_listed(silent)}.')
  return lines


def _left(left):
  if left == 1:
    return 'This is the last round of messages.'
  return f'{left} rounds of messages are left, this one included.'


def _answer_form(options):
  # An example would be a hint that all agents get.
  return (
    f'Possible answers: {_listed(options)}. Reply with the marker '
    f'{_parsing.MARKER} and, right behind it, your answer.'
  )


def _listed(names):
  return json.dumps(list(names), ensure_ascii=False)


def _quoted(name):
  return json.dumps(name, ensure_ascii=False)
