# SPDX-License-Identifier: Apache-2.0
"""How much of the data a worker handles in a round, exactly, and the least."""

from fractions import Fraction

from jaxdl.core import checks

MODELS = ('bursty', 'arbitrary')


def load_gc(num_workers: int, num_stragglers: int) -> Fraction:
  """Returns the load of gradient coding across workers, (s + 1) / n.

  Args:
    num_workers: n >= 1.
    num_stragglers: s, tolerated in a round, 0 <= s < n.

  Returns:
    Share of the data that a worker handles in a round.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> load_gc(256, 15)
    Fraction(1, 16)

  Source: Tandon et al. 2017 (https://arxiv.org/abs/1612.03301).
  """
  n = checks.integer(num_workers, name='num_workers', low=1)
  s = checks.integer(num_stragglers, name='num_stragglers', low=0, high=n - 1)
  return Fraction(s + 1, n)


def sr_sgc_tolerance(
  burst_length: int, window: int, num_stragglers: int
) -> int:
  """Returns s = ceil(B λ / (W - 1 + B)), what SR-SGC codes each job for."""
  return -(-burst_length * num_stragglers // (window - 1 + burst_length))


def check_sr_sgc(
  num_workers: int, burst_length: int, window: int, num_stragglers: int
) -> tuple[int, int, int, int]:
  """Checks the numbers of SR-SGC; returns n, B, W, λ."""
  n = checks.integer(num_workers, name='num_workers', low=1)
  b = checks.integer(burst_length, name='burst_length', low=1)
  w = checks.integer(window, name='window', low=b + 1)
  lam = checks.integer(num_stragglers, name='num_stragglers', low=0, high=n)
  if (w - 1) % b:
    raise ValueError(
      f'window={w} must be a multiple of burst_length={b} plus 1, such as '
      f'{(w - 1) // b * b + 1} or {((w - 1) // b + 1) * b + 1}.'
    )
  if sr_sgc_tolerance(b, w, lam) >= n:
    raise ValueError(
      f'num_stragglers={lam} of num_workers={n} cannot be tolerated with '
      f'burst_length={b} and window={w}: results of all would be missing.'
    )
  return n, b, w, lam


def check_m_sgc(
  num_workers: int, burst_length: int, window: int, num_stragglers: int
) -> tuple[int, int, int, int]:
  """Checks the numbers of M-SGC; returns n, B, W, λ."""
  n = checks.integer(num_workers, name='num_workers', low=1)
  b = checks.integer(burst_length, name='burst_length', low=1)
  w = checks.integer(window, name='window')
  if w <= b:
    raise ValueError(f'window={w} must be larger than burst_length={b}.')
  lam = checks.integer(num_stragglers, name='num_stragglers', low=0, high=n)
  return n, b, w, lam


def load_sr_sgc(
  num_workers: int, burst_length: int, window: int, num_stragglers: int
) -> Fraction:
  """Returns the load of selective repetition (SR-SGC).

  Args:
    num_workers: n >= 1.
    burst_length: B >= 1.
    window: W, a multiple of B plus 1.
    num_stragglers: λ, distinct ones in a window, 0 <= λ <= n.

  Returns:
    (s + 1) / n with s = ceil(B λ / (W - 1 + B)).

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> load_sr_sgc(256, 2, 3, 23)
    Fraction(13, 256)

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802).
  """
  n, b, w, lam = check_sr_sgc(num_workers, burst_length, window, num_stragglers)
  return load_gc(n, sr_sgc_tolerance(b, w, lam))


def load_m_sgc(
  num_workers: int, burst_length: int, window: int, num_stragglers: int
) -> Fraction:
  """Returns the load of multiplexed sequential gradient coding (M-SGC).

  Args:
    num_workers: n >= 1.
    burst_length: B >= 1.
    window: W > B.
    num_stragglers: λ, distinct ones in a window, 0 <= λ <= n.

  Returns:
    (λ + 1)(W - 1 + B) / (n (B + (W - 1)(λ + 1))), or (W - 1 + B) / (n (W - 1))
    for λ = n, where nothing is coded.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> load_m_sgc(256, 1, 2, 27)
    Fraction(7, 928)

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802).
  """
  n, b, w, lam = check_m_sgc(num_workers, burst_length, window, num_stragglers)
  if lam == n:
    return Fraction(w - 1 + b, n * (w - 1))
  return Fraction((lam + 1) * (w - 1 + b), n * (b + (w - 1) * (lam + 1)))


def load_lower_bound(
  num_workers: int,
  burst_length: int,
  window: int,
  num_stragglers: int,
  *,
  model: str = 'bursty',
) -> Fraction:
  """Returns a load below which no scheme tolerates a straggler model.

  Of every stretch of a periodic pattern the workers that answer must have
  handled all data of as many jobs. M-SGC meets it for λ in {n - 1, n}, and for
  λ = 0; its gap vanishes like 1 / W.

  Args:
    num_workers: n >= 1.
    burst_length: B of the bursty model; N, the rounds that a worker may miss in
      a window, of the arbitrary one.
    window: W >= B.
    num_stragglers: λ, distinct ones in a window, 0 <= λ <= n.
    model: 'bursty' or 'arbitrary'.

  Returns:
    The bound, exactly.

  Raises:
    ValueError: if a number is out of range, or the model lets all workers
      straggle in all rounds.

  Example:
    >>> load_lower_bound(4, 2, 3, 2), load_m_sgc(4, 2, 3, 2)
    (Fraction(1, 3), Fraction(3, 8))

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802), the argument
  of periodic erasures.
  """
  checks.choice(model, MODELS, name='model')
  n = checks.integer(num_workers, name='num_workers', low=1)
  b = checks.integer(burst_length, name='burst_length', low=1)
  w = checks.integer(window, name='window', low=b)
  lam = checks.integer(num_stragglers, name='num_stragglers', low=0, high=n)
  if b == w and lam == n:
    raise ValueError(
      f'num_stragglers={lam} of {n} workers may straggle in all rounds of a '
      f'window (burst_length={b}, window={w}): nothing can be computed.'
    )
  if model == 'arbitrary':
    return Fraction(w, n * w - b * lam)
  if b == w:
    return Fraction(1, n - lam)
  return Fraction(w - 1 + b, n * (w - 1) + b * (n - lam))
