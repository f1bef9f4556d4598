# SPDX-License-Identifier: Apache-2.0
import functools

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import mixing
from jaxdl.mixing import spectra

# Rounds for max_degree 1, 2, 3, 4.
_LENGTHS = {
  5: (5, 3, 3, 1),
  6: (4, 2, 2, 2),
  7: (5, 4, 3, 3),
  10: (6, 4, 4, 2),
  25: (9, 6, 5, 2),
  50: (10, 7, 6, 3),
  100: (11, 8, 6, 3),
}


def _product(rounds):
  return functools.reduce(lambda total, w: w @ total, rounds)


class FiniteTimeTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3, 4)
  def test_base_graphs_agree_exactly_for_every_size(self, k):
    for n in range(1, 101):
      for build in (mixing.base_graph, mixing.simple_base_graph):
        rounds = build(n, max_degree=k)
        np.testing.assert_allclose(
          _product(rounds), 1 / n, atol=1e-12, err_msg=f'{n=}'
        )
        np.testing.assert_array_equal(rounds, np.swapaxes(rounds, 1, 2))
        self.assertGreaterEqual(rounds.min(), 0.0)
        np.testing.assert_allclose(rounds.sum(axis=1), 1.0, atol=1e-12)
        links = (rounds != 0) & ~np.eye(n, dtype=bool)[None]
        self.assertLessEqual(links.sum(axis=1).max(), k)
      if n > 1:
        limit = 2 * np.log(n) / np.log(k + 1) + 2
        self.assertLessEqual(len(mixing.base_graph(n, max_degree=k)), limit)

  @parameterized.parameters(*_LENGTHS)
  def test_base_graph_length(self, n):
    got = tuple(len(mixing.base_graph(n, max_degree=k)) for k in (1, 2, 3, 4))
    self.assertEqual(got, _LENGTHS[n])

  @parameterized.parameters(1, 2, 8, 32)
  def test_one_peer_families_on_powers_of_two(self, n):
    for build in (mixing.one_peer_exponential, mixing.one_peer_hypercube):
      rounds = build(n)
      self.assertLen(rounds, max(n.bit_length() - 1, 1))
      np.testing.assert_allclose(_product(rounds), 1 / n, atol=1e-12)

  def test_one_peer_exponential_otherwise_only_comes_close(self):
    error = np.abs(_product(mixing.one_peer_exponential(6)) - 1 / 6).max()
    self.assertAlmostEqual(error, 1 / 12, delta=1e-12)

  def test_one_peer_hops_point_ahead(self):
    rounds = mixing.one_peer_exponential(6)
    np.testing.assert_array_equal(np.nonzero(rounds[1][5])[0], [1, 5])

  @parameterized.parameters((12, 2, 3), (36, 2, 4), (16, 3, 2))
  def test_hyper_hypercube(self, n, k, length):
    rounds = mixing.hyper_hypercube(n, max_degree=k)
    self.assertLen(rounds, length)
    np.testing.assert_allclose(_product(rounds), 1 / n, atol=1e-12)

  def test_says_which_family_exists_instead(self):
    with self.assertRaisesRegex(ValueError, 'prime factor above.*base_graph'):
      mixing.hyper_hypercube(10, max_degree=2)
    with self.assertRaisesRegex(ValueError, 'power of two'):
      mixing.one_peer_hypercube(10)
    with self.assertRaisesRegex(ValueError, 'max_degree must be at least 1'):
      mixing.base_graph(4, max_degree=0)


class EquiStaticTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_is_the_mean_of_its_hops(self, directed):
    n, m = 9, 4
    w = mixing.equistatic(n, m, np.random.default_rng(5), directed=directed)
    self.assertTrue(spectra.is_doubly_stochastic(w, atol=1e-12))
    hops = np.random.default_rng(5).integers(1, n, size=m)
    want = np.zeros((n, n))
    for i in range(n):
      want[i, i] += 1 / n
      for hop in hops:
        want[i, (i + hop) % n] += (n - 1) / n / m
    want = want if directed else (want + want.T) / 2
    np.testing.assert_allclose(w, want, atol=1e-15)

  def test_enough_hops_bound_the_factor(self):
    n = 60
    m = mixing.equistatic_num_shifts(n, 0.5, failure=0.1)
    self.assertEqual(m, int(8 * np.log(2 * n / 0.1) / (3 * 0.25)))
    rng = np.random.default_rng(0)
    factors = [
      spectra.consensus_factor(mixing.equistatic(n, m, rng)) for _ in range(20)
    ]
    self.assertLess(np.mean(np.array(factors) >= 0.5), 0.1)

  def test_one_client(self):
    np.testing.assert_array_equal(
      mixing.equistatic(1, 3, np.random.default_rng(0)), [[1.0]]
    )


if __name__ == '__main__':
  absltest.main()
