# SPDX-License-Identifier: Apache-2.0
"""What texts are worth to agents, and that they learn from it."""

import functools

import jax
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.agents import public_goods
from jaxdl.language import goods
from jaxdl.language.goods import _learning

GAME = public_goods.mac_spgg(
  rho=1.5, gamma=0.4, kappa=2.0, penalty=0.3, threshold=2.0
)
# Oracle: c = (.5, .2, 1), F = 1.7 < 2.
C = np.array([0.5, 0.2, 1.0])


def by_hand(c, paid, score, kappa=(2.0, 2.0, 2.0)):
  """The formula in float64."""
  before = np.concatenate([[0.0], np.cumsum(c)[:-1]])
  lost = 0.3 if score < 2 - 1e-9 else 0.0
  own = -np.array(kappa) * np.square(paid) / 2 + 0.4 * np.array(c) * before
  return own + 1.5 / 3 * score - lost


def turn(position, value, text='x', agent=None, record=None, tokens=10):
  agent = position if agent is None else agent
  return goods.Turn(agent, position, 'A', {}, text, None, value, tokens, record)


def episode(values, *, correct=False, error=None, records=None, seats=None):
  turns = tuple(
    turn(
      p,
      v,
      agent=None if seats is None else seats[p],
      record=None if records is None else records[p],
    )
    for p, v in enumerate(values)
  )
  return goods.Episode(
    goods.Task('?', '1'), turns, None, correct, 0.0, error, 'ok', ()
  )


class RewardsTest(parameterized.TestCase):
  def test_by_hand(self):
    found = goods.team_rewards(C, GAME)
    np.testing.assert_allclose(found, (0.30, 0.55, -0.17), atol=1e-6)
    np.testing.assert_allclose(found, by_hand(C, C, 1.7), atol=1e-6)

  def test_tokens_are_paid_in_place_of_scores(self):
    tokens = np.array([0.1, 0.9, 0.3])
    found = goods.team_rewards(C, GAME, tokens=tokens)
    np.testing.assert_allclose(found, by_hand(C, tokens, 1.7), atol=1e-6)

  @parameterized.parameters((True, 3.0), (False, 0.0))
  def test_the_answer_makes_the_score(self, correct, score):
    found = goods.team_rewards(C, GAME, correct=correct)
    np.testing.assert_allclose(found, by_hand(C, C, score), atol=1e-6)

  def test_costs_go_with_the_seat(self):
    game = GAME.replace(kappa=np.array([1.0, 2.0, 4.0]))
    tokens = np.array([0.1, 0.9, 0.3])
    found = goods.team_rewards(C, game, tokens=tokens, order=[2, 0, 1])
    want = by_hand(C, tokens, 1.7, kappa=(4.0, 1.0, 2.0))
    np.testing.assert_allclose(found, want, atol=1e-6)

  def test_many_at_once(self):
    c = np.random.default_rng(0).random((5, 3))
    right = np.array([True, False, True, False, False])
    found = goods.team_rewards(c, GAME, correct=right)
    for row, r, x in zip(found, right, c, strict=True):
      np.testing.assert_allclose(row, by_hand(x, x, 3.0 * r), atol=1e-5)

  def test_contributions_are_clipped_and_empty_texts_give_the_least(self):
    give = _learning.contribution
    self.assertEqual(give(turn(0, 0.05), 0.1, 0.8), 0.1)
    self.assertEqual(give(turn(0, 0.9), 0.1, 0.8), 0.8)
    self.assertEqual(give(turn(0, 0.9, text=' '), 0.1, 0.8), 0.1)
    self.assertEqual(give(turn(0, 0.9, text=''), -1.0, 0.8), -1.0)

  def test_means_over_orders(self):
    game = GAME.replace(kappa=np.array([1.0, 2.0, 4.0]))
    a = episode(C)
    b = episode((1.0, 1.0, 0.5), seats=(2, 0, 1))
    bad = episode((1.0,), error='gone')
    found = goods.reward_metrics([a, bad, b], game)
    want = by_hand(C, C, 1.7, (1.0, 2.0, 4.0)).sum()
    want += by_hand((1, 1, 0.5), (1, 1, 0.5), 2.5, (4.0, 1.0, 2.0)).sum()
    self.assertAlmostEqual(found['total_reward'], want / 2, places=5)
    self.assertAlmostEqual(found['given_1'], 0.75, places=6)
    self.assertAlmostEqual(found['contribution'], 4.2 / 6, places=6)
    self.assertEqual(goods.reward_metrics([bad], game), {})


def learner(**options):
  return goods.make_learner(
    public_goods.mac_spgg(num_agents=2, kappa=0.5),
    3,
    2,
    **{'num_updates': 60, 'hidden': 8, 'optimizer': 'adam(0.02)'} | options,
  )


def played(learn, state, key, wanted, num=64, mask=None):
  """A batch in which agents give more the nearer they are to an action."""
  n = 2
  x = np.ones((num, n, 3), np.float32)
  u = np.zeros((num, n, 2), np.float32)
  noise = np.asarray(jax.random.normal(key, u.shape))
  for i in range(n):
    mu = learn.mean(state.agents.policy, i, x[0, 0])
    u[:, i] = mu + learn.width(state) * noise[:, i]
  c = np.clip(1 - np.abs(u - wanted).sum(-1), 0, 1).astype(np.float32)
  mask = np.ones(num, np.float32) if mask is None else mask
  return _learning.Batch(
    c, np.zeros((num, n), np.float32), c[:, -1] > 0.5, mask, x, u
  )


