# SPDX-License-Identifier: Apache-2.0
"""Partitioners by name."""

from typing import Any

import numpy as np

from jaxdl.core import registry
from jaxdl.data.partition import _clusters, _labels, _sizes

PARTITIONERS = registry.Registry(
  'partition',
  {
    'iid': _sizes.partition_iid,
    'quantity_dirichlet': _sizes.partition_quantity_dirichlet,
    'power_law': _sizes.partition_power_law,
    'lognormal': _sizes.partition_lognormal,
    'label_dirichlet': _labels.partition_label_dirichlet,
    'client_dirichlet': _labels.partition_client_dirichlet,
    'overlapping_dirichlet': _labels.partition_overlapping_dirichlet,
    'similarity': _labels.partition_similarity,
    'shards': _labels.partition_shards,
    'classes': _labels.partition_classes,
    'clusters': _clusters.partition_clusters,
    'natural': _sizes.partition_natural,
  },
  given=('rng', 'labels', 'num_clients', 'client_ids'),
)


def make_partition(
  spec: str,
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  **context: Any,
) -> list[np.ndarray]:
  """Runs a partitioner by name.

  Args:
    spec: a part of `PARTITIONERS`, e.g. 'label_dirichlet(alpha=0.1)'.
    rng: host generator; advanced.
    labels: [n].
    num_clients: N.
    **context: further arguments, e.g. `client_ids` of 'natural'; those that the
      partitioner does not take or the spec sets itself are left out.

  Returns:
    N sorted index arrays.

  Raises:
    ValueError: if the name or an option is unknown or an option is missing.

  Example:
    >>> parts = make_partition(
    ...   'iid', np.random.default_rng(0), np.zeros(4), 2
    ... )
    >>> [len(part) for part in parts]
    [2, 2]
  """
  return PARTITIONERS.make(spec, rng, labels, num_clients, **context)
