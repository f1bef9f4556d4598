# SPDX-License-Identifier: Apache-2.0
"""Graphs in files of text: edges line by line, nodes line by line."""

import os
import pathlib

import numpy as np

from jaxdl.core import checks
from jaxdl.data.files import _bounded, _limits, _reading
from jaxdl.graphs import _change
from jaxdl.graphs.sets import _dataset
from jaxdl.graphs.sets._dataset import GraphDataset

_EDGES, _NODES = 'out1_graph_edges.txt', 'out1_node_feature_label.txt'
_MOST = 2**31 - 2
# Sets whose features are numbers of words, out of so many.
_WORDS = {'actor': 932, 'film': 932}


def _lines(path):
  try:
    return _reading.read_bytes(path).decode('utf-8-sig').splitlines()
  except UnicodeDecodeError:
    raise _reading.problem(path, 'text', 'other bytes') from None


def _numbers(path, at, words, kind):
  try:
    out = [kind(word) for word in words]
  except ValueError:
    raise _reading.problem(
      f'{path}:{at}', 'numbers', _limits.short(' '.join(words), 60)
    ) from None
  if kind is float:
    with np.errstate(over='ignore'):
      if not np.isfinite(np.float32(out)).all():
        raise _reading.problem(
          f'{path}:{at}', 'finite numbers that float32 can hold', 'others'
        )
  elif any(abs(v) >= _MOST for v in out):
    raise _reading.problem(
      f'{path}:{at}', f'whole numbers below {_MOST}', 'others'
    )
  return out


def heterophilic(
  name: str = 'chameleon',
  *,
  data_dir: str | os.PathLike[str],
  num_words: int | None = None,
  row_normalize: bool | None = None,
  train: float = 0.6,
  validation: float = 0.2,
  split: int | None = None,
  seed: int = 0,
  pad: bool = True,
) -> GraphDataset:
  """Loads Chameleon, Squirrel, Actor and their like.

  The files are `out1_graph_edges.txt`, two nodes per line, and
  `out1_node_feature_label.txt`, a node, its features (commas between) and its
  class per line, with tabs between and one line of headings; in the folder
  itself or one called after the set. Links lead both ways; repeated ones and
  loops are dropped.

  Args:
    name: of the set.
    data_dir: folder of the files.
    num_words: if features are numbers of words that a node has, how many there
      are; 932 of 'actor' and 'film', None if they are the features themselves.
    row_normalize: whether rows of features are divided by their sums; those of
      'actor' and 'film' only if None.
    train: see `split_nodes`; classes are balanced.
    validation: see `split_nodes`.
    split: reads `<name>_split_0.6_0.2_<split>.npz` for the masks instead.
    seed: draws the split.
    pad: whether sizes are rounded up.

  Returns:
    The data set.

  Raises:
    FileNotFoundError: if a file is missing, which is named.
    FileError: (a ValueError) if a line is damaged, which is named.

  Source: Pei et al. 2020 (https://arxiv.org/abs/2002.05287).
  """
  _dataset.check_name(name)
  if num_words is None:
    num_words = _WORDS.get(name)
  else:
    checks.integer(num_words, name='num_words', low=1)
  if row_normalize is None:
    row_normalize = name in _WORDS
  row_normalize = checks.flag(row_normalize, name='row_normalize')
  folders = ('', name)
  path = _reading.find(data_dir, [_NODES], folders)
  rows = {}
  for at, line in enumerate(_lines(path)[1:], 2):
    cells = line.split('\t')
    if not line.strip():
      continue
    if len(cells) != 3:
      raise _reading.problem(
        f'{path}:{at}', 'node, features and class', f'{len(cells)} columns'
      )
    node, label = _numbers(path, at, (cells[0], cells[2]), int)
    words = [word for word in cells[1].split(',') if word.strip()]
    values = _numbers(path, at, words, int if num_words else float)
    if num_words and any(not 0 <= v < num_words for v in values):
      raise _reading.problem(
        f'{path}:{at}', f'words 0..{num_words - 1}', 'others'
      )
    if node in rows or label < 0:
      raise _reading.problem(
        f'{path}:{at}', 'every node once, with a class', f'node {node}'
      )
    rows[node] = (values, label)
  n = len(rows)
  if not n:
    raise _reading.problem(path, 'a node after the line of headings', 'none')
  if sorted(rows) != list(range(n)):
    raise _reading.problem(path, f'nodes 0..{n - 1}', 'others')
  widths = {len(values) for values, _ in rows.values()}
  if not num_words and len(widths) > 1:
    raise _reading.problem(
      path, 'as many features of every node', f'{min(widths)}..{max(widths)}'
    )
  features = np.zeros((n, num_words or widths.pop()), np.float32)
  for node, (values, _) in rows.items():
    if num_words:
      features[node, values] = 1
    else:
      features[node] = values
  labels = np.array([rows[node][1] for node in range(n)])
  if row_normalize:
    features = _dataset.row_normalized(features)
  edges = _reading.find(data_dir, [_EDGES], folders)
  pairs = _pairs(edges, n, '\t', 1)
  if split is None:
    rng = np.random.default_rng(checks.integer(seed, name='seed', low=0))
    masks = _dataset.split_nodes(
      labels, rng=rng, train=train, validation=validation, balanced=True
    )
  else:
    masks = _masks(data_dir, name, split, n)
  return _dataset.assemble(
    _change.undirected_pairs(pairs),
    n,
    features=features,
    labels=labels,
    masks=masks,
    pad=pad,
    name=name,
  )


