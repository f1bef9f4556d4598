# SPDX-License-Identifier: Apache-2.0
"""The HDF5 files of the federated simulation data sets."""

import os
from typing import Any

from jaxdl.core import checks
from jaxdl.data import _dataset, _files, _layouts


def load_tff(
  data_dir: str | os.PathLike[str],
  *,
  kind: str = 'emnist',
  max_clients: int | None = None,
) -> _dataset.FederatedDataset:
  """Loads federated EMNIST or CIFAR-100 from HDF5 files.

  Reads `fed_<stem>_train.h5` and `fed_<stem>_test.h5`, where every client is
  a group below `examples`. EMNIST pixels become `1 - pixels`, so that the
  background is zero; CIFAR-100 pixels are divided by 255. Needs h5py.

  Args:
    data_dir: folder of the two files.
    kind: `'emnist'` (62 classes), `'emnist_digits'` or `'cifar100'`.
    max_clients: keep only the first clients, by name, of each file.

  Returns:
    The data set, inputs f32[n, 28, 28, 1] or f32[n, 32, 32, 3].

  Raises:
    ImportError: if h5py is missing; names the extra.
    FileNotFoundError: if a file is missing.
    ValueError: if a file is truncated or a client lacks a feature.

  Source: the simulation data sets of TensorFlow Federated; Caldas et al. 2018
  (https://arxiv.org/abs/1812.01097) for EMNIST.
  """
  rule = _layouts.layout(kind)
  if max_clients is not None:
    max_clients = checks.integer(max_clients, name='max_clients', low=1)
  h5py = _files.require('h5py', purpose='load_tff')
  paths = [
    _files.find(data_dir, [f'fed_{rule.stem}_{split}.h5'])
    for split in ('train', 'test')
  ]
  sides = [_read(h5py, path, rule, max_clients) for path in paths]
  return _dataset.FederatedDataset(
    *sides, num_classes=rule.num_classes, name=kind
  )


def _read(h5py: Any, path, rule, max_clients) -> _dataset.ClientExamples:
  try:
    file = h5py.File(path, 'r')
  except OSError:
    raise _files.problem(
      path, 'an HDF5 file', 'a truncated or corrupt one'
    ) from None
  with file:
    examples = file.get('examples')
    if not isinstance(examples, h5py.Group):
      raise _files.problem(
        path,
        "the group 'examples'",
        f'the keys {", ".join(sorted(file)) or "of an empty file"}',
      )
    clients = {}
    for name in sorted(examples)[:max_clients]:
      where = f'{path}, client {name!r}'
      group = examples[name]
      if not isinstance(group, h5py.Group):
        raise _files.problem(where, 'a group', 'a data set')
      wanted = {rule.inputs, rule.labels}
      try:
        features = {
          key: value[()] if key in wanted else None
          for key, value in group.items()
          if isinstance(value, h5py.Dataset)
        }
      except OSError:
        raise _files.problem(
          where, 'readable features', 'truncated or corrupt bytes'
        ) from None
      clients[name] = _layouts.client_arrays(where, features, rule)
  if not clients:
    raise _files.problem(path, 'clients', 'none')
  return _layouts.side(clients)
