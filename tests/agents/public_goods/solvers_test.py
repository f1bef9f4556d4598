# SPDX-License-Identifier: Apache-2.0
"""Equilibria against closed forms, each other and backward induction in NumPy."""

import functools
import itertools

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
      np.testing.assert_allclose(goods.nash(game).contributions, want)
      np.testing.assert_allclose(grid(11)(game).contributions, want)

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
      follow = lambda x, p=path, g=game: (
        shared(p[0], x) - cost(x) + g.gamma * x * p[0]
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
    self.assertTrue(grid(11)(goal(0.45)).unique.all())

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


class ContinuousTest(parameterized.TestCase):
  @parameterized.named_parameters(*BOUND.items())
  def test_bounds_that_bind(self, game):
    want = goods.exact_path(game)[0]
    found = jax.jit(goods.solve)(game)
    np.testing.assert_allclose(found.contributions, want, atol=2e-4)

  def test_lines_through_bounds_alone_go_wrong(self):
    # Why turns and jumps are looked for: with slopes interpolated through
    # them, leaders miss what followers do at a bound.
    game = BOUND['turn']
    want = goods.exact_path(game)[0]
    self.assertGreater(np.abs(_plain(game, 401) - want).max(), 1e-3)
    inside = game_of(CLOSED[1][0])
    np.testing.assert_allclose(_plain(inside, 401), CLOSED[1][1], atol=1e-9)

  def test_other_costs_against_a_fine_grid(self):
    for cost in ('power(exponent=3.0)', 'exponential(rate=1.0)'):
      game = goods.Game(rho=4.5, gamma=0.3, kappa=1.2, cost=cost)
      found = continuous(game)
      # Nobody gains by another answer, at any sum.
      gains = goods.exploitability(found.policies, game, num_levels=401)
      self.assertLess(float(gains.anywhere.max()), 2e-5)
      self.assertGreater(float(found.contributions.min()), 0.05)

  def test_many_games_are_one_program(self):
    gammas = jnp.linspace(0.0, 0.6, 4)
    many = jax.jit(
      jax.vmap(
        lambda g: goods.solve(goods.Game(gamma=g), num_nodes=41).contributions
      )
    )(gammas)
    for gamma, got in zip(gammas, many, strict=True):
      want = goods.closed_form(goods.Game(gamma=gamma)).contributions
      np.testing.assert_allclose(got, want, atol=1e-5)

  def test_float64(self):
    with jax.enable_x64(True):
      found = goods.solve(game_of(CLOSED[3][0]), num_nodes=21)
      np.testing.assert_allclose(found.contributions, CLOSED[3][1], atol=1e-7)


def _plain(game, nodes):
  """The scheme without turns: slopes of what follows, interpolated."""
  n, kappa, gamma = game.num_agents, game.kappa, game.gamma
  rate = game.rho / n
  sums = [np.linspace(0, i * game.c_max, nodes) for i in range(n + 1)]
  total, slope, answers = sums[n], np.ones(nodes), []
  for i in reversed(range(n)):
    s = sums[i][:, None]
    c = np.linspace(0, game.c_max, 201)[None]
    pay = -kappa * c * c / 2 + gamma * s * c
    pay = pay + rate * np.interp(s + c, sums[i + 1], total)
    k = pay.argmax(axis=1)
    low = c[0][np.maximum(k - 1, 0)]
    high = c[0][np.minimum(k + 1, 200)]
    s = s[:, 0]
    marginal = lambda x, s=s, i=i, d=slope: (
      -kappa * x + gamma * s + rate * np.interp(s + x, sums[i + 1], d)
    )
    for _ in range(40):
      middle = (low + high) / 2
      up = marginal(middle) > 0
      low, high = np.where(up, middle, low), np.where(up, high, middle)
    best = np.clip((low + high) / 2, 0, game.c_max)
    bend = np.interp(s + best, sums[i + 1], np.gradient(slope, sums[i + 1]))
    turn = (gamma + rate * bend) / (kappa - rate * bend)
    inside = (best > 1e-9) & (best < game.c_max - 1e-9)
    turn = np.where(inside, turn, 0)
    total = np.interp(s + best, sums[i + 1], total)
    slope = np.interp(s + best, sums[i + 1], slope) * (1 + turn)
    answers.insert(0, best)
  path = []
  for i in range(n):
    given = (
      answers[i][0] if not i else np.interp(sum(path), sums[i], answers[i])
    )
    path.append(given)
  return np.array(path)


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


class PlannerTest(parameterized.TestCase):
  def test_free_riding_gives_a_part_of_the_plan(self):
    for n in (2, 5):
      game = goods.Game(num_agents=n, rho=1.5, kappa=2.0)
      np.testing.assert_allclose(
        goods.planner(game).contributions, 0.75, atol=1e-6
      )
      np.testing.assert_allclose(
        goods.nash(game).contributions, 0.75 / n, atol=1e-6
      )

  @parameterized.parameters(
    {'gamma': 0.4},
    {'gamma': 1.5, 'rho': 0.4},
    {'kappa': 1.0, 'cost': 'linear', 'rho': 0.8, 'penalty': 0.5},
    {'synergy': 'previous', 'gamma': 0.9, 'rho': 0.7},
    {'score': 'last', 'gamma': 0.2},
  )
  def test_no_grid_point_is_better(self, **options):
    game = goods.Game(threshold=1.5, **options)
    found = jax.jit(goods.planner)(game)
    levels = np.linspace(0, 1, 21)
    every = np.array(list(itertools.product(levels, repeat=3)))
    best = float(goods.welfare(jnp.asarray(every, jnp.float32), game).max())
    self.assertGreaterEqual(float(found.rewards.sum()), best - 1e-5)
    self.assertTrue(bool(found.converged))

  def test_nash_is_a_best_answer_of_each(self):
    for game in (
      goods.pgg(penalty=0.6, threshold=1.5),
      goods.pgg(cost='exponential', kappa=0.3, rho=2.0),
      goal(0.9, simultaneous=True),
    ):
      for start in ('low', 'high'):
        found = goods.nash(game, start=start)
        self.assertTrue(bool(found.converged))
        fixed = goods.constant_policies(found.contributions)
        gains = goods.exploitability(fixed, game, num_levels=1001)
        self.assertLess(float(gains.on_path.max()), 1e-5)

  def test_a_threshold_has_several_equilibria(self):
    game = goal(0.6, simultaneous=True)
    low, high = (goods.nash(game, start=s) for s in ('low', 'high'))
    np.testing.assert_allclose(low.contributions, 0.0)
    np.testing.assert_allclose(high.contributions.sum(), 1.5, atol=1e-5)


class ExploitabilityTest(parameterized.TestCase):
  def test_the_trap_is_seen_off_the_path(self):
    # All give nothing: nobody alone reaches 1.5, but the last mover should
    # answer a gap that it can fill.
    stuck = goods.constant_policies(jnp.zeros(3))
    gains = goods.exploitability(stuck, goal(0.4), num_states=41)
    np.testing.assert_allclose(gains.on_path, 0.0, atol=1e-6)
    self.assertLess(float(gains.anywhere[0]), 1e-6)
    # At S = 1.45 the second gains .4 by a gift of .05 that costs .025.
    np.testing.assert_allclose(gains.anywhere[1:], 0.4, atol=0.05)
    self.assertBetween(float(gains.worst[2]), 1.3, 1.5)

  def test_equilibria_gain_nothing_anywhere(self):
    game = goods.Game(gamma=0.4)
    for found in (goods.closed_form(game), goods.solve_exact(game)):
      for states in ('sums', 'histories'):
        gains = goods.exploitability(
          found.policies, game, states=states, num_states=6
        )
        self.assertLess(float(gains.anywhere.max()), 1e-5)

  def test_histories_see_what_sums_do_not(self):
    # Who answers the predecessor alone errs where the first gave something
    # else.
    game = goods.Game(gamma=0.4, synergy='sum')
    found = goods.closed_form(game, observation='partial')
    sums, histories = (
      goods.exploitability(found.policies, game, states=s, num_states=11)
      for s in ('sums', 'histories')
    )
    self.assertLess(float(sums.on_path.max()), 1e-5)
    self.assertGreater(
      float(histories.anywhere[2]), float(sums.anywhere[2]) + 1e-3
    )

  def test_by_hand(self):
    # The second gives .5 whatever happens: at c_1 = 1 its payoff is
    # -c² + .4 c + .5 (1 + c), whose top is at .45.
    game = goods.Game(num_agents=2, rho=1.0, gamma=0.4, kappa=2.0)
    fixed = goods.constant_policies(jnp.array([1.0, 0.5]))
    gains = goods.exploitability(fixed, game, num_levels=2001)
    np.testing.assert_allclose(gains.on_path, (0.75**2, 0.05**2), atol=1e-4)

  def test_bad_input(self):
    fixed = goods.constant_policies(jnp.zeros(3))
    for call, message in (
      (
        lambda: goods.exploitability(fixed, goods.Game(), states='all'),
        "states='all' is unknown",
      ),
      (
        lambda: goods.exploitability(
          fixed, goods.Game(num_agents=9), states='histories'
        ),
        'histories: at most',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        call()
    with self.assertRaisesRegex(TypeError, 'policies must be'):
      goods.play(jnp.zeros(3), goods.Game())


if __name__ == '__main__':
  absltest.main()
