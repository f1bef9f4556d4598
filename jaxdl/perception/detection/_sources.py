# SPDX-License-Identifier: Apache-2.0
"""Where images come from, by name: drawn scenes or files."""

import dataclasses
import functools
import os

import chex
import jax
import numpy as np

from jaxdl.core import checks, registry
from jaxdl.perception.detection import _files, _scenes, _testing, _text

_TEST_SEED = 20_250_717


@dataclasses.dataclass(frozen=True, eq=False)
class CocoSource:
  """Training and test images of the COCO format.

  Attributes:
    train: images to learn from.
    test: images to be tested on; of the same categories.
    image_size: height and width that images are scaled to.
    num_phrases: P, slots of a prompt in training; tests ask for all.
  """

  train: _files.CocoSet
  test: _files.CocoSet
  image_size: int
  num_phrases: int

  @functools.cached_property
  def vocabulary(self) -> tuple[str, ...]:
    """Words by number, 0 is padding."""
    return _text.make_vocabulary(self.train.names)

  @property
  def names(self) -> tuple[str, ...]:
    """Phrases of the categories."""
    return self.train.names

  @property
  def max_objects(self) -> int:
    """Objects of an image, at most."""
    return max(self.train.max_objects, self.test.max_objects)

  @property
  def groups(self) -> dict[str, np.ndarray]:
    """Base, rare (the lowest third of base) and novel categories.

    Novel ones have no object in training.
    """
    counts = self.train.counts
    base = np.flatnonzero(counts > 0)
    order = base[np.argsort(-counts[base], kind='stable')]
    rare = np.zeros(len(counts), bool)
    rare[order[len(base) - len(base) // 3 :]] = True
    return {'base': counts > 0, 'rare': rare, 'novel': counts == 0}

  def read(
    self, places: np.ndarray, rng: np.random.Generator
  ) -> dict[str, np.ndarray]:
    """Reads a training batch; see `read_pictures`."""
    return _files.read_pictures(
      self.train,
      places,
      image_size=self.image_size,
      vocabulary=self.vocabulary,
      max_objects=self.max_objects,
      num_phrases=self.num_phrases,
      rng=rng,
    )


Source = _scenes.Scenes | CocoSource


def coco(
  *,
  train: str | os.PathLike[str],
  train_images: str | os.PathLike[str],
  test: str | os.PathLike[str],
  test_images: str | os.PathLike[str],
  image_size: int = 640,
  num_phrases: int = 20,
  degenerate: str = 'refuse',
) -> CocoSource:
  """Images from files of the COCO format.

  Args:
    train: annotations to learn from.
    train_images: folder of their images.
    test: annotations to be tested on.
    test_images: folder of their images.
    image_size: height and width that images are scaled to.
    num_phrases: P, slots of a prompt in training.
    degenerate: what to do with boxes without width or height: 'refuse' the
      file, or 'drop' them.

  Returns:
    The source.

  Raises:
    ValueError: if files are wrong, or of other categories.
  """
  checks.integer(image_size, name='image_size', low=8)
  checks.integer(num_phrases, name='num_phrases', low=1)
  first = _files.load_coco(train, train_images, degenerate=degenerate)
  second = _files.load_coco(test, test_images, degenerate=degenerate)
  if first.names != second.names:
    other = sorted(set(first.names) ^ set(second.names))
    raise ValueError(
      f'train={train} and test={test} must list the same categories; one of '
      f'them alone has {", ".join(other[:8]) or "another order"}.'
    )
  return CocoSource(first, second, image_size, num_phrases)


SOURCES = registry.Registry('source', {'coco': coco, 'shapes': _scenes.Scenes})


def draw_test_set(
  source: Source, *, num_test: int, batch_size: int = 64
) -> _testing.TestSet:
  """Draws or reads the images to be tested on, always the same.

  Args:
    source: where images come from.
    num_test: n; of files the first, or all if there are fewer.
    batch_size: images in a batch.

  Returns:
    The test set.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> test = draw_test_set(_scenes.Scenes(image_size=16), num_test=3)
    >>> test.batches['inputs'].shape, len(test.names)
    ((1, 3, 16, 16, 3), 24)
  """
  count = checks.integer(num_test, name='num_test', low=1)
  options = {
    'names': source.names,
    'groups': source.groups,
    'batch_size': batch_size,
  }
  if isinstance(source, _scenes.Scenes):
    key = jax.random.key(_TEST_SEED)
    draw = functools.partial(
      _scenes.draw_scenes, scenes=source, batch_size=count, testing=True
    )
    return _testing.make_test_set(jax.jit(draw)(key), **options)
  files = source.test
  places = np.arange(min(count, len(files.pictures)))
  images = _files.read_pictures(
    files,
    places,
    image_size=source.image_size,
    vocabulary=source.vocabulary,
    max_objects=source.max_objects,
  )
  return _testing.make_test_set(
    images,
    sizes=np.array([files.pictures[i].size for i in places], np.float64),
    truth=files.truth(places),
    **options,
  )


def read_batch(
  key: chex.PRNGKey, source: CocoSource, batch_size: int
) -> dict[str, np.ndarray]:
  """Reads training images at random, with replacement, on the host.

  Args:
    key: concrete; consumed.
    source: of files.
    batch_size: B.

  Returns:
    As `read_pictures`.
  """
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
  places = rng.integers(0, len(source.train.pictures), batch_size)
  return source.read(places, rng)
