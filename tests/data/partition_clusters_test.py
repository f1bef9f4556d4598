# SPDX-License-Identifier: Apache-2.0
"""Groups of clients that hold classes of their own."""

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import data
from jaxdl.data import partition

LABELS = np.random.default_rng(9).permutation(np.repeat(np.arange(10), 60))


def deal(n=15, *, labels=LABELS, seed=0, **options):
  parts = partition.partition_clusters(
    np.random.default_rng(seed), labels, n, **options
  )
  return parts, data.class_table(labels, parts, 10)


class PartitionClustersTest(parameterized.TestCase):
  @parameterized.parameters(
    (15, 'balanced', [5, 5, 5]),
    (30, 'balanced', [10, 10, 10]),
    (15, 'imbalanced', [3, 7, 5]),
    (30, 'imbalanced', [7, 14, 9]),
    (6, 'imbalanced', [1, 3, 2]),
    (1, 'balanced', [1]),
  )
  def test_sizes_of_the_groups(self, n, balance, want):
    groups = partition.client_groups(n, balance=balance)
    self.assertEqual(np.bincount(groups).tolist(), want)

  @parameterized.parameters(
    ('nonoverlapping', ['0123', '456', '789']),
    ('overlapping', ['012389', '456789', '012345']),
  )
  def test_balanced_clients_have_equal_shares(self, split, want):
    parts, table = deal(split=split)
    groups = partition.client_groups(15, split=split)
    for k, row in zip(groups, table, strict=True):
      held = np.flatnonzero(row)
      self.assertEqual(''.join(map(str, held)), want[k])
      self.assertLessEqual(np.ptp(row[held]), 1)
    self.assertEqual(len({len(p) for p in parts}), 1)
    # Nothing twice, and nearly all of the scarcest class is dealt.
    every = np.concatenate(parts)
    self.assertLen(set(every.tolist()), len(every))
    dealt = table.sum(axis=0)
    self.assertLessEqual(dealt.max(), 60)
    self.assertGreater(dealt.max(), 50)
    for part in parts:
      self.assertTrue((np.diff(part) > 0).all())

  def test_imbalanced_groups_share_a_mix_that_the_seed_alone_decides(self):
    _, table = deal(balance='imbalanced', samples_per_client=50)
    groups = partition.client_groups(15, balance='imbalanced')
    for k in range(3):
      own = table[groups == k]
      np.testing.assert_array_equal(own, np.tile(own[:1], (len(own), 1)))
    other = np.concatenate([LABELS, LABELS[::-1]])
    _, again = deal(balance='imbalanced', samples_per_client=50, labels=other)
    np.testing.assert_array_equal(table, again)
    _, moved = deal(balance='imbalanced', samples_per_client=50, seed=1)
    self.assertFalse(np.array_equal(table, moved))
    # Two draws of one uniform distribution on the simplex.
    draws = np.array(
      [
        deal(3, balance='imbalanced', samples_per_client=40, seed=s)[1][1, 4:7]
        for s in range(300)
      ]
    )
    np.testing.assert_allclose(draws.mean(axis=0) / 40, 1 / 3, atol=0.04)
    np.testing.assert_allclose(draws.var(axis=0) / 1600, 1 / 18, atol=0.015)

  def test_decks_are_dealt_again_when_all_are_dealt(self):
    parts, table = deal(samples_per_client=90)
    for part in parts:
      self.assertLen(set(part.tolist()), 90)
    counts = np.bincount(np.concatenate(parts), minlength=len(LABELS))
    for c in range(10):
      own = counts[c == LABELS]
      self.assertLessEqual(np.ptp(own), 1)
      self.assertEqual(own.sum(), table[:, c].sum())

  def test_classes_of_yours(self):
    _, table = deal(4, split=((0, 9), (5,)))
    self.assertEqual(
      [np.flatnonzero(row).tolist() for row in table],
      [[0, 9], [0, 9], [5], [5]],
    )
    parts = data.make_partition(
      'clusters(split=((0, 9), (5,)), samples_per_client=4)',
      np.random.default_rng(0),
      LABELS,
      4,
    )
    self.assertEqual([len(p) for p in parts], [4] * 4)

  @parameterized.parameters(
    ({'split': 'some'}, "split='some' is unknown: choose one of 'nonover"),
    ({'split': ((0, 0),)}, 'a tuple of different classes for each group'),
    ({'split': ()}, 'a tuple of different classes for each group'),
    ({'balance': 'even'}, "balance='even' is unknown"),
    ({'samples_per_client': 0}, 'samples_per_client must be at least 1'),
    (
      {'samples_per_client': 400},
      'samples_per_client=400 gives client 0 100 examples of class 0',
    ),
    ({'split': ((0,), (11,))}, 'class 11 of group 1 has no examples: labels'),
    ({'n': 700}, 'num_clients=700 exceeds the 600 examples'),
    ({'n': 599}, '599 clients do not get an example each'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      deal(**options)


if __name__ == '__main__':
  absltest.main()
