# SPDX-License-Identifier: Apache-2.0
"""Orienteering against float64 NumPy, tables over subsets and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import combinatorial as reference, random_policy, stages

from jaxdl import combinatorial as co

OP = co.make_problem('op')
SHORT = co.make_problem('op(length=2.0)')
TRAINING = co.make_problem('op(training=True)')
# Largest prizes of tours of length 2, by seed.
OPTIMA = (4.576621, 3.730438, 3.862866)


def instance_of(points, prizes, length, dtype=jnp.float32):
  return {
    'points': jnp.asarray(points, dtype),
    'prizes': jnp.asarray(prizes, dtype),
    'length': jnp.asarray(length, dtype),
  }


def visits(order, visited):
  return co.Visits(jnp.asarray(order, jnp.int32), jnp.asarray(visited))


def tour_of(order, visited):
  return np.asarray(order)[np.asarray(visited)]


def prize_and_length(instance, order, visited):
  """Of one tour, in float64."""
  tour = tour_of(order, visited)
  points = np.asarray(instance['points'], float)[tour]
  gaps = np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1)
  return np.asarray(instance['prizes'], float)[tour].sum(), gaps.sum()


@functools.cache
def histories():
  instances = stages.generated(OP, 25)
  solutions = stages.played(OP, instances, jax.random.key(1), size=8)
  return instances, jax.tree.map(np.asarray, solutions)


class ToursTest(parameterized.TestCase):
  def test_prizes_grow_with_the_distance_in_hundredths(self):
    instances = jax.tree.map(np.asarray, stages.generated(OP, 25))
    points = instances['points'].astype(float)
    far = np.linalg.norm(points - points[:, :1], axis=-1)
    want = (1 + np.floor(99 * far / far.max(axis=1, keepdims=True))) / 100
    want[:, 0] = 0
    # A floor may fall on either side of a whole number.
    self.assertLess(np.abs(instances['prizes'] - want).max(), 0.0101)
    self.assertGreater((np.abs(instances['prizes'] - want) < 1e-6).mean(), 0.99)
    np.testing.assert_array_equal(instances['prizes'].max(axis=1), np.ones(20))
    np.testing.assert_array_equal(instances['length'], np.full(20, 4.0))

  def test_objective_and_length_are_those_of_numpy(self):
    rng = np.random.default_rng(0)
    objective = jax.jit(OP.objective)
    feasible = jax.jit(OP.feasible)
    for _ in range(20):
      order = rng.permutation(7)
      visited = (rng.random(7) < 0.6) | (order == 0)
      points, prizes = rng.random((7, 2)), rng.random(7)
      instance = instance_of(points, prizes, 0.0)
      prize, length = prize_and_length(instance, order, visited)
      solution = visits(order, visited)
      self.assertAlmostEqual(
        float(objective(instance, solution)), prize, delta=1e-5
      )
      for slack, want in ((1e-3, True), (-1e-3, False)):
        fits = instance | {'length': jnp.float32(max(length + slack, 0))}
        if length + slack > 0:
          self.assertEqual(bool(feasible(fits, solution)), want)

  def test_what_is_no_tour_is_infeasible(self):
    instance = instance_of(np.zeros((3, 2)), [0, 1, 1], 1.0)
    for order, visited in (
      ([0, 1, 1], [True, True, False]),
      ([0, 1, 3], [True, True, False]),
      ([0, 1, 2], [False, True, True]),
    ):
      self.assertFalse(OP.feasible(instance, visits(order, visited)))

  @parameterized.parameters(0, 1, 2)
  def test_no_answer_is_above_the_optimum_and_the_best_is_it(self, seed):
    case = reference.small(seed)
    prizes = np.append(0, case.prize)
    optimum = reference.op(reference.distances(case.points), case.prize, 2.0)
    self.assertAlmostEqual(optimum, OPTIMA[seed], delta=6e-7)
    instance = instance_of(case.points, prizes, 2.0)
    found = stages.constructed(
      SHORT, instance, jax.random.key(0), count=3000, every=9
    )
    values = jax.vmap(functools.partial(SHORT.objective, instance))(found)
    fine = jax.vmap(functools.partial(SHORT.feasible, instance))(found)
    self.assertTrue(fine.all())
    self.assertAlmostEqual(float(values.max()), optimum, delta=1e-5)

  def test_the_empty_tour_where_nothing_is_in_reach(self):
    instance = instance_of([[0, 0], [1, 0], [0, 2]], [0, 0.5, 1], 1.9)
    found = stages.constructed(OP, instance, jax.random.key(0), count=3)
    np.testing.assert_array_equal(found.visited.sum(axis=1), np.ones(3))
    self.assertTrue(OP.feasible(instance, stages.at(found, 0)))
    self.assertEqual(float(OP.objective(instance, stages.at(found, 0))), 0)
    # It stays so in stages.
    pieces, _ = OP.split(instance, stages.at(found, 0), 3, 1, jax.random.key(0))
    self.assertFalse(pieces['active'].any())

  def test_a_round_trip_that_just_fits(self):
    instance = instance_of([[0, 0], [1, 0], [0, 2]], [0, 0.5, 1], 2.0)
    found = stages.constructed(OP, instance, jax.random.key(0), count=3)
    self.assertEqual(tour_of(*stages.at(found, 0)).tolist(), [0, 1])

  def test_one_node(self):
    instance = OP.generate(jax.random.key(0), 1)
    OP.check(instance)
    found = stages.constructed(OP, instance, jax.random.key(0), count=2)
    self.assertEqual(found.order.tolist(), [[0], [0]])
    self.assertTrue(OP.feasible(instance, stages.at(found, 0)))

  def test_nodes_without_a_prize_are_passed_by(self):
    instance = instance_of(np.eye(3, 2), [0, 0, 0.3], 9.0)
    found = stages.constructed(OP, instance, jax.random.key(0), count=4)
    for i in range(4):
      self.assertEqual(tour_of(*stages.at(found, i)).tolist(), [0, 2])


class StagesTest(parameterized.TestCase):
  def test_feasible_and_never_worse_after_each_stage(self):
    instances, solutions = histories()
    for seed in range(20):
      instance, before = stages.at(instances, seed), 0.0
      for stage in range(11):
        order, visited = (x[seed, stage] for x in solutions)
        np.testing.assert_array_equal(np.sort(order), np.arange(25))
        self.assertIn(0, tour_of(order, visited))
        prize, length = prize_and_length(instance, order, visited)
        self.assertLessEqual(length, 4.0 + 1e-5)
        self.assertGreaterEqual(prize, before - 1e-5)
        before = prize

  def test_stages_collect_more(self):
    instances, solutions = histories()
    prizes = [
      [
        prize_and_length(stages.at(instances, s), *stages.at(solutions, s, i))[
          0
        ]
        for s in range(20)
      ]
      for i in (0, 10)
    ]
    self.assertGreater(np.mean(prizes[1]), 1.5 * np.mean(prizes[0]))

  @parameterized.parameters(False, True)
  def test_pieces_put_back_are_the_same_tour(self, training):
    problem = TRAINING if training else OP
    instances, solutions = histories()
    instance, tour = stages.at(instances, 0), stages.at(solutions, 0, 10)

    @jax.jit
    def there_and_back(tour, key):
      pieces, rolled = problem.split(instance, tour, 8, 3, key)
      current = jax.vmap(problem.solve.current)(pieces)
      return pieces, rolled, problem.merge(instance, rolled, pieces, current)

    pieces, rolled, merged = there_and_back(tour, jax.random.key(0))
    np.testing.assert_array_equal(merged.order, rolled.order)
    np.testing.assert_array_equal(merged.visited, rolled.visited)
    # The same cycle, read from another node.
    ring, turned = tour_of(*tour), tour_of(*merged)
    begin = ring.tolist().index(turned[0])
    np.testing.assert_array_equal(np.roll(ring, -begin), turned)
    # Budgets are the lengths of pieces; the first one has what is left.
    spare = float(instance['length']) - prize_and_length(instance, *tour)[1]
    given = False
    for i in range(3):
      piece = stages.at(pieces, i)
      place = np.flatnonzero(piece['visited'])
      points = np.asarray(piece['points'], float)[place]
      used = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
      active = len(place) > 2
      if training:
        active = len(place) > 3 and piece['depot'][place].any()
      self.assertEqual(bool(piece['active']), active)
      if len(place) > 1:
        self.assertEqual((place[0], place[-1]), (0, 7))
      if active and not given and not training:
        used, given = used + spare, True
      self.assertAlmostEqual(float(piece['budget']), used, delta=1e-5)
    self.assertEqual(given, not training)

  def test_candidates_keep_ends_depot_and_budget(self):
    instances, solutions = histories()
    instance, tour = stages.at(instances, 3), stages.at(solutions, 3, 0)
    solve, conqueror = OP.solve, random_policy.conqueror()

    @jax.jit
    def candidates(key):
      split_key, key = jax.random.split(key)
      pieces, _ = OP.split(instance, tour, 12, 0, split_key)

      def rollout(piece, key, reverse):
        def step(state, key):
          context = solve.context(piece, state)
          action = jax.random.categorical(
            key, conqueror.decode({}, (), context)
          )
          return solve.move(piece, state, action), (action, context.allowed)

        state, (actions, allowed) = jax.lax.scan(
          step, solve.start(piece, reverse), jax.random.split(key, 10)
        )
        return solve.finish(piece, state, actions), allowed

      keys = jax.random.split(key, (2, 30))
      reverse = jnp.arange(30) >= 15
      return pieces, jax.vmap(
        lambda p, k: jax.vmap(functools.partial(rollout, p))(k, reverse)
      )(pieces, keys)

    seen = 0
    for seed in range(4):
      pieces, (found, allowed) = candidates(jax.random.key(seed))
      self.assertTrue(allowed.any(axis=-1).all())
      for i in np.flatnonzero(pieces['active']):
        piece = stages.at(pieces, i)
        for j in range(30):
          order, visited = (np.asarray(x[i, j]) for x in found)
          np.testing.assert_array_equal(np.sort(order), np.arange(12))
          path = order[visited]
          self.assertEqual((path[0], path[-1]), (0, 11))
          depot = np.flatnonzero(piece['depot'])
          self.assertTrue(set(depot) <= set(path.tolist()))
          points = np.asarray(piece['points'], float)[path]
          length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
          self.assertLessEqual(length, float(piece['budget']) + 1e-5)
          seen += 1
    self.assertGreater(seen, 60)

  def test_the_shorter_of_equal_prizes_and_never_less_prize(self):
    # Depot, three nodes on the way and two far away, one without a prize.
    points = [[0, 0], [1, 0], [2, 0], [3, 0], [2, 1], [4, 0]]
    piece = {
      'points': jnp.asarray(points, jnp.float32),
      'prizes': jnp.array([0, 0.2, 0.3, 0.00001, 0.3, 0.1]),
      'visited': jnp.array([1, 1, 1, 1, 0, 1], bool),
      'budget': jnp.float32(6.0),
    }
    solve_value = jax.jit(functools.partial(OP.solve.value, piece))
    value = lambda path: float(
      solve_value(
        visits(
          [*path, *sorted(set(range(6)) - set(path))],
          np.arange(6) < len(path),
        ),
      )
    )
    now = value([0, 2, 1, 3, 5])
    self.assertLess(value([0, 1, 2, 3, 5]), now)
    self.assertLess(value([0, 1, 2, 3, 4, 5]), value([0, 1, 2, 3, 5]))
    # Far shorter, with a hundred-thousandth less.
    self.assertGreater(value([0, 1, 2, 5]), now)
    self.assertGreater(value([0, 5]), now)

  def test_a_moved_scaled_and_turned_piece_is_the_same_to_a_network(self):
    rng = np.random.default_rng(0)
    plain = {
      'points': jnp.asarray(rng.random((6, 2)), jnp.float32),
      'prizes': jnp.asarray(rng.random(6), jnp.float32),
      'most': jnp.float32(1),
      'visited': jnp.arange(6) % 2 == 0,
      'depot': jnp.arange(6) == 2,
      'budget': jnp.float32(2.0),
    }

    @jax.jit
    def asked(piece):
      state = OP.solve.start(piece, False)
      state = OP.solve.move(piece, state, 3)
      return OP.solve.inputs(piece), OP.solve.context(piece, state)

    other = plain | {
      'points': 7 + 50 * plain['points'][:, ::-1],
      'budget': 50 * plain['budget'],
    }
    for a, b in zip(
      jax.tree.leaves(asked(plain)), jax.tree.leaves(asked(other)), strict=True
    ):
      np.testing.assert_allclose(a, b, atol=2e-5)

  @parameterized.parameters('bfloat16', 'float64')
  def test_other_precisions(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      rng = np.random.default_rng(1)
      points, prizes = rng.random((8, 2)), np.append(0, rng.random(7))
      instance = instance_of(points, prizes, 2.0, dtype)
      first = stages.at(
        stages.constructed(OP, instance, jax.random.key(0), count=1, every=9), 0
      )
      wide = jnp.float64 if dtype == 'float64' else jnp.float32

      def shapes():
        pieces, _ = OP.split(instance, first, 4, 0, jax.random.key(0))
        return pieces, jax.vmap(OP.solve.inputs)(pieces)[0]

      pieces, features = jax.eval_shape(shapes)
      self.assertEqual(features.dtype, dtype)
      self.assertEqual(pieces['budget'].dtype, wide)
      self.assertEqual(OP.objective(instance, first).dtype, wide)
      prize, length = prize_and_length(instance, *first)
      self.assertLessEqual(length, 2.0 + 1e-5)
      self.assertAlmostEqual(
        float(OP.objective(instance, first)), prize, delta=1e-5
      )


class BadInputTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('nothing', {'prizes': None}, r"instance has no 'prizes'; it has .*points"),
    ('length', {'length': -1.0}, r'length must lie in \[0.0, inf\); got -1.0'),
    ('list', {'length': [1.0, 2.0]}, r'length must be one number; got shape'),
    ('vector', {'length': np.ones(2)}, r'length must be one number; got shape'),
    ('shape', {'prizes': np.ones(4)}, r'prizes must be f\[N\].*N = 3; got .*4'),
    ('depot', {'prizes': np.ones(3)}, r'prizes\[0\] must be 0.*depot; got 1.0'),
    ('less', {'prizes': np.array([0, -1, 1.0])}, r'prizes must lie .*got -1.0'),
    (
      'nan',
      {'points': np.full((3, 2), np.nan)},
      r'points must be finite; got points',
    ),
    ('plane', {'points': np.ones((3, 3))}, r'points must be f\[N, 2\].*\(3, 3'),
  )
  def test_instances(self, changes, message):
    instance = {
      'points': np.ones((3, 2)), 'prizes': np.array([0, 1.0, 1.0]),
      'length': 1.0,
    }  # fmt: skip
    OP.check(instance)
    instance |= changes
    instance = {k: v for k, v in instance.items() if v is not None}
    with self.assertRaisesRegex(ValueError, message):
      OP.check(instance)

  @parameterized.parameters(
    ('op(length=-1)', r'length must lie in \[0.0, inf\); got -1'),
    ('op(lenght=1)', r"no option 'lenght'"),
    ('op(distribution=star)', r'star'),
    ('op(training=1)', 'training must be True or False'),
  )
  def test_options(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      co.make_problem(spec)

  def test_sizes(self):
    with self.assertRaisesRegex(
      ValueError, r'num_nodes must be a multiple of size.*25 and size=8'
    ):
      OP.sizes(25, 8)
    OP.sizes(24, 8)
    instances, solutions = histories()
    instance, tour = stages.at(instances, 0), stages.at(solutions, 0, 0)
    for size, message in (
      (2, 'size must be at least 3'),
      (26, 'size=26 leaves'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        OP.split(instance, tour, size, 0, jax.random.key(0))


if __name__ == '__main__':
  absltest.main()
