# SPDX-License-Identifier: Apache-2.0
"""Which patterns of late workers a scheme is designed for.

A pattern is bool[..., R, n]: whether a worker is late in a round. Leading axes
are patterns side by side. Windows are cut off at the first and last round.
"""

import chex
import numpy as np

from jaxdl.coding import _loads
from jaxdl.core import checks


def check_patterns(patterns: chex.Array, *, name: str = 'patterns'):
  """Returns late workers as bool[..., R, n], or says what is wrong."""
  patterns = checks.host_array(patterns, name=name)
  if patterns.ndim < 2 or not patterns.shape[-1]:
    raise ValueError(
      f'{name} must be bool[..., rounds, workers]; got shape {patterns.shape}.'
    )
  return patterns.astype(bool)


def conforms_per_round(
  patterns: chex.Array, *, num_stragglers: int
) -> np.ndarray:
  """Says whether at most s workers are late in every round.

  Args:
    patterns: bool[..., R, n], concrete.
    num_stragglers: s >= 0.

  Returns:
    bool[...].

  Raises:
    ValueError: if shapes or numbers are wrong.

  Example:
    >>> bool(conforms_per_round([[1, 0], [0, 1]], num_stragglers=1))
    True
  """
  patterns = check_patterns(patterns)
  s = checks.integer(num_stragglers, name='num_stragglers', low=0)
  return (patterns.sum(axis=-1) <= s).all(axis=-1)


def conforms_bursty(
  patterns: chex.Array,
  *,
  burst_length: int,
  window: int,
  num_stragglers: int,
) -> np.ndarray:
  """Says whether stragglers come in short bursts and are few in a window.

  In every W rounds at most λ workers are late at all, and for each the first
  and the last time are less than B rounds apart.

  Args:
    patterns: bool[..., R, n], concrete.
    burst_length: B >= 1.
    window: W >= B.
    num_stragglers: λ >= 0.

  Returns:
    bool[...].

  Raises:
    ValueError: if shapes or numbers are wrong.

  Cost: O(W) passes over the patterns.

  Example:
    >>> now, then = [[1, 0], [0, 0]], [[1, 0], [1, 0]]
    >>> conforms_bursty(
    ...   [now, then], burst_length=1, window=2, num_stragglers=1
    ... ).tolist()
    [True, False]

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802), the
  (B, W, λ)-bursty model.
  """
  s = check_patterns(patterns)
  b = checks.integer(burst_length, name='burst_length', low=1)
  w = checks.integer(window, name='window', low=b)
  lam = checks.integer(num_stragglers, name='num_stragglers', low=0)
  rounds = s.shape[-2]
  seen, good = s.copy(), np.ones(s.shape[:-2], bool)
  for age in range(1, min(w, rounds)):
    before, now = s[..., : rounds - age, :], s[..., age:, :]
    seen[..., age:, :] |= before
    if age >= b:
      good &= ~(before & now).any(axis=(-2, -1))
  return good & (seen.sum(axis=-1) <= lam).all(axis=-1)


def conforms_arbitrary(
  patterns: chex.Array,
  *,
  max_rounds: int,
  window: int,
  num_stragglers: int,
) -> np.ndarray:
  """Says whether in a window few workers are late, none of them often.

  Args:
    patterns: bool[..., R, n], concrete.
    max_rounds: N >= 0, rounds of a window in which a worker may be late.
    window: W' >= 1.
    num_stragglers: λ' >= 0, workers that are late at all in a window.

  Returns:
    bool[...].

  Raises:
    ValueError: if shapes or numbers are wrong.

  Cost: O(W') passes over the patterns.

  Example:
    >>> apart = [[1, 0], [0, 0], [1, 0]]
    >>> bool(conforms_arbitrary(
    ...   apart, max_rounds=2, window=3, num_stragglers=1
    ... ))
    True

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802), the
  (N, W', λ')-arbitrary model.
  """
  s = check_patterns(patterns)
  most = checks.integer(max_rounds, name='max_rounds', low=0)
  w = checks.integer(window, name='window', low=1)
  lam = checks.integer(num_stragglers, name='num_stragglers', low=0)
  rounds = s.shape[-2]
  times = s.astype(np.int32)
  for age in range(1, min(w, rounds)):
    times[..., age:, :] += s[..., : rounds - age, :]
  few = ((times > 0).sum(axis=-1) <= lam).all(axis=-1)
  return few & (times <= most).all(axis=(-2, -1))


def conforms_sr_sgc(
  patterns: chex.Array,
  *,
  burst_length: int,
  window: int,
  num_stragglers: int,
) -> np.ndarray:
  """Says whether every window is bursty, or has few late workers a round.

  Args:
    patterns: bool[..., R, n], concrete.
    burst_length: B >= 1.
    window: W, a multiple of B plus 1.
    num_stragglers: λ, 0 <= λ <= n.

  Returns:
    bool[...]; s = ceil(B λ / (W - 1 + B)) a round are few.

  Raises:
    ValueError: if shapes or numbers are wrong.

  Example:
    >>> twice = [[1, 0, 0, 0], [1, 0, 0, 0]]
    >>> bool(conforms_sr_sgc(
    ...   twice, burst_length=1, window=2, num_stragglers=2
    ... ))
    True

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802), what SR-SGC
  tolerates.
  """
  s = check_patterns(patterns)
  n, b, w, lam = _loads.check_sr_sgc(
    s.shape[-1], burst_length, window, num_stragglers
  )
  del n
  few = _loads.sr_sgc_tolerance(b, w, lam)
  good = np.ones(s.shape[:-2], bool)
  for first in range(max(s.shape[-2] - w, 0) + 1):
    part = s[..., first : first + w, :]
    good &= conforms_per_round(part, num_stragglers=few) | conforms_bursty(
      part, burst_length=b, window=w, num_stragglers=lam
    )
  return good
