# SPDX-License-Identifier: Apache-2.0
import functools
import re

import chex
import jax
import jax.numpy as jnp
import networkx
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import aggregators, attacks, decentralized, mixing
from jaxdl.core import clients, types
from jaxdl.decentralized.gossip import (
  _push_sum,
  _sgd as gossip,
  _tracking as tracking,
  _variants as variants,
)
from jaxdl.mixing import graphs, spectra

N, D, ETA = 8, 5, 0.1


def _problem(seed=0):
  rng = np.random.default_rng(seed)
  a = rng.uniform(0.5, 2.0, size=(N, D))
  b = 3 * rng.normal(size=(N, D))
  return a, b, (a * b).sum(axis=0) / a.sum(axis=0)


A, B, BEST = _problem()
RING = mixing.metropolis(graphs.ring(N))
LAZY = mixing.lazy(RING)


def _loss(params, batch, *, key=None):
  del key
  gap = params['x'] - batch['b']
  return 0.5 * jnp.sum(batch['a'] * gap * gap)


def _task(dtype=None):
  return types.Task(
    lambda key: {'x': jnp.zeros((D,), dtype)},
    _loss,
    lambda params, batch: {'loss': _loss(params, batch)},
  )


def _cohort(n=N, mask=None):
  return types.Cohort(
    client_ids=jnp.arange(n),
    data={'a': jnp.asarray(A[:n]), 'b': jnp.asarray(B[:n])},
    mask=jnp.ones(n, bool) if mask is None else jnp.asarray(mask),
    weights=jnp.full((n,), 1.0 / n),
  )


def _run(algorithm, rounds, cohort=None, seed=0):
  """All models [rounds, N, D] after each round, and the metrics."""
  cohort = _cohort() if cohort is None else cohort

  def body(state, key):
    state, metrics = algorithm.step(state, cohort, key=key)
    return state, (algorithm.params(state)['x'], metrics)

  @jax.jit
  def train(key):
    state = algorithm.init(key)
    return jax.lax.scan(body, state, jax.random.split(key, rounds))

  state, (models, metrics) = train(jax.random.key(seed))
  return np.asarray(models, np.float64), metrics, state


def _grad(x):
  return A * (x - B)


def _mean_error(x):
  return np.linalg.norm(x.mean(axis=0) - BEST)


def _spread(x):
  return np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean())


# Float64 references, straight from the recursions.


def _dpsgd(w, rounds, order='adapt_then_combine', eta=ETA):
  x, out = np.zeros((N, D)), []
  for _ in range(rounds):
    if order == 'adapt_then_combine':
      x = w @ (x - eta * _grad(x))
    else:
      x = w @ x - eta * _grad(x)
    out.append(x)
  return np.stack(out)


def _d_squared(w, rounds):
  x0 = np.zeros((N, D))
  out = [w @ (x0 - ETA * _grad(x0))]
  old, x = x0, out[0]
  for _ in range(rounds - 1):
    new = w @ (2 * x - old - ETA * (_grad(x) - _grad(old)))
    old, x = x, new
    out.append(x)
  return np.stack(out)


def _extra(w, rounds):
  x0 = np.zeros((N, D))
  out = [w @ x0 - ETA * _grad(x0)]
  old, x, eye = x0, out[0], np.eye(N)
  for _ in range(rounds - 1):
    new = (eye + w) @ x - (eye + w) @ old / 2 - ETA * (_grad(x) - _grad(old))
    old, x = x, new
    out.append(x)
  return np.stack(out)


def _dsgt(w, rounds, order):
  x, out = np.zeros((N, D)), []
  y = _grad(x)
  for _ in range(rounds):
    if order == 'adapt_then_combine':
      new = w @ (x - ETA * y)
      y = w @ (y + _grad(new) - _grad(x))
    else:
      new = w @ x - ETA * y
      y = w @ y + _grad(new) - _grad(x)
    x = new
    out.append(x)
  return np.stack(out)


