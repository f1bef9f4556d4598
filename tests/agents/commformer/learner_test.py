# SPDX-License-Identifier: Apache-2.0
"""Agents and graph in turns: what moves when, losses, returns measured."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import commformer

A = 3
RATE = 0.02
COLD = commformer.Phase(jnp.array(False), jnp.array(False))


def toy(num_agents=3, action_size=0):
  """Rewards and who is alive are numbers of the state; two steps at most."""
  n = num_agents

  def observe(params, state):
    return agents.Seen(state, alive=state[:, 0] > -0.5)

  def move(params, state, actions, key):
    new = jax.random.normal(key, (n, 4))
    facts = {'first': state[0, 0]}
    return new, agents.Outcome(3.0 * new[:, 1], new[0, 2] > 0.8, facts)

  return agents.Environment(
    params={},
    start=lambda params, key: jax.random.normal(key, (n, 4)),
    move=move,
    observe=observe,
    num_agents=n,
    own_size=4,
    max_steps=2,
    num_actions=None if action_size else A,
    action_size=action_size,
    facts=(('first', 'last'),),
  )


@functools.cache
def run(spec, num_epochs=5, updates=2, num_agents=3, action_size=0, **options):
  """States and metrics of some updates, and how often they were traced."""
  env = toy(num_agents, action_size)
  made = commformer.make_former(spec, env)
  learner = commformer.bilevel_ppo(
    env,
    made,
    optimizer='sgd(0.01)',
    num_envs=4,
    num_steps=3,
    num_epochs=num_epochs,
    total_updates=updates,
    **options,
  )
  traced = []

  def step(state, key):
    traced.append(None)
    return learner.step(state, None, key=key)

  states, found = [jax.jit(learner.init)(jax.random.key(0))], []
  jitted = jax.jit(step)
  for i in range(updates):
    state, metrics = jitted(states[-1], jax.random.key(i + 1))
    states.append(state)
    found.append(metrics)
  return made, learner, states, found, len(traced)


TURNS = (
  f'learned(num_edges=1, warmup=1, learning_rate={RATE}, post_stable=True)'
  '@former(dim=4)'
)
EDGES = (
  f'learned(num_edges=1, warmup=0, learning_rate={RATE}, every=1, '
  'rollout=sampled)@former(dim=4)'
)


class TurnsTest(parameterized.TestCase):
  def test_a_fifth_of_epochs_is_for_edges_until_they_are_stable(self):
    _, _, states, _, traced = run(TURNS)
    self.assertEqual(traced, 1)
    edges = [np.asarray(s.params['edges']) for s in states]
    # The first step of Adam is a little less than its rate, as slopes are near
    # its epsilon; model steps add nothing. The weight of oneself is 1 whatever
    # its edge, while all are open.
    moved = np.abs(edges[1] - edges[0])
    others = ~np.eye(3, dtype=bool)
    np.testing.assert_array_equal(moved[~others], 0.0)
    self.assertLess(moved.max(), 1.001 * RATE)
    self.assertGreater(moved[others].min(), 0.8 * RATE)
    np.testing.assert_array_equal(edges[2], edges[1])
    counts = [
      int(optax.tree_utils.tree_get(s.edge_state, 'count')) for s in states
    ]
    self.assertEqual(counts, [0, 1, 1])
    for old, new in zip(states[:-1], states[1:], strict=True):
      slide = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()),
        old.params['model']['encoder'],
        new.params['model']['encoder'],
      )
      self.assertGreater(max(jax.tree.leaves(slide)), 1e-5)

  def test_a_step_on_edges_leaves_the_model(self):
    _, _, states, _, _ = run(EDGES, num_epochs=1)
    jax.tree.map(
      np.testing.assert_array_equal,
      states[0].params['model'],
      states[2].params['model'],
    )
    self.assertGreater(
      np.abs(states[1].params['edges'] - states[0].params['edges']).max(),
      RATE / 2,
    )

  def test_reports_edges_and_graph(self):
    made, _, states, found, _ = run(TURNS)
    np.testing.assert_array_equal(found[0]['edges'], states[1].params['edges'])
    np.testing.assert_array_equal(
      found[0]['graph'], made.hard_graph(states[1].params)
    )
    self.assertEqual(float(found[0]['step_edges']), 3.0)
    self.assertEqual(float(found[0]['step_gate']), 1.0)
    # All listened to the first agent, which is a message for two of them.
    self.assertEqual(float(found[0]['step_links']), 2.0)

  def test_one_agent_with_vectors_and_gates(self):
    spec = (
      'learned@former(dim=4, temporal_gate=True, release_quirks=True, '
      'dropout=0.3)'
    )
    _, _, states, found, _ = run(
      spec, num_agents=1, action_size=2, gate_cost=0.5, updates=1
    )
    for value in jax.tree.leaves((states[-1].params, found)):
      self.assertTrue(np.isfinite(value).all())

  def test_updates_keep_shapes_and_types(self):
    spec = 'learned(rollout=sampled)@former(dim=4, temporal_gate=True)'
    for action_size in (0, 2):
      env = toy(action_size=action_size)
      made = commformer.make_former(spec, env)
      learner = commformer.bilevel_ppo(env, made, num_envs=2, num_steps=2)
      for wide in (False, True):
        with jax.enable_x64(wide):
          key = jax.random.key(0)
          old = jax.eval_shape(learner.init, key)
          new, _ = jax.eval_shape(
            lambda s, k, learner=learner: learner.step(s, None, key=k), old, key
          )
        kinds = lambda t: jax.tree.map(lambda x: (x.shape, x.dtype), t)
        self.assertEqual(kinds(old), kinds(new))

  def test_phases(self):
    learned = commformer.GRAPHS.make(
      'learned(warmup=2, post_stable=True, post_ratio=0.5)'
    )
    of = lambda i, **k: [
      bool(x) for x in commformer.phase_of(learned, jnp.int32(i), **k)
    ]
    found = [of(i, total_updates=8) for i in range(6)]
    self.assertEqual([p[0] for p in found], [True, True] + 4 * [False])
    self.assertEqual([p[1] for p in found], 4 * [False] + 2 * [True])
    self.assertEqual(of(99, forever=True), [True, False])
    full = commformer.GRAPHS.make('full')
    self.assertFalse(commformer.phase_of(full, jnp.int32(0), forever=True).warm)


class LossTest(parameterized.TestCase):
  def test_losses_of_the_first_epoch(self):
    made, learner, states, found, _ = run(EDGES, num_epochs=1)
    env, state = toy(), states[0]
    play_key, _ = jax.random.split(jax.random.key(1))
    player = made.playing(COLD)

    @jax.jit
    def played(state):
      playing, steps = agents.rollout(
        env, player, state.params, state.playing, key=play_key, num_steps=3
      )
      last = player.value(state.params, {}, playing.seen, playing.first)
      return steps, last

    steps, last = jax.tree.map(np.asarray, played(state))
    # Games are played on what is judged: all ratios are 1.
    self.assertAlmostEqual(float(found[0]['kl']), 0.0, places=6)
    self.assertEqual(float(found[0]['clipped']), 0.0)
    self.assertAlmostEqual(float(found[0]['policy_loss']), 0.0, places=5)
    done = (steps.terminated | steps.truncated)[..., None]
    reward = steps.reward.astype(np.float64) + 0.99 * steps.final_value
    values = np.concatenate([steps.value, last[None]]).astype(np.float64)
    advantage, target = np.zeros_like(last, np.float64), []
    for t in (2, 1, 0):
      ahead = 0.99 * (1 - done[t])
      delta = reward[t] + ahead * values[t + 1] - values[t]
      advantage = delta + 0.95 * ahead * advantage
      target.insert(0, advantage + values[t])
    target = np.stack(target)
    mean = target.mean()
    std = np.sqrt(max(target.var(), 1e-2))
    norm = states[1].params['norm']
    got = [float(x) for x in commformer.mean_and_std(norm)]
    np.testing.assert_allclose(got, [mean, std], rtol=1e-3)
    # Critics start in units of mean 0 and deviation .1.
    old = values[:-1] / 0.1
    error = (target - mean) / std - old
    huber = np.where(
      np.abs(error) > 10, 10 * (np.abs(error) - 5), 0.5 * error**2
    )
    self.assertAlmostEqual(
      float(found[0]['value_loss']) / huber.mean(), 1.0, places=3
    )

  @parameterized.parameters((200.0, 0.0), (-200.0, -200.0))
  def test_ratios_beyond_floats(self, out, alive_change):
    """Whoever is out counts for nothing, and a ratio of 0 has a divergence."""
    env = toy()
    made = commformer.make_former('full', env)

    def judge(params, seen, actions, choices, *, phase, key):
      found = made.judge(params, seen, actions, choices, phase=phase, key=key)
      change = jnp.where(seen.alive, alive_change, out)
      return found._replace(log_prob=found.log_prob + change)

    learner = commformer.bilevel_ppo(
      env,
      made._replace(judge=judge),
      num_envs=4,
      num_steps=3,
      num_epochs=1,
    )
    state = learner.init(jax.random.key(0))
    state, found = jax.jit(learner.step)(state, None, key=jax.random.key(1))
    want = np.expm1(alive_change) - alive_change
    self.assertAlmostEqual(float(found['kl']), want, places=3)
    for leaf in jax.tree.leaves(state.params):
      self.assertTrue(np.isfinite(leaf).all())

  def test_huber(self):
    error = np.array([-12.0, -1.0, 0.5, 12.0])
    want = [70.0, 0.5, 0.125, 70.0]
    np.testing.assert_allclose(commformer.huber(jnp.asarray(error), 10.0), want)
    want[0] = 72.0
    np.testing.assert_allclose(
      commformer.huber(jnp.asarray(error), 10.0, above_only=True), want
    )

  def test_returns_measured_once(self):
    norm = commformer.init_value_norm()
    mean, std = commformer.mean_and_std(norm)
    self.assertEqual((float(mean), round(float(std), 6)), (0.0, 0.1))
    norm = commformer.update_value_norm(norm, jnp.full((2, 3), -7.5))
    mean, std = commformer.mean_and_std(norm)
    self.assertAlmostEqual(float(mean), -7.5, places=5)
    self.assertAlmostEqual(float(std) ** 2, 1e-2, places=6)

  def test_returns_measured_many_times(self):
    rng = np.random.default_rng(0)
    norm = commformer.init_value_norm()
    m = s = d = 0.0
    b = 0.99999
    for _ in range(20):
      x = rng.normal(3.0, 2.0, size=(4, 3))
      mask = rng.random((4, 3)) < 0.7
      norm = commformer.update_value_norm(
        norm, jnp.asarray(x, jnp.float32), mask=jnp.asarray(mask)
      )
      m = b * m + (1 - b) * x[mask].mean()
      s = b * s + (1 - b) * (x[mask] ** 2).mean()
      d = b * d + (1 - b)
    mean, std = commformer.mean_and_std(norm)
    self.assertAlmostEqual(float(mean), m / d, places=4)
    self.assertAlmostEqual(float(std), np.sqrt(s / d - (m / d) ** 2), places=3)
    same = commformer.update_value_norm(
      norm, jnp.ones(2), mask=jnp.zeros(2, bool)
    )
    np.testing.assert_array_equal(jnp.stack(same), jnp.stack(norm))

  def test_deviations_of_returns_of_few_bits(self):
    x = jnp.asarray(np.linspace(99.0, 101.0, 400), jnp.bfloat16)
    norm = commformer.update_value_norm(commformer.init_value_norm(), x)
    _, std = commformer.mean_and_std(norm)
    want = np.asarray(x, np.float64).std()
    self.assertAlmostEqual(float(std), want, delta=0.05 * want)

  def test_updates_drop_and_games_do_not(self):
    spec = 'full@former(dim=4, dropout=0.5)'
    env = toy()
    made = commformer.make_former(spec, env)
    params = made.policy.init(jax.random.key(0))
    see, _ = env.reset_many(jax.random.key(1), 4)
    see = jax.tree.map(lambda x: x[None], see)
    actions = jnp.zeros((1, 4, 3), jnp.int32)
    judge = jax.jit(
      lambda key: (
        made.judge(params, see, actions, {}, phase=COLD, key=key).value
      )
    )
    first, second = (judge(jax.random.key(i)) for i in (0, 1))
    self.assertGreater(np.abs(first - second).max(), 1e-5)


class ArgumentsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('learned', {'num_epochs': 4}, 'num_epochs=4 never trains .* every=5'),
    ('learned(post_stable=True)', {}, 'total_updates is needed'),
    ('full', {'clip': -0.1}, 'clip must lie in'),
    ('full', {'gamma': 1.5}, 'gamma must lie in'),
    ('full', {'huber_delta': 0.0}, 'huber_delta must lie in'),
    ('full', {'num_envs': 0}, 'num_envs'),
    ('full', {'optimizer': 'adams'}, "Did you mean 'adam'"),
  )
  def test_refuses(self, spec, options, message):
    env = toy()
    made = commformer.make_former(spec, env)
    with self.assertRaisesRegex(ValueError, message):
      commformer.bilevel_ppo(env, made, **options)

  def test_refuses_a_policy_of_another_kind(self):
    env = toy()
    with self.assertRaisesRegex(TypeError, 'made must be a commformer.Former'):
      commformer.bilevel_ppo(env, agents.actor_critic(env))

  @parameterized.parameters(
    (toy(num_agents=2), r'num_agents=3, own_size=4, num_actions=3; .*agents=2'),
    (toy(action_size=3), r'num_actions=3; .* has .*, action_size=3'),
  )
  def test_refuses_agents_of_another_game(self, other, message):
    made = commformer.make_former('full', toy())
    with self.assertRaisesRegex(ValueError, message):
      commformer.bilevel_ppo(other, made, num_epochs=1)

  @parameterized.parameters((0, ValueError), (1.5, TypeError))
  def test_refuses_a_wrong_number_of_updates(self, number, error):
    env = toy()
    made = commformer.make_former('full', env)
    with self.assertRaisesRegex(error, 'total_updates must be'):
      commformer.bilevel_ppo(env, made, num_epochs=1, total_updates=number)

  def test_a_graph_that_is_not_learned_needs_no_fifth_epoch(self):
    env = toy()
    made = commformer.make_former('full', env)
    commformer.bilevel_ppo(env, made, num_epochs=1)


if __name__ == '__main__':
  absltest.main()
