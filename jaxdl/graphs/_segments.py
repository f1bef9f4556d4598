# SPDX-License-Identifier: Apache-2.0
"""Sums, means, maxima and softmaxes over the edges that reach a node."""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks


def _checked(data, segment_ids, num_segments, mask):
  num = checks.integer(num_segments, name='num_segments', low=0)
  shape = jnp.shape(segment_ids)
  if len(shape) != 1 or jnp.shape(data)[:1] != shape:
    raise ValueError(
      f'data and segment_ids must have one leading axis in common; got shapes '
      f'{jnp.shape(data)} and {shape}.'
    )
  if mask is not None and jnp.shape(mask) != shape:
    raise ValueError(
      f'mask must have shape {shape}, as segment_ids; got {jnp.shape(mask)}.'
    )
  data = jnp.asarray(data)
  row = None
  if mask is not None:
    row = jnp.asarray(mask, bool).reshape(-1, *(1,) * (data.ndim - 1))
    row = jnp.broadcast_to(row, data.shape)
  return data, num, row


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
    data: [E, ...].
    segment_ids: i32[E], the segment of a row, e.g. `Graph.receivers`.
    num_segments: S (static).
    mask: bool[E]; rows that are false do not count, whatever they hold.
    is_sorted: whether segment_ids ascend (static).

  Returns:
    [S, ...], zeros of empty segments.

  Raises:
    ValueError: if shapes differ.

  Example:
    >>> segment_sum(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 2]), 3)
    Array([3., 0., 4.], dtype=float32)
  """
  data, num, row = _checked(data, segment_ids, num_segments, mask)
  if row is not None:
    data = jnp.where(row, data, jnp.zeros((), data.dtype))
  return jax.ops.segment_sum(
    data, segment_ids, num, indices_are_sorted=is_sorted
  )


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
  ones = jnp.ones(jnp.shape(segment_ids), jnp.int32)
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
    f[S, ...], zeros of empty segments.

  Example:
    >>> segment_mean(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 2]), 3)
    Array([1.5, 0. , 4. ], dtype=float32)
  """
  options = {'mask': mask, 'is_sorted': is_sorted}
  total = segment_sum(data, segment_ids, num_segments, **options)
  count = segment_count(segment_ids, num_segments, **options)
  count = jnp.maximum(count, 1).astype(total.dtype)
  return total / count.reshape(-1, *(1,) * (total.ndim - 1))


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
    empty: what an empty segment has.

  Returns:
    f[S, ...].

  Example:
    >>> segment_max(jnp.array([1.0, 2.0, -4.0]), jnp.array([0, 0, 2]), 3)
    Array([ 2.,  0., -4.], dtype=float32)
  """
  data, num, row = _checked(data, segment_ids, num_segments, mask)
  lowest = jnp.array(-jnp.inf, data.dtype)
  if row is not None:
    data = jnp.where(row, data, lowest)
  found = jax.ops.segment_max(
    data, segment_ids, num, indices_are_sorted=is_sorted
  )
  count = segment_count(segment_ids, num, mask=mask, is_sorted=is_sorted)
  there = (count > 0).reshape(-1, *(1,) * (data.ndim - 1))
  return jnp.where(jnp.broadcast_to(there, found.shape), found, empty)


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
    mask: bool[E]; rows that are false get zero.
    is_sorted: see `segment_sum`.

  Returns:
    f[E, ...], which add up to one over a segment.

  Example:
    >>> found = segment_softmax(jnp.zeros(3), jnp.array([0, 0, 2]), 3)
    >>> found.tolist()
    [0.5, 0.5, 1.0]
  """
  options = {'mask': mask, 'is_sorted': is_sorted}
  top = segment_max(logits, segment_ids, num_segments, **options)
  top = jax.lax.stop_gradient(top)[segment_ids]
  logits, _, row = _checked(logits, segment_ids, num_segments, mask)
  if row is not None:
    logits = jnp.where(row, logits, top)
  parts = jnp.exp(logits - top)
  if row is not None:
    parts = jnp.where(row, parts, jnp.zeros((), parts.dtype))
  total = segment_sum(parts, segment_ids, num_segments, **options)
  total = total[segment_ids]
  return parts / jnp.where(total > 0, total, 1)
