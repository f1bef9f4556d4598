# SPDX-License-Identifier: Apache-2.0
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data
from jaxdl.core import registry
from jaxdl.data import partition

OPTIONS = {
  'iid': {},
  'quantity_dirichlet': {'alpha': 0.3, 'min_size': 2},
  'power_law': {'exponent': 1.5},
  'lognormal': {'sigma': 1.0},
  'label_dirichlet': {'alpha': 0.5, 'min_size': 3, 'max_redraws': 50},
  'client_dirichlet': {'alpha': 0.5},
  'similarity': {'similarity': 0.3},
  'shards': {'shards_per_client': 3},
  'classes': {'classes_per_client': 2},
}
# What may become infinite.
CONTINUOUS = {
  'quantity_dirichlet': 'alpha',
  'power_law': 'exponent',
  'lognormal': 'sigma',
  'label_dirichlet': 'alpha',
  'client_dirichlet': 'alpha',
  'overlapping_dirichlet': 'alpha',
}


def rng(seed=0):
  return np.random.default_rng(seed)


def labels_of(n=211, num_classes=5):
  return rng(9).integers(0, num_classes, n)


def make(name, generator, labels, num_clients, **options):
  """Writes the spec of a partition and reads it."""
  owners = {k: options.pop(k) for k in ('client_ids',) if k in options}
  spec = registry.write(name, **options)
  return data.make_partition(spec, generator, labels, num_clients, **owners)


