# SPDX-License-Identifier: Apache-2.0
"""Checks of static facts, made on the host while tracing.

Every message names the argument, the rule and the value that broke it. Nothing
here looks at the values of traced arrays.
"""

import numbers
from typing import Any

import chex
import jax
import jax.numpy as jnp


def num_clients(stacked: chex.ArrayTree, *, name: str = 'updates') -> int:
  """Returns the common leading axis of a stacked tree.

  Args:
    stacked: tree whose leaves are arrays [N, ...].
    name: what the caller calls the tree, for the message.

  Returns:
    N, a Python int >= 1.

  Raises:
    ValueError: if the tree is empty, a leaf is a scalar, N is zero or two
      leaves disagree; the message names the leaf.

  Example:
    >>> num_clients({'w': jnp.zeros((3, 2)), 'b': jnp.zeros((3,))})
    3
  """
  leaves = jax.tree_util.tree_leaves_with_path(stacked)
  if not leaves:
    raise ValueError(
      f'{name} has no leaves: need a tree of arrays with a leading client axis.'
    )
  first = None
  for path, leaf in leaves:
    label = f'{name}{jax.tree_util.keystr(path)}'
    shape = jnp.shape(leaf)
    if not shape:
      raise ValueError(f'{label} is a scalar: need a leading client axis.')
    if shape[0] == 0:
      raise ValueError(f'{label} has no clients: shape {shape}, need N >= 1.')
    if first is None:
      first = (label, shape[0])
    elif shape[0] != first[1]:
      raise ValueError(
        f'{label} has {shape[0]} clients but {first[0]} has {first[1]}: '
        'all leaves need the same leading axis.'
      )
  assert first is not None
  return first[1]


def integer(
  value: Any, *, name: str, low: int | None = None, high: int | None = None
) -> int:
  """Returns `value` as a Python int, after checking `low <= value <= high`.

  Args:
    value: a static integer (bool is refused).
    name: the argument's name, for the message.
    low: smallest allowed value, if any.
    high: largest allowed value, if any.

  Returns:
    The value as an int.

  Raises:
    TypeError: if it is not an integer.
    ValueError: if it is out of range.
  """
  if isinstance(value, bool) or not isinstance(value, numbers.Integral):
    raise TypeError(f'{name} must be an integer; got {value!r}.')
  value = int(value)
  if low is not None and value < low:
    raise ValueError(f'{name} must be at least {low}; got {value}.')
  if high is not None and value > high:
    raise ValueError(f'{name} must be at most {high}; got {value}.')
  return value


def number(
  value: Any,
  *,
  name: str,
  low: float | None = None,
  high: float | None = None,
  open_low: bool = False,
  open_high: bool = False,
) -> None:
  """Checks a number's range if it is known while tracing; tracers pass.

  Args:
    value: Python or NumPy number, or a traced scalar (not checked).
    name: the argument's name, for the message.
    low: lower end, if any.
    high: upper end, if any.
    open_low: whether the lower end itself is refused.
    open_high: whether the upper end itself is refused.

  Raises:
    TypeError: if it is neither a real number nor a scalar array.
    ValueError: if it is out of range or NaN.
  """
  if isinstance(value, jax.core.Tracer):
    return
  if isinstance(value, (bool, str)) or value is None:
    raise TypeError(f'{name} must be a number; got {value!r}.')
  try:
    value = float(value)
  except TypeError:
    raise TypeError(f'{name} must be a number; got {value!r}.') from None
  left = '(' if open_low else '['
  right = ')' if open_high else ']'
  span = (
    f'{left}{"-inf" if low is None else low}, '
    f'{"inf" if high is None else high}{right}'
  )
  bad = value != value
  if low is not None:
    bad |= value < low or (open_low and value == low)
  if high is not None:
    bad |= value > high or (open_high and value == high)
  if bad:
    raise ValueError(f'{name} must lie in {span}; got {value}.')


def choice(value: Any, allowed: Any, *, name: str) -> None:
  """Checks that a static option is one of the known ones.

  Args:
    value: the option.
    allowed: the known options.
    name: the argument's name, for the message.

  Raises:
    ValueError: if it is not among them; the message lists them.
  """
  if value not in allowed:
    options = ', '.join(repr(a) for a in allowed)
    raise ValueError(f'{name}={value!r} is unknown: choose one of {options}.')
