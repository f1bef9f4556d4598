# SPDX-License-Identifier: Apache-2.0
"""What the files of the federated simulation data sets hold."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset, _files


class Layout(NamedTuple):
  """How one data set is stored.

  Attributes:
    stem: file names start with it.
    inputs: feature with the inputs.
    labels: feature with the labels.
    shape: shape of one stored input.
    scale: inputs are multiplied by it.
    invert: whether inputs then become `1 - inputs` (background 1).
    channel: whether a trailing axis of one is added.
    num_classes: number of classes K.
  """

  stem: str
  inputs: str
  labels: str
  shape: tuple[int, ...]
  scale: float
  invert: bool
  channel: bool
  num_classes: int


LAYOUTS = {
  'emnist': Layout('emnist', 'pixels', 'label', (28, 28), 1.0, True, True, 62),
  'emnist_digits': Layout(
    'emnist_digitsonly', 'pixels', 'label', (28, 28), 1.0, True, True, 10
  ),
  'cifar100': Layout(
    'cifar100', 'image', 'label', (32, 32, 3), 1 / 255, False, False, 100
  ),
}


def layout(kind: str) -> Layout:
  """Returns the layout of a data set.

  Args:
    kind: a key of `LAYOUTS`.

  Returns:
    The layout.

  Raises:
    ValueError: if it is unknown; lists the known ones.
  """
  checks.choice(kind, tuple(LAYOUTS), name='kind')
  return LAYOUTS[kind]


def client_arrays(
  where: str, examples: Mapping[str, Any], rule: Layout
) -> tuple[np.ndarray, np.ndarray]:
  """Checks one client's features and returns inputs and labels.

  Args:
    where: file and client, for messages.
    examples: feature name -> array.
    rule: what should be there.

  Returns:
    `(f32[n, ...], i32[n])`.

  Raises:
    ValueError: if a feature is missing or does not fit.
  """
  for key in (rule.inputs, rule.labels):
    if key not in examples:
      raise _files.problem(
        where,
        f'the feature {key!r}',
        f'the features {", ".join(sorted(map(str, examples))) or "of none"}',
      )
  x = np.asarray(examples[rule.inputs])
  y = np.asarray(examples[rule.labels])
  if x.dtype.kind not in 'fiu' or x.shape[1:] != rule.shape or not x.ndim:
    raise _files.problem(
      where,
      f'{rule.inputs!r} of shape (n, {", ".join(map(str, rule.shape))})',
      f'{x.dtype} of shape {x.shape}',
    )
  y = _files.label_array(where, y, rule.num_classes)
  _files.same_length(where, x, y)
  x = x.astype(np.float32) * np.float32(rule.scale)
  if rule.invert:
    x = np.float32(1) - x
  return (x[..., None] if rule.channel else x), y


def side(
  clients: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> _dataset.ClientExamples:
  """Collects clients in increasing order of their names.

  Args:
    clients: name -> (inputs, labels).

  Returns:
    The clients.
  """
  ids = sorted(clients)
  return _dataset.ClientExamples(
    tuple(ids),
    tuple(clients[name][0] for name in ids),
    tuple(clients[name][1] for name in ids),
  )
