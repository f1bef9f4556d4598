# SPDX-License-Identifier: Apache-2.0
"""Asks language models behind any endpoint that speaks OpenAI's protocol."""

import asyncio
import contextlib
import dataclasses
import email.utils
import functools
import json
import random
import sys
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from absl import logging

from jaxdl.core import checks, extras
from jaxdl.language import _cache, _costs, _replies, _secrets

T = TypeVar('T')
# What another attempt may mend; other statuses say that the question is wrong.
_RETRIED = frozenset({408, 409, 425, 429})
_MOST_WAIT = 120.0
_MOST_BACKOFF = 30.0
# Of one answer, headers apart.
MOST_BYTES = 4 * 2**20
_MOST_ERROR = 300
# Of one answer; an endpoint that tells more is not believed.
_MOST_TOKENS = 10**9
_LOCAL = frozenset({'localhost', '127.0.0.1', '::1'})
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
class Endpoint:
  """Where a model is.

  Attributes:
    model: its name there.
    base_url: address of the server, e.g. 'http://localhost:8000/v1'; that of
      OpenAI if None.
    api_key_env: environment variable that holds the key. It is read when a
      client is made, and never written anywhere.
  """

  model: str
  base_url: str | None = None
  api_key_env: str = 'OPENAI_API_KEY'

  def __post_init__(self):
    for name in ('model', 'api_key_env'):
      value = getattr(self, name)
      if not isinstance(value, str) or not value.strip():
        raise ValueError(
          f'{name} must be a name; got {checks.described(value)}.'
        )
    if self.base_url is None:
      return
    if not isinstance(self.base_url, str):
      raise TypeError(
        f'base_url must be text; got {checks.described(self.base_url)}.'
      )
    try:
      parts = urllib.parse.urlsplit(self.base_url)
      _ = parts.port
    except ValueError:
      parts = None
    if (
      parts is None
      or parts.scheme not in ('http', 'https')
      or not parts.hostname
    ):
      raise ValueError(
        'base_url must be an address such as http://localhost:8000/v1; got '
        f'{_secrets.redacted(self.base_url)!r}.'
      )
    if parts.username or parts.password:
      raise ValueError(
        'base_url must not carry a user or password: put the key into the '
        'environment variable that api_key_env names.'
      )

  @property
  def local(self) -> bool:
    """Whether the server is on this machine."""
    host = urllib.parse.urlsplit(self.base_url or '').hostname
    return host in _LOCAL


