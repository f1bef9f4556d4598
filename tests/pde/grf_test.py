# SPDX-License-Identifier: Apache-2.0
"""Random functions against their covariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
import scipy.special
from absl.testing import absltest, parameterized

from jaxdl import pde


def draws(sampler, num, seed=0):
  keys = jax.random.split(jax.random.key(seed), num)
  return np.asarray(jax.jit(jax.vmap(lambda k: sampler(key=k)))(keys))


class KernelsTest(parameterized.TestCase):
  @parameterized.parameters(0.5, 1.5, 2.5)
  def test_matern_equals_the_bessel_form(self, smoothness):
    x = np.linspace(0, 1, 6)
    r = np.abs(x[:, None] - x[None]) + 1e-12
    z = np.sqrt(2 * smoothness) * r / 0.3
    bessel = scipy.special.kv(smoothness, z)
    want = 2 ** (1 - smoothness) / scipy.special.gamma(smoothness)
    want = want * z**smoothness * bessel
    got = pde.matern_kernel(x, x, length_scale=0.3, smoothness=smoothness)
    np.testing.assert_allclose(got, want, atol=1e-9)

  def test_kernels_keep_to_their_namespace_and_dimension(self):
    x = np.zeros((3, 2))
    self.assertIsInstance(pde.rbf_kernel(x, x), np.ndarray)
    x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    got = pde.exponential_kernel(x, x, length_scale=5.0)
    self.assertIsInstance(got, jax.Array)
    np.testing.assert_allclose(got[0], [1.0, np.exp(-1)], rtol=1e-6)

  def test_factor_reproduces_the_covariance(self):
    x = np.linspace(0, 1, 200)
    for kernel in (pde.rbf_kernel, pde.exponential_kernel):
      matrix = kernel(x, x)
      factor = pde.covariance_factor(matrix)
      np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-11)
    lower = pde.covariance_factor(matrix, method='cholesky')
    np.testing.assert_allclose(lower @ lower.T, matrix, atol=1e-11)

  def test_karhunen_loeve_eigenvalues(self):
    x = np.linspace(0, 1, 600)
    values, modes = pde.kl_basis(pde.rbf_kernel, x, num_modes=40)
    want = [0.44042, 0.29970, 0.15970, 0.06782, 0.02347, 0.00678]
    np.testing.assert_allclose(values[:6], want, atol=6e-6)
    self.assertAlmostEqual(values.sum(), 1.0, places=5)
    self.assertLess(values[:6].sum(), 0.999)
    self.assertGreater(values[:7].sum(), 0.999)
    weights = np.full(600, 1 / 599)
    weights[[0, -1]] /= 2
    gram = (modes * weights[:, None]).T @ modes
    np.testing.assert_allclose(gram, np.eye(40), atol=1e-9)

  def test_mistakes(self):
    x = np.linspace(0, 1, 300)
    with self.assertRaisesRegex(ValueError, 'length_scale must lie in'):
      pde.rbf_kernel(x, x, length_scale=0.0)
    with self.assertRaisesRegex(ValueError, 'square'):
      pde.covariance_factor(np.zeros((2, 3)))
    with self.assertRaisesRegex(ValueError, 'NaN'):
      pde.covariance_factor(np.full((2, 2), np.nan))
    with self.assertRaisesRegex(ValueError, 'semi-definite'):
      pde.covariance_factor(np.diag([1.0, -1.0]))
    with self.assertRaisesRegex(ValueError, 'raise jitter'):
      pde.covariance_factor(pde.rbf_kernel(x, x), method='cholesky', jitter=0.0)
    with self.assertRaisesRegex(ValueError, r"space='lattice' is unknown"):
      pde.function_space('lattice', x)
    with self.assertRaisesRegex(ValueError, r'points \[P\] of \[0, 1\]'):
      pde.function_space('rbf', 2 * x)


class DenseTest(parameterized.TestCase):
  def test_interpolation_error_of_rbf_samples(self):
    # RMS of u(mid) minus its linear interpolant, known in closed form.
    x = np.linspace(0, 1, 21)
    u = draws(functools.partial(pde.grf_dense, x), 4000)
    error = u[:, 1::2] - (u[:, :-1:2] + u[:, 2::2]) / 2
    rms = np.sqrt(np.mean(error**2))
    self.assertAlmostEqual(rms / 0.052745, 1.0, delta=0.02)

  def test_samples_are_smooth_in_float32(self):
    x = np.linspace(0, 1, 500)
    u = pde.grf_dense(x, key=jax.random.key(0))
    self.assertEqual(u.dtype, jnp.float32)
    # A jitter of 1e-5 alone would make second differences of 5e-3.
    self.assertLess(np.abs(np.diff(u, 2)).max(), 5e-4)

  def test_traced_length_scale_takes_cholesky(self):
    x = jnp.linspace(0.0, 1.0, 30)

    def sample(scale, key):
      kernel = functools.partial(pde.rbf_kernel, length_scale=scale)
      return pde.grf_dense(x, kernel, key=key)

    keys = jax.random.split(jax.random.key(0), 2000)
    over = jax.jit(jax.vmap(sample, in_axes=(None, 0)))
    u = np.asarray(over(jnp.float32(0.3), keys))
    got = u.T @ u / 2000
    want = pde.rbf_kernel(np.asarray(x), np.asarray(x), length_scale=0.3)
    np.testing.assert_allclose(got, want, atol=0.12)
    self.assertTrue(np.isfinite(got).all())

  @parameterized.parameters('rbf', 'exponential', 'matern32', 'matern52', 'kl')
  def test_gaussian_spaces_have_the_variance(self, name):
    x = np.linspace(0, 1, 40)
    space = pde.function_space(name, x, std=2.0)
    variance = (space.basis**2).sum(1)
    np.testing.assert_allclose(variance, 4.0, atol=2e-4)
    u = pde.sample_space(space, key=jax.random.key(0))
    self.assertEqual(u.shape, (40,))

  def test_series_spaces(self):
    x = np.linspace(0, 1, 7)
    coefficients = np.random.default_rng(0).normal(size=4)
    for name, want in (
      ('chebyshev', np.polynomial.chebyshev.chebval(2 * x - 1, coefficients)),
      ('legendre', np.polynomial.legendre.legval(2 * x - 1, coefficients)),
      ('power', np.polynomial.polynomial.polyval(x, coefficients)),
    ):
      space = pde.function_space(name, x, num_terms=4, bound=3.0)
      np.testing.assert_allclose(space.basis @ coefficients, want, atol=1e-12)
      u = draws(functools.partial(pde.sample_space, space), 3000)
      c = u @ np.linalg.pinv(space.basis).T
      self.assertLessEqual(np.abs(c).max(), 3.0 + 1e-3)
      np.testing.assert_allclose(c.var(0), 3.0, rtol=0.06)  # bound^2 / 3
    one = pde.chebyshev_space(x, key=jax.random.key(1), num_terms=1)
    np.testing.assert_allclose(one, one[0], rtol=1e-6)
    two = pde.power_series_space(x, key=jax.random.key(1), num_terms=2)
    np.testing.assert_allclose(np.diff(two, 2), 0, atol=1e-6)


class SpectralTest(parameterized.TestCase):
  @parameterized.parameters(
    (dict(), 1.35233),
    (dict(zero_mean=True), 0.35233),
    (
      dict(ndim=2, alpha=2.5, tau=7.0, scale=2**0.5 * 7**1.5, zero_mean=True),
      0.06862,
    ),
  )
  def test_periodic_variance(self, options, want):
    num = 64 if options.get('ndim', 1) == 1 else 32
    u = draws(functools.partial(pde.grf_periodic, num, **options), 3000)
    self.assertAlmostEqual(np.mean(u**2) / want, 1.0, delta=0.05)
    if options.get('zero_mean'):
      np.testing.assert_allclose(u.reshape(3000, -1).mean(1), 0, atol=1e-5)

  def test_neumann_variance_and_phases(self):
    sampler = functools.partial(pde.grf_neumann, 32, placement='cells')
    u = draws(sampler, 2000)
    self.assertAlmostEqual(np.mean(u**2) / 0.08525, 1.0, delta=0.05)
    a = pde.threshold_coefficient(u)
    self.assertEqual(set(np.unique(a)), {3.0, 12.0})
    self.assertAlmostEqual(np.mean(a == 12), 0.5, delta=0.03)

  def test_neumann_cells_equal_the_inverse_cosine_transform(self):
    key = jax.random.key(3)
    got = pde.grf_neumann(16, key=key, placement='cells')
    k = np.arange(16)
    squares = np.pi**2 * (k[:, None] ** 2 + k[None] ** 2) + 9.0
    noise = np.asarray(jax.random.normal(key, (16, 16)), np.float64)
    coefficients = 16 * 3.0 * noise / squares
    coefficients[0, 0] = 0
    want = scipy.fft.idctn(coefficients, norm='ortho')
    np.testing.assert_allclose(got, want, atol=2e-6)

  @parameterized.parameters('periodic', 'neumann', 'dirichlet')
  def test_fixed_modes_mean_the_same_field_at_every_resolution(self, name):
    draw = getattr(pde, f'grf_{name}')
    coarse, fine = (8, 16) if name == 'periodic' else (9, 17)
    options = dict(key=jax.random.key(0), ndim=2, num_modes=7)
    np.testing.assert_allclose(
      draw(coarse, **options), draw(fine, **options)[::2, ::2], atol=1e-4
    )

  def test_dirichlet_vanishes_and_has_the_variance(self):
    sampler = functools.partial(pde.grf_dirichlet, 17, scale=10.0)
    u = draws(sampler, 3000)
    np.testing.assert_array_equal(u[:, [0, -1]], 0)
    k = np.arange(1, 18)
    x = np.linspace(0, 1, 17)
    modes = 2 * np.sin(np.pi * np.outer(x, k)) ** 2
    want = modes @ (100 / (np.pi**2 * k**2 + 9) ** 2)
    np.testing.assert_allclose(np.mean(u**2, 0)[1:-1], want[1:-1], rtol=0.1)

  def test_mistakes(self):
    key = jax.random.key(0)
    for name, bad in (('alpha', 0.0), ('tau', -1.0), ('ndim', 4)):
      with self.assertRaisesRegex(ValueError, f'{name} must'):
        pde.grf_periodic(8, key=key, **{name: bad})
    with self.assertRaisesRegex(ValueError, 'placement'):
      pde.grf_neumann(8, key=key, placement='faces')


if __name__ == '__main__':
  absltest.main()
