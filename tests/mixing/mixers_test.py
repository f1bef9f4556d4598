# SPDX-License-Identifier: Apache-2.0
import itertools
import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import metrics, mixing
from jaxdl.mixing import graphs, spectra


def _tree(n, seed=0, dtype=np.float32):
  rng = np.random.default_rng(seed)
  return {
    'w': rng.normal(size=(n, 3, 2)).astype(dtype),
    'b': rng.normal(size=(n,)).astype(dtype),
  }


def _reference(w, tree):
  return {
    k: np.einsum('ij,j...->i...', np.asarray(w, np.float64), v)
    for k, v in tree.items()
  }


def _check(mixer, n, rounds, key=None, atol=2e-6):
  tree = _tree(n)

  @jax.jit
  def both(tree, t):
    return mixer.apply(tree, t, key=key), mixer.matrix(t, key=key)

  for t in rounds:
    got, w = both(tree, jnp.asarray(t))
    chex.assert_shape(w, (n, n))
    chex.assert_trees_all_close(
      got,
      jax.tree.map(np.float32, _reference(w, tree)),
      atol=atol,
    )


_STATIC = {
  'identity': np.eye(40),
  'mean': np.full((40, 40), 1 / 40),
  'shifts': mixing.metropolis(graphs.ring(40)),
  'flips': mixing.one_peer_hypercube(32)[3],
  'neighbors': mixing.metropolis(
    graphs.random_regular(40, 4, np.random.default_rng(0))
  ),
  'dense': mixing.metropolis(
    graphs.erdos_renyi(40, 0.4, np.random.default_rng(0))
  ),
}


