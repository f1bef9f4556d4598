# SPDX-License-Identifier: Apache-2.0
"""Files that nobody vouches for: bounded memory and one sentence of complaint.

Every loader reads through this module. What a file unpacks to is charged to a
`Budget` before it is allocated, and whatever a reader of another library raises
becomes a `FileError` that names the file.
"""

import contextlib
import gzip
import io
import math
import os
import pathlib
import reprlib
import zipfile
import zlib
from collections.abc import Generator, Iterable
from typing import IO, Any

import numpy as np

from jaxdl.core import checks

# Most bytes that a file may unpack to, unless it is larger itself. Compression,
# fill values and repeated parts let a small file declare arrays of any size;
# `max_bytes` of the loaders overrides this.
MAX_BYTES = 2**31
_CHUNK = 2**20
_HEAD = 2**14


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


@contextlib.contextmanager
def reading(path: Any, kind: str) -> Generator[None]:
  """Turns whatever the reader of a format raises into one `FileError`.

  Readers of damaged files raise nearly anything (struct.error, SyntaxError,
  RecursionError, MemoryError, RuntimeError, ...), so this is the one place
  that catches everything.

  Args:
    path: the file.
    kind: the format, as in 'a readable HDF5 file'.

  Yields:
    None.

  Raises:
    FileError: instead of any exception but ImportError, with one sentence.
  """
  try:
    yield
  except (FileError, ImportError):
    raise
  except Exception as error:
    reason = short(str(error)).rstrip('.') or type(error).__name__
    raise FileError(
      f'{path}: not a readable {kind} file, perhaps truncated or corrupt '
      f'({reason}): fetch it again.'
    ) from None


@contextlib.contextmanager
def unpacked(path: pathlib.Path) -> Generator[Any]:
  """Opens a file, decompressing it if its name ends in `.gz`.

  Args:
    path: an existing file.

  Yields:
    A stream, to be read in bounded parts with `read_exactly`.

  Raises:
    FileError: if the gzip stream is truncated or corrupt.
  """
  if path.suffix != '.gz':
    with reading(path, 'plain'), open(path, 'rb') as stream:
      yield stream
    return
  try:
    with gzip.open(path, 'rb') as stream:
      yield stream
  except EOFError:
    raise FileError(
      f'{path}: expected a complete gzip stream, got a truncated one.'
    ) from None
  except (OSError, zlib.error) as error:
    raise FileError(
      f'{path}: expected a gzip stream, got something else '
      f'({short(str(error)).rstrip(".")}).'
    ) from None


def read_up_to(stream: IO[bytes], num_bytes: int) -> bytearray:
  """Reads at most so many bytes, growing with what is really there.

  Args:
    stream: a binary stream.
    num_bytes: most bytes to read; nothing is allocated for bytes that the
      stream does not hold.

  Returns:
    The bytes, fewer at the end of the stream.
  """
  out = bytearray()
  while len(out) < num_bytes:
    part = stream.read(min(_CHUNK, num_bytes - len(out)))
    if not part:
      break
    out += part
  return out


def inflate(
  content: bytes, limit: int, *, budget: Budget | None = None, what: str = ''
) -> bytes:
  """Decompresses one zlib stream whose size nobody has declared.

  Args:
    content: the stream.
    limit: most bytes it may unpack to.
    budget: charged with the result.
    what: the subject of the message.

  Returns:
    The content.

  Raises:
    FileError: if it is over the budget.
    ValueError: if it is over the limit, or incomplete.
    zlib.error: if it is corrupt.
  """
  machine = zlib.decompressobj()
  cap = limit if budget is None else min(limit, budget.left)
  out = machine.decompress(content, cap + 1)
  if budget is not None:
    budget.take(len(out), what)
  if len(out) > limit:
    raise ValueError(f'a stream that unpacks to more than {limit} bytes')
  if not machine.eof:
    raise ValueError('an incomplete zlib stream')
  return out


def npy_header(
  head: bytes,
) -> tuple[tuple[int, ...], bool, np.dtype, int]:
  """Decodes the beginning of a .npy file.

  Args:
    head: its first bytes.

  Returns:
    `(shape, fortran_order, dtype, offset of the data)`.

  Raises:
    Exception: of many kinds, if it is broken.
  """
  stream = io.BytesIO(head)
  version = np.lib.format.read_magic(stream)
  if version not in ((1, 0), (2, 0)):
    raise ValueError(f'version {version} of the .npy format')
  read = (
    np.lib.format.read_array_header_1_0
    if version == (1, 0)
    else np.lib.format.read_array_header_2_0
  )
  shape, fortran, dtype = read(stream)
  if len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
    raise ValueError(f'an array of shape {short(shape)}')
  return shape, fortran, dtype, stream.tell()


