# SPDX-License-Identifier: Apache-2.0
"""Games of other libraries as ours and back, and games on the host."""

import contextlib
import importlib.util
import sys
import unittest
import warnings
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import games

KEY = jax.random.key(0)


def _has(name):
  return importlib.util.find_spec(name) is not None


@contextlib.contextmanager
def _as_they_like():
  """Other libraries promote ranks and warn."""
  with jax.numpy_rank_promotion('allow'), warnings.catch_warnings():
    warnings.simplefilter('ignore')
    yield


class _Discrete(NamedTuple):
  n: int
  shape: tuple = ()


class _Box(NamedTuple):
  low: Any
  high: Any
  shape: tuple


class _Duel:
  """A game as JaxMARL's: two agents of unlike sizes, over at 3 points."""

  name = 'duel'
  agents = ('left', 'right')
  num_agents = 2
  max_steps = 4

  def action_space(self, agent):
    return _Discrete(2 if agent == 'left' else 3)

  def reset(self, key):
    del key
    state = {'points': jnp.zeros(()), 'step': jnp.int32(0)}
    return self._obs(state), state

  def _obs(self, state):
    return {
      'left': state['points'][None],
      'right': jnp.stack([state['points'], jnp.ones(())]),
    }

  def step_env(self, key, state, actions):
    del key
    points = state['points'] + actions['left'] + actions['right']
    step = state['step'] + 1
    over = (points >= 3) | (step >= self.max_steps)
    state = {'points': points, 'step': step}
    done = {'left': over, 'right': over | (points >= 2), '__all__': over}
    reward = {'left': points, 'right': -points}
    return self._obs(state), state, reward, done, {}


