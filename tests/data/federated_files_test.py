# SPDX-License-Identifier: Apache-2.0
import json
import pathlib
import sqlite3
import sys
import tempfile
import zlib
from unittest import mock

import h5py
import msgpack
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data


class FileCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.dir = pathlib.Path(folder.name)


class LeafTest(FileCase):
  def write(self, name, users, changes=None):
    content = {
      'users': list(users),
      'num_samples': [len(y) for _, y in users.values()],
      'user_data': {u: {'x': x, 'y': y} for u, (x, y) in users.items()},
    }
    content.update(changes or {})
    content = {k: v for k, v in content.items() if v is not None}
    path = self.dir / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))

  def write_numbers(self):
    self.write('train/b.json', {'ann': ([[1, 0.5], [0, 0.25]], [3, 1])})
    self.write('train/a.json', {'cid': ([[0.0, 0.0]], [0])})
    self.write('train/c.json', {'bob': ([], [])})
    self.write('test/a.json', {'ann': ([[0.5, 1.0]], [4])})

  def test_files_of_a_folder_are_joined(self):
    self.write_numbers()
    got = data.load_leaf(self.dir, invert=True, name='toy')
    self.assertEqual(got.train.client_ids, ('ann', 'bob', 'cid'))
    np.testing.assert_allclose(got.train.inputs[0], [[0, 0.5], [1, 0.75]])
    self.assertEqual(got.train.labels[0].tolist(), [3, 1])
    self.assertEqual(got.train.inputs[1].shape, (0, 2))
    self.assertEqual(got.train.labels[1].dtype, np.int32)
    self.assertEqual((got.num_classes, got.name), (5, 'toy'))
    self.assertEqual(got.test.client_ids, ('ann',))

  def test_pooled_parts_give_each_client_its_own_back(self):
    self.write_numbers()
    got = data.load_leaf(self.dir)
    pooled, train_parts, test_parts = data.pool_clients(got)
    for part, inputs in zip(train_parts, got.train.inputs, strict=True):
      np.testing.assert_array_equal(pooled.train_inputs[part], inputs)
    self.assertEqual([p.tolist() for p in test_parts], [[0]])
    arrays = {'y': pooled.train_labels}
    _, mask = data.stack_clients(arrays, train_parts)
    self.assertEqual(mask.sum(axis=1).tolist(), [2, 0, 1])

  def test_input_shape(self):
    self.write_numbers()
    got = data.load_leaf(self.dir, input_shape=(1, 2, 1), num_classes=62)
    self.assertEqual(got.train.inputs[0].shape, (2, 1, 2, 1))
    self.assertEqual(got.num_classes, 62)
    with self.assertRaisesRegex(ValueError, r'inputs that fit \(3,\)'):
      data.load_leaf(self.dir, input_shape=(3,))

  def test_text_becomes_character_numbers(self):
    self.write('train/a.json', {'u': (['abc', 'bcd'], ['d', 'a'])})
    self.write('test/a.json', {'u': (['cde'], ['f'])})
    got = data.load_leaf(self.dir)
    self.assertEqual(got.train.inputs[0].tolist(), [[0, 1, 2], [1, 2, 3]])
    self.assertEqual(got.train.labels[0].tolist(), [3, 0])
    self.assertEqual(got.test.labels[0].tolist(), [5])
    self.assertEqual(got.num_classes, 6)
    self.assertEqual(got.train.inputs[0].dtype, np.int32)
    named = data.load_leaf(self.dir, vocabulary='shakespeare')
    self.assertEqual(named.num_classes, 80)
    # 11 signs, ten digits, four and 26 and two more come first.
    first = named.train.inputs[0].tolist()
    self.assertEqual(first, [[53, 54, 55], [54, 55, 56]])
    got = data.load_leaf(self.dir, vocabulary='fedcba')
    self.assertEqual(got.train.inputs[0].tolist(), [[5, 4, 3], [4, 3, 2]])
    with self.assertRaisesRegex(ValueError, "of the vocabulary, got 'd'"):
      data.load_leaf(self.dir, vocabulary='abc')

  @parameterized.named_parameters(
    ('users', {'users': None}, "a.json: expected the key 'users' with a list"),
    ('counts', {'num_samples': [1, 2]}, '1 users and 2 counts'),
    ('data', {'user_data': {}}, "user 'u': expected an entry in user_data"),
    ('x', {'user_data': {'u': {'y': [1]}}}, "user 'u': expected the key 'x'"),
    ('length', {'user_data': {'u': {'x': [], 'y': [1]}}}, '0 inputs and 1 lab'),
    ('samples', {'num_samples': [2]}, "'u': expected 2 examples .* got 1"),
    ('ragged', {'user_data': {'u': {'x': [[[1], 2]], 'y': [1]}}}, 'ragged'),
    ('label', {'user_data': {'u': {'x': [[1]], 'y': [-1]}}}, r'labels in -1..'),
    ('float', {'user_data': {'u': {'x': [[1]], 'y': [0.5]}}}, 'integer labels'),
    ('shape', {'user_data': {'u': {'x': [[1, 2]], 'y': [0]}}}, 'one shape of'),
  )
  def test_errors_name_file_and_user(self, changes, message):
    self.write('train/a.json', {'u': ([[1.0]], [1])}, changes)
    self.write('test/a.json', {'v': ([[1.0]], [1])})
    with self.assertRaisesRegex(ValueError, message) as caught:
      data.load_leaf(self.dir)
    self.assertIn('.json', str(caught.exception))
    self.assertNotIn('\n', str(caught.exception))

  def test_broken_text(self):
    for x, y, message in (
      (['ab', 'abc'], ['a', 'b'], r'one positive length, got lengths \[2, 3\]'),
      (['ab'], ['ab'], 'labels of one character, got 2'),
      (['ab'], [1], 'strings, got something else'),
    ):
      self.write('train/a.json', {'u': (x, y)})
      self.write('test/a.json', {'u': (['aa'], ['a'])})
      with self.assertRaisesRegex(ValueError, message):
        data.load_leaf(self.dir)

  def test_files_and_folders(self):
    self.write_numbers()
    (self.dir / 'test/a.json').write_text('{"users": [')
    with self.assertRaisesRegex(ValueError, 'a.json: expected JSON, got some'):
      data.load_leaf(self.dir)
    (self.dir / 'test/a.json').unlink()
    with self.assertRaisesRegex(FileNotFoundError, 'a folder without any'):
      data.load_dataset('leaf', self.dir)
    self.write('train/z.json', {'ann': ([[1.0, 2.0]], [1])})
    self.write('test/a.json', {'v': ([[1.0, 2.0]], [1])})
    with self.assertRaisesRegex(ValueError, "z.json, user 'ann': .* once"):
      data.load_leaf(self.dir)


