# SPDX-License-Identifier: Apache-2.0
"""Layers and networks, against float64 NumPy written edge by edge and jraph."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.networks import functional

KEY = jax.random.key(0)


def a_graph(n=7, seed=0):
  """An undirected graph whose last node has no neighbors, and its matrix."""
  rng = np.random.default_rng(seed)
  matrix = np.triu(rng.random((n, n)) < 0.5, 1).astype(float)
  matrix[:, -1] = 0
  matrix = matrix + matrix.T
  return graphs.from_dense(matrix), matrix


def features(graph, width, seed=1):
  x = np.random.default_rng(seed).normal(size=(graph.num_nodes, width))
  return np.where(np.asarray(graph.node_mask)[:, None], x, np.nan)


def to64(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def shaken(draw, *args, seed=3):
  """Parameters as drawn by a function, with other numbers, none zero or one."""
  leaves, structure = jax.tree.flatten(jax.eval_shape(draw, *args))
  rng = np.random.default_rng(seed)
  new = [rng.normal(size=x.shape).astype(x.dtype) / 1.5 for x in leaves]
  return jax.tree.unflatten(structure, new)


def leaky(x, slope=0.2):
  return np.where(x > 0, x, slope * x)


def elu(x):
  return np.where(x > 0, x, np.expm1(x))


def dense(p, x):
  return x @ p['kernel'] + p.get('bias', 0)


def layer_reference(p, matrix, x, attention, aggregate, combine, activation):
  """The sheet's layer, node by node; heads [H, W] side by side."""
  n = len(matrix)
  heads = p['kernel'].shape[1]
  z = np.einsum('ni,ihw->nhw', x, p['kernel'])
  degree = matrix.sum(1) + 1
  out = np.zeros((n, heads, p['kernel'].shape[2]))
  for h in range(heads):
    l, r, g = (p[k][h] for k in ('left', 'right', 'gene'))
    for i in range(n):
      near = [j for j in range(n) if matrix[i, j] or j == i]
      logits = []
      for j in near:
        a, b = z[i, h], z[j, h]
        gat = lambda a, b, l=l, r=r: leaky(l @ a + r @ b)
        logits.append(
          {
            'const': 1.0,
            'gcn': (degree[i] * degree[j]) ** -0.5,
            'gat': gat(a, b),
            'sym_gat': gat(a, b) + gat(b, a),
            'cos': (l * a) @ (r * b),
            'linear': np.tanh(((l + r) * b).sum()),
            'gene_linear': g @ np.tanh(l * a + r * b),
          }[attention]
        )
      weights = np.array(logits)
      if attention not in ('const', 'gcn'):
        weights = np.exp(weights) / np.exp(weights).sum()
      sent = weights[:, None] * z[near, h]
      reduce = {'sum': np.sum, 'mean': np.mean, 'max': np.max}[aggregate]
      out[i, h] = reduce(sent, axis=0)
  out = out.reshape(n, -1)
  if combine == 'mlp':
    first, second = p['combine']
    out = dense(second, np.maximum(dense(first, out), 0))
  out = out + p['bias']
  return {
    'sigmoid': lambda v: 1 / (1 + np.exp(-v)),
    'tanh': np.tanh,
    'relu': lambda v: np.maximum(v, 0),
    'linear': lambda v: v,
    'softplus': lambda v: np.log1p(np.exp(v)),
    'leaky_relu': lambda v: leaky(v, 0.01),
    'relu6': lambda v: np.clip(v, 0, 6),
    'elu': elu,
  }[activation](out)


def layer_params(inputs=3, heads=2, width=4, average=False):
  leaves = graphs.graph_layer_leaves(inputs, heads, width, average=average)
  return shaken(lambda: functional.draw(KEY, leaves, jnp.float32))


# Every value of every choice at least once.
CHOICES = [
  (attention, graphs.AGGREGATES[i % 3], graphs.COMBINES[i % 2], activation)
  for i, (attention, activation) in enumerate(
    zip((*graphs.ATTENTIONS, 'gat'), graphs.LAYER_ACTIVATIONS, strict=True)
  )
]


