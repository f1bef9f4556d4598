# SPDX-License-Identifier: Apache-2.0
"""Images with boxes from files of the COCO format."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks, extras
from jaxdl.perception.detection import _precision, _text

DEGENERATE = ('refuse', 'drop')
# A picture of more pixels is none of such a set.
_MAX_PIXELS = 1 << 26
# Longer names, and longer paths, no file system has.
_MAX_NAME, _MAX_PATH = 256, 3000
# Entries, and characters of each, in messages.
_SHOWN, _LONGEST = 8, 60


class Picture(NamedTuple):
  """An image of the set and what is on it.

  Attributes:
    path: of the file.
    size: (width, height) in pixels.
    boxes: f64[n, 4], (x, y, w, h) in pixels, cut to the image.
    categories: i64[n].
    crowd: bool[n], boxes around many; nobody is trained on them.
    areas: f64[n], square pixels.
  """

  path: pathlib.Path
  size: tuple[int, int]
  boxes: np.ndarray
  categories: np.ndarray
  crowd: np.ndarray
  areas: np.ndarray


@dataclasses.dataclass(frozen=True)
class CocoSet:
  """Images with boxes; pixels stay on disk until they are asked for.

  Attributes:
    names: phrases of the C categories, in the order of their ids.
    pictures: one for each image, in the order of the file.
  """

  names: tuple[str, ...]
  pictures: tuple[Picture, ...]

  @property
  def counts(self) -> np.ndarray:
    """i64[C], objects of each category that are no crowd."""
    out = np.zeros(len(self.names), np.int64)
    for picture in self.pictures:
      np.add.at(out, picture.categories[~picture.crowd], 1)
    return out

  @property
  def max_objects(self) -> int:
    """Objects of an image that are no crowd, at most; at least 1."""
    return max([1, *(int((~p.crowd).sum()) for p in self.pictures)])

  def truth(self, places: Sequence[int]) -> _precision.Truth:
    """What is on some images, for `average_precision`.

    Args:
      places: of the images; in the result they are numbered from 0.

    Returns:
      The truth, in pixels of the files.
    """
    chosen = [self.pictures[i] for i in places]
    join = lambda parts: np.concatenate([*parts]) if chosen else np.zeros(0)
    return _precision.Truth(
      join(np.full(len(p.boxes), i) for i, p in enumerate(chosen)),
      join(p.categories for p in chosen),
      join(p.boxes for p in chosen),
      join(p.crowd for p in chosen),
      join(p.areas for p in chosen),
    )


def load_coco(
  annotations: str | os.PathLike[str],
  images: str | os.PathLike[str],
  *,
  degenerate: str = 'refuse',
) -> CocoSet:
  """Reads annotations of the COCO format and finds the images.

  Keys that are read: `images` (id, file_name, width, height), `categories` (id,
  name) and `annotations` (image_id, category_id, bbox and, if there, iscrowd, 0
  or 1, area and id). Boxes are cut to their image.

  Args:
    annotations: the JSON file.
    images: folder of the image files.
    degenerate: what to do with boxes without width or height: 'refuse' the
      file, or 'drop' them.

  Returns:
    The set; pixels are read by `read_pictures`.

  Raises:
    FileNotFoundError: if the file, the folder or an image is missing.
    ValueError: if the file is not of the format, an id is unknown or stands
      twice, a name has no word, a box is degenerate; the message names file and
      entry.

  Source: Lin et al. 2014 (https://arxiv.org/abs/1405.0312), the data format on
    the set's page.
  """
  checks.choice(degenerate, DEGENERATE, name='degenerate')
  path = _existing(annotations)
  folder = pathlib.Path(images)
  if not folder.is_dir():
    raise FileNotFoundError(f'{folder}: expected a folder of images.')
  try:
    content = json.loads(path.read_bytes())
  except (ValueError, RecursionError, OSError) as error:
    reason = ' '.join(str(error).split())[:100]
    raise ValueError(f'{path}: expected JSON, got else ({reason}).') from None
  parts = {
    name: _entries(path, content, name, wanted)
    for name, wanted in (
      ('images', ('id', 'file_name', 'width', 'height')),
      ('categories', ('id', 'name')),
      ('annotations', ('image_id', 'category_id', 'bbox')),
    )
  }
  place = _numbered(path, 'images', parts['images'])
  ordered = sorted(parts['categories'], key=lambda c: str(c['id']).zfill(20))
  number = _numbered(path, 'categories', ordered)
  names = tuple(_name(path, c) for c in ordered)
  _numbered(path, 'annotations', [a for a in parts['annotations'] if 'id' in a])
  rows: list[list[tuple[Any, ...]]] = [[] for _ in place]
  for i, entry in enumerate(parts['annotations']):
    where = f'{path}: annotation {_short(entry.get("id", i))}'
    for key, known in (('image_id', place), ('category_id', number)):
      if not _hashable(entry[key]) or entry[key] not in known:
        raise ValueError(
          f'{where} has {key}={_short(entry[key])}, which is unknown: the file '
          f'lists {_listed(known)}.'
        )
    at = place[entry['image_id']]
    size = parts['images'][at]
    box = _box(where, entry['bbox'], _side(path, size, at))
    if box is None:
      if degenerate == 'drop':
        continue
      raise ValueError(
        f'{where} has the degenerate box {_short(entry["bbox"])}, without '
        'width or height inside its image: correct it, or pass '
        "degenerate='drop'."
      )
    area = _number(entry.get('area', float(box[2] * box[3])))
    if area is None or area < 0:
      raise ValueError(
        f'{where} has area={_short(entry["area"])}: expected a number of at '
        'least 0.'
      )
    crowd = entry.get('iscrowd', 0)
    if not isinstance(crowd, int) or crowd not in (0, 1):
      raise ValueError(f'{where} has iscrowd={_short(crowd)}: expected 0 or 1.')
    rows[at].append((box, number[entry['category_id']], bool(crowd), area))
  pictures = [
    _picture(path, folder, entry, i, rows[i])
    for i, entry in enumerate(parts['images'])
  ]
  if not pictures or not names:
    what = 'images' if not pictures else 'categories'
    raise ValueError(f'{path}: expected some {what}, got none.')
  return CocoSet(names, tuple(pictures))


def read_pictures(
  files: CocoSet,
  places: Sequence[int],
  *,
  image_size: int,
  vocabulary: Sequence[str],
  max_objects: int,
  num_phrases: int | None = None,
  rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
  """Reads images and makes prompts of categories, as `draw_scenes` gives them.

  Images are scaled to a square. A prompt holds the categories that are there
  and, drawn at random, absent ones up to `num_phrases`.

  Args:
    files: of `load_coco`.
    places: of B images.
    image_size: H.
    vocabulary: of `make_vocabulary(files.names)`, or of more names.
    max_objects: M; crowds are no objects.
    num_phrases: P; all categories, in their order, if None.
    rng: draws absent phrases and the order; needed with `num_phrases`.

  Returns:
    'inputs' f32[B, H, H, 3], 'phrases' i32[B, P, W], 'categories' i32[B, P],
    'boxes' f32[B, M, 4], 'labels' i32[B, M], 'present' bool[B, M].

  Raises:
    ValueError: if an image has more objects than M or more categories than P, a
      file is no image, has more than 8 bits a color, or is of another size than
      its entry says.
  """
  table = _text.encode_phrases(files.names, vocabulary)
  num = len(files.names)
  if num_phrases is not None and rng is None:
    raise ValueError('rng is needed with num_phrases: absent ones are drawn.')
  slots = num if num_phrases is None else min(num_phrases, num)
  batch = len(places)
  out = {
    'inputs': np.zeros((batch, image_size, image_size, 3), np.float32),
    'phrases': np.zeros((batch, slots, table.shape[1]), np.int32),
    'categories': np.zeros((batch, slots), np.int32),
    'boxes': np.zeros((batch, max_objects, 4), np.float32),
    'labels': np.zeros((batch, max_objects), np.int32),
    'present': np.zeros((batch, max_objects), bool),
  }
  for i, at in enumerate(places):
    picture = files.pictures[at]
    plain = ~picture.crowd
    kinds = picture.categories[plain]
    if len(kinds) > max_objects:
      raise ValueError(
        f'{picture.path} has {len(kinds)} objects, more than '
        f'max_objects={max_objects}.'
      )
    prompt = np.arange(num)
    if num_phrases is not None and rng is not None:
      there = np.unique(kinds)
      if len(there) > slots:
        raise ValueError(
          f'{picture.path} has {len(there)} categories, more than the {slots} '
          'slots of a prompt (num_phrases).'
        )
      absent = rng.permutation(np.setdiff1d(prompt, there))
      prompt = rng.permutation([*there, *absent[: slots - len(there)]])
    spot = np.zeros(num, np.int64)
    spot[prompt] = np.arange(slots)
    x, y, w, h = picture.boxes[plain].T
    wide, high = picture.size
    boxes = np.stack(
      [(x + w / 2) / wide, (y + h / 2) / high, w / wide, h / high], axis=1
    )
    out['inputs'][i] = _pixels(picture, image_size)
    out['phrases'][i], out['categories'][i] = table[prompt], prompt
    out['boxes'][i, : len(kinds)] = boxes
    out['labels'][i, : len(kinds)] = spot[kinds]
    out['present'][i, : len(kinds)] = True
  return out


def _existing(path):
  path = pathlib.Path(path)
  if not path.is_file():
    got = 'a folder' if path.is_dir() else 'nothing'
    raise FileNotFoundError(f'{path}: expected a file, got {got}.')
  return path


def _short(value):
  """A value for messages; files may hold any length of text."""
  shown = repr(value)
  return shown if len(shown) <= _LONGEST else f'{shown[:_LONGEST]} ...'


def _number(value):
  """A finite float, or None."""
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    return None
  try:
    value = float(value)
  except OverflowError:
    return None
  return value if math.isfinite(value) else None


def _name(path, entry):
  """The name of a category, with something to ask for."""
  name = entry['name']
  if not _hashable(name) or not _text.has_word(str(name)):
    raise ValueError(
      f'{path}: category {_short(entry["id"])} has name={_short(name)}: '
      'expected a text with a word.'
    )
  return str(name)


def _listed(names):
  shown = [_short(n) for n in list(names)[:_SHOWN]]
  more = len(names) - len(shown)
  return (', '.join(shown) or 'none') + (f' and {more} more' if more else '')


def _hashable(value):
  return isinstance(value, (int, str))


def _entries(path, content, name, wanted):
  """A list of dicts that have the keys."""
  if not isinstance(content, dict) or not isinstance(content.get(name), list):
    raise ValueError(f'{path}: expected a list {name!r}, got none.')
  for i, entry in enumerate(content[name]):
    missing = [
      k for k in wanted if not isinstance(entry, dict) or k not in entry
    ]
    if missing:
      raise ValueError(
        f'{path}: entry {i} of {name!r} has no {", ".join(missing)}.'
      )
  return content[name]


def _numbered(path, name, entries):
  """Places by id."""
  out = {}
  for i, entry in enumerate(entries):
    if not _hashable(entry['id']):
      raise ValueError(f'{path}: entry {i} of {name!r} has a strange id.')
    if entry['id'] in out:
      raise ValueError(
        f'{path}: id {_short(entry["id"])} stands twice in {name!r}.'
      )
    out[entry['id']] = i
  return out


def _side(path, entry, place):
  sides = []
  for name in ('width', 'height'):
    value = entry[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
      raise ValueError(
        f'{path}: image {_short(entry["id"])} has {name}={_short(value)}: '
        'expected a positive whole number.'
      )
    sides.append(value)
  if sides[0] * sides[1] > _MAX_PIXELS:
    raise ValueError(
      f'{path}: image {_short(entry["id"])} has {sides[0]} x {sides[1]} '
      f'pixels, more than {_MAX_PIXELS}.'
    )
  return tuple(sides)


def _box(where, value, size):
  """A box cut to its image, or None if nothing is left."""
  good = isinstance(value, list) and len(value) == 4
  numbers = [_number(v) for v in value] if good else [None]
  if None in numbers:
    raise ValueError(
      f'{where} has bbox={_short(value)}: expected four numbers, x, y, width '
      'and height.'
    )
  box = np.array(numbers, np.float64)
  low = np.clip(box[:2], 0, size)
  # Halves do not overflow.
  high = 2 * np.clip(box[:2] / 2 + box[2:] / 2, 0, np.array(size) / 2)
  if (box[2:] <= 0).any() or (high <= low).any():
    return None
  return np.concatenate([low, high - low])


def _is_inside(name):
  """Whether a name can be that of a file in a folder or below."""
  if not isinstance(name, str) or '\0' in name:
    return False
  path = pathlib.PurePosixPath(name)
  sizes = [len(p.encode(errors='surrogatepass')) for p in path.parts]
  fits = bool(sizes) and max(sizes) < _MAX_NAME and len(name) < _MAX_PATH
  return fits and not path.is_absolute() and '..' not in path.parts


def _picture(path, folder, entry, place, rows):
  size = _side(path, entry, place)
  text = entry['file_name']
  if not _is_inside(text):
    raise ValueError(
      f'{path}: image {_short(entry["id"])} has file_name={_short(text)}: '
      'expected a name inside of the folder.'
    )
  boxes, kinds, crowd, areas = zip(*rows, strict=True) if rows else [()] * 4
  return Picture(
    _existing(folder / text),
    size,
    np.array(boxes, np.float64).reshape(-1, 4),
    np.array(kinds, np.int64),
    np.array(crowd, bool),
    np.array(areas, np.float64),
  )


def _pixels(picture, size):
  """One image in [0, 1], f32[H, H, 3]."""
  image_lib = extras.require('PIL.Image', 'reading images')
  try:
    with image_lib.open(picture.path) as image:
      if image.size != picture.size:
        raise ValueError(
          f'{image.size[0]} x {image.size[1]} pixels where the annotations say '
          f'{picture.size[0]} x {picture.size[1]}'
        )
      if image.mode[0] in 'IF':
        # What has more than 8 bits would be cut off at white.
        raise ValueError(f'pixels of mode {image.mode}, expected 8 bits each')
      square = image.convert('RGB').resize(
        (size, size), image_lib.Resampling.BILINEAR
      )
      return np.asarray(square, np.float32) / np.float32(255)
  except FileNotFoundError:
    raise
  # Readers of damaged images raise nearly anything.
  except Exception as error:
    reason = ' '.join(str(error).split())[:100] or type(error).__name__
    raise ValueError(f'{picture.path}: no usable image ({reason}).') from None
