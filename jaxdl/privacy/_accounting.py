# SPDX-License-Identifier: Apache-2.0
"""What private rounds cost, by dp-accounting."""

import contextlib
import logging
import math
from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np

from jaxdl.core import checks, extras
from jaxdl.privacy import _mechanisms, _noise

ACCOUNTANTS = ('rdp', 'pld')
# Less hides nothing, and losses grow beyond what can be composed.
_LEAST_NOISE, _MOST_NOISE = 0.05, 2.0**20


def epsilon(
  *,
  noise_multiplier: float,
  rate: float,
  num_rounds: int,
  delta: float,
  accountant: str = 'rdp',
) -> float:
  """Says how private T rounds of a central mechanism are.

  Each round a client is in with probability q by itself, and the sum has noise
  of z times what one client can add. With z of an `adaptive` mechanism this is
  the whole cost of sum and count. Cohorts of a fixed size are no Poisson
  samples, for which this holds.

  Args:
    noise_multiplier: z >= 0; 0 costs infinity.
    rate: q in (0, 1], m / N.
    num_rounds: T >= 0; no round costs 0.
    delta: δ in (0, 1), probability of more; below 1 / N.
    accountant: 'rdp' (Rényi, milliseconds) or 'pld' (privacy loss
      distributions, a second, up to 15 % tighter).

  Returns:
    ε.

  Raises:
    ValueError: if a number is out of range or the accountant unknown.
    TypeError: if T is no integer.
    ImportError: if dp-accounting is not installed, with what to do.

  Example:
    >>> cost = {'rate': 0.01, 'num_rounds': 1000, 'delta': 1e-5}
    >>> print(f'{epsilon(noise_multiplier=1.0, **cost):.4f}')
    2.1014

  Source: Mironov et al. 2019 (https://arxiv.org/abs/1908.10530); dp-accounting.
  """
  setting = _checked(rate, delta, accountant)
  _noise.check_noise(noise_multiplier)
  rounds = checks.integer(num_rounds, name='num_rounds', low=0)
  if not rounds or not noise_multiplier:
    return math.inf if rounds else 0.0
  lib = _library()
  event = lib.SelfComposedDpEvent(_round(lib, noise_multiplier, rate), rounds)
  with _quiet():
    return float(setting(lib)().compose(event).get_epsilon(delta))


def noise_for(
  epsilon: float,
  *,
  rate: float,
  num_rounds: int,
  delta: float,
  accountant: str = 'rdp',
) -> float:
  """Finds the least noise with which T rounds are that private.

  Args:
    epsilon: ε > 0 that may be spent.
    rate: q in (0, 1].
    num_rounds: T >= 1.
    delta: δ in (0, 1).
    accountant: as `epsilon`.

  Returns:
    z, within 1e-6 of the least, at least 0.05; `epsilon` of it is at most ε.

  Raises:
    ValueError: if a number is out of range or no z is enough.
    TypeError: if T is no integer.
    ImportError: if dp-accounting is not installed, with what to do.

  Cost: some twenty times that of `epsilon`.

  Example:
    >>> z = noise_for(2.1014, rate=0.01, num_rounds=1000, delta=1e-5)
    >>> round(z, 4)
    1.0
  """
  setting = _checked(rate, delta, accountant)
  checks.number(epsilon, name='epsilon', low=0.0, open_low=True)
  rounds = checks.integer(num_rounds, name='num_rounds', low=1)
  lib = _library()
  event = lambda z: lib.SelfComposedDpEvent(_round(lib, z, rate), rounds)

  def cost(z):
    return setting(lib)().compose(event(z)).get_epsilon(delta)

  high = 1.0
  if accountant == 'pld':
    # Starts where little has to be composed; it is the tighter of the two.
    with contextlib.suppress(ValueError):
      high = noise_for(epsilon, rate=rate, num_rounds=rounds, delta=delta)
  with _quiet():
    while cost(high) > epsilon:
      high *= 2
      if high > _MOST_NOISE:
        raise ValueError(
          f'epsilon={epsilon} with delta={delta} is out of reach: no noise '
          f'hides {rounds} rounds so well by the {accountant!r} accountant; '
          'raise epsilon or delta.'
        )
    low = high / 2
    while cost(low) <= epsilon:
      low, high = low / 2, low
      if high < _LEAST_NOISE:
        return _LEAST_NOISE
    found = lib.calibrate_dp_mechanism(
      setting(lib), event, epsilon, delta,
      lib.ExplicitBracketInterval(low, high), tol=1e-6,
    )  # fmt: skip
  return float(found)


