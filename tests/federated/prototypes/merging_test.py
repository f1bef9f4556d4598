# SPDX-License-Identifier: Apache-2.0
"""Merging what many clients found."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import clients as clients_lib
from jaxdl.federated import prototypes

N, C, D = 8, 4, 3


def one(x, n):
  """A memory of one class in one dimension."""
  return prototypes.PrototypeMemory(jnp.full((1, 1), x), jnp.array([n]))


def stacked(*memories):
  return jax.tree.map(lambda *xs: jnp.stack(xs), *memories)


def found(seed=0):
  """What N clients found, some of them nothing of a class, and the pool."""
  rng = np.random.default_rng(seed)
  count = rng.integers(0, 4, (N, C)).astype(np.int32)
  count[:, 3] = 0
  mean = rng.normal(size=(N, C, D)).astype(np.float32)
  mean[count == 0] = np.nan  # Nobody may look at it.
  total = count.sum(axis=0)
  clean = np.where(count[..., None] > 0, mean, 0).astype(np.float64)
  pooled = (count[..., None] * clean).sum(axis=0)
  return prototypes.PrototypeMemory(mean, count), (
    pooled / np.maximum(total, 1)[:, None],
    total,
  )


class MergeTest(parameterized.TestCase):
  def test_exact_and_reference_rules_differ_as_the_sheet_says(self):
    server = one(0.0, 1)
    cases = {
      ('exact', 1): (0.5, 2),
      ('exact', 2): (2 / 3, 3),
      ('reference', 1): (0.25, 2),
      ('reference', 2): (0.25 + (0.5 - 0.25) / 3, 3),
      # Server and clients count alike.
      ('unweighted', 1): (0.5, 2),
      ('unweighted', 2): (2 / 3, 3),
    }
    for (rule, size), (mean, count) in cases.items():
      deltas = stacked(*[one(1.0, 1)] * size)
      merged = prototypes.make_merge(rule)(server, deltas)
      np.testing.assert_allclose(merged.mean, mean, rtol=1e-6, err_msg=rule)
      self.assertEqual(merged.count.tolist(), [count])

  def test_reference_merge_of_what_clients_send(self):
    server = one(0.0, 1)
    after = prototypes.merge_prototypes(server, one(1.0, 1))
    self.assertEqual((float(after.mean[0, 0]), int(after.count[0])), (0.5, 2))
    merged = prototypes.reference_merge(server, stacked(after, after))
    np.testing.assert_allclose(merged.mean, 1 / 3, rtol=1e-6)

  def test_reference_is_right_where_one_client_meets_a_new_class(self):
    deltas, _ = found()
    only = jax.tree.map(lambda x: jnp.nan_to_num(x[:1]), deltas)
    empty = prototypes.empty_memory(C, D)
    got = prototypes.make_merge('reference')(empty, only)
    want = prototypes.make_merge('exact')(empty, only)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, want
    )

  def test_unequal_counts_show_why_they_matter(self):
    server = prototypes.empty_memory(1, 1)
    deltas = stacked(one(0.0, 9), one(1.0, 1))
    exact = prototypes.exact_merge(server, deltas)
    wrong = prototypes.unweighted_merge(server, deltas)
    np.testing.assert_allclose(exact.mean, 0.1, rtol=1e-6)
    np.testing.assert_allclose(wrong.mean, 0.5, rtol=1e-6)
    self.assertEqual(wrong.count.tolist(), [10])

  def test_many_are_merged_like_their_pool_and_one_after_another(self):
    deltas, (mean, count) = found()
    merged = jax.jit(prototypes.merge_many)(deltas)
    np.testing.assert_allclose(merged.mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(merged.count, count)
    clean = jax.tree.map(jnp.nan_to_num, deltas)
    slow = functools.reduce(
      prototypes.merge_prototypes,
      [jax.tree.map(lambda x, i=i: x[i], clean) for i in range(N)],
    )
    np.testing.assert_allclose(slow.mean, mean, rtol=1e-5, atol=1e-6)

  def test_psum_over_eight_devices_is_one_device(self):
    deltas, (mean, count) = found(1)
    mesh = clients_lib.clients_mesh(8)
    run = jax.jit(
      jax.shard_map(
        functools.partial(prototypes.merge_many, axis_name='clients'),
        mesh=mesh,
        in_specs=jax.P('clients'),
        out_specs=jax.P(),
      )
    )
    merged = run(
      jax.device_put(deltas, jax.NamedSharding(mesh, jax.P('clients')))
    )
    alone = prototypes.merge_many(deltas)
    np.testing.assert_allclose(merged.mean, alone.mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(merged.count, alone.count)
    np.testing.assert_allclose(merged.mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(merged.count, count)

  @parameterized.parameters('exact', 'reference', 'unweighted')
  def test_classes_that_nobody_met_keep_their_bits(self, rule):
    deltas, _ = found()
    rng = np.random.default_rng(3)
    server = prototypes.PrototypeMemory(
      jnp.asarray(rng.normal(size=(C, D)), jnp.float32), jnp.full((C,), 3)
    )
    clean = jax.tree.map(jnp.nan_to_num, deltas)
    merged = jax.jit(prototypes.make_merge(rule))(server, clean)
    np.testing.assert_array_equal(merged.mean[3], server.mean[3])
    np.testing.assert_array_equal(
      merged.count, 3 + np.asarray(deltas.count).sum(axis=0)
    )

  @parameterized.parameters('exact', 'reference', 'unweighted')
  def test_a_client_that_is_not_finite_spoils_its_classes_only(self, rule):
    deltas, _ = found()
    clean = jax.tree.map(jnp.nan_to_num, deltas)
    k = int(np.argmax(clean.count[0] > 0))
    spoiled = clean._replace(mean=clean.mean.at[0, k].set(jnp.inf))
    server = prototypes.PrototypeMemory(jnp.ones((C, D)), jnp.full((C,), 2))
    got, want = (
      jax.jit(prototypes.make_merge(rule))(server, x) for x in (spoiled, clean)
    )
    others = np.arange(C) != k
    self.assertFalse(np.isfinite(got.mean[k]).any())
    np.testing.assert_array_equal(got.mean[others], want.mean[others])
    np.testing.assert_array_equal(got.count, want.count)
    with self.assertRaisesRegex(
      ValueError, f'mean of class {k} of client 0 that is not finite'
    ):
      prototypes.make_merge('exact')(server, spoiled)

  def test_bad_input(self):
    deltas, _ = found()
    counted = deltas._replace(count=deltas.count.astype(np.float32))
    with self.assertRaisesRegex(TypeError, 'integer counts; got float32'):
      prototypes.merge_many(counted)
    with self.assertRaisesRegex(ValueError, r'mean \[N, C, d\]'):
      prototypes.merge_many(one(1.0, 1))
    with self.assertRaisesRegex(ValueError, "axis_name='rows' is not mapped"):
      prototypes.merge_many(deltas, axis_name='rows')
    negative = deltas._replace(count=deltas.count.copy() * 0 - 1)
    with self.assertRaisesRegex(
      ValueError, 'stacked has -1 examples of class 0 of client 0'
    ):
      prototypes.merge_many(negative)
    with self.assertRaisesRegex(
      ValueError, 'after has 1 examples of class 0 of client 0 but server has 2'
    ):
      prototypes.reference_merge(one(0.0, 2), stacked(one(0.0, 1)))
    with self.assertRaisesRegex(ValueError, 'server and after must have equal'):
      prototypes.reference_merge(one(0.0, 2), deltas)
    with self.assertRaisesRegex(ValueError, "merge='exakt' is unknown"):
      prototypes.make_merge('exakt')


if __name__ == '__main__':
  absltest.main()
