# SPDX-License-Identifier: Apache-2.0
"""Rewards by hand, costs by their derivatives, and settings of generators."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from absl.testing import absltest, parameterized

from jaxdl.agents import public_goods as goods

COSTS = ('quadratic', 'linear', 'power(exponent=3.0)', 'exponential(rate=2.0)')


def rewards(c, game):
  """R_i by the sum of the docstring, in float64."""
  n = len(c)
  score = {'sum': sum(c), 'mean': sum(c) / n, 'last': c[-1]}[game.score]
  out = []
  for i in range(n):
    synergy = {
      'sum': sum(c[:i]),
      'mean': sum(c[:i]) / max(i, 1),
      'previous': c[i - 1] if i else 0.0,
      'none': 0.0,
    }[game.synergy]
    kappa = np.broadcast_to(game.kappa, n)[i]
    cost = {
      'quadratic': kappa * c[i] ** 2 / 2,
      'linear': kappa * c[i],
      'power(exponent=3.0)': kappa * c[i] ** 3 / 3,
      'exponential(rate=2.0)': kappa * (np.exp(2 * c[i]) - 1) / 2,
    }[game.cost]
    missed = game.penalty if score < game.threshold - 1e-9 else 0.0
    shared = game.rho / n * score - missed
    out.append(-cost + game.gamma * c[i] * synergy + shared)
  return np.array(out)


class RewardTest(parameterized.TestCase):
  def test_worked_example(self):
    game = goods.Game(rho=1.5, gamma=0.4, kappa=2.0, penalty=0.3, threshold=2.0)
    c = jnp.array([0.5, 0.2, 1.0])
    np.testing.assert_allclose(
      goods.reward(c, game), (0.30, 0.55, -0.17), atol=1e-6
    )
    np.testing.assert_allclose(goods.welfare(c, game), 0.68, atol=1e-6)
    self.assertFalse(bool(goods.is_reached(goods.score(c, game), game)))

  @parameterized.product(
    synergy=goods.SYNERGIES, score=goods.SCORES, cost=COSTS[:2]
  )
  def test_every_form_is_the_sum_of_its_parts(self, synergy, score, cost):
    rng = np.random.default_rng(3)
    for n in (1, 4):
      c = rng.uniform(size=n)
      game = goods.Game(
        num_agents=n,
        gamma=0.7,
        kappa=1.3,
        penalty=0.25,
        threshold=0.6,
        cost=cost,
        synergy=synergy,
        score=score,
      )
      np.testing.assert_allclose(
        goods.reward(jnp.asarray(c, jnp.float32), game),
        rewards(c, game),
        atol=1e-5,
      )

  @parameterized.parameters(*COSTS)
  def test_costs_have_their_derivatives(self, cost):
    game = goods.Game(cost=cost, kappa=np.array([1.0, 2.0, 0.5], 'f'))
    c = np.array([0.3, 0.6, 0.9])
    np.testing.assert_allclose(
      goods.reward(jnp.asarray(c, jnp.float32), game),
      rewards(c, game),
      atol=1e-5,
    )
    made = goods.COSTS.make(cost)
    other = goods.convex(lambda x, kappa: made.value(x, kappa))
    x = jnp.linspace(0.1, 1.0, 4)
    for name in ('slope', 'curvature'):
      np.testing.assert_allclose(
        getattr(made, name)(x, 1.5), getattr(other, name)(x, 1.5), rtol=1e-4
      )

  def test_a_cost_of_ones_own_is_a_game_of_its_own(self):
    cost = goods.convex(lambda c, kappa: kappa * c**4)
    game = goods.Game(num_agents=1, rho=1.0, kappa=1.0, cost=cost)
    # 4 c³ = 1.
    np.testing.assert_allclose(
      goods.solve(game).contributions, [0.25 ** (1 / 3)], atol=1e-4
    )

  def test_rounding_does_not_miss_a_threshold(self):
    game = goods.Game(penalty=1.0, threshold=0.3)
    # 0.1 three times is a bit more or less than 0.3, as sums go.
    for value in (0.1, 0.1 - 1e-8):
      c = jnp.full((3,), value)
      self.assertTrue(bool(goods.is_reached(goods.score(c, game), game)))
    self.assertFalse(bool(goods.is_reached(jnp.float32(0.2999), game)))

  def test_costs_travel_with_their_agent(self):
    kappa = np.array([1.0, 2.0, 4.0], np.float32)
    game = goods.Game(kappa=kappa, gamma=0.3)
    order = jnp.array([2, 0, 1])
    c = jnp.array([0.2, 0.4, 0.6])
    seated = game.replace(kappa=kappa[np.asarray(order)])
    np.testing.assert_allclose(
      goods.reward(c, game, order=order), goods.reward(c, seated)
    )

  def test_many_games_are_one_program(self):
    rhos = jnp.array([0.5, 1.0, 2.0])
    c = jnp.array([0.5, 0.2, 1.0])
    many = jax.jit(
      jax.vmap(lambda r: goods.reward(c, goods.Game(rho=r, gamma=0.4)))
    )(rhos)
    for rho, got in zip(rhos, many, strict=True):
      want = rewards(np.array([0.5, 0.2, 1.0]), goods.Game(rho=rho, gamma=0.4))
      np.testing.assert_allclose(got, want, atol=1e-6)
    batch = goods.reward(jnp.stack([c, c]), goods.Game(gamma=0.4))
    self.assertEqual(batch.shape, (2, 3))

  def test_float64_is_kept(self):
    with jax.enable_x64(True):
      game = goods.Game(gamma=0.4)
      found = goods.reward(jnp.array([0.1, 0.2, 0.3]), game)
      self.assertEqual(found.dtype, jnp.float64)
      want = rewards(np.array([0.1, 0.2, 0.3]), game)
      np.testing.assert_allclose(found, want, atol=1e-14)

  def test_negative_contributions_may_repel_followers(self):
    # At a sum of -1 the last one is paid 1 - 2 a unit, and gives the least.
    game = goods.Game(num_agents=2, c_min=-1.0, rho=2.0, gamma=2.0, kappa=0.5)
    answer = lambda c: float(
      jnp.argmax(
        jnp.stack(
          [goods.reward(jnp.array([c, x]), game)[1] for x in (-1.0, 1.0)]
        )
      )
    )
    self.assertEqual((answer(-1.0), answer(1.0)), (0.0, 1.0))
    self.assertFalse(goods.is_sufficient(game))

  def test_sufficient_condition(self):
    sure = lambda **kwargs: bool(goods.is_sufficient(goods.Game(**kwargs)))
    # rho / n > kappa c_max.
    self.assertTrue(sure(rho=6.1, kappa=2.0))
    self.assertFalse(sure(rho=5.9, kappa=2.0))
    # The first mover has no synergy, whatever c_min is.
    self.assertFalse(sure(rho=5.9, kappa=2.0, gamma=9.0, c_min=0.5))
    self.assertTrue(
      sure(rho=3.0, kappa=np.array([0.9, 2.0, 2.0]), gamma=2.1, c_min=0.5)
    )
    # A last contribution alone says nothing to the others.
    self.assertFalse(sure(rho=99.0, kappa=2.0, score='last'))


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'c_min': 0.5, 'c_max': 0.2}, r'c_min must be at most c_max; got 0.5 >'),
    ({'kappa': 0.0}, r'kappa must lie in \(0.0, inf\); got 0.0'),
    ({'kappa': -1.0}, 'kappa must lie in'),
    ({'rho': -0.1}, r'rho must lie in \[0.0, inf\); got -0.1'),
    ({'gamma': -0.1}, 'gamma must lie in'),
    ({'penalty': -1.0}, 'penalty must lie in'),
    ({'threshold': float('nan')}, 'threshold must lie in'),
    ({'num_agents': 0}, 'num_agents must be at least 1; got 0'),
    ({'synergy': 'product'}, "synergy='product' is unknown.*'previous'"),
    ({'score': 'max'}, "score='max' is unknown.*'last'"),
    ({'cost': 'cubic'}, "cost='cubic' is unknown"),
    (
      {'cost': 'power(2.5)', 'c_min': -1.0},
      r'c_min must be at least 0 where cost=power\(2.5\); got -1',
    ),
    ({'cost': 'power(exponent=0.5)'}, 'exponent must lie in'),
  )
  def test_games(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.mac_spgg(**options)
    # As well from a game that nobody made by name.
    with self.assertRaisesRegex(ValueError, message):
      goods.reward(jnp.zeros(3), goods.Game(**options))

  @parameterized.parameters(
    (lambda: goods.reward(jnp.zeros(2), goods.Game()), 'one entry per agent'),
    (
      lambda: goods.mac_spgg(kappa=(1.0, 2.0)),
      'kappa must be one number or 3, one per agent; got 2',
    ),
    (
      lambda: goods.reward(jnp.zeros(3), goods.Game(rho=jnp.ones(4))),
      r'rho has shape \(4,\).*jax.vmap',
    ),
    (
      lambda: goods.GAMES.make('spgg(gamma=0.4)'),
      "spgg has no option 'gamma'",
    ),
  )
  def test_shapes_and_specs(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()

  @parameterized.parameters(
    ((0, 1), r'got shape \(2,\)'),
    ((0, 0, 2), r'got \[0, 0, 2\]'),
    ((0, 1, 3), r'got \[0, 1, 3\]'),
  )
  def test_an_order_is_a_permutation(self, order, message):
    order, c = jnp.array(order), jnp.zeros(3)
    message = 'order must be a permutation of 0 to 2; ' + message
    with self.assertRaisesRegex(ValueError, message):
      goods.reward(c, goods.spgg(), order=order)
    with self.assertRaisesRegex(ValueError, message):
      goods.play(goods.constant_policies(c), goods.spgg(), order=order)

  def test_policies_are_those_of_all_agents(self):
    few = goods.constant_policies(jnp.zeros(2))
    message = r'policies must have a row for each of num_agents=3; .*\(2,\)'
    with self.assertRaisesRegex(ValueError, message):
      goods.play(few, goods.spgg())
    with self.assertRaisesRegex(ValueError, message):
      goods.exploitability(few, goods.spgg())
    with self.assertRaisesRegex(ValueError, 'a row for each of 2 seeds'):
      goods.policy_rows(
        goods.constant_policies(jnp.zeros((1, 3))), goods.spgg(), seeds=(0, 1)
      )

  def test_whole_contributions_reach_a_threshold(self):
    game = goods.Game(threshold=1.5)
    found = goods.is_reached(jnp.array([1, 2]), game)
    self.assertEqual(found.tolist(), [False, True])

  def test_half_precision_is_no_other_game(self):
    half = goods.Game(
      **{
        k: jnp.asarray(v, jnp.bfloat16)
        for k, v in (('rho', 1.5), ('gamma', 0.5), ('kappa', 2.0))
      }
    )
    full = goods.Game(rho=1.5, gamma=0.5, kappa=2.0)
    np.testing.assert_allclose(
      goods.closed_form(half).contributions,
      goods.closed_form(full).contributions,
      rtol=1e-6,
    )

  def test_no_game_at_all(self):
    with self.assertRaisesRegex(TypeError, 'game must be a public_goods.Game'):
      goods.reward(jnp.zeros(3), {'rho': 1.0})
    with self.assertRaisesRegex(TypeError, 'cost must be a part of COSTS'):
      goods.reward(jnp.zeros(3), goods.Game(cost=3))

  def test_a_threshold_out_of_reach_is_a_warning(self):
    with mock.patch.object(logging, 'warning') as warned:
      goods.mac_spgg(penalty=1.0, threshold=3.0)
      goods.mac_spgg(penalty=0.0, threshold=9.0)
      warned.assert_not_called()
      goods.mac_spgg(penalty=1.0, threshold=3.1)
    self.assertIn('cannot be reached', warned.call_args.args[0])


class SettingsTest(parameterized.TestCase):
  @parameterized.parameters('GENERATION', 'LOCAL_GENERATION')
  def test_ends_of_the_ranges(self, name):
    ranges = getattr(goods, name)
    settings = functools.partial(goods.generation_settings, ranges=ranges)
    low, high = settings(np.zeros(6)), settings(np.ones(6))
    for key, span in ranges.items():
      self.assertEqual((low[key], high[key]), span[:2])
      for value in (low[key], high[key]):
        self.assertIsInstance(value, int if span.whole else float)
    # What is not in [0, 1] is cut, and no sigmoid squeezes it.
    self.assertEqual(settings(np.full(6, -3.0)), low)
    self.assertEqual(settings(np.full(6, 7.0)), high)

  def test_published_ranges(self):
    found = goods.generation_settings(np.full(6, 0.5))
    self.assertAlmostEqual(found['temperature'], 0.75)
    self.assertAlmostEqual(found['top_p'], 0.775)
    self.assertEqual((found['top_k'], found['max_tokens']), (50, 634))
    self.assertAlmostEqual(found['repetition_penalty'], 1.15)
    self.assertAlmostEqual(found['presence_penalty'], 0.3)

  def test_whole_numbers_are_cut(self):
    spans = {'k': goods.Range(0, 10, whole=True)}
    found = [goods.generation_settings([u], spans)['k'] for u in (0.19, 0.999)]
    self.assertEqual(found, [1, 9])

  def test_there_and_back(self):
    u = np.array([0.1, 0.9, 0.5, 0.5, 0.0, 1.0])
    settings = goods.generation_settings(u)
    np.testing.assert_allclose(goods.settings_actions(settings), u, atol=1 / 50)

  @parameterized.parameters(
    (np.zeros(5), None, 'actions must be one number for each of temperature'),
    (np.full(6, np.nan), None, 'actions must be finite'),
    ([0.5], {}, 'ranges is empty'),
    ([0.5], {'k': (0.5, 0.9, True)}, 'k is whole, so .* got 0.5 and 0.9'),
    ([0.5], {'k': (2.0, 1.0)}, r'k must have low <= high; got 2.0 > 1.0'),
  )
  def test_bad_actions(self, actions, ranges, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.generation_settings(actions, ranges)

  @parameterized.parameters(5, (1.0,), 'ab')
  def test_ranges_are_pairs(self, span):
    with self.assertRaisesRegex(TypeError, 'k must be a Range, or a pair'):
      goods.generation_settings([0.5], {'k': span})

  def test_bad_settings(self):
    spans = {'k': (0.0, 1.0)}
    for settings, message in (
      ({}, "settings lack 'k'"),
      ({'k': 2.0}, r'k must lie in \[0.0, 1.0\]'),
      ({'k': 0.5, 'kk': 0.5}, "settings='kk' is unknown"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        goods.settings_actions(settings, spans)


if __name__ == '__main__':
  absltest.main()
