# SPDX-License-Identifier: Apache-2.0
"""Images with boxes, and channels that are asked for."""

import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest

from jaxdl import plots
from jaxdl.plots import _heat_maps

ROW = {
  'split': 'boxes', 'step': 3, 'variant': 'a', 'seed': 0, 'image': 0,
  'kind': 'true', 'phrase': 'red circle', 'score': 1.0,
  'x': 0.1, 'y': 0.2, 'width': 0.3, 'height': 0.4,
}  # fmt: skip


class BoxesTest(absltest.TestCase):
  def test_a_lane_for_each_variant(self):
    rows = [ROW, ROW | {'kind': 'found', 'score': 0.7, 'image': 1}]
    rows += [row | {'variant': 'b'} for row in rows]
    images = np.zeros((2, 8, 8, 3))
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'boxes'
      sizes = []
      for chosen in (rows[:2], rows):
        drawn = plots.boxes(chosen, images, path, title='Boxes')
        self.assertEqual(drawn.suffix, '.png')
        head = drawn.read_bytes()[16:24]
        sizes.append([int.from_bytes(head[i : i + 4], 'big') for i in (0, 4)])
    self.assertEqual(sizes[0][0], sizes[1][0])
    self.assertGreater(sizes[1][1], 1.5 * sizes[0][1])

  def test_no_rows_are_refused(self):
    with self.assertRaisesRegex(ValueError, "no row has split='boxes'"):
      plots.boxes([ROW | {'split': 'test'}], np.zeros((1, 8, 8, 3)), 'x.png')


class MasksTest(absltest.TestCase):
  def test_a_picture_for_each_variant(self):
    row = {'split': 'mask', 'channel': 0, 'frame': 1, 'asked': 0.5}
    rows = [row | {'variant': v} for v in ('a', 'b')]
    rows += [row | {'variant': 'b', 'channel': 2}, {'split': 'test'}]
    with (
      tempfile.TemporaryDirectory() as folder,
      mock.patch.object(
        _heat_maps, 'heat_map', wraps=_heat_maps.heat_map
      ) as draw,
    ):
      paths = plots.masks(rows, folder)
      self.assertEqual([p.name for p in paths], ['mask_0.png', 'mask_1.png'])
      self.assertTrue(all(p.read_bytes()[1:4] == b'PNG' for p in paths))
      first, second = (call.args[0].tolist() for call in draw.call_args_list)
    self.assertEqual(first, [[0, 0.5]])
    self.assertEqual(second, [[0, 0.5], [0, 0], [0, 0.5]])
    self.assertEqual(plots.masks(rows[-1:], 'nowhere'), [])


if __name__ == '__main__':
  absltest.main()
