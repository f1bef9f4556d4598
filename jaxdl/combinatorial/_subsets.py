# SPDX-License-Identifier: Apache-2.0
"""What problems share whose solutions are choices of items or vertices."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _problem, _tours

# What a sum of weights may exceed its bound by: rounding. Of a piece it is
# less, since many stages add up.
SLACK = 1e-5
PIECE_SLACK = 1e-6


def blocks(
  num_items: int, size: int, shift: chex.Numeric, key: chex.PRNGKey
) -> chex.Array:
  """Deals items into blocks at random.

  Args:
    num_items: N.
    size: n.
    shift: by how many places the random order is rolled, traced; without
      meaning where it is random.
    key: consumed.

  Returns:
    i32[N // n, n]; what N mod n leaves over is in none.

  Raises:
    ValueError: if there is not one block.

  Example:
    >>> sorted(blocks(6, 3, 1, jax.random.key(0)).ravel().tolist())
    [0, 1, 2, 3, 4, 5]
  """
  n = _tours.check_piece(size, num_items)
  order = jnp.roll(jax.random.permutation(key, num_items), shift)
  count = num_items // n
  return order[: count * n].reshape(count, n).astype(jnp.int32)


def merge(
  chosen: chex.Array, nodes: chex.Array, candidates: chex.Array
) -> chex.Array:
  """Puts choices of blocks back, bool[N]; nodes and candidates are [P, n]."""
  return chosen.at[nodes].set(candidates)


def only(place: chex.Array, size: int) -> chex.Array:
  """Nothing but one place, bool[size]."""
  return jnp.arange(size) == place


class ItemState(NamedTuple):
  """A choice that grows.

  Attributes:
    last: i32[], what was chosen last, -1 of nothing.
    chosen: bool[n].
    free: what else may be chosen: bool[n] vertices, or f[], capacity left.
  """

  last: chex.Array
  chosen: chex.Array
  free: chex.Array


def context(
  state: ItemState, may: chex.Array, extra: chex.Array
) -> _problem.Context:
  """What a network is asked; place 0, without effect, where nothing may be.

  Args:
    state: of the choice.
    may: bool[n], what could be next.
    extra: numbers of the problem.

  Returns:
    The context.
  """
  may = may.at[0].set(may[0] | ~jnp.any(may))
  return _problem.Context(state.last, jnp.int32(0), extra, may)
