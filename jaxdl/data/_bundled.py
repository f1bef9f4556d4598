# SPDX-License-Identifier: Apache-2.0
"""Small real data sets that come with scikit-learn: no download, no files."""

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset
from jaxdl.data.files import _reading


def load_digits(
  *,
  seed: int = 0,
  test_fraction: float = 0.25,
  stratify: bool = True,
  flatten: bool = True,
  pixels: str = 'standard',
) -> _dataset.Dataset:
  """Returns 1797 handwritten digits of 8 x 8 pixels, ten classes.

  Pixels 0..16 become `(pixel / 16 - 0.3) / 0.38`, about zero mean and unit
  variance. Needs scikit-learn.

  Args:
    seed: chooses the train/test split.
    test_fraction: share held out, in (0, 1).
    stratify: whether the split keeps class proportions.
    flatten: inputs f32[n, 64] if true, f32[n, 8, 8, 1] otherwise.
    pixels: 'standard' for these, 'unit' for numbers in [0, 1].

  Returns:
    The data set: 1347 train and 450 test examples at the defaults.

  Raises:
    ImportError: if scikit-learn is missing; names the extra.

  Example:
    >>> digits = load_digits()
    >>> digits.train_inputs.shape, digits.test_inputs.shape, digits.num_classes
    ((1347, 64), (450, 64), 10)
  """
  checks.choice(pixels, ('standard', 'unit'), name='pixels')
  datasets = _reading.require('sklearn.datasets', purpose='load_digits')
  raw = datasets.load_digits()
  inputs = ((raw.data / 16.0 - 0.3) / 0.38).astype(np.float32)
  if pixels == 'unit':
    inputs = np.float32(0.38) * inputs + np.float32(0.3)
  if not flatten:
    inputs = inputs.reshape(-1, 8, 8, 1)
  return _split(inputs, raw.target, 10, 'digits', seed, test_fraction, stratify)


def load_breast_cancer(
  *, seed: int = 0, test_fraction: float = 0.25, stratify: bool = True
) -> _dataset.Dataset:
  """Returns 569 tumours with 30 features, two classes.

  Features are standardized with the mean and deviation of the train part.
  Needs scikit-learn.

  Args:
    seed: chooses the train/test split.
    test_fraction: share held out, in (0, 1).
    stratify: whether the split keeps class proportions.

  Returns:
    The data set: 426 train and 143 test examples at the defaults.

  Raises:
    ImportError: if scikit-learn is missing; names the extra.

  Example:
    >>> load_breast_cancer().train_inputs.shape
    (426, 30)
  """
  datasets = _reading.require('sklearn.datasets', purpose='load_breast_cancer')
  raw = datasets.load_breast_cancer()
  return _standardize(
    _split(
      raw.data, raw.target, 2, 'breast_cancer', seed, test_fraction, stratify
    )
  )


def load_wine(
  *, seed: int = 0, test_fraction: float = 0.25, stratify: bool = True
) -> _dataset.Dataset:
  """Returns 178 wines with 13 features, three classes.

  Features are standardized with the mean and deviation of the train part.
  Needs scikit-learn.

  Args:
    seed: chooses the train/test split.
    test_fraction: share held out, in (0, 1).
    stratify: whether the split keeps class proportions.

  Returns:
    The data set: 133 train and 45 test examples at the defaults.

  Raises:
    ImportError: if scikit-learn is missing; names the extra.

  Example:
    >>> load_wine().train_inputs.shape
    (133, 13)
  """
  datasets = _reading.require('sklearn.datasets', purpose='load_wine')
  raw = datasets.load_wine()
  return _standardize(
    _split(raw.data, raw.target, 3, 'wine', seed, test_fraction, stratify)
  )


def load_diabetes(
  *, seed: int = 0, test_fraction: float = 0.25
) -> _dataset.Dataset:
  """Returns 442 patients with 10 features, and how their illness went on.

  Targets are standardized with the mean and deviation of the train part. Needs
  scikit-learn.

  Args:
    seed: chooses the train/test split.
    test_fraction: share held out, in (0, 1), rounded down.

  Returns:
    The data set, for regression: 332 train and 110 test examples at the
    defaults, labels f32[n, 1], no classes.

  Raises:
    ImportError: if scikit-learn is missing; names the extra.

  Example:
    >>> load_diabetes().train_labels.shape
    (332, 1)
  """
  checks.number(
    test_fraction,
    name='test_fraction',
    low=0.0,
    high=1.0,
    open_low=True,
    open_high=True,
  )
  datasets = _reading.require('sklearn.datasets', purpose='load_diabetes')
  inputs, labels = datasets.load_diabetes(return_X_y=True)
  order = np.random.default_rng(seed).permutation(len(labels))
  held_out = max(1, int(len(labels) * test_fraction))
  train, test = order[held_out:], order[:held_out]
  labels = (labels - labels[train].mean()) / labels[train].std()
  labels = labels[:, None].astype(np.float32)
  inputs = inputs.astype(np.float32)
  return _dataset.Dataset(
    inputs[train],
    labels[train],
    inputs[test],
    labels[test],
    num_classes=0,
    name='diabetes',
  )


def _split(
  inputs, labels, num_classes, name, seed, test_fraction, stratify
) -> _dataset.Dataset:
  train, test = _dataset.train_test_split(
    np.random.default_rng(seed),
    labels,
    test_fraction=test_fraction,
    stratify=stratify,
  )
  labels = labels.astype(np.int32)
  return _dataset.Dataset(
    inputs[train], labels[train], inputs[test], labels[test], num_classes, name
  )


def _standardize(dataset: _dataset.Dataset) -> _dataset.Dataset:
  mean = dataset.train_inputs.mean(axis=0, keepdims=True)
  std = dataset.train_inputs.std(axis=0, keepdims=True)
  std = np.where(std > 0, std, 1.0)
  return dataset._replace(
    train_inputs=((dataset.train_inputs - mean) / std).astype(np.float32),
    test_inputs=((dataset.test_inputs - mean) / std).astype(np.float32),
  )
