# SPDX-License-Identifier: Apache-2.0
"""What patterns, states and numbers must be, said before anything is run."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks


def dilution(value: Any) -> None:
  """Checks a dilution: in [0, 1)."""
  if isinstance(value, jax.core.Tracer):
    return
  if jnp.ndim(value) == 0 and value == 1 and not isinstance(value, bool):
    raise ValueError(
      'dilution must lie in [0, 1); got 1: patterns that are all blank hold no '
      'information.'
    )
  checks.number(value, name='dilution', low=0.0, high=1.0, open_high=True)


def quality(value: Any) -> None:
  """Checks the quality of a data set: in (0, 1]."""
  checks.number(value, name='quality', low=0.0, high=1.0, open_low=True)


def temperature(value: Any, *, positive: bool = False) -> None:
  """Checks a temperature: from zero, or above."""
  checks.number(value, name='temperature', low=0.0, open_low=positive)


def num_examples(value: Any) -> int:
  """Checks a number of examples: from one."""
  return checks.integer(value, name='num_examples', low=1)


def array(value: Any, name: str) -> None:
  """Checks that a value is an array of real numbers, of NumPy or jax."""
  if not hasattr(value, 'shape') or not hasattr(value, 'dtype'):
    raise TypeError(
      f'{name} must be an array; got {checks.described(value)}: make one by '
      'jnp.asarray.'
    )
  real = jnp.issubdtype(value.dtype, jnp.integer)
  if not real and not jnp.issubdtype(value.dtype, jnp.floating):
    raise TypeError(f'{name} must hold real numbers; got {value.dtype}.')


def patterns(value: chex.Array, *, name: str = 'patterns') -> tuple[int, int]:
  """Checks patterns [K, N] and, where they are concrete, their entries.

  Args:
    value: integers -1, 0 and 1.
    name: of the argument.

  Returns:
    K and N.
  """
  array(value, name)
  shape = jnp.shape(value)
  if len(shape) != 2 or 0 in shape:
    raise ValueError(
      f'{name} must have shape [K, N], a row per pattern; got {shape}.'
    )
  _entries(value, name, '-1, 0 or 1', _is_entry)
  return shape


def state(value: chex.Array, num_neurons: int, *, name: str = 'state') -> None:
  """Checks a state [N] and, where it is concrete, its entries."""
  array(value, name)
  shape = jnp.shape(value)
  if shape != (num_neurons,):
    raise ValueError(
      f'{name} must have an entry per neuron, shape ({num_neurons},); got '
      f'{shape}.'
    )
  _entries(value, name, '-1 or 1', _is_spin)


def examples(value: chex.Array, *, name: str = 'examples') -> None:
  """Checks the entries of examples, where they are concrete."""
  _entries(value, name, '-1, 0 or 1', _is_entry)


def _is_entry(x):
  return (x == 0) | (x == 1) | (x == -1)


def _is_spin(x):
  return (x == 1) | (x == -1)


def _entries(value, name, rule, good):
  """Looks at numbers on the host; what is traced or elsewhere passes."""
  if isinstance(value, jax.core.Tracer):
    return
  if not getattr(value, 'is_fully_addressable', True):
    return
  value = np.asarray(value).ravel()
  fine = good(value)
  if not fine.all():
    wrong = value[np.argmin(fine)]
    raise ValueError(f'{name} must have entries {rule}; got {wrong.item():g}.')


def blocks(num_neurons: int, num_blocks: Any, devices: int = 1) -> int:
  """Checks how neurons are split into blocks, and these over devices.

  Args:
    num_neurons: N.
    num_blocks: G, a divisor of N.
    devices: among which every block is split.

  Returns:
    G.
  """
  count = checks.integer(num_blocks, name='num_blocks', low=1)
  if num_neurons % count:
    fits = [g for g in range(1, num_neurons + 1) if num_neurons % g == 0]
    near = min(fits, key=lambda g: (abs(g - count), g))
    raise ValueError(
      f'num_blocks={count} must divide the N = {num_neurons} neurons: for '
      f'example num_blocks={near}.'
    )
  if num_neurons // count % devices:
    raise ValueError(
      f'num_blocks={count} makes blocks of {num_neurons // count} neurons, '
      f'which do not split over {devices} devices: take a number of neurons '
      f'that {count * devices} divides.'
    )
  return count
