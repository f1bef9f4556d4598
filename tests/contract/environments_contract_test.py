# SPDX-License-Identifier: Apache-2.0
"""What holds for every registered game."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import games

KEY = jax.random.key(0)
# Small ones; a game that is new is tried as it is.
SPECS = {
  'beam_carry': 'beam_carry(num_agents=2, max_steps=4)',
  'iterated_dilemma': 'iterated_dilemma(rounds=3)',
  'predator_capture': (
    'predator_capture(num_predators=1, dim=2, vision=1, max_steps=5)'
  ),
  'predator_prey': 'predator_prey(num_agents=2, dim=3, vision=1, max_steps=5)',
  'public_goods': 'public_goods(num_agents=3)',
  'routing': 'routing(num_agents=3, num_symbols=2)',
  'simple_reference': 'simple_reference(num_words=2, max_steps=3)',
  'simple_speaker_listener': 'simple_speaker_listener(max_steps=3)',
  'simple_spread': 'simple_spread(num_agents=3, max_steps=3)',
  'sum_guess': 'sum_guess(num_agents=2)',
  'switch_riddle': 'switch_riddle(num_agents=3)',
  'traffic_junction': (
    'traffic_junction(num_agents=3, dim=5, max_steps=5, arrival=0.5)'
  ),
  'wrapped': (
    'shared_reward+observe_first(limit=5)+heterogeneous(first=2)'
    '+simple_spread(num_agents=2, max_steps=3)'
  ),
}
# Games of one agent, where there are such.
ALONE = {
  'beam_carry': 'beam_carry(num_agents=1, max_steps=3)',
  'predator_capture': 'predator_capture(num_predators=0, dim=2)',
  'predator_prey': 'predator_prey(num_agents=1, dim=2)',
  'public_goods': 'public_goods(num_agents=1)',
  'routing': 'routing(num_agents=1)',
  'simple_spread': 'simple_spread(num_agents=1)',
  'sum_guess': 'sum_guess(num_agents=1)',
  'switch_riddle': 'switch_riddle(num_agents=1, max_steps=2)',
  'traffic_junction': 'traffic_junction(num_agents=1, dim=3)',
}
NAMES = sorted({*games.GAMES, 'wrapped'})
STEPS, GAMES = 11, 2


@functools.cache
def _env(name):
  return agents.make_game(SPECS.get(name, name))


def _fold(key):
  return jax.vmap(lambda e: jax.random.fold_in(key, e))(jnp.arange(GAMES))


def _trace(env, key):
  """Plays GAMES games at random through `step_many` and keeps all."""
  play = lambda r, a, k: env.move_on(r, a, key=k)

  def body(before, step_key):
    act_key, env_key = jax.random.split(step_key)
    joint = agents.random_actions(env, act_key, (GAMES,))
    after, out = env.step_many(before, joint, key=env_key)
    # The same by single games.
    move_key, start_key = jax.random.split(env_key)
    alone = jax.vmap(play)(before, joint, _fold(move_key))
    fresh = jax.vmap(env.reset)(_fold(start_key))
    return after, (before, joint, out, after, alone, fresh)

  seen, running = env.reset_many(key, GAMES)
  _, kept = jax.lax.scan(body, running, jax.random.split(key, STEPS))
  return seen, kept


@functools.cache
def _program(name):
  """Plays a population of three; one program per game, which tests share."""
  axes = jax.tree.map(lambda x: 0, _env(name).params)
  return jax.jit(
    jax.vmap(
      lambda params, key: _trace(_env(name).replace(params=params), key),
      in_axes=(axes, 0),
    )
  )


@functools.cache
def _population(name):
  """A run of two games with the same numbers and one with others."""
  bend = lambda x: jnp.stack([x, x, 0.5 * x]).astype(x.dtype)
  params = jax.tree.map(bend, _env(name).params)
  keys = jnp.stack([KEY, jax.random.key(1), KEY])
  return _program(name)(params, keys)


@functools.cache
def _played(name):
  """The first of the population."""
  return jax.tree.map(lambda x: x[0], _population(name))


def _close(got, want):
  """Compares trees of arrays."""
  flat = lambda tree: [np.asarray(x) for x in jax.tree.leaves(tree)]
  for a, b in zip(flat(got), flat(want), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


class EnvironmentsTest(parameterized.TestCase):
  @parameterized.parameters(*NAMES)
  def test_shapes_and_types(self, name):
    env = _env(name)
    seen, _ = jax.eval_shape(env.reset, KEY)
    _, (_, joint, out, *_) = _played(name)
    n, d = env.num_agents, env.own_size
    self.assertEqual(seen.own.shape, (n, d))
    for found in (out.seen, out.final):
      self.assertEqual(found.own.shape, (STEPS, GAMES, n, d))
      self.assertEqual(found.own.dtype, jnp.float32)
      if found.alive is not None:
        self.assertEqual(found.alive.shape, (STEPS, GAMES, n))
        self.assertEqual(found.alive.dtype, bool)
      if found.available is not None:
        want = (STEPS, GAMES, n, env.num_actions)
        self.assertEqual(found.available.shape, want)
        self.assertTrue(found.available.any(axis=-1).all())
    self.assertEqual(out.reward.shape, (STEPS, GAMES, n))
    self.assertEqual(out.reward.dtype, jnp.float32)
    for flag in (out.terminated, out.truncated):
      self.assertEqual((flag.shape, flag.dtype), ((STEPS, GAMES), bool))
    if env.num_actions is None:
      self.assertEqual(joint.shape[-2:], (n, env.action_size))
    self.assertEqual(env.world_size, (seen.world or seen.own).size)
    self.assertEqual(set(out.facts), {fact for fact, _ in env.facts})
    self.assertIn(len(env.seen_names), (0, d))
    for leaf in jax.tree.leaves(env.params):
      self.assertIsInstance(leaf, jax.Array)

  @parameterized.parameters(*NAMES)
  def test_states_keep_their_types(self, name):
    env = _env(name)
    _, running = jax.eval_shape(env.reset, KEY)
    joint = jax.eval_shape(lambda k: agents.random_actions(env, k), KEY)
    after, _ = jax.eval_shape(
      lambda r, a, k: env.move_on(r, a, key=k), running, joint, KEY
    )
    kind = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    self.assertEqual(kind(after), kind(running))

  @parameterized.parameters(*NAMES)
  def test_states_keep_their_types_in_double_precision(self, name):
    with jax.enable_x64(True):
      env = agents.make_game(SPECS[name])
      run = lambda key: _trace(env, key)[1][2]
      out = jax.eval_shape(run, jax.random.key(0))
    self.assertEqual(out.reward.dtype, jnp.float32)

  @parameterized.parameters(*NAMES)
  def test_no_number_is_lost(self, name):
    _, (_, _, out, *_) = _played(name)
    for leaf in jax.tree.leaves((out.seen.own, out.reward, out.facts)):
      self.assertTrue(np.isfinite(leaf).all())

  @parameterized.parameters(*NAMES)
  def test_episodes_end_on_time(self, name):
    env = _env(name)
    _, (before, _, out, after, *_) = _played(name)
    over = np.asarray(out.terminated | out.truncated)
    self.assertFalse(np.any(out.terminated & out.truncated))
    length = np.asarray(before.log.length) + 1
    self.assertLessEqual(length.max(), env.max_steps)
    np.testing.assert_array_equal(
      np.asarray(out.truncated),
      (length == env.max_steps) & ~np.asarray(out.terminated),
    )
    self.assertTrue(over.any())
    # The log begins anew, and what ended is told.
    np.testing.assert_array_equal(
      np.asarray(after.log.length), np.where(over, 0, length)
    )
    np.testing.assert_array_equal(
      np.asarray(after.last.length)[over], length[over]
    )
    total = np.asarray(before.log.total + out.reward)
    np.testing.assert_allclose(
      np.asarray(after.last.total)[over], total[over], atol=1e-5
    )
    np.testing.assert_array_equal(
      np.asarray(after.done), np.cumsum(over, axis=0)
    )

  @parameterized.parameters(*NAMES)
  def test_many_are_as_one_but_for_fresh_starts(self, name):
    _, (_, _, out, after, (moved, step), (seen, fresh)) = _played(name)
    over = np.asarray(step.terminated | step.truncated)
    pick = lambda new, old: np.where(
      over.reshape(over.shape + (1,) * (new.ndim - 2)), new, old
    )
    _close(out.final, step.seen)
    _close(out.reward, step.reward)
    _close(out.facts, step.facts)
    _close(out.seen, jax.tree.map(pick, seen, step.seen))
    _close(after.state, jax.tree.map(pick, fresh.state, moved.state))

  # Where compiled numbers could differ; tests by hand of all games are not
  # compiled.
  @parameterized.parameters(
    *('beam_carry', 'predator_prey', 'public_goods', 'simple_spread'),
    'traffic_junction',
  )
  def test_without_jit_and_alone(self, name):
    env = _env(name)
    _, (before, joint, out, *_) = _played(name)
    state = jax.tree.map(lambda x: x[0, 1], before.state)
    key = jax.random.split(jax.random.split(KEY, STEPS)[0])[1]
    key = jax.random.fold_in(jax.random.split(key)[0], 1)
    state, outcome = env.move(env.params, state, joint[0, 1], key)
    seen = env.observe(env.params, state)
    want = jax.tree.map(lambda x: x[0, 1], out)
    _close((outcome.reward, seen), (want.reward, want.final))

  @parameterized.parameters(*NAMES)
  def test_compiles_once_for_all_numbers(self, name):
    run, env = _program(name), _env(name)
    _population(name)
    bend = lambda x: jnp.stack([0.7 * x, x, x]).astype(x.dtype)
    keys = jnp.stack([KEY, KEY, jax.random.key(1)])
    _, other = run(jax.tree.map(bend, env.params), keys)
    self.assertEqual(run._cache_size(), 1)
    # A row depends on its own numbers and key only.
    _, (_, _, first, *_) = _population(name)
    _close(
      jax.tree.map(lambda x: x[1], other[2]),
      jax.tree.map(lambda x: x[0], first),
    )


class OneGameTest(parameterized.TestCase):
  @parameterized.parameters('predator_prey', 'switch_riddle', 'routing')
  def test_step_shows_the_reset_of_the_split_key(self, name):
    env = _env(name)

    def body(running, key):
      joint = agents.random_actions(env, key)
      running, step = env.step(running, joint, key=key)
      move_key, start_key = jax.random.split(key)
      return running, (step, env.reset(start_key)[0])

    keys = jax.random.split(KEY, 3 * env.max_steps)
    _, (step, fresh) = jax.jit(lambda r: jax.lax.scan(body, r, keys))(
      env.reset(KEY)[1]
    )
    over = np.asarray(step.terminated | step.truncated)
    self.assertGreater(over.sum(), 2)
    _close(step.seen.own[over], fresh.own[over])
    _close(step.seen.own[~over], step.final.own[~over])

  @parameterized.parameters(*sorted(ALONE))
  def test_one_agent(self, name):
    env = agents.make_game(ALONE[name])
    self.assertEqual(env.num_agents, 1)

    @jax.jit
    def run(key):
      _, running = env.reset(key)
      return env.step(running, agents.random_actions(env, key), key=key)[1]

    step = run(KEY)
    self.assertEqual(step.reward.shape, (1,))
    for leaf in jax.tree.leaves((step.seen, step.reward)):
      self.assertTrue(np.isfinite(leaf).all())

  @parameterized.parameters(*NAMES)
  def test_draws(self, name):
    env = _env(name)
    self.assertIsNotNone(env.draw)
    _, (before, *_) = _played(name)
    state = jax.tree.map(lambda x: x[-1, 0], before.state)
    found = env.draw(env.params, state)
    self.assertNotEmpty(found)
    for leaf in jax.tree.leaves(found):
      self.assertTrue(np.isfinite(np.asarray(leaf, np.float32)).all())

  def test_every_game_is_small_here(self):
    self.assertEqual(set(SPECS) - {'wrapped'}, set(games.GAMES))


if __name__ == '__main__':
  absltest.main()
