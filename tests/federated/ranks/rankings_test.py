# SPDX-License-Identifier: Apache-2.0
"""The algebra of rankings, votes on them and attacks, by hand and by NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from absl.testing import absltest, parameterized

from jaxdl import networks
from jaxdl.federated import ranks

HAND = jnp.array([[2, 0, 1, 3], [0, 2, 3, 1], [2, 1, 0, 3]])
LENET = (288, 18_432, 1_605_632, 1_280)
CONV8 = (
  *(1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 1_179_648, 2_359_296),
  *(524_288, 65_536, 2_560),
)


def permutations(voters, size, seed=0):
  rng = np.random.default_rng(seed)
  return np.stack([rng.permutation(size) for _ in range(voters)])


def positions(rankings):
  return np.argsort(rankings, axis=1)


def kept(ranking):
  """Edges that a mask of a half keeps when scores follow a ranking."""
  order = jnp.arange(len(ranking), dtype=jnp.float32)
  scores = ranks.scores_from_ranking(ranking, order)
  return np.flatnonzero(networks.topk_mask(scores, 0.5)).tolist()


class RankingsTest(parameterized.TestCase):
  def test_vote_by_hand(self):
    self.assertEqual(
      jax.vmap(ranks.reputations)(HAND).tolist(),
      [[1, 2, 0, 3], [0, 3, 1, 2], [2, 1, 0, 3]],
    )
    places = jax.vmap(ranks.reputations)(HAND)
    self.assertEqual(
      ranks.borda(places, jnp.ones(3, bool)).tolist(), [3, 6, 1, 8]
    )
    ranking = ranks.vote(HAND)
    self.assertEqual(ranking.tolist(), [2, 0, 1, 3])
    self.assertEqual(kept(ranking), [1, 3])

  def test_vote_by_hand_with_a_reversed_voter(self):
    turned = HAND.at[2].set(HAND[2, ::-1])
    places = jax.vmap(ranks.reputations)(turned)
    self.assertEqual(
      ranks.borda(places, jnp.ones(3, bool)).tolist(), [2, 7, 4, 5]
    )
    self.assertEqual(ranks.vote(turned).tolist(), [0, 2, 3, 1])
    self.assertEqual(kept(ranks.vote(turned)), [1, 3])

  def test_ranks_of_scores_are_scipys(self):
    scores = np.array([0.3, -0.2, 0.9, 0.1], np.float32)
    ranking = ranks.rank_edges(scores)
    self.assertEqual(ranking.tolist(), [1, 3, 0, 2])
    np.testing.assert_array_equal(
      ranks.reputations(ranking), scipy.stats.rankdata(scores) - 1
    )
    more = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    np.testing.assert_array_equal(
      ranks.reputations(ranks.rank_edges(more)),
      scipy.stats.rankdata(more, method='ordinal') - 1,
    )

  def test_algebra(self):
    rankings = permutations(5, 40)
    for row in rankings:
      twice = ranks.reputations(ranks.reputations(jnp.asarray(row)))
      np.testing.assert_array_equal(twice, row)
    total = ranks.borda(jnp.asarray(positions(rankings)), jnp.ones(5, bool))
    self.assertEqual(int(total.sum()), 5 * 40 * 39 // 2)
    same = np.repeat(rankings[:1], 6, axis=0)
    np.testing.assert_array_equal(ranks.vote(same), rankings[0])
    # As many turned around: all totals are equal, and edges rank by number.
    both = np.concatenate([same, same[:, ::-1]])
    places = jnp.asarray(positions(both))
    np.testing.assert_array_equal(
      ranks.borda(places, jnp.ones(12, bool)), np.full(40, 6 * 39)
    )
    np.testing.assert_array_equal(ranks.vote(both), np.arange(40))

  def test_vote_is_numpys(self):
    rankings = permutations(9, 101)
    total = positions(rankings).sum(axis=0)
    np.testing.assert_array_equal(
      jax.jit(ranks.vote)(rankings), np.argsort(total, kind='stable')
    )
    weights = np.array([3, 0, 1, 2, 5, 1, 1, 0, 2])
    mask = np.arange(9) < 7
    total = ((weights * mask)[:, None] * positions(rankings)).sum(axis=0)
    want = np.argsort(total, kind='stable')
    np.testing.assert_array_equal(ranks.vote(rankings, weights, mask), want)
    np.testing.assert_array_equal(
      ranks.vote(rankings, weights.astype(np.float32), mask), want
    )

  def test_sparse_reputations(self):
    ranking = jnp.asarray(permutations(1, 11)[0])
    full = np.asarray(ranks.reputations(ranking))
    for share, sent in ((1.0, 11), (0.5, 6), (0.1, 2)):
      got = ranks.sparse_reputations(ranking, share)
      np.testing.assert_array_equal(got, np.where(full >= 11 - sent, full, 0))

  @parameterized.parameters(
    (LENET, 1_625_632, 6.20, 4.05, 2.03, 0.41, 3.70),
    (CONV8, 5_275_840, 20.13, 13.07, 6.53, 1.31, 11.70),
  )
  def test_communication_table(
    self, sizes, total, plain, full, half, top, least
  ):
    self.assertEqual(sum(sizes), total)
    mebibytes = lambda *a, **kw: round(
      ranks.communication_bits(sizes, *a, **kw) / 8 / 2**20, 2
    )
    self.assertEqual(mebibytes('float32'), plain)
    self.assertEqual(mebibytes(), full)
    self.assertEqual(mebibytes(top_fraction=0.5), half)
    self.assertEqual(mebibytes(top_fraction=0.1), top)
    self.assertEqual(mebibytes('bound'), least)
    # One edge needs no message; five need three bits each.
    self.assertEqual(ranks.communication_bits((1, 5)), 15)
    self.assertEqual(ranks.communication_bits((1, 5), 'bound'), 7)

  @parameterized.parameters(
    (
      lambda: ranks.check_rankings(
        {'conv0': HAND, 'conv1': np.vstack([HAND, [0, 1, 2, 2]])}
      ),
      r'client 3, layer conv1: ranking is not a permutation of 0\.\.3',
    ),
    (
      lambda: ranks.check_rankings({'fc': np.zeros((2, 0), int)}),
      'layer fc has no edges',
    ),
    (lambda: ranks.vote(jnp.zeros((3, 0), int)), 'rankings have no edges'),
    (
      lambda: ranks.vote(HAND, np.array([1.0, -0.5, 1.0])),
      r'weights must be finite and at least 0; got -0\.5 for voter 1',
    ),
    (
      lambda: ranks.vote(HAND, np.array([1.0, 1.0, np.nan])),
      'weights must be finite and at least 0; got nan for voter 2',
    ),
    (
      lambda: ranks.vote(HAND, jnp.array([-1, 1, 1])),
      'at least 0; got -1 for voter 0',
    ),
    (
      lambda: ranks.scores_from_ranking(jnp.arange(3), jnp.zeros(4)),
      r'must both have shape \[n\]; got \(3,\) and \(4,\)',
    ),
    (
      lambda: ranks.scores_from_ranking(HAND, jnp.zeros(HAND.shape)),
      r'must both have shape \[n\]; got \(3, 4\)',
    ),
    (lambda: ranks.vote(jnp.arange(3)), r'shape \[U, n\]; got \(3,\)'),
    (
      lambda: ranks.vote(HAND, mask=jnp.ones(2, bool)),
      r'mask must have shape \[U\] = \(3,\); got \(2,\)',
    ),
    (
      lambda: jax.eval_shape(
        ranks.vote, jax.ShapeDtypeStruct((2**10, 2**22), jnp.int32)
      ),
      r'counted in int32, so at most 512 may vote',
    ),
    (
      lambda: ranks.sparse_reputations(jnp.arange(3), 0.0),
      r'top_fraction must lie in \(0.0, 1.0\]; got 0.0',
    ),
    (
      lambda: ranks.communication_bits((4, 0)),
      'layer_sizes must be at least 1',
    ),
    (lambda: ranks.communication_bits((4,), 'zip'), "scheme='zip'"),
    (
      lambda: ranks.communication_bits((4,), 'float32', top_fraction=0.5),
      'top_fraction=0.5 is for rankings',
    ),
  )
  def test_says_what_is_wrong(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()

  def test_traced_weights_out_of_range_count_as_none(self):
    rankings = permutations(4, 33)
    weights = jnp.array([2.0, jnp.nan, -3.0, jnp.inf])
    got = jax.jit(ranks.vote)(rankings, weights)
    np.testing.assert_array_equal(got, rankings[0])
    signed = jax.jit(ranks.vote)(rankings, jnp.array([1, -1, 0, 0]))
    np.testing.assert_array_equal(signed, rankings[0])

  def test_votes_below_the_limit_are_exact(self):
    # Totals near 2^31; a sum in float32 would round.
    shape = jax.ShapeDtypeStruct((511, 2**22), jnp.int32)
    self.assertEqual(jax.eval_shape(ranks.vote, shape).shape, (2**22,))
    weights = jnp.array([2**28, 2**28 + 1, 1])
    self.assertEqual(ranks.vote(HAND, weights).tolist(), [2, 0, 1, 3])


class RulesTest(parameterized.TestCase):
  def test_footrule_is_scipys_distance(self):
    places = positions(permutations(6, 17))
    want = np.abs(places - places[0]).sum(axis=1) / (17 * 17 // 2)
    got = ranks.footrules(jnp.asarray(places), jnp.asarray(places[0]))
    np.testing.assert_allclose(got, want, rtol=1e-6)
    turned = ranks.footrules(jnp.arange(17)[None, ::-1], jnp.arange(17))
    self.assertEqual(turned.tolist(), [1.0])

  def test_trimmed_leaves_out_those_who_turned(self):
    rng = np.random.default_rng(0)
    true = rng.normal(size=60)
    scores = true + 0.5 * rng.normal(size=(10, 60))
    places = np.argsort(np.argsort(scores, axis=1), axis=1)
    places[:2] = 59 - places[:2]
    absent = np.arange(10) < 8
    rule = ranks.as_rank_rule('trimmed(share=0.25)')
    got = jax.jit(rule)(jnp.asarray(places), jnp.asarray(absent))
    np.testing.assert_array_equal(got, places[2:8].sum(axis=0))

  def test_median(self):
    places = positions(permutations(7, 23))
    mask = np.array([1, 1, 0, 1, 1, 0, 1], bool)
    for m in (mask, mask & (np.arange(7) < 6)):
      got = ranks.median(jnp.asarray(places), jnp.asarray(m))
      np.testing.assert_array_equal(got, 2 * np.median(places[m], axis=0))

  @parameterized.parameters(
    ('best', "aggregator='best' is unknown"),
    ('trimmed(share=1.0)', r'share must lie in \[0.0, 1.0\)'),
    (lambda x, m: x, r'total per edge, \[n\]'),
  )
  def test_refuses(self, rule, message):
    with self.assertRaisesRegex(ValueError, message):
      ranks.as_rank_rule(rule)


class AttacksTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.places = jnp.asarray(positions(permutations(7, 30)))
    self.bad = jnp.arange(7) < 3
    self.keys = jax.random.split(jax.random.key(0), 7)
    self.told = {'malicious': self.bad, 'others': ~self.bad, 'keys': self.keys}

  def run_attack(self, attack, **told):
    return jax.jit(
      functools.partial(ranks.as_rank_attack(attack), **(self.told | told))
    )(self.places)

  @parameterized.parameters(
    'rank_reversal',
    'random_rank',
    'swap_halves',
    'rank_reversal(omniscient=True)',
    'swap_halves(keep=0.3, omniscient=True)',
  )
  def test_permutations_of_the_malicious_only(self, attack):
    sent = np.asarray(self.run_attack(attack))
    np.testing.assert_array_equal(sent[3:], self.places[3:])
    np.testing.assert_array_equal(
      np.sort(sent[:3], axis=1), np.tile(np.arange(30), (3, 1))
    )
    # m of them change a total by m (n - 1) at most.
    change = np.abs(sent.sum(axis=0) - np.asarray(self.places).sum(axis=0))
    self.assertLessEqual(change.max(), 3 * 29)
    self.assertGreater(change.max(), 0)

  @parameterized.parameters(True, False)
  def test_reversal_is_numpys(self, omniscient):
    rows = np.asarray(self.places)[: 7 if omniscient else 3]
    ranking = np.argsort(-rows.sum(axis=0), kind='stable')
    sent = self.run_attack(f'rank_reversal(omniscient={omniscient})')
    np.testing.assert_array_equal(sent[0], np.argsort(ranking))
    np.testing.assert_array_equal(sent[0], sent[2])

  def test_reversing_twice_is_the_identity(self):
    row, alone = self.places[:1], jnp.ones(1, bool)
    turn = lambda x: ranks.rank_reversal(x, alone, ~alone)[None]
    np.testing.assert_array_equal(turn(row), 29 - row)
    np.testing.assert_array_equal(turn(turn(row)), row)

  def test_swapped_halves(self):
    order = np.argsort(np.asarray(self.places)[:3].sum(axis=0), kind='stable')
    want = np.concatenate([order[15:], order[:15]])
    sent = self.run_attack('swap_halves')
    np.testing.assert_array_equal(np.argsort(sent[1]), want)

  def test_random_ranks_differ_and_follow_the_key(self):
    sent = np.asarray(self.run_attack('random_rank'))
    self.assertTrue((sent[0] != sent[1]).any())
    again = self.run_attack('random_rank', keys=self.keys[::-1])
    np.testing.assert_array_equal(
      again[0], jax.random.permutation(self.keys[6], 30)
    )

  def test_overlap_of_votes_under_collusion(self):
    """True scores and 25 noisy voters, some of whom submit the reversal."""
    rng, n = np.random.default_rng(0), 10_000
    true = rng.normal(size=n)
    noisy = true + rng.normal(size=(25, n))
    places = jnp.asarray(np.argsort(np.argsort(noisy, axis=1), axis=1))
    attack = ranks.as_rank_attack('rank_reversal')

    @jax.jit
    def overlap(bad):
      sent = attack(places, malicious=bad, others=~bad, keys=self.keys)
      order = ranks.rank_edges(ranks.borda(sent, jnp.ones(25, bool)))
      return jnp.mean(top[order[n // 2 :]])

    top = jnp.zeros(n).at[np.argsort(true)[n // 2 :]].set(1.0)
    counts = (0, 2, 5, 8, 10, 12)
    got = [float(overlap(jnp.arange(25) < m)) for m in counts]
    want = [0.941, 0.926, 0.879, 0.747, 0.556, 0.267]
    np.testing.assert_allclose(got, want, atol=0.01)

  @parameterized.parameters(
    (ValueError, 'flip', "attack='flip' is unknown"),
    (ValueError, 'swap_halves(keep=0.0)', r'keep must lie in \(0.0'),
    (ValueError, lambda x: x[:, :1], r'must give i32\[U, n\] or i32\[n\]'),
    (TypeError, 3, 'part of RANK_ATTACKS or a function'),
  )
  def test_refuses(self, kind, attack, message):
    with self.assertRaisesRegex(kind, message):
      ranks.as_rank_attack(attack)

  def test_nobody_attacks(self):
    self.assertIsNone(ranks.as_rank_attack(None))
    self.assertIsNone(ranks.as_rank_attack('none'))


if __name__ == '__main__':
  absltest.main()
