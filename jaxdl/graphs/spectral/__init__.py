# SPDX-License-Identifier: Apache-2.0
"""Spectra of graphs, and networks that learn filters of them.

- `normalized_laplacian`, `spectral_decomposition`: on the host, in float64;
  `num_eigs` takes both ends of the spectrum only. `MATRIX` says in words what
  is decomposed.
- `graph_spectrum`: the `Spectrum` of a `graphs.Graph`, or of a stack of them,
  padded; spectral networks take it where others take a graph.
- `gnodeformer`: a transformer over eigenvalues whose layers are Runge-Kutta
  steps makes filters; `NETWORKS` by name. `apply(..., with_filters=True)` also
  gives them.
- Its parts: `eigenvalue_encoding`, `rk_step` (orders 1 to 4),
  `transformer_block`, `spectral_bases`.
"""

from jaxdl.graphs.spectral._network import (
  FILTERS,
  NETWORKS,
  NORMS,
  gnodeformer,
  spectral_bases,
)
from jaxdl.graphs.spectral._spectrum import (
  MATRIX,
  MOST_NODES,
  Spectrum,
  graph_spectrum,
  normalized_laplacian,
  spectral_decomposition,
)
from jaxdl.graphs.spectral._transformer import (
  ORDERS,
  eigenvalue_encoding,
  rk_step,
  transformer_block,
)

__all__ = [
  'FILTERS',
  'MATRIX',
  'MOST_NODES',
  'NETWORKS',
  'NORMS',
  'ORDERS',
  'Spectrum',
  'eigenvalue_encoding',
  'gnodeformer',
  'graph_spectrum',
  'normalized_laplacian',
  'rk_step',
  'spectral_bases',
  'spectral_decomposition',
  'transformer_block',
]
