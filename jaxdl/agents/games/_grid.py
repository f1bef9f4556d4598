# SPDX-License-Identifier: Apache-2.0
"""Cells of a square grid: steps and windows without gathers."""

import chex
import jax
import jax.numpy as jnp


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
