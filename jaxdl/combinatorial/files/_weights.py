# SPDX-License-Identifier: Apache-2.0
"""Lengths as TSPLIB and CVRPLIB define them, in float64 on the host."""

import math

import numpy as np

# What is done to Euclidean lengths: a factor, then a rounding.
EUCLIDEAN = {
  'EUC_2D': lambda d: np.floor(d + 0.5),
  'CEIL_2D': np.ceil,
  'FLOOR_2D': np.floor,
  'ATT': lambda d: np.ceil(d / math.sqrt(10.0)),
}
_TRIANGLES = {
  'UPPER_ROW': ('upper', 1),
  'LOWER_COL': ('upper', 1),
  'UPPER_DIAG_ROW': ('upper', 0),
  'LOWER_DIAG_COL': ('upper', 0),
  'LOWER_ROW': ('lower', 1),
  'UPPER_COL': ('lower', 1),
  'LOWER_DIAG_ROW': ('lower', 0),
  'UPPER_DIAG_COL': ('lower', 0),
}
FORMATS = ('FULL_MATRIX', *_TRIANGLES)
KINDS = (*EUCLIDEAN, 'GEO', 'EXPLICIT')


def euclidean(
  points: np.ndarray, a: np.ndarray, b: np.ndarray, kind: str, rounded: bool
) -> np.ndarray:
  """Lengths between nodes.

  Args:
    points: f64[N, 2], as in the file.
    a: i[L], nodes.
    b: i[L], nodes.
    kind: of `EUCLIDEAN`.
    rounded: whether they are rounded; ATT's factor stays.

  Returns:
    f64[L].
  """
  found = np.sqrt(np.square(points[a] - points[b]).sum(-1))
  if rounded:
    return EUCLIDEAN[kind](found)
  return found / math.sqrt(10.0) if kind == 'ATT' else found


def geographic(points: np.ndarray, rounded: bool) -> np.ndarray:
  """Kilometers on a sphere, by degrees and minutes; f64[N, N].

  Args:
    points: f64[N, 2], latitude and longitude as DDD.MM.
    rounded: whether they are whole kilometers, plus one.

  Returns:
    The matrix, zero on its diagonal.

  Source: TSPLIB 95, section 2.4.
  """
  # The standard's pi and radius.
  degrees = np.trunc(points)
  angle = 3.141592 * (degrees + 5.0 * (points - degrees) / 3.0) / 180.0
  latitude, longitude = angle.T
  q1 = np.cos(longitude[:, None] - longitude[None])
  q2 = np.cos(latitude[:, None] - latitude[None])
  q3 = np.cos(latitude[:, None] + latitude[None])
  inner = 0.5 * ((1.0 + q1) * q2 - (1.0 - q1) * q3)
  found = 6378.388 * np.arccos(np.clip(inner, -1.0, 1.0)) + rounded
  found = np.floor(found) if rounded else found
  np.fill_diagonal(found, 0.0)
  return found


def explicit(numbers: np.ndarray, layout: str, count: int) -> np.ndarray:
  """A matrix out of a list of weights.

  Args:
    numbers: f64[L], all that the section has, lines put together.
    layout: of `FORMATS`.
    count: N.

  Returns:
    f64[N, N], zero on its diagonal.

  Raises:
    ValueError: if there are too many or too few.
  """
  full = layout == 'FULL_MATRIX'
  part, offset = _TRIANGLES.get(layout, ('upper', 0))
  want = count**2 if full else count * (count + 1) // 2 - offset * count
  if len(numbers) != want:
    raise ValueError(
      f'EDGE_WEIGHT_SECTION has {len(numbers)} numbers; {layout} of '
      f'{count} nodes has {want}.'
    )
  if full:
    found = numbers.reshape(count, count).copy()
  else:
    found = np.zeros((count, count))
    upper, lower = (
      np.triu_indices(count, offset),
      np.tril_indices(count, -offset),
    )
    found[upper if part == 'upper' else lower] = numbers
    found = found + found.T
  np.fill_diagonal(found, 0.0)
  return found
