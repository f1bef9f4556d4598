# SPDX-License-Identifier: Apache-2.0
"""The spectral transformer, against float64 NumPy and layers of flax."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.graphs import spectral
from jaxdl.graphs.spectral import _transformer

KEY = jax.random.key(0)
CALM = {
  'attention_dropout': 0.0,
  'feature_dropout': 0.0,
  'propagation_dropout': 0.0,
}
SMALL = {'hidden_dim': 4, 'num_heads': 2, 'num_layers': 2, **CALM}


def a_graph(n=9, seed=0, pad_nodes=None):
  """A graph with degenerate eigenvalues: a star and a lonely node, say."""
  rng = np.random.default_rng(seed)
  pairs = [(0, i) for i in range(1, 5)]
  pairs += [(5, 6), (6, 7)] + [(4, 5)] * int(rng.random() < 2)
  return graphs.make_graph(np.unique(pairs, axis=0), n, pad_nodes=pad_nodes)


def features(graph, width=3, seed=1):
  x = np.random.default_rng(seed).normal(size=(graph.num_nodes, width))
  return np.where(np.asarray(graph.node_mask)[:, None], x, 0).astype('f4')


def shaken(params, seed=3):
  """Parameters none of which is zero or one."""
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(seed)
  new = [x + rng.normal(size=x.shape).astype('f4') / 3 for x in leaves]
  return jax.tree.unflatten(structure, new)


@functools.cache
def compiled(seed=0, **options):
  """A network, parameters, the graph, and its compiled application."""
  graph = a_graph()
  pair, x = spectral.graph_spectrum(graph), features(graph)
  network = spectral.gnodeformer(3, **{**SMALL, **options})
  params = shaken(jax.jit(network.init)(KEY, pair, x))
  run = jax.jit(functools.partial(network.apply, with_filters=True))
  return network, params, graph, run


# The same, once more, in float64 NumPy.


def norm64(p, x, axis=-1):
  gap = x - x.mean(axis, keepdims=True)
  unit = gap / np.sqrt((gap**2).mean(axis, keepdims=True) + 1e-5)
  return unit * p['scale'] + p['bias']


def dense64(p, x):
  return x @ p['kernel'] + p['bias']


def block64(p, x, heads):
  h = norm64(p['attention_norm'], x)
  q, k, v = np.split(dense64(p['query_key_value'], h), 3, axis=-1)
  width = x.shape[1] // heads
  out = []
  for m in range(heads):
    at = slice(m * width, (m + 1) * width)
    scores = q[:, at] @ k[:, at].T / np.sqrt(width)
    scores = np.exp(scores - scores.max(1, keepdims=True))
    out.append(scores / scores.sum(1, keepdims=True) @ v[:, at])
  x = x + dense64(p['attention_out'], np.concatenate(out, 1))
  h = norm64(p['perceptron_norm'], x)
  h = np.maximum(dense64(p['perceptron_in'], h), 0)
  return x + dense64(p['perceptron_out'], h)


def step64(f, x, rk, official):
  k1 = f(x)
  if rk == 1:
    return x + k1
  if rk == 2:
    return x + (k1 + f(x + k1)) / 2
  k2 = f(x + k1 / 2)
  if rk == 3:
    k3 = f(x + k2) if official else f(x - k1 + 2 * k2)
    return x + (k1 + 4 * k2 + k3) / 6
  k3 = f(x + k2 / 2)
  k4 = f(x + k3)
  return x + (k1 + 2 * k2 + 2 * k3 + k4) / 6


def reference(params, matrix, x, rk=2, official=False, norm='none', **options):
  """Logits and filters of a dense adjacency matrix, as the sheet has them."""
  p = jax.tree.map(lambda v: np.asarray(v, np.float64), params)
  heads, width = 2, 4
  degree = np.where(matrix.sum(1) == 0, 1, matrix.sum(1))
  root = np.diag(degree**-0.5)
  lam, u = np.linalg.eigh(np.eye(len(x)) - root @ matrix @ root)
  rates = 10000 ** (-2 * np.arange(width // 2) / width)
  waves = 100 * lam[:, None] * rates
  z = np.concatenate([lam[:, None], np.sin(waves), np.cos(waves)], 1)
  z = dense64(p['encoder'], z)
  for i in range(2):
    f = functools.partial(block64, p[f'block_{i}'], heads=heads)
    moved = step64(f, z, rk, official)
    if options.get('history_norm', True):
      moved = norm64(p[f'history_norm_{i}'], moved)
    z = z + moved
  gamma = dense64(p['decoder'], norm64(p['final_norm'], z))
  if norm == 'none':
    h = dense64(p['second'], np.maximum(dense64(p['first'], x), 0))
  else:
    h = dense64(p['features'], x)
  for i in range(2):
    w = p[f'convolution_{i}']['weight']
    bases = [h] + [u @ np.diag(gamma[:, m]) @ u.T @ h for m in range(heads)]
    h = sum(b * row for b, row in zip(bases, w, strict=True))
    if norm != 'none':
      axis = -1 if norm == 'layer' else 0
      h = np.maximum(norm64(p[f'convolution_norm_{i}'], h, axis), 0)
  if norm != 'none':
    h = dense64(p['classifier'], h)
  return h, lam, gamma


def on_nodes(x, graph):
  return np.asarray(x)[np.asarray(graph.node_mask)]


class RungeKuttaTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, False, lambda a: 1 + a, 1.1),
    (2, False, lambda a: 1 + a + a**2 / 2, 1.105),
    (3, False, lambda a: 1 + a + a**2 / 2 + a**3 / 6, 1.1051667),
    (3, True, lambda a: 1 + a + a**2 / 2 + a**3 / 12, 1.1050833),
    (4, False, lambda a: 1 + a + a**2 / 2 + a**3 / 6 + a**4 / 24, 1.10517083),
  )
  def test_factors_of_linear_functions(self, order, official, factor, at_tenth):
    step = functools.partial(spectral.rk_step, order=order, official=official)
    self.assertAlmostEqual(step(lambda x: 0.1 * x, 1.0), at_tenth, places=7)
    for a in (-2.0, 0.5, 3.0):
      got = step(lambda x, a=a: {'y': a * x['y']}, {'y': np.float64(1.5)})
      self.assertAlmostEqual(got['y'], 1.5 * factor(a), places=12)

  def test_stages_draw_from_keys_of_their_own(self):
    seen = []
    spectral.rk_step(
      lambda x, key: seen.append(jax.random.key_data(key).tolist()) or x,
      1.0,
      order=4,
      key=KEY,
    )
    self.assertLen({tuple(k) for k in seen}, 4)

  @parameterized.parameters(0, 5, 2.5, True, '2')
  def test_other_orders_are_refused(self, order):
    with self.assertRaisesRegex(
      ValueError, r'rk must be one of \(1, 2, 3, 4\)'
    ):
      spectral.rk_step(lambda x: x, 1.0, order=order)

  def test_official_is_about_the_third_order(self):
    with self.assertRaisesRegex(ValueError, 'official=True is about .* rk=2'):
      spectral.gnodeformer(2, official=True)


class PartsTest(parameterized.TestCase):
  def test_encoding_at_known_places(self):
    at_zero = spectral.eigenvalue_encoding(jnp.zeros(1), 6)
    np.testing.assert_array_equal(at_zero, [[0] + [0] * 3 + [1] * 3])
    (row,) = np.asarray(
      spectral.eigenvalue_encoding(jnp.array([np.pi / 100]), 6)
    )
    np.testing.assert_allclose(row[[0, 1, 4]], [np.pi / 100, 0, -1], atol=1e-6)
    slow = np.pi * 10000 ** (-2 / 6)
    np.testing.assert_allclose(row[[2, 5]], [np.sin(slow), np.cos(slow)], 1e-5)

  def test_attention_is_that_of_flax(self):
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype('f4')
    x, mask = draw(5, 4), np.array([1, 1, 1, 1, 0], bool)
    kernels, biases = draw(3, 4, 4), draw(3, 4)
    out = {'kernel': draw(4, 4), 'bias': draw(4)}
    got = _transformer.attend(
      {
        'query_key_value': {
          'kernel': np.concatenate(kernels, axis=1),
          'bias': biases.reshape(-1),
        },
        'attention_out': out,
      },
      x,
      mask,
      num_heads=2,
    )
    params = {
      name: {'kernel': k.reshape(4, 2, 2), 'bias': b.reshape(2, 2)}
      for name, k, b in zip(
        ('query', 'key', 'value'), kernels, biases, strict=True
      )
    }
    params['out'] = out | {'kernel': out['kernel'].reshape(2, 2, 4)}
    module = nn.MultiHeadDotProductAttention(num_heads=2)
    want = module.apply(
      {'params': params}, x, mask=np.broadcast_to(mask, (1, 5, 5))
    )
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_layer_norm_is_that_of_flax(self):
    x = np.random.default_rng(1).normal(size=(5, 4)).astype('f4')
    params = {'scale': np.arange(4.0, dtype='f4'), 'bias': np.ones(4, 'f4')}
    got = _transformer.layer_norm(params, x)
    want = nn.LayerNorm(epsilon=1e-5).apply({'params': params}, x)
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_known_filters(self):
    graph = a_graph()
    pair = spectral.graph_spectrum(graph)
    x = features(graph)
    lam = np.asarray(pair.eigenvalues)
    kinds = np.stack([np.ones_like(lam), lam, 1 - lam], axis=1)
    got = on_nodes(spectral.spectral_bases(pair, jnp.asarray(kinds), x), graph)
    own, laplacian = on_nodes(x, graph), spectral.normalized_laplacian(graph)
    np.testing.assert_array_equal(got[:, 0], own)
    np.testing.assert_allclose(got[:, 1], own, atol=1e-5)
    np.testing.assert_allclose(got[:, 2], laplacian @ own, atol=1e-5)
    adjacency = np.eye(len(own)) - laplacian
    np.testing.assert_allclose(got[:, 3], adjacency @ own, atol=1e-5)


class NetworkTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('rk1', {'rk': 1}),
    ('rk2', {'rk': 2}),
    ('rk3', {'rk': 3}),
    ('official', {'rk': 3, 'official': True}),
    ('rk4', {'rk': 4}),
    ('layers', {'norm': 'layer'}),
    ('batches', {'norm': 'batch', 'history_norm': False}),
  )
  def test_equals_a_float64_reference(self, options):
    _, params, graph, run = compiled(**options)
    x = features(graph)
    pair = spectral.graph_spectrum(graph)
    got, gamma = run(params, pair, x)
    matrix = graphs.to_dense(graph)
    matrix = matrix[: len(on_nodes(x, graph)), : len(on_nodes(x, graph))]
    want, lam, filters = reference(
      params, matrix, on_nodes(x, graph), **options
    )
    np.testing.assert_allclose(pair.eigenvalues[: len(lam)], lam, atol=1e-6)
    np.testing.assert_allclose(gamma[: len(lam)], filters, atol=3e-4)
    scale = np.abs(want).max()
    np.testing.assert_allclose(
      on_nodes(got, graph) / scale, want / scale, atol=1e-4
    )

  @parameterized.parameters('none', 'layer', 'batch')
  def test_padding_changes_nothing_whatever_it_holds(self, norm):
    _, params, graph, run = compiled(norm=norm)
    pair, x = spectral.graph_spectrum(graph), features(graph)
    want, gamma = run(params, pair, x)
    wide = a_graph(pad_nodes=graph.num_nodes + 5)
    grown = spectral.graph_spectrum(wide)
    dirty = np.where(wide.node_mask[:, None], features(wide), np.nan)
    dirty[: len(x)] = np.where(graph.node_mask[:, None], x, np.nan)
    got, more = run(params, grown, dirty.astype('f4'))
    np.testing.assert_allclose(
      on_nodes(got, wide), on_nodes(want, graph), rtol=2e-4, atol=2e-5
    )
    np.testing.assert_allclose(more[:9], gamma[:9], atol=1e-5)
    np.testing.assert_array_equal(got[9:], 0)

  def test_signs_and_rotations_of_eigenvectors_do_not_matter(self):
    _, params, graph, run = compiled()
    pair, x = spectral.graph_spectrum(graph), features(graph)
    want, gamma = run(params, pair, x)
    lam, u = np.array(pair.eigenvalues), np.array(pair.eigenvectors)
    (ones,) = np.nonzero(np.abs(lam[:9] - 1) < 1e-5)
    self.assertGreaterEqual(len(ones), 3)  # Leaves of a star, a lonely node.
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(len(ones),) * 2))
    turned = u * rng.choice([-1, 1], len(lam))[None]
    turned[:, ones] = turned[:, ones] @ turn
    self.assertGreater(np.abs(turned - u).max(), 0.1)
    got, _ = run(params, pair._replace(eigenvectors=turned.astype('f4')), x)
    np.testing.assert_allclose(got, want, atol=1e-4)
    # Equal eigenvalues have equal filters.
    gap = np.abs(np.asarray(gamma)[ones] - np.asarray(gamma)[ones[0]])
    self.assertLess(gap.max(), 1e-3)

  def test_nodes_may_be_renamed(self):
    _, params, graph, run = compiled()
    x = features(graph)
    want = on_nodes(run(params, spectral.graph_spectrum(graph), x)[0], graph)
    order = np.random.default_rng(2).permutation(9)
    other = graphs.make_graph(
      np.argsort(order)[graphs.edge_pairs(graph, once=True)], 9
    )
    moved = np.zeros_like(x)
    moved[:9] = x[:9][order]
    got, _ = run(params, spectral.graph_spectrum(other), moved)
    np.testing.assert_allclose(on_nodes(got, other), want[order], atol=1e-4)

  def test_filters_depend_on_attention(self):
    """Of one eigenvalue on what the others are, and on the kernel."""
    _, params, graph, run = compiled()
    pair, x = spectral.graph_spectrum(graph), features(graph)
    _, gamma = run(params, pair, x)
    moved = pair._replace(eigenvalues=pair.eigenvalues.at[8].add(0.1))
    _, other = run(params, moved, x)
    self.assertGreater(np.abs(other[:8] - gamma[:8]).max(), 1e-4)
    slope = jax.grad(lambda p: jnp.sum(run(p, pair, x)[1] ** 2))(params)
    for i in range(2):
      kernel = slope[f'block_{i}']['query_key_value']['kernel']
      self.assertGreater(np.abs(kernel).max(), 1e-5)

  def test_without_heads_it_is_a_perceptron(self):
    graph = a_graph()
    pair, x = spectral.graph_spectrum(graph), features(graph)
    network = spectral.gnodeformer(3, **SMALL | {'num_heads': 0})
    params = shaken(network.init(KEY, pair, x))
    self.assertEqual(sorted(params), ['first', 'second'])
    plain = graphs.mlp(3, (4,), dropout=0.0)
    got = network.apply(params, pair, x)
    want = plain.apply([params['first'], params['second']], graph, x)
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_the_identity_learns_no_filter(self):
    graph = a_graph()
    pair, x = spectral.graph_spectrum(graph), features(graph)
    network = spectral.gnodeformer(3, **SMALL | {'filters': 'identity'})
    params = shaken(network.init(KEY, pair, x))
    self.assertNotIn('encoder', params)
    got, gamma = network.apply(params, pair, x, with_filters=True)
    np.testing.assert_array_equal(gamma, np.stack([pair.eigenvalues] * 2, 1))
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), params)
    h = dense64(p['second'], np.maximum(dense64(p['first'], x[:9]), 0))
    laplacian = spectral.normalized_laplacian(graph)
    for i in range(2):
      w = p[f'convolution_{i}']['weight']
      h = h * w[0] + (laplacian @ h) * (w[1] + w[2])
    np.testing.assert_allclose(got[:9], h, atol=1e-4)

  def test_starts_as_the_paper_says(self):
    graph = a_graph()
    pair, x = spectral.graph_spectrum(graph), features(graph)
    make = lambda **kw: jax.jit(
      spectral.gnodeformer(3, hidden_dim=16, num_layers=1, **kw).init
    )(KEY, pair, x)
    params = make()
    np.testing.assert_array_equal(params['convolution_0']['weight'], 1)
    for name, fan in (('first', 3), ('second', 16), ('encoder', 17)):
      for leaf in params[name].values():
        most = np.abs(leaf).max()
        self.assertBetween(most * np.sqrt(fan), 0.6, 1.0)
    central = make(kernel_init='normal(scale=0.01)', norm='layer')
    self.assertAlmostEqual(
      np.std(central['block_0']['query_key_value']['kernel']), 0.01, delta=1e-3
    )
    np.testing.assert_array_equal(central['encoder']['bias'], 0)
    self.assertLess(np.abs(central['convolution_0']['weight']).max(), 0.05)
    # Nothing that is never used, which would count as communication.
    run = lambda p: (
      spectral.gnodeformer(3, hidden_dim=16, num_layers=1)
      .apply(p, pair, x)
      .sum()
    )
    for path, leaf in jax.tree.leaves_with_path(jax.grad(run)(params)):
      if path[-1].key == 'bias' and 'query_key_value' in str(path):
        continue  # Biases of keys cancel in a softmax.
      self.assertGreater(np.abs(leaf).max(), 0, path)

  def test_dropout_draws_from_its_key_in_training_only(self):
    graph = a_graph()
    pair, x = spectral.graph_spectrum(graph), features(graph)
    network = spectral.gnodeformer(3, hidden_dim=4, num_layers=1)
    params = network.init(KEY, pair, x)
    run = jax.jit(functools.partial(network.apply, train=True))
    one, two = (run(params, pair, x, key=jax.random.key(i)) for i in (1, 2))
    self.assertGreater(np.abs(one - two).max(), 1e-3)
    again = run(params, pair, x, key=jax.random.key(1))
    np.testing.assert_array_equal(one, again)
    with self.assertRaisesRegex(ValueError, 'needs a key: dropout'):
      network.apply(params, pair, x, train=True)

  def test_vmap_sees_clients_apart_and_gradients_are_finite(self):
    network, params, _, run = compiled()
    whole = graphs.make_graph([(0, 1), (1, 2), (3, 4)], 5)
    parts = graphs.induced_subgraphs(whole, [[0, 1, 2], [3, 4], []])
    pairs = spectral.graph_spectrum(parts.graph)
    x = features(whole)[np.asarray(parts.node_ids)]

    def loss(params, pair, x):
      return jnp.sum(network.apply(params, pair, x) ** 2)

    losses, slopes = jax.jit(
      jax.vmap(jax.value_and_grad(loss), in_axes=(None, 0, 0))
    )(params, pairs, x)
    for i in range(3):
      alone = jax.tree.map(lambda v, i=i: v[i], pairs)
      out, _ = run(params, alone, x[i])
      np.testing.assert_allclose(losses[i], jnp.sum(out**2), rtol=1e-4)
    self.assertEqual(losses[2], 0)  # Nobody there.
    for leaf in jax.tree.leaves(slopes):
      self.assertTrue(np.isfinite(leaf).all())

  def test_half_precision_keeps_its_type(self):
    graph = a_graph()
    pair = spectral.graph_spectrum(graph)
    network = spectral.gnodeformer(3, **SMALL | {'num_layers': 1})
    x = jnp.asarray(features(graph), jnp.bfloat16)
    params = network.init(KEY, pair, x)
    got = jax.jit(network.apply)(params, pair, x)
    self.assertEqual(got.dtype, jnp.bfloat16)
    wide = jax.tree.map(lambda v: v.astype('f4'), params)
    want = jax.jit(network.apply)(wide, pair, x.astype('f4'))
    np.testing.assert_allclose(got.astype('f4'), want, atol=0.15)

  def test_another_graph_of_the_same_size_does_not_retrace(self):
    _, params, graph, _ = compiled()
    network = spectral.gnodeformer(3, **SMALL)
    traces = []
    run = jax.jit(
      lambda p, pair, x: traces.append(1) or network.apply(p, pair, x)
    )
    for edges in ([(0, 1)], [(0, 1), (2, 3)]):
      other = graphs.make_graph(edges, 9)
      run(params, spectral.graph_spectrum(other), features(other))
    self.assertLen(traces, 1)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'hidden_dim': 5, 'num_heads': 1}, 'hidden_dim=5 must be even.*take 6'),
    ({'hidden_dim': 8, 'num_heads': 3}, 'hidden_dim=8 .* num_heads=3; take 12'),
    ({'rk': 5}, r'rk must be one of \(1, 2, 3, 4\); got 5'),
    ({'norm': 'group'}, "norm='group' is unknown"),
    ({'filters': 'low'}, "filters='low' is unknown"),
    ({'num_layers': -1}, 'num_layers must be at least 0'),
    ({'num_convolutions': 0}, 'num_convolutions must be at least 1'),
    ({'feature_dropout': 1.0}, 'feature_dropout must lie in'),
    ({'kernel_init': 'torch'}, "kernel_init='torch' is unknown"),
  )
  def test_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      spectral.gnodeformer(2, **options)

  @parameterized.parameters(
    ({'num_layers': 3}, 'block_2, history_norm_2 are missing or too many'),
    ({'num_layers': 1}, 'block_1, history_norm_1 are missing or too many'),
    ({'norm': 'layer'}, 'features, first, second are missing or too many'),
    ({'num_heads': 1}, r"\['convolution_0'\].*must have shape \(2, 3\)"),
    ({'hidden_dim': 6}, r'must have shape \(6,\) with these options'),
  )
  def test_parameters_of_other_options(self, options, message):
    _, params, graph, _ = compiled()
    other = spectral.gnodeformer(3, **SMALL | options)
    pair, x = spectral.graph_spectrum(graph), features(graph)
    with self.assertRaisesRegex(ValueError, message):
      other.apply(params, pair, x)
    with self.assertRaisesRegex(ValueError, r'x \[N, 3\]; got \(3, 3\)'):
      spectral.gnodeformer(4, **SMALL).apply(params, pair, x)

  def test_parts(self):
    pair = spectral.graph_spectrum(a_graph())
    n, x = a_graph().num_nodes, features(a_graph())
    with self.assertRaisesRegex(
      ValueError, r'filters must have shape \[K, h\]'
    ):
      spectral.spectral_bases(pair, jnp.ones(n), x)
    with self.assertRaisesRegex(TypeError, 'x must be floating point'):
      spectral.spectral_bases(pair, jnp.ones((n, 2)), jnp.ones((n, 1), int))
    with self.assertRaisesRegex(TypeError, 'eigenvalues must be floating'):
      spectral.eigenvalue_encoding(jnp.arange(3), 4)
    with self.assertRaisesRegex(ValueError, 'scale must lie in .*nan'):
      spectral.eigenvalue_encoding(jnp.zeros(2), 4, scale=np.nan)
    block = compiled()[1]['block_0']
    run = functools.partial(spectral.transformer_block, block, jnp.ones((3, 4)))
    there = jnp.ones(3, bool)
    for options, message in (
      ({'num_heads': 0}, 'num_heads must be at least 1'),
      ({'num_heads': 3}, 'num_heads=3 must divide d = 4'),
      ({'num_heads': 2, 'dropout': 1.5}, 'dropout must lie in'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        run(there, **options)
    with self.assertRaisesRegex(ValueError, r'mask must have shape \(3,\)'):
      run(there[:2], num_heads=2)
    # A mask of numbers is one of truths.
    np.testing.assert_array_equal(
      run(there * 1.0, num_heads=2), run(there, num_heads=2)
    )

  def test_a_key_is_asked_for_only_where_something_is_drawn(self):
    graph = a_graph()
    pair, x = spectral.graph_spectrum(graph), features(graph)
    options = SMALL | {'attention_dropout': 0.5}
    network = spectral.gnodeformer(3, **options, filters='identity')
    params = network.init(KEY, pair, x)
    network.apply(params, pair, x, train=True)

  def test_arguments(self):
    graph = a_graph()
    pair, x = spectral.graph_spectrum(graph), features(graph)
    network = spectral.gnodeformer(2, **SMALL)
    with self.assertRaisesRegex(
      TypeError, r'spectral\.graph_spectrum\(graph\)'
    ):
      network.init(KEY, graph, x)
    with self.assertRaisesRegex(ValueError, 'a row for each of 12 nodes'):
      network.init(KEY, pair, x[:5])
    stack = jax.tree.map(lambda v: v[None], pair)
    with self.assertRaisesRegex(ValueError, 'it is a stack: vmap over it'):
      network.init(KEY, stack, x)
    with self.assertRaisesRegex(TypeError, 'params must be a dict'):
      network.apply([1], pair, x)


if __name__ == '__main__':
  absltest.main()
