# SPDX-License-Identifier: Apache-2.0
"""Pieces of graphs, and what completes them, against dense NumPy."""

import functools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.graphs import clients

KEY = jax.random.key(0)


def karate():
  graph = graphs.from_networkx(networkx.karate_club_graph())
  graph = graph.replace(weights=None)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(graph.num_nodes, 4)).astype('f4')
  parts = np.array_split(rng.permutation(34), 3)
  return graph, x, parts


def of_gcn(params, shares, x):
  """Two layers in float64, S (relu(S X W + b)) W + b."""
  p = jax.tree.map(lambda v: np.asarray(v, np.float64), params)
  h = np.maximum(shares @ x @ p[0]['kernel'] + p[0]['bias'], 0)
  return shares @ h @ p[1]['kernel'] + p[1]['bias']


def shares_of(graph):
  matrix = np.asarray(graphs.to_dense(graph))[:34, :34] + np.eye(34)
  root = matrix.sum(1) ** -0.5
  return root[:, None] * matrix * root[None]


class BadInputTest(parameterized.TestCase):
  def test_says_what_is_no_graph_and_no_parts(self):
    graph, x, parts = karate()
    for call in (
      lambda: clients.kept_edges(np.eye(3), parts),
      lambda: clients.induced_pieces(None, x, parts),
      lambda: clients.generated(np.eye(3), x, parts),
    ):
      with self.assertRaisesRegex(TypeError, 'graph must be a graphs.Graph'):
        call()
    with self.assertRaisesRegex(TypeError, 'parts must be a list of nodes for'):
      clients.induced_pieces(graph, x, None)
    with self.assertRaisesRegex(TypeError, 'hops must be an integer; got True'):
      clients.neighbor_sums(graph, x, parts, hops=True)
    one = clients.induced_pieces(graph, x, parts)
    other = clients.induced_pieces(graph, x[:, :2], parts)
    with self.assertRaisesRegex(ValueError, 'equally many features; got 2, 4'):
      clients.pad_pieces([one[0], other[0]])

  def test_made_up_neighbors_are_finite(self):
    graph, x, parts = karate()
    with self.assertRaisesRegex(ValueError, 'learning_rate=.* are not finite'):
      clients.generated(graph, x * np.nan, parts, num_steps=1)
    stack = clients.pad_pieces(clients.induced_pieces(graph, x, parts))
    make = functools.partial(clients.generate_neighbors, key=KEY, num_steps=1)
    with self.assertRaisesRegex(TypeError, 'x must be floating point'):
      make(stack.graph, stack.features.astype(int))
    with self.assertRaisesRegex(ValueError, r'x must have shape \[n, M, F\]'):
      make(stack.graph, stack.features[..., 0])
    with self.assertRaisesRegex(TypeError, 'graph must be a graphs.Graph'):
      make(None, stack.features)


class PiecesTest(parameterized.TestCase):
  def test_kept_edges_are_counted(self):
    graph, _, parts = karate()
    whole = networkx.karate_club_graph()
    inner = sum(
      whole.subgraph(part.tolist()).number_of_edges() for part in parts
    )
    want = inner / whole.number_of_edges()
    self.assertAlmostEqual(clients.kept_edges(graph, parts), want)
    shares = clients.edges_between(graph, parts)
    self.assertAlmostEqual(shares.sum(), 1)
    cut = networkx.cut_size(whole, parts[0].tolist(), parts[2].tolist())
    between = shares[0, 2] + shares[2, 0]
    self.assertAlmostEqual(between, cut / whole.number_of_edges())
    self.assertEqual(clients.kept_edges(graph, [np.arange(34)]), 1.0)
    lonely = graphs.make_graph(np.zeros((0, 2), int), 3)
    self.assertEqual(clients.kept_edges(lonely, [[0], [1, 2]]), 1.0)

  def test_dealing_at_random_keeps_a_share_of_one_over_n(self):
    drawn = networkx.gnp_random_graph(300, 0.1, seed=0)
    graph = graphs.from_networkx(drawn)
    rng = np.random.default_rng(0)
    shares = [
      clients.kept_edges(graph, np.array_split(rng.permutation(300), 3))
      for _ in range(5)
    ]
    self.assertAlmostEqual(np.mean(shares), 99 / 299, delta=0.01)

  def test_pieces_are_induced_subgraphs(self):
    graph, x, parts = karate()
    pieces = clients.induced_pieces(graph, x, parts)
    stack = clients.pad_pieces(pieces)
    want = graphs.induced_subgraphs(graph, parts)
    jax.tree.map(np.testing.assert_array_equal, stack.graph, want.graph)
    rows = np.where(want.graph.node_mask[..., None], x[want.node_ids], 0)
    np.testing.assert_array_equal(stack.features, rows)
    np.testing.assert_array_equal(stack.own, want.graph.node_mask)

  def test_says_what_is_wrong(self):
    graph, x, parts = karate()
    with self.assertRaisesRegex(ValueError, 'parts is empty'):
      clients.induced_pieces(graph, x, [])
    with self.assertRaisesRegex(ValueError, r'x must have shape \[N, F\]'):
      clients.induced_pieces(graph, x[:5], parts)
    with self.assertRaisesRegex(ValueError, r'parts\[1\]\[0\] = 99 is no node'):
      clients.induced_pieces(graph, x, [[0], [99]])
    with self.assertRaisesRegex(ValueError, 'node 3 is with clients 0 and 1'):
      clients.kept_edges(graph, [[3], [4, 3]])
    with self.assertRaisesRegex(ValueError, 'pieces is empty'):
      clients.pad_pieces([])
    with self.assertRaisesRegex(ValueError, 'hops must be 1 .* got 3'):
      clients.neighbor_sums(graph, x, parts, hops=3)


