# SPDX-License-Identifier: Apache-2.0
import asyncio
import os
import pathlib
import tempfile
import threading

from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import loopback


def shout(chat):
  return chat.messages[-1]['content'].upper()


def settle(chat):
  """Speaks JSON once it was asked twice."""
  return '{"n": 3}' if len(chat.messages) > 1 else 'three'


MODELS = {
  'shout': lambda: shout,
  'settle': lambda: settle,
  'tell': lambda: lambda chat: repr(sorted(chat.settings.items())),
}


def ask(text='hi', **options):
  return language.Request([{'role': 'user', 'content': text}], **options)


class ClientTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scripts = {name: make() for name, make in MODELS.items()}
    barrier = threading.Barrier(3, timeout=20)

    def meet(chat):
      barrier.wait()
      return 'all three are here'

    scripts['meet'] = meet
    self.server = self.enterContext(loopback.serve(models=scripts))
    self.folder = self.enterContext(tempfile.TemporaryDirectory())

  def client(self, model='echo', **options):
    if isinstance(model, dict):
      ends = {role: self.end(name) for role, name in model.items()}
    else:
      ends = self.end(model)
    return language.Client(ends, backoff=0.001, **options)

  def cache(self, mode='read_write'):
    return language.Cache(self.folder, mode)

  def end(self, model):
    return language.Endpoint(model, base_url=self.server.base_url)

  def test_answers_are_in_the_order_of_questions(self):
    client = self.client()
    texts = [f'question {i}' for i in range(100)]
    found = language.run(client.ask_all([ask(t) for t in texts]))
    self.assertEqual([r.text for r in found], texts)
    self.assertEqual({(r.kind, r.attempts) for r in found}, {('ok', 1)})
    self.assertEqual(self.server.num_requests, 100)
    self.assertTrue(client.scripted)

  def test_so_many_at_a_time(self):
    client = self.client('meet', max_concurrency=3)
    found = language.run(client.ask_all([ask(str(i)) for i in range(12)]))
    self.assertEqual({r.text for r in found}, {'all three are here'})
    self.assertEqual(self.server.most_at_once, 3)

  def test_roles_have_models_of_their_own(self):
    client = self.client({'worker': 'echo', 'critic': 'shout'})
    found = language.run(
      client.ask_all([ask(role='worker'), ask(role='critic')])
    )
    self.assertEqual([r.text for r in found], ['hi', 'HI'])
    self.assertEqual([row.model for row in client.usage], ['shout', 'echo'])
    with self.assertRaisesRegex(ValueError, "role='judge' is unknown"):
      language.run(client.ask_all([ask(), ask(role='judge')]))
    self.assertEqual(self.server.num_requests, 2)

  def test_settings_are_sent_whether_the_protocol_knows_them_or_not(self):
    settings = {'temperature': 0.5, 'max_tokens': 7, 'top_k': 20, 'seed': 1}
    found = language.run(
      self.client('tell').ask(ask().messages, settings=settings)
    )
    self.assertEqual(found.text, repr(sorted(settings.items())))

  def test_what_is_known_is_not_asked_again(self):
    cache = language.Cache(self.folder)
    client = self.client(cache=cache)
    first = language.run(client.ask_all([ask('a'), ask('b'), ask('a')]))
    self.assertEqual(self.server.num_requests, 2)
    again = self.client(cache=language.Cache(self.folder, 'replay_only'))
    found = language.run(again.ask_all([ask('a'), ask('b')]))
    self.assertEqual(self.server.num_requests, 2)
    self.assertEqual([r.text for r in found], [r.text for r in first[:2]])
    self.assertTrue(all(r.cached and r.scripted for r in found))
    self.assertEqual(again.ledger.total.tokens, 0)
    self.assertGreater(again.ledger.total.saved_tokens, 0)
    for other in (ask('c'), ask('a', sample=1)):
      with self.assertRaisesRegex(language.MissingReply, 'did not ask this'):
        language.run(again.ask_all([other]))
    with self.assertRaises(language.MissingReply):
      language.run(again.ask(ask('a').messages, settings={'seed': 1}))
    self.assertEqual(self.server.num_requests, 2)

  def test_samples_are_questions_of_their_own(self):
    client = self.client(cache=language.Cache(self.folder))
    language.run(client.ask_all([ask(sample=i) for i in range(3)]))
    self.assertEqual(self.server.num_requests, 3)

  def test_one_repair(self):
    parse = language.json_contract({'n': int})
    for model, value, count in (
      ('settle', {'n': 3}, 2),
      ('echo', None, 2),
    ):
      found = language.run(self.client(model).ask_for(ask().messages, parse))
      self.assertEqual(found.value, value)
      self.assertLen(found.replies, count)
      self.assertEqual(found.repaired, value is not None)
    self.assertIn('no JSON object', found.error)
    # The second question quotes what was wrong.
    self.assertIn('There is no JSON object', found.reply.text)

  def test_no_repair_where_none_is_needed(self):
    found = language.run(
      self.client().ask_for(ask('{"n": 1}').messages, lambda text: text)
    )
    self.assertEqual((found.value, found.repaired), ('{"n": 1}', False))
    self.assertEqual(self.server.num_requests, 1)

  @parameterized.parameters(1, 8)
  def test_the_budget_is_not_passed(self, max_concurrency):
    # Each question holds 1 + 4 + 20 tokens back and takes 1 + 1.
    client = self.client(budget_tokens=60, max_concurrency=max_concurrency)
    asked = [ask('hey!', settings={'max_tokens': 20}) for _ in range(40)]
    found = language.run(client.ask_all(asked))
    kinds = [r.kind for r in found]
    self.assertEqual(set(kinds), {'ok', 'budget'})
    # The last one that fits leaves less than 25 of the 60.
    self.assertEqual(kinds.count('ok'), 18)
    self.assertEqual(client.ledger.total.tokens, 36)
    self.assertEqual(self.server.num_requests, 18)

  @parameterized.parameters(1, 8)
  def test_a_budget_ends_where_it_did_when_a_run_is_resumed(self, at_once):
    limits = {'budget_tokens': 60, 'max_concurrency': at_once}
    asked = [ask(f'{i:04}', settings={'max_tokens': 20}) for i in range(30)]
    # A kill has left the last of these questions without an answer.
    language.run(self.client(cache=self.cache()).ask_all(asked[:9]))
    kept = self.client(cache=self.cache(), **limits)
    first = language.run(kept.ask_all(asked[10:] + asked[:10]))
    kinds = [r.kind for r in first]
    self.assertEqual(kinds.count('ok'), 18)
    self.assertEqual(self.server.num_requests, 18)
    for mode in ('read_write', 'replay_only'):
      again = self.client(cache=self.cache(mode), **limits)
      found = language.run(again.ask_all(asked[10:] + asked[:10]))
      self.assertEqual([r.kind for r in found], kinds)
      self.assertEqual(again.ledger.total.tokens, 0)
    self.assertEqual(self.server.num_requests, 18)
    # What there was room for must be known.
    with self.assertRaises(language.MissingReply):
      language.run(again.ask(ask('new').messages, settings={'max_tokens': 1}))

  def test_a_client_serves_several_loops(self):
    client = self.client()
    for _ in range(2):
      found = asyncio.run(client.ask(ask().messages))
      self.assertEqual(found.text, 'hi')
    self.assertEqual(language.run(client.ask(ask().messages)).text, 'hi')
    language.run(client.aclose())
    self.assertEqual(language.run(client.ask(ask().messages)).text, 'hi')

  def test_a_canceled_question_leaves_the_others(self):
    client = self.client(
      'slow(delay=0.05)+echo', cache=language.Cache(self.folder)
    )

    async def both():
      first = asyncio.create_task(client.ask(ask().messages))
      await asyncio.sleep(0.01)
      second = asyncio.create_task(client.ask(ask().messages))
      await asyncio.sleep(0.005)
      first.cancel()
      return (await second).text

    self.assertEqual(language.run(both()), 'hi')


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'model': ''}, ValueError, 'model must be a name'),
    ({'base_url': 'localhost:80'}, ValueError, 'base_url must be an address'),
    ({'base_url': 'ftp://x/v1'}, ValueError, 'base_url must be an address'),
    ({'base_url': 'http://x:a/v1'}, ValueError, 'base_url must be an address'),
    ({'base_url': 'http://u:p@x/v1'}, ValueError, 'must not carry a user'),
    ({'base_url': 3}, TypeError, 'base_url must be text'),
  )
  def test_endpoints(self, options, kind, message):
    with self.assertRaisesRegex(kind, message):
      language.Endpoint(**({'model': 'm'} | options))

  @parameterized.parameters(
    ({'max_concurrency': 0}, ValueError, 'max_concurrency must be at least 1'),
    ({'max_attempts': 0}, ValueError, 'max_attempts must be at least 1'),
    ({'timeout': 0.0}, ValueError, 'timeout must'),
    ({'backoff': -1.0}, ValueError, 'backoff must'),
    ({'budget_tokens': 0}, ValueError, 'budget_tokens must be at least 1'),
    ({'cache': 'folder'}, TypeError, 'cache must be a Cache'),
    ({'endpoints': {}}, TypeError, 'endpoints must be an Endpoint'),
    ({'endpoints': {'a': 'm'}}, TypeError, r"endpoints\['a'\] must be an End"),
  )
  def test_clients(self, options, kind, message):
    end = language.Endpoint('m', base_url='http://localhost:1/v1')
    with self.assertRaisesRegex(kind, message):
      language.Client(**({'endpoints': end} | options))

  def test_a_key_is_needed_elsewhere(self):
    clean = {k: v for k, v in os.environ.items() if k != 'OPENAI_API_KEY'}
    with (
      absltest.mock.patch.dict(os.environ, clean, clear=True),
      self.assertRaisesRegex(ValueError, 'OPENAI_API_KEY holds no key'),
    ):
      language.Client(language.Endpoint('m'))

  def test_replays_need_no_key(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'replies.jsonl'
      path.touch()
      clean = {k: v for k, v in os.environ.items() if k != 'OPENAI_API_KEY'}
      with absltest.mock.patch.dict(os.environ, clean, clear=True):
        language.Client(
          language.Endpoint('m'), cache=language.Cache(folder, 'replay_only')
        )


if __name__ == '__main__':
  absltest.main()
