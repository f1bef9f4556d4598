# SPDX-License-Identifier: Apache-2.0
"""A ring of rows on the device, part of a learner's state."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks


class Buffer(NamedTuple):
  """The newest rows.

  Attributes:
    rows: leaves [C, ...].
    next: i32[], where the next ones go.
    count: i32[], how many there are.
  """

  rows: Any
  next: chex.Array
  count: chex.Array


def empty(row: chex.ArrayTree, capacity: int) -> Buffer:
  """Makes an empty buffer.

  Args:
    row: one row, for shapes and dtypes.
    capacity: C (static).

  Returns:
    The buffer.
  """
  checks.integer(capacity, name='capacity', low=1)
  rows = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), row)
  return Buffer(rows, jnp.int32(0), jnp.int32(0))


def add(buffer: Buffer, rows: chex.ArrayTree) -> Buffer:
  """Adds rows, over the oldest.

  Args:
    buffer: of C rows.
    rows: leaves [B, ...]; B divides C.

  Returns:
    The buffer.

  Raises:
    ValueError: if B does not divide C.

  Example:
    >>> buffer = empty(jnp.zeros(()), 4)
    >>> for i in range(3):
    ...   buffer = add(buffer, jnp.full(2, float(i)))
    >>> buffer.rows.tolist(), int(buffer.count)
    ([2.0, 2.0, 1.0, 1.0], 4)
  """
  capacity = jax.tree.leaves(buffer.rows)[0].shape[0]
  size = jax.tree.leaves(rows)[0].shape[0]
  if size < 1:
    raise ValueError('rows is empty: add one at least.')
  check_capacity(capacity, size, what='rows')
  write = lambda old, new: jax.lax.dynamic_update_slice_in_dim(
    old, new.astype(old.dtype), buffer.next, axis=0
  )
  return Buffer(
    jax.tree.map(write, buffer.rows, rows),
    (buffer.next + size) % capacity,
    jnp.minimum(buffer.count + size, capacity),
  )


def sample(buffer: Buffer, key: chex.PRNGKey, size: int) -> Any:
  """Draws rows with replacement.

  Args:
    buffer: with a row at least; an empty one gives zeros.
    key: consumed.
    size: B (static).

  Returns:
    Leaves [B, ...].
  """
  ids = jax.random.randint(key, (size,), 0, jnp.maximum(buffer.count, 1))
  return jax.tree.map(lambda x: x[ids], buffer.rows)


def check_capacity(capacity: int, size: int, *, what: str) -> None:
  """Raises unless a buffer holds a whole number of parts.

  Args:
    capacity: C.
    size: rows that are added at once.
    what: what that is, for the message.

  Raises:
    ValueError: if it does not.
  """
  checks.integer(capacity, name='capacity', low=1)
  if capacity % size:
    raise ValueError(
      f'capacity={capacity} must be a multiple of {what} = {size}, the rows '
      'that are added at once.'
    )
