# SPDX-License-Identifier: Apache-2.0
"""Pictures of tours, routes and choices."""

import pathlib
import tempfile
import warnings

import numpy as np
from absl.testing import absltest, parameterized
from matplotlib import colors

from jaxdl import plots
from jaxdl.combinatorial import _pictures, _problem
from jaxdl.plots import _figures, _tours

POINTS = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [2, 2], [3, 0]], float)
LOADS = {'points': POINTS, 'demands': np.array([0, 1, 1, 1, 1, 1]) / 3}
CHOICES = {
  'points': POINTS,
  'prizes': np.arange(6.0),
  'length': 9.0,
  'penalties': np.arange(6.0),
}
ROUTES = _problem.Routes(
  np.array([1, 2, 4, 3, 5]), np.array([False, True, False, False, True])
)
VISITS = _problem.Visits(np.array([0, 3, 2, 1, 4, 5]), np.arange(6) < 3)
GRAPH = {'edges': np.array([[0, 1], [1, 2], [9, 9]]), 'nodes': np.ones(4, bool)}
CASES = {
  'tsp': ({'points': POINTS}, _problem.Tour(np.array([0, 1, 5, 4, 2, 3])), 6),
  'atsp': ({'costs': 1 - np.eye(6)}, _problem.Tour(np.arange(6)), 6),
  'cvrp': (LOADS, ROUTES, 7),
  'ovrp': (LOADS, ROUTES, 5),
  'mtsp': ({'points': POINTS, 'num_salesmen': 2}, ROUTES, 7),
  'op': (CHOICES, VISITS, 3),
  'pctsp': (CHOICES, VISITS, 3),
  'mis': (GRAPH, _problem.Subset(np.array([True, False, True, True])), 0),
  'kp': (
    {'weights': np.ones(3), 'values': np.arange(3.0), 'capacity': 1.0},
    _problem.Subset(np.array([False, False, True])),
    0,
  ),
}


def _rows(name, *, variant='a', step=1, **options):
  instance, solution, _ = CASES[name]
  more = {'split': 'solutions', 'variant': variant, 'seed': 0, 'step': step}
  found = _pictures.solution_rows(name, instance, solution, **options)
  return [row | more for row in found]


class ToursTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.seen = []
    save = _figures.save
    _figures.save = lambda fig, path: self.seen.append(fig) or save(fig, path)
    self.addCleanup(setattr, _figures, 'save', save)
    self.path = pathlib.Path(tempfile.mkdtemp()) / 'tours.png'
    catcher = warnings.catch_warnings()
    catcher.__enter__()
    self.addCleanup(catcher.__exit__, None, None, None)
    warnings.simplefilter('error')

  @parameterized.parameters(*CASES)
  def test_one_line_for_each_way(self, name):
    path = plots.solutions(_rows(name), self.path)
    self.assertGreater(path.stat().st_size, 3000)
    (axes,) = self.seen[0].axes
    edges, ways = axes.collections[:2]
    segments = ways.get_segments()
    self.assertLen(segments, CASES[name][2])
    self.assertLen(edges.get_segments(), 2 if name == 'mis' else 0)
    counts = [len(c.get_offsets()) for c in axes.collections[2:]]
    count = len({r['node'] for r in _rows(name) if 'node' in r})
    self.assertEqual(sum(counts), count)
    left = {'op': 3, 'pctsp': 3, 'mis': 1, 'kp': 2}.get(name, 0)
    self.assertEqual(counts[0], left)
    if name == 'cvrp':
      ends = {tuple(map(tuple, s.astype(int).tolist())) for s in segments}
      want = [(0, 1), (1, 2), (2, 0), (0, 4), (4, 3), (3, 5), (5, 0)]
      pair = lambda k: tuple(POINTS[k].astype(int).tolist())
      self.assertEqual(ends, {(pair(a), pair(b)) for a, b in want})
      first, second = (
        {colors.to_hex(c) for c in ways.get_colors()[part]}
        for part in (slice(3), slice(3, 7))
      )
      self.assertEqual(len(first | second), 2)
    if name == 'kp':
      self.assertEqual(
        (axes.get_xlabel(), axes.get_ylabel()), ('Weight', 'Value')
      )

  def test_titles_say_what_solutions_are_worth(self):
    plots.solutions([*_rows('cvrp'), *_rows('kp', variant='b')], self.path)
    titles = [a.get_title(loc='left') for a in self.seen[0].axes]
    # Ways out and back: 1 + 1 + sqrt 2, and sqrt 8 + sqrt 5 + sqrt 10 + 3.
    length = 2 + 2**0.5 + 8**0.5 + 5**0.5 + 10**0.5 + 3
    self.assertEqual(titles, [f'a: {length:.4g}', 'b: 2'])

  def test_pieces_have_colors_and_what_joins_them_is_pale(self):
    rows = _rows('tsp', size=2, shift=1)
    # In turn 1 5 | 4 2 | 3 0.
    self.assertEqual([r['piece'] for r in rows], [2, 0, 1, 2, 1, 0])
    rows = _rows('tsp', size=4, shift=1)
    self.assertEqual([r['piece'] for r in rows], [-1, 0, 0, -1, 0, 0])
    plots.solutions(_rows('tsp', size=2, shift=1), self.path, color='piece')
    ways = self.seen[0].axes[0].collections[1]
    pale = [colors.to_hex(c) == _tours._PALE.lower() for c in ways.get_colors()]
    # From 0: the way from 0 to 1 joins two pieces, that from 1 to 5 is in one.
    self.assertEqual(pale, [True, False, True, False, True, False])
    texts = [t.get_text() for t in self.seen[0].legends[0].get_texts()]
    self.assertEqual(texts, ['a color per piece'])

  def test_the_last_step_and_a_few_panels(self):
    rows = [r for s in (1, 2) for r in _rows('tsp', step=s)]
    rows += [r for k in range(12) for r in _rows('op', variant=f'v{k}')]
    plots.solutions(rows, self.path, max_panels=4)
    titles = [
      a.get_title(loc='left') for a in self.seen[0].axes if a.get_visible()
    ]
    self.assertLen(titles, 4)
    self.assertStartsWith(titles[0], 'a: ')
    self.assertStartsWith(titles[-1], 'v11: ')
    self.assertLen(self.seen[0].axes[0].collections[1].get_segments(), 6)

  def test_rolled_routes(self):
    instance, solution, _ = CASES['cvrp']
    rolled = _problem.Routes(*(np.roll(x, 2) for x in solution))
    rows = _pictures.solution_rows('cvrp', instance, rolled, size=3)
    # In turn 3 5 1 2 4: pieces are of what stands side by side.
    self.assertEqual([r['piece'] for r in rows], [-1, 0, -1, 0, -1, 0])
    self.assertEqual([r['route'] for r in rows], [-1, 1, 1, 0, 0, 0])
    places = [r['place'] for r in rows]
    self.assertEqual(places, [-1, 3, 4, 1, 0, 2])

  def test_improvement_in_percent(self):
    rows = [
      {'split': 'stages', 'variant': 'a', 'seed': s, 'step': t, 'stage': k}
      | {'objective': t * (10 + s) * (1 - 0.1 * k)}
      for s in (0, 1)
      for t in (1, 2)
      for k in (0, 1, 2)
    ]
    plots.improvement(rows, self.path)
    (axes,) = self.seen[0].axes
    line = axes.lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0, 1, 2])
    np.testing.assert_allclose(line.get_ydata(), [0, -10, -20], atol=1e-9)
    self.assertEqual(axes.get_ylabel(), 'Change of objective [%]')

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, "color='tour' is unknown: choose"):
      plots.solutions(_rows('tsp'), self.path, color='tour')
    with self.assertRaisesRegex(ValueError, "no row has split='solutions'"):
      plots.solutions([{'split': 'test', 'x': 1}], self.path)
    with self.assertRaisesRegex(ValueError, 'size must be at least 1; got 0'):
      _rows('tsp', size=0)


if __name__ == '__main__':
  absltest.main()
