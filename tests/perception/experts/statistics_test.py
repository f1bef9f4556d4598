# SPDX-License-Identifier: Apache-2.0
"""Which experts work together, against counts by hand."""

import functools
import itertools
import math

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.perception import experts

IDX = jnp.array([[0, 1], [0, 1], [2, 3], [0, 2]])


class CollaborationTest(parameterized.TestCase):
  def test_counts_of_a_page(self):
    counts = experts.coactivation(IDX, 4)
    np.testing.assert_array_equal(
      counts, [[3, 2, 1, 0], [2, 2, 0, 0], [1, 0, 2, 1], [0, 0, 1, 1]]
    )
    found = experts.collaboration(counts, top_k=2)
    np.testing.assert_allclose(found.conditional[0], [0, 2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(found.conditional.sum(1), 1.0)
    np.testing.assert_allclose(
      found.effective_partners, [1.8899, 1.0, 2.0, 1.0], atol=1e-4
    )
    np.testing.assert_array_equal(found.num_partners, [2, 1, 2, 1])
    p = np.array([3, 2, 2, 1]) / 8
    np.testing.assert_allclose(
      found.usage_entropy, -np.sum(p * np.log(p)), rtol=1e-6
    )
    self.assertEqual(found.num_dead, 0)
    few = experts.collaboration(counts, top_k=2, theta=0.5)
    np.testing.assert_array_equal(few.num_partners, [1, 1, 2, 1])

  def test_three_at_a_time(self):
    rng = np.random.default_rng(0)
    idx = np.stack([rng.permutation(6)[:3] for _ in range(40)])
    want = np.zeros((6, 6), int)
    for row in idx:
      for a, b in itertools.product(row, row):
        want[a, b] += 1
    counts = experts.coactivation(jnp.asarray(idx), 6)
    np.testing.assert_array_equal(counts, want)
    found = experts.collaboration(counts, top_k=3)
    np.testing.assert_allclose(found.conditional.sum(1), 2.0, rtol=1e-6)
    q = want / want.diagonal()[:, None] / 2
    q[np.diag_indices(6)] = 0
    entropy = -np.sum(np.where(q > 0, q * np.log(np.maximum(q, 1e-9)), 0), 1)
    np.testing.assert_allclose(
      found.effective_partners, np.exp(entropy), rtol=1e-5
    )

  def test_the_dead_and_the_lonely(self):
    counts = experts.coactivation(jnp.array([[0], [0], [2]]), 4)
    found = experts.collaboration(counts, top_k=1)
    self.assertEqual(found.num_dead, 2)
    np.testing.assert_array_equal(found.effective_partners, 0)
    np.testing.assert_array_equal(found.num_partners, 0)
    nobody = experts.collaboration(jnp.zeros((3, 3), jnp.int32), top_k=2)
    for leaf in nobody:
      self.assertTrue(np.isfinite(leaf).all())

  def test_padding_is_left_out(self):
    mask = jnp.array([True, False, True, True])
    np.testing.assert_array_equal(
      experts.coactivation(IDX, 4, mask=mask),
      experts.coactivation(IDX[mask], 4),
    )
    share = lambda **options: float(
      experts.same_replica_share(IDX, num_slices=2, **options)
    )
    self.assertEqual(share(), 0.75)
    self.assertAlmostEqual(share(mask=mask), 2 / 3, places=6)
    self.assertEqual(share(mask=jnp.zeros(4, bool)), 0.0)

  def test_a_mask_may_be_of_numbers(self):
    idx = jnp.array([[0, 1], [0, 1], [2, 3], [0, 2]])
    probs = jnp.full((4, 4), 0.25)
    flags = jnp.array([True, False, True, True])
    for fn in (
      lambda mask: experts.coactivation(idx, 4, mask=mask),
      lambda mask: experts.usage(idx, 4, mask=mask),
      lambda mask: experts.same_replica_share(idx, num_slices=2, mask=mask),
      lambda mask: experts.load_balance(idx, probs, mask=mask),
    ):
      for dtype in ('float32', 'int32'):
        np.testing.assert_array_equal(fn(flags.astype(dtype)), fn(flags))

  def test_a_mask_is_of_leading_axes(self):
    rng = np.random.default_rng(0)
    idx = jnp.asarray(rng.permuted(np.tile(np.arange(4), (4, 6, 1)), axis=2))
    idx = idx[..., :2]
    probs = jnp.asarray(rng.dirichlet(np.ones(4), size=(4, 6)), jnp.float32)
    labels = jnp.zeros((4, 6), jnp.int32)
    table = functools.partial(
      experts.combination_table, num_experts=4, num_classes=1
    )
    router = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(4, 6, 3)), jnp.float32)
    route = functools.partial(experts.route, x, router, top_k=2)
    calls = (
      lambda mask: experts.coactivation(idx, 4, mask=mask),
      lambda mask: experts.usage(idx, 4, mask=mask),
      lambda mask: experts.same_replica_share(idx, num_slices=2, mask=mask),
      lambda mask: experts.load_balance(idx, probs, mask=mask),
      lambda mask: table(idx, labels, mask=mask),
      lambda mask: route(mask=mask).load_balance,
    )
    rows = jnp.array([True, False, True, True])
    for call in calls:
      np.testing.assert_array_equal(
        call(rows), call(jnp.repeat(rows[:, None], 6, axis=1))
      )
      # What NumPy would spread over the tokens, and what fits by chance.
      for shape in ((6,), (1,), (4, 1), (1, 6), (6, 4), (24,), (2,)):
        with self.assertRaisesRegex(ValueError, 'mask must have the shape of'):
          call(jnp.ones(shape, bool))

  def test_numbers_of_subnetworks(self):
    found = [experts.num_subnetworks(*a) for a in ((8, 1), (16, 2), (32, 4))]
    self.assertEqual(found, [8, 120, 35_960])

  @parameterized.parameters((5, 2), (6, 3), (4, 1))
  def test_table_of_combinations(self, total, top_k):
    rng = np.random.default_rng(1)
    idx = np.stack([rng.permutation(total)[:top_k] for _ in range(60)])
    labels = rng.integers(-1, 4, 60)  # Of three classes, some are outside.
    table = experts.combination_table(
      jnp.asarray(idx), jnp.asarray(labels), num_experts=total, num_classes=3
    )
    names = [tuple(c) for c in experts.combinations(total, top_k)]
    self.assertLen(set(names), math.comb(total, top_k))
    want = np.zeros((len(names), 3), int)
    for row, label in zip(idx, labels, strict=True):
      if 0 <= label < 3:
        want[names.index(tuple(sorted(row))), label] += 1
    np.testing.assert_array_equal(table, want)

  @parameterized.parameters(
    (lambda: experts.num_subnetworks(2, 3), 'top_k=3 must be at most'),
    (
      lambda: experts.collaboration(jnp.ones((2, 3)), top_k=1),
      r'counts must have shape \[E, E\]',
    ),
    (
      lambda: experts.collaboration(jnp.ones((2, 2)), top_k=1, theta=2.0),
      'theta must lie in',
    ),
    (
      lambda: experts.combination_table(
        IDX, jnp.ones(3, jnp.int32), num_experts=4, num_classes=2
      ),
      r'labels must have shape \(4,\)',
    ),
    (
      lambda: experts.combination_table(
        jnp.zeros((1, 9), int), jnp.zeros(1, int), num_experts=64, num_classes=1
      ),
      'a table of 27540584512 sets of 9 of num_experts=64 .* is too large',
    ),
  )
  def test_says_what_does_not_fit(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()


if __name__ == '__main__':
  absltest.main()
