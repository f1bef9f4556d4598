# SPDX-License-Identifier: Apache-2.0
"""Average precision of boxes, by the rules of COCO; NumPy on the host."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
RECALLS = np.linspace(0.0, 1.0, 101)
# Ranges of areas in square pixels.
AREAS = {
  'all': (0.0, 1e10),
  'small': (0.0, 32.0**2),
  'medium': (32.0**2, 96.0**2),
  'large': (96.0**2, 1e10),
}
MOST = (1, 10, 100)


class Found(NamedTuple):
  """Boxes that a detector found.

  Attributes:
    images: i[n], any numbers.
    categories: i[n], in [0, C).
    boxes: f[n, 4], (x, y, w, h) in pixels, x and y of the upper left corner.
    scores: f[n], higher is surer.
  """

  images: Any
  categories: Any
  boxes: Any
  scores: Any


class Truth(NamedTuple):
  """Boxes that are there.

  Attributes:
    images: i[m].
    categories: i[m], in [0, C).
    boxes: f[m, 4], (x, y, w, h) in pixels.
    crowd: bool[m], boxes around many, which may be found any number of times
      and need not be found; none if None.
    areas: f[m], for ranges of areas; those of the boxes if None.
  """

  images: Any
  categories: Any
  boxes: Any
  crowd: Any = None
  areas: Any = None


class Precision(NamedTuple):
  """How precise boxes are.

  Attributes:
    values: means over categories that occur: `ap` (over IoU .5 to .95), `ap50`,
      `ap75`, `ap_small`, `ap_medium`, `ap_large`, and recalls with 1, 10 and
      100 boxes an image, `recall_1`, `recall_10`, `recall_100`; NaN where
      nothing occurs.
    by_category: f64[C], `ap` of each; NaN where it does not occur.
    by_category_50: f64[C], `ap50` of each.
    curves: f64[C, 101], precision at IoU .5 over recall 0 to 1.
  """

  values: dict[str, float]
  by_category: np.ndarray
  by_category_50: np.ndarray
  curves: np.ndarray


def average_precision(
  found: Found, truth: Truth, *, num_categories: int
) -> Precision:
  """Scores detections as COCO does.

  Found boxes of an image and a category, surest first and at most 100, each
  take the free true box that they overlap most, if by the IoU at least that is
  asked for; boxes outside of a range of areas, and crowds, count neither way.
  Precision is that of the surest boxes of all images, made monotone and read
  off at 101 recalls. Equal scores keep their order. The numbers are those of
  `pycocotools.cocoeval` with categories, images being all that are named.

  Args:
    found: what was found.
    truth: what is there.
    num_categories: C.

  Returns:
    `Precision`.

  Raises:
    ValueError: if arrays do not fit, a box, a score or an area is not finite or
      a true box has no width or height, or an image or a category is no whole
      number, or the latter out of range.

  Cost: O(n log n) and, for each category, O(I G D) for I images with it, at
    most G true and D found ones.

  Example:
    >>> truth = Truth([0, 1], [0, 0], [[0, 0, 8, 8], [4, 4, 8, 8]])
    >>> found = Found([0, 1], [0, 0], [[0, 0, 8, 8], [9, 9, 8, 8]], [0.9, 0.8])
    >>> result = average_precision(found, truth, num_categories=1)
    >>> round(result.values['ap50'], 4)
    0.505

  Source: Lin et al. 2014 (https://arxiv.org/abs/1405.0312) and the evaluation
    of the COCO API.
  """
  count = checks.integer(num_categories, name='num_categories', low=1)
  found = _checked(Found(*found), 'found', count)
  truth = _checked(_filled(Truth(*truth)), 'truth', count)
  num = len(THRESHOLDS)
  ap = {name: np.full((count, num), np.nan) for name in AREAS}
  recall = {most: np.full((count, num), np.nan) for most in MOST}
  curves = np.full((count, len(RECALLS)), np.nan)
  for category in range(count):
    own = _matched(
      _part(found, found.categories == category),
      _part(truth, truth.categories == category),
    )
    for i, name in enumerate(AREAS):
      for most in MOST if name == 'all' else MOST[-1:]:
        curve, reached = _curve(own, i, most)
        if curve is None:
          continue
        if most == MOST[-1]:
          ap[name][category] = curve.mean(axis=1)
          if name == 'all':
            curves[category] = curve[0]
        if name == 'all':
          recall[most][category] = reached
  values = {
    'ap': _mean(ap['all']),
    'ap50': _mean(ap['all'][:, 0]),
    'ap75': _mean(ap['all'][:, 5]),
  }
  values |= {f'ap_{name}': _mean(ap[name]) for name in AREAS if name != 'all'}
  values |= {f'recall_{most}': _mean(recall[most]) for most in MOST}
  return Precision(values, ap['all'].mean(axis=1), ap['all'][:, 0], curves)


def group_precision(
  precision: Precision, groups: Mapping[str, Sequence[bool]]
) -> dict[str, float]:
  """Means over groups of categories, such as base, rare and novel ones.

  Args:
    precision: of `average_precision`.
    groups: bool[C] by name.

  Returns:
    `ap_<name>` and `ap50_<name>`, means over the categories of a group that
    occur; NaN where none does.

  Raises:
    ValueError: if a group has not one entry per category.

  Example:
    >>> one = Precision({}, np.array([0.5, 0.1]), np.array([1.0, 0.2]), None)
    >>> group_precision(one, {'rare': [False, True]})
    {'ap_rare': 0.1, 'ap50_rare': 0.2}
  """
  out = {}
  for name, members in groups.items():
    chosen = np.asarray(members, bool)
    if chosen.shape != precision.by_category.shape:
      raise ValueError(
        f'groups[{name!r}] must have one entry per category, shape '
        f'{precision.by_category.shape}; got {chosen.shape}.'
      )
    out[f'ap_{name}'] = _mean(precision.by_category[chosen])
    out[f'ap50_{name}'] = _mean(precision.by_category_50[chosen])
  return out


class _Matched(NamedTuple):
  """Found boxes of a category: all images, surest first within an image."""

  scores: np.ndarray  # f[n]
  place: np.ndarray  # i[n], how many of the image are surer.
  hit: np.ndarray  # bool[A, T, n]
  ignored: np.ndarray  # bool[A, T, n]
  num_true: np.ndarray  # i[A]


def _mean(values):
  known = values[~np.isnan(values)]
  return float(known.mean()) if known.size else float('nan')


def _part(arrays, rows):
  return type(arrays)(*(a[rows] for a in arrays))


def _filled(truth):
  boxes = _boxes(truth.boxes, 'truth')
  crowd, areas = truth.crowd, truth.areas
  if crowd is None:
    crowd = np.zeros(len(boxes), bool)
  if areas is None:
    areas = boxes[:, 2] * boxes[:, 3]
  return truth._replace(
    boxes=boxes, crowd=np.asarray(crowd, bool), areas=np.asarray(areas, float)
  )


def _boxes(boxes, name):
  array = np.asarray(boxes, np.float64)
  array = array.reshape(-1, 4) if array.size == 0 else array
  if array.ndim != 2 or array.shape[1] != 4:
    raise ValueError(f'{name}.boxes must be f[n, 4]; got shape {array.shape}.')
  return array


def _checked(part, name, num_categories):
  """NumPy arrays of equal length."""
  boxes = _boxes(part.boxes, name)
  out: dict[str, Any] = {'boxes': boxes}
  for field, values in part._asdict().items():
    if field == 'boxes':
      continue
    array = np.asarray(values)
    if field in ('images', 'categories'):
      given = array
      with np.errstate(invalid='ignore'):
        array = given.astype(np.int64)
      if (given != array).any():
        raise ValueError(f'{name}.{field} must be whole numbers.')
    if array.shape != (len(boxes),):
      raise ValueError(
        f'{name}.{field} must have one entry per box, shape ({len(boxes)},); '
        f'got {array.shape}.'
      )
    out[field] = array
  wrong = (out['categories'] < 0) | (out['categories'] >= num_categories)
  if wrong.any():
    raise ValueError(
      f'{name}.categories must lie in [0, {num_categories}); got '
      f'{int(out["categories"][wrong][0])}.'
    )
  bad = ~np.isfinite(boxes).all(axis=1)
  if 'crowd' in out:
    bad |= (boxes[:, 2:] <= 0).any(axis=1)
  elif not np.isfinite(out['scores']).all():
    raise ValueError(f'{name}.scores must be finite.')
  if bad.any():
    raise ValueError(
      f'{name}.boxes must be finite{", w and h positive" * ("crowd" in out)}; '
      f'got {boxes[bad][0].tolist()}.'
    )
  areas = out.get('areas', np.zeros(0))
  if not (np.isfinite(areas) & (areas >= 0)).all():
    raise ValueError(f'{name}.areas must be finite and at least 0.')
  return type(part)(**{field: out[field] for field in part._fields})


def _ranks(images):
  """Place of each entry within its image, entries of an image in order."""
  order = np.argsort(images, kind='stable')
  ordered = images[order]
  first = np.searchsorted(ordered, ordered, side='left')
  place = np.empty(len(images), np.int64)
  place[order] = np.arange(len(images)) - first
  return place


def _matched(found, truth):
  # Surest first within images, images in order.
  order = np.lexsort((-found.scores, found.images))
  found = _part(found, order)
  place = _ranks(found.images)
  kept = place < MOST[-1]
  found, place = _part(found, kept), place[kept]
  lows, highs = np.array(list(AREAS.values())).T
  outside = lambda area: (
    (area[None] < lows[:, None]) | (area[None] > highs[:, None])
  )
  ignored_true = outside(truth.areas) | truth.crowd[None]
  shape = (len(lows), len(THRESHOLDS), len(found.scores))
  hit, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
  # Only images with a true box need matching.
  there = np.unique(truth.images)
  spot = np.searchsorted(there, truth.images)
  own = _ranks(truth.images)
  most = int(own.max(initial=-1)) + 1
  size = (len(there), most)
  boxes = np.zeros((*size, 4))
  crowd, real = np.zeros(size, bool), np.zeros(size, bool)
  skipped = np.zeros((len(lows), *size), bool)
  boxes[spot, own], crowd[spot, own] = truth.boxes, truth.crowd
  real[spot, own], skipped[:, spot, own] = True, ignored_true
  asked = np.minimum(np.array(THRESHOLDS), 1 - 1e-10)[None, :, None, None]
  taken = np.zeros((*shape[:2], *size), bool)
  known = np.isin(found.images, there)
  for rank in range(int(place[known].max(initial=-1)) + 1):
    rows = np.flatnonzero(known & (place == rank))
    at = np.searchsorted(there, found.images[rows])
    iou = _iou(found.boxes[rows], boxes[at], crowd[at])[None, None]
    fits = (iou >= asked) & real[at] & (~taken[:, :, at] | crowd[at])
    minor = np.broadcast_to(skipped[:, None, at], fits.shape)
    # True boxes that count come first; among equals the last.
    major = (fits & ~minor).any(axis=-1, keepdims=True)
    fits &= ~(minor & major)
    value = np.where(fits, iou, -1.0)[..., ::-1]
    best = most - 1 - value.argmax(axis=-1)
    matched = fits.any(axis=-1)
    hit[:, :, rows] = matched
    pick = np.take_along_axis(minor, best[..., None], axis=-1)[..., 0]
    ignored[:, :, rows] = matched & pick
    a, t, n = np.nonzero(matched)
    taken[a, t, at[n], best[a, t, n]] = True
  far = outside(found.boxes[:, 2] * found.boxes[:, 3])[:, None]
  ignored |= ~hit & far
  return _Matched(found.scores, place, hit, ignored, (~ignored_true).sum(1))


def _iou(boxes, others, crowd):
  """f[n, G] of found boxes f[n, 4] with true ones f[n, G, 4]."""
  a = boxes[:, None]
  sides = [
    np.maximum(
      np.minimum(a[..., k] + a[..., k + 2], others[..., k] + others[..., k + 2])
      - np.maximum(a[..., k], others[..., k]),
      0.0,
    )
    for k in (0, 1)
  ]
  common = sides[0] * sides[1]
  area = a[..., 2] * a[..., 3]
  union = np.where(crowd, area, area + others[..., 2] * others[..., 3] - common)
  return np.where(common > 0, common / np.where(common > 0, union, 1.0), 0.0)


def _curve(own, area, most):
  """Precision f[T, 101] and final recall f[T]; None where nothing counts."""
  num = own.num_true[area]
  if not num:
    return None, None
  kept = own.place < most
  order = np.argsort(-own.scores[kept], kind='stable')
  hit = own.hit[area][:, kept][:, order]
  counts = ~own.ignored[area][:, kept][:, order]
  right = np.cumsum(hit & counts, axis=1).astype(float)
  wrong = np.cumsum(~hit & counts, axis=1).astype(float)
  if not right.shape[1]:
    zeros = np.zeros((len(right), len(RECALLS)))
    return zeros, np.zeros(len(right))
  recall = right / num
  precision = right / (right + wrong + np.spacing(1))
  precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
  precision = np.pad(precision, ((0, 0), (0, 1)))
  places = [np.searchsorted(row, RECALLS, side='left') for row in recall]
  curve = np.take_along_axis(precision, np.stack(places), axis=1)
  return curve, recall[:, -1]
