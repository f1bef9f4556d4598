# SPDX-License-Identifier: Apache-2.0
"""Aggregations as they happen, and the arrays they end up in."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.federated.asynchronous import _clock, _schedule, _times

# A longer list would fill the memory before anything is trained.
_MOST = 10_000_000


class Slot(NamedTuple):
  """A message that an aggregation uses."""

  client: int
  version: int
  send: int = _schedule.AFTER


class Book:
  """Aggregations as they happen."""

  def __init__(self, timing: _times.Timing, horizon: float, *others: float):
    checks.number(horizon, name='horizon', low=0.0, open_low=True)
    self.clock = _clock.Clock(timing, others)
    self.horizon = horizon
    self.end = self.clock.ticks(horizon)
    self.num_clients = timing.num_clients
    self.ticks: list[int] = []
    self.rows: list[list[Slot]] = []
    first = self.next_tick
    if first is None:
      raise ValueError('no client ever returns: all leave before that.')
    if first > self.end:
      raise ValueError(
        f'horizon {horizon:g} ends before the first client returns at '
        f'{self.clock.time(first):g}.'
      )

  @property
  def next_tick(self) -> int | None:
    """When somebody comes back next, if anybody does."""
    return self.clock.queue[0][0] if self.clock.queue else None

  def comes_by(self, tick: int) -> bool:
    """Whether somebody comes back by then."""
    return self.next_tick is not None and self.next_tick <= tick

  def too_late(
    self, most: int | None, batch: list[Slot], ready: list[Slot]
  ) -> bool:
    """Whether to go on waiting, lest a message becomes too stale.

    Args:
      most: largest staleness; None for any.
      batch: what would be aggregated now.
      ready: all that is there.

    Returns:
      Whether somebody who is not in the batch could not be in time any more,
      if the next aggregations took as many messages, the oldest first.
    """
    if most is None:
      return False
    size = max(len(batch), 1)
    others = [slot.version for slot in ready[len(batch) :]]
    others = sorted([*others, *self.clock.under_way.values()])
    turn = len(self.rows) + 1
    return any(
      turn + k // size - version > most for k, version in enumerate(others)
    )

  def add(self, tick: int, slots: list[Slot], *, restart: bool = True) -> None:
    """Aggregates, and lets who waited for it go on."""
    self.ticks.append(tick)
    self.rows.append(slots)
    self.check_count(len(self.rows))
    if restart:
      for slot in slots:
        self.clock.start(slot.client, tick, len(self.rows))

  def check_count(self, count: int) -> None:
    """Raises ValueError if there are too many aggregations."""
    if count > _MOST:
      raise ValueError(
        f'horizon {self.horizon:g} holds more than {_MOST} aggregations: '
        'choose a shorter one.'
      )

  def schedule(
    self, name: str, weigh: Callable[..., Any], *, mixes: bool = False
  ) -> _schedule.Schedule:
    """Makes arrays of it; `weigh(unweighted schedule) -> f[T, P] or f[N]`."""
    width = max((len(row) for row in self.rows), default=0)
    if not width:
      raise ValueError(
        f'horizon {self.horizon:g} ends before {name} aggregates anything: '
        'choose a longer one.'
      )
    shape = len(self.rows), width
    lengths = np.array([len(row) for row in self.rows])
    mask = np.arange(width) < lengths[:, None]
    flat = np.array([slot for row in self.rows for slot in row], np.int64)
    filled = []
    for column, empty, dtype in (
      (0, -1, np.int32),
      (1, -1, np.int32),
      (2, _schedule.AFTER, np.int8),
    ):
      table = np.full(shape, empty, dtype)
      table[mask] = flat[:, column]
      filled.append(table)
    participants, version, sends = filled
    made = _schedule.Schedule(
      times=np.array([self.clock.time(t) for t in self.ticks]),
      participants=participants,
      mask=mask,
      version=version,
      weights=np.zeros(shape),
      sends=sends,
      num_clients=self.num_clients,
      horizon=self.horizon,
      mixes=mixes,
      name=name,
    )
    weights = np.asarray(weigh(made), np.float64)
    if weights.ndim == 1:
      weights = weights[np.where(mask, participants, 0)]
    return dataclasses.replace(made, weights=np.where(mask, weights, 0.0))