def _qg(w, rounds, beta, mu, nesterov, eta=ETA):
  x, m, out = np.zeros((N, D)), np.zeros((N, D)), []
  for _ in range(rounds):
    g = _grad(x)
    d = beta * m + g
    new = w @ (x - eta * (g + beta * d if nesterov else d))
    m = mu * m + (1 - mu) * (x - new) / eta
    x = new
    out.append(x)
  return np.stack(out)


def _sgp(p, rounds):
  x, mass, out = np.zeros((N, D)), np.ones(N), []
  for _ in range(rounds):
    x = p @ (x - ETA * _grad(x / mass[:, None]))
    mass = p @ mass
    out.append(x / mass[:, None])
  return np.stack(out)


def _make(name, w, **kwargs):
  shared = {'clients': N, **kwargs}
  if name == 'quasi_global':
    shared.setdefault('learning_rate', ETA)
    return gossip.quasi_global_momentum(
      _task(), mixing.from_matrix(w), **shared
    )
  fn = {
    'gossip_sgd': gossip.gossip_sgd,
    'choco_sgd': gossip.choco_sgd,
    'd_squared': tracking.d_squared,
    'extra': tracking.extra,
    'gradient_tracking': tracking.gradient_tracking,
    'push_sum': _push_sum.push_sum,
  }[name]
  shared.setdefault('optimizer', optax.sgd(ETA))
  if name == 'd_squared':
    shared.setdefault('allow_unstable', True)
  return fn(_task(), mixing.from_matrix(w), **shared)


_ALL = (
  'gossip_sgd',
  'choco_sgd',
  'd_squared',
  'extra',
  'gradient_tracking',
  'push_sum',
)


class RecursionTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('atc', 'gossip_sgd', {}, _dpsgd(RING, 30)),
    (
      'cta',
      'gossip_sgd',
      dict(order='combine_then_adapt'),
      _dpsgd(RING, 30, 'combine_then_adapt'),
    ),
    ('choco', 'choco_sgd', {}, _dpsgd(RING, 30)),
    ('d2', 'd_squared', {}, _d_squared(RING, 30)),
    ('extra', 'extra', {}, _extra(RING, 30)),
    (
      'dsgt_atc',
      'gradient_tracking',
      {},
      _dsgt(RING, 30, 'adapt_then_combine'),
    ),
    (
      'dsgt_cta',
      'gradient_tracking',
      dict(order='combine_then_adapt'),
      _dsgt(RING, 30, 'combine_then_adapt'),
    ),
    ('qg', 'quasi_global', {}, _qg(RING, 30, 0.9, 0.9, True)),
    (
      'qg_plain',
      'quasi_global',
      dict(nesterov=False, momentum=0.8, tracking=0.7),
      _qg(RING, 30, 0.8, 0.7, False),
    ),
    (
      'qg_zero',
      'quasi_global',
      dict(momentum=0.0, nesterov=False),
      _dpsgd(RING, 30),
    ),
    ('sgp_double', 'push_sum', {}, _dpsgd(RING, 30)),
  )
  def test_equals_the_reference(self, name, kwargs, want):
    models, metrics, _ = _run(_make(name, RING, **kwargs), 30)
    np.testing.assert_allclose(models, want, atol=2e-5)
    np.testing.assert_allclose(
      metrics['consensus'], [_spread(x) ** 2 for x in want], atol=1e-4
    )
    start = 0.5 * (A * B * B).sum(axis=1).mean()
    np.testing.assert_allclose(metrics['loss'][0], start, rtol=1e-5)

  def test_push_sum_on_a_directed_graph(self):
    graph = graphs.random_digraph(N, 2, np.random.default_rng(0))
    p = mixing.send_weights(graph)
    algorithm = _push_sum.push_sum(
      _task(),
      mixing.from_matrix(p, stochastic='column'),
      clients=N,
      optimizer=optax.sgd(ETA),
    )
    models, metrics, state = _run(algorithm, 40)
    np.testing.assert_allclose(models, _sgp(p, 40), atol=2e-5)
    np.testing.assert_allclose(jnp.sum(state.mass), N, rtol=1e-6)
    self.assertGreater(float(metrics['smallest_mass'].min()), 0)
    # Without the mass the clients would agree on the wrong point.
    small = _push_sum.push_sum(
      _task(),
      mixing.from_matrix(p, stochastic='column'),
      clients=N,
      optimizer=optax.sgd(0.01),
    )
    models, _, _ = _run(small, 1500)
    self.assertLess(_mean_error(models[-1]), 0.2)


