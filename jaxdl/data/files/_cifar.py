# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 from local files, in the binary or the Python distribution."""

import os

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset
from jaxdl.data.files import _limits, _reading, _unpickle

_RECORD = 1 + 3 * 32 * 32
_MEAN = np.array([[[[0.4914, 0.4822, 0.4465]]]], np.float32)
_STD = np.array([[[[0.2470, 0.2435, 0.2616]]]], np.float32)
_BATCHES = (*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch')


def load_cifar10(
  data_dir: str | os.PathLike[str],
  *,
  version: str = 'auto',
  normalize: bool = True,
  flatten: bool = False,
) -> _dataset.Dataset:
  """Loads CIFAR-10 from its six batch files.

  Looks in `data_dir` and in the folder that the archive unpacks to. The
  batches of the Python distribution are read without unpickling anything but
  dicts, lists, strings, numbers and plain arrays.

  Args:
    data_dir: folder of the files.
    version: `'binary'` (`data_batch_1.bin`, ...), `'python'`
      (`data_batch_1`, ...), or `'auto'` for the first that is there.
    normalize: subtract the per-channel mean and divide by the deviation if
      true, pixels in [0, 1] otherwise.
    flatten: inputs f32[n, 3072] if true, f32[n, 32, 32, 3] otherwise.

  Returns:
    The data set, 50000 train and 10000 test examples for the real files.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a file is truncated or corrupt.

  Source: Krizhevsky 2009, "Learning multiple layers of features from tiny
  images", the format on the data set's page.
  """
  checks.choice(version, ('auto', 'binary', 'python'), name='version')
  if version == 'auto':
    try:
      _find(data_dir, 'data_batch_1', 'binary')
      version = 'binary'
    except FileNotFoundError as missing:
      try:
        _find(data_dir, 'data_batch_1', 'python')
        version = 'python'
      except FileNotFoundError:
        raise missing from None
  paths = [_find(data_dir, name, version) for name in _BATCHES]
  read = _read_binary if version == 'binary' else _read_python
  pixels, labels = zip(*(read(path) for path in paths), strict=True)
  arrays = []
  for part in (slice(0, 5), slice(5, 6)):
    x = np.concatenate(pixels[part]).reshape(-1, 3, 32, 32)
    x = x.transpose(0, 2, 3, 1).astype(np.float32) / np.float32(255)
    if normalize:
      x = (x - _MEAN) / _STD
    arrays.append(x.reshape(len(x), -1) if flatten else x)
    arrays.append(np.concatenate(labels[part]))
  return _dataset.Dataset(*arrays, num_classes=10, name='cifar10')


def _find(data_dir, name, version):
  if version == 'binary':
    name, folder = f'{name}.bin', 'cifar-10-batches-bin'
  else:
    folder = 'cifar-10-batches-py'
  return _reading.find(data_dir, [name], ['', folder, f'cifar10/{folder}'])


def _read_binary(path) -> tuple[np.ndarray, np.ndarray]:
  content = np.frombuffer(_reading.read_bytes(path), np.uint8)
  if not content.size or content.size % _RECORD:
    raise _reading.problem(
      path, f'records of {_RECORD} bytes', f'{content.size} bytes'
    )
  records = content.reshape(-1, _RECORD)
  labels = _reading.label_array(path, records[:, 0], 10)
  return records[:, 1:], labels


def _read_python(path) -> tuple[np.ndarray, np.ndarray]:
  try:
    batch = _unpickle.loads(_reading.read_bytes(path))
  except _limits.FileError:
    raise
  except ValueError as error:
    raise _reading.problem(path, 'a pickle of plain data', str(error)) from None
  if not isinstance(batch, dict):
    raise _reading.problem(path, 'a dict', type(batch).__name__)
  # Files rewritten by Python 3 have str keys.
  batch = {
    key.encode('latin1', 'replace') if isinstance(key, str) else key: value
    for key, value in batch.items()
  }
  for key in (b'data', b'labels'):
    if key not in batch:
      raise _reading.problem(
        path,
        f'the key {key.decode()!r}',
        f'the keys {_limits.listed(batch) or "of an empty dict"}',
      )
  pixels = batch[b'data']
  if (
    not isinstance(pixels, np.ndarray)
    or pixels.dtype != np.uint8
    or pixels.ndim != 2
    or pixels.shape[1] != _RECORD - 1
  ):
    got = type(pixels).__name__
    if isinstance(pixels, np.ndarray):
      got = f'{pixels.dtype} of shape {pixels.shape}'
    raise _reading.problem(path, f'data uint8[n, {_RECORD - 1}]', got)
  labels = batch[b'labels']
  good = isinstance(labels, np.ndarray) or (
    isinstance(labels, list) and all(type(y) is int for y in labels)
  )
  if not good:
    raise _reading.problem(path, 'a list of integer labels', 'something else')
  labels = _reading.label_array(path, labels, 10)
  _reading.same_length(path, pixels, labels)
  if not len(labels):
    raise _reading.problem(path, 'at least one example', 'none')
  return pixels, labels
