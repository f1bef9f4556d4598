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
import pathlib
import zipfile
import zlib
from collections.abc import Generator
from typing import IO, Any

import numpy as np

from jaxdl.data.files import _limits, _unpickle

_CHUNK = 2**20
_HEAD = 2**14


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
  except (_limits.FileError, ImportError):
    raise
  except Exception as error:
    reason = _limits.short(str(error)).rstrip('.') or type(error).__name__
    raise _limits.FileError(
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
    raise _limits.FileError(
      f'{path}: expected a complete gzip stream, got a truncated one.'
    ) from None
  except (OSError, zlib.error) as error:
    raise _limits.FileError(
      f'{path}: expected a gzip stream, got something else '
      f'({_limits.short(str(error)).rstrip(".")}).'
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
  content: bytes,
  limit: int,
  *,
  budget: _limits.Budget | None = None,
  what: str = '',
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
    raise ValueError(f'an array of shape {_limits.short(shape)}')
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

  def __init__(
    self, path: pathlib.Path, stream: IO[bytes], budget: _limits.Budget
  ):
    self._path = path
    self._budget = budget
    head = stream.read(len(np.lib.format.MAGIC_PREFIX))
    if head == np.lib.format.MAGIC_PREFIX:
      raise _limits.FileError(
        f'{path}: expected an .npz archive, got a single array.'
      )
    self._zip = zipfile.ZipFile(stream)
    self._members = {}
    for info in self._zip.infolist():
      name = info.filename.removesuffix('.npy')
      if name in self._members:
        raise _limits.FileError(
          f'{path} [{_limits.short(name)}]: expected every name once, got it '
          'twice.'
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
    where = f'{self._path} [{_limits.short(name)}]'
    info = self._members[name]
    if info.flag_bits & 1:
      raise _limits.FileError(
        f'{where}: expected a plain array, got encrypted bytes.'
      )
    # Others unpack a few kilobytes to gigabytes in one call.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
      raise _limits.FileError(
        f'{where}: expected a stored or deflated member, got compression '
        f'method {info.compress_type}.'
      )
    try:
      with self._zip.open(info) as stream:
        return self._array(where, stream, objects)
    except _limits.FileError:
      raise
    except Exception as error:
      raise _limits.FileError(
        f'{where}: expected a plain array, got truncated or corrupt bytes '
        f'({_limits.short(str(error)).rstrip(".") or type(error).__name__}).'
      ) from None

  def _array(self, where, stream, objects) -> np.ndarray:
    head = bytes(read_up_to(stream, _HEAD))
    if head[:6] != np.lib.format.MAGIC_PREFIX:
      raise _limits.FileError(
        f'{where}: expected a plain array, got no .npy header.'
      )
    shape, fortran, dtype, offset = npy_header(head)
    if dtype.kind == 'O':
      if not objects:
        raise _limits.FileError(
          f'{where}: expected a plain array, got a pickled object array.'
        )
      return self._objects(head[offset:], stream)
    if dtype.kind not in 'biufc':
      raise _limits.FileError(
        f'{where}: expected numbers, got dtype {_limits.short(dtype)}.'
      )
    size = math.prod(shape) * dtype.itemsize
    self._budget.take(size, f'{_limits.short(repr(tuple(shape)))} {dtype}')
    content = bytearray(head[offset:])
    content += read_up_to(stream, size + 1 - len(content))
    if len(content) != size:
      raise _limits.FileError(
        f'{where}: expected {size} bytes for shape {shape}, got '
        f'{"more" if len(content) > size else len(content)}.'
      )
    array = np.frombuffer(content, dtype)
    array = array.reshape(shape, order='F' if fortran else 'C')
    return array.astype(dtype.newbyteorder('='), copy=False)

  def _objects(self, head, stream) -> np.ndarray:
    content = bytearray(head)
    content += read_up_to(stream, self._budget.left + 1 - len(content))
    self._budget.take(len(content), 'a pickled array')
    array = _unpickle.loads(bytes(content), self._budget, objects=True)
    if not isinstance(array, np.ndarray):
      raise ValueError(f'a pickle of {type(array).__name__}')
    return array


@contextlib.contextmanager
def archive(
  path: pathlib.Path, max_bytes: int = _limits.MAX_BYTES
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
  budget = _limits.Budget(path, max_bytes)
  with reading(path, '.npz'), open(path, 'rb') as stream:
    yield Archive(path, stream, budget)
