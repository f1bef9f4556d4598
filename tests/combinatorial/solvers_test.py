# SPDX-License-Identifier: Apache-2.0
"""Classical and strong solvers keep the rules of the problems themselves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.combinatorial import _pictures, _registry, classical, oracles
from jaxdl.combinatorial.classical import _registry as _classical
from jaxdl.combinatorial.oracles import _registry as _oracles

# What instances of twenty nodes need.
OPTIONS = {
  'cvrp': {'capacity': 30},
  'ovrp': {'capacity': 30},
  'mtsp': {'num_salesmen': 4},
  'kp': {'capacity': 5.0},
}
FAST = {
  'elkai': 'num_runs=2',
  'milp': 'time_limit=300',
  'ortools': 'num_solutions=300, time_limit=300',
  'pyvrp': 'num_iterations=300',
}


@functools.cache
def problem_of(name):
  return _registry.make_problem(name, **OPTIONS.get(name, {}))


@functools.cache
def instances(name):
  problem = problem_of(name)
  return [problem.generate(jax.random.key(s), 20) for s in range(3)]


class SolversTest(parameterized.TestCase):
  def _keeps_the_rules(self, problem, instance, solution):
    solution = jax.tree.map(jnp.asarray, solution)
    self.assertTrue(bool(problem.feasible(instance, solution)))
    objective = float(problem.objective(instance, solution))
    found = oracles.measured(problem, instance, solution)
    np.testing.assert_allclose(objective, found, rtol=1e-5)
    return objective

  @parameterized.parameters(*_registry.PROBLEMS)
  def test_rules_and_solvers(self, name):
    problem = problem_of(name)
    sign = 1 if problem.maximize else -1
    for k, instance in enumerate(instances(name)):
      problem.check(instance)
      rules = [
        classical.baseline(spec, problem, instance, key=jax.random.key(0))
        for spec, served in _classical.SERVED.items()
        if name in served
      ]
      best = max(
        sign * self._keeps_the_rules(problem, instance, r) for r in rules
      )
      for spec, served in _oracles.SERVED.items():
        if name not in served or (k and spec == 'ortools'):
          continue
        # Orienteering of twenty nodes is too much for a linear program.
        if (spec, name) != ('milp', 'op'):
          spec = f'{spec}({FAST[spec]})'
          answer = oracles.oracle(spec, problem, instance)
          found = sign * self._keeps_the_rules(
            problem, instance, answer.solution
          )
          self.assertGreaterEqual(found, best - 1e-5, spec)

  @parameterized.parameters(*_registry.PROBLEMS)
  def test_rows_of_places(self, name):
    problem, instance = problem_of(name), instances(name)[0]
    solution = classical.baseline('greedy', problem, instance)
    rows = _pictures.solution_rows(problem, instance, solution)
    nodes = [r for r in rows if r['kind'] != 'edge']
    self.assertEqual({r['node'] for r in nodes}, set(range(len(nodes))))
    objective = float(problem.objective(instance, solution))
    self.assertAlmostEqual(nodes[0]['objective'], objective, places=4)

  @parameterized.parameters('tsp', 'atsp', 'cvrp', 'mtsp', 'op', 'kp')
  def test_half_precision_keeps_the_rules(self, name):
    cast = lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x
    instance = jax.tree.map(cast, instances(name)[0])
    solution = classical.baseline('greedy', name, instance)
    exact = jax.tree.map(
      lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x,
      instance,
    )
    if name in ('tsp', 'atsp', 'mtsp', 'kp'):
      self.assertTrue(bool(problem_of(name).feasible(exact, solution)))
    if name == 'cvrp':
      # Loads of bfloat16 are added with errors of 2^-8 each.
      for route in classical.routes_of(solution):
        self.assertLess(float(exact['demands'][jnp.array(route)].sum()), 1.03)
    if name == 'op':
      nodes = solution.order[solution.visited]
      length = float(classical.tour_length(exact, nodes))
      self.assertLess(length, 1.03 * float(exact['length']))


if __name__ == '__main__':
  absltest.main()
