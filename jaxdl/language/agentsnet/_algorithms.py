# SPDX-License-Identifier: Apache-2.0
"""Classical algorithms, each told by what one node does.

An entry of `ALGORITHMS` is a factory of a `NodeAlgorithm`; the task is given to
it, and refused where the algorithm does not solve it.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry
from jaxdl.language.agentsnet import _node, _tasks
from jaxdl.language.agentsnet._node import NodeAlgorithm

_LARGEST = (1 << 31) - 1
# What stands in place of a rank.
_INSIDE, _OUTSIDE = _LARGEST, -1


def _solves(task: str, name: str, tasks: tuple[str, ...]) -> None:
  if task not in tasks:
    raise ValueError(
      f'algorithm={name!r} does not solve task={task!r} but {", ".join(tasks)}.'
    )


class _Flood(NamedTuple):
  best: chex.Array
  value: chex.Array
  is_old: chex.Array


def flooding(task: str) -> NodeAlgorithm:
  """The largest rank travels, and what its node chose.

  After t deliveries every node knows the largest rank within t links, so that
  as many as the diameter suffice.
  """
  _solves(task, 'flooding', ('consensus', 'leader_election'))

  def start(facts, key):
    value = (_node.draw(key) >> 31).astype(jnp.int32)
    return _Flood(facts.rank, value, jnp.array(False))

  def message(state):
    return jnp.stack([state.best, state.value])

  def update(state, facts, messages, mask, t, key):
    del facts, t, key
    # The value rides along in the last bit; ranks are distinct.
    pairs = jnp.where(mask, 2 * messages[:, 0] + messages[:, 1], -1)
    best = jnp.maximum(pairs.max(), 2 * state.best + state.value)
    return _Flood(best >> 1, best & 1, best >> 1 == state.best)

  def answer(state, facts):
    if task == 'consensus':
      return state.value
    return (state.best == facts.rank).astype(jnp.int32)

  # Where nothing was new to anybody, nothing will be.
  settled = lambda state: state.is_old
  return NodeAlgorithm(start, message, update, answer, 2, settled)


def _independent_set(start, update):
  """An algorithm whose state is a rank, or that a node is in or out."""
  return NodeAlgorithm(
    start,
    lambda state: state[None],
    update,
    # The others cover every edge.
    lambda state, facts: (state != _INSIDE).astype(jnp.int32),
    settled=lambda state: (state == _INSIDE) | (state == _OUTSIDE),
  )


def greedy_independent_set(task: str) -> NodeAlgorithm:
  """A node joins when its neighbors of higher rank are out; others cover.

  Nodes beside a member leave. The complement of a maximal independent set is a
  cover without needless members. Who is undecided at the end covers.
  """
  _solves(task, 'greedy_independent_set', ('vertex_cover',))

  def start(facts, key):
    del key
    return facts.rank

  def update(state, facts, messages, mask, t, key):
    del t, key
    # Members speak louder than any rank, leavers more quietly.
    loudest = jnp.where(mask, messages[:, 0], _OUTSIDE).max()
    moved = jnp.where(loudest < facts.rank, _INSIDE, state)
    moved = jnp.where(loudest == _INSIDE, _OUTSIDE, moved)
    return jnp.where(state == facts.rank, moved, state)

  return _independent_set(start, update)


def luby(task: str) -> NodeAlgorithm:
  """As `greedy_independent_set`, with fresh ranks every other delivery.

  At odd deliveries local maxima join, at even ones their neighbors leave and
  the rest draw anew.

  Source: Luby 1986 (https://doi.org/10.1137/0215074), algorithm A.
  """
  _solves(task, 'luby', ('vertex_cover',))
  fresh = lambda key: (_node.draw(key) >> (32 - _node.BITS)).astype(jnp.int32)

  def start(facts, key):
    del facts
    return fresh(key)

  def update(state, facts, messages, mask, t, key):
    del facts
    loudest = jnp.where(mask, messages[:, 0], _OUTSIDE).max()
    open_ = (state != _INSIDE) & (state != _OUTSIDE)
    joined = jnp.where(loudest < state, _INSIDE, state)
    left = jnp.where(loudest == _INSIDE, _OUTSIDE, fresh(key))
    return jnp.where(open_, jnp.where(t % 2 == 1, joined, left), state)

  return _independent_set(start, update)


def greedy_coloring(task: str) -> NodeAlgorithm:
  """A node takes the lowest free color when those of higher rank have one.

  Who has none at the end answers the first color.
  """
  _solves(task, 'greedy_coloring', ('coloring',))

  def start(facts, key):
    del key
    return facts.rank  # Colors are told as -1, -2, ...

  def update(state, facts, messages, mask, t, key):
    del t, key
    told = messages[:, 0]
    waiting = (mask & (told > facts.rank)).any()
    words = facts.palette.shape[0]
    used = _node.used(-told - 1, mask & (told < 0), words)
    # There is a free one unless someone lies.
    free = facts.palette & ~used
    color = jnp.where((free != 0).any(), _node.lowest(free), 0)
    ready = (state >= 0) & ~waiting
    return jnp.where(ready, -color - 1, state)

  def answer(state, facts):
    del facts
    return jnp.where(state < 0, -state - 1, 0)

  return NodeAlgorithm(
    start,
    lambda state: state[None],
    update,
    answer,
    settled=lambda state: state < 0,
  )


class _Trial(NamedTuple):
  color: chex.Array
  in_conflict: chex.Array


def trial_coloring(task: str) -> NodeAlgorithm:
  """Random colors; in conflict a node redraws with probability 1/2.

  The new color is one of those that no neighbor has.
  """
  _solves(task, 'trial_coloring', ('coloring',))

  def start(facts, key):
    color = _node.pick_bit(_node.draw(key), facts.palette)
    return _Trial(color, jnp.array(True))

  def update(state, facts, messages, mask, t, key):
    del t
    told = messages[:, 0]
    word = _node.draw(key)
    used = _node.used(told, mask & (told >= 0), facts.palette.shape[0])
    color = _node.pick_bit(word, facts.palette & ~used)
    conflict = (mask & (told == state.color)).any()
    # The last bit decides whether, the first ones which.
    moves = conflict & (word & 1 == 1) & (color >= 0)
    return _Trial(jnp.where(moves, color, state.color), conflict)

  return NodeAlgorithm(
    start,
    lambda state: state.color[None],
    update,
    lambda state, facts: state.color,
    settled=lambda state: ~state.in_conflict,
  )


class _Pairing(NamedTuple):
  partner: chex.Array  # Slot, -1 for nobody yet.
  target: chex.Array  # Slot of whom it asks, -1 for nobody.
  partner_number: chex.Array
  target_number: chex.Array
  is_over: chex.Array  # Paired, as are all neighbors where it is not.


def proposals(task: str) -> NodeAlgorithm:
  """Half of the free nodes ask a random free neighbor, the others accept one.

  Proposals are out at the start and at even deliveries, accepted at odd ones,
  also where two ask each other. Nobody else accepts at the last delivery, of
  which the one that asked would not hear. A node
  says -1 while it is free, k when it asks the node of number k, -k - 2 when it
  is paired with it.
  """
  _solves(task, 'proposals', ('matching',))

  none = np.int32(-1)  # No device is started by making an algorithm.

  # Compared with every slot: looking one up is slower.
  def is_at(facts, slot):
    slots = jnp.arange(facts.neighbor_numbers.shape[0], dtype=jnp.int32)
    return slots == slot

  def number_at(facts, slot):
    return jnp.where(is_at(facts, slot), facts.neighbor_numbers, -1).max()

  def start(facts, key):
    word = _node.draw(key)
    slot = _node.pick(word, facts.neighbor_numbers, facts.neighbor_mask)
    slot = jnp.where(word & 1 == 1, slot, -1)
    return _Pairing(none, slot, none, number_at(facts, slot), jnp.array(False))

  def message(state):
    paired = -state.partner_number - 2
    return jnp.where(state.partner >= 0, paired, state.target_number)[None]

  def update(state, facts, messages, mask, t, key):
    told, word = messages[:, 0], _node.draw(key)
    accepting = t % 2 == 1
    # Who asks me, or else who may be free.
    open_ = mask & (told >= -1)
    choice = jnp.where(accepting, mask & (told == facts.number), open_)
    slot = _node.pick(word, facts.neighbor_numbers, choice)
    # Who asks nobody accepts one; two who ask each other know at once.
    accepted = jnp.where(t < facts.num_rounds, slot, -1)
    agreed = (choice & is_at(facts, state.target)).any()
    mutual = jnp.where(agreed, state.target, -1)
    accepted = jnp.where(state.target >= 0, mutual, accepted)
    # Or who accepted me.
    paired = mask & (told == -facts.number - 2)
    slots = jnp.arange(paired.shape[0], dtype=jnp.int32)
    heard = jnp.where(paired, slots, -1).max()
    fresh = jnp.where(accepting, accepted, heard)
    partner = jnp.where(state.partner < 0, fresh, state.partner)
    asked = jnp.where((word & 1 == 1) & (partner < 0), slot, -1)
    target = jnp.where(accepting, state.target, asked)
    return _Pairing(
      partner,
      target,
      number_at(facts, partner),
      number_at(facts, target),
      jnp.where(accepting, state.is_over, (partner >= 0) | ~open_.any()),
    )

  return NodeAlgorithm(
    start,
    message,
    update,
    lambda state, facts: state.partner,
    settled=lambda state: state.is_over,
  )


def _silent(choose):
  """A node that answers by itself."""

  def start(facts, key):
    return choose(facts, key)

  def update(state, facts, messages, mask, t, key):
    del facts, messages, mask, t, key
    return state

  return NodeAlgorithm(
    start,
    lambda state: jnp.zeros((1,), jnp.int32),
    update,
    lambda state, facts: state,
    settled=lambda state: jnp.array(True),
  )


def random(task: str) -> NodeAlgorithm:
  """Everybody answers at random, alike among what is admissible."""
  checks.choice(task, _tasks.TASKS, name='task')

  def choose(facts, key):
    word = _node.draw(key)
    if task == 'coloring':
      return _node.pick_bit(word, facts.palette)
    if task == 'matching':
      # Nobody is an option, too.
      tags = jnp.append(facts.neighbor_numbers, -1)
      slot = _node.pick(word, tags, jnp.append(facts.neighbor_mask, True))
      return jnp.where(slot == facts.neighbor_mask.shape[0], -1, slot)
    return (word >> 31).astype(jnp.int32)

  return _silent(choose)


def constant(task: str) -> NodeAlgorithm:
  """Everybody answers alike: Yes, None, 0 or the first group."""
  checks.choice(task, _tasks.TASKS, name='task')
  code = {'leader_election': 1, 'vertex_cover': 1, 'matching': -1}.get(task, 0)
  return _silent(lambda facts, key: jnp.int32(code))


_BEST = {
  'coloring': greedy_coloring,
  'consensus': flooding,
  'leader_election': flooding,
  'matching': proposals,
  'vertex_cover': greedy_independent_set,
}


def auto(task: str) -> NodeAlgorithm:
  """The first of those that solve a task."""
  checks.choice(task, _BEST, name='task')
  return _BEST[task](task)


ALGORITHMS = registry.Registry(
  'algorithm',
  {
    f.__name__: f
    for f in (
      auto,
      constant,
      flooding,
      greedy_coloring,
      greedy_independent_set,
      luby,
      proposals,
      random,
      trial_coloring,
    )
  },
  given=('task',),
)


def algorithms_for(task: str) -> tuple[str, ...]:
  """Names of the algorithms that solve a task, and of the baselines.

  Args:
    task: a part of `TASKS`.

  Returns:
    Names of `ALGORITHMS`, without 'auto'.

  Example:
    >>> algorithms_for('coloring')
    ('constant', 'greedy_coloring', 'random', 'trial_coloring')
  """
  found = []
  for name in ALGORITHMS:
    try:
      ALGORITHMS.make(name, task=task)
    except ValueError:
      continue
    found.append(name)
  return tuple(name for name in found if name != 'auto')
