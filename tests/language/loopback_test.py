# SPDX-License-Identifier: Apache-2.0
"""The server of scripted models: what it speaks, and what goes wrong."""

import collections
import contextlib
import email.utils
import http.client
import importlib
import importlib.util
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from absl.testing import absltest, parameterized

from jaxdl.language import loopback
from jaxdl.language.loopback import __main__ as main_lib, _faults

ROOT = pathlib.Path(__file__).parents[2]
CHAT = [{'role': 'user', 'content': 'Is anybody there?'}]


def chat(text='Hello', turns=0):
  """A chat that has been answered so many times."""
  messages = [
    {'role': 'system', 'content': 'You are a node.'},
    {'role': 'user', 'content': text},
  ]
  for i in range(turns):
    messages += [
      {'role': 'assistant', 'content': f'reply {i}'},
      {'role': 'user', 'content': f'next {i}'},
    ]
  return loopback.Chat(messages, {})


def moment(text='Hello', turns=0, attempt=0, seed=0):
  return loopback.Moment(chat(text, turns), text.encode(), attempt, seed)


class Connection:
  """One connection to a server, kept."""

  def __init__(self, server):
    self.http = http.client.HTTPConnection('127.0.0.1', server.port, timeout=20)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.http.close()

  def send(self, method, path, body=None, headers=None):
    self.http.request(method, path, body, headers or {})
    response = self.http.getresponse()
    return response, response.read()

  def ask(self, model='echo', messages=CHAT, **settings):
    body = json.dumps({'model': model, 'messages': messages, **settings})
    response, found = self.send('POST', '/v1/chat/completions', body)
    return response, json.loads(found) if found else None


class ServerTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.server = loopback.serve(
      models={
        'settings': lambda chat: json.dumps(dict(chat.settings)),
        'broken': lambda chat: 1 / 0,
        'number': lambda chat: 7,
      },
      max_bytes=100_000,
    )
    cls.addClassCleanup(cls.server.close)

  def test_a_reply_has_all_that_clients_read(self):
    with Connection(self.server) as connection:
      response, found = connection.ask()
    self.assertEqual(response.status, 200)
    self.assertEqual(found['object'], 'chat.completion')
    self.assertEqual(found['model'], 'echo')
    self.assertEqual(found['system_fingerprint'], 'scripted')
    choice, *rest = found['choices']
    self.assertEqual(rest, [])
    self.assertEqual(
      choice,
      {
        'index': 0,
        'message': {'role': 'assistant', 'content': 'Is anybody there?'},
        'finish_reason': 'stop',
      },
    )
    # 17 characters, rounded up to fours.
    self.assertEqual(
      found['usage'],
      {'prompt_tokens': 5, 'completion_tokens': 5, 'total_tokens': 10},
    )

  def test_the_same_request_gets_the_same_bytes(self):
    body = json.dumps({'model': 'echo', 'messages': CHAT})
    with Connection(self.server) as connection:
      path = '/v1/chat/completions'
      first, second = (connection.send('POST', path, body)[1] for _ in range(2))
    self.assertEqual(first, second)

  def test_a_connection_is_kept(self):
    with Connection(self.server) as connection:
      connection.ask()
      kept = connection.http.sock
      connection.ask()
      self.assertIs(connection.http.sock, kept)

  def test_scripts_see_settings_and_unicode(self):
    with Connection(self.server) as connection:
      _, found = connection.ask('settings', temperature=0.5, seed=3)
      text = found['choices'][0]['message']['content']
      self.assertEqual(json.loads(text), {'temperature': 0.5, 'seed': 3})
      said = 'größer \u2028 \U0001f600 \x00 日本'
      _, found = connection.ask(messages=[{'role': 'user', 'content': said}])
      self.assertEqual(found['choices'][0]['message']['content'], said)

  def test_models_are_listed(self):
    with Connection(self.server) as connection:
      response, body = connection.send('GET', '/v1/models')
    self.assertEqual(response.status, 200)
    found = json.loads(body)
    names = [model['id'] for model in found['data']]
    self.assertLessEqual({'echo', 'lazy', 'settings'}, set(names))
    self.assertEqual({m['owned_by'] for m in found['data']}, {'scripted'})

  @parameterized.parameters(
    ('no JSON', 400, 'The body is no JSON.'),
    ('[' * 50_000, 400, 'The body is no JSON.'),
    ('[]', 400, 'no JSON object'),
    ('{"messages": []}', 400, 'model must be text'),
    ('{"model": "echo"}', 400, 'messages must be a list'),
    ('{"model": "echo", "messages": []}', 400, 'that is not empty'),
    ('{"model": "echo", "messages": ["x"]}', 400, 'a role and a content'),
    ('{"model": "echo", "messages": [{"role": "user"}]}', 400, 'content'),
  )
  def test_bad_requests_are_told_what_is_wrong(self, body, status, words):
    with Connection(self.server) as connection:
      response, found = connection.send('POST', '/v1/chat/completions', body)
      self.assertEqual(response.status, status)
      error = json.loads(found)['error']
      self.assertIn(words, error['message'])
      self.assertEqual(error['type'], 'invalid_request_error')
      # The connection is still good.
      self.assertEqual(connection.ask()[0].status, 200)

  @parameterized.parameters(
    ('ech', "'echo'"),
    ('echo(loud=True)', "no option 'loud'"),
    ('mean+echo', "'mean'"),
    ('slow(delay=-1)+echo', 'delay must lie in'),
    ('settings(script=3)', "settings has no option 'script'"),
    ('__import__("os").system("true")', 'is no part'),
    ('echo' * 5000, 'characters'),
  )
  def test_unknown_models_are_404(self, model, words):
    with Connection(self.server) as connection:
      response, found = connection.ask(model)
    self.assertEqual(response.status, 404)
    self.assertEqual(found['error']['code'], 'model_not_found')
    self.assertIn(words, found['error']['message'])

  @parameterized.parameters(
    ('stream', True), ('n', 2), ('stream', {'yes': 1}), ('n', [])
  )
  def test_what_it_cannot_do_is_refused(self, name, value):
    with Connection(self.server) as connection:
      response, found = connection.ask(**{name: value})
    self.assertEqual(response.status, 400)
    self.assertIn('Neither stream nor n > 1', found['error']['message'])

  @parameterized.parameters(('broken', 'ZeroDivisionError'), ('number', '7'))
  def test_scripts_that_fail_are_told_and_not_tried_again(self, model, words):
    with Connection(self.server) as connection:
      response, found = connection.ask(model)
    self.assertEqual(response.status, 422)
    self.assertIn(words, found['error']['message'])

  @parameterized.parameters(
    ('POST', '/v1/completions'), ('GET', '/'), ('GET', '/v1/models/../x')
  )
  def test_unknown_paths_are_404(self, method, path):
    with Connection(self.server) as connection:
      response, found = connection.send(method, path)
    self.assertEqual(response.status, 404)
    self.assertEqual(json.loads(found)['error']['code'], 'unknown_path')

  def test_large_requests_are_not_read(self):
    before = self.server.num_requests
    with Connection(self.server) as connection:
      response, found = connection.send(
        'POST', '/v1/chat/completions', None, {'Content-Length': '100001'}
      )
    self.assertEqual(response.status, 413)
    self.assertIn('100000 bytes', json.loads(found)['error']['message'])
    self.assertEqual(self.server.num_requests, before)

  @parameterized.parameters('', '-5', '1e3', '٣', '9' * 40)
  def test_lengths_that_are_none(self, length):
    head = f'POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {length}\r\n'
    with socket.create_connection(('127.0.0.1', self.server.port)) as sock:
      sock.settimeout(20)
      sock.sendall(head.encode() + b'\r\n')
      status = sock.recv(1000).split()[1]
    self.assertEqual(status, b'413' if length == '9' * 40 else b'411')

  def test_it_outlives_what_is_no_request(self):
    for data in (
      b'\x16\x03\x01\x02\x00\x01\x00',
      b'\r\n\r\n',
      b'POST /v1/chat/completions HTTP/9.9\r\n\r\n',
      b'GET ' + b'/' * 70_000 + b' HTTP/1.1\r\n\r\n',
      b'GET / HTTP/1.1\r\n' + b'A: b\r\n' * 200 + b'\r\n',
      b'POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"',
    ):
      with socket.create_connection(('127.0.0.1', self.server.port)) as sock:
        sock.sendall(data)
    with Connection(self.server) as connection:
      self.assertEqual(connection.ask()[0].status, 200)

  def test_it_is_reached_from_this_machine_alone(self):
    self.assertStartsWith(self.server.base_url, 'http://127.0.0.1:')
    self.assertEqual(self.server._http.socket.getsockname()[0], '127.0.0.1')

  @parameterized.parameters(
    ({'port': 70000}, 'port must be at most 65535'),
    ({'port': '80'}, 'port must be an integer'),
    ({'max_bytes': 0}, 'max_bytes must be at least 1'),
    ({'models': {'a+b': lambda chat: ''}}, "'a\\+b' is no name"),
  )
  def test_bad_arguments(self, options, words):
    with self.assertRaisesRegex((ValueError, TypeError), words):
      loopback.serve(**options)


