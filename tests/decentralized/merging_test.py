# SPDX-License-Identifier: Apache-2.0
import functools
import itertools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import decentralized, metrics as metrics_lib, mixing, networks
from jaxdl.core import clients, types
from jaxdl.decentralized import merging
from jaxdl.mixing import graphs

N, D = 16, 5
KEYS = jax.random.split(jax.random.key(7), 4096)


def _cohort(data, n):
  return types.Cohort(
    client_ids=jnp.arange(n),
    data=data,
    mask=jnp.ones((n,), bool),
    weights=jnp.full((n,), 1.0 / n),
  )


def _quadratic(seed=0):
  """Clients share a Hessian and differ in their centers."""
  rng = np.random.default_rng(seed)
  root = rng.normal(size=(D, D))
  hessian = root @ root.T / D + np.eye(D)
  centers = 3 * rng.normal(size=(8, D))
  starts = rng.normal(size=(8, D))

  def loss(params, batch, *, key=None):
    del key
    gap = params - batch
    return 0.5 * gap @ jnp.asarray(hessian, jnp.float32) @ gap

  task = types.Task(
    lambda key: jax.random.normal(key, (D,)), loss, lambda params, batch: {}
  )
  return task, hessian, centers, starts


def _classification():
  network = networks.logistic_regression(3)
  example = jax.ShapeDtypeStruct((1, 4), jnp.float32)
  task = networks.classification(network, example, num_classes=3)
  rng = np.random.default_rng(0)
  batch = {
    'inputs': jnp.asarray(rng.normal(size=(8, 2, 6, 4)), jnp.float32),
    'labels': jnp.asarray(rng.integers(0, 3, size=(8, 2, 6))),
  }
  return task, batch


class ScheduleTest(parameterized.TestCase):
  @parameterized.parameters(
    ('truncate(point=0.99)', 98999, 0.2),
    ('truncate(point=0.99)', 99000, 15.0),
    ('linear(start=1)', 0, 1.0),
    ('fixed(3.5)', 0, 3.5),
    ('linear', 0, 0.2),
    ('linear', 50000, 7.6),
    ('cosine', 50000, 7.6),
    ('cosine', 0, 0.2),
    ('slow_decrease', 10000, 15 + (0.2 - 15) * np.exp(-1)),
    ('fixed', 99999, 0.2),
  )
  def test_takes_its_values(self, name, at, want):
    rate = mixing.communication_schedule(name, 100_000, start=0.2, end=15.0)
    np.testing.assert_allclose(rate(at), want, rtol=1e-5)
    np.testing.assert_allclose(rate(jnp.int32(at)), want, rtol=1e-5)

  def test_ends_are_met_exactly(self):
    # A rate of N - 1 is the exact average; a digit less is not.
    for n, low in itertools.product((2, 4, 8, 16, 100), (0.1, 0.2, 0.3, 0.7)):
      for name in ('linear', 'cosine', 'slow_decrease'):
        make = functools.partial(mixing.communication_schedule, name, 10)
        self.assertEqual(make(start=n - 1.0, end=low)(0), n - 1)
        if name != 'slow_decrease':
          self.assertEqual(make(start=low, end=n - 1.0)(10), n - 1)

  @parameterized.parameters((60, 0.1), (300, 0.1), (300, 1 / 15), (40, 0.05))
  def test_windows_tile_the_rounds_without_overlap(self, total, width):
    rounds = np.arange(total + 1)
    covered = np.zeros(total + 1)
    for k in range(round(1 / width)):
      rate = mixing.communication_schedule(
        f'window(0, 1, point={k * width}, width={width})', total
      )
      inside = np.asarray(rate(rounds))
      self.assertEqual(inside.sum(), round(total * width))
      covered += inside
    # Unlike the official code, nothing is dense after the last round.
    np.testing.assert_array_equal(covered, rounds < total)

  @parameterized.parameters(
    ('window', {'start': -0.1}, 'counts neighbors besides yourself.*-0.1'),
    ('window(nan)', {}, 'counts neighbors'),
    ('window(0.2, point=1.5)', {}, r'point must lie in \[0.0, 1.0\]'),
    ('window(0.2, width=0.0)', {}, 'width must lie in'),
    ('window', {}, "needs the option 'start'"),
    ('linear(width=0.1)', {'start': 0.2}, "linear has no option 'width'"),
  )
  def test_says_what_is_wrong(self, spec, options, message):
    with self.assertRaisesRegex(ValueError, message):
      mixing.communication_schedule(spec, 10, **options)


class RandomMixerTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 0.2, 1.0, 2.4, 7.0)
  def test_pull_draws_floor_or_one_more(self, rate):
    mixer = mixing.random_peers(N, rate)
    w = np.asarray(jax.vmap(lambda k: mixer.matrix(0, key=k))(KEYS[:256]))
    np.testing.assert_allclose(w.sum(axis=2), 1.0, atol=1e-6)
    self.assertTrue((w[:, np.arange(N), np.arange(N)] > 0).all())
    count = (w > 0).sum(axis=2) - 1
    self.assertContainsSubset(np.unique(count), {int(rate), int(np.ceil(rate))})
    # Mean of 256 * 16 Bernoulli draws, 5 standard deviations.
    part = rate - int(rate)
    bound = 5 * np.sqrt(part * (1 - part) / count.size)
    self.assertLessEqual(abs(count.mean() - rate), bound)
    share = np.broadcast_to(1 / (1 + count)[..., None], w.shape)
    np.testing.assert_allclose(w[w > 0], share[w > 0], rtol=1e-6)

  def test_nobody_and_everybody(self):
    x = jax.random.normal(KEYS[0], (N, 3))
    none = mixing.random_peers(N, 0.0).apply(x, 0, key=KEYS[1])
    np.testing.assert_array_equal(none, x)
    for rate in (N - 1, 1000.0):
      for make in (mixing.random_peers, mixing.random_pairs):
        out = make(N, rate).apply(x, 0, key=KEYS[1])
        self.assertLess(metrics_lib.consensus_distance(out), 1e-13)
    # By drawing all others one by one as well.
    graph = graphs.complete(N)
    out = mixing.random_peers(N, N - 1, graph=graph).apply(x, 0, key=KEYS[1])
    np.testing.assert_allclose(out, np.tile(x.mean(0), (N, 1)), atol=1e-6)

  @parameterized.product(
    make=[mixing.random_peers, mixing.random_pairs],
    rate=[0.2, 1.0],
  )
  def test_contraction_is_that_of_theory(self, make, rate):
    mixer = make(N, rate)
    x = np.random.default_rng(0).normal(size=(N, 3))
    x = jnp.asarray(x - x.mean(axis=0), jnp.float32)

    @jax.jit
    def shrink(keys):
      out = jax.vmap(lambda k: mixer.apply(x, 0, key=k))(keys)
      factor = jnp.sum(out**2, axis=(1, 2)) / jnp.sum(x**2)
      return factor, jnp.mean(out, axis=1)

    factor, mean = map(np.asarray, shrink(KEYS))
    error = factor.std() / np.sqrt(len(KEYS))
    want = 1 - rate * N / (2 * (N - 1))
    self.assertLess(abs(factor.mean() - want), 4 * error)
    if make is mixing.random_pairs:
      np.testing.assert_allclose(mean, 0.0, atol=1e-6)
    else:
      self.assertGreater(np.abs(mean).max(), 0.01)
      spread = mean.std(axis=0) / np.sqrt(len(KEYS))
      self.assertTrue((np.abs(mean.mean(axis=0)) < 4 * spread).all())

  def test_draws_from_the_neighbors_of_a_graph_only(self):
    graph = networkx.star_graph(4)
    mixer = mixing.random_peers(5, 2.0, graph=graph)
    w = np.asarray(jax.vmap(lambda k: mixer.matrix(0, key=k))(KEYS[:64]))
    allowed = graphs.adjacency(graph) | np.eye(5, dtype=bool)
    self.assertTrue((w[:, ~allowed] == 0).all())
    # Leaves have one neighbor only and take it; the hub draws two.
    np.testing.assert_array_equal(w[:, 1:, 0], 0.5)
    np.testing.assert_array_equal((w[:, 0] > 0).sum(axis=1), 3)

  def test_number_of_messages_is_that_expected(self):
    mixer = mixing.random_peers(N, 0.2)
    sent = jax.jit(
      lambda key: jnp.sum(
        jax.vmap(lambda t: mixing.num_messages(mixer.matrix(t, key=key)))(
          jnp.arange(300)
        )
      )
    )(KEYS[5])
    deviation = np.sqrt(N * 300 * 0.2 * 0.8)
    self.assertLess(abs(int(sent) - 960), 4 * deviation)

  @parameterized.parameters(mixing.random_peers, mixing.random_pairs)
  def test_a_scheduled_rate_is_traced_once_and_applies_its_matrix(self, make):
    rate = mixing.communication_schedule(
      'window(point=0.3, width=0.2)', 10, start=0.5, end=N - 1.0
    )
    bound = {'max_peers': 1} if make is mixing.random_peers else {}
    mixer = mixing.scheduled(functools.partial(make, N, **bound), rate)
    x = jax.random.normal(KEYS[0], (N, 3))
    both = jax.jit(
      lambda t: (mixer.apply(x, t, key=KEYS[3]), mixer.matrix(t, key=KEYS[3]))
    )
    for t in range(10):
      out, w = map(np.asarray, both(t))
      np.testing.assert_allclose(out, w @ np.asarray(x), atol=1e-6)
      dense = np.allclose(w, 1 / N, atol=1e-6)
      self.assertEqual(dense, t in (3, 4))
      if not dense:
        self.assertLessEqual((w > 0).sum(axis=1).max(), 2)
    self.assertEqual(both._cache_size(), 1)

  def test_a_mesh_changes_nothing(self):
    mesh = clients.clients_mesh()
    rate = mixing.communication_schedule(
      'truncate(point=0.5)', 2, start=0.8, end=N - 1.0
    )
    make = functools.partial(mixing.random_peers, N, max_peers=1)
    plain = mixing.scheduled(make, rate)
    sharded = jax.jit(mixing.shard(plain, mesh).apply)
    x = jax.random.normal(KEYS[0], (N, 3))
    for t in range(2):
      np.testing.assert_allclose(
        sharded(x, jnp.int32(t), key=KEYS[2]),
        plain.apply(x, t, key=KEYS[2]),
        atol=1e-6,
      )

  @parameterized.parameters(
    (lambda: mixing.random_peers(4, -1.0), 'besides yourself.*-1.0'),
    (lambda: mixing.random_peers(0, 1.0), 'num_clients'),
    (
      lambda: mixing.random_peers(4, 1.0, graph=graphs.ring(5)),
      'graph has 5 clients but num_clients=4',
    ),
  )
  def test_says_what_is_wrong(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()


class MergeTest(parameterized.TestCase):
  def test_is_the_mean_whatever_the_order(self):
    tree = {'a': jax.random.normal(KEYS[0], (N, 3)), 'b': jnp.arange(16.0)}
    merged = mixing.merge(tree)
    np.testing.assert_allclose(
      merged['a'], np.asarray(tree['a'], np.float64).mean(axis=0), atol=1e-6
    )
    order = np.random.default_rng(0).permutation(N)
    again = mixing.merge(jax.tree.map(lambda x: x[order], tree))
    np.testing.assert_allclose(again['a'], merged['a'], atol=1e-6)
    copies = jax.tree.map(lambda x: jnp.stack([x] * N), merged)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-6),
      mixing.merge(copies),
      merged,
    )

  def test_weights_pick_and_need_not_sum_to_one(self):
    x = jnp.array([[1.0, 2.0], [3.0, 6.0]])
    first = mixing.merge(x, jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(first, x[0])
    np.testing.assert_allclose(
      mixing.merge(x, jnp.array([1.0, 3.0])), [2.5, 5.0]
    )

  def test_low_precision_is_summed_in_float32_and_counters_are_kept(self):
    # Adding ones to 256 one by one in bfloat16 would leave 256.
    x = jnp.array([[256.0]] + [[1.0]] * 255, jnp.bfloat16)
    merged = mixing.merge({'x': x, 'step': jnp.arange(256)})
    self.assertEqual(merged['x'].dtype, jnp.bfloat16)
    np.testing.assert_allclose(np.float32(merged['x']), 511 / 256, rtol=1 / 256)
    self.assertEqual(int(merged['step']), 0)

  @parameterized.parameters(0, 1, 5)
  def test_gossip_merge_is_a_power_of_the_matrix(self, steps):
    x = np.random.default_rng(1).normal(size=(6, 3))
    w = np.eye(6) / 4
    for hop in (1, 2, 4):
      w += np.roll(np.eye(6), hop, axis=1) / 4
    got = merging.merge_by_gossip(jnp.asarray(x, jnp.float32), steps)
    want = np.linalg.matrix_power(w, steps) @ x
    np.testing.assert_allclose(got, want, atol=1e-6)

  def test_models_are_stacked_or_the_odd_leaf_is_named(self):
    model = {'w': jnp.ones(2), 'b': jnp.zeros(())}
    stacked = merging.stack_models([model, model])
    self.assertEqual(stacked['w'].shape, (2, 2))
    with self.assertRaisesRegex(ValueError, 'at least one model'):
      merging.stack_models([])
    with self.assertRaisesRegex(ValueError, r"models\[1\] has a leaf \['c'\]"):
      merging.stack_models([model, {**model, 'c': jnp.ones(1)}])
    with self.assertRaisesRegex(ValueError, r"models\[1\]\['w'\] has shape"):
      merging.stack_models([model, {**model, 'w': jnp.ones(3)}])

  @parameterized.parameters(
    ([1.0, -1.0], r'weights\[1\] must be finite and not negative; got -1'),
    ([0.0, 0.0], 'weights sum to 0'),
    ([1.0], r'weights must have shape \[2\]'),
  )
  def test_says_what_is_wrong_with_weights(self, weights, message):
    with self.assertRaisesRegex(ValueError, message):
      mixing.merge(jnp.ones((2, 3)), jnp.array(weights))


class MeasureTest(parameterized.TestCase):
  def test_convex_losses_are_always_mergeable(self):
    task, batch = _classification()
    one = jax.tree.map(lambda x: x[0, 0], batch)
    models = jax.vmap(task.init)(KEYS[:8])
    models = jax.tree.map(lambda x: 4 * x, models)
    weights = jnp.arange(1.0, 9.0)
    loss = lambda p: task.loss(p, one)
    found = merging.mergeability(loss, models, weights)
    self.assertGreater(found.gap, 0.01)
    losses = [
      float(loss(jax.tree.map(lambda x, k=k: x[k], models))) for k in range(8)
    ]
    want = np.average(losses, weights=np.arange(1, 9))
    np.testing.assert_allclose(found.mean_loss, want, rtol=1e-5)
    same = jax.tree.map(lambda x: jnp.stack([x[0]] * 8), models)
    again = merging.mergeability(loss, same, weights)
    np.testing.assert_allclose(again.gap, 0.0, atol=1e-5)

  def test_quartic_expansion_is_exact(self):
    center, delta = 1.3, 0.4
    agents = jnp.array([center - delta, center + delta])
    found = merging.sharpness_alignment(lambda x: x**4 / 4, agents)
    np.testing.assert_allclose(found.consensus, delta**2, rtol=1e-5)
    np.testing.assert_allclose(found.gradient_norm, center**3, rtol=1e-5)
    np.testing.assert_allclose(
      found.sharpness, 3 * center**2 * delta**2, rtol=1e-5
    )
    # The mean of the agents' gradients, from first principles.
    mean = np.mean([(center - delta) ** 3, (center + delta) ** 3])
    np.testing.assert_allclose(mean, center**3 + 3 * center * delta**2)
    bend = found.alignment / found.gradient_norm
    np.testing.assert_allclose(
      found.gradient_norm + 0.5 * bend, mean, rtol=1e-5
    )

  def test_alignment_equals_finite_differences_of_the_trace(self):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 3)), rng.normal(size=3)

    def loss(p):
      return jnp.sum(jnp.sin(jnp.asarray(a, jnp.float32) @ p)) + jnp.dot(
        jnp.asarray(b, jnp.float32), p**3
      )

    def gradient(p):
      return a.T @ np.cos(a @ p) + 3 * b * p**2

    def hessian(p):
      return -(a.T * np.sin(a @ p)) @ a + np.diag(6 * b * p)

    models = rng.normal(size=(5, 3))
    mean = models.mean(axis=0)
    gamma = (models - mean).T @ (models - mean) / 5
    trace = lambda p: np.trace(hessian(p) @ gamma)
    eps = 1e-5 * np.eye(3)
    slope = [(trace(mean + e) - trace(mean - e)) / 2e-5 for e in eps]
    found = merging.sharpness_alignment(loss, jnp.asarray(models, jnp.float32))
    np.testing.assert_allclose(found.sharpness, trace(mean), rtol=1e-4)
    np.testing.assert_allclose(
      found.alignment, gradient(mean) @ slope, rtol=1e-3
    )


