# SPDX-License-Identifier: Apache-2.0
"""Pictures: the numbers in them, and that they are drawn without a warning."""

import pathlib
import tempfile
import warnings
from unittest import mock

import matplotlib
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from matplotlib import text

from jaxdl import plots
from jaxdl.plots import _figures, _graphs


def run_rows(rules=('mean', 'median'), seeds=(0, 1, 2), steps=range(0, 11, 5)):
  rng = np.random.default_rng(0)
  return [
    dict(step=t, split='test', variant=r, seed=s, loss=float(rng.random() + n))
    for n, r in enumerate(rules)
    for s in seeds
    for t in steps
  ]


class PlotCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.out = pathlib.Path(tempfile.mkdtemp()) / 'plots'
    catcher = warnings.catch_warnings()
    catcher.__enter__()
    self.addCleanup(catcher.__exit__, None, None, None)
    warnings.simplefilter('error')

  def axes(self, function, *args, **kwargs):
    """Draws, checks the file, and returns the axes that were drawn."""
    seen = []
    save = _figures.save

    def spy(fig, path):
      seen.append(fig)
      return save(fig, path)

    with mock.patch.object(_figures, 'save', spy):
      path = function(*args, **kwargs)
    self.assertEqual(path.read_bytes()[:4], b'\x89PNG')
    return seen[0].axes


class LinesTest(PlotCase):
  def test_curves_are_means_and_bands_standard_deviations(self):
    rows = run_rows()
    axes = self.axes(
      plots.lines, rows, self.out / 'a.png', 'loss', reference={'best': 0.1}
    )[0]
    curve = axes.lines[1]
    self.assertEqual(curve.get_label(), 'median')
    np.testing.assert_array_equal(curve.get_xdata(), [0, 5, 10])
    values = np.array(
      [[r['loss'] for r in rows if r['step'] == t][3:] for t in (0, 5, 10)]
    )
    mean, sd = values.mean(axis=1), values.std(axis=1, ddof=1)
    np.testing.assert_allclose(curve.get_ydata(), mean)
    band = axes.collections[1].get_paths()[0].vertices
    low, high = np.min(band[:, 1]), np.max(band[:, 1])
    np.testing.assert_allclose(low, (mean - sd).min())
    np.testing.assert_allclose(high, (mean + sd).max())
    self.assertEqual((axes.get_xlabel(), axes.get_ylabel()), ('Round', 'Loss'))

  def test_non_finite_values_are_gaps(self):
    rows = run_rows(seeds=(0,))
    rows[1]['loss'] = float('inf')
    axes = self.axes(
      plots.lines, rows, self.out / 'a.png', 'loss', log_y=True, ylim=(1e-3, 9)
    )[0]
    np.testing.assert_array_equal(
      np.isnan(axes.lines[0].get_ydata()), [False, True, False]
    )

  def test_many_curves_have_their_legend_outside_and_all_differ(self):
    rows = run_rows(rules=[f'rule {n}' for n in range(12)])
    axes = self.axes(plots.lines, rows, self.out / 'a.png', 'loss')[0]
    self.assertIsNone(axes.get_legend())
    self.assertLen(axes.figure.legends[0].get_texts(), 12)
    looks = {(c.get_color(), str(c.get_linestyle())) for c in axes.lines}
    self.assertLen(looks, 12)

  def test_curves_that_coincide_are_broad_to_thin_and_dashed(self):
    rows = [
      dict(step=t, split='test', variant=rule, seed=0, loss=height + t)
      for rule, height in (('a', 1.0), ('far', 9.0), ('b', 1.0), ('c', 1.001))
      for t in range(20)
    ]
    a, far, b, c = self.axes(plots.lines, rows, self.out / 'a.png', 'loss')[
      0
    ].lines
    widths = [line.get_linewidth() for line in (a, b, c)]
    self.assertEqual(widths, sorted(widths, reverse=True))
    self.assertGreater(widths[0], 1.5 * widths[2])
    dashes = [str(line._unscaled_dash_pattern) for line in (a, b, c)]
    self.assertLen(set(dashes), 3)
    self.assertEqual((a.get_linestyle(), far.get_linestyle()), ('-', '-'))
    self.assertLess(far.get_linewidth(), 2)

  def test_rounding_and_zeros_share_a_line_below_everything_else(self):
    rows = [
      dict(step=t, split='test', variant=rule, seed=0, loss=loss)
      for rule, losses in (
        ('real', (3.0, 0.5, 0.02)),
        ('noise', (2e-15, 7e-16, 4e-11)),
        ('zero', (0.0, 0.0, 0.0)),
      )
      for t, loss in enumerate(losses)
    ]
    draw = lambda floor: self.axes(
      plots.lines, rows, self.out / 'a', 'loss', log_y=True, floor=floor
    )[0]
    axes = draw(plots.rounding(2))
    real, noise, zero = (line.get_ydata() for line in axes.lines[:3])
    np.testing.assert_array_equal(real, [3.0, 0.5, 0.02])
    np.testing.assert_allclose(noise, 1e-3)
    np.testing.assert_allclose(zero, 1e-3)
    self.assertIn('rounding: at most 6e-11', [t.get_text() for t in axes.texts])
    ticks = [t.get_text() for t in axes.get_yticklabels()]
    self.assertEqual(ticks[:2], ['0', '0.01'])
    self.assertGreater(axes.get_ylim()[0], 1e-5)
    # (64 * 2^-23)^2: a squared number of size one, in float32.
    self.assertEqual(plots.rounding(2), 2.0**-34)
    axes = draw(0.0)
    np.testing.assert_array_equal(axes.lines[1].get_ydata()[:2], [2e-15, 7e-16])
    np.testing.assert_allclose(axes.lines[2].get_ydata(), 1e-17)
    self.assertIn('exactly zero', [t.get_text() for t in axes.texts])

  def test_whole_numbers_have_whole_ticks(self):
    rows = run_rows(steps=range(4))
    axes = self.axes(plots.lines, rows, self.out / 'a', 'loss')[0]
    self.assertContainsSubset((0, 1, 2, 3), axes.get_xticks().tolist())
    np.testing.assert_array_equal(axes.get_xticks() % 1, 0)

  @parameterized.parameters(
    (0, '0'), (0.5, '0.5'), (3000, '3000'), (20_000, '20,000'),
    (2e-5, r'$\mathdefault{2 \times 10^{-5}}$'),
    (1e-7, r'$\mathdefault{10^{-7}}$'), (1e6, r'$\mathdefault{10^{6}}$'),
  )  # fmt: skip
  def test_tick_texts(self, value, text):
    self.assertEqual(_figures.plain(value), text)

  def test_says_what_there_is(self):
    with self.assertRaisesRegex(ValueError, r"splits are \['test'\].*'loss'"):
      plots.lines(run_rows(), self.out / 'a.png', 'accuracy')
    self.assertFalse(self.out.exists())

  def test_drawing_leaves_global_settings_alone(self):
    before = dict(matplotlib.rcParams)
    plots.lines(run_rows(), self.out / 'a', 'loss')
    self.assertEqual(dict(matplotlib.rcParams), before)
    self.assertTrue((self.out / 'a.png').exists())


