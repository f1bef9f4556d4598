# SPDX-License-Identifier: Apache-2.0
"""Whatever an endpoint does, questions are answered or say why not."""

import asyncio
import contextlib
import gzip
import json
import pathlib
import socket
import tempfile
import time
from unittest import mock

import endpoints
from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import _attempts, loopback

CHAT = [{'role': 'user', 'content': 'Is anybody there?'}]


def chat(text):
  return [{'role': 'user', 'content': text}]


class HostileTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.server = loopback.serve(
      models={
        'unicode': lambda chat: 'größer \u2028\x00 \U0001f600 \ud800 日本',
        'echo_settings': lambda chat: json.dumps(dict(chat.settings)),
      }
    )
    cls.addClassCleanup(cls.server.close)

  def setUp(self):
    super().setUp()
    self.server.counts.clear()
    self.server.num_requests = 0
    self.server.most_at_once = 0
    self.server._seen.clear()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def client(self, model, base_url=None, **options):
    options = {'backoff': 0.0005, 'timeout': 20.0, **options}
    endpoint = language.Endpoint(model, base_url or self.server.base_url)
    client = language.Client(endpoint, **options)
    self.addCleanup(lambda: language.run(client.aclose()))
    return client

  def ask(self, model, messages=CHAT, **options):
    return language.run(self.client(model, **options).ask(messages))

  def ask_raw(self, answer, **options):
    """Asks a server that answers `answer`, bytes or a function."""
    if isinstance(answer, bytes):
      told = answer
      answer = lambda send, request: send(told)
    with endpoints.RawServer(answer) as server:
      client = self.client('x', server.base_url, **options)
      reply = language.run(client.ask(CHAT))
      language.run(client.aclose())
      return reply, len(server.requests)

  @parameterized.parameters(
    'rate_limited(first=2)',
    'rate_limited(first=2, retry_after=0.001)',
    'failing(first=2, status=500)',
    'failing(first=2, status=502)',
    'failing(first=2, status=503)',
    'failing(first=2, status=408)',
    'failing(first=2, status=409)',
    'dropping(first=2)',
    'dropping(first=2, sent=half)',
    'garbage(first=2)',
    'error_body(first=2)',
    'wrong_type(first=2)',
  )
  def test_what_another_attempt_may_mend_is_tried_again(self, fault):
    reply = self.ask(f'{fault}+echo')
    self.assertEqual(reply.text, 'Is anybody there?')
    self.assertEqual((reply.kind, reply.error, reply.attempts), ('ok', None, 3))
    name = fault.partition('(')[0]
    self.assertEqual(self.server.counts, {name: 2, 'answered': 1})

  @parameterized.parameters(
    'hanging(first=2, seconds=30.0)', 'trickling(first=2, pause=0.1)'
  )
  def test_attempts_end_in_time(self, fault):
    # Bytes that come one by one keep a time-out of reading from striking.
    begin = time.monotonic()
    reply = self.ask(f'{fault}+echo', timeout=1.0)
    self.assertEqual((reply.kind, reply.attempts), ('ok', 3))
    self.assertLess(time.monotonic() - begin, 20)

  @parameterized.parameters(
    ('rate_limited(share=1.0)', 'status 429: Rate limit reached'),
    ('failing(share=1.0)', 'status 500: Error 500'),
    ('dropping(share=1.0)', 'no connection'),
    ('dropping(share=1.0, sent=half)', 'no connection'),
    ('error_body(share=1.0)', 'The model is overloaded'),
    ('garbage(share=1.0)', 'no JSON'),
    ('wrong_type(share=1.0)', 'message'),
  )
  def test_attempts_are_limited_and_the_reply_says_why(self, fault, words):
    with self.assertLogs(level='INFO'):
      reply = self.ask(f'{fault}+echo', max_attempts=4)
    self.assertEqual(
      (reply.text, reply.kind, reply.attempts), (None, 'failed', 4)
    )
    self.assertIn(words, reply.error)
    self.assertIn('(attempt 4)', reply.error)
    self.assertNotIn('\n', reply.error)
    self.assertEqual(self.server.num_requests, 4)

  @parameterized.parameters(400, 401, 403, 404, 405, 413, 422)
  def test_refusals_are_not_tried_again(self, status):
    reply = self.ask(f'failing(share=1.0, status={status})+echo')
    self.assertEqual(
      (reply.text, reply.kind, reply.attempts), (None, 'failed', 1)
    )
    self.assertIn(f'status {status}', reply.error)
    self.assertEqual(self.server.num_requests, 1)

  def test_an_unknown_model_says_which_exist(self):
    reply = self.ask('ecko')
    self.assertEqual((reply.kind, reply.attempts), ('failed', 1))
    self.assertIn("'echo'", reply.error)

  def waits(self, fault, **options):
    """What was waited between attempts, without waiting."""
    waits = []
    real = asyncio.sleep

    async def sleep(seconds, *args):
      if seconds:
        waits.append(seconds)
      await real(0, *args)

    with mock.patch.object(asyncio, 'sleep', sleep):
      reply = self.ask(f'{fault}+echo', **options)
    return waits, reply

  def test_retry_after_in_seconds_is_kept(self):
    waits, reply = self.waits('rate_limited(first=3, retry_after=7.5)')
    self.assertEqual(waits, [7.5, 7.5, 7.5])
    self.assertEqual(reply.kind, 'ok')

  def test_retry_after_as_a_date_is_kept(self):
    waits, reply = self.waits(
      'rate_limited(first=2, retry_after=60, date=True)'
    )
    self.assertLen(waits, 2)
    for wait in waits:
      self.assertBetween(wait, 40, 60)
    self.assertEqual(reply.kind, 'ok')

  def test_nobody_waits_for_hours(self):
    waits, reply = self.waits('rate_limited(share=1.0, retry_after=3600)')
    self.assertEqual(waits, [])
    self.assertEqual((reply.kind, reply.attempts), ('failed', 1))
    self.assertIn('asks to wait 3600 s', reply.error)

  @parameterized.parameters(
    ('soon', None),
    ('-5', 0.0),
    ('nan', None),
    ('inf', float('inf')),
    ('', None),
    ('Wed, 21 Oct 2015 07:28:00 GMT', 0.0),
    ('Wed, 99 Oct 2015 07:28:00 GMT', None),
    ('Wed, 21 Oct', None),
  )
  def test_retry_after_that_is_none(self, value, wait):
    self.assertEqual(_attempts._retry_after({'retry-after': value}), wait)

  @parameterized.parameters(
    ('250', 0.25), ('nan', None), ('-1', 0.0), ('x', None)
  )
  def test_retry_after_in_milliseconds(self, value, wait):
    headers = {'retry-after-ms': value, 'retry-after': '7'}
    self.assertEqual(_attempts._retry_after(headers), wait)

  def test_waits_double_and_differ(self):
    waits, _ = self.waits('failing(share=1.0)', backoff=1.0, max_attempts=5)
    self.assertLen(waits, 4)
    for i, wait in enumerate(waits):
      self.assertBetween(wait, 2**i / 2, 2**i)

  @parameterized.parameters(True, False)
  def test_long_answers_are_cut_off(self, told):
    size = _attempts.MOST_BYTES + 1
    reply = self.ask(f'oversized(num_bytes={size}, told={told})+echo')
    self.assertEqual(
      (reply.text, reply.kind, reply.attempts), (None, 'failed', 1)
    )
    self.assertIn('longer than 4194304 bytes', reply.error)
    # And just below it is read.
    reply = self.ask('oversized(num_bytes=4000000)+echo')
    self.assertLen(reply.text, 4_000_000)

  @parameterized.parameters('200 OK', '500 Oops', '429 Wait', '400 Bad Request')
  def test_a_stream_without_end_is_left(self, status):
    sent = []

    def answer(send, request):
      send(f'HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n'.encode())
      while True:
        send(b'10000\r\n' + b'x' * 65536 + b'\r\n')
        sent.append(65536)

    reply, count = self.ask_raw(answer)
    self.assertEqual((reply.kind, count), ('failed', 1))
    self.assertIn('longer than', reply.error)
    self.assertLess(sum(sent), 4 * _attempts.MOST_BYTES)

  def test_a_compressed_answer_does_not_fill_the_memory(self):
    bomb = gzip.compress(bytes(64 << 20))
    self.assertLess(len(bomb), _attempts.MOST_BYTES)
    with mock.patch.object(_attempts, 'MOST_BYTES', 1 << 20):
      reply, _ = self.ask_raw(
        endpoints.whole(bomb, Content_Encoding='gzip'), max_attempts=2
      )
    self.assertEqual((reply.text, reply.kind), (None, 'failed'))
    self.assertIn('compressed', reply.error)

  @parameterized.named_parameters(
    ('no_http', b'SSH-2.0-OpenSSH_9.6\r\n'),
    ('no_status', b'HTTP/1.1 abc\r\n\r\n'),
    ('header_without_end', b'HTTP/1.1 200 OK\r\nX: ' + b'x' * 300_000),
    (
      'bad_chunk',
      b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    ),
    ('two_lengths', b'HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello'),
    ('short', b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello'),
    ('empty', endpoints.whole(b'')),
    ('no_content', b'HTTP/1.1 204 No Content\r\n\r\n'),
    ('events', endpoints.whole(b'data: {"choices": []}\n\ndata: [DONE]\n\n')),
    ('latin', endpoints.whole('{"choices": "größer"}'.encode('latin-1'))),
    ('deep', endpoints.whole(b'{"choices": ' + b'[' * 200_000)),
    ('digits', endpoints.whole(b'{"choices": ' + b'9' * 200_000 + b'}')),
    ('number', endpoints.whole(b'7')),
    ('text', endpoints.whole(b'"choices"')),
    ('string_choices', endpoints.whole(b'{"choices": "abc"}')),
    ('message_list', endpoints.whole(b'{"choices": [{"message": []}]}')),
    ('error_list', endpoints.whole(b'{"error": ["overloaded", {"a": 1}]}')),
    (
      'error_code',
      endpoints.whole(b'{"error": {"code": 503, "message": null}}'),
    ),
  )
  def test_what_is_no_answer(self, answer):
    reply, count = self.ask_raw(answer, max_attempts=2, timeout=5.0)
    self.assertEqual((reply.text, reply.kind), (None, 'failed'))
    self.assertEqual(reply.attempts, 2)
    self.assertGreaterEqual(count, 1)
    self.assertNotEmpty(reply.error)
    self.assertLess(len(reply.error), 500)

  @parameterized.parameters(
    ('{"error": {"code": 400, "message": "no"}}', 1),
    ('{"error": {"code": "context_length_exceeded", "message": "no"}}', 2),
    ('{"error": "no"}', 2),
  )
  def test_errors_in_good_responses(self, body, attempts):
    reply, count = self.ask_raw(endpoints.whole(body.encode()), max_attempts=2)
    self.assertEqual(
      (reply.kind, reply.attempts, count), ('failed', attempts, attempts)
    )
    self.assertIn('an error in place of an answer: no', reply.error)

  @parameterized.parameters(
    ({'prompt_tokens': -1, 'completion_tokens': 5},),
    ({'prompt_tokens': True, 'completion_tokens': 5},),
    ({'prompt_tokens': 1.5, 'completion_tokens': 5},),
    ({'prompt_tokens': '3', 'completion_tokens': 5},),
    ({'prompt_tokens': 10**400, 'completion_tokens': 5},),
    ({'prompt_tokens': 3},),
    ([3, 5],),
    ('many',),
  )
  def test_usage_that_is_none_is_guessed_and_marked(self, usage):
    body = endpoints.completion('twelve chars', usage=usage)
    prices = {'x': language.Price(1.0, 1.0)}
    reply, _ = self.ask_raw(endpoints.whole(body), prices=prices)
    self.assertEqual(reply.kind, 'ok')
    self.assertTrue(reply.estimated)
    self.assertEqual((reply.prompt_tokens, reply.completion_tokens), (5, 3))

  def test_no_content_is_an_empty_reply(self):
    for message in ({'role': 'assistant'}, {'content': None}):
      body = json.dumps({'choices': [{'message': message}]}).encode()
      reply, _ = self.ask_raw(endpoints.whole(body))
      self.assertEqual((reply.text, reply.kind), ('', 'ok'))

  def test_without_usage(self):
    reply = self.ask('without_usage+echo')
    self.assertTrue(reply.estimated)
    self.assertEqual(reply.completion_tokens, 5)
    self.assertFalse(self.ask('echo').estimated)

  def test_nobody_listens(self):
    with socket.create_server(('127.0.0.1', 0)) as sock:
      port = sock.getsockname()[1]
    reply = self.ask(
      'x', base_url=f'http://127.0.0.1:{port}/v1', max_attempts=2
    )
    self.assertEqual((reply.kind, reply.attempts), ('failed', 2))
    self.assertIn('no connection', reply.error)

  def test_other_alphabets_and_halves_of_characters(self):
    cache = language.Cache(self.folder)
    client = self.client('unicode', cache=cache)
    first = language.run(client.ask(chat('größer \U0001f600 日本')))
    self.assertEqual(first.text, 'größer \u2028\x00 \U0001f600 ? 日本')
    again = language.run(client.ask(chat('größer \U0001f600 日本')))
    self.assertTrue(again.cached)
    self.assertEqual(again.text, first.text)

  def test_one_failure_takes_no_other_with_it(self):
    model = 'failing(share=0.3, status=400)+dropping(share=0.3)+echo'
    client = self.client(model, max_attempts=2)
    requests = [language.Request(chat(f'number {i}')) for i in range(60)]
    replies = language.run(client.ask_all(requests))
    texts = [r.text for r in replies]
    kinds = [r.kind for r in replies]
    self.assertEqual(kinds.count('failed') + kinds.count('ok'), 60)
    self.assertGreater(kinds.count('failed'), 5)
    for i, text in enumerate(texts):
      self.assertIn(text, (f'number {i}', None))
    self.assertEqual(kinds.count('ok'), self.server.counts['answered'])

  def test_all_calls_complete_under_three_kinds_of_faults(self):
    model = (
      'rate_limited(share=0.07)+failing(share=0.07)+'
      'hanging(share=0.03, seconds=30.0)+echo'
    )
    # Long enough for a busy machine.
    client = self.client(model, timeout=2.0, max_attempts=10)
    requests = [
      language.Request(chat(f'number {i}'), label=f'{i % 5}')
      for i in range(100)
    ]
    replies = language.run(client.ask_all(requests))
    self.assertEqual(
      [r.text for r in replies], [f'number {i}' for i in range(100)]
    )
    counts = self.server.counts
    self.assertEqual(counts['answered'], 100)
    faults = counts['rate_limited'] + counts['failing'] + counts['hanging']
    self.assertGreater(faults, 10)
    # The ledger, the replies and the server count alike.
    self.assertEqual(sum(r.attempts for r in replies), 100 + faults)
    self.assertEqual(self.server.num_requests, 100 + faults)
    self.assertEqual(sum(u.attempts for u in client.usage), 100 + faults)
    self.assertEqual([u.calls for u in client.usage], [20] * 5)

  def test_questions_at_a_time_are_bounded(self):
    # A server that no one else has hung up on.
    with loopback.serve() as server:
      client = self.client(
        'slow(delay=0.01)+echo', server.base_url, max_concurrency=5
      )
      requests = [language.Request(chat(f'{i}')) for i in range(40)]
      language.run(client.ask_all(requests))
      self.assertEqual(server.most_at_once, 5)

  def test_a_budget_holds_among_concurrent_questions(self):
    client = self.client('echo', budget_tokens=1000)
    text = 'x' * 160  # 40 tokens, and 40 more of the answer.
    requests = [
      language.Request(chat(text), settings={'max_tokens': 40}, sample=i)
      for i in range(100)
    ]
    replies = language.run(client.ask_all(requests))
    kinds = [r.kind for r in replies]
    spent = sum(u.tokens for u in client.usage)
    self.assertLessEqual(spent, 1000)
    self.assertGreater(spent, 1000 - 2 * 84)
    self.assertEqual(kinds.count('ok') * 80, spent)
    self.assertEqual(kinds.count('budget'), 100 - kinds.count('ok'))
    self.assertEqual(self.server.num_requests, kinds.count('ok'))
    self.assertIn('budget', replies[kinds.index('budget')].error)

  def test_canceling_propagates_and_leaves_others_alone(self):
    client = self.client('hanging(share=1.0, seconds=30.0)+echo')
    other = self.client('slow(delay=0.05)+echo')

    async def go():
      stays = asyncio.create_task(other.ask(CHAT))
      task = asyncio.create_task(client.ask_all([language.Request(CHAT)] * 3))
      while self.server.num_requests < 4:
        await asyncio.sleep(0.001)
      task.cancel()
      begin = time.monotonic()
      with contextlib.suppress(asyncio.CancelledError):
        await task
      return task.cancelled(), time.monotonic() - begin, await stays

    canceled, seconds, stayed = language.run(go())
    self.assertTrue(canceled)
    self.assertLess(seconds, 5)
    self.assertEqual(stayed.kind, 'ok')
    self.assertEqual(client.usage, [])

  def test_who_asks_the_same_goes_on_when_the_first_is_canceled(self):
    cache = language.Cache(self.folder)
    client = self.client('hanging(first=1, seconds=30.0)+echo', cache=cache)

    async def go():
      first = asyncio.create_task(client.ask(CHAT))
      while self.server.num_requests < 1:
        await asyncio.sleep(0.001)
      second = asyncio.create_task(client.ask(CHAT))
      await asyncio.sleep(0.01)
      first.cancel()
      return await second

    reply = language.run(go())
    self.assertEqual(reply.text, 'Is anybody there?')
    self.assertEqual(self.server.num_requests, 2)

  def test_replay_sends_nothing(self):
    requests = [
      language.Request(chat(f'{i}'), settings={'temperature': 0.5}, sample=j)
      for i in range(10)
      for j in range(2)
    ]
    client = self.client(
      'failing(share=0.3)+echo', cache=language.Cache(self.folder)
    )
    first = language.run(client.ask_all(requests))
    self.server.num_requests = 0
    replay = self.client(
      'failing(share=0.3)+echo',
      # Nobody is there, and nobody is asked.
      base_url='http://127.0.0.1:9/v1',
      cache=language.Cache(self.folder, mode='replay_only'),
    )
    again = language.run(replay.ask_all(requests))
    self.assertEqual(self.server.num_requests, 0)
    plain = lambda r: r._replace(attempts=0, seconds=0.0, cached=True)
    self.assertEqual([*map(plain, again)], [*map(plain, first)])
    self.assertTrue(all(r.cached for r in again))
    with self.assertRaisesRegex(language.MissingReply, 'did not ask this'):
      language.run(replay.ask_all([*requests, language.Request(chat('new'))]))

  def test_a_run_that_is_stopped_goes_on_where_it_was(self):
    requests = [language.Request(chat(f'number {i}')) for i in range(60)]
    cache = language.Cache(self.folder)
    model = 'slow(delay=0.005)+echo'
    first = self.client(model, cache=cache, max_concurrency=4)

    async def stop():
      task = asyncio.create_task(first.ask_all(requests))
      while len(cache) < 20:
        await asyncio.sleep(0.001)
      task.cancel()
      await asyncio.wait([task])

    language.run(stop())
    kept = len(cache)
    self.assertBetween(kept, 20, 59)
    # As a new process would, on a server that hears nothing of the first.
    server = self.enterContext(loopback.serve())
    second = self.client(
      model, server.base_url, cache=language.Cache(self.folder)
    )
    replies = language.run(second.ask_all(requests))
    self.assertEqual(
      [r.text for r in replies], [f'number {i}' for i in range(60)]
    )
    self.assertEqual(server.num_requests, 60 - kept)
    self.assertEqual(sum(u.cached for u in second.usage), kept)

  def test_malformed_json_is_repaired_once(self):
    parse = language.json_contract({'answer': 'text'})

    async def ask(model):
      client = self.client(model)
      calls = [client.ask_for(chat(f'{i}'), parse) for i in range(30)]
      return await language.gather(calls)

    good = """fixed(text='{"answer": "yes"}')"""
    found = language.run(ask(f'malformed(every=3)+{good}'))
    self.assertEqual([p.value for p in found], [{'answer': 'yes'}] * 30)
    repaired = sum(p.repaired for p in found)
    self.assertEqual(repaired, self.server.counts['malformed'])
    self.assertBetween(repaired, 2, 20)
    self.assertEqual(self.server.num_requests, 30 + repaired)
    # Two replies at most.
    found = language.run(ask(f'malformed(every=1)+{good}'))
    self.assertEqual(
      [(p.value, len(p.replies)) for p in found], [(None, 2)] * 30
    )
    self.assertIn('no JSON object', found[0].error)

  def test_failures_are_asked_again_by_the_next_run(self):
    cache = language.Cache(self.folder)
    client = self.client('failing(first=1)+echo', cache=cache, max_attempts=1)
    kinds = [language.run(client.ask(CHAT)).kind for _ in range(3)]
    self.assertEqual(kinds, ['failed', 'ok', 'ok'])
    self.assertEqual(self.server.num_requests, 2)


if __name__ == '__main__':
  absltest.main()
