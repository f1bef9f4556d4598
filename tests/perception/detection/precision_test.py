# SPDX-License-Identifier: Apache-2.0
"""Average precision is that of pycocotools."""

import contextlib
import io

import numpy as np
from absl.testing import absltest, parameterized
from pycocotools import coco, cocoeval

from jaxdl.perception import detection

NAMES = (
  *('ap', 'ap50', 'ap75', 'ap_small', 'ap_medium', 'ap_large'),
  *('recall_1', 'recall_10', 'recall_100'),
)


def peer(found, truth, num_categories):
  """The first nine numbers of COCOeval, and its precision array."""
  images = sorted({*truth.images, *found.images})
  with contextlib.redirect_stdout(io.StringIO()):
    gold = coco.COCO()
    gold.dataset = {
      'images': [{'id': int(i)} for i in images],
      'categories': [{'id': c} for c in range(num_categories)],
      'annotations': [
        {
          'id': n + 1,
          'image_id': int(truth.images[n]),
          'category_id': int(truth.categories[n]),
          'bbox': [float(x) for x in truth.boxes[n]],
          'area': float(truth.areas[n]),
          'iscrowd': int(truth.crowd[n]),
        }
        for n in range(len(truth.images))
      ],
    }
    gold.createIndex()
    said = gold.loadRes([
      {
        'image_id': int(found.images[n]),
        'category_id': int(found.categories[n]),
        'bbox': [float(x) for x in found.boxes[n]],
        'score': float(found.scores[n]),
      }
      for n in range(len(found.images))
    ])  # fmt: skip
    run = cocoeval.COCOeval(gold, said, 'bbox')
    run.evaluate()
    run.accumulate()
    run.summarize()
  return run.stats[:9], run.eval['precision']


def drawn(seed, *, num_true, num_found, num_images, num_categories, crowds=0.0):
  """Boxes around true ones, some wrong, with equal scores among them."""
  rng = np.random.default_rng(seed)
  sides = np.exp(rng.uniform(np.log(8), np.log(200), (num_true, 2)))
  boxes = np.concatenate([rng.uniform(0, 300, (num_true, 2)), sides], axis=1)
  truth = detection.Truth(
    rng.integers(0, num_images, num_true) * 3 + 1,
    rng.integers(0, num_categories, num_true),
    boxes,
    rng.random(num_true) < crowds,
    boxes[:, 2] * boxes[:, 3] * rng.uniform(0.5, 1.0, num_true),
  )
  near = rng.integers(0, num_true, num_found)
  moved = boxes[near] * np.exp(rng.normal(0, 0.15, (num_found, 4)))
  away = rng.random(num_found) < 0.2
  found = detection.Found(
    np.where(away, rng.integers(0, num_images, num_found) * 3 + 1,
             truth.images[near]),
    np.where(away, rng.integers(0, num_categories, num_found),
             truth.categories[near]),
    moved,
    np.round(rng.random(num_found), 2),
  )  # fmt: skip
  return found, truth


class PrecisionTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, {'num_true': 60, 'num_found': 200, 'num_images': 8}, 4, 0.0),
    (1, {'num_true': 90, 'num_found': 400, 'num_images': 5}, 3, 0.2),
    (2, {'num_true': 5, 'num_found': 300, 'num_images': 2}, 6, 0.0),
    (3, {'num_true': 300, 'num_found': 40, 'num_images': 2}, 2, 0.5),
    # More than a hundred boxes of an image and a category.
    (4, {'num_true': 12, 'num_found': 500, 'num_images': 1}, 1, 0.1),
  )
  def test_equals_pycocotools(self, seed, sizes, num_categories, crowds):
    found, truth = drawn(
      seed, num_categories=num_categories, crowds=crowds, **sizes
    )
    got = detection.average_precision(
      found, truth, num_categories=num_categories
    )
    want, precision = peer(found, truth, num_categories)
    for name, value in zip(NAMES, want, strict=True):
      mine = got.values[name]
      mine = -1.0 if np.isnan(mine) else mine
      self.assertAlmostEqual(mine, value, delta=1e-9, msg=name)
    # [T, R, K, A, M]: by category, over all areas with 100 boxes.
    theirs = precision[:, :, :, 0, -1]
    theirs = np.where(theirs < 0, np.nan, theirs)
    np.testing.assert_allclose(
      got.by_category, theirs.mean(axis=(0, 1)), atol=1e-9
    )
    np.testing.assert_allclose(
      got.by_category_50, theirs[0].mean(axis=0), atol=1e-9
    )
    np.testing.assert_allclose(got.curves, theirs[0].T, atol=1e-9)
    self.assertBetween(got.values['ap50'], 0.001, 0.99)

  def test_perfect_boxes_score_one(self):
    _, truth = drawn(
      5, num_true=20, num_found=1, num_images=4, num_categories=2
    )
    found = detection.Found(
      truth.images, truth.categories, truth.boxes, np.linspace(0.1, 1, 20)
    )
    got = detection.average_precision(found, truth, num_categories=3)
    self.assertAlmostEqual(got.values['ap'], 1.0, places=12)
    self.assertTrue(np.isnan(got.by_category[2]))

  def test_nothing_found_scores_zero_and_nothing_there_is_no_number(self):
    nothing = detection.Found([], [], np.zeros((0, 4)), [])
    truth = detection.Truth([0], [0], [[0, 0, 4, 4]])
    got = detection.average_precision(nothing, truth, num_categories=2)
    self.assertEqual(got.values['ap'], 0.0)
    self.assertEqual(got.values['recall_100'], 0.0)
    empty = detection.Truth([], [], np.zeros((0, 4)))
    found = detection.Found([0], [0], [[0, 0, 4, 4]], [0.5])
    got = detection.average_precision(found, empty, num_categories=2)
    self.assertTrue(np.isnan(got.values['ap']))

  def test_groups_are_means_over_categories(self):
    found, truth = drawn(
      6, num_true=60, num_found=200, num_images=8, num_categories=4
    )
    got = detection.average_precision(found, truth, num_categories=4)
    groups = {'base': [True, True, False, False], 'novel': [False] * 4}
    means = detection.group_precision(got, groups)
    self.assertAlmostEqual(means['ap50_base'], got.by_category_50[:2].mean())
    self.assertTrue(np.isnan(means['ap_novel']))
    with self.assertRaisesRegex(ValueError, r"groups\['a'\] .* \(4,\); got"):
      detection.group_precision(got, {'a': [True]})

  @parameterized.parameters(
    ({'boxes': [[0, 0, 0, 4]]}, r'truth.boxes must be finite, w and h pos'),
    ({'boxes': [[0, 0, np.nan, 4]]}, r'truth.boxes must be finite'),
    ({'boxes': [[0, 0, 4]]}, r'truth.boxes must be f\[n, 4\]; got shape'),
    ({'categories': [2]}, r'truth.categories must lie in \[0, 2\); got 2'),
    ({'images': [0, 1]}, r'truth.images must have one entry per box'),
    ({'images': [0.5]}, r'truth.images must be whole numbers'),
    ({'images': [np.nan]}, r'truth.images must be whole numbers'),
    ({'categories': [0.7]}, r'truth.categories must be whole numbers'),
    ({'areas': [np.nan]}, r'truth.areas must be finite and at least 0'),
    ({'areas': [-1.0]}, r'truth.areas must be finite and at least 0'),
  )
  def test_broken_truth_is_refused(self, changes, message):
    truth = detection.Truth([0], [0], [[0, 0, 4, 4]])._replace(**changes)
    found = detection.Found([0], [0], [[0, 0, 4, 4]], [0.5])
    with self.assertRaisesRegex(ValueError, message):
      detection.average_precision(found, truth, num_categories=2)


if __name__ == '__main__':
  absltest.main()
