# SPDX-License-Identifier: Apache-2.0
"""Cells of a square grid: draws, steps and windows without gathers."""

import chex
import jax
import jax.numpy as jnp

# More draws than this are cheaper by a shuffle of all.
_MOST_SWAPS = 16


def distinct(key: chex.PRNGKey, count: int, num: int) -> jax.Array:
  """Draws different numbers below `num`, in every order equally likely.

  A shuffle of which only the swaps are kept, so that nothing is sorted.

  Args:
    key: consumed.
    count: how many (static); at most `num`.
    num: of how many (static).

  Returns:
    i32[count].

  Example:
    >>> sorted(distinct(jax.random.key(0), 4, 4).tolist())
    [0, 1, 2, 3]
  """
  if count > _MOST_SWAPS:
    return jax.random.permutation(key, num)[:count].astype(jnp.int32)
  low = jnp.arange(count)
  picks = jax.random.randint(key, (count,), low, num)
  # What the i-th swap put at the place that it took from.
  found, moved = [], []
  for i in range(count):
    taken, left = picks[i], jnp.int32(i)
    for m in range(i):
      taken = jnp.where(picks[m] == picks[i], moved[m], taken)
      left = jnp.where(picks[m] == i, moved[m], left)
    found.append(taken)
    moved.append(left)
  return jnp.stack(found).astype(jnp.int32)


def coordinates(cells: chex.Array, dim: int) -> jax.Array:
  """Rows and columns i32[..., 2] of cells that are numbered by rows."""
  return jnp.stack([cells // dim, cells % dim], axis=-1)


def shifted(places: chex.Array, actions: chex.Array, dim: int) -> jax.Array:
  """Moves by one cell: up, right, down, left; all else stays.

  Args:
    places: i32[N, 2], rows and columns.
    actions: i[N].
    dim: cells of a side; walls stop.

  Returns:
    i32[N, 2].
  """
  down = (actions == 2).astype(jnp.int32) - (actions == 0)
  right = (actions == 1).astype(jnp.int32) - (actions == 3)
  step = jnp.stack([down, right], axis=-1)
  return jnp.clip(places + step, 0, dim - 1)


def window(
  places: chex.Array, dim: int, vision: int, outside: int
) -> jax.Array:
  """Numbers of the cells around places.

  Args:
    places: i32[N, 2].
    dim: cells of a side.
    vision: v.
    outside: number of what lies beyond the walls.

  Returns:
    i32[N, (2 v + 1)^2], by rows.
  """
  reach = jnp.arange(-vision, vision + 1)
  row = places[:, 0, None, None] + reach[None, :, None]
  column = places[:, 1, None, None] + reach[None, None, :]
  inside = (row >= 0) & (row < dim) & (column >= 0) & (column < dim)
  cells = jnp.where(inside, row * dim + column, outside)
  return cells.reshape(places.shape[0], -1)
