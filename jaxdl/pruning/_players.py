# SPDX-License-Identifier: Apache-2.0
"""Which groups of parameters of a network take part, and by how much.

A layer is {'kernel': f[*window, I, O], 'bias': f[O]} anywhere in a tree of
parameters, known by its path ('1', 'params/Conv_0'). Its players are its
neurons or filters, θ_i = (kernel[..., i], bias[i]); or its single weights.
Gates are a dict of participations by layer, f[O] or of the kernel's shape.
"""

import re
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, layers as layers_lib, trees
from jaxdl.pruning import _game

GRANULARITIES = ('unit', 'neuron', 'filter', 'weight')

Gates = dict[str, chex.Array]
_HIGHEST = 'highest'


def layers_of(params: chex.ArrayTree) -> dict[str, dict[str, chex.Array]]:
  """The layers of a network by path, numbers in paths in their order.

  Args:
    params: parameters of one model, or their shapes.

  Returns:
    Dicts with 'kernel' and, where there is one, 'bias'.

  Example:
    >>> from jaxdl import networks
    >>> params = networks.mlp((4,), 2).init(jax.random.key(0), jnp.ones((1, 3)))
    >>> {k: sorted(v) for k, v in layers_of(params).items()}
    {'0': ['bias', 'kernel'], '1': ['bias', 'kernel']}
  """
  leaves = {
    name_of(path): (path, leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  found = {}
  for name, (path, leaf) in leaves.items():
    at, _, last = name.rpartition('/')
    if last == 'kernel' and layers_lib.is_kernel(path, leaf):
      found[at] = {'kernel': leaf}
      bias = leaves.get(f'{at}/bias' if at else 'bias')
      if bias is not None and bias[1].shape == leaf.shape[-1:]:
        found[at]['bias'] = bias[1]
  return dict(sorted(found.items(), key=lambda item: _natural(item[0])))


def init_participation(
  params: chex.ArrayTree,
  *,
  granularity: str = 'unit',
  ungated: Sequence[str] | None = None,
  start: chex.Numeric = 1.0,
) -> Gates:
  """Participations to begin with, of all layers but the output.

  Args:
    params: parameters of one model.
    granularity: players are 'unit' (neurons and filters), 'neuron' (of layers
      without windows), 'filter' (of convolutions) or 'weight' (entries of
      kernels; biases take part in full) (static).
    ungated: paths of layers whose parameters all take part; the last one, by
      the order of `layers_of`, if None.
    start: s in [0, 1].

  Returns:
    float32 (float64 for such parameters), by layer.

  Raises:
    ValueError: if nothing is left to gate, a path is unknown, or an option is
      out of range.

  Example:
    >>> from jaxdl import networks
    >>> params = networks.mlp((4,), 2).init(jax.random.key(0), jnp.ones((1, 3)))
    >>> init_participation(params)
    {'0': Array([1., 1., 1., 1.], dtype=float32)}
  """
  checks.choice(granularity, GRANULARITIES, name='granularity')
  checks.number(start, name='start', low=0.0, high=1.0)
  layers = layers_of(params)
  names = list(layers)
  ungated = names[-1:] if ungated is None else ungated
  if not isinstance(ungated, (tuple, list)):
    raise TypeError(f'ungated must be a sequence of paths; got {ungated!r}.')
  for name in ungated:
    checks.choice(name, names, name='ungated')
  gates = {}
  for name, layer in layers.items():
    kernel = layer['kernel']
    other = {'neuron': kernel.ndim > 2, 'filter': kernel.ndim == 2}
    if name in ungated or other.get(granularity, False):
      continue
    shape = kernel.shape if granularity == 'weight' else kernel.shape[-1:]
    dtype = trees.accumulator(kernel.dtype)
    gates[name] = jnp.full(shape, start, dtype)
  if not gates:
    raise ValueError(
      f'nothing can be gated: of the layers {names or "(none)"} none is left '
      f'by ungated={tuple(ungated)} and granularity={granularity!r}.'
    )
  return gates


def scale(params: chex.ArrayTree, gates: Gates) -> chex.ArrayTree:
  """The effective parameters s_i θ_i.

  Args:
    params: parameters of one model.
    gates: participations by layer.

  Returns:
    A tree like `params`, bit by bit `params` where all take part in full.

  Raises:
    ValueError: if gates and layers do not fit.

  Example:
    >>> params = [{'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)}]
    >>> scale(params, {'0': jnp.array([0.5, 1.0])})[0]['bias']
    Array([0.5, 1. ], dtype=float32)
  """
  layers = layers_of(params)
  check_gates(layers, gates)
  factors = {}
  for name, gate in gates.items():
    at = f'{name}/' if name else ''
    factors[f'{at}kernel'] = gate
    if _is_unit(layers[name], gate):
      factors[f'{at}bias'] = gate

  def leaf(path, x):
    gate = factors.get(name_of(path))
    if gate is None:
      return x
    if gate.shape != x.shape:
      gate = gate.reshape((1,) * (x.ndim - 1) + gate.shape)
    return x * gate.astype(x.dtype)

  return jax.tree_util.tree_map_with_path(leaf, params)


def player_sq_norms(params: chex.ArrayTree, gates: Gates) -> Gates:
  """Squared norms |θ_i|² of all players.

  Args:
    params: parameters of one model.
    gates: participations; their layers and shapes count.

  Returns:
    By layer, of the shapes of the gates.

  Example:
    >>> params = [{'kernel': jnp.ones((2, 2)), 'bias': jnp.array([0.0, 1.0])}]
    >>> player_sq_norms(params, {'0': jnp.ones(2)})
    {'0': Array([2., 3.], dtype=float32)}
  """
  return _each(params, gates, lambda x, s: jnp.sum(jnp.square(x), axis=0))


def player_gram(params: chex.ArrayTree, gates: Gates) -> Gates:
  """Products <θ_i, θ_j> within each layer.

  Args:
    params: parameters of one model.
    gates: participations of n players per layer; their shapes count.

  Returns:
    f[n, n] by layer.

  Cost: O(n² d), d numbers a player; `player_overlaps` needs O(n d).

  Example:
    >>> params = [{'kernel': jnp.ones((2, 2)), 'bias': jnp.array([0.0, 1.0])}]
    >>> player_gram(params, {'0': jnp.ones(2)})['0'].tolist()
    [[2.0, 2.0], [2.0, 3.0]]
  """
  layers = layers_of(params)
  check_gates(layers, gates)
  found = {}
  for name, gate in gates.items():
    x = _columns(layers[name], gate)
    x = x.reshape(x.shape[0], -1)
    found[name] = jnp.matmul(x.T, x, precision=_HIGHEST)
  return found


def player_overlaps(
  params: chex.ArrayTree, gates: Gates, *, unit_norm: bool = False
) -> Gates:
  """How much each player says what others say, Σ_{j≠i} s_j <θ_i, θ_j>.

  Args:
    params: parameters of one model.
    gates: participations s by layer.
    unit_norm: whether players are scaled to length one first (static).

  Returns:
    By layer, of the shapes of the gates; without the matrix of all pairs.

  Example:
    >>> params = [{'kernel': jnp.array([[1.0, 2.0]])}]
    >>> player_overlaps(params, {'0': jnp.array([1.0, 0.5])})
    {'0': Array([1., 2.], dtype=float32)}
  """

  def of_layer(x, s):
    x = x.reshape(x.shape[0], -1)
    flat = s.reshape(-1)
    if unit_norm:
      length = jnp.sqrt(jnp.sum(jnp.square(x), axis=0, keepdims=True))
      x = x / jnp.where(length > 0, length, 1)
    total = jnp.matmul(x, flat, precision=_HIGHEST)
    own = flat * jnp.sum(jnp.square(x), axis=0)
    found = jnp.matmul(total, x, precision=_HIGHEST) - own
    return found.reshape(s.shape)

  return _each(params, gates, of_layer)


def player_products(
  params: chex.ArrayTree, grads: chex.ArrayTree, gates: Gates
) -> Gates:
  """Products g_i = <∂L/∂θ_i, θ_i> of all players.

  By the chain rule it is s_i ∂L/∂s_i: what the loss would rise by, to first
  order, if the player grew by its own size. Negative ones are of use.

  Args:
    params: θ, parameters of one model.
    grads: ∂L/∂θ, a tree like `params`.
    gates: participations; their layers and shapes count.

  Returns:
    By layer, of the shapes of the gates.

  Example:
    >>> params = [{'kernel': jnp.array([[1.0, 2.0]])}]
    >>> grads = [{'kernel': jnp.array([[3.0, -1.0]])}]
    >>> player_products(params, grads, {'0': jnp.ones(2)})
    {'0': Array([ 3., -2.], dtype=float32)}

  Source: Shah and Khan 2025 (https://arxiv.org/abs/2512.22106), section 3.
  """
  slopes = layers_of(grads)
  layers = layers_of(params)
  check_gates(layers, gates)
  for name in gates:
    shapes = [
      {k: x.shape for k, x in t.get(name, {}).items()} for t in (layers, slopes)
    ]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f'grads must be a tree like params; in layer {name} they have '
        f'{shapes[1] or "nothing"}, params {shapes[0]}.'
      )
  return {
    name: jnp.sum(_columns(layers[name], s) * _columns(slopes[name], s), axis=0)
    for name, s in gates.items()
  }


def player_benefits(
  products: Gates,
  *,
  scale: chex.Numeric = 1.0,
  sign: int = -1,
  normalize: bool = False,
) -> Gates:
  """What players bring, b_i = ± α g_i.

  Args:
    products: g_i by layer, see `player_products`; or ∂L/∂s_i.
    scale: α >= 0.
    sign: -1 rewards what lowers the loss, +1, as the paper prints it, what
      raises it (static).
    normalize: whether g_i is divided by the mean of |g_j| over its layer, so
      that costs are shares of a mean benefit (static).

  Returns:
    By layer.

  Raises:
    ValueError: if the scale is negative or the sign something else.

  Example:
    >>> player_benefits({'0': jnp.array([3.0, -1.0])}, normalize=True)
    {'0': Array([-1.5,  0.5], dtype=float32)}

  Source: Shah and Khan 2025 (https://arxiv.org/abs/2512.22106), section 3; sign
    -1 and the division are ours.
  """
  checks.number(scale, name='scale', low=0.0)
  checks.choice(sign, (-1, 1), name='sign')
  check_tables(products, name='products')

  def of_layer(g):
    if normalize:
      mean = jnp.mean(jnp.abs(g))
      g = g / jnp.where(mean > 0, mean, 1)
    return sign * scale * g

  return {name: of_layer(g) for name, g in products.items()}


def check_gates(layers: dict[str, dict[str, chex.Array]], gates: Gates) -> None:
  """Raises ValueError unless every gate fits a layer, in shape and values."""
  check_tables(gates)
  for name, gate in gates.items():
    checks.choice(name, layers, name='layer of gates')
    kernel = layers[name]['kernel']
    shape = jnp.shape(gate)
    if shape not in (kernel.shape, kernel.shape[-1:]):
      raise ValueError(
        f'gates[{name!r}] must have shape {kernel.shape[-1:]}, a neuron or '
        f'filter each, or {kernel.shape}, a weight each; got {shape}.'
      )
    if not isinstance(gate, jax.ShapeDtypeStruct):
      _game.check_participations(gate, name=f'gates[{name!r}]')


def check_tables(value: Any, *, name: str = 'gates') -> None:
  """Raises TypeError unless it is a dict of arrays by layer."""
  if not isinstance(value, dict):
    raise TypeError(
      f'{name} must be a dict of arrays by layer, as init_participation makes; '
      f'got {checks.described(value)}.'
    )


def _is_unit(layer, gate):
  return jnp.ndim(gate) == 1 and 'bias' in layer


def _columns(layer, gate):
  """f[d, *players]: what each player consists of, in a wide dtype."""
  kernel = layer['kernel']
  kernel = kernel.astype(trees.accumulator(kernel.dtype))
  if jnp.shape(gate) == kernel.shape:
    return kernel[None]
  parts = [kernel.reshape(-1, kernel.shape[-1])]
  if 'bias' in layer:
    parts.append(layer['bias'].astype(kernel.dtype)[None])
  return jnp.concatenate(parts)


def _each(params, gates, fn):
  layers = layers_of(params)
  check_gates(layers, gates)
  return {name: fn(_columns(layers[name], s), s) for name, s in gates.items()}


def name_of(path: Any) -> str:
  """The path of a leaf as text, such as 'params/Conv_0/kernel'."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _natural(name):
  """Sorts 'Dense_10' behind 'Dense_9'."""
  parts = re.split(r'(\d+)', name)
  return [(int(p), '') if p.isdigit() else (-1, p) for p in parts]


def in_order(gates: Gates) -> list[str]:
  """Layers of gates in the order of `layers_of`."""
  check_tables(gates)
  return sorted(gates, key=_natural)
