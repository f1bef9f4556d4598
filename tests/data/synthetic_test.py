# SPDX-License-Identifier: Apache-2.0
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data


def rng(seed=0):
  return np.random.default_rng(seed)


class SyntheticTest(parameterized.TestCase):
  def test_mixture_means_have_the_asked_distance(self):
    got = data.gaussian_mixture(
      rng(), num_train=4000, num_classes=4, num_features=6, separation=3.0
    )
    means = np.stack(
      [got.train_inputs[got.train_labels == c].mean(axis=0) for c in range(4)]
    )
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 3.0, atol=0.15)
    residual = got.train_inputs - means[got.train_labels]
    np.testing.assert_allclose(residual.std(axis=0), 1.0, atol=0.05)
    np.testing.assert_array_equal(np.bincount(got.train_labels), 1000)

  def test_mixture_without_noise_is_its_means(self):
    got = data.gaussian_mixture(rng(), noise_std=0.0, num_classes=3)
    rows = np.unique(got.train_inputs, axis=0)
    self.assertLen(rows, 3)
    self.assertLen(
      np.unique(np.concatenate([rows, got.test_inputs]), axis=0), 3
    )

  def test_regression_recovers_the_weights(self):
    truth = np.array([1.0, -2.0, 0.5])
    got = data.linear_regression(
      rng(),
      num_features=3,
      noise_std=0.0,
      condition_number=100.0,
      weights=truth,
    )
    solved = np.linalg.lstsq(
      got.train_inputs.astype(np.float64), got.train_labels, rcond=None
    )[0]
    np.testing.assert_allclose(solved, truth, atol=1e-4)
    variances = got.train_inputs.var(axis=0)
    np.testing.assert_allclose(variances, [1.0, 0.1, 0.01], rtol=0.2)
    self.assertEqual(got.num_classes, 0)

  def test_quadratics_are_solved_and_conditioned(self):
    got = data.quadratics(
      rng(), num_clients=5, dimension=4, condition_number=8.0
    )
    a, c = got.matrices.astype(np.float64), got.centers.astype(np.float64)
    gradient = sum(m @ (got.optimum - x) for m, x in zip(a, c, strict=True))
    np.testing.assert_allclose(gradient, 0.0, atol=1e-5)
    np.testing.assert_allclose(
      np.linalg.eigvalsh(a),
      np.tile(8.0 ** -np.linspace(1, 0, 4), (5, 1)),
      rtol=1e-4,
    )
    same = data.quadratics(rng(), num_clients=2, dimension=3, heterogeneity=0.0)
    np.testing.assert_allclose(same.optimum, 0.0, atol=1e-7)

  @parameterized.parameters((28, 28, 1), (32, 32, 3), (5, 3, 2))
  def test_images_have_any_shape_and_can_be_told_apart(self, *shape):
    got = data.synthetic_images(
      rng(), image_shape=shape, num_classes=3, num_train=90, num_test=30
    )
    self.assertEqual(got.train_inputs.shape, (90, *shape))
    means = np.stack(
      [got.train_inputs[got.train_labels == c].mean(axis=0) for c in range(3)]
    )
    gaps = ((got.test_inputs[:, None] - means[None]) ** 2).sum(axis=(2, 3, 4))
    np.testing.assert_array_equal(gaps.argmin(axis=1), got.test_labels)

  def test_skewed_clients_keep_one_truth_without_skew_in_the_model(self):
    got = data.skewed_logistic(rng(), num_clients=4, num_classes=3)
    self.assertEqual(got.train.client_ids, got.test.client_ids)
    sizes = [
      len(a) + len(b)
      for a, b in zip(got.train.labels, got.test.labels, strict=True)
    ]
    self.assertGreaterEqual(min(sizes), 50)
    self.assertLessEqual(max(sizes), 1000)
    inputs = np.concatenate(got.train.inputs)
    self.assertEqual(inputs.dtype, np.float32)
    # Feature variance falls with its number as j^-1.2 within a client.
    biggest = got.train.inputs[int(np.argmax(sizes))]
    slope = np.polyfit(
      np.log(np.arange(1, 61)), np.log(biggest.var(axis=0)), 1
    )[0]
    self.assertAlmostEqual(slope, -1.2, delta=0.15)

  def test_feature_skew_moves_clients_apart(self):
    def spread(skew):
      got = data.skewed_logistic(rng(), num_clients=20, feature_skew=skew)
      return np.std([x.mean() for x in got.train.inputs])

    self.assertGreater(spread(3.0), 3 * spread(0.0))

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(TypeError, r'Generator; got int: pass np.rand'):
      data.gaussian_mixture(0)
    with self.assertRaisesRegex(ValueError, 'num_classes must be at least 1'):
      data.gaussian_mixture(rng(), num_classes=0)
    with self.assertRaisesRegex(ValueError, 'condition_number must lie'):
      data.linear_regression(rng(), condition_number=0.5)
    with self.assertRaisesRegex(ValueError, r'weights must have shape \(8,\)'):
      data.linear_regression(rng(), weights=np.ones(3))
    with self.assertRaisesRegex(ValueError, 'image_shape must be'):
      data.synthetic_images(rng(), image_shape=(3, 3))


class SkewTest(parameterized.TestCase):
  def test_noise_grows_with_the_client(self):
    parts = np.array_split(np.arange(3000), 3)
    x = data.add_noise_by_client(
      rng(), np.zeros((3000, 2), np.float32), parts, noise_std=2.0
    )
    stds = [x[part].std() for part in parts]
    np.testing.assert_allclose(stds, [0.0, 1.0, 2.0], atol=0.05)

  def test_turns_are_quarters_and_four_of_them_are_none(self):
    x = rng().normal(size=(5, 3, 3, 2))
    y = data.rotate_by_client(x, [[k] for k in range(5)])
    for k in range(5):
      want = x[k]
      for _ in range(k % 4):
        # Counter-clockwise: the last column becomes the first row.
        want = want.transpose(1, 0, 2)[::-1]
      np.testing.assert_array_equal(y[k], want)

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, 'inputs must be square images'):
      data.rotate_by_client(np.zeros((2, 3)), [[0]])
    with self.assertRaisesRegex(ValueError, r'parts\[0\] must index 2'):
      data.add_noise_by_client(rng(), np.zeros((2, 3)), [[2]], noise_std=1.0)


if __name__ == '__main__':
  absltest.main()