class FromJaxmarlTest(parameterized.TestCase):
  def test_shapes_masks_and_ends(self):
    env = games.from_jaxmarl(_Duel())
    seen, game = env.reset(KEY)
    np.testing.assert_array_equal(seen.own, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(seen.available, [[1, 1, 0], [1, 1, 1]])
    self.assertEqual((env.num_actions, env.own_size, env.max_steps), (3, 2, 4))
    game, step = env.move_on(game, jnp.array([0, 2]), key=KEY)
    np.testing.assert_array_equal(step.reward, [2, -2])
    # Who is done before the end is not alive.
    np.testing.assert_array_equal(step.seen.alive, [True, False])
    self.assertFalse(step.done)
    _, step = env.move_on(game, jnp.array([1, 0]), key=KEY)
    self.assertTrue(step.terminated)
    self.assertFalse(step.truncated)

  def test_the_limit_is_a_cut(self):
    env = games.from_jaxmarl(_Duel())
    _, game = env.reset(KEY)
    flags = []
    for _ in range(4):
      game, step = env.move_on(game, jnp.array([0, 0]), key=KEY)
      flags.append((bool(step.terminated), bool(step.truncated)))
    self.assertEqual(flags, [(False, False)] * 3 + [(False, True)])

  def test_runs_in_a_rollout(self):
    env = games.from_jaxmarl(_Duel())
    policy = agents.actor_critic(env, hidden_sizes=(4,))
    params = policy.init(KEY)
    playing = agents.begin(env, policy, KEY, 3)
    _, steps = agents.rollout(
      env, policy, params, playing, key=KEY, num_steps=6
    )
    self.assertLess(int(steps.actions[..., 0].max()), 2)
    self.assertTrue(np.isfinite(steps.reward).all())

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(TypeError, 'env must be a game of JaxMARL'):
      games.from_jaxmarl('simple_spread')
    peer = _Duel()
    peer.max_steps = None
    with self.assertRaisesRegex(ValueError, 'max_steps must be given'):
      games.from_jaxmarl(peer)

  @unittest.skipUnless(_has('jaxmarl'), 'needs the extra agents')
  @_as_they_like()
  def test_equals_ours(self):
    import jaxmarl

    peer = games.from_jaxmarl(jaxmarl.make('MPE_simple_spread_v3'))
    ours = agents.make_game('simple_spread')
    self.assertEqual(
      (peer.own_size, peer.num_actions, peer.max_steps), (18, 5, 25)
    )
    seen, game = peer.reset(KEY)
    inner = game.state.state
    state = games.ParticleState(
      inner.p_pos[:3], inner.p_vel[:3], inner.p_pos[3:]
    )
    for t in range(25):
      joint = jnp.array([t % 5, (t + 1) % 5, (3 * t) % 5])
      game, step = peer.move_on(game, joint, key=KEY)
      state, out = ours.move(ours.params, state, joint, KEY)
      np.testing.assert_allclose(step.reward, out.reward, atol=1e-5)
      self.assertEqual(bool(step.truncated), t == 24)


class _Walk(NamedTuple):
  """Parameters of a game as gymnax's."""

  goal: Any = 2.0
  max_steps_in_episode: int = 3


class _Gym:
  """A game as gymnax 1.0's: walk to a goal."""

  name = 'walk'
  default_params = _Walk()

  def __init__(self, new=True, box=False):
    self.box = box
    if new:
      self.is_truncated = lambda state, params: state >= 3

  def action_space(self, params):
    del params
    return _Box(-2.0, 4.0, (1,)) if self.box else _Discrete(2)

  def reset(self, key, params):
    del key, params
    return jnp.zeros((1, 2)), (jnp.zeros(()), 0)

  def step_env(self, key, state, action, params):
    del key
    place, time = state
    place = place + jnp.asarray(action, jnp.float32).reshape(())
    over = place >= params.goal
    if not hasattr(self, 'is_truncated'):
      over = over | (time + 1 >= params.max_steps_in_episode)
    return jnp.full((1, 2), place), (place, time + 1), place, over, {}


class FromGymnaxTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_ends_apart(self, new):
    env = games.from_gymnax(_Gym(new))
    self.assertEqual((env.num_agents, env.own_size, env.max_steps), (1, 2, 3))
    _, game = env.reset(KEY)
    flags = []
    for _ in range(3):
      game, step = env.move_on(game, jnp.array([0]), key=KEY)
      flags.append((bool(step.terminated), bool(step.truncated)))
    self.assertEqual(flags, [(False, False)] * 2 + [(False, True)])
    _, game = env.reset(KEY)
    for _ in range(2):
      game, step = env.move_on(game, jnp.array([1]), key=KEY)
    self.assertTrue(step.terminated)
    np.testing.assert_array_equal(step.reward, [2.0])

  def test_boxes_and_populations(self):
    env = games.from_gymnax(_Gym(box=True))
    self.assertEqual((env.num_actions, env.action_size), (None, 1))
    _, game = env.reset(KEY)
    _, step = env.move_on(game, jnp.array([[1.0]]), key=KEY)
    np.testing.assert_array_equal(step.reward, [4.0])
    goals = env.params._replace(goal=jnp.array([3.0, 5.0]))
    axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, goals)
    over = jax.vmap(
      lambda p: (
        env.replace(params=p)
        .move_on(env.reset(KEY)[1], jnp.array([[1.0]]), key=KEY)[1]
        .terminated
      ),
      in_axes=(axes,),
    )(goals)
    np.testing.assert_array_equal(over, [True, False])

  @unittest.skipUnless(_has('gymnax'), 'needs the extra agents')
  @_as_they_like()
  def test_real(self):
    import gymnax

    peer, params = gymnax.make('CartPole-v1')
    env = games.from_gymnax(peer, params)
    policy = agents.random_policy(env)
    found = agents.play_episodes(
      env.replace(max_steps=60), policy, {}, key=KEY, num_episodes=20
    )
    # At random a pole stays up for some 22 steps.
    self.assertBetween(float(found['length'].mean()), 14.0, 32.0)
    np.testing.assert_array_equal(found['length'], found['return'])


