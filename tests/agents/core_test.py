# SPDX-License-Identifier: Apache-2.0
"""The substrate: limits of time, fresh starts, policies, PPO."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import agents, experiment, problems
from jaxdl.agents import _branches
from jaxdl.core import clients
from jaxdl.experiment import config as config_lib, runner


def counting(num_agents=2, max_steps=4, discrete=True):
  """Adds actions up; is over at 3 or more; pays the sum times `pay`."""

  def start(params, key):
    return jax.random.randint(key, (), 0, 2)

  def move(params, state, actions, key):
    del key
    added = jnp.sum(actions) if discrete else jnp.sum(actions[:, 0])
    state = state + added.astype(jnp.int32)
    paid = state.astype(jnp.float32) * params['pay']
    reward = jnp.full((num_agents,), paid) + jnp.arange(num_agents)
    facts = {'sum': paid, 'last': paid, 'mean': paid}
    return state, agents.Outcome(reward, state >= 3, facts)

  def observe(params, state):
    del params
    own = jnp.stack([state + jnp.arange(num_agents), jnp.ones(num_agents)], -1)
    allowed = jnp.arange(2)[None] <= jnp.arange(num_agents)[:, None]
    return agents.Seen(
      own.astype(jnp.float32), available=allowed if discrete else None
    )

  return agents.Environment(
    params={'pay': jnp.float32(1.0)},
    start=start,
    move=move,
    observe=observe,
    num_agents=num_agents,
    own_size=2,
    max_steps=max_steps,
    num_actions=2 if discrete else None,
    action_size=0 if discrete else 1,
    facts=(('sum', 'sum'), ('last', 'last'), ('mean', 'mean')),
  )


def noisy_channel():
  """The others' rows plus noise that is drawn and kept, with a gate."""

  def apply(params, carry, hidden, *, alive=None, key=None, choices=None):
    del alive
    n, size = hidden.shape[-2:]
    logit = hidden @ params['gate']
    if key is not None:
      noise_key, gate_key = jax.random.split(key)
      choices = {
        'noise': jax.random.normal(noise_key, hidden.shape),
        'gate': jax.random.bernoulli(gate_key, jax.nn.sigmoid(logit)),
      }
    elif choices is None:
      choices = {'noise': jnp.zeros_like(hidden), 'gate': logit > 0}
    sent = (hidden + choices['noise']) * choices['gate'][..., None]
    heard = (jnp.sum(sent, axis=-2, keepdims=True) - sent) / max(n - 1, 1)
    p = jnp.where(choices['gate'], 1.0, -1.0) * logit
    entropy = jnp.zeros_like(logit)
    links = jnp.sum(choices['gate'], axis=-1).astype(jnp.float32)
    return agents.Talk(
      heard + carry.get('bias', 0.0),
      {'bias': carry['bias'] + 1.0} if carry else {},
      choices,
      jax.nn.log_sigmoid(p),
      entropy,
      {'links': links},
    )

  return agents.Communication(
    init=lambda key, n, size: {'gate': jnp.linspace(-1.0, 1.0, size)},
    start=lambda e, n, size: {'bias': jnp.zeros((e, 1, 1))},
    apply=apply,
    size=lambda size: size,
  )


class ReturnsTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 0.9, 1.0)
  def test_advantages_are_the_sums_of_their_definition(self, lam):
    rng = np.random.default_rng(0)
    r, v = rng.normal(size=(2, 6, 3))
    last, done = rng.normal(size=3), rng.random((6, 3)) < 0.3
    want = np.zeros((6, 3))
    ahead = np.concatenate([v[1:], last[None]])
    delta = r + 0.9 * ahead * ~done - v
    for e in range(3):
      for t in range(6):
        weight = 1.0
        for k in range(t, 6):
          want[t, e] += weight * delta[k, e]
          if done[k, e]:
            break
          weight *= 0.9 * lam
    got = agents.gae(*map(jnp.asarray, (r, v, last, done)), gamma=0.9, lam=lam)
    np.testing.assert_allclose(got, want, atol=1e-5)
    returns = agents.lambda_returns(
      *map(jnp.asarray, (r, v, last, done)), gamma=0.9, lam=lam
    )
    np.testing.assert_allclose(returns, want + v, atol=1e-5)

  def test_what_is_done_may_lack_the_axis_of_agents(self):
    r = jnp.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    done = jnp.array([False, True, False])
    got = agents.monte_carlo_returns(r, done, gamma=0.5)
    np.testing.assert_allclose(got, [[2.0, 4.0], [2.0, 4.0], [3.0, 6.0]])

  def test_long_sums_of_few_bits(self):
    ones, never = jnp.ones(2000, jnp.bfloat16), jnp.zeros(2000, bool)
    got = agents.monte_carlo_returns(ones, never, gamma=1.0)
    self.assertEqual(got.dtype, jnp.bfloat16)
    np.testing.assert_allclose(np.float64(got[0]), 2000, rtol=2**-8)
    # Rates may be arrays of more bits than rewards.
    rate = jnp.float32(0.5)
    for gamma in (1.0, jnp.float32(1.0)):
      found = agents.gae(ones, 0 * ones, 0.0, never, gamma=gamma, lam=rate)
      self.assertEqual(found.dtype, jnp.bfloat16)
      np.testing.assert_allclose(np.float64(found[0]), 2.0)


