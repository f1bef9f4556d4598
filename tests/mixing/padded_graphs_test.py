# SPDX-License-Identifier: Apache-2.0
"""The graphs of `jaxdl.graphs` are graphs of clients, too."""

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest

from jaxdl import graphs, mixing

KARATE = networkx.karate_club_graph()


class PaddedGraphTest(absltest.TestCase):
  def test_mixes_as_the_graph_that_it_was_made_of(self):
    graph = graphs.from_networkx(KARATE)
    plain = networkx.Graph(KARATE.edges)
    np.testing.assert_array_equal(
      mixing.graphs.adjacency(graph), mixing.graphs.adjacency(plain)
    )
    got, want = mixing.as_mixer(graph), mixing.as_mixer(plain)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(34, 3)), jnp.float32)
    np.testing.assert_allclose(got.apply(x, 0), want.apply(x, 0), rtol=1e-6)

  def test_who_receives_is_who_receives(self):
    graph = graphs.make_graph([(0, 1), (1, 2)], 3, directed=True)
    want = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    np.testing.assert_array_equal(mixing.graphs.adjacency(graph), want)

  def test_edges_that_were_taken_out_are_no_links(self):
    graph = graphs.make_graph([(0, 1), (1, 2)], 3)
    cut = graphs.remove_edges(graph, jnp.array([(1, 0)]))
    want = [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    np.testing.assert_array_equal(mixing.graphs.adjacency(cut), want)

  def test_says_what_it_cannot_keep(self):
    graph = graphs.make_graph([(0, 1)], 2, weights=[0.5])
    with self.assertRaisesRegex(ValueError, 'weight 0.5 on the link 1-0'):
      mixing.as_mixer(graph)
    # What the message says to do instead, of a graph that is padded.
    rows = graphs.normalized(graph.replace(weights=None), normalize='row')
    with self.assertRaisesRegex(ValueError, r'graphs.to_scipy\(graph\).toarr'):
      mixing.as_mixer(rows)
    mixer = mixing.from_matrix(graphs.to_scipy(rows).toarray())
    np.testing.assert_allclose(mixer.matrix(0), np.full((2, 2), 0.5))
    plain = graph.replace(weights=None)
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), plain)
    with self.assertRaisesRegex(ValueError, 'it is a stack of 2'):
      mixing.graphs.adjacency(stacked)
    with self.assertRaisesRegex(TypeError, 'must be concrete'):
      jax.jit(lambda g: jnp.asarray(mixing.graphs.adjacency(g)))(plain)


if __name__ == '__main__':
  absltest.main()
