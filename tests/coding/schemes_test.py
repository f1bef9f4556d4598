# SPDX-License-Identifier: Apache-2.0
"""Loads, bounds, straggler models and what schemes tolerate, exhaustively."""

import functools
import itertools
from fractions import Fraction

import numpy as np
from absl.testing import absltest, parameterized
from reference import coding as reference

from jaxdl import coding


def all_patterns(rounds, workers):
  """bool[2^(R n), R, n]."""
  bits = rounds * workers
  numbers = np.arange(2**bits)[:, None]
  return (
    ((numbers >> np.arange(bits)) & 1).astype(bool).reshape(-1, rounds, workers)
  )


class LoadsTest(parameterized.TestCase):
  @parameterized.parameters(
    ((256, 1, 2, 27), '7/928', None),
    ((4, 2, 3, 2), '3/8', '1/3'),
    ((4, 1, 2, 1), '1/3', '2/7'),
    ((6, 1, 3, 2), '3/14', '3/16'),
    ((20, 2, 4, 5), '3/40', '1/18'),
    ((4, 1, 2, 3), '2/5', '2/5'),
    ((4, 1, 2, 4), '1/2', '1/2'),
  )
  def test_loads_of_m_sgc_and_bounds(self, numbers, load, bound):
    self.assertEqual(coding.load_m_sgc(*numbers), Fraction(load))
    if bound is not None:
      self.assertEqual(coding.load_lower_bound(*numbers), Fraction(bound))

  def test_loads_of_the_paper(self):
    self.assertEqual(coding.load_sr_sgc(256, 2, 3, 23), Fraction(13, 256))
    self.assertEqual(coding.make_scheme('sr_sgc(2, 3, 23)', 256).tolerance, 12)
    self.assertEqual(coding.load_gc(256, 15), Fraction(1, 16))
    self.assertAlmostEqual(float(coding.load_m_sgc(256, 1, 2, 27)), 0.007543, 6)

  def test_no_load_is_below_the_bound(self):
    for n in range(1, 13):
      for b, w in itertools.combinations(range(1, 7), 2):
        for lam in range(n + 1):
          load = coding.load_m_sgc(n, b, w, lam)
          bound = coding.load_lower_bound(n, b, w, lam)
          self.assertGreaterEqual(load, bound)
          self.assertEqual(load == bound, lam in {0, n - 1, n}, (n, b, w, lam))
          if not lam:
            self.assertEqual(load, Fraction(1, n))
          # The other model that it tolerates has a bound as well.
          wider = coding.load_lower_bound(
            n, b, w + b - 1, lam, model='arbitrary'
          )
          self.assertGreaterEqual(load, wider)

  def test_bound_where_bursts_fill_the_window(self):
    self.assertEqual(coding.load_lower_bound(5, 2, 2, 3), Fraction(1, 2))
    self.assertEqual(
      coding.load_lower_bound(5, 2, 2, 3, model='arbitrary'), Fraction(1, 2)
    )
    with self.assertRaisesRegex(ValueError, 'nothing can be computed'):
      coding.load_lower_bound(5, 2, 2, 5)

  def test_chunks_add_up_to_the_data(self):
    for spec in (
      *('uncoded', 'gc(2)', 'sr_sgc(2, 5, 3)', 'm_sgc(2, 3, 2)'),
      *('m_sgc(1, 3, 6)', 'm_sgc(1, 3, 5)'),
    ):
      scheme = coding.make_scheme(spec, 6)
      n = 6
      total = (
        scheme.num_partial * scheme.partial_size
        + scheme.num_groups * n * scheme.coded_size
      )
      self.assertEqual(total, 1)
      bounds = scheme.chunk_bounds(1000)
      self.assertEqual((bounds[0], bounds[-1]), (0, 1000))
      self.assertLen(bounds, scheme.num_chunks + 1)
      want = [scheme.partial_size] * scheme.num_partial
      want += [scheme.coded_size] * scheme.num_groups * n
      np.testing.assert_allclose(
        np.diff(bounds), 1000 * np.array(want, float), atol=1.01
      )
    # Every mini-task costs the same.
    self.assertEqual(
      coding.make_scheme('m_sgc(2, 3, 2)', 6).partial_size,
      3 * coding.make_scheme('m_sgc(2, 3, 2)', 6).coded_size,
    )

  def test_specs_read_back(self):
    for spec in (
      *('uncoded', 'no_wait', 'gc(4)', 'gc_rep(1)', 'sr_sgc(1, 2, 6)'),
      'm_sgc(2, 3, 5, code=repetition, model=arbitrary)',
    ):
      scheme = coding.make_scheme(spec, 12)
      self.assertEqual(coding.make_scheme(scheme.text, 12), scheme)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ('gc(64)', 'num_stragglers must be at most 63; got 64'),
    ('gc(-1)', 'num_stragglers must be at least 0; got -1'),
    ('gc', 'num_stragglers of gc is left open'),
    ('gc_rep(2)', 'groups of 3 workers, which do not divide num_workers=64'),
    ('m_sgc(0, 2, 3)', 'burst_length must be at least 1; got 0'),
    ('m_sgc(2, 2, 3)', 'window=2 must be larger than burst_length=2'),
    ('m_sgc(1, 2, 65)', 'num_stragglers must be at most 64; got 65'),
    ('m_sgc(1, 2, -1)', 'num_stragglers must be at least 0; got -1'),
    ('m_sgc(1, 2, 3, model=rare)', "model='rare' is unknown"),
    ('m_sgc(1, 2, 3, code=dense)', "code='dense' is unknown"),
    ('sr_sgc(2, 4, 3)', 'window=4 must be a multiple of burst_length=2 plus 1'),
    ('sr_sgc(2, 1, 3)', 'window must be at least 3; got 1'),
    ('sr_sgc(0, 2, 3)', 'burst_length must be at least 1'),
    ('sr_sgc(1, 2, 65)', 'num_stragglers must be at most 64; got 65'),
    ('best', "scheme='best' is unknown"),
  )
  def test_numbers_are_checked(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      coding.make_scheme(spec, 64)

  def test_one_worker(self):
    scheme = coding.make_scheme('m_sgc(1, 2, 0)', 1)
    self.assertEqual(scheme.load, 1)
    with self.assertRaisesRegex(ValueError, 'results of all would be missing'):
      coding.make_scheme('sr_sgc(1, 2, 1)', 1)


class PatternsTest(parameterized.TestCase):
  def test_models_equal_loops(self):
    rng = np.random.default_rng(0)
    patterns = rng.random((300, 7, 4)) < rng.uniform(0, 0.4, (300, 1, 1))
    for b, w, lam in ((1, 2, 1), (2, 3, 2), (2, 5, 3), (3, 4, 3), (1, 9, 2)):
      options = {'window': w, 'num_stragglers': lam}
      for found, check in (
        (
          coding.conforms_bursty(patterns, burst_length=b, **options),
          functools.partial(reference.is_bursty, burst_length=b, **options),
        ),
        (
          coding.conforms_arbitrary(patterns, max_rounds=b, **options),
          functools.partial(reference.is_arbitrary, max_rounds=b, **options),
        ),
      ):
        want = [reference.all_windows(p, check) for p in patterns]
        self.assertEqual(found.tolist(), want)
        self.assertBetween(sum(want), 10, 290)

  def test_m_sgc_tolerates_every_bursty_pattern(self):
    patterns = all_patterns(5, 3)
    for lam, count in ((1, 97), (2, 1015)):
      bursty = patterns[
        coding.conforms_bursty(
          patterns, burst_length=1, window=2, num_stragglers=lam
        )
      ]
      self.assertLen(bursty, count)
      scheme = coding.make_scheme(f'm_sgc(1, 2, {lam})', 3)
      done = coding.deliveries(scheme, bursty, 4).done
      np.testing.assert_array_equal(done, np.tile(np.arange(1, 5), (count, 1)))

  def test_counts_obey_a_recursion(self):
    counts = [1, 4]
    for rounds in range(2, 6):
      patterns = all_patterns(rounds, 3)
      found = coding.conforms_bursty(
        patterns, burst_length=1, window=2, num_stragglers=1
      )
      counts.append(counts[-1] + 3 * counts[-2])
      self.assertEqual(found.sum(), counts[-1])
    self.assertEqual(counts[-1], 97)

  def test_m_sgc_tolerates_both_models(self):
    patterns = all_patterns(8, 2)
    bursty = coding.conforms_bursty(
      patterns, burst_length=2, window=3, num_stragglers=2
    )
    arbitrary = coding.conforms_arbitrary(
      patterns, max_rounds=2, window=4, num_stragglers=2
    )
    self.assertEqual((bursty.sum(), arbitrary.sum()), (4096, 9409))
    scheme = coding.make_scheme('m_sgc(2, 3, 2)', 2)
    done = coding.deliveries(scheme, patterns, 5).done
    self.assertTrue((done[bursty | arbitrary] >= 0).all())
    # Just outside of the models it may fail.
    self.assertFalse((done[~bursty & ~arbitrary] >= 0).all())

  @parameterized.parameters((2, 1, 797, 1093), (3, 2, 2817, 15745))
  def test_sr_sgc_tolerates_mixed_patterns(self, lam, s, bursty, mixed):
    patterns = all_patterns(4, 4)
    options = {'burst_length': 1, 'window': 2, 'num_stragglers': lam}
    found = coding.conforms_sr_sgc(patterns, **options)
    only = coding.conforms_bursty(patterns, **options)
    self.assertEqual((only.sum(), found.sum()), (bursty, mixed))
    self.assertTrue(found[only].all())
    scheme = coding.make_scheme(f'sr_sgc(1, 2, {lam})', 4)
    self.assertEqual(scheme.tolerance, s)
    done = coding.deliveries(scheme, patterns, 3).done
    self.assertTrue((done[found] >= 0).all())
    self.assertFalse((done[~found] >= 0).all())
    late = np.arange(3)
    self.assertTrue(((done[found] >= late) & (done[found] <= late + 1)).all())

  def test_patterns_need_two_axes(self):
    with self.assertRaisesRegex(ValueError, r'bool\[..., rounds, workers\]'):
      coding.conforms_per_round([True, False], num_stragglers=1)

  def test_walk_through(self):
    scheme = coding.make_scheme('m_sgc(1, 2, 1)', 3)
    sizes = (scheme.partial_size, scheme.coded_size, scheme.load)
    self.assertEqual(sizes, (Fraction(2, 9), Fraction(1, 9), Fraction(4, 9)))
    late = np.zeros((2, 3), bool)
    late[0, 0] = True
    found = coding.deliveries(scheme, late, 1)
    self.assertEqual(found.done.tolist(), [1])
    # Worker 0 has repeated; workers 1 and 2 returned the coded group.
    self.assertEqual(found.arrived.tolist(), [[1, 1, 1, 0, 1, 1]])
    plain, coded = coding.m_sgc_assignment(3, 1, 2)
    self.assertEqual(plain.tolist(), [[0], [1], [2]])
    self.assertEqual(coded.tolist(), [[3, 4, 5]])


if __name__ == '__main__':
  absltest.main()
