# SPDX-License-Identifier: Apache-2.0
"""Asks language models behind any endpoint that speaks OpenAI's protocol."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from absl import logging

from jaxdl.core import checks, extras
from jaxdl.language import (
  _attempts,
  _cache,
  _costs,
  _endpoints,
  _replies,
  _secrets,
)

T = TypeVar('T')
_MOST_WAIT = 120.0
_MOST_BACKOFF = 30.0
_NO_ROOM = 'The budget has no room for this question.'
# Turns of the event loop without a known answer after which there is none.
_QUIET = 32


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
      (1024 where it says none) must fit into what is left. Answers that are
      known already count too, so that a run that is resumed or replayed ends
      where it would have.
    budget_cost: most money, or None; needs prices.
    prices: what models cost, see `read_prices`.

  Raises:
    ImportError: if `openai` is not installed.
    ValueError: if a number is out of range, or a key is missing.

  Example:
    >>> from jaxdl.language import Endpoint, loopback, run
    >>> with loopback.serve() as server:
    ...   client = Client(Endpoint('echo', base_url=server.base_url))
    ...   question = [{'role': 'user', 'content': 'Anybody there?'}]
    ...   run(client.ask(question)).text
    ...   run(client.aclose())
    'Anybody there?'
  """

  def __init__(
    self,
    endpoints: _endpoints.Endpoint | Mapping[str, _endpoints.Endpoint],
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
    one = isinstance(endpoints, _endpoints.Endpoint)
    if not one and not (isinstance(endpoints, Mapping) and endpoints):
      raise TypeError(
        'endpoints must be an Endpoint, or one for each role; got '
        f'{checks.described(endpoints)}.'
      )
    self._one = endpoints if one else None
    self._endpoints = {} if one else dict(endpoints)
    for role, endpoint in self._endpoints.items():
      if not isinstance(endpoint, _endpoints.Endpoint):
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
    self._sessions: dict[_endpoints.Endpoint, Any] = {}
    self._pending: dict[str, asyncio.Future] = {}
    self._slots = asyncio.Semaphore(max_concurrency)
    self._freed = asyncio.Event()
    self._draw = random.Random()

  def endpoint(self, role: str) -> _endpoints.Endpoint:
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
      error = _attempts.short(str(found))
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
      error = _attempts.short(str(found))
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
      if await self._stopped(request, endpoint):
        return _replies.Reply(None, 'budget', _NO_ROOM)
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
      await self._settled()
      found = await self._paid(request, endpoint)
      self._cache.put(key, found, question)
      return found
    finally:
      del self._pending[key]
      future.set_result(found)

  async def _settled(self):
    """Lets all that is known be counted before a budget is asked for more."""
    count, quiet = -1, 0
    while self.ledger.limited and quiet < _QUIET:
      cached = self.ledger.total.cached
      count, quiet = cached, quiet + 1 if cached == count else 0
      await asyncio.sleep(0)

  async def _stopped(self, request, endpoint):
    """Whether a run that is replayed had no room for a question."""
    await self._settled()
    held = self.ledger.reserve(request, endpoint.model)
    if held is not None:
      self.ledger.release(held)
    return held is None

  async def _paid(self, request, endpoint):
    async with self._slots:
      while (held := self.ledger.reserve(request, endpoint.model)) is None:
        if not self.ledger.reserved:
          return _replies.Reply(None, 'budget', _NO_ROOM)
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
      found = await _attempts.send(
        self._connection(endpoint), request, endpoint.model, self._timeout
      )
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

  def _connection(self, endpoint):
    """One for all roles of an endpoint."""
    if endpoint not in self._sessions:
      self._sessions[endpoint] = _attempts.connect(
        endpoint, self._keys[endpoint], self._timeout
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


def _repair(error):
  return (
    f'Your reply could not be used: {error} Reply again, in exactly the form '
    'that was asked for.'
  )


def _options(request):
  """A request as keywords of `Client.ask`."""
  names = ('role', 'label', 'settings', 'sample')
  return {name: getattr(request, name) for name in names}
