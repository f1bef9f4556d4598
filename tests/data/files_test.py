# SPDX-License-Identifier: Apache-2.0
import gzip
import io
import os
import pathlib
import pickle
import struct
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data
from jaxdl.data.files import _unpickle


def idx_bytes(array, code=0x08):
  """Encodes big-endian IDX by hand."""
  head = bytes([0, 0, code, array.ndim])
  head += b''.join(struct.pack('>I', n) for n in array.shape)
  return head + array.astype(array.dtype.newbyteorder('>')).tobytes()


class FileCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.dir = pathlib.Path(folder.name)

  def write(self, name, content):
    path = self.dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class IdxTest(FileCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.arrays = {
      'train-images-idx3-ubyte': rng.integers(0, 256, (3, 28, 28), np.uint8),
      'train-labels-idx1-ubyte': np.array([0, 9, 4], np.uint8),
      't10k-images-idx3-ubyte': rng.integers(0, 256, (2, 28, 28), np.uint8),
      't10k-labels-idx1-ubyte': np.array([1, 2], np.uint8),
    }

  def write_all(self, folder='', pack=False):
    for name, array in self.arrays.items():
      content = idx_bytes(array)
      if pack:
        name, content = f'{name}.gz', gzip.compress(content)
      self.write(os.path.join(folder, name), content)

  @parameterized.product(
    name=['mnist', 'fashion_mnist'],
    folder=['', 'raw'],
    pack=[False, True],
  )
  def test_pixels_and_labels_come_back(self, name, folder, pack):
    if folder:
      folder = {'mnist': 'MNIST/raw', 'fashion_mnist': 'FashionMNIST/raw'}[name]
    self.write_all(folder, pack)
    got = data.load_dataset(name, self.dir)
    mean, std = (0.1307, 0.3081) if name == 'mnist' else (0.2860, 0.3530)
    want = self.arrays['train-images-idx3-ubyte'].astype(np.float64) / 255
    np.testing.assert_allclose(
      got.train_inputs[..., 0], (want - mean) / std, atol=1e-6
    )
    self.assertEqual(got.train_labels.tolist(), [0, 9, 4])
    self.assertEqual(got.test_labels.tolist(), [1, 2])
    self.assertEqual(got.test_inputs.shape, (2, 28, 28, 1))
    self.assertEqual(got.train_labels.dtype, np.int32)
    self.assertEqual((got.num_classes, got.name), (10, name))

  def test_raw_and_flat(self):
    self.write_all()
    got = data.load_mnist(self.dir, normalize=False, flatten=True)
    self.assertEqual(got.train_inputs.shape, (3, 784))
    np.testing.assert_allclose(
      got.train_inputs * 255,
      self.arrays['train-images-idx3-ubyte'].reshape(3, 784),
      atol=1e-4,
    )

  @parameterized.parameters(
    (0x08, 'uint8'),
    (0x09, 'int8'),
    (0x0B, 'int16'),
    (0x0C, 'int32'),
    (0x0D, 'float32'),
    (0x0E, 'float64'),
  )
  def test_every_type_of_the_format(self, code, dtype):
    array = np.array([[1, 2, 3], [-4, 100, 6]]).astype(dtype)
    got = data.files.read_idx(self.write('a.idx', idx_bytes(array, code)))
    self.assertEqual(got.dtype, np.dtype(dtype))
    np.testing.assert_array_equal(got, array)

  @parameterized.named_parameters(
    ('empty', lambda b: b'', r'expected an IDX header, got 0 bytes'),
    ('magic', lambda b: b'\x1f' + b[1:], r'IDX magic number .* bytes 1f 00 08'),
    ('type', lambda b: b[:2] + b'\x07' + b[3:], r'IDX magic number'),
    ('header', lambda b: b[:9], r'IDX header of 16 bytes, got 9 bytes'),
    (
      'short',
      lambda b: b[:-1],
      r'2368 bytes for shape \(3, 28, 28\), got 2367',
    ),
    ('long', lambda b: b + b'x', r'2368 bytes .* got 2369 bytes'),
  )
  def test_corrupt_file_is_one_sentence(self, damage, message):
    self.write_all()
    name = 'train-images-idx3-ubyte'
    path = self.write(name, damage(idx_bytes(self.arrays[name])))
    with self.assertRaisesRegex(ValueError, message) as caught:
      data.load_mnist(self.dir)
    self.assertStartsWith(str(caught.exception), str(path))

  @parameterized.named_parameters(
    ('cut', lambda b: b[:-20], 'a complete gzip stream, got a truncated one'),
    ('plain', lambda b: b'no gzip at all', 'a gzip stream, got something else'),
    ('flip', lambda b: b[:200] + b'\0\0\0\0' + b[204:], 'gzip stream'),
  )
  def test_corrupt_gzip_is_one_sentence(self, damage, message):
    self.write_all(pack=True)
    name = 't10k-images-idx3-ubyte'
    content = gzip.compress(idx_bytes(self.arrays[name]))
    self.write(f'{name}.gz', damage(content))
    with self.assertRaisesRegex(ValueError, message):
      data.load_mnist(self.dir)

  def test_missing_file_says_where_it_looked(self):
    self.write_all()
    (self.dir / 't10k-labels-idx1-ubyte').unlink()
    with self.assertRaisesRegex(
      FileNotFoundError, r't10k-labels-idx1-ubyte: .*/MNIST/raw'
    ):
      data.load_mnist(self.dir)
    with self.assertRaisesRegex(FileNotFoundError, 'a folder that holds train'):
      data.load_mnist(self.dir / 'nowhere')

  def test_files_that_do_not_belong_together(self):
    self.arrays['train-labels-idx1-ubyte'] = np.array([1, 2], np.uint8)
    self.write_all()
    with self.assertRaisesRegex(ValueError, '3 inputs and 2 labels'):
      data.load_mnist(self.dir)
    self.arrays['train-labels-idx1-ubyte'] = np.array([1, 2, 10], np.uint8)
    self.write_all()
    with self.assertRaisesRegex(ValueError, r'labels in 0..9, got .* 1..10'):
      data.load_mnist(self.dir)
    self.arrays['train-labels-idx1-ubyte'] = np.array([1, 2, 3], np.uint8)
    self.arrays['t10k-images-idx3-ubyte'] = np.zeros((2, 5, 5), np.uint8)
    self.write_all()
    with self.assertRaisesRegex(ValueError, r'as in train-images.*\(5, 5\)'):
      data.load_mnist(self.dir)


class CifarTest(FileCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.pixels = rng.integers(0, 256, (6, 2, 3072), np.uint8)
    self.labels = rng.integers(0, 10, (6, 2))
    self.names = [f'data_batch_{i}' for i in range(1, 6)] + ['test_batch']

  def write_binary(self, folder='cifar-10-batches-bin'):
    for name, x, y in zip(self.names, self.pixels, self.labels, strict=True):
      rows = np.column_stack([y.astype(np.uint8), x])
      self.write(os.path.join(folder, f'{name}.bin'), rows.tobytes())

  def write_python(self, protocol=2, keys=bytes):
    for name, x, y in zip(self.names, self.pixels, self.labels, strict=True):
      batch = {'data': x, 'labels': y.tolist(), 'batch_label': 'batch'}
      if keys is bytes:
        batch = {key.encode(): value for key, value in batch.items()}
      self.write(
        f'cifar-10-batches-py/{name}', pickle.dumps(batch, protocol=protocol)
      )

  def check(self, got):
    want = np.empty((10, 32, 32, 3))
    for n, row in enumerate(self.pixels[:5].reshape(10, 3072)):
      for c in range(3):
        plane = row[1024 * c : 1024 * (c + 1)].reshape(32, 32)
        want[n, :, :, c] = plane / 255.0
    np.testing.assert_allclose(got.train_inputs, want, atol=1e-6)
    self.assertEqual(
      got.train_labels.tolist(), self.labels[:5].ravel().tolist()
    )
    self.assertEqual(got.test_labels.tolist(), self.labels[5].tolist())
    self.assertEqual(got.test_inputs.shape, (2, 32, 32, 3))

  def test_binary_version(self):
    self.write_binary()
    self.check(data.load_cifar10(self.dir, normalize=False))

  @parameterized.product(protocol=[0, 1, 2, 3, 4, 5], keys=[bytes, str])
  def test_python_version_of_every_protocol(self, protocol, keys):
    self.write_python(protocol, keys)
    self.check(data.load_cifar10(self.dir, normalize=False))

  def test_normalized_channels(self):
    self.write_binary('')
    raw = data.load_cifar10(self.dir, normalize=False).test_inputs
    got = data.load_cifar10(self.dir, flatten=True).test_inputs
    self.assertEqual(got.shape, (2, 3072))
    np.testing.assert_allclose(
      got.reshape(2, 32, 32, 3)[..., 2] * 0.2616 + 0.4465,
      raw[..., 2],
      atol=1e-6,
    )

  @parameterized.named_parameters(
    ('short', lambda b: b[:-1], 'records of 3073 bytes, got 6145 bytes'),
    ('empty', lambda b: b'', 'records of 3073 bytes, got 0 bytes'),
    ('label', lambda b: b'\x0b' + b[1:], r'labels in 0..9, got'),
  )
  def test_corrupt_binary_is_one_sentence(self, damage, message):
    self.write_binary()
    path = self.dir / 'cifar-10-batches-bin/data_batch_3.bin'
    path.write_bytes(damage(path.read_bytes()))
    with self.assertRaisesRegex(ValueError, f'data_batch_3.bin: .*{message}'):
      data.load_cifar10(self.dir)

  @parameterized.named_parameters(
    ('cut', lambda b: pickle.dumps(b)[:-50], 'truncated'),
    ('noise', lambda b: b'hello', 'got'),
    ('list', lambda b: pickle.dumps([b]), 'a dict, got list'),
    ('key', lambda b: pickle.dumps({'data': b['data']}), "the key 'labels'"),
    (
      'length',
      lambda b: pickle.dumps({**b, 'labels': [1]}),
      '2 inputs and 1 labels',
    ),
    (
      'shape',
      lambda b: pickle.dumps({**b, 'data': b['data'][:, :7]}),
      r'uint8\[n, 3072\], got uint8 of shape \(2, 7\)',
    ),
    (
      'kind',
      lambda b: pickle.dumps({**b, 'labels': ['a', 'b']}),
      'a list of integer labels',
    ),
  )
  def test_corrupt_pickle_is_one_sentence(self, make, message):
    self.write_python()
    batch = {'data': self.pixels[0], 'labels': [1, 2]}
    self.write('cifar-10-batches-py/data_batch_1', make(batch))
    with self.assertRaisesRegex(ValueError, f'data_batch_1: .*{message}'):
      data.load_cifar10(self.dir, version='python')

  def test_missing_batch_is_named(self):
    self.write_binary()
    (self.dir / 'cifar-10-batches-bin/test_batch.bin').unlink()
    with self.assertRaisesRegex(FileNotFoundError, 'test_batch.bin'):
      data.load_cifar10(self.dir)
    with self.assertRaisesRegex(FileNotFoundError, 'data_batch_1'):
      data.load_cifar10(self.dir, version='python')
    with self.assertRaisesRegex(ValueError, "version='zip' is unknown"):
      data.load_cifar10(self.dir, version='zip')


class Evil:
  """Runs a command when unpickled the ordinary way."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (self.path,)


class UnpickleTest(FileCase):
  @parameterized.product(protocol=[0, 1, 2, 3, 4, 5], order=['C', 'F'])
  def test_arrays_come_back(self, protocol, order):
    tree = {
      'f': np.asarray(np.arange(6.0).reshape(2, 3), order=order),
      'i': [np.int64(7), np.arange(3, dtype='>i2')],
      'b': (b'bytes', 'text', 1.5, None, True),
    }
    tree['again'] = tree['i']
    got = _unpickle.loads(pickle.dumps(tree, protocol=protocol))
    np.testing.assert_array_equal(got['f'], tree['f'])
    self.assertEqual(got['i'][0], 7)
    np.testing.assert_array_equal(got['i'][1], [0, 1, 2])
    np.testing.assert_array_equal(got['again'][1], [0, 1, 2])
    self.assertEqual(got['b'], tree['b'])

  def test_python_2_strings_and_arrays_come_back(self):
    # What Python 2 wrote for {'labels': [3], 'data': array([1, 2], uint8)}.
    content = (
      b'\x80\x02}q\x00(U\x06labels]K\x03aU\x04data'
      b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n'
      b'K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n'
      b'U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff'
      b'J\xff\xff\xff\xffK\x00tb\x89U\x02\x01\x02tbu.'
    )
    got = _unpickle.loads(content)
    self.assertEqual(got[b'labels'], [3])
    self.assertEqual(got[b'data'].dtype, np.uint8)
    np.testing.assert_array_equal(got[b'data'], [1, 2])

  @parameterized.parameters(0, 2, 4)
  def test_code_is_refused_and_not_run(self, protocol):
    target = str(self.dir / 'made_by_pickle')
    content = pickle.dumps({'data': Evil(target)}, protocol=protocol)
    with self.assertRaisesRegex(ValueError, 'mkdir is not plain data'):
      _unpickle.loads(content)
    self.assertFalse(os.path.exists(target))
    pickle.loads(content)  # What the ordinary machine would have done.
    self.assertTrue(os.path.exists(target))

  @parameterized.named_parameters(
    ('eval', b"c__builtin__\neval\n(S'1'\ntR."),
    ('dotted', b'\x80\x04\x8c\x05numpy\x8c\x0dload.__call__\x93.'),
    ('lookup', b'cnumpy.core.multiarray\nfromfile\n.'),
    ('bare', b'cnumpy\nndarray\n.'),
    ('state', b'cnumpy\ndtype\n}b.'),
    ('persistent', b'Pabc\n.'),
    ('codec', b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR."),
    ('extension', b'\x80\x02\x82\x01.'),
  )
  def test_hand_made_pickles_are_refused(self, content):
    with self.assertRaises(ValueError):
      _unpickle.loads(content)

  def test_objects_inside_arrays_are_refused(self):
    content = pickle.dumps(np.array([b'a', None], object))
    with self.assertRaisesRegex(ValueError, 'array of objects'):
      _unpickle.loads(content)
    with self.assertRaisesRegex(ValueError, 'not plain numbers'):
      _unpickle.loads(pickle.dumps(np.array(['a'])))

  def test_loops_and_doubling_lists_end(self):
    loop = []
    loop.append(loop)
    with self.assertRaisesRegex(ValueError, 'holds itself'):
      _unpickle.loads(pickle.dumps(loop))
    node = []
    for _ in range(60):
      node = [node, node]
    self.assertLen(_unpickle.loads(pickle.dumps(node)), 2)

  def test_every_truncation_is_a_clear_error(self):
    content = pickle.dumps({'data': np.arange(4), 'labels': [1]}, protocol=2)
    for stop in range(len(content)):
      with self.assertRaises(ValueError):
        _unpickle.loads(content[:stop])

  def test_random_damage_never_escapes(self):
    content = bytearray(pickle.dumps({'data': np.arange(4)}, protocol=2))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
      damaged = bytearray(content)
      damaged[rng.integers(len(content))] = rng.integers(256)
      try:
        _unpickle.loads(bytes(damaged))
      except ValueError:
        refused += 1
    self.assertGreater(refused, 100)


class NpzTest(FileCase):
  def save(self, **arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return self.write('set.npz', buffer.getvalue())

  def arrays(self):
    return {
      'x_train': np.arange(12, dtype=np.uint8).reshape(3, 2, 2),
      'y_train': np.array([0, 3, 1]),
      'x_test': np.zeros((1, 2, 2), np.uint8),
      'y_test': np.array([2]),
    }

  @parameterized.parameters(True, False)
  def test_both_spellings(self, short):
    arrays = self.arrays()
    if not short:
      names = ['train_inputs', 'train_labels', 'test_inputs', 'test_labels']
      arrays = dict(zip(names, arrays.values(), strict=True))
    got = data.load_npz(self.save(**arrays), scale=1 / 4)
    np.testing.assert_allclose(got.train_inputs.ravel(), np.arange(12) / 4)
    self.assertEqual(got.train_labels.tolist(), [0, 3, 1])
    self.assertEqual((got.num_classes, got.name), (4, 'set'))

  def test_regression_targets(self):
    arrays = {**self.arrays(), 'y_train': np.ones((3, 2))}
    arrays['y_test'] = np.ones((1, 2))
    got = data.load_dataset('npz', self.save(**arrays))
    self.assertEqual(got.num_classes, 0)
    self.assertEqual(got.train_labels.dtype, np.float32)

  def test_keras_column_of_labels(self):
    arrays = {**self.arrays(), 'y_train': np.array([[0], [3], [1]])}
    got = data.load_npz(self.save(**arrays))
    self.assertEqual(got.train_labels.tolist(), [0, 3, 1])

  def test_errors_are_one_sentence(self):
    arrays = self.arrays()
    del arrays['y_test']
    with self.assertRaisesRegex(
      ValueError, "set.npz: expected the key 'y_test', got the keys x_test, x"
    ):
      data.load_npz(self.save(**arrays))
    with self.assertRaisesRegex(ValueError, '3 inputs and 2 labels'):
      data.load_npz(self.save(**{**self.arrays(), 'y_train': np.array([0, 1])}))
    with self.assertRaisesRegex(ValueError, r'y_train.*pickled object array'):
      data.load_npz(
        self.save(
          **{**self.arrays(), 'y_train': np.array([0, 'a', None], object)}
        )
      )
    with self.assertRaisesRegex(ValueError, r'labels in 0..2, got'):
      data.load_npz(self.save(**self.arrays()), num_classes=3)
    path = self.save(**self.arrays())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with self.assertRaisesRegex(ValueError, 'set.npz: .*truncated or corrupt'):
      data.load_npz(path)
    at = content.index(np.arange(12, dtype=np.uint8).tobytes())
    path.write_bytes(content[:at] + b'\xff' + content[at + 1 :])
    with self.assertRaisesRegex(ValueError, r'x_train.*corrupt bytes'):
      data.load_npz(path)
    path.write_bytes(pickle.dumps([1]))
    with self.assertRaisesRegex(ValueError, 'set.npz: .*truncated or corrupt'):
      data.load_npz(path)
    with self.assertRaisesRegex(FileNotFoundError, 'expected a file'):
      data.load_npz(self.dir / 'none.npz')


if __name__ == '__main__':
  absltest.main()
