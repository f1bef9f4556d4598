# SPDX-License-Identifier: Apache-2.0
"""Sampled neighbors, batches of graphs, and fast sums against slow ones."""

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs

KEY = jax.random.key(0)
KARATE = networkx.karate_club_graph()


class SampleTest(parameterized.TestCase):
  def test_sums_have_the_right_mean(self):
    graph = graphs.from_networkx(KARATE)
    values = jnp.asarray(np.random.default_rng(0).normal(size=graph.num_nodes))
    nodes = jnp.arange(34)

    @jax.jit
    @jax.vmap
    def sums(key):
      ids, weights = graphs.sample_neighbors(graph, nodes, 4, key=key)
      return (weights * values[ids]).sum(1)

    drawn = np.asarray(sums(jax.random.split(KEY, 4000)), np.float64)
    want = np.asarray(
      graphs.propagate(graph, values, normalize='none', self_loops=False)
    )[:34]
    spread = drawn.std(0) / np.sqrt(len(drawn))
    self.assertLess(np.abs(drawn.mean(0) - want).max(), 0.2)
    np.testing.assert_array_less(
      np.abs(drawn.mean(0) - want), 4.5 * spread + 1e-5
    )
    few = np.array([KARATE.degree(i) <= 4 for i in range(34)])
    np.testing.assert_allclose(
      drawn[:, few], want[None, few].repeat(4000, 0), rtol=1e-4, atol=1e-5
    )
    self.assertTrue((drawn.std(0)[~few] > 0.05).all())

  def test_draws_depend_on_the_node_alone(self):
    graph = graphs.from_networkx(KARATE)
    run = jax.jit(lambda g, n: graphs.sample_neighbors(g, n, 3, key=KEY))
    draw = lambda nodes, g=graph: np.stack(run(g, np.array(nodes)))
    both, one = draw([33, 0, 2]), draw([0])
    np.testing.assert_array_equal(both[:, 1], one[:, 0])
    other = draw([33, 0, 2], graph.replace(plan=None))
    np.testing.assert_array_equal(both, other)
    for node, ids in zip((33, 0, 2), both[0].astype(int), strict=True):
      self.assertLessEqual(set(ids.tolist()), set(KARATE[node]))

  def test_edges_that_were_taken_out_weigh_nothing(self):
    graph = graphs.make_graph([(0, i) for i in range(1, 6)], 6)
    cut = graphs.remove_edges(graph, jnp.array([(0, 1), (0, 2)]))
    keys = jax.random.split(KEY, 3000)
    draw = lambda k: graphs.sample_neighbors(cut, jnp.array([0]), 2, key=k)
    ids, weights = jax.jit(jax.vmap(draw))(keys)
    total = np.zeros(8)
    np.add.at(total, np.asarray(ids).ravel(), np.asarray(weights).ravel())
    np.testing.assert_allclose(total[:6] / 3000, [0, 0, 0, 1, 1, 1], atol=0.12)

  def test_rows_have_the_right_mean(self):
    mask = jnp.asarray(np.random.default_rng(1).random((5, 12)) < 0.5)
    mask = mask.at[0].set(False)
    draw = lambda k: graphs.sample_rows(mask, 3, key=k)
    columns, weights = jax.jit(jax.vmap(draw))(jax.random.split(KEY, 4000))
    total = np.zeros((5, 12))
    rows = np.broadcast_to(np.arange(5)[:, None], columns.shape[1:])
    for c, w in zip(np.asarray(columns), np.asarray(weights), strict=True):
      np.add.at(total, (rows, c), w)
    np.testing.assert_allclose(total / 4000, np.asarray(mask), atol=0.15)

  def test_says_what_is_wrong(self):
    graph = graphs.from_networkx(KARATE)
    with self.assertRaisesRegex(ValueError, 'num_neighbors must be at least 1'):
      graphs.sample_neighbors(graph, jnp.array([0]), 0, key=KEY)
    with self.assertRaisesRegex(ValueError, r'nodes must be integers \[B\]'):
      graphs.sample_neighbors(graph, jnp.array([0.0]), 1, key=KEY)


