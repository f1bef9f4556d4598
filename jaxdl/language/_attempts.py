# SPDX-License-Identifier: Apache-2.0
"""One attempt to get an answer of an endpoint, and what may go wrong."""

import asyncio
import dataclasses
import email.utils
import functools
import json
import sys
import time
from typing import Any

from jaxdl.language import _costs, _endpoints, _replies, _secrets

# What another attempt may mend; other statuses say that the question is wrong.
_RETRIED = frozenset({408, 409, 425, 429})
# Of one answer, headers apart.
MOST_BYTES = 4 * 2**20
_MOST_ERROR = 300
# Of one answer; an endpoint that tells more is not believed.
_MOST_TOKENS = 10**9
SCRIPTED = 'scripted'
# Of libraries that a request passes through.
_LOGGERS = ('openai', 'httpx', 'httpx2', 'httpcore', 'httpcore2')
# What the protocol itself knows; other settings go along as they are.
_STANDARD = frozenset(
  {
    'frequency_penalty',
    'logit_bias',
    'logprobs',
    'max_completion_tokens',
    'max_tokens',
    'presence_penalty',
    'reasoning_effort',
    'response_format',
    'seed',
    'stop',
    'temperature',
    'top_logprobs',
    'top_p',
  }
)


@dataclasses.dataclass(frozen=True)
class Trouble:
  """Why an attempt failed.

  Attributes:
    why: a clause, without keys.
    again: whether another attempt may mend it.
    retry_after: seconds that the endpoint asks to wait, or None.
  """

  why: str
  again: bool = True
  retry_after: float | None = None


class _TooLong(ValueError):  # noqa: N818
  """An answer beyond `MOST_BYTES`."""


class _Compressed(ValueError):  # noqa: N818
  """An answer whose size is not known before it is too late."""


def connect(
  endpoint: _endpoints.Endpoint, key: _secrets.Secret, timeout: float
) -> Any:
  """Returns connections to an endpoint, none of them open yet.

  Args:
    endpoint: where it is.
    key: what it asks for.
    timeout: seconds for an attempt.

  Returns:
    A client of `openai` that tries once.
  """
  import openai

  _secrets.guard_logs(_LOGGERS)
  # Newer versions of the library have a client of another name.
  make = getattr(openai, 'DefaultAsyncHttpx2Client', None)
  make = make or openai.DefaultAsyncHttpxClient
  return openai.AsyncOpenAI(
    api_key=key.reveal(),
    base_url=endpoint.base_url,
    max_retries=0,
    timeout=timeout,
    http_client=make(
      timeout=timeout,
      # A proxy does not reach this machine.
      trust_env=not endpoint.local,
      # A few compressed bytes may be gigabytes.
      headers={'Accept-Encoding': 'identity'},
      # A chat goes where its address says, and nowhere else.
      follow_redirects=False,
      event_hooks={'response': [_limit]},
    ),
  )


async def send(
  connection: Any,
  request: _replies.Request,
  model: str,
  timeout: float,
) -> _replies.Reply | Trouble:
  """Makes one attempt.

  Args:
    connection: to the endpoint, see `connect`.
    request: the question.
    model: who is asked.
    timeout: seconds from its start to the last byte.

  Returns:
    The reply, or what went wrong.
  """
  import openai

  known = {k: v for k, v in request.settings.items() if k in _STANDARD}
  extra = {k: v for k, v in request.settings.items() if k not in _STANDARD}
  try:
    async with asyncio.timeout(timeout):
      raw = await connection.chat.completions.with_raw_response.create(
        model=model,
        messages=request.messages,
        **known,
        **({'extra_body': extra} if extra else {}),
      )
      return _read(raw.content, request)
  except TimeoutError:
    return Trouble(f'no answer within {timeout:g} s')
  except openai.APITimeoutError:
    return Trouble(f'no answer within {timeout:g} s')
  except openai.APIStatusError as error:
    status = error.status_code
    return Trouble(
      f'status {status}: {_said(error.body, error.message)}',
      again=_mends(status),
      retry_after=_retry_after(error.response.headers),
    )
  except openai.APIConnectionError as error:
    cause = error.__cause__
    if isinstance(cause, _TooLong | _Compressed):
      return Trouble(str(cause), again=False)
    return Trouble(f'no connection: {short(str(cause or error))}')
  except (_TooLong, _Compressed) as error:
    return Trouble(str(error), again=False)
  except openai.OpenAIError as error:
    return Trouble(f'no answer of the protocol: {short(str(error))}')


