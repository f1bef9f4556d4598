# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import aggregators, decentralized, mixing
from jaxdl.core import clients, types
from jaxdl.mixing import graphs, variance as variance_lib

N = 8
KEYS = jax.random.split(jax.random.key(3), 64)
every_tensor = lambda path, leaf: True
average = functools.partial(
  variance_lib.variance_corrected_average, correct_fn=every_tensor
)


def _models(n=N, shape=(6, 5), seed=0, mean=0.3):
  rng = np.random.default_rng(seed)
  scale = rng.uniform(0.5, 2.0, size=n)
  x = mean + scale[:, None, None] * rng.normal(size=(n, *shape))
  return x, jnp.asarray(x, jnp.float32)


def _reference(x, weights=None):
  """The corrected average of one tensor in float64."""
  n = len(x)
  weights = np.full(n, 1 / n) if weights is None else weights / weights.sum()
  mean = np.tensordot(weights, x, axes=1)
  target = weights @ x.reshape(n, -1).var(axis=1)
  return (mean - mean.mean()) * np.sqrt(target / mean.var()) + mean.mean()


def _task():
  """Clients pull a matrix towards their batch."""

  def loss(params, batch, *, key=None):
    del key
    gap = params['kernel'] - batch
    return 0.5 * jnp.sum(gap * gap) + 0.5 * jnp.sum(params['bias'] ** 2)

  def init(key):
    kernel, bias = jax.random.split(key)
    return {
      'kernel': jax.random.normal(kernel, (3, 4)),
      'bias': jax.random.normal(bias, (4,)),
    }

  return types.Task(init, loss, lambda params, batch: {})


def _cohort(data, mask=None):
  n = len(data)
  return types.Cohort(
    client_ids=jnp.arange(n),
    data=jnp.asarray(data, jnp.float32),
    mask=jnp.ones((n,), bool) if mask is None else jnp.asarray(mask),
    weights=jnp.full((n,), 1.0 / n),
  )


