# SPDX-License-Identifier: Apache-2.0
"""What loaders and generators return: host arrays, checked, ready to split."""

import math
from typing import NamedTuple

import numpy as np

from jaxdl.core import checks


class Dataset(NamedTuple):
  """A supervised data set in host memory.

  Attributes:
    train_inputs: f32[n, ...] (i32 for text).
    train_labels: i32[n] in `[0, num_classes)`; i32[n, L] of text, -1 where
      nothing is learned; f32[n, ...] for regression.
    test_inputs: f32[m, ...].
    test_labels: i32[m]; f32[m, ...] for regression.
    num_classes: number of classes K, 0 for regression.
    name: what it is, for tables and plots.
  """

  train_inputs: np.ndarray
  train_labels: np.ndarray
  test_inputs: np.ndarray
  test_labels: np.ndarray
  num_classes: int
  name: str


class ClientExamples(NamedTuple):
  """Examples that already belong to clients.

  Attributes:
    client_ids: N names, in increasing order.
    inputs: N arrays [n_k, ...].
    labels: N arrays [n_k], or [n_k, L] where every next character is learned.
  """

  client_ids: tuple[str, ...]
  inputs: tuple[np.ndarray, ...]
  labels: tuple[np.ndarray, ...]


class FederatedDataset(NamedTuple):
  """A data set with natural clients.

  Attributes:
    train: clients to learn from.
    test: clients to measure on; the same names where every client holds out
      some examples, other names where clients themselves are held out.
    num_classes: number of classes K.
    name: what it is, for tables and plots.
  """

  train: ClientExamples
  test: ClientExamples
  num_classes: int
  name: str


def train_test_split(
  rng: np.random.Generator,
  labels: np.ndarray,
  *,
  test_fraction: float = 0.25,
  stratify: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
  """Draws disjoint train and test indices.

  The test part has `ceil(test_fraction * n)` examples. With `stratify` every
  class is represented in it as evenly as whole numbers allow (largest
  remainders win, ties at random).

  Args:
    rng: host generator; advanced.
    labels: int[n].
    test_fraction: share of the examples that is held out, in (0, 1).
    stratify: whether to keep class proportions.

  Returns:
    `(train, test)`, int64 index arrays in random order.

  Raises:
    ValueError: if either part would be empty.

  Example:
    >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> train, test = train_test_split(np.random.default_rng(0), labels)
    >>> len(train), sorted(labels[test].tolist())
    (6, [0, 1])
  """
  checks.number(
    test_fraction,
    name='test_fraction',
    low=0.0,
    high=1.0,
    open_low=True,
    open_high=True,
  )
  n = len(labels)
  num_test = math.ceil(n * test_fraction)
  if num_test >= n:
    raise ValueError(
      f'test_fraction={test_fraction} of {n} examples leaves nothing to train '
      'on: use a smaller fraction or more examples.'
    )
  order = rng.permutation(n)
  if not stratify:
    return order[num_test:], order[:num_test]
  classes, inverse = np.unique(labels, return_inverse=True)
  counts = np.bincount(inverse, minlength=len(classes))
  shares = counts * (num_test / n)
  take = np.floor(shares).astype(np.int64)
  ties = rng.permutation(len(classes))
  by_remainder = ties[np.argsort(-(shares - take)[ties], kind='stable')]
  take[by_remainder[: num_test - take.sum()]] += 1
  position = np.empty(n, np.int64)
  for label in range(len(classes)):
    members = np.flatnonzero(inverse[order] == label)
    position[members] = np.arange(len(members))
  held_out = position < take[inverse[order]]
  return order[~held_out], order[held_out]


def pool_clients(
  federated: FederatedDataset,
) -> tuple[Dataset, list[np.ndarray], list[np.ndarray]]:
  """Concatenates natural clients and remembers who owned what.

  The result feeds the code that partitions central data, e.g.
  `stack_clients(arrays, train_parts)`.

  Args:
    federated: a data set with natural clients.

  Returns:
    `(dataset, train_parts, test_parts)`; part k of either list indexes the
    examples of client k of that split.

  Example:
    >>> side = ClientExamples(
    ...   ('ann', 'bob'),
    ...   (np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)),
    ...   (np.array([0, 1], np.int32), np.array([1], np.int32)),
    ... )
    >>> dataset, parts, _ = pool_clients(FederatedDataset(side, side, 2, 'toy'))
    >>> dataset.train_inputs.shape, [p.tolist() for p in parts]
    ((3, 3), [[0, 1], [2]])
  """
  pooled = []
  parts = []
  for side in (federated.train, federated.test):
    if side.inputs:
      pooled += [np.concatenate(side.inputs), np.concatenate(side.labels)]
    else:
      inputs, labels = pooled[0][:0], pooled[1][:0]
      pooled += [inputs, labels]
    ends = np.cumsum([len(labels) for labels in side.labels], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    parts.append(
      [np.arange(a, b) for a, b in zip(starts, ends, strict=False)]
      if side.labels
      else []
    )
  dataset = Dataset(
    *pooled, num_classes=federated.num_classes, name=federated.name
  )
  return dataset, parts[0], parts[1]


def require_generator(rng: np.random.Generator) -> None:
  """Checks that host randomness is an explicit NumPy generator.

  Args:
    rng: what the caller passed.

  Raises:
    TypeError: if it is a seed, a key or a legacy state.
  """
  if not isinstance(rng, np.random.Generator):
    raise TypeError(
      f'rng must be a numpy Generator; got {type(rng).__name__}: pass '
      'np.random.default_rng(seed).'
    )
