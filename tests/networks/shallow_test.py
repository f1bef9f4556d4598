# SPDX-License-Identifier: Apache-2.0
"""Random nets of one hidden layer, against scikit-learn and NumPy."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import sklearn.kernel_ridge
import sklearn.linear_model
from absl import logging
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.core import clients as clients_lib
from jaxdl.networks import features
from jaxdl.networks.features import shallow

KEY = jax.random.key(0)
ALL = ('auto', 'svd', 'cholesky', 'cg(tol=1e-14)')


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape)


def sklearn_ridge(h, y, ridge):
  model = sklearn.linear_model.Ridge(alpha=ridge, fit_intercept=False)
  return np.reshape(model.fit(h, y).coef_, (-1, h.shape[1]))


class ReadoutTest(parameterized.TestCase):
  @parameterized.product(method=ALL, shape=((30, 7), (6, 20)))
  def test_is_that_of_scikit_learn(self, method, shape):
    h, y = normal(0, *shape), normal(1, shape[0], 3)
    want = sklearn_ridge(h, y, 0.3)
    with jax.enable_x64(True):
      got = features.fit_readout(
        jnp.asarray(h), jnp.asarray(y), ridge=0.3, method=method
      )
      traced = jax.jit(functools.partial(features.fit_readout, method=method))(
        jnp.asarray(h), jnp.asarray(y), ridge=0.3
      )
    np.testing.assert_allclose(got, want, atol=1e-9)
    np.testing.assert_allclose(traced, want, atol=1e-9)

  def test_without_a_ridge_it_is_least_squares(self):
    h, y = normal(0, 30, 7), normal(1, 30, 2)
    want = np.linalg.lstsq(h, y, rcond=None)[0].T
    with jax.enable_x64(True):
      for method in ALL:
        got = features.fit_readout(
          jnp.asarray(h), jnp.asarray(y), ridge=0.0, method=method
        )
        np.testing.assert_allclose(got, want, atol=1e-9)
      # Of many solutions the shortest, where one feature stands twice as well.
      h = np.concatenate([h, h[:, :1]], axis=1)
      for count in (30, 4):
        h, y = h[:count], y[:count]
        got = features.fit_readout(
          jnp.asarray(h), jnp.asarray(y), ridge=0.0, method='svd'
        )
        want = (np.linalg.pinv(h) @ y).T
        np.testing.assert_allclose(got, want, atol=1e-9)

  def test_factors_see_what_squares_do_not(self):
    # Singular values 1 and 1e-9, whose square is below rounding.
    q, _ = np.linalg.qr(normal(0, 20, 2))
    v, _ = np.linalg.qr(normal(1, 2, 2))
    h, c = (q * np.array([1.0, 1e-9])) @ v.T, np.array([[2.0, -3.0]])
    with jax.enable_x64(True):
      y = jnp.asarray(h @ c.T)
      got = features.fit_readout(jnp.asarray(h), y, ridge=0.0, method='svd')
      np.testing.assert_allclose(got, c, rtol=1e-5)
      with self.assertRaisesRegex(ValueError, 'ridge=0 with 2 linearly dep'):
        features.fit_readout(jnp.asarray(h), y, ridge=0.0)
      with self.assertRaisesRegex(ValueError, "singular for method='cholesky'"):
        twins = jnp.asarray(np.stack([h[:, 0], h[:, 0]], axis=1))
        features.fit_readout(twins, y, ridge=0.0, method='cholesky')

  def test_weights_are_repetitions_and_zeros_nothing(self):
    h, y = normal(0, 6, 3), normal(1, 6, 1)
    times = np.array([2, 1, 0, 3, 1, 1])
    want = sklearn_ridge(h.repeat(times, 0), y.repeat(times, 0), 0.2)
    h[2], y[2] = np.nan, np.inf
    with jax.enable_x64(True):
      arrays = [jnp.asarray(v) for v in (h, y)]
      fit = functools.partial(features.fit_readout, ridge=0.2, method='svd')
      got = fit(*arrays, weights=jnp.asarray(times))
      traced = jax.jit(fit)(*arrays, weights=jnp.asarray(times))
    np.testing.assert_allclose(got, want, atol=1e-10)
    np.testing.assert_allclose(traced, want, atol=1e-10)

  def test_says_what_to_change(self):
    h, y = jnp.ones((4, 2)), jnp.ones((4, 1))
    fit = features.fit_readout
    for message, args, options in (
      ("method='qr' is unknown", (h, y), {'method': 'qr'}),
      ("cg has no option 'iters'", (h, y), {'method': 'cg(iters=3)'}),
      ('max_iters must be at least 1', (h, y), {'method': 'cg(max_iters=0)'}),
      (r'h is empty, of shape \(0, 2\)', (h[:0], y[:0]), {}),
      (r'weights must have shape \[4\]', (h, y), {'weights': h}),
      ('weights must be >= 0', (h, y), {'weights': jnp.array([1.0, 1, 1, -1])}),
      ('weights must be finite', (h, y), {'weights': jnp.full(4, jnp.inf)}),
      ('h holds NaN', (h.at[0].set(jnp.nan), y), {'method': 'svd'}),
      ('ridge=0 with n=1 examples of M=2', (h[:1], y[:1]), {'ridge': 0.0}),
    ):
      with self.assertRaisesRegex(ValueError, message):
        fit(*args, **({'ridge': 1.0} | options))
    with self.assertRaisesRegex(TypeError, 'h must hold real numbers'):
      fit(h + 1j, y, ridge=1.0)

  @parameterized.parameters(*ALL)
  def test_integers_are_no_integer_weights(self, method):
    h, y = np.array([[1, 0], [2, 1], [0, 3]]), np.array([[1], [3], [1]])
    want = sklearn_ridge(h, y, 0.5)
    fit = functools.partial(features.fit_readout, ridge=0.5, method=method)
    for given in ((h, y), (jnp.asarray(h), jnp.asarray(y)), (h.tolist(), y)):
      np.testing.assert_allclose(fit(*given), want, rtol=1e-5)
    sums = features.readout_statistics(jnp.asarray(h), jnp.asarray(y))
    got = features.closed_form_readout(sums, ridge=0.5)
    np.testing.assert_allclose(got, want, rtol=1e-5)

  @parameterized.product(method=ALL, dtype=['bfloat16', 'float16'])
  def test_half_precision_is_solved_in_single(self, method, dtype):
    h, y = jnp.asarray(normal(0, 9, 3), dtype), jnp.asarray(normal(1, 9), dtype)
    y, wide = y[:, None], lambda x: np.asarray(x, np.float64)
    want = sklearn_ridge(wide(h), wide(y), 0.5)
    fit = functools.partial(features.fit_readout, ridge=0.5, method=method)
    for run in (fit, jax.jit(fit)):
      got = run(h, y)
      self.assertEqual(got.dtype, dtype)
      np.testing.assert_allclose(wide(got), want, atol=0.01)

  def test_sums_of_half_precision_do_not_lose_examples(self):
    h = jnp.ones((1000, 1), 'bfloat16')
    sums = features.readout_statistics(h, h, weights=jnp.ones(1000, bool))
    self.assertEqual([float(x.sum()) for x in sums], [1000.0] * 3)
    with self.assertRaisesRegex(ValueError, r'weights must have shape \[1000'):
      features.readout_statistics(h, h, weights=jnp.ones(1))

  def test_warns_of_a_ridge_below_rounding(self):
    h, y = jnp.asarray(normal(0, 9, 2), jnp.float32), jnp.ones((9, 1))
    with mock.patch.object(logging, 'log_first_n') as told:
      features.fit_readout(h, y, ridge=1e-6)
      with jax.enable_x64(True):
        exact = jnp.asarray(normal(0, 9, 2)), jnp.ones((9, 1))
        features.fit_readout(*exact, ridge=1e-12)
      told.assert_not_called()
      features.fit_readout(h, y, ridge=1e-8)
    level, text, times, *values = told.call_args.args
    self.assertEqual((level, times), (logging.WARNING, 1))
    self.assertStartsWith(
      text % tuple(values), 'ridge=1e-08 is below the rounding of features in f'
    )


class HiddenTest(parameterized.TestCase):
  def test_distributions(self):
    draw = functools.partial(shallow.sample_hidden, KEY, 4000, 3, scale=2.0)
    box, ball, normals = (
      draw(dist=d) for d in ('uniform_box', 'uniform_ball', 'gaussian')
    )
    lengths = np.linalg.norm(ball.weights, axis=1)
    self.assertLess(np.abs(box.weights).max(), 2.0)
    self.assertLess(lengths.max(), 2.0)
    # Uniform numbers have the variance of an interval; so do, in a ball, the
    # third powers of lengths.
    for values, want in (
      (box.weights / 2, 1 / 3),
      (2 * (lengths / 2) ** 3 - 1, 1 / 3),
      (normals.weights / 2, 1.0),
      (box.biases / 2, 1 / 3),
    ):
      np.testing.assert_allclose(np.mean(np.square(values)), want, rtol=0.06)
      self.assertLess(abs(np.mean(values)), 0.06)
    biases = draw(bias_range=(1.0, 5.0)).biases
    self.assertBetween(float(biases.min()), 1.0, 1.01)
    self.assertBetween(float(biases.max()), 4.99, 5.0)
    self.assertBetween(float(draw(bias_range=7.0).biases.min()), -7.0, -6.9)
    rows = draw(dist='gaussian(orthogonal=True)').weights[:3]
    gram = np.asarray(rows @ rows.T)
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0.0, atol=1e-4)

  def test_scales_share_a_draw(self):
    scales = jnp.array([0.5, 4.0])
    both = jax.vmap(
      lambda scale: shallow.sample_hidden(KEY, 5, 2, scale=scale)
    )(scales)
    for leaf, one in zip(
      both, shallow.sample_hidden(KEY, 5, 2, scale=1.0), strict=True
    ):
      np.testing.assert_allclose(leaf[0], 0.5 * one, rtol=1e-6)
      np.testing.assert_allclose(leaf[1], 4.0 * one, rtol=1e-6)

  def test_features_are_those_of_numpy(self):
    a, b, x = normal(0, 5, 3), normal(1, 5), normal(2, 4, 3)
    with jax.enable_x64(True):
      hidden = shallow.Hidden(jnp.asarray(a), jnp.asarray(b))
      got = shallow.hidden_features(jnp.asarray(x), hidden, direct=True)
      wave = shallow.hidden_features(jnp.asarray(x), hidden, 'sinc')
    z = x @ a.T - b
    want = np.concatenate([np.tanh(z) / 5**0.5, x, np.ones((4, 1))], axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    np.testing.assert_allclose(wave, np.sin(z) / z / 5**0.5, rtol=1e-12)

  def test_relu_knows_no_scale(self):
    x, y = normal(0, 20, 2), normal(1, 20)
    with jax.enable_x64(True):
      said = []
      for t in (1.0, 7.0):
        hidden = shallow.sample_hidden(KEY, 15, 2, scale=t)
        c = shallow.fit(
          *(hidden, jnp.asarray(x), jnp.asarray(y)),
          ridge=1e-3 * t**2,
          activation='relu',
        )
        said.append(
          shallow.predict(hidden, c, jnp.asarray(x), activation='relu')
        )
    np.testing.assert_allclose(said[0], said[1], atol=1e-10)
    self.assertGreater(np.abs(said[0]).max(), 0.1)

  def test_saturated_units_are_found(self):
    x = jnp.linspace(-1.0, 1.0, 11)[:, None]
    draw = functools.partial(shallow.sample_hidden, KEY, 20, 1)
    with mock.patch.object(logging, 'log_first_n') as told:
      for scale, activation, bias_range in (
        (200.0, 'tanh', None),
        (1e-3, 'tanh', None),
        (1e-3, 'tanh', 0.5),  # All on one side, but not flat.
        (3.0, 'cos', (60.0, 70.0)),
      ):
        hidden = draw(scale=scale, bias_range=bias_range)
        shallow.warn_of_saturation(x, hidden, activation)
      told.assert_not_called()
      hidden = draw(scale=3.0, bias_range=(60.0, 70.0))
      for activation in ('tanh', 'sigmoid', 'relu'):
        self.assertTrue(bool(shallow.saturated(x, hidden, activation).all()))
      jax.jit(lambda x: shallow.fit(hidden, x, x, ridge=1.0))(x)
      told.assert_not_called()
      shallow.fit(hidden, x, x, ridge=1.0)
    text = told.call_args.args[1] % told.call_args.args[3:]
    self.assertStartsWith(text, 'all hidden units saturated: biases in [60')

  def test_the_network_is_at_its_optimum_where_it_was_fitted(self):
    x, y = normal(0, 30, 2), normal(1, 30, 1)
    with jax.enable_x64(True):
      x, y = jnp.asarray(x), jnp.asarray(y)
      network = shallow.random_network(2, 1, 6, scale=2.0, direct=True)
      params = network.init(KEY, x)
      self.assertEqual(features.num_trained(network, 2), 6 + 3 + 1)
      c = shallow.fit(params['frozen'], x, y, ridge=0.0, direct=True)
      # The bias of the layer stands beside the one of the direct links.
      params['trained'][0]['kernel'] = c.T
      loss = lambda p: jnp.mean(jnp.square(network.apply(p, x) - y))
      grads = jax.grad(loss)(params)
    self.assertLess(np.abs(grads['trained'][0]['kernel']).max(), 1e-12)
    np.testing.assert_array_equal(grads['frozen'].weights, 0.0)

  def test_says_what_to_change(self):
    draw, x = shallow.sample_hidden, jnp.ones((4, 2))
    good = {'scale': 1.0}
    for message, make in (
      (r'scale must lie in \(0.0', lambda: draw(KEY, 3, 2, scale=0.0)),
      (r'scale must lie in \(0.0', lambda: draw(KEY, 3, 2, scale=-1.0)),
      ('scale must lie in', lambda: draw(KEY, 3, 2, scale=np.nan)),
      ('num_hidden must be at least 1', lambda: draw(KEY, 0, 2, **good)),
      ('dim must be at least 1', lambda: draw(KEY, 3, 0, **good)),
      (
        "dist='uniform' is unknown.*uniform_box",
        lambda: draw(KEY, 3, 2, dist='uniform', **good),
      ),
      (
        r'bias_range must lie in \(0.0',
        lambda: draw(KEY, 3, 2, bias_range=-1.0, **good),
      ),
      (
        r'bias_range must lie in \[2.0',
        lambda: draw(KEY, 3, 2, bias_range=(2.0, 1.0), **good),
      ),
      ('bias_range must be a number or', lambda: shallow.bias_ends(1.0, (1,))),
      (
        "activation='tan' is unknown",
        lambda: shallow.random_network(2, 1, 3, scale=1.0, activation='tan'),
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make()
    with self.assertRaisesRegex(TypeError, 'key must be a typed key'):
      draw(np.zeros(2, np.uint32), 3, 2, **good)
    hidden = draw(KEY, 3, 2, **good)
    fit = functools.partial(shallow.fit, hidden)
    for message, make in (
      ("activation='tan' is unknown", lambda: fit(x, x, ridge=1.0, **TAN)),
      ('hidden was drawn for d=2', lambda: fit(x[:, :1], x, ridge=1.0)),
      ('N >= 1 examples', lambda: fit(x[:0], x[:0], ridge=1.0)),
      ('N >= 1 examples', lambda: fit(x, x[:2], ridge=1.0)),
      ('x holds NaN', lambda: fit(x.at[0].set(jnp.nan), x, ridge=1.0)),
      ('y holds NaN', lambda: fit(x, x.at[0].set(jnp.inf), ridge=1.0)),
      (r'ridge must lie in \[0.0', lambda: fit(x, x, ridge=-1.0)),
      (
        'y must hold classes 0 to 1; got 0 to 2',
        lambda: fit(x, jnp.array([0, 1, 2, 0]), ridge=1.0, num_classes=2),
      ),
      (
        r'y must have shape \[N\]; got',
        lambda: fit(x, x, ridge=1.0, num_classes=2),
      ),
      (
        r'readout must have shape \[o, 3\]',
        lambda: shallow.predict(hidden, jnp.ones((1, 4)), x),
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make()


TAN = {'activation': 'tan'}


class FitTest(parameterized.TestCase):
  def test_a_target_in_the_span_is_found(self):
    with jax.enable_x64(True):
      x = jnp.asarray(normal(0, 40, 3))
      hidden = shallow.sample_hidden(KEY, 12, 3, scale=3.0)
      c0 = jnp.asarray(normal(1, 2, 12))
      y = shallow.predict(hidden, c0, x)
      c = shallow.fit(hidden, x, y, ridge=0.0)
      self.assertEqual(
        np.linalg.matrix_rank(shallow.hidden_features(x, hidden)), 12
      )
      np.testing.assert_allclose(c, c0, atol=1e-9)
      np.testing.assert_allclose(shallow.predict(hidden, c, x), y, atol=1e-11)

  def test_what_has_no_weight_may_be_anything(self):
    hidden = shallow.sample_hidden(KEY, 6, 2, scale=1.0)
    x, labels = jnp.asarray(normal(0, 8, 2)), jnp.arange(8) % 3
    fit = functools.partial(shallow.fit, hidden, ridge=0.1, num_classes=3)
    want = fit(x[2:], labels[2:])
    x, labels = x.at[:2].set(jnp.nan), labels.at[:2].set(-1)
    got = fit(x, labels, weights=jnp.arange(8) > 1)
    np.testing.assert_allclose(got, want, atol=1e-5)
    with self.assertRaisesRegex(ValueError, 'x holds NaN'):
      fit(x, labels % 3, weights=jnp.arange(8) > 0)

  def test_clients_are_checked(self):
    x, labels, mask = jnp.ones((2, 3, 1)), jnp.ones((2, 3), int), True
    mask = jnp.ones((2, 3), bool)
    fit = functools.partial(
      features.fit_over_clients, lambda x: x, ridge=1.0, mask=mask
    )
    for message, make in (
      ('labels must lie in', lambda: fit(x, 7 * labels, num_classes=2)),
      ('num_classes must be', lambda: fit(x, labels, num_classes=-1)),
      ('labels must be .N, E, o.', lambda: fit(x, labels)),
      ('inputs and mask', lambda: fit(x[:1], labels, num_classes=2)),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make()

  def test_classes_are_fitted_as_one_hot(self):
    x, y = normal(0, 30, 2), np.arange(30) % 3
    hidden = shallow.sample_hidden(KEY, 8, 2, scale=1.0)
    with jax.enable_x64(True):
      c = shallow.fit(
        hidden, jnp.asarray(x), jnp.asarray(y), ridge=0.1, num_classes=3
      )
      h = np.asarray(shallow.hidden_features(jnp.asarray(x), hidden))
    np.testing.assert_allclose(
      c, sklearn_ridge(h, np.eye(3)[y], 0.1), atol=1e-7
    )

  def test_seeds_and_scales_run_side_by_side(self):
    x = jnp.asarray(np.linspace(-1, 1, 25)[:, None], jnp.float32)
    y = jnp.sin(4 * x[:, 0])

    def error(key, scale):
      hidden = shallow.sample_hidden(key, 9, 1, scale=scale)
      c = shallow.fit(hidden, x, y, ridge=1e-3)
      return jnp.abs(shallow.predict(hidden, c, x)[:, 0] - y).mean()

    keys, scales = jax.random.split(KEY, 2), jnp.array([0.5, 5.0, 20.0])
    over = jax.vmap(jax.vmap(error, (None, 0)), (0, None))
    got = jax.jit(over)(keys, scales)
    want = [[error(key, float(s)) for s in scales] for key in keys]
    np.testing.assert_allclose(got, want, rtol=2e-3)

  @parameterized.parameters(1, 8)
  def test_clients_fit_the_pooled_net(self, num_devices):
    x, y = normal(0, 8, 5, 2), normal(1, 8, 5, 1)
    mask = np.arange(5)[None] < np.array([5, 1, 4, 3, 5, 2, 0, 5])[:, None]
    hidden = shallow.sample_hidden(KEY, 6, 2, scale=2.0)
    lift = functools.partial(shallow.hidden_features, hidden=hidden)
    h = np.float64(lift(jnp.asarray(x[mask], jnp.float32)))
    want = sklearn_ridge(h, y[mask], 0.1)
    x[~mask], y[~mask] = np.nan, np.inf
    how = clients_lib.Clients(8, mesh=clients_lib.clients_mesh(num_devices))
    data = how.shard(
      [jnp.asarray(v, jnp.float32) for v in (x, y)] + [jnp.asarray(mask)]
    )
    got, _ = features.fit_over_clients(
      lift, data[0], data[1], mask=data[2], ridge=0.1, clients=how
    )
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-5)
    self.assertGreater(np.abs(want).max(), 0.3)

  def test_clients_on_a_mesh_find_the_same_logits(self):
    x = jnp.asarray(normal(0, 8, 6, 2), jnp.float32)
    labels = jnp.argmax(x, axis=-1)
    mask = jnp.ones((8, 6), bool).at[3, 2:].set(False)
    hidden = shallow.sample_hidden(KEY, 5, 2, scale=2.0)
    lift = functools.partial(shallow.hidden_features, hidden=hidden)
    fit = functools.partial(
      features.fit_over_clients, lift, ridge=0.1, num_classes=2
    )
    want, factor = fit(x, labels, mask=mask)
    how = clients_lib.Clients(8, mesh=clients_lib.clients_mesh(8))
    data = how.shard((x, labels, mask))
    got, same = fit(*data[:2], mask=data[2], clients=how)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
    self.assertEqual(float(factor), float(same))


class StreamTest(parameterized.TestCase):
  def test_portions_make_the_whole(self):
    h, y = normal(0, 20, 4), normal(1, 20, 2)
    want = sklearn_ridge(h, y, 0.5)
    with jax.enable_x64(True):
      state = shallow.start_stream(4, 2, ridge=0.5)

      def step(state, part):
        return shallow.stream(state, *part), None

      parts = [jnp.asarray(v.reshape(5, 4, -1)) for v in (h, y)]
      state, _ = jax.lax.scan(step, state, tuple(parts))
      inverse = np.linalg.inv(h.T @ h + 0.5 * np.eye(4))
      np.testing.assert_allclose(state.readout, want, atol=1e-10)
      np.testing.assert_allclose(state.inverse, inverse, atol=1e-10)
      self.assertEqual(float(state.count), 20.0)

  def test_forgets_in_the_precision_of_the_state(self):
    state = shallow.start_stream(1, 1, ridge=1.0)
    h = jnp.ones((1, 1), 'bfloat16')
    for _ in range(3):
      state = shallow.stream(state, h, h, forgetting=0.9)
    self.assertAlmostEqual(float(state.count), 1 + 0.9 + 0.81, places=5)

  def test_weights_and_forgetting(self):
    h, y = normal(0, 9, 3), normal(1, 9, 1)
    # What came first has been halved twice, as the ridge has.
    shares = np.array([0.25] * 3 + [0.5] * 3 + [1.0] * 3)
    own = np.array([1.0, 0, 2, 1, 1, 0, 3, 1, 1])
    root = np.sqrt(shares * own)[:, None]
    want = sklearn_ridge(root * h, root * y, 0.25 * 0.8)
    h[1], y[5] = np.nan, np.inf
    with jax.enable_x64(True):
      state = shallow.start_stream(3, 1, ridge=0.8)
      for i in (0, 3, 6):
        state = shallow.stream(
          state,
          *(jnp.asarray(v[i : i + 3]) for v in (h, y)),
          weights=jnp.asarray(own[i : i + 3]),
          forgetting=1.0 if i == 0 else 0.5,
        )
    np.testing.assert_allclose(state.readout, want, atol=1e-10)
    self.assertAlmostEqual(float(state.count), float((shares * own).sum()))

  def test_says_what_to_change(self):
    state = shallow.start_stream(3, 1, ridge=1.0)
    h, y = jnp.ones((2, 3)), jnp.ones((2, 1))
    for message, make in (
      (r'ridge must lie in \(0.0', lambda: shallow.start_stream(3, 1, ridge=0)),
      ('num_features must be', lambda: shallow.start_stream(0, 1, ridge=1.0)),
      (
        'forgetting must lie',
        lambda: shallow.stream(state, h, y, forgetting=0),
      ),
      (r'must be \[B, M\]', lambda: shallow.stream(state, h, y[:1])),
      ('weights must have', lambda: shallow.stream(state, h, y, weights=h[0])),
      (
        'weights must be >= 0',
        lambda: shallow.stream(state, h, y, weights=-jnp.ones(2)),
      ),
      ('h holds NaN', lambda: shallow.stream(state, h * jnp.nan, y)),
      ('M=3 features and o=1', lambda: shallow.stream(state, h[:, :2], y)),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make()


def numpy_scn(x, y, drawn, scales, tolerances, count):
  """Stochastic configuration, refitting all weights by lstsq at each step."""
  columns, errors = [], [np.sum(y * y)]
  e, chosen = y.copy(), []
  for step in range(count):
    units = np.asarray(drawn(step), np.float64)
    best = None
    for r in tolerances:
      asked = (1 - r - (1 - r) / (step + 2)) * np.sum(e * e)
      for scale in scales:
        h = np.tanh(scale * (x @ units[:, :-1].T - units[:, -1]))
        gain = np.sum((h.T @ e) ** 2, axis=1) / np.sum(h * h, axis=0)
        if best is None and gain.max() >= asked:
          best = scale, h[:, np.argmax(gain)]
    if best is not None:
      columns.append(best[1])
      h = np.stack(columns, axis=1)
      e = y - h @ np.linalg.lstsq(h, y, rcond=None)[0]
    chosen.append(best and best[0])
    errors.append(np.sum(e * e))
  return chosen, errors


class IncrementalTest(parameterized.TestCase):
  def test_each_unit_takes_its_projection(self):
    h, y = normal(0, 15, 6), normal(1, 15, 2)
    h[:, 3] = 0.0
    with jax.enable_x64(True):
      w, errors = shallow.incremental_readout(jnp.asarray(h), jnp.asarray(y))
    e = y.copy()
    for i in range(6):
      np.testing.assert_allclose(errors[i], np.sum(e * e, axis=0), rtol=1e-12)
      square = h[:, i] @ h[:, i]
      c = h[:, i] @ e / square if square else np.zeros(2)
      np.testing.assert_allclose(w[:, i], c, atol=1e-12)
      fall = (h[:, i] @ e) ** 2 / (square or 1.0)
      np.testing.assert_allclose(errors[i] - errors[i + 1], fall, atol=1e-10)
      e = e - np.outer(h[:, i], c)
    self.assertTrue((np.diff(errors, axis=0) <= 1e-12).all())
    np.testing.assert_allclose(y - h @ np.asarray(w).T, e, atol=1e-12)

  @parameterized.parameters('int32', 'bfloat16')
  def test_growing_casts(self, dtype):
    h = jnp.array([[1, 2], [3, 4], [0, 1]], dtype)
    y = jnp.array([[3], [5], [1]], dtype)
    want, errors = shallow.incremental_readout(
      h.astype(jnp.float32), y.astype(jnp.float32)
    )
    got, found = shallow.incremental_readout(h, y)
    np.testing.assert_allclose(got.astype('float32'), want, atol=0.02)
    np.testing.assert_allclose(found.astype('float32'), errors, atol=0.1)
    grown = shallow.stochastic_configuration(KEY, h, y, num_hidden=2)
    self.assertEqual(grown.readout.dtype, jnp.float32)
    self.assertTrue(bool(jnp.isfinite(grown.readout).all()))
    with self.assertRaisesRegex(ValueError, 'h holds NaN'):
      shallow.incremental_readout(h.astype(float) * jnp.nan, y)
    with self.assertRaisesRegex(ValueError, 'x holds NaN'):
      shallow.stochastic_configuration(
        KEY, h.astype(float) * jnp.nan, y, num_hidden=2
      )
    with self.assertRaisesRegex(TypeError, 'scales must be a sequence'):
      shallow.stochastic_configuration(KEY, h, y, num_hidden=2, scales=2.0)

  def test_configuration_is_that_of_numpy(self):
    x = np.linspace(-1, 1, 25)[:, None]
    y = np.concatenate([np.sin(7 * x), np.cos(3 * x)], axis=1)
    scales, tolerances = (0.5, 2.0, 20.0), (0.5, 0.9, 0.99)
    with jax.enable_x64(True):
      grown = shallow.stochastic_configuration(
        KEY,
        jnp.asarray(x),
        jnp.asarray(y),
        num_hidden=7,
        scales=scales,
        num_candidates=4,
        tolerances=tolerances,
      )
      drawn = lambda i: jax.random.uniform(
        jax.random.fold_in(KEY, i), (4, 2), minval=-1.0, maxval=1.0
      )
      drawn = {i: np.asarray(drawn(i)) for i in range(7)}
      h = np.asarray(shallow.hidden_features(jnp.asarray(x), grown.hidden))
    chosen, errors = numpy_scn(x, y, drawn.get, scales, tolerances, 7)
    self.assertEqual([c is not None for c in chosen], grown.accepted.tolist())
    self.assertEqual(
      [c for c in chosen if c], grown.scales[grown.accepted].tolist()
    )
    self.assertGreater(len(set(chosen)), 1)
    np.testing.assert_allclose(grown.errors, errors, rtol=1e-6)
    np.testing.assert_allclose(
      np.sum((h @ np.asarray(grown.readout).T - y) ** 2), errors[-1], rtol=1e-6
    )

  def test_units_that_do_not_help_stay_out(self):
    x = jnp.linspace(-1.0, 1.0, 9)[:, None]
    # Nothing is left to be explained.
    grown = shallow.stochastic_configuration(
      KEY, x, 0 * x, num_hidden=3, num_candidates=2, ridge=1e-3
    )
    self.assertFalse(bool(grown.accepted.any()))
    np.testing.assert_array_equal(grown.readout, 0.0)

  def test_says_what_to_change(self):
    x = jnp.ones((4, 1))
    grow = functools.partial(shallow.stochastic_configuration, KEY, x, x)
    for message, options in (
      ('num_hidden must be at least 1', {'num_hidden': 0}),
      ('num_candidates must be', {'num_candidates': 0}),
      ('scales is empty', {'scales': ()}),
      (r'scales must lie in \(0.0', {'scales': (-1.0,)}),
      ('tolerances must lie', {'tolerances': (1.0,)}),
      ('tolerances must grow', {'tolerances': (0.9, 0.5)}),
      (r'ridge must lie', {'ridge': -1.0}),
    ):
      with self.assertRaisesRegex(ValueError, message):
        grow(**({'num_hidden': 2} | options))
    with self.assertRaisesRegex(ValueError, r'h and y must be \[N, n\]'):
      shallow.incremental_readout(x, x[:2])


class MethodsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.x = np.linspace(-1, 1, 30)[:, None]
    self.y = np.sin(5 * self.x)
    self.test_x = np.linspace(-0.9, 0.9, 11)[:, None]

  def run_method(self, spec, **options):
    setting = {
      'num_hidden': 12,
      'scale': 3.0,
      'activation': 'tanh',
      'dist': 'uniform_box',
      'bias_range': None,
      'ridge': 1e-4,
    }
    with jax.enable_x64(True):
      arrays = map(jnp.asarray, (self.x, self.y, self.test_x))
      return shallow.METHODS.make(spec, KEY, *arrays, **(setting | options))

  def test_rivals_are_settings_of_the_same_net(self):
    found = {
      name: self.run_method(name)
      for name in ('batch', 'elm', 'rvfl', 'fourier')
    }
    with jax.enable_x64(True):
      hidden = shallow.sample_hidden(KEY, 12, 1, scale=3.0)
      h, t = (
        np.asarray(shallow.hidden_features(jnp.asarray(x), hidden))
        for x in (self.x, self.test_x)
      )
    join = lambda h, x: np.concatenate([h, x, np.ones_like(x)], axis=1)
    for name, c, features_of in (
      ('batch', sklearn_ridge(h, self.y, 1e-4), t),
      ('elm', (np.linalg.pinv(h) @ self.y).T, t),
      (
        'rvfl',
        sklearn_ridge(join(h, self.x), self.y, 1e-4),
        join(t, self.test_x),
      ),
    ):
      want = features_of @ np.reshape(c, (1, -1)).T
      np.testing.assert_allclose(found[name].test, want, atol=1e-6)
      np.testing.assert_allclose(found[name].norm, np.linalg.norm(c), rtol=1e-4)
    self.assertGreater(
      np.abs(np.subtract(found['fourier'].test, found['batch'].test)).max(),
      1e-3,
    )

  def test_the_kernel_is_the_limit_of_the_net(self):
    limit = self.run_method('kernel', ridge=1e-2)
    net = self.run_method('batch', ridge=1e-2, num_hidden=6000)
    np.testing.assert_allclose(net.test, limit.test, atol=0.03)
    np.testing.assert_allclose(net.train, limit.train, atol=0.03)
    np.testing.assert_allclose(net.norm, limit.norm, rtol=0.03)
    gaussian = self.run_method('fourier', ridge=1e-2, num_hidden=6000)
    model = sklearn.kernel_ridge.KernelRidge(
      alpha=2e-2, kernel='rbf', gamma=4.5
    ).fit(self.x, self.y)
    want = model.predict(self.test_x)
    np.testing.assert_allclose(gaussian.test, want, atol=0.03)

  def test_what_is_trained_fits_best(self):
    rms = lambda found: np.sqrt(
      np.mean((np.asarray(found.train) - self.y) ** 2)
    )
    trained = rms(self.run_method('mlp(num_steps=3000, learning_rate=0.1)'))
    bound = rms(self.run_method('batch', scale=0.5))
    self.assertLess(trained, 0.05)
    self.assertGreater(bound, 2 * trained)

  def test_facts(self):
    facts = {
      name: networks.features.shallow.METHODS[name].facts
      for name in shallow.METHODS
    }
    self.assertEqual(
      {name for name, f in facts.items() if not f.scaled}, {'scn', 'mlp'}
    )
    self.assertEqual(
      {name for name, f in facts.items() if not f.sized}, {'kernel'}
    )


if __name__ == '__main__':
  absltest.main()