class BatchTest(parameterized.TestCase):
  def graphs(self):
    rng = np.random.default_rng(0)
    found = [
      graphs.from_networkx(networkx.path_graph(3)),
      graphs.make_graph([], 1),
      graphs.make_graph([(0, 1), (0, 3)], 4, weights=[2.0, 3.0]),
    ]
    xs = [rng.normal(size=(g.num_nodes, 2)).astype(np.float32) for g in found]
    return found, xs

  def test_each_is_as_it_is_alone(self):
    found, xs = self.graphs()
    both, x = graphs.batch(found, xs)
    run = jax.jit(graphs.propagate)
    out, at = run(both, jnp.asarray(x)), 0
    for graph, mine in zip(found, xs, strict=True):
      n = int(graph.node_mask.sum())
      want = np.asarray(run(graph, jnp.asarray(mine)))[:n]
      np.testing.assert_allclose(out[at : at + n], want, atol=1e-6)
      at += n
    self.assertEqual(graphs.graph_mask(both).tolist(), [True] * 3 + [False])
    for reduce in graphs.POOLS:
      got = jax.jit(graphs.pool, static_argnames='reduce')(
        both, jnp.asarray(x), reduce=reduce
      )
      got = np.asarray(got)
      want = [
        getattr(np, reduce)(m[: int(g.node_mask.sum())], axis=0)
        for g, m in zip(found, xs, strict=True)
      ]
      np.testing.assert_allclose(got[:3], want, rtol=1e-5, atol=1e-6)
      np.testing.assert_array_equal(got[3], 0)

  def test_comes_apart_again(self):
    found, xs = self.graphs()
    back = graphs.unbatch(*graphs.batch(found, xs, num_graphs=5))
    self.assertLen(back, 3)
    for (graph, x), want, y in zip(back, found, xs, strict=True):
      n = int(want.node_mask.sum())
      np.testing.assert_array_equal(
        graphs.to_scipy(graph).toarray(), graphs.to_scipy(want).toarray()
      )
      np.testing.assert_array_equal(x, y[:n])

  def test_masks_are_jraphs(self):
    try:
      import jraph
    except ImportError:
      self.skipTest('jraph is not installed')
    found, xs = self.graphs()
    both, x = graphs.batch(found, xs)
    given = jraph.GraphsTuple(*graphs.to_graphs_tuple(both, x))
    np.testing.assert_array_equal(
      jraph.get_graph_padding_mask(given), graphs.graph_mask(both)
    )

  def test_says_what_is_wrong(self):
    found, xs = self.graphs()
    with self.assertRaisesRegex(ValueError, 'graphs is empty'):
      graphs.batch([])
    with self.assertRaisesRegex(ValueError, 'one array for each of 3 graphs'):
      graphs.batch(found, xs[:2])
    with self.assertRaisesRegex(ValueError, r'features\[0\] must have a row'):
      graphs.batch(found, [xs[0][:2], *xs[1:]])
    with self.assertRaisesRegex(ValueError, 'num_graphs must be at least 3'):
      graphs.batch(found, num_graphs=2)
    with self.assertRaisesRegex(ValueError, r'features\[2\] has rows .*\(1,\)'):
      graphs.batch(found, [*xs[:2], xs[2][:, :1]])
    with self.assertRaisesRegex(
      TypeError, 'graphs must be a list; got a Graph'
    ):
      graphs.batch(found[0])
    both, x = graphs.batch(found, xs)
    with self.assertRaisesRegex(
      ValueError, 'features must have a row for each'
    ):
      graphs.unbatch(both, x[:-1])


class FastSumTest(parameterized.TestCase):
  """A graph with its plan gives what it gives without, in every transform."""

  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(9, 9)) * (rng.random((9, 9)) < 0.4)
    self.graph = graphs.from_dense(matrix, weights=True)
    self.x = jnp.asarray(
      rng.normal(size=(self.graph.num_nodes, 5)), jnp.float32
    )
    self.params = graphs.gat(3, (), output_heads=2).init(
      KEY, self.graph, self.x
    )[0]

  def functions(self):
    def step(graph, w, x):
      graph = graph.replace(weights=w)
      out = graphs.propagate(graph, x, normalize='none', self_loops=False)
      return jnp.sin(out)

    def attention(graph, w, x):
      params = self.params | {'left': self.params['left'] + w[0]}
      return graphs.graph_layer(params, graph, x, average=True)

    return {'step': step, 'attention': attention}

  @parameterized.product(name=['step', 'attention'], cut=[False, True])
  def test_same_with_and_without(self, name, cut):
    fn, graph = self.functions()[name], self.graph
    if cut:
      ends = graphs.edge_pairs(graph)[::3]
      graph = graphs.remove_edges(graph, jnp.asarray(ends), both=False)
    slow = graph.replace(plan=None)
    w = graph.weights
    xs, ws = jnp.stack([self.x, 2 * self.x]), jnp.stack([w, w * w])
    # One value, of which all of this is asked.
    total = lambda g: lambda w, x: (fn(g, w, x) ** 2).sum()
    asked = {
      'value': lambda g: fn(g, w, self.x),
      'gradients and curvature': lambda g: jax.jvp(
        jax.grad(total(g), (0, 1)), (w, self.x), (w, self.x)
      ),
      'vmap of x': lambda g: jax.vmap(lambda x: fn(g, w, x))(xs),
      'vmap of both': lambda g: jax.vmap(lambda w, x: fn(g, w, x))(ws, xs),
      'vmap of graphs': lambda g: jax.vmap(fn)(
        jax.tree.map(lambda a: jnp.stack([a, a]), g), ws, xs
      ),
      'vmap of gradients': lambda g: jax.vmap(jax.grad(total(g), (0, 1)))(
        ws, xs
      ),
    }
    run = jax.jit(lambda g: {k: ask(g) for k, ask in asked.items()})
    got, want = run(graph), run(slow)
    for key in asked:
      for a, b in zip(
        jax.tree.leaves(got[key]), jax.tree.leaves(want[key]), strict=True
      ):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5, err_msg=key)

  def test_is_the_kernel_of_rows(self):
    run = lambda g: jax.jit(graphs.propagate).lower(g, self.x).as_text()
    self.assertIn('sparse_dense', run(self.graph))
    self.assertNotIn('sparse_dense', run(self.graph.replace(plan=None)))

  def test_a_plan_that_no_longer_fits_goes(self):
    graph = self.graph
    self.assertIsNone(graph.replace(senders=graph.senders).plan)
    self.assertFalse(graph.replace(edge_mask=graph.edge_mask).plan.is_full)
    self.assertTrue(graph.replace(weights=None).plan.is_full)


if __name__ == '__main__':
  absltest.main()
