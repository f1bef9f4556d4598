# SPDX-License-Identifier: Apache-2.0
"""Reads pickles of dicts, lists, strings, numbers and plain arrays only.

Unpickling may run any code that a file asks for, and even the restricted
machine of the standard library allocates what a few bytes declare and hashes
nested keys for ever. Here a small machine of its own builds plain data: it
imports and calls nothing, the few names that NumPy arrays are made of become
inert records, which are decoded afterwards, and all else is refused.
"""

import codecs
import math
import struct
from typing import Any

import numpy as np

from jaxdl.data.files import _limits

_NAMES = {
  ('numpy', 'dtype'): 'dtype',
  ('numpy', 'ndarray'): 'ndarray',
  ('numpy.core.multiarray', '_reconstruct'): 'array',
  ('numpy._core.multiarray', '_reconstruct'): 'array',
  ('numpy.core.multiarray', 'scalar'): 'scalar',
  ('numpy._core.multiarray', 'scalar'): 'scalar',
  ('numpy.core.numeric', '_frombuffer'): 'buffer',
  ('numpy._core.numeric', '_frombuffer'): 'buffer',
  ('_codecs', 'encode'): 'encode',
}
# What sparse matrices and dicts of lists are made of, where they are wanted.
_SPARSE = {
  ('copy_reg', '_reconstructor'): 'reconstructor',
  ('copyreg', '_reconstructor'): 'reconstructor',
  ('__builtin__', 'object'): 'object',
  ('builtins', 'object'): 'object',
  ('__builtin__', 'list'): 'list',
  ('builtins', 'list'): 'list',
  ('collections', 'defaultdict'): 'defaultdict',
  ('scipy.sparse.csr', 'csr_matrix'): 'csr',
  ('scipy.sparse._csr', 'csr_matrix'): 'csr',
}
_PLAIN = (dict, list, tuple, bytes, bytearray, str, int, float, bool)
_PLAIN = (*_PLAIN, type(None))
_OPEN = object()
# Real files have some ten thousand steps, a hostile one as many as bytes.
_MAX_STEPS = 2**20

# Opcodes by what follows them: a fixed number, a length and bytes, a line.
_FIXED = {
  b'K': '<B',
  b'M': '<H',
  b'J': '<i',
  b'G': '>d',
  b'h': '<B',
  b'j': '<I',
  b'q': '<B',
  b'r': '<I',
  b'\x80': '<B',
  b'\x95': '<Q',
}
_COUNTED = {
  b'U': '<B',
  b'T': '<i',
  b'C': '<B',
  b'B': '<I',
  b'\x8e': '<Q',
  b'\x96': '<Q',
  b'\x8c': '<B',
  b'X': '<I',
  b'\x8d': '<Q',
  b'\x8a': '<B',
  b'\x8b': '<i',
}
_CONSTANTS = {b'N': None, b'\x88': True, b'\x89': False}


class _Name:
  """A known global, of which nothing but its kind is kept."""

  __slots__ = ('kind',)

  def __init__(self, kind: str):
    self.kind = kind


class _Record:
  """What a pickled call said, and nothing else."""

  __slots__ = ('args', 'kind', 'state')

  def __init__(self, kind: str, args: tuple[Any, ...]):
    self.kind = kind
    self.args = args
    self.state = None


def loads(
  content: bytes,
  budget: _limits.Budget | None = None,
  *,
  objects: bool = False,
  sparse: bool = False,
) -> Any:
  """Decodes a pickle of plain data without running anything it names.

  Args:
    content: the pickle, of any protocol; Python 2 strings become bytes.
    budget: charged with the arrays that it makes; 16 times the content if
      None.
    objects: whether arrays of numbers and arrays are allowed.
    sparse: whether `scipy.sparse.csr_matrix`, which becomes the dict of its
      attributes, and `collections.defaultdict`, which becomes a dict, are.

  Returns:
    Nested dicts, lists and tuples of bytes, strings, numbers and arrays.

  Raises:
    ValueError: if the pickle is truncated, corrupt or holds anything else;
      the message says which.
  """
  try:
    charge = _Charge(budget, 16 * len(content))
    names = _NAMES | _SPARSE if sparse else _NAMES
    machine = _Machine(content, charge, names)
    return _Decoder(charge, objects).decode(machine.run())
  except ValueError as error:
    kind = type(error)
    if kind is ValueError or issubclass(kind, _limits.FileError):
      raise
    got = kind.__name__  # Such as UnicodeDecodeError.
  except Exception as error:
    got = type(error).__name__
  raise ValueError(f'a truncated or corrupt pickle ({got})')


