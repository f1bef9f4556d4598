# SPDX-License-Identifier: Apache-2.0
"""Overlaps of infinite networks against quadrature and enumeration."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from absl.testing import absltest, parameterized

from jaxdl.theory import associative as lib


@functools.cache
def _solver(k, noise='none', num_examples=None):
  return jax.jit(
    lambda d, t, entropy, r: lib.self_consistency(
      *(k, d, t),
      noise=noise,
      num_examples=num_examples,
      entropy=entropy if noise == 'gaussian' else None,
      quality=r,
    )
  )


def _solve(k, d, t, *, noise='none', entropy=0.0, r=1.0, num_examples=None):
  with jax.enable_x64(True):
    found = _solver(k, noise, num_examples)(d, t, entropy, r)
    return jax.tree.map(np.asarray, found)


def _configurations(k, d):
  for xi in itertools.product((-1, 0, 1), repeat=k):
    yield (
      np.array(xi, float),
      np.prod([d if x == 0 else (1 - d) / 2 for x in xi]),
    )


def _gaussian_map(n, k, d, t, rho, num_nodes=200):
  """n and m of the definition: v = xi (1 + sqrt(rho) z), all z."""
  z, w = np.polynomial.hermite_e.hermegauss(num_nodes)
  w = w / w.sum()
  m, new = np.zeros(k), np.zeros(k)
  z_all = np.stack(np.meshgrid(*[z] * k, indexing='ij'), -1).reshape(-1, k)
  w_all = np.prod(
    np.stack(np.meshgrid(*[w] * k, indexing='ij'), -1).reshape(-1, k), 1
  )
  for xi, p in _configurations(k, d):
    v = xi * (1 + np.sqrt(rho) * z_all)
    tanh = np.tanh(v @ n / (t * (1 - d)))
    m += p * xi * (w_all @ tanh)
    new += p * (w_all * tanh) @ v
  return new / (1 + rho), m


def _binomial_map(n, k, d, t, r, num_examples):
  """The same over all signs of all examples."""
  rho = (1 - r**2) / (num_examples * r**2)
  m, new = np.zeros(k), np.zeros(k)
  chis = np.array(list(itertools.product((-1, 1), repeat=num_examples * k)))
  chis = chis.reshape(-1, k, num_examples)
  p_chi = np.prod((1 + r * chis) / 2, axis=(1, 2))
  for xi, p in _configurations(k, d):
    v = xi * chis.mean(2) / r
    tanh = np.tanh(v @ n / (t * (1 - d)))
    m += p * xi * (p_chi @ tanh)
    new += p * (p_chi * tanh) @ v
  return new / (1 + rho), m


class SelfConsistencyTest(parameterized.TestCase):
  @parameterized.parameters(
    # Oracle 3.
    (1, 0.0, 0.5, [0.9575040]),
    (1, 0.0, 1.0, [0.0]),
    (1, 0.0, 1.3, [0.0]),
    # Oracle 4.
    (2, 0.5, 0.1, [0.5, 0.25]),
    (2, 0.5, 0.4, [0.4794, 0.2128]),
    (2, 0.2, 0.4, [0.7885, 0.0]),
    (2, 0.8, 0.1, [0.1992, 0.1608]),
    # Of the sheet's text.
    (2, 0.8, 0.2, [0.1815, 0.1784]),
    (2, 0.8, 0.4, [0.1761, 0.1761]),
    (2, 0.5, 0.2, [0.4983, 0.2482]),
  )
  def test_known_overlaps(self, k, d, t, want):
    found = _solve(k, d, t)
    np.testing.assert_allclose(
      found.overlaps, want, atol=1e-6 if k == 1 else 5.1e-5
    )
    self.assertTrue(found.converged)

  @parameterized.parameters((0.3, 0.6), (0.7, 0.9))
  def test_one_pattern_of_any_dilution(self, d, t):
    # Oracle 3: m = (1 - d) tanh(m / (T (1 - d))).
    (m,) = _solve(1, d, t).overlaps
    self.assertGreater(m, 0.1)
    self.assertAlmostEqual(m, (1 - d) * np.tanh(m / (t * (1 - d))), places=9)

  @parameterized.parameters((2, 0.3, 0.1, 0.131), (2, 0.6, 0.3, 0.5))
  def test_normal_averages(self, k, d, t, rho):
    # Oracle 10: what was found by parts solves the equations of all z.
    found = _solve(k, d, t, noise='gaussian', entropy=rho)
    new, m = _gaussian_map(found.learned, k, d, t, rho)
    self.assertGreater(found.overlaps[0], 0.1)
    np.testing.assert_allclose(new, found.learned, atol=1e-6)
    np.testing.assert_allclose(m, found.overlaps, atol=1e-6)

  def test_binomial_averages(self):
    k, d, t, r, m = 2, 0.4, 0.2, 0.6, 3
    found = _solve(k, d, t, noise='binomial', r=r, num_examples=m)
    want = _binomial_map(found.learned, k, d, t, r, m)
    self.assertGreater(found.overlaps[1], 0.1)
    np.testing.assert_allclose(want[0], found.learned, atol=1e-9)
    np.testing.assert_allclose(want[1], found.overlaps, atol=1e-9)

  def test_many_examples_are_normal(self):
    # The law of averages is near a normal one, but for T -> 0 not very.
    data = {'r': 0.4, 'num_examples': 60}
    exact = _solve(2, 0.7, 0.3, noise='binomial', **data)
    rho = (1 - 0.16) / (60 * 0.16)
    close = _solve(2, 0.7, 0.3, noise='gaussian', entropy=rho)
    np.testing.assert_allclose(exact.overlaps, close.overlaps, atol=1e-3)

  def test_perfect_examples_are_patterns(self):
    # Oracle 5.
    want = _solve(2, 0.5, 0.4)
    for got in (
      _solve(2, 0.5, 0.4, noise='binomial', num_examples=3),
      _solve(2, 0.5, 0.4, noise='gaussian', entropy=0.0),
    ):
      np.testing.assert_allclose(got.overlaps, want.overlaps, atol=1e-9)
      np.testing.assert_allclose(got.learned, want.overlaps, atol=1e-9)
      np.testing.assert_allclose(got.free_energy, want.free_energy, atol=1e-9)

  @parameterized.parameters(
    (0.3, 0.1, 40, [0.672, 0.227]), (0.7, 0.2, 10, [0.207, 0.207])
  )
  def test_known_overlaps_from_examples(self, d, t, m, want):
    found = _solve(2, d, t, noise='binomial', r=0.4, num_examples=m)
    np.testing.assert_allclose(found.overlaps, want, atol=5e-4)
    # A normal law is not the same at few examples.
    rho = 0.84 / (m * 0.16)
    close = _solve(2, d, t, noise='gaussian', entropy=rho)
    np.testing.assert_allclose(close.overlaps, want, atol=4e-3)

  @parameterized.parameters(('none', 0.0), ('gaussian', 0.4))
  def test_solutions_are_where_free_energy_is_stationary(self, noise, rho):
    found = _solve(2, 0.4, 0.3, noise=noise, entropy=rho)
    more = {'entropy': rho} if noise == 'gaussian' else {}
    with jax.enable_x64(True):
      f = jax.jit(
        jax.value_and_grad(
          lambda n: lib.free_energy(n, 0.4, 0.3, noise=noise, **more)
        )
      )
      value, slope = f(jnp.asarray(found.learned))
      np.testing.assert_allclose(value, found.free_energy, rtol=1e-12)
      np.testing.assert_allclose(slope, 0.0, atol=1e-8)
      for n in ([0.01, 0.0], [0.45, 0.45], [0.6, 0.0]):
        self.assertGreater(f(jnp.array(n))[0], value)
      # A pair of zeros is the law of coins.
      zero = f(jnp.zeros(2))[0]
      np.testing.assert_allclose(zero, -0.3 * np.log(2), rtol=1e-12)

  @parameterized.parameters(0.0, 0.6)
  def test_the_transition_is_at_one(self, rho):
    noise = 'gaussian' if rho else 'none'
    below = _solve(1, 0.3, 0.9, noise=noise, entropy=rho)
    above = _solve(1, 0.3, 1.05, noise=noise, entropy=rho)
    self.assertGreater(below.overlaps.max(), 0.03)
    np.testing.assert_allclose(above.overlaps, 0.0, atol=1e-8)

  def test_a_start_of_ones_own(self):
    start = jnp.array([0.3, 0.3])
    found = lib.self_consistency(2, 0.5, 0.4, start=start)
    # The symmetric solution, which another one beats.
    self.assertAlmostEqual(*found.overlaps.tolist(), places=5)
    best = lib.self_consistency(2, 0.5, 0.4)
    self.assertGreater(found.free_energy, best.free_energy)

  def test_all_alike(self):
    with jax.enable_x64(True):
      # Of few patterns, the equations of all configurations have it.
      m = float(lib.parallel_overlap(4, 0.8, 0.5))
      want = np.zeros(4)
      for xi, p in _configurations(4, 0.8):
        want += p * xi * np.tanh(m * xi.sum() / (0.5 * 0.2))
      self.assertGreater(m, 0.1)
      np.testing.assert_allclose(want, m, rtol=1e-8)
      best = _solve(4, 0.8, 0.5).overlaps
      np.testing.assert_allclose(best, m, rtol=1e-7)
      self.assertEqual(lib.parallel_overlap(30, 0.9, 1.0), 0.0)
      # Of many, sampled sums.
      m = float(lib.parallel_overlap(30, 0.9, 0.5))
    xi = np.random.default_rng(0).choice(
      (-1, 0, 1), p=(0.05, 0.9, 0.05), size=(100_000, 30)
    )
    total = xi.sum(1)
    sampled = (total * np.tanh(m * total / 0.05)).mean() / 30
    self.assertGreater(m, 0.03)
    np.testing.assert_allclose(sampled, m, rtol=0.02)

  def test_many_temperatures_in_float32(self):
    hot = jnp.array([0.2, 0.4, 1.2])
    found = jax.jit(jax.vmap(lambda t: lib.self_consistency(2, 0.5, t)))(hot)
    self.assertEqual(found.overlaps.dtype, jnp.float32)
    for t, m in zip(hot, found.overlaps, strict=True):
      np.testing.assert_allclose(m, _solve(2, 0.5, t).overlaps, atol=2e-4)

  @parameterized.parameters(
    (
      {'num_patterns': 9},
      r'num_patterns=9 has 3\^9 configurations: .* at most 8',
    ),
    ({'dilution': 1.0}, r'dilution must lie in \[0, 1\); got 1'),
    ({'temperature': 0.0}, r'temperature must lie in \(0.0, inf\); got 0.0'),
    ({'temperature': -1.0}, r'temperature must lie in'),
    ({'noise': 'normal'}, "noise='normal' is unknown.*gaussian"),
    ({'noise': 'gaussian'}, 'needs entropy, or num_examples and quality'),
    ({'noise': 'gaussian', 'entropy': -0.1}, 'entropy must lie in'),
    ({'noise': 'binomial'}, 'needs num_examples and quality, and no entropy'),
    (
      {'noise': 'binomial', 'num_examples': 2000},
      r'2002\^2 combinations for 2 patterns.*gaussian',
    ),
    ({'quality': 0.0}, 'quality must lie in'),
    ({'start': jnp.zeros(3)}, r'start must have shape \(2,\).*got \(3,\)'),
  )
  def test_says_what_is_wrong(self, options, message):
    options = {'num_patterns': 2, 'dilution': 0.5, 'temperature': 0.4} | options
    with self.assertRaisesRegex(ValueError, message):
      lib.self_consistency(**options)


class ClosedFormTest(parameterized.TestCase):
  def test_amplitudes(self):
    # Oracle 1.
    np.testing.assert_array_equal(
      lib.hierarchical_amplitudes(3, 0.5), [0.5, 0.25, 0.125]
    )
    for d in (0.0, 0.3, 0.9):
      got = np.asarray(lib.hierarchical_amplitudes(4, d), float)
      np.testing.assert_allclose(got.sum(), 1 - d**4, rtol=1e-6)

  def test_thresholds(self):
    # Oracle 2, and the definition.
    for k, want in ((1, 1.0), (2, 1.0), (3, 0.6180340), (5, 0.5187901)):
      self.assertAlmostEqual(lib.dilution_threshold(k), want, places=7)
    for k in (3, 4, 8, 40):
      d = lib.dilution_threshold(k)
      self.assertLess(d, 0.62)
      self.assertAlmostEqual(1 - 2 * d + d**k, 0.0, places=12)
    self.assertAlmostEqual(lib.dilution_threshold(10**6), 0.5)

  def test_threshold_is_where_the_leading_pattern_is_outweighed(self):
    for d, stable in ((0.6, True), (0.63, False)):
      m = np.asarray(lib.hierarchical_amplitudes(3, d))
      self.assertEqual(m[0] > m[1:].sum(), stable)

  def test_energies_of_two_patterns(self):
    # Per N (1 - d): -(1 + d²) / 2 and -(1 + d)² / 4.
    cold = 1e-3
    for d in (0.2, 0.8):
      with jax.enable_x64(True):
        hierarchy, alike = (
          float(lib.free_energy(jnp.asarray(n), d, cold))
          for n in ((1 - d) * np.array([1, d]), np.full(2, (1 - d**2) / 2))
        )
      # Neurons that are blank twice are free, and those that are torn.
      free = cold * np.log(2)
      np.testing.assert_allclose(
        hierarchy + free * d**2, -(1 - d) * (1 + d**2) / 2, atol=1e-9
      )
      torn = (1 - d) ** 2 / 2
      np.testing.assert_allclose(
        alike + free * (d**2 + torn), -(1 - d) * (1 + d) ** 2 / 4, atol=1e-9
      )

  def test_levels_end_one_after_the_other(self):
    # Level 2 of d = .3 exists below T = .3, where level 1 is saturated.
    np.testing.assert_allclose(
      lib.level_temperatures(3, 0.3), [1, 0.3, 0.09], rtol=1e-6
    )
    self.assertGreater(_solve(2, 0.3, 0.27).overlaps[1], 0.02)
    self.assertLess(_solve(2, 0.3, 0.31).overlaps[1], 1e-6)

  @parameterized.parameters((1, 0.0, 0.6), (3, 0.4, 0.2), (4, 0.7, 0.0))
  def test_noise_is_the_variance_of_fields(self, k, d, rho):
    # Sums over the later levels, as they stand.
    n = (1 - d) * d ** np.arange(k)
    want = [
      (rho * n[a] ** 2 + (1 - d) * (1 + rho) * (n[a + 1 :] ** 2).sum())
      / n[a] ** 2
      for a in range(k)
    ]
    got = lib.noise_to_signal(k, d, rho)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)
    some = np.array(want) > 0
    np.testing.assert_allclose(
      np.asarray(lib.one_step_magnetization(k, d, rho))[some],
      scipy.special.erf(1 / np.sqrt(2 * np.array(want)[some])),
      rtol=1e-5,
    )
    self.assertEqual(lib.one_step_magnetization(1, 0.0, 0.0)[0], 1.0)

  @parameterized.product(d=[0.0, 0.3, 0.8], r=[0.3, 1.0], theta=[0.5**0.5, 1.1])
  def test_examples_needed_are_the_fewest(self, d, r, theta):
    got = lib.examples_needed(3, d, r, theta)

    def enough(level, m):
      rho = (1 - r**2) / (m * r**2)
      noise = np.asarray(lib.noise_to_signal(3, d, rho), float)[level]
      return noise <= (1 + 1e-6) / (2 * theta**2)

    for level, m in enumerate(got):
      if np.isinf(m):
        self.assertFalse(enough(level, 1e12))
        continue
      self.assertTrue(enough(level, m))
      if m > 1:
        self.assertFalse(enough(level, m - 1 + 1e-3))
    self.assertTrue((np.diff(got[np.isfinite(got)]) <= 0).all())

  def test_rounding_asks_for_no_example_more(self):
    self.assertEqual(lib.examples_needed(1, 0.0, 0.5)[0], 3)

  @parameterized.parameters(
    # What would be left out of account is refused.
    (
      lambda: lib.self_consistency(2, 0.5, 0.2, entropy=0.5),
      "noise='none' is for patterns that are known: leave entropy",
    ),
    (
      lambda: lib.free_energy(
        np.ones(2), 0.5, 0.2, quality=0.5, num_examples=4
      ),
      "noise='none' is for patterns that are known",
    ),
    (
      lambda: lib.self_consistency(
        *(2, 0.5, 0.2), noise='gaussian', entropy=0.5, num_examples=3
      ),
      'needs entropy, or num_examples and quality; got both',
    ),
    (
      lambda: lib.self_consistency(2, 0.5, 0.2, start=np.array([np.nan, 1.0])),
      'start must lie in .* got nan',
    ),
    (lambda: lib.hierarchical_amplitudes(0, 0.5), 'num_patterns must be at'),
    (lambda: lib.hierarchical_amplitudes(2, 1.0), 'dilution must lie in'),
    (lambda: lib.dilution_threshold(0), 'num_patterns must be at least 1'),
    (lambda: lib.noise_to_signal(2, 0.5, -1.0), 'entropy must lie in'),
    (lambda: lib.examples_needed(2, 0.5, 0.0), 'quality must lie in'),
    (lambda: lib.examples_needed(2, 0.5, 0.5, 0.0), 'confidence must lie in'),
  )
  def test_says_what_is_wrong(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()


if __name__ == '__main__':
  absltest.main()
