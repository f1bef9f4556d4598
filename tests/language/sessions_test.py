# SPDX-License-Identifier: Apache-2.0
"""The client of a run, with what it needs."""

import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import loopback

HELLO = [{'role': 'user', 'content': 'Hello'}]


def ask(session, **options):
  reply = language.run(session.client.ask(HELLO, **options))
  language.run(session.client.aclose())
  return reply


class SessionTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def test_a_server_of_its_own_and_what_was_spent(self):
    models = language.role_models(['a', 'b'], ['echo', 'fixed(text="hi")'])
    session = language.Session(models, directory=self.folder)
    self.assertTrue(session.scripted)
    self.assertEqual([ask(session, role=r).text for r in 'ab'], ['Hello', 'hi'])
    session.close()
    told = json.loads((self.folder / 'usage.json').read_text())
    self.assertTrue(told['scripted'])
    self.assertEqual(
      [(u['role'], u['calls'], u['cached']) for u in told['usage']],
      [('a', 1, 0), ('b', 1, 0)],
    )
    # Opened again it knows the answers, also without any server.
    for mode in ('read_write', 'replay_only'):
      session = language.Session(models, directory=self.folder, cache_mode=mode)
      self.assertTrue(ask(session, role='a').cached)
      session.close()
      session.close()

  def test_models_with_addresses_of_their_own(self):
    with loopback.serve() as server:
      models = language.role_models(
        ['a', 'b', 'c'], ['echo', f'lazy@{server.base_url}']
      )
      self.assertEqual(models['c'], ('echo', None))
      session = language.Session(models, base_url=server.base_url)
      self.assertFalse(session.scripted)
      found = [ask(session, role=r) for r in 'abc']
      session.close()
      self.assertEqual([r.text for r in found], ['Hello', '{}', 'Hello'])
      self.assertEqual(server.num_requests, 3)
      # Whoever serves them, they are scripted and say so.
      self.assertTrue(found[0].scripted)

  @parameterized.parameters(
    ({'models': {'a': ('gpt', None)}}, "'gpt'.* is unknown"),
    (
      {'models': {'a': ('gpt', None)}, 'base_url': 'example.org'},
      'base_url must be an address',
    ),
    ({'cache_mode': 'replay'}, "cache_mode='replay' is unknown"),
  )
  def test_what_is_wrong_is_told_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      language.Session(**{'models': {'a': ('echo', None)}} | options)

  def test_nothing_to_replay(self):
    models = {'a': ('echo', None)}
    session = language.Session(models, cache_mode='replay_only')
    with self.assertRaisesRegex(ValueError, 'replay_only needs a folder'):
      _ = session.client

  def test_no_models(self):
    with self.assertRaisesRegex(ValueError, 'models is empty'):
      language.role_models(['a'], [])
    with self.assertRaisesRegex(ValueError, 'which names no model'):
      language.role_models(['a'], ['@http://localhost:1/v1'])


if __name__ == '__main__':
  absltest.main()
