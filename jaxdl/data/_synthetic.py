# SPDX-License-Identifier: Apache-2.0
"""Data sets with known structure, drawn on the host from a generator."""

import math
from typing import NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset


class Quadratics(NamedTuple):
  """One strongly convex quadratic per client.

  Client k minimizes `0.5 * (x - center_k)ᵀ matrix_k (x - center_k)`.

  Attributes:
    matrices: f32[N, D, D], symmetric positive definite.
    centers: f32[N, D].
    optimum: f32[D], the minimizer of the plain average over clients.
  """

  matrices: np.ndarray
  centers: np.ndarray
  optimum: np.ndarray


def gaussian_mixture(
  rng: np.random.Generator,
  *,
  num_train: int = 512,
  num_test: int = 128,
  num_classes: int = 4,
  num_features: int = 8,
  separation: float = 4.0,
  noise_std: float = 1.0,
) -> _dataset.Dataset:
  """Draws classes from Gaussian balls around random means.

  Means are random directions times `separation`; two of them are about
  `1.4 * separation` apart. Labels are balanced up to one example and come in
  random order.

  Args:
    rng: host generator; advanced.
    num_train: train examples.
    num_test: test examples.
    num_classes: number of classes K >= 1.
    num_features: input dimension.
    separation: distance of the means from the origin, >= 0.
    noise_std: deviation of each feature around its mean, >= 0.

  Returns:
    The data set, inputs f32[n, num_features].

  Raises:
    ValueError: if a count or a scale is out of range.

  Example:
    >>> mixture = gaussian_mixture(np.random.default_rng(0), num_train=8)
    >>> mixture.train_inputs.shape, np.bincount(mixture.train_labels).tolist()
    ((8, 8), [2, 2, 2, 2])
  """
  _counts(rng, num_train, num_test)
  num_classes = checks.integer(num_classes, name='num_classes', low=1)
  num_features = checks.integer(num_features, name='num_features', low=1)
  checks.number(separation, name='separation', low=0.0)
  checks.number(noise_std, name='noise_std', low=0.0)
  means = rng.normal(size=(num_classes, num_features))
  means *= separation / np.linalg.norm(means, axis=1, keepdims=True)
  arrays = []
  for n in (num_train, num_test):
    y = _balanced_labels(rng, n, num_classes)
    x = means[y] + noise_std * rng.normal(size=(n, num_features))
    arrays += [x.astype(np.float32), y]
  return _dataset.Dataset(
    *arrays, num_classes=num_classes, name='gaussian_mixture'
  )


def linear_regression(
  rng: np.random.Generator,
  *,
  num_train: int = 512,
  num_test: int = 128,
  num_features: int = 8,
  noise_std: float = 0.1,
  condition_number: float = 1.0,
  weights: np.ndarray | None = None,
) -> _dataset.Dataset:
  """Draws `y = x · weights + noise` with Gaussian inputs.

  The variances of the features fall geometrically from one to
  `1 / condition_number`, the condition number of the expected Hessian.

  Args:
    rng: host generator; advanced.
    num_train: train examples.
    num_test: test examples.
    num_features: input dimension.
    noise_std: deviation of the label noise, >= 0.
    condition_number: at least 1.
    weights: f[num_features], the truth; standard normal if None.

  Returns:
    The data set, inputs f32[n, num_features], labels f32[n], no classes.

  Raises:
    ValueError: if a count, a scale or the shape of `weights` is wrong.

  Example:
    >>> linear_regression(np.random.default_rng(0)).train_labels.shape
    (512,)
  """
  _counts(rng, num_train, num_test)
  num_features = checks.integer(num_features, name='num_features', low=1)
  checks.number(noise_std, name='noise_std', low=0.0)
  checks.number(condition_number, name='condition_number', low=1.0)
  if weights is None:
    weights = rng.normal(size=num_features)
  weights = np.asarray(weights, np.float64)
  if weights.shape != (num_features,):
    raise ValueError(
      f'weights must have shape {(num_features,)}; got {weights.shape}.'
    )
  powers = np.linspace(0.0, 1.0, num_features)
  std = float(condition_number) ** (-0.5 * powers)
  arrays = []
  for n in (num_train, num_test):
    x = rng.normal(size=(n, num_features)) * std
    y = x @ weights + noise_std * rng.normal(size=n)
    arrays += [x.astype(np.float32), y.astype(np.float32)]
  return _dataset.Dataset(*arrays, num_classes=0, name='linear_regression')


