# SPDX-License-Identifier: Apache-2.0
"""The detector: phrases are a set, layers refine, scores are of phrases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.perception import detection

SMALL = {
  'width': 8, 'num_queries': 5, 'decoder_layers': 2, 'num_heads': 2,
  'hidden': 8, 'channels': 4, 'strides': (2, 2),
}  # fmt: skip


@functools.cache
def made():
  network = detection.grounding_detector(7, **SMALL)
  key, other, words = jax.random.split(jax.random.key(0), 3)
  images = jax.random.uniform(key, (2, 16, 16, 3))
  phrases = jax.random.randint(words, (2, 4, 2), 1, 7).at[:, 3].set(0)
  params = network.init(other, images, phrases)
  return jax.jit(network.apply), params, images, phrases


class DetectorTest(parameterized.TestCase):
  def test_order_of_phrases_does_not_matter(self):
    apply, params, images, phrases = made()
    found = apply(params, images, phrases)
    order = jnp.array([2, 3, 0, 1])
    other = apply(params, images, phrases[:, order])
    np.testing.assert_allclose(other.boxes, found.boxes, atol=1e-5)
    np.testing.assert_allclose(
      other.logits, found.logits[..., order], atol=1e-5
    )

  def test_padding_among_phrases_has_no_effect(self):
    apply, params, images, phrases = made()
    found = apply(params, images, phrases)
    more = apply(params, images, jnp.pad(phrases, ((0, 0), (0, 3), (0, 1))))
    np.testing.assert_allclose(more.boxes, found.boxes, atol=1e-5)
    np.testing.assert_allclose(
      more.logits[..., :3], found.logits[..., :3], atol=1e-5
    )
    self.assertEqual(found.exists.tolist(), [[True] * 3 + [False]] * 2)
    boxes, scores, which = detection.detections_of(found)
    self.assertEqual(boxes.shape, (2, 20, 4))
    self.assertTrue(bool((jnp.diff(scores) <= 0).all()))
    self.assertTrue(bool((scores[:, 15:] == -1).all()))
    self.assertTrue(bool((which[:, :15] < 3).all()))

  def test_images_do_not_see_each_other(self):
    apply, params, images, phrases = made()
    found = apply(params, images, phrases)
    other = apply(params, images.at[1].set(0.0), phrases.at[1].set(3))
    np.testing.assert_allclose(other.boxes[:, 0], found.boxes[:, 0], atol=1e-6)

  def test_no_phrases_are_no_nan(self):
    apply, params, images, phrases = made()
    found = apply(params, images, jnp.zeros_like(phrases))
    self.assertTrue(np.isfinite(found.boxes).all())
    self.assertTrue(np.isfinite(found.logits).all())

  def test_boxes_start_at_the_best_places_and_are_refined(self):
    apply, params, images, phrases = made()
    # Nothing moves boxes: those of the grid stay.
    still = jax.tree.map(lambda x: x, params)
    for name, part in still['params']['head'].items():
      if name.startswith('box'):
        part['shift'] = jax.tree.map(jnp.zeros_like, part['shift'])
    found = apply(still, images, phrases)
    for layer in found.boxes:
      np.testing.assert_allclose(layer, found.boxes[0], atol=1e-5)
    places = found.boxes[0][..., :2] * 4 - 0.5
    np.testing.assert_allclose(places, np.round(places), atol=1e-4)
    best = jnp.max(
      jnp.where(found.exists[:, None], found.logits[0], -jnp.inf), axis=-1
    )
    # Queries stand in the order of their scores.
    self.assertTrue(bool((jnp.diff(best) <= 0).all()))
    moved = apply(params, images, phrases)
    self.assertGreater(float(jnp.abs(jnp.diff(moved.boxes, axis=0)).min()), 0)

  def test_gradients_reach_all_but_what_nobody_reads(self):
    _, params, images, phrases = made()
    network = detection.grounding_detector(7, **SMALL)
    batch = {
      'boxes': jnp.full((2, 1, 4), 0.4),
      'labels': jnp.zeros((2, 1), int),
      'present': jnp.ones((2, 1), bool),
    }

    def loss(params):
      found = network.apply(params, images, phrases, train=True)
      return detection.detection_loss(found, batch)[0]

    slopes = jax.jit(jax.grad(loss))(params)
    silent = [
      jax.tree_util.keystr(path, simple=True, separator='/')
      for path, x in jax.tree_util.tree_leaves_with_path(slopes)
      if float(jnp.abs(x).max()) == 0.0
    ]
    # A constant added to all keys changes no softmax.
    self.assertEqual(
      [name for name in silent if not name.endswith('key/bias')], []
    )

  @parameterized.parameters('bfloat16', 'float64')
  def test_dtypes(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      network = detection.grounding_detector(7, **SMALL)
      images = jnp.zeros((1, 16, 16, 3), dtype)
      phrases = jnp.ones((1, 2, 2), jnp.int32)
      found = jax.eval_shape(
        lambda: network.apply(
          network.init(jax.random.key(0), images, phrases), images, phrases
        )
      )
    want = 'float64' if dtype == 'float64' else 'float32'
    self.assertEqual((found.boxes.dtype, found.logits.dtype), (want, want))

  @parameterized.parameters(
    ({'width': 10}, 'width=10 must be a multiple of 4 and of num_heads=2'),
    ({'strides': (2,)}, r'strides=\(2,\) must have one entry more'),
    ({'num_queries': 0}, 'num_queries must be at least 1'),
  )
  def test_impossible_networks_are_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      detection.grounding_detector(7, **SMALL | options)

  def test_inputs_that_do_not_fit_are_refused(self):
    network = detection.grounding_detector(7, **SMALL)
    key, words = jax.random.key(0), jnp.ones((1, 2, 2), jnp.int32)
    for images, phrases, message in (
      (jnp.zeros((16, 16, 3)), words, r'images must be f\[B, H, W, 3\]'),
      (jnp.zeros((1, 4, 4, 3)), words, 'num_queries=5 exceeds the 1 tokens'),
      (jnp.zeros((1, 16, 16, 3)), words[0], r'phrases must be i\[B, P, W\]'),
      (jnp.zeros((2, 16, 16, 3)), words, r'i\[2, P, W\] .* for 2 images'),
      (
        jnp.zeros((1, 16, 16, 3)),
        jnp.full_like(words, 99),
        r'phrases must lie in \[0, \d+\); got 99',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        network.init(key, images, phrases)
    with self.assertRaisesRegex(TypeError, 'phrases must be integers'):
      network.init(key, jnp.zeros((1, 16, 16, 3)), words * 1.0)


if __name__ == '__main__':
  absltest.main()
