# SPDX-License-Identifier: Apache-2.0
"""Every loader on hundreds of damaged copies of a good file.

The outcome is a result of the right types, or one sentence that names the file.
"""

import gzip
import json
import pathlib
import pickle
import sqlite3
import struct
import tempfile
import warnings
import zlib

import h5py
import msgpack
import numpy as np
import scipy.io
from absl.testing import absltest, parameterized

from jaxdl import data
from jaxdl.pde import sets

_NUM_DAMAGED = 200
_MAX_BYTES = 2**22


def idx(array):
  head = bytes([0, 0, 8, array.ndim])
  return head + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes()


def write_mnist(folder, ending=''):
  images = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
  pack = gzip.compress if ending else bytes
  for split in ('train', 't10k'):
    for name, array in (
      ('images-idx3', images),
      ('labels-idx1', images[0, 0, :2]),
    ):
      path = folder / f'{split}-{name}-ubyte{ending}'
      path.write_bytes(pack(idx(array)))


def write_cifar(folder, protocol):
  batch = {b'data': np.zeros((1, 3072), np.uint8), b'labels': [3], b'x': b'y'}
  for name in (*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch'):
    (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))


def write_npz(folder, save):
  save(
    folder / 'a.npz',
    x_train=np.arange(12, dtype=np.uint8).reshape(3, 2, 2),
    y_train=np.array([0, 3, 1]),
    x_test=np.zeros((1, 2, 2), np.uint8),
    y_test=np.array([2]),
  )


def write_deeponet(folder):
  pair = np.empty(2, object)
  pair[:] = [np.ones((3, 4)), np.ones((5, 2))]
  np.savez(folder / 'a.npz', X_train=pair, y_train=np.ones((3, 5)))


def write_leaf(folder, x, y):
  user = {'x': x, 'y': y}
  content = {'users': ['u'], 'num_samples': [2], 'user_data': {'u': user}}
  for split in ('train', 'test'):
    (folder / split).mkdir()
    (folder / split / 'a.json').write_text(json.dumps(content))


def features(n):
  pixels = np.linspace(0, 1, n * 784, dtype=np.float32).reshape(n, 28, 28)
  return {'pixels': pixels, 'label': np.arange(n, dtype=np.int32)}


def write_tff(folder, **options):
  for split in ('train', 'test'):
    with h5py.File(folder / f'fed_emnist_{split}.h5', 'w') as file:
      for name, value in features(2).items():
        file.create_dataset(f'examples/u/{name}', data=value, **options)


def write_fedjax(folder):
  def extension(x):
    body = (x.shape, x.dtype.name, x.tobytes())
    return msgpack.ExtType(1, msgpack.packb(body, use_bin_type=True))

  for split in ('train', 'test'):
    path = folder / f'federated_emnist_{split}.sqlite'
    connection = sqlite3.connect(path)
    connection.execute('PRAGMA page_size = 512')
    connection.execute(
      'CREATE TABLE federated_data (client_id BLOB PRIMARY KEY, data BLOB, '
      'num_examples INTEGER)'
    )
    for n in (1, 2):
      row = {**features(n), 'pixels': np.zeros((n, 28, 28), np.float32)}
      packed = zlib.compress(msgpack.packb(row, default=extension))
      connection.execute(
        'INSERT INTO federated_data VALUES (?, ?, ?)', (b'f%d' % n, packed, n)
      )
    connection.commit()
    connection.close()


def write_mat(folder, packed):
  rng = np.random.default_rng(0)
  fields = {'coeff': rng.normal(size=(2, 5, 5)), 'text': 'text'}
  fields['sol'] = fields['coeff'].astype(np.float32)
  fields['c'] = np.array([[1 + 2j, 3]])
  scipy.io.savemat(folder / 'a.mat', fields, do_compression=packed)


def write_new_mat(folder, **options):
  with h5py.File(folder / 'a.mat', 'w', userblock_size=512) as file:
    for name in ('coeff', 'sol'):
      value = np.random.default_rng(0).normal(size=(5, 5, 2))
      file.create_dataset(name, data=value, **options)


def write_pdebench(folder, grouped, **options):
  value = np.random.default_rng(0).normal(size=(10, 2, 4, 1))
  with h5py.File(folder / 'a.h5', 'w') as file:
    for i in range(2 if grouped else 0):
      file.create_dataset(f'{i}/data', data=value[i], **options)
      file[f'{i}/grid/x'] = np.arange(4.0)
    if not grouped:
      file.create_dataset('tensor', data=value, **options)
      file['nu'] = value[:, 0]
      file['t-coordinate'] = np.arange(2.0)


def write_text(folder):
  for name in ('train.tsv', 'dev.tsv'):
    (folder / name).write_bytes('sentence\tlabel\nüb\t1\nbad\t0\n'.encode())


_GZIP = dict(chunks=True, compression='gzip', shuffle=True, fletcher32=True)
_LZF = dict(chunks=True, compression='lzf')
_IMAGES = 'train-images-idx3-ubyte'
_mat = lambda d: sets.load_mat(d / 'a.mat', max_bytes=_MAX_BYTES)
_darcy = lambda d: sets.load_operator_mat(
  d / 'a.mat', 'darcy', subsample=2, max_bytes=_MAX_BYTES
)
_pde = lambda d: sets.load_pdebench(d / 'a.h5', max_bytes=_MAX_BYTES)
_cifar = lambda d: data.load_cifar10(d, version='python')
_tff = lambda d: data.load_tff(d, max_bytes=_MAX_BYTES)