class NeighborSumsTest(parameterized.TestCase):
  def run_on(self, pieces, params, network):
    stack = clients.pad_pieces(pieces)
    run = jax.jit(jax.vmap(network.apply, in_axes=(None, 0, 0)))
    return np.asarray(run(params, stack.graph, stack.features))

  def test_two_hops_are_as_exact_as_the_whole_graph(self):
    graph, x, parts = karate()
    network = clients.fedgcn(3, (5,), dropout=0.0)
    params = jax.jit(network.init)(KEY, graph, x)
    params = jax.tree.map(lambda v: v + 0.1, params)
    pieces = clients.neighbor_sums(graph, x, parts, hops=2)
    self.assertGreater(len(pieces[0].features), len(parts[0]))
    got = self.run_on(pieces, params, network)
    want = of_gcn(params, shares_of(graph), x[:34])
    for k, part in enumerate(parts):
      np.testing.assert_allclose(got[k, : len(part)], want[part], atol=1e-4)
    # And as the layers of the library on the whole graph.
    whole = jax.jit(graphs.gcn(3, (5,), dropout=0.0).apply)(params, graph, x)
    np.testing.assert_allclose(whole[:34], want, atol=1e-4)

  def test_one_hop_loses_neighbors_in_the_second_layer_only(self):
    graph, x, parts = karate()
    network = clients.fedgcn(3, (5,), dropout=0.0)
    params = jax.jit(network.init)(KEY, graph, x)
    pieces = clients.neighbor_sums(graph, x, parts, hops=1)
    got = self.run_on(pieces, params, network)
    shares = shares_of(graph)
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), params)
    h = np.maximum(shares @ x[:34] @ p[0]['kernel'] + p[0]['bias'], 0)
    for k, part in enumerate(parts):
      inner = shares[np.ix_(part, part)] @ h[part]
      want = inner @ p[1]['kernel'] + p[1]['bias']
      np.testing.assert_allclose(got[k, : len(part)], want, atol=1e-4)

  def test_one_client_knows_all(self):
    graph, x, _ = karate()
    one = [np.arange(34)]
    for hops in (1, 2):
      (piece,) = clients.neighbor_sums(graph, x, one, hops=hops)
      self.assertLen(piece.features, 34)
      np.testing.assert_allclose(
        piece.features, shares_of(graph) @ x[:34], atol=1e-5
      )

  def test_loops_of_the_graph_count_once(self):
    plain = graphs.make_graph([(0, 1)], 3)
    looped = graphs.make_graph([(0, 1), (1, 1)], 3)
    x = np.ones((8, 1))
    for a, b in zip(
      clients.neighbor_sums(plain, x, [[0, 1], [2]]),
      clients.neighbor_sums(looped, x, [[0, 1], [2]]),
      strict=True,
    ):
      np.testing.assert_array_equal(a.pairs, b.pairs)
      np.testing.assert_array_equal(a.weights, b.weights)

  def test_says_what_is_wrong(self):
    graph, x, _ = karate()
    network = clients.fedgcn(3)
    params = jax.jit(network.init)(KEY, graph, x)
    with self.assertRaisesRegex(ValueError, 'graph has no weights: fedgcn'):
      network.apply(params, graph, x)
    weighted = graph.replace(weights=jnp.ones(graph.num_edges))
    with self.assertRaisesRegex(ValueError, 'needs a key: dropout=0.5'):
      network.apply(params, weighted, x, train=True)
    with self.assertRaisesRegex(ValueError, 'params are of 1 layers'):
      network.apply(params[:1], weighted, x)


