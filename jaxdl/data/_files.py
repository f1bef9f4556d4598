# SPDX-License-Identifier: Apache-2.0
"""Reading local files: one clear sentence when something is wrong."""

import gzip
import os
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.core import extras

require = extras.require


def problem(path: Any, expected: str, got: str) -> ValueError:
  """Returns the error that every loader raises for a bad file.

  Args:
    path: the file.
    expected: what should have been there.
    got: what was there.

  Returns:
    A ValueError to raise.
  """
  return ValueError(f'{path}: expected {expected}, got {got}.')


def find(
  data_dir: str | os.PathLike[str],
  names: Sequence[str],
  folders: Sequence[str] = ('',),
) -> pathlib.Path:
  """Finds the first existing file of a list of spellings.

  Args:
    data_dir: where to look.
    names: accepted file names, best first.
    folders: accepted folders below `data_dir`, best first.

  Returns:
    The path.

  Raises:
    FileNotFoundError: if the folder or all of the files are missing.
  """
  root = pathlib.Path(data_dir)
  if not root.is_dir():
    raise FileNotFoundError(
      f'{root}: expected a folder that holds {names[0]}, got '
      f'{"a file" if root.exists() else "nothing"}.'
    )
  for folder in folders:
    for name in names:
      path = root / folder / name
      if path.is_file():
        return path
  places = ', '.join(str(root / folder) for folder in folders)
  raise FileNotFoundError(
    f'{root / folders[0] / names[0]}: expected this file, got nothing (looked '
    f'for {" or ".join(names)} in {places}).'
  )


def existing(path: str | os.PathLike[str]) -> pathlib.Path:
  """Checks that a file exists.

  Args:
    path: the file.

  Returns:
    Its path.

  Raises:
    FileNotFoundError: if it does not exist or is a folder.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(
      f'{path}: expected a file, got '
      f'{"a folder" if path.is_dir() else "nothing"}.'
    )
  return path


def read_bytes(path: str | os.PathLike[str]) -> bytes:
  """Reads a file, unpacking it if its name ends in `.gz`.

  Args:
    path: the file.

  Returns:
    Its (unpacked) content.

  Raises:
    FileNotFoundError: if it is missing.
    ValueError: if the gzip stream is truncated or corrupt.
  """
  path = existing(path)
  content = path.read_bytes()
  if path.suffix != '.gz':
    return content
  try:
    return gzip.decompress(content)
  except EOFError:
    raise problem(path, 'a complete gzip stream', 'a truncated one') from None
  except (gzip.BadGzipFile, zlib.error) as error:
    raise problem(
      path, 'a gzip stream', f'something else ({str(error).rstrip(".")})'
    ) from None


def label_array(path: Any, labels: Any, num_classes: int | None) -> np.ndarray:
  """Checks class labels and returns them as i32.

  Args:
    path: where they come from (may name a client too), for the message.
    labels: 1-D integers.
    num_classes: upper bound, None to accept any.

  Returns:
    i32[n].

  Raises:
    ValueError: if they are not 1-D integers in `[0, num_classes)`.
  """
  labels = np.asarray(labels)
  if labels.ndim != 1 or (labels.size and labels.dtype.kind not in 'iu'):
    raise problem(
      path,
      'a 1-D array of integer labels',
      f'shape {labels.shape} and dtype {labels.dtype}',
    )
  if labels.size:
    low, high = int(labels.min()), int(labels.max())
    top = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    if low < 0 or high > top:
      raise problem(path, f'labels in 0..{top}', f'labels in {low}..{high}')
  return labels.astype(np.int32)


def same_length(path: Any, inputs: Any, labels: Any) -> None:
  """Checks that there is one label per input.

  Args:
    path: where they come from (may name a client too), for the message.
    inputs: anything with a length.
    labels: anything with a length.

  Raises:
    ValueError: if the lengths differ.
  """
  if len(inputs) != len(labels):
    raise problem(
      path,
      'as many labels as inputs',
      f'{len(inputs)} inputs and {len(labels)} labels',
    )


def num_classes_of(labels: Sequence[np.ndarray]) -> int:
  """Counts classes as one more than the largest label seen.

  Args:
    labels: integer arrays.

  Returns:
    K >= 1.
  """
  return 1 + max((int(y.max()) for y in labels if y.size), default=0)