class FixedPointTest(parameterized.TestCase):
  @parameterized.parameters(
    ('d_squared', {}),
    ('extra', {}),
    ('gradient_tracking', {}),
    ('gradient_tracking', dict(order='combine_then_adapt')),
  )
  def test_exact_methods_reach_the_optimum(self, name, kwargs):
    with jax.enable_x64(True):
      # The lazy ring keeps D² inside its region; plain is at its border.
      algorithm = _make(name, LAZY, **kwargs)
      models, _, _ = _run(algorithm, 700)
    np.testing.assert_allclose(
      models[-1], np.broadcast_to(BEST, (N, D)), atol=1e-11
    )

  def test_gossip_sgd_stalls_in_proportion_to_its_step(self):
    errors, spreads = [], []
    for eta in (0.1, 0.05, 0.025):
      models, _, _ = _run(
        _make('gossip_sgd', RING, optimizer=optax.sgd(eta)), 1500
      )
      errors.append(_mean_error(models[-1]))
      spreads.append(_spread(models[-1]))
    self.assertGreater(errors[0], 0.02)
    for values in (errors, spreads):
      ratios = np.array(values[:-1]) / values[1:]
      self.assertTrue(((ratios > 1.4) & (ratios < 2.4)).all(), msg=f'{values}')

  def test_tracker_keeps_the_mean_gradient(self):
    algorithm = _make('gradient_tracking', RING)
    state, cohort = algorithm.init(jax.random.key(0)), _cohort()
    step = jax.jit(algorithm.step)
    for t in range(6):
      state, _ = step(state, cohort, key=jax.random.key(t))
      np.testing.assert_allclose(
        state.tracker['x'].mean(0), state.grads['x'].mean(0), atol=2e-6
      )

  def test_gradient_tracking_survives_time_varying_links(self):
    with jax.enable_x64(True):
      algorithm = tracking.gradient_tracking(
        _task(),
        mixing.make_mixer('random_matching', N),
        clients=N,
        optimizer=optax.sgd(0.05),
      )
      models, _, _ = _run(algorithm, 1500)
    np.testing.assert_allclose(
      models[-1], np.broadcast_to(BEST, (N, D)), atol=1e-6
    )

  def test_d_squared_diverges_below_its_bound(self):
    w = np.eye(N) - 0.45 * (2 * np.eye(N) - graphs.ring(N))
    self.assertAlmostEqual(spectra.smallest_eigenvalue(w), -0.8, delta=1e-12)
    mixer = mixing.from_matrix(w)
    make = functools.partial(
      tracking.d_squared, _task(), mixer, N, optimizer=optax.sgd(ETA)
    )
    with self.assertRaisesRegex(ValueError, 'is -0.8000, D² needs .* -1/3. Us'):
      make()
    with self.assertLogs(level='WARNING') as logs:
      algorithm = make(allow_unstable=True)
    self.assertIn('-0.8000', logs.output[0])
    self.assertIn('lazy', logs.output[0])
    models, _, _ = _run(algorithm, 60)
    self.assertGreater(np.abs(models[-1]).max(), 1e3)

  def test_quasi_global_momentum_reduces_the_bias_of_local_momentum(self):
    eta = 0.02
    heavy, _, _ = _run(
      _make('gossip_sgd', RING, optimizer=optax.sgd(eta, momentum=0.9)), 1500
    )
    quasi, _, _ = _run(
      _make('quasi_global', RING, learning_rate=eta, nesterov=False), 1500
    )
    self.assertLess(_mean_error(quasi[-1]), 0.5 * _mean_error(heavy[-1]))
    self.assertLess(_spread(quasi[-1]), 0.5 * _spread(heavy[-1]))