class EveryPartitionTest(parameterized.TestCase):
  @parameterized.product(
    name=[*OPTIONS, 'balanced', 'cyclic', 'natural'], num_clients=[1, 4, 7]
  )
  def test_disjoint_complete_sorted_and_repeatable(self, name, num_clients):
    labels = labels_of()
    options = OPTIONS.get(name, {})
    if name == 'balanced':
      name = 'label_dirichlet'
      options = {**OPTIONS[name], 'self_balancing': True}
    elif name == 'cyclic':
      name, options = 'classes', {'assignment': 'cyclic'}
    elif name == 'natural':
      options = {'client_ids': np.arange(len(labels)) % num_clients}
    if name == 'classes' and num_clients == 1:
      options = {**options, 'classes_per_client': 5}
    parts = make(name, rng(), labels, num_clients, **options)
    again = make(name, rng(), labels, num_clients, **options)
    self.assertLen(parts, num_clients)
    self.assertEqual(sorted(np.concatenate(parts)), list(range(len(labels))))
    for part, same in zip(parts, again, strict=True):
      self.assertEqual(part.dtype, np.int64)
      self.assertTrue((np.diff(part) > 0).all())
      np.testing.assert_array_equal(part, same)

  def test_another_seed_is_another_partition(self):
    for name, options in OPTIONS.items():
      a, b = (make(name, rng(s), labels_of(), 4, **options) for s in (1, 2))
      same = all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
      self.assertFalse(same, name)

  def test_table_counts_by_hand(self):
    table = data.class_table(np.array([2, 0, 2, 1]), [[0, 2, 3], [], [1]], 4)
    self.assertEqual(table.tolist(), [[0, 1, 2, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    with self.assertRaisesRegex(ValueError, 'num_classes=2 is too small'):
      data.class_table(np.array([2]), [[0]], 2)

  @parameterized.parameters(*OPTIONS)
  def test_refuses_more_clients_than_examples(self, name):
    with self.assertRaisesRegex(ValueError, 'num_clients=4 exceeds the 3 exa'):
      make(name, rng(), np.arange(3), 4, **OPTIONS[name])
    with self.assertRaisesRegex(TypeError, 'rng must be a numpy Generator'):
      make(name, 0, np.arange(3), 2, **OPTIONS[name])

  @parameterized.product(
    name=list(CONTINUOUS),
    value=[5e-324, 1e-100, 1e18, 1e308, np.finfo(float).max],
  )
  def test_extreme_shares_lose_and_repeat_nothing(self, name, value):
    labels = np.random.default_rng(1).integers(0, 5, 500)
    option = CONTINUOUS[name]
    options = {option: value}
    if name == 'label_dirichlet':
      options['min_size'] = 0
    parts = make(name, rng(), labels, 10, **options)
    if name == 'overlapping_dirichlet':
      for part in parts:
        self.assertLessEqual(len(set(part)), 50)
        self.assertLen(set(part), len(part))
      return
    np.testing.assert_array_equal(
      np.sort(np.concatenate(parts)), np.arange(500)
    )
    if option == 'alpha' and value > 1e17:  # Shares are equal.
      per_class = np.bincount(labels) / 10
      table = data.class_table(labels, parts, 5)
      if name == 'label_dirichlet':
        self.assertLess(np.abs(table - per_class).max(), 1 + 1e-9)
      else:
        self.assertEqual(table.sum(axis=1).tolist(), [50] * 10)

  @parameterized.parameters(*CONTINUOUS)
  def test_infinite_options_are_refused(self, name):
    option = CONTINUOUS[name]
    for value in (np.inf, np.nan, -1.0):
      with self.assertRaisesRegex(ValueError, f'{option} must lie in'):
        make(name, rng(), labels_of(), 3, **{option: value})

  def test_priors_are_finite(self):
    labels = np.repeat([0, 1], 20)
    split = lambda prior: data.partition_client_dirichlet(
      rng(), labels, 4, alpha=1.0, prior=prior
    )
    for bad in (np.inf, np.nan, -1.0):
      with self.assertRaisesRegex(ValueError, 'prior must be 2 finite'):
        split([1.0, bad])
    parts = split([1e308, 1e308])
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(40))

  def test_owners_are_told_apart(self):
    split = lambda ids: [
      part.tolist()
      for part in data.partition_natural(
        rng(), np.zeros(len(ids)), client_ids=ids
      )
    ]
    # NumPy drops trailing zero bytes and makes text of numbers.
    self.assertEqual(split(['a', 'a\0', 'a']), [[0, 2], [1]])
    self.assertEqual(split([(1, 2), (0, 5), (1, 2)]), [[1], [0, 2]])
    self.assertEqual(split(np.array([3, 1, 3])), [[1], [0, 2]])
    for ids in (['1', 1], ['a', b'a'], np.array(['a', b'a'], object)):
      with self.assertRaisesRegex(ValueError, 'client_ids must be of one type'):
        split(ids)
    with self.assertRaisesRegex(ValueError, r'one axis; got shape \(2, 2\)'):
      split(np.ones((2, 2)))

  def test_registry_says_what_it_knows(self):
    with self.assertRaisesRegex(
      ValueError, "partition='dir' is unknown.*'iid'"
    ):
      make('dir', rng(), labels_of(), 3)
    with self.assertRaisesRegex(ValueError, "no option 'alpha'.*are none"):
      make('iid', rng(), labels_of(), 3, alpha=1.0)
    with self.assertRaisesRegex(ValueError, "needs the option 'alpha'"):
      make('label_dirichlet', rng(), labels_of(), 3)
    functions = {f.__name__ for f in data.PARTITIONERS.values()}
    self.assertContainsSubset(functions, partition.__all__)


class QuantityTest(parameterized.TestCase):
  def test_iid_sizes_are_equal_up_to_one(self):
    sizes = [len(p) for p in data.partition_iid(rng(), np.zeros(11), 4)]
    self.assertEqual(sizes, [3, 3, 3, 2])

  def test_sizes_have_the_moments_of_the_dirichlet(self):
    alpha, n, num_clients = 0.5, 10_000, 4
    sizes = np.array(
      [
        [
          len(part)
          for part in data.partition_quantity_dirichlet(
            rng(seed), np.zeros(n), num_clients, alpha=alpha, min_size=0
          )
        ]
        for seed in range(200)
      ]
    )
    # E sum p^2 = (alpha + 1) / (N alpha + 1) for a symmetric Dirichlet.
    want = (alpha + 1) / (num_clients * alpha + 1)
    self.assertAlmostEqual(
      ((sizes / n) ** 2).sum(axis=1).mean(), want, delta=0.04
    )

  def test_power_law_sizes_by_hand(self):
    # 110 * (1, 1/2, 1/3) / (11/6).
    parts = data.partition_power_law(rng(), np.zeros(110), 3, min_size=0)
    self.assertEqual(sorted(len(p) for p in parts), [20, 30, 60])
    # One each, then 107 * (6, 3, 2) / 11 = 58.36, 29.18, 19.45.
    parts = data.partition_power_law(rng(), np.zeros(110), 3)
    self.assertEqual(sorted(len(p) for p in parts), [21, 30, 59])
    parts = data.partition_power_law(rng(), np.zeros(12), 3, exponent=0.0)
    self.assertEqual([len(p) for p in parts], [4, 4, 4])

  def test_lognormal_spread_of_log_sizes(self):
    parts = data.partition_lognormal(
      rng(), np.zeros(200_000), 300, sigma=0.5, min_size=0
    )
    logs = np.log([len(p) for p in parts])
    self.assertAlmostEqual(logs.std(), 0.5, delta=0.06)

  def test_minimum_is_guaranteed(self):
    for seed in range(20):
      parts = data.partition_quantity_dirichlet(
        rng(seed), np.zeros(50), 5, alpha=0.01, min_size=4
      )
      self.assertGreaterEqual(min(len(p) for p in parts), 4)
    with self.assertRaisesRegex(
      ValueError, 'min_size=11 .* needs 55 .* got 50'
    ):
      data.partition_lognormal(rng(), np.zeros(50), 5, min_size=11)
    with self.assertRaisesRegex(ValueError, r'alpha must lie in \(0'):
      data.partition_quantity_dirichlet(rng(), np.zeros(50), 5, alpha=0.0)

  def test_natural_needs_owners(self):
    with self.assertRaisesRegex(
      ValueError, "^partition='natural' needs 'client_ids'"
    ):
      data.make_partition('natural', rng(), np.zeros(5), 2)

  def test_natural_owners(self):
    owners = ['b', 'a', 'b', 'c', 'a']
    parts = data.partition_natural(rng(), np.zeros(5), client_ids=owners)
    self.assertEqual([p.tolist() for p in parts], [[1, 4], [0, 2], [3]])
    two = data.partition_natural(rng(), np.zeros(5), 2, client_ids=owners)
    self.assertLen(two, 2)
    for part in two:
      self.assertIn(part.tolist(), [[1, 4], [0, 2], [3]])
    with self.assertRaisesRegex(ValueError, 'exceeds the 3 owners'):
      data.partition_natural(rng(), np.zeros(5), 4, client_ids=owners)
    with self.assertRaisesRegex(ValueError, 'one owner per example: got 2'):
      data.partition_natural(rng(), np.zeros(5), client_ids=['a', 'b'])


class LabelTest(parameterized.TestCase):
  def test_shares_of_a_class_have_the_moments_of_the_dirichlet(self):
    alpha, num_clients = 0.4, 5
    labels = np.repeat(np.arange(40), 500)
    tables = [
      data.class_table(
        labels,
        data.partition_label_dirichlet(
          rng(seed), labels, num_clients, alpha=alpha, min_size=0
        ),
        40,
      )
      for seed in range(5)
    ]
    shares = np.concatenate([t.T for t in tables]) / 500
    np.testing.assert_allclose(shares.mean(axis=0), 0.2, atol=0.06)
    want = (alpha + 1) / (num_clients * alpha + 1)
    self.assertAlmostEqual((shares**2).sum(axis=1).mean(), want, delta=0.05)

  def test_limits_of_alpha(self):
    labels = np.repeat(np.arange(4), 100)
    even = data.partition_label_dirichlet(rng(), labels, 5, alpha=1e6)
    table = data.class_table(labels, even, 4)
    np.testing.assert_allclose(table, 20, atol=1)
    lone = data.partition_label_dirichlet(
      rng(), labels, 5, alpha=1e-3, min_size=0
    )
    table = data.class_table(labels, lone, 4)
    np.testing.assert_array_equal(table.max(axis=0), 100)

  def test_redraws_until_the_minimum_or_says_how_close_it_came(self):
    labels = np.repeat(np.arange(3), 60)
    short = sum(
      min(
        len(p)
        for p in data.partition_label_dirichlet(
          rng(seed), labels, 6, alpha=0.5, min_size=0
        )
      )
      < 10
      for seed in range(10)
    )
    self.assertGreater(short, 5)  # Most first draws are too small.
    for seed in range(10):
      parts = data.partition_label_dirichlet(
        rng(seed), labels, 6, alpha=0.5, min_size=10, max_redraws=500
      )
      self.assertGreaterEqual(min(len(p) for p in parts), 10)
    with self.assertRaisesRegex(
      ValueError, r'min_size=30 was not reached in 3 draws \(best minimum \d+\)'
    ):
      data.partition_label_dirichlet(
        rng(), labels, 6, alpha=0.05, min_size=30, max_redraws=2
      )
    with self.assertRaisesRegex(ValueError, 'min_size=31 for 6 .* got 180'):
      data.partition_label_dirichlet(rng(), labels, 6, alpha=1.0, min_size=31)

  def test_self_balancing_evens_sizes_out(self):
    labels = np.repeat(np.arange(10), 100)

    def spread(self_balancing):
      return np.mean(
        [
          np.std(
            [
              len(p)
              for p in data.partition_label_dirichlet(
                rng(seed),
                labels,
                10,
                alpha=0.5,
                min_size=0,
                self_balancing=self_balancing,
              )
            ]
          )
          for seed in range(10)
        ]
      )

    self.assertLess(spread(True), 0.7 * spread(False))

  def test_client_mixes_equal_one_by_one_draws(self):
    labels = np.repeat(np.arange(3), [6, 4, 2])
    prior = np.array([0.5, 0.2, 0.3])

    def one_by_one(generator, num_clients, alpha):
      left = np.bincount(labels)
      table = np.zeros((num_clients, 3))
      for k in range(num_clients):
        mix = generator.dirichlet(alpha * prior)
        for _ in range(12 // num_clients):
          open_mix = np.where(left > 0, mix, 0.0)
          if open_mix.sum() == 0:
            open_mix = (left > 0).astype(float)
          c = generator.choice(3, p=open_mix / open_mix.sum())
          table[k, c] += 1
          left[c] -= 1
      return table

    got, want = [], []
    for seed in range(1500):
      parts = data.partition_client_dirichlet(
        rng(seed), labels, 3, alpha=2.0, prior=prior
      )
      got.append(data.class_table(labels, parts, 3))
      want.append(one_by_one(rng(10_000 + seed), 3, 2.0))
    got, want = np.array(got, float), np.array(want)
    np.testing.assert_allclose(got.mean(0), want.mean(0), atol=0.15)
    np.testing.assert_allclose(got.std(0), want.std(0), atol=0.12)

  def test_client_mixes_have_fixed_sizes_and_follow_alpha(self):
    labels = np.repeat(np.arange(10), 200)

    def purity(alpha):
      parts = data.partition_client_dirichlet(rng(), labels, 20, alpha=alpha)
      self.assertEqual({len(p) for p in parts}, {100})
      table = data.class_table(labels, parts, 10)
      return table[:10].max(axis=1).mean() / 100

    self.assertGreater(purity(0.05), 0.7)
    self.assertLess(purity(1e4), 0.2)

  def test_client_prior_is_checked(self):
    labels = np.repeat(np.arange(3), 4)
    for prior in ([1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0]):
      with self.assertRaisesRegex(ValueError, 'prior must be'):
        data.partition_client_dirichlet(
          rng(), labels, 2, alpha=1.0, prior=prior
        )
    parts = data.partition_client_dirichlet(
      rng(), labels, 2, alpha=1.0, prior=[1.0, 0.0, 0.0]
    )
    # Class 0 first, then whatever is left.
    self.assertEqual(data.class_table(labels, parts, 3)[0].tolist()[0], 4)

  def test_overlapping_counts_are_floors_of_a_dirichlet(self):
    labels = np.repeat(np.arange(10), 400)
    samples, alpha = 100, 1.0
    parts = data.partition_overlapping_dirichlet(
      rng(), labels, 200, alpha=alpha, samples_per_client=samples
    )
    table = data.class_table(labels, parts, 10)
    sizes = table.sum(axis=1)
    self.assertLessEqual(sizes.max(), samples)
    self.assertGreater(sizes.min(), samples - 10)
    # Adding back half an example per class undoes the floor on average.
    shares = (table + 0.5) / (table + 0.5).sum(axis=1, keepdims=True)
    want = (alpha + 1) / (10 * alpha + 1)
    self.assertAlmostEqual((shares**2).sum(axis=1).mean(), want, delta=0.02)
    for part in parts:
      self.assertLen(set(part.tolist()), len(part))
    self.assertLess(len(np.unique(np.concatenate(parts))), sizes.sum())

  def test_overlapping_default_size_and_small_buckets(self):
    labels = np.repeat(np.arange(2), [97, 3])
    parts = data.partition_overlapping_dirichlet(rng(), labels, 4, alpha=1.0)
    table = data.class_table(labels, parts, 2)
    self.assertLessEqual(table.sum(axis=1).max(), 25)
    self.assertLessEqual(table[:, 1].max(), 3)
    with self.assertRaisesRegex(ValueError, 'has 0 examples: samples_per_cl'):
      data.partition_overlapping_dirichlet(
        rng(), labels, 4, alpha=1e3, samples_per_client=1
      )

  def test_similarity_of_one_is_even_and_of_zero_is_sorted(self):
    labels = np.tile(np.arange(4), 100)
    zero = data.partition_similarity(rng(), labels, 4, similarity=0.0)
    np.testing.assert_array_equal(
      data.class_table(labels, zero, 4), 100 * np.eye(4)
    )
    half = data.partition_similarity(rng(), labels, 4, similarity=0.5)
    table = data.class_table(labels, half, 4)
    np.testing.assert_allclose(np.diag(table), 62.5, atol=15)
    self.assertLess((table - np.diag(np.diag(table))).max(), 30)
    one = data.partition_similarity(rng(), labels, 4, similarity=1.0)
    np.testing.assert_allclose(data.class_table(labels, one, 4), 25, atol=13)
    with self.assertRaisesRegex(ValueError, r'similarity must lie in \[0'):
      data.partition_similarity(rng(), labels, 4, similarity=1.5)

  @parameterized.parameters(0.0, 0.21, 0.5, 0.77, 1.0)
  def test_similarity_sizes_are_equal_up_to_one(self, similarity):
    for n in range(10, 24):
      sizes = [
        len(p)
        for p in data.partition_similarity(
          rng(), labels_of(n), 5, similarity=similarity
        )
      ]
      self.assertLessEqual(max(sizes) - min(sizes), 1)

  def test_shards_of_whole_classes_give_two_classes(self):
    labels = rng().permutation(np.repeat(np.arange(10), 60))
    parts = data.partition_shards(rng(), labels, 30)  # 60 shards of 10.
    table = data.class_table(labels, parts, 10)
    self.assertLessEqual((table > 0).sum(axis=1).max(), 2)
    self.assertEqual(set(table.ravel().tolist()) - {0, 10, 20}, set())

  def test_straddling_shards_give_at_most_four_classes(self):
    labels = rng(3).permutation(np.repeat(np.arange(5), [57, 43, 61, 50, 39]))
    for seed in range(10):
      parts = data.partition_shards(rng(seed), labels, 12)
      table = data.class_table(labels, parts, 5)
      self.assertLessEqual((table > 0).sum(axis=1).max(), 4)
    with self.assertRaisesRegex(ValueError, 'makes 300 shards of 250'):
      data.partition_shards(rng(), labels, 100, shards_per_client=3)

  @parameterized.product(
    assignment=['random', 'cyclic'], classes_per_client=[1, 2, 3, 5]
  )
  def test_exactly_so_many_classes(self, assignment, classes_per_client):
    labels = rng().permutation(np.repeat(np.arange(5), 40))
    parts = data.partition_classes(
      rng(1),
      labels,
      10,
      classes_per_client=classes_per_client,
      assignment=assignment,
    )
    table = data.class_table(labels, parts, 5)
    np.testing.assert_array_equal((table > 0).sum(axis=1), classes_per_client)
    # Classes have equally many holders, who share them evenly.
    np.testing.assert_array_equal(
      (table > 0).sum(axis=0), 2 * classes_per_client
    )
    self.assertEqual(
      set(table[table > 0].tolist()),
      {20 // classes_per_client} | ({7} if classes_per_client == 3 else set()),
    )

  def test_classes_say_what_to_change(self):
    labels = np.repeat(np.arange(5), 3)
    with self.assertRaisesRegex(ValueError, 'leaves some of the 5 classes'):
      data.partition_classes(rng(), labels, 2, classes_per_client=2)
    with self.assertRaisesRegex(ValueError, 'has 3 examples for 4 clients'):
      data.partition_classes(rng(), labels, 4, classes_per_client=5)
    with self.assertRaisesRegex(ValueError, 'classes_per_client must be at mo'):
      data.partition_classes(rng(), labels, 4, classes_per_client=6)
    with self.assertRaisesRegex(ValueError, 'labels must be a non-empty 1-D'):
      data.partition_shards(rng(), np.zeros(5), 2)


if __name__ == '__main__':
  absltest.main()
