# SPDX-License-Identifier: Apache-2.0
"""Small networks whose layers are sums over neighbors."""

from collections.abc import Sequence

import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.graphs import _propagate, _stack
from jaxdl.networks import functional


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

  return _stack.alike(
    hidden_sizes, num_outputs, _stack.dense_leaves, apply, activation, dropout
  )


def gcn(
  num_outputs: int,
  hidden_sizes: int | Sequence[int] = (16,),
  *,
  activation: str = 'relu',
  dropout: float = 0.5,
  normalize: str = 'symmetric',
  self_loops: bool = True,
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
    normalize: see `propagate`; 'none' and no loops of a graph that
      `normalized` made saves to count degrees every time.
    self_loops: whether every node hears itself.
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
  checks.flag(self_loops, name='self_loops')
  checks.flag(bias, name='bias')

  def apply(params, graph, x, key):
    del key
    kernel = params['kernel']
    step = lambda y: _propagate.propagate(
      graph, y, normalize=normalize, self_loops=self_loops
    )
    narrow = kernel.shape[0] < kernel.shape[1]
    out = step(x) @ kernel if narrow else step(x @ kernel)
    return _stack.with_bias(params, out)

  leaves = lambda width, size: _stack.dense_leaves(width, size, bias)
  return _stack.alike(
    hidden_sizes, num_outputs, leaves, apply, activation, dropout
  )


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
    return {
      'own': _stack.dense_leaves(width, size),
      'neighbors': _stack.dense_leaves(width, size, False),
    }

  def apply(params, graph, x, key):
    del key
    step = lambda y: _propagate.propagate(graph, y, self_loops=False, **options)
    kernel = params['neighbors']['kernel']
    if aggregate != 'max' and kernel.shape[0] >= kernel.shape[1]:
      around = step(x @ kernel)
    else:
      around = step(x) @ kernel
    return functional.dense(params['own'], x) + around

  return _stack.alike(
    hidden_sizes, num_outputs, leaves, apply, activation, dropout
  )


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
    _stack.Layer(
      lambda width, size=size: {
        'epsilon': functional.Leaf(()),
        'first': _stack.dense_leaves(width, size),
        'second': _stack.dense_leaves(size, size),
      },
      apply,
      size,
      act,
    )
    for size in sizes
  ]
  head = _stack.Layer(
    lambda width: _stack.dense_leaves(width, num_outputs),
    lambda params, graph, x, key: functional.dense(params, x),
    num_outputs,
    None,
  )
  return _stack.stacked([*layers, head], dropout)


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

  leaves = lambda width, size: _stack.dense_leaves(order * width, size)
  return _stack.alike(
    hidden_sizes, num_outputs, leaves, apply, activation, dropout
  )
