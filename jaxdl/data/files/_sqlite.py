# SPDX-License-Identifier: Apache-2.0
"""FedJAX's SQLite files: one row per client, zlib over msgpack."""

import contextlib
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset
from jaxdl.data.files import _bounded, _layouts, _limits, _reading

_TABLE = 'federated_data'
_EXPECTED = (
  'an SQLite file with the table federated_data(client_id, data, num_examples)'
)


def load_fedjax(
  data_dir: str | os.PathLike[str],
  *,
  kind: str = 'emnist',
  max_clients: int | None = None,
  max_bytes: int = _limits.MAX_BYTES,
) -> _dataset.FederatedDataset:
  """Loads federated EMNIST, CIFAR-100 or Shakespeare of FedJAX's SQLite files.

  Reads `federated_<stem>_train.sqlite` and `federated_<stem>_test.sqlite`, of
  Shakespeare also `shakespeare_train.sqlite`. Pixels and texts become what
  `load_tff` makes of them. Needs msgpack.

  Args:
    data_dir: folder of the two files.
    kind: `'emnist'` (62 classes), `'emnist_digits'`, `'cifar100'` or
      `'shakespeare'`.
    max_clients: keep only the first clients, by name, of each file.
    max_bytes: most bytes that the rows of one file may unpack to, unless the
      file itself is larger.

  Returns:
    The data set, inputs f32[n, 28, 28, 1] or f32[n, 32, 32, 3]; of texts inputs
    and labels i32[n, 80].

  Raises:
    ImportError: if msgpack is missing; names the extra.
    FileNotFoundError: if a file is missing.
    ValueError: if a file or a row is corrupt or too large, a client occurs
      twice, lacks a feature or has pixels out of range; names the file.

  Source: Ro et al. 2021 (https://arxiv.org/abs/2108.02117), the file format
  of the library.
  """
  rule = _layouts.layout(kind)
  if max_clients is not None:
    max_clients = checks.integer(max_clients, name='max_clients', low=1)
  msgpack = _reading.require('msgpack', purpose='load_fedjax')
  stems = [f'federated_{rule.stem}', *([rule.stem] if rule.text else [])]
  paths = [
    _reading.find(data_dir, [f'{stem}_{split}.sqlite' for stem in stems])
    for split in ('train', 'test')
  ]
  sides = [_read(msgpack, path, rule, max_clients, max_bytes) for path in paths]
  return _dataset.FederatedDataset(
    *sides, num_classes=rule.num_classes, name=kind
  )


def _read(
  msgpack: Any, path, rule, max_clients, max_bytes
) -> _dataset.ClientExamples:
  budget = _limits.Budget(path, max_bytes)
  uri = f'file:{urllib.parse.quote(str(path.absolute()))}?mode=ro'
  clients = {}
  with _bounded.reading(path, 'SQLite'):
    try:
      with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        _guard(connection, path)
        for name, packed, count in _rows(connection, path, max_clients):
          where = f'{path}, client {_limits.short(name)!r}'
          # The file tells text and bytes apart, people do not.
          if name in clients:
            raise _reading.problem(where, 'every client once', 'a second row')
          features = _unpack(msgpack, where, packed, budget)
          x, y = _layouts.client_arrays(where, features, rule)
          held = len(features[rule.inputs]) if rule.text else len(y)
          if type(count) is not int or held != count:
            raise _reading.problem(
              where,
              f'{_limits.short(count)} examples as in num_examples',
              f'{held}',
            )
          clients[name] = (x, y)
    except sqlite3.Error as error:
      reason = _limits.short(str(error)).rstrip('.')
      raise _reading.problem(path, _EXPECTED, reason) from None
  if not clients:
    raise _reading.problem(path, 'clients', 'none')
  return _layouts.side(clients)


