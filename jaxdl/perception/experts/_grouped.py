# SPDX-License-Identifier: Apache-2.0
"""Products of rows with the matrix of their group.

On CPU `jax.lax.ragged_dot` multiplies all rows with all matrices (17 times a
dense layer for 16 experts). Here a loop over groups holds one matrix at a time
and a loop inside multiplies its rows in blocks; what a last block has too many
the next group overwrites. Both loops are as long as the numbers of rows say,
under `vmap` too, where the batch is one more loop.
"""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import trees

# Rows of a block: fewer waste less at the end of a group, more cost less each.
_LEAST, _MOST, _PER_GROUP = 8, 128, 4


def grouped_dot(x: chex.Array, w: chex.Array, sizes: chex.Array) -> chex.Array:
  """Multiplies each row with the matrix of its group.

  Args:
    x: f[M, I], rows in the order of their groups.
    w: f[E, I, O].
    sizes: i32[E], rows of each group; they add up to M.

  Returns:
    f[M, O], the dtype of `x`.

  Raises:
    ValueError: if shapes do not fit.

  Cost: O(M I O), and some 15 % more rows at the ends of blocks; every matrix is
    read once.

  Example:
    >>> x, w = jnp.ones((3, 1)), jnp.array([[[1.0]], [[2.0]]])
    >>> grouped_dot(x, w, jnp.array([2, 1])).tolist()
    [[1.0], [1.0], [2.0]]
  """
  groups = w.shape[:1]
  if x.ndim != 2 or w.ndim != 3 or x.shape[1] != w.shape[1]:
    raise ValueError(
      f'x [M, I] and w [E, I, O] do not fit: got {x.shape} and {w.shape}.'
    )
  if jnp.shape(sizes) != groups:
    raise ValueError(
      f'sizes must have one entry per group, shape {groups}; got '
      f'{jnp.shape(sizes)}.'
    )
  w = w.astype(x.dtype)
  if jax.default_backend() != 'cpu':
    wide = trees.accumulator(x.dtype)
    found = jax.lax.ragged_dot(x, w, sizes, preferred_element_type=wide)
    return found.astype(x.dtype)
  return _dot(x, w, sizes)


@jax.custom_vjp
def _dot(x, w, sizes):
  return _by_blocks(x, w, sizes)


def _forward(x, w, sizes):
  return _by_blocks(x, w, sizes), (x, w, sizes)


def _backward(saved, slope):
  x, w, sizes = saved
  dx = _by_blocks_back(slope, w, sizes)
  return dx, _outer(x, slope, sizes), None


_dot.defvjp(_forward, _backward)


def _block(num_rows, num_groups, least=_LEAST):
  """Rows of a block, a power of two."""
  rows, most = least, num_rows // max(1, num_groups * _PER_GROUP)
  while rows < min(most, _MOST):
    rows *= 2
  return rows


def _padded(x, rows):
  """With a block of zeros at the end."""
  return jnp.pad(x, ((0, rows), (0, 0)))


def _zeros(shape, dtype, sizes):
  """Zeros that vary over the mapped axes over which sizes do."""
  return jnp.zeros(shape, dtype) + (0 * jnp.sum(sizes)).astype(dtype)


def _blocks(x, w, sizes, axis):
  """Rows of x times w, of which an axis is summed over."""
  num_rows, width = x.shape
  num_groups = w.shape[0]
  rows = _block(num_rows, num_groups)
  wide = trees.accumulator(x.dtype)
  begin = jnp.cumsum(sizes) - sizes
  x = _padded(x, rows)
  dimensions = (((1,), (axis,)), ((), ()))

  def group(e, out):
    own = jax.lax.dynamic_index_in_dim(w, e, keepdims=False)

    def block(i, out):
      at = begin[e] + rows * i
      some = jax.lax.dynamic_slice(x, (at, 0), (rows, width))
      made = jax.lax.dot_general(
        some, own, dimensions, preferred_element_type=wide
      )
      return jax.lax.dynamic_update_slice(out, made.astype(x.dtype), (at, 0))

    return jax.lax.fori_loop(0, -(-sizes[e] // rows), block, out)

  out = _zeros((num_rows + rows, w.shape[2 - axis]), x.dtype, sizes)
  return jax.lax.fori_loop(0, num_groups, group, out)[:num_rows]


@jax.custom_batching.sequential_vmap
def _by_blocks(x, w, sizes):
  return _blocks(x, w, sizes, 0)


@jax.custom_batching.sequential_vmap
def _by_blocks_back(x, w, sizes):
  """With the transposed matrices, without transposing them."""
  return _blocks(x, w, sizes, 1)


@jax.custom_batching.sequential_vmap
def _outer(x, slope, sizes):
  """Slopes of the matrices: x^T slope over the rows of each group."""
  num_rows, width = x.shape
  num_groups = sizes.shape[0]
  # As many as a group has, if it has its share: sums over few rows are slow.
  rows = min(4 * _block(num_rows, num_groups), _MOST)
  wide = trees.accumulator(x.dtype)
  begin = jnp.cumsum(sizes) - sizes
  x, slope = _padded(x, rows), _padded(slope, rows)

  def group(_, facts):
    at, size = facts

    def block(i, total):
      first = at + rows * i
      left = jax.lax.dynamic_slice(x, (first, 0), (rows, width))
      own = jnp.arange(rows)[:, None] < size - rows * i
      left = jnp.where(own, left, 0)
      shape = (rows, slope.shape[1])
      right = jax.lax.dynamic_slice(slope, (first, 0), shape)
      # What belongs to others may be no number.
      right = jnp.where(own, right, 0)
      return total + jnp.dot(left.T, right, preferred_element_type=wide)

    zero = _zeros((width, slope.shape[1]), wide, size)
    total = jax.lax.fori_loop(0, -(-size // rows), block, zero)
    return None, total.astype(x.dtype)

  _, out = jax.lax.scan(group, None, (begin, sizes))
  return out
