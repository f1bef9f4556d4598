# SPDX-License-Identifier: Apache-2.0
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import random_policy

from jaxdl import combinatorial
from jaxdl.combinatorial import _geometry, _tours

TSP = combinatorial.make_problem('tsp')


def length(points, order):
  path = np.asarray(points, np.float64)[np.asarray(order)]
  return np.linalg.norm(path - np.roll(path, -1, axis=0), axis=1).sum()


def drawn(seed, n):
  return np.random.default_rng(seed).random((n, 2))


class ObjectiveTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3, 17)
  def test_is_the_closed_length(self, n):
    points = drawn(n, n)
    order = np.random.default_rng(1).permutation(n)
    got = TSP.objective(
      {'points': jnp.asarray(points, jnp.float32)},
      combinatorial.Tour(jnp.asarray(order)),
    )
    self.assertEqual(got.dtype, jnp.float32)
    np.testing.assert_allclose(got, length(points, order), rtol=1e-6)

  @parameterized.parameters((0, 3.273773), (1, 2.803043), (2, 2.603937))
  def test_best_of_all_tours_is_the_known_optimum(self, seed, optimum):
    rest = np.array(list(itertools.permutations(range(1, 9))), np.int32)
    orders = np.concatenate([np.zeros((len(rest), 1), np.int32), rest], axis=1)
    with jax.enable_x64(True):
      points = jnp.asarray(drawn(seed, 9))
      found = jax.jit(jax.vmap(lambda o: _geometry.tour_length(points[o])))(
        orders
      )
      self.assertEqual(found.dtype, jnp.float64)
      np.testing.assert_allclose(found.min(), optimum, atol=5e-7)

  def test_bfloat16_is_summed_in_float32(self):
    points = jnp.asarray(drawn(0, 50), jnp.bfloat16)
    got = TSP.objective({'points': points}, combinatorial.Tour(jnp.arange(50)))
    self.assertEqual(got.dtype, jnp.float32)
    want = length(points.astype(jnp.float32), np.arange(50))
    np.testing.assert_allclose(got, want, rtol=1e-5)

  @parameterized.parameters(
    ([2, 0, 1], True),
    ([0, 0, 1], False),
    ([0, 1, 3], False),
    ([0, -1, 2], False),
  )
  def test_feasible_is_a_permutation(self, order, feasible):
    instance = {'points': jnp.asarray(drawn(0, 3), jnp.float32)}
    got = TSP.feasible(instance, combinatorial.Tour(jnp.array(order)))
    self.assertEqual(bool(got), feasible)


class PiecesTest(parameterized.TestCase):
  def test_current_pieces_give_the_tour_back(self):
    instance = {'points': jnp.asarray(drawn(0, 17), jnp.float32)}
    tour = combinatorial.Tour(
      jnp.asarray(np.random.default_rng(0).permutation(17))
    )
    pieces, rolled = TSP.split(instance, tour, 5, 3, jax.random.key(0))
    self.assertEqual(pieces['points'].shape, (3, 5, 2))
    np.testing.assert_array_equal(rolled.order, np.roll(tour.order, 3))
    now = jax.vmap(TSP.solve.current)(pieces)
    merged = TSP.merge(instance, rolled, pieces, now)
    np.testing.assert_array_equal(merged.order, rolled.order)

  def test_values_of_pieces_and_what_joins_them_are_the_length(self):
    points = drawn(2, 12)
    instance = {'points': jnp.asarray(points, jnp.float32)}
    tour = combinatorial.Tour(jnp.arange(12))
    pieces, _ = TSP.split(instance, tour, 4, 1, jax.random.key(0))
    value = jax.vmap(lambda p: TSP.solve.value(p, jnp.arange(4)))(pieces)
    rolled = np.roll(np.arange(12), 1)
    joins = [
      np.linalg.norm(points[rolled[i]] - points[rolled[(i + 1) % 12]])
      for i in (3, 7, 11)
    ]
    np.testing.assert_allclose(
      float(value.sum()) + sum(joins), length(points, np.arange(12)), rtol=1e-6
    )

  def test_rolling_by_a_piece_gives_the_same_cuts(self):
    order = jnp.asarray(np.random.default_rng(3).permutation(15))
    cut = lambda shift: {
      tuple(piece)
      for piece in np.asarray(
        _tours.split(combinatorial.Tour(order), 5, shift)[0]
      ).tolist()
    }
    self.assertEqual(cut(2), cut(7))
    self.assertNotEqual(cut(2), cut(3))

  def test_frame_forgets_place_scale_and_axes(self):
    points = jnp.asarray(drawn(0, 9), jnp.float32)
    want = _geometry.normalized(points)
    for other in (points * 7 + 3, points[:, ::-1], points[:, ::-1] / 4):
      np.testing.assert_allclose(_geometry.normalized(other), want, atol=1e-5)
    self.assertTrue(np.isfinite(_geometry.normalized(jnp.ones((4, 2)))).all())