# Name -> (write, the file that is damaged, load).
_CASES = {
  'mnist': (write_mnist, _IMAGES, data.load_mnist),
  'mnist_gz': (
    lambda d: write_mnist(d, '.gz'),
    f'{_IMAGES}.gz',
    lambda d: data.load_mnist(d, max_bytes=_MAX_BYTES),
  ),
  'cifar_0': (lambda d: write_cifar(d, 0), 'data_batch_1', _cifar),
  'cifar_2': (lambda d: write_cifar(d, 2), 'data_batch_1', _cifar),
  'cifar_5': (lambda d: write_cifar(d, 5), 'data_batch_1', _cifar),
  'npz': (
    lambda d: write_npz(d, np.savez),
    'a.npz',
    lambda d: data.load_npz(d / 'a.npz', max_bytes=_MAX_BYTES),
  ),
  'npz_packed': (
    lambda d: write_npz(d, np.savez_compressed),
    'a.npz',
    lambda d: sets.load_npz(d / 'a.npz', max_bytes=_MAX_BYTES),
  ),
  'deeponet': (
    write_deeponet,
    'a.npz',
    lambda d: sets.load_deeponet_npz(
      d / 'a.npz', allow_pickle=True, max_bytes=_MAX_BYTES
    ),
  ),
  'npy': (
    lambda d: np.save(d / 'a.npy', np.ones((3, 5, 5))),
    'a.npy',
    lambda d: sets.load_npy(d / 'a.npy', subsample=2),
  ),
  'leaf': (
    lambda d: write_leaf(d, [[1, 0.5], [0.25, 1e-3]], [3, 1]),
    'train/a.json',
    data.load_leaf,
  ),
  'leaf_text': (
    lambda d: write_leaf(d, ['abc', 'bcd'], ['d', 'a']),
    'train/a.json',
    data.load_leaf,
  ),
  'tff': (write_tff, 'fed_emnist_train.h5', _tff),
  'tff_gzip': (lambda d: write_tff(d, **_GZIP), 'fed_emnist_train.h5', _tff),
  'fedjax': (
    write_fedjax,
    'federated_emnist_train.sqlite',
    lambda d: data.load_fedjax(d, max_bytes=_MAX_BYTES),
  ),
  'mat': (lambda d: write_mat(d, False), 'a.mat', _mat),
  'mat_packed': (lambda d: write_mat(d, True), 'a.mat', _mat),
  'mat_darcy': (lambda d: write_mat(d, False), 'a.mat', _darcy),
  'mat_new': (write_new_mat, 'a.mat', _mat),
  'mat_new_gzip': (lambda d: write_new_mat(d, **_GZIP), 'a.mat', _darcy),
  'pdebench': (lambda d: write_pdebench(d, False, **_LZF), 'a.h5', _pde),
  'pdebench_groups': (lambda d: write_pdebench(d, True, **_GZIP), 'a.h5', _pde),
  'sst2': (write_text, 'train.tsv', data.load_sst2),
}


def damaged(raw, rng):
  """Cuts, flips, inflates and moves bytes, more often near the beginning."""
  out = bytearray(raw)
  kind = rng.integers(7)
  last = len(out) if rng.integers(2) else min(len(out), 600)
  for _ in range(rng.integers(1, 4)):
    at = int(rng.integers(last))
    width = 1 << int(rng.integers(4))
    if kind == 0:
      out[at : at + 1] = bytes([out[at] ^ 1 << int(rng.integers(8))])
    elif kind == 1:
      out[at : at + width] = b'\xff' * width
    elif kind == 2:
      out[at : at + width] = bytes(width)
    elif kind == 3:
      size = int(rng.choice([1, 2, 65536, 2**30, 2**31 - 1, 2**31]))
      out[at : at + 4] = size.to_bytes(4, rng.choice(['little', 'big']))
    elif kind == 4:
      out[at : at + 8] = rng.bytes(8)
    elif kind == 5:
      other = int(rng.integers(len(out)))
      out[at:at] = out[other : other + 40]
    else:
      del out[at:]
    last = min(last, len(out)) or 1
    if not out:
      break
  return bytes(out)


def leaves(value):
  if isinstance(value, dict):
    value = tuple(value.values())
  if isinstance(value, (tuple, list)):
    return [leaf for item in value for leaf in leaves(item)]
  return [value]


class DamagedFilesTest(parameterized.TestCase):
  @parameterized.parameters(*_CASES)
  def test_outcome_is_data_or_one_sentence(self, name):
    write, victim, load = _CASES[name]
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      write(folder)
      path = folder / victim
      raw = path.read_bytes()
      good = load(folder)
      refused = 0
      for seed in range(_NUM_DAMAGED):
        path.unlink()  # A mapped file is not written to.
        path.write_bytes(damaged(raw, np.random.default_rng(seed)))
        with warnings.catch_warnings():
          warnings.simplefilter('error')
          try:
            got = load(folder)
          except ValueError as error:
            refused += 1
            text = str(error)
            self.assertIn(str(path), text)
            self.assertNotIn('\n', text)
            self.assertLess(len(text), 3 * len(str(path)) + 600)
            continue
        self.assertIs(type(got), type(good))
        for leaf in leaves(got):
          if isinstance(leaf, np.ndarray):
            self.assertIn(leaf.dtype.kind, 'biufc')
            self.assertLess(leaf.nbytes, 2 * _MAX_BYTES)
          else:
            self.assertIsInstance(leaf, (str, int, bytes, type(None)))
      self.assertGreater(refused, _NUM_DAMAGED // 10)


if __name__ == '__main__':
  absltest.main()
