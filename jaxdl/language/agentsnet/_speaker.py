# SPDX-License-Identifier: Apache-2.0
"""One node of an algorithm at a time, for whoever speaks for it in text.

The functions are those that `run_sync` maps over all nodes: with the same key
the answers are the same, bit by bit.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import graphs
from jaxdl.core import checks
from jaxdl.language.agentsnet import _algorithms, _names, _node, _tasks

_LEAST_SLOTS = 8
_INTEGERS = (-(2**31), 2**31 - 1)


class Speaker(NamedTuple):
  """A node that runs an algorithm.

  Attributes:
    algorithm: a part of `ALGORITHMS`.
    task: a part of `TASKS`.
    neighbors: their names, in the order of `neighbors_of`.
    facts: what it knows.
    state: of the algorithm.
    t: deliveries so far.
    key: of the run.
  """

  algorithm: str
  task: str
  neighbors: tuple[str, ...]
  facts: _node.Facts
  state: Any
  t: int
  key: chex.PRNGKey


@functools.lru_cache(maxsize=64)
def _functions(algorithm, task):
  """The compiled functions of a node; one program for each number of slots."""
  made = _algorithms.ALGORITHMS.make(algorithm, task=task)
  at = lambda key, facts, t: _node.node_key(key, facts.number, t)

  @jax.jit
  def start(facts, key):
    facts = facts._replace(rank=_node.rank(key, facts.number))
    return facts, made.start(facts, at(key, facts, 0))

  @jax.jit
  def update(state, facts, messages, mask, t, key):
    return made.update(state, facts, messages, mask, t, at(key, facts, t))

  return start, jax.jit(made.message), update, jax.jit(made.answer), made


def start_speaker(
  algorithm: str,
  task: str,
  name: str,
  neighbors: Sequence[str],
  *,
  num_nodes: int,
  num_rounds: int,
  max_degree: int | None = None,
  key: chex.PRNGKey,
) -> Speaker:
  """A node before anybody speaks.

  Args:
    algorithm: a part of `ALGORITHMS`.
    task: a part of `TASKS`.
    name: of the node.
    neighbors: their names, in the order of `neighbors_of`.
    num_nodes: n.
    num_rounds: R.
    max_degree: of the graph, which a coloring must tell; the number of
      neighbors if None.
    key: of the run, the same for all nodes.

  Returns:
    The node.

  Raises:
    ValueError: if the algorithm does not solve the task, or a number is out of
      range.

  Example:
    >>> key = jax.random.key(0)
    >>> facts = {'num_nodes': 2, 'num_rounds': 3, 'key': key}
    >>> ann = start_speaker('auto', 'consensus', 'Ann', ['Bob'], **facts)
    >>> bob = start_speaker('auto', 'consensus', 'Bob', ['Ann'], **facts)
    >>> ann, bob = hear(ann, {'Bob': say(bob)}), hear(bob, {'Ann': say(ann)})
    >>> final(ann) == final(bob)
    True
  """
  neighbors = tuple(neighbors)
  degree = len(neighbors)
  checks.integer(num_nodes, name='num_nodes', low=2)
  checks.integer(num_rounds, name='num_rounds', low=1)
  most = degree if max_degree is None else max_degree
  checks.integer(most, name='max_degree', low=max(degree, 1))
  slots = graphs.bucket(degree, least=_LEAST_SLOTS)
  numbers = np.zeros(slots, np.int32)
  numbers[:degree] = [_names.node_number(other) for other in neighbors]
  words = graphs.bucket(_node.num_words(most), least=1)
  facts = _node.Facts(
    number=jnp.int32(_names.node_number(name)),
    rank=jnp.int32(0),
    neighbor_numbers=jnp.asarray(numbers),
    neighbor_mask=jnp.asarray(np.arange(slots) < degree),
    num_nodes=jnp.int32(num_nodes),
    max_degree=jnp.int32(most),
    palette=_node.palette(jnp.int32(most), words),
    num_rounds=jnp.int32(num_rounds),
  )
  facts, state = _functions(algorithm, task)[0](facts, key)
  return Speaker(algorithm, task, neighbors, facts, state, 0, key)


def say(speaker: Speaker) -> tuple[int, ...]:
  """What a node tells all of its neighbors.

  Args:
    speaker: the node.

  Returns:
    A few integers.
  """
  _, message, *_ = _functions(speaker.algorithm, speaker.task)
  return tuple(np.asarray(message(speaker.state)).tolist())


def hear(speaker: Speaker, messages: Mapping[str, Sequence[int]]) -> Speaker:
  """A node after one more delivery.

  Args:
    speaker: the node.
    messages: what neighbors said, by name. Neighbors who are missing or said
      what is no message of the algorithm were silent; others are ignored.

  Returns:
    The node.
  """
  _, _, update, _, made = _functions(speaker.algorithm, speaker.task)
  slots = speaker.facts.neighbor_mask.shape[0]
  heard = np.zeros((slots, made.num_integers), np.int32)
  mask = np.zeros(slots, bool)
  for slot, name in enumerate(speaker.neighbors):
    said = messages.get(name)
    if _is_message(said, made.num_integers):
      heard[slot], mask[slot] = said, True
  t = speaker.t + 1
  state = update(
    speaker.state,
    speaker.facts,
    jnp.asarray(heard),
    jnp.asarray(mask),
    jnp.int32(t),
    speaker.key,
  )
  return speaker._replace(state=state, t=t)


def _is_message(said, count):
  low, high = _INTEGERS
  return (
    isinstance(said, Sequence)
    and not isinstance(said, str)
    and len(said) == count
    and all(type(x) is int and low <= x <= high for x in said)
  )


def final(speaker: Speaker) -> str:
  """What a node answers.

  Args:
    speaker: the node.

  Returns:
    One of the admissible answers, see `options`.
  """
  *_, answer, _ = _functions(speaker.algorithm, speaker.task)
  code = int(answer(speaker.state, speaker.facts))
  if speaker.task == 'matching':
    return speaker.neighbors[code] if code >= 0 else _names.NONE
  if speaker.task == 'coloring':
    return f'Group {code + 1}'
  if speaker.task == 'consensus':
    return str(code)
  return _tasks.YES if code else _tasks.NO
