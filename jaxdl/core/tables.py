# SPDX-License-Identifier: Apache-2.0
"""Small tables that people write by hand or export: matrices and CSV.

Messages say the line; the file is named by who asked for it.
"""

import csv
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxdl.core import checks


def load_matrix(
  path: str | os.PathLike[str], *, kinds: str = 'iuf'
) -> np.ndarray:
  r"""Reads a matrix, a row per line.

  Args:
    path: `.npy`; or text, numbers separated by commas, or by spaces where a
      line has no comma. Empty lines do not count.
    kinds: of dtypes of `.npy`, see `numpy.dtype.kind`.

  Returns:
    The array of a `.npy`, of any shape; of text f64[R, C], R >= 1, C >= 1.

  Raises:
    ValueError: if the file is missing, holds something else, or lines differ in
      length; the message says the line and does not name the file.

  Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile('w', suffix='.csv') as file:
    ...   _ = file.write('1, 2.5\n\n3, 4\n')
    ...   file.flush()
    ...   load_matrix(file.name).tolist()
    [[1.0, 2.5], [3.0, 4.0]]
  """
  path = pathlib.Path(path)
  if path.suffix == '.npy':
    return checks.load_npy(path, kinds=kinds)
  try:
    lines = path.read_text('utf-8-sig').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'no text can be read: {error}') from None
  rows, first = [], 0
  for number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    fields = line.split(',') if ',' in line else line.split()
    rows.append([_number(field, number) for field in fields])
    first = first or number
    if len(rows[-1]) != len(rows[0]):
      raise ValueError(
        f'line {number} has {len(rows[-1])} numbers, line {first} has '
        f'{len(rows[0])}.'
      )
  if not rows:
    raise ValueError('it holds no numbers.')
  return np.array(rows)


def _number(text: str, line: int) -> float:
  try:
    return float(text)
  except ValueError:
    raise ValueError(f'line {line}: {text.strip()!r} is no number.') from None


def load_columns(
  path: str | os.PathLike[str], columns: Sequence[str]
) -> tuple[tuple[str, ...], list[tuple[int, dict[str, str]]]]:
  r"""Reads a CSV with a header.

  Args:
    path: of the file.
    columns: names that it may have, in any order.

  Returns:
    The names that it has, and its rows: the line that each ends at, and its
    fields by name, without white space around them. Empty lines do not count.

  Raises:
    ValueError: if the file is missing or no CSV, a name is unknown or there
      twice, or a row has more or fewer fields than the header; the message says
      the line and does not name the file.

  Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile('w', suffix='.csv') as file:
    ...   _ = file.write('speed,name\n\n3, a\n')
    ...   file.flush()
    ...   load_columns(file.name, ('name', 'speed'))
    (('speed', 'name'), [(3, {'speed': '3', 'name': 'a'})])
  """
  try:
    with pathlib.Path(path).open(newline='', encoding='utf-8-sig') as file:
      reader = csv.reader(file, strict=True)
      lines = [
        (reader.line_num, [field.strip() for field in row])
        for row in reader
        if any(field.strip() for field in row) or len(row) > 1
      ]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f'no CSV can be read: {error}') from None
  names = tuple(lines[0][1]) if lines else ()
  for name in names:
    checks.choice(name, tuple(columns), name='column')
    if names.count(name) > 1:
      raise ValueError(f'the column {name} is there {names.count(name)} times.')
  rows = []
  for line, fields in lines[1:]:
    if len(fields) != len(names):
      raise ValueError(
        f'line {line} has {len(fields)} fields, the header has {len(names)}.'
      )
    rows.append((line, dict(zip(names, fields, strict=True))))
  return names, rows
