# SPDX-License-Identifier: Apache-2.0
"""Encoders, against float64 NumPy with dense matrices."""

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.graphs import links

KEY = jax.random.key(0)


def count(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


def sizes(encoder, predictor, x):
  """Parameters of both, of shapes alone."""
  graph = graphs.make_graph([(0, 1)], len(x), pad_nodes=len(x))
  found = links.adjacency(graph, dense=False)
  encode = links.make_encoder(encoder)
  own = jax.eval_shape(encode.init, KEY, graph, x)
  h = jax.eval_shape(encode.apply, own, graph, x)
  predict = links.make_predictor(predictor)
  pairs = jnp.array([(0, 1)])
  return count(own) + count(jax.eval_shape(predict.init, KEY, found, h, pairs))


def karate():
  edges = networkx.karate_club_graph().edges
  matrix = np.zeros((34, 34))
  for a, b in edges:
    matrix[a, b] = matrix[b, a] = 1
  return graphs.make_graph(list(edges), 34, pad_nodes=40), matrix


def spread(graph, x):
  out = np.full((graph.num_nodes, x.shape[1]), np.nan)
  out[: len(x)] = x
  return jnp.asarray(out, jnp.float32)


class ConvolveTest(parameterized.TestCase):
  def test_ones_on_the_karate_club(self):
    graph, _ = karate()
    got = links.convolve(graph, jnp.ones((40, 1)))[:, 0]
    np.testing.assert_allclose(
      got[jnp.array([0, 33, 11])], [1.8707982, 2.0031992, 0.6714986], rtol=1e-6
    )
    self.assertAlmostEqual(float(got[:34].sum()), 30.7020514, places=4)

  @parameterized.parameters('puregcn', 'puresum', 'puremean', 'puremax')
  def test_equals_matrices(self, kind):
    graph, a = karate()
    a[33] = a[:, 33] = 0  # A node without neighbors.
    pairs = np.stack(np.nonzero(np.triu(a)), axis=1)
    graph = graphs.make_graph(pairs, 34, pad_nodes=40)
    x = np.random.default_rng(0).normal(size=(34, 3))
    s = (1 + a.sum(1)) ** -0.5
    want = {
      'puregcn': s[:, None] * ((a + np.eye(34)) @ (s[:, None] * x)),
      'puresum': a @ x,
      'puremean': a @ x / np.maximum(a.sum(1), 1)[:, None],
      'puremax': np.array(
        [x[row > 0].max(0) if row.any() else np.zeros(3) for row in a]
      ),
    }[kind]
    got = links.convolve(graph, spread(graph, x), kind)
    np.testing.assert_allclose(got[:34], want, atol=1e-5)
    self.assertTrue((got[34:] == 0).all())

  def test_equals_jraph(self):
    try:
      import jraph
    except ImportError:
      self.skipTest('jraph is not installed.')
    graph, _ = karate()
    x = jax.random.normal(KEY, (40, 3))
    layer = jraph.GraphConvolution(
      lambda nodes: nodes, add_self_edges=True, symmetric_normalization=True
    )
    t = graphs.to_graphs_tuple(graph, x)
    want = layer(jraph.GraphsTuple(*t)).nodes[:34]
    np.testing.assert_allclose(
      links.convolve(graph, x)[:34], want, rtol=1e-4, atol=1e-5
    )


class ParametersTest(parameterized.TestCase):
  def test_published_numbers_of_parameters(self):
    # ppa: 58 kinds of nodes, three layers of 'gcn', width 64.
    self.assertEqual(
      sizes('mpnn(64, 3, conv=gcn, embed=58)', 'ncn', jnp.zeros(8, jnp.int32)),
      33_538,
    )
    # ddi: a row for each of 4267 nodes and one more, width 224.
    self.assertEqual(
      sizes(
        'mpnn(224, conv=puresum, embed=4268, residual=True)',
        'ncn(transform=True, two_layers=True, tail_activation=False)',
        jnp.zeros(8, jnp.int32),
      ),
      1_412_098,
    )

  def test_completion_adds_no_parameters_but_those_of_the_prior(self):
    x = jnp.zeros((8, 5))
    plain = sizes('mpnn(16)', 'ncn', x)
    self.assertEqual(sizes('mpnn(16)', 'ncnc(2)', x), plain)
    self.assertEqual(
      sizes('mpnn(16)', 'ncnc(learn_prior=True)', x), plain + 272 + 17
    )


class MpnnTest(parameterized.TestCase):
  def test_pure_layers_follow_each_other(self):
    graph, a = karate()
    x = np.random.default_rng(0).normal(size=(34, 3))
    network = links.mpnn(3, 3, residual=True, jumping=True)
    params = network.init(KEY, graph, spread(graph, x))
    s = (1 + a.sum(1)) ** -0.5
    step = s[:, None] * (a + np.eye(34)) * s[None]
    to64 = lambda t: jax.tree.map(lambda v: np.asarray(v, np.float64), t)
    p = to64(params)
    y = x @ p['input'][0]['kernel'] + p['input'][0]['bias']
    want = 0
    for i in range(3):
      y = step @ y + y
      want = want + p['jumping'][i] * y
    got = network.apply(params, graph, spread(graph, x))
    np.testing.assert_allclose(got[:34], want, rtol=1e-4, atol=1e-5)
    self.assertTrue((got[34:] == 0).all())

  def test_one_layer_with_jumps_is_one_number_times_it(self):
    graph, _ = karate()
    x = jnp.ones((40, 2))
    network = links.mpnn(4, jumping=True)
    params = network.init(KEY, graph, x)
    self.assertEqual(params['jumping'].shape, (1,))
    rest = {k: v for k, v in params.items() if k != 'jumping'}
    plain = links.mpnn(4).apply(rest, graph, x)
    np.testing.assert_allclose(
      network.apply(params, graph, x), params['jumping'][0] * plain, rtol=1e-5
    )

  def test_layers_with_weights(self):
    graph, a = karate()
    x = np.random.default_rng(0).normal(size=(34, 3))
    network = links.mpnn(5, 2, conv='gcn', residual=True)
    params = network.init(KEY, graph, spread(graph, x))
    params = jax.tree.map(lambda v: v + 0.1, params)
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), params)['layers']
    s = (1 + a.sum(1)) ** -0.5
    step = s[:, None] * (a + np.eye(34)) * s[None]
    run = lambda q, y: step @ (y @ q['conv']['kernel']) + q['conv']['bias']
    y = run(p[0], x)
    y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5)
    y = np.maximum(y * p[0]['norm']['scale'] + p[0]['norm']['bias'], 0)
    want = run(p[1], y) + y
    got = network.apply(params, graph, spread(graph, x))
    np.testing.assert_allclose(got[:34], want, rtol=1e-3, atol=1e-4)
    self.assertNotIn('norm', params['layers'][1])

  def test_no_layer_leaves_features_alone(self):
    graph, _ = karate()
    x = jnp.ones((40, 2)).at[3].set(7.0)
    network = links.mpnn(4, 0, conv='gcn')
    params = network.init(KEY, graph, x)
    layer = params['input'][0]
    want = x @ layer['kernel'] + layer['bias'][None]
    got = network.apply(params, graph, x)
    np.testing.assert_allclose(got[:34], want[:34], rtol=1e-5)

  def test_tables_take_the_place_of_features(self):
    graph, _ = karate()
    kinds = jnp.arange(40) % 5
    network = links.mpnn(3, 0, embed=5)
    params = network.init(KEY, graph, kinds)
    got = network.apply(params, graph, kinds)
    np.testing.assert_array_equal(got[:34], params['table'][kinds][:34])
    one_hot = jnp.eye(5)[kinds].at[34:].set(jnp.nan)
    again = network.apply(params, graph, one_hot)
    np.testing.assert_allclose(again, got, atol=1e-6)
    nodes = links.mpnn(3, 0, embed='nodes')
    params = nodes.init(KEY, graph, None)
    self.assertEqual(params['table'].shape, (40, 3))
    got = nodes.apply(params, graph, None)
    np.testing.assert_array_equal(got[:34], params['table'][:34])
    other = graphs.make_graph([(0, 1)], 2)
    with self.assertRaisesRegex(ValueError, 'parameters belong to one graph'):
      nodes.apply(params, other, None)

  @parameterized.parameters((50, 8), (8, 50), (12, 12))
  def test_tables_start_orthogonal(self, *shape):
    q = np.asarray(links.orthogonal(KEY, shape), np.float64)
    gram = q.T @ q if shape[0] >= shape[1] else q @ q.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=2e-5)

  def test_dropout_draws_in_training(self):
    graph, _ = karate()
    x = jnp.ones((40, 2))
    for option in ('input_dropout', 'dropout', 'tail_dropout', 'edge_dropout'):
      network = links.mpnn(4, **{option: 0.5})
      params = network.init(KEY, graph, x)
      with self.assertRaisesRegex(ValueError, f'needs a key: {option}=0.5'):
        network.apply(params, graph, x, train=True)
      one = network.apply(params, graph, x, train=True, key=KEY)
      still = network.apply(params, graph, x)
      self.assertGreater(float(jnp.abs(one - still).max()), 1e-3, option)
    sums = links.mpnn(2, conv='puresum', edge_dropout=0.3)
    params = sums.init(KEY, graph, x)
    run = lambda key: sums.apply(params, graph, x, train=True, key=key)
    many = jax.jit(jax.vmap(run))(jax.random.split(KEY, 2000))
    want = sums.apply(params, graph, x)
    error = jnp.abs(many.mean(axis=0) - want).max() / jnp.abs(want).max()
    self.assertLess(float(error), 0.03)

  @parameterized.parameters(
    ({'hidden': 0}, 'hidden must be at least 1'),
    ({'num_layers': -1}, 'num_layers must be at least 0'),
    ({'conv': 'gat'}, "conv='gat' is unknown"),
    ({'embed': 0}, 'embed must be at least 1'),
    ({'embed': 'rows'}, "embed must be a number of rows, 'nodes' or None"),
    ({'tail_dropout': 1.0}, r'tail_dropout must lie in \[0, 1\)'),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      links.mpnn(**options)

  @parameterized.parameters(
    (None, jnp.zeros((40, 2), jnp.int32), 'embed=K has'),
    (5, jnp.zeros((40, 2)), r'integers i\[N\] below embed=5, or f\[N, 5\]'),
  )
  def test_features_of_the_wrong_kind(self, embed, x, message):
    graph, _ = karate()
    network = links.mpnn(3, embed=embed)
    with self.assertRaisesRegex(TypeError, message):
      network.apply(network.init(KEY, graph, x), graph, x)

  def test_any_network_on_graphs_encodes(self):
    graph, _ = karate()
    network = links.make_encoder('gat(6, (4,), dropout=0.0)')
    x = jnp.ones((40, 2))
    params = network.init(KEY, graph, x)
    self.assertEqual(network.apply(params, graph, x).shape, (40, 6))
    with self.assertRaisesRegex(TypeError, 'encoder must be a Network'):
      links.make_encoder(3)


if __name__ == '__main__':
  absltest.main()
