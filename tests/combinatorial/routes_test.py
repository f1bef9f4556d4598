# SPDX-License-Identifier: Apache-2.0
"""Problems of routes with networks, loaded instances and other dtypes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import combinatorial as co
from jaxdl.combinatorial import _cvrp, _routes
from tests.reference import random_policy

SPECS = {
  'cvrp': ('cvrp', 'icam(width=8, depth=1, hidden=8)'),
  'mtsp': ('mtsp', 'dpn(width=8, depth=1, hidden=8, num_heads=2)'),
}


def loaded(count, dtype='float32'):
  """Places and demands as files have them: far from uniform, whole numbers."""
  rng = np.random.default_rng(0)
  around = rng.normal(size=(count + 1, 2)) * (300, 20)
  demands = np.concatenate([[0], rng.integers(1, 400, count)])
  return {
    'cvrp': {
      'points': jnp.asarray(np.round(around) + 5000, dtype),
      'demands': jnp.asarray(demands / 1234, dtype),
    },
    'mtsp': {
      'points': jnp.asarray(np.round(around) + 5000, dtype),
      'num_salesmen': jnp.array(5),
      'routes': jnp.ones(5, bool),
    },
  }


class RoutesTest(parameterized.TestCase):
  @parameterized.parameters('cvrp', 'mtsp')
  def test_untrained_networks_solve_a_loaded_instance(self, name):
    spec, conqueror = SPECS[name]
    problem = co.make_problem(spec)
    instance = loaded(23)[name]
    problem.check(instance)
    policies = co.make_policies(problem, divider='none', conqueror=conqueror)
    params = co.init_params(jax.random.key(0), problem, policies, size=6)
    solve = jax.jit(
      functools.partial(
        co.solve, problem, policies, size=6, num_stages=6, num_rollouts=4,
        num_starts=2, greedy=False,
      )
    )  # fmt: skip
    routes, history = solve(params, instance, jax.random.key(1))
    self.assertTrue(bool(problem.feasible(instance, routes)))
    self.assertTrue(bool((jnp.diff(history) <= 1e-6 * history[0]).all()))
    self.assertLess(float(history[-1]), float(history[0]))
    np.testing.assert_allclose(
      problem.objective(instance, routes), history[-1], rtol=1e-6
    )

  @parameterized.product(
    spec=['cvrp', 'ovrp', 'mtsp(num_salesmen=3)'],
    dtype=['bfloat16', 'float32', 'float64'],
  )
  def test_shapes_and_dtypes_hold(self, spec, dtype):
    """Nothing is compiled: loops check what they carry."""
    problem = co.make_problem(spec)
    policies = random_policy.policies(problem)
    for count in (3, 14):
      with jax.enable_x64(dtype == 'float64'):
        kinds = loaded(count, dtype)
        instance = kinds['mtsp' if spec.startswith('mtsp') else 'cvrp']
        solve = lambda instance, key, count=count: co.solve(
          problem, policies, random_policy.PARAMS, instance, key, size=3,
          num_stages=2, num_starts=2,
        )  # fmt: skip
        routes, history = jax.eval_shape(solve, instance, jax.random.key(0))
        self.assertEqual(routes.order.shape, (count,))
        self.assertEqual(routes.last.dtype, bool)
        kind = 'float64' if dtype == 'float64' else 'float32'
        self.assertEqual(history.dtype, kind)
        rows = jax.eval_shape(
          lambda instance: problem.divide.neighbors(instance, 5), instance
        )
        self.assertEqual((rows.nodes.dtype, rows.edges.dtype), (dtype, dtype))

  def test_one_customer(self):
    for spec in ('cvrp', 'ovrp', 'mtsp'):
      problem = co.make_problem(spec)
      instance = problem.generate(jax.random.key(0), 1)
      divide = problem.divide
      cursor = divide.start(instance, jnp.array(0))
      self.assertEqual(divide.num_steps(instance), 1)
      self.assertEqual(divide.allowed(instance, cursor).tolist(), [False, True])
      cursor = divide.move(instance, cursor, jnp.array(1))
      self.assertTrue(bool(cursor.done))
      routes = divide.finish(instance, cursor.first, jnp.array([1]))
      self.assertEqual(routes.order.tolist(), [1])
      self.assertEqual(routes.last.tolist(), [True])
      self.assertTrue(bool(problem.feasible(instance, routes)))

  def test_networks_see_the_same_wherever_a_piece_lies(self):
    problem = co.make_problem('cvrp')
    instance = loaded(8)['cvrp']
    routes = co.Routes(
      jnp.arange(1, 9), jnp.asarray(np.arange(8) % 3 == 1).at[-1].set(True)
    )
    moved = instance | {'points': instance['points'][:, ::-1] * 4.0 - 777.0}

    @jax.jit
    def inputs(instance):
      piece = {
        'points': instance['points'],
        'demands': instance['demands'],
      }
      return problem.solve.inputs(piece)

    for a, b in zip(inputs(instance), inputs(moved), strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5)
    features, distances = inputs(instance)
    self.assertEqual(features.shape, (9, problem.solve.num_features))
    self.assertAlmostEqual(float(features[:, :2].max()), 1.0, places=6)
    np.testing.assert_allclose(features[:, 2], instance['demands'])
    np.testing.assert_allclose(
      distances,
      np.linalg.norm(features[:, None, :2] - features[None, :, :2], axis=-1),
      atol=1e-5,
    )
    # Routes go the other way round when the plane is mirrored, no more.
    angles = [_routes.by_angle(i['points'], routes) for i in (instance, moved)]
    self.assertEqual(angles[0].order[0], angles[1].order[0])

  def test_bound_of_routes_by_hand(self):
    bound = lambda *demands: _cvrp.routes_bound(np.array([0.0, *demands]))
    self.assertEqual(bound(1.0), 1)
    self.assertEqual(bound(*[1.0] * 5), 5)
    # 9 nodes of 0.1 fit into one; another may be opened on the way, and two of
    # rounding.
    self.assertEqual(bound(*[0.1] * 9), 3)
    self.assertEqual(bound(*[0.0] * 9), 3)


if __name__ == '__main__':
  absltest.main()