def npy_shape(
  path: pathlib.Path,
) -> tuple[tuple[int, ...], bool, np.dtype, int]:
  """Decodes the header of a .npy file.

  Args:
    path: an existing file.

  Returns:
    What `npy_header` returns.

  Raises:
    Exception: of many kinds, if it is broken.
  """
  with open(path, 'rb') as stream:
    return npy_header(stream.read(_HEAD))


class Archive:
  """The arrays of a .npz file, read within a budget."""

  def __init__(self, path: pathlib.Path, stream: IO[bytes], budget: Budget):
    self._path = path
    self._budget = budget
    head = stream.read(len(np.lib.format.MAGIC_PREFIX))
    if head == np.lib.format.MAGIC_PREFIX:
      raise FileError(f'{path}: expected an .npz archive, got a single array.')
    self._zip = zipfile.ZipFile(stream)
    self._members = {}
    for info in self._zip.infolist():
      name = info.filename.removesuffix('.npy')
      if name in self._members:
        raise FileError(
          f'{path} [{short(name)}]: expected every name once, got it twice.'
        )
      self._members[name] = info

  @property
  def names(self) -> list[str]:
    """Names of the members, without `.npy`."""
    return list(self._members)

  def read(self, name: str, *, objects: bool = False) -> np.ndarray:
    """Reads one array.

    Args:
      name: a member.
      objects: whether arrays of arrays are read, without running anything.

    Returns:
      The array, in native byte order.

    Raises:
      FileError: if it is broken, over the budget or no plain array.
    """
    where = f'{self._path} [{short(name)}]'
    info = self._members[name]
    if info.flag_bits & 1:
      raise FileError(f'{where}: expected a plain array, got encrypted bytes.')
    # Others unpack a few kilobytes to gigabytes in one call.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
      raise FileError(
        f'{where}: expected a stored or deflated member, got compression '
        f'method {info.compress_type}.'
      )
    try:
      with self._zip.open(info) as stream:
        return self._array(where, stream, objects)
    except FileError:
      raise
    except Exception as error:
      raise FileError(
        f'{where}: expected a plain array, got truncated or corrupt bytes '
        f'({short(str(error)).rstrip(".") or type(error).__name__}).'
      ) from None

  def _array(self, where, stream, objects) -> np.ndarray:
    head = bytes(read_up_to(stream, _HEAD))
    if head[:6] != np.lib.format.MAGIC_PREFIX:
      raise FileError(f'{where}: expected a plain array, got no .npy header.')
    shape, fortran, dtype, offset = npy_header(head)
    if dtype.kind == 'O':
      if not objects:
        raise FileError(
          f'{where}: expected a plain array, got a pickled object array.'
        )
      return self._objects(head[offset:], stream)
    if dtype.kind not in 'biufc':
      raise FileError(f'{where}: expected numbers, got dtype {short(dtype)}.')
    size = math.prod(shape) * dtype.itemsize
    self._budget.take(size, f'{short(repr(tuple(shape)))} {dtype}')
    content = bytearray(head[offset:])
    content += read_up_to(stream, size + 1 - len(content))
    if len(content) != size:
      raise FileError(
        f'{where}: expected {size} bytes for shape {shape}, got '
        f'{"more" if len(content) > size else len(content)}.'
      )
    array = np.frombuffer(content, dtype)
    array = array.reshape(shape, order='F' if fortran else 'C')
    return array.astype(dtype.newbyteorder('='), copy=False)

  def _objects(self, head, stream) -> np.ndarray:
    from jaxdl.data.files import _unpickle

    content = bytearray(head)
    content += read_up_to(stream, self._budget.left + 1 - len(content))
    self._budget.take(len(content), 'a pickled array')
    array = _unpickle.loads(bytes(content), self._budget, objects=True)
    if not isinstance(array, np.ndarray):
      raise ValueError(f'a pickle of {type(array).__name__}')
    return array


@contextlib.contextmanager
def archive(
  path: pathlib.Path, max_bytes: int = MAX_BYTES
) -> Generator[Archive]:
  """Opens a .npz file.

  Args:
    path: an existing file.
    max_bytes: what its arrays may take in all, see `MAX_BYTES`.

  Yields:
    The archive.

  Raises:
    FileError: instead of anything that goes wrong inside.
  """
  budget = Budget(path, max_bytes)
  with reading(path, '.npz'), open(path, 'rb') as stream:
    yield Archive(path, stream, budget)