class LifeTest(absltest.TestCase):
  def test_counts_and_leaves_no_threads(self):
    before = set(threading.enumerate())
    with loopback.serve() as server:
      with Connection(server) as connection:
        for model in ('echo', 'echo', 'failing(share=1.0)+echo', 'nobody'):
          connection.ask(model)
      # This one stays open when the server stops.
      left = Connection(server)
      left.ask()
    self.assertEqual(server.num_requests, 5)
    self.assertEqual(
      server.counts, {'answered': 3, 'failing': 1, 'model_not_found': 1}
    )
    self.assertEqual(set(threading.enumerate()), before)
    with self.assertRaises(OSError):
      left.ask()
    left.http.close()
    server.close()  # Again does no harm.

  def test_stops_while_an_answer_hangs(self):
    server = loopback.serve()
    gone = []

    def wait():
      with Connection(server) as connection:
        try:
          connection.ask('hanging(share=1.0, seconds=60.0)+echo')
        except OSError as error:
          gone.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not server.num_requests:
      time.sleep(0.001)
    begin = time.monotonic()
    server.close()
    thread.join()
    self.assertLess(time.monotonic() - begin, 10)
    self.assertLen(gone, 1)

  def test_most_at_once(self):
    gate = threading.Barrier(4, timeout=20)
    script = lambda chat: str(gate.wait() >= 0)
    with loopback.serve(models={'together': script}) as server:

      def ask():
        with Connection(server) as connection:
          connection.ask('together')

      threads = [threading.Thread(target=ask) for _ in range(4)]
      for thread in threads:
        thread.start()
      for thread in threads:
        thread.join()
    self.assertEqual(server.most_at_once, 4)

  def test_the_program_says_how_it_is_used_and_ends(self):
    process = subprocess.Popen(
      [sys.executable, '-m', 'jaxdl.language.loopback'],
      stdout=subprocess.PIPE,
      text=True,
      cwd=ROOT,
      env=os.environ | {'PYTHONPATH': str(ROOT)},
    )
    try:
      url = process.stdout.readline().split()[1]
      body = json.dumps({'model': 'echo', 'messages': CHAT}).encode()
      with urllib.request.urlopen(f'{url}/chat/completions', body) as reply:
        self.assertEqual(json.load(reply)['model'], 'echo')
      process.send_signal(signal.SIGINT)
      said = process.stdout.read()
      process.wait(timeout=20)
    finally:
      process.kill()
      process.stdout.close()
    self.assertIn('scripted', said)
    self.assertIn('Requests: 1.', said)
    self.assertEqual(process.returncode, 0)


class RegistryTest(absltest.TestCase):
  def test_no_two_scripts_have_one_name(self):
    rooms = ('agentsnet', 'goods', 'teams')
    found = ['echo', 'fixed', 'lazy']
    for room in rooms:
      name = f'jaxdl.language.{room}._scripted'
      found += importlib.import_module(name).SCRIPTS
    self.assertCountEqual(loopback.SCRIPTS, found)