def _masks(data_dir, name, split, n):
  split = checks.integer(split, name='split', low=0)
  file = f'{name}_split_0.6_0.2_{split}.npz'
  path = _reading.find(data_dir, [file], ('', name, 'splits'))
  out = []
  with _bounded.archive(path) as archive:
    for key in ('train_mask', 'val_mask', 'test_mask'):
      if key not in archive.names:
        raise _reading.problem(
          path, f'the key {key!r}', _limits.listed(archive.names)
        )
      mask = archive.read(key)
      if mask.shape != (n,) or mask.dtype.kind not in 'biu':
        raise _reading.problem(
          f'{path} [{key}]', f'a mask of {n} nodes', f'shape {mask.shape}'
        )
      out.append(mask != 0)
  both = np.flatnonzero(np.sum(out, axis=0) > 1)
  if len(both):
    raise _reading.problem(
      path, 'splits without common nodes', f'node {both[0]} twice'
    )
  return tuple(out)


def _pairs(path, n, separator, skip, columns=2):
  """Rows of an edge list: two nodes, and a weight if columns are three."""
  rows = []
  for at, line in enumerate(_lines(path), 1):
    text = line.partition('#')[0].replace(',', ' ') if not separator else line
    words = text.split(separator) if text.strip() else []
    if at <= skip or not words:
      continue
    if len(words) != columns:
      raise _reading.problem(
        f'{path}:{at}',
        'two nodes' + (' and a weight' if columns == 3 else ''),
        f'{len(words)} columns',
      )
    a, b = _numbers(path, at, words[:2], int)
    if min(a, b) < 0 or (n is not None and max(a, b) >= n):
      top = 'and up' if n is None else f'to {n - 1}'
      raise _reading.problem(f'{path}:{at}', f'nodes 0 {top}', f'{a} and {b}')
    rows.append((a, b, *_numbers(path, at, words[2:], float)))
  return np.array(rows).reshape(-1, columns)


def _array(path, n):
  path = _reading.existing(path)
  try:
    values = checks.load_npy(path)
  except ValueError as error:
    raise _reading.problem(path, 'an array of numbers', str(error)) from None
  if n is not None and values.shape[:1] != (n,):
    raise _reading.problem(
      path, f'a row for each of {n} nodes', f'shape {values.shape}'
    )
  return values


def edge_list(
  *,
  data_dir: str | os.PathLike[str],
  edges: str = 'edges.txt',
  features: str = 'features.npy',
  labels: str = 'labels.npy',
  without: str = 'constant',
  directed: bool = False,
  weighted: bool = False,
  num_nodes: int | None = None,
  train: float = 0.6,
  validation: float = 0.2,
  seed: int = 0,
  pad: bool = True,
) -> GraphDataset:
  """Loads a graph of one's own.

  `edges.txt` has two nodes per line, and a weight if weighted, with spaces,
  tabs or a comma between; `#` begins a comment. `features.npy` [n, F] and
  `labels.npy` [n] are read if they are there. Repeated edges and loops are
  dropped.

  Args:
    data_dir: folder of the files.
    edges: name of the file of edges.
    features: name of the file of features.
    labels: name of the file of labels, integers from 0.
    without: in `FEATURES`, where there is no file of features.
    directed: whether edges lead from the first node to the second only.
    weighted: whether there is a third column; edges may not be repeated then.
    num_nodes: n; as many as features, or labels, or one more than the largest
      number in the edges if None.
    train: see `split_nodes`, where there are labels.
    validation: see `split_nodes`.
    seed: draws the split.
    pad: whether sizes are rounded up.

  Returns:
    The data set.

  Raises:
    FileNotFoundError: if a file is missing, which is named.
    FileError: (a ValueError) if a line or an array is damaged.
  """
  directed = checks.flag(directed, name='directed')
  weighted = checks.flag(weighted, name='weighted')
  root = pathlib.Path(data_dir)
  path = _reading.find(root, [edges])
  arrays, n = {}, num_nodes
  if n is not None:
    checks.integer(n, name='num_nodes', low=1)
  for key, file, default in (
    ('features', features, 'features.npy'),
    ('labels', labels, 'labels.npy'),
  ):
    if file != default or (root / file).exists():
      arrays[key] = _array(root / file, n)
      n = len(arrays[key])
  rows = _pairs(path, n, None, 0, 3 if weighted else 2)
  pairs = rows[:, :2].astype(np.int64)
  if n is None:
    n = _dataset.count_nodes(path, pairs)
    if n == 0:
      raise _reading.problem(path, 'at least one edge', 'none')
  weights = None
  if weighted:
    kept = pairs[:, 0] != pairs[:, 1]
    pairs, weights = pairs[kept], rows[kept, 2]
  elif directed:
    pairs = np.unique(pairs, axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
  else:
    pairs = _change.undirected_pairs(pairs)
  x = arrays.get('features')
  if x is not None and (x.ndim != 2 or not np.isfinite(x).all()):
    raise _reading.problem(
      root / features, 'finite numbers [n, F]', f'shape {x.shape}'
    )
  y, masks = arrays.get('labels'), (None, None, None)
  if y is not None:
    y = _reading.label_array(root / labels, y, None)
    rng = np.random.default_rng(checks.integer(seed, name='seed', low=0))
    masks = _dataset.split_nodes(y, rng=rng, train=train, validation=validation)
  checks.choice(without, _dataset.FEATURES, name='without')
  return _dataset.assemble(
    pairs,
    n,
    features=without if x is None else x,
    labels=y,
    masks=masks,
    weights=weights,
    directed=directed,
    pad=pad,
    name=root.name,
  )
