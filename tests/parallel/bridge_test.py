# SPDX-License-Identifier: Apache-2.0
"""Signatures on emulated devices, and bytes of compiled programs."""

import functools
import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import parallel
from jaxdl.parallel import _checked

P = jax.P
ONE = ('S0', 'S1', 'B', 'P')


@functools.cache
def mesh_of(*shape):
  return parallel.device_mesh(shape)


def tensor(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def moved(fn, *args):
  """Bytes by collective, those that are not zero."""
  compiled = jax.jit(fn).lower(*args).compile()
  found = parallel.collective_bytes(compiled)
  return {k: v for k, v in found.items() if v}


def boxing(src, dst, mesh):
  """Stacked shards to stacked shards, by collectives."""
  return parallel.map_shards(
    lambda x: parallel.reshard(x, src, dst, mesh.axis_names), [src], mesh
  )


def boxed(x, src, dst, shape):
  """Shards after boxing random shards, and the bytes that it moved."""
  mesh = mesh_of(*shape)
  stack = np.stack(
    parallel.scatter(x, src, shape, rng=np.random.default_rng(4))
  )
  program = jax.jit(boxing(src, dst, mesh)).lower(stack).compile()
  placed = jax.device_put(stack, program.input_shardings[0][0])
  return list(np.asarray(program(placed))), sum(
    parallel.collective_bytes(program).values()
  )


class BoxingTest(parameterized.TestCase):
  @parameterized.parameters(*itertools.product(ONE, repeat=2))
  def test_moves_what_the_table_says(self, src, dst):
    x = tensor(8, 12)
    shards, count = boxed(x, src, dst, (4,))
    np.testing.assert_allclose(parallel.recover(shards, dst), x, atol=1e-5)
    self.assertEqual(count, parallel.boxing_cost(src, dst, x.nbytes, 4))

  @parameterized.parameters(
    ('S0,P', 'S0,B'),
    ('S0,S1', 'S0,B'),
    ('P,P', 'B,B'),
    ('P,S1', 'S0,S1'),
    ('S0,S0', 'S0,B'),
    ('B,P', 'B,S1'),
    ('S0,S1', 'B,B'),
    ('S1,B', 'P,B'),
  )
  def test_moves_what_costs_of_two_axes_say(self, src, dst):
    x = tensor(8, 8)
    shards, count = boxed(x, src, dst, (2, 4))
    np.testing.assert_allclose(
      parallel.recover(shards, dst, (2, 4)), x, atol=1e-5
    )
    want = parallel.boxing_cost_nd(src, dst, x.nbytes, (2, 4), ndim=2)
    self.assertEqual(count, want)

  @parameterized.parameters(
    ('B,S0', 'S0,S0'), ('S0,S0', 'B,S0'), ('P,S0', 'S0,S0'), ('S0,S0', 'P,S0')
  )
  def test_axes_that_split_one_dimension(self, src, dst):
    # Groups of devices cannot do it by themselves, so more moves than must.
    x = tensor(8, 2)
    shards, count = boxed(x, src, dst, (2, 2))
    np.testing.assert_allclose(
      parallel.recover(shards, dst, (2, 2)), x, atol=1e-5
    )
    least = parallel.boxing_cost_nd(src, dst, x.nbytes, (2, 2))
    self.assertGreaterEqual(count, least)
    self.assertGreater(least, 0)

  @parameterized.parameters((2, 2), (2, 4))
  def test_the_compiler_moves_what_is_lacking(self, *shape):
    # The case that the official code holds to be free.
    mesh, x = mesh_of(*shape), jnp.ones((16, 2))
    put = lambda s: jax.NamedSharding(
      mesh, parallel.to_partition_spec(s, mesh.axis_names, 2)
    )
    fn = jax.jit(
      lambda x: 2 * x,
      in_shardings=put('B,S0'),
      out_shardings=put('S0,S0'),
    )
    found = parallel.collective_bytes(fn.lower(x).compile())
    want = parallel.boxing_cost_nd('B,S0', 'S0,S0', x.nbytes, shape)
    self.assertEqual(found['collective-permute'], want)
    self.assertEqual(sum(found.values()), want)

  def test_maxima(self):
    x = tensor(8, 4)
    for dst in ('B', 'S1'):
      shards, count = boxed(x, 'P(max)', dst, (4,))
      np.testing.assert_array_equal(parallel.recover(shards, dst), x)
      want = parallel.boxing_cost('P(max)', dst, x.nbytes, 4)
      self.assertEqual(count, want)

  def test_says_what_is_wrong(self):
    run = lambda src, dst, x: boxing(src, dst, mesh_of(4))(x)
    with self.assertRaisesRegex(ValueError, 'size 6, over 4 devices: pad it'):
      run('B', 'S1', jnp.ones((4, 8, 6)))
    with self.assertRaisesRegex(
      ValueError, r'P\(max\) of int32 has no neutral'
    ):
      run('B', 'P(max)', jnp.ones((4, 8), jnp.int32))
    with self.assertRaisesRegex(ValueError, "axis_name='q' is not mapped"):
      parallel.reshard(jnp.ones(4), 'B', 'P', 'q')
    with self.assertRaisesRegex(
      ValueError, 'mesh_shape=4x4 needs 16 devices; there are 8.*--devices=16'
    ):
      parallel.device_mesh('4x4')
    with self.assertRaisesRegex(ValueError, "axis_names=.'a', 'a'. must diff"):
      parallel.device_mesh('2x2', ('a', 'a'))
    for src, dst in (('S0,B', 'S0,B'), ('S0,B', 'B,P'), ('S0', 'B,B')):
      with self.assertRaisesRegex(ValueError, 'must differ in one component'):
        parallel.kind_of_change(src, dst)


class ChecksTest(parameterized.TestCase):
  def test_differences_are_told(self):
    checks = parallel.Checks(('add',), mesh_of(1), size=2, seeds=(0, 1))
    state, _ = checks.step(checks.init(), 1)
    rows = checks.rows(state, {}, 1)
    self.assertEqual([r['variant'] for r in rows], ['boxing'] * 2 + ['add'] * 2)
    self.assertEqual(rows[0]['wrong_bytes'], 0)
    worse = {'error': np.full((1, 2), 7.0)}
    # One signature that gives NaN is an error, wherever it stands.
    for place in range(2):
      errors = [lambda *args: 0.5, lambda *args: 0.5]
      errors[place] = lambda *args: np.nan
      checks._checks['add'] = dict(enumerate(errors))
      wrong = checks.step(checks.init(), 1)[0]['error']
      self.assertTrue(np.isnan(wrong).all())
    checks._checks.clear()
    self.assertEqual(checks.step(worse, 2)[0]['error'].tolist(), [[7.0, 7.0]])
    with mock.patch.object(_checked._costs, 'boxing_cost_nd', return_value=1):
      checks = parallel.Checks(('add',), mesh_of(1), size=2)
      boxing = checks.rows(checks.init(), {}, 1)[0]
    self.assertEqual((boxing['wrong_bytes'], boxing['signatures']), (12, 12))

  def test_wrong_signatures_have_errors(self):
    wrong = parallel.Signature(
      (parallel.as_sbp('S0'), parallel.as_sbp('B')), parallel.as_sbp('S0')
    )
    made = parallel.make_operator('matmul', [(4, 4)] * 2)
    made = made._replace(apply=lambda x, w, first=None: x @ (w + x.sum()))
    check = _checked._check(made, made.apply, wrong, mesh_of(2), (2,))
    rng = np.random.default_rng(0)
    self.assertGreater(check([tensor(4, 4), tensor(4, 4)], rng), 0.1)


class CollectiveBytesTest(parameterized.TestCase):
  def mapped(self, fn, ins, out):
    return jax.shard_map(
      fn, mesh=mesh_of(2, 4), in_specs=ins, out_specs=out, check_vma=False
    )

  def test_each_collective(self):
    x = jnp.ones((8, 16))
    size, lax = x.nbytes, jax.lax
    cases = [
      (lambda x: lax.all_gather(x, 'y', tiled=True), P('y'), P()),
      (lambda x: lax.psum_scatter(x, 'y', tiled=True), P(), P('y')),
      (lambda x: lax.psum(x, 'x'), P(), P()),
      (
        lambda x: lax.all_to_all(x, 'y', 1, 0, tiled=True),
        P('y'),
        P(None, 'y'),
      ),
      (
        lambda x: lax.ppermute(x, 'y', [(0, 1), (1, 0), (2, 2)]),
        P('y'),
        P('y'),
      ),
    ]
    want = [
      # Two groups of four; four groups of two.
      {'all-gather': 2 * 3 * size},
      {'reduce-scatter': 2 * 3 * size},
      {'all-reduce': 4 * 2 * size},
      {'all-to-all': 2 * 3 * size // 4},
      {'collective-permute': 2 * 2 * size // 4},
    ]
    got = [moved(self.mapped(*case), x) for case in cases]
    self.assertEqual(got, want)

  def test_loops_and_branches(self):
    x = jnp.ones((8, 4))
    lax, one = jax.lax, 8 * x.nbytes

    def scanned(x):
      return lax.scan(lambda c, _: (lax.psum(c, 'x'), None), x, None, 7)[0]

    def nested(x):
      return lax.fori_loop(0, 3, lambda i, y: scanned(y), x)

    def either(x):
      call = lambda y: lax.psum(y, 'x')
      more = lambda y: lax.psum(lax.psum(y, 'x') + 1, 'x')
      return lax.cond(x[0, 0] > 0, call, more, x)

    def until(x):
      return lax.while_loop(
        lambda y: y[0, 0] < 9, lambda y: lax.psum(y, 'x'), x
      )

    for fn, times in ((scanned, 7), (nested, 21), (either, 2), (until, 1)):
      found = moved(self.mapped(fn, P(), P()), x)
      self.assertEqual(found, {'all-reduce': times * one}, fn.__name__)
    compiled = jax.jit(self.mapped(until, P(), P())).lower(x).compile()
    found = parallel.collective_bytes(compiled, trips=5)
    self.assertEqual(found['all-reduce'], 5 * one)

  def test_pmap(self):
    fn = jax.pmap(lambda x: jax.lax.psum(x, 'i'), axis_name='i')
    found = parallel.collective_bytes(fn.lower(jnp.ones((8, 4))).compile())
    self.assertEqual(found['all-reduce'], 2 * 7 * 16)

  @parameterized.parameters(
    ('all-reduce(%a)', 'replica_groups={{0,1},{2,3}}', 'all-reduce', 4),
    ('all-reduce(%a)', 'replica_groups={}', 'all-reduce', 6),
    ('all-reduce(f32[8]{0} %a)', 'replica_groups=[1,4]<=[4]', 'all-reduce', 6),
    (
      'all-gather-start(%a)',
      "replica_groups=mesh['x'=2,'y'=2], device_ids=([4]) {'y'}",
      'all-gather',
      4,
    ),
    (
      'all-gather(%a)',
      "replica_groups=mesh['y'=4] {'y':(2)2}",
      'all-gather',
      4,
    ),
    (
      'all-to-all(%a, %a)',
      'replica_groups=[2,2]<=[2,2]T(1,0)',
      'all-to-all',
      4,
    ),
    ('all-reduce(%a)', 'replica_groups={{0},{1},{2},{3}}', 'all-reduce', 0),
    (
      'collective-permute-start(%a)',
      'source_target_pairs={{0,1},{1,0},{2,2}}',
      'collective-permute',
      2,
    ),
  )
  def test_texts_of_all_versions(self, call, groups, kind, times):
    text = f"""HloModule m, is_scheduled=true, num_partitions=4

ENTRY %main (a: f32[8]) -> f32[8] {{
  %a = f32[8]{{0}} parameter(0), metadata={{op_name="x"}}
  ROOT %r = (f32[8]{{0}}, /*index=1*/f32[9]{{0}}) {call}, channel_id=1, {groups}
}}
"""
    self.assertEqual(parallel.collective_bytes(text)[kind], times * 32)

  def test_groups_of_replicas_stand_for_every_partition(self):
    text = """HloModule m, replica_count=2, num_partitions=3

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %r = f32[8]{0} all-reduce(%a), replica_groups={{0,1}}
}
"""
    found = parallel.collective_bytes(text)
    self.assertEqual(found['all-reduce'], 3 * 2 * 32)
    text = text.replace('{{0,1}}', '{}')
    self.assertEqual(parallel.collective_bytes(text), found)

  def test_asynchronous_wrappers_count_once(self):
    text = """HloModule m, num_partitions=4

%wrapped (p: bf16[8]) -> bf16[2] {
  %p = bf16[8]{0} parameter(0)
  ROOT %r = bf16[2]{0} reduce-scatter(%p), replica_groups=[1,4]<=[4]
}

ENTRY %main (a: bf16[8]) -> bf16[2] {
  %a = bf16[8]{0} parameter(0)
  %s = ((bf16[8]), bf16[2], u32[]) async-start(%a), calls=%wrapped
  %u = ((bf16[8]), bf16[2], u32[]) async-update(%s), calls=%wrapped
  ROOT %d = bf16[2]{0} async-done(%u), calls=%wrapped
}
"""
    found = parallel.collective_bytes(text)
    self.assertEqual(found['reduce-scatter'], 3 * 16)

  def test_says_what_it_takes(self):
    with self.assertRaisesRegex(
      TypeError, r'compiled program or its text.*the function'
    ):
      parallel.collective_bytes(jnp.ones)
    with self.assertRaisesRegex(ValueError, 'no line starts with ENTRY'):
      parallel.collective_bytes('nothing')


class ShardingTest(parameterized.TestCase):
  def test_round_trip(self):
    names = ('x', 'y')
    for parts in itertools.product(('S0', 'S2', 'B', 'P'), repeat=2):
      sbp = parallel.as_sbp(parts)
      spec = parallel.to_partition_spec(sbp, names, 3)
      self.assertEqual(parallel.from_sharding(spec, names), sbp)
      if 'P' not in parts:
        sharding = jax.NamedSharding(mesh_of(2, 4), spec)
        self.assertEqual(parallel.from_sharding(sharding), sbp)
        # The devices hold what `scatter` gives them.
        x = tensor(8, 2, 8)
        placed = jax.device_put(x, sharding)
        want = parallel.scatter(x, sbp, (2, 4))
        order = {d.id: i for i, d in enumerate(mesh_of(2, 4).devices.flat)}
        for shard in placed.addressable_shards:
          np.testing.assert_array_equal(
            shard.data, want[order[shard.device.id]]
          )

  def test_round_trip_of_other_kinds(self):
    self.assertEqual(
      parallel.from_sharding(
        parallel.to_partition_spec('P', ('x',), 0), ('x',)
      ),
      parallel.as_sbp('P'),
    )
    if hasattr(jax.sharding, 'UnreducedKind'):
      spec = parallel.to_partition_spec('P(max),S0', ('x', 'y'), 1)
      got = parallel.from_sharding(spec, ('x', 'y'))
      self.assertEqual(got, parallel.as_sbp('P(max),S0'))

  def test_partial_arrays_of_jax(self):
    mesh = jax.make_mesh((4,), ('x',))
    put = lambda s: jax.NamedSharding(
      mesh, parallel.to_partition_spec(s, ('x',), 2)
    )
    a, b = tensor(3, 8), tensor(8, 5, seed=1)
    terms = parallel.scatter(a @ b, 'B', 4)
    y = jnp.einsum(
      'ij,jk->ik',
      jax.device_put(a, put('S1')),
      jax.device_put(b, put('S0')),
      out_sharding=put('P'),
    )
    self.assertIn('{U:x}', str(jax.typeof(y)))
    self.assertEqual(parallel.from_sharding(y.sharding), parallel.as_sbp('P'))
    terms = [np.asarray(s.data) for s in y.addressable_shards]
    np.testing.assert_allclose(parallel.recover(terms, 'P'), a @ b, rtol=1e-4)
    self.assertGreater(np.abs(terms[0] - a @ b).max(), 0.1)
    np.testing.assert_allclose(jax.reshard(y, put('B')), a @ b, rtol=1e-4)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, r'cannot write P\(max\),P: box'):
      parallel.to_partition_spec('P(max),P', ('x', 'y'), 2)
    if not hasattr(jax.sharding, 'UnreducedKind'):
      with self.assertRaisesRegex(ValueError, r'cannot write P\(max\): box'):
        parallel.to_partition_spec('P(max)', ('x',), 2)
    with self.assertRaisesRegex(
      ValueError, 'splits dimension 2 of x, which has 2'
    ):
      parallel.to_partition_spec('S2', ('x',), 2)
    with self.assertRaisesRegex(ValueError, "dimension 0 by 'y' first"):
      parallel.from_sharding(P(('y', 'x')), ('x', 'y'))
    with self.assertRaisesRegex(ValueError, "has 'z' at dimension 0"):
      parallel.from_sharding(P('z'), ('x', 'y'))
    with self.assertRaisesRegex(TypeError, 'with axis_names; got'):
      parallel.from_sharding(P('x'))


class RunTest(parameterized.TestCase):
  def test_all_signatures_of_a_product(self):
    x, w = tensor(8, 8), tensor(8, 4, seed=1)
    shapes = (x.shape, w.shape)
    matmul = parallel.make_operator('matmul', shapes).apply
    for shape in ((4,), (2, 2)):
      found = parallel.valid_signatures('matmul', shapes, shape)
      found = found if len(shape) == 1 else found[::5]

      @jax.jit
      def every(x, w, found=found, shape=shape):
        return [
          parallel.run_sharded(matmul, s.ins, s.out, mesh_of(*shape))(x, w)
          for s in found
        ]

      for s, y in zip(found, every(x, w), strict=True):
        np.testing.assert_allclose(y, x @ w, atol=1e-4, err_msg=str(s))

  def test_gradients_are_those_of_the_whole(self):
    x, w = tensor(8, 8), tensor(8, 4, seed=1)
    found = parallel.valid_signatures('matmul', (x.shape, w.shape), 4)
    loss = lambda y: (y**2).sum()
    want = jax.grad(lambda x, w: loss(x @ w), (0, 1))(x, w)

    @jax.jit
    def every(x, w):
      runs = [
        parallel.run_sharded(jnp.matmul, s.ins, s.out, mesh_of(4))
        for s in found
      ]
      return [
        jax.grad(lambda x, w, run=run: loss(run(x, w)), (0, 1))(x, w)
        for run in runs
      ]

    for s, got in zip(found, every(x, w), strict=True):
      for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3, err_msg=str(s))

  def test_random_terms_on_devices(self):
    x, w = tensor(8, 8), tensor(8, 4, seed=1)
    matmul = parallel.make_operator('matmul', (x.shape, w.shape)).apply
    rng = np.random.default_rng(0)
    for s in parallel.valid_signatures('matmul', (x.shape, w.shape), 4):
      stacks = [
        np.stack(parallel.scatter(a, sbp, 4, rng=rng))
        for a, sbp in zip((x, w), s.ins, strict=True)
      ]
      out = parallel.map_shards(matmul, s.ins, mesh_of(4))(*stacks)
      np.testing.assert_allclose(
        parallel.recover(list(out), s.out), x @ w, atol=1e-3
      )

  def test_rows_of_a_table_that_is_split(self):
    ids = np.random.default_rng(0).integers(0, 16, size=(4, 2))
    table = tensor(16, 4)
    look = parallel.make_operator('embedding', (ids.shape, table.shape)).apply
    shapes = (ids.shape, table.shape)
    found = parallel.valid_signatures('embedding', shapes, (2, 2))
    rows = parallel.match_signature(
      'embedding', shapes, ('B,B', 'S0,S0'), (2, 2)
    )
    for s in (*found[::5], rows):
      run = parallel.run_sharded(look, s.ins, s.out, mesh_of(2, 2))
      np.testing.assert_allclose(
        jax.jit(run)(ids, table), table[ids], err_msg=str(s)
      )

  def test_results_go_where_they_are_wanted(self):
    x, w = tensor(8, 8), tensor(8, 4, seed=1)
    run = parallel.run_sharded(
      jnp.matmul, ('S1', 'S0'), 'P', mesh_of(4), to='S0'
    )
    program = jax.jit(run).lower(x, w).compile()
    count = parallel.collective_bytes(program)
    self.assertEqual(count['reduce-scatter'], 3 * 8 * 4 * 4)
    y = jax.jit(run)(x, w)
    self.assertEqual(parallel.from_sharding(y.sharding), parallel.as_sbp('S0'))
    np.testing.assert_allclose(y, x @ w, atol=1e-4)

  def test_a_wrong_signature_gives_wrong_numbers(self):
    # (1 + 1)(1 + 1) is not 1 1 + 1 1.
    ones = [np.ones((1, 1))] * 2
    terms = [a @ b for a, b in zip(ones, ones, strict=True)]
    whole = parallel.recover(ones, 'P') @ parallel.recover(ones, 'P')
    self.assertEqual(whole.item(), 4.0)
    self.assertEqual(parallel.recover(terms, 'P').item(), 2.0)

  def test_explicit_meshes(self):
    mesh = jax.make_mesh((4,), ('x',))
    x, w = tensor(8, 8), tensor(8, 4, seed=1)
    run = jax.jit(parallel.run_sharded(jnp.matmul, ('S1', 'S0'), 'P', mesh))
    np.testing.assert_allclose(run(x, w), x @ w, atol=1e-4)

  def test_says_what_is_wrong(self):
    run = functools.partial(parallel.run_sharded, jnp.matmul)
    with self.assertRaisesRegex(ValueError, 'array 1, of size 6, over 4'):
      run(('B', 'S1'), 'S1', mesh_of(4))(jnp.ones((4, 4)), jnp.ones((4, 6)))
    with self.assertRaisesRegex(ValueError, 'to=P leaves terms of a sum'):
      run(('S1', 'S0'), 'P', mesh_of(4), to='P')
    with self.assertRaisesRegex(ValueError, r"in_sbp\[1\]='S0' has 1 comp"):
      run(('S1,B', 'S0'), 'P,B', mesh_of(2, 2))
    with self.assertRaisesRegex(ValueError, 'takes 2 arrays.*got 1'):
      run(('S1', 'S0'), 'P', mesh_of(4))(jnp.ones((4, 4)))


if __name__ == '__main__':
  absltest.main()
