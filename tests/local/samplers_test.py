# SPDX-License-Identifier: Apache-2.0
import functools
import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data, local
from jaxdl.core import registry

COUNTS = np.array([5, 3, 2])
SHARES = COUNTS / COUNTS.sum()


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def many(name, options, rounds):
  """Client weights f32[rounds, N] of many rounds of one run."""
  sample = local.client_sampler(registry.write(name, **dict(options)), COUNTS)

  def one(r):
    got = sample(jax.random.key(7), r)
    return jnp.zeros(3).at[got.client_ids].add(got.weights), got

  return jax.vmap(one)(jnp.arange(rounds))


class WeightTest(parameterized.TestCase):
  # Two of three clients, shares (.5, .3, .2): closed forms p(1 - p)/m and
  # p^2 (N/m - 1).
  @parameterized.parameters(
    ('multinomial', (('num_sampled', 2),), [0.125, 0.105, 0.08]),
    (
      'uniform',
      (('num_sampled', 2), ('weighting', 'unbiased')),
      [0.125, 0.045, 0.02],
    ),
  )
  def test_unbiased_with_the_known_variance(self, name, options, variance):
    weights, _ = many(name, options, 20_000)
    np.testing.assert_allclose(weights.mean(axis=0), SHARES, atol=0.01)
    np.testing.assert_allclose(weights.var(axis=0), variance, atol=0.004)

  def test_poisson_unbiased_and_fixed(self):
    q = 0.4
    weights, got = many(
      'poisson', (('rate', q), ('weighting', 'unbiased')), 20_000
    )
    np.testing.assert_allclose(weights.mean(axis=0), SHARES, atol=0.02)
    # Var of p_k B / q with B Bernoulli(q): p^2 (1/q - 1).
    np.testing.assert_allclose(
      weights.var(axis=0), SHARES**2 * (1 / q - 1), atol=0.01
    )
    sizes = np.bincount(got.mask.sum(axis=1), minlength=4) / 20_000
    np.testing.assert_allclose(sizes, [0.216, 0.432, 0.288, 0.064], atol=0.012)
    fixed, got = many('poisson', (('rate', q),), 50)
    np.testing.assert_allclose(fixed[fixed > 0], 1 / (q * 3), rtol=1e-6)
    self.assertEqual(int(got.num_dropped.sum()), 0)

  def test_ratio_weights_by_hand(self):
    weights, got = many('uniform', (('num_sampled', 2),), 200)
    seen = set()
    for row, ids in zip(
      np.asarray(weights), got.client_ids.tolist(), strict=True
    ):
      want = np.zeros(3)
      want[ids] = COUNTS[ids] / COUNTS[ids].sum()
      np.testing.assert_allclose(row, want, rtol=1e-6)
      seen.add(tuple(sorted(ids)))
    self.assertEqual(seen, set(itertools.combinations(range(3), 2)))
    full = local.sample_full(jax.random.key(0), 3, COUNTS)
    np.testing.assert_allclose(full.weights, SHARES, rtol=1e-6)

  def test_uniform_takes_all_subsets_equally_often(self):
    _, got = many('uniform', (('num_sampled', 2),), 20_000)
    ids = np.asarray(got.client_ids)
    self.assertTrue((ids[:, 0] != ids[:, 1]).all())
    _, counts = np.unique(ids @ np.array([3, 1]), return_counts=True)
    self.assertLen(counts, 6)
    np.testing.assert_allclose(counts / 20_000, 1 / 6, atol=0.01)


