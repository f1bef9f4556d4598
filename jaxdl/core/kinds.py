# SPDX-License-Identifier: Apache-2.0
"""Whether a value that was read from text is of the kind of an annotation."""

import collections.abc
import inspect
import types
import typing
from typing import Any

import numpy as np

_PLAIN = {
  bool: 'True or False',
  int: 'an integer',
  float: 'a number',
  str: 'text',
  type(None): 'None',
}
_ARRAYS = ('Array', 'ndarray', 'number')
_MANY = (tuple, list, collections.abc.Sequence)


def wanted(annotation: Any, value: Any) -> str:
  """Says what a value must be, if it is not that.

  Args:
    annotation: of a parameter: bool, int, float, str, None, arrays, tuples and
      sequences of them, and unions. Whatever else it names takes anything.
    value: a number, text, True, False, None or a tuple.

  Returns:
    A few words, such as 'an integer or None'; nothing if the value fits.

  Example:
    >>> wanted(bool, 'yes'), wanted(int | None, None), wanted(float, True)
    ('True or False', '', 'a number')
    >>> wanted(tuple[int, ...], (3, 'b'))
    'a tuple of integers'
  """
  choices = list(_choices(annotation))
  if any(_fits(choice, value) for choice in choices):
    return ''
  words = [_said(choice) for choice in choices]
  if _PLAIN[float] in words:
    words = [word for word in words if word != _PLAIN[int]]
  *first, last = dict.fromkeys(word for word in words if word)
  return f'{", ".join(first)} or {last}' if first else last


def wanted_by(parameter: inspect.Parameter, value: Any) -> str:
  """As `wanted`, for the annotation of a parameter, or for its default's kind.

  Args:
    parameter: of a signature.
    value: as for `wanted`.

  Returns:
    A few words, or nothing if the value fits.

  Example:
    >>> known = inspect.signature(lambda size=1.0: size).parameters
    >>> wanted_by(known['size'], 'large'), wanted_by(known['size'], 2)
    ('a number', '')
  """
  annotation, default = parameter.annotation, parameter.default
  if annotation is parameter.empty or isinstance(annotation, str):
    annotation = Any
    if isinstance(default, bool):
      annotation = bool
    elif _is_number(default):
      annotation = float
  return wanted(annotation, value)


def _choices(annotation):
  if isinstance(annotation, types.UnionType) or (
    typing.get_origin(annotation) is typing.Union
  ):
    for choice in typing.get_args(annotation):
      yield from _choices(choice)
  else:
    yield type(None) if annotation is None else annotation


def _is_number(value):
  plain = isinstance(value, (int, float)) and not isinstance(value, bool)
  return plain or isinstance(value, np.number)


def _fits(annotation, value):
  if annotation is bool:
    return isinstance(value, (bool, np.bool_))
  if annotation is int:
    return _is_number(value) and isinstance(value, (int, np.integer))
  if annotation is float:
    return _is_number(value)
  if annotation in (str, type(None)):
    return isinstance(value, annotation)
  if _is_array(annotation):
    return _are_numbers(value)
  many = typing.get_origin(annotation)
  if many not in _MANY:
    return True
  if not isinstance(value, (tuple, list)):
    return False
  item, *rest = typing.get_args(annotation) or (Any,)
  if _is_long(rest):
    return len(value) == 1 + len(rest) and all(
      not wanted(a, v) for a, v in zip((item, *rest), value, strict=True)
    )
  return all(not wanted(item, v) for v in value)


def _are_numbers(value):
  if isinstance(value, (tuple, list)):
    return all(map(_are_numbers, value))
  return _is_number(value)


def _is_array(annotation):
  return inspect.isclass(annotation) and (
    annotation.__name__.rpartition('.')[2] in _ARRAYS
    or issubclass(annotation, np.generic)
  )


def _said(annotation):
  if annotation in _PLAIN:
    return _PLAIN[annotation]
  if typing.get_origin(annotation) in _MANY:
    item, *rest = typing.get_args(annotation) or (Any,)
    of = {int: 'integers', float: 'numbers', str: 'texts'}.get(item, 'values')
    return (
      f'a tuple of {1 + len(rest)} {of}'
      if _is_long(rest)
      else (f'a tuple of {of}')
    )
  return _PLAIN[float] if _is_array(annotation) else ''


def _is_long(rest):
  return bool(rest) and rest != [...]
