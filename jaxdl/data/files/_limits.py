# SPDX-License-Identifier: Apache-2.0
"""What a file may take, and the one complaint about it."""

import os
import reprlib
from collections.abc import Iterable
from typing import Any

from jaxdl.core import checks

# Most bytes that a file may unpack to, unless it is larger itself. Compression,
# fill values and repeated parts let a small file declare arrays of any size;
# `max_bytes` of the loaders overrides this.
MAX_BYTES = 2**31


class FileError(ValueError):
  """A file that is missing, broken or not in the expected layout."""


class Budget:
  """How many bytes one file may still unpack to.

  Attributes:
    path: the file, for messages.
    limit: bytes that may be charged in all.
    left: bytes that are left.
  """

  def __init__(self, path: Any, max_bytes: int = MAX_BYTES):
    max_bytes = checks.integer(max_bytes, name='max_bytes', low=1)
    self.path = path
    self.limit = max(max_bytes, os.path.getsize(path))
    self.left = self.limit

  def take(self, num_bytes: int, what: str) -> None:
    """Charges bytes that are about to be allocated.

    Args:
      num_bytes: how many.
      what: what they are for, the subject of the message.

    Raises:
      FileError: if they exceed what is left.
    """
    if num_bytes > self.left:
      raise FileError(
        f'{self.path}: {what} takes {num_bytes} bytes where at most '
        f'{self.left} of {self.limit} are left: pass a larger max_bytes if you '
        'trust the file.'
      )
    self.left -= num_bytes


def short(value: Any, limit: int = 120) -> str:
  """Returns one printable line of bounded length.

  Args:
    value: a string, shown as it is, or anything else, abbreviated.
    limit: most characters.

  Returns:
    Text for a message.

  Example:
    >>> short('a' * 200, limit=8)
    'aaaaa...'
  """
  text = value if isinstance(value, str) else reprlib.repr(value)
  text = ' '.join(text[: 4 * limit].split())
  text = ''.join(c if c.isprintable() else repr(c)[1:-1] for c in text)
  return text if len(text) <= limit else text[: limit - 3] + '...'


def listed(names: Iterable[Any], limit: int = 12) -> str:
  """Returns names for a message, the first few in order.

  Args:
    names: strings, or what is shown as such.
    limit: most names.

  Returns:
    Comma-separated names.
  """
  names = sorted(short(str(name), 40) for name in names)
  more = len(names) - limit
  return ', '.join(names[:limit]) + (f' and {more} more' if more > 0 else '')
