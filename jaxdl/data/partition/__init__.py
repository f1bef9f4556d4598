# SPDX-License-Identifier: Apache-2.0
"""Who gets which examples: partitions of labeled data."""

from jaxdl.data.partition._clusters import (
  CLASS_MAPS,
  client_groups,
  partition_clusters,
)
from jaxdl.data.partition._labels import (
  partition_classes,
  partition_client_dirichlet,
  partition_label_dirichlet,
  partition_overlapping_dirichlet,
  partition_shards,
  partition_similarity,
)
from jaxdl.data.partition._registry import PARTITIONERS, make_partition
from jaxdl.data.partition._sizes import (
  class_table,
  partition_iid,
  partition_lognormal,
  partition_natural,
  partition_power_law,
  partition_quantity_dirichlet,
)

__all__ = [
  'CLASS_MAPS',
  'PARTITIONERS',
  'class_table',
  'client_groups',
  'make_partition',
  'partition_classes',
  'partition_client_dirichlet',
  'partition_clusters',
  'partition_iid',
  'partition_label_dirichlet',
  'partition_lognormal',
  'partition_natural',
  'partition_overlapping_dirichlet',
  'partition_power_law',
  'partition_quantity_dirichlet',
  'partition_shards',
  'partition_similarity',
]
