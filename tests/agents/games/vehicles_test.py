# SPDX-License-Identifier: Apache-2.0
"""Traffic and beams against routes, steps and forces by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import games

KEY = jax.random.key(0)
GAS, BRAKE = range(2)


def _cars(env, route, place, alive, wait=None):
  n = env.num_agents
  fill = lambda xs, kind: jnp.zeros((n,), kind).at[: len(xs)].set(xs)
  return games.TrafficState(
    fill(jnp.array(route), jnp.int32),
    fill(jnp.array(place), jnp.int32),
    fill(jnp.array(alive), bool),
    fill(jnp.array(wait or [0] * len(route)), jnp.int32),
    jnp.zeros((n,), bool),
    jnp.zeros((), bool),
  )


class RoadsTest(parameterized.TestCase):
  def test_easy(self):
    found = games.roads('easy')
    self.assertEqual(found.routes[0], [[(i, 3) for i in range(7)]])
    self.assertEqual(found.routes[1], [[(3, i) for i in range(7)]])
    self.assertEqual((found.numbers >= 0).sum(), 13)

  def test_medium_by_hand(self):
    # Straight, right and left from the top of a map of 6 cells a side.
    top, bottom, left, right = games.roads('medium', 6).routes
    down = [(i, 2) for i in range(6)]
    self.assertEqual(top[0], down)
    self.assertEqual(top[1], [*down[:3], (2, 1), (2, 0)])
    self.assertEqual(top[2], [*down[:4], (3, 3), (3, 4), (3, 5)])
    self.assertEqual(bottom[0], [(5 - i, 3) for i in range(6)])
    self.assertEqual(bottom[1], [(5, 3), (4, 3), (3, 3), (3, 4), (3, 5)])
    self.assertEqual(left[0], [(3, i) for i in range(6)])
    self.assertEqual(left[1], [(3, 0), (3, 1), (3, 2), (4, 2), (5, 2)])
    self.assertEqual(right[0], [(2, 5 - i) for i in range(6)])
    self.assertEqual(
      right[2], [(2, 5), (2, 4), (2, 3), (2, 2), (3, 2), (4, 2), (5, 2)]
    )

  @parameterized.parameters(('easy', 2), ('medium', 12), ('hard', 56))
  def test_routes_are_ways_between_ends(self, level, count):
    found = games.roads(level)
    dim = found.numbers.shape[0]
    routes = [r for some in found.routes for r in some]
    self.assertLen(routes, count)
    self.assertLen({len(some) for some in found.routes}, 1)
    self.assertLen({tuple(r) for r in routes}, count)
    for route in routes:
      steps = np.abs(np.diff(np.array(route), axis=0)).sum(axis=1)
      np.testing.assert_array_equal(steps, 1)
      for end in (route[0], route[-1]):
        self.assertTrue({0, dim - 1} & set(end))
      self.assertTrue(all(found.numbers[cell] >= 0 for cell in route))

  @parameterized.parameters(
    (('medium', 7), 'dim=7 must be a multiple of 2 at medium'),
    (('hard', 10), 'dim=10 must be a multiple of 3 at hard'),
    (('hard', 6), 'dim must be at least 9'),
    (('huge', 6), 'huge'),
  )
  def test_says_what_is_wrong(self, args, message):
    with self.assertRaisesRegex(ValueError, message):
      games.roads(*args)


class TrafficTest(parameterized.TestCase):
  def test_waits_crashes_and_leaves_by_hand(self):
    env = agents.make_game('traffic_junction(arrival=0.0)')
    # Two cars before the junction, one at the end of its route.
    state = _cars(env, [0, 1, 1], [2, 2, 6], [True] * 3, [2, 0, 7])
    joint = lambda *a: jnp.array([*a, 0, 0])
    state, out = env.move(env.params, state, joint(GAS, BRAKE, GAS), KEY)
    np.testing.assert_allclose(out.reward, [-0.03, -0.01, 0, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(state.alive, [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(state.braked, [0, 1, 0, 0, 0])
    self.assertEqual(float(out.facts['arrived']), 1.0)
    self.assertEqual(float(out.facts['success']), 1.0)
    state, out = env.move(env.params, state, joint(BRAKE, GAS, GAS), KEY)
    np.testing.assert_allclose(out.reward, [-10.04, -10.02, 0, 0, 0], atol=1e-6)
    self.assertEqual(float(out.facts['collisions']), 2.0)
    # They drive on, and the episode is a failure for good.
    state, out = env.move(env.params, state, joint(GAS, BRAKE, GAS), KEY)
    np.testing.assert_allclose(out.reward, [-0.05, -0.03, 0, 0, 0], atol=1e-6)
    self.assertEqual(float(out.facts['success']), 0.0)

  @parameterized.parameters(0, 1)
  def test_sees_by_hand(self, v):
    env = agents.make_game(f'traffic_junction(vision={v})')
    state = _cars(env, [1, 0], [2, 3], [True, True])
    seen = env.observe(env.params, state)
    np.testing.assert_array_equal(seen.alive, [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(seen.own[2:], np.zeros((3, env.own_size)))
    numbers = np.pad(games.roads('easy').numbers, v, constant_values=13)
    numbers = np.where(numbers < 0, 13, numbers)
    for me, (route, at) in enumerate([(1, (3, 2)), (0, (3, 3))]):
      want = np.zeros((2 * v + 1, 2 * v + 1, 15))
      for a in range(2 * v + 1):
        for b in range(2 * v + 1):
          want[a, b, numbers[at[0] + a, at[1] + b]] = 1
          cell = (at[0] + a - v, at[1] + b - v)
          want[a, b, 14] = (cell == (3, 2)) + (cell == (3, 3))
      np.testing.assert_array_equal(seen.own[me], [0, route, *want.reshape(-1)])

  def test_plain_cells(self):
    env = agents.make_game('traffic_junction(cells=plain, vision=1)')
    self.assertEqual(env.own_size, 22)
    own = env.observe(env.params, _cars(env, [1], [0], [True])).own[0]
    np.testing.assert_allclose(own[:4], [0, 1, 0.5, 0])
    # The west end of the road: nothing to the left, road here and ahead.
    np.testing.assert_array_equal(own[4::2], [0, 0, 0, 0, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(own[5::2], [0, 0, 0, 0, 1, 0, 0, 0, 0])

  def test_arrivals_follow_the_law(self):
    env = agents.make_game('traffic_junction(level=medium, arrival=0.25)')
    keys = jax.random.split(KEY, 4000)

    def first(key):
      state = env.start(env.params, key)
      state, _ = env.move(env.params, state, jnp.zeros((10,), jnp.int32), key)
      return state

    state = jax.jit(jax.vmap(first))(keys)
    # Each of four arrivals has a car with probability 1/4.
    count = np.asarray(state.alive).sum(axis=1)
    np.testing.assert_allclose(
      np.bincount(count, minlength=5) / 4000,
      [81 / 256, 108 / 256, 54 / 256, 12 / 256, 1 / 256],
      atol=0.03,
    )
    routes = np.asarray(state.route)[np.asarray(state.alive)]
    share = np.bincount(routes, minlength=12) / len(routes)
    np.testing.assert_allclose(share, 1 / 12, atol=0.02)
    cars = np.asarray(state.alive).mean(axis=0)
    np.testing.assert_allclose(cars, 0.1, atol=0.02)

  def test_never_more_cars_than_there_are(self):
    env = agents.make_game('traffic_junction(num_agents=1, arrival=1.0)')
    _, game = env.reset(KEY)
    for _ in range(2):
      game, step = env.move_on(game, jnp.array([BRAKE]), key=KEY)
    np.testing.assert_array_equal(step.seen.alive, [True])
    np.testing.assert_allclose(step.reward, [-0.01], atol=1e-6)


def _beam(state, force, dt=0.05):
  """A step in float64, as written in the docstring."""
  p, v, beam, speed = (np.array(x, np.float64) for x in state)
  push = np.zeros(3)
  push[1] = -9.8
  for i in range(len(p)):
    s = p[i, 0] - beam[0]
    press = p[i, 1] + 0.1 - (beam[1] + beam[2] * s)
    lift = 60 * press + 3 * (v[i, 1] - speed[1] - speed[2] * s)
    lift = max(lift, 0) if press > 0 and abs(s) <= 1 else 0.0
    push += [4 * (v[i, 0] - speed[0]), lift, lift * s / 0.2]
  v = v + dt * (force - v)
  p = p + dt * v
  speed = speed + dt * push
  return p, v, beam + dt * speed, speed


class BeamTest(parameterized.TestCase):
  def test_rests(self):
    for n in (1, 3, 5):
      env = agents.make_game(f'beam_carry(num_agents={n})')
      state = env.start(env.params, KEY)
      for _ in range(20):
        state, out = env.move(env.params, state, jnp.zeros((n, 2)), KEY)
      np.testing.assert_allclose(
        state.beam, [0, 1.1 - 9.8 / (60 * n), 0], atol=1e-4
      )
      np.testing.assert_allclose(out.reward, np.zeros(n), atol=1e-5)
      self.assertFalse(out.terminated)

  def test_equals_the_reference(self):
    env = agents.make_game('beam_carry(reward=own)')
    state = env.start(env.params, KEY)
    want, rng = tuple(state), np.random.default_rng(0)
    for _ in range(12):
      action = rng.uniform(-0.4, 0.5, size=(3, 2))
      old = np.array(want[0])
      want = _beam(want, 5 * action)
      state, out = env.move(env.params, state, jnp.float32(action), KEY)
      for a, b in zip(state, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
      np.testing.assert_allclose(out.reward, (want[0] - old)[:, 0], atol=1e-4)

  def test_walking_together_brings_it_forward(self):
    env = agents.make_game('beam_carry')
    state, total = env.start(env.params, KEY), 0.0
    joint = jnp.tile(jnp.array([0.3, 0.0]), (3, 1))
    for _ in range(60):
      state, out = env.move(env.params, state, joint, KEY)
      total += float(out.reward[0])
      self.assertFalse(out.terminated)
    self.assertGreater(total, 2.0)
    self.assertAlmostEqual(total, float(state.beam[0]), places=4)

  def test_falls(self):
    env = agents.make_game('beam_carry')
    state, over = env.start(env.params, KEY), False
    joint = jnp.array([[0, -1.0], [0, -1.0], [0, 1.0]])
    for _ in range(40):
      state, out = env.move(env.params, state, joint, KEY)
      if out.terminated:
        over = True
        break
    self.assertTrue(over)
    self.assertLess(float(out.reward.max()), -99.0)
    self.assertEqual(float(out.facts['dropped']), 1.0)

  def test_who_leaves_the_beam_pays(self):
    env = agents.make_game('beam_carry(num_agents=4)')
    state = env.start(env.params, KEY)
    state = state._replace(positions=state.positions.at[3, 0].set(1.5))
    _, out = env.move(env.params, state, jnp.zeros((4, 2)), KEY)
    self.assertLess(float(out.reward[3]), -9.5)
    self.assertGreater(float(out.reward[:3].min()), -0.5)


if __name__ == '__main__':
  absltest.main()
