# SPDX-License-Identifier: Apache-2.0
"""One `.npz` file that holds the four arrays of a data set."""

import os
import pathlib

import numpy as np

from jaxdl.data import _dataset
from jaxdl.data.files import _bounded, _limits, _reading

_KEYS = (
  ('train_inputs', 'train_labels', 'test_inputs', 'test_labels'),
  ('x_train', 'y_train', 'x_test', 'y_test'),
)


def load_npz(
  data_dir: str | os.PathLike[str],
  *,
  scale: float = 1.0,
  num_classes: int | None = None,
  name: str | None = None,
  max_bytes: int = _limits.MAX_BYTES,
) -> _dataset.Dataset:
  """Loads a data set from one NumPy archive, without unpickling anything.

  The archive holds `train_inputs, train_labels, test_inputs, test_labels` or
  `x_train, y_train, x_test, y_test`. Integer labels are classes (a trailing
  axis of one is dropped), floating-point labels are regression targets.

  Args:
    data_dir: the file.
    scale: inputs are multiplied by it, e.g. `1 / 255` for raw pixels.
    num_classes: K; one more than the largest label if None.
    name: what to call the data set; the file's stem if None.
    max_bytes: most bytes that the four arrays may unpack to, unless the file
      itself is larger.

  Returns:
    The data set, inputs f32, labels i32 (f32 for regression).

  Raises:
    FileNotFoundError: if the file is missing.
    ValueError: if the archive is corrupt, a key is missing, an array is
      pickled, too large or empty, or the arrays do not fit together; names
      the file.
  """
  path = pathlib.Path(_reading.existing(data_dir))
  with _bounded.archive(path, max_bytes) as archive:
    present = archive.names
    keys = next((k for k in _KEYS if set(k) & set(present)), _KEYS[0])
    for key in keys:
      if key not in present:
        raise _reading.problem(
          path,
          f'the key {key!r}',
          f'the keys {_limits.listed(present) or "of an empty archive"}',
        )
    arrays = [archive.read(key) for key in keys]
  out = []
  regression = arrays[1].dtype.kind == 'f'
  for i in (0, 2):
    inputs, labels = arrays[i], arrays[i + 1]
    if inputs.ndim < 1 or inputs.dtype.kind not in 'fiub':
      raise _reading.problem(
        f'{path} [{keys[i]}]',
        'numbers with a leading example axis',
        f'{inputs.dtype} of shape {inputs.shape}',
      )
    if regression:
      if labels.dtype.kind != 'f' or labels.ndim < 1:
        raise _reading.problem(
          f'{path} [{keys[i + 1]}]',
          f'floating-point targets as in {keys[1]}',
          f'{labels.dtype} of shape {labels.shape}',
        )
      labels = _reading.as_float32(f'{path} [{keys[i + 1]}]', labels)
    else:
      if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
      labels = _reading.label_array(
        f'{path} [{keys[i + 1]}]', labels, num_classes
      )
    _reading.same_length(f'{path} [{keys[i]}, {keys[i + 1]}]', inputs, labels)
    inputs = _reading.as_float32(f'{path} [{keys[i]}]', inputs)
    out += [inputs * np.float32(scale), labels]
  if not out[0].size:
    raise _reading.problem(
      f'{path} [{keys[0]}]', 'at least one example', f'shape {out[0].shape}'
    )
  if regression and out[1].shape[1:] != out[3].shape[1:]:
    raise _reading.problem(
      f'{path} [{keys[3]}]',
      f'targets of shape {out[1].shape[1:]} as in {keys[1]}',
      f'shape {out[3].shape[1:]}',
    )
  if out[0].shape[1:] != out[2].shape[1:]:
    raise _reading.problem(
      f'{path} [{keys[2]}]',
      f'inputs of shape {out[0].shape[1:]} as in {keys[0]}',
      f'shape {out[2].shape[1:]}',
    )
  if regression:
    num_classes = 0
  elif num_classes is None:
    num_classes = _reading.num_classes_of([out[1], out[3]])
  return _dataset.Dataset(*out, num_classes=num_classes, name=name or path.stem)
