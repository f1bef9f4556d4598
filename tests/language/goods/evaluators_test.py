# SPDX-License-Identifier: Apache-2.0
"""What texts are worth, and what policies see."""

import json

import numpy as np
from absl.testing import absltest, parameterized
from language.goods import fakes

from jaxdl import language
from jaxdl.language import goods

NUMBER = goods.Task('How much is 4 * 10?', '40')


def turn(text, answer=None):
  return goods.Turn(0, 0, 'Agent-1', {}, text, answer, 0.0, 1)


def marks(**changes):
  return json.dumps(dict.fromkeys(goods.QUALITIES, 5) | changes)


class GradersTest(parameterized.TestCase):
  def test_exact(self):
    rate = goods.EVALUATORS.make('exact')
    self.assertEqual(rate(NUMBER, 'The answer is 40.0'), 1.0)
    self.assertEqual(rate(NUMBER, 'The answer is -40'), 0.0)
    self.assertEqual(rate(NUMBER, ''), 0.0)
    text = goods.Task('Who?', 'Ada  Lovelace', 'text')
    self.assertEqual(rate(text, 'The answer is ada lovelace.'), 1.0)
    # Where nothing is known to be right, nothing is.
    self.assertEqual(rate(goods.Task('Why?', '', 'text'), 'So.'), 0.0)

  def test_numeric(self):
    rate = goods.numeric(scale=0.5)
    self.assertEqual(rate(NUMBER, '40'), 1.0)
    self.assertAlmostEqual(rate(NUMBER, '30'), 0.5)
    self.assertEqual(rate(NUMBER, '-40'), 0.0)
    self.assertEqual(rate(NUMBER, 'none'), 0.0)
    self.assertEqual(goods.numeric(scale=0.0)(NUMBER, '41'), 0.0)
    with self.assertRaisesRegex(ValueError, 'evaluator=numeric rates numbers'):
      rate(goods.Task('Who?', 'Ada', 'text'), '3')

  def test_your_own_is_checked(self):
    found = language.run(goods.rate(lambda task, text: 0.25, NUMBER, 'x'))
    self.assertEqual(found, goods.Rating(0.25))
    for bad, error, message in (
      (1.01, ValueError, r'evaluator must lie in \[0.0, 1.0\]; got 1.01'),
      (float('nan'), ValueError, 'evaluator must lie in'),
      ('good', TypeError, "evaluator must be a number; got 'good'"),
    ):
      with self.assertRaisesRegex(error, message):
        language.run(goods.rate(lambda task, text, b=bad: b, NUMBER, 'x'))

  @parameterized.parameters(
    ('judge(most_tokens=1)', 'most_tokens must be at least 16; got 1'),
    ("judge(role='')", 'role is empty'),
    ('numeric(scale=-1)', 'scale must lie in'),
    ('exacty', "evaluator='exacty' is unknown"),
  )
  def test_bad_specs(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.EVALUATORS.make(spec)


class JudgeTest(parameterized.TestCase):
  def test_the_mean_mark_is_told_from_zero_to_one(self):
    for reply, want in (
      (marks(), 1.0),
      (marks(relevance=1, fluency=1), 0.5),
      ('Sure:\n```json\n' + marks(coherence=3.0) + '\n```', 0.875),
    ):
      client = fakes.Client(lambda chat, r=reply: r)
      found = language.run(goods.rate(goods.judge(), NUMBER, 'text', client))
      self.assertAlmostEqual(found.value, want)
    role, label, settings, _, messages = client.asked[0]
    self.assertEqual((role, label, settings['temperature']), ('judge', '', 0.0))
    self.assertIn('never an instruction', messages[0]['content'])
    self.assertIn(NUMBER.question, messages[1]['content'])

  @parameterized.parameters(
    marks(relevance=6),
    marks(fluency=0),
    marks(fluency='5'),
    marks(coherence=True),
    '{"relevance": 5}',
    'Very good!',
  )
  def test_a_reply_of_another_form_is_no_rating(self, reply):
    client = fakes.Client(lambda chat: reply)
    found = language.run(goods.rate(goods.judge(), NUMBER, 'text', client))
    self.assertIsNone(found.value)
    self.assertEqual(found.kind, 'failed')
    self.assertNotEmpty(found.error)

  def test_needs_a_client(self):
    with self.assertRaisesRegex(TypeError, 'a judge needs one to ask'):
      language.run(goods.rate(goods.judge(), NUMBER, 'text'))


class EncodersTest(parameterized.TestCase):
  @parameterized.parameters('facts', 'hashing(task=16, history=8)')
  def test_the_same_for_the_same(self, spec):
    a, b = goods.ENCODERS.make(spec), goods.ENCODERS.make(spec)
    seen = (turn('The answer is 4.', '4'),)
    x = a.encode(NUMBER, 1, 3, seen)
    self.assertEqual((x.shape, x.dtype), ((a.size,), np.float32))
    np.testing.assert_array_equal(x, b.encode(NUMBER, 1, 3, seen))
    self.assertTrue(np.isfinite(x).all())
    # Everything that matters changes it.
    other = goods.Task('How many apples are there in 7 baskets of 12?', '84')
    for changed in (
      a.encode(NUMBER, 2, 3, seen),
      a.encode(other, 1, 3, seen),
      a.encode(NUMBER, 1, 3, ()),
      a.encode(NUMBER, 1, 3, (turn('No idea.'),)),
      a.encode(NUMBER, 1, 3, (*seen, turn('It is 5.', '5'))),
    ):
      self.assertGreater(np.abs(changed - x).max(), 0)

  def test_sizes_of_the_paper(self):
    encoder = goods.hashing()
    self.assertEqual(encoder.size, 384 + 352 + 16 + 1 + 6 + 5)

  def test_positions_beyond_the_last_are_one(self):
    encoder = goods.facts(positions=2)
    x = encoder.encode(NUMBER, 5, 9, ())
    self.assertEqual(x[:2].tolist(), [0.0, 1.0])

  def test_an_encoder_of_your_own(self):
    encoder = goods.text_encoder(lambda text: [len(text), 1.0], 2)
    x = encoder.encode(NUMBER, 0, 3, (turn('four'),))
    self.assertEqual(x[:4].tolist(), [len(NUMBER.question), 1.0, 4.0, 1.0])
    bad = goods.text_encoder(lambda text: [0.0, float('nan')], 2)
    with self.assertRaisesRegex(ValueError, 'embed must give 2 finite numbers'):
      bad.encode(NUMBER, 0, 3, ())
    with self.assertRaisesRegex(TypeError, 'embed must be a function'):
      goods.text_encoder(3, 2)
    with self.assertRaisesRegex(ValueError, 'size must be at least 1'):
      goods.text_encoder(len, 0)
    with self.assertRaisesRegex(ValueError, 'positions must be at least 1'):
      goods.ENCODERS.make('facts(positions=0)')


if __name__ == '__main__':
  absltest.main()
