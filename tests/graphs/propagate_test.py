# SPDX-License-Identifier: Apache-2.0
"""One step along edges, against dense float64 products and known numbers."""

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs

KARATE = networkx.karate_club_graph()


def dense_case(n=9, directed=True, weighted=True, seed=0):
  """A graph and its float64 matrix: [i, j] is what i receives from j."""
  rng = np.random.default_rng(seed)
  matrix = rng.uniform(0.5, 2.0, (n, n)) * (rng.random((n, n)) < 0.3)
  matrix = matrix if weighted else (matrix > 0).astype(float)
  if not directed:
    matrix = np.triu(matrix) + np.triu(matrix, 1).T
  matrix[-1] = matrix[:, -1] = 0  # Nobody's neighbor.
  return graphs.from_dense(matrix, weights=True), matrix


def reference(matrix, x, normalize, self_loops, reduce):
  """As the definitions say, edge by edge."""
  a, there = matrix.copy(), matrix != 0
  n = len(a)
  if self_loops:
    a[np.arange(n), np.arange(n)] = 1
    there[np.arange(n), np.arange(n)] = True
  with np.errstate(divide='ignore'):
    to, out = a.sum(1), a.sum(0)
    one = lambda d, p: np.where(d > 0, d**-p, 0)
    if normalize == 'row':
      a = a * one(to, 1.0)[:, None]
    elif normalize == 'symmetric':
      a = a * one(to, 0.5)[:, None] * one(out, 0.5)
  want = np.zeros_like(x)
  for i in range(n):
    sent = [a[i, j] * x[j] for j in range(n) if there[i, j]]
    if sent:
      want[i] = {'sum': np.sum, 'mean': np.mean, 'max': np.max}[reduce](sent, 0)
  return want


class PropagateTest(parameterized.TestCase):
  @parameterized.product(
    normalize=graphs.NORMALIZATIONS,
    self_loops=[True, False],
    reduce=graphs.REDUCTIONS,
    directed=[True, False],
  )
  def test_equals_the_dense_product(
    self, normalize, self_loops, reduce, directed
  ):
    graph, matrix = dense_case(directed=directed)
    x = np.random.default_rng(1).normal(size=(len(matrix), 3))
    options = {'normalize': normalize, 'self_loops': self_loops}
    padded = graphs.pad_rows(x, graph)
    padded[len(x) :] = np.nan  # What padding holds does not matter.
    got = graphs.propagate(
      graph, jnp.asarray(padded, jnp.float32), reduce=reduce, **options
    )
    want = reference(matrix, x, normalize, self_loops, reduce)
    np.testing.assert_allclose(got[: len(x)], want, rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(got[len(x) :], 0)

  def test_karate_club(self):
    graph = graphs.from_networkx(KARATE)
    got = np.asarray(graphs.propagate(graph, jnp.ones(graph.num_nodes)))
    np.testing.assert_allclose(
      [got[0], got[33], got[11], got.sum()],
      [1.8707982, 2.0031992, 0.6714986, 30.7020514],
      rtol=1e-6,
    )

  def test_equals_jraph(self):
    try:
      import jraph
    except ImportError:
      self.skipTest('jraph is not installed')
    graph = graphs.from_networkx(KARATE)
    x = jnp.asarray(
      np.random.default_rng(0).normal(size=(graph.num_nodes, 4)), jnp.float32
    )
    given = jraph.GraphsTuple(*graphs.to_graphs_tuple(graph, x))
    layer = jraph.GraphConvolution(lambda x: x, add_self_edges=True)
    want = layer(given).nodes[:34]
    got = graphs.propagate(graph, x)[:34]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)

  @parameterized.parameters('float16', 'bfloat16', 'float32', 'float64')
  def test_keeps_the_dtype_and_sums_above_it(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      n = 600
      star = [(0, i) for i in range(1, n)]
      graph = graphs.make_graph(star, n)
      x = jnp.ones(graph.num_nodes, dtype)
      got = graphs.propagate(graph, x, normalize='none', self_loops=False)
      self.assertEqual(got.dtype, dtype)
      # Sums of ones in bfloat16 would end at 256.
      self.assertEqual(float(got[0]), float(jnp.asarray(599, dtype)))

  def test_a_node_that_is_nan_touches_those_it_reaches(self):
    graph = graphs.make_graph([(0, 1), (1, 2), (2, 3), (0, 4)], 5)
    x = jnp.ones((graph.num_nodes, 2)).at[1].set(jnp.nan)
    for reduce in graphs.REDUCTIONS:
      for loops in (True, False):
        got = graphs.propagate(graph, x, self_loops=loops, reduce=reduce)
        bad = np.flatnonzero(np.isnan(got).any(axis=1)).tolist()
        self.assertEqual(bad, [0, 1, 2] if loops else [0, 2], (reduce, loops))
    cut = graphs.remove_edges(graph, jnp.array([(1, 0), (1, 2)]))
    got = graphs.propagate(cut, x, self_loops=False)
    self.assertFalse(np.isnan(got).any())

  def test_gradients_are_those_of_the_transposed_product(self):
    graph, matrix = dense_case()
    g = np.random.default_rng(2).normal(size=(graph.num_nodes, 3))
    run = lambda x: graphs.propagate(
      graph, x, normalize='none', self_loops=False
    )
    x = jnp.zeros(g.shape, jnp.float32)
    got = jax.vjp(run, x)[1](jnp.asarray(g, jnp.float32))[0]
    n = len(matrix)
    np.testing.assert_allclose(got[:n], matrix.T @ g[:n], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got[n:], 0)

  def test_degrees(self):
    graph, matrix = dense_case()
    n = len(matrix)
    for direction, axis in (('in', 1), ('out', 0)):
      for weighted in (False, True):
        got = graphs.degrees(graph, direction=direction, weighted=weighted)
        want = (matrix if weighted else matrix != 0).sum(axis=axis)
        np.testing.assert_allclose(got[:n], want, rtol=1e-6)

  @parameterized.parameters(
    ({'normalize': 'column'}, "normalize='column' is unknown"),
    ({'reduce': 'min'}, "reduce='min' is unknown"),
  )
  def test_says_what_is_wrong(self, options, message):
    graph = graphs.make_graph([(0, 1)], 2, pad_nodes=4)
    with self.assertRaisesRegex(ValueError, message):
      graphs.propagate(graph, jnp.ones(4), **options)

  def test_says_what_is_wrong_with_features(self):
    graph = graphs.make_graph([(0, 1)], 2, pad_nodes=4)
    with self.assertRaisesRegex(
      ValueError, r'x must have a row .* 4 nodes \(2 and padding.*\(2, 3\)'
    ):
      graphs.propagate(graph, jnp.ones((2, 3)))
    with self.assertRaisesRegex(TypeError, 'x must be floating point; got int'):
      graphs.propagate(graph, jnp.ones((4, 3), jnp.int32))
    with self.assertRaisesRegex(TypeError, 'graphs.from_networkx'):
      graphs.propagate(KARATE, jnp.ones((4, 3)))
    stacked = jax.tree.map(lambda x: x[None], graph)
    with self.assertRaisesRegex(ValueError, 'it is a stack of 1'):
      graphs.propagate(stacked, jnp.ones((4, 3)))


if __name__ == '__main__':
  absltest.main()
