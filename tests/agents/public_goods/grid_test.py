# SPDX-License-Identifier: Apache-2.0
"""Equilibria on grids against backward induction over all histories."""

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


def tree(game, num_levels, slack=1e-9):
  """Backward induction over every history, one at a time, in float64."""
  n = game.num_agents
  levels = np.linspace(float(game.c_min), float(game.c_max), num_levels)

  def paid(c):
    score = {'sum': sum(c), 'mean': sum(c) / n, 'last': c[-1]}[game.score]
    out = []
    for i, x in enumerate(c):
      synergy = {
        'sum': sum(c[:i]),
        'mean': sum(c[:i]) / max(i, 1),
        'previous': c[i - 1] if i else 0.0,
        'none': 0.0,
      }[game.synergy]
      cost = game.kappa * (x if game.cost == 'linear' else x * x / 2)
      missed = game.penalty * (score < game.threshold - 1e-9)
      bonus = game.gamma * x * synergy
      out.append(-cost + bonus + game.rho / n * score - missed)
    return out

  def best(history):
    i = len(history)
    if i == n:
      return history, paid(history)
    ends = [best((*history, x)) for x in levels]
    top = max(end[1][i] for end in ends)
    return [end for end in ends if end[1][i] >= top - slack][-1]

  return np.array(best(())[0])


@functools.cache
def solver(name, **options):
  return jax.jit(functools.partial(getattr(goods, name), **options))


@functools.cache
def grid(num_levels):
  return jax.jit(functools.partial(goods.solve_grid, num_levels=num_levels))


continuous = jax.jit(functools.partial(goods.solve, num_nodes=41))


