# SPDX-License-Identifier: Apache-2.0
"""Matrices and CSV of files, and what is said of broken ones."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import tables


class TablesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enter_context(tempfile.TemporaryDirectory())
    self.path = pathlib.Path(folder) / 'file.csv'

  @parameterized.parameters(
    '1,2\n3,4\n', '1 2\n3 4', ' 1, 2\n\n3 ,4\n\n', '\ufeff1\t2\r\n3  4\r\n'
  )
  def test_separators_do_not_matter(self, text):
    self.path.write_text(text, 'utf-8')
    np.testing.assert_array_equal(
      tables.load_matrix(self.path), [[1.0, 2.0], [3.0, 4.0]]
    )

  def test_arrays_are_as_they_were_saved(self):
    npy = self.path.with_suffix('.npy')
    np.save(npy, np.eye(3, dtype=bool))
    got = tables.load_matrix(npy, kinds='biuf')
    np.testing.assert_array_equal(got, np.eye(3, dtype=bool))
    with self.assertRaisesRegex(ValueError, 'real numbers; got an array of b'):
      tables.load_matrix(npy)

  @parameterized.parameters(
    ('1 2\n\n1 2 3\n', 'line 3 has 3 numbers, line 1 has 2'),
    ('\n1,2\n1\n', 'line 3 has 1 numbers, line 2 has 2'),
    # A missing number must not make the next one count for it.
    ('1,,0,1\n', "line 1: '' is no number"),
    ('1,0,\n', "line 1: '' is no number"),
    ('1, 0 1\n', "line 1: '0 1' is no number"),
    ('\n \n', 'it holds no numbers'),
  )
  def test_says_the_line(self, text, message):
    self.path.write_text(text)
    with self.assertRaisesRegex(ValueError, message):
      tables.load_matrix(self.path)

  def test_rows_end_at_their_lines(self):
    self.path.write_text('b,a\n\n"x\ny", 1\n,2\n')
    names, rows = tables.load_columns(self.path, ('a', 'b'))
    self.assertEqual(names, ('b', 'a'))
    self.assertEqual(
      rows, [(4, {'b': 'x\ny', 'a': '1'}), (5, {'b': '', 'a': '2'})]
    )

  @parameterized.parameters(
    ('a,c\n1,2\n', "column='c' is unknown"),
    ('a,b,a\n1,2,3\n', 'the column a is there 2 times'),
    ('a,b\n1,2\n\n1,2,3\n', 'line 4 has 3 fields, the header has 2'),
    ('a,b\n1\n', 'line 2 has 1 fields, the header has 2'),
    ('a,b\n"1,2\n', 'no CSV can be read: unexpected end of data'),
  )
  def test_says_what_is_wrong_with_columns(self, text, message):
    self.path.write_text(text)
    with self.assertRaisesRegex(ValueError, message):
      tables.load_columns(self.path, ('a', 'b'))

  def test_missing_files(self):
    for load in (tables.load_matrix, lambda p: tables.load_columns(p, ())):
      with self.assertRaisesRegex(ValueError, 'can be read: .*No such file'):
        load(self.path)
      self.path.write_bytes(b'\xff\xfe1')
      with self.assertRaisesRegex(ValueError, 'can be read: .*decode'):
        load(self.path)
      self.path.unlink()


if __name__ == '__main__':
  absltest.main()
