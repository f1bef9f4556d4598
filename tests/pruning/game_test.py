# SPDX-License-Identifier: Apache-2.0
"""The game of a layer against closed forms, SciPy and float64 NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import optimize

from jaxdl import pruning
from jaxdl.pruning import Costs

OVERLAP = np.array([[1.0, 0.5], [0.5, 1.0]])
TWINS = np.ones((2, 2))
PRICES = Costs(l2=0.5, l1=0.2, competition=1.0)


def drawn(seed, n, competition=0.2, width=30):
  """A layer whose Q is positive definite."""
  rng = np.random.default_rng(seed)
  theta = rng.normal(size=(n, width)) / np.sqrt(width)
  benefits = rng.uniform(-0.2, 1.5, size=n)
  costs = Costs(l2=0.4, l1=0.15, competition=competition)
  return benefits, theta @ theta.T, costs


def utilities(s, b, gram, costs):
  """U_i of every player, by the sum of the paper."""
  out = np.zeros(len(s))
  for i in range(len(s)):
    others = sum(s[j] * gram[i, j] for j in range(len(s)) if j != i)
    out[i] = s[i] * b[i] - costs.l2 * gram[i, i] * s[i] ** 2
    out[i] -= costs.l1 * abs(s[i]) + costs.competition * s[i] * others
  return out


def phi(s, b, gram, costs):
  """The potential of the sheet."""
  n = len(s)
  own = b @ s - costs.l1 * s.sum() - costs.l2 * np.diag(gram) @ s**2
  pairs = sum(
    s[i] * s[j] * gram[i, j] for i in range(n) for j in range(n) if i != j
  )
  return own - costs.competition / 2 * pairs


@functools.cache
def solver(mode):
  return jax.jit(
    functools.partial(pruning.solve_equilibrium, mode=mode, max_rounds=20_000)
  )


def solve(mode, b, gram, costs, **options):
  with jax.enable_x64(True):
    found = solver(mode)(
      jnp.asarray(b), jnp.asarray(gram), costs, tolerance=1e-13, **options
    )
    return jax.tree.map(np.asarray, found)


class TwoPlayersTest(parameterized.TestCase):
  @parameterized.product(
    mode=pruning.MODES,
    case=(
      ((0.9, 0.5), 1.0, (0.7, 0.0)),
      ((0.9, 0.5), 0.0, (0.7, 0.3)),
      ((0.9, 0.8), 1.0, (8 / 15, 1 / 3)),
    ),
  )
  def test_worked_examples(self, mode, case):
    b, competition, want = case
    costs = PRICES._replace(competition=competition)
    found = solve(mode, np.array(b), OVERLAP, costs)
    np.testing.assert_allclose(found.participations, want, atol=1e-10)
    self.assertTrue(found.converged)
    self.assertLess(found.gain, 1e-8)
    exact = pruning.maximize_potential(np.array(b), OVERLAP, costs)
    np.testing.assert_allclose(exact, want, atol=1e-12)

  def test_twins_do_not_both_stay(self):
    costs = Costs(l2=0.5, l1=0.1, competition=2.0)
    b = np.array([0.7, 0.7])
    self.assertFalse(pruning.is_unique(TWINS, costs))
    self.assertFalse(bool(pruning.is_contraction(TWINS, costs)))
    for start, want in (
      ((1.0, 1.0), (0.0, 0.6)),
      ((0.5, 0.0), (0.6, 0.0)),
      ((0.2, 0.2 + 1e-9), (0.0, 0.6)),
    ):
      found = solve('sequential', b, TWINS, costs, start=np.array(start))
      np.testing.assert_allclose(found.participations, want, atol=1e-7)
      self.assertLess(found.gain, 1e-12)
    # The symmetric one is an equilibrium as well, which a push leaves.
    even = np.full(2, 0.2)
    gains = pruning.unilateral_gain(even, b, TWINS, costs)
    np.testing.assert_allclose(gains, 0.0, atol=1e-7)
    climbed = solve(
      'projected_gradient', b, TWINS, costs, start=even + [1e-6, 0]
    )
    np.testing.assert_allclose(climbed.participations, (0.6, 0.0), atol=1e-9)
    # All at once go round in a circle.
    circle = solve('simultaneous', b, TWINS, costs)
    self.assertFalse(circle.converged)
    self.assertGreater(circle.gain, 0.1)
    with self.assertRaisesRegex(ValueError, 'may leave several equilibria'):
      pruning.maximize_potential(b, TWINS, costs)

  def test_without_curvature_all_or_nothing(self):
    b, costs = np.array([0.3, 0.1, 0.15]), Costs(l2=0.0, l1=0.2)
    gram = np.diag([1.0, 1.0, 0.0])
    for mode in pruning.MODES:
      found = solve(mode, b, gram, costs)
      np.testing.assert_array_equal(found.participations, [1.0, 0.0, 0.0])
    # A player without parameters, whose norm costs nothing either.
    empty = pruning.best_response(
      np.ones(2), np.array([0.3, 0.1]), np.zeros((2, 2)), Costs(l1=0.2)
    )
    np.testing.assert_array_equal(empty, [1.0, 0.0])


class LayerTest(parameterized.TestCase):
  def test_formulas_are_those_of_the_sheet(self):
    b, gram, costs = drawn(0, 6)
    s = np.random.default_rng(1).uniform(size=6)
    with jax.enable_x64(True):
      np.testing.assert_allclose(
        pruning.utility(s, b, gram, costs), utilities(s, b, gram, costs)
      )
      np.testing.assert_allclose(
        pruning.potential(s, b, gram, costs), phi(s, b, gram, costs)
      )
      slope = pruning.utility_gradient(s, b, gram, costs)
      best = np.asarray(pruning.best_response(s, b, gram, costs))
      gains = np.asarray(pruning.unilateral_gain(s, b, gram, costs))
    h = 1e-6
    for i in range(6):
      up, down = s.copy(), s.copy()
      up[i] += h
      down[i] -= h
      own = (
        utilities(up, b, gram, costs)[i] - utilities(down, b, gram, costs)[i]
      )
      joint = phi(up, b, gram, costs) - phi(down, b, gram, costs)
      np.testing.assert_allclose(slope[i], own / (2 * h), atol=1e-8)
      np.testing.assert_allclose(joint, own, atol=1e-12)

      def loss(x, i=i):
        at = s.copy()
        at[i] = x
        return -utilities(at, b, gram, costs)[i]

      top = optimize.minimize_scalar(loss, bounds=(0, 1), method='bounded')
      ends = min((loss(0.0), 0.0), (loss(1.0), 1.0), (top.fun, top.x))
      self.assertLess(abs(ends[1] - best[i]), 1e-4)
      np.testing.assert_allclose(gains[i], loss(s[i]) - ends[0], atol=1e-8)

  @parameterized.product(mode=pruning.MODES, seed=(0, 1))
  def test_equilibrium_maximizes_the_potential(self, mode, seed):
    b, gram, costs = drawn(seed, 12)
    self.assertTrue(pruning.is_unique(gram, costs))
    found = solve(mode, b, gram, costs)
    want = optimize.minimize(
      lambda s: -phi(s, b, gram, costs),
      np.full(12, 0.5),
      method='L-BFGS-B',
      bounds=[(0, 1)] * 12,
      options={'ftol': 1e-15, 'gtol': 1e-10},
    ).x
    np.testing.assert_allclose(found.participations, want, atol=1e-5)
    self.assertLess(found.gain, 1e-8)
    exact = pruning.maximize_potential(b, gram, costs)
    np.testing.assert_allclose(found.participations, exact, atol=1e-9)
    self.assertGreater(np.sum(want < 1e-9), 0)
    self.assertGreater(np.sum((want > 0.01) & (want < 0.99)), 0)

  def test_without_competition_it_is_elementwise(self):
    b, gram, costs = drawn(3, 40, competition=0.0)
    want = np.clip((b - costs.l1) / (2 * costs.l2 * np.diag(gram)), 0, 1)
    for mode in pruning.MODES:
      found = solve(mode, b, gram, costs)
      np.testing.assert_allclose(found.participations, want, atol=1e-9)

  def test_order_of_players_does_not_matter(self):
    b, gram, costs = drawn(4, 10)
    order = np.random.default_rng(0).permutation(10)
    found = solve('sequential', b, gram, costs).participations
    moved = solve('sequential', b[order], gram[np.ix_(order, order)], costs)
    np.testing.assert_allclose(moved.participations, found[order], atol=1e-10)

  def test_dominated_players_leave_whatever_others_do(self):
    rng = np.random.default_rng(5)
    _, gram, costs = drawn(5, 8, competition=0.6)
    b = rng.uniform(-0.1, 0.5, size=8)
    lost = np.asarray(pruning.dominated(b, gram, costs))
    self.assertTrue(0 < lost.sum() < 8)
    corners = rng.integers(0, 2, size=(300, 8)).astype(float)
    best = jax.vmap(
      functools.partial(
        pruning.best_response, benefits=b, gram=gram, costs=costs
      )
    )(jnp.asarray(corners))
    np.testing.assert_array_equal(np.asarray(best)[:, lost], 0.0)
    # The bound is met by the worst corner.
    for i in np.flatnonzero(~lost):
      worst = (gram[i] < 0).astype(float)
      worst[i] = 0
      answer = pruning.best_response(worst, b, gram, costs)[i]
      self.assertGreater(float(answer), 0)

  def test_contraction_is_a_bound_on_answers(self):
    b, gram, costs = drawn(6, 8)
    self.assertTrue(bool(pruning.is_contraction(gram, costs)))
    high = costs._replace(competition=3.0)
    self.assertFalse(bool(pruning.is_contraction(gram, high)))
    rng = np.random.default_rng(0)
    for _ in range(20):
      x, y = rng.uniform(size=(2, 8))
      gap = np.subtract(
        *(pruning.best_response(s, b, gram, costs) for s in (x, y))
      )
      self.assertLess(np.abs(gap).max(), np.abs(x - y).max())

  def test_uniqueness_is_decided_in_float64(self):
    q = lambda eta: Costs(l2=0.5, l1=0.1, competition=eta)
    self.assertTrue(pruning.is_unique(TWINS, q(1 - 1e-9)))
    self.assertFalse(pruning.is_unique(TWINS, q(1.0)))

  def test_many_layers_and_prices_at_once(self):
    b, gram, _ = drawn(7, 5)
    prices = jnp.array([0.05, 0.3])
    costs = Costs(l2=jnp.full(2, 0.4), l1=prices, competition=jnp.full(2, 0.2))
    run = jax.vmap(
      lambda c: pruning.solve_equilibrium(jnp.asarray(b), jnp.asarray(gram), c)
    )
    got = run(costs).participations
    for i in range(2):
      one = Costs(0.4, float(prices[i]), 0.2)
      want = pruning.maximize_potential(b, gram, one)
      np.testing.assert_allclose(got[i], want, atol=1e-5)


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'l2': -0.1}, r'l2 must lie in \[0.0, inf\); got -0.1'),
    ({'l1': -1.0}, r'l1 must lie in \[0.0, inf\); got -1.0'),
    ({'competition': -2.0}, r'competition must lie in \[0.0, inf\)'),
    ({'competition': float('nan')}, 'competition must lie in'),
  )
  def test_negative_costs(self, change, message):
    costs = Costs()._replace(**change)
    for call in (pruning.utility, pruning.best_response, pruning.potential):
      with self.assertRaisesRegex(ValueError, message):
        call(np.ones(2), np.ones(2), np.eye(2), costs)
    with self.assertRaisesRegex(ValueError, message):
      pruning.solve_equilibrium(jnp.ones(2), jnp.eye(2), costs)
    with self.assertRaisesRegex(ValueError, message):
      pruning.is_unique(np.eye(2), costs)

  def test_shapes_and_ranges(self):
    b, gram = np.ones(2), np.eye(2)
    for s, message in (
      (np.array([0.5, 1.5]), r'participations must lie in \[0, 1\]; got 1.5'),
      (np.array([-0.5, 1.0]), r'must lie in \[0, 1\]; got -0.5'),
      (np.array([np.nan, 1.0]), r'must lie in \[0, 1\]; got nan'),
      (np.ones(3), r'one entry per player, shape \(2,\); got \(3,\)'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        pruning.utility(s, b, gram, Costs())
    with self.assertRaisesRegex(ValueError, 'benefits must have one entry'):
      pruning.solve_equilibrium(
        jnp.ones(3), jnp.eye(2), Costs(), start=jnp.ones(2)
      )
    with self.assertRaisesRegex(ValueError, 'different layers do not compete'):
      pruning.utility(b, b, np.ones((2, 3)), Costs())
    with self.assertRaisesRegex(ValueError, "mode='fast' is unknown"):
      pruning.solve_equilibrium(jnp.ones(2), jnp.eye(2), Costs(), mode='fast')
    with self.assertRaisesRegex(ValueError, 'max_rounds must be at least 1'):
      pruning.solve_equilibrium(jnp.ones(2), jnp.eye(2), Costs(), max_rounds=0)
    with self.assertRaisesRegex(TypeError, 'gram must be concrete'):
      jax.jit(lambda g: pruning.is_unique(g, Costs()))(jnp.eye(2))

  def test_a_broken_benefit_stays_with_its_player(self):
    b = np.array([np.nan, 0.5])
    best = pruning.best_response(np.ones(2), b, np.eye(2), Costs(l2=0.5))
    np.testing.assert_array_equal(np.isnan(best), [True, False])


class BadLayersTest(parameterized.TestCase):
  @parameterized.parameters((None,), ((0.5, 0.2, 0.0),), ('costs',))
  def test_costs_of_another_kind(self, costs):
    with self.assertRaisesRegex(TypeError, r'costs must be pruning.Costs\('):
      pruning.utility(np.ones(2), np.ones(2), OVERLAP, costs)

  def test_lists_are_numbers(self):
    found = pruning.solve_equilibrium([0.9, 0.8], OVERLAP.tolist(), PRICES)
    np.testing.assert_allclose(found.participations, [8 / 15, 1 / 3], atol=1e-6)
    lazy = pruning.dominated([0.1, 0.9], np.eye(2), Costs(l1=0.2))
    np.testing.assert_array_equal(lazy, [True, False])
    with self.assertRaisesRegex(TypeError, 'benefits must hold real numbers'):
      pruning.dominated('0.1', np.eye(2), PRICES)
    with self.assertRaisesRegex(TypeError, 'gram must hold real numbers'):
      pruning.utility(np.ones(2), np.ones(2), {'0': OVERLAP}, PRICES)

  @parameterized.parameters(*pruning.MODES)
  def test_a_layer_of_nobody_is_at_rest(self, mode):
    none = np.zeros((0, 0))
    found = pruning.solve_equilibrium(np.zeros(0), none, PRICES, mode=mode)
    self.assertEqual(found.participations.shape, (0,))
    self.assertTrue(found.converged)

  def test_numbers_must_be_finite_on_the_host(self):
    for benefits, gram, name in (
      ([0.9, np.nan], OVERLAP, 'benefits must be finite; 1 of 2'),
      ([0.9, 0.5], OVERLAP * np.inf, 'gram must be finite; 4 of 4'),
    ):
      with self.assertRaisesRegex(ValueError, name):
        pruning.maximize_potential(np.array(benefits), gram, PRICES)
    with self.assertRaisesRegex(ValueError, 'gram must be finite'):
      pruning.is_unique(OVERLAP * np.nan, PRICES)


if __name__ == '__main__':
  absltest.main()
