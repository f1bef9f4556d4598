# SPDX-License-Identifier: Apache-2.0
"""Gradient codes: any n - s results are enough, fewer are not."""

import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import coding
from jaxdl.coding import _codes


def without(n, lost):
  arrived = np.ones(n, bool)
  arrived[list(lost)] = False
  return arrived


class CodesTest(parameterized.TestCase):
  @parameterized.parameters((1, 0), (3, 1), (6, 2), (8, 3), (9, 7), (10, 3))
  def test_every_set_of_stragglers_is_tolerated(self, n, s):
    rng = np.random.default_rng(n)
    matrix = coding.gc_encoding_matrix(rng, n, s)
    support = (np.arange(n) - np.arange(n)[:, None]) % n <= s
    np.testing.assert_array_equal(matrix[~support], 0.0)
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    chunks = {'w': rng.normal(size=(n, 3, 2)), 'b': rng.normal(size=n)}
    results = coding.encode(matrix, chunks)
    for lost in itertools.combinations(range(n), s):
      vector = coding.gc_decoding_vector(matrix, without(n, lost))
      np.testing.assert_array_equal(vector[list(lost)], 0.0)
      np.testing.assert_allclose(vector @ matrix, 1.0, rtol=1e-9)
      broken = jax.tree.map(np.copy, results)
      for leaf in broken.values():
        leaf[list(lost)] = np.nan  # Nobody looks at it.
      whole = coding.decode(vector, broken)
      for name, leaf in chunks.items():
        np.testing.assert_allclose(
          whole[name], leaf.sum(axis=0), rtol=1e-9, atol=1e-9
        )

  @parameterized.parameters((6, 2), (10, 3))
  def test_one_result_less_is_too_few(self, n, s):
    rng = np.random.default_rng(0)
    matrix = coding.gc_encoding_matrix(rng, n, s)
    for _ in range(50):
      arrived = without(n, rng.permutation(n)[: s + 1])
      with self.assertRaisesRegex(ValueError, 'exceeds 1e-06; wait for more'):
        coding.gc_decoding_vector(matrix, arrived)
    with self.assertRaisesRegex(ValueError, 'arrived=0 of'):
      coding.gc_decoding_vector(matrix, np.zeros(n, bool))

  def test_repetition_is_exact_and_stands_more(self):
    code = coding.gradient_code(6, 1, kind='repetition')
    np.testing.assert_array_equal(
      code.matrix, np.kron(np.eye(3), np.ones((2, 2)))
    )
    chunks = np.random.default_rng(0).integers(0, 99, (6, 4)).astype(float)
    results = coding.encode(code.matrix, chunks)
    enough = 0
    for arrived in itertools.product([False, True], repeat=6):
      arrived = np.array(arrived)
      pairs = arrived.reshape(3, 2).any(axis=1).all()
      self.assertEqual(code.decodes(arrived), pairs)
      if not pairs:
        with self.assertRaisesRegex(ValueError, 'do not give the whole'):
          code.decoding_vector(arrived)
        continue
      enough += 1
      vector = code.decoding_vector(arrived)
      np.testing.assert_array_equal(np.unique(vector), [0, 1])
      np.testing.assert_array_equal(
        coding.decode(vector, results), chunks.sum(axis=0)
      )
    self.assertEqual(enough, 27)  # Three late workers among them.

  def test_vectors_are_computed_once(self):
    code = coding.gradient_code(8, 2)
    arrived = without(8, (1, 5))
    with mock.patch.object(
      _codes, 'gc_decoding_vector', wraps=_codes.gc_decoding_vector
    ) as solve:
      for _ in range(3):
        vector = code.decoding_vector(arrived)
      code.decoding_vector(without(8, (1,)))
    self.assertEqual(solve.call_count, 2)
    with self.assertRaisesRegex(ValueError, 'read-only'):
      vector[0] = 2.0

  def test_what_rounding_breaks_is_refused(self):
    # Two nearly equal rows: no choice of weights gives ones to 1e-6.
    matrix = np.array([[1.0, 1.0, 0.0], [0.0, 1e-9, 1e-9], [1.0, 0.0, -1.0]])
    with self.assertRaisesRegex(ValueError, r'\|a\^T B - 1\| = '):
      coding.gc_decoding_vector(matrix.astype(np.float32), [True, True, False])

  def test_decoding_a_large_code(self):
    # Entries are in the thousands here; the check holds all the same.
    code = coding.gradient_code(64, 8)
    rng = np.random.default_rng(1)
    largest = 0.0
    for _ in range(5):
      vector = code.decoding_vector(without(64, rng.permutation(64)[:8]))
      self.assertLess(np.abs(vector @ code.matrix - 1).max(), 1e-7)
      largest = max(largest, np.abs(vector).max())
    self.assertGreater(largest, 30)

  def test_jax_trees_under_jit_and_vmap(self):
    code = coding.gradient_code(6, 2, kind='repetition')
    chunks = {
      'w': jnp.arange(24.0).reshape(6, 4),
      'b': jnp.ones(6, jnp.bfloat16),
    }
    vector = code.decoding_vector(without(6, (0, 4)))

    @jax.jit
    def whole(chunks):
      return coding.decode(vector, coding.encode(code.matrix, chunks))

    found = whole(chunks)
    self.assertEqual(found['b'].dtype, jnp.bfloat16)
    np.testing.assert_allclose(found['w'], chunks['w'].sum(axis=0))
    np.testing.assert_allclose(found['b'], 6.0)
    many = jax.vmap(whole)(
      jax.tree.map(lambda x: jnp.stack([x, 2 * x]), chunks)
    )
    np.testing.assert_allclose(many['w'][1], 2 * found['w'])
    lost = {'w': jnp.full((6, 2), jnp.nan).at[np.array([1, 3])].set(1.0)}
    np.testing.assert_allclose(
      coding.decode(np.array([0.0, 1, 0, 1, 0, 0]), lost)['w'], 2.0
    )

  @parameterized.parameters(
    ((4, 4), {}, 'num_stragglers must be at most 3; got 4'),
    ((4, -1), {}, 'num_stragglers must be at least 0; got -1'),
    ((0, 0), {}, 'num_workers must be at least 1'),
    ((5, 1), {'kind': 'repetition'}, r'wants \(s \+ 1\) \| n'),
    ((4, 1), {'kind': 'cycle'}, "code='cycle' is unknown"),
  )
  def test_bad_numbers(self, numbers, options, message):
    with self.assertRaisesRegex(ValueError, message):
      coding.gradient_code(*numbers, **options)

  def test_bad_shapes(self):
    code = coding.gradient_code(4, 1)
    with self.assertRaisesRegex(ValueError, r'arrived must be bool\[4\]'):
      code.decoding_vector(np.ones(3, bool))
    with self.assertRaisesRegex(ValueError, r'arrived must be bool\[4\]'):
      coding.gc_decoding_vector(code.matrix, np.ones(3, bool))
    with self.assertRaisesRegex(ValueError, 'chunks must have leading axis 4'):
      coding.encode(code.matrix, np.ones((3, 2)))
    with self.assertRaisesRegex(ValueError, 'results must have leading axis 4'):
      coding.decode(np.ones(4), np.ones((5, 2)))


