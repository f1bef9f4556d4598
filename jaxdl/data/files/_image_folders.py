# SPDX-License-Identifier: Apache-2.0
"""Few-shot sets of image files: Omniglot's folders, mini-ImageNet's tables."""

import csv
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset
from jaxdl.data.files import _bounded, _limits, _reading

_PARTS = ('images_background', 'images_evaluation')
_SPLITS = ('train', 'val', 'test')
# A picture of more pixels is no picture of these sets.
_MAX_PIXELS = 1 << 24


def load_omniglot(
  data_dir: str | os.PathLike[str],
  *,
  size: int = 28,
  test_per_class: int = 5,
  max_bytes: int = _limits.MAX_BYTES,
) -> _dataset.Dataset:
  """Loads Omniglot, `images_background|images_evaluation/alphabet/character`.

  Classes are characters in the order of parts, alphabets and characters: with
  the real files the 964 of `images_background`, then the 659 of
  `images_evaluation`. Strokes are one and paper is zero; images are scaled down
  by averaging. The last examples of a class, by file name, are its test part.
  Needs Pillow (with matplotlib).

  Args:
    data_dir: folder that holds one part or both.
    size: height and width of the images.
    test_per_class: test examples of each class.
    max_bytes: most bytes of the images in memory.

  Returns:
    The data set, inputs f32[n, size, size, 1], sorted by class.

  Raises:
    FileNotFoundError: if a folder is missing.
    ValueError: if there is no character, a character has too few images or a
      file is no image; names it.

  Source: Lake et al. 2015 (https://doi.org/10.1126/science.aab3050).
  """
  size = checks.integer(size, name='size', low=1, high=4096)
  root = pathlib.Path(data_dir)
  if not root.is_dir():
    raise FileNotFoundError(
      f'{root}: expected a folder that holds {_PARTS[0]}, got '
      f'{"a file" if root.exists() else "nothing"}.'
    )
  parts = [root / part for part in _PARTS if (root / part).is_dir()]
  if not parts:
    raise FileNotFoundError(
      f'{root / _PARTS[0]}: expected this folder, got nothing (looked for '
      f'{" or ".join(_PARTS)}).'
    )
  classes = []
  for part in parts:
    for alphabet in _folders(part):
      for character in _folders(alphabet):
        found = sorted(character.glob('*.png'))
        if not found:
          raise _reading.problem(character, 'images *.png', 'none')
        classes.append((character, found))
  if not classes:
    raise _reading.problem(parts[0], 'folders alphabet/character', 'none')
  read = lambda path: 1.0 - _pixels(path, size, 'L')
  return _split(
    classes, read, (size, size, 1), test_per_class, 'omniglot', root, max_bytes
  )


def load_mini_imagenet(
  data_dir: str | os.PathLike[str],
  *,
  size: int = 84,
  test_per_class: int = 100,
  max_bytes: int = _limits.MAX_BYTES,
) -> _dataset.Dataset:
  """Loads mini-ImageNet from tables of file names and labels.

  Reads `train.csv`, `val.csv` and `test.csv` (those that are there), with the
  columns `filename` and `label`, and the images from `images/` or `data_dir`
  itself. Classes are numbered by table, then by first appearance: with the
  usual tables 64, 16 and 20. Pixels are in [0, 1]. The last examples of a
  class in its table are its test part. Needs Pillow (with matplotlib).

  Args:
    data_dir: folder of the tables.
    size: height and width of the images.
    test_per_class: test examples of each class.
    max_bytes: most bytes of the images in memory: the whole set at 84 x 84
      takes 5.1e9.

  Returns:
    The data set, inputs f32[n, size, size, 3], sorted by class.

  Raises:
    FileNotFoundError: if tables or images are missing.
    ValueError: if a table has no such columns, names a file outside of the
      folder, a class has too few images or a file is no image; names it.

  Source: Vinyals et al. 2016 (https://arxiv.org/abs/1606.04080), in the tables
  of Ravi and Larochelle 2017 (https://openreview.net/forum?id=rJY0-Kcll).
  """
  size = checks.integer(size, name='size', low=1, high=4096)
  root = pathlib.Path(data_dir)
  tables = [root / f'{s}.csv' for s in _SPLITS if (root / f'{s}.csv').is_file()]
  if not tables:
    tables = [_reading.find(root, [f'{s}.csv' for s in _SPLITS])]
  folder = root / 'images' if (root / 'images').is_dir() else root
  classes: list[tuple[Any, list[pathlib.Path]]] = []
  for table in tables:
    own: dict[str, list[pathlib.Path]] = {}
    for name, label in _lines(table):
      if pathlib.PurePath(name).name != name:
        raise _reading.problem(
          table, 'names of files without folders', repr(_limits.short(name))
        )
      own.setdefault(label, []).append(folder / name)
    classes += [
      (f'{table} [{_limits.short(label, 40)}]', paths)
      for label, paths in own.items()
    ]
  read = lambda path: _pixels(path, size, 'RGB')
  return _split(
    classes,
    read,
    (size, size, 3),
    test_per_class,
    'mini_imagenet',
    root,
    max_bytes,
  )


