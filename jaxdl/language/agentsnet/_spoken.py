# SPDX-License-Identifier: Apache-2.0
"""Algorithms that speak: one node at a time, its messages as text.

A node is replayed from what it was told, by the same functions that `run_sync`
maps over all nodes, so that a conversation of such nodes ends with the same
answers, bit by bit. What cannot be read as a message was not heard.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxdl.language.agentsnet import (
  _algorithms,
  _names,
  _node,
  _reading,
  _tasks,
)

# Neighbors are padded to powers of two from here, for few compiled programs.
_FEWEST = 8
_KEPT = 1 << 14
# What answers alone has nothing to say.
_ALONE = ('constant', 'random')


class Spoken(NamedTuple):
  """What a node says now.

  Attributes:
    message: to all neighbors; None if it says nothing.
    answer: if it were asked.
  """

  message: str | None
  answer: str


def speak(algorithm: str, seen: _reading.Seen, seed: int = 0) -> Spoken:
  """Says what an algorithm says after what a node has heard.

  Args:
    algorithm: an entry of `ALGORITHMS` that solves the task.
    seen: what the node was told.
    seed: of the run: its key is `jax.random.key(seed)`.

  Returns:
    Its message and its answer.

  Raises:
    ValueError: if the algorithm does not solve the task.
  """
  part = _algorithms.ALGORITHMS.part(algorithm, name='algorithm')
  made = _made(part.text, seen.task)
  heard = tuple(
    tuple(_integers(box.get(n), made.num_integers) for n in seen.neighbors)
    for box in seen.received
  )
  node = _Node(
    part.text,
    seen.task,
    seen.name,
    seen.neighbors,
    seen.num_agents,
    max(seen.num_groups - 1, 0),
    seen.rounds,
    seed,
  )
  _, said, code = _state(node, heard)
  alone = part.name in _ALONE
  return Spoken(
    None if alone else ' '.join(map(str, said)),
    answer_of(seen.task, code, seen.neighbors),
  )


def answer_of(task: str, code: int, neighbors: Sequence[str]) -> str:
  """Says what an algorithm's answer means.

  Args:
    task: an entry of `TASKS`.
    code: of the answer; of a matching the slot of a neighbor.
    neighbors: names.

  Returns:
    One of the options.

  Example:
    >>> answer_of('matching', 1, ('Ann', 'Bo')), answer_of('coloring', 0, ())
    ('Bo', 'Group 1')
  """
  if task == 'matching':
    return neighbors[code] if code >= 0 else _names.NONE
  if task == 'coloring':
    return f'Group {code + 1}'
  if task == 'consensus':
    return str(code)
  return _tasks.YES if code else _tasks.NO


def messages_of(spoken: Spoken, neighbors: Sequence[str]) -> Mapping[str, str]:
  """The same message to all neighbors, or none."""
  if spoken.message is None:
    return {}
  return dict.fromkeys(neighbors, spoken.message)


class _Node(NamedTuple):
  """What does not change while a node talks; `_state` remembers by it."""

  algorithm: str
  task: str
  name: str
  neighbors: tuple[str, ...]
  num_agents: int
  max_degree: int
  rounds: int
  seed: int


def _integers(text, count):
  """The integers of a message; None if it is none."""
  if text is None or not re.fullmatch(r'-?\d{1,10}( -?\d{1,10})*', text):
    return None
  found = tuple(map(int, text.split(' ')))
  fit = len(found) == count and all(-(2**31) <= x < 2**31 for x in found)
  return found if fit else None


@functools.lru_cache(maxsize=64)
def _made(algorithm, task):
  return _algorithms.ALGORITHMS.make(algorithm, task=task)


@functools.lru_cache(maxsize=_KEPT)
def _after(node, heard):
  """State, message and answer after the last of some deliveries."""
  start, update = _programs(node.algorithm, node.task)
  facts = _facts(node)
  if not heard:
    return _on_host(start(facts, node.seed))
  width = len(facts.neighbor_numbers)
  count = _made(node.algorithm, node.task).num_integers
  said, mask = np.zeros((width, count), np.int32), np.zeros(width, bool)
  for i, integers in enumerate(heard[-1]):
    if integers is not None:
      said[i], mask[i] = integers, True
  state = _after(node, heard[:-1])[0]
  done = update(state, facts, said, mask, np.int32(len(heard)), node.seed)
  return _on_host(done)


def _state(node, heard):
  # From the first delivery on, as none may be remembered.
  for number in range(len(heard)):
    _after(node, heard[:number])
  return _after(node, heard)


def _on_host(done):
  state, said, code = jax.device_get(done)
  return state, said.tolist(), int(code)


def _facts(node):
  """Facts of a node, from the names that it knows."""
  own = _names.node_number(node.name)
  width = max(_FEWEST, 1 << (len(node.neighbors) - 1).bit_length())
  numbers = np.full(width, own, np.int32)
  numbers[: len(node.neighbors)] = [*map(_names.node_number, node.neighbors)]
  words = _node.num_words(node.max_degree)
  return _node.Facts(
    number=np.int32(own),
    rank=np.int32(0),
    neighbor_numbers=numbers,
    neighbor_mask=np.arange(width) < len(node.neighbors),
    num_nodes=np.int32(node.num_agents),
    max_degree=np.int32(node.max_degree),
    palette=np.zeros(words, np.uint32),
    num_rounds=np.int32(node.rounds),
  )


@functools.lru_cache(maxsize=64)
def _programs(algorithm, task):
  made = _made(algorithm, task)

  def whole(facts, seed):
    key = jax.random.key(seed)
    return key, facts._replace(
      rank=_node.rank(key, facts.number),
      palette=_node.palette(facts.max_degree, facts.palette.shape[0]),
    )

  def out(state, facts):
    return state, made.message(state), made.answer(state, facts)

  @jax.jit
  def start(facts, seed):
    key, facts = whole(facts, seed)
    own = _node.node_key(key, facts.number, 0)
    return out(made.start(facts, own), facts)

  @jax.jit
  def update(state, facts, said, mask, t, seed):
    key, facts = whole(facts, seed)
    own = _node.node_key(key, facts.number, t)
    return out(made.update(state, facts, said, mask, t, own), facts)

  return start, update