class StagesTest(parameterized.TestCase):
  def test_stays_a_tour_and_never_gets_longer(self):
    policies = random_policy.policies(TSP)

    @jax.jit
    @jax.vmap
    def run(key):
      instance = TSP.generate(key, 17)
      tours, logp = combinatorial.construct(
        TSP, policies.divider, {}, instance, key, num_samples=1, every=4
      )
      tour = jax.tree.map(lambda x: x[0], tours)

      def stage(tour, key):
        tour, info = combinatorial.conquer(
          TSP, policies.conqueror, {}, instance, tour, key, size=5,
          shift=jax.random.randint(key, (), 1, 6), num_rollouts=4,
        )  # fmt: skip
        return tour, (tour, info.gain)

      _, (found, gains) = jax.lax.scan(stage, tour, jax.random.split(key, 4))
      return instance['points'], tour.order, found.order, gains, logp

    points, first, later, gains, _ = jax.device_get(
      run(jax.random.split(jax.random.key(0), 20))
    )
    self.assertGreater(gains.sum(), 0)
    for i in range(20):
      lengths = [length(points[i], first[i])]
      for t, order in enumerate(later[i]):
        np.testing.assert_array_equal(np.sort(order), np.arange(17))
        lengths.append(length(points[i], order))
        np.testing.assert_allclose(
          lengths[-2] - lengths[-1], gains[i, t].sum(), atol=1e-5
        )
      self.assertLessEqual(np.diff(lengths).max(), 1e-6)

  def test_trailing_nodes_stay(self):
    instance = {'points': jnp.asarray(drawn(0, 13), jnp.float32)}
    tour = combinatorial.Tour(jnp.arange(13))
    got, _ = combinatorial.conquer(
      TSP, random_policy.conqueror(), {}, instance, tour, jax.random.key(0),
      size=5, shift=2, num_rollouts=20,
    )  # fmt: skip
    rolled = np.roll(np.arange(13), 2)
    np.testing.assert_array_equal(got.order[10:], rolled[10:])
    np.testing.assert_array_equal(
      np.asarray(got.order)[[0, 4, 5, 9]], rolled[[0, 4, 5, 9]]
    )

  def test_moved_instances_are_solved_alike(self):
    policies = combinatorial.make_policies(
      TSP, divider='uniform', conqueror='icam(width=16, depth=1)'
    )
    params = combinatorial.init_params(
      jax.random.key(0), TSP, policies, size=6
    )['conqueror']
    run = jax.jit(
      lambda points: combinatorial.conquer(
        TSP, policies.conqueror, params, {'points': points},
        combinatorial.Tour(jnp.arange(12)), jax.random.key(1), size=6,
        shift=3, greedy=True,
      )
    )  # fmt: skip
    points = jnp.asarray(drawn(5, 12), jnp.float32)
    want, info = run(points)
    self.assertGreater(float(info.gain.sum()), 0)
    for other in (points * 3 + 1, points[:, ::-1]):
      np.testing.assert_array_equal(run(other)[0].order, want.order)


class GenerateTest(parameterized.TestCase):
  @parameterized.parameters(*combinatorial.DISTRIBUTIONS)
  def test_points_lie_in_the_square(self, name):
    problem = combinatorial.make_problem(f'tsp(distribution={name})')
    for n in (1, 30):
      points = problem.generate(jax.random.key(0), n)['points']
      self.assertEqual(points.shape, (n, 2))
      self.assertBetween(float(points.min()), 0, 1)
      self.assertBetween(float(points.max()), 0, 1)

  def test_distributions_differ(self):
    draw = functools.partial(combinatorial.points, num_nodes=200)
    key = jax.random.key(0)
    radius = np.linalg.norm(draw('ring(width=0.1)', key) - 0.5, axis=1)
    self.assertBetween(radius.min(), 0.4, 0.41)
    self.assertBetween(radius.max(), 0.49, 0.5001)
    lattice = draw('grid(jitter=0.0)', key) * 15
    np.testing.assert_allclose(lattice % 1, 0.5, atol=1e-4)
    stripe = draw('stripe(width=0.1)', key)
    self.assertLess(np.abs(stripe[:, 0] - stripe[:, 1]).max(), 0.1001)
    tight = draw('clustered(num_clusters=2, spread=0.0)', key)
    self.assertLen(np.unique(np.asarray(tight), axis=0), 2)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'points': np.ones((3, 3))}, r'points must be f\[N, 2\]'),
    ({'points': np.ones((0, 2))}, r'points must be f\[N, 2\]'),
    (
      {'points': np.array([[0.0, np.nan]])},
      r'points must be finite; got points.0. = .0.0, nan.',
    ),
    ({'coords': np.ones((3, 2))}, "instance must have 'points'"),
  )
  def test_instance(self, instance, message):
    with self.assertRaisesRegex(ValueError, message):
      TSP.check(instance)

  @parameterized.parameters(
    (102, 20, 'num_nodes must be a multiple of size .* take 100 or 120'),
    (10, 2, 'size must be'),
    (10, 20, 'size=20 leaves no piece: need size <= num_nodes = 10'),
  )
  def test_sizes(self, num_nodes, size, message):
    with self.assertRaisesRegex(ValueError, message):
      TSP.sizes(num_nodes, size)

  def test_unknown_names(self):
    with self.assertRaisesRegex(ValueError, "problem='tps'.*tsp"):
      combinatorial.make_problem('tps')
    with self.assertRaisesRegex(ValueError, 'distribution'):
      combinatorial.make_problem('tsp(distribution=rings)')
    for name in ('tsp', 'cvrp', 'op', 'pctsp', 'mtsp'):
      with self.assertRaisesRegex(ValueError, 'jitter must lie'):
        combinatorial.make_problem(f'{name}(distribution=grid(jitter=-1))')
    with self.assertRaisesRegex(ValueError, 'num_clusters must be'):
      combinatorial.points('clustered(num_clusters=0)', jax.random.key(0), 4)


if __name__ == '__main__':
  absltest.main()
