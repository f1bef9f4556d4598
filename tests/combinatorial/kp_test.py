# SPDX-License-Identifier: Apache-2.0
"""Knapsack against mixed-integer programs, NumPy and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import random_policy, stages
from scipy import optimize

from jaxdl import combinatorial as co

KP = co.make_problem('kp')


def items(seed, count, capacity):
  drawn = np.random.default_rng(seed).random((count, 2))
  return drawn[:, 0], drawn[:, 1], capacity


def instance_of(weights, values, capacity, dtype=jnp.float32):
  return {
    'weights': jnp.asarray(weights, dtype),
    'values': jnp.asarray(values, dtype),
    'capacity': jnp.asarray(capacity, dtype),
  }


def optimum(weights, values, capacity, whole=True):
  """Chosen shares of items and their value, by a program."""
  found = optimize.milp(
    -values,
    constraints=optimize.LinearConstraint(weights[None], ub=capacity),
    bounds=optimize.Bounds(0, 1),
    integrality=np.full(len(values), int(whole)),
    options={'mip_rel_gap': 0.0},
  )
  return found.x, -found.fun


@functools.cache
def histories():
  instances = stages.generated(KP, 26)
  chosen = stages.played(KP, instances, jax.random.key(1), size=8).chosen
  return jax.tree.map(np.asarray, instances), np.asarray(chosen)


class ChoicesTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, 50, 12.5, 22.0519078, 22.1324550),
    (1, 50, 12.5, 20.7915159, None),
    (0, 200, 25.0, 58.3552880, None),
  )
  def test_the_optimum_is_feasible_and_has_its_value(
    self, seed, count, capacity, value, bound
  ):
    weights, values, _ = items(seed, count, capacity)
    shares, found = optimum(weights, values, capacity)
    self.assertAlmostEqual(found, value, delta=6e-7)
    if bound:
      relaxed = optimum(weights, values, capacity, whole=False)[1]
      self.assertAlmostEqual(relaxed, bound, delta=6e-7)
    instance = instance_of(weights, values, capacity)
    subset = co.Subset(jnp.asarray(shares > 0.5))
    self.assertTrue(KP.feasible(instance, subset))
    self.assertAlmostEqual(
      float(KP.objective(instance, subset)), value, delta=1e-4
    )
    less = instance | {'capacity': weights[shares > 0.5].sum() - 1e-3}
    self.assertFalse(KP.feasible(less, subset))

  def test_stages_reach_the_optimum_and_never_exceed_it(self):
    weights, values, capacity = items(0, 50, 12.5)
    instance = instance_of(weights, values, capacity)
    many = jax.tree.map(lambda x: jnp.stack([x] * 8), instance)
    chosen = stages.played(
      KP, many, jax.random.key(0), size=10, count=150
    ).chosen
    found = (np.asarray(chosen) * values).sum(axis=-1)
    self.assertLessEqual(found.max(), 22.0519078 + 1e-6)
    # Above the greedy choice by ratio.
    self.assertGreater(found[:, -1].max(), 21.9615135)

  def test_few_items_by_enumeration(self):
    for seed in range(3):
      weights, values, capacity = items(seed, 8, 1.5)
      picks = (np.arange(256)[:, None] >> np.arange(8)) % 2
      fine = picks @ weights <= capacity
      want = (picks @ values)[fine].max()
      found = stages.constructed(
        KP, instance_of(weights, values, capacity), jax.random.key(0),
        count=500,
      )  # fmt: skip
      chosen = np.asarray(found.chosen)
      self.assertLessEqual((chosen @ weights).max(), capacity + 1e-5)
      self.assertAlmostEqual((chosen @ values).max(), want, delta=1e-6)
      # Nothing that would fit is left out.
      left = capacity - chosen @ weights
      fits = ~chosen & (weights[None] <= left[:, None] - 1e-5)
      self.assertFalse(fits.any())

  @parameterized.parameters((None, 500), (None, 20), (7.5, 30))
  def test_generated_instances(self, capacity, count):
    problem = co.kp(capacity=capacity)
    drawn = jax.tree.map(
      np.asarray, stages.generated(problem, count, count=100)
    )
    for name in ('weights', 'values'):
      self.assertAlmostEqual(drawn[name].mean(), 0.5, delta=0.03)
      self.assertBetween(drawn[name].max(), 0.9, 1.0)
    rooms = drawn['capacity']
    if count == 500:
      np.testing.assert_array_equal(rooms, np.round(rooms))
      self.assertEqual((rooms.min() < 54, rooms.max() > 96), (True, True))
      self.assertBetween(rooms.min(), 50, 100)
    else:
      np.testing.assert_array_equal(rooms, np.full(100, capacity or count / 10))

  def test_near_are_pairs_of_much_value_per_weight(self):
    weights, values, _ = items(0, 9, 1.0)
    graph = jax.jit(KP.divide.neighbors, static_argnums=1)(
      instance_of(weights, values, 1.0), 4
    )
    self.assertEqual(graph.ids.shape, (10, 4))
    weights, values = np.append(weights, 0), np.append(values, 0)
    np.testing.assert_allclose(graph.nodes, np.stack([weights, values], 1))
    ratio = (values[:, None] + values) / (weights[:, None] + weights + 1e-10)
    distance = 1 - ratio / ratio.max(axis=1, keepdims=True)
    others = distance + np.where(np.eye(10), np.inf, 0)
    want = np.argsort(others, axis=1)[:, :3]
    np.testing.assert_array_equal(graph.ids[:, 1:], want)
    near = np.take_along_axis(distance, want, axis=1)
    np.testing.assert_allclose(graph.edges[:, 1:, 0], -near, atol=1e-5)
    features, apart = KP.solve.inputs(
      {'weights': jnp.asarray(weights[:9]), 'values': jnp.asarray(values[:9])}
    )
    np.testing.assert_allclose(features[:, 1], values[:9], rtol=1e-6)
    ratio = ratio[:9, :9]
    distance = 1 - ratio / ratio.max(axis=1, keepdims=True)
    np.testing.assert_allclose(apart, distance, atol=1e-5)

  def test_nothing_fits(self):
    instance = instance_of([2.0, 3.0], [1.0, 1.0], 1.0)
    found = stages.constructed(KP, instance, jax.random.key(0), count=2)
    self.assertFalse(found.chosen.any())

  def test_one_item(self):
    instance = instance_of([0.5], [1.0], 1.0)
    found = stages.constructed(KP, instance, jax.random.key(0), count=2)
    self.assertTrue(found.chosen.all())


class StagesTest(parameterized.TestCase):
  def test_feasible_and_never_worse_after_each_stage(self):
    instances, chosen = histories()
    weights = (chosen * instances['weights'][:, None]).sum(axis=-1, dtype=float)
    self.assertLessEqual((weights - instances['capacity'][:, None]).max(), 1e-5)
    values = (chosen * instances['values'][:, None]).sum(axis=-1, dtype=float)
    self.assertGreaterEqual(np.diff(values, axis=1).min(), -1e-5)
    self.assertGreater((values[:, -1] / values[:, 0]).mean(), 1.3)

  def test_pieces_put_back_are_the_same_choice(self):
    instances, chosen = histories()
    instance = jax.tree.map(jnp.asarray, stages.at(instances, 0))
    subset = co.Subset(jnp.asarray(chosen[0, 0]))
    for spec, spare in (('kp', True), ('kp(training=True)', False)):
      problem = co.make_problem(spec)

      @jax.jit
      def there_and_back(subset, problem=problem):
        pieces, rolled = problem.split(
          instance, subset, 8, 3, jax.random.key(0)
        )
        current = jax.vmap(problem.solve.current)(pieces)
        return pieces, problem.merge(instance, rolled, pieces, current)

      pieces, merged = there_and_back(subset)
      np.testing.assert_array_equal(merged.chosen, subset.chosen)
      self.assertEqual(len(set(np.asarray(pieces['nodes']).ravel())), 24)
      pieces = jax.tree.map(np.asarray, pieces)
      used = (pieces['chosen'] * pieces['weights']).sum(axis=1)
      if spare:
        whole = (chosen[0, 0] * instance['weights']).sum()
        used[0] += instance['capacity'] - whole
      np.testing.assert_allclose(pieces['capacity'], used, atol=1e-5)

  def test_a_piece_takes_what_fits_and_then_nothing(self):
    piece = {
      'weights': jnp.array([0.5, 0.4, 0.2]),
      'values': jnp.array([1.0, 1.0, 1.0]),
      'chosen': jnp.array([False, True, True]),
      'capacity': jnp.float32(0.6),
    }
    solve = KP.solve
    state = solve.start(piece, False)
    self.assertEqual(int(state.last), -1)
    asked = solve.context(piece, state)
    self.assertEqual(asked.allowed.tolist(), [True, True, True])
    np.testing.assert_allclose(asked.extra, [0.6])
    state = solve.move(piece, state, 1)
    asked = solve.context(piece, state)
    self.assertEqual(asked.allowed.tolist(), [False, False, True])
    state = solve.move(piece, state, 2)
    for _ in range(2):
      asked = solve.context(piece, state)
      self.assertEqual(asked.allowed.tolist(), [True, False, False])
      state = solve.move(piece, state, 0)
    self.assertEqual(int(state.last), 2)
    chosen = solve.finish(piece, state, jnp.array([1, 2, 0]))
    self.assertEqual(chosen.tolist(), [False, True, True])
    self.assertAlmostEqual(float(solve.value(piece, chosen)), -2.0)

  def test_bfloat16_adds_up_in_float32(self):
    instance = instance_of(
      np.full(200, 1.0), np.full(200, 1.0), 150.0, 'bfloat16'
    )
    found = stages.constructed(KP, instance, jax.random.key(0), count=1)
    self.assertEqual(int(found.chosen.sum()), 150)
    subset = stages.at(found, 0)
    self.assertEqual(float(KP.objective(instance, subset)), 150.0)
    self.assertTrue(KP.feasible(instance, subset))

  def test_a_greedy_policy_by_ratio_solves_a_piece(self):
    weights, values, _ = items(1, 12, 2.0)
    instance = instance_of(weights, values, 2.0)
    conqueror = random_policy.conqueror()._replace(
      encode=lambda params, features, distances, key=None: (
        features[:, 1] / features[:, 0]
      ),
      decode=lambda params, memory, context: jnp.where(
        context.allowed, memory, -jnp.inf
      ),
    )
    run = lambda subset: co.conquer(
      KP, conqueror, {}, instance, subset, jax.random.key(0), size=12, shift=0,
      greedy=True,
    )[0]  # fmt: skip
    got = jax.jit(run)(co.Subset(jnp.zeros(12, bool)))
    left, want = 2.0, np.zeros(12, bool)
    for i in np.argsort(-values / weights):
      if weights[i] <= left:
        left, want[i] = left - weights[i], True
    np.testing.assert_array_equal(got.chosen, want)


class BadInputTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('none', {'values': None}, r"instance has no 'values'; it has"),
    ('weight', {'weights': np.array([1.0, -2])}, r'weights must .*got -2.0'),
    ('capacity', {'capacity': -1.0}, r'capacity must lie .*got -1.0'),
    ('list', {'capacity': [1.0, 2.0]}, r'capacity must be one number; got'),
    ('vector', {'capacity': np.ones(2)}, r'capacity must be one number; got'),
    ('shapes', {'values': np.ones(3)}, r'must be f\[N\].*\(2,\) and \(3,\)'),
    ('nan', {'values': np.array([np.nan, 1])}, r'values must .*got nan'),
  )
  def test_instances(self, changes, message):
    instance = {'weights': np.ones(2), 'values': np.ones(2), 'capacity': 1.0}
    KP.check(instance)
    instance |= changes
    instance = {k: v for k, v in instance.items() if v is not None}
    with self.assertRaisesRegex(ValueError, message):
      KP.check(instance)

  def test_options_and_sizes(self):
    with self.assertRaisesRegex(ValueError, r'capacity must lie in .*got -1'):
      co.make_problem('kp(capacity=-1)')
    with self.assertRaisesRegex(ValueError, 'multiple of size.*26 and size=8'):
      KP.sizes(26, 8)
    with self.assertRaisesRegex(ValueError, 'size must be at least 3; got 2'):
      KP.sizes(26, 2)


if __name__ == '__main__':
  absltest.main()
