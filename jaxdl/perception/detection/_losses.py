# SPDX-License-Identifier: Apache-2.0
"""The loss of a detector that is asked in words."""

from collections.abc import Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import trees
from jaxdl.perception.detection import _boxes, _matching

ALPHA, GAMMA = 0.25, 2.0
PARTS = ('class_loss', 'l1_loss', 'giou_loss')


class Detections(NamedTuple):
  """What a detector says of a batch, layer by layer.

  Attributes:
    boxes: f[L, B, Q, 4], (cx, cy, w, h) in shares of the image; the last layer
      is the answer, the first (`select`) what queries were chosen by.
    logits: f[L, B, Q, P], of queries and phrases; sigmoids are scores.
    exists: bool[B, P], false for padding among the phrases.
  """

  boxes: chex.Array
  logits: chex.Array
  exists: chex.Array


def detection_loss(
  detections: Detections,
  batch: Mapping[str, chex.Array],
  *,
  weights: tuple[float, float, float] = _matching.WEIGHTS,
) -> tuple[chex.Array, dict[str, chex.Array]]:
  """Focal, L1 and GIoU losses after matching, summed over layers.

  Every layer is matched by itself. The target of a query is 1 for the phrase
  of its object and 0 for all other phrases that exist, for all if it has no
  object. Sums are divided by the number of objects in the batch, at least 1, so
  an image without objects only says what is not there.

  Args:
    detections: L layers of B images.
    batch: 'boxes' f[B, M, 4] (cx, cy, w, h), 'labels' i[B, M], the phrase of
      each object, 'present' bool[B, M], false for padding, and optionally
      'mask' bool[B], images that count.
    weights: of the class, of L1 and of GIoU.

  Returns:
    f32[], the weighted sum over layers, and the last layer's parts,
    `class_loss`, `l1_loss`, `giou_loss`, unweighted.

  Raises:
    ValueError: if shapes do not fit.

  Example:
    >>> found = Detections(
    ...   jnp.full((1, 1, 3, 4), 0.5),
    ...   jnp.full((1, 1, 3, 2), -9.0),
    ...   jnp.ones((1, 2), bool),
    ... )
    >>> batch = {
    ...   'boxes': jnp.full((1, 2, 4), 0.5),
    ...   'labels': jnp.zeros((1, 2), int),
    ...   'present': jnp.zeros((1, 2), bool),
    ... }
    >>> loss, parts = detection_loss(found, batch)
    >>> bool(loss < 1e-6), float(parts['l1_loss'])
    (True, 0.0)

  Source: Liu et al. 2023 (https://arxiv.org/abs/2303.05499), section 3.5;
    DN-free, with the weights 2, 5, 2.
  """
  check_detections(detections, batch)
  wide = trees.accumulator(detections.logits.dtype)
  present = batch['present'].astype(bool)
  counts = jnp.ones((present.shape[0],), bool)
  if batch.get('mask') is not None:
    counts = batch['mask'].astype(bool)
  present = present & counts[:, None]
  exists = detections.exists & counts[:, None]
  total = jnp.maximum(jnp.sum(present), 1).astype(wide)
  targets = batch['boxes'].astype(wide)

  def image(boxes, logits, exists, labels, targets, present):
    costs = _matching.matching_costs(
      logits, boxes, labels, targets, weights=weights
    )
    query = _matching.match(costs, present)
    matched = query >= 0
    # Rows past the end are dropped.
    place = jnp.where(matched, query, logits.shape[0])
    want = jnp.zeros_like(logits).at[place, labels].set(1.0, mode='drop')
    focal = optax.sigmoid_focal_loss(logits, want, alpha=ALPHA, gamma=GAMMA)
    own = jnp.take(boxes, query, axis=0, mode='clip')
    # Padding is compared with itself, so that it has no slope.
    own = jnp.where(matched[:, None], own, targets)
    lack = 1 - _boxes.giou(_boxes.to_corners(own), _boxes.to_corners(targets))
    return (
      jnp.sum(jnp.where(exists[None], focal, 0.0)),
      jnp.sum(jnp.abs(own - targets)),
      jnp.sum(jnp.where(matched, lack, 0.0)),
    )

  over_images = jax.vmap(image)
  over_layers = jax.vmap(over_images, in_axes=(0, 0, None, None, None, None))
  found = over_layers(
    detections.boxes.astype(wide),
    detections.logits.astype(wide),
    exists,
    batch['labels'],
    targets,
    present,
  )
  parts = [jnp.sum(part, axis=1) / total for part in found]
  loss = sum(w * jnp.sum(part) for w, part in zip(weights, parts, strict=True))
  last = {n: part[-1] for n, part in zip(PARTS, parts, strict=True)}
  return loss, last


def check_detections(
  detections: Detections, batch: Mapping[str, chex.Array]
) -> None:
  """Checks that what a network says fits a batch.

  Args:
    detections: of the network.
    batch: of `detection_loss`.

  Raises:
    ValueError: if a part of the batch is missing or shapes do not fit.
    TypeError: if the network says something else.
  """
  if not isinstance(detections, Detections):
    raise TypeError(
      'the network must give Detections(boxes, logits, exists); got '
      f'{type(detections).__name__}.'
    )
  for name in ('boxes', 'labels', 'present'):
    if name not in batch:
      raise ValueError(f'batch has no {name!r}; it has {sorted(batch)}.')
  num, most = jnp.shape(batch['present'])
  want = {
    'boxes': (num, most, 4),
    'labels': (num, most),
    'mask': (num,),
  }
  for name, shape in want.items():
    if batch.get(name) is not None and jnp.shape(batch[name]) != shape:
      raise ValueError(
        f"batch[{name!r}] must have shape {shape}, as 'present' of shape "
        f'{(num, most)}; got {jnp.shape(batch[name])}.'
      )
  if detections.boxes.shape[1] != num:
    raise ValueError(
      f'the network saw {detections.boxes.shape[1]} images but the batch has '
      f'{num}.'
    )
