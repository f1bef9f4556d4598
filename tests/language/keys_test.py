# SPDX-License-Identifier: Apache-2.0
"""Keys of endpoints are in no file, log, message or traceback."""

import asyncio
import json
import logging
import os
import pathlib
import tempfile
import threading
import traceback
from unittest import mock

import endpoints
from absl.testing import absltest, parameterized

from jaxdl import language

KEY = 'sk-sentinel-9d41c0ffee'
CHAT = [{'role': 'user', 'content': 'Is anybody there?'}]


class KeyTest(parameterized.TestCase):
  """A key goes to its endpoint and nowhere else."""

  def setUp(self):
    super().setUp()
    self.enterContext(
      mock.patch.dict(
        os.environ, {'JAXDL_TEST_KEY': KEY, 'OPENAI_LOG': 'debug'}
      )
    )
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.said = []
    handler = logging.Handler(level=logging.DEBUG)
    handler.emit = lambda record: self.said.append(
      logging.Formatter().format(record)
    )
    root = logging.getLogger()
    for name in (
      '',
      'openai',
      'httpx',
      'httpx2',
      'httpcore',
      'asyncio',
      'absl',
    ):
      logger = logging.getLogger(name)
      self.addCleanup(logger.setLevel, logger.level)
      logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    self.addCleanup(root.removeHandler, handler)

  def client(self, server, **options):
    endpoint = language.Endpoint('x', server.base_url, 'JAXDL_TEST_KEY')
    options = {'backoff': 0.0005, 'max_attempts': 2, 'timeout': 5.0, **options}
    client = language.Client(endpoint, **options)
    self.addCleanup(lambda: language.run(client.aclose()))
    return client

  def check(self, *texts):
    for text in texts:
      self.assertNotIn(KEY, text)
      self.assertNotIn(KEY[3:], text)
    for path in self.folder.rglob('*'):
      if path.is_file():
        self.assertNotIn(KEY.encode(), path.read_bytes(), str(path))
    self.assertNotIn(KEY, '\n'.join(self.said))

  @parameterized.parameters(
    '200 OK', '401 Unauthorized', '400 Bad Request', '500 Oops', '429 Wait'
  )
  def test_an_endpoint_that_says_it_back(self, status):
    def answer(send, request):
      text = request.decode('latin-1')
      if status[0] == '2':
        send(endpoints.whole(endpoints.completion(text)))
      else:
        body = {'error': {'message': text, 'code': text, 'type': text}}
        send(
          endpoints.whole(json.dumps(body).encode(), status, X_Request_Id=KEY)
        )

    with endpoints.RawServer(answer) as server:
      client = self.client(server, cache=language.Cache(self.folder / 'cache'))
      reply = language.run(client.ask(CHAT))
      language.run(client.aclose())
      # It did get the key.
      self.assertIn(f'Bearer {KEY}'.encode(), server.requests[0])
    self.assertEqual(reply.kind, 'ok' if status[0] == '2' else 'failed')
    self.assertNotEmpty(self.said)
    run = language.Transcript(
      name='x',
      chats={
        'Ann': [*CHAT, {'role': 'assistant', 'content': reply.text or KEY}]
      },
      info={'error': reply.error, 'key': KEY},
    )
    language.write_transcript(self.folder, run)
    language.write_text(self.folder / 'x.html', language.viewer(run))
    self.check(repr(reply), repr(client.usage), repr(client), str(vars(client)))

  def test_another_host_gets_nothing(self):
    there = endpoints.RawServer(
      lambda send, request: send(endpoints.whole(endpoints.completion('hi')))
    )
    with there:
      target = f'http://localhost:{there.port}/v1/chat/completions'
      moved = endpoints.whole(b'', '307 Temporary Redirect', Location=target)
      with endpoints.RawServer(lambda send, request: send(moved)) as server:
        client = self.client(server)
        reply = language.run(client.ask(CHAT))
        language.run(client.aclose())
    self.assertEmpty(there.requests)
    self.assertEqual((reply.kind, reply.attempts), ('failed', 1))
    self.assertIn('status 307', reply.error)
    self.check(repr(reply))

  def test_no_traceback_shows_it(self):
    errors, ended = [], threading.Event()
    with endpoints.RawServer(lambda send, request: ended.wait(20)) as server:
      client = self.client(server, cache=language.Cache(self.folder))

      async def cut():
        task = asyncio.create_task(client.ask(CHAT))
        while not server.requests:
          await asyncio.sleep(0.001)
        task.cancel()
        try:
          await task
        finally:
          ended.set()

      async def not_awaited():
        await client.ask(CHAT, settings={'temperature': {1}})

      async def wrong():
        await client.ask([{'role': 'user', 'content': 3}])

      for call in (cut, not_awaited, wrong):
        try:
          language.run(call())
        except (Exception, asyncio.CancelledError) as error:
          errors.append(error)
      language.run(client.aclose())
    self.assertLen(errors, 3)
    for error in errors:
      found = traceback.TracebackException.from_exception(
        error, capture_locals=True
      )
      self.check(''.join(found.format(chain=True)), repr(error))

  @parameterized.parameters(f'{KEY} x', f'{KEY}\n\x07', f'{KEY}é')
  def test_a_key_that_cannot_be_sent_is_not_shown(self, value):
    with mock.patch.dict(os.environ, {'JAXDL_TEST_KEY': value}):
      endpoint = language.Endpoint('x', None, 'JAXDL_TEST_KEY')
      with self.assertRaisesRegex(ValueError, 'JAXDL_TEST_KEY') as caught:
        language.Client(endpoint)
    self.assertNotIn(KEY, str(caught.exception))

  def test_a_missing_key_names_the_variable(self):
    with mock.patch.dict(os.environ):
      del os.environ['JAXDL_TEST_KEY']
      with self.assertRaisesRegex(ValueError, 'variable JAXDL_TEST_KEY holds'):
        language.Client(language.Endpoint('x', None, 'JAXDL_TEST_KEY'))


if __name__ == '__main__':
  absltest.main()