class TrainingTest(parameterized.TestCase):
  def _merged(self, mixer, rounds=4, rate=0.1):
    """Averages after each round, and those of gradient descent."""
    task, hessian, centers, _ = _quadratic()
    algorithm = decentralized.local_then_gossip(
      task, mixer, clients=8, optimizer=optax.sgd(rate)
    )
    steps = 2
    cohort = _cohort(
      jnp.asarray(np.repeat(centers[:, None], steps, axis=1), jnp.float32), 8
    )
    state = algorithm.init(KEYS[0])
    x = np.asarray(state.params, np.float64).mean(axis=0)
    step = jax.jit(algorithm.step)
    got, want = [], []
    for t in range(rounds):
      state, _ = step(state, cohort, key=KEYS[t])
      got.append(np.asarray(state.params).mean(axis=0))
      for _ in range(steps):
        x = x - rate * hessian @ (x - centers.mean(axis=0))
      want.append(x)
    return np.array(got), np.array(want)

  @parameterized.parameters('alone', 'ring', 'pairs')
  def test_with_one_hessian_the_average_descends_as_if_alone(self, name):
    mixer = (
      mixing.random_pairs(8, 0.7)
      if name == 'pairs'
      else mixing.make_mixer(name, 8)
    )
    got, want = self._merged(mixer)
    np.testing.assert_allclose(got, want, atol=2e-5)

  def test_pull_gossip_moves_the_average(self):
    got, want = self._merged(mixing.random_peers(8, 1.0))
    self.assertGreater(np.abs(got - want).max(), 0.01)

  def test_full_averaging_is_one_step_on_the_union(self):
    task, batch = _classification()
    first = jax.tree.map(lambda x: x[:, :1], batch)
    algorithm = decentralized.local_then_gossip(
      task,
      mixing.make_mixer('complete', 8),
      clients=8,
      optimizer=optax.sgd(0.3),
      same_start=True,
    )
    state = algorithm.init(KEYS[0])
    start = jax.tree.map(lambda x: x[0], state.params)
    state, metrics = algorithm.step(state, _cohort(first, 8), key=KEYS[1])
    union = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), first)
    loss, grads = jax.value_and_grad(task.loss)(start, union)
    want = jax.tree.map(lambda p, g: p - 0.3 * g, start, grads)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(
        x, np.broadcast_to(y, x.shape), atol=1e-6
      ),
      state.params,
      want,
    )
    np.testing.assert_allclose(metrics['loss'], loss, rtol=1e-5)
    self.assertEqual(int(metrics['messages']), 56)

  def test_one_client_trains_as_usual_and_keeps_its_momentum(self):
    task, batch = _classification()
    one = jax.tree.map(lambda x: x[:1], batch)
    optimizer = optax.sgd(0.1, momentum=0.9)
    algorithm = decentralized.local_then_gossip(
      task,
      mixing.random_peers(1, 0.2),
      clients=1,
      optimizer=optimizer,
    )
    state = algorithm.init(KEYS[0])
    params = jax.tree.map(lambda x: x[0], state.params)
    momentum = optimizer.init(params)
    for t in range(2):
      state, metrics = algorithm.step(state, _cohort(one, 1), key=KEYS[t])
      for h in range(2):
        grads = jax.grad(task.loss)(
          params, jax.tree.map(lambda x, h=h: x[0, h], one)
        )
        updates, momentum = optimizer.update(grads, momentum)
        params = optax.apply_updates(params, updates)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x[0], y, atol=1e-6),
      state.params,
      params,
    )
    self.assertEqual(float(metrics['consensus']), 0.0)

  def test_devices_change_nothing_and_masked_clients_do_not_train(self):
    task, batch = _classification()
    cohort = _cohort(batch, 8).replace(mask=jnp.arange(8) != 3)
    outs = []
    for mesh in (None, clients.clients_mesh()):
      algorithm = decentralized.local_then_gossip(
        task,
        mixing.random_pairs(8, 1.0),
        clients.Clients(8, mesh),
        optimizer=optax.sgd(0.1, momentum=0.9),
      )
      state = algorithm.init(KEYS[0])
      state, _ = jax.jit(algorithm.step)(state, cohort, key=KEYS[1])
      outs.append(state)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), *outs
    )
    trace = jax.tree.leaves(outs[0].opt_state)[0]
    self.assertEqual(float(jnp.abs(trace[3]).max()), 0.0)
    self.assertGreater(float(jnp.abs(trace[2]).max()), 0.0)


