# SPDX-License-Identifier: Apache-2.0
"""Graphs of static size, and networks on them.

- `Graph`: senders, receivers and masks; `make_graph` makes one of a list of
  edges and pads it, `bucket` says to which sizes.
- `from_networkx`, `from_scipy`, `from_dense`, `from_graphs_tuple` (jraph) and
  their inverses; matrices hold in [i, j] what i receives from j.
- `propagate`: one step along edges, normalized by `degrees`;
  `normalized_weights` are its numbers, which `normalized` writes into a graph.
- `neighbors` lists who reaches whom, `edge_pairs` reads the edges.
- `add_self_loops`, `remove_edges` (by mask, traced), `compact`, `subgraph` and
  `induced_subgraphs` (stacked over clients) change graphs.
- `batch` and `unbatch` put graphs beside each other, `graph_mask` and `pool`
  see each as a whole.
- `sample_neighbors`, `sample_rows`: some of many, with weights that keep sums
  right on average.
- `shard_edges` splits the edges over devices.
- `segment_sum`, `segment_mean`, `segment_max`, `segment_softmax`,
  `segment_count`: over the edges that reach a node.
- `gcn`, `sage`, `gat`, `gin`, `chebyshev`, `composed` (and `mlp`, which sees no
  edge) are networks, `NETWORKS` of `make_network`: `init(key, graph, x)`,
  `apply(params, graph, x, *, train=False, key=None)`.
- `graph_layer` is one layer of six choices (`ATTENTIONS`, `AGGREGATES`,
  `COMBINES`, `LAYER_ACTIVATIONS`, heads and width), by name or by traced
  numbers; `graph_layer_leaves` describes its parameters, `attention_weights`
  and `edge_softmax` are its first half.

`sets` has graphs with features, labels and splits.
"""

from jaxdl.graphs._attending import composed, gat
from jaxdl.graphs._attention import (
  AGGREGATES,
  ATTENTIONS,
  COMBINES,
  LAYER_ACTIVATIONS,
  attention_weights,
  edge_softmax,
  graph_layer,
  graph_layer_leaves,
)
from jaxdl.graphs._batch import POOLS, batch, graph_mask, pool, unbatch
from jaxdl.graphs._change import (
  add_self_loops,
  compact,
  edge_pairs,
  find_edges,
  neighbors,
  pad_rows,
  remove_edges,
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
from jaxdl.graphs._graph import Graph, Plan, bucket, make_graph
from jaxdl.graphs._networks import chebyshev, gcn, gin, mlp, sage
from jaxdl.graphs._parts import Subgraphs, induced_subgraphs, subgraph
from jaxdl.graphs._propagate import (
  NORMALIZATIONS,
  REDUCTIONS,
  degrees,
  edge_weights,
  normalized,
  normalized_weights,
  propagate,
)
from jaxdl.graphs._registry import NETWORKS, make_network
from jaxdl.graphs._sample import sample_neighbors, sample_rows
from jaxdl.graphs._segments import (
  segment_count,
  segment_max,
  segment_mean,
  segment_softmax,
  segment_sum,
)
from jaxdl.graphs._shard import shard_edges

__all__ = [
  'AGGREGATES',
  'ATTENTIONS',
  'COMBINES',
  'Graph',
  'GraphsTuple',
  'LAYER_ACTIVATIONS',
  'NETWORKS',
  'NORMALIZATIONS',
  'POOLS',
  'Plan',
  'REDUCTIONS',
  'Subgraphs',
  'add_self_loops',
  'attention_weights',
  'batch',
  'bucket',
  'chebyshev',
  'compact',
  'composed',
  'degrees',
  'edge_pairs',
  'edge_softmax',
  'edge_weights',
  'find_edges',
  'from_dense',
  'from_graphs_tuple',
  'from_networkx',
  'from_scipy',
  'gat',
  'gcn',
  'gin',
  'graph_layer',
  'graph_layer_leaves',
  'graph_mask',
  'induced_subgraphs',
  'make_graph',
  'make_network',
  'mlp',
  'neighbors',
  'normalized',
  'normalized_weights',
  'pad_rows',
  'pool',
  'propagate',
  'remove_edges',
  'sage',
  'sample_neighbors',
  'sample_rows',
  'segment_count',
  'segment_max',
  'segment_mean',
  'segment_softmax',
  'segment_sum',
  'shard_edges',
  'subgraph',
  'to_dense',
  'to_graphs_tuple',
  'to_networkx',
  'to_scipy',
  'unbatch',
  'undirected_pairs',
]
