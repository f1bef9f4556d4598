# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between a model and whoever asks it.

A fault stands before a script, `rate_limited(share=0.2)+echo`. It may answer in
its place, change its reply, wait, or hang up. Whether it strikes is drawn from
the request itself and from how often the same request has come, so that it does
not matter which of many concurrent requests comes first.
"""

import email.utils
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxdl.core import checks, registry
from jaxdl.language import _scripts

# Of a reply in which nothing but its size is wrong.
_FILLER = 'x'
_GARBAGE = (
  b'\xff\xfe\x00{"choices": \x80\x81',
  b'<html><body><h1>502 Bad Gateway</h1></body></html>',
  b'{"choices": [{"message": {"role": "assistant", "content": "cut he',
  b'[[1, 2], "no object"]',
  b'null',
  b'',
)
_WRONG: tuple[Mapping[str, object], ...] = (
  {'choices': []},
  {'choices': None},
  {'choices': {'0': 'no list'}},
  {'choices': [{'index': 0, 'message': None, 'finish_reason': 'stop'}]},
  {'choices': [{'index': 0, 'message': {'role': 'assistant', 'content': 7}}]},
  {
    'choices': [
      {'index': 0, 'message': {'role': 'assistant', 'content': ['a', {}]}}
    ]
  },
  {'choices': [{'index': 0, 'message': 'Hello'}]},
)


class Response(NamedTuple):
  """What a server does about a request.

  Attributes:
    text: the reply of the model.
    status: of HTTP.
    headers: further ones.
    body: sent in place of what would be made of the text, or None.
    usage: whether tokens are told.
    delay: seconds before the first byte.
    sent: 'all' of the response, 'half' of it or 'none', and then the connection
      is closed; 'chunks' without a length told before; 'bytes', one by one.
    pause: seconds between bytes that are sent one by one.
    by: name of the fault that made it, or 'answered'.
  """

  text: str = ''
  status: int = 200
  headers: Mapping[str, str] = {}
  body: bytes | None = None
  usage: bool = True
  delay: float = 0.0
  sent: str = 'all'
  pause: float = 0.0
  by: str = 'answered'


class Moment(NamedTuple):
  """A request, as a fault sees it.

  Attributes:
    chat: what is asked.
    digest: of the whole request.
    attempt: how many times the same request came before.
    seed: of the server.
  """

  chat: _scripts.Chat
  digest: bytes
  attempt: int
  seed: int

  def draw(self, name: str) -> float:
    """A number in [0, 1) of this request, attempt and fault."""
    text = f'{self.seed} {self.attempt} {name} '.encode() + self.digest
    word = hashlib.blake2b(text, digest_size=8).digest()
    return int.from_bytes(word, 'big') / 2**64


# Sees the request and may ask what comes after it in the chain.
Fault = Callable[[Moment, Callable[[], Response]], Response]


def error_response(
  status: int, message: str, *, code: str, kind: str = 'invalid_request_error'
) -> Response:
  """An error as OpenAI's servers put it.

  Args:
    status: of HTTP.
    message: a sentence.
    code: a word.
    kind: its class.

  Returns:
    The response.
  """
  error = {'message': message, 'type': kind, 'param': None, 'code': code}
  body = json.dumps({'error': error}).encode()
  return Response(status=status, body=body, by=code)


def _striking(
  name: str,
  make: Callable[[Moment], Response],
  share: float,
  first: int | None,
) -> Fault:
  """A fault that answers in place of the model, some of the time."""
  checks.number(share, name='share', low=0.0, high=1.0)
  if first is not None:
    checks.integer(first, name='first', low=0)

  def fault(moment, proceed):
    if first is not None:
      strikes = moment.attempt < first
    else:
      strikes = moment.draw(name) < share
    return make(moment)._replace(by=name) if strikes else proceed()

  return fault


def malformed(every: int = 3) -> Fault:
  """Cuts every so many-th reply of a chat in the middle of its JSON.

  Args:
    every: replies from one to the next; chats start at different places. A
      request to repair the reply is one further, so that it is answered well
      unless this is 1.

  Returns:
    The fault.
  """
  checks.integer(every, name='every', low=1)

  def fault(moment, proceed):
    response = proceed()
    messages = moment.chat.messages
    turn = sum(m.get('role') == 'assistant' for m in messages)
    roles = [m.get('role') for m in messages]
    first = roles.index('user') if 'user' in roles else 0
    start = json.dumps(messages[: first + 1]).encode()
    phase = int.from_bytes(
      hashlib.blake2b(start, digest_size=4).digest(), 'big'
    )
    if (turn + phase) % every or response.by != 'answered':
      return response
    return response._replace(
      text='{"broken": "' + response.text[:20].replace('"', ''), by='malformed'
    )

  return fault


def slow(delay: float = 0.02) -> Fault:
  """Thinks before it answers.

  Args:
    delay: seconds.

  Returns:
    The fault.
  """
  checks.number(delay, name='delay', low=0.0)

  def fault(moment, proceed):
    response = proceed()
    return response._replace(delay=response.delay + delay)

  return fault


def rate_limited(
  share: float = 0.2,
  retry_after: float | None = None,
  *,
  date: bool = False,
  first: int | None = None,
) -> Fault:
  """Answers 429, too many requests.

  Args:
    share: of requests.
    retry_after: seconds that whoever asks is told to wait, or None.
    date: whether they are told as a date of HTTP, in whole seconds.
    first: so many tries of every request in place of a share.

  Returns:
    The fault.
  """
  if retry_after is not None:
    checks.number(retry_after, name='retry_after', low=0.0)

  def make(moment):
    response = error_response(
      429,
      'Rate limit reached (scripted).',
      code='rate_limit_exceeded',
      kind='requests',
    )
    if retry_after is None:
      return response
    told = f'{retry_after:g}'
    if date:
      told = email.utils.formatdate(time.time() + retry_after, usegmt=True)
    return response._replace(headers={'Retry-After': told})

  return _striking('rate_limited', make, share, first)


def failing(
  share: float = 0.2, status: int = 500, *, first: int | None = None
) -> Fault:
  """Answers with an error.

  Args:
    share: of requests.
    status: of HTTP, 400 to 599.
    first: so many tries of every request in place of a share.

  Returns:
    The fault.
  """
  checks.integer(status, name='status', low=400, high=599)
  kind = 'server_error' if status >= 500 else 'invalid_request_error'
  response = error_response(
    status, f'Error {status} (scripted).', code='scripted_failure', kind=kind
  )
  return _striking('failing', lambda moment: response, share, first)


def hanging(
  share: float = 0.2, seconds: float = 60.0, *, first: int | None = None
) -> Fault:
  """Says nothing for a long time, then hangs up.

  Args:
    share: of requests.
    seconds: of silence.
    first: so many tries of every request in place of a share.

  Returns:
    The fault.
  """
  checks.number(seconds, name='seconds', low=0.0)
  response = Response(delay=seconds, sent='none')
  return _striking('hanging', lambda moment: response, share, first)


def dropping(
  share: float = 0.2, sent: str = 'none', *, first: int | None = None
) -> Fault:
  """Closes the connection.

  Args:
    share: of requests.
    sent: how much of the response is sent before, 'none' or 'half'.
    first: so many tries of every request in place of a share.

  Returns:
    The fault.
  """
  checks.choice(sent, ('none', 'half'), name='sent')
  response = Response(text='never read to its end', sent=sent)
  return _striking('dropping', lambda moment: response, share, first)


def trickling(
  share: float = 0.2, pause: float = 0.5, *, first: int | None = None
) -> Fault:
  """Sends the response one byte at a time.

  Args:
    share: of requests.
    pause: seconds between bytes.
    first: so many tries of every request in place of a share.

  Returns:
    The fault.
  """
  checks.number(pause, name='pause', low=0.0)
  response = Response(text='never read to its end', sent='bytes', pause=pause)
  return _striking('trickling', lambda moment: response, share, first)


def garbage(share: float = 0.2, *, first: int | None = None) -> Fault:
  """Answers 200 with what is no JSON object, or no JSON.

  Args:
    share: of requests.
    first: so many tries of every request in place of a share.

  Returns:
    The fault.
  """

  def make(moment):
    return Response(body=_GARBAGE[int(moment.draw('kind') * len(_GARBAGE))])

  return _striking('garbage', make, share, first)


def wrong_type(share: float = 1.0, *, first: int | None = None) -> Fault:
  """Answers 200 with JSON whose fields are of the wrong kind.

  Args:
    share: of requests.
    first: so many tries of every request in place of a share.

  Returns:
    The fault.
  """

  def make(moment):
    found = _WRONG[int(moment.draw('kind') * len(_WRONG))]
    body = {'id': 'x', 'object': 'chat.completion', 'created': 0, **found}
    return Response(body=json.dumps(body).encode())

  return _striking('wrong_type', make, share, first)


def error_body(share: float = 0.2, *, first: int | None = None) -> Fault:
  """Answers 200, but with the body of an error.

  Args:
    share: of requests.
    first: so many tries of every request in place of a share.

  Returns:
    The fault.
  """
  response = error_response(
    200, 'The model is overloaded (scripted).', code='overloaded'
  )
  return _striking('error_body', lambda moment: response, share, first)


def oversized(
  num_bytes: int = 1 << 24,
  *,
  share: float = 1.0,
  told: bool = True,
  first: int | None = None,
) -> Fault:
  """Replies with a text that is too long.

  Args:
    num_bytes: of the text.
    share: of requests.
    told: whether the length stands in the header, or the text comes in chunks.
    first: so many tries of every request in place of a share.

  Returns:
    The fault.
  """
  checks.integer(num_bytes, name='num_bytes', low=0, high=1 << 30)

  def make(moment):
    sent = 'all' if told else 'chunks'
    return Response(text=_FILLER * num_bytes, sent=sent)

  return _striking('oversized', make, share, first)


def without_usage() -> Fault:
  """Tells no tokens.

  Returns:
    The fault.
  """
  return lambda moment, proceed: proceed()._replace(usage=False)


FAULTS = registry.Registry(
  'fault',
  {
    'dropping': dropping,
    'error_body': error_body,
    'failing': failing,
    'garbage': garbage,
    'hanging': hanging,
    'malformed': malformed,
    'oversized': oversized,
    'rate_limited': rate_limited,
    'slow': slow,
    'trickling': trickling,
    'without_usage': without_usage,
    'wrong_type': wrong_type,
  },
)
