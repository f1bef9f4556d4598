# SPDX-License-Identifier: Apache-2.0
"""HDF5 files that nobody vouches for.

Links to other files, external storage and virtual data sets are refused: they
read whatever the author of a file points them at. The filters of the library
trust the sizes that a file declares, so chunks are checked before it sees them.
"""

import contextlib
import math
import os
import zlib
from collections.abc import Generator
from typing import Any

from jaxdl.data.files import _bounded, _limits, _reading

_DEFLATE, _SHUFFLE, _FLETCHER, _LZF = 1, 2, 3, 32000
# Most bytes that one stored byte becomes; 4 bytes are a checksum.
_EXPANSION = {_DEFLATE: 1040, _LZF: 128}


@contextlib.contextmanager
def opened(path: Any, kind: str, purpose: str) -> Generator[Any]:
  """Opens a file for reading.

  Args:
    path: an existing file.
    kind: what to call the format.
    purpose: what needs h5py.

  Yields:
    The root group.

  Raises:
    ImportError: if h5py is missing; names the extra.
    FileError: instead of anything that goes wrong inside.
  """
  h5py = _reading.require('h5py', purpose=purpose)
  with _bounded.reading(path, kind), h5py.File(path, 'r') as file:
    yield file


def names(group: Any) -> list[str]:
  """Lists the members of a group that are in the same file.

  Args:
    group: a group.

  Returns:
    Sorted names; soft and external links are left out.
  """
  return sorted(name for name in group if _is_hard(group, name))


def member(group: Any, name: str, path: Any) -> Any:
  """Returns a member of a group, never through a link to elsewhere.

  Args:
    group: a group.
    name: what should be there.
    path: the file (may name a client too), for messages.

  Returns:
    A group or data set.

  Raises:
    FileError: if it is missing, or a soft or an external link.
  """
  if name not in set(group):  # Asking the group would follow a link.
    raise _reading.problem(
      path,
      f'the field {_limits.short(name)!r}',
      f'the fields {_limits.listed(group) or "of an empty group"}',
    )
  if not _is_hard(group, name):
    raise _reading.problem(
      path,
      f'{_limits.short(name)!r} itself',
      'a soft or external link, which is not followed',
    )
  return group[name]


def _is_hard(group, name) -> bool:
  import h5py  # pyrefly: ignore

  return isinstance(group.get(name, getlink=True), h5py.HardLink)


def is_numeric(data: Any) -> bool:
  """Returns whether an object is a data set of numbers.

  Args:
    data: a group, data set or type.

  Returns:
    A bool; MATLAB's records of two numbers count.
  """
  import h5py  # pyrefly: ignore

  if not isinstance(data, h5py.Dataset) or data.shape is None:
    return False
  dtype = data.dtype
  if dtype.names == ('real', 'imag'):
    return all(dtype[name].kind == 'f' for name in dtype.names)
  return dtype.kind in 'biuf'


def array(group: Any, name: str, path: Any) -> Any:
  """Returns a data set of numbers, after looking at where its bytes are.

  Args:
    group: a group.
    name: a name that it has.
    path: the file (may name a client too), for messages.

  Returns:
    The data set; read it with `read`.

  Raises:
    FileError: if it is none, lies in another file or uses an unknown filter.
  """
  data = member(group, name, path)
  label = _limits.short(name)
  if not is_numeric(data):
    got = getattr(data, 'dtype', None)
    raise _reading.problem(
      path,
      f'a data set of numbers at {label!r}',
      f'dtype {_limits.short(got)}' if got is not None else 'something else',
    )
  _check_place(data, label, path)
  return data


def texts(
  group: Any, name: str, path: Any, budget: _limits.Budget
) -> list[bytes]:
  """Reads a list of texts.

  Args:
    group: a group.
    name: a name that it has.
    path: the file (may name a client too), for messages.
    budget: charged with the texts.

  Returns:
    The texts, as bytes.

  Raises:
    FileError: if it is something else, lies in another file, is over the budget
      or claims more texts than the file has bytes.
  """
  import h5py  # pyrefly: ignore

  data = member(group, name, path)
  label = _limits.short(name)
  plain = isinstance(data, h5py.Dataset) and data.shape is not None
  if not plain or h5py.check_string_dtype(data.dtype) is None or data.ndim != 1:
    raise _reading.problem(
      path, f'a list of texts at {label!r}', 'something else'
    )
  _check_place(data, label, path)
  (count,) = data.shape
  if count > os.path.getsize(budget.path):
    raise _reading.problem(
      path, f'as many texts at {label!r} as fit the file', str(count)
    )
  if data.chunks is not None and count:
    _check_chunks(data, label, budget)
  out = []
  # One by one: many may refer to the same long text.
  for i in range(count):
    text = data[i]
    budget.take(len(text) + 1, f'a text of {label}')
    out.append(bytes(text))
  return out


def _check_place(data, label, path):
  """Raises unless the bytes are in the file and plainly packed."""
  properties = data.id.get_create_plist()
  if data.is_virtual or properties.get_external_count():
    raise _reading.problem(
      path, f'{label!r} inside the file', 'a reference to other files'
    )
  for filter_id in _filters(properties):
    if filter_id not in (_DEFLATE, _SHUFFLE, _FLETCHER, _LZF):
      raise _reading.problem(
        path,
        f'{label!r} plain or compressed with gzip or lzf',
        f'filter {filter_id}',
      )


def _filters(properties) -> list[int]:
  return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def read(
  data: Any, selection: tuple[slice, ...], budget: _limits.Budget
) -> Any:
  """Reads a part of a data set.

  Args:
    data: from `array`.
    selection: slices of its first axes.
    budget: charged with the part.

  Returns:
    NumPy array.

  Raises:
    FileError: if it is over the budget, or a chunk is broken.
  """
  label = f'{_limits.short(data.name)} {data.shape}'
  shape = list(data.shape)
  for axis, part in enumerate(selection):
    shape[axis] = len(range(*part.indices(shape[axis])))
  budget.take(math.prod(shape) * data.dtype.itemsize, label)
  if data.chunks is not None and math.prod(shape):
    _check_chunks(data, label, budget)
  return data[selection]


def _check_chunks(data, label, budget):
  """Unpacks the suspicious chunks, within bounds, before the library does."""
  raw = math.prod(data.chunks) * data.dtype.itemsize
  if raw > budget.limit:
    budget.take(raw, f'a chunk of {label}')
  filters = _filters(data.id.get_create_plist())
  stored = []
  if filters:
    data.id.chunk_iter(stored.append)
  for chunk in stored:
    used = [f for i, f in enumerate(filters) if not chunk.filter_mask >> i & 1]
    size = chunk.size
    # The checksum filter of the library reads before the start of a chunk
    # that is shorter than a checksum.
    bad = size > 2 * raw + 1024 or (_FLETCHER in used and size < 5)
    factor = math.prod(_EXPANSION.get(i, 1) for i in used)
    if not bad and size * factor > budget.limit:
      bad = factor != _EXPANSION[_DEFLATE] or _overflows(data, chunk, raw)
    if bad:
      raise _reading.problem(
        budget.path,
        f'chunks of {raw} bytes in {label}',
        f'one of {size} bytes that does not unpack to that',
      )


def _overflows(data, chunk, raw) -> bool:
  _, content = data.id.read_direct_chunk(chunk.chunk_offset)
  return len(zlib.decompressobj().decompress(content, raw + 1)) > raw
