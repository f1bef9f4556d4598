# SPDX-License-Identifier: Apache-2.0
"""Closed forms and exact pieces, against each other and brute force."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.agents import public_goods as goods

# (n, ρ, γ, κ), and what every agent gives.
CLOSED = (
  ((3, 1.5, 0.0, 2.0), (0.25, 0.25, 0.25)),
  ((3, 1.5, 0.4, 2.0), (0.36, 0.372, 0.3964)),
  ((2, 1.0, 0.5, 1.0), (0.75, 0.875)),
  ((4, 2.0, 0.2, 2.0), (0.33275, 0.335775, 0.3418525, 0.35103775)),
)
# P, and what three agents of a linear cost give to reach B = 1.5.
THRESHOLD = (
  (0.0, (0.0, 0.0, 0.0)),
  (0.2, (0.3, 0.8, 0.4)),
  (0.4, (0.0, 0.7, 0.8)),
  (0.5, (0.0, 0.5, 1.0)),
  (0.8, (0.0, 0.5, 1.0)),
)
BOUND = {
  'turn': goods.Game(rho=3.0, gamma=1.5, kappa=2.0, c_max=0.7),
  'jump': goods.Game(num_agents=2, rho=3.2, gamma=1.3, kappa=2.0, c_min=0.1),
  'linear': goods.Game(kappa=1.0, cost='linear', gamma=0.6),
  'mean': goods.Game(rho=2.5, gamma=1.4, kappa=1.5, synergy='mean'),
  'last': goods.Game(rho=2.5, gamma=1.4, kappa=1.5, score='last'),
}


def game_of(numbers):
  n, rho, gamma, kappa = numbers
  return goods.Game(num_agents=n, rho=rho, gamma=gamma, kappa=kappa)


def goal(penalty, **options):
  return goods.Game(
    rho=1.5, kappa=1.0, cost='linear', penalty=penalty, threshold=1.5, **options
  )


@functools.cache
def grid(num_levels):
  return jax.jit(functools.partial(goods.solve_grid, num_levels=num_levels))


continuous = jax.jit(functools.partial(goods.solve, num_nodes=41))


class ClosedFormTest(parameterized.TestCase):
  @parameterized.parameters(*CLOSED)
  def test_worked_examples(self, numbers, want):
    game = game_of(numbers)
    found = goods.closed_form(game)
    np.testing.assert_allclose(found.contributions, want, rtol=1e-6)
    np.testing.assert_allclose(
      goods.play(found.policies, game), want, rtol=1e-6
    )
    np.testing.assert_allclose(
      goods.total_contribution(game), sum(want), rtol=1e-6
    )
    np.testing.assert_allclose(
      found.rewards, goods.reward(jnp.array(want), game), rtol=1e-5
    )

  @parameterized.parameters(*CLOSED)
  def test_others_agree(self, numbers, want):
    game = game_of(numbers)
    np.testing.assert_allclose(goods.exact_path(game)[0], want, atol=1e-12)
    np.testing.assert_allclose(
      goods.solve_exact(game).contributions, want, atol=1e-6
    )
    np.testing.assert_allclose(continuous(game).contributions, want, atol=1e-4)

  def test_a_grid_comes_near_and_not_monotonically(self):
    game, want = game_of(CLOSED[1][0]), CLOSED[1][1]
    gaps = [
      np.abs(grid(m)(game).contributions - jnp.array(want)).max()
      for m in (201, 801)
    ]
    self.assertLess(gaps[1], 0.01)
    self.assertGreater(gaps[0], 0.02)

  def test_total_rises_with_synergy_and_pot(self):
    total = jax.jit(
      lambda gamma, rho: goods.total_contribution(
        goods.Game(gamma=gamma, rho=rho)
      )
    )
    marks = np.linspace(0.0, 0.8, 9)
    for values in (
      [total(x, 1.5) for x in marks],
      [total(0.4, 1.0 + x) for x in marks],
    ):
      self.assertGreater(np.diff(values).min(), 0.0)

  def test_without_synergy_moving_at_once_is_the_same(self):
    for kappa in (2.0, 3.0):
      game = goods.Game(kappa=kappa)
      np.testing.assert_allclose(
        goods.nash(game).contributions,
        goods.closed_form(game).contributions,
        atol=1e-6,
      )
    with_synergy = goods.closed_form(goods.Game(gamma=0.4), observation='none')
    np.testing.assert_allclose(
      with_synergy.contributions,
      goods.nash(goods.Game(gamma=0.4)).contributions,
      atol=1e-6,
    )

  def test_who_sees_the_predecessor_alone_guesses(self):
    found = goods.closed_form(goods.Game(gamma=0.4), observation='partial')
    np.testing.assert_allclose(
      found.contributions, (0.312, 0.372, 0.387), atol=5e-4
    )
    # The guess against a regression on trembling play, in float64.
    rng = np.random.default_rng(0)
    slope = np.asarray(found.policies.params['slope'], np.float64)
    path = np.asarray(found.contributions, np.float64)
    noise = 0.01 * rng.normal(size=(200_000, 3))
    c = np.zeros_like(noise)
    c[:, 0] = path[0] + noise[:, 0]
    c[:, 1] = path[1] + slope[1] * (c[:, 0] - path[0]) + noise[:, 1]
    fit = np.polyfit(c[:, 1], c[:, 0] + c[:, 1], 1)
    np.testing.assert_allclose(slope[2], 0.2 * fit[0], atol=2e-3)
    # And agent 2 counts on it: 2 c = 0.4 c_1 + 0.5 (1 + k_3).
    want = 0.2 * path[0] + 0.25 * (1 + slope[2])
    np.testing.assert_allclose(path[1], want, rtol=1e-6)


class ExactTest(parameterized.TestCase):
  @parameterized.parameters(*THRESHOLD)
  def test_the_burden_moves_to_later_movers(self, penalty, want):
    game = goal(penalty)
    path, _, unique = goods.exact_path(game)
    np.testing.assert_allclose(path, want, atol=1e-9)
    found = goods.solve_exact(game)
    np.testing.assert_allclose(
      goods.play(found.policies, game), want, atol=1e-5
    )
    if penalty == 0.4:  # The last is indifferent, and contributes.
      self.assertEqual(unique.tolist(), [True, True, False])

  def test_linear_cost_with_synergy(self):
    path = goods.exact_path(BOUND['linear'])[0]
    np.testing.assert_allclose(path, (0.0, 5 / 6, 1.0), atol=1e-9)

  def test_free_riding_under_linear_costs(self):
    for rho, want in ((2.9, 0.0), (3.1, 1.0)):
      game = goods.Game(rho=rho, kappa=1.0, cost='linear')
      np.testing.assert_allclose(goods.exact_path(game)[0], want)
      np.testing.assert_allclose(
        goods.nash(game).contributions, want, atol=1e-6
      )
      np.testing.assert_allclose(grid(11)(game).contributions, want, atol=1e-6)

  def test_answers_are_best_answers(self):
    # Brute force in float64 on what followers do, over random games.
    rng = np.random.default_rng(1)
    for trial in range(12):
      game = goods.Game(
        num_agents=2,
        rho=rng.uniform(0.5, 4),
        gamma=rng.uniform(0, 1.5),
        kappa=rng.uniform(0.5, 3),
        penalty=(0.0, rng.uniform(0, 1))[trial % 2],
        threshold=rng.uniform(0, 2),
        c_min=(0.0, 0.1)[trial % 3 == 0],
        cost=('quadratic', 'linear')[trial % 4 == 0],
        synergy=('sum', 'mean')[trial % 5 == 0],
        score=goods.SCORES[trial % 3],
      )
      path, answers, _ = goods.exact_path(game)
      c = np.linspace(game.c_min, 1.0, 2001)
      c = np.unique(np.concatenate([c, answers[1].low, path[:1]]))
      second = answers[1]
      inside = (c[:, None] >= second.low - 1e-9) & (
        c[:, None] <= second.high + 1e-9
      )
      values = np.where(
        inside, second.offset + second.slope * c[:, None], -np.inf
      ).max(axis=1)
      cost = lambda x, g=game: (
        g.kappa * (x if g.cost == 'linear' else x * x / 2)
      )

      def shared(first, then, g=game):
        score = {
          'sum': first + then,
          'mean': (first + then) / 2,
          'last': then,
        }[g.score]
        missed = g.penalty * (score < g.threshold - 1e-9)
        return g.rho / 2 * score - missed

      lead = shared(c, values) - cost(c)
      own = np.interp(path[0], c, lead)
      self.assertGreaterEqual(own, lead.max() - 1e-6)
      tried = np.linspace(game.c_min, 1.0, 2001)
      follow = lambda x, p=path, g=game, cost=cost, shared=shared: (
        shared(p[0], x, g) - cost(x, g) + g.gamma * x * p[0]
      )
      self.assertGreaterEqual(follow(path[1]), follow(tried).max() - 1e-6)

  @parameterized.parameters(
    ({'cost': 'power(exponent=3.0)'}, 'makes no lines'),
    ({'synergy': 'previous'}, 'use solve_tree'),
    ({'simultaneous': True}, 'use nash'),
    ({'rho': np.ones(2)}, r'rho has shape \(2,\)'),
  )
  def test_other_games_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.solve_exact(goods.Game(**options))


if __name__ == '__main__':
  absltest.main()
