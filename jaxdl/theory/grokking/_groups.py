# SPDX-License-Identifier: Apache-2.0
"""Tables of operations: what the product of two elements is.

A table is an i32[M, M] array on the host; entry (g, h) is the number of g h.
"""

import itertools
import math
from typing import Any

import numpy as np

from jaxdl.core import checks, registry

# Tables are checked for associativity up to M^3 products.
_MOST = 1024
_MOST_DEGREE = 6


def cyclic_table(order: int) -> np.ndarray:
  """Addition modulo a number.

  Args:
    order: M, at least 3.

  Returns:
    i32[M, M].

  Raises:
    ValueError: if the order is out of range.

  Example:
    >>> cyclic_table(3).tolist()
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
  """
  m = _order(order)
  g = np.arange(m, dtype=np.int32)
  return (g[:, None] + g) % m


def product_table(first: Any, second: Any) -> np.ndarray:
  """Pairs of elements of two groups, multiplied one by one.

  Args:
    first: i32[A, A], a group.
    second: i32[B, B], another; (a, b) has the number a B + b.

  Returns:
    i32[A B, A B].

  Raises:
    ValueError: if a table is no group, or the product has fewer than three
      elements or more than 1024.

  Example:
    >>> product_table([[0, 1], [1, 0]], [[0, 1], [1, 0]])[3].tolist()
    [3, 2, 1, 0]
  """
  a = _checked(first, 'first', low=1)
  b = _checked(second, 'second', low=1)
  _order(len(a) * len(b), name='the order of the product')
  out = a[:, None, :, None] * len(b) + b[None, :, None, :]
  return out.reshape(len(a) * len(b), -1).astype(np.int32)


def symmetric_table(degree: int) -> np.ndarray:
  """All permutations of a few things; g h applies h first.

  Args:
    degree: how many things, 3 to 6; permutations are in lexical order.

  Returns:
    i32[M, M], M = degree!.

  Raises:
    ValueError: if the degree is out of range.

  Example:
    >>> table = symmetric_table(3)
    >>> table.shape, bool((table == table.T).all())
    ((6, 6), False)
  """
  n = checks.integer(degree, name='degree', low=3, high=_MOST_DEGREE)
  elements = np.array(list(itertools.permutations(range(n))))
  products = elements[:, elements]  # [g, h, i] = g(h(i))
  places = n ** np.arange(n)[::-1]
  # Lexical order is the order of these numbers.
  return np.searchsorted(elements @ places, products @ places).astype(np.int32)


