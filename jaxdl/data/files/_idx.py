# SPDX-License-Identifier: Apache-2.0
"""IDX files: MNIST, Fashion-MNIST and everything else in their format."""

import math
import os

import numpy as np

from jaxdl.data import _dataset
from jaxdl.data.files import _bounded, _limits, _reading

_DTYPES = {
  0x08: '>u1',
  0x09: '>i1',
  0x0B: '>i2',
  0x0C: '>i4',
  0x0D: '>f4',
  0x0E: '>f8',
}
_FOLDERS = {
  'mnist': ('', 'mnist', 'MNIST/raw', 'MNIST'),
  'fashion_mnist': ('', 'fashion_mnist', 'FashionMNIST/raw', 'fashion-mnist'),
}
# Mean and deviation of the train pixels in [0, 1].
_MOMENTS = {'mnist': (0.1307, 0.3081), 'fashion_mnist': (0.2860, 0.3530)}


def read_idx(
  path: str | os.PathLike[str], *, max_bytes: int = _limits.MAX_BYTES
) -> np.ndarray:
  """Reads one IDX file, plain or `.gz`.

  Args:
    path: the file.
    max_bytes: most bytes that the array may take, unless the file itself is
      larger.

  Returns:
    The array, in native byte order, with the dtype that the file declares.

  Raises:
    FileNotFoundError: if the file is missing.
    ValueError: if the magic number, the header or the length is wrong; names
      the file.
  """
  path = _reading.existing(path)
  budget = _limits.Budget(path, max_bytes)
  with _bounded.unpacked(path) as stream:
    head = stream.read(4)
    if len(head) < 4:
      raise _reading.problem(path, 'an IDX header', f'{len(head)} bytes')
    if head[:2] != b'\0\0' or head[2] not in _DTYPES or not 1 <= head[3] <= 32:
      raise _reading.problem(
        path,
        'an IDX magic number (00 00, type 08..0e, rank 1..32)',
        f'bytes {head.hex(" ")}',
      )
    dtype = np.dtype(_DTYPES[head[2]])
    sizes = stream.read(4 * head[3])
    start = 4 + 4 * head[3]
    if len(sizes) + 4 < start:
      raise _reading.problem(
        path, f'an IDX header of {start} bytes', f'{len(sizes) + 4} bytes'
      )
    shape = tuple(int(d) for d in np.frombuffer(sizes, '>u4'))
    size = math.prod(shape) * dtype.itemsize
    plain = path.suffix != '.gz'
    got = path.stat().st_size - start if plain else size
    content = bytearray()
    if got == size:
      budget.take(size, f'shape {shape}')
      # One more byte than there should be, which also checks the checksum.
      content = _bounded.read_up_to(stream, size + 1)
      got = len(content)
    if got != size:
      more = 'at least ' if not plain and got > size else ''
      raise _reading.problem(
        path,
        f'{start + size} bytes for shape {shape}',
        f'{more}{start + got} bytes',
      )
  with _bounded.reading(path, 'IDX'):
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder('='), copy=False)


def load_mnist(
  data_dir: str | os.PathLike[str],
  *,
  normalize: bool = True,
  flatten: bool = False,
  max_bytes: int = _limits.MAX_BYTES,
) -> _dataset.Dataset:
  """Loads MNIST from its four IDX files (plain or `.gz`).

  Looks for `train-images-idx3-ubyte` and so on in `data_dir` and in the usual
  folders below it. Nothing is downloaded.

  Args:
    data_dir: folder of the files.
    normalize: `(pixel / 255 - 0.1307) / 0.3081` if true, `pixel / 255`
      otherwise.
    flatten: inputs f32[n, 784] if true, f32[n, 28, 28, 1] otherwise.
    max_bytes: most bytes that one file may unpack to, unless it is larger.

  Returns:
    The data set.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a file is truncated, corrupt, empty or does not match its
      peer; names the file.

  Source: LeCun et al. 1998, the file format of the MNIST database.
  """
  return _load('mnist', data_dir, normalize, flatten, max_bytes)


def load_fashion_mnist(
  data_dir: str | os.PathLike[str],
  *,
  normalize: bool = True,
  flatten: bool = False,
  max_bytes: int = _limits.MAX_BYTES,
) -> _dataset.Dataset:
  """Loads Fashion-MNIST from its four IDX files (plain or `.gz`).

  Args:
    data_dir: folder of the files.
    normalize: `(pixel / 255 - 0.2860) / 0.3530` if true, `pixel / 255`
      otherwise.
    flatten: inputs f32[n, 784] if true, f32[n, 28, 28, 1] otherwise.
    max_bytes: most bytes that one file may unpack to, unless it is larger.

  Returns:
    The data set.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a file is truncated, corrupt, empty or does not match its
      peer; names the file.

  Source: Xiao et al. 2017 (https://arxiv.org/abs/1708.07747).
  """
  return _load('fashion_mnist', data_dir, normalize, flatten, max_bytes)


def _load(name, data_dir, normalize, flatten, max_bytes) -> _dataset.Dataset:
  paths = [
    _reading.find(data_dir, _spellings(stem, rank), _FOLDERS[name])
    for stem, rank in (
      ('train-images', 3),
      ('train-labels', 1),
      ('t10k-images', 3),
      ('t10k-labels', 1),
    )
  ]
  arrays = []
  for i in (0, 2):
    images = read_idx(paths[i], max_bytes=max_bytes)
    labels = read_idx(paths[i + 1], max_bytes=max_bytes)
    if images.dtype != np.uint8 or images.ndim != 3:
      raise _reading.problem(
        paths[i],
        'a uint8 array of rank 3',
        f'{images.dtype} of shape {images.shape}',
      )
    if not images.size:
      raise _reading.problem(
        paths[i], 'at least one image', f'shape {images.shape}'
      )
    labels = _reading.label_array(paths[i + 1], labels, 10)
    _reading.same_length(
      f'{paths[i + 1]} (labels of {paths[i].name})', images, labels
    )
    arrays += [images, labels]
  if arrays[0].shape[1:] != arrays[2].shape[1:]:
    raise _reading.problem(
      paths[2],
      f'images of shape {arrays[0].shape[1:]} as in {paths[0].name}',
      f'shape {arrays[2].shape[1:]}',
    )
  for i in (0, 2):
    x = arrays[i].astype(np.float32) / np.float32(255)
    if normalize:
      mean, std = _MOMENTS[name]
      x = (x - np.float32(mean)) / np.float32(std)
    arrays[i] = x.reshape(len(x), -1) if flatten else x[..., None]
  return _dataset.Dataset(*arrays, num_classes=10, name=name)


def _spellings(stem: str, rank: int) -> list[str]:
  plain = [f'{stem}-idx{rank}-ubyte', f'{stem}.idx{rank}-ubyte']
  return plain + [f'{name}.gz' for name in plain]
