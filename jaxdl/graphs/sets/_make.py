# SPDX-License-Identifier: Apache-2.0
"""Sets of graphs by name."""

import os

from jaxdl.core import checks, registry
from jaxdl.graphs.sets import _archives, _drawn, _planetoid, _ppi, _tables
from jaxdl.graphs.sets._dataset import GraphDataset

SETS = registry.Registry(
  'dataset',
  {
    'block_model': _drawn.block_model,
    'digits_knn': _drawn.digits_knn,
    'edge_list': _tables.edge_list,
    'geometric': _drawn.geometric,
    'heterophilic': _tables.heterophilic,
    'karate': _drawn.karate,
    'lesmis': _drawn.lesmis,
    'ogb_npz': _archives.ogb_npz,
    'planetoid': _planetoid.planetoid,
    'ppi': _ppi.ppi,
  },
  given=('data_dir',),
  told=('seed', 'pad'),
)


def needs_files(spec: str) -> bool:
  """Whether a set is read from local files.

  Args:
    spec: a part of `SETS`.

  Returns:
    True if `load_graph_set` needs `data_dir`.

  Raises:
    ValueError: if the name or an option is unknown.

  Example:
    >>> needs_files('karate'), needs_files('planetoid(name=citeseer)')
    (False, True)
  """
  return checks.takes(SETS[SETS.part(spec).name], 'data_dir')


def load_graph_set(
  spec: str,
  data_dir: str | os.PathLike[str] | None = None,
  *,
  seed: int = 0,
  pad: bool = True,
) -> GraphDataset:
  """Loads or draws a graph by name.

  Args:
    spec: a part of `SETS`, e.g. 'block_model(heterophilic=True)'.
    data_dir: folder of the files, where there are some.
    seed: of what is drawn, splits among them.
    pad: whether sizes are rounded up, see `graphs.bucket`.

  Returns:
    The data set.

  Raises:
    ValueError: if the name or an option is unknown or out of range, or files
      are needed and `data_dir` is None.

  Example:
    >>> load_graph_set('karate', pad=False).graph.num_nodes
    34
  """
  if needs_files(spec) and not data_dir:
    raise ValueError(
      f'dataset={spec} is read from local files: pass data_dir, the folder '
      'where they are (nothing is downloaded).'
    )
  seed = checks.integer(seed, name='seed', low=0)
  return SETS.make(spec, data_dir=data_dir, seed=seed, pad=pad)
