# SPDX-License-Identifier: Apache-2.0
import builtins
import subprocess
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from sklearn import datasets as sklearn_datasets

from jaxdl import data


class BundledTest(parameterized.TestCase):
  def test_digits_are_the_scaled_pixels_of_the_source(self):
    got = data.load_digits()
    raw = sklearn_datasets.load_digits()
    pixels = np.concatenate([got.train_inputs, got.test_inputs])
    pixels = np.rint((pixels.astype(np.float64) * 0.38 + 0.3) * 16)
    labels = np.concatenate([got.train_labels, got.test_labels])

    def rows(x, y):
      return sorted(map(tuple, np.column_stack([x, y]).astype(int)))

    self.assertEqual(rows(pixels, labels), rows(raw.data, raw.target))
    self.assertEqual(got.train_inputs.dtype, np.float32)
    self.assertEqual(got.train_labels.dtype, np.int32)
    self.assertLess(abs(got.train_inputs.mean()), 0.05)
    self.assertLess(abs(got.train_inputs.std() - 1.0), 0.05)

  def test_image_and_flat_digits_agree(self):
    flat, image = data.load_digits(seed=3), data.load_digits(seed=3, flatten=0)
    self.assertEqual(image.test_inputs.shape, (450, 8, 8, 1))
    np.testing.assert_array_equal(
      image.test_inputs.reshape(450, 64), flat.test_inputs
    )

  @parameterized.parameters(
    ('breast_cancer', (426, 30), (143, 30), 2), ('wine', (133, 13), (45, 13), 3)
  )
  def test_tables_are_standardized_by_their_train_part(
    self, name, train, test, num_classes
  ):
    got = data.load_dataset(name, seed=1)
    self.assertEqual(got.train_inputs.shape, train)
    self.assertEqual(got.test_inputs.shape, test)
    self.assertEqual(got.num_classes, num_classes)
    self.assertEqual(got.name, name)
    np.testing.assert_allclose(got.train_inputs.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(got.train_inputs.std(axis=0), 1.0, atol=1e-5)
    # One affine map per feature serves both parts.
    raw = getattr(sklearn_datasets, f'load_{name}')().data
    both = np.concatenate([got.train_inputs, got.test_inputs])
    for column, want in zip(np.sort(both.T), np.sort(raw.T), strict=True):
      slope, shift = np.polyfit(column, want, 1)
      np.testing.assert_allclose(
        column * slope + shift, want, atol=1e-5 * np.abs(want).max()
      )

  def test_diabetes_is_a_regression_of_the_whole_source(self):
    got = data.load_dataset('diabetes', seed=1)
    self.assertEqual(got.num_classes, 0)
    self.assertEqual(got.train_inputs.shape, (332, 10))
    self.assertEqual(got.test_labels.shape, (110, 1))
    self.assertAlmostEqual(float(got.train_labels.mean()), 0.0, places=5)
    self.assertAlmostEqual(float(got.train_labels.std()), 1.0, places=5)
    raw = sklearn_datasets.load_diabetes()
    x = np.concatenate([got.train_inputs, got.test_inputs])
    y = np.concatenate([got.train_labels, got.test_labels])[:, 0]
    # One row each, with the target that belongs to it.
    mine, theirs = np.lexsort(x.T), np.lexsort(raw.data.astype('float32').T)
    np.testing.assert_array_equal(x[mine], raw.data.astype('float32')[theirs])
    slope, shift = np.polyfit(y[mine], raw.target[theirs], 1)
    np.testing.assert_allclose(
      y[mine] * slope + shift, raw.target[theirs], rtol=1e-4, atol=1e-3
    )
    with self.assertRaisesRegex(ValueError, 'test_fraction must'):
      data.load_diabetes(test_fraction=1.0)

  def test_split_depends_on_the_seed_alone(self):
    a, b, c = (data.load_wine(seed=s).test_inputs for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    self.assertFalse(np.array_equal(a, c))

  def test_missing_library_names_the_extra(self):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
      if name.startswith('sklearn'):
        raise ImportError(name)
      return real(name, *args, **kwargs)

    with (
      mock.patch.dict(sys.modules, {'sklearn.datasets': None}),
      mock.patch.object(builtins, '__import__', fake),
      self.assertRaisesRegex(
        ImportError,
        r'load_digits needs scikit-learn.* pip install scikit-learn ',
      ),
    ):
      data.load_digits()

  def test_import_is_light(self):
    code = (
      'import sys, jaxdl.data; print(sorted({"sklearn", "h5py", "matplotlib", '
      '"msgpack"} & set(sys.modules)))'
    )
    out = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    self.assertEqual(out.stdout.strip(), '[]')


class SplitTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_parts_are_disjoint_and_complete(self, stratify):
    labels = np.random.default_rng(0).integers(0, 5, 103)
    train, test = data.train_test_split(
      np.random.default_rng(1), labels, test_fraction=0.2, stratify=stratify
    )
    self.assertLen(test, 21)
    self.assertEqual(sorted([*train, *test]), list(range(103)))

  def test_stratified_counts_are_within_one_of_their_share(self):
    labels = np.repeat([0, 1, 2], [7, 50, 43])
    _, test = data.train_test_split(
      np.random.default_rng(0), labels, test_fraction=0.3
    )
    counts = np.bincount(labels[test])
    self.assertTrue((np.abs(counts - 0.3 * np.array([7, 50, 43])) < 1).all())

  def test_refuses_what_leaves_no_train_part(self):
    with self.assertRaisesRegex(ValueError, 'test_fraction=0.9 of 3 examples'):
      data.train_test_split(
        np.random.default_rng(0), np.zeros(3, int), test_fraction=0.9
      )
    with self.assertRaisesRegex(ValueError, r'test_fraction must lie in \(0'):
      data.load_digits(test_fraction=1.0)


class RegistryTest(parameterized.TestCase):
  @parameterized.parameters(*filter(data.needs_files, data.DATASETS))
  def test_files_need_a_place(self, name):
    with self.assertRaisesRegex(ValueError, f'dataset={name} .*pass data_dir'):
      data.load_dataset(name)

  def test_unknown_names_and_options_are_listed(self):
    with self.assertRaisesRegex(ValueError, "dataset='mnits'.*'mnist'"):
      data.load_dataset('mnits')
    with self.assertRaisesRegex(ValueError, "'alpha'.*are .*flatten"):
      data.load_dataset('digits(alpha=1.0)')
    with self.assertRaisesRegex(ValueError, "no option 'seeds'"):
      data.load_dataset('mnist(seeds=1)', '/nowhere')

  def test_same_seed_same_data(self):
    for name in ('synthetic', 'linear_regression', 'synthetic_images'):
      a, b, c = (data.load_dataset(name, seed=s) for s in (5, 5, 6))
      np.testing.assert_array_equal(a.train_inputs, b.train_inputs)
      self.assertFalse(np.array_equal(a.train_inputs, c.train_inputs))


if __name__ == '__main__':
  absltest.main()
