# SPDX-License-Identifier: Apache-2.0
"""Classes of strokes, as many as one likes: Omniglot without files."""

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset

# Points along a stroke, images drawn at once (numbers that fit a cache).
_POINTS, _BLOCK = 40, 64


def glyphs(
  rng: np.random.Generator,
  *,
  num_classes: int = 300,
  train_per_class: int = 15,
  test_per_class: int = 5,
  size: int = 28,
  jitter: float = 0.8,
  rotation: float = 0.12,
  pen: float = 0.8,
) -> _dataset.Dataset:
  """Draws handwritten signs of an alphabet that is made up.

  A class is two to four quadratic Bezier strokes whose control points are
  uniform on [4, 24] of a 28 x 28 grid. An example moves the control points by
  normal noise, then turns, scales (0.9 to 1.1), shears (by N(0, 0.05)) and
  shifts (by N(0, 1)) them about the middle; a pixel is
  `exp(-distance^2 / (2 pen^2))` of its distance to the strokes.

  Args:
    rng: host generator; advanced.
    num_classes: K >= 1.
    train_per_class: train examples of each class, >= 1.
    test_per_class: test examples of each class, >= 1.
    size: height and width; everything is scaled with it.
    jitter: deviation of the control points, in pixels of the 28 x 28 grid.
    rotation: deviation of the angle, in radians.
    pen: deviation of the pen's profile, in pixels of the 28 x 28 grid, > 0.

  Returns:
    The data set, inputs f32[n, size, size, 1] in [0, 1], sorted by class.

  Raises:
    ValueError: if a number is out of range.

  Cost: about 0.2 ms for each image of 28 x 28.

  Example:
    >>> drawn = glyphs(np.random.default_rng(0), num_classes=3)
    >>> drawn.train_inputs.shape, drawn.test_labels.tolist()[:6]
    ((45, 28, 28, 1), [0, 0, 0, 0, 0, 1])
  """
  _dataset.require_generator(rng)
  num_classes = checks.integer(num_classes, name='num_classes', low=1)
  train = checks.integer(train_per_class, name='train_per_class', low=1)
  test = checks.integer(test_per_class, name='test_per_class', low=1)
  size = checks.integer(size, name='size', low=4, high=1024)
  checks.number(jitter, name='jitter', low=0.0)
  checks.number(rotation, name='rotation', low=0.0)
  checks.number(pen, name='pen', low=0.0, open_low=True)
  each = train + test
  strokes = rng.integers(2, 5, num_classes)
  control = rng.uniform(4.0, 24.0, (num_classes, 4, 3, 2))
  n = num_classes * each
  labels = np.repeat(np.arange(num_classes, dtype=np.int32), each)
  control = control[labels] + jitter * rng.normal(size=(n, 4, 3, 2))
  control = _moved(rng, control, rotation) * (size / 28.0)
  images = _drawn(control, strokes[labels], size, pen * size / 28.0)
  images = images.reshape(num_classes, each, size, size, 1)
  labels = labels.reshape(num_classes, each)
  flat = lambda x: np.ascontiguousarray(x).reshape(-1, *x.shape[2:])
  return _dataset.Dataset(
    flat(images[:, :train]),
    flat(labels[:, :train]),
    flat(images[:, train:]),
    flat(labels[:, train:]),
    num_classes=num_classes,
    name='glyphs',
  )


def _moved(rng, control, rotation):
  """Turns, scales, shears and shifts every example about the middle."""
  n = len(control)
  angle = rotation * rng.normal(size=n)
  scale = rng.uniform(0.9, 1.1, n)
  shear = 0.05 * rng.normal(size=n)
  shift = rng.normal(size=(n, 1, 1, 2))
  cos, sin = np.cos(angle), np.sin(angle)
  turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
  slant = np.zeros((n, 2, 2))
  slant[:, 0, 0] = slant[:, 1, 1] = 1.0
  slant[:, 0, 1] = shear
  matrix = scale[:, None, None] * turn @ slant
  return np.einsum('nij,nspj->nspi', matrix, control - 14.0) + 14.0 + shift


def _drawn(control, strokes, size, pen):
  """Intensities f32[n, size, size] of strokes f64[n, 4, 3, 2]."""
  t = np.linspace(0.0, 1.0, _POINTS)
  basis = np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
  points = np.einsum('pt,nspc->nstc', basis, control).astype(np.float32)
  # Strokes that a class lacks are far away.
  absent = np.arange(control.shape[1])[None] >= strokes[:, None]
  points[absent] = 100.0 * size
  points = points.reshape(len(control), -1, 2)
  grid = np.arange(size, dtype=np.float32)
  images = np.empty((len(control), size, size), np.float32)
  for start in range(0, len(control), _BLOCK):
    part = points[start : start + _BLOCK]
    nearest = np.full((len(part), size, size), np.inf, np.float32)
    for k in range(part.shape[1]):
      dx = (grid - part[:, k, 0, None]) ** 2
      dy = (grid - part[:, k, 1, None]) ** 2
      np.minimum(nearest, dy[:, :, None] + dx[:, None, :], out=nearest)
    images[start : start + _BLOCK] = np.exp(nearest * (-0.5 / pen**2))
  return images
