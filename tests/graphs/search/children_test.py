# SPDX-License-Identifier: Apache-2.0
"""Networks of all tables in one program, and weights that are handed on."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.graphs import search

KEY = jax.random.key(0)
SPACE = search.make_space('agnn(hidden=(2, 4), heads=(1, 2, 3))')
F, K, N = 3, 3, 6


def a_graph(seed=0, **options):
  """An undirected graph whose last node has no neighbors, and its matrix."""
  rng = np.random.default_rng(seed)
  matrix = np.triu(rng.random((N, N)) < 0.5, 1).astype(float)
  matrix[:, -1] = 0
  matrix = matrix + matrix.T
  pairs = np.argwhere(np.triu(matrix))
  return graphs.make_graph(pairs, N, **options), matrix


GRAPH, MATRIX = a_graph()
X = np.random.default_rng(1).normal(size=(N, F)).astype(np.float32)
CHILDREN = search.Children(SPACE, 2, F, K)
apply = jax.jit(CHILDREN.apply)
init = jax.jit(CHILDREN.init)


def padded(x, graph=GRAPH):
  return jnp.asarray(graphs.pad_rows(x, graph))


def shaken(params, table, seed=3):
  """Biases and padding that are not zero, but for what must be."""
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(seed)
  new = [x + rng.normal(size=x.shape).astype(x.dtype) / 3 for x in leaves]
  return jax.tree.unflatten(structure, new)


def tables(number, seed=0):
  return np.asarray(
    search.random_tables(jax.random.key(seed), SPACE, 2, (number,))
  )


def one_layer(layer, num_inputs=1, num_outputs=1):
  """Children of one layer, for formulas; and the table of a layer."""
  space = search.make_space('agnn(hidden=(2,), heads=(1, 2))')
  children = search.Children(space, 1, num_inputs, num_outputs)
  return children, space.encode([layer])


class PaddingTest(parameterized.TestCase):
  @parameterized.parameters(*range(6))
  def test_equals_the_network_without_padding(self, seed):
    # All choices of the space occur among the draws.
    table = tables(6, seed=4)[seed]
    params = init(jax.random.fold_in(KEY, seed), table)
    params = shaken(params, table)
    got = apply(params, table, GRAPH, padded(X))
    network = CHILDREN.network(table)
    want = network.apply(CHILDREN.unpadded(params, table), GRAPH, padded(X))
    np.testing.assert_allclose(got, want, atol=2e-5, rtol=1e-4)
    self.assertGreater(np.abs(want[:N]).max(), 0)

  def test_every_choice_occurs_above(self):
    drawn = tables(6, seed=4)
    for c, size in enumerate(SPACE.sizes):
      if SPACE.names[c] in ('aggregate', 'combine', 'heads', 'hidden'):
        self.assertLen(np.unique(drawn[..., c]), size)

  def test_one_program_for_all(self):
    for run in (init, apply):
      run.clear_cache()
    for table in tables(3):
      apply(init(KEY, table), table, GRAPH, padded(X))
    self.assertEqual((init._cache_size(), apply._cache_size()), (1, 1))

  def test_parameters_start_as_without_padding(self):
    table = SPACE.encode(
      [
        search.Layer(4, 'gene_linear', 3, combine='mlp'),
        search.Layer(4, 'gat', 2),
      ]
    )
    many = jax.vmap(lambda key: CHILDREN.init(key, table))(
      jax.random.split(KEY, 40)
    )
    many = jax.device_get(many)
    plain = [
      CHILDREN.unpadded(jax.tree.map(lambda x, i=i: x[i], many), table)
      for i in range(40)
    ]
    stack = jax.tree.map(lambda *xs: np.stack(xs), *plain)
    # Glorot: uniform on +-sqrt(6 / (in + out)).
    limits = {
      (0, 'kernel'): (6 / (F + 12)) ** 0.5,
      (0, 'left'): (6 / 5) ** 0.5,
      (0, 'gene'): (6 / 5) ** 0.5,
      (1, 'kernel'): (6 / (12 + 2 * K)) ** 0.5,
      (1, 'right'): (6 / (K + 1)) ** 0.5,
    }
    for (i, name), limit in limits.items():
      x = stack[i][name]
      self.assertLessEqual(np.abs(x).max(), limit * 1.0001)
      self.assertGreater(np.abs(x).max(), 0.9 * limit)
      self.assertAlmostEqual(x.std() / limit, 3**-0.5, delta=0.05)
    dense = stack[0]['combine'][0]['kernel']
    self.assertEqual(dense.shape, (40, 12, 128))
    self.assertLessEqual(np.abs(dense).max(), (6 / 140) ** 0.5 * 1.0001)
    for layer in stack:
      np.testing.assert_array_equal(layer['bias'], 0)
    # Padding is zero: there are as many numbers as without it.
    small = CHILDREN.init(KEY, SPACE.encode([search.Layer(2, 'gat', 1)] * 2))
    self.assertEqual(np.count_nonzero(small[0]['kernel']), F * 2)
    self.assertEqual(np.count_nonzero(small[1]['kernel']), 2 * K)

  def test_other_padding_of_the_graph_changes_nothing(self):
    other, _ = a_graph(pad_nodes=20, pad_edges=40)
    table = tables(1, seed=7)[0]
    params = init(KEY, table)
    dirty = padded(X, other).at[N:].set(jnp.nan)
    np.testing.assert_allclose(
      apply(params, table, GRAPH, padded(X))[:N],
      apply(params, table, other, dirty)[:N],
      atol=1e-6,
    )

  def test_names_of_nodes_do_not_matter(self):
    order = np.random.default_rng(5).permutation(N)
    pairs = np.argwhere(np.triu(MATRIX))
    place = np.argsort(order)
    other = graphs.make_graph(place[pairs], N)
    for table in tables(2, seed=8):
      params = init(KEY, table)
      np.testing.assert_allclose(
        apply(params, table, GRAPH, padded(X))[:N][order],
        apply(params, table, other, padded(X[order], other))[:N],
        atol=1e-5,
      )

  def test_dropout_draws_by_its_key(self):
    children, table = one_layer(search.Layer(2, 'gat', 2), F, K)
    params = children.init(KEY, table)
    run = jax.jit(
      lambda key, rate: children.apply(
        params, table, GRAPH, padded(X), dropout=rate, key=key
      )
    )
    a, b, c = (run(k, 0.5) for k in (KEY, KEY, jax.random.key(1)))
    np.testing.assert_array_equal(a, b)
    self.assertGreater(np.abs(a - c).max(), 1e-3)
    plain = children.apply(params, table, GRAPH, padded(X))
    np.testing.assert_allclose(run(KEY, 0.0), plain, atol=1e-6)


class FormulaTest(parameterized.TestCase):
  def test_a_convolution(self):
    children, table = one_layer(
      search.Layer(2, 'gcn', 1, activation='linear'), F, K
    )
    params = children.init(KEY, table)
    got = children.apply(params, table, GRAPH, padded(X))[:N]
    full = MATRIX + np.eye(N)
    root = 1 / np.sqrt(full.sum(1))
    kernel = np.asarray(params[0]['kernel'], np.float64)[:, 0]
    want = root[:, None] * full * root @ X.astype(np.float64) @ kernel
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_attention_equals_jraph(self):
    try:
      import jraph
    except ImportError:
      self.skipTest('jraph is not installed.')
    children, table = one_layer(
      search.Layer(2, 'gat', 1, activation='linear'), F, K
    )
    params = children.init(KEY, table)
    kernel, left, right = (params[0][k] for k in ('kernel', 'left', 'right'))
    looped = graphs.to_graphs_tuple(
      graphs.add_self_loops(GRAPH), nodes=padded(X)
    )
    logit = lambda sent, received, edges: jax.nn.leaky_relu(
      received @ left[0] + sent @ right[0], 0.2
    )[:, None]
    gat = jraph.GAT(lambda nodes: nodes @ kernel[:, 0], logit, lambda x: x)
    want = gat(jraph.GraphsTuple(**looped._asdict())).nodes[:N]
    got = children.apply(params, table, GRAPH, padded(X))[:N]
    np.testing.assert_allclose(got, want, atol=1e-5)

  @parameterized.parameters('mean', 'sum')
  def test_ones(self, aggregate):
    layer = search.Layer(2, 'const', 1, aggregate, activation='linear')
    children, table = one_layer(layer, F, K)
    params = children.init(KEY, table)
    if aggregate == 'sum':
      params[0]['kernel'] = jnp.ones_like(params[0]['kernel'])
    ones = padded(np.ones((N, F), np.float32))
    got = children.apply(params, table, GRAPH, ones)[:N]
    total = np.asarray(params[0]['kernel'])[:, 0].sum(0)
    times = MATRIX.sum(1) + 1 if aggregate == 'sum' else np.ones(N)
    np.testing.assert_allclose(got, times[:, None] * total, rtol=1e-5)

  @parameterized.parameters('cos', 'gene_linear')
  def test_without_vectors_attention_is_a_mean(self, attention):
    layer = search.Layer(2, attention, 2, activation='linear')
    children, table = one_layer(layer, F, K)
    params = children.init(KEY, table)
    for name in ('left', 'right'):
      params[0][name] = jnp.zeros_like(params[0][name])
    got = children.apply(params, table, GRAPH, padded(X))[:N]
    full = MATRIX + np.eye(N)
    z = np.einsum('ni,ihk->nhk', X, params[0]['kernel'])[:, :2].mean(1)
    np.testing.assert_allclose(
      got, full @ z / full.sum(1, keepdims=True), atol=1e-5
    )


A = (
  search.Layer(4, 'gat', 3, 'sum', 'identity', 'elu'),
  search.Layer(2, 'cos', 1, 'mean', 'identity', 'relu'),
)


def changed(place, **choices):
  layers = list(A)
  layers[place] = layers[place]._replace(**choices)
  return SPACE.encode(layers)


class SharingTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, {'aggregate': 'max'}, (True, True)),
    (0, {'combine': 'mlp'}, (True, True)),
    (0, {'attention': 'gcn'}, (False, True)),
    (0, {'activation': 'tanh'}, (False, True)),
    (0, {'hidden': 2}, (False, False)),
    (1, {'hidden': 4}, (True, True)),  # That of the outputs anyway.
    (1, {'heads': 2}, (True, False)),
    (1, {'attention': 'gat'}, (True, False)),
  )
  def test_who_is_homogeneous(self, place, choices, want):
    table, ancestor = changed(place, **choices), SPACE.encode(A)
    got = search.homogeneous(SPACE, table, ancestor, K)
    self.assertEqual(tuple(got), want)
    # Blindly, shapes suffice.
    blind = CHILDREN.inherits(table, ancestor, share='unconstrained')
    shapes = {'hidden', 'heads'} & choices.keys()
    self.assertEqual(tuple(np.asarray(blind)), want if shapes else (True, True))
    none = CHILDREN.inherits(table, ancestor, share='none')
    self.assertFalse(np.asarray(none).any())

  def test_equal_total_widths_are_other_shapes(self):
    space = search.SearchSpace()
    layers = [search.Layer(h, 'gat', n) for h, n in ((16, 4), (8, 8))]
    a, b = (space.encode([layer, search.Layer()]) for layer in layers)
    # The second layer is given as many numbers by both.
    self.assertEqual(search.homogeneous(space, a, b, 7).tolist(), [False, True])

  def test_equal_architectures_are_equal_functions(self):
    for table in tables(3, seed=9):
      ancestor = init(KEY, table)
      child = init(jax.random.key(1), table)
      got = CHILDREN.inherit(child, table, ancestor, table)
      want = apply(ancestor, table, GRAPH, padded(X))
      np.testing.assert_array_equal(apply(got, table, GRAPH, padded(X)), want)
      fresh = apply(child, table, GRAPH, padded(X))
      self.assertGreater(np.abs(np.asarray(fresh - want)).max(), 0)

  def test_layers_inherit_one_by_one(self):
    table, ancestor = (
      changed(0, attention='gcn', combine='mlp'),
      SPACE.encode(A),
    )
    old, new = init(KEY, ancestor), init(jax.random.key(1), table)
    before = jax.tree.map(np.array, old)
    got = CHILDREN.inherit(new, table, old, ancestor)
    jax.tree.map(np.testing.assert_array_equal, got[0], new[0])
    np.testing.assert_array_equal(got[1]['kernel'], old[1]['kernel'])
    # The ancestor does not have those dense layers.
    jax.tree.map(
      np.testing.assert_array_equal, got[1]['combine'], new[1]['combine']
    )
    jax.tree.map(np.testing.assert_array_equal, old, before)
    both = changed(1, combine='mlp')
    got = CHILDREN.inherit(init(KEY, both), both, init(KEY, both), both)
    del got
    kept = init(jax.random.key(2), both)
    got = CHILDREN.inherit(new, both, kept, both)
    jax.tree.map(
      np.testing.assert_array_equal, got[1]['combine'], kept[1]['combine']
    )

  def test_rows_move_with_the_heads_before(self):
    # 1 head of 4 and 2 heads of 2 are four numbers, padded otherwise.
    wide = SPACE.encode([search.Layer(4, 'gat', 1), A[1]])
    many = SPACE.encode([search.Layer(2, 'gat', 2), A[1]])
    old, new = init(KEY, wide), init(jax.random.key(1), many)
    got = CHILDREN.inherit(new, many, old, wide)
    plain = [
      CHILDREN.unpadded(p, t)[1]['kernel']
      for p, t in ((got, many), (old, wide))
    ]
    np.testing.assert_array_equal(*plain)
    self.assertEqual(
      np.count_nonzero(got[1]['kernel']), np.count_nonzero(plain[0])
    )

  def test_says_what_is_wrong(self):
    table = SPACE.encode(A)
    other = search.Children(SPACE, 2, F + 2, K).init(KEY, table)
    with self.assertRaisesRegex(ValueError, 'ancestor_params must make'):
      CHILDREN.inherit(init(KEY, table), table, other, table)
    with self.assertRaisesRegex(ValueError, "share='always' is unknown"):
      CHILDREN.inherits(table, table, share='always')
    with self.assertRaisesRegex(ValueError, 'must have as many layers'):
      search.homogeneous(SPACE, table, table[:1])
    with self.assertRaisesRegex(ValueError, 'params and x must be of 2 layers'):
      CHILDREN.apply(init(KEY, table), table, GRAPH, jnp.ones((8, F + 1)))
    with self.assertRaisesRegex(
      ValueError, r'table must have shape \[2, 6\].* got \(1, 6\)'
    ):
      CHILDREN.network(table[:1])
    with self.assertRaisesRegex(ValueError, 'num_outputs must be at least 1'):
      search.Children(SPACE, 2, F, 0)
    with self.assertRaisesRegex(TypeError, 'key must be a typed key'):
      CHILDREN.init(jnp.zeros(2, jnp.uint32), table)
    with self.assertRaisesRegex(TypeError, "SearchSpace; got the text 'agnn'"):
      search.Children('agnn', 2, F, K)

  @parameterized.parameters(
    (np.full((2, 6), 9), ValueError, r'\[0, 0\]=9 is no hidden: there are 2'),
    (np.full((2, 6), -1), ValueError, r'\[0, 0\]=-1 is no hidden'),
    (np.zeros((3, 6), int), ValueError, r'must have shape \[2, 6\].*\(3, 6\)'),
    (np.zeros((2, 5), int), ValueError, r'must have shape \[2, 6\].*\(2, 5\)'),
    (np.zeros((2, 6)), TypeError, 'must hold integers; got float64'),
  )
  def test_no_table_is_read_beyond_the_space(self, table, error, message):
    good = SPACE.encode(A)
    params = init(KEY, good)
    runs = {
      'init': lambda: CHILDREN.init(KEY, table),
      'apply': lambda: CHILDREN.apply(params, table, GRAPH, padded(X)),
      'masks': lambda: CHILDREN.masks(table),
      'network': lambda: CHILDREN.network(table),
      'unpadded': lambda: CHILDREN.unpadded(params, table),
      'inherits': lambda: CHILDREN.inherits(table, good),
      'ancestor': lambda: CHILDREN.inherits(good, table),
      'inherit': lambda: CHILDREN.inherit(params, table, params, good),
    }
    for name, run in runs.items():
      with self.subTest(name), self.assertRaisesRegex(error, message):
        run()
    # While it is traced, its shape and type are known.
    if 'no hidden' not in message:
      with self.assertRaisesRegex(error, 'table must'):
        jax.jit(CHILDREN.init)(KEY, jnp.asarray(table))

  @parameterized.parameters(
    ({'dropout': 0.6}, ValueError, 'dropout=0.6 needs a key'),
    ({'dropout': 1.5, 'key': KEY}, ValueError, 'dropout must lie in'),
    ({'dropout': 0.6, 'key': 0}, TypeError, 'key must be a typed key'),
    ({'graph': None}, TypeError, 'graph must be a graphs.Graph'),
  )
  def test_no_dropout_is_forgotten(self, options, error, message):
    table = SPACE.encode(A)
    given = {'graph': GRAPH, **options}
    with self.assertRaisesRegex(error, message):
      CHILDREN.apply(init(KEY, table), table, x=padded(X), **given)


if __name__ == '__main__':
  absltest.main()
