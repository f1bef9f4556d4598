# SPDX-License-Identifier: Apache-2.0
"""A recurrent cell whose inputs are symbols: `functional.gru` behind tables.

An embedding and the input side of the cell are two linear maps in a row, so
what a symbol adds to the gates is a row of their product. That is taken once a
program and not once a step.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.networks import functional


def leaves(
  inputs: dict[str, int], heads: dict[str, int], *, width: int, embed: int
) -> dict[str, Any]:
  """Describes a cell, an embedding per kind of input, and linear heads.

  Args:
    inputs: numbers of each kind of input: symbols, or entries of a vector.
    heads: outputs of each head.
    width: H, of the carry.
    embed: E, of an embedding.

  Returns:
    Leaves to be drawn; kernels have variance 1 / fan_in, those of the carry are
    orthogonal.
  """
  kernel = {'kernel_init': 'fan_in(distribution=normal)'}
  dense = lambda shape: functional.layer_leaves(shape, **kernel)
  return {
    'embed': {name: dense((n, embed)) for name, n in inputs.items()},
    'cell': functional.gru_leaves(embed, width, **kernel),
    'head': {name: dense((width, n)) for name, n in heads.items()},
  }


def ready(params: chex.ArrayTree) -> dict[str, Any]:
  """Joins embeddings and the input side of the cell.

  Args:
    params: of `leaves`.

  Returns:
    'tables' by kind of input, 'carry' and 'head', for `feed` and `head`.
  """
  cell = params['cell']
  own = functional.joined_layers(cell['inputs'])
  gates = functional.joined_layers(cell['gates'])['kernel']
  state = cell['state']
  tables = {
    name: {
      'kernel': x['kernel'] @ own['kernel'],
      'bias': x['bias'] @ own['kernel'] + own['bias'],
    }
    for name, x in params['embed'].items()
  }
  carry = {
    'kernel': jnp.concatenate([gates, state['kernel']], axis=1),
    'bias': state['bias'],
  }
  return {'tables': tables, 'carry': carry, 'head': params['head']}


def start(params: dict[str, Any]) -> chex.Array:
  """Returns the carry before anything was fed.

  Args:
    params: of `ready`.

  Returns:
    f[H], zeros.
  """
  kernel = params['carry']['kernel']
  return jnp.zeros((kernel.shape[0],), kernel.dtype)


def feed(
  params: dict[str, Any], carry: chex.Array, kind: str, x: chex.Array
) -> chex.Array:
  """Takes one step of the cell.

  Args:
    params: of `ready`.
    carry: f[H].
    kind: of input (static).
    x: i[], a symbol, or f[size], a vector.

  Returns:
    f[H], carry and output: what `functional.gru` gives of the embedding.
  """
  table, past = params['tables'][kind], params['carry']
  kernel = table['kernel']
  if jnp.issubdtype(jnp.result_type(x), jnp.integer):
    x = jax.nn.one_hot(x, kernel.shape[0], dtype=carry.dtype)
  x_r, x_z, x_n = jnp.split(x.astype(carry.dtype) @ kernel + table['bias'], 3)
  h_r, h_z, h_n = jnp.split(carry @ past['kernel'], 3)
  reset, keep = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
  new = jnp.tanh(x_n + reset * (h_n + past['bias']))
  return (1 - keep) * new + keep * carry


def head(params: dict[str, Any], carry: chex.Array, kind: str) -> chex.Array:
  """Applies a head to the carry, behind Swish.

  Args:
    params: of `ready`.
    carry: f[H].
    kind: of head (static).

  Returns:
    f[outputs].
  """
  own = params['head'][kind]
  return jax.nn.swish(carry) @ own['kernel'] + own['bias']
