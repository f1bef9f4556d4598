# SPDX-License-Identifier: Apache-2.0
"""Networks on the spectrum of a graph: filters that a transformer learns."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys, registry
from jaxdl.core.types import Network
from jaxdl.graphs import _attention
from jaxdl.graphs.spectral import _spectrum, _transformer
from jaxdl.networks import functional

NORMS = ('none', 'layer', 'batch')
FILTERS = ('transformer', 'identity')
_EPSILON = 1e-5


def spectral_bases(
  spectrum: _spectrum.Spectrum, filters: chex.Array, x: chex.Array
) -> chex.Array:
  """Filters signals on a graph: x itself, then U diag(γ_m) Uᵀ x for every m.

  Args:
    spectrum: of the graph, U f[N, K].
    filters: f[K, h], γ; rows of padding do not matter.
    x: f[N, C].

  Returns:
    f[N, h + 1, C].

  Raises:
    ValueError: if shapes do not fit.
    TypeError: if an argument is no spectrum, or no floating point.

  Cost: O(N K h C) work.

  Example:
    >>> from jaxdl import graphs
    >>> pair = _spectrum.graph_spectrum(graphs.make_graph([(0, 1)], 2))
    >>> x = jnp.zeros((8, 1)).at[0].set(1.0)
    >>> laplacian = pair.eigenvalues[:, None]  # γ = λ gives L x.
    >>> spectral_bases(pair, laplacian, x)[:2, 1, 0].round(4).tolist()
    [1.0, -1.0]

  Source: Bo et al. 2023 (https://arxiv.org/abs/2303.01028), equation 6.
  """
  _check_spectrum(spectrum)
  x, filters = _transformer.real('x', x), _transformer.real('filters', filters)
  n, k = spectrum.eigenvectors.shape
  if x.ndim != 2 or x.shape[0] != n:
    raise ValueError(
      f'x must have shape [N, C] with a row for each of {n} nodes; got '
      f'{x.shape}.'
    )
  if filters.ndim != 2 or filters.shape[0] != k:
    raise ValueError(
      f'filters must have shape [K, h] with a row for each of {k} eigenvalues; '
      f'got {filters.shape}.'
    )
  u = spectrum.eigenvectors.astype(x.dtype)
  filters = jnp.where(spectrum.mask[:, None], filters, 0).astype(x.dtype)
  waves = filters[:, :, None] * (u.T @ x)[:, None, :]
  k, heads, width = waves.shape
  filtered = (u @ waves.reshape(k, heads * width)).reshape(-1, heads, width)
  return jnp.concatenate([x[:, None], filtered], axis=1)


def _check_spectrum(spectrum):
  """Raises unless a value is the spectrum of one graph."""
  if not isinstance(spectrum, _spectrum.Spectrum):
    raise TypeError(
      'spectrum must be a spectral.Spectrum; got '
      f'{checks.described(spectrum)}: make it with '
      'spectral.graph_spectrum(graph).'
    )
  if spectrum.node_mask.ndim != 1:
    raise ValueError(
      'spectrum must be of one graph; it is a stack: vmap over it.'
    )


def _masked_norm(params, x, mask):
  """Columns of mean 0 and variance 1 over the nodes that are there."""
  row = mask[:, None]
  count = jnp.maximum(jnp.sum(mask), 1).astype(x.dtype)
  mean = jnp.sum(jnp.where(row, x, 0), axis=0, keepdims=True) / count
  gap = jnp.where(row, x - mean, 0)
  variance = jnp.sum(jnp.square(gap), axis=0, keepdims=True) / count
  unit = gap * jax.lax.rsqrt(variance + _EPSILON)
  return _transformer.affine(params, unit)


def gnodeformer(
  num_outputs: int,
  *,
  hidden_dim: int = 32,
  num_heads: int = 2,
  num_layers: int = 6,
  num_convolutions: int = 2,
  rk: int = 2,
  official: bool = False,
  norm: str = 'none',
  filters: str = 'transformer',
  history_norm: bool = True,
  attention_dropout: float = 0.2,
  feature_dropout: float = 0.6,
  propagation_dropout: float = 0.2,
  kernel_init: str = 'pytorch',
) -> Network:
  """Builds a spectral graph transformer whose layers are Runge-Kutta steps.

  A transformer over the eigenvalues (tokens, without order) makes h filters
  γ_m(λ) of them, which know of each other through attention. Features become H
  by a perceptron; every convolution is the sum over bases
  H, U diag(γ_1) UᵀH, ..., each times a learned vector.

  `init(key, spectrum, x)`, `apply(params, spectrum, x, *, train=False,
  key=None, with_filters=False)` with a `Spectrum` and x f[N, F]; it gives
  logits f[N, num_outputs], with `with_filters` also γ f[K, h]. Parameters take
  the dtype of x. Padding has zeros and no effect, whatever x holds there.
  Through the filters a node that is not finite reaches all nodes.

  Args:
    num_outputs: C.
    hidden_dim: d, even, a multiple of h.
    num_heads: h, filters and heads of attention; without any the network is
      the perceptron alone.
    num_layers: steps, one block each; 0 leaves the encoding as it is.
    num_convolutions: how often filters are applied.
    rk: order of a step, see `rk_step`; 1 has no ODE.
    official: see `rk_step`.
    norm: 'none' convolves the logits, without activation; 'layer' and 'batch'
      convolve d channels with a normalization and relu after each, then a
      dense layer. That of batches takes mean and variance of the nodes of the
      graph at hand, in training and after it; nothing is remembered.
    filters: 'transformer', or 'identity' for γ = λ, which learns none.
    history_norm: whether what a step gives is normalized before it is added to
      where it began.
    attention_dropout: in blocks, in training.
    feature_dropout: of features before each dense layer.
    propagation_dropout: of the bases.
    kernel_init: in `functional.KERNEL_INITS`; 'pytorch', that of the paper,
      draws biases, too. Its small kernels may rest at equal logits for hundreds
      of steps where 'fan_in(distribution=normal)' learns at once.

  Returns:
    A `Network` whose parameters are dicts: 'first' and 'second' (or 'features'
    and 'classifier'), 'encoder', 'block_<i>', 'history_norm_<i>', 'final_norm',
    'decoder', 'convolution_<i>', 'convolution_norm_<i>', as far as used.

  Raises:
    ValueError: if an option is out of range or unknown; from `apply`, if
      dropout has no key, or shapes of x or of parameters do not fit.

  Cost: O(K² d) for attention, a stage of a step; O(N K h C) a convolution.

  Example:
    >>> from jaxdl import graphs
    >>> pair = _spectrum.graph_spectrum(graphs.make_graph([(0, 1)], 2))
    >>> network, x = gnodeformer(3, num_layers=1), jnp.ones((8, 5))
    >>> params = jax.eval_shape(network.init, jax.random.key(0), pair, x)
    >>> apply = lambda p: network.apply(p, pair, x, with_filters=True)
    >>> logits, gamma = jax.eval_shape(apply, params)
    >>> logits.shape, gamma.shape
    ((8, 3), (8, 2))

  Source: Gurumurthy, Pal & Sharma 2025 (https://arxiv.org/abs/2504.11808). Its
    released code reads a wrong slot in the third order (`official`), and
    averages no running statistics of batches; here there are none.
  """
  classes = checks.integer(num_outputs, name='num_outputs', low=1)
  heads = checks.integer(num_heads, name='num_heads', low=0)
  width = _transformer.check_dim(hidden_dim, heads)
  depth = checks.integer(num_layers, name='num_layers', low=0)
  times = checks.integer(num_convolutions, name='num_convolutions', low=1)
  _transformer.check_order(rk, official)
  checks.choice(norm, NORMS, name='norm')
  checks.choice(filters, FILTERS, name='filters')
  _transformer.boolean('history_norm', history_norm)
  for name, rate in (
    ('attention_dropout', attention_dropout),
    ('feature_dropout', feature_dropout),
    ('propagation_dropout', propagation_dropout),
  ):
    checks.number(rate, name=name, low=0, high=1, open_high=True)
  learns = heads > 0 and filters == 'transformer'
  drops = feature_dropout > 0
  drops |= heads > 0 and propagation_dropout > 0
  drops |= learns and depth > 0 and attention_dropout > 0
  plain = norm == 'none'
  bias_init = _transformer.bias_of(kernel_init)

  def dense(inputs, outputs):
    return functional.layer_leaves(
      (inputs, outputs), kernel_init=kernel_init, bias_init=bias_init
    )

  def leaves(inputs):
    out: dict[str, Any]
    if plain:
      out = {'first': dense(inputs, width), 'second': dense(width, classes)}
    else:
      out = {
        'features': dense(inputs, width),
        'classifier': dense(width, classes),
      }
    channels = classes if plain else width
    weight = functional.Leaf((heads + 1, channels), 'constant', 1.0)
    if not plain:
      weight = functional.normal_init((heads + 1, channels), scale=0.01)
    for i in range(times if heads else 0):
      out[f'convolution_{i}'] = {'weight': weight}
      if not plain:
        out[f'convolution_norm_{i}'] = functional.scale_leaves((channels,))
    if learns:
      out['encoder'] = dense(width + 1, width)
      for i in range(depth):
        out[f'block_{i}'] = _transformer.block_leaves(width, kernel_init)
        if history_norm:
          out[f'history_norm_{i}'] = functional.scale_leaves((width,))
      out['final_norm'] = functional.scale_leaves((width,))
      out['decoder'] = dense(width, heads)
    return out

  def init(key, spectrum, x):
    keys.check_key(key)
    _checked(spectrum, x, init=True)
    return functional.draw(
      key, leaves(jnp.shape(x)[1]), functional.parameter_dtype(x)
    )

  def spectrum_of(params, spectrum, key, dtype):
    """Filters γ f[K, h]."""
    values = spectrum.eigenvalues.astype(dtype)
    if not learns:
      return jnp.broadcast_to(values[:, None], (len(values), heads))
    z = _transformer.eigenvalue_encoding(values, width)
    z = functional.dense(params['encoder'], z)

    def layer(z, turn):
      own, number = turn

      def block(x, key=None):
        return _transformer.transformer_block(
          own['block'],
          x,
          spectrum.mask,
          num_heads=heads,
          dropout=attention_dropout,
          key=key,
        )

      inner = None if key is None else jax.random.fold_in(key, number)
      moved = _transformer.rk_step(
        block, z, order=rk, official=official, key=inner
      )
      if history_norm:
        moved = _transformer.layer_norm(own['history_norm'], moved)
      return z + moved, None

    if depth:  # One program for all layers, which are alike.
      names = ['block', *(['history_norm'] if history_norm else [])]
      stacked = {
        name: jax.tree.map(
          lambda *xs: jnp.stack(xs),
          *(params[f'{name}_{i}'] for i in range(depth)),
        )
        for name in names
      }
      z, _ = jax.lax.scan(layer, z, (stacked, jnp.arange(depth)))
    z = _transformer.layer_norm(params['final_norm'], z)
    return functional.dense(params['decoder'], z)

  def apply(params, spectrum, x, *, train=False, key=None, with_filters=False):
    x = _checked(spectrum, x, params)
    there = spectrum.node_mask[:, None]
    if not train or not drops:
      key = None
    elif key is None:
      raise ValueError('apply(train=True) needs a key: dropout draws.')
    else:
      keys.check_key(key)

    def drop(stage, x, rate):
      if key is None or not rate:
        return x
      return _attention.drop(jax.random.fold_in(key, stage), x, rate)

    x = drop(0, jnp.where(there, x, 0), feature_dropout)
    if plain:
      h = jax.nn.relu(functional.dense(params['first'], x))
      h = drop(1, functional.dense(params['second'], h), feature_dropout)
    else:
      h = functional.dense(params['features'], x)
    h = jnp.where(there, h, 0)
    inner = None if key is None else jax.random.fold_in(key, 2)
    gamma = spectrum_of(params, spectrum, inner, h.dtype)
    for i in range(times if heads else 0):
      bases = spectral_bases(spectrum, gamma, h)
      bases = drop(3 + i, bases, propagation_dropout)
      weight = params[f'convolution_{i}']['weight'].astype(h.dtype)
      h = jnp.sum(bases * weight[None], axis=1)
      if not plain:
        own = params[f'convolution_norm_{i}']
        if norm == 'layer':
          h = _transformer.layer_norm(own, h)
        else:
          h = _masked_norm(own, h, spectrum.node_mask)
        h = jax.nn.relu(h)
      h = jnp.where(there, h, 0)
    if not plain:
      h = drop(3 + times, h, feature_dropout)
      h = functional.dense(params['classifier'], h)
    out = jnp.where(there, h, 0)
    return (out, gamma) if with_filters else out

  def _checked(spectrum, x, params=None, *, init=False):
    _check_spectrum(spectrum)
    n, shape = spectrum.node_mask.shape[0], jnp.shape(x)
    if len(shape) != 2 or shape[0] != n or not shape[1]:
      raise ValueError(
        f'x must have shape [N, F] with a row for each of {n} nodes and F >= '
        f'1; got {shape}.'
      )
    if not init:
      if not isinstance(params, Mapping):
        raise TypeError(
          'params must be a dict, as init makes; got '
          f'{checks.described(params)}.'
        )
      fits(params, shape[1])
    return x if init else jnp.asarray(x)

  def fits(params, inputs):
    """Raises unless parameters are those of this network."""
    wanted = leaves(inputs)
    if set(params) != set(wanted):
      odd = sorted(set(params) ^ set(wanted))
      raise ValueError(
        f'params are of a network with other options: {", ".join(odd)} '
        f'{"is" if len(odd) == 1 else "are"} missing or too many; take those '
        'that its init made.'
      )
    is_leaf = lambda x: isinstance(x, functional.Leaf)
    shapes = {
      path: leaf.shape
      for path, leaf in jax.tree.leaves_with_path(wanted, is_leaf=is_leaf)
    }
    for path, leaf in jax.tree.leaves_with_path(dict(params)):
      if path in shapes and jnp.shape(leaf) != shapes[path]:
        raise ValueError(
          f'params{jax.tree_util.keystr(path)} must have shape '
          f'{shapes[path]} with these options and x [N, {inputs}]; got '
          f'{jnp.shape(leaf)}: take those that init made.'
        )

  return Network(init, apply)


NETWORKS = registry.Registry(
  'network', {'gnodeformer': gnodeformer}, given=('num_outputs',)
)
