# SPDX-License-Identifier: Apache-2.0
"""What holds for every registered topology."""

import pathlib
import tempfile
import unittest

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import mixing
from jaxdl.core import clients, registry

KEY = jax.random.key(0)
# Those that need an option or other weights, and one with each kind of weights.
SPECS = {
  **{name: name for name in mixing.TOPOLOGIES},
  'file': 'file({path!r})',
  'random_digraph': 'random_digraph(weights=uniform)',
  'random_digraph_send': 'random_digraph(weights=send)',
  **{
    f'star_{rule}': f'star(weights={rule}, move=0.5)'
    for rule in mixing.WEIGHT_RULES
  },
}
# Topologies that do not exist for some numbers of clients.
MISSING = {
  ('hypercube', 7),
  ('one_peer_hypercube', 7),
  ('hyper_hypercube', 7),
  ('small_world', 1),
  ('small_world', 2),
}


def setUpModule():
  folder = tempfile.TemporaryDirectory()
  unittest.addModuleCleanup(folder.cleanup)
  global PATH
  PATH = pathlib.Path(folder.name)
  for n in (1, 2, 7, 8):
    links = ''.join(f'{i} {i + 1}\n' for i in range(n - 1))
    (PATH / f'{n}').write_text(links)


def _make(name, n):
  return mixing.make_mixer(SPECS[name].format(path=str(PATH / f'{n}')), n)


def _tree(n):
  rng = np.random.default_rng(n)
  return {
    'w': jnp.asarray(rng.normal(size=(n, 2, 3)), jnp.float32),
    'b': jnp.asarray(rng.normal(size=(n,)), jnp.bfloat16),
  }


class TopologiesTest(parameterized.TestCase):
  @parameterized.product(name=list(SPECS), n=[1, 2, 7])
  def test_applies_its_matrix_without_retracing(self, name, n):
    if (name, n) in MISSING:
      with self.assertRaises(ValueError):
        _make(name, n)
      return
    mixer, tree = _make(name, n), _tree(n)
    run = jax.jit(
      lambda x, t: (mixer.apply(x, t, key=KEY), mixer.matrix(t, key=KEY))
    )
    for t in range(3):
      out, matrix = run(tree, t)
      matrix = np.float64(matrix)
      self.assertEqual(matrix.shape, (n, n))
      if mixer.stochastic in ('row', 'double'):
        np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-6)
      if mixer.stochastic in ('column', 'double'):
        np.testing.assert_allclose(matrix.sum(axis=0), 1.0, atol=1e-6)
      for k, atol in (('w', 1e-6), ('b', 0.03)):
        want = np.tensordot(matrix, np.float64(tree[k]), 1)
        self.assertEqual(out[k].dtype, tree[k].dtype)
        np.testing.assert_allclose(np.float64(out[k]), want, atol=atol)
    self.assertEqual(run._cache_size(), 1)

  @parameterized.parameters(*SPECS)
  def test_devices_change_nothing(self, name):
    mixer, tree = _make(name, 8), _tree(8)['w']
    sharded = mixing.shard(mixer, clients.clients_mesh())
    run = jax.jit(
      lambda x: (sharded.apply(x, 1, key=KEY), mixer.apply(x, 1, key=KEY))
    )
    got, want = run(tree)
    np.testing.assert_allclose(got, want, atol=1e-6)

  @parameterized.parameters(*mixing.TOPOLOGIES)
  def test_facts(self, name):
    facts = registry.facts(mixing.TOPOLOGIES[name])
    n = 8
    mixer = _make(name, n)
    if facts.kind == 'random':
      self.assertIsNone(mixer.period)
      return
    matrices = [np.asarray(mixer.matrix(t)) for t in range(mixer.period)]
    one_way = any(((w != 0) != (w != 0).T).any() for w in matrices)
    if not facts.drawn:
      self.assertEqual(one_way, facts.directed)
    if facts.kind == 'graph':
      spec = SPECS[name].format(path=str(PATH / f'{n}'))
      graph = mixing.make_graph(spec, n)
      np.testing.assert_array_equal(
        graph, (matrices[0] != 0) & ~np.eye(n, dtype=bool)
      )


if __name__ == '__main__':
  absltest.main()
