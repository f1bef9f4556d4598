# SPDX-License-Identifier: Apache-2.0
"""Errors, normalizers and schedules against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import operators


def fields(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=shape), 'float32')


class RelativeTest(parameterized.TestCase):
  @parameterized.parameters(
    'relative_l2', 'relative_h1', 'relative_h1_spectral'
  )
  def test_of_a_scaled_target_is_the_scale(self, name):
    y = fields(3, 8, 6, 2)
    loss = operators.LOSSES[name]
    np.testing.assert_allclose(loss(1.25 * y, y), 0.25, rtol=1e-5)

  @parameterized.parameters(1, 2, 3)
  def test_lp(self, power):
    p, y = fields(3, 8, 2), fields(3, 8, 2, seed=1)
    norm = lambda x: (np.abs(np.float64(x)) ** power).sum((1, 2)) ** (1 / power)
    np.testing.assert_allclose(
      operators.relative_lp(p, y, power=power), norm(p - y) / norm(y), rtol=1e-5
    )
    np.testing.assert_allclose(
      operators.absolute_lp(p, y, power=power, spacing=(0.1,)),
      0.1 ** (1 / power) * norm(p - y),
      rtol=1e-5,
    )

  @parameterized.parameters(
    'relative_l2', 'relative_h1', 'relative_h1_spectral'
  )
  def test_zero_targets_and_perfect_predictions_stay_finite(self, name):
    loss = operators.LOSSES[name]
    y = fields(2, 8, 1).at[0].set(0.0)
    p = y.at[0].set(0.5)
    value, grads = jax.value_and_grad(lambda p: loss(p, y).sum())(p)
    # The first error is absolute, the second is zero.
    absolute = loss(p - y + 0 * y, 0 * y)
    np.testing.assert_allclose(value, absolute[0], rtol=1e-5)
    self.assertTrue(bool(jnp.isfinite(grads).all()))
    np.testing.assert_array_equal(grads[1], 0.0)
    np.testing.assert_array_equal(loss(0 * y, 0 * y), 0.0)

  def test_what_is_not_a_number_is_no_error_of_zero(self):
    y = fields(3, 8, 1)
    p = y.at[1, 2].set(np.nan)
    for name in ('relative_l2', 'relative_h1', 'relative_h1_spectral', 'mse'):
      got = np.asarray(operators.LOSSES[name](p, y))
      np.testing.assert_array_equal(np.isnan(got), [False, True, False], name)
    normalizer = operators.fit_normalizer(p)
    self.assertTrue(np.isnan(normalizer.scale).any())

  def test_values_of_any_size(self):
    y = fields(2, 5, 4, 1) / 8
    names = ('relative_l2', 'relative_h1', 'relative_h1_spectral', 'helmholtz')

    @jax.jit
    def errors(scale):
      p, t = 1.1 * (scale * y), scale * y
      found = {name: operators.LOSSES[name](p, t) for name in names}
      found['cubes'] = operators.relative_lp(p, t, power=3)
      found['largest'] = operators.relative_lp(p, t, power=math.inf)
      found['mean'] = operators.normalized_mse(p, t)
      metrics = operators.pdebench_metrics(p, t)
      slope = jax.grad(lambda p: operators.relative_l2(p, t).sum())(p)
      return found, metrics, slope, operators.fit_normalizer(t, epsilon=0.0)

    want, want_metrics, want_slope, want_affine = errors(1.0)
    for name in ('relative_l2', 'relative_h1_spectral', 'cubes', 'largest'):
      np.testing.assert_allclose(want[name], 0.1, rtol=1e-5)
    np.testing.assert_allclose(want['mean'].mean(), 0.01, rtol=1e-5)
    for scale in (1e-25, 1e25, 1e37):
      found, metrics, slope, affine = errors(scale)
      unscaled = {'helmholtz', *want_metrics} - {'nrmse'}
      for name, value in {**found, **metrics}.items():
        reference = {**want, **want_metrics}[name]
        unit = scale if name in unscaled else 1.0
        np.testing.assert_allclose(value / unit, reference, 1e-5, err_msg=name)
      if scale < 1e30:  # Beyond, the slope itself leaves float32.
        np.testing.assert_allclose(slope * scale, want_slope, rtol=1e-4)
      for value, reference in zip(affine, want_affine, strict=True):
        np.testing.assert_allclose(value / scale, reference, rtol=1e-5)

  def test_named_values(self):
    for size in (1e-25, 1e25):
      got = operators.relative_l2(
        jnp.array([[1.1 * size]]), jnp.array([[size]])
      )
      np.testing.assert_allclose(got, 0.1, rtol=1e-5)
    # The error's square overflows, the error does not.
    got = operators.relative_l2(jnp.array([[1e30]]), jnp.array([[1.0]]))
    np.testing.assert_allclose(got, 1e30, rtol=1e-6)

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, 'must have the same shape'):
      operators.relative_l2(jnp.ones((2, 3)), jnp.ones((2, 4)))
    with self.assertRaisesRegex(ValueError, 'at least one grid axis'):
      operators.relative_h1(jnp.ones((2, 3)), jnp.ones((2, 3)))


class SobolevTest(parameterized.TestCase):
  @parameterized.parameters(((8,),), ((8, 6),), ((5, 7),), ((4, 6, 5),))
  def test_spectral_norm_is_the_weighted_full_transform(self, grid):
    p, y = fields(2, *grid, 2), fields(2, *grid, 2, seed=1)
    axes = tuple(range(1, len(grid) + 1))
    ks = np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in grid], indexing='ij')
    weight = 1 + 0.5**2 * sum(np.where(np.abs(k) < 3, k, 0) ** 2 for k in ks)

    def norm(x):
      z = np.fft.fftn(np.float64(x), axes=axes, norm='ortho')
      total = weight[None, ..., None] * np.abs(z) ** 2
      return np.sqrt(total.reshape(2, -1).sum(1))

    got = operators.relative_h1_spectral(p, y, weight=0.5, max_wavenumber=3)
    np.testing.assert_allclose(got, norm(p - y) / norm(y), rtol=1e-5)
    np.testing.assert_allclose(
      operators.relative_h1_spectral(p, y, weight=0.0),
      operators.relative_l2(p, y),
      rtol=1e-5,
    )

  def test_differences_are_exact_for_parabolas_and_second_order_for_waves(self):
    x = np.linspace(0, 1, 9)
    parabola = jnp.asarray((x**2)[None, :, None], 'float32')
    (slope,) = operators.gradient(parabola, spacing=(0.125,))
    np.testing.assert_allclose(slope[0, :, 0], 2 * x, atol=1e-5)
    errors = []
    for n in (16, 32):
      x = 2 * np.pi * np.arange(n) / n
      wave = jnp.asarray(np.sin(x)[None, :, None], 'float32')
      (slope,) = operators.gradient(wave, spacing=(x[1],), periodic=True)
      errors.append(float(jnp.abs(slope[0, :, 0] - np.cos(x)).max()))
    self.assertAlmostEqual(errors[0] / errors[1], 4.0, delta=0.2)

  def test_h1_and_helmholtz_use_those_differences(self):
    p, y = fields(2, 5, 4, 1), fields(2, 5, 4, 1, seed=1)

    def squares(x, mass):
      x = np.float64(x)[..., 0]
      gx, gy = np.gradient(x, 0.2, 0.25, axis=(1, 2), edge_order=2)
      return (mass * x**2 + gx**2 + gy**2).sum((1, 2))

    np.testing.assert_allclose(
      operators.relative_h1(p, y),
      np.sqrt(squares(p - y, 1) / squares(y, 1)),
      rtol=1e-5,
    )
    np.testing.assert_allclose(
      operators.helmholtz_loss(p, y), np.sqrt(squares(p - y, 10)), rtol=1e-5
    )


class MetricTest(parameterized.TestCase):
  def test_trimmed_error_drops_the_worst(self):
    p = jnp.arange(10.0)
    got = operators.trimmed_mse(p, 0 * p, fraction=0.11)
    self.assertAlmostEqual(float(got), float(np.mean(np.arange(8.0) ** 2)), 5)

  def test_normalized_error_is_a_ratio_of_means(self):
    p, y = fields(4, 5), fields(4, 5, seed=1)
    got = operators.normalized_mse(p, y).mean()
    want = ((p - y) ** 2).mean() / (y**2).mean()
    self.assertAlmostEqual(float(got), float(want), places=5)

  def test_pdebench(self):
    p, y = fields(2, 32, 2), fields(2, 32, 2, seed=1)
    got = operators.pdebench_metrics(p, y)
    e = np.float64(p - y)
    np.testing.assert_allclose(
      got['rmse'], np.sqrt((e**2).mean((1, 2))), rtol=1e-5
    )
    np.testing.assert_allclose(
      got['nrmse'], operators.relative_l2(p, y), rtol=1e-5
    )
    np.testing.assert_allclose(got['max_error'], np.abs(e).max((1, 2)))
    np.testing.assert_allclose(
      got['conserved_rmse'], np.sqrt((e.mean(1) ** 2).mean(1)), rtol=1e-5
    )
    np.testing.assert_allclose(
      got['boundary_rmse'],
      np.sqrt((e[:, [0, -1]] ** 2).mean((1, 2))),
      rtol=1e-5,
    )
    bands = sum(got[f'fourier_{n}'] ** 2 for n in ('low', 'middle', 'high'))
    np.testing.assert_allclose(bands, got['rmse'] ** 2, rtol=1e-5)
    x = np.arange(32)[None, :, None] / 32
    for k, name in ((4, 'low'), (5, 'middle'), (12, 'high')):
      wave = jnp.asarray(np.sin(2 * np.pi * k * x), 'float32')
      got = operators.spectral_bands(wave, 0 * wave)
      for other in ('low', 'middle', 'high'):
        want = 0.5**0.5 if other == name else 0.0
        np.testing.assert_allclose(got[other], want, atol=1e-4)


class NormalizerTest(parameterized.TestCase):
  @parameterized.parameters(
    ('scalar', (0, 1, 2)), ('channel', (0, 1)), ('point', (0,))
  )
  def test_statistics_and_round_trip(self, kind, axes):
    x = 3 + 2 * fields(6, 5, 2)
    n = operators.fit_normalizer(x, kind=kind, epsilon=0.0)
    z = np.float64(n.encode(x))
    np.testing.assert_allclose(z.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axes, ddof=1), 1, rtol=1e-4)
    np.testing.assert_allclose(n.decode(n.encode(x)), x, rtol=1e-5)

  def test_constant_points_stay_finite_and_range_is_the_unit_interval(self):
    x = fields(6, 5, 2).at[:, 0].set(4.0)
    n = operators.fit_normalizer(x, kind='point')
    self.assertTrue(bool(jnp.isfinite(n.encode(x)).all()))
    np.testing.assert_allclose(n.decode(n.encode(x)), x, rtol=1e-5)
    z = operators.fit_normalizer(x, kind='range', epsilon=0.0).encode(x)
    self.assertAlmostEqual(float(z.min()), 0.0, places=6)
    self.assertAlmostEqual(float(z.max()), 1.0, places=6)

  def test_wraps_a_network(self):
    x, y = fields(6, 8, 1), 5 + 3 * fields(6, 8, 1, seed=1)
    inputs = operators.fit_normalizer(x, kind='point')
    outputs = operators.fit_normalizer(y)
    net = operators.cnn(channels=2, num_layers=2)
    params = net.init(jax.random.key(0), x)
    wrapped = operators.normalized(net, inputs=inputs, outputs=outputs)
    np.testing.assert_allclose(
      wrapped.apply(params, x),
      outputs.decode(net.apply(params, inputs.encode(x))),
      rtol=1e-5,
    )
    self.assertEqual(
      jax.tree.map(jnp.shape, wrapped.init(jax.random.key(0), x)),
      jax.tree.map(jnp.shape, params),
    )
    with self.assertRaisesRegex(ValueError, 'fit it at this resolution'):
      inputs.encode(jnp.ones((2, 9, 1)))
    self.assertEqual(outputs.encode(jnp.ones((2, 9, 1))).shape, (2, 9, 1))


if __name__ == '__main__':
  absltest.main()
