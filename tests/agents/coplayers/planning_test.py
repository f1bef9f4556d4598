# SPDX-License-Identifier: Apache-2.0
"""Models of games, and policies that are improved by them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.agents import coplayers
from jaxdl.agents.coplayers import _gru
from jaxdl.networks import functional

# Of the Bayes-optimal predictor of actions, T = 100, uniform prior.
OPTIMAL = 0.5405


@functools.cache
def tabular_games(num_games=1000, num_rounds=100):
  """Games between random tabular agents, of one side, and the strategies."""
  prior = coplayers.PRIORS.make('uniform')
  both = prior.sample((num_games, 2), key=jax.random.key(0))

  def one(pair, key):
    return coplayers.play(
      coplayers.prisoner(),
      coplayers.memory_one_policy(pair[0]),
      coplayers.memory_one_policy(pair[1]),
      num_rounds=num_rounds,
      key=key,
    )[0]

  split = jax.random.split(jax.random.key(1), num_games)
  games = jax.jit(jax.vmap(one))(both, split)
  data = coplayers.GameData(
    games.observations.astype(jnp.uint8),
    games.actions.astype(jnp.uint8),
    jnp.zeros((num_games, 0)),
  )
  return data, np.asarray(both)


def change_of(a, b):
  """The largest change of a distribution."""
  gap = jax.tree.map(lambda x, y: jnp.abs(jnp.exp(x) - jnp.exp(y)).max(), a, b)
  return max(map(float, jax.tree.leaves(gap)))


def laplace(data):
  """-log p of actions by counts, f[N, T]."""
  seen, did = np.asarray(data.observations), np.asarray(data.actions)
  rows = np.arange(len(seen))
  counts = np.ones((len(seen), 5, 2))
  out = np.zeros(seen.shape)
  for t in range(seen.shape[1]):
    here = counts[rows, seen[:, t]]
    out[:, t] = -np.log(here[rows, did[:, t]] / here.sum(axis=1))
    counts[rows, seen[:, t], did[:, t]] += 1
  return out


class ImprovedPolicyTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.logits = rng.normal(size=(20, 2))
    self.values = 5 * rng.normal(size=(20, 2))
    self.p = np.exp(self.logits) / np.exp(self.logits).sum(1, keepdims=True)

  def test_changes_nothing_without_a_reason(self):
    for values, beta in ((self.values, 0.0), (np.full((20, 2), 3.0), 2.0)):
      found = coplayers.improved_policy(self.logits, values, beta)
      np.testing.assert_allclose(np.exp(found), self.p, atol=1e-6)

  def test_shifts_log_odds_by_beta_times_the_gap(self):
    found = coplayers.improved_policy(self.logits, self.values, 0.3)
    odds = lambda x: x[:, 0] - x[:, 1]
    np.testing.assert_allclose(
      odds(np.asarray(found)),
      odds(self.logits) + 0.3 * odds(self.values),
      atol=1e-5,
    )

  def test_is_the_best_under_a_divergence(self):
    beta = 0.7
    found = np.asarray(
      coplayers.improved_policy(self.logits, self.values, beta), np.float64
    )

    def objective(pi):
      gap = pi * (np.log(pi) - np.log(self.p))
      return (pi * self.values).sum(1) - gap.sum(1) / beta

    most = np.log((self.p * np.exp(beta * self.values)).sum(1)) / beta
    np.testing.assert_allclose(objective(np.exp(found)), most, atol=1e-5)
    for c in np.linspace(0.001, 0.999, 50):
      other = np.broadcast_to([c, 1 - c], (20, 2))
      self.assertTrue((objective(other) <= most + 1e-9).all())

  def test_goes_to_the_best_action_that_is_allowed(self):
    logits = jnp.array([[0.0, 5.0], [-jnp.inf, 0.0]])
    values = jnp.array([[1.0, 0.5], [9.0, 0.0]])
    for beta in (1e4, np.inf):
      found = jnp.exp(coplayers.improved_policy(logits, values, beta))
      np.testing.assert_allclose(found, [[1, 0], [0, 1]], atol=1e-6)

  def test_there_is_a_value_for_each_action(self):
    with self.assertRaisesRegex(ValueError, r'values must have .*\(3,\)'):
      coplayers.improved_policy(jnp.zeros(2), jnp.zeros(3), 1.0)

  def test_beta_is_not_negative(self):
    with self.assertRaisesRegex(ValueError, r'beta must lie in \[0.0'):
      coplayers.improved_policy(jnp.zeros(2), jnp.zeros(2), -0.1)


def certain(model, own, other):
  """Params of a count model that knows both strategies, on its grid."""
  sure = lambda theta: jnp.log(
    jnp.maximum(jnp.eye(21)[jnp.round(20 * theta).astype(int)], 1e-12)
  )
  return model.ready({'own': sure(own), 'other': sure(other)})


class RolloutsTest(parameterized.TestCase):
  def test_equal_the_expected_return_of_known_strategies(self):
    """Force an action, then own strategy against a known one, exactly."""
    rng = np.random.default_rng(1)
    own, other = rng.integers(1, 20, size=(2, 5)) / 20
    swap = [0, 1, 3, 2, 4]
    model = coplayers.count_model()
    params = certain(model, jnp.asarray(own), jnp.asarray(other[swap]))
    payoffs = np.array([1.0, -1.0, 2.0, 0.0])
    seen, horizon = 3, 6
    begin, _, _ = model.see(params, model.start(params), jnp.int32(seen))
    found = jax.jit(
      lambda key: coplayers.mc_returns(
        model, params, begin, horizon=horizon, num_rollouts=4000, key=key
      )
    )(jax.random.key(0))
    found = np.asarray(found, np.float64)
    joint = lambda a, b: np.array(
      [a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)]
    )
    matrix = np.stack([joint(own[i], other[swap[i]]) for i in range(1, 5)])
    for action in range(2):
      d = joint(1.0 - action, other[swap[seen]])
      want = 0.0
      for _ in range(horizon + 1):
        want += d @ payoffs
        d = d @ matrix
      error = found[:, action].std() / np.sqrt(len(found))
      self.assertLess(abs(found[:, action].mean() - want), 3 * error)

  @parameterized.parameters(
    ({'horizon': 0}, 'horizon must be at least 1; got 0'),
    ({'num_rollouts': 0}, 'num_rollouts must be at least 1; got 0'),
  )
  def test_says_what_is_wrong(self, options, message):
    model = coplayers.count_model()
    params = model.init(jax.random.key(0))
    with self.assertRaisesRegex(ValueError, message):
      coplayers.mc_q_values(
        model, params, model.start(params), key=jax.random.key(0), **options
      )

  def test_a_plan_defects_where_only_the_next_round_counts(self):
    """Against who does not react, a large beta takes the better action."""
    game = coplayers.prisoner()
    model = coplayers.count_model()
    params = certain(model, jnp.full((5,), 0.5), jnp.full((5,), 0.5))
    policy = coplayers.planning_policy(
      model, params, game, beta=50.0, horizon=2, num_rollouts=64
    )
    mine, _ = jax.jit(
      lambda key: coplayers.play(
        game,
        policy,
        coplayers.make_policy('random', game),
        num_rounds=12,
        key=key,
      )
    )(jax.random.key(0))
    self.assertEqual(int(mine.actions.sum()), 12)


class CountModelTest(parameterized.TestCase):
  def test_attains_the_bayes_optimal_loss(self):
    data, _ = tabular_games()
    want = laplace(data)
    error = want.mean(axis=1).std() / np.sqrt(len(want))
    self.assertLess(abs(want.mean() - OPTIMAL), 3 * error)
    for t, value in ((0, 0.6931), (9, 0.594), (99, 0.509)):
      spread = want[:, t].std() / np.sqrt(len(want))
      self.assertLess(abs(want[:, t].mean() - value), 3 * spread + 1e-4)
    model = coplayers.count_model(num_points=101)
    params = model.init(jax.random.key(0))
    found = jax.jit(jax.vmap(model.losses, (None, 0, 0, None)))(
      params, data.observations, data.actions, None
    )
    np.testing.assert_allclose(found['action'], want, atol=0.15)
    self.assertAlmostEqual(
      float(found['action'].mean()), want.mean(), delta=2e-3
    )
    # Nothing is known of the other in the first round; start is certain.
    self.assertEqual(float(found['observation'][:, 0].max()), 0.0)
    np.testing.assert_allclose(found['observation'][:, 1], np.log(2), atol=1e-4)

  def test_fits_the_distribution_of_strategies(self):
    prior = coplayers.PRIORS.make('corners(0.05)')
    both = prior.sample((400, 2), key=jax.random.key(3))

    def one(pair, key):
      return coplayers.play(
        coplayers.prisoner(),
        coplayers.memory_one_policy(pair[0]),
        coplayers.memory_one_policy(pair[1]),
        num_rounds=40,
        key=key,
      )[0]

    games = jax.jit(jax.vmap(one))(
      both, jax.random.split(jax.random.key(4), 400)
    )
    model = coplayers.count_model()
    data = coplayers.GameData(
      games.observations, games.actions, jnp.zeros((400, 0))
    )
    # Games beyond the size do not count.
    junk = jax.tree.map(lambda x: jnp.concatenate([x, 0 * x]), data)
    fit = jax.jit(model.fit)
    params, losses = fit(data, 400, key=jax.random.key(0))
    same, told = fit(junk, 400, key=jax.random.key(0))
    np.testing.assert_allclose(same['own'], params['own'], rtol=1e-3, atol=1e-3)
    some, few = fit(junk, 10, key=jax.random.key(0))
    self.assertTrue(np.isfinite(float(few['observation'])))
    np.testing.assert_allclose(
      told['observation'], losses['observation'], rtol=1e-3
    )
    self.assertGreater(change_of(some, params), 0.1)
    for side in ('own', 'other'):
      weights = np.exp(np.asarray(params[side]))[1:]
      np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-3)
      near = weights[:, :4].sum(axis=1), weights[:, -4:].sum(axis=1)
      np.testing.assert_allclose(near, 0.5, atol=0.12)
    self.assertLess(float(losses['action']), 0.4)

  @parameterized.parameters('exact', 'gru(hidden=2)')
  def test_there_must_be_data(self, spec):
    model = coplayers.WORLD_MODELS.make(spec)
    none = coplayers.GameData(
      jnp.zeros((0, 3)), jnp.zeros((0, 3)), jnp.zeros((0, 0))
    )
    with self.assertRaisesRegex(ValueError, 'at least one game; got none'):
      model.fit(none, 0, key=jax.random.key(0))

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'num_points must be at least 2'):
      coplayers.WORLD_MODELS.check('exact(num_points=1)')


class SequenceModelTest(parameterized.TestCase):
  def test_a_step_is_that_of_the_shared_cell(self):
    leaves = _gru.leaves({'a': 2}, {'out': 3}, width=3, embed=4)
    params = functional.draw(jax.random.key(0), leaves, jnp.float32)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
      lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), params
    )
    carry = jnp.array([0.3, -0.2, 0.5])
    ready = _gru.ready(params)
    found = _gru.feed(ready, carry, 'a', jnp.int32(1))
    own = params['embed']['a']
    want = functional.gru(params['cell'], carry, own['kernel'][1] + own['bias'])
    np.testing.assert_allclose(found, want, atol=1e-5)
    mixed = jnp.array([0.3, 0.7])
    want = functional.gru(
      params['cell'], carry, mixed @ own['kernel'] + own['bias']
    )
    np.testing.assert_allclose(
      _gru.feed(ready, carry, 'a', mixed), want, atol=1e-5
    )
    out = jax.tree.map(np.asarray, params['head']['out'])
    x = np.asarray(carry)
    np.testing.assert_allclose(
      _gru.head(ready, carry, 'out'),
      (x / (1 + np.exp(-x))) @ out['kernel'] + out['bias'],
      atol=1e-5,
    )

  @parameterized.parameters((True, 0), (False, 0), (True, 10))
  def test_is_causal_and_takes_what_it_is_told(self, reward_token, label_size):
    model = coplayers.sequence_model(
      hidden=6, embed=3, reward_token=reward_token, label_size=label_size
    )
    params = model.init(jax.random.key(0))
    self.assertEqual('reward' in params['head'], reward_token)
    seen, did = jnp.array([0, 2, 3, 1, 4]), jnp.array([0, 1, 0, 1, 1])
    label = jnp.ones((label_size,))
    losses = jax.jit(model.losses)
    base = losses(params, seen, did, label)
    late = losses(params, seen.at[3].set(2), did, label)
    for name, when in (('observation', 3), ('reward', 3), ('action', 3)):
      np.testing.assert_allclose(base[name][:when], late[name][:when])
    self.assertNotAlmostEqual(
      float(base['action'][3]), float(late['action'][3]), places=6
    )
    later = losses(params, seen, did.at[2].set(1), label)
    np.testing.assert_allclose(base['action'][:2], later['action'][:2])
    self.assertNotAlmostEqual(
      float(base['observation'][3]), float(later['observation'][3]), places=6
    )
    if not reward_token:
      self.assertEqual(float(jnp.abs(base['reward']).max()), 0.0)
    if label_size:
      other = losses(params, seen, did, 0 * label)
      self.assertNotAlmostEqual(
        float(base['action'][0]), float(other['action'][0]), places=6
      )

  def test_learns_but_never_beyond_the_bayes_optimum(self):
    data, _ = tabular_games()
    model = coplayers.sequence_model(
      hidden=16, embed=8, epochs=4, batch_size=20, learning_rate=1e-2
    )
    # Of the last games nothing is known.
    params, losses = jax.jit(model.fit)(data, 800, key=jax.random.key(0))
    found = jax.jit(jax.vmap(model.losses, (None, 0, 0, 0)))(
      params, *(x[800:] for x in data)
    )
    best = laplace(data)[800:]
    mean = float(found['action'].mean())
    gap = np.asarray(found['action']).mean(axis=1) - best.mean(axis=1)
    self.assertGreater(mean, best.mean() - 3 * gap.std() / np.sqrt(200))
    self.assertLess(mean, 0.68)
    self.assertLess(float(found['observation'].mean()), 1.2)
    self.assertLess(float(losses['reward']), 0.5)

  @parameterized.parameters(
    ({'hidden': 0}, 'hidden must be at least 1'),
    ({'epochs': -1}, 'epochs must be at least 0'),
    ({'loss_weights': (1.0,)}, 'loss_weights must be three numbers'),
    ({'loss_weights': (1.0, 1.0, -1.0)}, 'loss_weights must lie in'),
    ({'max_norm': 0.0}, 'max_norm must lie in'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      coplayers.sequence_model(**options)


if __name__ == '__main__':
  absltest.main()
