# SPDX-License-Identifier: Apache-2.0
"""Many networks of agents as arrays of one size."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
import networkx
import numpy as np

from jaxdl.core import checks
from jaxdl.language.agentsnet import _graphs, _names


class GraphBatch(NamedTuple):
  """Graphs, padded; functions of one graph take the same without B.

  Attributes:
    neighbors: i32[B, N, D], ascending in the first slots; padding names the
      node itself.
    neighbor_mask: bool[B, N, D], which slots are neighbors.
    node_mask: bool[B, N], which nodes there are; padding comes last.
    numbers: i32[B, N], what nodes draw and rank by, see `node_number`.
    diameters: i32[B].
  """

  neighbors: chex.Array
  neighbor_mask: chex.Array
  node_mask: chex.Array
  numbers: chex.Array
  diameters: chex.Array

  @property
  def degrees(self) -> chex.Array:
    """i32[B, N], how many neighbors nodes have."""
    return self.neighbor_mask.sum(-1, dtype=jnp.int32)

  @property
  def max_degrees(self) -> chex.Array:
    """i32[B], the largest degree."""
    return self.degrees.max(-1)

  @property
  def num_nodes(self) -> chex.Array:
    """i32[B], how many nodes there are."""
    return self.node_mask.sum(-1, dtype=jnp.int32)


def check_batch(batch: Any) -> None:
  """Raises TypeError unless an argument `batch` holds graphs."""
  if not isinstance(batch, GraphBatch):
    raise TypeError(
      f'batch must be a GraphBatch; got {checks.described(batch)}: see '
      'agentsnet.batch_graphs.'
    )


def diameter(graph: networkx.Graph) -> int:
  """The longest of the shortest paths of a connected graph.

  Args:
    graph: see `make_graph`.

  Returns:
    The number of its links; as `networkx.diameter`, in compiled code.
  """
  from scipy.sparse import csgraph

  links = networkx.to_scipy_sparse_array(graph, dtype=np.int8, format='csr')
  far = 0
  for start in range(0, len(graph), 256):
    some = np.arange(start, min(start + 256, len(graph)))
    paths = csgraph.shortest_path(links, unweighted=True, indices=some)
    far = max(far, int(paths.max()))
  return far


def batch_graphs(
  graphs: Sequence[networkx.Graph],
  *,
  pad_nodes: int | None = None,
  pad_degree: int | None = None,
) -> GraphBatch:
  """Puts graphs into arrays of one size, on the host.

  Args:
    graphs: at least one, see `make_graph`.
    pad_nodes: N, at least as many as the largest graph has; as many if None.
    pad_degree: D, at least the largest degree; as much if None.

  Returns:
    The graphs.

  Raises:
    ValueError: if there is no graph, one is no network, or padding is too
      small.

  Example:
    >>> graph = _graphs.make_graph('path', 3, 0)
    >>> batch_graphs([graph]).neighbors[0].tolist()
    [[1, 0], [0, 2], [1, 2]]
  """
  graphs = list(graphs)
  if not graphs:
    raise ValueError('graphs is empty: need one graph or more.')
  for i, graph in enumerate(graphs):
    _graphs.check_graph(graph, label=f'graphs[{i}]')
  most = max(len(graph) for graph in graphs)
  wide = max(_graphs.max_degree(graph) for graph in graphs)
  n = most if pad_nodes is None else pad_nodes
  d = wide if pad_degree is None else pad_degree
  n = checks.integer(n, name='pad_nodes', low=most)
  d = checks.integer(d, name='pad_degree', low=wide)
  shape = (len(graphs), n)
  neighbors = np.broadcast_to(np.arange(n)[None, :, None], (*shape, d)).copy()
  mask = np.zeros((*shape, d), bool)
  numbers = np.zeros(shape, np.int32)
  for b, graph in enumerate(graphs):
    for i in range(len(graph)):
      near = _graphs.neighbors_of(graph, i)
      neighbors[b, i, : len(near)] = near
      mask[b, i, : len(near)] = True
    numbers[b, : len(graph)] = [
      _names.node_number(name) for name in _graphs.names_of(graph)
    ]
  sizes = np.array([len(graph) for graph in graphs])
  return GraphBatch(
    neighbors=jnp.asarray(neighbors, jnp.int32),
    neighbor_mask=jnp.asarray(mask),
    node_mask=jnp.asarray(np.arange(n) < sizes[:, None]),
    numbers=jnp.asarray(numbers),
    diameters=jnp.asarray([diameter(graph) for graph in graphs], jnp.int32),
  )