class FromMatrixTest(parameterized.TestCase):
  @parameterized.parameters(*_STATIC)
  def test_every_path_equals_its_matrix(self, structure):
    w = _STATIC[structure]
    mixer = mixing.from_matrix(w)
    self.assertEqual(mixer.structure, structure)
    # Own weights take up the rounding of up to N others.
    np.testing.assert_allclose(mixer.matrix(3), w, atol=len(w) * 2.0**-26)
    np.testing.assert_array_equal(
      np.asarray(mixer.matrix(3), np.float64).sum(axis=1), 1.0
    )
    _check(mixer, len(w), [0, 5])
    tree = _tree(len(w))
    chex.assert_trees_all_close(
      mixer.apply(tree, 5),
      jax.tree.map(np.float32, _reference(w, tree)),
      atol=2e-6,
    )

  @parameterized.parameters('shifts', 'flips', 'neighbors', 'dense')
  def test_forced_paths_agree(self, structure):
    # Circulant and XOR-invariant at once, so that every path exists.
    w = (np.eye(8) + np.roll(np.eye(8), 4, axis=1)) / 2
    mixer = mixing.from_matrix(w, structure=structure)
    self.assertEqual(mixer.structure, structure)
    _check(mixer, 8, [0])

  def test_long_neighbor_lists(self):
    w = np.random.default_rng(0).uniform(size=(45, 45))
    w = w / w.sum(axis=1, keepdims=True)
    for length in (16, 33):
      banded = np.where(np.arange(45)[None, :] < length, w, 0)
      mixer = mixing.from_matrix(
        banded, structure='neighbors', stochastic='any'
      )
      _check(mixer, 45, [0])

  def test_schedules_repeat_and_take_traced_rounds(self):
    n = 40
    for stack, structure in (
      (mixing.base_graph(n), 'neighbors'),
      (mixing.base_graph(n, max_degree=7), 'dense'),
      (mixing.one_peer_exponential(n), 'neighbors'),
    ):
      mixer = mixing.from_matrix(stack)
      self.assertEqual(mixer.structure, structure)
      self.assertEqual(mixer.period, len(stack))
      _check(mixer, n, range(len(stack) + 1))
      x = _tree(n)

      def body(x, t, mixer=mixer):
        return mixer.apply(x, t), mixer.matrix(t)

      x, ws = jax.jit(lambda x, ts, f=body: jax.lax.scan(f, x, ts))(
        x, jnp.arange(len(stack))
      )
      np.testing.assert_allclose(ws, stack, atol=1e-7)
      want = _tree(n)
      for w in stack:
        want = _reference(w, want)
      chex.assert_trees_all_close(x, jax.tree.map(np.float32, want), atol=5e-6)

  @parameterized.parameters(16, 27, 30)
  def test_base_graph_reaches_the_mean_of_models(self, n):
    mixer = mixing.make_mixer('base', n)
    x = start = jnp.asarray(_tree(n)['w'])
    for t in range(mixer.period):
      x = mixer.apply(x, t)
    np.testing.assert_allclose(
      x, np.broadcast_to(start.mean(0, keepdims=True), x.shape), atol=1e-6
    )

  @parameterized.product(structure=list(_STATIC), dtype=['bfloat16', 'float16'])
  def test_keeps_dtype_and_accumulates_in_float32(self, structure, dtype):
    w = _STATIC[structure]
    x = jnp.asarray(_tree(len(w))['w'], dtype)
    got = mixing.from_matrix(w).apply(x, 0)
    self.assertEqual(got.dtype, x.dtype)
    exact = np.einsum('ij,j...->i...', w, np.asarray(x, np.float64))
    want = jnp.asarray(exact, jnp.float32).astype(dtype)
    # One rounding of the exact sum: at most one unit in the last place.
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
      got.astype('float32'),
      want.astype('float32'),
      rtol=2 * eps,
      atol=1e-6,
    )

  def test_float64_stays_exact(self):
    with jax.enable_x64(True):
      for w in _STATIC.values():
        x = _tree(len(w), dtype=np.float64)
        chex.assert_trees_all_close(
          mixing.from_matrix(w).apply(x, 0), _reference(w, x), atol=1e-14
        )

  def test_keeps_the_mean_over_a_thousand_rounds(self):
    n = 20
    rng = np.random.default_rng(0)
    x0 = jnp.asarray(rng.normal(size=(n, 4)), jnp.float32)
    for w in (
      mixing.metropolis(graphs.ring(n)),
      mixing.best_constant(graphs.star(n)),
      mixing.one_peer_exponential(n),
    ):
      mixer = mixing.from_matrix(w, allow_negative=True)
      x = jax.lax.fori_loop(0, 1000, lambda t, x, m=mixer: m.apply(x, t), x0)
      np.testing.assert_allclose(x.mean(0), x0.mean(0), atol=1e-6)

  def test_consensus_distance_shrinks_at_least_by_the_factor(self):
    w = mixing.metropolis(graphs.ring(12))
    mixer, rho = mixing.from_matrix(w), spectra.consensus_factor(w)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(12, 3)), jnp.float32)
    before = float(metrics.consensus_distance(x))
    for t in range(20):
      x = mixer.apply(x, t)
      after = float(metrics.consensus_distance(x))
      self.assertLessEqual(after, rho**2 * before * (1 + 1e-5))
      before = after
    # The slowest mode attains it.
    mode = jnp.cos(2 * jnp.pi * jnp.arange(12) / 12)
    np.testing.assert_allclose(mixer.apply(mode, 0), rho * mode, atol=1e-6)

  @parameterized.parameters(*_STATIC)
  def test_gradient_is_the_transpose(self, structure):
    w = _STATIC[structure]
    mixer = mixing.from_matrix(w)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, len(w), 3)).astype(np.float32)
    got = jax.grad(lambda x: jnp.vdot(mixer.apply(x, 0), y))(x)
    np.testing.assert_allclose(got, w.T @ y, atol=3e-6)

  def test_vmap_over_a_batch_of_systems(self):
    x = np.random.default_rng(0).normal(size=(3, 40, 2)).astype(np.float32)
    for w in (_STATIC['shifts'], _STATIC['neighbors']):
      mixer = mixing.from_matrix(w)
      got = jax.vmap(lambda x, m=mixer: m.apply(x, 0))(x)
      np.testing.assert_allclose(got, np.einsum('ij,bjk->bik', w, x), atol=1e-6)

  def test_second_round_does_not_retrace(self):
    mixer = mixing.make_mixer('base', 12)
    step = jax.jit(chex.assert_max_traces(mixer.apply, n=1))
    for t in range(3):
      step(jnp.ones((12, 2)), jnp.asarray(t))

  def test_random_row_stochastic_matrices_match(self):
    rng = np.random.default_rng(0)
    for n, density in itertools.product((1, 2, 33), (0.05, 1.0)):
      w = rng.uniform(size=(n, n)) * (rng.uniform(size=(n, n)) < density)
      w += np.eye(n)
      w = w / w.sum(axis=1, keepdims=True)
      _check(mixing.from_matrix(w), n, [0])

  def test_says_what_is_wrong(self):
    mixer = mixing.from_matrix(np.eye(4))
    with self.assertRaisesRegex(ValueError, r"stacked\['b'\].*\(3,\).*N = 4"):
      mixer.apply(_tree(3), 0)
    with self.assertRaisesRegex(TypeError, 'int32: only floating'):
      mixer.apply(jnp.ones((4, 2), jnp.int32), 0)
    with self.assertRaisesRegex(ValueError, 'row 0 sums to 2'):
      mixing.from_matrix(np.ones((2, 2)))
    send = mixing.send_weights(
      graphs.random_digraph(8, 2, np.random.default_rng(0))
    )
    with self.assertRaisesRegex(ValueError, 'row . sums to'):
      mixing.from_matrix(send)
    self.assertEqual(
      mixing.from_matrix(send, stochastic='column').stochastic, 'column'
    )
    with self.assertRaisesRegex(ValueError, "structure='shifts' does not fit"):
      mixing.from_matrix(mixing.metropolis(graphs.star(5)), structure='shifts')


