# SPDX-License-Identifier: Apache-2.0
"""Predictors, against float64 NumPy written pair by pair over sets."""

import functools
import math

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.graphs import links

TOY = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (1, 4)]
WIDTH, N = 4, 14


@functools.cache
def world(dense=True, pad_nodes=16):
  """A graph, its rows, vectors and some pairs, linked ones among them."""
  whole = networkx.gnp_random_graph(N, 0.3, seed=3)
  graph = graphs.from_networkx(whole, pad_nodes=pad_nodes)
  rng = np.random.default_rng(0)
  h = np.full((pad_nodes, WIDTH), np.nan)
  h[:N] = rng.normal(size=(N, WIDTH))
  pairs = np.array([(0, 1), (2, 9), (5, 3), (12, 7), *list(whole.edges)[:3]])
  adjacency = links.adjacency(graph, dense=dense)
  return whole, adjacency, jnp.asarray(h, jnp.float32), jnp.asarray(pairs)


@functools.cache
def made(spec, width=WIDTH):
  """A network and parameters of which none is zero or one."""
  _, adjacency, h, pairs = world()
  network = links.make_predictor(spec)
  params = network.init(jax.random.key(0), adjacency, h, pairs)
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(7)
  leaves = [
    x + jnp.asarray(rng.normal(size=x.shape) / 2, x.dtype) for x in leaves
  ]
  return network, jax.tree.unflatten(structure, leaves)


def scores(
  spec, *, dense=True, pairs=None, params=None, train=False, **options
):
  network, own = made(spec)
  _, adjacency, h, known = world(dense)
  pairs = known if pairs is None else jnp.asarray(pairs)
  run = jax.jit(functools.partial(network.apply, train=train))
  return run(own if params is None else params, adjacency, h, pairs, **options)


class Reference:
  """One pair at a time, in float64."""

  def __init__(self, spec, **options):
    _, params = made(spec)
    self.params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    self.rows = {i: set(row) for i, row in world()[0].adj.items()}
    self.h = np.asarray(world()[2], np.float64)
    self.options = options

  @staticmethod
  def norm(p, x):
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return x * p['scale'] + p['bias']

  def block(self, params, x, pattern):
    """Letters: d(ense), n(orm), r(elu)."""
    left = iter(params)
    for letter in pattern:
      if letter == 'd':
        p = next(left)
        x = x @ p['kernel'] + p['bias']
      elif letter == 'n':
        x = self.norm(next(left), x)
      else:
        x = np.maximum(x, 0)
    return x

  def moved(self, h):
    if 'transform' not in self.params:
      return h
    out = h.copy()
    for i in range(N):
      out[i] += self.block(self.params['transform'], h[i], 'drdnr')
    return out

  def last(self, product, pooled):
    p = self.params
    tail = self.options.get('tail', '')
    met = self.block(p['product'], product, 'dnr' + tail)
    for scale, own, x in zip(p['scales'], p['pooled'], pooled, strict=True):
      met = met + scale * self.block(own, x, 'drdnr' + tail)
    twice = 'dnr' if self.options.get('two_layers') else ''
    return self.block(p['last'], met, twice + 'dnrd')[0]

  def ncn(self, i, j, h=None):
    h = self.h if h is None else h
    moved = self.moved(h)
    common = sum((moved[u] for u in self.rows[i] & self.rows[j]),
                 np.zeros(WIDTH))  # fmt: skip
    return self.last(h[i] * h[j], [common])

  def ncnc(self, i, j, depth, clamp, h=None, again=False):
    h = self.h if h is None else h
    if not depth:
      return self.ncn(i, j, h)
    moved = self.moved(h)
    inner = moved if again else h
    near, far = self.rows[i], self.rows[j]
    common = sum((moved[u] for u in near & far), np.zeros(WIDTH))
    for node, others in ((i, far - near - {i}), (j, near - far - {j})):
      for u in others:
        logit = self.ncnc(node, u, depth - 1, clamp, inner, again)
        common = common + clamp(logit) * moved[u]
    return self.last(h[i] * h[j], [common])


