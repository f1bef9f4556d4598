# SPDX-License-Identifier: Apache-2.0
"""Pictures of episodes and of matrices over time."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import plots
from jaxdl.plots import _figures


def _frames(steps=(1, 2), times=9):
  return [
    {
      'step': step,
      'split': 'frames',
      'variant': name,
      'seed': 0,
      'time': t,
      'body': body,
      'index': i,
      'x': float(t + i),
      'y': float(step),
    }
    for step in steps
    for name in ('a', 'b')
    for t in range(times)
    for body in ('agents', 'prey')
    for i in range(2)
  ]


def _links(steps=(0, 1, 2)):
  return [
    {
      'step': step,
      'split': 'graph',
      'variant': 'a',
      'seed': seed,
      'receiver': i,
      'sender': j,
      'link': float(i + 3 * j + step + 100 * seed),
    }
    for step in steps
    for seed in (0, 1)
    for i in range(2)
    for j in range(3)
  ]


def _title(axes):
  return ''.join(axes.get_title(loc) for loc in ('left', 'center', 'right'))


class EpisodesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.seen = []
    save = _figures.save
    _figures.save = lambda fig, path: self.seen.append(fig) or save(fig, path)
    self.addCleanup(setattr, _figures, 'save', save)
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def test_a_strip_has_the_first_and_the_last_moment(self):
    path = plots.frames(_frames(), self.folder / 'a.png', variant='b')
    self.assertGreater(path.stat().st_size, 0)
    panels = [a for a in self.seen[0].axes if a.lines]
    self.assertLen(panels, 6)
    titles = [_title(panels[i]) for i in (0, -1)]
    self.assertEqual(titles, ['step 0', 'step 8'])
    agents = panels[-1].lines[0]
    np.testing.assert_array_equal(agents.get_xdata(), [8.0, 9.0])
    # Of the last round.
    np.testing.assert_array_equal(agents.get_ydata(), [2.0, 2.0])

  def test_a_moving_picture(self):
    path = plots.animation(_frames(times=3), self.folder / 'a.gif')
    self.assertEqual(path.read_bytes()[:4], b'GIF8')

  def test_matrices_over_time(self):
    plots.matrices(_links(), self.folder / 'g.png', 'link', split='graph')
    panels = [a for a in self.seen[0].axes if a.images]
    self.assertLen(panels, 3)
    want = np.array([[i + 3 * j + 2 for j in range(3)] for i in range(2)])
    np.testing.assert_array_equal(panels[-1].images[0].get_array(), want)

  def test_says_what_is_missing(self):
    with self.assertRaisesRegex(ValueError, "variant='c'"):
      plots.frames(_frames(), self.folder / 'a.png', variant='c')
    with self.assertRaisesRegex(ValueError, 'frames'):
      plots.frames([], self.folder / 'a.png')


if __name__ == '__main__':
  absltest.main()
