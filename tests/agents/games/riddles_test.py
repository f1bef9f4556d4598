# SPDX-License-Identifier: Apache-2.0
"""Riddles, dilemmas and public goods against values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import games

NOTHING, SWITCH, TELL = range(3)
KEY = jax.random.key(0)


class RiddleTest(parameterized.TestCase):
  def _play(self, env, rooms, actions):
    """Plays a fixed order of visits; others always tell, which is ignored."""
    state = env.start(env.params, KEY)
    seen, out = [], None
    for room, action in zip(rooms, actions, strict=True):
      state = state._replace(inside=jnp.int32(room))
      seen.append(np.asarray(env.observe(env.params, state).own))
      joint = jnp.full((env.num_agents,), TELL).at[room].set(action)
      state, out = env.move(env.params, state, joint, KEY)
    return state, out, np.stack(seen)

  def test_tells_by_hand(self):
    env = agents.make_game('switch_riddle(num_agents=3)')
    self.assertEqual(env.max_steps, 6)
    _, out, seen = self._play(env, [0, 1, 2], [SWITCH, NOTHING, TELL])
    np.testing.assert_array_equal(out.reward, [1, 1, 1])
    self.assertTrue(out.terminated)
    self.assertEqual(float(out.facts['success']), 1.0)
    # Only who is inside sees the light, which is on from the second visit.
    np.testing.assert_array_equal(seen[0], [[1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(seen[1], [[0, 0], [1, 1], [0, 0]])

  @parameterized.parameters(([0],), ([0, 1],), ([0, 0, 0, 0, 1],))
  def test_too_early(self, rooms):
    env = agents.make_game('switch_riddle(num_agents=3)')
    acts = [NOTHING] * (len(rooms) - 1) + [TELL]
    _, out, _ = self._play(env, rooms, acts)
    np.testing.assert_array_equal(out.reward, [-1, -1, -1])
    self.assertTrue(out.terminated)

  def test_never_told(self):
    env = agents.make_game('switch_riddle(num_agents=3)')
    state, out, _ = self._play(env, [0] * 5, [NOTHING] * 5)
    self.assertFalse(out.terminated)
    state, out = env.move(env.params, state, jnp.zeros(3, jnp.int32), KEY)
    self.assertTrue(out.terminated)
    np.testing.assert_array_equal(out.reward, [0, 0, 0])

  def test_visits_are_uniform(self):
    env = agents.make_game('switch_riddle(num_agents=4)')
    keys = jax.random.split(KEY, 4000)
    state = jax.vmap(lambda k: env.start(env.params, k))(keys)
    count = np.bincount(np.asarray(state.inside), minlength=4)
    self.assertLess(((count - 1000.0) ** 2 / 1000).sum(), 20.0)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'num_agents must be at least 3'):
      agents.make_game('switch_riddle(num_agents=2)')


class SumGuessTest(parameterized.TestCase):
  @parameterized.parameters((2, -5.0), (3, -20 / 3), (4, -8.125), (5, -28 / 3))
  def test_the_own_number_earns_the_closed_form(self, n, want):
    env = agents.make_game(f'sum_guess(num_agents={n}, scale=10)')
    keys = jax.random.split(KEY, 20_000)

    def play(key):
      state = env.start(env.params, key)
      own = env.observe(env.params, state).own
      return env.move(env.params, state, own, key)[1].reward

    got = np.asarray(jax.jit(jax.vmap(play))(keys)).mean(axis=1)
    self.assertLess(abs(got.mean() - want), 4 * got.std() / np.sqrt(len(got)))

  def test_the_sum_earns_nothing(self):
    env = agents.make_game('sum_guess')
    state = jnp.array([1.0, -4.0, 9.0])
    _, out = env.move(env.params, state, jnp.array([[6.0], [7.0], [-1.0]]), KEY)
    np.testing.assert_allclose(out.reward, [0, -1, -7])
    self.assertTrue(out.terminated)


class RoutingTest(parameterized.TestCase):
  def test_by_hand(self):
    env = agents.make_game('routing')
    symbols = jnp.array([0, 1, 2, 3, 0, 1])
    own = env.observe(env.params, symbols).own
    np.testing.assert_array_equal(own[3], [0, 0, 0, 1, 0, 0, 0, 1, 0, 0])
    # Agent i needs the symbol of (3, 0, 5, 1, 2, 4)[i].
    right = jnp.array([3, 0, 1, 1, 2, 0])
    _, out = env.move(env.params, symbols, right, KEY)
    np.testing.assert_array_equal(out.reward, np.ones(6))
    _, out = env.move(env.params, symbols, symbols, KEY)
    np.testing.assert_array_equal(out.reward, [0, 0, 0, 0, 0, 0])
    self.assertTrue(out.terminated)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'an agent for each of 3; got 2'):
      agents.make_game('routing(num_agents=3, targets=(0, 1))')


class DilemmaTest(parameterized.TestCase):
  def test_payoffs_and_symbols_by_hand(self):
    env = agents.make_game('iterated_dilemma(rounds=4)')
    state = env.start(env.params, KEY)
    symbol = lambda s: np.argmax(env.observe(env.params, s).own, axis=-1)
    np.testing.assert_array_equal(symbol(state), [0, 0])
    for t, (a, b, own, other, left, right) in enumerate(
      [
        (0, 0, 1, 1, 1, 1),
        (0, 1, -1, 2, 2, 3),
        (1, 0, 2, -1, 3, 2),
        (1, 1, 0, 0, 4, 4),
      ]
    ):
      state, out = env.move(env.params, state, jnp.array([a, b]), KEY)
      np.testing.assert_allclose(out.reward, [own, other])
      np.testing.assert_array_equal(symbol(state), [left, right])
      self.assertEqual(bool(out.terminated), t == 3)

  def test_tit_for_tat_against_who_always_defects(self):
    # T = 100: -.01 and .02 per round.
    env = agents.make_game('iterated_dilemma(rounds=100)')

    def body(carry, key):
      seen, game = carry
      symbol = jnp.argmax(seen.own[0])
      copy = jnp.where(symbol == 0, 0, (symbol - 1) % 2)
      game, step = env.move_on(game, jnp.stack([copy, 1]), key=key)
      return (step.seen, game), step.reward

    _, reward = jax.lax.scan(body, env.reset(KEY), jax.random.split(KEY, 100))
    np.testing.assert_allclose(reward.mean(axis=0), [-0.01, 0.02], atol=1e-6)

  def test_endless_is_cut(self):
    env = agents.make_game('iterated_dilemma(rounds=1, endless=True)')
    _, game = env.reset(KEY)
    _, step = env.step(game, jnp.array([0, 0]), key=KEY)
    self.assertTrue(step.truncated)
    self.assertFalse(step.terminated)

  def test_tells_what_is_no_dilemma(self):
    with self.assertLogs('absl', 'WARNING') as log:
      agents.make_game('iterated_dilemma(temptation=0.5)')
    self.assertIn('no dilemma', log.output[0])

  def test_a_population_of_payoffs(self):
    env = agents.make_game('iterated_dilemma(rounds=2)')
    table = jnp.stack([env.params['payoffs'], 3 * env.params['payoffs']])
    many = jax.vmap(
      lambda p: (
        env.move(
          {'payoffs': p}, env.start(env.params, KEY), jnp.array([0, 1]), KEY
        )[1].reward
      )
    )(table)
    np.testing.assert_allclose(many, [[-1, 2], [-3, 6]])


class GoodsTest(parameterized.TestCase):
  def _play(self, env, contributions, noise=0.0):
    """Rewards summed over an episode; others send noise, which is ignored."""
    seen, game = env.reset(KEY)
    total, turns, over = 0.0, [], []
    low, high = float(env.params['c_min']), float(env.params['c_max'])
    for i, c in enumerate(contributions):
      turns.append(np.asarray(seen.alive))
      action = 2 * (c - low) / (high - low) - 1
      joint = jnp.full((env.num_agents, 1), noise).at[i, 0].set(action)
      game, step = env.move_on(game, joint, key=KEY)
      total, seen = total + np.asarray(step.reward), step.seen
      over.append(bool(step.terminated))
    return total, turns, over, step.facts, seen

  def test_reward_by_hand(self):
    # F = 1.7 < 2: (.30, .55, -.17).
    env = agents.make_game(
      'public_goods(kappa=2, gamma=0.4, rho=1.5, penalty=0.3, threshold=2)'
    )
    for noise in (0.0, 0.7):
      total, turns, over, facts, seen = self._play(env, (0.5, 0.2, 1.0), noise)
      np.testing.assert_allclose(total, [0.30, 0.55, -0.17], atol=1e-6)
      np.testing.assert_array_equal(turns, np.eye(3, dtype=bool))
      self.assertEqual(over, [False, False, True])
      self.assertAlmostEqual(float(facts['total']), 1.7, places=5)
      np.testing.assert_allclose(seen.own[0, 4:], [0.5, 0.2, 1], atol=1e-6)

  @parameterized.parameters(
    ('cost=linear, synergy=mean, score=mean', (-0.32, -0.04, -1.46)),
    ('synergy=previous, score=last', (0.25, 0.54, -0.42)),
    ('synergy=none', (0.6, 0.81, -0.15)),
  )
  def test_other_forms_by_hand(self, options, want):
    env = agents.make_game(
      f'public_goods(kappa=2, gamma=0.4, rho=1.5, {options})'
    )
    c = np.array([0.5, 0.2, 1.0])
    cost = 2 * c if 'linear' in options else c**2
    before = {
      'mean': np.array([0, 0.5, 0.35]),
      'previous': np.array([0, 0.5, 0.2]),
      'none': np.zeros(3),
    }[options.split('synergy=')[1].split(',')[0]]
    score = 1.7
    if 'score=mean' in options:
      score = 1.7 / 3
    elif 'score=last' in options:
      score = 1.0
    total, *_ = self._play(env, c)
    np.testing.assert_allclose(
      total, -cost + 0.4 * c * before + 0.5 * score, atol=1e-6
    )

  def test_at_the_threshold_nobody_pays(self):
    env = agents.make_game('public_goods(penalty=5, threshold=0.3, kappa=0)')
    total, _, _, facts, _ = self._play(env, (0.1, 0.1, 0.1))
    np.testing.assert_allclose(total, [0.15] * 3, atol=1e-5)
    self.assertEqual(float(facts['reached']), 1.0)

  def test_partial_view(self):
    env = agents.make_game('public_goods(observation=partial)')
    _, game = env.reset(KEY)
    for c in (0.0, 0.5):
      joint = jnp.full((3, 1), c)
      game, step = env.move_on(game, joint, key=KEY)
    np.testing.assert_allclose(step.seen.own[2], [0, 0, 1, 1, 0, 0.75, 0])

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'c_max must lie in'):
      agents.make_game('public_goods(c_min=1.0, c_max=1.0)')


class WrappersTest(parameterized.TestCase):
  def test_shared_reward(self):
    env = agents.make_game('shared_reward+sum_guess')
    state = jnp.array([1.0, -4.0, 9.0])
    _, out = env.move(env.params, state, jnp.array([[6.0], [7.0], [-2.0]]), KEY)
    np.testing.assert_allclose(out.reward, [-3, -3, -3])

  def test_first_entries(self):
    env = agents.make_game('observe_first(limit=10)+simple_spread')
    full = agents.make_game('simple_spread')
    part = agents.make_game('simple_spread(seen=partial)')
    found = [e.reset(KEY)[0].own for e in (env, full, part)]
    np.testing.assert_array_equal(found[0], found[1][:, :10])
    np.testing.assert_array_equal(found[0], found[2])

  def test_named_agents_see_less(self):
    env = agents.make_game(
      'heterogeneous(agents=(0, 2), first=4, last=6)+simple_spread'
    )
    full = agents.make_game('simple_spread').reset(KEY)[0].own
    want = np.array(full)
    want[[0, 2], 4:6] = 0
    np.testing.assert_array_equal(env.reset(KEY)[0].own, want)

  def test_chains_are_read_from_the_game_outwards(self):
    env = agents.make_game(
      'shared_reward+observe_first(limit=4)+heterogeneous+simple_spread'
    )
    self.assertEqual(env.own_size, 4)
    self.assertEqual(
      env.name, 'shared_reward+observe_first+heterogeneous+simple_spread'
    )

  @parameterized.parameters(
    ('observe_first(limit=0)+simple_spread', 'limit must be at least 1'),
    ('observe_first(limit=19)+simple_spread', 'limit must be at most 18'),
    ('heterogeneous(agents=(3,))+simple_spread', 'agents must be at most 2'),
    ('heterogeneous(agents=())+simple_spread', 'agents is empty'),
    ('heterogeneous(first=18)+simple_spread', 'first must be at most 17'),
    ('simple_spread+shared_reward', 'shared_reward'),
    ('chess', 'chess'),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      agents.make_game(spec)

  def test_only_games_are_wrapped(self):
    with self.assertRaisesRegex(TypeError, 'env must be an agents.Environment'):
      games.shared_reward('simple_spread')


if __name__ == '__main__':
  absltest.main()
