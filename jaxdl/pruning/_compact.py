# SPDX-License-Identifier: Apache-2.0
"""What is left of a network: gates that are cut, and a smaller network."""

from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import checks, types
from jaxdl.networks import as_network
from jaxdl.pruning import _gated, _players, _rules

Gates = dict[str, chex.Array]


class Compact(NamedTuple):
  """A smaller network with the outputs of a pruned one.

  Attributes:
    network: `apply` takes the smaller parameters; `init` returns them, whatever
      the key.
    params: the smaller parameters.
    kept: by layer, indices of the players that stayed, int[...].
  """

  network: types.Network
  params: chex.ArrayTree
  kept: dict[str, np.ndarray]


def sparsity(gates: Gates, *, threshold: float = 0.01) -> chex.Array:
  """Share of all players whose participation is below a threshold.

  Args:
    gates: participations by layer.
    threshold: ε in (0, 1) (static).

  Returns:
    f32[]; who is NaN is out, as for `num_alive` and `prune`.

  Raises:
    ValueError: if the threshold is out of range or there is no player.

  Example:
    >>> float(sparsity({'0': jnp.array([1.0, 0.0]), '1': jnp.zeros(2)}))
    0.75

  Source: Shah and Khan 2025 (https://arxiv.org/abs/2512.22106), section 5.
  """
  _players.check_tables(gates)
  _rules.check_threshold(threshold)
  size = sum(jnp.size(s) for s in gates.values())
  if not size:
    raise ValueError('gates has no players: nothing can be pruned.')
  alive = sum(num_alive(gates, threshold=threshold).values())
  return jnp.float32(size - alive) / size


def num_alive(
  gates: Gates, *, threshold: float = 0.01
) -> dict[str, chex.Array]:
  """Players that take part, by layer.

  Args:
    gates: participations by layer.
    threshold: ε in (0, 1) (static).

  Returns:
    i32[] by layer.

  Example:
    >>> {k: int(v) for k, v in num_alive({'0': jnp.array([1.0, 0.0])}).items()}
    {'0': 1}
  """
  _players.check_tables(gates)
  _rules.check_threshold(threshold)
  return {
    name: jnp.sum(s >= threshold, dtype=jnp.int32) for name, s in gates.items()
  }


def prune(
  params: chex.ArrayTree, *, threshold: float = 0.01
) -> dict[str, chex.ArrayTree]:
  """Sets participations below a threshold to zero.

  Args:
    params: {'network', 'gates'}.
    threshold: ε in (0, 1) (static).

  Returns:
    The parameters; those that stay keep their participation.

  Raises:
    ValueError: if the threshold is out of range.

  Example:
    >>> prune({'network': (), 'gates': {'0': jnp.array([0.5, 0.001])}})['gates']
    {'0': Array([0.5, 0. ], dtype=float32)}
  """
  _gated.check_tree(params)
  _rules.check_threshold(threshold)
  cut = lambda s: jnp.where(s >= threshold, s, 0)
  return {
    'network': params['network'],
    'gates': jax.tree.map(cut, params['gates']),
  }


def dead_layers(gates: Gates, *, threshold: float = 0.01) -> tuple[str, ...]:
  """Layers without any player, of which a warning is logged.

  Args:
    gates: concrete participations by layer.
    threshold: ε in (0, 1).

  Returns:
    Their paths.

  Example:
    >>> dead_layers({'0': jnp.ones(3), '1': jnp.zeros(2)})
    ('1',)
  """
  counts = jax.device_get(num_alive(gates, threshold=threshold))
  dead = tuple(n for n in _players.in_order(counts) if not counts[n])
  for name in dead:
    logging.log_first_n(
      logging.WARNING,
      'layer %s has no surviving neuron; network output is constant.',
      3,
      name,
    )
  return dead


def check_rate(params: chex.ArrayTree, *, l2: float, rate: float) -> bool:
  """Whether plain ascent is stable, η_s 2 β |θ_i|² <= 2 for all players.

  Args:
    params: {'network', 'gates'}, concrete.
    l2: β.
    rate: η_s.

  Returns:
    A Python bool; if False, a warning is logged.

  Example:
    >>> layer = {'kernel': jnp.full((1, 1), 2.0)}
    >>> params = {'network': [layer], 'gates': {'0': jnp.ones(1)}}
    >>> check_rate(params, l2=0.5, rate=0.4), check_rate(params, l2=0.5, rate=1)
    (True, False)
  """
  checks.number(l2, name='l2', low=0.0)
  checks.number(rate, name='rate', low=0.0)
  _gated.check_tree(params)
  norms = _players.player_sq_norms(params['network'], params['gates'])
  largest = max(float(np.max(x)) for x in jax.device_get(norms).values())
  step = 2 * rate * l2 * largest
  if step > 2:
    logging.log_first_n(
      logging.WARNING,
      'rate=%g and l2=%g make participations oscillate: rate * 2 * l2 * %.3g, '
      'the largest squared norm of a player, is %.3g > 2; lower one of them.',
      3,
      *(rate, l2, largest, step),
    )
  return step <= 2