class LandscapeTest(parameterized.TestCase):
  @parameterized.parameters(3, 5, 16)
  def test_coordinates_reproduce_points_and_corners(self, n):
    points = merging.polygon_grid(n, 9)
    weights = merging.wachspress_weights(points, n)
    self.assertTrue((weights >= 0).all())
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(weights[:n], np.eye(n), atol=1e-12)
    np.testing.assert_allclose(weights[n], 1 / n, rtol=1e-9)
    np.testing.assert_allclose(weights @ merging.polygon(n), points, atol=1e-9)
    middle = merging.polygon(n)[:2].mean(axis=0, keepdims=True)
    on_edge = merging.wachspress_weights(middle, n)[0]
    np.testing.assert_allclose(on_edge[:2], 0.5, atol=1e-9)
    np.testing.assert_allclose(on_edge[2:], 0.0, atol=1e-9)

  def test_evaluates_convex_combinations(self):
    models = np.random.default_rng(0).normal(size=(3, 4))
    weights = merging.wachspress_weights(merging.polygon_grid(3, 4), 3)
    got = merging.landscape(
      lambda x: {'sum': jnp.sum(x**3)},
      jnp.asarray(models, jnp.float32),
      weights,
    )
    want = ((weights @ models) ** 3).sum(axis=1)
    np.testing.assert_allclose(got['sum'], want, atol=1e-5)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'num_vertices must be at least 3'):
      merging.polygon(2)
    with self.assertRaisesRegex(ValueError, r'points\[1\].*outside'):
      merging.wachspress_weights(np.array([[0.0, 0], [1, 1]]), 4)
    with self.assertRaisesRegex(
      ValueError, r'weights must have shape \[G, N\]'
    ):
      merging.landscape(jnp.sum, jnp.ones((3, 2)), np.ones((4, 2)))


if __name__ == '__main__':
  absltest.main()