class Client:
  """Asks endpoints, many questions at a time, and never loses one.

  Args:
    endpoints: one endpoint, or one for each role, such as
      `{'worker': ..., 'critic': ...}`.
    max_concurrency: questions that are on their way at a time, those that
      wait for another attempt included.
    max_attempts: requests for one question; 408, 409, 425, 429, statuses of
      500 and more, lost connections, time-outs and answers that are none are
      tried again, other refusals are not.
    timeout: seconds for one attempt, from its start to the last byte.
    backoff: seconds before the second attempt, doubled for each further one
      and drawn between half and all of that; what the server says in
      `retry-after` comes first.
    cache: answers that are known already; None keeps none.
    budget_tokens: most tokens of questions and answers together, or None.
      Before a question is sent, a guess of its tokens and its `max_tokens`
      (1024 where it says none) must fit into what is left.
    budget_cost: most money, or None; needs prices.
    prices: what models cost, see `read_prices`.

  Raises:
    ImportError: if `openai` is not installed.
    ValueError: if a number is out of range, or a key is missing.

  Example:
    >>> from jaxdl.language import loopback, run
    >>> with loopback.serve() as server:
    ...   client = Client(Endpoint('echo', base_url=server.base_url))
    ...   question = [{'role': 'user', 'content': 'Anybody there?'}]
    ...   run(client.ask(question)).text
    ...   run(client.aclose())
    'Anybody there?'
  """

  def __init__(
    self,
    endpoints: Endpoint | Mapping[str, Endpoint],
    *,
    max_concurrency: int = 32,
    max_attempts: int = 6,
    timeout: float = 60.0,
    backoff: float = 0.5,
    cache: _cache.Cache | None = None,
    budget_tokens: int | None = None,
    budget_cost: float | None = None,
    prices: Mapping[str, Any] | None = None,
  ):
    one = isinstance(endpoints, Endpoint)
    if not one and not (isinstance(endpoints, Mapping) and endpoints):
      raise TypeError(
        'endpoints must be an Endpoint, or one for each role; got '
        f'{checks.described(endpoints)}.'
      )
    self._one = endpoints if one else None
    self._endpoints = {} if one else dict(endpoints)
    for role, endpoint in self._endpoints.items():
      if not isinstance(endpoint, Endpoint):
        raise TypeError(
          f'endpoints[{role!r}] must be an Endpoint; got '
          f'{checks.described(endpoint)}.'
        )
    checks.integer(max_concurrency, name='max_concurrency', low=1)
    checks.integer(max_attempts, name='max_attempts', low=1)
    checks.number(timeout, name='timeout', low=0.0, open_low=True)
    checks.number(backoff, name='backoff', low=0.0)
    if cache is not None and not isinstance(cache, _cache.Cache):
      raise TypeError(f'cache must be a Cache; got {checks.described(cache)}.')
    self._max_concurrency, self._max_attempts = max_concurrency, max_attempts
    self._timeout, self._backoff = float(timeout), float(backoff)
    self._cache = cache if cache is not None and cache.on else None
    self.ledger = _costs.Ledger(
      budget_tokens=budget_tokens, budget_cost=budget_cost, prices=prices
    )
    all_of_them = [endpoints] if one else list(self._endpoints.values())
    self.ledger.check_models(e.model for e in all_of_them)
    self._keys = {}
    if self._cache is None or self._cache.mode != 'replay_only':
      extras.require('openai', 'asking a language model')
      for e in all_of_them:
        needed = e.base_url is None
        self._keys[e] = _secrets.key_of(e.api_key_env, needed=needed)
    self._loop: asyncio.AbstractEventLoop | None = None
    self._sessions: dict[Endpoint, Any] = {}
    self._pending: dict[str, asyncio.Future] = {}
    self._slots = asyncio.Semaphore(max_concurrency)
    self._freed = asyncio.Event()
    self._draw = random.Random()

  def endpoint(self, role: str) -> Endpoint:
    """Returns who answers a role.

    Args:
      role: its name.

    Returns:
      The endpoint.

    Raises:
      ValueError: if there is none.
    """
    if self._one is not None:
      return self._one
    checks.choice(role, tuple(self._endpoints), name='role')
    return self._endpoints[role]

  @property
  def usage(self) -> list[_costs.Usage]:
    """What was spent by role, label and model."""
    return self.ledger.rows

  @property
  def scripted(self) -> bool:
    """Whether a scripted model has answered anything."""
    return self.ledger.total.scripted > 0

  async def ask(
    self,
    messages: Sequence[Mapping[str, str]],
    *,
    role: str = 'worker',
    label: str = '',
    settings: Mapping[str, Any] | None = None,
    sample: int = 0,
  ) -> _replies.Reply:
    """Asks one question.

    Args:
      messages: dicts of `role` and `content`, oldest first.
      role: whose endpoint answers.
      label: whom it is counted for.
      settings: of generation; those that the protocol does not know, such as
        `top_k`, are sent along with the others.
      sample: number of the answer: each has a place of its own in the cache.

    Returns:
      The answer. Endpoints that fail raise nothing: `kind` and `error` say so.

    Raises:
      TypeError: if messages are of another form.
      ValueError: if a value is out of range or the role unknown.
      MissingReply: if a replayed run has no answer.
    """
    request = _replies.Request(messages, role, label, settings or {}, sample)
    request = _replies.check_request(request)
    endpoint = self.endpoint(role)
    start = time.perf_counter()
    reply = await self._answer(request, endpoint)
    reply = reply._replace(seconds=time.perf_counter() - start)
    self.ledger.record(request, endpoint.model, reply)
    return reply

  async def ask_all(
    self, requests: Sequence[_replies.Request]
  ) -> list[_replies.Reply]:
    """Asks many questions side by side.

    Args:
      requests: the questions.

    Returns:
      Answers in their order. One that fails takes no other with it.

    Raises:
      TypeError: as `ask`, before anything is sent.
      ValueError: likewise.
      MissingReply: as `ask`.
    """
    for request in requests:
      _replies.check_request(request)
      self.endpoint(request.role)
    calls = [self.ask(r.messages, **_options(r)) for r in requests]
    return await gather(calls)

  async def ask_for(
    self,
    messages: Sequence[Mapping[str, str]],
    parse: Callable[[str], T],
    *,
    repair: Callable[[str], str] | None = None,
    **options: Any,
  ) -> _replies.Parsed:
    """Asks for an answer of a form; if it has another, asks once more.

    Args:
      messages: as `ask`.
      parse: `parse(text) -> value`, which raises ValueError with a sentence
        where the text has another form; see `json_contract`.
      repair: `repair(sentence) -> text` of the second question; by default it
        quotes the sentence.
      **options: as `ask`.

    Returns:
      What was read, with one or two answers.
    """
    reply = await self.ask(messages, **options)
    replies, error = [reply], None
    if reply.text is None:
      return _replies.Parsed(None, tuple(replies), reply.error)
    try:
      return _replies.Parsed(parse(reply.text), tuple(replies))
    except ValueError as found:
      error = _short(str(found))
    asked = (repair or _repair)(error)
    again = [
      *messages,
      {'role': 'assistant', 'content': reply.text},
      {'role': 'user', 'content': asked},
    ]
    reply = await self.ask(again, **options)
    replies.append(reply)
    if reply.text is None:
      return _replies.Parsed(None, tuple(replies), reply.error)
    try:
      return _replies.Parsed(parse(reply.text), tuple(replies))
    except ValueError as found:
      error = _short(str(found))
    return _replies.Parsed(None, tuple(replies), error)

  async def aclose(self) -> None:
    """Closes connections; the client may go on asking, with new ones."""
    sessions, self._sessions = self._sessions, {}
    for session in sessions.values():
      await session.close()

  async def _answer(self, request, endpoint):
    """From the cache, from who asks the same now, or from the endpoint."""
    self._enter_loop()
    if self._cache is None:
      return await self._paid(request, endpoint)
    question = _replies.canonical(request, endpoint.model)
    key = _replies.key_of(question)
    known = self._cache.get(key)
    if known is not None:
      return known
    if self._cache.mode == 'replay_only':
      raise _replies.MissingReply(
        f'{self._cache.path} has no answer of {endpoint.model} to role '
        f'{request.role!r}, label {request.label!r}, sample {request.sample}: '
        'the run that is replayed did not ask this.'
      )
    waiting = self._pending.get(key)
    if waiting is not None:
      # Whoever asked first may be canceled; then this one asks.
      with contextlib.suppress(asyncio.CancelledError):
        found = await asyncio.shield(waiting)
        if found is not None:
          kind = found.kind == 'ok'
          return found._replace(cached=kind, attempts=0)
      if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError
      return await self._answer(request, endpoint)
    future = asyncio.get_running_loop().create_future()
    self._pending[key] = future
    found = None
    try:
      found = await self._paid(request, endpoint)
      self._cache.put(key, found, question)
      return found
    finally:
      del self._pending[key]
      future.set_result(found)

  async def _paid(self, request, endpoint):
    async with self._slots:
      while (held := self.ledger.reserve(request, endpoint.model)) is None:
        if not self.ledger.reserved:
          error = 'The budget has no room for this question.'
          return _replies.Reply(None, 'budget', error)
        # What others have set aside may be more than they take.
        await self._freed.wait()
      try:
        return await self._tried(request, endpoint)
      finally:
        self.ledger.release(held)
        self._freed.set()
        self._freed = asyncio.Event()

  async def _tried(self, request, endpoint):
    """Sends a question until it is answered, refused, or tried too often."""
    attempt = 0
    while True:
      attempt += 1
      found = await self._sent(request, endpoint)
      if isinstance(found, _replies.Reply):
        return found._replace(attempts=attempt)
      wait = self._wait(attempt, found.retry_after)
      last = attempt == self._max_attempts
      if last or not found.again or wait > _MOST_WAIT:
        break
      logging.info(
        '%s: attempt %d: %s; again in %.1f s.',
        *(endpoint.model, attempt, found.why, wait),
      )
      await asyncio.sleep(wait)
    where = endpoint.base_url or 'the endpoint'
    tail = '' if found.again else ', which another attempt would not mend'
    if found.again and not last:
      tail = f', and asks to wait {wait:.0f} s'
    error = f'{where}: {found.why}{tail} (attempt {attempt}).'
    logging.warning('%s: %s', endpoint.model, error)
    return _replies.Reply(None, 'failed', error, attempts=attempt)

  async def _sent(self, request, endpoint):
    """One attempt: a reply, or what went wrong."""
    import openai

    session = self._session(endpoint)
    known = {k: v for k, v in request.settings.items() if k in _STANDARD}
    extra = {k: v for k, v in request.settings.items() if k not in _STANDARD}
    try:
      async with asyncio.timeout(self._timeout):
        raw = await session.chat.completions.with_raw_response.create(
          model=endpoint.model,
          messages=request.messages,
          **known,
          **({'extra_body': extra} if extra else {}),
        )
        return _read(raw.content, request)
    except TimeoutError:
      return _Trouble(f'no answer within {self._timeout:g} s')
    except openai.APITimeoutError:
      return _Trouble(f'no answer within {self._timeout:g} s')
    except openai.APIStatusError as error:
      status = error.status_code
      return _Trouble(
        f'status {status}: {_said(error.body, error.message)}',
        again=_mends(status),
        retry_after=_retry_after(error.response.headers),
      )
    except openai.APIConnectionError as error:
      cause = error.__cause__
      if isinstance(cause, _TooLong | _Compressed):
        return _Trouble(str(cause), again=False)
      return _Trouble(f'no connection: {_short(str(cause or error))}')
    except (_TooLong, _Compressed) as error:
      return _Trouble(str(error), again=False)
    except openai.OpenAIError as error:
      return _Trouble(f'no answer of the protocol: {_short(str(error))}')

  def _wait(self, attempt, retry_after):
    if retry_after is not None:
      return retry_after
    most = min(self._backoff * 2 ** (attempt - 1), _MOST_BACKOFF)
    return most * self._draw.uniform(0.5, 1.0)

  def _enter_loop(self):
    """What belongs to another event loop is left behind."""
    loop = asyncio.get_running_loop()
    if loop is not self._loop:
      self._loop, self._sessions, self._pending = loop, {}, {}
      self._slots = asyncio.Semaphore(self._max_concurrency)
      self._freed = asyncio.Event()

  def _session(self, endpoint):
    """The connections to an endpoint, one for all its roles."""
    if endpoint not in self._sessions:
      import openai

      _secrets.guard_logs(_LOGGERS)
      # Newer versions of the library have a client of another name.
      make = getattr(openai, 'DefaultAsyncHttpx2Client', None)
      make = make or openai.DefaultAsyncHttpxClient
      self._sessions[endpoint] = openai.AsyncOpenAI(
        api_key=self._keys[endpoint].reveal(),
        base_url=endpoint.base_url,
        max_retries=0,
        timeout=self._timeout,
        http_client=make(
          timeout=self._timeout,
          # A proxy does not reach this machine.
          trust_env=not endpoint.local,
          # A few compressed bytes may be gigabytes.
          headers={'Accept-Encoding': 'identity'},
          # A chat goes where its address says, and nowhere else.
          follow_redirects=False,
          event_hooks={'response': [_limit]},
        ),
      )
    return self._sessions[endpoint]


