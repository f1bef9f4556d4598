# SPDX-License-Identifier: Apache-2.0
"""JSON in untrusted text: finding it and holding it to a form."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxdl.core import checks

WHICH = ('first', 'last')
# Of a text; beyond, nothing is read.
MOST_CHARACTERS = 400_000
_MOST_STARTS = 2000


def _constant(name):
  raise ValueError(f'{name} is no JSON.')


def _integer(text):
  if len(text) > 300:
    raise ValueError('a number has too many digits.')
  return int(text)


_DECODER = json.JSONDecoder(
  strict=False, parse_constant=_constant, parse_int=_integer
)


def find_json(text: str, which: str = 'first') -> dict[str, Any] | None:
  """Finds a JSON object in a text, whatever stands around it.

  Nothing in the text is evaluated. Objects inside of others are no objects of
  their own, unless the outer one is none.

  Args:
    text: untrusted.
    which: the 'first' object or the 'last'.

  Returns:
    The object, or None if there is none or the text is too long.

  Example:
    >>> find_json('So: {"Ann": "hi {you}"} and {"b": 2}')
    {'Ann': 'hi {you}'}
    >>> find_json('{broken {"a": {"b": 1}}', which='last')
    {'a': {'b': 1}}
  """
  checks.choice(which, WHICH, name='which')
  if len(text) > MOST_CHARACTERS:
    return None
  found, place = None, text.find('{')
  for _ in range(_MOST_STARTS):
    if place < 0:
      break
    try:
      value, end = _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
      end = place + 1
    else:
      found = value
      if which == 'first':
        break
    place = text.find('{', end)
  return _whole(found)


def _whole(value):
  """Without halves of characters, which can be neither sent nor kept."""
  try:
    text = json.dumps(value, ensure_ascii=False)
  except RecursionError:
    return None
  if text.isascii():
    return value
  return json.loads(text.encode('utf-8', 'replace'))


# What a field may be, beside types.
_SHARE = 'share'
_TEXT = 'text'
_KINDS = {_SHARE: 'a number from 0 to 1', _TEXT: 'text that is not empty'}
_NAMES = {
  str: 'text',
  int: 'an integer',
  float: 'a number',
  bool: 'true or false',
  list: 'a list',
  dict: 'an object',
}


def json_contract(
  fields: Mapping[str, Any],
  *,
  optional: Mapping[str, Any] | None = None,
  which: str = 'last',
) -> Callable[[str], dict[str, Any]]:
  """Makes what reads a JSON object of given fields, for `Client.ask_for`.

  Args:
    fields: what each must be: str, int, float (integers too), bool, list, dict,
      a tuple of them, 'share' (a number from 0 to 1), 'text' (not empty), or a
      function that returns the value to keep and raises ValueError with a
      sentence.
    optional: fields that may be missing.
    which: the 'first' object of the text or the 'last'.

  Returns:
    `parse(text) -> dict` of these fields alone; it raises ValueError.

  Example:
    >>> parse = json_contract({'answer': (str, float), 'confidence': 'share'})
    >>> parse('Sure! {"answer": 7, "confidence": 0.5, "mood": "fine"}')
    {'answer': 7, 'confidence': 0.5}
    >>> parse('{"answer": 7}')
    Traceback (most recent call last):
    ValueError: The field "confidence" is missing.
  """
  checks.choice(which, WHICH, name='which')
  needed, more = dict(fields), dict(optional or {})
  for name, kind in (needed | more).items():
    _check_kind(name, kind)

  def parse(text):
    found = find_json(text, which)
    if found is None:
      raise ValueError('There is no JSON object in the reply.')
    out = {}
    for name, kind in (needed | more).items():
      if name not in found:
        if name in more:
          continue
        raise ValueError(f'The field "{name}" is missing.')
      out[name] = _checked(name, kind, found[name])
    return out

  return parse


def _check_kind(name, kind):
  parts = kind if isinstance(kind, tuple) else (kind,)
  for part in parts:
    known = part in _NAMES if isinstance(part, type) else part in _KINDS
    if not known and (isinstance(part, type) or not callable(part)):
      raise ValueError(
        f'fields[{name!r}] must be a type of JSON, share, text or a function; '
        f'got {part!r}.'
      )


def _checked(name, kind, value):
  if callable(kind) and not isinstance(kind, type):
    try:
      return kind(value)
    except ValueError as error:
      raise ValueError(f'The field "{name}": {error}') from None
  parts = kind if isinstance(kind, tuple) else (kind,)
  if any(_is(value, part) for part in parts):
    return value
  names = ' or '.join(_KINDS.get(p) or _NAMES[p] for p in parts)
  raise ValueError(f'The field "{name}" must be {names}.')


def _is(value, part):
  number = isinstance(value, int | float) and not isinstance(value, bool)
  number = number and math.isfinite(value)
  if part == _SHARE:
    return number and 0 <= value <= 1
  if part == _TEXT:
    return isinstance(value, str) and bool(value.strip())
  if part is float:
    return number
  if part is int:
    return isinstance(value, int) and not isinstance(value, bool)
  return isinstance(value, part)
