# SPDX-License-Identifier: Apache-2.0
"""Steps of recurrent layers, over any leading axes."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.networks.functional import _conv, _init


def gru_leaves(
  size_in: int, size: int, *, kernel_init: str = 'glorot'
) -> dict[str, dict[str, Any]]:
  """Describes a gated recurrent unit.

  Args:
    size_in: I.
    size: H.
    kernel_init: an entry of `KERNEL_INITS`, of the kernels of inputs; those of
      the state are orthogonal.

  Returns:
    {'inputs': three layers [I, H], 'gates': two [H, H] without biases,
    'state': one [H, H]}, to be drawn.
  """
  return {
    'inputs': _wide(size_in, size, 3, kernel_init),
    'gates': _wide(size, size, 2, 'orthogonal', bias=False),
    'state': _init.layer_leaves((size, size), kernel_init='orthogonal'),
  }


def gru(
  params: Mapping[str, Mapping[str, Any]],
  state: chex.Array,
  x: chex.Array,
) -> chex.Array:
  """Applies a gated recurrent unit once.

  With r, z = sigmoid(W x + U h), n = tanh(W_n x + r * (U_n h + c)) the state
  becomes (1 - z) n + z h.

  Args:
    params: drawn of `gru_leaves`.
    state: f[..., H].
    x: f[..., I].

  Returns:
    f[..., H].

  Example:
    >>> leaves = gru_leaves(3, 4)
    >>> params = _init.draw(jax.random.key(0), leaves, jnp.float32)
    >>> gru(params, jnp.zeros((2, 4)), jnp.ones((2, 3))).shape
    (2, 4)

  Source: Cho et al. 2014 (https://arxiv.org/abs/1406.1078), eqs. 5 to 8, with
  the reset after the product, as in common libraries.
  """
  of_x = _conv.dense(joined_layers(params['inputs']), x)
  of_h = _conv.dense(joined_layers(params['gates']), state)
  x_r, x_z, x_n = jnp.split(of_x, 3, axis=-1)
  h_r, h_z = jnp.split(of_h, 2, axis=-1)
  reset, update = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
  new = jnp.tanh(x_n + reset * _conv.dense(params['state'], state))
  return (1.0 - update) * new + update * state


def lstm_leaves(
  size_in: int,
  size: int,
  *,
  kernel_init: str = 'glorot',
  forget_bias: float = 1.0,
) -> dict[str, dict[str, Any]]:
  """Describes long short-term memory.

  Args:
    size_in: I.
    size: H.
    kernel_init: an entry of `KERNEL_INITS`, of the kernels of inputs; those of
      the state are orthogonal.
    forget_bias: bias at the start of the gate that keeps.

  Returns:
    {'inputs': four layers [I, H], 'state': four [H, H] without biases,
    'forget': a bias [H]}, to be drawn.
  """
  return {
    'inputs': _wide(size_in, size, 4, kernel_init),
    'state': _wide(size, size, 4, 'orthogonal', bias=False),
    'forget': {'bias': _init.Leaf((size,), 'constant', forget_bias)},
  }


def lstm(
  params: Mapping[str, Mapping[str, Any]],
  state: tuple[chex.Array, chex.Array],
  x: chex.Array,
) -> tuple[chex.Array, chex.Array]:
  """Applies long short-term memory once.

  Args:
    params: drawn of `lstm_leaves`.
    state: output and cell, f[..., H] each.
    x: f[..., I].

  Returns:
    Both after the step.

  Example:
    >>> leaves = lstm_leaves(3, 4)
    >>> params = _init.draw(jax.random.key(0), leaves, jnp.float32)
    >>> h, c = lstm(params, (jnp.zeros(4), jnp.zeros(4)), jnp.ones(3))
    >>> h.shape, c.shape
    ((4,), (4,))

  Source: Gers, Schmidhuber and Cummins 2000, without peepholes.
  """
  h, c = state
  gates = _conv.dense(joined_layers(params['inputs']), x)
  gates = gates + _conv.dense(joined_layers(params['state']), h)
  enter, keep, new, out = jnp.split(gates, 4, axis=-1)
  bias = jnp.broadcast_to(params['forget']['bias'], keep.shape)
  c = jax.nn.sigmoid(keep + bias) * c + jax.nn.sigmoid(enter) * jnp.tanh(new)
  return jax.nn.sigmoid(out) * jnp.tanh(c), c


def _wide(size_in, size, num, kernel_init, *, bias=True):
  """Layers of equal size, each drawn for itself, `num` of them."""
  one = lambda: _init.layer_leaves(
    (size_in, size),
    kernel_init=kernel_init,
    bias_init='zeros' if bias else None,
  )
  return {f'part_{i}': one() for i in range(num)}


def joined_layers(
  parts: Mapping[str, Mapping[str, Any]],
) -> dict[str, chex.Array]:
  """Puts the layers of a cell that read the same input side by side.

  Args:
    parts: 'part_0', 'part_1', ..., each a layer, as cells keep them.

  Returns:
    One layer, their outputs one after the other.

  Example:
    >>> leaves = gru_leaves(3, 4)
    >>> params = _init.draw(jax.random.key(0), leaves, jnp.float32)
    >>> joined_layers(params['inputs'])['kernel'].shape
    (3, 12)
  """
  rows = [dict(parts[f'part_{i}']) for i in range(len(parts))]
  return jax.tree.map(lambda *xs: jnp.concatenate(xs, axis=-1), *rows)
