# SPDX-License-Identifier: Apache-2.0
"""Files made to crash, to fill the memory or to read what they should not."""

import contextlib
import gzip
import pathlib
import pickle
import sqlite3
import struct
import tempfile
import tracemalloc
import zipfile
import zlib
from unittest import mock

import h5py
import msgpack
import numpy as np
import scipy.io
from absl.testing import absltest, parameterized

from jaxdl import data
from jaxdl.data.files import _sqlite, _unpickle
from jaxdl.pde import sets

_MIB = 2**20


class HostileCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.dir = pathlib.Path(folder.name)
    self.rng = np.random.default_rng(0)

  def refused(self, load, path, message='', peak=8 * _MIB):
    """One sentence that names the file, in bounded memory."""
    tracemalloc.start()
    self.addCleanup(tracemalloc.stop)
    with self.assertRaisesRegex(data.FileError, message) as caught:
      load()
    self.assertLess(tracemalloc.get_traced_memory()[1], peak)
    tracemalloc.stop()
    text = str(caught.exception)
    self.assertIn(str(path), text)
    self.assertNotIn('\n', text)
    self.assertLess(len(text), 2 * len(str(path)) + 600)
    self.assertIsNone(caught.exception.__cause__)


class GzipTest(HostileCase):
  def write(self, shape, content):
    head = bytes([0, 0, 8, len(shape)]) + struct.pack(f'>{len(shape)}I', *shape)
    path = self.dir / 'a.gz'
    path.write_bytes(gzip.compress(head + content, 1))
    return path

  @parameterized.parameters(
    # More than the shape says, more than may be, more than there is.
    ((2, 3), 16 * _MIB, 'expected 18 bytes .*, got at least 19 bytes'),
    ((16, _MIB), 16 * _MIB, 'at most 1048576 .* pass a larger max_bytes'),
    ((2**32 - 1, 2**32 - 1), 9, 'pass a larger max_bytes'),
    ((2**9, 2**9), 9, 'expected 262156 bytes .* got 21 bytes'),
  )
  def test_a_stream_is_unpacked_as_far_as_its_shape_says(
    self, shape, size, message
  ):
    path = self.write(shape, bytes(size))
    load = lambda: data.files.read_idx(path, max_bytes=_MIB)
    self.refused(load, path, message)

  def test_the_limit_can_be_raised(self):
    path = self.write((4, _MIB), bytes(4 * _MIB))
    with self.assertRaisesRegex(ValueError, 'max_bytes'):
      data.files.read_idx(path, max_bytes=4 * _MIB - 1)
    got = data.files.read_idx(path, max_bytes=4 * _MIB)
    self.assertEqual(got.shape, (4, _MIB))
    with self.assertRaisesRegex(TypeError, 'max_bytes must be an integer'):
      data.files.read_idx(path, max_bytes=1e9)

  def test_files_may_hold_what_they_are_large_enough_for(self):
    path = self.dir / 'plain'
    path.write_bytes(bytes([0, 0, 8, 1]) + struct.pack('>I', 500) + bytes(500))
    self.assertEqual(data.files.read_idx(path, max_bytes=1).shape, (500,))

  def test_no_image_is_no_data_set(self):
    for name, shape in (('train', (0, 28, 28)), ('t10k', (2, 28, 28))):
      for kind, s in (('images-idx3', shape), ('labels-idx1', shape[:1])):
        head = bytes([0, 0, 8, len(s)]) + struct.pack(f'>{len(s)}I', *s)
        path = self.dir / f'{name}-{kind}-ubyte'
        path.write_bytes(head + bytes(int(np.prod(s))))
    with self.assertRaisesRegex(
      ValueError, r'train-images.*at least one image, got shape \(0, 28, 28\)'
    ):
      data.load_mnist(self.dir)


def npy(header, content=b'', version=1):
  head = header.encode() + b'\n'
  size = struct.pack('<H' if version == 1 else '<I', len(head))
  return b'\x93NUMPY' + bytes([version, 0]) + size + head + content


def plain_header(shape, descr='|u1'):
  return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"


