# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import random_policy

from jaxdl import combinatorial

TSP = combinatorial.make_problem('tsp')
POLICIES = combinatorial.make_policies(
  TSP, divider='agnn(width=4, depth=1)', conqueror='icam(width=4, depth=1)'
)
PARAMS = combinatorial.init_params(jax.random.key(0), TSP, POLICIES, size=5)
INSTANCES = jax.vmap(lambda key: TSP.generate(key, 17))(
  jax.random.split(jax.random.key(3), 2)
)
FIRST = jax.tree.map(lambda x: x[0], INSTANCES)


def solve(instance=FIRST, key=None, **options):
  return combinatorial.solve(
    TSP,
    POLICIES,
    PARAMS,
    instance,
    jax.random.key(4) if key is None else key,
    **({'size': 5, 'num_starts': 8, 'num_stages': 4} | options),
  )


@functools.cache
def plain():
  return jax.jit(solve)(FIRST)


class SolveTest(parameterized.TestCase):
  def test_gets_better_stage_by_stage(self):
    tour, history = plain()
    np.testing.assert_array_equal(np.sort(tour.order), np.arange(17))
    self.assertEqual(history.shape, (5,))
    self.assertLessEqual(np.diff(history).max(), 1e-6)
    self.assertLess(history[-1], history[0])
    path = np.asarray(FIRST['points'], np.float64)[np.asarray(tour.order)]
    length = np.linalg.norm(path - np.roll(path, 1, axis=0), axis=1).sum()
    np.testing.assert_allclose(history[-1], length, rtol=1e-6)

  def test_instances_by_vmap_are_solved_alike(self):
    both, history = jax.jit(
      jax.vmap(lambda i: solve(i), in_axes=(0,))
    )(INSTANCES)  # fmt: skip
    tour, alone = plain()
    np.testing.assert_array_equal(both.order[0], tour.order)
    np.testing.assert_allclose(history[0], alone, rtol=1e-6)

  @parameterized.parameters(2, 10**9)
  def test_pieces_at_a_time_change_nothing(self, chunk):
    tour, history = jax.jit(functools.partial(solve, chunk=chunk))(FIRST)
    want, alone = plain()
    np.testing.assert_array_equal(tour.order, want.order)
    np.testing.assert_allclose(history, alone, rtol=1e-6)

  def test_starts_on_devices_are_the_same(self):
    mesh = jax.make_mesh(
      (8,), ('starts',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    tour, history = jax.jit(lambda i: solve(i, mesh=mesh))(FIRST)
    np.testing.assert_array_equal(tour.order, plain()[0].order)
    np.testing.assert_allclose(history, plain()[1], rtol=1e-6)

  def test_goes_on_from_a_solution(self):
    start = combinatorial.Tour(jnp.arange(17))
    run = jax.jit(lambda start: solve(start=start, num_starts=2))
    tour, history = run(start)
    np.testing.assert_allclose(
      history[0], TSP.objective(FIRST, start), rtol=1e-6
    )
    self.assertLess(history[-1], history[0])
    again, later = run(tour)
    np.testing.assert_allclose(later[0], history[-1], rtol=1e-6)
    np.testing.assert_array_equal(np.sort(again.order), np.arange(17))

  def test_starts_from_a_solution_are_cut_elsewhere(self):
    # Ends of pieces stay, so the first node tells where they were cut.
    told = TSP._replace(
      objective=lambda instance, tour: tour.order[0].astype(jnp.float32)
    )
    run = lambda num_starts: combinatorial.solve(
      told,
      random_policy.policies(TSP),
      random_policy.PARAMS,
      FIRST,
      jax.random.key(0),
      size=5,
      num_starts=num_starts,
      num_stages=1,
      start=combinatorial.Tour(jnp.arange(17)),
    )[1]
    # 17 nodes rolled by 2 start at 15, by 3 or more at a lower one.
    np.testing.assert_array_equal(run(1), [0, 15])
    self.assertLess(run(8)[1], 15)

  @parameterized.parameters('tsp', 'atsp', 'cvrp', 'op', 'kp', 'mis', 'mtsp')
  def test_traces_in_float64(self, name):
    family = combinatorial.make_problem(name)

    def run(key):
      return combinatorial.solve(
        family,
        random_policy.policies(family),
        random_policy.PARAMS,
        family.generate(key, 9),
        key,
        size=4,
        num_starts=2,
        num_stages=3,
      )

    with jax.enable_x64(True):
      solution, history = jax.eval_shape(run, jax.random.key(0))
    self.assertEqual(history.shape, (4,))
    self.assertIn(jax.tree.leaves(solution)[0].dtype, (jnp.int32, jnp.bool_))

  def test_without_stages_it_only_divides(self):
    tour, history = jax.jit(lambda i: solve(i, num_stages=0))(FIRST)
    self.assertEqual(history.shape, (1,))
    np.testing.assert_allclose(
      history[0], TSP.objective(FIRST, tour), rtol=1e-6
    )

  def test_larger_is_better_where_it_is(self):
    # The longest tour, by the same parts.
    longest = TSP._replace(
      maximize=True,
      solve=TSP.solve._replace(
        value=lambda piece, path: -TSP.solve.value(piece, path)
      ),
    )
    run = lambda instance: combinatorial.solve(
      longest,
      random_policy.policies(TSP),
      random_policy.PARAMS,
      instance,
      jax.random.key(0),
      size=5,
      num_starts=2,
      num_stages=4,
      num_rollouts=4,
      greedy=False,
    )
    _, history = jax.jit(run)(FIRST)
    self.assertGreaterEqual(np.diff(history).min(), -1e-6)
    self.assertGreater(history[-1], history[0])

  @parameterized.parameters(
    ({'size': 2}, 'size must'),
    ({'size': 18}, 'size=18 leaves no piece'),
    ({'num_starts': 0}, 'num_starts must'),
    ({'num_stages': -1}, 'num_stages must'),
    ({'num_rollouts': 3}, 'num_rollouts=3 must be even'),
  )
  def test_refuses(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      solve(**options)

  def test_refuses_a_mesh_that_does_not_fit(self):
    mesh = jax.make_mesh((8,), ('starts',))
    with self.assertRaisesRegex(ValueError, 'mesh must .* num_starts = 3'):
      solve(num_starts=3, mesh=mesh)


if __name__ == '__main__':
  absltest.main()
