# SPDX-License-Identifier: Apache-2.0
import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import metrics, mixing
from jaxdl.mixing import _collectives, graphs


def _mesh(size):
  return jax.make_mesh(
    (size,),
    ('clients',),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices()[:size],
  )


def _tree(n):
  rng = np.random.default_rng(0)
  return {
    'w': jnp.asarray(rng.normal(size=(n, 3)), jnp.float32),
    'b': jnp.asarray(rng.normal(size=(n,)), jnp.bfloat16),
  }


def _mixers(n):
  rng = np.random.default_rng(0)
  return {
    'ring': mixing.make_mixer('ring', n),
    'exponential': mixing.make_mixer('exponential', n),
    'random_regular': mixing.make_mixer('random_regular(degree=3)', n),
    'star': mixing.make_mixer('star', n),
    'complete': mixing.make_mixer('complete', n),
    'alone': mixing.make_mixer('alone', n),
    'uneven': mixing.from_matrix(
      mixing.uniform(graphs.erdos_renyi(n, 0.2, rng))
    ),
    'full': mixing.from_matrix(rng.dirichlet(np.ones(n), size=n)),
    'base': mixing.make_mixer('base', n),
    'random_matching': mixing.make_mixer('random_matching', n),
    'epidemic_local': mixing.make_mixer('epidemic_local', n),
    'every': mixing.every(
      mixing.make_mixer('complete', n),
      2,
      otherwise=mixing.make_mixer('ring', n),
    ),
  }


def _assert_close(got, want):
  chex.assert_trees_all_equal_dtypes(got, want)
  np.testing.assert_allclose(got['w'], want['w'], atol=1e-6)
  np.testing.assert_allclose(
    got['b'].astype('float32'), want['b'].astype('float32'), atol=0.02
  )


class ShardTest(parameterized.TestCase):
  @parameterized.parameters(*_mixers(24))
  def test_equals_the_unsharded_mixer(self, name):
    n, key = 24, jax.random.key(0)
    mixer = _mixers(n)[name]
    sharded = mixing.shard(mixer, _mesh(8))
    x = _tree(n)
    step = jax.jit(sharded.apply)
    for t in range(3):
      _assert_close(
        step(x, jnp.asarray(t), key=key), mixer.apply(x, t, key=key)
      )
      np.testing.assert_array_equal(
        sharded.matrix(t, key=key), mixer.matrix(t, key=key)
      )

  @parameterized.parameters(1, 2, 8)
  def test_any_number_of_devices(self, size):
    n = 8
    for name in ('ring', 'full'):
      mixer = _mixers(n)[name]
      x = _tree(n)
      step = mixing.shard(mixer, _mesh(size)).apply
      got = jax.jit(step, static_argnums=1)(x, 0)
      _assert_close(got, mixer.apply(x, 0))

  @parameterized.parameters('ring', 'random_regular', 'full', 'complete')
  def test_gradient_is_that_of_the_dense_matrix(self, name):
    n = 16
    mixer = _mixers(n)[name]
    sharded = mixing.shard(mixer, _mesh(8))
    x, y = np.random.default_rng(0).normal(size=(2, n, 3)).astype(np.float32)

    def loss(apply, x):
      return jnp.vdot(jnp.sin(apply(x)), y)

    got = jax.jit(jax.grad(lambda x: loss(lambda x: sharded.apply(x, 0), x)))(x)
    w = mixer.matrix(0)
    want = jax.grad(lambda x: loss(lambda x: w @ x, x))(x)
    np.testing.assert_allclose(got, want, atol=3e-6)

  def test_gradient_inside_shard_map_is_the_transpose(self):
    n = 16
    mixer = _mixers(n)['uneven']
    x, y = np.random.default_rng(0).normal(size=(2, n, 3)).astype(np.float32)

    def per_device(x, y):
      # Everybody's loss counts: the gradient of the sum over devices.
      fn = lambda x: jnp.vdot(mixer.apply(x, 0, axis_name='clients'), y)
      return jax.grad(fn)(x)

    mapped = jax.shard_map(
      per_device,
      mesh=_mesh(8),
      in_specs=jax.P('clients'),
      out_specs=jax.P('clients'),
    )
    got = jax.jit(mapped)(x, y)
    np.testing.assert_allclose(
      got, np.asarray(mixer.matrix(0)).T @ y, atol=1e-5
    )

  @parameterized.parameters(
    'ring', 'complete', 'full', 'base', 'epidemic_local'
  )
  def test_runs_inside_pmap(self, name):
    n, key = 16, jax.random.key(1)
    mixer = _mixers(n)[name]
    x = _tree(n)
    blocks = jax.tree.map(lambda a: a.reshape((8, 2) + a.shape[1:]), x)
    got = jax.pmap(
      lambda x, t: mixer.apply(x, t, key=key, axis_name='i'),
      axis_name='i',
      in_axes=(0, None),
    )(blocks, jnp.asarray(1))
    got = jax.tree.map(lambda a: a.reshape((n,) + a.shape[2:]), got)
    _assert_close(got, mixer.apply(x, 1, key=key))

  def test_consensus_distance_over_an_axis(self):
    x = _tree(16)
    mapped = jax.shard_map(
      functools.partial(metrics.consensus_distance, axis_name='clients'),
      mesh=_mesh(8),
      in_specs=jax.P('clients'),
      out_specs=jax.P(),
    )
    got = jax.jit(mapped)(x)
    np.testing.assert_allclose(got, metrics.consensus_distance(x), rtol=1e-6)


