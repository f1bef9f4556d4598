# SPDX-License-Identifier: Apache-2.0
"""When the server aggregates and whom: schemes on an exact clock."""

import dataclasses
from typing import Any

import numpy as np
from absl import logging

from jaxdl.core import checks, registry
from jaxdl.federated.asynchronous import (
  _book,
  _clock,
  _schedule,
  _times,
  _weights,
)

RESTARTS = ('flush', 'immediate')
DISCOUNTS = ('none', 'sqrt')


def _weigher(scheme, kind, timing, importance, *, counted=False, **options):
  """d_i in closed form, or by how often clients came where that is `counted`.

  Jobs that differ are always counted.
  """
  checks.choice(kind, _weights.KINDS, name='weights')
  counted |= not timing.is_regular

  def weigh(schedule):
    fraction = None
    if counted and scheme == 'fedfix' and kind == 'identical':
      return np.full(
        timing.num_clients, schedule.num_aggregations / schedule.num_jobs
      )
    if counted and kind == 'weight' and scheme != 'fedavg':
      fraction = _schedule.participation_fraction(schedule)
    return _weights.aggregation_weights(
      scheme,
      kind,
      timing.times[:, 0],
      importance,
      fraction=fraction,
      **options,
    )

  return weigh


def _bound(max_staleness):
  if max_staleness is not None:
    checks.integer(max_staleness, name='max_staleness', low=0)
  return max_staleness


def fedavg(
  timing: _times.Timing,
  horizon: float,
  importance: Any = None,
  *,
  weights: str = 'weight',
) -> _schedule.Schedule:
  """Waits for everybody who ever comes back.

  Args:
    timing: of N clients.
    horizon: when it ends.
    importance: f[N], p_i; None for 1 / N.
    weights: 'weight' for p_i, 'identical' for 1 / N.

  Returns:
    The schedule.
  """
  weigh = _weigher('fedavg', weights, timing, importance)
  book = _book.Book(timing, horizon)
  while book.clock.queue:
    last = max(book.clock.queue)[0]
    if last > book.end:
      break
    slots = []
    while book.clock.queue:
      _, client, version = book.clock.pop()
      slots.append(_book.Slot(client, version))
    book.add(last, sorted(slots))
  return book.schedule('fedavg', weigh)


def one_by_one(
  timing: _times.Timing,
  horizon: float,
  importance: Any = None,
  *,
  weights: str = 'weight',
  max_staleness: int | None = None,
) -> _schedule.Schedule:
  """Aggregates every message alone, as it arrives.

  Of several that arrive at once the lowest client is first.

  Args:
    timing: of N clients.
    horizon: when it ends.
    importance: f[N], p_i; None for 1 / N.
    weights: 'weight' for p_i over how often the client comes, which exceeds one
      for slow ones; 'identical' for 1, as asynchronous FedAvg is known.
    max_staleness: the server holds messages back as long as another one would
      become staler, and then takes the oldest first; None never waits.

  Returns:
    The schedule.
  """
  return _arrivals(
    'async',
    timing,
    horizon,
    _weigher(
      'async',
      weights,
      timing,
      importance,
      counted=max_staleness is not None,
    ),
    max_staleness=max_staleness,
  )


def fedasync(
  timing: _times.Timing,
  horizon: float,
  importance: Any = None,
  *,
  alpha: float = 0.6,
  staleness: str = 'poly',
  power: float = 0.5,
  grace: float = 4.0,
  max_staleness: int | None = None,
) -> _schedule.Schedule:
  """Mixes in every model as it arrives: x ← (1 - α_t) x + α_t y.

  α_t is α times the factor of its staleness t, see `staleness_factor`. Clients
  count as often as they come, whatever their importance.

  Args:
    timing: of N clients.
    horizon: when it ends.
    importance: unused.
    alpha: α in (0, 1].
    staleness: 'constant', 'poly' or 'hinge'.
    power: a, of both.
    grace: b, of 'hinge'.
    max_staleness: see `one_by_one`.

  Returns:
    The schedule.

  Source: Xie et al. 2019 (https://arxiv.org/abs/1903.03934), Algorithm 1.
  """
  del importance
  checks.number(alpha, name='alpha', low=0.0, high=1.0, open_low=True)
  _weights.staleness_factor(0, staleness, power=power, grace=grace)

  def weigh(schedule):
    lag = np.maximum(_schedule.staleness(schedule), 0)
    return alpha * _weights.staleness_factor(
      lag, staleness, power=power, grace=grace
    )

  return _arrivals(
    'fedasync', timing, horizon, weigh, max_staleness=max_staleness, mixes=True
  )


