# SPDX-License-Identifier: Apache-2.0
"""Games on the host: what is played there and learned here."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import games, hammer

SIZES = {'actor_sizes': (4,), 'critic_sizes': (3,), 'encoder_sizes': (4,)}


def sums(num_agents=2, max_steps=3, worth=1.0):
  """Sums of numbers that are guessed in Python, new ones in each step."""
  state = {}

  def draw():
    own = state['rng'].uniform(-1.0, 1.0, (num_agents, 1))
    state['sum'] = own.sum()
    return own

  def start(seed):
    state['rng'] = np.random.default_rng(seed)
    return draw()

  def move(actions):
    reward = -worth * np.abs(actions[:, 0] - state['sum'])
    return draw(), reward, False, {}

  return games.HostGame(
    start,
    move,
    num_agents=num_agents,
    own_size=1,
    max_steps=max_steps,
    action_size=1,
    name='sums',
  )


def training(**options):
  small = {
    'optimizer': optax.adam(0.01),
    'update_steps': 16,
    'num_envs': 2,
    'num_epochs': 2,
  }
  return hammer.Training(**{**SIZES, **small, **options})


@functools.cache
def variant(spec='v1(message_length=2, central_updates=2)'):
  return hammer.make_variant(spec, [sums(), sums()], training())


class HostTest(parameterized.TestCase):
  def test_learns_and_goes_on_where_it_was(self):
    algorithm = variant().algorithm
    self.assertTrue(algorithm.on_host)
    start = algorithm.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 2)
    state, found = algorithm.step(start, None, key=keys[0])
    state, found = algorithm.step(state, None, key=keys[1])
    self.assertEqual(int(state.num_updates), 2)
    self.assertEqual(found['length'], 3.0)
    # Eight steps of two games are two whole episodes of three each.
    self.assertEqual(found['episodes'], 4.0)
    self.assertIn('central_kl', found)
    for name in ('actor', 'critic', 'central'):
      moved = jax.tree.map(
        lambda x, y: float(np.abs(x - y).max()),
        state.params[name],
        start.params[name],
      )
      self.assertGreater(min(jax.tree.leaves(moved)), 1e-4, name)
    # From a state that was kept, another process plays the same.
    kept = jax.tree.map(np.asarray, start)
    again, _ = algorithm.step(kept, None, key=keys[0])
    again, same = algorithm.step(again, None, key=keys[1])
    jax.tree.map(np.testing.assert_array_equal, again.params, state.params)
    self.assertEqual(same, found)

  def test_figures_between_are_means_over_parts(self):
    made = hammer.make_variant('il', [sums(), sums()], training())

    def between(params, turn, steps, *, key):
      return params, turn + 1, {'turn': turn.astype(jnp.float32)}

    learner = hammer.Learner(
      made.policy,
      lambda params: jnp.int32(0),
      lambda params, turn, steps, *, key: (params, turn, {}),
      between,
      4,
    )
    algorithm = hammer.algorithm_on_host([sums(), sums()], learner, training())
    _, found = algorithm.step(
      algorithm.init(jax.random.key(0)), None, key=jax.random.key(1)
    )
    self.assertEqual(found['turn'], np.mean([0, 1, 2, 3]))

  def test_learns_what_a_compiled_learner_would(self):
    made, train = variant(), training()
    params = made.policy.init(jax.random.key(0))
    playing = games.host_begin([sums(), sums()], made.policy, seed=1)
    _, steps = games.host_rollout(
      made.policy, params, playing, key=jax.random.key(1), num_steps=8
    )
    judged = made.policy.judge(
      params, {}, steps.seen, steps.actions, steps.choices, steps.first
    )
    np.testing.assert_allclose(judged.log_prob, steps.log_prob, atol=1e-5)
    found = hammer.local_learning(made.local, made.messenger, train)
    after, _, facts = jax.jit(lambda p, o, s, k: found.learn(p, o, s, key=k))(
      params, found.start(params), steps, jax.random.key(2)
    )
    self.assertTrue(np.isfinite(facts['policy_loss']))
    np.testing.assert_array_equal(
      after['central']['actor']['dense_0']['kernel'],
      params['central']['actor']['dense_0']['kernel'],
    )

  def test_a_reward_that_is_no_number_is_named(self):
    found = hammer.make_variant(
      'il', [sums(worth=float('nan')), sums()], training()
    )
    state = found.algorithm.init(jax.random.key(0))
    with self.assertRaisesRegex(ValueError, r'sums gave .* at step 1'):
      found.algorithm.step(state, None, key=jax.random.key(1))

  def test_refusals(self):
    with self.assertRaisesRegex(ValueError, 'num_envs=2 must be the number'):
      hammer.v2([sums()], training())
    with self.assertRaisesRegex(TypeError, 'or several games.HostGame'):
      hammer.v2([], training())
    with self.assertRaisesRegex(TypeError, 'or several games.HostGame'):
      hammer.v2([agents.make_game('sum_guess'), sums()], training())

  @absltest.skipUnless(
    importlib.util.find_spec('pettingzoo'), 'needs pettingzoo[sisl]'
  )
  def test_walkers(self):
    walkers = [games.multiwalker(max_steps=20) for _ in range(2)]
    made = hammer.v2(walkers, training(update_steps=40))
    state = made.algorithm.init(jax.random.key(0))
    state, found = made.algorithm.step(state, None, key=jax.random.key(1))
    self.assertTrue(np.isfinite(list(found.values())).all())
    self.assertLessEqual(found['length'], 20.0)


if __name__ == '__main__':
  absltest.main()
