# SPDX-License-Identifier: Apache-2.0
"""Closed forms: the hierarchy, where it ends, and examples that are needed."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.theory.associative import _checks


def hierarchical_amplitudes(
  num_patterns: int, dilution: chex.Numeric
) -> chex.Array:
  """Overlaps of the hierarchical state: m_k = (1 - d) d^(k - 1).

  Args:
    num_patterns: K >= 1, static.
    dilution: d in [0, 1), may be traced.

  Returns:
    f[K], of the dtype of the dilution; their sum is 1 - d^K.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> hierarchical_amplitudes(3, 0.5).tolist()
    [0.5, 0.25, 0.125]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), hierarchy.
  """
  k = checks.integer(num_patterns, name='num_patterns', low=1)
  _checks.dilution(dilution)
  d = jnp.asarray(dilution, jnp.result_type(float, dilution))
  return (1.0 - d) * d ** np.arange(k)


def level_temperatures(num_patterns: int, dilution: chex.Numeric) -> chex.Array:
  """Below which temperature each level of the hierarchy exists: d^(k - 1).

  Level k lives on the share d^(k - 1) of neurons that the levels above leave
  free, as if there were no others; that is when those are saturated.

  Args:
    num_patterns: K >= 1, static.
    dilution: d in [0, 1), may be traced.

  Returns:
    f[K].

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> level_temperatures(3, 0.5).tolist()
    [1.0, 0.5, 0.25]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), T > 0.
  """
  amplitudes = hierarchical_amplitudes(num_patterns, dilution)
  return amplitudes / (1.0 - dilution)


def dilution_threshold(num_patterns: int) -> float:
  """Up to which dilution the hierarchical state is a fixed point at T = 0.

  There every leading pattern outweighs all later ones: 1 - 2 d + d^K > 0.
  Beyond it overlaps even out.

  Args:
    num_patterns: K >= 1.

  Returns:
    d_c: 1 up to two patterns, then falling to 1/2.

  Raises:
    ValueError: if K is out of range.

  Example:
    >>> [round(dilution_threshold(k), 4) for k in (2, 3, 5)]
    [1.0, 0.618, 0.5188]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), crossover.
  """
  k = checks.integer(num_patterns, name='num_patterns', low=1)
  if k <= 2:
    return 1.0
  import scipy.optimize

  # Without the root at 1: 1 - d - d² - ... - d^(K - 1).
  left = lambda d: 1.0 - sum(d**j for j in range(1, min(k, 64)))
  return float(scipy.optimize.brentq(left, 0.5, 1.0, xtol=1e-15))


def noise_to_signal(
  num_patterns: int, dilution: chex.Numeric, entropy: chex.Numeric
) -> chex.Array:
  """Variance of the noise on a neuron of each level over its signal squared.

  In the hierarchical state with learned overlaps (1 - d) d^(k - 1) the noise is
  that of the data, and the later patterns:
  rho + (1 + rho) d² (1 - d^(2 (K - k))) / (1 + d).

  Args:
    num_patterns: K >= 1, static.
    dilution: d in [0, 1), may be traced.
    entropy: rho >= 0, may be traced.

  Returns:
    f[K]; rho alone at the last level.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> print(np.asarray(noise_to_signal(2, 0.5, 0.25)).round(5))
    [0.40625 0.25   ]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106),
  signal-to-noise analysis.
  """
  checks.number(entropy, name='entropy', low=0.0)
  later = _later(num_patterns, dilution)
  return entropy + (1.0 + entropy) * later


def _later(num_patterns, dilution):
  """Noise over signal of the later patterns alone, for each level."""
  k = checks.integer(num_patterns, name='num_patterns', low=1)
  _checks.dilution(dilution)
  d = jnp.asarray(dilution, jnp.result_type(float, dilution))
  return d**2 * (1.0 - d ** (2 * np.arange(k)[::-1])) / (1.0 + d)


def one_step_magnetization(
  num_patterns: int, dilution: chex.Numeric, entropy: chex.Numeric
) -> chex.Array:
  """How well each level is aligned after one update at T = 0.

  Were noise normal: erf(1 / sqrt(2 noise)). For one full pattern it is exact
  at large M. Later patterns are few, and below `dilution_threshold` never
  outweigh the leading one, so at small rho this is too low.

  Args:
    num_patterns: K >= 1, static.
    dilution: d in [0, 1), may be traced.
    entropy: rho >= 0, may be traced.

  Returns:
    f[K] in [0, 1]: mean of s_i xi_i^k over the neurons of level k; 1 without
    noise.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> print(np.asarray(one_step_magnetization(1, 0.0, 1.0)).round(4))
    [0.6827]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106),
  signal-to-noise analysis.
  """
  noise = noise_to_signal(num_patterns, dilution, entropy)
  safe = jnp.where(noise > 0, noise, 1.0)
  return jnp.where(noise > 0, jax.scipy.special.erf(1 / jnp.sqrt(2 * safe)), 1)


def examples_needed(
  num_patterns: int,
  dilution: float,
  quality: float,
  confidence: float = math.sqrt(0.5),
) -> np.ndarray:
  """How many examples each level needs to be learned.

  The fewest M such that one update leaves more than erf(confidence) of the
  level aligned, if noise is normal: noise <= 1 / (2 confidence²). With and
  without a teacher alike, as long as patterns are few.

  Args:
    num_patterns: K >= 1.
    dilution: d in [0, 1).
    quality: r in (0, 1].
    confidence: Theta > 0.

  Returns:
    float64[K] of whole numbers; infinite where later patterns alone are too
    much. The last level needs least.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> examples_needed(2, 0.5, 0.4).tolist()
    [7.0, 6.0]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106),
  signal-to-noise analysis.
  """
  k = checks.integer(num_patterns, name='num_patterns', low=1)
  _checks.dilution(dilution)
  _checks.quality(quality)
  checks.number(confidence, name='confidence', low=0.0, open_low=True)
  d, r = float(dilution), float(quality)
  later = d**2 * (1.0 - d ** (2 * np.arange(k)[::-1])) / (1.0 + d)
  most = (1.0 / (2 * confidence**2) - later) / (1.0 + later)
  with np.errstate(divide='ignore'):
    needed = (1.0 - r**2) / (r**2 * np.maximum(most, 0.0))
    if r == 1.0:
      needed = np.where(most > 0, 0.0, np.inf)
  # Rounding must not ask for one more.
  return np.maximum(1.0, np.ceil(needed * (1.0 - 1e-12)))
