# SPDX-License-Identifier: Apache-2.0
"""Questions: that their answers are right, and what files may hold."""

import json
import pathlib
import re
import tempfile

from absl.testing import absltest, parameterized

from jaxdl.language import goods


def by_hand(question):
  """Another reader of the stories: sentence by sentence."""
  value = None
  for sentence in question.split('. '):
    numbers = [int(x) for x in re.findall(r'\d+', sentence)]
    if not numbers:
      continue
    (x,) = numbers
    if value is None:
      value = x
    elif 'more' in sentence:
      value += x
    elif 'away' in sentence or 'lost' in sentence:
      value -= x
    elif 'times' in sentence:
      value *= x
    elif 'equal parts' in sentence:
      assert value % x == 0
      value //= x
    else:
      raise AssertionError(sentence)
    assert value >= 0
  return value


class ArithmeticTest(parameterized.TestCase):
  @parameterized.parameters(1, 3, 8)
  def test_answers_are_right(self, num_steps):
    tasks = goods.arithmetic_tasks(200, num_steps=num_steps)
    self.assertLen({t.question for t in tasks}, 200)
    for task in tasks:
      self.assertEqual(task.answer, str(by_hand(task.question)))
      self.assertEqual(str(goods.solve_arithmetic(task.question)), task.answer)
      goods.check_task(task)

  def test_the_same_for_a_seed(self):
    same = goods.arithmetic_tasks(5, seed=3)
    self.assertEqual(same, goods.arithmetic_tasks(9, seed=3)[:5])
    self.assertNotEqual(same, goods.arithmetic_tasks(5, seed=4))

  def test_every_kind_of_step_occurs(self):
    text = ' '.join(t.question for t in goods.arithmetic_tasks(100))
    for word in ('more', 'away', 'lost', 'times', 'equal parts'):
      self.assertIn(word, text)

  def test_a_story_that_was_tampered_with(self):
    self.assertIsNone(
      goods.solve_arithmetic('Ada has 4 books. Ada keeps one of 0 equal parts.')
    )

  @parameterized.parameters(
    ({'num_tasks': 0}, 'num_tasks must be at least 1; got 0'),
    ({'num_steps': 0}, 'num_steps must be at least 1'),
    ({'largest': 1}, 'largest must be at least 2'),
    (
      {'num_tasks': 99999, 'num_steps': 1, 'largest': 2},
      'num_tasks=99999 different tasks do not exist',
    ),
  )
  def test_bad_numbers(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.arithmetic_tasks(**options)


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enterContext(tempfile.TemporaryDirectory())
    self.path = pathlib.Path(folder) / 'tasks.jsonl'

  def write(self, *rows):
    lines = [r if isinstance(r, str) else json.dumps(r) for r in rows]
    self.path.write_text('\n'.join(lines) + '\n', 'utf-8')
    return self.path

  def test_every_form(self):
    found = goods.read_tasks(
      self.write(
        {'question': 'GSM?', 'answer': '2 + 2 <<2+2=4>>\n#### 1,004'},
        '',
        {'question': 'Plain?', 'answer': -3.0},
        {'question': 'Which?', 'choices': ['a', 'b'], 'answer': 1},
        {'question': 'Which?', 'choices': ['x', 'y'], 'answer': 'A'},
        {'question': 'Which?', 'choices': ['x', 'y'], 'answer': 'y'},
        {'question': 'Who, \u2028?', 'answer': 'Ada'},
        {'question': 'Summarize.'},
      )
    )
    self.assertEqual(
      [(t.answer, t.kind) for t in found],
      [
        ('1004', 'number'),
        ('-3', 'number'),
        *(('B', 'choice'), ('A', 'choice'), ('B', 'choice')),
        *(('Ada', 'text'), ('', 'text')),
      ],
    )
    spec = f'file(path="{self.path}", num_tasks=2)'
    self.assertEqual(goods.TASKS.make(spec), found[:2])

  @parameterized.parameters(
    (['{"question": "a?", "answer": 1}', '{'], 'line 2 of .* is no JSON'),
    (['[1]'], 'line 1 of .* must be an object'),
    ([{'question': 3, 'answer': 1}], 'must be an object with a text'),
    ([{'question': 'a?', 'answer': [1]}], 'no number and no text'),
    ([{'question': 'a?', 'answer': '#### x'}], 'no number behind ####'),
    ([{'question': ' ', 'answer': 1}], 'question is empty'),
    (['{"question": "a?", "answer": NaN}'], 'not finite'),
    (
      [{'question': 'a?', 'choices': ['x'], 'answer': 0}],
      'must have 2 to 26 choices; got 1',
    ),
    (
      [{'question': 'a?', 'choices': ['x', 'y'], 'answer': 2}],
      'has the answer 2 of 2 choices',
    ),
    (
      [{'question': 'a?', 'choices': ['x', 'y'], 'answer': 'z'}],
      'none of its choices',
    ),
    ([{'question': 'a?', 'choices': 'xy', 'answer': 0}], 'no list of texts'),
    ([{'question': 'a' * 60_000, 'answer': 1}], 'at most 50000 characters'),
    (['[' * 100_000], 'line 1 of .* is no JSON'),
    ([''], 'has no question'),
  )
  def test_what_is_wrong_is_told_with_its_line(self, rows, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.read_tasks(self.write(*rows))

  def test_no_file(self):
    with self.assertRaisesRegex(ValueError, 'cannot be read'):
      goods.read_tasks(self.path)
    self.path.write_bytes(b'\xff\xfe')
    with self.assertRaisesRegex(ValueError, 'cannot be read'):
      goods.read_tasks(self.path)

  def test_more_than_there_are(self):
    self.write({'question': 'a?', 'answer': 1})
    with self.assertRaisesRegex(ValueError, 'num_tasks=2 is more than the 1'):
      goods.TASKS.make(f'file("{self.path}", 2)')

  def test_split(self):
    tasks = goods.arithmetic_tasks(6)
    train, test = goods.split_tasks(tasks, 2)
    self.assertEqual(train + test, tasks)
    with self.assertRaisesRegex(ValueError, 'num_test=6 of 6 tasks leaves'):
      goods.split_tasks(tasks, 6)
    with self.assertRaisesRegex(TypeError, r'tasks\[0\] must be a goods.Task'):
      goods.split_tasks([('q', 'a'), tasks[0]], 1)
    with self.assertRaisesRegex(ValueError, "'12.0': a number is written '12'"):
      goods.check_task(goods.Task('a?', '12.0'))
    with self.assertRaisesRegex(ValueError, 'which is no number'):
      goods.check_task(goods.Task('a?', 'twelve'))
    with self.assertRaisesRegex(ValueError, "task.kind='code' is unknown"):
      goods.check_task(goods.Task('a?', 'x', 'code'))


if __name__ == '__main__':
  absltest.main()