def emnist_clients(seed=0):
  rng = np.random.default_rng(seed)
  return {
    f'f{k:04d}_00': {
      'pixels': rng.uniform(size=(n, 28, 28)).astype(np.float32),
      'label': rng.integers(0, 62, n).astype(np.int32),
    }
    for k, n in ((7, 2), (3, 1))
  }


class TffTest(FileCase):
  def write(self, stem, split, clients, group='examples'):
    path = self.dir / f'fed_{stem}_{split}.h5'
    with h5py.File(path, 'w') as file:
      file.create_group(group)
      for name, features in clients.items():
        for key, value in features.items():
          file[f'{group}/{name}/{key}'] = value
    return path

  def test_emnist_has_a_dark_background(self):
    clients = emnist_clients()
    self.write('emnist', 'train', clients)
    self.write('emnist', 'test', clients)
    got = data.load_dataset('tff', self.dir)
    self.assertEqual(got.train.client_ids, ('f0003_00', 'f0007_00'))
    np.testing.assert_allclose(
      got.train.inputs[1][..., 0], 1 - clients['f0007_00']['pixels'], atol=1e-7
    )
    self.assertEqual(got.train.inputs[1].shape, (2, 28, 28, 1))
    np.testing.assert_array_equal(
      got.test.labels[0], clients['f0003_00']['label']
    )
    self.assertEqual(got.num_classes, 62)
    few = data.load_tff(self.dir, max_clients=1)
    self.assertEqual(few.train.client_ids, ('f0003_00',))

  def test_cifar100_is_scaled(self):
    image = np.arange(3072, dtype=np.int64).reshape(1, 32, 32, 3) % 256
    clients = {
      '0': {
        'image': image.astype(np.uint8),
        'label': np.array([99]),
        'coarse_label': np.array([3]),
      }
    }
    for split in ('train', 'test'):
      self.write('cifar100', split, clients)
    got = data.load_tff(self.dir, kind='cifar100')
    np.testing.assert_allclose(got.test.inputs[0] * 255, image, atol=1e-4)
    self.assertEqual(got.train.labels[0].tolist(), [99])

  @parameterized.parameters(None, 'gzip')
  def test_shakespeare_is_cut_into_sequences(self, compression):
    snippets = [b'to be', b'd' * 85, '\u00e9'.encode()]
    for name, file_name in (
      ('train', 'fed_shakespeare_train.h5'),
      ('test', 'shakespeare_test.h5'),
    ):
      with h5py.File(self.dir / file_name, 'w') as file:
        file.create_dataset(
          'examples/HAMLET/snippets',
          data=snippets if name == 'train' else snippets[:1],
          dtype=h5py.string_dtype(),
          compression=compression,
        )
    got = data.load_tff(self.dir, kind='shakespeare')
    self.assertEqual(got.num_classes, 90)
    x, y = got.train.inputs[0], got.train.labels[0]
    self.assertEqual((x.shape, y.shape), ((4, 80), (4, 80)))
    order = 'dhlptx@DHLPTX $(,048cgkoswCGKOSW'
    place = lambda c: 1 + order.index(c)
    # b and e are further on, after 41 and 64 others.
    first = [place('t'), place('o'), place(' '), 42, 65]
    self.assertEqual(x[0, :6].tolist(), [88, *first])
    self.assertEqual(y[0, :6].tolist(), [*first, 89])
    self.assertEqual((x[0, 6:].max(), y[0, 6:].max()), (0, -1))
    self.assertEqual(x[1].tolist(), [88, *[1] * 79])
    self.assertEqual(y[1].tolist(), [1] * 80)
    self.assertEqual(x[2, :7].tolist(), [1] * 6 + [0])
    self.assertEqual(y[2, :7].tolist(), [1] * 5 + [89, -1])
    self.assertEqual(y[3, :4].tolist(), [87, 87, 89, -1])
    np.testing.assert_array_equal(got.test.inputs[0], x[:1])

  def test_shakespeare_says_what_is_wrong(self):
    path = self.dir / 'shakespeare_train.h5'
    for value, message in (
      (np.zeros(3), "client 'x': expected a list of texts at 'snippets'"),
      ([[b'a']], 'expected a list of texts'),
    ):
      for split in ('train', 'test'):
        with h5py.File(self.dir / f'shakespeare_{split}.h5', 'w') as file:
          file['examples/x/snippets'] = value
      with self.assertRaisesRegex(ValueError, message):
        data.load_tff(self.dir, kind='shakespeare')
    # Ten thousand times the same long text.
    with h5py.File(path, 'w') as file:
      made = file.create_dataset(
        'examples/x/snippets',
        shape=(10_000,),
        dtype=h5py.string_dtype(),
        fillvalue=b'a' * 30_000,
      )
      del made
    with self.assertRaisesRegex(ValueError, 'a text of snippets takes 30001'):
      data.load_tff(self.dir, kind='shakespeare', max_bytes=1_000_000)

  def test_errors_name_file_and_client(self):
    clients = emnist_clients()
    self.write('emnist', 'train', clients)
    with self.assertRaisesRegex(FileNotFoundError, 'fed_emnist_test.h5'):
      data.load_tff(self.dir)
    bad = dict(clients)
    for changes, message in (
      ({'label': np.array([1])}, "client 'f0007_00': .*2 inputs and 1 labels"),
      ({'label': np.array([62, 0])}, r'labels in 0..61, got labels in 0..62'),
      (
        {'pixels': np.zeros((2, 27, 28))},
        r'\(n, 28, 28\), got .*\(2, 27, 28\)',
      ),
      ({'pixels': None}, "the feature 'pixels', got the features label"),
    ):
      entry = {**clients['f0007_00'], **changes}
      bad['f0007_00'] = {k: v for k, v in entry.items() if v is not None}
      self.write('emnist', 'test', bad)
      with self.assertRaisesRegex(ValueError, message):
        data.load_tff(self.dir)
    self.write('emnist', 'test', clients, group='samples')
    with self.assertRaisesRegex(ValueError, "'examples', got the keys samples"):
      data.load_tff(self.dir)
    self.write('emnist', 'test', {})
    with self.assertRaisesRegex(ValueError, 'expected clients, got none'):
      data.load_tff(self.dir)
    path = self.write('emnist', 'test', clients)
    path.write_bytes(path.read_bytes()[:-3000])
    with self.assertRaisesRegex(ValueError, 'truncated or corrupt'):
      data.load_tff(self.dir)
    with self.assertRaisesRegex(ValueError, "kind='mnist' is unknown"):
      data.load_tff(self.dir, kind='mnist')

  def test_missing_library_names_the_extra(self):
    with (
      mock.patch.dict(sys.modules, {'h5py': None}),
      self.assertRaisesRegex(
        ImportError, r'load_tff needs h5py.* pip install h5py '
      ),
    ):
      data.load_tff(self.dir)