class EnvironmentTest(parameterized.TestCase):
  def test_time_is_up_after_exactly_so_many_steps(self):
    env = agents.make_game('simple_spread(num_agents=2, max_steps=3)')
    _, game = env.reset(jax.random.key(0))
    flags = []
    step = jax.jit(env.step)
    for i in range(7):
      game, found = step(game, jnp.zeros(2, int), key=jax.random.key(i))
      flags.append((bool(found.terminated), bool(found.truncated)))
    cut = (False, True)
    free = (False, False)
    self.assertEqual(flags, [free, free, cut, free, free, cut, free])
    self.assertEqual(int(game.last.length), 3)
    self.assertEqual(int(game.done), 2)

  def test_the_next_episode_is_that_of_the_split_key(self):
    env = counting()
    key = jax.random.key(7)
    _, game = env.reset(jax.random.key(0))
    game = game._replace(state=jnp.int32(2))
    game, found = env.step(game, jnp.array([0, 1]), key=key)
    self.assertTrue(bool(found.terminated))
    self.assertFalse(bool(found.truncated))
    seen, fresh = env.reset(jax.random.split(key)[1])
    np.testing.assert_array_equal(found.seen.own, seen.own)
    self.assertEqual(int(game.state), int(fresh.state))
    # Reward and last look are those of the old episode.
    np.testing.assert_array_equal(found.reward, [3.0, 4.0])
    np.testing.assert_array_equal(found.final.own[:, 0], [3.0, 4.0])
    np.testing.assert_array_equal(game.last.total, [3.0, 4.0])
    np.testing.assert_array_equal(game.log.total, [0.0, 0.0])

  def test_the_end_of_the_game_goes_before_that_of_time(self):
    env = counting(max_steps=1)
    _, game = env.reset(jax.random.key(0))
    game = game._replace(state=jnp.int32(3))
    _, found = env.step(game, jnp.array([0, 1]), key=jax.random.key(1))
    self.assertTrue(bool(found.terminated))
    self.assertFalse(bool(found.truncated))

  def test_figures_of_steps_become_those_of_episodes(self):
    env = counting(num_agents=1, max_steps=3)
    _, game = env.reset(jax.random.key(0))
    game = game._replace(state=jnp.int32(0))
    for action in (0, 1, 1):
      game, _ = env.move_on(game, jnp.array([action]), key=jax.random.key(0))
    facts = game.log.facts
    self.assertEqual(float(facts['sum']), 3.0)
    self.assertEqual(float(facts['last']), 2.0)
    self.assertAlmostEqual(float(facts['mean']), 1.0, places=6)

  def test_many_games_are_played_as_each_alone(self):
    env = counting()
    key = jax.random.key(3)
    _, many = env.reset_many(key, 5)
    many = many._replace(state=jnp.array([0, 1, 2, 2, 0]))
    acts = jnp.array([[0, 1], [0, 0], [0, 1], [0, 0], [0, 1]])
    after, found = jax.jit(env.step_many)(many, acts, key=key)
    move_key, start_key = jax.random.split(key)
    for e in range(5):
      one = jax.tree.map(lambda x, e=e: x[e], many)
      alone, step = env.move_on(
        one, acts[e], key=jax.random.fold_in(move_key, e)
      )
      np.testing.assert_array_equal(found.reward[e], step.reward)
      state = alone.state
      if bool(step.done):
        seen, fresh = env.reset(jax.random.fold_in(start_key, e))
        state = fresh.state
        np.testing.assert_array_equal(found.seen.own[e], seen.own)
      self.assertEqual(int(after.state[e]), int(state))

  def test_a_population_of_games_is_one_program(self):
    env = counting()
    pay = jnp.array([0.0, 1.0, 10.0])

    @jax.jit
    @jax.vmap
    def total(pay):
      game = env.replace(params={'pay': pay})
      found = agents.play_episodes(
        game,
        agents.random_policy(game),
        {},
        key=jax.random.key(0),
        num_episodes=4,
      )
      return found['sum'].sum()

    got = total(pay)
    self.assertEqual(float(got[0]), 0.0)
    self.assertGreater(float(got[1]), 0.0)
    np.testing.assert_allclose(got[2], 10 * got[1], rtol=1e-6)

  def test_says_who_cannot_play(self):
    env, key = counting(), jax.random.key(0)
    policy = agents.random_policy(env)
    playing = agents.begin(env, policy, key, 2)
    episodes = {'key': key, 'num_episodes': 2}
    for play, words in (
      (lambda: agents.play_episodes('a', policy, {}, **episodes), 'env must'),
      (lambda: agents.play_episodes(env, None, {}, **episodes), 'policy must'),
      (lambda: agents.record_episode(None, policy, {}, key=key), 'env must'),
      (lambda: agents.begin(env, 3, key, 2), 'policy must be an agents.Policy'),
    ):
      with self.assertRaisesRegex(TypeError, words):
        play()
    with self.assertRaisesRegex(ValueError, 'num_envs must be at least 1'):
      agents.begin(env, policy, key, 0)
    with self.assertRaisesRegex(ValueError, 'num_steps must be at least 1'):
      agents.rollout(env, policy, {}, playing, key=key, num_steps=-1)
    with self.assertRaisesRegex(TypeError, 'algorithm must be one of jaxdl'):
      agents.repeated(None, 2)

  def test_actions_by_name_are_stacked_in_the_order_of_agents(self):
    with self.assertRaisesRegex(ValueError, 'missing: b; unknown: c'):
      agents.flat_actions({'a': 0, 'c': 1}, ('a', 'b'))

  def test_says_what_is_no_game(self):
    with self.assertRaisesRegex(TypeError, 'env must be an agents.Environ'):
      agents.actor_critic('simple_spread')
    with self.assertRaisesRegex(ValueError, 'simple_spread'):
      agents.make_game('simple_spred')
    with self.assertRaisesRegex(ValueError, 'num_agents'):
      agents.make_game('simple_spread(num_agents=0)')


