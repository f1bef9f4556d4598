# SPDX-License-Identifier: Apache-2.0
"""How many nodes it takes to collect all features."""

from typing import Any

import numpy as np

from jaxdl.core import checks


def coupon_bound(strengths: Any, a: float = 0.0) -> float:
  """Expected number of nodes until every feature is found, with Muon.

  T_a = 2^-a T_0 + (1 - 2^-a) L, where T_0 is the expected number of draws until
  each of L features was drawn, with probabilities p_l ∝ μ_l^a.

  Args:
    strengths: μ_l > 0, f[L], concrete.
    a: exponent, >= 0.

  Returns:
    T_a; L H_L of equal strengths at a = 0, and never below L.

  Raises:
    TypeError: if strengths are no real numbers.
    ValueError: if one is not positive, or `a` is negative.

  Example:
    >>> round(coupon_bound([1.0, 1.0, 1.0]), 4)  # 3 (1 + 1 / 2 + 1 / 3)
    5.5

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 8.
  """
  mu = checks.host_array(strengths, name='strengths').astype(np.float64)
  if mu.ndim != 1 or not mu.size:
    raise ValueError(f'strengths must be f[L], L >= 1; got shape {mu.shape}.')
  if not (np.isfinite(mu).all() and (mu > 0).all()):
    raise ValueError(
      f'strengths must be positive and finite; got {mu.tolist()}.'
    )
  checks.number(a, name='a', low=0.0)
  from scipy import integrate

  logs = a * np.log(mu)
  logs = logs - logs.max()
  logs -= np.log(np.exp(logs).sum())
  rates = np.exp(np.minimum(logs - logs.min(), 700.0))

  # Draws come as a Poisson process: T_0 is the integral of the chance that
  # something is missing, in units in which the rarest one has rate one.
  def missing(t):
    return -np.expm1(np.log1p(-np.exp(-rates * t)).sum())

  total = sum(
    integrate.quad(missing, low, high, limit=200)[0]
    for low, high in ((0.0, 1e-2), (1e-2, 1.0), (1.0, 10.0), (10.0, np.inf))
  )
  share = 2.0**-a
  draws = total * np.exp(-a * np.log(2) - logs.min())
  return float(draws + (1 - share) * len(mu))