class EveryTest(absltest.TestCase):
  def test_uses_the_mixer_in_every_hth_round(self):
    n = 6
    ring = mixing.make_mixer('ring', n)
    mean = mixing.make_mixer('complete', n)
    mixer = mixing.every(mean, 3, otherwise=ring)
    self.assertEqual(mixer.period, 3)
    self.assertEqual(mixer.stochastic, 'double')
    for t in range(6):
      want = (
        np.full((n, n), 1 / n) if t % 3 == 2 else np.asarray(ring.matrix(0))
      )
      np.testing.assert_allclose(mixer.matrix(t), want, atol=1e-7)
    _check(mixer, n, range(4))
    x = _tree(n)
    for t in range(4):
      chex.assert_trees_all_close(
        jax.jit(mixer.apply)(x, jnp.asarray(t)), mixer.apply(x, t), atol=1e-6
      )

  def test_leaves_clients_alone_otherwise(self):
    mixer = mixing.every(mixing.make_mixer('base', 6), 2)
    self.assertEqual(mixer.period, 4)
    x = _tree(6)
    chex.assert_trees_all_equal(jax.jit(mixer.apply)(x, jnp.asarray(2)), x)


class MakeMixerTest(parameterized.TestCase):
  @parameterized.parameters(*mixing.TOPOLOGIES)
  def test_every_name_makes_a_mixer(self, name):
    key = jax.random.key(0)
    for n in (1, 16):
      if n == 1 and name == 'small_world':
        continue  # Needs an even degree below N.
      if name == 'file':
        continue  # Has a test of its own.
      if name == 'random_digraph':
        name = 'random_digraph(weights=uniform)'
      mixer = mixing.make_mixer(name, n)
      w = np.asarray(mixer.matrix(1, key=key))
      np.testing.assert_allclose(w.sum(axis=1), 1.0, atol=1e-6)
      if mixer.stochastic == 'double':
        np.testing.assert_allclose(w.sum(axis=0), 1.0, atol=1e-6)
      if n == 16 or mixer.period is not None:
        _check(mixer, n, [0, 1], key=key)

  def test_options_reach_the_builder(self):
    self.assertEqual(
      int(
        (
          np.asarray(
            mixing.make_mixer('random_regular(degree=3)', 12).matrix(0)
          )
          > 0
        ).sum()
      ),
      12 * 4,
    )
    self.assertEqual(mixing.make_mixer('base(max_degree=3)', 50).period, 6)
    half = mixing.make_mixer('ring(move=0.5)', 8)
    np.testing.assert_allclose(half.matrix(0)[0, 0], 2 / 3, atol=1e-7)
    send = mixing.make_mixer('random_digraph(weights=send)', 9)
    self.assertEqual(send.stochastic, 'column')
    graph = mixing.make_graph('torus(rows=2)', 12)
    np.testing.assert_array_equal(graph, graphs.torus(12, rows=2))
    best = mixing.make_mixer('star(weights=best_constant)', 8)
    self.assertLess(float(best.matrix(0)[0, 0]), 0)

  @parameterized.named_parameters(
    ('name', 'rign', "topology='rign' is unknown.*'ring'"),
    ('rule', 'ring(weights=mh)', "weights='mh' is unknown"),
    ('option', 'ring(degree=3)', "no option 'degree': its options are weights"),
    ('own', 'base(weights=uniform)', "base has no option 'weights'"),
    ('cube', 'hypercube', 'power of two'),
    ('move', 'matcha(move=0.5)', "matcha has no option 'move'"),
    (
      'directed',
      'random_digraph',
      r'metropolis weights do not fit: write random_digraph\(weights=uniform\)',
    ),
    (
      'regular',
      'exponential(weights=max_degree)',
      r'exponential is directed, which max_degree weights do not fit',
    ),
    ('large', 'random_regular(degree=10)', 'has at most 9 others. Lower degre'),
    ('larger', 'base(max_degree=11)', 'max_degree=11 is too large'),
    ('path', 'file', r'needs the option .path.: write file\(path=...\)'),
    ('missing', 'file("/none")', 'expected a list of links'),
  )
  def test_says_what_to_change(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      mixing.make_mixer(spec, 10)

  def test_links_of_a_file(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    path = f'{folder.name}/links.txt'
    pathlib.Path(path).write_text('0 1  # A link.\n\n1 2\n2 3\n1 1\n')
    np.testing.assert_array_equal(graphs.read_graph(path, 4), graphs.path(4))
    spec = f'file({path!r}, weights=uniform)'
    np.testing.assert_array_equal(mixing.make_graph(spec, 4), graphs.path(4))
    np.testing.assert_allclose(
      mixing.make_mixer(spec, 4).matrix(0)[1], [1 / 3, 1 / 3, 1 / 3, 0], 1e-6
    )
    for make in (mixing.make_graph, mixing.make_mixer):
      with self.assertRaisesRegex(ValueError, '2 components among 5 clients'):
        make(f'file({path!r})', 5)
      with self.assertRaisesRegex(ValueError, r":4: '2 3' is no link.* 0 to 2"):
        make(f'file({path!r})', 3)

  def test_graphs_only_where_there_is_one(self):
    with self.assertRaisesRegex(ValueError, 'no fixed graph: choose .*ring'):
      mixing.make_graph('base', 8)

  def test_weights_with_options(self):
    got = mixing.make_mixer('path(weights=fastest(num_steps=3))', 5).matrix(0)
    want = mixing.fastest(graphs.path(5), num_steps=3)
    np.testing.assert_allclose(got, want, atol=1e-6)


if __name__ == '__main__':
  absltest.main()
