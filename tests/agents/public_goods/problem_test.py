# SPDX-License-Identifier: Apache-2.0
"""The problem of a public goods game, with everybody who plays it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import experiment, problems
from jaxdl.agents import public_goods as goods
from jaxdl.core import types
from jaxdl.experiment import config as config_lib, runner


class ProblemTest(parameterized.TestCase):
  def test_compared_side_by_side(self):
    problem = problems.games.public_goods(
      'mac_spgg(gamma=0.4)', num_states=5, num_levels=21, seeds=(0, 3)
    )
    specs = ('ppo(num_games=16, hidden=4)', 'spne(num_levels=41)', 'nash')
    specs += ('planner', 'fixed(contribution=0.25)')
    algorithms = {
      spec: functools.partial(
        goods.METHODS.make, spec, num_updates=4, solver='continuous'
      )
      for spec in specs
    }
    config = config_lib.BaseConfig(seeds=(0, 3), num_rounds=2, eval_every=2)
    rows = runner.run(
      experiment.compare(config, problem, algorithms, steps=2), config
    ).rows
    last = {
      (r['variant'], r['seed']): r
      for r in rows
      if r['step'] == 2 and r['split'] == 'test'
    }
    self.assertLen(last, 10)
    spne = last['spne(num_levels=41)', 3]
    self.assertLess(spne['error'], 1e-4)
    self.assertLess(spne['exploitability'], 1e-4)
    self.assertAlmostEqual(spne['welfare'], 1.4371, places=3)
    self.assertAlmostEqual(last['nash', 0]['total'], 0.91, places=4)
    self.assertAlmostEqual(last['planner', 0]['welfare'], 2.7, places=4)
    fixed = last['fixed(contribution=0.25)', 0]
    given = [fixed[f'given_{i}'] for i in (1, 2, 3)]
    self.assertEqual(given, [0.25] * 3)
    trained = [r for r in rows if r['split'] == 'train']
    self.assertEqual({r['variant'] for r in trained}, {specs[0]})
    # Seeds differ.
    self.assertNotEqual(last[specs[0], 0]['total'], last[specs[0], 3]['total'])

  def test_a_game_for_each_seed(self):
    games = goods.Game(gamma=jnp.array([0.0, 0.4]))
    with self.assertRaisesRegex(ValueError, 'a game for each seed'):
      problems.games.public_goods(
        games.replace(rho=jnp.array([1.5, 1.5])), seeds=(0, 1, 2)
      )
    games = jax.tree.map(
      lambda x: jnp.broadcast_to(jnp.asarray(x, 'float32'), (2,)), games
    )
    problem = problems.games.public_goods(games, seeds=(0, 1))
    np.testing.assert_allclose(
      problem.test.sum(axis=1), (0.75, 1.1284), atol=1e-6
    )

  def test_gradient_descent_climbs_welfare(self):
    problem = problems.games.public_goods('spgg')
    batch = jax.tree.map(lambda x: x[0], problem.data)
    params = problem.task.init(jax.random.key(0))

    def body(params, _):
      slopes = jax.grad(problem.task.loss)(params, batch)
      return jax.tree.map(lambda p, g: p - 0.2 * g, params, slopes), None

    params, _ = jax.lax.scan(body, params, None, length=60)
    np.testing.assert_allclose(params['contributions'], 0.75, atol=1e-4)
    found = problem.evaluate(jax.tree.map(lambda x: x[None], params))
    np.testing.assert_allclose(found['welfare'], 1.6875, atol=1e-5)
    np.testing.assert_allclose(found['error'], 0.5, atol=1e-4)

  @parameterized.parameters(
    ('pgg', 'nash'),
    ('spgg', 'continuous'),
    ('mac_spgg(penalty=0.1, threshold=1.0)', 'grid'),
    ('mac_spgg(synergy=previous)', 'tree'),
  )
  def test_solver_that_suits(self, game, want):
    game = goods.GAMES.make(game)
    self.assertEqual(goods.pick_solver(game), want)
    self.assertIsInstance(goods.equilibrium(game), types.Algorithm)

  def test_a_traced_penalty_names_no_solver(self):
    with self.assertRaisesRegex(ValueError, 'solver must be named'):
      jax.eval_shape(
        lambda p: goods.find(goods.Game(penalty=p)).contributions, 0.1
      )

  @parameterized.parameters(
    (
      lambda: problems.games.public_goods('spgg', num_states=1),
      'num_states must be at least 2; got 1',
    ),
    (
      lambda: problems.games.public_goods('spgg', num_levels=1),
      'num_levels must be at least 2; got 1',
    ),
    (
      lambda: goods.find(goods.spgg(), num_levels=0),
      'num_levels must be at least 3; got 0',
    ),
    (
      lambda: goods.find(goods.spgg(), 'closed', num_levels=9),
      'num_levels=9 has no effect on solver=closed',
    ),
    (lambda: goods.METHODS.make('fixed((0.1, 0.2))', goods.Game()), 'one per'),
    (
      lambda: goods.METHODS.make('spne(solver=newton)', goods.Game()),
      "solver='newton' is unknown",
    ),
    (
      lambda: goods.METHODS.make('a2c', goods.Game()),
      "method='a2c' is unknown",
    ),
    (lambda: problems.games.public_goods('spg'), "game='spg' is unknown"),
  )
  def test_bad_specs(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()


if __name__ == '__main__':
  absltest.main()
