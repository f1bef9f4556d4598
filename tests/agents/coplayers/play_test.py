# SPDX-License-Identifier: Apache-2.0
"""Games between policies, inference in context, and how learners are met."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.agents import coplayers
from jaxdl.agents.coplayers import _arena, _play

PAYOFFS = np.array([0.0, 1.0, -1.0, 2.0, 0.0])
ROUNDS = 100


def games_of(first, second, num_games, *, key=0):
  """Games of two specs, both sides."""
  game = coplayers.prisoner()

  def one(key):
    return coplayers.play(
      game,
      coplayers.make_policy(first, game),
      coplayers.make_policy(second, game),
      num_rounds=ROUNDS,
      key=key,
    )

  split = jax.random.split(jax.random.key(key), num_games)
  return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(split))


class PlayTest(parameterized.TestCase):
  def test_both_sides_tell_the_same_story(self):
    mine, yours = games_of('random(0.7)', 'wsls', 16)
    after = np.concatenate(
      [mine.observations[:, 1:], mine.last[:, None]], axis=1
    )
    np.testing.assert_array_equal(after, 1 + 2 * mine.actions + yours.actions)
    np.testing.assert_array_equal(mine.rewards, PAYOFFS[after])
    swapped = np.array([0, 1, 3, 2, 4])
    np.testing.assert_array_equal(
      yours.observations, swapped[mine.observations]
    )
    np.testing.assert_array_equal(yours.rewards, PAYOFFS[swapped[after]])
    self.assertTrue((mine.observations[:, 0] == 0).all())
    chance = np.where(mine.actions == 0, 0.7, 0.3)
    np.testing.assert_allclose(mine.log_probs, np.log(chance), atol=1e-6)
    # Win-stay, lose-shift from its own side.
    before, did = yours.observations, yours.actions
    np.testing.assert_array_equal(did == 0, np.isin(before, (0, 1, 4)))

  def test_means_are_those_of_the_closed_form(self):
    p, q = np.random.default_rng(0).uniform(size=(2, 5)).round(2)
    spec = 'memory_one({}, {}, {}, {}, {})'
    mine, yours = games_of(spec.format(*p), spec.format(*q), 512)
    want = coplayers.memory_one_returns(
      p, q, coplayers.prisoner(), num_rounds=ROUNDS
    )
    for side, value in zip((mine, yours), want, strict=True):
      means = side.rewards.mean(axis=1)
      error = means.std() / np.sqrt(len(means))
      self.assertLess(abs(means.mean() - float(value)), 4 * error)
    found = coplayers.cooperation(mine, by='context')
    np.testing.assert_allclose(found, p, atol=0.03)
    share = coplayers.outcomes(p, q, num_rounds=ROUNDS)
    np.testing.assert_allclose(
      coplayers.cooperation(mine, by='round'),
      share[:, 0] + share[:, 1],
      atol=0.1,
    )
    self.assertAlmostEqual(
      float(coplayers.cooperation(mine)),
      float((share[:, 0] + share[:, 1]).mean()),
      delta=0.02,
    )

  def test_small_probabilities_of_few_bits(self):
    chance = jnp.full(5, 0.002, jnp.bfloat16)
    policy = coplayers.memory_one_policy(chance)
    step = lambda key: policy.step((), jnp.int32(0), key=key)[1] == 0
    drawn = jax.vmap(step)(jax.random.split(jax.random.key(0), 40_000))
    error = np.sqrt(0.002 / 40_000)
    self.assertLess(abs(float(drawn.mean()) - 0.002), 4 * error)

  def test_what_is_wrong(self):
    policy = coplayers.memory_one_policy(jnp.ones(5))
    game = coplayers.prisoner()
    with self.assertRaisesRegex(ValueError, 'num_rounds must be at least 1'):
      coplayers.play(game, policy, policy, num_rounds=0, key=jax.random.key(0))
    with self.assertRaisesRegex(TypeError, 'key is required'):
      coplayers.play(game, policy, policy, num_rounds=1, key=None)
    with self.assertRaisesRegex(TypeError, "second must be a Policy.*'tft'"):
      coplayers.play(game, policy, 'tft', num_rounds=1, key=jax.random.key(0))
    with self.assertRaisesRegex(TypeError, 'game must be a Dilemma'):
      coplayers.play(5, policy, policy, num_rounds=1, key=jax.random.key(0))
    with self.assertRaisesRegex(ValueError, 'strategy must be probabilities'):
      coplayers.memory_one_policy(np.full(5, 2.0))
    with self.assertRaisesRegex(ValueError, 'by='):
      coplayers.cooperation(games_of('tft', 'tft', 1)[0], by='player')


class BayesIclTest(parameterized.TestCase):
  def test_counts_what_the_other_did(self):
    """Rebuilds the belief of a game, and the plan, in NumPy."""
    game = coplayers.prisoner()
    policy = coplayers.bayes_icl(exploration=0.0)
    other = coplayers.make_policy('zd(chi=2.0)', game)
    mine, _ = jax.jit(
      lambda key: coplayers.play(game, policy, other, num_rounds=60, key=key)
    )(jax.random.key(2))
    seen, did = np.asarray(mine.observations), np.asarray(mine.actions)
    counts = np.zeros((5, 2))
    for t in range(60):
      if t:
        counts[seen[t - 1], (seen[t] - 1) % 2] += 1
      chance = (counts[:, 0] + 1) / (counts.sum(axis=1) + 2)
      values = np.zeros(5)
      for _ in range(60):
        plan = np.stack(
          [
            chance * (PAYOFFS[1 + 2 * a] + 0.95 * values[1 + 2 * a])
            + (1 - chance) * (PAYOFFS[2 + 2 * a] + 0.95 * values[2 + 2 * a])
            for a in range(2)
          ],
          axis=1,
        )
        values = plan.max(axis=1)
      gap = plan[seen[t], 0] - plan[seen[t], 1]
      if abs(gap) > 1e-3:
        self.assertEqual(did[t], int(gap < 0), t)
    self.assertLen(set(did.tolist()), 2)

  @parameterized.parameters(
    ('all_c', 1.98, None),
    ('all_d', -0.03, None),
    ('random', 0.98, None),
    ('zd(chi=2.0)', 0.28, 0.54),
    ('zd(chi=3.0)', 0.17, 0.48),
  )
  def test_the_table_of_mechanisms(self, other, value, gain):
    mine, yours = games_of('bayes_icl', other, 300)
    self.assertAlmostEqual(mine.rewards.mean(), value, delta=0.03)
    if gain is not None:  # The extorter gains at the learner's expense.
      self.assertAlmostEqual(yours.rewards.mean(), gain, delta=0.03)
      late = slice(-20, None)
      self.assertGreater(
        yours.rewards[:, late].mean(), mine.rewards[:, late].mean() + 0.2
      )

  def test_explores_by_the_other_action_at_first(self):
    mine, _ = games_of('bayes_icl(exploration=1.0)', 'all_d', 2)
    self.assertTrue((mine.actions[:, 40:] == 1).all())
    self.assertGreater((mine.actions[:, :30] == 0).mean(), 0.5)

  @parameterized.parameters(
    ('bayes_icl(discount=1.5)', r'discount must lie in \[0.0, 1.0\]'),
    ('bayes_icl(exploration=-0.1)', 'exploration must lie in'),
    ('bayes_icl(num_sweeps=0)', 'num_sweeps must be at least 1'),
    ('bayes_icl(prior=gamma)', 'prior=.gamma. is unknown'),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      coplayers.POLICIES.make(spec)


def row_policy(params, label):
  """Cooperates as often as its row says; remembers its label."""
  policy = coplayers.memory_one_policy(jnp.broadcast_to(params, (5,)))

  def step(carry, observation, *, key):
    _, action, log_prob = policy.step((), observation, key=key)
    return carry, action, log_prob + label.sum()

  return coplayers.Policy((), step)


class MeetTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 4)
  def test_games_are_with_other_learners_and_the_pool(self, count):
    arena = coplayers.arena(num_rounds=4)
    rates = jnp.linspace(0.0, 1.0, count) if count > 1 else jnp.ones(1)
    players = coplayers.Players(rates, row_policy)
    met = jax.jit(
      lambda key: coplayers.meet(
        players,
        arena,
        coplayers.POOLS.make('mixed(0.5)'),
        batch_size=6,
        key=key,
      )
    )(jax.random.key(0))
    self.assertEqual(int(met.num_learners), 3)
    own = np.asarray(met.own.actions)
    self.assertEqual(own.shape, (count, 6, 4))
    # Who never and who always cooperates keep their rows.
    self.assertEqual(own[-1].sum(), 0)
    if count > 1:
      self.assertEqual((1 - own[0]).sum(), 0)
      other = np.asarray(met.other.actions)[:, :3].mean(axis=(1, 2))
      # Of a pair each meets the other.
      np.testing.assert_allclose(
        np.sort(other), np.sort(own[:, :3].mean(axis=(1, 2)))
      )
    if count == 2:
      self.assertEqual(other.tolist(), [0.0, 1.0])
    labels = np.asarray(met.labels)
    self.assertEqual(np.abs(labels[:, :3]).sum(), 0)
    np.testing.assert_allclose(
      np.exp(labels[:, 3:]).reshape(-1, 5, 2).sum(axis=-1), 1.0, atol=1e-5
    )
    # What the policy was told.
    told = np.asarray(met.own.log_probs)[-1, 3:]
    np.testing.assert_allclose(
      told, np.repeat(labels[-1, 3:].sum(-1)[:, None], 4, 1), rtol=1e-4
    )

  def test_games_may_be_spread_over_devices(self):
    arena = coplayers.arena(num_rounds=3)
    players = coplayers.Players(jnp.array([0.3, 0.6]), row_policy)
    mesh = jax.make_mesh(
      (8,), ('clients',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    alone, spread = (
      jax.jit(
        lambda key, m=m: (
          coplayers.meet(
            players,
            arena,
            coplayers.POOLS.make('tabular'),
            batch_size=16,
            key=key,
            mesh=m,
          ).own
        )
      )(jax.random.key(0))
      for m in (None, mesh)
    )
    np.testing.assert_array_equal(alone.actions, spread.actions)
    self.assertLen(spread.actions.sharding.device_set, 8)

  def test_a_fixed_opponent(self):
    arena = coplayers.arena(num_rounds=5)
    players = coplayers.Players(jnp.array([0.5]), row_policy)
    met = coplayers.meet(
      players,
      arena,
      coplayers.POOLS.make('against(opponent=all_c)'),
      batch_size=2,
      key=jax.random.key(0),
    )
    self.assertEqual(int(met.other.actions.sum()), 0)

  def test_a_report(self):
    arena = coplayers.arena(num_rounds=6)
    players = coplayers.Players(jnp.array([0.0, 1.0]), row_policy)
    found = jax.jit(
      lambda key: coplayers.report(
        players,
        arena,
        num_games=8,
        opponents=('all_c', 'bayes_icl', 'all_d'),
        key=key,
      )
    )(jax.random.key(0))
    values = {k: float(v) for k, v in found.values.items()}
    # One always defects, the other never.
    self.assertAlmostEqual(values['reward_all_c'], (2 + 1) / 2, places=5)
    self.assertAlmostEqual(values['reward_all_d'], (0 - 1) / 2, places=5)
    self.assertAlmostEqual(values['reward_learners'], 0.5, places=5)
    self.assertAlmostEqual(values['cooperation_tabular'], 0.5)
    self.assertIn('reward_bayes_icl', values)
    self.assertEqual(found.by_context.shape, (2, 5))
    self.assertTrue(np.isnan(found.by_context[0, 1]))
    np.testing.assert_allclose(found.by_round, np.full((2, 6), 0.5))

  def test_what_has_no_effect_is_said(self):
    with self.assertLogs(level='WARNING') as logs:
      _arena.make_pool('learners', opponent_id=True)
    self.assertIn('opponent_id has no effect', logs.output[0])
    with self.assertRaisesRegex(ValueError, 'batch_size=1 leaves a part'):
      _arena.make_pool('mixed(0.5)', batch_size=1)
    with self.assertRaisesRegex(ValueError, 'num_learners=3 do not pair up'):
      _arena.check_learners(3)
    with self.assertRaisesRegex(ValueError, 'learners must lie in'):
      coplayers.POOLS.check('mixed(1.5)')
    with self.assertRaisesRegex(ValueError, 'num_rounds must be at least 1'):
      coplayers.arena(num_rounds=0)
    with self.assertRaisesRegex(TypeError, 'game must be a Dilemma'):
      coplayers.arena(3)
    with self.assertRaisesRegex(TypeError, 'prior must be a Prior'):
      coplayers.arena(prior=3)

  def test_labels_of_the_certain_are_finite(self):
    found = _arena.labels_of(jnp.array([1.0, 0.0, 1.0, 0.0, 0.5]))
    self.assertAlmostEqual(float(found.min()), np.log(0.001), places=3)
    self.assertAlmostEqual(float(found[-1]), np.log(0.5), places=5)


class BeliefTest(parameterized.TestCase):
  def test_nothing_is_counted_before_the_first_round(self):
    none = jnp.zeros((5, 2))
    found = _play.update_counts(none, jnp.int32(0), jnp.int32(0))
    self.assertEqual(float(found.sum()), 0.0)
    found = _play.update_counts(none, jnp.int32(3), jnp.int32(4))
    self.assertEqual(float(found[3, 1]), 1.0)
    self.assertEqual(float(found.sum()), 1.0)


if __name__ == '__main__':
  absltest.main()