class _Charge:
  """Counts what a pickle makes out of shared parts."""

  def __init__(self, budget: _limits.Budget | None, limit: int):
    self._budget = budget
    self._left = limit

  def __call__(self, size: int) -> None:
    if self._budget is not None:
      self._budget.take(size, 'a pickled array')
      return
    self._left -= size
    if self._left < 0:
      raise ValueError('arrays that are far larger than the pickle')


class _Machine:
  """The stack machine of pickles, for plain data."""

  def __init__(
    self,
    content: bytes,
    charge: _Charge,
    names: dict[tuple[str, str], str],
  ):
    self._content = content
    self._charge = charge
    self._names = names
    self._at = 0
    self._stack: list[Any] = []
    self._below: list[list[Any]] = []
    self._memo: dict[int, Any] = {}

  def run(self) -> Any:
    """Returns the tree of plain data, names and records."""
    for _ in range(_MAX_STEPS):
      code = self._take(1)
      if code == b'.':
        return self._stack.pop()
      self._step(code)
    raise ValueError(f'a pickle of more than {_MAX_STEPS} steps')

  def _take(self, size: int) -> bytes:
    if not 0 <= size <= len(self._content) - self._at:
      raise ValueError('a truncated or corrupt pickle (EOFError)')
    self._at += size
    return self._content[self._at - size : self._at]

  def _line(self) -> bytes:
    end = self._content.find(b'\n', self._at)
    line = self._take(end - self._at)
    self._at += 1
    return line

  def _number(self, form: str) -> Any:
    return struct.unpack(form, self._take(struct.calcsize(form)))[0]

  def _marked(self) -> list[Any]:
    items = self._stack
    self._stack = self._below.pop()
    return items

  def _step(self, code: bytes) -> None:
    push = self._stack.append
    if code in _CONSTANTS:
      push(_CONSTANTS[code])
    elif code in _FIXED:
      self._fixed(code, self._number(_FIXED[code]))
    elif code in _COUNTED:
      push(_counted(code, self._take(self._number(_COUNTED[code]))))
    elif code in b'ILFSVgpc':
      self._text(code, self._line())
    elif code == b'(':
      self._below.append(self._stack)
      self._stack = []
    elif code in b']})':
      push({b']': list, b'}': dict, b')': tuple}[code]())
    elif code in b'ltd':
      items = self._marked()
      value = {b'l': list, b't': tuple, b'd': _pairs}[code](items)
      self._stack.append(value)
    elif code in b'\x85\x86\x87':
      size = code[0] - 0x84
      items = [self._stack.pop() for _ in range(size)]
      push(tuple(reversed(items)))
    elif code in b'aesu':
      self._extend(code)
    elif code == b'\x94':
      self._memo[len(self._memo)] = self._stack[-1]
    elif code in b'0':
      self._stack.pop() if self._stack else self._marked()
    elif code == b'1':
      self._marked()
    elif code == b'2':
      push(self._stack[-1])
    elif code == b'\x93':
      name, module = self._stack.pop(), self._stack.pop()
      push(_known(module, name, self._names))
    elif code in b'R\x81':
      args, name = self._stack.pop(), self._stack.pop()
      if not isinstance(name, _Name) or not isinstance(args, tuple):
        raise ValueError('a call of something that is not plain data')
      push(self._called(name.kind, args))
    elif code == b'b':
      state, record = self._stack.pop(), self._stack[-1]
      if not isinstance(record, _Record) or record.state is not None:
        raise ValueError('the state of something that is not plain data')
      record.state = state
    else:
      raise ValueError(f'opcode {code!r} is not plain data')

  def _called(self, kind, args):
    """What a call stands for."""
    if kind == 'encode':
      return self._encode(*args)
    if kind == 'defaultdict':
      return {}
    if kind == 'reconstructor':
      # Of old protocols: what it makes comes first.
      kind = getattr(args[0], 'kind', None)
      if kind != 'csr':
        raise ValueError('an object that is not plain data')
    return _Record(kind, () if kind == 'csr' else args)

  def _encode(self, text, codec):
    """How old protocols write bytes."""
    if type(text) is not str or codec not in ('latin1', b'latin1'):
      raise ValueError(f'codec {_limits.short(codec)} is not plain data')
    self._charge(len(text))
    return text.encode('latin1')

  def _fixed(self, code, value):
    if code in b'KMJG':
      self._stack.append(value)
    elif code in b'hj':
      self._stack.append(self._memo[value])
    elif code in b'qr':
      self._memo[value] = self._stack[-1]
    elif code == b'\x80' and value > 5:
      raise ValueError(f'protocol {value} of pickles')

  def _text(self, code, line):
    if code == b'p':
      self._memo[int(line)] = self._stack[-1]
      return
    if code == b'g':
      value = self._memo[int(line)]
    elif code == b'c':
      value = _known(
        line.decode('ascii'), self._line().decode('ascii'), self._names
      )
    elif code == b'I':
      bools = {b'00': False, b'01': True}
      value = bools[line] if line in bools else int(line)
    elif code == b'L':
      value = int(line.removesuffix(b'L'))
    elif code == b'F':
      value = float(line)
    elif code == b'V':
      value = line.decode('raw-unicode-escape')
    else:
      if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b'\'"':
        raise ValueError('a truncated or corrupt pickle (quotes)')
      value = codecs.escape_decode(line[1:-1])[0]
    self._stack.append(value)

  def _extend(self, code):
    items = self._marked() if code in b'eu' else None
    if items is None:
      size = 1 if code == b'a' else 2
      items = [self._stack.pop() for _ in range(size)][::-1]
    target = self._stack[-1]
    if code in b'ae' and type(target) is list:
      target.extend(items)
    elif code in b'su' and type(target) is dict:
      target.update(_pairs(items))
    else:
      raise ValueError('a truncated or corrupt pickle (TypeError)')


