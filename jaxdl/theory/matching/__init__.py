# SPDX-License-Identifier: Apache-2.0
"""Which units of networks of different starts do the same, and for what.

Units are told by what they do on common inputs (`networks.activations`), not by
their weights. Samples stream past: `activation_moments` of a batch,
`merge_moments`, `stream_moments` over batches, `all_reduce_moments` over
devices; `network_moments` of many networks. Then, with more and more freedom:

- One to one. `correlation` (or `information_matrix`), `semi_match` with
  replacement, `max_match` without; `match_summary` says how well it goes,
  `random_match` is what it must beat, `cycle_order` sorts a picture.
- One to few. `fit_sparse_map` predicts a unit from few of another network,
  `sparse_path` under several penalties, `dense_map` from all.
- Many to many. `cluster_units` of a `joint_similarity`.
- As a whole: `linear_cka`, `canonical_correlations`, `procrustes`,
  `principal_angles` (`SIMILARITIES`).

`measure_layers` takes parts of `MEASURES` by name. `align` brings a model into
the order of another before they are merged (`decentralized.merging`), along a
`layer_chain`.

Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543).
"""

from jaxdl.theory.matching._align import ALIGNMENTS, Aligned, align
from jaxdl.theory.matching._chain import (
  Chain,
  Layer,
  layer_chain,
  permute_units,
)
from jaxdl.theory.matching._clusters import (
  Cluster,
  Embedding,
  cluster_units,
  describe_clusters,
  joint_similarity,
  spectral_embedding,
  subspace_similarity,
)
from jaxdl.theory.matching._information import (
  bin_units,
  information_matrix,
  mutual_information,
)
from jaxdl.theory.matching._match import (
  Match,
  MatchSummary,
  cycle_order,
  match_summary,
  max_match,
  overlap_ratio,
  random_match,
  semi_match,
)
from jaxdl.theory.matching._measures import MEASURES, measure_layers
from jaxdl.theory.matching._moments import (
  Correlation,
  Moments,
  activation_moments,
  all_reduce_moments,
  correlation,
  merge_moments,
  stream_moments,
  units,
)
from jaxdl.theory.matching._networks import (
  Layers,
  network_activations,
  network_moments,
  pairs,
)
from jaxdl.theory.matching._similarity import (
  SIMILARITIES,
  canonical_correlations,
  linear_cka,
  principal_angles,
  procrustes,
)
from jaxdl.theory.matching._sparse import (
  SparseMap,
  SparsePath,
  dense_map,
  fit_sparse_map,
  map_error,
  predict_map,
  sparse_map,
  sparse_path,
  standardized,
)

__all__ = [
  'ALIGNMENTS',
  'Aligned',
  'Chain',
  'Cluster',
  'Correlation',
  'Embedding',
  'Layer',
  'Layers',
  'MEASURES',
  'Match',
  'MatchSummary',
  'Moments',
  'SIMILARITIES',
  'SparseMap',
  'SparsePath',
  'activation_moments',
  'align',
  'all_reduce_moments',
  'bin_units',
  'canonical_correlations',
  'cluster_units',
  'correlation',
  'cycle_order',
  'dense_map',
  'describe_clusters',
  'fit_sparse_map',
  'information_matrix',
  'joint_similarity',
  'layer_chain',
  'linear_cka',
  'map_error',
  'match_summary',
  'max_match',
  'measure_layers',
  'merge_moments',
  'mutual_information',
  'network_activations',
  'network_moments',
  'overlap_ratio',
  'pairs',
  'permute_units',
  'predict_map',
  'principal_angles',
  'procrustes',
  'random_match',
  'semi_match',
  'sparse_map',
  'sparse_path',
  'spectral_embedding',
  'standardized',
  'stream_moments',
  'subspace_similarity',
  'units',
]
