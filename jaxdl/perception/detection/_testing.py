# SPDX-License-Identifier: Apache-2.0
"""Detectors are tested on images that are kept: boxes, precision, experts."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, types
from jaxdl.perception import experts
from jaxdl.perception.detection import _detector, _losses, _precision

# Boxes of an image that count.
NUM_BEST = 100


class TestSet(NamedTuple):
  """Images to be tested on.

  Attributes:
    batches: leaves [T, B, ...] as batches of `grounding`, with 'categories'
      i32[T, B, P] of the phrases and 'mask' bool[T, B], false for padding.
    truth: of images 0 to n - 1, in the order of the batches, in pixels.
    sizes: f64[n, 2], width and height of the images in pixels.
    names: of the C categories.
    groups: bool[C] by name, whose means are told.
  """

  batches: dict[str, chex.Array]
  truth: _precision.Truth
  sizes: np.ndarray
  names: tuple[str, ...]
  groups: dict[str, np.ndarray]


def make_test_set(
  images: Mapping[str, Any],
  *,
  names: tuple[str, ...],
  groups: Mapping[str, Any],
  batch_size: int = 64,
  sizes: Any = None,
  truth: _precision.Truth | None = None,
) -> TestSet:
  """Cuts images into batches for evaluation.

  Args:
    images: leaves [n, ...] of `draw_scenes` or `read_pictures`.
    names: of the C categories.
    groups: bool[C] by name.
    batch_size: B.
    sizes: f[n, 2], width and height in pixels; those of the inputs if None.
    truth: in those pixels; the boxes of the images if None.

  Returns:
    The test set.

  Raises:
    ValueError: if there is no image or a number does not fit.
  """
  checks.integer(batch_size, name='batch_size', low=1)
  arrays = {k: np.asarray(v) for k, v in images.items()}
  count = len(arrays['inputs'])
  if not count:
    raise ValueError('images are empty: need at least one to be tested on.')
  if sizes is None:
    height, width = arrays['inputs'].shape[1:3]
    sizes = np.tile([float(width), float(height)], (count, 1))
  sizes = np.asarray(sizes, np.float64)
  if sizes.shape != (count, 2):
    raise ValueError(
      f'sizes must have shape ({count}, 2), a row per image; got {sizes.shape}.'
    )
  if truth is None:
    truth = _truth(arrays, sizes)
  size = min(batch_size, count)
  extra = -count % size
  arrays['mask'] = np.ones(count, bool)
  batches = {
    k: jnp.asarray(
      np.pad(v, ((0, extra), *[(0, 0)] * (v.ndim - 1))).reshape(
        -1, size, *v.shape[1:]
      )
    )
    for k, v in arrays.items()
  }
  groups = {k: np.asarray(v, bool) for k, v in groups.items()}
  return TestSet(batches, truth, sizes, tuple(names), groups)


def _truth(arrays, sizes):
  image, place = np.nonzero(arrays['present'])
  kinds = np.take_along_axis(arrays['categories'], arrays['labels'], axis=1)
  boxes = _pixels(arrays['boxes'][image, place], sizes[image])
  return _precision.Truth(image, kinds[image, place], boxes)


def _pixels(boxes, sizes):
  """(cx, cy, w, h) in shares to (x, y, w, h) in pixels, f64."""
  boxes = np.asarray(boxes, np.float64)
  scale = np.concatenate([sizes, sizes], axis=-1)
  low = boxes[..., :2] - boxes[..., 2:] / 2
  return np.concatenate([low, boxes[..., 2:]], axis=-1) * scale


def detect(
  network: types.Network, params: chex.ArrayTree, test: TestSet
) -> _precision.Found:
  """Finds what the prompts of all test images name.

  Args:
    network: of `grounding`.
    params: of one model.
    test: images.

  Returns:
    At most 100 boxes of an image, best first, in pixels.

  Raises:
    ValueError: if scores are NaN, of a model that diverged.
  """
  best, _, _ = _run(network)(params, test.batches)
  return _found(test, *jax.device_get(best))


def _found(test, boxes, scores, phrases):
  """Host arrays [T, B, K, ...] as boxes of images."""
  kept = np.asarray(test.batches['mask']).ravel()
  flat = lambda x: x.reshape(-1, *x.shape[2:])[kept]
  boxes, scores, phrases = flat(boxes), flat(scores), flat(phrases)
  kinds = np.take_along_axis(
    flat(np.asarray(test.batches['categories'])), phrases, axis=1
  )
  image, place = np.nonzero((scores >= 0) & (kinds >= 0))
  return _precision.Found(
    image,
    kinds[image, place],
    _pixels(boxes[image, place], test.sizes[image]),
    scores[image, place],
  )


@functools.lru_cache(maxsize=32)
def _run(network):
  """What a network says of all batches, its mean losses, and of experts.

  Of the experts of each layer, how many queries went to every two of them, and
  the share of those whose experts are slices of one copy.
  """

  @jax.jit
  def run(params, batches):
    def batch(one):
      mask = one['mask']
      found, routed = experts.observe(
        network.apply, params, one['inputs'], one['phrases'], mask=mask
      )
      loss, parts = _losses.detection_loss(found, one)
      values = {'loss': loss, **parts}
      # Batches count by their objects, experts by images.
      objects = jnp.maximum(jnp.sum(one['present'] & mask[:, None]), 1)
      images = jnp.sum(mask).astype(loss.dtype)
      layers = {
        name: {
          'together': experts.coactivation(
            r.idx, r.probs.shape[-1], mask=r.mask
          ),
          'same': images
          * experts.same_replica_share(
            r.idx, num_slices=r.idx.shape[-1], mask=r.mask
          ),
          'balance': images * r.load_balance,
        }
        for name, r in routed.items()
      }
      best = _detector.detections_of(found, num_best=NUM_BEST)
      weight = objects.astype(loss.dtype)
      sums = {k: v * weight for k, v in values.items()} | {'n': weight}
      return best, sums, layers, images

    best, sums, layers, images = jax.lax.map(batch, batches)
    total = jnp.sum(sums.pop('n'))
    means = {k: jnp.sum(v) / total for k, v in sums.items()}
    for found in layers.values():
      for name, value in found.items():
        found[name] = jnp.sum(value, axis=0)
        if name != 'together':
          found[name] /= jnp.sum(images)
    return best, means, layers

  return run


def coactivations(
  network: types.Network, params: chex.ArrayTree, test: TestSet
) -> dict[str, np.ndarray]:
  """How often experts are chosen together for a query of the test images.

  Args:
    network: with experts.
    params: of one model.
    test: images.

  Returns:
    By layer f[E, E], queries that went to both experts, see
    `experts.coactivation`; nothing for networks without experts.
  """
  layers = jax.device_get(_run(network)(params, test.batches)[2])
  return {name: found['together'] for name, found in layers.items()}


def evaluator(
  network: types.Network, test: TestSet
) -> Callable[[chex.ArrayTree], dict[str, np.ndarray]]:
  """Builds the measurement of detectors, as `Problem.evaluate`.

  Args:
    network: of `grounding`.
    test: images.

  Returns:
    `evaluate(params) -> dict of f64[S]` of S models, leaves [S, ...]: `ap50`,
    `ap` and `ap75` over all categories, `ap50_<group>` over those of each
    group, `recall`, that of 100 boxes, and `loss`, `class_loss`, `l1_loss`,
    `giou_loss`. Of networks with experts also `balance`, and for each of their
    layers i `balance_<i>`, `same_replica_<i>` (of k slices), `partners_<i>`
    (effective ones, the mean over experts in use) and `usage_<i>`, the entropy
    of how often each is used, in shares of that of even use. Of models that
    diverged precision is 0.
  """
  run = _run(network)

  def evaluate(params):
    rows = []
    for i in range(jax.tree.leaves(params)[0].shape[0]):
      own = jax.tree.map(lambda x, i=i: x[i], params)
      (boxes, scores, phrases), losses, layers = jax.device_get(
        run(own, test.batches)
      )
      fine = np.isfinite(boxes).all() and np.isfinite(scores).all()
      if not fine:
        boxes, scores = np.zeros_like(boxes), np.full_like(scores, -1.0)
      rows.append(
        _told(test, _found(test, boxes, scores, phrases))
        | {k: float(v) for k, v in losses.items()}
        | _collaboration(layers)
      )
    return {k: np.array([row[k] for row in rows]) for k in rows[0]}

  return evaluate


def _told(test, found):
  precision = _precision.average_precision(
    found, test.truth, num_categories=len(test.names)
  )
  means = _precision.group_precision(precision, test.groups)
  names = {'ap50': 'ap50', 'ap': 'ap', 'ap75': 'ap75', 'recall_100': 'recall'}
  told = {new: precision.values[old] for old, new in names.items()}
  return told | {k: v for k, v in means.items() if k.startswith('ap50')}


def _collaboration(layers):
  """Numbers of every layer of experts, and their mean balance."""
  out = {}
  for i, found in enumerate(layers.values()):
    counts = found['together']
    used = np.diagonal(counts)
    # Every query is counted at each of its k experts.
    top_k = max(1, round(counts.sum() / max(used.sum(), 1)))
    told = experts.collaboration(counts, top_k=top_k)
    partners = np.asarray(told.effective_partners)[used > 0]
    out |= {
      f'balance_{i}': float(found['balance']),
      f'same_replica_{i}': float(found['same']),
      f'partners_{i}': float(partners.mean()) if partners.size else 0.0,
      f'usage_{i}': float(told.usage_entropy) / max(np.log(len(used)), 1e-9),
    }
  if layers:
    every = [float(found['balance']) for found in layers.values()]
    out['balance'] = sum(every) / len(every)
  return out