def _folders(path):
  return sorted(p for p in path.iterdir() if p.is_dir())


def _lines(table):
  """Pairs (filename, label) of a table."""
  content = _reading.read_bytes(table)
  with _bounded.reading(table, 'CSV'):
    rows = list(csv.reader(content.decode('utf-8').splitlines()))
  head = [name.strip() for name in rows[0]] if rows else []
  for column in ('filename', 'label'):
    if column not in head:
      raise _reading.problem(
        table,
        f'the column {column!r}',
        f'the columns {_limits.listed(head) or "of an empty table"}',
      )
  places = [head.index(c) for c in ('filename', 'label')]
  found = []
  for number, row in enumerate(rows[1:], start=2):
    if not row:
      continue
    if len(row) <= max(places):
      raise _reading.problem(
        f'{table} line {number}', f'{len(head)} columns', f'{len(row)}'
      )
    found.append(tuple(row[p].strip() for p in places))
  if not found:
    raise _reading.problem(table, 'at least one line', 'none')
  return found


def _pixels(path, size, mode):
  """One image in [0, 1], f32[size, size, C]."""
  image_lib = _reading.require('PIL.Image', purpose='reading images')
  path = _reading.existing(path)
  with _bounded.reading(path, 'image'), image_lib.open(path) as image:
    width, height = image.size
    if width * height > _MAX_PIXELS:
      raise _reading.problem(
        path, f'at most {_MAX_PIXELS} pixels', f'{width} x {height}'
      )
    gray = image.convert(mode)
    if gray.size != (size, size):
      gray = gray.resize((size, size), image_lib.Resampling.BOX)
    pixels = np.asarray(gray, np.float32) / np.float32(255)
  return pixels.reshape(size, size, -1)


def _split(
  classes: Sequence[tuple[Any, list[pathlib.Path]]],
  read,
  shape,
  test_per_class,
  name,
  root,
  max_bytes,
) -> _dataset.Dataset:
  """Reads all images, the last of every class for tests."""
  held = checks.integer(test_per_class, name='test_per_class', low=1)
  checks.integer(max_bytes, name='max_bytes', low=1)
  for where, paths in classes:
    if len(paths) <= held:
      raise _reading.problem(
        where, f'more than test_per_class={held} images', str(len(paths))
      )
  total = sum(len(paths) for _, paths in classes)
  needed = 4 * total * int(np.prod(shape))
  if needed > max_bytes:
    raise _limits.FileError(
      f'{root}: {total} images of shape {shape} take {needed} bytes, more than '
      f'{max_bytes}: pass a smaller size, or a larger max_bytes.'
    )
  arrays = []
  for part in (slice(None, -held), slice(-held, None)):
    chosen = [(k, p) for k, (_, ps) in enumerate(classes) for p in ps[part]]
    inputs = np.empty((len(chosen), *shape), np.float32)
    for i, (_, path) in enumerate(chosen):
      inputs[i] = read(path)
    arrays += [inputs, np.array([k for k, _ in chosen], np.int32)]
  return _dataset.Dataset(*arrays, num_classes=len(classes), name=name)
