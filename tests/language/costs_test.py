# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import _costs, _replies


def question(content='x' * 40, **settings):
  messages = [{'role': 'user', 'content': content}]
  return language.Request(messages, label='a', settings=settings)


def reply(prompt=10, completion=5, **rest):
  return language.Reply(
    'y', prompt_tokens=prompt, completion_tokens=completion, **rest
  )


class LedgerTest(parameterized.TestCase):
  def test_counts_by_role_label_and_model(self):
    ledger = _costs.Ledger(prices={'m': {'input': 1.0, 'output': 2.0}})
    ledger.record(question(), 'm', reply(attempts=2))
    ledger.record(question(), 'm', reply(cached=True))
    ledger.record(question()._replace(label='b'), 'n', reply(estimated=True))
    first, second = ledger.rows
    self.assertEqual(
      (first.calls, first.cached, first.attempts, first.tokens), (2, 1, 2, 15)
    )
    self.assertAlmostEqual(first.cost, (10 * 1.0 + 5 * 2.0) / 1e6)
    self.assertEqual(first.saved_tokens, 15)
    self.assertEqual((second.label, second.estimated, second.cost), ('b', 1, 0))
    self.assertEqual(ledger.total.calls, 3)
    self.assertEqual(ledger.total.tokens, 30)

  def test_what_is_set_aside_counts(self):
    # 10 tokens of text, 4 of the message, 50 of the answer.
    ledger = _costs.Ledger(budget_tokens=130)
    held = [ledger.reserve(question(max_tokens=50), 'm') for _ in range(3)]
    self.assertEqual([h is not None for h in held], [True, True, False])
    ledger.release(held[0])
    ledger.record(question(), 'm', reply())
    self.assertIsNone(ledger.reserve(question(max_tokens=50), 'm'))
    self.assertIsNotNone(ledger.reserve(question(max_tokens=37), 'm'))

  def test_known_answers_count_for_the_budget(self):
    prices = {'m': language.Price(1e6, 0.0)}
    for limit in ({'budget_tokens': 30}, {'budget_cost': 30.0}):
      ledger = _costs.Ledger(prices=prices, **limit)
      self.assertIsNotNone(ledger.reserve(question('', max_tokens=2), 'm'))
      ledger.release((6, 4.0))
      ledger.record(question(), 'm', reply(30, 0, cached=True))
      self.assertIsNone(ledger.reserve(question('', max_tokens=2), 'm'))
      self.assertTrue(ledger.spent)
      self.assertEqual((ledger.total.tokens, ledger.total.cost), (0, 0.0))

  def test_money_is_a_budget_too(self):
    prices = {'m': language.Price(0.0, 1e6)}
    ledger = _costs.Ledger(budget_cost=99.0, prices=prices)
    self.assertIsNone(ledger.reserve(question(max_tokens=100), 'm'))
    self.assertIsNotNone(ledger.reserve(question(max_tokens=99), 'm'))
    with self.assertRaisesRegex(ValueError, "needs a price of model 'other'"):
      ledger.check_models(['m', 'other'])

  @parameterized.parameters(
    ({'budget_tokens': 0}, 'budget_tokens must be at least 1'),
    ({'budget_cost': 0.0}, 'budget_cost must'),
    ({'prices': {'m': {'input': -1.0, 'output': 0.0}}}, 'input must'),
    ({'prices': {'m': {'input': 1.0}}}, 'must have input and output'),
    ({'prices': [1]}, 'prices must map models'),
  )
  def test_bad_input(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _costs.Ledger(**options)

  def test_prices_of_a_file(self):
    path = (
      pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
      / 'prices.json'
    )
    path.write_text(json.dumps({'m': {'input': 0.15, 'output': 0.6}}))
    self.assertEqual(language.read_prices(path), {'m': (0.15, 0.6)})
    path.write_text('{')
    with self.assertRaisesRegex(ValueError, 'prices must be JSON'):
      language.read_prices(path)


class RequestTest(parameterized.TestCase):
  @parameterized.parameters(
    ('hello', TypeError, 'messages must be a sequence of dicts'),
    ([], ValueError, 'messages is empty'),
    ([{'role': 'user'}], TypeError, r'messages\[0\] must be a dict of role'),
    ([{'role': 'robot', 'content': ''}], ValueError, "role='robot' is unknown"),
    ([{'role': 'user', 'content': 3}], TypeError, 'content must be text'),
  )
  def test_messages(self, messages, kind, message):
    with self.assertRaisesRegex(kind, message):
      _replies.check_request(language.Request(messages))

  @parameterized.parameters(
    ({'stream': True}, "settings must not hold 'stream'"),
    ({'model': 'm'}, "settings must not hold 'model'"),
    ({'temperature': float('nan')}, "settings\\['temperature'\\] must be fini"),
  )
  def test_settings(self, settings, message):
    with self.assertRaisesRegex(ValueError, message):
      _replies.check_request(question(**settings))
    with self.assertRaisesRegex(ValueError, 'sample must be at least 0'):
      _replies.check_request(question()._replace(sample=-1))

  def test_equal_questions_are_equal_texts(self):
    one = question(temperature=0.0, seed=1)
    two = question(seed=1, temperature=0.0)._replace(role='critic', label='z')
    self.assertEqual(_replies.canonical(one, 'm'), _replies.canonical(two, 'm'))
    for other in (one._replace(sample=1), question('y'), question()):
      self.assertNotEqual(
        _replies.canonical(one, 'm'), _replies.canonical(other, 'm')
      )
    with self.assertRaisesRegex(TypeError, 'settings must be JSON values'):
      _replies.canonical(question(stop={1}), 'm')


if __name__ == '__main__':
  absltest.main()
