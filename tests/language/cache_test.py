# SPDX-License-Identifier: Apache-2.0
import json
import multiprocessing
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import _cache

REPLY = language.Reply(
  'yes\n"no"', prompt_tokens=3, completion_tokens=4, finish='stop'
)


def key(i):
  return f'{i:064x}'


def add(folder, start):
  cache = language.Cache(folder)
  for i in range(start, start + 50):
    cache.put(key(i), REPLY._replace(text=str(i) * 300))


class CacheTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.file = self.folder / 'replies.jsonl'

  def test_answers_come_back(self):
    cache = language.Cache(self.folder)
    self.assertIsNone(cache.get(key(1)))
    cache.put(key(1), REPLY, '{"messages":[]}')
    for found in (cache, language.Cache(self.folder, 'replay_only')):
      self.assertEqual(found.get(key(1)), REPLY._replace(cached=True))
      self.assertLen(found, 1)
    self.assertEqual(
      json.loads(self.file.read_text())['question'], {'messages': []}
    )

  def test_a_program_ends_in_silence(self):
    # Where modules go before what they have made.
    cache = language.Cache(self.folder)
    with mock.patch.object(_cache, 'os', None):
      cache.__del__()
    self.assertFalse(cache.on)

  def test_lines_of_others_are_passed_over(self):
    lines = ('{"key": "00"}', json.dumps({'key': key(1)}), '[]', 'null')
    self.file.write_text('\n'.join(lines) + '\n')
    cache = language.Cache(self.folder)
    self.assertIsNone(cache.get(key(1)))
    cache.put(key(1), REPLY)
    self.assertEqual(cache.get(key(1)).text, REPLY.text)

  def test_a_folder_that_is_none_is_named(self):
    self.file.write_text('')
    with self.assertRaisesRegex(ValueError, 'cannot keep replies: File exists'):
      language.Cache(self.file)

  def test_failures_are_not_kept(self):
    cache = language.Cache(self.folder)
    cache.put(key(1), language.Reply(None, 'failed', 'no'))
    self.assertIsNone(cache.get(key(1)))

  def test_the_first_answer_stays(self):
    cache = language.Cache(self.folder)
    cache.put(key(1), REPLY)
    cache.put(key(1), REPLY._replace(text='other'))
    self.assertEqual(cache.get(key(1)).text, REPLY.text)
    self.assertEqual(language.Cache(self.folder).get(key(1)).text, REPLY.text)

  @parameterized.parameters(1, 20, 60)
  def test_a_line_that_a_kill_has_cut_is_lost_alone(self, missing):
    cache = language.Cache(self.folder)
    cache.put(key(1), REPLY)
    cache.put(key(2), REPLY)
    cache.close()
    self.file.write_bytes(self.file.read_bytes()[:-missing])
    cache = language.Cache(self.folder)
    self.assertIsNotNone(cache.get(key(1)))
    self.assertIsNone(cache.get(key(2)))
    cache.put(key(3), REPLY)
    again = language.Cache(self.folder)
    self.assertIsNotNone(again.get(key(1)))
    self.assertIsNotNone(again.get(key(3)))

  def test_processes_share_a_file(self):
    context = multiprocessing.get_context('spawn')
    cache = language.Cache(self.folder)
    cache.put(key(0), REPLY)
    workers = [
      context.Process(target=add, args=(self.folder, s)) for s in (100, 200)
    ]
    for worker in workers:
      worker.start()
    for worker in workers:
      worker.join()
    for i in (100, 149, 200, 249):
      self.assertEqual(cache.get(key(i)).text, str(i) * 300)
    self.assertLen(cache, 101)

  def test_what_is_off_keeps_nothing(self):
    cache = language.Cache(self.folder, 'off')
    cache.put(key(1), REPLY)
    self.assertIsNone(cache.get(key(1)))
    self.assertFalse(self.file.exists())

  def test_nothing_to_replay(self):
    with self.assertRaisesRegex(ValueError, 'replay_only has nothing to'):
      language.Cache(self.folder, 'replay_only')
    with self.assertRaisesRegex(ValueError, "mode='on' is unknown"):
      language.Cache(self.folder, 'on')

  def test_replays_write_nothing(self):
    language.Cache(self.folder).put(key(1), REPLY)
    language.Cache(self.folder, 'replay_only').put(key(2), REPLY)
    self.assertLen(language.Cache(self.folder), 1)


if __name__ == '__main__':
  absltest.main()