class PolicyTest(parameterized.TestCase):
  @parameterized.parameters(
    {},
    {'critic': 'world', 'agent_id': True},
    {'recurrent': 'gru'},
    {'recurrent': 'lstm', 'shared': False, 'critic': 'world'},
    {'critic': 'heard', 'communication': noisy_channel()},
    {
      'recurrent': 'gru',
      'communication': noisy_channel()._replace(early=True, stateful=True),
    },
    {
      'communication': noisy_channel()._replace(stateful=True, joins='add'),
      'hidden_sizes': (5,),
    },
  )
  def test_steps_are_judged_as_they_were_played(self, **options):
    env = counting()
    options = {'hidden_sizes': (4,), 'width': 3} | options
    policy = agents.actor_critic(env, **options)
    params = policy.init(jax.random.key(0))
    params = jax.tree.map(lambda x: x + 0.3, params)
    playing = agents.begin(env, policy, jax.random.key(1), 3)

    @jax.jit
    def both(params, playing):
      _, steps = agents.rollout(
        env, policy, params, playing, key=jax.random.key(2), num_steps=9
      )
      return steps, policy.judge(
        params,
        playing.carry,
        steps.seen,
        steps.actions,
        steps.choices,
        steps.first,
      )

    steps, judged = both(params, playing)
    self.assertTrue(bool(steps.first[1:].any()))
    np.testing.assert_allclose(steps.log_prob, judged.log_prob, atol=1e-5)
    np.testing.assert_allclose(steps.value, judged.value, atol=1e-5)
    # The first agent may only do nothing.
    self.assertEqual(int(steps.actions[..., 0].max()), 0)
    self.assertTrue(bool(jnp.isfinite(judged.entropy).all()))

  def test_memory_is_cleared_where_an_episode_begins(self):
    env = counting()
    policy = agents.actor_critic(
      env, recurrent='gru', hidden_sizes=(4,), width=3
    )
    params = policy.init(jax.random.key(0))
    seen, _ = env.reset_many(jax.random.key(1), 2)
    full = jax.tree.map(lambda x: x + 1.0, policy.start(2))
    first = jnp.array([True, False])
    got = policy.value(params, full, seen, first)
    want = policy.value(params, policy.start(2), seen, ~first)
    np.testing.assert_allclose(got[0], want[0], atol=1e-6)
    self.assertGreater(float(jnp.abs(got[1] - want[1]).max()), 1e-3)

  def test_agents_of_their_own_are_independent(self):
    env = counting(num_agents=3)
    policy = agents.actor_critic(env, shared=False, hidden_sizes=(4,))
    params = policy.init(jax.random.key(0))
    self.assertTrue(policy.per_agent)
    self.assertEqual({x.shape[0] for x in jax.tree.leaves(params)}, {3})
    seen, _ = env.reset_many(jax.random.key(1), 2)
    first = jnp.ones(2, bool)
    base = policy.logits(params, {}, seen, first)
    moved = jax.tree.map(lambda x: x.at[1].add(1.0), params)
    other = policy.logits(moved, {}, seen, first)
    np.testing.assert_array_equal(base[:, ::2], other[:, ::2])
    self.assertGreater(float(jnp.abs(base - other)[:, 1].max()), 0.1)

  def test_a_gaussian_is_that_of_scipy(self):
    from scipy import stats

    kind = agents.Gaussian(2, 0.7)
    mean, at = np.array([0.1, -1.0]), np.array([0.5, 0.25])
    want = stats.norm(mean, 0.7).logpdf(at).sum()
    got = kind.log_prob(jnp.asarray(mean), jnp.asarray(at))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    entropy = 2 * stats.norm(0, 0.7).entropy()
    np.testing.assert_allclose(kind.entropy(jnp.zeros(2)), entropy, rtol=1e-6)

  def test_blocked_actions_add_no_entropy(self):
    logits = agents.masked(jnp.zeros(3), jnp.array([True, False, True]))
    np.testing.assert_allclose(agents.entropy_of(logits), np.log(2), rtol=1e-6)

  @parameterized.parameters(
    ({'critic': 'all'}, 'critic'),
    ({'recurrent': 'rnn'}, 'recurrent'),
    ({'hidden_sizes': ()}, 'hidden_sizes'),
    ({'std': 0.0}, 'std'),
    ({'communication': noisy_channel(), 'shared': False}, 'shared=True'),
    (
      {
        'communication': noisy_channel()._replace(size=lambda h: 9, joins='add')
      },
      'communication adds 9 numbers to 64',
    ),
  )
  def test_says_what_it_cannot_build(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      agents.actor_critic(counting(), **options)

  def test_says_what_is_no_channel(self):
    with self.assertRaisesRegex(TypeError, "got the text 'tarmac'"):
      agents.actor_critic(counting(), communication='tarmac')


def learner(env, policy=None, **options):
  options = {
    'num_envs': 4,
    'num_steps': 6,
    'num_epochs': 2,
    'num_minibatches': 2,
    'optimizer': optax.adam(1e-2),
  } | options
  policy = policy or agents.actor_critic(env, hidden_sizes=(4,))
  return agents.ppo(env, policy, **options)


class PPOTest(parameterized.TestCase):
  def test_an_update_is_the_formula(self):
    env = counting()
    policy = agents.actor_critic(env, hidden_sizes=(4,))
    optimizer = optax.sgd(0.1)
    made = learner(
      env, policy, optimizer=optimizer, num_epochs=2, num_minibatches=1
    )
    state = made.init(jax.random.key(0))
    key = jax.random.key(5)
    got, _ = jax.jit(made.step)(state, None, key=key)
    play_key = jax.random.split(key)[0]
    playing, steps = agents.rollout(
      env, policy, state.params, state.playing, key=play_key, num_steps=6
    )
    first = playing.first
    last = policy.value(state.params, {}, playing.seen, first)
    r, v, d = (np.asarray(x) for x in (steps.reward, steps.value, steps.done))
    r = r + 0.99 * np.asarray(steps.final_value)
    ahead = np.concatenate([v[1:], np.asarray(last)[None]])
    adv, after = np.zeros_like(v), np.zeros_like(v[0])
    for t in reversed(range(6)):
      on = 0.99 * (1.0 - d[t, :, None])
      after = r[t] + on * ahead[t] - v[t] + on * 0.95 * after
      adv[t] = after
    goal = adv + v
    scaled = (adv - adv.mean()) / (adv.std() + 1e-8)

    def loss(params):
      logits = policy.logits(params, {}, steps.seen, steps.first)
      log = jax.nn.log_softmax(logits)
      own = jnp.take_along_axis(log, steps.actions[..., None], -1)[..., 0]
      ratio = jnp.exp(own - steps.log_prob)
      one, two = ratio * scaled, jnp.clip(ratio, 0.8, 1.2) * scaled
      value = policy.value(params, {}, steps.seen, steps.first)
      cut = v + jnp.clip(value - v, -0.2, 0.2)
      error = jnp.maximum((value - goal) ** 2, (cut - goal) ** 2)
      spread = -jnp.sum(jnp.exp(log) * jnp.where(log < -1e8, 0, log), -1)
      return (
        -jnp.minimum(one, two).mean()
        + 0.5 * 0.5 * error.mean()
        - 0.01 * spread.mean()
      )

    params = state.params
    for _ in range(2):
      slope = jax.grad(loss)(params)
      params = jax.tree.map(lambda p, g: p - 0.1 * g, params, slope)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
      got.params,
      params,
    )

  def test_time_that_is_up_is_bootstrapped(self):
    steps = agents.Trajectory(
      *(None,) * 5,
      value=jnp.zeros((2, 1, 1)),
      reward=jnp.ones((2, 1, 1)),
      terminated=jnp.array([[False], [False]]),
      truncated=jnp.array([[True], [False]]),
      final_value=jnp.array([[[10.0]], [[0.0]]]),
      facts={},
    )
    last = jnp.full((1, 1), 4.0)
    find = functools.partial(
      agents.advantages_of, steps, last, gamma=0.5, gae_lambda=1.0
    )
    np.testing.assert_allclose(find()[0].ravel(), [6.0, 3.0])
    np.testing.assert_allclose(find(bootstrap=False)[0].ravel(), [1.0, 3.0])

  def test_last_looks_are_valued_where_time_is_up_alone(self):
    env = counting(max_steps=2)
    policy = agents.actor_critic(env, hidden_sizes=(4,))
    params = policy.init(jax.random.key(0))
    playing = agents.begin(env, policy, jax.random.key(1), 4)
    _, steps = agents.rollout(
      env, policy, params, playing, key=jax.random.key(2), num_steps=6
    )
    cut = np.asarray(steps.truncated)
    self.assertTrue(cut.any() and np.asarray(steps.terminated).any())
    self.assertFalse(np.asarray(steps.final_value)[~cut].any())
    self.assertTrue(np.asarray(steps.final_value)[cut].all())

  def test_seeds_side_by_side_are_those_alone(self):
    env = counting()
    made = learner(env)

    def run(key):
      state = made.init(key)
      for i in range(2):
        state, found = made.step(state, None, key=jax.random.fold_in(key, i))
      return state.params, found

    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.jit(jax.vmap(run))(keys)
    one = jax.jit(run)
    for s in range(3):
      jax.tree.map(
        lambda a, b, s=s: np.testing.assert_allclose(a[s], b, atol=2e-5),
        many,
        one(keys[s]),
      )

  @parameterized.parameters({}, {'recurrent': 'gru', 'width': 3})
  def test_devices_that_share_games_change_nothing(self, **options):
    env = counting()
    policy = agents.actor_critic(env, hidden_sizes=(4,), **options)
    run = lambda mesh: jax.jit(
      lambda key: (
        lambda made: made.step(made.init(key), None, key=key)[0].params
      )(learner(env, policy, num_envs=8, num_minibatches=1, mesh=mesh))
    )(jax.random.key(0))
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
      run(None),
      run(clients.clients_mesh(4)),
    )
    with self.assertRaisesRegex(ValueError, 'num_envs=4 must be divisible'):
      learner(env, policy, mesh=clients.clients_mesh(8))

  @parameterized.parameters({}, {'recurrent': 'gru', 'width': 4})
  def test_agents_learn_what_pays(self, **options):
    env = agents.make_game('simple_spread(num_agents=1, max_steps=8)')
    policy = agents.actor_critic(env, hidden_sizes=(16,), **options)
    made = learner(
      env,
      policy,
      num_envs=32,
      num_steps=8,
      num_epochs=4,
      optimizer=optax.adam(1e-2),
    )
    problem = problems.games.games(env, policy, num_episodes=128)
    _, history = experiment.train(
      made, problem, num_rounds=60, key=jax.random.key(0), eval_every=60
    )
    before, after = history['test_return']
    self.assertGreater(after, before + 0.3)

  def test_those_who_are_out_train_no_actor(self):
    env = counting(num_agents=3)
    gone = jnp.array([True, True, False])
    looks = env.observe
    env = env.replace(
      observe=lambda p, s: looks(p, s)._replace(alive=gone),
    )
    steer = dataclasses.replace(
      env,
      move=lambda p, s, a, k: (
        lambda state, out: (
          state,
          out._replace(reward=out.reward.at[2].set(p['pay'] * 1e6)),
        )
      )(*counting(3).move({'pay': jnp.float32(1.0)}, s, a, k)),
    )
    policy = agents.actor_critic(steer, hidden_sizes=(4,))
    step = jax.jit(
      lambda pay, key: (
        lambda made: made.step(made.init(key), None, key=key)[0].params
      )(learner(steer.replace(params={'pay': pay}), policy))
    )
    poor, rich = (step(jnp.float32(x), jax.random.key(0)) for x in (0.0, 1.0))
    jax.tree.map(
      np.testing.assert_array_equal, poor.pop('actor'), rich.pop('actor')
    )
    # What comes after one's own steps has a value, whoever takes them.
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), poor, rich)
    self.assertTrue(any(jax.tree.leaves(moved)))

  def test_nothing_follows_for_those_who_left(self):
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(2, 4, 1, 2))
    gone = np.zeros((4, 1, 2), bool)
    gone[1, 0, 0] = True
    no = jnp.zeros((4, 1), bool)
    steps = agents.Trajectory(
      *(None,) * 5,
      value=jnp.asarray(value),
      reward=jnp.asarray(reward),
      terminated=no,
      truncated=no,
      final_value=jnp.zeros((4, 1, 2)),
      facts={},
      gone=jnp.asarray(gone),
    )
    last = rng.normal(size=(1, 2))
    found, _ = agents.advantages_of(
      steps, jnp.asarray(last), gamma=0.9, gae_lambda=1.0
    )
    first = reward[0, 0, 0] + 0.9 * reward[1, 0, 0] - value[0, 0, 0]
    other = reward[:, 0, 1] @ 0.9 ** np.arange(4) + 0.9**4 * last[0, 1]
    np.testing.assert_allclose(
      found[0, 0], [first, other - value[0, 0, 1]], rtol=1e-5
    )

  @parameterized.parameters(
    ({'num_minibatches': 5}, 'num_minibatches=5 must divide .* = 24'),
    ({'num_envs': 0}, 'num_envs'),
    ({'num_steps': 0}, 'num_steps'),
    ({'gamma': 1.5}, 'gamma'),
    ({'clip': -0.1}, 'clip'),
    ({'normalize': 'all'}, 'normalize'),
    ({'num_epochs': 0}, 'num_epochs'),
  )
  def test_says_what_it_cannot_run(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      learner(counting(), **options)

  def test_memory_is_split_over_games(self):
    env = counting()
    policy = agents.actor_critic(env, recurrent='gru', hidden_sizes=(4,))
    with self.assertRaisesRegex(ValueError, 'must divide num_envs = 4: memory'):
      learner(env, policy, num_minibatches=3)


class BranchesTest(parameterized.TestCase):
  def test_a_batch_takes_one_branch_and_closures_are_passed_along(self):
    def run(flags, x, scale):
      # What is closed over is traced, and batched under vmap.
      fn = lambda y: jnp.where(flags, scale * y, y)
      return _branches.when_any(flags, fn, lambda y: y, x)

    flags = jnp.array([[True, False], [False, False], [False, True]])
    x = jnp.arange(6.0).reshape(3, 2)
    scale = jnp.array([10.0, 20.0, 30.0])
    want = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 150.0]])
    many = jax.vmap(run)
    np.testing.assert_array_equal(many(flags, x, scale), want)
    np.testing.assert_array_equal(jax.jit(many)(flags, x, scale), want)
    whole = lambda c: jax.lax.scan(
      lambda c, s: (many(flags, c, s * scale), None), c, jnp.ones(1)
    )[0]
    np.testing.assert_array_equal(
      jax.vmap(whole)(jnp.stack([x, x])), np.stack([want, want])
    )
    text = str(jax.make_jaxpr(many)(flags, x, scale))
    self.assertIn('cond', text)


