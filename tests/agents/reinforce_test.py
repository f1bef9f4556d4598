# SPDX-License-Identifier: Apache-2.0
"""REINFORCE against gradients written out with the policy's own functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import communication


def reference(rewards, done, last, gamma, ratio, gone=None):
  """Mixed returns in float64, backwards."""
  out = np.zeros(rewards.shape)
  own = team = np.array(last, np.float64)
  for t in reversed(range(len(rewards))):
    r = np.float64(rewards[t])
    on = np.broadcast_to(1.0 - done[t][:, None], r.shape)
    stays = on if gone is None else on * (1.0 - gone[t])
    team = r.mean(-1, keepdims=True) + gamma * team * on
    own = r + gamma * own * stays
    out[t] = ratio * team + (1 - ratio) * own
  return out


@functools.cache
def game():
  return agents.make_game('simple_spread(num_agents=2, max_steps=3)')


def policy_of(**options):
  options = {
    'hidden_sizes': (4,),
    'recurrent': 'lstm',
    'width': 4,
    'critic': 'heard',
    **options,
  }
  return agents.actor_critic(game(), **options)


class ReturnsTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 0.3, 1.0)
  def test_mixes_own_and_team(self, ratio):
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(6, 3, 2)).astype('float32')
    done = rng.random((6, 3)) < 0.3
    last = rng.normal(size=(3, 2)).astype('float32')
    got = agents.mixed_returns(
      jnp.asarray(rewards),
      jnp.asarray(done),
      jnp.asarray(last),
      gamma=0.9,
      mean_ratio=ratio,
    )
    want = reference(rewards, done, last, 0.9, ratio)
    np.testing.assert_allclose(got, want, atol=1e-5)

  @parameterized.parameters(0.0, 0.3, 1.0)
  def test_own_rewards_end_with_ones_part(self, ratio):
    rng = np.random.default_rng(1)
    rewards = rng.normal(size=(6, 3, 2)).astype('float32')
    done = rng.random((6, 3)) < 0.2
    gone = rng.random((6, 3, 2)) < 0.4
    last = rng.normal(size=(3, 2)).astype('float32')
    got = agents.mixed_returns(
      jnp.asarray(rewards),
      jnp.asarray(done),
      jnp.asarray(last),
      gamma=0.9,
      mean_ratio=ratio,
      gone=jnp.asarray(gone),
    )
    want = reference(rewards, done, last, 0.9, ratio, gone)
    np.testing.assert_allclose(got, want, atol=1e-5)


class StepTest(parameterized.TestCase):
  def test_follows_the_gradient_that_the_paper_says(self):
    """One step of SGD, its gradient taken step by step without memory."""
    talks = communication.make_communication('ic3net', num_agents=2)
    policy = policy_of(communication=talks)
    learner = agents.reinforce(
      game(),
      policy,
      optimizer=optax.sgd(1.0),
      num_envs=2,
      num_steps=4,
      truncate=1,
      mean_ratio=0.25,
      value_weight=0.1,
      entropy=0.02,
    )
    state = learner.init(jax.random.key(0))
    key = jax.random.key(1)
    after, _ = jax.jit(learner.step)(state, None, key=key)
    got = jax.tree.map(lambda a, b: a - b, state.params, after.params)
    # The same steps, played part by part.
    playing, parts = state.playing, []
    for part_key in jax.random.split(key, 4):
      carry = playing.carry
      playing, steps = agents.rollout(
        game(), policy, state.params, playing, key=part_key, num_steps=1,
        bootstrap=False,
      )  # fmt: skip
      parts.append((carry, steps))
    steps = jax.tree.map(lambda *x: jnp.concatenate(x), *(p[1] for p in parts))
    last = policy.value(
      state.params, playing.carry, playing.seen, playing.first
    )
    returns = reference(
      np.asarray(steps.reward), np.asarray(steps.done), last, 1.0, 0.25
    )
    advantages = returns - np.asarray(steps.value)

    def loss(params):
      total = 0.0
      for t, (carry, one) in enumerate(parts):
        judged = policy.judge(
          params, carry, one.seen, one.actions, one.choices, one.first
        )
        total += jnp.sum(
          -advantages[t] * judged.log_prob[0]
          + 0.1 * (judged.value[0] - returns[t]) ** 2
          - 0.02 * judged.entropy[0]
        )
      return total / 8.0

    want = jax.jit(jax.grad(loss))(state.params)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
      np.testing.assert_allclose(a, b, atol=2e-4)
    gate = np.abs(want['talk']['gate']['kernel']).max()
    self.assertGreater(gate, 1e-4)

  def test_a_car_is_not_charged_for_the_next(self):
    """What is lost on values tells the returns that they learn."""
    spec = 'traffic_junction(num_agents=2, dim=3, arrival=1.0, max_steps=12)'
    env = agents.make_game(spec)
    policy = agents.actor_critic(env, hidden_sizes=(4,), critic='heard')
    params = policy.init(jax.random.key(0))
    playing = agents.begin(env, policy, jax.random.key(1), 4)
    _, steps = agents.rollout(
      env, policy, params, playing, key=jax.random.key(2), num_steps=12
    )
    gone = np.asarray(steps.gone)
    self.assertEqual(gone.sum(), np.asarray(steps.facts['arrived']).sum())
    self.assertGreater(gone.sum(), 0)
    learner = agents.reinforce(
      env,
      policy,
      optimizer=optax.sgd(1.0),
      num_envs=4,
      num_steps=12,
      truncate=12,
      mean_ratio=0.0,
    )
    state = learner.init(jax.random.key(0))
    key = jax.random.key(3)
    _, found = jax.jit(learner.step)(state, None, key=key)
    after, steps = agents.rollout(
      env,
      policy,
      state.params,
      state.playing,
      key=jax.random.split(key, 1)[0],
      num_steps=12,
      bootstrap=False,
    )
    last = policy.value(state.params, after.carry, after.seen, after.first)
    want = reference(
      np.asarray(steps.reward),
      np.asarray(steps.done),
      last,
      1.0,
      0.0,
      np.asarray(steps.gone),
    )
    error = np.asarray(steps.seen.alive) * (np.asarray(steps.value) - want) ** 2
    np.testing.assert_allclose(found['value_loss'], error.sum() / 48, rtol=1e-4)

  def test_views_are_single_with_64_bits(self):
    with jax.enable_x64(True):
      env = agents.make_game('traffic_junction(num_agents=2, max_steps=4)')
      seen, running = env.reset(jax.random.key(0))
      _, step = env.step(
        running, jnp.zeros(2, jnp.int32), key=jax.random.key(1)
      )
      for own in (seen.own, step.seen.own, step.final.own):
        self.assertEqual(own.dtype, jnp.float32)
      # A double view would change the type of memory within a scan.
      policy = agents.actor_critic(
        env, hidden_sizes=(4,), recurrent='lstm', width=4, critic='heard'
      )
      carry = policy.start(1)
      many = jax.tree.map(lambda x: x[None], seen)
      params = policy.init(jax.random.key(0))
      acted = policy.act(params, carry, many, jnp.ones(1, bool))
      for leaf in jax.tree.leaves(acted.carry):
        self.assertEqual(leaf.dtype, jnp.float32)

  def test_gradients_pass_so_many_steps(self):
    policy, moved = policy_of(), {}
    for truncate in (1, 2):
      learner = agents.reinforce(
        game(),
        policy,
        optimizer=optax.sgd(1.0),
        num_envs=2,
        num_steps=2,
        truncate=truncate,
      )
      state = learner.init(jax.random.key(0))
      after, _ = jax.jit(learner.step)(state, None, key=jax.random.key(1))
      moved[truncate] = jax.tree.map(
        lambda a, b: np.asarray(a - b), state.params, after.params
      )
    # With memory cut at every step its first state is zero, so that nothing
    # passes the kernels of the state in the first step of an episode.
    state_1 = moved[1]['actor_cell']['state']['part_0']['kernel']
    state_2 = moved[2]['actor_cell']['state']['part_0']['kernel']
    self.assertGreater(np.abs(state_1 - state_2).max(), 1e-6)

  def test_learns_to_take_the_better_action(self):
    def move(params, state, actions, key):
      del params, key
      reward = (actions == 1).astype(jnp.float32)
      return state, agents.Outcome(reward, jnp.zeros((), bool), {})

    env = agents.Environment(
      params=jnp.zeros(()),
      start=lambda params, key: jnp.zeros(()),
      move=move,
      observe=lambda params, state: agents.Seen(jnp.ones((2, 1))),
      num_agents=2,
      own_size=1,
      max_steps=2,
      num_actions=3,
    )
    policy = agents.actor_critic(env, hidden_sizes=(4,), critic='heard')
    learner = agents.reinforce(
      env,
      policy,
      optimizer=optax.rmsprop(0.05, decay=0.97),
      num_envs=8,
      num_steps=4,
      truncate=2,
      normalize=True,
      bootstrap=True,
    )
    state = learner.init(jax.random.key(0))
    body = lambda s, k: learner.step(s, None, key=k)
    keys = jax.random.split(jax.random.key(1), 60)
    _, found = jax.jit(lambda s: jax.lax.scan(body, s, keys))(state)
    self.assertGreater(float(found['return'][-5:].mean()), 1.9)

  def test_says_what_is_wrong(self):
    for options, words in (
      ({'num_steps': 15}, 'truncate=10 must divide num_steps=15'),
      ({'mean_ratio': 1.5}, 'mean_ratio must'),
      ({'truncate': 0}, 'truncate must'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        agents.reinforce(
          game(), policy_of(), optimizer=optax.sgd(0.1), **options
        )


if __name__ == '__main__':
  absltest.main()