class AverageTest(parameterized.TestCase):
  def test_by_hand(self):
    root = np.sqrt(2)
    models = jnp.array([[1.0, -1, 1, -1], [1, 1, -1, -1]])
    np.testing.assert_allclose(average(models), [root, 0, 0, -root], rtol=1e-6)
    np.testing.assert_allclose(
      average(models, eps=1e-4),
      np.sqrt(1.0001 / 0.5001) * np.array([1, 0, 0, -1]),
      rtol=1e-6,
    )
    np.testing.assert_allclose(
      average(jnp.array([[2.0, 4], [4, 10]])),
      [5 - np.sqrt(5), 5 + np.sqrt(5)],
      rtol=1e-6,
    )
    half = average(models, strength=0.5)
    np.testing.assert_allclose(half[0], 1 + 0.5 * (root - 1), rtol=1e-6)

  @parameterized.parameters(None, 'weighted')
  def test_equals_float64(self, weights):
    x, models = _models()
    w = np.arange(1.0, N + 1) if weights else None
    got = average(models, weights=None if w is None else jnp.asarray(w))
    np.testing.assert_allclose(got, _reference(x, w), atol=2e-6)
    target = x.reshape(N, -1).var(axis=1)
    target = np.average(target, weights=w)
    np.testing.assert_allclose(np.float64(got).var(), target, rtol=1e-6)
    np.testing.assert_allclose(
      np.float64(got).mean(),
      np.average(x.mean(axis=(1, 2)), weights=w),
      rtol=1e-5,
    )

  def test_symmetries(self):
    _, models = _models()
    base = average(models)
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(average(models[order]), base, atol=1e-6)
    np.testing.assert_allclose(average(3 * models), 3 * base, atol=1e-5)
    np.testing.assert_allclose(average(models + 2), base + 2, atol=1e-5)
    same = jnp.stack([base] * N)
    np.testing.assert_allclose(average(same), base, rtol=1e-6)
    np.testing.assert_array_equal(average(base[None]), base)

  def test_variance_of_a_mean_is_below_the_mean_variance(self):
    for seed in range(20):
      x, models = _models(seed=seed, shape=(3,) * 2)
      plain = np.asarray(mixing.merge(models))
      self.assertLessEqual(plain.var(), x.reshape(N, -1).var(axis=1).mean())

  def test_constant_tensors_stay_and_have_finite_gradients(self):
    models = jnp.ones((3, 4))
    np.testing.assert_array_equal(average(models), jnp.ones(4))
    zeros = jnp.zeros((3, 4))
    np.testing.assert_array_equal(average(zeros), jnp.zeros(4))
    for x in (models, zeros):
      grad = jax.grad(lambda m: jnp.sum(average(m) ** 2))(x)
      self.assertTrue(bool(jnp.all(jnp.isfinite(grad))))
    # The mean is constant although its parts are not.
    opposite = jnp.array([[1.0, -1.0], [-1.0, 1.0]])
    grad = jax.grad(lambda m: jnp.sum(average(m)))(opposite)
    self.assertTrue(bool(jnp.all(jnp.isfinite(grad))))
    np.testing.assert_array_equal(average(opposite), jnp.zeros(2))

  def test_constant_tensors_of_any_value_stay(self):
    # The sum of 0.1 over a thousand entries, over a thousand, is not 0.1.
    x = np.full((4, 1000), np.array([[0.1], [1e-12], [-7e17], [3.3]]), 'f')
    fix = functools.partial(variance_lib.rescale_to_variance, target=1.0)
    np.testing.assert_array_equal(jax.jit(jax.vmap(fix))(x), x)
    noisy = x.copy()
    noisy[:, ::3] = np.nextafter(noisy[:, ::3], np.float32(np.inf))
    got = jax.jit(jax.vmap(fix))(noisy)
    np.testing.assert_allclose(got, x, rtol=2e-7)

  def test_moments_at_any_size(self):
    x = np.random.default_rng(0).normal(size=500) + 3
    moments = jax.jit(jax.vmap(variance_lib.tensor_moments))
    scales = np.array([1e-18, 1.0, 1e18])
    mean, variance = moments(jnp.asarray(scales[:, None] * x, jnp.float32))
    np.testing.assert_allclose(mean, scales * x.mean(), rtol=1e-6)
    np.testing.assert_allclose(variance, scales**2 * x.var(), rtol=1e-5)

  def test_unrelated_models_keep_their_variance(self):
    models = 0.2 * jax.random.normal(KEYS[0], (10, 100_000))
    plain = np.asarray(mixing.merge(models)).var() / 0.04
    corrected = np.asarray(average(models)).var() / 0.04
    np.testing.assert_allclose(plain, 0.1, atol=0.003)
    np.testing.assert_allclose(corrected, 1.0, atol=0.01)

  def test_corrects_kernels_and_only_averages_the_rest(self):
    x, kernel = _models()
    tree = {
      'params': {'kernel': kernel, 'bias': kernel[:, 0]},
      'statistics': {'kernel': kernel},
      'count': jnp.arange(N),
    }
    got = variance_lib.variance_corrected_average(tree)
    np.testing.assert_allclose(
      got['params']['kernel'], _reference(x), atol=2e-6
    )
    plain = x.mean(axis=0)
    np.testing.assert_allclose(got['params']['bias'], plain[0], atol=1e-6)
    np.testing.assert_allclose(got['statistics']['kernel'], plain, atol=1e-6)
    self.assertEqual(int(got['count']), 0)
    got = variance_lib.variance_corrected_average(
      tree, correct_fn=variance_lib.is_tensor
    )
    np.testing.assert_allclose(
      got['params']['bias'], _reference(x[:, 0]), atol=2e-6
    )
    self.assertEqual(
      list(variance_lib.layer_variances(tree)), ['params/kernel']
    )

  def test_moments_of_low_precision_are_taken_in_float32(self):
    models = jnp.asarray(_models(shape=(64, 64))[1], jnp.bfloat16)
    got = average(models)
    self.assertEqual(got.dtype, jnp.bfloat16)
    want = _reference(np.asarray(models, np.float64))
    np.testing.assert_allclose(
      np.asarray(got, np.float64), want, rtol=2**-8, atol=1e-5
    )
    mean, variance = variance_lib.tensor_moments(models[0])
    self.assertEqual((mean.dtype, variance.dtype), (jnp.float32,) * 2)

  def test_running_sums_give_the_same(self):
    x, models = _models()
    total, variance = jnp.zeros(models.shape[1:]), 0.0
    for model in models:
      total = total + model
      variance = variance + variance_lib.tensor_moments(model)[1]
    got = variance_lib.rescale_to_variance(total / N, variance / N)
    np.testing.assert_allclose(got, average(models), atol=1e-6)

  def test_corrects_what_a_robust_rule_returns(self):
    x, models = _models()
    rule = variance_lib.corrected_rule(
      aggregators.median, correct_fn=every_tensor
    )
    got = np.asarray(rule(models), np.float64)
    median = np.median(x, axis=0)
    np.testing.assert_allclose(
      got.var(), x.reshape(N, -1).var(axis=1).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
      np.corrcoef(got.ravel(), median.ravel())[0, 1], 1.0, atol=1e-6
    )
    server = aggregators.stateless(average)
    out, _ = server.apply(models, server.init(models[0]))
    np.testing.assert_allclose(out, average(models), atol=1e-6)

  @parameterized.parameters(
    (lambda: average(jnp.ones((2, 3)), eps=-1.0), 'eps must lie in'),
    (lambda: average(jnp.ones((0, 3))), 'has no clients'),
    (
      lambda: average({'a': jnp.ones((2, 3)), 'b': jnp.ones((3, 3))}),
      r"\['b'\] has 3 clients",
    ),
    (
      lambda: average(jnp.ones((2, 3)), weights=jnp.zeros(2)),
      'weights sum to 0',
    ),
  )
  def test_says_what_is_wrong(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()


class MixerTest(parameterized.TestCase):
  @parameterized.parameters('others', 'self', 'beta')
  def test_targets_are_variances_before_mixing(self, target):
    x, models = _models(4)
    w = np.array(
      [
        [0.5, 0.5, 0, 0],
        [0.25, 0.25, 0.5, 0],
        [0, 0, 1, 0],
        [0.1, 0.2, 0.3, 0.4],
      ]
    )
    mixer = variance_lib.variance_corrected(
      mixing.from_matrix(w), target=target, correct_fn=every_tensor
    )
    got = np.asarray(jax.jit(mixer.apply)(models, 0), np.float64)
    own = x.reshape(4, -1).var(axis=1)
    off = w - np.diag(np.diag(w))
    others = np.array(
      [
        o @ own / o.sum() if o.sum() else v
        for o, v in zip(off, own, strict=True)
      ]
    )
    want = {'others': others, 'self': own, 'beta': w @ own}[target]
    np.testing.assert_allclose(got.var(axis=(1, 2)), want, rtol=1e-5)
    mixed = np.tensordot(w, x, axes=1)
    np.testing.assert_allclose(
      got.mean(axis=(1, 2)), mixed.mean(axis=(1, 2)), atol=1e-6
    )

  def test_full_averaging_is_the_average_on_every_client(self):
    _, models = _models()
    mixer = variance_lib.variance_corrected(
      mixing.make_mixer('complete', N), target='beta', correct_fn=every_tensor
    )
    got = mixer.apply(models, 0)
    want = np.broadcast_to(average(models), got.shape)
    np.testing.assert_allclose(got, want, atol=2e-6)

  @parameterized.parameters('others', 'beta')
  def test_devices_change_nothing(self, target):
    models = {'kernel': _models()[1], 'bias': _models()[1][:, 0]}
    for inner in (
      mixing.make_mixer('ring', N),
      mixing.random_peers(N, 1.0),
    ):
      plain = variance_lib.variance_corrected(inner, target=target)
      sharded = mixing.shard(plain, clients.clients_mesh())
      a = jax.jit(plain.apply)(models, 2, key=KEYS[0])
      b = jax.jit(sharded.apply)(models, jnp.int32(2), key=KEYS[0])
      jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-5), a, b
      )

  def test_ten_thousand_corrections_do_not_drift(self):
    _, models = _models()
    mixer = variance_lib.variance_corrected(
      mixing.make_mixer('ring', N), correct_fn=every_tensor
    )
    start = jnp.broadcast_to(models[:1], models.shape)
    end = jax.jit(
      lambda x: jax.lax.fori_loop(0, 10_000, lambda t, x: mixer.apply(x, t), x)
    )(start)
    ratio = np.float64(end).var(axis=(1, 2)) / np.float64(start).var(
      axis=(1, 2)
    )
    np.testing.assert_allclose(ratio, 1.0, atol=1e-3)

  def test_variance_fades_as_theory_says(self):
    graph = networkx.random_regular_graph(8, 50, seed=0)
    w = 0.5 * np.eye(50) + 0.5 * graphs.adjacency(graph) / 8
    factors = variance_lib.variance_factors(w, 200)
    np.testing.assert_allclose(
      factors[[1, 2, 3, 5, 10]],
      [0.281250, 0.115972, 0.061830, 0.030140, 0.020496],
      atol=1e-6,
    )
    np.testing.assert_allclose(factors[-1], 1 / 50, rtol=1e-6)
    # And so do real models.
    x = jax.random.normal(KEYS[1], (50, 4000))
    mixer = mixing.from_matrix(w)
    for t in (1, 2, 3):
      x = mixer.apply(x, 0)
      np.testing.assert_allclose(
        np.asarray(x).var(axis=1).mean(), factors[t], rtol=0.02
      )
    pair = np.stack([np.full((2, 2), 0.5), np.eye(2)])
    np.testing.assert_allclose(
      variance_lib.variance_factors(pair, 3), [1, 0.5, 0.5, 0.5]
    )

  def test_fixed_targets_and_partial_messages(self):
    _, models = _models()
    tree = {'kernel': models, 'bias': models[:, 0]}
    fixed = variance_lib.variance_corrected(
      mixing.make_mixer('ring', N), target={'kernel': 2.5, 'bias': 0.0}
    ).apply(tree, 0)
    np.testing.assert_allclose(
      np.float64(fixed['kernel']).var(axis=(1, 2)), 2.5, rtol=1e-5
    )
    ring = mixing.make_mixer('ring', N)
    apply = lambda rate: variance_lib.subsampled(ring, rate).apply(
      models, 0, key=KEYS[0]
    )
    np.testing.assert_allclose(apply(1.0), ring.apply(models, 0), atol=1e-6)
    np.testing.assert_allclose(apply(0.0), models, atol=1e-6)
    # Coordinate by coordinate: one third of each sender whose mask is on.
    some, x = np.asarray(apply(0.5)), np.asarray(models)
    left, right = np.roll(x, 1, 0) - x, np.roll(x, -1, 0) - x
    options = [x + (a * left + b * right) / 3 for a in (0, 1) for b in (0, 1)]
    gap = np.min([np.abs(some - o) for o in options], axis=0)
    self.assertLess(gap.max(), 1e-6)
    self.assertGreater(np.abs(some - x).max(), 0.1)

  def test_says_what_is_wrong(self):
    ring = mixing.make_mixer('ring', N)
    with self.assertRaisesRegex(ValueError, "target='mine' is unknown"):
      variance_lib.variance_corrected(ring, target='mine')
    send = mixing.make_mixer('directed_ring(weights=send)', N)
    with self.assertRaisesRegex(ValueError, 'rows that sum to one'):
      variance_lib.variance_corrected(send)
    with self.assertRaisesRegex(ValueError, 'rate must lie in'):
      variance_lib.subsampled(ring, 1.5)


