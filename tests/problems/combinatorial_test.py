# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import combinatorial, federated, local, problems

SPECS = ('tsp', 'tsp(distribution=ring)')


@functools.cache
def drawn(**options):
  small = {
    'num_nodes': 8,
    'size': 4,
    'divider': 'agnn(width=4, depth=1)',
    'conqueror': 'icam(width=4, depth=1, hidden=4)',
    'num_test': 3,
    'num_stages': 2,
    'num_clients': 2,
    'batch_size': 2,
    'seeds': (1, 2),
  }
  training = {'num_samples': 2, 'num_rollouts': 2, 'num_stages': 1}
  return problems.combinatorial(SPECS, training=training, **(small | options))


def length(points, order):
  path = np.asarray(points, np.float64)[np.asarray(order)]
  return np.linalg.norm(path - np.roll(path, -1, axis=0), axis=1).sum()


class CombinatorialTest(parameterized.TestCase):
  def test_clients_hold_their_own_distributions(self):
    cohort = drawn().cohort(jax.random.key(0), None, 1)
    self.assertEqual(cohort.data['points'].shape, (2, 2, 8, 2))
    radius = np.linalg.norm(cohort.data['points'] - 0.5, axis=-1)
    self.assertLess(radius[0].min(), 0.35)
    self.assertGreater(radius[1].min(), 0.39)
    later = drawn().cohort(jax.random.key(0), None, 2)
    self.assertFalse(np.allclose(cohort.data['points'], later.data['points']))

  def test_figures_are_those_of_the_solutions(self):
    problem = drawn(oracle='milp')
    test = problem.test
    params = jax.vmap(problem.task.init)(jax.random.split(jax.random.key(0), 2))
    found = problem.evaluate(params)
    tours, history = jax.device_get(test.solve(params))
    self.assertEqual(history.shape, (2, 6, 3))
    for s in range(2):
      lengths = [
        length(test.instances['points'][s, t], tours.order[s, t])
        for t in range(6)
      ]
      np.testing.assert_allclose(found['objective'][s], np.mean(lengths), 1e-5)
      np.testing.assert_allclose(
        found['objective_1'][s], np.mean(lengths[3:]), 1e-5
      )
      np.testing.assert_allclose(
        found['gap'][s],
        np.mean(np.array(lengths) / test.references[s] - 1),
        atol=1e-5,
      )
      np.testing.assert_allclose(
        found['over_baseline'][s],
        np.mean(np.array(lengths) / test.baselines[s] - 1),
        atol=1e-5,
      )
    np.testing.assert_array_equal(found['feasible'], [1, 1])
    self.assertGreaterEqual(found['gap'].min(), -1e-5)
    rows = test.rows(params)
    stages = [r for r in rows if r['split'] == 'stages']
    self.assertLen(stages, 6)
    np.testing.assert_allclose(
      [r['objective'] for r in stages if r['seed'] == 2],
      history[1].mean(axis=0),
      rtol=1e-5,
    )
    self.assertLen([r for r in rows if r['split'] == 'solutions'], 8)

  def test_tests_may_start_from_a_rule(self):
    problem = drawn()
    other = problem.test.with_policies(
      divider='none',
      conqueror='icam(width=4, depth=1, hidden=4)',
      start='nearest_neighbor',
    )
    params = jax.vmap(other.task.init)(jax.random.split(jax.random.key(0), 2))
    np.testing.assert_allclose(
      other.evaluate(params)['divided'],
      problem.test.baselines.mean(axis=1),
      rtol=1e-5,
    )

  def test_is_learned_by_clients_of_other_distributions(self):
    problem = drawn(seeds=(0,))
    algorithm = federated.make_algorithm(
      'fedavg',
      problem.task,
      2,
      work=local.LocalWork('adam(0.01)', num_steps=1),
      channel=federated.Channel(aggregator='median', num_byzantine=0),
    )
    start = algorithm.init(jax.random.key(0))
    cohort = problem.cohort(jax.random.key(1), None, 1)
    state, _ = jax.jit(algorithm.step)(start, cohort, key=jax.random.key(2))
    for name in ('divider', 'conqueror'):
      moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()),
        start.params[name],
        state.params[name],
      )
      self.assertBetween(max(jax.tree.leaves(moved)), 1e-3, 0.1, name)

  def test_nothing_to_win_is_no_gap(self):
    problem = problems.combinatorial(
      'op(length=0.0)',
      num_nodes=8,
      size=4,
      divider='none',
      conqueror='attention(width=4, depth=1, num_heads=2)',
      num_test=2,
      num_stages=1,
    )
    params = jax.vmap(problem.task.init)(jax.random.key(0)[None])
    found = problem.evaluate(params)
    self.assertEqual(found['objective'], 0)
    self.assertEqual(found['over_baseline'], 0)
    self.assertEqual(found['feasible'], 1)

  @parameterized.parameters(
    ({'num_nodes': 10}, 'num_nodes must be a multiple of size'),
    ({'num_clients': 0}, 'num_clients must'),
    ({'num_test': 0}, 'num_test must'),
    ({'num_starts': 0}, 'num_starts must be at least 1; got 0'),
    ({'num_stages': -1}, 'num_stages must be at least 0; got -1'),
    ({'test_nodes': 3}, 'test_nodes=3 leaves no piece: need size='),
    ({'baseline': 'savings'}, 'does not serve the problem'),
    ({'oracle': 'gurobi'}, "oracle='gurobi'"),
    ({'test_spec': 'kp'}, "test_spec='kp' must be of the problem tsp"),
    ({'divider': 'agn'}, "divider='agn'"),
  )
  def test_refuses(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      drawn(**options)

  def test_refuses_problems_of_several_names(self):
    with self.assertRaisesRegex(ValueError, 'spec must name one problem'):
      problems.combinatorial(('tsp', 'atsp'), num_nodes=8, size=4)
    with self.assertRaisesRegex(ValueError, 'spec is empty'):
      problems.combinatorial((), num_nodes=8, size=4)
    with self.assertRaisesRegex(ValueError, "problem='vrp'"):
      combinatorial.make_problem('vrp')


if __name__ == '__main__':
  absltest.main()
