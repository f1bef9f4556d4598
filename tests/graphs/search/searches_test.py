# SPDX-License-Identifier: Apache-2.0
"""Policies and searches, without training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import experiment, problems
from jaxdl.graphs import search

KEY = jax.random.key(0)
FULL = search.SearchSpace()
ENTROPIES = np.array(
  [3.891820, 3.891820, 3.583519, 2.197225, 1.386294, 4.158883]
)
# One class with a choice.
ONE = search.make_space(
  'agnn(hidden=4, heads=1, attention=gcn, aggregate=sum, combine=identity, '
  'activation=(relu, tanh, elu))'
)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def lstm(p, inputs):
  """Hidden states after every input, float64; names of flax."""
  width = p['hf']['bias'].shape[0]
  h = c = np.zeros(width)
  out = []
  for x in inputs:
    gate = lambda n, x=x, h=h: (
      x @ p[f'i{n}']['kernel'] + h @ p[f'h{n}']['kernel'] + p[f'h{n}']['bias']
    )
    c = sigmoid(gate('f')) * c + sigmoid(gate('i')) * np.tanh(gate('g'))
    h = sigmoid(gate('o')) * np.tanh(c)
    out.append(h)
  return np.array(out)


def log_softmax(x):
  return x - np.log(np.exp(x - x.max()).sum()) - x.max()


def to64(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


class PolicyTest(parameterized.TestCase):
  def test_entropies_of_uniform_policies(self):
    policy = search.tabular(FULL, 2)
    found = policy.log_probs(policy.init(KEY), jnp.zeros((2, 6), jnp.int32))
    got = search.decision_entropy(found)
    np.testing.assert_allclose(got, ENTROPIES, rtol=1e-6)
    np.testing.assert_allclose(
      jax.nn.softmax(got),
      np.array([49, 49, 36, 9, 4, 64]) / 211,
      rtol=1e-5,
    )

  def test_who_is_sure_has_no_entropy(self):
    log_probs = jnp.full((1, 3, 4), -jnp.inf).at[:, :, 2].set(0.0)
    self.assertEqual(search.decision_entropy(log_probs).tolist(), [0.0])

  @parameterized.parameters(1, 3)
  def test_classes_are_drawn_as_their_softmax_says(self, num_chosen):
    entropies = jnp.asarray(ENTROPIES, jnp.float32)
    draw = lambda key: search.choose_classes(key, entropies, num_chosen)
    drawn = np.asarray(
      jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 10_000))
    )
    self.assertTrue((drawn.sum(1) == num_chosen).all())
    p = np.array([49, 49, 36, 9, 4, 64]) / 211
    if num_chosen == 1:
      expected = 10_000 * p
      chi_sq = ((drawn.sum(0) - expected) ** 2 / expected).sum()
      self.assertLess(chi_sq, 20.5)  # 99.9%, 5 degrees of freedom.
    else:
      # One after the other without putting back, counted out.
      share = np.zeros(6)
      for a in range(6):
        for b in range(6):
          for c in range(6):
            if len({a, b, c}) == 3:
              q = p[a] * p[b] / (1 - p[a]) * p[c] / (1 - p[a] - p[b])
              share[[a, b, c]] += q
      np.testing.assert_allclose(drawn.mean(0), share, atol=0.02)

  @parameterized.parameters(
    (([0, 0, 0], 1), TypeError, 'entropies must be floating point; got int32'),
    ((jnp.zeros((2, 6)), 1), ValueError, r'entropies must have shape \[C\]'),
    ((jnp.zeros(6), 0), ValueError, 'num_chosen must be at least 1; got 0'),
    ((jnp.zeros(6), 7), ValueError, 'num_chosen must be at most 6; got 7'),
    ((jnp.zeros(6), True), TypeError, 'num_chosen must be an integer'),
  )
  def test_classes_that_cannot_be_drawn(self, args, error, message):
    with self.assertRaisesRegex(error, message):
      search.choose_classes(KEY, *args)

  def test_shapes_of_policies(self):
    with self.assertRaisesRegex(ValueError, r'bool of shape \(6,\).*\(5,\)'):
      search.choose_classes(KEY, jnp.zeros(6), mask=np.ones(5, bool))
    with self.assertRaisesRegex(ValueError, r'log_probs must .*\[C, L, M\]'):
      search.decision_entropy(jnp.zeros(3))

  def test_recurrent_policies_equal_the_reference(self):
    policy = search.recurrent(FULL, 2, width=5)
    params = policy.init(KEY)
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])
    self.assertLess(np.abs(flat).max(), 0.1)
    np.testing.assert_array_equal(params['decoder']['bias'], 0)
    # Far from the start, where the bound on logits matters.
    params = jax.tree.map(lambda x: 30 * x + 0.1, params)
    table = search.random_tables(jax.random.key(2), FULL, 2)
    got = np.asarray(policy.log_probs(params, table))
    p = to64(params)
    for c, size in enumerate(FULL.sizes):
      own = jax.tree.map(lambda x, c=c: x[c], p)
      tokens = np.asarray(search.sub_architecture(FULL, table, c))
      seen = lstm(own['cell'], own['tokens'][tokens])[[4, 9]]
      logits = seen @ own['decoder']['kernel'] + own['decoder']['bias']
      want = 2.5 * np.tanh(logits[:, :size] / 5)
      want = np.stack([log_softmax(row) for row in want])
      np.testing.assert_allclose(got[c, :, :size], want, atol=1e-4)
      self.assertTrue(np.isneginf(got[c, :, size:]).all())

  def test_sequences_equal_the_reference(self):
    policy = search.recurrent_sequence(FULL, 2, width=5, tanh_constant=0)
    params = jax.tree.map(lambda x: 20 * x + 0.1, policy.init(KEY))
    table = policy.sample(jax.random.key(1), params)
    self.assertEqual(table.shape, (2, 6))
    FULL.check_table(table)
    got, entropy = policy.log_prob(params, table)
    p, first = to64(params), np.cumsum((0, *FULL.sizes))
    flat = np.asarray(table).reshape(-1)
    tokens = [first[n % 6] + value for n, value in enumerate(flat[:-1])]
    inputs = np.concatenate([np.zeros((1, 5)), p['tokens'][tokens]])
    want, total = 0.0, 0.0
    for n, h in enumerate(lstm(p['cell'], inputs)):
      c = n % 6
      logits = h @ p['decoder']['kernel'][c] + p['decoder']['bias'][c]
      own = log_softmax(logits[: FULL.sizes[c]] / 5)
      want += own[flat[n]]
      total -= (np.exp(own) * own).sum()
    np.testing.assert_allclose(got, want, rtol=1e-4)
    np.testing.assert_allclose(entropy, total, rtol=1e-4)

  def test_samples_follow_their_probabilities(self):
    policy = search.tabular_sequence(ONE, 1)
    params = {
      'logits': jnp.zeros((6, 1, 3)).at[5].set(jnp.array([[0.0, 1, 2]]))
    }
    draw = jax.jit(jax.vmap(lambda key: policy.sample(key, params)))
    drawn = np.asarray(draw(jax.random.split(KEY, 4000)))[:, 0, 5]
    want = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    np.testing.assert_allclose(np.bincount(drawn) / 4000, want, atol=0.03)


def answered(found, score=0.5, seed=0, steps=1):
  """A search whose first table has a score; and what it proposes then."""
  state = found.init(jax.random.key(seed))
  propose = jax.jit(lambda state, key: found.propose(state, key=key))
  state, first = propose(state, jax.random.key(1))
  state = found.update(state, first, score)
  return state, first, propose


class ConservativeTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 6)
  def test_offspring_differs_in_what_was_chosen(self, s):
    make = functools.partial(search.agnn, FULL, 2, policy='tabular')
    state, first, propose = answered(make(classes_per_step=s))
    changed = np.zeros(6, bool)
    for n in range(20):
      _, made = propose(state, jax.random.fold_in(KEY, n))
      self.assertEqual(int(made.chosen.sum()), s)
      np.testing.assert_array_equal(made.parent, first.table)
      same = np.asarray(made.table == first.table).all(0)
      self.assertTrue(same[~np.asarray(made.chosen)].all())
      changed |= ~same
    self.assertGreaterEqual(changed.sum(), 3)

  def test_the_best_never_gets_worse_and_ties_keep_it(self):
    found = search.agnn(FULL, 2, policy='tabular')
    state, first, propose = answered(found, 0.5)
    for n, (score, kept) in enumerate([(0.4, 1), (0.5, 1), (0.6, 0), (0.2, 0)]):
      before = state
      state, made = propose(state, jax.random.fold_in(KEY, n))
      state = found.update(state, made, score)
      self.assertEqual(float(state.score), max(np.float32(score), before.score))
      same = bool((state.table == first.table).all())
      self.assertEqual(
        same, bool(kept) or bool((made.table == first.table).all())
      )
    self.assertAlmostEqual(float(state.score), 0.6)

  def test_only_chosen_policies_learn(self):
    found = search.agnn(FULL, 2, policy='recurrent(width=4)')
    state, _, propose = answered(found)
    update = jax.jit(found.update)
    state, made = propose(state, KEY)
    state = update(state, made, 0.7)  # Makes a baseline.
    for n in range(4):
      state, made = propose(state, jax.random.fold_in(KEY, n))
      new = update(state, made, 0.3 + 0.1 * n)
      rows = jax.tree.leaves(state.learner), jax.tree.leaves(new.learner)
      for old, fresh in zip(*rows, strict=True):
        rest = ~np.asarray(made.chosen)
        np.testing.assert_array_equal(
          np.asarray(old)[rest], np.asarray(fresh)[rest]
        )
      state = new

  def test_proposals_may_wait_for_their_scores(self):
    found = search.agnn(FULL, 2, policy='tabular')
    state = found.init(KEY)
    made = []
    for n in range(3):
      state, one = found.propose(state, key=jax.random.fold_in(KEY, n))
      made.append(one)
    self.assertFalse((made[0].table != made[0].parent).any())
    for n, one in enumerate(made):
      state = found.update(state, one, 0.5 + 0.1 * n)
    # What a parent without a score led to teaches nothing.
    np.testing.assert_array_equal(state.learner.params['logits'], 0)
    self.assertAlmostEqual(float(state.score), 0.7)

  def test_with_a_rate_of_zero_nothing_is_learned(self):
    found = search.agnn(FULL, 1, policy='tabular', learning_rate=0)
    state, _, propose = answered(found)
    for n in range(5):
      state, made = propose(state, jax.random.fold_in(KEY, n))
      state = found.update(state, made, float(n))
    np.testing.assert_array_equal(state.learner.params['logits'], 0)


class ReinforceTest(parameterized.TestCase):
  def _learner(self, optimizer):
    policy = search.tabular(ONE, 1)
    return policy, search.start_learner(KEY, policy, optimizer)

  def _proposal(self, value):
    table = jnp.zeros((1, 6), jnp.int32).at[0, 5].set(value)
    chosen = jnp.arange(6) == 5
    return search.Proposal(table, table, jnp.zeros(()), chosen)

  def test_the_gradient_is_that_of_the_formula(self):
    optimizer = optax.sgd(1.0)
    policy, learner = self._learner(optimizer)
    logits = jnp.zeros((6, 1, 3)).at[5, 0].set(jnp.array([0.3, -0.2, 0.5]))
    learner = learner._replace(
      params={'logits': logits},
      baseline=jnp.full(6, 0.2),
      begun=jnp.ones(6, bool),
    )
    new = search.reinforce_update(
      learner, policy, self._proposal(1), 0.7, optimizer=optimizer
    )
    p = np.exp([0.3, -0.2, 0.5]) / np.exp([0.3, -0.2, 0.5]).sum()
    want = np.array([0.3, -0.2, 0.5]) + 0.5 * (np.eye(3)[1] - p)
    np.testing.assert_allclose(new.params['logits'][5, 0], want, atol=1e-6)
    np.testing.assert_allclose(new.baseline[5], 0.95 * 0.2 + 0.05 * 0.7)

  def test_no_advantage_no_gradient(self):
    optimizer = optax.sgd(1.0)
    policy, learner = self._learner(optimizer)
    begun = learner._replace(baseline=jnp.full(6, 0.5), begun=jnp.ones(6, bool))
    for start in (begun, learner):  # The first reward is its own baseline.
      new = search.reinforce_update(
        start, policy, self._proposal(2), 0.5, optimizer=optimizer
      )
      np.testing.assert_array_equal(new.params['logits'], 0)

  def test_what_is_rewarded_becomes_likelier_in_expectation(self):
    optimizer = optax.sgd(0.3)
    policy, learner = self._learner(optimizer)
    table = jnp.zeros((1, 6), jnp.int32)

    def step(learner, key):
      p = jnp.exp(policy.log_probs(learner.params, table)[5, 0])
      value = jax.random.categorical(key, jnp.log(p))
      new = search.reinforce_update(
        learner,
        policy,
        self._proposal(value),
        jnp.where(value == 1, 1.0, 0.0),
        optimizer=optimizer,
      )
      return new, p[1]

    run = jax.jit(jax.vmap(lambda keys: jax.lax.scan(step, learner, keys)[1]))
    keys = jax.random.split(KEY, 300 * 60).reshape(300, 60)
    mean = np.asarray(run(keys)).mean(0)
    self.assertAlmostEqual(mean[0], 1 / 3, places=5)
    # Ten steps apart, so that the noise of 300 runs does not matter.
    self.assertTrue((np.diff(mean[::10]) > 0).all(), mean[::10])
    self.assertGreater(mean[-1], 0.8)


class OtherSearchesTest(parameterized.TestCase):
  def test_graphnas_learns_from_the_clipped_gain_over_the_ten_best(self):
    found = search.graphnas(
      ONE, 1, policy='tabular', learning_rate=1.0, entropy_bonus=0.0
    )
    state = found.init(KEY)
    table = jnp.zeros((1, 6), jnp.int32)
    made = search.Proposal(table, table, jnp.zeros(()), jnp.ones(6, bool))
    logits, base, best = np.zeros(3), 0.0, []
    for score in [0.1 * n for n in (3, 5, 4, 9, 1, 2, 8, 7, 6, 5, 4, 30)]:
      usual = np.mean(sorted(best)[-10:]) if best else score
      reward = np.clip(score - usual, -0.5, 0.5)
      p = np.exp(logits) / np.exp(logits).sum()
      logits = logits + (reward - base) * (np.eye(3)[0] - p)
      base = 0.95 * base + 0.05 * reward
      best.append(score)
      state = found.update(state, made, score)
    np.testing.assert_allclose(state.params['logits'][5, 0], logits, atol=1e-5)
    np.testing.assert_allclose(
      np.sort(state.best), sorted(best)[-10:], rtol=1e-6
    )

  def test_evolution_changes_one_value_of_a_good_one(self):
    found = search.evolution(FULL, 2, population=5, tournament=5)
    state = found.init(KEY)
    propose = jax.jit(lambda state, key: found.propose(state, key=key))
    for n in range(5):
      state, made = propose(state, jax.random.fold_in(KEY, n))
      self.assertEqual(float(made.parent_score), -np.inf)
      state = found.update(state, made, 0.1 * n)
    best = np.asarray(state.tables[4])
    spots = set()
    for n in range(30):
      _, made = propose(state, jax.random.fold_in(KEY, 10 + n))
      np.testing.assert_array_equal(made.parent, best)
      FULL.check_table(made.table)
      (spot,) = np.argwhere(np.asarray(made.table) != best).tolist()
      spots.add(tuple(spot))
      self.assertTrue(bool(made.chosen[spot[1]]))
    self.assertGreater(len(spots), 6)
    # The oldest makes room.
    new = found.update(state, made, 0.9)
    np.testing.assert_array_equal(new.tables[0], made.table)
    np.testing.assert_array_equal(new.tables[1:], state.tables[1:])

  def test_hand_made_networks(self):
    gat = search.gat(FULL, 3).propose((), key=KEY)[1].table
    layers = FULL.decode(gat)
    self.assertEqual(layers[0], search.Layer(8, 'gat', 8))
    self.assertEqual(layers[1], layers[0])
    self.assertEqual((layers[2].heads, layers[2].activation), (1, 'linear'))
    gcn = FULL.decode(search.gcn(FULL, 2).propose((), key=KEY)[1].table)
    self.assertEqual(gcn[0][:3], (16, 'gcn', 1))

  @parameterized.parameters(
    ('agnn(classes_per_step=0)', 'classes_per_step must be at least 1'),
    ('agnn(classes_per_step=7)', 'classes_per_step must be at most 6'),
    ('agnn(guider=random)', "guider='random' is unknown"),
    ('agnn(reward=sign)', "reward='sign' is unknown"),
    ('agnn(decay=2.0)', 'decay must lie in'),
    ('agnn(learning_rate=-1.0)', 'learning_rate must lie in'),
    ('agnn(policy=lstm)', "policy='lstm' is unknown"),
    ('agnn(policy=recurrent(temperature=0))', 'temperature must lie in'),
    ('agnn(policy=recurrent(width=0))', 'width must be at least 1'),
    ('graphnas(entropy_bonus=-1)', 'entropy_bonus must lie in'),
    ('evolution(population=3)', 'tournament must be at most 3'),
    ('fixed(layer)', 'architecture has 1 layers; there must be 2'),
    ('fixed("layer(9)+layer")', r'layers\[0\].hidden=9 is unknown'),
    ('gcn(width=5)', r'layers\[0\].hidden=5 is unknown'),
    ('darts', "search='darts' is unknown"),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      search.make_search(spec, FULL, 2)

  @parameterized.parameters('agnn', 'evolution', 'graphnas', 'random')
  def test_tables_have_32_bits(self, name):
    made = search.make_search(name, FULL, 2)

    def once(key):
      state, proposal = made.propose(made.init(key), key=key)
      return proposal.table, made.update(state, proposal, jnp.zeros(()))

    with jax.enable_x64(True):
      table, state = jax.eval_shape(once, KEY)
    self.assertEqual(table.dtype, np.int32)
    for leaf in jax.tree.leaves(state):
      self.assertNotEqual(leaf.dtype, np.int64)

  @parameterized.parameters(*search.SEARCHES)
  def test_a_space_is_no_text(self, name):
    with self.assertRaisesRegex(TypeError, 'space must be a SearchSpace'):
      search.make_search(name, 'agnn', 2)

  def test_a_space_without_a_choice(self):
    space = search.make_space(
      'agnn(hidden=4, heads=1, attention=gcn, aggregate=sum, '
      'combine=identity, activation=relu)'
    )
    for name in ('agnn', 'evolution'):
      with self.assertRaisesRegex(ValueError, 'space has one table only'):
        search.make_search(name, space, 2)
    with self.assertRaisesRegex(ValueError, 'at most 1; got 2'):
      search.agnn(ONE, 2, classes_per_step=2)
    # A class without a choice is never drawn.
    state, _, propose = answered(search.agnn(ONE, 2, policy='tabular'))
    for n in range(5):
      _, made = propose(state, jax.random.fold_in(KEY, n))
      self.assertEqual(made.chosen.tolist(), [False] * 5 + [True])


class LandscapeTest(parameterized.TestCase):
  def test_scores_equal_the_reference(self):
    found = search.landscape(KEY, FULL, 2)
    self.assertLen(found.pairs, round(0.3 * 12 * 11 / 2))
    pairs = {
      (int(a), int(b)) for a, b in zip(found.first, found.second, strict=True)
    }
    self.assertLen(pairs, 20)
    self.assertTrue(all(a < b for a, b in pairs))
    self.assertAlmostEqual(float(found.pairs.std()), 0.5, delta=0.05)
    main, both = to64(found.main), to64(found.pairs)
    tables = search.random_tables(jax.random.key(3), FULL, 2, (20,))
    got = jax.vmap(lambda t: search.landscape_score(found, t))(tables)
    for table, value in zip(np.asarray(tables), got, strict=True):
      flat = table.reshape(-1)
      worth = sum(main[l, c, table[l, c]] for l in range(2) for c in range(6))
      for p, (a, b) in enumerate(zip(found.first, found.second, strict=True)):
        worth += both[p, flat[int(a)], flat[int(b)]]
      want = 0.7 + 0.13 * np.tanh(worth / 6)
      self.assertAlmostEqual(float(value), want, places=5)

  def test_searches_find_more_than_luck(self):
    problem = problems.graphs.architectures('landscape', seeds=tuple(range(12)))
    best = {}
    for name in ('agnn(policy=tabular)', 'random', 'evolution'):
      made = search.make_search(name, problem.space, 2)

      def run(own, key, made=made):
        algorithm = search.landscape_search(made, own)
        step = lambda state, key: (
          (new := algorithm.step(state, None, key=key))[0],
          (new[0].best, new[0].true),
        )
        first, rest = jax.random.split(key)
        keys = jax.random.split(rest, 200)
        return jax.lax.scan(step, algorithm.init(first), keys)[1]

      seen, true = jax.jit(jax.vmap(run))(
        problem.data, jax.random.split(KEY, 12)
      )
      self.assertTrue((np.diff(np.asarray(seen), axis=1) >= 0).all())
      best[name.split('(')[0]] = np.asarray(true)[:, -1].mean()
    self.assertGreater(best['agnn'], best['random'] + 0.005)
    self.assertGreater(best['evolution'], best['random'])

  def test_an_algorithm_for_the_common_loop(self):
    problem = problems.graphs.architectures('landscape', seeds=(3,))
    algorithm = problem.algorithm('agnn(policy=tabular)')
    _, history = experiment.train(
      algorithm, problem, num_rounds=20, key=KEY, eval_every=5
    )
    self.assertEqual(history['test_evaluations'].tolist(), [0, 5, 10, 15, 20])
    self.assertEqual(history['test_accuracy'][0], 0)
    self.assertBetween(history['test_accuracy'][-1], 0.57, 0.83)
    with self.assertRaisesRegex(ValueError, 'nothing is trained'):
      problem.trainer()
    with self.assertRaisesRegex(ValueError, 'it has no weights'):
      problem.algorithm('random', sharing='constrained')

  def test_a_search_of_another_space(self):
    found = search.landscape(KEY, FULL, 2)
    with self.assertRaisesRegex(
      ValueError, r'tables of shape \(3, 6\); the landscape takes \(2, 6\)'
    ):
      search.landscape_search(search.random(FULL, 3), found)
    with self.assertRaisesRegex(TypeError, "got the text 'random'"):
      search.landscape_search('random', found)
    with self.assertRaisesRegex(ValueError, r'\(2, 6\); got \(1, 6\)'):
      search.landscape_score(found, np.zeros((1, 6), int))
    with self.assertRaisesRegex(ValueError, 'places from 0 to 7'):
      search.landscape_score(found, np.full((2, 6), 9))
    with self.assertRaisesRegex(TypeError, 'must hold integers'):
      search.landscape_score(found, np.zeros((2, 6)))

  @parameterized.parameters(
    ('landscape(noise=-1)', 'noise must lie in'),
    ('landscape(pair_share=2)', 'pair_share must lie in'),
    ('landscape(pair_scale=-1)', 'pair_scale must lie in'),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      problems.graphs.architectures(spec)


if __name__ == '__main__':
  absltest.main()
