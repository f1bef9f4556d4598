# SPDX-License-Identifier: Apache-2.0
"""An exact clock: times are whole numbers of ticks, never sums of floats."""

import heapq
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from jaxdl.federated.asynchronous import _times

# Floats that are this close to a fraction of a denominator up to this are read
# as that fraction; others are rounded to `FINEST`.
_LARGEST_DENOMINATOR = 100_000
_CLOSE = 1e-12
FINEST = Fraction(1, 10**9)


def fraction(value: float) -> Fraction:
  """Reads a float as the number that was meant.

  Args:
    value: finite.

  Returns:
    The simple fraction next to it if there is one within 1e-12, otherwise the
    nearest multiple of 1e-9.

  Example:
    >>> fraction(0.1 + 0.2), fraction(1 - 0.8 * 4 / 9)
    (Fraction(3, 10), Fraction(29, 45))
  """
  value = float(value)
  near = Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)
  if abs(float(near) - value) <= _CLOSE * max(1.0, abs(value)):
    return near
  return round(value / FINEST) * FINEST


def waiting_periods(times: np.ndarray, delta_t: float) -> np.ndarray:
  """After how many periods clients can be collected.

  Args:
    times: f64[N], τ > 0.
    delta_t: Δt > 0.

  Returns:
    i64[N], ⌈τ_i / Δt⌉ in exact arithmetic.

  Example:
    >>> waiting_periods([0.1 + 0.2 + 0.3, 0.61, 0.2], 0.2).tolist()
    [3, 4, 1]
  """
  period = fraction(delta_t)
  return np.array([math.ceil(fraction(t) / period) for t in times], np.int64)


class Clock:
  """When the jobs of clients end, in ticks.

  Attributes:
    per_unit: ticks in a unit of time.
    queue: heap of (tick, client, version) of the jobs under way.
  """

  def __init__(self, timing: _times.Timing, others: Sequence[float] = ()):
    """Chooses ticks that all times are multiples of.

    Args:
      timing: of the clients.
      others: further times.

    Raises:
      ValueError: if a job is shorter than the clock can tell.
    """
    exact = [[fraction(t) for t in row] for row in timing.times]
    for i, row in enumerate(exact):
      for j, t in enumerate(row):
        if t <= 0:
          raise ValueError(
            f'compute time of client {i} is {timing.times[i, j]}; must be at '
            f'least the resolution of the clock, {float(FINEST):g}.'
          )
    away = {
      name: [
        fraction(t) if np.isfinite(t) else None for t in getattr(timing, name)
      ]
      for name in ('leave', 'rejoin')
    }
    all_of = [t for row in exact for t in row]
    all_of += [t for row in away.values() for t in row if t is not None]
    all_of += [fraction(t) for t in others]
    self.per_unit = math.lcm(*(t.denominator for t in all_of))
    self._durations = [[self._of(t) for t in row] for row in exact]
    self._leave, self._rejoin = (
      [None if t is None else self._of(t) for t in row] for row in away.values()
    )
    self._drop = timing.drop_rate
    self._rngs = [
      np.random.default_rng([timing.seed, i]) if rate else None
      for i, rate in enumerate(timing.drop_rate)
    ]
    self._done = [0] * timing.num_clients
    self.queue: list[tuple[int, int, int]] = []
    # Where clients under way started from, and who never comes back.
    self.under_way: dict[int, int] = {}
    for i in range(timing.num_clients):
      self.start(i, 0, 0)

  def _of(self, t: Fraction) -> int:
    return int(t * self.per_unit)

  def ticks(self, t: float) -> int:
    """The last tick that is not later than a time."""
    return math.floor(fraction(t) * self.per_unit)

  def time(self, tick: int) -> float:
    """The time of a tick, rounded once."""
    return tick / self.per_unit

  def start(self, client: int, tick: int, version: int) -> None:
    """Gives a client a job.

    Args:
      client: who.
      tick: when.
      version: how many aggregations its model has behind it.
    """
    end = self._end(client, tick)
    if end is not None:
      heapq.heappush(self.queue, (end, client, version))
      self.under_way[client] = version

  def pop(self) -> tuple[int, int, int]:
    """Returns who comes back next; of several at once the lowest number."""
    found = heapq.heappop(self.queue)
    del self.under_way[found[1]]
    return found

  def _end(self, i: int, now: int) -> int | None:
    """When a job that starts now is delivered, or None for never."""
    durations, rng = self._durations[i], self._rngs[i]
    leave, rejoin = self._leave[i], self._rejoin[i]
    while True:
      if leave is not None and now >= leave:
        if rejoin is None:
          return None
        now = max(now, rejoin)
      end = now + durations[self._done[i] % len(durations)]
      self._done[i] += 1
      if leave is not None and now < leave < end:
        if rejoin is None:
          return None
        now = rejoin
        continue
      if rng is None or rng.random() >= self._drop[i]:
        return end
      now = end
