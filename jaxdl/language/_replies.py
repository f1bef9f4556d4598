# SPDX-License-Identifier: Apache-2.0
"""What is asked of a language model, and what comes back."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxdl.core import checks

ROLES = ('system', 'user', 'assistant')
KINDS = ('ok', 'failed', 'budget')


class MissingReply(LookupError, checks.Refusal):  # noqa: N818
  """A replayed run asks for what was never answered."""


class NobodyAnswers(ValueError, checks.Refusal):  # noqa: N818
  """An endpoint fails so that a run cannot go on; what was kept stays."""


class Request(NamedTuple):
  """One question.

  Attributes:
    messages: dicts of `role` and `content`, oldest first.
    role: whose endpoint answers.
    label: whom it is counted for, such as a node or a task.
    settings: of generation, e.g. `temperature`, `max_tokens`, `seed`.
    sample: number of the answer, so that one question may have several.
  """

  messages: Sequence[Mapping[str, str]]
  role: str = 'worker'
  label: str = ''
  settings: Mapping[str, Any] = {}
  sample: int = 0


class Reply(NamedTuple):
  """One answer, or why there is none.

  Attributes:
    text: what was said, untrusted; None unless `kind` is 'ok'.
    kind: 'ok', 'failed' (the endpoint refused, or every attempt failed) or
      'budget' (not sent, since it might cost more than is left).
    error: a sentence without keys, or None.
    attempts: requests that were sent.
    prompt_tokens: of the last one.
    completion_tokens: of the last one.
    estimated: whether tokens are guessed, since the endpoint told none.
    cached: whether it came from the cache.
    scripted: whether a scripted model said it.
    finish: why it ended, as the endpoint says, e.g. 'stop' or 'length'.
    seconds: from question to answer, waiting included.
  """

  text: str | None
  kind: str = 'ok'
  error: str | None = None
  attempts: int = 0
  prompt_tokens: int = 0
  completion_tokens: int = 0
  estimated: bool = False
  cached: bool = False
  scripted: bool = False
  finish: str | None = None
  seconds: float = 0.0


class Parsed(NamedTuple):
  """An answer that had to have a form.

  Attributes:
    value: what was read, or None if neither answer had the form.
    replies: the answer, and a second one if a repair was asked for.
    error: what was wrong with the last answer, or None.
  """

  value: Any
  replies: tuple[Reply, ...]
  error: str | None = None

  @property
  def repaired(self) -> bool:
    """Whether only the second answer had the form."""
    return len(self.replies) > 1 and self.error is None

  @property
  def reply(self) -> Reply:
    """The last answer."""
    return self.replies[-1]


def check_request(request: Request) -> Request:
  """Checks a question.

  Args:
    request: the question.

  Returns:
    It, with plain dicts.

  Raises:
    TypeError: if messages or settings are of another form.
    ValueError: if there is no message, or a role or number is none.
  """
  if isinstance(request.messages, str | Mapping):
    raise TypeError(
      'messages must be a sequence of dicts of role and content; got '
      f'{checks.described(request.messages)}.'
    )
  messages = []
  for i, message in enumerate(request.messages):
    if not isinstance(message, Mapping) or set(message) != {'role', 'content'}:
      raise TypeError(
        f'messages[{i}] must be a dict of role and content; got '
        f'{checks.described(message)}.'
      )
    checks.choice(message['role'], ROLES, name=f'messages[{i}] role')
    if not isinstance(message['content'], str):
      raise TypeError(
        f'messages[{i}] content must be text; got '
        f'{checks.described(message["content"])}.'
      )
    messages.append({'role': message['role'], 'content': message['content']})
  if not messages:
    raise ValueError('messages is empty: need at least one.')
  checks.integer(request.sample, name='sample', low=0)
  settings = dict(request.settings)
  for name in ('model', 'messages', 'stream', 'n'):
    if name in settings:
      raise ValueError(f'settings must not hold {name!r}.')
  for name, value in settings.items():
    if isinstance(value, float) and not math.isfinite(value):
      raise ValueError(f'settings[{name!r}] must be finite; got {value}.')
  return request._replace(messages=messages, settings=settings)


def canonical(request: Request, model: str) -> str:
  """Writes a question so that equal ones are equal texts.

  Args:
    request: the question.
    model: who is asked.

  Returns:
    JSON of model, messages, settings and sample; roles, labels and addresses
    are no part of it, so that a run can be replayed elsewhere.

  Raises:
    TypeError: if a setting is no JSON value.
  """
  try:
    return json.dumps(
      {
        'messages': request.messages,
        'model': model,
        'sample': request.sample,
        'settings': request.settings,
      },
      sort_keys=True,
      separators=(',', ':'),
      ensure_ascii=True,
      allow_nan=False,
    )
  except TypeError as error:
    raise TypeError(
      f'settings must be JSON values; got {dict(request.settings)!r}.'
    ) from error


def key_of(text: str) -> str:
  """Returns the SHA-256 of a canonical question, in hexadecimal digits."""
  return hashlib.sha256(text.encode()).hexdigest()
