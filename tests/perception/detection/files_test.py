# SPDX-License-Identifier: Apache-2.0
"""Files of the COCO format: what is read, and what is refused."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from jaxdl.perception import detection

CONTENT = {
  'images': [
    {'id': 7, 'file_name': 'a.png', 'width': 8, 'height': 4},
    {'id': 3, 'file_name': 'sub/b.png', 'width': 6, 'height': 6},
  ],
  'categories': [
    {'id': 10, 'name': 'traffic light'},
    {'id': 2, 'name': 'dog'},
    {'id': 90, 'name': 'kite'},
  ],
  'annotations': [
    {'id': 1, 'image_id': 7, 'category_id': 10, 'bbox': [2, 1, 4, 2]},
    # Hangs out of its image.
    {'id': 2, 'image_id': 7, 'category_id': 2, 'bbox': [6, -1, 4, 3]},
    {
      'id': 3, 'image_id': 3, 'category_id': 2, 'bbox': [0, 0, 6, 6],
      'iscrowd': 1, 'area': 9,
    },
  ],
}  # fmt: skip


def changed(name, place, /, **changes):
  """The content with an entry changed; None takes a key away."""
  content = json.loads(json.dumps(CONTENT))
  entry = content[name][place] | changes
  content[name][place] = {k: v for k, v in entry.items() if v is not None}
  return content


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enter_context(tempfile.TemporaryDirectory())
    self.folder = pathlib.Path(folder)
    (self.folder / 'sub').mkdir()
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = [255, 0, 0]
    Image.fromarray(pixels).save(self.folder / 'a.png')
    Image.new('L', (6, 6), 51).save(self.folder / 'sub' / 'b.png')

  def load(self, content=CONTENT, **options):
    path = self.folder / 'annotations.json'
    path.write_text(
      content if isinstance(content, str) else json.dumps(content)
    )
    return detection.load_coco(path, self.folder, **options)

  def read(self, files, places=(0, 1), **options):
    options = {
      'image_size': 4,
      'vocabulary': detection.make_vocabulary(files.names),
      'max_objects': 2,
    } | options
    return detection.read_pictures(files, places, **options)

  def test_what_is_there_is_read(self):
    files = self.load()
    self.assertEqual(files.names, ('dog', 'traffic light', 'kite'))
    first, second = files.pictures
    self.assertEqual(first.boxes.tolist(), [[2, 1, 4, 2], [6, 0, 2, 2]])
    self.assertEqual(first.categories.tolist(), [1, 0])
    self.assertEqual(first.areas.tolist(), [8.0, 4.0])
    self.assertEqual(
      (second.crowd.tolist(), second.areas.tolist()), ([True], [9.0])
    )
    self.assertEqual(files.counts.tolist(), [1, 1, 0])
    self.assertEqual(files.max_objects, 2)
    truth = files.truth([1, 0])
    self.assertEqual(truth.images.tolist(), [0, 1, 1])
    self.assertEqual(truth.crowd.tolist(), [True, False, False])

  def test_batches_are_those_of_scenes(self):
    batch = self.read(self.load())
    self.assertEqual(batch['inputs'].shape, (2, 4, 4, 3))
    np.testing.assert_allclose(batch['inputs'][1], 0.2, atol=1e-6)
    self.assertEqual(batch['inputs'][0, 0, 0].tolist(), [1.0, 0.0, 0.0])
    self.assertEqual(batch['inputs'][0, 0, 3].tolist(), [0.0, 0.0, 0.0])
    np.testing.assert_allclose(
      batch['boxes'][0], [[0.5, 0.5, 0.5, 0.5], [0.875, 0.25, 0.25, 0.5]]
    )
    self.assertEqual(batch['labels'][0].tolist(), [1, 0])
    # Crowds are no objects.
    self.assertEqual(batch['present'].tolist(), [[True] * 2, [False] * 2])
    self.assertEqual(batch['categories'].tolist(), [[0, 1, 2]] * 2)
    self.assertEqual((batch['phrases'] > 0).sum(-1).tolist(), [[1, 2, 1]] * 2)

  def test_prompts_hold_what_is_there(self):
    files = self.load()
    seen = set()
    for seed in range(6):
      rng = np.random.default_rng(seed)
      batch = self.read(files, num_phrases=2, rng=rng)
      self.assertEqual(batch['phrases'].shape, (2, 2, 2))
      prompt = batch['categories'][0]
      self.assertCountEqual(prompt, [0, 1])
      self.assertEqual(prompt[batch['labels'][0]].tolist(), [1, 0])
      seen.add(tuple(batch['categories'][1]))
    self.assertGreater(len(seen), 1)

  @parameterized.parameters(
    ('{"images": [', 'expected JSON'),
    ('[]', "expected a list 'images'"),
    (changed('images', 0, width=None), "entry 0 of 'images' has no width"),
    (changed('images', 1, id=7), "id 7 stands twice in 'images'"),
    (changed('categories', 0, id=2), "id 2 stands twice in 'categories'"),
    (changed('images', 0, height=0), 'image 7 has height=0: expected a posit'),
    (changed('images', 0, width=10**9), 'image 7 has 1000000000 x 4 pixels'),
    (
      changed('annotations', 1, category_id=5),
      'annotation 2 has category_id=5, which is unknown: the file lists 2, 10',
    ),
    (
      changed('annotations', 0, image_id=4),
      'annotation 1 has image_id=4, which is unknown',
    ),
    (
      changed('annotations', 0, bbox=[1, 1, 0, 2]),
      r'annotation 1 has the degenerate box \[1, 1, 0, 2\]',
    ),
    (
      changed('annotations', 0, bbox=[9, 1, 2, 2]),
      'annotation 1 has the degenerate box',
    ),
    (
      changed('annotations', 0, bbox=[1, 1, 2]),
      r'annotation 1 has bbox=\[1, 1, 2\]: expected four numbers',
    ),
    (
      changed('images', 0, file_name='../a.png'),
      "file_name='../a.png': expected a name inside of the folder",
    ),
    (changed('images', 0, file_name='a' * 300), 'a name inside of the folder'),
    (changed('images', 0, file_name='a\0.png'), 'a name inside of the folder'),
    (changed('images', 0, file_name=['a.png']), 'a name inside of the folder'),
    (changed('categories', 1, name=' . '), "category 2 has name=' . ': expec"),
    (changed('annotations', 1, id=1), "id 1 stands twice in 'annotations'"),
    (
      changed('annotations', 0, bbox=[10**400, 1, 2, 2]),
      r'annotation 1 has bbox=\[10+ \.\.\.: expected four numbers',
    ),
    (changed('annotations', 0, area='9'), "has area='9': expected a number"),
    (changed('annotations', 0, area=10**400), 'has area=10* ...: expected a n'),
    (changed('annotations', 0, area=-1), 'has area=-1: expected a number'),
    (changed('annotations', 0, iscrowd='0'), "has iscrowd='0': expected 0 or"),
    (changed('annotations', 0, iscrowd=2), 'has iscrowd=2: expected 0 or 1'),
  )
  def test_broken_annotations_are_refused(self, content, message):
    with self.assertRaisesRegex(ValueError, message) as caught:
      self.load(content)
    self.assertStartsWith(str(caught.exception), str(self.folder))

  def test_messages_stay_short(self):
    content = changed('annotations', 1, id='x' * 9999, category_id='y' * 9999)
    with self.assertRaisesRegex(ValueError, "annotation 'x.* ... has cat") as e:
      self.load(content)
    self.assertLess(len(str(e.exception)), 500)

  def test_degenerate_boxes_may_be_dropped(self):
    content = changed('annotations', 0, bbox=[1, 1, 0, 2])
    files = self.load(content, degenerate='drop')
    self.assertLen(files.pictures[0].boxes, 1)
    with self.assertRaisesRegex(ValueError, "degenerate='keep' is unknown"):
      self.load(degenerate='keep')

  def test_missing_files_are_named(self):
    with self.assertRaisesRegex(FileNotFoundError, 'c.png: expected a file'):
      self.load(changed('images', 0, file_name='c.png'))
    with self.assertRaisesRegex(FileNotFoundError, 'none.json: expected a'):
      detection.load_coco(self.folder / 'none.json', self.folder)
    with self.assertRaisesRegex(FileNotFoundError, 'folder of images'):
      detection.load_coco(
        self.folder / 'annotations.json', self.folder / 'none'
      )

  def test_images_that_do_not_fit_are_named(self):
    files = self.load()
    with self.assertRaisesRegex(ValueError, r'a.png has 2 objects, more than'):
      self.read(files, max_objects=1)
    with self.assertRaisesRegex(ValueError, 'has 2 categories, more than the'):
      self.read(files, num_phrases=1, rng=np.random.default_rng(0))
    (self.folder / 'a.png').write_bytes(b'no image')
    with self.assertRaisesRegex(ValueError, r'a.png: no usable image'):
      self.read(files)
    Image.new('RGB', (9, 4)).save(self.folder / 'a.png')
    with self.assertRaisesRegex(ValueError, '9 x 4 pixels where the annotat'):
      self.read(files)
    # 16 bits a pixel would all be white.
    Image.new('I;16', (8, 4), 30_000).save(self.folder / 'a.png')
    with self.assertRaisesRegex(ValueError, 'pixels of mode I;16, expected 8'):
      self.read(files)


if __name__ == '__main__':
  absltest.main()
