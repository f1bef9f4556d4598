# SPDX-License-Identifier: Apache-2.0
"""What messages count, so that clients count what they should in the end."""

from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.federated.asynchronous import _clock, _times

KINDS = ('weight', 'identical')
WEIGHED = ('fedavg', 'async', 'fedfix', 'fedbuff')
STALENESS = ('constant', 'poly', 'hinge')


def importances(value: Any, num_clients: int) -> np.ndarray:
  """Checks the shares of clients in the federated loss.

  Args:
    value: f[N], p_i >= 0 that sum to one; None for 1 / N.
    num_clients: N.

  Returns:
    f64[N].

  Raises:
    ValueError: if they are no shares.
  """
  if value is None:
    return np.full(num_clients, 1 / num_clients)
  found = checks.host_array(value, name='importance').astype(np.float64)
  if found.shape != (num_clients,):
    raise ValueError(
      f'importance must have one entry per client, shape ({num_clients},); got '
      f'{found.shape}.'
    )
  bad = np.flatnonzero(~(found >= 0))
  if len(bad):
    raise ValueError(
      f'importance of client {bad[0]} is {found[bad[0]]}; must be at least 0.'
    )
  if not abs(found.sum() - 1) <= 1e-6:
    raise ValueError(f'importance must sum to 1; got {found.sum():.6g}.')
  return found


def aggregation_weights(
  scheme: str,
  kind: str,
  times: Any,
  importance: Any = None,
  *,
  delta_t: float | None = None,
  buffer_size: int | None = None,
  fraction: Any = None,
) -> np.ndarray:
  """Weights d_i of messages when they arrive.

  | scheme  | weight                | identical         |
  |---------|-----------------------|-------------------|
  | fedavg  | p_i                   | 1 / N             |
  | async   | τ_i p_i Σ_j 1 / τ_j   | 1                 |
  | fedfix  | ⌈τ_i / Δt⌉ p_i        | 1 / Σ_j 1/⌈τ_j/Δt⌉ |
  | fedbuff | p_i / fraction_i      | 1 / buffer_size   |

  'weight' makes every client count p_i per aggregation in the mean, 'identical'
  lets the fast ones count more; the mean of their sums is one in either case.
  With a `fraction` 'weight' is p_i / fraction_i for all schemes.

  Args:
    scheme: one of `WEIGHED`.
    kind: 'weight' or 'identical'.
    times: f[N], τ_i > 0.
    importance: f[N], p_i; None for 1 / N.
    delta_t: Δt, for fedfix.
    buffer_size: for fedbuff.
    fraction: f[N], share of the aggregations that clients take part in, from
      `participation_fraction`; must be given for fedbuff.

  Returns:
    f64[N].

  Raises:
    ValueError: if an argument is missing, unknown or out of range, or a client
      never takes part.

  Example:
    >>> aggregation_weights('async', 'weight', [1.0, 0.5]).tolist()
    [1.5, 0.75]
    >>> aggregation_weights('fedavg', 'weight', [1.0, 0.5]).tolist()
    [0.5, 0.5]

  Source: Fraboni et al. 2023 (https://arxiv.org/abs/2206.10189), section 5.
  """
  checks.choice(scheme, WEIGHED, name='scheme')
  checks.choice(kind, KINDS, name='weights')
  tau = _times.timing(times).times[:, 0]
  n = len(tau)
  p = importances(importance, n)
  if scheme == 'fedfix':
    if delta_t is None:
      raise ValueError('fedfix needs delta_t: say how often it aggregates.')
    check_period(delta_t)
  if scheme == 'fedbuff':
    if buffer_size is None:
      raise ValueError(
        f'fedbuff needs buffer_size: a number of clients from 1 to {n}.'
      )
    check_buffer(buffer_size, n)
  if kind == 'identical':
    return np.full(n, _equal(scheme, tau, delta_t, buffer_size))
  if fraction is not None:
    return _by_fraction(scheme, p, fraction)
  if scheme == 'fedavg':
    return p
  if scheme == 'async':
    return np.sum(1 / tau) * tau * p
  if scheme == 'fedfix':
    return _clock.waiting_periods(tau, delta_t) * p
  raise ValueError(
    'fedbuff with weights=weight needs fraction: how often clients take part '
    'is known of its schedule alone.'
  )


def check_period(delta_t: float) -> None:
  """Raises ValueError unless Δt > 0 and the clock can tell it from zero."""
  if delta_t == delta_t:  # NaN is told below, with the reason.
    checks.number(delta_t, name='delta_t')
  if not (delta_t > 0 and np.isfinite(delta_t)) or not _clock.fraction(delta_t):
    raise ValueError(f'fedfix needs delta_t > 0, got {delta_t}.')


def check_buffer(buffer_size: int, num_clients: int) -> None:
  """Raises ValueError unless the buffer's size is from 1 to N."""
  checks.integer(buffer_size, name='buffer_size')
  if not 1 <= buffer_size <= num_clients:
    raise ValueError(
      f'fedbuff needs buffer_size from 1 to num_clients = {num_clients}; got '
      f'{buffer_size}.'
    )


def _equal(scheme, tau, delta_t, buffer_size) -> float:
  if scheme == 'fedavg':
    return 1 / len(tau)
  if scheme == 'async':
    return 1.0
  if scheme == 'fedfix':
    return 1 / np.sum(1 / _clock.waiting_periods(tau, delta_t))
  return 1 / buffer_size


def _by_fraction(scheme, p, fraction) -> np.ndarray:
  found = checks.host_array(fraction, name='fraction').astype(np.float64)
  if found.shape != p.shape:
    raise ValueError(
      f'fraction must have one entry per client, shape {p.shape}; got '
      f'{found.shape}.'
    )
  never = np.flatnonzero((found <= 0) & (p > 0))
  if len(never):
    raise ValueError(
      f'client {never[0]} never takes part within the horizon, so that '
      f'{scheme} with weights=weight cannot make up for it: choose a longer '
      'horizon or weights=identical.'
    )
  return np.where(p > 0, p / np.where(found > 0, found, 1.0), 0.0)


def staleness_factor(
  lag: Any, kind: str = 'poly', *, power: float = 0.5, grace: float = 4.0
) -> np.ndarray:
  """How much less a message counts for being late.

  Args:
    lag: i[...], staleness t >= 0.
    kind: 'constant' for 1; 'poly' for (1 + t)^-power; 'hinge' for 1 up to
      `grace`, then 1 / (power (t - grace) + 1).
    power: a > 0.
    grace: b >= 0.

  Returns:
    f64[...].

  Raises:
    ValueError: if an option is out of range.

  Example:
    >>> staleness_factor([0, 3], 'poly').tolist()
    [1.0, 0.5]
    >>> staleness_factor([4, 6], 'hinge', power=0.5).tolist()
    [1.0, 0.5]

  Source: Xie et al. 2019 (https://arxiv.org/abs/1903.03934), section 5.2.
  """
  checks.choice(kind, STALENESS, name='staleness')
  checks.number(power, name='power', low=0.0, open_low=True)
  checks.number(grace, name='grace', low=0.0)
  t = np.asarray(lag, np.float64)
  if kind == 'constant':
    return np.ones_like(t)
  if kind == 'poly':
    return (1 + t) ** -power
  late = np.maximum(t - grace, 0.0)
  return 1 / (power * late + 1)
