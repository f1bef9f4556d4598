# SPDX-License-Identifier: Apache-2.0
"""Scores of pairs that are learned: products, counts and pooled vectors.

Each is a `Network`: `init(key, adjacency, h, pairs)`, `apply(params, adjacency,
h, pairs, *, train=False, key=None, epoch=None) -> f[B]`.
"""

import chex
import jax.numpy as jnp

from jaxdl.core.types import Network
from jaxdl.graphs.links import _adjacency, _heads, _heuristics, _overlap
from jaxdl.graphs.links._adjacency import Adjacency


def gae(
  *,
  hidden: int | None = None,
  dropout: float = 0.0,
  layer_norm: bool = True,
  tail_activation: bool = True,
  two_layers: bool = False,
) -> Network:
  """Builds the predictor that sees the product of two vectors alone.

  Nodes that look alike to the encoder get equal scores, however they are
  linked.

  Args:
    hidden: width of its layers; that of the vectors if None.
    dropout: in training.
    layer_norm: whether layers are normalized.
    tail_activation: see `ncn`.
    two_layers: see `ncn`.

  Returns:
    A `Network`, see `ncn`.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> h, pairs, network = jnp.ones((8, 4)), jnp.array([(0, 2)]), gae()
    >>> params = network.init(jax.random.key(0), found, h, pairs)
    >>> network.apply(params, found, h, pairs).shape
    (1,)

  Source: Kipf & Welling 2016 (https://arxiv.org/abs/1611.07308); Wang, Yang &
    Zhang 2024, code name cn0.
  """
  head = _heads.Head(
    num_pooled=0,
    hidden=hidden,
    dropout=dropout,
    layer_norm=layer_norm,
    tail_activation=tail_activation,
    two_layers=two_layers,
  )
  return _heads.make_predictor(head, lambda *_: [])


def gae_cn(
  *,
  hidden: int | None = None,
  dropout: float = 0.0,
  edge_dropout: float = 0.0,
  layer_norm: bool = True,
  tail_activation: bool = True,
  two_layers: bool = False,
  combine: str = 'add',
) -> Network:
  """Builds the predictor that sees the number of common neighbors as well.

  Args:
    hidden: see `ncn`.
    dropout: see `ncn`.
    edge_dropout: see `ncn`.
    layer_norm: see `ncn`.
    tail_activation: see `ncn`.
    two_layers: see `ncn`.
    combine: see `ncn`.

  Returns:
    A `Network`, see `ncn`.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> h, pairs, network = jnp.ones((8, 4)), jnp.array([(0, 2)]), gae_cn()
    >>> params = network.init(jax.random.key(0), found, h, pairs)
    >>> params['pooled'][0][0]['kernel'].shape
    (1, 4)

  Source: Wang, Yang & Zhang 2024, ablation.
  """
  head = _heads.Head(
    pooled_width=1,
    hidden=hidden,
    dropout=dropout,
    edge_dropout=edge_dropout,
    layer_norm=layer_norm,
    tail_activation=tail_activation,
    two_layers=two_layers,
    combine=combine,
  )

  def pool(adjacency, pairs, h, share):
    ones = jnp.ones((adjacency.num_nodes, 1), h.dtype)
    return [share**2 * _overlap.pool(adjacency, pairs, ones)]

  return _heads.make_predictor(head, pool)


def ncn(
  *,
  hidden: int | None = None,
  dropout: float = 0.0,
  edge_dropout: float = 0.0,
  layer_norm: bool = True,
  transform: bool = False,
  tail_activation: bool = True,
  two_layers: bool = False,
  combine: str = 'add',
) -> Network:
  """Builds the predictor that pools the vectors of common neighbors.

  With c the sum of h' over common neighbors of i and j, the logit is
  `last(b pooled(c) + product(h_i h_j))`, b a number that is learned and starts
  at one: `pooled` is dense, dropout, relu, dense, norm, dropout, relu;
  `product` and `last` are dense, norm, dropout, relu, and `last` ends in one
  number. h' is h, or `h + transform(h)`, layers as `pooled`.

  Args:
    hidden: width of its layers; that of the vectors if None.
    dropout: in training.
    edge_dropout: probability that an edge, one way, is left out of the overlap
      in training; each of the others counts 1 / (1 - p).
    layer_norm: whether layers are normalized.
    transform: whether pooled vectors are transformed, see above.
    tail_activation: whether branches end in an activation; else in a further
      dense layer.
    two_layers: whether `last` has its first layer twice.
    combine: 'add' as above; 'concat' puts vectors side by side, `last(h_i h_j,
      c)`, without branches.

  Returns:
    A `Network`: `init(key, adjacency, h, pairs) -> params`; `apply(params,
    adjacency, h, pairs, *, train=False, key=None, epoch=None) -> f[B]`, logits,
    with h f[N, d] from an encoder and pairs i32[B, 2]. Scores of (i, j) and
    (j, i) are equal.

  Raises:
    ValueError: if a number is out of range; from `apply`, if dropout has no
      key, or concrete pairs name no node or one twice.

  Cost: O(B D d) and layers.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> h, pairs, network = jnp.ones((8, 4)), jnp.array([(0, 2)]), ncn()
    >>> params = network.init(jax.random.key(0), found, h, pairs)
    >>> network.apply(params, found, h, pairs).shape
    (1,)

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), section 4,
    in the form of the official code, which adds branches where the paper puts
    them side by side.
  """
  head = _heads.Head(
    hidden=hidden,
    dropout=dropout,
    edge_dropout=edge_dropout,
    layer_norm=layer_norm,
    transform=transform,
    tail_activation=tail_activation,
    two_layers=two_layers,
    combine=combine,
  )

  def pool(adjacency, pairs, h, share):
    return [share**2 * _overlap.pool(adjacency, pairs, h)]

  return _heads.make_predictor(head, pool)