def quadratics(
  rng: np.random.Generator,
  *,
  num_clients: int,
  dimension: int,
  condition_number: float = 10.0,
  heterogeneity: float = 1.0,
) -> Quadratics:
  """Draws one random quadratic per client and solves for their joint optimum.

  Every matrix has eigenvalues spread geometrically between
  `1 / condition_number` and one in a random basis; centers are Gaussian with
  deviation `heterogeneity` around zero.

  Args:
    rng: host generator; advanced.
    num_clients: N.
    dimension: D.
    condition_number: of each matrix, at least 1.
    heterogeneity: spread of the centers, >= 0; zero puts every minimum at the
      origin.

  Returns:
    The problem, with the optimum solved in float64.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> quadratics(
    ...   np.random.default_rng(0), num_clients=3, dimension=2
    ... ).matrices.shape
    (3, 2, 2)
  """
  _dataset.require_generator(rng)
  num_clients = checks.integer(num_clients, name='num_clients', low=1)
  dimension = checks.integer(dimension, name='dimension', low=1)
  checks.number(condition_number, name='condition_number', low=1.0)
  checks.number(heterogeneity, name='heterogeneity', low=0.0)
  basis, _ = np.linalg.qr(rng.normal(size=(num_clients, dimension, dimension)))
  values = float(condition_number) ** -np.linspace(0.0, 1.0, dimension)
  matrices = (basis * values) @ np.swapaxes(basis, 1, 2)
  centers = heterogeneity * rng.normal(size=(num_clients, dimension))
  pull = np.einsum('nij,nj->i', matrices, centers)
  optimum = np.linalg.solve(matrices.sum(axis=0), pull)
  return Quadratics(
    matrices.astype(np.float32),
    centers.astype(np.float32),
    optimum.astype(np.float32),
  )


def synthetic_images(
  rng: np.random.Generator,
  *,
  num_train: int = 256,
  num_test: int = 64,
  num_classes: int = 10,
  image_shape: tuple[int, int, int] = (28, 28, 1),
  noise_std: float = 0.5,
) -> _dataset.Dataset:
  """Draws noisy copies of one smooth random picture per class.

  Stands in for MNIST (28, 28, 1), CIFAR (32, 32, 3) and so on where a program
  only has to run: shapes and scales are right and the classes are learnable.

  Args:
    rng: host generator; advanced.
    num_train: train examples.
    num_test: test examples.
    num_classes: number of classes K >= 1.
    image_shape: height, width, channels.
    noise_std: deviation of the pixel noise; pictures have about unit
      variance.

  Returns:
    The data set, inputs f32[n, height, width, channels].

  Raises:
    ValueError: if a count, a scale or the shape is out of range.

  Example:
    >>> synthetic_images(
    ...   np.random.default_rng(0), image_shape=(32, 32, 3)
    ... ).train_inputs.shape
    (256, 32, 32, 3)
  """
  _counts(rng, num_train, num_test)
  num_classes = checks.integer(num_classes, name='num_classes', low=1)
  checks.number(noise_std, name='noise_std', low=0.0)
  if len(image_shape) != 3:
    raise ValueError(
      f'image_shape must be (height, width, channels); got {image_shape}.'
    )
  for side in image_shape:
    checks.integer(side, name='image_shape', low=1)
  height, width, channels = image_shape
  coarse = rng.normal(size=(num_classes, 4, 4, channels))
  rows = np.arange(height) * 4 // height
  columns = np.arange(width) * 4 // width
  pictures = coarse[:, rows][:, :, columns]
  arrays = []
  for n in (num_train, num_test):
    y = _balanced_labels(rng, n, num_classes)
    x = pictures[y] + noise_std * rng.normal(size=(n, *image_shape))
    arrays += [x.astype(np.float32), y]
  return _dataset.Dataset(
    *arrays, num_classes=num_classes, name='synthetic_images'
  )