class EpisodesTest(parameterized.TestCase):
  def test_episodes_end_when_they_do(self):
    env = counting(num_agents=2, max_steps=4)
    found = agents.play_episodes(
      env,
      agents.random_policy(env),
      {},
      key=jax.random.key(0),
      num_episodes=64,
    )
    length, over = found['length'], found['terminated']
    self.assertGreater(float(over.mean()), 0.05)
    self.assertTrue(bool((length[over == 0] == 4).all()))
    self.assertTrue(bool((found['last'][over == 1] >= 3).all()))
    self.assertTrue(bool((length <= 4).all()))

  @parameterized.parameters('simple_spread(num_agents=2)', 'beam_carry')
  def test_random_agents_do_not_repeat_themselves_without_a_key(self, spec):
    env = agents.make_game(spec)
    found = agents.record_episode(
      env, agents.random_policy(env), {}, key=jax.random.key(0)
    )
    did = np.asarray(found['actions'])
    self.assertGreater(np.std(did[:20], axis=0).min(), 0.3)

  def test_greedy_episodes_are_the_same_in_chunks(self):
    env = agents.make_game('simple_spread(num_agents=2, max_steps=5)')
    policy = agents.actor_critic(env, hidden_sizes=(4,))
    params = policy.init(jax.random.key(0))
    play = lambda chunk: agents.play_episodes(
      env,
      policy,
      params,
      key=jax.random.key(1),
      num_episodes=6,
      greedy=True,
      chunk=chunk,
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
      play(None),
      play(2),
    )
    with self.assertRaisesRegex(ValueError, 'chunk=4 must divide'):
      play(4)

  def test_what_was_recorded_is_a_whole_episode(self):
    env = agents.make_game('simple_spread(num_agents=2, max_steps=5)')
    policy = agents.random_policy(env)
    found = agents.record_episode(
      env, policy, {}, key=jax.random.key(0), greedy=False
    )
    self.assertEqual(found['states']['agents'].shape, (6, 2, 2))
    self.assertEqual(int(found['length']), 5)
    seen = np.asarray(found['seen'])
    np.testing.assert_allclose(
      seen[:, :, 2:4], found['states']['agents'][:-1], atol=1e-6
    )

  def test_vectors_are_played_as_well(self):
    env = counting(discrete=False)
    policy = agents.actor_critic(env, hidden_sizes=(4,))
    made = learner(env, policy)
    state = made.init(jax.random.key(0))
    state, found = jax.jit(made.step)(state, None, key=jax.random.key(1))
    self.assertTrue(np.isfinite(float(found['policy_loss'])))


