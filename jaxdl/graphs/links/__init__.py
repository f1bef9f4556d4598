# SPDX-License-Identifier: Apache-2.0
"""Which links are missing? Encoders, predictors and what they are measured by.

    data = graphs.sets.geometric()
    split = links.random_link_split(np.random.default_rng(0), data.graph)
    known = links.adjacency(graphs.make_graph(split.train, 600))
    task = links.link_task('mpnn(32)', 'ncn', known, data.features)

A link predictor is two `Network`s: an encoder (`ENCODERS`, `mpnn`) of (graph,
x) gives every node a vector in one pass of messages, a predictor (`PREDICTORS`)
of (adjacency, h, pairs) scores pairs.

- `adjacency` prepares a graph for questions about neighbors: `rows`,
  `are_linked`, `overlap`, `pool_common`, `count_shared`. Up to `DENSE_NODES`
  nodes it holds the matrix of links and pools by products, else it searches
  sorted rows. `remove_targets` and `keep_edges` take links out by masks.
- `gae` sees the product of two vectors, `gae_cn` also counts common neighbors,
  `ncn` pools their vectors, `ncn2` and `ncn_diff` those of further nodes;
  `ncnc` completes common neighbors by what it predicts itself
  (`clamp_probability`, `ramp`, `sample_neighbors`). `cn`, `aa` and `ra` are
  scores without learning, `common_neighbors`, `adamic_adar` and
  `resource_allocation`.
- `link_task` puts two together, `two_rates` lets them learn at their own pace,
  `over_batches` makes an epoch one compiled scan, `link_scores` scores many
  pairs within a bound of memory.
- `random_link_split`, `random_non_links`, `sample_negatives` (traced) draw;
  `hits_at_k`, `mean_reciprocal_rank`, `roc_auc` and `link_loss` measure.
- Nodes that are clients: `communities` cuts a graph, `local_views` is what each
  part knows, `quotient` who talks to whom.
- `check_pairs`, `check_splits`, `check_finite` and `undirected_graph` look at
  what comes from elsewhere, on the host.
"""

from jaxdl.graphs.links._adjacency import (
  DENSE_NODES,
  Adjacency,
  adjacency,
  are_linked,
  check_pairs,
  keep_edges,
  remove_targets,
  rows,
  undirected_graph,
)
from jaxdl.graphs.links._completion import clamp_probability, ncnc, ramp
from jaxdl.graphs.links._encoders import (
  CONVOLUTIONS,
  ENCODERS,
  convolve,
  make_encoder,
  mpnn,
  orthogonal,
)
from jaxdl.graphs.links._heads import COMBINATIONS
from jaxdl.graphs.links._heuristics import (
  adamic_adar,
  common_neighbors,
  resource_allocation,
)
from jaxdl.graphs.links._measures import (
  hits_at_k,
  link_loss,
  mean_reciprocal_rank,
  roc_auc,
)
from jaxdl.graphs.links._negatives import (
  check_splits,
  random_link_split,
  random_non_links,
  sample_negatives,
)
from jaxdl.graphs.links._overlap import (
  Overlap,
  count_shared,
  overlap,
  pool_common,
  sample_neighbors,
)
from jaxdl.graphs.links._predictors import (
  aa,
  cn,
  gae,
  gae_cn,
  ncn,
  ncn2,
  ncn_diff,
  ra,
)
from jaxdl.graphs.links._tasks import (
  FIXED,
  PREDICTORS,
  check_finite,
  link_scores,
  link_task,
  make_predictor,
  over_batches,
  two_rates,
)
from jaxdl.graphs.links._views import Views, communities, local_views, quotient

__all__ = [
  'COMBINATIONS',
  'CONVOLUTIONS',
  'DENSE_NODES',
  'ENCODERS',
  'FIXED',
  'PREDICTORS',
  'Adjacency',
  'Overlap',
  'Views',
  'aa',
  'adamic_adar',
  'adjacency',
  'are_linked',
  'check_finite',
  'check_pairs',
  'check_splits',
  'clamp_probability',
  'cn',
  'common_neighbors',
  'communities',
  'convolve',
  'count_shared',
  'gae',
  'gae_cn',
  'hits_at_k',
  'keep_edges',
  'link_loss',
  'link_scores',
  'link_task',
  'local_views',
  'make_encoder',
  'make_predictor',
  'mean_reciprocal_rank',
  'mpnn',
  'ncn',
  'ncn2',
  'ncn_diff',
  'ncnc',
  'orthogonal',
  'over_batches',
  'overlap',
  'pool_common',
  'quotient',
  'ra',
  'ramp',
  'random_link_split',
  'random_non_links',
  'remove_targets',
  'resource_allocation',
  'roc_auc',
  'rows',
  'sample_negatives',
  'sample_neighbors',
  'two_rates',
  'undirected_graph',
]
