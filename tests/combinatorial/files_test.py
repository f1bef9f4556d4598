# SPDX-License-Identifier: Apache-2.0
"""Instances and solutions of TSPLIB and CVRPLIB files."""

import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.combinatorial import _problem, classical, files, oracles
from tests.reference import combinatorial as reference

POINTS = np.array([[10, 20], [40, 60], [13, 24], [70, 20], [10, 25]])
CVRP = {
  'NAME': 'five',
  'TYPE': 'CVRP',
  'DIMENSION': 5,
  'EDGE_WEIGHT_TYPE': 'EUC_2D',
  'CAPACITY': 100,
}
DEPOT = 'DEPOT_SECTION\n1\n-1\n'
DEMANDS = (0, 60, 30, 50, 20)


def _coordinates(points=POINTS):
  rows = '\n'.join(f' {k + 1} {x} {y}' for k, (x, y) in enumerate(points))
  return f'NODE_COORD_SECTION\n{rows}\n'


def _demands(demands=DEMANDS):
  rows = '\n'.join(f'{k + 1} {d}' for k, d in enumerate(demands))
  return f'DEMAND_SECTION\n{rows}\n'


def _text(head, *sections):
  return (
    '\n'.join(f'{k} : {v}' for k, v in head.items())
    + '\n'
    + ''.join((*sections, 'EOF\n'))
  )


def _tsp(**changes):
  head = {
    'NAME': 'five',
    'TYPE': 'TSP',
    'COMMENT': 'by hand: five',
    'DIMENSION': 5,
    'EDGE_WEIGHT_TYPE': 'EUC_2D',
  }
  return _text(head | changes, _coordinates())


def _cvrp(*sections, **changes):
  parts = sections or (_coordinates(), _demands(), DEPOT)
  return _text(CVRP | changes, *parts)


