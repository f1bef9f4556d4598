# SPDX-License-Identifier: Apache-2.0
"""Teams of classifiers: votes, credit and edits by hand, and the search."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.language import teams
from jaxdl.language.teams import _numeric, _search

ONE = ('majority',)


def spoken(says, num_classes=2):
  """Agents that answer item i, the unit vector e_i, as the table says."""
  says = np.asarray(says)
  weights = 9.0 * np.eye(num_classes, dtype=np.float32)[says]
  return teams.Agents(jnp.asarray(weights), jnp.zeros((len(says), num_classes)))


@functools.cache
def digits():
  return teams.digits(seed=0, max_iter=15)


@functools.cache
def searched(method, num_proposals=6, aggregations=('majority', 'mean')):
  task = digits()
  return jax.jit(
    lambda key: teams.search(
      *task[:3],
      key=key,
      num_proposals=num_proposals,
      method=method,
      aggregations=aggregations,
    )
  )(jax.random.key(0))


class CreditTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # By hand: see what each item's votes are without an agent.
    self.layers = [spoken([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])]
    self.data = jnp.eye(4), jnp.zeros(4, int)
    self.team = teams.everybody(self.layers)

  def test_leave_one_out_by_hand(self):
    loss = teams.team_loss(self.layers, self.team, *self.data, aggregations=ONE)
    self.assertEqual(float(loss), 0.5)
    found = teams.leave_one_out(
      self.layers, self.team, *self.data, aggregations=ONE
    )
    np.testing.assert_array_equal(found, [[0.0, 0.5, 0.5]])

  def test_the_last_layer_told_the_truth_takes_all_loss(self):
    credit = teams.layer_credit(
      self.layers, self.team, *self.data, aggregations=ONE
    )
    np.testing.assert_array_equal(credit, [0.5])

  def test_credit_of_two_layers(self):
    # The second repeats the first (its last inputs), and adds an error of its
    # own on item 3, where the first is right.
    first = spoken([[0, 1, 0, 0]])
    own = np.zeros((1, 6, 2), np.float32)
    own[0, 4, 0] = own[0, 5, 1] = 5.0
    own[0, 3, 1] = 9.0
    second = teams.Agents(jnp.asarray(own), jnp.zeros((1, 2)))
    layers = [first, second]
    told = (layers, teams.everybody(layers), *self.data)
    self.assertEqual(float(teams.team_loss(*told, aggregations=ONE)), 0.5)
    np.testing.assert_array_equal(
      teams.layer_credit(*told, aggregations=ONE), [0.25, 0.5]
    )
    # The global gradient alone is the same for all edits of a layer.
    found = _numeric.gradients(*told, beta=1.0, aggregations=ONE)
    np.testing.assert_array_equal(found, [[0.25, 0.25], [0.5, 0.5]])
    local = _numeric.gradients(*told, beta=0.0, aggregations=ONE)
    np.testing.assert_array_equal(
      local, teams.edit_scores(*told, aggregations=ONE)
    )

  def test_edits(self):
    team = teams.everybody([self.layers[0]] * 2)
    found = teams.apply_edit(team, 5 + 1, 2)
    self.assertEqual(found.mask.tolist(), [[1, 1, 1], [1, 0, 1]])
    back = teams.apply_edit(found, 5 + 1, 2)
    jax.tree.map(np.testing.assert_array_equal, back, team)
    found = teams.apply_edit(team, 4, 2)
    self.assertEqual(found.aggregation.tolist(), [1, 0])
    self.assertTrue(found.mask.all())

  def test_nobody_leaves_last(self):
    team = self.team._replace(mask=jnp.array([[False, True, False]]))
    exists = _numeric.present(self.layers)
    self.assertEqual(
      _numeric.is_possible(team, exists, 2).tolist(),
      [[True, False, True, False, True]],
    )

  def test_proposals(self):
    scores = jnp.array([0.1, 0.5, 0.5, 0.9])
    may = jnp.array([True, True, True, False])
    edit, score = teams.propose_edit(scores, may)
    self.assertEqual((int(edit), float(score)), (1, 0.5))
    draw = lambda key: teams.propose_edit(
      scores, may, key=key, temperature=0.2
    )[0]
    drawn = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), 500)))
    want = np.exp(np.array([0.1, 0.5, 0.5, -np.inf]) / 0.2)
    share = np.bincount(drawn, minlength=4) / 500
    np.testing.assert_allclose(share, want / want.sum(), atol=0.07)
    with self.assertRaisesRegex(ValueError, 'temperature=0.2 needs a key'):
      teams.propose_edit(scores, may, temperature=0.2)

  def test_nothing_is_possible(self):
    _, score = teams.propose_edit(jnp.ones(2), jnp.zeros(2, bool))
    self.assertEqual(float(score), -np.inf)


class SearchTest(parameterized.TestCase):
  @parameterized.parameters('ann', 'random_edits')
  def test_the_validation_loss_never_rises(self, method):
    state, log = searched(method)
    kept = np.where(log.outcome == 0, log.new, log.old)
    self.assertTrue((np.diff([log.old[0], *kept]) <= 0).all())
    self.assertEqual(float(state.loss), kept[-1])
    self.assertGreater(int(state.accepted), 0)
    # What is remembered is what the team is worth.
    task = digits()
    loss = teams.team_loss(
      task.layers,
      state.team,
      *task.validation,
      aggregations=('majority', 'mean'),
    )
    np.testing.assert_allclose(loss, state.loss, rtol=1e-6)

  def test_gains_and_drops_colluders(self):
    state, log = searched('ann')
    self.assertLess(float(state.loss), float(log.old[0]) - 0.05)
    gone = [
      role
      for role, stays in zip(
        digits().roles[0], np.asarray(state.team.mask)[0], strict=True
      )
      if not stays
    ]
    self.assertGreater(gone.count('colluder'), gone.count('honest'))

  def test_what_is_refused_changes_nothing_and_is_not_tried_again(self):
    # Any agent alone is right; more votes cannot be better.
    layers = [spoken([[0, 1], [0, 1], [1, 0]])]
    good = _search.Samples(jnp.eye(2), jnp.array([0, 1]))
    # Where gradients come from the third alone is right.
    bad = _search.Samples(jnp.eye(2), jnp.array([1, 0]))
    given = {'method': 'ann(accept=strict)', 'aggregations': ONE}
    step = jax.jit(
      lambda s: teams.search_step(
        s, layers, bad, good, key=jax.random.key(0), **given
      )
    )
    state, edits = teams.start_search(layers, bad, good, **given), []
    before = jax.device_get((state.team, state.loss))
    for _ in range(5):
      state, log = step(state)
      edits.append(int(log.edit))
      after = jax.device_get((state.team, state.loss))
      jax.tree.map(np.testing.assert_array_equal, after, before)
    tried = [e for e in edits if e >= 0]
    self.assertLen(set(tried), len(tried))
    self.assertEqual(int(state.accepted), 0)
    self.assertTrue(bool(state.stopped))

  def test_perfect_agents_are_left_alone(self):
    layers = [spoken([[0, 1, 0]] * 3)]
    samples = _search.Samples(jnp.eye(3), jnp.array([0, 1, 0]))
    state, log = teams.search(
      layers,
      samples,
      samples,
      key=jax.random.key(0),
      num_proposals=3,
      aggregations=ONE,
    )
    self.assertTrue(bool(state.stopped))
    self.assertEqual((int(state.accepted), int(state.proposals)), (0, 0))
    self.assertEqual(float(state.loss), 0.0)
    self.assertEqual(log.outcome.tolist(), [3, 3, 3])

  def test_replayed_samples_stay_solved(self):
    # The edit mends two samples and breaks the first.
    layers = [spoken([[0, 0, 0], [0, 0, 0], [1, 1, 1]])]
    samples = _search.Samples(jnp.eye(3), jnp.array([0, 1, 1]))
    team = jnp.array([[False, True, True]])

    def ended(replay):
      spec = f'ann(replay={replay}, beta=0.0)'
      given = {'method': spec, 'aggregations': ONE}
      state = teams.start_search(layers, samples, samples, **given)
      state = state._replace(
        team=state.team._replace(mask=team), loss=jnp.float32(2 / 3)
      )
      return teams.search_step(
        state, layers, samples, samples, key=jax.random.key(0), **given
      )

    self.assertEqual(int(ended(0)[1].outcome), 0)
    state, log = ended(3)
    self.assertEqual(_search.OUTCOMES[int(log.outcome)], 'breaks')
    np.testing.assert_array_equal(state.team.mask, team)

  def test_the_best_agent_alone(self):
    state, log = searched('single', num_proposals=1)
    mask = np.asarray(state.team.mask)[0]
    self.assertEqual(mask.sum(), 1)
    task = digits()
    x = np.concatenate([task.gradient.inputs, task.validation.inputs])
    y = np.concatenate([task.gradient.labels, task.validation.labels])
    w, b = task.layers[0]
    right = (
      (np.einsum('bd,cdk->cbk', x, w) + b[:, None]).argmax(-1) == y
    ).mean(axis=1)
    self.assertEqual(int(mask.argmax()), int(right.argmax()))
    self.assertEqual(int(log.outcome[0]), 3)

  def test_pools_keep_what_was_accepted(self):
    state, _ = searched('ann')
    kept = np.isfinite(np.asarray(state.pool_losses))
    self.assertEqual(kept.sum(), 1 + int(state.accepted))
    self.assertEqual(float(state.pool_losses.min()), float(state.loss))

  def test_seeds_are_one_program(self):
    task = digits()
    two = jax.tree.map(lambda x: np.stack([x, x]), task[:3])
    run = lambda data, key: (
      teams.search(
        *data,
        key=key,
        num_proposals=6,
        method='ann',
        aggregations=('majority', 'mean'),
      )[0].team
    )
    both = jax.jit(jax.vmap(run, in_axes=(0, None)))(two, jax.random.key(0))
    alone = searched('ann')[0].team
    for i in range(2):
      jax.tree.map(
        lambda x, y, i=i: np.testing.assert_array_equal(x[i], y), both, alone
      )

  def test_two_layers_of_digits(self):
    task = teams.digits(
      seed=1, layers=2, num_honest=2, num_colluders=1, num_noisy=0, max_iter=15
    )
    self.assertEqual(
      [layer.weights.shape for layer in task.layers],
      teams.digits_shapes(layers=2, num_honest=2, num_colluders=1, num_noisy=0),
    )
    # The first sees the upper half alone, the second the rest.
    first, second = (np.asarray(layer.weights) for layer in task.layers)
    self.assertEqual(np.abs(first[:, 32:]).max(), 0.0)
    self.assertEqual(np.abs(second[:, :32]).max(), 0.0)
    self.assertGreater(np.abs(second[:, 64:]).max(), 0.0)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ((4, 7), (4,), r'gradient.inputs must be \[B, 4\]'),
    ((0, 4), (0,), r'gradient.inputs must be \[B, 4\] with B > 0'),
    ((4, 4), (3,), r'gradient.labels must be \[4\]'),
  )
  def test_samples_that_do_not_fit(self, inputs, labels, message):
    good = teams.Samples(jnp.eye(4), jnp.zeros(4, int))
    bad = teams.Samples(jnp.zeros(inputs), jnp.zeros(labels, int))
    with self.assertRaisesRegex(ValueError, message):
      teams.start_search([spoken([[0, 0, 1, 1]])], bad, good)

  def test_legacy_keys(self):
    samples = teams.Samples(jnp.eye(4), jnp.zeros(4, int))
    with self.assertRaisesRegex(TypeError, 'key'):
      teams.search(
        [spoken([[0, 0, 1, 1]])],
        samples,
        samples,
        key=jnp.zeros(2, jnp.uint32),
        num_proposals=1,
      )

  def test_empty_pools_are_named(self):
    empty = teams.Agents(jnp.zeros((0, 2, 2)), jnp.zeros((0, 2)))
    with self.assertRaisesRegex(ValueError, r'layers\[1\] has an empty pool'):
      teams.everybody([spoken([[0, 1]]), empty])
    with self.assertRaisesRegex(ValueError, 'layers is empty'):
      teams.everybody([])

  @parameterized.parameters(
    ('vote', "aggregation='vote' is unknown"),
    ('log_mean(floor=0.0)', r'floor must lie in \(0.0, 1.0\]'),
    ('rule(crum)', "'crum'.* is unknown|crum is unknown"),
    ('rule(foolsgold)', 'has a memory'),
    ('rule(mean, per=batches)', "per='batches' is unknown"),
  )
  def test_aggregations(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      teams.AGGREGATIONS.check(spec)

  def test_rules_without_a_mask_are_refused_before_anything_runs(self):
    with self.assertRaisesRegex(ValueError, 'smea'):
      teams.check_numeric(
        'fixed(aggregation="rule(smea, num_byzantine=1)")',
        [(5, 4, 3)],
        ONE,
      )

  def test_a_method_starts_with_what_is_there(self):
    with self.assertRaisesRegex(
      ValueError, "aggregation='mean' must be one of"
    ):
      teams.start_search(
        [spoken([[0, 1]])],
        *[_search.Samples(jnp.eye(2), jnp.zeros(2, int))] * 2,
        method='ann(aggregation=mean)',
        aggregations=ONE,
      )

  def test_shapes(self):
    with self.assertRaisesRegex(ValueError, r'outputs must be \[C, B, K\]'):
      teams.aggregate(jnp.ones((2, 3)), jnp.ones(2, bool), jnp.ones(2))

  @parameterized.parameters(
    ({'layers': 3}, 'layers must be at most 2'),
    ({'noise': 2.0}, 'noise must lie in'),
    ({'num_pixels': 65}, 'num_pixels must be at most 64'),
    (
      {'num_honest': 0, 'num_colluders': 0, 'num_noisy': 0},
      'are all 0',
    ),
  )
  def test_digits(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      teams.digits(seed=0, **options)


if __name__ == '__main__':
  absltest.main()