class ExtremesTest(parameterized.TestCase):
  @parameterized.parameters(
    *(name for name in _ALL if name != 'extra'), 'quasi_global'
  )
  def test_full_averaging_is_centralised_sgd(self, name):
    kwargs = {}
    if name == 'quasi_global':
      kwargs = dict(momentum=0.0, nesterov=False)
    models, _, _ = _run(_make(name, np.full((N, N), 1 / N), **kwargs), 20)
    x, want = np.zeros(D), []
    for _ in range(20):
      x = x - ETA * _grad(np.broadcast_to(x, (N, D))).mean(axis=0)
      want.append(x)
    np.testing.assert_allclose(
      models, np.broadcast_to(np.stack(want)[:, None], models.shape), atol=1e-5
    )

  def test_full_averaging_with_extra_only_agrees_in_the_mean(self):
    # Clients add their own gradient after averaging, so their models differ;
    # the mean follows centralised SGD where curvatures are equal.
    cohort = _cohort()
    cohort = cohort.replace(data={**cohort.data, 'a': jnp.ones((N, D))})
    models, _, _ = _run(_make('extra', np.full((N, N), 1 / N)), 20, cohort)
    want = B.mean(axis=0) * (1 - (1 - ETA) ** np.arange(1, 21))[:, None]
    np.testing.assert_allclose(models.mean(axis=1), want, atol=1e-5)
    self.assertGreater(_spread(models[0]), 0.1)
    centralised, _, _ = _run(_make('extra', np.full((N, N), 1 / N)), 20)
    x, error = np.zeros(D), 0.0
    for t in range(20):
      x = x - ETA * _grad(np.broadcast_to(x, (N, D))).mean(axis=0)
      error = max(error, np.abs(centralised[t].mean(axis=0) - x).max())
    self.assertGreater(error, 1e-3)  # Not with different curvatures.

  @parameterized.parameters(
    'gossip_sgd', 'choco_sgd', 'd_squared', 'extra', 'push_sum'
  )
  def test_no_mixing_is_independent_sgd(self, name):
    models, _, _ = _run(_make(name, np.eye(N)), 20)
    np.testing.assert_allclose(models, _dpsgd(np.eye(N), 20), atol=2e-5)

  def test_one_client(self):
    cohort = _cohort(1)
    want = B[0] * (1 - (1 - ETA * A[0]) ** 10)
    for algorithm in (
      gossip.gossip_sgd(
        _task(),
        mixing.identity(1),
        clients=1,
        optimizer=optax.sgd(ETA),
      ),
      tracking.gradient_tracking(
        _task(), mixing.identity(1), clients=1, optimizer=optax.sgd(ETA)
      ),
    ):
      models, _, _ = _run(algorithm, 10, cohort)
      np.testing.assert_allclose(models[-1, 0], want, atol=1e-5)


def _top_one(key, tree):
  del key

  def leaf(x):
    keep = jnp.arange(x.size) == jnp.argmax(jnp.abs(x))
    return jnp.where(keep, x, 0.0)

  return jax.tree.map(leaf, tree)


