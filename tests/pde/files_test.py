# SPDX-License-Identifier: Apache-2.0
"""Readers of local files: axis order, slicing, and broken files."""

import pathlib
import tempfile

import h5py
import numpy as np
import scipy.io
from absl.testing import absltest, parameterized

from jaxdl.core import registry
from jaxdl.pde import sets


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.dir = pathlib.Path(folder.name)
    self.rng = np.random.default_rng(0)

  def array(self, *shape, dtype='float32'):
    return self.rng.normal(size=shape).astype(dtype)

  def mat(self, version, **fields):
    """Writes fields as MATLAB would: v7.3 is HDF5 with reversed axes."""
    path = self.dir / f'{version}.mat'
    if version == 'v5':
      scipy.io.savemat(path, fields)
    else:
      with h5py.File(path, 'w', userblock_size=512) as file:
        for name, value in fields.items():
          file[name] = np.asarray(value).T
      with path.open('r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file')
    return path

  @parameterized.parameters('v5', 'v7.3')
  def test_mat_versions_read_alike(self, version):
    coeff, sol = self.array(6, 9, 9), self.array(6, 9, 9, dtype='float64')
    path = self.mat(version, coeff=coeff, sol=sol, t=np.arange(4.0)[None])
    self.assertEqual(sets.is_hdf5(path), version == 'v7.3')
    self.assertEqual(sets.mat_shapes(path)['coeff'], (6, 9, 9))
    got = sets.load_mat(path, start=1, max_samples=3, subsample=4)
    np.testing.assert_array_equal(got['coeff'], coeff[1:4, ::4, ::4])
    np.testing.assert_array_equal(got['sol'], sol[1:4, ::4, ::4])
    np.testing.assert_array_equal(got['t'].ravel(), np.arange(4.0))
    self.assertEqual(got['coeff'].dtype, np.float32)
    arrays = sets.load_operator_mat(path, 'darcy', subsample=2)
    np.testing.assert_array_equal(arrays.inputs[..., 0], coeff[:, ::2, ::2])
    np.testing.assert_array_equal(arrays.targets[..., 0], sol[:, ::2, ::2])
    np.testing.assert_allclose(arrays.queries[1, 3], [0.25, 0.75])

  def test_navier_stokes_times_are_channels(self):
    a, u = self.array(3, 8, 8), self.array(3, 8, 8, 5)
    path = self.mat('v7.3', a=a, u=u)
    arrays = sets.load_operator_mat(path, 'navier_stokes', subsample=2)
    np.testing.assert_array_equal(arrays.targets, u[:, ::2, ::2])
    np.testing.assert_allclose(arrays.queries[3, 1], [0.75, 0.25])
    burgers = self.mat(
      'v5', input=a[:, 0], output=u.transpose(0, 3, 1, 2)[..., 0]
    )
    arrays = sets.load_operator_mat(burgers, 'burgers_pino', max_samples=2)
    np.testing.assert_array_equal(arrays.targets, u[:2, :, 0])

  def test_reversed_axes_are_named(self):
    coeff = self.array(9, 9, 6)
    path = self.mat('v5', coeff=coeff, sol=coeff)
    with self.assertRaisesRegex(sets.FileError, r'\[9, 9, 6\].*v7\.3 axes'):
      sets.load_operator_mat(path, 'darcy')

  def test_inner_points_are_thinned_like_the_multiscale_set(self):
    array = self.array(2, 15, 15)
    got = sets.load_mat(self.mat('v5', coeff=array), subsample=4)
    np.testing.assert_array_equal(got['coeff'], array[:, ::4, ::4])

  @parameterized.parameters('v5', 'v7.3')
  def test_mat_mistakes(self, version):
    path = self.mat(version, coeff=self.array(4, 9, 9), sol=self.array(4, 9, 9))
    with self.assertRaisesRegex(sets.FileError, "'koeff': it has coeff, sol"):
      sets.load_mat(path, ['koeff'])
    with self.assertRaisesRegex(sets.FileError, 'subsample=6 divides'):
      sets.load_mat(path, subsample=6)
    with self.assertRaisesRegex(sets.FileError, 'start=4 is past the 4'):
      sets.load_mat(path, start=4)
    with self.assertRaisesRegex(FileNotFoundError, 'does not exist'):
      sets.load_mat(self.dir / 'none.mat')

  @parameterized.product(
    kind=['v5', 'v7.3', 'npz', 'npy', 'pdebench'], kept=[0, 3, 200, 0.5, 0.95]
  )
  def test_truncated_files_raise_one_sentence(self, kind, kept):
    value = self.array(4, 33, 33)
    if kind.startswith('v'):
      path, load = self.mat(kind, a=value), sets.load_mat
    elif kind == 'npz':
      path, load = self.dir / 'x.npz', sets.load_npz
      np.savez_compressed(path, a=value)
    elif kind == 'npy':
      path, load = self.dir / 'x.npy', sets.load_npy
      np.save(path, value)
    else:
      path, load = self.dir / 'x.h5', sets.load_pdebench
      with h5py.File(path, 'w') as file:
        file['tensor'] = value[:, None]
    load(path)  # Whole, it is readable.
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept * len(raw)) if kept < 1 else kept])
    with self.assertRaises(sets.FileError) as caught:
      load(path)
    message = str(caught.exception)
    self.assertIn(str(path), message)
    self.assertNotIn('\n', message)
    self.assertIsNone(caught.exception.__cause__)

  @parameterized.parameters('load_mat', 'load_npz', 'load_npy', 'load_pdebench')
  def test_garbage_raises_one_sentence(self, name):
    path = self.dir / 'garbage'
    path.write_bytes(self.rng.bytes(5000))
    with self.assertRaisesRegex(sets.FileError, 'not a readable'):
      getattr(sets, name)(path)

  def test_npy_moves_samples_first(self):
    path = self.dir / 'helmholtz.npy'
    value = self.array(11, 11, 7)
    np.save(path, value)
    got = sets.load_npy(
      path, sample_axis=-1, start=2, max_samples=2, subsample=5
    )
    np.testing.assert_array_equal(got, value[::5, ::5, 2:4].transpose(2, 0, 1))
    with self.assertRaisesRegex(sets.FileError, 'sample_axis=3'):
      sets.load_npy(path, sample_axis=3)
    np.save(path, np.array([{}, 1], object), allow_pickle=True)
    with self.assertRaisesRegex(sets.FileError, 'not a readable'):
      sets.load_npy(path)

  def test_deeponet_layouts(self):
    u, y = self.array(5, 10), self.array(8, 2)
    pair = np.empty(2, object)
    pair[:] = [u, y]
    s = self.array(5, 8)
    path = self.dir / 'aligned.npz'
    np.savez(path, X_train=pair, y_train=s, X_test=pair, y_test=s[:4])
    with self.assertRaisesRegex(sets.FileError, 'allow_pickle=True to'):
      sets.load_deeponet_npz(path)
    arrays = sets.load_deeponet_npz(path, allow_pickle=True)
    for got, want in zip(arrays, (u, y, s), strict=True):
      np.testing.assert_array_equal(got, want)
    with self.assertRaisesRegex(sets.FileError, r'\[5, 8\]; got \(4, 8\)'):
      sets.load_deeponet_npz(path, split='test', allow_pickle=True)
    rows = dict(X_train0=u, X_train1=y[:5], y_train=s[:, 0])
    np.savez(path, **rows)
    arrays = sets.load_deeponet_npz(path)
    np.testing.assert_array_equal(arrays.targets, s[:, :1])
    np.savez(path, **{**rows, 'X_train1': y})
    with self.assertRaisesRegex(sets.FileError, 'rows disagree'):
      sets.load_deeponet_npz(path)
    np.savez(path, u=u)
    with self.assertRaisesRegex(sets.FileError, "no field 'X': it has u"):
      sets.load_deeponet_npz(path)
    with self.assertRaisesRegex(sets.FileError, "no field 'v': it has u"):
      sets.load_npz(path, ['v'])

  def test_pdebench_scalar_and_darcy(self):
    path = self.dir / 'a.h5'
    tensor, nu = self.array(20, 6, 16), self.array(20, 8, 8)
    with h5py.File(path, 'w') as file:
      file['tensor'] = tensor
      file['x-coordinate'] = np.arange(16.0)
      file['t-coordinate'] = np.arange(6.0)
    train = sets.load_pdebench(path, subsample=4, time_subsample=2)
    np.testing.assert_array_equal(train.values[..., 0], tensor[2:, ::2, ::4])
    np.testing.assert_array_equal(train.coordinates['x'], [0, 4, 8, 12])
    np.testing.assert_array_equal(train.coordinates['t'], [0, 2, 4])
    test = sets.load_pdebench(path, split='test', max_samples=1)
    np.testing.assert_array_equal(test.values[..., 0], tensor[:1])
    with self.assertRaisesRegex(sets.FileError, "'test' of .* is empty"):
      sets.load_pdebench(path, split='test', test_fraction=0.0)
    with h5py.File(path, 'w') as file:
      file['tensor'], file['nu'] = nu[:, None] + 1, nu
    darcy = sets.load_pdebench(path, max_samples=3)
    np.testing.assert_array_equal(darcy.parameters, nu[2:5])
    np.testing.assert_array_equal(darcy.values[:, 0, ..., 0], nu[2:5] + 1)

  def test_pdebench_fluid_and_groups(self):
    path = self.dir / 'a.h5'
    fields = {k: self.array(10, 3, 8) for k in ('Vx', 'density', 'pressure')}
    with h5py.File(path, 'w') as file:
      for name, value in fields.items():
        file[name] = value
    got = sets.load_pdebench(path)
    self.assertEqual(got.names, ('density', 'pressure', 'Vx'))
    np.testing.assert_array_equal(got.values[..., 2], fields['Vx'][1:])
    data = self.array(10, 3, 8, 8, 2)
    with h5py.File(path, 'w') as file:
      for i in range(10):
        file[f'{i:04d}/data'] = data[i]
        file[f'{i:04d}/grid/x'] = np.arange(8.0)
    got = sets.load_pdebench(path, subsample=2, max_samples=4)
    np.testing.assert_array_equal(got.values, data[:4, :, ::2, ::2])
    test = sets.load_pdebench(path, split='test', test_fraction=0.2)
    np.testing.assert_array_equal(test.values, data[8:])
    np.testing.assert_array_equal(got.coordinates['x'], [0, 2, 4, 6])
    with h5py.File(path, 'w') as file:
      file['other'] = data
    with self.assertRaisesRegex(sets.FileError, 'layout: it has other'):
      sets.load_pdebench(path)

  def file(self, path, **options):
    spec = registry.write('file', str(path), **options)
    return sets.SOURCES.make(spec, num_train=3, num_test=2)

  def test_a_file_is_a_problem(self):
    coeff, sol = self.array(6, 9, 9), self.array(6, 9, 9)
    path = self.mat('v5', coeff=coeff, sol=sol)
    got = self.file(path, subsample=2)
    self.assertEqual((got.layout, got.periodic), ('grid', False))
    np.testing.assert_array_equal(got.train.inputs[..., 0], coeff[:3, ::2, ::2])
    np.testing.assert_array_equal(got.test.targets[..., 0], sol[3:5, ::2, ::2])
    got = self.file(path, test_path=str(path))
    np.testing.assert_array_equal(got.test.inputs[..., 0], coeff[:2])
    plain = self.dir / 'x.npz'
    np.savez(plain, inputs=coeff[..., None], targets=sol[..., None])
    got = self.file(plain, format='npz', subsample=4)
    np.testing.assert_array_equal(got.test.inputs[..., 0], coeff[3:5, ::4, ::4])
    np.savez(plain, targets=sol)
    with self.assertRaisesRegex(ValueError, 'lacks inputs.*it has targets'):
      self.file(plain, format='npz')
    with self.assertRaisesRegex(ValueError, 'there is no file nowhere.mat'):
      self.file('nowhere.mat')
    with self.assertRaisesRegex(ValueError, "format='darci' is unknown"):
      self.file(path, format='darci')

  def test_archives_of_sensors_say_their_layout(self):
    u, y, s = self.array(6, 10), self.array(6, 2), self.array(6, 1)
    rows = dict(X_train0=u, X_train1=y, y_train=s)
    path = self.dir / 'rows.npz'
    np.savez(path, **rows, X_test0=u, X_test1=y, y_test=s)
    got = self.file(path, format='deeponet_npz')
    self.assertEqual(got.layout, 'unaligned')
    np.testing.assert_array_equal(got.train.inputs, u)
    with self.assertRaisesRegex(ValueError, 'subsample=2 has no meaning'):
      self.file(path, format='deeponet_npz', subsample=2)
    pair = np.empty(2, object)
    pair[:] = [u, y[:4]]
    values = self.array(6, 4)
    np.savez(path, X_train=pair, y_train=values, X_test=pair, y_test=values)
    got = self.file(path, format='deeponet_npz')
    self.assertEqual(got.layout, 'aligned')
    np.testing.assert_array_equal(got.train.targets, values[:3])


if __name__ == '__main__':
  absltest.main()
