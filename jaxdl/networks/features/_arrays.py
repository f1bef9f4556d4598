# SPDX-License-Identifier: Apache-2.0
"""Arrays that least-squares fits take."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks


def real(value: Any, *, name: str) -> Any:
  """Real numbers of floating point; integers, bools and lists are cast.

  Args:
    value: an array, traced or not, or a list of numbers.
    name: the argument's name, for the message.

  Returns:
    An array, of NumPy where `value` is one or a list.

  Raises:
    TypeError: if it holds complex numbers, text or None.
  """
  if isinstance(value, jax.Array):
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
      raise TypeError(f'{name} must hold real numbers; got complex numbers.')
  else:
    value = checks.host_array(value, name=name)
  if not jnp.issubdtype(value.dtype, jnp.floating):
    value = value.astype(jnp.result_type(float))
  return value


def solvable(*arrays: Any) -> Any:
  """The dtype that arrays are solved in: theirs, but float32 of half ones."""
  return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def example_weights(value: Any, count: int) -> Any:
  """Importance of examples, f[count] >= 0.

  Args:
    value: an array or a list; None for none.
    count: of examples.

  Returns:
    The array, or None.

  Raises:
    ValueError: if the shape is another, or a concrete weight is negative or
      not finite.
    TypeError: if they are no real numbers.
  """
  if value is None:
    return None
  value = real(value, name='weights')
  if value.shape != (count,):
    raise ValueError(f'weights must have shape [{count}]; got {value.shape}.')
  if not isinstance(value, jax.core.Tracer):
    found = np.asarray(value, np.float64)
    if not (found >= 0).all():
      raise ValueError('weights must be >= 0; got a negative one or NaN.')
    if np.isinf(found).any():
      raise ValueError('weights must be finite; got an infinite one.')
  return value


def check_kept(weights: chex.Array | None, **arrays: Any) -> None:
  """Refuses NaN and infinite numbers, except in rows of weight zero.

  Args:
    weights: of the rows, or None.
    **arrays: f[n, ...] by name; if one is traced, nothing is looked at.

  Raises:
    ValueError: if a row that counts is not finite.
  """
  for value in (weights, *arrays.values()):
    if isinstance(value, jax.core.Tracer):
      return
  kept = slice(None) if weights is None else np.asarray(weights) > 0
  for name, x in arrays.items():
    if not np.isfinite(np.asarray(x, np.float64)[kept]).all():
      raise ValueError(
        f'{name} holds NaN or infinite values: no read-out fits them.'
      )
