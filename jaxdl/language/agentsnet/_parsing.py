# SPDX-License-Identifier: Apache-2.0
"""What agents may have meant: messages and answers in free text.

Replies are untrusted. They are searched, never evaluated, and a reply beyond
`MOST_CHARACTERS` is not read at all.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

MARKER = '### Final Answer ###'
# Of a reply that is read, and places where an object may begin in it.
MOST_CHARACTERS = 100_000
_MOST_PLACES = 1000
# Signs between the marker and an answer, such as `: **`.
_MOST_SIGNS = 40
# Of somebody's words in a message.
_SHOWN = 60
_DECODER = json.JSONDecoder(strict=False)


def parse_messages(reply: str, names: Sequence[str]) -> dict[str, str]:
  r"""Finds messages by receiver.

  The first JSON object counts whose keys are all names and whose values are
  all text, wherever it stands: in a code fence, between sentences, inside other
  braces. Line breaks that were written as a backslash and an n are line breaks.
  An object without keys, who sends nothing, counts where it is the only kind.

  Args:
    reply: of an agent.
    names: of all agents of the network.

  Returns:
    Messages by receiver; there may be none.

  Raises:
    ValueError: if no object is such; the sentence says what was wrong with the
      first one, for a request to repair it.

  Example:
    >>> parse_messages('I think {so}: {"Ann": "Hi", "Bo": ""}', ['Ann', 'Bo'])
    {'Ann': 'Hi', 'Bo': ''}
    >>> parse_messages('{"Cy": "Hi"}', ['Ann', 'Bo'])
    Traceback (most recent call last):
    ValueError: the JSON object has the key 'Cy', which is no agent's name.
  """
  _check_length(reply)
  known, wrong, empty = set(names), '', False
  for found in _objects(reply):
    problem = _problem(found, known)
    if found and not problem:
      return {key: _whole(value) for key, value in found.items()}
    empty |= not found
    wrong = wrong or problem
  if empty and not wrong:
    return {}
  raise ValueError(wrong or 'there is no JSON object in it.')


def parse_answer(reply: str, options: Sequence[str]) -> str:
  """Finds the answer behind the marker.

  Longer options are tried first and an answer ends with its word, so that
  'Group 12' is never taken for 'Group 1'. Between the marker and the answer
  may stand signs and spaces. The case of letters matters only where nothing
  else fits.

  Args:
    reply: of an agent.
    options: what may be answered.

  Returns:
    The first option that stands behind a marker.

  Raises:
    ValueError: if there is none; the sentence is for a request to repair it.

  Example:
    >>> parse_answer('So: ### Final Answer ### **Group 12**', ['Group 1',
    ...   'Group 12'])
    'Group 12'
    >>> parse_answer('Group 1', ['Group 1', 'Group 2'])
    Traceback (most recent call last):
    ValueError: the marker ### Final Answer ### is missing.
  """
  _check_length(reply)
  ordered = sorted(options, key=len, reverse=True)
  pattern = (
    f'{re.escape(MARKER)}\\W{{0,{_MOST_SIGNS}}}?'
    f'({"|".join(map(re.escape, ordered))})(?!\\w)'
  )
  found = re.search(pattern, reply)
  if found:
    return found[1]
  found = re.search(pattern, reply, re.IGNORECASE)
  if found:
    same = re.compile(re.escape(found[1]), re.IGNORECASE)
    return next(option for option in ordered if same.fullmatch(option))
  if MARKER.lower() not in reply.lower():
    raise ValueError(f'the marker {MARKER} is missing.')
  raise ValueError(f'no admissible answer follows the marker {MARKER}.')


def _check_length(reply):
  if len(reply) > MOST_CHARACTERS:
    raise ValueError(
      f'it has {len(reply)} characters, more than the {MOST_CHARACTERS} that '
      'are read.'
    )


def _objects(text: str) -> Iterator[dict[str, Any]]:
  """JSON objects by where they begin, also those inside of others."""
  start = -1
  escaped = '\\n' in text
  for _ in range(_MOST_PLACES):
    start = text.find('{', start + 1)
    if start < 0:
      return
    found = _decoded(text, start)
    if found is None and escaped:
      found = _decoded(text[start:].replace('\\n', '\n'), 0)
    if found is not None:
      yield found


def _decoded(text, start):
  try:
    return _DECODER.raw_decode(text, start)[0]
  except (ValueError, RecursionError):
    return None


def _problem(found, names):
  """What keeps an object from being messages; nothing if they are some."""
  for key, value in found.items():
    if key not in names:
      return (
        f"the JSON object has the key {_cut(key)}, which is no agent's name."
      )
    if not isinstance(value, str):
      return f'the message to {_cut(key)} is no text.'
  return ''


def _whole(text):
  """Text without halves of characters, which cannot be sent on."""
  return text.encode('utf-8', 'replace').decode()


def _cut(text):
  text = _whole(text)
  return repr(text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...')