def _arrivals(
  name, timing, horizon, weigh, *, size=1, max_staleness=None, mixes=False
):
  """Aggregates the first `size` messages as soon as there are so many."""
  most = _bound(max_staleness)
  behind = (timing.num_clients - 1) // size
  if most is not None and most < behind:
    raise ValueError(
      f'max_staleness={most} cannot be kept: {timing.num_clients} messages of '
      f'which {size} {"is" if size == 1 else "are"} used at a time are up to '
      f'{behind} behind; choose at least that.'
    )
  book, ready = _book.Book(timing, horizon), []
  while book.comes_by(book.end):
    tick, client, version = book.clock.pop()
    ready.append(_book.Slot(client, version))
    if most is not None:
      ready.sort(key=lambda slot: slot.version)
    while len(ready) >= size:
      batch = ready[:size]
      if book.too_late(most, batch, ready):
        break
      book.add(tick, sorted(batch))
      del ready[:size]
  return book.schedule(name, weigh, mixes=mixes)


def fedfix(
  timing: _times.Timing,
  horizon: float,
  importance: Any = None,
  *,
  delta_t: float,
  weights: str = 'weight',
  min_arrivals: int = 0,
  max_staleness: int | None = None,
) -> _schedule.Schedule:
  """Aggregates at Δt, 2 Δt, ... whatever has arrived.

  A round may be empty; it counts all the same.

  Args:
    timing: of N clients.
    horizon: when it ends.
    importance: f[N], p_i; None for 1 / N.
    delta_t: Δt > 0; from the slowest client's time on it is FedAvg with that
      period.
    weights: 'weight' for ⌈τ_i / Δt⌉ p_i; 'identical' for the same for all,
      which lets fast clients count more.
    min_arrivals: with fewer messages the server goes on waiting.
    max_staleness: see `one_by_one`; the server waits for a later multiple.

  Returns:
    The schedule.

  Source: Fraboni et al. 2023 (https://arxiv.org/abs/2206.10189), section 5.
  """
  _weights.check_period(delta_t)
  least = checks.integer(
    min_arrivals, name='min_arrivals', low=0, high=timing.num_clients
  )
  most = _bound(max_staleness)
  weigh = _weigher(
    'fedfix',
    weights,
    timing,
    importance,
    # Who waits for company comes less often than the closed form says.
    counted=least > 1 or most is not None,
    delta_t=delta_t,
  )
  book, ready = _book.Book(timing, horizon, delta_t), []
  period = int(_clock.fraction(delta_t) * book.clock.per_unit)
  if period > book.end:
    raise ValueError(
      f'horizon {horizon:g} ends before the first aggregation at {delta_t:g}.'
    )
  book.check_count(book.end // period)
  for tick in range(period, book.end + 1, period):
    while book.comes_by(tick):
      _, client, version = book.clock.pop()
      ready.append(_book.Slot(client, version))
    if len(ready) >= least and not book.too_late(most, ready, ready):
      book.add(tick, sorted(ready))
      ready = []
  return book.schedule('fedfix', weigh)


def fedbuff(
  timing: _times.Timing,
  horizon: float,
  importance: Any = None,
  *,
  buffer_size: int,
  weights: str = 'weight',
  restart: str = 'flush',
  discount: str = 'none',
  max_staleness: int | None = None,
) -> _schedule.Schedule:
  """Aggregates when a buffer of messages is full.

  Args:
    timing: of N clients.
    horizon: when it ends.
    importance: f[N], p_i; None for 1 / N.
    buffer_size: c from 1 to N.
    weights: 'weight' for p_i over the share of aggregations that the client
      takes part in, counted in this schedule; 'identical' for 1 / c, as FedBuff
      is known.
    restart: 'flush' for clients that wait until the buffer is used, as in the
      code of FedFix; 'immediate' for those that get the current model at once,
      as in the first paper on it, and may come twice.
    discount: 'none', or 'sqrt' for weights over √(1 + staleness).
    max_staleness: see `one_by_one`; with restart 'flush'.

  Returns:
    The schedule.

  Source: Nguyen et al. 2022 (https://arxiv.org/abs/2106.06639), Algorithm 1.
  """
  _weights.check_buffer(buffer_size, timing.num_clients)
  checks.choice(restart, RESTARTS, name='restart')
  checks.choice(discount, DISCOUNTS, name='discount')
  base = _weigher(
    'fedbuff',
    weights,
    timing,
    importance,
    counted=True,
    buffer_size=buffer_size,
  )

  def weigh(schedule):
    own = base(schedule)[np.where(schedule.mask, schedule.participants, 0)]
    if discount == 'none':
      return own
    return own * _weights.staleness_factor(
      np.maximum(_schedule.staleness(schedule), 0)
    )

  if restart == 'flush':
    return _arrivals(
      'fedbuff',
      timing,
      horizon,
      weigh,
      size=buffer_size,
      max_staleness=max_staleness,
    )
  if max_staleness is not None:
    raise ValueError(
      f'max_staleness={max_staleness} needs restart=flush: with immediate the '
      'clients do not wait for the server.'
    )
  book, buffer = _book.Book(timing, horizon), []
  while book.comes_by(book.end):
    tick, client, version = book.clock.pop()
    buffer = [
      s._replace(send=_schedule.NOTHING) if s.client == client else s
      for s in buffer
    ]
    full = len(buffer) + 1 == buffer_size
    send = _schedule.AFTER if full else _schedule.BEFORE
    buffer.append(_book.Slot(client, version, send))
    if full:
      book.add(tick, buffer, restart=False)
      buffer = []
    book.clock.start(client, tick, len(book.rows))
  return book.schedule('fedbuff', weigh)


SCHEMES = registry.Registry(
  'scheme',
  {
    'fedavg': fedavg,
    'async': one_by_one,
    'fedfix': fedfix,
    'fedbuff': fedbuff,
    'fedasync': fedasync,
  },
  given=('timing', 'horizon', 'importance'),
)


def make_schedule(
  spec: str,
  times: Any,
  *,
  horizon: float,
  importance: Any = None,
  num_clients: int | None = None,
  seed: int = 0,
) -> _schedule.Schedule:
  """Makes a schedule from text; nothing of it depends on data.

  Args:
    spec: a part of `SCHEMES` with its options: 'fedavg', 'fedfix(0.2)',
      'async(weights=identical)', 'fedbuff(5, restart=immediate)',
      'fedasync(alpha=0.6, staleness=hinge)'.
    times: how long clients take, f[N] or f[N, J], or anything that `make_times`
      reads.
    horizon: when it ends, > 0; an aggregation at that moment still counts.
    importance: f[N], p_i >= 0 that sum to one; None for 1 / N.
    num_clients: N, for times in text.
    seed: of times that are drawn.

  Returns:
    The schedule. Clients that never take part, too slow for the horizon or away
    for good, are its `missing`, those who leave for good its `gone`; a warning
    names both (`remarks`).

  Raises:
    ValueError: if the name, an option or a number is wrong, nobody returns
      within the horizon, or weights that are counted cannot make up for a
      client that never takes part.

  Cost: O(J log N) on the host for J jobs.

  Example:
    >>> schedule = make_schedule('async', [1.0, 0.5], horizon=2.0)
    >>> schedule.times.tolist(), schedule.participants[:, 0].tolist()
    ([0.5, 1.0, 1.0, 1.5, 2.0, 2.0], [1, 0, 1, 1, 0, 1])

  Source: Fraboni et al. 2023 (https://arxiv.org/abs/2206.10189), section 5.
  """
  part = SCHEMES.part(spec)
  if isinstance(times, str):
    if num_clients is None:
      raise ValueError(f'times={times!r} needs num_clients.')
    timing = _times.make_times(times, num_clients, seed=seed)
  else:
    timing = _times.timing(times)
  if num_clients not in (None, timing.num_clients):
    raise ValueError(
      f'times has {timing.num_clients} clients but num_clients={num_clients}.'
    )
  if importance is not None:
    importance = _weights.importances(importance, timing.num_clients)
  made = SCHEMES.bound(part, timing, horizon, importance)
  gone = np.flatnonzero((timing.leave < horizon) & np.isinf(timing.rejoin))
  made = dataclasses.replace(made, name=spec, gone=tuple(gone.tolist()))
  for remark in made.remarks:
    logging.warning('%s', remark)
  return made
