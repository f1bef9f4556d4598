# SPDX-License-Identifier: Apache-2.0
"""Deterministic mixing schedules and finite-time consensus; host, float64.

A schedule is an array [T, N, N]: round t uses matrix t mod T. Families that
reach exact consensus have a period whose product is the uniform average.
"""

import math

import numpy as np

from jaxdl.core import checks
from jaxdl.mixing import graphs


def _shift(num_clients: int, hop: int) -> np.ndarray:
  """The permutation by which client i receives from i + hop."""
  return np.roll(np.eye(num_clients), hop, axis=1)


def one_peer_exponential(num_clients: int) -> np.ndarray:
  """Round t averages every client with the one 2^t ahead.

  Args:
    num_clients: N >= 1; exact consensus after a period iff a power of two.

  Returns:
    float64[max(⌈log₂ N⌉, 1), N, N], doubly stochastic, not symmetric.

  Example:
    >>> one_peer_exponential(4)[1, 0].tolist()
    [0.5, 0.0, 0.5, 0.0]

  Source: Ying et al. 2021 (https://arxiv.org/abs/2110.13363), equation 7.
  """
  shifts = graphs.exponential_shifts(num_clients) or (0,)
  eye = np.eye(num_clients)
  return np.stack([(eye + _shift(num_clients, s)) / 2 for s in shifts])


def one_peer_hypercube(num_clients: int) -> np.ndarray:
  """Round t averages the pairs whose numbers differ in binary digit t.

  Args:
    num_clients: N, a power of two.

  Returns:
    float64[max(log₂ N, 1), N, N], symmetric; exact consensus after a period.

  Raises:
    ValueError: if N is not a power of two.
  """
  n = len(graphs.hypercube(num_clients))
  eye, ids = np.eye(n), np.arange(n)
  digits = range(n.bit_length() - 1)
  return np.stack([(eye + eye[ids ^ (1 << d)]) / 2 for d in digits] or [eye])


def equistatic_num_shifts(
  num_clients: int, factor: float, failure: float = 0.05
) -> int:
  """Shifts that make the consensus factor of EquiStatic small enough.

  Args:
    num_clients: N >= 2.
    factor: wanted bound on the consensus factor, in (0, 1) (ε).
    failure: chance of missing it, in (0, 1).

  Returns:
    M = ⌊8 log(2N / failure) / (3 factor²)⌋, independent of the degree needed
    by other graphs as N grows, up to the logarithm.
  """
  checks.integer(num_clients, name='num_clients', low=1)
  for name, value in (('factor', factor), ('failure', failure)):
    checks.number(value, name=name, low=0, high=1, open_low=True)
  return math.floor(8 * math.log(2 * num_clients / failure) / (3 * factor**2))


