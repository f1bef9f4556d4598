# SPDX-License-Identifier: Apache-2.0
"""Axis-aligned boxes: forms, overlaps."""

import chex
import jax.numpy as jnp

from jaxdl.core import trees

# Least width and height that a predicted box is taken to have.
_LEAST = 1e-6


def to_corners(boxes: chex.Array) -> chex.Array:
  """Turns centers and sizes into corners.

  Args:
    boxes: f[..., 4], (cx, cy, w, h).

  Returns:
    f[..., 4], (x0, y0, x1, y1).

  Raises:
    ValueError: if the last axis has not four entries.

  Example:
    >>> to_corners(jnp.array([0.5, 0.5, 0.25, 1.0])).tolist()
    [0.375, 0.0, 0.625, 1.0]
  """
  _check(boxes, 'boxes')
  center, half = boxes[..., :2], boxes[..., 2:] / 2
  return jnp.concatenate([center - half, center + half], axis=-1)


def to_centers(boxes: chex.Array) -> chex.Array:
  """Turns corners into centers and sizes.

  Args:
    boxes: f[..., 4], (x0, y0, x1, y1).

  Returns:
    f[..., 4], (cx, cy, w, h).

  Raises:
    ValueError: if the last axis has not four entries.

  Example:
    >>> to_centers(jnp.array([0.375, 0.0, 0.625, 1.0])).tolist()
    [0.5, 0.5, 0.25, 1.0]
  """
  _check(boxes, 'boxes')
  low, high = boxes[..., :2], boxes[..., 2:]
  return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def pairwise_iou(first: chex.Array, second: chex.Array) -> chex.Array:
  """Intersection over union of every pair.

  Args:
    first: f[..., N, 4], corners.
    second: f[..., M, 4], corners; leading axes broadcast.

  Returns:
    f[..., N, M], in [0, 1], common dtype, floating point of whole numbers too;
    0 where both boxes are empty.

  Raises:
    ValueError: if there are not two axes or more, the last of four entries.

  Example:
    >>> a = jnp.array([[0.0, 0.0, 2.0, 2.0]])
    >>> round(float(pairwise_iou(a, a + 1.0)[0, 0]), 6)
    0.142857
  """
  a, b, dtype = _pairs(first, second)
  common, union = _overlap(a, b)
  return (common / jnp.maximum(union, jnp.finfo(union.dtype).tiny)).astype(
    dtype
  )


def pairwise_giou(first: chex.Array, second: chex.Array) -> chex.Array:
  """Generalized intersection over union of every pair, see `giou`.

  Args:
    first: f[..., N, 4], corners.
    second: f[..., M, 4], corners; leading axes broadcast.

  Returns:
    f[..., N, M], in [-1, 1].

  Raises:
    ValueError: if there are not two axes or more, the last of four entries.

  Example:
    >>> a = jnp.array([[0.0, 0.0, 2.0, 2.0]])
    >>> pairwise_giou(a, jnp.concatenate([a, a + 1.0])).shape
    (1, 2)
  """
  a, b, dtype = _pairs(first, second)
  return _giou(a, b).astype(dtype)


def giou(first: chex.Array, second: chex.Array) -> chex.Array:
  """Generalized intersection over union, box by box.

  IoU minus the share of the smallest enclosing box that neither covers: unlike
  IoU it has a slope where boxes are apart. Differentiable; widths and heights
  below 1e-6 count as 1e-6 in the enclosing box.

  Args:
    first: f[..., 4], corners.
    second: f[..., 4], corners, of a shape that broadcasts.

  Returns:
    f[...], in [-1, 1]: 1 for equal boxes, near -1 for boxes far apart.

  Raises:
    ValueError: if the last axis has not four entries.

  Example:
    >>> a = jnp.array([0.0, 0.0, 2.0, 2.0])
    >>> round(float(giou(a, a + 1.0)), 7)
    -0.0793651

  Source: Rezatofighi et al. 2019 (https://arxiv.org/abs/1902.09630),
    algorithm 1.
  """
  _check(first, 'first')
  _check(second, 'second')
  dtype = _common(first, second)
  wide = trees.accumulator(dtype)
  return _giou(first.astype(wide), second.astype(wide)).astype(dtype)


def _pairs(first, second):
  _check(first, 'first', ndim=2)
  _check(second, 'second', ndim=2)
  dtype = _common(first, second)
  wide = trees.accumulator(dtype)
  a = first.astype(wide)[..., :, None, :]
  return a, second.astype(wide)[..., None, :, :], dtype


def _common(first, second):
  """The dtype of overlaps, which are no whole numbers where boxes are."""
  dtype = jnp.result_type(first, second)
  return (
    dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
  )


def _area(sides):
  sides = jnp.maximum(sides, 0.0)
  return sides[..., 0] * sides[..., 1]


def _overlap(a, b):
  low = jnp.maximum(a[..., :2], b[..., :2])
  high = jnp.minimum(a[..., 2:], b[..., 2:])
  common = _area(high - low)
  areas = _area(a[..., 2:] - a[..., :2]) + _area(b[..., 2:] - b[..., :2])
  return common, areas - common


def _giou(a, b):
  common, union = _overlap(a, b)
  low = jnp.minimum(a[..., :2], b[..., :2])
  high = jnp.maximum(a[..., 2:], b[..., 2:])
  around = _area(jnp.maximum(high - low, _LEAST))
  union = jnp.maximum(union, _LEAST * _LEAST)
  return common / union - (around - union) / around


def _check(boxes, name, ndim=1):
  shape = jnp.shape(boxes)
  if len(shape) < ndim or shape[-1] != 4:
    raise ValueError(
      f'{name} must have four numbers per box, shape '
      f'[..., {"N, " * (ndim - 1)}4]; got {shape}.'
    )
