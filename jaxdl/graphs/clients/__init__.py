# SPDX-License-Identifier: Apache-2.0
"""Graphs whose nodes are split over clients.

- `induced_pieces` leaves clients their nodes and the edges among them,
  `kept_edges` tells how many those are, `edges_between` where the others lie;
  `pad_pieces` stacks pieces for `vmap`.
- Completions give back what was lost, `COMPLETIONS` of `make_pieces`:
  `neighbor_sums` (FedGCN: sums over neighbors are told once, before training;
  the network `fedgcn` learns on them) and `generated` (as FedSage+:
  `generate_neighbors` makes lost neighbors up).
- `node_classification`: the task of telling the classes of nodes, one whole
  graph a batch.
- `NETWORKS`: those of `graphs` and `graphs.spectral`, and `fedgcn`;
  `read_learner` reads `network[@completion]` (`LEARNERS`).
"""

from jaxdl.graphs.clients._exchange import fedgcn, neighbor_sums
from jaxdl.graphs.clients._generation import (
  Generated,
  generate_neighbors,
  generated,
)
from jaxdl.graphs.clients._pieces import (
  PaddedPieces,
  Piece,
  edges_between,
  induced_pieces,
  kept_edges,
  pad_pieces,
)
from jaxdl.graphs.clients._task import (
  COMPLETIONS,
  LEARNERS,
  NETWORKS,
  STRUCTURES,
  make_pieces,
  node_classification,
  read_learner,
)

__all__ = [
  'COMPLETIONS',
  'Generated',
  'LEARNERS',
  'NETWORKS',
  'PaddedPieces',
  'Piece',
  'STRUCTURES',
  'edges_between',
  'fedgcn',
  'generate_neighbors',
  'generated',
  'induced_pieces',
  'kept_edges',
  'make_pieces',
  'neighbor_sums',
  'node_classification',
  'pad_pieces',
  'read_learner',
]
