# SPDX-License-Identifier: Apache-2.0
"""A pipeline of actors that own their registers: when does who run?"""

import collections
import dataclasses
import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks, registry

_IDLE, _BUSY = 'idle', 'busy'


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


class Event(NamedTuple):
  """What happened: `actor` began or ended `batch` at `time`."""

  time: float
  actor: str
  batch: int
  kind: str


class Simulation(NamedTuple):
  """What a pipeline did.

  Attributes:
    finish: f64[A, B], when an actor ended a batch; NaN if it never did.
    peak: i64[A], most registers of an actor in use at once.
    left: i64[A], registers still in use in the end.
    trace: what happened, in order.
    deadlock: who waits for what if nothing can go on; '' if all is done.
  """

  finish: np.ndarray
  peak: np.ndarray
  left: np.ndarray
  trace: list[Event]
  deadlock: str

  @property
  def makespan(self) -> float:
    """When the last batch was done."""
    return float(self.finish.max(initial=0.0))

  def period(self, num_last: int) -> float:
    """Seconds per batch in the end.

    Args:
      num_last: of how many batches, fewer than there were.

    Returns:
      The mean of the last actor that ended.
    """
    ends = self.finish.max(axis=0)
    return float(ends[-1] - ends[-1 - num_last]) / num_last


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
  taus = tuple(taus)
  if not taus:
    raise ValueError('taus is empty: give the seconds of one actor at least.')
  several = isinstance(registers, Sequence)
  registers = tuple(registers) if several else (registers,) * (len(taus) - 1)
  if len(registers) not in (len(taus) - 1, len(taus)):
    raise ValueError(
      f'registers={registers} must be one for each of {len(taus)} actors; the '
      'last may be left out.'
    )
  registers += (1,) * (len(taus) - len(registers))
  consumers = [[f'a{i + 1}'] for i in range(len(taus) - 1)] + [[]]
  if skip is not None:
    a, b = skip
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
    >>> simulate(barrier_actors((1, 3, 2)), 10).makespan
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

  Example:
    >>> check_actors({'a': ActorSpec(1, 0)})
    Traceback (most recent call last):
    ValueError: registers of 'a' must be at least 1; got 0.
  """
  if not actors:
    raise ValueError('actors is empty: give one at least.')
  producers = collections.Counter()
  for name, actor in actors.items():
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


def simulate(
  actors: Mapping[str, ActorSpec],
  num_batches: int,
  *,
  seconds: Mapping[str, Sequence[float]] | None = None,
) -> Simulation:
  """Runs a pipeline on a simulated clock.

  An actor runs when it is idle, every input has a register that was sent, and
  one of its own registers is free. When it ends, consumers get the register,
  and the registers that it read go back to their producers, who may use them
  again when the last reader has returned them. Actors of one queue run one at a
  time, who is ready first, first. Actors without producers run once per batch.

  Args:
    actors: by name.
    num_batches: B, how many batches go in.
    seconds: f[B] of actors whose batches take more or less than `tau`.

  Returns:
    Times, registers in use, what happened, and who waits if nobody can run,
    which only happens where results go round in a circle.

  Raises:
    ValueError: as `check_actors`, but for circles; or if seconds do not fit.

  Cost: O(A B log A) time.

  Example:
    >>> simulate(chain_actors((1, 3, 2), (2, 2)), 10).makespan
    33.0

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 4.
  """
  check_actors(actors, acyclic=False)
  num = checks.integer(num_batches, name='num_batches', low=0)
  taken = {n: np.full(num, float(a.tau)) for n, a in actors.items()}
  for name, values in (seconds or {}).items():
    checks.choice(name, actors, name='seconds')
    own = checks.host_array(values, name=f'seconds of {name!r}')
    if own.shape != (num,) or not (np.isfinite(own) & (own >= 0)).all():
      raise ValueError(
        f'seconds of {name!r} must be one number >= 0 for each of {num} '
        'batches.'
      )
    taken[name] = own
  return _Clock(actors, num, taken).run()


class _Clock:
  """The state of a pipeline while it runs."""

  def __init__(self, actors, num, seconds):
    self.actors, self.num, self.seconds = actors, num, seconds
    self.names = list(actors)
    self.place = {n: i for i, n in enumerate(self.names)}
    self.producers = {n: [] for n in actors}
    for name, actor in actors.items():
      for other in actor.consumers:
        self.producers[other].append(name)
    self.readable = {
      n: [collections.deque() for _ in p] for n, p in self.producers.items()
    }
    self.free = {n: a.registers for n, a in actors.items()}
    # How many have still to return the register of a batch.
    self.reading: dict[tuple[str, int], int] = {}
    self.lender: dict[tuple[str, int], str] = {}
    self.begun = dict.fromkeys(actors, 0)
    self.ended = dict.fromkeys(actors, 0)
    self.state = dict.fromkeys(actors, _IDLE)
    self.waiting: dict[str, collections.deque] = {}
    self.running: dict[str, str | None] = {}
    self.finish = np.full((len(actors), num), np.nan)
    self.used = np.zeros(len(actors), np.int64)
    self.peak = np.zeros(len(actors), np.int64)
    self.trace: list[Event] = []
    self.heap: list[tuple[float, int, str]] = []
    self.count = itertools.count()

  def run(self) -> Simulation:
    for name in self.names:
      self.ready(name, 0.0)
    for queue in list(self.waiting):
      self.start(queue, 0.0)
    while self.heap:
      now = self.heap[0][0]
      # Everybody who ends now does so before anybody begins.
      touched: dict[str, None] = {}
      while self.heap and self.heap[0][0] <= now:
        self.end(heapq.heappop(self.heap)[2], now, touched)
      for name in touched:
        self.ready(name, now)
      for queue in list(self.waiting):
        self.start(queue, now)
    return Simulation(
      self.finish, self.peak, self.used, self.trace, self.stuck()
    )

  def ready(self, name, now):
    """Puts an actor into its queue if it may run."""
    if self.state[name] != _IDLE or not self.free[name]:
      return
    inputs = self.readable[name]
    if not all(inputs) or (not inputs and self.begun[name] >= self.num):
      return
    self.state[name] = _BUSY
    queue = self.actors[name].queue or f'own {name}'
    self.waiting.setdefault(queue, collections.deque()).append(name)
    self.free[name] -= 1
    self.used[self.place[name]] += 1
    place = self.place[name]
    self.peak[place] = max(self.peak[place], self.used[place])

  def start(self, queue, now):
    if self.running.get(queue) is not None or not self.waiting[queue]:
      return
    name = self.waiting[queue].popleft()
    self.running[queue] = name
    batch = self.begun[name]
    self.begun[name] += 1
    self.trace.append(Event(now, name, batch, 'begin'))
    done = now + float(self.seconds[name][batch])
    heapq.heappush(self.heap, (done, next(self.count), name))

  def end(self, name, now, touched):
    actor, batch = self.actors[name], self.ended[name]
    self.ended[name] += 1
    self.state[name] = _IDLE
    self.running[actor.queue or f'own {name}'] = None
    self.finish[self.place[name], batch] = now
    self.trace.append(Event(now, name, batch, 'end'))
    touched[name] = None
    for producer, fifo in zip(
      self.producers[name], self.readable[name], strict=True
    ):
      read = fifo.popleft()
      if actor.in_place:
        self.lender[name, batch] = producer
      else:
        self.give_back(producer, read, touched)
    self.reading[name, batch] = len(actor.consumers)
    for other in actor.consumers:
      ports = self.readable[other]
      # A producer may feed several inputs of one consumer.
      feeds = [i for i, p in enumerate(self.producers[other]) if p == name]
      least = min(feeds, key=lambda i: (len(ports[i]), i))
      ports[least].append(batch)
      touched[other] = None
    if not actor.consumers:
      self.reading[name, batch] = 1
      self.give_back(name, batch, touched)

  def give_back(self, name, batch, touched):
    """A reader returns a register; the last one frees it."""
    self.reading[name, batch] -= 1
    if self.reading[name, batch]:
      return
    del self.reading[name, batch]
    self.free[name] += 1
    self.used[self.place[name]] -= 1
    touched[name] = None
    producer = self.lender.pop((name, batch), None)
    if producer is not None:
      # One register per batch, so they have the same number.
      self.give_back(producer, batch, touched)

  def stuck(self) -> str:
    """Who waits for what; '' if everybody is done."""
    told = []
    for name in self.names:
      if self.ended[name] >= self.num:
        continue
      reasons = [
        f'a result of {p!r}'
        for p, fifo in zip(
          self.producers[name], self.readable[name], strict=True
        )
        if not fifo
      ]
      if not self.free[name]:
        reasons.append('a free register')
      told.append(
        f'{name!r} waits for {" and ".join(reasons)} after '
        f'{self.ended[name]} of {self.num} batches'
      )
    return '' if not told else f'dead-lock: {"; ".join(told)}.'


def predicted_period(actors: Mapping[str, ActorSpec]) -> float:
  """Seconds per batch in the end, without a simulation.

  The largest of (sum of tau) / tokens over all cycles of the graph in which
  results go from producers to consumers and registers back. In a chain,

    max(max_i tau_i, max_i (tau_i + tau_{i+1}) / r_i);

  one register makes neighbors take turns, two let the slowest actor set the
  pace. Of actors that share a queue the sum of tau is a bound, which is reached
  where they do not hold each other up.

  Args:
    actors: by name.

  Returns:
    The period, exact where every actor has its own queue.

  Raises:
    ValueError: as `check_actors`.

  Cost: O(A E) for each of a few rounds.

  Example:
    >>> predicted_period(chain_actors((1, 3, 2), (2, 1)))
    5.0

  Source: the maximum cycle ratio of a marked graph (Baccelli et al. 1992,
    Synchronization and Linearity, Theorem 2.3).
  """
  check_actors(actors)
  names = list(actors)
  place = {n: i for i, n in enumerate(names)}
  edges = []
  for name, actor in actors.items():
    here = place[name]
    edges.append((here, here, 1.0))
    for other in actor.consumers:
      edges.append((here, place[other], 0.0))
    if actor.registers != math.inf:
      edges += [
        (place[n], here, actor.registers) for n in _returners(actors, name)
      ]
  tau = [float(a.tau) for a in actors.values()]
  queues: collections.Counter[str] = collections.Counter()
  for actor in actors.values():
    if actor.queue:
      queues[actor.queue] += actor.tau
  return max([_cycle_ratio(tau, edges), *map(float, queues.values())])


def _returners(actors, name):
  """Whose end sends the registers of an actor back."""
  found, todo = [], list(actors[name].consumers)
  while todo:
    other = todo.pop()
    if actors[other].in_place and actors[other].consumers:
      todo += actors[other].consumers
    else:
      found.append(other)
  return found or [name]


def _cycle_ratio(tau, edges):
  """The largest (sum of tau) / tokens, by cycles that beat the best so far."""
  best = 0.0
  while True:
    cycle = _better(tau, edges, best)
    if not cycle:
      return best
    found = sum(tau[u] for u, _, _ in cycle) / sum(k for _, _, k in cycle)
    if found <= best * (1 + 1e-12):
      return best
    best = found


def _better(tau, edges, ratio):
  """A cycle whose tau are more than ratio times its tokens, or none."""
  far, via = [0.0] * len(tau), [None] * len(tau)
  slack = 1e-12 * (1.0 + sum(tau))
  last = None
  for _ in range(len(tau) + 1):
    last = None
    for edge in edges:
      u, v, tokens = edge
      there = far[u] + tau[u] - ratio * tokens
      if there > far[v] + slack:
        far[v], via[v], last = there, edge, v
    if last is None:
      return []
  for _ in tau:
    last = via[last][0]
  cycle, here = [], last
  while not cycle or here != last:
    cycle.append(via[here])
    here = via[here][0]
  return cycle


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