def packed(features):
  """Encodes a row as the format of the files says."""

  def extension(x):
    body = msgpack.packb((x.shape, x.dtype.name, x.tobytes()), use_bin_type=1)
    return msgpack.ExtType(1, body)

  return zlib.compress(msgpack.packb(features, default=extension))


class FedjaxTest(FileCase):
  def write(self, split, rows):
    path = self.dir / f'federated_emnist_{split}.sqlite'
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(
      'CREATE TABLE federated_data (client_id BLOB PRIMARY KEY, data BLOB, '
      'num_examples INTEGER)'
    )
    connection.executemany('INSERT INTO federated_data VALUES (?, ?, ?)', rows)
    connection.commit()
    connection.close()
    return path

  def rows(self, **changes):
    out = []
    for name, features in emnist_clients().items():
      if name in changes:
        features = {**features, **changes[name]}
      text = {**features, 'note': 'text is skipped'}
      out.append((name.encode(), packed(text), len(features['label'])))
    return out

  def test_clients_come_back_as_from_hdf5(self):
    clients = emnist_clients()
    self.write('train', self.rows())
    self.write('test', self.rows()[:1])
    got = data.load_dataset('fedjax', self.dir)
    self.assertEqual(got.train.client_ids, ('f0003_00', 'f0007_00'))
    self.assertEqual(got.test.client_ids, ('f0007_00',))
    np.testing.assert_allclose(
      got.train.inputs[1][..., 0], 1 - clients['f0007_00']['pixels'], atol=1e-7
    )
    np.testing.assert_array_equal(
      got.train.labels[1], clients['f0007_00']['label']
    )
    few = data.load_fedjax(self.dir, max_clients=1)
    self.assertEqual(few.train.client_ids, ('f0003_00',))

  def test_shakespeare(self):
    def row(texts, count=2, shape=None):
      body = msgpack.packb((shape or (len(texts),), texts), use_bin_type=True)
      content = msgpack.packb({'snippets': msgpack.ExtType(4, body)})
      return [(b'HAMLET', zlib.compress(content), count)]

    texts = [b'to be', b'd' * 85]
    for split, rows in (('train', row(texts)), ('test', row(texts))):
      self.write(split, rows).rename(self.dir / f'shakespeare_{split}.sqlite')
    got = data.load_fedjax(self.dir, kind='shakespeare')
    self.assertEqual(got.train.inputs[0].shape, (3, 80))
    self.assertEqual(got.train.labels[0][2, :7].tolist(), [1] * 5 + [89, -1])
    for bad, message in (
      (row(texts, 3), '3 examples as in num_examples, got 2'),
      (row(texts, shape=(3,)), 'texts that are no list'),
      (row([1, 2]), 'texts that are no list'),
    ):
      self.write('test', bad).rename(self.dir / 'shakespeare_test.sqlite')
      with self.assertRaisesRegex(ValueError, message):
        data.load_fedjax(self.dir, kind='shakespeare')

  def test_errors_name_file_and_client(self):
    self.write('train', self.rows())
    name, good, count = self.rows()[0]
    nested = zlib.compress(msgpack.packb([1, 2]))
    unsafe = packed({'pixels': np.zeros(1, '>f4'), 'label': np.zeros(1)})
    for row, message in (
      ((name, good[:-9], count), "'f0007_00': expected zlib-packed msgpack"),
      ((name, b'nonsense', count), 'zlib-packed msgpack'),
      ((name, 'text', count), 'zlib-packed msgpack'),
      ((name, zlib.compress(b'\xc1'), count), 'zlib-packed msgpack'),
      ((name, nested, count), 'a dict of arrays, got list'),
      ((name, good, 5), '5 examples as in num_examples, got 2'),
      ((name, unsafe, 1), r"'pixels' of shape"),
    ):
      self.write('test', [row])
      with self.assertRaisesRegex(ValueError, message):
        data.load_fedjax(self.dir)
    self.write('test', [])
    with self.assertRaisesRegex(ValueError, 'expected clients, got none'):
      data.load_fedjax(self.dir)
    path = self.write('test', self.rows())
    path.write_bytes(b'not a data base at all' * 100)
    with self.assertRaisesRegex(ValueError, 'an SQLite file with the table'):
      data.load_fedjax(self.dir)
    path.unlink()
    with self.assertRaisesRegex(FileNotFoundError, 'federated_emnist_test'):
      data.load_fedjax(self.dir)


if __name__ == '__main__':
  absltest.main()