class OthersTest(PlotCase):
  @parameterized.parameters((), ('a',), ('a', 'b'))
  def test_functions_of_models_that_diverged_are_left_empty(self, *lost):
    rows = []
    for kind, rule, scale in (
      *(('inputs', '', 1.0), ('targets', '', 2.0)),
      *(('predictions', 'a', 3.0), ('predictions', 'b', 5.0)),
    ):
      scale = np.nan if rule in lost else scale
      rows += [
        dict(
          split='function', step=1, kind=kind, variant=rule, sample=0, line=i
        )
        | {'v_0': scale * i, 'v_1': np.inf if np.isnan(scale) else scale}
        for i in range(2)
      ]
    # Warnings are errors here.
    axes = self.axes(plots.functions, rows, self.out / 'a.png')
    limits = [a.images[0].get_clim() for a in axes if a.images]
    # Predictions share the limits of the target; errors have the second
    # largest, 3 - 2 times 1, or that of the only model that is left.
    most = {(): 1.0, ('a',): 3.0, ('a', 'b'): 1.0}[lost]
    self.assertEqual(limits[1:4], [(0.0, 2.0)] * 3)
    self.assertEqual(limits[4:6], [(-most, most)] * 2)

  def test_names_are_drawn_as_they_are_typed(self):
    text = pytest.importorskip('matplotlib.text')
    if not hasattr(text.Text, 'get_fontfeatures'):
      self.skipTest('this version has no ligatures.')
    axes = self.axes(
      plots.heat_map, np.eye(2), ['flag', 'fit'], range(2), self.out / 'a.png'
    )
    for label in axes[0].get_yticklabels():
      self.assertIn('-liga', label.get_fontfeatures())

  def test_bars_show_the_last_round(self):
    rows = run_rows()
    axes = self.axes(plots.bars, rows, self.out / 'a.png', 'loss')[0]
    heights = [bar.get_height() for bar in axes.patches]
    want = [
      np.mean(
        [r['loss'] for r in rows if r['step'] == 10 and r['variant'] == rule]
      )
      for rule in ('mean', 'median')
    ]
    np.testing.assert_allclose(heights, want)

  def test_grouped_bars_leave_gaps_for_what_is_missing(self):
    rows = [
      r | {'attack': a}
      for r in run_rows(seeds=(0,))
      for a in ('alie', 'ipm')
      if (r['variant'], a) != ('mean', 'ipm')
    ]
    axes = self.axes(
      plots.bars, rows, self.out / 'a.png', 'loss', group='attack'
    )[0]
    heights = [bar.get_height() for bar in axes.patches]
    self.assertEqual(
      [np.isnan(h) for h in heights], [False, True, False, False]
    )

  def test_slopes_of_power_laws(self):
    rows = [
      dict(
        step=9, split='test', variant=rule, seed=s, n=n, error=3.0 * n**power
      )
      for rule, power in (('a', -0.5), ('b', -2.0))
      for s in (0, 1)
      for n in (1, 4, 16)
    ]
    axes = self.axes(plots.log_log, rows, self.out / 'a.png', 'error', x='n')[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    self.assertEqual(labels, ['a (slope -0.50)', 'b (slope -2.00)'])

  def test_heat_maps_hold_the_matrix(self):
    matrix = np.array([[1.0, np.nan, -3.0], [0.5, 2.0, np.inf]])
    axes = self.axes(
      plots.heat_map,
      matrix,
      ['a', 'b'],
      range(3),
      self.out / 'a.png',
      diverging=True,
      label='Value',
    )[0]
    image = axes.images[0]
    np.testing.assert_array_equal(
      np.ma.getmaskarray(image.get_array()), [[0, 1, 0], [0, 0, 1]]
    )
    self.assertEqual(image.get_clim(), (-3.0, 3.0))
    self.assertEqual(
      [text.get_text() for text in axes.texts],
      ['1.00', '-3.00', '0.500', '2.00'],
    )
    with self.assertRaisesRegex(ValueError, r'\(2, 2\), one per label'):
      plots.heat_map(matrix, ['a', 'b'], range(2), self.out / 'a.png')

  @parameterized.parameters(1, 2, 4)
  def test_weights_are_worker_by_round_per_rule(self, num_rules):
    rows = [
      dict(step=t, split='weights', variant=f'r{k}', seed=s)
      | {f'worker_{i}': float(i + t + k + s) for i in range(3)}
      for k in range(num_rules)
      for s in (0, 2)
      for t in (0, 5)
    ]
    axes = self.axes(
      plots.weights_heat_map, rows, self.out / 'a.png', byzantine=(2,)
    )
    for k in range(num_rules):
      np.testing.assert_allclose(
        axes[k].images[0].get_array(),
        np.array([[0, 5], [1, 6], [2, 7]]) + k + 1,
      )
      mark = axes[k].patches[0]
      self.assertAlmostEqual(mark.get_y() + mark.get_height() / 2, 2.0)
    with self.assertRaisesRegex(ValueError, r'byzantine=\[3\]'):
      plots.weights_heat_map(rows, self.out / 'a.png', byzantine=(1, 3))

  def test_weights_of_both_signs_diverge_from_zero_and_adversaries_are_told(
    self,
  ):
    rows = [
      dict(step=t, split='weights', variant=rule, seed=0)
      | {f'worker_{i}': w for i, w in enumerate(weights)}
      for rule, weights in (('a', (0.5, -0.2, 0.3)), ('b', (0.4, 0.6, 0.0)))
      for t in (10, 20)
    ]
    draw = lambda rows: self.axes(
      plots.weights_heat_map, rows, self.out / 'a.png', byzantine=(2,)
    )
    a, b, bar = draw(rows)
    self.assertEqual(a.images[0].get_clim(), (-0.6, 0.6))
    self.assertEqual(bar.get_ylim(), (-0.2, 0.6))
    # Zero is the one pale color, and there is a mark at it.
    self.assertGreater(min(a.images[0].cmap(a.images[0].norm(0.0))), 0.95)
    self.assertIn([0.0, 0.0], [list(line.get_ydata()) for line in bar.lines])
    self.assertIn('red: subtracted', bar.get_ylabel())
    self.assertEqual(a.texts[0].get_text(), 'adversaries: 30% of the weight')
    self.assertEqual(b.texts[0].get_text(), 'adversaries: nothing')
    b, _ = draw(rows[2:])
    self.assertEqual(b.images[0].get_clim(), (0.0, 0.6))

  def test_round_numbers_are_ticks(self):
    rounds = [str(t) for t in range(10, 301, 10)]
    self.assertEqual(
      _figures.spaced(rounds, 6)[1], ['50', '100', '150', '200', '250', '300']
    )

  def test_ticks_are_thinned_at_round_distances(self):
    self.assertEqual(
      _figures.spaced(list('abc'), 3), ([0, 1, 2], ['a', 'b', 'c'])
    )
    for count in (7, 40, 64, 999):
      where, _ = _figures.spaced(range(count), 6)
      self.assertLessEqual(len(where), 6)
      self.assertIn(where[1], (2, 5, 10, 20, 50, 100, 200, 500))


class TopologiesTest(PlotCase):
  def graph(self, rows, columns, around):
    links = np.eye(rows * columns)
    for n in range(rows * columns):
      i, j = divmod(n, columns)
      for down, right in ((0, 1), (1, 0)):
        m = (i + down) % rows * columns + (j + right) % columns
        if around or (i + down < rows and j + right < columns):
          links[n, m] = links[m, n] = 1
    return links[None]

  @parameterized.product(
    shape=[(2, 2), (2, 3), (3, 3), (3, 4), (4, 5)], around=[False, True]
  )
  def test_lattices_are_found(self, shape, around):
    found = _graphs._lattice(self.graph(*shape, around) != 0)
    self.assertEqual(found, shape)

  def test_other_graphs_are_no_lattices(self):
    ring = np.eye(6) + np.roll(np.eye(6), 1, 0) + np.roll(np.eye(6), -1, 0)
    self.assertIsNone(_graphs._lattice(ring[None] != 0))
    torus = self.graph(3, 4, True) != 0
    self.assertIsNone(_graphs._lattice(np.concatenate([torus, torus])))
    torus[0, 0, 5] = True
    self.assertIsNone(_graphs._lattice(torus))

  def test_a_torus_is_a_grid_with_stubs(self):
    (axes,) = self.axes(
      plots.draw_topologies, {'t': self.graph(3, 4, True)}, self.out / 'a.png'
    )
    where = axes.collections[0].get_offsets()
    np.testing.assert_allclose(
      np.diff(where[:4], axis=0), [[2 / 3, 0]] * 3, atol=1e-12
    )
    np.testing.assert_allclose(where[4] - where[0], [0, -2 / 3], atol=1e-12)
    stubs, links = axes.collections[1:3]
    self.assertLen(stubs.get_segments(), 2 * (3 + 4))
    self.assertLen(links.get_segments(), 3 * 3 + 2 * 4)

  def test_colors_and_arrows_are_told_where_there_are_any(self):
    ring = np.roll(np.eye(5), 1, 0)
    two = np.stack([ring, ring + ring.T])
    (axes,) = self.axes(plots.draw_topologies, {'two': two}, self.out / 'a.png')
    texts = [t.get_text() for t in axes.figure.legends[0].get_texts()]
    self.assertEqual(
      texts, ['round 1, or every round', 'round 2', 'one way: sender to reader']
    )
    (axes,) = self.axes(
      plots.draw_topologies, {'one': two[1:]}, self.out / 'a.png'
    )
    self.assertEmpty(axes.figure.legends)


class CaptionsTest(PlotCase):
  LONG = 'digits: 100 clients, label_dirichlet(alpha=0.1), uniform(sampled=10)'

  def rows(self, split, **values):
    return [
      {'step': 1, 'split': split, 'variant': v, 'seed': 0, **values}
      for v in ('a', 'bd_kd(weights=soft(kappa=0.2, nu=3.0))')
    ]

  def assert_inside(self, axes):
    figure = axes.figure
    figure.draw_without_rendering()
    (left,) = (
      t for t in axes.findobj(text.Text) if t.get_text().startswith('digits:')
    )
    box = left.get_window_extent()
    self.assertLessEqual(box.x1, figure.bbox.x1)

  def test_captions_stay_in_the_picture(self):
    bins = self.rows(
      'reliability', bin=0, confidence=0.5, accuracy=0.4, share=1.0
    )
    axes, *_ = self.axes(
      plots.reliability, bins, self.out / 'a.png', title=self.LONG
    )
    self.assert_inside(axes)
    line = self.rows('test', accuracy=0.5)
    axes, *_ = self.axes(
      plots.lines, line, self.out / 'b.png', 'accuracy', title=self.LONG
    )
    self.assert_inside(axes)

  def test_counts_are_whole(self):
    rows = [r | {'layer': '0'} for r in self.rows('layers', kept=4096)]
    axes, *_ = self.axes(
      plots.bars,
      rows,
      self.out / 'a.png',
      'kept',
      split='layers',
      group='layer',
    )
    self.assertEqual([t.get_text() for t in axes.texts], ['4096', '4096'])


if __name__ == '__main__':
  absltest.main()
