# SPDX-License-Identifier: Apache-2.0
"""Networks of the effective theory, their tangent kernels and ensembles."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.core import clients as clients_lib
from jaxdl.theory import effective

KEY = jax.random.key(0)


class NetworkTest(parameterized.TestCase):
  def test_init(self):
    params = effective.init_mlp(
      KEY, (40, 200, 100), weight_variance=2.0, bias_variance=0.5
    )
    for layer, (i, o) in zip(params, ((40, 200), (200, 100)), strict=True):
      self.assertEqual(layer['kernel'].shape, (i, o))
      np.testing.assert_allclose(np.var(layer['kernel']) * i, 2.0, rtol=0.05)
      np.testing.assert_allclose(np.mean(layer['bias'] ** 2), 0.5, rtol=0.3)
    one_draw = effective.init_mlp(KEY, (3, 2), weight_variance=1.0)
    np.testing.assert_array_equal(one_draw[0]['bias'], 0.0)

  def test_is_an_mlp(self):
    params = effective.init_mlp(KEY, (3, 5, 4, 2), weight_variance=2.0)
    x = jax.random.normal(KEY, (6, 3))
    z = effective.preactivations(params, x, 'tanh')
    network = networks.mlp((5, 4), 2, activation='tanh')
    np.testing.assert_allclose(z[-1], network.apply(params, x), rtol=1e-6)
    self.assertEqual([len(a[0]) for a in z], [5, 4, 2])

  def test_residual_by_hand(self):
    params = effective.init_mlp(KEY, (3, 4, 4, 2), weight_variance=2.0)
    x = jax.random.normal(KEY, (6, 3))
    weights = [np.asarray(p['kernel'], np.float64) for p in params]
    z1 = np.asarray(x) @ weights[0]
    z2 = np.maximum(z1, 0) @ weights[1] + 0.7 * z1
    z3 = np.maximum(z2, 0) @ weights[2]
    got = effective.preactivations(params, x, 'relu', residual=0.7)
    for mine, yours in zip(got, (z1, z2, z3), strict=True):
      np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-5)

  @parameterized.parameters(2, 3, 6)
  def test_deep_network_is_that_of_its_layers(self, depth):
    network = effective.deep_mlp(
      depth, 4, 3, activation='gelu', start='critical(residual=0.6)'
    )
    x = jax.random.normal(KEY, (5, 2, 2))
    params = network.init(KEY, x)
    self.assertLen(params, depth)
    self.assertTrue(bool((params[-1]['bias'] != 0).all()))
    want = effective.preactivations(
      params, x.reshape(5, 4), 'gelu', residual=0.6
    )
    # The first layer reads the inputs, whatever their number.
    np.testing.assert_allclose(network.apply(params, x), want[-1], atol=1e-5)

  def test_starts(self):
    make = effective.STARTS.make
    self.assertEqual(make('critical', 'relu'), (2.0, 0.0, 0.0))
    got = make('critical(scale=0.8, residual=0.6)', 'relu')
    np.testing.assert_allclose(got, (0.8 * 0.64 * 2.0, 0.0, 0.6))
    self.assertEqual(make('he', 'tanh').weight_variance, 2.0)
    self.assertEqual(make('xavier', 'tanh').weight_variance, 1.0)
    self.assertEqual(make('variances(1.5, 0.2)', 'tanh'), (1.5, 0.2, 0.0))
    # The kernel of a residual network at its critical point stays.
    start = make('critical(residual=0.8)', 'gelu')
    kernel = effective.kernel_flow(
      'gelu',
      3.5615528,
      30,
      weight_variance=start.weight_variance,
      bias_variance=start.bias_variance,
      residual=start.residual,
    )
    np.testing.assert_allclose(kernel, 3.5615528, rtol=1e-4)

  def test_rates_scale_gradients(self):
    params = effective.init_mlp(KEY, (2, 4, 3), weight_variance=1.0)
    ones = jax.tree.map(jnp.ones_like, params)
    optimizer = optax.chain(
      effective.scale_by_rates(jnp.array([3.0, 5.0]), jnp.array([0.1, 0.2])),
      optax.sgd(2.0),
    )
    updates, _ = optimizer.update(ones, optimizer.init(params), params)
    np.testing.assert_allclose(updates[0]['kernel'], -2 * 3.0 / 2)
    np.testing.assert_allclose(updates[1]['kernel'], -2 * 5.0 / 4)
    np.testing.assert_allclose(updates[1]['bias'], -0.4, rtol=1e-6)
    with self.assertRaisesRegex(ValueError, 'for each of 1 layers; got 2'):
      effective.scale_by_rates(jnp.ones(2), jnp.ones(2)).update(ones[:1], None)


class TangentTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 0.5)
  def test_layers_equal_the_jacobian(self, residual):
    with jax.enable_x64(True):
      params = effective.init_mlp(
        KEY, (3, 6, 6, 2), weight_variance=2.0, bias_variance=0.1
      )
      x = jax.random.normal(KEY, (4, 3))
      found = [
        effective.empirical_ntk(
          params,
          x,
          'tanh',
          weight_rate=jnp.array([1.0, 2.0, 0.5]),
          bias_rate=jnp.array([0.3, 0.1, 0.2]),
          residual=residual,
          method=method,
        )
        for method in ('layers', 'jacobian')
      ]
      self.assertEqual(found[0].shape, (4, 4, 2, 2))
      np.testing.assert_allclose(*found, rtol=1e-10, atol=1e-12)
      # From first to last layer, for one input.
      z = effective.preactivations(params, x[:1], 'tanh', residual=residual)
      forward = effective.layer_tangents(
        params,
        [a[0] for a in z],
        x[0],
        'tanh',
        weight_rate=jnp.array([1.0, 2.0, 0.5]),
        bias_rate=jnp.array([0.3, 0.1, 0.2]),
        residual=residual,
      )
      np.testing.assert_allclose(forward[-1], found[0][0, 0], rtol=1e-10)

  def test_moves_outputs_as_gradient_descent_does(self):
    with jax.enable_x64(True):
      params = effective.init_mlp(KEY, (3, 8, 2), weight_variance=2.0)
      x = jax.random.normal(KEY, (4, 3))
      y = jax.random.normal(jax.random.key(1), (4, 2))
      apply = lambda p: effective.preactivations(p, x, 'tanh')[-1]
      grads = jax.grad(lambda p: 0.5 * jnp.square(apply(p) - y).sum())(params)
      scale = effective.scale_by_rates(jnp.ones(2), jnp.ones(2))
      scaled, _ = scale.update(grads, None)
      eps = 1e-6
      moved = jax.tree.map(lambda p, g: p - eps * g, params, scaled)
      ntk = effective.empirical_ntk(params, x, 'tanh')
      want = -jnp.einsum('abij,bj->ai', ntk, apply(params) - y)
      np.testing.assert_allclose(
        (apply(moved) - apply(params)) / eps, want, rtol=1e-4
      )

  def test_wide_networks_have_the_kernel_of_theory(self):
    x = jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    params = effective.init_mlp(KEY, (3, 2000, 2000, 1), weight_variance=2.0)
    got = effective.empirical_ntk(
      params, x, 'relu', weight_rate=2.0, bias_rate=0.0
    )
    want = effective.tangent_flow('relu', x, 3, weight_variance=2.0)
    # Networks of this width spread by (V / n K^2)^.5 = .07.
    np.testing.assert_allclose(got[:, :, 0, 0], want.tangent[-1], rtol=0.2)

  def test_needs_a_known_method(self):
    params = effective.init_mlp(KEY, (3, 2), weight_variance=1.0)
    with self.assertRaisesRegex(ValueError, "method='fast' is unknown"):
      effective.empirical_ntk(params, jnp.ones((1, 3)), 'relu', method='fast')


class EnsembleTest(parameterized.TestCase):
  def test_moments_are_those_of_explicit_pairs(self):
    rng = np.random.default_rng(0)
    z, h = rng.normal(size=5), rng.normal(size=(5, 5))
    h = h + h.T
    pairs = list(itertools.permutations(range(5), 2))
    mean = lambda fn: np.mean([fn(i, j) for i, j in pairs])
    want = {
      'kernel': np.mean(z**2),
      'fourth': np.mean(z**4),
      'pair': mean(lambda i, j: z[i] ** 2 * z[j] ** 2),
      'tangent': np.trace(h) / 5,
      'square': mean(lambda i, j: h[i, i] * z[j] ** 2),
      'product': mean(lambda i, j: h[i, j] * z[i] * z[j]),
      'diagonal': mean(lambda i, j: h[i, i] * h[j, j]),
      'offdiagonal': mean(lambda i, j: h[i, j] ** 2),
    }
    with jax.enable_x64(True):
      got = effective.pair_moments_of(jnp.asarray(z))
      got |= effective.tangent_moments_of(jnp.asarray(z), jnp.asarray(h))
    self.assertEqual(got.keys(), want.keys())
    for name, value in want.items():
      np.testing.assert_allclose(got[name], value, rtol=1e-10, err_msg=name)

  def test_relu_has_its_exact_law(self):
    # E z_i^2 z_j^2 = K^2 (1 + 5 / n)^(l - 1) at any width.
    n, depth, count = 10, 4, 20_000
    means = jax.jit(
      lambda ids: effective.ensemble_moments(
        KEY,
        ids,
        'relu',
        width=n,
        depth=depth,
        start=effective.Start(2.0),
        ensemble=clients_lib.Clients(count, chunk=1000),
      )
    )(jnp.arange(count))
    law = (1 + 5 / n) ** np.arange(depth)
    np.testing.assert_allclose(means['kernel'], 1.0, rtol=0.02)
    np.testing.assert_allclose(means['pair'], law, rtol=0.12)
    got = effective.measured(means, n)
    np.testing.assert_allclose(got.vertex[1], 5.0, rtol=0.1)
    # Kurtosis of a neuron is 3 (law - 1) too.
    np.testing.assert_allclose(got.kurtosis[1], 1.5, rtol=0.1)

  def test_tangent_kernels_fluctuate_as_theory_says(self):
    n, count = 40, 2_000
    rates = (1.0, 0.5)
    means = jax.jit(
      lambda ids: effective.ensemble_moments(
        KEY,
        ids,
        'relu',
        width=n,
        depth=3,
        start=effective.Start(2.0),
        rates=rates,
        ensemble=clients_lib.Clients(count, chunk=50),
      )
    )(jnp.arange(count))
    got = effective.measured(means, n)
    want = effective.fluctuation_flow(
      'relu', 1.0, 3, weight_variance=2.0, weight_rate=1.0, bias_rate=0.5
    )
    np.testing.assert_allclose(got.tangent, want.tangent, rtol=0.02)
    for name in want._fields[2:]:
      mine, theory = getattr(got, name), getattr(want, name)
      np.testing.assert_allclose(mine[1:], theory[1:], rtol=0.25, err_msg=name)

  def test_devices_and_chunks_change_nothing(self):
    run = lambda ensemble: effective.ensemble_moments(
      KEY,
      jnp.arange(16),
      'tanh',
      width=4,
      depth=2,
      start=effective.Start(1.0),
      ensemble=ensemble,
    )
    want = run(16)
    mesh = clients_lib.clients_mesh()
    for ensemble in (
      clients_lib.Clients(16, chunk=3),
      clients_lib.Clients(16, mesh=mesh),
    ):
      got = run(ensemble)
      for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5)

  def test_networks_are_known_by_their_number(self):
    run = lambda ids: effective.ensemble_moments(
      KEY, ids, 'tanh', width=4, depth=2, start=effective.Start(1.0)
    )['kernel']
    halves = [run(jnp.arange(4)), run(jnp.arange(4, 8))]
    np.testing.assert_allclose(
      np.mean(halves, axis=0), run(jnp.arange(8)), rtol=1e-5
    )

  @parameterized.parameters(
    ({'width': 1}, 'width must be at least 2; got 1'),
    ({'depth': 0}, 'depth must be at least 1; got 0'),
    ({'kernel': 0.1}, 'kernel must exceed bias_variance=0.2; got 0.1'),
    ({'start': (0.0, 0.0, 0.0)}, 'weight_variance must lie in'),
    ({'ensemble': 5}, 'ensemble has 5 networks, but ids has 4'),
  )
  def test_says_what_is_wrong(self, options, message):
    given = {
      'width': 3,
      'depth': 2,
      'start': effective.Start(1.0, 0.2),
    } | options
    with self.assertRaisesRegex(ValueError, message):
      effective.ensemble_moments(KEY, jnp.arange(4), 'relu', **given)

  def test_single_neurons_make_no_pairs(self):
    with self.assertRaisesRegex(ValueError, 'width must be at least 2 for'):
      effective.pair_moments_of(jnp.ones(1))
    with self.assertRaisesRegex(ValueError, 'widths must name the inputs and'):
      effective.init_mlp(KEY, (3,), weight_variance=1.0)


if __name__ == '__main__':
  absltest.main()
