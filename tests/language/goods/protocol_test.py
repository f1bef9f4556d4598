# SPDX-License-Identifier: Apache-2.0
"""Who is asked what, who sees whom, and what failures do."""

import json

from absl.testing import absltest, parameterized
from language.goods import fakes

from jaxdl import language
from jaxdl.language import Reply, goods

TASK = goods.Task('How much is 5 + 6?', '11')
SETTINGS = {'temperature': 0.123456, 'top_k': 40, 'max_tokens': 300}


def run(script, num_agents=3, task=TASK, **options):
  client = fakes.Client(script)
  seen = []

  def decide(agent, position, turns):
    seen.append((agent, position, [t.agent for t in turns]))
    return SETTINGS, ('x', agent)

  episode = language.run(
    goods.run_sequence(
      task,
      goods.make_agents(num_agents),
      client,
      **{'decide': decide, 'evaluator': goods.exact()} | options,
    )
  )
  return episode, client, seen


def counting():
  """Says 10, 11, 12, ... as its n-th answer."""
  said = iter(range(10, 99))
  return lambda chat: f'I think.\nThe answer is {next(said)}.'


class SequenceTest(parameterized.TestCase):
  @parameterized.parameters(
    ('partial', [[], [0], [1]]),
    ('full', [[], [0], [0, 1]]),
    ('none', [[], [], []]),
  )
  def test_who_sees_whom(self, observation, want):
    episode, client, seen = run(counting(), observation=observation)
    self.assertEqual(seen, [(i, i, w) for i, w in enumerate(want)])
    self.assertEqual([t.answer for t in episode.turns], ['10', '11', '12'])
    for (role, label, _, _, messages), others in zip(
      client.asked, want, strict=True
    ):
      i = int(role[-1]) - 1
      self.assertEqual(label, f'Agent-{i + 1}')
      system, user = (m['content'] for m in messages)
      self.assertIn(f'number {i + 1} of 3', system)
      self.assertEqual('You are the last' in system, i == 2)
      self.assertIn(TASK.question, user)
      self.assertIn('The answer is <number>.', user)
      for j in range(3):
        quote = f'--- Agent-{j + 1} wrote (answer: {10 + j}) ---'
        self.assertEqual(quote in user, j in others)

  def test_the_last_answer_is_that_of_the_team(self):
    episode, _, _ = run(counting(), num_agents=2)
    self.assertEqual((episode.answer, episode.correct), ('11', True))
    self.assertEqual([t.value for t in episode.turns], [0.0, 1.0])
    self.assertEqual(episode.value, 1.0)
    episode, _, _ = run(counting(), num_agents=3)
    self.assertEqual((episode.answer, episode.correct), ('12', False))
    self.assertEqual((episode.kind, episode.error), ('ok', None))

  def test_settings_and_records(self):
    episode, client, _ = run(counting(), sample=7)
    self.assertEqual(episode.turns[1].settings, SETTINGS)
    self.assertEqual(episode.turns[2].record, ('x', 2))
    _, _, sent, sample, _ = client.asked[0]
    self.assertEqual(sample, 7)
    # What servers may refuse is left out.
    self.assertEqual(
      sent, {'temperature': 0.1235, 'max_tokens': 300, 'seed': 7}
    )
    _, client, _ = run(counting(), allow_extra_params=True)
    self.assertEqual(client.asked[0][2]['top_k'], 40)

  def test_order(self):
    episode, client, seen = run(counting(), order=[2, 0, 1])
    self.assertEqual(
      [c[0] for c in client.asked], ['agent_3', *client_roles(2)]
    )
    self.assertEqual([s[:2] for s in seen], [(2, 0), (0, 1), (1, 2)])
    self.assertEqual([t.position for t in episode.turns], [0, 1, 2])
    with self.assertRaisesRegex(ValueError, 'order must be a permutation of 0'):
      run(counting(), order=[0, 0, 1])

  @parameterized.parameters('', '  \n')
  def test_an_empty_reply_counts_as_the_least_and_is_logged(self, text):
    with self.assertLogs(level='WARNING') as logs:
      episode, _, _ = run(
        lambda chat: text, evaluator=lambda task, text: 1.0, num_agents=2
      )
    self.assertIn('Agent-1 wrote nothing', logs.output[0])
    self.assertIsNone(episode.error)
    self.assertEqual([t.value for t in episode.turns], [0.0, 0.0])
    self.assertIsNone(episode.answer)
    self.assertFalse(episode.correct)

  def test_a_request_that_fails_ends_the_episode(self):
    said = iter(['The answer is 11.', None])
    episode, client, _ = run(lambda chat: next(said))
    self.assertLen(client.asked, 2)
    self.assertEqual((episode.kind, len(episode.turns)), ('failed', 1))
    self.assertEqual(episode.error, 'The server is gone.')
    self.assertFalse(episode.correct)
    self.assertLen(episode.replies, 2)

  def test_a_spent_budget_is_told_apart(self):
    episode, _, _ = run(lambda chat: Reply(None, 'budget', 'No room.'))
    self.assertEqual((episode.kind, episode.error), ('budget', 'No room.'))

  def test_a_judge_rates_every_text(self):
    def script(chat):
      if 'rate' in chat.messages[0]['content']:
        return json.dumps(dict.fromkeys(goods.QUALITIES, 4))
      return 'The answer is 11.'

    episode, client, _ = run(script, num_agents=2, evaluator=goods.judge())
    self.assertEqual([t.value for t in episode.turns], [0.75, 0.75])
    roles = ['agent_1', 'judge', 'agent_2', 'judge']
    self.assertEqual([c[0] for c in client.asked], roles)
    self.assertEqual([role for role, _ in episode.replies], roles)

    episode, _, _ = run(lambda chat: 'Fine!', evaluator=goods.judge())
    self.assertEqual((episode.kind, len(episode.turns)), ('failed', 0))

  def test_an_evaluator_outside_of_its_range_stops_all(self):
    with self.assertRaisesRegex(ValueError, 'evaluator must lie in'):
      run(counting(), evaluator=lambda task, text: 2.0)

  def test_what_others_wrote_is_cut_and_only_quoted(self):
    long = 'x' * 9000 + ' The answer is 3.'
    _, client, _ = run(lambda chat: long, num_agents=2)
    user = client.asked[1][4][1]['content']
    self.assertLess(len(user), 5000)
    self.assertIn('The answer is 3.', user)

  def test_choices_are_shown(self):
    task = goods.Task('Which?', 'B', 'choice', ('ape', 'bee'))
    episode, client, _ = run(lambda chat: 'The answer is (B).', task=task)
    user = client.asked[0][4][1]['content']
    self.assertIn('(A) ape\n(B) bee', user)
    self.assertIn('The answer is <letter>.', user)
    self.assertTrue(episode.correct)

  @parameterized.parameters(
    ({'observation': 'all'}, "observation='all' is unknown"),
    ({'num_agents': 0}, 'num_agents must be at least 1; got 0'),
  )
  def test_bad_arguments(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      run(counting(), **options)


def client_roles(n):
  return [f'agent_{i + 1}' for i in range(n)]


if __name__ == '__main__':
  absltest.main()