class FaultsTest(parameterized.TestCase):
  def make(self, spec, **fields):
    return loopback.make_model(spec).respond(moment(**fields))

  @parameterized.parameters(
    'dropping',
    'error_body',
    'failing',
    'garbage',
    'hanging',
    'oversized',
    'rate_limited',
    'trickling',
    'wrong_type',
  )
  def test_strikes_the_share_it_says(self, name):
    model = loopback.make_model(
      'oversized(10, share=0.3)+echo'
      if name == 'oversized'
      else f'{name}(share=0.3)+echo'
    )
    counts = collections.Counter(
      model.respond(moment(f'chat {i}')).by for i in range(2000)
    )
    self.assertEqual(set(counts), {name, 'answered'})
    # Five standard deviations of a binomial.
    self.assertAlmostEqual(counts[name] / 2000, 0.3, delta=0.052)

  def test_tries_of_a_request_differ_and_seeds_do_too(self):
    spec = 'failing(share=0.5)+echo'
    tries = [self.make(spec, attempt=i).by for i in range(40)]
    self.assertLen(set(tries), 2)
    self.assertEqual(tries, [self.make(spec, attempt=i).by for i in range(40)])
    other = [self.make(spec, attempt=i, seed=1).by for i in range(40)]
    self.assertNotEqual(tries, other)

  def test_faults_of_a_chain_are_drawn_apart(self):
    spec = 'failing(share=0.5)+rate_limited(share=0.5)+echo'
    model = loopback.make_model(spec)
    counts = collections.Counter(
      model.respond(moment(f'{i}')).by for i in range(2000)
    )
    for name, share in (
      ('failing', 0.5),
      ('rate_limited', 0.25),
      ('answered', 0.25),
    ):
      self.assertAlmostEqual(counts[name] / 2000, share, delta=0.06)

  def test_first_tries(self):
    spec = 'rate_limited(first=2)+echo'
    self.assertEqual(
      [self.make(spec, attempt=i).status for i in range(4)],
      [429, 429, 200, 200],
    )

  def test_retry_after(self):
    self.assertEqual(self.make('rate_limited(share=1.0)+echo').headers, {})
    found = self.make('rate_limited(share=1.0, retry_after=0.25)+echo')
    self.assertEqual(found.headers, {'Retry-After': '0.25'})
    found = self.make('rate_limited(share=1.0, retry_after=90, date=True)+echo')
    then = email.utils.parsedate_to_datetime(found.headers['Retry-After'])
    self.assertAlmostEqual(then.timestamp() - time.time(), 90, delta=10)

  def test_every_third_reply_of_a_chat_is_malformed(self):
    for start in ('Ann', 'Bob', 'Eve', 'Dan'):
      broken = [
        self.make('malformed(every=3)+echo', text=start, turns=i).by
        == 'malformed'
        for i in range(9)
      ]
      self.assertEqual(sum(broken), 3)
      self.assertEqual(broken[:3] * 3, broken)

  def test_chats_start_at_different_places(self):
    model = loopback.make_model('malformed(every=3)+echo')
    counts = sum(
      model.respond(moment(f'{i}')).by == 'malformed' for i in range(900)
    )
    self.assertAlmostEqual(counts / 900, 1 / 3, delta=0.08)

  def test_malformed_replies_are_no_json(self):
    found = self.make('malformed(every=1)+fixed(text=\'{"a": 1}\')').text
    with self.assertRaises(ValueError):
      json.loads(found)

  def test_malformed_leaves_errors_alone(self):
    found = self.make('malformed(every=1)+failing(share=1.0)+echo')
    self.assertEqual((found.status, found.by), (500, 'failing'))

  def test_delays_add_up(self):
    found = self.make('slow(delay=0.25)+slow(delay=0.5)+echo')
    self.assertEqual(found.delay, 0.75)

  def test_garbage_and_wrong_types_are_all_met(self):
    kinds = {
      self.make('garbage(1.0)+echo', text=f'{i}').body for i in range(99)
    }
    self.assertEqual(kinds, set(_faults._GARBAGE))
    kinds = {
      self.make('wrong_type(1.0)+echo', text=f'{i}').body for i in range(99)
    }
    self.assertLen(kinds, len(_faults._WRONG))

  @parameterized.parameters(
    ('failing(share=1.5)+echo', r'share must lie in \[0.0, 1.0\]'),
    ('failing(status=200)+echo', 'status must be at least 400'),
    ('failing(first=-1)+echo', 'first must be at least 0'),
    ('malformed(every=0)+echo', 'every must be at least 1'),
    ('rate_limited(retry_after=-1)+echo', 'retry_after must lie in'),
    ('dropping(sent=most)+echo', "sent='most'"),
    ('oversized(num_bytes=-1)+echo', 'num_bytes must be at least 0'),
    ('hanging(seconds=-1)+echo', 'seconds must lie in'),
    ('trickling(pause=-1)+echo', 'pause must lie in'),
    ('hang(seconds=1)+echo', "Did you mean 'hanging'"),
    ('failing(shares=1)+echo', "no option 'shares'"),
    ('echo+failing', "'failing'"),
  )
  def test_bad_options(self, spec, words):
    with self.assertRaisesRegex(ValueError, words):
      loopback.make_model(spec)


