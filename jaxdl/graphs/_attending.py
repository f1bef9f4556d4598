# SPDX-License-Identifier: Apache-2.0
"""Small networks that say how much of a neighbor they take."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.graphs import _attention, _stack, _sums
from jaxdl.networks import functional


def _per_layer(value, count, name):
  """A value of every layer, of one for all or one each."""
  if isinstance(value, (tuple, list)):
    if len(value) != count:
      raise ValueError(
        f'{name} has {len(value)} entries for {count} layers: give one for '
        'all, or one each.'
      )
    return tuple(value)
  return (value,) * count


def composed(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (16,),
  *,
  num_heads: int | Sequence[int] = 4,
  attention: str | Sequence[str] = 'gat',
  aggregate: str | Sequence[str] = 'sum',
  combine: str | Sequence[str] = 'identity',
  activation: str | Sequence[str] = 'elu',
  last_activation: str = 'linear',
  dropout: float = 0.6,
) -> Network:
  """Builds a network of `graph_layer`s, each with choices of its own.

  Heads are put side by side, and averaged in the last layer.

  Args:
    num_outputs: K.
    hidden_sizes: width of a head of every layer but the last.
    num_heads: of every layer, the last too.
    attention: in `ATTENTIONS`, one for all or one each, of all layers.
    aggregate: in `AGGREGATES`, likewise.
    combine: in `COMBINES`, likewise.
    activation: in `LAYER_ACTIVATIONS`, likewise; where it is one for all the
      last layer has `last_activation`.
    last_activation: see above.
    dropout: of what a layer is given and of attention, in training.

  Returns:
    A `Network`, see `gcn`.

  Raises:
    ValueError: if a choice is unknown or numbers of layers differ.

  Example:
    >>> from jaxdl import graphs
    >>> network = composed(3, attention=('cos', 'gcn'), num_heads=2)
    >>> graph = graphs.make_graph([(0, 1)], 2)
    >>> params = network.init(jax.random.key(0), graph, jnp.ones((8, 5)))
    >>> network.apply(params, graph, jnp.ones((8, 5))).shape
    (8, 3)

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.1.
  """
  widths = _stack.widths_of(hidden_sizes, num_outputs)
  count = len(widths)
  heads = [
    checks.integer(n, name='num_heads', low=1)
    for n in _per_layer(num_heads, count, 'num_heads')
  ]
  checks.choice(
    last_activation, _attention.LAYER_ACTIVATIONS, name='last_activation'
  )
  if isinstance(activation, str):
    activation = (*(activation,) * (count - 1), last_activation)
  given = {
    'attention': (attention, _attention.ATTENTIONS),
    'aggregate': (aggregate, _attention.AGGREGATES),
    'combine': (combine, _attention.COMBINES),
    'activation': (activation, _attention.LAYER_ACTIVATIONS),
  }
  choices = {}
  for name, (value, known) in given.items():
    choices[name] = _per_layer(value, count, name)
    for choice in choices[name]:
      checks.choice(choice, tuple(known), name=name)
  layers = []
  for i, width in enumerate(widths):
    last = i == count - 1
    options = {name: values[i] for name, values in choices.items()}
    layers.append(_composed_layer(width, heads[i], last, options, dropout))
  return _stack.stacked(layers, dropout)


def _composed_layer(width, heads, last, options, dropout):
  def leaves(inputs):
    found = _attention.graph_layer_leaves(inputs, heads, width, average=last)
    attention = options['attention']
    if options['combine'] == 'identity':
      del found['combine']
    if attention != 'gene_linear':
      del found['gene']
    if attention in ('const', 'gcn'):
      del found['left'], found['right']
    return found

  def apply(params, graph, x, key):
    return _attention.graph_layer(
      params, graph, x, average=last, dropout=dropout, key=key, **options
    )

  outputs = width if last else heads * width
  return _stack.Layer(leaves, apply, outputs, None)


def _second_version(width, heads, average, slope, dropout):
  """A layer whose attention is dynamic: a leaky_relu(W_l h_i + W_r h_j)."""

  def leaves(inputs):
    found = _attention.graph_layer_leaves(inputs, heads, width, average=average)
    return {
      'receiver_kernel': found['kernel'],
      'kernel': found['kernel'],
      'left': found['left'],
      'bias': found['bias'],
    }

  def apply(params, graph, x, key):
    dtype = jnp.promote_types(x.dtype, params['kernel'].dtype)
    wide = jnp.promote_types(dtype, jnp.float32)
    split = lambda kernel: (
      (x @ kernel.reshape(len(kernel), -1))
      .reshape(-1, heads, width)
      .astype(wide)
    )
    to, z = split(params['receiver_kernel']), split(params['kernel'])
    vector = params['left'].astype(wide)[None]
    score = lambda y: (vector * jax.nn.leaky_relu(y, slope)).sum(-1)
    kept = _sums.no_loops(graph)
    edges, loops, total = _attention.exponentials(
      graph,
      score(to[graph.receivers] + z[graph.senders]),
      score(to + z),
      kept,
    )
    if key is not None:
      edges, loops = _attention.dropped(key, graph, edges, loops, dropout)
    out = _sums.collect(graph, edges, z, kept=kept) + loops[..., None] * z
    out = out / total[..., None]
    out = out.mean(1) if average else out.reshape(len(out), -1)
    return _stack.with_bias(params, out).astype(dtype)

  outputs = width if average else heads * width
  return _stack.Layer(leaves, apply, outputs, None)


def gat(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (8,),
  *,
  num_heads: int = 8,
  output_heads: int = 1,
  version: int = 1,
  activation: str = 'elu',
  dropout: float = 0.6,
) -> Network:
  """Builds a graph attention network.

  Of receiver i and sender j the logit is `leaky_relu(l W h_i + r W h_j)` in
  version 1 and `a leaky_relu(V h_i + W h_j)` in version 2, in which the order
  of neighbors depends on who looks at them; slope 0.2. A softmax over what
  reaches i follows, itself included. Heads are put side by side, and averaged
  in the last layer.

  Args:
    num_outputs: K.
    hidden_sizes: width of a head of every layer but the last.
    num_heads: of every layer but the last.
    output_heads: of the last.
    version: 1 or 2.
    activation: in `networks.functional.ACTIVATIONS`, between layers.
    dropout: of what a layer is given and of attention, in training.

  Returns:
    A `Network`, see `gcn`.

  Example:
    >>> from jaxdl import graphs
    >>> network, graph = gat(3, version=2), graphs.make_graph([(0, 1)], 2)
    >>> params = network.init(jax.random.key(0), graph, jnp.ones((8, 5)))
    >>> network.apply(params, graph, jnp.ones((8, 5))).shape
    (8, 3)

  Source: Velickovic et al. 2018 (https://arxiv.org/abs/1710.10903), equations 1
    to 6; Brody, Alon & Yahav 2022 (https://arxiv.org/abs/2105.14491), equation
    7.
  """
  widths = _stack.widths_of(hidden_sizes, num_outputs)
  if version not in (1, 2) or isinstance(version, bool):
    raise ValueError(f'version must be 1 or 2; got {version!r}.')
  checks.integer(num_heads, name='num_heads', low=1)
  checks.integer(output_heads, name='output_heads', low=1)
  act = functional.activation(activation)
  options = {'attention': 'gat', 'activation': 'linear', 'aggregate': 'sum'}
  options['combine'] = 'identity'
  layers = []
  for i, width in enumerate(widths):
    last = i == len(widths) - 1
    heads = output_heads if last else num_heads
    if version == 1:
      layer = _composed_layer(width, heads, last, options, dropout)
    else:
      layer = _second_version(width, heads, last, _attention.SLOPE, dropout)
    layers.append(layer._replace(activation=None if last else act))
  return _stack.stacked(layers, dropout)
