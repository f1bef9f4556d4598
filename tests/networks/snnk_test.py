# SPDX-License-Identifier: Apache-2.0
"""Random-feature layers, adapters, uptraining."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from sklearn import linear_model

from jaxdl import networks
from jaxdl.networks import features

KEY = jax.random.key(0)


def normal(seed, *shape):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), 'float32')


class LayerTest(parameterized.TestCase):
  @parameterized.parameters(('cos', 's3'), ('sin', 's1'), ('gaussian', 's3'))
  def test_real_features_give_the_real_part(self, kind, split):
    urf = features.sample_urf(KEY, 6, 4, kind=kind)
    layer_map = features.urf_map(urf, split=split)
    x, w, b = 0.3 * normal(0, 5, 4), 0.3 * normal(1, 3, 4), normal(2, 3)
    got = layer_map.inputs(x) @ layer_map.weights(w, b).T
    phi = features.urf_phi(urf, x, split=split)
    psi = features.urf_psi(urf, w, b, split=split)
    self.assertEqual(layer_map.size, 12)
    np.testing.assert_allclose(got, (phi @ psi.T).real, atol=1e-5)

  def test_wide_layer_converges_to_an_ordinary_one(self):
    x, w, b = 0.3 * normal(0, 5, 4), 0.3 * normal(1, 3, 4), normal(2, 3)
    want = jnp.cos(x @ w.T + b[None])

    def rmse(m):
      def one(key):
        layer_map = features.feature_map(key, 4, m, kind='cos')
        return layer_map.inputs(x) @ layer_map.weights(w, b).T - want

      errors = jax.jit(jax.vmap(one))(jax.random.split(KEY, 40))
      return float(jnp.sqrt(jnp.square(errors).mean()))

    slope = np.log(rmse(512) / rmse(16)) / np.log(32)
    self.assertLess(abs(slope + 0.5), 0.1)

  def test_relu_layer_is_homogeneous_and_normalization_undoes_scale(self):
    x = normal(0, 5, 4)
    plain = features.feature_map(KEY, 4, 8, bias=False)
    layer = features.snnk_dense(plain, 3)
    params = layer.init(KEY, x)
    out = layer.apply(params, x)
    np.testing.assert_allclose(layer.apply(params, 2 * x), 2 * out, rtol=1e-5)
    scaled = features.feature_map(KEY, 4, 8, bias=False, normalize=True)
    z = scaled.inputs(x)
    np.testing.assert_allclose(scaled.inputs(7 * x), z, rtol=1e-4)
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    np.testing.assert_allclose(z, plain.inputs(x) * 4**0.25 / length, rtol=1e-4)
    np.testing.assert_array_equal(scaled.inputs(0 * x), 0.0)
    grads = jax.grad(lambda x: scaled.inputs(x).sum())(0 * x)
    self.assertTrue(bool(jnp.isfinite(grads).all()))

  def test_bias_is_an_appended_one(self):
    layer_map = features.feature_map(KEY, 4, 8)
    g = features.gaussian_projection(KEY, 8, 5)
    x, w, b = normal(0, 5, 4), normal(1, 3, 4), normal(2, 3)
    np.testing.assert_allclose(
      layer_map.weights(w, b),
      features.relu_features(g, jnp.concatenate([w, b[:, None]], 1)),
      rtol=1e-5,
    )
    np.testing.assert_allclose(
      layer_map.inputs(x),
      features.relu_features(g, jnp.concatenate([x, jnp.ones((5, 1))], 1)),
      rtol=1e-5,
    )

  @parameterized.parameters('gate', 'up')
  def test_adapter_starts_as_the_identity_and_can_leave_it(self, kind):
    x = normal(0, 5, 4)
    net = features.snnk_adapter(features.feature_map(KEY, 4, 8), kind=kind)
    params = net.init(KEY, x)
    np.testing.assert_array_equal(net.apply(params, x), x)
    grads = jax.grad(lambda p: jnp.square(net.apply(p, x)).sum())(params)
    for name in ('v',) if kind == 'gate' else ('psi', 'bias'):
      self.assertGreater(float(jnp.abs(grads[name]).max()), 1e-4)

  def test_comparison_layers(self):
    x = normal(0, 5, 4)
    adapter = features.bottleneck_adapter(4, 2)
    params = adapter.init(KEY, x)
    np.testing.assert_array_equal(adapter.apply(params, x), x)
    low = features.low_rank_dense(6, 2, activation='identity')
    params = low.init(KEY, x)
    self.assertEqual(sum(p.size for p in jax.tree.leaves(params)), 2 * 10 + 6)
    self.assertEqual(np.linalg.matrix_rank(low.apply(params, x)), 2)

  def test_uptraining_keeps_other_layers_and_estimates_the_rest(self):
    x = 0.3 * normal(0, 6, 4)
    trained = networks.mlp((3, 5), 2, kernel_init='glorot', activation='sin')
    params = trained.init(KEY, x)
    maps = {0: features.feature_map(KEY, 4, 20_000, kind='sin')}
    new = features.uptrain(params, maps)
    self.assertEqual(set(new[0]), {'psi'})
    self.assertIs(new[1]['kernel'], params[1]['kernel'])
    net = features.snnk_mlp((3, 5, 2), maps, activation='sin')
    np.testing.assert_allclose(
      net.apply(new, x), trained.apply(params, x), atol=0.08
    )
    shapes = lambda p: jax.tree.map(jnp.shape, p)
    self.assertEqual(shapes(net.init(KEY, x)), shapes(new))

  def test_says_what_to_change(self):
    layer_map = features.feature_map(KEY, 4, 8)
    with self.assertRaisesRegex(ValueError, 'd=4 but the vectors have 3'):
      layer_map.inputs(jnp.ones((2, 3)))
    params = networks.mlp(3, 2).init(KEY, jnp.ones((1, 4)))
    with self.assertRaisesRegex(ValueError, 'd=4 but layer 1 has 3'):
      features.uptrain(params, {1: layer_map})
    with self.assertRaisesRegex(ValueError, 'maps must be at most 1'):
      features.uptrain(params, {2: layer_map})


class BundlingTest(parameterized.TestCase):
  def test_linear_layers_multiply(self):
    w = [normal(i, 4, 4) for i in range(3)]
    zero = [jnp.zeros(4)] * 2
    maps = [features.identity_map(4)] * 2
    got = features.bundle(w[:2], zero, maps, readout=w[2])
    np.testing.assert_allclose(got, w[2] @ w[1] @ w[0], rtol=1e-4, atol=1e-5)

  def test_bundle_equals_layer_after_layer(self):
    x = normal(0, 5, 4)
    keys = jax.random.split(KEY, 2)
    first = features.feature_map(keys[0], 4, 6, kind='cos')
    second = features.feature_map(keys[1], first.size, 7)
    w = [0.3 * normal(1, 3, 4), 0.3 * normal(2, 5, 3)]
    b = [normal(3, 3), normal(4, 5)]
    readout = normal(5, 2, 5)
    bundled = features.bundle(w, b, [first, second], readout)
    h = features.bundled_features(x, [first, second])
    h1 = first.inputs(x)
    v1 = first.weights(w[0], b[0])
    v2 = second.weights(w[1] @ v1, b[1])
    want = (second.inputs(h1) @ v2.T) @ readout.T
    np.testing.assert_allclose(h @ bundled.T, want, rtol=1e-4, atol=1e-5)
    partly = features.bundle(w[:1], b[:1], [first])
    np.testing.assert_allclose(h1 @ partly.T, h1 @ v1.T, rtol=1e-5)
    with self.assertRaisesRegex(ValueError, 'bundle below has 12'):
      features.bundle(w, b, [first, first])


def _closed_form(sums, ridge):
  return features.closed_form_readout(sums, ridge=ridge)


class ReadoutTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.h, self.y = normal(0, 24, 5), normal(1, 24, 2)

  def test_equals_ridge_regression_and_is_stationary(self):
    w = features.fit_readout(self.h, self.y, ridge=0.3)
    h, y = np.float64(self.h), np.float64(self.y)
    stacked = np.concatenate([h, np.sqrt(0.3) * np.eye(5)])
    target = np.concatenate([y, np.zeros((5, 2))])
    want = np.linalg.lstsq(stacked, target, rcond=None)[0].T
    np.testing.assert_allclose(w, want, atol=1e-5)

    def objective(w):
      return jnp.square(self.h @ w.T - self.y).sum() + 0.3 * jnp.square(w).sum()

    np.testing.assert_allclose(jax.grad(objective)(w), 0.0, atol=1e-4)

  def test_read_out_is_that_of_a_peer_and_descent_cannot_improve_it(self):
    w = features.fit_readout(self.h, self.y, ridge=0.3)
    peer = linear_model.Ridge(alpha=0.3, fit_intercept=False)
    peer.fit(np.float64(self.h), np.float64(self.y))
    np.testing.assert_allclose(w, peer.coef_, atol=1e-5)

    def objective(w):
      return jnp.square(self.h @ w.T - self.y).sum() + 0.3 * jnp.square(w).sum()

    adam = optax.adam(1e-3)

    def step(carry, _):
      w, memory = carry
      updates, memory = adam.update(jax.grad(objective)(w), memory)
      w = optax.apply_updates(w, updates)
      return (w, memory), objective(w)

    # From the optimum no step helps; from elsewhere every one does.
    run = jax.jit(lambda w: jax.lax.scan(step, (w, adam.init(w)), length=20)[1])
    best = float(objective(w))
    self.assertGreaterEqual(float(run(w).min()), best * (1 - 1e-6))
    self.assertLess(float(run(w + 0.1)[-1]), float(objective(w + 0.1)) - 1e-3)

  @parameterized.parameters((30, 60), (60, 30))
  def test_a_tiny_ridge_is_solved_as_in_double_precision(self, n, m):
    # Squared singular values span 1e10: float32 sums know nothing of most.
    rng = np.random.default_rng(0)
    u, _ = np.linalg.qr(rng.normal(size=(n, 30)))
    v, _ = np.linalg.qr(rng.normal(size=(m, 30)))
    h = np.float32((u * np.geomspace(1e3, 1e-2, 30)) @ v.T)
    y = np.float32(rng.normal(size=(n, 2)))
    wide = np.float64(h)
    stacked = np.concatenate([wide, 1e-4 * np.eye(m)])
    target = np.concatenate([np.float64(y), np.zeros((m, 2))])
    want = np.linalg.lstsq(stacked, target, rcond=1e-15)[0]
    h, y = jnp.asarray(h), jnp.asarray(y)
    w = features.fit_readout(h, y, ridge=1e-8)
    np.testing.assert_allclose(w, want.T, atol=1e-5 * np.abs(want).max())
    # Traced, in float32: fits as well, and its weights are no larger.
    traced = jax.jit(lambda h, y: features.fit_readout(h, y, ridge=1e-8))(h, y)
    loss = lambda w: np.square(wide @ np.float64(w).T - np.float64(y)).sum()
    self.assertLess(loss(traced), loss(w) + 1e-3)
    self.assertLess(np.linalg.norm(traced), 1.1 * np.linalg.norm(want))
    # From float32 sums what can be known, finite.
    sums = features.readout_statistics(h, y)
    for solve in (features.closed_form_readout, jax.jit(_closed_form)):
      w = solve(sums, ridge=1e-8)
      self.assertLess(np.linalg.norm(w), 1.1 * np.linalg.norm(want))
      self.assertLess(loss(w), np.square(np.float64(y)).sum())

  @parameterized.parameters((12, 5), (5, 12))
  def test_gradients_are_those_of_the_normal_equations(self, n, m):
    h, y = normal(0, n, m), normal(1, n, 2)

    def direct(h, ridge):
      gram = h.T @ h + ridge * jnp.eye(m)
      return jnp.sin(jnp.linalg.solve(gram, h.T @ y)).sum()

    def by_sums(h, ridge):
      sums = features.readout_statistics(h, y)
      return jnp.sin(features.closed_form_readout(sums, ridge=ridge)).sum()

    def fitted(h, ridge):
      return jnp.sin(features.fit_readout(h, y, ridge=ridge)).sum()

    want = jax.grad(direct, (0, 1))(h, 0.3)
    for fn in (by_sums, fitted):
      got = jax.grad(fn, (0, 1))(h, 0.3)
      np.testing.assert_allclose(got[0], want[0], atol=1e-4)
      np.testing.assert_allclose(got[1], want[1], rtol=1e-3)

  def test_clients_together_fit_the_pooled_data(self):
    want = features.fit_readout(self.h, self.y, ridge=0.1)
    split = lambda x: x.reshape(4, 6, -1)
    each = jax.vmap(features.readout_statistics)(split(self.h), split(self.y))
    pooled = jax.tree.map(lambda x: x.sum(0), each)
    self.assertEqual(float(pooled.count), 24.0)
    np.testing.assert_allclose(
      features.closed_form_readout(pooled, ridge=0.1), want, atol=1e-5
    )

    def client(h, y):
      stats = features.readout_statistics(h, y, axis_name='clients')
      return features.closed_form_readout(stats, ridge=0.1)

    mesh = jax.make_mesh(
      (4,), ('clients',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    rows = jax.P('clients')
    got = jax.jit(
      jax.shard_map(client, mesh=mesh, in_specs=(rows, rows), out_specs=jax.P())
    )(self.h, self.y)
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_weights_count_and_padding_does_not(self):
    mask = jnp.arange(24) < 20
    broken = jnp.where(mask[:, None], self.h, jnp.nan)
    stats = features.readout_statistics(broken, self.y, weights=mask)
    want = features.readout_statistics(self.h[:20], self.y[:20])
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
      stats,
      want,
    )
    twice = features.readout_statistics(
      self.h, self.y, weights=jnp.full((24,), 2.0)
    )
    np.testing.assert_allclose(
      twice.gram, 2 * self.h.T @ self.h, rtol=1e-4, atol=1e-4
    )

  def test_says_what_to_change(self):
    with self.assertRaisesRegex(ValueError, r'ridge must lie in \[0'):
      features.fit_readout(self.h, self.y, ridge=-1.0)
    with self.assertRaisesRegex(ValueError, 'n=3 examples of M=5'):
      features.fit_readout(self.h[:3], self.y[:3], ridge=0.0)
    twins = jnp.concatenate([self.h, self.h], axis=1)
    with self.assertRaisesRegex(ValueError, '10 linearly dependent features'):
      features.fit_readout(twins, self.y, ridge=0.0)
    with self.assertRaisesRegex(ValueError, '10 linearly dependent features'):
      sums = features.readout_statistics(twins, self.y)
      features.closed_form_readout(sums, ridge=0.0)
    with self.assertRaisesRegex(ValueError, 'h holds NaN'):
      features.fit_readout(self.h.at[0, 0].set(jnp.nan), self.y, ridge=1.0)


if __name__ == '__main__':
  absltest.main()
