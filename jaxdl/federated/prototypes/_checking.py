# SPDX-License-Identifier: Apache-2.0
"""Checks of memories and examples, of values only where they are concrete."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks


def is_concrete(x: Any) -> bool:
  """Whether a value can be looked at now."""
  return not isinstance(x, jax.core.Tracer)


def check_memory(memory: Any, *, name: str) -> None:
  """Checks the shapes of a memory, and its counts where they are concrete.

  Args:
    memory: what the caller gave.
    name: the argument's name, for the message.

  Raises:
    TypeError: if it is no memory, or counts are no integers.
    ValueError: if it is malformed.
  """
  if not (hasattr(memory, 'mean') and hasattr(memory, 'count')):
    raise TypeError(
      f'{name} must be a PrototypeMemory; got {checks.described(memory)}.'
    )
  mean, count = jnp.shape(memory.mean), jnp.shape(memory.count)
  if len(mean) != 2 or count != mean[:1]:
    raise ValueError(
      f'{name} must have mean [C, d] and count [C]; got shapes {mean} and '
      f'{count}.'
    )
  check_values(memory.mean, memory.count, name=name)


def check_values(mean: chex.Array, count: chex.Array, *, name: str) -> None:
  """Checks counts and means [..., C, d], where they are concrete.

  Args:
    mean: f[C, d], or f[N, C, d] of clients.
    count: i32[C] or i32[N, C].
    name: the argument's name, for the message.

  Raises:
    TypeError: if counts are no integers.
    ValueError: if one is negative, or the mean of a known class not finite.
  """
  if not jnp.issubdtype(jnp.result_type(count), jnp.integer):
    raise TypeError(
      f'{name} must have integer counts; got {jnp.result_type(count)}.'
    )
  if not is_concrete(count):
    return
  counts = np.asarray(count)

  def where(bad):
    *client, k = np.argwhere(bad)[0].tolist()
    return k, f' of client {client[0]}' if client else ''

  if (counts < 0).any():
    k, whose = where(counts < 0)
    wrong = counts[counts < 0][0]
    raise ValueError(
      f'{name} has {wrong} examples of class {k}{whose}: counts are at least 0.'
    )
  if not is_concrete(mean):
    return
  bad = (counts > 0) & ~_finite(mean)
  if bad.any():
    k, whose = where(bad)
    raise ValueError(
      f'{name} has a mean of class {k}{whose} that is not finite.'
    )


def check_examples(
  embeddings: chex.Array,
  labels: chex.Array,
  mask: chex.Array | None,
  capacity: int,
) -> None:
  """Checks examples, where they are concrete.

  Args:
    embeddings: f[B, d].
    labels: int[B].
    mask: bool[B] or None; false rows are not looked at.
    capacity: C.

  Raises:
    ValueError: if a label is outside of [0, C), or an embedding not finite.
  """
  if not all(is_concrete(x) for x in (embeddings, labels, mask)):
    return
  rows = np.asarray(labels)
  kept = np.ones(rows.shape, bool) if mask is None else np.asarray(mask)
  outside = kept & ((rows < 0) | (rows >= capacity))
  if outside.any():
    wrong = int(rows[np.argmax(outside)])
    if wrong < 0:
      raise ValueError(f'class {wrong} is negative: labels count from 0.')
    raise ValueError(f'class {wrong} exceeds capacity {capacity}.')
  bad = kept & ~_finite(embeddings)
  if bad.any():
    raise ValueError(
      f'embeddings must be finite; row {int(np.argmax(bad))} is not.'
    )


def _finite(rows):
  """Which rows are finite, now, also inside of a trace."""
  with jax.ensure_compile_time_eval():
    return np.asarray(jnp.isfinite(rows).all(axis=-1))