def ncn2(
  *,
  hidden: int | None = None,
  dropout: float = 0.0,
  edge_dropout: float = 0.0,
  layer_norm: bool = True,
  transform: bool = False,
  tail_activation: bool = True,
  two_layers: bool = False,
  combine: str = 'add',
) -> Network:
  """Builds NCN with a branch for neighbors of one that the other nearly has.

  The branch adds up, over the neighbors of one node, as many times as there are
  walks of two steps to them from the other; the two nodes themselves are left
  out.

  Args:
    hidden: see `ncn`.
    dropout: see `ncn`.
    edge_dropout: see `ncn`.
    layer_norm: see `ncn`.
    transform: see `ncn`.
    tail_activation: see `ncn`.
    two_layers: see `ncn`.
    combine: see `ncn`.

  Returns:
    A `Network`, see `ncn`.

  Cost: O(B D²) and layers.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> h, pairs, network = jnp.ones((8, 4)), jnp.array([(0, 2)]), ncn2()
    >>> len(network.init(jax.random.key(0), found, h, pairs)['pooled'])
    2

  Source: Wang, Yang & Zhang 2024, ablation NCN2.
  """
  head = _heads.Head(
    num_pooled=2,
    hidden=hidden,
    dropout=dropout,
    edge_dropout=edge_dropout,
    layer_norm=layer_norm,
    transform=transform,
    tail_activation=tail_activation,
    two_layers=two_layers,
    combine=combine,
  )

  def pool(adjacency, pairs, h, share):
    near = share**3 * pool_walks(adjacency, pairs, h)
    return [share**2 * _overlap.pool(adjacency, pairs, h), near]

  return _heads.make_predictor(head, pool)


def pool_walks(
  adjacency: Adjacency, pairs: chex.Array, h: chex.Array
) -> chex.Array:
  """Adds up neighbors of one node, times walks of two steps from the other.

  Args:
    adjacency: of N nodes.
    pairs: i32[B, 2], checked.
    h: f[N, F].

  Returns:
    f[B, F].
  """

  def side(node, other):
    ids, there = _adjacency.rows(adjacency, node)
    walks = _overlap.count_shared(adjacency, other, ids)
    weights = jnp.where(there & (ids != other[:, None]), walks, 0)
    return _overlap.gathered_sum(h, ids, weights)

  i, j = pairs[:, 0], pairs[:, 1]
  return side(i, j) + side(j, i)


def ncn_diff(
  *,
  hidden: int | None = None,
  dropout: float = 0.0,
  edge_dropout: float = 0.0,
  layer_norm: bool = True,
  transform: bool = False,
  tail_activation: bool = True,
  two_layers: bool = False,
  combine: str = 'add',
) -> Network:
  """Builds NCN with a branch for neighbors of one node alone.

  Args:
    hidden: see `ncn`.
    dropout: see `ncn`.
    edge_dropout: see `ncn`.
    layer_norm: see `ncn`.
    transform: see `ncn`.
    tail_activation: see `ncn`.
    two_layers: see `ncn`.
    combine: see `ncn`.

  Returns:
    A `Network`, see `ncn`.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> h, pairs, network = jnp.ones((8, 4)), jnp.array([(0, 2)]), ncn_diff()
    >>> len(network.init(jax.random.key(0), found, h, pairs)['pooled'])
    2

  Source: Wang, Yang & Zhang 2024, ablation NCN-diff.
  """
  head = _heads.Head(
    num_pooled=2,
    hidden=hidden,
    dropout=dropout,
    edge_dropout=edge_dropout,
    layer_norm=layer_norm,
    transform=transform,
    tail_activation=tail_activation,
    two_layers=two_layers,
    combine=combine,
  )

  def pool(adjacency, pairs, h, share):
    both = _overlap.between(adjacency, pairs)
    apart = _overlap.gathered_sum(h, both.left, both.left_only)
    apart += _overlap.gathered_sum(h, both.right, both.right_only)
    common = _overlap.pool(adjacency, pairs, h)
    return [share**2 * common, share * apart]

  return _heads.make_predictor(head, pool)


def _fixed(score):
  """A score without parameters in the place of a predictor."""

  def apply(params, adjacency, h, pairs, *, train=False, key=None, epoch=None):
    del params, h, train, key, epoch
    return score(adjacency, pairs)

  return Network(lambda key, adjacency, h, pairs: {}, apply)


def cn() -> Network:
  """Counts common neighbors; nothing is learned."""
  return _fixed(_heuristics.common_neighbors)


def aa() -> Network:
  """Adds up 1 / ln(degree) over common neighbors; nothing is learned."""
  return _fixed(_heuristics.adamic_adar)


def ra() -> Network:
  """Adds up 1 / degree over common neighbors; nothing is learned."""
  return _fixed(_heuristics.resource_allocation)
