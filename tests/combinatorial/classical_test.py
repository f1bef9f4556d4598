# SPDX-License-Identifier: Apache-2.0
"""Rules that need no training, against slow forms of them."""

import functools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.combinatorial import _problem, classical, oracles
from tests.reference import combinatorial as reference


def _points(count, seed=0):
  return np.random.default_rng(seed).random((count, 2)).astype(np.float32)


def _closed(matrix, order):
  return matrix[order, np.roll(order, -1)].sum()


def _asymmetric(count, seed=0):
  costs = np.random.default_rng(seed).random((count, count))
  return costs * (1 - np.eye(count))


def instances(count=12, seed=0):
  """One of each problem."""
  rng = np.random.default_rng(seed)
  f = lambda *shape: rng.random(shape).astype(np.float32)
  points = f(count, 2)
  depot = np.arange(count) > 0
  graph = np.argwhere(np.triu(rng.random((count, count)) < 0.3, 1))
  prizes = f(count) * depot
  visits = {'points': points, 'prizes': prizes, 'penalties': f(count) * depot}
  visits['target'] = np.float32(prizes.sum() / 3)
  loads = {'points': points, 'demands': (0.2 + 0.4 * f(count)) * depot}
  found = {
    'tsp': {'points': points},
    'atsp': {'costs': f(count, count)},
    'cvrp': loads,
    'ovrp': loads,
    'mtsp': {'points': points, 'num_salesmen': np.int32(min(3, count - 1))},
    'op': {'points': points, 'prizes': prizes, 'length': np.float32(1.5)},
    'pctsp': visits,
    'spctsp': {**visits, 'real_prizes': prizes * 2 * f(count)},
    'kp': {'weights': f(count), 'values': f(count), 'capacity': 2.0},
    'mis': {'edges': graph, 'nodes': np.ones(count, bool)},
  }
  return jax.tree.map(jnp.asarray, found)


def _insertion(costs, nodes):
  """Each node where it costs least, first places first, by lists."""
  tour = [nodes[0]]
  for node in nodes[1:]:
    added = {
      a: costs[a, node] + costs[node, b] - costs[a, b]
      for a, b in zip(tour, tour[1:] + tour[:1], strict=True)
    }
    place = min(sorted(added), key=added.get)
    tour.insert(tour.index(place) + 1, node)
  return tour


def _savings(costs, demands, back):
  """Routes as lists; all pairs, the most saving first."""
  routes = {i: [i] for i in range(1, len(costs))}
  pairs = [
    ((costs[i, 0] if back else 0) + costs[0, j] - costs[i, j], i, j)
    for i in routes
    for j in routes
    if i != j
  ]
  for saved, i, j in sorted(pairs, key=lambda p: -p[0]):
    a, b = routes[i], routes[j]
    if saved <= 0 or a is b or demands[a + b].sum() > 1 + 1e-5:
      continue
    if back:
      a = a[::-1] if a[0] == i else a
      b = b[::-1] if b[-1] == j else b
    if a[-1] == i and b[0] == j:
      routes |= dict.fromkeys(a + b, a + b)
  return {id(r): r for r in routes.values()}.values()