def compact(
  network: Any,
  params: chex.ArrayTree,
  *example_inputs: Any,
  threshold: float = 0.01,
) -> Compact:
  """Builds the smaller network: players that are out are really gone.

  Columns of a layer and the rows of the next one that read them are dropped,
  participations are multiplied into what stays. A layer that lost all players
  keeps one whose parameters are zero.

  Args:
    network: what `gated` was given: layers in a chain, each read by the next
      alone, with activations that are zero at zero (relu, tanh, gelu).
    params: {'network', 'gates'} of the gated network, concrete; gates of
      neurons and filters.
    *example_inputs: arrays or shapes [B, ...]; on random numbers of these
      shapes both networks are compared.
    threshold: ε in (0, 1).

  Returns:
    The smaller network.

  Raises:
    ValueError: if gates are of single weights, a parameter is not finite, or
      the layers are no such chain, so that outputs would differ.
    TypeError: if something is traced.

  Example:
    >>> from jaxdl import networks
    >>> plain, x = networks.mlp((4,), 2), jnp.ones((1, 3))
    >>> params = gated(plain).init(jax.random.key(0), x)
    >>> params['gates']['0'] = jnp.array([1.0, 0.0, 0.5, 0.0])
    >>> small = compact(plain, params, x)
    >>> [layer['kernel'].shape for layer in small.params]
    [(3, 2), (2, 2)]
  """
  network = as_network(network)
  _gated.check_tree(params)
  _rules.check_threshold(threshold)
  gates = params['gates']
  layers = _players.layers_of(params['network'])
  _players.check_gates(layers, gates)
  held = {
    name: checks.host_array(gate, name=f'gates[{name!r}]')
    for name, gate in gates.items()
  }
  for path, x in jax.tree_util.tree_leaves_with_path(params['network']):
    name = f"params['network']{jax.tree_util.keystr(path)}"
    if not np.isfinite(np.float64(checks.host_array(x, name=name))).all():
      raise ValueError(f'{name} must be finite: the network has diverged.')
  for name, gate in gates.items():
    if jnp.ndim(gate) != 1:
      raise ValueError(
        f'gates of layer {name} are of single weights, whose zeros leave all '
        "shapes as they are: gate with granularity='unit'."
      )
  dead_layers(gates, threshold=threshold)
  kept = {}
  for name, s in held.items():
    there = np.flatnonzero(s >= threshold)
    kept[name] = there if there.size else np.zeros(1, int)
  cut = prune(params, threshold=threshold)
  own = _players.scale(cut['network'], cut['gates'])
  order = _gated.used_in_order(network.apply, own, *example_inputs)
  small = _sliced(own, order, kept)
  made = types.Network(lambda key, *inputs: small, _any_size(network.apply))
  inputs = [_random(x) for x in example_inputs]
  want = jax.jit(network.apply)(own, *inputs)
  try:
    got = jax.jit(made.apply)(small, *inputs)
    error = np.max(np.abs(np.asarray(got, float) - np.asarray(want, float)))
  except (ValueError, TypeError) as failure:
    raise ValueError(_no_chain(order)) from failure
  if not error <= 1e-4 * max(1.0, float(np.max(np.abs(want)))):
    raise ValueError(f'{_no_chain(order)} (outputs differ by {error:.2g}).')
  return Compact(made, small, kept)


def compact_size(
  params: chex.ArrayTree, counts: dict[str, int], order: list[str]
) -> int:
  """Numbers that are left of a chain of layers when players have gone.

  Args:
    params: of the network without gates, or their shapes.
    counts: players that stay, by layer.
    order: see `used_in_order`.

  Returns:
    Weights and biases of the smaller network.

  Raises:
    ValueError: if a layer is unknown, or more players stay than there are.

  Example:
    >>> from jaxdl import networks
    >>> params = networks.mlp((4,), 2).init(jax.random.key(0), jnp.ones((1, 3)))
    >>> compact_size(params, {'0': 2}, ['0', '1'])
    14
  """
  layers, total, share = _players.layers_of(params), 0, 1.0
  if isinstance(order, str):
    raise TypeError(f'order must be a sequence of paths; got {order!r}.')
  for name in (*order, *counts):
    checks.choice(name, layers, name='layer')
  for name, stay in counts.items():
    size = layers[name]['kernel'].shape[-1]
    checks.integer(stay, name=f'counts[{name!r}]', low=0, high=size)
  for name in order:
    *_, outputs = layers[name]['kernel'].shape
    stay = counts.get(name, outputs)
    total += round(layers[name]['kernel'].size * share * stay / outputs)
    total += stay if 'bias' in layers[name] else 0
    share = stay / outputs
  return total