@functools.cache
def twins():
  """Pairs of linked nodes of like features, in three clients."""
  n = 48
  pairs = [(i, (i + 1) % n) for i in range(n)]
  pairs += [(i, (i + 2) % n) for i in range(n)]
  graph = graphs.make_graph(pairs, n)
  side = np.arange(n) < n // 2
  x = np.stack([side, ~side], 1) * 2.0 - 1.0
  x = np.pad(x, ((0, graph.num_nodes - n), (0, 0))).astype('f4')
  parts = [np.arange(k, n, 3) for k in range(3)]
  return graph, x, side, parts


class GenerationTest(parameterized.TestCase):
  def test_learns_how_many_are_hidden_and_what_they_hold(self):
    graph, x, _, _ = twins()
    parts = [np.arange(24), np.arange(24, 48)]
    stack = clients.pad_pieces(clients.induced_pieces(graph, x, parts))
    made = clients.generate_neighbors(
      stack.graph,
      stack.features,
      key=KEY,
      num_generated=2,
      num_steps=150,
      learning_rate=0.03,
      cross=0.0,
    )
    losses = np.asarray(made.losses)
    self.assertLess(losses[:, -10:].mean(), 0.5 * losses[:, :10].mean())
    # Neighbors are of the client's own side.
    for k, part in enumerate(parts):
      rows = np.asarray(made.features)[k, : len(part)]
      want = x[part][:, None]
      self.assertLess(np.abs(rows - want).mean(), 0.25)
    self.assertTrue(np.all(np.asarray(made.counts)[:, 24:] == 0))
    # Half of four neighbors are hidden, more or less.
    inner = np.asarray(made.counts)[:, 4:20]
    self.assertBetween(inner.mean(), 0.8, 3.5)

  def test_others_draw_what_is_made_up_to_their_nodes(self):
    graph, x, _, _ = twins()
    parts = [np.arange(24), np.arange(24, 48)]
    stack = clients.pad_pieces(clients.induced_pieces(graph, x, parts))
    run = functools.partial(
      clients.generate_neighbors,
      stack.graph,
      stack.features,
      key=KEY,
      num_generated=2,
      num_steps=150,
      learning_rate=0.03,
    )
    far = lambda made: np.abs(np.asarray(made.features)[0, :24] - x[24]).mean()
    self.assertLess(far(run(cross=10.0)), 0.5 * far(run(cross=0.0)))

  def test_what_is_made_up_hangs_on_one_node_each(self):
    graph, x, _, parts = twins()
    pieces = clients.generated(graph, x, parts, num_generated=2, num_steps=5)
    plain = clients.induced_pieces(graph, x, parts)
    for piece, own in zip(pieces, plain, strict=True):
      q = piece.num_own
      np.testing.assert_array_equal(piece.features[:q], own.features)
      inner = piece.pairs[(piece.pairs < q).all(axis=1)]
      np.testing.assert_array_equal(inner, own.pairs)
      outer = piece.pairs[(piece.pairs >= q).any(axis=1)]
      self.assertLen(outer, 2 * (len(piece.features) - q))
      count = np.bincount(outer[:, 1], minlength=len(piece.features))
      np.testing.assert_array_equal(count[q:], 1)
      self.assertLessEqual(count[:q].max(initial=0), 2)
      self.assertTrue((np.diff(piece.pairs[:, 1]) >= 0).all())

  @parameterized.parameters(
    ({'num_generated': 0}, 'num_generated must be at least 1'),
    ({'hidden_share': 1.0}, 'hidden_share must lie in'),
    ({'cross': -1.0}, 'cross must'),
    ({'num_steps': 0}, 'num_steps must be at least 1'),
    ({'seed': -1}, 'seed must be at least 0'),
  )
  def test_says_what_is_wrong(self, options, message):
    graph, x, _, parts = twins()
    with self.assertRaisesRegex(ValueError, message):
      clients.generated(graph, x, parts, **options)


