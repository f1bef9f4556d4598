# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import combinatorial

TSP = combinatorial.make_problem('tsp')
ATSP = combinatorial.make_problem('atsp')
FLOOR = 1e-5


def table(rows, num_neighbors=100):
  """A divider whose heat is its parameters, f[M, K], at any cursor."""
  return combinatorial.Divider(
    init=lambda key, neighbors: {},
    embed=lambda params, neighbors, train=False: (),
    heat=lambda params, embedding, cursor: params,
    num_neighbors=num_neighbors,
    rows=rows,
  )


def instance(n, seed=0):
  points = np.random.default_rng(seed).random((n, 2))
  return {'points': jnp.asarray(points, jnp.float32)}


def by_hand(heat, ids, order):
  """Log-probability of an order given its first node, in float64."""
  n, total = len(heat), 0.0
  left = np.ones(n, bool)
  for here, there in zip(order[:-1], order[1:], strict=True):
    left[here] = False
    weights = np.full(n, FLOOR)
    weights[ids[here]] += heat[here]
    total += np.log(weights[there] / weights[left].sum())
  return total


class ConstructTest(parameterized.TestCase):
  @parameterized.parameters(1, 3, 6, 50)
  def test_log_probabilities_are_those_of_rows(self, every):
    points = instance(7)
    ids = np.asarray(TSP.divide.neighbors(points, 3).ids)
    heat = np.random.default_rng(1).random((7, 3))
    tours, logp = combinatorial.construct(
      TSP, table(True, 3), jnp.asarray(heat, jnp.float32), points,
      jax.random.key(0), num_samples=9, every=every,
    )  # fmt: skip
    self.assertLen(set(np.asarray(tours.order)[:7, 0].tolist()), 7)
    for order, got in zip(np.asarray(tours.order), logp, strict=True):
      np.testing.assert_array_equal(np.sort(order), np.arange(7))
      np.testing.assert_allclose(got, by_hand(heat, ids, order), rtol=1e-5)

  def test_greedy_goes_to_the_nearest(self):
    points = instance(12, 3)
    divider = combinatorial.make_divider('none(num_neighbors=12)', TSP)
    tours, _ = combinatorial.construct(
      TSP, divider, {}, points, jax.random.key(0), num_samples=2, greedy=True
    )
    where = np.asarray(points['points'], np.float64)
    apart = np.linalg.norm(where[:, None] - where[None], axis=-1)
    for order in np.asarray(tours.order):
      left = set(range(12)) - {order[0]}
      for here, there in zip(order[:-1], order[1:], strict=True):
        self.assertEqual(there, min(left, key=lambda j: apart[here, j]))
        left.remove(there)

  def test_greedy_ones_from_one_node_differ(self):
    family = combinatorial.make_problem('cvrp(capacity=30)')
    divider = combinatorial.make_divider('none(num_neighbors=9)', family)
    build = jax.jit(
      lambda key, num_samples: combinatorial.construct(
        family,
        divider,
        {},
        family.generate(jax.random.key(1), 9),
        key,
        num_samples=num_samples,
        greedy=True,
      )[0],
      static_argnums=1,
    )
    first = build(jax.random.key(0), 1)
    many = build(jax.random.key(3), 6)
    np.testing.assert_array_equal(many.order[0], first.order[0])
    np.testing.assert_array_equal(many.last[0], first.last[0])
    found = np.concatenate([many.order, many.last], axis=1)
    self.assertLen(np.unique(found, axis=0), 6)

  def test_greedy_ones_repeat_no_first_node(self):
    divider = combinatorial.make_divider('none(temperature=2.0)', TSP)
    tours, _ = combinatorial.construct(
      TSP, divider, {}, instance(5), jax.random.key(0), num_samples=10,
      greedy=True,
    )  # fmt: skip
    orders = np.asarray(tours.order)
    np.testing.assert_array_equal(orders[:5, 0], orders[5:, 0])
    self.assertTrue((orders[:5] != orders[5:]).any(axis=1).sum() >= 3)

  def test_ties_go_to_the_lowest_index(self):
    tours, _ = combinatorial.construct(
      TSP, table(True, 1), jnp.ones((6, 1)), instance(6), jax.random.key(0),
      num_samples=1, greedy=True,
    )  # fmt: skip
    rest = np.asarray(tours.order[0][1:])
    np.testing.assert_array_equal(rest, np.sort(rest))

  def test_one_node_is_a_tour(self):
    tours, logp = combinatorial.construct(
      TSP, table(True), jnp.ones((1, 1)), instance(1), jax.random.key(0),
      num_samples=2,
    )  # fmt: skip
    np.testing.assert_array_equal(tours.order, [[0], [0]])
    np.testing.assert_array_equal(logp, [0, 0])

  def test_gradient_is_that_of_a_difference(self):
    points, key = instance(6), jax.random.key(2)
    heat = jnp.asarray(np.random.default_rng(1).random((6, 4)), jnp.float32)

    @jax.jit
    def total(heat):
      return combinatorial.construct(
        TSP, table(True, 4), heat, points, key, num_samples=1, every=2
      )[1][0]

    got = np.asarray(jax.grad(total)(heat))
    ids = np.asarray(TSP.divide.neighbors(points, 4).ids)
    tours, _ = combinatorial.construct(
      TSP, table(True, 4), heat, points, key, num_samples=1, every=2
    )
    order, plain = np.asarray(tours.order[0]), np.asarray(heat, np.float64)
    want = np.zeros_like(plain)
    for i in np.ndindex(*plain.shape):
      step = np.zeros_like(plain)
      step[i] = 1e-6
      want[i] = (
        by_hand(plain + step, ids, order) - by_hand(plain - step, ids, order)
      ) / 2e-6
    np.testing.assert_allclose(got, want, atol=1e-4)

  @parameterized.parameters(
    ({'num_samples': 0}, 'num_samples must be'),
    ({'num_samples': 1, 'every': 0}, 'every must be'),
  )
  def test_refuses(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      combinatorial.construct(
        TSP, table(True), jnp.ones((4, 4)), instance(4), jax.random.key(0),
        **options,
      )  # fmt: skip


class ReinforceTest(parameterized.TestCase):
  """Estimators against derivatives of expected rewards.

  The mean of all R samples as baseline, the own one among them, makes the
  expectation (R - 1) / R of the derivative.
  """

  def test_two_actions_of_a_piece(self):
    # Rewards 1 and 0, equal probabilities: the derivative in the first logit
    # is p (1 - p) = 1 / 4.
    total = np.zeros(2)
    for first in (0, 1):
      for second in (0, 1):
        drawn = jnp.array([first, second])

        def loss(logits, drawn=drawn):
          logp = jax.nn.log_softmax(logits)[drawn][None]
          returns = jnp.where(drawn == 0, 1.0, 0.0)[None]
          info = combinatorial.StageInfo(
            returns, logp, jnp.zeros(1), jnp.ones(1, bool)
          )
          return combinatorial.reinforce(info)

        total -= np.asarray(jax.grad(loss)(jnp.zeros(2))) / 4
    np.testing.assert_allclose(total, [1 / 8, -1 / 8], atol=1e-7)

  def test_pieces_that_are_left_alone_do_not_count(self):
    info = combinatorial.StageInfo(
      jnp.array([[1.0, 0.0], [5.0, 0.0]]),
      jnp.log(jnp.array([[0.5, 0.25], [0.1, 0.2]])),
      jnp.zeros(2),
      jnp.array([True, False]),
    )
    want = -(0.5 * np.log(0.5) - 0.5 * np.log(0.25)) / 2
    np.testing.assert_allclose(combinatorial.reinforce(info), want, rtol=1e-6)
    none = info._replace(active=jnp.zeros(2, bool))
    self.assertEqual(float(combinatorial.reinforce(none)), 0.0)

  def test_dividing_loss_is_the_derivative_of_the_expected_cost(self):
    # Three nodes: one decision, of two tours with different costs.
    costs = jnp.array([[0.0, 0.2, 0.7], [0.9, 0.0, 0.1], [0.3, 0.8, 0.0]])
    samples = 4
    divider = table(True, 3)
    policies = combinatorial.Policies(divider, combinatorial.make_policies(
      ATSP, conqueror='icam(width=4, depth=1)'
    ).conqueror)  # fmt: skip
    params = combinatorial.init_params(
      jax.random.key(0), ATSP, policies, size=3
    )
    episode = combinatorial.make_episode(
      ATSP, policies, size=3, num_samples=samples, num_rollouts=1,
      num_stages=1, joint=False, learn='divider',
    )  # fmt: skip
    ids = np.asarray(ATSP.divide.neighbors({'costs': costs}, 3).ids)
    heat = np.random.default_rng(0).random((3, 3)) + 0.2

    def expected(heat):
      total = 0.0
      for first in range(3):
        weights = np.full(3, FLOOR)
        weights[ids[first]] += heat[first]
        others = [j for j in range(3) if j != first]
        for second in others:
          third = 3 - first - second
          p = weights[second] / weights[others].sum()
          cost = costs[first, second] + costs[second, third]
          total += p * float(cost + costs[third, first]) / 3
      return total

    want = np.zeros((3, 3))
    for i in np.ndindex(3, 3):
      step = np.zeros((3, 3))
      step[i] = 1e-5
      want[i] = (expected(heat + step) - expected(heat - step)) / 2e-5

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def estimate(heat, key):
      def loss(heat):
        return combinatorial.surrogate(
          episode, params | {'divider': heat}, {'costs': costs[None]}, key=key
        )

      return jax.grad(loss)(heat)

    keys = jax.random.split(jax.random.key(1), 20_000)
    found = np.asarray(estimate(jnp.asarray(heat, jnp.float32), keys))
    error = 5 * found.std(axis=0).max() / np.sqrt(len(found))
    self.assertGreater(np.abs(want).max(), 10 * error)
    ratio = (found.mean(axis=0) * want).sum() / (want**2).sum()
    self.assertBetween(ratio, 0.70, 0.80)


if __name__ == '__main__':
  absltest.main()