class CohortTest(parameterized.TestCase):
  def test_cyclic_visits_everyone_once_per_pass(self):
    for n, m in ((6, 3), (7, 3), (4, 4), (5, 1)):
      sample = jax.jit(
        functools.partial(
          local.sample_cyclic, num_examples=jnp.ones(n), num_sampled=m
        )
      )
      rounds = -(-n // m)
      orders = []
      for start in (0, rounds):
        ids = []
        for r in range(start, start + rounds):
          got = sample(jax.random.key(0), r)
          ids += got.client_ids[got.mask].tolist()
          self.assertAlmostEqual(float(got.weights.sum()), 1.0, places=6)
        self.assertEqual(sorted(ids), list(range(n)))
        orders.append(ids)
      self.assertNotEqual(*orders)

  def test_cyclic_unbiased_weights_average_to_the_shares(self):
    weights, _ = many(
      'cyclic', (('num_sampled', 2), ('weighting', 'unbiased')), 6
    )
    np.testing.assert_allclose(weights.mean(axis=0), SHARES, rtol=1e-6)

  @parameterized.parameters(
    ('full', {}),
    ('uniform', {'num_sampled': 2}),
    ('multinomial', {'num_sampled': 2}),
    ('poisson', {'rate': 0.5}),
    ('cyclic', {'num_sampled': 2}),
  )
  def test_padding_resuming_and_one_compilation(self, name, options):
    spec = registry.write(name, **options)
    plain = local.client_sampler(spec, COUNTS)
    padded = local.client_sampler(spec, COUNTS, size=8)
    traces = []

    @jax.jit
    def step(key, round_index):
      traces.append(round_index)
      return padded(key, round_index)

    key = jax.random.key(3)
    late = [step(key, jnp.int32(r)) for r in range(4)]
    self.assertLen(traces, 1)
    for r in reversed(range(4)):  # Any round, in any order, from its number.
      a, b = plain(key, r), late[r]
      m = len(a.mask)
      self.assertEqual(b.client_ids.shape, (8,))
      np.testing.assert_array_equal(a.client_ids, b.client_ids[:m])
      np.testing.assert_array_equal(a.weights, b.weights[:m])
      self.assertFalse(b.mask[m:].any())
      self.assertTrue((b.client_ids[~b.mask] == data.NO_CLIENT).all())
      self.assertEqual(float(jnp.abs(b.weights[~b.mask]).sum()), 0.0)
    if name != 'full':
      other = [padded(jax.random.key(4), r) for r in range(4)]
      self.assertNotEqual(
        [x.client_ids.tolist() for x in late],
        [x.client_ids.tolist() for x in other],
      )

  def test_poisson_rows_hold_almost_every_cohort(self):
    counts = np.ones(400)
    draw = lambda r, size=None: local.sample_poisson(
      jax.random.key(0), r, counts, 0.02, size=size
    )
    got = jax.jit(jax.vmap(draw))(jnp.arange(300))
    self.assertEqual(got.mask.shape[1], 31)  # 8 + 6 * 2.8 + 6, rounded up.
    self.assertEqual(int(got.num_dropped.sum()), 0)
    self.assertAlmostEqual(got.mask.sum(axis=1).mean(), 8.0, delta=0.5)
    tight = jax.jit(jax.vmap(lambda r: draw(r, 8)))(jnp.arange(300))
    np.testing.assert_array_equal(
      tight.mask.sum(axis=1) + tight.num_dropped, got.mask.sum(axis=1)
    )
    self.assertGreater(int(tight.num_dropped.sum()), 0)

  def test_empty_cohort_has_zero_weights(self):
    sample = functools.partial(local.sample_poisson, weighting='ratio')
    got = sample(jax.random.key(0), 0, np.ones(5), 1e-6)
    self.assertFalse(got.mask.any())
    np.testing.assert_array_equal(got.weights, 0.0)

  def test_clients_without_examples_weigh_nothing(self):
    counts = np.array([0, 4, 0, 4])
    got = local.sample_multinomial(jax.random.key(0), 0, counts, 40)
    self.assertEqual(set(got.client_ids.tolist()), {1, 3})
    got = local.sample_uniform(jax.random.key(0), 0, counts, 4)
    self.assertEqual(sorted(got.weights.tolist()), [0.0, 0.0, 0.5, 0.5])

  def test_sums_of_shares_give_nothing_to_clients_without_examples(self):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 2, 1000) * rng.integers(1, 50, 1000)
    shares = jnp.asarray(counts, jnp.float32) / float(counts.sum())
    key = jax.random.key(3)
    want = jax.random.choice(jax.random.fold_in(key, 0), 1000, (50,), p=shares)
    got = local.sample_multinomial(key, 0, counts, 50).client_ids
    np.testing.assert_array_equal(got, want)
    # Every number between two neighbors at which a sum over shares ends.
    ends = np.unique(np.asarray(jnp.cumsum(shares)))
    draws = 1 - np.concatenate([ends, np.nextafter(ends, np.float32(0))])
    draws = np.clip(draws, 0, 1 - 2.0**-24).astype(np.float32)
    with mock.patch.object(jax.random, 'uniform', return_value=draws):
      found = local.sample_multinomial(key, 0, counts, len(draws)).client_ids
    self.assertGreater(counts[np.asarray(found)].min(), 0)

  def test_huge_counts_keep_their_shares(self):
    got = local.sample_full(jax.random.key(0), 0, np.full(10, 1e38))
    np.testing.assert_allclose(got.weights, 0.1, rtol=1e-6)

  def test_gathered_cohort(self):
    stacked = {'y': jnp.arange(6).reshape(3, 2) + 1}
    mask = jnp.array([[True, True], [True, False], [True, True]])
    sample = local.ClientSample(
      jnp.array([2, 1, data.NO_CLIENT]),
      jnp.array([True, True, False]),
      jnp.array([0.6, 0.4, 0.0]),
      jnp.int32(0),
    )
    got = local.gather_cohort(stacked, mask, sample)
    self.assertEqual(got.data['y'].tolist()[:2], [[5, 6], [3, 4]])
    self.assertEqual(
      got.data['mask'].tolist(), [[True, True], [True, False], [False, False]]
    )
    self.assertEqual(got.mask.tolist(), [True, True, False])

  @parameterized.parameters(
    ('uniform', {'num_sampled': 4}, 'num_sampled=4 exceeds the 3 clients'),
    ('cyclic', {'num_sampled': 0}, 'num_sampled must be at least 1'),
    ('uniform', {}, "sampling='uniform' needs the option 'num_sampled'"),
    ('poisson', {}, 'needs either rate or num_sampled'),
    ('poisson', {'rate': 1.5}, r'rate must lie in \(0'),
    (
      'uniform',
      {'num_sampled': 2, 'rate': 0.1},
      "uniform has no option 'rate'",
    ),
    ('uniform', {'num_sampled': 2, 'weighting': 'x'}, "weighting='x' is unk"),
    ('uniform', {'num_sampled': 2, 'size': 1}, 'size=1 is smaller than the co'),
    (
      'multinomial',
      {'num_sampled': 2, 'weighting': 'ratio'},
      "no option 'weig",
    ),
    ('full', {'num_sampled': 2}, "full has no option 'num_sampled'"),
    ('random', {}, "sampling='random' is unknown: choose one of 'full'"),
  )
  def test_says_what_to_change_before_the_first_round(
    self, name, opts, message
  ):
    with self.assertRaisesRegex(ValueError, message):
      local.client_sampler(registry.write(name, **opts), COUNTS)

  def test_counts_are_checked(self):
    for counts, message in (
      (np.array([1, -1]), r'num_examples\[1\] must be finite and not neg'),
      (np.array([np.nan]), r'num_examples\[0\]'),
      (np.zeros(2), 'positive for some client'),
      (np.ones((2, 2)), r'shape \[N\]'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        local.client_sampler('full', counts)


if __name__ == '__main__':
  absltest.main()
