# SPDX-License-Identifier: Apache-2.0
"""Decentralized sampling: views, samples, the protocol and its traffic."""

import hashlib
import math
import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import decentralized, mixing
from jaxdl.core import types
from jaxdl.decentralized import sampling

IDS = [str(i) for i in range(10)]


def _world(n, *, latency=0.01, spread=0.0, compute=1.0):
  rng = np.random.default_rng(0)
  return sampling.World(
    latency_s=np.full((n, n), latency),
    compute_s=compute * np.exp(spread * rng.standard_normal(n)),
    bytes_per_s=np.full(n, np.inf),
  )


def _protocol(n=8, *, world=None, options=None, **kwargs):
  options = {'sample_size': 3, 'num_aggregators': 1, **(options or {})}
  return sampling.sampling_protocol(
    world or _world(n), sampling.ModestOptions(**options), **kwargs
  )


def _members(state):
  """Nodes whose models are in the latest average."""
  kind, models = state['recipes'][str(state['latest'])]
  assert kind == 'average'
  return {state['recipes'][str(m)][2] for m in models}


def _reference_sample(ids, round, size):
  """An independent reading of the sheet: digests sorted as big integers."""
  score = lambda i: int(hashlib.md5(f'{i}-{round}'.encode()).hexdigest(), 16)
  return set(sorted(ids, key=score)[:size])


class ViewTest(parameterized.TestCase):
  def _random(self, rng, n=12):
    counter = rng.integers(0, 4, n)
    left = rng.integers(0, 2, n) * (counter > 0)
    return sampling.MembershipView(rng.integers(0, 9, n), 2 * counter + left)

  @parameterized.parameters(np, jnp)
  def test_merging_is_a_lattice(self, xp):
    rng = np.random.default_rng(0)
    a, b, c = (jax.tree.map(xp.asarray, self._random(rng)) for _ in range(3))
    merge = sampling.merge_views
    chex.assert_trees_all_equal(merge(a, b), merge(b, a))
    chex.assert_trees_all_equal(merge(merge(a, b), c), merge(a, merge(b, c)))
    chex.assert_trees_all_equal(merge(a, a), a)

  def test_larger_counter_wins_whichever_the_order(self):
    event = sampling.membership_event
    join = sampling.MembershipView(
      np.array([2]), np.array([event(3, left=False)])
    )
    leave = sampling.MembershipView(
      np.array([5]), np.array([event(2, left=True)])
    )
    for a, b in ((join, leave), (leave, join)):
      merged = sampling.merge_views(a, b)
      self.assertEqual(merged.membership[0], join.membership[0])
      # A newer event does not overwrite the activity.
      self.assertEqual(merged.last_active[0], 5)

  def test_window_and_oneself(self):
    k, window = 20, 6
    view = sampling.MembershipView(
      np.array([k - window, k - window - 1, k - window - 1, k, k]),
      np.array([2, 2, 2, 3, 0]),
    )
    found = sampling.candidates(view, k, window, own=2)
    self.assertEqual(found.tolist(), [True, False, True, False, False])


class SampleTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, '6542879031'), (2, '6842971350'), (3, '5140392786')
  )
  def test_known_orders(self, round, expected):
    self.assertEqual(''.join(sampling.sample_order(IDS, round)), expected)
    self.assertEqual(''.join(sampling.sample_order(IDS[::-1], round)), expected)

  def test_known_sample_with_and_without_a_dead_node(self):
    order = sampling.sample_order(IDS, 2)
    scores = jnp.array([order.index(i) for i in IDS], jnp.uint32)
    everyone = jnp.ones(10, bool)
    found = sampling.select_sample(scores, everyone, everyone, 3)
    self.assertEqual(found.index.tolist(), [6, 8, 4])
    self.assertEqual(int(found.num_pings), 3)
    online = everyone.at[8].set(False)
    found = sampling.select_sample(scores, everyone, online, 3)
    self.assertEqual(found.index.tolist(), [6, 4, 2])
    self.assertEqual(int(found.num_pings), 4)
    first = sampling.select_sample(scores, everyone, everyone, 1)
    self.assertEqual(first.index.tolist(), [6])

  def test_selection_equals_a_loop(self):
    rng = np.random.default_rng(1)
    select = jax.jit(sampling.select_sample, static_argnums=3)
    for _ in range(20):
      scores = rng.permutation(15).astype(np.uint32)
      candidate, online = rng.random(15) < 0.6, rng.random(15) < 0.5
      found, pings = [], 0
      for i in np.argsort(scores):
        if candidate[i] and len(found) < 4:
          pings += 1
          if online[i]:
            found.append(int(i))
      got = select(scores, candidate, online, 4)
      self.assertEqual(got.index[got.valid].tolist(), found)
      self.assertEqual(int(got.num_pings), pings)

  def test_losing_a_node_changes_at_most_that_member(self):
    for round in range(1, 30):
      whole = sampling.sample_order(IDS, round)
      sample = set(whole[:4])
      for gone in IDS:
        rest = [i for i in IDS if i != gone]
        new = set(sampling.sample_order(rest, round)[:4])
        self.assertLen(new - sample, int(gone in sample))

  def test_everybody_is_sampled_equally_often(self):
    # Chi-square with 49 degrees of freedom: 1 % lies above 74.9; the counts
    # of a draw without replacement spread (1 - s/n) as much.
    n, s, rounds = 50, 5, 10_000
    ids = [str(i) for i in range(n)]
    md5 = np.zeros(n)
    for k in range(rounds // 5):
      md5[[int(i) for i in sampling.sample_order(ids, k)[:s]]] += 1

    @jax.jit
    def one(k):
      scores = sampling.sample_scores(jax.random.key(0), k, n)
      everyone = jnp.ones(n, bool)
      return sampling.select_sample(scores, everyone, everyone, s).index

    index = jax.jit(lambda ks: jax.lax.map(one, ks, batch_size=500))(
      jnp.arange(rounds)
    )
    hashed = np.bincount(np.asarray(index).ravel(), minlength=n)
    for counts in (md5, hashed):
      mean = counts.sum() / n
      chi = ((counts - mean) ** 2 / (mean * (1 - s / n))).sum()
      self.assertLess(chi, 74.9)
      self.assertGreater(chi, 20.0)  # Not suspiciously even either.

  @parameterized.parameters(
    (10, 0.85, 'ceil', 9),
    (10, 0.85, 'floor', 8),
    (10, 0.7, 'ceil', 7),
    (8, 0.5, 'ceil', 4),
    (3, 0.1, 'floor', 1),
    (5, 1.0, 'ceil', 5),
  )
  def test_models_to_wait_for(self, size, fraction, rule, expected):
    self.assertEqual(
      sampling.required_models(size, fraction, rule=rule), expected
    )


class ProtocolTest(parameterized.TestCase):
  @parameterized.parameters((1, 0.0), (2, 0.7), (3, 0.7))
  def test_samples_are_those_of_the_hash(self, num_aggregators, spread):
    protocol = _protocol(
      10,
      world=_world(10, spread=spread),
      options={'num_aggregators': num_aggregators},
    )
    state = protocol.init()
    for k in range(1, 12):
      state = protocol.advance(state, k)
      self.assertEqual(_members(state), _reference_sample(range(10), k, 3))

  @parameterized.product(num_aggregators=[1, 2, 4], server=[False, True])
  def test_transfers_follow_the_formula(self, num_aggregators, server):
    s, a, rounds, n = 4, num_aggregators, 12, 16
    protocol = _protocol(
      n,
      options={'sample_size': s, 'num_aggregators': a},
      server=server,
    )
    state = protocol.advance(protocol.init(), rounds)
    # Trained models of all rounds, and all averages but the last, which has
    # just been made.
    expected = 0
    for k in range(1, rounds + 1):
      trainers = _reference_sample(range(n), k, s)
      leaders = {n} if server else _reference_sample(range(n), k + 1, a)
      expected += sum(i != j for i in trainers for j in leaders)
      if k < rounds:
        after = _reference_sample(range(n), k + 1, s)
        expected += sum(i != j for i in leaders for j in after)
    model = sampling.TRAFFIC.index('model')
    self.assertEqual(state['messages'][model], expected)
    bound = 2 * s * (1 if server else a) * rounds
    self.assertLess(expected, bound)
    if server:
      self.assertEqual(expected, bound - s)

  def test_bytes_are_those_of_the_messages(self):
    options = {'model_bytes': 1000, 'id_bytes': 20, 'ping_bytes': 7}
    protocol = _protocol(9, options={**options, 'num_aggregators': 2})
    state = protocol.advance(protocol.init(), 8)
    count = dict(zip(sampling.TRAFFIC, state['messages'], strict=True))
    sent = dict(zip(sampling.TRAFFIC, state['sent_bytes'].sum(1), strict=True))
    self.assertEqual(sent['model'], 1000 * count['model'])
    self.assertEqual(sent['view'], 9 * 28 * count['model'])
    self.assertEqual(count['view'], count['model'])
    self.assertEqual(sent['ping'], 7 * count['ping'])
    # What was received was sent; the rest is on its way.
    self.assertTrue((state['received_bytes'] <= sent['model']).all())
    waiting = sum(
      size
      for *_, kind, _, details in state['events']
      if kind == 'deliver'
      for _, size in details[1]
    )
    self.assertEqual(
      state['sent_bytes'].sum() - state['received_bytes'].sum(), waiting
    )

  def test_duration_of_a_round_adds_up(self):
    # Ping, answer, model, ping, answer, model: six short delays, one training.
    world = _world(40, latency=0.01, compute=2.0)
    protocol = _protocol(40, world=world, options={'sample_size': 4})
    state = protocol.advance(protocol.init(), 1)
    before = state['clock']
    self.assertAlmostEqual(before, 2.0 + 3 * 0.01, places=6)
    state = protocol.advance(state, 2)
    self.assertAlmostEqual(state['clock'] - before, 2.0 + 6 * 0.01, places=6)

  def test_links_serve_one_model_after_the_other(self):
    n, s, size, speed = 40, 4, 1000, 500.0
    world = _world(n, latency=0.0, compute=0.0)._replace(
      bytes_per_s=np.full(n, speed)
    )
    options = {'sample_size': s, 'model_bytes': size, 'id_bytes': 0}
    protocol = _protocol(n, world=world, options=options)
    state = protocol.advance(protocol.init(), 1)
    each = (size + 8 * n) / speed
    self.assertAlmostEqual(state['clock'], each, places=6)
    # The aggregator sends s models in turn, then the slowest answers.
    state = protocol.advance(state, 2)
    here = _reference_sample(range(n), 2, 1) & _reference_sample(range(n), 2, s)
    self.assertLen(here, 1)  # It is in its own sample.
    self.assertAlmostEqual(state['clock'], each * (1 + s - 1 + 1), places=6)

  def test_dead_nodes_are_replaced_after_the_time_out(self):
    n, s = 10, 3
    order = sampling.sample_order(IDS, 2)
    dead = int(order[1])
    churn = [sampling.Churn(1, 'crash', (dead,))]
    alive = [i for i in range(n) if i != dead]
    first = _reference_sample(range(n), 1, s)
    self.assertNotIn(dead, first)
    quick = _protocol(n).advance(_protocol(n).init(), 2)
    slow = _protocol(n, churn=churn, options={'ping_timeout_s': 5.0})
    state = slow.advance(slow.init(), 2)
    self.assertEqual(_members(state), _reference_sample(alive, 2, s))
    self.assertAlmostEqual(state['clock'] - quick['clock'], 5.0, delta=0.1)

  def test_a_silent_node_drops_out_of_the_window(self):
    churn = [sampling.Churn(1, 'crash', (3,))]
    protocol = _protocol(10, churn=churn, options={'activity_window': 40})
    state = protocol.advance(protocol.init(), 120)
    active = state['views'][:, 0, 3].max()
    alive = [i for i in range(10) if i != 3]
    for k in range(121, 140):
      before = state['clock']
      state = protocol.advance(state, k)
      self.assertEqual(_members(state), _reference_sample(alive, k, 3))
      self.assertLess(state['clock'] - before, 5.0)  # No time-out any more.
    self.assertLess(active, 120 - 40)

  def test_crash_of_most_nodes_is_survived(self):
    n = 40
    dead = tuple(range(32))
    options = {
      'sample_size': 6,
      'num_aggregators': 2,
      'aggregation_timeout_s': 50.0,
      'retry_s': 100.0,
      'activity_window': 20,
    }
    churn = [sampling.Churn(10, 'crash', dead)]
    protocol = _protocol(n, churn=churn, options=options)
    state = protocol.advance(protocol.init(), 60)
    self.assertEqual(state['round'], 60)
    self.assertFalse(state['stalled'])
    self.assertLessEqual(_members(state), set(range(32, n)))

  def test_without_time_out_and_retry_it_stalls(self):
    # The guarantee of the test before is due to these two.
    churn = [sampling.Churn(10, 'crash', tuple(range(32)))]
    protocol = _protocol(40, churn=churn, options={'sample_size': 6})
    state = protocol.advance(protocol.init(), 60)
    self.assertTrue(state['stalled'])
    self.assertLess(state['round'], 12)
    self.assertIn('online', sampling.diagnose(state))

  @parameterized.parameters(0, 1, 2)
  def test_a_round_whose_nodes_all_die_is_taken_up_again(self, phase):
    n, s = 20, 3
    lost = _reference_sample(range(n), 5 + phase, s)
    churn = [sampling.Churn(5 + phase, 'crash', tuple(sorted(lost)))]
    options = {'retry_s': 40.0, 'aggregation_timeout_s': 30.0}
    protocol = _protocol(n, churn=churn, options=options)
    state = protocol.advance(protocol.init(), 30)
    self.assertEqual(state['round'], 30)

  def test_fraction_lets_aggregators_go_on_without_the_slow(self):
    n, s = 12, 4
    world = _world(n)
    slow = next(iter(_reference_sample(range(n), 3, s)))
    world.compute_s[slow] = 1000.0
    options = {'sample_size': s, 'success_fraction': 0.75}
    protocol = _protocol(n, world=world, options=options)
    state = protocol.init()
    for k in range(1, 20):
      state = protocol.advance(state, k)
      sample = _reference_sample(range(n), k, s)
      self.assertLen(_members(state), 3)
      self.assertLessEqual(_members(state), sample)
      self.assertNotIn(slow, _members(state))
    self.assertLess(state['clock'], 100.0)

  def test_announced_leave_costs_no_time_out_where_it_is_known(self):
    n = 12
    churn = [sampling.Churn(5, 'leave', (0,))]
    # Everybody is told: the receivers are all known nodes.
    options = {'sample_size': 11, 'success_fraction': 0.5}
    protocol = _protocol(n, churn=churn, options=options)
    state = protocol.advance(protocol.init(), 9)
    self.assertTrue((state['views'][1:, 1, 0] == 5).all())  # Counter 2, left.
    before = state['clock']
    state = protocol.advance(state, 10)
    self.assertLess(state['clock'] - before, 2.0)

  def test_a_join_waits_until_the_receiver_has_sent(self):
    n = 12
    members = np.arange(n) != 7
    churn = [sampling.Churn(4, 'join', (7,))]
    protocol = _protocol(n, members=members, churn=churn)
    state = protocol.init()
    known_before_sending = False
    joined = False
    for k in range(1, 60):
      state = protocol.advance(state, k)
      if k < 4:
        self.assertNotIn(7, _members(state))
      for node, waiting in state['pending'].items():
        known_before_sending |= bool(state['views'][int(node), 1, 7])
        self.assertEqual(waiting[0][0], 7)
        joined = True
    self.assertTrue(joined)
    self.assertIn(7, np.flatnonzero(state['online']))
    # In the end it is known and takes its turns.
    self.assertGreater((state['views'][:, 1, 7] > 0).sum(), n // 2)
    late = set()
    for k in range(60, 90):
      state = protocol.advance(state, k)
      late |= _members(state)
    self.assertIn(7, late)

  def test_state_is_not_changed_and_runs_are_repeatable(self):
    churn = [sampling.Churn(5, 'crash', (1, 2))]
    options = {'aggregation_timeout_s': 20.0, 'retry_s': 30.0}
    protocol = _protocol(9, churn=churn, options=options)
    state = protocol.advance(protocol.init(), 7)
    kept = jax.tree.map(np.copy, state)
    once = protocol.advance(state, 15)
    chex.assert_trees_all_equal(state, kept)
    step_by_step = state
    for k in range(8, 16):
      step_by_step = protocol.advance(step_by_step, k)
    chex.assert_trees_all_equal(once, step_by_step)

  def test_one_node(self):
    protocol = _protocol(1, options={'sample_size': 1})
    state = protocol.advance(protocol.init(), 5)
    self.assertEqual(state['round'], 5)
    self.assertEqual(state['messages'].sum(), 0)


DIM = 5


def _task():
  def loss(params, batch, *, key=None):
    del key
    error = jnp.square(batch['x'] @ params['w'] + params['b'] - batch['y'])
    total = jnp.sum(jnp.where(batch['mask'], error, 0.0))
    return total / jnp.maximum(jnp.sum(batch['mask']), 1)

  def init(key):
    return {'w': jax.random.normal(key, (DIM,)), 'b': jnp.zeros(())}

  return types.Task(init, loss, lambda params, batch: {})


def _cohort(n, size=6, seed=0):
  rng = np.random.default_rng(seed)
  counts = rng.integers(3, size + 1, n)
  data = {
    'x': rng.standard_normal((n, size, DIM)).astype(np.float32),
    'y': rng.standard_normal((n, size)).astype(np.float32),
    'mask': np.arange(size)[None] < counts[:, None],
  }
  return types.Cohort(
    client_ids=np.arange(n, dtype=np.int32),
    data=data,
    mask=np.ones(n, bool),
    weights=np.ones(n, np.float32),
  )


TASK = _task()
OPTIMIZER = optax.sgd(0.05)
# The whole data of a node in one batch: training does not depend on keys.
LOCAL = {'optimizer': OPTIMIZER, 'batch_size': 6, 'num_epochs': 2}


def _train_reference(params, data, node):
  """Two full-batch steps in float64."""
  real = data['mask'][node]
  x = data['x'][node][real].astype(np.float64)
  y = data['y'][node][real].astype(np.float64)
  w, b = params
  for _ in range(2):
    error = x @ w + b - y
    w, b = (
      w - 0.05 * 2 * (x * error[:, None]).mean(0),
      b - 0.05 * 2 * error.mean(),
    )
  return w, b


class TrainingTest(parameterized.TestCase):
  def _models(self, protocol, cohort, rounds, **options):
    algorithm = decentralized.sampling_sgd(
      TASK, protocol, protocol.num_nodes, **{**LOCAL, **options}
    )
    state = algorithm.init(jax.random.key(3))
    found = [algorithm.params(state)]
    for _ in range(rounds):
      state, metrics = algorithm.step(state, cohort)
      found.append(algorithm.params(state))
    return found, state, metrics

  def test_equals_federated_averaging_in_float64(self):
    n, s = 9, 3
    cohort = _cohort(n)
    # One batch holds all rows only if a node has six examples.
    cohort.data['mask'][:] = True
    protocol = _protocol(n, options={'num_aggregators': 2})
    found, _, _ = self._models(protocol, cohort, 6)
    params = np.asarray(found[0]['w'], np.float64), float(found[0]['b'])
    for k in range(1, 7):
      sample = _reference_sample(range(n), k, s)
      trained = [_train_reference(params, cohort.data, i) for i in sample]
      params = tuple(
        np.mean(part, axis=0) for part in zip(*trained, strict=True)
      )
      np.testing.assert_allclose(found[k]['w'], params[0], atol=2e-6)
      np.testing.assert_allclose(found[k]['b'], params[1], atol=2e-6)

  @parameterized.parameters(1, 2, 3)
  def test_is_the_model_sequence_of_a_server_bit_for_bit(self, num_aggregators):
    n = 9
    world = _world(n, spread=0.8)
    cohort = _cohort(n)
    options = {'num_aggregators': num_aggregators}
    keyed = {'batch_size': 2, 'num_epochs': None, 'num_steps': 3}
    ours, _, _ = self._models(
      _protocol(n, world=world, options=options), cohort, 8, **keyed
    )
    served, _, _ = self._models(
      _protocol(n, world=world, server=True), cohort, 8, **keyed
    )
    for a, b in zip(ours, served, strict=True):
      chex.assert_trees_all_equal(a, b)

  def test_everybody_in_the_sample_is_full_participation(self):
    n = 5
    cohort = _cohort(n)
    cohort.data['mask'][:] = True
    protocol = _protocol(n, options={'sample_size': n})
    found, _, _ = self._models(protocol, cohort, 3)
    params = np.asarray(found[0]['w'], np.float64), float(found[0]['b'])
    for k in range(1, 4):
      trained = [_train_reference(params, cohort.data, i) for i in range(n)]
      params = tuple(
        np.mean(part, axis=0) for part in zip(*trained, strict=True)
      )
      np.testing.assert_allclose(found[k]['w'], params[0], atol=2e-6)

  def test_a_sample_of_one_is_a_walk(self):
    n = 6
    cohort = _cohort(n)
    cohort.data['mask'][:] = True
    protocol = _protocol(n, options={'sample_size': 1})
    found, _, _ = self._models(protocol, cohort, 5)
    params = np.asarray(found[0]['w'], np.float64), float(found[0]['b'])
    for k in range(1, 6):
      (node,) = _reference_sample(range(n), k, 1)
      params = _train_reference(params, cohort.data, node)
      np.testing.assert_allclose(found[k]['w'], params[0], atol=2e-6)

  def test_what_nobody_wants_is_forgotten(self):
    protocol = _protocol(9, options={'num_aggregators': 2})
    _, state, metrics = self._models(protocol, _cohort(9), 20)
    self.assertLess(len(state['models']), 12)
    self.assertLess(len(state['protocol']['recipes']), 12)
    self.assertEqual(metrics['num_averaged'], 3)

  def test_stall_is_held_or_explained(self):
    churn = [sampling.Churn(3, 'crash', tuple(range(1, 9)))]
    protocol = _protocol(9, churn=churn)
    found, _, metrics = self._models(protocol, _cohort(9), 8)
    self.assertEqual(metrics['stalled'], 1)
    chex.assert_trees_all_equal(found[-1], found[-2])
    with self.assertRaisesRegex(RuntimeError, r'stalled: round \d+ .*online'):
      self._models(protocol, _cohort(9), 8, on_stall='raise')

  def test_batches_belong_to_round_and_node(self):
    key, nodes = jax.random.key(0), jnp.array([4, 2, 4])
    from jaxdl.decentralized.sampling import _training as training

    found = training.node_keys(key, jnp.array([1, 1, 2]), nodes)
    same = jax.random.fold_in(jax.random.fold_in(key, 1), 2)
    self.assertTrue(bool(found[1] == same))
    self.assertFalse(bool(found[0] == found[2]))


class BaselineTest(parameterized.TestCase):
  def _run(self, algorithm, cohort, rounds):
    state = algorithm.init(jax.random.key(1))
    for _ in range(rounds):
      state, metrics = algorithm.step(state, cohort)
    return state, metrics

  def _reference(self, start, cohort, matrices):
    models = [start] * len(cohort.client_ids)
    for w in matrices:
      trained = [
        _train_reference(m, cohort.data, i) for i, m in enumerate(models)
      ]
      models = [
        tuple(
          sum(w[i, j] * trained[j][part] for j in range(len(models)))
          for part in (0, 1)
        )
        for i in range(len(models))
      ]
    return models

  def test_gossip_equals_float64_and_counts_transfers(self):
    n, rounds = 6, 4
    cohort = _cohort(n)
    cohort.data['mask'][:] = True
    mixer = mixing.make_mixer('one_peer_exponential', n)
    algorithm = decentralized.clocked_gossip(
      TASK, mixer, n, world=_world(n), model_bytes=10, **LOCAL
    )
    start = algorithm.params(algorithm.init(jax.random.key(1)))
    start = np.asarray(start['w'][0], np.float64), float(start['b'][0])
    state, metrics = self._run(algorithm, cohort, rounds)
    matrices = [np.asarray(mixer.matrix(k)) for k in range(rounds)]
    expected = self._reference(start, cohort, matrices)
    got = algorithm.params(state)
    for i in range(n):
      np.testing.assert_allclose(got['w'][i], expected[i][0], atol=3e-6)
    self.assertEqual(metrics['transfers'], n * rounds)
    self.assertEqual(state['sent_bytes'].tolist(), [10 * rounds] * n)
    self.assertAlmostEqual(metrics['time_s'], rounds * 1.01, places=6)

  def test_neighbors_of_the_dead_wait_and_keep_the_weight(self):
    n = 5
    cohort = _cohort(n)
    cohort.data['mask'][:] = True
    mixer = mixing.make_mixer('ring', n)
    churn = [sampling.Churn(2, 'crash', (0,))]
    algorithm = decentralized.clocked_gossip(
      TASK, mixer, n, world=_world(n), churn=churn, patience_s=7.0, **LOCAL
    )
    start = algorithm.params(algorithm.init(jax.random.key(1)))
    start = np.asarray(start['w'][0], np.float64), float(start['b'][0])
    state, metrics = self._run(algorithm, cohort, 2)
    w = np.asarray(mixer.matrix(0), np.float64)
    broken = w.copy()
    for i in (1, 4):
      broken[i, i] += broken[i, 0]
      broken[i, 0] = 0.0
    expected = self._reference(start, cohort, [w, broken])
    got = algorithm.params(state)
    for i in range(1, n):
      np.testing.assert_allclose(got['w'][i], expected[i][0], atol=3e-6)
    # One full round, then training and the wait for the dead neighbor.
    self.assertAlmostEqual(metrics['time_s'], 1.01 + 1.0 + 7.0, places=6)
    self.assertEqual(metrics['num_online'], n - 1)

  def test_gossip_learning_averages_by_age(self):
    n = 6
    algorithm = decentralized.gossip_learning(
      TASK, n, world=_world(n), period_s=60.0, **LOCAL
    )
    cohort = _cohort(n)
    state, metrics = self._run(algorithm, cohort, 12)
    self.assertEqual(metrics['transfers'], n * 12)
    self.assertEqual(metrics['time_s'], 720.0)
    # Every message is a training, of the older of two ages plus one.
    self.assertEqual(state['received_bytes'].sum(), n * 12 * 1_000_000)
    self.assertGreaterEqual(int(state['ages'].max()), 12)
    self.assertTrue(np.isfinite(np.asarray(state['models'])).all())


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'sample_size': 0}, 'sample_size must be at least 1'),
    ({'sample_size': 9}, 'sample_size=9 is more than the 8 nodes'),
    ({'num_aggregators': 0}, 'num_aggregators must be at least 1'),
    ({'num_aggregators': 4}, 'aggregators come from the sample'),
    ({'success_fraction': 0.0}, r'success_fraction must lie in \(0.0, 1.0\]'),
    ({'success_fraction': 1.1}, r'success_fraction must lie in \(0.0, 1.0\]'),
    ({'activity_window': 0}, 'activity_window must be at least 1'),
    ({'ping_timeout_s': 0.0}, 'ping_timeout_s must lie in'),
    ({'min_models': 4}, 'min_models must be at most 3'),
    ({'threshold': 'round'}, "rule='round' is unknown"),
  )
  def test_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _protocol(8, options=options)

  def test_rest(self):
    with self.assertRaisesRegex(ValueError, "'a' occurs twice"):
      sampling.sample_order(['a', 'b', 'a'], 1)
    with self.assertRaisesRegex(ValueError, 'members must name'):
      _protocol(4, members=np.zeros(4, bool))
    with self.assertRaisesRegex(ValueError, r'members must be bool\[4\]'):
      _protocol(4, members=np.ones(3, bool))
    with self.assertRaisesRegex(ValueError, 'churn kind'):
      _protocol(4, churn=[sampling.Churn(1, 'explode', (0,))])
    with self.assertRaisesRegex(ValueError, 'churn node must be at most 3'):
      _protocol(4, churn=[sampling.Churn(1, 'crash', (4,))])
    with self.assertRaisesRegex(ValueError, r'trace must be bool\[T, 4\]'):
      sampling.churn_from_trace(np.ones((5, 3)), 4)
    with self.assertRaisesRegex(ValueError, 'latency_s must be float'):
      _protocol(4, world=_world(4)._replace(latency_s=np.ones((3, 3))))
    with self.assertRaisesRegex(ValueError, 'entry mask'):
      algorithm = decentralized.sampling_sgd(TASK, _protocol(8), 8, **LOCAL)
      cohort = _cohort(8)
      cohort.data.pop('mask')
      algorithm.step(algorithm.init(jax.random.key(0)), cohort)
    with self.assertRaisesRegex(ValueError, '7 nodes but the network has 8'):
      algorithm.step(algorithm.init(jax.random.key(0)), _cohort(7))

  def test_latency_files(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'pings.csv'
      path.write_text('0, 20\n40, 0\n')
      matrix = sampling.load_latency(path)
      np.testing.assert_allclose(matrix, [[0, 0.02], [0.04, 0]])
      world = sampling.make_world(3, np.random.default_rng(0), latency_s=matrix)
      self.assertEqual(world.latency_s[2, 1], 0.02)  # Sites 0 and 1.
      for text, message in (
        ('1, 2\n', 'expected a square matrix'),
        ('0, -1\n1, 0\n', 'the delay from 0 to 1 is -1.0; must be finite'),
        ('a b\n', "line 1: 'a' is no number"),
        ('0, 1\n\n1\n', 'line 3 has 1 numbers, line 1 has 2'),
      ):
        path.write_text(text)
        with self.assertRaisesRegex(ValueError, f'pings.csv: .*{message}'):
          sampling.load_latency(path)
      npy = path.with_suffix('.npy')
      np.save(npy, np.zeros((2, 2), complex))
      with self.assertRaisesRegex(ValueError, 'must hold real numbers; got'):
        sampling.load_latency(npy)

  def test_drawn_latency_has_the_mean(self):
    world = sampling.make_world(
      300, np.random.default_rng(0), mean_latency_s=0.05, compute_s=2.0
    )
    off = world.latency_s[~np.eye(300, dtype=bool)]
    self.assertAlmostEqual(off.mean(), 0.05, delta=0.002)
    self.assertAlmostEqual(np.median(world.compute_s), 2.0, delta=0.2)
    self.assertTrue(math.isclose(world.latency_s[1, 2], world.latency_s[2, 1]))


if __name__ == '__main__':
  absltest.main()