def _rows(connection, path, max_clients) -> Iterator[tuple[str, Any, Any]]:
  """Reads in the order of the file: sorting is up to whoever wrote it."""
  chosen = None
  if max_clients is not None:
    names = [
      _name(path, row[0])
      for row in connection.execute(f'SELECT client_id FROM {_TABLE}')
    ]
    chosen = set(sorted(names)[:max_clients])
  rows = connection.execute(
    f'SELECT client_id, data, num_examples FROM {_TABLE}'
  )
  for client_id, packed, count in rows:
    name = _name(path, client_id)
    if chosen is None or name in chosen:
      yield name, packed, count


def _guard(connection, path) -> None:
  """Lets the data base run nothing that its author wrote, nor for ever.

  Views, virtual tables and generated columns are programs; a plain table whose
  pages form a loop is one too.
  """
  size = os.path.getsize(path)
  steps = iter(range(100 + size // 1000))
  connection.set_progress_handler(lambda: next(steps, None) is None, 10_000)
  if hasattr(connection, 'setlimit'):
    longest = min(max(size, 10_000), 10**9)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)
  connection.execute('PRAGMA trusted_schema = OFF')
  connection.execute('PRAGMA cell_size_check = ON')
  connection.execute('PRAGMA mmap_size = 0')
  kinds = connection.execute(
    'SELECT type, rootpage FROM sqlite_master WHERE name = ?', (_TABLE,)
  ).fetchall()
  if len(kinds) != 1 or kinds[0][0] != 'table' or not kinds[0][1]:
    got = 'a view or a virtual table' if kinds else 'none of that name'
    raise _reading.problem(path, _EXPECTED, got)
  columns = connection.execute(f'PRAGMA table_xinfo({_TABLE})').fetchall()
  if any(column[6] for column in columns):
    raise _reading.problem(path, _EXPECTED, 'a generated column')


def _name(path, client_id) -> str:
  if isinstance(client_id, bytes):
    return client_id.decode('utf-8', 'backslashreplace')
  if isinstance(client_id, str):
    return client_id
  raise _reading.problem(
    path, 'a client_id of text or bytes', type(client_id).__name__
  )


def _unpack(
  msgpack: Any, where: str, packed: Any, budget: _limits.Budget
) -> dict[str, Any]:
  """Decodes one client's row to feature name -> array."""
  # Lists are shapes: longer ones only serve to fill the memory.
  lengths = dict(max_array_len=64, max_map_len=1024)

  def extension(code, payload):
    if code == 4:
      # No more texts than bytes, and no longer together.
      longest = dict(max_array_len=len(payload))
      shape, texts = msgpack.unpackb(payload, raw=True, **longest)
      if shape != [len(texts)] or any(type(t) is not bytes for t in texts):
        raise ValueError('texts that are no list')
      return texts
    if code != 1:
      return None  # Scalars: no feature that is used here.
    shape, dtype, content = msgpack.unpackb(payload, raw=True, **lengths)
    name = dtype.decode('ascii')
    if not name.isalnum() or len(name) > 10:
      raise ValueError('a dtype that is not plain numbers')
    kind = np.dtype(name)
    if kind.kind not in 'fiub':
      raise ValueError(f'dtype {kind} is not plain numbers')
    if any(type(n) is not int or n < 0 for n in shape):
      raise ValueError('a shape that is none')
    return np.frombuffer(content, kind).reshape(shape)

  try:
    content = _bounded.inflate(
      packed, budget.left, budget=budget, what=f'the row of {where}'
    )
    features = msgpack.unpackb(
      content, ext_hook=extension, raw=False, **lengths
    )
  except _limits.FileError:
    raise
  except Exception as error:
    raise _reading.problem(
      where,
      'zlib-packed msgpack of arrays',
      f'something else ({_limits.short(str(error)).rstrip(".")})',
    ) from None
  if not isinstance(features, dict):
    raise _reading.problem(where, 'a dict of arrays', type(features).__name__)
  return {
    key: value
    for key, value in features.items()
    if isinstance(value, np.ndarray) or _are_texts(value)
  }


def _are_texts(value) -> bool:
  return isinstance(value, list) and all(type(x) is bytes for x in value)