class CompressionTest(parameterized.TestCase):
  def test_choco_agrees_exactly_though_it_sends_one_entry(self):
    # Without gradients this is compressed averaging: CHOCO converges to the
    # exact mean, forgetting what was not sent leaves the clients apart.
    start = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
    spreads = {}
    for name, kwargs in (
      ('choco_sgd', dict(consensus_step=0.2)),
      ('gossip_sgd', {}),
    ):
      algorithm = _make(
        name, RING, compress=_top_one, optimizer=optax.sgd(0.0), **kwargs
      )
      state = algorithm.init(jax.random.key(0))
      state = state._replace(params={'x': jnp.asarray(start)})

      def body(state, key, algorithm=algorithm):
        return algorithm.step(state, _cohort(), key=key)[0], None

      state, _ = jax.lax.scan(
        body, state, jax.random.split(jax.random.key(0), 800)
      )
      models = np.asarray(algorithm.params(state)['x'], np.float64)
      np.testing.assert_allclose(
        models.mean(axis=0), start.mean(axis=0), atol=1e-5
      )
      spreads[name] = _spread(models)
    self.assertLess(spreads['choco_sgd'], 1e-4)
    self.assertGreater(spreads['gossip_sgd'], 0.05)

  @parameterized.parameters(
    'identity',
    'top_k(keep=0.2)',
    'random_k(keep=0.2)',
    'qsgd(num_levels=3)',
    'sign',
  )
  def test_choco_averages_with_every_compressor(self, spec):
    start = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
    algorithm = _make(
      'choco_sgd',
      RING,
      compress=spec,
      consensus_step=0.2,
      optimizer=optax.sgd(0.0),
    )
    state = algorithm.init(jax.random.key(0))
    state = state._replace(params={'x': jnp.asarray(start)})

    def body(state, key):
      return algorithm.step(state, _cohort(), key=key)[0], None

    keys = jax.random.split(jax.random.key(0), 800)
    state, _ = jax.lax.scan(body, state, keys)
    models = np.asarray(algorithm.params(state)['x'], np.float64)
    want = np.tile(start.mean(axis=0), (N, 1))
    np.testing.assert_allclose(models, want, atol=1e-4)

  def test_choco_first_rounds(self):
    gamma = 0.3
    x, public = np.zeros((N, D)), np.zeros((N, D))
    want = []
    for _ in range(10):
      half = x - ETA * _grad(x)
      gap = half - public
      keep = np.arange(D)[None] == np.abs(gap).argmax(axis=1)[:, None]
      public = public + np.where(keep, gap, 0)
      x = half + gamma * (RING - np.eye(N)) @ public
      want.append(x)
    models, _, _ = _run(
      _make('choco_sgd', RING, compress=_top_one, consensus_step=gamma), 10
    )
    np.testing.assert_allclose(models, want, atol=1e-5)

  def test_compressed_gossip_keeps_the_mean(self):
    algorithm = _make(
      'gossip_sgd', RING, compress=_top_one, optimizer=optax.sgd(0.0)
    )
    state = algorithm.init(jax.random.key(0))
    start = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
    state = state._replace(params={'x': jnp.asarray(start)})
    state, _ = algorithm.step(state, _cohort(), key=jax.random.key(1))
    np.testing.assert_allclose(
      state.params['x'].mean(0), start.mean(0), atol=1e-6
    )


