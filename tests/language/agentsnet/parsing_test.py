# SPDX-License-Identifier: Apache-2.0
"""Messages and answers are found in free text, and nothing else is."""

import json

from absl.testing import absltest, parameterized

from jaxdl.language.agentsnet import _parsing

NAMES = ('Ann', 'Bo', 'Cy', 'Bo 2')


def messages(reply):
  return _parsing.parse_messages(reply, NAMES)


class MessagesTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('alone', '{"Ann": "Hi"}', {'Ann': 'Hi'}),
    ('text_around', 'First, {x} said {1}. {"Ann": "Hi"} Done }', {'Ann': 'Hi'}),
    ('fence', 'So:\n```json\n{\n  "Bo": "a",\n  "Cy": "b"\n}\n```', None),
    ('nested', '{"thoughts": "?", "messages": {"Ann": "Hi"}}', {'Ann': 'Hi'}),
    ('braces_in_text', '{"Ann": "a } b { c"}', {'Ann': 'a } b { c'}),
    ('quotes_in_text', '{"Ann": "say \\"x\\""}', {'Ann': 'say "x"'}),
    (
      'object_in_text',
      '{"Ann": "{\\"Bo\\": \\"x\\"}"}',
      {'Ann': '{"Bo": "x"}'},
    ),
    ('backslash_n', '{\\n  "Ann": "Hi",\\n  "Bo": "x"\\n}', None),
    ('backslash_n_in_text', '{"Ann": "a\\nb"}', {'Ann': 'a\nb'}),
    ('line_break_in_text', '{"Ann": "a\nb"}', {'Ann': 'a\nb'}),
    ('nothing', 'I am silent: {}', {}),
    ('nothing_before', 'Not {} but {"Ann": "x"}', {'Ann': 'x'}),
    ('first', '{"Ann": "1"} {"Ann": "2"}', {'Ann': '1'}),
    ('second_is_right', '{"Di": "1"} {"Ann": "2"}', {'Ann': '2'}),
    ('empty_text', '{"Ann": ""}', {'Ann': ''}),
    ('unicode', '{"Ann": "\\u00e9 ✓"}', {'Ann': 'é ✓'}),
    ('name_with_number', '{"Bo 2": "x"}', {'Bo 2': 'x'}),
    ('half_a_character', '{"Ann": "\\ud83d"}', {'Ann': '?'}),
  )
  def test_are_found(self, reply, want):
    want = want or (
      json.loads(
        reply[reply.index('{') : reply.rindex('}') + 1].replace('\\n', '')
      )
      if want is None
      else want
    )
    self.assertEqual(messages(reply), want)

  @parameterized.named_parameters(
    ('unknown', '{"Di": "Hi"}', "has the key 'Di', which is no agent's name"),
    ('case', '{"ann": "Hi"}', "'ann', which is no agent's name"),
    ('some_unknown', '{"Ann": "x", "Di": "y"}', "'Di', which is no"),
    ('number', '{"Ann": 3}', "the message to 'Ann' is no text"),
    ('list', '{"Ann": ["x"]}', "the message to 'Ann' is no text"),
    ('null', '{"Ann": null}', "the message to 'Ann' is no text"),
    ('object_without_keys', '{"Ann": {}}', "the message to 'Ann' is no text"),
    ('no_object', 'I say hi to Ann.', 'there is no JSON object in it'),
    ('empty', '', 'there is no JSON object in it'),
    ('list_alone', '["Ann"]', 'there is no JSON object in it'),
    ('cut_off', '{"Ann": "Hi', 'there is no JSON object in it'),
    ('single_quotes', "{'Ann': 'Hi'}", 'there is no JSON object in it'),
    ('long_key', json.dumps({'x' * 1000: 'y'}), "'x{60}\\.\\.\\.', which"),
    ('too_long', 'x' * 100_001, 'has 100001 characters, more than the 100000'),
    ('code', '{"Ann": __import__("os").getcwd()}', 'there is no JSON object'),
  )
  def test_are_not_found(self, reply, want):
    with self.assertRaisesRegex(ValueError, want):
      messages(reply)

  def test_hostile_text_is_given_up_soon(self):
    for piece in ('{', '{"Ann":', '{"Ann":[', '{"', '{\\n', '[{"a":1},'):
      with self.assertRaisesRegex(ValueError, 'JSON object'):
        messages(piece * (90_000 // len(piece)))
    # What stands behind a thousand braces is not looked for.
    with self.assertRaisesRegex(ValueError, 'there is no JSON object'):
      messages('{' * 1000 + '{"Ann": "x"}')
    self.assertEqual(messages('{' * 999 + '{"Ann": "x"}'), {'Ann': 'x'})


def answer(reply, *options):
  return _parsing.parse_answer(reply, options)


class AnswerTest(parameterized.TestCase):
  @parameterized.parameters(
    ('### Final Answer ### Yes', 'Yes'),
    ('### Final Answer ###Yes', 'Yes'),
    ('thinking...\n### Final Answer ###\n\n**No**.', 'No'),
    ('### Final Answer ###: "No"', 'No'),
    ('No! ### Final Answer ### Yes, not No', 'Yes'),
    ('### Final Answer ### Perhaps. ### Final Answer ### No', 'No'),
    ('### Final Answer ### Yes ### Final Answer ### No', 'Yes'),
    ('### final answer ### yes', 'Yes'),
  )
  def test_stands_behind_the_marker(self, reply, want):
    self.assertEqual(answer(reply, 'Yes', 'No'), want)

  def test_longer_options_come_first(self):
    groups = [f'Group {i}' for i in range(1, 13)]
    self.assertEqual(
      answer('### Final Answer ### Group 12', *groups), groups[-1]
    )
    self.assertEqual(answer('### Final Answer ### Group 1', *groups), groups[0])
    self.assertEqual(
      answer('### Final Answer ### Group 1.', *groups), groups[0]
    )
    names = ('Ann', 'Anna', 'Ann 2', 'None')
    for name in names:
      self.assertEqual(answer(f'### Final Answer ### {name}\nok', *names), name)

  def test_an_option_ends_with_its_word(self):
    for reply, options in (
      ('Group 12', ('Group 1', 'Group 2')),
      ('Nobody', ('Yes', 'No')),
      ('10', ('0', '1')),
    ):
      with self.assertRaisesRegex(ValueError, 'no admissible answer follows'):
        answer(f'### Final Answer ### {reply}', *options)

  def test_names_are_no_patterns(self):
    self.assertEqual(answer('### Final Answer ### A.b*', 'A.b*', 'Axb'), 'A.b*')
    with self.assertRaisesRegex(ValueError, 'no admissible answer'):
      answer('### Final Answer ### Axbb', 'A.b*')

  @parameterized.parameters(
    ('Yes', 'the marker ### Final Answer ### is missing'),
    ('', 'the marker ### Final Answer ### is missing'),
    ('### Final Answer ###', 'no admissible answer follows the marker'),
    ('### Final Answer ### Maybe', 'no admissible answer follows the marker'),
    ('### Final Answer ### the answer is Yes', 'no admissible answer follows'),
    ('### Final Answer ###' + '!' * 41 + 'Yes', 'no admissible answer follows'),
    ('Yes' * 40_000, 'has 120000 characters, more than the 100000'),
  )
  def test_is_not_found(self, reply, want):
    with self.assertRaisesRegex(ValueError, want):
      answer(reply, 'Yes', 'No')


if __name__ == '__main__':
  absltest.main()