class LayerTest(parameterized.TestCase):
  @parameterized.parameters(*CHOICES)
  def test_equals_the_reference(self, *choices):
    graph, matrix = a_graph()
    params, x = layer_params(), features(graph, 3)
    names = ('attention', 'aggregate', 'combine', 'activation')
    options = dict(zip(names, choices, strict=True))
    run = jax.jit(lambda p, g, x: graphs.graph_layer(p, g, x, **options))
    got = run(params, graph, jnp.asarray(x, jnp.float32))
    want = layer_reference(to64(params), matrix, x[:7], *choices)
    np.testing.assert_allclose(got[:7], want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(got[7:], 0)

  def test_one_program_for_every_choice(self):
    graph, matrix = a_graph()
    params, x = layer_params(), features(graph, 3)
    traces = []

    @jax.jit
    def run(numbers):
      traces.append(None)
      names = ('attention', 'aggregate', 'combine', 'activation')
      options = dict(zip(names, numbers, strict=True))
      given = jnp.asarray(x, jnp.float32)
      return graphs.graph_layer(params, graph, given, **options)

    known = (
      *(graphs.ATTENTIONS, graphs.AGGREGATES, graphs.COMBINES),
      tuple(graphs.LAYER_ACTIVATIONS),
    )
    for choices in CHOICES:
      numbers = [k.index(c) for k, c in zip(known, choices, strict=True)]
      want = layer_reference(to64(params), matrix, x[:7], *choices)
      got = run(jnp.array(numbers))
      np.testing.assert_allclose(got[:7], want, rtol=1e-4, atol=1e-5)
    self.assertLen(traces, 1)

  @parameterized.parameters(True, False)
  def test_masked_heads_are_as_if_they_were_not_there(self, average):
    graph, _ = a_graph()
    x = jnp.asarray(features(graph, 3), jnp.float32)
    large, small = (layer_params(3, h, w, average) for h, w in ((4, 5), (2, 3)))
    mask = np.zeros((4, 5), bool)
    mask[:2, :3] = True
    flat = (mask.any(0) if average else mask.ravel()).nonzero()[0]
    for k in ('left', 'right', 'gene'):
      large[k][:2, :3] = small[k]
    large['kernel'][:, :2, :3] = small['kernel']
    large['bias'][flat] = small['bias']
    first, second = large['combine']
    first['kernel'][flat] = small['combine'][0]['kernel']
    first['bias'] = small['combine'][0]['bias']
    second['kernel'][:, flat] = small['combine'][1]['kernel']
    second['bias'][flat] = small['combine'][1]['bias']
    options = {'average': average, 'activation': 'sigmoid'}
    run = jax.jit(
      lambda a, c, p, m=None: graphs.graph_layer(
        p, graph, x, attention=a, combine=c, mask=m, **options
      )
    )
    for number, combine in itertools.product(
      range(len(graphs.ATTENTIONS)), range(len(graphs.COMBINES))
    ):
      got = np.asarray(run(number, combine, large, mask))
      want = run(number, combine, small)
      np.testing.assert_allclose(got[:, flat], want, rtol=2e-5, atol=1e-6)
      others = np.delete(got, flat, axis=1)
      np.testing.assert_array_equal(others, 0)

  def test_counts_and_sums_of_ones(self):
    graph, matrix = a_graph()
    ones = {'kernel': jnp.ones((3, 1, 1)), 'bias': jnp.zeros(1)}
    x = jnp.ones((graph.num_nodes, 3))
    options = {'attention': 'const', 'activation': 'linear'}
    run = jax.jit(
      lambda x: [
        graphs.graph_layer(ones, graph, x, aggregate=aggregate, **options)
        for aggregate in ('mean', 'sum')
      ]
    )
    mean, total = (np.asarray(out)[:7, 0] for out in run(x))
    np.testing.assert_allclose(mean, 3)
    np.testing.assert_allclose(total, 3 * (matrix.sum(1) + 1))

  def test_attention_adds_up_to_one(self):
    graph, matrix = a_graph()
    params = layer_params()
    shape = (graph.num_nodes, 2, 4)
    z = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    @jax.jit
    def run(params, number):
      edges, loops = graphs.attention_weights(
        params, graph, z, attention=number
      )
      total = graphs.segment_sum(edges, graph.receivers, graph.num_nodes)
      return edges, loops + total

    for name in graphs.ATTENTIONS[2:]:
      _, total = run(params, graphs.ATTENTIONS.index(name))
      np.testing.assert_allclose(total[:7], 1, rtol=1e-5)
      np.testing.assert_array_equal(total[7:], 0)
    for name in ('cos', 'gene_linear'):
      zero = jax.tree.map(np.zeros_like, params)
      edges, _ = run(zero, graphs.ATTENTIONS.index(name))
      want = 1 / (matrix.sum(1) + 1)
      m = int(graph.edge_mask.sum())
      np.testing.assert_allclose(
        edges[:m, 0], want[np.asarray(graph.receivers)[:m]], rtol=1e-6
      )

  def test_loops_that_a_graph_has_count_once(self):
    graph, _ = a_graph()
    looped = graphs.add_self_loops(graph)
    x, params = jnp.asarray(features(graph, 3), jnp.float32), layer_params()
    run = jax.jit(
      lambda g, a, b: graphs.graph_layer(params, g, x, attention=a, aggregate=b)
    )
    for number in range(len(graphs.ATTENTIONS)):
      numbers = jnp.array(number), jnp.array(number % 3)
      a, b = run(looped, *numbers), run(graph, *numbers)
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

  def test_large_logits_do_not_overflow(self):
    graph, _ = a_graph()
    params = jax.tree.map(lambda p: 100 * p, layer_params())
    x = jnp.asarray(features(graph, 3), jnp.float32)

    def total(p, number):
      out = graphs.graph_layer(
        p, graph, x, attention=number, activation='linear'
      )
      return out.sum()

    run = jax.jit(jax.value_and_grad(total))
    for number in range(len(graphs.ATTENTIONS)):
      for leaf in jax.tree.leaves(run(params, jnp.array(number))):
        self.assertTrue(np.isfinite(leaf).all(), graphs.ATTENTIONS[number])

  def test_says_what_is_wrong(self):
    graph, _ = a_graph()
    params, x = layer_params(), jnp.ones((graph.num_nodes, 3))
    run = lambda p=params, x=x, **o: jax.eval_shape(
      lambda: graphs.graph_layer(p, graph, x, **o)
    )
    for options, message in (
      ({'attention': 'gatt'}, "attention='gatt' is unknown.*'sym_gat'"),
      ({'aggregate': 'min'}, "aggregate='min' is unknown"),
      ({'activation': 'gelu'}, "activation='gelu' is unknown"),
      ({'attention': 7}, 'attention must be at most 6; got 7'),
      ({'mask': jnp.ones((2, 3), bool)}, r'mask must have shape \(2, 4\)'),
      ({'x': jnp.ones((graph.num_nodes, 4))}, r"params\['kernel'\] must have"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        run(**options)
    with self.assertRaisesRegex(TypeError, 'attention must be a name'):
      run(attention=1.5)


def run_network(spec, graph, x, outputs=3):
  network = graphs.make_network(spec, outputs)
  x = jnp.asarray(x, jnp.float32)
  params = shaken(network.init, KEY, graph, x)
  return np.asarray(jax.jit(network.apply)(params, graph, x))[:7], to64(params)


class NetworkTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.graph, self.matrix = a_graph()
    self.x = features(self.graph, 5)
    self.real = self.x[:7]

  def same(self, got, want):
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)

  def normalized(self, loops=True):
    a = self.matrix + loops * np.eye(7)
    d = np.where(a.sum(1) > 0, a.sum(1), 1) ** -0.5
    return d[:, None] * a * d

  def test_gcn(self):
    got, params = run_network('gcn((4,))', self.graph, self.x)
    s = self.normalized()
    hidden = np.maximum(
      s @ dense(params[0], self.real)
      - s.sum(1)[:, None] * params[0]['bias']
      + params[0]['bias'],
      0,
    )
    want = s @ (hidden @ params[1]['kernel']) + params[1]['bias']
    self.same(got, want)
    wide, params = run_network('gcn((), bias=False)', self.graph, self.x, 9)
    self.same(wide, s @ self.real @ params[0]['kernel'])

  @parameterized.parameters('mean', 'sum', 'max')
  def test_sage(self, aggregate):
    got, (p, q) = run_network(
      f'sage((4,), aggregate={aggregate}, activation=tanh)', self.graph, self.x
    )

    def layer(p, x):
      out = np.zeros_like(x)
      for i in range(7):
        near = np.flatnonzero(self.matrix[i])
        if len(near):
          out[i] = getattr(np, aggregate)(x[near], axis=0)
      return dense(p['own'], x) + out @ p['neighbors']['kernel']

    self.same(got, layer(q, np.tanh(layer(p, self.real))))

  def test_gin(self):
    got, (p, q, head) = run_network('gin((4, 3))', self.graph, self.x)

    def layer(p, x):
      x = (1 + p['epsilon']) * x + self.matrix @ x
      x = np.maximum(dense(p['first'], x), 0)
      return np.maximum(dense(p['second'], x), 0)

    self.same(got, dense(head, layer(q, layer(p, self.real))))

  @parameterized.parameters(2.0, 1.5)
  def test_chebyshev(self, largest):
    got, (p,) = run_network(
      f'chebyshev((), order=4, largest_eigenvalue={largest})',
      self.graph,
      self.x,
    )
    laplacian = 2 / largest * (np.eye(7) - self.normalized(False)) - np.eye(7)
    # By the definition on eigenvalues, T_k(cos t) = cos(k t).
    values, vectors = np.linalg.eigh(laplacian)
    t = np.arccos(values.astype(complex))
    parts = [
      (vectors * np.cos(k * t).real) @ vectors.T @ self.real for k in range(4)
    ]
    self.same(got, dense(p, np.concatenate(parts, axis=1)))

  def test_gat(self):
    spec = 'gat((4,), num_heads=2, output_heads=2)'
    got, (p, q) = run_network(spec, self.graph, self.x)
    for leaf in (p, q):
      leaf['gene'] = leaf['left']
    options = ('gat', 'sum', 'identity')
    hidden = layer_reference(p, self.matrix, self.real, *options, 'elu')
    bias, q['bias'] = q['bias'], 0
    both = layer_reference(q, self.matrix, hidden, *options, 'linear')
    self.same(got, both.reshape(7, 2, 3).mean(1) + bias)

  def gat_v2(self, p, x):
    """Two heads side by side, without bias."""
    z = np.einsum('ni,ihw->nhw', x, p['kernel'])
    to = np.einsum('ni,ihw->nhw', x, p['receiver_kernel'])
    out = np.zeros_like(z)
    for i in range(7):
      near = [j for j in range(7) if self.matrix[i, j] or j == i]
      for h in range(z.shape[1]):
        e = np.array([p['left'][h] @ leaky(to[i, h] + z[j, h]) for j in near])
        e = np.exp(e - e.max())
        out[i, h] = (e / e.sum()) @ z[near, h]
    return out

  def test_gat_of_the_second_version(self):
    spec = 'gat((4,), num_heads=2, version=2)'
    got, (p, q) = run_network(spec, self.graph, self.x)
    hidden = elu(self.gat_v2(p, self.real).reshape(7, -1) + p['bias'])
    self.same(got, self.gat_v2(q, hidden).mean(1) + q['bias'])

  def test_second_version_ranks_neighbors_by_who_looks(self):
    # Of version 1 every node ranks senders alike; of version 2 it need not.
    rng = np.random.default_rng(0)
    full = graphs.from_dense(1 - np.eye(5), pad_nodes=5)
    orders = {}
    for version in (1, 2):
      network = graphs.gat(4, (), output_heads=1, version=version)
      x = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
      found = set()
      params = shaken(network.init, KEY, full, x)
      z = np.asarray(x @ params[0]['kernel'][:, 0], np.float64)
      if version == 1:
        l, r = params[0]['left'][0], params[0]['right'][0]
        scores = leaky((z @ l)[:, None] + (z @ r)[None])
      else:
        to = x @ params[0]['receiver_kernel'][:, 0]
        pair = leaky(np.asarray(to)[:, None] + np.asarray(z)[None])
        scores = pair @ np.asarray(params[0]['left'][0])
      found = {tuple(np.argsort(row)) for row in np.asarray(scores)}
      orders[version] = len(found)
    self.assertEqual(orders[1], 1)
    self.assertGreater(orders[2], 1)

  def test_composed_and_mlp(self):
    spec = (
      'composed((4,), num_heads=(2, 1), attention=(cos, gene_linear), '
      'aggregate=(max, mean), combine=(mlp, identity), '
      'activation=(tanh, relu6))'
    )
    got, (p, q) = run_network(spec, self.graph, self.x)
    for leaf in (p, q):
      leaf.setdefault('gene', leaf['left'])
    hidden = layer_reference(
      p, self.matrix, self.real, 'cos', 'max', 'mlp', 'tanh'
    )
    want = layer_reference(
      q, self.matrix, hidden, 'gene_linear', 'mean', 'identity', 'relu6'
    )
    self.same(got, want)
    got, (p, q) = run_network('mlp((4,))', self.graph, self.x)
    self.same(got, dense(q, np.maximum(dense(p, self.real), 0)))

  def test_dropout(self):
    x = jnp.asarray(self.x, jnp.float32)
    for spec in ('gat((), version=2)', 'composed(())'):
      network = graphs.make_network(spec, 3)
      params = shaken(network.init, KEY, self.graph, x)
      run = jax.jit(
        lambda key, n=network, p=params: n.apply(
          p, self.graph, x, train=True, key=key
        )
      )
      one, same, other = run(KEY), run(KEY), run(jax.random.key(1))
      np.testing.assert_array_equal(one, same)
      self.assertGreater(float(jnp.abs(one - other).max()), 1e-3)
      with self.assertRaisesRegex(ValueError, 'needs a key: dropout=0'):
        network.apply(params, self.graph, x, train=True)
    # A linear map of what is dropped keeps its average, not one draw.
    network = graphs.gcn(3, (), dropout=0.5)
    params = shaken(network.init, KEY, self.graph, x)
    keys = jax.random.split(KEY, 4000)
    one = lambda k: network.apply(params, self.graph, x, train=True, key=k)
    run = jax.jit(jax.vmap(one))
    drawn = np.asarray(run(keys))
    want = jax.jit(network.apply)(params, self.graph, x)
    np.testing.assert_allclose(drawn.mean(0), want, atol=0.1)
    self.assertGreater(np.abs(drawn[0] - drawn[1]).max(), 1e-3)
    np.testing.assert_array_equal(run(keys), drawn)
    with self.assertRaisesRegex(ValueError, 'needs a key: dropout=0.5'):
      network.apply(params, self.graph, x, train=True)

  @parameterized.parameters(
    ('gcn(normalize=column)', "normalize='column' is unknown"),
    ('gcn(dropout=1.0)', r'dropout must lie in \[0, 1\)'),
    ('gcn((4, 0))', 'hidden_sizes must be at least 1'),
    ('gat(version=3)', 'version must be 1 or 2; got 3'),
    ('gin(())', 'hidden_sizes is empty'),
    ('sage(aggregate=min)', "aggregate='min' is unknown"),
    ('chebyshev(order=0)', 'order must be at least 1'),
    ('composed(attention=(gat, gcn, gat))', '3 entries for 2 layers'),
    ('composed(attention=gatt)', "attention='gatt' is unknown"),
    (
      'composed(activation=(relu, elu), last_activation=gelu)',
      "last_activation='gelu' is unknown",
    ),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      graphs.make_network(spec, 3)

  def test_says_what_is_wrong_with_inputs(self):
    network = graphs.gcn(3)
    x = jnp.asarray(self.x, jnp.float32)
    params = network.init(KEY, self.graph, x)
    with self.assertRaisesRegex(ValueError, 'params are of 1 layers'):
      network.apply(params[:1], self.graph, x)
    with self.assertRaisesRegex(ValueError, r'x must have shape \[N, F\]'):
      network.apply(params, self.graph, x[:, 0])


class PeerTest(parameterized.TestCase):
  def test_equal_jraph(self):
    try:
      import jraph
    except ImportError:
      self.skipTest('jraph is not installed')
    graph, _ = a_graph()
    x = jnp.nan_to_num(jnp.asarray(features(graph, 5), jnp.float32))
    looped = graphs.add_self_loops(graph)
    given = jraph.GraphsTuple(*graphs.to_graphs_tuple(looped, x))
    for version in (1, 2):
      network = graphs.gat(4, (), version=version)
      (p,) = params = shaken(network.init, KEY, graph, x)
      kernel, left = p['kernel'][:, 0], p['left'][0]

      def logit(sent, received, edges, p=p, version=version, left=left):
        del edges
        if version == 1:
          pair = received @ left + sent @ p['right'][0]
          return jax.nn.leaky_relu(pair, 0.2)[:, None]
        to = given.nodes[looped.receivers] @ p['receiver_kernel'][:, 0]
        return (jax.nn.leaky_relu(to + sent, 0.2) @ left)[:, None]

      layer = jraph.GAT(
        attention_query_fn=lambda nodes, k=kernel: nodes @ k,
        attention_logit_fn=logit,
        node_update_fn=lambda nodes: nodes,
      )
      want = layer(given).nodes + p['bias'][None]
      got = network.apply(params, graph, x)
      np.testing.assert_allclose(got[:7], want[:7], rtol=1e-4, atol=1e-5)
    logits = jax.random.normal(KEY, (graph.num_edges,))
    np.testing.assert_allclose(
      graphs.segment_softmax(logits, graph.receivers, graph.num_nodes),
      jraph.segment_softmax(logits, graph.receivers, graph.num_nodes),
      rtol=1e-5,
    )


if __name__ == '__main__':
  absltest.main()