async def _limit(response):
  """Makes reading a response stop beyond `MOST_BYTES`."""
  coding = response.headers.get('content-encoding', 'identity')
  if coding.strip().lower() != 'identity':
    raise _Compressed('the answer is compressed, which was not asked for')
  root = type(response).__module__.split('.')[0]
  response.stream = _limited(root)(response.stream)


@functools.cache
def _limited(root):
  """The library has had two HTTP clients; streams must be of the same kind."""

  class Limited(sys.modules[root].AsyncByteStream):
    def __init__(self, inner):
      self._inner = inner

    async def __aiter__(self):
      count = 0
      async for part in self._inner:
        count += len(part)
        if count > MOST_BYTES:
          raise _TooLong(f'the answer is longer than {MOST_BYTES} bytes')
        yield part

    async def aclose(self):
      await self._inner.aclose()

  return Limited


def _read(content, request):
  """Reads the body of a response that says all is well."""
  try:
    body = json.loads(content)
  except (ValueError, RecursionError):
    return Trouble('the answer is no JSON')
  if not isinstance(body, dict):
    return Trouble('the answer is no JSON object')
  if body.get('error'):
    error = body['error']
    code = error.get('code') if isinstance(error, dict) else None
    again = not isinstance(code, int) or _mends(code)
    return Trouble(f'an error in place of an answer: {_said(body, "")}', again)
  try:
    choice = body['choices'][0]
    text = choice['message'].get('content')
    finish = choice.get('finish_reason')
  except (KeyError, IndexError, TypeError, AttributeError):
    return Trouble('the answer has no message')
  if text is None:
    text = ''
  if not isinstance(text, str):
    return Trouble('the message of the answer is no text')
  # Lone halves of surrogates could not be written anywhere.
  text = text.encode('utf-8', 'replace').decode()
  text = _secrets.without_keys(text)
  usage = body.get('usage')
  counts = [
    usage.get(name) if isinstance(usage, dict) else None
    for name in ('prompt_tokens', 'completion_tokens')
  ]
  told = all(type(n) is int and 0 <= n <= _MOST_TOKENS for n in counts)
  if not told:
    asked = ''.join(m['content'] for m in request.messages)
    counts = [_costs.guessed_tokens(asked), _costs.guessed_tokens(text)]
  return _replies.Reply(
    text,
    prompt_tokens=counts[0],
    completion_tokens=counts[1],
    estimated=not told,
    scripted=body.get('system_fingerprint') == SCRIPTED,
    finish=finish if isinstance(finish, str) else None,
  )


def _mends(status):
  return status in _RETRIED or status >= 500


def _said(body, otherwise):
  """The sentence in an error body, short and without keys."""
  if isinstance(body, dict):
    inner = body.get('error', body)
    found = inner.get('message') if isinstance(inner, dict) else inner
    if isinstance(found, str) and found:
      return short(found)
  return short(str(otherwise)) or 'no reason is given'


def short(text: str) -> str:
  """A sentence of others on one line, cut, without keys or a period."""
  text = _secrets.redacted(' '.join(text.split())).rstrip('.')
  return text if len(text) <= _MOST_ERROR else text[:_MOST_ERROR] + '...'


def _retry_after(headers):
  """Seconds that a server asks to wait, or None."""
  try:
    if 'retry-after-ms' in headers:
      wait = float(headers['retry-after-ms']) / 1000
    elif (value := headers.get('retry-after')) is None:
      return None
    else:
      wait = _seconds(value)
  except (ValueError, TypeError, OverflowError):
    return None
  return max(wait, 0.0) if wait == wait else None


def _seconds(value):
  """Seconds, told as a number or as a date."""
  try:
    return float(value)
  except ValueError:
    then = email.utils.parsedate_to_datetime(value)
    return then.timestamp() - time.time()
