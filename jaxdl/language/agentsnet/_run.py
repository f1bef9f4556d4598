# SPDX-License-Identifier: Apache-2.0
"""One run of the protocol: R deliveries, then every agent answers alone."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import networkx

import jaxdl.language._client as client_lib
import jaxdl.language._transcripts as transcripts
from jaxdl.core import checks
from jaxdl.language.agentsnet import (
  _agents,
  _files,
  _graphs,
  _protocol,
  _tasks,
)


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
    solved: whether the score is 1.
    sent: messages that were delivered.
    ignored: messages to who is no neighbor.
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
  solved: bool
  sent: tuple[Message, ...]
  ignored: int
  records: tuple[_agents.Record, ...]
  chats: tuple[tuple[dict[str, str], ...], ...]
  stopped: bool

  def total(self, name: str) -> int:
    """Returns the sum of a number of the records, e.g. 'calls'."""
    return sum(getattr(r, name) for r in self.records)

  @property
  def scripted(self) -> bool:
    """Whether a scripted model has answered anything."""
    return self.total('scripted') > 0
