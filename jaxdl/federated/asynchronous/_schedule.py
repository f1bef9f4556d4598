# SPDX-License-Identifier: Apache-2.0
"""Who arrives at which aggregation, from where, and with which weight."""

import dataclasses

import numpy as np

from jaxdl.core import checks

# What a slot's client is sent when its message has been used.
NOTHING, BEFORE, AFTER = 0, 1, 2
# Numbers of clients in a message.
_SHOWN = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
  """T aggregations of messages of N clients, on a virtual clock; on the host.

  Padding has client -1, version -1 and weight 0.

  Attributes:
    times: f64[T], when the server aggregates.
    participants: i32[T, P], who has arrived.
    mask: bool[T, P], which slots are real.
    version: i32[T, P], how many aggregations the model had behind it that a
      client started from.
    weights: f64[T, P], d_i, what messages count; need not sum to one.
    sends: i8[T, P], what a client goes on with: the model `AFTER` the
      aggregation; that `BEFORE` it, where it did not wait for the server; or
      `NOTHING`, where a later slot of the same client says it.
    num_clients: N.
    horizon: when it ends.
    mixes: whether a message y - s of a client that started at s counts as y -
      x, towards its model instead of along its change.
    name: of the scheme.
    gone: clients that leave within the horizon and never come back.
  """

  times: np.ndarray
  participants: np.ndarray
  mask: np.ndarray
  version: np.ndarray
  weights: np.ndarray
  sends: np.ndarray
  num_clients: int
  horizon: float
  mixes: bool = False
  name: str = 'schedule'
  gone: tuple[int, ...] = ()

  def __post_init__(self):
    checks.integer(self.num_clients, name='num_clients', low=1)
    shape = np.shape(self.participants)
    if len(shape) != 2 or not shape[0] or not shape[1]:
      raise ValueError(f'participants must have shape [T, P]; got {shape}.')
    for name in ('mask', 'version', 'weights', 'sends'):
      if np.shape(getattr(self, name)) != shape:
        raise ValueError(
          f'{name} must have the shape of participants, {shape}; got '
          f'{np.shape(getattr(self, name))}.'
        )
    if np.shape(self.times) != shape[:1]:
      raise ValueError(
        f'times must have shape ({shape[0]},); got {np.shape(self.times)}.'
      )
    there = np.where(self.mask, self.participants, 0)
    if there.min() < 0 or there.max() >= self.num_clients:
      raise ValueError(
        f'participants must be numbers from 0 to {self.num_clients - 1}; got '
        f'{there.min()} to {there.max()}.'
      )
    late = self.mask & (self.version > np.arange(shape[0])[:, None])
    if late.any():
      raise ValueError(
        'version must not be later than the aggregation; it is in aggregation '
        f'{int(np.argwhere(late)[0][0])}.'
      )

  @property
  def num_aggregations(self) -> int:
    """T."""
    return len(self.times)

  @property
  def num_jobs(self) -> int:
    """Messages that are used, all in all."""
    return int(self.mask.sum())

  @property
  def missing(self) -> tuple[int, ...]:
    """Clients that never take part: the loss leaves them out."""
    return tuple(np.flatnonzero(counts_of(self) == 0).tolist())

  @property
  def remarks(self) -> tuple[str, ...]:
    """Sentences on clients whose data count less than they should."""
    found = []
    if self.missing:
      found.append(
        f'{self.name}: what is minimized leaves out {_clients(self.missing)}, '
        f'never there within horizon {self.horizon:g}.'
      )
    left = [client for client in self.gone if client not in self.missing]
    if left:
      found.append(
        f'{self.name}: what is minimized leaves out {_clients(left)} once gone '
        f'for good, before horizon {self.horizon:g}.'
      )
    return tuple(found)

  @property
  def repeats(self) -> np.ndarray:
    """i32[T, P], how many earlier slots of an aggregation the client has."""
    if self.waits:
      return np.zeros(self.participants.shape, np.int32)
    same = self.participants[:, :, None] == self.participants[:, None, :]
    earlier = np.tril(np.ones((same.shape[1],) * 2, bool), -1)
    return ((same & earlier).sum(-1) * self.mask).astype(np.int32)

  @property
  def waits(self) -> bool:
    """Whether clients wait for the aggregation before they go on."""
    return bool((self.sends[self.mask] == AFTER).all())

  def done_by(self, times: np.ndarray) -> np.ndarray:
    """How many aggregations there are up to some times.

    Args:
      times: f[K]; an aggregation at such a time counts.

    Returns:
      i32[K].
    """
    slack = 1e-9 * np.maximum(1.0, np.abs(times))
    return np.searchsorted(self.times, times + slack, 'right').astype(np.int32)

  def jobs_by(self, count: np.ndarray) -> np.ndarray:
    """How many messages the first aggregations use.

    Args:
      count: i[K], aggregations.

    Returns:
      i64[K].
    """
    total = np.concatenate([[0], np.cumsum(self.mask.sum(1))])
    return total[np.minimum(count, len(self.times))]


