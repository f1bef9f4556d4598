# SPDX-License-Identifier: Apache-2.0
"""Baselines and votes: who is asked how often, and whose answer counts."""

import collections

import jax
import numpy as np
from absl.testing import absltest, parameterized
from language.goods import fakes

from jaxdl import language
from jaxdl.agents import public_goods
from jaxdl.language import Reply, goods

TASK = goods.Task('How much is 5 + 6?', '11')


def answered(spec, script, task=TASK, sample=0, **setup):
  method = goods.METHODS.make(spec, goods.make_setup(**setup), num_updates=4)
  client = fakes.Client(script)
  state = method.init(jax.random.key(0))
  episode = language.run(method.answer(state, task, client, sample=sample))
  return episode, client, method


def saying(*answers):
  said = iter(answers)
  return lambda chat: f'The answer is {next(said)}.'


class VoteTest(parameterized.TestCase):
  def test_majority(self):
    found = goods.vote(['7', '8', None, '7', '9'])
    self.assertEqual((found.answer, found.answers), ('7', ('7', '8', '9')))
    np.testing.assert_allclose(found.shares, (0.5, 0.25, 0.25))
    np.testing.assert_allclose(found.weights, (0.25, 0.25, 0, 0.25, 0.25))
    # Of equal ones the first that was mentioned.
    self.assertEqual(goods.vote(['8', '7', '7', '8']).answer, '8')

  def test_nobody_has_an_answer(self):
    found = goods.vote([None, None])
    self.assertIsNone(found.answer)
    self.assertEqual(found.weights.tolist(), [0.0, 0.0])

  def test_weights(self):
    found = goods.vote(['7', '8', '7'], weights=[1, 3, 1])
    self.assertEqual(found.answer, '8')
    np.testing.assert_allclose(found.weights, (0.2, 0.6, 0.2), rtol=1e-6)
    self.assertEqual(goods.vote(['7', '8'], weights=[0, 0]).answer, '7')

  def test_a_rule_and_whom_it_believes(self):
    answers = ['7'] * 5 + ['9'] * 2
    for rule in ('krum', 'nnm+trimmed_mean'):
      found = goods.vote(answers, rule=rule, num_byzantine=2)
      self.assertEqual(found.answer, '7', rule)
      self.assertLess(found.weights[5:].sum(), found.weights[:5].sum())

  def test_colluders_that_win_a_weighted_vote_lose_to_a_median(self):
    answers = ['7', '7', '7', '9', '9']
    self.assertEqual(goods.vote(answers, weights=[1, 1, 1, 9, 9]).answer, '9')
    self.assertEqual(goods.vote(answers, rule='median').answer, '7')

  def test_too_few_for_a_rule_is_a_majority(self):
    answers = [None] * 4 + ['7', '7', '9']
    found = goods.vote(answers, rule='krum', num_byzantine=2)
    self.assertEqual(found.answer, '7')

  @parameterized.parameters(
    ({'answers': []}, 'number of answers must be at least 1'),
    (
      {'answers': ['7'], 'weights': [1, 2]},
      'weights must be one for each of 1 answers; got 2',
    ),
    ({'answers': ['7'], 'weights': [-1]}, 'weights must lie in'),
    (
      {'answers': ['7', '8'], 'weights': [1, 1], 'rule': 'median'},
      'weights have no effect on rule=median',
    ),
    ({'answers': ['7', '8'], 'rule': 'plurality'}, "'plurality' is unknown"),
    ({'answers': ['7'], 'num_byzantine': 2}, 'num_byzantine must be at most 1'),
  )
  def test_bad_arguments(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.vote(**options)


class BaselinesTest(parameterized.TestCase):
  def test_single_and_chain_of_thought(self):
    for spec, asks in (('single', False), ('chain_of_thought', True)):
      episode, client, method = answered(spec, saying(11))
      ((role, _, settings, _, messages),) = client.asked
      self.assertEqual((role, method.num_roles), ('agent_1', 1))
      self.assertEqual(settings['temperature'], 0.7)
      self.assertEqual('step by step' in messages[1]['content'], asks)
      self.assertTrue(episode.correct)
      self.assertEqual(episode.value, 1.0)

  def test_majority(self):
    episode, client, method = answered(
      'majority(num_votes=5, temperature=1.0)',
      saying(11, 12, 13, 12, 11),
      sample=2,
    )
    self.assertEqual(episode.answer, '11')
    self.assertEqual(method.num_roles, 5)
    # Nobody sees another, and nobody is asked the same twice.
    self.assertEqual([c[3] for c in client.asked], [10, 11, 12, 13, 14])
    for *_, messages in client.asked:
      self.assertNotIn('wrote', messages[1]['content'])

  def test_the_value_is_that_of_who_won(self):
    rate = lambda task, text: 0.25 if '12' in text else 0.75
    episode, _, _ = answered('majority', saying(11, 12, 12), evaluator=rate)
    self.assertEqual((episode.answer, episode.value), ('12', 0.25))
    self.assertFalse(episode.correct)

  def test_debate_shows_all_others_and_votes_in_the_end(self):
    episode, client, _ = answered('debate', saying(10, 12, 11, 11, 11, 12))
    self.assertLen(client.asked, 6)
    self.assertEqual((episode.answer, episode.correct), ('11', True))
    second = [c[4] for c in client.asked[3:]]
    for i, messages in enumerate(second):
      roles = [m['role'] for m in messages]
      self.assertEqual(roles, ['system', 'user', 'assistant', 'user'])
      for j, said in enumerate((10, 12, 11)):
        quote = f'--- Agent-{j + 1} wrote (answer: {said}) ---'
        self.assertEqual(quote in messages[3]['content'], i != j)
        own = f'The answer is {said}.'
        self.assertEqual(messages[2]['content'] == own, i == j)

  def test_a_failure_ends_it_and_loses_no_sibling(self):
    said = collections.deque(['The answer is 11.', None, 'The answer is 11.'])
    episode, client, _ = answered('debate', lambda chat: said.popleft())
    self.assertEqual(episode.kind, 'failed')
    self.assertLen(client.asked, 3)
    self.assertLen(episode.replies, 3)

  @parameterized.parameters(
    ('majority(num_votes=0)', 'num_votes must be at least 1'),
    ('majority(rule=best)', "'best' is unknown"),
    ('majority(rule=krum, num_byzantine=3)', r'num_byzantine=3'),
    ('debate(num_rounds=0)', 'num_rounds must be at least 1'),
    ('single(temperature=-1)', 'temperature must lie in'),
    ('single(top_p=0)', 'top_p must lie in'),
    ('fixed(max_tokens=0)', 'max_tokens must be at least 1'),
    ('fixed(observation=both)', "observation='both' is unknown"),
    ('uniform(order=sorted)', "order='sorted' is unknown"),
    ('ppo(keep=first)', "keep='first' is unknown"),
    ('ppo(observation=all)', "observation='all' is unknown"),
    ('camel', "method='camel' is unknown"),
  )
  def test_bad_specs(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.METHODS.make(spec, goods.make_setup(), num_updates=1)


class PlayersTest(parameterized.TestCase):
  def test_fixed_settings(self):
    _, client, method = answered(
      'fixed(temperature=0.2, observation=full)', saying(9, 10, 11)
    )
    self.assertEqual([c[2]['temperature'] for c in client.asked], [0.2] * 3)
    self.assertIn('Agent-1 wrote', client.asked[2][4][1]['content'])
    self.assertEqual(method.num_roles, 3)

  def test_uniform_settings_are_those_of_the_task(self):
    found = []
    for sample in (0, 0, 1):
      _, client, _ = answered('uniform', saying(9, 10, 11), sample=sample)
      found.append([c[2]['temperature'] for c in client.asked])
    self.assertEqual(found[0], found[1])
    self.assertNotEqual(found[0], found[2])
    span = public_goods.GENERATION['temperature']
    for x in np.ravel(found):
      self.assertBetween(x, span.low, span.high)

  def test_random_order(self):
    seats = set()
    for k in range(12):
      task = goods.Task(f'How much is 5 + {k}?', str(5 + k))
      episode, _, _ = answered(
        'fixed(order=random)', lambda chat: 'The answer is 1.', task=task
      )
      seats.add(tuple(t.agent for t in episode.turns))
    self.assertGreater(len(seats), 2)

  def test_a_policy_that_has_not_learned_is_in_the_middle(self):
    _, client, _ = answered('ppo(hidden=4)', saying(9, 10, 11))
    for _, _, settings, _, _ in client.asked:
      self.assertAlmostEqual(settings['temperature'], 0.75, delta=0.02)
      self.assertEqual(
        set(settings),
        {'temperature', 'top_p', 'max_tokens', 'presence_penalty', 'seed'},
      )
    _, client, _ = answered(
      'ppo(hidden=4, local=True)', saying(9, 10, 11), allow_extra_params=True
    )
    settings = client.asked[0][2]
    self.assertIn('repetition_penalty', settings)
    self.assertAlmostEqual(settings['max_tokens'], 1374, delta=30)

  @parameterized.parameters(
    ({'game': 'pgg'}, ValueError, 'game must let agents move one after'),
    ({'game': 'spgg(kappa=0)'}, ValueError, 'kappa must lie in'),
    ({'encoder': 3}, TypeError, 'encoder must be a goods.Encoder'),
    ({'encoder': 'bert'}, ValueError, "encoder='bert' is unknown"),
    ({'evaluator': 3}, TypeError, 'evaluator must be a function'),
    ({'ranges': {'top_p': (1, 0)}}, ValueError, 'top_p must have low <= high'),
    ({'allow_extra_params': 1}, TypeError, 'allow_extra_params must be True'),
  )
  def test_bad_setups(self, options, error, message):
    with self.assertRaisesRegex(error, message):
      goods.make_setup(**options)


class MetricsTest(parameterized.TestCase):
  def test_tokens_cost_and_failures(self):
    client = fakes.Client(None)
    reply = Reply('x', prompt_tokens=100, completion_tokens=50)
    make = lambda error, kind, right: goods.Episode(
      TASK, (), None, right, 0.5, error, kind, (('a', reply), ('b', reply))
    )
    found = goods.episode_metrics(
      [
        make(None, 'ok', True),
        make(None, 'ok', False),
        make('gone', 'failed', False),
        make('spent', 'budget', False),
      ],
      client,
    )
    # Prices of 1 and 2 for a million.
    self.assertAlmostEqual(found.pop('cost'), 8 * (100 + 2 * 50) / 1e6)
    self.assertEqual(
      found,
      {
        'accuracy': 0.5,
        'value': 0.5,
        'failed': 2.0,
        'budget': 1.0,
        'requests': 8.0,
        'tokens': 1200.0,
      },
    )


if __name__ == '__main__':
  absltest.main()
