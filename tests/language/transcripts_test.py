# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import pickle
import tempfile
import threading
import traceback

from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import _secrets

KEY = 'sk-sentinel-4f1c9e'


def transcript(**changes):
  given = {
    'name': 'consensus-4',
    'chats': {'Ann': [{'role': 'user', 'content': f'<b>{KEY}</b>'}]},
    'answers': {'Ann': '1'},
    'score': 1.0,
    'info': {'rounds': 3},
  }
  return language.Transcript(**(given | changes))


class TranscriptTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def test_comes_back(self):
    path = language.write_transcript(self.folder, transcript())
    self.assertEqual(path.name, 'consensus-4.json')
    found = language.read_transcript(path)
    self.assertEqual(found.answers, {'Ann': '1'})
    self.assertEqual(found, transcript(sent=[], usage=[]))
    self.assertLen(list(self.folder.iterdir()), 1)

  def test_keys_are_in_no_file(self):
    _secrets.remember(KEY)
    path = language.write_transcript(self.folder, transcript())
    self.assertNotIn(KEY, path.read_text())
    self.assertIn('[redacted]', path.read_text())

  @parameterized.parameters('../x', 'a/b', '', '.hidden', 'a b', 'x' * 200, 3)
  def test_names_are_no_paths(self, name):
    with self.assertRaisesRegex(ValueError, 'name must be letters, digits'):
      transcript(name=name)

  def test_other_files_are_refused(self):
    path = self.folder / 'x.json'
    for text in ('{', '[]', '{"form": 2}', '{"form": 1}', '[' * 10**5):
      path.write_text(text)
      with self.assertRaisesRegex(ValueError, 'is no transcript'):
        language.read_transcript(path)

  def test_what_is_no_json_leaves_the_old_file(self):
    path = self.folder / 'x.json'
    language.write_json(path, {'a': 1})
    with self.assertRaises(ValueError):
      language.write_json(path, {'a': float('nan')})
    self.assertEqual(json.loads(path.read_text()), {'a': 1})


class SecretsTest(parameterized.TestCase):
  def test_keys_show_nowhere(self):
    secret = _secrets.Secret(KEY)
    self.assertNotIn(KEY, repr(secret))
    self.assertNotIn(KEY, f'{secret} {[secret]}')
    with self.assertRaisesRegex(TypeError, 'not written anywhere'):
      pickle.dumps(secret)
    try:
      _ = secret + 1
    except TypeError as error:
      self.assertNotIn(KEY, ''.join(traceback.format_exception(error)))

  @parameterized.parameters(
    ('', 'holds no key: set it'),
    ('two words', 'need printable ASCII'),
    ('schlüssel', 'need printable ASCII'),
  )
  def test_keys_of_the_environment(self, value, message):
    with (
      absltest.mock.patch.dict('os.environ', {'MY_KEY': value}),
      self.assertRaisesRegex(ValueError, message),
    ):
      _secrets.key_of('MY_KEY', needed=True)

  def test_own_servers_need_none(self):
    with absltest.mock.patch.dict('os.environ', {'MY_KEY': ''}):
      self.assertTrue(_secrets.key_of('MY_KEY', needed=False).reveal())


class RunTest(absltest.TestCase):
  def test_all_calls_share_a_loop(self):
    async def where():
      return threading.get_ident()

    self.assertEqual(language.run(where()), language.run(where()))
    self.assertNotEqual(language.run(where()), threading.get_ident())

  def test_raises_what_is_raised(self):
    async def fails():
      raise KeyError('x')

    with self.assertRaisesRegex(KeyError, 'x'):
      language.run(fails())

  def test_does_not_wait_for_itself(self):
    async def inner():
      return 1

    async def outer():
      return language.run(inner())

    with self.assertRaisesRegex(RuntimeError, 'called by what it runs'):
      language.run(outer())


if __name__ == '__main__':
  absltest.main()