def _matrix(layout, words, count=4, kind='TSP'):
  head = {
    'NAME': 'm',
    'TYPE': kind,
    'DIMENSION': count,
    'EDGE_WEIGHT_TYPE': 'EXPLICIT',
    'EDGE_WEIGHT_FORMAT': layout,
  }
  return _text(head, f'EDGE_WEIGHT_SECTION\n{words}\n')


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp())

  def _read(self, text, **options):
    path = self.folder / 'x.vrp'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return files.read_instance(path, **options)

  @parameterized.parameters(
    ('EUC_2D', lambda d: np.floor(d + 0.5)),
    ('CEIL_2D', np.ceil),
    ('FLOOR_2D', np.floor),
    ('ATT', lambda d: np.ceil(d / np.sqrt(10.0))),
  )
  def test_lengths_are_rounded_as_the_standard_says(self, kind, round_):
    source = self._read(_tsp(EDGE_WEIGHT_TYPE=kind))
    self.assertEqual((source.problem, source.name), ('tsp', 'five'))
    d = reference.distances(POINTS.astype(float))
    order = np.array([0, 3, 1, 4, 2])
    tour = _problem.Tour(jnp.asarray(order))
    want = round_(d)[order, np.roll(order, -1)].sum()
    self.assertEqual(files.file_cost(source, tour), want)
    exact = files.file_cost(source, tour, rounded=False)
    unit = 10.0**-0.5 if kind == 'ATT' else 1.0
    self.assertAlmostEqual(exact, unit * d[order, np.roll(order, -1)].sum())
    # The instance is the file in the unit square.
    points = np.asarray(source.instance['points'])
    self.assertEqual((points.min(), points.max()), (0.0, 1.0))
    scaled = oracles.measured('tsp', source.instance, tour)
    self.assertAlmostEqual(source.scale * scaled, exact, places=4)
    again = self._read(_tsp(EDGE_WEIGHT_TYPE=kind), rounded=False)
    self.assertAlmostEqual(files.file_cost(again, tour), exact)

  def test_great_circles(self):
    # Oslo, Nairobi, Lima: the standard's formula, by hand, in degrees.
    text = _text(
      {'TYPE': 'TSP', 'DIMENSION': 3, 'EDGE_WEIGHT_TYPE': 'GEO'},
      _coordinates([[59.55, 10.45], [-1.17, 36.49], [-12.03, -77.02]]),
    )
    source = self._read(text)
    self.assertEqual(source.problem, 'atsp')
    places = np.radians(
      [
        [59 + 55 / 60, 10 + 45 / 60],
        [-1 - 17 / 60, 36 + 49 / 60],
        [-12 - 3 / 60, -77 - 2 / 60],
      ]
    )
    for a in range(3):
      for b in range(a):
        (u, v), (x, y) = places[a], places[b]
        angle = np.arccos(
          np.sin(u) * np.sin(x) + np.cos(u) * np.cos(x) * np.cos(v - y)
        )
        want = int(6378.388 * angle + 1.0)
        self.assertAlmostEqual(source.weights[a, b], want, delta=1)
        self.assertEqual(source.weights[a, b] % 1, 0)

  @parameterized.parameters(
    ('FULL_MATRIX', '0 1 2 3\n1 0 4 5\n2 4 9 6 3 5 6 0'),
    ('UPPER_ROW', '1 2 3\n4 5\n6'),
    ('LOWER_ROW', '1\n2 4 3\n5 6'),
    ('UPPER_DIAG_ROW', '0 1 2 3 0 4 5 0 6 7'),
    ('LOWER_DIAG_ROW', '0\n1 0\n2 4 0\n3 5 6 0'),
    ('UPPER_COL', '1 2 4 3 5 6'),
    ('LOWER_COL', '1 2 3 4 5 6'),
    ('UPPER_DIAG_COL', '0 1 0 2 4 0 3 5 6 0'),
    ('LOWER_DIAG_COL', '0 1 2 3 0 4 5 0 6 0'),
  )
  def test_weights_in_every_layout(self, layout, words):
    want = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]])
    source = self._read(_matrix(layout, words))
    np.testing.assert_array_equal(source.weights, want)
    self.assertEqual(source.problem, 'atsp')
    np.testing.assert_allclose(source.instance['costs'] * source.scale, want)

  def test_asymmetric_costs_to_their_optimum(self):
    costs = np.round(1000 * reference.small(0).costs).astype(int)
    words = '\n'.join(' '.join(map(str, r)) for r in costs)
    source = self._read(_matrix('FULL_MATRIX', words, 9, 'ATSP'))
    answer = oracles.oracle('elkai', 'atsp', source.instance)
    want = reference.tsp(costs.astype(float))
    self.assertEqual(files.file_cost(source, answer.solution), want)

  @parameterized.parameters(1, 3)
  def test_routes_to_their_optimum(self, depot):
    case = reference.small(1)
    points, demand = np.round(1000 * case.points), np.append(0, case.demand)
    # The depot stands anywhere in the file.
    turn = [*range(1, depot), 0, *range(depot, 9)]
    text = _text(
      CVRP | {'DIMENSION': 9, 'CAPACITY': reference.CAPACITY},
      _coordinates(points[turn]),
      _demands(demand[turn]),
      f'DEPOT_SECTION\n {depot}\n -1\n',
    )
    source = self._read(text)
    rounded = np.floor(reference.distances(points) + 0.5)
    np.testing.assert_allclose(
      source.instance['demands'], demand / reference.CAPACITY
    )
    self.assertEqual(source.numbers[0], depot)
    best = min(
      files.file_cost(source, oracles.oracle(spec, 'cvrp', source.instance)[0])
      for spec in ('pyvrp', 'pyvrp(seed=1)')
    )
    # Rounding each leg moves nine of them by half at most.
    want = reference.cvrp(rounded, case.demand, reference.CAPACITY)
    self.assertBetween(best, want, want + 9)
    exact = reference.cvrp(
      reference.distances(points), case.demand, reference.CAPACITY
    )
    answer = oracles.oracle('pyvrp', 'cvrp', source.instance).solution
    found = files.file_cost(source, answer, rounded=False)
    self.assertAlmostEqual(found, exact, delta=1e-2)
    open_ = self._read(text, problem='ovrp', rounded=False)
    self.assertEqual(open_.problem, 'ovrp')
    d = reference.distances(points)
    lists = classical.routes_of(answer)
    want = sum(d[[0, *r[:-1]], r].sum() for r in lists)
    self.assertAlmostEqual(files.file_cost(open_, answer), want)
    rolled = _problem.Routes(*(np.roll(x, 3) for x in answer))
    self.assertAlmostEqual(files.file_cost(open_, rolled), want)
    path = files.write_solution(self.folder / 'a.sol', open_, rolled)
    again = files.read_solution(path, open_)
    self.assertAlmostEqual(files.file_cost(open_, again), want)

  def test_solutions_there_and_back(self):
    source = self._read(_tsp())
    tour = _problem.Tour(jnp.array([2, 0, 4, 3, 1]))
    path = files.write_solution(self.folder / 'a.tour', source, tour)
    text = path.read_text()
    self.assertIn('TOUR_SECTION\n3\n1\n5\n4\n2\n-1\nEOF\n', text)
    again = files.read_solution(path, source)
    self.assertEqual(again.order.tolist(), tour.order.tolist())
    for depot in (1, 4):
      turn = np.array([0, 60, 30, 50, 20])
      turn[[0, depot - 1]] = turn[[depot - 1, 0]]
      source = self._read(
        _cvrp(_coordinates(), _demands(turn), f'DEPOT_SECTION\n{depot}\n-1\n')
      )
      routes = classical.baseline('savings', 'cvrp', source.instance)
      path = files.write_solution(self.folder / 'a.sol', source, routes)
      again = files.read_solution(path, source)
      for a, b in zip(again, routes, strict=True):
        self.assertEqual(a.tolist(), b.tolist())
      cost = files.file_cost(source, routes)
      self.assertIn(f'Cost: {cost:g}', path.read_text())
    # Customers count from 1 after a depot that is node 1.
    source = self._read(_cvrp())
    path.write_text('Route #1: 1 2\nRoute #2: 4 3\nCost 123\n')
    found = files.read_solution(path, source)
    self.assertEqual(classical.routes_of(found), [[1, 2], [4, 3]])

  @parameterized.parameters(
    (
      'Route #1: 1 2 3\nRoute #2: 4',
      'loads 140 on route 1, of a capacity of 1',
    ),
    ('Route #1: 1 2\nRoute #2: 4', r'leaves out customer 3\.'),
    ('Route #1: 1 2\nRoute #2: 4 3 1', r'has customer 1 twice\.'),
    ('Route #1: 1 2 9', 'has customer 9, which does not exist'),
    ('Route #1: 0 1 2', 'has customer 0, which does not exist'),
    ('Route #1: a', 'is no CVRPLIB solution'),
    ('', 'has no route'),
  )
  def test_wrong_routes(self, text, message):
    source = self._read(_cvrp())
    path = self.folder / 'a.sol'
    path.write_text(text)
    with self.assertRaisesRegex(ValueError, rf'a\.sol: {message}'):
      files.read_solution(path, source)

  @parameterized.parameters(
    ('TOUR_SECTION\n1 2 3 4 -1', r'leaves out node 5\.'),
    ('TOUR_SECTION\n1 2 3 4 4 5 -1', r'has node 4 twice\.'),
    ('TOUR_SECTION\n1 2 3 4 6 -1', 'has node 6, which does not exist'),
    ('TOUR_SECTION\n1 two', r"has 'two' in a tour: need numbers"),
    ('1 2 3', 'has no TOUR_SECTION'),
  )
  def test_wrong_tours(self, text, message):
    source = self._read(_tsp())
    path = self.folder / 'a.tour'
    path.write_text(text)
    with self.assertRaisesRegex(ValueError, message):
      files.read_solution(path, source)

  @parameterized.parameters(
    (_tsp(TYPE='SOP'), 'has the TYPE SOP: TSP, ATSP, CVRP, OVRP are read'),
    (_tsp(TYPE='TOUR'), 'TYPE TOUR: read it with read_solution'),
    (_coordinates(), 'has no TYPE: TSP'),
    (_tsp(DIMENSION=6), '5 lines in NODE_COORD_SECTION, but the DIMENSION 6'),
    (_tsp(DIMENSION='five'), 'has the DIMENSION five: it must be an integer'),
    (_tsp(DIMENSION=10**12), r'DIMENSION 1000000000000: it must lie in \[1,'),
    (_tsp(DIMENSION=0), r'DIMENSION 0: it must lie in \[1'),
    (_tsp(EDGE_WEIGHT_TYPE='MAX_2D'), 'the EDGE_WEIGHT_TYPE MAX_2D: EUC_2D'),
    (_text({'TYPE': 'TSP', 'DIMENSION': 5, 'EDGE_WEIGHT_TYPE': 'EUC_2D'}),
     'has no NODE_COORD_SECTION'),
    (_tsp().replace(' 3 13 24', ' 3 nan 24'), r'has node 3 at \(nan, 24\): c'),
    (_tsp().replace(' 3 13 24', ' 3 1e999 24'), r'has node 3 at \(inf, 24\)'),
    (_tsp().replace(' 3 13 24', ' 3 1' + '0' * 400 + ' 24'), 'NODE_COORD_SEC'),
    (_tsp().replace(' 3 13 24', ' 3 x 24'), 'lines in NODE_COORD_SECTION that'),
    (_tsp().replace(' 3 13 24', ' 3 24'), 'lines in NODE_COORD_SECTION that'),
    (_tsp().replace(' 3 13 24', ' 7 13 24'), 'numbers node 3 as 7 in NODE_CO'),
    (_tsp().replace('EOF', 'FIXED_EDGES_SECTION\n1 2\n-1\nEOF'),
     'has FIXED_EDGES_SECTION, which is not read here: NODE_COORD_SECTION'),
    (_tsp().replace('EOF', 'NODE_COORD_SECTION\n1 2 3\nEOF'), '_SECTION twice'),
    (_matrix('SPARSE', '1'), 'has the EDGE_WEIGHT_FORMAT SPARSE of EXPLICIT'),
    (_matrix('UPPER_ROW', '1 2 3 4 5'),
     'has 5 numbers; UPPER_ROW of 4 nodes has 6'),
    (_matrix('UPPER_ROW', '1 2 3 4 5 x'), 'has weights that are no numbers'),
    (_matrix('UPPER_ROW', '1 2 -3 4 5 6'), 'weight -3 from node 1 to 4: weig'),
    (_matrix('UPPER_ROW', '1 2 nan 4 5 6'), 'weight nan from node 1 to 4'),
    (_matrix('UPPER_ROW', '1', 10**6), r'1000000: it must lie in \[1, 20000\]'),
    (_cvrp(_coordinates(), _demands((0, 60, 101, 5, 5)), DEPOT),
     r'customer 3 with the demand 101: it must lie in \[0, 100\]'),
    (_cvrp(_coordinates(), _demands((0, 60, -1, 5, 5)), DEPOT),
     'customer 3 with the demand -1'),
    (_cvrp(_coordinates(), _demands((7, 60, 1, 5, 5)), DEPOT),
     'has the depot 1 with the demand 7, not 0'),
    (_cvrp(_coordinates()), 'has no DEMAND_SECTION'),
    (_cvrp(_demands()), 'has no NODE_COORD_SECTION'),
    (_cvrp(_coordinates(), _demands(), 'DEPOT_SECTION\n1\n2\n-1\n'),
     r'has 2 depots, \[1, 2\]: it must be one of the nodes 1 to 5'),
    (_cvrp(_coordinates(), _demands(), 'DEPOT_SECTION\n9\n-1\n'),
     r'has 1 depots, \[9\]'),
    (_cvrp(_coordinates(), _demands()), 'has no DEPOT_SECTION'),
    (_cvrp(CAPACITY=0), 'has the CAPACITY 0: it must be above 0'),
    (_cvrp(CAPACITY='much'), 'has the CAPACITY much'),
    (_cvrp(DISTANCE=200), 'has DISTANCE: 200, which no problem here knows'),
    (_cvrp(EDGE_WEIGHT_TYPE='GEO'), 'TYPE GEO: cvrp needs coordinates'),
    ('a picture of a cat', 'is no TSPLIB or CVRPLIB file'),
    (b'\xff\xfe\x00', r'is no text\.'),
    ('', 'has no TYPE'),
  )  # fmt: skip
  def test_bad_files(self, text, message):
    with self.assertRaisesRegex(ValueError, rf'x\.vrp: .*{message}'):
      self._read(text)

  def test_says_how_a_file_can_be_read(self):
    with self.assertRaisesRegex(ValueError, "TSP, which is not read as 'ovrp'"):
      self._read(_tsp(), problem='ovrp')
    with self.assertRaisesRegex(TypeError, 'rounded must be True or False'):
      self._read(_tsp(), rounded='yes')
    with self.assertRaises(FileNotFoundError):
      files.read_instance(self.folder / 'none.tsp')

  def test_one_node_and_equal_points(self):
    head = {'TYPE': 'TSP', 'DIMENSION': 1, 'EDGE_WEIGHT_TYPE': 'EUC_2D'}
    source = self._read(_text(head, _coordinates([[3, 4]])))
    tour = _problem.Tour(jnp.array([0]))
    self.assertEqual(files.file_cost(source, tour), 0.0)
    same = _coordinates([[3, 4], [3, 4]])
    source = self._read(_text(head | {'DIMENSION': 2}, same))
    np.testing.assert_array_equal(source.instance['points'], np.zeros((2, 2)))


if __name__ == '__main__':
  absltest.main()
