# SPDX-License-Identifier: Apache-2.0
"""Reading local files: one clear sentence when something is wrong."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.core import extras
from jaxdl.data.files import _bounded, _limits

require = extras.require


def problem(path: Any, expected: str, got: str) -> _limits.FileError:
  """Returns the error that every loader raises for a bad file.

  Args:
    path: the file.
    expected: what should have been there.
    got: what was there.

  Returns:
    A ValueError to raise.
  """
  return _limits.FileError(f'{path}: expected {expected}, got {got}.')


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
    FileError: if the system cannot look for such a name.
  """
  path = pathlib.Path(path)
  try:
    os.stat(path)
  except (FileNotFoundError, NotADirectoryError):
    pass
  except (OSError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise problem(
      path.parent / _limits.short(path.name, 40),
      'a file',
      f'an error of the system ({reason})',
    ) from None
  if not path.is_file():
    raise FileNotFoundError(
      f'{path}: expected a file, got '
      f'{"a folder" if path.is_dir() else "nothing"}.'
    )
  return path


def read_bytes(path: str | os.PathLike[str]) -> bytes:
  """Reads a file.

  Args:
    path: the file.

  Returns:
    Its content.

  Raises:
    FileNotFoundError: if it is missing.
    FileError: if it cannot be read.
  """
  path = existing(path)
  with _bounded.reading(path, 'plain'):
    return path.read_bytes()


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
  try:
    labels = np.asarray(labels)
  except (ValueError, OverflowError, RecursionError):
    raise problem(
      path, 'a 1-D array of integer labels', 'ragged ones'
    ) from None
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


def as_float32(path: Any, values: np.ndarray) -> np.ndarray:
  """Converts numbers, refusing those that float32 cannot hold.

  Args:
    path: where they come from, for the message.
    values: numbers.

  Returns:
    f32 array; NaN and infinity stay what they are.

  Raises:
    FileError: if a finite number becomes infinite.
  """
  with np.errstate(over='ignore'):
    out = values.astype(np.float32)
  if values.dtype.kind == 'f' and values.dtype.itemsize > 4:
    lost = np.isinf(out) & np.isfinite(values)
    if lost.any():
      raise problem(
        path, 'numbers that float32 can hold', _limits.short(values[lost][0])
      )
  return out


def num_classes_of(labels: Sequence[np.ndarray]) -> int:
  """Counts classes as one more than the largest label seen.

  Args:
    labels: integer arrays.

  Returns:
    K >= 1.
  """
  return 1 + max((int(y.max()) for y in labels if y.size), default=0)