class LearnersTest(parameterized.TestCase):
  @parameterized.parameters(
    ('gcn', ('gcn', 'induced', 'graph')),
    ('gnodeformer(rk=4)', ('gnodeformer(rk=4)', 'induced', 'spectrum')),
    ('fedgcn', ('fedgcn', 'neighbor_sums', 'graph')),
    (
      'fedgcn@neighbor_sums(hops=1)',
      ('fedgcn', 'neighbor_sums(hops=1)', 'graph'),
    ),
    (
      'gnodeformer@generated(num_steps=3)',
      ('gnodeformer', 'generated(num_steps=3)', 'spectrum'),
    ),
  )
  def test_reads_networks_on_pieces(self, spec, want):
    self.assertEqual(clients.read_learner(spec), want)

  @parameterized.parameters(
    ('gat@neighbor_sums', 'gat would take again: use fedgcn@neighbor_sums'),
    ('fedgcn@generated', 'fedgcn is for neighbor_sums only'),
    ('gnn', "network='gnn' is unknown"),
    ('gcn@lost', "network='lost' is unknown"),
    ('gcn@generated(steps=3)', "has no option 'steps'"),
    ('gnodeformer(rk=5, x=1)', "has no option 'x'"),
  )
  def test_refuses_what_does_not_fit(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      clients.read_learner(spec)


class TaskTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    graph, x, _ = karate()
    rng = np.random.default_rng(1)
    n = graph.num_nodes
    self.batch = {
      'graph': graph,
      'inputs': jnp.asarray(x),
      'labels': jnp.asarray(rng.integers(0, 3, n), jnp.int32),
      'mask': jnp.asarray((rng.random(n) < 0.5) & (np.arange(n) < 34)),
    }
    self.task = clients.node_classification(
      graphs.gcn(3, 4, dropout=0.0), self.batch, num_classes=3
    )
    self.params = jax.jit(self.task.init)(KEY)

  def test_equals_numpy_over_nodes_that_count(self):
    p = [jax.tree.map(np.asarray, layer) for layer in self.params]
    logits = of_gcn(
      p,
      shares_of(self.batch['graph']),
      np.asarray(self.batch['inputs'])[:34],
    )
    mask = np.asarray(self.batch['mask'])[:34]
    labels = np.asarray(self.batch['labels'])[:34]
    top = logits - logits.max(1, keepdims=True)
    log = top - np.log(np.exp(top).sum(1, keepdims=True))
    loss = -log[np.arange(34), labels][mask].mean()
    right = (logits.argmax(1) == labels)[mask].mean()
    found = jax.jit(self.task.evaluate)(self.params, self.batch)
    self.assertAlmostEqual(found['loss'], loss, places=5)
    self.assertAlmostEqual(found['accuracy'], right, places=5)
    value, slope = jax.jit(jax.value_and_grad(self.task.loss))(
      self.params, self.batch
    )
    self.assertAlmostEqual(value, loss, places=5)
    # What others are called does not matter; nobody asked gives zeros.
    wild = jnp.where(self.batch['mask'], self.batch['labels'], 99)
    again = jax.jit(self.task.loss)(self.params, {**self.batch, 'labels': wild})
    self.assertEqual(again, value)
    none = {**self.batch, 'mask': jnp.zeros_like(self.batch['mask'])}
    value, slope = jax.jit(jax.value_and_grad(self.task.loss))(
      self.params, none
    )
    self.assertEqual(value, 0)
    for leaf in jax.tree.leaves(slope):
      np.testing.assert_array_equal(leaf, 0)

  def test_a_label_that_is_no_class_is_seen(self):
    wild = jnp.full_like(self.batch['labels'], 7)
    loss = jax.jit(self.task.loss)(self.params, {**self.batch, 'labels': wild})
    self.assertTrue(np.isnan(loss))

  def test_says_what_is_wrong(self):
    network = graphs.gcn(3)
    make = clients.node_classification
    with self.assertRaisesRegex(ValueError, "batch has no entry 'spectrum'"):
      make(network, self.batch, num_classes=3, structure='spectrum')
    with self.assertRaisesRegex(ValueError, "structure='edges' is unknown"):
      make(network, self.batch, num_classes=3, structure='edges')
    with self.assertRaisesRegex(TypeError, 'batch must be a dict'):
      self.task.loss(self.params, 3)
    with self.assertRaisesRegex(ValueError, r'logits must have shape .*4\)'):
      make(graphs.gcn(3, dropout=0.0), self.batch, num_classes=4).evaluate(
        network.init(KEY, self.batch['graph'], self.batch['inputs']), self.batch
      )
    with self.assertRaisesRegex(TypeError, 'labels must be integers'):
      self.task.evaluate(
        self.params,
        {**self.batch, 'labels': jnp.ones(self.batch['labels'].shape)},
      )


if __name__ == '__main__':
  absltest.main()
