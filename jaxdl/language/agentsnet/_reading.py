# SPDX-License-Identifier: Apache-2.0
"""Reads a chat of the protocol back, as scripted agents do."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxdl.language.agentsnet import _protocol


class Seen(NamedTuple):
  """What an agent can know from its chat.

  Attributes:
    name: its own.
    neighbors: names, in the order in which they were told.
    num_agents: of the network.
    task: name of the task.
    rounds: R.
    num_groups: colors; 0 for other tasks.
    received: messages by sender, of every delivery so far.
    answering: whether the question has been asked.
  """

  name: str
  neighbors: tuple[str, ...]
  num_agents: int
  task: str
  rounds: int
  num_groups: int
  received: tuple[dict[str, str], ...]
  answering: bool


def read_chat(messages: Sequence[Mapping[str, str]]) -> Seen:
  """Reads what the protocol has told an agent.

  Args:
    messages: the chat; requests to repair are passed over.

  Returns:
    What was told.

  Raises:
    ValueError: if it is no chat of this protocol.
  """
  system = '\n'.join(m['content'] for m in messages if m['role'] == 'system')
  tasks = [t for t, w in _protocol.WORDINGS.items() if w.line in system]
  if len(tasks) != 1:
    raise ValueError('the chat has no system message of this protocol.')
  told = [
    m['content']
    for m in messages
    if m['role'] == 'user' and not m['content'].startswith(_protocol.REPAIR)
  ]
  if not told:
    raise ValueError('the chat asks for nothing.')
  groups = re.search(r'to Group (\d+)\.', system)
  return Seen(
    name=json.loads(_find(r'^- Your name is (".*")\.$', system)),
    neighbors=tuple(
      json.loads(_find(r'^- Your neighbors are: (\[.*\])\. The', system))
    ),
    num_agents=int(_find(r'^- There are (\d+) agents', system)),
    task=tasks[0],
    rounds=int(_find(r'^- There (?:is|are) (\d+) rounds? of', system)),
    num_groups=int(groups[1]) if groups else 0,
    received=tuple(map(_received, told[1:])),
    answering=told[-1].split('\n')[-1].startswith(_protocol.OVER),
  )


def read_options(messages: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
  """Reads what may be answered.

  Args:
    messages: a chat in which the question has been asked.

  Returns:
    The options.

  Raises:
    ValueError: if it has not been asked.
  """
  for message in reversed(messages):
    last = message['content'].split('\n')[-1]
    if message['role'] == 'user' and last.startswith(_protocol.OVER):
      return tuple(json.loads(_find(r'Possible answers: (\[.*\])\. R', last)))
  raise ValueError('the chat asks for no answer.')


def _find(pattern, text):
  found = re.search(pattern, text, re.MULTILINE)
  if not found:
    raise ValueError(f'the system message has nothing like {pattern!r}.')
  return found[1]


def _received(text):
  """Messages by sender; they stand alone on their line."""
  lines = text.split('\n')
  if _protocol.GOT not in lines:
    return {}
  return json.loads(lines[lines.index(_protocol.GOT) + 1])