def equistatic(
  num_clients: int,
  num_shifts: int,
  rng: np.random.Generator,
  *,
  directed: bool = False,
) -> np.ndarray:
  """A static graph of random shifts, well connected at small degree.

  Args:
    num_clients: N >= 1.
    num_shifts: shifts drawn from 1..N-1 with replacement (M in the paper).
    rng: consumed.
    directed: D-EquiStatic; otherwise U-EquiStatic, the symmetric part.

  Returns:
    float64[N, N], doubly stochastic.

  Source: Song et al. 2022 (https://arxiv.org/abs/2210.07881), algorithms 1, 2.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.integer(num_shifts, name='num_shifts', low=1)
  if n == 1:
    return np.ones((1, 1))
  hops = rng.integers(1, n, size=num_shifts)
  mean = sum(_shift(n, int(hop)) for hop in hops) / num_shifts
  w = (n - 1) / n * mean + np.eye(n) / n
  return w if directed else (w + w.T) / 2


def _small_factors(number: int, limit: int) -> list[int] | None:
  """Factors of a number, each at most `limit`; None if there are none."""
  factors = []
  for factor in range(limit, 1, -1):
    while number % factor == 0:
      factors.append(factor)
      number //= factor
  return factors[::-1] if number == 1 else None


def _largest_smooth_divisor(number: int, limit: int) -> int:
  """Largest divisor all of whose prime factors are at most `limit`."""
  return max(
    d
    for d in range(1, number + 1)
    if number % d == 0 and _small_factors(d, limit) is not None
  )


def hyper_hypercube(num_clients: int, *, max_degree: int = 1) -> np.ndarray:
  """Averages along one digit of a mixed-radix numbering per round.

  Args:
    num_clients: N whose prime factors are all <= `max_degree` + 1.
    max_degree: most links per client and round, >= 1 (k in the paper).

  Returns:
    float64[T, N, N], symmetric; exact consensus after a period.

  Raises:
    ValueError: if N has a larger prime factor.

  Source: Takezawa et al. 2023 (https://arxiv.org/abs/2305.11420), algorithm 1.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  k = checks.integer(max_degree, name='max_degree', low=1)
  factors = _small_factors(n, k + 1)
  if factors is None:
    raise ValueError(
      f'hyper_hypercube needs num_clients={n} to have no prime factor above '
      f'max_degree + 1 = {k + 1}: use base_graph, which exists for every N.'
    )
  rounds, stride, ids = [], 1, np.arange(n)
  for factor in factors:
    group = ids - ids // stride % factor * stride
    rounds.append((group[:, None] == group[None, :]) / factor)
    stride *= factor
  return np.stack(rounds or [np.eye(n)])


def simple_base_graph(num_clients: int, *, max_degree: int = 1) -> np.ndarray:
  """Exact consensus in finitely many rounds of few links, for every N.

  N is written in base `max_degree` + 1, one block of clients per digit: blocks
  first agree inside, then spread to all later ones, then repair inside.

  Args:
    num_clients: N >= 1.
    max_degree: most links per client and round, >= 1 (k in the paper).

  Returns:
    float64[T, N, N], symmetric, doubly stochastic, product of a period = J.

  Source: Takezawa et al. 2023 (https://arxiv.org/abs/2305.11420), algorithm 2.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  k = checks.integer(max_degree, name='max_degree', low=1)
  base = k + 1
  if _small_factors(n, base) is not None:
    return hyper_hypercube(n, max_degree=k)
  powers, rest = [], n
  for power in range(math.floor(math.log(n, base)) + 1, -1, -1):
    digit, rest = divmod(rest, base**power)
    if digit:
      powers.append((digit, power))
  starts = np.cumsum([0] + [digit * base**p for digit, p in powers])
  sizes = np.diff(starts)
  whole = [hyper_hypercube(int(size), max_degree=k) for size in sizes]
  parts = [hyper_hypercube(base**p, max_degree=k) for _, p in powers]
  warmup = len(whole[0])
  length = warmup + 1 + powers[0][1]
  schedule = np.tile(np.eye(n), (length, 1, 1))

  for t in range(length):
    w = schedule[t]
    giver = t - warmup  # The block that hands its value to all later ones.
    for l, (digit, power) in enumerate(powers):
      lo, hi = starts[l], starts[l + 1]
      if t < warmup:
        w[lo:hi, lo:hi] = whole[l][t % len(whole[l])]
      elif giver > l:
        inner = parts[l][(giver - l - 1) % len(parts[l])]
        w[lo:hi, lo:hi] = np.kron(np.eye(digit), inner)
      elif giver == l and l < len(powers) - 1:
        share = sizes[l] / (n - lo)
        for offset, node in enumerate(range(hi, n)):
          w[node, node] = 1.0 - share
          for c in range(digit):
            partner = lo + c * base**power + offset
            w[node, partner] = w[partner, node] = share / digit
            w[partner, partner] = 1.0 - share / digit
  return schedule


def base_graph(num_clients: int, *, max_degree: int = 1) -> np.ndarray:
  """The shorter of two exact schedules that exist for every N.

  Splits N = p · r with p free of large primes, runs the simple base graph in p
  groups of r and then averages across groups; or takes the simple base graph
  of all clients if that has fewer rounds.

  Args:
    num_clients: N >= 1.
    max_degree: most links per client and round, >= 1 (k in the paper).

  Returns:
    float64[T, N, N], symmetric, doubly stochastic, product of a period = J;
    T <= 2 log(N) / log(k + 1) + 2.

  Example:
    >>> len(base_graph(6)), len(base_graph(6, max_degree=2))
    (4, 2)

  Source: Takezawa et al. 2023 (https://arxiv.org/abs/2305.11420), algorithm 3.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  k = checks.integer(max_degree, name='max_degree', low=1)
  simple = simple_base_graph(n, max_degree=k)
  p = _largest_smooth_divisor(n, k + 1)
  if p in (1, n):
    return simple
  r = n // p
  inner = simple_base_graph(r, max_degree=k)
  outer = hyper_hypercube(p, max_degree=k)
  rounds = [np.kron(np.eye(p), w) for w in inner]
  rounds += [np.kron(w, np.eye(r)) for w in outer]
  return simple if len(simple) < len(rounds) else np.stack(rounds)