class ToursTest(parameterized.TestCase):
  @parameterized.parameters('points', 'costs')
  def test_nearest_neighbor_and_insertion(self, kind):
    count = 40
    points, costs = _points(count), _asymmetric(count).astype(np.float32)
    if kind == 'points':
      costs = reference.distances(points.astype(np.float64))
    instance = {kind: jnp.asarray(points if kind == 'points' else costs)}
    costs = costs.astype(np.float64)
    order = [3]
    while len(order) < count:
      row = costs[order[-1]].copy()
      row[order] = np.inf
      order.append(int(row.argmin()))
    found = classical.nearest_neighbor(instance, start=3)
    self.assertEqual(found.order.tolist(), order)
    self.assertAlmostEqual(
      float(classical.tour_length(instance, found.order)),
      _closed(costs, order),
      places=4,
    )
    key = jax.random.key(1)
    nodes = jax.random.permutation(key, jnp.arange(count)).tolist()
    found = classical.random_insertion(instance, key=key)
    self.assertEqual(found.order.tolist(), _insertion(costs, nodes))
    nodes = [0]
    apart = np.maximum(costs, costs.T)
    while len(nodes) < count:
      near = apart[nodes].min(axis=0)
      near[nodes] = -1
      nodes.append(int(near.argmax()))
    found = classical.farthest_insertion(instance)
    self.assertEqual(found.order.tolist(), _insertion(costs, nodes))

  def test_nearest_neighbor_is_as_far_from_best_as_known(self):
    for seed, gap in enumerate((0.335, 0.284, 0.139)):
      points = np.random.default_rng(seed).random((96, 2))
      tour = classical.nearest_neighbor({'points': jnp.asarray(points)})
      found = oracles.measured('tsp', {'points': points}, tour)
      best = oracles.oracle('elkai(num_runs=3)', 'tsp', {'points': points})
      self.assertAlmostEqual(found / best.objective - 1, gap, delta=6e-4)

  def test_two_opt_leaves_no_move_of_two_edges(self):
    for seed in range(3):
      points = _points(60, seed)
      instance = {'points': jnp.asarray(points)}
      start = _problem.Tour(jnp.arange(60))
      found = classical.two_opt(instance, start)
      costs = reference.distances(points.astype(np.float64))
      order = np.asarray(found.order)
      self.assertEqual(sorted(order), list(range(60)))
      after = np.roll(order, -1)
      old = costs[order, after]
      new = costs[np.ix_(order, order)] + costs[np.ix_(after, after)]
      saved = old[:, None] + old[None] - new
      i, j = np.triu_indices(60, 1)
      self.assertLess(saved[i, j].max(), 1e-5)
      self.assertLess(
        _closed(costs, order), 0.5 * _closed(costs, np.arange(60))
      )
      one = classical.two_opt(instance, start, max_moves=1)
      before, after = _closed(costs, np.arange(60)), one.order
      first = costs[np.arange(60), (np.arange(60) + 1) % 60]
      new = costs + costs[np.ix_((i_ := (np.arange(60) + 1) % 60), i_)]
      best = (first[:, None] + first[None] - new)[i, j].max()
      self.assertAlmostEqual(
        before - _closed(costs, np.asarray(after)), best, places=4
      )

  def test_identical_points(self):
    same = {'points': jnp.ones((7, 2))}
    for spec in ('nearest_neighbor', 'farthest_insertion', 'two_opt'):
      tour = classical.baseline(spec, 'tsp', same)
      self.assertEqual(sorted(tour.order.tolist()), list(range(7)))

  @parameterized.parameters('cells', 'kmeans')
  def test_clusters_are_left_once(self, by):
    # Four far groups, each inside of its own cell.
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
    group = rng.permutation(np.repeat(np.arange(4), 10))
    points = centers[group] + rng.random((40, 2))
    spec = f'clusters(size=10, by={by})'
    tour = classical.baseline(spec, 'tsp', {'points': jnp.asarray(points)})
    visited = group[np.asarray(tour.order)]
    self.assertEqual((visited != np.roll(visited, 1)).sum(), 4)
    self.assertEqual(sorted(tour.order.tolist()), list(range(40)))
    steps = np.abs(np.diff(visited[::10]))
    self.assertTrue(np.isin(steps, [1, 3]).all())  # Never across.


