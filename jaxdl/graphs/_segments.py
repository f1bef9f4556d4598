# SPDX-License-Identifier: Apache-2.0
"""Sums, means, maxima and softmaxes over the edges that reach a node."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks


def _checked(data, segment_ids, num_segments, mask, name='data'):
  """Data and ids as arrays, how many segments, and the mask as wide as data."""
  num = checks.integer(num_segments, name='num_segments', low=0)
  data, ids = jnp.asarray(data), jnp.asarray(segment_ids)
  shape = ids.shape
  if not ids.size:  # An empty list has no integers.
    ids = ids.astype(jnp.int32)
  if not jnp.issubdtype(ids.dtype, jnp.integer):
    raise TypeError(f'segment_ids must be integers; got {ids.dtype}.')
  if len(shape) != 1 or data.shape[:1] != shape:
    raise ValueError(
      f'{name} and segment_ids must have one leading axis in common; got '
      f'shapes {data.shape} and {shape}.'
    )
  mask = None if mask is None else jnp.asarray(mask)
  if mask is not None and mask.shape != shape:
    raise ValueError(
      f'mask must have shape {shape}, as segment_ids; got {mask.shape}.'
    )
  if data.dtype == bool:
    raise TypeError(f'{name} must be numbers; got bool: see segment_count.')
  row = None
  if mask is not None:
    if mask.dtype != bool:
      raise TypeError(f'mask must be bool; got {mask.dtype}.')
    row = mask.reshape(-1, *(1,) * (data.ndim - 1))
    row = jnp.broadcast_to(row, data.shape)
  return data, ids, num, row


def _wide(data):
  """Half precision as single, in which alone many numbers add up."""
  if not jnp.issubdtype(data.dtype, jnp.floating):
    return data
  return data.astype(jnp.promote_types(data.dtype, jnp.float32))


def segment_sum(
  data: chex.Array,
  segment_ids: chex.Array,
  num_segments: int,
  *,
  mask: chex.Array | None = None,
  is_sorted: bool = True,
) -> chex.Array:
  """Adds up the rows of every segment.

  Args:
    data: numbers [E, ...]; half precision is summed in single.
    segment_ids: i32[E], the segment of a row, e.g. `Graph.receivers`. Rows of
      other numbers than 0..S-1 do not count.
    num_segments: S (static).
    mask: bool[E]; rows that are false do not count, whatever they hold.
    is_sorted: whether segment_ids ascend (static).

  Returns:
    [S, ...], of the dtype of data; zeros of empty segments.

  Raises:
    ValueError: if shapes differ.
    TypeError: if ids are not integers, or the mask is not bool.

  Example:
    >>> segment_sum(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 2]), 3)
    Array([3., 0., 4.], dtype=float32)
  """
  data, ids, num, row = _checked(data, segment_ids, num_segments, mask)
  if row is not None:
    data = jnp.where(row, data, jnp.zeros((), data.dtype))
  out = jax.ops.segment_sum(_wide(data), ids, num, indices_are_sorted=is_sorted)
  return out.astype(data.dtype)


def segment_count(
  segment_ids: chex.Array,
  num_segments: int,
  *,
  mask: chex.Array | None = None,
  is_sorted: bool = True,
) -> chex.Array:
  """Counts the rows of every segment.

  Args:
    segment_ids: i32[E].
    num_segments: S (static).
    mask: bool[E].
    is_sorted: see `segment_sum`.

  Returns:
    i32[S].

  Example:
    >>> segment_count(jnp.array([0, 0, 2]), 3).tolist()
    [2, 0, 1]
  """
  ones = jnp.ones(jnp.asarray(segment_ids).shape, jnp.int32)
  return segment_sum(
    ones, segment_ids, num_segments, mask=mask, is_sorted=is_sorted
  )


def segment_mean(
  data: chex.Array,
  segment_ids: chex.Array,
  num_segments: int,
  *,
  mask: chex.Array | None = None,
  is_sorted: bool = True,
) -> chex.Array:
  """Averages the rows of every segment.

  Args:
    data: f[E, ...].
    segment_ids: i32[E].
    num_segments: S (static).
    mask: bool[E].
    is_sorted: see `segment_sum`.

  Returns:
    f[S, ...], of the dtype of data; zeros of empty segments.

  Example:
    >>> segment_mean(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 2]), 3)
    Array([1.5, 0. , 4. ], dtype=float32)
  """
  options = {'mask': mask, 'is_sorted': is_sorted}
  data, ids, num, _ = _checked(data, segment_ids, num_segments, mask)
  total = segment_sum(_wide(data), ids, num, **options)
  count = segment_count(ids, num, **options)
  count = jnp.maximum(count, 1).astype(total.dtype)
  mean = total / count.reshape(-1, *(1,) * (total.ndim - 1))
  is_real = jnp.issubdtype(data.dtype, jnp.inexact)
  return mean.astype(data.dtype) if is_real else mean


def segment_max(
  data: chex.Array,
  segment_ids: chex.Array,
  num_segments: int,
  *,
  mask: chex.Array | None = None,
  is_sorted: bool = True,
  empty: float = 0.0,
) -> chex.Array:
  """The largest entries of the rows of every segment.

  Args:
    data: f[E, ...].
    segment_ids: i32[E].
    num_segments: S (static).
    mask: bool[E].
    is_sorted: see `segment_sum`.
    empty: what an empty segment has; a whole number where data are.

  Returns:
    f[S, ...], of the dtype of data.

  Raises:
    ValueError: if shapes differ, or integers should be empty as no integer is.

  Example:
    >>> segment_max(jnp.array([1.0, 2.0, -4.0]), jnp.array([0, 0, 2]), 3)
    Array([ 2.,  0., -4.], dtype=float32)
  """
  data, ids, num, row = _checked(data, segment_ids, num_segments, mask)
  lowest = jnp.array(-jnp.inf)
  if jnp.issubdtype(data.dtype, jnp.integer):
    lowest = jnp.array(jnp.iinfo(data.dtype).min, data.dtype)
    if not float(empty).is_integer():
      raise ValueError(
        f'empty must be a whole number for data of {data.dtype}; got {empty!r}.'
      )
  lowest = lowest.astype(data.dtype)
  if row is not None:
    data = jnp.where(row, data, lowest)
  found = jax.ops.segment_max(data, ids, num, indices_are_sorted=is_sorted)
  count = segment_count(ids, num, mask=mask, is_sorted=is_sorted)
  there = (count > 0).reshape(-1, *(1,) * (data.ndim - 1))
  fill = jnp.asarray(empty, found.dtype)
  return jnp.where(jnp.broadcast_to(there, found.shape), found, fill)


def segment_softmax(
  logits: chex.Array,
  segment_ids: chex.Array,
  num_segments: int,
  *,
  mask: chex.Array | None = None,
  is_sorted: bool = True,
) -> chex.Array:
  """Softmax over the rows of every segment.

  Args:
    logits: f[E, ...].
    segment_ids: i32[E].
    num_segments: S (static).
    mask: bool[E]; rows that are false get zero, as do those of other numbers
      than 0..S-1.
    is_sorted: see `segment_sum`.

  Returns:
    f[E, ...], which add up to one over a segment; of the dtype of logits,
    which half precision is summed above.

  Raises:
    ValueError: if shapes differ.
    TypeError: if logits are not floating point.

  Example:
    >>> found = segment_softmax(jnp.zeros(3), jnp.array([0, 0, 2]), 3)
    >>> found.tolist()
    [0.5, 0.5, 1.0]
  """
  logits, ids, num, _ = _checked(
    logits, segment_ids, num_segments, mask, 'logits'
  )
  if not jnp.issubdtype(logits.dtype, jnp.floating):
    raise TypeError(f'logits must be floating point; got {logits.dtype}.')
  if num == 0:
    return jnp.zeros_like(logits)
  dtype, logits = logits.dtype, _wide(logits)
  there = (ids >= 0) & (ids < num)
  there = there if mask is None else there & jnp.asarray(mask)
  options = {'mask': there, 'is_sorted': is_sorted}
  top = segment_max(jax.lax.stop_gradient(logits), ids, num, **options)[ids]
  row = there.reshape(-1, *(1,) * (logits.ndim - 1))
  parts = jnp.where(row, jnp.exp(jnp.where(row, logits - top, 0)), 0)
  total = segment_sum(parts, ids, num, **options)[ids]
  return (parts / jnp.where(total > 0, total, 1)).astype(dtype)