class LearnerTest(parameterized.TestCase):
  def test_settings_that_pay_are_found(self):
    # An agent each to its own: .8, .2 and .3, .6.
    wanted = np.array([[0.8, 0.2], [0.3, 0.6]])
    learn = learner()
    state = learn.init(jax.random.key(0))
    rewards = []
    for t in range(60):
      batch = played(learn, state, jax.random.key(t), wanted)
      state, metrics = learn.update(state, batch, [0, 1])
      rewards.append(metrics['total_reward'])
    for i in range(2):
      found = learn.mean(state.agents.policy, i, np.ones(3, np.float32))
      np.testing.assert_allclose(found, wanted[i], atol=0.12)
    self.assertGreater(np.mean(rewards[-5:]), np.mean(rewards[:5]) + 0.2)
    np.testing.assert_allclose(learn.width(state), 0.05, rtol=1e-5)
    np.testing.assert_allclose(
      metrics['selection'],
      metrics['total_reward'] + 2 * metrics['accuracy'] + metrics['score'],
      rtol=1e-5,
    )

  def test_seats_lead_back_to_agents(self):
    # Agent 1 first: its rows are those at position 0.
    learn = learner()
    state = learn.init(jax.random.key(0))
    batch = played(learn, state, jax.random.key(1), 0.5)
    swap = batch._replace(
      contributions=batch.contributions[:, ::-1],
      observations=batch.observations[:, ::-1],
      actions=batch.actions[:, ::-1],
    )
    plain = public_goods.pgg(num_agents=2)
    learn = goods.make_learner(
      plain, 3, 2, num_updates=2, hidden=8, optimizer='adam(0.02)'
    )
    a, _ = learn.update(state, batch, [0, 1])
    b, _ = learn.update(state, swap, [1, 0])
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-5),
      a.agents.policy,
      b.agents.policy,
    )

  def test_failed_tasks_do_not_count(self):
    learn = learner()
    state = learn.init(jax.random.key(0))
    mask = (np.arange(64) % 3 > 0).astype(np.float32)
    batch = played(learn, state, jax.random.key(1), 0.5, mask=mask)
    noisy = batch._replace(
      contributions=np.where(mask[:, None] > 0, batch.contributions, 9.0),
      correct=np.where(mask > 0, batch.correct, ~batch.correct),
    )
    a, seen_a = learn.update(state, batch, [0, 1])
    b, seen_b = learn.update(state, noisy, [0, 1])
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-6),
      a.agents.policy,
      b.agents.policy,
    )
    self.assertAlmostEqual(seen_a['accuracy'], seen_b['accuracy'])

  def test_the_best_policies_are_kept(self):
    learn = learner()
    state = first = learn.init(jax.random.key(0))
    good = played(learn, state, jax.random.key(1), 0.5)
    bad = good._replace(contributions=0 * good.contributions)
    state, _ = learn.update(state, good, [0, 1])
    second = state.agents.policy
    state, _ = learn.update(state, bad, [0, 1])
    jax.tree.map(np.testing.assert_array_equal, state.best, first.agents.policy)
    better = good._replace(contributions=np.ones_like(good.contributions))
    third = state.agents.policy
    state, _ = learn.update(state, better, [0, 1])
    jax.tree.map(np.testing.assert_array_equal, state.best, third)
    same = jax.tree.map(np.array_equal, second, third)
    self.assertFalse(all(jax.tree.leaves(same)))

  def test_early_stopping(self):
    learn = learner(patience=2, window=1)
    state = learn.init(jax.random.key(0))
    batch = played(learn, state, jax.random.key(1), 0.5)
    stops = []
    for _ in range(4):
      state, metrics = learn.update(state, batch, [0, 1])
      stops.append(metrics['stopped'])
    self.assertEqual(stops, [0.0, 0.0, 1.0, 1.0])

  def test_batches_of_episodes(self):
    record = (np.ones(2, np.float32), np.zeros(3, np.float32))
    good = episode((0.05, 2.0), correct=True, records=[record, record])
    bad = episode((1.0,), error='gone', records=[record])
    batch = _learning.make_batch([good, bad], 2, 2, 3, (0.1, 1.0))
    np.testing.assert_allclose(batch.contributions, [[0.1, 1.0], [0, 0]])
    self.assertEqual(batch.mask.tolist(), [1.0, 0.0])
    self.assertEqual(batch.correct.tolist(), [True, False])
    self.assertEqual(batch.tokens.tolist(), [[10.0, 10.0], [0.0, 0.0]])
    self.assertEqual(batch.observations[1].tolist(), [[0, 0], [0, 0]])

  @parameterized.parameters(
    ({'cost_source': 'time'}, "cost_source='time' is unknown"),
    ({'score_source': 'last'}, "score_source='last' is unknown"),
    ({'token_unit': 0.0}, 'token_unit must lie in'),
    ({'sigma': 0.2}, 'sigma must be two numbers'),
    ({'sigma': (0.2, 0.0)}, 'sigma must lie in'),
    ({'patience': -1}, 'patience must be at least 0'),
    ({'window': 0}, 'window must be at least 1'),
    ({'num_epochs': 0}, 'num_epochs must be at least 1'),
    ({'optimizer': 'adm'}, "'adm' is unknown"),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      learner(**options)


if __name__ == '__main__':
  absltest.main()
