# SPDX-License-Identifier: Apache-2.0
"""Checks of maps and masks that the parts of cooperation share."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from jaxdl.core import checks

# Entries that are ranked by comparing all pairs.
_PAIRS = 512


def maps(value: Any, *, name: str, ndim: int = 3) -> chex.Array:
  """Checks feature maps: floating point, with channels and cells.

  Args:
    value: f[..., C, H, W].
    name: the argument's name, for the message.
    ndim: axes that it has at least.

  Returns:
    The array.

  Raises:
    TypeError: if it is no array of floating-point numbers.
    ValueError: if axes are missing or empty, or a known value is not finite.
  """
  checks.array(value, name=name)
  if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
    raise TypeError(
      f'{name} must be floating point; got {jnp.result_type(value)}.'
    )
  shape = jnp.shape(value)
  if len(shape) < ndim or 0 in shape:
    letters = 'A, C, H, W' if ndim > 3 else 'C, H, W'
    raise ValueError(f'{name} must have shape [{letters}]; got {shape}.')
  finite(value, name=name)
  return jnp.asarray(value)


def finite(value: Any, *, name: str) -> None:
  """Refuses NaN and infinities, which would silently select nothing.

  Args:
    value: numbers; traced ones are looked at under `checkify` alone.
    name: the argument's name, for the message.

  Raises:
    ValueError: if a known value is not finite.
  """
  why = 'a comparison with NaN is false, so that nothing would be selected'
  if isinstance(value, jax.core.Tracer):
    checkify.debug_check(
      jnp.isfinite(value).all(), f'{name} must be finite: {why}.'
    )
    return
  if not getattr(value, 'is_fully_addressable', True):
    return
  bad = int((~np.isfinite(np.asarray(value, np.float64))).sum())
  if bad:
    raise ValueError(
      f'{name} must be finite; {bad} of {np.size(value)} numbers are not: '
      f'{why}.'
    )


def ranks(values: chex.Array) -> chex.Array:
  """Places in ascending order, the first of equal values first.

  Short lists are compared pair by pair: that compiles in a fraction of the time
  that sorting takes.

  Args:
    values: f[..., K].

  Returns:
    i32[..., K], 0 for the least.
  """
  count = values.shape[-1]
  if count > _PAIRS:
    order = jnp.argsort(values, axis=-1, stable=True)
    return jnp.argsort(order, axis=-1, stable=True).astype(jnp.int32)
  mine, other = values[..., :, None], values[..., None, :]
  before = jnp.tril(jnp.ones((count, count), bool), -1)
  before = jnp.broadcast_to(before, (*values.shape[:-1], count, count))
  ahead = (other < mine) | ((other == mine) & before)
  return jnp.sum(ahead, axis=-1, dtype=jnp.int32)


def same_map(value: Any, like: Any, *, name: str, other: str) -> None:
  """Checks that two maps have the same form.

  Args:
    value: f[C, H, W].
    like: f[C, H, W].
    name: of the first, for the message.
    other: of the second.

  Raises:
    ValueError: if they differ.
  """
  if jnp.shape(value) != jnp.shape(like):
    raise ValueError(
      f'{name} has shape {jnp.shape(value)} but {other} has '
      f'{jnp.shape(like)}: reset the carry at scene start, or give maps of one '
      'form.'
    )


def agents(
  value: Any, count: int, *, name: str = 'agent_mask', ego: Any = 0
) -> chex.Array:
  """Checks who is there; the ego must be.

  Args:
    value: bool[A] or None for all.
    count: A.
    name: the argument's name, for the message.
    ego: the receiver.

  Returns:
    bool[A].

  Raises:
    ValueError: if the shape is another, or the ego is known to be no agent or
      to be absent.
  """
  known = not isinstance(ego, jax.core.Tracer)
  if known:
    checks.integer(int(ego), name='ego', low=0, high=count - 1)
  if value is None:
    return jnp.ones((count,), bool)
  if jnp.shape(value) != (count,):
    raise ValueError(
      f'{name} must have one entry per agent, shape ({count},); got '
      f'{jnp.shape(value)}.'
    )
  known = known and not isinstance(value, jax.core.Tracer)
  if known and not bool(np.asarray(value)[int(ego)]):
    raise ValueError(
      f'{name} leaves out agent {int(ego)}, the ego, who fuses what it hears: '
      'it must be there.'
    )
  return jnp.asarray(value, bool)