def epsilon_curve(
  rounds: Iterable[int],
  *,
  noise_multiplier: float,
  rate: float,
  delta: float,
  accountant: str = 'rdp',
) -> np.ndarray:
  """Says what has been spent after each of some rounds.

  Args:
    rounds: numbers of rounds T_1 <= T_2 <= ..., each >= 0.
    noise_multiplier: z >= 0.
    rate: q in (0, 1].
    delta: δ in (0, 1).
    accountant: as `epsilon`.

  Returns:
    f64[len(rounds)] of ε.

  Raises:
    ValueError: if a number is out of range or rounds go back.
    TypeError: if a number of rounds is no integer.
    ImportError: if dp-accounting is not installed, with what to do.

  Cost: 'rdp' looks at a round once, whatever their number; 'pld' composes for
    each entry, up to a second.

  Example:
    >>> spent = epsilon_curve(
    ...   [0, 10, 1000], noise_multiplier=1.0, rate=0.01, delta=1e-5
    ... )
    >>> [f'{x:.4f}' for x in spent]
    ['0.0000', '1.0353', '2.1014']
  """
  setting = _checked(rate, delta, accountant)
  _noise.check_noise(noise_multiplier)
  counts = [checks.integer(t, name='rounds', low=0) for t in rounds]
  if any(b < a for a, b in zip(counts, counts[1:], strict=False)):
    raise ValueError(f'rounds must not go back; got {counts}.')
  if not noise_multiplier:
    return np.array([math.inf if t else 0.0 for t in counts])
  lib = _library()
  event = _round(lib, noise_multiplier, rate)
  with _quiet():
    if accountant == 'rdp':
      one = setting(lib)().compose(event)
      cost = lambda t: lib.rdp.compute_epsilon(one.orders, t * one.rdp, delta)
      return np.array([float(cost(t)[0]) if t else 0.0 for t in counts])
    spent, past, total = [], 0, setting(lib)()
    for t in counts:
      if t > past:
        total.compose(event, t - past)
      past = t
      spent.append(float(total.get_epsilon(delta)) if t else 0.0)
  return np.array(spent)


def spent_by(
  mechanism: _mechanisms.Mechanism,
  num_rounds: int,
  *,
  delta: float,
  rate: float = 1.0,
) -> np.ndarray:
  """What a mechanism has spent after each of T rounds.

  Args:
    mechanism: of `make_mechanism`; a local one is accounted for without chance.
    num_rounds: T.
    delta: δ in (0, 1).
    rate: q of Poisson cohorts; 1 for others, which do not hide who took part.

  Returns:
    f64[T + 1] of ε.
  """
  return epsilon_curve(
    range(num_rounds + 1),
    noise_multiplier=mechanism.noise_multiplier,
    rate=rate if mechanism.is_central else 1.0,
    delta=delta,
  )


def _checked(
  rate: float, delta: float, accountant: str
) -> Callable[[Any], Callable[[], Any]]:
  """Checks what all have in common; the accountant's class, given the lib."""
  checks.choice(accountant, ACCOUNTANTS, name='accountant')
  checks.number(rate, name='rate', low=0.0, open_low=True, high=1.0)
  checks.number(
    delta, name='delta', low=0.0, open_low=True, high=1.0, open_high=True
  )
  if accountant == 'rdp':
    return lambda lib: lib.rdp.RdpAccountant
  return lambda lib: lib.pld.PLDAccountant


def _library() -> Any:
  return extras.require('dp_accounting', 'the privacy accountant')


def _round(lib: Any, noise_multiplier: float, rate: float) -> Any:
  noise = lib.GaussianDpEvent(float(noise_multiplier))
  return lib.PoissonSampledDpEvent(float(rate), noise)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
  """Keeps dp-accounting from telling which orders it leaves out.

  An ε is the least over many orders, and it says a line for each whose series
  is too long.
  """
  kept = lambda record: 'failed to converge' not in str(record.msg)
  logger = logging.getLogger('absl')
  logger.addFilter(kept)
  try:
    yield
  finally:
    logger.removeFilter(kept)