class RoutesTest(parameterized.TestCase):
  @parameterized.parameters(
    *((back, seed) for back in (True, False) for seed in range(4))
  )
  def test_savings(self, back, seed):
    instance = instances(21, seed)['cvrp']
    points = np.asarray(instance['points'], np.float64)
    demands = np.asarray(instance['demands'], np.float64)
    costs = reference.distances(points)
    want = [sorted(r) for r in _savings(costs, demands, back)]
    solution = classical.savings(instance, back=back)
    found = [sorted(r) for r in classical.routes_of(solution)]
    self.assertEqual(sorted(found), sorted(want))
    want = sum(
      _closed(costs, [0, *r]) - (0 if back else costs[r[-1], 0])
      for r in _savings(costs, demands, back)
    )
    lengths = classical.routes_length(instance, solution, back=back)
    self.assertAlmostEqual(float(lengths.sum()), want, places=4)

  def test_few_neighbors_save_less(self):
    instance = instances(21, 3)['cvrp']
    total = lambda k: float(
      classical.routes_length(
        instance, classical.savings(instance, num_neighbors=k)
      ).sum()
    )
    self.assertLess(total(20), total(2))

  def test_routes_are_full_before_a_new_one(self):
    instance = instances(30)['cvrp']
    demands = np.asarray(instance['demands'])
    points = np.asarray(instance['points'], np.float64)
    costs = reference.distances(points)
    free, at, left, routes = set(range(1, 30)), 0, 1.0, [[]]
    while free:
      fits = [j for j in sorted(free) if demands[j] <= left + 1e-5]
      if not fits:
        at, left = 0, 1.0
        routes.append([])
        continue
      at = min(fits, key=lambda j: costs[at, j])
      left -= demands[at]
      free.remove(at)
      routes[-1].append(at)
    solution = classical.nearest_customer(instance)
    self.assertEqual(classical.routes_of(solution), routes)

  def test_sweep(self):
    instance = instances(30)['cvrp']
    solution = classical.sweep(instance)
    rays = np.asarray(instance['points'])
    rays = rays - rays[0]
    angle = np.arctan2(rays[:, 1], rays[:, 0]) % (2 * np.pi)
    routes = classical.routes_of(solution)
    demands = np.asarray(instance['demands'])
    for a, b in zip(routes, routes[1:], strict=False):
      self.assertLess(angle[a].max(), angle[b].min())
      first = b[int(angle[b].argmin())]
      self.assertGreater(demands[a].sum() + demands[first], 1.0)
    salesmen = classical.sweep(instances(31)['mtsp'])
    self.assertEqual([len(r) for r in classical.routes_of(salesmen)], [10] * 3)

  def test_everyone_drives(self):
    points = jnp.array([[0.0, 0], [1, 0], [0, 1.1], [-1.2, 0], [9, 0]])
    instance = {'points': points, 'num_salesmen': jnp.int32(3)}
    solution = classical.shortest_route_next(instance)
    self.assertEqual(classical.routes_of(solution), [[1, 4], [2], [3]])
    traced = jax.jit(classical.shortest_route_next)(instance)
    for got, want in zip(traced, solution, strict=True):
      np.testing.assert_array_equal(got, want)

  def test_lists_and_back(self):
    lists = [[3, 1], [2], [5, 4]]
    solution = classical.from_routes([*lists, []])
    self.assertEqual(classical.routes_of(solution), lists)
    # Stages roll them, into the middle of one too.
    rolled = jax.tree.map(lambda x: jnp.roll(x, 4), solution)
    self.assertEqual(rolled.order.tolist(), [1, 2, 5, 4, 3])
    self.assertEqual(classical.routes_of(rolled), [[3, 1], [2], [5, 4]])
    instance = instances(6)['mtsp']
    lengths = classical.routes_length(instance, solution)
    again = classical.routes_length(instance, rolled)
    np.testing.assert_allclose(again, jnp.roll(lengths, 4), rtol=1e-6)
    for problem in ('cvrp', 'ovrp', 'mtsp'):
      self.assertAlmostEqual(
        oracles.measured(problem, instance, rolled),
        oracles.measured(problem, instance, solution),
      )


