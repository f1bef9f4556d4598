# SPDX-License-Identifier: Apache-2.0
"""Losses of segmentation, and how good and how adaptive cooperation is."""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees
from jaxdl.perception.cooperation.wire import _bandwidth

# Of the static map: nothing, road, lane.
NUM_STATIC = 3
NUM_DYNAMIC = 2


def seg_loss(
  logits: chex.Array,
  target: chex.Array,
  weights: Sequence[float],
  *,
  mask: chex.Array | None = None,
) -> chex.Array:
  """Cross-entropy with a weight per class, averaged by these weights.

  Args:
    logits: f[..., K, H, W].
    target: i[..., H, W]; cells that are none of the K classes, as -1 or 255, do
      not count.
    weights: K numbers >= 0.
    mask: bool[..., H, W] or what can be broadcast; cells that count.

  Returns:
    f[], 0 if no cell counts.

  Raises:
    ValueError: if there is not one weight per class, one is negative, or shapes
      do not fit.

  Example:
    >>> logits = jnp.zeros((2, 1, 2))
    >>> float(seg_loss(logits, jnp.array([[0, 1]]), (1.0, 75.0))).__round__(4)
    0.6931
  """
  checks.known(np.asarray(weights), name='weights', low=0.0)
  if len(weights) != logits.shape[-3]:
    raise ValueError(
      f'weights must have one entry per class, {logits.shape[-3]}; got '
      f'{len(weights)}.'
    )
  want = logits.shape[:-3] + logits.shape[-2:]
  if jnp.shape(target) != want:
    raise ValueError(
      f'target must have shape {want}, a class for each cell of logits '
      f'{logits.shape}; got {jnp.shape(target)}.'
    )
  wide = logits.astype(trees.accumulator(logits.dtype))
  classes = jnp.arange(logits.shape[-3])[:, None, None]
  target = jnp.asarray(target)
  classes = classes.reshape((1,) * (target.ndim - 2) + classes.shape)
  hit = target[..., None, :, :] == classes
  log_p = jax.nn.log_softmax(wide, axis=-3)
  loss = -jnp.sum(jnp.where(hit, log_p, 0), axis=-3)
  weight = jnp.sum(
    jnp.where(hit, jnp.asarray(weights, wide.dtype).reshape(classes.shape), 0),
    axis=-3,
  )
  if mask is not None:
    weight = jnp.where(mask, weight, 0)
    loss = jnp.where(mask, loss, 0)
  total = jnp.sum(weight)
  return jnp.sum(weight * loss) / jnp.where(total > 0, total, 1)


def overlap(
  predicted: chex.Array, target: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Cells in both sets, and in either, over the last two axes.

  Args:
    predicted: bool[..., H, W].
    target: bool[..., H, W].

  Returns:
    i[...] twice.
  """
  predicted, target = jnp.asarray(predicted, bool), jnp.asarray(target, bool)
  both = jnp.sum(predicted & target, axis=(-2, -1))
  return both, jnp.sum(predicted | target, axis=(-2, -1))


def iou(predicted: chex.Array, target: chex.Array) -> chex.Array:
  """Intersection over union of two sets of cells.

  Args:
    predicted: bool[..., H, W].
    target: bool[..., H, W].

  Returns:
    f[...]; 1 where both are empty.

  Example:
    >>> a = jnp.array([[True, True, True, False]])
    >>> float(iou(a, jnp.array([[False, True, True, True]])))
    0.5
    >>> float(iou(a & False, a & False))
    1.0
  """
  both, either = overlap(predicted, target)
  return jnp.where(either > 0, both / jnp.maximum(either, 1), 1.0)


def pooled_iou(both: Any, either: Any) -> float:
  """Intersection over union of all cells of all frames together.

  Args:
    both: counts of `overlap`.
    either: likewise.

  Returns:
    The share; 1 if there is nothing.
  """
  total = float(np.sum(np.asarray(either, np.float64)))
  return float(np.sum(np.asarray(both, np.float64))) / total if total else 1.0


def adaptivity(percent: Any, vehicles: Any) -> dict[str, float]:
  """Whether what is asked for varies, and with what.

  A mask that is the same in all frames saves as much, but does not adapt.

  Args:
    percent: f[S, T], of every scene and frame but the first.
    vehicles: f[S], how many there are in a scene.

  Returns:
    `percent_std`, over all frames; `percent_vehicles`, the correlation of a
    scene's mean with its number of vehicles, 0 where one does not vary.

  Raises:
    ValueError: if there is no row per scene.

  Example:
    >>> adaptivity([[10.0, 10.0], [30.0, 30.0]], [2, 8])
    {'percent_std': 10.0, 'percent_vehicles': 1.0}
  """
  percent = np.asarray(percent, np.float64)
  if percent.ndim != 2 or len(percent) != len(np.asarray(vehicles)):
    raise ValueError(
      f'percent must have a row for each of the {len(np.asarray(vehicles))} '
      f'scenes; got shape {percent.shape}.'
    )
  if not percent.size:
    return {'percent_std': 0.0, 'percent_vehicles': 0.0}
  return {
    'percent_std': float(percent.std()),
    'percent_vehicles': _bandwidth.correlation(percent.mean(axis=1), vehicles),
  }
