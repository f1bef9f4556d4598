# SPDX-License-Identifier: Apache-2.0
"""Layers whose weights live in a random-feature space."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, layers, trees
from jaxdl.core.types import Network
from jaxdl.operators import (
  _activations as activations,
  _fnn as fnn,
  _init,
  _random_features as features,
)

KINDS = ('relu', *features.SPECTRA)
INITIALS = ('kaiming', 'normal')


class FeatureMap(NamedTuple):
  """A pair of feature maps whose inner product estimates f(w.x + b).

  Complex features are stored as reals: [Re, Im] of inputs meets [Re, -Im] of
  weights. What was drawn is constant: it is captured, not trained.

  Attributes:
    inputs: Phi, f[..., d] -> f[..., M].
    weights: Psi, (f[o, d], f[o]) -> f[o, M].
    dim: d.
    size: M, real features.
  """

  inputs: Callable[[chex.Array], chex.Array]
  weights: Callable[[chex.Array, chex.Array], chex.Array]
  dim: int
  size: int


def _normalise(x, scale):
  # Squared in units of its size, so that nothing over- or underflows.
  x = x / trees.power_of_two(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return scale * x / jnp.sqrt(jnp.where(square > 0, square, 1))


def urf_map(
  urf: features.URF,
  *,
  split: str = 's3',
  a: float = 0.0,
  normalize: bool = False,
) -> FeatureMap:
  """Makes a feature map of a draw of universal random features.

  Args:
    urf: from `sample_urf` or `sample_series`.
    split: see `urf_phi`.
    a: see `gerf`.
    normalize: whether inputs are scaled to length d^(1/4); zero stays zero.

  Returns:
    A `FeatureMap` with M = 2 m.
  """
  checks.choice(split, features.SPLITS, name='split')
  checks.number(a, name='a', low=-0.25, open_low=True)
  size, dim = urf.g.shape

  def inputs(x):
    if normalize:
      x = _normalise(x, dim**0.25)
    z = features.urf_phi(urf, x, split=split, a=a)
    return jnp.concatenate([z.real, z.imag], -1)

  def weights(w, b):
    z = features.urf_psi(urf, w, b, split=split, a=a)
    return jnp.concatenate([z.real, -z.imag], -1)

  return FeatureMap(inputs, weights, dim, 2 * size)


def relu_map(
  g: chex.Array,
  *,
  kappa: float = 0.0,
  order: int = 1,
  bias: bool = False,
  normalize: bool = False,
) -> FeatureMap:
  """Makes a feature map of arc-cosine features, see `relu_features`.

  Args:
    g: f[m, D], from `gaussian_projection`; D = d + 1 with bias.
    kappa: see `relu_features`.
    order: see `relu_features`.
    bias: whether a one is appended to inputs, and b to weights; without it the
      bias is ignored.
    normalize: whether inputs are scaled to length d^(1/4); zero stays zero.

  Returns:
    A `FeatureMap` with M = m.
  """
  size, total = g.shape
  dim = total - int(bias)

  def inputs(x):
    if x.shape[-1] != dim:
      raise ValueError(
        f'features were drawn for d={dim} but the vectors have '
        f'{x.shape[-1]} entries.'
      )
    if normalize:
      x = _normalise(x, dim**0.25)
    if bias:
      x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
    return features.relu_features(g, x, kappa=kappa, order=order)

  def weights(w, b):
    if bias:
      w = jnp.concatenate([w, b[..., None]], -1)
    return features.relu_features(g, w, kappa=kappa, order=order)

  return FeatureMap(inputs, weights, dim, size)


def feature_map(
  key: chex.PRNGKey,
  dim: int,
  num_features: int,
  *,
  kind: str = 'relu',
  orthogonal: bool = False,
  split: str = 's3',
  a: float = 0.0,
  kappa: float = 0.0,
  bias: bool = True,
  normalize: bool = False,
) -> FeatureMap:
  """Draws a feature map by name.

  Args:
    key: consumed.
    dim: d.
    num_features: m; spectra give 2 m real features.
    kind: 'relu' or one of `SPECTRA`.
    orthogonal: see `gaussian_projection`.
    split: see `urf_phi`; sech needs 's3'.
    a: see `gerf`.
    kappa: see `relu_features`.
    bias: for 'relu', whether biases are represented.
    normalize: see `urf_map`.

  Returns:
    A `FeatureMap`.

  Raises:
    ValueError: if the kind has no spectrum or the split no variance.
  """
  if kind == 'relu':
    g = features.gaussian_projection(
      key, num_features, dim + int(bias), orthogonal=orthogonal
    )
    return relu_map(g, kappa=kappa, bias=bias, normalize=normalize)
  features.check_split(kind, split)
  urf = features.sample_urf(
    key, num_features, dim, kind=kind, orthogonal=orthogonal
  )
  return urf_map(urf, split=split, a=a, normalize=normalize)


def identity_map(dim: int) -> FeatureMap:
  """The map of a linear layer: features are the vectors, biases ignored."""
  return FeatureMap(lambda x: x, lambda w, b: w, dim, dim)


def _initial_psi(key, layer_map, out, initial, dtype):
  checks.choice(initial, INITIALS, name='initial')
  shape = (out, layer_map.dim)
  if initial == 'normal':
    leaf = _init.Leaf(shape, 'normal', 0.02)
  else:
    leaf = _init.fan_in_uniform(shape, layer_map.dim)
  w = _init.draw(key, [leaf])[0]
  b = jnp.zeros((out,), w.dtype)
  return layer_map.weights(w, b).astype(dtype)


def snnk_dense(
  layer_map: FeatureMap, out_features: int, *, initial: str = 'kaiming'
) -> Network:
  """Builds a layer x -> Psi Phi(x) that stands for f(W x + b).

  Only Psi f[o, M] is trained; it starts at Psi(W_0, 0), so a fresh layer
  estimates an ordinary one.

  Args:
    layer_map: the feature map of the activation f.
    out_features: o.
    initial: law of W_0: 'kaiming' (uniform on +-1/sqrt(d)) or 'normal'
      (deviation 0.02).

  Returns:
    A `Network` from f[..., d] to f[..., o]; `params` is {'psi'}.

  Example:
    >>> layer = snnk_dense(feature_map(jax.random.key(0), 64, 16), 128)
    >>> params = layer.init(jax.random.key(1), jnp.zeros((1, 64)))
    >>> params['psi'].shape
    (128, 16)

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.integer(out_features, name='out_features', low=1)

  def init(key, x):
    dtype = layers.parameter_dtype(x)
    psi = _initial_psi(key, layer_map, out_features, initial, dtype)
    return {'psi': psi}

  def apply(params, x, *, train=False, key=None):
    del train, key
    return layer_map.inputs(x) @ params['psi'].T

  return Network(init, apply)


