# SPDX-License-Identifier: Apache-2.0
"""Dividing policies: heat of neighbors, given where a construction stands."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _agnn, _blocks, _problem
from jaxdl.core import checks
from jaxdl.networks import functional
from jaxdl.networks._layers import Dense
from jaxdl.networks._linen import STATISTICS

# What nodes have that are no neighbors, and what is added below a fraction.
FLOOR = 1e-5
NORMS = ('instance', 'running')


class _Perceptron(nn.Module):
  """Two layers and silu between."""

  width: int
  features: int

  @nn.compact
  def __call__(self, x):
    h = jax.nn.silu(Dense(self.width, name='inner')(x))
    return Dense(self.features, name='outer')(h)


class _Head(nn.Module):
  """The graph network, and a perceptron for each role a node can play."""

  width: int
  depth: int
  has_depot: bool
  rows: bool
  remat: bool

  @nn.compact
  def __call__(self, nodes, ids, edges):
    graph = _agnn.Agnn(self.width, self.depth, self.remat, name='graph')
    x, w = graph(nodes, ids, edges)
    if not self.rows:
      return {'nodes': _Perceptron(self.width, 1, name='node')(x)[:, 0]}
    role = lambda name: _Perceptron(self.width, self.width, name=name)
    out = {
      'edges': role('edge')(w).reshape(*ids.shape, self.width),
      'there': ids >= 0,
      'first': role('first')(x),
      'last': role('last')(x),
      'visited': role('seen')(x),
    }
    if self.has_depot:
      out['depot'] = role('depot')(x[0])
    return out


def agnn(
  *,
  width: int = 64,
  depth: int = 12,
  num_neighbors: int = 100,
  norm: str = 'instance',
  distances: bool = True,
  remat: bool = False,
  kernel_init: str = 'pytorch',
  has_depot: bool = False,
  rows: bool = True,
) -> _blocks.Divider:
  """Builds the dividing policy on an anisotropic graph network.

  The graph network runs once per instance. Then q = f(first) + f(last) +
  mean f(visited) [+ f(depot)], each a perceptron of its own, and heat is
  softmax_j(q . e_ij) over the neighbors of i, divided by its least entry.
  Without rows it is a softmax over all nodes, of their vectors alone.

  Args:
    width: d of all vectors.
    depth: layers of the graph network.
    num_neighbors: K.
    norm: 'instance' always normalizes by the instance at hand; 'running'
      evaluates with running statistics, which `record` takes from training.
    distances: whether features of edges are read; zeros if not.
    remat: whether gradients compute layers again, for the memory of one layer
      in place of all.
    kernel_init: an entry of `networks.KERNEL_INITS`.
    has_depot: whether node 0 enters the query besides.
    rows: whether heat is of pairs of nodes.

  Returns:
    The policy.

  Raises:
    TypeError, ValueError: if an option is out of range; from `init` and
      `embed`, if arrays do not fit.

  Cost: O(M K d (d + depth d)) work, O(M K d) memory; a cursor costs O(M K d).

  Example:
    >>> from jaxdl.combinatorial import _neighbors
    >>> graph = _neighbors.knn_graph(jnp.array([[0.0], [1.0], [3.0]]), 2)
    >>> policy = agnn(width=8, depth=1)
    >>> params = policy.init(jax.random.key(0), graph)
    >>> embedding = policy.embed(params, graph)
    >>> start = _problem.Cursor(0, 0, jnp.arange(3) == 0, False)
    >>> policy.heat(params, embedding, start).shape
    (3, 2)

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), section 4.1.
  """
  _blocks.check_sizes(depth=depth, width=width, num_neighbors=num_neighbors)
  checks.choice(norm, NORMS, name='norm')
  checks.flag(distances, name='distances')
  checks.flag(remat, name='remat')
  functional.KERNEL_INITS.check(kernel_init)
  module = _Head(width, depth, has_depot, rows, remat)

  def arrays(neighbors):
    check_neighbors(neighbors)
    nodes, ids, edges = neighbors
    return nodes, ids, edges if distances else jnp.zeros_like(edges)

  def init(key, neighbors):
    inputs = arrays(neighbors)
    shapes = jax.eval_shape(
      lambda *xs: module.init(jax.random.key(0), *xs), *inputs
    )
    params = _blocks.draw(key, shapes, kernel_init, inputs)
    return params if norm == 'running' else {'params': params['params']}

  def embed(params, neighbors, *, train=False):
    inputs = arrays(neighbors)
    if norm == 'running' and not train:
      return module.apply(params, *inputs)
    embedding, updated = module.apply(params, *inputs, mutable=[STATISTICS])
    if norm == 'running':
      embedding[STATISTICS] = updated[STATISTICS]
    return embedding

  def record(params, embedding):
    if norm != 'running':
      return params
    fresh = jax.tree.map(
      lambda old, new: 0.9 * old + 0.1 * new,
      params[STATISTICS],
      jax.lax.stop_gradient(embedding[STATISTICS]),
    )
    return {**params, STATISTICS: fresh}

  def heat(params, embedding, cursor):
    del params
    if not rows:
      scores = _blocks.wide(embedding['nodes'])
      return _scaled(jax.nn.softmax(scores), None)
    seen = cursor.visited.astype(embedding['visited'].dtype)
    count = jnp.maximum(jnp.sum(cursor.visited, dtype=jnp.float32), 1.0)
    query = _blocks.multiply(seen, embedding['visited']) / count
    query = query + embedding['first'][cursor.first]
    query = query + embedding['last'][cursor.last]
    if has_depot:
      query = query + embedding['depot']
    query = query.astype(embedding['edges'].dtype)
    scores = _blocks.multiply(embedding['edges'], query)
    return row_softmax(scores, embedding['there'])

  return _blocks.Divider(init, embed, heat, num_neighbors, rows, record)


def none(
  *,
  num_neighbors: int = 100,
  temperature: float = 0.2,
  rows: bool = True,
) -> _blocks.Divider:
  """Builds the policy that prefers near neighbors and learns nothing.

  Heat is the softmax of the first feature of edges (the negative distance),
  in units of `temperature` times its standard deviation over all edges.

  Args:
    num_neighbors: K.
    temperature: above 0; towards 0 it takes the nearest.
    rows: false for problems whose heat is of nodes, all alike then.

  Returns:
    The policy, whose params are an empty dict.

  Raises:
    TypeError, ValueError: if a number is out of range.

  Example:
    >>> from jaxdl.combinatorial import _neighbors
    >>> graph = _neighbors.knn_graph(jnp.array([[0.0], [1.0], [3.0]]), 2)
    >>> policy = none()
    >>> rows = policy.heat({}, policy.embed({}, graph), None)
    >>> bool((rows[:, 0] > rows[:, 1]).all())
    True
  """
  _blocks.check_sizes(num_neighbors=num_neighbors)
  checks.number(temperature, name='temperature', low=0.0, open_low=True)

  def embed(params, neighbors, *, train=False):
    del params, train
    check_neighbors(neighbors)
    there = neighbors.ids >= 0
    if not rows:
      return jnp.zeros(neighbors.ids.shape[0], jnp.float32)
    value = _blocks.wide(neighbors.edges[..., 0])
    spread = jnp.std(value, where=there)
    value = value / (temperature * jnp.where(spread > 0, spread, 1))
    return row_softmax(value, there)

  return _constant(embed, num_neighbors, rows)


def uniform(*, num_neighbors: int = 100, rows: bool = True) -> _blocks.Divider:
  """Builds the policy to which all neighbors are alike.

  Args:
    num_neighbors: K.
    rows: false for problems whose heat is of nodes.

  Returns:
    The policy, whose params are an empty dict.

  Raises:
    TypeError, ValueError: if the number is out of range.

  Example:
    >>> from jaxdl.combinatorial import _neighbors
    >>> graph = _neighbors.knn_graph(jnp.array([[0.0], [1.0], [3.0]]), 2)
    >>> policy = uniform()
    >>> policy.heat({}, policy.embed({}, graph), None).round(2).tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
  """
  _blocks.check_sizes(num_neighbors=num_neighbors)

  def embed(params, neighbors, *, train=False):
    del params, train
    check_neighbors(neighbors)
    there = neighbors.ids >= 0
    if not rows:
      return jnp.zeros(there.shape[0], jnp.float32)
    return row_softmax(jnp.zeros(there.shape, jnp.float32), there)

  return _constant(embed, num_neighbors, rows)


def _constant(embed, num_neighbors, rows):
  """A policy without parameters whose heat is its embedding."""

  def heat(params, embedding, cursor):
    del params, cursor
    return embedding if rows else _scaled(jax.nn.softmax(embedding), None)

  return _blocks.Divider(
    lambda key, neighbors: {}, embed, heat, num_neighbors, rows
  )


def row_softmax(scores: chex.Array, there: chex.Array) -> chex.Array:
  """Turns scores of neighbors into heat.

  Args:
    scores: f[M, K].
    there: bool[M, K], false where there is no neighbor; such entries get 0.

  Returns:
    f[M, K], softmax of each row, over the least entry + 1e-5.

  Example:
    >>> row_softmax(jnp.zeros((1, 2)), jnp.ones((1, 2), bool)).round(2)
    Array([[1., 1.]], dtype=float32)
  """
  scores = jnp.where(there, _blocks.wide(scores), -jnp.inf)
  top = jnp.max(scores, axis=-1, keepdims=True)
  top = jnp.where(jnp.isfinite(top), top, 0)
  rows = jnp.exp(scores - jax.lax.stop_gradient(top))
  total = jnp.sum(rows, axis=-1, keepdims=True)
  return _scaled(rows / jnp.where(total > 0, total, 1), there)


def _scaled(heat, there):
  """H / (min H + 1e-5), the least over what is there."""
  least = jnp.min(heat, where=there, initial=1.0)
  return heat / (least + FLOOR)


def row_of(heat: chex.Array, ids: chex.Array, node: chex.Array) -> chex.Array:
  """Reads what one node makes of all others.

  Args:
    heat: f[M, K], of a policy with rows.
    ids: i32[M, K], neighbors.
    node: i32[].

  Returns:
    f[M], weights of which probabilities are shares: 1e-5 for all, and heat
    besides for neighbors.

  Example:
    >>> ids = jnp.array([[0, 2], [1, 2], [2, 1]])
    >>> row_of(jnp.ones((3, 2)), ids, 0).round(3).tolist()
    [1.0, 0.0, 1.0]
  """
  # Where there is no neighbor heat is zero, and so is what is added.
  there = jnp.maximum(ids[node], 0)
  weights = jnp.full(heat.shape[0], FLOOR, heat.dtype)
  return weights.at[there].add(heat[node])


def check_neighbors(neighbors: Any) -> None:
  """Raises unless a graph is f[M, F], i32[M, K], f[M, K, C]."""
  if not isinstance(neighbors, _problem.Neighbors):
    raise TypeError(
      f'neighbors must be Neighbors; got {checks.described(neighbors)}.'
    )
  nodes, ids, edges = (tuple(x.shape) for x in neighbors)
  if len(nodes) != 2 or len(ids) != 2 or len(edges) != 3:
    raise ValueError(
      'neighbors must be nodes [M, F], ids [M, K] and edges [M, K, C]; got '
      f'{nodes}, {ids} and {edges}.'
    )
  if nodes[0] != ids[0] or edges[:2] != ids:
    raise ValueError(
      f'{nodes[0]} nodes must have ids [M, K] and edges [M, K, C]; got '
      f' {ids} and {edges}.'
    )