class GridTest(parameterized.TestCase):
  @parameterized.parameters(*THRESHOLD)
  def test_threshold(self, penalty, want):
    found = grid(201)(goal(penalty))
    np.testing.assert_allclose(found.contributions, want, atol=0.02)
    np.testing.assert_allclose(
      goods.play(found.policies, goal(penalty)), found.contributions, atol=1e-6
    )

  @parameterized.product(
    synergy=goods.SYNERGIES,
    score=('sum', 'last'),
    numbers=((0.3, 0.7, 1.2), (0.8, 1.3, 0.9)),
  )
  def test_trees_are_backward_induction(self, synergy, score, numbers):
    penalty, gamma, kappa = numbers
    game = goods.Game(
      kappa=kappa,
      gamma=gamma,
      penalty=penalty,
      threshold=0.7 if score == 'last' else 1.6,
      synergy=synergy,
      score=score,
    )
    want = tree(game, 6)
    solve = solver('solve_tree', num_levels=6)
    np.testing.assert_allclose(solve(game).contributions, want, atol=1e-6)
    if synergy != 'previous':
      np.testing.assert_allclose(grid(6)(game).contributions, want, atol=1e-6)

  def test_float32_decides_as_float64(self):
    # Payoffs are flat at the top: levels differ in the tenth digit.
    game = game_of(CLOSED[3][0])
    small = grid(401)(game).policies.params['levels']
    with jax.enable_x64(True):
      large = jax.jit(functools.partial(goods.solve_grid, num_levels=401))(game)
      np.testing.assert_array_equal(small, large.policies.params['levels'])

  def test_nobody_gains_on_their_own_grid(self):
    for game in (goal(0.4), goal(0.2), game_of(CLOSED[1][0])):
      levels = grid(201)(game).policies.params['levels']
      gains = jax.jit(functools.partial(goods.grid_gains, num_levels=201))(
        game, levels
      )
      self.assertLess(float(gains.max()), 1e-7)
      # Somebody does who gives nothing at all.
    gains = goods.grid_gains(goal(0.4), jnp.zeros((3, 21), int), num_levels=11)
    self.assertGreater(float(gains.max()), 0.3)

  def test_a_thousand_games_are_one_program(self):
    penalties = jnp.linspace(0.0, 0.8, 5)
    many = jax.jit(jax.vmap(lambda p: goods.solve_grid(goal(p), num_levels=21)))
    found = many(penalties).contributions
    for penalty, got in zip(penalties, found, strict=True):
      want = grid(21)(goal(float(penalty))).contributions
      np.testing.assert_allclose(got, want, atol=1e-6)

  def test_ties_are_told(self):
    found = grid(11)(goal(0.4))
    self.assertEqual(found.unique.tolist(), [True, True, False])
    self.assertTrue(grid(11)(goal(0.43)).unique.all())

  def test_one_agent(self):
    # argmax of -C + ρ F - P 1[F < B].
    for penalty, want in ((0.0, 0.3), (0.5, 0.8), (0.05, 0.3)):
      game = goods.Game(
        num_agents=1, rho=0.6, kappa=2.0, penalty=penalty, threshold=0.8
      )
      for found in (
        grid(11)(game).contributions,
        solver('solve_tree', num_levels=11)(game).contributions,
        goods.exact_path(game)[0],
        goods.nash(game).contributions,
      ):
        np.testing.assert_allclose(found, [want], atol=1e-6)
    plain = goods.Game(num_agents=1, rho=0.6, kappa=2.0)
    np.testing.assert_allclose(
      continuous(plain).contributions, [0.3], atol=1e-5
    )

  def test_no_room_to_choose(self):
    game = goods.Game(c_min=0.4, c_max=0.4, gamma=0.4)
    for found in (grid(11)(game), continuous(game)):
      np.testing.assert_allclose(found.contributions, 0.4)
    np.testing.assert_allclose(goods.nash(game).contributions, 0.4)

  @parameterized.parameters(
    (lambda: goods.solve_grid(goods.Game(synergy='previous')), 'solve_tree'),
    (lambda: goods.solve(goods.Game(synergy='previous')), 'solve_tree'),
    (lambda: goods.solve(goal(0.4)), 'penalty must be 0.*got 0.4.*solve_grid'),
    (lambda: goods.solve_grid(goods.pgg()), 'simultaneous'),
    (lambda: goods.solve(goods.pgg()), 'simultaneous'),
    (lambda: goods.solve_tree(goods.pgg()), 'simultaneous'),
    (
      lambda: goods.solve_grid(goods.Game(), num_levels=1),
      'num_levels must be at least 2',
    ),
    (
      lambda: goods.solve_tree(goods.Game(num_agents=9), num_levels=11),
      'make 2357947691 histories',
    ),
    (lambda: goods.closed_form(goal(0.0)), 'cost=linear has no closed form'),
    (
      lambda: goods.closed_form(goods.Game(penalty=0.1)),
      'penalty must be 0 in a closed form',
    ),
    (
      lambda: goods.closed_form(goods.Game(synergy='mean')),
      'synergy=mean have no closed form',
    ),
    (lambda: goods.closed_form(goods.Game(), observation='some'), 'unknown'),
    (lambda: goods.find(goods.Game(), 'newton'), "solver='newton' is unknown"),
    (lambda: goods.nash(goods.Game(), start='middle'), "start='middle'"),
  )
  def test_bad_input(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()


class TheoremsTest(parameterized.TestCase):
  def test_welfare_may_rise_with_the_threshold(self):
    # The paper: it falls. Whoever would miss a low one for nothing pays for a
    # high one, and all share it.
    pay = lambda b: float(
      goods.welfare(
        jnp.asarray(
          goods.exact_path(goal(0.6).replace(threshold=b))[0], jnp.float32
        ),
        goal(0.6).replace(threshold=b),
      )
    )
    values = [pay(b) for b in (0.5, 1.0, 1.5)]
    np.testing.assert_allclose(values, (0.25, 0.5, 0.75), atol=1e-5)

  def test_totals_may_fall_with_synergy(self):
    # A leader gives less where followers are at their bound anyway.
    totals = [
      goods.exact_path(BOUND['turn'].replace(gamma=g))[0].sum()
      for g in (0.6, 1.5)
    ]
    self.assertLess(totals[1], totals[0] - 0.01)

  def test_sufficient_condition(self):
    game = goods.Game(rho=6.3, kappa=2.0, penalty=0.3, threshold=2.0)
    self.assertTrue(bool(goods.is_sufficient(game)))
    np.testing.assert_allclose(goods.exact_path(game)[0], 1.0)
    np.testing.assert_allclose(grid(11)(game).contributions, 1.0)
    self.assertTrue(grid(11)(game).unique.all())


if __name__ == '__main__':
  absltest.main()