def _counted(code: bytes, raw: bytes) -> Any:
  if code in b'\x8a\x8b':
    return int.from_bytes(raw, 'little', signed=True)
  if code in b'\x8cX\x8d':
    return raw.decode('utf-8', 'surrogatepass')
  return raw


def _pairs(items: list[Any]) -> dict[Any, Any]:
  """Makes a dict; keys that would be slow to hash are refused."""
  if len(items) % 2:
    raise ValueError('a truncated or corrupt pickle (odd dict)')
  for key in items[::2]:
    if type(key) not in (str, bytes) and not (
      type(key) is int and abs(key) < 2**63
    ):
      raise ValueError(f'a key of type {type(key).__name__} is not plain data')
  return dict(zip(items[::2], items[1::2], strict=True))


def _known(module: Any, name: Any, names: dict[tuple[str, str], str]) -> _Name:
  if type(module) is not str or type(name) is not str:
    raise ValueError('a name that is no string')
  if (module, name) not in names:
    raise ValueError(
      f'{_limits.short(module, 40)}.{_limits.short(name, 40)} is not plain data'
    )
  return _Name(names[module, name])


class _Decoder:
  """Replaces records by arrays, each once."""

  def __init__(self, charge: _Charge, objects: bool):
    self._charge = charge
    self._objects = objects
    self._done: dict[int, Any] = {}

  def decode(self, node: Any) -> Any:
    """Returns plain data and arrays."""
    if type(node) is not _Record and type(node) not in _PLAIN:
      name = node.kind if type(node) is _Name else type(node).__name__
      raise ValueError(f'a lone {name} is not plain data')
    if type(node) not in (dict, list, tuple, _Record):
      return node
    if id(node) in self._done:
      if self._done[id(node)] is _OPEN:
        raise ValueError('a container holds itself')
      return self._done[id(node)]
    self._done[id(node)] = _OPEN
    if type(node) is _Record:
      out = self._record(node)
    elif type(node) is dict:
      out = {key: self.decode(value) for key, value in node.items()}
    else:
      out = type(node)(self.decode(value) for value in node)
    self._done[id(node)] = out
    return out

  def _record(self, record: _Record) -> Any:
    if record.kind == 'array':
      _, shape, dtype, fortran, raw = record.state
      return self._array(raw, dtype, shape, 'F' if fortran else 'C')
    if record.kind == 'buffer':
      raw, dtype, shape, order, *axes = record.args
      if any(axis is not None for axis in axes):
        raise ValueError('an array with permuted axes is not plain data')
      order = order.decode('ascii') if isinstance(order, bytes) else order
      return self._array(raw, dtype, shape, order)
    if record.kind == 'scalar':
      dtype, raw = record.args
      return self._array(raw, dtype, (), 'C')[()]
    if record.kind == 'csr' and type(record.state) is dict:
      return {
        key.decode('ascii') if type(key) is bytes else key: self.decode(value)
        for key, value in record.state.items()
      }
    raise ValueError(f'a lone {record.kind} is not plain data')

  def _array(self, raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if type(dtype) is not _Record or dtype.kind != 'dtype':
      raise ValueError('an array has no dtype')
    name = dtype.args[0]
    name = name.decode('ascii') if isinstance(name, bytes) else name
    if (
      type(name) is not str
      or type(shape) is not tuple
      or order not in ('C', 'F')
    ):
      raise ValueError('an array that does not decode')
    if len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
      raise ValueError(f'an array of shape {_limits.short(shape)}')
    if name[:1] == 'O':
      return self._object_array(raw, shape, order)
    # The letter and the bytes of one number.
    if len(name) > 3 or name[:1] not in tuple('uifb') or not name[1:].isdigit():
      raise ValueError(
        f'an array of dtype {_limits.short(name)!r} is not plain numbers'
      )
    if type(raw) in (list, tuple):
      raise ValueError('an array of objects is not plain data')
    raw = self.decode(raw)
    raw = raw.encode('latin1') if type(raw) is str else raw
    if type(raw) not in (bytes, bytearray):
      raise ValueError('an array of objects is not plain data')
    endian = '<'
    if dtype.state is not None:
      endian = dtype.state[1]
      endian = endian.decode('ascii') if isinstance(endian, bytes) else endian
    if endian not in ('<', '>', '=', '|'):
      raise ValueError(f'byte order {_limits.short(endian)!r} of an array')
    kind = np.dtype(('' if endian == '|' else endian) + name)
    if math.prod(shape) * kind.itemsize != len(raw):
      raise ValueError(
        f'an array of shape {_limits.short(shape)} and dtype {name} has '
        f'{len(raw)} bytes'
      )
    self._charge(len(raw))
    array = np.frombuffer(raw, kind).reshape(shape, order=order)
    return array.astype(kind.newbyteorder('='))

  def _object_array(self, raw, shape, order) -> np.ndarray:
    if not self._objects or type(raw) is not list:
      raise ValueError('an array of objects is not plain data')
    items = self.decode(raw)
    if len(items) != math.prod(shape):
      raise ValueError(
        f'an array of shape {_limits.short(shape)} has {len(items)} objects'
      )
    if not all(
      type(item) in (int, float, bool)
      or isinstance(item, (np.ndarray, np.generic))
      for item in items
    ):
      raise ValueError('an array of objects that are no numbers or arrays')
    self._charge(8 * len(items))
    out = np.empty(len(items), object)
    for i, item in enumerate(items):
      out[i] = item
    return out.reshape(shape, order=order)
