# SPDX-License-Identifier: Apache-2.0
"""Strong solvers find the optima that tables over subsets prove."""

import importlib
import warnings
from unittest import mock

import networkx as nx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.combinatorial import _problem, oracles
from jaxdl.combinatorial.oracles import _registry
from tests.combinatorial.reference_test import TABLE
from tests.reference import combinatorial as reference


def instances(seed):
  """By row of the table; the last digit counts salesmen."""
  case = reference.small(seed)
  points, prizes = case.points, np.append(0, case.prize)
  demands = np.append(0, case.demand) / reference.CAPACITY
  return {
    'tsp': {'points': points},
    'cvrp': {'points': points, 'demands': demands},
    'ovrp': {'points': points, 'demands': demands},
    'mtsp2': {'points': points, 'num_salesmen': 2},
    'mtsp3': {'points': points, 'num_salesmen': 3},
    'op': {'points': points, 'prizes': prizes, 'length': 2.0},
    'pctsp': {
      'points': points,
      'prizes': prizes,
      'penalties': np.append(0, case.penalty),
      'target': case.prize.sum() / 2,
    },
    'atsp': {'costs': case.costs},
  }


def _feasible(row, instance, solution):
  """Whether a solution keeps the rules, in NumPy."""
  nodes = len(instance.get('points', instance.get('costs')))
  order = list(solution.order)
  if row in ('tsp', 'atsp'):
    return sorted(order) == list(range(nodes))
  if hasattr(solution, 'last'):
    ends = np.flatnonzero(solution.last) + 1
    routes = np.split(solution.order, ends[:-1])
    fine = sorted(order) == list(range(1, nodes)) and ends[-1] == nodes - 1
    if row.startswith('mtsp'):
      return fine and len(routes) == instance['num_salesmen']
    return fine and max(instance['demands'][r].sum() for r in routes) < 1.0001
  visited = np.asarray(solution.order)[solution.visited]
  fine = sorted(order) == list(range(nodes)) and visited[0] == 0
  if row == 'op':
    d = reference.distances(instance['points'])
    return fine and d[visited, np.roll(visited, -1)].sum() <= 2.00001
  return fine and instance['prizes'][visited].sum() >= instance['target']


# Bounded by steps: what a busy machine finds in some time is its own affair.
FAST = {'ortools': 'ortools(num_solutions=500, time_limit=300)'}
CASES = [
  (row, name)
  for row in TABLE
  for name in ('elkai', 'ortools', 'pyvrp', 'milp')
  if row.rstrip('23') in _registry.SERVED[name]
]


