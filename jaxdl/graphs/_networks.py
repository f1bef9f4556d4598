# SPDX-License-Identifier: Apache-2.0
"""Small networks on graphs, layers on layers, by name."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys, registry
from jaxdl.core.types import Network
from jaxdl.graphs import _attention, _inside, _propagate, _sums
from jaxdl.networks import functional


class _Layer(NamedTuple):
  """Leaves of so many inputs, `apply(params, graph, x, key)`, outputs."""

  leaves: Callable[[int], Any]
  apply: Callable[..., chex.Array]
  num_outputs: int
  activation: Callable[[chex.Array], chex.Array] | None


def _stacked(layers: Sequence[_Layer], dropout: float) -> Network:
  """A network of layers, with dropout before each."""
  checks.number(dropout, name='dropout', low=0, high=1, open_high=True)

  def init(key, graph, x):
    _inside.check_graph(graph, lone=True)
    if jnp.ndim(x) != 2:
      raise ValueError(f'x must have shape [N, F]; got {jnp.shape(x)}.')
    width, leaves = jnp.shape(x)[1], []
    for layer in layers:
      leaves.append(layer.leaves(width))
      width = layer.num_outputs
    return functional.draw(key, leaves, functional.parameter_dtype(x))

  def apply(params, graph, x, *, train=False, key=None):
    x = _inside.check_features(graph, x)
    if x.ndim != 2:
      raise ValueError(f'x must have shape [N, F]; got {x.shape}.')
    if len(params) != len(layers):
      raise ValueError(
        f'params are of {len(params)} layers, but the network has '
        f'{len(layers)}: take those that its init made.'
      )
    drops = train and dropout > 0
    if drops:
      if key is None:
        raise ValueError(
          f'apply(train=True) needs a key: dropout={dropout} draws.'
        )
      keys.check_key(key)
    there = graph.node_mask[:, None]
    x = jnp.where(there, x, 0)
    for i, (layer, leaf) in enumerate(zip(layers, params, strict=True)):
      inner = None
      if drops:
        outer, inner = jax.random.split(jax.random.fold_in(key, i))
        x = _attention.drop(outer, x, dropout)
      x = layer.apply(leaf, graph, x, inner)
      if layer.activation is not None:
        x = layer.activation(x)
      x = jnp.where(there, x, 0)
    return x

  return Network(init, apply)


def _widths(hidden_sizes, num_outputs):
  sizes = functional.check_sizes(hidden_sizes, 'hidden_sizes', empty=True)
  return (*sizes, checks.integer(num_outputs, name='num_outputs', low=1))


def _alike(hidden_sizes, num_outputs, leaves, apply, activation, dropout):
  """Layers of one kind, activated but for the last."""
  sizes = _widths(hidden_sizes, num_outputs)
  act = functional.activation(activation)
  layers = [
    _Layer(
      lambda width, size=size: leaves(width, size),
      apply,
      size,
      act if i < len(sizes) - 1 else None,
    )
    for i, size in enumerate(sizes)
  ]
  return _stacked(layers, dropout)


def _dense(inputs, outputs, bias=True):
  return functional.layer_leaves(
    (inputs, outputs),
    kernel_init='glorot(distribution=uniform)',
    bias_init='zeros' if bias else None,
  )


def _with_bias(params, x):
  if 'bias' not in params:
    return x
  return x + params['bias'].astype(x.dtype)[None]


def mlp(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (16,),
  *,
  activation: str = 'relu',
  dropout: float = 0.5,
) -> Network:
  """Builds a network that looks at no edge, to compare with.

  Args:
    num_outputs: K.
    hidden_sizes: widths of hidden layers; empty for a linear map.
    activation: in `networks.functional.ACTIVATIONS`.
    dropout: before every layer, in training.

  Returns:
    A `Network`, see `gcn`.

  Example:
    >>> from jaxdl import graphs
    >>> network, graph = mlp(3), graphs.make_graph([(0, 1)], 2)
    >>> params = network.init(jax.random.key(0), graph, jnp.ones((8, 5)))
    >>> network.apply(params, graph, jnp.ones((8, 5))).shape
    (8, 3)
  """

  def apply(params, graph, x, key):
    del graph, key
    return functional.dense(params, x)

  return _alike(hidden_sizes, num_outputs, _dense, apply, activation, dropout)


def gcn(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (16,),
  *,
  activation: str = 'relu',
  dropout: float = 0.5,
  normalize: str = 'symmetric',
  bias: bool = True,
) -> Network:
  """Builds a graph convolutional network.

  A layer is `propagate(graph, x) W + b`, multiplied on the narrower side first.
  As all networks here: `init(key, graph, x) -> params`,
  `apply(params, graph, x, *, train=False, key=None) -> f[N, K]` with x f[N, F];
  parameters take the dtype of x; padding has zeros; dropout is drawn from the
  key, over padding as well.

  Args:
    num_outputs: K.
    hidden_sizes: widths of hidden layers.
    activation: in `networks.functional.ACTIVATIONS`, between layers.
    dropout: of what a layer is given, in training.
    normalize: see `propagate`; every node reaches itself.
    bias: whether layers have one.

  Returns:
    A `Network`.

  Raises:
    ValueError: if an option is out of range or unknown; from `apply`, if
      dropout has no key.

  Example:
    >>> from jaxdl import graphs
    >>> network, graph = gcn(3), graphs.make_graph([(0, 1)], 2)
    >>> params = network.init(jax.random.key(0), graph, jnp.ones((8, 5)))
    >>> network.apply(params, graph, jnp.ones((8, 5))).shape
    (8, 3)

  Source: Kipf & Welling 2017 (https://arxiv.org/abs/1609.02907), equation 2.
  """
  checks.choice(normalize, _propagate.NORMALIZATIONS, name='normalize')

  def apply(params, graph, x, key):
    del key
    kernel = params['kernel']
    step = lambda y: _propagate.propagate(graph, y, normalize=normalize)
    narrow = kernel.shape[0] < kernel.shape[1]
    out = step(x) @ kernel if narrow else step(x @ kernel)
    return _with_bias(params, out)

  leaves = lambda width, size: _dense(width, size, bias)
  return _alike(hidden_sizes, num_outputs, leaves, apply, activation, dropout)


def sage(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (16,),
  *,
  aggregate: str = 'mean',
  activation: str = 'relu',
  dropout: float = 0.5,
) -> Network:
  """Builds a network that keeps a node and its neighbors apart.

  A layer is `W x_i + V a_i + b` with a_i the mean, sum or maximum of what
  reaches i; zeros where nobody does.

  Args:
    num_outputs: K.
    hidden_sizes: widths of hidden layers.
    aggregate: 'mean' (by weights, if there are some), 'sum' or 'max'.
    activation: in `networks.functional.ACTIVATIONS`.
    dropout: of what a layer is given, in training.

  Returns:
    A `Network`, see `gcn`.

  Example:
    >>> from jaxdl import graphs
    >>> network, graph = sage(3), graphs.make_graph([(0, 1)], 2)
    >>> params = network.init(jax.random.key(0), graph, jnp.ones((8, 5)))
    >>> sorted(params[0])
    ['neighbors', 'own']

  Source: Hamilton, Ying & Leskovec 2017 (https://arxiv.org/abs/1706.02216),
    algorithm 1.
  """
  checks.choice(aggregate, _propagate.REDUCTIONS, name='aggregate')
  options = {'normalize': 'none', 'reduce': aggregate}
  if aggregate == 'mean':
    options = {'normalize': 'row', 'reduce': 'sum'}

  def leaves(width, size):
    return {'own': _dense(width, size), 'neighbors': _dense(width, size, False)}

  def apply(params, graph, x, key):
    del key
    step = lambda y: _propagate.propagate(graph, y, self_loops=False, **options)
    kernel = params['neighbors']['kernel']
    if aggregate != 'max' and kernel.shape[0] >= kernel.shape[1]:
      around = step(x @ kernel)
    else:
      around = step(x) @ kernel
    return functional.dense(params['own'], x) + around

  return _alike(hidden_sizes, num_outputs, leaves, apply, activation, dropout)


def gin(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (16,),
  *,
  activation: str = 'relu',
  dropout: float = 0.5,
) -> Network:
  """Builds a network whose layers tell multisets of neighbors apart.

  A layer is two dense layers on `(1 + e) x_i` and the sum of what reaches i,
  activated; e is learned and starts at zero. A dense layer follows the last.

  Args:
    num_outputs: K.
    hidden_sizes: widths of layers, at least one.
    activation: in `networks.functional.ACTIVATIONS`.
    dropout: of what a layer is given, in training.

  Returns:
    A `Network`, see `gcn`.

  Example:
    >>> from jaxdl import graphs
    >>> network, graph = gin(3), graphs.make_graph([(0, 1)], 2)
    >>> params = network.init(jax.random.key(0), graph, jnp.ones((8, 5)))
    >>> network.apply(params, graph, jnp.ones((8, 5))).shape
    (8, 3)

  Source: Xu et al. 2019 (https://arxiv.org/abs/1810.00826), equation 4.1.
  """
  sizes = functional.check_sizes(hidden_sizes, 'hidden_sizes')
  act = functional.activation(activation)
  checks.integer(num_outputs, name='num_outputs', low=1)

  def apply(params, graph, x, key):
    del key
    around = _propagate.propagate(graph, x, normalize='none', self_loops=False)
    x = (1 + params['epsilon'].astype(x.dtype)) * x + around
    x = act(functional.dense(params['first'], x))
    return functional.dense(params['second'], x)

  layers = [
    _Layer(
      lambda width, size=size: {
        'epsilon': functional.Leaf(()),
        'first': _dense(width, size),
        'second': _dense(size, size),
      },
      apply,
      size,
      act,
    )
    for size in sizes
  ]
  head = _Layer(
    lambda width: _dense(width, num_outputs),
    lambda params, graph, x, key: functional.dense(params, x),
    num_outputs,
    None,
  )
  return _stacked([*layers, head], dropout)


def chebyshev(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (16,),
  *,
  order: int = 3,
  largest_eigenvalue: float = 2.0,
  activation: str = 'relu',
  dropout: float = 0.5,
) -> Network:
  """Builds a network of polynomial filters of the normalized Laplacian.

  A layer is the sum over k of `T_k(2 L / l - I) x W_k` and b, with Chebyshev
  polynomials T_0..T_(order - 1) and L = I - D^-1/2 A D^-1/2.

  Args:
    num_outputs: K.
    hidden_sizes: widths of hidden layers.
    order: how many polynomials, >= 1; the first is the identity.
    largest_eigenvalue: l > 0, 2 at most for any graph.
    activation: in `networks.functional.ACTIVATIONS`.
    dropout: of what a layer is given, in training.

  Returns:
    A `Network`, see `gcn`.

  Example:
    >>> from jaxdl import graphs
    >>> network, graph = chebyshev(3), graphs.make_graph([(0, 1)], 2)
    >>> params = network.init(jax.random.key(0), graph, jnp.ones((8, 5)))
    >>> params[0]['kernel'].shape
    (15, 16)

  Source: Defferrard, Bresson & Vandergheynst 2016
    (https://arxiv.org/abs/1606.09375), equation 4.
  """
  checks.num_layers(order, name='order')
  checks.number(
    largest_eigenvalue, name='largest_eigenvalue', low=0, open_low=True
  )
  scale = 2.0 / largest_eigenvalue

  def apply(params, graph, x, key):
    del key

    def shifted(y):
      near = _propagate.propagate(graph, y, self_loops=False)
      if scale == 1:  # The identity cancels, infinities and all.
        return -near
      return (scale - 1) * y - scale * near

    found = [x]
    if order > 1:
      found.append(shifted(x))
    for _ in range(2, order):
      found.append(2 * shifted(found[-1]) - found[-2])
    return functional.dense(params, jnp.concatenate(found, axis=1))

  leaves = lambda width, size: _dense(order * width, size)
  return _alike(hidden_sizes, num_outputs, leaves, apply, activation, dropout)


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
  widths = _widths(hidden_sizes, num_outputs)
  count = len(widths)
  heads = [
    checks.integer(n, name='num_heads', low=1)
    for n in _per_layer(num_heads, count, 'num_heads')
  ]
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
  return _stacked(layers, dropout)


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
  return _Layer(leaves, apply, outputs, None)


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
      edge_key, loop_key = jax.random.split(key)
      edges = _attention.drop(edge_key, edges, dropout)
      loops = _attention.drop(loop_key, loops, dropout)
    out = _sums.collect(graph, edges, z, kept=kept) + loops[..., None] * z
    out = out / total[..., None]
    out = out.mean(1) if average else out.reshape(len(out), -1)
    return _with_bias(params, out).astype(dtype)

  outputs = width if average else heads * width
  return _Layer(leaves, apply, outputs, None)


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
  widths = _widths(hidden_sizes, num_outputs)
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
  return _stacked(layers, dropout)


NETWORKS = registry.Registry(
  'network',
  {
    'chebyshev': chebyshev,
    'composed': composed,
    'gat': gat,
    'gcn': gcn,
    'gin': gin,
    'mlp': mlp,
    'sage': sage,
  },
  given=('num_outputs',),
)


def make_network(spec: str, num_outputs: int) -> Network:
  """Builds a network on graphs by name.

  Args:
    spec: a part of `NETWORKS`, e.g. 'gat(version=2)'.
    num_outputs: K.

  Returns:
    A `Network`, see `gcn`.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> type(make_network('gcn((32, 32), dropout=0.0)', 7)).__name__
    'Network'
  """
  return NETWORKS.make(spec, num_outputs)
