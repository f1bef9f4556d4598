# SPDX-License-Identifier: Apache-2.0
"""A simulated clock on which actors run when they can."""

import collections
import heapq
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.parallel.actors import _specs

_IDLE, _BUSY = 'idle', 'busy'


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
    """When the last batch was done; NaN after a dead-lock."""
    return float(self.finish.max(initial=0.0))

  def period(self, num_last: int) -> float:
    """Seconds per batch in the end.

    Args:
      num_last: of how many batches, fewer than there were.

    Returns:
      The mean of the last actor that ended; NaN after a dead-lock.

    Raises:
      ValueError: if there were not so many batches.
    """
    num = self.finish.shape[1]
    if not 1 <= checks.integer(num_last, name='num_last') < num:
      raise ValueError(
        f'num_last={num_last} must lie in [1, {num}): a period takes a batch '
        f'before those that count, and there were {num}.'
      )
    ends = self.finish.max(axis=0)
    return float(ends[-1] - ends[-1 - num_last]) / num_last


def simulate(
  actors: Mapping[str, _specs.ActorSpec],
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
  _specs.check_actors(actors, acyclic=False)
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
