# SPDX-License-Identifier: Apache-2.0
"""A folder of `.npy` files, of which inputs stay on disk."""

import os
import pathlib

import numpy as np

from jaxdl.data import _dataset
from jaxdl.data.files import _bounded, _limits, _reading

_INPUTS = ('train_inputs', 'test_inputs')
_LABELS = ('train_labels', 'test_labels')


def load_npy(
  data_dir: str | os.PathLike[str],
  *,
  num_classes: int | None = None,
  name: str | None = None,
) -> _dataset.Dataset:
  """Opens a data set whose training inputs need not fit into memory.

  The folder holds `train_inputs.npy`, `train_labels.npy`, `test_inputs.npy` and
  `test_labels.npy`, as `save_npy` writes them. Training inputs are mapped into
  memory and read where somebody asks for them: `problems.classification` and
  `problems.clients` gather the batches of a round on the host, ahead of the
  device.

  Args:
    data_dir: the folder.
    num_classes: K; one more than the largest label if None.
    name: what to call the data set; the folder's name if None.

  Returns:
    The data set; `train_inputs` is a `np.memmap`, f32 in C order. All else is
    read.

  Raises:
    FileNotFoundError: if the folder or a file is missing.
    FileError: if a file is broken or holds something else, or files do not fit
      together; names the file.
  """
  found = {
    key: _reading.find(data_dir, [f'{key}.npy']) for key in (*_INPUTS, *_LABELS)
  }
  arrays = {key: _mapped(path) for key, path in found.items()}
  labels = {
    key: _reading.label_array(found[key], arrays[key], num_classes)
    for key in _LABELS
  }
  for inputs, key in zip(_INPUTS, _LABELS, strict=True):
    x = arrays[inputs]
    if x.dtype != np.float32 or x.ndim < 2:
      raise _reading.problem(
        found[inputs],
        'float32 numbers with a leading example axis',
        f'{x.dtype} of shape {x.shape}',
      )
    _reading.same_length(
      f'{found[inputs]} and {found[key].name}', x, labels[key]
    )
    if not x.size:
      raise _reading.problem(
        found[inputs], 'at least one example', f'shape {x.shape}'
      )
  train, test = (arrays[key] for key in _INPUTS)
  if train.shape[1:] != test.shape[1:]:
    raise _reading.problem(
      found['test_inputs'],
      f'inputs of shape {train.shape[1:]} as in train_inputs.npy',
      f'shape {test.shape[1:]}',
    )
  if num_classes is None:
    num_classes = _reading.num_classes_of(list(labels.values()))
  with _bounded.reading(found['test_inputs'], '.npy'):
    held = np.array(test)
  return _dataset.Dataset(
    train,
    labels['train_labels'],
    held,
    labels['test_labels'],
    num_classes=num_classes,
    name=name or pathlib.Path(data_dir).resolve().name,
  )


def _mapped(path):
  """A file as an array that is read when it is used."""
  with _bounded.reading(path, '.npy'):
    shape, fortran, dtype, offset = _bounded.npy_shape(path)
    if fortran or dtype.hasobject or not dtype.isnative:
      raise _limits.FileError(
        f'{path}: expected plain numbers in C order, got {dtype}'
        f'{" in Fortran order" if fortran else ""}: write it by '
        'np.save(path, np.ascontiguousarray(x)).'
      )
    if 0 in shape:
      return np.empty(shape, dtype)
    return np.memmap(path, dtype, 'r', offset, shape)


def save_npy(
  dataset: _dataset.Dataset, data_dir: str | os.PathLike[str]
) -> pathlib.Path:
  """Writes a data set of classes as `load_npy` reads it.

  Args:
    dataset: any with integer labels [n].
    data_dir: the folder; made if it is missing.

  Returns:
    The folder.

  Example:
    >>> import tempfile
    >>> from jaxdl import data
    >>> folder = save_npy(data.load_dataset('wine'), tempfile.mkdtemp())
    >>> data.load_dataset('npy', folder).train_inputs.shape
    (133, 13)
  """
  folder = pathlib.Path(data_dir)
  folder.mkdir(parents=True, exist_ok=True)
  for key in (*_INPUTS, *_LABELS):
    kind = np.float32 if key in _INPUTS else np.int32
    value = np.ascontiguousarray(getattr(dataset, key), kind)
    np.save(folder / f'{key}.npy', value)
  return folder
