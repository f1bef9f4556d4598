# SPDX-License-Identifier: Apache-2.0
"""How long workers take, round by round: drawn, or read from a file."""

import os
import pathlib

import chex
import numpy as np

from jaxdl.core import checks, registry, tables


def gilbert_elliott_delays(
  rng: np.random.Generator,
  num_workers: int,
  num_rounds: int,
  *,
  p_bad: float = 0.03,
  p_good: float = 0.85,
  median_s: float = 1.0,
  sigma: float = 0.08,
  slow_low: float = 2.0,
  slow_high: float = 4.0,
) -> np.ndarray:
  """Draws workers that are good or bad for a while.

  Each has a chain of two states, at rest from the start; it takes a lognormal
  time, in the bad state several times as long.

  Args:
    rng: host randomness. More rounds leave the first ones as they are.
    num_workers: n >= 1.
    num_rounds: R >= 0.
    p_bad: probability that a good worker is bad in the next round.
    p_good: probability that a bad worker is good in the next round.
    median_s: of a good worker, in seconds, > 0.
    sigma: standard deviation of the logarithm, >= 0.
    slow_low: least factor of the bad state, uniform, > 0.
    slow_high: largest.

  Returns:
    float64[n, R], seconds from the start of a round.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> delays = gilbert_elliott_delays(rng, 64, 1000)
    >>> delays.shape, bool(0.02 < np.mean(delays > 1.8) < 0.05)
    ((64, 1000), True)

  Source: the two-state chain of the paper's introduction (Gilbert 1960).
  """
  n = checks.integer(num_workers, name='num_workers', low=1)
  rounds = checks.integer(num_rounds, name='num_rounds', low=0)
  checks.number(p_bad, name='p_bad', low=0.0, high=1.0)
  checks.number(p_good, name='p_good', low=0.0, high=1.0)
  if p_bad + p_good == 0:
    raise ValueError(
      'p_bad and p_good must not both be 0: states never change.'
    )
  checks.number(median_s, name='median_s', low=0.0, high=1e30, open_low=True)
  checks.number(sigma, name='sigma', low=0.0, high=100.0)
  checks.number(slow_low, name='slow_low', low=0.0, open_low=True)
  checks.number(slow_high, name='slow_high', low=slow_low, high=1e30)
  # A stream for each, so that a longer run has the same start.
  states, times, factors = rng.spawn(3)
  moves = states.random((rounds, n))
  bad = np.zeros((rounds, n), bool)
  chance = np.full(n, p_bad / (p_bad + p_good))
  for r in range(rounds):
    bad[r] = moves[r] < chance
    chance = np.where(bad[r], 1.0 - p_good, p_bad)
  time = median_s * np.exp(sigma * times.standard_normal((rounds, n)))
  slow = slow_low + (slow_high - slow_low) * factors.random((rounds, n))
  return np.ascontiguousarray(np.where(bad, time * slow, time).T)


def lognormal_delays(
  rng: np.random.Generator,
  num_workers: int,
  num_rounds: int,
  *,
  median_s: float = 1.0,
  sigma: float = 0.3,
) -> np.ndarray:
  """Draws independent lognormal times.

  Args:
    rng: host randomness. More rounds leave the first ones as they are.
    num_workers: n >= 1.
    num_rounds: R >= 0.
    median_s: in seconds, > 0.
    sigma: standard deviation of the logarithm, >= 0.

  Returns:
    float64[n, R], seconds.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> lognormal_delays(np.random.default_rng(0), 3, 2, sigma=0.0).tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
  """
  n = checks.integer(num_workers, name='num_workers', low=1)
  rounds = checks.integer(num_rounds, name='num_rounds', low=0)
  checks.number(median_s, name='median_s', low=0.0, high=1e30, open_low=True)
  checks.number(sigma, name='sigma', low=0.0, high=100.0)
  drawn = rng.standard_normal((rounds, n))
  return np.ascontiguousarray(median_s * np.exp(sigma * drawn).T)


