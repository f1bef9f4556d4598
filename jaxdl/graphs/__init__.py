# SPDX-License-Identifier: Apache-2.0
"""Graphs of static size, and networks on them.

- `Graph`: senders, receivers and masks; `make_graph` makes one of a list of
  edges and pads it, `bucket` says to which sizes.
- `segment_sum`, `segment_mean`, `segment_max`, `segment_softmax`,
  `segment_count`: over the edges that reach a node.
"""

from jaxdl.graphs._graph import Graph, bucket, make_graph
from jaxdl.graphs._segments import (
  segment_count,
  segment_max,
  segment_mean,
  segment_softmax,
  segment_sum,
)

__all__ = [
  'Graph',
  'bucket',
  'make_graph',
  'segment_count',
  'segment_max',
  'segment_mean',
  'segment_softmax',
  'segment_sum',
]