class VariantsTest(parameterized.TestCase):
  def test_local_sgd_averages_every_third_round(self):
    models, metrics, _ = _run(
      variants.local_sgd(_task(), None, N, optimizer=optax.sgd(ETA), period=3),
      9,
    )
    x, want = np.zeros((N, D)), []
    for t in range(9):
      x = x - ETA * _grad(x)
      if t % 3 == 2:
        x = np.broadcast_to(x.mean(axis=0), (N, D))
      want.append(x)
    np.testing.assert_allclose(models, want, atol=1e-5)
    self.assertLess(float(metrics['consensus'][8]), 1e-9)

  def test_periodic_averaging(self):
    models, _, _ = _run(
      variants.periodic_averaging(
        _task(),
        mixing.from_matrix(RING),
        clients=N,
        optimizer=optax.sgd(ETA),
        period=4,
      ),
      8,
    )
    x, want = np.zeros((N, D)), []
    for t in range(8):
      w = np.full((N, N), 1 / N) if t % 4 == 3 else RING
      x = w @ (x - ETA * _grad(x))
      want.append(x)
    np.testing.assert_allclose(models, want, atol=1e-5)

  @parameterized.parameters('matcha', 'oracle', 'local')
  def test_random_links_train(self, kind):
    optimizer = optax.sgd(0.02)
    if kind == 'matcha':
      algorithm = variants.matcha_sgd(
        _task(), graphs.ring(N), clients=N, optimizer=optimizer
      )
    else:
      algorithm = variants.epidemic_learning(
        _task(),
        clients=N,
        optimizer=optimizer,
        num_sent=3,
        oracle=kind == 'oracle',
      )
    models, _, _ = _run(algorithm, 800)
    late = models[-300:].mean(axis=0)
    self.assertLess(_mean_error(late), 0.35)
    self.assertLess(_spread(models[-1]), _spread(B))

  def test_robust_gossip_shrugs_off_a_liar(self):
    graph = graphs.complete(N)
    cohort = _cohort()
    data = {**cohort.data, 'b': cohort.data['b'].at[0].set(1e6)}
    cohort = cohort.replace(data=data)
    results = {}
    for name, mixer in (
      ('mean', mixing.make_mixer('complete', N)),
      ('median', mixing.robust_mixer(graph, aggregators.median)),
    ):
      algorithm = gossip.gossip_sgd(
        _task(), mixer, clients=N, optimizer=optax.sgd(ETA)
      )
      models, _, _ = _run(algorithm, 60, cohort)
      results[name] = np.abs(models[-1]).max()
    self.assertLess(results['median'], 10.0)
    self.assertGreater(results['mean'], 1e4)

  def test_robust_mixer_on_an_irregular_graph(self):
    graph = graphs.star(5)
    mixer = mixing.robust_mixer(graph, aggregators.median)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    got = mixer.apply({'x': jnp.asarray(x)}, 0)['x']
    np.testing.assert_allclose(got[0], np.median(x, axis=0), atol=1e-6)
    for i in range(1, 5):
      np.testing.assert_allclose(got[i], (x[0] + x[i]) / 2, atol=1e-6)
    with self.assertRaisesRegex(ValueError, 'no mixing matrix'):
      mixer.matrix(0)
    trimmed = functools.partial(aggregators.trimmed_mean, num_trimmed=1)
    with self.assertRaisesRegex(
      ValueError, 'client 1 has 1 neighbors, .* 2 models there: num_trimmed=1'
    ):
      mixing.robust_mixer(graph, trimmed)
    mixing.robust_mixer(graphs.ring(5), trimmed)
    with self.assertRaisesRegex(
      ValueError, 'made for 5 clients but num_cl.*=4'
    ):
      decentralized.gossip_sgd(
        _task(), graphs.ring(5), clients=4, optimizer=optax.sgd(ETA)
      )
    with self.assertRaisesRegex(ValueError, 'rows and columns'):
      tracking.gradient_tracking(
        _task(), mixer, clients=5, optimizer=optax.sgd(ETA)
      )