def load_delays(
  path: str | os.PathLike[str], *, unit_s: float = 1.0
) -> np.ndarray:
  """Reads measured times: one row per worker, one column per round.

  Args:
    path: `.npy`, or text with a worker per line, separated by commas or spaces.
    unit_s: seconds per unit of the file, > 0.

  Returns:
    float64[n, R], seconds.

  Raises:
    ValueError: if the file is missing, or holds no matrix of positive, finite
      numbers; the message names it.
  """
  checks.number(unit_s, name='unit_s', low=0.0, open_low=True)
  path = pathlib.Path(path)
  try:
    matrix = np.asarray(tables.load_matrix(path), np.float64)
  except ValueError as error:
    raise ValueError(
      f'{path}: expected a matrix of delays [workers, rounds]: {error}'
    ) from None
  if matrix.ndim != 2 or not matrix.size:
    raise ValueError(
      f'{path}: expected a matrix of delays [workers, rounds]; got shape '
      f'{matrix.shape}.'
    )
  wrong = _first_wrong(matrix)
  if wrong:
    raise ValueError(f'{path}: {wrong}')
  return matrix * unit_s


def check_delays(
  delays: chex.Array, num_workers: int, num_rounds: int
) -> np.ndarray:
  """Checks a matrix of delays.

  Args:
    delays: what the caller gave.
    num_workers: n.
    num_rounds: the least R.

  Returns:
    float64[n, R].

  Raises:
    ValueError: if it is something else than positive, finite numbers of that
      shape.
  """
  delays = checks.host_array(delays, name='delays').astype(np.float64)
  if (
    delays.ndim != 2
    or len(delays) != num_workers
    or delays.shape[1] < num_rounds
  ):
    raise ValueError(
      f'delays must be float[{num_workers}, R] with R >= {num_rounds}, a row '
      f'per worker and a column per round; got shape {delays.shape}.'
    )
  wrong = _first_wrong(delays)
  if wrong:
    raise ValueError(wrong)
  return delays


def _first_wrong(delays):
  """What is wrong with the first delay that is, if any."""
  bad = np.argwhere(~(np.isfinite(delays) & (delays > 0)))
  if not len(bad):
    return ''
  i, r = bad[0]
  return (
    f'delays must be positive and finite; got {delays[i, r]} for worker {i} in '
    f'round {r}.'
  )


def file(
  rng: np.random.Generator,
  num_workers: int,
  num_rounds: int,
  *,
  path: str,
  unit_s: float = 1.0,
  repeat: bool = False,
) -> np.ndarray:
  """Times of a file [n, R]: .npy or text; `repeat` starts again at its end."""
  del rng
  delays = load_delays(path, unit_s=unit_s)
  if repeat and len(delays) == num_workers:
    times = -(-num_rounds // delays.shape[1])
    delays = np.tile(delays, (1, max(times, 1)))
  try:
    return check_delays(delays, num_workers, num_rounds)[:, :num_rounds]
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None


DELAYS = registry.Registry(
  'delays',
  {
    'gilbert_elliott': gilbert_elliott_delays,
    'lognormal': lognormal_delays,
    'file': file,
  },
  given=('rng', 'num_workers', 'num_rounds'),
)


def make_delays(
  spec: str, num_workers: int, num_rounds: int, *, seed: int
) -> np.ndarray:
  """Makes the delays that a spec says.

  Args:
    spec: a part of `DELAYS`, such as 'gilbert_elliott(p_bad=0.05)'.
    num_workers: n.
    num_rounds: R; more of them leave the first ones as they are.
    seed: of the run.

  Returns:
    float64[n, R], seconds.

  Raises:
    ValueError: if the spec, its numbers or its file are wrong.

  Example:
    >>> make_delays('lognormal(sigma=0.1)', 4, 6, seed=0).shape
    (4, 6)
  """
  rng = np.random.default_rng([seed, 3])
  return DELAYS.make(spec, rng, num_workers, num_rounds)
