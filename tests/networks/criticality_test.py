# SPDX-License-Identifier: Apache-2.0
"""Averages of activations, critical points, and kernels drawn there."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import integrate, special

from jaxdl import networks
from jaxdl.networks import functional

PHI = lambda z: np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
# Each with its derivative, in float64.
PLAIN = {
  'tanh': (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
  'gelu': (
    lambda z: z * special.ndtr(z),
    lambda z: special.ndtr(z) + z * PHI(z),
  ),
  'silu': (
    lambda z: z * special.expit(z),
    lambda z: special.expit(z) * (1 + z * special.expit(-z)),
  ),
  'elu': (
    lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    lambda z: np.where(z > 0, 1, np.exp(np.minimum(z, 0))),
  ),
}


def average(fn, kernel):
  """Adaptive quadrature, split at zero."""
  root = np.sqrt(kernel)
  return sum(
    integrate.quad(lambda g: fn(root * g) * PHI(g), *ends, epsabs=1e-13)[0]
    for ends in ((-13, 0), (0, 13))
  )


class GaussianTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(jax.enable_x64(True))

  @parameterized.product(name=list(PLAIN), kernel=[0.1, 3.0, 14.3])
  def test_averages_equal_adaptive_quadrature(self, name, kernel):
    fn, _ = PLAIN[name]
    for power in (2, 4):
      got = functional.gaussian_expectation(
        lambda z, p=power: functional.activation(name)(z) ** p,
        np.float64(kernel),
      )
      want = average(lambda z, p=power: fn(z) ** p, kernel)
      np.testing.assert_allclose(got, want, rtol=1e-10)

  @parameterized.parameters('tanh', 'gelu', 'elu')
  def test_pairs_equal_a_grid(self, name):
    # A trapezoidal rule, exact beyond rounding where the integrand is smooth.
    kernel = np.array([[1.0, 0.6], [0.6, 2.0]])
    factor = np.linalg.cholesky(kernel)
    g = np.linspace(-9, 9, 1201)
    a = factor[0, 0] * g[:, None]
    b = factor[1, 0] * g[:, None] + factor[1, 1] * g[None]
    w = PHI(g)[:, None] * PHI(g)[None] * (g[1] - g[0]) ** 2
    got = functional.pair_moments(name, kernel)
    for part, fn in zip(got, PLAIN[name], strict=True):
      want = (w * fn(a) * fn(b)).sum()
      # The derivative of elu has a kink that the grid rounds off.
      tol = 1e-4 if name == 'elu' else 1e-8
      np.testing.assert_allclose(part[0, 1], want, rtol=tol)

  @parameterized.parameters('relu', 'leaky_relu(slope=0.2)', 'erf')
  def test_closed_forms_equal_quadrature(self, name):
    kernel = np.array([[1.0, -0.6, 0.3], [-0.6, 2.0, 0.1], [0.3, 0.1, 0.4]])
    got = functional.pair_moments(name, kernel)
    want = functional.pair_moments(name, kernel, closed_forms=False)
    for x, y in zip(got, want, strict=True):
      np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)
    # Many pairs go in chunks.
    many = np.eye(12) + 0.1
    np.testing.assert_allclose(
      functional.pair_moments(name, many)[0],
      functional.pair_moments(name, many, closed_forms=False)[0],
      rtol=1e-10,
    )

  def test_equal_and_opposite_inputs_are_no_exception(self):
    for sign in (1.0, -1.0):
      kernel = np.array([[2.0, 2.0 * sign], [2.0 * sign, 2.0]])
      got = functional.pair_expectation('tanh', 'tanh', kernel)
      want = sign * average(lambda z: np.tanh(z) ** 2, 2.0)
      np.testing.assert_allclose(got, want, rtol=1e-9)

  def test_susceptibilities_are_derivatives(self):
    for name in ('tanh', 'gelu', 'relu'):
      chi = functional.susceptibilities(
        name, np.float64(0.7), weight_variance=1.3
      )
      act = functional.activation(name)
      step = lambda k, a=act: (
        1.3 * functional.gaussian_expectation(lambda z: a(z) ** 2, k)
      )
      slope = lambda k, n=name: (
        functional.susceptibilities(n, k, weight_variance=1.3).perpendicular
      )
      k = jnp.float64(0.7)
      np.testing.assert_allclose(chi.parallel, jax.grad(step)(k), rtol=1e-10)
      second = jax.grad(jax.grad(step))(k)
      if name != 'relu':  # No kink: derivatives pass through the average.
        np.testing.assert_allclose(chi.mixed, jax.grad(slope)(k) / 2, rtol=1e-9)
        np.testing.assert_allclose(chi.fourth, 4 * 0.7**2 * second, rtol=1e-9)
      # And the definitions.
      act64 = {**PLAIN, 'relu': (lambda z: np.maximum(z, 0),) * 2}[name][0]
      want = 1.3 / (2 * 0.7**2)
      want *= average(lambda z, f=act64: f(z) ** 2 * (z * z - 0.7), 0.7)
      np.testing.assert_allclose(chi.parallel, want, rtol=1e-9)

  def test_dtype_follows_the_kernel(self):
    for dtype in (np.float32, np.float64):
      k = dtype(1.0)
      chi = functional.susceptibilities('tanh', k, weight_variance=1.0)
      self.assertEqual(chi.fourth.dtype, dtype)
      got = functional.pair_moments('tanh', np.eye(2, dtype=dtype))[0]
      self.assertEqual(got.dtype, dtype)


class CriticalTest(parameterized.TestCase):
  @parameterized.parameters(
    ('gelu', (3 + 17**0.5) / 2, 1.98305826, 0.17292239, 4.90423, -2.87e-4),
    ('silu', 14.3201736, 1.98800468, 0.55514317, 4.92319, 5.70e-6),
  )
  def test_table(self, name, kernel, c_w, c_b, nu, curvature):
    point = functional.find_critical(name)
    self.assertEqual(point.kind, 'half_stable')
    self.assertAlmostEqual(point.kernel, kernel, delta=1e-7)
    self.assertAlmostEqual(point.weight_variance, c_w, delta=1e-8)
    self.assertAlmostEqual(point.bias_variance, c_b, delta=1e-8)
    self.assertAlmostEqual(point.vertex_slope, nu, delta=5e-6)
    self.assertAlmostEqual(point.curvature / curvature, 1.0, delta=2e-3)
    # By adaptive quadrature both susceptibilities are one there.
    fn, slope = PLAIN[name]
    self.assertAlmostEqual(
      c_w * average(lambda z: slope(z) ** 2, kernel), 1.0, delta=1e-7
    )
    self.assertAlmostEqual(
      c_w * average(lambda z: z * fn(z) * slope(z), kernel) / kernel,
      1.0,
      delta=1e-7,
    )

  @parameterized.parameters(
    ('relu', 2.0, 5.0), ('identity', 1.0, 2.0), ('leaky_relu(0.5)', 1.6, None)
  )
  def test_scale_invariant(self, name, c_w, nu):
    point = functional.find_critical(name)
    self.assertEqual(point.kind, 'scale_invariant')
    self.assertAlmostEqual(point.weight_variance, c_w)
    self.assertEqual(point.bias_variance, 0.0)
    if nu is None:
      nu = 3 * (1 + 0.5**4) / 2 * 1.6**2 - 1
    self.assertAlmostEqual(point.vertex_slope, nu)

  def test_fixed_point_at_zero(self):
    for name, c_w in (('tanh', 1.0), ('sin', 1.0), ('erf', np.pi / 4)):
      point = functional.find_critical(name)
      self.assertEqual((point.kind, point.kernel), ('zero_kernel', 0.0))
      self.assertAlmostEqual(point.weight_variance, c_w)
      self.assertEqual(point.bias_variance, 0.0)
      self.assertAlmostEqual(point.vertex_slope, 2 / 3)
      self.assertAlmostEqual(point.exponent, 1.0)
    # A kink in the slope makes another power.
    self.assertTrue(np.isnan(functional.find_critical('elu').exponent))

  def test_scaling_the_activation_scales_the_variance(self):
    for name in ('tanh', 'gelu'):
      fn = functional.activation(name)
      plain = functional.find_critical(name)
      scaled = functional.find_critical(lambda z, f=fn: 3.0 * f(z))
      self.assertAlmostEqual(
        scaled.weight_variance, plain.weight_variance / 9, delta=1e-12
      )
      self.assertAlmostEqual(
        scaled.vertex_slope, plain.vertex_slope, delta=1e-9
      )

  @parameterized.parameters('softplus', 'sigmoid')
  def test_some_have_none(self, name):
    with self.assertRaisesRegex(
      ValueError, rf'activation={name} has no critical point in bracket \(0.01'
    ):
      functional.find_critical(name)

  def test_steps_have_none(self):
    with self.assertRaisesRegex(ValueError, 'no critical point in bracket'):
      functional.find_critical(jnp.sign)

  def test_outside_the_bracket(self):
    with self.assertRaisesRegex(
      ValueError, r'no critical point in bracket \(5, 50\)'
    ):
      functional.find_critical('gelu', bracket=(5.0, 50.0))

  def test_lists_are_brackets_too_but_no_activations(self):
    self.assertEqual(
      functional.find_critical('gelu', bracket=[1, 10]).kind, 'half_stable'
    )
    with self.assertRaisesRegex(TypeError, 'activation must be text; got a li'):
      functional.find_critical(['gelu'])
    # Where no slope is needed, steps are welcome.
    half = functional.gaussian_expectation(lambda z: z > 0, 1.0)
    self.assertAlmostEqual(float(half), 0.5, delta=1e-6)

  def test_found_inside_a_program(self):
    def scaled(x):
      return x * functional.find_critical(lambda z: 2 * jnp.tanh(z))[2]

    self.assertAlmostEqual(float(jax.jit(scaled)(4.0)), 1.0)

  @parameterized.parameters(
    (
      lambda: functional.find_critical('gelu', bracket=(0.0, 1.0)),
      r'bracket must lie in \(0.0, inf\); got 0.0',
    ),
    (
      lambda: functional.find_critical('gelu', bracket=(2.0, 1.0)),
      r'bracket must lie in \(2.0, inf\); got 1.0',
    ),
    (
      lambda: functional.find_critical('gelu', bracket=5.0),
      r'bracket must be two kernels, as \(0.01, 100\); got 5.0',
    ),
    (
      lambda: functional.susceptibilities('relu', 0.0, weight_variance=1.0),
      r'kernel must lie in \(0.0, inf\); got 0.0',
    ),
    (
      lambda: functional.susceptibilities('relu', 1.0, weight_variance=0.0),
      r'weight_variance must lie in \(0.0, inf\); got 0.0',
    ),
    (
      lambda: functional.gaussian_expectation('relu', -1.0),
      r'kernel must lie in \[0.0, inf\); got -1.0',
    ),
    (
      lambda: functional.gaussian_expectation(jnp.sum, 1.0),
      r'activation must be elementwise, f\[3\] -> f\[3\]; got .* \(\)',
    ),
    (
      lambda: functional.gaussian_nodes(1),
      'num_nodes must be at least 2; got 1',
    ),
    (
      lambda: functional.pair_expectation(
        'relu', 'relu', np.array([[1.0, 2.0], [2.0, 1.0]])
      ),
      'kernel must be positive semidefinite; its least eigenvalue is -1',
    ),
    (
      lambda: functional.pair_expectation('relu', 'relu', np.eye(3)),
      r'kernel must be \[2, 2\]; got \(3, 3\)',
    ),
  )
  def test_says_what_is_wrong(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()


class InitTest(parameterized.TestCase):
  def test_network_fills_in_its_activation(self):
    network = networks.make_network(
      'mlp((400, 300), activation=gelu, kernel_init=critical)', (50,), 3
    )
    params = network.init(jax.random.key(0), jnp.zeros((1, 50)))
    inner = params[1]
    np.testing.assert_allclose(
      np.var(inner['kernel']) * 400, 1.983058, rtol=0.03
    )
    np.testing.assert_allclose(np.var(inner['bias']), 0.172922, rtol=0.3)
    relu = networks.mlp((400,), 300, kernel_init='critical')
    params = relu.init(jax.random.key(0), jnp.zeros((1, 50)))
    np.testing.assert_allclose(np.var(params[1]['kernel']) * 400, 2, rtol=0.03)
    np.testing.assert_array_equal(params[1]['bias'], 0.0)

  def test_signals_keep_their_size_through_a_deep_network(self):
    x = jax.random.normal(jax.random.key(1), (8, 60))

    def mean_square(init):
      network = networks.mlp((60,) * 6, 60, kernel_init=init)

      def one(key):
        out = network.apply(network.init(key, x), x)
        return jnp.mean(out * out)

      keys = jax.random.split(jax.random.key(0), 100)
      return float(jax.jit(jax.vmap(one))(keys).mean())

    # Single networks spread by (5 * 6 / 60)^.5, so their mean by .07.
    size = float(jnp.mean(x * x)) * 2
    self.assertBetween(mean_square('critical') / size, 0.75, 1.25)
    ratio = mean_square('critical(scale=0.5)') / mean_square('critical')
    self.assertAlmostEqual(ratio * 2**7, 1.0, delta=1e-4)

  @parameterized.parameters(*networks.NETWORKS)
  def test_an_option_of_every_network(self, name):
    tokens = name == 'char_lstm'
    options = {
      'conv8': 'width=4, ',
      'ocfl_cnn': 'hidden_sizes=(30, 20), ',
      'resnet18': 'width=4, num_groups=2, ',
      'resnet34': 'width=4, num_groups=2, ',
    }.get(name, '')
    # Those of tanh, of no activation, of relu with a slope of 0.01, of relu.
    gain = {
      'char_lstm': 1.0,
      'logistic_regression': 1.0,
      'mip_mnist_cnn': 2 / 1.0001,
    }.get(name, 2.0)
    shape = (5,) if tokens else (18, 18, 1)
    dtype = jnp.int32 if tokens else jnp.float32
    spec = f'{name}({options}kernel_init="critical(scale=3)")'
    network = networks.make_network(spec, shape, 7, dtype=dtype)
    seen, plain = [], functional.draw

    def draw(key, leaves, *args, **options):
      seen.append(leaves)
      return plain(key, leaves, *args, **options)

    with mock.patch.object(functional, 'draw', draw):
      jax.eval_shape(
        network.init, jax.random.key(0), jnp.zeros((1, *shape), dtype)
      )
    leaves = jax.tree.leaves(seen[-1])
    kernels = [x for x in leaves if len(x.shape) > 1]
    self.assertNotEmpty(kernels)
    for x in kernels:
      self.assertAlmostEqual(
        x.variance * np.prod(x.shape[:-1]), 3 * gain, delta=1e-9
      )

  def test_sums_of_branches_keep_their_size(self):
    # Alone, each of 16 blocks would double it.
    x = jax.random.normal(jax.random.key(1), (8, 200))
    network = networks.residual_mlp(
      200, channels=200, num_layers=16, kernel_init='critical'
    )
    out = network.apply(network.init(jax.random.key(0), x), x)
    # Twice its input in the first layer, then by (1 + 1 / n)^n.
    size = float(jnp.mean(out**2) / jnp.mean(x**2)) / 2
    self.assertAlmostEqual(size / (17 / 16) ** 16, 1.0, delta=0.3)

  def test_layers_that_need_biases_have_them(self):
    for make in (networks.frl_lenet, networks.resnet18):
      network = make(3, kernel_init='critical(activation=gelu)')
      with self.assertRaisesRegex(
        ValueError, r"needs biases of variance 0.1729, but the layer params\['"
      ):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    task = networks.classification(
      networks.frl_lenet(3), jnp.zeros((1, 4, 4, 1)), num_classes=3
    )
    task = networks.with_kernel_init(task, 'critical(activation=gelu)')
    with self.assertRaisesRegex(ValueError, 'needs biases of variance 0.1729'):
      jax.eval_shape(task.init, jax.random.key(0))

  def test_any_task(self):
    network = networks.make_network('lenet', (16, 16, 1), 3)
    task = networks.classification(
      network, jnp.zeros((1, 16, 16, 1)), num_classes=3
    )
    task = networks.with_kernel_init(task, 'critical(activation=silu)')
    params = task.init(jax.random.key(0))
    point = functional.find_critical('silu')
    biases = [
      x.ravel()
      for path, x in jax.tree_util.tree_leaves_with_path(params)
      if path[-1].key == 'bias'
    ]
    spread = np.concatenate(biases).std()
    np.testing.assert_allclose(spread, point.bias_variance**0.5, rtol=0.2)
    found = networks.kernel_variances(params, 'critical(activation=silu)')
    for path, x in jax.tree_util.tree_leaves_with_path(params):
      if path[-1].key == 'kernel' and x.size > 1000:
        want = found
        for entry in path:
          want = want[entry.key]
        fan_in = np.prod(x.shape[:-1])
        self.assertAlmostEqual(want, point.weight_variance / fan_in)
        np.testing.assert_allclose(np.var(x), want, rtol=0.15)

  def test_says_what_is_missing(self):
    task = networks.classification(
      networks.mlp((), 2), jnp.zeros((1, 3)), num_classes=2
    )
    for init, message in (
      ('critical', 'needs the option .activation.'),
      ('critical(activation=softplus)', 'activation=softplus has no crit'),
      ('critical(activation=relu, scale=0)', r'scale must lie in \(0'),
      ('critical(activation=relu, branches=0)', 'branches must be at least 1'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        networks.with_kernel_init(task, init)
    network = networks.mlp(
      (4,), 2, activation='gelu', bias=False, kernel_init='critical'
    )
    with self.assertRaisesRegex(
      ValueError, 'kernel_init=critical needs biases of variance 0.1729'
    ):
      network.init(jax.random.key(0), jnp.zeros((1, 3)))
    network = networks.mlp(
      (4,), 2, activation='softplus', kernel_init='critical'
    )
    with self.assertRaisesRegex(ValueError, 'activation=softplus has no crit'):
      network.init(jax.random.key(0), jnp.zeros((1, 3)))


if __name__ == '__main__':
  absltest.main()
