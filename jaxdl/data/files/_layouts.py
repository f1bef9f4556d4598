# SPDX-License-Identifier: Apache-2.0
"""What the files of the federated simulation data sets hold."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset
from jaxdl.data.files import _limits, _reading

# Characters of the federated Shakespeare, in the order of their numbers from 1.
CHARACTERS = (
  'dhlptx@DHLPTX $(,048cgkoswCGKOSW[_#\'/37;?bfjnrvzBFJNRVZ"&*.26:\naeimquyAEIM'
  'QUY]!%)-159\r'
)
# Numbers of what is no character, and the length of a sequence.
PAD, UNKNOWN, START, END = 0, 87, 88, 89
LENGTH = 80


class Layout(NamedTuple):
  """How one data set is stored.

  Attributes:
    stem: file names start with it.
    inputs: feature with the inputs.
    labels: feature with the labels.
    shape: shape of one stored input.
    invert: whether pixels in [0, 1] become `1 - inputs` (background 1).
    channel: whether a trailing axis of one is added.
    num_classes: number of classes K.
    text: whether the inputs are texts; every next character is learned.
  """

  stem: str
  inputs: str
  labels: str
  shape: tuple[int, ...]
  invert: bool
  channel: bool
  num_classes: int
  text: bool = False


LAYOUTS = {
  'emnist': Layout('emnist', 'pixels', 'label', (28, 28), True, True, 62),
  'emnist_digits': Layout(
    'emnist_digitsonly', 'pixels', 'label', (28, 28), True, True, 10
  ),
  'cifar100': Layout(
    'cifar100', 'image', 'label', (32, 32, 3), False, False, 100
  ),
  'shakespeare': Layout(
    'shakespeare', 'snippets', '', (), False, False, END + 1, text=True
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

  Whole numbers are pixels in 0..255 and are divided by 255; other numbers are
  pixels in [0, 1] already.

  Args:
    where: file and client, for messages.
    examples: feature name -> array.
    rule: what should be there.

  Returns:
    `(f32[n, ...], i32[n])`; of texts `(i32[n, 80], i32[n, 80])`.

  Raises:
    ValueError: if a feature is missing or does not fit.
  """
  for key in (rule.inputs, rule.labels):
    if key and key not in examples:
      raise _reading.problem(
        where,
        f'the feature {key!r}',
        f'the features {_limits.listed(examples) or "of none"}',
      )
  if rule.text:
    return _sequences(where, examples[rule.inputs], rule.inputs)
  x = np.asarray(examples[rule.inputs])
  y = np.asarray(examples[rule.labels])
  if x.dtype.kind not in 'fiu' or x.shape[1:] != rule.shape or not x.ndim:
    raise _reading.problem(
      where,
      f'{rule.inputs!r} of shape (n, {", ".join(map(str, rule.shape))})',
      f'{x.dtype} of shape {x.shape}',
    )
  y = _reading.label_array(where, y, rule.num_classes)
  _reading.same_length(where, x, y)
  whole = x.dtype.kind in 'iu'
  top = 255 if whole else 1
  # Written so that NaN fails.
  if x.size and not (x.min() >= 0 and x.max() <= top):
    raise _reading.problem(
      where,
      f'{rule.inputs!r} in {"0..255" if whole else "[0, 1]"}',
      f'{x.dtype} in {x.min().item()}..{x.max().item()}',
    )
  x = x.astype(np.float32)
  if whole:
    x = x * np.float32(1 / 255)
  if rule.invert:
    x = np.float32(1) - x
  return (x[..., None] if rule.channel else x), y


def _sequences(where, texts, name):
  """Numbers of characters, and those that follow; -1 follows padding."""
  if not isinstance(texts, list):
    raise _reading.problem(where, f'texts at {name!r}', 'something else')
  codes = np.full(256, UNKNOWN, np.int32)
  codes[np.frombuffer(CHARACTERS.encode(), np.uint8)] = 1 + np.arange(
    len(CHARACTERS)
  )
  none = np.zeros((0, LENGTH), np.int32)
  inputs, labels = [none], [none]
  for text in texts:
    own = codes[np.frombuffer(text, np.uint8)]
    rows = -(-(len(own) + 1) // LENGTH)
    x = np.full(rows * LENGTH, PAD, np.int32)
    y = np.full(rows * LENGTH, -1, np.int32)
    x[: len(own) + 1] = [START, *own]
    y[: len(own) + 1] = [*own, END]
    inputs.append(x.reshape(rows, LENGTH))
    labels.append(y.reshape(rows, LENGTH))
  return np.concatenate(inputs), np.concatenate(labels)


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
