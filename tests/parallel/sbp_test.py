# SPDX-License-Identifier: Apache-2.0
"""Signatures, shards and what changing them costs."""

import itertools
import math

import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import parallel

ONE = ('S0', 'S1', 'B', 'P')
MESHES = (1, 4, (2, 3), (2, 2, 2))


def signatures(mesh, parts=ONE):
  shape = parallel.as_mesh_shape(mesh)
  return [','.join(s) for s in itertools.product(parts, repeat=len(shape))]


def tensor(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def lacking(src, dst, mesh, size=24):
  """Share of a vector that devices need and do not hold, counted by entries."""
  x = np.arange(size)
  held = parallel.scatter(x, src, mesh)
  needed = parallel.scatter(x, dst, mesh)
  total = sum(
    len(np.setdiff1d(n, h)) for h, n in zip(held, needed, strict=True)
  )
  return total / size


class TextTest(parameterized.TestCase):
  def test_reads_what_it_writes(self):
    for text in (*signatures((2, 2)), 'P(max),S12', 'B'):
      self.assertEqual(parallel.format_sbp(parallel.parse_sbp(text)), text)
    self.assertEqual(
      parallel.parse_sbp('S(1), P(sum)'),
      (parallel.Split(1), parallel.Partial()),
    )

  @parameterized.parameters(
    ('S', "'S': write S0"),
    ('S-1', "has 'S-1'"),
    ('S0,', "has ''"),
    ('P(min)', r"sbp='P\(min\)' has 'min', which is unknown"),
    ('b', "has 'b'"),
  )
  def test_says_what_is_no_signature(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      parallel.parse_sbp(text)

  def test_says_what_does_not_fit_a_mesh(self):
    with self.assertRaisesRegex(ValueError, "'S0,B' has 2 components.* 1 axes"):
      parallel.as_sbp('S0,B', 1)
    with self.assertRaisesRegex(ValueError, 'axis must be at least 0; got -1'):
      parallel.Split(-1)
    with self.assertRaisesRegex(TypeError, 'sbp must be a signature.*got 3'):
      parallel.as_sbp(3)
    with self.assertRaisesRegex(ValueError, "mesh_shape='2y4' is no mesh"):
      parallel.as_mesh_shape('2y4')
    with self.assertRaisesRegex(
      ValueError, r'mesh_shape\[1\] must be at least'
    ):
      parallel.as_mesh_shape((2, 0))
    with self.assertRaisesRegex(ValueError, 'mesh_shape is empty'):
      parallel.as_mesh_shape(())
    with self.assertRaisesRegex(TypeError, 'sbp must be text, such as.*got 3'):
      parallel.parse_sbp(3)

  def test_duals(self):
    dual = lambda text: parallel.format_sbp(parallel.dual(text))
    self.assertEqual(dual('S1,B,P'), 'S1,P,B')
    for text in signatures((2, 2)):
      self.assertEqual(dual(dual(text)), text)


class ShardsTest(parameterized.TestCase):
  @parameterized.parameters(*((m,) for m in MESHES))
  def test_recovers_what_is_scattered(self, mesh):
    # Sizes that no mesh divides.
    x = tensor(7, 5)
    for sbp in signatures(mesh):
      for rng in (None, np.random.default_rng(1)):
        shards = parallel.scatter(x, sbp, mesh, rng=rng)
        self.assertLen(shards, math.prod(parallel.as_mesh_shape(mesh)))
        back = parallel.recover(shards, sbp, mesh)
        np.testing.assert_allclose(back, x, atol=1e-12, err_msg=sbp)

  def test_larger_pieces_come_first_and_outer_axes_vary_slowest(self):
    sizes = [len(s) for s in parallel.scatter(np.arange(11), 'S0', 4)]
    self.assertEqual(sizes, [3, 3, 3, 2])
    shards = parallel.scatter(np.arange(4), 'S0,S0', (2, 2))
    self.assertEqual([s.tolist() for s in shards], [[0], [1], [2], [3]])
    shards = parallel.scatter(np.arange(4), 'B,S0', (2, 2))
    self.assertEqual(
      [s.tolist() for s in shards], [[0, 1], [2, 3], [0, 1], [2, 3]]
    )

  @parameterized.parameters(4, ((2, 2),), ((2, 3),))
  def test_boxes_between_all_pairs(self, mesh):
    x = tensor(7, 6)
    rng = np.random.default_rng(2)
    for src, dst in itertools.product(signatures(mesh), repeat=2):
      shards = parallel.scatter(x, src, mesh, rng=rng)
      out = parallel.box(shards, src, dst, mesh)
      back = parallel.recover(out, dst, mesh)
      np.testing.assert_allclose(back, x, atol=1e-12, err_msg=f'{src} {dst}')
      if 'P' not in dst:
        want = parallel.scatter(x, dst, mesh)
        for a, b in zip(out, want, strict=True):
          np.testing.assert_allclose(a, b, atol=1e-12)

  def test_what_costs_nothing_keeps_what_devices_hold(self):
    x = tensor(8, 4)
    for src, dst in (('S0', 'P'), ('P', 'P'), ('B', 'S1'), ('B', 'P')):
      self.assertEqual(parallel.boxing_cost(src, dst, 1, 4), 0)
      given = parallel.scatter(x, src, 4, rng=np.random.default_rng(0))
      got = parallel.box(given, src, dst)
      for have, want in zip(given, got, strict=True):
        # Nothing but zeros and own entries.
        extra = np.setdiff1d(want, np.append(have, 0.0))
        self.assertEmpty(extra.tolist(), f'{src} {dst}')

  def test_boxes_to_other_devices(self):
    x = tensor(6, 4)
    out = parallel.box(
      parallel.scatter(x, 'S0', 2), 'S0', 'S1,B', to_mesh_shape=(2, 3)
    )
    self.assertLen(out, 6)
    np.testing.assert_array_equal(out[5], x[:, 2:])

  def test_maxima(self):
    x = tensor(5, 3)
    for rng in (None, np.random.default_rng(3)):
      shards = parallel.scatter(x, 'P(max)', 3, rng=rng)
      np.testing.assert_array_equal(parallel.recover(shards, 'P(max)'), x)
      out = parallel.box(shards, 'P(max)', 'S0')
      np.testing.assert_array_equal(np.concatenate(out), x)
    with self.assertRaisesRegex(
      ValueError, r'P\(max\) of int64 has no neutral'
    ):
      parallel.scatter(np.arange(4), 'P(max)', 2)

  def test_types_are_kept(self):
    for x in (jnp.arange(6, dtype=jnp.bfloat16), np.arange(6)):
      for sbp in ('S0', 'B', 'P'):
        shards = parallel.scatter(x, sbp, 3, rng=np.random.default_rng(0))
        self.assertEqual({s.dtype for s in shards}, {x.dtype})
        self.assertEqual(type(shards[0]), type(x))
        if x.dtype != jnp.bfloat16:
          np.testing.assert_array_equal(parallel.recover(shards, sbp), x)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(
      ValueError, 'S2 splits dimension 2 of x.*has 2'
    ):
      parallel.scatter(np.ones((2, 2)), 'S2', 2)
    with self.assertRaisesRegex(ValueError, 'one of each of 4 devices; got 2'):
      parallel.recover([np.ones(2)] * 2, 'S0,B', (2, 2))
    with self.assertRaisesRegex(ValueError, 'differ along dimension 0 only'):
      parallel.recover([np.ones((2, 3)), np.ones((2, 4))], 'S0')
    with self.assertRaisesRegex(ValueError, 'shards of P must have one shape'):
      parallel.recover([np.ones(2), np.ones(3)], 'P')
    with self.assertRaisesRegex(ValueError, 'terms of bool cannot be drawn'):
      parallel.scatter(np.ones(2, bool), 'P', 2, rng=np.random.default_rng(0))
    with self.assertRaisesRegex(TypeError, 'rng must be a np.random.Generator'):
      parallel.scatter(np.ones(2), 'P', 2, rng=0)


class CostTest(parameterized.TestCase):
  def test_table_of_the_same_devices(self):
    # T = 8, p = 4: rows from, columns to.
    want = [[0, 6, 24, 0], [6, 0, 24, 0], [0, 0, 0, 0], [24, 24, 48, 0]]
    got = [[parallel.boxing_cost(a, b, 8, 4) for b in ONE] for a in ONE]
    self.assertEqual(got, want)

  def test_table_of_other_devices(self):
    want = [[8, 8, 16, 8]] * 3 + [[32, 32, 40, 32]]
    got = [
      [parallel.boxing_cost(a, b, 8, 4, 2, same=False) for b in ONE]
      for a in ONE
    ]
    self.assertEqual(got, want)

  def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather(self):
    for p in (1, 2, 5):
      cost = lambda a, b, p=p: parallel.boxing_cost(a, b, 8, p)
      self.assertEqual(cost('P', 'B'), cost('P', 'S0') + cost('S0', 'B'))

  @parameterized.parameters(1, 4, ((1, 1),), ((2, 3),))
  def test_costs_are_linear_and_zero_for_one_device(self, mesh):
    for a, b in itertools.product(signatures(mesh), repeat=2):
      one = parallel.boxing_cost_nd(a, b, 1, mesh)
      many = parallel.boxing_cost_nd(a, b, 7, mesh)
      self.assertAlmostEqual(many, 7 * one)
      if math.prod(parallel.as_mesh_shape(mesh)) == 1:
        self.assertEqual(one, 0)

  def test_pieces_that_devices_lack_are_counted(self):
    # A single change among S and B moves what devices need and do not hold.
    for mesh in ((2, 2), (2, 3), (3, 2), (2, 2, 3)):
      for src in signatures(mesh, ('S0', 'B')):
        for axis in range(len(mesh)):
          for part in ('S0', 'B'):
            dst = src.split(',')
            dst[axis] = part
            dst = ','.join(dst)
            got = parallel.boxing_cost_nd(src, dst, 1, mesh)
            want = lacking(src, dst, mesh, 2 * math.prod(mesh))
            self.assertAlmostEqual(got, want, msg=f'{src} {dst} {mesh}')

  def test_the_known_wrong_case_of_the_official_code(self):
    for m in (2, 3, 4):
      got = parallel.boxing_cost_nd('B,S0', 'S0,S0', 1, (m, m))
      self.assertAlmostEqual(got, 1 - 1 / m)

  def test_one_component_costs_what_its_groups_do(self):
    cost = lambda a, b: parallel.boxing_cost_nd(a, b, 24, (2, 4))
    one = lambda a, b, p, size=24: parallel.boxing_cost(a, b, size, p)
    # Groups along the other axis: each its piece, or each everything.
    self.assertEqual(cost('S0,P', 'S0,B'), one('P', 'B', 4))
    self.assertEqual(cost('B,P', 'B,S1'), 2 * one('P', 'S1', 4))
    self.assertEqual(cost('P,S1', 'B,S1'), one('P', 'B', 2))
    self.assertEqual(cost('S0,B', 'S1,B'), 4 * one('S0', 'S1', 2))
    # Pieces of pieces.
    self.assertEqual(cost('S0,B', 'S0,S0'), 0)
    self.assertEqual(cost('S0,S0', 'S0,B'), one('S0', 'B', 4))

  def test_several_components_take_the_cheapest_path(self):
    for mesh in ((2, 2), (2, 4)):
      states = signatures(mesh)
      graph = networkx.DiGraph()
      for a, b in itertools.permutations(states, 2):
        if sum(map(str.__ne__, a.split(','), b.split(','))) == 1:
          graph.add_edge(a, b, weight=parallel.boxing_cost_nd(a, b, 1, mesh))
      far = dict(networkx.all_pairs_dijkstra_path_length(graph))
      listed, costs = parallel.boxing_costs(2, mesh)
      place = {parallel.format_sbp(s): i for i, s in enumerate(listed)}
      for a, b in itertools.permutations(states, 2):
        got = parallel.boxing_cost_nd(a, b, 1, mesh, ndim=2)
        want = (
          graph.edges[a, b]['weight'] if (a, b) in graph.edges else far[a][b]
        )
        self.assertAlmostEqual(got, want)
        self.assertAlmostEqual(costs[place[a], place[b]], want)
        path = parallel.boxing_path(a, b, mesh, shape=(8, 8))
        steps = zip(path, path[1:], strict=False)
        total = sum(parallel.boxing_cost_nd(*s, 1, mesh) for s in steps)
        self.assertAlmostEqual(total, want)

  def test_other_devices_of_several_axes(self):
    cost = lambda a, b: parallel.boxing_cost_nd(
      a, b, 8, (2, 2), to_mesh_shape=(3, 5)
    )
    self.assertEqual(cost('S0,S1', 'S0,S0'), 8)
    self.assertEqual(cost('P,S1', 'B,S0'), 8 * (2 + 3 - 1))
    self.assertEqual(cost('P,P', 'B,B'), 8 * (4 + 15 - 1))

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(
      ValueError, 'p2=2 differs from p1=4.*same=False'
    ):
      parallel.boxing_cost('S0', 'B', 8, 4, 2)
    with self.assertRaisesRegex(ValueError, "dst='B,B' has 2 components"):
      parallel.boxing_cost_nd('B', 'B,B', 8, 4)
    with self.assertRaisesRegex(
      ValueError, r'P\(max\) cannot become P: make it'
    ):
      parallel.boxing_cost('P(max)', 'P', 8, 4)
    with self.assertRaisesRegex(
      ValueError, r'P cannot become P\(max\): make it'
    ):
      parallel.boxing_cost_nd('P,B', 'P(max)', 8, (2, 2), to_mesh_shape=2)
    with self.assertRaisesRegex(ValueError, 'nbytes must lie in .0'):
      parallel.boxing_cost('P', 'B', -1, 4)
    with self.assertRaisesRegex(ValueError, 'p1 must be at least 1'):
      parallel.boxing_cost('P', 'B', 1, 0)
    with self.assertRaisesRegex(ValueError, 'dimension 1 is split, but ndim=1'):
      parallel.boxing_cost_nd('S1,P', 'B,S1', 1, (2, 2), ndim=1)
    with self.assertRaisesRegex(
      ValueError, 'splits dimension 0 of x, of size 6, over 4 devices: pad it'
    ):
      parallel.boxing_path('S0', 'B', 4, shape=(6,))
    with self.assertRaisesRegex(ValueError, 'signatures of such tensors, more'):
      parallel.boxing_costs(3, (2,) * 5)


if __name__ == '__main__':
  absltest.main()
