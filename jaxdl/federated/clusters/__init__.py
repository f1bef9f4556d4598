# SPDX-License-Identifier: Apache-2.0
"""A model per group of clients that hold data of one kind.

One-shot clustering (OCFL) trains one model until the updates of clients begin
to point apart, clusters them once, by the cosine distances of the updates, and
trains each cluster by itself:

    setting = clusters.Setting(task, 15, local.LocalWork('sgd(0.2)',
                               batch_size=32, num_epochs=3))
    algorithm = clusters.make_algorithm('ocfl(clusterer=hdbscan)', setting)

Algorithms (`ALGORITHMS`): `ocfl`; `sattler`, recursive bipartition; `briggs`,
hierarchical clustering in a given round; `ifca`, clients that choose among K
models; `fedavg` and `local_only`, one cluster of all and one for each. What
clients and server do is any method of `federated.server` over any channel; with
'ocfl(gossip=ring)' clusters need no server after the shot.

Parts: `cosine_distance_matrix`, `clustering_temperature`,
`temperature_trigger`; `CLUSTERERS` of scikit-learn by `cluster_labels`;
`membership_matrix`, `clustered_aggregate`; `cluster_directions` and `assign`
for newcomers; `cluster_mixer`; `clustering_scores`, `label_history` and
`mean_scores`. A `Policy` of your own goes into a `Recipe`.

The decision is the host's; the two halves of a round around it are compiled
once, for any clusters that come out.
"""

from jaxdl.federated.clusters._algorithms import (
  ALGORITHMS,
  briggs,
  fedavg,
  ifca,
  local_only,
  make_algorithm,
  make_recipe,
  ocfl,
  sattler,
)
from jaxdl.federated.clusters._clusterers import (
  CLUSTERERS,
  Clusterer,
  cluster_labels,
  make_clusterer,
  relabel,
)
from jaxdl.federated.clusters._engine import Setting
from jaxdl.federated.clusters._membership import (
  assign,
  cluster_directions,
  cluster_mixer,
  clustered_aggregate,
  membership_matrix,
)
from jaxdl.federated.clusters._policies import (
  Policy,
  Seen,
  at_round,
  bipartition,
  one_shot,
)
from jaxdl.federated.clusters._scores import (
  SCORES,
  blueprint_rows,
  clustering_scores,
  history_rows,
  mean_scores,
)
from jaxdl.federated.clusters._temperature import (
  clustering_temperature,
  cosine_distance_matrix,
  temperature_trigger,
)
from jaxdl.federated.clusters._training import (
  ClusteredState,
  Recipe,
  clustered,
  label_history,
)

__all__ = [
  'ALGORITHMS',
  'CLUSTERERS',
  'ClusteredState',
  'Clusterer',
  'Policy',
  'Recipe',
  'SCORES',
  'Seen',
  'Setting',
  'assign',
  'at_round',
  'bipartition',
  'blueprint_rows',
  'briggs',
  'cluster_directions',
  'cluster_labels',
  'cluster_mixer',
  'clustered',
  'clustered_aggregate',
  'clustering_scores',
  'clustering_temperature',
  'cosine_distance_matrix',
  'fedavg',
  'history_rows',
  'ifca',
  'label_history',
  'local_only',
  'make_algorithm',
  'make_clusterer',
  'make_recipe',
  'mean_scores',
  'membership_matrix',
  'ocfl',
  'one_shot',
  'relabel',
  'sattler',
  'temperature_trigger',
]