class ChoicesTest(parameterized.TestCase):
  def test_items_by_ratio(self):
    pairs = np.random.default_rng(0).random((50, 2))
    instance = {
      'weights': jnp.asarray(pairs[:, 0], jnp.float32),
      'values': jnp.asarray(pairs[:, 1], jnp.float32),
      'capacity': 12.5,
    }
    chosen = np.asarray(classical.greedy_ratio(instance).chosen)
    self.assertAlmostEqual(pairs[chosen, 1].sum(), 21.9615135, places=6)

  def test_items_without_weight(self):
    instance = {
      'weights': jnp.array([0.0, 1.0, 0.0]),
      'values': jnp.array([1.0, 5.0, 0.0]),
      'capacity': 0.5,
    }
    chosen = classical.greedy_ratio(instance).chosen.tolist()
    self.assertEqual(chosen, [True, False, True])

  def test_vertices_of_least_degree(self):
    for graph, best in (
      (nx.karate_club_graph(), 20),
      (nx.florentine_families_graph(), 7),
      (nx.petersen_graph(), 4),
      (nx.erdos_renyi_graph(60, 0.15, seed=0), 19),
    ):
      graph = nx.convert_node_labels_to_integers(graph)
      nodes = list(graph)
      free, want = set(nodes), []
      while free:
        node = min(free, key=lambda v: (len(free & set(graph[v])), v))
        want.append(node)
        free -= {node, *graph[node]}
      edges = np.concatenate(
        [np.array(graph.edges), np.full((2, 2), len(graph))]
      )
      solution = classical.minimum_degree(
        {'edges': jnp.asarray(edges), 'nodes': jnp.ones(len(graph), bool)}
      )
      chosen = np.flatnonzero(solution.chosen)
      self.assertEqual(chosen.tolist(), sorted(want))
      self.assertLessEqual(len(chosen), best)

  def test_prizes_within_a_length(self):
    for seed in range(3):
      case = reference.small(seed)
      points = jnp.asarray(case.points, jnp.float32)
      instance = {
        'points': points,
        'prizes': jnp.append(0.0, jnp.asarray(case.prize, jnp.float32)),
        'length': jnp.float32(2.0),
      }
      tour = classical.insert_prizes(instance)
      nodes = np.asarray(tour.order)[np.asarray(tour.visited)]
      self.assertEqual(nodes[0], 0)
      costs = reference.distances(case.points)
      self.assertLessEqual(_closed(costs, nodes), 2.00002)
      prize = np.append(0, case.prize)[nodes].sum()
      best = reference.op(costs, case.prize, 2.0)
      self.assertBetween(prize, 0.7 * best, best + 1e-6)
      # Nobody else can be put in anywhere.
      slack = 2.0 - _closed(costs, nodes)
      after = np.roll(nodes, -1)
      for j in set(range(9)) - set(nodes.tolist()):
        added = costs[nodes, j] + costs[j, after] - costs[nodes, after]
        self.assertGreater(added.min(), slack)
    short = classical.insert_prizes({**instance, 'length': jnp.float32(0.01)})
    self.assertEqual(int(short.visited.sum()), 1)
    self.assertEqual(short.order.tolist(), list(range(9)))

  def test_enough_is_collected(self):
    for seed in range(3):
      case = reference.small(seed)
      prizes = np.append(0, case.prize).astype(np.float32)
      penalties = np.append(0, case.penalty).astype(np.float32)
      target = np.float32(case.prize.sum() / 2)
      instance = {
        'points': jnp.asarray(case.points, jnp.float32),
        'prizes': jnp.asarray(prizes),
        'penalties': jnp.asarray(penalties),
        'target': jnp.asarray(target),
      }
      tour = classical.insert_penalties(instance)
      nodes = np.asarray(tour.order)[np.asarray(tour.visited)]
      self.assertGreaterEqual(prizes[nodes].sum(), target)
      cost = oracles.measured('pctsp', instance, tour)
      costs = reference.distances(case.points)
      best = reference.pctsp(costs, case.prize, case.penalty, target)
      self.assertBetween(cost, best - 1e-5, 1.25 * best)
    # What is expected says who comes; what is found says when it is enough.
    poor = {**instance, 'real_prizes': 0.3 * instance['prizes']}
    tour = classical.insert_penalties(
      {**poor, 'target': poor['real_prizes'].sum() - 1e-4}
    )
    self.assertTrue(bool(tour.visited.all()))


