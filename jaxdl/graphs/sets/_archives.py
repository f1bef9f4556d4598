# SPDX-License-Identifier: Apache-2.0
"""Graphs in one archive of arrays, called as the Open Graph Benchmark does."""

import os
import pathlib

import numpy as np

from jaxdl.core import checks
from jaxdl.data.files import _bounded, _limits, _reading
from jaxdl.graphs import _change
from jaxdl.graphs.sets import _dataset
from jaxdl.graphs.sets._dataset import GraphDataset, LinkSplits

_NODES = ('train_idx', 'valid_idx', 'test_idx')


def ogb_npz(
  *,
  data_dir: str | os.PathLike[str],
  file: str | None = None,
  without: str = 'constant',
  directed: bool = False,
  pad: bool = True,
  max_bytes: int = _limits.MAX_BYTES,
) -> GraphDataset:
  """Loads a graph, features and splits from one .npz file.

  Its arrays are `edge_index` [2, M]; if they are there `num_nodes`,
  `node_feat` [n, F], `node_label` [n] or [n, 1]; for nodes `train_idx`,
  `valid_idx`, `test_idx`; for links either `train_edge`, `valid_edge`,
  `valid_edge_neg`, `test_edge`, `test_edge_neg` [M, 2], or, of links with
  negatives of their own, `<split>_source_node` [M], `<split>_target_node` [M]
  and `<split>_target_node_neg` [M, K]. Save them so with
  `numpy.savez(path, edge_index=graph['edge_index'], **...)`. Repeated edges and
  loops are dropped.

  Args:
    data_dir: folder of the file, or the file itself.
    file: its name; the only .npz file there if None.
    without: in `FEATURES`, where there are no features.
    directed: whether edges lead from the first node to the second only.
    pad: whether sizes are rounded up.
    max_bytes: most bytes that the arrays may unpack to.

  Returns:
    The data set, with `links` if the file has splits of links.

  Raises:
    FileNotFoundError: if the file is missing.
    FileError: (a ValueError) if an array is missing or does not fit.

  Source: Hu et al. 2020 (https://arxiv.org/abs/2005.00687).
  """
  directed = checks.flag(directed, name='directed')
  path = _find(data_dir, file)
  with _bounded.archive(path, max_bytes) as archive:
    names = set(archive.names)
    if 'edge_index' not in names:
      raise _reading.problem(
        path,
        "the key 'edge_index'",
        f'the keys {_limits.listed(names) or "of an empty archive"}',
      )
    wanted = {'edge_index', 'num_nodes', 'node_feat', 'node_label', *_NODES}
    wanted |= {
      f'{part}_{key}'
      for part in ('train', 'valid', 'test')
      for key in (
        *('edge', 'edge_neg'),
        *('source_node', 'target_node', 'target_node_neg'),
      )
    }
    arrays = {key: archive.read(key) for key in sorted(names & wanted)}
  pairs = _ints(path, arrays, 'edge_index', None)
  if pairs.ndim != 2 or pairs.shape[0] != 2:
    raise _reading.problem(
      f'{path} [edge_index]', 'shape [2, M]', f'shape {pairs.shape}'
    )
  n = _count(path, arrays, pairs)
  pairs = _ints(path, arrays, 'edge_index', n).T
  if directed:
    pairs = np.unique(pairs, axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
  else:
    pairs = _change.undirected_pairs(pairs)
  x = arrays.get('node_feat')
  if x is not None and (
    x.ndim != 2 or x.dtype.kind not in 'biuf' or not np.isfinite(x).all()
  ):
    raise _reading.problem(
      f'{path} [node_feat]', 'finite numbers [n, F]', f'shape {x.shape}'
    )
  y, known = arrays.get('node_label'), None
  if y is not None:
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.dtype.kind == 'f':  # Nobody knows the class of some nodes.
      known = np.isfinite(y)
      y = np.where(known, y, 0).astype(np.int64)
    y = _reading.label_array(f'{path} [node_label]', y, None)
  checks.choice(without, _dataset.FEATURES, name='without')
  return _dataset.assemble(
    pairs,
    n,
    features=without if x is None else x,
    labels=y,
    masks=_masks(path, arrays, n, known),
    links=_links(path, arrays, n),
    directed=directed,
    pad=pad,
    name=path.stem,
  )


def _find(data_dir, file):
  if os.path.isfile(data_dir):
    return _reading.existing(data_dir)
  if file is not None:
    return _reading.find(data_dir, [file])
  root = pathlib.Path(data_dir)
  found = sorted(root.glob('*.npz')) if root.is_dir() else []
  if len(found) != 1:
    raise FileNotFoundError(
      f'{root}: expected one .npz file, got {len(found)}'
      f'{": name it with file=..." if found else ""}.'
    )
  return found[0]


def _ints(path, arrays, key, n):
  values = arrays[key]
  if values.dtype.kind not in 'iu':
    raise _reading.problem(f'{path} [{key}]', 'integers', str(values.dtype))
  low, high = values.min(initial=0), values.max(initial=0)
  if low < 0 or (n is not None and high >= n):
    top = 'and up' if n is None else f'to {n - 1}'
    raise _reading.problem(
      f'{path} [{key}]', f'nodes 0 {top}', f'{low} to {high}'
    )
  return values.astype(np.int64)


def _count(path, arrays, pairs):
  """How many nodes there are, as whatever knows it says."""
  found = {}
  if 'num_nodes' in arrays:
    values = _ints(path, arrays, 'num_nodes', None)
    if values.size != 1:
      raise _reading.problem(
        f'{path} [num_nodes]', 'one number', f'shape {values.shape}'
      )
    found['num_nodes'] = int(values.reshape(()))
  for key in ('node_feat', 'node_label'):
    if key in arrays:
      found[key] = len(arrays[key]) if arrays[key].ndim else 0
  if len(set(found.values())) > 1:
    raise _reading.problem(path, 'one number of nodes', str(found))
  n = next(iter(found.values()), None)
  n = _dataset.count_nodes(path, pairs.T) if n is None else n
  if n < 1:
    raise _reading.problem(path, 'at least one node', 'none')
  return n


def _masks(path, arrays, n, known):
  if not any(key in arrays for key in _NODES):
    return (None, None, None)
  out = []
  for key in _NODES:
    mask = np.zeros(n, bool)
    if key in arrays:
      mask[_ints(path, arrays, key, n).reshape(-1)] = True
    out.append(mask if known is None else mask & known)
  both = (out[0] & out[1]) | (out[0] & out[2]) | (out[1] & out[2])
  if both.any():
    raise _reading.problem(
      path, 'splits without common nodes', f'node {int(both.argmax())} twice'
    )
  return tuple(out)


def _links(path, arrays, n):
  if 'train_edge' in arrays:
    found = {}
    for part in ('train_edge', 'valid_edge', 'test_edge'):
      keys = (part,) if part == 'train_edge' else (part, f'{part}_neg')
      for key in keys:
        if key not in arrays:
          raise _reading.problem(path, f'the key {key!r}', 'none')
        found[key] = _ints(path, arrays, key, n)
        if found[key].ndim != 2 or found[key].shape[1] != 2:
          raise _reading.problem(
            f'{path} [{key}]', 'shape [M, 2]', f'shape {found[key].shape}'
          )
    order = ('train_edge', 'valid_edge', 'valid_edge_neg')
    order = (*order, 'test_edge', 'test_edge_neg')
    return LinkSplits(*(found[key].astype(np.int32) for key in order))
  if 'train_source_node' not in arrays:
    return None
  out = []
  for part in ('train', 'valid', 'test'):
    ends = {}
    for key in ('source_node', 'target_node', 'target_node_neg'):
      if part == 'train' and key == 'target_node_neg':
        continue
      if f'{part}_{key}' not in arrays:
        raise _reading.problem(path, f"the key '{part}_{key}'", 'none')
      ends[key] = _ints(path, arrays, f'{part}_{key}', n)
    source, target = ends['source_node'], ends['target_node']
    if source.ndim != 1 or source.shape != target.shape:
      raise _reading.problem(
        f'{path} [{part}_target_node]',
        f'shape {source.shape}',
        f'shape {target.shape}',
      )
    out.append(np.stack([source, target], axis=1))
    if part != 'train':
      others = ends['target_node_neg']
      if others.ndim != 2 or len(others) != len(source):
        raise _reading.problem(
          f'{path} [{part}_target_node_neg]',
          f'shape [{len(source)}, K]',
          f'shape {others.shape}',
        )
      first = np.broadcast_to(source[:, None], others.shape)
      out.append(np.stack([first, others], axis=-1))
  return LinkSplits(*(part.astype(np.int32) for part in out))
