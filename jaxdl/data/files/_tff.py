# SPDX-License-Identifier: Apache-2.0
"""The HDF5 files of the federated simulation data sets."""

import os

from jaxdl.core import checks
from jaxdl.data import _dataset
from jaxdl.data.files import _bounded, _hdf5, _layouts, _limits, _reading


def load_tff(
  data_dir: str | os.PathLike[str],
  *,
  kind: str = 'emnist',
  max_clients: int | None = None,
  max_bytes: int = _limits.MAX_BYTES,
) -> _dataset.FederatedDataset:
  """Loads federated EMNIST, CIFAR-100 or Shakespeare from HDF5 files.

  Reads `fed_<stem>_train.h5` and `fed_<stem>_test.h5`, where every client is
  a group below `examples`. Pixels stored as whole numbers are divided by 255;
  EMNIST pixels become `1 - pixels`, so that the background is zero. Needs h5py.

  Shakespeare (also `shakespeare_train.h5`) is cut into sequences of 80
  characters, each snippet for itself: a number that starts it, those of its
  characters (1 to 86 in the order of the library), padding of 0. Labels are the
  characters that follow, one that ends the snippet last, and -1 where nothing
  does: 90 classes with one for other characters.

  Args:
    data_dir: folder of the two files.
    kind: `'emnist'` (62 classes), `'emnist_digits'`, `'cifar100'` or
      `'shakespeare'`.
    max_clients: keep only the first clients, by name, of each file.
    max_bytes: most bytes that compressed content or fill values of one file
      may unpack to, unless the file itself is larger.

  Returns:
    The data set, inputs f32[n, 28, 28, 1] or f32[n, 32, 32, 3]; of texts inputs
    and labels i32[n, 80].

  Raises:
    ImportError: if h5py is missing; names the extra.
    FileNotFoundError: if a file is missing.
    ValueError: if a file is truncated, corrupt, too large or points to other
      files, or a client lacks a feature or has pixels out of range; names the
      file.

  Source: the simulation data sets of TensorFlow Federated; Caldas et al. 2018
  (https://arxiv.org/abs/1812.01097) for EMNIST.
  """
  rule = _layouts.layout(kind)
  if max_clients is not None:
    max_clients = checks.integer(max_clients, name='max_clients', low=1)
  _reading.require('h5py', purpose='load_tff')
  stems = [f'fed_{rule.stem}', *([rule.stem] if rule.text else [])]
  paths = [
    _reading.find(data_dir, [f'{stem}_{split}.h5' for stem in stems])
    for split in ('train', 'test')
  ]
  sides = [_read(path, rule, max_clients, max_bytes) for path in paths]
  return _dataset.FederatedDataset(
    *sides, num_classes=rule.num_classes, name=kind
  )


def _read(path, rule, max_clients, max_bytes) -> _dataset.ClientExamples:
  budget = _limits.Budget(path, max_bytes)
  clients = {}
  with _hdf5.opened(path, 'HDF5', 'load_tff') as file:
    if 'examples' not in list(file):
      raise _reading.problem(
        path,
        "the group 'examples'",
        f'the keys {_limits.listed(file) or "of an empty file"}',
      )
    examples = _group(file, 'examples', path)
    for name in sorted(examples)[:max_clients]:
      where = f'{path}, client {_limits.short(name)!r}'
      group = _group(examples, name, where)
      features = {}
      with _bounded.reading(where, 'HDF5'):
        for key in group:
          features[key] = None
          if rule.text and key == rule.inputs:
            features[key] = _hdf5.texts(group, key, where, budget)
          elif key in (rule.inputs, rule.labels):
            data = _hdf5.array(group, key, where)
            features[key] = _hdf5.read(data, (), budget)
      clients[name] = _layouts.client_arrays(where, features, rule)
  if not clients:
    raise _reading.problem(path, 'clients', 'none')
  return _layouts.side(clients)


def _group(parent, name, where):
  group = _hdf5.member(parent, name, where)
  if not hasattr(group, 'keys'):
    raise _reading.problem(where, 'a group', 'a data set')
  return group
