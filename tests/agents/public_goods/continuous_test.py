# SPDX-License-Identifier: Apache-2.0
"""The compiled solver against exact pieces, where bounds bind and not."""

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


@functools.cache
def solver(name, **options):
  return jax.jit(functools.partial(getattr(goods, name), **options))


continuous = jax.jit(functools.partial(goods.solve, num_nodes=41))
full = jax.jit(goods.solve)
exploitability = jax.jit(
  goods.exploitability,
  static_argnames=('states', 'num_states', 'num_levels'),
)


class ContinuousTest(parameterized.TestCase):
  @parameterized.named_parameters(*BOUND.items())
  def test_bounds_that_bind(self, game):
    want = goods.exact_path(game)[0]
    found = full(game)
    np.testing.assert_allclose(found.contributions, want, atol=2e-4)

  def test_lines_through_bounds_alone_go_wrong(self):
    # Why turns and jumps are looked for: with slopes interpolated through
    # them, leaders miss what followers do at a bound.
    for rho, gamma, kappa, c_max, least in (
      (0.7, 1.3, 1.2, 1.0, 6e-3),
      (1.4, 2.0, 2.4, 1.0, 5e-3),
      (0.8, 1.9, 2.6, 0.3, 0.1),  # Another branch altogether.
    ):
      game = goods.Game(rho=rho, gamma=gamma, kappa=kappa, c_max=c_max)
      want = goods.exact_path(game)[0]
      self.assertGreater(np.abs(_plain(game, 401) - want).max(), least)
      np.testing.assert_allclose(full(game).contributions, want, atol=1e-4)
    inside = game_of(CLOSED[1][0])
    np.testing.assert_allclose(_plain(inside, 401), CLOSED[1][1], atol=1e-9)

  def test_other_costs_against_a_fine_grid(self):
    for cost in ('power(exponent=3.0)', 'exponential(rate=1.0)'):
      game = goods.Game(rho=4.5, gamma=0.3, kappa=1.2, cost=cost)
      found = continuous(game)
      # Nobody gains by another answer, at any sum.
      gains = exploitability(found.policies, game, num_levels=401)
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


if __name__ == '__main__':
  absltest.main()