# Each function once.
FUNCTIONS = [
  *(('greedy', p) for p in ('kp', 'mis', 'op', 'spctsp')),
  *(('nearest_neighbor', p) for p in ('atsp', 'cvrp', 'mtsp')),
  *(('random_insertion', 'tsp'), ('farthest_insertion', 'atsp')),
  *(('two_opt', 'tsp'), ('clusters', 'tsp')),
  *(('savings', 'cvrp'), ('savings', 'ovrp'), ('sweep', 'mtsp')),
]


class RegistryTest(parameterized.TestCase):
  @parameterized.parameters(*FUNCTIONS)
  def test_jit_and_vmap(self, spec, problem):
    many = [instances(12, seed)[problem] for seed in range(3)]
    if problem == 'mis':  # Equal numbers of edges.
      most = max(len(i['edges']) for i in many)
      pad = lambda e: jnp.pad(
        e, ((0, most - len(e)), (0, 0)), constant_values=12
      )
      many = [{**i, 'edges': pad(i['edges'])} for i in many]
    run = functools.partial(classical.baseline, spec, problem)
    stacked = jax.vmap(run)(jax.tree.map(lambda *x: jnp.stack(x), *many))
    for k, instance in enumerate(many):
      for a, b in zip(run(instance), stacked, strict=True):
        np.testing.assert_array_equal(a, b[k])

  @parameterized.parameters(*FUNCTIONS)
  def test_one_customer(self, spec, problem):
    count = 1 if problem in ('tsp', 'atsp', 'kp', 'mis', 'op', 'pctsp') else 2
    instance = instances(count)[problem]
    if problem == 'mis':
      instance = {'edges': jnp.zeros((0, 2), int), 'nodes': jnp.ones(1, bool)}
    solution = classical.baseline(spec, problem, instance)
    self.assertEqual(
      jax.tree.leaves(solution)[0].shape, (1 + (problem == 'spctsp'),)
    )

  @parameterized.parameters(
    (
      'savings',
      'tsp',
      r"baseline='savings' does not serve the problem 'tsp': "
      r"savings serves cvrp, ovrp; for 'tsp' there is greedy, nearest_neigh",
    ),
    ('greedy', 'vrp', r"problem='vrp' is unknown: choose one of 'tsp', 'cvrp'"),
    ('opt', 'tsp', r"baseline='opt' is unknown: choose one of 'greedy'"),
    ('nearest_neighbor(start=12)', 'tsp', 'start must be at most 11; got 12'),
    ('clusters(by=angle)', 'tsp', r"by='angle' is unknown: choose .* 'kmeans'"),
    ('clusters(size=0)', 'tsp', 'size must be at least 1; got 0'),
    ('two_opt(max_moves=-1)', 'tsp', 'max_moves must be at least 0; got -1'),
    ('savings(num_neighbors=0)', 'cvrp', 'num_neighbors must be at least 1'),
  )
  def test_says_what_to_change(self, spec, problem, message):
    instance = instances(12)[problem if problem != 'vrp' else 'tsp']
    with self.assertRaisesRegex(ValueError, message):
      classical.baseline(spec, problem, instance)

  def test_says_what_an_instance_needs(self):
    with self.assertRaisesRegex(ValueError, "has 'xy': need points f"):
      classical.nearest_neighbor({'xy': 1})
    with self.assertRaisesRegex(
      TypeError, 'problem must be a Comb.* or a name'
    ):
      classical.baseline('greedy', 3, {})


if __name__ == '__main__':
  absltest.main()