class ProtocolTest(parameterized.TestCase):
  @parameterized.parameters(None, 'others', 'self', 'beta')
  def test_synchronous_ticks_are_corrected_gossip(self, target):
    graph = mixing.make_graph('random_regular(degree=3)', N)
    w = 0.4 * np.eye(N) + 0.6 * graph / 3
    mixer = mixing.from_matrix(w)
    if target is not None:
      mixer = variance_lib.variance_corrected(mixer, target=target)
    common = {'clients': N, 'optimizer': optax.sgd(0.1, momentum=0.9)}
    buffered = decentralized.buffered_gossip(
      _task(), graph, self_weight=0.4, target=target, **common
    )
    direct = decentralized.gossip_sgd(
      _task(), mixer, same_start=False, **common
    )
    a = buffered.init(KEYS[0])
    b = direct.init(KEYS[0])._replace(params=a.params)
    data = _cohort(np.random.default_rng(0).normal(size=(N, 3, 4)))
    steps = [jax.jit(x.step) for x in (buffered, direct)]
    for t in range(3):
      a, metrics = steps[0](a, data, key=KEYS[t])
      b, _ = steps[1](b, data, key=KEYS[t])
      jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=2e-6),
        a.params,
        b.params,
      )
    self.assertEqual(int(metrics['averaged']), N)
    self.assertEqual(float(a.num_messages), 3 * 3 * N)

  @parameterized.parameters(
    {'buffer_size': 3, 'send_every': 2, 'turns': (1, 1), 'target': 'others'},
    {'buffer_size': 2, 'send_every': 1, 'turns': (1, 3), 'target': 'beta'},
  )
  def test_protocol_equals_a_plain_simulation(
    self, buffer_size, send_every, turns, target
  ):
    n, beta, rate = 5, 0.3, 0.2
    graph = graphs.adjacency(networkx.star_graph(n - 1))
    graph[1, 2] = graph[2, 1] = True
    data = np.random.default_rng(1).normal(size=(n, 3, 4))
    algorithm = decentralized.buffered_gossip(
      _task(),
      graph,
      clients=n,
      optimizer=optax.sgd(rate),
      self_weight=beta,
      target=target,
      buffer_size=buffer_size,
      send_every=send_every,
      turn_ticks=turns,
    )
    state = algorithm.init(KEYS[0])
    step = jax.jit(algorithm.step)
    models = [np.asarray(state.params['kernel'][i], float) for i in range(n)]
    biases = [np.asarray(state.params['bias'][i], float) for i in range(n)]
    buffers, trained, sent = [[] for _ in range(n)], [0] * n, 0
    for t in range(9):
      turn = np.asarray(state.next_turn) <= t
      for i in np.flatnonzero(turn):
        models[i] = models[i] - rate * (models[i] - data[i])
        biases[i] = biases[i] * (1 - rate)
        trained[i] += 1
      for i in np.flatnonzero(turn):
        if trained[i] % send_every == 0:
          for j in np.flatnonzero(graph[:, i]):
            buffers[j].append((models[i], biases[i]))
            sent += 1
      before = list(models)
      for i in range(n):
        if len(buffers[i]) < buffer_size:
          continue
        kernels, others = zip(*buffers[i], strict=True)
        mean = beta * before[i] + (1 - beta) * np.mean(kernels, axis=0)
        variance = np.mean([k.var() for k in kernels])
        if target == 'beta':
          variance = beta * before[i].var() + (1 - beta) * variance
        center = mean.mean()
        models[i] = (mean - center) * np.sqrt(variance / mean.var()) + center
        biases[i] = beta * biases[i] + (1 - beta) * np.mean(others, axis=0)
        buffers[i] = []
      state, _ = step(state, _cohort(data), key=KEYS[t])
      np.testing.assert_allclose(state.params['kernel'], models, atol=1e-5)
      np.testing.assert_allclose(state.params['bias'], biases, atol=1e-5)
      np.testing.assert_array_equal(
        state.num_received, [len(b) for b in buffers]
      )
    np.testing.assert_array_equal(state.num_trained, trained)
    self.assertEqual(float(state.num_messages), sent)
    if turns == (1, 1):
      self.assertEqual(trained, [9] * n)
    else:
      self.assertTrue(all(3 <= k <= 9 for k in trained))
      self.assertLess(sum(trained), 9 * n)

  def test_devices_change_nothing_and_absent_clients_are_silent(self):
    graph = graphs.ring(N)
    data = _cohort(
      np.random.default_rng(0).normal(size=(N, 3, 4)), mask=np.arange(N) != 2
    )
    outs = []
    for mesh in (None, clients.clients_mesh()):
      algorithm = decentralized.buffered_gossip(
        _task(),
        graph,
        clients.Clients(N, mesh),
        optimizer=optax.sgd(0.1),
        target='beta',
      )
      state = algorithm.init(KEYS[0])
      state, metrics = jax.jit(algorithm.step)(state, data, key=KEYS[1])
      outs.append(state)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), *outs
    )
    self.assertEqual(int(metrics['messages']), 2 * (N - 1))
    np.testing.assert_array_equal(state.num_received, [0, 1, 0, 1, 0, 0, 0, 0])

  @parameterized.parameters(
    ({'self_weight': 1.5}, 'self_weight must lie in'),
    ({'target': 'own'}, "target='own' is unknown"),
    ({'buffer_size': 0}, 'buffer_size must be at least 1'),
    ({'send_every': 0}, 'send_every must be at least 1'),
    ({'turn_ticks': (3, 2)}, r'turn_ticks\[1\] must be at least 3'),
    ({'clients': 4}, 'graph has 8 clients'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      decentralized.buffered_gossip(
        _task(),
        graphs.ring(N),
        **{'clients': N, 'optimizer': optax.sgd(0.1), **options},
      )


if __name__ == '__main__':
  absltest.main()
