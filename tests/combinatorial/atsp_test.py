# SPDX-License-Identifier: Apache-2.0
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import random_policy
from scipy.sparse import csgraph

from jaxdl import combinatorial
from jaxdl.combinatorial import _atsp

ATSP = combinatorial.make_problem('atsp')


def total(costs, order):
  return np.asarray(costs, np.float64)[order, np.roll(order, -1)].sum()


def oracle_costs(seed):
  rng = np.random.default_rng(seed)
  rng.random((9, 2)), rng.integers(1, 10, 8), rng.random(8), rng.random(8)
  costs = rng.random((9, 9))
  np.fill_diagonal(costs, 0)
  return csgraph.floyd_warshall(costs)


class AtspTest(parameterized.TestCase):
  @parameterized.parameters((0, 1.971522), (1, 1.607114), (2, 0.902225))
  def test_best_of_all_tours_is_the_known_optimum(self, seed, optimum):
    rest = np.array(list(itertools.permutations(range(1, 9))), np.int32)
    orders = np.concatenate([np.zeros((len(rest), 1), np.int32), rest], axis=1)
    instance = {'costs': jnp.asarray(oracle_costs(seed), jnp.float32)}
    objective = jax.jit(
      jax.vmap(lambda o: ATSP.objective(instance, combinatorial.Tour(o)))
    )
    found = objective(orders)
    np.testing.assert_allclose(found.min(), optimum, atol=1e-6)
    best = np.asarray(orders[found.argmin()])
    np.testing.assert_allclose(
      found.min(), total(oracle_costs(seed), best), atol=1e-6
    )

  def test_generated_costs_are_closed(self):
    costs = np.asarray(ATSP.generate(jax.random.key(0), 12)['costs'])
    np.testing.assert_array_equal(np.diag(costs), 0)
    np.testing.assert_allclose(
      csgraph.floyd_warshall(costs.astype(np.float64)), costs, atol=1e-6
    )
    self.assertFalse(np.allclose(costs, costs.T))

  def test_closing_is_that_of_floyd_and_warshall(self):
    costs = np.random.default_rng(0).integers(0, 1000, (9, 9))
    np.fill_diagonal(costs, 0)
    got = _atsp.closed(jnp.asarray(costs))
    np.testing.assert_array_equal(
      got, csgraph.floyd_warshall(costs.astype(float))
    )

  def test_pieces_have_their_costs_and_the_larger_is_one(self):
    costs = np.random.default_rng(0).random((7, 7)).astype(np.float32)
    order = np.random.default_rng(1).permutation(7)
    pieces, rolled = ATSP.split(
      {'costs': jnp.asarray(costs)},
      combinatorial.Tour(jnp.asarray(order)),
      3,
      2,
      jax.random.key(0),
    )
    rolled = np.asarray(rolled.order)
    np.testing.assert_array_equal(rolled, np.roll(order, 2))
    for i, nodes in enumerate((rolled[:3], rolled[3:6])):
      np.testing.assert_array_equal(
        pieces['costs'][i], costs[np.ix_(nodes, nodes)]
      )
      piece = {'costs': pieces['costs'][i]}
      self.assertAlmostEqual(float(ATSP.solve.inputs(piece)[1].max()), 1.0, 6)
      np.testing.assert_allclose(
        ATSP.solve.value(piece, jnp.arange(3)),
        costs[nodes[0], nodes[1]] + costs[nodes[1], nodes[2]],
        rtol=1e-6,
      )

  def test_neighbors_are_the_cheapest_by_row(self):
    costs = np.random.default_rng(0).random((6, 6)).astype(np.float32)
    np.fill_diagonal(costs, 0)
    found = ATSP.divide.neighbors({'costs': jnp.asarray(costs)}, 3)
    np.testing.assert_array_equal(found.ids, np.argsort(costs, axis=1)[:, :3])
    np.testing.assert_allclose(
      found.edges[..., 1], -np.sort(costs, axis=1)[:, :3]
    )
    np.testing.assert_array_equal(found.nodes, np.ones((6, 2)))

  def test_stays_a_tour_and_never_gets_dearer(self):
    policies = random_policy.policies(ATSP)

    @jax.jit
    @jax.vmap
    def run(key):
      instance = ATSP.generate(key, 13)
      tour, history = combinatorial.solve(
        ATSP, policies, random_policy.PARAMS, instance, key, size=4,
        num_stages=5, num_rollouts=4, greedy=False, num_starts=2,
      )  # fmt: skip
      return instance['costs'], tour.order, history

    costs, orders, history = jax.device_get(
      run(jax.random.split(jax.random.key(0), 20))
    )
    for i in range(20):
      np.testing.assert_array_equal(np.sort(orders[i]), np.arange(13))
      np.testing.assert_allclose(
        total(costs[i], orders[i]), history[i, -1], rtol=1e-5
      )
    self.assertLessEqual(np.diff(history, axis=1).max(), 1e-6)
    self.assertLess(history[:, -1].mean(), 0.95 * history[:, 0].mean())

  @parameterized.parameters(
    (np.ones((2, 3)), r'costs must be a square matrix'),
    (np.array([[0, -1.0], [1, 0]]), r'costs must .* costs\[0, 1\] = -1.0'),
    (np.array([[0, 1.0], [np.nan, 0]]), r'costs must .* costs\[1, 0\] = nan'),
  )
  def test_refuses(self, costs, message):
    with self.assertRaisesRegex(ValueError, message):
      ATSP.check({'costs': costs})

  def test_wants_costs(self):
    with self.assertRaisesRegex(ValueError, "instance must have 'costs'"):
      ATSP.check({'points': np.ones((2, 2))})


if __name__ == '__main__':
  absltest.main()
