# SPDX-License-Identifier: Apache-2.0
"""Ridgelets and floors, against closed forms and nets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import integrate

from jaxdl.networks.features import ridgelets, shallow

KEY = jax.random.key(0)
PAIR = ridgelets.gaussian_pair()
SPECTRA = PAIR.activation_hat, PAIR.ridgelet_hat


def bell(x):
  return np.exp(-np.square(x) / 2)


def closed_transform(a, b):
  """R of a bell, in one dimension."""
  s = 1 + a**2
  return np.sqrt(2 * np.pi / s) / s * (1 - b**2 / s) * np.exp(-(b**2) / (2 * s))


def closed_error(scale):
  """Relative L2 error of a bell cut at a scale."""
  q = 1 / scale**2
  return np.sqrt(1 - 2 / np.sqrt(1 + q) + 1 / np.sqrt(1 + 2 * q))


def line(reach=9.0, count=361):
  x = np.linspace(-reach, reach, count)
  return x[:, None], np.full(count, x[1] - x[0])


class TransformTest(parameterized.TestCase):
  def test_of_a_bell(self):
    x, dx = line()
    at = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 1.0], [-3.0, 0.5]])
    with jax.enable_x64(True):
      grid = ridgelets.Grid(at[:, :1], at[:, 1:], np.ones((4, 1)))
      got = ridgelets.ridgelet_transform(
        *map(jnp.asarray, (bell(x[:, 0]), x, dx)), grid, PAIR.ridgelet
      )
      # Of f(k x) it is R(a / k, b) / k.
      half = ridgelets.ridgelet_transform(
        *map(jnp.asarray, (bell(2 * x[:, 0]), x, dx)),
        grid._replace(a=2 * grid.a),
        PAIR.ridgelet,
      )
    want = [2.5066283, 0.8862269, 0.1622914, 0.0763248]
    np.testing.assert_allclose(got[:, 0], want, atol=5e-8)
    np.testing.assert_allclose(got[:, 0], closed_transform(*at.T), rtol=1e-7)
    np.testing.assert_allclose(half, np.asarray(got) / 2, rtol=1e-6)

  def test_synthesis_inverts_as_far_as_the_weights_reach(self):
    x, dx = line()
    f = bell(x[:, 0])
    with jax.enable_x64(True):
      for scale, num in ((1.0, 60), (20.0, 900)):
        grid = ridgelets.line_grid(scale, num, 150)
        r = ridgelets.ridgelet_transform(
          *map(jnp.asarray, (f, x, dx)), grid, PAIR.ridgelet
        )
        np.testing.assert_allclose(
          r, closed_transform(grid.a, grid.b), atol=1e-7
        )
        made = ridgelets.ridgelet_synthesis(
          r, jnp.asarray(x), grid, PAIR.activation
        ) / ridgelets.admissibility(*SPECTRA)
        low = ridgelets.truncated(
          f, dx[0], lambda w, s=scale: np.exp(-((w / s) ** 2))
        )
        np.testing.assert_allclose(made, low, atol=1e-4)
    # The last is nearly all of it.
    np.testing.assert_allclose(made, f, atol=5e-3)

  def test_cut_bells_have_closed_forms(self):
    x, dx = line(20.0, 801)
    f = bell(x[:, 0])
    wanted = {0.5: 1 / 3, 1: 0.577350, 2: 0.816497, 4: 0.942809, 8: 0.984732}
    for scale, want in wanted.items():
      cut = functools.partial(
        ridgelets.lowpass_multiplier, *SPECTRA, scale=scale
      )
      low = ridgelets.truncated(f, dx[0], cut)
      self.assertAlmostEqual(low[400], want, places=5)
      error = ridgelets.truncation_error(f, dx[0], cut)
      self.assertAlmostEqual(float(error), closed_error(scale), places=6)
    error = lambda scale: float(
      ridgelets.truncation_error(
        f, dx[0], lambda w: np.exp(-((w / scale) ** 2))
      )
    )
    self.assertAlmostEqual(error(1.0), 0.403901, places=5)
    self.assertAlmostEqual(error(4.0), 0.0502, places=4)
    self.assertAlmostEqual(error(32.0), 8.45e-4, places=6)
    self.assertAlmostEqual(error(64.0) / error(128.0), 4.0, places=1)

  def test_waves_are_damped_by_what_their_frequency_says(self):
    x = np.arange(64) * 2 * np.pi / 64
    for k, scale in ((3, 2.0), (6, 4.0)):
      cut = lambda w, s=scale: np.exp(-((w / s) ** 2))
      args = np.sin(k * x), x[1], cut
      want = np.exp(-((k / scale) ** 2))
      np.testing.assert_allclose(
        ridgelets.truncated(*args), want * np.sin(k * x), atol=1e-12
      )
      self.assertAlmostEqual(float(ridgelets.truncation_error(*args)), 1 - want)
    with jax.enable_x64(True):
      traced = jax.jit(lambda f: ridgelets.truncated(f, float(x[1]), cut))(
        jnp.asarray(args[0])
      )
    np.testing.assert_allclose(traced, ridgelets.truncated(*args), atol=1e-12)

  def test_energy_outside_has_a_closed_form(self):
    grid = ridgelets.line_grid(40.0, 4000, 400)
    r = closed_transform(grid.a, grid.b)
    for scale in (0.5, 2.0, 5.0):
      # int (1 + a^2)^(-5/2) da over |a| < scale, of 4 / 3.
      s = scale / np.sqrt(1 + scale**2)
      got = ridgelets.exterior_energy(r, grid, scale=scale, bias_range=np.inf)
      self.assertAlmostEqual(float(got), 1 - 1.5 * (s - s**3 / 3), delta=2e-3)
    square = lambda b, a: closed_transform(a, b) ** 2
    inside = integrate.dblquad(square, -2, 2, -2, 2)[0]
    # int (1 - t^2)^2 exp(-t^2) dt = 3/4 sqrt(pi).
    total = 2 * np.pi * 0.75 * np.sqrt(np.pi) * 4 / 3
    got = ridgelets.exterior_energy(r, grid, scale=2.0)
    self.assertAlmostEqual(float(got), 1 - inside / total, delta=4e-3)
    self.assertGreater(float(got), 0.15)

  def test_says_what_to_change(self):
    x, dx = line(count=11)
    grid = ridgelets.line_grid(1.0, 3, 2)
    f = bell(x[:, 0])
    transform = lambda f, x, w, g: ridgelets.ridgelet_transform(
      f, x, w, g, PAIR.ridgelet
    )
    huge = ridgelets.Grid(
      jax.ShapeDtypeStruct((100_000, 2), float),
      jax.ShapeDtypeStruct((100_000, 3000), float),
      None,
    )
    for message, make in (
      (r'scale must lie in \(0.0', lambda: ridgelets.line_grid(0.0, 3, 2)),
      ('num_weights must be', lambda: ridgelets.line_grid(1.0, 0, 2)),
      (
        r'values and weights must have shape \[11\]',
        lambda: transform(f[:3], x, dx, grid),
      ),
      (
        r'x and grid.a must be \[N, d\]',
        lambda: transform(f, np.ones((11, 2)), dx, grid),
      ),
      (
        'too large: 100000 weights x 3000 biases x 100 points take 3.0e.10 '
        'evaluations in d=2',
        lambda: transform(f, np.ones((100, 2)), dx, huge),
      ),
      (
        r'grid.b must be \[A, B\]',
        lambda: transform(f, x, dx, grid._replace(b=np.ones(3))),
      ),
      (
        'coefficients must have the shape',
        lambda: ridgelets.ridgelet_synthesis(f, x, grid, jnp.cos),
      ),
      (
        r'scale must lie in \(0.0',
        lambda: ridgelets.exterior_energy(grid.b, grid, scale=0.0),
      ),
      (
        'spacing must lie',
        lambda: ridgelets.truncated(f, 0.0, lambda w: w),
      ),
      (
        'cutoff must lie',
        lambda: ridgelets.strict_floor(f, 0.1, cutoff=-1.0),
      ),
      (
        r'values must have shape \[N\]',
        lambda: ridgelets.strict_floor(x, 0.1, cutoff=1.0),
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make()


class PairTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3)
  def test_bells_have_one_multiplier(self, dim):
    pair = ridgelets.PAIRS.make('gaussian', dim=dim)
    spectra = pair.activation_hat, pair.ridgelet_hat
    w = np.array([[0.0, 1.0], [-3.0, 7.0]])
    got = ridgelets.lowpass_multiplier(*spectra, w, scale=2.0, dim=dim)
    np.testing.assert_allclose(got, np.exp(-((w / 2) ** 2)), rtol=1e-7)
    self.assertAlmostEqual(
      ridgelets.admissibility(*spectra, dim=dim), (2 * np.pi) ** dim, places=5
    )

  @parameterized.parameters(1, 2, 3)
  def test_ridgelets_have_their_spectrum(self, dim):
    pair = ridgelets.gaussian_pair(dim)
    for t in (0.0, 0.7, 2.5):
      want = integrate.quad(
        lambda z, t=t: pair.ridgelet_hat(z) * np.cos(z * t) / np.pi, 0, 30
      )[0]
      with jax.enable_x64(True):
        got = float(pair.ridgelet(t))
      self.assertAlmostEqual(got, want, places=7)

  def test_pairs_that_do_not_invert_are_refused(self):
    root = np.sqrt(2 * np.pi)
    odd = lambda z: -1j * root * z * bell(z)
    mexican = lambda z: root * z**2 * bell(z)
    with self.assertRaisesRegex(
      ValueError, r'not admissible in d=1: .*is zero'
    ):
      ridgelets.admissibility(odd, mexican)
    with self.assertRaisesRegex(ValueError, r'not admissible in d=1: .*infin'):
      ridgelets.admissibility(*[lambda z: root * bell(z)] * 2)
    # What inverts on a line need not in the plane.
    with self.assertRaisesRegex(ValueError, r'not admissible in d=3: .*infin'):
      ridgelets.lowpass_multiplier(
        lambda z: root * bell(z), mexican, np.ones(2), scale=1.0, dim=3
      )
    with self.assertRaisesRegex(ValueError, r'scale must lie in \(0.0'):
      ridgelets.lowpass_multiplier(*SPECTRA, np.ones(2), scale=0.0)
    both = ridgelets.admissibility(odd, odd)
    self.assertAlmostEqual(both, 2 * np.pi * 1.0, places=6)

  def test_a_jump_in_a_spectrum_is_kept(self):
    # Nothing beyond |z| = 1: nothing of a target beyond |w| = scale.
    sinc = lambda z: np.pi * (np.abs(z) < 1)
    mexican = lambda z: z**2 * bell(z)
    got = ridgelets.lowpass_multiplier(
      sinc, mexican, np.array([0.0, 1.0, 1.99, 2.01, 9.0]), scale=2.0
    )
    want = lambda q: np.exp(-q / 2) - np.exp(-0.5)
    np.testing.assert_allclose(
      got, [1, want(0.25) / want(0), want(0.990025) / want(0), 0, 0], atol=1e-6
    )


class FloorTest(parameterized.TestCase):
  def data(self, k, count=400):
    x = (2 * np.arange(count) + 1) / count - 1
    return x[:, None], np.sin(2 * np.pi * k * x), np.full(count, 2 / count)

  @parameterized.parameters(
    (1, 5.0, 1e-3, 0.2113), (1, 10.0, 1e-6, 3.25e-4), (2, 10.0, 1e-3, 0.503)
  )
  def test_nets_come_to_it(self, k, scale, ridge, want):
    x, y, w = self.data(k, 200)
    floor = ridgelets.budgeted_floor(
      ridgelets.cos_kernel(scale), x, y, ridge=ridge, weights=w
    )
    self.assertAlmostEqual(float(floor.rmse) / want, 1.0, delta=2e-3)
    hidden = shallow.sample_hidden(
      KEY, 10_000, 1, scale=scale, bias_range=(0.0, 2 * np.pi)
    )
    a, b = map(np.float64, hidden)
    h = np.cos(x @ a.T - b) / 100
    gram = h @ h.T
    root = np.sqrt(w)
    left = np.linalg.solve(
      gram * root[:, None] * root + ridge * np.eye(200), root * y
    )
    residual = ridge * left / root
    net = np.sqrt(np.mean(residual**2))
    self.assertLess(abs(net / float(floor.rmse) - 1), 0.05)
    norm = np.linalg.norm(h.T @ (root * left))
    self.assertLess(abs(norm / float(floor.norm) - 1), 0.05)

  def test_fitted_nets_have_the_residual_of_their_own_kernel(self):
    x, y, w = self.data(2, 40)
    with jax.enable_x64(True):
      hidden = shallow.sample_hidden(KEY, 30, 1, scale=9.0)
      c = shallow.fit(
        *(hidden, jnp.asarray(x), jnp.asarray(y)),
        ridge=1e-4,
        weights=jnp.asarray(w),
      )
      said = shallow.predict(hidden, c, jnp.asarray(x))[:, 0]
      nodes = ridgelets.Nodes(hidden, jnp.full(30, 1 / 30))
      kernel = ridgelets.limit_kernel(nodes, chunk=7)
      traced = jax.jit(
        functools.partial(ridgelets.budgeted_floor, kernel, ridge=1e-4)
      )(jnp.asarray(x), jnp.asarray(y), weights=jnp.asarray(w))
    floor = ridgelets.budgeted_floor(kernel, x, y, ridge=1e-4, weights=w)
    for found in (floor, traced):
      np.testing.assert_allclose(
        found.residual[:, 0], y - np.asarray(said), atol=1e-9
      )
      np.testing.assert_allclose(found.norm, np.linalg.norm(c), rtol=1e-6)

  def test_falls_with_the_scale_and_the_ridge(self):
    x, y, w = self.data(2, 120)
    floor = lambda scale, ridge: float(
      ridgelets.budgeted_floor(
        ridgelets.cos_kernel(scale), x, y, ridge=ridge, weights=w
      ).rmse
    )
    scales = [floor(scale, 1e-4) for scale in (1.0, 3.0, 6.0, 12.0, 20.0)]
    self.assertTrue((np.diff(scales) < 0).all(), scales)
    ridges = [floor(6.0, ridge) for ridge in (1e-1, 1e-3, 1e-6, 1e-9, 1e-12)]
    self.assertTrue((np.diff(ridges) < 0).all(), ridges)
    self.assertGreater(ridges[0], 0.6)
    # It needs lambda >= 2 pi k.
    self.assertLess(floor(2 * 2 * np.pi * 2, 1e-6), 1e-3)
    self.assertGreater(floor(np.pi * 2, 1e-6), 1e-2)
    count = np.linalg.eigvalsh(ridgelets.cos_kernel(30.0)(x, x)) / 120
    large = int((count > 0.25 * count.max()).sum())
    self.assertLess(abs(large - ridgelets.usable_directions(30.0, 2.0)), 2)

  def test_without_a_ridge_the_rest_is_out_of_range(self):
    x = np.array([[0.0], [0.5], [2.0]])
    nodes = ridgelets.Nodes(
      shallow.Hidden(jnp.ones((1, 1)), jnp.zeros(1)), jnp.ones(1)
    )
    y = np.array([1.0, 2.0, -1.0])
    h = np.tanh(x[:, 0])
    want = y - h * (h @ y) / (h @ h)
    floor = ridgelets.budgeted_floor(
      ridgelets.limit_kernel(nodes), x, y, ridge=0.0
    )
    np.testing.assert_allclose(floor.residual[:, 0], want, atol=1e-6)
    np.testing.assert_allclose(floor.norm, abs(h @ y) / (h @ h), rtol=1e-6)

  def test_what_has_no_weight_is_predicted(self):
    x = np.linspace(-1, 1, 12)[:, None]
    y, weights = np.sin(5 * x), np.r_[np.zeros(3), np.full(9, 0.5)]
    kernel = ridgelets.cos_kernel(4.0)
    floor = ridgelets.budgeted_floor(kernel, x, y, ridge=0.1, weights=weights)
    with jax.enable_x64(True):
      gram = np.asarray(kernel(x, x))
    alpha = np.linalg.solve(gram[3:, 3:] + 0.2 * np.eye(9), y[3:])
    want = y - gram[:, 3:] @ alpha
    np.testing.assert_allclose(floor.residual, want, atol=1e-9)
    rmse = np.sqrt(np.mean(want[3:] ** 2))
    np.testing.assert_allclose(floor.rmse, rmse, rtol=1e-9)
    np.testing.assert_allclose(
      floor.norm, np.sqrt(alpha.T @ gram[3:, 3:] @ alpha)[0, 0], rtol=1e-9
    )
    for message, bad in (('>= 0', -weights), ('all zero', 0 * weights)):
      with self.assertRaisesRegex(ValueError, message):
        ridgelets.budgeted_floor(kernel, x, y, ridge=0.1, weights=bad)

  def test_runs_over_scales(self):
    x = np.linspace(-1, 1, 20)[:, None]
    y, scales = np.sin(5 * x), (1.0, 3.0)
    floor = lambda s: (
      ridgelets.budgeted_floor(ridgelets.cos_kernel(s), x, y, ridge=0.1).rmse
    )
    np.testing.assert_allclose(
      jax.vmap(floor)(jnp.array(scales)), [floor(s) for s in scales], rtol=1e-4
    )

  def test_kernels_and_grids_are_checked(self):
    x, y, kernel = np.ones((3, 2)), np.ones((3, 1)), ridgelets.cos_kernel(1.0)
    grid = ridgelets.line_grid(1.0, 3, 2)
    for message, make in (
      ('x and z must be', lambda: kernel(x, x[:, :1])),
      (
        'y holds NaN',
        lambda: ridgelets.kernel_ridge(kernel, x, y * np.nan, ridge=1.0),
      ),
      (
        'N >= 1 examples',
        lambda: ridgelets.kernel_ridge(kernel, x, y[:2], ridge=1.0),
      ),
      ('width must lie', lambda: ridgelets.usable_directions(1.0, -2.0)),
      (
        'w must be finite',
        lambda: ridgelets.lowpass_multiplier(
          *SPECTRA, np.array([np.nan]), scale=1.0
        ),
      ),
      (
        'shape of grid.b',
        lambda: ridgelets.exterior_energy(np.ones((3, 1)), grid, scale=1.0),
      ),
      (
        'width.a. must be positive',
        lambda: ridgelets.line_grid(
          1.0, 3, 2, width=lambda a: -np.ones_like(a)
        ),
      ),
      (
        'width.a. must be a number',
        lambda: ridgelets.line_grid(1.0, 3, 2, width=lambda a: np.ones(2)),
      ),
      (
        'values are empty',
        lambda: ridgelets.truncated(np.ones(0), 0.1, np.cos),
      ),
      (
        '2 axes of values',
        lambda: ridgelets.truncated(x, (0.1, 0.1, 0.1), np.cos),
      ),
      (
        'values holds NaN',
        lambda: ridgelets.strict_floor(np.full(4, np.nan), 0.1, cutoff=1.0),
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make()

  def test_kernels(self):
    x, z = np.array([[0.0], [0.3]]), np.array([[0.1], [0.9], [-0.4]])
    gap = x - z.T
    sinc = lambda u: np.where(u == 0, 1, np.sin(u) / np.where(u == 0, 1, u))
    with jax.enable_x64(True):
      box, normal = (
        ridgelets.cos_kernel(4.0, dist=d)(x, z)
        for d in ('uniform_box', 'gaussian')
      )
      np.testing.assert_allclose(box, 0.5 * sinc(4 * gap), atol=1e-12)
      np.testing.assert_allclose(normal, 0.5 * bell(4 * gap), atol=1e-12)
      for dist, want in (('uniform_box', box), ('gaussian', normal)):
        options = {'scale': 4.0, 'dist': dist, 'bias_range': np.pi}
        made = ridgelets.limit_kernel(
          ridgelets.quadrature_nodes(40, **options), 'cos', chunk=300
        )(x, z)
        np.testing.assert_allclose(made, want, atol=1e-9)
        nodes = ridgelets.random_nodes(KEY, 40_000, 1, **options)
        drawn = ridgelets.limit_kernel(nodes, 'cos')(x, z)
        np.testing.assert_allclose(drawn, want, atol=0.012)
      # Of a box, every coordinate has its factor.
      both = np.array([[0.2, -0.5]])
      got = ridgelets.cos_kernel(4.0)(both, 0 * both)
      want = 0.5 * sinc(np.array(0.8)) * sinc(np.array(2.0))
      np.testing.assert_allclose(got, [[want]], rtol=1e-12)
      tanh = integrate.dblquad(
        lambda b, a: np.tanh(0.3 * a - b) * np.tanh(-0.4 * a - b) / 36,
        *(-3, 3, -3, 3),
      )[0]
      nodes = ridgelets.quadrature_nodes(32, scale=3.0)
      got = ridgelets.limit_kernel(nodes)(x[1:], z[2:])
      np.testing.assert_allclose(got, [[tanh]], rtol=1e-6)

  def test_nothing_beyond_the_band_is_learned(self):
    x = np.linspace(-30, 30, 301)
    dx = x[1] - x[0]

    def error(f, scale, n):
      units = shallow.sample_hidden(
        KEY, n, 1, scale=scale, bias_range=30 * scale
      )
      a, b = map(np.float64, units)
      h = np.sinc((x[:, None] @ a.T - b) / np.pi) / n**0.5
      c = np.linalg.solve(h.T @ h + 1e-6 * np.eye(n), h.T @ f)
      return np.linalg.norm(h @ c - f) / np.linalg.norm(f)

    for scale in (2.0, 4.0):
      f = bell(x) * np.cos(3 * scale * x)
      size = np.sqrt((f * f).sum() * dx)
      floor = float(ridgelets.strict_floor(f, dx, cutoff=scale)) / size
      self.assertGreater(floor, 0.99)
      for n in (30, 200):
        self.assertGreaterEqual(error(f, scale, n), 0.99)
    # A target inside of the band is no trouble.
    g = bell(x) * np.cos(0.5 * x)
    self.assertLess(float(ridgelets.strict_floor(g, dx, cutoff=4.0)), 2e-3)
    self.assertLess(error(g, 4.0, 200), 0.05)

  def test_the_part_beyond_a_cutoff_is_that_of_the_spectrum(self):
    x = np.linspace(-20, 20, 801)
    # hat f = sqrt(2 pi) exp(-w^2 / 2).
    want = np.sqrt(integrate.quad(lambda w: bell(w) ** 2, 1.5, 30)[0] * 2)
    got = ridgelets.strict_floor(bell(x), x[1] - x[0], cutoff=1.5)
    self.assertAlmostEqual(float(got) / want, 1.0, delta=0.02)

  def test_says_what_to_change(self):
    x, y, w = self.data(1, 5)
    kernel = ridgelets.cos_kernel(1.0)
    floor = functools.partial(ridgelets.budgeted_floor, kernel)
    for message, make in (
      (r'scale must lie in \(0.0', lambda: ridgelets.cos_kernel(0.0)),
      (
        "dist='ball' is unknown",
        lambda: ridgelets.cos_kernel(1.0, dist='ball'),
      ),
      ('num_nodes must be', lambda: ridgelets.quadrature_nodes(0, scale=1.0)),
      ('chunk must be', lambda: ridgelets.limit_kernel(None, chunk=0)),
      ('N >= 1 examples', lambda: floor(x[:0], y[:0], ridge=1.0)),
      ('N >= 1 examples', lambda: floor(x[:, 0], y, ridge=1.0)),
      (r'ridge must lie in \[0.0', lambda: floor(x, y, ridge=-1.0)),
      (
        r'weights must have shape \[5\]',
        lambda: floor(x, y, ridge=1.0, weights=w[:2]),
      ),
      ('y holds NaN', lambda: floor(x, y * np.nan, ridge=1.0)),
      (
        r'ridge must lie in \(0.0',
        lambda: ridgelets.kernel_ridge(kernel, x, y[:, None], ridge=0.0),
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make()


if __name__ == '__main__':
  absltest.main()
