# SPDX-License-Identifier: Apache-2.0
"""Numeric arrays of MATLAB's version 5 files.

SciPy's reader trusts the tags of a file and crashes the interpreter where one
is wrong. Here every tag is checked against the shape that the array declares,
only full numeric arrays are decoded, and an array that is not compressed is
mapped, so that slices of it cost no more than themselves.
"""

import math
import pathlib
import struct
import zlib
from typing import IO, Any, NamedTuple

import numpy as np

from jaxdl.data.files import _bounded, _limits

_MATRIX, _COMPRESSED = 14, 15
_FLAGS, _DIMS, _NAMES = 6, 5, (1, 16)
# How numbers are stored, and what class of numbers they are.
_STORED = {
  1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4',
  7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8',
}  # fmt: skip
_CLASSES = {
  6: 'f8', 7: 'f4', 8: 'i1', 9: 'u1', 10: 'i2', 11: 'u2',
  12: 'i4', 13: 'u4', 14: 'i8', 15: 'u8',
}  # fmt: skip
_COMPLEX = 0x800
_MAX_NAME = 4096


class Variable(NamedTuple):
  """An entry of a file.

  Attributes:
    name: its name.
    shape: its shape, () where it is no numeric array.
    numeric: whether it is a full array of numbers.
    start: first byte of its content, after the outer tag.
    size: bytes of its content.
    compressed: whether that is a zlib stream.
  """

  name: str
  shape: tuple[int, ...]
  numeric: bool
  start: int
  size: int
  compressed: bool


class _Plain:
  """Part of a file, read in order and never past its end."""

  def __init__(self, stream: IO[bytes], start: int, size: int):
    stream.seek(start)
    self._stream = stream
    self.left = size
    self.at = start

  def read(self, size: int) -> bytes | bytearray:
    """Returns exactly so many bytes."""
    if size > self.left:
      raise ValueError(f'{size} bytes where {self.left} are left')
    content = _bounded.read_up_to(self._stream, size)
    if len(content) != size:
      raise ValueError('the file ends')
    self.left -= size
    self.at += size
    return content

  def skip(self, size: int) -> None:
    """Passes over so many bytes, or to the end of the part."""
    size = min(size, self.left)
    self._stream.seek(size, 1)
    self.left -= size
    self.at += size

  def finish(self) -> None:
    """Checks that nothing is left but padding."""
    if self.left > 7:
      raise ValueError(f'{self.left} bytes too many')


class _Inflated(_Plain):
  """The same for a compressed part."""

  def __init__(self, stream: IO[bytes], start: int, size: int):
    super().__init__(stream, start, size)
    self._machine = zlib.decompressobj()

  def read(self, size: int) -> bytearray:
    """Returns exactly so many bytes."""
    out = self._up_to(size)
    if len(out) != size:
      raise ValueError('the compressed stream ends')
    return out

  def skip(self, size: int) -> None:
    """Passes over so many bytes, or to the end of the part."""
    self._up_to(size)

  def finish(self) -> None:
    """Checks that nothing is left but padding, and the checksum."""
    if len(self._up_to(8)) > 7:
      raise ValueError('the compressed stream holds too many bytes')
    if not self._machine.eof:
      raise ValueError('the compressed stream is incomplete')

  def _up_to(self, size: int) -> bytearray:
    out = bytearray()
    while len(out) < size and not self._machine.eof:
      packed = self._machine.unconsumed_tail
      if not packed and self.left:
        packed = self._stream.read(min(2**20, self.left))
        self.left -= len(packed)
      most = min(2**22, size - len(out))
      part = self._machine.decompress(packed, most)
      if not part and not packed:
        break
      out += part
    return out


def variables(
  path: pathlib.Path,
) -> tuple[str, dict[str, Variable]]:
  """Lists the variables of a file, reading none.

  Args:
    path: an existing file.

  Returns:
    `(byte order, name -> variable)`.

  Raises:
    ValueError: or others, if the file is broken.
  """
  found = {}
  with open(path, 'rb') as stream:
    size = stream.seek(0, 2)
    stream.seek(0)
    header = stream.read(128)
    order = {b'IM': '<', b'MI': '>'}.get(header[126:128])
    if order is None or header[124:126] not in (b'\0\1', b'\1\0'):
      raise ValueError('it has no header of version 5')
    at = 128
    while at < size:
      stream.seek(at)
      tag = stream.read(8)
      if len(tag) < 8:
        raise ValueError('the file ends within a tag')
      kind, num_bytes = struct.unpack(order + '2I', tag)
      if kind not in (_MATRIX, _COMPRESSED) or not num_bytes:
        raise ValueError(f'an element of type {kind} and {num_bytes} bytes')
      if num_bytes > size - at - 8:
        raise ValueError(
          f'an element of {num_bytes} bytes where {size - at - 8} are left'
        )
      entry = (at + 8, num_bytes, kind == _COMPRESSED)
      name, shape, numeric, _ = _head(_part(stream, order, *entry), order)
      if name in found:
        raise ValueError(f'the variable {_limits.short(name)!r} twice')
      found[name] = Variable(name, shape, numeric, *entry)
      at += 8 + num_bytes
  return order, found


