# SPDX-License-Identifier: Apache-2.0
"""Graphs with features, labels and splits: bundled, drawn, or read from files.

`load_graph_set('karate')` gives a `GraphDataset`; `print(SETS)` shows every set
with its options. `planetoid`, `heterophilic`, `ppi`, `ogb_npz` and `edge_list`
read local files, nothing is downloaded and no object is unpickled; broken files
raise `data.files.FileError` with one sentence.

- `split_nodes` draws masks, `node_features` makes features for graphs that have
  none (`FEATURES`).
"""

from jaxdl.graphs.sets._archives import ogb_npz
from jaxdl.graphs.sets._dataset import (
  FEATURES,
  GraphDataset,
  LinkSplits,
  node_features,
  split_nodes,
)
from jaxdl.graphs.sets._drawn import (
  block_model,
  digits_knn,
  geometric,
  karate,
  lesmis,
)
from jaxdl.graphs.sets._make import SETS, load_graph_set, needs_files
from jaxdl.graphs.sets._planetoid import planetoid
from jaxdl.graphs.sets._ppi import ppi
from jaxdl.graphs.sets._tables import edge_list, heterophilic

__all__ = [
  'FEATURES',
  'GraphDataset',
  'LinkSplits',
  'SETS',
  'block_model',
  'digits_knn',
  'edge_list',
  'geometric',
  'heterophilic',
  'karate',
  'lesmis',
  'load_graph_set',
  'needs_files',
  'node_features',
  'ogb_npz',
  'planetoid',
  'ppi',
  'split_nodes',
]
