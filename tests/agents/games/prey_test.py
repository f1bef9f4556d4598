# SPDX-License-Identifier: Apache-2.0
"""Predators after a prey, against steps by hand and the exact law."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents.games import _draws, _prey

UP, RIGHT, DOWN, LEFT, STAY, CATCH = range(6)


def _state(predators, prey, n=None):
  n = len(predators)
  none = jnp.zeros((n,), bool)
  return _prey.PreyState(
    jnp.asarray(predators, jnp.int32), jnp.asarray(prey, jnp.int32), none, none
  )


def _play(env, state, actions):
  """Rewards and the ends of steps one after another."""
  rewards, over = [], []
  for a in actions:
    state, out = env.move(env.params, state, jnp.asarray(a), None)
    rewards.append(np.asarray(out.reward))
    over.append(bool(out.terminated))
  return state, np.asarray(rewards), over, out.facts


def _look(predators, captors, prey, me, dim, v):
  """What one sees, written as loops in float64."""
  base = dim * dim
  out = np.zeros((2 * v + 1, 2 * v + 1, base + 4))
  for a, b in itertools.product(range(2 * v + 1), repeat=2):
    r, c = me[0] + a - v, me[1] + b - v
    if not (0 <= r < dim and 0 <= c < dim):
      out[a, b, base + 1] = 1
      continue
    out[a, b, r * dim + c] = 1
    out[a, b, base + 2] += (r, c) == tuple(prey)
    out[a, b, base + 3] += sum((r, c) == tuple(p) for p in predators)
    out[a, b, base] += sum((r, c) == tuple(p) for p in captors)
  return out


class PredatorPreyTest(parameterized.TestCase):
  def test_moves_freezes_and_ends_by_hand(self):
    env = agents.make_game('predator_prey(num_agents=2, dim=3, vision=0)')
    state = _state([(0, 0), (2, 2)], (0, 1))
    state, rewards, over, facts = _play(
      env, state, [(RIGHT, RIGHT), (DOWN, UP), (LEFT, UP), (STAY, LEFT)]
    )
    # The first is there at once and stays; the second goes round the corner.
    np.testing.assert_allclose(
      rewards, [(0, -0.05), (0, -0.05), (0, -0.05), (0, 0)]
    )
    self.assertEqual(over, [False, False, False, True])
    np.testing.assert_array_equal(state.predators, [(0, 1), (0, 1)])
    self.assertEqual(float(facts['success']), 1.0)

  @parameterized.parameters(
    ('mixed', 0.0, 0.0, True),
    ('cooperative', 0.05, 0.10, False),
    ('competitive', 0.05, 0.025, False),
  )
  def test_modes(self, mode, alone, both, ends):
    env = agents.make_game(f'predator_prey(num_agents=2, dim=3, mode={mode})')
    state = _state([(0, 0), (0, 2)], (0, 1))
    _, rewards, over, _ = _play(env, state, [(RIGHT, STAY), (STAY, LEFT)])
    np.testing.assert_allclose(rewards, [(alone, -0.05), (both, both)])
    self.assertEqual(over, [False, ends])

  def test_an_option_ends_other_modes(self):
    env = agents.make_game(
      'predator_prey(num_agents=1, mode=cooperative, end_when_reached=True)'
    )
    _, _, over, _ = _play(env, _state([(0, 0)], (0, 1)), [(RIGHT,)])
    self.assertEqual(over, [True])

  @parameterized.parameters(0, 1, 2)
  def test_sees_cells_and_counts(self, v):
    dim = 4
    env = agents.make_game(
      f'predator_prey(num_agents=3, dim={dim}, vision={v})'
    )
    places, prey = [(0, 0), (1, 1), (1, 1)], (1, 0)
    got = env.observe(env.params, _state(places, prey)).own
    want = [_look(places, [], prey, me, dim, v).reshape(-1) for me in places]
    np.testing.assert_array_equal(got, want)
    self.assertEqual(got.shape, (3, env.own_size))

  def test_sizes_of_the_sheet(self):
    self.assertEqual(agents.make_game('predator_prey').own_size, 261)
    for dim, limit in ((5, 20), (10, 40), (20, 80)):
      self.assertEqual(
        agents.make_game(f'predator_prey(dim={dim})').max_steps, limit
      )

  def test_starts_follow_the_exact_law(self):
    # Mean Manhattan distance to the prey 10/3, of the farthest of 3 4.6768.
    env = agents.make_game('predator_prey(num_agents=3, dim=5, vision=0)')
    keys = jax.random.split(jax.random.key(0), 20_000)
    state = jax.jit(jax.vmap(lambda k: env.start(env.params, k)))(keys)
    gap = np.abs(state.predators - state.prey[:, None]).sum(axis=-1)
    for each, want in ((gap.mean(axis=1), 10 / 3), (gap.max(axis=1), 4.6768)):
      error = each.std() / np.sqrt(len(each))
      self.assertLess(abs(each.mean() - want), 4 * error)
    cells = np.concatenate([state.predators, state.prey[:, None]], axis=1)
    number = np.sort(cells[..., 0] * 5 + cells[..., 1], axis=1)
    self.assertTrue((np.diff(number, axis=1) > 0).all())

  def test_draws_are_uniform_over_orders(self):
    keys = jax.random.split(jax.random.key(1), 24_000)
    drawn = jax.jit(jax.vmap(lambda k: _draws.distinct(k, 3, 4)))(keys)
    code = np.asarray(drawn) @ np.array([16, 4, 1])
    _, count = np.unique(code, return_counts=True)
    self.assertLen(count, 24)
    # Chi-square with 23 degrees of freedom: mean 23, deviation 6.8.
    self.assertLess(((count - 1000.0) ** 2 / 1000).sum(), 50.0)

  def test_whole_numbers_are_uniform(self):
    drawn = np.asarray(_draws.whole(jax.random.key(3), (24_000,), 24))
    count = np.bincount(drawn, minlength=24)
    self.assertLen(count, 24)
    self.assertLess(((count - 1000.0) ** 2 / 1000).sum(), 50.0)

  @parameterized.parameters(3, 5, 25, 400, 4095)
  def test_the_largest_draw_stays_below(self, num):
    # What `uniform` gives at most.
    most = np.nextafter(np.float32(1), np.float32(0))
    self.assertLess(int(np.float32(most) * np.float32(num)), num)

  def test_many_draws_differ(self):
    drawn = np.asarray(_draws.distinct(jax.random.key(2), 20, 25))
    self.assertLen(set(drawn.tolist()), 20)
    self.assertLess(drawn.max(), 25)

  def test_random_agents_do_as_simulated(self):
    # Random actions at dim 5, N 3, limit 20: 19.8 steps, 2.6 % succeed, -.82.
    env = agents.make_game('predator_prey(num_agents=3, dim=5, vision=0)')
    policy = agents.random_policy(env)
    found = jax.jit(
      lambda key: agents.play_episodes(
        env, policy, {}, key=key, num_episodes=4000
      )
    )(jax.random.key(0))
    self.assertAlmostEqual(float(found['length'].mean()), 19.8, delta=0.1)
    self.assertAlmostEqual(float(found['success'].mean()), 0.026, delta=0.01)
    self.assertAlmostEqual(float(found['return'].mean()), -0.82, delta=0.02)

  def test_the_shortest_ways_earn_the_exact_mean(self):
    # -.05 (10/3 - 1) per agent, 4.6768 steps.
    env = agents.make_game('predator_prey(num_agents=3, dim=5, vision=0)')

    def play(key):
      _, running = env.reset(key)

      def body(carry, _):
        running, total, steps, over = carry
        gap = running.state.prey[None] - running.state.predators
        rows = jnp.where(gap[:, 0] > 0, DOWN, UP)
        columns = jnp.where(gap[:, 1] > 0, RIGHT, LEFT)
        joint = jnp.where(gap[:, 0] != 0, rows, columns)
        running, step = env.move_on(running, joint, key=key)
        total = total + jnp.where(over, 0.0, step.reward)
        carry = (running, total, steps + ~over, over | step.terminated)
        return carry, None

      zero = (running, jnp.zeros((3,)), jnp.int32(0), jnp.zeros((), bool))
      (_, total, steps, _), _ = jax.lax.scan(body, zero, length=8)
      return total.mean(), steps

    keys = jax.random.split(jax.random.key(4), 20_000)
    for got, want in zip(
      jax.jit(jax.vmap(play))(keys), (-0.05 * 7 / 3, 4.6768), strict=True
    ):
      error = np.asarray(got).std() / np.sqrt(len(got))
      self.assertLess(abs(float(got.mean()) - want), 4 * error)

  @parameterized.parameters(
    ('dim=3, vision=3', 'vision=3 must be below dim=3'),
    ('dim=2, num_agents=4', 'need a cell each; dim=2 has 4'),
    ('num_agents=0', 'num_agents must be at least 1'),
    ('mode=solo', "mode='solo'|mode must be|unknown"),
    ('moving_prey=True', 'moving_prey=True: the prey of this game stays'),
    ('max_steps=0', 'max_steps must be at least 1'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      agents.make_game(f'predator_prey({options})')


class PredatorCaptureTest(parameterized.TestCase):
  def test_captures_by_hand(self):
    env = agents.make_game('predator_capture(num_predators=1, dim=3)')
    state = _state([(0, 0), (0, 2)], (0, 1))
    state, rewards, over, facts = _play(
      env,
      state,
      # A captor cannot catch from afar, nor a predator on the prey.
      [(RIGHT, CATCH), (CATCH, LEFT), (CATCH, DOWN), (UP, CATCH)],
    )
    np.testing.assert_allclose(
      rewards, [(0, -0.05), (0, -0.05), (0, -0.05), (0, 0)]
    )
    self.assertEqual(over, [False, False, False, True])
    np.testing.assert_array_equal(state.captured, [False, True])
    np.testing.assert_array_equal(state.predators, [(0, 1), (0, 1)])
    self.assertEqual(float(facts['captured']), 1.0)

  def test_a_part_of_the_reward_for_being_there(self):
    env = agents.make_game(
      'predator_capture(num_predators=0, dim=3, partial_reward=True)'
    )
    _, rewards, _, _ = _play(
      env, _state([(0, 0)], (0, 1)), [(STAY,), (RIGHT,), (CATCH,)]
    )
    np.testing.assert_allclose(rewards[:, 0], [-0.05, -0.025, 0.0])

  def test_captors_are_blind(self):
    dim, v = 4, 1
    env = agents.make_game(f'predator_capture(dim={dim}, vision={v})')
    places, prey = [(0, 0), (1, 1), (1, 0)], (1, 1)
    got = env.observe(env.params, _state(places, prey)).own
    want = np.stack(
      [_look(places[:2], places[2:], prey, me, dim, v) for me in places]
    )
    want[2, :, :, dim * dim :] = -1
    np.testing.assert_array_equal(got, want.reshape(3, -1))

  def test_captors_see_near_cells_if_asked(self):
    dim, v = 4, 2
    env = agents.make_game(
      f'predator_capture(dim={dim}, vision={v}, captor_vision=1)'
    )
    places, prey = [(0, 0), (1, 1), (1, 0)], (1, 1)
    got = env.observe(env.params, _state(places, prey)).own
    want = np.full((5, 5, dim * dim + 4), -1.0)
    full = _look(places[:2], places[2:], prey, places[2], dim, v)
    want[1:4, 1:4] = full[1:4, 1:4]
    np.testing.assert_array_equal(got[2], want.reshape(-1))

  @parameterized.parameters(
    ('num_predators=0, num_captors=0', 'need an agent'),
    ('captor_vision=2, vision=1', 'captor_vision must be at most 1'),
    ('moving_prey=True', 'the prey of this game stays'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      agents.make_game(f'predator_capture({options})')


if __name__ == '__main__':
  absltest.main()
