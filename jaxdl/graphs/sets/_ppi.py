# SPDX-License-Identifier: Apache-2.0
"""Proteins in tissues: many graphs, whose nodes have several labels each."""

import json
import os

import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.data.files import _limits, _reading
from jaxdl.graphs import _change
from jaxdl.graphs.sets import _dataset
from jaxdl.graphs.sets._dataset import GraphDataset

_SPLITS = ('train', 'valid', 'test')


def ppi(
  *,
  data_dir: str | os.PathLike[str],
  pad: bool = True,
  max_bytes: int = _limits.MAX_BYTES,
) -> GraphDataset:
  """Loads graphs of proteins, some to train on and others to test on.

  The files are, of `train`, `valid` and `test` each, `<split>_graph.json`
  (nodes and links, as `networkx.node_link_data` writes them, nodes numbered
  from 0), `<split>_feats.npy` [n, F], `<split>_labels.npy` [n, K] of 0 and 1,
  and `<split>_graph_id.npy` [n], which graph a node belongs to; in the folder
  itself, `ppi` or `raw`. All graphs lie beside each other in one, those to
  train on first, in the order of their numbers; a split is whole graphs. Links
  lead both ways; repeated ones and loops are dropped.

  Args:
    data_dir: folder of the files.
    pad: whether sizes are rounded up.
    max_bytes: most bytes of the arrays of a split.

  Returns:
    The data set; its graph has `graph_ids`, so that `graphs.unbatch` takes it
    apart and `graphs.batch` puts a few together; labels are f[N, K].

  Raises:
    FileNotFoundError: if a file is missing, which is named.
    FileError: (a ValueError) if one is damaged or they do not fit together.

  Source: Hamilton, Ying & Leskovec 2017 (https://arxiv.org/abs/1706.02216),
    section 4.2.
  """
  pairs, features, labels, graph_ids, splits = [], [], [], [], []
  size = num_graphs = 0
  for k, split in enumerate(_SPLITS):
    found = _read(data_dir, split, max_bytes)
    for kind, mine in (('feats', features), ('labels', labels)):
      if mine and found[kind].shape[1] != mine[0].shape[1]:
        raise _reading.problem(
          _find(data_dir, f'{split}_{kind}.npy'),
          f'{mine[0].shape[1]} columns, as those to train on',
          f'{found[kind].shape[1]}',
        )
      mine.append(found[kind])
    n = len(found['graph_id'])
    pairs.append(found['links'] + size)
    graph_ids.append(found['graph_id'] + num_graphs)
    splits.append(np.full(n, k))
    size, num_graphs = size + n, num_graphs + found['graph_id'].max() + 1
  split_of = np.concatenate(splits)
  labels = np.concatenate(labels)
  data = _dataset.assemble(
    np.concatenate(pairs),
    size,
    features=np.concatenate(features),
    labels=labels,
    num_classes=labels.shape[1],
    masks=tuple(split_of == k for k in range(3)),
    pad=pad,
    name='ppi',
  )
  ids = np.full(data.graph.num_nodes, num_graphs, np.int32)
  ids[:size] = np.concatenate(graph_ids)
  graph = data.graph.replace(
    graph_ids=jnp.asarray(ids), num_graphs=int(num_graphs) + 1
  )
  return data._replace(graph=graph)


def _find(data_dir, file):
  return _reading.find(data_dir, [file], ('', 'ppi', 'raw'))


def _read(data_dir, split, max_bytes):
  """Arrays of a split whose nodes are sorted by graph, from zero."""
  paths = {
    kind: _find(data_dir, f'{split}_{kind}.npy')
    for kind in ('feats', 'labels', 'graph_id')
  }
  path = _find(data_dir, f'{split}_graph.json')
  budget = _limits.Budget(path, max_bytes)
  found = {}
  for kind, file in paths.items():
    budget.take(os.path.getsize(file), file.name)
    try:
      found[kind] = checks.load_npy(file)
    except ValueError as error:
      raise _reading.problem(file, 'an array of numbers', str(error)) from None
  ids = found['graph_id']
  if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in 'iu':
    raise _reading.problem(
      paths['graph_id'], 'integers [n]', f'shape {ids.shape} of {ids.dtype}'
    )
  n = len(ids)
  for kind in ('feats', 'labels'):
    values, file = found[kind], paths[kind]
    if values.ndim != 2 or len(values) != n or not values.shape[1]:
      raise _reading.problem(
        file, f'rows of numbers for {n} nodes', f'shape {values.shape}'
      )
    found[kind] = _reading.as_float32(file, values)
    if not np.isfinite(found[kind]).all():
      raise _reading.problem(file, 'finite numbers', 'others')
  if not np.isin(found['labels'], (0, 1)).all():
    raise _reading.problem(paths['labels'], 'zeros and ones', 'others')
  order = np.argsort(ids, kind='stable')
  place = np.empty(n, np.int64)
  place[order] = np.arange(n)
  _, ids = np.unique(ids, return_inverse=True)
  links = _links(path, n)
  apart = np.flatnonzero(ids[links[:, 0]] != ids[links[:, 1]])
  if len(apart):
    a, b = links[apart[0]]
    raise _reading.problem(
      path, 'links within a graph', f'{a} and {b}, which are of two'
    )
  return {
    'links': _change.undirected_pairs(place[links]),
    'feats': found['feats'][order],
    'labels': found['labels'][order],
    'graph_id': ids[order],
  }


def _links(path, n):
  """Pairs of nodes of a file of nodes and links."""
  try:
    content = json.loads(_reading.read_bytes(path))
    nodes = [node['id'] for node in content['nodes']]
    pairs = [(link['source'], link['target']) for link in content['links']]
  except (ValueError, RecursionError, KeyError, TypeError):
    raise _reading.problem(
      path, "'nodes' with an 'id', 'links' with 'source' and 'target'", 'others'
    ) from None
  if nodes != list(range(n)):
    raise _reading.problem(
      path, f'nodes 0..{n - 1} in order', f'{len(nodes)} nodes or others'
    )
  whole = lambda v: type(v) is int and 0 <= v < n
  bad = next((p for p in pairs if not (whole(p[0]) and whole(p[1]))), None)
  if bad is not None:
    raise _reading.problem(
      path, f'links of nodes 0..{n - 1}', _limits.short(bad, 60)
    )
  return np.array(pairs, np.int64).reshape(-1, 2)