def skewed_logistic(
  rng: np.random.Generator,
  *,
  num_clients: int = 30,
  model_skew: float = 1.0,
  feature_skew: float = 1.0,
  num_classes: int = 10,
  num_features: int = 60,
  min_examples: int = 50,
  test_fraction: float = 0.25,
) -> _dataset.FederatedDataset:
  """Draws clients that differ in their true model and in their inputs.

  Client k labels `x` with `argmax(W_k x + b_k)`, entries of `W_k, b_k` normal
  around `u_k`, `u_k ~ N(0, model_skew²)`. Its inputs are normal around `v_k`
  with variances `j^-1.2`, entries of `v_k` normal around `B_k ~ N(0,
  feature_skew²)`. Sizes are `min_examples` plus a lognormal(4, 2) draw, at
  most 20 * `min_examples`.

  Args:
    rng: host generator; advanced.
    num_clients: N.
    model_skew: the paper's alpha, taken as a deviation, >= 0.
    feature_skew: the paper's beta, taken as a deviation, >= 0.
    num_classes: number of classes K.
    num_features: input dimension.
    min_examples: smallest client, at least 2.
    test_fraction: share of each client that is held out, in (0, 1).

  Returns:
    The data set; every client has train and test examples.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> clients = skewed_logistic(np.random.default_rng(0), num_clients=3)
    >>> clients.train.inputs[0].shape[1:], len(clients.train.labels)
    ((60,), 3)

  Source: Li et al. 2020 (https://arxiv.org/abs/1812.06127), section 5.1
  (synthetic data); the cap on sizes is ours.
  """
  _dataset.require_generator(rng)
  num_clients = checks.integer(num_clients, name='num_clients', low=1)
  num_classes = checks.integer(num_classes, name='num_classes', low=1)
  num_features = checks.integer(num_features, name='num_features', low=1)
  min_examples = checks.integer(min_examples, name='min_examples', low=2)
  checks.number(model_skew, name='model_skew', low=0.0)
  checks.number(feature_skew, name='feature_skew', low=0.0)
  extra = rng.lognormal(4.0, 2.0, size=num_clients)
  sizes = min_examples + np.minimum(extra, 19 * min_examples).astype(int)
  std = np.arange(1, num_features + 1) ** -0.6
  width = len(str(num_clients - 1))
  ids = tuple(f'client_{k:0{width}d}' for k in range(num_clients))
  sides = ([], [], [], [])
  for size in sizes:
    center = rng.normal(0.0, model_skew)
    weights = rng.normal(center, 1.0, size=(num_features, num_classes))
    bias = rng.normal(center, 1.0, size=(1, num_classes))
    mean = rng.normal(rng.normal(0.0, feature_skew), 1.0, size=num_features)
    x = mean + std * rng.normal(size=(size, num_features))
    y = np.argmax(x @ weights + bias, axis=1).astype(np.int32)
    train, test = _dataset.train_test_split(
      rng, y, test_fraction=test_fraction, stratify=False
    )
    x = x.astype(np.float32)
    for side, array in zip(
      sides, (x[train], y[train], x[test], y[test]), strict=True
    ):
      side.append(array)
  return _dataset.FederatedDataset(
    _dataset.ClientExamples(ids, tuple(sides[0]), tuple(sides[1])),
    _dataset.ClientExamples(ids, tuple(sides[2]), tuple(sides[3])),
    num_classes,
    'skewed_logistic',
  )


def _counts(rng, num_train: int, num_test: int) -> None:
  _dataset.require_generator(rng)
  checks.integer(num_train, name='num_train', low=1)
  checks.integer(num_test, name='num_test', low=1)


def _balanced_labels(rng, n: int, num_classes: int) -> np.ndarray:
  labels = np.tile(np.arange(num_classes), math.ceil(n / num_classes))[:n]
  return rng.permutation(labels).astype(np.int32)