def _clients(ids) -> str:
  shown = ', '.join(str(i) for i in ids[:_SHOWN])
  more = f' and {len(ids) - _SHOWN} more' if len(ids) > _SHOWN else ''
  return f'client{"s" if len(ids) > 1 else ""} {shown}{more}'


def counts_of(schedule: Schedule) -> np.ndarray:
  """How many messages of each client are used, i64[N]."""
  return np.bincount(
    schedule.participants[schedule.mask], minlength=schedule.num_clients
  )


def participation_fraction(schedule: Schedule) -> np.ndarray:
  """Share of the aggregations that a client takes part in.

  Args:
    schedule: T aggregations of N clients.

  Returns:
    f64[N], q_i / d_i where weights are constant. A client that brings two
    messages to an aggregation counts twice.

  Example:
    >>> from jaxdl.federated.asynchronous import make_schedule
    >>> schedule = make_schedule('fedfix(0.5)', [1.0, 0.5], horizon=4.0)
    >>> participation_fraction(schedule).tolist()
    [0.5, 1.0]
  """
  return counts_of(schedule) / schedule.num_aggregations


def surrogate_importance(
  schedule: Schedule, weights: np.ndarray | None = None
) -> np.ndarray:
  """Shares of the clients in the loss that a schedule really minimizes.

  The mean over the aggregations of what a client counts, scaled to sum to one:
  unbiased where that is the client's importance. (The official code of FedFix
  logs numbers in proportion to ⌈τ_i / Δt⌉ for equal weights; it is the inverse
  that holds, since slow clients arrive less often.)

  Args:
    schedule: T aggregations of N clients.
    weights: f[N], d_i, in place of those of the schedule.

  Returns:
    f64[N], sums to one.

  Raises:
    ValueError: if weights have another shape, or all that arrives counts zero.

  Example:
    >>> from jaxdl.federated.asynchronous import make_schedule
    >>> schedule = make_schedule('fedfix(0.5)', [1.0, 0.5], horizon=4.0)
    >>> surrogate_importance(schedule, [1.0, 1.0]).round(3).tolist()
    [0.333, 0.667]

  Source: Fraboni et al. 2023 (https://arxiv.org/abs/2206.10189), section 3.
  """
  n = schedule.num_clients
  used = schedule.weights
  if weights is not None:
    own = checks.host_array(weights, name='weights')
    if own.shape != (n,):
      raise ValueError(
        f'weights must have one entry per client, shape ({n},); got '
        f'{own.shape}.'
      )
    used = own[np.where(schedule.mask, schedule.participants, 0)]
  total = np.bincount(
    schedule.participants[schedule.mask], used[schedule.mask], minlength=n
  )
  if not total.sum() > 0:
    raise ValueError('weights must be positive for a client that arrives.')
  return total / total.sum()


def staleness(schedule: Schedule) -> np.ndarray:
  """How many aggregations a message is behind.

  Args:
    schedule: T aggregations.

  Returns:
    i32[T, P], n - version; -1 for padding.

  Example:
    >>> from jaxdl.federated.asynchronous import make_schedule
    >>> schedule = make_schedule('fedfix(0.5)', [1.0, 0.5], horizon=1.0)
    >>> staleness(schedule).tolist()
    [[0, -1], [1, 0]]
  """
  turn = np.arange(schedule.num_aggregations, dtype=np.int32)[:, None]
  return np.where(schedule.mask, turn - schedule.version, -1).astype(np.int32)