def read(
  path: pathlib.Path, order: str, entry: Variable, budget: _limits.Budget
) -> np.ndarray:
  """Reads one numeric variable.

  Args:
    path: the file.
    order: its byte order.
    entry: the variable, from `variables`.
    budget: charged with what is unpacked.

  Returns:
    Array of the variable's class; mapped, where the file allows it.

  Raises:
    FileError: if it is over the budget.
    ValueError: or others, if it is broken.
  """
  with open(path, 'rb') as stream:
    part = _part(stream, order, entry.start, entry.size, entry.compressed)
    _, shape, _, flags = _head(part, order)
    kind = np.dtype(_CLASSES[flags & 0xFF])
    halves = 2 if flags & _COMPLEX else 1
    num = math.prod(shape)
    label = f'{_limits.short(entry.name)} {shape}'
    if halves == 2:
      kind = np.dtype('c16') if kind.itemsize > 4 else np.dtype('c8')
    parts = []
    for _ in range(halves):
      parts.append(_numbers(path, part, order, num, kind, label, budget))
    part.finish()
  if halves == 1:
    values = parts[0]
  else:
    budget.take(num * kind.itemsize, label)
    values = np.empty(num, kind)
    values.real, values.imag = parts
  return values.reshape(shape, order='F')


def _part(stream, order, start, size, compressed) -> _Plain:
  """Returns what follows the tag of a matrix."""
  if not compressed:
    return _Plain(stream, start, size)
  part = _Inflated(stream, start, size)
  kind, _ = struct.unpack(order + '2I', part.read(8))
  if kind != _MATRIX:
    raise ValueError(f'a compressed element of type {kind}')
  return part


def _tag(part: _Plain, order: str) -> tuple[int, int, bytes | None]:
  """Returns type, bytes and, where it is inside the tag, the content."""
  raw = bytes(part.read(8))
  kind, size = struct.unpack(order + '2I', raw)
  if kind < 2**16:
    return kind, size, None
  size, kind = kind >> 16, kind & 0xFFFF
  if size > 4:
    raise ValueError(f'a small element of {size} bytes')
  return kind, size, raw[4 : 4 + size]


def _content(part, order, kinds, most) -> bytes:
  kind, size, content = _tag(part, order)
  if kind not in kinds or size > most:
    raise ValueError(f'an element of type {kind} and {size} bytes in a header')
  return (
    bytes(part.read(size + -size % 8)[:size]) if content is None else content
  )


def _head(part, order) -> tuple[str, tuple[int, ...], bool, int]:
  """Decodes flags, shape and name; opaque objects have no shape."""
  flags = _content(part, order, (_FLAGS,), 8)
  if len(flags) != 8:
    raise ValueError(f'array flags of {len(flags)} bytes')
  flags = struct.unpack(order + '2I', flags)[0]
  numeric = flags & 0xFF in _CLASSES
  if not numeric and not 1 <= flags & 0xFF <= 18:
    raise ValueError(f'an array of class {flags & 0xFF}')
  if flags & 0xFF == 17:  # An opaque object: its name comes next.
    return (
      _content(part, order, _NAMES, _MAX_NAME).decode('latin1'),
      (),
      False,
      0,
    )
  dims = _content(part, order, (_DIMS,), 4 * 32)
  shape = tuple(int(n) for n in np.frombuffer(dims, order + 'i4'))
  if len(shape) < 2 or min(shape) < 0:
    raise ValueError(f'an array of shape {shape}')
  name = _content(part, order, _NAMES, _MAX_NAME).decode('latin1')
  return name, shape, numeric, flags


def _numbers(path, part, order, num, kind, label, budget: Any) -> np.ndarray:
  """Reads the real or the imaginary numbers of an array."""
  code, size, content = _tag(part, order)
  if code not in _STORED:
    raise ValueError(f'numbers of type {code}')
  stored = np.dtype(order + _STORED[code])
  if size != num * stored.itemsize:
    raise ValueError(f'{size} bytes for {num} numbers of type {stored}')
  real = np.dtype(kind.type(0).real.dtype)
  # Whole numbers may stand for any class that holds them, which is shorter.
  if real.kind == 'f' and stored.kind == 'f':
    good = stored.itemsize <= real.itemsize
  else:
    good = real.kind == 'f' or np.can_cast(stored, real, 'safe')
  if not good:
    raise ValueError(f'numbers of type {stored} for the class {real}')
  if content is not None:
    return np.frombuffer(content, stored).astype(real)
  pad = -size % 8
  if size and stored == real and not isinstance(part, _Inflated):
    if size > part.left:
      raise ValueError(f'{size} bytes where {part.left} are left')
    values = np.memmap(path, stored, 'r', part.at, (num,))
    part.skip(size + pad)
    return values
  budget.take(size + (num * real.itemsize if stored != real else 0), label)
  raw = part.read(size)
  part.skip(pad)
  return np.frombuffer(raw, stored).astype(real, copy=False)
