# SPDX-License-Identifier: Apache-2.0
"""What small networks on graphs are stacked of."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys
from jaxdl.core.types import Network
from jaxdl.graphs import _attention, _inside
from jaxdl.networks import functional


class Layer(NamedTuple):
  """Leaves of so many inputs, `apply(params, graph, x, key)`, outputs."""

  leaves: Callable[[int], Any]
  apply: Callable[..., chex.Array]
  num_outputs: int
  activation: Callable[[chex.Array], chex.Array] | None


def stacked(layers: Sequence[Layer], dropout: float) -> Network:
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


def widths_of(hidden_sizes, num_outputs):
  sizes = functional.check_sizes(hidden_sizes, 'hidden_sizes', empty=True)
  return (*sizes, checks.integer(num_outputs, name='num_outputs', low=1))


def alike(hidden_sizes, num_outputs, leaves, apply, activation, dropout):
  """Layers of one kind, activated but for the last."""
  sizes = widths_of(hidden_sizes, num_outputs)
  act = functional.activation(activation)
  layers = [
    Layer(
      lambda width, size=size: leaves(width, size),
      apply,
      size,
      act if i < len(sizes) - 1 else None,
    )
    for i, size in enumerate(sizes)
  ]
  return stacked(layers, dropout)


def dense_leaves(inputs, outputs, bias=True):
  return functional.layer_leaves(
    (inputs, outputs),
    kernel_init='glorot(distribution=uniform)',
    bias_init='zeros' if bias else None,
  )


def with_bias(params, x):
  if 'bias' not in params:
    return x
  return x + params['bias'].astype(x.dtype)[None]