def _no_chain(order):
  return (
    'the network cannot be made smaller: its layers '
    f'{", ".join(order)} must be a chain, each read by the next alone, without '
    'normalizations, and activations zero at zero'
  )


def _sliced(params, order, kept):
  """Parameters without the columns and rows of players that are out."""
  layers, out, before = _players.layers_of(params), {}, None
  for name in order:
    layer = dict(layers[name])
    if before is not None:
      there, size = before
      kernel = layer['kernel']
      *window, rows, columns = kernel.shape
      if rows % size:
        raise ValueError(_no_chain(order))
      # A flattened grid has its channels last.
      kernel = kernel.reshape(*window, rows // size, size, columns)
      kernel = kernel[..., there, :]
      layer['kernel'] = kernel.reshape(*window, -1, columns)
    before = None
    if name in kept:
      before = kept[name], layer['kernel'].shape[-1]
      layer = {k: x[..., kept[name]] for k, x in layer.items()}
    out |= {f'{name}/{k}' if name else k: x for k, x in layer.items()}

  def leaf(path, x):
    return out.get(_players.name_of(path), x)

  return jax.tree_util.tree_map_with_path(leaf, params)


def _any_size(apply):
  """Has layers of flax take their numbers of features from parameters."""

  def resized(call, args, kwargs, context):
    module = context.module
    if (
      context.method_name == '__call__'
      and hasattr(module, 'features')
      and module.has_variable('params', 'kernel')
    ):
      kernel = module.get_variable('params', 'kernel')
      object.__setattr__(module, 'features', kernel.shape[-1])
    return call(*args, **kwargs)

  def run(params, *inputs, **options):
    with nn.intercept_methods(resized):
      return apply(params, *inputs, **options)

  return run


def _random(example):
  """Numbers of the shape of an example."""
  shape, dtype = jnp.shape(example), jnp.result_type(example)
  shape = (max(shape[0], 4), *shape[1:]) if shape else shape
  if not jnp.issubdtype(dtype, jnp.floating):
    return jnp.zeros(shape, dtype)
  drawn = np.random.default_rng(0).normal(size=shape)
  return jnp.asarray(drawn, dtype)


def measure(
  params: chex.ArrayTree,
  *,
  threshold: float = 0.01,
  order: list[str] | None = None,
) -> dict[str, float]:
  """What the gates of a model say, in numbers.

  Args:
    params: {'network', 'gates'} of one model, concrete.
    threshold: ε in (0, 1).
    order: layers of a chain as `used_in_order` gives them; None where the
      network is none.

  Returns:
    `sparsity`; `kept`, players that take part; `participation`, the mean over
    all; `undecided`, the share of those in that are below one half; and
    `parameters`, weights and biases that are left: after `compact` where there
    is an order, otherwise without the players that are out.

  Example:
    >>> layer = {'kernel': jnp.ones((3, 4)), 'bias': jnp.zeros(4)}
    >>> gates = {'0': jnp.array([1.0, 0.0, 0.2, 0.0])}
    >>> found = measure({'network': [layer], 'gates': gates})
    >>> {k: round(v, 3) for k, v in found.items()}  # doctest: +ELLIPSIS
    {'sparsity': 0.5, 'kept': 2, 'participation': 0.3, 'undecided': 0.5, ...}
  """
  _gated.check_tree(params)
  sparse = float(sparsity(params['gates'], threshold=threshold))
  gates = jax.device_get(params['gates'])
  flat = np.concatenate([np.ravel(s) for s in gates.values()])
  alive = flat >= threshold
  counts = {k: int((s >= threshold).sum()) for k, s in gates.items()}
  units = all(np.ndim(s) == 1 for s in gates.values())
  layers = _players.layers_of(params['network'])
  total = sum(x.size for x in jax.tree.leaves(params['network']))
  if order is not None and units:
    total = compact_size(params['network'], counts, order)
  else:
    for name, s in gates.items():
      layer = layers[name]
      size = 1 if np.ndim(s) > 1 else layer['kernel'].size // s.size
      size += np.ndim(s) == 1 and 'bias' in layer
      total -= int(size) * (s.size - counts[name])
  return {
    'sparsity': sparse,
    'kept': int(alive.sum()),
    'participation': float(flat.mean()),
    'undecided': float((flat[alive] < 0.5).mean()) if alive.any() else 0.0,
    'parameters': total,
  }
