# SPDX-License-Identifier: Apache-2.0
"""Dividing policies against NumPy in float64."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.combinatorial import _heat, _neighbors, _networks, _problem

WIDTH, DEPTH, NODES, KEPT = 6, 2, 13, 5


def graph(num_nodes=NODES, num_neighbors=KEPT, dtype='float32'):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.random((num_nodes, 2)), dtype)
  return _neighbors.knn_graph(x, num_neighbors)


def cursor(num_nodes=NODES, first=1, last=4, visited=(1, 4, 7)):
  seen = np.isin(np.arange(num_nodes), visited)
  return _problem.Cursor(
    jnp.int32(first), jnp.int32(last), jnp.asarray(seen), jnp.bool_(False)
  )


@functools.cache
def setup(**options):
  policy = _heat.agnn(width=WIDTH, depth=DEPTH, **options)
  params = policy.init(jax.random.key(0), graph())
  rng = np.random.default_rng(1)
  # Biases and scales away from zero and one, so that they count.
  params = jax.tree.map(
    lambda x: x + 0.3 * rng.normal(size=x.shape).astype('float32'), params
  )
  return jitted(policy), params


def jitted(policy):
  return policy._replace(
    init=jax.jit(policy.init),
    embed=jax.jit(policy.embed, static_argnames='train'),
    heat=jax.jit(policy.heat),
  )


def in_float64(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def silu(x):
  return x * sigmoid(x)


def dense(x, p):
  return x @ p['kernel'] + p['bias']


def norm(x, p):
  flat = x.reshape(-1, x.shape[-1])
  x = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
  return x * p['scale'] + p['bias']


def graph_reference(p, neighbors):
  """One node and one edge after the other."""
  nodes, ids, edges = in_float64(neighbors)
  ids = ids.astype(int)
  x, w = silu(dense(nodes, p['nodes'])), silu(dense(edges, p['edges']))
  for n in range(DEPTH):
    q = p[f'layer_{n}']
    u1, u2, u3, u4 = np.split(dense(x, q['maps']), 4, axis=-1)
    new, link = np.zeros_like(x), dense(w, q['link'])
    for i, row in enumerate(ids):
      sent = [sigmoid(w[i, k]) * u2[j] for k, j in enumerate(row)]
      new[i] = u1[i] + np.mean(sent, axis=0)
      for k, j in enumerate(row):
        link[i, k] += u3[i] + u4[j]
    x, w = (
      x + silu(norm(new, q['node_norm'])),
      w + silu(norm(link, q['edge_norm'])),
    )
  return x, w


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def heat_reference(params, neighbors, at):
  p = in_float64(params['params'])
  x, w = graph_reference(p['graph'], neighbors)
  role = lambda name, x: dense(
    silu(dense(x, p[name]['inner'])), p[name]['outer']
  )
  q = role('first', x[at.first]) + role('last', x[at.last])
  q = q + role('seen', x[np.asarray(at.visited)]).mean(0)
  if 'depot' in p:
    q = q + role('depot', x[0])
  rows = softmax(role('edge', w) @ q)
  return rows, rows / (rows.min() + 1e-5)


class AgnnTest(parameterized.TestCase):
  def test_graph_network_equals_reference(self):
    policy, params = setup()
    got = policy.embed(params, graph())
    p = in_float64(params['params'])
    x, w = graph_reference(p['graph'], graph())
    role = lambda name, x: dense(
      silu(dense(x, p[name]['inner'])), p[name]['outer']
    )
    np.testing.assert_allclose(got['first'], role('first', x), atol=2e-5)
    np.testing.assert_allclose(got['edges'], role('edge', w), atol=2e-5)

  @parameterized.parameters(False, True)
  def test_heat_equals_reference(self, has_depot):
    policy, params = setup(has_depot=has_depot)
    got = policy.heat(params, policy.embed(params, graph()), cursor())
    rows, heat = heat_reference(params, graph(), cursor())
    np.testing.assert_allclose(rows.sum(1), 1.0)
    np.testing.assert_allclose(
      got / got.sum(1, keepdims=True), rows, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(got, heat, rtol=2e-3)

  def test_rows_are_alike_where_nothing_is_asked(self):
    # With q = 0 a row is 1 / K before it is scaled.
    policy, params = setup()
    embedding = policy.embed(params, graph())
    roles = ('first', 'last', 'visited')
    embedding |= {k: jnp.zeros_like(embedding[k]) for k in roles}
    heat = policy.heat(params, embedding, cursor())
    want = 1 / KEPT / (1 / KEPT + 1e-5)
    np.testing.assert_allclose(heat, np.full((NODES, KEPT), want), rtol=1e-6)

  def test_heat_follows_the_state(self):
    policy, params = setup()
    embedding = policy.embed(params, graph())
    base = policy.heat(params, embedding, cursor())
    for other in (
      cursor(first=2),
      cursor(last=2),
      cursor(visited=(1, 4)),
    ):
      self.assertGreater(
        np.abs(np.asarray(policy.heat(params, embedding, other) - base)).max(),
        1e-3,
      )

  def test_neighbors_that_are_not_there_change_nothing(self):
    policy, params = setup()
    nodes, ids, edges = graph()
    short = _problem.Neighbors(nodes, ids[:, :3], edges[:, :3])
    padded = _problem.Neighbors(
      nodes, ids.at[:, 3:].set(-1), edges.at[:, 3:].set(1e3)
    )
    want = policy.heat(params, policy.embed(params, short), cursor())
    got = policy.heat(params, policy.embed(params, padded), cursor())
    np.testing.assert_allclose(got[:, :3], want, rtol=1e-3)
    np.testing.assert_array_equal(got[:, 3:], 0.0)

  def test_a_node_without_any_neighbor_is_finite(self):
    policy, params = setup()
    nodes, ids, edges = graph()
    cut = _problem.Neighbors(nodes, ids.at[2].set(-1), edges)

    def total(params):
      heat = policy.heat(params, policy.embed(params, cut), cursor())
      return jnp.sum(jnp.log1p(heat)), heat

    (_, heat), slope = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    np.testing.assert_array_equal(heat[2], 0.0)
    self.assertTrue(np.isfinite(heat).all())
    self.assertTrue(all(np.isfinite(x).all() for x in jax.tree.leaves(slope)))

  def test_permuted_nodes_permute_heat(self):
    policy, params = setup()
    nodes, ids, edges = graph()
    order = np.random.default_rng(2).permutation(NODES)
    place = np.argsort(order)
    moved = _problem.Neighbors(
      nodes[order], jnp.asarray(place)[ids[order]], edges[order]
    )
    at = cursor()
    there = _problem.Cursor(
      place[at.first], place[at.last], at.visited[order], at.done
    )
    want = policy.heat(params, policy.embed(params, graph()), at)
    got = policy.heat(params, policy.embed(params, moved), there)
    np.testing.assert_allclose(got, want[order], rtol=2e-3)

  def test_without_distances_edges_are_not_read(self):
    policy, params = setup(distances=False)
    nodes, ids, edges = graph()
    other = _problem.Neighbors(nodes, ids, edges * 7)
    np.testing.assert_array_equal(
      policy.embed(params, graph())['edges'],
      policy.embed(params, other)['edges'],
    )

  def test_running_statistics(self):
    policy, params = setup(norm='running')
    known, plain = setup()
    self.assertEqual(set(plain), {'params'})
    start = policy.init(jax.random.key(0), graph())
    # Training normalizes by the instance, in both.
    trained = policy.embed(params, graph(), train=True)
    same = known.embed({'params': params['params']}, graph())
    np.testing.assert_allclose(trained['edges'], same['edges'], atol=1e-6)
    fresh = policy.record(start, policy.embed(start, graph(), train=True))
    mean = fresh['statistics']['graph']['layer_0']['node_norm']['mean']
    seen = policy.embed(start, graph(), train=True)['statistics']['graph']
    want = 0.1 * np.asarray(seen['layer_0']['node_norm']['mean'])
    np.testing.assert_allclose(mean, want, rtol=1e-5)
    for _ in range(150):
      start = policy.record(start, {'statistics': trained['statistics']})
    start['params'] = params['params']
    evaluated = policy.embed(start, graph())
    np.testing.assert_allclose(evaluated['edges'], trained['edges'], atol=1e-3)

  def test_gradients_are_the_same_when_layers_are_computed_again(self):
    def slope(policy, params):
      def total(params):
        heat = policy.heat(params, policy.embed(params, graph()), cursor())
        return jnp.log(heat[4, 2])

      return jax.jit(jax.grad(total))(params)

    policy, params = setup()
    other, _ = setup(remat=True)
    want, got = slope(policy, params), slope(other, params)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), got, want
    )
    size = sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(want))
    self.assertGreater(size, 0.0)

  @parameterized.parameters('bfloat16', 'float64')
  def test_keeps_dtype(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      policy, wide = setup()
      params = jax.tree.map(lambda x: jnp.asarray(x, dtype), wide)
      neighbors = graph(dtype=dtype)
      drawn = policy.init(jax.random.key(0), neighbors)
      self.assertEqual(
        {x.dtype for x in jax.tree.leaves(drawn)},
        {params['params']['first']['inner']['bias'].dtype},
      )
      embedding = policy.embed(params, neighbors)
      self.assertEqual(embedding['edges'].dtype, dtype)
      heat = policy.heat(params, embedding, cursor())
      want = 'float32' if dtype == 'bfloat16' else 'float64'
      self.assertEqual(heat.dtype, want)
      rows, _ = heat_reference(params, neighbors, cursor())
      got = heat / heat.sum(1, keepdims=True)
      tight = dtype == 'float64'
      np.testing.assert_allclose(got, rows, atol=1e-9 if tight else 0.15)

  def test_one_node(self):
    policy = jitted(_heat.agnn(width=4, depth=1))
    alone = _neighbors.knn_graph(jnp.ones((1, 2)), 3)
    params = policy.init(jax.random.key(0), alone)
    heat = policy.heat(
      params, policy.embed(params, alone), cursor(1, 0, 0, (0,))
    )
    np.testing.assert_allclose(heat, [[1 / (1 + 1e-5)]], rtol=1e-6)

  def test_identical_points_are_finite(self):
    policy = jitted(_heat.agnn(width=4, depth=1))
    same = _neighbors.knn_graph(jnp.full((6, 2), 0.5), 3)
    params = policy.init(jax.random.key(0), same)
    heat = policy.heat(
      params, policy.embed(params, same), cursor(6, 0, 1, (0,))
    )
    self.assertTrue(np.isfinite(heat).all())

  def test_heat_of_vertices(self):
    policy = jitted(_heat.agnn(width=WIDTH, depth=DEPTH, rows=False))
    params = policy.init(jax.random.key(0), graph())
    heat = policy.heat(params, policy.embed(params, graph()), cursor())
    p = in_float64(params['params'])
    x, _ = graph_reference(p['graph'], graph())
    h = silu(dense(x, p['node']['inner']))
    want = softmax(dense(h, p['node']['outer'])[:, 0])
    self.assertFalse(policy.rows)
    np.testing.assert_allclose(heat, want / (want.min() + 1e-5), rtol=1e-4)


class ReadingTest(parameterized.TestCase):
  def test_a_row_gives_all_nodes_a_weight(self):
    _, ids, _ = graph()
    heat = jnp.asarray(
      np.random.default_rng(0).random((NODES, KEPT)), 'float32'
    )
    for node in (0, 7):
      want = np.full(NODES, 1e-5)
      want[np.asarray(ids[node])] += np.asarray(heat[node])
      np.testing.assert_allclose(_heat.row_of(heat, ids, node), want, rtol=1e-6)

  def test_large_scores_do_not_overflow(self):
    scores = jnp.array([[3e4, -3e4, 0.0], [1e30, 1e30, 1e30]])
    heat = _heat.row_softmax(scores, jnp.ones((2, 3), bool))
    np.testing.assert_allclose(heat[0], [1e5, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(heat[1], [1e5 / 3] * 3, rtol=1e-5)


class SimpleTest(parameterized.TestCase):
  def test_uniform_heat_is_one(self):
    policy = _heat.uniform(num_neighbors=3)
    heat = policy.heat({}, policy.embed({}, graph()), cursor())
    np.testing.assert_allclose(heat, np.ones((NODES, KEPT)), rtol=1e-4)
    self.assertEqual(policy.init(jax.random.key(0), graph()), {})
    self.assertEqual(policy.num_neighbors, 3)

  def test_without_a_network_the_nearest_is_the_likeliest(self):
    policy = _heat.none(temperature=0.5)
    heat = policy.heat({}, policy.embed({}, graph()), cursor())
    edges = np.asarray(graph().edges[..., 0], float)
    want = softmax(edges / (0.5 * edges.std()))
    np.testing.assert_allclose(
      heat / heat.sum(1, keepdims=True), want, rtol=1e-5
    )
    self.assertTrue((np.diff(heat, axis=1) <= 0).all())

  @parameterized.parameters(_heat.none, _heat.uniform)
  def test_vertices_are_alike(self, make):
    policy = make(rows=False)
    heat = policy.heat({}, policy.embed({}, graph()), cursor())
    np.testing.assert_allclose(heat, np.ones(NODES), rtol=1e-3)


def problem(name='tsp', has_depot=False):
  """What the registries read of a problem."""
  return types.SimpleNamespace(
    name=name,
    divide=types.SimpleNamespace(has_depot=has_depot),
    solve=types.SimpleNamespace(num_extra=0, network='icam'),
  )


class RegistryTest(parameterized.TestCase):
  def test_problems_decide_on_depots_and_rows(self):
    spec = 'agnn(width=4, depth=1, num_neighbors=7)'
    tour = _networks.make_divider(spec, problem())
    routes = _networks.make_divider(spec, problem('cvrp', True))
    subset = _networks.make_divider(spec, problem('mis'))
    self.assertEqual((tour.num_neighbors, tour.rows), (7, True))
    self.assertFalse(subset.rows)
    key = jax.random.key(0)
    self.assertNotIn('depot', tour.init(key, graph())['params'])
    self.assertIn('depot', routes.init(key, graph())['params'])

  def test_the_paper_is_the_default(self):
    value = _networks.DIVIDERS.value
    names = ('width', 'depth', 'num_neighbors')
    self.assertEqual([value('agnn', n) for n in names], [64, 12, 100])

  @parameterized.parameters(
    ('agn', r"divider='agn'.*agnn"),
    ('agnn(width=0)', r'width must be at least 1; got 0'),
    ('agnn(depth=0)', r'depth must be at least 1; got 0'),
    ('agnn(num_neighbors=0)', r'num_neighbors must be at least 1'),
    ('agnn(norm=batch)', r"norm.*'batch'.*instance"),
    ('agnn(kernel_init=hee)', r"kernel_init='hee'"),
    ('agnn(clip=3)', r"no option 'clip'"),
    ('none(temperature=0)', r'temperature must.*0'),
  )
  def test_says_what_is_wrong(self, spec, sentence):
    with self.assertRaisesRegex(ValueError, sentence):
      _networks.make_divider(spec, problem())
    with self.assertRaisesRegex(ValueError, sentence):
      _networks.DIVIDERS.check(spec)

  def test_says_what_is_wrong_with_graphs(self):
    policy, params = setup()
    nodes, ids, edges = graph()
    with self.assertRaisesRegex(TypeError, r'neighbors must be Neighbors'):
      policy.embed(params, (nodes, ids, edges))
    bad = _problem.Neighbors(nodes, ids[:-1], edges)
    with self.assertRaisesRegex(ValueError, r'13 nodes must have ids \[M, K\]'):
      policy.embed(params, bad)
    flat = _problem.Neighbors(nodes, ids, edges[..., 0])
    with self.assertRaisesRegex(ValueError, r'edges \[M, K, C\]; got'):
      policy.init(jax.random.key(0), flat)


if __name__ == '__main__':
  absltest.main()
