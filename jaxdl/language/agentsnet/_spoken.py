# SPDX-License-Identifier: Apache-2.0
"""Algorithms that speak: what a node says, from what it was told in text.

Nodes are replayed by `Speaker`, so that a conversation of such nodes ends with
the answers of `run_sync`, bit by bit.
"""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax

from jaxdl.language.agentsnet import _algorithms, _reading, _speaker

# Nodes that are remembered, so that a longer chat is one step further.
_KEPT = 1 << 13
_INTEGERS = re.compile(r'-?[0-9]{1,10}( -?[0-9]{1,10})*')
# What answers alone has nothing to say.
_ALONE = ('constant', 'random')


class Spoken(NamedTuple):
  """What a node says now.

  Attributes:
    messages: by receiver.
    answer: if it were asked.
  """

  messages: dict[str, str]
  answer: str


def speak(algorithm: str, seen: _reading.Seen, seed: int = 0) -> Spoken:
  """Says what an algorithm says after what a node has heard.

  A message is its integers with spaces between; what is none was not heard.

  Args:
    algorithm: an entry of `ALGORITHMS` that solves the task.
    seen: what the node was told.
    seed: of the run: its key is `jax.random.key(seed)`.

  Returns:
    Its messages and its answer.

  Raises:
    ValueError: if the algorithm does not solve the task.
  """
  told = tuple(
    tuple((n, box[n]) for n in seen.neighbors if n in box)
    for box in seen.received
  )
  node = (algorithm, seen._replace(received=(), answering=False), seed)
  # From the first delivery on, as none may be remembered.
  for number in range(len(told)):
    _after(*node, told[:number])
  speaker = _after(*node, told)
  if _is_alone(algorithm):
    return Spoken({}, _speaker.final(speaker))
  said = ' '.join(map(str, _speaker.say(speaker)))
  return Spoken(dict.fromkeys(seen.neighbors, said), _speaker.final(speaker))


@functools.lru_cache(maxsize=64)
def _is_alone(algorithm):
  return _algorithms.ALGORITHMS.part(algorithm).name in _ALONE


@functools.lru_cache(maxsize=_KEPT)
def _after(algorithm, seen, seed, told):
  """A node after some deliveries."""
  if not told:
    return _speaker.start_speaker(
      algorithm,
      seen.task,
      seen.name,
      seen.neighbors,
      num_nodes=seen.num_agents,
      num_rounds=seen.rounds,
      max_degree=seen.num_groups - 1 if seen.num_groups else None,
      key=jax.random.key(seed),
    )
  before = _after(algorithm, seen, seed, told[:-1])
  heard = {name: _integers(text) for name, text in told[-1]}
  return _speaker.hear(before, heard)


def _integers(text) -> Sequence[int]:
  """The integers of a message; none if it is something else."""
  if not _INTEGERS.fullmatch(text):
    return ()
  return tuple(map(int, text.split(' ')))
