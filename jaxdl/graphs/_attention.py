# SPDX-License-Identifier: Apache-2.0
"""One layer for a family of graph networks: six choices, heads side by side."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys
from jaxdl.graphs import _inside, _propagate, _sums
from jaxdl.graphs._graph import Graph
from jaxdl.networks import functional

AGGREGATES = ('sum', 'mean', 'max')
COMBINES = ('identity', 'mlp')
LAYER_ACTIVATIONS = {
  'sigmoid': jax.nn.sigmoid,
  'tanh': jnp.tanh,
  'relu': jax.nn.relu,
  'linear': lambda x: x,
  'softplus': jax.nn.softplus,
  'leaky_relu': jax.nn.leaky_relu,
  'relu6': jax.nn.relu6,
  'elu': jax.nn.elu,
}
COMBINE_WIDTH = 128
SLOPE = 0.2


def edge_softmax(
  graph: Graph,
  logits: chex.Array,
  loops: chex.Array | None = None,
  *,
  kept: chex.Array | None = None,
) -> tuple[chex.Array, chex.Array | None]:
  """Softmax over the edges that reach a node, and its own loop.

  Args:
    graph: one graph.
    logits: f[E, ...].
    loops: f[N, ...], of a loop that every node has besides; none if None.
    kept: bool[E], edges that count; those of the graph if None.

  Returns:
    f[E, ...] and f[N, ...] (or None), which add up to one at every node that is
    no padding.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> parts, loops = edge_softmax(graph, jnp.zeros(4), jnp.zeros(3))
    >>> [round(v, 3) for v in parts.tolist()]
    [0.5, 0.333, 0.333, 0.5]
  """
  kept = graph.edge_mask if kept is None else kept
  parts, own, total = exponentials(graph, logits, loops, kept)
  parts = parts / jnp.where(total > 0, total, 1)[graph.receivers]
  if loops is None:
    return parts, None
  real = _inside.rows(graph.node_mask, own)
  return parts, jnp.where(real, own / total, 0)


def exponentials(graph, logits, loops, kept):
  """Numerators of edges and loops, and denominators of nodes."""
  ids, there = graph.receivers, _inside.rows(kept, logits)
  # The top only keeps numbers in range: no gradient leads through it.
  fixed = jax.lax.stop_gradient
  if loops is None:
    top = _sums.edge_max(graph, fixed(logits), kept=kept)
  else:
    top = _sums.edge_max(graph, fixed(logits), kept=kept, start=fixed(loops))
  shifted = jnp.where(there, logits - top[ids], 0)
  parts = jnp.where(there, jnp.exp(shifted), 0)
  own = None if loops is None else jnp.exp(loops - top)
  return parts, own, _sums.edge_sum(graph, parts, kept=kept, start=own)


def _leaky(x):
  return jax.nn.leaky_relu(x, SLOPE)


def _by_node(params, z):
  """What the vectors of left and right make of every node, [N, H]."""
  dot = lambda name: jnp.einsum('nhw,hw->nh', z, params[name].astype(z.dtype))
  return dot('left'), dot('right')


def _gat(params, graph, z):
  left, right = _by_node(params, z)
  edges = _leaky(left[graph.receivers] + right[graph.senders])
  return edges, _leaky(left + right)


def _sym_gat(params, graph, z):
  left, right = _by_node(params, z)
  i, j = graph.receivers, graph.senders
  edges = _leaky(left[i] + right[j]) + _leaky(left[j] + right[i])
  return edges, 2 * _leaky(left + right)


def _cos(params, graph, z):
  a = z * params['left'].astype(z.dtype)[None]
  b = z * params['right'].astype(z.dtype)[None]
  edges = (a[graph.receivers] * b[graph.senders]).sum(-1)
  return edges, (a * b).sum(-1)


def _linear(params, graph, z):
  left, right = _by_node(params, z)
  own = jnp.tanh(left + right)
  return own[graph.senders], own


def _gene_linear(params, graph, z):
  a = z * params['left'].astype(z.dtype)[None]
  b = z * params['right'].astype(z.dtype)[None]
  gene = params['gene'].astype(z.dtype)[None]
  inner = jnp.tanh(a[graph.receivers] + b[graph.senders])
  return (gene * inner).sum(-1), (gene * jnp.tanh(a + b)).sum(-1)


_SCORES = {
  'gat': _gat,
  'sym_gat': _sym_gat,
  'cos': _cos,
  'linear': _linear,
  'gene_linear': _gene_linear,
}


def _plain(normalize):
  def weights(params, graph, z):
    del params
    edges, loops = _propagate.normalized_weights(graph, normalize=normalize)
    wide = lambda w: jnp.broadcast_to(
      w.astype(z.dtype)[:, None], (len(w), z.shape[1])
    )
    return wide(edges), wide(loops), jnp.ones(z.shape[:2], z.dtype)

  return weights


def _softened(score):
  def weights(params, graph, z):
    edges, loops = score(params, graph, z)
    parts, own, total = exponentials(graph, edges, loops, _sums.no_loops(graph))
    real = _inside.rows(graph.node_mask, own)
    return parts, jnp.where(real, own, 0), 1 / total

  return weights


_WEIGHTS = {'const': _plain('none'), 'gcn': _plain('symmetric')}
_WEIGHTS |= {name: _softened(score) for name, score in _SCORES.items()}
ATTENTIONS = tuple(_WEIGHTS)


def _choose(options, choice, *args, name):
  """Applies an option by name, or by a traced number among all."""
  if isinstance(choice, str):
    checks.choice(choice, options, name=name)
    return options[choice](*args)
  if not jnp.issubdtype(jnp.result_type(choice), jnp.integer):
    raise TypeError(
      f'{name} must be a name or its number among {", ".join(options)}; got '
      f'{checks.described(choice)}.'
    )
  if not isinstance(choice, jax.core.Tracer):
    checks.integer(int(choice), name=name, low=0, high=len(options) - 1)
  return jax.lax.switch(choice, list(options.values()), *args)


def attention_weights(
  params: Mapping[str, chex.Array],
  graph: Graph,
  z: chex.Array,
  *,
  attention: Any = 'gat',
) -> tuple[chex.Array, chex.Array]:
  """How much of a neighbor a node takes, head by head.

  Of receiver i and sender j, with vectors l, r and g of the head:

  - 'const': 1, or the weight of the edge;
  - 'gcn': 1 / sqrt(d_i d_j), see `normalized_weights`;
  - 'gat': leaky_relu(l z_i + r z_j), slope 0.2;
  - 'sym_gat': that of (i, j) and of (j, i) together;
  - 'cos': the product of l * z_i and r * z_j;
  - 'linear': tanh((l + r) z_j);
  - 'gene_linear': g tanh(l * z_i + r * z_j).

  All but the first two go through a softmax over what reaches i. Every node
  reaches itself; edges of the graph that do so are left out.

  Args:
    params: 'left', 'right' and 'gene' f[H, W], those that are used.
    graph: one graph.
    z: f[N, H, W].
    attention: in `ATTENTIONS`, or its number there (traced or not).

  Returns:
    f[E, H] of edges and f[N, H] of loops.

  Raises:
    ValueError: if the attention is unknown.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1)], 2, pad_nodes=2)
    >>> params = {k: jnp.zeros((1, 3)) for k in ('left', 'right', 'gene')}
    >>> attention_weights(params, graph, jnp.ones((2, 1, 3)))[0].tolist()
    [[0.5], [0.5]]

  Source: Gao et al. 2020 (https://arxiv.org/abs/1904.09981), table 1;
    Velickovic et al. 2018 (https://arxiv.org/abs/1710.10903), equation 3.
  """
  edges, loops, scale = _choose(
    _WEIGHTS, attention, params, graph, z, name='attention'
  )
  return edges * scale[graph.receivers], loops * scale


def graph_layer_leaves(
  num_inputs: int, num_heads: int, width: int, *, average: bool = False
) -> dict[str, Any]:
  """Describes the parameters of `graph_layer`, all that any choice needs.

  Args:
    num_inputs: I.
    num_heads: H.
    width: W of a head.
    average: whether heads are averaged, so that there are W outputs.

  Returns:
    A tree of `functional.Leaf`, for `functional.draw`: Glorot kernels and
    vectors, biases zero.

  Example:
    >>> sorted(graph_layer_leaves(5, 2, 3))
    ['bias', 'combine', 'gene', 'kernel', 'left', 'right']
  """
  out = width if average else num_heads * width
  leaf = lambda shape, fan: functional.Leaf(
    shape, 'uniform', (6.0 / fan) ** 0.5
  )
  vector = leaf((num_heads, width), width + 1)
  total = num_inputs + num_heads * width
  dense = functional.layer_leaves
  return {
    'kernel': leaf((num_inputs, num_heads, width), total),
    'left': vector,
    'right': vector,
    'gene': vector,
    'bias': functional.Leaf((out,)),
    'combine': [dense((out, COMBINE_WIDTH)), dense((COMBINE_WIDTH, out))],
  }


def graph_layer(
  params: Mapping[str, Any],
  graph: Graph,
  x: chex.Array,
  *,
  attention: Any = 'gat',
  aggregate: Any = 'sum',
  combine: Any = 'identity',
  activation: Any = 'elu',
  average: bool = False,
  mask: chex.Array | None = None,
  dropout: chex.Numeric = 0.0,
  key: chex.PRNGKey | None = None,
) -> chex.Array:
  """Applies one layer: `act(combine(heads of aggregate(weight z_j)) + bias)`.

  Every choice is a name, or a traced number among the names, so that one
  program serves all of them. Heads and widths are padded with `mask`: entries
  that are false have no effect whatever the parameters there are.

  Args:
    params: 'kernel' f[I, H, W], 'bias' f[H W] (f[W] if averaged), of attention
      'left', 'right', 'gene' f[H, W] and of combine='mlp' 'combine', two dense
      layers, as far as they are used; see `graph_layer_leaves`.
    graph: one graph; every node reaches itself, once.
    x: f[N, I].
    attention: in `ATTENTIONS`, see `attention_weights`.
    aggregate: in `AGGREGATES`.
    combine: in `COMBINES`; 'mlp' is two dense layers, a relu between.
    activation: in `LAYER_ACTIVATIONS`.
    average: whether heads are averaged instead of put side by side (static).
    mask: bool[H, W], entries of heads that there are; all if None.
    dropout: probability with which a weight of attention is zero, the others
      are scaled up; needs a key unless it is zero.
    key: consumed; None for no dropout.

  Returns:
    f[N, H W], or f[N, W] if averaged; zeros of padding and masked entries.

  Raises:
    ValueError: if a choice is unknown or shapes do not fit.

  Example:
    >>> from jaxdl import graphs
    >>> graph = graphs.make_graph([(0, 1), (1, 2)], 3, pad_nodes=3)
    >>> params = {'kernel': jnp.ones((1, 1, 1)), 'bias': jnp.zeros(1)}
    >>> options = {'attention': 'const', 'activation': 'linear'}
    >>> graph_layer(params, graph, jnp.ones((3, 1)), **options).tolist()
    [[2.0], [3.0], [2.0]]

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.1.
  """
  x = _inside.check_features(graph, x)
  average = checks.flag(average, name='average')
  kernel = params['kernel']
  if x.ndim != 2 or kernel.ndim != 3 or x.shape[1] != kernel.shape[0]:
    raise ValueError(
      f"params['kernel'] must have shape [I, H, W] for x [N, I]; got "
      f'{kernel.shape} for {x.shape}.'
    )
  dtype = jnp.promote_types(x.dtype, kernel.dtype)
  heads, width = kernel.shape[1:]
  flat = kernel.reshape(kernel.shape[0], heads * width)
  x = jnp.where(graph.node_mask[:, None], x, 0)
  z = (x @ flat).reshape(-1, heads, width)
  z = z.astype(jnp.promote_types(dtype, jnp.float32))
  if mask is not None:
    if jnp.shape(mask) != (heads, width):
      raise ValueError(
        f'mask must have shape {(heads, width)}; got {jnp.shape(mask)}.'
      )
    z = jnp.where(mask[None], z, 0)
  # Nodes are scaled last: all that follows is linear in the weights.
  edges, loops, scale = _choose(
    _WEIGHTS, attention, params, graph, z, name='attention'
  )
  if key is not None:
    keys.check_key(key)
    edges, loops = dropped(key, graph, edges, loops, dropout)
  out = _aggregated(graph, edges, loops, z, aggregate) * scale[..., None]
  out = _joined(out, average, mask)
  combines = {
    'identity': lambda y: y,
    'mlp': lambda y: _two_layers(params, y).astype(y.dtype),
  }
  if isinstance(combine, str) or 'combine' in params:
    out = _choose(combines, combine, out, name='combine')
  else:
    raise ValueError("combine by number needs params['combine'].")
  out = out + params['bias'].astype(out.dtype)[None]
  out = _choose(LAYER_ACTIVATIONS, activation, out, name='activation')
  there = graph.node_mask[:, None]
  if mask is not None:
    shown = jnp.asarray(mask).any(0) if average else jnp.ravel(mask)
    there = there & shown[None]
  return jnp.where(there, out, 0).astype(dtype)


def _aggregated(graph, edges, loops, z, aggregate):
  """What every head makes of the messages, [N, H, W]."""
  kept = _sums.no_loops(graph)

  def total():
    return _sums.collect(graph, edges, z, kept=kept) + loops[..., None] * z

  def mean():
    count = _sums.edge_count(graph, kept=kept)
    return total() / (count + 1).astype(z.dtype)[:, None, None]

  def most():
    found = _sums.largest(graph, edges, z, kept=kept, empty=-jnp.inf)
    return jnp.maximum(found, loops[..., None] * z)

  options = {'sum': total, 'mean': mean, 'max': most}
  return _choose(options, aggregate, name='aggregate')


def _joined(out, average, mask):
  if not average:
    return out.reshape(len(out), -1)
  if mask is None:
    return out.mean(1)
  heads = jnp.asarray(mask).any(1).sum().astype(out.dtype)
  return out.sum(1) / jnp.maximum(heads, 1)


def _two_layers(params, y):
  first, second = params['combine']
  return functional.dense(second, jax.nn.relu(functional.dense(first, y)))


def dropped(
  key: chex.PRNGKey,
  graph: Graph,
  edges: chex.Array,
  loops: chex.Array,
  rate: chex.Numeric,
) -> tuple[chex.Array, chex.Array]:
  """Attention with some weights left out; devices draw for their edges."""
  edge_key, loop_key = jax.random.split(key)
  if graph.axis_name is not None:
    part = jax.lax.axis_index(graph.axis_name)
    edge_key = jax.random.fold_in(edge_key, part)
  return drop(edge_key, edges, rate), drop(loop_key, loops, rate)


def drop(key: chex.PRNGKey, x: chex.Array, rate: chex.Numeric) -> chex.Array:
  """Sets entries to zero with some probability and scales the others up.

  Args:
    key: consumed.
    x: f[...].
    rate: probability, in [0, 1), traced or not.

  Returns:
    f[...], the same on average.
  """
  kept = jax.random.uniform(key, x.shape) >= rate
  return jnp.where(kept, x / (1 - jnp.asarray(rate, x.dtype)), 0)
