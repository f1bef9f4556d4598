# SPDX-License-Identifier: Apache-2.0
"""What every network on graphs promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs

KEY = jax.random.key(0)
# Spec by name, and how far a layer sees.
NETWORKS = {
  'chebyshev': ('chebyshev((4,), order=3)', 2),
  'composed': ('composed((2,), num_heads=2, attention=(cos, gcn))', 1),
  'gat': ('gat((2,), num_heads=2, version=2)', 1),
  'gcn': ('gcn((4,), activation=tanh)', 1),
  'gin': ('gin((4,))', 1),
  'mlp': ('mlp((4,), activation=tanh)', 0),
  'sage': ('sage((4,), aggregate=max, activation=tanh)', 1),
}
# Of this path with a triangle node 7 has no neighbors.
EDGES = np.array(
  [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (4, 6), (0, 2)]
)
N, WIDTH = 8, 5


def a_graph(edges=EDGES, **options):
  return graphs.make_graph(edges, N, **options)


def features(graph, dtype='float32', padding=0.0):
  x = np.full((graph.num_nodes, WIDTH), padding)
  x[:N] = np.random.default_rng(0).normal(size=(N, WIDTH))
  return jnp.asarray(x, dtype)


def close(got, want, name=''):
  np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5, err_msg=name)


@functools.cache
def made(name):
  network = graphs.make_network(NETWORKS[name][0], 3)
  graph = a_graph()
  params = network.init(KEY, graph, features(graph))
  rng = np.random.default_rng(1)
  leaves, structure = jax.tree.flatten(params)
  leaves = [
    x + jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype) for x in leaves
  ]
  return network, jax.tree.unflatten(structure, leaves)


class GraphNetworkContractTest(parameterized.TestCase):
  def test_every_entry_is_here(self):
    self.assertEqual(set(NETWORKS), set(graphs.NETWORKS))

  @parameterized.parameters(*NETWORKS)
  def test_one_program_for_all_it_promises(self, name):
    network, params = made(name)
    traces = []

    @jax.jit
    def run(params, graph, x):
      traces.append(None)
      apply = lambda p, g, x: network.apply(p, g, x)
      both = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), params)
      pair = jax.tree.map(lambda a: jnp.stack([a, a]), graph)
      out = {
        'plain': apply(params, graph, x),
        'parameters': jax.vmap(lambda p: apply(p, graph, x))(both),
        'features': jax.vmap(lambda x: apply(params, graph, x))(
          jnp.stack([x, -x])
        ),
        'graphs': jax.vmap(lambda g: apply(params, g, x))(pair),
      }
      loss = lambda p, x: jnp.square(apply(p, graph, x)).sum()
      return out, jax.grad(loss, (0, 1))(params, x)

    graph = a_graph()
    x = features(graph)
    out, grads = run(params, graph, x)
    eager = network.apply(params, graph, x)
    close(out['plain'], eager, 'jit')
    for key in ('parameters', 'features', 'graphs'):
      close(out[key][0], eager, key)
    close(out['graphs'][1], eager, 'graphs')
    for leaf in jax.tree.leaves(grads):
      self.assertTrue(bool(jnp.isfinite(leaf).all()))
      self.assertGreater(float(jnp.abs(leaf).max()), 0)
    # Isolated nodes and padding: finite and zero.
    self.assertTrue(bool(jnp.isfinite(eager).all()))
    np.testing.assert_array_equal(eager[N:], 0)
    run(params, a_graph(EDGES[:5], pad_edges=graph.num_edges), x)
    self.assertLen(traces, 1)

  @parameterized.parameters(*NETWORKS)
  def test_neither_numbering_nor_padding_matters(self, name):
    network, params = made(name)
    graph = a_graph()
    want = np.asarray(network.apply(params, graph, features(graph)))[:N]
    order = np.random.default_rng(2).permutation(N)
    place = np.argsort(order)
    turned = graphs.make_graph(place[EDGES], N)
    x = features(turned).at[:N].set(features(turned)[order])
    close(network.apply(params, turned, x)[:N], want[order], 'numbering')
    for options in (
      {'pad_nodes': N},
      {'pad_nodes': 13, 'pad_edges': 40},
    ):
      other = a_graph(**options)
      got = network.apply(params, other, features(other, padding=np.nan))
      close(got[:N], want, str(options))
    plain = graph.replace(plan=None)
    close(network.apply(params, plain, features(plain))[:N], want, 'no plan')

  @parameterized.parameters(*NETWORKS)
  def test_a_node_that_is_nan_stays_in_its_neighborhood(self, name):
    network, params = made(name)
    graph = a_graph()
    x = features(graph).at[0].set(jnp.nan)
    got = np.asarray(network.apply(params, graph, x))
    # Two layers of so many steps each.
    step = np.eye(N) + (graphs.to_dense(graph)[:N, :N] > 0)
    far = np.linalg.matrix_power(step, 2 * NETWORKS[name][1])[:, 0] == 0
    self.assertTrue(np.isnan(got[0]).any())
    self.assertTrue(np.isfinite(got[:N][far]).all())
    self.assertTrue(far.any())
    cut = graphs.remove_edges(graph, jnp.array([(0, 1), (0, 2)]))
    got = np.asarray(network.apply(params, cut, x))
    self.assertTrue(np.isfinite(got[1:N]).all())

  @parameterized.product(name=[*NETWORKS], dtype=['bfloat16', 'float64'])
  def test_keeps_the_dtype_of_the_features(self, name, dtype):
    with jax.enable_x64(dtype == 'float64'):
      network, graph = graphs.make_network(NETWORKS[name][0], 3), a_graph()
      x = features(graph, dtype)
      params = jax.eval_shape(network.init, KEY, graph, x)
      for leaf in jax.tree.leaves(params):
        self.assertEqual(leaf.dtype, dtype)
      out = jax.eval_shape(network.apply, params, graph, x)
      self.assertEqual(out.dtype, dtype)
    if dtype == 'bfloat16':
      network, exact = made(name)
      low = jax.tree.map(lambda p: p.astype(dtype), exact)
      exact = jax.tree.map(lambda p: p.astype('float32'), low)
      want = network.apply(exact, graph, x.astype('float32'))
      got = network.apply(low, graph, x).astype('float32')
      np.testing.assert_allclose(got, want, rtol=0.1, atol=0.1)

  @parameterized.parameters(*NETWORKS)
  def test_eight_devices_give_what_one_gives(self, name):
    network, params = made(name)
    graph = a_graph(pad_edges=21)  # Not a multiple of eight.
    mesh = jax.make_mesh(
      (8,), ('edges',), axis_types=(jax.sharding.AxisType.Auto,)
    )
    apply = lambda g, p, x: network.apply(p, g, x)
    sharded = graphs.shard_edges(apply, mesh)

    def both(run):
      loss = lambda p, x: jnp.square(run(graph, p, x)).sum()
      return jax.jit(
        lambda p, x: (run(graph, p, x), jax.grad(loss, (0, 1))(p, x))
      )(params, features(graph))

    got, want = both(sharded), both(apply)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
      close(a, b)

  @parameterized.parameters(*NETWORKS)
  def test_says_how_its_options_are_spelled(self, name):
    with self.assertRaisesRegex(ValueError, f'{name} has no option .no_such.'):
      graphs.make_network(f'{name}(no_such=1)', 3)
    for option, parameter in graphs.NETWORKS.options(name).items():
      self.assertIsNot(parameter.default, parameter.empty, option)


if __name__ == '__main__':
  absltest.main()
