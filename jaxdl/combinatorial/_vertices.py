# SPDX-License-Identifier: Apache-2.0
"""A conquering policy of subsets: a graph network scores vertices once."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _agnn, _blocks
from jaxdl.core import checks
from jaxdl.networks import functional
from jaxdl.networks._layers import Dense
from jaxdl.networks._linen import STATISTICS


class _Vertices(nn.Module):
  """The graph network and a perceptron of vertices."""

  width: int
  depth: int
  remat: bool

  @nn.compact
  def __call__(self, nodes, ids, edges):
    graph = _agnn.Agnn(self.width, self.depth, self.remat, name='graph')
    x, _ = graph(nodes, ids, edges)
    h = jax.nn.silu(Dense(self.width, name='inner')(x))
    return Dense(1, name='outer')(h)[:, 0]


def vertices(
  *,
  width: int = 256,
  depth: int = 12,
  num_neighbors: int = 64,
  remat: bool = False,
  kernel_init: str = 'pytorch',
  num_extra: int = 0,
) -> _blocks.Conqueror:
  """Builds the conquering policy of MIS.

  Vertices get one score each, by the graph network of dividing policies on the
  edges of the piece, so that a decision only masks. The network normalizes by
  the piece at hand. What `distances` holds are weights of edges, 0 where there
  is none. Ends, last nodes and numbers of contexts are not read.

  Args:
    width: of all vectors.
    depth: layers of the graph network.
    num_neighbors: most edges of a vertex that are read, of ties those to lower
      indices; feasibility does not depend on it.
    remat: whether gradients compute layers again, for the memory of one layer
      in place of all.
    kernel_init: an entry of `networks.KERNEL_INITS`.
    num_extra: numbers of the context.

  Returns:
    The policy.

  Raises:
    TypeError, ValueError: if an option is out of range; from its functions, if
      arrays do not fit.

  Cost: encoding O(depth m num_neighbors width²), a decision O(m).

  Example:
    >>> from jaxdl.combinatorial import _problem
    >>> policy = vertices(width=4, depth=1)
    >>> x, edges = jnp.ones((3, 1)), jnp.ones((3, 3)) - jnp.eye(3)
    >>> params = policy.init(jax.random.key(0), x, edges)
    >>> left = jnp.array([False, True, False])
    >>> context = _problem.Context(0, 0, jnp.zeros(0), left)
    >>> scores = policy.encode(params, x, edges)
    >>> jax.nn.softmax(policy.decode(params, scores, context)).tolist()
    [0.0, 1.0, 0.0]

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), appendix.
  """
  _blocks.check_sizes(depth=depth, width=width, num_neighbors=num_neighbors)
  functional.KERNEL_INITS.check(kernel_init)
  checks.flag(remat, name='remat')
  module = _Vertices(width, depth, remat)

  def arrays(features, distances):
    _blocks.check_piece(features, distances)
    weights, ids = jax.lax.top_k(
      distances, min(num_neighbors, features.shape[0])
    )
    ids = jnp.where(weights > 0, ids, -1)
    return features, ids, jnp.stack([weights, weights], axis=-1)

  def init(key, features, distances):
    inputs = jax.eval_shape(arrays, features, distances)
    shapes = jax.eval_shape(
      lambda *xs: module.init(jax.random.key(0), *xs), *inputs
    )
    params = {'params': shapes['params']}
    return _blocks.draw(key, params, kernel_init, features)

  def encode(params, features, distances, *, key=None):
    del key
    inputs = arrays(features, distances)
    return module.apply(params, *inputs, mutable=[STATISTICS])[0]

  def decode(params, memory, context):
    del params
    _blocks.check_extra(context, num_extra)
    return _blocks.pointer_logits(memory, context.allowed, 0.0)

  return _blocks.Conqueror(init, encode, decode)