def snnk_adapter(
  layer_map: FeatureMap, *, kind: str = 'gate', initial: str = 'normal'
) -> Network:
  """Builds a residual adapter that starts as the identity.

  'gate': y = x + v * SNNK(x) with v = 0 and o = d; 'up': y = x + Phi(x) U^T +
  c with U = 0 and c = 0.

  Args:
    layer_map: the feature map.
    kind: 'gate' or 'up'.
    initial: law of W_0 ('gate'), see `snnk_dense`.

  Returns:
    A `Network` from f[..., d] to f[..., d].

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.choice(kind, ('gate', 'up'), name='kind')
  dim = layer_map.dim
  layer = snnk_dense(layer_map, dim, initial=initial)

  def init(key, x):
    dtype = layers.parameter_dtype(x)
    if kind == 'gate':
      psi = _initial_psi(key, layer_map, dim, initial, dtype)
      return {'psi': psi, 'v': jnp.zeros((dim,), dtype)}
    return {
      'psi': jnp.zeros((dim, layer_map.size), dtype),
      'bias': jnp.zeros((dim,), dtype),
    }

  def apply(params, x, *, train=False, key=None):
    del train, key
    y = layer.apply(params, x)
    gate = params['v'] if kind == 'gate' else params['bias']
    gate = jnp.broadcast_to(gate, y.shape)
    return x + (gate * y if kind == 'gate' else y + gate)

  return Network(init, apply)


def bottleneck_adapter(
  dim: int, width: int, *, activation: fnn.Activation = 'relu'
) -> Network:
  """Builds the adapter y = x + U f(D x + b) + c, the one to compare with.

  Args:
    dim: d.
    width: of the bottleneck.
    activation: f.

  Returns:
    A `Network` from f[..., d] to f[..., d] that starts as the identity.

  Source: Houlsby et al. 2019 (https://arxiv.org/abs/1902.00751).
  """
  act = activations.activation(activation)
  checks.integer(dim, name='dim', low=1)
  checks.integer(width, name='width', low=1)

  def init(key, x):
    up = {'kernel': _init.Leaf((width, dim)), 'bias': _init.Leaf((dim,))}
    return _init.draw(key, {'down': fnn.dense_leaves(dim, width), 'up': up}, x)

  def apply(params, x, *, train=False, key=None):
    del train, key
    return x + fnn.dense(params['up'], act(fnn.dense(params['down'], x)))

  return Network(init, apply)


def low_rank_dense(
  out_features: int, rank: int, *, activation: fnn.Activation = 'relu'
) -> Network:
  """Builds f(U D x + b), the plain layer of the same budget.

  Args:
    out_features: o.
    rank: inner width.
    activation: f.

  Returns:
    A `Network` from f[..., d] to f[..., o] with rank (d + o) + o parameters.
  """
  act = activations.activation(activation)
  checks.integer(rank, name='rank', low=1)

  def init(key, x):
    down = fnn.dense_leaves(x.shape[-1], rank, bias=False)
    up = fnn.dense_leaves(rank, out_features)
    return _init.draw(key, {'down': down, 'up': up}, x)

  def apply(params, x, *, train=False, key=None):
    del train, key
    return act(fnn.dense(params['up'], fnn.dense(params['down'], x)))

  return Network(init, apply)


def snnk_mlp(
  layers: Sequence[int],
  maps: Mapping[int, FeatureMap],
  *,
  activation: fnn.Activation = 'relu',
) -> Network:
  """Builds a fully connected network some of whose layers are SNNK.

  Args:
    layers: widths after the input; the last layer is linear.
    maps: layer index -> feature map. A mapped layer is Psi Phi(x), with its
      activation inside.
    activation: of the other layers.

  Returns:
    A `Network`; `params` is a list of {'kernel', 'bias'} or {'psi'}: what
    `uptrain` makes of the parameters of `fnn`.
  """
  layers = fnn.check_widths(layers)
  act = activations.activation(activation)
  for i in maps:
    checks.integer(i, name='maps', low=0, high=len(layers) - 1)

  def init(key, x):
    keys = jax.random.split(key, len(layers))
    params: list[Any] = []
    dim = x.shape[-1]
    for i, (k, width) in enumerate(zip(keys, layers, strict=True)):
      if i in maps:
        if maps[i].dim != dim:
          raise ValueError(
            f'maps[{i}] was drawn for d={maps[i].dim} but layer {i} gets '
            f'{dim} values.'
          )
        params.append(snnk_dense(maps[i], width).init(k, x))
      else:
        params.append(_init.draw(k, fnn.dense_leaves(dim, width), x))
      dim = width
    return params

  def apply(params, x, *, train=False, key=None):
    del train, key
    for i, layer in enumerate(params):
      if 'psi' in layer:
        x = maps[i].inputs(x) @ layer['psi'].T
        continue
      x = fnn.dense(layer, x)
      if i < len(params) - 1:
        x = act(x)
    return x

  return Network(init, apply)


def uptrain(
  params: Sequence[Mapping[str, chex.Array]], maps: Mapping[int, FeatureMap]
) -> list[dict[str, chex.Array]]:
  """Replaces trained layers by SNNK layers that estimate them.

  Args:
    params: of `fnn`, a list of {'kernel', 'bias'}.
    maps: layer index -> feature map.

  Returns:
    Parameters of `snnk_mlp(layers, maps)`, ready to be fine-tuned.

  Raises:
    ValueError: if an index is out of range or dimensions differ.

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  out: list[dict[str, chex.Array]] = [dict(layer) for layer in params]
  for i, layer_map in maps.items():
    checks.integer(i, name='maps', low=0, high=len(out) - 1)
    kernel = out[i]['kernel']
    if kernel.shape[0] != layer_map.dim:
      raise ValueError(
        f'maps[{i}] was drawn for d={layer_map.dim} but layer {i} has '
        f'{kernel.shape[0]} inputs.'
      )
    bias = out[i].get('bias', jnp.zeros((kernel.shape[1],), kernel.dtype))
    out[i] = {'psi': layer_map.weights(kernel.T, bias).astype(kernel.dtype)}
  return out