def dihedral_table(degree: int) -> np.ndarray:
  """Symmetries of a regular polygon, all of whose irreps are of dimension <= 2.

  Args:
    degree: corners n >= 3; element k < n turns by k corners, n + k reflects
      first.

  Returns:
    i32[2 n, 2 n].

  Raises:
    ValueError: if the degree is out of range.

  Example:
    >>> dihedral_table(3)[3].tolist()
    [3, 5, 4, 0, 2, 1]
  """
  n = checks.integer(degree, name='degree', low=3, high=_MOST // 2)
  turn, flip = np.tile(np.arange(n), 2), np.repeat([0, 1], n)
  # Turning after a reflection turns the other way.
  sign = 1 - 2 * flip
  turned = (turn[:, None] + sign[:, None] * turn) % n
  return (turned + n * (flip[:, None] ^ flip)).astype(np.int32)


def polynomial_table(modulus: int) -> np.ndarray:
  """Values of x² + x y + y² modulo a number, which are no group.

  Args:
    modulus: p, at least 3.

  Returns:
    i32[p, p].

  Raises:
    ValueError: if the modulus is out of range.

  Example:
    >>> polynomial_table(5)[1].tolist()
    [1, 3, 2, 3, 1]
  """
  m = _order(modulus, name='modulus')
  x = np.arange(m)
  return ((x * x)[:, None] + np.outer(x, x) + x * x).astype(np.int32) % m


def validate_group_table(table: Any, *, name: str = 'table') -> np.ndarray:
  """Checks that a table is that of a group.

  Args:
    table: concrete integers [M, M].
    name: what the caller calls it, for messages.

  Returns:
    i32[M, M].

  Raises:
    TypeError: if it does not hold whole numbers.
    ValueError: naming the entry that is wrong: a table that is not square or
      smaller than three, no Latin square, without identity, or not associative.

  Cost: O(M³) work, O(M²) memory.

  Example:
    >>> validate_group_table([[0, 1, 2], [1, 0, 2], [2, 1, 0]])
    Traceback (most recent call last):
    ValueError: table is no Latin square: column 1 has 1 twice.
  """
  return _checked(table, name, low=3)


def inverses(table: np.ndarray) -> np.ndarray:
  """The inverse of every element of a group.

  Args:
    table: i32[M, M], a group.

  Returns:
    i64[M].

  Raises:
    TypeError, ValueError: if it is no group.

  Example:
    >>> inverses(cyclic_table(5)).tolist()
    [0, 4, 3, 2, 1]
  """
  return inverses_of(_checked(table, 'table', low=1))


def inverses_of(table):
  """`inverses` of a table that was checked."""
  return np.argmax(table == identity_of(table), axis=1)


def identity(table: np.ndarray) -> int:
  """The number of the identity of a group.

  Args:
    table: i32[M, M], a group.

  Returns:
    Its number.

  Raises:
    TypeError, ValueError: if it is no group.

  Example:
    >>> identity(cyclic_table(4))
    0
  """
  return identity_of(_checked(table, 'table', low=1))


def identity_of(table):
  """`identity` of a table that was checked."""
  return int(np.argmax((table == np.arange(len(table))).all(axis=1)))


def is_group(table: Any) -> bool:
  """Whether a table is that of a group.

  Args:
    table: concrete integers [M, M].

  Returns:
    Whether `validate_group_table` takes it.

  Example:
    >>> is_group(cyclic_table(5)), is_group(polynomial_table(5))
    (True, False)
  """
  try:
    validate_group_table(table)
  except (TypeError, ValueError):
    return False
  return True


def conjugacy_classes(table: np.ndarray) -> np.ndarray:
  """Which elements of a group are conjugate to each other.

  Args:
    table: i32[M, M], a group.

  Returns:
    i64[M], the class of every element, numbered by their first elements.

  Raises:
    TypeError, ValueError: if it is no group.

  Example:
    >>> conjugacy_classes(symmetric_table(3)).tolist()
    [0, 1, 1, 2, 2, 1]
  """
  return classes_of(_checked(table, 'table', low=1))


def classes_of(table):
  """`conjugacy_classes` of a table that was checked."""
  back = inverses_of(table)
  # [x, g] = x g x^-1
  conjugates = table[table, back[:, None]]
  return np.unique(conjugates.min(axis=0), return_inverse=True)[1]


def _order(value, name='order'):
  return checks.integer(value, name=name, low=3, high=_MOST)


def whole_table(table, name, *, low=1):
  """The table of any operation, i32[M, M], once it is checked."""
  array = checks.host_array(table, name=name)
  if array.dtype.kind not in 'iu':
    raise TypeError(
      f'{name} must hold whole numbers; got an array of {array.dtype}.'
    )
  m = len(array) if array.ndim else 0
  if array.shape != (m, m):
    raise ValueError(f'{name} must be square, [M, M]; got shape {array.shape}.')
  if not low <= m <= _MOST:
    raise ValueError(f'{name} must have {low} to {_MOST} elements; got {m}.')
  if array.min() < 0 or array.max() >= m:
    raise ValueError(
      f'{name} must hold numbers from 0 to {m - 1}; got {array.min()} to '
      f'{array.max()}.'
    )
  return array.astype(np.int32)


def _checked(table, name, *, low):
  array = whole_table(table, name, low=low)
  m = len(array)
  for what, lines in (('row', array), ('column', array.T)):
    ordered = np.sort(lines, axis=1)
    wrong = np.argwhere(ordered[:, 1:] == ordered[:, :-1])
    if len(wrong):
      at, place = wrong[0]
      raise ValueError(
        f'{name} is no Latin square: {what} {at} has {ordered[at, place]} '
        'twice.'
      )
  whole = np.arange(m)
  is_one = (array == whole).all(axis=1) & (array == whole[:, None]).all(axis=0)
  if not is_one.any():
    raise ValueError(f'{name} has no identity: no e with e g = g e = g.')
  for g in range(m):
    # (g h) k against g (h k).
    wrong = np.argwhere(array[array[g]] != array[g][array])
    if len(wrong):
      h, k = wrong[0]
      raise ValueError(
        f'{name} is not associative: ({g} {h}) {k} is '
        f'{array[array[g, h], k]}, {g} ({h} {k}) is {array[g, array[h, k]]}.'
      )
  return array


def _cyclic(order: int = 23) -> np.ndarray:
  """Addition modulo `order`."""
  return cyclic_table(order)


def _product(orders: tuple[int, ...] = (3, 5)) -> np.ndarray:
  """The product of cyclic groups of these orders."""
  orders = orders if isinstance(orders, (tuple, list)) else (orders,)
  sizes = [checks.integer(n, name='orders', low=2) for n in orders]
  if not sizes:
    raise ValueError('orders is empty: name at least one.')
  _order(math.prod(sizes), name='the product of orders')
  out = np.zeros((1, 1), np.int32)
  for n in sizes:
    g = np.arange(n, dtype=np.int32)
    own = (g[:, None] + g) % n
    joined = out[:, None, :, None] * n + own[None, :, None, :]
    out = joined.reshape(len(out) * n, -1).astype(np.int32)
  return out


def _symmetric(degree: int = 4) -> np.ndarray:
  """All permutations of `degree` things."""
  return symmetric_table(degree)


def _dihedral(degree: int = 7) -> np.ndarray:
  """Symmetries of a polygon of `degree` corners."""
  return dihedral_table(degree)


def _polynomial(modulus: int = 23) -> np.ndarray:
  """x² + x y + y² modulo `modulus`."""
  return polynomial_table(modulus)


def _file(path: str) -> np.ndarray:
  """A table of a `.npy` file of integers [M, M]; it must be a group."""
  return validate_group_table(checks.load_npy(path, kinds='iu'), name='path')


GROUPS = registry.Registry(
  'group',
  {
    'cyclic': _cyclic,
    'dihedral': _dihedral,
    'file': _file,
    'polynomial': _polynomial,
    'product': _product,
    'symmetric': _symmetric,
  },
  tried={},
)


def make_table(spec: str | Any) -> np.ndarray:
  """Makes a table by name.

  Args:
    spec: a part of `GROUPS`, or a table of a group (checked).

  Returns:
    i32[M, M].

  Raises:
    ValueError: if the name, an option or the table is wrong.

  Example:
    >>> make_table('product((2, 3))').shape
    (6, 6)
  """
  if isinstance(spec, str):
    return GROUPS.make(spec)
  return validate_group_table(spec)
