# SPDX-License-Identifier: Apache-2.0
"""Independent learners: their parts by hand, and what they learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.agents import public_goods as goods
from jaxdl.agents.public_goods import _ppo

SMALL = {
  'num_games': 256,
  'hidden': 16,
  'optimizer': 'adam(0.01, schedule=cosine)',
}


@functools.cache
def learned(num_updates=250, seeds=2, **options):
  """Policies of several seeds, and metrics f[T, S]."""
  spec = dict(options)
  game = spec.pop('game')
  game = goods.GAMES.make(game)
  algorithm = goods.ppo_learner(
    game, num_updates=num_updates, **{**SMALL, **spec}
  )

  def one(key):

    def body(state, t):
      return algorithm.step(state, None, key=jax.random.fold_in(key, t))

    state, seen = jax.lax.scan(
      body, algorithm.init(key), jnp.arange(num_updates)
    )
    policies = algorithm.params(state)
    gains = goods.exploitability(policies, game, num_levels=51)
    return goods.play(policies, game), gains, seen

  return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), seeds))


class PartsTest(parameterized.TestCase):
  def test_loss_by_hand(self):
    rng = np.random.default_rng(0)
    new, old, adv, values, returns = rng.normal(size=(5, 6))
    mask = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    each = []
    for i in range(6):
      ratio = np.exp(new[i] - old[i])
      gain = min(ratio * adv[i], np.clip(ratio, 0.8, 1.2) * adv[i])
      each.append(-gain + 0.5 * (returns[i] - values[i]) ** 2 - 0.01 * 1.7)
    found = goods.ppo_loss(
      *map(jnp.asarray, (new, old, adv, values, returns)),
      1.7,
      mask=jnp.asarray(mask),
      entropy_weight=0.01,
    )
    want = (np.array(each) * mask).sum() / 4
    np.testing.assert_allclose(found, want, rtol=1e-5)

  def test_density_and_entropy_of_normal_numbers(self):
    x, mu, sigma = np.array([0.1, -0.4]), np.array([0.3, 0.2]), 0.25
    want = -((x - mu) ** 2) / (2 * sigma**2) - np.log(
      sigma * np.sqrt(2 * np.pi)
    )
    np.testing.assert_allclose(
      goods.log_prob(jnp.asarray(x), jnp.asarray(mu), sigma),
      want.sum(),
      rtol=1e-5,
    )
    # Minus the mean log density of what is drawn.
    drawn = mu + sigma * np.random.default_rng(0).normal(size=(100_000, 2))
    mean = -goods.log_prob(
      jnp.asarray(drawn), jnp.broadcast_to(jnp.asarray(mu), drawn.shape), sigma
    ).mean()
    np.testing.assert_allclose(_ppo.entropy(sigma, 2), mean, atol=0.02)

  def test_advantages_are_those_that_count(self):
    a = np.array([1.0, 2.0, 6.0, 99.0])
    found = goods.normalized(jnp.asarray(a), jnp.array([1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(
      found[:3], (a[:3] - 3.0) / a[:3].std(), rtol=1e-5
    )
    self.assertEqual(float(found[3]), 0.0)
    same = goods.normalized(jnp.ones(3), jnp.ones(3))
    np.testing.assert_array_equal(same, 0.0)

  def test_stops_when_the_mean_stops_to_improve(self):
    # Against the rule on the whole history.
    rng = np.random.default_rng(2)
    rewards = np.concatenate([np.linspace(0, 1, 12), 1 + 0.1 * rng.random(30)])
    memory, found = goods.start_stopping(window=5), []
    step = jax.jit(functools.partial(goods.early_stopping, patience=6))
    for reward in rewards.astype('f'):
      memory = step(memory, reward)
      found.append(bool(memory.stopped))
    means = [rewards[t - 4 : t + 1].mean() for t in range(4, len(rewards))]
    best = [np.argmax(means[: t + 1]) for t in range(len(means))]
    late = [t - b >= 6 for t, b in enumerate(best)]
    want = [False] * 4 + np.logical_or.accumulate(late).tolist()
    self.assertEqual(found, want)
    self.assertTrue(found[-1])
    never = goods.start_stopping(window=1)
    for _ in range(9):
      never = goods.early_stopping(never, 0.0, patience=0)
    self.assertFalse(bool(never.stopped))

  def test_what_is_seen(self):
    game = goods.Game(num_agents=4, c_min=0.2, c_max=1.2)
    history = jnp.array([0.2, 1.2, 0.7, 0.0])
    see = functools.partial(goods.observe, history, game=game)
    # Of what three may give, in units of it: 0, 1 and a half.
    np.testing.assert_allclose(see(position=3), [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(
      see(position=3, observation='partial'), [0.5], atol=1e-6
    )
    self.assertEqual(see(position=3, observation='none').tolist(), [0.0])
    first = goods.observe(jnp.zeros(4), 0, game, with_position=True)
    self.assertEqual(first.tolist(), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    # All that was given counts, wherever.
    other = goods.observe(jnp.array([1.2, 0.2, 0.7, 0.0]), 3, game)
    np.testing.assert_allclose(other, see(position=3), atol=1e-6)

  def test_one_agent_of_several_actions(self):
    # The way of the text part: six settings, a reward that wants them all .8.
    agent = goods.ppo(6, hidden=(8,), optimizer='adam(0.01)')
    x = jnp.ones((64, 3))

    def body(state, key):
      u, logs = agent.act(state, x, 0.1, key=key)
      paid = -jnp.sum((u - 0.8) ** 2, axis=-1)
      t = goods.Transitions(x, u, logs, paid, jnp.ones(64))
      return agent.update(state, t, 0.1)

    state = agent.init(jax.random.key(0), x)
    before = agent.mean(state.policy, x[:1])
    np.testing.assert_allclose(before, 0.5, atol=0.02)
    state, seen = jax.jit(
      lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(1), 120))
    )(state)
    np.testing.assert_allclose(agent.mean(state.policy, x[:1]), 0.8, atol=0.03)
    self.assertEqual(set(seen), {'loss', 'critic_error'})

  def test_masked_episodes_have_no_effect(self):
    agent = goods.ppo(hidden=4)
    x = jax.random.uniform(jax.random.key(0), (8, 2))
    state = agent.init(jax.random.key(1), x)
    u, logs = agent.act(state, x, 0.2, key=jax.random.key(2))
    paid = jnp.arange(8.0)
    mask = (jnp.arange(8) < 5).astype(float)
    one = goods.Transitions(x, u, logs, paid, mask)
    two = one._replace(
      rewards=jnp.where(mask > 0, paid, 1e3), actions=u.at[5:].set(0.0)
    )
    a, b = (agent.update(state, t, 0.2)[0] for t in (one, two))
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-6),
      a.policy,
      b.policy,
    )


class LearningTest(parameterized.TestCase):
  def test_finds_the_equilibrium_that_payoffs_lead_to(self):
    path, gains, seen = learned(game='mac_spgg(gamma=0.4)')
    np.testing.assert_allclose(
      path, np.tile((0.36, 0.372, 0.3964), (2, 1)), atol=0.03
    )
    self.assertLess(float(gains.on_path.max()), 2e-3)
    self.assertEqual(seen['reward'].shape, (2, 250, 3))
    np.testing.assert_allclose(
      seen['reward'].sum(-1), seen['total_reward'], rtol=1e-5
    )
    np.testing.assert_allclose(seen['sigma'][0, [0, -1]], (0.2, 0.03))

  def test_falls_into_the_trap_and_exploitability_tells(self):
    game = 'mac_spgg(cost=linear, kappa=1.0, gamma=0.6)'
    path, gains, _ = learned(game=game)
    want = goods.exact_path(goods.GAMES.make(game))[0]
    np.testing.assert_allclose(want, (0.0, 5 / 6, 1.0), atol=1e-9)
    np.testing.assert_allclose(path, 0.0, atol=0.02)
    # Nothing to gain where they are, a lot where they never go.
    self.assertLess(float(gains.on_path.max()), 0.01)
    self.assertGreater(float(gains.anywhere.min(axis=0)[1:].max()), 0.05)

  def test_random_order_and_exploring_starts_run(self):
    path, _, seen = learned(
      game='mac_spgg(gamma=0.4)',
      num_updates=250,
      order='random',
      exploring_starts=0.5,
    )
    np.testing.assert_allclose(path.sum(axis=1), 1.1284, atol=0.1)
    self.assertTrue(np.isfinite(seen['total_reward']).all())

  def test_stops(self):
    game = goods.spgg(num_agents=2)
    algorithm = goods.ppo_learner(
      game, num_updates=30, num_games=8, hidden=2, patience=1, window=1
    )
    step = jax.jit(algorithm.step)
    state, stopped = algorithm.init(jax.random.key(0)), []
    for t in range(30):
      before = state.agents
      was = bool(state.stopping.stopped)
      state, seen = step(state, None, key=jax.random.key(t))
      stopped.append(float(seen['stopped']))
      moved = any(
        not np.array_equal(x, y)
        for x, y in zip(
          jax.tree.leaves(before), jax.tree.leaves(state.agents), strict=True
        )
      )
      self.assertEqual(moved, not was)
    self.assertEqual(stopped[-1], 1.0)
    self.assertEqual(stopped, sorted(stopped))

  @parameterized.parameters(
    ({'observation': 'all'}, "observation='all' is unknown"),
    ({'order': 'reverse'}, "order='reverse' is unknown"),
    ({'sigma': 0.2}, 'sigma must be two numbers'),
    ({'sigma': (0.2, 0.0)}, r'sigma must lie in \(0.0, inf\)'),
    ({'num_games': 1}, 'num_games must be at least 2'),
    ({'exploring_starts': 1.5}, 'exploring_starts must lie in'),
    ({'clip': 0.0}, 'clip must lie in'),
    ({'patience': -1}, 'patience must be at least 0'),
    ({'window': 0}, 'window must be at least 1'),
    ({'optimizer': 'adm'}, "'adm' is unknown"),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.ppo_learner(goods.Game(), num_updates=1, **options)


if __name__ == '__main__':
  absltest.main()