async def gather(calls: Sequence[Any]) -> list[Any]:
  """Awaits coroutines side by side; one that raises cancels the others.

  Args:
    calls: coroutines.

  Returns:
    What they return, in order.

  Raises:
    BaseException: the first of what they raise, alone.
  """
  try:
    async with asyncio.TaskGroup() as group:
      tasks = [group.create_task(call) for call in calls]
  except BaseExceptionGroup as errors:
    raise errors.exceptions[0] from None
  return [task.result() for task in tasks]


@dataclasses.dataclass(frozen=True)
class _Trouble:
  """Why an attempt failed, and whether another one may not."""

  why: str
  again: bool = True
  retry_after: float | None = None


class _TooLong(ValueError):  # noqa: N818
  """An answer beyond `MOST_BYTES`."""


class _Compressed(ValueError):  # noqa: N818
  """An answer whose size is not known before it is too late."""


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
    return _Trouble('the answer is no JSON')
  if not isinstance(body, dict):
    return _Trouble('the answer is no JSON object')
  if body.get('error'):
    error = body['error']
    code = error.get('code') if isinstance(error, dict) else None
    again = not isinstance(code, int) or _mends(code)
    return _Trouble(f'an error in place of an answer: {_said(body, "")}', again)
  try:
    choice = body['choices'][0]
    text = choice['message'].get('content')
    finish = choice.get('finish_reason')
  except (KeyError, IndexError, TypeError, AttributeError):
    return _Trouble('the answer has no message')
  if text is None:
    text = ''
  if not isinstance(text, str):
    return _Trouble('the message of the answer is no text')
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
      return _short(found)
  return _short(str(otherwise)) or 'no reason is given'


def _short(text):
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


def _repair(error):
  return (
    f'Your reply could not be used: {error} Reply again, in exactly the form '
    'that was asked for.'
  )


def _options(request):
  """A request as keywords of `Client.ask`."""
  names = ('role', 'label', 'settings', 'sample')
  return {name: getattr(request, name) for name in names}