class JobsTest(parameterized.TestCase):
  @parameterized.parameters(
    'uncoded', 'gc(2)', 'gc_rep(2)', 'sr_sgc(1, 2, 3)', 'm_sgc(2, 3, 2)',
    'm_sgc(1, 2, 6)', 'm_sgc(2, 4, 2, code=repetition)',
  )  # fmt: skip
  def test_jobs_decode_to_the_sum(self, spec):
    scheme = coding.make_scheme(spec, 6)
    code = scheme.code_of()
    rng = np.random.default_rng(0)
    rounds = 4 + scheme.delay
    # Bursty enough for all: at most two are late, once.
    late = np.zeros((rounds, 6), bool)
    if spec != 'uncoded':
      late[1, [0, 3]] = True
    chunks = {'w': rng.normal(size=(scheme.num_chunks, 5))}
    results = coding.encode_job(scheme, code, chunks)
    for pattern in (np.zeros_like(late), late):
      found = coding.deliveries(scheme, pattern, 4)
      for job, arrived in enumerate(found.arrived):
        broken = {'w': np.where(arrived[:, None], results['w'], np.nan)}
        whole = coding.decode_job(scheme, code, broken, arrived, job=job)
        np.testing.assert_allclose(
          whole['w'], chunks['w'].sum(axis=0), rtol=1e-9, atol=1e-9
        )

  def test_what_is_missing_is_said(self):
    scheme = coding.make_scheme('m_sgc(2, 3, 1)', 4)
    code = scheme.code_of()
    results = np.ones((scheme.num_chunks, 2))
    arrived = np.ones(scheme.num_chunks, bool)
    arrived[[2, 3, 7, 8, 9]] = False
    message = (
      r'job=5 of m_sgc\(2, 3, 1\) cannot be decoded: plain chunks of workers '
      r'\[1, 3\] are missing; coded groups have \[2, 4\] results, 3 are needed'
    )
    with self.assertRaisesRegex(ValueError, message):
      coding.decode_job(scheme, code, results, arrived, job=5)
    with self.assertRaisesRegex(ValueError, r'arrived must be bool\[16\]'):
      coding.decode_job(scheme, code, results, arrived[:5])
    with self.assertRaisesRegex(
      ValueError, 'results must have leading axis 16'
    ):
      coding.decode_job(scheme, code, results[:5], arrived)

  def test_no_wait_scales_what_is_there(self):
    scheme = coding.make_scheme('no_wait', 4)
    arrived = np.array([True, True, False, True])
    whole = coding.decode_job(scheme, None, np.arange(4.0), arrived)
    self.assertAlmostEqual(float(whole), 4.0 * 4 / 3)
    none = coding.decode_job(scheme, None, np.arange(4.0), np.zeros(4, bool))
    self.assertEqual(float(none), 0.0)


if __name__ == '__main__':
  absltest.main()