class TrafficTest(parameterized.TestCase):
  def _program(self, mixer, n, width):
    mesh = _mesh(8)
    x = jax.device_put(
      jnp.ones((n, width)), jax.NamedSharding(mesh, jax.P('clients'))
    )
    step = jax.jit(lambda x: mixing.shard(mixer, mesh).apply(x, 0))
    return step.lower(x).compile().as_text()

  def test_ring_sends_border_rows_only(self):
    text = self._program(mixing.make_mixer('ring', 64), 64, 100)
    moved = re.findall(r'= f32\[([\d,]+)\]\S* collective-permute', text)
    self.assertEqual(moved, ['1,100', '1,100'])
    self.assertNotIn('all-gather', text)
    self.assertNotIn('all-reduce', text)

  def test_exponential_graph_does_not_gather(self):
    text = self._program(mixing.make_mixer('exponential', 64), 64, 100)
    moved = re.findall(r'= f32\[([\d,]+)\]\S* collective-permute', text)
    rows = [int(shape.split(',')[0]) for shape in moved]
    self.assertNotEmpty(rows)
    self.assertLessEqual(max(rows), 8)
    self.assertNotIn('all-gather', text)

  def test_dense_matrix_holds_one_block_at_a_time(self):
    w = np.random.default_rng(0).dirichlet(np.ones(64), size=64)
    text = self._program(mixing.from_matrix(w), 64, 100)
    self.assertIn('collective-permute', text)
    self.assertNotIn('all-gather', text)
    self.assertNotIn('f32[64,100]', text)

  def test_mean_is_one_reduction_of_one_model(self):
    text = self._program(mixing.make_mixer('complete', 64), 64, 100)
    self.assertIn('all-reduce', text)
    self.assertNotIn('all-gather', text)
    self.assertNotIn('f32[64,100]', text)

  def test_plan_moves_no_row_without_weight(self):
    w = mixing.metropolis(
      graphs.random_regular(40, 3, np.random.default_rng(0))
    )
    plan = _collectives.make_plan(w, 8)
    block = np.arange(40) // 5
    needed = {
      (int(block[i]), int(j))
      for i, j in zip(*np.nonzero(w), strict=True)
      if block[i] != block[j]
    }
    sent = set()
    for hop in plan.hops:
      for source, target in hop.links:
        sent |= {(target, source * 5 + int(r)) for r in hop.rows[source]}
    self.assertTrue(needed <= sent)
    padding = sum(hop.rows.size for hop in plan.hops) - len(needed)
    self.assertLess(padding, len(needed))


class BadInputTest(absltest.TestCase):
  def test_says_what_is_wrong(self):
    mixer = mixing.make_mixer('ring', 12)
    with self.assertRaisesRegex(ValueError, "axis='nodes' is not in the mesh"):
      mixing.shard(mixer, _mesh(8), axis='nodes')
    sharded = mixing.shard(mixer, _mesh(8))
    with self.assertRaisesRegex(ValueError, 'does not split over 8 devices'):
      sharded.apply(jnp.ones((12, 2)), 0)
    with self.assertRaisesRegex(ValueError, r'\(2, 2\) on each of 8 devices'):
      sharded.apply(jnp.ones((16, 2)), 0)


if __name__ == '__main__':
  absltest.main()
