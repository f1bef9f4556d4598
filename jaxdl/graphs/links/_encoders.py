# SPDX-License-Identifier: Apache-2.0
"""One pass of messages that gives every node a vector."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.core.types import Network
from jaxdl.graphs import _inside, _propagate, _registry
from jaxdl.graphs._graph import Graph
from jaxdl.graphs.links import _blocks
from jaxdl.networks import functional

CONVOLUTIONS = ('puregcn', 'puresum', 'puremean', 'puremax', 'gcn')
_STEPS = 40


def convolve(graph: Graph, x: chex.Array, kind: str = 'puregcn') -> chex.Array:
  """Passes messages without parameters.

  Args:
    graph: one graph.
    x: f[N, F].
    kind: 'puregcn' for `s (A (s x) + s x)` with s = (1 + degree)^-1/2, where
      degrees count weights that reach a node; 'puresum', 'puremean' and
      'puremax' of neighbors (static).

  Returns:
    f[N, F]; a node without neighbors keeps its vector ('puregcn') or gets
    zeros.

  Raises:
    ValueError: if the kind is unknown.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1)], 3, pad_nodes=3)
    >>> convolve(graph, jnp.array([[1.0], [3.0], [5.0]])).round(5).tolist()
    [[2.0], [2.0], [5.0]]

  Source: Wang, Yang & Zhang 2024, official code.
  """
  checks.choice(kind, CONVOLUTIONS[:4], name='kind')
  if kind == 'puregcn':
    degree = _propagate.degrees(graph, weighted=True)
    scale = jax.lax.rsqrt(1 + degree).astype(x.dtype)[:, None]
    around = _propagate.propagate(
      graph, scale * x, normalize='none', self_loops=True
    )
    return scale * around
  return _propagate.propagate(
    graph,
    x,
    normalize='row' if kind == 'puremean' else 'none',
    self_loops=False,
    reduce='max' if kind == 'puremax' else 'sum',
  )


def orthogonal(key: chex.PRNGKey, shape: tuple[int, int]) -> chex.Array:
  """Draws a matrix with orthonormal columns, or rows if these are fewer.

  The polar factor of a normal matrix, found by products alone (Newton-Schulz),
  so that it may be drawn for many seeds side by side.

  Args:
    key: consumed.
    shape: of the matrix.

  Returns:
    f32 of that shape, uniform among such matrices.

  Example:
    >>> q = orthogonal(jax.random.key(0), (6, 2))
    >>> np.round(np.abs(q.T @ q), 4).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
  """
  x = jax.random.normal(key, shape)
  turned = shape[0] < shape[1]
  x = x.T if turned else x
  # The largest singular value is below the sum of the roots of the sizes.
  x = x / (shape[0] ** 0.5 + shape[1] ** 0.5)

  def step(_, x):
    gram = jnp.matmul(x.T, x, precision='highest')
    return 1.5 * x - 0.5 * jnp.matmul(x, gram, precision='highest')

  x = jax.lax.fori_loop(0, _STEPS, step, x)
  return x.T if turned else x


def mpnn(
  hidden: int = 32,
  num_layers: int = 1,
  *,
  conv: str = 'puregcn',
  embed: int | str | None = None,
  layer_norm: bool = True,
  residual: bool = False,
  jumping: bool = False,
  input_dropout: float = 0.0,
  dropout: float = 0.0,
  tail_dropout: float = 0.0,
  edge_dropout: float = 0.0,
) -> Network:
  """Builds the encoder of nodes whose vectors are pooled.

  Features go through dropout, and through a dense layer if convolutions have no
  parameters. Convolutions without parameters follow each other directly and
  dropout the last; those of 'gcn' (a product, one step of normalized messages,
  a bias) are normalized, dropped out and activated except for the last.

  Args:
    hidden: d, the width of vectors.
    num_layers: convolutions, >= 0; with none, features alone.
    conv: in `CONVOLUTIONS`.
    embed: a table of vectors to learn in place of features: so many rows, which
      x i32[N] chooses from (or x f[N, rows], one-hot), or 'nodes' for a row for
      each node, whatever x holds; None for features.
    layer_norm: whether layers of 'gcn' are normalized.
    residual: whether what a convolution reads is added to what it gives, where
      widths agree.
    jumping: whether the result is a sum over the layers, each times a number
      that is learned and starts as N(0, 1); there is no softmax.
    input_dropout: of features, in training.
    dropout: of what the first dense layer or the table gives, and between
      layers of 'gcn'.
    tail_dropout: after the last convolution without parameters.
    edge_dropout: probability that an edge is left out in training; the others
      are weighted up.

  Returns:
    A `Network`: `init(key, graph, x)`, `apply(params, graph, x, *, train=False,
    key=None) -> f[N, d]`; padding has zeros.

  Raises:
    ValueError: if a number is out of range; from `apply`, if dropout has no
      key; `TypeError` from `init`, if x is of the wrong kind.

  Example:
    >>> from jaxdl import graphs
    >>> network, graph = mpnn(4), graphs.make_graph([(0, 1)], 2)
    >>> params = network.init(jax.random.key(0), graph, jnp.ones((8, 5)))
    >>> network.apply(params, graph, jnp.ones((8, 5))).shape
    (8, 4)

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), official
    code.
  """
  width = checks.integer(hidden, name='hidden', low=1)
  depth = checks.integer(num_layers, name='num_layers', low=0, high=100)
  checks.choice(conv, CONVOLUTIONS, name='conv')
  rates = {
    'input_dropout': input_dropout,
    'dropout': dropout,
    'tail_dropout': tail_dropout,
    'edge_dropout': edge_dropout,
  }
  _blocks.check_rates(**rates)
  _blocks.check_switches(
    layer_norm=layer_norm, residual=residual, jumping=jumping
  )
  if embed is not None and embed != 'nodes':
    if isinstance(embed, str):
      raise ValueError(
        f"embed must be a number of rows, 'nodes' or None; got {embed!r}."
      )
    embed = checks.integer(embed, name='embed', low=1)
  pure = conv != 'gcn' or depth == 0

  def init(key, graph, x):
    _inside.check_graph(graph, lone=True)
    table_key, other = jax.random.split(key)
    leaves: dict[str, Any] = {}
    dtype, size = jnp.result_type(float), width
    if embed is None:
      _check_features(graph, x)
      dtype, size = functional.parameter_dtype(x), jnp.shape(x)[1]
      if pure:
        leaves['input'] = _blocks.block_leaves(('dense',), size, width)
        size = width
    if not pure:
      leaves['layers'] = []
      for i in range(depth):
        layer = {
          'conv': functional.layer_leaves(
            (size, width), kernel_init='glorot(distribution=uniform)'
          )
        }
        if layer_norm and i < depth - 1:
          layer['norm'] = _blocks.norm_leaves(width)
        leaves['layers'].append(layer)
        size = width
    if jumping and depth:
      leaves['jumping'] = functional.Leaf((depth,), 'normal', 1.0)
    params = functional.draw(other, leaves, dtype)
    if embed is not None:
      rows = graph.num_nodes if embed == 'nodes' else embed
      params['table'] = orthogonal(table_key, (rows, width)).astype(dtype)
    return params

  def apply(params, graph, x, *, train=False, key=None):
    _blocks.check_train_key(key, train, **rates)
    draw = _blocks.Draws(key, train)
    there = graph.node_mask[:, None]
    if train and edge_dropout:
      graph = _thinned(draw.key(), graph, edge_dropout)
    if embed is None:
      x = jnp.where(there, _check_features(graph, x), 0)
      x = draw.drop(x, input_dropout)
      if pure:
        x = _blocks.apply_block(('dense',), params['input'], x, draw, 0.0)
        x = draw.drop(x, dropout)
    else:
      x = _looked_up(params['table'], graph, x, embed)
      x = draw.drop(x, dropout)
    x = jnp.where(there, x, 0)
    seen = []
    for i in range(depth):
      y = _layer(params, graph, x, i, draw)
      x = y + x if residual and y.shape == x.shape else y
      x = jnp.where(there, x, 0)
      seen.append(x)
    if jumping and depth:
      shares = params['jumping'].astype(x.dtype)
      x = sum(shares[i] * y for i, y in enumerate(seen))
    return x

  def _layer(params, graph, x, i, draw):
    last = i == depth - 1
    if pure:
      x = convolve(graph, x, conv)
      return draw.drop(x, tail_dropout) if last else x
    layer = params['layers'][i]
    x = convolve(graph, x @ layer['conv']['kernel'], 'puregcn')
    bias = layer['conv']['bias'].astype(x.dtype)
    x = x + jnp.broadcast_to(bias, x.shape)
    if last:
      return x
    if layer_norm:
      x = _blocks.normalize(layer['norm'], x)
    return jax.nn.relu(draw.drop(x, dropout))

  return Network(init, apply)


def _check_features(graph, x):
  if jnp.issubdtype(jnp.result_type(x), jnp.integer):
    raise TypeError(
      f'x must be floating point, f[N, F]; got {jnp.result_type(x)}: integers '
      'choose rows of a table, which embed=K has, or pass x.astype(float).'
    )
  x = _inside.check_features(graph, x)
  if x.ndim != 2:
    raise ValueError(f'x must have shape [N, F]; got {x.shape}.')
  return x


def _looked_up(table, graph, x, embed):
  """Rows of a table; those of padding do not matter."""
  if embed == 'nodes':
    if len(table) != graph.num_nodes:
      raise ValueError(
        f'embed=nodes has {len(table)} vectors, but the graph has '
        f'{graph.num_nodes} nodes: parameters belong to one graph.'
      )
    return table
  kind, shape = jnp.result_type(x), jnp.shape(x)
  n, rows = graph.num_nodes, len(table)
  if jnp.issubdtype(kind, jnp.floating) and shape == (n, rows):
    # One-hot rows choose.
    return jnp.where(graph.node_mask[:, None], x, 0) @ table
  if not jnp.issubdtype(kind, jnp.integer) or shape != (n,):
    raise TypeError(
      f'x must be integers i[N] below embed={embed}, or f[N, {embed}]; got '
      f'{kind} of shape {shape}: a row for each node needs no x, with '
      "embed='nodes'."
    )
  return table[jnp.clip(x, 0, rows - 1)]


def _thinned(key, graph, rate):
  """Leaves edges out and weights the others up."""
  kept = jax.random.uniform(key, (graph.num_edges,)) >= rate
  weights = _propagate.edge_weights(graph) / (1 - rate)
  return graph.replace(edge_mask=graph.edge_mask & kept, weights=weights)


# What gives every node a vector: `mpnn`, or a network of `graphs.NETWORKS`.
ENCODERS = registry.Registry(
  'encoder', {'mpnn': mpnn, **dict(_registry.NETWORKS)}, tried={}
)


def make_encoder(spec: Any) -> Network:
  """Makes an encoder by name.

  Args:
    spec: a part of `ENCODERS`, such as 'mpnn(hidden=64, num_layers=3)' or
      'gat(32)', or a `Network` of (graph, x).

  Returns:
    The network.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> callable(make_encoder('mpnn(8, conv=gcn)').init)
    True
  """
  if isinstance(spec, str):
    return ENCODERS.make(spec)
  if not checks.has_functions(spec, 'init', 'apply'):
    raise TypeError(
      "encoder must be a Network or text such as 'mpnn(hidden=64)'; got "
      f'{checks.described(spec)}.'
    )
  return spec
