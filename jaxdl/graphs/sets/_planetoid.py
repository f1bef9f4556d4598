# SPDX-License-Identifier: Apache-2.0
"""Citation graphs in the raw files of Planetoid."""

import numbers
import os
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.data.files import _limits, _reading, _unpickle
from jaxdl.graphs import _change
from jaxdl.graphs.sets import _dataset
from jaxdl.graphs.sets._dataset import GraphDataset

_PARTS = ('x', 'tx', 'allx', 'y', 'ty', 'ally', 'graph')


def _read(data_dir, name, part, max_bytes):
  path = _reading.find(data_dir, [f'ind.{name}.{part}'], ('', name, 'raw'))
  content = _reading.read_bytes(path)
  try:
    budget = _limits.Budget(path, max_bytes)
    return path, _unpickle.loads(content, budget, sparse=True)
  except _limits.FileError:
    raise
  except ValueError as error:
    raise _reading.problem(
      path, 'a pickle of plain data and sparse matrices', str(error)
    ) from None


def _matrix(path: Any, value: Any, max_bytes: int) -> np.ndarray:
  """A dense f32 matrix of what was pickled, sparse or not."""
  if isinstance(value, np.ndarray) and value.ndim == 2:
    return _single(value)
  keys = ('_shape', 'data', 'indices', 'indptr')
  if not isinstance(value, dict) or not all(key in value for key in keys):
    raise _reading.problem(path, 'a matrix', checks.described(value))
  shape, data, indices, starts = (value[key] for key in keys)
  good = (
    isinstance(shape, tuple)
    and len(shape) == 2
    and all(isinstance(s, numbers.Integral) and s >= 0 for s in shape)
    and all(getattr(v, 'ndim', 0) == 1 for v in (data, indices, starts))
    and all(v.dtype.kind in 'iu' for v in (indices, starts))
  )
  if (
    not good
    or len(data) != len(indices)
    or len(starts) != shape[0] + 1
    or (starts[0], starts[-1]) != (0, len(data))
    or (np.diff(starts.astype(np.int64)) < 0).any()
    or (len(indices) and not 0 <= indices.min() <= indices.max() < shape[1])
  ):
    raise _reading.problem(
      path, 'a sparse matrix in rows', 'parts that do not fit together'
    )
  _limits.Budget(path, max_bytes).take(4 * shape[0] * shape[1], 'the matrix')
  out = np.zeros(shape, np.float32)
  rows = np.repeat(np.arange(shape[0]), np.diff(starts))
  np.add.at(out, (rows, indices), _single(data))
  return out


def _single(values):
  with np.errstate(over='ignore'):
    return values.astype(np.float32)


def _links(path, table, n):
  """Pairs of a dict of lists."""
  if not isinstance(table, dict):
    raise _reading.problem(
      path, 'a dict of lists of neighbors', checks.described(table)
    )
  pairs = [(a, b) for a, others in table.items() for b in others]
  whole = lambda v: isinstance(v, numbers.Integral) and 0 <= v < n
  good = all(whole(v) for pair in pairs for v in pair)
  if not good:
    raise _reading.problem(path, f'nodes 0..{n - 1}', 'others')
  return _change.undirected_pairs(np.array(pairs, np.int64).reshape(-1, 2))


def _test_ids(path):
  words = _reading.read_bytes(path).split()
  try:
    ids = np.array([int(word) for word in words], np.int64)
  except ValueError:
    ids = np.array([], np.int64)
  if not len(ids) or len(np.unique(ids)) < len(ids):
    raise _reading.problem(
      path, 'different numbers of nodes, one per line', 'something else'
    )
  return ids


def planetoid(
  name: str = 'cora',
  *,
  data_dir: str | os.PathLike[str],
  row_normalize: bool = True,
  num_validation: int = 500,
  pad: bool = True,
  max_bytes: int = _limits.MAX_BYTES,
) -> GraphDataset:
  """Loads Cora, Citeseer or Pubmed.

  The files are `ind.<name>.{x,tx,allx,y,ty,ally,graph,test.index}`, in the
  folder itself, or one called after the set, or `raw`. Nodes of `allx` come
  first; test nodes stand where `test.index` puts them. Numbers that it skips
  (15 of Citeseer) are isolated nodes with rows of zeros, class 0, in no split.
  The first nodes, as many as `y` has, are trained on, the next ones validated
  on. Links lead both ways; repeated ones and loops are dropped.

  Args:
    name: in the names of the files.
    data_dir: folder of the files.
    row_normalize: whether rows of features are divided by their sums.
    num_validation: nodes to validate on.
    pad: whether sizes are rounded up.
    max_bytes: most bytes that a file may unpack to.

  Returns:
    The data set.

  Raises:
    FileNotFoundError: if a file is missing, which is named.
    FileError: (a ValueError) if one is damaged or they do not fit together.

  Source: Yang, Cohen & Salakhutdinov 2016 (https://arxiv.org/abs/1603.08861).
  """
  _dataset.check_name(name)
  row_normalize = checks.flag(row_normalize, name='row_normalize')
  checks.integer(num_validation, name='num_validation', low=0)
  paths, found = {}, {}
  for part in _PARTS:
    paths[part], found[part] = _read(data_dir, name, part, max_bytes)
  index = _reading.find(data_dir, [f'ind.{name}.test.index'], ('', name, 'raw'))
  test_ids = _test_ids(index)
  x = {p: _matrix(paths[p], found[p], max_bytes) for p in _PARTS[:-1]}
  for part, values in x.items():
    if not np.isfinite(values).all():
      raise _reading.problem(
        paths[part], 'finite numbers that float32 can hold', 'others'
      )
  known = len(x['allx'])
  for a, b in (('x', 'y'), ('tx', 'ty'), ('allx', 'ally')):
    _reading.same_length(paths[a], x[a], x[b])
  if test_ids.min() != known or len(test_ids) != len(x['tx']):
    raise _reading.problem(
      index,
      f'{len(x["tx"])} test nodes from {known} on, as tx and allx have',
      f'{len(test_ids)} from {test_ids.min()} on',
    )
  n = int(test_ids.max()) + 1
  if n - known > 10 * len(test_ids) + 100:
    raise _reading.problem(
      index, 'few numbers that are skipped', f'{len(test_ids)} of {n - known}'
    )
  same = x['allx'].shape[1:] == x['tx'].shape[1:]
  if not same or x['ally'].shape[1:] != x['ty'].shape[1:]:
    raise _reading.problem(
      paths['tx'],
      'as many columns as allx, and ty as ally',
      f'{x["tx"].shape[1]} and {x["ty"].shape[1]}',
    )
  features = np.zeros((n, x['allx'].shape[1]), np.float32)
  classes = np.zeros((n, x['ally'].shape[1]), np.float32)
  features[:known], classes[:known] = x['allx'], x['ally']
  features[test_ids], classes[test_ids] = x['tx'], x['ty']
  if row_normalize:
    features = _dataset.row_normalized(features)
  num_train = len(x['y'])
  if num_train + num_validation > known:
    raise ValueError(
      f'num_validation={num_validation} nodes after {num_train} to train on '
      f'are more than the {known} that are not tested on.'
    )
  masks = np.zeros((3, n), bool)
  masks[0, :num_train] = True
  masks[1, num_train : num_train + num_validation] = True
  masks[2, test_ids] = True
  return _dataset.assemble(
    _links(paths['graph'], found['graph'], n),
    n,
    features=features,
    labels=classes.argmax(axis=1),
    num_classes=classes.shape[1],
    masks=tuple(masks),
    pad=pad,
    name=name,
  )
