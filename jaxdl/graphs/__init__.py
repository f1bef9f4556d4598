# SPDX-License-Identifier: Apache-2.0
"""Graphs of static size, and networks on them.

- `Graph`: senders, receivers and masks; `make_graph` makes one of a list of
  edges and pads it, `bucket` says to which sizes.
- `from_networkx`, `from_scipy`, `from_dense`, `from_graphs_tuple` (jraph) and
  their inverses; matrices hold in [i, j] what i receives from j.
- `propagate`: one step along edges, normalized by `degrees`;
  `normalized_weights` are its numbers.
- `neighbors` lists who reaches whom, `edge_pairs` reads the edges.
- `add_self_loops`, `remove_edges` (by mask, traced), `compact`, `subgraph` and
  `induced_subgraphs` (stacked over clients) change graphs.
- `segment_sum`, `segment_mean`, `segment_max`, `segment_softmax`,
  `segment_count`: over the edges that reach a node.

`sets` has graphs with features, labels and splits.
"""

from jaxdl.graphs._change import (
  Subgraphs,
  add_self_loops,
  compact,
  edge_pairs,
  find_edges,
  induced_subgraphs,
  neighbors,
  pad_rows,
  remove_edges,
  subgraph,
  undirected_pairs,
)
from jaxdl.graphs._convert import (
  GraphsTuple,
  from_dense,
  from_graphs_tuple,
  from_networkx,
  from_scipy,
  to_dense,
  to_graphs_tuple,
  to_networkx,
  to_scipy,
)
from jaxdl.graphs._graph import Graph, bucket, make_graph
from jaxdl.graphs._propagate import (
  NORMALIZATIONS,
  REDUCTIONS,
  degrees,
  edge_weights,
  normalized_weights,
  propagate,
)
from jaxdl.graphs._segments import (
  segment_count,
  segment_max,
  segment_mean,
  segment_softmax,
  segment_sum,
)

__all__ = [
  'Graph',
  'GraphsTuple',
  'NORMALIZATIONS',
  'REDUCTIONS',
  'Subgraphs',
  'add_self_loops',
  'bucket',
  'compact',
  'degrees',
  'edge_pairs',
  'edge_weights',
  'find_edges',
  'from_dense',
  'from_graphs_tuple',
  'from_networkx',
  'from_scipy',
  'induced_subgraphs',
  'make_graph',
  'neighbors',
  'normalized_weights',
  'pad_rows',
  'propagate',
  'remove_edges',
  'segment_count',
  'segment_max',
  'segment_mean',
  'segment_softmax',
  'segment_sum',
  'subgraph',
  'to_dense',
  'to_graphs_tuple',
  'to_networkx',
  'to_scipy',
  'undirected_pairs',
]