class OraclesTest(parameterized.TestCase):
  @parameterized.parameters(*CASES)
  def test_the_table_of_optima(self, row, name):
    spec = FAST.get(name, name)
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      for seed in range(3):
        instance = instances(seed)[row]
        answer = oracles.oracle(spec, row.rstrip('23'), instance)
        self.assertAlmostEqual(answer.objective, TABLE[row][seed], delta=2e-6)
        self.assertTrue(_feasible(row, instance, answer.solution))
        self.assertEqual(answer.proved, name == 'milp')

  @parameterized.parameters('milp(time_limit=300)', 'ortools(time_limit=300)')
  def test_items(self, name):
    for seed, count, capacity, best in (
      (0, 50, 12.5, 22.0519078),
      (1, 50, 12.5, 20.7915159),
      (0, 200, 25.0, 58.3552880),
    ):
      pairs = np.random.default_rng(seed).random((count, 2))
      instance = {
        'weights': pairs[:, 0],
        'values': pairs[:, 1],
        'capacity': capacity,
      }
      answer = oracles.oracle(name, 'kp', instance)
      self.assertAlmostEqual(answer.objective, best, delta=6e-8)
      chosen = answer.solution.chosen
      self.assertLessEqual(pairs[chosen, 0].sum(), capacity + 1e-9)
      self.assertTrue(answer.proved)

  @parameterized.parameters('milp(time_limit=300)', 'ortools(time_limit=300)')
  def test_independent_sets(self, name):
    random = lambda n, seed: nx.erdos_renyi_graph(n, 0.15, seed=seed)
    for graph, best in (
      (nx.karate_club_graph(), 20),
      (nx.les_miserables_graph(), 35),
      (nx.florentine_families_graph(), 7),
      (nx.davis_southern_women_graph(), 18),
      (nx.petersen_graph(), 4),
      (random(30, 0), 13),
      (random(60, 0), 19),
      (random(60, 1), 21),
    ):
      graph = nx.convert_node_labels_to_integers(graph)
      padding = np.full((3, 2), len(graph))
      edges = np.concatenate([np.array(graph.edges), padding])
      instance = {'edges': edges, 'nodes': np.ones(len(graph), bool)}
      answer = oracles.oracle(name, 'mis', instance)
      self.assertEqual(answer.objective, best)
      chosen = answer.solution.chosen
      self.assertFalse(any(chosen[a] and chosen[b] for a, b in graph.edges))
      self.assertTrue(answer.proved)

  @parameterized.parameters('milp(time_limit=300)', 'ortools(time_limit=300)')
  def test_vertices_that_may_not_be_chosen(self, name):
    instance = {
      'edges': np.array([[0, 1], [1, 2]]),
      'nodes': np.array([False, True, True]),
    }
    answer = oracles.oracle(name, 'mis', instance)
    self.assertEqual(answer.objective, 1)
    self.assertFalse(answer.solution.chosen[0])

  def test_tours(self):
    for count, seed, best in (
      (10, 0, 3.2792105),
      (50, 0, 5.7906524),
      (50, 1, 5.2475273),
      (50, 2, 5.7523263),
      (100, 0, 7.8718633),
      (100, 1, 7.5040465),
      (100, 2, 7.9083028),
    ):
      points = np.random.default_rng(seed).random((count, 2))
      answer = oracles.oracle('elkai', 'tsp', {'points': points})
      self.assertAlmostEqual(answer.objective, best, delta=1e-7)

  def test_open_paths_between_fixed_ends(self):
    # A node between the ends that is far from everyone closes the path.
    points = np.random.default_rng(123).random((100, 20, 2))
    lengths = []
    for row in points.astype(np.float32).astype(np.float64):
      costs = np.full((21, 21), 9.0)
      costs[:20, :20] = reference.distances(row)
      costs[20, [0, 19]] = costs[[0, 19], 20] = 0.0
      np.fill_diagonal(costs, 0.0)
      answer = oracles.oracle('elkai(num_runs=2)', 'atsp', {'costs': costs})
      lengths.append(answer.objective)
    self.assertAlmostEqual(np.mean(lengths), 3.681350, delta=1e-6)
    small = points[0, :9]
    costs = np.full((10, 10), 9.0)
    costs[:9, :9] = reference.distances(small)
    costs[9, [0, 8]] = costs[[0, 8], 9] = 0.0
    answer = oracles.oracle('elkai', 'atsp', {'costs': costs})
    want = reference.open_path(reference.distances(small))
    self.assertAlmostEqual(answer.objective, want, delta=1e-6)

  def test_hindsight_where_prizes_are_random(self):
    instance = instances(0)['pctsp']
    known = oracles.oracle('milp', 'pctsp', instance)
    hidden = {
      **instance,
      'prizes': np.ones(9),
      'real_prizes': instance['prizes'],
    }
    answer = oracles.oracle('milp', 'spctsp', hidden)
    self.assertAlmostEqual(answer.objective, known.objective)

  @parameterized.parameters('elkai', 'ortools', 'pyvrp', 'milp')
  def test_one_node_and_few(self, name):
    # Where a single solution exists no further step ever comes.
    spec = 'ortools(time_limit=2)' if name == 'ortools' else name
    points = np.array([[0.0, 0], [3, 0], [3, 4]])
    for count, length in ((1, 0.0), (2, 6.0), (3, 12.0)):
      answer = oracles.oracle(spec, 'tsp', {'points': points[:count]})
      self.assertAlmostEqual(answer.objective, length)
    if 'op' in _registry.SERVED[name]:
      short = {'points': points, 'prizes': np.arange(3), 'length': 1.0}
      answer = oracles.oracle(spec, 'op', short)
      self.assertEqual(answer.solution.visited.tolist(), [True, False, False])
    if 'pctsp' in _registry.SERVED[name]:
      free = {
        'points': points,
        'prizes': np.ones(3),
        'penalties': np.array([0, 0.1, 0.1]),
        'target': 1.0,
      }
      answer = oracles.oracle(spec, 'pctsp', free)
      self.assertAlmostEqual(answer.objective, 0.2)
      answer = oracles.oracle(spec, 'pctsp', {**free, 'target': 3.0})
      self.assertAlmostEqual(answer.objective, 12.0)

  @parameterized.parameters(
    (
      'elkai',
      'kp',
      r"oracle='elkai' does not serve the problem 'kp': elkai "
      r"serves tsp, atsp; for 'kp' there is ortools, milp\.",
    ),
    ('pyvrp', 'mtsp', r"pyvrp serves tsp, cvrp, .*; for 'mtsp' there is ort"),
    (
      'lkh',
      'tsp',
      r"oracle='lkh' is unknown: choose one of 'elkai', 'ortools'",
    ),
    ('elkai(runs=3)', 'tsp', r"elkai has no option 'runs': .* num_runs"),
    ('elkai(num_runs=0)', 'tsp', r'num_runs must be at least 1; got 0'),
    ('ortools(num_solutions=0)', 'tsp', r'num_solutions must be at least 1; '),
    ('milp(time_limit=0)', 'tsp', r'time_limit must lie in \(0'),
    ('elkai(scale=1e9)', 'tsp', r'scale=1e\+09 makes a way of .* 1e7 at most'),
    ('milp', 'vrp', r"problem='vrp' is unknown: choose one of 'tsp', 'cvrp'"),
  )
  def test_says_what_to_change(self, spec, problem, message):
    instance = instances(0)['tsp']
    with self.assertRaisesRegex(ValueError, message):
      oracles.oracle(spec, problem, instance)

  def test_says_what_the_instance_lacks(self):
    instance = {'points': np.zeros((3, 2))}
    with self.assertRaisesRegex(ValueError, 'no demands, which cvrp needs; it'):
      oracles.oracle('pyvrp', 'cvrp', instance)
    instance = {'points': np.array([[0, np.nan]] * 5)}
    with self.assertRaisesRegex(ValueError, r"\['points'\] must .*nan"):
      oracles.oracle('elkai', 'tsp', instance)

  def test_nothing_feasible_is_an_error(self):
    # Two of three fill a vehicle alone, and nobody may be left.
    instance = {
      'points': np.random.default_rng(0).random((4, 2)),
      'demands': np.array([0.0, 2.0, 0.5, 0.5]),
    }
    with self.assertRaisesRegex(ValueError, 'no feasible .* raise num_iter'):
      oracles.oracle('pyvrp(num_iterations=10)', 'cvrp', instance)
    with self.assertRaisesRegex(ValueError, 'no solution of cvrp .*raise time'):
      oracles.oracle('ortools(time_limit=0.1)', 'cvrp', instance)

  def test_names_what_is_not_installed(self):
    points = np.random.default_rng(0).random((5, 2))
    real = importlib.import_module

    def without(name):
      if name == 'elkai':
        raise ImportError(name)
      return real(name)

    with (
      mock.patch('importlib.import_module', without),
      self.assertRaisesRegex(ImportError, r'elkai.*\[combinatorial\]'),
    ):
      oracles.oracle('elkai', 'tsp', {'points': points})

  def test_measures_by_hand(self):
    points = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    routes = _problem.Routes(np.array([1, 2, 3]), np.array([True, False, True]))
    open_ = {'points': points, 'demands': np.zeros(4)}
    diagonal = 2**0.5
    measured = oracles.measured
    self.assertAlmostEqual(measured('cvrp', open_, routes), 4 + diagonal)
    self.assertAlmostEqual(measured('ovrp', open_, routes), 2 + diagonal)
    self.assertAlmostEqual(measured('mtsp', open_, routes), 2 + diagonal)
    visits = _problem.Visits(
      np.array([0, 1, 2, 3]), np.array([True, True, False, False])
    )
    instance = {**open_, 'prizes': np.arange(4), 'penalties': np.arange(4)}
    self.assertAlmostEqual(measured('op', instance, visits), 1.0)
    self.assertAlmostEqual(measured('pctsp', instance, visits), 2.0 + 5.0)


if __name__ == '__main__':
  absltest.main()