class ContractTest(parameterized.TestCase):
  @parameterized.parameters(*_ALL, 'quasi_global')
  def test_sharded_equals_unsharded(self, name):
    mesh = jax.make_mesh(
      (8,), ('clients',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    one, _, _ = _run(_make(name, LAZY), 3)
    many, _, _ = _run(_make(name, LAZY, clients=clients.Clients(N, mesh)), 3)
    np.testing.assert_allclose(one, many, atol=1e-5)

  def test_a_sharded_round_sends_border_rows_only(self):
    n, width = 32, 100
    mesh = clients.clients_mesh(8)
    task = types.Task(
      lambda key: jnp.zeros(width),
      lambda params, batch, key=None: jnp.sum((params - batch) ** 2),
      lambda params, batch: {},
    )
    algorithm = gossip.gossip_sgd(
      task,
      mixing.make_mixer('ring', n),
      clients.Clients(n, mesh),
      optimizer=optax.adam(0.1),
    )
    state = algorithm.init(jax.random.key(0))
    cohort = types.Cohort(
      client_ids=jnp.arange(n),
      data=jnp.ones((n, width)),
      mask=jnp.ones(n, bool),
      weights=jnp.full((n,), 1 / n),
    )
    params, opt_state, cohort = clients.shard_clients(
      (state.params, state.opt_state, cohort), mesh
    )
    state = state._replace(params=params, opt_state=opt_state)
    text = (
      jax.jit(algorithm.step)
      .lower(state, cohort, key=jax.random.key(0))
      .compile()
      .as_text()
    )
    moved = re.findall(r'= f32\[([\d,]+)\]\S* collective-permute', text)
    self.assertEqual(moved, ['1,100', '1,100'])
    self.assertNotIn('all-gather', text)

  def test_absent_clients_skip_their_update(self):
    mask = np.arange(N) != 2
    models, metrics, _ = _run(
      _make('gossip_sgd', np.eye(N), optimizer=optax.adam(0.1)),
      4,
      _cohort(mask=mask),
    )
    np.testing.assert_array_equal(models[:, 2], 0.0)
    self.assertTrue((models[-1, mask] != 0).all())
    losses = 0.5 * (A * B * B).sum(axis=1)
    np.testing.assert_allclose(
      metrics['loss'][0], losses[mask].mean(), rtol=1e-5
    )

  def test_different_starts_and_dtypes(self):
    task = types.Task(
      lambda key: {'x': jax.random.normal(key, (D,), jnp.bfloat16)},
      _loss,
      lambda params, batch: {},
    )
    algorithm = gossip.gossip_sgd(
      task,
      mixing.from_matrix(RING),
      clients=N,
      optimizer=optax.sgd(ETA),
      same_start=False,
    )
    state = algorithm.init(jax.random.key(0))
    self.assertLen(np.unique(np.asarray(state.params['x'], 'float32')[:, 0]), N)
    new, _ = algorithm.step(state, _cohort(), key=jax.random.key(1))
    chex.assert_trees_all_equal_dtypes(new.params, state.params)

  def test_second_step_does_not_retrace(self):
    algorithm = _make('choco_sgd', RING)
    step = jax.jit(chex.assert_max_traces(algorithm.step, n=1))
    state = algorithm.init(jax.random.key(0))
    for t in range(3):
      state, _ = step(state, _cohort(), key=jax.random.key(t))

  @parameterized.named_parameters(
    ('order', lambda: _make('gossip_sgd', RING, order='x'), "order='x'"),
    (
      'send',
      lambda: gossip.gossip_sgd(
        _task(),
        mixing.make_mixer('random_digraph(weights=send)', N),
        clients=N,
        optimizer=optax.sgd(ETA),
      ),
      'use push_sum',
    ),
    (
      'rows',
      lambda: _push_sum.push_sum(
        _task(),
        mixing.make_mixer('star(weights=uniform)', N),
        clients=N,
        optimizer=optax.sgd(ETA),
      ),
      'weights=send',
    ),
    (
      'varying',
      lambda: tracking.extra(
        _task(),
        mixing.make_mixer('base', 6),
        clients=6,
        optimizer=optax.sgd(ETA),
      ),
      'one fixed mixing matrix',
    ),
    (
      'asymmetric',
      lambda: _make('d_squared', mixing.one_peer_exponential(N)[0]),
      'symmetric',
    ),
    (
      'gamma',
      lambda: _make('choco_sgd', RING, consensus_step=0.0),
      'consensus_step',
    ),
    (
      'cohort',
      lambda: _make('gossip_sgd', RING).step(
        _make('gossip_sgd', RING).init(jax.random.key(0)),
        _cohort(3),
        key=jax.random.key(0),
      ),
      'cohort has 3 clients but num_clients=8',
    ),
  )
  def test_says_what_to_change(self, build, message):
    with self.assertRaisesRegex(ValueError, message):
      build()


class PlainArgumentsTest(parameterized.TestCase):
  """A graph or a matrix for a mixer, in every algorithm that takes one."""

  GRAPH = networkx.cycle_graph(N)
  MAKERS = {
    'gossip_sgd': gossip.gossip_sgd,
    'choco_sgd': gossip.choco_sgd,
    'd_squared': functools.partial(tracking.d_squared, allow_unstable=True),
    'extra': tracking.extra,
    'gradient_tracking': tracking.gradient_tracking,
    'push_sum': _push_sum.push_sum,
    'local_then_gossip': decentralized.local_then_gossip,
    'periodic_averaging': functools.partial(
      variants.periodic_averaging, period=2
    ),
  }

  def test_a_graph_has_metropolis_weights(self):
    models, _, _ = _run(self._make('gossip_sgd', self.GRAPH), 2)
    want = _dpsgd(RING, 2)
    np.testing.assert_allclose(models[-1], want[-1], atol=1e-5)

  def _make(self, name, mixer, task=None, **options):
    options = {'clients': N, 'optimizer': optax.sgd(ETA), **options}
    return self.MAKERS[name](task or _task(), mixer, **options)

  @parameterized.parameters(*MAKERS)
  def test_everywhere(self, name):
    matrix = RING if name != 'push_sum' else RING.T
    for mixer in ('ring', self.GRAPH, np.asarray(matrix), RING.tolist()):
      self.assertIsInstance(self._make(name, mixer), types.Algorithm)
    for bad, message in [
      ({'mixer': graphs.ring}, 'the function ring: call it'),
      ({'mixer': self.GRAPH, 'optimizer': optax.sgd}, 'function sgd: call it'),
      ({'mixer': self.GRAPH, 'task': max}, 'task must be a Task; got the func'),
    ]:
      with self.assertRaisesRegex(TypeError, message):
        self._make(name, **bad)

  @parameterized.named_parameters(
    (
      'mixer_for_a_graph',
      lambda: decentralized.asynchronous_gossip(
        _task(),
        mixing.from_matrix(RING),
        clients=N,
        optimizer=optax.sgd(1.0),
      ),
      'graph must be a networkx graph .* got a Mixer: pass the graph itself',
    ),
    (
      'rule_without_options',
      lambda: mixing.robust_mixer(graphs.ring(N), aggregators.krum),
      'rule=krum needs num_byzantine: bind with functools.partial',
    ),
    (
      'optimizer_for_a_rate',
      lambda: decentralized.quasi_global_momentum(
        _task(), RING, clients=N, learning_rate=optax.sgd(0.1)
      ),
      'learning_rate must be a number or a schedule; got an optax optimizer',
    ),
    (
      'number_for_a_compressor',
      lambda: gossip.gossip_sgd(
        _task(), RING, clients=N, optimizer=optax.sgd(1.0), compress=0.1
      ),
      r'or text such as top_k\(keep=0.1\); got 0.1',
    ),
    (
      'no_clients',
      lambda: gossip.gossip_sgd(_task(), RING, '8', optimizer=optax.sgd(1.0)),
      'clients must be a number of clients or core.clients.Clients',
    ),
    (
      'maker_for_a_receiver_rule',
      lambda: _all_to_all(decentralized.receiver_rule),
      'rule=receiver_rule makes a rule: call it with a name, one of nearest',
    ),
    (
      'maker_for_an_attack',
      lambda: _all_to_all(aggregators.median, attack=attacks.mimic_heuristic),
      'attack=mimic_heuristic makes an attack: call it',
    ),
    (
      'codec',
      lambda: decentralized.one_byte_sgd(
        _task(), N, optimizer=optax.sgd(1.0), codec=8
      ),
      r"call compression.make_codec\('log_int8'\)",
    ),
  )
  def test_says_what_to_call(self, build, message):
    with self.assertRaisesRegex(TypeError, message):
      build()

  def test_a_rule_and_an_attack_among_all(self):
    # One round: x - η g, then the median of four models and one adversary.
    algorithm = _all_to_all(aggregators.median, attack=attacks.sign_flip)
    cohort = _cohort(N - 1)
    state = algorithm.init(jax.random.key(0))
    state, _ = jax.jit(algorithm.step)(state, cohort, key=jax.random.key(1))
    half = ETA * (A * B)[: N - 1]
    want = np.median([*half, -half.mean(axis=0)], axis=0)
    np.testing.assert_allclose(
      state.models['x'], np.tile(want, (N - 1, 1)), atol=1e-6
    )


def _all_to_all(mix, **options):
  return decentralized.all_to_all_sgd(
    _task(),
    mix,
    clients=N,
    num_byzantine=1,
    num_held=N,
    learning_rate=ETA,
    momentum=0.0,
    **options,
  )


if __name__ == '__main__':
  absltest.main()
