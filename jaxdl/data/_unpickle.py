# SPDX-License-Identifier: Apache-2.0
"""Reads pickles of dicts, lists, strings, numbers and plain arrays only.

Unpickling may run any code that a file asks for. Here no importable object is
ever handed to the pickle machine: the few names that NumPy arrays are built
from map to inert records, which are decoded afterwards, and every other name
is refused.
"""

import io
import math
import pickle
from typing import Any

import numpy as np

_ARRAY_MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')
_BUFFER_MODULES = ('numpy.core.numeric', 'numpy._core.numeric')
_PLAIN = (dict, list, tuple, bytes, str, int, float, bool, type(None))
_OPEN = object()


class _Record:
  """What a pickled call or object said, and nothing else."""

  __slots__ = ('args', 'kind', 'state')

  def __init__(self, kind: str, args: tuple[Any, ...]):
    self.kind = kind
    self.args = args
    self.state = None

  def __setstate__(self, state: Any) -> None:
    self.state = state

  def __reduce__(self):
    raise pickle.PicklingError('records are not written')


class _Maker:
  """A stand-in for a class or function: calling it records the arguments."""

  __slots__ = ('_kind',)

  def __init__(self, kind: str):
    self._kind = kind

  def __call__(self, *args: Any) -> _Record:
    return _Record(self._kind, args)

  def __setstate__(self, state: Any) -> None:
    raise pickle.UnpicklingError('a stand-in has no state')


class _Restricted(pickle.Unpickler):
  """Knows the constituents of NumPy arrays and no other name."""

  def find_class(self, module_name: str, global_name: str) -> Any:
    name = (module_name, global_name)
    if name == ('numpy', 'dtype'):
      return _Maker('dtype')
    if name == ('numpy', 'ndarray'):
      return _Maker('ndarray')
    if module_name in _ARRAY_MODULES and global_name == '_reconstruct':
      return _Maker('array')
    if module_name in _ARRAY_MODULES and global_name == 'scalar':
      return _Maker('scalar')
    if module_name in _BUFFER_MODULES and global_name == '_frombuffer':
      return _Maker('buffer')
    if name == ('_codecs', 'encode'):
      return _Maker('encode')
    raise pickle.UnpicklingError(
      f'{module_name}.{global_name} is not plain data'
    )

  def persistent_load(self, pid: Any) -> Any:
    raise pickle.UnpicklingError('persistent ids are not plain data')


def loads(content: bytes) -> Any:
  """Decodes a pickle of plain data without running anything it names.

  Args:
    content: the pickle, of any protocol; Python 2 strings become bytes.

  Returns:
    Nested dicts, lists and tuples of bytes, strings, numbers and arrays.

  Raises:
    ValueError: if the pickle is truncated, corrupt or holds anything else;
      the message says which.
  """
  try:
    tree = _Restricted(io.BytesIO(content), encoding='bytes').load()
  except pickle.UnpicklingError as error:
    raise ValueError(str(error).rstrip('.')) from None
  except (
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
  ) as error:
    raise ValueError(
      f'a truncated or corrupt pickle ({type(error).__name__})'
    ) from None
  try:
    return _decode(tree, {})
  except (
    AttributeError,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
    UnicodeEncodeError,
  ) as error:
    raise ValueError(
      f'an array that does not decode ({type(error).__name__})'
    ) from None


def _decode(node: Any, done: dict[int, Any]) -> Any:
  """Replaces records by arrays; `done` maps the ids of decoded containers."""
  if isinstance(node, _Record):
    return _decode_record(node)
  if type(node) not in _PLAIN:
    raise ValueError(f'{type(node).__name__} is not plain data')
  if not isinstance(node, (dict, list, tuple)):
    return node
  if id(node) in done:
    if done[id(node)] is _OPEN:
      raise ValueError('a container holds itself')
    return done[id(node)]
  done[id(node)] = _OPEN
  if isinstance(node, dict):
    out = {
      _decode(key, done): _decode(value, done) for key, value in node.items()
    }
  else:
    out = type(node)(_decode(value, done) for value in node)
  done[id(node)] = out
  return out


def _decode_record(record: _Record) -> Any:
  if record.kind == 'encode':
    text, codec = record.args
    if codec not in ('latin1', b'latin1'):
      raise ValueError(f'codec {codec!r} is not plain data')
    return text.encode('latin1')
  if record.kind == 'array':
    _, shape, dtype, fortran, raw = record.state
    return _array(raw, dtype, shape, 'F' if fortran else 'C')
  if record.kind == 'buffer':
    raw, dtype, shape, order, *axes = record.args
    if any(axis is not None for axis in axes):
      raise ValueError('an array with permuted axes is not plain data')
    return _array(raw, dtype, shape, order)
  if record.kind == 'scalar':
    dtype, raw = record.args
    return _array(raw, dtype, (), 'C')[()]
  raise ValueError(f'a lone {record.kind} is not plain data')


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
  if isinstance(raw, _Record):
    raw = _decode_record(raw)
  if isinstance(raw, str):
    raw = raw.encode('latin1')
  if not isinstance(raw, (bytes, bytearray)):
    raise ValueError('an array of objects is not plain data')
  if not isinstance(dtype, _Record) or dtype.kind != 'dtype':
    raise ValueError('an array has no dtype')
  name = dtype.args[0]
  name = name.decode('ascii') if isinstance(name, bytes) else name
  if len(name) < 2 or name[0] not in 'uifb' or not name[1:].isdigit():
    raise ValueError(f'an array of dtype {name!r} is not plain numbers')
  endian = '<'
  if dtype.state is not None:
    endian = dtype.state[1]
    endian = endian.decode('ascii') if isinstance(endian, bytes) else endian
  kind = np.dtype(('' if endian == '|' else endian) + name)
  shape = tuple(int(n) for n in shape)
  if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(raw):
    raise ValueError(
      f'an array of shape {shape} and dtype {name} has {len(raw)} bytes'
    )
  order = order.decode('ascii') if isinstance(order, bytes) else order
  array = np.frombuffer(raw, kind).reshape(shape, order=order)
  return array.astype(kind.newbyteorder('='))
