# SPDX-License-Identifier: Apache-2.0
"""Layers whose weights live in a random-feature space."""

from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional
from jaxdl.networks.features._maps import FeatureMap


def _initial_psi(key, layer_map, out, kernel_init, dtype):
  shape = (out, layer_map.dim)
  leaf = functional.KERNEL_INITS.make(kernel_init, shape, fan_in=layer_map.dim)
  w = functional.draw(key, leaf, functional.parameter_dtype())
  b = jnp.zeros((out,), w.dtype)
  return layer_map.weights(w, b).astype(dtype)


def snnk_dense(
  layer_map: FeatureMap,
  out_features: int,
  *,
  kernel_init: str = 'pytorch',
) -> Network:
  """Builds a layer x -> Psi Phi(x) that stands for f(W x + b).

  Only Psi f[o, M] is trained; it starts at Psi(W_0, 0), so a fresh layer
  estimates an ordinary one.

  Args:
    layer_map: the feature map of the activation f.
    out_features: o.
    kernel_init: law of W_0, a name in `functional.KERNEL_INITS`: 'pytorch'
      (uniform on +-1/sqrt(d)), 'normal' (deviation 0.02), ...

  Returns:
    A `Network` from f[..., d] to f[..., o]; `params` is {'psi'}.

  Example:
    >>> layer_map = feature_map(jax.random.key(0), 64, 16)
    >>> layer = snnk_dense(layer_map, 128)
    >>> params = layer.init(jax.random.key(1), jnp.zeros((1, 64)))
    >>> params['psi'].shape
    (128, 16)

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.integer(out_features, name='out_features', low=1)
  functional.KERNEL_INITS.check(kernel_init)

  def init(key, x):
    dtype = functional.parameter_dtype(x)
    psi = _initial_psi(key, layer_map, out_features, kernel_init, dtype)
    return {'psi': psi}

  def apply(params, x, *, train=False, key=None):
    del train, key
    return layer_map.inputs(x) @ params['psi'].T

  return Network(init, apply)


def snnk_adapter(
  layer_map: FeatureMap,
  *,
  kind: str = 'gate',
  kernel_init: str = 'normal',
) -> Network:
  """Builds a residual adapter that starts as the identity.

  'gate': y = x + v * SNNK(x) with v = 0 and o = d; 'up': y = x + Phi(x) U^T +
  c with U = 0 and c = 0.

  Args:
    layer_map: the feature map.
    kind: 'gate' or 'up'.
    kernel_init: law of W_0 ('gate'), see `snnk_dense`.

  Returns:
    A `Network` from f[..., d] to f[..., d], of the dtype of its inputs.

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.choice(kind, ('gate', 'up'), name='kind')
  dim = layer_map.dim
  layer = snnk_dense(layer_map, dim, kernel_init=kernel_init)

  def init(key, x):
    dtype = functional.parameter_dtype(x)
    if kind == 'gate':
      psi = _initial_psi(key, layer_map, dim, kernel_init, dtype)
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
    out = x + (gate * y if kind == 'gate' else y + gate)
    return out.astype(x.dtype)

  return Network(init, apply)


def bottleneck_adapter(
  dim: int, width: int, *, activation: functional.Activation = 'relu'
) -> Network:
  """Builds the adapter y = x + U f(D x + b) + c, the one to compare with.

  Args:
    dim: d.
    width: of the bottleneck.
    activation: f.

  Returns:
    A `Network` from f[..., d] to f[..., d], of the dtype of its inputs, that
    starts as the identity.

  Source: Houlsby et al. 2019 (https://arxiv.org/abs/1902.00751).
  """
  act = functional.activation(activation)
  checks.integer(dim, name='dim', low=1)
  checks.integer(width, name='width', low=1)

  def init(key, x):
    leaves = {
      'down': functional.layer_leaves((dim, width)),
      'up': functional.layer_leaves((width, dim), kernel_init='zeros'),
    }
    return functional.draw(key, leaves, functional.parameter_dtype(x))

  def apply(params, x, *, train=False, key=None):
    del train, key
    inner = act(functional.dense(params['down'], x))
    return (x + functional.dense(params['up'], inner)).astype(x.dtype)

  return Network(init, apply)


def low_rank_dense(
  out_features: int, rank: int, *, activation: functional.Activation = 'relu'
) -> Network:
  """Builds f(U D x + b), the plain layer of the same budget.

  Args:
    out_features: o.
    rank: inner width.
    activation: f.

  Returns:
    A `Network` from f[..., d] to f[..., o] with rank (d + o) + o parameters.
  """
  act = functional.activation(activation)
  checks.integer(rank, name='rank', low=1)

  def init(key, x):
    leaves = {
      'down': functional.layer_leaves((x.shape[-1], rank), bias_init=None),
      'up': functional.layer_leaves((rank, out_features)),
    }
    return functional.draw(key, leaves, functional.parameter_dtype(x))

  def apply(params, x, *, train=False, key=None):
    del train, key
    return act(
      functional.dense(params['up'], functional.dense(params['down'], x))
    )

  return Network(init, apply)


def snnk_mlp(
  layers: Sequence[int],
  maps: Mapping[int, FeatureMap],
  *,
  activation: functional.Activation = 'relu',
) -> Network:
  """Builds a fully connected network some of whose layers are SNNK.

  Args:
    layers: widths after the input; the last layer is linear.
    maps: layer index -> feature map. A mapped layer is Psi Phi(x), with its
      activation inside.
    activation: of the other layers.

  Returns:
    A `Network`; `params` is a list of {'kernel', 'bias'} or {'psi'}: what
    `uptrain` makes of the parameters of `mlp`.
  """
  layers = functional.check_sizes(layers, 'layers')
  act = functional.activation(activation)
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
        leaves = functional.layer_leaves((dim, width))
        dtype = functional.parameter_dtype(x)
        params.append(functional.draw(k, leaves, dtype))
      dim = width
    return params

  def apply(params, x, *, train=False, key=None):
    del train, key
    for i, layer in enumerate(params):
      if 'psi' in layer:
        x = maps[i].inputs(x) @ layer['psi'].T
        continue
      x = functional.dense(layer, x)
      if i < len(params) - 1:
        x = act(x)
    return x

  return Network(init, apply)


def uptrain(
  params: Sequence[Mapping[str, chex.Array]],
  maps: Mapping[int, FeatureMap],
) -> list[dict[str, chex.Array]]:
  """Replaces trained layers by SNNK layers that estimate them.

  Args:
    params: of `mlp`, a list of {'kernel', 'bias'}.
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
