# SPDX-License-Identifier: Apache-2.0
"""Scenes are what they say."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.perception import detection

SCENES = detection.Scenes(image_size=24, min_objects=0)


def drawn(seed=0, size=300, **options):
  batch = jax.jit(
    lambda key: detection.draw_scenes(key, SCENES, size, **options)
  )(jax.random.key(seed))
  return {k: np.asarray(v) for k, v in batch.items()}


def kinds(batch):
  """Categories of all objects."""
  found = np.take_along_axis(batch['categories'], batch['labels'], axis=1)
  return found[batch['present']]


class ScenesTest(parameterized.TestCase):
  def test_objects_lie_inside_and_apart(self):
    batch = drawn()
    corners = np.asarray(detection.to_corners(batch['boxes']))
    self.assertBetween(corners[batch['present']].min(), -1e-6, 1)
    self.assertBetween(corners[batch['present']].max(), 0, 1 + 1e-6)
    iou = np.asarray(detection.pairwise_iou(corners, corners))
    both = batch['present'][:, :, None] & batch['present'][:, None]
    both &= ~np.eye(SCENES.max_objects, dtype=bool)
    self.assertEqual(np.where(both, iou, 0).max(), 0.0)
    counts = batch['present'].sum(axis=1)
    self.assertEqual((counts.min(), counts.max()), (0, SCENES.max_objects))

  def test_colors_are_where_the_boxes_are(self):
    batch = drawn()
    i, m = np.argwhere(batch['present'])[5]
    category = batch['categories'][i, batch['labels'][i, m]]
    color = SCENES.names[category].split()[0]
    x, y = (batch['boxes'][i, m, :2] * SCENES.image_size).astype(int)
    from jaxdl.perception.detection import _scenes

    np.testing.assert_allclose(
      batch['inputs'][i, y, x], _scenes.COLORS[color], atol=0.45
    )

  def test_novel_pairs_are_seen_in_tests_alone(self):
    train, test = drawn(), drawn(testing=True)
    novel = np.flatnonzero(SCENES.novel)
    self.assertLen(novel, 6)
    self.assertFalse(np.isin(train['categories'], novel).any())
    self.assertTrue(np.isin(novel, kinds(test)).all())
    # All words are learned.
    words = np.unique(SCENES.phrases[~SCENES.novel])
    self.assertLen(words, len(SCENES.vocabulary) - 1)

  def test_frequencies_follow_the_law(self):
    found = np.bincount(kinds(drawn(size=4000)), minlength=24)
    found = found / found.sum()
    np.testing.assert_allclose(found, SCENES.frequencies, atol=0.02)
    order = np.sort(SCENES.frequencies)[::-1][:18]
    np.testing.assert_allclose(order * np.arange(1, 19), order[0], rtol=1e-5)
    groups = SCENES.groups
    self.assertEqual([g.sum() for g in groups.values()], [18, 6, 6])
    rest = groups['base'] & ~groups['rare']
    self.assertLess(
      SCENES.frequencies[groups['rare']].max(), SCENES.frequencies[rest].min()
    )

  def test_prompts_hold_what_is_there_and_more(self):
    batch = drawn()
    for prompt, words in zip(
      batch['categories'], batch['phrases'], strict=True
    ):
      real = prompt >= 0
      # Padding comes last, nothing twice.
      self.assertTrue((np.diff(real.astype(int)) <= 0).all())
      self.assertLen(set(prompt[real]), real.sum())
      np.testing.assert_array_equal(words[real], SCENES.phrases[prompt[real]])
      self.assertEqual(words[~real].sum(), 0)
    self.assertTrue((kinds(batch) >= 0).all())
    absent = (batch['categories'] >= 0).sum(1) > batch['present'].sum(1)
    self.assertBetween(absent.mean(), 0.5, 1.0)

  def test_is_a_function_of_the_key(self):
    for a, b in zip(drawn(4).values(), drawn(4).values(), strict=True):
      np.testing.assert_array_equal(a, b)
    self.assertGreater(np.abs(drawn(4)['inputs'] - drawn(5)['inputs']).max(), 0)

  @parameterized.parameters(
    ({'num_novel': 13}, 'num_novel must be at most 12; got 13'),
    ({'max_objects': 9}, 'num_phrases=8 has no room for max_objects=9'),
    ({'min_objects': 5}, 'min_objects must be at most 4'),
    ({'num_novel': 12, 'num_phrases': 13}, 'exceeds the 12 base pairs'),
    ({'zipf': -1.0}, 'zipf must lie in'),
    ({'image_size': 4}, 'image_size must be at least 8'),
  )
  def test_impossible_scenes_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      detection.Scenes(**options)


if __name__ == '__main__':
  absltest.main()