class ProblemTest(parameterized.TestCase):
  def test_a_run_compares_learners_on_a_population(self):
    env = counting()
    policy = agents.actor_critic(env, hidden_sizes=(4,))
    seeds = (0, 1)
    problem = problems.games.games(
      env,
      policy,
      num_episodes=8,
      population={'pay': jnp.array([0.0, 1.0])},
      seeds=seeds,
    )
    config = config_lib.BaseConfig(seeds=seeds, num_rounds=2, eval_every=2)
    algorithms = {
      'ppo': lambda data: learner(env.replace(params=data['params']), policy)
    }
    rows = runner.run(
      experiment.compare(config, problem, algorithms), config
    ).rows
    last = [r for r in rows if r['split'] == 'test' and r['step'] == 2]
    # Nothing is paid in the first but for the number of the agent.
    lengths = last[0]['length']
    self.assertAlmostEqual(last[0]['return'], 0.5 * lengths, places=4)
    self.assertGreater(last[1]['return'], last[1]['length'])

  @parameterized.parameters(
    ({'num_episodes': 0}, 'num_episodes'),
    ({'modes': ()}, 'modes is empty'),
    ({'modes': ('best',)}, 'modes'),
    ({'population': {'pay': jnp.zeros(3)}}, 'population must have'),
    ({'num_episodes': 8, 'chunk': 3}, 'chunk=3 must divide num_episodes=8'),
  )
  def test_says_what_it_cannot_measure(self, options, words):
    env = counting()
    with self.assertRaisesRegex(ValueError, words):
      problems.games.games(env, agents.random_policy(env), **options)

  def test_seeds_that_diverged_stay_in_means(self):
    mean = problems.games.trimmed_mean
    self.assertTrue(np.isnan(mean([1.0, float('nan'), 3.0, 4.0])))
    self.assertEqual(mean([0.0, 1.0, 3.0, 99.0]), 2.0)
    for wrong in ([], np.ones((2, 2))):
      with self.assertRaisesRegex(ValueError, 'values must be a row'):
        mean(wrong)

  def test_a_game_has_no_loss_of_a_batch(self):
    env = counting()
    problem = problems.games.games(env, agents.random_policy(env))
    with self.assertRaisesRegex(ValueError, 'train with agents.ppo'):
      problem.task.loss({}, {})


if __name__ == '__main__':
  absltest.main()
