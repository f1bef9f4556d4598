# SPDX-License-Identifier: Apache-2.0
"""Random features: means and variances in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.networks import features

X = np.array([0.3, -0.2, 0.5, 0.1], 'float32')
W = np.array([0.4, 0.6, -0.1, 0.2], 'float32')
CHUNK = 100_000


@functools.partial(jax.jit, static_argnames=('kind', 'split', 'chunks'))
def moments(kind, split, b, a=0.0, chunks=3):
  """Mean and variance of one sample of Re(Phi . Psi)."""

  def chunk(key):
    urf = features.sample_urf(key, CHUNK, 4, kind=kind)
    phi = features.urf_phi(urf, jnp.asarray(X), split=split, a=a)
    psi = features.urf_psi(urf, jnp.asarray(W), b, split=split, a=a)
    sample = (phi * psi).real * CHUNK
    return sample.mean(), jnp.square(sample).mean()

  mean, second = jax.lax.map(chunk, jax.random.split(jax.random.key(0), chunks))
  return mean.mean(), second.mean() - mean.mean() ** 2


class URFTest(parameterized.TestCase):
  @parameterized.parameters(
    ('cos', 's1', 0.9637709, 0.9080),
    ('cos', 's2', 0.9637709, 0.7474),
    ('cos', 's3', 0.9637709, 0.3658),
    ('sin', 's1', 0.2667314, None),
    ('sin', 's3', 0.2667314, None),
  )
  def test_mean_and_variance_of_one_sample(self, kind, split, mean, variance):
    chunks = 10 if kind == 'cos' else 3
    got, spread = moments(kind, split, 0.3, chunks=chunks)
    closed = features.one_sample_variance(
      jnp.asarray(X), jnp.asarray(W), 0.3, split=split, kind=kind
    )
    if variance is not None:
      self.assertAlmostEqual(float(closed), variance, places=3)
    self.assertLess(abs(float(spread) / float(closed) - 1), 0.05)
    error = 4 * float(closed / (CHUNK * chunks)) ** 0.5
    self.assertLess(abs(float(got) - mean), error)

  def test_gaussian_and_sech_have_their_means(self):
    for kind, b, mean in (
      ('gaussian', 0.3, 0.964206),
      ('sech', 0.53, 0.886819),
    ):
      got, _ = moments(kind, 's3', b)
      self.assertLess(abs(float(got) - mean), 6e-3)

  def test_sech_second_moment_where_it_is_measurable(self):
    # Its fourth moment is infinite, so frequencies are cut off here. In full,
    # the same integral gives a variance of 0.68.
    urf = features.sample_urf(jax.random.key(0), 300_000, 4, kind='sech')
    x, w, b = jnp.asarray(X), jnp.asarray(W), 0.53
    phi = features.urf_phi(urf, x, split='s3')
    psi = features.urf_psi(urf, w, b, split='s3')
    sample = np.asarray((phi * psi).real) * 300_000
    t = 2 * np.pi * np.asarray(urf.xi)
    got = np.where(np.abs(t) < 2, sample**2, 0).mean()
    q, squares = ((X + W) ** 2).sum(), (X**2).sum() + (W**2).sum()

    def integral(limit):
      t = np.linspace(-limit, limit, 40_001)
      density = 0.5 / np.cosh(np.pi * t / 2)
      phase = np.cos(t * (2 * b + 2 * q - squares))
      value = 0.5 * (np.exp(np.abs(t) * q) + phase) * density
      return np.trapezoid(value, t)

    self.assertLess(abs(got / integral(2) - 1), 0.02)
    self.assertAlmostEqual(integral(60) - 0.886819**2, 0.676, delta=5e-3)

  def test_mean_does_not_depend_on_a_but_variance_does(self):
    means, variances = zip(
      *(moments('cos', 's3', 0.3, a) for a in (0.0, 0.1, 0.5)), strict=True
    )
    for mean in means:
      self.assertLess(abs(float(mean) - 0.9637709), 8e-3)
    self.assertGreater(float(variances[2]), 2.0)
    self.assertLess(float(variances[0]), 0.4)

  def test_equals_the_formulas_in_complex128(self):
    a = 0.1
    x = np.random.default_rng(0).normal(size=(5, 4)) / 3
    w = np.random.default_rng(1).normal(size=(3, 4)) / 3
    b = np.array([0.1, -0.2, 0.3])
    urf = features.sample_urf(jax.random.key(0), 7, 4, kind='gaussian')
    xi, g = np.float64(urf.xi), np.float64(urf.g)
    z = 2j * np.pi * xi

    def gerf(g, v):
      return (1 + 4 * a) ** (4 / 4) * np.exp(
        -a * (g**2).sum() + np.sqrt(1 + 4 * a) * g @ v - (v * v).sum() / 2
      )

    for split, rho, eta in (
      ('s1', z, z / z),
      ('s2', z / z, z),
      ('s3', np.sqrt(z), np.sqrt(z)),
    ):
      phi = [[gerf(g[i], rho[i] * v) for i in range(7)] for v in x]
      psi = [
        [gerf(g[i], eta[i] * v) * np.exp(z[i] * c) for i in range(7)]
        for v, c in zip(w, b, strict=True)
      ]
      got = features.urf_phi(urf, jnp.asarray(x, 'float32'), split=split, a=a)
      np.testing.assert_allclose(
        got, np.array(phi) / 7**0.5, rtol=1e-4, atol=1e-4
      )
      got = features.urf_psi(
        urf,
        jnp.asarray(w, 'float32'),
        jnp.asarray(b, 'float32'),
        split=split,
        a=a,
      )
      np.testing.assert_allclose(
        got, np.array(psi) / 7**0.5, rtol=1e-4, atol=1e-4
      )

  def test_bias_is_a_phase(self):
    urf = features.sample_urf(jax.random.key(0), 8, 4)
    psi = lambda b: features.urf_psi(urf, jnp.asarray(W), b, split='s3')
    np.testing.assert_allclose(psi(0.3 + 2 * np.pi), psi(0.3), atol=1e-5)
    np.testing.assert_allclose(psi(0.3 + np.pi), -psi(0.3), atol=1e-5)

  def test_antithetic_sums_are_real(self):
    urf = features.sample_urf(
      jax.random.key(0), 8, 4, kind='gaussian', antithetic=True
    )
    phi = features.urf_phi(urf, jnp.asarray(X))
    psi = features.urf_psi(urf, jnp.asarray(W), 0.2)
    total = complex(jnp.sum(phi * psi))
    self.assertLess(abs(total.imag), 1e-6)
    self.assertGreater(abs(total.real), 1e-3)

  def test_positive_features_estimate_the_exponential_kernel(self):
    g = features.gaussian_projection(jax.random.key(0), 200_000, 4)
    u, v = jnp.asarray(X), jnp.asarray(W)
    for a in (0.0, 0.1):
      pair = features.gerf(g, jnp.stack([u, v]), a)
      self.assertTrue(bool((pair > 0).all()))
      mean = float((pair[0] * pair[1]).mean())
      self.assertLess(abs(mean - np.exp(X @ W)), 0.01)

  def test_rate_is_one_over_root_m(self):
    rng = np.random.default_rng(0)
    x = rng.normal(size=16)
    w = rng.normal(size=16)
    x, w = (jnp.asarray(0.7 * v / np.linalg.norm(v), 'float32') for v in (x, w))

    def rmse(m, orthogonal):
      def one(key):
        urf = features.sample_urf(key, m, 16, orthogonal=orthogonal)
        phi = features.urf_phi(urf, x, split='s1')
        psi = features.urf_psi(urf, w, split='s1')
        return jnp.sum(phi * psi).real - jnp.cos(x @ w)

      keys = jax.random.split(jax.random.key(0), 600)
      errors = jax.jit(jax.vmap(one))(keys)
      return float(jnp.sqrt(jnp.square(errors).mean()))

    plain = [rmse(m, False) for m in (16, 128)]
    self.assertLess(abs(np.log(plain[1] / plain[0]) / np.log(8) + 0.5), 0.1)
    self.assertLess(rmse(16, True), 0.95 * plain[0])

  def test_series_reproduces_relu_on_its_range(self):
    relu = lambda z: np.maximum(z, 0)
    k, c = features.fourier_series(relu, radius=2.0, num_terms=64)
    z = np.linspace(-2, 2, 41)
    got = (np.exp(1j * np.pi * np.outer(z, k) / 4.0) @ c).real
    np.testing.assert_allclose(got, relu(z), atol=0.012)
    urf = features.sample_series(
      jax.random.key(0), 100_000, 4, relu, radius=2.0, num_terms=32
    )
    x = jnp.asarray(0.1 * X)
    phi = features.urf_phi(urf, x, split='s3')
    psi = features.urf_psi(urf, jnp.asarray(0.1 * W), 0.5, split='s3')
    want = 0.01 * X @ W + 0.5
    self.assertLess(abs(float(jnp.sum(phi * psi).real) - want), 0.05)

  def test_says_what_to_change(self):
    key = jax.random.key(0)
    with self.assertRaisesRegex(ValueError, 'no integrable Fourier transform'):
      features.sample_urf(key, 4, 3, kind='relu')
    with self.assertRaisesRegex(ValueError, "use split='s3'"):
      features.feature_map(key, 3, 4, kind='sech', split='s1')
    with self.assertRaisesRegex(ValueError, 'num_features must be at least 1'):
      features.sample_urf(key, 0, 3)
    with self.assertRaisesRegex(ValueError, r'a must lie in \(-0.25'):
      features.gerf(jnp.ones((2, 3)), jnp.ones(3), -0.25)
    with self.assertRaisesRegex(ValueError, 'must be even'):
      features.sample_urf(key, 3, 3, antithetic=True)
    urf = features.sample_urf(key, 4, 3)
    with self.assertRaisesRegex(ValueError, 'd=3 but the vectors have 4'):
      features.urf_phi(urf, jnp.ones(4))


class ProjectionTest(parameterized.TestCase):
  def test_blocks_are_orthogonal_with_gaussian_norms(self):
    d = 6
    draw = lambda k: features.gaussian_projection(k, 9, d, orthogonal=True)
    g = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 2000))
    first = np.asarray(g[0])
    for block in (first[:6], first[6:]):
      gram = block @ block.T
      np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-5)
    squares = np.square(g).sum(-1)
    self.assertLess(abs(squares.mean() - d), 0.1)
    self.assertLess(abs(squares.var() - 2 * d), 0.6)
    # Rows are isotropic: entries have mean zero and unit covariance.
    rows = np.asarray(g[:, 0])
    np.testing.assert_allclose(rows.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(rows.T), np.eye(d), atol=0.12)


class ArcCosineTest(parameterized.TestCase):
  def test_closed_values(self):
    e, f = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    kernel = features.arccos_kernel
    self.assertAlmostEqual(float(kernel(e, e)), 0.5, places=6)
    self.assertAlmostEqual(float(kernel(e, f)), 0.159155, places=6)
    self.assertAlmostEqual(float(kernel(e, -e)), 0.0, places=6)
    self.assertAlmostEqual(float(kernel(0 * e, f)), 0.0, places=6)
    np.testing.assert_allclose(
      kernel(2 * e, 3 * f), 6 * kernel(e, f), rtol=1e-6
    )

  def test_gradients_where_vectors_are_parallel(self):
    e, f = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    zero = 0 * e
    x = jnp.stack([e, e, 2 * e, zero, e, jnp.array([0.6, 0.8])])
    y = jnp.stack([e, -e, e, e, f, e])
    slopes = jax.jit(
      lambda x, y: [
        jax.vmap(
          jax.grad(lambda x, y, n=n: features.arccos_kernel(x, y, order=n))
        )(x, y)
        for n in range(3)
      ]
    )(x, y)
    # |x|^n |y|^n J_n / (2 pi): J_1' = J_0 and J_2' = 4 J_1 in the cosine.
    turn = np.arccos(0.6)
    cross = np.array([0.64, -0.48])  # Of the cosine at the last pair.
    one = np.sin(turn) + (np.pi - turn) * 0.6
    two = 3 * np.sin(turn) * 0.6 + (np.pi - turn) * (1 + 2 * 0.36)
    unit = np.array([0.6, 0.8])
    wants = (
      [zero, zero, zero, zero, f / (2 * np.pi), cross / 0.8 / (2 * np.pi)],
      [
        e / 2,
        zero,
        e / 2,
        zero,
        e / (2 * np.pi) + f / 4,
        (one * unit + (np.pi - turn) * cross) / (2 * np.pi),
      ],
      [
        3 * e,
        zero,
        6 * e,
        zero,
        e / 2 + 2 * f / np.pi,
        (2 * two * unit + 4 * one * cross) / (2 * np.pi),
      ],
    )
    for got, want in zip(slopes, wants, strict=True):
      np.testing.assert_allclose(got, np.stack(want), atol=1e-5)

  @parameterized.parameters(1e-18, 1e18)
  def test_neither_overflows_nor_vanishes(self, size):
    x = size * jnp.asarray(X)
    got = features.arccos_kernel(x, x)
    np.testing.assert_allclose(got, np.square(np.float64(x)).sum() / 2, 1e-5)
    feature_map = features.relu_map(jnp.eye(4), normalize=True)
    want = feature_map.inputs(jnp.asarray(X))
    np.testing.assert_allclose(feature_map.inputs(x), want, rtol=1e-6)

  @parameterized.parameters(0, 1, 2)
  def test_features_estimate_it(self, order):
    g = features.gaussian_projection(jax.random.key(0), 200_000, 4)
    x, w = jnp.asarray(X), jnp.asarray(W)
    phi, psi = (features.relu_features(g, v, order=order) for v in (x, w))
    want = float(features.arccos_kernel(x, w, order=order))
    self.assertLess(abs(float(phi @ psi) - want), 6e-3)

  def test_floor_and_homogeneity(self):
    g = features.gaussian_projection(jax.random.key(0), 16, 4)
    x = jnp.asarray(X)
    np.testing.assert_allclose(
      features.relu_features(g, 3 * x),
      3 * features.relu_features(g, x),
      rtol=1e-5,
    )
    low = features.relu_features(g, x, kappa=-5.0)
    np.testing.assert_allclose(low, g @ x / 4, rtol=1e-5)


if __name__ == '__main__':
  absltest.main()
