# SPDX-License-Identifier: Apache-2.0
"""Learners of values find what a table says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import values

TABLE = np.array([[0.0, 1.0], [2.0, 5.0]], np.float32)


def coordination(max_steps=1, kills=False, table=TABLE, until=None):
  """Two agents get an entry of a table by what both do; the last may die.

  All take part `until` so many steps were played, if that is given.
  """

  def start(params, key):
    del params, key
    return jnp.zeros((), jnp.int32)

  def observe(params, state):
    del params
    own = jnp.stack([jnp.ones(2), jnp.full(2, state.astype(jnp.float32))], -1)
    alive = jnp.array([True, False]) if kills else None
    if until is not None:
      alive = jnp.full(2, state < until)
    return agents.Seen(own, alive=alive)

  def move(params, state, actions, key):
    del key
    reward = jnp.sum(
      params
      * jax.nn.one_hot(actions[0], 2)[:, None]
      * jax.nn.one_hot(actions[1], 2)[None]
    )
    own = jnp.stack([reward, -reward]) if kills else jnp.full(2, reward)
    return state + 1, agents.Outcome(own, jnp.zeros((), bool), {})

  return agents.Environment(
    params=jnp.asarray(table),
    start=start,
    move=move,
    observe=observe,
    num_agents=2,
    own_size=2,
    max_steps=max_steps,
    num_actions=2,
  )


def policy_of(env, **options):
  options = {'hidden_sizes': (16,), 'critic': 'heard', **options}
  return agents.actor_critic(env, **options)


def trained(env, policy, updates=120, **options):
  options = {
    'optimizer': optax.adam(0.02),
    'num_envs': 4,
    'num_steps': 4,
    'capacity': 64,
    'batch_size': 16,
    'num_batches': 4,
    'learning_starts': 16,
    'target_every': 5,
    'epsilon_updates': 60,
    'gamma': 0.5,
    **options,
  }
  learner = values.q_learning(env, policy, **options)
  state = learner.init(jax.random.key(0))

  def body(state, key):
    return learner.step(state, None, key=key)

  keys = jax.random.split(jax.random.key(1), updates)
  return jax.jit(lambda s: jax.lax.scan(body, s, keys))(state)


def values_at(env, policy, params, t=0):
  seen = env.observe(env.params, jnp.int32(t))
  seen = jax.tree.map(lambda x: x[None], seen)
  carry = policy.start(1)
  return np.asarray(policy.logits(params, carry, seen, jnp.ones(1, bool))[0])


class QLearningTest(parameterized.TestCase):
  def test_own_values_are_those_of_one_step(self):
    env = coordination()
    policy = policy_of(env, shared=False)
    state, found = trained(env, policy, epsilon_end=0.1)
    q = values_at(env, policy, state.params['agents'])
    # The other nearly always plays 1 by now.
    self.assertTrue((q.argmax(axis=1) == 1).all())
    np.testing.assert_allclose(q[:, 1], [5.0, 5.0], atol=0.7)
    self.assertLess(float(found['epsilon'][-1]), 0.11)
    self.assertAlmostEqual(float(found['epsilon'][30]), 0.55, places=2)

  @parameterized.parameters('sum', 'qmix')
  def test_teams_find_the_best_joint_action(self, mixer):
    env = coordination()
    policy = policy_of(env, agent_id=True)
    state, found = trained(env, policy, mixer=mixer, embedding=4, hyper_width=8)
    q = values_at(env, policy, state.params['agents'])
    self.assertTrue((q.argmax(axis=1) == 1).all())
    done = q.max(axis=1)
    # Both get 5, so that the team gets 10.
    total = done.sum()
    if mixer == 'qmix':
      total = float(
        values.qmix_mix(
          state.params['mixer'],
          jnp.asarray(done),
          agents.world_of(env.observe(env.params, jnp.int32(0))),
        )
      )
    self.assertAlmostEqual(total, 10.0, delta=1.5)
    self.assertLess(float(found['loss'][-1]), float(found['loss'][5]))

  def test_time_that_is_up_is_the_end_or_is_not(self):
    env = coordination(max_steps=2, table=np.ones((2, 2)))
    policy = policy_of(env)
    worth = {}
    for bootstrap in (False, True):
      state, _ = trained(env, policy, bootstrap=bootstrap)
      worth[bootstrap] = values_at(env, policy, state.params['agents']).max()
    # 1 + 1/2, and at most 1 / (1 - 1/2) where steps go on; the second step is
    # not learned then, so that its value is what the first makes of it.
    self.assertAlmostEqual(worth[False], 1.5, delta=0.1)
    self.assertGreater(abs(worth[True] - 1.5), 0.2)

  def test_agents_that_are_dead_train_nobody(self):
    env = coordination(kills=True)
    policy = policy_of(env)
    state, _ = trained(env, policy)
    q = values_at(env, policy, state.params['agents'])
    # Shared values are those of the first alone, whose rewards are positive.
    self.assertGreater(q[0].max(), 1.0)

  def test_those_who_are_gone_have_nothing_ahead(self):
    env = coordination(max_steps=2, until=1)
    # Nothing is learned of the second step, of which the net says anything.
    policy = policy_of(env, shared=False)
    state, _ = trained(env, policy, epsilon_end=0.1, gamma=0.9)
    q = values_at(env, policy, state.params['agents'])
    np.testing.assert_allclose(q[:, 1], [5.0, 5.0], atol=0.7)

  def test_explores_only_what_is_available(self):
    env = coordination()
    blocked = env.replace(
      observe=lambda params, state: env.observe(params, state)._replace(
        available=jnp.array([[True, False], [False, True]])
      )
    )
    policy = values.exploring(policy_of(blocked), 1.0)
    params = policy.init(jax.random.key(0))
    playing = agents.begin(blocked, policy, jax.random.key(1), 20)
    for key in (None, jax.random.key(2)):
      acted = policy.act(
        params, playing.carry, playing.seen, playing.first, key=key
      )
      np.testing.assert_array_equal(
        acted.actions, np.broadcast_to([0, 1], (20, 2))
      )

  def test_says_what_is_wrong(self):
    env = coordination()
    policy = policy_of(env)
    learn = lambda **options: values.q_learning(
      env, policy, optimizer=optax.adam(0.1), **options
    )
    for options, words in (
      ({'capacity': 10, 'num_envs': 4}, 'capacity=10 must be a multiple of'),
      ({'mixer': 'max'}, "mixer='max'"),
      ({'num_steps': 1}, 'num_steps must be at least 2'),
      ({'gamma': 1.5}, 'gamma must'),
      ({'batch_size': 0}, 'batch_size must'),
      ({'embedding': 0}, 'embedding must be at least 1'),
      ({'hyper_width': 0}, 'hyper_width must be at least 1'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        learn(**options)
    for epsilon in (1.5, float('nan')):
      with self.assertRaisesRegex(ValueError, 'epsilon must lie in'):
        values.exploring(policy, epsilon)
    with self.assertRaisesRegex(TypeError, 'policy must be an agents.Policy'):
      values.exploring(None)
    nobody = values.exploring(agents.random_policy(env))
    playing = agents.begin(env, nobody, jax.random.key(0), 2)
    with self.assertRaisesRegex(ValueError, 'no values of actions'):
      nobody.act({}, playing.carry, playing.seen, playing.first)
    own = policy_of(env, shared=False)
    with self.assertRaisesRegex(ValueError, 'mixer=qmix'):
      values.q_learning(
        env, own, optimizer=optax.adam(0.1), mixer='qmix', capacity=8
      )
    vectors = env.replace(num_actions=None, action_size=2)
    with self.assertRaisesRegex(ValueError, r'number of actions.*\^2'):
      values.q_learning(
        vectors, policy_of(vectors), optimizer=optax.adam(0.1), capacity=8
      )


def pulling(size=1):
  """Agents earn by how near their vectors are to their numbers."""
  goal = jnp.array([[0.5], [-0.5]])

  def observe(params, state):
    del state
    return agents.Seen(params)

  def move(params, state, actions, key):
    del key
    reward = -jnp.sum((jnp.clip(actions, -1, 1) - params) ** 2, axis=-1)
    return state, agents.Outcome(reward, jnp.zeros((), bool), {})

  return agents.Environment(
    params=goal,
    start=lambda params, key: jnp.zeros(()),
    move=move,
    observe=observe,
    num_agents=2,
    own_size=1,
    max_steps=4,
    action_size=size,
  )


class MaddpgTest(parameterized.TestCase):
  def learn(self, env, updates, **options):
    policy = agents.actor_critic(
      env, shared=False, critic='heard', hidden_sizes=(16,), activation='relu'
    )
    options = {
      'optimizer': optax.adam(0.01),
      'num_envs': 4,
      'num_steps': 4,
      'capacity': 320,
      'batch_size': 32,
      'learning_starts': 32,
      'hidden_sizes': (16,),
      'gamma': 0.0,
      'tau': 0.1,
      **options,
    }
    learner = values.maddpg(env, policy, **options)
    state = learner.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), updates)
    body = lambda s, k: learner.step(s, None, key=k)
    state, found = jax.jit(lambda s: jax.lax.scan(body, s, keys))(state)
    return policy, learner.params(state), found

  def test_finds_the_best_joint_action(self):
    env = coordination()
    policy, params, found = self.learn(env, 150)
    seen = jax.tree.map(
      lambda x: x[None], env.observe(env.params, jnp.int32(0))
    )
    acted = policy.act(params, {}, seen, jnp.ones(1, bool))
    np.testing.assert_array_equal(acted.actions, [[1, 1]])
    self.assertAlmostEqual(float(found['return'][-10:].mean()), 5.0, delta=0.5)

  def test_critics_know_what_follows_a_turn(self):
    env = coordination(max_steps=3, until=1, table=np.ones((2, 2)))
    inner = env.move

    def move(params, state, actions, key):
      state, outcome = inner(params, state, actions, key)
      return state, outcome._replace(terminated=state >= 2)

    # Agents have the turn in the first of two steps, which earn 1 each.
    _, _, found = self.learn(env.replace(move=move), 150, gamma=0.9)
    want = (1.9 + 1.0) / 2
    self.assertAlmostEqual(float(found['q'][-20:].mean()), want, delta=0.1)

  def test_vectors_go_where_critics_say(self):
    env = pulling()
    policy, params, _ = self.learn(env, 150)
    seen = jax.tree.map(lambda x: x[None], env.observe(env.params, 0))
    acted = policy.act(params, {}, seen, jnp.ones(1, bool))
    np.testing.assert_allclose(acted.actions[0], [[0.5], [-0.5]], atol=0.15)

  def test_says_what_is_wrong(self):
    env = coordination()
    with self.assertRaisesRegex(ValueError, 'shared=False'):
      values.maddpg(env, policy_of(env), optimizer=optax.adam(0.1))
    own = policy_of(env, shared=False)
    with self.assertRaisesRegex(ValueError, 'num_envs . num_steps = 400'):
      values.maddpg(env, own, optimizer=optax.adam(0.1), capacity=500)


if __name__ == '__main__':
  absltest.main()
