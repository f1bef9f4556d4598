# SPDX-License-Identifier: Apache-2.0
"""The binary of agents that are told something."""

import functools
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from experiments import hammer
from jaxdl import agents, problems

VARIANTS = ('il', 'v2(message_length=2)')


def config_of(**options):
  small = {
    'game': 'sum_guess(num_agents=2)',
    'variants': VARIANTS,
    'num_rounds': 2,
    'steps': 2,
    'eval_every': 1,
    'update_steps': 8,
    'num_envs': 4,
    'num_epochs': 2,
    'actor_sizes': (4,),
    'critic_sizes': (3,),
    'encoder_sizes': (4,),
    'num_episodes': 4,
    'modes': ('greedy',),
    'probe_episodes': 30,
    'seeds': (0, 1),
  }

  return hammer.Config(**{**small, **options})


@functools.cache
def result():
  return hammer.run(config_of())


def rows_of(variant, split):
  return [
    r for r in result().rows if (r['variant'], r['split']) == (variant, split)
  ]


class RunTest(parameterized.TestCase):
  def test_rows(self):
    for variant in VARIANTS:
      rows = rows_of(variant, 'test')
      self.assertEqual(
        [(r['step'], r['seed']) for r in rows],
        [(t, s) for t in (0, 1, 2) for s in (0, 1)],
      )
      self.assertEqual([r['env_steps'] for r in rows[::2]], [0, 16, 32])
      names = list(rows[0])
      self.assertEqual(names[names.index('seed') + 1], 'greedy_return')
      for row in rows:
        self.assertAlmostEqual(
          row['greedy_return'], -row['greedy_error'], places=4
        )
      train = rows_of(variant, 'train')
      self.assertTrue(np.isfinite([r['policy_loss'] for r in train]).all())

  def test_messages_are_looked_at(self):
    il, v2 = VARIANTS
    self.assertEqual(rows_of(il, 'saliency'), [])
    self.assertLen(rows_of(v2, 'saliency'), 4)  # Agents and seeds.
    contents = rows_of(v2, 'contents')
    self.assertLen(contents, 2 * 2 * 2 * 2)  # Seeds, agents, numbers, entries.
    self.assertEqual(
      {r['entry'] for r in contents}, {'0: own number', '1: own number'}
    )
    size = [abs(r['correlation']) for r in contents]
    self.assertGreater(max(size), 0.3)
    self.assertLessEqual(max(size), 1.0 + 1e-6)
    still = [r['changed'] for r in rows_of(v2, 'wiggle') if r['shift'] == 0]
    self.assertEqual(still, [0.0] * 4)
    for seed in (0, 1):
      own = [
        r
        for r in rows_of(v2, 'against')
        if (r['seed'], r['told']) == (seed, '1.0')
      ]
      self.assertLen(own, 12)
      state = [r['state'] for r in own]
      self.assertEqual(state, sorted(state))

  def test_pictures(self):
    with tempfile.TemporaryDirectory() as folder:
      drawn = hammer.draw(config_of(), result().rows, pathlib.Path(folder))
      self.assertEqual(
        {p.stem for p in drawn},
        {'greedy_return', 'saliency', 'wiggle', 'contents_1', 'messages_1'},
      )

  def test_what_is_no_number_stops_the_run(self):
    config = config_of(
      variants=('il',), optimizer='sgd(1e30)', probe_episodes=0, seeds=(0,)
    )
    with self.assertRaisesRegex(
      FloatingPointError,
      r'il in sum_guess.*seeds \(0,\), diverged: .* of update [24] is no '
      r'finite number\. Last metrics, by seed: .*Lower its learning rate',
    ):
      hammer.run(config)

  def test_smoke_is_small(self):
    config = hammer.Config().smoked()
    self.assertEqual(config, config.smoked())
    self.assertEqual((config.num_rounds, config.variants), (3, ('il', 'v2')))


