# SPDX-License-Identifier: Apache-2.0
"""Federated rank learning against a float64 reference, and what it promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats
from absl.testing import absltest, parameterized

from jaxdl import data, local, networks
from jaxdl.core import clients as clients_lib, types
from jaxdl.federated import ranks

N, S, D, K = 12, 10, 5, 3
LAYERS = ('0/kernel', '1/kernel')
RATE, MOMENTUM, DECAY = 0.4, 0.9, 1e-4
SGD = local.make_optimizer(
  f'sgd({RATE}, momentum={MOMENTUM}, weight_decay={DECAY})'
)


def task(dtype='float32'):
  network = networks.supermask(networks.mlp((6,), K, bias=False))
  example = jax.ShapeDtypeStruct((1, D), dtype)
  return networks.classification(network, example, num_classes=K)


def clients(seed=0, dtype='float32'):
  """Data of N clients; the third has none, the last a single example."""
  rng = np.random.default_rng(seed)
  counts = rng.integers(2, S + 1, size=N)
  counts[2], counts[-1] = 0, 1
  labels = rng.integers(0, K, size=(N, S))
  inputs = rng.normal(size=(N, S, D)) + np.eye(K, D)[labels] * 3
  held = {'inputs': jnp.asarray(inputs, dtype), 'labels': jnp.asarray(labels)}
  return held, jnp.asarray(np.arange(S) < counts[:, None])


def cohort(ids, seed=0, dtype='float32'):
  held, real = clients(seed, dtype)
  ids = jnp.asarray(ids, jnp.int32)
  return types.Cohort(
    client_ids=ids,
    data={k: v[ids] for k, v in held.items()} | {'mask': real[ids]},
    mask=jnp.ones(len(ids), bool),
    weights=jnp.full(len(ids), 1 / len(ids)),
  )


def make(rows, dtype='float32', **options):
  options = {'batch_size': 4, 'num_epochs': 2} | options
  return ranks.rank_learning(task(dtype), rows, optimizer=SGD, **options)


@functools.cache
def program(rows, **options):
  algorithm = make(rows, **options)
  run = jax.jit(lambda s, c, key: algorithm.step(s, c, key=key))
  return algorithm, run


def rounds(ids_of_rounds, rows=None, **options):
  algorithm, run = program(rows or len(ids_of_rounds[0]), **options)
  state = algorithm.init(jax.random.key(0))
  for t, ids in enumerate(ids_of_rounds):
    state, metrics = run(state, cohort(ids), jax.random.key(t))
  return state, metrics


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


class Reference:
  """Edge-popup of one client with all examples in a batch, in float64."""

  def __init__(self, params, keep=0.5):
    self.weights = [np.asarray(x['kernel'], float) for x in params['frozen']]
    self.scores = [np.asarray(params['trained'][k], float) for k in LAYERS]
    self.sorted = [np.sort(s.ravel()) for s in self.scores]
    self.keep = keep

  def mask(self, s):
    flat = s.ravel()
    mask = np.ones(flat.size)
    mask[np.argsort(flat, kind='stable')[: int((1 - self.keep) * s.size)]] = 0
    return mask.reshape(s.shape)

  def slopes(self, x, y):
    first, last = (
      w * self.mask(s) for w, s in zip(self.weights, self.scores, strict=True)
    )
    hidden = np.maximum(x @ first, 0)
    logits = hidden @ last
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    out = (share - np.eye(K)[y]) / len(y)
    inner = (out @ last.T) * (hidden > 0)
    return [x.T @ inner * self.weights[0], hidden.T @ out * self.weights[1]]

  def round(self, x, y, rate, epochs):
    trace = [np.zeros_like(s) for s in self.scores]
    for e in range(epochs):
      step = rate * (1 + np.cos(np.pi * e / epochs)) / 2
      for i, g in enumerate(self.slopes(x, y)):
        trace[i] = MOMENTUM * trace[i] + g + DECAY * self.scores[i]
      self.scores = [
        s - step * m for s, m in zip(self.scores, trace, strict=True)
      ]
    orders = [np.argsort(s.ravel(), kind='stable') for s in self.scores]
    for i, order in enumerate(orders):
      flat = np.empty(order.size)
      flat[order] = self.sorted[i]
      self.scores[i] = flat.reshape(self.scores[i].shape)
    return orders


class RankLearningTest(parameterized.TestCase):
  def test_one_client_is_edge_popup_with_a_reset_of_scores(self):
    with jax.enable_x64(True):
      algorithm = make(1, 'float64', batch_size=S, num_epochs=3, decay=0.9)
      state = algorithm.init(jax.random.key(0))
      reference = Reference(algorithm.params(state))
      start = state.ranking
      one = cohort([1], dtype='float64')
      real = np.asarray(one.data['mask'])[0]
      x = np.asarray(one.data['inputs'])[0, real]
      y = np.asarray(one.data['labels'])[0, real]
      # A batch of all examples holds fewer than S: passes follow each other, so
      # that one batch takes from several. Give it exactly S.
      x, y = np.resize(x, (S, D)), np.resize(y, S)
      one = one.replace(
        data={
          'inputs': jnp.asarray(x)[None],
          'labels': jnp.asarray(y)[None],
          'mask': jnp.ones((1, S), bool),
        }
      )
      run = jax.jit(lambda s, t: algorithm.step(s, one, key=t))
      for t in range(3):
        state, _ = run(state, jax.random.key(t))
        orders = reference.round(x, y, RATE * 0.9**t, 3)
        for k, order in zip(LAYERS, orders, strict=True):
          np.testing.assert_array_equal(state.ranking[k], order)
      moved = [np.mean(state.ranking[k] != start[k]) for k in LAYERS]
      self.assertGreater(min(moved), 0.3)

  def test_votes_are_counted_by_hand(self):
    # What each client does alone, counted by NumPy, is what they do together.
    ids = [0, 1, 3, 5, 6, 7, 8, 9]
    together, _ = rounds([ids])
    alone = [rounds([[i] * 8])[0].ranking for i in ids]
    for k in LAYERS:
      total = sum(np.argsort(np.asarray(r[k])) for r in alone)
      np.testing.assert_array_equal(
        together.ranking[k], np.argsort(total, kind='stable')
      )

  def test_scores_are_always_the_first_ones(self):
    algorithm, _ = program(8)
    start = algorithm.params(algorithm.init(jax.random.key(0)))
    state, _ = rounds([range(8), range(4, 12), range(2, 10)])
    end = algorithm.params(state)
    same(start['frozen'], end['frozen'])
    for k in LAYERS:
      self.assertTrue((start['trained'][k] != end['trained'][k]).any())
      np.testing.assert_array_equal(
        np.sort(start['trained'][k], axis=None),
        np.sort(end['trained'][k], axis=None),
      )
    self.assertEqual(int(state.round), 3)

  def test_a_client_without_examples_votes_for_the_servers_ranking(self):
    start, _ = rounds([range(8)])
    state, metrics = rounds([range(8), [2] * 8])
    same(state.ranking, start.ranking)
    self.assertEqual(float(metrics['loss']), 0.0)
    self.assertEqual(float(metrics['moved']), 0.0)

  def test_padding_has_no_effect(self):
    algorithm, run = program(8)
    state = algorithm.init(jax.random.key(0))
    five = cohort([0, 1, 3, 4, 5])
    key = jax.random.key(3)
    want, seen = program(5)[1](state, five, key)
    padded = data.pad_cohort(jax.tree.map(np.asarray, five), 8)
    spoiled = jax.tree.map(
      lambda x: np.where(np.arange(8).reshape(-1, *[1] * (x.ndim - 1)) < 5, x,
                         np.nan if x.dtype.kind == 'f' else 1).astype(x.dtype),
      padded.data,
    )  # fmt: skip
    padded = padded.replace(data=spoiled)
    got, metrics = run(state, padded, key)
    same(got, want)
    for name, value in seen.items():
      np.testing.assert_allclose(metrics[name], value, rtol=1e-6, err_msg=name)
    # Nobody there: nothing changes.
    nobody = padded.replace(mask=jnp.zeros(8, bool))
    same(run(state, nobody, key)[0].ranking, state.ranking)

  def test_adversaries_are_told_by_their_ids(self):
    attacked = {'attack': 'rank_reversal', 'num_malicious': 3}
    ids = [0, 4, 1, 5, 6, 7, 8, 9]
    state, metrics = rounds([ids], **attacked)
    self.assertEqual(int(metrics['num_malicious']), 2)
    alone = [rounds([[i] * 8])[0].ranking for i in ids]
    for k in LAYERS:
      places = np.array([np.argsort(np.asarray(r[k])) for r in alone])
      turned = np.argsort(-places[[0, 2]].sum(axis=0), kind='stable')
      places[[0, 2]] = np.argsort(turned)
      np.testing.assert_array_equal(
        state.ranking[k], np.argsort(places.sum(axis=0), kind='stable')
      )
    # Rounds with and without them.
    algorithm, run = program(8, **attacked)
    honest, _ = run(state, cohort(range(4, 12)), jax.random.key(5))
    plain, _ = program(8)[1](state, cohort(range(4, 12)), jax.random.key(5))
    same(honest, plain)

  def test_advisors_lend_their_work_and_do_not_vote(self):
    attacked = {'attack': 'rank_reversal', 'num_malicious': 3}
    ids = [0, 4, 5, 6, 7, 8, 1, 3]
    state, metrics = rounds([ids], num_advisors=2, **attacked)
    self.assertEqual(int(metrics['num_malicious']), 1)
    alone = [rounds([[i] * 8])[0].ranking for i in ids]
    for k in LAYERS:
      places = np.array([np.argsort(np.asarray(r[k])) for r in alone])
      turned = np.argsort(-places[[0, 6]].sum(axis=0), kind='stable')
      places[0] = np.argsort(turned)
      np.testing.assert_array_equal(
        state.ranking[k], np.argsort(places[:6].sum(axis=0), kind='stable')
      )

  def test_only_the_top_is_sent(self):
    ids = [0, 1, 3, 5, 6, 7, 8, 9]
    state, _ = rounds([ids], top_fraction=0.3)
    alone = [rounds([[i] * 8])[0].ranking for i in ids]
    for k in LAYERS:
      total = 0
      for r in alone:
        order = np.asarray(r[k])
        places = np.zeros(order.size, int)
        top = order.size - int(np.ceil(0.3 * order.size))
        places[order[top:]] = np.arange(top, order.size)
        total = total + places
      np.testing.assert_array_equal(
        state.ranking[k], np.argsort(total, kind='stable')
      )

  def test_a_client_that_diverges_is_one_voter(self):
    broken = cohort(range(8))
    spoiled = broken.data['inputs'].at[0].set(jnp.nan)
    broken = broken.replace(data=broken.data | {'inputs': spoiled})
    algorithm, run = program(8)
    state, _ = run(algorithm.init(jax.random.key(0)), broken, jax.random.key(0))
    ranks.check_rankings(
      {k: np.asarray(v)[None] for k, v in state.ranking.items()}
    )
    good, _ = rounds([range(8)])
    for k in LAYERS:
      apart = ranks.footrules(
        ranks.reputations(state.ranking[k])[None],
        ranks.reputations(good.ranking[k]),
      )
      self.assertLess(float(apart[0]), 0.35)

  def test_eight_devices_are_one_and_add_integers_once_per_layer(self):
    mesh = clients_lib.clients_mesh(8)
    options = {'attack': 'rank_reversal', 'num_malicious': 2}
    spread = make(clients_lib.Clients(8, mesh=mesh), **options)
    step = jax.jit(spread.step)
    state = spread.init(jax.random.key(0))
    one = cohort(range(8))
    got, metrics = step(state, one, key=jax.random.key(0))
    want, seen = rounds([range(8)], **options)
    same(got, want)
    for name, value in seen.items():
      np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    plain = make(clients_lib.Clients(8, mesh=mesh))
    text = jax.jit(lambda s, c, k: plain.step(s, c, key=k)[0]).lower(
      state, one, jax.random.key(0)
    ).compile().as_text()  # fmt: skip
    sizes = [int(np.prod(x.shape)) for x in state.ranking.values()]
    for size in sizes:
      self.assertNotIn(f's32[8,{size}]', text)
      self.assertIn(f's32[{size}]', text)

  @parameterized.parameters(
    ({'batch_size': 0}, 'batch_size must be at least 1'),
    ({'num_epochs': 0}, 'num_epochs must be at least 1'),
    ({'top_fraction': 1.5}, r'top_fraction must lie in \(0.0, 1.0\]'),
    ({'decay': 0.0}, 'decay must lie in'),
    ({'attack': 'flip'}, "attack='flip' is unknown"),
    ({'aggregator': 'mean'}, "aggregator='mean' is unknown"),
    ({'num_advisors': 4}, 'num_advisors must be at most 3'),
    ({'rows': 2**30}, 'layer 0/kernel has 30 edges, and 1073741824 voters'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      make(**({'rows': 4} | options))

  def test_wants_scores_and_a_cohort_that_fits(self):
    plain = networks.classification(
      networks.mlp(4, 2), jnp.ones((1, 3)), num_classes=2
    )
    with self.assertRaisesRegex(ValueError, r'networks.supermask\(network\)'):
      ranks.rank_learning(plain, 3, optimizer=optax.sgd(0.1))
    algorithm, _ = program(8)
    state = algorithm.init(jax.random.key(0))
    with self.assertRaisesRegex(ValueError, 'cohort has 4 clients but'):
      algorithm.step(state, cohort(range(4)), key=jax.random.key(0))
    odd = cohort(range(8))
    odd = odd.replace(data=odd.data | {'mask': jnp.ones((8, 3), bool)})
    with self.assertRaisesRegex(ValueError, r'its mask has shape \(8, 3\)'):
      algorithm.step(state, odd, key=jax.random.key(0))


class SamplesTest(parameterized.TestCase):
  def test_malicious_are_fewer_than_half(self):
    draw = jax.jit(
      jax.vmap(
        lambda r: ranks.sample_minority(
          jax.random.key(0), r, 20, 6, num_malicious=9, num_advisors=5
        )
      )
    )
    sample = draw(jnp.arange(400))
    ids, mask = np.asarray(sample.client_ids), np.asarray(sample.mask)
    self.assertEqual(ids.shape, (400, 11))
    voters, advisors = ids[:, :6], ids[:, 6:]
    self.assertTrue(mask[:, :6].all())
    bad = (voters < 9).sum(axis=1)
    self.assertEqual(set(bad), {0, 1, 2})
    # The hypergeometric law, cut off.
    law = scipy.stats.hypergeom(20, 9, 6).pmf([0, 1, 2])
    np.testing.assert_allclose(
      np.bincount(bad) / 400, law / law.sum(), atol=0.06
    )
    for row, extra, there, m in zip(
      voters, advisors, mask[:, 6:], bad, strict=True
    ):
      self.assertLen(set(row), 6)
      self.assertEqual(there.sum(), 5 - m)
      self.assertTrue((extra[there] < 9).all())
      self.assertEmpty(set(extra[there]) & set(row))
    np.testing.assert_allclose(sample.weights.sum(axis=1), 1.0, rtol=1e-6)

  def test_fractions(self):
    counts = [ranks.num_malicious(f, 50) for f in (0.0, 0.1, 0.2, 0.47)]
    self.assertEqual(counts, [0, 5, 10, 24])

  @parameterized.parameters(
    (lambda: ranks.num_malicious(0.5, 50), r'malicious_fraction must lie in'),
    (
      lambda: ranks.sample_minority(
        jax.random.key(0), 0, 6, 2, num_malicious=3
      ),
      'num_malicious=3 of 6 clients are half or more',
    ),
    (
      lambda: ranks.sample_minority(jax.random.key(0), 0, 6, 7),
      'num_sampled=7 exceeds the 6 clients',
    ),
  )
  def test_says_what_is_wrong(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()


if __name__ == '__main__':
  absltest.main()
