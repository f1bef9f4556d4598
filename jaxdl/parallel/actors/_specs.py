# SPDX-License-Identifier: Apache-2.0
"""Actors, and pipelines of them by name."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxdl.core import checks, registry


@dataclasses.dataclass(frozen=True)
class ActorSpec:
  """An operator that runs when it can.

  Attributes:
    tau: seconds of one run, >= 0.
    registers: r >= 1 results that it may have under way; math.inf for as many
      as there are.
    consumers: names of the actors that take its results.
    queue: the device that runs it, one actor at a time; '' for its own.
    size: bytes of a register.
    in_place: whether its result lies in the register of its input, which goes
      back when the result does.
  """

  tau: float
  registers: float = 1
  consumers: tuple[str, ...] = ()
  queue: str = ''
  size: float = 1.0
  in_place: bool = False


def chain_actors(
  taus: Sequence[float],
  registers: Any = 2,
  skip: tuple[int, int] | None = None,
) -> dict[str, ActorSpec]:
  """A chain of actors, in which one may feed a second one further on.

  Args:
    taus: seconds of each.
    registers: of each, or of all: one makes neighbors take turns, two are a
      double buffer, math.inf no credits at all. The last, whose results nobody
      takes, has 1 if it is left out.
    skip: positions of a producer and of a later consumer of it.

  Returns:
    Actors a0, a1, ...

  Raises:
    ValueError: if numbers do not fit.

  Example:
    >>> [a.consumers for a in chain_actors((1, 3, 2)).values()]
    [('a1',), ('a2',), ()]
  """
  if isinstance(taus, str) or not isinstance(taus, Iterable):
    raise TypeError(
      f'taus must be the seconds of each actor; got {checks.described(taus)}.'
    )
  taus = tuple(taus)
  if not taus:
    raise ValueError('taus is empty: give the seconds of one actor at least.')
  several = isinstance(registers, Sequence) and not isinstance(registers, str)
  registers = tuple(registers) if several else (registers,) * (len(taus) - 1)
  if len(registers) not in (len(taus) - 1, len(taus)):
    raise ValueError(
      f'registers={registers} must be one for each of {len(taus)} actors; the '
      'last may be left out.'
    )
  registers += (1,) * (len(taus) - len(registers))
  consumers = [[f'a{i + 1}'] for i in range(len(taus) - 1)] + [[]]
  if skip is not None:
    if not isinstance(skip, Sequence) or len(skip) != 2:
      raise TypeError(
        'skip must be the positions of a producer and of a consumer; got '
        f'{skip!r}.'
      )
    a, b = (checks.integer(n, name='skip') for n in skip)
    if not 0 <= a < b - 1 < len(taus) - 1:
      raise ValueError(
        f'skip={skip} must lead at least two actors on, within 0 to '
        f'{len(taus) - 1}.'
      )
    consumers[a].append(f'a{b}')
  actors = {
    f'a{i}': ActorSpec(t, r, tuple(c))
    for i, (t, r, c) in enumerate(zip(taus, registers, consumers, strict=True))
  }
  check_actors(actors)
  return actors


def barrier_actors(taus: Sequence[float]) -> dict[str, ActorSpec]:
  """A chain whose actors run one after the other: no pipeline at all.

  Args:
    taus: seconds of each.

  Returns:
    Actors a0, a1, ... which return a register when the last one has run.

  Raises:
    ValueError: as `chain_actors`.

  Example:
    >>> simulate(PIPELINES.make('barrier', (1, 3, 2)), 10).makespan
    60.0
  """
  actors = chain_actors(taus, 1)
  if len(actors) < 2:
    return actors
  # The first result goes to the last actor too, which returns it.
  last = f'a{len(actors) - 1}'
  more = dict.fromkeys((*actors['a0'].consumers, last))
  return actors | {
    'a0': dataclasses.replace(actors['a0'], consumers=tuple(more))
  }


PIPELINES = registry.Registry(
  'pipeline',
  {'barrier': barrier_actors, 'chain': chain_actors},
  given=('taus',),
)


def check_actors(
  actors: Mapping[str, ActorSpec], *, acyclic: bool = True
) -> None:
  """Checks actors.

  Args:
    actors: by name.
    acyclic: whether they must not wait for each other in a circle.

  Raises:
    ValueError: if there is none, a number is out of range, a consumer is not
      known, or results go round in a circle; the message names the actors.
    TypeError: if they are no `ActorSpec` by name.

  Example:
    >>> check_actors({'a': ActorSpec(1, 0)})
    Traceback (most recent call last):
    ValueError: registers of 'a' must be at least 1; got 0.
  """
  if not isinstance(actors, Mapping):
    raise TypeError(
      'actors must be a dict of ActorSpec by name; got '
      f'{checks.described(actors)}.'
    )
  if not actors:
    raise ValueError('actors is empty: give one at least.')
  producers = collections.Counter()
  for name, actor in actors.items():
    if not isinstance(actor, ActorSpec):
      raise TypeError(
        f'actor {name!r} must be an ActorSpec; got {checks.described(actor)}.'
      )
    if isinstance(actor.consumers, str):
      raise TypeError(
        f'consumers of {name!r} must be names; got the text '
        f'{actor.consumers!r}: write ({actor.consumers!r},).'
      )
    checks.number(actor.tau, name=f'tau of {name!r}', low=0)
    checks.number(actor.size, name=f'size of {name!r}', low=0)
    if actor.registers != math.inf:
      checks.integer(actor.registers, name=f'registers of {name!r}', low=1)
    for other in actor.consumers:
      if other not in actors:
        raise ValueError(
          f'consumers of {name!r} has {other!r}, which is no actor: there are '
          f'{", ".join(actors)}.'
        )
    producers.update(actor.consumers)
  for name, actor in actors.items():
    if actor.in_place and producers[name] != 1:
      raise ValueError(
        f'in_place of {name!r} needs one input; it has {producers[name]}.'
      )
  circle = _circle(actors)
  if acyclic and circle:
    raise ValueError(
      f'actors {" -> ".join(circle)} wait for each other: a dead-lock. Take '
      'one of these consumers out.'
    )


def _circle(actors):
  state: dict[str, str] = {}
  for root in actors:
    path, stack = [], [(root, iter(actors[root].consumers))]
    if root in state:
      continue
    state[root] = 'open'
    path.append(root)
    while stack:
      name, rest = stack[-1]
      other = next(rest, None)
      if other is None:
        state[name] = 'done'
        stack.pop()
        path.pop()
      elif state.get(other) == 'open':
        return [*path[path.index(other) :], other]
      elif other not in state:
        state[other] = 'open'
        path.append(other)
        stack.append((other, iter(actors[other].consumers)))
  return []


def memory_bound(actors: Mapping[str, ActorSpec]) -> float:
  """Bytes that the registers of all actors take at most.

  Args:
    actors: by name.

  Returns:
    The sum of registers times size, known before anything runs.

  Example:
    >>> memory_bound({'a': ActorSpec(1.0, 2, size=8.0)})
    16.0
  """
  return float(sum(a.registers * a.size for a in actors.values()))