class DictGameTest(parameterized.TestCase):
  def test_plays_as_a_peer_would(self):
    env = agents.make_game('routing(num_agents=2, num_symbols=3)')
    view = games.DictGame(env, ('a', 'b'))
    obs, state = view.reset(KEY)
    self.assertEqual(view.agents, ['a', 'b'])
    self.assertEqual(view.action_space('a').n, 3)
    self.assertEqual(view.observation_space('b').shape, obs['b'].shape)
    symbols = state.state
    obs, state, reward, done, info = jax.jit(view.step)(
      jax.random.key(1), state, {'b': symbols[0], 'a': symbols[1]}
    )
    self.assertEqual(float(reward['a']), 1.0)
    self.assertTrue(done['__all__'])
    self.assertTrue(info['terminated'])
    np.testing.assert_array_equal(info['returned_episode_returns'], [1, 1])
    # What is seen is the next episode's, what was seen last is told apart.
    fresh, _ = env.reset(jax.random.split(jax.random.key(1))[1])
    np.testing.assert_array_equal(obs['a'], fresh.own[0])
    np.testing.assert_array_equal(
      info['final_obs']['a'][:3], jax.nn.one_hot(symbols[0], 3)
    )

  def test_round_trip(self):
    ours = agents.make_game('predator_prey(num_agents=1, dim=2, max_steps=3)')
    again = games.from_jaxmarl(games.DictGame(ours))
    self.assertEqual(again.own_size, ours.own_size)
    for env in (ours, again):
      _, game = env.reset(KEY)
      found = []
      for action in (0, 1, 2):
        game, step = env.move_on(game, jnp.array([action]), key=KEY)
        found.append((step.reward.tolist(), bool(step.done)))
      if env is ours:
        want = found
    self.assertEqual(found, want)

  def test_masks(self):
    view = games.DictGame(agents.make_game('simple_speaker_listener'))
    _, state = view.reset(KEY)
    self.assertEqual(int(view.get_avail_actions(state)['agent_0'].sum()), 3)

  @parameterized.parameters(
    ({'a': 0}, 'missing: b'), ({'a': 0, 'b': 0, 'c': 0}, 'unknown: c')
  )
  def test_actions_of_all(self, actions, message):
    env = agents.make_game('routing(num_agents=2)')
    view = games.DictGame(env, ('a', 'b'))
    _, state = view.reset(KEY)
    with self.assertRaisesRegex(ValueError, message):
      view.step(KEY, state, actions)

  def test_names(self):
    env = agents.make_game('routing(num_agents=2)')
    for names in (('a',), ('a', 'a')):
      with self.assertRaisesRegex(ValueError, 'must be 2 different names'):
        games.DictGame(env, names)
    with self.assertRaisesRegex(ValueError, "agent must be one of .* got 'x'"):
      games.DictGame(env).action_space('x')

  def test_batches_are_agent_major(self):
    found = {'b': jnp.arange(6.0).reshape(2, 3), 'a': jnp.zeros((2, 3))}
    rows = games.batchify(found, ('a', 'b'))
    np.testing.assert_array_equal(rows[:2], np.zeros((2, 3)))
    back = games.unbatchify(rows, ('a', 'b'), 2)
    np.testing.assert_array_equal(back['b'], found['b'])
    with self.assertRaisesRegex(ValueError, 'rows must have 6 rows'):
      games.unbatchify(rows, ('a', 'b'), 3)


def _counter(limit=3, over_at=99):
  """A host game that counts, and adds up what agents do."""
  state = {}

  def start(seed):
    state.update(at=0.0, seed=seed)
    return np.full((2, 2), float(seed))

  def move(actions):
    state['at'] += 1
    reward = np.asarray(actions).sum(axis=-1)
    own = np.full((2, 2), state['at'])
    return own, reward, state['at'] >= over_at, {'at': state['at']}

  return games.HostGame(
    start,
    move,
    num_agents=2,
    own_size=2,
    max_steps=limit,
    action_size=1,
    facts=(('at', 'last'),),
  )


