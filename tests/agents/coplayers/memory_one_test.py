# SPDX-License-Identifier: Apache-2.0
"""Games, strategies of one round's memory, and what they get in closed form."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.agents import coplayers

PAYOFFS = np.array([1.0, -1.0, 2.0, 0.0])
SWAP = [0, 1, 3, 2, 4]


def strategy(spec):
  return np.asarray(coplayers.STRATEGIES.make(spec), np.float64)


def paths(p, q, num_rounds):
  """Probabilities and payoffs of every path of play, by enumeration."""
  total = np.zeros(2)
  for path in itertools.product(range(4), repeat=num_rounds):
    chance, mine, other = 1.0, 0, 0
    for outcome in path:
      a, b = divmod(outcome, 2)
      chance *= p[mine] if a == 0 else 1 - p[mine]
      chance *= q[other] if b == 0 else 1 - q[other]
      mine, other = 1 + 2 * a + b, 1 + 2 * b + a
    total += chance * np.array(
      [
        sum(PAYOFFS[x] for x in path),
        sum(PAYOFFS[[0, 2, 1, 3][x]] for x in path),
      ]
    )
  return total / num_rounds


def chain(p, q):
  """First distribution and transition matrix, in float64."""
  q = np.asarray(q)[SWAP]
  both = lambda a, b: np.array(
    [a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)]
  )
  return both(p[0], q[0]), np.stack([both(p[i], q[i]) for i in range(1, 5)])


def best_by_enumeration(q, num_rounds):
  """The best of all plans, looked up recursively."""

  def value(seen, left):
    if not left:
      return 0.0
    found = []
    for a in range(2):
      total = 0.0
      for b, chance in ((0, q[SWAP[seen]]), (1, 1 - q[SWAP[seen]])):
        after = 1 + 2 * a + b
        total += chance * (PAYOFFS[after - 1] + value(after, left - 1))
      found.append(total)
    return max(found)

  return value(0, num_rounds) / num_rounds


returns = jax.jit(
  lambda p, q: coplayers.memory_one_returns(
    p, q, coplayers.prisoner(), num_rounds=100
  )
)
best = jax.jit(
  lambda q: coplayers.best_response(q, coplayers.prisoner(), num_rounds=100)
)
long_run = jax.jit(
  lambda p, q: coplayers.long_run_returns(p, q, coplayers.prisoner())
)


class GameTest(parameterized.TestCase):
  def test_a_round(self):
    a, b = jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 1])
    seen, other, mine, yours = coplayers.step(coplayers.prisoner(), a, b)
    self.assertEqual(seen.tolist(), [1, 2, 3, 4])
    self.assertEqual(other.tolist(), [1, 3, 2, 4])
    self.assertEqual(mine.tolist(), [1.0, -1.0, 2.0, 0.0])
    self.assertEqual(yours.tolist(), [1.0, 2.0, -1.0, 0.0])
    np.testing.assert_array_equal(coplayers.swap(seen), other)

  def test_donation_is_the_papers_game(self):
    np.testing.assert_array_equal(coplayers.donation().payoffs, PAYOFFS)
    np.testing.assert_array_equal(
      coplayers.GAMES.make('donation(3, 0.5)').payoffs, [2.5, -0.5, 3.0, 0.0]
    )

  @parameterized.parameters(
    ((1.0, -1.0, 0.5, 0.0), 'temptation > reward > punishment > sucker'),
    ((1.0, 0.5, 2.0, 0.0), 'temptation > reward > punishment > sucker'),
    ((1.0, -1.0, 3.5, 0.0), '2 reward > temptation \\+ sucker'),
  )
  def test_warns_of_what_is_no_dilemma(self, payoffs, message):
    with self.assertLogs(level='WARNING') as logs:
      coplayers.prisoner(*payoffs)
    self.assertRegex(logs.output[0], message)

  def test_payoffs_may_be_traced(self):
    p, q = strategy('random(0.3)'), strategy('tft')
    games = jax.vmap(coplayers.donation, (0, None))(jnp.array([2.0, 3.0]), 1.0)
    found = jax.vmap(
      lambda game: coplayers.memory_one_returns(p, q, game, num_rounds=3)
    )(games)
    np.testing.assert_allclose(found[0], paths(p, q, 3), atol=1e-6)
    self.assertGreater(float(found[1, 0]), float(found[0, 0]))

  def test_a_game_must_be_finite(self):
    with self.assertRaisesRegex(ValueError, 'reward must lie in'):
      coplayers.prisoner(float('inf'))


class MemoryOneTest(parameterized.TestCase):
  @parameterized.parameters(
    ('tft', 'tft', 1.0, 1.0),
    ('tft', 'all_d', -0.01, 0.02),
    ('all_d', 'all_c', 2.0, -1.0),
    ('random', 'random', 0.5, 0.5),
    ('all_d', 'random', 1.0, -0.5),
    ('wsls', 'all_d', -0.5, 1.0),
    ('all_c', 'random', 0.0, 1.5),
  )
  def test_known_pairs(self, first, second, mine, yours):
    found = returns(strategy(first), strategy(second))
    np.testing.assert_allclose(found, [mine, yours], atol=1e-5)
    # Exchanging the players exchanges the payoffs.
    found = returns(strategy(second), strategy(first))
    np.testing.assert_allclose(found, [yours, mine], atol=1e-5)

  def test_equals_the_sum_over_all_paths(self):
    rng = np.random.default_rng(0)
    p, q = rng.uniform(size=(2, 5))
    found = coplayers.memory_one_returns(
      p, q, coplayers.prisoner(), num_rounds=4
    )
    np.testing.assert_allclose(found, paths(p, q, 4), atol=1e-6)
    shares = coplayers.outcomes(p, q, num_rounds=4)
    np.testing.assert_allclose(shares.sum(axis=1), np.ones(4), atol=1e-6)
    np.testing.assert_allclose((shares @ PAYOFFS).mean(), found[0], atol=1e-6)

  def test_discounted_and_long_run_equal_the_chain(self):
    rng = np.random.default_rng(1)
    p, q = rng.uniform(size=(2, 5))
    first, matrix = chain(p, q)
    discount = 0.9
    share = np.zeros(4)
    d = first
    for t in range(400):
      share += (1 - discount) * discount**t * d
      d = d @ matrix
    other = PAYOFFS[[0, 2, 1, 3]]
    found = jax.jit(coplayers.discounted_returns)(
      p, q, coplayers.prisoner(), discount=discount
    )
    np.testing.assert_allclose(
      found, [share @ PAYOFFS, share @ other], atol=1e-5
    )
    # The left eigenvector, and the determinants of Press and Dyson.
    values, vectors = np.linalg.eig(matrix.T)
    own = np.real(vectors[:, np.argmax(np.real(values))])
    own /= own.sum()
    np.testing.assert_allclose(
      long_run(p, q), [own @ PAYOFFS, own @ other], atol=1e-5
    )

  def test_gradients_are_exact(self):
    rng = np.random.default_rng(2)
    p, q = rng.uniform(size=(2, 5))
    value = lambda p: coplayers.memory_one_returns(
      p, q, coplayers.prisoner(), num_rounds=4
    )[0]
    step = 1e-5
    want = [
      (paths(p + step * e, q, 4)[0] - paths(p - step * e, q, 4)[0]) / (2 * step)
      for e in np.eye(5)
    ]
    np.testing.assert_allclose(jax.grad(value)(jnp.asarray(p)), want, atol=1e-5)

  @parameterized.parameters(
    ({'p': np.full(5, 1.2)}, r'p must be probabilities in \[0, 1\]; got 1.2'),
    ({'q': np.full(5, -0.1)}, r'q must be probabilities in \[0, 1\]; got -0.1'),
    ({'q': np.full(5, np.nan)}, r'q must be probabilities.*got nan'),
    ({'p': np.ones(4)}, 'p must have 5 probabilities, of start, CC'),
    ({'num_rounds': 0}, 'num_rounds must be at least 1; got 0'),
  )
  def test_says_what_is_wrong(self, options, message):
    given = {'p': np.ones(5), 'q': np.ones(5), 'num_rounds': 3} | options
    with self.assertRaisesRegex(ValueError, message):
      coplayers.memory_one_returns(game=coplayers.prisoner(), **given)

  def test_discounts_have_a_range(self):
    with self.assertRaisesRegex(ValueError, r'discount must lie in \[0.0, 1.0'):
      coplayers.discounted_returns(
        np.ones(5), np.ones(5), coplayers.prisoner(), discount=1.0
      )


class BestResponseTest(parameterized.TestCase):
  @parameterized.parameters(
    ('all_c', 2.0),
    ('all_d', 0.0),
    ('tft', 1.01),
    ('random', 1.0),
    ('grim', 1.01),
  )
  def test_known_opponents(self, other, value):
    found, actions = best(strategy(other))
    self.assertAlmostEqual(float(found), value, places=5)
    if other == 'tft':  # Cooperates 99 rounds, then defects.
      seen = np.asarray(actions)
      self.assertEqual(seen[0, 0], 0)
      self.assertEqual(seen[1:-1, 1].sum(), 0)
      self.assertEqual(seen[-1, 1], 1)

  def test_is_the_best_of_all_plans(self):
    q = np.random.default_rng(3).uniform(size=5)
    found = coplayers.best_response_value(q, coplayers.prisoner(), num_rounds=5)
    self.assertAlmostEqual(float(found), best_by_enumeration(q, 5), places=5)

  def test_no_strategy_gets_more_and_means_are_known(self):
    rng = np.random.default_rng(4)
    p, q = rng.uniform(size=(2, 4000, 5)).astype(np.float32)
    most = np.asarray(jax.vmap(best)(q)[0])
    self.assertTrue((most >= np.asarray(jax.vmap(returns)(p, q))[:, 0]).all())
    mean = lambda spec: float(
      jax.vmap(returns, (None, 0))(strategy(spec), q)[:, 0].mean()
    )
    self.assertAlmostEqual(most.mean(), 1.047, delta=0.012)
    self.assertAlmostEqual(mean('all_d'), 1.003, delta=0.012)
    self.assertAlmostEqual(mean('tft'), 0.5, delta=0.012)
    self.assertAlmostEqual(mean('random'), 0.5, delta=0.012)

  @parameterized.parameters(
    ('beta(0.2)', 1.193, 1.011),
    ('corners(0.05)', 1.160, 0.975),
    ('corners(0.0)', 1.243, 1.003),
  )
  def test_polarised_priors_reward_inference(self, prior, most, all_d):
    q = coplayers.PRIORS.make(prior).sample((4000,), key=jax.random.key(0))
    found = jax.vmap(best)(q)[0]
    self.assertAlmostEqual(float(found.mean()), most, delta=0.035)
    found = jax.vmap(returns, (None, 0))(strategy('all_d'), q)[:, 0]
    self.assertAlmostEqual(float(found.mean()), all_d, delta=0.035)


class StrategiesTest(parameterized.TestCase):
  @parameterized.parameters(
    (2.0, 0.2, (0.8, 0, 0.8, 0), (1.2, 0.6), (0.6, 0.3)),
    (3.0, 1 / 7, (5 / 7, 0, 5 / 7, 0), (1.2857, 0.4286), None),
  )
  def test_extortion(self, chi, phi, want, with_all_c, with_random):
    p = coplayers.zero_determinant(chi, phi)
    np.testing.assert_allclose(p[1:], want, atol=1e-6)
    np.testing.assert_allclose(coplayers.zero_determinant(chi), p, atol=1e-6)
    found = long_run(p, strategy('all_c'))
    np.testing.assert_allclose(found, with_all_c, atol=1e-4)
    if with_random:
      found = long_run(p, strategy('random'))
      np.testing.assert_allclose(found, with_random, atol=1e-4)

  def test_extortion_holds_whatever_the_other_does(self):
    q = np.random.default_rng(5).uniform(size=(50, 5))
    games = (coplayers.prisoner(), coplayers.prisoner(3.0, 0.0, 5.0, 1.0))
    for game, least in zip(games, (0.0, 1.0), strict=True):
      p = coplayers.zero_determinant(2.5, game=game)
      self.assertTrue(bool(((p >= 0) & (p <= 1)).all()))
      mine, yours = np.asarray(
        jax.vmap(lambda q, p=p, g=game: coplayers.long_run_returns(p, q, g))(q)
      ).T
      np.testing.assert_allclose(mine - least, 2.5 * (yours - least), atol=1e-3)

  def test_long_run_may_depend_on_the_start(self):
    grim, late = strategy('grim'), strategy('memory_one(0, 1, 0, 1, 0)')
    np.testing.assert_allclose(long_run(grim, grim), [1.0, 1.0])
    np.testing.assert_allclose(long_run(grim, late), [0.0, 0.0], atol=1e-6)

  @parameterized.parameters(
    ({'chi': 2.0, 'phi': 0.21}, r'phi must lie in \(0, 0.2\], 1 / \(\(P - S\)'),
    ({'chi': 3.0, 'phi': 0.0}, r'phi must lie in \(0, 0.142857\]'),
    ({'chi': 0.5}, r'chi must lie in \[1.0'),
    ({'start': 1.5}, r'start must lie in \[0.0, 1.0\]'),
  )
  def test_extortion_names_its_bounds(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      coplayers.zero_determinant(**options)

  @parameterized.parameters('memory_one_returns', 'best_response')
  def test_many_strategies_are_no_strategy(self, name):
    many = jnp.full((2, 5), 0.5)
    args = (many,) if name == 'best_response' else (many, many)
    with self.assertRaisesRegex(ValueError, r'shape \(2, 5\): use jax.vmap'):
      getattr(coplayers, name)(*args, coplayers.prisoner(), num_rounds=3)
    with self.assertRaisesRegex(ValueError, r'strategy .* use jax.vmap'):
      coplayers.memory_one_policy(many)

  def test_few_bits_are_widened(self):
    game, few = coplayers.prisoner(), jnp.ones(5, jnp.bfloat16)
    # Sums of ones end at 256 in bfloat16.
    found = coplayers.memory_one_returns(few, few, game, num_rounds=1000)
    np.testing.assert_allclose(found, [1.0, 1.0], rtol=1e-5)
    value = coplayers.best_response_value(few, game, num_rounds=1000)
    self.assertAlmostEqual(float(value), 2.0, places=5)
    half = few / 2
    found = coplayers.discounted_returns(half, half, game, discount=0.9)
    np.testing.assert_allclose(found, [PAYOFFS.mean()] * 2, rtol=1e-5)
    self.assertEqual(found.dtype, jnp.float32)

  def test_whole_numbers_do_not_cut_payoffs_off(self):
    game = coplayers.donation(1.5, 0.25)
    whole = jnp.array([1, 1, 0, 1, 0])
    # Cooperates to the last round and defects there.
    value = (9 * 1.25 + 1.5) / 10
    found = coplayers.best_response_value(whole, game, num_rounds=10)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    both = coplayers.long_run_returns(whole, whole, game)
    np.testing.assert_allclose(both, [1.25, 1.25], rtol=1e-6)

  def test_games_are_made_and_checked(self):
    never = jnp.zeros(5)
    always = jnp.ones(5)
    both = coplayers.memory_one_returns(
      always, never, 'donation(3.0, 1.0)', num_rounds=2
    )
    np.testing.assert_allclose(both, [-1.0, 3.0])
    with self.assertRaisesRegex(ValueError, 'punishment must lie in .*nan'):
      coplayers.long_run_returns(
        always, never, coplayers.Dilemma(1.0, -1.0, 2.0, float('nan'))
      )
    for call in (
      lambda: coplayers.best_response(never, 3, num_rounds=2),
      lambda: coplayers.discounted_returns(never, never, 3, discount=0.5),
      lambda: coplayers.zero_determinant(game=3),
      lambda: coplayers.bayes_icl(game=3),
      lambda: coplayers.make_policy('tft', 3),
    ):
      with self.assertRaisesRegex(TypeError, 'game must be a Dilemma'):
        call()
    with self.assertRaisesRegex(TypeError, 'phi must be a number'):
      coplayers.zero_determinant(2.0, 'a')
    with self.assertRaisesRegex(ValueError, 'benefit must lie in .*nan'):
      coplayers.donation(float('nan'))
    with self.assertRaisesRegex(TypeError, 'cost must be a number'):
      coplayers.donation(2.0, 'a')

  @parameterized.parameters(
    ('random(1.5)', r'cooperation must lie in \[0.0, 1.0\]'),
    ('zd(chi=2.0, phi=0.5)', 'phi must lie in'),
    ('tit_for_tat', 'unknown'),
  )
  def test_specs_are_checked(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      coplayers.STRATEGIES.make(spec, name='opponents')

  @parameterized.parameters('uniform', 'beta(0.2)', 'beta(2.0, 1.0)', 'corners')
  def test_predictions_of_priors_are_conditional_means(self, spec):
    prior = coplayers.PRIORS.make(spec)
    theta = np.asarray(prior.sample((40_000,), key=jax.random.key(1)))[:, 1]
    counts = np.array([[0, 0], [1, 0], [1, 2]])
    weights = (
      theta[:, None] ** counts[:, 0] * (1 - theta[:, None]) ** (counts[:, 1])
    )
    want = (weights * theta[:, None]).sum(axis=0) / weights.sum(axis=0)
    found = prior.predict(jnp.asarray(counts, jnp.float32))
    np.testing.assert_allclose(found, want, atol=0.015)

  @parameterized.parameters(
    ('beta(0.0)', r'a must lie in \(0.0'),
    ('corners(0.6)', r'eps must lie in \[0.0, 0.5\]'),
  )
  def test_priors_are_checked(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      coplayers.PRIORS.check(spec)


if __name__ == '__main__':
  absltest.main()
