# SPDX-License-Identifier: Apache-2.0
"""Sums over neighbors that clients tell each other once, before training."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys
from jaxdl.core.types import Network
from jaxdl.graphs import (
  _attention,
  _convert,
  _inside,
  _networks,
  _propagate,
)
from jaxdl.graphs._graph import Graph
from jaxdl.graphs.clients import _pieces
from jaxdl.networks import functional


def neighbor_sums(
  graph: Graph, x: Any, parts: Sequence[Any], *, hops: int = 2
) -> list[_pieces.Piece]:
  """Completes pieces by sums over neighbors wherever they are, on the host.

  With S = D^-1/2 (A + I) D^-1/2 of the whole graph, features become S x: every
  client adds up what it holds for the nodes of others, so that nobody tells a
  feature of one node alone (unless it is the only neighbor). With two hops a
  client is told sums of the neighbors of its nodes, too. Edges get the entries
  of S for weights, loops among them. `fedgcn` learns on such pieces.

  Args:
    graph: the whole, concrete; weights do not matter.
    x: f[N, F].
    parts: disjoint nodes of every client.
    hops: 1 for sums of own nodes, 2 for those of their neighbors as well; a
      graph convolutional network of two layers is then as exact as on the
      whole graph.

  Returns:
    A piece for each client.

  Raises:
    ValueError: if hops are another number or parts are not disjoint.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1)], 2, pad_nodes=2)
    >>> pieces = neighbor_sums(graph, np.array([[1.0], [3.0]]), [[0], [1]])
    >>> pieces[0].features.round(6).tolist(), pieces[0].pairs.tolist()
    ([[2.0], [2.0]], [[0, 0], [1, 0]])

  Source: Yao et al. 2023 (https://arxiv.org/abs/2201.12433), equations 3 and 4.
  """
  from scipy import sparse

  if checks.integer(hops, name='hops') not in (1, 2):
    raise ValueError(
      f'hops must be 1 (sums of own nodes) or 2 (and of their neighbors); got '
      f'{hops!r}.'
    )
  n = _inside.num_real(graph)
  x = _pieces.checked_features(graph, x)[:n]
  owner = _pieces.owners(graph, parts)[:n]
  linked = _convert.to_scipy(graph.replace(weights=None)).astype(np.float64)
  linked = sparse.csr_array(linked) + sparse.eye_array(n)
  linked.data[:] = 1  # Loops of the graph count once.
  scale = 1 / np.sqrt(linked.sum(axis=1))
  shares = sparse.csr_array(
    sparse.diags_array(scale) @ linked @ sparse.diags_array(scale)
  )
  sums = shares @ x
  out = []
  for k, part in enumerate(parts):
    ids = np.asarray(part, np.int64)
    whole = ids
    if hops == 2:
      near = np.unique(shares[ids].indices)
      whole = np.concatenate([ids, near[owner[near] != k]])
    inner = shares[ids][:, whole].tocoo()  # From whom to own nodes.
    row, column = inner.coords
    order = np.lexsort((column, row))
    pairs = np.stack([column, row], axis=1)[order].astype(np.int64)
    out.append(_pieces.Piece(pairs, sums[whole], len(ids), inner.data[order]))
  return out


def fedgcn(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (16,),
  *,
  activation: str = 'relu',
  dropout: float = 0.5,
) -> Network:
  """Builds a graph convolutional network for pieces of `neighbor_sums`.

  The first layer finds its sums done; later ones add up by the weights of edges
  as they are. Parameters are those of `graphs.gcn`.

  Args:
    num_outputs: K.
    hidden_sizes: widths of hidden layers.
    activation: in `networks.functional.ACTIVATIONS`, between layers.
    dropout: of what a layer is given, in training.

  Returns:
    A `Network`, see `graphs.gcn`.

  Raises:
    ValueError: if an option is out of range; from `apply`, if the graph has no
      weights.

  Example:
    >>> from jaxdl import graphs
    >>> network, graph = fedgcn(3), graphs.make_graph([(0, 1)], 2)
    >>> params = network.init(jax.random.key(0), graph, jnp.ones((8, 5)))
    >>> [layer['kernel'].shape for layer in params]
    [(5, 16), (16, 3)]

  Source: Yao et al. 2023 (https://arxiv.org/abs/2201.12433), Algorithm 1.
  """
  sizes = functional.check_sizes(hidden_sizes, 'hidden_sizes', empty=True)
  act = functional.activation(activation)
  inner = _networks.gcn(num_outputs, sizes, dropout=dropout)
  depth = len(sizes) + 1

  def apply(params, graph, x, *, train=False, key=None):
    x = _inside.check_features(graph, x)
    if graph.weights is None:
      raise ValueError(
        'graph has no weights: fedgcn is for pieces of clients.neighbor_sums; '
        'use graphs.gcn.'
      )
    if len(params) != depth:
      raise ValueError(
        f'params are of {len(params)} layers, but the network has {depth}: '
        'take those that its init made.'
      )
    drops = train and dropout > 0
    if drops and key is None:
      raise ValueError(
        f'apply(train=True) needs a key: dropout={dropout} draws.'
      )
    if drops:
      keys.check_key(key)
    there = graph.node_mask[:, None]
    x = jnp.where(there, x, 0)
    for i, layer in enumerate(params):
      if drops:
        x = _attention.drop(jax.random.fold_in(key, i), x, dropout)
      x = x @ layer['kernel']
      if i:
        x = _propagate.propagate(graph, x, normalize='none', self_loops=False)
      x = x + layer['bias'].astype(x.dtype)[None]
      x = jnp.where(there, act(x) if i < depth - 1 else x, 0)
    return x

  return Network(inner.init, apply)
