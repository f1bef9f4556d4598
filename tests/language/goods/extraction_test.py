# SPDX-License-Identifier: Apache-2.0
"""The answer of a text."""

import time

from absl.testing import absltest, parameterized

from jaxdl.language import goods


class NumbersTest(parameterized.TestCase):
  @parameterized.parameters(
    ('The answer is 1,234.', '1234'),
    ('The answer is -5', '-5'),
    ('So the answer is: $-5.', '-5'),
    ('the answer is -$5', '-5'),
    ('THE ANSWER IS **$1,200.50**', '1200.5'),
    ('The answer is \u22123.', '-3'),
    ('The answer is 12.0', '12'),
    ('The answer is x = 007.', '7'),
    ('The answer is 1e3', '1000'),
    ('The answer is .5', '0.5'),
    ('The answer is -0.0', '0'),
    # The last one counts, before everything else.
    ('The answer is 3. Wait. The answer is 4. #### 9, or 11', '4'),
    ('6 times 7 #### 42', '42'),
    ('#### -7', '-7'),
    (r'Hence \boxed{12}, of 30.', '12'),
    ('My answer: 8 (of 9)', '8'),
    # Words between do not stop the search.
    ('The answer is unclear. Perhaps 5 or 6', '6'),
    ('from 9 to 3-5', '5'),
    ('10 - 4', '4'),
    ('It is -4 degrees', '-4'),
    ('1, 2, 3', '3'),
    ('v1.2.3 of the text', None),
    ('I do not know', None),
    ('', None),
    ('The answer is NaN', None),
  )
  def test_found(self, text, want):
    self.assertEqual(goods.extract_number(text), want)

  def test_an_absurd_number_is_none(self):
    self.assertIsNone(goods.plain_number('1e999'))
    self.assertIsNone(goods.plain_number('9' * 201))
    self.assertIsNone(goods.plain_number('inf'))

  @parameterized.parameters(
    '9' * 400_000,
    '1,' * 200_000,
    'the answer is ' * 30_000,
    '#### $' * 60_000,
    '-' * 400_000,
    'the answer is' + ' ' * 400_000,
    '\\boxed{' * 50_000,
  )
  def test_hostile_texts_take_no_time(self, text):
    begin = time.process_time()
    goods.extract_number(text)
    goods.extract_choice(text, ('a', 'b'))
    self.assertLess(time.process_time() - begin, 2.0)

  def test_only_the_end_of_a_long_text_is_read(self):
    self.assertIsNone(goods.extract_number('The answer is 5.' + ' ' * 30_000))


class ChoicesTest(parameterized.TestCase):
  @parameterized.parameters(
    ('The answer is (B).', 'B'),
    ('the answer is C', 'C'),
    ('The answer is a matter of taste: (A)', 'A'),
    ('#### D', None),
    ('Not A.\n**B**\n', 'B'),
    ('Between (A) and (C)', 'C'),
    ('That was a dog.', 'B'),
    ('A dog or a cat.', None),
    ('Nothing', None),
  )
  def test_found(self, text, want):
    choices = ('cat', 'dog', 'cow')
    self.assertEqual(goods.extract_choice(text, choices), want)


class AnswersTest(parameterized.TestCase):
  def test_by_kind(self):
    number = goods.Task('How many?', '4')
    choice = goods.Task('Which?', 'A', 'choice', ('one', 'two'))
    text = goods.Task('Who?', 'Ada', 'text')
    said = 'The answer is A, that is 4.'
    self.assertEqual(goods.answer_of(number, said), '4')
    self.assertEqual(goods.answer_of(choice, said), 'A')
    self.assertEqual(goods.answer_of(text, said), 'A, that is 4')
    self.assertIsNone(goods.answer_of(text, '  '))


if __name__ == '__main__':
  absltest.main()
