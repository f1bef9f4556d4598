# SPDX-License-Identifier: Apache-2.0
"""Integers that solvers reckon in."""

import math

import numpy as np

from jaxdl.core import checks

# Loads are integers of this size, which may be exceeded by half of what the
# problems themselves allow.
LOAD, SLACK = 10**7, 50


def lengths(
  matrix: np.ndarray, scale: float | None, *, digits: float = 1e6
) -> tuple[np.ndarray, float]:
  """Scales and rounds lengths.

  Args:
    matrix: f64[M, M].
    scale: factor; None for one that makes the longest `digits`.
    digits: see `scale`.

  Returns:
    i64[M, M] and the factor.

  Raises:
    ValueError: if a way becomes longer than solvers can take.
  """
  if scale is None:
    scale = digits / max(float(matrix.max()), 1e-30)
  checks.number(scale, name='scale', low=0.0, open_low=True)
  found = np.round(matrix * float(scale))
  if found.max(initial=0.0) > 1e7:
    raise ValueError(
      f'scale={scale:g} makes a way of {found.max():.3g}: solvers take 1e7 at '
      'most; lower it, or leave it out.'
    )
  return found.astype(np.int64), float(scale)


def loads(demands: np.ndarray) -> np.ndarray:
  """Demands in units of a capacity of `LOAD` + `SLACK`."""
  return np.round(demands * LOAD).astype(np.int64)


def collected(prizes: np.ndarray, target: float) -> tuple[np.ndarray, int]:
  """Prizes and the least sum of them, so that what is enough is enough.

  Args:
    prizes: f64[N].
    target: least sum.

  Returns:
    i64[N], rounded down, and the goal, which all of them together reach.
  """
  whole = np.floor(prizes * 1e9).astype(np.int64)
  return whole, min(math.ceil(target * 1e9), int(whole.sum()))