def clamp(logit, alpha=1.0, prior=0.5, scale=1.0, offset=0.0):
  p = 1 / (1 + math.exp(-scale * (logit - offset)))
  return alpha * prior * p / (prior * p + 1 - p)


class ClampTest(parameterized.TestCase):
  @parameterized.parameters(
    (2.8, 3 / 7), (3.3, 0.8655669), (0.0, 4.42745e-6), (5.0, 0.9998961)
  )
  def test_cora(self, logit, want):
    got = links.clamp_probability(jnp.array(logit), 1.0, 0.75, 4.3, 2.8)
    self.assertAlmostEqual(float(got) / want, 1, places=5)

  def test_other_settings_and_limits(self):
    run = links.clamp_probability
    got = run(jnp.array(6.0), 1.05, 0.1, 2.5, 6.0)
    self.assertAlmostEqual(float(got), 0.0954545, places=6)
    x = jnp.array([-3.0, 0.2, 4.0])
    np.testing.assert_allclose(
      run(x, 0.7, 1.0), 0.7 * jax.nn.sigmoid(x), rtol=1e-6
    )
    self.assertAlmostEqual(float(run(jnp.array(1e4), 0.7, 0.2)), 0.7, places=6)
    self.assertEqual(float(run(jnp.array(-1e4), 0.7, 0.2)), 0)

  @parameterized.parameters(
    ({'prior': 0.0}, r'prior must lie in \(0, 1\]'),
    ({'prior': 1.1}, r'prior must lie in \(0, 1\]'),
    ({'scale': 0.0}, r'scale must lie in \(0, inf\)'),
    ({'alpha': math.inf}, 'alpha must lie in'),
    ({'offset': math.nan}, 'offset must lie in'),
  )
  def test_bad_numbers(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      links.clamp_probability(jnp.zeros(2), **options)
    with self.assertRaisesRegex(ValueError, message):
      links.ncnc(**options)

  def test_ramp(self):
    want = [np.clip(0.1 * (t - 5), 0, 1) for t in range(20)]
    np.testing.assert_allclose(links.ramp(jnp.arange(20)), want, atol=1e-6)


class PredictorsTest(parameterized.TestCase):
  @parameterized.product(
    dense=[True, False],
    case=[
      ('ncn', {}),
      ('ncn(transform=True, two_layers=True, tail_activation=False)',
       {'tail': 'd', 'two_layers': True}),
    ],
  )  # fmt: skip
  def test_ncn_equals_the_reference(self, dense, case):
    spec, options = case
    reference = Reference(spec, **options)
    pairs = world()[3].tolist()
    want = [reference.ncn(i, j) for i, j in pairs]
    np.testing.assert_allclose(
      scores(spec, dense=dense), want, rtol=2e-4, atol=2e-5
    )

  @parameterized.product(
    depth=[1, 2], dense=[True, False], again=[False, True], split=[0, 3]
  )
  def test_ncnc_equals_the_reference(self, depth, dense, again, split):
    if (dense, again) == (False, True) or (depth, split) == (2, 0):
      return  # Each switch is seen in other combinations.
    numbers = {'alpha': 0.9, 'prior': 0.4, 'scale': 1.3, 'offset': 0.2}
    options = ', '.join(f'{k}={v}' for k, v in numbers.items())
    spec = (
      f'ncnc({depth}, {options}, transform=True, transform_again={again}, '
      f'split_size={split})'
    )
    reference = Reference(spec)
    want = [
      reference.ncnc(
        i, j, depth, functools.partial(clamp, **numbers), again=again
      )
      for i, j in world()[3].tolist()
    ]
    got = scores(spec, dense=dense)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)
    # Completion matters, so that the reference says something.
    plain = [reference.ncn(i, j) for i, j in world()[3].tolist()]
    self.assertGreater(np.abs(np.array(want) - plain).max(), 0.01)

  @parameterized.parameters(True, False)
  def test_toy_completes_the_fourth_node(self, dense):
    graph = graphs.make_graph(TOY, 5, pad_nodes=5)
    found = links.adjacency(graph, dense=dense)
    h = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    pairs = jnp.array([(0, 1)])
    sure = links.ncnc(combine='concat', prior=1.0, scale=1.0, offset=-1e3)
    never = links.ncnc(combine='concat', offset=1e3)
    params = sure.init(jax.random.key(1), found, h, pairs)
    first, norm, last = params['last']

    def by_hand(pooled):
      x = jnp.concatenate([h[0] * h[1], pooled])
      x = x @ first['kernel'] + first['bias']
      x = (x - x.mean()) / jnp.sqrt(x.var() + 1e-5)
      x = jax.nn.relu(x * norm['scale'] + norm['bias'])
      return x @ last['kernel'][:, 0] + last['bias'][0]

    some = h[2] + h[3]
    for network, want in ((sure, some + h[4]), (never, some)):
      got = jax.jit(network.apply)(params, found, h, pairs)[0]
      self.assertAlmostEqual(float(got), float(by_hand(want)), places=5)
    plain = links.ncn(combine='concat').apply(params, found, h, pairs)
    self.assertEqual(
      float(plain[0]), float(never.apply(params, found, h, pairs)[0])
    )

  @parameterized.parameters(
    'gae', 'gae_cn', 'ncn', 'ncn2', 'ncn_diff', 'ncnc(2)', 'aa'
  )
  def test_order_and_numbers_of_nodes_and_padding_do_not_matter(self, spec):
    whole, adjacency, h, pairs = world()
    network, params = made(spec)
    run = jax.jit(network.apply)
    want = run(params, adjacency, h, pairs)
    turned = run(params, adjacency, h, pairs[:, ::-1])
    np.testing.assert_allclose(turned, want, atol=1e-5)
    order = np.random.default_rng(1).permutation(N)
    other = graphs.make_graph(
      order[np.array(whole.edges)], N, pad_nodes=24, pad_edges=90
    )
    moved = jnp.zeros((24, WIDTH)).at[order].set(h[:N])
    got = run(params, links.adjacency(other), moved, jnp.asarray(order)[pairs])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

  @parameterized.parameters(True, False)
  def test_other_branches_equal_sums_over_sets(self, dense):
    whole, adjacency, h, pairs = world(dense)
    a = networkx.to_numpy_array(whole)
    square, x = a @ a, np.asarray(h[:N], np.float64)

    def branches(i, j):
      hat = np.ones(N)
      hat[[i, j]] = 0
      walks = a[i] * square[j] + square[i] * a[j]
      return (a[i] * a[j]) @ x, (walks * hat) @ x, (abs(a[i] - a[j]) * hat) @ x

    for spec, which in (('ncn2', 1), ('ncn_diff', 2)):
      spec = f'{spec}(combine=concat)'
      network, params = made(spec)
      got = jax.jit(network.apply)(params, adjacency, h, pairs)
      reference = Reference(spec)
      want = []
      for i, j in pairs.tolist():
        found = branches(i, j)
        met = np.concatenate([x[i] * x[j], found[0], found[which]])
        want.append(reference.block(reference.params['last'], met, 'dnrd')[0])
      np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)

  def test_counts_are_those_of_common_neighbors(self):
    whole, _, h, pairs = world()
    reference = Reference('gae_cn')
    want = []
    for i, j in pairs.tolist():
      count = len(set(whole[i]) & set(whole[j]))
      x = np.asarray(h, np.float64)
      want.append(reference.last(x[i] * x[j], [np.array([float(count)])]))
    np.testing.assert_allclose(scores('gae_cn'), want, rtol=2e-4, atol=2e-5)

  def test_a_hexagon_is_seen_by_common_neighbors_alone(self):
    found = links.adjacency(graphs.from_networkx(networkx.cycle_graph(6)))
    task = {}
    for spec in ('gae', 'ncn', 'ncnc'):
      encoder, network = links.mpnn(8), links.make_predictor(spec)
      x, pairs = jnp.ones((8, 3)), jnp.array([(0, 2), (1, 5), (0, 3), (1, 4)])
      h = encoder.apply(
        encoder.init(jax.random.key(0), found.graph, x), found.graph, x
      )
      params = network.init(jax.random.key(1), found, h, pairs)
      task[spec] = np.asarray(jax.jit(network.apply)(params, found, h, pairs))
      self.assertLess(np.ptp(task[spec][:2]) + np.ptp(task[spec][2:]), 1e-5)
    self.assertLess(np.ptp(task['gae']), 1e-5)
    self.assertGreater(abs(task['ncn'][0] - task['ncn'][2]), 1e-3)
    self.assertGreater(abs(task['ncnc'][0] - task['ncnc'][2]), 1e-3)

  def test_drawn_neighbors_are_all_where_they_fit_and_need_a_key(self):
    whole = scores('ncnc(prior=0.3)')
    most = world()[1].max_degree
    fits = scores(f'ncnc(prior=0.3, sample_test={most})')
    np.testing.assert_array_equal(whole, fits)
    with self.assertRaisesRegex(ValueError, 'needs a key: sample_test=2 draws'):
      scores('ncnc(prior=0.3, sample_test=2)')
    network, params = made('ncnc(prior=0.3, sample_test=2)')
    _, adjacency, h, pairs = world()
    run = jax.jit(
      jax.vmap(lambda key: network.apply(params, adjacency, h, pairs, key=key))
    )
    found = run(jax.random.split(jax.random.key(0), 64))
    self.assertGreater(float(found.std(axis=0).max()), 1e-4)
    self.assertLess(float(jnp.abs(found.mean(axis=0) - whole).max()), 0.5)

  def test_no_gradient_goes_through_probabilities(self):
    network, params = made('ncnc(prior=0.3)')
    _, adjacency, h, pairs = world()
    h = jnp.where(jnp.isnan(h), 0, h)

    def total(params, network):
      return network.apply(params, adjacency, h, pairs).sum()

    slope_of = jax.jit(jax.grad(total), static_argnums=1)
    got = slope_of(params, network)
    # With probabilities held, NCN on pooled vectors plus constants: the sum of
    # the last bias of each pair counts once and nothing else.
    self.assertAlmostEqual(
      float(got['last'][-1]['bias'][0]), len(pairs), places=4
    )
    learned, own = made('ncnc(prior=0.3, learn_prior=True)')
    slope = slope_of(own, learned)['prior']
    self.assertGreater(max(float(jnp.abs(x).max()) for x in
                           jax.tree.leaves(slope)), 1e-6)  # fmt: skip

  def test_learned_prior_takes_the_place_of_the_fixed_one(self):
    spec = 'ncnc(learn_prior=True, scale=1.2)'
    reference = Reference(spec)
    x, want = reference.h, []
    for i, j in world()[3].tolist():
      logit = reference.block(reference.params['prior'], x[i] * x[j], 'drd')[0]
      prior = 1 / (1 + math.exp(-logit))
      own = functools.partial(clamp, prior=prior, scale=1.2)
      want.append(reference.ncnc(i, j, 1, own))
    np.testing.assert_allclose(scores(spec), want, rtol=2e-4, atol=2e-5)

  def test_completion_rises_with_epochs_in_training_only(self):
    spec = 'ncnc(prior=0.9, offset=-3, rising=True)'
    key = jax.random.key(0)
    with self.assertRaisesRegex(ValueError, 'needs epoch'):
      scores(spec, train=True, key=key)
    early = scores(spec, train=True, key=key, epoch=jnp.array(3))
    late = scores(spec, train=True, key=key, epoch=jnp.array(15))
    np.testing.assert_allclose(
      early, scores('ncn', params=made(spec)[1]), atol=1e-5
    )
    np.testing.assert_allclose(late, scores(spec), atol=1e-5)
    self.assertGreater(float(jnp.abs(late - early).max()), 0.01)

  def test_dropout_draws_in_training_and_needs_a_key(self):
    spec = 'ncnc(dropout=0.4, edge_dropout=0.3)'
    with self.assertRaisesRegex(ValueError, 'needs a key: dropout=0.4 draws'):
      scores(spec, train=True)
    one, two = (
      scores(spec, train=True, key=jax.random.key(seed)) for seed in (0, 1)
    )
    self.assertGreater(float(jnp.abs(one - two).max()), 1e-3)
    again = scores(spec, train=True, key=jax.random.key(0))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(scores(spec), scores(spec))

  def test_edges_left_out_are_weighted_up(self):
    network = links.ncn(combine='concat', edge_dropout=0.5)
    found = links.adjacency(graphs.make_graph(TOY, 5, pad_nodes=5))
    h, pairs = jnp.ones((5, 1)), jnp.array([(0, 1)])
    # The layer copies what is pooled.
    params = {
      'last': [
        {'kernel': jnp.array([[0.0], [1.0]]), 'bias': jnp.zeros(1)},
        {'kernel': jnp.ones((1, 1)), 'bias': jnp.zeros(1)},
      ]
    }
    network = links.ncn(combine='concat', edge_dropout=0.5, layer_norm=False)
    run = lambda key: network.apply(
      params, found, h, pairs, train=True, key=key
    )[0]
    got = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 4000))
    self.assertEqual(set(np.unique(got).tolist()), {0.0, 4.0, 8.0})
    self.assertLess(abs(float(got.mean()) - 2), 0.15)

  def test_pairs_over_devices_score_the_same(self):
    _, adjacency, h, pairs = world()
    network, params = made('ncnc(prior=0.3)')
    pairs = jnp.concatenate([pairs, pairs[:1]])
    mesh = jax.make_mesh(
      (4,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    spread = jax.device_put(pairs, jax.NamedSharding(mesh, jax.P('data')))
    run = jax.jit(network.apply)
    want = run(params, adjacency, h, pairs)
    got = run(params, adjacency, h, spread)
    self.assertLen(got.sharding.device_set, 4)
    np.testing.assert_allclose(got, want, atol=1e-6)

  @parameterized.parameters(
    ('ncnc(-1)', 'depth must be at least 0'),
    ('ncnc(1.5)', 'depth must be an integer'),
    ('ncnc(sample_train=-1)', 'sample_train must be at least 0'),
    ('ncn(dropout=1.0)', r'dropout must lie in \[0, 1\)'),
    ('ncn(hidden=0)', 'hidden must be at least 1'),
    ('ncn(combine=mean)', "combine='mean' is unknown"),
    ('nnc', "predictor='nnc' is unknown.*'ncn'"),
    ('ncn(prior=1)', "has no option 'prior'"),
  )
  def test_bad_parts_are_refused(self, spec, message):
    with self.assertRaisesRegex((ValueError, TypeError), message):
      links.make_predictor(spec)

  def test_precision_is_that_of_vectors(self):
    _, adjacency, h, pairs = world()
    network = links.ncnc(prior=0.3)
    small = jnp.where(jnp.isnan(h), 0, h).astype(jnp.bfloat16)
    params = network.init(jax.random.key(0), adjacency, small, pairs)
    run = jax.jit(network.apply)
    got = run(params, adjacency, small, pairs)
    self.assertEqual(got.dtype, jnp.bfloat16)
    exact = run(
      jax.tree.map(lambda x: x.astype(jnp.float32), params),
      adjacency,
      small.astype(jnp.float32),
      pairs,
    )
    np.testing.assert_allclose(
      got.astype(jnp.float32), exact, atol=0.1, rtol=0.1
    )


if __name__ == '__main__':
  absltest.main()