class HostTest(parameterized.TestCase):
  def test_games_on_the_host(self):
    """A sum of numbers that is guessed in Python."""

    def sums(num_agents=2):
      state = {}

      def start(seed):
        own = np.random.default_rng(seed).uniform(-1, 1, (num_agents, 1))
        state['sum'] = own.sum()
        return own

      def move(actions):
        reward = -np.abs(actions[:, 0] - state['sum'])
        return np.zeros((num_agents, 1)), reward, True, {}

      return agents.games.HostGame(
        start,
        move,
        num_agents=num_agents,
        own_size=1,
        max_steps=1,
        action_size=1,
      )

    host = {'sums': sums}
    with (
      mock.patch.object(hammer, 'ON_HOST', host),
      mock.patch.object(hammer, 'GAMES', hammer.GAMES | host),
    ):
      config = config_of(variants=('il',), steps=1, update_steps=8)
      object.__setattr__(config, 'game', 'sums')
      experiment = hammer.build(config)
      rows = hammer.runner.run(experiment, config).rows
    tests = [r for r in rows if r['split'] == 'test']
    self.assertLen(tests, 6)
    self.assertEqual({r['greedy_length'] for r in tests}, {1.0})
    first = [r for r in tests if r['step'] == 0]
    last = [r for r in tests if r['step'] == 2]
    self.assertNotEqual(
      [r['greedy_return'] for r in first], [r['greedy_return'] for r in last]
    )
    train = [r for r in rows if r['split'] == 'train']
    self.assertEqual({r['episodes'] for r in train}, {8.0})

  def test_refusals(self):
    game = agents.make_game('sum_guess(num_agents=2)')
    with self.assertRaisesRegex(TypeError, 'games must be games.HostGame'):
      problems.games.host_games([game], agents.random_policy(game))
    with self.assertRaisesRegex(ValueError, 'multiple of the 0 games'):
      problems.games.host_games([], agents.random_policy(game))
    with self.assertRaisesRegex(TypeError, 'games must be a sequence of'):
      problems.games.host_games(game, agents.random_policy(game))

  @parameterized.parameters(
    ({'modes': 'greedy'}, TypeError, "modes must be a sequence.*'greedy'"),
    ({'modes': ('greedy',) * 2}, ValueError, 'modes must differ'),
    ({'modes': ()}, ValueError, 'modes is empty'),
    ({'modes': ('greed',)}, ValueError, "modes='greed' is unknown"),
    ({'policy': 3}, TypeError, 'policy must be an agents.Policy'),
    ({'times': 2}, ValueError, 'games must be different ones'),
  )
  def test_refusals_of_tests(self, options, error, message):
    one = agents.games.HostGame(
      lambda seed: np.zeros((1, 1)),
      lambda actions: (np.zeros((1, 1)), np.zeros(1), True, {}),
      num_agents=1,
      own_size=1,
      max_steps=1,
      action_size=1,
    )
    options = {'policy': agents.random_policy(one.shapes())} | options
    games = [one] * options.pop('times', 1)
    with self.assertRaisesRegex(error, message):
      problems.games.host_games(games, **options)


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'variants': ('v3(sigma=-1.0)',)}, 'sigma must lie in'),
    ({'variants': ('v2(message_length=-1)',)}, 'message_length must be at'),
    ({'variants': ('v4',)}, "choose one of 'il', 'random', 'v1'"),
    ({'variants': ('il', 'il')}, 'variants must differ'),
    ({'update_steps': 9}, 'update_steps=9 must be a multiple of num_envs=4'),
    ({'game': 'observe_first(limit=2)+sum_guess'}, 'limit must be at most 1'),
    ({'game': 'simple_spread(num_agents=0)'}, 'num_agents must be at least 1'),
    ({'game': 'shared_reward+multiwalker'}, 'is on the host, where what'),
    ({'gamma': 1.5}, 'gamma must lie in'),
    ({'std': 0.0}, 'std must lie in'),
  )
  def test_impossible_settings_are_refused_at_once(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      config_of(**options)

  def test_messages_begin_with_the_flag_once(self):
    game = 'simple_spread(num_agents=0)'
    with self.assertRaises(ValueError) as caught:
      config_of(game=game)
    self.assertStartsWith(str(caught.exception), f"game='{game}': num_agents")


if __name__ == '__main__':
  absltest.main()
