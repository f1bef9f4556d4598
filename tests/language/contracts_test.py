# SPDX-License-Identifier: Apache-2.0
import json
import time

from absl.testing import absltest, parameterized

from jaxdl import language


class FindJsonTest(parameterized.TestCase):
  @parameterized.parameters(
    ('{"a": 1}', {'a': 1}),
    ('Sure:\n```json\n{"a": {"b": [1, 2]}}\n```\nDone.', {'a': {'b': [1, 2]}}),
    ('{"a": "brace } in text"}', {'a': 'brace } in text'}),
    ('{"a": "quote \\" and {"}', {'a': 'quote " and {'}),
    ('{not json} {"a": 1}', {'a': 1}),
    ('{"a": {"b": 1} {"c": 2}', {'b': 1}),
    ('{"a": "two\nlines"}', {'a': 'two\nlines'}),
    ('{"a": "\\u00e9"}', {'a': 'é'}),
    ('[1, 2]', None),
    ('', None),
    ('{"a": NaN}', None),
    ('{"a": 1e999}', {'a': float('inf')}),
  )
  def test_first(self, text, want):
    self.assertEqual(language.find_json(text), want)

  def test_last(self):
    text = 'Maybe {"a": 1}. No: {"a": {"b": 2}}, I think {'
    self.assertEqual(language.find_json(text, 'last'), {'a': {'b': 2}})
    self.assertEqual(language.find_json(text), {'a': 1})

  @parameterized.parameters(
    '{' * 200_000,
    '{"a":' * 60_000,
    '{"a": [' * 50_000,
    '{"a": ' + '9' * 200_000 + '}',
    '{"a": "' + 'x' * 500_000 + '"}',
  )
  def test_hostile_texts_take_no_time(self, text):
    start = time.process_time()
    self.assertIsNone(language.find_json(text))
    self.assertLess(time.process_time() - start, 2.0)

  def test_halves_of_characters_are_replaced(self):
    for which in ('first', 'last'):
      found = language.find_json(r'{"a\ud800": ["\udfff", "é😀"]}', which)
      self.assertEqual(found, {'a?': ['?', 'é😀']})


class ContractTest(parameterized.TestCase):
  def _parse(self, **options):
    return language.json_contract(
      {
        'answer': (str, float),
        'confidence': 'share',
        'steps': list,
        'why': 'text',
      },
      optional={'count': int},
      **options,
    )

  def test_reads_what_is_asked_for_and_nothing_else(self):
    told = {'answer': 7, 'confidence': 1, 'steps': [], 'why': 'so', 'x': 3}
    want = {k: v for k, v in told.items() if k != 'x'}
    self.assertEqual(self._parse()(f'Here: {json.dumps(told)}'), want)
    told['count'] = 4
    self.assertEqual(self._parse()(json.dumps(told)), want | {'count': 4})

  @parameterized.parameters(
    ({'confidence': 1.5}, 'The field "confidence" must be a number from 0 to'),
    ({'confidence': True}, 'The field "confidence" must be a number from 0 to'),
    ({'confidence': '1'}, 'The field "confidence" must be a number from 0 to'),
    ({'answer': None}, 'The field "answer" must be text or a number.'),
    ({'answer': True}, 'The field "answer" must be text or a number.'),
    ({'steps': {}}, 'The field "steps" must be a list.'),
    ({'why': '  '}, 'The field "why" must be text that is not empty.'),
    ({'count': 1.0}, 'The field "count" must be an integer.'),
  )
  def test_says_what_is_wrong(self, change, message):
    told = {'answer': 7, 'confidence': 1, 'steps': [], 'why': 'so'} | change
    with self.assertRaisesRegex(ValueError, message):
      self._parse()(json.dumps(told))

  def test_says_what_is_missing(self):
    with self.assertRaisesRegex(ValueError, 'no JSON object in the reply'):
      self._parse()('No.')
    with self.assertRaisesRegex(ValueError, '"answer" is missing'):
      self._parse()('{}')

  def test_functions_check_fields(self):
    def even(value):
      if value % 2:
        raise ValueError('must be even.')
      return value // 2

    parse = language.json_contract({'n': even})
    self.assertEqual(parse('{"n": 6}'), {'n': 3})
    with self.assertRaisesRegex(ValueError, 'The field "n": must be even.'):
      parse('{"n": 5}')

  @parameterized.parameters(
    ({'a': set}, "fields\\['a'\\] must be a type of JSON"),
    ({'a': 'number'}, "fields\\['a'\\] must be a type of JSON.*'number'"),
  )
  def test_unknown_kinds(self, fields, message):
    with self.assertRaisesRegex(ValueError, message):
      language.json_contract(fields)

  def test_unknown_which(self):
    with self.assertRaisesRegex(ValueError, "which='middle' is unknown"):
      language.find_json('{}', 'middle')


if __name__ == '__main__':
  absltest.main()
