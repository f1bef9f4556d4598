# SPDX-License-Identifier: Apache-2.0
"""Boxes, matching, losses and words."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from scipy import optimize

from jaxdl.perception import detection

WEIGHTS = (2.0, 5.0, 2.0)


def overlap(a, b):
  """IoU and GIoU of two boxes by hand, float64 corners."""
  sides = [min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1)]
  common = max(sides[0], 0) * max(sides[1], 0)
  area = lambda x: (x[2] - x[0]) * (x[3] - x[1])
  union = area(a) + area(b) - common
  hull = area([*np.minimum(a[:2], b[:2]), *np.maximum(a[2:], b[2:])])
  return common / union, common / union - (hull - union) / hull


class BoxesTest(parameterized.TestCase):
  def test_worked_examples(self):
    a = jnp.array([0.0, 0.0, 2.0, 2.0])
    self.assertAlmostEqual(
      float(detection.giou(a, a + 1)), 1 / 7 - 2 / 9, places=6
    )
    self.assertAlmostEqual(float(detection.giou(a, a)), 1.0, places=6)
    self.assertLess(float(detection.giou(a, a + 1e4)), -0.999)

  @parameterized.parameters('float32', 'bfloat16', 'float64')
  def test_pairs_are_those_of_numpy(self, dtype):
    rng = np.random.default_rng(0)
    low = rng.random((2, 5, 2))
    boxes = np.concatenate([low, low + rng.random((2, 5, 2)) + 0.1], axis=-1)
    with jax.enable_x64(dtype == 'float64'):
      first, second = (jnp.asarray(x, dtype) for x in boxes)
      got = detection.pairwise_iou(first, second)
      general = detection.pairwise_giou(first, second)
      self.assertEqual(got.dtype, dtype)
      self.assertEqual(general.dtype, dtype)
      kept = [np.asarray(x, np.float64) for x in (first, second)]
    want = np.array([[overlap(a, b) for b in kept[1]] for a in kept[0]])
    atol = {'float32': 1e-6, 'bfloat16': 0.01, 'float64': 1e-14}[dtype]
    np.testing.assert_allclose(np.float64(got), want[..., 0], atol=atol)
    np.testing.assert_allclose(np.float64(general), want[..., 1], atol=atol)

  def test_whole_numbers_have_overlaps_that_are_none(self):
    a, b = np.array([[0, 0, 2, 2]]), np.array([[1, 1, 3, 3]])
    for kind in (jnp.int32, jnp.uint8):
      pair = jnp.asarray(a, kind), jnp.asarray(b, kind)
      found = detection.pairwise_iou(*pair)
      np.testing.assert_allclose(found, [[1 / 7]], rtol=1e-6)
      found = detection.pairwise_giou(*pair)
      np.testing.assert_allclose(found, [[1 / 7 - 2 / 9]], rtol=1e-6)
      found = detection.giou(*pair)
      np.testing.assert_allclose(found, [1 / 7 - 2 / 9], rtol=1e-6)

  def test_pairs_need_rows(self):
    box = jnp.array([0.0, 0.0, 1.0, 1.0])
    with self.assertRaisesRegex(ValueError, r'first must .* \[\.\.\., N, 4\]'):
      detection.pairwise_iou(box, box[None])

  def test_forms_are_inverse(self):
    boxes = jax.random.uniform(jax.random.key(0), (3, 4))
    back = detection.to_centers(detection.to_corners(boxes))
    np.testing.assert_allclose(back, boxes, atol=1e-6)
    with self.assertRaisesRegex(ValueError, r'boxes must have four numbers'):
      detection.to_corners(boxes[:, :3])

  def test_empty_boxes_have_finite_slopes(self):
    flat = jnp.array([0.5, 0.5, 0.5, 0.5])
    slope = jax.grad(detection.giou)(flat, flat)
    self.assertTrue(np.isfinite(slope).all())
    pairs = detection.pairwise_iou(flat[None], flat[None])
    self.assertEqual(pairs.tolist(), [[0.0]])


class MatchingTest(parameterized.TestCase):
  def test_is_the_assignment_of_scipy(self):
    rng = np.random.default_rng(1)
    run = jax.jit(jax.vmap(detection.match))
    for queries, objects in ((9, 4), (4, 4), (3, 6)):
      costs = rng.normal(size=(20, queries, objects)).astype(np.float32)
      present = rng.random((20, objects)) < 0.7
      got = np.asarray(run(costs, present))
      for one, there, mine in zip(costs, present, got, strict=True):
        rows, columns = optimize.linear_sum_assignment(one[:, there])
        want = one[:, there][rows, columns].sum()
        chosen = np.flatnonzero(mine >= 0)
        self.assertFalse(np.isin(chosen, np.flatnonzero(~there)).any())
        self.assertLen(set(mine[chosen]), len(chosen))
        self.assertLen(chosen, min(queries, there.sum()))
        self.assertAlmostEqual(one[mine[chosen], chosen].sum(), want, places=4)

  def test_padding_changes_nothing(self):
    costs = jax.random.normal(jax.random.key(2), (6, 3))
    padded = jnp.pad(costs, ((0, 0), (0, 2)), constant_values=-50.0)
    there = jnp.arange(5) < 3
    got = detection.match(padded, there)
    self.assertEqual(got.tolist(), [*detection.match(costs).tolist(), -1, -1])

  def test_no_object_and_no_number(self):
    costs = jnp.ones((4, 2))
    none = detection.match(costs, jnp.zeros(2, bool))
    self.assertEqual(none.tolist(), [-1, -1])
    broken = costs.at[:, 0].set(jnp.nan).at[2, 1].set(0.0)
    self.assertEqual(int(detection.match(broken)[1]), 2)
    self.assertEqual(detection.match(jnp.ones((4, 0))).shape, (0,))
    flags = detection.match(
      jnp.array([[5.0, 1.0, 3.0]]), jnp.array([1.0, 0, 1])
    )
    self.assertEqual(flags.tolist(), [-1, -1, 0])

  def test_batches_are_for_vmap(self):
    with self.assertRaisesRegex(ValueError, r'costs must be f\[Q, M\]'):
      detection.match(jnp.ones((2, 4, 3)))
    with self.assertRaisesRegex(ValueError, r'present must have .* \(3,\)'):
      detection.match(jnp.ones((4, 3)), jnp.ones(4, bool))


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def focal(logits, want):
  share = sigmoid(logits)
  right = np.where(want == 1, share, 1 - share)
  alpha = np.where(want == 1, 0.25, 0.75)
  return -alpha * (1 - right) ** 2 * np.log(right)


def reference(boxes, logits, exists, batch):
  """The loss of float64 arrays, by trying all assignments."""
  corners = lambda b: [*(b[:2] - b[2:] / 2), *(b[:2] + b[2:] / 2)]
  sums = np.zeros(3)
  for i in range(len(exists)):
    there = np.flatnonzero(batch['present'][i])
    labels, targets = batch['labels'][i], batch['boxes'][i]
    best = (np.inf, ())
    for chosen in itertools.permutations(range(len(boxes[i])), len(there)):
      cost = 0.0
      for q, m in zip(chosen, there, strict=True):
        x = logits[i, q, labels[m]]
        cost += WEIGHTS[0] * (focal(x, 1) - focal(x, 0))
        cost += WEIGHTS[1] * np.abs(boxes[i, q] - targets[m]).sum()
        own = overlap(corners(boxes[i, q]), corners(targets[m]))[1]
        cost += WEIGHTS[2] * (1 - own)
      best = min(best, (cost, chosen))
    want = np.zeros_like(logits[i])
    for q, m in zip(best[1], there, strict=True):
      want[q, labels[m]] = 1
      sums[1] += np.abs(boxes[i, q] - targets[m]).sum()
      sums[2] += 1 - overlap(corners(boxes[i, q]), corners(targets[m]))[1]
    sums[0] += (focal(logits[i], want) * exists[i]).sum()
  return sums / max(batch['present'].sum(), 1)


class LossTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(3)
    self.boxes = rng.uniform(0.2, 0.8, (2, 3, 5, 4))
    self.logits = rng.normal(size=(2, 3, 5, 4))
    self.exists = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], bool)
    self.batch = {
      'boxes': rng.uniform(0.2, 0.8, (3, 2, 4)),
      'labels': rng.integers(0, 2, (3, 2)),
      'present': np.array([[1, 1], [0, 0], [1, 0]], bool),
    }

  def run_on(self, batch, dtype=jnp.float32):
    found = detection.Detections(
      jnp.asarray(self.boxes, dtype),
      jnp.asarray(self.logits, dtype),
      jnp.asarray(self.exists),
    )
    batch = {k: jnp.asarray(v) for k, v in batch.items()}
    return jax.jit(detection.detection_loss)(found, batch)

  def test_is_that_of_all_assignments(self):
    loss, parts = self.run_on(self.batch)
    want = [
      reference(b, x, self.exists, self.batch)
      for b, x in zip(self.boxes, self.logits, strict=True)
    ]
    np.testing.assert_allclose(
      float(loss), np.dot(np.sum(want, axis=0), WEIGHTS), rtol=1e-5
    )
    for name, value in zip(
      ('class_loss', 'l1_loss', 'giou_loss'), want[-1], strict=True
    ):
      np.testing.assert_allclose(float(parts[name]), value, rtol=1e-5)

  def test_masked_images_and_padding_have_no_effect(self):
    batch = self.batch | {'mask': np.array([1, 0, 1], bool)}
    loss, _ = self.run_on(batch)
    other = {k: np.array(v) for k, v in batch.items()}
    other['boxes'][1], other['labels'][1] = 0.5, 1
    other['present'][1] = True
    other['boxes'][2, 1] = 0.9
    self.assertEqual(float(self.run_on(other)[0]), float(loss))

  def test_slopes_are_finite_without_objects(self):
    def of(boxes, logits):
      found = detection.Detections(boxes, logits, jnp.ones((1, 2), bool))
      batch = {
        'boxes': jnp.zeros((1, 2, 4)),
        'labels': jnp.zeros((1, 2), int),
        'present': jnp.zeros((1, 2), bool),
      }
      return detection.detection_loss(found, batch)[0]

    a, b = jax.grad(of, argnums=(0, 1))(
      jnp.full((1, 1, 3, 4), 0.5), jnp.zeros((1, 1, 3, 2))
    )
    self.assertEqual(float(jnp.abs(a).max()), 0.0)
    # All queries learn that nothing is there.
    self.assertTrue(bool((b > 0).all()))

  def test_without_focus_it_is_cross_entropy(self):
    x, y = jnp.array([-2.0, 0.3, 4.0]), jnp.array([0.0, 1.0, 1.0])
    np.testing.assert_allclose(
      optax.sigmoid_focal_loss(x, y, gamma=0.0),
      optax.sigmoid_binary_cross_entropy(x, y),
      rtol=1e-6,
    )

  def test_what_does_not_fit_is_named(self):
    with self.assertRaisesRegex(ValueError, r"batch\['boxes'\] must have"):
      self.run_on(self.batch | {'boxes': np.zeros((3, 3, 4))})
    short = {k: v for k, v in self.batch.items() if k != 'labels'}
    with self.assertRaisesRegex(ValueError, "batch has no 'labels'"):
      self.run_on(short)
    with self.assertRaisesRegex(TypeError, 'must give Detections'):
      detection.detection_loss((1, 2), self.batch)


class TextTest(parameterized.TestCase):
  def test_prompts_and_back(self):
    phrases = detection.split_prompt('Red circle. blue\tsquare . red circle')
    self.assertEqual(phrases, ('red circle', 'blue square'))
    words = detection.make_vocabulary(phrases)
    found = detection.encode_phrases(phrases, words, num_phrases=3, num_words=3)
    said = [' '.join(words[i] for i in row if i) for row in found]
    self.assertEqual(said, [*phrases, ''])

  @parameterized.parameters(
    (lambda: detection.split_prompt(' . '), "prompt=' . ' is empty"),
    (lambda: detection.encode_phrases([], ('', 'a')), 'phrases is empty'),
    (
      lambda: detection.encode_phrases(['a', 'b c'], ('', 'a', 'c')),
      "phrase 'b c' has the unknown word 'b'",
    ),
    (
      lambda: detection.encode_phrases(['a', 'a'], ('', 'a'), num_phrases=1),
      '2 phrases exceed the 1 slots',
    ),
    (
      lambda: detection.encode_phrases(['a a'], ('', 'a'), num_words=1),
      "phrase 'a a' has 2 words but there is room for num_words=1",
    ),
    (lambda: detection.encode_phrases(['!'], ('', 'a')), 'has no word'),
    (lambda: detection.make_vocabulary(['-']), 'hold no word'),
    # The first word would be taken for padding, the second for another.
    (
      lambda: detection.encode_phrases(['red'], ('red', 'blue')),
      "number 0 is padding; got 'red', 'blue'",
    ),
    (
      lambda: detection.encode_phrases(['red'], ('red', '')),
      'number 0 is padding',
    ),
    (
      lambda: detection.encode_phrases(['red'], ('', 'red', 'red')),
      'different words',
    ),
  )
  def test_bad_prompts_are_refused(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()

  def test_a_prompt_is_no_list(self):
    with self.assertRaisesRegex(TypeError, 'cut it by split_prompt'):
      detection.encode_phrases('red circle', ('', 'red'))
    with self.assertRaisesRegex(TypeError, 'cut it by split_prompt'):
      detection.make_vocabulary('red circle')


if __name__ == '__main__':
  absltest.main()