class NpzTest(HostileCase):
  def write(self, member, method=zipfile.ZIP_DEFLATED):
    path = self.dir / 'a.npz'
    with zipfile.ZipFile(path, 'w', method) as file:
      file.writestr('x_train.npy', member)
      for name in ('y_train', 'x_test', 'y_test'):
        file.writestr(f'{name}.npy', npy(plain_header((1,)), b'a'))
    return path

  @parameterized.named_parameters(
    ('no_array', b'hello', 'no .npy header'),
    ('nested', npy('(' * 400), 'x_train'),
    ('minus', npy('-' * 9000 + '1'), 'x_train'),
    ('scalar', npy(plain_header(()), b'\0'), 'leading example axis'),
    ('negative', npy(plain_header((-1, 2)), b'\0'), 'shape'),
    ('text', npy(plain_header((1,), '<U9'), bytes(36)), 'numbers, got dtype'),
    ('record', npy(plain_header((1,), 'f4,f4'), bytes(8)), 'x_train'),
    ('absurd', npy(plain_header((10**30,))), 'max_bytes'),
    ('short', npy(plain_header((5,)), b'abc'), 'expected 5 bytes .* got 3'),
    ('long', npy(plain_header((2,)), b'abc'), 'expected 2 bytes .* got more'),
    (
      'bomb',
      npy(plain_header((16 * _MIB,)), bytes(16 * _MIB)),
      'at most 10485.. of',
    ),
    ('tail', npy(plain_header((2,)), bytes(16 * _MIB)), 'got more'),
    ('head', npy(' ' * (16 * _MIB), version=2), 'x_train'),
  )
  def test_members(self, member, message):
    path = self.write(member)
    load = lambda: data.load_npz(path, max_bytes=_MIB)
    self.refused(load, path, message)
    if member[:6] != b'\x93NUMPY' or b'()' not in member[:80]:
      load = lambda: sets.load_npz(path, max_bytes=_MIB)
      self.refused(load, path, message)

  @parameterized.parameters(
    (8, 1, 'encrypted'), (10, 99, 'compression method 99')
  )
  def test_zip_features(self, at, value, message):
    raw = bytearray(self.write(npy(plain_header((1,)), b'a')).read_bytes())
    raw[raw.index(b'PK\1\2') + at] = value
    path = self.dir / 'a.npz'
    path.write_bytes(raw)
    self.refused(lambda: data.load_npz(path), path, message)

  @parameterized.parameters(zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
  def test_methods_that_numpy_does_not_write(self, method):
    path = self.write(npy(plain_header((1,)), b'a'), method)
    self.refused(lambda: data.load_npz(path), path, 'stored or deflated')

  def test_one_name_twice(self):
    path = self.dir / 'a.npz'
    with zipfile.ZipFile(path, 'w') as file:
      for name in ('a', 'a.npy'):
        file.writestr(name, npy(plain_header((1,)), b'a'))
    self.refused(lambda: sets.load_npz(path), path, 'got it twice')

  def test_numbers_that_float32_cannot_hold(self):
    path = self.dir / 'a.npz'
    arrays = dict(x_train=np.full((1, 1), 1e300), y_train=np.zeros(1, int))
    np.savez(path, **arrays, x_test=np.ones((1, 1)), y_test=np.zeros(1, int))
    self.refused(lambda: data.load_npz(path), path, 'float32 can hold')

  def test_objects_are_read_without_running_anything(self):
    pair = np.empty(2, object)
    pair[:] = [np.ones((3, 4)), np.ones((5, 2), np.float32)]
    path = self.dir / 'a.npz'
    np.savez(path, X=pair, y=np.ones((3, 5)))
    got = sets.load_npz(path, allow_pickle=True)['X']
    np.testing.assert_array_equal(got[1], pair[1])
    np.savez(path, X=np.array([pathlib.Path('x'), 1], object), y=np.ones(1))
    load = lambda: sets.load_deeponet_npz(path, allow_pickle=True)
    self.refused(load, path, 'is not plain data')

  def test_ranks_of_operator_sets(self):
    path = self.dir / 'a.npz'
    u, y, s = np.ones((3, 4)), np.ones((3, 2)), np.ones((3, 1))
    for arrays, message in (
      ((u, y, np.float64(1)), "'y_train' .* 2 axes; got shape \\(\\)"),
      ((np.float64(1), y, s), "'X_train0' .* 2 axes; got shape \\(\\)"),
      ((u, y[..., None], s), "'X_train1' .* 2 axes"),
    ):
      names = ('X_train0', 'X_train1', 'y_train')
      np.savez(path, **dict(zip(names, arrays, strict=True)))
      self.refused(lambda: sets.load_deeponet_npz(path), path, message)


class NpyTest(HostileCase):
  @parameterized.parameters(
    (npy('(' * 400),),
    (npy(plain_header((10**15, 4))),),
    (npy(plain_header((2**62, 2**62))),),
    (npy(plain_header((4,), '<U1'), bytes(16)),),
    (b'\x93NUMPY\x03\x00',),
    (b'',),
  )
  def test_headers(self, content):
    path = self.dir / 'a.npy'
    path.write_bytes(content)
    self.refused(lambda: sets.load_npy(path), path, 'not a readable')


class PickleTest(HostileCase):
  def setUp(self):
    super().setUp()
    self.batch = {b'data': np.zeros((1, 3072), np.uint8), b'labels': [3]}
    for name in (*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch'):
      (self.dir / name).write_bytes(pickle.dumps(self.batch, protocol=2))

  def check(self, content, message=''):
    path = self.dir / 'data_batch_1'
    path.write_bytes(content)
    load = lambda: data.load_cifar10(self.dir, version='python')
    load() if message is None else self.refused(load, path, message)

  def array(self, shape):
    """A pickled array of one byte with any shape."""
    return (
      b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R'
      b'(K\1' + shape + b'cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff'
      b'\xff\xffJ\xff\xff\xff\xffK\0tb\x89U\1\1tb'
    )

  @parameterized.named_parameters(
    ('infinite', b'(G\x7f\xf0\0\0\0\0\0\0t', 'shape'),
    ('text', b'(U\3abct', 'shape'),
    ('negative', b'(J\xff\xff\xff\xfft', 'shape'),
    ('number', b'K\1', 'does not decode'),
    ('wrong', b'(K\2t', 'has 1 bytes'),
    ('huge', b'(' + b'J\xff\xff\xff\x7f' * 30 + b't', 'has 1 bytes'),
    ('rank', b'(' + b'K\1' * 33 + b't', 'shape'),
  )
  def test_shapes(self, shape, message):
    self.check(b'\x80\2}U\4data' + self.array(shape) + b's.', message)

  def test_memo_indices_allocate_nothing(self):
    head = b'\x80\2U\1ar\xff\xff\xff\x7f0'
    self.check(head + pickle.dumps(self.batch, protocol=2)[2:], None)
    self.check(b'\x80\2j\xff\xff\xff\x7f.', 'KeyError')

  @parameterized.parameters(b'T', b'B', b'\x8e', b'\x96', b'\x8d', b'\x8b')
  def test_declared_lengths_allocate_nothing(self, code):
    self.check(b'\x80\5' + code + b'\xff\xff\xff\x7f\0\0\0\0.', 'truncated')

  def doubled(self, levels=60):
    return b'(t' + b'2\x86' * levels

  def test_messages_are_short(self):
    # A key, a codec, a type and a name that are trees of 2^60 leaves.
    deep = self.doubled()
    self.check(b'\x80\2}' + deep + b'K\1s.', 'a key of type tuple')
    self.check(b'\x80\2c_codecs\nencode\nU\1a' + deep + b'\x86R.', 'codec')
    self.check(b'\x80\2cnumpy\ndtype\n' + deep + b'\x85R.', 'lone dtype')
    self.check(b'\x80\2' + deep + deep + b'\x93.', 'no string')
    self.check(b'\x80\2' + deep + b'.', 'a dict, got tuple')
    name = b'n' * 4096
    self.check(b'\x80\2c' + name + b'\n' + name + b'\n.', 'not plain data')
    keys = b''.join(b'V%s%d\nNs' % (name, i) for i in range(50))
    self.check(b'\x80\2}' + keys + b'.', "the key 'data', got .* 38 more")

  def test_shared_parts_do_not_multiply(self):
    # 10,000 times the same million bytes, made by 20,000 bytes.
    text = b'c_codecs\nencode\n0X' + struct.pack('<I', _MIB) + bytes(_MIB)
    call = b'c_codecs\nencode\n(h\1U\6latin1tR0'
    self.check(
      b'\x80\2' + text + b'q\0010' + call * 10_000 + b'}.', 'far larger'
    )

  def test_steps_are_limited(self):
    with mock.patch.object(_unpickle, '_MAX_STEPS', 2000):
      self.check(b'\x80\2' + b'N0' * 1000 + b'}.', 'more than 2000 steps')


class MatTest(HostileCase):
  def setUp(self):
    super().setUp()
    self.path = self.dir / 'a.mat'
    self.load = lambda **options: sets.load_mat(self.path, **options)

  def element(self, kind, content):
    pad = bytes(-len(content) % 8)
    return struct.pack('<2I', kind, len(content)) + content + pad

  def matrix(self, shape, stored, content, flags=6, name=b'a', order='<'):
    """A variable of doubles, stored in any way."""
    head = self.element(6, struct.pack('<2I', flags, 0))
    head += self.element(5, struct.pack(f'<{len(shape)}i', *shape))
    body = head + self.element(1, name) + self.element(stored, content)
    return struct.pack('<2I', 14, len(body)) + body

  def write(self, *elements, version=b'\0\1IM'):
    head = b'MATLAB 5.0 MAT-file'.ljust(124) + version
    self.path.write_bytes(head + b''.join(elements))

  @parameterized.product(packed=[False, True])
  def test_numbers_of_all_kinds_are_those_of_scipy(self, packed):
    fields = {
      'f4': self.rng.normal(size=(3, 4, 5)).astype(np.float32),
      'f8': self.rng.normal(size=(3, 4)),
      'c16': self.rng.normal(size=(2, 3)) + 1j,
      'c8': (self.rng.normal(size=(2, 3)) + 1j).astype(np.complex64),
      'u1': np.arange(6, dtype=np.uint8).reshape(2, 3),
      'i8': -np.arange(6).reshape(2, 3),
      'i2': np.arange(3, dtype=np.int16),
      'a_name_of_some_length': np.ones((1, 3)),
      'text': 'text',
      'cell': np.array(['a', 1.0], object),
      'struct': {'x': 1.0},
    }
    scipy.io.savemat(self.path, fields, do_compression=packed)
    got = self.load()
    self.assertNoCommonElements(got, ['text', 'cell', 'struct'])
    want = scipy.io.loadmat(self.path)
    self.assertLen(got, 8)
    for name, value in got.items():
      np.testing.assert_array_equal(value, want[name])
      self.assertEqual(value.dtype, want[name].dtype)

  def test_doubles_stored_as_whole_numbers_are_doubles(self):
    # MATLAB does this with the piecewise constant coefficients 3 and 12.
    self.write(self.matrix((2, 2), 2, bytes([3, 12, 12, 3])))
    got = self.load()['a']
    self.assertEqual(got.dtype, np.float64)
    np.testing.assert_array_equal(got, [[3, 12], [12, 3]])
    want = scipy.io.loadmat(self.path, mat_dtype=True)['a']
    np.testing.assert_array_equal(got, want)

  def test_whole_number_inputs_have_real_coordinates(self):
    scipy.io.savemat(
      self.path,
      {'coeff': np.ones((2, 5, 5), np.uint8), 'sol': np.ones((2, 5, 5))},
    )
    got = sets.load_operator_mat(self.path, 'darcy')
    np.testing.assert_allclose(got.queries[1, 3], [0.25, 0.75])

  def test_other_byte_order(self):
    swap = lambda form, *x: struct.pack('>' + form, *x)
    body = swap('4I', 6, 8, 6, 0) + swap('2I2i', 5, 8, 1, 2)
    body += swap('HHBxxx', 1, 1, 97) + swap('2I2d', 9, 16, 1.5, -2.0)
    # The small element of the name has its two halves swapped, too.
    self.write(swap('2I', 14, len(body)) + body, version=b'\1\0MI')
    got = self.load()['a']
    np.testing.assert_array_equal(got, [[1.5, -2.0]])
    self.assertTrue(got.dtype.isnative)

  def test_a_wrong_tag_is_no_crash(self):
    scipy.io.savemat(self.path, {'a': np.ones((4, 9, 9)), 'b': np.ones((2, 3))})
    raw = bytearray(self.path.read_bytes())
    self.assertIn(9, raw[176:200])
    for at in range(128, 240):
      for value in (0x19, 0xFF, raw[at] ^ 0x10):
        damaged = bytearray(raw)
        damaged[at] = value
        self.path.write_bytes(damaged)
        try:
          got = self.load()
        except data.FileError as error:
          self.assertIn(str(self.path), str(error))
        else:
          self.assertTrue(all(x.dtype.kind in 'fiu' for x in got.values()))
    raw[176] = 0x19
    self.path.write_bytes(raw)
    self.refused(self.load, self.path, 'not a readable MATLAB v5')

  @parameterized.named_parameters(
    ('shape', (3, 3), 9, bytes(16), 6, '16 bytes for 9 numbers'),
    ('huge', (2**31 - 1, 2**31 - 1), 9, bytes(16), 6, 'for 46116860'),
    ('negative', (-2, -1), 9, bytes(16), 6, r'shape \(-2, -1\)'),
    ('rank', (2,), 9, bytes(16), 6, r'shape \(2,\)'),
    ('ranks', (1,) * 40, 9, bytes(8), 6, 'in a header'),
    ('stored', (1, 2), 0x19, bytes(16), 6, 'numbers of type 25'),
    ('class', (1, 2), 9, bytes(16), 12, 'float64 for the class int32'),
    ('kind', (1, 2), 9, bytes(16), 77, 'class 77'),
    ('complex', (1, 2), 9, bytes(16), 0x806, '8 bytes where 0'),
  )
  def test_declared_sizes(self, shape, stored, content, flags, message):
    plain = self.matrix(shape, stored, content, flags)
    self.write(plain)
    self.refused(self.load, self.path, message)
    stream = zlib.compress(plain)
    self.write(struct.pack('<2I', 15, len(stream)) + stream)
    message = 'ends' if flags == 0x806 else message
    self.refused(self.load, self.path, message)

  @parameterized.parameters(
    ((16, _MIB // 8), 0, 'pass a larger max_bytes'),
    ((2, 2), 16 * _MIB, 'holds too many bytes'),
    ((2, 2), -16, 'ends|incomplete'),
  )
  def test_compressed_variables(self, shape, extra, message):
    size = 8 * shape[0] * shape[1]
    plain = self.matrix(shape, 9, bytes(size)) + bytes(max(extra, 0))
    stream = zlib.compress(plain, 1)
    stream = stream[: len(stream) + min(extra, 0)]
    self.write(struct.pack('<2I', 15, len(stream)) + stream)
    self.refused(lambda: self.load(max_bytes=_MIB), self.path, message)

  def test_other_files(self):
    a = self.matrix((1, 1), 9, bytes(8))
    self.write(a, a)
    self.refused(self.load, self.path, "variable 'a' twice")
    self.write(a, a[:20])
    self.refused(self.load, self.path, '20|bytes where')
    self.write(a, b'abc')
    self.refused(self.load, self.path, 'ends within a tag')
    self.write(a, version=b'\0\7IM')
    self.refused(self.load, self.path, 'no header of version 5')
    scipy.io.savemat(self.path, {'a': np.ones(3)}, format='4')
    self.refused(self.load, self.path, 'no header of version 5')

  @parameterized.parameters(False, True)
  def test_one_sample_is_subsampled_like_many(self, new):
    a, u = self.rng.normal(size=(2, 1, 8))
    if new:
      with h5py.File(self.path, 'w') as file:
        file['a'], file['u'] = a.T, u.T
    else:
      scipy.io.savemat(self.path, {'a': a, 'u': u})
    got = sets.load_operator_mat(self.path, 'burgers', subsample=2)
    np.testing.assert_array_equal(got.inputs[..., 0], a[:, ::2])
    np.testing.assert_array_equal(got.targets[..., 0], u[:, ::2])
    np.testing.assert_allclose(got.queries[:, 0], [0, 0.25, 0.5, 0.75])
    # Without axes a matrix of one row is a vector, such as the times.
    self.assertEqual(self.load(subsample=2)['a'].shape, (1, 8))


def put(value):
  return lambda file, name: file.__setitem__(name, value)


class Hdf5Test(HostileCase):
  def setUp(self):
    super().setUp()
    self.secret = self.dir / 'secret.h5'
    with h5py.File(self.secret, 'w') as file:
      file['a'] = np.ones((10, 1, 4))
      file['label'] = np.array([1], np.int32)
      file['pixels'] = np.ones((1, 28, 28), np.float32)
    self.path = self.dir / 'fed_emnist_train.h5'
    for split in ('train', 'test'):
      with h5py.File(self.dir / f'fed_emnist_{split}.h5', 'w') as file:
        file['examples/u/pixels'] = np.ones((1, 28, 28), np.float32)
        file['examples/u/label'] = np.array([1], np.int32)

  def loaders(self, make, message, **options):
    """Puts one thing where each of the three loaders looks for an array."""
    for name, load in (
      ('examples/u/pixels', lambda: data.load_tff(self.dir, **options)),
      ('tensor', lambda: sets.load_pdebench(self.path, **options)),
      ('a', lambda: sets.load_mat(self.path, ['a'], **options)),
    ):
      with h5py.File(self.path, 'w') as file:
        if name[0] == 'e':
          file['examples/u/label'] = np.array([1], np.int32)
        make(file, name)
      self.refused(load, self.path, message)

  def test_links_are_not_followed(self):
    def soft(file, name):
      file['elsewhere'] = np.ones((1, 28, 28))
      file[name] = h5py.SoftLink('/elsewhere')

    message = 'itself, got a soft or external link'
    self.loaders(soft, message)
    for target in (str(self.secret), '/etc/hostname', 'missing.h5'):
      self.loaders(put(h5py.ExternalLink(target, '/a')), message)

  def test_groups_behind_links_are_not_read(self):
    link = h5py.ExternalLink(str(self.secret), '/')
    for name in ('examples', 'examples/u'):
      with h5py.File(self.path, 'w') as file:
        file[name] = link
      self.refused(lambda: data.load_tff(self.dir), self.path, 'itself, got')
    with h5py.File(self.path, 'w') as file:
      file['0000'] = link
    load = lambda: sets.load_pdebench(self.path, split='all')
    self.refused(load, self.path, 'itself, got')

  def test_bytes_of_other_files_are_not_read(self):
    other = self.dir / 'other'
    other.write_bytes(bytes(28 * 28))

    def external(file, name):
      file.create_dataset(
        name, (1, 28, 28), 'u1', external=[(str(other), 0, 28 * 28)]
      )

    def virtual(file, name):
      layout = h5py.VirtualLayout((1, 28, 28), 'f8')
      layout[0, :4, :4] = h5py.VirtualSource(self.secret, 'a', (4, 4))
      file.create_virtual_dataset(name, layout)

    for make in (external, virtual):
      self.loaders(make, 'inside the file, got a reference to other files')

  def test_fill_values_and_chunks_are_charged(self):
    def filled(file, name):
      file.create_dataset(name, (2**20, 28, 28), 'f4', chunks=(1, 28, 28))

    def chunk(file, name):
      file.create_dataset(
        name, (1, 28, 28), 'f4', chunks=(2**18, 28, 28), maxshape=(None, 28, 28)
      )

    for make in (filled, chunk):
      self.loaders(make, 'pass a larger max_bytes', max_bytes=_MIB)

  def test_a_chunk_unpacks_to_no_more_than_it_should(self):
    def bomb(file, name):
      stored = file.create_dataset(
        name, (1, 28, 28), 'f4', chunks=(1, 28, 28), compression='gzip'
      )
      stream = zlib.compress(bytes(4 * _MIB), 9)
      stored.id.write_direct_chunk((0, 0, 0), stream)

    self.loaders(bomb, 'does not unpack to that', max_bytes=_MIB)

  def test_a_chunk_without_room_for_its_checksum_is_no_crash(self):
    def make(file, name):
      file.create_dataset(
        name,
        data=np.ones((2, 28, 28)),
        chunks=(1, 28, 28),
        compression='gzip',
        fletcher32=True,
      )

    with h5py.File(self.path, 'w') as file:
      make(file, 'a')
      size = file['a'].id.get_chunk_info(0).size
    raw = self.path.read_bytes()
    key = struct.pack('<2IQ', size, 0, 0)
    self.assertEqual(raw.count(key), 1)
    self.path.write_bytes(raw.replace(key, struct.pack('<2IQ', 1, 0, 0)))
    load = lambda: sets.load_mat(self.path)
    self.refused(load, self.path, 'one of 1 bytes that does not unpack')

  def test_filters_and_types(self):
    ones = np.ones((1, 28, 28), np.int32)
    self.loaders(
      lambda f, name: f.create_dataset(
        name, data=ones, chunks=ones.shape, scaleoffset=8
      ),
      'compressed with gzip or lzf, got filter',
    )
    for value in (
      'text',
      np.array([b'ab']),
      np.zeros(2, 'i4,f4'),
      h5py.Empty('f'),
    ):
      self.loaders(put(value), 'a data set of numbers')
    self.loaders(lambda f, name: f.create_group(name), 'a data set of numbers')

  def test_bytes_are_pixels(self):
    pixels = np.arange(28 * 28, dtype=np.int64).reshape(1, 28, 28) % 256
    for stored, message in (
      (pixels.astype(np.uint8), None),
      (pixels, None),
      (pixels / 255, None),
      (pixels + 1, 'in 0..255, got int64 in 1..256'),
      (pixels - 1, 'in 0..255, got int64 in -1..254'),
      (pixels / 100, r'in \[0, 1\], got float64 in 0.0..2.55'),
      (np.where(pixels > 3, np.nan, 0), r'in \[0, 1\], got float64 in nan'),
    ):
      with h5py.File(self.path, 'w') as file:
        file['examples/u/pixels'] = stored
        file['examples/u/label'] = np.array([1], np.int32)
      load = lambda: data.load_tff(self.dir)
      if message:
        self.refused(load, self.path, message)
      else:
        got = load().train.inputs[0][..., 0]
        np.testing.assert_allclose(got, 1 - pixels / 255, atol=1e-6)

  def test_arrays_of_one_set_agree(self):
    tensor = np.ones((20, 1, 4, 4))
    for fields, message in (
      ({'tensor': tensor, 'nu': np.ones((15, 4, 4))}, r"'nu' .* \(20, 4, 4\)"),
      ({'tensor': tensor, 'nu': np.ones(20)}, "'nu' .* must have"),
      ({'tensor': np.ones(20)}, "'tensor' .* at least 2 axes"),
      (
        {'density': np.ones((9, 2, 4)), 'Vx': np.ones((9, 2, 5))},
        "'Vx' .* must",
      ),
      (
        {'0/data': np.ones((2, 4, 1)), '1/data': np.ones((2, 5, 1))},
        "'data' .*",
      ),
      ({'0/grid': np.ones(4)}, "the field 'data', got the fields grid"),
      ({'tensor': tensor, 'x': np.ones((2, 2))}, "'x' .* one axis"),
    ):
      with h5py.File(self.path, 'w') as file:
        for name, value in fields.items():
          file[name] = value
      load = lambda: sets.load_pdebench(self.path, split='all')
      self.refused(load, self.path, message)


class FedjaxTest(HostileCase):
  SCHEMA = (
    'CREATE TABLE federated_data (client_id BLOB, data BLOB, '
    'num_examples INTEGER)'
  )

  def row(self, **features):
    def extension(x):
      body = (x.shape, x.dtype.name, x.tobytes())
      return msgpack.ExtType(1, msgpack.packb(body, use_bin_type=True))

    features = {
      'pixels': np.zeros((1, 28, 28), np.float32),
      'label': np.array([1], np.int32),
      **features,
    }
    return zlib.compress(msgpack.packb(features, default=extension))

  def load(self, rows, schema=SCHEMA, message=None, **options):
    for split in ('train', 'test'):
      path = self.dir / f'federated_emnist_{split}.sqlite'
      path.unlink(missing_ok=True)
      connection = sqlite3.connect(path)
      connection.executescript(schema)
      if rows:
        insert = 'INSERT INTO federated_data VALUES (?, ?, ?)'
        connection.executemany(insert, rows)
      connection.commit()
      connection.close()
    path = self.dir / 'federated_emnist_train.sqlite'
    load = lambda: data.load_fedjax(self.dir, **options)
    return load() if message is None else self.refused(load, path, message)

  @parameterized.parameters(None, 1, 2)
  def test_no_client_is_lost(self, max_clients):
    good = self.row()
    for names in (('a', 'a'), ('a', b'a'), (b'\xff', '\\xff')):
      rows = [(name, good, 1) for name in names]
      self.load(rows, message='every client once', max_clients=max_clients)
    self.load([(None, good, 1)], message='text or bytes, got NoneType')
    self.load([(7, good, 1)], message='text or bytes, got int')
    got = self.load([('b', good, 1), (b'a', good, 1)], max_clients=max_clients)
    want = ('a', 'b')[:max_clients]
    self.assertEqual(got.train.client_ids, want)

  @parameterized.named_parameters(
    (
      'recursive_view',
      'CREATE VIEW federated_data AS WITH RECURSIVE r(i) AS (SELECT 1 UNION '
      'ALL SELECT i + 1 FROM r) SELECT i AS client_id, zeroblob(1000) AS data, '
      '1 AS num_examples FROM r;',
      'got a view',
    ),
    (
      'generated',
      'CREATE TABLE federated_data (client_id BLOB, data BLOB AS '
      '(zeroblob(900000000)), num_examples INTEGER);'
      "INSERT INTO federated_data VALUES ('a', 1);",
      'a generated column',
    ),
    ('other', 'CREATE TABLE other (x);', 'none of that name'),
    ('columns', 'CREATE TABLE federated_data (x);', 'no such column'),
  )
  def test_programs_in_the_file_are_not_run(self, schema, message):
    self.load([], schema, message)

  def test_a_scan_ends(self):
    self.load([('a', self.row(), 1)])
    path = self.dir / 'federated_emnist_train.sqlite'
    with contextlib.closing(sqlite3.connect(path)) as connection:
      _sqlite._guard(connection, path)
      with self.assertRaisesRegex(sqlite3.OperationalError, 'interrupted'):
        connection.execute(
          'WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) '
          'SELECT count(*) FROM r'
        ).fetchall()

  def test_rows_are_unpacked_within_bounds(self):
    deep = b'\xdd\0\x0f\xff\xff' * 200
    ext = lambda body: zlib.compress(
      msgpack.packb({'pixels': msgpack.ExtType(1, msgpack.packb(body))})
    )
    for content, message in (
      (zlib.compress(bytes(16 * _MIB)), 'pass a larger max_bytes'),
      (zlib.compress(deep + bytes(_MIB)), 'zlib-packed msgpack'),
      (self.row()[:-1], 'incomplete'),
      (ext(((-1, 28, 28), 'float32', b'')), 'a shape that is none'),
      (ext(((2**40, 28, 28), 'float32', b'')), 'zlib-packed msgpack'),
      (ext(((1,), 'f4,' * 1000, b'1234')), 'not plain numbers'),
      (ext(((1,), 'O', b'12345678')), 'not plain numbers'),
      (ext(7), 'zlib-packed msgpack'),
      (self.row(pixels=np.full((1, 28, 28), 255, np.int16)), None),
      (self.row(pixels=np.full((1, 28, 28), 2.0)), r'in \[0, 1\]'),
      (self.row(label=np.ones((1, 1), int)), '1-D array of integer labels'),
    ):
      self.load([('a', content, 1)], message=message, max_bytes=2 * _MIB)
    self.load([('a', self.row(), 1.5)], message='1.5 examples')


class LeafTest(HostileCase):
  def load(self, text, message):
    for split in ('train', 'test'):
      (self.dir / split).mkdir(exist_ok=True)
      path = self.dir / split / 'a.json'
      content = (
        '{"users": ["u"], "num_samples": [1], "user_data": '
        '{"u": {"x": [[1.0, 2.0]], "y": [1]}}}'
      )
      path.write_text(content)
    path = self.dir / 'train' / 'a.json'
    raw = text if isinstance(text, bytes) else None
    path.write_bytes(raw if raw is not None else content.encode())
    if raw is None:
      path.write_text(content.replace(*text))
    self.refused(lambda: data.load_leaf(self.dir), path, message)

  @parameterized.named_parameters(
    ('null', ('2.0', 'null'), 'non-numeric'),
    ('large', ('2.0', '1e400'), 'finite inputs'),
    ('float32', ('2.0', '1e39'), 'float32 can hold'),
    ('huge', ('2.0', '9' * 400), 'non-numeric|finite'),
    ('long', ('2.0', '9' * 5000), 'JSON'),
    ('text', ('2.0', '"2.0"'), 'non-numeric'),
    ('bool', ('2.0', 'true'), 'non-numeric'),
    ('object', ('2.0', '{}'), 'non-numeric'),
    ('nan', ('2.0', 'NaN'), 'NaN is no JSON'),
    ('infinity', ('2.0', '-Infinity'), '-Infinity is no JSON'),
    ('empty', ('1.0, 2.0', ''), 'inputs with numbers'),
    ('ragged_labels', ('[1]}', '[[1, [2]]]}'), 'integer labels'),
    ('bool_label', ('[1]}', '[true]}'), 'integer labels'),
    ('null_label', ('[1]}', '[null]}'), 'integer labels'),
    ('long_label', ('[1]}', '[99999999999999999999]}'), 'integer labels'),
    ('count', ('[1], "us', '[true], "us'), 'examples as in num_samples'),
    ('twice', ('"y"', '"x": [[5, 6]], "y"'), "the key 'x' twice"),
    ('other', ('{"u":', '{"v": {}, "u":'), 'among the users, got v too'),
    ('deep', ('2.0', '[' * 100_000), 'JSON'),
    ('levels', ('2.0', '[' * 40 + ']' * 40), 'non-numeric'),
    ('utf8', b'{"users": ["\xff"]}', 'JSON'),
    ('list', b'[]', 'an object, got list'),
    ('null_file', b'null', 'an object, got NoneType'),
    ('nothing', b'', 'JSON'),
  )
  def test_what_is_no_number(self, text, message):
    self.load(text, message)

  def test_messages_are_one_printable_line(self):
    name = '\\ud800\\n\\u001b[31m' + 'n' * 5000
    self.load(('"u": {"x"', f'"u": {{"{name}"'), "the key 'x' .* keys")


class TextTest(HostileCase):
  @parameterized.parameters(
    (b'a\tb\n\xff\t1\n', 'not a readable UTF-8'),
    (b'a\tb\ntext\t2\n', 'line 2'),
    (b'a\tb\n' + b'x' * 10_000, 'line 2'),
    (b'', 'no sentence'),
  )
  def test_lines(self, content, message):
    path = self.dir / 'train.tsv'
    path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, message) as caught:
      data.load_sst2(self.dir)
    self.assertIn(str(path), str(caught.exception))


if __name__ == '__main__':
  absltest.main()
