# SPDX-License-Identifier: Apache-2.0
"""A recurrent cell whose inputs are symbols, as pure functions.

Inputs of few symbols enter as tables: an embedding and the input side of the
cell are two linear maps in a row, so a symbol's contribution to the gates is a
row of their product, which is taken once a program and not once a step.
"""

import chex
import jax
import jax.numpy as jnp

from jaxdl.networks import functional


def leaves(
  inputs: dict[str, int], *, width: int, embed: int
) -> dict[str, dict[str, functional.Leaf]]:
  """Describes a cell and an embedding per kind of input.

  Args:
    inputs: numbers of each kind of input: symbols, or entries of a vector.
    width: H, of the carry.
    embed: E, of an embedding.

  Returns:
    Leaves to be drawn.
  """
  shapes = {f'embed_{name}': (size, embed) for name, size in inputs.items()}
  shapes['input'] = (embed, 3 * width)
  shapes['recurrent'] = (width, 3 * width)
  return layers(shapes)


def layers(
  shapes: dict[str, tuple[int, int]],
) -> dict[str, dict[str, functional.Leaf]]:
  """Describes dense layers, with kernels of variance 1 / fan_in.

  Args:
    shapes: of their kernels, by name.

  Returns:
    Leaves to be drawn.
  """
  return {
    name: functional.layer_leaves(
      shape, kernel_init='fan_in(distribution=normal)'
    )
    for name, shape in shapes.items()
  }


def gates(params: chex.ArrayTree, name: str) -> dict[str, chex.Array]:
  """Joins an embedding and the input side of the cell.

  Args:
    params: of `leaves`.
    name: of the kind of input.

  Returns:
    'kernel' f[size, 3 H] and 'bias' f[3 H].
  """
  first, second = params[f'embed_{name}'], params['input']
  return {
    'kernel': first['kernel'] @ second['kernel'],
    'bias': first['bias'] @ second['kernel'] + second['bias'],
  }


def feed(
  params: chex.ArrayTree,
  table: dict[str, chex.Array],
  carry: chex.Array,
  x: chex.Array,
) -> chex.Array:
  """Takes one step of the cell.

  Args:
    params: of `leaves`.
    table: of `gates`.
    carry: f[H].
    x: i32[], a symbol, or f[size], a vector.

  Returns:
    f[H], carry and output.

  Source: Cho et al. 2014 (https://arxiv.org/abs/1406.1078), with the reset
    gate behind the recurrent product.
  """
  kernel = table['kernel']
  if jnp.issubdtype(jnp.result_type(x), jnp.integer):
    x = jax.nn.one_hot(x, kernel.shape[0], dtype=carry.dtype)
  own = x @ kernel + table['bias']
  past = carry @ params['recurrent']['kernel'] + params['recurrent']['bias']
  r, z, n = jnp.split(own, 3)
  r_past, z_past, n_past = jnp.split(past, 3)
  reset, keep = jax.nn.sigmoid(r + r_past), jax.nn.sigmoid(z + z_past)
  return (1 - keep) * jnp.tanh(n + reset * n_past) + keep * carry
