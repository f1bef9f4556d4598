# SPDX-License-Identifier: Apache-2.0
"""The picture of the loss between models."""

import pathlib
import tempfile
import warnings

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import plots
from jaxdl.decentralized.merging import polygon_grid
from jaxdl.plots import _figures


def _rows(loss, rules=('gossip',), steps=(1, 2)):
  points = polygon_grid(5, 6)
  return [
    {
      'step': step,
      'split': 'landscape',
      'variant': rule,
      'seed': 0,
      'x': float(x),
      'y': float(y),
      'corner': k if k < 5 else -1,
      'loss': float(loss(x, y) * step),
    }
    for rule in rules
    for step in steps
    for k, (x, y) in enumerate(points)
  ]


class PolygonTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.seen = []
    save = _figures.save
    _figures.save = lambda fig, path: self.seen.append(fig) or save(fig, path)
    self.addCleanup(setattr, _figures, 'save', save)
    self.path = pathlib.Path(tempfile.mkdtemp()) / 'polygon.png'
    catcher = warnings.catch_warnings()
    catcher.__enter__()
    self.addCleanup(catcher.__exit__, None, None, None)
    warnings.simplefilter('error')

  @parameterized.parameters(
    (lambda x, y: 2 + x, 'linear'),
    (lambda x, y: np.exp(5 * x), 'log'),
    (lambda x, y: 2.0, 'linear'),
    (lambda x, y: x if x else np.nan, 'linear'),
  )
  def test_colors_span_the_last_step(self, loss, scale):
    path = plots.polygon(_rows(loss), self.path, 'loss')
    self.assertGreater(path.stat().st_size, 5000)
    axes, bar = self.seen[0].axes
    self.assertEqual(axes.get_title(loc='left'), 'gossip')
    last = np.array([r['loss'] for r in _rows(loss) if r['step'] == 2])
    drawn = axes.collections[0]
    self.assertEqual(type(drawn.norm).__name__ == 'LogNorm', scale == 'log')
    np.testing.assert_allclose(drawn.norm.vmin, np.nanmin(last))
    if np.ptp(last[np.isfinite(last)]):
      np.testing.assert_allclose(drawn.norm.vmax, np.nanmax(last))
    labels = [text.get_text() for text in axes.texts]
    self.assertEqual(labels, list('01234'))
    self.assertEqual(bar.get_ylabel(), 'Loss')
    texts = [t.get_text() for t in self.seen[0].legends[0].get_texts()]
    self.assertEqual(texts, ['model, with its number', 'average of all'])

  def test_ticks_of_the_colors_are_round(self):
    plots.polygon(_rows(lambda x, y: 2.3 + x), self.path, 'loss')
    bar = self.seen[0].axes[1]
    # The last step has twice the loss: 2 (2.3 - cos 36 degrees) = 2.98 to 6.6.
    self.assertEqual(
      [t.get_text() for t in bar.get_yticklabels()], ['3', '4', '5', '6']
    )

  def test_one_panel_per_label_and_a_clear_error(self):
    rows = _rows(lambda x, y: 1 + x, rules=('a', 'b', 'c', 'd'))
    plots.polygon(rows, self.path, 'loss')
    titles = [a.get_title(loc='left') for a in self.seen[0].axes]
    self.assertContainsSubset(('a', 'b', 'c', 'd'), titles)
    with self.assertRaisesRegex(ValueError, "split='landscape' and accuracy"):
      plots.polygon(rows, self.path, 'accuracy')


if __name__ == '__main__':
  absltest.main()