class WireTest(parameterized.TestCase):
  """Faults as whoever asks meets them."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.server = loopback.serve()
    cls.addClassCleanup(cls.server.close)

  @parameterized.parameters(429, 500, 503, 401)
  def test_errors_have_a_status_and_a_body(self, status):
    with Connection(self.server) as connection:
      response, found = connection.ask(f'failing(1.0, status={status})+echo')
      self.assertEqual(response.status, status)
      self.assertIn(str(status), found['error']['message'])

  def test_drops(self):
    for spec, error in (
      ('dropping(1.0)+echo', http.client.RemoteDisconnected),
      ('dropping(1.0, sent=half)+echo', http.client.IncompleteRead),
    ):
      with Connection(self.server) as connection, self.assertRaises(error):
        connection.ask(spec)

  @parameterized.parameters(True, False)
  def test_oversized(self, told):
    with Connection(self.server) as connection:
      response, found = connection.ask(
        f'oversized(num_bytes=200000, told={told})+echo'
      )
    self.assertEqual(response.getheader('Content-Length') is not None, told)
    self.assertLen(found['choices'][0]['message']['content'], 200_000)

  def test_an_error_in_a_good_response(self):
    with Connection(self.server) as connection:
      response, found = connection.ask('error_body(1.0)+echo')
    self.assertEqual(response.status, 200)
    self.assertEqual(found['error']['code'], 'overloaded')

  def test_without_usage(self):
    with Connection(self.server) as connection:
      _, found = connection.ask('without_usage+echo')
    self.assertNotIn('usage', found)
    self.assertIn('choices', found)

  def test_trickles(self):
    with Connection(self.server) as connection:
      response, _ = connection.ask('trickling(1.0, pause=0.0)+echo')
    self.assertEqual(response.status, 200)

  def test_slow(self):
    with Connection(self.server) as connection:
      begin = time.monotonic()
      connection.ask('slow(delay=0.03)+echo')
      self.assertGreaterEqual(time.monotonic() - begin, 0.03)


class MainTest(absltest.TestCase):
  def refused(self, *args):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
      try:
        code = main_lib.main(args)
      except SystemExit as stop:
        code = stop.code
    self.assertEqual(code, 2)
    return said.getvalue()

  def test_says_in_a_sentence_why_it_cannot_serve(self):
    with loopback.serve() as server:
      said = self.refused(f'--port={server.port}')
    self.assertRegex(said, r'^loopback: --port=\d+: [^\n]* in use\.\n$')
    self.assertEqual(
      self.refused('--port=99999'),
      'loopback: --port must be at most 65535; got 99999.\n',
    )
    self.assertIn("invalid int value: 'x'", self.refused('--seed=x'))
    self.assertIn('unrecognized arguments: more', self.refused('more'))


if __name__ == '__main__':
  absltest.main()
