# SPDX-License-Identifier: Apache-2.0
"""Cheap draws of whole numbers, for games that draw at every step."""

import chex
import jax
import jax.numpy as jnp

# More draws than this are cheaper by a shuffle of all.
_MOST_SWAPS = 16


def whole(
  key: chex.PRNGKey, shape: tuple[int, ...], num: chex.Numeric
) -> jax.Array:
  """Draws whole numbers from 0 to `num - 1`, from one number each.

  `jax.random.randint` draws two, and divides. Here odds differ by at most
  `num / 2^23` of themselves, so `num` should be small.

  Args:
    key: consumed.
    shape: of the result (static).
    num: how many there are, a number or i[*shape].

  Returns:
    i32[*shape].

  Example:
    >>> whole(jax.random.key(0), (4,), 3).tolist()
    [2, 2, 1, 0]
  """
  # The largest draw is below 1 by more than rounding takes away.
  drawn = jax.random.uniform(key, shape, jnp.float32) * num
  return drawn.astype(jnp.int32)


def distinct(key: chex.PRNGKey, count: int, num: int) -> jax.Array:
  """Draws different numbers below `num`, in every order equally likely.

  A shuffle of which only the swaps are kept, so that nothing is sorted.

  Args:
    key: consumed.
    count: how many (static); at most `num`.
    num: of how many (static), few thousands at most.

  Returns:
    i32[count].

  Example:
    >>> sorted(distinct(jax.random.key(0), 4, 4).tolist())
    [0, 1, 2, 3]
  """
  if count > _MOST_SWAPS:
    return jax.random.permutation(key, num)[:count].astype(jnp.int32)
  low = jnp.arange(count)
  picks = low + whole(key, (count,), num - low)
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
