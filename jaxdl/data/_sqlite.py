# SPDX-License-Identifier: Apache-2.0
"""FedJAX's SQLite files: one row per client, zlib over msgpack."""

import os
import sqlite3
import urllib.parse
import zlib
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset, _files, _layouts

_QUERY = (
  'SELECT client_id, data, num_examples FROM federated_data ORDER BY client_id'
)


def load_fedjax(
  data_dir: str | os.PathLike[str],
  *,
  kind: str = 'emnist',
  max_clients: int | None = None,
) -> _dataset.FederatedDataset:
  """Loads federated EMNIST or CIFAR-100 from FedJAX's SQLite files.

  Reads `federated_<stem>_train.sqlite` and `federated_<stem>_test.sqlite`.
  Pixels become what `load_tff` makes of them. Needs msgpack.

  Args:
    data_dir: folder of the two files.
    kind: `'emnist'` (62 classes), `'emnist_digits'` or `'cifar100'`.
    max_clients: keep only the first clients, by name, of each file.

  Returns:
    The data set, inputs f32[n, 28, 28, 1] or f32[n, 32, 32, 3].

  Raises:
    ImportError: if msgpack is missing; names the extra.
    FileNotFoundError: if a file is missing.
    ValueError: if a file or a row is corrupt or a client lacks a feature.

  Source: Ro et al. 2021 (https://arxiv.org/abs/2108.02117), the file format
  of the library.
  """
  rule = _layouts.layout(kind)
  if max_clients is not None:
    max_clients = checks.integer(max_clients, name='max_clients', low=1)
  msgpack = _files.require('msgpack', purpose='load_fedjax')
  paths = [
    _files.find(data_dir, [f'federated_{rule.stem}_{split}.sqlite'])
    for split in ('train', 'test')
  ]
  sides = [_read(msgpack, path, rule, max_clients) for path in paths]
  return _dataset.FederatedDataset(
    *sides, num_classes=rule.num_classes, name=kind
  )


def _read(msgpack: Any, path, rule, max_clients) -> _dataset.ClientExamples:
  clients = {}
  uri = f'file:{urllib.parse.quote(str(path.absolute()))}?mode=ro'
  try:
    connection = sqlite3.connect(uri, uri=True)
    try:
      limit = '' if max_clients is None else f' LIMIT {max_clients}'
      for client_id, data, count in connection.execute(_QUERY + limit):
        name = (
          client_id.decode('utf-8', 'backslashreplace')
          if isinstance(client_id, bytes)
          else str(client_id)
        )
        where = f'{path}, client {name!r}'
        x, y = _layouts.client_arrays(
          where, _unpack(msgpack, where, data), rule
        )
        if len(y) != count:
          raise _files.problem(
            where, f'{count} examples as in num_examples', f'{len(y)}'
          )
        clients[name] = (x, y)
    finally:
      connection.close()
  except sqlite3.Error as error:
    raise _files.problem(
      path,
      'an SQLite file with the table federated_data(client_id, data, '
      'num_examples)',
      str(error).rstrip('.'),
    ) from None
  if not clients:
    raise _files.problem(path, 'clients', 'none')
  return _layouts.side(clients)


def _unpack(msgpack: Any, where: str, data: Any) -> dict[str, Any]:
  """Decodes one client's row to feature name -> array."""

  def extension(code, payload):
    if code != 1:
      return None  # Byte strings and scalars: no feature that is used here.
    shape, dtype, content = msgpack.unpackb(payload, raw=True)
    kind = np.dtype(dtype.decode('ascii'))
    if kind.kind not in 'fiub':
      raise ValueError(f'dtype {kind} is not plain numbers')
    return np.frombuffer(content, kind).reshape(shape)

  try:
    features = msgpack.unpackb(
      zlib.decompress(data), ext_hook=extension, raw=False
    )
  except (
    zlib.error,
    msgpack.UnpackException,
    AttributeError,
    TypeError,
    ValueError,
  ) as error:
    raise _files.problem(
      where,
      'zlib-packed msgpack of arrays',
      f'something else ({str(error).rstrip(".")})',
    ) from None
  if not isinstance(features, dict):
    raise _files.problem(where, 'a dict of arrays', type(features).__name__)
  return {
    key: value
    for key, value in features.items()
    if isinstance(value, np.ndarray)
  }
