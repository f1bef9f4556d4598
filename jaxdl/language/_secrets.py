# SPDX-License-Identifier: Apache-2.0
"""Keys of endpoints: where they come from, and that nobody reads them."""

import logging
import os
import re
from collections.abc import Sequence
from typing import Any

# What looks like a key or carries one in what others write.
_LOOKS = re.compile(
  r'(?i)\b(?:bearer\s+\S+|(?:sk|pk|key|gsk|xai|hf)[-_][\w-]{6,}[\w*.-]*)'
)
_HIDDEN = '[redacted]'
_known: set[str] = set()


class Secret:
  """A key that no `repr`, pickle or traceback shows."""

  __slots__ = ('_value',)

  def __init__(self, value: str):
    self._value = value
    remember(value)

  def reveal(self) -> str:
    """Returns the key."""
    return self._value

  def __repr__(self) -> str:
    return _HIDDEN

  def __reduce__(self) -> Any:
    raise TypeError('A key is not written anywhere.')


def remember(value: str) -> None:
  """Hides a text from now on wherever `without_keys` and `redacted` look.

  Args:
    value: the text; short ones would hide words and are left alone.
  """
  if len(value) >= 6:
    _known.add(value)


def without_keys(text: str) -> str:
  """Returns a text without the keys that this process uses.

  Args:
    text: any.

  Returns:
    The text; all else in it stays as it is.

  Example:
    >>> remember('open-sesame')
    >>> without_keys('the key is open-sesame')
    'the key is [redacted]'
  """
  for value in _known:
    if value in text:
      text = text.replace(value, _HIDDEN)
  return text


def redacted(text: str) -> str:
  """Returns a message without keys, and without what looks like one.

  Args:
    text: what an endpoint or a library says.

  Returns:
    The text.

  Example:
    >>> redacted('Incorrect API key provided: sk-abc123def. Bearer xyz')
    'Incorrect API key provided: [redacted] [redacted]'
  """
  return _LOOKS.sub(_HIDDEN, without_keys(text))


def guard_logs(names: Sequence[str]) -> None:
  """Hides keys in what other libraries log, headers of answers for instance.

  Loggers without a level of their own tell warnings only, not every request.

  Args:
    names: of their loggers; those that stand below are guarded too.
  """
  known = list(logging.root.manager.loggerDict)
  for name in names:
    below = [n for n in known if n.startswith(f'{name}.')]
    for found in (name, *below):
      logging.getLogger(found).addFilter(_hide)
    if logging.getLogger(name).level == logging.NOTSET:
      logging.getLogger(name).setLevel(logging.WARNING)


def _hide(record):
  """A filter of logs that lets everything pass, but keys."""
  text = record.getMessage()
  hidden = without_keys(text)
  if hidden != text:
    record.msg, record.args = hidden, ()
  return True


def key_of(variable: str, *, needed: bool) -> Secret:
  """Reads a key from the environment.

  Args:
    variable: name of the environment variable.
    needed: whether there must be one; servers on one's own machine ask for
      none.

  Returns:
    The key.

  Raises:
    ValueError: if it is missing or cannot be sent.
  """
  value = os.environ.get(variable, '').strip()
  if not value:
    if needed:
      raise ValueError(
        f'The environment variable {variable} holds no key: set it, or name '
        'another by api_key_env, or a base_url that asks for none.'
      )
    return Secret('none')
  if not (value.isascii() and value.isprintable() and ' ' not in value):
    # The value is not shown.
    raise ValueError(
      f'The environment variable {variable} holds no key: need printable ASCII '
      'without spaces.'
    )
  return Secret(value)