class HostTest(parameterized.TestCase):
  def test_rollout_tells_episodes_apart(self):
    many = [_counter(over_at=2), _counter()]
    policy = agents.actor_critic(many[0].shapes(), hidden_sizes=(3,), std=0.1)
    params = policy.init(KEY)
    playing = games.host_begin(many, policy, seed=5)
    playing, steps = games.host_rollout(
      policy, params, playing, key=KEY, num_steps=6
    )
    np.testing.assert_array_equal(steps.terminated[:, 0], [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(steps.truncated[:, 1], [0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(steps.first[:, 0], [1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(
      steps.seen.own[:, 0, 0, 0], [5, 1, 7, 1, 9, 1]
    )
    # Only a cut is worth what would have followed.
    worth = np.abs(steps.final_value).sum(axis=-1)
    np.testing.assert_array_equal(worth > 0, np.asarray(steps.truncated))
    self.assertLen(playing.finished, 5)
    np.testing.assert_allclose(
      steps.reward, np.asarray(steps.actions)[..., 0], atol=1e-6
    )
    # Densities are those of the actions that were played.
    judged = policy.judge(
      params,
      policy.start(2),
      steps.seen,
      steps.actions,
      steps.choices,
      steps.first,
    )
    np.testing.assert_allclose(judged.log_prob, steps.log_prob, atol=1e-5)

  def test_episodes(self):
    many = [_counter(over_at=2), _counter()]
    policy = agents.actor_critic(many[0].shapes(), hidden_sizes=(3,))
    found = games.host_episodes(
      many, policy, policy.init(KEY), key=KEY, num_episodes=4, greedy=True
    )
    np.testing.assert_array_equal(found['length'], [2, 3, 2, 3])
    np.testing.assert_array_equal(found['terminated'], [1, 0, 1, 0])
    np.testing.assert_array_equal(found['at'], [2, 3, 2, 3])
    with self.assertRaisesRegex(ValueError, 'a multiple of the 2 games'):
      games.host_episodes(
        many, policy, policy.init(KEY), key=KEY, num_episodes=3
      )

  def test_says_what_is_wrong(self):
    game = _counter()
    with self.assertRaisesRegex(ValueError, 'call reset'):
      game.step(np.zeros((2, 1)))
    game.reset(0)
    with self.assertRaisesRegex(ValueError, 'host game gave the reward .* 1'):
      game.step(np.full((2, 1), np.nan))
    env = game.shapes()
    with self.assertRaisesRegex(ValueError, 'runs on the host'):
      env.step(env.reset(KEY)[1], jnp.zeros((2, 1)), key=KEY)

  def test_names_the_extra(self):
    with (
      mock.patch.dict(sys.modules, {'pettingzoo.sisl': None}),
      self.assertRaisesRegex(ImportError, r'jaxdl-research\[agents\]'),
    ):
      games.multiwalker()

  @unittest.skipUnless(_has('Box2D') and _has('pettingzoo'), 'needs agents')
  @_as_they_like()
  def test_walkers(self):
    game = games.multiwalker(max_steps=4)
    policy = agents.actor_critic(game.shapes(), hidden_sizes=(8,))
    playing = games.host_begin([game], policy)
    _, steps = games.host_rollout(
      policy, policy.init(KEY), playing, key=KEY, num_steps=9
    )
    self.assertEqual(steps.seen.own.shape, (9, 1, 3, 31))
    np.testing.assert_array_equal(
      np.flatnonzero(np.asarray(steps.truncated[:, 0])), [3, 7]
    )
    self.assertTrue(np.isfinite(steps.reward).all())
    game.close()


if __name__ == '__main__':
  absltest.main()
