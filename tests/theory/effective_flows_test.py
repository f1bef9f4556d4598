# SPDX-License-Identifier: Apache-2.0
"""Flows of the effective theory against sums in float64 and known numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.networks import functional
from jaxdl.theory import effective

ONE = np.float64(1.0)
# A fine trapezoidal rule in place of the library's nodes; none at a kink.
G = np.linspace(-12, 12, 60_000)
W = np.exp(-G * G / 2) / np.sqrt(2 * np.pi) * (G[1] - G[0])
TANH = (np.tanh, lambda z: 1 / np.cosh(z) ** 2)
RELU = (lambda z: np.maximum(z, 0), lambda z: z > 0)
INPUTS = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])


def mean(fn, kernel):
  return (W * fn(np.sqrt(kernel) * G)).sum()


def reference(act, kernel, depth, c_w, c_b, lam_w, lam_b):
  """The recursions as they are written, with averages over z."""
  s, d = act
  k, v, g1, h = kernel, 0.0, 0.0, lam_b + lam_w * (kernel - c_b) / c_w
  dd = f = a = b = 0.0
  out = []
  for _ in range(depth):
    out.append((k, v, g1, h, dd, f, a, b))
    par = c_w / (2 * k * k) * mean(lambda z, k=k: s(z) ** 2 * (z * z - k), k)
    perp = c_w * mean(lambda z: d(z) ** 2, k)
    j = c_w * mean(
      lambda z, k=k: s(z) ** 2 * (z**4 / k**2 - 6 * z**2 / k + 3), k
    )
    om = functools.partial(
      lambda z, h: lam_w * s(z) ** 2 + c_w * h * d(z) ** 2, h=h
    )
    u = mean(lambda z, k=k, om=om: om(z) * (z * z - k), k) / (2 * k * k)
    s2, s4 = mean(lambda z: s(z) ** 2, k), mean(lambda z: s(z) ** 4, k)
    om1, om2 = mean(om, k), mean(lambda z, om=om: om(z) ** 2, k)
    oms = mean(lambda z, om=om: om(z) * s(z) ** 2, k)
    sd = mean(lambda z: (s(z) * d(z)) ** 2, k)
    d4 = mean(lambda z: d(z) ** 4, k)
    a = om2 - om1**2 + u**2 * v + 2 * u * perp * dd + perp**2 * a
    dd = c_w * (oms - om1 * s2) + par * u * v + par * perp * dd
    f = c_w**2 * sd * h + par**2 * f
    b = c_w**2 * d4 * h**2 + perp**2 * b
    g1 = par * g1 + j * v / (8 * k * k)
    v = par**2 * v + c_w**2 * (s4 - s2**2)
    k, h = c_b + c_w * s2, lam_b + om1
  return np.array(out).T


class FlowsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(jax.enable_x64(True))

  @parameterized.parameters(('tanh', TANH, 1.3, 0.05), ('relu', RELU, 1.7, 0.1))
  def test_equal_the_recursions(self, name, act, c_w, c_b):
    want = reference(act, 0.8, 5, c_w, c_b, 1.2, 0.3)
    layer = {'weight_variance': c_w, 'bias_variance': c_b}
    kernel = np.float64(0.8)
    got = effective.vertex_flow(name, kernel, 5, **layer)
    for x, y in zip(got[:3], want[:3], strict=True):
      np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(got.third, 0.0)
    flow = effective.fluctuation_flow(
      name, kernel, 5, weight_rate=1.2, bias_rate=0.3, **layer
    )
    found = (flow.kernel, flow.vertex, flow.tangent, *flow[3:])
    for x, y in zip(found, want[[0, 1, 3, 4, 5, 6, 7]], strict=True):
      np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(
      effective.kernel_flow(name, kernel, 5, **layer), want[0], rtol=1e-6
    )

  def test_scale_invariant_vertices(self):
    for name, c_w, nu in (('relu', 2.0, 5.0), ('identity', 1.0, 2.0)):
      flow = effective.vertex_flow(name, 3 * ONE, 6, weight_variance=c_w)
      np.testing.assert_allclose(flow.kernel, 3.0, rtol=1e-12)
      np.testing.assert_allclose(flow.vertex, 9 * nu * np.arange(6), rtol=1e-12)
      np.testing.assert_allclose(flow.correction, 0.0, atol=1e-11)

  def test_tanh_from_one(self):
    flow = effective.vertex_flow('tanh', ONE, 1000, weight_variance=1.0)
    np.testing.assert_allclose(
      flow.kernel[:6], [1, 0.3943, 0.2365, 0.1667, 0.1279, 0.1034], atol=5e-5
    )
    np.testing.assert_allclose(
      flow.vertex[:6], [0, 0.0975, 0.0678, 0.0501, 0.0394, 0.0323], atol=5e-5
    )
    mean_square = flow.kernel[2] + flow.correction[2] / 200
    self.assertAlmostEqual(float(mean_square), 0.23630, delta=5e-6)
    layer = np.arange(1, 1001)
    self.assertAlmostEqual(100 * float(flow.kernel[99]), 0.5121, delta=5e-5)
    slope = flow.vertex / flow.kernel**2 / layer
    self.assertAlmostEqual(float(slope[99]), 0.6480, delta=5e-5)
    self.assertAlmostEqual(float(slope[999]), 0.6641, delta=5e-5)

  def test_tangent_kernel_of_tanh(self):
    for rates, want in (((1.0, 0.0), 0.5), ((0.0, 1.0), 500.0)):
      flow = effective.fluctuation_flow(
        'tanh',
        ONE,
        1000,
        weight_variance=1.0,
        weight_rate=rates[0],
        bias_rate=rates[1],
      )
      self.assertAlmostEqual(float(flow.tangent[-1]) / want, 1.0, delta=0.01)

  def test_scaled_rates_keep_the_tangent_kernel(self):
    for name in ('relu', 'tanh', 'gelu'):
      point = functional.find_critical(name)
      ends = []
      for depth in (50, 100, 200):
        weight, bias = effective.training_rates(point, depth)
        kernel = ONE if name != 'gelu' else np.float64(point.kernel)
        flow = effective.fluctuation_flow(
          name,
          kernel,
          depth,
          weight_variance=point.weight_variance,
          bias_variance=point.bias_variance,
          weight_rate=np.asarray(weight, np.float64),
          bias_rate=np.asarray(bias, np.float64),
        )
        ends.append(float(flow.tangent[-1]))
      self.assertLess(max(ends) / min(ends), 1.1, name)

  def test_kernels_of_neural_tangents(self):
    # Printed by neural-tangents 0.6.5 (jax 0.4.30).
    relu = effective.tangent_flow('relu', INPUTS, 3, weight_variance=2.0)
    third = 4 / 3
    np.testing.assert_allclose(
      relu.kernel[1], [[10 / 3, 1.4770684], [1.4770684, third]], rtol=1e-7
    )
    np.testing.assert_allclose(
      relu.tangent[1], [[20 / 3, 2.4343389], [2.4343389, 8 / 3]], rtol=1e-7
    )
    self.assertAlmostEqual(float(relu.kernel[2, 0, 1]), 1.5823295, delta=5e-8)
    np.testing.assert_allclose(
      relu.tangent[2], [[10.0, 3.4010238], [3.4010238, 4.0]], rtol=1e-7
    )
    erf = effective.tangent_flow(
      'erf', INPUTS, 3, weight_variance=1.44, bias_variance=0.09
    )
    np.testing.assert_allclose(
      erf.kernel[2],
      [[0.7568130, 0.4715661], [0.4715661, 0.6879708]],
      atol=5e-8,
    )
    np.testing.assert_allclose(
      erf.tangent[2],
      [[2.7071790, 1.2493927], [1.2493927, 2.1536388]],
      atol=5e-8,
    )

  def test_fluctuations_of_relu(self):
    flow = effective.fluctuation_flow(
      'relu', ONE, 3, weight_variance=2.0, weight_rate=1.0, bias_rate=0.5
    )
    # Th, V, D, F, A and B.
    np.testing.assert_allclose(
      [x[1] for x in flow[1:]], [2, 5, 3.5, 2, 3.25, 2], rtol=1e-10
    )
    np.testing.assert_allclose(
      [x[2] for x in flow[1:]], [3, 10, 10.5, 6, 15.25, 10], rtol=1e-10
    )

  def test_residual_connections(self):
    for gamma in (0.0, 0.5, 0.9):
      rest = 1 - gamma**2
      flow = effective.vertex_flow(
        'identity', ONE, 5, weight_variance=rest, residual=gamma
      )
      want = 2 * (1 - gamma**4)
      np.testing.assert_allclose(flow.vertex, want * np.arange(5), atol=1e-12)
      self.assertAlmostEqual(
        effective.residual_slope('identity', gamma), want, delta=1e-12
      )
    relu = effective.vertex_flow(
      'relu', ONE, 4, weight_variance=1.5, residual=0.5
    )
    np.testing.assert_allclose(relu.kernel, 1.0, rtol=1e-12)
    np.testing.assert_allclose(
      relu.vertex[1:], [3.5625, 8.557, 14.27], atol=5e-3
    )
    self.assertAlmostEqual(effective.residual_slope('relu', 0.5), 3.5625)
    plain = effective.vertex_flow('tanh', ONE, 6, weight_variance=1.2)
    none = effective.vertex_flow(
      'tanh', ONE, 6, weight_variance=1.2, residual=0.0
    )
    for x, y in zip(plain, none, strict=True):
      np.testing.assert_array_equal(x, y)
    deep = [
      effective.vertex_flow(
        'relu', ONE, 30, weight_variance=2 * (1 - g * g), residual=g
      ).vertex[-1]
      for g in (0.0, 0.5, 0.9, 0.99)
    ]
    self.assertGreater(deep[1], 2 * deep[2])
    self.assertGreater(deep[2], 5 * deep[3])

  def test_unequal_widths(self):
    # Every layer adds 2 K^2 over the width that it reads.
    widths = (10, 40, 20, 5)
    flow = effective.vertex_flow(
      'identity', ONE, 4, weight_variance=1.0, widths=widths
    )
    before = np.array([1, *widths[:-1]])
    want = 2 * np.cumsum([0, *(1 / n for n in widths[:-1])])
    np.testing.assert_allclose(flow.vertex / before, want, rtol=1e-12)

  def test_two_inputs(self):
    kernel = np.array([[1.0, 0.4], [0.4, 2.0]])
    linear = effective.pair_vertex_flow(
      'identity', kernel, 4, weight_variance=1.0
    )
    crossed = np.einsum('ac,bd->abcd', kernel, kernel)
    crossed = crossed + np.einsum('ad,bc->abcd', kernel, kernel)
    for layer in range(4):
      np.testing.assert_allclose(
        linear.vertex[layer], layer * crossed, atol=1e-10
      )
    flow = effective.pair_vertex_flow('tanh', kernel, 3, weight_variance=1.1)
    for a in range(2):
      one = effective.vertex_flow('tanh', kernel[a, a], 3, weight_variance=1.1)
      np.testing.assert_allclose(
        flow.vertex[:, a, a, a, a], one.vertex, atol=1e-10
      )
    # The last layer, with derivatives of the kernel map by differences.
    k, v = flow.kernel[1], np.asarray(flow.vertex[1])
    step = lambda k: effective.kernel_step('tanh', k, weight_variance=1.1)
    jacobian = np.zeros((2, 2, 2, 2))
    for e in range(2):
      for f in range(2):
        move = np.zeros((2, 2))
        move[e, f] += 5e-6
        move[f, e] += 5e-6
        jacobian[:, :, e, f] = (step(k + move) - step(k - move)) / 2e-5
    g = np.linspace(-9, 9, 601)
    root = np.linalg.cholesky(k)
    z = np.stack(
      np.broadcast_arrays(
        root[0, 0] * g[:, None],
        root[1, 0] * g[:, None] + root[1, 1] * g[None],
      )
    )
    w = np.exp(-(g[:, None] ** 2 + g[None] ** 2) / 2)
    s = np.tanh(z)
    pairs = np.einsum('aij,bij->abij', s, s)
    square = np.einsum('ij,abij->ab', w, pairs) / w.sum()
    fourth = np.einsum('ij,abij,cdij->abcd', w, pairs, pairs) / w.sum()
    want = 1.21 * (fourth - np.einsum('ab,cd->abcd', square, square))
    want += np.einsum('abef,efgh,cdgh->abcd', jacobian, v, jacobian)
    np.testing.assert_allclose(flow.vertex[2], want, rtol=1e-6)

  def test_nearby_inputs(self):
    x, y = np.float64(1.0), 1e-3
    plus, cross, minus = x + 2 * y, x - 1.5 * y, x + y / 2
    kernel = np.array([[plus, cross], [cross, minus]])
    whole = effective.kernel_flow('tanh', kernel, 4, weight_variance=1.2)
    total = whole[:, 0, 0] + whole[:, 1, 1]
    flow = effective.nearby_flow(
      'tanh',
      (total[0] + 2 * cross) / 4,
      (plus - minus) / 2,
      (total[0] - 2 * cross) / 4,
      4,
      weight_variance=1.2,
    )
    # The next order of the separation is left out.
    np.testing.assert_allclose(
      flow.parallel, (whole[:, 0, 0] - whole[:, 1, 1]) / 2, rtol=5e-3
    )
    np.testing.assert_allclose(
      flow.perpendicular, (total - 2 * whole[:, 0, 1]) / 4, rtol=5e-3
    )
    np.testing.assert_allclose(
      flow.middle, (total + 2 * whole[:, 0, 1]) / 4, rtol=5e-3
    )

  def test_depth_takes_one_program_and_maps(self):
    flows = jax.vmap(
      lambda c: effective.kernel_flow('tanh', ONE, 7, weight_variance=c)
    )(jnp.array([0.9, 1.1]))
    want = effective.kernel_flow('tanh', ONE, 7, weight_variance=1.1)
    np.testing.assert_allclose(flows[1], want, rtol=1e-12)
    grad = jax.grad(
      lambda c: effective.kernel_flow('relu', ONE, 5, weight_variance=c)[-1]
    )(2.0)
    self.assertAlmostEqual(float(grad), 2.0)  # d/dc (c / 2)^4.
    text = lambda n: str(
      jax.make_jaxpr(
        lambda k: effective.kernel_flow('tanh', k, n, weight_variance=1.0)
      )(ONE)
    )
    self.assertLess(abs(len(text(5)) - len(text(500))), 20)


class ConsequencesTest(parameterized.TestCase):
  def test_information_is_largest_at_the_optimal_ratio(self):
    self.assertAlmostEqual(effective.optimal_aspect_ratio(5.0), 4 / 115)
    self.assertAlmostEqual(
      effective.optimal_aspect_ratio(2 / 3), 0.261, delta=5e-4
    )
    self.assertAlmostEqual(
      effective.optimal_aspect_ratio(2.0), 0.087, delta=5e-4
    )
    half = effective.optimal_aspect_ratio(10.0)
    self.assertAlmostEqual(2 * half, effective.optimal_aspect_ratio(5.0))
    with jax.enable_x64(True):
      for first, second in ((1, 1), (2, 3)):
        for nu in (5.0, 2 / 3):
          best = effective.optimal_aspect_ratio(nu, first + second)
          slope = jax.grad(
            lambda r, nu=nu, n=(first, second): effective.mutual_information(
              nu * r, *n
            )
          )
          self.assertAlmostEqual(float(slope(best)), 0.0, delta=1e-12)
          self.assertGreater(float(slope(0.9 * best)), 0.0)
          self.assertLess(float(slope(1.1 * best)), 0.0)

  def test_rates(self):
    point = functional.find_critical('relu')
    for rates in effective.training_rates(
      point, 4, weight_rate=2.0, bias_rate=2.0
    ):
      np.testing.assert_allclose(rates, 0.5)
    point = functional.find_critical('tanh')._replace(exponent=1.5)
    weight, bias = effective.training_rates(point, 3, bias_rate=2.0)
    layer = np.arange(1, 4)
    np.testing.assert_allclose(weight, (3 / layer) ** 0.5, rtol=1e-6)
    np.testing.assert_allclose(bias, 2 * layer**-1.5 * 3**0.5, rtol=1e-6)
    with self.assertRaisesRegex(ValueError, 'point has no exponent'):
      effective.training_rates(functional.find_critical('elu'), 3)


class PredictionTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(jax.enable_x64(True))
    rng = np.random.default_rng(0)
    self.x, self.new = rng.normal(size=(6, 3)), rng.normal(size=(4, 3))
    self.y = rng.normal(size=(6, 2))
    flow = effective.tangent_flow(
      'relu',
      np.concatenate([self.x, self.new]),
      3,
      weight_variance=2.0,
      bias_variance=0.1,
    )
    kernel, tangent = (np.asarray(x[-1]) for x in flow)
    self.kernel = kernel[:6, :6], kernel[6:, :6], kernel[6:, 6:]
    self.tangent = tangent[:6, :6], tangent[6:, :6]

  def test_posterior_is_that_of_scikit_learn(self):
    from sklearn import gaussian_process

    kernel = gaussian_process.kernels.RBF(1.5)
    peer = gaussian_process.GaussianProcessRegressor(
      kernel, alpha=0.1, optimizer=None
    ).fit(self.x, self.y)
    mean, covariance = peer.predict(self.new, return_cov=True)
    got = effective.gp_posterior(
      kernel(self.x),
      kernel(self.new, self.x),
      kernel(self.new),
      self.y,
      noise_variance=0.1,
    )
    np.testing.assert_allclose(got.mean, mean, rtol=1e-8)
    np.testing.assert_allclose(
      got.covariance, covariance[..., 0], rtol=1e-7, atol=1e-10
    )

  def test_gradient_flow_and_descent(self):
    from scipy import linalg

    train, cross = self.tangent
    start, start_new = 0.1 * self.y, np.ones((4, 2))
    for time in (0.0, 0.3, 5.0):
      got = effective.ntk_predict(
        train,
        cross,
        self.y,
        time,
        initial_train=start,
        initial_test=start_new,
      )
      move = np.linalg.solve(train, np.eye(6) - linalg.expm(-train * time))
      want = start_new + cross @ move @ (self.y - start)
      np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)
    rate = 0.9 * float(effective.largest_learning_rate(train))
    z, z_new = np.zeros((6, 2)), np.zeros((4, 2))
    for _ in range(7):
      gap = self.y - z
      z, z_new = z + rate * train @ gap, z_new + rate * cross @ gap
    got = effective.ntk_predict(train, cross, self.y, 7, learning_rate=rate)
    np.testing.assert_allclose(got, z_new, rtol=1e-8)
    end = effective.ntk_predict(train, cross, self.y, np.inf)
    np.testing.assert_allclose(
      end, cross @ np.linalg.solve(train, self.y), rtol=1e-8
    )
    # Only beyond that rate do steps grow.
    sizes = [
      np.abs(
        effective.ntk_predict(
          train, train, self.y, 2000, learning_rate=share * rate / 0.9
        )
      ).max()
      for share in (0.99, 1.01)
    ]
    self.assertLess(sizes[0], 10.0)
    self.assertGreater(sizes[1], 1e6)


LAYER = {'weight_variance': 1.0}


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      lambda: effective.kernel_flow('relu', 1.0, 2, weight_variance=0.0),
      r'weight_variance must lie in \(0.0, inf\); got 0.0',
    ),
    (
      lambda: effective.kernel_flow(
        'relu', 1.0, 2, weight_variance=1.0, bias_variance=-0.1
      ),
      r'bias_variance must lie in \[0.0, inf\); got -0.1',
    ),
    (
      lambda: effective.vertex_flow('relu', 0.0, 2, **LAYER),
      r'kernel must lie in \(0.0, inf\); got 0.0',
    ),
    (
      lambda: effective.fluctuation_flow('relu', -1.0, 2, **LAYER),
      r'kernel must lie in \(0.0, inf\); got -1.0',
    ),
    (
      lambda: effective.fluctuation_flow(
        'relu', 0.5, 2, weight_variance=1.0, bias_variance=0.7
      ),
      'kernel must be at least bias_variance=0.7, which .* got 0.5',
    ),
    (
      lambda: effective.nearby_flow('relu', 0.0, 0.0, 0.0, 2, **LAYER),
      'kernel must lie in',
    ),
    (
      lambda: effective.kernel_flow('relu', 1.0, 0, **LAYER),
      'depth must be at least 1; got 0',
    ),
    (
      lambda: effective.vertex_flow('relu', 1.0, 0, **LAYER),
      'depth must be at least 1; got 0',
    ),
    (
      lambda: effective.kernel_flow(lambda z: z.sum(), 1.0, 2, **LAYER),
      'activation must be elementwise',
    ),
    (
      lambda: effective.kernel_flow('rellu', 1.0, 2, **LAYER),
      "activation='rellu' is unknown.*relu",
    ),
    (
      lambda: effective.kernel_step(
        'relu', np.array([[1.0, 2.0], [2.0, 1.0]]), **LAYER
      ),
      'kernel must be positive semidefinite; its least eigenvalue is -1',
    ),
    (
      lambda: effective.kernel_step('relu', np.ones((2, 3)), **LAYER),
      r'kernel must be a scalar or \[M, M\]; got \(2, 3\)',
    ),
    (
      lambda: effective.vertex_flow('relu', np.eye(2), 2, **LAYER),
      r'kernel must be a scalar, that of one input; got \(2, 2\)',
    ),
    (
      lambda: effective.pair_vertex_flow('relu', np.ones((2, 2)), 2, **LAYER),
      'kernel must be positive definite',
    ),
    (
      lambda: effective.vertex_flow('relu', 1.0, 3, widths=(4, 4), **LAYER),
      'widths has 2 entries, but there are depth=3 layers',
    ),
    (
      lambda: effective.vertex_flow(
        'relu', 1.0, 2, widths=(4, 4), residual=0.5, **LAYER
      ),
      'widths must be left out where there are residual connections',
    ),
    (
      lambda: effective.tangent_flow(
        'relu', INPUTS, 3, weight_rate=np.ones(2), **LAYER
      ),
      r'weight_rate must be a number or one for each of depth=3 layers',
    ),
    (
      lambda: effective.tangent_flow('relu', INPUTS[0], 3, **LAYER),
      r'inputs must be \[M, I\]; got \(3,\)',
    ),
    (
      lambda: effective.mutual_information(0.1, 1, 0),
      'num_second must be at least 1; got 0',
    ),
    (
      lambda: effective.optimal_aspect_ratio(0.0),
      r'vertex_slope must lie in \(0.0, inf\)',
    ),
    (
      lambda: effective.residual_slope('tanh', 0.5),
      "activation must be linear on both sides of zero.*'tanh'",
    ),
    (
      lambda: effective.ntk_predict(
        np.diag([1.0, -1.0]), np.ones((1, 2)), np.ones((2, 1)), 1.0
      ),
      'train must be positive semidefinite',
    ),
    (
      lambda: effective.gp_posterior(
        np.eye(2), np.ones((1, 3)), np.eye(1), np.ones((2, 1))
      ),
      r'cross must be \[B, M\] with M = 2; got \(1, 3\)',
    ),
    (
      lambda: _predict(time=1.5, learning_rate=0.1),
      'time must be a whole number of steps .* got 1.5',
    ),
    (
      lambda: _predict(time=np.inf, learning_rate=0.1),
      r'time must lie in \[0.0, inf\); got inf',
    ),
    (
      lambda: _predict(initial_train=np.ones(2)),
      r'initial_train must be \(2, 1\); got \(2,\)',
    ),
    (
      lambda: _predict(initial_test=np.ones((2, 1))),
      r'initial_test must be \(3, 1\); got \(2, 1\)',
    ),
    (
      lambda: effective.largest_learning_rate(3.0),
      r'train must be \[M, M\]; got \(\)',
    ),
    (
      lambda: effective.nearby_flow('relu', 1.0, 0.1, -0.1, 2, **LAYER),
      r'perpendicular must lie in \[0.0, inf\); got -0.1',
    ),
    (
      lambda: effective.nearby_flow('relu', 1.0, np.nan, 0.1, 2, **LAYER),
      'parallel must lie in .* got nan',
    ),
    (
      lambda: effective.input_kernel(np.ones((2, 0)), **LAYER),
      r'inputs must be \[M, I\]; got \(2, 0\)',
    ),
    (
      lambda: effective.input_kernel(np.full((2, 3), np.nan), **LAYER),
      'inputs must lie in .* got nan',
    ),
    (
      lambda: effective.kernel_flow('relu', np.ones((0, 0)), 2, **LAYER),
      r'kernel must be a scalar or \[M, M\]; got \(0, 0\)',
    ),
    (
      lambda: effective.mutual_information(-0.1, 1, 1),
      r'ratio must lie in \[0.0, inf\); got -0.1',
    ),
    (
      lambda: effective.mutual_information(np.array([0.1, np.nan]), 1, 1),
      r'ratio must lie in \[0.0, inf\); got nan',
    ),
    (
      lambda: effective.excess_kurtosis(np.zeros(2), 1.0, 5),
      r'kernel must lie in \(0.0, inf\); got 0.0',
    ),
    (
      lambda: effective.training_rates(
        functional.find_critical('tanh'), 3, weight_rate=-1.0
      ),
      r'weight_rate must lie in \[0.0, inf\); got -1.0',
    ),
    (
      lambda: effective.ensemble_moments(
        *(jax.random.key(0), 3, 'relu'),
        width=2,
        depth=2,
        start=effective.Start(2.0),
      ),
      r'ids must be \[E\], one for each network; got \(\)',
    ),
  )
  def test_says_what_is_wrong(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()

  @parameterized.parameters(
    (
      lambda: effective.training_rates('tanh', 3),
      "point must be a Critical; got the text 'tanh'",
    ),
    (
      lambda: effective.init_mlp(0, (3, 2), weight_variance=1.0),
      'key must be a typed key',
    ),
    (
      lambda: effective.ensemble_moments(
        *(jax.random.key(0), np.arange(3), 'relu'), width=2, depth=2, start=2.0
      ),
      'start must be a Start; got 2.0',
    ),
    (
      lambda: effective.kernel_flow('relu', 'one', 2, **LAYER),
      'kernel must hold real numbers; got text',
    ),
    (
      lambda: effective.kernel_flow(np.tanh, 1.0, 2, **LAYER),
      'written in jax.numpy; the function tanh cannot be traced',
    ),
    (
      lambda: effective.kernel_flow(lambda z: z > 0, 1.0, 2, **LAYER),
      'must return real floating-point numbers.* returns bool',
    ),
  )
  def test_says_what_is_of_a_wrong_kind(self, call, message):
    with self.assertRaisesRegex(TypeError, message):
      call()


def _predict(time=1.0, **options):
  return effective.ntk_predict(
    np.eye(2), np.ones((3, 2)), np.ones((2, 1)), time, **options
  )


if __name__ == '__main__':
  absltest.main()
